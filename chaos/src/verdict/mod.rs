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

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::conduct::{Evidence, Plan, Subject};
use crate::fault;
use crate::report::{FaultLane, Finding, Phase, Run, Totals, Verdict};
use crate::scenario::{PhaseName, Scenario};

pub(crate) use index::Index;

/// Judges a run.
#[must_use]
pub fn judge(plan: &Plan, evidence: &Evidence) -> Run {
    let scenario = &plan.scenario;
    let index = Index::of(evidence, scenario);
    let faults = lanes(evidence);
    let notes: Vec<String> = inactive(&faults)
        .into_iter()
        .chain(noise(evidence))
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
        gateway: gateway_name(plan),
        replay: String::new(),
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

fn gateway_name(plan: &Plan) -> String {
    match &plan.subject {
        Subject::Binary { .. } => "switchyard".to_owned(),
        Subject::Url { name, .. } => name.clone(),
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

/// A fault that nobody saw proves nothing.
fn inactive(faults: &[FaultLane]) -> Option<String> {
    let unseen: Vec<&str> = faults
        .iter()
        .filter(|lane| lane.seen == 0)
        .map(|lane| lane.fault.as_str())
        .collect();
    (!unseen.is_empty()).then(|| {
        format!(
            "never seen on the wire: {}; nothing is proven about it",
            unseen.join(", ")
        )
    })
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
        .map(|done| {
            let on_the_wire = evidence
                .wire
                .iter()
                .filter(|(_, exchange)| exchange.fault.as_deref() == Some(&done.label))
                .count();
            FaultLane {
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
                seen: done.seen.saturating_add(on_the_wire as u64),
            }
        })
        .collect()
}

fn what(name: &str) -> String {
    let bare = name.split('/').next().unwrap_or_default();
    let row = fault::row(bare).map(|row| row.what);
    let primitive = || {
        fault::PRIMITIVES
            .iter()
            .find(|primitive| primitive.name == name)
            .map(|primitive| primitive.what)
    };
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
