//! Faults of the gateway's own process: kills, pauses, crashes of actors, configurations written anew.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::faults::{Deeds, Times};
use super::gateway::look;
use super::{ADMIN, at_ground};
use crate::client::{Client, ConnectOptions};
use crate::fault::ToGateway;
use crate::lab::config::write;
use crate::lab::{Doorway, GatewayProcess, is_stopped, signal};

/// A configuration that was written is noticed by a watch; so long is waited for the last one.
const NOTICED: Duration = Duration::from_secs(3);

/// The process that is hurt, and when.
pub(super) struct Harm {
    pub(super) gateway: Arc<Mutex<GatewayProcess>>,
    pub(super) doorway: Arc<Doorway>,
    pub(super) times: Times,
}

pub(super) async fn make(what: &ToGateway, harm: &Harm) -> Deeds {
    let mut deeds = Deeds::default();
    while let Some(off) = harm.times.on().await {
        match what {
            ToGateway::Pause => harm.pause(off, &mut deeds).await,
            ToGateway::Kill { every } => harm.again(*every, off, &mut deeds, None).await,
            ToGateway::Actor { path, how, every } => {
                let asked = format!("/admin/kill?path={path}&how={how}");
                harm.again(*every, off, &mut deeds, Some(&asked)).await;
            }
            ToGateway::Reload { broken, every } => {
                harm.reload(*broken, *every, off, &mut deeds).await;
            }
            ToGateway::Clock { seconds } => {
                at_ground::clock(*seconds, harm, off, &mut deeds).await;
            }
            ToGateway::Disk(fault) => at_ground::disk(*fault, harm, off, &mut deeds).await,
        }
        harm.times.off(off.saturating_add(1)).await;
    }
    deeds
}

impl Harm {
    /// Once, or again after each `every` until the stretch is over: what is asked of the admin listener, or a kill.
    async fn again(
        &self,
        every: Option<Duration>,
        off: u64,
        deeds: &mut Deeds,
        asked: Option<&str>,
    ) {
        loop {
            let from = self.times.epoch.millis();
            let worked = match asked {
                Some(asked) => self.ask(asked).await,
                None => self.kill().await,
            };
            deeds.add(u64::from(worked), from, self.times.epoch.millis());
            let Some(every) = every else { return };
            sleep(every).await;
            if self.times.epoch.millis() >= off {
                return;
            }
        }
    }

    /// Dead from here on until it is ready again, which the deed's end tells.
    async fn kill(&self) -> bool {
        let mut gateway = self.gateway.lock().await;
        let was_alive = gateway.is_running();
        gateway.kill();
        if gateway.start_again().await.is_ok() {
            self.doorway.moved(gateway.address);
        }
        was_alive
    }

    async fn ask(&self, path: &str) -> bool {
        let admin = self.gateway.lock().await.admin;
        post(admin, path).await == Some(200)
    }

    async fn pause(&self, off: u64, deeds: &mut Deeds) {
        let Some(pid) = self.gateway.lock().await.pid() else {
            return;
        };
        let from = self.times.epoch.millis();
        let stopped = signal(pid, "STOP") && stands_still(pid).await;
        self.times.off(off).await;
        let went_on = signal(pid, "CONT");
        let seen = u64::from(stopped && went_on);
        deeds.add(seen, from, self.times.epoch.millis());
    }

    /// What counts is not the file but that the gateway read it.
    async fn reload(&self, broken: bool, every: Option<Duration>, off: u64, deeds: &mut Deeds) {
        let path = self.gateway.lock().await.folder().join("switchyard.toml");
        let Ok(good) = std::fs::read_to_string(&path) else {
            return;
        };
        let from = self.times.epoch.millis();
        let before = self.reloads(broken).await;
        for turn in 1_u64.. {
            let text = if broken {
                // Another text each time: one that stays the same is no news.
                format!("[pools\nthis is no configuration, {turn}")
            } else {
                format!("{good}\n# touched {turn}\n")
            };
            // What cannot be written is not read either, and shows as a fault never seen.
            let _ = write(&path, &text);
            let Some(every) = every else { break };
            sleep(every).await;
            if self.times.epoch.millis() >= off {
                break;
            }
        }
        self.times.off(off).await;
        let read = self.read_since(before, broken).await;
        restore(&path, &good);
        deeds.add(read, from, self.times.epoch.millis());
    }

    /// How often a configuration was read since then; waits for the first.
    async fn read_since(&self, before: Option<u64>, broken: bool) -> u64 {
        let begun = self.times.epoch.millis();
        let patience = u64::try_from(NOTICED.as_millis()).unwrap_or(u64::MAX);
        loop {
            let read = match (before, self.reloads(broken).await) {
                (Some(before), Some(after)) if after < before => after,
                (Some(before), Some(after)) => after.saturating_sub(before),
                (None, _) | (_, None) => 0,
            };
            let waited = self.times.epoch.millis().saturating_sub(begun);
            if read > 0 || waited > patience {
                return read;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn reloads(&self, broken: bool) -> Option<u64> {
        let scrape = look(&self.gateway, self.times.epoch).await?;
        let count = |result| scrape.sum("switchyard_config_reload_total", &[("result", result)]);
        let counted = if broken {
            count("rejected")
        } else {
            count("ok") + count("unchanged")
        };
        Some(counted as u64)
    }
}

/// A signal takes its time. Where the system does not tell, the signal is believed.
async fn stands_still(pid: u32) -> bool {
    for _ in 0..50 {
        if is_stopped(pid).unwrap_or(true) {
            return true;
        }
        sleep(Duration::from_millis(10)).await;
    }
    false
}

/// What stays broken would meet the next start.
fn restore(path: &Path, good: &str) {
    // One that cannot be written back shows as a gateway that does not start again.
    let _ = write(path, good);
}

async fn post(admin: SocketAddr, path: &str) -> Option<u16> {
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
