//! The mock's handle: start it, script it, read its log.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::asked::Asked;
use super::behaviour::Behaviour;
use super::control::Control;
use super::dialect::Dialect;
use super::fast::FastAnswers;
use super::listener::Listener;
use super::log::Exchange;
use super::options::MockOptions;
use super::rate_limit::{RateLimit, Windows};
use super::shared::{Door, Shared};
use super::weather::Weather;

/// A running mock provider; it ends when dropped.
#[derive(Debug)]
pub struct MockProvider {
    shared: Arc<Shared>,
    address: SocketAddr,
    dialect: Dialect,
    door_in_force: watch::Receiver<Door>,
    task: AbortHandle,
}

impl MockProvider {
    /// Binds the loopback and serves from tasks of its own.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(options: MockOptions) -> io::Result<Self> {
        let MockOptions {
            dialect,
            name,
            port,
            weather,
            seed,
            models,
            checks,
            log_limit,
            fast,
        } = options;
        let name = Some(
            name.chars()
                .filter(|letter| letter.is_alphabetic())
                .collect::<String>(),
        )
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "c".to_owned());
        let fast = fast.map(|fast| FastAnswers::new(fast, dialect, &name));
        let control = Control {
            dialect,
            name,
            seed,
            models,
            checks,
            weather,
            default: Behaviour::healthy(),
            script: VecDeque::new(),
            rules: Vec::new(),
            keys: None,
            refused: HashSet::new(),
            refusals: 0,
            limit: None,
            windows: Windows::default(),
        };
        let shared = Arc::new(Shared::new(control, log_limit, fast));
        let (in_force, door_in_force) = watch::channel(Door::Open);
        let listener = Listener::bind(Arc::clone(&shared), port, in_force)?;
        let address = listener.address();
        let task = tokio::spawn(listener.run()).abort_handle();
        Ok(Self {
            shared,
            address,
            dialect,
            door_in_force,
            task,
        })
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// `http://127.0.0.1:<port>`, without a path.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What an SDK calls the base URL: with `/v1` for `OpenAI`'s, without for the others.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), self.dialect.base_path())
    }

    /// Closes the port and every connection.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for MockProvider {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What it does.
impl MockProvider {
    /// The behaviour of every request that no rule and no script claims.
    pub fn set(&self, behaviour: impl Into<Behaviour>) {
        let behaviour = behaviour.into();
        self.shared.change(|control| control.default = behaviour);
    }

    /// One behaviour per generation request, in order; then the default again. Replaces what is left of a script.
    pub fn script(&self, behaviours: Vec<Behaviour>) {
        self.shared
            .change(|control| control.script = behaviours.into());
    }

    /// For every request (of any path) that `applies`, until [`MockProvider::clear`]; the newest rule wins.
    ///
    /// The predicate must not call this mock.
    pub fn when(
        &self,
        applies: impl Fn(&Asked) -> bool + Send + Sync + 'static,
        behaviour: Behaviour,
    ) {
        self.shared
            .change(|control| control.rules.push((Box::new(applies), behaviour)));
    }

    /// Healthy again: no rules, no script, no limit, the door open. Keys and weather stay.
    ///
    /// # Errors
    /// As [`MockProvider::door`].
    pub async fn clear(&self) -> io::Result<()> {
        self.shared.change(|control| {
            control.rules.clear();
            control.script.clear();
            control.default = Behaviour::healthy();
            control.limit = None;
        });
        self.door(Door::Open).await
    }

    pub fn weather(&self, weather: Weather) {
        self.shared.change(|control| control.weather = weather);
    }

    /// From now on only known keys are answered; others get 401.
    pub fn accept_key(&self, key: &str) {
        self.mark_key(key, true);
    }

    /// This key gets 401 from now on, and so does every key never accepted.
    pub fn revoke_key(&self, key: &str) {
        self.mark_key(key, false);
    }

    fn mark_key(&self, key: &str, good: bool) {
        self.shared.change(|control| {
            control
                .keys
                .get_or_insert_with(HashMap::new)
                .insert(key.to_owned(), good);
        });
    }

    /// This key gets 401 from now on, and no other; see [`MockProvider::allow_key`].
    pub fn refuse_key(&self, key: &str) {
        self.shared.change(|control| {
            control.refused.insert(key.to_owned());
        });
    }

    /// As if [`MockProvider::refuse_key`] had not been said.
    pub fn allow_key(&self, key: &str) {
        self.shared.change(|control| {
            control.refused.remove(key);
        });
    }

    /// Counts requests per key, tells the state in headers and answers 429 beyond; `None` ends it.
    pub fn limit(&self, limit: Option<RateLimit>) {
        self.shared.change(|control| {
            control.limit = limit;
            control.windows = Windows::default();
        });
    }

    /// Changes the listening socket and returns when the change is in force. Open connections stay.
    ///
    /// # Errors
    /// When the port could not be had back within a few seconds.
    pub async fn door(&self, door: Door) -> io::Result<()> {
        self.shared.door.send_replace(door);
        let mut in_force = self.door_in_force.clone();
        let reached = timeout(
            Duration::from_secs(5),
            in_force.wait_for(|now| *now == door),
        )
        .await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(io::Error::other("mock has stopped")),
            Err(_) => Err(io::Error::other(
                "mock could not change its listening socket",
            )),
        }
    }

    /// RST to every open connection, whatever it does; tells how many there are.
    pub fn reset_connections(&self) -> usize {
        let open = self.open_connections();
        self.shared
            .resets
            .send_modify(|count| *count = count.wrapping_add(1));
        open
    }

    /// FIN to every connection that carries no request now (N08).
    pub fn close_idle(&self) {
        self.shared
            .idle_closes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What it saw.
impl MockProvider {
    /// The newest exchanges, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Exchange> {
        self.shared.log.borrow().all().to_vec()
    }

    /// How many exchanges the log has forgotten, because there were more than it keeps.
    #[must_use]
    pub fn log_lost(&self) -> u64 {
        self.shared.log.borrow().lost()
    }

    /// The last exchange logged.
    #[must_use]
    pub fn last(&self) -> Option<Exchange> {
        self.shared.log.borrow().all().last().cloned()
    }

    /// Whole requests received, of any path.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Requests whose answer is not yet over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.borrow().now
    }

    /// The most requests there were at once.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.shared.in_flight.borrow().peak
    }

    /// Connections accepted since the start.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.borrow().now
    }

    /// Connections that were closed because they were idle.
    #[must_use]
    pub fn idle_connections_closed(&self) -> u64 {
        self.shared.idle_closed.load(Ordering::Relaxed)
    }

    /// Connections that met a silent door, and requests that met one which reads no body.
    #[must_use]
    pub fn held_connections(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Requests whose key was refused, see [`MockProvider::refuse_key`].
    #[must_use]
    pub fn keys_refused(&self) -> u64 {
        self.shared.control.borrow().refusals
    }

    /// Requests that were cut off inside or were not HTTP.
    #[must_use]
    pub fn bad_requests(&self) -> u64 {
        self.shared.bad_requests.load(Ordering::Relaxed)
    }

    /// Requests that met a connection which was already done for; they are neither counted nor logged otherwise.
    #[must_use]
    pub fn stale_requests(&self) -> u64 {
        self.shared.stale.load(Ordering::Relaxed)
    }

    /// Since the mock's start, the scale of all times in the log.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Whether the log satisfied `wanted` within `patience`. The predicate must not call this mock.
    pub async fn wait_until(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&[Exchange]) -> bool,
    ) -> bool {
        let mut log = self.shared.log.subscribe();
        timeout(patience, log.wait_for(|log| wanted(log.all())))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    /// Whether `count` requests had come within `patience`.
    pub async fn wait_for(&self, count: u64, patience: Duration) -> bool {
        let mut in_flight = self.shared.in_flight.subscribe();
        timeout(patience, in_flight.wait_for(|gauge| gauge.ever >= count))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    /// The exchange, once its peer has left before the end of the answer; `None` when that did not happen in time.
    pub async fn wait_for_close(&self, number: u64, patience: Duration) -> Option<Exchange> {
        self.wait_for_exchange(number, patience, |exchange| exchange.left.is_some())
            .await
    }

    /// The exchange, once the mock has carried out all of its behaviour.
    pub async fn wait_for_finish(&self, number: u64, patience: Duration) -> Option<Exchange> {
        self.wait_for_exchange(number, patience, |exchange| exchange.finished)
            .await
    }

    async fn wait_for_exchange(
        &self,
        number: u64,
        patience: Duration,
        wanted: impl Fn(&Exchange) -> bool,
    ) -> Option<Exchange> {
        let mut found = None;
        self.wait_until(patience, |log| {
            found = log
                .iter()
                .find(|exchange| exchange.asked.number == number && wanted(exchange))
                .cloned();
            found.is_some()
        })
        .await;
        found
    }

    /// Whether every connection had ended within `patience`.
    pub async fn wait_for_no_connections(&self, patience: Duration) -> bool {
        let mut open = self.shared.open.subscribe();
        timeout(patience, open.wait_for(|gauge| gauge.now == 0))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }
}
