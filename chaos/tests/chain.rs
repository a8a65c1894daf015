//! `your-chain` on a configuration that cannot survive it: a fault that kills nothing must not pass.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod support;

use std::fs;
use std::time::Duration;

use switchyard_chaos::conduct::{Evidence, Plan, Progress, Subject, chains, conduct};
use switchyard_chaos::scenario::{Scenario, Span};
use tokio::sync::watch;

/// Its one provider, and an address that would be found out if it were ever asked.
const ALONE: &str = r#"
[providers.only]
dialect = "openai"
base_url = "https://llm.example.invalid/v1"
keys = ["env:NO_SUCH_KEY"]
models = ["one"]
[pools.alone]
targets = ["only/one"]
"#;

fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

/// Only the n-th death, and as little around it as there can be.
fn short(mut scenario: Scenario, nth: usize) -> Scenario {
    let mut fault = scenario.faults.remove(nth);
    fault.at = Span::default();
    fault.lasts = Some(seconds(2));
    scenario.faults = vec![fault];
    scenario.expectations.clear();
    scenario.phases.control = seconds(1);
    scenario.phases.faults = seconds(3);
    scenario.phases.heal = seconds(2);
    scenario
}

async fn died(nth: usize) -> (String, Evidence) {
    let (binary, folder) = (support::gateway(), support::folder());
    let config = folder.join("users.toml");
    fs::write(&config, ALONE).unwrap();
    let scenario = short(chains(&binary, &config).unwrap().remove(0), nth);
    let name = scenario.faults[0].fault.clone();
    let plan = Plan {
        scenario,
        seed: 3,
        subject: Subject::Binary {
            binary,
            config: Some(config),
        },
        between: None,
    };
    let (tell, _) = watch::channel(Progress::default());
    let evidence = conduct(&plan, &folder, &tell).await.unwrap();
    fs::remove_dir_all(folder).unwrap();
    (name, evidence)
}

/// How often the fault showed, at the socket or in the wire log.
fn seen(evidence: &Evidence) -> u64 {
    let done = &evidence.faults[0];
    let wire = evidence.wire.iter();
    let wire = wire.filter(|(_, one)| one.fault.as_deref() == Some(&done.label));
    done.seen_on["only"] + wire.count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p35_a_chain_whose_only_link_is_dead_serves_nobody_and_says_so() {
    for nth in 0..2 {
        let (name, evidence) = died(nth).await;
        let act = evidence.faults[0].acts.first().unwrap();
        let (from, to) = (act.from_ms, act.to_ms);
        assert!((1_900..2_600).contains(&(to - from)), "{name}: {act:?}");
        // What began before has its own story, and so has what ended after.
        let during = evidence
            .history
            .iter()
            .filter(|told| (from + 300..to).contains(&told.due_ms) && told.end_ms < to);
        let (failed, served): (Vec<_>, Vec<_>) = during.partition(|told| told.ended.is_failure());
        assert!(failed.len() >= 20, "{name}: {} errors", failed.len());
        assert!(served.is_empty(), "{name}: {served:?}");
        let back = evidence
            .history
            .iter()
            .any(|told| told.due_ms > to && !told.ended.is_failure());
        assert!(back, "{name}: nobody was served afterwards");
        assert!(seen(&evidence) > 0, "{name} was never seen");
    }
}
