//! Who a request is for: who pays, what it is for, and for which of the client's own users.

use std::sync::Arc;

use http::HeaderMap;

use super::names::{TAGS, USERS, text};
use crate::actors::{PoolEntry, Published, Route};
use crate::config::{Settings, TargetSettings};
use crate::dispatch::{Caller, Payer};
use crate::keys::Client;

pub(super) fn caller(client: &Client, published: &Published, headers: &HeaderMap) -> Caller {
    let tags = tags(headers);
    Caller {
        client: client.name.clone(),
        of_file: client.of_file,
        payer: payer(client, published, &tags),
        // Whom an issuer vouches for is not somebody else because a header says so.
        user: client.user.clone().or_else(|| user(headers)),
        tags,
    }
}

/// Whether a client may ask for the first pool of a chain, and anyone behind it may serve it.
pub(super) fn may_reach(client: &Client, settings: &Settings, route: &Route) -> bool {
    let first = route.chain.first();
    first.is_some_and(|pool| client.may_use(pool.name.as_str()))
        && (client.demand.is_none()
            || route
                .chain
                .iter()
                .any(|pool| targets(client, settings, pool).next().is_some()))
}

/// The targets of a pool that may serve a client.
pub(super) fn targets<'a>(
    client: &'a Client,
    settings: &'a Settings,
    pool: &'a PoolEntry,
) -> impl Iterator<Item = &'a TargetSettings> {
    pool.settings.targets.iter().filter(|target| {
        let mut providers = settings.providers.iter();
        let provider = providers.find(|provider| provider.name == target.provider);
        let model = (target.model.as_ref(), pool.name.as_str());
        let demand = client.demand.as_ref();
        provider.is_some_and(|provider| {
            demand.is_none_or(|demand| provider.meets(demand, model).is_ok())
        })
    })
}

/// Who pays for what this client asks, and whose limits hold.
fn payer(client: &Client, published: &Published, tags: &[Arc<str>]) -> Payer {
    let tenant = published.tenants.get(&*client.tenant);
    let mut path = client.path.clone();
    for tag in tags {
        // Also of those that have nothing to keep: that may change before it ends.
        let account = format!("{}+{tag}", client.tenant);
        let known =
            tenant.and_then(|tenant| tenant.settings.accounts.get_key_value(account.as_str()));
        path.push(known.map_or_else(|| Arc::from(account.as_str()), |(name, _)| Arc::clone(name)));
    }
    let bound = tenant.filter(|tenant| {
        let accounts = &tenant.settings.accounts;
        path.iter().any(|name| accounts.contains_key(name))
    });
    Payer {
        tenant: Arc::clone(&client.tenant),
        weight: client.weight,
        team: client.team.clone(),
        path,
        entry: bound.map(Arc::clone),
    }
}

const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 64;

/// What the client says that this is for.
fn tags(headers: &HeaderMap) -> Vec<Arc<str>> {
    let mut tags: Vec<Arc<str>> = TAGS
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|tag| !tag.is_empty() && tag.len() <= LONGEST_TAG)
        .take(MOST_TAGS)
        .map(Arc::from)
        .collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// The client's own end user, as it names them.
fn user(headers: &HeaderMap) -> Option<Arc<str>> {
    USERS
        .iter()
        .find_map(|name| text(headers, name))
        .filter(|user| !user.is_empty() && user.len() <= 128)
        .map(Arc::from)
}
