//! Who answers: providers, their keys, limits and peculiarities.

use std::sync::Arc;

use super::address::is_inside;
use super::auth;
use super::egress;
use super::judge::{Judge, Slash, base_url_mistakes};
use super::login::{self, TokenRecipe};
use super::raw::{RawAuth, RawKey, RawKeyForm, RawProvider};
use super::residency;
use super::settings::{EgressSettings, KeyLimits, KeySettings, KeySource, ProviderSettings};
use super::tenants;
use crate::domain::money::AmountError;
use crate::domain::{KeyName, ModelName, Quirks, ServiceTier, SignerName, Signers, Tokens};
use crate::policy::ledger::{Cap, Period, Zone};

pub(super) fn provider(
    judge: &mut Judge<'_>,
    name: &str,
    raw: &RawProvider,
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
        caps: caps(judge, &path, raw),
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
        allow_private_address: raw
            .allow_private_address
            .unwrap_or_else(|| is_inside(&base_url)),
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
        service_tier: service_tier(judge, &path, raw),
        volume: super::volume::settings(judge, &path, raw),
    })
}

/// The tier that an account gives to requests which name none.
pub(super) fn service_tier(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawProvider,
) -> Option<ServiceTier> {
    let word = raw.service_tier.as_deref()?;
    let tier = ServiceTier::of(word);
    if !matches!(
        tier,
        Some(ServiceTier::Default | ServiceTier::Priority | ServiceTier::Flex | ServiceTier::Scale)
    ) {
        judge.wrong(
            format!("{path}.service_tier"),
            format!("{word:?} is no tier that an account may have as its own"),
            "write \"default\", \"priority\", \"flex\" or \"scale\", as its project's settings say",
        );
    }
    tier
}

pub(super) fn quirks(judge: &mut Judge<'_>, path: &str, raw: &RawProvider) -> Quirks {
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
pub(super) fn caps(judge: &mut Judge<'_>, path: &str, raw: &RawProvider) -> Vec<Cap> {
    let zone = Zone::default();
    let mut caps = tenants::caps(judge, path, &zone, &raw.budgets);
    if let Some(credit) = &raw.credit {
        match credit.parse() {
            Ok(limit) => caps.push(Cap {
                limit,
                period: Period::Total,
                zone,
                hard: true,
                tell_at: tenants::TELL_AT.to_vec(),
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
pub(super) fn signers(providers: &[Arc<ProviderSettings>]) -> Signers {
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

/// The provider, with the way it is reached.
pub(super) fn behind(egress: &EgressSettings, provider: ProviderSettings) -> ProviderSettings {
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
pub(super) fn home(dialect: crate::domain::Dialect, raw: &RawProvider) -> Option<String> {
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

/// The keys, and the project that one of them belongs to.
#[expect(
    clippy::too_many_lines,
    reason = "each field of a key is read here, once"
)]
pub(super) fn keys(
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
