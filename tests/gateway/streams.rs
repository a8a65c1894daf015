//! Section 4 after the first content: no failover, no splice, one honest end (ground rules G2 and G3).

use std::time::Duration;

use serde_json::json;
use switchyard_chaos::client::request_bytes;
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, Fast, MockOptions, MockProvider};

use crate::frame::{Gateway, PATH, alone, auth, chat, mock, pair};

async fn broken_by(number: &str, code: &str) {
    let (a, b) = (mock("a").await, mock("b").await);
    let more = "[timeouts]\ngap_ms = 300\ngap_floor_ms = 300\n";
    for variant in fault::variants(number, Dialect::OpenAi) {
        let gateway = pair(&a, &b, more).await;
        a.clear().await.unwrap();
        a.set(variant.behaviour);
        let stream = gateway.stream("p").await;
        let name = format!("{number}/{}", variant.name);
        let text = stream.text(Dialect::OpenAi);
        assert!(
            !text.contains('b'),
            "{name}: two models' texts are joined: {text}"
        );
        assert!(!stream.is_done(), "{name}: a broken stream looks whole");
        let last = stream.documents().last().cloned().unwrap_or_default();
        assert!(
            last["error"].is_object(),
            "{name}: no error event: {:?}",
            stream.events.last()
        );
        assert!(
            code.split('|').any(|code| last["error"]["code"] == code),
            "{name}: {last}"
        );
        assert_eq!(
            b.requests(),
            0,
            "{name}: failed over after the commit point"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_a_stall_ends_in_an_error_event() {
    broken_by("S08", "upstream_stalled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_a_hard_cut_ends_in_an_error_event() {
    broken_by("S09", "upstream_reset|upstream_truncated").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_clean_cut_is_truncated_and_never_a_success() {
    broken_by("S10", "upstream_truncated").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_an_error_in_the_stream_ends_in_an_error_event() {
    broken_by("S11", "upstream_error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_a_bad_chunk_ends_the_stream_and_is_not_skipped() {
    broken_by("S12", "upstream_malformed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_the_connection_closes_behind_a_broken_stream() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(fault::s10(3));
    let mut client = gateway.client().await;
    let mut body = chat("p");
    body["stream"] = true.into();
    client
        .stream(PATH, &auth(), &body)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert!(client.closes_within(Duration::from_millis(500)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_s15_s16_odd_but_whole_streams_end_well_and_at_once() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for number in ["S15", "S16"] {
        for variant in fault::variants(number, Dialect::OpenAi) {
            a.set(variant.behaviour);
            let begun = tokio::time::Instant::now();
            let stream = gateway.stream("p").await;
            assert!(
                stream.is_done(),
                "{number}/{}: {:?}",
                variant.name,
                stream.events.last()
            );
            assert!(
                begun.elapsed() < Duration::from_millis(900),
                "{number}/{}",
                variant.name
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_one_choice_cut_is_a_cut() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for variant in fault::variants("S19", Dialect::OpenAi) {
        a.set(variant.behaviour);
        let mut body = chat("p");
        body["stream"] = true.into();
        body["n"] = 3.into();
        let stream = gateway.stream_of(&body).await;
        assert!(!stream.is_done(), "{}", variant.name);
        assert!(
            stream.documents().last().unwrap()["error"].is_object(),
            "{}",
            variant.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n12_a_stream_of_single_bytes_is_the_same_stream() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(Behaviour::healthy().sliced(1, Duration::from_micros(50)));
    let stream = gateway.stream("p").await;
    assert!(stream.is_done());
    assert!(switchyard_chaos::canary::verify(&stream.text(Dialect::OpenAi)).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_a_head_held_too_long_goes_out_with_comments_and_failover_stays_allowed() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway: Gateway = pair(&a, &b, "[timeouts]\nhold_head_ms = 100\nkeep_alive_ms = 100\nfirst_content_ms = 500\nfirst_content_floor_ms = 500\n").await;
    a.set(fault::s02());
    let stream = gateway.stream("p").await;
    assert!(
        !stream.comments.is_empty(),
        "nothing told the client that somebody is working"
    );
    assert!(stream.is_done());
    let text = stream.text(Dialect::OpenAi);
    assert_eq!(switchyard_chaos::canary::verify(&text).unwrap().mock, "b");
    let roles = stream
        .documents()
        .iter()
        .filter(|chunk| chunk["choices"][0]["delta"]["role"].is_string())
        .count();
    assert_eq!(roles, 1, "one role delta");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s18_a_runaway_stream_is_stopped() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(fault::s18(Dialect::OpenAi, 10_000));
    let mut body = chat("p");
    body["stream"] = true.into();
    body["max_tokens"] = json!(10);
    let stream = gateway.stream_of(&body).await;
    assert_eq!(
        stream.documents().last().unwrap()["error"]["code"],
        "stream_limit"
    );
}

/// Streams that stay open give nothing back; a healthy provider's learnt limit has to let them in all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_are_open_at_once() {
    let fast = Fast {
        text_bytes: 400,
        chunks: 2,
        delay: Duration::ZERO,
        gap: Duration::from_secs(60),
        together: 2,
    };
    let options = MockOptions {
        fast: Some(fast),
        ..MockOptions::default()
    };
    let a = MockProvider::start(options).await.unwrap();
    let gateway = alone(&a, "").await;
    let mut body = chat("p");
    body["stream"] = json!(true);
    let wire = request_bytes(
        gateway.address,
        "POST",
        PATH,
        &auth(),
        body.to_string().as_bytes(),
    );
    let mut open = Vec::new();
    while open.len() < 1_000 {
        let opening = (0..50).map(|_| async {
            let mut client = gateway.client().await;
            client.send(&wire).await.unwrap();
            let (head, _) = client.read_head().await.unwrap();
            (head.status, client)
        });
        for (status, client) in futures_util::future::join_all(opening).await {
            assert_eq!(status, 200, "after {} streams", open.len());
            open.push(client);
        }
    }
    assert_eq!(a.requests(), 1_000, "none was sent twice");
}
