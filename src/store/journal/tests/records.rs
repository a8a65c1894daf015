//! What a record holds, as its readers get it back.

use std::sync::Arc;

use super::*;
use crate::domain::{Operation, ServiceTier};

/// Opens a journal, does something with it, and waits until all is written.
pub(super) fn with(
    options: JournalOptions,
    work: impl AsyncFnOnce(&JournalHandle),
) -> (Opened, Arc<JournalHealth>) {
    let (ended, end) = std::sync::mpsc::channel();
    let (handle, opened) = open(options, move || ended.send(()).unwrap_or_default()).unwrap();
    let health = Arc::clone(handle.health());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(work(&handle));
    drop(handle);
    end.recv_timeout(Duration::from_secs(5)).unwrap();
    (opened, health)
}

fn read_all(folder: &Path) -> Vec<Line> {
    read(folder, 0).map(Result::unwrap).collect()
}

fn only<T>(folder: &Path, wanted: impl Fn(ReadRecord) -> Option<T>) -> T {
    let mut found: Vec<T> = read_all(folder)
        .into_iter()
        .filter_map(|line| wanted(line.record))
        .collect();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn the_intent(record: ReadRecord) -> Option<ReadIntent> {
    if let ReadRecord::Intent(intent) = record {
        Some(intent)
    } else {
        None
    }
}

fn the_outcome(record: ReadRecord) -> Option<ReadOutcome> {
    if let ReadRecord::Outcome(outcome) = record {
        Some(outcome)
    } else {
        None
    }
}

fn tags() -> [Arc<str>; 2] {
    [Arc::from("batch"), Arc::from("night \"shift\"")]
}

fn rich_who(tags: &[Arc<str>]) -> Who<'_> {
    Who {
        client: "app",
        tenant: Some("acme"),
        team: Some("search"),
        user: Some("ann"),
        tags,
    }
}

fn rich_intent(tags: &[Arc<str>], reserved: Option<u64>) -> Record<'_> {
    let Record::Intent(plain) = intent(9) else {
        unreachable!()
    };
    Record::Intent(IntentRecord {
        who: rich_who(tags),
        prompt_hash: Some([0x0a; 16]),
        reserved_nano: reserved,
        price: Some(0xfeed),
        region: Some("eu"),
        policy: &["redact:email", "no_training"],
        ..plain
    })
}

const PRICED: Asked = Asked {
    operation: Operation::Images,
    choices: 3,
    tier: Some(ServiceTier::Flex),
};

fn costing_attempt(number: u32, cost: Option<u64>, output: u64) -> Record<'static> {
    let Record::Attempt(plain) = attempt(9) else {
        unreachable!()
    };
    Record::Attempt(AttemptRecord {
        number,
        outcome: AttemptOutcome::Truncated,
        usage: Some(Usage {
            input: Tokens(3),
            output: Tokens(output),
            cache_write: Tokens(2),
            cache_write_hour: Tokens(1),
            ..Usage::default()
        }),
        won: false,
        region: Some("eu-west-1"),
        cost_nano: cost,
        charged_nano: cost,
        asked: Some(PRICED),
        reason: Some("no terminal event"),
        ..plain
    })
}

/// A request with everything that a record may hold.
fn write_rich(folder: &Path) {
    let tags = tags();
    with(options(folder), async |handle| {
        let record = rich_intent(&tags, Some(u64::MAX));
        handle.append_and_wait(&record).await.unwrap();
        handle.append(&costing_attempt(1, Some(17), 4)).unwrap();
        let Record::Outcome(plain) = outcome(9) else {
            unreachable!()
        };
        let booked = Record::Outcome(OutcomeRecord {
            who: rich_who(&tags),
            cost_nano: Some(18),
            charged_nano: Some(21),
            cost_estimated: true,
            ..plain
        });
        handle.append(&booked).unwrap();
    });
}

#[test]
fn t4_everything_recorded_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    write_rich(folder.path());
    let intent = only(folder.path(), the_intent);
    assert_eq!(
        (
            &*intent.client,
            intent.tenant.as_deref(),
            intent.team.as_deref(),
            intent.user.as_deref()
        ),
        ("app", Some("acme"), Some("search"), Some("ann"))
    );
    assert_eq!(intent.tags, ["batch", "night \"shift\""]);
    assert_eq!(intent.asked, "fast \"quoted\"\n");
    assert_eq!(intent.request, RequestId::from_draw(9));
    assert_eq!(
        (intent.reserved_nano, intent.price, intent.config),
        (Some(u64::MAX), Some(0xfeed), Some(7))
    );
    assert_eq!(
        intent.prompt_hash.as_deref(),
        Some("0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a")
    );
    assert_eq!(intent.policy, ["redact:email", "no_training"]);
    let attempt = only(folder.path(), |record| {
        if let ReadRecord::Attempt(attempt) = record {
            Some(attempt)
        } else {
            None
        }
    });
    assert_eq!(attempt.region.as_deref(), Some("eu-west-1"));
    assert_eq!(
        (attempt.cost_nano, attempt.reason.as_deref()),
        (Some(17), Some("no terminal event"))
    );
    assert_eq!(attempt.asked(), Some(PRICED));
    let usage = attempt.usage.unwrap();
    assert_eq!((usage.cache_write.0, usage.cache_write_hour.0), (2, 1));
    let outcome = only(folder.path(), the_outcome);
    assert_eq!(
        (
            outcome.cost_nano,
            outcome.charged_nano,
            outcome.cost_estimated
        ),
        (Some(18), Some(21), true)
    );
    assert_eq!(
        (outcome.tenant.as_deref(), outcome.tags.len()),
        (Some("acme"), 2)
    );
    assert_eq!(
        outcome.usage.unwrap(),
        Usage {
            input: Tokens(3),
            output: Tokens(4),
            ..Usage::default()
        }
    );
}

#[test]
fn what_is_not_known_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..2);
    let text = fs::read_to_string(last_segment(folder.path())).unwrap();
    for word in [
        "tenant",
        "team",
        "user",
        "tags",
        "prompt_hash",
        "reserved",
        "price",
        "region",
        "policy",
        "cost",
    ] {
        assert!(!text.contains(&format!("\"{word}")), "{word} in {text}");
    }
    let intent = only(folder.path(), the_intent);
    assert_eq!((intent.reserved_nano, intent.price), (None, None));
}

/// What an interrupted request is booked at, given what its attempts told.
fn interrupted(reserved: Option<u64>, attempts: &[Option<u64>]) -> ReadOutcome {
    interrupted_with(reserved, attempts, &[])
}

/// As [`interrupted`], after more was set aside for further legs.
fn interrupted_with(reserved: Option<u64>, attempts: &[Option<u64>], more: &[u64]) -> ReadOutcome {
    let folder = tempfile::tempdir().unwrap();
    let tags = tags();
    with(options(folder.path()), async |handle| {
        let record = rich_intent(&tags, reserved);
        handle.append_and_wait(&record).await.unwrap();
        for (number, cost) in (1..).zip(attempts) {
            handle.append(&costing_attempt(number, *cost, 4)).unwrap();
        }
        for more_nano in more.iter().copied() {
            let request = record_request(&record);
            let record = Record::Reserve {
                request,
                more_nano,
                more_bill_nano: more_nano,
            };
            handle.append_and_wait(&record).await.unwrap();
        }
    });
    assert_eq!(verify(folder.path()).unwrap().unaccounted, 0);
    let (opened, _) = with(options(folder.path()), async |_| {});
    assert_eq!(opened.interrupted, 1);
    only(folder.path(), the_outcome)
}

#[test]
fn x07_an_interrupted_request_is_booked_at_what_it_reserved_and_to_whom_it_belongs() {
    let outcome = interrupted(Some(5_000), &[]);
    assert_eq!(
        (&*outcome.how, outcome.cost_nano, outcome.cost_estimated),
        ("interrupted", Some(5_000), true)
    );
    assert_eq!(
        (
            &*outcome.client,
            outcome.tenant.as_deref(),
            outcome.team.as_deref(),
            outcome.user.as_deref()
        ),
        ("app", Some("acme"), Some("search"), Some("ann"))
    );
    assert_eq!(outcome.tags, ["batch", "night \"shift\""]);
    assert_eq!((outcome.attempts, outcome.usage), (0, None));
}

#[test]
fn x07_attempts_that_ended_are_added_to_what_was_under_way() {
    let outcome = interrupted(Some(5_000), &[Some(70), None, Some(7)]);
    assert_eq!(
        (outcome.cost_nano, outcome.cost_estimated),
        (Some(5_077), true)
    );
    assert_eq!((outcome.attempts, outcome.estimated), (3, true));
    assert_eq!(outcome.provider.as_deref(), Some("openai"));
    let usage = outcome.usage.unwrap();
    assert_eq!((usage.input.0, usage.output.0), (9, 12));
    assert_eq!(interrupted(None, &[Some(70)]).cost_nano, Some(70));
    assert_eq!(
        interrupted(Some(u64::MAX), &[Some(70)]).cost_nano,
        Some(u64::MAX)
    );
    let unpriced = interrupted(None, &[]);
    assert_eq!((unpriced.cost_nano, unpriced.cost_estimated), (None, false));
}

#[test]
fn x07_what_was_set_aside_for_a_second_leg_is_booked_with_the_first() {
    // A hedge: two legs under way.
    let hedged = interrupted_with(Some(5_000), &[], &[5_000]);
    assert_eq!(
        (hedged.cost_nano, hedged.cost_estimated),
        (Some(10_000), true)
    );
    // A retry: what the first attempt cost, and the second.
    let retried = interrupted_with(Some(5_000), &[Some(70)], &[70]);
    assert_eq!(retried.cost_nano, Some(5_070));
    let dear = interrupted_with(Some(5_000), &[Some(9_000)], &[70]);
    assert_eq!(dear.cost_nano, Some(9_000));
}

/// A fifth is charged on top of what is billed: what a killed request is booked at.
fn interrupted_with_a_margin(attempts: &[u64], more: &[u64]) -> (Option<u64>, Option<u64>) {
    let charged = |billed: u64| billed / 5 * 6;
    let folder = tempfile::tempdir().unwrap();
    let tags = tags();
    with(options(folder.path()), async |handle| {
        let Record::Intent(plain) = rich_intent(&tags, Some(charged(5_000))) else {
            unreachable!()
        };
        let request = plain.request;
        let record = Record::Intent(IntentRecord {
            reserved_bill_nano: Some(5_000),
            ..plain
        });
        handle.append_and_wait(&record).await.unwrap();
        for billed in attempts.iter().copied() {
            let Record::Attempt(plain) = costing_attempt(1, Some(billed), 4) else {
                unreachable!()
            };
            let record = Record::Attempt(AttemptRecord {
                charged_nano: Some(charged(billed)),
                ..plain
            });
            handle.append_and_wait(&record).await.unwrap();
        }
        for more_bill_nano in more.iter().copied() {
            let record = Record::Reserve {
                request,
                more_nano: charged(more_bill_nano),
                more_bill_nano,
            };
            handle.append_and_wait(&record).await.unwrap();
        }
    });
    with(options(folder.path()), async |_| {});
    let outcome = only(folder.path(), the_outcome);
    assert!(outcome.cost_estimated);
    (outcome.cost_nano, outcome.charged_nano)
}

#[test]
fn x07_what_a_kill_catches_is_booked_at_what_it_may_come_to_where_no_budget_held_it() {
    let interrupted = |most_nano: Option<u64>, most_bill_nano: Option<u64>| {
        let folder = tempfile::tempdir().unwrap();
        with(options(folder.path()), async |handle| {
            let Record::Intent(plain) = intent(9) else {
                unreachable!()
            };
            let record = Record::Intent(IntentRecord {
                most_nano,
                most_bill_nano,
                ..plain
            });
            handle.append_and_wait(&record).await.unwrap();
        });
        with(options(folder.path()), async |_| {});
        let outcome = only(folder.path(), the_outcome);
        (
            outcome.cost_nano,
            outcome.charged_nano,
            outcome.cost_estimated,
        )
    };
    let same = interrupted(Some(700), Some(700));
    assert_eq!(same, (Some(700), None, true));
    let with_a_margin = interrupted(Some(840), Some(700));
    assert_eq!(with_a_margin, (Some(700), Some(840), true));
    // Nobody knows a price: that is said, and is not nothing.
    assert_eq!(interrupted(None, None), (None, None, false));
}

#[test]
fn m1_an_interrupted_requests_margin_is_not_booked_as_its_providers_bill() {
    let both = |billed, charged| (Some(billed), Some(charged));
    assert_eq!(interrupted_with_a_margin(&[], &[]), both(5_000, 6_000));
    assert_eq!(interrupted_with_a_margin(&[50], &[]), both(5_050, 6_060));
    assert_eq!(interrupted_with_a_margin(&[50], &[50]), both(5_050, 6_060));
    assert_eq!(
        interrupted_with_a_margin(&[9_000], &[50]),
        both(9_000, 10_800)
    );
}

#[test]
fn reading_begins_anywhere_and_goes_over_segments() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..60);
    assert!(
        super::super::segment::segments(folder.path())
            .unwrap()
            .len()
            > 3
    );
    let all = read_all(folder.path());
    let seqs: Vec<u64> = all.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>());
    for from in [1, 2, 57, 90, seqs.len() as u64, seqs.len() as u64 + 1] {
        let part: Vec<u64> = read(folder.path(), from)
            .map(|line| line.unwrap().seq)
            .collect();
        assert_eq!(part, (from..=seqs.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn x08_reading_ends_before_half_a_record_and_tells_of_damage_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..3);
    let path = last_segment(folder.path());
    let whole = fs::read(&path).unwrap();
    let count = read_all(folder.path()).len();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert_eq!(read_all(folder.path()).len(), count - 1);
    let mut damaged = whole;
    let third = damaged
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(1)
        .unwrap()
        .0;
    damaged[third + 1] = b'#';
    fs::write(&path, &damaged).unwrap();
    let read: Vec<_> = read(folder.path(), 0).collect();
    assert_eq!(read.len(), count);
    let errors: Vec<_> = read
        .iter()
        .filter_map(|line| line.as_ref().err())
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("line 3"), "{errors:?}");
}

/// Lines as the first release wrote them are read; nothing of them is missed.
#[test]
fn x18_records_of_the_first_release_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let lines = concat!(
        r#"{"seq":1,"at":1700000000000,"kind":"segment","version":1,"previous":"00","chain":"00"}"#,
        "\n",
        r#"{"seq":2,"at":1700000000001,"kind":"intent","request":"sy-00000000000000000000000000000001","client":"app","asked":"fast","lane":"default","stream":false,"input_estimate":1,"max_output":2,"config":"0000000000000007","chain":"00"}"#,
        "\n",
        r#"{"seq":3,"at":1700000000002,"kind":"attempt","request":"sy-00000000000000000000000000000001","number":1,"provider":"openai","model":"m","key":"main","outcome":"ok","status":200,"took_ms":2.000,"won":true,"second_leg":false,"chain":"00"}"#,
        "\n",
        r#"{"seq":4,"at":1700000000003,"kind":"outcome","request":"sy-00000000000000000000000000000001","how":"ok","reason":"ok","status":200,"attempts":1,"provider":"openai","model":"m","usage":{"input":3,"output":4},"took_ms":2.000,"chain":"00"}"#,
        "\n",
        r#"{"seq":5,"at":1700000000004,"kind":"of a later release","chain":"00"}"#,
        "\n",
    );
    fs::write(
        folder.path().join("journal-00000000000000000001.jsonl"),
        lines,
    )
    .unwrap();
    let read = read_all(folder.path());
    assert_eq!(read.len(), 5);
    let ReadRecord::Outcome(outcome) = &read[3].record else {
        panic!("{:?}", read[3])
    };
    assert_eq!((&*outcome.client, outcome.cost_nano), ("", None));
    assert_eq!(read[4].record, ReadRecord::Other);
}

#[test]
fn a12_names_from_outside_are_cut_and_escaped_and_lists_are_short() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(1 << 20);
    let tags: Vec<Arc<str>> = (0..1_000)
        .map(|number| Arc::from(format!("\u{1b}[31m\n\"{number}")))
        .collect();
    with(options(folder.path()), async |handle| {
        let Record::Intent(plain) = intent(9) else {
            unreachable!()
        };
        let record = Record::Intent(IntentRecord {
            who: Who {
                user: Some(&long),
                tags: &tags,
                ..WHO
            },
            ..plain
        });
        handle.append_and_wait(&record).await.unwrap();
    });
    let read = only(folder.path(), the_intent);
    assert_eq!(read.user.unwrap().len(), 256);
    assert_eq!(read.tags.len(), 32);
    assert_eq!(read.tags[31], "\u{1b}[31m\n\"31");
    let text = fs::read_to_string(last_segment(folder.path())).unwrap();
    assert!(!text.contains('\u{1b}') && text.lines().count() == 2);
}

/// A stream may outlast many segments; a start that reads only the end has to find it nevertheless.
#[test]
fn x07_a_request_that_began_long_before_the_crash_gets_its_outcome_too() {
    let folder = tempfile::tempdir().unwrap();
    let short = || JournalOptions {
        look_back: 1,
        ..options(folder.path())
    };
    with(short(), async |handle| {
        for number in [1_000, 1_001] {
            handle.append_and_wait(&intent(number)).await.unwrap();
        }
        for number in 1..60 {
            handle.append_and_wait(&intent(number)).await.unwrap();
            handle.append(&outcome(number)).unwrap();
        }
        handle.append(&outcome(1_001)).unwrap();
        // What came of it lately stands in the end that is read, and its intent before.
        let request = RequestId::from_draw(1_000);
        for more_nano in [70, 7] {
            let record = Record::Reserve {
                request,
                more_nano,
                more_bill_nano: more_nano / 7 * 6,
            };
            handle.append_and_wait(&record).await.unwrap();
        }
    });
    let (opened, _) = with(short(), async |_| {
        let found = async {
            while verify(folder.path()).unwrap().open > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), found)
            .await
            .unwrap();
    });
    assert_eq!(
        opened.interrupted, 0,
        "it is further back than a start reads"
    );
    for _ in 0..2 {
        with(short(), async |_| {
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
    }
    let report = verify(folder.path()).unwrap();
    assert!(report.intact() && report.open == 0, "{report}");
    assert_eq!(report.outcomes, 61, "one each, also after two more starts");
    let booked = read_all(folder.path()).into_iter().find_map(|line| {
        let ReadRecord::Outcome(outcome) = line.record else {
            return None;
        };
        (outcome.how == "interrupted").then_some((outcome.cost_nano, outcome.charged_nano))
    });
    assert_eq!(booked, Some((Some(66), Some(77))));
}

/// Budgets are told what was spent when nothing more is to come of the last process.
#[test]
fn x07_a_search_has_ended_only_when_all_it_found_is_handed_in() {
    let folder = tempfile::tempdir().unwrap();
    let short = || JournalOptions {
        look_back: 1,
        ..options(folder.path())
    };
    with(short(), async |handle| {
        handle.append_and_wait(&intent(100_000)).await.unwrap();
        for number in 1..3_000 {
            handle.append(&intent(number)).unwrap();
            handle.append_and_wait(&outcome(number)).await.unwrap();
        }
    });
    with(short(), async |handle| {
        let health = handle.health();
        while health.is_searching() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        handle.draw_border().await.unwrap();
        let written = health.written_to();
        tokio::time::sleep(Duration::from_millis(500)).await;
        handle.draw_border().await.unwrap();
        assert_eq!(health.written_to(), written);
    });
    let last = read_all(folder.path()).pop().unwrap();
    assert_eq!(the_outcome(last.record).unwrap().how, "interrupted");
}

#[test]
fn x11_no_border_is_drawn_while_the_disk_owes_what_stands_before_it() {
    let folder = tempfile::tempdir().unwrap();
    with(options(folder.path()), async |handle| {
        handle.append_and_wait(&intent(1)).await.unwrap();
        handle.fail_next_writes(true);
        let before = handle.append(&outcome(1)).unwrap();
        assert_eq!(handle.draw_border().await, None);
        handle.fail_next_writes(false);
        let drawn = tokio::time::timeout(std::time::Duration::from_secs(5), async {
            loop {
                if let Some(drawn) = handle.draw_border().await {
                    break drawn;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        let (border, last) = drawn.await.unwrap();
        assert!(before < border);
        let mut read = read(folder.path(), 0).map(Result::unwrap);
        let outcome = read.find(|line| matches!(line.record, ReadRecord::Outcome(_)));
        assert!(outcome.is_some_and(|outcome| outcome.seq <= last));
    });
}

#[test]
fn m2_what_is_handed_in_before_a_border_stands_before_it_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (mut handed_in, mut drawn) = (Vec::new(), Vec::new());
    // Opened twice: the borders of the second are behind those of the first.
    for rounds in [0..10_u128, 10..20] {
        with(options(folder.path()), async |handle| {
            for round in rounds {
                let write = |nth: u128| {
                    let handle = handle.clone();
                    tokio::task::spawn_blocking(move || {
                        let first = round * 1_000 + nth * 200;
                        let append = |number| (number, handle.append(&outcome(number)).unwrap());
                        (first..first + 200).map(append).collect::<Vec<_>>()
                    })
                };
                let writers: Vec<_> = (0..4).map(write).collect();
                while !writers.iter().all(|writer| writer.is_finished()) {
                    drawn.push(handle.draw_border().await.unwrap());
                }
                for writer in writers {
                    handed_in.extend(writer.await.unwrap());
                }
                drawn.push(handle.draw_border().await.unwrap());
            }
        });
    }
    assert!(drawn.is_sorted());
    let behind: std::collections::BTreeSet<_> =
        handed_in.iter().map(|(_, border)| *border).collect();
    assert!(
        behind.len() > 2,
        "some came before a border, and some behind it"
    );
    let stands: std::collections::HashMap<RequestId, u64> = read_all(folder.path())
        .into_iter()
        .filter_map(|line| Some((the_outcome(line.record)?.request, line.seq)))
        .collect();
    assert_eq!((stands.len(), handed_in.len()), (16_000, 16_000));
    for (number, behind) in handed_in {
        let seq = stands[&RequestId::from_draw(number)];
        for (border, last) in &drawn {
            assert_eq!(behind < *border, seq <= *last, "{number}");
        }
    }
}

fn record_request(record: &Record<'_>) -> RequestId {
    let Record::Intent(intent) = record else {
        panic!("an intent")
    };
    intent.request
}
