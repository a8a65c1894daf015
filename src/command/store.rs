//! `switchyard store`: copy it while it is in use, and look whether it is sound.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use switchyard::store::embedded::{backup, check};

use crate::command::{complain, say, source};

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy the store as it is at this moment to a new file, also while a gateway uses it. Keep its key, too.
    Backup {
        /// A file that is not there yet.
        to: PathBuf,
        /// The configuration file; ./switchyard.toml is used when it is there.
        #[arg(long, short)]
        config: Option<PathBuf>,
    },
    /// Read all of the store and try its key. Changes nothing.
    Check {
        /// The configuration file; ./switchyard.toml is used when it is there.
        #[arg(long, short)]
        config: Option<PathBuf>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// Ends with 0, with 1 where the store is not sound, with 2 where the configuration is not.
pub(crate) fn run(command: StoreCommand) -> ExitCode {
    let (StoreCommand::Backup { config, .. } | StoreCommand::Check { config, .. }) = &command;
    let settings = match source(config.clone()).load() {
        Ok(settings) => settings.store,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(2);
        }
    };
    let done = match command {
        StoreCommand::Backup { to, .. } => backup(&settings, &to).map(|bytes| {
            let key = match settings.key {
                Some(_) => "store.key".to_owned(),
                None => format!("{}.key", settings.path.display()),
            };
            format!(
                "{} bytes copied to {}; it opens with the key of {key}, which is not in it",
                bytes,
                to.display()
            )
        }),
        StoreCommand::Check { json, .. } => check(&settings).map(|report| {
            if json {
                serde_json::to_string_pretty(&report).unwrap_or_default()
            } else {
                format!(
                    "{}: sound; schema {} of {}, {} responses, {} bytes",
                    report.path.display(),
                    report.schema,
                    report.latest_schema,
                    report.responses,
                    report.bytes
                )
            }
        }),
    };
    match done {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
