//! How the journal fares: what admission and metrics look at.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What admission and metrics look at.
#[derive(Debug, Default)]
pub struct JournalHealth {
    pub(super) unwritable: AtomicBool,
    /// The last write took longer than a task may be held up.
    pub(super) slow: AtomicBool,
    /// Milliseconds the writing of the current batch has taken so far; 0 while nothing is being written.
    pub(super) busy_since_ms: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) owners: AtomicU64,
    pub(super) syncs: AtomicU64,
    /// The last record that stands on the disk, and the last that is booked.
    pub(super) written_to: AtomicU64,
    booked: AtomicU64,
    /// Requests that an earlier process left open are still looked for.
    pub(super) searching: AtomicBool,
    /// A segment is kept only because it is not booked.
    pub(super) held: AtomicBool,
    /// Makes writes fail as a full disk would.
    #[cfg(test)]
    pub(super) failing: AtomicBool,
    /// Makes writes take so many milliseconds.
    #[cfg(test)]
    pub(super) dragging_ms: AtomicU64,
}

impl JournalHealth {
    pub fn writable(&self) -> bool {
        !self.unwritable.load(Ordering::Relaxed)
    }

    /// Whether requests that an earlier process left open are still looked for: until then not all of them have their
    /// outcome.
    pub fn is_searching(&self) -> bool {
        self.searching.load(Ordering::Acquire)
    }

    /// How long the batch under way has been waiting for the disk (fault X10).
    pub fn lag(&self) -> Duration {
        match self.busy_since_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(wall_ms().saturating_sub(since)),
        }
    }

    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Batches that were synced before they were answered.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// The last record that stands on the disk.
    pub fn written_to(&self) -> u64 {
        self.written_to.load(Ordering::Acquire)
    }

    /// All up to this record is booked.
    pub fn booked_to(&self, seq: u64) {
        self.booked.fetch_max(seq, Ordering::Relaxed);
    }

    pub(super) fn booked(&self) -> u64 {
        self.booked.load(Ordering::Relaxed).min(u64::MAX - 1)
    }

    /// End users and owners of texts that are told apart.
    pub fn owners(&self) -> u64 {
        self.owners.load(Ordering::Relaxed)
    }

    /// Records that could not be written while the disk failed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Wall-clock milliseconds: told in records, never used to decide.
pub(super) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
