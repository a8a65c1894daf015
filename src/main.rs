//! The `switchyard` command: serve, check, audit.

mod audit;
#[cfg(feature = "chaos")]
mod bench;
mod keys_command;
mod spend;
mod store_command;
mod time;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use switchyard::app::{App, StartError};
use switchyard::config::{Source, explain, explain_json};
use switchyard::telemetry::logs;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-hosted gateway that makes many model providers look like one that never fails.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway (the default). Without a file it serves the providers whose keys are in the environment.
    Serve(Serve),
    /// Find every mistake in a configuration, or explain what it means.
    Check(Check),
    /// The audit journal.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// The store of what clients asked to be kept.
    #[command(subcommand)]
    Store(store_command::StoreCommand),
    /// What was spent, by whom and on what.
    Spend(spend::Spend),
    /// What models cost.
    #[command(subcommand)]
    Prices(spend::Prices),
    /// Client and admin keys that are kept in the store.
    Keys(keys_command::Keys),
    /// Tenants and teams that are kept in the store.
    Tenants(keys_command::Tenants),
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

#[derive(clap::Args, Default)]
struct Serve {
    /// The configuration file; ./switchyard.toml is used when it is there.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Write the addresses really bound to this file, one `name=value` a line.
    #[arg(long)]
    announce: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Check {
    /// The configuration file; ./switchyard.toml is used when it is there.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Explain the whole, or what one model name leads to.
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(serve) => run(serve),
        Command::Check(check) => self::check(&check),
        Command::Audit(command) => audit::run(command),
        Command::Store(command) => store_command::run(command),
        Command::Spend(command) => spend::run(&command),
        Command::Prices(command) => spend::prices(&command),
        Command::Keys(asked) => keys_command::keys(asked),
        Command::Tenants(asked) => keys_command::tenants(asked),
        #[cfg(feature = "chaos")]
        Command::Chaos(command) => in_runtime(async move {
            match std::env::current_exe() {
                Ok(own) => ExitCode::from(switchyard_chaos::command::execute(command, &own).await),
                Err(error) => not_found(&error),
            }
        }),
        #[cfg(feature = "chaos")]
        Command::Demo(options) => in_runtime(async move {
            match std::env::current_exe() {
                Ok(own) => ExitCode::from(switchyard_chaos::command::demo(options, &own).await),
                Err(error) => not_found(&error),
            }
        }),
        #[cfg(feature = "chaos")]
        Command::Bench(options) => in_runtime(async move {
            match (&options.bare, &options.announce, options.placements) {
                (Some(upstream), Some(announce), _) => bench::bare(upstream, announce).await,
                (_, _, Some(placements)) => bench::place(placements, options.targets).await,
                _ => bench::run(options).await,
            }
        }),
    }
}

#[cfg(feature = "chaos")]
fn not_found(error: &std::io::Error) -> ExitCode {
    complain(&format!("cannot find its own binary: {error}"));
    ExitCode::from(2)
}

/// Standard output that may be closed: then there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "switchyard: {text}");
}

fn source(named: Option<PathBuf>) -> Source {
    let usual = PathBuf::from("switchyard.toml");
    Source {
        file: named.or_else(|| usual.exists().then_some(usual)),
    }
}

fn check(check: &Check) -> ExitCode {
    match source(check.config.clone()).load() {
        Ok(settings) => {
            if check.json {
                say(&serde_json::to_string_pretty(&explain_json(&settings)).unwrap_or_default());
            } else {
                match check.explain.as_deref() {
                    Some(model) if !model.is_empty() => {
                        say(explain(&settings, Some(model)).trim_end())
                    }
                    Some(_) => say(explain(&settings, None).trim_end()),
                    None => {
                        say(&format!(
                            "good: {} providers, {} pools",
                            settings.providers.len(),
                            settings.pools.len()
                        ));
                        for warning in &settings.warnings {
                            say(&format!("warning: {warning}"));
                        }
                    }
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            for mistake in &error.mistakes {
                complain(&mistake.to_string());
            }
            complain(&format!("{} mistakes", error.mistakes.len()));
            ExitCode::FAILURE
        }
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

fn run(serve: Serve) -> ExitCode {
    in_runtime(async {
        match self::serve(serve).await {
            Ok(code) => code,
            Err(error) => {
                for line in error.to_string().lines() {
                    complain(line);
                }
                ExitCode::FAILURE
            }
        }
    })
}

async fn serve(serve: Serve) -> Result<ExitCode, StartError> {
    let source = source(serve.config);
    let settings = source.load()?;
    if let Err(error) = logs::init(&settings.logs) {
        complain(&error.to_string());
        return Ok(ExitCode::FAILURE);
    }
    let (open, bare) = (settings.clients.is_empty(), settings.providers.is_empty());
    let file = source.file.as_ref().map(|path| path.display().to_string());
    let app = App::start(settings, source).await?;
    let base = app
        .address()
        .map(|address| format!("http://{address}/v1"))
        .unwrap_or_default();
    say(&format!("switchyard serves {base}"));
    if let Some(admin) = app.admin_address() {
        say(&format!("admin       http://{admin}/admin/tree"));
    }
    say(&format!(
        "config      {}",
        file.unwrap_or_else(|| "none: defaults and environment".to_owned())
    ));
    if open {
        say("clients     no keys configured: only this machine can connect");
    }
    if bare {
        say(
            "providers   none yet: set OPENAI_API_KEY, ANTHROPIC_API_KEY or the like, or name a file with --config",
        );
    }
    announce(serve.announce, &app, &base);
    Ok(until_told(app).await)
}

fn announce(file: Option<PathBuf>, app: &App, base: &str) {
    let Some(file) = file else { return };
    let admin = app
        .admin_address()
        .map(|address| format!("http://{address}"))
        .unwrap_or_default();
    // Written beside and moved, so that a reader never sees half of it.
    let beside = file.with_extension("new");
    let written = std::fs::write(&beside, format!("base_url={base}\nadmin_url={admin}\n"))
        .and_then(|()| std::fs::rename(&beside, &file));
    if let Err(error) = written {
        complain(&format!("--announce {}: {error}", file.display()));
    }
}

/// Serves until a signal says otherwise.
async fn until_told(app: App) -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        complain("signals cannot be heard here");
        return ExitCode::FAILURE;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => app.reload(),
            () = app.gave_up() => {
                // Through the log: standard error may be read by nobody, and this process has to end.
                error!("a vital part keeps failing; ending so that it can be started afresh");
                // Open streams are told, and the journal holds what there was.
                let told = app.stop_within(Duration::ZERO);
                let _ = tokio::time::timeout(Duration::from_secs(5), told).await;
                return ExitCode::from(70);
            }
        }
    }
    // A second signal means now.
    tokio::select! {
        () = app.stop() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::FAILURE,
        _ = terminate.recv() => ExitCode::FAILURE,
    }
}
