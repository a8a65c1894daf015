//! The harness as a command: `switchyard chaos run|list|explain|compare|replay`.

mod carry;
mod demo;
mod list;
mod live;
mod replay;
mod run;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub use demo::{DemoOptions, demo};

#[derive(Debug, Clone, Subcommand)]
pub enum ChaosCommand {
    /// Run packs, scenarios by name, or scenario files; without a name the smoke pack.
    Run(RunOptions),
    /// Packs, scenarios, rows of the catalogue and primitives.
    List,
    /// What a row, primitive, pack or scenario is.
    Explain {
        /// `P22`, `cut`, `smoke`, `one_down`.
        what: String,
    },
    /// Run the same scenarios against other gateways by URL, and against this one.
    Compare(CompareOptions),
    /// Run again what a report holds, with the same seeds.
    Replay(ReplayOptions),
}

#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Packs, scenarios or files; `your-chain` kills each link, and each pair of links, of your own configuration.
    #[arg(default_value = "smoke")]
    pub what: Vec<String>,
    /// Your configuration; every provider is swapped for a mock, and no real key is read.
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// The first seed; the same seed draws the same requests and faults.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many seeds to run, one after the other; the worst counts.
    #[arg(long, default_value_t = 1)]
    pub seeds: u32,
    /// Length of the faults phase instead of the scenario's: "60s", "30m".
    #[arg(long)]
    pub faults: Option<String>,
    /// So many requests of all open workloads together, the length of the faults phase follows: "1000000".
    #[arg(long, conflicts_with = "faults")]
    pub requests: Option<String>,
    /// So many times the rate of every open workload: "10".
    #[arg(long)]
    pub rate: Option<String>,
    /// Where the reports go: report.json, junit.xml, report.html.
    #[arg(long, default_value = "chaos-report")]
    pub report: PathBuf,
    /// No live progress.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CompareOptions {
    /// Packs, scenarios or files.
    #[arg(default_value = "smoke")]
    pub what: Vec<String>,
    /// Another gateway: `name=http://host:port/v1`, with `name=url=key` if it wants a key. It must serve the model
    /// `chat` from the mocks on the ports below.
    #[arg(long, required = true)]
    pub with: Vec<String>,
    /// Ports of the mocks the other gateways are pointed at.
    #[arg(long, value_delimiter = ',', default_value = "9101,9102,9103")]
    pub ports: Vec<u16>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long, default_value = "chaos-report")]
    pub report: PathBuf,
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ReplayOptions {
    /// A report.json.
    #[arg(default_value = "chaos-report/report.json")]
    pub from: PathBuf,
    /// Passed runs, too.
    #[arg(long)]
    pub all: bool,
    /// Not where the report is that is replayed: it would be overwritten.
    #[arg(long, default_value = "chaos-replay")]
    pub report: PathBuf,
    #[arg(long, short)]
    pub quiet: bool,
}

/// Does what was asked; the result is the process's exit code: 0 passed, 1 failed, 3 unknown, 2 cannot be run.
pub async fn execute(command: ChaosCommand, binary: &Path) -> u8 {
    match command {
        ChaosCommand::Run(options) => run::run(&options, binary).await,
        ChaosCommand::List => {
            say(&list::list());
            0
        }
        ChaosCommand::Explain { what } => match list::explain(&what) {
            Some(text) => {
                say(&text);
                0
            }
            None => {
                complain(&format!(
                    "there is nothing called {what:?}; `switchyard chaos list` shows everything"
                ));
                2
            }
        },
        ChaosCommand::Compare(options) => run::compare(&options, binary).await,
        ChaosCommand::Replay(options) => replay::replay(&options, binary).await,
    }
}

/// Standard output that may be closed: then there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "switchyard chaos: {text}");
}
