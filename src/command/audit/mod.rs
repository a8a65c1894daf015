//! `switchyard audit`: the journal for people who have to answer for it.

mod erase;
mod export;
mod search;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use switchyard::store::journal::{
    Anchor, Selection, TextKeys, VerifyReport, anchor, verify_against,
};

use crate::command::{complain, say, source, time};

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Prove that no record was changed, removed or moved, and that every request has one outcome.
    Verify {
        /// The journal's folder.
        #[arg(default_value = "journal")]
        path: PathBuf,
        /// A head that `audit anchor` printed earlier; may be given more than once. Shows a journal that was
        /// cut at its end or rebuilt as a whole.
        #[arg(long, value_name = "SEQ:CHAIN")]
        anchor: Vec<Anchor>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Print the head of the journal as one line, to be kept where nobody who can write the journal can.
    Anchor {
        /// The journal's folder.
        #[arg(default_value = "journal")]
        path: PathBuf,
    },
    /// Write one row per request, as JSON lines or CSV.
    Export(export::Export),
    /// Find requests and show them as a table, one request in whole.
    Search(search::Search),
    /// Show one request in whole; its prompt and answer too, where they were kept and the configuration names
    /// the key.
    Show(show::Show),
    /// Forget an end user, a client or a tenant: the chain stays, what it says of them leads nowhere.
    Erase(erase::Erase),
}

/// Where the journal is.
#[derive(clap::Args)]
struct Place {
    /// The journal's folder; without it, that of the configuration.
    #[arg(long, value_name = "FOLDER")]
    journal: Option<PathBuf>,
    /// The configuration file; ./switchyard.toml is used when it is there.
    #[arg(long, short)]
    config: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> Result<PathBuf, String> {
        if let Some(folder) = &self.journal {
            return Ok(folder.clone());
        }
        let settings = source(self.config.clone()).load().map_err(|error| {
            format!("{error}\nthe configuration cannot be read; name the journal's folder with --journal")
        })?;
        Ok(settings.journal.path.clone())
    }

    fn text_keys(&self) -> Result<TextKeys, String> {
        let settings = source(self.config.clone())
            .load()
            .map_err(|error| error.to_string())?;
        Ok(TextKeys {
            now: settings.journal.text_key.clone(),
            before: settings.journal.text_key_before.clone(),
        })
    }
}

/// Which requests.
#[derive(clap::Args)]
struct Wanted {
    /// From when on: 2026-11-21, 2026-11-21T08:30:00Z, or how long ago: 90m, 24h, 7d.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    from: Option<u64>,
    /// Until when, in the same forms; that moment itself is left out.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    to: Option<u64>,
    #[arg(long)]
    client: Option<String>,
    #[arg(long)]
    tenant: Option<String>,
    /// The end user, as the client named them.
    #[arg(long)]
    user: Option<String>,
    /// As asked for, or as served.
    #[arg(long)]
    model: Option<String>,
    /// ok, failed, cancelled, interrupted, open, or a failure's code.
    #[arg(long)]
    outcome: Option<String>,
}

impl Wanted {
    fn selection(&self, request: Option<&str>) -> Selection {
        Selection {
            from_ms: self.from,
            to_ms: self.to,
            request: request.map(str::to_owned),
            client: self.client.clone(),
            tenant: self.tenant.clone(),
            user: self.user.clone(),
            model: self.model.clone(),
            outcome: self.outcome.clone(),
        }
    }
}

pub(crate) fn run(command: Audit) -> ExitCode {
    match command {
        Audit::Verify { path, anchor, json } => {
            told(verify_against(&path, &anchor), &path, |report| {
                verdict(&report, json)
            })
        }
        Audit::Anchor { path } => told(anchor(&path), &path, |anchor| match anchor {
            Some(anchor) => {
                say(&anchor.to_string());
                ExitCode::SUCCESS
            }
            None => {
                complain(&format!("{}: no record yet", path.display()));
                ExitCode::FAILURE
            }
        }),
        Audit::Export(command) => export::run(&command),
        Audit::Search(command) => search::run(&command),
        Audit::Show(command) => show::run(&command),
        Audit::Erase(command) => erase::run(&command),
    }
}

fn told<T>(
    done: std::io::Result<T>,
    path: &std::path::Path,
    say: impl FnOnce(T) -> ExitCode,
) -> ExitCode {
    match done {
        Ok(done) => say(done),
        Err(error) => {
            complain(&format!(
                "{}: {error}; name the journal's folder",
                path.display()
            ));
            ExitCode::from(2)
        }
    }
}

fn verdict(report: &VerifyReport, json: bool) -> ExitCode {
    if json {
        say(&serde_json::to_string_pretty(report).unwrap_or_default());
    } else {
        say(&report.to_string());
    }
    if report.intact() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Nano-dollars as dollars, to the last digit.
pub(crate) fn dollars(nano: u64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}
