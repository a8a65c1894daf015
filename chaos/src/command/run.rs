//! `run`, `compare` and `replay`: scenarios carried out one after the other, and their report.

use std::io::{IsTerminal as _, Write as _};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::{CompareOptions, ReplayOptions, RunOptions, complain, say};
use crate::conduct::{self, Plan, Progress, Subject};
use crate::lab::Door;
use crate::report::{
    ProgressState, Report, Run, SCHEMA, Verdict, of_run, progress_line, total, write,
};
use crate::scenario::{self, Scenario, Span};
use crate::verdict::judge;

/// What cannot be run at all ends with this.
const CANNOT: u8 = 2;

pub(super) async fn run(options: &RunOptions, binary: &Path) -> u8 {
    let mut scenarios = match chosen(&options.what, options.config.as_deref(), binary) {
        Ok(scenarios) => scenarios,
        Err(why) => {
            complain(&why);
            return CANNOT;
        }
    };
    if let Some(faults) = &options.faults {
        let Some(span) = Span::parse(faults) else {
            complain(&format!("--faults {faults}: a length is \"60s\" or \"5m\""));
            return CANNOT;
        };
        for (scenario, _) in &mut scenarios {
            scenario.phases.faults = span;
        }
    }
    let subject = Subject::Binary {
        binary: binary.to_owned(),
        config: options.config.clone(),
    };
    let mut more = String::new();
    if let Some(config) = &options.config {
        more.push_str(&format!(" --config {}", config.display()));
    }
    if let Some(faults) = &options.faults {
        more.push_str(&format!(" --faults {faults}"));
    }
    let mut plans = Vec::new();
    for (scenario, asked) in scenarios {
        for turn in 0..options.seeds.max(1) {
            let seed = options.seed.wrapping_add(u64::from(turn));
            plans.push((
                Plan {
                    scenario: scenario.clone(),
                    seed,
                    subject: subject.clone(),
                    between: None,
                },
                format!("switchyard chaos run {asked} --seed {seed}{more}"),
            ));
        }
    }
    carry_out(plans, &options.report, options.quiet).await
}

pub(super) async fn compare(options: &CompareOptions, binary: &Path) -> u8 {
    let scenarios = match chosen(&options.what, None, binary) {
        Ok(scenarios) => scenarios,
        Err(why) => {
            complain(&why);
            return CANNOT;
        }
    };
    let mut others = Vec::new();
    for with in &options.with {
        match other(with) {
            Ok(other) => others.push(other),
            Err(why) => {
                complain(&why);
                return CANNOT;
            }
        }
    }
    let mut plans = Vec::new();
    for (scenario, asked) in scenarios {
        let mut plan = |subject: Subject| {
            plans.push((
                Plan {
                    scenario: scenario.clone(),
                    seed: options.seed,
                    subject,
                    between: None,
                },
                format!(
                    "switchyard chaos compare {asked} --seed {} --with {}",
                    options.seed,
                    options.with.join(" --with ")
                ),
            ));
        };
        plan(Subject::Binary {
            binary: binary.to_owned(),
            config: None,
        });
        for (name, door) in &others {
            plan(Subject::Url {
                name: name.clone(),
                door: door.clone(),
                ports: options.ports.clone(),
            });
        }
    }
    let ports: Vec<String> = options
        .ports
        .iter()
        .map(|port| format!("http://127.0.0.1:{port}/v1"))
        .collect();
    say(&format!(
        "the other gateways must serve the model `chat` from {}",
        ports.join(", ")
    ));
    carry_out(plans, &options.report, options.quiet).await
}

/// `name=url` or `name=url=key`.
fn other(with: &str) -> Result<(String, Door), String> {
    let form = || format!("--with {with}: say name=http://host:port/v1 or name=url=key");
    let (name, rest) = with.split_once('=').ok_or_else(form)?;
    let (url, key) = rest.split_once('=').unwrap_or((rest, "none"));
    let rest = url.strip_prefix("http://").ok_or_else(form)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let named = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = named
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| format!("--with {with}: {host} has no address"))?;
    Ok((
        name.to_owned(),
        Door {
            address,
            path: path.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
        },
    ))
}

pub(super) async fn replay(options: &ReplayOptions, binary: &Path) -> u8 {
    let report: Report = match std::fs::read(&options.from)
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
    {
        Ok(report) => report,
        Err(why) => {
            complain(&format!("{}: {why}", options.from.display()));
            return CANNOT;
        }
    };
    if report.schema != SCHEMA {
        complain(&format!(
            "{}: its form is {:?}, this harness reads {SCHEMA:?}",
            options.from.display(),
            report.schema
        ));
        return CANNOT;
    }
    let mut plans = Vec::new();
    let wanted = |run: &&Run| options.all || run.verdict != Verdict::Pass;
    for run in report.runs.iter().filter(wanted) {
        match again(run, binary) {
            Ok(more) => plans.extend(more),
            Err(why) => {
                complain(&why);
                return CANNOT;
            }
        }
    }
    if plans.is_empty() {
        say("nothing to run again: every run of this report passed (--all runs them, too)");
        return 0;
    }
    carry_out(plans, &options.report, options.quiet).await
}

/// The plan of a run that was made before. The command that made it says what it was made from.
fn again(run: &Run, binary: &Path) -> Result<Vec<(Plan, String)>, String> {
    let words: Vec<&str> = run.replay.split_whitespace().collect();
    let after = |flag: &str| {
        let place = words.iter().position(|word| *word == flag)?;
        words.get(place.checked_add(1)?).copied()
    };
    let config = after("--config").map(PathBuf::from);
    let asked = words.get(3).copied().unwrap_or(&run.scenario).to_owned();
    let mut found = chosen(&[asked], config.as_deref(), binary)?;
    found.retain(|(scenario, _)| scenario.name == run.scenario);
    let faults = after("--faults").and_then(Span::parse);
    let plans = found.into_iter().map(|(mut scenario, _)| {
        scenario.phases.faults = faults.unwrap_or(scenario.phases.faults);
        let plan = Plan {
            scenario,
            seed: run.seed,
            subject: Subject::Binary {
                binary: binary.to_owned(),
                config: config.clone(),
            },
            between: None,
        };
        (plan, run.replay.clone())
    });
    Ok(plans.collect())
}

/// The scenarios of packs, names and files, each with the word it was asked for by.
fn chosen(
    what: &[String],
    config: Option<&Path>,
    binary: &Path,
) -> Result<Vec<(Scenario, String)>, String> {
    let mut all = Vec::new();
    for word in what {
        if word == "your-chain" {
            let config = config.ok_or("your-chain needs --config: it is made from your chains")?;
            let made = conduct::chains(binary, config).map_err(|error| error.to_string())?;
            all.extend(made.into_iter().map(|scenario| (scenario, word.clone())));
            continue;
        }
        let path = Path::new(word);
        if word.ends_with(".toml") {
            let text = std::fs::read_to_string(path).map_err(|why| format!("{word}: {why}"))?;
            let scenario = scenario::parse(word, &text).map_err(|bad| bad.to_string())?;
            all.push((scenario, word.clone()));
            continue;
        }
        match scenario::find(word) {
            Some(Ok(found)) => {
                all.extend(found.into_iter().map(|scenario| {
                    let name = scenario.name.clone();
                    (scenario, name)
                }));
            }
            Some(Err(bad)) => return Err(bad.to_string()),
            None => {
                return Err(format!(
                    "there is no pack or scenario {word:?}; `switchyard chaos list` shows them, a file's name ends in .toml"
                ));
            }
        }
    }
    Ok(all)
}

async fn carry_out(plans: Vec<(Plan, String)>, folder: &Path, quiet: bool) -> u8 {
    let begun_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        begun_at,
        cores: std::thread::available_parallelism()
            .map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        verdict: Verdict::Unknown,
        runs: Vec::new(),
    };
    let all = plans.len();
    for (place, (plan, replay)) in plans.into_iter().enumerate() {
        let heading = format!("[{}/{all}] {}", place + 1, plan.scenario.name);
        let shown = !quiet && std::io::stderr().is_terminal();
        match one(&plan, &heading, shown).await {
            Ok(mut run) => {
                run.replay = replay;
                say(&of_run(&run, WIDTH, std::io::stdout().is_terminal()));
                report.runs.push(run);
            }
            Err(why) => {
                complain(&format!("{heading}: {why}"));
                return CANNOT;
            }
        }
    }
    report.verdict = Verdict::of(report.runs.iter().map(|run| run.verdict));
    match write(&report, folder) {
        Ok(written) => {
            say(&total(&report, WIDTH, std::io::stdout().is_terminal()));
            say(&format!("told in full by {}", written.html.display()));
        }
        Err(why) => {
            complain(&format!("{}: {why}", folder.display()));
            return CANNOT;
        }
    }
    report.verdict.exit_code()
}

/// As wide as most terminals are, and logs read well.
const WIDTH: usize = 118;

async fn one(plan: &Plan, heading: &str, shown: bool) -> Result<Run, String> {
    let folder = folder(plan)?;
    let (tell, progress) = watch::channel(Progress::default());
    let drawing = shown.then(|| tokio::spawn(draw(drawn(plan, heading), progress)));
    let evidence = conduct::conduct(plan, &folder, &tell).await;
    if let Some(drawing) = drawing {
        drawing.abort();
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let evidence = evidence.map_err(|error| error.to_string())?;
    let run = judge(plan, &evidence);
    if run.verdict == Verdict::Fail {
        say(&format!(
            "the gateway's log, journal and configuration are kept in {}",
            folder.display()
        ));
    } else {
        // What passed needs no witness.
        let _ = std::fs::remove_dir_all(&folder);
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

/// What a progress line needs to know of a plan.
struct Drawn {
    heading: String,
    phases: Vec<(&'static str, u64, u64)>,
    faults: Vec<(String, u64, u64)>,
}

fn drawn(plan: &Plan, heading: &str) -> Drawn {
    let phases: Vec<(&'static str, u64, u64)> = conduct::phases(&plan.scenario)
        .into_iter()
        .map(|(name, from, to)| (name.label(), from, to))
        .collect();
    let window = phases
        .iter()
        .find(|(name, ..)| *name == "faults")
        .map_or((0, 0), |(_, from, to)| (*from, *to));
    let faults = plan
        .scenario
        .faults
        .iter()
        .map(|fault| {
            let from = window.0.saturating_add(fault.at.millis());
            let to = fault
                .lasts
                .map_or(window.1, |lasts| from.saturating_add(lasts.millis()));
            let name = format!("{} {}", fault.fault, fault.on.join(" "));
            (name.trim_end().to_owned(), from, to)
        })
        .collect();
    Drawn {
        heading: heading.to_owned(),
        phases,
        faults,
    }
}

async fn draw(drawn: Drawn, mut progress: watch::Receiver<Progress>) {
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{}",
            progress_line(&state(&drawn, &now), WIDTH, true)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn state(drawn: &Drawn, now: &Progress) -> ProgressState {
    let is_now = |from: u64, to: u64| (from..to).contains(&now.elapsed_ms);
    let phase = drawn.phases.iter().find(|(_, from, to)| is_now(*from, *to));
    let failed = now.recent.iter().filter(|(failed, _)| *failed).count();
    let mut waits: Vec<u64> = now
        .recent
        .iter()
        .filter_map(|(_, waited)| *waited)
        .collect();
    waits.sort_unstable();
    let at = |share: f64| {
        let place = (waits.len() as f64 * share) as usize;
        let waited = waits.get(place.min(waits.len().saturating_sub(1)))?;
        Some(Duration::from_millis(*waited))
    };
    ProgressState {
        scenario: drawn.heading.clone(),
        phase: phase.map_or("quiesce", |(name, ..)| *name).to_owned(),
        elapsed: Duration::from_millis(now.elapsed_ms),
        total: Duration::from_millis(drawn.phases.last().map_or(0, |last| last.2)),
        faults: drawn
            .faults
            .iter()
            .filter(|(_, from, to)| is_now(*from, *to))
            .map(|(name, ..)| name.clone())
            .collect(),
        requests: now.requests,
        errors: now.errors,
        error_rate: (!now.recent.is_empty()).then(|| failed as f64 / now.recent.len() as f64),
        p50: at(0.5),
        p99: at(0.99),
    }
}
