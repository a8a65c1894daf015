//! Reports for the tests of all forms: one as it would be, and some as they should never be.

use std::collections::BTreeMap;

use super::{Case, FaultLane, Finding, Line, Phase, Report, Run, SCHEMA, Series, Totals, Verdict};

/// What a stranger would write into every field he can reach.
pub(super) const HOSTILE: &str = "</title></style></script><script>alert(\"x\")</script>&amp;'\u{1b}[31m\u{202e}\u{0}\r\n]]><!--";

const STEPS: usize = 120;
const MOCKS: [&str; 3] = ["alpha", "beta", "gamma"];

/// A run that passes, and one that fails with cases and holds a claim nobody could judge.
pub(super) fn report() -> Report {
    let runs = vec![passing(), failing()];
    Report {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        begun_at: 1_795_242_454,
        cores: 8,
        verdict: Verdict::of(runs.iter().map(|run| run.verdict)),
        runs,
    }
}

/// `count` runs, each third failing.
pub(super) fn many(count: usize) -> Report {
    let runs: Vec<Run> = (0..count)
        .map(|number| {
            let mut run = if number % 3 == 1 {
                failing()
            } else {
                passing()
            };
            run.scenario = format!("{}-{number}", run.scenario);
            run.seed += number as u64;
            run
        })
        .collect();
    Report {
        verdict: Verdict::of(runs.iter().map(|run| run.verdict)),
        runs,
        ..report()
    }
}

/// Every string is [`HOSTILE`], every number as large as it gets.
#[expect(clippy::too_many_lines, reason = "a fixture is a table")]
pub(super) fn hostile() -> Report {
    let text = || HOSTILE.to_owned();
    let line = || Line {
        at_ms: u64::MAX,
        text: text(),
    };
    let case = || Case {
        request: text(),
        client: vec![line()],
        wire: vec![line(), line()],
        journal: vec![line()],
        metrics: vec![line()],
    };
    let finding = |verdict| Finding {
        name: text(),
        claim: text(),
        verdict,
        value: Some(f64::MAX),
        limit: Some(f64::MIN),
        margin: Some(f64::MIN),
        unit: text(),
        samples: u64::MAX,
        why: text(),
        window: Some((u64::MAX, 0)),
        cases: vec![case(), case(), case()],
    };
    let findings = || {
        vec![
            finding(Verdict::Fail),
            finding(Verdict::Unknown),
            finding(Verdict::Pass),
        ]
    };
    let run = Run {
        scenario: text(),
        about: text(),
        rows: vec![text()],
        seed: u64::MAX,
        gateway: text(),
        replay: text(),
        origin: crate::report::Origin {
            asked: text(),
            config: Some(text()),
            ..crate::report::Origin::default()
        },
        verdict: Verdict::Fail,
        notes: vec![text()],
        phases: vec![Phase {
            name: text(),
            from_ms: 0,
            to_ms: u64::MAX,
        }],
        faults: vec![FaultLane {
            fault: text(),
            what: text(),
            on: vec![text()],
            from_ms: u64::MAX,
            to_ms: 0,
            shape: text(),
            stretches: vec![(u64::MAX, 0), (0, u64::MAX)],
            seen: 0,
        }],
        invariants: findings(),
        expectations: findings(),
        totals: Totals {
            requests: u64::MAX,
            streams: u64::MAX,
            ok: u64::MAX,
            failed: BTreeMap::from([(text(), u64::MAX), ("b".to_owned(), u64::MAX)]),
            attempts: u64::MAX,
            took_ms: u64::MAX,
        },
        series: Series {
            step_ms: u64::MAX,
            ok: vec![u32::MAX; 3],
            failed: vec![u32::MAX; 3],
            first_content_p50: vec![Some(f32::MAX), Some(-1.0), Some(f32::MIN)],
            first_content_p99: vec![Some(f32::MAX), Some(0.0), None],
            control_p50: Some(f32::MIN),
            control_p99: Some(f32::MAX),
            attempts: BTreeMap::from([(text(), vec![u32::MAX; 3])]),
            breakers: BTreeMap::from([(text(), vec![text(); 3])]),
            memory: vec![Some(u64::MAX); 3],
            descriptors: vec![Some(u32::MAX); 3],
        },
    };
    Report {
        schema: text(),
        version: text(),
        begun_at: u64::MAX,
        cores: u32::MAX,
        verdict: Verdict::Fail,
        runs: vec![run],
    }
}

/// Runs that lack what others have: no series, one step, gaps, no width of a step, names longer than a line.
pub(super) fn sparse() -> Report {
    let named = |name: &str| Run {
        scenario: name.to_owned(),
        verdict: Verdict::Unknown,
        replay: "switchyard chaos run x --seed 1".to_owned(),
        ..Run::default()
    };
    let mut nothing = named("nothing");
    nothing.notes = vec!["the gateway did not start: address in use".to_owned()];
    let mut one = named("one-step");
    one.series = Series {
        step_ms: 500,
        ok: vec![3],
        failed: vec![1],
        first_content_p50: vec![Some(40.0)],
        first_content_p99: vec![Some(41.0)],
        attempts: BTreeMap::from([("alpha".to_owned(), vec![4])]),
        breakers: BTreeMap::from([("alpha".to_owned(), vec!["half_open".to_owned()])]),
        memory: vec![Some(1 << 26)],
        descriptors: vec![Some(61)],
        ..Series::default()
    };
    let mut gaps = failing();
    gaps.scenario = "gaps".to_owned();
    for step in (0..STEPS).filter(|step| step % 3 != 0 || (40..60).contains(step)) {
        gaps.series.first_content_p50[step] = None;
        gaps.series.first_content_p99[step] = None;
        gaps.series.memory[step] = None;
        gaps.series.descriptors[step] = None;
    }
    let mut no_width = named("no-width-of-a-step");
    no_width.series = Series {
        step_ms: 0,
        ok: vec![1; 9],
        ..Series::default()
    };
    let mut long = failing();
    let name = "a-name-nobody-would-choose-and-somebody-did-".repeat(6);
    long.scenario = name.clone();
    long.faults[0].fault = name.clone();
    long.faults[0].on = vec![name.clone(), name.clone()];
    long.expectations[0].name = name.clone();
    long.expectations[0].claim = name.repeat(3);
    long.series.attempts = long
        .series
        .attempts
        .into_iter()
        .map(|(mock, of)| (format!("{mock}-{name}"), of))
        .collect();
    long.series.breakers = long
        .series
        .breakers
        .into_iter()
        .map(|(mock, of)| (format!("{mock}-{name}"), of))
        .collect();
    let runs = vec![nothing, one, gaps, no_width, long];
    Report {
        verdict: Verdict::of(runs.iter().map(|run| run.verdict)),
        runs,
        ..report()
    }
}

fn phases() -> Vec<Phase> {
    [
        ("control", 0, 15_000),
        ("faults", 15_000, 40_000),
        ("heal", 40_000, 52_000),
        ("quiesce", 52_000, 60_000),
    ]
    .map(|(name, from_ms, to_ms)| Phase {
        name: name.to_owned(),
        from_ms,
        to_ms,
    })
    .to_vec()
}

fn lane(fault: &str, what: &str, on: &[&str], times: (u64, u64), seen: u64) -> FaultLane {
    FaultLane {
        fault: fault.to_owned(),
        what: what.to_owned(),
        on: on.iter().map(|&mock| mock.to_owned()).collect(),
        from_ms: times.0,
        to_ms: times.1,
        shape: "step".to_owned(),
        stretches: Vec::new(),
        seen,
    }
}

fn finding(name: &str, claim: &str, unit: &str) -> Finding {
    Finding {
        name: name.to_owned(),
        claim: claim.to_owned(),
        unit: unit.to_owned(),
        samples: 8_112,
        ..Finding::default()
    }
}

fn measured(
    name: &str,
    claim: &str,
    unit: &str,
    (value, limit, margin): (f64, f64, Option<f64>),
) -> Finding {
    Finding {
        value: Some(value),
        limit: Some(limit),
        margin,
        ..finding(name, claim, unit)
    }
}

fn invariants() -> Vec<Finding> {
    vec![
        finding("no_splice", "text of two attempts is never joined", ""),
        finding("no_crossing", "no client reads what belongs to another", ""),
        finding(
            "one_outcome",
            "the journal holds exactly one outcome for each request",
            "",
        ),
        measured(
            "memory_returns",
            "memory after the quiet is near the control's",
            "bytes",
            (50_541_363.0, 67_108_864.0, Some(0.247)),
        ),
        measured(
            "descriptors_return",
            "descriptors after the quiet are those of the control",
            "count",
            (62.0, 70.0, Some(0.114)),
        ),
    ]
}

/// One of two thirds of the traffic slow for 25 s; the gateway walks around it.
fn passing() -> Run {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut brownout = lane("P22", "all times × 10", &["beta"], (15_000, 40_000), 412);
    brownout.shape = "ramp".to_owned();
    Run {
        scenario: "slow-provider".to_owned(),
        about: "One provider becomes ten times slower; nobody should wait for it.".to_owned(),
        rows: vec!["P22".to_owned()],
        seed: 7,
        gateway: "switchyard".to_owned(),
        replay: "switchyard chaos run slow-provider --seed 7".to_owned(),
        verdict: Verdict::Pass,
        phases: phases(),
        faults: vec![brownout],
        invariants: invariants(),
        expectations: vec![
            measured(
                "p99_first_content",
                "p99 to the first content stays within three times the control's",
                "ratio",
                (1.84, 3.0, Some(0.387)),
            ),
            measured(
                "share_of_slow",
                "the slow endpoint gets at most 5% of the traffic",
                "ratio",
                (0.031, 0.05, Some(0.38)),
            ),
            measured(
                "cost",
                "the run costs no more than the control's prices allow",
                "usd",
                (0.412, 0.5, Some(0.176)),
            ),
        ],
        totals: Totals {
            requests: 7_980,
            streams: 5_320,
            ok: 7_980,
            failed: BTreeMap::new(),
            attempts: 8_102,
            took_ms: 60_214,
        },
        series: series(&mut rng, |step, rng| Step {
            failed: 0,
            p99: if (30..50).contains(&step) {
                140.0 + rng.f32() * 60.0
            } else {
                88.0 + rng.f32() * 20.0
            },
            shares: if (34..84).contains(&step) {
                [0.62, 0.03, 0.35]
            } else {
                [0.34, 0.33, 0.33]
            },
            breaker: "closed",
        }),
        ..Run::default()
    }
}

/// The provider is down, the breaker opens late, and 31 clients see it.
#[expect(clippy::too_many_lines, reason = "a fixture is a table")]
fn failing() -> Run {
    let mut rng = fastrand::Rng::with_seed(42);
    let mut flap = lane("P12", "5 s good, 5 s 500", &["gamma"], (22_000, 38_000), 96);
    flap.shape = "flap".to_owned();
    Run {
        origin: crate::report::Origin::default(),
        scenario: "provider-down".to_owned(),
        about: "One provider answers every request with 500 while another flaps.".to_owned(),
        rows: vec!["P10".to_owned(), "P12".to_owned(), "N07".to_owned()],
        seed: 42,
        gateway: "switchyard".to_owned(),
        replay:
            "switchyard chaos run provider-down --seed 42 --gateway ./target/release/switchyard"
                .to_owned(),
        verdict: Verdict::Fail,
        notes: vec!["the control's p99 varied by 14% between its halves".to_owned()],
        phases: phases(),
        faults: vec![
            lane(
                "P10",
                "every request 500 in 20 ms",
                &["alpha"],
                (15_000, 40_000),
                1_204,
            ),
            flap,
            lane(
                "N07",
                "reset in the middle of the head",
                &["beta"],
                (30_000, 36_000),
                0,
            ),
        ],
        invariants: invariants(),
        expectations: vec![broken(), slow(), unjudged()],
        totals: Totals {
            requests: 8_112,
            streams: 5_408,
            ok: 8_081,
            failed: BTreeMap::from([
                ("upstream_error".to_owned(), 19),
                ("truncated".to_owned(), 9),
                ("timeout".to_owned(), 3),
            ]),
            attempts: 9_406,
            took_ms: 60_391,
        },
        series: series(&mut rng, |step, rng| Step {
            failed: if (41..47).contains(&step) {
                [3, 9, 8, 6, 4, 1][step - 41]
            } else {
                0
            },
            p99: if (30..80).contains(&step) {
                300.0 + rng.f32() * 700.0
            } else {
                90.0 + rng.f32() * 20.0
            },
            shares: if (32..84).contains(&step) {
                [0.02, 0.60, 0.38]
            } else {
                [0.34, 0.33, 0.33]
            },
            breaker: match step {
                47..=79 if step % 9 == 0 => "half_open",
                47..=79 => "open",
                80..=86 => "half_open",
                _ => "closed",
            },
        }),
    }
}

fn broken() -> Finding {
    let told = |lines: &[(u64, &str)]| -> Vec<Line> {
        lines
            .iter()
            .map(|&(at_ms, text)| Line {
                at_ms,
                text: text.to_owned(),
            })
            .collect()
    };
    let case = |number: u64, at: u64| Case {
        request: format!("req-{number:05}"),
        client: told(&[
            (at, "POST /v1/chat/completions, stream, model \"fast\""),
            (at + 43, "200, text/event-stream"),
            (at + 61, "content \"c-0412-0\""),
            (
                at + 80,
                "error event, code upstream_error; stream ends without [DONE]",
            ),
        ]),
        wire: told(&[
            (at + 2, "alpha attempt 1: head read, 812 bytes"),
            (at + 22, "alpha attempt 1: 500, fault P10"),
            (at + 23, "gamma attempt 2: head read, 812 bytes"),
            (at + 61, "gamma attempt 2: 1 event sent"),
            (at + 79, "gamma attempt 2: reset, fault P12"),
        ]),
        journal: told(&[
            (at + 1, "request.intent, reserved $0.0041"),
            (at + 22, "attempt alpha server_error"),
            (at + 80, "attempt gamma reset, committed"),
            (at + 80, "request.outcome failed, settled $0.0007 estimated"),
        ]),
        metrics: if number == 2_741 {
            Vec::new()
        } else {
            told(&[(
                at + 500,
                "switchyard_attempts_total{provider=\"alpha\",outcome=\"server_error\"} +1",
            )])
        },
    };
    Finding {
        verdict: Verdict::Fail,
        why: "31 of 8,112 requests failed; the first at 20.4 s, before the breaker of alpha opened"
            .to_owned(),
        window: Some((20_400, 23_120)),
        cases: vec![
            case(2_733, 20_412),
            case(2_741, 20_530),
            case(2_790, 21_377),
        ],
        ..measured(
            "errors",
            "no client error while alpha is down",
            "count",
            (31.0, 0.0, None),
        )
    }
}

fn slow() -> Finding {
    measured(
        "p99_first_content",
        "p99 to the first content stays under 1.2 s",
        "ms",
        (1_004.0, 1_200.0, Some(0.163)),
    )
}

fn unjudged() -> Finding {
    Finding {
        verdict: Verdict::Unknown,
        samples: 12,
        why: "only 12 samples, 50 wanted".to_owned(),
        ..measured(
            "amplification",
            "at most 1.3 attempts for each request during the flap",
            "ratio",
            (1.12, 1.3, Some(0.138)),
        )
    }
}

struct Step {
    failed: u32,
    p99: f32,
    /// Of the mocks, in their order.
    shares: [f32; 3],
    /// Of alpha; the others stay closed.
    breaker: &'static str,
}

fn series(rng: &mut fastrand::Rng, of: impl Fn(usize, &mut fastrand::Rng) -> Step) -> Series {
    let mut series = Series {
        step_ms: 500,
        control_p50: Some(41.0),
        control_p99: Some(97.5),
        ..Series::default()
    };
    for number in 0..STEPS {
        let step = of(number, rng);
        let answered = rng.u32(58..76);
        series.ok.push(answered - step.failed.min(answered));
        series.failed.push(step.failed);
        series
            .first_content_p50
            .push(Some(38.0 + (rng.f32() * 80.0).round() / 10.0));
        series
            .first_content_p99
            .push(Some((step.p99 * 10.0).round() / 10.0));
        for (mock, share) in MOCKS.iter().zip(step.shares) {
            let sent = (answered as f32 * share * (0.9 + rng.f32() * 0.2)).round() as u32;
            series
                .attempts
                .entry((*mock).to_owned())
                .or_default()
                .push(sent);
            let state = if *mock == "alpha" {
                step.breaker
            } else {
                "closed"
            };
            series
                .breakers
                .entry((*mock).to_owned())
                .or_default()
                .push(state.to_owned());
        }
        series.memory.push(Some(
            46_000_000 + number as u64 * 30_000 + rng.u64(0..900_000),
        ));
        series.descriptors.push(Some(58 + rng.u32(0..9)));
    }
    series
}
