//! What was spent: the journal's outcomes, added up so that years of them are answered at once.
//!
//! # Why not ask the journal
//! It is the truth, and it is read from one end to the other. Here the same outcomes stand added up by a quarter
//! of an hour, which no time zone's midnight cuts, and the number of the last record that is in stands beside them
//! in the same transaction: each outcome is counted once, whatever is killed when.

mod batch;
mod booking;

use serde::Serialize;

pub use batch::{
    Batch, ByQuarter, Label, LabelKind, MarginPlace, Position, QUARTER, Slice, Sum, booked_in,
};
pub use booking::{Behind, BookingError, Progress, behind, catch_up};
#[cfg(test)]
pub(super) use booking::{Bounds, catch_up_within};

use super::{Pending, StoreDesk, StoreError};
use crate::domain::{Bought, NanoUsd, Wall};

/// What a report is broken down by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendBy {
    Tenant,
    Team,
    Client,
    Provider,
    Model,
    Tag,
    User,
    Day,
    Hour,
}

impl SpendBy {
    pub const ALL: [Self; 9] = [
        Self::Tenant,
        Self::Team,
        Self::Client,
        Self::Provider,
        Self::Model,
        Self::Tag,
        Self::User,
        Self::Day,
        Self::Hour,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Team => "team",
            Self::Client => "client",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Tag => "tag",
            Self::User => "user",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    pub fn by_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.label() == label)
    }
}

/// What is to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendQuestion {
    pub by: SpendBy,
    /// Unix seconds, the end excluded.
    pub from: u64,
    pub to: u64,
    pub tenant: Option<String>,
}

/// One line of a report; days and hours are those of UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpendLine {
    pub name: String,
    #[serde(flatten)]
    pub sum: Sum,
    /// Charged beyond the cost; `None` where that is nobody's, such as a provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin_nano: Option<i64>,
}

impl SpendLine {
    /// What who asked was charged, in nano-dollars, where that can be told.
    pub fn charged_nano(&self) -> Option<u64> {
        let margin = self.margin_nano?;
        Some(self.sum.cost_nano.saturating_add_signed(margin))
    }
}

/// What one client spent in a quarter of an hour, for the books of its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    pub quarter: u64,
    pub team: String,
    pub client: String,
    pub tag: String,
    pub cost: NanoUsd,
}

/// Keeps what was spent.
pub trait SpendStore: Send + Sync {
    fn position(&self) -> Pending<Position>;

    /// Adds a batch read from behind `from`. `false`: something else is in already, and nothing was added.
    fn book(&self, from: Position, batch: Batch) -> Pending<bool>;

    /// Tags, each with its tenant, that are never let go for want of room, because budgets rest on them.
    fn keep(&self, tags: Vec<(String, String)>) -> Pending<()>;

    /// A tenant's costs since a time (unix seconds): once by team and client, and once by tag with neither.
    fn spent(&self, tenant: &str, since: u64) -> Pending<Vec<Spent>>;

    /// What all tenants together cost at a provider since a time (unix seconds), by quarter.
    fn spent_at(&self, provider: &str, since: u64) -> Pending<Vec<(u64, NanoUsd)>>;

    /// What was bought at a provider from this quarter on (unix seconds).
    fn bought(&self, provider: &str, since: u64) -> Pending<Bought>;

    /// When each of these thresholds was told last; see [`threshold`].
    fn alerted(&self, what: Vec<String>) -> Pending<Vec<Option<u64>>>;

    fn report(&self, question: SpendQuestion) -> Pending<Vec<SpendLine>>;
}

/// The journal's name for a threshold of a budget that was told.
pub const ALERT: &str = "budget.alert";

/// What of a budget was reached, as the journal's event tells it before it says how much was spent.
pub fn threshold(percent: u8, limit: NanoUsd, period: &impl std::fmt::Display) -> String {
    format!("{percent} % of {limit} USD ({period})")
}

/// Whose threshold it is, and which.
pub fn alerted(subject: &str, detail: &str) -> String {
    let (threshold, _spent) = detail.split_once(", ").unwrap_or((detail, ""));
    format!("{subject}: {threshold}")
}

/// What was spent at a provider since a time, by quarter; nothing where nothing was ever booked.
pub async fn spent_at(
    store: &StoreDesk,
    provider: &str,
    since: Wall,
) -> Result<Vec<(u64, NanoUsd)>, StoreError> {
    if !store.is_there().await {
        return Ok(Vec::new());
    }
    let books = store.spending().await?;
    books.spent_at(provider, since.0 / 1_000).await
}

/// What was bought at a provider since the beginning of a quarter (unix seconds).
pub async fn bought_at(
    store: &StoreDesk,
    provider: &str,
    since: u64,
) -> Result<Bought, StoreError> {
    if !store.is_there().await {
        return Ok(Bought::default());
    }
    store.spending().await?.bought(provider, since).await
}

/// When each of these was told last; see [`alerted`]. Where the store cannot say, never: rather told twice than not at
/// all.
pub async fn told_before(store: &StoreDesk, what: Vec<String>) -> Vec<Option<u64>> {
    let count = what.len();
    if count == 0 || !store.is_there().await {
        return vec![None; count];
    }
    let asked = async { store.spending().await?.alerted(what).await };
    asked.await.unwrap_or_else(|_| vec![None; count])
}

/// Says which tags have a budget, each with its tenant.
pub async fn keep(store: &StoreDesk, tags: Vec<(String, String)>) -> Result<(), StoreError> {
    if !store.is_there().await {
        return Ok(());
    }
    store.spending().await?.keep(tags).await
}

/// What a tenant spent since a time; nothing where nothing was ever booked.
pub async fn spent_since(
    store: &StoreDesk,
    tenant: &str,
    since: Wall,
) -> Result<Vec<Spent>, StoreError> {
    if !store.is_there().await {
        return Ok(Vec::new());
    }
    store.spending().await?.spent(tenant, since.0 / 1_000).await
}
