//! The course of one run: traffic and faults together, then quiet, then everybody's records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use super::world::World;
use super::{CannotRun, Evidence, OwnRecords, Plan, Progress, Subject, faults, gateway, phases};
use crate::history::Told;
use crate::lab::{Epoch, Fleet, GatewayProcess};
use crate::scenario::{PhaseName, Scenario};
use crate::workload::{self, Party, Traffic};

pub(super) async fn carried_out(
    plan: &Plan,
    folder: &Path,
    progress: &watch::Sender<Progress>,
    started: &watch::Sender<Option<Arc<Mutex<GatewayProcess>>>>,
) -> Result<Evidence, CannotRun> {
    let mut world = World::build(plan, folder).await?;
    started.send_replace(world.gateway.clone());
    if let Some(between) = plan.between {
        world
            .doorway
            .moved(between(world.doorway.now().address).await);
    }
    let epoch = Epoch::now();
    world.fleet.begin(epoch);
    let traffic = Traffic {
        door: Arc::clone(&world.doorway),
        epoch,
        seed: plan.seed,
        phases: plan.scenario.phases,
        model: world.model.clone(),
        parties: Party::of(&plan.scenario),
    };
    let (mut workloads, told) = begin(&plan.scenario, &traffic);
    let listening = tokio::spawn(listen(told, epoch, progress.clone()));
    let fleet = Arc::new(std::mem::take(&mut world.fleet));
    let (stop, stopped) = oneshot::channel();
    let scraping = tokio::spawn(gateway::scrape_on(world.gateway.clone(), epoch, stopped));
    let faults = faults::start(plan, &fleet, world.gateway.clone(), &world.doorway, epoch);
    let crashed = joined(&mut workloads).await;
    let (faults, mut notes) = faults.finished().await;
    notes.splice(0..0, std::mem::take(&mut world.notes));
    if crashed > 0 {
        notes.push(format!(
            "{crashed} of the harness's own clients crashed; what they saw is lost"
        ));
    }
    let history = kept(listening.await, "what the clients saw", &mut notes);
    let patience = plan.scenario.phases.quiesce.0;
    let still_under_way = quiet(&fleet, patience).await;
    world.receivers.settled(patience).await;
    let phases = with_quiesce(phases(&plan.scenario), epoch.millis());
    // Gauges are published once in a while; a last look shall see them settled.
    sleep(Duration::from_millis(600)).await;
    drop(stop);
    let mut scrapes = kept(scraping.await, "the metrics", &mut notes);
    if let Some(gateway) = &world.gateway {
        scrapes.extend(gateway::look(gateway, epoch).await);
    }
    let own = own_records(plan, &world, folder).await;
    let wire = fleet.wire();
    let fleet = put_away(fleet, &mut notes);
    Ok(Evidence {
        phases,
        history,
        wire,
        fleet,
        scrapes,
        alerts: world.receivers.told(epoch),
        faults,
        own,
        still_under_way,
        notes,
    })
}

async fn own_records(plan: &Plan, world: &World, folder: &Path) -> Option<OwnRecords> {
    let Subject::Binary { binary, .. } = &plan.subject else {
        return None;
    };
    let has_tenants = !plan.scenario.tenants.is_empty();
    let mut own = gateway::close(world.gateway.as_ref()?, binary, folder, has_tenants).await;
    gateway::find_answers(folder, &mut own);
    Some(own)
}

/// The mocks for whoever judges, and what their logs lost.
fn put_away(fleet: Arc<Fleet>, notes: &mut Vec<String>) -> Fleet {
    for (name, lost) in fleet.forgotten() {
        notes.push(format!(
            "the log of {name} was full: {lost} exchanges are lost"
        ));
    }
    Arc::try_unwrap(fleet).unwrap_or_else(|_| {
        notes.push("a mock was still in use when the run was over".to_owned());
        Fleet::default()
    })
}

/// Waits for all workloads; how many of their clients crashed. A workload that did is one of them.
async fn joined(workloads: &mut JoinSet<u64>) -> u64 {
    let mut crashed = 0_u64;
    while let Some(ended) = workloads.join_next().await {
        crashed = crashed.saturating_add(ended.unwrap_or(1));
    }
    crashed
}

/// What a task brought home; a task that crashed brought nothing, and that is noted.
fn kept<T: Default>(ended: Result<T, JoinError>, what: &str, notes: &mut Vec<String>) -> T {
    ended.unwrap_or_else(|error| {
        notes.push(format!("{what} is lost: {error}"));
        T::default()
    })
}

/// Starts every workload; what they tell ends with the last of them.
fn begin(scenario: &Scenario, traffic: &Traffic) -> (JoinSet<u64>, mpsc::UnboundedReceiver<Told>) {
    let (tell, told) = mpsc::unbounded_channel();
    let mut workloads = JoinSet::new();
    for (place, workload) in scenario.workloads.iter().enumerate() {
        let workload = Arc::new(workload.clone());
        workloads.spawn(workload::run(
            place,
            workload,
            traffic.clone(),
            tell.clone(),
        ));
    }
    (workloads, told)
}

/// The last phase has the length that was needed.
fn with_quiesce(mut phases: Vec<(PhaseName, u64, u64)>, ends: u64) -> Vec<(PhaseName, u64, u64)> {
    let begins = phases.last().map_or(0, |last| last.2);
    phases.push((PhaseName::Quiesce, begins, ends.max(begins)));
    phases
}

/// The mocks' work ends, or the patience for it.
async fn quiet(fleet: &Fleet, patience: Duration) -> usize {
    let begun = Instant::now();
    while fleet.in_flight() > 0 && begun.elapsed() < patience {
        sleep(Duration::from_millis(10)).await;
    }
    fleet.in_flight()
}

async fn listen(
    mut told: mpsc::UnboundedReceiver<Told>,
    epoch: Epoch,
    progress: watch::Sender<Progress>,
) -> Vec<Told> {
    let mut history: Vec<Told> = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            one = told.recv() => match one {
                Some(one) => history.push(one),
                None => break,
            },
            _ = tick.tick() => {
                let now = epoch.millis();
                let recent = history
                    .iter()
                    .rev()
                    .take(5_000)
                    .filter(|one| one.end_ms.saturating_add(1_000) >= now)
                    .map(|one| (one.ended.is_failure(), one.waited()))
                    .collect();
                let errors = history.iter().filter(|one| one.ended.is_failure()).count();
                progress.send_replace(Progress {
                    elapsed_ms: now,
                    requests: history.len() as u64,
                    errors: errors as u64,
                    recent,
                });
            }
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_crashed_in_the_harness_is_counted_and_noted() {
        let mut workloads = JoinSet::new();
        workloads.spawn(async { 2 });
        workloads.spawn(async { panic!("a workload crashes") });
        assert_eq!(joined(&mut workloads).await, 3);
        let mut notes = Vec::new();
        let whole = tokio::spawn(async { vec![7] }).await;
        assert_eq!(kept(whole, "it", &mut notes), [7]);
        assert_eq!(notes, Vec::<String>::new());
        let crashed = tokio::spawn(async { panic!("a listener crashes") }).await;
        let crashed: Result<String, JoinError> = crashed;
        assert_eq!(kept(crashed, "it", &mut notes), "");
        assert!(notes[0].starts_with("it is lost"), "{notes:?}");
    }
}
