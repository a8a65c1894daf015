//! What a run takes place in: mocks, a configuration that knows only them, and the gateway under test.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{CannotRun, Plan, Subject, gateway};
use crate::fault::{self, Ground, Made};
use crate::lab::config::{self, CLIENT_KEY, ConfigError, Facts};
use crate::lab::{
    Door, Doorway, Fleet, GatewayProcess, Lodging, OwnClock, Receivers, SmallDisk, let_in,
};
use crate::scenario::{MOCKS, Mock, Scenario, terms, your_chain};

pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) gateway: Option<Arc<Mutex<GatewayProcess>>>,
    pub(super) doorway: Arc<Doorway>,
    pub(super) receivers: Receivers,
    pub(super) model: String,
    /// What the machine does not allow.
    pub(super) notes: Vec<String>,
}

impl World {
    pub(super) async fn build(plan: &Plan, folder: &Path) -> Result<Self, CannotRun> {
        match &plan.subject {
            Subject::Binary { binary, config } => {
                Self::own(plan, binary, config.as_deref(), folder).await
            }
            Subject::Url { door, ports, .. } => {
                let leads_elsewhere = |mock: &Mock| mock.front.is_some() || mock.named;
                if !plan.scenario.clients.is_empty() || plan.scenario.has_prices() {
                    return Err(CannotRun::Misfit(
                        "clients, tenants and prices need a gateway that the harness configures itself".to_owned(),
                    ));
                }
                if plan.scenario.mocks.iter().any(leads_elsewhere) {
                    return Err(CannotRun::Misfit(
                        "a mock behind TLS or a name needs a gateway that the harness configures itself".to_owned(),
                    ));
                }
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
                    receivers: Receivers::default(),
                    doorway: Arc::new(Doorway::new(door.clone())),
                    model: "chat".to_owned(),
                    notes: Vec::new(),
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
        let receivers = listening(&plan.scenario).await?;
        let config = match &mut config {
            Some(config) => config,
            None => {
                let mut own = config::own(&fleet);
                config::lay(&mut own, &plan.scenario.gateway.config);
                config::enclose(&mut own, folder)?;
                let_in(&mut own, &plan.scenario, folder)?;
                receivers.let_in(&mut own, folder)?;
                config.insert(own)
            }
        };
        config::point(config, &fleet, folder)?;
        let facts = written(binary, folder, config)?;
        facts.only_mocks(&fleet)?;
        fits(&plan.scenario, &fleet)?;
        let model = facts
            .pools
            .first()
            .map(|pool| pool.name.clone())
            .ok_or_else(|| CannotRun::Misfit("it has no pools".to_owned()))?;
        let (lodging, notes) = lodging(&plan.scenario, folder);
        let gateway = GatewayProcess::start_on(lodging, binary, folder).await?;
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
            receivers,
            doorway: Arc::new(Doorway::new(door)),
            model,
            notes,
        })
    }
}

/// The scenario's receivers of webhooks.
pub(super) async fn listening(scenario: &Scenario) -> Result<Receivers, CannotRun> {
    Receivers::start(scenario)
        .await
        .map_err(CannotRun::Receiver)
}

/// The ground that the scenario's faults take away, where the machine allows it, and why where it does not.
fn lodging(scenario: &Scenario, folder: &Path) -> (Lodging, Vec<String>) {
    let grounds =
        scenario
            .faults
            .iter()
            .filter_map(|fault| match fault::made(&fault.fault, &terms(fault)) {
                Ok(Made::Gateway(what)) => what.ground(),
                Ok(_) | Err(_) => None,
            });
    let (mut lodging, mut notes) = (Lodging::default(), Vec::new());
    for ground in grounds {
        let refused = match ground {
            Ground::Disk if lodging.disk.is_none() => {
                SmallDisk::new(&folder.join("journal")).map(|disk| lodging.disk = Some(disk))
            }
            Ground::Clock if lodging.clock.is_none() => {
                OwnClock::new(folder).map(|clock| lodging.clock = Some(clock))
            }
            Ground::Disk | Ground::Clock => Ok(()),
        };
        notes.extend(refused.err());
    }
    notes.dedup();
    (lodging, notes)
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
pub(super) fn enclosed(
    binary: &Path,
    path: &Path,
    folder: &Path,
) -> Result<(toml::Table, Facts), CannotRun> {
    let mut config = config::read(path)?;
    config::enclose(&mut config, folder)?;
    let facts = written(binary, folder, &config)?;
    if facts.providers.is_empty() {
        return Err(ConfigError::Nobody(path.display().to_string()).into());
    }
    Ok((config, facts))
}

/// Writes the configuration and asks what the gateway makes of it.
pub(super) fn written(
    binary: &Path,
    folder: &Path,
    config: &toml::Table,
) -> Result<Facts, CannotRun> {
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
pub(super) fn fits(scenario: &Scenario, fleet: &Fleet) -> Result<(), CannotRun> {
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
