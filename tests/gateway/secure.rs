//! Section 2 of the fault catalogue, the part that needs TLS: handshakes that fail, and HTTP/2 that refuses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use switchyard_chaos::canary;
use switchyard_chaos::mock::{Dialect, MockProvider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::frame::{Gateway, PATH, auth, chat, code_of, mock, provider, text_of};
use crate::h2_mock::{Asked, ENHANCE_YOUR_CALM, INTERNAL_ERROR, REFUSED_STREAM, Window};
use crate::tls_mock::{Authority, Certificate, MODEL, SecureMock, Seen, Speaks};

/// Longer than anything here takes, shorter than the limits a test must not lean on.
const SOON: Duration = Duration::from_secs(5);

/// A gateway whose pool `p` has the one secure provider.
async fn alone(a: &SecureMock, authority: &Authority, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{}[pools.p]\ntargets = [\"{}\"]\n{more}",
        a.provider(authority),
        a.target()
    ))
    .await
}

/// A gateway whose pool `p` asks the secure provider first and the plain one when it fails.
async fn pair(a: &SecureMock, authority: &Authority, b: &MockProvider, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{}{}[pools.p]\ntargets = [{{ target = \"{}\", weight = 100000 }}, {{ target = \"b/m-b\", weight = 0.001 }}]\n{more}",
        a.provider(authority),
        provider("b", b),
        a.target()
    ))
    .await
}

/// The value of one line of the metrics, 0 when it is not there. The metrics are the process's: a line that does not
/// name this test's own provider may count for its neighbours too.
async fn metric(gateway: &Gateway, line: &str) -> u64 {
    let metrics = gateway.metrics().await;
    metrics
        .lines()
        .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
        .unwrap_or(0)
}

async fn attempts(gateway: &Gateway, a: &SecureMock, outcome: &str) -> u64 {
    let line = format!(
        "switchyard_attempts_total{{provider=\"{}\",model=\"{MODEL}\",outcome=\"{outcome}\"}}",
        a.name()
    );
    metric(gateway, &line).await
}

/// Asks once; the answer must be whole and of the mock `of`.
async fn answered_by(gateway: &Gateway, of: &str) -> switchyard_chaos::client::Answer {
    let answer = timeout(SOON, gateway.ask("p")).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let origin = canary::verify(&text_of(&answer)).unwrap();
    assert_eq!(origin.mock, of);
    answer
}

/// Waits until the mock has heard that the gateway left: a connection or stream must not stay open.
async fn until_given_up(seen: &Seen) {
    timeout(SOON, async {
        while seen.given_up.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

// --- the healthy case ---

async fn both_forms(speaks: Speaks) {
    let authority = Authority::new();
    let a = SecureMock::well(&authority, Certificate::Good, speaks).await;
    let gateway = alone(&a, &authority, "").await;
    answered_by(&gateway, "a").await;
    let stream = gateway.stream("p").await;
    assert!(stream.is_done(), "{:?}", stream.events.last());
    let origin = canary::verify(&stream.text(Dialect::OpenAi)).unwrap();
    assert_eq!((origin.mock.as_str(), origin.words), ("a", 4));
    assert_eq!(a.requests(), 2);
    let seen = a.seen();
    let over_h2 = if speaks == Speaks::Http2 { 2 } else { 0 };
    assert_eq!(seen.over_h2.load(Ordering::SeqCst), over_h2);
    assert_eq!(
        seen.handshakes.load(Ordering::SeqCst),
        1,
        "the connection served twice"
    );
    assert_eq!(attempts(&gateway, &a, "ok").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_behind_tls_answers_over_http1() {
    both_forms(Speaks::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_behind_tls_answers_over_http2() {
    both_forms(Speaks::Http2).await;
}

// --- the handshake ---

async fn listens_and_says_nothing(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut hello = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut hello).await {
        seen.body_bytes.fetch_add(read, Ordering::SeqCst);
    }
    seen.given_up.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n04_a_silent_handshake_is_left_for_the_next() {
    let (authority, b) = (Authority::new(), mock("b").await);
    let a = SecureMock::raw(listens_and_says_nothing).await;
    let gateway = pair(&a, &authority, &b, "[timeouts]\ntls_ms = 300\n").await;
    let begun = Instant::now();
    let answer = answered_by(&gateway, "b").await;
    assert!(
        (Duration::from_millis(290)..Duration::from_millis(4_000)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(answer.header("x-switchyard-failovers"), Some("1"));
    assert_eq!(attempts(&gateway, &a, "tls").await, 1);
    let seen = a.seen();
    assert_eq!(seen.connections.load(Ordering::SeqCst), 1);
    assert!(seen.body_bytes.load(Ordering::SeqCst) > 0, "no ClientHello");
    until_given_up(seen).await;
}

/// What must follow from a handshake that is not to be trusted, with nobody else to ask and with somebody.
async fn refused(a: &SecureMock, trusted: &Authority, rule: &str) {
    let gateway = alone(a, trusted, "[failover]\nmax_attempts = 1\n").await;
    let blocked = format!("switchyard_blocked_total{{rule=\"{rule}\"}}");
    let before = metric(&gateway, &blocked).await;
    let answer = gateway.ask("p").await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (502, "upstream_failed"),
        "{}",
        answer.json()
    );
    assert_eq!(attempts(&gateway, a, "tls").await, 1);
    assert!(metric(&gateway, &blocked).await > before);
    let noted = |record: &&Value| {
        record["kind"] == "event" && record.to_string().contains("security.block")
    };
    let records = gateway.records().await;
    assert!(records.iter().any(|record| noted(&record)), "{records:?}");

    let b = mock("b").await;
    let gateway = pair(a, trusted, &b, "").await;
    answered_by(&gateway, "b").await;
    assert_eq!(a.requests(), 0, "a request reached it");
    assert_eq!(
        a.seen().connections.load(Ordering::SeqCst),
        2,
        "met once by each gateway, and not asked again in another way"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n05_an_expired_certificate_is_refused() {
    let authority = Authority::new();
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let a = SecureMock::well(&authority, Certificate::Expired, speaks).await;
        refused(&a, &authority, "certificate").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n05_a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let a = SecureMock::well(&authority, Certificate::OtherName, Speaks::Http2).await;
    refused(&a, &authority, "certificate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n05_a_certificate_of_an_unknown_authority_is_refused() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let a = SecureMock::well(&theirs, Certificate::Good, Speaks::Http2).await;
    refused(&a, &ours, "certificate").await;
}

/// How a server that knows no TLS above 1.1 answers a ClientHello.
#[derive(Clone, Copy)]
enum Old {
    /// With a ServerHello in its own version.
    Hello,
    /// With the alert `protocol_version`.
    Alert,
}

async fn speaks_tls_1_1(mut stream: TcpStream, seen: Arc<Seen>, old: Old) {
    let mut head = [0; 5];
    if stream.read_exact(&mut head).await.is_err() {
        return;
    }
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    if stream.read_exact(&mut hello).await.is_err() {
        return;
    }
    let said = match old {
        Old::Hello => {
            // Version 1.1, random, no session, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, no compression.
            let body = [&[3, 2][..], &[7; 32], &[0, 0xc0, 0x14, 0]].concat();
            let length = u8::try_from(body.len()).unwrap();
            [&[22, 3, 2, 0, length + 4, 2, 0, 0, length][..], &body].concat()
        }
        Old::Alert => vec![21, 3, 2, 0, 2, 2, 70],
    };
    let _ = stream.write_all(&said).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    // All it may hear after that is an alert.
    if rest.first().is_some_and(|kind| *kind != 21) {
        seen.requests.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n05_tls_below_1_2_is_refused() {
    let authority = Authority::new();
    for old in [Old::Hello, Old::Alert] {
        let a = SecureMock::raw(move |stream, seen| speaks_tls_1_1(stream, seen, old)).await;
        refused(&a, &authority, "tls_version").await;
    }
}

// --- GOAWAY ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n09_a_goaway_before_our_stream_costs_no_attempt() {
    let authority = Authority::new();
    let a = SecureMock::h2(&authority, Window::Opens, |asked: Asked| async move {
        match asked.number {
            2 => asked.go_away_before().await,
            _ => asked.answer().await,
        }
    })
    .await;
    let gateway = alone(&a, &authority, "").await;
    for _ in 0..2 {
        let answer = answered_by(&gateway, "a").await;
        assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
    }
    assert_eq!(a.requests(), 3);
    assert_eq!(a.seen().handshakes.load(Ordering::SeqCst), 2);
    let line = "switchyard_h2_goaway_total{why=\"goaway\"}";
    assert!(metric(&gateway, line).await >= 1);
    assert_eq!(attempts(&gateway, &a, "ok").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n09_goaways_without_end_are_left_for_the_next() {
    let (authority, b) = (Authority::new(), mock("b").await);
    let a = SecureMock::h2(&authority, Window::Opens, |asked: Asked| async move {
        asked.go_away_before().await;
    })
    .await;
    let gateway = pair(&a, &authority, &b, "").await;
    answered_by(&gateway, "b").await;
    assert_eq!(a.requests(), 2, "one free retry, and no more");
    assert_eq!(attempts(&gateway, &a, "reset").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n09_a_goaway_after_our_stream_lets_it_finish_and_takes_no_new_one() {
    let authority = Authority::new();
    let (told, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let script = {
        let (told, second) = (Arc::clone(&told), Arc::clone(&second));
        move |asked: Asked| {
            let (told, second) = (Arc::clone(&told), Arc::clone(&second));
            async move {
                if asked.number > 1 {
                    asked.answer().await;
                    return second.notify_one();
                }
                asked.begin().await;
                asked.go_away_after().await;
                asked.settled().await;
                told.notify_one();
                second.notified().await;
                asked.end().await;
            }
        }
    };
    let a = SecureMock::h2(&authority, Window::Opens, script).await;
    let gateway = alone(&a, &authority, "").await;
    let (first, ()) = timeout(SOON, async {
        tokio::join!(gateway.stream("p"), async {
            told.notified().await;
            let answer = answered_by(&gateway, "a").await;
            assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
        })
    })
    .await
    .unwrap();
    assert!(first.is_done(), "{:?}", first.events.last());
    let origin = canary::verify(&first.text(Dialect::OpenAi)).unwrap();
    assert_eq!((origin.request, origin.words), (1, 4));
    assert_eq!(a.requests(), 2);
    assert_eq!(a.seen().handshakes.load(Ordering::SeqCst), 2);
    let line = "switchyard_h2_goaway_total{why=\"goaway\"}";
    assert!(metric(&gateway, line).await >= 1);
    assert_eq!(attempts(&gateway, &a, "ok").await, 2);
}

// --- a peer that is gone without a word ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n13_a_stream_whose_peer_falls_silent_ends_by_the_gap_limit_over_http1_and_http2() {
    let authority = Authority::new();
    let limit = "[timeouts]\ngap_ms = 400\ngap_floor_ms = 400\n";
    let speaks_no_more = |asked: Asked| async move { asked.begin().await };
    let a = SecureMock::h2(&authority, Window::Opens, speaks_no_more).await;
    let over_h2 = alone(&a, &authority, limit).await;
    let b = mock("b").await;
    b.set(switchyard_chaos::fault::s08(3));
    let config = format!(
        "{}[pools.p]\ntargets = [\"b/m-b\"]\n{limit}",
        provider("b", &b)
    );
    let over_h1 = Gateway::start(&config).await;
    for gateway in [over_h2, over_h1] {
        let begun = Instant::now();
        let stream = timeout(SOON, gateway.stream("p")).await.unwrap();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(390), "{took:?}");
        assert!(!stream.is_done());
        let last = stream.events.last().unwrap();
        assert!(last.data.contains("upstream_stalled"), "{last:?}");
        let records = gateway.records().await;
        assert!(
            records
                .iter()
                .any(|record| record["kind"] == "attempt" && record["outcome"] == "t_idle"),
            "{records:?}"
        );
    }
    assert_eq!(a.seen().over_h2.load(Ordering::SeqCst), 1);
}

// --- refused streams ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_a_refused_stream_costs_no_attempt() {
    let authority = Authority::new();
    let a = SecureMock::h2(&authority, Window::Opens, |asked: Asked| async move {
        match asked.number {
            1 => asked.reset(REFUSED_STREAM).await,
            _ => asked.answer().await,
        }
    })
    .await;
    let gateway = alone(&a, &authority, "").await;
    let answer = answered_by(&gateway, "a").await;
    assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
    assert_eq!(a.requests(), 2);
    let line = "switchyard_h2_goaway_total{why=\"refused\"}";
    assert!(metric(&gateway, line).await >= 1);
    assert_eq!(attempts(&gateway, &a, "ok").await, 1);
}

/// Every stream is reset for this reason, and the second provider answers.
async fn resets(reason: u32, outcome: &str, requests: usize) {
    let (authority, b) = (Authority::new(), mock("b").await);
    let a = SecureMock::h2(&authority, Window::Opens, move |asked: Asked| async move {
        asked.reset(reason).await
    })
    .await;
    let gateway = pair(&a, &authority, &b, "").await;
    let answer = answered_by(&gateway, "b").await;
    assert_eq!(answer.header("x-switchyard-failovers"), Some("1"));
    assert_eq!(a.requests(), requests);
    assert_eq!(attempts(&gateway, &a, outcome).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_streams_refused_without_end_are_left_for_the_next() {
    resets(REFUSED_STREAM, "reset", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_enhance_your_calm_is_a_throttle() {
    resets(ENHANCE_YOUR_CALM, "throttled", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_enhance_your_calm_from_the_only_provider_is_a_429() {
    let authority = Authority::new();
    let a = SecureMock::h2(&authority, Window::Opens, |asked: Asked| async move {
        asked.reset(ENHANCE_YOUR_CALM).await;
    })
    .await;
    let gateway = alone(&a, &authority, "[failover]\nmax_attempts = 1\n").await;
    let answer = gateway.ask("p").await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (429, "rate_limit_exceeded"),
        "{}",
        answer.json()
    );
    assert_eq!(a.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_an_internal_error_is_a_reset() {
    resets(INTERNAL_ERROR, "reset", 1).await;
}

// --- windows and streams ---

/// A prompt that fits no socket's buffers and no first window.
fn large(bytes: usize) -> Value {
    let mut body = chat("p");
    body["messages"][0]["content"] = "word ".repeat(bytes / 5).into();
    body
}

/// Posts with a patience of its own: what is sent is large.
async fn post(gateway: &Gateway, body: &Value) -> switchyard_chaos::client::Answer {
    let mut client = gateway.client().await;
    timeout(4 * SOON, client.post_json(PATH, &auth(), body))
        .await
        .unwrap()
        .unwrap()
}

async fn stalls_while_it_is_asked(a: &SecureMock, authority: &Authority, bytes: usize) {
    let b = mock("b").await;
    let gateway = pair(a, authority, &b, "[timeouts]\nwrite_idle_ms = 300\n").await;
    let answer = post(&gateway, &large(bytes)).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(canary::verify(&text_of(&answer)).unwrap().mock, "b");
    assert_eq!(attempts(&gateway, a, "t_idle").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n11_a_window_that_stays_shut_is_left_for_the_next() {
    let authority = Authority::new();
    let a = SecureMock::h2(&authority, Window::StaysShut, |asked: Asked| async move {
        asked.answer().await;
    })
    .await;
    stalls_while_it_is_asked(&a, &authority, 2 << 20).await;
    let seen = a.seen();
    assert_eq!(seen.requests.load(Ordering::SeqCst), 1);
    assert_eq!(seen.body_bytes.load(Ordering::SeqCst), 65_535);
    until_given_up(seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n11_a_provider_that_reads_nothing_is_left_for_the_next() {
    let authority = Authority::new();
    let a = SecureMock::deaf(&authority).await;
    stalls_while_it_is_asked(&a, &authority, 12 << 20).await;
    assert_eq!(a.seen().handshakes.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n11_a_connection_whose_window_stays_shut_is_not_used_again() {
    let authority = Authority::new();
    let a = SecureMock::h2(&authority, Window::StaysShut, |asked: Asked| async move {
        asked.answer().await;
    })
    .await;
    let more = "[timeouts]\nwrite_idle_ms = 300\n[failover]\nmax_attempts = 1\n";
    let gateway = alone(&a, &authority, more).await;
    assert_eq!(post(&gateway, &large(1 << 20)).await.status(), 504);
    answered_by(&gateway, "a").await;
    assert_eq!(a.seen().handshakes.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n11_a_large_prompt_passes_a_window_that_opens() {
    let authority = Authority::new();
    let a = SecureMock::h2(&authority, Window::Opens, |asked: Asked| async move {
        asked.answer().await;
    })
    .await;
    let gateway = alone(&a, &authority, "[timeouts]\nwrite_idle_ms = 2000\n").await;
    let answer = post(&gateway, &large(2 << 20)).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(canary::verify(&text_of(&answer)).unwrap().mock, "a");
    assert!(a.seen().body_bytes.load(Ordering::SeqCst) > 2_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n11_one_stream_at_a_time_means_a_second_connection() {
    let authority = Authority::new();
    let (told, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let script = {
        let (told, second) = (Arc::clone(&told), Arc::clone(&second));
        move |asked: Asked| {
            let (told, second) = (Arc::clone(&told), Arc::clone(&second));
            async move {
                if asked.number > 1 {
                    asked.answer().await;
                    return second.notify_one();
                }
                asked.allow_streams(1).await;
                asked.begin().await;
                asked.settled().await;
                told.notify_one();
                second.notified().await;
                asked.end().await;
            }
        }
    };
    let a = SecureMock::h2(&authority, Window::Opens, script).await;
    let gateway = alone(&a, &authority, "").await;
    let (first, ()) = timeout(SOON, async {
        tokio::join!(gateway.stream("p"), async {
            told.notified().await;
            let answer = answered_by(&gateway, "a").await;
            assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
        })
    })
    .await
    .unwrap();
    assert!(first.is_done(), "{:?}", first.events.last());
    assert_eq!(a.requests(), 2);
    assert_eq!(a.seen().handshakes.load(Ordering::SeqCst), 2);
    assert_eq!(attempts(&gateway, &a, "ok").await, 2);
}
