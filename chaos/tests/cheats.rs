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
use switchyard_chaos::conduct::{Between, Evidence, Plan, Progress, Subject, conduct, rehearse};
use switchyard_chaos::history::{Ended, Told};
use switchyard_chaos::mock::Exchange;
use switchyard_chaos::records::{Books, Delivery, Journal, Outcome, Sample, Scrape};
use switchyard_chaos::report::{Run, Verdict};
use switchyard_chaos::scenario::{Scenario, parse};
use switchyard_chaos::verdict::judge;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

#[path = "cheating/alerts.rs"]
mod alerts;
#[path = "cheating/money.rs"]
mod money;
#[path = "cheating/once.rs"]
mod once;

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

async fn evidence(scenario: &str, between: Option<Between>) -> (Plan, Evidence) {
    let plan = Plan {
        scenario: parse("cheats", scenario).unwrap(),
        seed: 7,
        subject: Subject::Binary {
            binary: gateway(),
            config: None,
        },
        between,
    };
    rehearse(&plan).await.unwrap();
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
    let (plan, evidence) = evidence(SCENARIO, Some(between)).await;
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
    // For the gateway itself all was well: its journal and metrics tell another end than the client saw.
    let by = "accounted_once error_count honest_break metrics_agree";
    assert_eq!(failed(&run), by.split(' ').collect());
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

// --- lies in the records ---

/// One honest run, to be told with one lie after the other.
struct Honest {
    plan: Plan,
    evidence: Evidence,
    history: Vec<Told>,
    wire: Vec<(String, Exchange)>,
    scrapes: Vec<Scrape>,
    alerts: Vec<Delivery>,
    journal: Journal,
    books: Option<Books>,
}

impl Honest {
    async fn of(scenario: &str) -> Self {
        let (plan, evidence) = evidence(scenario, None).await;
        let run = judge(&plan, &evidence);
        assert_eq!(run.verdict, Verdict::Pass, "{run:#?}");
        Self {
            history: evidence.history.clone(),
            wire: evidence.wire.clone(),
            scrapes: evidence.scrapes.clone(),
            alerts: evidence.alerts.clone(),
            journal: evidence.own.as_ref().unwrap().journal.clone(),
            books: evidence.own.as_ref().unwrap().books.clone(),
            plan,
            evidence,
        }
    }

    /// What is found when exactly this is changed.
    fn with(&mut self, lie: impl FnOnce(&mut Evidence)) -> Run {
        lie(&mut self.evidence);
        let run = judge(&self.plan, &self.evidence);
        self.evidence.history.clone_from(&self.history);
        self.evidence.wire.clone_from(&self.wire);
        self.evidence.scrapes.clone_from(&self.scrapes);
        self.evidence.alerts.clone_from(&self.alerts);
        self.evidence.still_under_way = 0;
        let own = self.evidence.own.as_mut().unwrap();
        own.journal.clone_from(&self.journal);
        own.books.clone_from(&self.books);
        own.audit = Ok(());
        own.leaks.clear();
        own.unreadable.clear();
        run
    }

    /// What is found when the gateway was told something else than it was.
    fn told(&mut self, terms: impl FnOnce(&mut Scenario)) -> Run {
        let said = self.plan.scenario.clone();
        terms(&mut self.plan.scenario);
        let run = judge(&self.plan, &self.evidence);
        self.plan.scenario = said;
        run
    }

    /// By exactly these checkers, named with spaces in between.
    #[track_caller]
    fn caught(&mut self, by: &str, lie: impl FnOnce(&mut Evidence)) {
        let run = self.with(lie);
        assert_eq!(failed(&run), by.split(' ').collect(), "{run:#?}");
    }

    /// The first whole answer of the control phase, a stream or not.
    fn whole(&self, stream: bool) -> usize {
        let fits = |told: &Told| told.stream == stream && told.ended == Ended::Whole;
        self.history.iter().position(fits).unwrap()
    }

    fn id(&self, place: usize) -> String {
        self.history[place].id.clone().unwrap()
    }
}

fn journal(evidence: &mut Evidence) -> &mut Journal {
    &mut evidence.own.as_mut().unwrap().journal
}

fn outcome<'a>(evidence: &'a mut Evidence, id: &str) -> &'a mut Outcome {
    journal(evidence)
        .outcomes
        .get_mut(id)
        .unwrap()
        .first_mut()
        .unwrap()
}

/// What went well, attempts at beta and requests, as it was counted last.
const COUNTERS: [(&str, &str, &str, &str); 2] = [
    ("switchyard_attempts_total", "outcome", "provider", "beta"),
    ("switchyard_requests_total", "kind", "pool", "chat"),
];

fn counted<'a>(
    evidence: &'a mut Evidence,
    (name, how, label, value): (&str, &str, &str, &str),
) -> &'a mut f64 {
    let last = evidence.scrapes.last_mut().unwrap();
    let is_it = |sample: &&mut Sample| {
        let of = |name: &str| sample.labels.get(name).map(String::as_str);
        sample.name == name && (of(how), of(label)) == (Some("ok"), Some(value))
    };
    &mut last.samples.iter_mut().find(is_it).unwrap().value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_in_the_journal_are_caught() {
    let mut honest = Honest::of(SCENARIO).await;
    let place = honest.whole(false);
    let id = honest.id(place);
    honest.caught("accounted_once", |lost_outcome| {
        journal(lost_outcome).outcomes.remove(&id);
    });
    honest.caught("accounted_once", |two_intents| {
        let intents = journal(two_intents).intents.get_mut(&id).unwrap();
        intents.push(intents[0].clone());
    });
    honest.caught("accounted_once", |failed_though_whole| {
        outcome(failed_though_whole, &id).how = "failed".to_owned();
    });
    honest.caught(
        "accounted_once metrics_agree",
        |ok_though_the_client_read_an_error| {
            let told = &mut ok_though_the_client_read_an_error.history[place];
            told.ended = Ended::Refused("upstream_failed".to_owned());
            told.status = Some(502);
        },
    );
    honest.caught("journal_complete", |hidden_attempt| {
        let attempts = &mut journal(hidden_attempt).attempts;
        attempts.retain(|attempt| attempt.request != id);
    });
    honest.caught("journal_complete", |invented_attempt| {
        let attempts = &mut journal(invented_attempt).attempts;
        let again = attempts.iter().find(|attempt| attempt.request == id);
        let again = again.unwrap().clone();
        attempts.push(again);
    });
    honest.caught("journal_complete", |edited| {
        edited.own.as_mut().unwrap().audit = Err("a record was changed".to_owned());
    });
    honest.caught("bill", |billed_twice| {
        let usage = &mut outcome(billed_twice, &id).usage;
        usage.as_mut().unwrap().output *= 2;
    });
    honest.caught("bill", |estimated_though_told| {
        outcome(estimated_though_told, &id).estimated = true;
    });
    let run = honest.with(|unread| {
        *journal(unread) = Journal::default();
        let unreadable = &mut unread.own.as_mut().unwrap().unreadable;
        unreadable.push("the journal cannot be read: no such file".to_owned());
    });
    assert_eq!((run.verdict, failed(&run)), (Verdict::Unknown, [].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_beside_the_journal_are_caught() {
    let mut honest = Honest::of(SCENARIO).await;
    let (whole, stream) = (honest.whole(false), honest.whole(true));
    let (whole_id, stream_id) = (honest.id(whole), honest.id(stream));
    for said in [None, Some(0), Some(7)] {
        honest.caught("told_right", |miscounted| {
            miscounted.history[whole].attempts = said;
        });
    }
    honest.caught("metrics_agree told_right", |sent_away_for_how_long| {
        let told = &mut sent_away_for_how_long.history[whole];
        told.ended = Ended::Refused("rate_limit_exceeded".to_owned());
        told.status = Some(429);
        outcome(sent_away_for_how_long, &whole_id).how = "failed".to_owned();
    });
    honest.caught("honest_break metrics_agree", |done_after_an_error| {
        let told = &mut done_after_an_error.history[stream];
        told.ended = Ended::ErrorEvent("upstream_reset".to_owned());
        told.done_after_error = true;
        outcome(done_after_an_error, &stream_id).how = "failed".to_owned();
    });
    honest.caught("no_secret", |prompt_in_the_log| {
        let leak = ("gateway.log".to_owned(), "prompt text".to_owned());
        prompt_in_the_log.own.as_mut().unwrap().leaks.push(leak);
    });
    honest.caught("no_secret", |key_in_the_metrics| {
        key_in_the_metrics.scrapes[1].leaks.push("a client key");
    });
    for counter in COUNTERS {
        for lie in [-1.0, 1.0] {
            honest.caught("metrics_agree", |miscounted| {
                *counted(miscounted, counter) += lie;
            });
        }
    }
    for bytes in [4_u64 << 30, 64 << 20] {
        honest.caught("bounded", |a_leak| {
            let last = a_leak.scrapes.last_mut().unwrap();
            last.memory = Some(last.memory.unwrap() + bytes);
        });
    }
    honest.caught("bounded", |a_peak| {
        let at = a_peak.scrapes.len() - 2;
        a_peak.scrapes[at].memory = Some(1 << 30);
    });
    for place in [1, 2] {
        honest.caught("bounded", |open_for_ever| {
            let at = open_for_ever.scrapes.len() - place;
            open_for_ever.scrapes[at].descriptors = Some(600);
        });
    }
    honest.caught("comes_to_rest", |work_for_nobody| {
        work_for_nobody.still_under_way = 3;
    });
    let run = honest.with(|nobodys_request| {
        let (mock, exchange) = nobodys_request.wire[0].clone();
        let mut asked = (*exchange.asked).clone();
        asked.number = 1_000_000;
        asked.body = "{\"messages\":[]}".into();
        let asked = asked.into();
        let invented = Exchange { asked, ..exchange };
        nobodys_request.wire.push((mock, invented));
    });
    assert_eq!(failed(&run), ["metrics_agree", "only_clients"].into());
    // What was never seen is not known.
    let run = honest.with(|no_fault| {
        for (_, exchange) in &mut no_fault.wire {
            exchange.fault = None;
        }
    });
    assert_eq!((run.verdict, failed(&run)), (Verdict::Unknown, [].into()));
}

const IMPATIENT: &str = r#"
version = 1
name = "impatient"
about = "clients that leave before they have read an id"
[phases]
control = "1s"
faults = "1s"
heal = "1s"
[[workload]]
name = "steady"
per_second = 20
[[workload]]
name = "impatient"
per_second = 60
stream = true
leave_share = 1.0
leave_between = ["10ms", "40ms"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_request_whose_client_read_no_id_is_caught() {
    let mut honest = Honest::of(IMPATIENT).await;
    let known: BTreeSet<String> = honest
        .history
        .iter()
        .filter_map(|told| told.id.clone())
        .collect();
    let on_the_wire = honest
        .wire
        .iter()
        .filter(|(_, exchange)| {
            memchr::memmem::find(&exchange.asked.body, b"chaos-prompt-canary 1.").is_some()
        })
        .count();
    let strangers: Vec<String> = honest
        .journal
        .intents
        .keys()
        .filter(|id| !known.contains(*id))
        .cloned()
        .collect();
    assert!(on_the_wire > 50 && strangers.len() >= on_the_wire);
    let forget = |evidence: &mut Evidence, how_many: usize| {
        for id in &strangers[..how_many] {
            journal(evidence).intents.remove(id);
            journal(evidence).outcomes.remove(id);
        }
    };
    // Who left before the gateway had turned to a provider has an intent and nothing on the wire.
    let spare = strangers.len() - on_the_wire;
    let run = honest.with(|evidence| forget(evidence, spare));
    assert_eq!(failed(&run), BTreeSet::new());
    honest.caught("accounted_once", |evidence| forget(evidence, spare + 1));
    honest.caught("journal_complete", |evidence| {
        let attempts = &mut journal(evidence).attempts;
        attempts.retain(|attempt| known.contains(&attempt.request));
    });
}

const KILLED: &str = r#"
version = 1
name = "killed"
about = "one kill in the middle"
[phases]
control = "2s"
faults = "2s"
heal = "2s"
[[workload]]
name = "streams"
per_second = 30
stream = true
[[fault]]
fault = "kill"
at = "500ms"
for = "1s"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_excuses_nothing_that_was_over_before_it() {
    let mut honest = Honest::of(KILLED).await;
    let place = honest.whole(true);
    let id = honest.id(place);
    assert!(honest.history[place].end_ms < 1_000);
    honest.caught("accounted_once", |failed_though_whole| {
        outcome(failed_though_whole, &id).how = "interrupted".to_owned();
    });
    honest.caught("journal_complete", |hidden_attempt| {
        let attempts = &mut journal(hidden_attempt).attempts;
        attempts.retain(|attempt| attempt.request != id);
    });
    honest.caught("honest_break", |just_stopped| {
        just_stopped.history[place].ended = Ended::Cut;
        outcome(just_stopped, &id).how = "failed".to_owned();
    });
    honest.caught("bill", |estimated_though_told| {
        outcome(estimated_though_told, &id).estimated = true;
    });
    for counter in COUNTERS {
        // One or two on the border of the two lives may have been counted in either.
        honest.caught("metrics_agree", |uncounted| {
            *counted(uncounted, counter) -= 8.0;
        });
    }
}
