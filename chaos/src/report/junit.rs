//! The report as JUnit XML: a suite for each run, a case for each claim.
//!
//! JUnit knows no "unknown"; it becomes `skipped` with its reason. A run that is worse than its findings (the gateway
//! did not start, a fault was never seen) has one more case named `run`, so that no build takes silence for a pass.

use super::said::{self, Said};
use super::tally::Tally;
use super::{Finding, Report, Run, Verdict, plain};

/// The report as build servers read it.
#[must_use]
pub fn junit(report: &Report) -> String {
    let suites: String = report
        .runs
        .iter()
        .map(|run| suite(run, report.begun_at))
        .collect();
    let counts = report
        .runs
        .iter()
        .map(counts)
        .fold(Tally::default(), |sum, run| Tally {
            pass: sum.pass + run.pass,
            unknown: sum.unknown + run.unknown,
            fail: sum.fail + run.fail,
        });
    let took: f64 = report
        .runs
        .iter()
        .map(|run| run.totals.took_ms as f64 / 1e3)
        .sum();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"switchyard-chaos\" {} time=\"{took:.3}\">\n{suites}</testsuites>\n",
        numbers(counts)
    )
}

fn numbers(counts: Tally) -> String {
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\"",
        counts.all(),
        counts.fail,
        counts.unknown
    )
}

/// With the case that stands for the run itself, if there is one.
fn counts(run: &Run) -> Tally {
    let own = run.own_reason().map(|_| run.verdict);
    Tally::of(run.findings().map(|finding| finding.verdict).chain(own))
}

fn suite(run: &Run, begun_at: u64) -> String {
    let properties: String = [
        ("seed", run.seed.to_string()),
        ("replay", run.replay.clone()),
        ("gateway", run.gateway.clone()),
        ("rows", run.rows.join(" ")),
        ("verdict", run.verdict.label().to_owned()),
        ("requests", run.totals.requests.to_string()),
        ("failed", run.errors().to_string()),
    ]
    .iter()
    .map(|(name, value)| {
        format!(
            "      <property name=\"{name}\" value=\"{}\"/>\n",
            attribute(value)
        )
    })
    .collect();
    let cases = |of: &[Finding], group| -> String {
        of.iter().map(|finding| case(run, finding, group)).collect()
    };
    format!(
        "  <testsuite name=\"{}\" {} timestamp=\"{}\" time=\"{:.3}\">\n    <properties>\n{properties}    </properties>\n{}{}{}  </testsuite>\n",
        attribute(&run.scenario),
        numbers(counts(run)),
        said::date(begun_at, 'T').trim_end_matches('Z'),
        run.totals.took_ms as f64 / 1e3,
        cases(&run.invariants, "invariants"),
        cases(&run.expectations, "expectations"),
        itself(run),
    )
}

fn case(run: &Run, finding: &Finding, group: &str) -> String {
    let told = told(run, finding);
    let message = if finding.why.is_empty() {
        &finding.claim
    } else {
        &finding.why
    };
    let head = format!(
        "    <testcase classname=\"{}.{group}\" name=\"{}\" time=\"0\">\n",
        attribute(&run.scenario),
        attribute(&format!("{}: {}", finding.name, finding.claim)),
    );
    let body = judged(finding.verdict, message, group, &told);
    format!("{head}{body}    </testcase>\n")
}

fn judged(verdict: Verdict, message: &str, group: &str, told: &str) -> String {
    let message = attribute(message);
    match verdict {
        Verdict::Pass => format!("      <system-out>{}</system-out>\n", plain::escape(told)),
        Verdict::Unknown => format!("      <skipped message=\"{message}\"/>\n"),
        Verdict::Fail => format!(
            "      <failure message=\"{message}\" type=\"{group}\">{}</failure>\n",
            plain::escape(told)
        ),
    }
}

/// The case that stands for the run, when no finding is as bad as it is.
fn itself(run: &Run) -> String {
    let Some(message) = run.own_reason() else {
        return String::new();
    };
    let body = judged(
        run.verdict,
        &message,
        "run",
        &format!("replay: {}", run.replay),
    );
    let scenario = attribute(&run.scenario);
    format!(
        "    <testcase classname=\"{scenario}\" name=\"run\" time=\"0\">\n{body}    </testcase>\n"
    )
}

fn told(run: &Run, finding: &Finding) -> String {
    let said = Said::of(finding);
    let mut lines = vec![finding.claim.clone()];
    for (word, text) in [
        ("value", said.value),
        ("limit", said.limit),
        ("margin", said.margin),
    ] {
        if !text.is_empty() {
            lines.push(format!("{word}: {text}"));
        }
    }
    lines.push(format!("samples: {}", finding.samples));
    if finding.verdict == Verdict::Fail {
        if let Some(window) = finding.window {
            lines.push(format!("window: {}", said::stretch(window)));
        }
        let requests: Vec<&str> = finding
            .cases
            .iter()
            .map(|case| case.request.as_str())
            .collect();
        if !requests.is_empty() {
            lines.push(format!("requests: {}", requests.join(", ")));
        }
        lines.push(format!("replay: {}", run.replay));
    }
    lines.join("\n")
}

/// A parser turns raw line ends and tabs of an attribute into spaces; as references they stay.
fn attribute(text: &str) -> String {
    plain::escape(text)
        .replace('\n', "&#10;")
        .replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;
    use crate::report::fixture;

    fn suites<'a>(document: &'a Document<'a>) -> Vec<Node<'a, 'a>> {
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        root.children().filter(Node::is_element).collect()
    }

    fn cases<'a>(suite: &Node<'a, 'a>) -> Vec<Node<'a, 'a>> {
        suite
            .children()
            .filter(|child| child.has_tag_name("testcase"))
            .collect()
    }

    fn one<'a>(cases: &[Node<'a, 'a>], name: &str) -> Node<'a, 'a> {
        let is = |case: &&Node<'_, '_>| case.attribute("name").unwrap().starts_with(name);
        *cases.iter().find(is).unwrap()
    }

    #[test]
    fn a_suite_for_each_run_and_a_case_for_each_claim() {
        let report = fixture::report();
        let text = junit(&report);
        let document = Document::parse(&text).unwrap();
        let suites = suites(&document);
        assert_eq!(suites.len(), 2);
        for (suite, run) in suites.iter().zip(&report.runs) {
            assert_eq!(suite.attribute("name"), Some(run.scenario.as_str()));
            assert_eq!(cases(suite).len(), run.findings().count());
            let property = |name| {
                let is = |node: &Node<'_, '_>| node.attribute("name") == Some(name);
                suite
                    .descendants()
                    .find(is)
                    .unwrap()
                    .attribute("value")
                    .unwrap()
                    .to_owned()
            };
            assert_eq!(property("seed"), run.seed.to_string());
            assert_eq!(property("replay"), run.replay);
        }
    }

    #[test]
    fn fail_is_a_failure_unknown_is_skipped_and_pass_is_neither() {
        let text = junit(&fixture::report());
        let document = Document::parse(&text).unwrap();
        let suite = suites(&document)[1];
        let cases = cases(&suite);
        let names = |case: Node<'_, '_>| -> Vec<String> {
            let elements = case.children().filter(Node::is_element);
            elements
                .map(|node| node.tag_name().name().to_owned())
                .collect()
        };
        assert_eq!(names(one(&cases, "errors: ")), ["failure"]);
        assert_eq!(names(one(&cases, "amplification: ")), ["skipped"]);
        assert_eq!(names(one(&cases, "no_splice: ")), ["system-out"]);
        let failure = one(&cases, "errors: ").first_element_child().unwrap();
        assert!(
            failure
                .attribute("message")
                .unwrap()
                .starts_with("31 of 8,112")
        );
        let told = failure.text().unwrap();
        for part in [
            "value: 31",
            "limit: ≤ 0",
            "window: 20.4 s to 23.1 s",
            "replay: switchyard",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        let skipped = one(&cases, "amplification: ")
            .first_element_child()
            .unwrap();
        assert_eq!(
            skipped.attribute("message"),
            Some("only 12 samples, 50 wanted")
        );
    }

    #[test]
    fn the_counts_are_those_of_the_cases() {
        for report in [fixture::report(), fixture::hostile(), fixture::sparse()] {
            let text = junit(&report);
            let document = Document::parse(&text).unwrap();
            let mut all = 0;
            for suite in suites(&document) {
                let cases = cases(&suite);
                let with = |tag| {
                    cases
                        .iter()
                        .filter(|case| case.children().any(|it| it.has_tag_name(tag)))
                        .count()
                };
                let number = |name| suite.attribute(name).unwrap().parse::<usize>().unwrap();
                assert_eq!(number("tests"), cases.len());
                assert_eq!(number("failures"), with("failure"));
                assert_eq!(number("skipped"), with("skipped"));
                all += cases.len();
            }
            let root = document.root_element();
            assert_eq!(root.attribute("tests").unwrap(), all.to_string());
        }
    }

    #[test]
    fn what_strangers_wrote_stays_text() {
        let report = fixture::hostile();
        let text = junit(&report);
        let document = Document::parse(&text).unwrap();
        assert!(
            document
                .descendants()
                .all(|node| !node.has_tag_name("script"))
        );
        let name = suites(&document)[0].attribute("name").unwrap();
        assert_eq!(name, plain_of(fixture::HOSTILE));
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }

    fn plain_of(text: &str) -> String {
        text.chars().filter(|c| plain::shown(*c)).collect()
    }

    #[test]
    fn a_run_nothing_was_judged_in_is_no_silent_pass() {
        let report = Report {
            runs: vec![Run {
                scenario: "no-start".to_owned(),
                verdict: Verdict::Unknown,
                notes: vec!["the gateway did not start".to_owned()],
                ..Run::default()
            }],
            ..fixture::report()
        };
        let text = junit(&report);
        let document = Document::parse(&text).unwrap();
        let suite = suites(&document)[0];
        let skipped = one(&cases(&suite), "run").first_element_child().unwrap();
        assert!(skipped.has_tag_name("skipped"));
        assert_eq!(
            skipped.attribute("message"),
            Some("the gateway did not start")
        );
    }
}
