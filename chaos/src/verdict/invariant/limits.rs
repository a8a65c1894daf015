//! No rolling minute above a client's limit.

use std::collections::HashMap;

use super::finding;
use crate::report::{Finding, Verdict};
use crate::verdict::index::{Index, Key};

/// The window that limits are for.
const MINUTE_MS: u64 = 60_000;

pub(super) fn window(index: &Index<'_>) -> Option<Finding> {
    let limited = index.scenario.clients.iter();
    let limited: Vec<(&str, u64)> = limited
        .filter_map(|client| Some((client.name.as_str(), client.requests_per_minute?)))
        .collect();
    if limited.is_empty() {
        return None;
    }
    let mut found = finding(
        "window",
        "no rolling minute lets more of a client's requests through to the providers than its limit",
        0,
    );
    let mut told = Vec::new();
    for (client, limit) in limited {
        let passed = passed(index, client);
        let most = most_in_a_minute(&passed);
        found.samples = found.samples.saturating_add(passed.len() as u64);
        if most > limit {
            found.verdict = Verdict::Fail;
            found.value = Some(most as f64);
            found.limit = Some(limit as f64);
        }
        told.push(format!(
            "{client}: {most} of {limit} in the fullest minute, {} in all",
            passed.len()
        ));
    }
    if found.samples > 0 && found.verdict == Verdict::Unknown {
        found.verdict = Verdict::Pass;
    }
    found.why = told.join("; ");
    Some(found)
}

/// When each request of a client was sent, and when the first provider had it.
fn passed(index: &Index<'_>, client: &str) -> Vec<(u64, u64)> {
    let mut first: HashMap<Key, (u64, u64)> = HashMap::new();
    for seen in &index.seen {
        let Some(key) = seen.of else { continue };
        let workload = index.scenario.workloads.get(key.0);
        if workload.and_then(|one| one.client.as_deref()) != Some(client) {
            continue;
        }
        let sent = index.told(key).map_or(seen.at_ms, |told| told.due_ms);
        let entry = first.entry(key).or_insert((sent, seen.at_ms));
        entry.1 = entry.1.min(seen.at_ms);
    }
    let mut passed: Vec<(u64, u64)> = first.into_values().collect();
    passed.sort_unstable();
    passed
}

/// The most requests that were let in within one minute for certain: sent after it began and with a provider before
/// it ended. What the machine delays is held against nobody.
fn most_in_a_minute(passed: &[(u64, u64)]) -> u64 {
    let within = |(nth, (from, _)): (usize, &(u64, u64))| {
        let until = from.saturating_add(MINUTE_MS);
        let later = passed.get(nth..).unwrap_or_default();
        later.iter().filter(|(_, at)| *at < until).count() as u64
    };
    passed.iter().enumerate().map(within).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a19_a_burst_on_both_sides_of_the_edge_is_one_minute() {
        let burst = |from: u64, count: u64| (0..count).map(move |nth| (from + nth, from + nth + 3));
        let apart: Vec<_> = burst(59_000, 10).chain(burst(119_100, 10)).collect();
        assert_eq!(most_in_a_minute(&apart), 10);
        let edge: Vec<_> = burst(59_000, 10).chain(burst(61_000, 10)).collect();
        assert_eq!(most_in_a_minute(&edge), 20);
        assert_eq!(most_in_a_minute(&[]), 0);
    }

    #[test]
    fn what_the_machine_delays_is_held_against_nobody() {
        // Let in at once, and with its provider only a minute later.
        assert_eq!(most_in_a_minute(&[(0, 59_990), (60_000, 60_001)]), 1);
        assert_eq!(most_in_a_minute(&[(0, 59_990), (5, 60_001)]), 1);
        assert_eq!(most_in_a_minute(&[(0, 10), (59_000, 59_999)]), 2);
    }
}
