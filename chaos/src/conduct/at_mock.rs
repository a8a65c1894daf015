//! Faults at a mock's socket and of its keys, and what shows that the gateway met them.
//!
//! # A fault that nobody met proves nothing
//! A refused connect leaves no trace at the one who refuses. So a shut door counts as seen only when no request
//! came through while it was shut, and something shows that the gateway was there: exchanges that the shutting
//! broke off, connections that met the silence, connects that the gateway's own metrics call failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::faults::{Deeds, Times};
use super::gateway::look;
use crate::fault::Made;
use crate::lab::config::key_of;
use crate::lab::{Fleet, GatewayProcess, Provider};
use crate::mock::Door;

/// Connections that were reset are gone after this at the latest.
const GONE: Duration = Duration::from_millis(250);

/// One mock, and how to learn what the gateway made of the fault.
pub(super) struct AtMock {
    pub(super) fleet: Arc<Fleet>,
    pub(super) name: String,
    /// `None` for a gateway that is not ours: it tells nothing.
    pub(super) gateway: Option<Arc<Mutex<GatewayProcess>>>,
    pub(super) times: Times,
}

pub(super) async fn make(made: &Made, at: &AtMock) -> Deeds {
    let mut deeds = Deeds::default();
    let Some(provider) = at.fleet.providers.get(&at.name) else {
        return deeds;
    };
    while let Some(off) = at.times.on().await {
        let from = at.times.epoch.millis();
        let seen = match made {
            Made::Door(door) => at.shut(*door, provider, off).await,
            Made::ResetConnections => provider.mock.reset_connections() as u64,
            Made::CloseIdle => at.close_idle(provider, off).await,
            Made::RevokeKey => at.revoke(provider, off).await,
            Made::Answer(_) | Made::Gateway(_) => 0,
        };
        deeds.add(seen, from, at.times.epoch.millis());
        // A stretch may end within the millisecond.
        at.times.off(off.saturating_add(1)).await;
    }
    deeds
}

impl AtMock {
    async fn shut(&self, door: Door, provider: &Provider, off: u64) -> u64 {
        let mock = &provider.mock;
        if mock.door(door).await.is_err() {
            return 0;
        }
        // Connections from before would be served on.
        let (broken_off, open) = (mock.in_flight() as u64, mock.reset_connections() as u64);
        if door == Door::Refusing {
            mock.wait_for_no_connections(GONE).await;
        } else {
            sleep(Duration::from_millis(20)).await;
        }
        let (requests, held) = (mock.requests(), mock.held_connections());
        let is_shut = door != Door::Refusing || is_refused(mock.address()).await;
        let failed = self.failed_connects().await;
        self.times.off(off).await;
        let tried = match (failed, self.failed_connects().await) {
            // A counter that fell is one that began anew with its process.
            (Some(before), Some(after)) if after < before => after,
            (Some(before), Some(after)) => after.saturating_sub(before),
            // The metrics are out of reach: what was open and is no longer is all that can be known.
            (None, _) | (_, None) => open,
        };
        let came_through = mock.requests() != requests;
        let met = match door {
            Door::Refusing => tried,
            Door::Silent | Door::HeadOnly | Door::Open => {
                mock.held_connections().saturating_sub(held)
            }
        };
        // A door that could not be opened again shows as a provider that never recovers.
        let _ = mock.door(Door::Open).await;
        if !is_shut || came_through {
            return 0;
        }
        met.saturating_add(broken_off)
    }

    /// How many connects to this mock failed, as the gateway counts them.
    async fn failed_connects(&self) -> Option<u64> {
        let scrape = look(self.gateway.as_ref()?, self.times.epoch).await?;
        let labels = [("provider", self.name.as_str()), ("outcome", "connect")];
        Some(scrape.sum("switchyard_attempts_total", &labels) as u64)
    }

    async fn close_idle(&self, provider: &Provider, off: u64) -> u64 {
        let before = provider.mock.idle_connections_closed();
        while self.times.epoch.millis() < off {
            provider.mock.close_idle();
            sleep(Duration::from_millis(50)).await;
        }
        let closed = provider.mock.idle_connections_closed();
        closed.saturating_sub(before)
    }

    async fn revoke(&self, provider: &Provider, off: u64) -> u64 {
        let key = key_of(&self.name);
        let before = provider.mock.keys_refused();
        provider.mock.refuse_key(&key);
        self.times.off(off).await;
        provider.mock.allow_key(&key);
        provider.mock.keys_refused().saturating_sub(before)
    }
}

/// Nobody else sees a refused connection, so the harness tries one itself.
async fn is_refused(address: std::net::SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_err()
}
