//! From what was written to what is used; every mistake is found before any is reported.

use std::path::PathBuf;
use std::sync::Arc;

use super::alerts;
use super::clients::{clients, issued};
use super::guard;
use super::idempotency;
use super::identity;
use super::journal::{journal, logs};
use super::judge::Judge;
use super::listen::{admin, listen};
use super::media::{self, MediaSettings};
use super::mistakes::{ConfigError, Mistake};
use super::pools::pools;
use super::pricing;
use super::providers::{behind, provider, signers};
use super::raw::RawConfig;
use super::registry;
use super::residency;
use super::secret::Environment;
use super::settings::{EgressSettings, Settings, UnsupportedSettings};
use super::store;
use super::streams;
use super::tenants;
use super::timeouts::{failover, timeouts};
use super::way_out::way_out;

pub(super) fn settings(
    raw: &RawConfig,
    source: Option<PathBuf>,
    env: &dyn Environment,
) -> Result<Settings, ConfigError> {
    let mut judge = Judge::new(env);
    let mut clients = clients(&mut judge, &raw.clients);
    let mut tenants = tenants::settings(&mut judge, raw);
    residency::demands(&mut judge, raw, (&mut tenants, &mut clients));
    let listen = listen(&mut judge, raw);
    let admin = admin(&mut judge, raw);
    let egress = way_out(&mut judge, raw);
    let providers: Vec<_> = raw
        .providers
        .iter()
        .filter_map(|(name, provider)| self::provider(&mut judge, name, provider))
        .map(|provider| Arc::new(behind(&egress, provider)))
        .collect();
    let facts = registry::source(&mut judge, raw, &egress);
    let models = registry::models(&mut judge, Some(&raw.registry.file), facts.as_ref());
    let mut pools = pools(&mut judge, &raw.pools, &providers);
    registry::fill_in(&mut pools, &models);
    let mut settings = Settings {
        version: 0,
        timeouts: timeouts(&mut judge, raw),
        streams: streams::settings(&mut judge, &raw.streams),
        failover: failover(&mut judge, raw),
        idempotency: idempotency::settings(&mut judge, &raw.idempotency),
        guard: guard::settings(&mut judge, raw, &egress),
        journal: journal(&mut judge, raw),
        store: store::settings(&mut judge, &raw.store),
        media: media::settings(&mut judge, raw, &egress),
        unsupported: UnsupportedSettings {
            usual: raw.dialects.unsupported,
            clients_may: raw.dialects.clients_may_ask.clone(),
        },
        logs: logs(raw),
        notices: registry::notices(&pools, &models),
        models,
        registry: facts,
        pricing: pricing::settings(&mut judge, raw),
        alerts: alerts::settings(&mut judge, raw, &egress),
        listen,
        admin,
        tenants,
        clients,
        issued: issued(&mut judge, raw),
        identities: identity::settings(&mut judge, raw, &egress),
        egress,
        signers: Arc::new(signers(&providers)),
        providers,
        pools,
        source,
        warnings: Vec::new(),
    };
    twin_secrets(&mut judge, &settings);
    judge_nowhere(&mut judge, &settings);
    settings.version = version_of(raw, &settings);
    judge.done(settings)
}

/// A hash over what was written and over the secrets' fingerprints: a rotated key is a new version.
fn version_of(raw: &RawConfig, settings: &Settings) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(serde_json::to_string(raw).unwrap_or_default().as_bytes());
    for provider in &settings.providers {
        for key in &provider.keys {
            context.update(&key.fingerprint);
        }
        context.update(provider.ca_pem.as_deref().unwrap_or_default());
    }
    context.update(settings.media.ca_pem.as_deref().unwrap_or_default());
    context.update(settings.models.own_text().as_bytes());
    context.update(settings.models.fetched_text().as_bytes());
    for client in &settings.clients {
        context.update(&client.key.fingerprint());
    }
    let secrets = [&settings.store.key, &settings.issued.pepper];
    for key in secrets.into_iter().flatten() {
        context.update(&key.fingerprint());
    }
    for identity in &settings.identities {
        context.update(&identity.fingerprint);
    }
    if let Some(guard) = &settings.guard {
        for name in guard.names() {
            context.update(name.as_bytes());
            context.update(b"\n");
        }
        if let Some(webhook) = &guard.webhook {
            context.update(&webhook.secret.fingerprint());
        }
    }
    for alert in &settings.alerts {
        context.update(&alert.secret.fingerprint());
    }
    if let Some(proxy) = &settings.egress.proxy {
        context.update(proxy.authority().as_bytes());
        if let Some(authorization) = &proxy.authorization {
            context.update(&authorization.fingerprint());
        }
    }
    let digest = context.finish();
    digest
        .as_ref()
        .iter()
        .take(8)
        .fold(0, |version, byte| (version << 8) | u64::from(*byte))
}

/// One secret under two names shares one window, and the operator should know (fault K09).
/// Whoever demands regions is refused as long as nobody says where their prompts are judged.
fn judge_nowhere(judge: &mut Judge<'_>, settings: &Settings) {
    let webhook = settings
        .guard
        .as_ref()
        .and_then(|guard| guard.webhook.as_ref());
    let of_tenants = settings.tenants.iter();
    let of_tenants =
        of_tenants.flat_map(|tenant| tenant.demand.iter().chain(tenant.team_demands.values()));
    let of_clients = settings
        .clients
        .iter()
        .filter_map(|client| client.demand.as_ref());
    let mut demands = of_tenants.chain(of_clients);
    if webhook.is_some_and(|webhook| webhook.regions.is_empty())
        && demands.any(|demand| demand.region().is_some())
    {
        judge.warnings.push(Mistake::new(
            "guard.webhook.regions",
            "is empty, and there are demands for regions: those requests are refused",
            "name where the webhook reads prompts, as [\"eu\"]",
        ));
    }
}

fn twin_secrets(judge: &mut Judge<'_>, settings: &Settings) {
    for provider in &settings.providers {
        for (index, key) in provider.keys.iter().enumerate() {
            let twin = provider
                .keys
                .iter()
                .take(index)
                .find(|other| other.fingerprint == key.fingerprint);
            if let Some(twin) = twin {
                judge.warnings.push(Mistake::new(
                    format!("providers.{}.keys[{index}]", provider.name),
                    format!("is the same secret as {:?}", twin.name.as_str()),
                    "they share one rate-limit window",
                ));
            }
        }
    }
}

impl Default for MediaSettings {
    fn default() -> Self {
        let raw = RawConfig::default();
        media::settings(&mut Judge::of_defaults(), &raw, &EgressSettings::default())
    }
}
