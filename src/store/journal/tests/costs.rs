//! What is read of costs is what serde would read, of every line there may be.

use super::super::costs::Cost;
use super::super::read::{Kind, record};
use super::super::record::encode;
use super::super::segment::push_line;
use super::*;
use crate::domain::{Operation, ServiceTier};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z][a-z0-9/._-]{0,12}",
        1 => "[a-z]?[\\]\\[{}\"\\\\,:\u{1}\u{e4}\u{1f600} ]{0,6}",
    ]
}

fn amount() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(prop_oneof![0..1_000_u64, Just(u64::MAX)])
}

fn used() -> impl Strategy<Value = Option<Usage>> {
    let counts = (0..3_u64, 0..9_u64, 0..2_u64, 0..2_u64, any::<bool>());
    prop::option::of(
        counts.prop_map(|(input, output, cached, audio, flex)| Usage {
            input: Tokens(input),
            output: Tokens(output),
            cached_input: Tokens(cached),
            audio_output: Tokens(audio),
            tier: flex.then_some(ServiceTier::Flex),
            ..Usage::default()
        }),
    )
}

/// A line as the writer writes it.
fn line(written: &Record<'_>) -> Vec<u8> {
    let (mut members, mut line) = (Vec::new(), Vec::new());
    encode(written, None, 1_790_000_000_123, &mut members);
    push_line(&mut line, 77, &members, &[7; 32]);
    line.pop();
    line
}

fn an_attempt() -> impl Strategy<Value = Vec<u8>> {
    let names = (name(), name(), prop::option::of(name()));
    let costs = (amount(), amount(), used(), any::<bool>());
    (names, costs, 0..90_000_000_u64).prop_map(|(names, costs, took)| {
        let (provider, model, reason) = names;
        let (cost_nano, charged_nano, usage, estimated) = costs;
        let Record::Attempt(plain) = attempt(9) else {
            unreachable!()
        };
        line(&Record::Attempt(AttemptRecord {
            provider: &provider,
            model: &model,
            took: Duration::from_micros(took),
            usage,
            estimated,
            cost_nano,
            charged_nano,
            asked: Some(Asked {
                operation: Operation::Chat,
                choices: 2,
                tier: None,
            }),
            reason: reason.as_deref(),
            ..plain
        }))
    })
}

fn an_outcome() -> impl Strategy<Value = Vec<u8>> {
    let maybe = || prop::option::of(name());
    let who = (name(), maybe(), maybe(), maybe());
    let tags = prop::collection::vec(name(), 0..6);
    let costs = (amount(), amount(), used(), any::<bool>());
    let served = (maybe(), maybe());
    (who, tags, costs, served, 0..90_000_000_u64).prop_map(|(who, tags, costs, served, took)| {
        let (client, tenant, team, user) = &who;
        let (cost_nano, charged_nano, usage, cost_estimated) = costs;
        let tags: Vec<std::sync::Arc<str>> = tags.into_iter().map(Into::into).collect();
        let Record::Outcome(plain) = outcome(9) else {
            unreachable!()
        };
        line(&Record::Outcome(OutcomeRecord {
            who: Who {
                client,
                tenant: tenant.as_deref(),
                team: team.as_deref(),
                user: user.as_deref(),
                tags: &tags,
            },
            provider: served.0.as_deref(),
            model: served.1.as_deref(),
            took: Duration::from_micros(took),
            usage,
            cost_nano,
            charged_nano,
            cost_estimated,
            ..plain
        }))
    })
}

fn either() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    prop_oneof![
        an_attempt().prop_map(|line| (Kind::Attempt, line)),
        an_outcome().prop_map(|line| (Kind::Outcome, line)),
    ]
}

proptest! {
    #[test]
    fn m1_what_is_read_of_costs_is_what_the_record_holds((kind, line) in either()) {
        let read = record(kind, &line).unwrap();
        let quick = Cost::written(kind, &line);
        // Only a bracket in a list or an escape leaves a line to serde.
        let is_plain = !line.contains(&b'\\') && line.iter().filter(|byte| **byte == b']').count() <= 1;
        prop_assert!(quick.is_some() || !is_plain);
        if let Some(quick) = quick {
            prop_assert_eq!(quick, Cost::from(&read));
        }
    }

    #[test]
    fn m1_a_line_that_nobody_wrote_is_read_as_serde_reads_it_or_left_to_serde(
        (kind, mut line) in either(),
        (at, byte, cut) in (any::<prop::sample::Index>(), any::<u8>(), prop::option::of(any::<prop::sample::Index>())),
    ) {
        let at = at.index(line.len());
        line[at] = byte;
        if let Some(cut) = cut {
            let cut = cut.index(line.len());
            line.truncate(cut);
        }
        let read = record(kind, &line);
        if let Some(quick) = Cost::written(kind, &line) {
            prop_assert!(read.is_some(), "counted, and no record");
            prop_assert_eq!(Some(quick), read.as_ref().map(Cost::from));
        }
    }
}

/// What no writer writes, and no reader but a careless one takes.
#[test]
fn m1_what_serde_refuses_is_counted_by_nobody() {
    let good = r#"{"seq":7,"at":9,"kind":"attempt","request":"sy-00000000000000000000000000000001","number":1,"provider":"a","model":"m","outcome":"ok","status":200,"took_ms":1.500,"cost_nano":5}"#;
    assert!(Cost::written(Kind::Attempt, good.as_bytes()).is_some());
    for (part, other) in [
        ("\"model\":\"m\"", "\"model\":null"),
        ("\"number\":1", "\"number\":\"x\""),
        ("\"number\":1", "\"number\":4294967296"),
        ("\"outcome\":\"ok\"", "\"model\":\"m\""),
        ("\"status\":200", "\"status\":2x0"),
        ("\"status\":200", "\"status\":65536"),
        ("\"took_ms\":1.500", "\"took_ms\":01.5"),
        ("\"took_ms\":1.500", "\"took_ms\":1."),
        ("\"cost_nano\":5", "\"cost_nano\":5,\"cost_nano\":6"),
    ] {
        let bad = good.replace(part, other);
        assert_ne!(bad, good);
        assert!(record(Kind::Attempt, bad.as_bytes()).is_none(), "{bad}");
        assert!(
            Cost::written(Kind::Attempt, bad.as_bytes()).is_none(),
            "{bad}"
        );
    }
    let mut bad = good.as_bytes().to_vec();
    let at = good.find("\"m\"").unwrap() + 1;
    bad[at] = 0xff;
    assert!(Cost::written(Kind::Attempt, &bad).is_none());
}
