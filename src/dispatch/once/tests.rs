use std::task::Waker;

use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::tape::End;
use super::*;
use crate::dispatch::Told;
use crate::domain::ClientName;

const ID: RequestId = RequestId::from_draw(1);

fn poll(reader: &Reader) -> Poll<StreamPiece> {
    reader.poll_piece(&mut Context::from_waker(Waker::noop()))
}

/// All that a reader gets without waiting, and whether that was the end.
fn read(reader: &Reader) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    loop {
        match poll(reader) {
            Poll::Ready(StreamPiece::Data(piece)) => text.extend_from_slice(&piece),
            Poll::Ready(_) => return (text, true),
            Poll::Pending => return (text, false),
        }
    }
}

fn calm() -> Arc<Pressure> {
    Arc::new(Pressure::new(None))
}

fn has_room(tape: &Tape) -> bool {
    tape.poll_room(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[test]
fn l12_every_reader_gets_all_of_it_whenever_it_comes() {
    let (tape, early) = Tape::new(ID);
    tape.write(b"one ");
    assert_eq!(read(&early), (b"one ".to_vec(), false));
    let late = tape.join().unwrap();
    tape.write(b"two");
    tape.end(End::Whole);
    let last = tape.join().unwrap();
    assert_eq!(read(&early), (b"two".to_vec(), true));
    for reader in [late, last] {
        assert_eq!(read(&reader), (b"one two".to_vec(), true));
    }
}

#[test]
fn l12_what_is_not_kept_waits_for_its_eldest_reader_and_takes_no_more_memory() {
    let (tape, eldest) = Tape::new(ID);
    let joined = tape.join().unwrap();
    tape.pass();
    assert_eq!(tape.join().err(), Some(NoReader::NotKept));
    let piece = vec![b'a'; 300 * 1_024];
    tape.write(&piece);
    assert_eq!(read(&joined), (piece.clone(), false));
    assert!(!has_room(&tape), "the eldest has read nothing");
    assert!(matches!(poll(&eldest), Poll::Ready(StreamPiece::Data(_))));
    assert!(!has_room(&tape));
    assert!(matches!(poll(&eldest), Poll::Ready(StreamPiece::Data(_))));
    assert!(has_room(&tape));
    // Whoever leaves is not waited for.
    tape.write(&piece);
    assert!(!has_room(&tape));
    assert_eq!(read(&joined), (piece, false));
    drop(eldest);
    assert!(has_room(&tape));
}

#[tokio::test(start_paused = true)]
async fn l12_who_joined_is_waited_for_a_moment_and_who_came_first_as_long_as_it_takes() {
    let (tape, eldest) = Tape::new(ID);
    let joined = tape.join().unwrap();
    tape.pass();
    tape.write(&vec![b'a'; 300 * 1_024]);
    let held = timeout(Duration::from_secs(60), tape.room()).await;
    assert!(held.is_err(), "by the eldest");
    assert_eq!(read(&eldest).0.len(), 300 * 1_024);
    let waited = timeout(Duration::from_secs(60), tape.room()).await;
    assert!(waited.is_ok());
    assert!(matches!(poll(&joined), Poll::Ready(StreamPiece::Cut)));
}

#[test]
fn l12_who_joined_and_reads_too_slowly_holds_neither_memory_nor_the_others() {
    let (tape, eldest) = Tape::new(ID);
    let slow = tape.join().unwrap();
    let piece = vec![b'a'; 4 << 20];
    // As much as was granted, of which the slow one has read nothing.
    tape.write(&piece);
    assert_eq!(read(&eldest), (piece.clone(), false));
    tape.pass();
    assert!(!has_room(&tape), "it has a moment to catch up");
    tape.cut_off();
    assert!(has_room(&tape), "and holds nobody up");
    assert!(tape.holds() <= 256 * 1_024, "{}", tape.holds());
    assert!(matches!(poll(&slow), Poll::Ready(StreamPiece::Cut)));
    tape.write(b"more");
    tape.end(End::Whole);
    assert_eq!(read(&eldest), (b"more".to_vec(), true));
    assert!(matches!(poll(&slow), Poll::Ready(StreamPiece::Cut)));
}

#[tokio::test]
async fn l12_a_record_is_abandoned_with_its_last_reader_and_never_after_its_end() {
    let (tape, one) = Tape::new(ID);
    let other = tape.join().unwrap();
    drop(one);
    assert!(tape.abandoned().now_or_never().is_none());
    drop(other);
    assert!(tape.abandoned().now_or_never().is_some());
    assert_eq!(tape.join().err(), Some(NoReader::Abandoned));
    // Kept in the meantime, and ended: what was executed is not executed again.
    tape.end(End::Whole);
    assert!(tape.join().is_ok());

    let (tape, reader) = Tape::new(ID);
    let told = Told::default();
    tape.begin(Head::Stream { told });
    tape.end(End::Whole);
    drop(reader);
    assert!(tape.abandoned().now_or_never().is_none());
    assert!(tape.join().is_ok());
}

#[tokio::test]
async fn l12_what_is_made_anyway_is_not_abandoned_and_does_not_wait_for_nobody() {
    let (tape, reader) = Tape::new(ID);
    assert!(tape.make_anyway());
    drop(reader);
    assert!(tape.abandoned().now_or_never().is_none());
    tape.write(b"all of it");
    assert_eq!(read(&tape.join().unwrap()).0, b"all of it");
    tape.pass();
    tape.write(&vec![b'a'; 300 * 1_024]);
    assert!(has_room(&tape), "held up by nobody");
    assert_eq!(tape.holds(), 0);

    let (tape, reader) = Tape::new(ID);
    drop(reader);
    assert!(!tape.make_anyway(), "all have left before");
}

#[tokio::test(start_paused = true)]
async fn l12_what_is_made_anyway_waits_for_who_came_first_a_moment_only() {
    let (tape, eldest) = Tape::new(ID);
    assert!(tape.make_anyway());
    tape.pass();
    tape.write(&vec![b'a'; 300 * 1_024]);
    assert!(!has_room(&tape));
    let waited = timeout(Duration::from_secs(60), tape.room()).await;
    assert!(waited.is_ok());
    assert!(matches!(poll(&eldest), Poll::Ready(StreamPiece::Cut)));
}

#[tokio::test]
async fn l12_who_waits_for_head_or_text_is_woken() {
    let (tape, reader) = Tape::new(ID);
    let waiting = tokio::spawn(async move {
        let head = reader.head().await;
        let mut text = Vec::new();
        while let StreamPiece::Data(piece) = poll_fn(|cx| reader.poll_piece(cx)).await {
            text.extend_from_slice(&piece);
        }
        (matches!(head, Head::Stream { .. }), text)
    });
    tokio::task::yield_now().await;
    let told = Told::default();
    tape.begin(Head::Stream { told });
    tokio::task::yield_now().await;
    tape.write(b"a");
    tokio::task::yield_now().await;
    tape.end(End::Whole);
    assert_eq!(waiting.await.unwrap(), (true, b"a".to_vec()));
}

#[test]
fn l12_room_is_asked_for_in_steps_and_never_beyond_the_limit_of_one_answer() {
    let terms = Terms {
        answer_bytes: STEP * 2,
        ..Terms::default()
    };
    let mut room = Room::default();
    let mut asked = Vec::new();
    for _ in 0..STEP * 2 {
        let grown = room.grows(
            1,
            |more| {
                asked.push(more);
                true
            },
            &terms,
        );
        assert!(grown);
    }
    assert_eq!(asked, [STEP + 1, STEP - 1]);
    // What is beyond it is the table's to refuse.
    assert!(!room.grows(1, |_| false, &terms) && !room.is_kept);
    assert!(!room.grows(1, |_| true, &terms), "it is lost already");
}

// --- executions ---

const TERMS: Terms = Terms {
    keep: Duration::from_secs(60),
    most_bytes: 1 << 20,
    answer_bytes: 1 << 16,
};

fn enter(once: &Once) -> Turn {
    let name = Name::new(Arc::from("t"), ClientName::from("c"), "k");
    once.enter(ID, (&Arc::new(name), &[1; 32]), TERMS)
}

fn first(once: &Once) -> (Execution, Reader) {
    let Turn::First(execution, reader) = enter(once) else {
        panic!("it is not the first");
    };
    (execution, reader)
}

fn again(once: &Once) -> Reader {
    let Turn::Again(reader) = enter(once) else {
        panic!("it is not known");
    };
    reader
}

fn whole(text: &'static str) -> Head {
    Head::Whole {
        body: Bytes::from_static(text.as_bytes()),
        told: Told::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn l12_a_kept_answer_is_forgotten_in_its_time_though_nobody_comes_any_more() {
    let once = Once::new(Clock::start(), calm());
    let (execution, reader) = first(&once);
    execution.tell(whole("yes"));
    drop(reader);
    let replayed = again(&once).head().await;
    assert!(matches!(replayed, Head::Whole { body, .. } if body == "yes"));
    sleep(TERMS.keep - Duration::from_secs(1)).await;
    assert_eq!(once.inner.with(|table| table.len()), 1);
    sleep(Duration::from_secs(3)).await;
    assert!(once.inner.with(|table| table.is_empty()));
    // Whoever tidied has gone with the last one, and comes again with the next.
    let (execution, reader) = first(&once);
    execution.tell(whole("again"));
    drop(reader);
    sleep(TERMS.keep + Duration::from_secs(2)).await;
    assert!(once.inner.with(|table| table.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn o08_when_memory_runs_short_kept_answers_go_first_and_nothing_is_executed_twice() {
    let pressure = calm();
    pressure.configure(100);
    let once = Once::new(Clock::start(), Arc::clone(&pressure));
    let (execution, reader) = first(&once);
    execution.tell(whole("yes"));
    drop(reader);
    drop(again(&once));
    pressure.weigh(86);
    sleep(LOOK_AFTER * 2).await;
    assert!(matches!(enter(&once), Turn::NotKept));
    sleep(TERMS.keep).await;
    // While it is so, nothing more is kept.
    let (execution, _reader) = first(&once);
    execution.tell(whole("again"));
    assert!(matches!(enter(&once), Turn::NotKept));
}

#[tokio::test]
async fn l12_x02_an_execution_that_crashes_is_an_error_for_all_who_wait_and_frees_the_key() {
    let once = Once::new(Clock::start(), calm());
    let (execution, reader) = first(&once);
    let other = again(&once);
    let crashed = tokio::spawn(async move {
        let _execution = execution;
        panic!("as a fault in the code would");
    });
    assert!(crashed.await.is_err());
    for reader in [reader, other] {
        let told = reader.head().await;
        let Head::Failed { failure, .. } = told else {
            panic!("{told:?}");
        };
        assert_eq!(failure.kind, FailureKind::Internal);
    }
    first(&once);
}

#[tokio::test]
async fn l12_a_stream_whose_execution_crashes_is_cut_and_not_ended() {
    let once = Once::new(Clock::start(), calm());
    let (execution, reader) = first(&once);
    let told = Told::default();
    let mut pieces = 0;
    let stream = execution.tell_stream(Head::Stream { told }, move |_| {
        pieces += 1;
        assert!(pieces < 3, "as a fault in the code would");
        Poll::Ready(StreamPiece::Data(Bytes::from_static(b"a")))
    });
    assert!(tokio::spawn(stream).await.is_err());
    let mut text = Vec::new();
    let end = loop {
        match poll_fn(|cx| reader.poll_piece(cx)).await {
            StreamPiece::Data(piece) => text.extend_from_slice(&piece),
            end @ (StreamPiece::End | StreamPiece::Broken | StreamPiece::Cut) => break end,
        }
    };
    assert!(matches!(end, StreamPiece::Cut));
    assert_eq!(text, b"aa");
}

#[tokio::test]
async fn l12_what_goes_on_without_its_clients_is_found_by_who_comes_back() {
    let once = Once::new(Clock::start(), calm());
    let (execution, reader) = first(&once);
    assert!(execution.make_anyway());
    drop(reader);
    assert_eq!(execution.wanted(std::future::ready(7)).await, Some(7));
    let joined = again(&once);
    drop(joined);
    let told = Told::default();
    let mut pieces = vec![
        StreamPiece::End,
        StreamPiece::Data(Bytes::from_static(b"all")),
    ];
    let poll_next = move |_: &mut Context<'_>| {
        let piece = pieces.pop();
        Poll::Ready(piece.unwrap_or(StreamPiece::Cut))
    };
    execution
        .tell_stream(Head::Stream { told }, poll_next)
        .await;
    assert_eq!(read(&again(&once)), (b"all".to_vec(), true));
}

#[tokio::test]
async fn l12_who_comes_as_the_last_one_leaves_is_the_first_again() {
    let once = Once::new(Clock::start(), calm());
    let (execution, reader) = first(&once);
    drop(reader);
    // The execution has not noticed yet.
    let (second, _reader) = first(&once);
    assert!(
        execution
            .wanted(std::future::pending::<()>())
            .await
            .is_none()
    );
    drop(execution);
    assert!(matches!(enter(&once), Turn::Again(_)));
    drop(second);
}

#[test]
fn g1_nothing_is_told_behind_the_end() {
    let (tape, reader) = Tape::new(ID);
    tape.write(b"all of it");
    tape.end(End::Whole);
    tape.write(b"event: error\n\n");
    assert_eq!(read(&reader).0, b"all of it");
}
