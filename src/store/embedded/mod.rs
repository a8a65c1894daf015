//! The embedded store: one SQLite file, written by one thread and read by another.
//!
//! # Why
//! SQLite has one writer. A thread that owns the connection makes that a queue of ours: what comes while a
//! transaction is committed goes together into the next one, so a slow disk makes batches larger and not callers
//! many. Readers have a connection of their own, and in WAL mode neither waits for the other. Both queues are bounded
//! in number and in bytes; what does not fit is refused at once.
//!
//! # What is safe when
//! Answers to writes come after the commit. In mode `fast` that survives a killed process, in `durable` a lost
//! machine. The file is made beside its place and moved there whole, so an empty or cut one is never ours: it is
//! refused with its path, and never replaced. Migrations run one transaction each, with the schema's number in it.
//!
//! # Adding a table
//! A file in `tables/` with its [`tables::Table`], a line in `tables/mod.rs`, its fixture in `tables/tests.rs`.

mod backup;
mod create;
mod key;
mod open;
mod queue;
mod reader;
mod roll;
mod schema;
mod seal;
mod spending;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::timeout;

pub use backup::{CheckReport, backup, check};
pub use open::open;
pub use roll::{RollWatch, change, change_many, pepper, roll};
pub use spending::{booked_in, booked_to, reprice, spend_report};

use super::{Pending, StoreError};
use queue::{Awaited, Queue, Unasked};
use seal::Sealer;

/// What metrics look at.
#[derive(Debug, Default)]
pub struct StoreHealth {
    /// The last commit failed.
    pub(super) unwritable: AtomicBool,
    pub(super) commits: AtomicU64,
    pub(super) jobs: AtomicU64,
    /// Pages in use, in bytes.
    pub(super) bytes: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) evicted: AtomicU64,
}

impl StoreHealth {
    pub fn writable(&self) -> bool {
        !self.unwritable.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records that were let go because their time was over, and because there was no room.
    pub fn let_go(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.expired), count(&self.evicted))
    }

    /// Writes, and the transactions they went into.
    pub fn written(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.jobs), count(&self.commits))
    }
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenedStore {
    pub created: bool,
    /// The schema it had before; `None` when nothing had to be changed (fault X18).
    pub migrated_from: Option<u32>,
    /// Responses that were under way when the last process ended.
    pub interrupted: u64,
}

/// An open store. Its threads end with it.
#[derive(Debug)]
pub struct Embedded {
    writes: Queue,
    reads: Queue,
    threads: [JoinHandle<()>; 2],
    sealer: Arc<Sealer>,
    health: Arc<StoreHealth>,
    patience: Duration,
    retention: Duration,
    path: Arc<str>,
}

impl Embedded {
    pub fn health(&self) -> &StoreHealth {
        &self.health
    }

    /// Whether both threads are there; a panic in one of them is the end of this store.
    pub fn is_alive(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Writes what was handed in before, ends the threads and closes the file. Whoever comes after is told so.
    pub async fn close(&self) -> Result<(), StoreError> {
        // Readers first: who closes last writes the log back, and only the writer may.
        within(self.patience, self.reads.end()).await?;
        within(self.patience, self.writes.end()).await
    }

    /// As [`Self::close`], for one who may block: when it returns the file is nobody's, and its log is written back.
    fn end(self) {
        let Self {
            writes,
            reads,
            threads: [writing, reading],
            ..
        } = self;
        drop(reads);
        // What a thread panicked of was told when it did.
        let _ = reading.join();
        drop(writes);
        let _ = writing.join();
    }

    fn path(&self) -> Arc<str> {
        Arc::clone(&self.path)
    }

    /// When what was made at this moment is let go, in unix seconds.
    fn expires(&self, created: u64) -> u64 {
        created.saturating_add(self.retention.as_secs())
    }

    /// Runs `job` in the next transaction; its answer comes after the commit. It has its place in the order of
    /// writes when this returns, whether or not anyone waits for the answer. `bytes` is what it holds in memory.
    fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        job: impl FnOnce(&Connection, &Sealer) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<T> {
        let sealer = Arc::clone(&self.sealer);
        let job = move |connection: &Connection| job(connection, &sealer);
        within(self.patience, self.writes.push(bytes, Unasked::Run, job))
    }

    /// As [`Self::write`], beside the writes; not done when its caller has left.
    fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection, &Sealer) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<T> {
        let sealer = Arc::clone(&self.sealer);
        let job = move |connection: &Connection| job(connection, &sealer);
        within(self.patience, self.reads.push(0, Unasked::Skip, job))
    }
}

fn within<T: Send + 'static>(
    patience: Duration,
    awaited: Result<Awaited<T>, StoreError>,
) -> Pending<T> {
    Box::pin(async move {
        match timeout(patience, awaited?).await {
            Ok(Ok(answer)) => answer,
            // The thread ended with the job in its hands.
            Ok(Err(_)) => Err(StoreError::Ended),
            Err(_) => Err(StoreError::Late),
        }
    })
}

/// Wall-clock seconds: what is kept has a date.
fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
