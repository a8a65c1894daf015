//! `switchyard spend` and `switchyard prices`: what was spent, and what it would be at other prices.

mod compared;
mod reprice;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use switchyard::config::Settings;
use switchyard::store::embedded::{booked_to, spend_report};
use switchyard::store::journal::alias_names;
use switchyard::store::spending::{Behind, SpendBy, SpendLine, SpendQuestion, behind};

use crate::command::audit::dollars;
use crate::command::{complain, say, source, time};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Tenant,
    Team,
    Client,
    Provider,
    Model,
    Tag,
    User,
    Day,
    Hour,
}

impl From<By> for SpendBy {
    fn from(by: By) -> Self {
        match by {
            By::Tenant => Self::Tenant,
            By::Team => Self::Team,
            By::Client => Self::Client,
            By::Provider => Self::Provider,
            By::Model => Self::Model,
            By::Tag => Self::Tag,
            By::User => Self::User,
            By::Day => Self::Day,
            By::Hour => Self::Hour,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Spend {
    /// One line for each.
    #[arg(long, value_enum, default_value = "tenant")]
    by: By,
    #[command(flatten)]
    stretch: Stretch,
    /// Of this tenant alone.
    #[arg(long)]
    tenant: Option<String>,
    /// For programs.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// For tables.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    place: Place,
}

/// From when to when, by quarters of an hour.
#[derive(clap::Args)]
struct Stretch {
    /// A day, a time or how long ago: 2026-11-01, 2026-11-01T08:00:00Z, 24h, 7d.
    #[arg(long, value_parser = time::parse, default_value = "30d")]
    from: u64,
    /// The end, excluded; now, if it is left out.
    #[arg(long, value_parser = time::parse)]
    to: Option<u64>,
}

#[derive(clap::Args)]
struct Place {
    /// The configuration file; ./switchyard.toml is used when it is there.
    #[arg(long, short)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Prices {
    /// Count what was used again at the prices of today, and show the difference. Without --dry-run the reports are
    /// corrected; the journal keeps what was charged.
    Reprice(reprice::Reprice),
}

pub(crate) fn prices(prices: &Prices) -> ExitCode {
    let Prices::Reprice(reprice) = prices;
    reprice::run(reprice)
}

impl Place {
    fn settings(&self) -> Result<Settings, ExitCode> {
        source(self.config.clone()).load().map_err(|error| {
            complain(&error.to_string());
            ExitCode::from(2)
        })
    }
}

/// Ends with 0, with 1 where the store cannot be read, with 2 where the configuration cannot.
pub(crate) fn run(spend: &Spend) -> ExitCode {
    let settings = match spend.place.settings() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let question = SpendQuestion {
        by: spend.by.into(),
        from: spend.stretch.from / 1_000,
        to: spend.stretch.to.map_or(u64::MAX, |to| to / 1_000),
        tenant: spend.tenant.clone(),
    };
    let found = spend_report(&settings.store, &question)
        .and_then(|lines| Ok((lines, booked_to(&settings.store)?)));
    let late = |booked| match behind(&settings.journal.path, booked) {
        Ok(behind) => behind,
        Err(error) => {
            complain(&format!("how far it lies behind is not known: {error}"));
            Behind::default()
        }
    };
    let (mut lines, booked) = match found {
        Ok(found) => found,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    if question.by == SpendBy::User {
        named(&mut lines, &settings);
    }
    let late = late(booked);
    if spend.json {
        let document = json!({
            "by": question.by.label(),
            "lines": lines,
            "booked_until_ms": (booked.seq > 0).then_some(booked.at_ms),
            "behind_seconds": late.seconds,
            "records_behind": late.records,
        });
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else if spend.csv {
        say(csv(&lines).trim_end());
    } else {
        say(table(question.by, &lines).trim_end());
        if booked.seq > 0 {
            complain(&format!("booked up to {}", time::rfc3339(booked.at_ms)));
        }
    }
    if late.records > 0 {
        let Behind { records, seconds } = late;
        complain(&format!(
            "{records} records of the last {seconds} s are not booked yet; a running gateway books them within seconds"
        ));
    }
    ExitCode::SUCCESS
}

/// End users stand in the books under their aliases, as in the journal; who was erased has no name any more.
fn named(lines: &mut [SpendLine], settings: &Settings) {
    let names = alias_names(&settings.journal.path);
    for line in lines {
        if let Some((tenant, alias)) = line.name.split_once('@')
            && let Some(name) = names.get(alias)
        {
            line.name = format!("{tenant}@{name}");
        }
    }
}

/// A name from outside, harmless to a terminal (attack A12).
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .take(64)
        .collect()
}

fn table(by: SpendBy, lines: &[SpendLine]) -> String {
    let head = [
        by.label(),
        "requests",
        "failed",
        "input",
        "output",
        "USD",
        "of it estimated",
        "charged",
        "unpriced",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    let mut all = SpendLine {
        name: "all".to_owned(),
        sum: Default::default(),
        margin_nano: None,
    };
    for line in lines {
        all.sum = all.sum.plus(&line.sum);
        all.margin_nano = line
            .margin_nano
            .map(|margin| margin.saturating_add(all.margin_nano.unwrap_or_default()));
        rows.push(cells(line));
    }
    // Tags and users cut across requests: their sum is nothing.
    if !matches!(by, SpendBy::Tag | SpendBy::User) {
        rows.push(cells(&all));
    }
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        for (nth, (cell, width)) in row.iter().zip(widths).enumerate() {
            let padded = if nth == 0 {
                format!("{cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            };
            text.push_str(&padded);
        }
        text.push('\n');
    }
    text
}

fn cells(line: &SpendLine) -> [String; 9] {
    let sum = &line.sum;
    [
        shown(if line.name.is_empty() {
            "-"
        } else {
            &line.name
        }),
        sum.requests.to_string(),
        sum.failed.to_string(),
        sum.input.to_string(),
        sum.output.to_string(),
        dollars(sum.cost_nano),
        dollars(sum.estimated_nano),
        line.charged_nano().map_or_else(|| "-".to_owned(), dollars),
        sum.unpriced.to_string(),
    ]
}

fn csv(lines: &[SpendLine]) -> String {
    let mut text =
        "name,requests,failed,unpriced,input,output,cached_input,cache_write,cache_write_hour,reasoning,audio_input,audio_output,cost_nano,estimated_nano,charged_nano\n".to_owned();
    for line in lines {
        // Nothing in a cell is a formula, whatever a client called itself.
        let name = line.name.replace('"', "\"\"");
        let guard = if name.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            "'"
        } else {
            ""
        };
        let counts: Vec<String> = line.sum.columns().iter().map(u64::to_string).collect();
        let charged = line.charged_nano().map(|nano| nano.to_string());
        text.push_str(&format!(
            "\"{guard}{name}\",{},{}\n",
            counts.join(","),
            charged.unwrap_or_default()
        ));
    }
    text
}
