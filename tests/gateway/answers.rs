//! Answers that are odd rather than absent: wrong lengths, odd statuses, oversize, bombs, and usage that
//! cannot be true. Where the client can be served, it is, and nothing of the oddity reaches it.

use std::time::Duration;

use serde_json::json;
use switchyard_chaos::canary;
use switchyard_chaos::client::Answer;
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, alone, chat, code_of, mock, mock_of, pair, provider_with, text_of};

/// Who wrote this answer; it has to be whole.
fn author(name: &str, answer: &Answer) -> canary::Origin {
    assert_eq!(answer.status(), 200, "{name}: {}", answer.json());
    let text = text_of(answer);
    canary::verify(&text).unwrap_or_else(|error| panic!("{name}: {error:?} in {text:?}"))
}

fn variant(number: &str, name: &str) -> Behaviour {
    let found = fault::variants(number, Dialect::OpenAi)
        .into_iter()
        .find(|variant| variant.name == name);
    found
        .unwrap_or_else(|| panic!("{number} has no {name}"))
        .behaviour
}

/// One provider under a name of its own: series belong to the process, and so to every test in it.
async fn alone_as(name: &str, mock: &MockProvider) -> Gateway {
    let table = provider_with(name, mock, &["x"]);
    let config = format!("{table}[pools.p]\ntargets = [\"{name}/m-{name}\"]\n");
    Gateway::start(&config).await
}

/// A series of `/metrics`, by the start of its line; zero when it is not there.
async fn metric(gateway: &Gateway, series: &str) -> f64 {
    let text = gateway.metrics().await;
    let line = text.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_default()
}

async fn next_answers(a: &MockProvider, b: &MockProvider, gateway: &Gateway, name: &str) {
    let before = a.requests();
    let origin = author(name, &gateway.ask("p").await);
    assert_eq!(origin.mock, "b", "{name}");
    assert!(a.requests() > before, "{name}: the fault was never met");
    assert!(b.requests() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p18_bytes_beyond_or_short_of_the_length_are_never_an_answer() {
    let (a, b) = (mock("a").await, mock("b").await);
    for variant in fault::variants("P18", Dialect::OpenAi) {
        let gateway = pair(&a, &b, "").await;
        a.set(variant.behaviour);
        let mut authors = vec![author(variant.name, &gateway.ask("p").await)];
        a.set(Behaviour::healthy());
        // What stood behind the end of that answer must not begin the next one.
        for _ in 0..6 {
            authors.push(author(variant.name, &gateway.ask("p").await));
        }
        let told: std::collections::BTreeSet<_> = authors
            .iter()
            .map(|origin| (origin.mock.clone(), origin.request))
            .collect();
        assert_eq!(
            told.len(),
            authors.len(),
            "{}: one answer twice",
            variant.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p19_an_answer_framed_in_two_ways_is_left_for_the_next() {
    let (a, b) = (mock("a").await, mock("b").await);
    for variant in fault::variants("P19", Dialect::OpenAi) {
        let gateway = pair(&a, &b, "").await;
        a.set(variant.behaviour);
        next_answers(&a, &b, &gateway, variant.name).await;
        let blocked = metric(&gateway, "switchyard_blocked_total{rule=\"framing\"}").await;
        assert!(
            blocked >= 1.0,
            "{}: not told as a security event",
            variant.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p28_another_model_is_named_to_the_client_and_in_the_journal() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(variant("P28", "other"));
    let answer = gateway.ask("p").await;
    author("P28", &answer);
    let served = answer
        .header("x-switchyard-served-model")
        .map(str::to_owned)
        .expect("no word on the model that answered");
    assert_ne!(Some(served.as_str()), answer.header("x-switchyard-model"));
    let records = gateway.records().await;
    assert!(
        records
            .iter()
            .any(|record| record["kind"] == "outcome" && record["served_model"] == served.as_str()),
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p29_usage_that_cannot_be_true_is_estimated_and_the_last_one_counts() {
    for variant in fault::variants("P29", Dialect::OpenAi) {
        let a = mock("a").await;
        let gateway = alone(&a, "").await;
        a.set(variant.behaviour);
        author(variant.name, &gateway.ask("p").await);
        let usable = matches!(variant.name, "total_is_not_the_sum" | "twice");
        let records = gateway.records().await;
        let outcome = records
            .iter()
            .find(|record| record["kind"] == "outcome")
            .unwrap_or_else(|| panic!("{}: no outcome", variant.name));
        let output = outcome["usage"]["output"].as_u64().unwrap_or_default();
        assert!((1..1_000).contains(&output), "{}: {outcome}", variant.name);
        assert_eq!(
            outcome["estimated"] == true,
            !usable,
            "{}: {outcome}",
            variant.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p31_odd_statuses_are_treated_by_their_class() {
    let (a, b) = (mock("a").await, mock("b").await);
    for (name, who) in [
        ("100", "a"),
        ("103", "a"),
        ("101", "b"),
        ("204", "b"),
        ("409", "b"),
        ("425", "b"),
    ] {
        let gateway = pair(&a, &b, "").await;
        a.set(variant("P31", name));
        let before = a.requests();
        let origin = author(name, &gateway.ask("p").await);
        assert_eq!(origin.mock, who, "{name}");
        assert!(a.requests() > before, "{name}: the fault was never met");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p32_p33_what_is_too_large_or_packed_is_cut_and_left_for_the_next() {
    let (a, b) = (mock("a").await, mock("b").await);
    for (number, name) in [
        ("P32", "head_1mb"),
        ("P32", "head_500_fields"),
        ("P32", "body_200mb"),
        ("P33", "gzip"),
        ("P33", "br_unasked"),
    ] {
        let gateway = pair(&a, &b, "").await;
        a.set(variant(number, name));
        next_answers(&a, &b, &gateway, name).await;
        let series =
            "switchyard_attempts_total{provider=\"a\",model=\"m-a\",outcome=\"too_large\"}";
        assert!(metric(&gateway, series).await >= 1.0, "{name}");
    }
    let gateway = pair(&a, &b, "").await;
    a.set(variant("P32", "line_10mb"));
    let stream = gateway.stream("p").await;
    let text = stream.text(Dialect::OpenAi);
    // Before any content another provider takes over; after it the stream ends with an error.
    if stream.is_done() {
        assert_eq!(canary::verify(&text).unwrap().mock, "b");
    } else {
        let last = stream.documents().last().cloned().unwrap_or_default();
        assert!(last["error"].is_object(), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_provider_that_fails_three_times_in_ten_costs_no_client_anything() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    a.set(variant("P11", "30_percent"));
    for request in 0..120 {
        author(&format!("request {request}"), &gateway.ask("p").await);
    }
    let attempts = a.requests() + b.requests();
    assert!(attempts <= 170, "{attempts} attempts for 120 requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p34_when_everyone_fails_half_the_time_most_are_served_without_a_storm() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    for (seed, mock) in [(1, &a), (2, &b)] {
        mock.set(Behaviour::share(0.5, seed, Behaviour::status(500)));
    }
    let (mut failed, total) = (0, 300_u32);
    let mut codes = std::collections::BTreeMap::<String, u32>::new();
    for request in 0..total {
        // One and the same request that fails everywhere would be taken for the cause.
        let mut body = chat("p");
        body["messages"][0]["content"] = json!(format!("request {request}"));
        let answer = gateway.post(&body).await;
        if answer.status() != 200 {
            failed += 1;
            *codes.entry(code_of(&answer)).or_default() += 1;
        }
    }
    let attempts = a.requests() + b.requests();
    assert!(
        failed * 10 <= total * 5,
        "{failed} of {total} failed: {codes:?}"
    );
    assert!(
        attempts * 10 <= u64::from(total) * 14,
        "{attempts} attempts for {total} requests"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p06_a_model_told_to_have_no_output_left_rests() {
    let a = mock_of(Dialect::Anthropic, "a").await;
    let config = format!(
        "{}[pools.p]\ntargets = [\"a/m-a\"]\n",
        provider_with("a", &a, &["x", "y"])
    );
    let gateway = Gateway::start(&config).await;
    let soon = "2099-01-01T00:00:00Z";
    a.script(vec![
        Behaviour::healthy()
            .header("anthropic-ratelimit-output-tokens-limit", "1000")
            .header("anthropic-ratelimit-output-tokens-remaining", "0")
            .header("anthropic-ratelimit-output-tokens-reset", soon),
    ]);
    assert_eq!(gateway.ask("p").await.status(), 200);
    let hot = a.last().unwrap().asked.key().map(str::to_owned);
    for _ in 0..10 {
        assert_eq!(gateway.ask("p").await.status(), 200);
        assert_ne!(a.last().unwrap().asked.key().map(str::to_owned), hot);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k10_a_limit_that_shrinks_is_followed_at_once() {
    let a = mock("a").await;
    let gateway = alone_as("shrinking", &a).await;
    a.script(vec![
        Behaviour::healthy()
            .header("x-ratelimit-limit-requests", "500")
            .header("x-ratelimit-remaining-requests", "400"),
        Behaviour::healthy()
            .header("x-ratelimit-limit-requests", "50")
            .header("x-ratelimit-remaining-requests", "5"),
    ]);
    let series = "switchyard_headroom_ratio{provider=\"shrinking\"";
    gateway.ask("p").await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(metric(&gateway, series).await);
        if seen.last().is_some_and(|room| (0.7..0.85).contains(room)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(seen.last().is_some_and(|room| *room > 0.7), "{seen:?}");
    gateway.ask("p").await;
    for _ in 0..40 {
        seen.push(metric(&gateway, series).await);
        if seen.last().is_some_and(|room| *room < 0.2) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the smaller limit was not taken up: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s17_arguments_cut_in_the_middle_are_passed_on_and_counted() {
    let a = mock("a").await;
    let gateway = alone_as("cutting", &a).await;
    a.set(variant("S17", "arguments"));
    let mut body = chat("p");
    body["stream"] = json!(true);
    body["tools"] =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let stream = gateway.stream_of(&body).await;
    assert!(stream.is_done(), "{:?}", stream.events.last());
    assert!(metric(&gateway, "switchyard_quirk_total{provider=\"cutting\",").await >= 1.0);
}

/// A provider that begins to answer while the request is still on its way gets the rest of it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_begins_before_the_request_is_read_is_not_starved() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // More than the kernels of both sides hold, less than the gateway takes.
    const PROMPT: usize = 15 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let provider = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = vec![0; 64 * 1024];
            let mut read = stream.read(&mut some).await.unwrap();
            if read == 0 {
                continue;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n")
                .await
                .unwrap();
            // Long enough for the head to be read with most of the request unsent.
            tokio::time::sleep(Duration::from_millis(200)).await;
            while read < PROMPT {
                read += stream.read(&mut some).await.unwrap();
            }
            let rest = "\"choices\":[{\"index\":0,\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}";
            let last = format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len());
            stream.write_all(last.as_bytes()).await.unwrap();
        }
    });
    let config = format!(
        "[providers.early]\nbase_url = \"http://{address}/v1\"\nallow_private_address = true\nmodels = [\"m-early\"]\nkeys = [{{ name = \"k0\", secret = \"file:FOLDER/early-k0\" }}]\n[pools.p]\ntargets = [\"early/m-early\"]\n"
    );
    let gateway = Gateway::start(&config).await;
    let mut body = chat("p");
    body["messages"][0]["content"] = json!("x".repeat(PROMPT));
    let asked = gateway.post(&body);
    let answer = tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .expect("the rest of the request was never sent");
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(text_of(&answer), "hi");
    provider.abort();
}

/// That tokens were counted does not make an answer of nothing (P14, S03).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_a_stream_of_nothing_is_no_answer_whatever_it_counted() {
    let (a, b) = (mock("a").await, mock("b").await);
    for (finish, of) in [("stop", "b"), ("length", "a")] {
        let gateway = pair(&a, &b, "").await;
        let chunk = json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m-a",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 42, "total_tokens": 51}});
        a.set(Behaviour::status(200).body(
            "text/event-stream",
            format!("data: {chunk}\n\ndata: [DONE]\n\n"),
        ));
        let answered = b.requests();
        let stream = gateway.stream("p").await;
        assert!(stream.is_done(), "{:?}", stream.events.last());
        assert_eq!(b.requests() > answered, of == "b", "{finish}");
    }
}
