//! Stretches whose costs were put right, which no journal tells.
//!
//! # Why they outlive the journal they were priced from
//! The journal keeps what was charged. Where it is booked anew, because it lost its end or was restored, its costs of
//! such a stretch would undo what was put right; so what is booked of it stays, and is not counted once more.

use rusqlite::{Connection, OptionalExtension as _};

use super::{Table, nothing};
use crate::store::embedded::schema::Migration;

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 10,
        // A journal may be longer than what is booked of it in one go: until its end it is booked anew.
        sql:
            "
CREATE TABLE spend_repriced (
    begins INTEGER PRIMARY KEY,
    ends INTEGER NOT NULL
) STRICT;
CREATE TABLE spend_anew (only INTEGER PRIMARY KEY CHECK (only = 1), begins INTEGER NOT NULL) STRICT",
    }],
    started: nothing,
    // A row for each time somebody priced something anew.
    expire: |_, _| Ok(0),
    evict: |_| Ok(0),
};

/// All of them in order, no two of which touch; unix seconds, the ends excluded.
pub(super) fn stretches(connection: &Connection) -> rusqlite::Result<Vec<(u64, u64)>> {
    let mut asked =
        connection.prepare_cached("SELECT begins, ends FROM spend_repriced ORDER BY begins")?;
    let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Notes one more.
pub(super) fn note(connection: &Connection, (from, to): (u64, u64)) -> rusqlite::Result<()> {
    let touching = "begins <= ?2 AND ends >= ?1";
    let (first, last): (u64, u64) = connection.query_row(
        &format!(
            "SELECT min(?1, coalesce(min(begins), ?1)), max(?2, coalesce(max(ends), ?2))
             FROM spend_repriced WHERE {touching}"
        ),
        (from, to),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    connection.execute(
        &format!("DELETE FROM spend_repriced WHERE {touching}"),
        (from, to),
    )?;
    connection.execute(
        "INSERT INTO spend_repriced (begins, ends) VALUES (?1, ?2)",
        (first, last),
    )?;
    Ok(())
}

/// From which quarter on a journal is being booked anew whose end is not in yet.
pub(super) fn anew_from(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let mut asked = connection.prepare_cached("SELECT begins FROM spend_anew")?;
    asked.query_row([], |row| row.get(0)).optional()
}

/// Notes from which quarter on more of it is to come; `None` when it is in.
pub(super) fn goes_on_anew(connection: &Connection, from: Option<u64>) -> rusqlite::Result<()> {
    match from {
        Some(from) => {
            let how = "INSERT OR REPLACE INTO spend_anew (only, begins) VALUES (1, ?1)";
            connection.execute(how, [from])
        }
        None => connection.execute("DELETE FROM spend_anew", []),
    }
    .map(drop)
}

/// What lies between them from here on.
pub(super) fn between(from: u64, stretches: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut open = from;
    for (begins, ends) in stretches {
        if *begins > open {
            gaps.push((open, *begins));
        }
        open = open.max(*ends);
    }
    // SQLite's numbers have a sign.
    gaps.push((open, i64::MAX as u64));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m1_what_lies_between_stretches_is_all_but_them() {
        const END: u64 = i64::MAX as u64;
        assert_eq!(between(5, &[]), [(5, END)]);
        let stretches = [(1, 3), (6, 9), (20, 30)];
        assert_eq!(between(0, &stretches), [(0, 1), (3, 6), (9, 20), (30, END)]);
        assert_eq!(between(7, &stretches), [(9, 20), (30, END)]);
        assert_eq!(between(6, &stretches[..2]), [(9, END)]);
    }

    #[test]
    fn m1_stretches_that_touch_are_noted_as_one() {
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch(
            "CREATE TABLE spend_repriced (begins INTEGER PRIMARY KEY, ends INTEGER NOT NULL) STRICT",
        )
        .unwrap();
        for (from, to) in [(10, 20), (40, 50), (12, 15), (20, 30), (60, 70), (25, 61)] {
            note(&file, (from, to)).unwrap();
        }
        assert_eq!(stretches(&file).unwrap(), [(10, 70)]);
        note(&file, (80, 90)).unwrap();
        note(&file, (5, 6)).unwrap();
        assert_eq!(stretches(&file).unwrap(), [(5, 6), (10, 70), (80, 90)]);
    }
}
