//! What the `switchyard` command can do, a folder or a file each. All but `serve` are short-lived, and say on standard
//! output what they found and on standard error what is wrong.

mod audit;
#[cfg(feature = "chaos")]
mod bench;
mod check;
mod keys;
mod serve;
mod spend;
mod store;
mod time;

use std::io::Write as _;
#[cfg(feature = "chaos")]
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use switchyard::config::Source;

use check::Check;
pub(crate) use serve::Serve;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the gateway (the default). Without a file it serves the providers whose keys are in the environment.
    Serve(Serve),
    /// Find every mistake in a configuration, or explain what it means.
    Check(Check),
    /// The audit journal.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// The store of what clients asked to be kept.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// What was spent, by whom and on what.
    Spend(spend::Spend),
    /// What models cost.
    #[command(subcommand)]
    Prices(spend::Prices),
    /// Client and admin keys that are kept in the store.
    Keys(keys::Keys),
    /// Tenants and teams that are kept in the store.
    Tenants(keys::Tenants),
    /// The gateway with three mock providers, traffic going through, and a key that takes a provider down.
    #[cfg(feature = "chaos")]
    Demo(switchyard_chaos::command::DemoOptions),
    /// Break providers, connections and the gateway itself on purpose, and prove what it promises.
    #[cfg(feature = "chaos")]
    #[command(subcommand)]
    Chaos(switchyard_chaos::command::ChaosCommand),
    /// Measure the gateway against a bare proxy on this machine, in one run: CPU, instructions, memory, latency.
    #[cfg(feature = "chaos")]
    Bench(bench::BenchOptions),
}

impl Command {
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Serve(serve) => serve::run(serve),
            Self::Check(check) => check::run(&check),
            Self::Audit(command) => audit::run(command),
            Self::Store(command) => store::run(command),
            Self::Spend(command) => spend::run(&command),
            Self::Prices(command) => spend::prices(&command),
            Self::Keys(asked) => keys::keys(asked),
            Self::Tenants(asked) => keys::tenants(asked),
            #[cfg(feature = "chaos")]
            Self::Chaos(command) => {
                with_own_binary(async |own| switchyard_chaos::command::execute(command, own).await)
            }
            #[cfg(feature = "chaos")]
            Self::Demo(options) => {
                with_own_binary(async |own| switchyard_chaos::command::demo(options, own).await)
            }
            #[cfg(feature = "chaos")]
            Self::Bench(options) => in_runtime(async move {
                match (&options.bare, &options.announce, options.placements) {
                    (Some(upstream), Some(announce), _) => bench::bare(upstream, announce).await,
                    (_, _, Some(placements)) => bench::place(placements, options.targets).await,
                    _ => bench::run(options).await,
                }
            }),
        }
    }
}

/// For what starts gateways of this very binary.
#[cfg(feature = "chaos")]
fn with_own_binary(work: impl AsyncFnOnce(&Path) -> u8) -> ExitCode {
    match std::env::current_exe() {
        Ok(own) => in_runtime(async { ExitCode::from(work(&own).await) }),
        Err(error) => {
            complain(&format!("cannot find its own binary: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Standard output that may be closed: then there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    for line in text.lines() {
        let _ = writeln!(std::io::stderr(), "switchyard: {line}");
    }
}

fn source(named: Option<PathBuf>) -> Source {
    let usual = PathBuf::from("switchyard.toml");
    Source {
        file: named.or_else(|| usual.exists().then_some(usual)),
    }
}

fn in_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            complain(&format!("no runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}
