//! What a request asks of placement, and why it may be refused.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::lease::{Estimate, Target};
use super::router::Routes;
use super::till::{NoMoney, TillDoor};
use crate::domain::{
    Dialect, Lane, ModelName, Moment, NanoUsd, Operation, Preference, RequestId, Shape, Stake,
    Tokens,
};
use crate::policy::residency::{Demand, Server, Violation};
use crate::pricing::{Bounds, Price};

/// Everything placement may know of a request. Never its text.
#[derive(Clone, Debug)]
pub struct Wish {
    pub request: RequestId,
    /// The names in force when the request came in: a request sees one configuration (fault C04).
    pub routes: Arc<Routes>,
    /// The model as the client wrote it.
    pub asked: Arc<str>,
    /// How far along the fallback chain to place.
    pub step: usize,
    /// What is asked: not every provider can be asked for it.
    pub operation: Operation,
    /// Which providers the client would rather have; `None` when it does not say.
    pub preference: Option<Arc<Preference>>,
    pub shape: Shape,
    pub lane: Lane,
    /// For whom it waits, where it has to.
    pub stake: Stake,
    pub estimate: Estimate,
    pub deadline: Moment,
    pub patience: Patience,
    pub purpose: Purpose,
    /// Targets this request has already met.
    pub tried: SmallVec<[Tried; 4]>,
    /// Nobody else is left in the whole chain: [`Again::LastResort`] has come (ground rule G4).
    pub meet_again: bool,
    /// Only targets with a larger context window than this (fault P24).
    pub wider_than: Option<Tokens>,
    /// Only targets that are reached without the egress proxy (fault N14).
    pub direct_only: bool,
    /// What whoever serves it has to promise; `None`: nothing.
    pub demand: Option<Arc<Demand>>,
    /// What bounds its cost.
    pub bounds: Bounds,
}

/// Whether a request would rather wait than be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    None,
    Queue,
}

/// What the lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The request's own attempt; it may be the probe of a blocked endpoint.
    Attempt,
    /// A second leg: never a probe, never queued, never on an endpoint already tried.
    SecondLeg,
}

/// A target this request was at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Address of the endpoint's cell: unique while the request holds a lease's target.
    pub endpoint: usize,
    pub key: usize,
    pub again: Again,
}

/// Where else the same target may be met once more in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Only if no other endpoint or key of the whole chain is left (ground rule G4).
    LastResort,
    /// Another key of the same endpoint may do.
    OtherKey,
    /// As [`Again::OtherKey`], and the same key once its cooldown is over.
    SameKeyLater,
    /// Never, nor any other provider of this dialect: what it says cannot be told to the client.
    OtherDialect(Dialect),
    Never,
}

/// Why a target is not a candidate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    Tried,
    /// The provider has no such operation.
    CannotServe,
    /// The request does not want this provider.
    Unwanted,
    /// An operator took the key out of placement.
    Held,
    /// It does not promise what is demanded of it (attack A20).
    OutsidePolicy(Violation),
    /// It goes through the proxy that just failed.
    BehindProxy,
    ContextTooSmall,
    /// What may be spent at the provider does not reach for this.
    OutOfBudget(Option<Duration>),
    /// As above, until attempts under way have ended.
    MoneyHeld,
    /// There is a budget to keep at the provider, and nobody knows what this costs.
    Unpriced,
    /// The provider does not have the model.
    ModelDisabled(Duration),
    KeyRefused(Duration),
    KeyOutOfQuota(Duration),
    Cooling(Duration),
    WindowFull(Duration),
    KeyBusy,
    EndpointBusy,
    Blocked(Duration),
    ProbeRunning,
}

impl Removed {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Tried => "already tried",
            Self::CannotServe => "operation not offered",
            Self::Unwanted => "not wanted by the request",
            Self::Held => "taken out by the operator",
            Self::OutsidePolicy(violation) => violation.removed(),
            Self::BehindProxy => "behind the proxy that failed",
            Self::ContextTooSmall => "context window too small",
            Self::OutOfBudget(_) => "budget at the provider spent",
            Self::MoneyHeld => "budget at the provider set aside",
            Self::Unpriced => "price unknown, and a budget at the provider to keep",
            Self::ModelDisabled(_) => "model disabled",
            Self::KeyRefused(_) => "key refused by the provider",
            Self::KeyOutOfQuota(_) => "key out of quota",
            Self::Cooling(_) => "key cooling down",
            Self::WindowFull(_) => "rate-limit window full",
            Self::KeyBusy => "key at its concurrency limit",
            Self::EndpointBusy => "endpoint at its in-flight limit",
            Self::Blocked(_) => "breaker blocked",
            Self::ProbeRunning => "breaker probing",
        }
    }

    /// How long until this reason may be gone; `None` when waiting in line does not help.
    pub(crate) fn wait(self) -> Option<Duration> {
        match self {
            Self::Cooling(wait) | Self::WindowFull(wait) => Some(wait),
            // Someone else's lease has to end; nobody knows when.
            Self::KeyBusy | Self::EndpointBusy | Self::MoneyHeld => Some(Duration::from_millis(1)),
            Self::Tried
            | Self::CannotServe
            | Self::Unwanted
            | Self::Held
            | Self::OutsidePolicy(_)
            | Self::OutOfBudget(_)
            | Self::Unpriced
            | Self::BehindProxy
            | Self::ContextTooSmall
            | Self::ModelDisabled(_)
            | Self::KeyRefused(_)
            | Self::KeyOutOfQuota(_)
            | Self::Blocked(_)
            | Self::ProbeRunning => None,
        }
    }

    /// When a client may sensibly come back; unlike [`Removed::wait`] this counts broken endpoints too.
    pub(crate) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::ModelDisabled(wait)
            | Self::KeyRefused(wait)
            | Self::KeyOutOfQuota(wait)
            | Self::Blocked(wait)
            | Self::Cooling(wait)
            | Self::WindowFull(wait) => Some(wait),
            Self::KeyBusy | Self::EndpointBusy | Self::MoneyHeld | Self::ProbeRunning => {
                Some(Duration::from_secs(1))
            }
            Self::OutOfBudget(wait) => wait,
            Self::Tried
            | Self::CannotServe
            | Self::Unwanted
            | Self::Held
            | Self::OutsidePolicy(_)
            | Self::Unpriced
            | Self::BehindProxy
            | Self::ContextTooSmall => None,
        }
    }
}

impl From<NoMoney> for Removed {
    fn from(why: NoMoney) -> Self {
        match why {
            NoMoney::Spent(wait) => Self::OutOfBudget(wait),
            NoMoney::Held => Self::MoneyHeld,
            NoMoney::Unpriced => Self::Unpriced,
        }
    }
}

/// Why a request was not placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: RefusalKind,
    /// When trying again makes sense; `None` when nobody knows.
    pub retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    UnknownModel,
    /// The fallback chain has no further pool.
    ChainEnded,
    /// Every target was tried in this request.
    Exhausted,
    /// Every target would exceed a rate limit now.
    Limited,
    /// No provider of the pool has this operation.
    CannotServe,
    /// The request wants none of the pool's providers.
    Unwanted,
    /// Some do not promise what is demanded, and of the others none can serve.
    OutsidePolicy(Violation),
    /// In-flight limits are reached everywhere.
    Busy,
    /// Waiting would not help: the queue is full, or longer than can be served in time.
    QueueFull,
    /// The queue stands too long already.
    Shed,
    /// The deadline passed, or would pass, while waiting.
    Deadline,
    /// Breakers are blocked everywhere.
    Unhealthy,
    KeysRefused,
    QuotaSpent,
    /// What may be spent at the providers does not reach.
    OutOfBudget,
    /// The providers have budgets to keep, and nobody knows what this costs.
    Unpriced,
    ModelDisabled,
    ContextTooSmall,
    /// A second leg is not allowed now.
    NoRace,
}

impl RefusalKind {
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownModel => "unknown_model",
            Self::ChainEnded => "chain_ended",
            Self::Exhausted => "exhausted",
            Self::Limited => "limited",
            Self::CannotServe => "cannot_serve",
            Self::Unwanted => "unwanted",
            Self::OutsidePolicy(_) => "outside_policy",
            Self::Busy => "busy",
            Self::QueueFull => "queue_full",
            Self::Shed => "codel",
            Self::Deadline => "deadline",
            Self::Unhealthy => "unhealthy",
            Self::KeysRefused => "keys_refused",
            Self::QuotaSpent => "quota_spent",
            Self::OutOfBudget => "out_of_budget",
            Self::Unpriced => "unpriced",
            Self::ModelDisabled => "model_disabled",
            Self::ContextTooSmall => "context_too_small",
            Self::NoRace => "no_race",
        }
    }

    /// Whether what the next pool of a chain says tells a client more.
    pub fn says_little(self) -> bool {
        matches!(
            self,
            Self::Exhausted | Self::CannotServe | Self::Unwanted | Self::OutsidePolicy(_)
        )
    }

    /// Whether time alone is in the way, and not who there is.
    pub fn is_about_time(&self) -> bool {
        match self {
            Self::Limited | Self::Busy | Self::QueueFull | Self::Shed | Self::Deadline => true,
            Self::UnknownModel
            | Self::ChainEnded
            | Self::Exhausted
            | Self::CannotServe
            | Self::Unwanted
            | Self::OutsidePolicy(_)
            | Self::Unhealthy
            | Self::KeysRefused
            | Self::QuotaSpent
            | Self::OutOfBudget
            | Self::Unpriced
            | Self::ModelDisabled
            | Self::ContextTooSmall
            | Self::NoRace => false,
        }
    }

    /// Whether waiting in the pool's line may turn this into a lease.
    pub fn may_wait(self) -> bool {
        matches!(self, Self::Limited | Self::Busy)
    }
}

/// Waiting this long for a target that is known to come back is better than trying one that is known to fail.
const SOON: Duration = Duration::from_secs(1);

/// The reasons that emptied a pool, gathered while judging its targets.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    list: SmallVec<[Removed; 8]>,
}

impl Reasons {
    pub(super) fn add(&mut self, removed: Removed) {
        // Past a handful more of the same tell nothing new.
        if self.list.len() < 64 {
            self.list.push(removed);
        }
    }

    /// The shortest wait that could turn one of the targets into a candidate.
    pub(super) fn shortest_wait(&self) -> Option<Duration> {
        self.list.iter().filter_map(|removed| removed.wait()).min()
    }

    /// Whether breakers are in the way and nothing else will be free soon.
    pub(super) fn only_breakers_help(&self) -> bool {
        let blocked = |removed: &Removed| matches!(removed, Removed::Blocked(_));
        self.list.iter().any(blocked) && self.shortest_wait().is_none_or(|wait| wait >= SOON)
    }

    pub(super) fn refusal(&self) -> Refusal {
        let why = self
            .list
            .iter()
            .map(|removed| kind(*removed))
            .max_by_key(|kind| rank(*kind));
        Refusal {
            why: why.unwrap_or(RefusalKind::Exhausted),
            retry_after: self
                .list
                .iter()
                .filter_map(|removed| removed.retry_after())
                .min(),
        }
    }
}

fn kind(removed: Removed) -> RefusalKind {
    match removed {
        Removed::Tried | Removed::BehindProxy => RefusalKind::Exhausted,
        Removed::CannotServe => RefusalKind::CannotServe,
        Removed::Unwanted => RefusalKind::Unwanted,
        Removed::Held => RefusalKind::Unhealthy,
        Removed::OutsidePolicy(violation) => RefusalKind::OutsidePolicy(violation),
        Removed::ContextTooSmall => RefusalKind::ContextTooSmall,
        Removed::OutOfBudget(_) => RefusalKind::OutOfBudget,
        Removed::Unpriced => RefusalKind::Unpriced,
        Removed::ModelDisabled(_) => RefusalKind::ModelDisabled,
        Removed::KeyRefused(_) => RefusalKind::KeysRefused,
        Removed::KeyOutOfQuota(_) => RefusalKind::QuotaSpent,
        Removed::Cooling(_) | Removed::WindowFull(_) => RefusalKind::Limited,
        Removed::KeyBusy | Removed::EndpointBusy | Removed::MoneyHeld => RefusalKind::Busy,
        Removed::Blocked(_) | Removed::ProbeRunning => RefusalKind::Unhealthy,
    }
}

/// What passes soonest tells the client most.
fn rank(kind: RefusalKind) -> u8 {
    match kind {
        RefusalKind::Busy => 10,
        RefusalKind::Limited => 9,
        // Who is left is ill; who is well may not be asked (fault P26).
        RefusalKind::OutsidePolicy(_) => 8,
        RefusalKind::Unhealthy => 7,
        RefusalKind::QuotaSpent | RefusalKind::OutOfBudget | RefusalKind::Unpriced => 6,
        RefusalKind::KeysRefused => 5,
        RefusalKind::ModelDisabled => 4,
        RefusalKind::ContextTooSmall => 3,
        RefusalKind::Unwanted => 2,
        RefusalKind::CannotServe => 1,
        RefusalKind::Exhausted
        | RefusalKind::UnknownModel
        | RefusalKind::ChainEnded
        | RefusalKind::QueueFull
        | RefusalKind::Shed
        | RefusalKind::Deadline
        | RefusalKind::NoRace => 0,
    }
}

/// How gladly a provider is taken: the client's own order before the price, less before more.
pub(super) type Rank = (usize, NanoUsd);

/// `None` where it is not wanted at all.
fn ranked(wanted: &Preference, provider: &str, price: Option<&Price>) -> Option<Rank> {
    let place = wanted.rank(provider)?;
    let price = price.and_then(Price::per_million);
    if !wanted.max_price.allows(price) {
        return None;
    }
    let cost = match price {
        _ if !wanted.cheapest_first => NanoUsd::ZERO,
        Some((input, output)) => input + output,
        // Whom nobody knows the price of may be dear.
        None => NanoUsd::MAX,
    };
    Some((place, cost))
}

impl Wish {
    /// Whether it wants some targets only: that there is no room for it says nothing of others.
    pub(super) fn is_choosy(&self) -> bool {
        self.demand.is_some()
            || self.preference.is_some()
            || self.wider_than.is_some()
            || self.direct_only
            || !self.tried.is_empty()
            || self.operation != Operation::Chat
    }

    /// How gladly this provider is taken, 0 before 1, or why not at all.
    pub(super) fn rank(
        &self,
        provider: &str,
        dialect: Dialect,
        price: Option<&Price>,
    ) -> Result<Rank, Removed> {
        if !self.operation.is_served_by(dialect) {
            return Err(Removed::CannotServe);
        }
        let unheard = Again::OtherDialect(dialect);
        if self.tried.iter().any(|tried| tried.again == unheard) {
            return Err(Removed::Tried);
        }
        match &self.preference {
            None => Ok(Rank::default()),
            Some(wanted) => ranked(wanted, provider, price).ok_or(Removed::Unwanted),
        }
    }

    /// Whether what is demanded is promised by this target.
    pub(super) fn allows(&self, target: &Target) -> Result<(), Removed> {
        let Some(demand) = &self.demand else {
            return Ok(());
        };
        let model = match &target.endpoint.model {
            Some(model) => model.clone(),
            None => self.wildcard_model(),
        };
        let server = Server {
            provider: target.provider.name.as_str(),
            handling: &target.handling,
            model: model.as_str(),
        };
        demand.allows(server).map_err(Removed::OutsidePolicy)
    }

    /// The most it can cost at this target; asked only where something limits what is spent.
    pub(super) fn most_at(&self, target: &Target, door: &TillDoor) -> Option<NanoUsd> {
        let any = match &target.price {
            Some(_) => None,
            None => Some(self.wildcard_model()),
        };
        let model = any.as_ref().map_or("", ModelName::as_str);
        let priced = (target.price.as_ref(), model);
        door.most(&target.provider, priced, &self.bounds)
    }

    /// The part of the asked name that a wildcard target sends on: what follows `provider/`.
    pub(super) fn wildcard_model(&self) -> ModelName {
        let bare = self
            .asked
            .split_once('/')
            .map_or(&*self.asked, |(_provider, model)| model);
        ModelName::from(bare)
    }
}
