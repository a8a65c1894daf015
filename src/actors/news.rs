//! What happens to the family and the pools, told to the metrics, the log and the journal in one place.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tracing::{info, warn};

use super::alerts::AlertsDesk;
use super::cells::{EndpointCell, KeyCell};
use super::journal::JournalDesk;
use super::slot::Seat;
use super::supervisor::FamilyNews;
use super::tenant::{TenantCell, wall};
use crate::config::{JournalSettings, StoreSettings};
use crate::domain::{AttemptOutcome, Lane, PoolName, ProviderName, ShareClass};
use crate::policy::alerts::{AlertKind, Facts, Notice};
use crate::policy::breaker::Change;
use crate::policy::ledger::Alert;
use crate::policy::overload::Pressure;
use crate::policy::queue::ShedReason;
use crate::store::StoreDesk;
use crate::store::spending::{ALERT, threshold};
use crate::telemetry::metrics::GatewayMetrics;

/// Where news goes. Cheap to share; nothing here waits.
pub struct News {
    pub metrics: GatewayMetrics,
    pub journal: JournalDesk,
    pub store: StoreDesk,
    /// Where what needs somebody is handed in.
    pub alerts: AlertsDesk,
    /// How full memory is (fault O08).
    pub pressure: Arc<Pressure>,
    /// All that had ended by then (milliseconds since 1970) is in the reports of what was spent; 0: nobody knows yet.
    pub booked_until: AtomicU64,
    /// Called when the root gave up.
    pub give_up: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("News")
    }
}

impl News {
    /// What nobody hears: for what is measured or tried by itself.
    pub fn unheard(journal: JournalSettings) -> Self {
        Self {
            metrics: GatewayMetrics::new(),
            journal: JournalDesk::new(journal),
            store: StoreDesk::new(StoreSettings::default()),
            alerts: AlertsDesk::default(),
            pressure: Arc::new(Pressure::new(None)),
            booked_until: AtomicU64::new(0),
            give_up: Box::new(|| {}),
        }
    }

    /// Tells those outside who want to know. `words` are the gateway's own.
    fn alert(&self, kind: AlertKind, subject: &str, words: &str) {
        self.alerts.tell(Notice {
            kind,
            subject: subject.to_owned(),
            at: wall(),
            facts: Facts::Words(words.to_owned()),
        });
    }

    /// The journal takes nothing any more, and so no request is let in.
    pub(super) fn journal_refuses(&self) {
        self.alert(
            AlertKind::JournalRefused,
            "journal",
            "it cannot be written, and new requests are refused",
        );
    }

    pub(super) fn breaker_changed(&self, endpoint: &EndpointCell, change: Change) {
        let (provider, model) = (
            &endpoint.provider,
            endpoint.model.as_ref().map_or("*", |m| m.as_str()),
        );
        info!(%provider, model, from = change.from, to = change.to, "breaker changed");
        let subject = format!("{provider}/{model}");
        self.journal.event("breaker.change", &subject, change.to);
        // One that was probed and is blocked again was told of.
        if change.from == "passing" && change.to == "blocked" {
            self.alert(AlertKind::BreakerBlocked, &subject, "nothing is sent there");
        }
    }

    /// A budget's threshold was reached.
    pub fn budget_alert(&self, tenant: &TenantCell, alert: &Alert) {
        let Alert {
            account,
            percent,
            spent,
            limit,
            period,
            hard,
            ..
        } = alert;
        warn!(%account, percent, %spent, %limit, %period, hard, "a budget's threshold was reached");
        tenant.metrics.alerted();
        self.budget_told(account.to_string(), alert);
    }

    /// The journal's event is what a new process goes by: what stands there is not told again.
    fn budget_told(&self, subject: String, alert: &Alert) {
        let threshold = threshold(alert.percent, alert.limit, &alert.period);
        let detail = format!("{threshold}, {} spent", alert.spent);
        self.journal.event(ALERT, &subject, &detail);
        self.alerts.tell(budget_notice(subject, alert));
    }

    /// Of what may be spent at a provider, so much is spent.
    pub(super) fn provider_budget_alert(&self, provider: &ProviderName, alert: &Alert) {
        let (percent, spent, limit) = (alert.percent, alert.spent, alert.limit);
        let period = &alert.period;
        warn!(%provider, percent, %spent, %limit, %period, "a provider's budget reached a threshold");
        self.budget_told(provider_account(provider), alert);
    }

    pub(super) fn model_disabled(&self, endpoint: &EndpointCell, wait: Duration) {
        let model = endpoint.model.as_ref().map_or("*", |m| m.as_str());
        let subject = format!("{}/{model}", endpoint.provider);
        let detail = format!("{} s", wait.as_secs());
        self.journal.event("model.disabled", &subject, &detail);
        let words = format!("the provider does not know it; for {detail}");
        self.alert(AlertKind::ModelDisabled, &subject, &words);
    }

    pub(super) fn key_quarantined(&self, key: &KeyCell, why: AttemptOutcome, wait: Duration) {
        let subject = format!("{}/{}", key.provider, key.name);
        let detail = format!("{} for {} s", why.label(), wait.as_secs());
        self.journal.event("key.quarantined", &subject, &detail);
        let kind = if why == AttemptOutcome::Quota {
            AlertKind::CreditExhausted
        } else {
            AlertKind::KeyQuarantined
        };
        self.alert(kind, &subject, &detail);
    }

    pub(super) fn key_returned(&self, key: &KeyCell) {
        let (provider, name) = (&key.provider, &key.name);
        info!(%provider, key = %name, "the provider accepts the key again");
        self.journal
            .event("key.returned", &format!("{provider}/{name}"), "");
    }

    pub(super) fn panic_changed(
        &self,
        pool: &PoolName,
        panicking: bool,
        usable: usize,
        all: usize,
    ) {
        if panicking {
            warn!(%pool, usable, all, "too few endpoints are healthy, breakers are ignored");
        } else {
            info!(%pool, usable, all, "enough endpoints are healthy again");
        }
        let event = if usable == 0 {
            "pool.no_healthy"
        } else {
            "pool.panic"
        };
        let detail = if panicking { "on" } else { "off" };
        self.journal.event(event, pool.as_str(), detail);
        if panicking {
            let kind = if usable == 0 {
                AlertKind::PoolNoHealthy
            } else {
                AlertKind::PoolPanic
            };
            let words = format!("{usable} of {all} endpoints are healthy");
            self.alert(kind, pool.as_str(), &words);
        }
    }

    /// A look at the memory in use.
    pub(super) fn weighed(&self, used: u64) {
        let before = self.pressure.level();
        let level = self.pressure.weigh(used);
        if level == before {
            return;
        }
        let (number, limit) = (level.number(), self.pressure.limit());
        if level > before {
            warn!(
                level = number,
                used, limit, "memory runs short, some work is refused"
            );
            let words = format!("level {number}, {used} of {limit} bytes");
            self.alert(AlertKind::MemoryShort, "memory", &words);
        } else {
            info!(level = number, used, limit, "there is more memory again");
        }
        self.metrics.overload_level.set(f64::from(number));
        self.journal
            .event("overload.level", "memory", &number.to_string());
    }

    pub(super) fn shed(&self, lane: Lane, why: ShedReason, class: ShareClass) {
        self.metrics.shed(lane, why.label(), class);
    }

    pub(super) fn waited(&self, lane: Lane, class: ShareClass, wait: Duration) {
        self.metrics.queued(lane, class, wait);
    }
}

impl FamilyNews for News {
    fn restarted(&self, seat: &Seat) {
        self.metrics.actor_restarted(seat.kind().label());
        self.journal.event("actor.restarted", seat.path(), "");
    }

    fn disabled(&self, seat: &Seat) {
        self.journal.event("subtree.disabled", seat.path(), "");
        let words = "it crashed too often and stays down";
        self.alert(AlertKind::SubtreeDisabled, seat.path(), words);
    }

    fn gave_up(&self, seat: &Seat) {
        self.journal.event("root.gave_up", seat.path(), "");
        (self.give_up)();
    }
}

/// A provider's budget as the journal names it.
pub(super) fn provider_account(provider: &ProviderName) -> String {
    format!("provider {provider}")
}

fn budget_notice(subject: String, alert: &Alert) -> Notice {
    Notice {
        kind: match alert.percent {
            0..100 => AlertKind::BudgetReached,
            _ => AlertKind::BudgetExhausted,
        },
        subject,
        at: wall(),
        facts: Facts::Budget {
            percent: alert.percent,
            spent: alert.spent,
            limit: alert.limit,
            period: alert.period.to_string(),
            since: alert.since,
            hard: alert.hard,
            own: alert.own,
        },
    }
}
