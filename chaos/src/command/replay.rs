//! `replay`: what a report tells of is run again, or it is said why it cannot be.

use std::path::{Path, PathBuf};

use super::carry::{Planned, carry_out};
use super::run::{Asked, CANNOT, Other};
use super::{ReplayOptions, complain, say};
use crate::conduct::Plan;
use crate::report::{Report, Run, SCHEMA, Verdict};

pub(super) async fn replay(options: &ReplayOptions, binary: &Path) -> u8 {
    let cannot = |why: &str| {
        complain(&format!("{}: {why}", options.from.display()));
        CANNOT
    };
    let report = match read(&options.from) {
        Ok(report) => report,
        Err(why) => return cannot(&why),
    };
    if is_its_folder(&options.report, &options.from) {
        return cannot(
            "the report of the replay would take its place; name another folder with --report",
        );
    }
    let wanted = |run: &&Run| options.all || run.verdict != Verdict::Pass;
    let runs: Vec<&Run> = report.runs.iter().filter(wanted).collect();
    if report.runs.is_empty() {
        return cannot("it holds no run");
    }
    if runs.is_empty() {
        say("nothing to run again: every run of this report passed (--all runs them, too)");
        return 0;
    }
    match runs.into_iter().map(|run| again(run, binary)).collect() {
        Ok(plans) => carry_out(plans, &options.report, options.quiet).await,
        Err(why) => {
            let why: String = why;
            cannot(&why)
        }
    }
}

fn is_its_folder(folder: &Path, report: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    let of = report.canonicalize().ok();
    let of = of.as_deref().and_then(Path::parent);
    of.is_some() && whole(folder).as_deref() == of
}

fn read(path: &Path) -> Result<Report, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let report: Report = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if report.schema != SCHEMA {
        return Err(format!(
            "its form is {:?}, this harness reads {SCHEMA:?}",
            report.schema
        ));
    }
    Ok(report)
}

/// The plan of a run that was made before.
fn again(run: &Run, binary: &Path) -> Result<Planned, String> {
    let origin = &run.origin;
    let name = &run.scenario;
    if origin.asked.is_empty() {
        return Err(format!(
            "it does not say what {name} was made from; it is of an older harness"
        ));
    }
    let asked = Asked {
        config: origin.config.as_ref().map(PathBuf::from),
        faults: origin.faults.clone(),
        requests: origin.requests.clone(),
        rate: origin.rate.clone(),
        binary,
    };
    let found = asked.scenarios(std::slice::from_ref(&origin.asked))?;
    let scenario = found
        .into_iter()
        .map(|(scenario, _)| scenario)
        .find(|scenario| scenario.name == *name)
        .ok_or_else(|| {
            format!(
                "{:?} does not make a scenario {name:?} any more; run it by its present name",
                origin.asked
            )
        })?;
    let subject = match &origin.other {
        None => asked.subject(),
        Some(other) if other.needs_key => {
            return Err(format!(
                "{name} was run against {}, which wants a key that no report holds; run `switchyard chaos compare {} --with {}=…` with it",
                other.name, origin.asked, other.name
            ));
        }
        Some(other) => {
            Other::parse(&format!("{}={}", other.name, other.url))?.subject(&other.ports)
        }
    };
    Ok(Planned {
        plan: Plan {
            scenario,
            seed: run.seed,
            subject,
            between: None,
        },
        origin: origin.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conduct::Subject;
    use crate::report::{Origin, OtherGateway};

    fn run_of(origin: Origin) -> Run {
        Run {
            scenario: "one_down".to_owned(),
            seed: 42,
            verdict: Verdict::Fail,
            origin,
            ..Run::default()
        }
    }

    fn asked(word: &str) -> Origin {
        Origin {
            asked: word.to_owned(),
            ..Origin::default()
        }
    }

    fn other(needs_key: bool) -> Origin {
        Origin {
            other: Some(OtherGateway {
                name: "rival".to_owned(),
                url: "http://127.0.0.1:4000/v1".to_owned(),
                needs_key,
                ports: vec![9101, 9102],
            }),
            ..asked("smoke")
        }
    }

    #[test]
    fn a_run_is_planned_again_with_its_seed_and_length() {
        let origin = Origin {
            faults: Some("9s".to_owned()),
            ..asked("smoke")
        };
        let planned = again(&run_of(origin), Path::new("gateway")).unwrap();
        assert_eq!(planned.plan.scenario.name, "one_down");
        assert_eq!(planned.plan.scenario.phases.faults.millis(), 9_000);
        assert_eq!(planned.plan.seed, 42);
        assert!(matches!(
            planned.plan.subject,
            Subject::Binary { config: None, .. }
        ));
    }

    #[test]
    fn another_gateways_run_is_replayed_against_that_gateway_or_not_at_all() {
        let planned = again(&run_of(other(false)), Path::new("gateway")).unwrap();
        let Subject::Url { name, door, ports } = planned.plan.subject else {
            panic!("replayed against our own");
        };
        assert_eq!((name.as_str(), ports), ("rival", vec![9101, 9102]));
        assert_eq!(door.address.port(), 4000);
        let why = again(&run_of(other(true)), Path::new("gateway"))
            .err()
            .unwrap();
        assert!(why.contains("wants a key"), "{why}");
    }

    #[test]
    fn a_run_that_no_scenario_makes_any_more_cannot_be_replayed() {
        for origin in [asked("lanes"), asked("gone"), Origin::default()] {
            assert!(again(&run_of(origin), Path::new("gateway")).is_err());
        }
    }

    #[tokio::test]
    async fn a_report_without_a_match_is_no_pass() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("report.json");
        let report = Report {
            schema: SCHEMA.to_owned(),
            version: String::new(),
            begun_at: 0,
            cores: 1,
            verdict: Verdict::Fail,
            runs: vec![run_of(asked("lanes"))],
        };
        for runs in [report.runs.clone(), Vec::new()] {
            let report = Report {
                runs,
                ..report.clone()
            };
            std::fs::write(&from, serde_json::to_vec(&report).unwrap()).unwrap();
            let options = ReplayOptions {
                from: from.clone(),
                all: false,
                report: folder.path().join("again"),
                quiet: true,
            };
            assert_eq!(replay(&options, Path::new("gateway")).await, CANNOT);
            assert!(!options.report.exists());
        }
    }

    #[test]
    fn a_replay_does_not_write_where_it_reads() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("report.json");
        std::fs::write(&from, "{}").unwrap();
        assert!(is_its_folder(folder.path(), &from));
        assert!(is_its_folder(&folder.path().join("."), &from));
        let other = folder.path().join("again");
        assert!(!is_its_folder(&other, &from));
        std::fs::create_dir(&other).unwrap();
        assert!(!is_its_folder(&other, &from));
    }
}
