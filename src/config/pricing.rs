//! What is charged for what providers bill, and what clients are told of it.

use serde::{Deserialize, Serialize};

use super::judge::Judge;
use super::raw::RawConfig;
use super::settings::{TenantSettings, allows};
use crate::domain::money::AmountError;
use crate::pricing::{Factor, Margin};

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPricing {
    pub(super) tell_cost: TellCost,
    pub(super) margins: Vec<RawMargin>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMargin {
    tenant: Option<String>,
    pool: Option<String>,
    percent: Option<String>,
    usd_per_million_tokens: Option<String>,
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
    margins: Vec<MarginSettings>,
}

/// A margin, and whose requests it is added to.
#[derive(Clone, Debug, PartialEq)]
struct MarginSettings {
    /// `None`: everyone's.
    tenant: Option<String>,
    /// Of the name that is asked for; `*` stands for any run of characters at the end.
    pool: String,
    margin: Margin,
}

impl PricingSettings {
    /// What is added to a request's cost: the first margin that fits it. `None`: nothing.
    pub fn margin(&self, tenant: &str, asked: &str) -> Option<Margin> {
        let fits = |one: &&MarginSettings| {
            one.tenant.as_deref().is_none_or(|name| name == tenant)
                && allows(std::slice::from_ref(&one.pool), asked)
        };
        self.margins.iter().find(fits).map(|one| one.margin)
    }
}

pub(super) fn settings(judge: &mut Judge<'_>, raw: &RawConfig) -> PricingSettings {
    let margins = raw.pricing.margins.iter().enumerate();
    PricingSettings {
        tell_cost: raw.pricing.tell_cost,
        margins: margins
            .filter_map(|(index, margin)| {
                let path = format!("pricing.margins[{index}]");
                one(judge, raw, &path, margin)
            })
            .collect(),
    }
}

fn one(
    judge: &mut Judge<'_>,
    raw: &RawConfig,
    path: &str,
    margin: &RawMargin,
) -> Option<MarginSettings> {
    if let Some(tenant) = &margin.tenant
        && tenant != TenantSettings::DEFAULT
        && !raw.tenants.contains_key(tenant)
    {
        judge.wrong(
            format!("{path}.tenant"),
            format!("there is no tenant {tenant:?}"),
            format!("add [tenants.{tenant}], or correct the name"),
        );
    }
    if margin.percent.is_none() && margin.usd_per_million_tokens.is_none() {
        judge.wrong(
            path,
            "adds nothing",
            "add percent = \"20\" or usd_per_million_tokens = \"0.10\"",
        );
        return None;
    }
    let mut wrong = |name: &str, text: &str, error: AmountError, cure: &str| {
        judge.wrong(
            format!("{path}.{name}"),
            format!("{text:?} is no amount: {error}"),
            cure,
        );
    };
    let percent = margin.percent.as_deref().unwrap_or("0");
    let share = Factor::of_percent(percent)
        .map_err(|error| wrong("percent", percent, error, "write a text such as \"12.5\""));
    let per_million = margin.usd_per_million_tokens.as_deref().unwrap_or("0");
    let rate = per_million.parse().map_err(|error| {
        let cure = "write dollars as a text, such as \"0.10\"";
        wrong("usd_per_million_tokens", per_million, error, cure);
    });
    Some(MarginSettings {
        tenant: margin.tenant.clone(),
        pool: margin.pool.clone().unwrap_or_else(|| "*".to_owned()),
        margin: Margin {
            share: share.ok()?,
            per_million: rate.ok()?,
        },
    })
}
