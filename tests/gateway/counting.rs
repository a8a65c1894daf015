//! O12: how long a prompt is, when it is long and when nobody counts it.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, request_bytes};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::frame::{Gateway, PATH, alone, mock, mock_of};

const ANTHROPIC: &str = "/v1/messages/count_tokens";
const GOOGLE: &str = "/v1beta/models/p:countTokens";
const MIB: usize = 1 << 20;

/// A client with a tenant to itself: what tenants are denied is counted, and other tests count it as well.
async fn serving(a: &MockProvider, terms: &str) -> Gateway {
    let client =
        "[[clients]]\nname = \"counted\"\nkey = \"file:FOLDER/counted\"\ntenant = \"counted\"\n";
    alone(a, &format!("{client}[tenants.counted]\n{terms}")).await
}

fn own() -> [(String, String); 1] {
    let key = "Bearer sk-canary-counted".to_owned();
    [("authorization".to_owned(), key)]
}

fn of_letters(path: &str, letters: usize) -> Value {
    let text = "a".repeat(letters);
    if path == GOOGLE {
        json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
    } else {
        json!({"model": "p", "messages": [{"role": "user", "content": text}]})
    }
}

fn count(answer: &Answer) -> u64 {
    let told = answer.json();
    let count = told["input_tokens"]
        .as_u64()
        .or(told["totalTokens"].as_u64());
    count.unwrap_or_else(|| panic!("{told}"))
}

/// How long others waited on the gateway's one thread until told to stop.
async fn neighbour(mut stop: oneshot::Receiver<()>) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let begun = Instant::now();
        tokio::select! {
            _ = &mut stop => return longest,
            () = sleep(Duration::from_millis(1)) => longest = longest.max(begun.elapsed()),
        }
    }
}

/// The least of several tries that an answer took, and that a neighbour had to wait meanwhile.
async fn least(
    gateway: &Gateway,
    path: &str,
    (body, status): (&Value, u16),
) -> (Duration, Duration) {
    let body = body.to_string();
    let wire = request_bytes(gateway.address, "POST", path, &own(), body.as_bytes());
    let (mut took, mut held) = (Duration::MAX, Duration::MAX);
    for _ in 0..8 {
        let (stop, stopped) = oneshot::channel();
        let neighbour = tokio::spawn(neighbour(stopped));
        let mut client = gateway.client().await;
        let begun = Instant::now();
        client.send(&wire).await.unwrap();
        let answer = client.read_answer().await.unwrap();
        took = took.min(begun.elapsed());
        let _ = stop.send(());
        held = held.min(neighbour.await.unwrap());
        assert_eq!(answer.status(), status, "{path}");
    }
    (took, held)
}

/// So long may a megabyte take, and hold up its neighbours.
const LIMIT: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn o12_a_megabyte_of_one_letter_is_estimated_in_linear_time_and_holds_nobody_up() {
    let a = mock("a").await;
    // What a chat of a model without a price is refused for stands behind its estimate: nothing else is measured.
    let gateway = serving(&a, "budgets = [{ usd = \"1\", period = \"day\" }]\n").await;
    for (path, status) in [(ANTHROPIC, 200), (GOOGLE, 200), (PATH, 402)] {
        let (one, held) = least(&gateway, path, (&of_letters(path, MIB), status)).await;
        let (eight, _) = least(&gateway, path, (&of_letters(path, 8 * MIB), status)).await;
        assert!(one < LIMIT && held < LIMIT, "{path}: {one:?}, {held:?}");
        assert!(eight < one * 20, "{path}: {one:?} became {eight:?}");
    }
    assert_eq!(a.requests(), 0);
    for path in [ANTHROPIC, GOOGLE] {
        let answer = post(&gateway, path, &of_letters(path, MIB)).await;
        assert!(count(&answer).abs_diff(MIB as u64 / 4) < 100);
        assert_eq!(marked(&answer), Some("input_tokens"));
    }
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let mut client = gateway.client().await;
    client.post_json(path, &own(), body).await.unwrap()
}

fn marked(answer: &Answer) -> Option<&str> {
    answer.header("x-switchyard-estimated")
}

/// All tests here share their metrics: how much one of them has grown says little, that it has says enough.
async fn estimated(gateway: &Gateway, why: &str) -> u64 {
    let name = format!("switchyard_tokencount_fallback{{why=\"{why}\"}} ");
    let metrics = gateway.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn last_outcome(gateway: &Gateway) -> Value {
    let mut records = gateway.records().await;
    records.retain(|record| record["kind"] == "outcome");
    records.pop().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o12_where_a_provider_that_counts_fails_or_is_late_the_count_is_estimated_and_said_to_be() {
    for dialect in [Dialect::Anthropic, Dialect::Gemini] {
        let a = mock_of(dialect, "a").await;
        let gateway = serving(&a, "[timeouts]\ncount_tokens_ms = 300\n").await;
        for path in [ANTHROPIC, GOOGLE] {
            let asked = of_letters(path, 4_000);
            let answer = post(&gateway, path, &asked).await;
            assert_eq!(marked(&answer), None, "it counts: {}", answer.json());
            let count_of_its_own = json!({"input_tokens": 7, "totalTokens": 7});
            let counts = Behaviour::status(200).json(&count_of_its_own);
            for (behaviour, why) in [
                (Behaviour::status(500), "failed"),
                (Behaviour::status(429), "failed"),
                (Behaviour::status(401), "failed"),
                (counts.delayed(Duration::from_secs(3)), "late"),
            ] {
                let gateway = serving(&a, "[timeouts]\ncount_tokens_ms = 300\n").await;
                let before = estimated(&gateway, why).await;
                a.set(behaviour);
                let begun = Instant::now();
                let answer = post(&gateway, path, &asked).await;
                assert_eq!(answer.status(), 200, "{why}: {}", answer.json());
                assert!(begun.elapsed() < Duration::from_secs(2), "{why}");
                assert!((1_000..1_100).contains(&count(&answer)), "{why}");
                assert_eq!(marked(&answer), Some("input_tokens"), "{why}");
                assert!(estimated(&gateway, why).await > before, "{why}");
                let outcome = last_outcome(&gateway).await;
                assert_eq!(outcome["how"], "ok", "{outcome}");
                a.set(Behaviour::healthy());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o12_what_the_client_has_to_know_is_not_covered_by_an_estimate() {
    let a = mock_of(Dialect::Anthropic, "a").await;
    let gateway = serving(&a, "requests_per_minute = 2\n").await;
    let asked = of_letters(ANTHROPIC, 10);
    a.set(Behaviour::status(400).json(
        &json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}),
    ));
    let answer = post(&gateway, ANTHROPIC, &asked).await;
    assert_eq!(answer.status(), 400, "{}", answer.json());
    a.set(Behaviour::healthy());
    assert_eq!(post(&gateway, ANTHROPIC, &asked).await.status(), 200);
    // The client's own limit.
    let answer = post(&gateway, ANTHROPIC, &asked).await;
    assert_eq!(answer.status(), 429, "{}", answer.json());
}
