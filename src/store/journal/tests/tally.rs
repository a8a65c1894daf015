//! What the writer adds up is what a reader would have added up between the same two records.

use std::sync::Arc;

use super::records::with;
use super::*;
use crate::domain::ServiceTier;
use crate::store::journal::health::wall_ms;
use crate::store::spending::{ALERT, Batch, Position};

/// What is done to a journal.
#[derive(Clone, Copy, Debug)]
enum Act {
    Intent,
    Attempt(u64),
    Outcome(u64),
    Told(u64),
    Fails(bool),
    Ask,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Intent),
        4 => (0..40_u64).prop_map(Act::Attempt),
        4 => (0..40_u64).prop_map(Act::Outcome),
        1 => (0..3_u64).prop_map(Act::Told),
        1 => any::<bool>().prop_map(Act::Fails),
        2 => Just(Act::Ask),
    ]
}

/// What stands in the journal between two records, read.
fn read_between(folder: &Path, behind: u64, upto: u64) -> Batch {
    let mut batch = Batch::default();
    let mut lines = super::super::costs(folder, behind + 1).up_to(upto);
    while let Some(line) = lines.next_cost() {
        let line = line.unwrap();
        batch.count(&line.cost, line.at_ms);
        batch.to = Position {
            seq: line.seq,
            at_ms: line.at_ms,
        };
    }
    batch
}

async fn hand_in(handle: &JournalHandle, number: u64, act: Act) {
    let long = "n".repeat(300);
    let tags: Vec<Arc<str>> = (0..number).map(|nth| format!("tag {nth}").into()).collect();
    match act {
        Act::Intent => drop(handle.append_and_wait(&intent(number.into())).await),
        Act::Attempt(nth) => {
            let Record::Attempt(plain) = attempt(number.into()) else {
                unreachable!()
            };
            let usage = Usage {
                input: Tokens(nth),
                audio_output: Tokens(nth % 2),
                tier: (nth % 3 == 0).then_some(ServiceTier::Flex),
                ..Usage::default()
            };
            let record = Record::Attempt(AttemptRecord {
                provider: ["a", "b\"", &long][nth as usize % 3],
                took: Duration::from_micros(nth * 77_777_777),
                usage: (nth % 4 > 0).then_some(usage),
                estimated: nth % 5 == 0,
                cost_nano: (nth % 7 > 0).then_some(nth),
                charged_nano: Some(nth + nth % 2),
                ..plain
            });
            let _ = handle.append(&record);
        }
        Act::Outcome(nth) => {
            let Record::Outcome(plain) = outcome(number.into()) else {
                unreachable!()
            };
            let record = Record::Outcome(OutcomeRecord {
                who: Who {
                    client: ["app", &long][nth as usize % 2],
                    tenant: (nth % 3 > 0).then_some("acme"),
                    team: (nth % 3 > 1).then_some("search"),
                    user: (nth % 4 > 2).then_some("ann"),
                    tags: &tags[..(nth as usize).min(tags.len())],
                },
                how: ["ok", "failed"][nth as usize % 2],
                model: (nth % 5 > 0).then_some("m/1"),
                took: Duration::from_micros(nth * 99_999_999),
                cost_nano: (nth % 7 > 0).then_some(nth),
                charged_nano: (nth % 7 > 1).then_some(nth + nth % 2),
                cost_estimated: nth % 2 > 0,
                ..plain
            });
            let _ = handle.append(&record);
        }
        Act::Told(nth) => {
            let (name, detail) = (
                [ALERT, "other"][nth as usize % 2],
                "80 % of 3 USD (day), 2.5",
            );
            handle.event(name, detail);
        }
        Act::Fails(fails) => handle.fail_next_writes(fails),
        Act::Ask => {}
    }
}

impl JournalHandle {
    fn event(&self, name: &str, detail: &str) {
        let _ = self.append(&Record::Event {
            name,
            subject: "acme",
            detail,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn m1_what_is_added_up_in_passing_is_what_a_reader_finds_whatever_the_disk_does(
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut stretches = Vec::new();
        let took = &mut stretches;
        with(options(folder.path()), async |handle| {
            for (number, act) in acts.iter().enumerate() {
                hand_in(handle, number as u64, *act).await;
                if matches!(act, Act::Ask) {
                    took.push(handle.stretch().unwrap());
                }
            }
            handle.fail_next_writes(false);
            let _ = handle.append_and_wait(&intent(9_999)).await;
            let _ = handle.draw_border().await;
            took.push(handle.stretch().unwrap());
        });
        let mut before = None;
        for stretch in stretches {
            // One begins where the one before ended; the first, where the journal did.
            prop_assert_eq!(stretch.from.upto, before.map_or(0, |before: WrittenTo| before.upto));
            let (from, to) = (stretch.from.upto, stretch.to.upto);
            before = Some(stretch.to);
            if let Some(batch) = stretch.batch {
                prop_assert_eq!(*batch, read_between(folder.path(), from, to));
            }
        }
        // Nothing stands behind the last of them but what is owed after a failure.
        let last = before.map_or(0, |before| before.upto);
        prop_assert!(
            acts.iter().any(|act| matches!(act, Act::Fails(true)))
                || read_between(folder.path(), last, u64::MAX).is_empty()
        );
    }
}

#[test]
fn m1_a_writer_that_never_failed_leaves_nothing_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    with(options(folder.path()), async |handle| {
        for number in 0..200 {
            for act in [
                Act::Intent,
                Act::Attempt(number % 40),
                Act::Outcome(number % 40),
            ] {
                hand_in(handle, number, act).await;
            }
            if number % 9 == 0 {
                assert!(handle.stretch().unwrap().batch.is_some());
            }
        }
        let _ = handle.draw_border().await;
        let begun = wall_ms();
        assert!(
            handle.stretch().unwrap().whole_until_ms >= begun,
            "nothing is on its way"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
        // A failure is over when it was asked about.
        handle.fail_next_writes(true);
        hand_in(handle, 500, Act::Intent).await;
        let handed_in = wall_ms();
        hand_in(handle, 500, Act::Outcome(1)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let stretch = handle.stretch().unwrap();
        assert!(stretch.whole_until_ms <= handed_in, "it stands nowhere yet");
        assert!(stretch.batch.is_none());
        handle.fail_next_writes(false);
        while handle.append_and_wait(&intent(501)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = handle.stretch();
        hand_in(handle, 502, Act::Outcome(1)).await;
        let _ = handle.draw_border().await;
        let batch = handle.stretch().unwrap().batch.unwrap();
        assert_eq!(batch.slices.len(), 1);
    });
}

/// Behind a disk that is never done something is always pending.
#[test]
fn m1_who_wants_to_know_how_far_it_is_waits_for_no_disk_and_a_border_for_one_write() {
    let folder = tempfile::tempdir().unwrap();
    with(options(folder.path()), async |handle| {
        handle.drag_writes(Duration::from_millis(5));
        let (writer, over) = (
            handle.clone(),
            Arc::new(std::sync::atomic::AtomicBool::new(false)),
        );
        let ended = Arc::clone(&over);
        let writing = std::thread::spawn(move || {
            let mut number = 0;
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                let _ = writer.append(&attempt(number));
                std::thread::yield_now();
            }
        });
        let begun = tokio::time::Instant::now();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(handle.stretch().is_some());
            assert!(handle.draw_border().await.is_some());
        }
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        writing.join().unwrap();
        handle.drag_writes(Duration::ZERO);
    });
}
