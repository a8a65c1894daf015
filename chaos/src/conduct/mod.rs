//! Carries out one scenario against one gateway and brings back the evidence: the four records and what was done.

mod at_gateway;
mod at_mock;
mod draw;
mod faults;
mod gateway;
mod rehearse;
mod stretches;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::history::Told;
use crate::lab::config::{self, ADMIN_KEY, CLIENT_KEY, ConfigError, Facts};
use crate::lab::{Door, Doorway, Epoch, Fleet, GatewayProcess, ProcessError, interrupted};
use crate::mock::Exchange;
use crate::records::{self, Journal, Scrape};
use crate::scenario::{MOCKS, Mock, PhaseName, Scenario, your_chain};
use crate::workload::{self, Traffic};

pub use faults::{Act, Done};
pub use rehearse::{providers, rehearse};

/// What is to be run, against what.
#[derive(Debug, Clone)]
pub struct Plan {
    pub scenario: Scenario,
    pub seed: u64,
    pub subject: Subject,
    /// Clients connect here instead: a proxy in between, by which the checkers themselves are tested.
    pub between: Option<Between>,
}

/// Given the gateway's address, starts something in front of it and tells where that listens.
pub type Between = fn(SocketAddr) -> Pin<Box<dyn Future<Output = SocketAddr> + Send>>;

#[derive(Debug, Clone)]
pub enum Subject {
    /// This binary, started by the harness, on its own or the user's configuration.
    Binary {
        binary: PathBuf,
        config: Option<PathBuf>,
    },
    /// A gateway that runs already and was pointed at mocks on these ports.
    Url {
        name: String,
        door: Door,
        ports: Vec<u16>,
    },
}

impl Subject {
    /// What reports call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Binary { .. } => "switchyard",
            Self::Url { name, .. } => name,
        }
    }
}

/// Why a scenario could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("a mock cannot listen: {0}")]
    Mock(std::io::Error),
    #[error("{path}: {why}")]
    Folder { path: String, why: std::io::Error },
    #[error("the scenario does not fit the configuration: {0}")]
    Misfit(String),
    /// What was started has been ended, and the run's folder is gone.
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
}

/// What is going on, for whoever looks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    pub elapsed_ms: u64,
    pub requests: u64,
    pub errors: u64,
    /// Of the last second.
    pub recent: Vec<(bool, Option<u64>)>,
}

/// Everything a run left behind.
#[derive(Debug)]
pub struct Evidence {
    pub phases: Vec<(PhaseName, u64, u64)>,
    pub history: Vec<Told>,
    /// Which mock, with times on its own clock.
    pub wire: Vec<(String, Exchange)>,
    pub fleet: Fleet,
    pub scrapes: Vec<Scrape>,
    pub faults: Vec<Done>,
    /// `None` for a gateway that is not ours.
    pub own: Option<OwnRecords>,
    /// Work was still under way when the patience for it was over.
    pub still_under_way: usize,
}

/// What only our own gateway shows.
#[derive(Debug)]
pub struct OwnRecords {
    pub journal: Journal,
    /// What `audit verify` found wrong.
    pub audit: Result<(), String>,
    /// Secrets found where none may be: the file and the secret's name.
    pub leaks: Vec<(String, String)>,
    /// What could not be read, and why: nothing is known of it.
    pub unreadable: Vec<String>,
    /// It ended by itself when asked to.
    pub stopped: bool,
    pub starts: u32,
}

/// Where each phase begins and ends, in milliseconds of the run; `quiesce` has the length that was needed.
#[must_use]
pub fn phases(scenario: &Scenario) -> Vec<(PhaseName, u64, u64)> {
    let spans = scenario.phases;
    let mut at = 0_u64;
    [
        (PhaseName::Control, spans.control),
        (PhaseName::Faults, spans.faults),
        (PhaseName::Heal, spans.heal),
    ]
    .into_iter()
    .map(|(name, span)| {
        let from = at;
        at = at.saturating_add(span.millis());
        (name, from, at)
    })
    .collect()
}

/// Carries a plan out. A signal to end ends it early: nothing that it started is left behind.
///
/// # Errors
/// When the world for it cannot be built, or the harness is told to end; what happens otherwise is evidence.
pub async fn conduct(
    plan: &Plan,
    folder: &Path,
    progress: &watch::Sender<Progress>,
) -> Result<Evidence, CannotRun> {
    let (tell, started) = watch::channel(None);
    let signal = tokio::select! {
        biased;
        signal = interrupted() => signal,
        evidence = carried_out(plan, folder, progress, &tell) => return evidence,
    };
    let gateway: Option<Arc<Mutex<GatewayProcess>>> = started.borrow().clone();
    if let Some(gateway) = gateway {
        // Whoever holds it is being ended as well; the guard sees to the process should that take long.
        if let Ok(mut gateway) = timeout(Duration::from_secs(3), gateway.lock()).await {
            gateway.kill();
        }
    }
    // A folder that stays is a nuisance, no more.
    let _ = std::fs::remove_dir_all(folder);
    Err(CannotRun::Interrupted(signal))
}

async fn carried_out(
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
    };
    let (mut workloads, told) = begin(&plan.scenario, &traffic);
    let listening = tokio::spawn(listen(told, epoch, progress.clone()));
    let fleet = Arc::new(std::mem::take(&mut world.fleet));
    let (stop, stopped) = oneshot::channel();
    let scraping = tokio::spawn(gateway::scrape_on(world.gateway.clone(), epoch, stopped));
    let faults = faults::start(plan, &fleet, world.gateway.clone(), &world.doorway, epoch);
    while workloads.join_next().await.is_some() {}
    let (faults, _) = faults.finished().await;
    let history = listening.await.unwrap_or_default();
    let still_under_way = quiet(&fleet, plan.scenario.phases.quiesce.0).await;
    let phases = with_quiesce(phases(&plan.scenario), epoch.millis());
    // Gauges are published once in a while; a last look shall see them settled.
    sleep(Duration::from_millis(600)).await;
    drop(stop);
    let mut scrapes = scraping.await.unwrap_or_default();
    if let Some(gateway) = &world.gateway {
        scrapes.extend(gateway::look(gateway, epoch).await);
    }
    let own = match (&world.gateway, &plan.subject) {
        (Some(gateway), Subject::Binary { binary, .. }) => {
            Some(gateway::close(gateway, binary, folder).await)
        }
        _ => None,
    };
    let wire = fleet.wire();
    let fleet = Arc::try_unwrap(fleet).unwrap_or_default();
    Ok(Evidence {
        phases,
        history,
        wire,
        fleet,
        scrapes,
        faults,
        own,
        still_under_way,
    })
}

/// Starts every workload; what they tell ends with the last of them.
fn begin(scenario: &Scenario, traffic: &Traffic) -> (JoinSet<()>, mpsc::UnboundedReceiver<Told>) {
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

struct World {
    fleet: Fleet,
    gateway: Option<Arc<Mutex<GatewayProcess>>>,
    doorway: Arc<Doorway>,
    model: String,
}

impl World {
    async fn build(plan: &Plan, folder: &Path) -> Result<Self, CannotRun> {
        match &plan.subject {
            Subject::Binary { binary, config } => {
                Self::own(plan, binary, config.as_deref(), folder).await
            }
            Subject::Url { door, ports, .. } => {
                let mut fleet = Fleet::default();
                for (place, mock) in mocks(&plan.scenario).iter().enumerate() {
                    let port = ports.get(place).copied().unwrap_or(0);
                    fleet
                        .add(mock, config::dialect(&mock.dialect), plan.seed, port)
                        .await
                        .map_err(CannotRun::Mock)?;
                }
                Ok(Self {
                    fleet,
                    gateway: None,
                    doorway: Arc::new(Doorway::new(door.clone())),
                    model: "chat".to_owned(),
                })
            }
        }
    }

    async fn own(
        plan: &Plan,
        binary: &Path,
        users: Option<&Path>,
        folder: &Path,
    ) -> Result<Self, CannotRun> {
        let (mut config, wanted) = match users {
            Some(path) => {
                let (config, facts) = enclosed(binary, path, folder)?;
                let mocks = facts
                    .providers
                    .iter()
                    .map(|provider| Mock::plain(&provider.name, &provider.dialect))
                    .collect();
                (Some(config), mocks)
            }
            None => (None, mocks(&plan.scenario)),
        };
        let mut fleet = Fleet::default();
        for mock in &wanted {
            fleet
                .add(mock, config::dialect(&mock.dialect), plan.seed, 0)
                .await
                .map_err(CannotRun::Mock)?;
        }
        let config = match &mut config {
            Some(config) => config,
            None => {
                let mut own = config::own(&fleet);
                config::lay(&mut own, &plan.scenario.gateway.config);
                config::enclose(&mut own, folder)?;
                config.insert(own)
            }
        };
        let urls = fleet
            .providers
            .iter()
            .map(|(name, provider)| (name.clone(), provider.mock.base_url()))
            .collect();
        config::point(config, &urls);
        let facts = written(binary, folder, config)?;
        facts.only_mocks(&fleet)?;
        fits(&plan.scenario, &fleet)?;
        let model = facts
            .pools
            .first()
            .map(|pool| pool.name.clone())
            .ok_or_else(|| CannotRun::Misfit("it has no pools".to_owned()))?;
        let gateway = GatewayProcess::start(binary, folder).await?;
        // Asked again of the process itself: what it serves by need not be what it checked.
        gateway::known_to(gateway.admin).await?.only_mocks(&fleet)?;
        let door = Door {
            address: gateway.address,
            path: "/v1".to_owned(),
            key: CLIENT_KEY.to_owned(),
        };
        Ok(Self {
            fleet,
            gateway: Some(Arc::new(Mutex::new(gateway))),
            doorway: Arc::new(Doorway::new(door)),
            model,
        })
    }
}

/// The scenarios that a user's configuration makes.
///
/// # Errors
/// When the configuration cannot be read, or the gateway refuses it.
pub fn chains(binary: &Path, config: &Path) -> Result<Vec<Scenario>, CannotRun> {
    let folder = std::env::temp_dir().join(format!("switchyard-chaos-{}", fastrand::u64(..)));
    std::fs::create_dir_all(&folder).map_err(|why| CannotRun::Folder {
        path: folder.display().to_string(),
        why,
    })?;
    let made = enclosed(binary, config, &folder).map(|(config, mut facts)| {
        // Only what the user wrote: every model of every provider is a pool of its own as well.
        let written = config.get("pools").and_then(toml::Value::as_table);
        if let Some(written) = written.filter(|pools| !pools.is_empty()) {
            let own = |pool: &config::PoolFacts| written.contains_key(&pool.name);
            facts.names_only(own);
        }
        your_chain(&facts)
    });
    // Nothing in it is of use to anybody.
    let _ = std::fs::remove_dir_all(&folder);
    made
}

/// The user's configuration, cut off from the world, and what the gateway makes of it.
fn enclosed(binary: &Path, path: &Path, folder: &Path) -> Result<(toml::Table, Facts), CannotRun> {
    let mut config = config::read(path)?;
    config::enclose(&mut config, folder)?;
    let facts = written(binary, folder, &config)?;
    if facts.providers.is_empty() {
        return Err(ConfigError::Nobody(path.display().to_string()).into());
    }
    Ok((config, facts))
}

/// Writes the configuration and asks what the gateway makes of it.
fn written(binary: &Path, folder: &Path, config: &toml::Table) -> Result<Facts, CannotRun> {
    config::write(&folder.join("switchyard.toml"), &config.to_string())?;
    Ok(config::facts(binary, folder)?)
}

/// Three providers, when the scenario names none.
#[must_use]
pub fn mocks(scenario: &Scenario) -> Vec<Mock> {
    if scenario.mocks.is_empty() {
        MOCKS.map(|name| Mock::plain(name, "openai")).into()
    } else {
        scenario.mocks.clone()
    }
}

/// A scenario written for other providers must not run as if it had proven something.
fn fits(scenario: &Scenario, fleet: &Fleet) -> Result<(), CannotRun> {
    let named = scenario.faults.iter().flat_map(|fault| &fault.on);
    for name in named {
        if name != "*" && !fleet.providers.contains_key(name) {
            let known: Vec<&str> = fleet.providers.keys().map(String::as_str).collect();
            return Err(CannotRun::Misfit(format!(
                "a fault is on {name:?}, the providers are {}",
                known.join(", ")
            )));
        }
    }
    Ok(())
}

pub(crate) const ADMIN: &str = ADMIN_KEY;

pub(crate) fn process_of(pid: Option<u32>) -> (Option<u64>, Option<u32>) {
    pid.map_or((None, None), records::process)
}
