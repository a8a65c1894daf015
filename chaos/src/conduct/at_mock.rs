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

use super::at_front;
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
            Made::Front(fault) => at_front::front(*fault, at, provider, off).await,
            Made::Names(fault) => at_front::names(*fault, at, provider, off, &mut deeds).await,
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

#[cfg(test)]
mod tests {
    use super::super::stretches::Pace;
    use super::*;
    use crate::client::Client;
    use crate::lab::Epoch;
    use crate::mock::{Behaviour, Dialect, Step};
    use crate::scenario::{Mock, Shape};

    /// A mock and a fault that is on from now for so long.
    async fn at(millis: u64) -> AtMock {
        let mut fleet = Fleet::default();
        let mock = Mock::plain("alpha", "openai");
        fleet.add(&mock, Dialect::OpenAi, 1, 0).await.unwrap();
        let pace = Pace {
            shape: Shape::Step,
            from: Duration::ZERO,
            to: Duration::from_millis(millis),
            period: Duration::from_secs(1),
            seed: 1,
        };
        AtMock {
            fleet: Arc::new(fleet),
            name: "alpha".to_owned(),
            gateway: None,
            times: Times {
                pace,
                epoch: Epoch::now(),
            },
        }
    }

    impl AtMock {
        fn mock(&self) -> &crate::mock::MockProvider {
            &self.fleet.providers["alpha"].mock
        }

        async fn client(&self) -> Client {
            let mut client = Client::connect(self.mock().address()).await.unwrap();
            client.patience(Duration::from_secs(2));
            client
        }

        /// Asks with a key, and tells the status if one comes.
        async fn ask(&self, key: &str) -> Option<u16> {
            let fields = [("authorization".to_owned(), format!("Bearer {key}"))];
            let body = Dialect::OpenAi.sample_request("hi", false);
            let mut client = Client::connect(self.mock().address()).await.ok()?;
            client.patience(Duration::from_secs(1));
            let sent = client.post_json("/v1/chat/completions", &fields, &body);
            sent.await.ok().map(|answer| answer.status())
        }
    }

    #[tokio::test]
    async fn n03_a_shut_door_that_nobody_met_is_not_seen() {
        for door in [Door::Refusing, Door::Silent, Door::HeadOnly] {
            let at = at(150).await;
            let deeds = make(&Made::Door(door), &at).await;
            assert_eq!((deeds.seen, deeds.acts), (0, Vec::new()), "{door:?}");
            assert_eq!(at.ask("k").await, Some(200), "open again after {door:?}");
        }
    }

    #[tokio::test]
    async fn n03_a_shut_door_cuts_warm_connections_and_is_seen_by_it() {
        for door in [Door::Refusing, Door::Silent, Door::HeadOnly] {
            let at = at(300).await;
            at.mock().set(Behaviour::steps(vec![Step::Hold]));
            let mut warm = at.client().await;
            let body = Dialect::OpenAi.sample_request("hi", true);
            warm.send_json("/v1/chat/completions", &[], &body)
                .await
                .unwrap();
            assert!(at.mock().wait_for(1, Duration::from_secs(5)).await);
            let deeds = make(&Made::Door(door), &at).await;
            assert!(deeds.seen > 0, "{door:?}");
            assert_eq!(deeds.acts.len(), 1, "{door:?}");
            warm.patience(Duration::from_secs(2));
            let cut = warm.closes_within(Duration::from_secs(2)).await;
            assert!(cut, "{door:?} left a warm connection alive");
        }
    }

    #[tokio::test]
    async fn n04_a_silent_door_is_seen_by_whoever_meets_the_silence() {
        let at = at(300).await;
        let met = async {
            sleep(Duration::from_millis(100)).await;
            at.ask("k").await
        };
        let (deeds, met) = tokio::join!(make(&Made::Door(Door::Silent), &at), met);
        assert_eq!((deeds.seen, met), (1, None));
    }

    #[tokio::test]
    async fn k01_a_revoked_key_is_seen_only_by_requests_that_bear_it() {
        let asked = async |key: &str| {
            let at = at(300).await;
            let met = async {
                sleep(Duration::from_millis(100)).await;
                at.ask(key).await
            };
            let (deeds, met) = tokio::join!(make(&Made::RevokeKey, &at), met);
            assert_eq!(at.ask(&key_of("alpha")).await, Some(200), "good again");
            (deeds.seen, met)
        };
        assert_eq!(asked(&key_of("alpha")).await, (1, Some(401)));
        assert_eq!(asked("sk-of-somebody-else").await, (0, Some(200)));
    }

    #[tokio::test]
    async fn n08_closing_the_idle_is_seen_only_where_one_was_idle() {
        let alone = at(150).await;
        assert_eq!(make(&Made::CloseIdle, &alone).await.seen, 0);
        let with_one = at(800).await;
        let mut idle = with_one.client().await;
        let body = Dialect::OpenAi.sample_request("hi", false);
        let sent = idle.post_json("/v1/chat/completions", &[], &body).await;
        assert_eq!(sent.unwrap().status(), 200);
        assert_eq!(make(&Made::CloseIdle, &with_one).await.seen, 1);
    }
}
