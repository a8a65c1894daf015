//! Plans carried out one after the other, and the report of all of them, however far it came.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::live::{draw, drawn};
use super::run::CANNOT;
use super::{complain, say};
use crate::conduct::{self, Plan, Progress, Subject, rehearse};
use crate::lab::was_interrupted;
use crate::report::{
    Origin, Report, Run, SCHEMA, Verdict, check_folder, command_of, of_run, total, write,
};
use crate::verdict::judge;

/// As wide as most terminals are, and logs read well.
pub(super) const WIDTH: usize = 118;

/// A plan, and what was asked for to get it.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) origin: Origin,
}

/// Carries all of them out and writes the report; the result is the process's exit code.
pub(super) async fn carry_out(all: Vec<Planned>, folder: &Path, quiet: bool) -> u8 {
    // What would be noticed only after hours is looked at before the first minute.
    if let Err(why) = check_folder(folder) {
        complain(&why.to_string());
        return CANNOT;
    }
    if let Err(why) = judged_before(&all).await {
        complain(&why);
        return CANNOT;
    }
    let mut report = empty();
    let mut could_not = false;
    let count = all.len();
    for (place, planned) in all.into_iter().enumerate() {
        let heading = format!("[{}/{count}] {}", place + 1, planned.plan.scenario.name);
        let shown = !quiet && std::io::stderr().is_terminal();
        let run = match was_interrupted() {
            // The report is still owed to whoever told it to end.
            Some(signal) => Err(format!("interrupted by {signal}")),
            None => one(&planned.plan, &heading, shown).await,
        };
        let run = match run {
            Ok(run) => run,
            Err(why) => {
                complain(&format!("{heading}: {why}"));
                could_not = true;
                not_run(&planned.plan, why)
            }
        };
        let run = told(run, &planned);
        say(&of_run(&run, WIDTH, std::io::stdout().is_terminal()));
        report.runs.push(run);
        // Written after each: whatever ends the next one, what was found is not lost.
        if let Err(code) = written(&mut report, folder) {
            return code;
        }
    }
    say(&total(&report, WIDTH, std::io::stdout().is_terminal()));
    say(&format!(
        "told in full by {}",
        folder.join("report.html").display()
    ));
    match report.verdict {
        Verdict::Fail => report.verdict.exit_code(),
        Verdict::Pass | Verdict::Unknown if could_not => CANNOT,
        Verdict::Pass | Verdict::Unknown => report.verdict.exit_code(),
    }
}

fn empty() -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        begun_at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        cores: std::thread::available_parallelism()
            .map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        verdict: Verdict::Unknown,
        runs: Vec::new(),
    }
}

fn written(report: &mut Report, folder: &Path) -> Result<(), u8> {
    report.verdict = Verdict::of(report.runs.iter().map(|run| run.verdict));
    write(report, folder).map(drop).map_err(|why| {
        complain(&format!("{}: {why}", folder.display()));
        CANNOT
    })
}

/// Asks of every configuration whether the gateway would take it, before the first is started.
async fn judged_before(all: &[Planned]) -> Result<(), String> {
    let mut asked = BTreeSet::new();
    for planned in all {
        let Subject::Binary { .. } = planned.plan.subject else {
            continue;
        };
        let name = &planned.plan.scenario.name;
        if asked.insert((name, &planned.origin.config)) {
            let judged = rehearse(&planned.plan).await;
            judged.map_err(|why| format!("{name}: {why}"))?;
        }
    }
    Ok(())
}

/// A run that never was: nothing is known, and the report says why.
fn not_run(plan: &Plan, why: String) -> Run {
    Run {
        scenario: plan.scenario.name.clone(),
        about: plan.scenario.about.clone(),
        rows: plan.scenario.rows.clone(),
        seed: plan.seed,
        gateway: plan.subject.name().to_owned(),
        verdict: Verdict::Unknown,
        notes: vec![format!("it could not be run: {why}")],
        ..Run::default()
    }
}

fn told(mut run: Run, planned: &Planned) -> Run {
    run.replay = command_of(&planned.origin, run.seed);
    run.origin = planned.origin.clone();
    run
}

async fn one(plan: &Plan, heading: &str, shown: bool) -> Result<Run, String> {
    let folder = folder(plan)?;
    let (tell, progress) = watch::channel(Progress::default());
    let drawing = shown.then(|| tokio::spawn(draw(drawn(plan, heading), progress)));
    let evidence = conduct::conduct(plan, &folder, &tell).await;
    if let Some(drawing) = drawing {
        drawing.abort();
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let run = match evidence {
        Ok(evidence) => judge(plan, &evidence),
        Err(error) => {
            // Its own words hold what its log says.
            let _ = std::fs::remove_dir_all(&folder);
            return Err(error.to_string());
        }
    };
    if run.verdict == Verdict::Pass {
        // What passed needs no witness.
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        say(&format!(
            "the gateway's log, journal and configuration are kept in {}",
            folder.display()
        ));
    }
    Ok(run)
}

/// A fresh folder for one run.
fn folder(plan: &Plan) -> Result<PathBuf, String> {
    let name = format!(
        "switchyard-chaos-{}-{}-{}",
        std::process::id(),
        plan.scenario.name,
        fastrand::u32(..)
    );
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::scenario;

    /// Takes every configuration; `serve` ends at once.
    const NEVER_STARTS: &str = r#"#!/bin/sh
case "$1" in
check) echo '{"providers":[],"pools":[{"name":"chat","targets":[],"chain":["chat"]}]}' ;;
*) echo "no port is free"; exit 1 ;;
esac
"#;

    fn plans(binary: &Path, count: u64) -> Vec<Planned> {
        let scenario = scenario::find("one_down").unwrap().unwrap().remove(0);
        (0..count)
            .map(|seed| Planned {
                plan: Plan {
                    scenario: scenario.clone(),
                    seed,
                    subject: Subject::Binary {
                        binary: binary.to_owned(),
                        config: None,
                    },
                    between: None,
                },
                origin: Origin {
                    asked: "one_down".to_owned(),
                    ..Origin::default()
                },
            })
            .collect()
    }

    #[tokio::test]
    async fn a_run_that_cannot_start_is_unknown_in_a_report_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("gateway");
        std::fs::write(&binary, NEVER_STARTS).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        let reports = folder.path().join("report");
        let code = carry_out(plans(&binary, 2), &reports, true).await;
        assert_eq!(code, CANNOT);
        let told = std::fs::read(reports.join("report.json")).unwrap();
        let told: Report = serde_json::from_slice(&told).unwrap();
        assert_eq!(told.verdict, Verdict::Unknown);
        assert_eq!(told.runs.len(), 2);
        for run in &told.runs {
            assert!(run.notes[0].contains("it could not be run"), "{run:?}");
            assert_eq!(run.origin.asked, "one_down");
        }
    }

    #[tokio::test]
    async fn a_configuration_that_is_refused_ends_it_before_the_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().join("report");
        let code = carry_out(plans(Path::new("/bin/false"), 1), &reports, true).await;
        assert_eq!(code, CANNOT);
        assert!(!reports.join("report.json").exists());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_ends_it_before_the_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let code = carry_out(plans(Path::new("/bin/false"), 1), &file, true).await;
        assert_eq!(code, CANNOT);
    }
}
