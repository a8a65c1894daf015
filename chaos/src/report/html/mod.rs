//! One page that holds everything: no network, no scripts needed to read it.

mod chart;

use std::fmt::Write as _;

use super::terminal::format_value;
use super::{Case, Finding, Line, Report, Run, Verdict};

/// The report as one HTML page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 * 1024);
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Switchyard chaos report</title><style>");
    page.push_str(include_str!("page.css"));
    page.push_str("</style></head><body>\n");
    head(report, &mut page);
    for (place, run) in report.runs.iter().enumerate() {
        section(place, run, &mut page);
    }
    page.push_str("<script>");
    page.push_str(include_str!("page.js"));
    page.push_str("</script></body></html>\n");
    page
}

fn head(report: &Report, page: &mut String) {
    let requests: u64 = report.runs.iter().map(|run| run.totals.requests).sum();
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(
        page,
        "<header><div class=\"head\"><h1>Chaos report</h1>{}</div><p class=\"soft\">{} runs, {requests} requests, Switchyard {}, {} cores, {}</p></header>",
        badge(report.verdict),
        report.runs.len(),
        escaped(&report.version),
        report.cores,
        date(report.begun_at)
    );
    if report.runs.is_empty() {
        page.push_str("<p>Nothing was run.</p>");
        return;
    }
    page.push_str("<section><div class=\"scroll\"><table><thead><tr><th>verdict</th><th>scenario</th><th>gateway</th><th class=\"num\">seed</th><th class=\"num\">requests</th><th class=\"num\">errors</th><th class=\"num\">attempts</th></tr></thead><tbody>");
    for (place, run) in report.runs.iter().enumerate() {
        let errors: u64 = run.totals.failed.values().sum();
        let _ = write!(
            page,
            "<tr><td>{}</td><td><a href=\"#run-{place}\">{}</a></td><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{errors}</td><td class=\"num\">{}</td></tr>",
            badge(run.verdict),
            escaped(&run.scenario),
            escaped(&run.gateway),
            run.seed,
            run.totals.requests,
            run.totals.attempts
        );
    }
    page.push_str("</tbody></table></div></section>\n");
}

fn badge(verdict: Verdict) -> String {
    let label = verdict.label();
    format!("<span class=\"badge {label}\">{label}</span>")
}

fn section(place: usize, run: &Run, page: &mut String) {
    let _ = write!(
        page,
        "<section id=\"run-{place}\"><div class=\"head\"><h2>{}</h2>{}<span class=\"soft\">{} · seed {} · {}</span></div><p>{}</p>",
        escaped(&run.scenario),
        badge(run.verdict),
        escaped(&run.gateway),
        run.seed,
        escaped(&run.rows.join(" ")),
        escaped(&run.about)
    );
    for note in &run.notes {
        let _ = write!(page, "<p class=\"unknown\">{}</p>", escaped(note));
    }
    page.push_str("<div class=\"scroll\">");
    chart::draw(run, page);
    page.push_str("</div>");
    if !run.totals.failed.is_empty() {
        let kinds: Vec<String> = run
            .totals
            .failed
            .iter()
            .map(|(kind, count)| format!("{count} × {}", escaped(kind)))
            .collect();
        let _ = write!(
            page,
            "<p class=\"soft\">what clients were told: {}</p>",
            kinds.join(", ")
        );
    }
    table("what is expected", &run.expectations, run, page);
    table("what always holds", &run.invariants, run, page);
    let again = escaped(&run.replay);
    let _ = writeln!(
        page,
        "<p class=\"soft\">the same again <button hidden data-copy=\"{again}\">copy</button></p><pre>{again}</pre></section>"
    );
}

fn table(heading: &str, findings: &[Finding], run: &Run, page: &mut String) {
    if findings.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<h3>{heading}</h3><div class=\"scroll\"><table><thead><tr><th>verdict</th><th>claim</th><th class=\"num\">value</th><th class=\"num\">limit</th><th>margin</th><th class=\"num\">samples</th></tr></thead><tbody>"
    );
    for found in findings {
        row(found, run, page);
    }
    page.push_str("</tbody></table></div>");
}

fn row(found: &Finding, run: &Run, page: &mut String) {
    let shown = |value: Option<f64>| {
        value
            .map(|value| format_value(value, &found.unit))
            .unwrap_or_default()
    };
    let _ = write!(
        page,
        "<tr><td>{}</td><td>{}",
        badge(found.verdict),
        escaped(&found.claim)
    );
    if !found.why.is_empty() {
        let _ = write!(page, "<div class=\"soft\">{}</div>", escaped(&found.why));
    }
    if found.verdict == Verdict::Fail {
        cases(found, run, page);
    }
    let _ = write!(
        page,
        "</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"room\">{}</td><td class=\"num\">{}</td></tr>",
        shown(found.value),
        shown(found.limit),
        found.margin.map(margin).unwrap_or_default(),
        found.samples
    );
}

/// The room that is left, as a bar and in words.
fn margin(share: f64) -> String {
    let filled = (share.abs().min(1.0) * 100.0).round();
    let bad = if share < 0.0 { " bad" } else { "" };
    format!(
        "<span class=\"margin{bad}\"><i style=\"width:{filled}%\"></i></span> {:+.0} %",
        share * 100.0
    )
}

fn cases(found: &Finding, run: &Run, page: &mut String) {
    if found.cases.is_empty() && found.window.is_none() {
        return;
    }
    let window = found.window.map_or_else(String::new, |(from, to)| {
        format!("between {} and {}", moment(from), moment(to))
    });
    let _ = write!(
        page,
        "<details><summary>{} told across the records, {window}</summary>",
        match found.cases.len() {
            1 => "one request".to_owned(),
            many => format!("{many} requests"),
        }
    );
    for case in &found.cases {
        one_case(case, page);
    }
    let _ = write!(page, "<pre>{}</pre></details>", escaped(&run.replay));
}

fn one_case(case: &Case, page: &mut String) {
    let _ = write!(
        page,
        "<p><code>{}</code></p><div class=\"records\">",
        escaped(&case.request)
    );
    for (name, lines) in [
        ("the client", &case.client),
        ("the wire", &case.wire),
        ("the journal", &case.journal),
        ("the metrics", &case.metrics),
    ] {
        record(name, lines, page);
    }
    page.push_str("</div>");
}

fn record(name: &str, lines: &[Line], page: &mut String) {
    let _ = write!(page, "<div><strong>{name}</strong><ul>");
    if lines.is_empty() {
        page.push_str("<li class=\"soft\">says nothing of it</li>");
    }
    for line in lines {
        let _ = write!(
            page,
            "<li><span class=\"soft\">{}</span> {}</li>",
            moment(line.at_ms),
            escaped(&line.text)
        );
    }
    page.push_str("</ul></div>");
}

/// Seconds since 1970 as a date and time in UTC.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counted in years that begin in March, so that the day that comes and goes is the last of its year.
    let from_march = days.saturating_add(719_468);
    let (era, of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        rest / 3_600,
        rest % 3_600 / 60
    )
}

fn moment(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}

/// For text and for attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn a_moment_is_told_as_a_date() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_242_072), "2026-11-21 06:21 UTC");
    }
}
