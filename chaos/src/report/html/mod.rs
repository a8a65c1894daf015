//! The report as one page that needs nothing but itself.
//!
//! # Why
//! It is looked at from an archive, months later, on a machine without network: no fonts, no scripts, no pictures from
//! elsewhere, and a content policy that forbids them should anything ever ask. Without scripts everything can still be
//! read; a script only adds the crosshair and the copy buttons.
//!
//! Every text of the report passes [`escape`]; class names and identifiers are made of our own words and numbers only.
//! The page is also well-formed XML, which is how the tests see that no text got out of its place.

mod columns;
mod findings;
mod lanes;
mod run;
mod shapes;
mod timeline;

#[cfg(test)]
mod tests;

use super::plain::{self, escape};
use super::tally::Tally;
use super::{Report, Run, Verdict, said};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// With more runs than this, those that passed are folded.
const UNFOLDED: usize = 3;
/// Claims named at the top; the index leads to the others.
const HEADLINES: usize = 8;
/// Columns of a name up there; the run tells it in full.
const NAME: usize = 60;

/// The report as a page of its own.
#[must_use]
pub fn html(report: &Report) -> String {
    let title = format!("{} · chaos report", word(report.verdict));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    let few = report.runs.len() <= UNFOLDED;
    let runs: String = report
        .runs
        .iter()
        .enumerate()
        .map(|(number, run)| run::section(run, number + 1, few || run.verdict != Verdict::Pass))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         {}\n<main>\n{}{runs}</main>\n{}\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        header(report),
        index(report),
        footer(report),
    )
}

/// A verdict as people say it.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Passed",
        Verdict::Unknown => "Unknown",
        Verdict::Fail => "Failed",
    }
}

/// The verdict with its mark: told by shape and word, not by colour alone.
fn badge(verdict: Verdict) -> String {
    let mark = match verdict {
        Verdict::Pass => "✓",
        Verdict::Unknown => "?",
        Verdict::Fail => "✕",
    };
    let class = verdict.label();
    format!(
        "<span class=\"badge {class}\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span>{}</span>",
        word(verdict)
    )
}

fn header(report: &Report) -> String {
    let mut gateways: Vec<&str> = report.runs.iter().map(|run| run.gateway.as_str()).collect();
    gateways.retain(|name| !name.is_empty());
    gateways.sort_unstable();
    gateways.dedup();
    let requests = report
        .runs
        .iter()
        .fold(0_u64, |sum, run| sum.saturating_add(run.totals.requests));
    let errors = report
        .runs
        .iter()
        .fold(0_u64, |sum, run| sum.saturating_add(run.errors()));
    let claims = Tally::of(
        report
            .runs
            .iter()
            .flat_map(Run::findings)
            .map(|it| it.verdict),
    );
    let facts: String = [
        ("Gateway", gateways.join(", ")),
        ("Runs", said::whole(report.runs.len() as u64)),
        ("Claims", said::whole(claims.all() as u64)),
        ("Requests", said::whole(requests)),
        ("Errors", said::whole(errors)),
        ("Begun", said::date(report.begun_at, ' ')),
        ("Cores", report.cores.to_string()),
        ("Harness", report.version.clone()),
    ]
    .iter()
    .map(|(name, value)| fact(name, value))
    .collect();
    format!(
        "<header class=\"top {}\">\n<p class=\"kind\">Switchyard chaos report</p>\n<h1>{}</h1>\n\
         <p class=\"lead\">{}</p>\n<dl class=\"facts\">{facts}</dl>\n{}</header>",
        report.verdict.label(),
        badge(report.verdict),
        escape(&lead(report)),
        headlines(report),
    )
}

fn fact(name: &str, value: &str) -> String {
    let value = if value.is_empty() {
        "–".to_owned()
    } else {
        escape(value)
    };
    format!("<div><dt>{name}</dt><dd>{value}</dd></div>")
}

fn lead(report: &Report) -> String {
    let runs = Tally::of(report.runs.iter().map(|run| run.verdict));
    let claims = Tally::of(
        report
            .runs
            .iter()
            .flat_map(Run::findings)
            .map(|it| it.verdict),
    );
    match runs.all() {
        0 => "Nothing was run, so nothing is known.".to_owned(),
        _ => format!(
            "{}: {}. {}: {}.",
            said::many(runs.all(), "run"),
            runs.told(),
            said::many(claims.all(), "claim"),
            claims.told()
        ),
    }
}

/// What did not pass, before all else: the broken claims, then what could not be judged.
fn headlines(report: &Report) -> String {
    let mut all: Vec<(Verdict, String)> = Vec::new();
    for (number, run) in report.runs.iter().enumerate() {
        let link = format!(
            "<a href=\"#run-{}\">{}</a>",
            number + 1,
            escape(&plain::cut(&run.scenario, NAME))
        );
        for finding in run
            .findings()
            .filter(|finding| finding.verdict != Verdict::Pass)
        {
            let why = if finding.why.is_empty() {
                &finding.claim
            } else {
                &finding.why
            };
            let name = escape(&plain::cut(&finding.name, NAME));
            all.push((
                finding.verdict,
                format!("{link} <code>{name}</code> {}", escape(why)),
            ));
        }
        if let Some(reason) = run.own_reason() {
            all.push((
                run.verdict,
                format!("{link} <code>run</code> {}", escape(&reason)),
            ));
        }
    }
    if all.is_empty() {
        return String::new();
    }
    all.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    let more = match all.len().saturating_sub(HEADLINES) {
        0 => String::new(),
        more => format!("<li>and {more} more, see the runs</li>\n"),
    };
    let item =
        |(verdict, text): &(Verdict, String)| format!("<li>{}{text}</li>\n", badge(*verdict));
    let shown: String = all.iter().take(HEADLINES).map(item).collect();
    format!(
        "<h2 class=\"small\">What did not pass</h2>\n<ul class=\"headlines\">\n{shown}{more}</ul>\n"
    )
}

fn index(report: &Report) -> String {
    if report.runs.is_empty() {
        return String::new();
    }
    let rows: String = report
        .runs
        .iter()
        .enumerate()
        .map(|(number, run)| index_row(run, number + 1))
        .collect();
    format!(
        "<section aria-labelledby=\"index\">\n<h2 id=\"index\">Runs</h2>\n<div class=\"scroll\"><table class=\"index\">\n\
         <thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Scenario</th><th scope=\"col\">Claims</th>\
         <th scope=\"col\" class=\"number\">Requests</th><th scope=\"col\" class=\"number\">Errors</th>\
         <th scope=\"col\" class=\"number\">Took</th><th scope=\"col\" class=\"number\">Seed</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

fn index_row(run: &Run, number: usize) -> String {
    format!(
        "<tr><td>{}</td><th scope=\"row\"><a href=\"#run-{number}\">{}</a></th><td>{}</td>\
         <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
        badge(run.verdict),
        escape(&run.scenario),
        run.claims().told(),
        said::whole(run.totals.requests),
        said::whole(run.errors()),
        said::millis(run.totals.took_ms as f64),
        run.seed,
    )
}

fn footer(report: &Report) -> String {
    format!(
        "<footer><p>Times are from the start of a run’s control phase. A claim that could not be judged is unknown, and unknown is no pass. \
         The same data as a file: <code>report.json</code>, schema <code>{}</code>.</p></footer>",
        escape(&report.schema)
    )
}
