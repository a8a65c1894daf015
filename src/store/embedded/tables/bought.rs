//! What was bought at each provider, for discounts that rise with it.

use rusqlite::Connection;

use super::{Table, nothing};
use crate::domain::{Bought, NanoUsd};

use crate::store::embedded::schema::Migration;
use crate::store::spending::Batch;

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 8,
        // Attempts of before were not added up by tokens: those of what was answered come closest.
        sql: "
CREATE TABLE spend_bought (
    provider TEXT NOT NULL,
    quarter INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (provider, quarter)
) STRICT, WITHOUT ROWID;
INSERT INTO spend_bought (provider, quarter, cost_nano, tokens)
    SELECT provider, quarter, sum(cost_nano), sum(input + output) FROM spend
    WHERE provider <> '' GROUP BY provider, quarter",
    }],
    started: nothing,
    // Kept as what was spent is: a year of quarters is small.
    expire: |_, _| Ok(0),
    evict: |_| Ok(0),
};

pub(super) fn insert(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO spend_bought (provider, quarter, cost_nano, tokens) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET cost_nano = cost_nano + excluded.cost_nano,
             tokens = tokens + excluded.tokens",
    )?;
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for ((quarter, provider), bought) in &batch.bought {
        let (billed, tokens) = (signed(bought.billed.0), signed(bought.tokens));
        insert.execute((provider, quarter, billed, tokens))?;
    }
    Ok(())
}

/// Takes out what was added from this quarter on.
pub(super) fn delete(connection: &Connection, from: u64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM spend_bought WHERE quarter >= ?1", [from])?;
    Ok(())
}

pub(super) fn since(
    connection: &Connection,
    provider: &str,
    from: u64,
) -> rusqlite::Result<Bought> {
    let mut asked = connection.prepare_cached(
        "SELECT coalesce(sum(cost_nano), 0), coalesce(sum(tokens), 0) FROM spend_bought
         WHERE provider = ?1 AND quarter >= ?2",
    )?;
    asked.query_row((provider, from), |row| {
        Ok(Bought {
            billed: NanoUsd(row.get(0)?),
            tokens: row.get(1)?,
        })
    })
}
