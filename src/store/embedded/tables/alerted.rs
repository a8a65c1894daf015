//! Which thresholds of budgets were told, so that a new process tells none of them again.

use rusqlite::Connection;

use super::{Table, nothing};
use crate::store::embedded::schema::Migration;
use crate::store::spending::Batch;

/// No cap looks back further than a year; one of all time is told again after that.
const KEPT_DAYS: u64 = 400;

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 7,
        sql: "
CREATE TABLE budget_alerts (
    what TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID",
    }],
    started: nothing,
    expire: |connection, now| {
        let until = now.saturating_sub(KEPT_DAYS * 86_400).saturating_mul(1_000);
        let gone = connection.execute("DELETE FROM budget_alerts WHERE at_ms < ?1", [until])?;
        Ok(gone as u64)
    },
    evict: |_| Ok(0),
};

pub(super) fn insert(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO budget_alerts (what, at_ms) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
    )?;
    for (what, at_ms) in &batch.alerted {
        insert.execute((what, at_ms))?;
    }
    Ok(())
}

/// When this was told last.
pub(super) fn told(connection: &Connection, what: &str) -> rusqlite::Result<Option<u64>> {
    let mut asked = connection.prepare_cached("SELECT at_ms FROM budget_alerts WHERE what = ?1")?;
    let mut rows = asked.query([what])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}
