//! What was paid for at a provider in advance: it bills no more than that.

use std::collections::BTreeMap;

use super::money::{Nanos, bill_of, usd};
use super::{finding, own};
use crate::report::{Finding, Verdict};
use crate::verdict::index::Index;

/// Of a credit that ran dry at least so many hundredths were used: what is left pays for no further request.
const DRY: Nanos = 80;

/// What a mock billed.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    requests: u64,
    billed: Nanos,
    /// Of requests that a kill caught: what was under way then may be lost to the books.
    caught: Nanos,
}

pub(super) fn credit_kept(index: &Index<'_>) -> Option<Finding> {
    own(index)?;
    let credits = index.scenario.credits();
    if credits.is_empty() {
        return None;
    }
    let claim =
        "no provider bills more than was paid for in advance, and what was paid for is used";
    let used = used(index);
    let samples: u64 = used.values().map(|used| used.requests).sum();
    let mut found = finding("credit_kept", claim, usize::try_from(samples).unwrap_or(0));
    found.unit = "USD".to_owned();
    let mut told = Vec::new();
    for (name, credit) in credits {
        let (used, credit) = (
            used.get(name).copied().unwrap_or_default(),
            Nanos::from(credit),
        );
        told.push(format!(
            "{name}: {} billed for {} requests, of {}",
            usd(used.billed),
            used.requests,
            usd(credit)
        ));
        let sure = used.billed.saturating_sub(used.caught);
        let is_dry = used.billed.saturating_mul(100) >= credit.saturating_mul(DRY);
        if sure > credit {
            found.verdict = Verdict::Fail;
            found.value = Some(sure as f64 / 1e9);
            found.limit = Some(credit as f64 / 1e9);
        } else if !is_dry && found.verdict == Verdict::Pass {
            found.verdict = Verdict::Unknown;
            told.push("it never ran dry, and nothing is proven".to_owned());
        }
    }
    found.why = told.join("; ");
    Some(found)
}

/// What each mock billed, and for how many requests.
fn used<'a>(index: &Index<'a>) -> BTreeMap<&'a str, Used> {
    let (prices, caught) = (index.scenario.prices(), index.caught());
    let mut all: BTreeMap<&str, Used> = BTreeMap::new();
    for seen in index.seen.iter().filter(|seen| !seen.sent_again) {
        let Some(bill) = bill_of(seen, &prices) else {
            continue;
        };
        let used = all.entry(seen.mock).or_default();
        used.requests = used.requests.saturating_add(1);
        used.billed = used.billed.saturating_add(bill);
        if seen.of.is_some_and(|of| caught.contains(&of)) {
            used.caught = used.caught.saturating_add(bill);
        }
    }
    all
}
