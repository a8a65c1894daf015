//! What a request may cost, what it has cost so far, and who pays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::Dispatch;
use super::request::Request;
use super::story::audit_unavailable;
use crate::actors::{
    Clock, News, Published, Seller, Target, TenantCell, TenantEntry, TenantMessage, Turn, wall,
};
use crate::config::RaceMode;
use crate::dialects::openai::ToldCost;
use crate::domain::{
    AttemptOutcome, Border, Failure, FailureKind, Mode, ModelName, Moment, NanoUsd, RequestId,
    ServiceTier, Stake, Tokens, Usage, Weight,
};
use crate::policy::ledger::{AccountName, Admitted, Alert, Ask, Denied, Settled, Short};
use crate::pricing::{Bounds, Due, Margin, Price, Volume};
use crate::store::journal::{Asked, Record};

/// A tenant has its answer within this, or something is very wrong.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// How long after its deadline a request that nobody settled is settled by its tenant.
const GRACE: Duration = Duration::from_secs(120);

/// Who pays for a request.
#[derive(Clone, Debug)]
pub struct Payer {
    pub tenant: Arc<str>,
    /// What it weighs among the tenants.
    pub weight: Weight,
    pub team: Option<Arc<str>>,
    /// The accounts it counts in, the widest first.
    pub path: SmallVec<[AccountName; 4]>,
    /// Whose limits and budgets it has to keep; `None` when no account on the path has any.
    pub entry: Option<Arc<TenantEntry>>,
}

impl Payer {
    /// For whom its requests wait.
    pub(super) fn stake(&self) -> Stake {
        Stake {
            tenant: Arc::clone(&self.tenant),
            weight: self.weight,
        }
    }
}

/// What the attempts of a request have cost. Shared by its legs: the loser of a race ends where no account is
/// at hand.
#[derive(Debug, Default)]
pub struct Bill {
    /// What is added to what providers bill; `None`: nothing.
    margin: Option<Margin>,
    /// What providers bill.
    nanos: AtomicU64,
    /// What is charged for it.
    charged: AtomicU64,
    /// Something in it rests on an estimate.
    estimated: AtomicBool,
    /// Somebody was asked whose price nobody knows.
    unknown: AtomicBool,
}

impl Bill {
    pub fn with(margin: Option<Margin>) -> Self {
        Self {
            margin,
            ..Self::default()
        }
    }

    /// What comes of what a provider bills so much for.
    fn due(&self, billed: NanoUsd, tokens: u64) -> Due {
        Due {
            billed,
            charged: self
                .margin
                .map_or(billed, |margin| margin.on(billed, tokens)),
        }
    }

    fn add(&self, due: Due, estimated: bool) {
        for (sum, more) in [(&self.nanos, due.billed), (&self.charged, due.charged)] {
            let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| {
                Some(sum.saturating_add(more.0))
            });
        }
        if estimated {
            self.estimated.store(true, Ordering::Relaxed);
        }
    }

    /// All of it so far, whatever is unknown left out.
    fn so_far(&self) -> Due {
        let read = |sum: &AtomicU64| NanoUsd(sum.load(Ordering::Relaxed));
        Due {
            billed: read(&self.nanos),
            charged: read(&self.charged),
        }
    }

    pub(super) fn is_estimated(&self) -> bool {
        self.estimated.load(Ordering::Relaxed)
    }

    /// All of it; `None` when a part is not known.
    pub(super) fn total(&self) -> Option<Due> {
        let known = !self.unknown.load(Ordering::Relaxed);
        known.then(|| self.so_far())
    }
}

/// What one attempt costs.
#[derive(Debug)]
pub(super) struct Tab {
    bill: Arc<Bill>,
    price: Price,
    bounds: Bounds,
    input: Tokens,
    mode: Mode,
    seller: Arc<Seller>,
    /// What the provider takes off for who buys much.
    volume: Option<Arc<Volume>>,
}

/// What an attempt used, as its provider told it or as it was estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) usage: Usage,
    pub(super) estimated: bool,
}

impl Used {
    pub(super) fn of(told: Option<Usage>, estimate: impl FnOnce() -> Usage) -> Self {
        Self {
            usage: told.unwrap_or_else(estimate),
            estimated: told.is_none(),
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) due: Due,
    /// What it would have cost without a discount.
    pub(super) list: NanoUsd,
}

impl Tab {
    pub(super) fn open(request: &Request, target: &Target, model: &ModelName) -> Self {
        Self {
            bill: Arc::clone(&request.bill),
            price: price_of(&request.published, target, model),
            bounds: request.bounds(),
            input: request.estimate.input,
            mode: request.shape.mode,
            seller: Arc::clone(&target.seller),
            volume: target.provider.volume.clone(),
        }
    }

    /// Its turn to be priced, until it is dropped; `None` where the order does not matter.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        self.volume.as_ref().map(|_| self.seller.turn())
    }

    /// What its price rests on beside what it used.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            operation: self.bounds.operation,
            choices: self.bounds.choices,
            tier: self.bounds.tier,
        }
    }

    /// What usage that a provider reported costs, and whether that is an estimate.
    fn reported(&self, usage: &Usage) -> (Option<NanoUsd>, bool) {
        match self.price.paid(usage, &self.bounds) {
            Some(cost) => (Some(cost), false),
            // A class without a price was used: what was set aside for it is the least wrong (ground rule G7).
            None => (self.price.most(&self.bounds), true),
        }
    }

    /// The tier it was served in, if that was not to be foreseen.
    pub(super) fn unasked(&self, usage: &Usage) -> Option<ServiceTier> {
        self.price.unasked(usage, &self.bounds)
    }

    /// What the whole request comes to if this attempt is its last and used so much; `None` when a part of it is
    /// not known.
    pub(super) fn told(&self, usage: &Usage) -> Option<ToldCost> {
        let (list, mut estimated) = self.reported(usage);
        let mut billed = list?;
        if let Some(volume) = &self.volume {
            let sold = self.seller.turn().look(volume, billed, wall());
            estimated |= sold.is_unsure;
            billed = sold.billed;
        }
        let due = self.bill.due(billed, Price::tokens(usage, &self.bounds));
        Some(ToldCost {
            cost: self.bill.total()?.plus(due).charged,
            estimated: estimated || self.bill.is_estimated(),
        })
    }

    /// Puts an attempt's cost on the bill: of what was reported or counted, or of what a provider may have begun
    /// to bill. Returns what came of it, if anyone knows.
    pub(super) fn close(
        &self,
        outcome: AttemptOutcome,
        used: Option<Used>,
        sent: Option<Duration>,
        turn: Option<&mut Turn<'_>>,
    ) -> Option<Closed> {
        let ((list, mut estimated), tokens) = match (used, sent) {
            (Some(Used { usage, estimated }), _) => {
                let (list, unsure) = self.reported(&usage);
                let tokens = Price::tokens(&usage, &self.bounds);
                ((list, estimated || unsure), tokens)
            }
            (None, Some(took)) if may_be_billed(outcome) => {
                let (cost, tokens) = self.begun(took);
                ((cost, true), tokens)
            }
            (None, _) => return Some(Closed::default()),
        };
        let Some(list) = list else {
            self.bill.unknown.store(true, Ordering::Relaxed);
            return None;
        };
        let mut billed = list;
        // What nobody counted is neither cheaper for what was bought before, nor counted for what follows.
        let counted = used.filter(|used| !used.estimated).map(|used| used.usage);
        if let Some(usage) = counted {
            let tokens = usage.total().0;
            match (&self.volume, turn) {
                (Some(volume), Some(turn)) => {
                    let sold = turn.sell(volume, (list, tokens), wall());
                    estimated |= sold.is_unsure;
                    billed = sold.billed;
                }
                // Terms may begin to ask for it at any time.
                (None, _) | (_, None) => self.seller.turn().bought((list, tokens), wall()),
            }
        }
        let due = self.bill.due(billed, tokens);
        self.bill.add(due, estimated);
        Some(Closed { due, list })
    }

    /// What a provider may have written until we hung up, as dear as it may be (ground rule G7), and in how many
    /// tokens.
    ///
    /// # Why so much
    /// Nobody tells. An answer that was to come whole goes on being written when its reader leaves; a stream ends
    /// with its connection, and until then no provider writes faster than this.
    fn begun(&self, took: Duration) -> (Option<NanoUsd>, u64) {
        const TOKENS_PER_MS: u64 = 2;
        let most_tokens = self.price.most_tokens(&self.bounds);
        let most = match self.price.most(&self.bounds) {
            Some(most) if self.mode == Mode::Stream => most,
            whole @ (Some(_) | None) => return (whole, most_tokens),
        };
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let choices = u64::from(self.bounds.choices.max(1));
        let written = millis.saturating_mul(TOKENS_PER_MS).saturating_mul(choices);
        let begun = Usage {
            input: self.input,
            output: Tokens(written.max(1)),
            ..Usage::default()
        };
        match self.price.paid(&begun, &self.bounds) {
            Some(cost) if cost <= most => (
                Some(cost),
                Price::tokens(&begun, &self.bounds).min(most_tokens),
            ),
            Some(_) | None => (Some(most), most_tokens),
        }
    }
}

/// Whether a provider may bill for an attempt that brought no usage: it took the request and said no error.
fn may_be_billed(outcome: AttemptOutcome) -> bool {
    match outcome {
        AttemptOutcome::Ok
        | AttemptOutcome::BadBody
        | AttemptOutcome::Unoffered
        | AttemptOutcome::Untranslatable
        | AttemptOutcome::FirstContentTimeout
        | AttemptOutcome::GapTimeout
        | AttemptOutcome::Reset
        | AttemptOutcome::Truncated
        | AttemptOutcome::Cancelled
        | AttemptOutcome::Deadline
        | AttemptOutcome::TooLarge => true,
        AttemptOutcome::Throttled
        | AttemptOutcome::Quota
        | AttemptOutcome::Auth
        | AttemptOutcome::Rejected
        | AttemptOutcome::Overloaded
        | AttemptOutcome::ServerError
        | AttemptOutcome::Connect
        | AttemptOutcome::Tls
        | AttemptOutcome::Dns
        | AttemptOutcome::Egress
        | AttemptOutcome::ModelGone
        | AttemptOutcome::Token
        | AttemptOutcome::Poison => false,
    }
}

fn price_of(published: &Published, target: &Target, model: &ModelName) -> Price {
    match &target.price {
        Some(price) => price.clone(),
        None => published.settings.price(&target.provider, model.as_str()),
    }
}

/// The most that one copy of a request may come to, wherever along its chain it is served; `None` when that is not known
/// of someone on it.
fn most_of_a_copy(request: &Request) -> Option<Due> {
    let bounds = request.bounds();
    let asked = request.asked.split_once('/');
    let asked = asked.map_or(&*request.asked, |(_provider, model)| model);
    let due = |price: &Price| {
        let most = price.most(&bounds)?;
        Some(request.bill.due(most, price.most_tokens(&bounds)))
    };
    request.route.most(&request.published.settings, asked, due)
}

/// The most that a request may come to, all copies of it that are sent whatever happens; `None` when nobody knows.
pub(super) fn most_of(request: &Request) -> Option<Due> {
    most_of_a_copy(request).map(|copy| copy.times(copies(request)))
}

/// What is held for a request in its tenant's books, until it is settled.
#[derive(Debug)]
pub(super) struct Charge {
    entry: Arc<TenantEntry>,
    request: RequestId,
    bill: Arc<Bill>,
    clock: Clock,
    news: Arc<News>,
    /// What one copy may come to; `None` when nobody knows.
    copy: Option<Due>,
    reserved: Due,
    pub(super) told: Admitted,
    /// What was used in tokens, once known.
    pub(super) used: Option<Tokens>,
    /// The border that its outcome stands behind in the journal, once that was handed in.
    recorded: Option<Border>,
}

impl Charge {
    /// What is set aside; `None` where nobody knew how much that should be.
    pub(super) fn held(&self) -> Option<Due> {
        self.copy.map(|_| self.reserved)
    }

    /// What it comes to: where a part is unknown, what was set aside (ground rule G7); `None` where nobody knew
    /// how much that should be.
    pub(super) fn due(&self) -> Option<Due> {
        let set_aside = self.held().map(|held| held.max(self.bill.so_far()));
        self.bill.total().or(set_aside)
    }

    /// Ends it, its outcome behind this border of the journal.
    pub(super) fn settle(mut self, recorded: Option<Border>) {
        self.recorded = recorded;
    }
}

impl Drop for Charge {
    /// Settled where it ends, whoever drops it (ground rule G13).
    fn drop(&mut self) {
        let settled = Settled {
            cost: self.due().unwrap_or_else(|| self.bill.so_far()).charged,
            tokens: self.used,
            recorded: self.recorded,
        };
        let cell = &self.entry.cell;
        let alerts = cell.settle(self.request, settled, self.clock.now());
        tell_spent(&self.news, (cell, settled.cost), &alerts);
    }
}

/// A tenant has spent so much, which may have reached something.
pub(super) fn tell_spent(news: &News, (cell, cost): (&TenantCell, NanoUsd), alerts: &[Alert]) {
    cell.metrics.spent(cost);
    for alert in alerts {
        news.budget_alert(cell, alert);
    }
}

impl Dispatch {
    /// Asks the tenant whether a request comes in, and has the most it can cost set aside. `None` for those who
    /// have no limits to keep.
    pub(super) async fn admit(&self, request: &Request) -> Result<Option<Charge>, Failure> {
        let Some(entry) = request.caller.payer.entry.as_ref() else {
            return Ok(None);
        };
        let copy = most_of_a_copy(request);
        let copies = copies(request);
        let most = copy.map(|copy| copy.times(copies));
        let ask = Ask {
            request: request.id,
            path: request.caller.payer.path.clone(),
            model: Arc::clone(&request.asked),
            tokens: request.estimate.input + request.estimate.output,
            most: most.map(|most| most.charged),
            until: self.until(request),
        };
        // Made before it is asked: who leaves while the answer is on its way settles what that answer let in, and
        // settling what was never let in changes nothing.
        let mut charge = Charge {
            entry: Arc::clone(entry),
            request: request.id,
            bill: Arc::clone(&request.bill),
            clock: self.clock,
            news: Arc::clone(&self.news),
            copy,
            reserved: most.unwrap_or_default(),
            told: Admitted::default(),
            used: None,
            recorded: None,
        };
        let limit = (Instant::now() + ASK_LIMIT).min(request.deadline);
        let answer = entry
            .slot
            .ask(limit, |reply| TenantMessage::Admit {
                ask: ask.clone(),
                reply,
            })
            .await;
        match answer {
            Ok(Ok(told)) => {
                charge.told = told;
                Ok(Some(charge))
            }
            Ok(Err(denied)) => {
                entry.cell.metrics.denied(denied.label());
                Err(failure(&denied))
            }
            Err(_away) => Err(books_unavailable()),
        }
    }

    /// When nobody will settle a request any more.
    fn until(&self, request: &Request) -> Moment {
        self.clock.moment(request.deadline).after(GRACE)
    }

    /// Makes sure that so many copies more are covered beside what was spent already.
    pub(super) async fn cover(
        &self,
        request: &Request,
        charge: Option<&mut Charge>,
        copies: u64,
    ) -> Result<(), Failure> {
        let Some(charge) = charge else {
            return Ok(());
        };
        let copies = charge.copy.unwrap_or_default().times(copies);
        let needed = charge.bill.so_far().plus(copies);
        let more = needed.beyond(charge.reserved);
        if more == Due::NOTHING {
            return Ok(());
        }
        let limit = (Instant::now() + ASK_LIMIT).min(request.deadline);
        let asked = charge
            .entry
            .slot
            .ask(limit, |reply| TenantMessage::Extend {
                request: request.id,
                more: more.charged,
                reply,
            })
            .await;
        match asked {
            Ok(Ok(())) => charge.reserved = charge.reserved.plus(more),
            Ok(Err(short)) => return Err(failure(&Denied::Budget(short))),
            Err(_away) => return Err(books_unavailable()),
        }
        // A kill from here on is settled at what stands in the journal.
        let (_, safe) = self.journal().before_sending(&Record::Reserve {
            request: request.id,
            more_nano: more.charged.0,
            more_bill_nano: more.billed.0,
        });
        safe.await.map(drop).map_err(|_| audit_unavailable())
    }
}

/// How many copies of a request are sent whatever happens.
fn copies(request: &Request) -> u64 {
    use super::request::RaceMark;
    let race = request.route.chain.first().map(|pool| pool.settings.race);
    let both = match (race, request.race) {
        (None | Some(RaceMode::Never), _) | (_, RaceMark::Off) => false,
        (Some(RaceMode::Always), _) | (Some(RaceMode::Marked), RaceMark::Dual) => true,
        (Some(RaceMode::Marked), RaceMark::None) => false,
    };
    if both { 2 } else { 1 }
}

fn failure(denied: &Denied) -> Failure {
    match denied {
        Denied::Limit {
            account,
            kind,
            retry_after,
            ..
        } => Failure::new(
            FailureKind::RateLimited,
            format!(
                "the gateway's own limit of {} for {account:?} is reached",
                kind.label()
            ),
        )
        .retry_after(*retry_after),
        Denied::Budget(short) => over_budget(short),
        Denied::NotReady => books_unavailable(),
        Denied::Unpriced { account } => Failure::new(
            FailureKind::PriceUnknown,
            format!(
                "{account:?} has a budget, and nobody knows what this model costs; its operator can add a price to the registry, or mark the provider free"
            ),
        ),
    }
}

fn over_budget(short: &Short) -> Failure {
    let Short {
        account,
        limit,
        left,
        wanted,
        period,
        retry_after,
        held: _,
    } = short;
    let failure = Failure::new(
        FailureKind::BudgetExceeded,
        format!(
            "the budget of {account:?} does not reach: {left} of {limit} USD are left ({period}), and this request may cost {wanted}; a smaller limit on the answer's length lowers that"
        ),
    );
    match retry_after {
        Some(wait) => failure.retry_after(*wait),
        None => failure,
    }
}

fn books_unavailable() -> Failure {
    Failure::new(
        FailureKind::Overloaded,
        "the gateway cannot look into its books now and lets nothing in unpaid",
    )
    .retry_after(Duration::from_secs(1))
}
