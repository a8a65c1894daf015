//! `switchyard check`: a configuration, read and explained.

use std::path::PathBuf;
use std::process::ExitCode;

use switchyard::config::{explain, explain_json};

use super::{complain, say, source};

#[derive(clap::Args)]
pub(crate) struct Check {
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

pub(super) fn run(check: &Check) -> ExitCode {
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
