//! What is booked beside what it comes to at the prices of today, and what the journal has lost of it.

use std::collections::BTreeMap;

use serde_json::json;
use switchyard::store::spending::{ByQuarter, QUARTER};

use super::shown;
use crate::command::audit::dollars;
use crate::command::time;

/// What changes for one tenant's use of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) requests: u64,
    /// As the reports have it now: what was put right before is no news.
    pub(super) before: u64,
    pub(super) after: u64,
    /// Requests that are booked, and of which the journal knows nothing any more.
    pub(super) gone: u64,
}

/// What becomes of what is booked.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// By tenant, provider and model.
    pub(super) changes: BTreeMap<(String, String, String), Change>,
    /// Requests of all of them.
    gone: u64,
    /// The end (unix seconds) of the last quarter of which some are gone; 0 where none are.
    whole_from: u64,
}

impl Compared {
    /// Quarter by quarter: what one has beyond what is booked makes up for nothing that is gone from another.
    pub(super) fn of(before: ByQuarter, after: ByQuarter) -> Self {
        let mut all = Self::default();
        for (quarter, booked) in &before {
            let found = after.get(quarter);
            for (names, before) in booked {
                let found = found.and_then(|found| found.get(names));
                let found = found.map_or(0, |sum| sum.requests);
                let gone = before.requests.saturating_sub(found);
                let change = all.changes.entry(names.clone()).or_default();
                change.before = change.before.saturating_add(before.cost_nano);
                change.gone += gone;
                all.gone += gone;
                if gone > 0 {
                    all.whole_from = quarter + QUARTER;
                }
            }
        }
        for (names, after) in after.into_values().flatten() {
            let change = all.changes.entry(names).or_default();
            change.requests += after.requests;
            change.after = change.after.saturating_add(after.cost_nano);
        }
        all
    }

    /// What is gone, and the cure; `None` where the journal has all that is booked.
    pub(super) fn lost(&self, to: u64) -> Option<String> {
        if self.gone == 0 {
            return None;
        }
        let cure = if self.whole_from < to {
            let whole = time::rfc3339(self.whole_from * 1_000);
            format!("from {whole} on it is whole, so name that with --from")
        } else {
            "it is not whole to its end, so name an earlier --to, or restore the journal".to_owned()
        };
        Some(format!(
            "the journal of this stretch has lost {} requests that are booked; {cure}",
            self.gone
        ))
    }

    fn sums(&self) -> (u64, u64) {
        let all = || self.changes.values();
        let sum = |of: fn(&Change) -> u64| all().map(of).fold(0, u64::saturating_add);
        (sum(|change| change.before), sum(|change| change.after))
    }

    pub(super) fn document(&self, dry_run: bool, (from, to): (u64, u64)) -> String {
        let changes = self.changes.iter();
        let lines: Vec<_> = changes
            .map(|((tenant, provider, model), change)| {
                json!({
                    "tenant": tenant, "provider": provider, "model": model,
                    "requests": change.requests, "gone": change.gone,
                    "before_nano": change.before, "after_nano": change.after,
                })
            })
            .collect();
        let (before, after) = self.sums();
        let document = json!({
            "from": from, "to": to, "dry_run": dry_run, "gone": self.gone,
            "before_nano": before, "after_nano": after, "changes": lines,
        });
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    pub(super) fn table(&self, (from, to): (u64, u64)) -> String {
        let gone = |gone: u64| match gone {
            0 => String::new(),
            some => format!("  ({some} requests gone)"),
        };
        let mut lines = Vec::new();
        for ((tenant, provider, model), change) in &self.changes {
            if change.before == change.after && change.gone == 0 {
                continue;
            }
            let who = format!("{tenant}  {provider}/{model}");
            lines.push(format!(
                "{:<56} {:>8} requests  {} → {} USD{}",
                shown(&who),
                change.requests,
                dollars(change.before),
                dollars(change.after),
                gone(change.gone)
            ));
        }
        let (before, after) = self.sums();
        lines.push(format!(
            "{} to {}: {} → {} USD{}",
            time::rfc3339(from * 1_000),
            time::rfc3339(to * 1_000),
            dollars(before),
            dollars(after),
            gone(self.gone)
        ));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use switchyard::store::spending::Sum;

    use super::*;

    #[test]
    fn m1_what_the_journal_lost_is_told_and_is_not_taken_for_money_saved() {
        let names = |tenant: &str| (tenant.to_owned(), "acme".to_owned(), "m-1".to_owned());
        let sum = |requests: u64, cost_nano: u64| Sum {
            requests,
            cost_nano,
            ..Sum::default()
        };
        let at = |quarters: &[(u64, &str, u64)]| {
            let mut all = ByQuarter::new();
            for (quarter, tenant, requests) in quarters {
                let quarter = all.entry(quarter * QUARTER).or_default();
                quarter.insert(names(tenant), sum(*requests, 1_000_000_000 * requests));
            }
            all
        };
        let before = at(&[(1, "a", 3), (2, "a", 1), (2, "b", 2), (3, "a", 1)]);
        // One more in another quarter makes up for none of them.
        let after = at(&[(1, "a", 2), (2, "a", 1), (3, "a", 2)]);
        let compared = Compared::of(before.clone(), after);
        assert_eq!((compared.gone, compared.whole_from), (3, 3 * QUARTER));
        let told = compared.lost(4 * QUARTER).unwrap();
        assert!(told.contains("lost 3 requests"), "{told}");
        assert!(told.contains("from 1970-01-01T00:45:00.000Z on"), "{told}");
        // With nothing left of it there is no later one to name.
        let told = compared.lost(3 * QUARTER).unwrap();
        assert!(!told.contains("--from"), "{told}");
        let text = compared.table((0, 4 * QUARTER));
        let lines: Vec<_> = text.lines().collect();
        // The first comes to the same and is shown for what is gone.
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].ends_with("(1 requests gone)"), "{text}");
        assert!(lines[1].ends_with("(2 requests gone)"), "{text}");
        assert!(lines[2].ends_with("(3 requests gone)"), "{text}");
        let document = compared.document(true, (0, 4 * QUARTER));
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let gone: Vec<_> = document["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["gone"].as_u64().unwrap())
            .collect();
        assert_eq!((document["gone"].as_u64(), gone), (Some(3), vec![1, 2]));
        let whole = Compared::of(before.clone(), before);
        assert_eq!(whole.lost(4 * QUARTER), None);
        assert!(!whole.table((0, 1)).contains("gone"));
    }
}
