//! What is written is added up in passing, so that the books need not read it back.
//!
//! # Why
//! Every attempt and every outcome has to come into the books, once. Whoever hands a record in has all that the books
//! want to know in its hands; reading it back takes ten times as long as adding it up. The journal stays the truth: a
//! tally says between which two records it stands, and whoever cannot tell that the books end where it begins reads.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use super::costs::Cost;
use crate::store::spending::{Batch, Position};

/// Records that are added up before somebody asks: more say that nobody does (ground rule G14).
const MOST: u64 = 1_000_000;

/// Tells one writer's records from another's: a journal may be opened anew, or another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterId(u64);

impl WriterId {
    pub(crate) fn next() -> Self {
        static WRITERS: AtomicU64 = AtomicU64::new(0);
        Self(WRITERS.fetch_add(1, Ordering::Relaxed))
    }
}

/// A place in what one writer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenTo {
    pub by: WriterId,
    /// The last record before it.
    pub upto: u64,
}

/// What was written between two places.
#[derive(Debug)]
pub struct Stretch {
    pub from: WrittenTo,
    pub to: WrittenTo,
    /// All that was handed in before stands in the journal up to its end, in wall-clock milliseconds.
    pub whole_until_ms: u64,
    /// What its records add up to; `None` where that has to be read.
    pub batch: Option<Box<Batch>>,
}

/// What records on their way to the disk add up to.
#[derive(Debug, Default)]
pub(super) struct Sums {
    batch: Box<Batch>,
    last: Handed,
}

/// A record that waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handed {
    /// Which of those that wait, from one.
    pub(super) nth: u64,
    pub(super) at_ms: u64,
}

impl Sums {
    pub(super) fn count(&mut self, cost: &Cost<'_>, handed: Handed) {
        self.batch.count(cost, handed.at_ms);
        self.last = handed;
    }
}

/// What was written since somebody asked last.
#[derive(Debug)]
pub(super) struct Tally {
    from: WrittenTo,
    /// The last record that was written.
    upto: u64,
    whole_until_ms: u64,
    batch: Option<Box<Batch>>,
    /// Something was written that is not in.
    broken: bool,
}

impl Tally {
    pub(super) fn behind(record: u64) -> Self {
        Self {
            from: WrittenTo {
                by: WriterId::next(),
                upto: record,
            },
            upto: record,
            whole_until_ms: 0,
            batch: None,
            broken: false,
        }
    }

    /// Adds what was written behind the first of these records, up to the second; all that was handed in before that
    /// time is written with it.
    pub(super) fn add(&mut self, (behind, upto): (u64, u64), sums: Option<Sums>, taken_at_ms: u64) {
        self.upto = upto;
        self.whole_until_ms = taken_at_ms;
        let Some(mut sums) = sums.filter(|_| !self.broken) else {
            return;
        };
        sums.batch.to = Position {
            seq: behind + sums.last.nth,
            at_ms: sums.last.at_ms,
        };
        if behind - self.from.upto > MOST {
            warn!("nobody has asked for a million records that were added up: they will be read");
            self.break_off(upto);
            return;
        }
        match &mut self.batch {
            Some(batch) => batch.absorb(*sums.batch),
            None => self.batch = Some(sums.batch),
        }
    }

    /// Up to this record and until somebody asks, what is written has to be read.
    pub(super) fn break_off(&mut self, upto: u64) {
        self.upto = upto;
        self.broken = true;
        self.batch = None;
    }

    /// Something was written that nobody handed in.
    pub(super) fn pass(&mut self, upto: u64) {
        self.upto = upto;
    }

    /// What was written since this was asked last.
    pub(super) fn take(&mut self) -> Stretch {
        let to = WrittenTo {
            upto: self.upto,
            ..self.from
        };
        let batch = self.batch.take();
        let broken = std::mem::replace(&mut self.broken, false);
        Stretch {
            from: std::mem::replace(&mut self.from, to),
            to,
            whole_until_ms: self.whole_until_ms,
            batch: (!broken).then(|| batch.unwrap_or_default()),
        }
    }
}
