//! JUnit XML, for the machines that run checks.

use std::fmt::Write as _;

use super::terminal::format_value;
use super::{Finding, Report, Run, Verdict};

/// The report as JUnit XML: a suite per run, a case per claim.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites");
    let all = || report.runs.iter().flat_map(claims);
    counts(all(), &mut xml);
    xml.push_str(" name=\"switchyard chaos\">\n");
    for run in &report.runs {
        suite(run, &mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn claims(run: &Run) -> impl Iterator<Item = &Finding> {
    run.invariants.iter().chain(&run.expectations)
}

fn counts<'a>(all: impl Iterator<Item = &'a Finding>, xml: &mut String) {
    let (mut tests, mut failures, mut skipped) = (0_u32, 0_u32, 0_u32);
    for found in all {
        tests = tests.saturating_add(1);
        match found.verdict {
            Verdict::Fail => failures = failures.saturating_add(1),
            Verdict::Unknown => skipped = skipped.saturating_add(1),
            Verdict::Pass => {}
        }
    }
    // Writing into a String cannot fail.
    let _ = write!(
        xml,
        " tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\""
    );
}

fn suite(run: &Run, xml: &mut String) {
    let name = escaped(&format!(
        "{} on {} (seed {})",
        run.scenario, run.gateway, run.seed
    ));
    let _ = write!(xml, "  <testsuite name=\"{name}\"");
    counts(claims(run), xml);
    let seconds = run.totals.took_ms as f64 / 1_000.0;
    let _ = writeln!(xml, " time=\"{seconds:.3}\">");
    xml.push_str("    <properties>\n");
    for (name, value) in [
        ("seed", run.seed.to_string()),
        ("replay", run.replay.clone()),
        ("verdict", run.verdict.label().to_owned()),
        ("rows", run.rows.join(" ")),
    ] {
        let _ = writeln!(
            xml,
            "      <property name=\"{name}\" value=\"{}\"/>",
            escaped(&value)
        );
    }
    xml.push_str("    </properties>\n");
    for found in claims(run) {
        case(run, found, xml);
    }
    xml.push_str("  </testsuite>\n");
}

fn case(run: &Run, found: &Finding, xml: &mut String) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\"",
        escaped(&run.scenario),
        escaped(&format!("{}: {}", found.name, found.claim))
    );
    let measured = match (found.value, found.limit) {
        (Some(value), Some(limit)) => format!(
            "{} of {}; ",
            format_value(value, &found.unit),
            format_value(limit, &found.unit)
        ),
        _ => String::new(),
    };
    let said = escaped(&format!("{measured}{}", found.why));
    let _ = match found.verdict {
        Verdict::Pass => writeln!(xml, "/>"),
        Verdict::Fail => writeln!(
            xml,
            ">\n      <failure message=\"{said}\">{}</failure>\n    </testcase>",
            escaped(&run.replay)
        ),
        Verdict::Unknown => writeln!(
            xml,
            ">\n      <skipped message=\"{said}\"/>\n    </testcase>"
        ),
    };
}

/// XML knows no control characters at all, so they become spaces.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => safe.push(' '),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}
