//! A provider's addresses: looked up when they are due, remembered while nobody answers (fault N01).

mod message;
mod servers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use ring::rand::SystemRandom;
use tokio::time::{Instant, timeout};

use super::address::is_public;
use super::error::ConnectFault;

use servers::NameServers;

/// Who knows names. A seam: a test answers for the name server.
pub(super) trait Resolve: Send + Sync + fmt::Debug {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Found>>;
}

/// What a lookup found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// How long the name server wants it believed; `None` when it does not say.
    pub(super) serves_for: Option<Duration>,
}

/// The operating system's own lookup.
#[derive(Debug)]
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Found>> {
        Box::pin(async move {
            // The port plays no part in a lookup.
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(Found {
                addresses: found.map(|address| address.ip()).collect(),
                serves_for: None,
            })
        })
    }
}

/// Who is asked for names: these, or the operating system.
pub(super) fn resolver(servers: &[SocketAddr]) -> Arc<dyn Resolve> {
    if servers.is_empty() {
        return Arc::new(SystemResolver);
    }
    let random = Arc::new(SystemRandom::new());
    Arc::new(NameServers::new(servers.to_vec(), random))
}

/// The addresses behind one name.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    resolver: Arc<dyn Resolve>,
    /// Most a lookup may take.
    limit: Duration,
    allow_private: bool,
    known: ArcSwapOption<Known>,
}

/// What the last lookup that found something found.
#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    answered_at: Instant,
    ask_again_at: Instant,
    /// A later lookup found nothing.
    asked_in_vain: bool,
}

/// A lookup this young is not repeated, unless the name server says so.
const FRESH: Duration = Duration::from_secs(60);
/// Not for each of many connections at once, whatever the name server says.
const LEAST_FRESH: Duration = Duration::from_secs(1);
/// When lookups fail, an answer this old still serves.
const LAST_GOOD: Duration = Duration::from_secs(3_600);
/// After a lookup in vain the last good answer serves so long unasked: not every connection is to wait for
/// a name server that says nothing.
const AFTER_VAIN: Duration = Duration::from_secs(5);

impl Names {
    pub(super) fn new(
        host: String,
        resolver: Arc<dyn Resolve>,
        limit: Duration,
        allow_private: bool,
    ) -> Self {
        Self {
            host,
            resolver,
            limit,
            allow_private,
            known: ArcSwapOption::empty(),
        }
    }

    /// Where to dial now.
    pub(super) async fn addresses(&self) -> Result<Vec<IpAddr>, ConnectFault> {
        if let Ok(literal) = self.host.parse::<IpAddr>() {
            return self.allowed(vec![literal]);
        }
        let known = self.known.load_full();
        let now = Instant::now();
        if let Some(known) = &known
            && now < known.ask_again_at
            && known.still_serves(now)
        {
            return self.allowed(known.addresses.clone());
        }
        let looked = timeout(self.limit, self.resolver.resolve(&self.host)).await;
        let now = Instant::now();
        if let Ok(Ok(Found {
            addresses,
            serves_for,
        })) = looked
            && !addresses.is_empty()
        {
            let fresh = serves_for.map_or(FRESH, |told| told.clamp(LEAST_FRESH, FRESH));
            self.known.store(Some(Arc::new(Known {
                addresses: addresses.clone(),
                answered_at: now,
                ask_again_at: now + fresh,
                asked_in_vain: false,
            })));
            return self.allowed(addresses);
        }
        let known = known
            .filter(|known| known.still_serves(now))
            .ok_or(ConnectFault::Dns)?;
        self.replace(&known, now + AFTER_VAIN, true);
        self.allowed(known.addresses.clone())
    }

    /// Every known address failed: the name may have moved, so the next connection asks anew.
    pub(super) fn doubt(&self) {
        // A name server that does not answer would only be waited for again.
        if let Some(known) = self.known.load_full()
            && !known.asked_in_vain
        {
            self.replace(&known, Instant::now(), false);
        }
    }

    /// Moves the next lookup, unless another one has answered in the meantime.
    fn replace(&self, known: &Arc<Known>, ask_again_at: Instant, asked_in_vain: bool) {
        let moved = Known {
            addresses: known.addresses.clone(),
            answered_at: known.answered_at,
            ask_again_at,
            asked_in_vain,
        };
        self.known
            .compare_and_swap(&Some(Arc::clone(known)), Some(Arc::new(moved)));
    }

    /// Judged on the very addresses that are dialled next (fault N02).
    fn allowed(&self, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, ConnectFault> {
        if !self.allow_private {
            addresses.retain(|address| is_public(*address));
        }
        if addresses.is_empty() {
            Err(ConnectFault::PrivateAddress)
        } else {
            Ok(addresses)
        }
    }
}

impl Known {
    fn still_serves(&self, now: Instant) -> bool {
        now.duration_since(self.answered_at) < LAST_GOOD
    }
}
