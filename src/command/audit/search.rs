//! `switchyard audit search`: requests as a table, or one of them in whole.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::process::ExitCode;

use switchyard::store::journal::{Row, rows};

use super::{Place, Wanted, dollars, time};
use crate::command::{complain, say};

#[derive(clap::Args)]
pub(crate) struct Search {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    wanted: Wanted,
    /// One request, by the id its answer carried.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Show at most so many, the last that ended.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// For programs: one JSON document a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(search: &Search) -> ExitCode {
    let folder = match search.place.folder() {
        Ok(folder) => folder,
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    let mut found = VecDeque::new();
    let (mut all, mut unreadable) = (0_u64, false);
    for row in rows(&folder, search.wanted.selection(search.request.as_deref())) {
        match row {
            Ok(row) => {
                all += 1;
                found.push_back(row);
                if found.len() > search.limit {
                    found.pop_front();
                }
            }
            Err(error) => {
                complain(&error.to_string());
                unreadable = true;
            }
        }
    }
    if search.json {
        for row in &found {
            say(&serde_json::to_string(row).unwrap_or_default());
        }
    } else if let (Some(_), Some(row)) = (&search.request, found.front()) {
        say(story(row).trim_end());
    } else if !found.is_empty() {
        say(table(found.make_contiguous()).trim_end());
    }
    if found.len() as u64 != all {
        complain(&format!(
            "the last {} of {all} requests; --limit shows more",
            found.len()
        ));
    }
    if unreadable {
        ExitCode::from(2)
    } else if all == 0 {
        complain("no request fits");
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// A name from outside, harmless to a terminal (attack A12).
fn shown(text: &str) -> String {
    text.chars()
        .map(|sign| if sign.is_control() { '\u{fffd}' } else { sign })
        .take(40)
        .collect()
}

const HEADS: [&str; 9] = [
    "TIME",
    "REQUEST",
    "TENANT",
    "CLIENT",
    "ASKED",
    "OUTCOME",
    "SERVED BY",
    "TOKENS",
    "COST $",
];

fn cells(row: &Row) -> [String; 9] {
    let intent = &row.intent;
    let outcome = row.outcome.as_ref();
    let how = match outcome {
        Some(outcome) if outcome.reason != outcome.how => {
            format!("{} ({})", outcome.how, outcome.reason)
        }
        _ => row.how().to_owned(),
    };
    let served = outcome
        .and_then(|outcome| Some(format!("{}/{}", outcome.provider.as_deref()?, row.model()?)));
    let tokens = outcome
        .and_then(|outcome| outcome.usage)
        .map(|usage| format!("{}+{}", usage.input.0, usage.output.0));
    let cost = outcome.and_then(|outcome| outcome.cost_nano).map(dollars);
    [
        time::rfc3339(intent.at),
        intent.request.to_string(),
        shown(intent.tenant.as_deref().unwrap_or("-")),
        shown(&intent.client),
        shown(&intent.asked),
        how,
        shown(served.as_deref().unwrap_or("-")),
        tokens.unwrap_or_else(|| "-".to_owned()),
        cost.unwrap_or_else(|| "-".to_owned()),
    ]
}

fn table(rows: &[Row]) -> String {
    let lines: Vec<[String; 9]> = std::iter::once(HEADS.map(str::to_owned))
        .chain(rows.iter().map(cells))
        .collect();
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    out
}

/// One request, told from its beginning to its end.
pub(super) fn story(row: &Row) -> String {
    let intent = &row.intent;
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<12}{value}");
        }
    };
    line("request", intent.request.text().as_str());
    line("time", &time::rfc3339(intent.at));
    line(
        "tenant",
        &shown(intent.tenant.as_deref().unwrap_or_default()),
    );
    line("team", &shown(intent.team.as_deref().unwrap_or_default()));
    line("client", &shown(&intent.client));
    line("user", &shown(intent.user.as_deref().unwrap_or_default()));
    line("tags", &shown(&intent.tags.join(" ")));
    line("asked", &shown(&intent.asked));
    line(
        "region",
        &shown(intent.region.as_deref().unwrap_or_default()),
    );
    line("policy", &shown(&intent.policy.join(" ")));
    line("prompt", intent.prompt_hash.as_deref().unwrap_or_default());
    line(
        "reserved",
        &intent.reserved_nano.map(dollars).unwrap_or_default(),
    );
    for attempt in &row.attempts {
        let mut words = format!(
            "{} {}/{} key {}: {}",
            attempt.number,
            shown(&attempt.provider),
            shown(&attempt.model),
            shown(&attempt.key),
            attempt.outcome
        );
        if let Some(status) = attempt.status {
            let _ = write!(words, ", status {status}");
        }
        if let Some(reason) = &attempt.reason {
            let _ = write!(words, ", {}", shown(reason));
        }
        let _ = write!(words, ", {:.1} ms", attempt.took_ms);
        line("attempt", &words);
    }
    let [.., how, served, tokens, cost] = cells(row);
    line("outcome", &how);
    line("served by", &served);
    line("tokens", &tokens);
    line("cost $", &cost);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_no_name_reaches_the_terminal_as_a_command() {
        assert_eq!(
            shown("\u{1b}[31mred\n\u{9b}2J"),
            "\u{fffd}[31mred\u{fffd}\u{fffd}2J"
        );
        assert_eq!(shown(&"x".repeat(500)).len(), 40);
    }
}
