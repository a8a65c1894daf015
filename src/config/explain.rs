//! A configuration told to a person: what listens, who may call, where each name leads.

use std::fmt::Write as _;

use super::presets;
use super::settings::{JournalMode, PoolOrigin, PoolSettings, Settings};
use crate::domain::PoolName;
use crate::policy::chain::walk;
use crate::policy::residency::{Demand, Handling};

/// The whole, or only what one model name leads to.
pub fn explain(settings: &Settings, model: Option<&str>) -> String {
    let mut out = String::new();
    match model {
        Some(model) => explain_model(&mut out, settings, model),
        None => explain_all(&mut out, settings),
    }
    out
}

#[expect(clippy::too_many_lines, reason = "one page of text, line by line")]
fn explain_all(out: &mut String, settings: &Settings) {
    let source = settings
        .source
        .as_ref()
        .map_or("no file: defaults and environment".to_owned(), |path| {
            path.display().to_string()
        });
    line(out, "source", &source);
    line(out, "version", &format!("{:016x}", settings.version));
    let who = if settings.clients.is_empty() && settings.identities.is_empty() {
        "no client keys: loopback only"
    } else {
        "client keys required"
    };
    line(
        out,
        "listen",
        &format!("{} ({who})", settings.listen.address),
    );
    let admin = if settings.admin.enabled {
        let key = if settings.admin.key.is_some() {
            "key required"
        } else {
            "no key: read-only"
        };
        format!("{} ({key})", settings.admin.address)
    } else {
        "off".to_owned()
    };
    line(out, "admin", &admin);
    if let Some(proxy) = &settings.egress.proxy {
        let password = match proxy.authorization {
            Some(_) => "with a password",
            None => "without a password",
        };
        let but = match settings.egress.no_proxy.as_slice() {
            [] => String::new(),
            some => format!("; not for {}", some.join(" ")),
        };
        line(
            out,
            "egress",
            &format!("through {} ({password}){but}", proxy.authority()),
        );
    }
    let journal = match settings.journal.mode {
        JournalMode::Fast => "written before each send",
        JournalMode::Durable => "synced before each send",
        JournalMode::Off => "off",
    };
    line(
        out,
        "journal",
        &format!("{} ({journal})", settings.journal.path.display()),
    );
    for client in &settings.clients {
        line(
            out,
            "client",
            &format!(
                "{}  may use {}, lane {}{}",
                client.name,
                client
                    .grant
                    .pools
                    .patterns()
                    .map_or_else(|| "*".to_owned(), |pools| pools.join(" ")),
                client.lane.label(),
                demanded(client.demand.as_deref())
            ),
        );
    }
    for identity in &settings.identities {
        let told = format!("{}  tokens of {}", identity.name, identity.rules.issuer);
        line(out, "identity", &told);
    }
    let _ = writeln!(out, "\nproviders");
    for provider in &settings.providers {
        let _ = writeln!(
            out,
            "  {:<14} {:<10} {}",
            provider.name.as_str(),
            provider.dialect.label(),
            provider.base_url
        );
        for key in &provider.keys {
            let _ = writeln!(
                out,
                "    key {:<10} {}{}",
                key.name.as_str(),
                limits(&key.limits),
                promises(&key.handling)
            );
        }
    }
    if settings.providers.is_empty() {
        let _ = writeln!(
            out,
            "  none; set one of: {}",
            presets::variables().join(", ")
        );
    }
    let _ = writeln!(out, "\npools");
    for pool in settings
        .pools
        .iter()
        .filter(|pool| pool.origin == PoolOrigin::Explicit)
    {
        explain_pool(out, settings, pool);
    }
    let implicit = settings
        .pools
        .iter()
        .filter(|pool| pool.origin == PoolOrigin::Implicit)
        .count();
    let wildcards: Vec<&str> = settings
        .pools
        .iter()
        .filter(|pool| pool.origin == PoolOrigin::Wildcard)
        .map(|pool| pool.name.as_str())
        .collect();
    let _ = writeln!(
        out,
        "  and {implicit} named after models, and any model as: {}",
        wildcards.join(" ")
    );
    for warning in &settings.warnings {
        let _ = writeln!(out, "\nwarning  {warning}");
    }
}

fn explain_pool(out: &mut String, settings: &Settings, pool: &PoolSettings) {
    let chain = chain(settings, &pool.name);
    let _ = writeln!(out, "  {}", pool.name);
    let total: f32 = pool.targets.iter().map(|target| target.weight).sum();
    for target in &pool.targets {
        let model = target
            .model
            .as_ref()
            .map_or("(as asked)", |model| model.as_str());
        let share = target.weight / total * 100.0;
        let _ = writeln!(
            out,
            "    {:<40} {share:>5.1} % when all are equal",
            format!("{}/{model}", target.provider)
        );
    }
    if chain.len() > 1 {
        let names: Vec<&str> = chain.iter().skip(1).map(PoolName::as_str).collect();
        let _ = writeln!(out, "    then {}", names.join(", then "));
    }
}

fn explain_model(out: &mut String, settings: &Settings, model: &str) {
    let asked = model.strip_prefix('@').unwrap_or(model);
    let exact = settings
        .pools
        .iter()
        .find(|pool| pool.name.as_str() == asked);
    let wildcard = || {
        let (provider, _) = asked.split_once('/')?;
        let name = format!("{provider}/*");
        settings
            .pools
            .iter()
            .find(|pool| pool.name.as_str() == name)
    };
    let Some(pool) = exact.or_else(wildcard) else {
        let _ = writeln!(
            out,
            "{model:?} leads nowhere: there is no pool, no model and no provider of that name"
        );
        return;
    };
    let _ = writeln!(out, "{model:?} leads to");
    for name in chain(settings, &pool.name) {
        if let Some(pool) = settings.pools.iter().find(|pool| pool.name == name) {
            explain_pool(out, settings, pool);
        }
    }
    let failover = &settings.failover;
    let _ = writeln!(
        out,
        "at most {} attempts, each elsewhere while there is an elsewhere, within {} s",
        failover.max_attempts,
        settings.timeouts.request.as_secs()
    );
}

/// The same for programs.
pub fn explain_json(settings: &Settings) -> serde_json::Value {
    let pools: Vec<_> = settings
        .pools
        .iter()
        .map(|pool| {
            serde_json::json!({
                "name": pool.name.as_str(),
                "targets": pool.targets.iter().map(|target| serde_json::json!({
                    "provider": target.provider.as_str(),
                    "model": target.model.as_ref().map(|model| model.as_str()),
                    "weight": target.weight,
                })).collect::<Vec<_>>(),
                "chain": chain(settings, &pool.name).iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            })
        })
        .collect();
    serde_json::json!({
        "version": format!("{:016x}", settings.version),
        "listen": settings.listen.address.to_string(),
        "admin": settings.admin.enabled.then(|| settings.admin.address.to_string()),
        "clients": settings.clients.iter().map(|client| client.name.as_str()).collect::<Vec<_>>(),
        "providers": settings.providers.iter().map(|provider| serde_json::json!({
            "name": provider.name.as_str(),
            "dialect": provider.dialect.label(),
            "base_url": provider.base_url,
            "keys": provider.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "pools": pools,
        "warnings": settings.warnings,
    })
}

fn chain(settings: &Settings, name: &PoolName) -> Vec<PoolName> {
    let next = |name: &PoolName| {
        settings
            .pools
            .iter()
            .find(|pool| pool.name == *name)
            .map(|pool| pool.fallback.clone())
            .unwrap_or_default()
    };
    walk(name, next, settings.failover.max_depth)
}

/// What a provider promises with a key; nothing where it promises nothing.
fn promises(handling: &Handling) -> String {
    let mut said = String::new();
    if !handling.regions().is_empty() {
        let _ = write!(said, "; processed in {}", handling.regions().join(" or "));
    }
    if handling.keeps_nothing() {
        said.push_str("; keeps nothing");
    }
    match handling.trains() {
        Some(true) => said.push_str("; trains on it"),
        Some(false) => said.push_str("; does not train on it"),
        None => {}
    }
    said
}

/// What is demanded of providers; nothing where nothing is.
fn demanded(demand: Option<&Demand>) -> String {
    let mut said = String::new();
    let Some(demand) = demand else { return said };
    if let Some(region) = demand.region() {
        let _ = write!(said, ", only in {region}");
    }
    for word in demand.words() {
        let _ = write!(said, ", {word}");
    }
    said
}

fn limits(limits: &super::settings::KeyLimits) -> String {
    let mut said = Vec::new();
    let mut say =
        |value: Option<u64>, what: &str| said.extend(value.map(|value| format!("{value} {what}")));
    say(limits.requests_per_minute, "requests/min");
    say(limits.tokens_per_minute, "tokens/min");
    say(limits.input_tokens_per_minute, "input tokens/min");
    say(limits.output_tokens_per_minute, "output tokens/min");
    say(limits.concurrency.map(u64::from), "at once");
    if said.is_empty() {
        "limits learnt from the provider's headers".to_owned()
    } else {
        said.join(", ")
    }
}

fn line(out: &mut String, what: &str, text: &str) {
    let _ = writeln!(out, "{what:<9} {text}");
}
