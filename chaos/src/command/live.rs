//! What is seen while a run goes on: one line, drawn again and again.

use std::io::Write as _;
use std::time::Duration;

use tokio::sync::watch;

use super::carry::WIDTH;
use crate::conduct::{self, Plan, Progress};
use crate::report::{ProgressState, progress_line};

/// What a progress line needs to know of a plan.
pub(super) struct Drawn {
    heading: String,
    phases: Vec<(&'static str, u64, u64)>,
    faults: Vec<(String, u64, u64)>,
}

pub(super) fn drawn(plan: &Plan, heading: &str) -> Drawn {
    let phases: Vec<(&'static str, u64, u64)> = conduct::phases(&plan.scenario)
        .into_iter()
        .map(|(name, from, to)| (name.label(), from, to))
        .collect();
    let window = phases
        .iter()
        .find(|(name, ..)| *name == "faults")
        .map_or((0, 0), |(_, from, to)| (*from, *to));
    let faults = plan
        .scenario
        .faults
        .iter()
        .map(|fault| {
            let from = window.0.saturating_add(fault.at.millis());
            let to = fault
                .lasts
                .map_or(window.1, |lasts| from.saturating_add(lasts.millis()));
            let name = format!("{} {}", fault.fault, fault.on.join(" "));
            (name.trim_end().to_owned(), from, to)
        })
        .collect();
    Drawn {
        heading: heading.to_owned(),
        phases,
        faults,
    }
}

pub(super) async fn draw(drawn: Drawn, mut progress: watch::Receiver<Progress>) {
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{}",
            progress_line(&state(&drawn, &now), WIDTH, true)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn state(drawn: &Drawn, now: &Progress) -> ProgressState {
    let is_now = |from: u64, to: u64| (from..to).contains(&now.elapsed_ms);
    let phase = drawn.phases.iter().find(|(_, from, to)| is_now(*from, *to));
    let failed = now.recent.iter().filter(|(failed, _)| *failed).count();
    let mut waits: Vec<u64> = now
        .recent
        .iter()
        .filter_map(|(_, waited)| *waited)
        .collect();
    waits.sort_unstable();
    let at = |share: f64| {
        let place = (waits.len() as f64 * share) as usize;
        let waited = waits.get(place.min(waits.len().saturating_sub(1)))?;
        Some(Duration::from_millis(*waited))
    };
    ProgressState {
        scenario: drawn.heading.clone(),
        phase: phase.map_or("quiesce", |(name, ..)| *name).to_owned(),
        elapsed: Duration::from_millis(now.elapsed_ms),
        total: Duration::from_millis(drawn.phases.last().map_or(0, |last| last.2)),
        faults: drawn
            .faults
            .iter()
            .filter(|(_, from, to)| is_now(*from, *to))
            .map(|(name, ..)| name.clone())
            .collect(),
        requests: now.requests,
        errors: now.errors,
        error_rate: (!now.recent.is_empty()).then(|| failed as f64 / now.recent.len() as f64),
        p50: at(0.5),
        p99: at(0.99),
    }
}
