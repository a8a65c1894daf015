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

use super::stretches::Pace;
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
    /// When it acted, where that is known: a kill until the process served again, a door while it was shut.
    pub acts: Vec<Act>,
}

/// One time a fault acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The mock; `None` for the gateway itself.
    pub on: Option<String>,
    pub from_ms: u64,
    pub to_ms: u64,
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
    pace: Pace,
    share: f64,
    streams_only: bool,
    seed: u64,
}

impl Active {
    fn of(fault: &Fault, done: &Done, bad: Behaviour, offset: Duration, seed: u64) -> Self {
        Self {
            bad: bad.labelled(&done.label),
            pace: pace(fault, done, offset, seed),
            share: fault.share,
            streams_only: fault::streams_only(&fault.fault),
            seed,
        }
    }

    fn applies(&self, asked: &Asked) -> bool {
        let share = self.share * self.pace.strength(asked.at);
        if share <= 0.0 || self.streams_only && !asked.streams() {
            return false;
        }
        let seed = self.seed ^ asked.number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        fastrand::Rng::with_seed(seed).f64() < share
    }
}

/// When a fault is on, by a clock that began `offset` before the run's.
fn pace(fault: &Fault, done: &Done, offset: Duration, seed: u64) -> Pace {
    Pace {
        shape: fault.shape,
        from: offset.saturating_add(Duration::from_millis(done.from_ms)),
        to: offset.saturating_add(Duration::from_millis(done.to_ms)),
        period: fault.period.map_or(Duration::from_secs(1), |span| span.0),
        seed,
    }
}

/// One fault comes and goes at other times at each mock.
fn seed_of(seed: u64, place: usize, name: &str) -> u64 {
    let letters = name.bytes().fold(0_u64, |all, letter| {
        all.wrapping_mul(31).wrapping_add(u64::from(letter))
    });
    seed.wrapping_add(place as u64).rotate_left(17) ^ letters
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
        let times = |name: &str| Times {
            pace: pace(
                fault,
                &done,
                Duration::ZERO,
                seed_of(plan.seed, place, name),
            ),
            epoch,
        };
        match made {
            Made::Answer(answer) => {
                for name in &done.on {
                    let bad = fleet.providers.get(name).and_then(|provider| {
                        let bad = answer(provider.mock.dialect(), provider.weather)?;
                        let seed = seed_of(plan.seed, place, name);
                        Some(Active::of(fault, &done, bad, provider.offset(), seed))
                    });
                    active.extend(bad.map(|bad| (name.clone(), bad)));
                }
            }
            Made::Gateway(what) => {
                if let Some(gateway) = gateway.clone() {
                    let (doorway, times) = (Arc::clone(doorway), times("gateway"));
                    tasks.spawn(async move {
                        (place, to_gateway(what, &gateway, &doorway, times).await)
                    });
                }
            }
            Made::Door(_) | Made::ResetConnections | Made::CloseIdle | Made::RevokeKey => {
                for name in &done.on {
                    let (fleet, name, made) = (Arc::clone(fleet), name.clone(), made.clone());
                    let times = times(&name);
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
        acts: Vec::new(),
    }
}

/// When a fault is on, on the run's own clock.
#[derive(Clone, Copy)]
struct Times {
    pace: Pace,
    epoch: Epoch,
}

impl Times {
    /// Waits until the fault is on, and tells until when; `None` when it is over for good.
    async fn on(self) -> Option<u64> {
        let now = Duration::from_millis(self.epoch.millis());
        let (on, off) = self.pace.next(now)?;
        sleep_until(self.epoch.at(millis(on))).await;
        Some(millis(off))
    }

    async fn off(self, off: u64) {
        sleep_until(self.epoch.at(off)).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// --- mocks ---

async fn to_mock(made: Made, provider: &Provider, name: &str, times: Times) -> u64 {
    let mut seen = 0_u64;
    while let Some(off) = times.on().await {
        seen = seen.saturating_add(once(&made, provider, name, times, off).await);
        // A stretch may end within the millisecond.
        times.off(off.saturating_add(1)).await;
    }
    seen
}

async fn once(made: &Made, provider: &Provider, name: &str, times: Times, off: u64) -> u64 {
    let mock = &provider.mock;
    match made {
        Made::Door(door) => {
            if mock.door(*door).await.is_err() {
                return 0;
            }
            let before = mock.connections();
            let refused = u64::from(*door == Door::Refusing && is_refused(mock.address()).await);
            times.off(off).await;
            let came = mock.connections().saturating_sub(before);
            // A door that could not be opened again shows as a provider that never recovers.
            let _ = mock.door(Door::Open).await;
            refused.saturating_add(if *door == Door::Refusing { 0 } else { came })
        }
        Made::ResetConnections => {
            let open = mock.open_connections();
            mock.reset_connections();
            open as u64
        }
        Made::CloseIdle => {
            let mut closed = 0_u64;
            while times.epoch.millis() < off {
                closed = closed.saturating_add(mock.open_connections() as u64);
                mock.close_idle();
                sleep(Duration::from_millis(50)).await;
            }
            closed
        }
        Made::RevokeKey => {
            let before = mock.requests();
            mock.revoke_key(&key_of(name));
            times.off(off).await;
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
    let mut seen = 0_u64;
    while let Some(off) = times.on().await {
        let made = if what == ToGateway::Pause {
            pause(gateway, times, off).await
        } else {
            again_and_again(&what, gateway, doorway, times, off).await
        };
        seen = seen.saturating_add(made);
        times.off(off.saturating_add(1)).await;
    }
    seen
}

async fn pause(gateway: &Mutex<GatewayProcess>, times: Times, off: u64) -> u64 {
    let Some(pid) = gateway.lock().await.pid() else {
        return 0;
    };
    let stopped = signal(pid, "STOP");
    times.off(off).await;
    u64::from(stopped && signal(pid, "CONT"))
}

async fn again_and_again(
    what: &ToGateway,
    gateway: &Mutex<GatewayProcess>,
    doorway: &Doorway,
    times: Times,
    off: u64,
) -> u64 {
    let path = gateway.lock().await.folder().join("switchyard.toml");
    let good = std::fs::read_to_string(&path).unwrap_or_default();
    let mut seen = 0_u64;
    for turn in 1_u64.. {
        let (every, worked) = match what {
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
        if times.epoch.millis() >= off {
            break;
        }
    }
    if matches!(what, ToGateway::Reload { .. }) {
        times.off(off).await;
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
