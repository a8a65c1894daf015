//! People in the journal: aliases, sealed texts, erasure; and what the chain says to all that.

use std::sync::Arc;

use super::records::with;
use super::*;
use crate::config::Secret;

const PROMPT: &str = "the patient is called ann canary";

fn secret(letter: &str) -> Secret {
    Secret::new(letter.repeat(40))
}

fn keyed(folder: &Path, now: &str, before: Option<&str>) -> JournalOptions {
    JournalOptions {
        segment_bytes: 1 << 20,
        text_keys: TextKeys {
            now: Some(secret(now)),
            before: before.map(secret),
        },
        ..options(folder)
    }
}

fn of(user: &'static str) -> Who<'static> {
    Who {
        user: Some(user),
        tenant: Some("acme"),
        ..WHO
    }
}

fn intent_of(number: u128, user: &'static str) -> Record<'static> {
    let Record::Intent(plain) = intent(number) else {
        unreachable!()
    };
    Record::Intent(IntentRecord {
        who: of(user),
        ..plain
    })
}

fn users(folder: &Path) -> Vec<String> {
    read(folder, 0)
        .filter_map(|line| match line.unwrap().record {
            ReadRecord::Intent(intent) => intent.user,
            ReadRecord::Attempt(_)
            | ReadRecord::Outcome(_)
            | ReadRecord::Text(_)
            | ReadRecord::Event(_)
            | ReadRecord::Other => None,
        })
        .collect()
}

fn texts(folder: &Path) -> Vec<ReadText> {
    read(folder, 0)
        .filter_map(|line| {
            if let ReadRecord::Text(text) = line.unwrap().record {
                Some(text)
            } else {
                None
            }
        })
        .collect()
}

fn unsealed(folder: &Path, keys: &TextKeys) -> Vec<Result<String, SealedError>> {
    let reader = TextReader::open(folder, keys).unwrap();
    texts(folder)
        .iter()
        .map(|text| {
            reader
                .unseal(text)
                .map(|plain| String::from_utf8(plain).unwrap())
        })
        .collect()
}

/// Everything in the folder, file by file.
fn all_bytes(folder: &Path) -> Vec<u8> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            if path.is_dir() {
                all_bytes(&path)
            } else {
                fs::read(path).unwrap()
            }
        })
        .collect()
}

fn holds(folder: &Path, word: &str) -> bool {
    memchr::memmem::find(&all_bytes(folder), word.as_bytes()).is_some()
}

fn keep(handle: &JournalHandle, number: u128, user: &'static str) -> bool {
    let whole = PROMPT.len() as u64;
    let request = RequestId::from_draw(number);
    handle.keep_text(request, &of(user), "prompt", (PROMPT.as_bytes(), whole))
}

/// Two users, three requests, one text each.
fn populated(folder: &Path) {
    with(keyed(folder, "k", None), async |handle| {
        for (number, user) in [(1, "ann"), (2, "bob"), (3, "ann")] {
            let record = intent_of(number, user);
            handle.append_and_wait(&record).await.unwrap();
            assert!(keep(handle, number, user));
        }
    });
}

fn erase(folder: &Path, erasure: &Erasure) {
    let done = ask_to_erase(folder, erasure).unwrap();
    with(keyed(folder, "k", None), async |_| {
        let gone = async {
            while done.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone)
            .await
            .unwrap();
    });
}

#[test]
fn t4_a_user_stands_in_the_chain_under_one_alias_and_is_read_by_name() {
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    assert_eq!(users(folder.path()), ["ann", "bob", "ann"]);
    let text = fs::read_to_string(&super::super::segment::segments(folder.path()).unwrap()[0]);
    let text = text.unwrap();
    assert!(!text.contains("\"ann\"") && !text.contains("\"bob\""));
    let aliases: Vec<_> = text
        .lines()
        .filter_map(|line| Some(line.split_once("\"user\":\"")?.1.split_once('"')?.0))
        .collect();
    assert_eq!(aliases.len(), 3);
    assert_eq!(aliases[0], aliases[2]);
    assert_ne!(aliases[0], aliases[1]);
}

#[test]
fn t4_a_text_is_read_with_the_master_key_and_with_no_other() {
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    assert!(!holds(folder.path(), "canary"));
    let keys = keyed(folder.path(), "k", None).text_keys;
    let read = unsealed(folder.path(), &keys);
    assert_eq!(read, vec![Ok(PROMPT.to_owned()); 3]);
    let other = keyed(folder.path(), "x", None).text_keys;
    assert_eq!(
        unsealed(folder.path(), &other),
        vec![Err(SealedError::OtherMaster); 3]
    );
    let reader = TextReader::open(folder.path(), &keys).unwrap();
    let good = texts(folder.path()).remove(0);
    let mut elsewhere = good.clone();
    elsewhere.request = RequestId::from_draw(3);
    assert_eq!(reader.unseal(&elsewhere), Err(SealedError::Changed));
    let mut changed = good;
    changed.sealed[20] ^= 1;
    assert_eq!(reader.unseal(&changed), Err(SealedError::Changed));
}

#[test]
fn t4_without_a_master_key_no_text_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    with(options(folder.path()), async |handle| {
        assert!(!keep(handle, 1, "ann"));
    });
    assert!(texts(folder.path()).is_empty());
}

#[test]
fn t4_a_new_master_key_opens_old_texts_and_the_old_one_opens_none() {
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    with(keyed(folder.path(), "n", Some("k")), async |handle| {
        assert!(keep(handle, 4, "ann"), "her data key is the same as before");
    });
    let keys = |now| keyed(folder.path(), now, None).text_keys;
    assert_eq!(
        unsealed(folder.path(), &keys("n")),
        vec![Ok(PROMPT.to_owned()); 4]
    );
    assert_eq!(
        unsealed(folder.path(), &keys("k")),
        vec![Err(SealedError::OtherMaster); 4]
    );
    assert!(verify(folder.path()).unwrap().intact());
}

#[test]
fn t4_an_erased_user_is_nowhere_and_the_chain_still_verifies() {
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    let kept = anchor(folder.path()).unwrap().unwrap();
    assert!(holds(folder.path(), "\"ann\""));
    let erasure = Erasure {
        user: Some("ann".to_owned()),
        ..Erasure::default()
    };
    erase(folder.path(), &erasure);
    assert!(!holds(folder.path(), "ann"), "nor in the request to erase");
    let report = verify_against(folder.path(), &[kept]).unwrap();
    assert!(report.intact(), "{report}");
    let users = users(folder.path());
    assert_eq!((&*users[1], users[0] == users[2]), ("bob", true));
    assert!(users[0].starts_with("u-"));
    let keys = keyed(folder.path(), "k", None).text_keys;
    assert_eq!(
        unsealed(folder.path(), &keys),
        [
            Err(SealedError::Erased),
            Ok(PROMPT.to_owned()),
            Err(SealedError::Erased)
        ]
    );
    let told = fs::read_to_string(last_segment(folder.path())).unwrap();
    assert!(told.contains("audit.erased") && told.contains(&users[0]));
    with(keyed(folder.path(), "k", None), async |handle| {
        let record = intent_of(9, "ann");
        handle.append_and_wait(&record).await.unwrap();
    });
    let last = fs::read_to_string(last_segment(folder.path())).unwrap();
    assert!(
        !last.contains(&format!("\"user\":\"{}\"", users[0])),
        "she comes back as somebody else"
    );
}

#[test]
fn t4_a_tenant_is_erased_with_all_its_users_and_nobody_by_an_empty_wish() {
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    erase(folder.path(), &Erasure::default());
    assert_eq!(users(folder.path()), ["ann", "bob", "ann"]);
    let of_another = Erasure {
        tenant: Some("acme".to_owned()),
        client: Some("another".to_owned()),
        user: None,
    };
    erase(folder.path(), &of_another);
    assert_eq!(users(folder.path()), ["ann", "bob", "ann"]);
    let erasure = Erasure {
        tenant: Some("acme".to_owned()),
        ..Erasure::default()
    };
    erase(folder.path(), &erasure);
    assert!(
        users(folder.path())
            .iter()
            .all(|user| user.starts_with("u-"))
    );
}

#[test]
fn g14_users_beyond_the_limit_are_not_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let few = JournalOptions {
        most_owners: 1,
        ..options(folder.path())
    };
    with(few, async |handle| {
        for (number, user) in [(1, "ann"), (2, "bob"), (3, "ann")] {
            let record = intent_of(number, user);
            handle.append_and_wait(&record).await.unwrap();
        }
    });
    assert_eq!(users(folder.path()), ["ann", "u-other", "ann"]);
}

#[test]
fn x07_the_interrupted_keep_their_alias() {
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    with(keyed(folder.path(), "k", None), async |_| {});
    let outcomes: Vec<_> = read(folder.path(), 0)
        .filter_map(|line| {
            if let ReadRecord::Outcome(outcome) = line.unwrap().record {
                outcome.user
            } else {
                None
            }
        })
        .collect();
    assert_eq!(outcomes, ["ann", "bob", "ann"]);
}

#[test]
fn t4_a_prompts_hash_is_the_same_after_a_restart_and_another_elsewhere() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hash = |folder: &Path| {
        let mut hash = [0; 16];
        with(options(folder), async |handle| {
            hash = handle.prompt_hash("acme", b"yes")
        });
        hash
    };
    let first = hash(here.path());
    assert_eq!(hash(here.path()), first);
    assert_ne!(hash(there.path()), first);
}

#[test]
fn g10_one_tenants_prompt_is_not_known_by_the_hash_of_anothers() {
    let folder = tempfile::tempdir().unwrap();
    with(options(folder.path()), async |handle| {
        let of = |tenant: &str, prompt: &str| handle.prompt_hash(tenant, prompt.as_bytes());
        assert_eq!(of("acme", "yes"), of("acme", "yes"));
        assert_ne!(of("acme", "yes"), of("other", "yes"));
        // No two ways to divide tenant and prompt are one.
        assert_ne!(of("acme", "yes"), of("acmey", "es"));
    });
}

#[test]
fn t4_a_segment_that_is_not_booked_stays_and_goes_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..60);
    let segments = || {
        super::super::segment::segments(folder.path())
            .unwrap()
            .len()
    };
    let keep = Keep {
        bytes: Some(16 * 1024),
        until_booked: true,
        ..Keep::default()
    };
    let look = |booked: Option<u64>| {
        with(keeping(folder.path(), keep), async |handle| {
            if let Some(seq) = booked {
                handle.health().booked_to(seq);
            }
            handle.tend_segments();
        });
    };
    let before = segments();
    look(None);
    look(Some(1));
    assert_eq!(segments(), before + 2, "each start begins one");
    look(Some(u64::MAX));
    // Its thread looks by itself as well: before it was told, or after.
    let gone = (before + 3).saturating_sub(segments());
    assert!(
        (1..=2).contains(&gone),
        "one begun, and the oldest gone: {gone}"
    );
    assert!(verify(folder.path()).unwrap().intact());
}

#[cfg(unix)]
#[test]
fn g9_keys_and_names_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    let mode = |path: &str| {
        let meta = fs::metadata(folder.path().join(path)).unwrap();
        meta.permissions().mode() & 0o777
    };
    assert_eq!(
        (
            mode("keys"),
            mode("keys/installation"),
            mode("keys/owners.jsonl")
        ),
        (0o700, 0o600, 0o600)
    );
}

#[test]
fn x08_a_half_written_owner_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    populated(folder.path());
    let path = folder.path().join("keys/owners.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"id\":\"77\",\"cli");
    fs::write(&path, text).unwrap();
    with(keyed(folder.path(), "k", None), async |handle| {
        let record = intent_of(9, "eve");
        handle.append_and_wait(&record).await.unwrap();
    });
    assert_eq!(users(folder.path()), ["ann", "bob", "ann", "eve"]);
}

fn keeping(folder: &Path, keep: Keep) -> JournalOptions {
    JournalOptions {
        keep,
        ..options(folder)
    }
}

#[test]
fn t4_old_segments_go_one_by_one_and_the_chain_holds_from_the_first_kept() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..60);
    let early = anchor(folder.path()).unwrap().unwrap();
    write(folder.path(), 60..70);
    let segments = || super::super::segment::segments(folder.path()).unwrap();
    let before = segments().len();
    assert!(before > 5);
    let keep = Keep {
        bytes: Some(16 * 1024),
        ..Keep::default()
    };
    for _ in 0..before {
        let run = keeping(folder.path(), keep);
        with(run, async |_| {
            // The thread looks after what is kept before it first sleeps.
            tokio::time::sleep(Duration::from_millis(60)).await;
        });
        let report = verify(folder.path()).unwrap();
        assert!(report.intact(), "{report}");
    }
    let report = verify_against(folder.path(), &[early]).unwrap();
    assert!(report.first > 50 && report.intact(), "{report}");
    let size: u64 = segments()
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(size < 24 * 1024, "{size}");
    fs::remove_file(&segments()[0]).unwrap();
    let report = verify(folder.path()).unwrap();
    assert!(!report.intact(), "nobody told of that one: {report}");
}

#[test]
fn t4_a_segment_goes_when_the_youngest_in_it_is_too_old_and_never_the_last() {
    use super::super::retention::due;
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep {
        age: Some(Duration::from_secs(86_400)),
        ..Keep::default()
    };
    write(folder.path(), 1..2);
    assert_eq!(due(folder.path(), keep, u64::MAX).unwrap(), None);
    write(folder.path(), 2..3);
    let second = fs::read_to_string(last_segment(folder.path())).unwrap();
    let at: u64 = second
        .split("\"at\":")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(due(folder.path(), keep, at + 86_400_000).unwrap(), None);
    let found = due(folder.path(), keep, at + 86_400_001).unwrap().unwrap();
    assert!(found.path < last_segment(folder.path()));
    assert_eq!(due(folder.path(), Keep::default(), u64::MAX).unwrap(), None);
}

#[test]
fn x10_a_slow_disk_lets_tasks_go_and_is_seen_as_lag() {
    let folder = tempfile::tempdir().unwrap();
    let (_, health) = with(options(folder.path()), async |handle| {
        handle.append_and_wait(&intent(1)).await.unwrap();
        handle.drag_writes(Duration::from_millis(300));
        // Found out by the first, which waits for itself.
        handle.append_and_wait(&intent(2)).await.unwrap();
        let began = tokio::time::Instant::now();
        let waiting = handle.append_and_wait(&intent(3));
        let gave_up = tokio::time::timeout(Duration::from_millis(100), waiting).await;
        assert!(gave_up.is_err(), "the disk is slow");
        assert!(
            began.elapsed() < Duration::from_millis(200),
            "the task was free"
        );
        assert!(handle.health().lag() > Duration::from_millis(50));
        handle.drag_writes(Duration::ZERO);
    });
    assert_eq!(Arc::clone(&health).lag(), Duration::ZERO);
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.intents, report.intact()), (3, true));
}

#[test]
fn durable_mode_answers_after_the_sync_and_writes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let durable = JournalOptions {
        mode: JournalMode::Durable,
        ..options(folder.path())
    };
    let (_, health) = with(durable, async |handle| {
        handle.append_and_wait(&intent(1)).await.unwrap();
        assert!(
            handle.health().syncs() >= 1,
            "answered before it was synced"
        );
        handle.append(&outcome(1)).unwrap();
    });
    assert!(health.syncs() >= 2);
    let (_, health) = with(options(folder.path()), async |handle| {
        handle.append_and_wait(&intent(2)).await.unwrap();
        assert_eq!(handle.health().syncs(), 0, "fast mode does not wait for it");
    });
    assert!(health.records() >= 1);
    assert!(verify(folder.path()).unwrap().intact());
}
