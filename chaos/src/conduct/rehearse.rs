//! Whether a plan could be carried out, asked before anything is started.

use std::path::{Path, PathBuf};

use super::world::{enclosed, fits, listening, mocks, written};
use super::{CannotRun, Plan, Subject};
use crate::lab::{Fleet, config, let_in};
use crate::scenario::Mock;

/// Asks the gateway whether it would take the plan's configuration, and whether the scenario fits it.
///
/// # Errors
/// As [`super::conduct`] before its gateway is started.
pub async fn rehearse(plan: &Plan) -> Result<(), CannotRun> {
    let Subject::Binary { binary, config } = &plan.subject else {
        return Ok(());
    };
    let folder = Folder::new()?;
    let users = match config {
        Some(path) => Some(enclosed(binary, path, &folder.0)?),
        None => None,
    };
    let wanted: Vec<Mock> = match &users {
        Some((_, facts)) => facts
            .providers
            .iter()
            .map(|provider| Mock::plain(&provider.name, &provider.dialect))
            .collect(),
        None => mocks(&plan.scenario),
    };
    let mut fleet = Fleet::default();
    for mock in &wanted {
        let dialect = config::dialect(&mock.dialect);
        let added = fleet.add(mock, dialect, plan.seed, 0).await;
        added.map_err(CannotRun::Mock)?;
    }
    let mut wanted = match users {
        Some((config, _)) => config,
        None => {
            let mut own = config::own(&fleet);
            config::lay(&mut own, &plan.scenario.gateway.config);
            config::enclose(&mut own, &folder.0)?;
            let_in(&mut own, &plan.scenario, &folder.0)?;
            let receivers = listening(&plan.scenario).await?;
            receivers.let_in(&mut own, &folder.0)?;
            own
        }
    };
    config::point(&mut wanted, &fleet, &folder.0)?;
    written(binary, &folder.0, &wanted)?;
    fits(&plan.scenario, &fleet)
}

/// The names of the providers of a user's configuration, as the gateway understands it.
///
/// # Errors
/// When the configuration cannot be read, or the gateway refuses it.
pub fn providers(binary: &Path, config: &Path) -> Result<Vec<String>, CannotRun> {
    let folder = Folder::new()?;
    let (_, facts) = enclosed(binary, config, &folder.0)?;
    let providers = facts.providers.into_iter();
    Ok(providers.map(|provider| provider.name).collect())
}

/// A folder of no further use.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, CannotRun> {
        let name = format!("switchyard-chaos-{}", fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).map_err(|why| CannotRun::Folder {
            path: folder.display().to_string(),
            why,
        })?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
