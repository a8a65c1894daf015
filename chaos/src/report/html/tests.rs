use roxmltree::{Document, Node};

use super::*;
use crate::report::fixture::{self, HOSTILE};
use crate::report::{FaultLane, Finding};

/// The page is written so that a strict XML parser takes it: a tag that is not closed, an attribute that is not quoted
/// or a text that was not escaped is an error here, where a browser would guess.
fn body(page: &str) -> &str {
    page.strip_prefix("<!DOCTYPE html>\n").unwrap()
}

fn page(report: &Report) -> String {
    html(report)
}

fn classed<'a>(node: Node<'a, 'a>, class: &str) -> Vec<Node<'a, 'a>> {
    let has = |node: &Node<'_, '_>| {
        let classes = node.attribute("class").unwrap_or_default();
        classes.split(' ').any(|it| it == class)
    };
    node.descendants().filter(has).collect()
}

fn text(node: Node<'_, '_>) -> String {
    node.descendants()
        .filter(Node::is_text)
        .filter_map(|it| it.text())
        .collect()
}

fn lane<'a>(node: Node<'a, 'a>, name: &str) -> Node<'a, 'a> {
    let named = |lane: &Node<'_, '_>| {
        let bold = lane.descendants().find(|it| it.has_tag_name("b"));
        bold.is_some_and(|it| it.text() == Some(name))
    };
    *classed(node, "lane").iter().find(|it| named(it)).unwrap()
}

#[test]
fn every_page_is_well_formed_whatever_the_report_holds() {
    let none = Report {
        runs: Vec::new(),
        ..fixture::report()
    };
    for report in [
        fixture::report(),
        fixture::hostile(),
        fixture::sparse(),
        fixture::many(40),
        none,
    ] {
        let page = page(&report);
        Document::parse(body(&page)).unwrap();
        assert!(
            !page.contains("NaN") && !page.contains("inf\""),
            "a path nobody can draw"
        );
    }
}

#[test]
fn text_of_strangers_becomes_no_element_and_no_attribute() {
    let page = page(&fixture::hostile());
    let document = Document::parse(body(&page)).unwrap();
    let scripts = document
        .descendants()
        .filter(|it| it.has_tag_name("script"));
    assert_eq!(scripts.count(), 1, "only our own");
    let styles = document.descendants().filter(|it| it.has_tag_name("style"));
    assert_eq!(styles.count(), 1, "only our own");
    assert!(document.descendants().all(|it| !it.is_comment()));
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    // Shown, though: escaping is not dropping.
    let shown: String = HOSTILE
        .chars()
        .filter(|c| crate::report::plain::shown(*c))
        .collect();
    assert_eq!(text(classed(document.root(), "about")[0]), shown);
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn class_names_and_identifiers_are_our_own_words() {
    let page = page(&fixture::hostile());
    let document = Document::parse(body(&page)).unwrap();
    for node in document.descendants() {
        for name in ["class", "id", "style", "d", "href"] {
            let value = node.attribute(name).unwrap_or_default();
            assert!(!value.contains(['<', '&', '"', '\'']), "{name}={value}");
            assert!(!value.contains("alert"), "{name}={value}");
        }
    }
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = page(&fixture::report());
    let document = Document::parse(body(&page)).unwrap();
    for node in document.descendants() {
        assert!(node.attribute("src").is_none());
        let href = node.attribute("href").unwrap_or("#");
        assert!(href.starts_with('#'), "{href}");
        assert!(!["link", "img", "iframe", "form"].contains(&node.tag_name().name()));
    }
    for word in [
        "http:",
        "https:",
        "url(",
        "@import",
        "fetch(",
        "innerHTML",
        "eval(",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_link_leads_to_a_run_and_every_id_is_there_once() {
    let page = page(&fixture::many(40));
    let document = Document::parse(body(&page)).unwrap();
    let mut ids: Vec<&str> = document
        .descendants()
        .filter_map(|it| it.attribute("id"))
        .collect();
    let links: Vec<&str> = document
        .descendants()
        .filter_map(|it| it.attribute("href"))
        .collect();
    assert!(links.len() >= 40, "an index of all runs");
    for link in links {
        assert!(ids.contains(&link.trim_start_matches('#')), "{link}");
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn of_many_runs_only_those_that_did_not_pass_are_open() {
    let report = fixture::many(40);
    let page = page(&report);
    let document = Document::parse(body(&page)).unwrap();
    let runs = classed(document.root(), "run");
    assert_eq!(runs.len(), 40);
    for (node, run) in runs.iter().zip(&report.runs) {
        assert_eq!(
            node.attribute("open").is_some(),
            run.verdict != Verdict::Pass,
            "{}",
            run.scenario
        );
    }
}

#[test]
fn the_top_says_the_verdict_and_names_what_is_broken() {
    let page = page(&fixture::report());
    let document = Document::parse(body(&page)).unwrap();
    let top = classed(document.root(), "top")[0];
    let told = text(top);
    for part in [
        "Failed",
        "2 runs: 1 failed, 1 passed.",
        "16 claims: 1 failed, 1 unknown, 14 passed.",
        "2026-11-21 06:27:34 UTC",
        "16,092",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let broken = text(classed(top, "headlines")[0]);
    assert!(
        broken.contains("provider-down") && broken.contains("31 of 8,112"),
        "{broken}"
    );
}

#[test]
fn a_claim_has_its_row_and_a_broken_one_unfolds_across_four_records() {
    let report = fixture::report();
    let page = page(&report);
    let document = Document::parse(body(&page)).unwrap();
    let run = classed(document.root(), "run")[1];
    let rows: usize = classed(run, "findings")
        .iter()
        .flat_map(|table| table.descendants())
        .filter(|it| {
            it.has_tag_name("th")
                && it.attribute("scope") == Some("row")
                && it.attribute("class").is_none()
        })
        .count();
    assert_eq!(rows, report.runs[1].findings().count());
    let cases = classed(run, "case");
    assert_eq!(cases.len(), 3);
    let heads: Vec<String> = cases[0]
        .descendants()
        .filter(|it| it.attribute("scope") == Some("col"))
        .map(text)
        .collect();
    assert_eq!(heads, ["At", "Client", "Wire", "Journal", "Metrics"]);
    let silent = classed(cases[1], "silent");
    assert_eq!(
        silent.iter().map(|it| text(*it)).collect::<Vec<_>>(),
        ["Metrics says nothing of it"]
    );
    // What happened at one moment stands in one row: the answer of the client and two lines of the journal.
    let rows: Vec<Node<'_, '_>> = cases[0]
        .descendants()
        .filter(|it| it.has_tag_name("tr"))
        .collect();
    let last = rows
        .iter()
        .find(|row| text(**row).starts_with("20.492 s"))
        .unwrap();
    let cells: Vec<usize> = last
        .children()
        .filter(|it| it.has_tag_name("td"))
        .map(|cell| cell.children().filter(|it| it.has_tag_name("p")).count())
        .collect();
    assert_eq!(cells, [1, 0, 2, 0]);
    let told = classed(run, "told");
    assert!(text(told[0]).contains("20.4 s to 23.1 s, faults: 3 requests across the four records"));
    assert_eq!(
        classed(told[0], "copy").len(),
        1,
        "the command can be copied"
    );
    assert!(text(told[0]).contains(&report.runs[1].replay));
}

#[test]
fn the_margin_is_drawn_on_its_side_of_the_limit() {
    let finding = |share| Finding {
        margin: Some(share),
        ..Finding::default()
    };
    let run = Run::default();
    let bar = |share| findings::table(&run, &[finding(share)], "x");
    assert!(bar(0.4).contains("class=\"room\" style=\"left:50.0%;width:20.0%\""));
    assert!(bar(-0.4).contains("class=\"beyond\" style=\"left:30.0%;width:20.0%\""));
    assert!(bar(-40.0).contains("class=\"beyond\" style=\"left:0.0%;width:50.0%\""));
    assert!(!bar(f64::NAN).contains("class=\"bar\""));
}

#[test]
fn every_lane_is_there_and_every_column_tells_its_values() {
    let page = page(&fixture::report());
    let document = Document::parse(body(&page)).unwrap();
    let run = classed(document.root(), "run")[1];
    for name in [
        "phase",
        "P10",
        "P12",
        "N07",
        "errors",
        "requests",
        "first content",
        "traffic share",
        "breakers",
        "alpha",
        "beta",
        "gamma",
        "memory",
        "descriptors",
    ] {
        lane(run, name);
    }
    let strips: Vec<String> = run
        .descendants()
        .filter(|it| it.has_tag_name("rect"))
        .map(text)
        .collect();
    assert_eq!(strips.len(), 120);
    let at = &strips[47];
    assert!(
        at.starts_with("23.5 s to 24.0 s, faults\nfaults: P10 P12\nok: "),
        "{at}"
    );
    assert!(at.contains("\nalpha breaker: open\n"), "{at}");
    assert!(!strips[0].contains("breaker"), "{}", strips[0]);
    let spans: Vec<Node<'_, '_>> = classed(run, "phase").into_iter().collect();
    assert_eq!(spans.len(), 4);
    assert_eq!(spans[1].attribute("style"), Some("left:25%;width:41.7%"));
}

#[test]
fn a_fault_nobody_saw_is_drawn_hollow_and_said() {
    let page = page(&fixture::report());
    let document = Document::parse(body(&page)).unwrap();
    let run = classed(document.root(), "run")[1];
    assert_eq!(classed(lane(run, "N07"), "unseen").len(), 1);
    assert!(text(lane(run, "N07")).contains("never seen"));
    assert!(text(lane(run, "P10")).contains("seen 1,204"));
    assert!(classed(lane(run, "P10"), "unseen").is_empty());
}

#[test]
fn breaker_states_differ_in_height_and_not_only_in_colour() {
    let page = page(&fixture::report());
    let document = Document::parse(body(&page)).unwrap();
    let alpha = lane(classed(document.root(), "run")[1], "alpha");
    let heights = |class: &str| -> Vec<String> {
        let paths = classed(alpha, class);
        let of = |d: &str| {
            let top = d.split([' ', 'H']).nth(1).unwrap();
            let bottom = d.split(['V', 'H']).nth(2).unwrap();
            format!("{top} {bottom}")
        };
        let mut all: Vec<String> = paths
            .iter()
            .map(|it| of(it.attribute("d").unwrap()))
            .collect();
        all.dedup();
        all
    };
    assert_eq!(heights("closed"), ["42 58"]);
    assert_eq!(heights("half"), ["25 75"]);
    assert_eq!(heights("open"), ["0 100"]);
}

#[test]
fn a_run_without_a_series_says_so() {
    let page = page(&fixture::sparse());
    let document = Document::parse(body(&page)).unwrap();
    let runs = classed(document.root(), "run");
    assert!(text(runs[0]).contains("No series was recorded."));
    assert!(text(runs[0]).contains("the gateway did not start: address in use"));
    let strips = |node: Node<'_, '_>| {
        node.descendants()
            .filter(|it| it.has_tag_name("rect"))
            .count()
    };
    assert_eq!(
        runs.iter().map(|run| strips(*run)).collect::<Vec<_>>(),
        [0, 1, 120, 9, 120]
    );
}

#[test]
fn only_faults_and_no_series_still_make_a_timeline() {
    let run = Run {
        faults: vec![FaultLane {
            fault: "P01".to_owned(),
            to_ms: 1_000,
            ..FaultLane::default()
        }],
        ..Run::default()
    };
    let report = Report {
        runs: vec![run],
        ..fixture::report()
    };
    let page = page(&report);
    let document = Document::parse(body(&page)).unwrap();
    lane(document.root(), "P01");
    assert!(text(document.root()).contains("No series was recorded."));
}

#[test]
fn a_fault_that_comes_and_goes_at_random_is_drawn_where_it_was_on() {
    let drawn = |stretches: Vec<(u64, u64)>| {
        let run = Run {
            faults: vec![FaultLane {
                fault: "P01".to_owned(),
                shape: "random".to_owned(),
                to_ms: 100_000,
                seen: 9,
                stretches,
                ..FaultLane::default()
            }],
            ..Run::default()
        };
        let report = Report {
            runs: vec![run],
            ..fixture::report()
        };
        let page = page(&report);
        let document = Document::parse(body(&page)).unwrap();
        let lane = lane(document.root(), "P01");
        let path = lane.descendants().find(|it| it.has_tag_name("path"));
        path.unwrap().attribute("d").unwrap().to_owned()
    };
    let two = drawn(vec![(10_000, 20_000), (50_000, 60_000)]);
    assert_eq!(two.matches('M').count(), 2, "{two}");
    assert!(two.starts_with("M100 ") && two.contains("M500 "), "{two}");
    let many = drawn((0..10_000).map(|at| (at * 10, at * 10 + 5)).collect());
    assert!(many.len() < 20_000, "{} letters", many.len());
}

#[test]
fn a_page_stays_small() {
    let kib = |report: &Report| page(report).len() / 1024;
    let two = kib(&fixture::report());
    assert!(
        two < 150,
        "{two} KiB for two runs of 120 steps and three mocks"
    );
    let mut long = fixture::report();
    for run in &mut long.runs {
        run.series.ok = vec![70; 20_000];
        run.series.first_content_p99 = vec![Some(90.0); 20_000];
    }
    let long = kib(&long);
    assert!(long < 250, "{long} KiB for runs of 20,000 steps");
}
