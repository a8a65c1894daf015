//! The registry of models in force: the embedded one, and the operator's own file over it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::judge::Judge;
use super::mistakes::Mistake;
use super::raw::{RawConfig, RawRegistry};
use super::registry_copy::{RegistryCopy, RegistrySettings};
use super::settings::{EgressSettings, PoolOrigin, PoolSettings, ProviderSettings};
use crate::domain::{PoolName, Tokens};
use crate::pricing::{Date, Found, Price, Registry, Standing};

/// What is known of models.
#[derive(Clone, Debug)]
pub struct Models {
    registry: Arc<Registry>,
    /// Without the own file: what a newer one has to measure up to.
    base: Arc<Registry>,
    /// What was fetched instead of the embedded one.
    fetched: Option<RegistryCopy>,
    /// The own file's text; two settings differ when it does.
    own: Option<Arc<str>>,
}

impl Default for Models {
    fn default() -> Self {
        static EMBEDDED: OnceLock<Arc<Registry>> = OnceLock::new();
        // The text is part of the program; a test reads it, so the empty fallback is never seen.
        let embedded = EMBEDDED.get_or_init(|| Arc::new(Registry::embedded().unwrap_or_default()));
        Self {
            registry: Arc::clone(embedded),
            base: Arc::clone(embedded),
            fetched: None,
            own: None,
        }
    }
}

impl PartialEq for Models {
    fn eq(&self, other: &Self) -> bool {
        self.own == other.own && self.fetched_text() == other.fetched_text()
    }
}

impl Models {
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Without the operator's own file.
    pub fn base(&self) -> &Registry {
        &self.base
    }

    /// What was fetched; `None`: the facts this build was made with are in use.
    pub fn fetched(&self) -> Option<&RegistryCopy> {
        self.fetched.as_ref()
    }

    pub(super) fn fetched_text(&self) -> &str {
        self.fetched.as_ref().map_or("", |copy| &copy.text)
    }

    /// What a provider's model costs, as far as anyone wrote it down.
    pub fn price(&self, provider: &ProviderSettings, model: &str) -> Price {
        if provider.free {
            return Price::Free;
        }
        let found = self.registry.find(provider.name.as_str(), model);
        found.map_or(Price::Unknown, |found| Price::Listed {
            model: found.model,
            usual: provider.service_tier,
        })
    }

    pub(super) fn own_text(&self) -> &str {
        self.own.as_deref().unwrap_or_default()
    }
}

/// The largest file that is read.
const LARGEST: u64 = 8 << 20;

/// Where newer facts come from.
pub(super) fn source(
    judge: &mut Judge<'_>,
    raw: &RawConfig,
    egress: &EgressSettings,
) -> Option<RegistrySettings> {
    let RawRegistry { url, copy, .. } = &raw.registry;
    let secs = judge.positive("registry.refresh_s", raw.registry.refresh_s);
    if url.is_empty() {
        return None;
    }
    let place = Place::of(url);
    let beside = place == Some(Place::Here);
    if place.is_none() {
        judge.wrong(
            "registry.url",
            "is no https address, and prices decide about money",
            "write it as \"https://prices.example/models.toml\"",
        );
    }
    if copy.is_empty() {
        judge.wrong(
            "registry.copy",
            "is empty",
            "name a file for the last good copy",
        );
    }
    let proxy = egress.proxy.clone();
    Some(RegistrySettings {
        url: url.clone(),
        every: Duration::from_secs(secs.max(60)),
        copy: PathBuf::from(copy),
        force: raw.registry.force,
        proxy: proxy.filter(|_| !beside && !super::egress::is_direct(url, &egress.no_proxy)),
    })
}

/// Whether the gateway asks at this address for what it believes: over https, or on this machine.
pub fn is_fetchable(url: &str) -> bool {
    Place::of(url).is_some()
}

/// Whether an address is on this machine, where no proxy stands before it.
pub(super) fn is_here(url: &str) -> bool {
    Place::of(url) == Some(Place::Here)
}

/// Where a registry may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On this machine, where nobody listens in.
    Here,
    Elsewhere,
}

impl Place {
    /// `None` for an address that is not asked: one in the clear, one with a login in it, or one of the network's own
    /// services, which hand out secrets and no prices (attack A10).
    fn of(url: &str) -> Option<Self> {
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
        let (scheme, rest) = url.split_once("://").filter(|_| plain)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains(['@', '\\', '%']) {
            return None;
        }
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            Some(_) | None => authority,
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>().ok().map(|it| it.to_canonical());
        let here = host == "localhost" || address.is_some_and(|it| it.is_loopback());
        // What is no address and ends in a number is read as one by some.
        let odd = address.is_none()
            && bare.rsplit('.').next().is_none_or(|last| {
                last.is_empty() || last.starts_with(|first: char| first.is_ascii_digit())
            });
        let service = host == "metadata.google.internal" || address.is_some_and(is_service);
        match scheme {
            _ if odd || service => None,
            "http" | "https" if here => Some(Self::Here),
            "https" => Some(Self::Elsewhere),
            _ => None,
        }
    }
}

fn is_service(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local() || four.is_unspecified(),
        IpAddr::V6(six) => {
            // Amazon's own are below fd00:ec2::.
            six.is_unicast_link_local()
                || six.is_unspecified()
                || matches!(six.segments(), [0xfd00, 0xec2, ..])
        }
    }
}

/// The embedded registry, or what was fetched in its place.
fn base(judge: &mut Judge<'_>, facts: Option<&RegistrySettings>) -> Models {
    let embedded = Models::default();
    let Some(copy) = facts.and_then(|facts| RegistryCopy::read(&facts.copy)) else {
        return embedded;
    };
    match Registry::parse(&copy.text) {
        Ok(registry) => {
            let registry = Arc::new(registry);
            Models {
                base: Arc::clone(&registry),
                registry,
                fetched: Some(copy),
                own: None,
            }
        }
        Err(_) => {
            judge.warnings.push(Mistake::new(
                "registry.copy",
                "holds no registry of models any more",
                "the embedded one is in use until another is fetched",
            ));
            embedded
        }
    }
}

/// The registry in use with the operator's file over it.
pub(super) fn models(
    judge: &mut Judge<'_>,
    file: Option<&str>,
    facts: Option<&RegistrySettings>,
) -> Models {
    let embedded = base(judge, facts);
    let Some(file) = file.filter(|file| !file.is_empty()) else {
        return embedded;
    };
    let path = PathBuf::from(file);
    let length = std::fs::metadata(&path).map(|meta| meta.len());
    let text = match length {
        Ok(length) if length > LARGEST => {
            judge.wrong(
                "registry.file",
                "is larger than 8 MiB",
                "is it the right file",
            );
            return embedded;
        }
        Ok(_) | Err(_) => std::fs::read_to_string(&path),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            judge.wrong(
                "registry.file",
                format!("{file} cannot be read ({})", error.kind()),
                "name an existing file, or leave it out",
            );
            return embedded;
        }
    };
    match embedded.registry.with_own(&text) {
        Ok(registry) => Models {
            registry: Arc::new(registry),
            own: Some(text.into()),
            ..embedded
        },
        Err(error) => {
            for mistake in error.mistakes {
                let place = format!("registry.file {}", mistake.path);
                judge.wrong(place, mistake.what, mistake.cure);
            }
            embedded
        }
    }
}

/// Context windows that nobody wrote down.
pub(super) fn fill_in(pools: &mut [Arc<PoolSettings>], models: &Models) {
    for pool in pools.iter_mut().map(Arc::make_mut) {
        for target in &mut pool.targets {
            if let (None, Some(model)) = (target.context_window, &target.model) {
                let known = models
                    .registry
                    .find(target.provider.as_str(), model.as_str());
                target.context_window = known.and_then(|found| found.model.context).map(Tokens);
            }
        }
    }
}

/// What to warn of when a client asks for a model by the provider's own name (row D6).
pub(super) fn notices(pools: &[Arc<PoolSettings>], models: &Models) -> HashMap<PoolName, String> {
    let today = today();
    let own_names = pools
        .iter()
        .filter(|pool| pool.origin == PoolOrigin::Implicit);
    own_names
        .filter_map(|pool| {
            let target = pool.targets.first()?;
            let found = models
                .registry
                .find(target.provider.as_str(), target.model.as_ref()?.as_str())?;
            let standing = models.registry.standing(&found.model, today);
            Some((pool.name.clone(), standing.warning(&found.model)?))
        })
        .collect()
}

fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / 86_400);
    Date::of_days(days)
}

impl Models {
    /// The name to use instead of one that no provider serves any more, with the warning to give.
    pub fn successor(&self, provider: &str, asked: &str) -> Option<(String, String)> {
        let Found { model, .. } = self.registry.find(provider, asked)?;
        let standing = self.registry.standing(&model, today());
        let warning = standing.warning(&model)?;
        let successor = match standing {
            Standing::Current => None,
            Standing::Deprecated { successor, .. } | Standing::Retired { successor, .. } => {
                successor
            }
        };
        Some((successor?.name.clone(), warning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_a_registry_is_fetched_from_an_open_address_or_from_this_machine() {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "https://169.254.169.254/",
            "https://[::ffff:a9fe:a9fe]/x",
            "https://[::FFFF:169.254.169.254]:443/x",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://0.0.0.0/",
            "https://2852039166/",
            "https://0xa9fea9fe/",
            "https://169.254.43518/",
            "https://metadata.google.internal./",
            "http://metadata.google.internal/",
            "https://u:p@prices.example/",
            "http://127.0.0.1@prices.example/",
            "https://prices.example\\@x/",
            "https://%31/",
            "http://prices.example/",
            "file:///etc/passwd",
            "https://",
            "prices.example",
            "https://prices .example/",
        ] {
            assert_eq!(Place::of(url), None, "{url}");
        }
        for (url, place) in [
            ("https://prices.example/models.toml", Place::Elsewhere),
            ("https://10.0.0.7:8443/models.toml?v=1", Place::Elsewhere),
            ("http://127.0.0.1:8080/", Place::Here),
            ("http://[::1]:8080/", Place::Here),
            ("http://localhost/", Place::Here),
        ] {
            assert_eq!(Place::of(url), Some(place), "{url}");
        }
    }
}
