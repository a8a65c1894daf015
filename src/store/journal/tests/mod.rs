#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod anchors;
mod bookmarks;
mod costs;
mod owners;
mod records;
mod rows;
mod tally;

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::JournalMode;
use crate::domain::{AttemptOutcome, Lane, RequestId, Tokens, Usage};

fn options(folder: &Path) -> JournalOptions {
    JournalOptions {
        folder: folder.to_owned(),
        mode: JournalMode::Fast,
        segment_bytes: 4_096,
        keep: Keep::default(),
        text_keys: TextKeys::default(),
        most_owners: 100,
        look_back: JournalOptions::LOOK_BACK,
    }
}

const WHO: Who<'static> = Who {
    client: "app",
    tenant: None,
    team: None,
    user: None,
    tags: &[],
};

fn intent(number: u128) -> Record<'static> {
    Record::Intent(IntentRecord {
        request: RequestId::from_draw(number),
        who: WHO,
        asked: "fast \"quoted\"\n",
        lane: Lane::Default,
        stream: true,
        input_estimate: Tokens(12),
        max_output: Tokens(100),
        config_version: 7,
        prompt_hash: None,
        reserved_nano: None,
        reserved_bill_nano: None,
        most_nano: None,
        most_bill_nano: None,
        price: None,
        region: None,
        policy: &[],
    })
}

fn outcome(number: u128) -> Record<'static> {
    Record::Outcome(OutcomeRecord {
        request: RequestId::from_draw(number),
        who: WHO,
        how: "ok",
        kind: "ok",
        status: 200,
        attempts: 1,
        provider: Some("openai"),
        model: Some("gpt-4o-mini"),
        served_model: None,
        usage: Some(Usage {
            input: Tokens(3),
            output: Tokens(4),
            ..Usage::default()
        }),
        estimated: false,
        first_content: Some(Duration::from_micros(1_234)),
        took: Duration::from_millis(2),
        race: None,
        cost_nano: None,
        charged_nano: None,
        cost_estimated: false,
    })
}

fn attempt(number: u128) -> Record<'static> {
    Record::Attempt(AttemptRecord {
        request: RequestId::from_draw(number),
        number: 1,
        provider: "openai",
        model: "gpt-4o-mini",
        key: "main",
        outcome: AttemptOutcome::Ok,
        status: Some(200),
        first_content: None,
        took: Duration::from_millis(2),
        usage: None,
        estimated: false,
        won: true,
        second_leg: false,
        region: None,
        cost_nano: None,
        charged_nano: None,
        list_nano: None,
        asked: None,
        reason: None,
    })
}

/// Writes whole requests and closes the journal.
fn write(folder: &Path, requests: std::ops::Range<u128>) -> Opened {
    let (ended, end) = std::sync::mpsc::channel();
    let (handle, opened) =
        open(options(folder), move || ended.send(()).unwrap_or_default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for number in requests {
            handle.append_and_wait(&intent(number)).await.unwrap();
            handle.append(&attempt(number)).unwrap();
            handle.append(&outcome(number)).unwrap();
        }
    });
    drop(handle);
    end.recv_timeout(Duration::from_secs(5)).unwrap();
    opened
}

fn last_segment(folder: &Path) -> std::path::PathBuf {
    super::segment::segments(folder).unwrap().pop().unwrap()
}

#[test]
fn g8_every_request_is_recorded_and_the_chain_holds_over_segments() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..30);
    write(folder.path(), 30..60);
    let report = verify(folder.path()).unwrap();
    assert!(report.intact(), "{report}");
    assert_eq!(
        (
            report.intents,
            report.attempts,
            report.outcomes,
            report.open
        ),
        (59, 59, 59, 0)
    );
    assert!(report.segments > 2);
    let text = fs::read_to_string(last_segment(folder.path())).unwrap();
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn x07_a_request_under_way_at_a_crash_gets_one_outcome_even_over_two_restarts() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (ended, end) = std::sync::mpsc::channel();
        let (handle, _) = open(options(folder.path()), move || {
            ended.send(()).unwrap_or_default()
        })
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime
            .block_on(handle.append_and_wait(&intent(5)))
            .unwrap();
        drop(handle);
        end.recv_timeout(Duration::from_secs(5)).unwrap();
    }
    assert_eq!(verify(folder.path()).unwrap().open, 1);
    assert_eq!(write(folder.path(), 10..11).interrupted, 1);
    assert_eq!(write(folder.path(), 11..12).interrupted, 0);
    let report = verify(folder.path()).unwrap();
    assert!(report.intact() && report.open == 0, "{report}");
}

#[test]
fn x08_a_torn_tail_is_cut_at_the_last_whole_record_wherever_it_tore() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..3);
    let path = last_segment(folder.path());
    let whole = fs::read(&path).unwrap();
    let last_line = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    for cut in last_line + 1..whole.len() {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            if file.path().is_dir() {
                continue;
            }
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let torn = last_segment(copy.path());
        fs::write(&torn, &whole[..cut]).unwrap();
        assert!(verify(copy.path()).unwrap().torn_tail);
        let opened = write(copy.path(), 50..51);
        assert!(opened.repaired && opened.alarm.is_none(), "cut at {cut}");
        let report = verify(copy.path()).unwrap();
        assert!(
            report.intact() && report.open == 0,
            "cut at {cut}: {report}"
        );
        assert_eq!(
            fs::read(torn.with_extension("torn")).unwrap(),
            &whole[last_line..cut]
        );
    }
}

/// A journal with something done to its lines; verification must notice.
fn tampered(change: impl FnOnce(&mut Vec<String>)) -> VerifyReport {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..4);
    let path = super::segment::segments(folder.path()).unwrap().remove(0);
    let mut lines: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    change(&mut lines);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    verify(folder.path()).unwrap()
}

#[test]
fn a27_edits_deletions_and_reorders_are_found() {
    assert!(tampered(|_| {}).intact());
    let edited = tampered(|lines| lines[3] = lines[3].replace("\"output\":4", "\"output\":1"));
    assert_eq!(edited.broken.unwrap().line, 4);
    let deleted = tampered(|lines| drop(lines.remove(2)));
    assert_eq!(deleted.broken.unwrap().line, 3);
    let swapped = tampered(|lines| lines.swap(2, 3));
    assert_eq!(swapped.broken.unwrap().line, 3);
    let beheaded = tampered(|lines| drop(lines.drain(..2)));
    assert!(beheaded.broken.is_some());
}

#[test]
fn x08_a_flipped_record_is_an_alarm_and_not_skipped() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..4);
    let path = last_segment(folder.path());
    let text = fs::read_to_string(&path)
        .unwrap()
        .replacen("\"output\":4", "\"output\":5", 1);
    fs::write(&path, text).unwrap();
    let opened = write(folder.path(), 10..11);
    assert!(opened.alarm.is_some());
    assert!(!verify(folder.path()).unwrap().intact());
}

#[test]
fn two_processes_cannot_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, _) = open(options(folder.path()), || {}).unwrap();
    let second = open(options(folder.path()), || {}).unwrap_err();
    assert!(second.to_string().contains("another process"), "{second}");
}

#[test]
fn x11_a_full_disk_refuses_at_once_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = options(folder.path());
    first.segment_bytes = 1 << 20;
    let (handle, _) = open(first, || {}).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        handle.append_and_wait(&intent(1)).await.unwrap();
        // By now the thread sleeps until somebody calls it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        handle.fail_next_writes(true);
        assert_eq!(
            handle.append_and_wait(&intent(2)).await,
            Err(JournalError::Unwritable)
        );
        assert!(!handle.health().writable());
        assert_eq!(
            handle.append_and_wait(&intent(3)).await,
            Err(JournalError::Unwritable)
        );
        handle.fail_next_writes(false);
        let recovered = tokio::time::timeout(Duration::from_secs(2), async {
            while handle.append_and_wait(&intent(4)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        recovered.await.unwrap();
    });
    let report = verify(folder.path()).unwrap();
    assert!(report.intact(), "{report}");
    assert_eq!(
        report.intents, 2,
        "what was refused is not recorded as accepted"
    );
}

#[test]
fn a27_a_digit_in_capitals_is_a_changed_byte() {
    let damaged = tampered(|lines| {
        let line = &mut lines[2];
        let chain = line.rfind("\"chain\":\"").unwrap() + 9;
        let letter = line[chain..]
            .find(|c: char| c.is_ascii_lowercase())
            .unwrap()
            + chain;
        let capital = line[letter..=letter].to_uppercase();
        line.replace_range(letter..=letter, &capital);
    });
    assert!(damaged.broken.is_some());
}

/// A start must not take a changed record for a torn one and cut it away.
#[test]
fn a27_a_change_in_the_last_record_survives_a_start() {
    let end = |bytes: &[u8]| bytes.len() - 1;
    for place in [40, 0] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1..4);
        let path = last_segment(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = end(&bytes) - place;
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let opened = write(folder.path(), 10..11);
        assert!(!opened.repaired && opened.alarm.is_some(), "{opened:?}");
        assert!(fs::read(&path).unwrap().starts_with(&bytes));
        assert!(!verify(folder.path()).unwrap().intact());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no task runs here, and the thread that writes has a clock of its own"
)]
/// Waits for the disk that fails to have failed, and for one that is well to have taken what it was owed.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(900));
}

#[test]
fn x11_no_outcome_stands_without_its_intent_and_none_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (ended, end) = std::sync::mpsc::channel();
    let (handle, _) = open(options(folder.path()), move || {
        ended.send(()).unwrap_or_default();
    })
    .unwrap();
    // One whose intent is written, and one whose intent is lost with the disk.
    let before = handle.append_and_wait(&intent(1));
    drop(before);
    a_moment();
    handle.fail_next_writes(true);
    let lost = handle.append_and_wait(&intent(2));
    assert!(lost.was_taken());
    drop(lost);
    a_moment();
    // Both end while the disk is full.
    handle.append(&outcome(1)).unwrap();
    handle.append(&attempt(2)).unwrap();
    handle.append(&outcome(2)).unwrap();
    a_moment();
    handle.fail_next_writes(false);
    a_moment();
    drop(handle);
    end.recv_timeout(Duration::from_secs(5)).unwrap();
    let report = verify(folder.path()).unwrap();
    assert!(report.intact(), "{report}");
    assert_eq!((report.intents, report.outcomes, report.open), (1, 1, 0));
    assert_eq!(report.attempts, 0, "a record of a request that never was");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a27_any_changed_byte_is_found(place in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1..3);
        let path = super::segment::segments(folder.path()).unwrap().remove(0);
        let mut bytes = fs::read(&path).unwrap();
        let at = place.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&path, &bytes).unwrap();
        prop_assert!(!verify(folder.path()).unwrap().intact());
    }
}
