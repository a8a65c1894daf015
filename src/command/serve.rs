//! `switchyard serve`: the gateway itself.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use switchyard::app::{App, StartError};
use switchyard::telemetry::logs;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

use super::{complain, in_runtime, say, source};

#[derive(clap::Args, Default)]
pub(crate) struct Serve {
    /// The configuration file; ./switchyard.toml is used when it is there.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Write the addresses really bound to this file, one `name=value` a line.
    #[arg(long)]
    announce: Option<PathBuf>,
}

pub(super) fn run(serve: Serve) -> ExitCode {
    in_runtime(async {
        match self::serve(serve).await {
            Ok(code) => code,
            Err(error) => {
                complain(&error.to_string());
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
