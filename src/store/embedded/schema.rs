//! The schema's number, and the way from each to the next.

use rusqlite::{Connection, ErrorCode};

use super::tables;
use crate::store::StoreError;

/// Tells our files from other people's: "SWYD".
const APPLICATION_ID: i32 = 0x5357_5944;

/// One step of the schema. A released one is never changed: files of it exist.
pub(super) struct Migration {
    /// The schema's number once it is done.
    pub(super) number: u32,
    pub(super) sql: &'static str,
}

/// The number this release writes.
pub(super) fn latest() -> u32 {
    tables::migrations()
        .iter()
        .map(|step| step.number)
        .max()
        .unwrap_or_default()
}

/// The number of this file; an error where it is none of ours, or of a release yet to come. Changes nothing.
pub(super) fn number(connection: &Connection, path: &str) -> Result<u32, StoreError> {
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|error| fault(&error, path))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let found = u32::try_from(pragma("user_version")?).unwrap_or(u32::MAX);
    let known = latest();
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

/// Brings a file from schema `from` to `to`, each step whole or not at all.
pub(super) fn migrate(
    connection: &Connection,
    from: u32,
    to: u32,
    path: &str,
) -> Result<(), StoreError> {
    for step in tables::migrations() {
        if step.number <= from || step.number > to {
            continue;
        }
        // Ours from the first step on, so that a file of schema 0 cannot be one of ours.
        let whole = format!(
            "BEGIN IMMEDIATE; {}; PRAGMA user_version = {}; PRAGMA application_id = {APPLICATION_ID}; COMMIT",
            step.sql, step.number
        );
        connection.execute_batch(&whole).map_err(|error| {
            let _ = connection.execute_batch("ROLLBACK");
            fault(&error, path)
        })?;
    }
    Ok(())
}

/// What SQLite found wrong with the file, if anything.
pub(super) fn sound(connection: &Connection, check: &str, path: &str) -> Result<(), StoreError> {
    let found: String = connection
        .pragma_query_value(None, check, |row| row.get(0))
        .map_err(|error| fault(&error, path))?;
    if found == "ok" {
        return Ok(());
    }
    Err(StoreError::Broken {
        path: path.to_owned(),
        why: found.lines().next().unwrap_or_default().to_owned(),
    })
}

/// What an error of SQLite's means. Its text never holds values.
pub(super) fn fault(error: &rusqlite::Error, path: &str) -> StoreError {
    let code = error.sqlite_error_code();
    match code {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Broken {
            path: path.to_owned(),
            why: "SQLite cannot read it".to_owned(),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse {
            path: path.to_owned(),
        },
        Some(code) => StoreError::Failed {
            why: format!("{code:?}"),
        },
        None => StoreError::Failed {
            why: "a statement does not fit the schema".to_owned(),
        },
    }
}
