//! What may be spent at a provider: caps of a period, or a credit paid in before.
//!
//! The most an attempt can cost is set aside in the same step that gives its lease, so attempts that are placed at
//! once never take the same last cent; what it did cost takes its place when the lease ends. A till outlives the
//! actors as cells do, and a new process reads what was spent before: until then the provider takes nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smallvec::smallvec;

use super::clock::Clock;
use super::news::News;
use super::tenant::wall;
use crate::config::{Models, ProviderSettings};
use crate::domain::{Border, Moment, NanoUsd, ProviderName, RequestId, Tokens, Wall};
use crate::policy::ledger::{
    AccountName, AccountTerms, AccountView, Alert, Ask, Books, Cap, Denied, Settled,
};
use crate::pricing::{Bounds, Price};

#[expect(
    clippy::disallowed_types,
    reason = "held for one entry at a time and never over an await; pools take, whoever ends a lease settles"
)]
type Lock<T> = std::sync::Mutex<T>;

/// A provider's caps and what was spent under them.
#[derive(Debug)]
pub struct Till {
    pub provider: ProviderName,
    account: AccountName,
    books: Lock<Books>,
    /// Numbers what is set aside: a request may have two attempts here at once.
    next: AtomicU64,
    news: Arc<News>,
}

/// Why a provider's money is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMoney {
    /// It does not reach, or nobody knows yet what is left; with when that may change.
    Spent(Option<Duration>),
    /// It may reach when attempts under way have cost less than they might.
    Held,
    /// Nobody knows what this would cost.
    Unpriced,
}

impl Till {
    pub(super) fn new(provider: ProviderName, news: Arc<News>) -> Self {
        Self {
            account: Arc::from(provider.as_str()),
            provider,
            books: Lock::default(),
            next: AtomicU64::new(0),
            news,
        }
    }

    /// The books, unless somebody died while writing in them: then nobody may trust them.
    fn with<T>(&self, work: impl FnOnce(&mut Books) -> T) -> Option<T> {
        self.books.lock().ok().map(|mut books| work(&mut books))
    }

    /// Brings the caps to what was written; what is counted stays counted. Returns what is reached by that.
    pub(super) fn under(&self, caps: &[Cap], also_at: &[u8]) -> Vec<Alert> {
        let terms = AccountTerms {
            caps: caps.to_vec(),
            ..AccountTerms::default()
        };
        let account = [(Arc::clone(&self.account), terms)];
        self.with(|books| books.open_accounts(account, also_at))
            .unwrap_or_default()
    }

    /// As a tenant's books: from when on the history is wanted.
    pub(super) fn wants_history(&self) -> Option<Wall> {
        self.with(|books| books.wants_history(wall())).flatten()
    }

    pub(super) fn remember(&self, at: Wall, cost: NanoUsd) {
        self.with(|books| books.remember(&self.account, at, cost));
    }

    pub(super) fn complete(&self, border: Border) -> Vec<Alert> {
        self.with(|books| books.complete(border, wall()))
            .unwrap_or_default()
    }

    /// Whether every cap knows what was spent before.
    pub fn is_complete(&self) -> bool {
        self.with(|books| books.is_complete()).unwrap_or(false)
    }

    pub fn view(&self, now: Moment) -> Vec<AccountView> {
        self.with(|books| books.view(now, wall()))
            .unwrap_or_default()
    }

    /// Counts an attempt that was placed when there was nothing to keep here; see [`Books::count`].
    pub fn count(&self, took: Duration, cost: NanoUsd, recorded: Option<Border>) {
        let now = wall();
        let settled = Settled {
            cost,
            tokens: None,
            recorded,
        };
        let path = [Arc::clone(&self.account)];
        let times = (now.before(took), now);
        let alerts = self.with(|books| books.count(&path, times, settled));
        self.tell(alerts.flatten().unwrap_or_default());
    }

    pub(super) fn tell(&self, alerts: Vec<Alert>) {
        for alert in alerts {
            self.news.provider_budget_alert(&self.provider, &alert);
        }
    }
}

/// A till as a target sees it.
#[derive(Clone, Debug)]
pub(crate) struct TillDoor {
    pub(super) till: Arc<Till>,
    /// Of targets that serve any model, the price is looked up.
    pub(super) models: Models,
}

impl TillDoor {
    /// The most a request can cost here.
    pub(super) fn most(
        &self,
        provider: &ProviderSettings,
        (price, model): (Option<&Price>, &str),
        bounds: &Bounds,
    ) -> Option<NanoUsd> {
        match price {
            Some(price) => price.most(bounds),
            None => self.models.price(provider, model).most(bounds),
        }
    }

    /// Whether so much is there now.
    pub(super) fn reaches(&self, most: Option<NanoUsd>) -> Result<(), NoMoney> {
        let path = [Arc::clone(&self.till.account)];
        let answer = self
            .till
            .with(|books| books.may_afford(&path, most, wall()));
        answer
            .unwrap_or(Err(Denied::NotReady))
            .map_err(|denied| no_money(&denied))
    }

    /// Sets so much aside, or nothing.
    pub(super) fn take(&self, most: Option<NanoUsd>, clock: Clock) -> Result<Hold, NoMoney> {
        let till = Arc::clone(&self.till);
        let number = till.next.fetch_add(1, Ordering::Relaxed);
        let id = RequestId::from_draw(u128::from(number));
        let now = clock.now();
        let ask = Ask {
            request: id,
            path: smallvec![Arc::clone(&till.account)],
            model: Arc::from(""),
            tokens: Tokens(0),
            most,
            // Its drop settles it, however it ends.
            until: now.after(Duration::from_secs(86_400)),
        };
        let answer = till.with(|books| books.admit(&ask, now, wall()));
        match answer.unwrap_or(Err(Denied::NotReady)) {
            Ok(_admitted) => Ok(Hold {
                till,
                id,
                cost: most.unwrap_or_default(),
                recorded: None,
                clock,
            }),
            Err(denied) => Err(no_money(&denied)),
        }
    }
}

fn no_money(denied: &Denied) -> NoMoney {
    match denied {
        Denied::Budget(short) if short.wanted <= short.left + short.held => NoMoney::Held,
        Denied::Budget(short) => NoMoney::Spent(short.retry_after),
        Denied::NotReady => NoMoney::Spent(Some(Duration::from_secs(1))),
        Denied::Limit { retry_after, .. } => NoMoney::Spent(Some(*retry_after)),
        Denied::Unpriced { .. } => NoMoney::Unpriced,
    }
}

/// What is set aside for one attempt.
#[derive(Debug)]
pub(super) struct Hold {
    till: Arc<Till>,
    id: RequestId,
    /// What it comes to if nobody says more: the most it can be (ground rule G7).
    cost: NanoUsd,
    /// The border that its attempt's record stands behind.
    recorded: Option<Border>,
    clock: Clock,
}

impl Hold {
    /// What it did cost.
    pub(super) fn costs(&mut self, cost: NanoUsd) {
        self.cost = cost;
    }

    /// Where that stands in the journal.
    pub(super) fn recorded(&mut self, border: Border) {
        self.recorded = Some(border);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let settled = Settled {
            cost: self.cost,
            tokens: None,
            recorded: self.recorded,
        };
        let now = self.clock.now();
        let alerts = self.till.with(|books| books.settle(self.id, settled, now));
        self.till.tell(alerts.unwrap_or_default());
    }
}
