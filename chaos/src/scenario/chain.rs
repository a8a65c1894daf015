//! Scenarios made from a user's own configuration: each link of each chain killed in turn, and each pair of links.

use std::time::Duration;

use super::{
    Expectation, Fault, Gateway, Measure, PhaseName, Phases, Scenario, Shape, Span, VERSION,
    Workload,
};
use crate::lab::config::Facts;

/// How long each link, or pair, stays dead, and how long everything then has to come back.
const DEAD: u64 = 3_000;
const BETWEEN: u64 = 5_000;
/// Who asked a provider that hangs may wait this long for it (P20); the next death must not meet them.
const WAITED: u64 = 30_000;
/// Until a refusing mock has reset what was open: a stream that it had begun cannot be saved.
const SETTLED: u64 = 300;
/// An error is known to be one after this, and then told at once (P35).
const KNOWN: u64 = 1_000;
const AT_ONCE_MS: f64 = 500.0;
const FIRST_SUCCESS_MS: f64 = 3_000.0;

/// How a link dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Refuses,
    Fails,
    Hangs,
}

impl Way {
    const ALL: [Self; 3] = [Self::Refuses, Self::Fails, Self::Hangs];

    /// From one death to the next.
    fn turn(self) -> u64 {
        DEAD + match self {
            Self::Refuses | Self::Fails => BETWEEN,
            Self::Hangs => WAITED,
        }
    }

    fn fault(self) -> &'static str {
        match self {
            Self::Refuses => "tcp_refuse",
            Self::Fails => "P10",
            Self::Hangs => "hang",
        }
    }
}

/// Links that are dead together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Death {
    links: Vec<String>,
    way: Way,
}

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
    let deaths = deaths(links);
    let mut ends = 0_u64;
    let faults = deaths
        .iter()
        .map(|death| {
            let at = ends;
            ends = ends.saturating_add(death.way.turn());
            fault(death, at)
        })
        .collect();
    Scenario {
        version: VERSION,
        name: format!("your-chain-{}", plain(pool)),
        about: format!(
            "each of the {} links of {pool} refuses, fails and hangs for {} s, and each pair of them refuses or fails",
            links.len(),
            DEAD / 1_000
        ),
        rows: vec![
            "N03".to_owned(),
            "P10".to_owned(),
            "P20".to_owned(),
            "P35".to_owned(),
        ],
        phases: Phases {
            control: span(4_000),
            faults: span(ends),
            heal: span(6_000),
            quiesce: span(40_000),
        },
        gateway: Gateway::default(),
        mocks: Vec::new(),
        clients: Vec::new(),
        tenants: Vec::new(),
        receivers: Vec::new(),
        workloads: vec![workload(pool, true, 20.0), workload(pool, false, 20.0)],
        faults,
        expectations: expectations(&deaths, links.len()),
    }
}

/// Each link in every way, and each pair in one of them.
fn deaths(links: &[String]) -> Vec<Death> {
    let mut deaths = Vec::new();
    for link in links {
        deaths.extend(Way::ALL.map(|way| Death {
            links: vec![link.clone()],
            way,
        }));
    }
    let mut ways = [Way::Refuses, Way::Fails].into_iter().cycle();
    for (place, one) in links.iter().enumerate() {
        for other in links.iter().skip(place.saturating_add(1)) {
            deaths.extend(ways.next().map(|way| Death {
                links: vec![one.clone(), other.clone()],
                way,
            }));
        }
    }
    deaths
}

fn fault(death: &Death, at: u64) -> Fault {
    Fault {
        fault: death.way.fault().to_owned(),
        on: death.links.clone(),
        at: span(at),
        lasts: Some(span(DEAD)),
        share: 1.0,
        shape: Shape::Step,
        period: None,
        number: None,
        time: None,
        actor: None,
    }
}

/// What must be true of each death by itself: a window over several would let one hide behind the others.
fn expectations(deaths: &[Death], links: usize) -> Vec<Expectation> {
    let mut all = vec![Expectation {
        phase: PhaseName::Heal,
        ..at_most(Measure::Errors, 0.0)
    }];
    let is_survivable = |death: &Death| death.links.len() < links;
    if deaths.iter().all(is_survivable) {
        // What breaks when a link goes that had begun to answer; hardly anything else may.
        all.push(at_most(Measure::Errors, 0.05));
    }
    for (death, number) in deaths.iter().zip(1_usize..) {
        let of_death = if is_survivable(death) {
            survived(death)
        } else {
            suffered(death)
        };
        all.extend(of_death.into_iter().map(|wanted| Expectation {
            during: Some(number),
            ..wanted
        }));
    }
    all
}

fn survived(death: &Death) -> Vec<Expectation> {
    let after = match death.way {
        Way::Refuses => span(SETTLED),
        Way::Fails | Way::Hangs => Span::default(),
    };
    vec![Expectation {
        after,
        ..at_most(Measure::Errors, 0.0)
    }]
}

/// Nobody is left: clients are told so, quickly where it is known, and are served as soon as somebody is back.
fn suffered(death: &Death) -> Vec<Expectation> {
    let back = at_most(Measure::FirstSuccess, FIRST_SUCCESS_MS);
    match death.way {
        Way::Refuses | Way::Fails => vec![
            // No error at all would mean that nobody was dead.
            Expectation {
                at_most: None,
                at_least: Some(1.0),
                ..at_most(Measure::ErrorCount, 0.0)
            },
            Expectation {
                after: span(KNOWN),
                ..at_most(Measure::P99Error, AT_ONCE_MS)
            },
            back,
        ],
        // Whoever waits long enough may still be served: no error has to come.
        Way::Hangs => vec![back],
    }
}

fn at_most(what: Measure, limit: f64) -> Expectation {
    Expectation {
        what,
        phase: PhaseName::Faults,
        of: None,
        during: None,
        after: Span::default(),
        at_most: Some(limit),
        at_least: None,
        samples: 20,
    }
}

fn span(millis: u64) -> Span {
    Span(Duration::from_millis(millis))
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
