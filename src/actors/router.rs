//! Names to pools: it resolves what the client asked for, keeps to the fallback chain, and passes the
//! question on to the pool together with its reply port.
//!
//! A restart forgets nothing: the names belong to the configuration.

use std::sync::Arc;

use foldhash::HashMap;
use ractor::RpcReplyPort;

use super::cells::PoolCell;
use super::lease::Lease;
use super::member::{Crash, Member, Stage};
use super::pool::{Explanation, PoolMessage};
use super::race::RaceMessage;
use super::seller::Seller;
use super::slot::{AskError, Slot};
use super::wish::{Refusal, RefusalKind, Wish};
use crate::config::{PoolSettings, ProviderSettings, Settings};
use crate::domain::PoolName;
use crate::pricing::{Due, Price, Tiers};

pub enum RouterMessage {
    /// Where may this request go now?
    Place {
        wish: Arc<Wish>,
        reply: RpcReplyPort<Result<Lease, Refusal>>,
    },
    /// What would be the candidates of this request?
    Explain {
        wish: Arc<Wish>,
        reply: RpcReplyPort<Explanation>,
    },
}

/// A pool as the router, the edge and the request's task see it.
#[derive(Debug)]
pub struct PoolEntry {
    pub name: PoolName,
    pub settings: Arc<PoolSettings>,
    pub cell: Arc<PoolCell>,
    pub slot: Arc<Slot<PoolMessage>>,
    pub race: Arc<Slot<RaceMessage>>,
}

/// What one name leads to: the pool of that name, then those it falls back to.
#[derive(Debug)]
pub struct Route {
    pub chain: Vec<Arc<PoolEntry>>,
    /// Whether any of them has a provider that speaks another dialect than OpenAI's chat. Looked up once here: a
    /// chain may have a thousand targets.
    pub crosses: bool,
    /// What those whose model is known cost, each once.
    pub prices: Vec<Price>,
    /// Who serves whatever model is asked for.
    pub of_any_model: Vec<Arc<ProviderSettings>>,
    /// Everybody who may serve it, each once.
    pub sellers: Vec<Arc<Seller>>,
}

impl Route {
    /// The tiers in which somebody on this chain served what had not asked for them.
    pub fn unasked(&self) -> Tiers {
        let sellers = self.sellers.iter();
        sellers.fold(Tiers::default(), |all, seller| all.and(seller.unasked()))
    }

    /// The most one request can come to on this chain, whoever serves it; `None` when that is not known of someone.
    /// `asked` is the model of targets that serve any; `due` turns a price's bound into what it comes to.
    pub fn most(
        &self,
        settings: &Settings,
        asked: &str,
        due: impl Fn(&Price) -> Option<Due>,
    ) -> Option<Due> {
        let known = self.prices.iter().map(&due);
        let of_any = self.of_any_model.iter();
        let of_any = of_any.map(|provider| due(&settings.price(provider, asked)));
        known
            .chain(of_any)
            .try_fold(Due::NOTHING, |most, one| Some(most.max(one?)))
    }
}

/// All names in force. Replaced as a whole when the configuration changes.
#[derive(Debug, Default)]
pub struct Routes {
    by_name: HashMap<PoolName, Arc<Route>>,
    /// `provider/` names of any model, by provider.
    wildcards: HashMap<String, Arc<Route>>,
}

impl Routes {
    pub fn new(routes: impl IntoIterator<Item = (PoolName, Route)>) -> Self {
        let mut names = Self::default();
        for (name, route) in routes {
            let route = Arc::new(route);
            if let Some(provider) = name.as_str().strip_suffix("/*") {
                names
                    .wildcards
                    .insert(provider.to_owned(), Arc::clone(&route));
            } else {
                names.by_name.insert(name, route);
            }
        }
        names
    }

    /// The route of a model name. Also understood: `@provider/model`.
    pub fn find(&self, asked: &str) -> Option<&Arc<Route>> {
        let asked = asked.strip_prefix('@').unwrap_or(asked);
        self.by_name.get(asked).or_else(|| {
            let (provider, model) = asked.split_once('/')?;
            self.wildcards.get(provider).filter(|_| !model.is_empty())
        })
    }

    /// The names a client may be shown, wildcards excepted.
    pub fn names(&self) -> impl Iterator<Item = (&PoolName, &Arc<Route>)> {
        self.by_name.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.wildcards.is_empty()
    }
}

pub(crate) struct Router;

impl Member for Router {
    type Message = RouterMessage;

    fn handle(
        &mut self,
        message: RouterMessage,
        _: &mut Stage<RouterMessage>,
    ) -> Result<(), Crash> {
        match message {
            RouterMessage::Place { wish, reply } => match pool_of(&wish) {
                Ok(pool) => {
                    let slot = Arc::clone(&pool.slot);
                    // A refused message drops the reply port, and the caller learns that nobody answers.
                    if let Err(AskError::Full) = slot.cast(PoolMessage::Place { wish, reply }) {
                        tracing::debug!(pool = slot.seat().path(), "mailbox full");
                    }
                }
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
            RouterMessage::Explain { wish, reply } => {
                if let Ok(pool) = pool_of(&wish) {
                    let slot = Arc::clone(&pool.slot);
                    let _ = slot.cast(PoolMessage::Explain { wish, reply });
                }
            }
        }
        Ok(())
    }
}

// --- decisions ---

fn pool_of(wish: &Wish) -> Result<&Arc<PoolEntry>, Refusal> {
    let refuse = |why| Refusal {
        why,
        retry_after: None,
    };
    let route = wish
        .routes
        .find(&wish.asked)
        .ok_or(refuse(RefusalKind::UnknownModel))?;
    route
        .chain
        .get(wish.step)
        .ok_or(refuse(RefusalKind::ChainEnded))
}
