//! Requests brought together from their records.

use super::*;

fn all(folder: &Path, selection: Selection) -> Vec<Row> {
    rows(folder, selection).map(Result::unwrap).collect()
}

#[test]
fn a_row_holds_all_records_of_its_request_though_the_loser_of_a_race_comes_last() {
    let folder = tempfile::tempdir().unwrap();
    super::records::with(options(folder.path()), async |handle| {
        for number in [1, 2] {
            handle.append_and_wait(&intent(number)).await.unwrap();
        }
        handle.append(&attempt(1)).unwrap();
        let Record::Outcome(plain) = outcome(1) else {
            unreachable!()
        };
        let raced = OutcomeRecord {
            attempts: 2,
            ..plain
        };
        handle.append(&Record::Outcome(raced)).unwrap();
        handle.append(&attempt(1)).unwrap();
    });
    let rows = all(folder.path(), Selection::default());
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.how(), row.attempts.len()))
        .collect();
    assert_eq!(told, [("ok", 2), ("open", 0)]);
}

#[test]
fn rows_are_chosen_by_what_was_asked_and_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..40);
    let count = |selection| all(folder.path(), selection).len();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(count(Selection::default()), 39);
    let one = Selection {
        request: some("sy-00000000000000000000000000000007"),
        ..Selection::default()
    };
    assert_eq!(count(one), 1);
    for (model, found) in [("gpt-4o-mini", 39), ("fast \"quoted\"\n", 39), ("other", 0)] {
        let selection = Selection {
            model: some(model),
            ..Selection::default()
        };
        assert_eq!(count(selection), found, "{model}");
    }
    for (outcome, found) in [("ok", 39), ("failed", 0), ("open", 0)] {
        let selection = Selection {
            outcome: some(outcome),
            client: some("app"),
            ..Selection::default()
        };
        assert_eq!(count(selection), found, "{outcome}");
    }
}

#[test]
fn a_span_of_time_begins_in_its_segment_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..20);
    let times: Vec<u64> = all(folder.path(), Selection::default())
        .iter()
        .map(|row| row.intent.at)
        .collect();
    let (first, last) = (times[0], times[times.len() - 1]);
    let span = |from_ms, to_ms| {
        let selection = Selection {
            from_ms,
            to_ms,
            ..Selection::default()
        };
        all(folder.path(), selection).len()
    };
    assert_eq!(span(Some(first), Some(last + 1)), 19);
    assert_eq!(span(Some(last + 1), None), 0);
    assert_eq!(span(None, Some(first)), 0);
    let middle = times[9];
    assert_eq!(
        span(None, Some(middle)) + span(Some(middle), None),
        19,
        "each request is in one of two spans that meet"
    );
}

#[test]
fn g14_a_search_reads_so_many_records_and_tells_that_there_were_more() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..40);
    let nobody = || Selection {
        client: Some("nobody".to_owned()),
        ..Selection::default()
    };
    let mut whole = rows(folder.path(), nobody()).at_most(10_000);
    assert_eq!(whole.by_ref().count(), 0);
    assert!(!whole.was_cut());
    // What fits nothing is read and counted all the same.
    let mut cut = rows(folder.path(), nobody()).at_most(10);
    assert_eq!(cut.by_ref().count(), 0);
    assert!(cut.was_cut());
    assert_eq!(cut.seen(), 10);
}
