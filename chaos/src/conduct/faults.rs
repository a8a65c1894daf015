//! Makes the faults of a scenario when they are due, and notes what proves that they were there.
//!
//! # Answers are decided by the clock
//! All faults in a mock's answers become one behaviour that looks at the moment each request arrives: nothing
//! has to be switched while traffic runs, and two faults on one mock cannot undo each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::{ADMIN, Plan, phases};
use crate::client::{Client, ConnectOptions};
use crate::fault::{self, Made, ToGateway};
use crate::lab::config::{key_of, write};
use crate::lab::{Doorway, Epoch, Fleet, GatewayProcess, Provider, signal};
use crate::mock::{Asked, Behaviour, Door};
use crate::scenario::{Fault, PhaseName, Shape, terms};

/// One fault, as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub name: String,
    pub shape: Shape,
    pub on: Vec<String>,
    pub from_ms: u64,
    pub to_ms: u64,
    /// What the wire log calls requests that met it.
    pub label: String,
    /// How often it was seen in another way than by the wire log.
    pub seen: u64,
}

/// The faults under way.
pub(super) struct UnderWay {
    planned: Vec<Done>,
    tasks: JoinSet<(usize, u64)>,
}

impl UnderWay {
    /// Waits for those that act by themselves.
    pub(super) async fn finished(mut self) -> Vec<Done> {
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((place, seen)) = ended
                && let Some(done) = self.planned.get_mut(place)
            {
                done.seen = done.seen.saturating_add(seen);
            }
        }
        self.planned
    }
}

/// A fault in a mock's answers, ready to be decided by the clock.
struct Active {
    bad: Behaviour,
    from: Duration,
    to: Duration,
    share: f64,
    shape: Shape,
    period: Duration,
    streams_only: bool,
    seed: u64,
}

impl Active {
    fn of(fault: &Fault, done: &Done, bad: Behaviour, offset: Duration, seed: u64) -> Self {
        Self {
            bad: bad.labelled(&done.label),
            from: offset.saturating_add(Duration::from_millis(done.from_ms)),
            to: offset.saturating_add(Duration::from_millis(done.to_ms)),
            share: fault.share,
            shape: fault.shape,
            period: fault.period.map_or(Duration::from_secs(1), |span| span.0),
            streams_only: fault::streams_only(&fault.fault),
            seed,
        }
    }

    fn applies(&self, asked: &Asked) -> bool {
        let Some(since) = asked
            .at
            .checked_sub(self.from)
            .filter(|_| asked.at < self.to)
        else {
            return false;
        };
        if self.streams_only && !asked.streams() {
            return false;
        }
        let span = self.to.saturating_sub(self.from).as_secs_f64().max(1e-9);
        let share = match self.shape {
            Shape::Step => self.share,
            Shape::Ramp => self.share * (since.as_secs_f64() / span),
            Shape::Flap => {
                let turn = since.as_secs_f64() / self.period.as_secs_f64().max(1e-3);
                if turn.fract() < 0.5 { self.share } else { 0.0 }
            }
        };
        let seed = self.seed ^ asked.number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        fastrand::Rng::with_seed(seed).f64() < share
    }
}

/// Sets everything up; from here on time decides.
pub(super) fn start(
    plan: &Plan,
    fleet: &Arc<Fleet>,
    gateway: Option<Arc<Mutex<GatewayProcess>>>,
    doorway: &Arc<Doorway>,
    epoch: Epoch,
) -> UnderWay {
    let window = phases(&plan.scenario)
        .into_iter()
        .find(|(name, ..)| *name == PhaseName::Faults)
        .map_or((0, 0), |(_, from, to)| (from, to));
    let mut planned = Vec::new();
    let mut tasks = JoinSet::new();
    let mut active: Vec<(String, Active)> = Vec::new();
    for (place, fault) in plan.scenario.faults.iter().enumerate() {
        let Ok(made) = fault::made(&fault.fault, &terms(fault)) else {
            continue;
        };
        let done = done(place, fault, fleet, window);
        let times = Times {
            from: done.from_ms,
            to: done.to_ms,
            epoch,
        };
        match made {
            Made::Answer(answer) => {
                let seed = plan.seed.wrapping_add(place as u64).rotate_left(17);
                for name in &done.on {
                    let bad = fleet.providers.get(name).and_then(|provider| {
                        let bad = answer(provider.mock.dialect(), provider.weather)?;
                        Some(Active::of(fault, &done, bad, provider.offset(), seed))
                    });
                    active.extend(bad.map(|bad| (name.clone(), bad)));
                }
            }
            Made::Gateway(what) => {
                if let Some(gateway) = gateway.clone() {
                    let doorway = Arc::clone(doorway);
                    tasks.spawn(async move {
                        (place, to_gateway(what, &gateway, &doorway, times).await)
                    });
                }
            }
            Made::Door(_) | Made::ResetConnections | Made::CloseIdle | Made::RevokeKey => {
                for name in &done.on {
                    let (fleet, name, made) = (Arc::clone(fleet), name.clone(), made.clone());
                    tasks.spawn(async move {
                        let seen = match fleet.providers.get(&name) {
                            Some(provider) => to_mock(made, provider, &name, times).await,
                            None => 0,
                        };
                        (place, seen)
                    });
                }
            }
        }
        planned.push(done);
    }
    for (name, provider) in &fleet.providers {
        let (mine, others) = active.into_iter().partition(|(on, _)| on == name);
        active = others;
        let mine: Vec<(String, Active)> = mine;
        if !mine.is_empty() {
            provider.mock.set(decided_by_clock(mine));
        }
    }
    UnderWay { planned, tasks }
}

/// The last fault of the scenario that applies wins.
fn decided_by_clock(active: Vec<(String, Active)>) -> Behaviour {
    Behaviour::choose(move |asked| {
        active
            .iter()
            .rev()
            .find(|(_, one)| one.applies(asked))
            .map_or_else(Behaviour::healthy, |(_, one)| one.bad.clone())
    })
}

fn done(place: usize, fault: &Fault, fleet: &Fleet, window: (u64, u64)) -> Done {
    let from_ms = window.0.saturating_add(fault.at.millis()).min(window.1);
    let to_ms = fault
        .lasts
        .map_or(window.1, |lasts| from_ms.saturating_add(lasts.millis()))
        .min(window.1);
    let on = if fault.on.iter().any(|name| name == "*") {
        fleet.providers.keys().cloned().collect()
    } else {
        fault.on.clone()
    };
    Done {
        name: fault.fault.clone(),
        shape: fault.shape,
        on,
        from_ms,
        to_ms,
        label: format!("{} #{}", fault.fault, place + 1),
        seen: 0,
    }
}

/// When a fault begins and ends.
#[derive(Clone, Copy)]
struct Times {
    from: u64,
    to: u64,
    epoch: Epoch,
}

impl Times {
    async fn begin(self) {
        sleep_until(self.epoch.at(self.from)).await;
    }

    async fn end(self) {
        sleep_until(self.epoch.at(self.to)).await;
    }

    fn is_over(self) -> bool {
        self.epoch.millis() >= self.to
    }
}

// --- mocks ---

async fn to_mock(made: Made, provider: &Provider, name: &str, times: Times) -> u64 {
    let mock = &provider.mock;
    times.begin().await;
    match made {
        Made::Door(door) => {
            if mock.door(door).await.is_err() {
                return 0;
            }
            let before = mock.connections();
            let refused = u64::from(door == Door::Refusing && is_refused(mock.address()).await);
            times.end().await;
            let came = mock.connections().saturating_sub(before);
            // A door that could not be opened again shows as a provider that never recovers.
            let _ = mock.door(Door::Open).await;
            refused.saturating_add(if door == Door::Refusing { 0 } else { came })
        }
        Made::ResetConnections => {
            let open = mock.open_connections();
            mock.reset_connections();
            open as u64
        }
        Made::CloseIdle => {
            let mut closed = 0_u64;
            while !times.is_over() {
                closed = closed.saturating_add(mock.open_connections() as u64);
                mock.close_idle();
                sleep(Duration::from_millis(50)).await;
            }
            closed
        }
        Made::RevokeKey => {
            let before = mock.requests();
            mock.revoke_key(&key_of(name));
            times.end().await;
            mock.accept_key(&key_of(name));
            mock.requests().saturating_sub(before)
        }
        Made::Answer(_) | Made::Gateway(_) => 0,
    }
}

/// Nobody else sees a refused connection, so the harness tries one itself.
async fn is_refused(address: std::net::SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_err()
}

// --- the gateway ---

async fn to_gateway(
    what: ToGateway,
    gateway: &Mutex<GatewayProcess>,
    doorway: &Doorway,
    times: Times,
) -> u64 {
    times.begin().await;
    if what == ToGateway::Pause {
        let Some(pid) = gateway.lock().await.pid() else {
            return 0;
        };
        let stopped = signal(pid, "STOP");
        times.end().await;
        return u64::from(stopped && signal(pid, "CONT"));
    }
    let path = gateway.lock().await.folder().join("switchyard.toml");
    let good = std::fs::read_to_string(&path).unwrap_or_default();
    let mut seen = 0_u64;
    for turn in 1_u64.. {
        let (every, worked) = match &what {
            ToGateway::Pause => (None, false),
            ToGateway::Kill { every } => (*every, kill(gateway, doorway).await),
            ToGateway::Actor { path, how, every } => {
                let admin = gateway.lock().await.admin;
                let asked = format!("/admin/kill?path={path}&how={how}");
                (*every, post(admin, &asked).await == Some(200))
            }
            ToGateway::Reload { broken, every } => {
                let text = if *broken {
                    "[pools\nthis is no configuration".to_owned()
                } else {
                    format!("{good}\n# touched {turn}\n")
                };
                (*every, write(&path, &text).is_ok())
            }
        };
        seen = seen.saturating_add(u64::from(worked));
        let Some(every) = every else { break };
        sleep(every).await;
        if times.is_over() {
            break;
        }
    }
    if matches!(what, ToGateway::Reload { .. }) {
        times.end().await;
        // What stays broken would meet the next start.
        let _ = write(&path, &good);
    }
    seen
}

async fn kill(gateway: &Mutex<GatewayProcess>, doorway: &Doorway) -> bool {
    let mut gateway = gateway.lock().await;
    gateway.kill();
    let started = gateway.start_again().await.is_ok();
    if started {
        doorway.moved(gateway.address);
    }
    started
}

async fn post(admin: std::net::SocketAddr, path: &str) -> Option<u16> {
    let options = ConnectOptions {
        patience: Duration::from_secs(3),
        ..ConnectOptions::default()
    };
    let fields = [("authorization".to_owned(), format!("Bearer {ADMIN}"))];
    let mut client = Client::connect_with(admin, options).await.ok()?;
    let request = client.request("POST", path, &fields, b"");
    client.send(&request).await.ok()?;
    Some(client.read_answer().await.ok()?.status())
}
