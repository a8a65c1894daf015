//! How many of which verdict, and what makes a run less than passed.

use super::{Finding, Run, Verdict};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) pass: usize,
    pub(super) unknown: usize,
    pub(super) fail: usize,
}

impl Tally {
    pub(super) fn of(all: impl IntoIterator<Item = Verdict>) -> Self {
        let mut tally = Self::default();
        for verdict in all {
            match verdict {
                Verdict::Pass => tally.pass += 1,
                Verdict::Unknown => tally.unknown += 1,
                Verdict::Fail => tally.fail += 1,
            }
        }
        tally
    }

    pub(super) fn all(self) -> usize {
        self.pass + self.unknown + self.fail
    }

    /// `1 failed, 2 unknown, 18 passed`: the worst first, what there is none of left out.
    pub(super) fn told(self) -> String {
        let parts = [
            (self.fail, "failed"),
            (self.unknown, "unknown"),
            (self.pass, "passed"),
        ];
        let some = parts.iter().filter(|(count, _)| *count > 0);
        let told: Vec<String> = some
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        if told.is_empty() {
            return "none".to_owned();
        }
        told.join(", ")
    }
}

impl Run {
    /// The invariants, then the expectations.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.invariants.iter().chain(&self.expectations)
    }

    pub(super) fn claims(&self) -> Tally {
        Tally::of(self.findings().map(|finding| finding.verdict))
    }

    /// Requests that ended badly, of all kinds.
    pub(super) fn errors(&self) -> u64 {
        let counts = self.totals.failed.values();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What lies beside the findings and may keep the run from passing: its notes, and faults nobody saw.
    pub(super) fn doubts(&self) -> Vec<String> {
        let unseen = self.faults.iter().filter(|lane| lane.seen == 0);
        let told = unseen.map(|lane| {
            format!(
                "{} on {}: the wire log never shows it",
                lane.fault,
                lane.on.join(", ")
            )
        });
        self.notes.iter().cloned().chain(told).collect()
    }

    /// Why the run is worse than all its findings; `None` when they explain it.
    pub(super) fn own_reason(&self) -> Option<String> {
        let worst = self.findings().map(|finding| finding.verdict).max();
        let explained = worst.is_some_and(|worst| worst >= self.verdict);
        if explained || self.verdict == Verdict::Pass {
            return None;
        }
        let doubts = self.doubts();
        Some(if doubts.is_empty() {
            "nothing was judged".to_owned()
        } else {
            doubts.join("; ")
        })
    }

    /// The phase a moment lies in.
    pub(super) fn phase_at(&self, at_ms: u64) -> Option<&str> {
        let holds = |phase: &&super::Phase| phase.from_ms <= at_ms && at_ms < phase.to_ms;
        self.phases
            .iter()
            .find(holds)
            .map(|phase| phase.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::FaultLane;

    #[test]
    fn the_worst_is_told_first_and_nothing_is_told_as_none() {
        let tally = Tally::of([
            Verdict::Pass,
            Verdict::Fail,
            Verdict::Pass,
            Verdict::Unknown,
        ]);
        assert_eq!(tally.told(), "1 failed, 1 unknown, 2 passed");
        assert_eq!(tally.all(), 4);
        assert_eq!(Tally::of([Verdict::Pass]).told(), "1 passed");
        assert_eq!(Tally::default().told(), "none");
    }

    #[test]
    fn a_fault_nobody_saw_is_a_doubt() {
        let lane = |seen| FaultLane {
            fault: "P10".to_owned(),
            on: vec!["alpha".to_owned()],
            seen,
            ..FaultLane::default()
        };
        let run = Run {
            notes: vec!["noisy".to_owned()],
            faults: vec![lane(0), lane(3)],
            ..Run::default()
        };
        assert_eq!(
            run.doubts(),
            ["noisy", "P10 on alpha: the wire log never shows it"]
        );
    }

    #[test]
    fn a_run_worse_than_its_findings_is_not_explained_by_them() {
        let mut run = Run {
            verdict: Verdict::Unknown,
            ..Run::default()
        };
        assert_eq!(run.own_reason().as_deref(), Some("nothing was judged"));
        run.invariants = vec![Finding::default()];
        run.notes = vec!["noisy".to_owned()];
        assert_eq!(run.own_reason().as_deref(), Some("noisy"));
        run.expectations = vec![Finding {
            verdict: Verdict::Unknown,
            ..Finding::default()
        }];
        assert_eq!(run.own_reason(), None);
    }
}
