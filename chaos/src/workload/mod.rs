//! Requests as clients make them: open and closed loops, streams and whole answers, impatient and slow readers.
//!
//! # Seeded
//! What the n-th request of a workload asks for, and whether and when its client leaves, is drawn from the run's
//! seed and n alone. Which request meets which moment of the gateway is not: that is what is being tested.

mod abuse;
mod kept;
mod one;
mod repeated;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::history::Told;
use crate::lab::{Doorway, Epoch};
use crate::scenario::{PhaseName, Phases, Scenario, Workload};

pub use abuse::Abuse;
pub(crate) use one::{PROMPT_MARK, mark_of};

/// What all requests of a run share.
#[derive(Debug, Clone)]
pub struct Traffic {
    pub door: Arc<Doorway>,
    pub epoch: Epoch,
    pub seed: u64,
    pub phases: Phases,
    /// Asked for by workloads that name none.
    pub model: String,
    /// For whom each workload asks, by its place; whoever is not there asks for nobody in particular.
    pub parties: Arc<[Party]>,
}

/// Who pays for a workload, and whose words it must never read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Party {
    /// In each of its prompts, so that a prompt that crosses is seen.
    pub tenant: String,
    pub strangers: Vec<String>,
    /// Its place among the workloads of its client, for keys that are one client's own: another's are the same.
    pub nth: usize,
}

impl Party {
    /// Of every workload of a scenario; where that has no tenants, for none.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Arc<[Self]> {
        let named = !scenario.tenants.is_empty();
        let mut of_client: HashMap<Option<&str>, usize> = HashMap::new();
        let workloads = scenario.workloads.iter();
        workloads
            .map(|workload| {
                let before = of_client.entry(workload.client.as_deref()).or_default();
                let nth = *before;
                *before = before.saturating_add(1);
                let tenant = named.then(|| scenario.tenant_of(workload).to_owned());
                Self {
                    tenant: tenant.unwrap_or_default(),
                    strangers: scenario.strangers_to(workload),
                    nth,
                }
            })
            .collect()
    }
}

/// An open loop may have this many requests under way; more would measure the harness.
const MOST_UNDER_WAY: usize = 20_000;

/// Runs one workload through its phases. Every request is told once; how many are not, because their clients
/// crashed, is the answer.
pub async fn run(
    place: usize,
    workload: Arc<Workload>,
    traffic: Traffic,
    told: mpsc::UnboundedSender<Told>,
) -> u64 {
    let mut crashed = 0_u64;
    let numbers = Arc::new(AtomicU64::new(0));
    for (from, to) in windows(&workload, &traffic.phases) {
        let window = Window {
            place,
            workload: Arc::clone(&workload),
            traffic: traffic.clone(),
            told: told.clone(),
            numbers: Arc::clone(&numbers),
            from,
            to,
        };
        let lost = match (workload.per_second, workload.at_once) {
            (Some(rate), _) => window.open(rate).await,
            (None, at_once) => window.closed(at_once.unwrap_or(1)).await,
        };
        crashed = crashed.saturating_add(lost);
    }
    crashed
}

/// Takes one that ended, and counts it if it crashed; `None` when there are no more.
fn counted(ended: Option<Result<(), JoinError>>, crashed: &mut u64) -> Option<()> {
    *crashed = crashed.saturating_add(u64::from(ended.as_ref()?.is_err()));
    Some(())
}

/// The stretches of the run in which a workload is on, in milliseconds; neighbours are one.
fn windows(workload: &Workload, phases: &Phases) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    let mut at = 0_u64;
    for (name, span) in [
        (PhaseName::Control, phases.control),
        (PhaseName::Faults, phases.faults),
        (PhaseName::Heal, phases.heal),
    ] {
        let end = at.saturating_add(span.millis());
        let on = workload.phases.is_empty() || workload.phases.contains(&name);
        match all.last_mut() {
            Some(last) if on && last.1 == at => last.1 = end,
            _ if on => all.push((at, end)),
            _ => {}
        }
        at = end;
    }
    all
}

struct Window {
    place: usize,
    workload: Arc<Workload>,
    traffic: Traffic,
    told: mpsc::UnboundedSender<Told>,
    numbers: Arc<AtomicU64>,
    from: u64,
    to: u64,
}

impl Window {
    /// The next request's number, unless the workload is used up.
    fn number(&self) -> Option<u64> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let most = self.workload.requests.unwrap_or(u64::MAX);
        (number < most).then_some(number)
    }

    fn ask(&self, number: u64, due: Instant) -> one::Ask {
        one::Ask::draw(number, self.place, &self.workload, &self.traffic, due)
    }

    async fn open(self, per_second: f64) -> u64 {
        let mut crashed = 0;
        let room = Arc::new(Semaphore::new(MOST_UNDER_WAY));
        let gap = Duration::from_secs_f64(1.0 / per_second.max(1e-6));
        let mut due = self.traffic.epoch.at(self.from);
        let end = self.traffic.epoch.at(self.to);
        let mut under_way = JoinSet::new();
        while due < end {
            sleep_until(due).await;
            let Some(number) = self.number() else { break };
            let ask = self.ask(number, due);
            let told = self.told.clone();
            match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => {
                    under_way.spawn(async move {
                        // Nobody listens only when the run was given up.
                        let _ = told.send(ask.make().await);
                        drop(permit);
                    });
                }
                Err(_) => {
                    let _ = told.send(ask.unsent());
                }
            }
            while counted(under_way.try_join_next(), &mut crashed).is_some() {}
            due = due.checked_add(gap).unwrap_or(end);
        }
        while counted(under_way.join_next().await, &mut crashed).is_some() {}
        crashed
    }

    async fn closed(self, at_once: u32) -> u64 {
        let mut crashed = 0;
        let window = Arc::new(self);
        let mut clients = JoinSet::new();
        for _ in 0..at_once {
            let window = Arc::clone(&window);
            clients.spawn(async move {
                sleep_until(window.traffic.epoch.at(window.from)).await;
                let end = window.traffic.epoch.at(window.to);
                while Instant::now() < end {
                    let Some(number) = window.number() else { break };
                    let told = window.ask(number, Instant::now()).make().await;
                    // A gateway that refuses at once must not be hammered in a tight loop.
                    let failed = told.ended.is_failure();
                    let _ = window.told.send(told);
                    if failed {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            });
        }
        while counted(clients.join_next().await, &mut crashed).is_some() {}
        crashed
    }
}
