//! Requests with a key are executed once: the first of them here, in a task of its own, and all who ask the same
//! read its tape (fault L12).
//!
//! # Why a task of its own
//! Whoever was first may leave while others still wait. A request with a key therefore belongs to nobody's
//! connection: it goes on while anybody reads, and is dropped with the last of them. One that goes on without its
//! client by its nature is not: it would be begun again for whoever sends it again.

mod tape;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::time::sleep;

use super::live::StreamPiece;
use crate::actors::Clock;
use crate::domain::{Failure, FailureKind, RequestId};
use crate::policy::once::{Answer, Asked, Entered, Name, Table, Terms, Ticket};
use crate::policy::overload::{Overload, Pressure};
use crate::telemetry::metrics;

pub use tape::{End, Head, NoReader, Reader, Tape};

#[expect(
    clippy::disallowed_types,
    reason = "a table of keys, held for a look or an entry only; requests without a key never come here"
)]
type Lock<T> = std::sync::Mutex<T>;

/// A growing answer asks for room in steps of this.
const STEP: usize = 64 * 1024;
/// The table is not looked through more often than this.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Who was asked what under which key, and where the answers are. Forgotten when the process ends.
pub struct Once {
    inner: Arc<Inner>,
}

struct Inner {
    table: Lock<Keys>,
    clock: Clock,
    pressure: Arc<Pressure>,
}

#[derive(Default)]
struct Keys {
    table: Table<Arc<Tape>>,
    /// Somebody looks through it now and then.
    is_tidied: bool,
}

/// What becomes of a request with a key.
pub enum Turn {
    /// It is the first: to be executed, and told to this execution.
    First(Execution, Reader),
    /// Its answer is there, or will be.
    Again(Reader),
    /// Under this key something else was asked.
    Differs,
    /// It was executed, and its answer is not kept.
    NotKept,
    /// There is no room for another key.
    Full,
}

impl Once {
    pub fn new(clock: Clock, pressure: Arc<Pressure>) -> Self {
        Self {
            inner: Arc::new(Inner {
                table: Lock::default(),
                clock,
                pressure,
            }),
        }
    }

    /// A request comes with a key; if it is the first, its answer is told under this id.
    pub fn enter(&self, id: RequestId, (name, asked): (&Arc<Name>, &Asked), terms: Terms) -> Turn {
        let (tape, reader) = Tape::new(id);
        loop {
            let now = self.inner.clock.now();
            let entered = self
                .inner
                .with(|table| table.enter((name, asked), &tape, now, &terms));
            let (turn, result) = match entered {
                Entered::First(ticket) => {
                    let execution = Execution {
                        inner: Arc::clone(&self.inner),
                        tape,
                        ticket,
                        terms,
                        is_over: false,
                    };
                    (Turn::First(execution, reader), "executed")
                }
                Entered::Again {
                    ticket,
                    tape,
                    under_way,
                } => match tape.join() {
                    Ok(reader) if under_way => (Turn::Again(reader), "joined"),
                    Ok(reader) => (Turn::Again(reader), "replayed"),
                    Err(NoReader::NotKept) => (Turn::NotKept, "not_kept"),
                    Err(NoReader::Abandoned) => {
                        // All have left this moment: it is as if it had never been asked.
                        self.inner.with(|table| table.forget(&ticket));
                        continue;
                    }
                },
                Entered::Differs => (Turn::Differs, "conflict"),
                Entered::NotKept => (Turn::NotKept, "not_kept"),
                Entered::Full => (Turn::Full, "full"),
            };
            metrics::idempotent(result, 1);
            return turn;
        }
    }
}

impl Answer for Arc<Tape> {
    fn is_read(&self) -> bool {
        self.has_readers()
    }
}

impl Inner {
    fn with<T>(&self, act: impl FnOnce(&mut Table<Arc<Tape>>) -> T) -> T {
        let mut keys = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut keys.table);
        let forgotten = keys.table.take_forgotten();
        drop(keys);
        if forgotten > 0 {
            metrics::idempotent("forgotten", forgotten);
        }
        done
    }

    /// Whether memory runs short: then nothing more is kept, and what is kept is the first to go (fault O08).
    fn is_short(&self) -> bool {
        self.pressure.level() >= Overload::Tight
    }

    /// Sees to it that what has been kept for its time is forgotten, and what memory has no room for given up, though
    /// nobody comes any more.
    fn tidy(self: &Arc<Self>, keep: Duration) {
        {
            let mut keys = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut keys.is_tidied, true) {
                return;
            }
        }
        let table = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(wait) = tidied(&table, keep) {
                match wait {
                    // There is more of it; others come first.
                    Duration::ZERO => tokio::task::yield_now().await,
                    // Memory may run short before anything is due.
                    _later => sleep(LOOK_AFTER).await,
                }
            }
        });
    }
}

/// Forgets what has been kept for its time; returns when to look again, if ever.
fn tidied(table: &Weak<Inner>, keep: Duration) -> Option<Duration> {
    let inner = table.upgrade()?;
    if inner.is_short() {
        let given_up = inner.with(Table::give_up);
        if given_up > 0 {
            metrics::idempotent("given_up", given_up);
        }
    }
    let now = inner.clock.now();
    let mut keys = inner.table.lock().unwrap_or_else(PoisonError::into_inner);
    let due = keys.table.forget_old(now, keep);
    keys.is_tidied = due.is_some();
    due.map(|due| due.since(now))
}

/// A request that is executed for all who ask it. Dropped before its end, it has failed for all of them.
pub struct Execution {
    inner: Arc<Inner>,
    tape: Arc<Tape>,
    ticket: Ticket,
    terms: Terms,
    is_over: bool,
}

impl Execution {
    /// `work`, for as long as anybody waits for it; `None`: nobody does any more.
    pub async fn wanted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), pin!(self.tape.abandoned())).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// From here on it is executed whether or not anybody waits; `false`: nobody has for a while.
    #[must_use]
    pub fn make_anyway(&self) -> bool {
        self.tape.make_anyway()
    }

    /// The answer came in one piece, or there is none.
    pub fn tell(mut self, mut head: Head) {
        match &mut head {
            Head::Whole { body, .. } => {
                if self.keep(body.len()) {
                    // By itself, and not as a part of all that came with it.
                    *body = Bytes::copy_from_slice(body);
                }
            }
            // What has not succeeded is executed anew; who waited for it is told why.
            Head::Failed { .. } | Head::Stream { .. } => self.forget(),
        }
        self.tape.begin(head);
        self.tape.end(End::Whole);
    }

    /// The answer comes as a stream.
    pub async fn tell_stream(
        mut self,
        head: Head,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<StreamPiece>,
    ) {
        self.tape.begin(head);
        let tape = Arc::clone(&self.tape);
        let mut room = Room::default();
        loop {
            let next = async {
                tape.room().await;
                poll_fn(&mut poll).await
            };
            let piece = match select(pin!(next), pin!(tape.abandoned())).await {
                Either::Left((piece, _)) => piece,
                Either::Right(_) => return,
            };
            let end = match piece {
                StreamPiece::Data(piece) => {
                    if !room.grows(piece.len(), |more| self.grow(more), &self.terms) {
                        tape.pass();
                    }
                    tape.write(&piece);
                    continue;
                }
                StreamPiece::End => End::Whole,
                StreamPiece::Broken => End::Broken,
                StreamPiece::Cut => End::Cut,
            };
            match (end, room.is_kept) {
                (End::Whole, true) => {
                    self.keep(room.used);
                }
                (End::Whole, false) => self.spend(),
                // What is made anyway was cut off for us alone, who were held up by a reader of ours.
                (End::Cut, false) if tape.is_made_anyway() => self.spend(),
                (End::Broken | End::Cut, _) => self.forget(),
            }
            return tape.end(end);
        }
    }

    fn grow(&self, more: usize) -> bool {
        !self.inner.is_short()
            && self
                .inner
                .with(|table| table.grow(&self.ticket, more, &self.terms))
    }

    // The key is free, or kept, before anybody reads the end: whoever asks again at once must find it so.

    fn keep(&mut self, bytes: usize) -> bool {
        self.is_over = true;
        let now = self.inner.clock.now();
        let short = self.inner.is_short();
        let kept = self.inner.with(|table| match short {
            true => {
                table.spend(&self.ticket, now, &self.terms);
                false
            }
            false => table.keep(&self.ticket, bytes, now, &self.terms),
        });
        if !kept {
            metrics::idempotent(if short { "given_up" } else { "too_large" }, 1);
        }
        self.inner.tidy(self.terms.keep);
        kept
    }

    fn spend(&mut self) {
        self.is_over = true;
        let now = self.inner.clock.now();
        self.inner
            .with(|table| table.spend(&self.ticket, now, &self.terms));
        metrics::idempotent("too_large", 1);
        self.inner.tidy(self.terms.keep);
    }

    fn forget(&mut self) {
        self.is_over = true;
        self.inner.with(|table| table.forget(&self.ticket));
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.forget();
        // Nobody reads this if all have left; if the task has crashed, all do.
        let failure = Failure::new(
            FailureKind::Internal,
            "the gateway failed while it served this request; send it again",
        );
        self.tape.begin(Head::Failed {
            failure,
            told: super::Told::default(),
        });
        self.tape.end(End::Cut);
    }
}

/// How much of an answer may be kept.
struct Room {
    used: usize,
    granted: usize,
    is_kept: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            used: 0,
            granted: 0,
            is_kept: true,
        }
    }
}

impl Room {
    /// Whether it is still kept with so many bytes more; `ask` asks the table, seldom.
    fn grows(&mut self, more: usize, ask: impl FnOnce(usize) -> bool, terms: &Terms) -> bool {
        self.used = self.used.saturating_add(more);
        if self.is_kept && self.used > self.granted {
            let ahead = self.used.saturating_add(STEP).min(terms.answer_bytes);
            let wanted = ahead.max(self.used) - self.granted;
            self.is_kept = ask(wanted);
            self.granted = self.granted.saturating_add(wanted);
        }
        self.is_kept
    }
}
