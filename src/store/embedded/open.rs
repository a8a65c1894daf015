//! Opening: looked at first, touched only when all is well.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::queue::Queue;
use super::schema::{fault, latest, migrate, number, sound};
use super::tables::{self, Limits};
use super::writer::Writer;
use super::{Embedded, OpenedStore, StoreHealth, create, key, reader};
use crate::config::{StoreMode, StoreSettings};
use crate::store::StoreError;

/// A backup or another command may hold the file this long.
const BUSY: Duration = Duration::from_secs(5);
/// What is left of the write-ahead log after it was written back.
const WAL_LEFT: u64 = 16 << 20;

/// Opens the store, or makes it where `create` is set. Blocks: it reads the whole file once.
pub fn open(settings: &StoreSettings, create: bool) -> Result<(Embedded, OpenedStore), StoreError> {
    let path = settings.path.as_path();
    let shown = path.display().to_string();
    let there = exists(path)?;
    if !there && !create {
        return Err(StoreError::Missing { path: shown });
    }
    let lock = lock(path)?;
    let sealer = key::sealer(settings, !there)?;
    if !there {
        create::create(path, &sealer)?;
    }
    let connection = connect(path, Access::Write)?;
    let from = number(&connection, &shown)?;
    sound(&connection, "quick_check", &shown)?;
    prepare(&connection, settings).map_err(|error| fault(&error, &shown))?;
    migrate(&connection, from, latest(), &shown)?;
    key::check(&connection, &sealer, &shown)?;
    let interrupted = tables::started(&connection).map_err(|error| fault(&error, &shown))?;
    let reads = connect(path, Access::Read)?;
    let health = Arc::new(StoreHealth::default());
    let writer = Writer {
        connection,
        health: Arc::clone(&health),
        limits: Limits {
            max_bytes: settings.max_bytes,
        },
        path: shown.clone(),
    };
    health
        .bytes
        .store(tables::used(&reads).unwrap_or_default(), Ordering::Relaxed);
    let (writes, reads, threads) =
        threads(writer, reads, lock).map_err(|error| StoreError::open(path, error.kind()))?;
    let opened = OpenedStore {
        created: !there,
        migrated_from: Some(from).filter(|from| *from < latest()),
        interrupted,
    };
    Ok((
        Embedded {
            writes,
            reads,
            threads,
            sealer: Arc::new(sealer),
            health,
            patience: settings.patience,
            retention: settings.retention,
            path: shown.into(),
        },
        opened,
    ))
}

fn threads(
    writer: Writer,
    connection: Connection,
    lock: File,
) -> std::io::Result<(Queue, Queue, [thread::JoinHandle<()>; 2])> {
    let (writes, to_write) = Queue::new();
    let (reads, to_read) = Queue::new();
    let writing = thread::Builder::new()
        .name("store-write".to_owned())
        .spawn(move || {
            let told_to_end = writer.run(&to_write);
            // Held until the last write is done.
            drop(lock);
            if let Some(answer) = told_to_end {
                let _ = answer.send(Ok(()));
            }
        })?;
    let reading = thread::Builder::new()
        .name("store-read".to_owned())
        .spawn(move || reader::run(connection, &to_read))?;
    Ok((writes, reads, [writing, reading]))
}

/// The smallest page SQLite knows.
const LEAST: u64 = 512;

/// Whether there is something; a file without one whole page is a store that was lost.
fn exists(path: &Path) -> Result<bool, StoreError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() < LEAST => Err(StoreError::Broken {
            path: path.display().to_string(),
            why: "it is empty, or cut off in its head".to_owned(),
        }),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::open(path, error.kind())),
    }
}

/// One gateway per store: what is under way in it is of this process.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(PathBuf::from(name))
        .map_err(|error| StoreError::open(path, error.kind()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::open(path, error.kind())),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, StoreError> {
    let flags = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let shown = path.display().to_string();
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| fault(&error, &shown))?;
    connection
        .busy_timeout(BUSY)
        .map_err(|error| fault(&error, &shown))?;
    Ok(connection)
}

fn prepare(connection: &Connection, settings: &StoreSettings) -> rusqlite::Result<()> {
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = (settings.max_bytes / page.max(1)).max(1);
    let synchronous = match settings.mode {
        StoreMode::Fast => "NORMAL",
        StoreMode::Durable => "FULL",
    };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON; \
         PRAGMA max_page_count = {pages}; PRAGMA journal_size_limit = {WAL_LEFT}"
    ))
}
