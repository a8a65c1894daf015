//! One HTTP/1.1 connection to a provider, and one exchange on it.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::{Instant, Sleep, sleep};

use super::body::Rope;
use super::connect::Link;
use super::error::AttemptError;
use super::pool::Pool;
use super::wire::{BodyPlace, Head, HeadRead, WireFault, read_head};
use crate::domain::AttemptOutcome;

/// A connection: at rest in the pool, or in the hands of one exchange.
#[derive(Debug)]
pub(super) struct Line {
    link: Link,
    inbox: BytesMut,
    /// It has brought an answer: only such a one can have gone stale (fault N08).
    served: bool,
    /// Something came back in this exchange, so the request was heard.
    heard: bool,
    /// When it was last known to be well.
    rested_at: Instant,
    /// Then it is not used again, so that a moved name is found (fault N01).
    retire_at: Instant,
    /// The last read filled its buffer: the next one may be larger.
    room: usize,
}

const FIRST_ROOM: usize = 4 * 1024;
const MOST_ROOM: usize = 64 * 1024;
/// A whole answer of at most this size is read into one buffer.
const ONE_BUFFER: u64 = 1 << 20;
/// A connection that died while it rested says so at once. One that dies later may have been heard, and
/// is not asked again for free.
const STALE_SHOWS_WITHIN: Duration = Duration::from_secs(1);
/// Interim answers before the real one: more are an attack.
const MOST_INTERIM: u32 = 16;

/// How an exchange failed before a head came.
#[derive(Debug)]
pub(super) enum LineError {
    /// A kept connection that was closed while it rested: nothing was answered, so it may be said again.
    Stale,
    Failed(AttemptError),
}

impl From<WireFault> for AttemptError {
    fn from(fault: WireFault) -> Self {
        match fault {
            WireFault::TooLarge => Self::of(AttemptOutcome::TooLarge),
            WireFault::Framing => Self::blocked(AttemptOutcome::BadBody, "framing"),
        }
    }
}

impl From<WireFault> for LineError {
    fn from(fault: WireFault) -> Self {
        Self::Failed(fault.into())
    }
}

/// A request on its way out. Its head holds a key, so it is never shown.
struct Unsent {
    pieces: SmallVec<[Bytes; 6]>,
    next: usize,
    /// Most the provider may go without taking a byte (fault N11).
    idle: Duration,
    /// Runs while it takes none: most requests are taken at once and need no timer.
    stall: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsent").finish_non_exhaustive()
    }
}

impl Unsent {
    fn is_over(&self) -> bool {
        self.next >= self.pieces.len()
    }

    fn wrote(&mut self, mut bytes: usize) {
        while let Some(piece) = self.pieces.get_mut(self.next) {
            if bytes < piece.len() {
                bytes::Buf::advance(piece, bytes);
                return;
            }
            bytes -= piece.len();
            self.next += 1;
        }
    }

    fn poll(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_over() {
            let left = self.pieces.get(self.next..).unwrap_or_default();
            let slices: SmallVec<[IoSlice<'_>; 6]> =
                left.iter().map(|piece| IoSlice::new(piece)).collect();
            let wrote = Pin::new(&mut *link).poll_write_vectored(cx, &slices);
            drop(slices);
            let Poll::Ready(wrote) = wrote else {
                return self.poll_stall(cx);
            };
            let wrote = wrote?;
            self.stall = None;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.wrote(wrote);
        }
        Pin::new(link).poll_flush(cx)
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let idle = self.idle;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(idle)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Line {
    pub(super) fn new(link: Link, age: Duration) -> Self {
        let now = Instant::now();
        Self {
            link,
            inbox: BytesMut::new(),
            served: false,
            heard: false,
            rested_at: now,
            retire_at: now + age,
            room: FIRST_ROOM,
        }
    }

    /// Whether a connection that rested may still be used. Looks at the socket, without waiting.
    pub(super) fn is_fresh(&mut self, longest_rest: Duration) -> bool {
        let now = Instant::now();
        if now >= self.retire_at || now.duration_since(self.rested_at) >= longest_rest {
            return false;
        }
        self.rested_at = now;
        // Whatever is there to be read, an end or bytes nobody asked for, spoils it.
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_read(&mut cx).is_pending()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.inbox.capacity() - self.inbox.len() < self.room / 2 {
            self.inbox.reserve(self.room);
        }
        // Cancel-safe: a future dropped while pending has read nothing.
        let read = ready!(pin!(self.link.read_buf(&mut self.inbox)).poll(cx));
        if matches!(read, Ok(bytes) if bytes >= self.room) {
            self.room = (self.room * 2).min(MOST_ROOM);
        }
        Poll::Ready(read)
    }

    /// Sends a request and reads the head of its answer. Dropping the future closes the connection.
    pub(super) async fn exchange(
        mut self,
        head: Bytes,
        body: &Rope,
        write_idle: Duration,
        pool: &Arc<Pool>,
    ) -> Result<(Head, LineBody), LineError> {
        let mut unsent = Unsent {
            pieces: std::iter::once(head).chain(body.pieces()).collect(),
            next: 0,
            idle: write_idle,
            stall: None,
        };
        let head = std::future::poll_fn(|cx| self.poll_head(&mut unsent, cx)).await?;
        self.served = true;
        let body = LineBody {
            place: head.body,
            line: Some(self),
            unsent: (!unsent.is_over()).then(|| Box::new(unsent)),
            home: head.keep.then(|| Arc::clone(pool)),
        };
        Ok((head, body.released_if_over()))
    }

    fn poll_head(
        &mut self,
        unsent: &mut Unsent,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, LineError>> {
        let mut interim = 0;
        let mut sending = Ok(());
        // A provider that has made up its mind may close its ears: what it said before is still read.
        if let Poll::Ready(Err(error)) = unsent.poll(&mut self.link, cx) {
            sending = Err(error);
        }
        loop {
            if !self.inbox.is_empty() {
                match read_head(&mut self.inbox)? {
                    HeadRead::Whole(head) => return Poll::Ready(Ok(*head)),
                    HeadRead::Interim if interim >= MOST_INTERIM => {
                        return Poll::Ready(Err(WireFault::TooLarge.into()));
                    }
                    HeadRead::Interim => {
                        interim += 1;
                        continue;
                    }
                    HeadRead::More => {}
                }
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(1..)) => self.heard = true,
                Poll::Ready(ended) => return Poll::Ready(Err(self.no_answer(ended.err()))),
                Poll::Pending if sending.is_err() => {
                    return Poll::Ready(Err(self.no_answer(sending.err())));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn no_answer(&self, error: Option<io::Error>) -> LineError {
        let stalled = matches!(&error, Some(error) if error.kind() == io::ErrorKind::TimedOut);
        if stalled {
            return LineError::Failed(AttemptError::of(AttemptOutcome::GapTimeout));
        }
        let truncated = error.is_none_or(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        let at_once = self.rested_at.elapsed() < STALE_SHOWS_WITHIN;
        if self.served && !self.heard && at_once {
            LineError::Stale
        } else if truncated && !self.inbox.is_empty() {
            LineError::Failed(AttemptError::of(AttemptOutcome::Truncated))
        } else {
            LineError::Failed(AttemptError::of(AttemptOutcome::Reset))
        }
    }
}

/// The body of an answer. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub(super) struct LineBody {
    place: BodyPlace,
    line: Option<Line>,
    /// What is left of a request whose answer began before it was read.
    unsent: Option<Box<Unsent>>,
    /// Where the connection goes when the body is over, if it may serve again.
    home: Option<Arc<Pool>>,
}

impl LineBody {
    pub(super) fn is_delimited(&self) -> bool {
        self.place != BodyPlace::UntilClose
    }

    fn released_if_over(mut self) -> Self {
        self.release_if_over();
        self
    }

    fn release_if_over(&mut self) {
        if self.place != BodyPlace::Over {
            return;
        }
        let (line, home) = (self.line.take(), self.home.take());
        if self.unsent.is_some() {
            // The rest of the request would stand in front of the next one.
            return;
        }
        // Bytes behind the end belong to no answer: such a connection is never used again (fault P18).
        if let (Some(mut line), Some(home)) = (line, home)
            && line.inbox.is_empty()
        {
            line.rested_at = Instant::now();
            line.heard = false;
            // What was read is with its readers; a resting connection holds no memory.
            line.inbox = BytesMut::new();
            home.rest(line);
        }
    }

    /// What is known of the rest's length.
    pub(super) fn known_rest(&self) -> u64 {
        if let BodyPlace::Length { left } = self.place {
            left
        } else {
            0
        }
    }

    /// The next piece: all that has arrived; `None` at a proper end.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, AttemptError>>> {
        self.poll_pieces(cx, 1)
    }

    /// As `poll_piece`, but waits until a body of known length fills one buffer.
    pub(super) fn poll_large_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, AttemptError>>> {
        let wanted = self.known_rest().min(ONE_BUFFER);
        self.poll_pieces(cx, usize::try_from(wanted).unwrap_or(1))
    }

    fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Option<Result<Bytes, AttemptError>>> {
        loop {
            let Some(line) = &mut self.line else {
                return Poll::Ready(None);
            };
            if line.inbox.len() >= wanted {
                match self.place.take(&mut line.inbox) {
                    Ok(Some(piece)) => {
                        self.release_if_over();
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    Ok(None) => {}
                    Err(fault) => return self.fail(fault.into()),
                }
                if self.place == BodyPlace::Over {
                    self.release_if_over();
                    return Poll::Ready(None);
                }
            } else {
                line.inbox.reserve(wanted - line.inbox.len());
            }
            if let Some(unsent) = &mut self.unsent
                && let Poll::Ready(sent) = unsent.poll(&mut line.link, cx)
            {
                self.unsent = None;
                if sent.is_err() {
                    // It listens no more; what it says is still an answer.
                    self.home = None;
                }
            }
            match ready!(line.poll_read(cx)) {
                Ok(1..) => {}
                Ok(0) if self.place == BodyPlace::UntilClose => {
                    let rest = line.inbox.split().freeze();
                    self.line = None;
                    return Poll::Ready((!rest.is_empty()).then_some(Ok(rest)));
                }
                Ok(_) => return self.fail(AttemptError::of(AttemptOutcome::Truncated)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.fail(AttemptError::of(AttemptOutcome::Truncated));
                }
                Err(_) => return self.fail(AttemptError::of(AttemptOutcome::Reset)),
            }
        }
    }

    fn fail(&mut self, error: AttemptError) -> Poll<Option<Result<Bytes, AttemptError>>> {
        self.line = None;
        Poll::Ready(Some(Err(error)))
    }
}
