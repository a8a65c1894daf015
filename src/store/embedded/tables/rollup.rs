//! What was spent, added up once more: by the hour and tenant, and by the day in full.
//!
//! # Why
//! A gateway whose clients are many has a row for nearly every request in a quarter of an hour, and a report of a
//! month would read millions. Hours and days have a hundredth of them. A report takes whole ones from here, and only
//! its two ends, where it begins and ends within one, from the quarters. Every batch is added to both in one
//! transaction, so neither ever knows what the other does not.

use std::collections::HashMap;
use std::hash::Hash;

use rusqlite::Connection;

use super::{Table, nothing};
use crate::store::embedded::schema::Migration;
use crate::store::spending::{Batch, Label, MarginPlace, Slice, SpendBy, SpendQuestion, Sum};

pub(super) const HOUR: u64 = 3_600;
pub(super) const DAY: u64 = 86_400;

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 9,
        // Rows are those of the quarters with an hour's or a day's first quarter; of hours only the tenant is told.
        sql: "
CREATE TABLE spend_hours (
    quarter INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    team TEXT NOT NULL,
    client TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_hour INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    audio_input INTEGER NOT NULL,
    audio_output INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    estimated_nano INTEGER NOT NULL,
    PRIMARY KEY (tenant, quarter, team, client, provider, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE spend_days (
    quarter INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    team TEXT NOT NULL,
    client TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_hour INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    audio_input INTEGER NOT NULL,
    audio_output INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    estimated_nano INTEGER NOT NULL,
    PRIMARY KEY (tenant, quarter, team, client, provider, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE spend_label_days (
    quarter INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    kind INTEGER NOT NULL,
    value TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_hour INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    audio_input INTEGER NOT NULL,
    audio_output INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    estimated_nano INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, quarter, value)
) STRICT, WITHOUT ROWID;
CREATE TABLE spend_margin_days (
    tenant TEXT NOT NULL,
    quarter INTEGER NOT NULL,
    team TEXT NOT NULL,
    client TEXT NOT NULL,
    tag TEXT NOT NULL,
    margin_nano INTEGER NOT NULL,
    PRIMARY KEY (tenant, quarter, team, client, tag)
) STRICT, WITHOUT ROWID;
INSERT INTO spend_hours SELECT quarter - quarter % 3600, tenant, '', '', '', '', sum(requests), sum(failed), sum(unpriced),
    sum(input), sum(output), sum(cached_input), sum(cache_write), sum(cache_write_hour), sum(reasoning), sum(audio_input),
    sum(audio_output), sum(cost_nano), sum(estimated_nano) FROM spend GROUP BY 2, 1;
INSERT INTO spend_days SELECT quarter - quarter % 86400, tenant, team, client, provider, model, sum(requests), sum(failed),
    sum(unpriced), sum(input), sum(output), sum(cached_input), sum(cache_write), sum(cache_write_hour), sum(reasoning),
    sum(audio_input), sum(audio_output), sum(cost_nano), sum(estimated_nano) FROM spend GROUP BY 2, 1, 3, 4, 5, 6;
INSERT INTO spend_label_days SELECT quarter - quarter % 86400, tenant, kind, value, sum(requests), sum(failed), sum(unpriced),
    sum(input), sum(output), sum(cached_input), sum(cache_write), sum(cache_write_hour), sum(reasoning), sum(audio_input),
    sum(audio_output), sum(cost_nano), sum(estimated_nano) FROM spend_labels GROUP BY 2, 3, 1, 4;
INSERT INTO spend_margin_days SELECT tenant, quarter - quarter % 86400, team, client, tag, sum(margin_nano)
    FROM spend_margins GROUP BY 1, 2, 3, 4, 5",
    }],
    started: nothing,
    // Kept as what was spent is; tags and users of days go with the last of their quarters.
    expire: |_, _| Ok(0),
    evict: |_| Ok(0),
};

fn first_of(quarter: u64, unit: u64) -> u64 {
    quarter - quarter % unit
}

/// Adds up what falls together under another key.
fn folded<K: Eq + Hash>(counts: &HashMap<K, Sum>, key: impl Fn(&K) -> K) -> HashMap<K, Sum> {
    let mut all: HashMap<K, Sum> = HashMap::new();
    for (one, sum) in counts {
        let all = all.entry(key(one)).or_default();
        *all = all.plus(sum);
    }
    all
}

pub(super) fn hours(slices: &HashMap<Slice, Sum>) -> HashMap<Slice, Sum> {
    folded(slices, |slice| Slice {
        quarter: first_of(slice.quarter, HOUR),
        tenant: slice.tenant.clone(),
        team: String::new(),
        client: String::new(),
        provider: String::new(),
        model: String::new(),
    })
}

pub(super) fn days(slices: &HashMap<Slice, Sum>) -> HashMap<Slice, Sum> {
    folded(slices, |slice| Slice {
        quarter: first_of(slice.quarter, DAY),
        ..slice.clone()
    })
}

pub(super) fn label_days(labels: &HashMap<Label, Sum>) -> HashMap<Label, Sum> {
    folded(labels, |label| Label {
        quarter: first_of(label.quarter, DAY),
        ..label.clone()
    })
}

pub(super) fn margin_days(batch: &Batch) -> HashMap<MarginPlace, i64> {
    let mut all: HashMap<MarginPlace, i64> = HashMap::new();
    for (place, nano) in &batch.margins {
        let day = MarginPlace {
            quarter: first_of(place.quarter, DAY),
            ..place.clone()
        };
        let sum = all.entry(day).or_default();
        *sum = sum.saturating_add(*nano);
    }
    all
}

/// The sums of a table's columns.
fn sums(columns: &[&str]) -> String {
    let sums: Vec<String> = columns.iter().map(|name| format!("sum({name})")).collect();
    sums.join(", ")
}

/// Makes anew what holds any of these quarters (the end excluded), from the quarters that are there now.
pub(super) fn rebuild(
    connection: &Connection,
    (from, to): (u64, u64),
    columns: &[&str],
) -> rusqlite::Result<()> {
    let all = sums(columns);
    let names = "tenant, team, client, provider, model";
    for (rolled, unit, of, keys) in [
        (
            "spend_hours",
            HOUR,
            "spend",
            "tenant, '', '', '', ''".to_owned(),
        ),
        ("spend_days", DAY, "spend", names.to_owned()),
        (
            "spend_label_days",
            DAY,
            "spend_labels",
            "tenant, kind, value".to_owned(),
        ),
    ] {
        let (first, last) = whole_around((from, to), unit);
        connection.execute(
            &format!("DELETE FROM {rolled} WHERE quarter >= ?1 AND quarter < ?2"),
            (first, last),
        )?;
        connection.execute(
            &format!(
                "INSERT INTO {rolled} SELECT quarter - quarter % {unit} AS first, {keys}, {all} FROM {of}
                 WHERE quarter >= ?1 AND quarter < ?2 GROUP BY first, {grouped}",
                grouped = if rolled == "spend_hours" { "tenant" } else { &keys },
            ),
            (first, last),
        )?;
    }
    let (first, last) = whole_around((from, to), DAY);
    connection.execute(
        "DELETE FROM spend_margin_days WHERE quarter >= ?1 AND quarter < ?2",
        (first, last),
    )?;
    connection.execute(
        "INSERT INTO spend_margin_days SELECT tenant, quarter - quarter % 86400 AS first, team, client, tag, sum(margin_nano)
         FROM spend_margins WHERE quarter >= ?1 AND quarter < ?2 GROUP BY first, tenant, team, client, tag",
        (first, last),
    )?;
    Ok(())
}

/// Whole units that hold this stretch. SQLite's numbers have a sign.
fn whole_around((from, to): (u64, u64), unit: u64) -> (u64, u64) {
    let last = to.div_ceil(unit).saturating_mul(unit);
    (first_of(from, unit), last.min(i64::MAX as u64))
}

/// What a report reads.
pub(super) struct Source {
    /// By quarters.
    pub(super) table: &'static str,
    /// By hours or days.
    rolled: &'static str,
    unit: u64,
    /// Holds only of these rows, in SQL of ours.
    only: &'static str,
}

impl Source {
    pub(super) fn of(by: SpendBy) -> Self {
        match by {
            SpendBy::Tenant | SpendBy::Day | SpendBy::Hour => Self {
                table: "spend",
                rolled: "spend_hours",
                unit: HOUR,
                only: "TRUE",
            },
            SpendBy::Team | SpendBy::Client | SpendBy::Provider | SpendBy::Model => Self {
                table: "spend",
                rolled: "spend_days",
                unit: DAY,
                only: "TRUE",
            },
            SpendBy::Tag => Self {
                table: "spend_labels",
                rolled: "spend_label_days",
                unit: DAY,
                only: "entry.kind = 0",
            },
            SpendBy::User => Self {
                table: "spend_labels",
                rolled: "spend_label_days",
                unit: DAY,
                only: "entry.kind = 1",
            },
        }
    }

    /// Of margins; `None` where nobody's is told.
    pub(super) fn of_margins(by: SpendBy) -> Option<Self> {
        let only = match by {
            SpendBy::Provider | SpendBy::Model | SpendBy::User => return None,
            SpendBy::Tag => "entry.tag <> ''",
            SpendBy::Tenant | SpendBy::Team | SpendBy::Client | SpendBy::Day | SpendBy::Hour => {
                "entry.tag = ''"
            }
        };
        let table = "spend_margins";
        Some(match by {
            // Of hours nothing is added up: quarters alone tell them.
            SpendBy::Hour => Self {
                table,
                rolled: table,
                unit: u64::MAX,
                only,
            },
            SpendBy::Tenant
            | SpendBy::Team
            | SpendBy::Client
            | SpendBy::Provider
            | SpendBy::Model
            | SpendBy::Tag
            | SpendBy::User
            | SpendBy::Day => Self {
                table,
                rolled: "spend_margin_days",
                unit: DAY,
                only,
            },
        })
    }

    /// Rows of a stretch, as a table called `entries` of a query that begins with this. Each tenant's are looked up by
    /// the key: what lies outside the stretch is not read. Wants the parameters of [`Source::bounds`].
    pub(super) fn rows(&self) -> String {
        let Self {
            table,
            rolled,
            only,
            ..
        } = self;
        let part = |table: &str, from: &str, to: &str| {
            format!(
                "SELECT entry.* FROM payers CROSS JOIN {table} AS entry
                 WHERE entry.tenant = payers.payer AND {only} AND entry.quarter >= {from} AND entry.quarter < {to}"
            )
        };
        format!(
            "WITH RECURSIVE payers (payer) AS (
                SELECT coalesce(?5, (SELECT min(tenant) FROM {rolled}))
                UNION ALL
                SELECT (SELECT min(tenant) FROM {rolled} WHERE tenant > payer) FROM payers
                WHERE payer IS NOT NULL AND ?5 IS NULL
            ), entries AS ({} UNION ALL {} UNION ALL {})",
            part(table, "?1", "?2"),
            part(rolled, "?2", "?3"),
            part(table, "?3", "?4"),
        )
    }

    /// The stretch: its beginning, the first and the end of what is whole in it, and its end.
    pub(super) fn bounds(&self, question: &SpendQuestion) -> [u64; 4] {
        // SQLite's numbers have a sign.
        let most = i64::MAX as u64;
        let (from, to) = (question.from.min(most), question.to.min(most));
        let first = from.div_ceil(self.unit).checked_mul(self.unit);
        let last = first_of(to, self.unit);
        match first.filter(|first| *first < last) {
            Some(first) => [from, first, last, to],
            None => [from, to, to, to],
        }
    }
}
