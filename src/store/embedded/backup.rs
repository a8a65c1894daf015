//! What an operator does with the file: copy it while it is in use, and look whether it is sound.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::create::put_in_place;
use super::key;
use super::open::{Access, connect};
use super::schema::{fault, latest, number, sound};
use super::tables;
use crate::config::StoreSettings;
use crate::store::StoreError;

/// Pages copied at once; all of one backup are of one moment all the same.
const PAGES: i32 = 1_024;

/// Copies the store as it is at this moment to a new file, also while a gateway writes to it.
pub fn backup(settings: &StoreSettings, to: &Path) -> Result<u64, StoreError> {
    let shown = to.display().to_string();
    if to.exists() {
        return Err(StoreError::open(to, "there is a file of this name already"));
    }
    let from = there(settings)?;
    number(&from, &settings.path.display().to_string())?;
    // Held from here on, so that pages of two moments never meet.
    from.execute_batch("BEGIN; SELECT count(*) FROM meta")
        .map_err(|error| fault(&error, &shown))?;
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let beside = PathBuf::from(name);
    let _ = fs::remove_file(&beside);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|error| StoreError::open(to, error.kind()))?;
    let copied = copy(&from, &beside).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    put_in_place(&beside, to).map_err(|error| StoreError::open(to, error.kind()))?;
    Ok(copied)
}

fn copy(from: &Connection, to: &Path) -> Result<u64, StoreError> {
    let shown = to.display().to_string();
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|error| fault(&error, &shown))?;
    let run = Backup::new(from, &mut target)
        .and_then(|run| run.run_to_completion(PAGES, std::time::Duration::ZERO, None));
    run.map_err(|error| fault(&error, &shown))?;
    // A copy that nobody looked at is no backup.
    sound(&target, "quick_check", &shown)?;
    tables::used(&target).map_err(|error| fault(&error, &shown))
}

/// What `switchyard store check` tells.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    pub path: PathBuf,
    pub schema: u32,
    /// The schema this release writes; an older one is brought there at the next start.
    pub latest_schema: u32,
    pub bytes: u64,
    pub responses: u64,
}

/// Reads every page and every index, and tries the key. Changes nothing.
pub fn check(settings: &StoreSettings) -> Result<CheckReport, StoreError> {
    let shown = settings.path.display().to_string();
    let connection = there(settings)?;
    let schema = number(&connection, &shown)?;
    sound(&connection, "integrity_check", &shown)?;
    key::check(&connection, &key::sealer(settings, false)?, &shown)?;
    let counted = tables::used(&connection).and_then(|bytes| {
        let responses =
            connection.query_row("SELECT count(*) FROM responses", [], |row| row.get(0))?;
        Ok((bytes, responses))
    });
    let (bytes, responses) = counted.map_err(|error| fault(&error, &shown))?;
    Ok(CheckReport {
        path: settings.path.clone(),
        schema,
        latest_schema: latest(),
        bytes,
        responses,
    })
}

/// A connection to a store that exists, on which nothing can be changed.
pub(super) fn there(settings: &StoreSettings) -> Result<Connection, StoreError> {
    let path = settings.path.as_path();
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.display().to_string(),
        });
    }
    // A log left by a killed process has to be read, and for that a file beside has to be made.
    let connection = connect(path, Access::Write)?;
    connection
        .execute_batch("PRAGMA query_only = ON")
        .map_err(|error| fault(&error, &path.display().to_string()))?;
    Ok(connection)
}
