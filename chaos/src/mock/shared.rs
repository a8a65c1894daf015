//! What the mock's handle and its connections both see.
//!
//! # Why
//! `watch` channels serve as cells: whoever reads a log or changes a script does so at once and without awaiting,
//! and whoever waits for the next entry is woken by the very change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::asked::Asked;
use super::behaviour::Part;
use super::control::{Control, Performance};
use super::dialect::Dialect;
use super::fast::FastAnswers;
use super::log::{Exchange, Leaving, Log};

/// What the listening socket does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Door {
    #[default]
    Open,
    /// The port stays ours but nobody listens: a connect is answered with RST.
    Refusing,
    /// Connections are accepted and then nothing is read or written (also a TLS stall, seen from a TLS client).
    Silent,
    /// The head is read, the body is not: the peer's writes fill the window and stop.
    HeadOnly,
}

/// How many of something there are, and the most there ever were at once.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Gauge {
    pub(super) now: usize,
    pub(super) peak: usize,
    /// Those that are over, too.
    pub(super) ever: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dialect: Dialect,
    pub(super) started: Instant,
    pub(super) control: watch::Sender<Control>,
    pub(super) log: watch::Sender<Log>,
    pub(super) fast: Option<FastAnswers>,
    pub(super) requests: AtomicU64,
    /// Requests whose answer is not yet over.
    pub(super) in_flight: watch::Sender<Gauge>,
    pub(super) accepted: AtomicU64,
    pub(super) open: watch::Sender<Gauge>,
    /// Requests that the peer cut off, or that were not HTTP.
    pub(super) bad_requests: AtomicU64,
    /// Requests that met a connection which was already done for (`After::FinOnReuse` and its like).
    pub(super) stale: AtomicU64,
    pub(super) door: watch::Sender<Door>,
    pub(super) resets: watch::Sender<u64>,
    pub(super) idle_closes: watch::Sender<u64>,
    /// Connections that an order found idle, and that were closed for it.
    pub(super) idle_closed: AtomicU64,
    /// Connections that met a silent or head-only door.
    pub(super) held: AtomicU64,
}

impl Shared {
    pub(super) fn new(control: Control, log_limit: usize, fast: Option<FastAnswers>) -> Self {
        Self {
            dialect: control.dialect,
            started: Instant::now(),
            control: watch::Sender::new(control),
            log: watch::Sender::new(Log::new(log_limit)),
            fast,
            requests: AtomicU64::new(0),
            in_flight: watch::Sender::new(Gauge::default()),
            accepted: AtomicU64::new(0),
            open: watch::Sender::new(Gauge::default()),
            bad_requests: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            door: watch::Sender::new(Door::Open),
            resets: watch::Sender::new(0),
            idle_closes: watch::Sender::new(0),
            idle_closed: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn next_request(&self) -> u64 {
        self.requests
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Control)) {
        self.control.send_modify(change);
    }

    /// Reads with the right to take from the script, without telling anyone of a change.
    pub(super) fn consult<T>(&self, question: impl FnOnce(&mut Control) -> T) -> Option<T> {
        let mut answer = None;
        self.control.send_if_modified(|control| {
            answer = Some(question(control));
            false
        });
        answer
    }
}

/// Counts one up while it lives.
pub(super) struct Counted<'a>(&'a watch::Sender<Gauge>);

impl<'a> Counted<'a> {
    pub(super) fn new(gauge: &'a watch::Sender<Gauge>) -> Self {
        gauge.send_modify(|gauge| {
            gauge.now = gauge.now.saturating_add(1);
            gauge.peak = gauge.peak.max(gauge.now);
            gauge.ever = gauge.ever.saturating_add(1);
        });
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0
            .send_modify(|gauge| gauge.now = gauge.now.saturating_sub(1));
    }
}

/// Writes one exchange's line in the log.
pub(super) struct Recorder<'a> {
    shared: &'a Shared,
    number: u64,
    /// What the fault is called, should it show.
    label: Option<Arc<str>>,
}

impl<'a> Recorder<'a> {
    pub(super) fn begin(shared: &'a Shared, asked: &Arc<Asked>) -> Self {
        shared
            .log
            .send_modify(|log| log.push(Exchange::new(Arc::clone(asked))));
        Self {
            shared,
            number: asked.number,
            label: None,
        }
    }

    /// An exchange that is over; what it left behind may show later.
    pub(super) fn again(shared: &'a Shared, number: u64, label: Arc<str>) -> Self {
        Self {
            shared,
            number,
            label: Some(label),
        }
    }

    fn note(&self, note: impl FnOnce(&mut Exchange, Duration)) {
        let now = self.shared.now();
        self.shared.log.send_modify(|log| {
            if let Some(exchange) = log.get_mut(self.number) {
                note(exchange, now);
            }
        });
    }

    pub(super) fn performs(&mut self, performance: &Performance) {
        self.label.clone_from(&performance.label);
        self.note(|exchange, _| exchange.reported = performance.reported);
    }

    /// The fault shows.
    pub(super) fn acted(&self) {
        if self.label.is_some() {
            self.note(|exchange, _| exchange.fault.clone_from(&self.label));
        }
    }

    pub(super) fn sent(&self, bytes: usize, part: Part) {
        self.note(|exchange, now| {
            exchange.bytes_sent = exchange.bytes_sent.saturating_add(bytes as u64);
            exchange.last_byte_at = Some(now);
            match part {
                Part::Head => {
                    exchange.head_at.get_or_insert(now);
                }
                Part::Other => exchange.chunks_sent = exchange.chunks_sent.saturating_add(1),
                Part::Content => {
                    exchange.chunks_sent = exchange.chunks_sent.saturating_add(1);
                    exchange.content_sent = exchange.content_sent.saturating_add(1);
                    exchange.first_content_at.get_or_insert(now);
                }
            }
        });
    }

    pub(super) fn finished(&self) {
        self.note(|exchange, _| exchange.finished = true);
    }

    pub(super) fn left(&self, how: Leaving) {
        self.note(|exchange, now| exchange.left = Some((now, how)));
    }
}
