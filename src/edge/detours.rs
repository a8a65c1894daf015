//! The way of a request: the chain of the model it asks for, and those of other models it names beside that one.

use std::sync::Arc;

use http::HeaderValue;

use super::chat::{Found, Notice, found};
use crate::actors::{Published, Refusal, RefusalKind, Route};
use crate::config::Settings;
use crate::dialects::openai::{ChatPeek, Wishes};
use crate::dispatch::{Detour, refused};
use crate::domain::{Failure, Operation};
use crate::keys::Client;

pub(super) struct Way {
    pub(super) route: Arc<Route>,
    /// The name it is served by.
    pub(super) asked: Arc<str>,
    pub(super) detours: Option<Arc<[Detour]>>,
    pub(super) notice: Notice,
}

/// What is said when a model named beside the own one leads nowhere.
const LEFT_OUT: &str =
    "299 switchyard \"a model named beside the one asked for is not served here and was left out\"";

/// Finds the way. A model that this client may not use is as good as none: what a request names only chooses among
/// what its key allows.
pub(super) fn way(
    peek: &ChatPeek,
    operation: Operation,
    client: &Client,
    published: &Published,
) -> Result<Way, Failure> {
    if !client.grant.may_do(operation) {
        return Err(unknown(&peek.model));
    }
    let wishes = &peek.wishes;
    let (found, asked) = allowed(&peek.model, client, published)?;
    if wishes.fallbacks.is_empty() && !wishes.no_fallbacks {
        return Ok(Way {
            route: found.route,
            asked,
            detours: None,
            notice: found.notice,
        });
    }
    let mut chains = Chains::of(wishes);
    chains.append(&found.route, &asked, &published.settings);
    let mut notice = found.notice;
    for fallback in &wishes.fallbacks {
        match allowed(fallback, client, published) {
            Ok((found, name)) => chains.append(&found.route, &name, &published.settings),
            // The model that was asked for may serve all the same.
            Err(_unknown) => {
                notice.get_or_insert(HeaderValue::from_static(LEFT_OUT));
            }
        }
    }
    Ok(Way {
        route: Arc::new(chains.route),
        asked,
        detours: Some(chains.detours.into()),
        notice,
    })
}

/// Where a model is, and the name it is served by.
fn allowed(
    model: &str,
    client: &Client,
    published: &Published,
) -> Result<(Found, Arc<str>), Failure> {
    let found = found(published, model).filter(|found| {
        let first = found.route.chain.first();
        first.is_some_and(|pool| client.may_use(pool.name.as_str()))
    });
    // As if it were not there: a client learns nothing about what others may use.
    let found = found.ok_or_else(|| unknown(model))?;
    let name = Arc::from(found.successor.as_deref().unwrap_or(model));
    Ok((found, name))
}

fn unknown(model: &str) -> Failure {
    // Not longer than anyone reads.
    let shown: String = model.chars().take(128).collect();
    refused(
        &Refusal {
            why: RefusalKind::UnknownModel,
            retry_after: None,
        },
        &shown,
    )
}

/// Several chains, one behind the other, with each pool once.
struct Chains {
    route: Route,
    detours: Vec<Detour>,
    /// Of each name's own chain, so many.
    most: usize,
}

impl Chains {
    fn of(wishes: &Wishes) -> Self {
        Self {
            route: Route {
                chain: Vec::new(),
                crosses: false,
                prices: Vec::new(),
                of_any_model: Vec::new(),
                sellers: Vec::new(),
            },
            detours: Vec::new(),
            most: if wishes.no_fallbacks { 1 } else { usize::MAX },
        }
    }

    fn append(&mut self, route: &Route, name: &Arc<str>, settings: &Settings) {
        self.route.crosses |= route.crosses;
        self.route.prices.extend(route.prices.iter().cloned());
        // Of any model, but of this name it is one.
        let model = name.split_once('/').map_or(&**name, |(_, model)| model);
        let of_any = route.of_any_model.iter();
        let of_any = of_any.map(|provider| settings.price(provider, model));
        self.route.prices.extend(of_any);
        self.route.sellers.extend(route.sellers.iter().cloned());
        for (step, pool) in route.chain.iter().enumerate().take(self.most) {
            // A name of any model leads through one and the same pool to another model.
            let is_any = pool.name.as_str().ends_with("/*");
            let mut before = self.route.chain.iter().zip(&self.detours);
            let is_known = before.any(|(known, detour)| {
                Arc::ptr_eq(known, pool) && (!is_any || detour.name == *name)
            });
            if !is_known {
                self.route.chain.push(Arc::clone(pool));
                let name = Arc::clone(name);
                self.detours.push(Detour { name, step });
            }
        }
    }
}
