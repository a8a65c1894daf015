//! The story of one request: intent, place, attempt, settle, and the loop that tries elsewhere.
//!
//! Only this folder loops. Nobody below knows that there was a first time, and nobody above that there
//! was a second.

mod account;
mod bill;
mod counting;
mod guard;
mod leg;
mod live;
mod media;
mod next;
pub mod once;
mod operations;
mod request;
mod residency;
mod signing;
mod story;
mod told;
mod tools;
mod translation;
mod watch;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::HashMap;
use tokio::sync::Notify;

use crate::actors::{Clock, JournalDesk, News, RouterMessage, Slot, Tables};
use crate::config::Settings;
use crate::domain::{KeyName, ProviderName};
use crate::policy::poison::PoisonList;
use crate::upstream::{
    BuildError, MediaFetcher, ProviderClient, ProviderOptions, TokenKeeper, Webhook,
};

pub use account::RaceResult;
pub use bill::{Bill, Payer};
pub use guard::{Drill, GuardDrill, Guarded, hits_in};
pub use live::{LiveStream, StreamPiece};
pub use next::refused;
pub use request::{Caller, Detour, Prompt, RaceMark, Request};
pub use story::{Served, Told};
pub use tools::Tools;

/// The clients of all providers in force.
#[derive(Default)]
pub struct Upstreams {
    clients: ArcSwap<HashMap<ProviderName, Arc<ProviderClient>>>,
    /// `None`: nothing is fetched.
    media: ArcSwapOption<MediaFetcher>,
    /// The judge of prompts, where there is one.
    webhook: ArcSwapOption<Webhook>,
}

/// Clients built for settings that are not in force yet.
pub struct PreparedUpstreams {
    clients: HashMap<ProviderName, Arc<ProviderClient>>,
    media: Option<Arc<MediaFetcher>>,
    webhook: Option<Arc<Webhook>>,
}

/// Why settings cannot be put in force, and the key path at fault.
pub type PrepareError = (String, BuildError);

impl Upstreams {
    /// Builds what is new or changed, and keeps the connections of what is not.
    pub fn prepare(
        &self,
        old: &Settings,
        new: &Settings,
    ) -> Result<PreparedUpstreams, PrepareError> {
        let have = self.clients.load();
        let mut clients = HashMap::default();
        for provider in &new.providers {
            let same = old.timeouts == new.timeouts && old.providers.contains(provider);
            let client = match have.get(&provider.name).filter(|_| same) {
                Some(client) => Arc::clone(client),
                None => {
                    let options = ProviderOptions {
                        provider,
                        timeouts: &new.timeouts,
                        before: have.get(&provider.name).map(Arc::as_ref),
                    };
                    Arc::new(
                        ProviderClient::new(&options)
                            .map_err(|error| (format!("providers.{}", provider.name), error))?,
                    )
                }
            };
            clients.insert(provider.name.clone(), client);
        }
        let media = match new.media.fetch {
            false => None,
            true => Some(Arc::new(
                MediaFetcher::new(&new.media, &new.timeouts)
                    .map_err(|error| ("media.ca_file".to_owned(), error))?,
            )),
        };
        let wanted = new.guard.as_ref().and_then(|guard| guard.webhook.as_ref());
        let have = self.webhook.load_full();
        let webhook = match (wanted, have) {
            (None, _) => None,
            (Some(wanted), Some(have)) if have.settings() == &**wanted => Some(have),
            (Some(wanted), _) => {
                let built = Webhook::new(wanted);
                Some(Arc::new(
                    built.map_err(|error| ("guard.webhook".to_owned(), error))?,
                ))
            }
        };
        Ok(PreparedUpstreams {
            clients,
            media,
            webhook,
        })
    }

    pub fn publish(&self, prepared: PreparedUpstreams) {
        self.clients.store(Arc::new(prepared.clients));
        self.media.store(prepared.media);
        self.webhook.store(prepared.webhook);
    }

    fn media(&self) -> Option<Arc<MediaFetcher>> {
        self.media.load_full()
    }

    /// Who keeps the token of this key, if it is traded for one.
    pub fn keeper(&self, provider: &ProviderName, key: &KeyName) -> Option<Arc<TokenKeeper>> {
        self.of(provider)?.keeper(key).cloned()
    }

    fn webhook(&self) -> Option<Arc<Webhook>> {
        self.webhook.load_full()
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
    pub tables: Arc<Tables>,
    /// Rung when the drain's patience is over: open streams end with an error event.
    pub last_call: Arc<Notify>,
    pub poison: PoisonList,
    /// A fault of the guard's that was asked for.
    pub drill: GuardDrill,
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
