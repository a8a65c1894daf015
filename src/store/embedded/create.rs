//! A new file, made beside its place and moved there whole.
//!
//! # Why
//! A file that SQLite has just begun has no bytes, and so has one that was lost. Made elsewhere and moved, ours
//! are whole from the first moment, and an empty one is a loss that is told, not a beginning.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::key;
use super::schema::{fault, latest, migrate};
use super::seal::Sealer;
use crate::store::StoreError;

pub(super) fn create(path: &Path, sealer: &Sealer) -> Result<(), StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    // What a process left that was killed while it made one; the caller holds the lock.
    let _ = fs::remove_file(&beside);
    let failed = |error: std::io::Error| StoreError::open(path, error.kind());
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    let shown = beside.display().to_string();
    let connection = Connection::open_with_flags(&beside, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|error| fault(&error, &shown))?;
    // Pages of what was deleted go back to the disk; this has to be said before the first table.
    connection
        .execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA synchronous = FULL")
        .map_err(|error| fault(&error, &shown))?;
    migrate(&connection, 0, latest(), &shown)?;
    key::check(&connection, sealer, &shown)?;
    connection
        .close()
        .map_err(|(_, error)| fault(&error, &shown))?;
    put_in_place(&beside, path).map_err(failed)
}

/// Moves a file that is on the disk, and the move itself too.
pub(super) fn put_in_place(from: &Path, to: &Path) -> std::io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
