//! Something that happened, as it is told.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::{NanoUsd, Wall};

/// What an operator may want to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// A share of a budget below all of it.
    BudgetReached,
    /// All of a budget.
    BudgetExhausted,
    /// A provider says that what was paid for in advance, or its quota, is used up.
    CreditExhausted,
    /// A key is refused.
    KeyQuarantined,
    BreakerBlocked,
    ModelDisabled,
    /// Too few of a pool's endpoints are healthy.
    PoolPanic,
    /// None of them is.
    PoolNoHealthy,
    /// The journal cannot be written, and new requests are refused.
    JournalRefused,
    MemoryShort,
    /// A part of the gateway crashed too often and stays down.
    SubtreeDisabled,
}

impl AlertKind {
    pub const ALL: [Self; 11] = [
        Self::BudgetReached,
        Self::BudgetExhausted,
        Self::CreditExhausted,
        Self::KeyQuarantined,
        Self::BreakerBlocked,
        Self::ModelDisabled,
        Self::PoolPanic,
        Self::PoolNoHealthy,
        Self::JournalRefused,
        Self::MemoryShort,
        Self::SubtreeDisabled,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::BudgetReached => "budget.reached",
            Self::BudgetExhausted => "budget.exhausted",
            Self::CreditExhausted => "credit.exhausted",
            Self::KeyQuarantined => "key.quarantined",
            Self::BreakerBlocked => "breaker.blocked",
            Self::ModelDisabled => "model.disabled",
            Self::PoolPanic => "pool.panic",
            Self::PoolNoHealthy => "pool.no_healthy",
            Self::JournalRefused => "journal.refused",
            Self::MemoryShort => "memory.short",
            Self::SubtreeDisabled => "subtree.disabled",
        }
    }

    pub fn by_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.label() == label)
    }
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    Budget {
        percent: u8,
        spent: NanoUsd,
        limit: NanoUsd,
        period: String,
        /// When the period, or the newest minute of a rolling one, began.
        since: Wall,
        hard: bool,
        /// The budget's own threshold, and not one that only another receiver wants to hear of.
        own: bool,
    },
    /// A few words of the gateway's own; never a client's or a provider's.
    Words(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kind: AlertKind,
    /// An account, `provider/model`, `provider/key`, a pool: a name of the operator's.
    pub subject: String,
    pub at: Wall,
    pub facts: Facts,
}

impl Notice {
    /// Names what happened, for receivers that are told twice.
    pub fn id(&self) -> String {
        let when = match &self.facts {
            Facts::Budget {
                percent,
                limit,
                period,
                since,
                ..
            } => format!("{percent}\n{}\n{period}\n{}", limit.0, since.0),
            Facts::Words(_) => self.at.0.to_string(),
        };
        let whole = format!("{}\n{}\n{when}", self.kind.label(), self.subject);
        let digest = ring::digest::digest(&ring::digest::SHA256, whole.as_bytes());
        let hex = digest.as_ref().iter().take(16);
        let hex: String = hex.map(|byte| format!("{byte:02x}")).collect();
        format!("alert_{hex}")
    }

    /// The body, whose members only ever become more.
    pub fn body(&self) -> Value {
        let data = match &self.facts {
            Facts::Budget {
                percent,
                spent,
                limit,
                period,
                since,
                hard,
                own: _,
            } => json!({
                "account": self.subject,
                "percent": percent,
                "spent_usd": spent.to_string(),
                "limit_usd": limit.to_string(),
                "left_usd": (*limit - *spent).to_string(),
                "period": period,
                "period_began": moment(*since),
                "hard": hard,
            }),
            Facts::Words(words) => json!({"subject": self.subject, "detail": words}),
        };
        json!({
            "id": self.id(),
            "type": self.kind.label(),
            "timestamp": moment(self.at),
            "data": data,
        })
    }
}

/// As RFC 3339 has it.
fn moment(at: Wall) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}
