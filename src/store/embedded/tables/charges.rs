//! What was charged beyond what providers billed, beside what was spent.
//!
//! # Why a table of its own
//! Most installations add nothing, and then it is empty; and what was spent stays the providers' bill.

use std::collections::HashMap;

use rusqlite::{Connection, ToSql};

use super::rollup::Source;
use super::{Table, nothing};
use crate::store::embedded::schema::Migration;
use crate::store::spending::{MarginPlace, SpendBy, SpendLine, SpendQuestion};

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 6,
        // A tag's line has neither team nor client, as it cuts across them.
        sql: "
CREATE TABLE spend_margins (
    tenant TEXT NOT NULL,
    quarter INTEGER NOT NULL,
    team TEXT NOT NULL,
    client TEXT NOT NULL,
    tag TEXT NOT NULL,
    margin_nano INTEGER NOT NULL,
    PRIMARY KEY (tenant, quarter, team, client, tag)
) STRICT, WITHOUT ROWID",
    }],
    started: nothing,
    // Kept as what was spent is, and for the same reason.
    expire: |_, _| Ok(0),
    evict: |_| Ok(0),
};

/// Adds margins to what is there, by quarters or by days.
pub(super) fn insert(
    connection: &Connection,
    table: &str,
    margins: &HashMap<MarginPlace, i64>,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO {table} (tenant, quarter, team, client, tag, margin_nano)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET margin_nano = margin_nano + excluded.margin_nano",
    ))?;
    for (place, nano) in margins {
        let row: [&dyn ToSql; 6] = [
            &place.tenant,
            &place.quarter,
            &place.team,
            &place.client,
            &place.tag,
            nano,
        ];
        insert.execute(&row[..])?;
    }
    Ok(())
}

/// Takes out what was added in these quarters, the end excluded.
pub(super) fn delete(connection: &Connection, (from, to): (u64, u64)) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM spend_margins WHERE quarter >= ?1 AND quarter < ?2",
        (from, to),
    )?;
    Ok(())
}

/// A report's lines with their margins; without where a margin is nobody's: a provider has none, and end users are
/// not told apart here.
pub(super) fn with_margins(
    connection: &Connection,
    question: &SpendQuestion,
    mut lines: Vec<SpendLine>,
) -> rusqlite::Result<Vec<SpendLine>> {
    if let Some(margins) = by_name(connection, question)? {
        for line in &mut lines {
            line.margin_nano = Some(margins.get(&line.name).copied().unwrap_or_default());
        }
    }
    Ok(lines)
}

fn by_name(
    connection: &Connection,
    question: &SpendQuestion,
) -> rusqlite::Result<Option<HashMap<String, i64>>> {
    let Some(source) = Source::of_margins(question.by) else {
        return Ok(None);
    };
    let name = match question.by {
        SpendBy::Tenant => "tenant",
        SpendBy::Team => "rtrim(tenant || '/' || team, '/')",
        SpendBy::Client => "tenant || '#' || client",
        SpendBy::Tag => "tenant || '+' || tag",
        SpendBy::Day => "date(quarter, 'unixepoch')",
        SpendBy::Hour => "strftime('%Y-%m-%dT%H:00Z', quarter, 'unixepoch')",
        SpendBy::Provider | SpendBy::Model | SpendBy::User => return Ok(None),
    };
    // Names in the text are ours; what was asked for is bound (attack A08).
    let sql = format!(
        "{} SELECT {name} AS name, sum(margin_nano) FROM entries GROUP BY name",
        source.rows()
    );
    let mut asked = connection.prepare_cached(&sql)?;
    let [from, first, last, to] = source.bounds(question);
    let rows = asked.query_map((from, first, last, to, &question.tenant), |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    rows.collect::<rusqlite::Result<_>>().map(Some)
}
