//! What writes: chains a batch, puts it on the disk, rotates, and recovers from a disk that fails.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::costs::Cost;
use super::handle::{JournalError, JournalOptions, Lock};
use super::health::{JournalHealth, wall_ms};
use super::owed::Owed;
use super::recover::cut_tail;
use super::retention::Oldest;
use super::segment::{Chain, create, file_name, push_line};
use super::tally::{Handed, Sums, Tally};
use crate::config::JournalMode;
use crate::domain::Border;

/// Tasks write for themselves only while writes are faster than this.
const SLOW: Duration = Duration::from_millis(1);
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) options: JournalOptions,
    pub(super) health: Arc<JournalHealth>,
    /// `None` after a failure: the old file is never trusted again (fault X11).
    pub(super) file: Option<File>,
    pub(super) path: PathBuf,
    /// The segment that failed, and how much of it is good.
    pub(super) failed: Option<(PathBuf, u64)>,
    pub(super) written: u64,
    pub(super) seq: u64,
    pub(super) chain: Chain,
    pub(super) out: Vec<u8>,
    pub(super) owed: Owed,
    /// When the segment began, in wall-clock milliseconds.
    pub(super) began: u64,
    /// Under a lock of its own, which nobody holds while the disk is waited for.
    pub(super) tally: Arc<Lock<Tally>>,
}

impl Pending {
    /// Takes out what waits.
    pub(super) fn taken(&mut self) -> Self {
        let (closed, asleep, border) = (self.closed, self.asleep, self.border);
        let mut taken = std::mem::take(self);
        (self.closed, self.asleep, self.border) = (closed, asleep, border);
        taken.taken_at_ms = wall_ms();
        taken
    }

    /// Adds up what the record that was pushed last tells.
    pub(super) fn count(&mut self, cost: &Cost<'_>, at_ms: u64) {
        if *cost == Cost::Other {
            return;
        }
        let nth = self.ends.len() as u64;
        let sums = self.sums.get_or_insert_default();
        sums.count(cost, Handed { nth, at_ms });
    }

    /// Leaves out the records that `wanted` does not want.
    fn keep(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for members in records(self) {
            if wanted(members) {
                bytes.extend_from_slice(members);
                ends.push(bytes.len());
            }
        }
        (self.bytes, self.ends) = (bytes, ends);
    }
}

fn records(batch: &Pending) -> impl Iterator<Item = &[u8]> {
    let starts = std::iter::once(0).chain(batch.ends.iter().copied());
    starts
        .zip(&batch.ends)
        .map(|(start, end)| batch.bytes.get(start..*end).unwrap_or_default())
}

impl Writer {
    pub(super) fn write(&mut self, mut batch: Pending) {
        let (seq, chain, good) = (self.seq, self.chain, self.written);
        self.out.clear();
        let mut lost = 0;
        if !self.owed.is_empty() {
            // Before anything is written: what is dropped here is dropped whether or not the write succeeds.
            let before = batch.ends.len();
            batch.keep(|members| !self.owed.is_orphan(members));
            lost = (before - batch.ends.len()) as u64;
        }
        let lines = self.chain_up(&batch);
        // What was owed was added up nowhere, and what was left out stands nowhere.
        let is_whole = lines == batch.ends.len() as u64 && lost == 0;
        self.health
            .busy_since_ms
            .store(wall_ms(), Ordering::Relaxed);
        let began = tokio::time::Instant::now();
        let done = self.put();
        self.health
            .slow
            .store(began.elapsed() > SLOW, Ordering::Relaxed);
        self.health.busy_since_ms.store(0, Ordering::Relaxed);
        let answer = match done {
            Ok(()) => {
                self.health.unwritable.store(false, Ordering::Relaxed);
                self.health.records.fetch_add(lines, Ordering::Relaxed);
                self.health.written_to.store(self.seq, Ordering::Release);
                self.owed.paid();
                let (places, sums) = ((seq, self.seq), batch.sums.take());
                self.tally(|tally| match is_whole {
                    true => tally.add(places, sums, batch.taken_at_ms),
                    false => tally.break_off(places.1),
                });
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be written, going on in a new segment when it can");
                // As if the batch had never been: the next segment continues the last good record.
                (self.seq, self.chain) = (seq, chain);
                if self.file.take().is_some() {
                    self.failed = Some((self.path.clone(), good));
                }
                self.health.unwritable.store(true, Ordering::Relaxed);
                // It may come to stand later, or not.
                self.tally(|tally| tally.break_off(seq));
                let more = records(&batch).filter(|members| self.owed.take(members));
                lost += more.count() as u64;
                Err(JournalError::Unwritable)
            }
        };
        if lost > 0 {
            self.health.lost.fetch_add(lost, Ordering::Relaxed);
        }
        for waiter in batch.waiters {
            let _ = waiter.send(answer.clone());
        }
        if self.written >= self.options.segment_bytes {
            // A failure leaves the full segment in use; the next batch tries again.
            let _ = self.new_segment();
        }
    }

    /// Makes lines of what is owed and of a batch; how many.
    fn chain_up(&mut self, batch: &Pending) -> u64 {
        let before = self.seq;
        let owed = self.owed.records.iter().map(Vec::as_slice);
        for members in owed.chain(records(batch)) {
            self.seq += 1;
            self.chain = push_line(&mut self.out, self.seq, members, &self.chain);
        }
        self.seq - before
    }

    fn tally(&self, tell: impl FnOnce(&mut Tally)) {
        if let Ok(mut tally) = self.tally.lock() {
            tell(&mut tally);
        }
    }

    /// Whether something that was handed in is still to be written.
    pub(super) fn is_behind(&self) -> bool {
        self.file.is_none() || !self.owed.records.is_empty()
    }

    /// Writes what is owed, if nobody's record has taken it along.
    pub(super) fn settle(&mut self) {
        if self.file.is_some() && !self.owed.records.is_empty() {
            self.write(Pending::default());
        }
    }

    /// Records that a segment is going to be removed, and what chain it ended with; the file to be synced
    /// before it is. `None` while the disk fails.
    pub(super) fn tell_trim(&mut self, oldest: &Oldest) -> Option<io::Result<File>> {
        let members = format!(
            "\"at\":{},\"kind\":\"trim\",\"first\":{},\"previous\":\"{}\"",
            wall_ms(),
            oldest.next,
            oldest.chain
        );
        let batch = Pending {
            ends: vec![members.len()],
            bytes: members.into_bytes(),
            ..Pending::default()
        };
        // Before it is written, for the write may be the one that fills the segment.
        let file = self.file.as_ref().map(File::try_clone)?;
        self.write(batch);
        self.health.writable().then_some(file)
    }

    fn put(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        #[cfg(test)]
        if self.health.failing.load(Ordering::Relaxed) {
            // Half of the batch reaches the file, as on a disk that fills up.
            file.write_all(self.out.get(..self.out.len() / 2).unwrap_or_default())?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        #[cfg(test)]
        drag(&self.health);
        file.write_all(&self.out)?;
        self.written += self.out.len() as u64;
        if self.options.mode == JournalMode::Durable {
            file.sync_data()?;
            self.health.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Begins a segment with a record that names the chain it continues.
    pub(super) fn new_segment(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if self.health.failing.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some((path, good)) = &self.failed {
            // What was refused must not stand there as if it had been accepted.
            cut_tail(path, *good)?;
            self.failed = None;
        }
        let seq = self.seq + 1;
        let path = self.options.folder.join(file_name(seq));
        if fs::metadata(&path).is_ok_and(|meta| meta.len() == 0) {
            // Left behind empty by a disk that failed right after creating it.
            fs::remove_file(&path)?;
        }
        let mut file = create(&path)?;
        let mut line = Vec::new();
        let members = format!(
            "\"at\":{},\"kind\":\"segment\",\"version\":1,\"previous\":\"{}\"",
            wall_ms(),
            super::segment::hex(&self.chain)
        );
        let chain = push_line(&mut line, seq, members.as_bytes(), &self.chain);
        file.write_all(&line)?;
        (self.seq, self.chain) = (seq, chain);
        self.tally(|tally| tally.pass(seq));
        self.path = path;
        self.began = wall_ms();
        self.written = line.len() as u64;
        self.file = Some(file);
        self.health.unwritable.store(false, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Encoded records, one after another.
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) waiters: Vec<oneshot::Sender<Result<(), JournalError>>>,
    /// The thread sleeps for long: the next record has to wake it.
    pub(super) asleep: bool,
    pub(super) closed: bool,
    /// The border that was drawn last: what stands here is behind it.
    pub(super) border: Border,
    pub(super) sums: Option<Sums>,
    /// All that was handed in before stands in the journal with this, or did before it.
    pub(super) taken_at_ms: u64,
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a slow disk, as a thread sees it"
)]
fn drag(health: &JournalHealth) {
    std::thread::sleep(Duration::from_millis(
        health.dragging_ms.load(Ordering::Relaxed),
    ));
}
