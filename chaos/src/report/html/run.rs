//! One run: what it was, how it went, what was claimed.

use crate::report::plain::escape;
use crate::report::{Run, Verdict, said};

use super::{badge, fact, findings, timeline};

/// Kinds of error named; the rest is counted.
const KINDS: usize = 12;

pub(super) fn section(run: &Run, number: usize, open: bool) -> String {
    let open = if open { " open=\"open\"" } else { "" };
    // The target of a link lies inside the fold, for browsers unfold what holds the target.
    format!(
        "<details class=\"run {}\"{open}>\n<summary><h2>{} <span>{}</span></h2></summary>\n<div id=\"run-{number}\" class=\"body\">\n\
         {}{}<dl class=\"facts\">{}</dl>\n{}{}{}{}</div>\n</details>\n",
        run.verdict.label(),
        badge(run.verdict),
        escape(&run.scenario),
        about(run),
        doubts(run),
        facts(run),
        replay(&run.replay),
        timeline::figure(run, number),
        findings::table(run, &run.invariants, "Invariants"),
        findings::table(run, &run.expectations, "Expectations"),
    )
}

fn about(run: &Run) -> String {
    if run.about.is_empty() {
        return String::new();
    }
    format!("<p class=\"about\">{}</p>\n", escape(&run.about))
}

fn doubts(run: &Run) -> String {
    let doubts = run.doubts();
    if doubts.is_empty() {
        return String::new();
    }
    let items: String = doubts
        .iter()
        .map(|doubt| format!("<li>{}</li>", escape(doubt)))
        .collect();
    let class = if run.verdict == Verdict::Pass {
        ""
    } else {
        " unknown"
    };
    format!("<ul class=\"notes{class}\">{items}</ul>\n")
}

fn facts(run: &Run) -> String {
    let totals = &run.totals;
    let each = match totals.requests {
        0 => String::new(),
        requests => format!(
            " ({:.2} per request)",
            totals.attempts as f64 / requests as f64
        ),
    };
    [
        ("Seed", run.seed.to_string()),
        ("Gateway", run.gateway.clone()),
        ("Rows", run.rows.join(" ")),
        ("Requests", said::whole(totals.requests)),
        ("Streams", said::whole(totals.streams)),
        ("Errors", errors(run)),
        (
            "Attempts",
            format!("{}{each}", said::whole(totals.attempts)),
        ),
        ("Took", said::millis(totals.took_ms as f64)),
    ]
    .iter()
    .map(|(name, value)| fact(name, value))
    .collect()
}

/// `31 (0.38%): upstream_error 19, truncated 9`, the most frequent first.
fn errors(run: &Run) -> String {
    let errors = run.errors();
    let mut kinds: Vec<(&String, &u64)> = run
        .totals
        .failed
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    if kinds.is_empty() || run.totals.requests == 0 {
        return said::whole(errors);
    }
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut told: Vec<String> = kinds
        .iter()
        .take(KINDS)
        .map(|(kind, count)| format!("{kind} {}", said::whole(**count)))
        .collect();
    if kinds.len() > KINDS {
        told.push(format!("{} kinds more", kinds.len() - KINDS));
    }
    let share = said::percent(errors as f64 / run.totals.requests as f64);
    format!("{} ({share}): {}", said::whole(errors), told.join(", "))
}

/// The command with a button that appears where there are scripts.
pub(super) fn replay(command: &str) -> String {
    if command.is_empty() {
        return String::new();
    }
    format!(
        "<p class=\"replay\"><span>Replay</span><code>{}</code><button type=\"button\" class=\"copy\" hidden=\"hidden\">Copy</button></p>\n",
        escape(command)
    )
}
