//! Carries out one scenario against one gateway and brings back the evidence: the four records and what was done.

mod at_front;
mod at_gateway;
mod at_ground;
mod at_mock;
mod carry;
mod draw;
mod faults;
mod gateway;
mod rehearse;
mod stretches;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::history::Told;
use crate::lab::config::{ADMIN_KEY, ConfigError};
use crate::lab::{Door, Fleet, GatewayProcess, ProcessError, interrupted};
use crate::mock::Exchange;
use crate::records::{self, Books, Delivery, Journal, Scrape};
use crate::scenario::{PhaseName, Scenario};

pub use faults::{Act, Done};
pub(crate) use gateway::told_in;
pub use rehearse::{providers, rehearse};
pub use world::{chains, mocks};

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
    #[error("a receiver of webhooks cannot listen: {0}")]
    Receiver(std::io::Error),
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
    /// Every webhook that came to one of the scenario's receivers.
    pub alerts: Vec<Delivery>,
    pub faults: Vec<Done>,
    /// `None` for a gateway that is not ours.
    pub own: Option<OwnRecords>,
    /// Work was still under way when the patience for it was over.
    pub still_under_way: usize,
    /// What the harness itself lost or could not do; what it would have shown is not known.
    pub notes: Vec<String>,
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
    /// What its books said when everything was over; `None` where there are no tenants, or nobody answered.
    pub books: Option<Books>,
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
        evidence = carry::carried_out(plan, folder, progress, &tell) => return evidence,
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

pub(crate) const ADMIN: &str = ADMIN_KEY;

pub(crate) fn process_of(pid: Option<u32>) -> (Option<u64>, Option<u32>) {
    pid.map_or((None, None), records::process)
}
