//! Expectations judged on evidence made by hand: what passes, what fails, and what says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::index::Index;
use super::judge;
use crate::canary::Origin;
use crate::conduct::{Act, Done, Evidence};
use crate::history::{Ended, Told};
use crate::lab::Fleet;
use crate::mock::{Asked, Dialect, Exchange, Reported};
use crate::records::{Machine, Scrape};
use crate::report::{Finding, Verdict};
use crate::scenario::{Expectation, Mock, PhaseName, Scenario, Shape, parse};

/// Control from 0 to 4 s, faults to 14 s, heal to 20 s.
const PHASES: [(PhaseName, u64, u64); 4] = [
    (PhaseName::Control, 0, 4_000),
    (PhaseName::Faults, 4_000, 14_000),
    (PhaseName::Heal, 14_000, 20_000),
    (PhaseName::Quiesce, 20_000, 20_100),
];

pub(in crate::verdict) struct World {
    pub(in crate::verdict) scenario: Scenario,
    pub(in crate::verdict) evidence: Evidence,
}

impl World {
    /// Twenty requests a second, each answered after 50 ms, by alpha and beta in turn.
    pub(in crate::verdict) async fn healthy() -> Self {
        let mut fleet = Fleet::default();
        for name in ["alpha", "beta"] {
            let mock = Mock::plain(name, "openai");
            fleet.add(&mock, Dialect::OpenAi, 1, 0).await.unwrap();
        }
        let mut world = Self {
            scenario: parse(
                "x",
                "version = 1\nname = \"x\"\nabout = \"y\"\n[[workload]]\nname = \"w\"\nper_second = 20\n[[workload]]\nname = \"other\"\nper_second = 1\n",
            )
            .unwrap(),
            evidence: Evidence {
                phases: PHASES.to_vec(),
                history: Vec::new(),
                wire: Vec::new(),
                fleet,
                scrapes: Vec::new(),
                alerts: Vec::new(),
                faults: Vec::new(),
                own: None,
                still_under_way: 0,
                notes: Vec::new(),
            },
        };
        for number in 0..400 {
            world.ask(number);
        }
        world
    }

    fn ask(&mut self, number: u64) {
        let due = number * 50;
        let mut told = Told::new(number, 0, false, due);
        told.first_content_ms = Some(due + 50);
        told.end_ms = due + 50;
        told.ended = Ended::Whole;
        let mock = if number.is_multiple_of(2) {
            "alpha"
        } else {
            "beta"
        };
        told.text = Some(Ok(Origin {
            mock: self.evidence.fleet.providers[mock].canary.clone(),
            request: number,
            words: 3,
        }));
        self.evidence.history.push(told);
        self.receive(mock, number, due + 1);
    }

    fn receive(&mut self, mock: &str, number: u64, at: u64) {
        let asked = Asked {
            number,
            connection: 1,
            reuse: number,
            at: Duration::from_millis(at),
            method: "POST".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            fields: Vec::new(),
            body: format!("chaos-prompt-canary 0.{number}: x").into(),
            json: serde_json::Value::Null,
            dialect: crate::mock::Dialect::OpenAi,
        };
        let exchange = Exchange {
            asked: Arc::new(asked),
            bytes_sent: 1,
            chunks_sent: 1,
            content_sent: 1,
            head_at: None,
            first_content_at: None,
            last_byte_at: None,
            left: None,
            finished: true,
            fault: None,
            reported: Some(Reported {
                input: 1,
                output: 3,
            }),
        };
        self.evidence.wire.push((mock.to_owned(), exchange));
    }

    pub(in crate::verdict) fn fault(
        &mut self,
        name: &str,
        on: &[&str],
        span: (u64, u64),
        acts: &[(u64, u64)],
    ) {
        self.evidence.faults.push(Done {
            name: name.to_owned(),
            shape: Shape::Step,
            on: on.iter().map(|name| (*name).to_owned()).collect(),
            from_ms: span.0,
            to_ms: span.1,
            label: name.to_owned(),
            seen: 1,
            seen_on: BTreeMap::new(),
            acts: acts
                .iter()
                .map(|(from_ms, to_ms)| Act {
                    on: on.first().map(|name| (*name).to_owned()),
                    from_ms: *from_ms,
                    to_ms: *to_ms,
                })
                .collect(),
        });
    }

    /// Requests due in that stretch fail.
    pub(in crate::verdict) fn fail(&mut self, from: u64, to: u64) {
        for told in &mut self.evidence.history {
            if (from..to).contains(&told.due_ms) {
                told.ended = Ended::Refused("upstream_failed".to_owned());
                told.first_content_ms = None;
            }
        }
    }

    /// A mock receives nothing in that stretch.
    pub(in crate::verdict) fn leave(&mut self, mock: &str, from: u64, to: u64) {
        self.evidence.wire.retain(|(name, exchange)| {
            let at = u64::try_from(exchange.asked.at.as_millis()).unwrap();
            name != mock || !(from..to).contains(&at)
        });
    }

    fn judge(&self, expectation: &str) -> Finding {
        let wanted: Expectation = toml::from_str(expectation).unwrap();
        judge(&wanted, &Index::of(&self.evidence, &self.scenario))
    }

    #[track_caller]
    fn is(&self, verdict: Verdict, value: Option<f64>, expectation: &str) {
        let found = self.judge(expectation);
        assert_eq!(
            (found.verdict, found.value),
            (verdict, value),
            "{expectation}\n{found:#?}"
        );
    }
}

use Verdict::{Fail, Pass, Unknown};

#[tokio::test]
async fn what_is_about_nobody_says_nothing() {
    let world = World::healthy().await;
    for expectation in [
        "what = \"share\"\nof = \"alhpa\"\nat_most = 0.9",
        "what = \"share\"\nof = \"w\"\nat_most = 0.9",
        "what = \"error_count\"\nof = \"typo\"\nat_most = 9",
        "what = \"errors\"\nof = \"alpha\"\nat_most = 0.9",
        "what = \"errors\"\nat_most = inf",
        "what = \"errors\"\nat_most = 0\nduring = 1",
    ] {
        world.is(Unknown, None, expectation);
    }
    world.is(
        Pass,
        Some(0.5),
        "what = \"share\"\nof = \"alpha\"\nat_most = 0.5",
    );
    world.is(
        Pass,
        Some(0.0),
        "what = \"errors\"\nof = \"w\"\nat_most = 0",
    );
    // A workload that asked nothing in the window.
    world.is(
        Unknown,
        None,
        "what = \"errors\"\nof = \"other\"\nat_most = 0",
    );
}

#[tokio::test]
async fn a_comparison_needs_samples_of_the_control_phase_too() {
    let mut world = World::healthy().await;
    let all = [
        "what = \"p99_times\"\nat_most = 1",
        "what = \"p99_above\"\nat_most = 0",
        "what = \"goodput\"\nat_least = 0.9",
        "what = \"load\"\nat_most = 1.1",
    ];
    for expectation in all {
        assert_eq!(world.judge(expectation).verdict, Pass, "{expectation}");
    }
    world.evidence.history.retain(|told| told.due_ms >= 3_950);
    world.leave("alpha", 0, 3_950);
    world.leave("beta", 0, 3_950);
    for expectation in all {
        assert_eq!(world.judge(expectation).verdict, Unknown, "{expectation}");
    }
    world.evidence.phases[0].2 = 0;
    for expectation in all {
        assert_eq!(world.judge(expectation).verdict, Unknown, "{expectation}");
    }
}

#[tokio::test]
async fn errors_during_a_fault_are_those_of_its_own_window() {
    let mut world = World::healthy().await;
    world.fault("P10", &["alpha"], (4_000, 7_000), &[]);
    world.fault("hang", &["alpha"], (9_000, 12_000), &[]);
    world.fail(9_000, 9_200);
    let during = |number: usize| format!("what = \"error_count\"\nat_most = 0\nduring = {number}");
    world.is(Pass, Some(0.0), &during(1));
    world.is(Fail, Some(4.0), &during(2));
    world.is(
        Pass,
        Some(0.0),
        &format!("{}\nafter = \"300ms\"", during(2)),
    );
}

#[tokio::test]
async fn an_error_is_late_when_its_client_was_let_wait_for_it() {
    let mut world = World::healthy().await;
    let late = "what = \"late_errors\"\nat_most = 0.3\nsamples = 1";
    world.is(Unknown, None, late);
    world.fail(9_000, 9_200);
    world.is(Pass, Some(0.0), late);
    let failed = world.evidence.history.iter_mut();
    let failed = failed.filter(|told| told.ended.is_failure());
    for told in failed.take(2) {
        told.end_ms = told.due_ms + 101;
    }
    world.is(Fail, Some(0.5), late);
}

const DETECTED: &str = "what = \"detected\"\nof = \"alpha\"\nat_most = 1500";

#[tokio::test]
async fn traffic_has_left_only_when_it_stays_away_until_the_fault_is_over() {
    let mut world = World::healthy().await;
    world.fault("P10", &["alpha"], (5_000, 12_000), &[]);
    world.leave("alpha", 6_000, 12_000);
    world.is(Pass, Some(1_000.0), DETECTED);
    // It comes back for a while: one quiet second is no detection.
    let mut again = World::healthy().await;
    again.fault("P10", &["alpha"], (5_000, 12_000), &[]);
    again.leave("alpha", 6_000, 8_000);
    again.leave("alpha", 9_000, 12_000);
    again.is(Fail, Some(4_000.0), DETECTED);
    // Never.
    let mut never = World::healthy().await;
    never.fault("P10", &["alpha"], (5_000, 12_000), &[]);
    never.is(Fail, None, DETECTED);
}

#[tokio::test]
async fn a_detection_belongs_to_the_fault_on_that_mock() {
    let mut world = World::healthy().await;
    world.fault("P10", &["beta"], (4_000, 6_000), &[]);
    world.leave("alpha", 5_000, 14_000);
    // No fault is on alpha: that it got nothing is no detection.
    world.is(Unknown, None, DETECTED);
    world.fault("P10", &["alpha"], (4_000, 14_000), &[(9_000, 14_000)]);
    world.leave("alpha", 9_500, 14_000);
    world.is(Pass, Some(0.0), DETECTED);
}

#[tokio::test]
async fn the_worst_first_success_over_all_kills_counts() {
    let mut world = World::healthy().await;
    // What was noted: two kills, served again 300 ms and 900 ms later.
    world.fault(
        "kill",
        &[],
        (4_000, 14_000),
        &[(5_000, 5_300), (9_000, 9_900)],
    );
    world.fail(5_000, 5_300);
    world.fail(9_000, 9_900);
    let wanted = |limit: u64| format!("what = \"first_success\"\nat_most = {limit}");
    world.is(Pass, Some(950.0), &wanted(1_000));
    world.is(Fail, Some(950.0), &wanted(900));
    // From the kill on, not from the end of the phase: there the next request is well.
    world.fail(9_900, 20_000);
    world.is(Fail, None, &wanted(1_000));
}

#[tokio::test]
async fn a_recovery_is_measured_from_the_end_of_the_fault_that_is_meant() {
    let mut world = World::healthy().await;
    world.fault("P10", &["alpha"], (4_000, 8_000), &[]);
    world.fault("hang", &["beta"], (8_000, 14_000), &[]);
    world.leave("alpha", 4_000, 10_000);
    let recovered = "what = \"recovered\"\nof = \"alpha\"\nat_most = 2000";
    let found = world.judge(recovered);
    assert_eq!((found.verdict, found.value), (Pass, Some(1_500.0)));
    world.leave("alpha", 8_000, 13_000);
    world.is(Fail, Some(4_500.0), recovered);
    let whole = "what = \"recovered\"\nat_most = 2000";
    world.is(Pass, Some(0.0), whole);
    world.fail(14_000, 15_000);
    world.is(Pass, Some(1_000.0), whole);
}

#[tokio::test]
async fn a_time_that_is_missed_while_others_have_the_machine_is_unknown() {
    let mut world = World::healthy().await;
    let (kept, missed) = (
        "what = \"p99_first_content\"\nat_most = 50",
        "what = \"p99_first_content\"\nat_most = 49",
    );
    let with_others = |others: u64| -> Vec<Scrape> {
        let scrape = |second: u64| Scrape {
            at_ms: second * 1_000,
            machine: Some(Machine {
                all: second * 100,
                idle: 0,
                others: second * others,
            }),
            ..Scrape::default()
        };
        (0..20).map(scrape).collect()
    };
    world.evidence.scrapes = with_others(10);
    world.is(Fail, Some(50.0), missed);
    world.evidence.scrapes = with_others(40);
    world.is(Unknown, Some(50.0), missed);
    let found = world.judge(missed);
    assert!(
        found.why.contains("took 40% of this machine"),
        "{}",
        found.why
    );
    world.is(Pass, Some(50.0), kept);
    // Errors are no matter of time.
    world.fail(4_000, 14_000);
    world.is(Fail, Some(200.0), "what = \"error_count\"\nat_most = 0");
}

#[tokio::test]
async fn growth_is_not_measured_across_a_restart() {
    let mut world = World::healthy().await;
    world.evidence.scrapes = (0..400_u64)
        .map(|step| Scrape {
            at_ms: step * 50,
            memory: Some(if step * 50 < 9_000 { 100 } else { 90 }),
            ..Scrape::default()
        })
        .collect();
    let growth = "what = \"growth\"\nat_most = 1.1";
    world.is(Pass, Some(0.9), growth);
    world.fault("kill", &[], (4_000, 14_000), &[(9_000, 9_300)]);
    world.is(Unknown, None, growth);
}
