//! What is written is added up in passing, so that the books need not read it back.
//!
//! # Why
//! Every attempt and every outcome has to come into the books, once. Whoever hands a record in has all that the books
//! want to know in its hands; reading it back takes ten times as long as adding it up. The journal stays the truth: a
//! tally says between which two records it stands, and whoever cannot tell that the books end where it begins reads.

use std::sync::atomic::{AtomicU64, Ordering};

use super::costs::Cost;
use crate::store::spending::{Batch, Position};

/// Records that are added up before somebody asks: more say that nobody does (ground rule G14).
const MOST: u64 = 1_000_000;

/// What was written between two cuts.
#[derive(Debug)]
pub struct Cut {
    /// Tells one writer's records from another's: a journal may be opened anew, or another in its place.
    pub writer: u64,
    /// The last record before it.
    pub behind: u64,
    /// Its own last record.
    pub upto: u64,
    /// What its records add up to; `None` where that has to be read.
    pub batch: Option<Box<Batch>>,
}

/// What records on their way to the disk add up to.
#[derive(Debug, Default)]
pub(super) struct Sums {
    batch: Box<Batch>,
    /// Which of the records that wait was counted last, from one, and when it was handed in.
    last: (u64, u64),
}

impl Sums {
    pub(super) fn count(&mut self, cost: &Cost<'_>, last: (u64, u64)) {
        self.batch.count(cost, last.1);
        self.last = last;
    }
}

/// What was written since the last cut.
#[derive(Debug)]
pub(super) struct Tally {
    writer: u64,
    behind: u64,
    batch: Option<Box<Batch>>,
    /// Something was written that is not in.
    broken: bool,
}

impl Tally {
    pub(super) fn behind(record: u64) -> Self {
        static WRITERS: AtomicU64 = AtomicU64::new(0);
        Self {
            writer: WRITERS.fetch_add(1, Ordering::Relaxed),
            behind: record,
            batch: None,
            broken: false,
        }
    }

    /// Adds what was written behind this record.
    pub(super) fn add(&mut self, behind: u64, sums: Option<Sums>) {
        let Some(mut sums) = sums.filter(|_| !self.broken) else {
            return;
        };
        let (nth, at_ms) = sums.last;
        sums.batch.to = Position {
            seq: behind + nth,
            at_ms,
        };
        if behind - self.behind > MOST {
            self.break_off();
            return;
        }
        match &mut self.batch {
            Some(batch) => batch.absorb(*sums.batch),
            None => self.batch = Some(sums.batch),
        }
    }

    /// Until the next cut, what is written has to be read.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
        self.batch = None;
    }

    /// Begins anew behind this record, which is the last that was written.
    pub(super) fn cut(&mut self, upto: u64) -> Cut {
        let batch = self.batch.take();
        let broken = std::mem::replace(&mut self.broken, false);
        Cut {
            writer: self.writer,
            behind: std::mem::replace(&mut self.behind, upto),
            upto,
            batch: (!broken).then(|| batch.unwrap_or_default()),
        }
    }
}
