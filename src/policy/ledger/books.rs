//! All accounts of one tenant, and the requests that are open.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use smallvec::SmallVec;

use super::purse::{Cap, Purse, PurseId, PurseIds, PurseView, StepKey};
use super::quota::{Leaving, Opening, Quota, QuotaKind, QuotaTerms, Standing};
use crate::domain::{Border, Moment, NanoUsd, RequestId, Tokens, Wall};

/// `acme`, `acme/search`, `acme/search#key`, `acme@user`, `acme+tag`: unique among all accounts.
pub type AccountName = Arc<str>;

/// What an account may do, as the operator wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountTerms {
    pub caps: Vec<Cap>,
    pub quota: QuotaTerms,
    /// Limits for some models only: a pattern of pool names, `*` at its end standing for anything.
    pub quotas: Vec<(String, QuotaTerms)>,
    /// How long an answer may be where the request does not say, in tokens.
    pub default_max_output: Option<u64>,
}

impl AccountTerms {
    pub fn is_empty(&self) -> bool {
        self.caps.is_empty()
            && self.quota.is_empty()
            && self.quotas.is_empty()
            && self.default_max_output.is_none()
    }
}

/// A request that wants in.
#[derive(Clone, Debug)]
pub struct Ask {
    pub request: RequestId,
    /// The accounts that pay, the widest first. Names without terms cost nothing.
    pub path: SmallVec<[AccountName; 4]>,
    /// The pool's name.
    pub model: Arc<str>,
    pub tokens: Tokens,
    /// The most it can cost; `None` when no price is known. Whoever has a budget is then refused.
    pub most: Option<NanoUsd>,
    /// Until when it is over at the latest.
    pub until: Moment,
}

/// The limits a client is told of: those with the least left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    pub requests: Option<Standing>,
    pub tokens: Option<Standing>,
}

/// Why a request does not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    Limit {
        account: AccountName,
        kind: QuotaKind,
        retry_after: Duration,
        told: Admitted,
    },
    Budget(Short),
    /// What was spent before is still being read.
    NotReady,
    /// A budget is to be kept, and nobody knows what this would cost.
    Unpriced {
        account: AccountName,
    },
}

impl Denied {
    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Limit { kind, .. } => kind.label(),
            Self::Budget(_) => "budget",
            Self::Unpriced { .. } => "unpriced",
            Self::NotReady => "not_ready",
        }
    }
}

/// A budget that does not reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    pub account: AccountName,
    pub limit: NanoUsd,
    pub left: NanoUsd,
    /// Set aside for requests under way, which may need less.
    pub held: NanoUsd,
    pub wanted: NanoUsd,
    pub period: super::Period,
    /// `None` if it never will.
    pub retry_after: Option<Duration>,
}

/// A threshold of a cap was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub account: AccountName,
    pub percent: u8,
    pub spent: NanoUsd,
    pub limit: NanoUsd,
    pub period: super::Period,
    /// When that period, or the newest step of a rolling one, began.
    pub since: Wall,
    /// What was spent from here on is counted.
    pub counts_from: Wall,
    /// The cap's own threshold, and not one that only a receiver wants to hear of.
    pub own: bool,
    pub hard: bool,
}

/// How a request ended, for its accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    pub cost: NanoUsd,
    /// `None` when nobody knows: what was expected stays counted.
    pub tokens: Option<Tokens>,
    /// The border that the record of its end stands behind in the journal; `None`: in no journal, for all that is known.
    pub recorded: Option<Border>,
}

/// A request nobody settled in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    pub request: RequestId,
    pub cost: NanoUsd,
    pub alerts: Vec<Alert>,
}

/// An account as people look at it.
#[derive(Clone, Debug)]
pub struct AccountView {
    pub name: AccountName,
    pub purses: Vec<PurseView>,
    pub requests: Option<Standing>,
    pub tokens: Option<Standing>,
    pub at_once: u32,
}

#[derive(Debug)]
struct Account {
    terms: AccountTerms,
    purses: Vec<Purse>,
    quota: Quota,
    quotas: Vec<(String, Quota)>,
}

/// Set aside in one purse.
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// Which account of the path.
    account: u8,
    purse: PurseId,
    step: StepKey,
    amount: NanoUsd,
}

/// A request between its admission and its end.
#[derive(Debug)]
struct Open {
    path: SmallVec<[AccountName; 4]>,
    model: Arc<str>,
    tokens: Tokens,
    at: Moment,
    /// In which period it belongs, of a cap that comes later, too.
    wall: Wall,
    until: Moment,
    /// With which accounts it was let in.
    came: Opening,
    reserved: NanoUsd,
    holds: SmallVec<[Hold; 4]>,
}

/// The books of one tenant.
#[derive(Debug, Default)]
pub struct Books {
    accounts: HashMap<AccountName, Account>,
    open: HashMap<RequestId, Open>,
    /// Counts the changes of terms.
    opening: Opening,
    purses: PurseIds,
    /// In percent: every cap tells at these shares as well as at its own.
    also_at: Vec<u8>,
}

impl Account {
    fn new(terms: AccountTerms, ids: &mut PurseIds, opening: Opening) -> Self {
        let purse = |cap: &Cap| Purse::new(cap.clone(), ids.next());
        Self {
            purses: terms.caps.iter().map(purse).collect(),
            quota: Quota::new(terms.quota, opening),
            quotas: terms
                .quotas
                .iter()
                .map(|(pattern, terms)| (pattern.clone(), Quota::new(*terms, opening)))
                .collect(),
            terms,
        }
    }

    /// The same account under other terms: what is counted stays counted.
    fn under(self, terms: AccountTerms, ids: &mut PurseIds, opening: Opening) -> Self {
        let purses = kept(self.purses, &terms.caps, ids);
        let mut before: HashMap<String, Quota> = self.quotas.into_iter().collect();
        let quotas = terms
            .quotas
            .iter()
            .map(|(pattern, terms)| {
                let quota = match before.remove(pattern) {
                    Some(quota) => quota.under(*terms, opening),
                    None => Quota::new(*terms, opening),
                };
                (pattern.clone(), quota)
            })
            .collect();
        Self {
            purses,
            quota: self.quota.under(terms.quota, opening),
            quotas,
            terms,
        }
    }

    /// The quotas that count a request for this model.
    fn quotas_of<'a>(&'a mut self, model: &'a str) -> impl Iterator<Item = &'a mut Quota> + 'a {
        let own = self
            .quotas
            .iter_mut()
            .filter(move |(pattern, _)| fits(pattern, model))
            .map(|(_, quota)| quota);
        std::iter::once(&mut self.quota).chain(own)
    }
}

/// The purses of these caps, each with the counts of the one it was before. Caps that stay as they were keep their own:
/// of two of the same time one may be gone.
fn kept(mut old: Vec<Purse>, caps: &[Cap], ids: &mut PurseIds) -> Vec<Purse> {
    let mut take = |is_it: &dyn Fn(&Cap) -> bool| {
        let place = old.iter().position(|purse| is_it(purse.cap()))?;
        Some(old.remove(place))
    };
    let same: Vec<Option<Purse>> = caps.iter().map(|cap| take(&|old| old == cap)).collect();
    let all = caps.iter().zip(same);
    all.map(|(cap, same)| {
        let alike = |old: &Cap| old.period == cap.period && old.zone == cap.zone;
        match same.or_else(|| take(&alike)) {
            Some(purse) => purse.under(cap),
            None => Purse::new(cap.clone(), ids.next()),
        }
    })
    .collect()
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

impl Books {
    /// Brings the accounts to these terms. What the new ones do not name is closed; what was open there is
    /// settled with the rest, and counts under caps that are new as well. `also_at` are shares in percent that somebody
    /// wants to hear of in any case.
    ///
    /// Returns what the new terms reach at once.
    pub fn open_accounts(
        &mut self,
        terms: impl IntoIterator<Item = (AccountName, AccountTerms)>,
        also_at: &[u8],
    ) -> Vec<Alert> {
        self.opening.0 += 1;
        let opening = self.opening;
        self.also_at = also_at.to_vec();
        let mut before = std::mem::take(&mut self.accounts);
        let ids = &mut self.purses;
        let first_new = ids.next();
        self.accounts = terms
            .into_iter()
            .map(|(name, terms)| {
                let account = match before.remove(&name) {
                    Some(account) if account.terms == terms => account,
                    Some(account) => account.under(terms, ids, opening),
                    None => Account::new(terms, ids, opening),
                };
                (name, account)
            })
            .collect();
        self.take_for_open(first_new);
        self.join_open();
        self.all_alerts()
    }

    /// Lets a request in, in one step for every limit and budget on its path, or changes nothing.
    pub fn admit(&mut self, ask: &Ask, now: Moment, wall: Wall) -> Result<Admitted, Denied> {
        // Asked again because the answer was lost: it is in.
        if self.open.contains_key(&ask.request) {
            return Ok(self.told(&ask.path, &ask.model, now));
        }
        self.enter(ask, now)?;
        let holds = match self.afford(&ask.path, ask.most, wall) {
            Ok(()) => self.take(&ask.path, ask.most.unwrap_or_default()),
            Err(denied) => {
                self.refund(ask, usize::MAX, now);
                return Err(denied);
            }
        };
        self.open.insert(
            ask.request,
            Open {
                path: ask.path.clone(),
                model: Arc::clone(&ask.model),
                tokens: ask.tokens,
                at: now,
                wall,
                came: self.opening,
                until: ask.until,
                reserved: ask.most.unwrap_or_default(),
                holds,
            },
        );
        Ok(self.told(&ask.path, &ask.model, now))
    }

    /// Sets more aside for a request that is open: another leg, or another attempt after one that cost something.
    pub fn extend(&mut self, request: RequestId, more: NanoUsd, wall: Wall) -> Result<(), Short> {
        let Some(path) = self.open.get(&request).map(|open| open.path.clone()) else {
            return Ok(());
        };
        match self.afford(&path, Some(more), wall) {
            Ok(()) => {}
            Err(Denied::Budget(short)) => return Err(short),
            Err(Denied::Limit { .. } | Denied::Unpriced { .. } | Denied::NotReady) => {
                return Ok(());
            }
        }
        let holds = self.take(&path, more);
        if let Some(open) = self.open.get_mut(&request) {
            open.holds.extend(holds);
            open.reserved += more;
        }
        Ok(())
    }

    /// Puts what it did cost in the place of what was set aside. Once: later calls change nothing.
    pub fn settle(&mut self, request: RequestId, settled: Settled, now: Moment) -> Vec<Alert> {
        let Some(open) = self.open.remove(&request) else {
            return Vec::new();
        };
        let leaving = Leaving {
            expected: open.tokens,
            used: settled.tokens,
            came: open.came,
            at: open.at,
        };
        for name in &open.path {
            if let Some(account) = self.accounts.get_mut(name) {
                for quota in account.quotas_of(&open.model) {
                    quota.leave(leaving, now);
                }
            }
        }
        let mut counted: SmallVec<[PurseId; 8]> = SmallVec::new();
        for hold in &open.holds {
            let Some(purse) = self.purse(&open.path, hold) else {
                continue;
            };
            purse.give_back(hold.step, hold.amount);
            // The first hold is the one of its admission, and there alone it counts.
            if !counted.contains(&hold.purse) {
                counted.push(hold.purse);
                purse.spend(hold.step, settled.cost, settled.recorded);
            }
        }
        self.alerts(&open.path)
    }

    /// Counts what was let in at this time without being asked about, because nothing on its path had anything to keep,
    /// and ended after that had changed. `None` where it has not.
    pub fn count(
        &mut self,
        path: &[AccountName],
        (at, now): (Wall, Wall),
        settled: Settled,
    ) -> Option<Vec<Alert>> {
        if !path.iter().any(|name| self.has(name)) {
            return None;
        }
        for name in path {
            let Some(account) = self.accounts.get_mut(name) else {
                continue;
            };
            for purse in &mut account.purses {
                purse.roll(now);
                let step = purse.take_at(at, NanoUsd::ZERO);
                purse.spend(step, settled.cost, settled.recorded);
            }
        }
        Some(self.alerts(path))
    }

    /// Settles at what was set aside whatever should have ended by now: it was let in, so it is paid for.
    pub fn expire(&mut self, now: Moment) -> Vec<Expired> {
        let late: Vec<(RequestId, NanoUsd)> = self
            .open
            .iter()
            .filter(|(_, open)| open.until <= now)
            .map(|(request, open)| (*request, open.reserved))
            .collect();
        late.into_iter()
            .map(|(request, cost)| {
                let settled = Settled {
                    cost,
                    ..Settled::default()
                };
                let alerts = self.settle(request, settled, now);
                Expired {
                    request,
                    cost,
                    alerts,
                }
            })
            .collect()
    }

    /// Counts what was spent before: the history that a new process, or a new cap, begins with.
    pub fn remember(&mut self, account: &str, at: Wall, cost: NanoUsd) {
        if let Some(account) = self.accounts.get_mut(account) {
            for purse in &mut account.purses {
                purse.remember(at, cost);
            }
        }
    }

    /// Gets ready to be told the history: from when on it is wanted; `None` when nothing is missing. A cap that comes while
    /// it is told hears nothing of it, and wants it anew.
    pub fn wants_history(&mut self, now: Wall) -> Option<Wall> {
        self.accounts
            .values_mut()
            .flat_map(|account| &mut account.purses)
            .filter(|purse| !purse.is_complete())
            .map(|purse| {
                // What an earlier telling left is told again.
                purse.forget(now)
            })
            .min()
    }

    /// Whether every budget knows what was spent before.
    pub fn is_complete(&self) -> bool {
        let mut purses = self.accounts.values().flat_map(|account| &account.purses);
        purses.all(Purse::is_complete)
    }

    /// The history has been remembered up to a border that was drawn since it was wanted.
    ///
    /// Returns what is reached with it: who knows what was told before tells the rest.
    pub fn complete(&mut self, border: Border, now: Wall) -> Vec<Alert> {
        for purse in self
            .accounts
            .values_mut()
            .flat_map(|account| &mut account.purses)
        {
            purse.roll(now);
            purse.complete(border);
            // Of a clock that was put right: what was remembered may not be all.
            purse.roll(now);
        }
        self.all_alerts()
    }

    #[cfg(test)]
    pub(super) fn most_late(&self) -> usize {
        let purses = self.accounts.values().flat_map(|account| &account.purses);
        purses.map(Purse::late).max().unwrap_or_default()
    }

    pub fn open_requests(&self) -> usize {
        self.open.len()
    }

    pub fn has(&self, account: &str) -> bool {
        self.accounts.contains_key(account)
    }

    /// Every account as it stands now, by name.
    pub fn view(&mut self, now: Moment, wall: Wall) -> Vec<AccountView> {
        let mut views: Vec<AccountView> = self
            .accounts
            .iter_mut()
            .map(|(name, account)| AccountView {
                name: Arc::clone(name),
                purses: account
                    .purses
                    .iter_mut()
                    .map(|purse| {
                        purse.roll(wall);
                        purse.view()
                    })
                    .collect(),
                requests: account.quota.standing(QuotaKind::Requests, now),
                tokens: account.quota.standing(QuotaKind::Tokens, now),
                at_once: account.quota.at_once(),
            })
            .collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    // --- limits ---

    fn enter(&mut self, ask: &Ask, now: Moment) -> Result<(), Denied> {
        let mut entered = 0;
        let mut refused = None;
        'path: for name in &ask.path {
            let Some(account) = self.accounts.get_mut(name) else {
                continue;
            };
            for quota in account.quotas_of(&ask.model) {
                if let Err((kind, retry_after)) = quota.enter(ask.tokens, now) {
                    refused = Some((Arc::clone(name), kind, retry_after));
                    break 'path;
                }
                entered += 1;
            }
        }
        let Some((account, kind, retry_after)) = refused else {
            return Ok(());
        };
        self.refund(ask, entered, now);
        Err(Denied::Limit {
            account,
            kind,
            retry_after,
            told: self.told(&ask.path, &ask.model, now),
        })
    }

    /// Takes back the first so many entries.
    fn refund(&mut self, ask: &Ask, entered: usize, now: Moment) {
        let mut left = entered;
        for name in &ask.path {
            let Some(account) = self.accounts.get_mut(name) else {
                continue;
            };
            for quota in account.quotas_of(&ask.model) {
                if left == 0 {
                    return;
                }
                left -= 1;
                quota.refund(ask.tokens, now, now);
            }
        }
    }

    fn told(&mut self, path: &[AccountName], model: &str, now: Moment) -> Admitted {
        let mut told = Admitted::default();
        for name in path {
            let Some(account) = self.accounts.get_mut(name) else {
                continue;
            };
            for quota in account.quotas_of(model) {
                let places = [
                    (QuotaKind::Requests, &mut told.requests),
                    (QuotaKind::Tokens, &mut told.tokens),
                ];
                for (kind, place) in places {
                    let standing = quota.standing(kind, now);
                    let less = standing.filter(|new| {
                        place.is_none_or(|known: Standing| new.remaining < known.remaining)
                    });
                    *place = less.or(*place);
                }
            }
        }
        told
    }

    // --- money ---

    /// Whether so much could be set aside now. Sets nothing aside.
    pub fn may_afford(
        &mut self,
        path: &[AccountName],
        most: Option<NanoUsd>,
        wall: Wall,
    ) -> Result<(), Denied> {
        self.afford(path, most, wall)
    }

    fn afford(
        &mut self,
        path: &[AccountName],
        most: Option<NanoUsd>,
        wall: Wall,
    ) -> Result<(), Denied> {
        for name in path {
            let Some(account) = self.accounts.get_mut(name) else {
                continue;
            };
            for purse in &mut account.purses {
                // It may find that the clock was put right, and that more has to be read.
                purse.roll(wall);
                if !purse.is_complete() {
                    // A soft one has nothing to say yet.
                    if purse.cap().hard {
                        return Err(Denied::NotReady);
                    }
                    continue;
                }
                let Some(amount) = most else {
                    return Err(Denied::Unpriced {
                        account: Arc::clone(name),
                    });
                };
                if purse.cap().hard && amount > purse.left() {
                    return Err(Denied::Budget(Short {
                        account: Arc::clone(name),
                        limit: purse.cap().limit,
                        left: purse.left(),
                        held: purse.reserved(),
                        wanted: amount,
                        period: purse.cap().period,
                        retry_after: purse.fits_in(amount, wall),
                    }));
                }
            }
        }
        Ok(())
    }

    /// Sets an amount aside in every purse of the path; it is known to fit.
    fn take(&mut self, path: &[AccountName], amount: NanoUsd) -> SmallVec<[Hold; 4]> {
        let mut holds = SmallVec::new();
        for (nth, name) in (0_u8..).zip(path) {
            let Some(account) = self.accounts.get_mut(name) else {
                continue;
            };
            for purse in &mut account.purses {
                holds.push(Hold {
                    account: nth,
                    purse: purse.id(),
                    step: purse.take(amount),
                    amount,
                });
            }
        }
        holds
    }

    /// Sets aside, in every purse from this one on, what is set aside for the requests that are open already: they end
    /// under a cap that was not there when they came in, and no history tells what they cost.
    fn take_for_open(&mut self, first_new: PurseId) {
        for open in self.open.values_mut() {
            for (nth, name) in (0_u8..).zip(&open.path) {
                let Some(account) = self.accounts.get_mut(name) else {
                    continue;
                };
                let purses = account.purses.iter_mut();
                for purse in purses.filter(|purse| purse.id() > first_new) {
                    open.holds.push(Hold {
                        account: nth,
                        purse: purse.id(),
                        step: purse.take_at(open.wall, open.reserved),
                        amount: open.reserved,
                    });
                }
            }
        }
    }

    /// What is open already counts in limits on how much is at once that were not there when it came.
    fn join_open(&mut self) {
        for open in self.open.values() {
            for name in &open.path {
                if let Some(account) = self.accounts.get_mut(name) {
                    account.quotas_of(&open.model).for_each(Quota::join);
                }
            }
        }
        for account in self.accounts.values_mut() {
            account.quota.opened();
            account
                .quotas
                .iter_mut()
                .for_each(|(_, quota)| quota.opened());
        }
    }

    /// The purse a hold is in; `None` when its cap is gone, and with it what was set aside there.
    fn purse(&mut self, path: &[AccountName], hold: &Hold) -> Option<&mut Purse> {
        let name = path.get(usize::from(hold.account))?;
        let mut purses = self.accounts.get_mut(name)?.purses.iter_mut();
        purses.find(|purse| purse.id() == hold.purse)
    }

    fn all_alerts(&mut self) -> Vec<Alert> {
        let mut names: Vec<AccountName> = self.accounts.keys().cloned().collect();
        names.sort_unstable();
        self.alerts(&names)
    }

    fn alerts(&mut self, names: &[AccountName]) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for name in names {
            let Some(account) = self.accounts.get_mut(name) else {
                continue;
            };
            for purse in &mut account.purses {
                for (percent, own) in purse.news(&self.also_at) {
                    alerts.push(Alert {
                        account: Arc::clone(name),
                        percent,
                        spent: purse.spent(),
                        limit: purse.cap().limit,
                        period: purse.cap().period,
                        since: purse.since(),
                        counts_from: purse.counts_from(),
                        own,
                        hard: purse.cap().hard,
                    });
                }
            }
        }
        alerts
    }
}
