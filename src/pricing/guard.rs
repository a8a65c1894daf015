//! Whether a registry that arrived from outside may replace the one in use.
//!
//! # Why
//! A file cut in half, an empty answer of a mirror or cents taken for dollars would price everybody's
//! traffic wrongly at once. Prices change; they do not change tenfold, and a fifth of all models does
//! not vanish overnight. When it really does, the operator says so with `force`.

use std::fmt;

use super::model::{Model, Prices, TierPrice};
use super::money::{Factor, Rate};
use super::registry::{Registry, path};
use super::section::joined;

/// A new registry keeps at least this many of a hundred models.
const LEAST_KEPT_PERCENT: u128 = 80;
/// A price that changes by more than this factor, up or down, is taken for a slip.
const MOST_CHANGE: u64 = 10;
/// More reasons than this are only counted.
const MOST_TOLD: usize = 20;

/// One reason not to take a new registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// Of the models in use, too few are in the new registry.
    Shrunk { from: usize, kept: usize },
    /// A provider with models would have none.
    ProviderGone { provider: String },
    /// A model that had a price would have none.
    PriceGone { path: String },
    /// A price or a factor changes beyond belief; both as they are written.
    PriceJump {
        path: String,
        from: String,
        to: String,
    },
}

/// Why a new registry was not taken; the old one stays in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Never empty.
    pub objections: Vec<Objection>,
}

/// May `new` replace `old`? With `force` it may whatever it holds.
pub fn admit(old: &Registry, new: &Registry, force: bool) -> Result<(), Refused> {
    if force {
        return Ok(());
    }
    let mut objections = Vec::new();
    check_size(old, new, &mut objections);
    for model in old.models() {
        if let Some(next) = new.entry(&model.provider, &model.name) {
            check_prices(model, next, &mut objections);
        }
    }
    if objections.is_empty() {
        Ok(())
    } else {
        Err(Refused { objections })
    }
}

fn check_size(old: &Registry, new: &Registry, objections: &mut Vec<Objection>) {
    let from = old.len();
    let stays = |model: &Model| new.entry(&model.provider, &model.name).is_some();
    let kept = old.models().filter(|model| stays(model)).count();
    // Models that came in do not make up for those that went.
    if (kept as u128) * 100 < (from as u128) * LEAST_KEPT_PERCENT {
        objections.push(Objection::Shrunk { from, kept });
    }
    let mut before: Vec<&str> = old.models().map(|model| model.provider.as_str()).collect();
    before.dedup();
    for provider in before {
        if !new.models().any(|model| model.provider == provider) {
            let provider = provider.to_owned();
            objections.push(Objection::ProviderGone { provider });
        }
    }
}

fn check_prices(old: &Model, new: &Model, objections: &mut Vec<Objection>) {
    if !old.prices.is_empty() && new.prices.is_empty() {
        objections.push(Objection::PriceGone { path: path(old) });
        return;
    }
    let mut changes = vec![Change::lists("price", &old.prices, &new.prices)];
    for step in &old.long_context {
        // A step that moved is compared with the list that now holds just above it.
        let next = new
            .long_context
            .iter()
            .rev()
            .find(|next| next.above <= step.above);
        let next = next.map_or(&new.prices, |next| &next.prices);
        changes.push(Change::lists("long_context", &step.prices, next));
    }
    for step in &new.long_context {
        let before = old
            .long_context
            .iter()
            .rev()
            .find(|old| old.above <= step.above);
        let before = before.map_or(&old.prices, |before| &before.prices);
        changes.push(Change::lists("long_context", before, &step.prices));
    }
    for (name, tier) in &old.tiers {
        let key = format!("tiers.{name}");
        changes.push(match (tier, new.tiers.get(name)) {
            (TierPrice::Prices(old), Some(TierPrice::Prices(new))) => Change::lists(&key, old, new),
            (TierPrice::Factor(old), Some(TierPrice::Factor(new))) => {
                Change::factors(&key, Some(*old), Some(*new))
            }
            _ => Vec::new(),
        });
    }
    changes.push(Change::factors(
        "batch_factor",
        old.batch_factor,
        new.batch_factor,
    ));
    for change in changes
        .into_iter()
        .flatten()
        .filter(Change::is_beyond_belief)
    {
        let jump = Objection::PriceJump {
            path: joined(&path(old), "") + "." + &change.key,
            from: change.shown.0,
            to: change.shown.1,
        };
        if !objections.contains(&jump) {
            objections.push(jump);
        }
    }
}

struct Change {
    key: String,
    from: u64,
    to: u64,
    shown: (String, String),
}

impl Change {
    /// What each class is charged before and after, in any class that either list names.
    fn lists(key: &str, old: &Prices, new: &Prices) -> Vec<Self> {
        let of = |class, from: Rate, to: Rate| Self {
            key: format!("{key}.{class}"),
            from: from.nano_usd().0,
            to: to.nano_usd().0,
            shown: (from.to_string(), to.to_string()),
        };
        let named = |class| old.get(class).or(new.get(class)).is_some();
        let mut changes = Vec::new();
        for class in super::model::Class::ALL
            .into_iter()
            .filter(|class| named(*class))
        {
            if let (Some(from), Some(to)) = (old.charged(class), new.charged(class)) {
                changes.push(of(class.label(), from, to));
            }
        }
        changes
    }

    fn factors(key: &str, old: Option<Factor>, new: Option<Factor>) -> Vec<Self> {
        let (from, to) = (old.unwrap_or(Factor::ONE), new.unwrap_or(Factor::ONE));
        vec![Self {
            key: key.to_owned(),
            from: from.millionths(),
            to: to.millionths(),
            shown: (from.to_string(), to.to_string()),
        }]
    }

    /// Also when something that cost becomes free, or the other way round.
    fn is_beyond_belief(&self) -> bool {
        let (low, high) = (self.from.min(self.to), self.from.max(self.to));
        u128::from(high) > u128::from(low) * u128::from(MOST_CHANGE)
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shrunk { from, kept } => {
                write!(f, "only {kept} of {from} models would stay")
            }
            Self::ProviderGone { provider } => write!(f, "{provider} would have no model left"),
            Self::PriceGone { path } => write!(f, "{path} would lose its price"),
            Self::PriceJump { path, from, to } => {
                write!(f, "{path} would change from {from} to {to}")
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the new registry of models was not taken: ")?;
        for (index, objection) in self.objections.iter().take(MOST_TOLD).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{objection}")?;
        }
        if let Some(more) = self
            .objections
            .len()
            .checked_sub(MOST_TOLD)
            .filter(|more| *more > 0)
        {
            write!(f, ", and {more} more")?;
        }
        f.write_str("; check where it came from, or force it")
    }
}

impl std::error::Error for Refused {}
