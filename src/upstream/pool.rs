//! The connections to one provider: resting HTTP/1.1 lines, shared HTTP/2 ones.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, sleep};

use super::body::Upload;
use super::connect::{Connector, Link};
use super::error::AttemptError;
use super::line::Line;
use super::wire::LARGEST_HEAD;
use crate::domain::AttemptOutcome;

#[expect(
    clippy::disallowed_types,
    reason = "connections, held for a push, a pop or a poll, never while anyone waits"
)]
type Lock<T> = std::sync::Mutex<T>;

/// Providers close what rests for longer than a minute or so.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// No connection is older, so that new addresses are found (fault N01).
const OLDEST: Duration = Duration::from_secs(600);
/// A peer that is gone without a word is noticed after twice this (fault N13).
pub(super) const PING_EVERY: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    ping_every: Duration,
    resting: Lock<Vec<Line>>,
    sweeping: AtomicBool,
    shared: Lock<Vec<Shared>>,
}

/// One HTTP/2 connection.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) sender: SendRequest<Upload>,
    state: Arc<SharedState>,
    retire_at: Instant,
}

#[derive(Debug)]
struct SharedState {
    streams: AtomicUsize,
    ping_every: Duration,
    /// It takes no new streams (fault N09).
    retired: AtomicBool,
    /// `None` once it has ended. Kept here because the limit on streams may change at any time, and only
    /// the connection knows it.
    connection: Lock<Option<Connection<TokioIo<Link>, Upload, TokioExecutor>>>,
}

impl SharedState {
    fn most_streams(&self) -> usize {
        self.connection
            .lock()
            .ok()
            .and_then(|connection| Some(connection.as_ref()?.current_max_send_streams().max(1)))
            .unwrap_or(0)
    }

    /// Drives the connection. Its end shows in the requests on it, and its drop in those that wait for it.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Ok(mut connection) = self.connection.lock() else {
            return Poll::Ready(());
        };
        let ended = connection
            .as_mut()
            .is_none_or(|running| Pin::new(running).poll(cx).is_ready());
        if ended {
            *connection = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// One stream's place on a shared connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct StreamPlace(Arc<SharedState>);

impl StreamPlace {
    /// How often the peer of its connection has to show that it is there.
    pub(super) fn ping_every(&self) -> Duration {
        self.0.ping_every
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// A place for one more stream, unless the provider takes no more on this connection (fault N11).
    fn try_place(&self) -> Option<StreamPlace> {
        let before = self.state.streams.fetch_add(1, Ordering::Relaxed);
        let place = StreamPlace(Arc::clone(&self.state));
        (before < self.state.most_streams()).then_some(place)
    }

    /// Takes it out of use; the streams on it go on.
    pub(super) fn retire(&self) {
        self.state.retired.store(true, Ordering::Relaxed);
    }

    fn is_usable(&self) -> bool {
        !self.sender.is_closed()
            && !self.state.retired.load(Ordering::Relaxed)
            && Instant::now() < self.retire_at
    }
}

/// Something to send on.
pub(super) enum Way {
    Line(Box<Line>),
    Shared(Shared, StreamPlace),
}

impl Pool {
    pub(super) fn new(connector: Connector, ping_every: Duration) -> Arc<Self> {
        Arc::new(Self {
            connector,
            ping_every,
            resting: Lock::default(),
            sweeping: AtomicBool::new(false),
            shared: Lock::default(),
        })
    }

    /// A connection that is there already.
    pub(super) fn kept(&self) -> Option<Way> {
        if let Some((shared, place)) = self.kept_shared() {
            return Some(Way::Shared(shared, place));
        }
        loop {
            let mut line = self.resting.lock().ok()?.pop()?;
            if line.is_fresh(LONGEST_REST) {
                return Some(Way::Line(Box::new(line)));
            }
        }
    }

    fn kept_shared(&self) -> Option<(Shared, StreamPlace)> {
        let mut all = self.shared.lock().ok()?;
        if all.is_empty() {
            return None;
        }
        all.retain(Shared::is_usable);
        all.iter()
            .find_map(|shared| Some((shared.clone(), shared.try_place()?)))
    }

    /// A new connection.
    pub(super) async fn open(self: &Arc<Self>) -> Result<Way, AttemptError> {
        let link = self.connector.connect().await?;
        // Not all at the same moment.
        let age = OLDEST.mul_f64(0.8 + 0.2 * fastrand::f64());
        if !link.speaks_h2() {
            return Ok(Way::Line(Box::new(Line::new(link, age))));
        }
        // Somebody may have been faster: the later connection ends unused.
        if let Some((shared, place)) = self.kept_shared() {
            return Ok(Way::Shared(shared, place));
        }
        let shared = share(link, age, self.ping_every).await?;
        let place = shared
            .try_place()
            .ok_or(AttemptError::of(AttemptOutcome::Connect))?;
        if let Ok(mut all) = self.shared.lock() {
            all.push(shared.clone());
        }
        Ok(Way::Shared(shared, place))
    }

    /// Takes a line back that may serve again.
    pub(super) fn rest(self: &Arc<Self>, line: Line) {
        if let Ok(mut resting) = self.resting.lock() {
            resting.push(line);
        }
        if !self.sweeping.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Drops what has gone stale; false when nothing rests any more.
    fn sweep(&self) -> bool {
        let Ok(mut resting) = self.resting.lock() else {
            return false;
        };
        resting.retain_mut(|line| line.is_fresh(LONGEST_REST));
        let more = !resting.is_empty();
        self.sweeping.store(more, Ordering::Relaxed);
        more
    }
}

/// Closed connections of a quiet provider must not stay open at our side.
async fn sweep(pool: std::sync::Weak<Pool>) {
    loop {
        sleep(LONGEST_REST / 4).await;
        if !pool.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}

async fn share(link: Link, age: Duration, ping_every: Duration) -> Result<Shared, AttemptError> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(ping_every))
        .keep_alive_timeout(ping_every)
        .adaptive_window(true)
        .max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(link))
        .await
        .map_err(|_hyper| AttemptError::of(AttemptOutcome::Connect))?;
    let state = Arc::new(SharedState {
        streams: AtomicUsize::new(0),
        ping_every,
        retired: AtomicBool::new(false),
        connection: Lock::new(Some(connection)),
    });
    let driven = Arc::clone(&state);
    tokio::spawn(std::future::poll_fn(move |cx| driven.poll(cx)));
    Ok(Shared {
        sender,
        state,
        retire_at: Instant::now() + age,
    })
}
