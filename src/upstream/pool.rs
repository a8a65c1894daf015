//! The connections to one provider: resting HTTP/1.1 lines, shared HTTP/2 ones.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, sleep};

use super::body::Rope;
use super::connect::{Connector, Link};
use super::error::AttemptError;
use super::line::Line;
use super::wire::LARGEST_HEAD;
use crate::domain::AttemptOutcome;

#[expect(
    clippy::disallowed_types,
    reason = "a list of connections, held for a push or a pop only"
)]
type Lock<T> = std::sync::Mutex<T>;

/// Providers close what rests for longer than a minute or so.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// No connection is older, so that new addresses are found (fault N01).
const OLDEST: Duration = Duration::from_secs(600);
/// A peer that is gone without a word is noticed after this (fault N13).
const PING_EVERY: Duration = Duration::from_secs(20);
/// What a provider allows before it has said how many streams it takes.
const STREAMS_AT_FIRST: usize = 100;

#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    resting: Lock<Vec<Line>>,
    sweeping: AtomicBool,
    shared: Lock<Vec<Shared>>,
}

/// One HTTP/2 connection.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) sender: SendRequest<Rope>,
    state: Arc<SharedState>,
    retire_at: Instant,
}

#[derive(Debug)]
struct SharedState {
    streams: AtomicUsize,
    most_streams: AtomicUsize,
    /// It was told to end.
    leaving: AtomicBool,
}

/// One stream's place on a shared connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct StreamPlace(Arc<SharedState>);

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
        (before < self.state.most_streams.load(Ordering::Relaxed)).then_some(place)
    }

    fn is_usable(&self) -> bool {
        !self.state.leaving.load(Ordering::Relaxed)
            && !self.sender.is_closed()
            && Instant::now() < self.retire_at
    }

    /// No new stream is put on it any more.
    pub(super) fn leaves(&self) {
        self.state.leaving.store(true, Ordering::Relaxed);
    }
}

/// Something to send on.
pub(super) enum Way {
    Line(Box<Line>),
    Shared(Shared, StreamPlace),
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Arc<Self> {
        Arc::new(Self {
            connector,
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
        let shared = share(link, age).await?;
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

async fn share(link: Link, age: Duration) -> Result<Shared, AttemptError> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING_EVERY))
        .keep_alive_timeout(PING_EVERY)
        .adaptive_window(true)
        .max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(link))
        .await
        .map_err(|_hyper| AttemptError::of(AttemptOutcome::Connect))?;
    let state = Arc::new(SharedState {
        streams: AtomicUsize::new(0),
        most_streams: AtomicUsize::new(STREAMS_AT_FIRST),
        leaving: AtomicBool::new(false),
    });
    let told = Arc::clone(&state);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        // Its end shows in the requests on it.
        let _ = std::future::poll_fn(|cx| {
            let ended = connection.as_mut().poll(cx);
            let most = connection.current_max_send_streams();
            told.most_streams.store(most.max(1), Ordering::Relaxed);
            ended
        })
        .await;
    });
    Ok(Shared {
        sender,
        state,
        retire_at: Instant::now() + age,
    })
}
