//! What is made in the background now: so that it can be cancelled, followed, waited for, and held within bounds.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use crate::dispatch::once::{Reader, Tape};
use crate::domain::{Failure, FailureKind};
use crate::policy::overload::{Overload, Pressure};
use crate::store::ResponseKey;

/// More at once are refused (ground rule G14).
const MOST: usize = 1_000;
/// One client cannot take every place.
const MOST_OF_ONE: usize = 100;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What is longer is still made and read by who is there, but nobody can read on.
const LONGEST_TAPE: usize = 8 << 20;
/// What all streams together may take, in KiB.
const ROOM: usize = 256 * 1_024;
/// A stream asks for room in steps of so many of its bytes.
const STEP: usize = 64 * 1_024;
/// What a byte may take: it is on the tape and in the log, and both grow by doubling.
const TAKEN: usize = 4;

#[expect(
    clippy::disallowed_types,
    reason = "a table of who runs, held for a look or an entry only"
)]
type Lock<T> = std::sync::Mutex<T>;

type Table = HashMap<ResponseKey, Run>;

pub(in crate::edge) struct Runs {
    table: Arc<Lock<Table>>,
    room: Arc<Semaphore>,
}

struct Run {
    cancelled: Arc<Notify>,
    tape: Option<Arc<Tape>>,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }
}

impl Runs {
    pub(super) fn enter(
        &self,
        key: &ResponseKey,
        tape: Option<Arc<Tape>>,
    ) -> Result<Running, Failure> {
        let mut runs = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= MOST {
            return Err(busy(
                "as many responses are being made in the background as may be; come back shortly",
            ));
        }
        let own = runs.keys().filter(|known| known.owner == key.owner);
        if own.count() >= MOST_OF_ONE {
            return Err(busy(
                "as many of your responses are being made in the background as may be of one client; come back when one of them has ended",
            ));
        }
        let cancelled = Arc::new(Notify::new());
        let run = Run {
            cancelled: Arc::clone(&cancelled),
            tape,
        };
        runs.insert(key.clone(), run);
        Ok(Running {
            table: Arc::clone(&self.table),
            key: key.clone(),
            cancelled,
        })
    }

    /// What a stream may hold; refused where all that there is, is held.
    pub(super) fn share(&self, tape: &Tape, pressure: &Arc<Pressure>) -> Result<Share, Failure> {
        let mut share = Share {
            room: Arc::clone(&self.room),
            pressure: Arc::clone(pressure),
            written: 0,
            granted: 0,
            fit: Fit::Held,
        };
        if !share.takes(STEP, tape) {
            return Err(busy(
                "the streams that are made in the background hold as much memory as they may; come back shortly, or make it without \"stream\"",
            ));
        }
        Ok(share)
    }

    /// Waits until none runs; how many are left at the end of the limit.
    pub(in crate::edge) async fn ended(&self, limit: Duration) -> usize {
        let left = || self.table.lock().map_or(0, |runs| runs.len());
        // Looked at now and then: this happens once, when the process ends.
        let all = async {
            while left() > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
        left()
    }

    /// Stops it, if it runs here.
    pub(super) fn cancel(&self, key: &ResponseKey) {
        if let Ok(runs) = self.table.lock()
            && let Some(run) = runs.get(key)
        {
            run.cancelled.notify_one();
        }
    }

    /// Reads it from its beginning, if it is being made here as a stream that is still held.
    pub(super) fn follow(&self, key: &ResponseKey) -> Option<Reader> {
        let runs = self.table.lock().ok()?;
        runs.get(key)?.tape.as_ref()?.join().ok()
    }
}

fn busy(message: &'static str) -> Failure {
    Failure::new(FailureKind::Overloaded, message).retry_after(Duration::from_secs(1))
}

/// An entry in the table, for as long as it runs.
pub(super) struct Running {
    table: Arc<Lock<Table>>,
    key: ResponseKey,
    pub(super) cancelled: Arc<Notify>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(mut runs) = self.table.lock() {
            runs.remove(&self.key);
        }
    }
}

/// Whether what is written is held for who comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Held,
    /// It is longer than any is held.
    TooLong,
    /// Others hold too much, or memory runs short.
    NoRoom,
}

/// What one stream holds of the room for all.
pub(super) struct Share {
    room: Arc<Semaphore>,
    pressure: Arc<Pressure>,
    written: usize,
    granted: usize,
    fit: Fit,
}

impl Share {
    /// Asks for as many bytes more on this tape. What was not held once never is again.
    pub(super) fn grows(&mut self, more: usize, tape: &Tape) -> Fit {
        if self.fit != Fit::Held {
            return self.fit;
        }
        self.written = self.written.saturating_add(more);
        if self.written > LONGEST_TAPE {
            self.fit = Fit::TooLong;
        } else if self.written > self.granted {
            let wanted = self.written.next_multiple_of(STEP) - self.granted;
            // As with answers that are kept for who asks again (fault O08).
            let is_short = self.pressure.level() >= Overload::Tight;
            if is_short || !self.takes(wanted, tape) {
                self.fit = Fit::NoRoom;
            }
        }
        self.fit
    }

    /// It belongs to the tape: who reads slowly holds that longer than it is made.
    fn takes(&mut self, bytes: usize, tape: &Tape) -> bool {
        let kib = u32::try_from(bytes * TAKEN / 1_024).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(kib) else {
            return false;
        };
        tape.hold(permit);
        self.granted += bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ClientName, RequestId};

    fn key(owner: &str, number: usize) -> ResponseKey {
        ResponseKey {
            owner: ClientName::from(owner),
            id: format!("resp_{number}"),
        }
    }

    fn tape() -> (Arc<Tape>, Reader) {
        Tape::new(RequestId::from_draw(1))
    }

    fn calm() -> Arc<Pressure> {
        Arc::new(Pressure::new(None))
    }

    #[test]
    fn g14_one_client_cannot_take_every_place() {
        let runs = Runs::default();
        let enter = |owner: &str, number: usize| runs.enter(&key(owner, number), None);
        let mut running: Vec<Running> = (0..MOST_OF_ONE)
            .map(|number| enter("one", number).ok().unwrap())
            .collect();
        let refused = enter("one", MOST_OF_ONE).err().unwrap();
        assert_eq!(refused.kind, FailureKind::Overloaded);
        assert!(enter("other", 0).is_ok());
        running.pop();
        assert!(enter("one", MOST_OF_ONE).is_ok());
        for number in MOST_OF_ONE - 1..MOST {
            running.push(enter(&format!("client {number}"), 0).ok().unwrap());
        }
        assert!(enter("the last", 0).is_err());
    }

    #[test]
    fn g14_all_streams_together_hold_no_more_than_there_is_room_for() {
        let runs = Runs::default();
        let (mut written, mut held) = (0, Vec::new());
        let refused = loop {
            let (tape, reader) = tape();
            let mut share = match runs.share(&tape, &calm()) {
                Ok(share) => share,
                Err(failure) => break failure,
            };
            while share.grows(10_000, &tape) == Fit::Held {
                written += 10_000;
                if written > ROOM * 1_024 {
                    panic!("nothing bounds it");
                }
            }
            // Its share is the reader's as long as that is there.
            drop(tape);
            held.push((share.fit, reader));
        };
        assert_eq!(refused.kind, FailureKind::Overloaded);
        assert!(refused.message.contains("memory"), "{}", refused.message);
        assert!(written * TAKEN <= ROOM * 1_024, "{written}");
        assert_eq!(held[0].0, Fit::TooLong, "its own length bounds the first");
        held.clear();
        assert_eq!(runs.room.available_permits(), ROOM);
    }

    #[test]
    fn g14_what_did_not_fit_once_is_not_held_again() {
        let runs = Runs::default();
        let (tape, _reader) = tape();
        let mut share = runs.share(&tape, &calm()).ok().unwrap();
        let rest = runs.room.available_permits();
        let taken = runs.room.try_acquire_many(u32::try_from(rest).unwrap());
        assert_eq!(share.grows(STEP, &tape), Fit::Held, "it has its first step");
        assert_eq!(share.grows(1, &tape), Fit::NoRoom);
        drop(taken);
        assert_eq!(
            share.grows(1, &tape),
            Fit::NoRoom,
            "there would be a hole in it"
        );
    }

    #[test]
    fn o08_while_memory_runs_short_no_stream_takes_more() {
        let runs = Runs::default();
        let pressure = calm();
        pressure.configure(100);
        let (tape, _reader) = tape();
        let mut share = runs.share(&tape, &pressure).ok().unwrap();
        pressure.weigh(86);
        assert_eq!(share.grows(STEP, &tape), Fit::Held);
        assert_eq!(share.grows(1, &tape), Fit::NoRoom);
    }
}
