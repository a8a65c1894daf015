//! What clients are told of costs.

use serde::{Deserialize, Serialize};

use super::raw::RawConfig;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPricing {
    pub(super) tell_cost: TellCost,
}

/// Whether an answer's usage says what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TellCost {
    Never,
    /// Where the request says `"usage": {"include": true}`.
    #[default]
    Asked,
    Always,
}

/// How costs are passed on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PricingSettings {
    pub tell_cost: TellCost,
}

pub(super) fn settings(raw: &RawConfig) -> PricingSettings {
    PricingSettings {
        tell_cost: raw.pricing.tell_cost,
    }
}
