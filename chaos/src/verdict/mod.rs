//! What the four records prove: invariants that always hold, and what a scenario expects of its windows.
//!
//! # Unknown is no pass
//! A fault that was never seen, a control phase that was noisy itself, too few samples and a checker that crashed
//! all leave a claim unknown. Only evidence passes.

mod case;
mod expect;
mod index;
mod invariant;
mod series;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::conduct::{Done, Evidence, Plan};
use crate::fault;
use crate::report::{FaultLane, Finding, Origin, Phase, Run, Totals, Verdict};
use crate::scenario::{Expectation, Of, PhaseName, Scenario, Shape};

pub(crate) use index::Index;

/// Judges a run.
#[must_use]
pub fn judge(plan: &Plan, evidence: &Evidence) -> Run {
    let scenario = &plan.scenario;
    let index = Index::of(evidence, scenario);
    let faults = lanes(evidence);
    let unseen: Vec<Vec<String>> = evidence
        .faults
        .iter()
        .map(|done| unseen(done, evidence))
        .collect();
    let notes: Vec<String> = inactive(&unseen)
        .into_iter()
        .chain(noise(evidence))
        .chain(evidence.notes.iter().cloned())
        .collect();
    let doubt = notes.first().cloned();
    let invariants: Vec<Finding> = invariant::ALL
        .iter()
        .filter_map(|check| guarded(check.name, || (check.judge)(&index)))
        .collect();
    let expectations: Vec<Finding> = scenario
        .expectations
        .iter()
        .filter_map(|wanted| guarded(wanted.what.label(), || Some(expect::judge(wanted, &index))))
        .zip(&scenario.expectations)
        .map(|(finding, wanted)| never_was(finding, wanted, evidence, &unseen))
        .map(|finding| in_doubt(finding, doubt.as_deref()))
        .collect();
    let all = invariants
        .iter()
        .chain(&expectations)
        .map(|found| found.verdict);
    let verdict = Verdict::of(all.chain(doubt.as_ref().map(|_| Verdict::Unknown)));
    Run {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        rows: scenario.rows.clone(),
        seed: plan.seed,
        gateway: plan.subject.name().to_owned(),
        replay: String::new(),
        origin: Origin::default(),
        verdict,
        notes,
        phases: evidence
            .phases
            .iter()
            .map(|(name, from_ms, to_ms)| Phase {
                name: name.label().to_owned(),
                from_ms: *from_ms,
                to_ms: *to_ms,
            })
            .collect(),
        faults,
        invariants,
        expectations,
        totals: totals(scenario, evidence),
        series: series::draw(&index),
    }
}

/// A checker that crashes knows nothing, and says so.
fn guarded(name: &str, check: impl FnOnce() -> Option<Finding>) -> Option<Finding> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| {
        Some(Finding {
            name: name.to_owned(),
            claim: format!("the checker of {name} crashed"),
            verdict: Verdict::Unknown,
            why: "the checker crashed; this is a fault of the harness".to_owned(),
            ..Finding::default()
        })
    })
}

/// What would pass on doubtful ground is unknown; what fails on it fails.
fn in_doubt(mut finding: Finding, doubt: Option<&str>) -> Finding {
    if let Some(doubt) = doubt.filter(|_| finding.verdict == Verdict::Pass) {
        finding.verdict = Verdict::Unknown;
        finding.why = doubt.to_owned();
    }
    finding
}

/// A claim about a fault that never was is neither kept nor broken.
fn never_was(
    mut finding: Finding,
    wanted: &Expectation,
    evidence: &Evidence,
    unseen: &[Vec<String>],
) -> Finding {
    let about = |place: usize, done: &Done| match wanted.during {
        Some(number) => number.checked_sub(1) == Some(place),
        None if wanted.what.is_awaited() => {
            let of = wanted
                .of
                .as_ref()
                .filter(|_| wanted.what.of() != Of::Workload);
            of.is_none_or(|of| done.on.contains(of))
        }
        None => false,
    };
    let faults = evidence.faults.iter().zip(unseen).enumerate();
    let missing = faults
        .filter(|(place, (done, unseen))| !unseen.is_empty() && about(*place, done))
        .flat_map(|(_, (_, unseen))| unseen.iter().map(String::as_str));
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        finding.verdict = Verdict::Unknown;
        finding.why = format!("never seen: {}", missing.join(", "));
        finding.cases.clear();
    }
    finding
}

/// A fault that nobody saw proves nothing.
fn inactive(unseen: &[Vec<String>]) -> Option<String> {
    let unseen: Vec<&str> = unseen.iter().flatten().map(String::as_str).collect();
    (!unseen.is_empty()).then(|| {
        format!(
            "never seen: {}; nothing is proven about it",
            unseen.join(", ")
        )
    })
}

/// Where a fault should have been and was not. One that comes at random need not come everywhere.
fn unseen(done: &Done, evidence: &Evidence) -> Vec<String> {
    let elsewhere: u64 = done
        .seen_on
        .values()
        .fold(0, |sum, one| sum.saturating_add(*one));
    let at_gateway = done.seen.saturating_sub(elsewhere);
    let anywhere = seen(done, evidence) > 0;
    if done.on.is_empty() || done.shape == Shape::Random || at_gateway > 0 {
        return if anywhere {
            Vec::new()
        } else {
            vec![done.name.clone()]
        };
    }
    let is_missing = |mock: &&String| {
        let counted = done.seen_on.get(*mock).copied().unwrap_or(0);
        counted.saturating_add(on_the_wire(done, Some(mock), evidence)) == 0
    };
    let missing = done.on.iter().filter(is_missing);
    missing
        .map(|mock| format!("{} on {mock}", done.name))
        .collect()
}

fn seen(done: &Done, evidence: &Evidence) -> u64 {
    done.seen.saturating_add(on_the_wire(done, None, evidence))
}

/// How many requests met a fault, at one mock or at all.
fn on_the_wire(done: &Done, mock: Option<&str>, evidence: &Evidence) -> u64 {
    let met = evidence.wire.iter().filter(|(name, exchange)| {
        exchange.fault.as_deref() == Some(done.label.as_str())
            && mock.is_none_or(|mock| mock == name)
    });
    met.count() as u64
}

/// Why the control phase is none to compare with.
fn noise(evidence: &Evidence) -> Option<String> {
    let (from, to) = evidence
        .phases
        .iter()
        .find(|(name, ..)| *name == PhaseName::Control)
        .map(|(_, from, to)| (*from, *to))?;
    if from == to {
        return None;
    }
    let control: Vec<_> = evidence
        .history
        .iter()
        // What was still under way when the faults began has met them.
        .filter(|told| (from..to).contains(&told.due_ms) && told.end_ms < to)
        .collect();
    let failed = control
        .iter()
        .filter(|told| told.ended.is_failure())
        .count();
    // One in two hundred may be the machine's doing.
    if failed * 200 > control.len() {
        return Some(format!(
            "the control phase had {failed} errors in {} requests; there is nothing to compare with",
            control.len()
        ));
    }
    None
}

fn lanes(evidence: &Evidence) -> Vec<FaultLane> {
    evidence
        .faults
        .iter()
        .map(|done| FaultLane {
            what: what(&done.name),
            fault: done.name.clone(),
            on: if done.on.is_empty() {
                vec!["gateway".to_owned()]
            } else {
                done.on.clone()
            },
            from_ms: done.from_ms,
            to_ms: done.to_ms,
            shape: done.shape.label().to_owned(),
            stretches: stretches(done),
            seen: seen(done, evidence),
        })
        .collect()
}

/// When a random fault was on at some mock; what touches is one.
fn stretches(done: &Done) -> Vec<(u64, u64)> {
    if done.shape != Shape::Random {
        return Vec::new();
    }
    let mut acts: Vec<(u64, u64)> = done
        .acts
        .iter()
        .map(|act| (act.from_ms, act.to_ms))
        .collect();
    acts.sort_unstable();
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (from, to) in acts {
        match all.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => all.push((from, to)),
        }
    }
    all
}

fn what(name: &str) -> String {
    let bare = name.split('/').next().unwrap_or_default();
    let row = fault::row(bare).map(|row| row.what);
    let primitive = || fault::primitive(name).map(|primitive| primitive.what);
    row.or_else(primitive).unwrap_or_default().to_owned()
}

fn totals(scenario: &Scenario, evidence: &Evidence) -> Totals {
    let mut totals = Totals {
        requests: evidence.history.len() as u64,
        attempts: evidence.wire.len() as u64,
        took_ms: evidence.phases.last().map_or(0, |last| last.2),
        ..Totals::default()
    };
    for told in &evidence.history {
        let streams = scenario
            .workloads
            .get(told.workload)
            .is_some_and(|workload| workload.stream);
        totals.streams += u64::from(streams);
        if told.ended.is_failure() {
            *totals.failed.entry(told.ended.label()).or_default() += 1;
        } else {
            totals.ok += 1;
        }
    }
    totals
}
