//! Scenarios made from a user's own configuration: each link of each chain killed in turn, and each pair of links.

use std::time::Duration;

use super::{
    Expectation, Fault, Gateway, Measure, PhaseName, Phases, Scenario, Shape, Span, VERSION,
    Workload,
};
use crate::lab::config::Facts;

/// How long each link, or pair, stays dead, and how long everything then has to come back.
const DEAD: u64 = 3_000;
const BETWEEN: u64 = 2_000;

/// One scenario for each pool with something to lose.
#[must_use]
pub fn your_chain(facts: &Facts) -> Vec<Scenario> {
    facts
        .pools
        .iter()
        .filter(|pool| pool.asked)
        .filter_map(|pool| {
            let links = facts.behind(&pool.name);
            (!links.is_empty()).then(|| of_pool(&pool.name, &links))
        })
        .collect()
}

fn of_pool(pool: &str, links: &[String]) -> Scenario {
    let mut deaths: Vec<Vec<String>> = links.iter().map(|link| vec![link.clone()]).collect();
    for (place, one) in links.iter().enumerate() {
        for other in links.iter().skip(place.saturating_add(1)) {
            deaths.push(vec![one.clone(), other.clone()]);
        }
    }
    // A chain of one or two has no other link left: what then must be is an honest error, which the
    // invariants judge.
    let survivable = |death: &Vec<String>| death.len() < links.len();
    let all_survivable = deaths.iter().all(survivable);
    let turn = DEAD + BETWEEN;
    let span = |millis: u64| Span(Duration::from_millis(millis));
    let faults = deaths
        .iter()
        .zip(0_u64..)
        .map(|(death, place)| Fault {
            fault: "tcp_refuse".to_owned(),
            on: death.clone(),
            at: span(place.saturating_mul(turn)),
            lasts: Some(span(DEAD)),
            share: 1.0,
            shape: Shape::Step,
            period: None,
            number: None,
            time: None,
            actor: None,
        })
        .collect();
    let mut expectations = vec![expectation(PhaseName::Heal, 0.0)];
    if all_survivable {
        expectations.push(expectation(PhaseName::Faults, 0.0));
    } else {
        let lost = deaths.iter().filter(|death| !survivable(death)).count() as f64;
        let share = lost / deaths.len() as f64 * (DEAD as f64 / turn as f64);
        expectations.push(expectation(PhaseName::Faults, (share + 0.1).min(1.0)));
    }
    Scenario {
        version: VERSION,
        name: format!("your-chain-{}", plain(pool)),
        about: format!(
            "each of the {} links of {pool}, and each pair of them, refuses connections for {} s",
            links.len(),
            DEAD / 1_000
        ),
        rows: vec!["N03".to_owned(), "P35".to_owned()],
        phases: Phases {
            control: span(4_000),
            faults: span(turn.saturating_mul(deaths.len() as u64)),
            heal: span(5_000),
            quiesce: span(10_000),
        },
        gateway: Gateway::default(),
        mocks: Vec::new(),
        workloads: vec![workload(pool, true, 20.0), workload(pool, false, 20.0)],
        faults,
        expectations,
    }
}

fn expectation(phase: PhaseName, at_most: f64) -> Expectation {
    Expectation {
        what: Measure::Errors,
        phase,
        of: None,
        during: None,
        after: Span::default(),
        at_most: Some(at_most),
        at_least: None,
        samples: 50,
    }
}

fn workload(pool: &str, stream: bool, per_second: f64) -> Workload {
    Workload {
        per_second: Some(per_second),
        stream,
        model: Some(pool.to_owned()),
        ..Workload::named(if stream { "streams" } else { "whole" })
    }
}

/// Only what a scenario's name may hold.
fn plain(pool: &str) -> String {
    pool.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect()
}
