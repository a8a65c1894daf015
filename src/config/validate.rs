//! From what was written to what is used; every mistake is found before any is reported.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::alerts;
use super::auth;
use super::egress;
use super::guard;
use super::idempotency;
use super::login::{self, TokenRecipe};
use super::media::{self, MediaSettings};
use super::mistakes::{ConfigError, Mistake};
use super::pricing;
use super::raw::{
    RawAuth, RawClient, RawConfig, RawJournal, RawJournalMode, RawKey, RawKeyForm, RawLogFormat,
    RawOnFailure, RawPool, RawPromptClass, RawProvider, RawRace, RawTarget, RawTargetForm,
};
use super::registry;
use super::residency;
use super::secret::{Environment, Secret, resolve, resolve_text};
use super::settings::{
    AdminSettings, ClientSettings, EgressSettings, FailoverSettings, HedgeSettings,
    IssuedKeySettings, JournalMode, JournalOnFailure, JournalSettings, KeyLimits, KeySettings,
    KeySource, ListenSettings, LogFormat, LogSettings, PoolOrigin, PoolSettings, ProviderSettings,
    RaceMode, Settings, TargetSettings, TenantSettings, TimeoutSettings, UnsupportedSettings,
};
use super::store;
use super::tenants;
use crate::domain::money::AmountError;
use crate::domain::{
    KeyName, ModelName, PoolName, PromptClass, ProviderName, Quirks, Score, SignerName, Signers,
    Tokens,
};
use crate::policy::chain::cycle;
use crate::policy::ledger::{Cap, Period, Zone};

/// Collects mistakes while building; what could not be built is left out.
pub(super) struct Judge<'a> {
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
    env: &'a dyn Environment,
}

impl Judge<'static> {
    /// The defaults need no environment and hold no mistakes.
    pub(super) fn of_defaults() -> Self {
        Self {
            mistakes: Vec::new(),
            warnings: Vec::new(),
            env: &NoEnvironment,
        }
    }
}

impl Judge<'_> {
    /// The settings, if there were no mistakes.
    fn done(self, raw: &RawConfig, mut settings: Settings) -> Result<Settings, ConfigError> {
        if !self.mistakes.is_empty() {
            return Err(ConfigError {
                mistakes: self.mistakes,
            });
        }
        settings.warnings = self.warnings;
        settings.version = version_of(raw, &settings);
        Ok(settings)
    }

    pub(super) fn wrong(
        &mut self,
        path: impl Into<String>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.mistakes.push(Mistake::new(path, what, cure));
    }

    pub(super) fn secret(&mut self, path: &str, reference: &str) -> Option<Secret> {
        let resolved = resolve(reference, self.env);
        resolved
            .map_err(|(what, cure)| self.wrong(path, what, cure))
            .ok()
    }

    /// A secret that is a document.
    pub(super) fn text(&mut self, path: &str, reference: &str) -> Option<Secret> {
        let resolved = resolve_text(reference, self.env);
        resolved
            .map_err(|(what, cure)| self.wrong(path, what, cure))
            .ok()
    }

    pub(super) fn file(&mut self, path: &str, file: &str) -> Option<Arc<[u8]>> {
        let read = std::fs::read(file);
        let told = |error: std::io::Error| {
            let what = format!("{file} cannot be read ({})", error.kind());
            self.wrong(path, what, "name an existing file");
        };
        read.map_err(told).ok().map(Arc::from)
    }

    /// A variable that says something.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = self.env.get(name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    fn address(&mut self, path: &str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.wrong(
                path,
                format!("{text:?} is no address"),
                "write it as \"127.0.0.1:8080\"",
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    pub(super) fn positive(&mut self, path: &str, value: u64) -> u64 {
        if value == 0 {
            self.wrong(path, "must not be 0", "leave it out for the default");
        }
        value.max(1)
    }

    pub(super) fn millis(&mut self, path: &str, value: u64) -> Duration {
        // A day is more than any timer here means.
        if value > 86_400_000 {
            self.wrong(path, "is longer than a day", "the unit is milliseconds");
        }
        Duration::from_millis(self.positive(path, value).min(86_400_000))
    }

    /// Names become parts of paths, labels and `provider/model`.
    pub(super) fn name(&mut self, path: &str, name: &str, slash: Slash) {
        let fits = |c: char| {
            c.is_ascii_alphanumeric()
                || "-_.:@".contains(c)
                || (slash == Slash::Allowed && c == '/')
        };
        if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
            self.wrong(
                path,
                format!("{name:?} is no name"),
                "use up to 128 letters, digits and - _ . : @",
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slash {
    Allowed,
    Refused,
}

pub(super) fn settings(
    raw: &RawConfig,
    source: Option<PathBuf>,
    env: &dyn Environment,
) -> Result<Settings, ConfigError> {
    let mut judge = Judge {
        mistakes: Vec::new(),
        warnings: Vec::new(),
        env,
    };
    let mut clients = clients(&mut judge, &raw.clients);
    let mut tenants = tenants::settings(&mut judge, raw);
    residency::demands(&mut judge, raw, (&mut tenants, &mut clients));
    let listen = listen(&mut judge, raw);
    let admin = admin(&mut judge, raw);
    let egress = way_out(&mut judge, raw);
    let shares = alerts::shares(raw);
    let providers: Vec<_> = raw
        .providers
        .iter()
        .filter_map(|(name, provider)| self::provider(&mut judge, name, provider, &shares))
        .map(|provider| Arc::new(behind(&egress, provider)))
        .collect();
    let facts = registry::source(&mut judge, raw, &egress);
    let models = registry::models(&mut judge, Some(&raw.registry.file), facts.as_ref());
    let mut pools = pools(&mut judge, &raw.pools, &providers);
    registry::fill_in(&mut pools, &models);
    let settings = Settings {
        version: 0,
        timeouts: timeouts(&mut judge, raw),
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
        egress,
        signers: Arc::new(signers(&providers)),
        providers,
        pools,
        source,
        warnings: Vec::new(),
    };
    twin_secrets(&mut judge, &settings);
    judge_nowhere(&mut judge, &settings);
    judge.done(raw, settings)
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

fn clients(judge: &mut Judge<'_>, raw: &[RawClient]) -> Vec<ClientSettings> {
    let mut clients: Vec<ClientSettings> = Vec::new();
    // There may be tens of thousands: each is held against those alone that might be the same.
    let mut names: HashSet<&str> = HashSet::new();
    let mut alike: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, client) in raw.iter().enumerate() {
        let path = format!("clients[{index}]");
        judge.name(&format!("{path}.name"), &client.name, Slash::Refused);
        if !names.insert(client.name.as_str()) {
            judge.wrong(
                format!("{path}.name"),
                format!("{:?} is there twice", client.name),
                "name each client once",
            );
        }
        let Some(key) = judge.secret(&format!("{path}.key"), &client.key) else {
            continue;
        };
        if key.expose().len() < 8 {
            judge.wrong(
                format!("{path}.key"),
                "the key is shorter than 8 characters",
                "use a long random one",
            );
        }
        let alike = alike.entry(key.fingerprint()).or_default();
        let mut others = alike.iter().filter_map(|place| clients.get(*place));
        if others.any(|other| other.key == key) {
            judge.wrong(
                format!("{path}.key"),
                "another client has the same key",
                "give each its own",
            );
        }
        alike.push(clients.len());
        clients.push(ClientSettings {
            name: client.name.as_str().into(),
            key,
            grant: tenants::grant(judge, &path, &client.rights()),
            lane: client.lane,
            tenant: client
                .tenant
                .as_deref()
                .unwrap_or(TenantSettings::DEFAULT)
                .into(),
            team: client.team.as_deref().map(Arc::from),
            // Decided by `residency`.
            demand: None,
        });
    }
    clients
}

/// A shorter pepper can be guessed.
const SHORTEST_PEPPER: usize = 32;

fn issued(judge: &mut Judge<'_>, raw: &RawConfig) -> IssuedKeySettings {
    let pepper = raw.keys.pepper.as_ref();
    let pepper = pepper.and_then(|reference| judge.secret("keys.pepper", reference));
    let short = |pepper: &Secret| pepper.expose().len() < SHORTEST_PEPPER;
    if pepper.as_ref().is_some_and(short) {
        judge.wrong(
            "keys.pepper",
            "is shorter than 32 characters",
            "make one with: openssl rand -hex 32",
        );
    }
    IssuedKeySettings {
        pepper,
        required: raw.keys.required,
    }
}

fn listen(judge: &mut Judge<'_>, raw: &RawConfig) -> ListenSettings {
    let listen = &raw.listen;
    let address = judge.address("listen.address", &listen.address);
    if raw.clients.is_empty() && !raw.keys.required && !address.ip().is_loopback() {
        judge.wrong(
            "listen.address",
            format!("{address} is open to others, but there are no client keys"),
            "add a [[clients]] entry, set keys.required = true, or listen on 127.0.0.1",
        );
    }
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let memory = judge
        .positive("listen.body_memory_bytes", listen.body_memory_bytes)
        .max(listen.max_body_bytes);
    ListenSettings {
        address,
        max_body_bytes: size(judge.positive("listen.max_body_bytes", listen.max_body_bytes)),
        // One that is larger than all of them together could never be held.
        max_form_bytes: size(
            judge
                .positive("listen.max_form_bytes", listen.max_form_bytes)
                .min(memory),
        ),
        body_memory_bytes: size(memory),
        memory_limit_bytes: listen.memory_limit_bytes,
        max_connections: listen.max_connections.max(1),
        max_in_flight: listen.max_in_flight.max(1),
        head_timeout: judge.millis("listen.head_timeout_ms", listen.head_timeout_ms),
        idle_timeout: judge.millis("listen.idle_timeout_ms", listen.idle_timeout_ms),
        write_stall: judge.millis("listen.write_stall_ms", listen.write_stall_ms),
        drain: judge.millis("listen.drain_ms", listen.drain_ms),
        // hyper refuses to work with less than 8 KiB.
        max_header_bytes: size(u64::from(listen.max_header_bytes.max(8_192))),
        max_headers: size(u64::from(listen.max_headers.max(16))),
        h2_max_streams: listen.h2_max_streams.max(1),
    }
}

fn admin(judge: &mut Judge<'_>, raw: &RawConfig) -> AdminSettings {
    let address = judge.address("admin.address", &raw.admin.address);
    let key = raw
        .admin
        .key
        .as_ref()
        .and_then(|reference| judge.secret("admin.key", reference));
    if raw.admin.enabled && raw.admin.key.is_none() && !address.ip().is_loopback() {
        judge.wrong(
            "admin.address",
            format!("{address} is open to others, but there is no admin key"),
            "set admin.key = \"env:SWITCHYARD_ADMIN_KEY\", or listen on 127.0.0.1",
        );
    }
    if raw.admin.allow_fault_injection && raw.admin.key.is_none() {
        judge.wrong(
            "admin.allow_fault_injection",
            "faults can be injected by anyone",
            "set admin.key",
        );
    }
    AdminSettings {
        enabled: raw.admin.enabled,
        address,
        key,
        allow_fault_injection: raw.admin.allow_fault_injection,
    }
}

fn provider(
    judge: &mut Judge<'_>,
    name: &str,
    raw: &RawProvider,
    shares: &[u8],
) -> Option<ProviderSettings> {
    let path = format!("providers.{name}");
    judge.name(&path, name, Slash::Refused);
    let dialect = raw.dialect.unwrap_or(crate::domain::Dialect::Openai);
    let Some(base_url) = raw.base_url.clone().or_else(|| home(dialect, raw)) else {
        judge.wrong(
            format!("{path}.base_url"),
            format!("{name:?} is no provider this gateway knows by name"),
            "add base_url = \"https://…/v1\"",
        );
        return None;
    };
    base_url_mistakes(judge, &format!("{path}.base_url"), &base_url);
    let ca_pem = raw
        .ca_file
        .as_ref()
        .and_then(|file| judge.file(&format!("{path}.ca_file"), file));
    let (mut keys, project) = keys(judge, &path, raw);
    residency::handling(judge, &path, raw, &mut keys);
    if raw.keys.is_empty() {
        judge.wrong(
            format!("{path}.keys"),
            "there is no key",
            "add keys = [\"env:NAME_OF_VARIABLE\"]",
        );
    }
    Some(ProviderSettings {
        name: name.into(),
        dialect,
        free: raw.free.unwrap_or(false),
        auth: auth::settings(judge, &path, raw, (&keys, project)),
        caps: caps(judge, &path, raw, shares),
        base_url: base_url.trim_end_matches('/').to_owned(),
        keys,
        models: raw
            .models
            .iter()
            .flatten()
            .map(|model| ModelName::from(model.as_str()))
            .collect(),
        reasoning_models: raw.reasoning_models.clone().unwrap_or_default(),
        responses: raw.responses.unwrap_or(false),
        allow_private_address: raw.allow_private_address.unwrap_or(false),
        ca_pem,
        // Decided by `behind`.
        egress: None,
        resolvers: Arc::default(),
        h2: raw.h2.unwrap_or(true),
        max_in_flight: raw.max_in_flight.unwrap_or(1_000).max(1),
        default_max_output: Tokens(raw.default_max_output.unwrap_or(4_096).max(1)),
        quirks: quirks(judge, &path, raw),
        signs_as: raw.signs_as.as_ref().map(|signer| {
            judge.name(&format!("{path}.signs_as"), signer, Slash::Refused);
            signer.as_str().into()
        }),
    })
}

fn quirks(judge: &mut Judge<'_>, path: &str, raw: &RawProvider) -> Quirks {
    let Some(quirks) = &raw.quirks else {
        return Quirks::default();
    };
    let fields = quirks.rename.iter().flat_map(|(from, to)| [from, to]);
    let odd = |name: &&String| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        name.is_empty()
            || !name.bytes().all(fits)
            || ["model", "messages", "stream"].contains(&name.as_str())
    };
    if let Some(name) = fields.chain(&quirks.leave_out).find(odd) {
        judge.wrong(
            format!("{path}.quirks"),
            format!("{name:?} is no field that may be renamed or left out"),
            "name a field of the request other than model, messages and stream",
        );
    }
    Quirks {
        rename: quirks.rename.clone().into_iter().collect(),
        leave_out: quirks.leave_out.clone(),
        tells_usage_unasked: quirks.tells_usage_unasked,
        no_developer: quirks.no_developer,
        reasoning_details: quirks.reasoning_details,
        thinking: quirks.thinking,
        thoughts_again: quirks.thoughts_again,
    }
}

/// What may be spent at a provider. Days and months begin in UTC.
fn caps(judge: &mut Judge<'_>, path: &str, raw: &RawProvider, shares: &[u8]) -> Vec<Cap> {
    let zone = Zone::default();
    let mut caps = tenants::caps(judge, path, (&zone, shares), &raw.budgets);
    if let Some(credit) = &raw.credit {
        match credit.parse() {
            Ok(limit) => caps.push(Cap {
                limit,
                period: Period::Total,
                zone,
                hard: true,
                tell_at: tenants::told_at(&tenants::TELL_AT, shares),
            }),
            Err(error) => {
                let error: AmountError = error;
                judge.wrong(
                    format!("{path}.credit"),
                    format!("{credit:?} is no amount: {error}"),
                    "write all that was ever paid in, in dollars as a text, such as \"100\"",
                );
            }
        }
    }
    if !caps.is_empty() && raw.free == Some(true) {
        judge.wrong(
            format!("{path}.free"),
            "is true, so its budgets would never be spent",
            "leave out one of them",
        );
    }
    caps
}

/// Who is at home in each dialect: whose it is, else the first that speaks it.
fn signers(providers: &[Arc<ProviderSettings>]) -> Signers {
    use crate::domain::Dialect as D;
    let speaks = |provider: &ProviderSettings, form: D| {
        provider.dialect == form || form == D::Responses && provider.responses
    };
    let home = |(form, host, model): (D, &str, &str)| {
        let all = || providers.iter().filter(|one| speaks(one, form));
        let own = all().find(|one| one.base_url.starts_with(host));
        let found = own.or_else(|| all().next())?;
        Some((form, found.signer(model)))
    };
    let known = [
        (D::Anthropic, "https://api.anthropic.com", ""),
        (D::Responses, "https://api.openai.com", ""),
        (D::Gemini, "https://generativelanguage.googleapis.com", ""),
        (D::Bedrock, "https://", "anthropic."),
    ];
    // Claude may be known from Bedrock alone.
    let usual = (D::Anthropic, SignerName::ANTHROPIC.into());
    let found = known.into_iter().filter_map(home);
    Signers::new(std::iter::once(usual).chain(found))
}

fn way_out(judge: &mut Judge<'_>, raw: &RawConfig) -> EgressSettings {
    const PATH: &str = "egress.proxy";
    let proxy = raw.egress.proxy.as_deref().and_then(|written| {
        let is_reference = written.starts_with("env:") || written.starts_with("file:");
        let read = if is_reference {
            egress::proxy(judge.secret(PATH, written)?.expose())
        } else if written.contains('@') {
            Err((
                "holds a user name or password, and secrets are not written into the configuration",
                "put the whole address where a reference finds it: \"env:EGRESS_PROXY\"",
            ))
        } else {
            egress::proxy(written)
        };
        read.map_err(|(what, cure)| judge.wrong(PATH, what, cure))
            .ok()
    });
    for (index, entry) in raw.egress.no_proxy.iter().enumerate() {
        if !egress::is_exception(entry) {
            judge.wrong(
                format!("egress.no_proxy[{index}]"),
                format!("{entry:?} is no host"),
                "write a host without port, or \".suffix\" for all hosts that end so",
            );
        }
    }
    EgressSettings {
        proxy: proxy.map(Arc::new),
        no_proxy: raw.egress.no_proxy.clone(),
        resolvers: resolvers(judge, &raw.egress.resolvers),
    }
}

fn resolvers(judge: &mut Judge<'_>, written: &[String]) -> Arc<[SocketAddr]> {
    let mut servers = Vec::new();
    for (index, entry) in written.iter().enumerate() {
        match egress::name_server(entry) {
            Some(server) => servers.push(server),
            None => judge.wrong(
                format!("egress.resolvers[{index}]"),
                format!("{entry:?} is no address of a name server"),
                "write an IP address, with a port if it is not 53: \"10.0.0.2\", \"127.0.0.1:5353\", \"[fd00::2]:53\"",
            ),
        }
    }
    servers.into()
}

/// The provider, with the way it is reached.
fn behind(egress: &EgressSettings, provider: ProviderSettings) -> ProviderSettings {
    let through = |url: &str| {
        let proxy = egress.proxy.clone();
        proxy.filter(|_| !egress::is_direct(url, &egress.no_proxy))
    };
    let mut keys = provider.keys;
    for key in &mut keys {
        if let KeySource::Traded(recipe) = &key.source
            && !login::is_beside(&recipe.url)
        {
            let recipe = TokenRecipe {
                proxy: through(&recipe.url),
                ..TokenRecipe::clone(recipe)
            };
            key.source = KeySource::Traded(Arc::new(recipe));
        }
    }
    ProviderSettings {
        egress: through(&provider.base_url),
        keys,
        resolvers: Arc::clone(&egress.resolvers),
        ..provider
    }
}

/// Where a dialect is spoken that only one company speaks.
fn home(dialect: crate::domain::Dialect, raw: &RawProvider) -> Option<String> {
    use crate::domain::Dialect as D;
    match dialect {
        D::Bedrock => {
            // Without a region this is a mistake, and told as one.
            let region = raw.region.as_deref().unwrap_or("us-east-1");
            Some(format!("https://bedrock-runtime.{region}.amazonaws.com"))
        }
        D::Cohere => Some("https://api.cohere.com".to_owned()),
        D::Gemini if raw.auth == Some(RawAuth::Vertex) => Some(auth::vertex_home(raw)),
        D::Gemini => Some("https://generativelanguage.googleapis.com".to_owned()),
        D::Openai | D::Anthropic if raw.auth == Some(RawAuth::Vertex) => {
            Some(auth::vertex_home(raw))
        }
        D::Openai | D::Anthropic | D::Responses | D::Ollama => None,
    }
}

/// The host a key may be sent to is decided here and nowhere else (attack A09).
pub(super) fn base_url_mistakes(judge: &mut Judge<'_>, path: &str, url: &str) {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        judge.wrong(
            path,
            "is no http(s) address",
            "write it as \"https://api.example.com/v1\"",
        );
        return;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let odd = host.is_empty()
        || host.contains('@')
        || !url.is_ascii()
        || url.contains(['?', '#', ' ', '\\']);
    if odd {
        judge.wrong(
            path,
            "has no plain host and path",
            "leave out user names, queries and fragments",
        );
    }
}

/// The keys, and the project that one of them belongs to.
#[expect(
    clippy::too_many_lines,
    reason = "each field of a key is read here, once"
)]
fn keys(
    judge: &mut Judge<'_>,
    path: &str,
    provider: &RawProvider,
) -> (Vec<KeySettings>, Option<String>) {
    let mut keys: Vec<KeySettings> = Vec::new();
    let mut project = None;
    for (index, form) in provider.keys.iter().enumerate() {
        let path = format!("{path}.keys[{index}]");
        let key = match form {
            RawKeyForm::Table(key) => key.clone(),
            RawKeyForm::Reference(secret) => RawKey {
                name: None,
                secret: secret.clone(),
                requests_per_minute: None,
                tokens_per_minute: None,
                input_tokens_per_minute: None,
                output_tokens_per_minute: None,
                concurrency: None,
                models: None,
                regions: None,
                zero_retention: None,
                trains: None,
            },
        };
        let name = key
            .name
            .clone()
            .unwrap_or_else(|| format!("key{}", index + 1));
        judge.name(&format!("{path}.name"), &name, Slash::Refused);
        if keys.iter().any(|other| other.name.as_str() == name) {
            judge.wrong(
                format!("{path}.name"),
                format!("{name:?} is there twice"),
                "name each key once",
            );
        }
        let mut limit = |field: &str, value: Option<u64>| {
            value.map(|value| judge.positive(&format!("{path}.{field}"), value))
        };
        let limits = KeyLimits {
            requests_per_minute: limit("requests_per_minute", key.requests_per_minute),
            tokens_per_minute: limit("tokens_per_minute", key.tokens_per_minute),
            input_tokens_per_minute: limit("input_tokens_per_minute", key.input_tokens_per_minute),
            output_tokens_per_minute: limit(
                "output_tokens_per_minute",
                key.output_tokens_per_minute,
            ),
            concurrency: key.concurrency.map(|most| most.max(1)),
        };
        let path = format!("{path}.secret");
        let Some(known) = login::key(judge, &path, provider, &key.secret) else {
            continue;
        };
        project = project.or(known.project);
        let fingerprint = known.secret.fingerprint();
        keys.push(KeySettings {
            name: KeyName::from(name),
            secret: known.secret,
            source: known.source,
            fingerprint,
            limits,
            models: key.models,
            // Decided by `residency`.
            handling: Arc::default(),
        });
    }
    (keys, project)
}

fn pools(
    judge: &mut Judge<'_>,
    raw: &BTreeMap<String, RawPool>,
    providers: &[Arc<ProviderSettings>],
) -> Vec<Arc<PoolSettings>> {
    let mut pools = Vec::new();
    for (name, pool) in raw {
        let path = format!("pools.{name}");
        judge.name(&path, name, Slash::Allowed);
        if pool.targets.is_empty() {
            judge.wrong(
                format!("{path}.targets"),
                format!("pool {name:?} has no targets"),
                "add at least one \"provider/model\"",
            );
        }
        let targets = pool
            .targets
            .iter()
            .enumerate()
            .filter_map(|(index, form)| {
                target(judge, &format!("{path}.targets[{index}]"), form, providers)
            })
            .collect();
        pools.push(pool_settings(judge, name, pool, targets));
    }
    implicit_pools(&mut pools, providers);
    chains(judge, raw, &pools);
    pools.into_iter().map(Arc::new).collect()
}

fn pool_settings(
    judge: &mut Judge<'_>,
    name: &str,
    pool: &RawPool,
    targets: Vec<TargetSettings>,
) -> PoolSettings {
    let share = pool.hedge_budget_share;
    if !(0.0..=1.0).contains(&share) {
        judge.wrong(
            format!("pools.{name}.hedge_budget_share"),
            "is not between 0 and 1",
            "0.05 is five percent",
        );
    }
    PoolSettings {
        name: name.into(),
        origin: PoolOrigin::Explicit,
        targets,
        fallback: pool
            .fallback
            .iter()
            .map(|name| PoolName::from(name.as_str()))
            .collect(),
        queue_length: pool.queue_length,
        max_wait: Duration::from_millis(pool.max_wait_ms),
        race: match pool.race {
            RawRace::Never => RaceMode::Never,
            RawRace::Marked => RaceMode::Marked,
            RawRace::Always => RaceMode::Always,
        },
        unsupported: pool.unsupported,
        hedge: HedgeSettings {
            enabled: pool.hedge,
            budget_share: Score::new(share),
            largest_prompt: match pool.hedge_largest_prompt {
                RawPromptClass::Small => PromptClass::Small,
                RawPromptClass::Medium => PromptClass::Medium,
                RawPromptClass::Large => PromptClass::Large,
                RawPromptClass::Huge => PromptClass::Huge,
            },
        },
    }
}

fn target(
    judge: &mut Judge<'_>,
    path: &str,
    form: &RawTargetForm,
    providers: &[Arc<ProviderSettings>],
) -> Option<TargetSettings> {
    let target = match form {
        RawTargetForm::Table(target) => target.clone(),
        RawTargetForm::Name(name) => RawTarget {
            target: name.clone(),
            weight: 1.0,
            context_window: None,
        },
    };
    let Some((provider, model)) = target
        .target
        .split_once('/')
        .filter(|(_, model)| !model.is_empty())
    else {
        judge.wrong(
            path,
            format!("{:?} names no model", target.target),
            "write it as \"provider/model\"",
        );
        return None;
    };
    if !providers
        .iter()
        .any(|known| known.name.as_str() == provider)
    {
        let known: Vec<&str> = providers.iter().map(|known| known.name.as_str()).collect();
        judge.wrong(
            path,
            format!("there is no provider {provider:?}"),
            format!(
                "add [providers.{provider}], or use one of: {}",
                known.join(", ")
            ),
        );
        return None;
    }
    if !target.weight.is_finite() || target.weight <= 0.0 || target.weight > 1e6 {
        judge.wrong(
            format!("{path}.weight"),
            "is not a positive number",
            "1 is the weight of a plain target",
        );
        return None;
    }
    Some(TargetSettings {
        provider: ProviderName::from(provider),
        model: Some(ModelName::from(model)),
        weight: target.weight,
        context_window: target.context_window.map(Tokens),
    })
}

/// Each known model under its own name and as `provider/model`, and `provider/*` for all others.
fn implicit_pools(pools: &mut Vec<PoolSettings>, providers: &[Arc<ProviderSettings>]) {
    for provider in providers {
        for model in &provider.models {
            let target = TargetSettings {
                provider: provider.name.clone(),
                model: Some(model.clone()),
                weight: 1.0,
                context_window: None,
            };
            for name in [model.to_string(), format!("{}/{model}", provider.name)] {
                let name = PoolName::from(name);
                match pools.iter_mut().find(|pool| pool.name == name) {
                    // Two providers of one model share its pool; an operator's own pool is left alone.
                    Some(pool) if pool.origin == PoolOrigin::Implicit => {
                        pool.targets.push(target.clone())
                    }
                    Some(_) => {}
                    None => pools.push(implicit(name, PoolOrigin::Implicit, target.clone())),
                }
            }
        }
        let name = PoolName::from(format!("{}/*", provider.name));
        let any = TargetSettings {
            provider: provider.name.clone(),
            model: None,
            weight: 1.0,
            context_window: None,
        };
        pools.push(implicit(name, PoolOrigin::Wildcard, any));
    }
}

fn implicit(name: PoolName, origin: PoolOrigin, target: TargetSettings) -> PoolSettings {
    let defaults = RawPool::default();
    PoolSettings {
        name,
        origin,
        targets: vec![target],
        fallback: Vec::new(),
        queue_length: defaults.queue_length,
        max_wait: Duration::from_millis(defaults.max_wait_ms),
        race: RaceMode::Marked,
        unsupported: None,
        hedge: HedgeSettings {
            enabled: false,
            budget_share: Score::new(defaults.hedge_budget_share),
            largest_prompt: PromptClass::Medium,
        },
    }
}

fn chains(judge: &mut Judge<'_>, raw: &BTreeMap<String, RawPool>, pools: &[PoolSettings]) {
    let next = |name: &PoolName| {
        pools
            .iter()
            .find(|pool| pool.name == *name)
            .map(|pool| pool.fallback.clone())
            .unwrap_or_default()
    };
    for (name, pool) in raw {
        for (index, fallback) in pool.fallback.iter().enumerate() {
            if !pools.iter().any(|pool| pool.name.as_str() == fallback) {
                judge.wrong(
                    format!("pools.{name}.fallback[{index}]"),
                    format!("there is no pool {fallback:?}"),
                    format!("add [pools.{fallback}], or remove it here"),
                );
            }
        }
        if let Some(way) = cycle(&PoolName::from(name.as_str()), next) {
            let way: Vec<&str> = way.iter().map(PoolName::as_str).collect();
            judge.wrong(
                format!("pools.{name}.fallback"),
                format!("the chain leads back to itself: {}", way.join(" -> ")),
                "remove one of these links",
            );
        }
    }
}

fn timeouts(judge: &mut Judge<'_>, raw: &RawConfig) -> TimeoutSettings {
    let raw = &raw.timeouts;
    let mut millis = |name: &str, value| judge.millis(&format!("timeouts.{name}"), value);
    TimeoutSettings {
        request: millis("request_ms", raw.request_ms),
        connect: millis("connect_ms", raw.connect_ms),
        tls: millis("tls_ms", raw.tls_ms),
        dns: millis("dns_ms", raw.dns_ms),
        write_idle: millis("write_idle_ms", raw.write_idle_ms),
        first_content: millis("first_content_ms", raw.first_content_ms),
        first_content_floor: millis("first_content_floor_ms", raw.first_content_floor_ms),
        whole_answer: millis("whole_answer_ms", raw.whole_answer_ms),
        gap: millis("gap_ms", raw.gap_ms),
        gap_floor: millis("gap_floor_ms", raw.gap_floor_ms),
        gap_reasoning: millis("gap_reasoning_ms", raw.gap_reasoning_ms),
        hold_head: millis("hold_head_ms", raw.hold_head_ms),
        keep_alive: millis("keep_alive_ms", raw.keep_alive_ms),
        count_tokens: millis("count_tokens_ms", raw.count_tokens_ms),
    }
}

fn failover(judge: &mut Judge<'_>, raw: &RawConfig) -> FailoverSettings {
    let raw = &raw.failover;
    if !(1..=10).contains(&raw.max_attempts) {
        judge.wrong(
            "failover.max_attempts",
            "is not between 1 and 10",
            "3 is the default",
        );
    }
    if raw.max_depth > 16 {
        judge.wrong("failover.max_depth", "is more than 16", "4 is the default");
    }
    if !(0.0..=1.0).contains(&raw.retry_share) {
        judge.wrong(
            "failover.retry_share",
            "is not between 0 and 1",
            "0.2 is a fifth of all requests",
        );
    }
    FailoverSettings {
        max_attempts: raw.max_attempts,
        max_depth: raw.max_depth,
        retry_share: raw.retry_share,
        retry_reserve_per_s: raw.retry_reserve_per_s,
        key_probe_every: Duration::from_secs(raw.key_probe_every_s.clamp(1, 86_400)),
    }
}

fn journal(judge: &mut Judge<'_>, raw: &RawConfig) -> JournalSettings {
    let raw = &raw.journal;
    if raw.path.is_empty() {
        judge.wrong(
            "journal.path",
            "is empty",
            "name a folder, or set mode = \"off\"",
        );
    }
    judge_keeping(judge, raw);
    JournalSettings {
        path: PathBuf::from(&raw.path),
        mode: match raw.mode {
            RawJournalMode::Fast => JournalMode::Fast,
            RawJournalMode::Durable => JournalMode::Durable,
            RawJournalMode::Off => JournalMode::Off,
        },
        on_failure: match raw.on_failure {
            RawOnFailure::Refuse => JournalOnFailure::Refuse,
            RawOnFailure::BestEffort => JournalOnFailure::BestEffort,
        },
        segment_bytes: raw.segment_bytes.max(1 << 20),
        shed_after: judge.millis("journal.shed_after_ms", raw.shed_after_ms),
        keep_age: (raw.keep_days > 0)
            .then(|| Duration::from_secs(u64::from(raw.keep_days) * 86_400)),
        keep_bytes: (raw.keep_bytes > 0).then_some(raw.keep_bytes),
        prompt_hash: raw.prompt_hash,
        max_users: raw.max_users as usize,
        text_of: raw.text_of.clone(),
        text_key: text_key(judge, "journal.text_key", &raw.text_key),
        text_key_before: text_key(judge, "journal.text_key_before", &raw.text_key_before),
        text_bytes: raw.text_bytes as usize,
    }
}

/// The largest text a record holds.
const MOST_TEXT_BYTES: u32 = 256 * 1024;

fn judge_keeping(judge: &mut Judge<'_>, raw: &RawJournal) {
    // What is under way may reach back into the segment before.
    if raw.keep_bytes > 0 && raw.keep_bytes < raw.segment_bytes.saturating_mul(4) {
        judge.wrong(
            "journal.keep_bytes",
            format!(
                "{} is less than four segments of {} bytes",
                raw.keep_bytes, raw.segment_bytes
            ),
            "raise it, lower journal.segment_bytes, or write 0 to keep all",
        );
    }
    if !raw.text_of.is_empty() && raw.text_key.is_empty() {
        judge.wrong(
            "journal.text_key",
            "is missing, and texts are only kept sealed",
            "name a secret of at least 32 characters, as \"env:JOURNAL_TEXT_KEY\", or empty journal.text_of",
        );
    }
    if raw.text_bytes == 0 || raw.text_bytes > MOST_TEXT_BYTES {
        judge.wrong(
            "journal.text_bytes",
            format!("{} is not within 1 and {MOST_TEXT_BYTES}", raw.text_bytes),
            "longer texts are cut to this and marked as cut",
        );
    }
}

fn text_key(judge: &mut Judge<'_>, path: &str, reference: &str) -> Option<Secret> {
    if reference.is_empty() {
        return None;
    }
    let key = judge.secret(path, reference)?;
    if key.expose().len() < 32 {
        judge.wrong(
            path,
            "the key is shorter than 32 characters",
            "draw one: openssl rand -hex 32",
        );
    }
    Some(key)
}

fn logs(raw: &RawConfig) -> LogSettings {
    LogSettings {
        format: match raw.logs.format {
            RawLogFormat::Text => LogFormat::Text,
            RawLogFormat::Json => LogFormat::Json,
        },
        level: raw.logs.level.clone(),
    }
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

impl Default for ListenSettings {
    fn default() -> Self {
        listen(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        admin(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        timeouts(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for FailoverSettings {
    fn default() -> Self {
        failover(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for JournalSettings {
    fn default() -> Self {
        journal(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for MediaSettings {
    fn default() -> Self {
        let raw = RawConfig::default();
        media::settings(&mut Judge::of_defaults(), &raw, &EgressSettings::default())
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        logs(&RawConfig::default())
    }
}

struct NoEnvironment;

impl Environment for NoEnvironment {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}
