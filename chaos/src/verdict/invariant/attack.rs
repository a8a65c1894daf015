//! What no attack may do: reach a provider.

use super::{finding, own};
use crate::report::{Finding, Verdict};
use crate::verdict::index::Index;

/// Honest clients mark their prompts, abusive ones do not: what comes without a mark got through, or is the
/// gateway's own invention. Only our own gateway is known to invent nothing.
pub(super) fn only_clients(index: &Index<'_>) -> Option<Finding> {
    own(index)?;
    let claim = "no provider is asked for anything but what an honest client sent";
    let mut found = finding("only_clients", claim, index.seen.len());
    let unmarked = index.seen.iter().filter(|seen| seen.of.is_none());
    let mut unmarked: Vec<(u64, &str)> = unmarked.map(|seen| (seen.at_ms, seen.mock)).collect();
    unmarked.sort_unstable();
    found.value = Some(unmarked.len() as f64);
    found.limit = Some(0.0);
    if let (Some((first, mock)), Some((last, _))) = (unmarked.first(), unmarked.last()) {
        found.verdict = Verdict::Fail;
        found.why = format!(
            "{} requests without a client, the first at {mock}",
            unmarked.len()
        );
        found.window = Some((*first, *last));
    }
    Some(found)
}
