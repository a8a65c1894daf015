//! The configuration as used: what exists here is valid.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::alerts::AlertSettings;
use super::guard::GuardSettings;
use super::identity::IdentitySettings;
use super::login::TokenRecipe;
use super::media::MediaSettings;
use super::mistakes::Mistake;
use super::pricing::PricingSettings;
use super::registry::Models;
use super::registry_copy::RegistrySettings;
use super::secret::Secret;
use super::store::StoreSettings;
use super::streams::StreamShape;
use crate::domain::{
    ClientName, Dialect, KeyName, Lane, ModelName, PoolName, PromptClass, ProviderName, Quirks,
    Score, ServiceTier, SignerName, Signers, TenantName, Tokens, Unoffered, Unsupported, Weight,
};
use crate::policy::grant::Grant;
use crate::policy::ledger::{AccountName, AccountTerms, Cap, Zone};
use crate::policy::once::Terms;
use crate::policy::residency::{Demand, Handling, Server, Violation};
use crate::pricing::{Price, Volume};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Decided by the content: equal settings have equal versions.
    pub version: u64,
    pub listen: ListenSettings,
    pub admin: AdminSettings,
    /// By name; clients without a tenant of their own belong to [`TenantSettings::DEFAULT`].
    pub tenants: Vec<Arc<TenantSettings>>,
    pub clients: Vec<ClientSettings>,
    pub issued: IssuedKeySettings,
    /// Others who say who calls, by name.
    pub identities: Vec<Arc<IdentitySettings>>,
    pub egress: EgressSettings,
    pub media: MediaSettings,
    pub unsupported: UnsupportedSettings,
    /// Whose signatures need no name.
    pub signers: Arc<Signers>,
    pub providers: Vec<Arc<ProviderSettings>>,
    pub pools: Vec<Arc<PoolSettings>>,
    pub timeouts: TimeoutSettings,
    pub streams: StreamShape,
    pub failover: FailoverSettings,
    /// What is kept for requests with a key of their own.
    pub idempotency: Terms,
    /// `None` where nothing is looked for.
    pub guard: Option<Arc<GuardSettings>>,
    pub journal: JournalSettings,
    pub store: StoreSettings,
    pub logs: LogSettings,
    /// What is known of models.
    pub models: Models,
    /// `None`: nobody is asked for newer facts.
    pub registry: Option<RegistrySettings>,
    pub pricing: PricingSettings,
    pub alerts: Vec<Arc<AlertSettings>>,
    /// What to warn of when a client asks for a model that ends.
    pub notices: HashMap<PoolName, String>,
    /// The file they came from; `None` when there was none.
    pub source: Option<PathBuf>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Mistake>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenSettings {
    pub address: SocketAddr,
    pub max_body_bytes: usize,
    /// Of a form with a file.
    pub max_form_bytes: usize,
    pub body_memory_bytes: usize,
    /// Of the whole process; 0: only what its container allows.
    pub memory_limit_bytes: u64,
    pub max_connections: u32,
    pub max_in_flight: u32,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    pub write_stall: Duration,
    pub drain: Duration,
    pub max_header_bytes: usize,
    pub max_headers: usize,
    pub h2_max_streams: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    pub enabled: bool,
    pub address: SocketAddr,
    /// `None`: whoever reaches the (loopback) address may read; nobody may change anything.
    pub key: Option<Secret>,
    pub allow_fault_injection: bool,
}

/// Keys that are made while the gateway runs, and kept in its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuedKeySettings {
    /// What digests of keys are keyed with; `None`: random bytes in a file beside the store.
    pub pepper: Option<Secret>,
    /// Nobody is let in without a key, also where none was ever made.
    pub required: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    pub name: ClientName,
    pub key: Secret,
    /// Its own; what its team and tenant may use bounds it.
    pub grant: Grant,
    pub lane: Lane,
    pub tenant: TenantName,
    pub team: Option<Arc<str>>,
    /// What its tenant, its team and itself demand of providers; `None`: nothing.
    pub demand: Option<Arc<Demand>>,
}

/// Who pays, and what its accounts may do.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantSettings {
    pub name: TenantName,
    /// The file names it: then what the store says of it does not count.
    pub written: bool,
    /// How many times the share of another it has of what is short.
    pub weight: Weight,
    /// Accounts with a limit or a budget, by name: `acme`, `acme/search`, `acme#app`, `acme+nightly`.
    pub accounts: BTreeMap<AccountName, AccountTerms>,
    /// Where its days and months begin.
    pub zone: Zone,
    pub grant: Grant,
    /// Each team's grant together with the tenant's.
    pub teams: BTreeMap<Arc<str>, Grant>,
    /// What it demands of providers for all of its clients; `None`: nothing.
    pub demand: Option<Arc<Demand>>,
    /// The same for clients of a team, its tenant's demands included.
    pub team_demands: BTreeMap<String, Arc<Demand>>,
}

impl TenantSettings {
    pub const DEFAULT: &str = "default";

    /// What its members may use, or those of one of its teams; `None` when there is no such team.
    pub fn grant_of(&self, team: Option<&str>) -> Option<&Grant> {
        match team {
            None => Some(&self.grant),
            Some(team) => self.teams.get(team),
        }
    }

    /// What is demanded for whoever belongs to it, and to this team of it.
    pub fn demand_of(&self, team: Option<&str>) -> Option<&Arc<Demand>> {
        team.and_then(|team| self.team_demands.get(team))
            .or(self.demand.as_ref())
    }
}

impl ClientSettings {
    pub fn path(&self) -> SmallVec<[AccountName; 4]> {
        account_path(
            self.tenant.as_str(),
            self.team.as_deref(),
            self.name.as_str(),
        )
    }
}

/// The accounts that pay for a client's requests, the widest first.
pub fn account_path(tenant: &str, team: Option<&str>, client: &str) -> SmallVec<[AccountName; 4]> {
    let team = team.map(|team| format!("{tenant}/{team}"));
    std::iter::once(tenant.to_owned())
        .chain(team)
        .chain(std::iter::once(format!("{tenant}#{client}")))
        .map(AccountName::from)
        .collect()
}

pub(super) fn allows(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        })
}

/// How providers are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressSettings {
    pub proxy: Option<Arc<ProxySettings>>,
    /// Hosts, and with a dot in front ends of hosts, that are reached without it.
    pub no_proxy: Vec<String>,
    /// Name servers, in the order they are asked; the operating system's own way without one.
    pub resolvers: Arc<[SocketAddr]>,
}

impl EgressSettings {
    /// The proxy on the way to this address; `None` where there is none.
    pub fn proxy_to(&self, url: &str) -> Option<&Arc<ProxySettings>> {
        let proxy = self.proxy.as_ref();
        proxy.filter(|_| !super::egress::is_direct(url, &self.no_proxy))
    }
}

/// An HTTP proxy of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// The value of `proxy-authorization`.
    pub authorization: Option<Secret>,
}

impl ProxySettings {
    /// As a URL has it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProviderSettings {
    pub name: ProviderName,
    pub dialect: Dialect,
    pub base_url: String,
    pub keys: Vec<KeySettings>,
    pub models: Vec<ModelName>,
    /// Patterns of models that think silently for minutes.
    pub reasoning_models: Vec<String>,
    /// It speaks OpenAI's responses beside its own dialect: clients who do are passed on as they are.
    pub responses: bool,
    pub allow_private_address: bool,
    pub ca_pem: Option<Arc<[u8]>>,
    pub h2: bool,
    /// `None`: reached straight.
    pub egress: Option<Arc<ProxySettings>>,
    /// As [`EgressSettings::resolvers`].
    pub resolvers: Arc<[SocketAddr]>,
    pub max_in_flight: u32,
    /// What a dialect that must be told a limit is told when the client named none.
    pub default_max_output: Tokens,
    pub auth: AuthSettings,
    /// Costs nothing by the token: a server of one's own.
    pub free: bool,
    /// What it does otherwise than its dialect.
    pub quirks: Quirks,
    /// What may be spent there; a credit is one that no period renews.
    pub caps: Vec<Cap>,
    /// Who signs its thoughts, where that was written down.
    pub signs_as: Option<SignerName>,
    /// The tier of requests that name none, where its account has another than the ordinary one.
    pub service_tier: Option<ServiceTier>,
    /// What it takes off its prices for who buys much in a month.
    pub volume: Option<Arc<Volume>>,
}

/// What happens to what a provider cannot be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsupportedSettings {
    pub usual: Unsupported,
    /// What a client may ask for in its place.
    pub clients_may: Vec<Unsupported>,
}

/// How a provider is told who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthSettings {
    /// As its dialect says: a bearer token, or a header of its own.
    Dialect,
    /// By a signature for this region.
    Aws { region: String },
    /// As Azure wants it, which has addresses of its own as well; `None` where an address is for all versions.
    Azure { api_version: Option<String> },
    /// As Google's Vertex AI wants it, which has addresses of its own as well; the region may be `global`.
    Vertex { project: String, region: String },
}

/// Where what is sent for a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// It is the secret, or made of it.
    Written,
    /// It is a token that the key is traded for.
    Traded(Arc<TokenRecipe>),
}

impl Settings {
    /// Whether a provider tells thoughts in the field that only few who copy OpenAI's form have.
    pub fn tells_details(&self) -> bool {
        let mut providers = self.providers.iter();
        providers.any(|provider| provider.quirks.reasoning_details)
    }

    /// The shares of budgets, in percent, that receivers of alerts want to be told of in any case.
    pub fn alert_shares(&self) -> Vec<u8> {
        super::alerts::shares(&self.alerts)
    }

    /// What a provider's model costs, as far as anyone wrote it down.
    pub fn price(&self, provider: &ProviderSettings, model: &str) -> Price {
        self.models.price(provider, model)
    }
}

impl ProviderSettings {
    /// Whether one of its keys for this model promises what is demanded; the model of a target that serves any is
    /// the one that was asked for.
    pub fn meets(
        &self,
        demand: &Demand,
        (model, asked): (Option<&ModelName>, &str),
    ) -> Result<(), Violation> {
        let mut told = Err(Violation::Provider);
        for key in self.keys.iter().filter(|key| key.serves(model)) {
            told = demand.allows(Server {
                provider: self.name.as_str(),
                handling: &key.handling,
                model: model.map_or(asked, ModelName::as_str),
            });
            if told.is_ok() {
                break;
            }
        }
        told
    }

    /// Who knows the signatures of this model's answers again: all keys of a provider are of one account, and
    /// Anthropic's models sign alike on every platform.
    pub fn signer(&self, model: &str) -> SignerName {
        let anthropics = match self.dialect {
            Dialect::Anthropic => {
                let vertex = matches!(self.auth, AuthSettings::Vertex { .. });
                vertex || self.base_url.starts_with("https://api.anthropic.com")
            }
            Dialect::Bedrock => model.contains("anthropic."),
            Dialect::Openai
            | Dialect::Responses
            | Dialect::Gemini
            | Dialect::Ollama
            | Dialect::Cohere => false,
        };
        match &self.signs_as {
            Some(written) => written.clone(),
            None if anthropics => SignerName::ANTHROPIC.into(),
            None => (&self.name).into(),
        }
    }

    pub fn reasons(&self, model: &str) -> bool {
        allows(&self.reasoning_models, model)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct KeySettings {
    pub name: KeyName,
    pub secret: Secret,
    pub source: KeySource,
    pub fingerprint: [u8; 8],
    pub limits: KeyLimits,
    /// `None`: all models of the provider.
    pub models: Option<Vec<String>>,
    /// What becomes of what is sent with it.
    pub handling: Arc<Handling>,
}

impl KeySettings {
    /// Whether this key may be used for the model; a wildcard target (`None`) takes any key without a list.
    pub fn serves(&self, model: Option<&ModelName>) -> bool {
        match (&self.models, model) {
            (None, _) => true,
            (Some(list), Some(model)) => allows(list, model.as_str()),
            (Some(_), None) => false,
        }
    }
}

/// Per minute; `None` is no limit of our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub input_tokens_per_minute: Option<u64>,
    pub output_tokens_per_minute: Option<u64>,
    pub concurrency: Option<u32>,
}

/// Why a pool exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOrigin {
    /// The operator wrote it.
    Explicit,
    /// A provider's model under its own name.
    Implicit,
    /// `provider/*`: any other model of the provider.
    Wildcard,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    pub name: PoolName,
    pub origin: PoolOrigin,
    pub targets: Vec<TargetSettings>,
    pub fallback: Vec<PoolName>,
    pub queue_length: usize,
    pub max_wait: Duration,
    pub race: RaceMode,
    pub hedge: HedgeSettings,
    /// `None`: as everywhere.
    pub unsupported: Option<Unsupported>,
    pub unoffered_tools: Unoffered,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TargetSettings {
    pub provider: ProviderName,
    /// `None`: whatever model the client asked for.
    pub model: Option<ModelName>,
    pub weight: f32,
    pub context_window: Option<Tokens>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaceMode {
    Never,
    /// Two legs from the start when the request's header says so.
    Marked,
    Always,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HedgeSettings {
    pub enabled: bool,
    pub budget_share: Score,
    pub largest_prompt: PromptClass,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeoutSettings {
    /// One deadline over all attempts.
    pub request: Duration,
    pub connect: Duration,
    pub tls: Duration,
    pub dns: Duration,
    /// Most a provider may go without taking a byte of a request.
    pub write_idle: Duration,
    pub first_content: Duration,
    pub first_content_floor: Duration,
    /// As `first_content`, for answers that come in one piece.
    pub whole_answer: Duration,
    pub gap: Duration,
    pub gap_floor: Duration,
    pub gap_reasoning: Duration,
    pub hold_head: Duration,
    pub keep_alive: Duration,
    /// As `request`, for questions how long a prompt is: an estimate is there at once.
    pub count_tokens: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FailoverSettings {
    pub max_attempts: u32,
    pub max_depth: usize,
    pub retry_share: f32,
    pub retry_reserve_per_s: u32,
    pub key_probe_every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalMode {
    /// Written before the send: survives a killed process.
    Fast,
    /// Synced before the send: survives a lost machine.
    Durable,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalOnFailure {
    Refuse,
    BestEffort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    pub path: PathBuf,
    pub mode: JournalMode,
    pub on_failure: JournalOnFailure,
    pub segment_bytes: u64,
    pub shed_after: Duration,
    /// Older segments are removed; `None`: none is.
    pub keep_age: Option<Duration>,
    /// When there is more, the oldest segments are removed; `None`: none is.
    pub keep_bytes: Option<u64>,
    pub prompt_hash: bool,
    /// End users told apart.
    pub max_users: usize,
    /// Clients whose prompts and answers are kept, sealed.
    pub text_of: Vec<String>,
    /// What the data keys of kept texts are wrapped with.
    pub text_key: Option<Secret>,
    /// What they were wrapped with before.
    pub text_key_before: Option<Secret>,
    /// Of each text so much is kept.
    pub text_bytes: usize,
}

impl JournalSettings {
    /// A bare name is one of the file's clients, `tenant#name` a client of that tenant wherever it was made: a tenant
    /// that calls its key like another's client is not kept for it (attack A04).
    pub fn keeps_text_of(&self, tenant: &str, (name, in_file): (&str, Option<&str>)) -> bool {
        let meant = |pattern: &String| match pattern.split_once('#') {
            _ if pattern == "*" => true,
            Some((of, client)) => of == tenant && allows(&[client.to_owned()], name),
            None => in_file.is_some_and(|name| allows(std::slice::from_ref(pattern), name)),
        };
        self.text_key.is_some() && self.text_of.iter().any(meant)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    pub level: String,
}
