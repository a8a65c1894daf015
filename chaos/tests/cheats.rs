//! A checker that never failed is not trusted: each kind of cheating makes exactly the right one fail.
//!
//! In front of an honest gateway stands a small proxy that splices, truncates, crosses, leaks or keeps silent. What
//! a cheating gateway would write into its own records is changed in the evidence.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;

use switchyard_chaos::client::{BodyEnd, Client};
use switchyard_chaos::conduct::{Between, Evidence, Plan, Progress, Subject, conduct};
use switchyard_chaos::report::{Run, Verdict};
use switchyard_chaos::scenario::parse;
use switchyard_chaos::verdict::judge;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

type Soon = Pin<Box<dyn Future<Output = SocketAddr> + Send>>;

const SCENARIO: &str = r#"
version = 1
name = "cheats"
about = "a little of everything"
[phases]
control = "1s"
faults = "1500ms"
heal = "1s"
[[workload]]
name = "streams"
per_second = 30
stream = true
[[workload]]
name = "whole"
per_second = 30
[[fault]]
fault = "P10"
on = ["alpha"]
[[expect]]
what = "error_count"
at_most = 0
"#;

/// The gateway, built if need be: the package under test is another one.
fn gateway() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let profile = deps.ancestors().nth(2).unwrap();
    let binary = profile.join("switchyard");
    if !binary.exists() {
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "switchyard",
                "--bin",
                "switchyard",
            ])
            .status();
        assert!(built.is_ok_and(|built| built.success()));
    }
    binary
}

async fn evidence(between: Option<Between>) -> (Plan, Evidence) {
    let plan = Plan {
        scenario: parse("cheats", SCENARIO).unwrap(),
        seed: 7,
        subject: Subject::Binary {
            binary: gateway(),
            config: None,
        },
        between,
    };
    let folder = Folder::new();
    let (tell, _) = watch::channel(Progress::default());
    let evidence = conduct(&plan, &folder.0, &tell).await.unwrap();
    (plan, evidence)
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("switchyard-cheats-{}", fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all::<&Path>(&self.0);
    }
}

fn failed(run: &Run) -> BTreeSet<&str> {
    run.invariants
        .iter()
        .chain(&run.expectations)
        .filter(|found| found.verdict == Verdict::Fail)
        .map(|found| found.name.as_str())
        .collect()
}

async fn cheating(between: Between) -> Run {
    let (plan, evidence) = evidence(Some(between)).await;
    judge(&plan, &evidence)
}

// --- the proxy ---

/// What it does to an answer's body, given the one before; `None` leaves it alone.
type Cheat = fn(&str, &str) -> Option<(String, Ends)>;

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Whole,
    /// The connection closes inside the body.
    Cut,
}

async fn proxy(gateway: SocketAddr, cheat: Cheat) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let before = std::sync::Arc::new(Mutex::new(String::new()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let before = std::sync::Arc::clone(&before);
            tokio::spawn(async move {
                let _ = pass(stream, gateway, cheat, &before).await;
            });
        }
    });
    address
}

async fn pass(
    mut stream: TcpStream,
    gateway: SocketAddr,
    cheat: Cheat,
    before: &Mutex<String>,
) -> Option<()> {
    let mut request = Vec::new();
    let head = loop {
        let mut some = [0; 4096];
        let read = stream.read(&mut some).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&some[..read]);
        if let Some(at) = memchr::memmem::find(&request, b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0);
    while request.len() < head + length {
        let mut some = [0; 4096];
        let read = stream.read(&mut some).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&some[..read]);
    }
    let mut client = Client::connect(gateway).await.ok()?;
    client.send(&request).await.ok()?;
    let answer = client.read_answer().await.ok()?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let (body, ends) = {
        let mut before = before.lock().await;
        let changed = if answer.status() == 200 && answer.end == BodyEnd::Whole {
            cheat(&body, &before)
        } else {
            None
        };
        before.clone_from(&body);
        changed.unwrap_or((body, Ends::Whole))
    };
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status());
    for (name, value) in &answer.head.fields {
        if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
            head.push_str(&format!(
                "{name}: {}\r\n",
                String::from_utf8_lossy(value.as_ref())
            ));
        }
    }
    let claimed = body.len() + if ends == Ends::Cut { 100 } else { 0 };
    head.push_str(&format!("content-length: {claimed}\r\n\r\n{body}"));
    stream.write_all(head.as_bytes()).await.ok()
}

fn is_stream(body: &str) -> bool {
    body.starts_with("data:")
}

fn content_events(body: &str) -> Vec<&str> {
    body.split_inclusive("\n\n")
        .filter(|event| event.contains("\"content\":\"") && !event.contains("\"content\":\"\""))
        .collect()
}

// --- what it is caught by ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_gateway_passes_also_through_a_proxy() {
    fn between(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |_, _| None))
    }
    let run = cheating(between).await;
    assert_eq!(run.verdict, Verdict::Pass, "{run:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_splice_of_two_answers_is_caught() {
    fn between(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |body, before| {
            let (mine, theirs) = (content_events(body), content_events(before));
            let (at, with) = (mine.last()?, theirs.last()?);
            (is_stream(body) && is_stream(before)).then(|| (body.replace(at, with), Ends::Whole))
        }))
    }
    assert_eq!(
        failed(&cheating(between).await),
        ["honest_whole", "no_splice"].into()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_short_and_presented_as_whole_is_caught() {
    fn between(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |body, _| {
            let last = *content_events(body).last()?;
            is_stream(body).then(|| (body.replace(last, ""), Ends::Whole))
        }))
    }
    assert_eq!(failed(&cheating(between).await), ["honest_whole"].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_given_to_somebody_else_is_caught() {
    fn between(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |body, before| {
            let same = is_stream(body) == is_stream(before) && !before.is_empty();
            same.then(|| (before.to_owned(), Ends::Whole))
        }))
    }
    assert_eq!(failed(&cheating(between).await), ["no_crossing"].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_just_stops_is_caught() {
    fn between(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |body, _| {
            let first = content_events(body).first()?.len();
            is_stream(body).then(|| (body[..first].to_owned(), Ends::Cut))
        }))
    }
    let run = cheating(between).await;
    // Its own control phase breaks as well, and a client error is one.
    assert_eq!(failed(&run), ["error_count", "honest_break"].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_key_is_caught() {
    fn between(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |body, _| {
            let leak = format!(": sk-chaos-provider-alpha-0123456789\n\n{body}");
            is_stream(body).then_some((leak, Ends::Whole))
        }))
    }
    assert_eq!(failed(&cheating(between).await), ["no_secret"].into());
}

/// One honest run, and what each lie in the records would look like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_in_the_records_are_caught() {
    let (plan, mut evidence) = evidence(None).await;
    assert_eq!(judge(&plan, &evidence).verdict, Verdict::Pass);
    let journal = evidence.own.as_ref().unwrap().journal.clone();
    let told = |evidence: &Evidence| {
        let whole = evidence.history.iter().find(|told| told.text.is_some());
        whole.and_then(|told| told.id.clone()).unwrap()
    };
    let id = told(&evidence);
    let restored = |evidence: &mut Evidence| {
        evidence.own.as_mut().unwrap().journal = journal.clone();
    };

    let own = evidence.own.as_mut().unwrap();
    own.journal.outcomes.remove(&id);
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["accounted_once"].into(),
        "a lost outcome"
    );
    restored(&mut evidence);

    let own = evidence.own.as_mut().unwrap();
    own.journal.intents.insert(id.clone(), 2);
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["accounted_once"].into(),
        "two intents"
    );
    restored(&mut evidence);

    let own = evidence.own.as_mut().unwrap();
    own.journal.attempts.retain(|attempt| attempt.request != id);
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["journal_complete"].into(),
        "a hidden attempt"
    );
    restored(&mut evidence);

    let own = evidence.own.as_mut().unwrap();
    let outcome = own
        .journal
        .outcomes
        .get_mut(&id)
        .unwrap()
        .first_mut()
        .unwrap();
    outcome.usage.as_mut().unwrap().output *= 2;
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["bill"].into(),
        "billed twice"
    );
    restored(&mut evidence);

    evidence.own.as_mut().unwrap().audit = Err("a record was changed".to_owned());
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["journal_complete"].into(),
        "an edit"
    );
    evidence.own.as_mut().unwrap().audit = Ok(());

    let leak = ("gateway.log".to_owned(), "prompt text".to_owned());
    evidence.own.as_mut().unwrap().leaks.push(leak);
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["no_secret"].into(),
        "a prompt in the log"
    );
    evidence.own.as_mut().unwrap().leaks.clear();

    for sample in &mut evidence.scrapes.last_mut().unwrap().samples {
        if sample.name == "switchyard_attempts_total" {
            sample.value = (sample.value - 1.0).max(0.0);
        }
    }
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["metrics_agree"].into(),
        "attempts uncounted"
    );
    for sample in &mut evidence.scrapes.last_mut().unwrap().samples {
        if sample.name == "switchyard_attempts_total" {
            sample.value += 1.0;
        }
    }

    evidence.scrapes.last_mut().unwrap().memory = Some(4 << 30);
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["bounded"].into(),
        "a leak of memory"
    );
    evidence.scrapes.last_mut().unwrap().memory = Some(1 << 20);

    evidence.still_under_way = 3;
    assert_eq!(
        failed(&judge(&plan, &evidence)),
        ["comes_to_rest"].into(),
        "work for nobody"
    );
    evidence.still_under_way = 0;

    // What was never seen is not known.
    for (_, exchange) in &mut evidence.wire {
        exchange.fault = None;
    }
    let run = judge(&plan, &evidence);
    assert_eq!(
        (run.verdict, failed(&run)),
        (Verdict::Unknown, BTreeSet::new()),
        "no fault"
    );
}
