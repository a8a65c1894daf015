//! Who pays: it lets requests in, for every limit and budget at once, and tells when a budget runs low.
//!
//! A restart forgets nothing: the books lie in the tenant's cell. Admission is asked of the actor, one request
//! after another, so that two never take the same last cent. A settlement needs no message: it is written into
//! the cell by the request that ends, because a message could be lost with a mailbox and the money with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ractor::RpcReplyPort;
use tracing::warn;

use super::member::{Crash, Member, Stage};
use super::news::News;
use super::slot::Slot;
use crate::config::TenantSettings;
use crate::domain::{Border, Moment, NanoUsd, RequestId, TenantName, Wall};
use crate::policy::ledger::{
    AccountName, AccountView, Admitted, Alert, Ask, Books, Denied, Settled, Short,
};
use crate::telemetry::metrics::TenantMetrics;

pub enum TenantMessage {
    /// May this request come in?
    Admit {
        ask: Ask,
        reply: RpcReplyPort<Result<Admitted, Denied>>,
    },
    /// A request that is in needs more than was set aside: for another leg, or another attempt.
    Extend {
        request: RequestId,
        more: NanoUsd,
        reply: RpcReplyPort<Result<(), Short>>,
    },
    /// It is time to look for requests that nobody settled.
    ExpiryDue,
}

/// The time of day, which is not the time that anything waits by.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Wall(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}

#[expect(
    clippy::disallowed_types,
    reason = "held for one entry at a time and never over an await; admission is the actor's, settlement anyone's"
)]
type Lock<T> = std::sync::Mutex<T>;

/// A tenant's books, which outlive its actor.
#[derive(Debug)]
pub struct TenantCell {
    pub name: TenantName,
    books: Lock<Books>,
    pub metrics: TenantMetrics,
}

impl TenantCell {
    pub fn new(name: TenantName) -> Self {
        Self {
            metrics: TenantMetrics::new(name.as_str()),
            name,
            books: Lock::default(),
        }
    }

    /// The books, unless somebody died while writing in them: then nobody may trust them.
    fn with<T>(&self, work: impl FnOnce(&mut Books) -> T) -> Option<T> {
        self.books.lock().ok().map(|mut books| work(&mut books))
    }

    /// Brings the accounts to what was written; see [`Books::open_accounts`].
    pub fn open_accounts(&self, settings: &TenantSettings, also_at: &[u8]) -> Vec<Alert> {
        let accounts = settings.accounts.iter();
        let accounts = accounts.map(|(name, terms)| (Arc::clone(name), terms.clone()));
        self.with(|books| books.open_accounts(accounts, also_at))
            .unwrap_or_default()
    }

    /// Gets ready to be told the history; see [`Books::wants_history`].
    pub fn wants_history(&self) -> Option<Wall> {
        self.with(|books| books.wants_history(wall())).flatten()
    }

    /// Whether every budget knows what was spent before.
    pub fn is_complete(&self) -> bool {
        self.with(|books| books.is_complete()).unwrap_or(false)
    }

    /// The history has been told up to this border; see [`Books::complete`].
    pub fn complete(&self, border: Border) -> Vec<Alert> {
        self.with(|books| books.complete(border, wall()))
            .unwrap_or_default()
    }

    /// Counts what was spent before this process began.
    pub fn remember(&self, account: &str, at: Wall, cost: NanoUsd) {
        self.with(|books| books.remember(account, at, cost));
    }

    /// Puts what a request did cost in the place of what was set aside.
    pub fn settle(&self, request: RequestId, settled: Settled, now: Moment) -> Vec<Alert> {
        self.with(|books| books.settle(request, settled, now))
            .unwrap_or_default()
    }

    /// Has nothing to keep any more: what comes back later is told what was spent meanwhile.
    pub(super) fn close_accounts(&self) {
        self.with(|books| books.open_accounts([], &[]));
    }

    /// Counts what came in when none of these accounts had anything to keep; see [`Books::count`].
    pub fn count(&self, path: &[AccountName], at: Wall, settled: Settled) -> Option<Vec<Alert>> {
        let times = (at, wall());
        self.with(|books| books.count(path, times, settled))
            .flatten()
    }

    pub fn view(&self, now: Moment) -> Vec<AccountView> {
        self.with(|books| books.view(now, wall()))
            .unwrap_or_default()
    }

    pub fn open_requests(&self) -> usize {
        self.with(|books| books.open_requests()).unwrap_or_default()
    }
}

/// A tenant as a request sees it.
#[derive(Debug)]
pub struct TenantEntry {
    pub settings: Arc<TenantSettings>,
    pub cell: Arc<TenantCell>,
    pub slot: Arc<Slot<TenantMessage>>,
}

/// All tenants in force, by name.
pub type Tenants = HashMap<TenantName, Arc<TenantEntry>>;

pub(crate) struct Tenant {
    pub(super) cell: Arc<TenantCell>,
    pub(super) news: Arc<News>,
}

/// How often it looks for requests that nobody settled. Their `Drop` does; this is for what nobody foresaw.
const EXPIRY: Duration = Duration::from_secs(30);

impl Member for Tenant {
    type Message = TenantMessage;

    fn started(&mut self, stage: &mut Stage<TenantMessage>) -> Result<(), Crash> {
        stage.after(EXPIRY, TenantMessage::ExpiryDue);
        Ok(())
    }

    fn handle(
        &mut self,
        message: TenantMessage,
        stage: &mut Stage<TenantMessage>,
    ) -> Result<(), Crash> {
        let now = stage.clock.now();
        match message {
            TenantMessage::Admit { ask, reply } => {
                let request = ask.request;
                let answer = self.books(|books| books.admit(&ask, now, wall()))?;
                // Who asked has left: nobody would settle it.
                if reply.send(answer).is_err() {
                    self.cell.settle(request, Settled::default(), now);
                }
            }
            TenantMessage::Extend {
                request,
                more,
                reply,
            } => {
                let answer = self.books(|books| books.extend(request, more, wall()))?;
                // What was set aside is given back when the request is settled.
                let _ = reply.send(answer);
            }
            TenantMessage::ExpiryDue => {
                for expired in self.books(|books| books.expire(now))? {
                    let (tenant, request) = (&self.cell.name, expired.request);
                    warn!(%tenant, %request, "nobody settled this request; it is paid at what was set aside");
                    self.news.journal.event(
                        "budget.expired",
                        &request.to_string(),
                        &format!("{} USD", expired.cost),
                    );
                    for alert in &expired.alerts {
                        self.news.budget_alert(&self.cell, alert);
                    }
                }
                stage.after(EXPIRY, TenantMessage::ExpiryDue);
            }
        }
        Ok(())
    }
}

impl Tenant {
    fn books<T>(&self, work: impl FnOnce(&mut Books) -> T) -> Result<T, Crash> {
        self.cell
            .with(work)
            .ok_or_else(|| Crash("the books were left half written".to_owned()))
    }
}
