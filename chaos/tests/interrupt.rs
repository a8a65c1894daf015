//! A harness that is told to end puts away what it started. The only test of its process: the signal is for all of it.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use switchyard_chaos::command::{ChaosCommand, RunOptions, execute};
use switchyard_chaos::conduct::{CannotRun, Plan, Progress, Subject, conduct};
use switchyard_chaos::lab::is_stopped;
use switchyard_chaos::report::{Report, Verdict};
use switchyard_chaos::scenario::parse;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const PAUSED: &str = r#"
version = 1
name = "interrupted"
about = "the gateway stands still when the signal comes"
[phases]
control = "200ms"
faults = "30s"
[[workload]]
name = "whole"
per_second = 10
[[fault]]
fault = "pause"
"#;

/// The processes that were started on a folder.
fn on(folder: &Path) -> Vec<u32> {
    let named = folder.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&words).contains(&named) {
            found.push(pid);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x16_a_signal_ends_the_gateway_even_when_it_stands_still_and_takes_the_folder_away() {
    let plan = Plan {
        scenario: parse("interrupted", PAUSED).unwrap(),
        seed: 1,
        subject: Subject::Binary {
            binary: support::gateway(),
            config: None,
        },
        between: None,
    };
    let folder = support::folder();
    let (tell, _) = watch::channel(Progress::default());
    let run = async { conduct(&plan, &folder, &tell).await.err() };
    let interrupt = async {
        let stands_still = async {
            loop {
                let found = on(&folder);
                if found.iter().any(|pid| is_stopped(*pid) == Some(true)) {
                    return found;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let found = timeout(Duration::from_secs(20), stands_still)
            .await
            .unwrap();
        let own = std::process::id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM $0", &own])
            .status();
        assert!(sent.unwrap().success());
        found
    };
    let both = async { tokio::join!(run, interrupt) };
    let (ended, found) = timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(
        matches!(ended, Some(CannotRun::Interrupted("SIGTERM"))),
        "{ended:?}"
    );
    assert!(!found.is_empty());
    assert_eq!(on(&folder), Vec::<u32>::new(), "the gateway lives on");
    assert!(!folder.exists(), "the folder stays");

    // The signal is for the whole harness: nothing begins after it.
    let next = support::folder();
    let begun = conduct(&plan, &next, &tell).await;
    assert!(matches!(begun, Err(CannotRun::Interrupted("SIGTERM"))));
    assert!(!next.exists());
    a_report_is_owed_all_the_same(&next).await;
}

/// Everything in it is unknown.
async fn a_report_is_owed_all_the_same(folder: &Path) {
    let report = folder.join("report");
    let options = RunOptions {
        what: vec!["one_down".to_owned()],
        config: None,
        seed: 1,
        seeds: 2,
        faults: None,
        requests: None,
        rate: None,
        report: report.clone(),
        quiet: true,
    };
    let code = execute(ChaosCommand::Run(options), &support::gateway()).await;
    assert_eq!(code, 2);
    let told: Report =
        serde_json::from_slice(&fs::read(report.join("report.json")).unwrap()).unwrap();
    let notes: Vec<_> = told.runs.iter().map(|run| run.notes.concat()).collect();
    assert_eq!(notes, ["it could not be run: interrupted by SIGTERM"; 2]);
    assert_eq!(told.verdict, Verdict::Unknown);
    fs::remove_dir_all(folder).unwrap();
}
