//! The configuration as written: plain numbers, the unit in each name, nothing unknown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alerts::RawAlert;
use super::guard::{RawGuard, RawGuardRules};
use super::pricing::RawPricing;
use super::streams::RawStreams;
use super::volume::RawVolumeStep;
use crate::domain::{Unoffered, Unsupported};
use crate::policy::residency::Demands;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) listen: RawListen,
    pub(super) admin: RawAdmin,
    pub(super) tenants: BTreeMap<String, RawTenant>,
    pub(super) clients: Vec<RawClient>,
    pub(super) keys: RawKeys,
    pub(super) identities: BTreeMap<String, RawIdentity>,
    pub(super) providers: BTreeMap<String, RawProvider>,
    pub(super) pools: BTreeMap<String, RawPool>,
    pub(super) egress: RawEgress,
    pub(super) media: RawMedia,
    pub(super) timeouts: RawTimeouts,
    pub(super) failover: RawFailover,
    pub(super) idempotency: RawIdempotency,
    pub(super) guard: RawGuard,
    pub(super) journal: RawJournal,
    pub(super) store: RawStore,
    pub(super) logs: RawLogs,
    pub(super) registry: RawRegistry,
    pub(super) pricing: RawPricing,
    pub(super) alerts: Vec<RawAlert>,
    pub(super) dialects: RawDialects,
    pub(super) streams: RawStreams,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawListen {
    pub(super) address: String,
    pub(super) max_body_bytes: u64,
    pub(super) max_form_bytes: u64,
    pub(super) body_memory_bytes: u64,
    pub(super) memory_limit_bytes: u64,
    pub(super) max_connections: u32,
    pub(super) max_in_flight: u32,
    pub(super) head_timeout_ms: u64,
    pub(super) idle_timeout_ms: u64,
    pub(super) write_stall_ms: u64,
    pub(super) drain_ms: u64,
    pub(super) max_header_bytes: u32,
    pub(super) max_headers: u32,
    pub(super) h2_max_streams: u32,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            max_body_bytes: 16 << 20,
            max_form_bytes: 26 << 20,
            body_memory_bytes: 256 << 20,
            memory_limit_bytes: 0,
            max_connections: 16_384,
            max_in_flight: 20_000,
            head_timeout_ms: 10_000,
            idle_timeout_ms: 75_000,
            write_stall_ms: 30_000,
            drain_ms: 30_000,
            max_header_bytes: 65_536,
            max_headers: 100,
            h2_max_streams: 256,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    pub(super) enabled: bool,
    pub(super) address: String,
    pub(super) key: Option<String>,
    pub(super) allow_fault_injection: bool,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self {
            enabled: true,
            address: "127.0.0.1:8081".to_owned(),
            key: None,
            allow_fault_injection: false,
        }
    }
}

/// Keys that are made while the gateway runs.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawKeys {
    pub(super) pepper: Option<String>,
    pub(super) required: bool,
}

/// Adds what any account may be allowed. A flattened struct would do, but lets unknown names pass.
macro_rules! with_terms {
    ($(#[$attr:meta])* struct $name:ident { $($(#[$on:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$attr])*
        pub(super) struct $name {
            $($(#[$on])* pub(super) $field: $type,)*
            #[serde(default)]
            pub(super) requests_per_minute: Option<u64>,
            #[serde(default)]
            pub(super) tokens_per_minute: Option<u64>,
            #[serde(default)]
            pub(super) concurrency: Option<u32>,
            #[serde(default)]
            pub(super) limits: Vec<LimitForm>,
            #[serde(default)]
            pub(super) budgets: Vec<BudgetForm>,
            #[serde(default)]
            pub(super) regions: Option<Vec<String>>,
            #[serde(default)]
            pub(super) zero_retention: bool,
            #[serde(default)]
            pub(super) no_training: bool,
            #[serde(default)]
            pub(super) providers: Option<Vec<String>>,
            #[serde(default)]
            pub(super) not_providers: Vec<String>,
            #[serde(default)]
            pub(super) default_max_output: Option<u64>,
        }

        impl $name {
            pub(super) fn terms(&self) -> RawTermsOf<'_> {
                RawTermsOf {
                    requests_per_minute: self.requests_per_minute,
                    tokens_per_minute: self.tokens_per_minute,
                    concurrency: self.concurrency,
                    limits: &self.limits,
                    budgets: &self.budgets,
                    default_max_output: self.default_max_output,
                }
            }

            pub(super) fn demands(&self) -> Demands<'_> {
                Demands {
                    regions: self.regions.as_deref(),
                    zero_retention: self.zero_retention,
                    no_training: self.no_training,
                    providers: self.providers.as_deref(),
                    not_providers: &self.not_providers,
                }
            }
        }
    };
}

/// What an account is allowed, wherever it was written.
pub(super) struct RawTermsOf<'a> {
    pub(super) requests_per_minute: Option<u64>,
    pub(super) tokens_per_minute: Option<u64>,
    pub(super) concurrency: Option<u32>,
    pub(super) limits: &'a [LimitForm],
    pub(super) budgets: &'a [BudgetForm],
    pub(super) default_max_output: Option<u64>,
}

with_terms! {
    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct RawClient {
        name: String,
        key: String,
        #[serde(default = "everything")]
        pools: Vec<String>,
        #[serde(default)]
        lane: crate::domain::Lane,
        #[serde(default)]
        tenant: Option<String>,
        #[serde(default)]
        team: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guard: Option<RawGuardRules>,
        #[serde(default)]
        operations: Option<Vec<String>>,
    }
}

with_terms! {
    /// Who pays.
    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct RawTenant {
        time_zone: Option<String>,
        weight: Option<u32>,
        pools: Option<Vec<String>>,
        operations: Option<Vec<String>>,
        lane: Option<crate::domain::Lane>,
        teams: BTreeMap<String, RawTeam>,
        tags: BTreeMap<String, RawAccount>,
    }
}

with_terms! {
    /// A part of a tenant whose clients share limits and rights.
    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct RawTeam {
        pools: Option<Vec<String>>,
        operations: Option<Vec<String>>,
        lane: Option<crate::domain::Lane>,
    }
}

with_terms! {
    /// A part of a tenant.
    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct RawAccount {}
}

with_terms! {
    /// Somebody else who says who calls, by tokens.
    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct RawIdentity {
        issuer: String,
        audiences: Vec<String>,
        #[serde(default)]
        jwks: Option<String>,
        #[serde(default = "usual_algorithms")]
        algorithms: Vec<String>,
        #[serde(default)]
        ca_file: Option<String>,
        #[serde(default = "half_a_minute")]
        leeway_s: u64,
        #[serde(default = "ten_minutes")]
        refresh_s: u64,
        #[serde(default = "a_day")]
        keep_s: u64,
        #[serde(default = "longest_token")]
        max_token_bytes: u32,
        #[serde(default = "subject")]
        user_claim: String,
        #[serde(default)]
        tenant: Option<String>,
        #[serde(default)]
        tenant_claim: Option<String>,
        #[serde(default)]
        tenants: BTreeMap<String, String>,
        #[serde(default)]
        team: Option<String>,
        #[serde(default)]
        team_claim: Option<String>,
        #[serde(default)]
        require: BTreeMap<String, serde_json::Value>,
        #[serde(default)]
        pools: Option<Vec<String>>,
        #[serde(default)]
        pools_claim: Option<String>,
        #[serde(default)]
        pools_prefix: String,
        #[serde(default)]
        operations: Option<Vec<String>>,
        #[serde(default)]
        lane: crate::domain::Lane,
    }
}

fn usual_algorithms() -> Vec<String> {
    vec!["RS256".to_owned(), "ES256".to_owned()]
}

fn half_a_minute() -> u64 {
    30
}

fn ten_minutes() -> u64 {
    600
}

fn a_day() -> u64 {
    86_400
}

fn longest_token() -> u32 {
    16_384
}

fn subject() -> String {
    "sub".to_owned()
}

/// Limits of an account for some models.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitForm {
    pub pool: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

/// A budget as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetForm {
    /// Dollars as text: no float ever holds money.
    pub usd: String,
    /// total, day, week, month, year or rolling:24h.
    pub period: String,
    #[serde(default = "yes")]
    pub hard: bool,
    /// Percents at which it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tell_at: Option<Vec<u8>>,
}

fn yes() -> bool {
    true
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProvider {
    pub(super) dialect: Option<crate::domain::Dialect>,
    pub(super) base_url: Option<String>,
    pub(super) keys: Vec<RawKeyForm>,
    pub(super) models: Option<Vec<String>>,
    pub(super) reasoning_models: Option<Vec<String>>,
    pub(super) responses: Option<bool>,
    pub(super) allow_private_address: Option<bool>,
    pub(super) ca_file: Option<String>,
    pub(super) h2: Option<bool>,
    pub(super) max_in_flight: Option<u32>,
    pub(super) default_max_output: Option<u64>,
    pub(super) auth: Option<RawAuth>,
    pub(super) region: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) free: Option<bool>,
    pub(super) project: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) token_url: Option<String>,
    pub(super) quirks: Option<RawQuirks>,
    pub(super) regions: Option<Vec<String>>,
    pub(super) zero_retention: Option<bool>,
    pub(super) trains: Option<bool>,
    pub(super) budgets: Vec<BudgetForm>,
    pub(super) credit: Option<String>,
    pub(super) signs_as: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) volume: Vec<RawVolumeStep>,
}

/// What a provider does otherwise than its dialect.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawQuirks {
    pub(super) rename: BTreeMap<String, String>,
    pub(super) leave_out: Vec<String>,
    pub(super) tells_usage_unasked: bool,
    pub(super) no_developer: bool,
    pub(super) reasoning_details: bool,
    pub(super) thinking: Option<crate::domain::ThinkingField>,
    pub(super) thoughts_again: Option<bool>,
}

/// A way to say who calls that a dialect does not imply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawAuth {
    Azure,
    Entra,
    Vertex,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEgress {
    pub(super) proxy: Option<String>,
    pub(super) no_proxy: Vec<String>,
    pub(super) resolvers: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMedia {
    pub(super) fetch: bool,
    pub(super) hosts: Vec<String>,
    pub(super) timeout_ms: u64,
    pub(super) max_bytes: u64,
    pub(super) allow_private_address: bool,
    pub(super) ca_file: Option<String>,
}

impl Default for RawMedia {
    fn default() -> Self {
        Self {
            fetch: false,
            hosts: Vec::new(),
            timeout_ms: 5_000,
            max_bytes: 10 << 20,
            allow_private_address: false,
            ca_file: None,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDialects {
    pub(super) unsupported: Unsupported,
    pub(super) clients_may_ask: Vec<Unsupported>,
}

impl Default for RawDialects {
    fn default() -> Self {
        Self {
            unsupported: Unsupported::Default,
            clients_may_ask: vec![Unsupported::Default, Unsupported::Strict],
        }
    }
}

/// A key is a reference alone, or a table with limits.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum RawKeyForm {
    Reference(String),
    Table(RawKey),
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    pub(super) name: Option<String>,
    pub(super) secret: String,
    pub(super) requests_per_minute: Option<u64>,
    pub(super) tokens_per_minute: Option<u64>,
    pub(super) input_tokens_per_minute: Option<u64>,
    pub(super) output_tokens_per_minute: Option<u64>,
    pub(super) concurrency: Option<u32>,
    pub(super) models: Option<Vec<String>>,
    pub(super) regions: Option<Vec<String>>,
    pub(super) zero_retention: Option<bool>,
    pub(super) trains: Option<bool>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPool {
    pub(super) targets: Vec<RawTargetForm>,
    pub(super) fallback: Vec<String>,
    pub(super) queue_length: usize,
    pub(super) max_wait_ms: u64,
    pub(super) race: RawRace,
    pub(super) hedge: bool,
    pub(super) hedge_budget_share: f32,
    pub(super) hedge_largest_prompt: RawPromptClass,
    pub(super) unsupported: Option<Unsupported>,
    pub(super) unoffered_tools: Unoffered,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guard: Option<RawGuardRules>,
}

impl Default for RawPool {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            fallback: Vec::new(),
            queue_length: 1_000,
            max_wait_ms: 10_000,
            race: RawRace::Marked,
            hedge: false,
            hedge_budget_share: 0.05,
            hedge_largest_prompt: RawPromptClass::Medium,
            unsupported: None,
            unoffered_tools: Unoffered::Flag,
            guard: None,
        }
    }
}

/// `"provider/model"`, or a table with a weight.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum RawTargetForm {
    Name(String),
    Table(RawTarget),
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    pub(super) target: String,
    #[serde(default = "one")]
    pub(super) weight: f32,
    pub(super) context_window: Option<u64>,
}

fn one() -> f32 {
    1.0
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawRace {
    Never,
    Marked,
    Always,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawPromptClass {
    Small,
    Medium,
    Large,
    Huge,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTimeouts {
    pub(super) request_ms: u64,
    pub(super) connect_ms: u64,
    pub(super) tls_ms: u64,
    pub(super) dns_ms: u64,
    pub(super) write_idle_ms: u64,
    pub(super) first_content_ms: u64,
    pub(super) first_content_floor_ms: u64,
    pub(super) whole_answer_ms: u64,
    pub(super) gap_ms: u64,
    pub(super) gap_floor_ms: u64,
    pub(super) gap_reasoning_ms: u64,
    pub(super) hold_head_ms: u64,
    pub(super) keep_alive_ms: u64,
    pub(super) count_tokens_ms: u64,
}

impl Default for RawTimeouts {
    fn default() -> Self {
        Self {
            request_ms: 600_000,
            connect_ms: 3_000,
            tls_ms: 5_000,
            dns_ms: 2_000,
            write_idle_ms: 30_000,
            first_content_ms: 30_000,
            first_content_floor_ms: 2_000,
            whole_answer_ms: 300_000,
            gap_ms: 60_000,
            gap_floor_ms: 10_000,
            gap_reasoning_ms: 300_000,
            hold_head_ms: 10_000,
            keep_alive_ms: 10_000,
            count_tokens_ms: 2_000,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIdempotency {
    pub(super) keep_ms: u64,
    pub(super) most_bytes: u64,
    pub(super) answer_bytes: u64,
}

impl Default for RawIdempotency {
    fn default() -> Self {
        Self {
            keep_ms: 600_000,
            most_bytes: 64 << 20,
            answer_bytes: 4 << 20,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFailover {
    pub(super) max_attempts: u32,
    pub(super) max_depth: usize,
    pub(super) retry_share: f32,
    pub(super) retry_reserve_per_s: u32,
    pub(super) key_probe_every_s: u64,
}

impl Default for RawFailover {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            max_depth: 4,
            // At a fifth, a pool of which every second attempt fails lies on the edge of two in five lost (fault P34).
            retry_share: 0.25,
            retry_reserve_per_s: 1,
            key_probe_every_s: 600,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawJournal {
    pub(super) path: String,
    pub(super) mode: RawJournalMode,
    pub(super) on_failure: RawOnFailure,
    pub(super) segment_bytes: u64,
    pub(super) shed_after_ms: u64,
    pub(super) keep_days: u32,
    pub(super) keep_bytes: u64,
    pub(super) prompt_hash: bool,
    pub(super) max_users: u32,
    pub(super) text_of: Vec<String>,
    pub(super) text_key: String,
    pub(super) text_key_before: String,
    pub(super) text_bytes: u32,
}

impl Default for RawJournal {
    fn default() -> Self {
        Self {
            path: "journal".to_owned(),
            mode: RawJournalMode::Fast,
            on_failure: RawOnFailure::Refuse,
            segment_bytes: 256 << 20,
            shed_after_ms: 250,
            keep_days: 0,
            keep_bytes: 0,
            prompt_hash: true,
            max_users: 200_000,
            text_of: Vec::new(),
            text_key: String::new(),
            text_key_before: String::new(),
            text_bytes: 65_536,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawJournalMode {
    Fast,
    Durable,
    Off,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawOnFailure {
    Refuse,
    BestEffort,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStore {
    pub(super) path: String,
    pub(super) mode: RawStoreMode,
    pub(super) max_bytes: u64,
    pub(super) retention_days: u64,
    pub(super) responses: RawKeepResponses,
    pub(super) key: Option<String>,
    pub(super) patience_ms: u64,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            path: "switchyard.db".to_owned(),
            mode: RawStoreMode::Fast,
            max_bytes: 4 << 30,
            retention_days: 30,
            responses: RawKeepResponses::Usual,
            key: None,
            patience_ms: 5_000,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawStoreMode {
    Fast,
    Durable,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawKeepResponses {
    Usual,
    Asked,
    Never,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLogs {
    pub(super) format: RawLogFormat,
    pub(super) level: String,
}

impl Default for RawLogs {
    fn default() -> Self {
        Self {
            format: RawLogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// What is known of models.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRegistry {
    pub(super) file: String,
    pub(super) url: String,
    pub(super) refresh_s: u64,
    pub(super) copy: String,
    pub(super) force: bool,
}

impl Default for RawRegistry {
    fn default() -> Self {
        Self {
            file: String::new(),
            url: String::new(),
            refresh_s: 86_400,
            copy: "registry.toml".to_owned(),
            force: false,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawLogFormat {
    Text,
    Json,
}
