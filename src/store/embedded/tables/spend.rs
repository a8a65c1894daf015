//! What was spent, by a quarter of an hour.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql};

use super::rollup::{self, Source};
use super::{Table, alerted, bought, charges, nothing, repriced};
use crate::domain::{Bought, NanoUsd};
use crate::store::Pending;
use crate::store::embedded::Embedded;
use crate::store::embedded::schema::{Migration, fault};
use crate::store::spending::{
    Batch, ByQuarter, Label, LabelKind, Position, Slice, SpendBy, SpendLine, SpendQuestion,
    SpendStore, Spent, Sum,
};

pub(super) const TABLE: Table = Table {
    migrations: &[
        Migration {
            number: 3,
            sql: "
CREATE TABLE spend (
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
CREATE TABLE spend_labels (
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
CREATE TABLE spend_position (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT",
        },
        Migration {
            number: 5,
            // Attempts of before were not added up: what was paid where it was answered comes closest.
            sql: "
CREATE TABLE spend_providers (
    provider TEXT NOT NULL,
    quarter INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    PRIMARY KEY (provider, quarter)
) STRICT, WITHOUT ROWID;
INSERT INTO spend_providers (provider, quarter, cost_nano)
    SELECT provider, quarter, sum(cost_nano) FROM spend WHERE provider <> '' GROUP BY provider, quarter",
        },
    ],
    started: nothing,
    // What was spent is kept: a year of quarters is small, and budgets rest on it.
    expire: |_, _| Ok(0),
    evict,
};

/// Tags with a budget, as the gateway that has the file open told it. Not in the file: the next one tells its own.
const KEPT: &str = "
CREATE TEMP TABLE IF NOT EXISTS spend_kept (
    tenant TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (tenant, value)
) STRICT, WITHOUT ROWID;
DELETE FROM temp.spend_kept";

/// Holds of a label's row where no budget rests on it.
const NOBODYS: &str = "NOT EXISTS (SELECT 1 FROM temp.spend_kept AS kept
    WHERE kept.tenant = one.tenant AND kept.value = one.value)";

/// Tags and users may be as many as clients care to name: the oldest quarter of users gives room, and when there is
/// none, that of tags. What is here of a tag is all that its budget knows of what was spent before its process began,
/// so those with one stay, and all of them until it is known which that are.
fn evict(connection: &Connection) -> rusqlite::Result<u64> {
    let users = evict_labels(connection, LabelKind::User, "TRUE")?;
    let told = "SELECT count(*) FROM temp.sqlite_schema WHERE name = 'spend_kept'";
    if users > 0 || connection.query_row(told, [], |row| row.get::<_, u64>(0))? == 0 {
        return Ok(users);
    }
    evict_labels(connection, LabelKind::Tag, NOBODYS)
}

/// Takes out the oldest quarter of one kind of label, so far as this holds of it, and days of which none is left.
fn evict_labels(connection: &Connection, of: LabelKind, only: &str) -> rusqlite::Result<u64> {
    let oldest = format!("SELECT min(quarter) FROM spend_labels AS one WHERE kind = ?1 AND {only}");
    let deleted = connection.execute(
        &format!(
            "DELETE FROM spend_labels AS one WHERE kind = ?1 AND quarter = ({oldest}) AND {only}"
        ),
        [kind(of)],
    )?;
    connection.execute(
        &format!(
            "DELETE FROM spend_label_days AS one WHERE kind = ?1 AND {only}
             AND quarter + 86400 <= coalesce(({oldest}), 9223372036854775807)"
        ),
        [kind(of)],
    )?;
    Ok(deleted as u64)
}

/// Takes the place of what was told before.
pub(super) fn keep(connection: &Connection, tags: &[(String, String)]) -> rusqlite::Result<()> {
    connection.execute_batch(KEPT)?;
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO temp.spend_kept (tenant, value) VALUES (?1, ?2)")?;
    for tag in tags {
        insert.execute((&tag.0, &tag.1))?;
    }
    Ok(())
}

const SUMS: [&str; 13] = [
    "requests",
    "failed",
    "unpriced",
    "input",
    "output",
    "cached_input",
    "cache_write",
    "cache_write_hour",
    "reasoning",
    "audio_input",
    "audio_output",
    "cost_nano",
    "estimated_nano",
];

fn kind(kind: LabelKind) -> i64 {
    match kind {
        LabelKind::Tag => 0,
        LabelKind::User => 1,
    }
}

/// Adds a row's counts to what is there.
fn upsert(table: &str, keys: &[&str]) -> String {
    let columns: Vec<&str> = keys.iter().copied().chain(SUMS).collect();
    let places: Vec<String> = (1..=columns.len()).map(|nth| format!("?{nth}")).collect();
    let adds: Vec<String> = SUMS
        .iter()
        .map(|name| format!("{name} = {name} + excluded.{name}"))
        .collect();
    format!(
        "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT DO UPDATE SET {}",
        columns.join(", "),
        places.join(", "),
        adds.join(", ")
    )
}

pub(in crate::store::embedded) fn position(connection: &Connection) -> rusqlite::Result<Position> {
    let found = connection
        .query_row("SELECT seq, at_ms FROM spend_position", [], |row| {
            Ok(Position {
                seq: row.get(0)?,
                at_ms: row.get(1)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// SQLite's numbers have a sign; what does not fit is as much as there is.
fn signed(sum: &Sum) -> [i64; 13] {
    sum.columns()
        .map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

fn book(connection: &Connection, from: Position, batch: &Batch) -> rusqlite::Result<bool> {
    if position(connection)? != from {
        return Ok(false);
    }
    let goes_on = repriced::anew_from(connection)?;
    let anew_from = batch.anew_from.or(goes_on);
    // Their costs were put right, which the journal does not know.
    let put_right = match anew_from {
        Some(_) => repriced::stretches(connection)?,
        None => Vec::new(),
    };
    // What began before stays as it is booked, in whichever go it stands.
    let batch = &*batch.since(anew_from);
    if let Some(from) = batch.anew_from {
        // Another journal, or one that lost its end: what it says takes the place of what it said.
        for gap in repriced::between(from, &put_right) {
            clear(connection, gap)?;
        }
        connection.execute("DELETE FROM spend_providers WHERE quarter >= ?1", [from])?;
        bought::delete(connection, from)?;
    }
    insert(connection, &batch.beside(&put_right))?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO spend_providers (provider, quarter, cost_nano) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET cost_nano = cost_nano + excluded.cost_nano",
    )?;
    for ((quarter, provider), cost) in &batch.providers {
        insert.execute((provider, quarter, i64::try_from(*cost).unwrap_or(i64::MAX)))?;
    }
    bought::insert(connection, batch)?;
    alerted::insert(connection, batch)?;
    connection
        .prepare_cached(
            "INSERT INTO spend_position (only, seq, at_ms) VALUES (1, ?1, ?2)
             ON CONFLICT DO UPDATE SET seq = excluded.seq, at_ms = excluded.at_ms",
        )?
        .execute((batch.to.seq, batch.to.at_ms))?;
    if anew_from.is_some() {
        let more = anew_from.filter(|_| batch.more);
        repriced::goes_on_anew(connection, more)?;
    }
    Ok(true)
}

/// Adds what a batch counts to what is there.
fn insert(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    insert_slices(connection, "spend", &batch.slices)?;
    insert_slices(connection, "spend_hours", &rollup::hours(&batch.slices))?;
    insert_slices(connection, "spend_days", &rollup::days(&batch.slices))?;
    insert_labels(connection, "spend_labels", &batch.labels)?;
    let days = rollup::label_days(&batch.labels);
    insert_labels(connection, "spend_label_days", &days)?;
    charges::insert(connection, "spend_margins", &batch.margins)?;
    charges::insert(connection, "spend_margin_days", &rollup::margin_days(batch))
}

fn insert_slices(
    connection: &Connection,
    table: &str,
    slices: &HashMap<Slice, Sum>,
) -> rusqlite::Result<()> {
    let sql = upsert(
        table,
        &["quarter", "tenant", "team", "client", "provider", "model"],
    );
    let mut insert = connection.prepare_cached(&sql)?;
    for (slice, sum) in slices {
        let counts = signed(sum);
        let names: [&dyn ToSql; 6] = [
            &slice.quarter,
            &slice.tenant,
            &slice.team,
            &slice.client,
            &slice.provider,
            &slice.model,
        ];
        let row: Vec<&dyn ToSql> = names
            .into_iter()
            .chain(counts.iter().map(|count| count as &dyn ToSql))
            .collect();
        insert.execute(&*row)?;
    }
    Ok(())
}

fn insert_labels(
    connection: &Connection,
    table: &str,
    labels: &HashMap<Label, Sum>,
) -> rusqlite::Result<()> {
    let sql = upsert(table, &["quarter", "tenant", "kind", "value"]);
    let mut insert = connection.prepare_cached(&sql)?;
    for (label, sum) in labels {
        let (counts, kind) = (signed(sum), kind(label.kind));
        let names: [&dyn ToSql; 4] = [&label.quarter, &label.tenant, &kind, &label.value];
        let row: Vec<&dyn ToSql> = names
            .into_iter()
            .chain(counts.iter().map(|count| count as &dyn ToSql))
            .collect();
        insert.execute(&*row)?;
    }
    Ok(())
}

/// Puts a batch that was priced anew in the place of everything in these quarters, the end excluded.
pub(in crate::store::embedded) fn replace(
    connection: &Connection,
    quarters: (u64, u64),
    batch: &Batch,
) -> rusqlite::Result<()> {
    clear(connection, quarters)?;
    insert(connection, batch)?;
    repriced::note(connection, quarters)
}

/// Takes out everything in these quarters, the end excluded.
fn clear(connection: &Connection, (from, to): (u64, u64)) -> rusqlite::Result<()> {
    for table in ["spend", "spend_labels"] {
        connection.execute(
            &format!("DELETE FROM {table} WHERE quarter >= ?1 AND quarter < ?2"),
            (from, to),
        )?;
    }
    charges::delete(connection, (from, to))?;
    rollup::rebuild(connection, (from, to), &SUMS)
}

/// What is booked in these quarters, the end excluded: requests and their cost by quarter, tenant, provider and
/// model.
pub(in crate::store::embedded) fn booked(
    connection: &Connection,
    quarters: (u64, u64),
) -> rusqlite::Result<ByQuarter> {
    let mut asked = connection.prepare(
        "SELECT quarter, tenant, provider, model, sum(requests), sum(cost_nano) FROM spend
         WHERE quarter >= ?1 AND quarter < ?2 GROUP BY quarter, tenant, provider, model",
    )?;
    let mut rows = asked.query(quarters)?;
    let mut all = ByQuarter::new();
    while let Some(row) = rows.next()? {
        let names = (row.get(1)?, row.get(2)?, row.get(3)?);
        let sum = Sum {
            requests: row.get(4)?,
            cost_nano: row.get(5)?,
            ..Sum::default()
        };
        all.entry(row.get(0)?).or_default().insert(names, sum);
    }
    Ok(all)
}

pub(super) fn spent(
    connection: &Connection,
    tenant: &str,
    since: u64,
) -> rusqlite::Result<Vec<Spent>> {
    // A quarter that began before counts whole: too much rather than too little.
    let mut by_client = connection.prepare_cached(
        // A margin may be below nothing; with the cost that it belongs to it is what was charged.
        "SELECT quarter, team, client, tag, max(sum(nano), 0) FROM (
             SELECT quarter, team, client, '' AS tag, cost_nano AS nano FROM spend
             WHERE tenant = ?1 AND quarter > ?2 - 900
             UNION ALL
             SELECT quarter, '', '', value, cost_nano FROM spend_labels
             WHERE tenant = ?1 AND kind = 0 AND quarter > ?2 - 900
             UNION ALL
             SELECT quarter, team, client, tag, margin_nano FROM spend_margins
             WHERE tenant = ?1 AND quarter > ?2 - 900
         ) GROUP BY quarter, team, client, tag",
    )?;
    let rows = by_client.query_map((tenant, since), |row| {
        Ok(Spent {
            quarter: row.get(0)?,
            team: row.get(1)?,
            client: row.get(2)?,
            tag: row.get(3)?,
            cost: NanoUsd(row.get(4)?),
        })
    })?;
    rows.collect()
}

fn spent_at(
    connection: &Connection,
    provider: &str,
    since: u64,
) -> rusqlite::Result<Vec<(u64, NanoUsd)>> {
    // As above, whole quarters.
    let mut by_quarter = connection.prepare_cached(
        "SELECT quarter, cost_nano FROM spend_providers WHERE provider = ?1 AND quarter > ?2 - 900 ORDER BY quarter",
    )?;
    let rows = by_quarter.query_map((provider, since), |row| {
        Ok((row.get(0)?, NanoUsd(row.get(1)?)))
    })?;
    rows.collect()
}

pub(in crate::store::embedded) fn report(
    connection: &Connection,
    question: &SpendQuestion,
) -> rusqlite::Result<Vec<SpendLine>> {
    let name = match question.by {
        SpendBy::Tenant => "tenant",
        SpendBy::Team => "rtrim(tenant || '/' || team, '/')",
        SpendBy::Client => "tenant || '#' || client",
        SpendBy::Provider => "provider",
        SpendBy::Model => "trim(provider || '/' || model, '/')",
        SpendBy::Tag => "tenant || '+' || value",
        SpendBy::User => "tenant || '@' || value",
        SpendBy::Day => "date(quarter, 'unixepoch')",
        SpendBy::Hour => "strftime('%Y-%m-%dT%H:00Z', quarter, 'unixepoch')",
    };
    let sums: Vec<String> = SUMS.iter().map(|column| format!("sum({column})")).collect();
    let order = match question.by {
        SpendBy::Day | SpendBy::Hour => "name",
        SpendBy::Tenant
        | SpendBy::Team
        | SpendBy::Client
        | SpendBy::Provider
        | SpendBy::Model
        | SpendBy::Tag
        | SpendBy::User => "sum(cost_nano) DESC, name",
    };
    let source = Source::of(question.by);
    // Names in the text are ours; what was asked for is bound (attack A08).
    let sql = format!(
        "{} SELECT {name} AS name, {} FROM entries GROUP BY name ORDER BY {order} LIMIT 10000",
        source.rows(),
        sums.join(", ")
    );
    let mut asked = connection.prepare_cached(&sql)?;
    let [from, first, last, to] = source.bounds(question);
    let rows = asked.query_map((from, first, last, to, &question.tenant), line)?;
    let lines = rows.collect::<rusqlite::Result<_>>()?;
    charges::with_margins(connection, question, lines)
}

fn line(row: &Row<'_>) -> rusqlite::Result<SpendLine> {
    let mut columns = [0_u64; 13];
    for (nth, place) in columns.iter_mut().enumerate() {
        *place = row.get(nth + 1)?;
    }
    Ok(SpendLine {
        name: row.get(0)?,
        sum: Sum::of_columns(columns),
        margin_nano: None,
    })
}

impl SpendStore for Embedded {
    fn position(&self) -> Pending<Position> {
        let path = self.path();
        self.read(move |connection, _| position(connection).map_err(|error| fault(&error, &path)))
    }

    fn book(&self, from: Position, batch: Batch) -> Pending<bool> {
        let path = self.path();
        let bytes = (batch.slices.len() + batch.labels.len()) * 256;
        self.write(bytes, move |connection, _| {
            book(connection, from, &batch).map_err(|error| fault(&error, &path))
        })
    }

    fn keep(&self, tags: Vec<(String, String)>) -> Pending<()> {
        let path = self.path();
        self.write(0, move |connection, _| {
            keep(connection, &tags).map_err(|error| fault(&error, &path))
        })
    }

    fn spent(&self, tenant: &str, since: u64) -> Pending<Vec<Spent>> {
        let (tenant, path) = (tenant.to_owned(), self.path());
        self.read(move |connection, _| {
            spent(connection, &tenant, since).map_err(|error| fault(&error, &path))
        })
    }

    fn spent_at(&self, provider: &str, since: u64) -> Pending<Vec<(u64, NanoUsd)>> {
        let (provider, path) = (provider.to_owned(), self.path());
        self.read(move |connection, _| {
            spent_at(connection, &provider, since).map_err(|error| fault(&error, &path))
        })
    }

    fn bought(&self, provider: &str, since: u64) -> Pending<Bought> {
        let (provider, path) = (provider.to_owned(), self.path());
        self.read(move |connection, _| {
            bought::since(connection, &provider, since).map_err(|error| fault(&error, &path))
        })
    }

    fn alerted(&self, what: Vec<String>) -> Pending<Vec<Option<u64>>> {
        let path = self.path();
        self.read(move |connection, _| {
            let told = what.iter().map(|one| alerted::told(connection, one));
            let told: rusqlite::Result<Vec<_>> = told.collect();
            told.map_err(|error| fault(&error, &path))
        })
    }

    fn report(&self, question: SpendQuestion) -> Pending<Vec<SpendLine>> {
        let path = self.path();
        self.read(move |connection, _| {
            report(connection, &question).map_err(|error| fault(&error, &path))
        })
    }
}
