#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken step is a failed test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;

use super::schema::latest;
use super::*;
use crate::config::{Secret, StoreSettings};
use crate::domain::ClientName;
use crate::store::{Conversation, ResponseKey, ResponseStore, Standing, StoreDesk, StoredResponse};

struct Place {
    folder: tempfile::TempDir,
    settings: StoreSettings,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        path: folder.path().join("store.db"),
        ..StoreSettings::default()
    };
    Place { folder, settings }
}

impl Place {
    fn open(&self) -> Embedded {
        open(&self.settings, true).unwrap().0
    }

    fn refused(&self) -> StoreError {
        open(&self.settings, true).unwrap_err()
    }

    fn file(&self) -> &Path {
        &self.settings.path
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("store.db{end}"))
    }

    /// A store that was closed in order, with one response in it.
    async fn with_one(&self) {
        let store = self.open();
        store.begin(response("app", "resp_1")).await.unwrap();
        store.close().await.unwrap();
    }
}

fn key(owner: &str, id: &str) -> ResponseKey {
    ResponseKey {
        owner: ClientName::from(owner),
        id: id.to_owned(),
    }
}

fn response(owner: &str, id: &str) -> StoredResponse {
    StoredResponse {
        key: key(owner, id),
        previous: None,
        created: unix_now(),
        standing: Standing::Ended,
        answer: Bytes::from_static(b"{\"output\":\"the canary sang\"}"),
        input: Bytes::from_static(b"[\"a canary, please\"]"),
        events: Bytes::new(),
        items: vec![format!("msg_{id}")],
    }
}

fn outcome(at_ms: u64, cost_nano: u64) -> crate::store::journal::ReadOutcome {
    let line = serde_json::json!({
        "at": at_ms, "request": "sy-00000000000000000000000000000001", "client": "app", "tenant": "acme",
        "tags": ["nightly"], "how": "ok", "provider": "a", "model": "m", "cost_nano": cost_nano,
        "usage": {"input": 5, "output": 6},
    });
    serde_json::from_str(&line.to_string()).unwrap()
}

#[tokio::test]
async fn m1_a_stretch_that_is_priced_anew_takes_the_place_of_the_old_one_and_of_nothing_else() {
    use crate::store::spending::{Batch, Position, SpendBy, SpendQuestion, SpendStore as _};
    let place = place();
    let (store, settings) = (place.open(), place.settings.clone());
    let mut batch = Batch::default();
    for at in [1_000, 901_000, 1_801_000] {
        batch.add(&(&outcome(at, 100)).into(), Some(100));
    }
    batch.to = Position {
        seq: 9,
        at_ms: 2_000_000,
    };
    assert!(
        store
            .book(Position::default(), batch.clone())
            .await
            .unwrap()
    );
    // The same again is not booked twice.
    assert!(!store.book(Position::default(), batch).await.unwrap());
    let mut anew = Batch::default();
    anew.add(&(&outcome(901_000, 100)).into(), Some(70));
    super::reprice(&settings, (900, 1_800), &anew).unwrap();
    for (by, expected) in [(SpendBy::Tenant, 270), (SpendBy::Tag, 270)] {
        let question = SpendQuestion {
            by,
            from: 0,
            to: u64::MAX,
            tenant: None,
        };
        let lines = store.report(question.clone()).await.unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].sum.cost_nano, lines[0].sum.requests),
            (expected, 3)
        );
        assert_eq!(super::spend_report(&settings, &question).unwrap(), lines);
    }
    assert_eq!(super::booked_to(&settings).unwrap().seq, 9);
    let spent = store.spent("acme", 900).await.unwrap();
    let by_client: u64 = spent
        .iter()
        .filter(|one| one.tag.is_empty())
        .map(|one| one.cost.0)
        .sum();
    // What was charged is not what it costs today.
    assert_eq!(by_client, 200);
}

#[tokio::test]
async fn m1_a_journal_that_is_booked_anew_undoes_nothing_that_was_put_right_and_counts_it_once() {
    use crate::store::spending::{Batch, Position, SpendBy, SpendQuestion, SpendStore as _};
    let place = place();
    let (store, settings) = (place.open(), place.settings.clone());
    let batch = |seq: u64, ats: &[u64]| {
        let mut batch = Batch::default();
        batch.to = Position { seq, at_ms: seq };
        ats.iter()
            .for_each(|at| batch.add(&(&outcome(*at, 100)).into(), Some(100)));
        batch
    };
    let costs = async || {
        let mut costs = Vec::new();
        for by in [SpendBy::Hour, SpendBy::Model, SpendBy::Tag] {
            let question = SpendQuestion {
                by,
                from: 0,
                to: u64::MAX,
                tenant: None,
            };
            let lines = store.report(question).await.unwrap();
            costs.push(lines.iter().map(|line| line.sum.cost_nano).sum::<u64>());
        }
        let charged = store.spent("acme", 0).await.unwrap();
        let charged = charged.iter().filter(|one| one.tag.is_empty());
        costs.push(charged.map(|one| one.cost.0).sum());
        costs
    };
    let book = async |from: u64, batch| {
        let from = Position {
            seq: from,
            at_ms: from,
        };
        assert!(store.book(from, batch).await.unwrap());
    };
    let all = [1_000, 901_000, 902_000, 1_801_000];
    book(0, batch(9, &all)).await;
    let mut right = Batch::default();
    right.add(&(&outcome(901_000, 100)).into(), Some(70));
    right.add(&(&outcome(902_000, 100)).into(), Some(40));
    super::reprice(&settings, (900, 1_800), &right).unwrap();
    assert_eq!(costs().await, [310, 310, 310, 400]);
    // In two goes, a part of what was put right in each.
    let mut anew = batch(3, &all[..2]);
    (anew.anew_from, anew.more) = (Some(0), true);
    book(9, anew).await;
    assert_eq!(costs().await, [210, 210, 210, 300]);
    book(3, batch(9, &all[2..])).await;
    assert_eq!(costs().await, [310, 310, 310, 400]);
    // What ends late belongs there all the same.
    book(9, batch(10, &[903_000])).await;
    assert_eq!(costs().await, [410, 410, 410, 500]);
}

/// A journal of one segment with outcomes of 100 nano-dollars and records of other kinds between them.
fn journal(folder: &Path, records: std::ops::RangeInclusive<u64>) {
    let text: String = records
        .map(|seq| match seq % 2 {
            0 => format!(
                "{{\"seq\":{seq},\"at\":{},\"kind\":\"outcome\",\"request\":\"sy-0{seq}\",\"client\":\"web\",\"how\":\"ok\",\"cost_nano\":100}}\n",
                1_000_000 + seq
            ),
            _ => format!("{{\"seq\":{seq},\"at\":{},\"kind\":\"other\"}}\n", 1_000_000 + seq),
        })
        .collect();
    let path = folder.join("journal-00000000000000000001.jsonl");
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn the_journal_is_booked_once_however_often_and_from_wherever_it_is_read() {
    use crate::store::StoreDesk;
    use crate::store::spending::{Behind, behind, catch_up, spent_since};
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let desk = StoreDesk::new(place.settings.clone());
    let cost = async || -> u64 {
        let spent = spent_since(&desk, "default", crate::domain::Wall(0)).await;
        spent.unwrap().iter().map(|one| one.cost.0).sum()
    };
    let mut mark = None;
    journal(folder.path(), 1..=7);
    catch_up(folder.path(), &desk, &mut mark).await.unwrap();
    assert_eq!(cost().await, 300);
    let first = mark.clone().unwrap();
    assert_eq!(first.record(), (6, 1_000_006));
    // Nothing new: nothing is booked, and the place is kept.
    catch_up(folder.path(), &desk, &mut mark).await.unwrap();
    assert_eq!((cost().await, &mark), (300, &Some(first.clone())));
    journal(folder.path(), 1..=10);
    catch_up(folder.path(), &desk, &mut mark).await.unwrap();
    assert_eq!(cost().await, 500);
    // A mark that is behind the books, or none, changes nothing.
    for mut old in [Some(first), None] {
        catch_up(folder.path(), &desk, &mut old).await.unwrap();
        assert_eq!(cost().await, 500);
    }
    journal(folder.path(), 1..=12);
    let late = || behind(folder.path(), super::booked_to(&place.settings).unwrap()).unwrap();
    assert_eq!(late().records, 1);
    catch_up(folder.path(), &desk, &mut None).await.unwrap();
    assert_eq!(cost().await, 600);
    assert_eq!(late(), Behind::default());
}

/// What the writer added up is booked only where the books end at its beginning; else the journal is read.
#[tokio::test]
async fn m1_what_the_writer_added_up_is_booked_once_and_never_in_the_wrong_place() {
    use crate::store::StoreDesk;
    use crate::store::journal::{Stretch, WriterId, WrittenTo};
    use crate::store::spending::{Batch, Position, Progress, catch_up, spent_since};
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let desk = StoreDesk::new(place.settings.clone());
    let cost = async || -> u64 {
        let spent = spent_since(&desk, "default", crate::domain::Wall(0)).await;
        spent.unwrap().iter().map(|one| one.cost.0).sum()
    };
    // In the journal every other record costs 100; what the writer tells is another tenant's.
    let stretch = |by, from: u64, to: u64, told: bool| {
        let mut batch = Batch::default();
        if to > from {
            batch.add(&(&outcome(1_000_000, 7)).into(), Some(7));
            let at_ms = 1_000_000 + to;
            batch.to = Position { seq: to, at_ms };
        }
        Stretch {
            from: WrittenTo { by, upto: from },
            to: WrittenTo { by, upto: to },
            whole_until_ms: 0,
            batch: told.then(|| Box::new(batch)),
        }
    };
    let (first, second) = (WriterId::next(), WriterId::next());
    let mut progress = Progress::default();
    let mut take = async |stretch| progress.book(stretch, folder.path(), &desk).await.unwrap();
    journal(folder.path(), 1..=30);
    // Nobody knows where the books ended before: the journal is read, to its end and no further.
    take(stretch(first, 0, 4, true)).await;
    assert_eq!(cost().await, 200);
    take(stretch(first, 4, 8, true)).await;
    assert_eq!(cost().await, 200);
    assert_eq!(super::booked_to(&place.settings).unwrap().seq, 8);
    // Nothing was written that costs.
    take(stretch(first, 8, 8, true)).await;
    take(stretch(first, 8, 10, true)).await;
    assert_eq!(super::booked_to(&place.settings).unwrap().seq, 10);
    assert_eq!(cost().await, 200);
    // A gap, another writer, and what the writer could not tell are read.
    for (stretch, read) in [
        (stretch(first, 12, 14, true), 400),
        (stretch(second, 14, 16, true), 500),
        (stretch(second, 16, 18, false), 600),
    ] {
        take(stretch).await;
        assert_eq!(cost().await, read);
    }
    // Somebody else has booked what comes next, and more: nothing of it is booked again, and the place stays.
    catch_up(folder.path(), &desk, &mut None).await.unwrap();
    for from in [18, 20, 22] {
        take(stretch(second, from, from + 2, true)).await;
        assert_eq!(cost().await, 1_200);
        assert_eq!(super::booked_to(&place.settings).unwrap().seq, 30);
    }
}

#[tokio::test]
async fn many_records_of_no_cost_do_not_keep_what_follows_from_being_booked() {
    use crate::store::StoreDesk;
    use crate::store::spending::catch_up;
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let desk = StoreDesk::new(place.settings.clone());
    let events: String = (1..=50_000)
        .map(|seq| {
            format!("{{\"seq\":{seq},\"at\":9,\"kind\":\"event\",\"name\":\"key.returned\"}}\n")
        })
        .collect();
    let cost = "{\"seq\":50001,\"at\":9,\"kind\":\"outcome\",\"request\":\"sy-01\",\"how\":\"ok\",\"cost_nano\":100}\n";
    let path = folder.path().join("journal-00000000000000000001.jsonl");
    std::fs::write(path, events + cost).unwrap();
    catch_up(folder.path(), &desk, &mut None).await.unwrap();
    assert_eq!(super::booked_to(&place.settings).unwrap().seq, 50_001);
}

#[tokio::test]
async fn m1_a_journal_that_ends_with_a_go_is_booked_anew_to_its_end_and_what_follows_is_not() {
    use crate::store::spending::{Bounds, catch_up_within};
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let desk = StoreDesk::new(place.settings.clone());
    let book = async |at_once: usize| {
        let bounds = Bounds {
            last: u64::MAX,
            at_once,
        };
        let booked = catch_up_within(bounds, folder.path(), &desk, &mut None).await;
        booked.unwrap();
    };
    let is_anew = || {
        let file = Connection::open(place.file()).unwrap();
        let asked = "SELECT count(*) FROM spend_anew";
        file.query_row(asked, [], |row| row.get::<_, u64>(0))
            .unwrap()
            > 0
    };
    journal(folder.path(), 1..=8);
    book(100).await;
    // It lost its end. Every other record is one that costs: the rest of them end within a go, or with the first, the
    // second or the third.
    for (last, at_once) in [(6, 2), (6, 3), (4, 1), (6, 1)] {
        journal(folder.path(), 1..=last);
        book(at_once).await;
        assert_eq!(super::booked_to(&place.settings).unwrap().seq, last);
        assert!(!is_anew(), "{last} records, {at_once} in one go");
        journal(folder.path(), 1..=8);
        book(100).await;
    }
    // With the last go still to come it is not whole.
    journal(folder.path(), 1..=4);
    let from = super::booked_to(&place.settings).unwrap();
    let mut half = crate::store::spending::Batch::default();
    (half.anew_from, half.more) = (Some(0), true);
    let books = desk.spending().await.unwrap();
    assert!(books.book(from, half).await.unwrap());
    assert!(is_anew());
}

#[tokio::test]
async fn m1_what_began_before_a_journal_that_is_booked_anew_counts_once_in_whichever_go_it_stands()
{
    use crate::store::spending::{Bounds, catch_up_within};
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let desk = StoreDesk::new(place.settings.clone());
    let line = |seq: u64| {
        // The first ends in the first quarter of an hour, and the fifth began there.
        let (at, took) = match seq {
            1 => (890_000, 0),
            5 => (960_000, 100_000),
            _ => (950_000, 0),
        };
        format!(
            "{{\"seq\":{seq},\"at\":{at},\"kind\":\"outcome\",\"request\":\"sy-0{seq}\",\"how\":\"ok\",\"took_ms\":{took},\"cost_nano\":100}}\n"
        )
    };
    let booked = async |records: std::ops::RangeInclusive<u64>, at_once: usize| {
        let name = |first: u64| folder.path().join(format!("journal-{first:020}.jsonl"));
        let _ = std::fs::remove_file(name(1));
        let text: String = records.clone().map(line).collect();
        std::fs::write(name(*records.start()), text).unwrap();
        let bounds = Bounds {
            last: u64::MAX,
            at_once,
        };
        catch_up_within(bounds, folder.path(), &desk, &mut None)
            .await
            .unwrap();
        let file = Connection::open(place.file()).unwrap();
        let sum = |column: &str, table: &str| {
            let asked = format!("SELECT sum({column}) FROM {table}");
            file.query_row(&asked, [], |row| row.get::<_, u64>(0))
                .unwrap()
        };
        (sum("cost_nano", "spend"), sum("cost_nano", "spend_days"))
    };
    assert_eq!(booked(1..=6, 100).await, (600, 600));
    // Its first segment was let go, and its end was lost.
    assert_eq!(booked(2..=5, 2).await, (500, 500));
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_nobody_elses() {
    let place = place();
    place.with_one().await;
    let store = place.open();
    let found = store.get(&key("app", "resp_1")).await.unwrap().unwrap();
    assert_eq!(
        StoredResponse {
            items: vec!["msg_resp_1".to_owned()],
            ..found
        },
        StoredResponse {
            created: found_created(&store).await,
            ..response("app", "resp_1")
        }
    );
    assert_eq!(store.get(&key("other", "resp_1")).await.unwrap(), None);
    assert!(!store.delete(&key("other", "resp_1")).await.unwrap());
    assert!(store.delete(&key("app", "resp_1")).await.unwrap());
    assert!(!store.delete(&key("app", "resp_1")).await.unwrap());
    assert_eq!(store.get(&key("app", "resp_1")).await.unwrap(), None);
}

async fn found_created(store: &Embedded) -> u64 {
    let found = store.get(&key("app", "resp_1")).await.unwrap().unwrap();
    found.created
}

#[tokio::test]
async fn nothing_a_client_said_stands_in_the_files_in_the_clear_and_nobody_else_may_read_them() {
    let place = place();
    let store = place.open();
    store.begin(response("app", "resp_1")).await.unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(place.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        assert!(
            !bytes.windows(6).any(|part| part == b"canary"),
            "{}",
            path.display()
        );
        // The id is in the clear, so the record is in one of them.
        seen += usize::from(bytes.windows(6).any(|part| part == b"resp_1"));
    }
    assert!(seen > 0);
}

#[tokio::test]
async fn a_lost_changed_or_loose_key_is_told_and_never_replaced() {
    let place = place();
    place.with_one().await;
    let file = place.beside(".key");
    let whole = fs::read_to_string(&file).unwrap();
    let tell = |wanted: &str| {
        let told = place.refused().to_string();
        assert!(told.contains(wanted), "{told}");
    };
    fs::write(&file, "0".repeat(64)).unwrap();
    tell("is another one than it was made with");
    fs::write(&file, &whole[..10]).unwrap();
    tell("is not whole");
    fs::write(&file, &whole).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    tell("readable by others (mode 0644)");
    fs::remove_file(&file).unwrap();
    tell("is missing");
    assert!(!file.exists());
}

#[tokio::test]
async fn an_operators_own_key_needs_no_file() {
    let mut place = place();
    place.settings.key = Some(Secret::new("k".repeat(32)));
    place.with_one().await;
    assert!(!place.beside(".key").exists());
    assert!(
        place
            .open()
            .get(&key("app", "resp_1"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn x08_an_empty_cut_or_damaged_file_is_refused_and_left_as_it_is() {
    let place = place();
    let store = place.open();
    for number in 0..200 {
        let mut one = response("app", &format!("resp_{number}"));
        one.answer = Bytes::from(vec![b'x'; 4_000]);
        store.begin(one).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let whole = fs::read(place.file()).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 4096 / 2 * 4096;
    damaged[middle..middle + 4096].fill(0x5a);
    for (what, bytes) in [
        ("empty", &whole[..0]),
        ("cut in the head", &whole[..60]),
        ("cut in the middle", &whole[..whole.len() / 2]),
        ("damaged", &damaged[..]),
    ] {
        fs::write(place.file(), bytes).unwrap();
        let error = place.refused();
        assert!(
            matches!(error, StoreError::Broken { .. }),
            "{what}: {error}"
        );
        let told = error.to_string();
        assert!(told.contains("store.db") && told.contains("restore a backup"));
        assert!(fs::read(place.file()).unwrap() == bytes, "{what}");
    }
    fs::write(place.file(), &whole).unwrap();
    assert!(
        place
            .open()
            .get(&key("app", "resp_7"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn x08_a_process_killed_while_it_made_the_file_is_no_obstacle() {
    let place = place();
    fs::write(place.beside(".new"), "half").unwrap();
    let (_store, opened) = open(&place.settings, true).unwrap();
    assert!(opened.created);
    assert!(!place.beside(".new").exists());
}

#[tokio::test]
async fn x18_a_file_of_a_newer_release_is_refused_before_it_is_touched() {
    let place = place();
    place.with_one().await;
    let raw = Connection::open(place.file()).unwrap();
    raw.pragma_update(None, "user_version", latest() + 1)
        .unwrap();
    raw.close().unwrap();
    let before = fs::read(place.file()).unwrap();
    assert!(
        matches!(place.refused(), StoreError::Newer { found, known, .. } if found == known + 1)
    );
    assert!(fs::read(place.file()).unwrap() == before);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused() {
    let place = place();
    let raw = Connection::open(place.file()).unwrap();
    raw.execute_batch("CREATE TABLE theirs (a)").unwrap();
    raw.close().unwrap();
    fs::write(place.beside(".key"), "0".repeat(64)).unwrap();
    fs::set_permissions(place.beside(".key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(place.refused(), StoreError::Foreign { .. }));
    fs::write(
        place.file(),
        "not a database, but long enough to have a head".repeat(20),
    )
    .unwrap();
    assert!(matches!(place.refused(), StoreError::Broken { .. }));
}

#[tokio::test]
async fn two_processes_do_not_share_a_store() {
    let place = place();
    let first = place.open();
    assert!(matches!(place.refused(), StoreError::InUse { .. }));
    first.close().await.unwrap();
    place.open();
}

#[tokio::test]
async fn writes_that_wait_together_are_committed_together_and_one_that_fails_fails_alone() {
    let place = place();
    let store = place.open();
    let hold = Arc::new(Barrier::new(2));
    let held = Arc::clone(&hold);
    let first = store.write(0, move |_, _| {
        held.wait();
        Ok(())
    });
    let mut waiting = Vec::new();
    for number in 0..20 {
        // The same id twice: the second of them breaks a rule of the table.
        let id = if number == 7 { 6 } else { number };
        waiting.push(store.begin(response("app", &format!("resp_{id}"))));
    }
    hold.wait();
    first.await.unwrap();
    for (number, one) in waiting.into_iter().enumerate() {
        assert_eq!(one.await.is_ok(), number != 7, "{number}");
    }
    let (jobs, commits) = store.health().written();
    assert_eq!(jobs, 21);
    assert!(commits <= 3, "{commits} commits");
    for number in [6, 8, 19] {
        let found = store.get(&key("app", &format!("resp_{number}"))).await;
        assert!(found.unwrap().is_some(), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_write_holds_up_no_read_and_is_told_when_it_is_late() {
    let mut place = place();
    place.settings.patience = Duration::from_millis(300);
    let store = place.open();
    store.begin(response("app", "resp_1")).await.unwrap();
    let hold = Arc::new(Barrier::new(2));
    let held = Arc::clone(&hold);
    let slow = tokio::spawn(store.write(0, move |_, _| {
        held.wait();
        Ok(())
    }));
    assert!(store.get(&key("app", "resp_1")).await.unwrap().is_some());
    assert_eq!(slow.await.unwrap(), Err(StoreError::Late));
    hold.wait();
}

/// A write that its thread is at until the barrier opens: what comes behind it waits in the queue.
fn held(store: &Embedded) -> (Arc<Barrier>, Pending<()>) {
    let (began, hold) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (begins, held) = (Arc::clone(&began), Arc::clone(&hold));
    let first = store.write(0, move |_, _| {
        begins.wait();
        held.wait();
        Ok(())
    });
    began.wait();
    (hold, first)
}

#[tokio::test]
async fn g14_what_does_not_fit_the_queue_is_refused_at_once() {
    let place = place();
    let store = place.open();
    let (hold, first) = held(&store);
    let large = store.write(60 << 20, |_, _| Ok(()));
    let too_large = store.write(5 << 20, |_, _| Ok(()));
    assert_eq!(too_large.await, Err(StoreError::Busy));
    let ran = Arc::new(AtomicU64::new(0));
    let mut taken = Vec::new();
    let mut refused = 0;
    for _ in 0..1_200 {
        let ran = Arc::clone(&ran);
        let one = store.write(0, move |_, _| {
            ran.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        taken.push(one);
    }
    hold.wait();
    first.await.unwrap();
    large.await.unwrap();
    for one in taken {
        refused += u64::from(one.await == Err(StoreError::Busy));
    }
    assert!((170..=180).contains(&refused), "{refused}");
    assert_eq!(ran.load(Ordering::Relaxed), 1_200 - refused);
    store.write(5 << 20, |_, _| Ok(())).await.unwrap();
}

#[tokio::test]
async fn g14_how_far_one_has_come_takes_no_room_in_the_queue_from_how_it_ends() {
    let place = place();
    let store = place.open();
    let large = StoredResponse {
        standing: Standing::UnderWay,
        input: Bytes::from(vec![b'x'; 16 << 20]),
        events: Bytes::from_static(b"event: x"),
        ..response("app", "r1")
    };
    store.begin(large.clone()).await.unwrap();
    let (hold, first) = held(&store);
    // Room for one like it, and not for two.
    let others = store.write(40 << 20, |_, _| Ok(()));
    let goes_on = |answer: &'static [u8]| store.goes_on(&large.key, Bytes::from_static(answer));
    let on = goes_on(b"\"in progress\"");
    let (seen, see) = tokio::sync::oneshot::channel();
    let look = store.write(0, move |connection, _| {
        let row = "SELECT standing, bytes = length(answer) + length(input) + length(events) FROM responses";
        let found = connection.query_row(row, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let _ = seen.send(found.unwrap_or((-1_i64, false)));
        Ok(())
    });
    let end = store.finish(StoredResponse {
        standing: Standing::Ended,
        ..large.clone()
    });
    let late = goes_on(b"\"late\"");
    hold.wait();
    for one in [first, others, look] {
        one.await.unwrap();
    }
    assert_eq!(
        (on.await, end.await, late.await),
        (Ok(true), Ok(true), Ok(false))
    );
    assert_eq!(see.await, Ok((0, true)));
    let found = store.get(&large.key).await.unwrap().unwrap();
    assert_eq!(found.standing, Standing::Ended);
    assert_eq!((found.answer, found.input), (large.answer, large.input));
}

#[tokio::test]
async fn how_far_one_has_come_changes_nothing_else_of_it() {
    let place = place();
    let store = place.open();
    let begun = StoredResponse {
        standing: Standing::UnderWay,
        ..response("app", "r1")
    };
    store.begin(begun.clone()).await.unwrap();
    let answer = Bytes::from_static(b"\"in progress\"");
    assert!(store.goes_on(&begun.key, answer.clone()).await.unwrap());
    // Nobody else's, and none that is not there.
    let foreign = key("other", "r1");
    assert!(!store.goes_on(&foreign, answer.clone()).await.unwrap());
    let found = store.get(&begun.key).await.unwrap().unwrap();
    let expected = StoredResponse {
        answer,
        items: Vec::new(),
        ..begun
    };
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_full_store_refuses_the_write_makes_room_and_goes_on() {
    let mut place = place();
    place.settings.max_bytes = 1 << 20;
    let store = place.open();
    let large = |owner: &str, id: &str| StoredResponse {
        answer: Bytes::from(vec![b'x'; 100_000]),
        ..response(owner, id)
    };
    store.begin(response("small", "resp_s")).await.unwrap();
    let mut full = 0;
    for number in 0..30 {
        match store.begin(large("app", &format!("resp_{number}"))).await {
            Ok(()) => {}
            Err(StoreError::Full) => full += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..15).contains(&full), "{full}");
    let (_, evicted) = store.health().let_go();
    assert!(evicted > 0);
    // Who keeps little is not pushed out by who keeps much.
    assert!(store.get(&key("small", "resp_s")).await.unwrap().is_some());
    assert!(fs::metadata(place.file()).unwrap().len() <= 1 << 20);
}

#[tokio::test]
async fn what_is_over_is_not_found_and_deleted_but_not_what_a_younger_one_goes_on_from() {
    let mut place = place();
    place.settings.retention = Duration::from_secs(100);
    let store = place.open();
    let old = unix_now() - 99;
    let of = |id: &str, previous: Option<&str>, created: u64| StoredResponse {
        previous: previous.map(str::to_owned),
        created,
        ..response("app", id)
    };
    store.begin(of("resp_a", None, old)).await.unwrap();
    store.begin(of("resp_over", None, old - 10)).await.unwrap();
    store
        .begin(of("resp_b", Some("resp_a"), unix_now()))
        .await
        .unwrap();
    assert_eq!(store.get(&key("app", "resp_over")).await.unwrap(), None);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let found = store.conversation(&key("app", "resp_b"), 10_000).await;
    let Conversation::Whole(links) = found.unwrap() else {
        panic!("torn")
    };
    let ids: Vec<&str> = links.iter().map(|link| link.id.as_str()).collect();
    assert_eq!(ids, ["resp_a", "resp_b"]);
    let tidied = store
        .write(0, |connection, _| {
            let limits = tables::Limits { max_bytes: 1 << 30 };
            Ok(tables::tidy(connection, &limits, unix_now()).unwrap())
        })
        .await
        .unwrap();
    assert_eq!((tidied.expired, tidied.evicted), (1, 0));
}

#[tokio::test]
async fn a_conversation_is_whole_or_said_not_to_be() {
    let place = place();
    let store = place.open();
    for (id, previous) in [("r1", None), ("r2", Some("r1")), ("r3", Some("r2"))] {
        let one = StoredResponse {
            previous: previous.map(str::to_owned),
            ..response("app", id)
        };
        store.begin(one).await.unwrap();
    }
    let found = |owner: &str, id: &str, most: usize| store.conversation(&key(owner, id), most);
    assert!(
        matches!(found("app", "r3", 10_000).await.unwrap(), Conversation::Whole(links) if links.len() == 3)
    );
    assert_eq!(
        found("other", "r3", 10_000).await.unwrap(),
        Conversation::Absent
    );
    assert_eq!(
        found("app", "r9", 10_000).await.unwrap(),
        Conversation::Absent
    );
    assert_eq!(
        found("app", "r3", 100).await.unwrap(),
        Conversation::TooLong
    );
    let held = store.holding(
        &ClientName::from("app"),
        vec!["msg_r2".into(), "msg_no".into()],
    );
    assert_eq!(held.await.unwrap()[0].id, "r2");
    let held = store.holding(&ClientName::from("other"), vec!["msg_r2".into()]);
    assert!(held.await.unwrap().is_empty());
    store.delete(&key("app", "r1")).await.unwrap();
    assert_eq!(
        found("app", "r3", 10_000).await.unwrap(),
        Conversation::Torn
    );
}

#[tokio::test]
async fn how_one_ends_is_told_once_and_a_deleted_one_does_not_come_back() {
    let place = place();
    let store = place.open();
    let begun = |id: &str| StoredResponse {
        standing: Standing::UnderWay,
        ..response("app", id)
    };
    store.begin(begun("r1")).await.unwrap();
    store.begin(begun("r2")).await.unwrap();
    let cancelled = StoredResponse {
        answer: Bytes::from_static(b"\"cancelled\""),
        ..response("app", "r1")
    };
    assert!(store.finish(cancelled).await.unwrap());
    assert!(!store.finish(response("app", "r1")).await.unwrap());
    let found = store.get(&key("app", "r1")).await.unwrap().unwrap();
    assert_eq!(found.answer, &b"\"cancelled\""[..]);
    store.delete(&key("app", "r2")).await.unwrap();
    assert!(!store.finish(response("app", "r2")).await.unwrap());
    assert_eq!(store.get(&key("app", "r2")).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_under_way_when_the_process_ended_is_said_to_be_interrupted() {
    let place = place();
    let store = place.open();
    let one = StoredResponse {
        standing: Standing::UnderWay,
        ..response("app", "resp_1")
    };
    store.begin(one).await.unwrap();
    store.close().await.unwrap();
    let (store, opened) = open(&place.settings, true).unwrap();
    assert_eq!(opened.interrupted, 1);
    let found = store.get(&key("app", "resp_1")).await.unwrap().unwrap();
    assert_eq!(found.standing, Standing::Interrupted);
}

#[tokio::test]
async fn a_backup_of_a_store_in_use_is_whole_private_and_never_over_another_file() {
    let place = place();
    let store = place.open();
    for number in 0..50 {
        let one = response("app", &format!("resp_{number}"));
        store.begin(one).await.unwrap();
    }
    let to = place.folder.path().join("backup.db");
    backup(&place.settings, &to).unwrap();
    store.begin(response("app", "later")).await.unwrap();
    let mode = fs::metadata(&to).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(matches!(
        backup(&place.settings, &to),
        Err(StoreError::Open { .. })
    ));
    fs::copy(
        place.beside(".key"),
        place.folder.path().join("backup.db.key"),
    )
    .unwrap();
    let copy = StoreSettings {
        path: to,
        ..place.settings.clone()
    };
    assert_eq!(check(&copy).unwrap().responses, 50);
    assert_eq!(check(&place.settings).unwrap().responses, 51);
    let opened = open(&copy, false).unwrap().0;
    assert!(opened.get(&key("app", "resp_49")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_check_of_a_damaged_store_fails_and_of_none_says_so() {
    let place = place();
    assert!(matches!(
        check(&place.settings),
        Err(StoreError::Missing { .. })
    ));
    assert!(!place.file().exists());
    place.with_one().await;
    check(&place.settings).unwrap();
    let mut bytes = fs::read(place.file()).unwrap();
    let end = bytes.len();
    bytes[end - 4_096..].fill(7);
    fs::write(place.file(), bytes).unwrap();
    assert!(check(&place.settings).is_err());
}

#[tokio::test]
async fn the_desk_makes_no_file_before_one_is_needed_and_serves_on_where_none_can_be_made() {
    let place = place();
    let desk = StoreDesk::new(place.settings.clone());
    desk.take_up().await;
    assert!(!place.file().exists());
    assert_eq!(desk.state(), "not needed yet");
    let store = desk.responses().await.unwrap();
    store.begin(response("app", "resp_1")).await.unwrap();
    assert_eq!(desk.state(), "open");
    desk.close().await;
    let nowhere = StoreSettings {
        path: place.folder.path().join("no/folder/store.db"),
        ..place.settings.clone()
    };
    let desk = StoreDesk::new(nowhere);
    let error = desk.responses().await.err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
    assert_eq!(desk.state(), "cannot_open");
}
