//! The thread: writes what nobody wrote for himself, opens anew what failed, and tends what is kept.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::handle::Shared;
use super::health::wall_ms;
use super::record::{Record, encode};
use super::retention::{self, LONGEST_SEGMENT};

/// Records nobody waits for leave at the latest after this.
const LINGER: Duration = Duration::from_millis(20);
/// How often the thread looks for people to forget.
const TEND_OWNERS: Duration = Duration::from_secs(1);
/// How often it looks for a segment that need not be kept.
const TEND_SEGMENTS: Duration = Duration::from_secs(60);
const RETRY_OPEN: Duration = Duration::from_millis(500);
/// For whoever wants the writer to get it.
const A_MOMENT: Duration = Duration::from_millis(1);

/// The thread's life: writes what nobody wrote for himself, opens anew what failed, and tends what is kept.
pub(super) fn run(shared: &Shared) {
    let mut tended = Tended::default();
    // Before the first sleep: what was asked while nobody wrote is done at once.
    shared.tend(&mut tended);
    loop {
        let closed = wait(shared);
        let Ok(mut writer) = shared.writer.lock() else {
            return;
        };
        if writer.file.is_none() {
            // Tried at most every RETRY_OPEN: the wait is in `wait`.
            let _ = writer.new_segment();
        }
        shared.drain(&mut writer);
        writer.settle();
        if closed {
            if let Some(file) = &writer.file {
                let _ = file.sync_data();
            }
            return;
        }
        drop(writer);
        shared.tend(&mut tended);
        shared.let_pass();
    }
}

/// When the thread last looked after something; `None`: never.
#[derive(Default)]
struct Tended {
    owners: Option<tokio::time::Instant>,
    segments: Option<tokio::time::Instant>,
}

fn due(last: &mut Option<tokio::time::Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(tokio::time::Instant::now());
    }
    is_due
}

impl Shared {
    /// A lock is not fair: whoever wants the writer gets it before this thread takes it again.
    fn let_pass(&self) {
        while self.is_wanted() {
            let Ok(pending) = self.pending.lock() else {
                return;
            };
            let _ = self.wake.wait_timeout(pending, A_MOMENT);
        }
    }

    fn tend(&self, tended: &mut Tended) {
        if due(&mut tended.owners, TEND_OWNERS) {
            self.tend_owners();
        }
        if due(&mut tended.segments, TEND_SEGMENTS)
            && let Err(error) = self.trim()
        {
            tracing::warn!(%error, "an old segment of the journal cannot be removed, trying again in a minute");
        }
    }

    /// Removes the oldest segment, if it need not be kept. Requests write beside: only the record itself is
    /// written under their lock.
    pub(super) fn trim(&self) -> io::Result<()> {
        let (folder, keep) = {
            let Ok(mut writer) = self.writer.lock() else {
                return Ok(());
            };
            let keep = writer.options.keep;
            if (keep.age, keep.bytes) == (None, None) || writer.file.is_none() {
                return Ok(());
            }
            let age = Duration::from_millis(wall_ms().saturating_sub(writer.began));
            if keep.age.is_some() && age > LONGEST_SEGMENT {
                writer.new_segment()?;
            }
            (writer.options.folder.clone(), keep)
        };
        let Some(oldest) = retention::due(&folder, keep, wall_ms())? else {
            return Ok(());
        };
        let is_booked = !keep.until_booked || oldest.next <= self.health.booked() + 1;
        if self.health.held.swap(!is_booked, Ordering::Relaxed) == is_booked && !is_booked {
            tracing::warn!(segment = %oldest.path.display(), "the journal grows beyond what is to be kept: its oldest segment is not booked yet");
        }
        if !is_booked {
            return Ok(());
        }
        let told = match self.writer.lock() {
            Ok(mut writer) => writer.tell_trim(&oldest),
            Err(_poisoned) => return Ok(()),
        };
        // That it was removed stands on the disk before it is gone.
        let Some(file) = told else { return Ok(()) };
        file?.sync_data()?;
        retention::remove(&oldest)
    }

    /// Forgets who is to be forgotten, and says so in the journal without the name.
    fn tend_owners(&self) {
        let Ok(mut owners) = self.owners.lock() else {
            return;
        };
        owners.settle();
        let count = owners.count() as u64;
        self.health.owners.store(count, Ordering::Relaxed);
        let folder = owners.journal().to_owned();
        drop(owners);
        for (path, erasure) in retention::asked(&folder) {
            let Ok(mut owners) = self.owners.lock() else {
                return;
            };
            let erased = owners.erase(&erasure);
            drop(owners);
            match erased {
                Ok(erased) => {
                    self.tell_erased(&erased);
                    // Last: what a crash leaves undone is done again.
                    let _ = fs::remove_file(path);
                }
                Err(error) => {
                    tracing::error!(%error, "an owner cannot be erased, trying again");
                }
            }
        }
    }

    fn tell_erased(&self, erased: &[String]) {
        let Ok(mut pending) = self.pending.lock() else {
            return;
        };
        for alias in erased {
            let event = Record::Event {
                name: "audit.erased",
                subject: alias,
                detail: "its name and its key were destroyed",
            };
            encode(&event, None, wall_ms(), &mut pending.bytes);
            let end = pending.bytes.len();
            pending.ends.push(end);
        }
    }
}

/// Waits for records: at once when someone waits for them, else until they have lingered. Answers whether
/// the journal was closed.
fn wait(shared: &Shared) -> bool {
    let Ok(mut pending) = shared.pending.lock() else {
        return true;
    };
    if pending.ends.is_empty() && shared.health.writable() && !pending.closed {
        pending.asleep = true;
        match shared.wake.wait_timeout(pending, TEND_OWNERS) {
            Ok((woken, _timed_out)) => pending = woken,
            Err(_poisoned) => return true,
        }
        pending.asleep = false;
    }
    if pending.ends.is_empty() && shared.health.writable() {
        return pending.closed;
    }
    if pending.waiters.is_empty() && !pending.closed {
        let limit = if shared.health.writable() {
            LINGER
        } else {
            RETRY_OPEN
        };
        match shared.wake.wait_timeout(pending, limit) {
            Ok((woken, _timed_out)) => pending = woken,
            Err(_poisoned) => return true,
        }
    }
    pending.closed
}
