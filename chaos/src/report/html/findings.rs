//! The table of claims, and what unfolds beneath a broken one.

use std::collections::BTreeMap;

use crate::report::plain::{self, escape};
use crate::report::said::{self, Said};
use crate::report::{Case, Finding, Line, Run, Verdict};

use super::{badge, run::replay};

/// Lines of one record shown for one request; `report.json` holds them all.
const LINES: usize = 40;
/// Columns of one such line.
const LENGTH: usize = 400;

pub(super) fn table(run: &Run, findings: &[Finding], title: &str) -> String {
    if findings.is_empty() {
        return String::new();
    }
    // Decided for both tables of a run, so that their columns stand under each other.
    let reasons = run.findings().any(|finding| !finding.why.is_empty());
    let rows: String = findings
        .iter()
        .map(|finding| row(run, finding, reasons))
        .collect();
    let head = |class: &str, name: &str| format!("<th scope=\"col\" class=\"{class}\">{name}</th>");
    let mut heads = [
        ("verdict", "Verdict"),
        ("claim", "Claim"),
        ("number amount", "Value"),
        ("number amount", "Limit"),
        ("room", "Margin"),
        ("number samples", "Samples"),
    ]
    .map(|(class, name)| head(class, name))
    .concat();
    if reasons {
        heads.push_str(&head("why", "Why"));
    }
    format!(
        "<h3>{title}</h3>\n<table class=\"findings\">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
    )
}

fn row(run: &Run, finding: &Finding, reasons: bool) -> String {
    let said = Said::of(finding);
    let number = |name: &str, text: &str| {
        format!(
            "<td class=\"number\" data-label=\"{name}\">{}</td>",
            escape(text)
        )
    };
    let why = match reasons {
        true => format!("<td class=\"why\">{}</td>", escape(&finding.why)),
        false => String::new(),
    };
    let class = finding.verdict.label();
    let head = format!(
        "<tr class=\"{class}\"><td>{}</td><th scope=\"row\">{}<code>{}</code></th>{}{}<td class=\"margin\" data-label=\"Margin\">{}</td>{}{why}</tr>\n",
        badge(finding.verdict),
        escape(&finding.claim),
        escape(&finding.name),
        number("Value", &said.value),
        number("Limit", &said.limit),
        margin(finding.margin, &said.margin),
        number("Samples", &said::whole(finding.samples)),
    );
    let told =
        finding.verdict == Verdict::Fail || finding.window.is_some() || !finding.cases.is_empty();
    if !told {
        return head;
    }
    let columns = if reasons { 7 } else { 6 };
    format!(
        "{head}<tr class=\"told {class}\"><td colspan=\"{columns}\">{}</td></tr>\n",
        unfolding(run, finding)
    )
}

/// A bar to the right of the limit is room left, to the left of it is beyond.
fn margin(share: Option<f64>, text: &str) -> String {
    let Some(share) = share.filter(|share| !share.is_nan()) else {
        return escape(text);
    };
    let length = share.abs().min(1.0) * 50.0;
    let (from, class) = if share < 0.0 {
        (50.0 - length, "beyond")
    } else {
        (50.0, "room")
    };
    format!(
        "<span class=\"bar\" aria-hidden=\"true\"><i class=\"{class}\" style=\"left:{from:.1}%;width:{length:.1}%\"></i></span>{}",
        escape(text)
    )
}

fn unfolding(run: &Run, finding: &Finding) -> String {
    let mut parts = Vec::new();
    if let Some(window) = finding.window {
        let phase = run.phase_at(window.0).map(|name| format!(", {name}"));
        parts.push(format!(
            "{}{}",
            said::stretch(window),
            phase.unwrap_or_default()
        ));
    }
    parts.push(match finding.cases.len() {
        0 => "no single request stands for it".to_owned(),
        cases => format!("{} across the four records", said::many(cases, "request")),
    });
    let cases: String = finding.cases.iter().map(case).collect();
    let open = if finding.verdict == Verdict::Fail && !finding.cases.is_empty() {
        " open=\"open\""
    } else {
        ""
    };
    format!(
        "<details class=\"cases\"{open}><summary>{}</summary>\n{cases}{}</details>",
        escape(&parts.join(": ")),
        replay(&run.replay)
    )
}

/// One request: a row for each moment, a column for each record, so that what happened at once stands side by side.
fn case(case: &Case) -> String {
    let records = [
        ("Client", &case.client),
        ("Wire", &case.wire),
        ("Journal", &case.journal),
        ("Metrics", &case.metrics),
    ];
    let mut moments: BTreeMap<u64, [Vec<&str>; 4]> = BTreeMap::new();
    for (column, (_, lines)) in records.iter().enumerate() {
        for Line { at_ms, text } in lines.iter().take(LINES) {
            if let Some(cell) = moments.entry(*at_ms).or_default().get_mut(column) {
                cell.push(text);
            }
        }
    }
    let names = records.map(|(name, _)| name);
    let heads: String = records
        .iter()
        .map(|(name, lines)| column_head(name, lines))
        .collect();
    let rows: String = moments
        .iter()
        .map(|(at_ms, cells)| moment(*at_ms, cells, names))
        .collect();
    format!(
        "<table class=\"case\"><caption>{}</caption>\n<thead><tr><th scope=\"col\" class=\"number\">At</th>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n",
        escape(&case.request)
    )
}

fn column_head(name: &str, lines: &[Line]) -> String {
    let note = match lines.len() {
        0 => " <small>says nothing of it</small>".to_owned(),
        count if count > LINES => format!(" <small>first {LINES} of {count} lines</small>"),
        _ => String::new(),
    };
    let class = if lines.is_empty() {
        " class=\"silent\""
    } else {
        ""
    };
    format!("<th scope=\"col\"{class}>{name}{note}</th>")
}

fn moment(at_ms: u64, cells: &[Vec<&str>; 4], names: [&str; 4]) -> String {
    let cells: String = cells
        .iter()
        .zip(names)
        .map(|(texts, name)| {
            let lines: String = texts
                .iter()
                .map(|text| format!("<p>{}</p>", escape(&plain::cut(text, LENGTH))))
                .collect();
            format!("<td data-label=\"{name}\">{lines}</td>")
        })
        .collect();
    format!(
        "<tr><th scope=\"row\" class=\"number\">{:.3} s</th>{cells}</tr>\n",
        at_ms as f64 / 1e3
    )
}
