//! The story of one request: intent, place, attempt, settle, and the loop that tries elsewhere.
//!
//! Only this folder loops. Nobody below knows that there was a first time, and nobody above that there
//! was a second.

mod account;
mod bill;
mod leg;
mod live;
mod next;
mod operations;
mod request;
mod residency;
mod story;
mod translation;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::actors::{Clock, JournalDesk, News, RouterMessage, Slot};
use crate::config::Settings;
use crate::domain::ProviderName;
use crate::policy::poison::PoisonList;
use crate::upstream::{BuildError, ProviderClient, ProviderOptions};

pub use account::RaceResult;
pub use bill::{Bill, Payer};
pub use live::{LiveStream, StreamPiece};
pub use next::refused;
pub use request::{Caller, Detour, Prompt, RaceMark, Request};
pub use story::{Served, Told};

/// The clients of all providers in force.
#[derive(Default)]
pub struct Upstreams {
    clients: ArcSwap<HashMap<ProviderName, Arc<ProviderClient>>>,
}

/// Clients built for settings that are not in force yet.
pub struct PreparedUpstreams(HashMap<ProviderName, Arc<ProviderClient>>);

impl Upstreams {
    /// Builds what is new or changed, and keeps the connections of what is not.
    pub fn prepare(
        &self,
        old: &Settings,
        new: &Settings,
    ) -> Result<PreparedUpstreams, (ProviderName, BuildError)> {
        let have = self.clients.load();
        let mut clients = HashMap::new();
        for provider in &new.providers {
            let same = old.timeouts == new.timeouts && old.providers.contains(provider);
            let client = match have.get(&provider.name).filter(|_| same) {
                Some(client) => Arc::clone(client),
                None => {
                    let options = ProviderOptions {
                        provider,
                        timeouts: &new.timeouts,
                    };
                    Arc::new(
                        ProviderClient::new(&options)
                            .map_err(|error| (provider.name.clone(), error))?,
                    )
                }
            };
            clients.insert(provider.name.clone(), client);
        }
        Ok(PreparedUpstreams(clients))
    }

    pub fn publish(&self, prepared: PreparedUpstreams) {
        self.clients.store(Arc::new(prepared.0));
    }

    fn of(&self, provider: &ProviderName) -> Option<Arc<ProviderClient>> {
        self.clients.load().get(provider).cloned()
    }
}

/// Everything a request's story needs of the world.
pub struct Dispatch {
    pub clock: Clock,
    pub router: Arc<Slot<RouterMessage>>,
    pub upstreams: Arc<Upstreams>,
    pub news: Arc<News>,
    /// Rung when the drain's patience is over: open streams end with an error event.
    pub last_call: Arc<Notify>,
    pub poison: PoisonList,
}

impl Dispatch {
    fn journal(&self) -> &JournalDesk {
        &self.news.journal
    }
}

/// Unix seconds, for dialects that tell the time.
fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
