//! Whether a part's terms stay within those of the whole it is a part of.

use crate::policy::ledger::{AccountTerms, QuotaTerms};

/// The first term that promises more than the account above can keep; `None` when there is none.
///
/// The account above bounds it at every request anyway; what is refused here is the promise (attack A06).
pub(super) fn wider_terms(terms: &AccountTerms, above: &AccountTerms) -> Option<String> {
    if let Some(what) = wider_quota(&terms.quota, &above.quota) {
        return Some(what.to_owned());
    }
    for (_, quota) in &terms.quotas {
        if let Some(what) = wider_quota(quota, &above.quota) {
            return Some(format!("limits.{what}"));
        }
    }
    for cap in &terms.caps {
        let same = |other: &&_| {
            let other: &&crate::policy::ledger::Cap = other;
            other.hard && other.period == cap.period
        };
        let beyond = above
            .caps
            .iter()
            .filter(same)
            .find(|other| cap.limit > other.limit);
        if beyond.is_some() {
            return Some(format!("budgets ({})", cap.period));
        }
    }
    None
}

fn wider_quota(quota: &QuotaTerms, above: &QuotaTerms) -> Option<&'static str> {
    let wider = |own: Option<u64>, above: Option<u64>| {
        own.zip(above).is_some_and(|(own, above)| own > above)
    };
    let at_once = |terms: &QuotaTerms| terms.concurrency.map(u64::from);
    let parts = [
        (
            "requests_per_minute",
            wider(quota.requests_per_minute, above.requests_per_minute),
        ),
        (
            "tokens_per_minute",
            wider(quota.tokens_per_minute, above.tokens_per_minute),
        ),
        ("concurrency", wider(at_once(quota), at_once(above))),
    ];
    parts
        .into_iter()
        .find(|(_, wider)| *wider)
        .map(|(name, _)| name)
}
