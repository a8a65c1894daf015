//! One client connection: what is known of it, and a socket that remembers.
//!
//! # Why a socket of our own
//! Four things only the socket can tell: that a client takes no bytes any more (fault L02), that a head
//! comes too slowly (fault L03), that a request is framed ambiguously (attack A14), and that a client
//! which closed its side is gone or only half closed (faults L01, L10). A half-closed client still wants
//! its answer; one that is gone must be noticed within 100 ms. A few harmless bytes tell them apart (an
//! interim response before the answer, a comment inside a stream): whoever is gone resets the connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::framing::{Framing, Violation};
use crate::config::ListenSettings;
use crate::policy::overload::{Overload, Pressure};

/// What handlers may know and ask of their connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionControl {
    pub(super) state: Arc<ConnectionState>,
}

impl ConnectionControl {
    pub(super) fn peer(&self) -> SocketAddr {
        self.state.peer
    }

    pub(super) fn is_http2(&self) -> bool {
        self.state.is_http2()
    }

    pub(super) fn write_stall(&self) -> Duration {
        self.state.write_stall
    }

    /// Lets the answer under way finish and closes the connection behind it.
    pub(super) fn close_after_response(&self) {
        self.state.close.notify_one();
    }
}

#[derive(Debug)]
pub(super) struct ConnectionState {
    peer: SocketAddr,
    /// So long may a client take nothing.
    write_stall: Duration,
    pressure: Arc<Pressure>,
    start: Instant,
    /// Requests being served on this connection.
    pub(super) serving: AtomicU32,
    /// Milliseconds since the start plus one when the first byte of a head came; 0 while none is read.
    head_since: AtomicU64,
    /// The same for a write that the client does not take.
    stalled_since: AtomicU64,
    /// The same for a connection on which nothing is asked.
    idle_since: AtomicU64,
    /// HTTP/2: frames between requests are no slow head.
    frames: AtomicBool,
    /// Something was asked, if only half, and nothing was answered yet.
    head_begun: AtomicBool,
    /// Something of the answer under way was written.
    answered: AtomicBool,
    /// HTTP/2: answers that have more to say and were not asked for it since `taken_at`.
    waiting_to_speak: AtomicU32,
    /// Milliseconds since the start plus one when an answer was last asked for more.
    taken_at: AtomicU64,
    /// A stream under way shall write a comment: does the client still listen?
    sign_wanted: AtomicBool,
    stream_waits: AtomicWaker,
    /// Why nothing more is read from this connection.
    violation: OnceLock<Violation>,
    began: Notify,
    /// Why it has to end at once.
    verdict: OnceLock<CloseReason>,
    /// Something was decided: a verdict, or else that it ends behind the answer under way.
    pub(super) close: Notify,
}

/// Why a connection is closed by us; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    SlowHead,
    SlowReader,
    Idle,
    /// The client left.
    Gone,
}

impl CloseReason {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::SlowReader => "slow_reader",
            Self::Idle => "idle",
            Self::Gone => "client_gone",
        }
    }
}

impl ConnectionState {
    pub(super) fn new(
        peer: SocketAddr,
        write_stall: Duration,
        pressure: Arc<Pressure>,
    ) -> Arc<Self> {
        Arc::new(Self {
            peer,
            write_stall,
            pressure,
            start: Instant::now(),
            serving: AtomicU32::new(0),
            // A connection that never sends anything is a slow head as well.
            head_since: AtomicU64::new(1),
            stalled_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            frames: AtomicBool::new(false),
            head_begun: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            waiting_to_speak: AtomicU32::new(0),
            taken_at: AtomicU64::new(0),
            sign_wanted: AtomicBool::new(false),
            stream_waits: AtomicWaker::new(),
            violation: OnceLock::new(),
            began: Notify::new(),
            verdict: OnceLock::new(),
            close: Notify::new(),
        })
    }

    pub(super) fn overload(&self) -> Overload {
        self.pressure.level()
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// A request's head is complete.
    pub(super) fn request_begins(&self) {
        if self.serving.fetch_add(1, Ordering::Relaxed) == 0 {
            self.began.notify_one();
        }
        self.head_since.store(0, Ordering::Relaxed);
        self.idle_since.store(0, Ordering::Relaxed);
        self.head_begun.store(true, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Whether a head was begun and nothing was said to it yet.
    pub(super) fn owes_an_answer(&self) -> bool {
        let begun =
            self.head_begun.load(Ordering::Relaxed) || self.serving.load(Ordering::Relaxed) > 0;
        begun && !self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn decide(&self, reason: CloseReason) {
        self.verdict.get_or_init(|| reason);
        self.close.notify_one();
    }

    pub(super) fn verdict(&self) -> Option<CloseReason> {
        self.verdict.get().copied()
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.violation.get().copied()
    }

    pub(super) fn request_ends(&self) {
        if self.serving.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.idle_since.store(self.stamp(), Ordering::Relaxed);
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        self.frames.load(Ordering::Relaxed)
    }

    /// An answer can go on when the client takes more; HTTP/2 only, where a full socket does not show it.
    pub(super) fn speaker_waits(&self) {
        if self.waiting_to_speak.fetch_add(1, Ordering::Relaxed) == 0 {
            self.taken_at.store(self.stamp(), Ordering::Relaxed);
        }
    }

    /// The counterpart of [`Self::speaker_waits`]: it was asked for more, or is over.
    pub(super) fn speaker_goes_on(&self) {
        self.waiting_to_speak.fetch_sub(1, Ordering::Relaxed);
        self.taken_at.store(self.stamp(), Ordering::Relaxed);
    }

    /// Whether a stream that has nothing to say is to write a comment. Otherwise it is woken for one.
    pub(super) fn takes_sign(&self, cx: &Context<'_>) -> bool {
        self.stream_waits.register(cx.waker());
        self.sign_wanted.load(Ordering::Relaxed) && self.sign_wanted.swap(false, Ordering::Relaxed)
    }

    /// The connection turned out to speak HTTP/2.
    fn speaks_frames(&self) {
        if !self.frames.swap(true, Ordering::Relaxed) {
            self.head_since.store(0, Ordering::Relaxed);
            self.idle_since.store(self.stamp(), Ordering::Relaxed);
        }
    }

    /// Whether the connection has used up somebody's patience.
    pub(super) fn overdue(&self, listen: &ListenSettings, idle: Duration) -> Option<CloseReason> {
        let older = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0
                && self.stamp().saturating_sub(since)
                    >= u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
        };
        let quiet = self.serving.load(Ordering::Relaxed) == 0;
        let unheard = self.waiting_to_speak.load(Ordering::Relaxed) > 0;
        let takes_nothing = older(&self.stalled_since, listen.write_stall)
            || (unheard && older(&self.taken_at, listen.write_stall));
        if takes_nothing {
            Some(CloseReason::SlowReader)
        } else if quiet && older(&self.head_since, listen.head_timeout) {
            Some(CloseReason::SlowHead)
        } else if quiet && older(&self.idle_since, idle) {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }

    fn bytes_read(&self) {
        if self.serving.load(Ordering::Relaxed) > 0 || self.frames.load(Ordering::Relaxed) {
            return;
        }
        if !self.head_begun.swap(true, Ordering::Relaxed) {
            self.answered.store(false, Ordering::Relaxed);
        }
        if self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.stamp(), Ordering::Relaxed);
        }
    }
}

/// The socket as hyper sees it.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    state: Arc<ConnectionState>,
    framing: Framing,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        state: Arc<ConnectionState>,
        max_header_bytes: usize,
    ) -> (Self, Arc<TcpStream>) {
        let stream = Arc::new(stream);
        (
            Self {
                stream: Arc::clone(&stream),
                state,
                framing: Framing::new(max_header_bytes),
            },
            stream,
        )
    }

    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => {
                let _ = self.state.stalled_since.compare_exchange(
                    0,
                    self.state.stamp(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            Poll::Ready(_) => {
                if self.state.stalled_since.load(Ordering::Relaxed) != 0 {
                    self.state.stalled_since.store(0, Ordering::Relaxed);
                }
                self.state.answered.store(true, Ordering::Relaxed);
                self.state.head_begun.store(false, Ordering::Relaxed);
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.framing.refused().is_some() {
            // As if the client had ended: what stands before the fault is answered, nothing behind it read.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buf) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let arrived = buf.filled().get(before..).unwrap_or_default();
        let admitted = self.framing.admit(arrived);
        buf.set_filled(before + admitted);
        if self.framing.is_http2() {
            self.state.speaks_frames();
        }
        self.state.bytes_read();
        if let Some(violation) = self.framing.refused() {
            self.state.violation.get_or_init(|| violation);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = poll_io(&self.stream, cx, |stream| stream.try_write(buf));
        self.note_write(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = poll_io(&self.stream, cx, |stream| stream.try_write_vectored(bufs));
        self.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task closes, after it has said what hyper left unsaid.
        Poll::Ready(Ok(()))
    }
}

fn poll_io(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match attempt(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// A request that is answered sooner than this is not worth a look at its client.
const LOOK_AFTER: Duration = Duration::from_millis(25);
/// While an answer goes out its writes find out who left; a look is for the pauses between them.
const LOOK_BETWEEN: Duration = Duration::from_millis(75);

/// Resolves when the client turns out to be gone while it is being served; never, while it still listens.
///
/// hyper does not look for an end while it serves, because half-closed clients are to be answered. So it
/// is looked for here, without taking a byte.
pub(super) async fn until_gone(stream: &TcpStream, state: &ConnectionState) {
    loop {
        state.began.notified().await;
        while state.serving.load(Ordering::Relaxed) > 0 {
            let answering = state.answered.load(Ordering::Relaxed);
            sleep(if answering { LOOK_BETWEEN } else { LOOK_AFTER }).await;
            if state.serving.load(Ordering::Relaxed) == 0 {
                break;
            }
            match stream.peek(&mut [0; 1]).await {
                // A pipelined request waits its turn; whoever sent it is there.
                Ok(1..) => {}
                Ok(0) if state.serving.load(Ordering::Relaxed) == 0 => break,
                Ok(0) => return closed_its_side(stream, state).await,
                Err(_) => return,
            }
        }
    }
}

/// The client will send no more. Does it still listen?
async fn closed_its_side(stream: &TcpStream, state: &ConnectionState) {
    const INTERIM: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";
    if state.is_http2() {
        // Streams are closed one by one there; whoever closes them all has left.
        return;
    }
    if state.answered.load(Ordering::Relaxed) {
        // Only the stream itself knows where one event ends and the next begins. A whole answer needs no
        // sign: the rest of it is one.
        state.sign_wanted.store(true, Ordering::Relaxed);
        state.stream_waits.wake();
    } else if stream.try_write(INTERIM).is_err() {
        return;
    }
    let mut wait = Duration::from_millis(4);
    while wait < Duration::from_secs(2) {
        sleep(wait).await;
        // A reset shows as a pending error, or as the socket having no peer any more.
        if !matches!(stream.take_error(), Ok(None)) || stream.peer_addr().is_err() {
            return;
        }
        wait *= 2;
    }
    std::future::pending().await
}
