//! What the gateway keeps: memory, descriptors, work for nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::{finding, own};
use crate::records::Scrape;
use crate::report::{Finding, Verdict};
use crate::scenario::PhaseName;
use crate::verdict::index::Index;

/// Caches, pages an allocator keeps, what grows once with the first traffic of a kind.
const MEMORY_SLACK: f64 = (16 << 20) as f64;
/// What a request may leave behind: its share of windows, histories and journal buffers.
const MEMORY_PER_REQUEST: f64 = (4 << 10) as f64;
/// What an allocator keeps of the pages that the most requests at once have used.
const MEMORY_KEPT: f64 = (32 << 10) as f64;
/// While a request is under way: its body in a few forms, 64 KiB of its answer, two sockets.
const MEMORY_UNDER_WAY: f64 = (192 << 10) as f64;
const DESCRIPTOR_SLACK: u64 = 16;
/// An idle connection to a provider is kept for at most so long.
const KEPT_MS: u64 = 60_000;

pub(super) fn bounded(index: &Index<'_>) -> Option<Finding> {
    own(index)?;
    let mut found = finding(
        "bounded",
        "memory and descriptors return to where the control phase had them, and stay in proportion meanwhile",
        index.evidence.scrapes.len(),
    );
    found.unit = "bytes".to_owned();
    let Some(life) = last_life(index) else {
        found.verdict = Verdict::Unknown;
        found.why = "the process was never looked at twice in one life".to_owned();
        return Some(found);
    };
    let Some((before, after, peak)) = life.memory() else {
        found.verdict = Verdict::Unknown;
        found.why = "the system does not tell the process's memory".to_owned();
        return Some(found);
    };
    let requests = life.requests(index) as f64;
    let most = most_under_way(index, life.from());
    let limit = before + MEMORY_SLACK + requests * MEMORY_PER_REQUEST + most as f64 * MEMORY_KEPT;
    let bodies = largest_prompt(index) as f64 * 4.0;
    let highest = limit + most as f64 * (MEMORY_UNDER_WAY + bodies);
    found.value = Some(after);
    found.limit = Some(limit);
    found.margin = Some(1.0 - after / limit);
    if after > limit {
        found.verdict = Verdict::Fail;
        found.why = "memory did not come back".to_owned();
    } else if peak > highest {
        found.verdict = Verdict::Fail;
        found.value = Some(peak);
        found.limit = Some(highest);
        found.margin = Some(1.0 - peak / highest);
        found.why = format!("memory rose too high for {most} requests at once");
    }
    if let Some(why) = descriptors(index, &life, most) {
        found.verdict = Verdict::Fail;
        found.why = why;
    }
    Some(found)
}

/// The looks at the process in its last life, the first of them from before the faults where there is one.
struct Life<'a>(Vec<&'a Scrape>);

fn last_life<'a>(index: &Index<'a>) -> Option<Life<'a>> {
    let evidence: &'a crate::conduct::Evidence = index.evidence;
    let scrapes = &evidence.scrapes;
    let last = scrapes.last()?;
    let mine = index.life(last.at_ms)?;
    let mut looks: Vec<&Scrape> = scrapes
        .iter()
        .filter(|one| index.life(one.at_ms) == Some(mine))
        .collect();
    let (_, control_ends) = index.phase(PhaseName::Control);
    if let Some(at) = looks.iter().rposition(|one| one.at_ms <= control_ends) {
        looks.drain(..at);
    }
    (looks.len() > 1).then_some(Life(looks))
}

impl Life<'_> {
    fn from(&self) -> u64 {
        self.0.first().map_or(0, |first| first.at_ms)
    }

    /// Resident bytes before, afterwards, and at most.
    fn memory(&self) -> Option<(f64, f64, f64)> {
        let before = self.0.first()?.memory?;
        let after = self.0.last()?.memory?;
        let peak = self.0.iter().filter_map(|one| one.memory).max()?;
        Some((before as f64, after as f64, peak as f64))
    }

    fn requests(&self, index: &Index<'_>) -> usize {
        let history = index.evidence.history.iter();
        history.filter(|told| told.end_ms >= self.from()).count()
    }
}

/// The most requests that were under way at once since then.
fn most_under_way(index: &Index<'_>, since: u64) -> u64 {
    let mut steps: BTreeMap<u64, i64> = BTreeMap::new();
    for told in &index.evidence.history {
        if told.end_ms >= since {
            *steps.entry(told.due_ms).or_default() += 1;
            *steps.entry(told.end_ms.saturating_add(1)).or_default() -= 1;
        }
    }
    let under_way = steps.values().scan(0_i64, |sum, step| {
        *sum = sum.saturating_add(*step);
        Some(*sum)
    });
    u64::try_from(under_way.max().unwrap_or(0)).unwrap_or(0)
}

fn largest_prompt(index: &Index<'_>) -> usize {
    let workloads = index.scenario.workloads.iter();
    workloads
        .map(|workload| workload.prompt_bytes[1])
        .max()
        .unwrap_or(0)
}

fn descriptors(index: &Index<'_>, life: &Life<'_>, most: u64) -> Option<String> {
    let before = u64::from(life.0.first()?.descriptors?);
    let after = u64::from(life.0.last()?.descriptors?);
    let peak = u64::from(life.0.iter().filter_map(|one| one.descriptors).max()?);
    let limit = before
        .saturating_add(DESCRIPTOR_SLACK)
        .saturating_add(kept(index, life));
    // A client's connection, one to a provider, and a second one where two legs race.
    let highest = limit.saturating_add(most.saturating_mul(3));
    if after > limit {
        Some(format!(
            "{before} descriptors before, {after} afterwards, {limit} can be explained"
        ))
    } else if peak > highest {
        Some(format!(
            "{before} descriptors before, {peak} at most, {highest} can be explained"
        ))
    } else {
        None
    }
}

/// Connections to providers that served since the first look and may still be kept for the next request.
fn kept(index: &Index<'_>, life: &Life<'_>) -> u64 {
    let last = life.0.last().map_or(0, |last| last.at_ms);
    let since = life.from().max(last.saturating_sub(KEPT_MS));
    let mut open: BTreeMap<(&str, u64), bool> = BTreeMap::new();
    let mut known: BTreeSet<(&str, u64)> = BTreeSet::new();
    for seen in &index.seen {
        let connection = (seen.mock, seen.exchange.asked.connection);
        if seen.at_ms < life.from() {
            // Open at the first look already.
            known.insert(connection);
        } else if seen.at_ms >= since {
            let whole = seen.exchange.finished && seen.exchange.left.is_none();
            let still = open.entry(connection).or_insert(true);
            *still &= whole;
        }
    }
    let kept = open
        .iter()
        .filter(|(connection, still)| **still && !known.contains(*connection));
    kept.count() as u64
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
pub(super) fn comes_to_rest(index: &Index<'_>) -> Option<Finding> {
    let mut found = finding(
        "comes_to_rest",
        "when the clients are gone nobody works on, and it stops when asked",
        index.evidence.history.len(),
    );
    let left = index.evidence.still_under_way;
    found.value = Some(left as f64);
    found.limit = Some(0.0);
    if left > 0 {
        found.verdict = Verdict::Fail;
        found.why = format!("{left} requests were still under way at the providers");
    } else if own(index).is_some_and(|own| !own.stopped) {
        found.verdict = Verdict::Fail;
        found.why = "it had to be killed".to_owned();
    }
    Some(found)
}
