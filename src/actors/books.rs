//! The bookkeeper: adds the journal's outcomes up in the store, and tells tenants what they spent before.
//!
//! A restart forgets nothing: how far the journal is booked stands in the store, in the transaction that booked it.
//! Until a tenant's history is told its budgets let nothing in: not to know what is left is not to have it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::member::{Crash, Member, Stage};
use super::news::{News, provider_account};
use super::seller::Seller;
use super::slot::Seat;
use super::system::System;
use super::tenant::{TenantCell, Tenants, wall};
use super::till::Till;
use crate::config::{JournalMode, JournalSettings};
use crate::domain::{Border, Bought, NanoUsd, Wall};
use crate::policy::ledger::Alert;

use crate::store::spending::{
    BookingError, Progress, QUARTER, Spent, alerted, bought_at, keep, spent_at, spent_since,
    threshold, told_before,
};

pub enum BooksMessage {
    /// Book what is new, and tell who wants to know.
    Due,
    /// As [`Self::Due`], because time has passed.
    Tick,
    Done {
        ended: Result<(), String>,
        progress: Progress,
    },
}

pub(crate) struct Bookkeeper {
    pub(super) system: std::sync::Weak<System>,
    pub(super) journal: JournalSettings,
    pub(super) news: Arc<News>,
    pub(super) seat: Arc<Seat>,
    /// A round is under way.
    pub(super) busy: bool,
    /// Somebody asked meanwhile.
    pub(super) again: bool,
    /// A tick is on its way.
    pub(super) ticking: bool,
    pub(super) trouble: Option<String>,
    pub(super) progress: Progress,
}

/// How far the reports lie behind at most.
const EVERY: Duration = Duration::from_secs(2);
/// Until the journal is there and whole, and after a failure.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(1);

impl Member for Bookkeeper {
    type Message = BooksMessage;

    fn started(&mut self, stage: &mut Stage<BooksMessage>) -> Result<(), Crash> {
        self.round(stage);
        Ok(())
    }

    fn handle(
        &mut self,
        message: BooksMessage,
        stage: &mut Stage<BooksMessage>,
    ) -> Result<(), Crash> {
        match message {
            BooksMessage::Tick => {
                self.ticking = false;
                self.due(stage);
            }
            BooksMessage::Due => self.due(stage),
            BooksMessage::Done { ended, progress } => {
                self.busy = false;
                self.progress = progress;
                let wait = match self.ended(ended) {
                    true if self.news.journal.is_searching() => SOON,
                    true => EVERY,
                    false => LATER,
                };
                if std::mem::take(&mut self.again) {
                    self.round(stage);
                } else {
                    self.tick_after(wait, stage);
                }
            }
        }
        Ok(())
    }
}

impl Bookkeeper {
    fn due(&mut self, stage: &mut Stage<BooksMessage>) {
        if self.busy {
            self.again = true;
        } else {
            self.round(stage);
        }
    }

    fn tick_after(&mut self, wait: Duration, stage: &mut Stage<BooksMessage>) {
        if !std::mem::replace(&mut self.ticking, true) {
            stage.after(wait, BooksMessage::Tick);
        }
    }

    fn round(&mut self, stage: &mut Stage<BooksMessage>) {
        let Some(system) = self.system.upgrade() else {
            return;
        };
        let tenants: Vec<Arc<TenantCell>> = system
            .published()
            .tenants
            .values()
            .map(|tenant| Arc::clone(&tenant.cell))
            .collect();
        let tills: Vec<Arc<Till>> = system.tables.tills.all().values().cloned().collect();
        let sellers = system.sellers_by_volume();
        if self.journal.mode == JournalMode::Off {
            // Nothing is remembered, so nothing is missing; the operator was warned.
            tenants.iter().for_each(|tenant| begin_anew(tenant));
            for till in &tills {
                if till.wants_history().is_some() {
                    till.complete(Border::default());
                }
            }
            for seller in &sellers {
                if let Some(since) = seller.wants_history() {
                    seller.remember(since, Bought::default());
                }
            }
            self.tick_after(EVERY, stage);
            return;
        }
        if !self.news.journal.is_open() {
            self.tick_after(SOON, stage);
            return;
        }
        self.busy = true;
        // What is still found would be missing in what they are told.
        let waiting = match self.news.journal.is_searching() {
            true => Waiting::default(),
            false => (tenants, tills, sellers),
        };
        let kept = tags_with_budgets(&system.published().tenants);
        let (folder, news) = (self.journal.path.clone(), Arc::clone(&self.news));
        let mut progress = std::mem::take(&mut self.progress);
        stage.spawn(async move {
            let ended = book(&folder, &news, &mut progress, (kept, waiting)).await;
            Some(BooksMessage::Done {
                ended: ended.map_err(|error| error.to_string()),
                progress,
            })
        });
    }

    /// Notes how a round ended; whether it went well.
    fn ended(&mut self, done: Result<(), String>) -> bool {
        match done {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    info!("what was spent is booked again");
                }
                self.seat.set_health("booked");
                true
            }
            Err(why) => {
                if self.trouble.as_ref() != Some(&why) {
                    warn!(%why, "what was spent cannot be booked; budgets that were not read yet let nothing in");
                }
                self.trouble = Some(why);
                self.seat.set_health("behind");
                false
            }
        }
    }
}

/// Who may wait for what was spent before.
type Waiting = (Vec<Arc<TenantCell>>, Vec<Arc<Till>>, Vec<Arc<Seller>>);

/// Books what is new, and tells the tenants, tills and sellers that wait for it what was spent.
#[expect(
    clippy::manual_async_fn,
    reason = "what waits is handed out, and is seen not to run inside a handler"
)]
fn book(
    folder: &Path,
    news: &News,
    progress: &mut Progress,
    (kept, (tenants, tills, sellers)): (Vec<(String, String)>, Waiting),
) -> impl Future<Output = Result<(), BookingError>> + Send {
    async move {
        let store = &news.store;
        if let Some(stretch) = news.journal.stretch() {
            let (upto, whole_until_ms) = (stretch.to.upto, stretch.whole_until_ms);
            progress.book(stretch, folder, store).await?;
            news.booked_until.store(whole_until_ms, Ordering::Relaxed);
            news.journal.booked_to(upto);
        } else {
            // It is being opened anew.
            progress.read_to(u64::MAX, folder, store).await?;
        }
        keep(store, kept).await?;
        // Whoever wants to be told begins anew, and is told what stands in the journal before a border that is drawn behind
        // that. What ends meanwhile knows on which side of it it stands: in a budget it counts once, and nothing is left out.
        let tenants = waiting(tenants, |tenant| tenant.wants_history());
        let tills = waiting(tills, |till| till.wants_history());
        let sellers = waiting(sellers, |seller| seller.wants_history());
        let mut border = Border::default();
        if !(tenants.is_empty() && tills.is_empty() && sellers.is_empty()) {
            let drawn = news.journal.draw_border().await;
            let (behind, last) = drawn.ok_or(BookingError::Unwritten)?;
            progress.read_to(last, folder, store).await?;
            border = behind;
        }
        for (tenant, since) in tenants {
            remember(
                &tenant,
                spent_since(store, tenant.name.as_str(), since).await?,
            );
            let alerts = tenant.complete(border);
            let names = named(&alerts, |alert| alert.account.to_string());
            for alert in untold(alerts, told_before(store, names).await) {
                news.budget_alert(&tenant, &alert);
            }
        }
        for (till, since) in tills {
            let history = spent_at(store, till.provider.as_str(), since).await?;
            let now = wall();
            for (quarter, cost) in history {
                till.remember(end_of(quarter, now), cost);
            }
            let alerts = till.complete(border);
            let names = named(&alerts, |_| provider_account(&till.provider));
            till.tell(untold(alerts, told_before(store, names).await));
        }
        for (seller, since) in sellers {
            let bought = bought_at(store, seller.provider.as_str(), since).await?;
            seller.remember(since, bought);
        }
        Ok(())
    }
}

/// Those of them that want to be told, with what they want.
fn waiting<T, W>(all: Vec<T>, wants: impl Fn(&T) -> Option<W>) -> Vec<(T, W)> {
    let all = all.into_iter();
    all.filter_map(|one| {
        let wanted = wants(&one)?;
        Some((one, wanted))
    })
    .collect()
}

/// Tags that have a budget, each with its tenant.
fn tags_with_budgets(tenants: &Tenants) -> Vec<(String, String)> {
    let accounts = tenants.iter().flat_map(|(tenant, entry)| {
        let accounts = entry.settings.accounts.iter();
        let capped = accounts.filter(|(_, terms)| !terms.caps.is_empty());
        capped.map(move |(account, _)| (tenant.as_str(), account))
    });
    let tags = accounts.filter_map(|(tenant, account)| {
        let tag = account.strip_prefix(tenant)?.strip_prefix('+')?;
        Some((tenant.to_owned(), tag.to_owned()))
    });
    tags.collect()
}

/// How the journal names what was reached.
fn named(alerts: &[Alert], account: impl Fn(&Alert) -> String) -> Vec<String> {
    let names = alerts.iter().map(|alert| {
        let threshold = threshold(alert.percent, alert.limit, &alert.period);
        alerted(&account(alert), &threshold)
    });
    names.collect()
}

/// Of what is reached at a start those thresholds that no process before told: some are only reached by what the
/// last one left undone when it was killed.
fn untold(alerts: Vec<Alert>, told: Vec<Option<u64>>) -> Vec<Alert> {
    let known = alerts.into_iter().zip(told);
    let untold = known.filter(|(alert, told)| told.is_none_or(|at| Wall(at) < alert.counts_from));
    untold.map(|(alert, _)| alert).collect()
}

fn begin_anew(tenant: &TenantCell) {
    if tenant.wants_history().is_some() {
        tenant.complete(Border::default());
    }
}

/// What was spent in a quarter counts as of its end, or of now where that is still to come: a rolling cap lets it go
/// late rather than early.
fn end_of(quarter: u64, now: Wall) -> Wall {
    Wall((quarter + QUARTER) * 1_000 - 1).min(now)
}

/// Tells a tenant's accounts what they spent.
fn remember(tenant: &TenantCell, history: Vec<Spent>) {
    let (name, now) = (tenant.name.as_str(), wall());
    for spent in history {
        let at = end_of(spent.quarter, now);
        let remember = |account: &str, cost: NanoUsd| tenant.remember(account, at, cost);
        if !spent.tag.is_empty() {
            remember(&format!("{name}+{}", spent.tag), spent.cost);
            continue;
        }
        remember(name, spent.cost);
        if !spent.team.is_empty() {
            remember(&format!("{name}/{}", spent.team), spent.cost);
        }
        remember(&format!("{name}#{}", spent.client), spent.cost);
    }
}
