//! Many raw clients at once: closed loop (each sends when it has its answer) or open loop (a fixed schedule).
//!
//! # Why
//! In the open loop a latency counts from the moment a request was *due*, not from when a connection was free for
//! it: a server that stalls is charged for everyone who had to wait behind the stall (coordinated omission).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::{Answer, BodyEnd, Client, ClientError, ConnectOptions, request_bytes};

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Each connection sends its next request when it has its answer.
    Closed,
    /// So many a second in all, evenly spread; `connections` bounds how many can be under way.
    Open { per_second: f64 },
}

/// Looks at a whole answer and names what is wrong with it.
pub type Check = Arc<dyn Fn(&Answer) -> Option<&'static str> + Send + Sync>;

/// One load run. It ends by itself: at `requests`, at `duration`, whichever comes first.
#[derive(Clone)]
pub struct Load {
    pub target: SocketAddr,
    pub method: &'static str,
    pub path: String,
    pub fields: Vec<(String, String)>,
    /// Sent in turn.
    pub bodies: Vec<Bytes>,
    pub connections: usize,
    pub shape: Shape,
    pub duration: Duration,
    pub requests: u64,
    /// No read waits longer; a request that does counts as `silent`, and its connection is replaced.
    pub patience: Duration,
    pub check: Option<Check>,
}

impl Load {
    /// A closed loop of eight connections for a second.
    #[must_use]
    pub fn new(target: SocketAddr, path: &str, body: impl Into<Bytes>) -> Self {
        Self {
            target,
            method: "POST",
            path: path.to_owned(),
            fields: vec![("content-type".to_owned(), "application/json".to_owned())],
            bodies: vec![body.into()],
            connections: 8,
            shape: Shape::Closed,
            duration: Duration::from_secs(1),
            requests: u64::MAX,
            patience: Duration::from_secs(10),
            check: None,
        }
    }

    /// Runs to the end.
    pub async fn run(self) -> Report {
        let begun = Instant::now();
        let wires = self.wires();
        let shared = Arc::new(Run {
            next: AtomicU64::new(0),
            begun,
            wires,
            load: self,
        });
        let mut workers = JoinSet::new();
        for _ in 0..shared.load.connections.max(1) {
            workers.spawn(work(Arc::clone(&shared)));
        }
        let mut report = Report::default();
        while let Some(worker) = workers.join_next().await {
            match worker {
                Ok(part) => report.add(part),
                // A check that panicked: its worker's share is lost, which must show.
                Err(_) => report.count_error("worker"),
            }
        }
        report.took = begun.elapsed();
        report.latencies.settle();
        report.first_bytes.settle();
        report
    }

    fn wires(&self) -> Vec<Bytes> {
        let wire =
            |body: &Bytes| request_bytes(self.target, self.method, &self.path, &self.fields, body);
        self.bodies.iter().map(wire).collect()
    }
}

struct Run {
    next: AtomicU64,
    begun: Instant,
    wires: Vec<Bytes>,
    load: Load,
}

impl Run {
    /// The next request's number and when it is due; `None` when the run is over.
    fn claim(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let due = match self.load.shape {
            Shape::Closed => now,
            Shape::Open { per_second } => {
                let offset = Duration::try_from_secs_f64(number as f64 / per_second.max(1e-6))
                    .unwrap_or(Duration::MAX);
                self.begun.checked_add(offset)?
            }
        };
        let over = number >= self.load.requests
            || due.saturating_duration_since(self.begun) >= self.load.duration;
        (!over).then_some((number, due))
    }

    /// Open-loop requests nobody got to before the time was up must not run on for ever.
    fn too_late(&self) -> bool {
        self.begun.elapsed() >= self.load.duration.saturating_add(self.load.patience)
    }
}

async fn work(run: Arc<Run>) -> Report {
    let mut report = Report::default();
    let mut connection: Option<Client> = None;
    let options = ConnectOptions {
        patience: run.load.patience,
        ..ConnectOptions::default()
    };
    while let Some((number, due)) = run.claim() {
        if run.too_late() {
            report.unsent = report.unsent.saturating_add(1);
            continue;
        }
        tokio::time::sleep_until(due).await;
        let position = usize::try_from(number)
            .unwrap_or(0)
            .checked_rem(run.wires.len())
            .unwrap_or(0);
        let Some(wire) = run.wires.get(position) else {
            break;
        };
        let once = once(&mut connection, run.load.target, options, wire);
        // Patience bounds each read; this bounds an answer that trickles for ever.
        let answer = timeout(run.load.patience.saturating_mul(3), once).await;
        report.sent = report.sent.saturating_add(1);
        match answer {
            Ok(Ok(answer)) => {
                let keep =
                    answer.end == BodyEnd::Whole && answer.header("connection") != Some("close");
                if !keep {
                    connection = None;
                }
                report.count(&answer, due.elapsed(), run.load.check.as_ref());
            }
            Ok(Err(error)) => {
                connection = None;
                report.count_error(name_of(&error));
                // A refusing server must not be hammered in a tight loop.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(_) => {
                connection = None;
                report.count_error("silent");
            }
        }
    }
    report
}

async fn once(
    connection: &mut Option<Client>,
    target: SocketAddr,
    options: ConnectOptions,
    wire: &[u8],
) -> Result<Answer, ClientError> {
    let client = match connection {
        Some(client) => client,
        None => connection.insert(Client::connect_with(target, options).await?),
    };
    client.send(wire).await?;
    client.read_answer().await
}

fn name_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::Connect(_) => "connect",
        ClientError::Send(_) => "send",
        ClientError::ResetBeforeHead => "reset",
        ClientError::ClosedBeforeHead => "closed",
        ClientError::CutInHead => "cut",
        ClientError::Silent(_) => "silent",
        ClientError::Wire(_) => "malformed",
    }
}

/// Latencies of whole answers, sorted once the run is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    fn settle(&mut self) {
        self.sorted.sort_unstable();
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest latency that this share (0 to 1) of answers did not exceed; zero without answers.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share.clamp(0.0, 1.0) * self.sorted.len() as f64).ceil();
        // A float to integer cast saturates; the rank lies within the length by construction.
        let place = (rank as usize).saturating_sub(1);
        self.sorted.get(place).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn p50(&self) -> Duration {
        self.quantile(0.50)
    }

    #[must_use]
    pub fn p95(&self) -> Duration {
        self.quantile(0.95)
    }

    #[must_use]
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    #[must_use]
    pub fn max(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }
}

/// What a run saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub took: Duration,
    pub sent: u64,
    /// Open loop: due, but the time was up before a connection was free.
    pub unsent: u64,
    /// Whole answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Everything else by kind: `connect`, `send`, `reset`, `closed`, `cut`, `silent`, `malformed`,
    /// `worker`, and what the check said.
    pub errors: BTreeMap<&'static str, u64>,
    /// Of whole answers, to their last byte.
    pub latencies: Latencies,
    /// Of whole answers, to their head.
    pub first_bytes: Latencies,
    pub body_bytes: u64,
}

impl Report {
    /// Whole answers with this status.
    #[must_use]
    pub fn with_status(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Everything that was not a whole answer, or that the check refused.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whole answers per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let whole = self.latencies.count() as f64;
        whole / self.took.as_secs_f64().max(1e-9)
    }

    fn count(&mut self, answer: &Answer, latency: Duration, check: Option<&Check>) {
        match answer.end {
            BodyEnd::Whole => {}
            BodyEnd::Cut => return self.count_error("cut"),
            BodyEnd::Reset => return self.count_error("reset"),
            BodyEnd::Silent => return self.count_error("silent"),
        }
        let seen = self.statuses.entry(answer.status()).or_default();
        *seen = seen.saturating_add(1);
        self.body_bytes = self.body_bytes.saturating_add(answer.body.len() as u64);
        self.latencies.sorted.push(latency);
        let tail = answer.took.saturating_sub(answer.head.at);
        self.first_bytes.sorted.push(latency.saturating_sub(tail));
        if let Some(wrong) = check.and_then(|check| check(answer)) {
            self.count_error(wrong);
        }
    }

    fn count_error(&mut self, kind: &'static str) {
        let seen = self.errors.entry(kind).or_default();
        *seen = seen.saturating_add(1);
    }

    fn add(&mut self, other: Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.unsent = self.unsent.saturating_add(other.unsent);
        self.body_bytes = self.body_bytes.saturating_add(other.body_bytes);
        for (status, count) in other.statuses {
            let seen = self.statuses.entry(status).or_default();
            *seen = seen.saturating_add(count);
        }
        for (kind, count) in other.errors {
            let seen = self.errors.entry(kind).or_default();
            *seen = seen.saturating_add(count);
        }
        self.latencies.sorted.extend(other.latencies.sorted);
        self.first_bytes.sorted.extend(other.first_bytes.sorted);
    }
}
