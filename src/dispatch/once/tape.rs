//! One answer for several readers: written once, as it comes, and read by each at its own pace.
//!
//! # When it stops
//! While anybody reads, it goes on, whoever was first. When the last reader leaves before the end, it is abandoned,
//! and whoever writes it stops (fault L01); but for one that is made anyway: it is written to its end.
//!
//! # Back-pressure
//! An answer that is kept is written as fast as it comes; it is bounded by what is granted to it. One that is not
//! waits for its readers: for the eldest as long as an answer without a key would, for who joined a moment. Who is
//! still behind by more than may be held for them then is cut off: neither do they take memory that is granted to
//! nobody, nor hold up who came first. One that is made anyway waits for nobody longer than that.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::timeout;

use super::super::live::StreamPiece;
use super::super::story::Told;
use crate::domain::{Failure, RequestId};

#[expect(
    clippy::disallowed_types,
    reason = "held to add a piece or to copy one out; its readers are polled, not asked"
)]
type Lock<T> = std::sync::Mutex<T>;

/// So long who joined may hold up the others.
const PATIENCE: Duration = Duration::from_secs(2);
/// A reader is given so much at once.
const PIECE: usize = 32 * 1024;
/// What is not kept may be so far ahead of its readers.
const AHEAD: usize = 256 * 1024;

/// What is known when the head goes out.
#[derive(Clone, Debug)]
pub enum Head {
    Whole { body: Bytes, told: Told },
    Stream { told: Told },
    Failed { failure: Failure, told: Told },
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// It says so itself.
    Broken,
    Cut,
}

pub struct Tape {
    /// Of the request that is executed.
    id: RequestId,
    state: Lock<State>,
    abandoned: Notify,
}

#[derive(Default)]
struct State {
    head: Option<Head>,
    /// What has come, but for the first `gone` bytes.
    text: BytesMut,
    gone: u64,
    /// What all have read is let go.
    passes: bool,
    end: Option<End>,
    readers: Vec<Place>,
    last_reader: u64,
    writer: Option<Waker>,
    is_abandoned: bool,
    /// It is written whether or not anybody reads.
    is_made_anyway: bool,
    /// What it holds of a memory that has bounds.
    grant: Option<OwnedSemaphorePermit>,
}

/// Where a reader is.
struct Place {
    number: u64,
    at: u64,
    /// Too far behind; it is told so.
    is_cut: bool,
    waker: Option<Waker>,
}

impl Tape {
    /// An empty one, and its first reader.
    pub fn new(id: RequestId) -> (Arc<Self>, Reader) {
        let tape = Arc::new(Self {
            id,
            state: Lock::default(),
            abandoned: Notify::new(),
        });
        let reader = tape.with(|state| tape.reader(state));
        (tape, reader)
    }

    /// Another reader, from the beginning; why not, where that cannot be.
    pub fn join(self: &Arc<Self>) -> Result<Reader, NoReader> {
        self.with(|state| match state {
            State {
                is_abandoned: true, ..
            } => Err(NoReader::Abandoned),
            State { passes: true, .. } => Err(NoReader::NotKept),
            state => Ok(self.reader(state)),
        })
    }

    fn reader(self: &Arc<Self>, state: &mut State) -> Reader {
        state.last_reader += 1;
        state.readers.push(Place {
            number: state.last_reader,
            at: 0,
            is_cut: false,
            waker: None,
        });
        Reader {
            tape: Arc::clone(self),
            number: state.last_reader,
        }
    }

    /// Whether anybody reads it, or is about to.
    pub fn has_readers(&self) -> bool {
        self.with(|state| !state.readers.is_empty())
    }

    /// Bytes that wait for readers.
    #[cfg(test)]
    pub(super) fn holds(&self) -> usize {
        self.with(|state| state.text.len())
    }

    // --- who writes ---

    /// From here on it is written to its end, whether or not anybody reads; `false`: all have left before.
    #[must_use]
    pub fn make_anyway(&self) -> bool {
        self.with(|state| {
            state.is_made_anyway |= !state.is_abandoned;
            state.is_made_anyway
        })
    }

    pub(super) fn is_made_anyway(&self) -> bool {
        self.with(|state| state.is_made_anyway)
    }

    /// Resolves when nobody reads any more.
    pub async fn abandoned(&self) {
        self.abandoned.notified().await;
    }

    /// Holds this until neither who writes nor who reads has it any more.
    pub fn hold(&self, more: OwnedSemaphorePermit) {
        self.with(|state| match &mut state.grant {
            Some(grant) => grant.merge(more),
            None => state.grant = Some(more),
        });
    }

    /// Tells the head; a later one changes nothing.
    pub fn begin(&self, head: Head) {
        self.wake_after(|state| {
            state.head.get_or_insert(head);
        });
    }

    /// Nothing comes behind its end.
    pub fn write(&self, piece: &[u8]) {
        self.wake_after(|state| {
            if state.end.is_some() {
                return;
            }
            state.text.extend_from_slice(piece);
            // With nobody there, nobody's reading makes room.
            state.let_go();
        });
    }

    /// From here on nothing is kept of it.
    pub fn pass(&self) {
        self.with(|state| {
            state.passes = true;
            state.let_go();
        });
    }

    /// Waits for room, and no longer for who joined than a moment.
    pub async fn room(&self) {
        while timeout(PATIENCE, poll_fn(|cx| self.poll_room(cx)))
            .await
            .is_err()
        {
            self.cut_off();
        }
    }

    /// Cuts off who joined and is too far behind.
    pub(super) fn cut_off(&self) {
        for waker in self.with(State::cut_off) {
            waker.wake();
        }
    }

    /// Ready when there is room for more.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|state| {
            if state.passes && state.text.len() > AHEAD {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
    }

    /// Ends it; a later end changes nothing.
    pub fn end(&self, end: End) {
        self.wake_after(|state| {
            if state.end.is_some() {
                return;
            }
            state.end = Some(end);
            // The last reader left while it was being ended: it is there for the next one all the same.
            state.is_abandoned = false;
            // What grew piece by piece has room to grow on.
            state.text = BytesMut::from(&state.text[..]);
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake_after(&self, act: impl FnOnce(&mut State)) {
        let wakers: Vec<Waker> = self.with(|state| {
            act(state);
            let readers = state.readers.iter_mut();
            readers.filter_map(|reader| reader.waker.take()).collect()
        });
        // Woken without the lock, which is the first thing they want.
        for waker in wakers {
            waker.wake();
        }
    }
}

impl State {
    fn let_go(&mut self) {
        if !self.passes {
            return;
        }
        let readers = self.readers.iter().filter(|reader| !reader.is_cut);
        let slowest = readers.map(|reader| reader.at).min();
        // Nobody joins what is let go: where nobody is, nobody will read it.
        let read = slowest.map_or(u64::MAX, |at| at.saturating_sub(self.gone));
        let read = usize::try_from(read)
            .unwrap_or(usize::MAX)
            .min(self.text.len());
        self.text.advance(read);
        self.gone += read as u64;
    }

    /// Cuts off who stays too far behind the eldest reader, and returns who is to be told.
    fn cut_off(&mut self) -> Vec<Waker> {
        let end = self.gone + self.text.len() as u64;
        let floor = end.saturating_sub(AHEAD as u64);
        // While the eldest is behind itself, nobody holds anything up.
        let eldest = self.readers.first().filter(|_| !self.is_made_anyway);
        let eldest = eldest.map_or(end, |reader| reader.at);
        if !self.passes || eldest < floor {
            return Vec::new();
        }
        let mut wakers = Vec::new();
        for reader in self.readers.iter_mut().filter(|reader| reader.at < floor) {
            reader.is_cut = true;
            wakers.extend(reader.waker.take());
        }
        self.let_go();
        wakers
    }

    fn place(&mut self, number: u64) -> Option<&mut Place> {
        self.readers
            .iter_mut()
            .find(|reader| reader.number == number)
    }

    /// The next piece for a reader; `None`: it has all there is so far.
    fn read(&mut self, number: u64) -> Option<Bytes> {
        let from = self.place(number)?.at.saturating_sub(self.gone);
        let left = self.text.get(usize::try_from(from).ok()?..)?;
        let piece = Bytes::copy_from_slice(left.get(..PIECE).unwrap_or(left));
        if piece.is_empty() {
            return None;
        }
        self.place(number)?.at += piece.len() as u64;
        self.let_go();
        Some(piece)
    }

    fn is_over(&self) -> bool {
        match self.head {
            Some(Head::Whole { .. } | Head::Failed { .. }) => true,
            Some(Head::Stream { .. }) | None => self.end.is_some(),
        }
    }
}

/// Why nobody can read it from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReader {
    /// Whoever wrote it has stopped.
    Abandoned,
    /// Its beginning is gone.
    NotKept,
}

/// One of those who read it.
pub struct Reader {
    tape: Arc<Tape>,
    number: u64,
}

impl Reader {
    /// Of the request that is executed.
    pub fn id(&self) -> RequestId {
        self.tape.id
    }

    pub async fn head(&self) -> Head {
        poll_fn(|cx| {
            self.tape.with(|state| match &state.head {
                Some(head) => Poll::Ready(head.clone()),
                None => {
                    self.waits(state, cx);
                    Poll::Pending
                }
            })
        })
        .await
    }

    pub fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<StreamPiece> {
        let (polled, writer) = self.tape.with(|state| {
            if state.place(self.number).is_some_and(|place| place.is_cut) {
                return (Poll::Ready(StreamPiece::Cut), None);
            }
            if let Some(piece) = state.read(self.number) {
                return (Poll::Ready(StreamPiece::Data(piece)), state.writer.take());
            }
            let polled = match state.end {
                Some(End::Whole) => Poll::Ready(StreamPiece::End),
                Some(End::Broken) => Poll::Ready(StreamPiece::Broken),
                Some(End::Cut) => Poll::Ready(StreamPiece::Cut),
                None => {
                    self.waits(state, cx);
                    Poll::Pending
                }
            };
            (polled, None)
        });
        if let Some(writer) = writer {
            writer.wake();
        }
        polled
    }

    fn waits(&self, state: &mut State, cx: &Context<'_>) {
        if let Some(place) = state.place(self.number) {
            place.waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (writer, is_last) = self.tape.with(|state| {
            state.readers.retain(|place| place.number != self.number);
            state.let_go();
            let is_last = state.readers.is_empty() && !state.is_over() && !state.is_made_anyway;
            state.is_abandoned |= is_last;
            (state.writer.take(), is_last)
        });
        if let Some(writer) = writer {
            writer.wake();
        }
        if is_last {
            // Kept for whoever writes, if it does not listen yet.
            self.tape.abandoned.notify_one();
        }
    }
}
