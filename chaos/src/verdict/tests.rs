//! Runs judged on evidence made by hand: what a fault that was not there does to them.

use std::path::PathBuf;

use super::expect::tests::World;
use super::judge;
use crate::conduct::{Plan, Subject};
use crate::report::{Run, Verdict};
use crate::scenario::Shape;

const DETECTED: &str = "what = \"detected\"\nof = \"alpha\"\nat_most = 1500";

fn judged(world: &mut World, expectation: &str) -> Run {
    world.scenario.expectations = vec![toml::from_str(expectation).unwrap()];
    let plan = Plan {
        scenario: world.scenario.clone(),
        seed: 1,
        subject: Subject::Binary {
            binary: PathBuf::from("gateway"),
            config: None,
        },
        between: None,
    };
    judge(&plan, &world.evidence)
}

/// P10 on both mocks, met by the requests that these received.
async fn down(met: &[&str]) -> World {
    let mut world = World::healthy().await;
    world.fault("P10", &["alpha", "beta"], (5_000, 12_000), &[]);
    world.evidence.faults[0].seen = 0;
    for (name, exchange) in &mut world.evidence.wire {
        let is_on = (5_000..12_000).contains(&exchange.asked.at.as_millis());
        if is_on && met.contains(&name.as_str()) {
            exchange.fault = Some("P10".into());
        }
    }
    world
}

#[tokio::test]
async fn a_fault_counts_at_each_mock_it_is_on() {
    let never_fails = "what = \"errors\"\nat_most = 1";
    for (met, told) in [
        (vec!["alpha", "beta"], None),
        (vec!["alpha"], Some("P10 on beta")),
        (vec![], Some("P10 on alpha, P10 on beta")),
    ] {
        let mut world = down(&met).await;
        let run = judged(&mut world, never_fails);
        match told {
            None => assert!(run.notes.is_empty(), "{:?}", run.notes),
            Some(told) => {
                assert!(run.notes[0].contains(told), "{:?}", run.notes);
                assert_eq!(run.verdict, Verdict::Unknown);
                assert_eq!(run.expectations[0].verdict, Verdict::Unknown);
            }
        }
        // One that comes at random need not come everywhere.
        world.evidence.faults[0].shape = Shape::Random;
        let run = judged(&mut world, never_fails);
        assert_eq!(run.notes.is_empty(), !met.is_empty(), "{:?}", run.notes);
    }
}

#[tokio::test]
async fn what_a_door_or_a_key_shows_counts_for_its_mock_alone() {
    let mut world = down(&[]).await;
    let done = &mut world.evidence.faults[0];
    done.seen = 3;
    done.seen_on = [("alpha".to_owned(), 3), ("beta".to_owned(), 0)].into();
    let run = judged(&mut world, DETECTED);
    assert!(
        run.notes[0].contains("never seen: P10 on beta;"),
        "{:?}",
        run.notes
    );
}

#[tokio::test]
async fn a_claim_about_a_fault_that_never_was_is_not_broken() {
    // Traffic stays at alpha: with the fault there, that is a failure, without it nothing.
    let run = judged(&mut down(&["alpha", "beta"]).await, DETECTED);
    assert_eq!(run.verdict, Verdict::Fail);
    for expectation in [
        DETECTED.to_owned(),
        "what = \"error_count\"\nat_most = 0\nduring = 1".to_owned(),
    ] {
        let mut world = down(&[]).await;
        world.fail(6_000, 6_200);
        let run = judged(&mut world, &expectation);
        assert_eq!(run.verdict, Verdict::Unknown, "{expectation}");
        assert!(run.expectations[0].why.starts_with("never seen"));
    }
    // A client error is one, whatever caused it.
    let mut world = down(&[]).await;
    world.fail(6_000, 6_200);
    let run = judged(&mut world, "what = \"error_count\"\nat_most = 0");
    assert_eq!(run.verdict, Verdict::Fail);
}
