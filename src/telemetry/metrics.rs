//! Every metric, declared once: name, kind, labels, meaning.
//!
//! Names under `gen_ai_` follow OpenTelemetry's GenAI semantic conventions 1.38 (in development) in
//! Prometheus spelling; the rest is `switchyard_…`. Labels are enums of ours or names from the
//! configuration, never anything a request holds, so the number of series is bounded (attack A23).
//!
//! Handles are looked up once and kept: recording on the hot path is one or two atomics.

use std::fmt;
use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::domain::{AttemptOutcome, Lane, NanoUsd, ShareClass, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct MetricRow {
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
}

macro_rules! rows {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $meaning:literal;)+) => {
        $(const $constant: &str = $name;)+
        const ROWS: &[MetricRow] = &[$(MetricRow {
            name: $name,
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            meaning: $meaning,
        }),+];
    };
}

rows! {
    REQUESTS = Counter "switchyard_requests_total" ["pool", "kind"] "Requests by pool and how they ended";
    ATTEMPTS = Counter "switchyard_attempts_total" ["provider", "model", "outcome"] "Attempts at providers by outcome";
    FAILOVER = Counter "switchyard_failover_total" ["reason"] "Attempts that followed a failed one";
    BREAKER = Gauge "switchyard_breaker_state" ["provider", "model"] "0 passing, 1 probing, 2 blocked";
    COOLDOWN = Gauge "switchyard_cooldown_seconds" ["provider", "key_id", "model"] "Time until a throttled key is used again";
    HEADROOM = Gauge "switchyard_headroom_ratio" ["provider", "key_id", "model"] "Share left of the tightest limit the provider told";
    INFLIGHT = Gauge "switchyard_inflight" ["provider", "model"] "Attempts under way";
    STREAM_END = Counter "switchyard_stream_end_total" ["how"] "How streams ended after their first content";
    SHED = Counter "switchyard_shed_total" ["lane", "why", "tenant_class"] "Requests refused to keep the rest in time";
    QUEUE = Histogram "switchyard_queue_seconds" ["lane", "tenant_class"] "Time waited for a free target";
    WAITING = Gauge "switchyard_waiting" ["pool"] "Requests waiting for a free target";
    RESTARTS = Counter "switchyard_actor_restarts_total" ["actor"] "Actors started again after a crash";
    STUCK = Counter "switchyard_actor_stuck_total" ["actor"] "Actors killed because a handler did not return";
    MAILBOX = Gauge "switchyard_mailbox_len" ["actor"] "Longest mailbox of each sort of actor";
    RELOADS = Counter "switchyard_config_reload_total" ["result"] "Configuration reloads";
    RELOAD_TOOK = Histogram "switchyard_reload_seconds" ["what"] "From the beginning of reading the configuration, or keys that changed in the store, until it is in force";
    AUTH_FAIL = Counter "switchyard_auth_fail_total" ["why"] "Requests without a good client key";
    BLOCKED = Counter "switchyard_blocked_total" ["rule"] "Requests and answers refused by a security rule";
    GUARDED = Counter "switchyard_guard_total" ["rule", "action"] "What the guard found in requests and answers, and what it did";
    CONN_CLOSED = Counter "switchyard_conn_closed_total" ["why"] "Client connections closed by the gateway";
    CONNS = Gauge "switchyard_conns" [] "Open client connections";
    ACCEPT_PAUSED = Counter "switchyard_accept_paused_total" [] "Pauses of accepting for want of descriptors";
    OVERLOAD = Gauge "switchyard_overload_level" [] "How short memory is: 0 calm, 1 no keep-alive, 2 large bodies refused, 3 new requests refused";
    PANIC = Gauge "switchyard_panic_mode" ["pool"] "1 while too few endpoints are healthy to trust the breakers";
    QUIRK = Counter "switchyard_quirk_total" ["provider", "kind"] "Odd but survivable things in answers: of form, and answers that call tools which were not offered (unoffered_tool)";
    ESTIMATED = Counter "switchyard_usage_estimated_total" [] "Requests whose usage the provider did not report";
    COUNT_FALLBACK = Counter "switchyard_tokencount_fallback" ["why"] "Prompts whose tokens were estimated because no provider counts them (nobody), it failed, or it was late";
    RACE = Counter "switchyard_race_total" ["win"] "Requests with two legs, by which one won";
    IDEMPOTENT = Counter "switchyard_idempotent_total" ["result"] "Requests with an idempotency key: executed, joined (under way already), replayed, conflict, not_kept, full; and executions too_large to keep, forgotten for want of room, and given_up when memory ran short";
    HEDGE_RATIO = Gauge "switchyard_hedge_tokens_ratio" ["pool"] "Tokens of second legs over all tokens, last minute";
    REJECTED = Counter "switchyard_rejected_total" ["why"] "Requests refused before any provider was asked";
    DRAIN = Gauge "switchyard_drain_seconds" [] "How long the last drain took";
    AUDIT_LAG = Gauge "switchyard_audit_lag" [] "Seconds the oldest unwritten journal record waits";
    AUDIT_WRITABLE = Gauge "switchyard_audit_writable" [] "1 while the journal can be written";
    AUDIT_USERS = Gauge "switchyard_audit_users" [] "End users and owners of texts the journal tells apart; at journal.max_users new ones are not";
    AUDIT_RECORDS = Gauge "switchyard_audit_records" [] "Journal records written since the start";
    STORE_WRITABLE = Gauge "switchyard_store_writable" [] "1 while the open store can be written";
    STORE_BYTES = Gauge "switchyard_store_bytes" [] "What the store's pages hold, without its log";
    STORE_LET_GO = Gauge "switchyard_store_let_go" ["why"] "Records deleted since the start because their time was over (expired) or for want of room (evicted)";
    STORE_REFUSED = Counter "switchyard_store_refused_total" ["why"] "What was asked of the store and not done, by reason";
    STALL = Counter "switchyard_stall_detected" [] "Times the whole process stood still";
    FOLDED = Counter "switchyard_labels_folded" [] "Label values counted as other";
    BODY_BYTES = Gauge "switchyard_body_bytes" [] "Request bodies in memory";
    TELEMETRY_DROPPED = Counter "switchyard_telemetry_dropped" [] "Log lines dropped because the sink is slow";
    CONN_STALE = Counter "switchyard_conn_stale_total" [] "Free retries after a provider closed an idle connection";
    H2_GOAWAY = Counter "switchyard_h2_goaway_total" ["why"] "Requests said again for free because HTTP/2 refused them unheard";
    EGRESS_FAIL = Counter "switchyard_egress_fail_total" ["why"] "Connections the egress proxy did not make, by what it did instead";
    SPEND = Counter "switchyard_spend_nanousd_total" ["tenant"] "Spent by tenants that have limits or budgets, in billionths of a dollar";
    DENIED = Counter "switchyard_tenant_denied_total" ["tenant", "why"] "Requests refused by a tenant's limit or budget";
    ALERTS = Counter "switchyard_budget_alert_total" ["tenant"] "Thresholds of budgets that were reached";
    ALERTS_TOLD = Counter "switchyard_alerts_total" ["result"] "Alerts for receivers outside, by how telling them went: delivered, failed (and sent again), given_up, refused, quiet, dropped";
    TOKEN_REFRESH = Counter "switchyard_token_refresh_total" ["provider", "result"] "Tokens fetched for keys that are traded for one, by how that went";
    IDENTITY_REFRESH = Counter "switchyard_identity_refresh_total" ["identity", "result"] "Times that an issuer of tokens was asked for its keys, by how that went";
    IDENTITY_CONFIRMED = Gauge "switchyard_identity_confirmed_timestamp_seconds" ["identity"] "When an issuer's keys were last fetched; they serve for identities.keep_s more";
    REGISTRY_REFRESH = Counter "switchyard_registry_refresh_total" ["result"] "Times that newer facts about models were asked for, by how that went";
    REGISTRY_CONFIRMED = Gauge "switchyard_registry_confirmed_timestamp_seconds" [] "When the facts about models in use were last fetched or found unchanged";
    OVERHEAD = Histogram "switchyard_overhead_seconds" ["pool"] "Time of a request that was not spent waiting for a provider";
    BUILD = Gauge "switchyard_build_info" ["version"] "Always 1";
    OPERATION = Histogram "gen_ai_client_operation_duration_seconds" ["gen_ai_operation_name", "gen_ai_request_model", "error_type"] "Duration of requests";
    TOKEN_USAGE = Histogram "gen_ai_client_token_usage" ["gen_ai_operation_name", "gen_ai_request_model", "gen_ai_token_type"] "Tokens per request";
    FIRST_TOKEN = Histogram "gen_ai_server_time_to_first_token_seconds" ["gen_ai_provider_name", "gen_ai_request_model"] "Time to first content per attempt";
}

/// Buckets by the end of a metric's name.
pub(super) const BUCKETS: &[(&str, &[f64])] = &[
    (
        "overhead_seconds",
        &[
            5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 1.0,
            10.0,
        ],
    ),
    (
        "queue_seconds",
        &[
            0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
        ],
    ),
    (
        "reload_seconds",
        &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0],
    ),
    (
        "duration_seconds",
        &[
            0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96,
            81.92, 300.0,
        ],
    ),
    (
        "first_token_seconds",
        &[
            0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
            10.0, 30.0,
        ],
    ),
    (
        "token_usage",
        &[
            1.0,
            4.0,
            16.0,
            64.0,
            256.0,
            1_024.0,
            4_096.0,
            16_384.0,
            65_536.0,
            262_144.0,
            1_048_576.0,
        ],
    ),
];

/// Every metric there is, for documentation and for the test of dashboard and alerts.
pub fn table() -> &'static [MetricRow] {
    ROWS
}

pub(super) fn describe() {
    for row in ROWS {
        match row.kind {
            MetricKind::Counter => describe_counter!(row.name, row.meaning),
            MetricKind::Gauge => describe_gauge!(row.name, row.meaning),
            MetricKind::Histogram => describe_histogram!(row.name, row.meaning),
        }
    }
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // Known from the first scrape, so that alerts see a value and not an absence.
    gauge!(AUDIT_WRITABLE).set(1.0);
    gauge!(CONNS).set(0.0);
    gauge!(OVERLOAD).set(0.0);
}

macro_rules! opaque_debug {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )+};
}

opaque_debug!(
    EndpointMetrics,
    KeyMetrics,
    PoolMetrics,
    TenantMetrics,
    GatewayMetrics
);

/// Handles of one provider's one model.
pub struct EndpointMetrics {
    pub in_flight: Gauge,
    pub first_content: Histogram,
    pub breaker: Gauge,
    attempts: [Counter; AttemptOutcome::ALL.len()],
    quirks: Counter,
}

impl EndpointMetrics {
    pub fn new(provider: &str, model: &str) -> Self {
        let (provider, model) = (provider.to_owned(), model.to_owned());
        Self {
            in_flight: gauge!(INFLIGHT, "provider" => provider.clone(), "model" => model.clone()),
            first_content: histogram!(FIRST_TOKEN, "gen_ai_provider_name" => provider.clone(), "gen_ai_request_model" => model.clone()),
            breaker: gauge!(BREAKER, "provider" => provider.clone(), "model" => model.clone()),
            attempts: AttemptOutcome::ALL.map(|outcome| {
                counter!(ATTEMPTS, "provider" => provider.clone(), "model" => model.clone(), "outcome" => outcome.label())
            }),
            quirks: counter!(QUIRK, "provider" => provider.clone(), "kind" => "form"),
        }
    }

    pub fn attempt(&self, outcome: AttemptOutcome) {
        if let Some(counter) = self.attempts.get(outcome as usize) {
            counter.increment(1);
        }
    }

    pub fn quirks(&self, seen: u32) {
        if seen > 0 {
            self.quirks.increment(u64::from(seen));
        }
    }
}

/// Handles of one key at one model.
pub struct KeyMetrics {
    pub cooldown: Gauge,
    pub headroom: Gauge,
}

impl KeyMetrics {
    pub fn new(provider: &str, key: &str, model: &str) -> Self {
        let (provider, key, model) = (provider.to_owned(), key.to_owned(), model.to_owned());
        Self {
            cooldown: gauge!(COOLDOWN, "provider" => provider.clone(), "key_id" => key.clone(), "model" => model.clone()),
            headroom: gauge!(HEADROOM, "provider" => provider, "key_id" => key, "model" => model),
        }
    }
}

/// Handles of one pool. Only the ending "ok" is looked up ahead; the others are rare.
pub struct PoolMetrics {
    pub waiting: Gauge,
    pub panicking: Gauge,
    pub hedge_ratio: Gauge,
    name: String,
    ok: Counter,
    ok_duration: Histogram,
    overhead: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
}

impl PoolMetrics {
    pub fn new(pool: &str) -> Self {
        let name = pool.to_owned();
        let tokens = |kind: &'static str| histogram!(TOKEN_USAGE, "gen_ai_operation_name" => "chat", "gen_ai_request_model" => name.clone(), "gen_ai_token_type" => kind);
        Self {
            waiting: gauge!(WAITING, "pool" => name.clone()),
            panicking: gauge!(PANIC, "pool" => name.clone()),
            hedge_ratio: gauge!(HEDGE_RATIO, "pool" => name.clone()),
            ok: counter!(REQUESTS, "pool" => name.clone(), "kind" => "ok"),
            ok_duration: histogram!(OPERATION, "gen_ai_operation_name" => "chat", "gen_ai_request_model" => name.clone(), "error_type" => ""),
            overhead: histogram!(OVERHEAD, "pool" => name.clone()),
            input_tokens: tokens("input"),
            output_tokens: tokens("output"),
            name,
        }
    }
}

/// Handles of one tenant.
pub struct TenantMetrics {
    name: String,
    spend: Counter,
    alerts: Counter,
}

impl TenantMetrics {
    pub fn new(tenant: &str) -> Self {
        let name = tenant.to_owned();
        Self {
            spend: counter!(SPEND, "tenant" => name.clone()),
            alerts: counter!(ALERTS, "tenant" => name.clone()),
            name,
        }
    }

    pub fn spent(&self, cost: NanoUsd) {
        self.spend.increment(cost.0);
    }

    pub fn alerted(&self) {
        self.alerts.increment(1);
    }

    pub fn denied(&self, why: &'static str) {
        counter!(DENIED, "tenant" => self.name.clone(), "why" => why).increment(1);
    }
}

/// How a request ended, as the metrics need it.
pub struct RequestStory<'a> {
    pub pool: &'a PoolMetrics,
    /// `ok`, `cancelled`, or a failure's code.
    pub kind: &'static str,
    pub took: Duration,
    pub overhead: Duration,
    pub usage: Option<Usage>,
}

/// The store, as the metrics need it.
pub struct StoreFigures {
    pub writable: bool,
    pub bytes: u64,
    pub expired: u64,
    pub evicted: u64,
}

/// Metrics of the gateway as a whole.
pub struct GatewayMetrics {
    pub conns: Gauge,
    pub body_bytes: Gauge,
    pub audit_lag: Gauge,
    pub audit_writable: Gauge,
    pub audit_users: Gauge,
    pub audit_records: Gauge,
    pub drain: Gauge,
    pub overload_level: Gauge,
    queue: [[Histogram; ShareClass::ALL.len()]; Lane::ALL.len()],
    estimated: Counter,
    conn_stale: Counter,
}

impl GatewayMetrics {
    pub fn new() -> Self {
        Self {
            conns: gauge!(CONNS),
            body_bytes: gauge!(BODY_BYTES),
            audit_lag: gauge!(AUDIT_LAG),
            audit_writable: gauge!(AUDIT_WRITABLE),
            audit_users: gauge!(AUDIT_USERS),
            audit_records: gauge!(AUDIT_RECORDS),
            drain: gauge!(DRAIN),
            overload_level: gauge!(OVERLOAD),
            queue: Lane::ALL.map(|lane| {
                ShareClass::ALL.map(|class| {
                    histogram!(QUEUE, "lane" => lane.label(), "tenant_class" => class.label())
                })
            }),
            estimated: counter!(ESTIMATED),
            conn_stale: counter!(CONN_STALE),
        }
    }

    pub fn request_ended(&self, story: &RequestStory<'_>) {
        let pool = story.pool;
        if story.kind == "ok" {
            pool.ok.increment(1);
            pool.ok_duration.record(story.took.as_secs_f64());
        } else {
            counter!(REQUESTS, "pool" => pool.name.clone(), "kind" => story.kind).increment(1);
            histogram!(OPERATION, "gen_ai_operation_name" => "chat", "gen_ai_request_model" => pool.name.clone(), "error_type" => story.kind)
                .record(story.took.as_secs_f64());
        }
        pool.overhead.record(story.overhead.as_secs_f64());
        if let Some(usage) = story.usage {
            #[expect(clippy::cast_precision_loss, reason = "a histogram of counts")]
            let record = |histogram: &Histogram, tokens: u64| histogram.record(tokens as f64);
            record(&pool.input_tokens, usage.input.0);
            record(&pool.output_tokens, usage.output.0);
        }
    }

    pub fn rejected(&self, why: &'static str) {
        counter!(REJECTED, "why" => why).increment(1);
    }

    pub fn auth_failed(&self, why: &'static str) {
        counter!(AUTH_FAIL, "why" => why).increment(1);
    }

    pub fn blocked(&self, rule: &'static str) {
        counter!(BLOCKED, "rule" => rule).increment(1);
    }

    /// By a rule whose name comes from the configuration.
    pub fn blocked_by(&self, rule: &str) {
        counter!(BLOCKED, "rule" => rule.to_owned()).increment(1);
    }

    pub fn guarded(&self, rule: &str, action: &'static str, count: u32) {
        counter!(GUARDED, "rule" => rule.to_owned(), "action" => action)
            .increment(u64::from(count));
    }

    pub fn conn_closed(&self, why: &'static str) {
        counter!(CONN_CLOSED, "why" => why).increment(1);
    }

    pub fn accept_paused(&self) {
        counter!(ACCEPT_PAUSED).increment(1);
    }

    pub fn conn_stale(&self) {
        self.conn_stale.increment(1);
    }

    pub fn h2_goaway(&self, why: &'static str) {
        counter!(H2_GOAWAY, "why" => why).increment(1);
    }

    pub fn failover(&self, from: AttemptOutcome) {
        counter!(FAILOVER, "reason" => from.label()).increment(1);
    }

    pub fn race(&self, win: &'static str) {
        counter!(RACE, "win" => win).increment(1);
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn store(&self, figures: &StoreFigures) {
        gauge!(STORE_WRITABLE).set(if figures.writable { 1.0 } else { 0.0 });
        gauge!(STORE_BYTES).set(figures.bytes as f64);
        gauge!(STORE_LET_GO, "why" => "expired").set(figures.expired as f64);
        gauge!(STORE_LET_GO, "why" => "evicted").set(figures.evicted as f64);
    }

    pub fn store_refused(&self, why: &'static str) {
        counter!(STORE_REFUSED, "why" => why).increment(1);
    }

    pub fn usage_estimated(&self) {
        self.estimated.increment(1);
    }

    /// A count of tokens was asked for, and estimated.
    pub fn count_estimated(&self, why: &'static str) {
        counter!(COUNT_FALLBACK, "why" => why).increment(1);
    }

    pub fn stream_ended(&self, how: &'static str) {
        counter!(STREAM_END, "how" => how).increment(1);
    }

    pub fn shed(&self, lane: Lane, why: &'static str, class: ShareClass) {
        let class = class.label();
        counter!(SHED, "lane" => lane.label(), "why" => why, "tenant_class" => class).increment(1);
    }

    pub fn queued(&self, lane: Lane, class: ShareClass, wait: Duration) {
        let of_lane = self.queue.get(lane.index());
        if let Some(histogram) = of_lane.and_then(|all| all.get(class.index())) {
            histogram.record(wait.as_secs_f64());
        }
    }

    pub fn actor_restarted(&self, actor: &'static str) {
        counter!(RESTARTS, "actor" => actor).increment(1);
    }

    pub fn actor_stuck(&self, actor: &'static str) {
        counter!(STUCK, "actor" => actor).increment(1);
    }

    pub fn mailbox_len(&self, actor: &'static str, waiting: u32) {
        gauge!(MAILBOX, "actor" => actor).set(f64::from(waiting));
    }

    pub fn config_reloaded(&self, result: &'static str) {
        counter!(RELOADS, "result" => result).increment(1);
    }

    /// `what`: the configuration, or keys of the store.
    pub fn reload_took(&self, what: &'static str, took: Duration) {
        histogram!(RELOAD_TOOK, "what" => what).record(took.as_secs_f64());
    }

    pub fn stall_detected(&self) {
        counter!(STALL).increment(1);
    }
}

impl Default for GatewayMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a log line that the sink was too slow for.
pub(super) fn log_line_dropped() {
    counter!(TELEMETRY_DROPPED).increment(1);
}

/// Counts a connection that failed at the egress proxy.
pub fn egress_failed(why: &'static str) {
    counter!(EGRESS_FAIL, "why" => why).increment(1);
}

/// Counts an odd thing in an answer that has a name of its own.
pub fn quirk(provider: &str, kind: &'static str) {
    counter!(QUIRK, "provider" => provider.to_owned(), "kind" => kind).increment(1);
}

/// Counts what became of requests with a key of their own.
pub fn idempotent(result: &'static str, count: u64) {
    counter!(IDEMPOTENT, "result" => result).increment(count);
}

/// Counts an attempt to fetch a token.
pub fn token_refreshed(provider: &str, result: &'static str) {
    counter!(TOKEN_REFRESH, "provider" => provider.to_owned(), "result" => result).increment(1);
}

/// Counts that an issuer was asked for its keys; `confirmed` in Unix seconds when they came.
pub fn identity_refreshed(identity: &str, result: &'static str, confirmed: Option<u64>) {
    counter!(IDENTITY_REFRESH, "identity" => identity.to_owned(), "result" => result).increment(1);
    if let Some(secs) = confirmed {
        #[expect(clippy::cast_precision_loss, reason = "a date")]
        gauge!(IDENTITY_CONFIRMED, "identity" => identity.to_owned()).set(secs as f64);
    }
}

/// Counts a look for newer facts about models; `confirmed` in Unix seconds where those in use are the newest.
pub fn registry_refreshed(result: &'static str, confirmed: Option<u64>) {
    counter!(REGISTRY_REFRESH, "result" => result).increment(1);
    if let Some(secs) = confirmed {
        #[expect(clippy::cast_precision_loss, reason = "a date")]
        gauge!(REGISTRY_CONFIRMED).set(secs as f64);
    }
}

/// Counts what became of an alert for a receiver outside.
pub fn alert_told(result: &'static str) {
    counter!(ALERTS_TOLD, "result" => result).increment(1);
}

/// Counts a label value that was folded into `other`.
pub fn label_folded() {
    counter!(FOLDED).increment(1);
}
