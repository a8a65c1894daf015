//! Makes the faults of a scenario when they are due, and notes what proves that they were there.
//!
//! # Answers are decided by the clock
//! All faults in a mock's answers become one behaviour that looks at the moment each request arrives: nothing
//! has to be switched while traffic runs, and two faults on one mock cannot undo each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::at_gateway::{self, Harm};
use super::at_mock::{self, AtMock};
use super::draw::{Lot, Visits};
use super::stretches::Pace;
use super::{Plan, phases};
use crate::fault::{self, Made};
use crate::lab::{Doorway, Epoch, Fleet, GatewayProcess};
use crate::mock::{Asked, Behaviour};
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
    /// The same for each mock it is on; faults of the gateway's process have no entry.
    pub seen_on: BTreeMap<String, u64>,
    /// When it acted: a kill until the process served again, a door from shut to open, a pause, a panic. Faults in
    /// answers have the stretches in which they were on; that a request met them is told by the wire log alone.
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

/// What one fault did at one place.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    /// How often something other than the wire log shows that it acted.
    pub(super) seen: u64,
    /// From and to.
    pub(super) acts: Vec<(u64, u64)>,
    /// What the machine does not allow, with the cure.
    refused: Vec<String>,
}

impl Deeds {
    /// It could not be made, or not as it should be: what it would have shown is not known.
    pub(super) fn cannot(&mut self, why: String) {
        self.refused.push(why);
    }

    pub(super) fn add(&mut self, seen: u64, from_ms: u64, to_ms: u64) {
        self.seen = self.seen.saturating_add(seen);
        if seen > 0 {
            self.acts.push((from_ms, to_ms.max(from_ms)));
        }
    }
}

impl Done {
    /// Takes in what was done at one mock, or to the gateway.
    fn take(&mut self, on: Option<&str>, deeds: Deeds) {
        self.seen = self.seen.saturating_add(deeds.seen);
        if let Some(name) = on {
            let seen = self.seen_on.entry(name.to_owned()).or_default();
            *seen = seen.saturating_add(deeds.seen);
        }
        let acts = deeds.acts.into_iter().map(|(from_ms, to_ms)| Act {
            on: on.map(str::to_owned),
            from_ms,
            to_ms,
        });
        self.acts.extend(acts);
        self.acts.sort_by_key(|act| act.from_ms);
    }
}

/// Which fault of the scenario, where, and what it did there.
type Report = (usize, Option<String>, Deeds);

/// The faults under way.
pub(super) struct UnderWay {
    planned: Vec<Done>,
    tasks: JoinSet<Report>,
}

impl UnderWay {
    /// Waits for those that act by themselves. The second says what went wrong with making them.
    pub(super) async fn finished(mut self) -> (Vec<Done>, Vec<String>) {
        let mut notes = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok((place, on, mut deeds)) => {
                    notes.append(&mut deeds.refused);
                    if let Some(done) = self.planned.get_mut(place) {
                        done.take(on.as_deref(), deeds);
                    }
                }
                Err(error) => notes.push(format!("a fault could not be made to its end: {error}")),
            }
        }
        (self.planned, notes)
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

    fn applies(&self, asked: &Asked, lot: Lot) -> bool {
        let share = self.share * self.pace.strength(asked.at);
        if share <= 0.0 || self.streams_only && !asked.streams() {
            return false;
        }
        lot.draw(self.seed) < share
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
    let mut setup = Setup {
        seed: plan.seed,
        fleet,
        gateway,
        doorway,
        epoch,
        tasks: JoinSet::new(),
        active: Vec::new(),
    };
    let mut planned = Vec::new();
    for (place, fault) in plan.scenario.faults.iter().enumerate() {
        let mut done = done(place, fault, fleet, window);
        if let Ok(made) = fault::made(&fault.fault, &terms(fault)) {
            setup.make(place, fault, made, &mut done);
        }
        planned.push(done);
    }
    let Setup {
        mut active, tasks, ..
    } = setup;
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

/// What faults are made of, and those made so far.
struct Setup<'a> {
    seed: u64,
    fleet: &'a Arc<Fleet>,
    gateway: Option<Arc<Mutex<GatewayProcess>>>,
    doorway: &'a Arc<Doorway>,
    epoch: Epoch,
    tasks: JoinSet<Report>,
    active: Vec<(String, Active)>,
}

impl Setup<'_> {
    fn make(&mut self, place: usize, fault: &Fault, made: Made, done: &mut Done) {
        match made {
            Made::Answer(answer) => {
                for name in done.on.clone() {
                    let Some(provider) = self.fleet.providers.get(&name) else {
                        continue;
                    };
                    let seed = seed_of(self.seed, place, &name);
                    let acts = pace(fault, done, Duration::ZERO, seed).stretches();
                    let acts = acts.map(|(on, off)| (millis(on), millis(off))).collect();
                    done.take(
                        Some(&name),
                        Deeds {
                            acts,
                            ..Deeds::default()
                        },
                    );
                    if let Some(bad) = answer(provider.mock.dialect(), provider.weather) {
                        let bad = Active::of(fault, done, bad, provider.offset(), seed);
                        self.active.push((name, bad));
                    }
                }
            }
            Made::Gateway(what) => {
                if let Some(gateway) = self.gateway.clone() {
                    let harm = Harm {
                        gateway,
                        doorway: Arc::clone(self.doorway),
                        times: self.times(place, fault, done, "gateway"),
                    };
                    self.tasks
                        .spawn(async move { (place, None, at_gateway::make(&what, &harm).await) });
                }
            }
            Made::Door(_)
            | Made::ResetConnections
            | Made::CloseIdle
            | Made::RevokeKey
            | Made::Front(_)
            | Made::Names(_) => {
                for name in &done.on {
                    let at = AtMock {
                        fleet: Arc::clone(self.fleet),
                        name: name.clone(),
                        gateway: self.gateway.clone(),
                        times: self.times(place, fault, done, name),
                    };
                    let (name, made) = (name.clone(), made.clone());
                    self.tasks
                        .spawn(async move { (place, Some(name), at_mock::make(&made, &at).await) });
                }
            }
        }
    }

    fn times(&self, place: usize, fault: &Fault, done: &Done, name: &str) -> Times {
        let seed = seed_of(self.seed, place, name);
        Times {
            pace: pace(fault, done, Duration::ZERO, seed),
            epoch: self.epoch,
        }
    }
}

/// The last fault of the scenario that applies wins.
fn decided_by_clock(active: Vec<(String, Active)>) -> Behaviour {
    let visits = Visits::new();
    Behaviour::choose(move |asked| {
        let lot = visits.lot(&asked.body, asked.number);
        active
            .iter()
            .rev()
            .find(|(_, one)| one.applies(asked, lot))
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
        from_ms,
        to_ms,
        label: format!("{} #{}", fault.fault, place + 1),
        seen: 0,
        // Each is to be seen: one that never was has its zero here.
        seen_on: on.iter().map(|name| (name.clone(), 0)).collect(),
        on,
        acts: Vec::new(),
    }
}

/// When a fault is on, on the run's own clock.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) pace: Pace,
    pub(super) epoch: Epoch,
}

impl Times {
    /// Waits until the fault is on, and tells until when; `None` when it is over for good.
    pub(super) async fn on(self) -> Option<u64> {
        let now = Duration::from_millis(self.epoch.millis());
        let (on, off) = self.pace.next(now)?;
        sleep_until(self.epoch.at(millis(on))).await;
        Some(millis(off))
    }

    pub(super) async fn off(self, off: u64) {
        sleep_until(self.epoch.at(off)).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
