use super::*;

fn finding(name: &str, verdict: Verdict) -> Finding {
    Finding {
        name: name.to_owned(),
        claim: format!("<script>{name}</script> & more"),
        verdict,
        value: Some(412.0),
        limit: Some(300.0),
        margin: Some(-0.37),
        unit: "ms".to_owned(),
        samples: 50,
        why: "it \"was\" slow\u{1}".to_owned(),
        window: Some((5_000, 6_500)),
        cases: vec![Case {
            request: "sy-1<b>".to_owned(),
            client: vec![Line {
                at_ms: 5_010,
                text: "ends: <script>".to_owned(),
            }],
            ..Case::default()
        }],
    }
}

fn report() -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        begun_at: 1,
        cores: 2,
        verdict: Verdict::Fail,
        runs: vec![run(), Run::default()],
    }
}

fn run() -> Run {
    Run {
        scenario: "one_down".to_owned(),
        about: "one <b>of</b> three".to_owned(),
        rows: vec!["P10".to_owned()],
        seed: 7,
        gateway: "switchyard".to_owned(),
        replay: "switchyard chaos run one_down --seed 7".to_owned(),
        verdict: Verdict::Fail,
        phases: vec![
            Phase {
                name: "control".to_owned(),
                from_ms: 0,
                to_ms: 2_000,
            },
            Phase {
                name: "faults".to_owned(),
                from_ms: 2_000,
                to_ms: 4_000,
            },
        ],
        faults: vec![FaultLane {
            fault: "P10".to_owned(),
            what: "hard <down>".to_owned(),
            on: vec!["alpha".to_owned()],
            from_ms: 2_000,
            to_ms: 4_000,
            shape: "step".to_owned(),
            seen: 33,
        }],
        invariants: vec![finding("no_splice", Verdict::Pass)],
        expectations: vec![
            finding("p99", Verdict::Fail),
            finding("share", Verdict::Unknown),
        ],
        series: series(),
        ..Run::default()
    }
}

fn series() -> Series {
    let steps = 40;
    Series {
        step_ms: 100,
        ok: vec![10; steps],
        failed: (0..40).map(|step| u32::from(step % 7 == 0)).collect(),
        first_content_p50: vec![Some(80.0); steps],
        first_content_p99: (0..40)
            .map(|step| (step % 5 != 0).then_some(200.0))
            .collect(),
        control_p50: Some(80.0),
        control_p99: Some(150.0),
        attempts: [
            ("alpha".to_owned(), vec![5; steps]),
            ("<i>".to_owned(), vec![5; steps]),
        ]
        .into(),
        breakers: [(
            "alpha/alpha-1".to_owned(),
            (0..40)
                .map(|step| if step > 20 { "open" } else { "closed" }.to_owned())
                .collect(),
        )]
        .into(),
        memory: vec![Some(18 << 20); steps],
        descriptors: vec![None; steps],
    }
}

#[test]
fn a_broken_claim_dominates_and_not_knowing_is_no_pass() {
    use Verdict::{Fail, Pass, Unknown};
    assert_eq!(Verdict::of([Pass, Pass]), Pass);
    assert_eq!(Verdict::of([Pass, Unknown]), Unknown);
    assert_eq!(Verdict::of([Unknown, Fail, Pass]), Fail);
    assert_eq!(Verdict::of([]), Unknown);
    assert_eq!([Pass, Fail, Unknown].map(Verdict::exit_code), [0, 1, 3]);
}

#[test]
fn what_is_written_is_read_back() {
    let folder = std::env::temp_dir().join(format!("switchyard-report-{}", fastrand::u64(..)));
    let written = write(&report(), &folder).unwrap();
    let read: Report = serde_json::from_slice(&std::fs::read(&written.json).unwrap()).unwrap();
    assert_eq!(read, report());
    assert!(written.html.exists() && written.junit.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

/// Every tag that is opened is closed, in order; attributes and texts hold no bare marks.
fn is_well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>'),
            "a bare mark before {:.40}",
            &rest[at..]
        );
        let end = rest[at..].find('>').unwrap() + at;
        let tag = &rest[at + 1..end];
        assert!(!tag.contains('<'), "{tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        match (
            tag.starts_with('?'),
            tag.starts_with('/'),
            tag.ends_with('/'),
        ) {
            (true, ..) | (_, _, true) => {}
            (_, true, _) => assert_eq!(open.pop(), Some(name.to_owned())),
            _ => open.push(name.to_owned()),
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn junit_is_well_formed_whatever_is_in_it() {
    let xml = junit(&report());
    is_well_formed(&xml);
    assert!(!xml.contains('\u{1}'));
    assert!(
        xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""),
        "{xml}"
    );
}

#[test]
fn the_page_runs_nothing_that_came_from_outside() {
    let page = html(&report());
    assert_eq!(page.matches("<script>").count(), 1, "only our own");
    assert!(page.contains("&lt;script&gt;p99"));
    assert!(!page.contains("<i>5") && !page.contains("<b>of"));
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "no network"
    );
    assert!(page.len() < 300_000, "{}", page.len());
    assert!(
        html(&Report {
            runs: Vec::new(),
            ..report()
        })
        .contains("Nothing was run")
    );
}

#[test]
fn the_summary_fits_its_width_and_says_what_failed() {
    for width in [80, 140] {
        let text = summary(&report(), width, false);
        assert!(!text.contains('\u{1b}'));
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        assert!(text.contains("412 ms of 300 ms"), "{text}");
        assert!(text.contains("again: switchyard chaos run one_down --seed 7"));
    }
    assert!(summary(&report(), 100, true).contains("\u{1b}[31m"));
}

#[test]
fn the_progress_line_is_a_line() {
    let now = ProgressState {
        heading: "[1/4] one_down".to_owned(),
        phase: "faults".to_owned(),
        elapsed_ms: 6_000,
        total_ms: 12_000,
        faults: vec!["P10 on alpha".to_owned()],
        requests: 600,
        errors: 3,
        error_rate: 0.005,
        p50: Some(80),
        p99: Some(140),
    };
    let line = progress_line(&now, 200, false);
    assert!(
        line.contains("██████████░░░░░░░░░░") && line.contains("P10 on alpha"),
        "{line}"
    );
    assert!(progress_line(&now, 60, false).chars().count() <= 60);
}
