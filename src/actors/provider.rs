//! A company or server that answers: it decides the breakers of its models and is the parent of its keys.
//!
//! A restart forgets nothing: breakers are published in the endpoints' cells and read back from there.

use std::sync::Arc;

use tracing::{info, warn};

use super::cells::EndpointCell;
use super::member::{Crash, Member, Stage};
use super::news::News;
use super::slot::Seat;
use super::supervisor::ChildSpec;
use crate::domain::{Moment, ProviderName};
use crate::policy::breaker::{Breaker, BreakerEvent, BreakerState};
use crate::policy::quarantine::MODEL_DISABLED_FOR;

pub enum ProviderMessage {
    /// An attempt at this endpoint failed; the cell has already counted it.
    Failed { endpoint: Arc<EndpointCell> },
    /// The one attempt that was let through a blocked endpoint has ended.
    ProbeEnded {
        endpoint: Arc<EndpointCell>,
        how: ProbeEnd,
    },
    /// The provider does not have this model (fault P23).
    ModelGone { endpoint: Arc<EndpointCell> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeEnd {
    Succeeded,
    Failed,
    /// It ended without telling anything about the endpoint.
    Abandoned,
}

pub(crate) struct Provider {
    pub(super) name: ProviderName,
    pub(super) seat: Arc<Seat>,
    pub(super) endpoints: Vec<Arc<EndpointCell>>,
    pub(super) keys: Vec<ChildSpec>,
    pub(super) news: Arc<News>,
    pub(super) random: fastrand::Rng,
}

impl Member for Provider {
    type Message = ProviderMessage;

    fn children(&self) -> Vec<ChildSpec> {
        self.keys.clone()
    }

    fn started(&mut self, _stage: &mut Stage<ProviderMessage>) -> Result<(), Crash> {
        self.tell_health();
        Ok(())
    }

    fn handle(
        &mut self,
        message: ProviderMessage,
        stage: &mut Stage<ProviderMessage>,
    ) -> Result<(), Crash> {
        let now = stage.clock.now();
        match message {
            ProviderMessage::Failed { endpoint } => {
                let health = endpoint.health.snapshot(now);
                self.step(&endpoint, BreakerEvent::Failed(health), now);
            }
            ProviderMessage::ProbeEnded { endpoint, how } => {
                let event = match how {
                    ProbeEnd::Succeeded => BreakerEvent::ProbeSucceeded,
                    ProbeEnd::Failed => BreakerEvent::ProbeFailed,
                    ProbeEnd::Abandoned => BreakerEvent::ProbeAbandoned,
                };
                self.step(&endpoint, event, now);
            }
            ProviderMessage::ModelGone { endpoint } => self.model_gone(&endpoint, now),
        }
        self.tell_health();
        Ok(())
    }
}

// --- decisions ---
impl Provider {
    fn step(&mut self, endpoint: &EndpointCell, event: BreakerEvent, now: Moment) {
        // The published state is the only one: what a placing pool moved to `Probing` is seen here, and
        // a successor of this actor starts from it.
        let mut breaker = Breaker::from(endpoint.breaker());
        let Some(change) = breaker.step(event, now, self.random.f64()) else {
            endpoint.publish_breaker(breaker.state());
            return;
        };
        endpoint.publish_breaker(breaker.state());
        endpoint.metrics.breaker.set(breaker.state().gauge());
        self.news.breaker_changed(endpoint, change);
    }

    fn model_gone(&mut self, endpoint: &EndpointCell, now: Moment) {
        let Some(model) = &endpoint.model else {
            // One unknown name must not close a wildcard to all others.
            return;
        };
        endpoint.disabled.extend(now, MODEL_DISABLED_FOR);
        warn!(provider = %self.name, %model, "the provider does not have this model, not asking again for a while");
        self.news.model_disabled(endpoint, MODEL_DISABLED_FOR);
    }

    fn tell_health(&self) {
        let blocked = self
            .endpoints
            .iter()
            .filter(|endpoint| !matches!(endpoint.breaker(), BreakerState::Passing { .. }))
            .count();
        if blocked == 0 {
            self.seat.set_health("passing");
        } else {
            let all = self.endpoints.len();
            self.seat.set_health(&format!("blocked {blocked}/{all}"));
            info!(provider = %self.name, blocked, all, "endpoints blocked");
        }
    }
}
