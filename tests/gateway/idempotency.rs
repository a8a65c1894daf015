//! L12: requests with a key are executed once, and all who send it are told the same.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client, SseStream, request_bytes};
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Fast, MockOptions, MockProvider};
use tokio::time::{Instant, sleep};

use crate::frame::{Gateway, KEY, PATH, alone, auth, chat, code_of, mock, quick, text_of};
use crate::money::{answer, asked};

fn keyed(key: &str) -> Vec<(String, String)> {
    let mut fields = auth();
    fields.push(("idempotency-key".to_owned(), key.to_owned()));
    fields
}

fn streamed() -> Value {
    let mut body = chat("p");
    body["stream"] = true.into();
    body
}

async fn ask(gateway: &Gateway, key: &str) -> Answer {
    post(gateway, &keyed(key), &chat("p")).await
}

async fn post(gateway: &Gateway, fields: &[(String, String)], body: &Value) -> Answer {
    let mut client = gateway.client().await;
    client.post_json(PATH, fields, body).await.unwrap()
}

async fn stream(gateway: &Gateway, key: &str) -> SseStream {
    let (mut client, fields, body) = (gateway.client().await, keyed(key), streamed());
    let reader = client.stream(PATH, &fields, &body).await.unwrap();
    reader.collect().await.unwrap()
}

fn is_replayed(mark: Option<&str>) -> bool {
    match mark {
        Some("replayed") => true,
        None => false,
        other => panic!("{other:?}"),
    }
}

fn marked(answer: &Answer) -> bool {
    is_replayed(answer.header("x-switchyard-idempotent"))
}

/// Records of one kind, of the requests so far.
async fn records(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let mut records = gateway.records().await;
    records.retain(|record| record["kind"] == kind);
    records
}

/// Sends a request and reads nothing.
async fn begin(gateway: &Gateway, key: &str, body: &Value) -> Client {
    let body = body.to_string();
    let wire = request_bytes(gateway.address, "POST", PATH, &keyed(key), body.as_bytes());
    let mut client = gateway.client().await;
    client.send(&wire).await.unwrap();
    client
}

fn slow() -> switchyard_chaos::mock::Weather {
    quick().first_content(Duration::from_millis(400))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_fifty_at_once_are_one_execution_and_one_answer() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.weather(slow());
    let answers = futures_util::future::join_all((0..50).map(|_| ask(&gateway, "k"))).await;
    assert_eq!(a.requests(), 1);
    let own: Vec<_> = answers.iter().filter(|answer| !marked(answer)).collect();
    assert_eq!(own.len(), 1, "one of them was the first");
    for answer in &answers {
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert_eq!(answer.body, own[0].body);
        let id = answer.header("x-request-id");
        assert_eq!(id, own[0].header("x-request-id"));
    }
    assert!(!text_of(own[0]).is_empty());
    // And whoever comes later.
    let late = ask(&gateway, "k").await;
    assert!(marked(&late) && late.body == own[0].body && a.requests() == 1);
    for kind in ["intent", "attempt", "outcome"] {
        assert_eq!(records(&gateway, kind).await.len(), 1, "{kind}");
    }
    let metrics = gateway.metrics().await;
    for result in ["executed", "joined", "replayed"] {
        let name = format!("switchyard_idempotent_total{{result=\"{result}\"}}");
        assert!(metrics.contains(&name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_fifty_at_once_are_one_stream_byte_for_byte() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.weather(slow());
    let streams = futures_util::future::join_all((0..50).map(|_| stream(&gateway, "k"))).await;
    assert_eq!(a.requests(), 1);
    for stream in &streams {
        assert!(stream.is_done());
        assert_eq!(stream.raw, streams[0].raw);
    }
    let replayed = |stream: &&SseStream| is_replayed(stream.head.header("x-switchyard-idempotent"));
    assert_eq!(streams.iter().filter(replayed).count(), 49);
    let late = stream(&gateway, "k").await;
    assert_eq!((late.raw, a.requests()), (streams[0].raw.clone(), 1));
    assert_eq!(records(&gateway, "outcome").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_who_comes_in_the_middle_of_a_stream_gets_it_from_its_beginning_while_it_is_made() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.weather(quick().tokens(30).gap(Duration::from_millis(40)));
    let first = stream(&gateway, "k");
    let second = async {
        sleep(Duration::from_millis(500)).await;
        let (mut client, fields, body) = (gateway.client().await, keyed("k"), streamed());
        let mut reader = client.stream(PATH, &fields, &body).await.unwrap();
        reader.take(3).await.unwrap();
        assert_eq!(a.in_flight(), 1, "it is not over yet");
        reader.collect().await.unwrap()
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_done());
    assert_eq!(first.raw, second.raw);
    assert_eq!(a.requests(), 1);
}

/// Other requests under the key `k`, in every client's form.
async fn conflicts(gateway: &Gateway) {
    let mut other = chat("p");
    other["max_tokens"] = 7.into();
    let anthropic =
        json!({"model": "p", "max_tokens": 7, "messages": [{"role": "user", "content": "hello"}]});
    let google = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
    for (path, body, word) in [
        (PATH, &other, "conflict"),
        ("/v1/messages", &anthropic, "conflict_error"),
        ("/v1beta/models/p:generateContent", &google, "ABORTED"),
        ("/openai/v1/chat/completions", &chat("p"), "conflict"),
    ] {
        let answer = gateway
            .client()
            .await
            .post_json(path, &keyed("k"), body)
            .await
            .unwrap();
        let told = answer.json();
        assert_eq!(answer.status(), 409, "{path}: {told}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let words = ["code", "type", "status"].map(|name| told["error"][name].as_str());
        assert!(words.contains(&Some(word)), "{path}: {told}");
        assert!(told.to_string().contains("idempotency key"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_another_body_or_path_under_the_same_key_is_a_409_in_the_client_s_form() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.weather(quick().first_content(Duration::from_millis(1_500)));
    let mut first = begin(&gateway, "k", &chat("p")).await;
    assert!(a.wait_for(1, Duration::from_secs(5)).await);
    conflicts(&gateway).await;
    assert_eq!(a.in_flight(), 1, "it is under way");
    assert_eq!(first.read_answer().await.unwrap().status(), 200);
    conflicts(&gateway).await;
    assert_eq!(a.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a20_what_else_is_demanded_is_another_request_and_what_cannot_be_read_is_refused() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    assert_eq!(ask(&gateway, "k").await.status(), 200);
    for (name, value, status) in [
        ("x-switchyard-region", "eu", 409),
        ("x-switchyard-region", "E U", 400),
        ("x-switchyard-unsupported", "strict", 409),
    ] {
        let mut fields = keyed("k");
        fields.push((name.to_owned(), value.to_owned()));
        let answer = post(&gateway, &fields, &chat("p")).await;
        assert_eq!(answer.status(), status, "{name}: {}", answer.json());
    }
    assert!(marked(&ask(&gateway, "k").await) && a.requests() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a15_a_key_means_nothing_to_other_clients_and_tenants() {
    let a = mock("a").await;
    let more = "[[clients]]\nname = \"beside\"\nkey = \"file:FOLDER/beside\"\n[[clients]]\nname = \"foreign\"\nkey = \"file:FOLDER/foreign\"\ntenant = \"other\"\n[tenants.other]\n";
    let gateway = alone(&a, more).await;
    let own = ask(&gateway, "k").await;
    for (number, name) in [(2, "beside"), (3, "foreign")] {
        let fields = [
            (
                "authorization".to_owned(),
                format!("Bearer sk-canary-{name}"),
            ),
            ("idempotency-key".to_owned(), "k".to_owned()),
        ];
        for _ in 0..2 {
            let answer = post(&gateway, &fields, &chat("p")).await;
            assert_eq!(answer.status(), 200, "{}", answer.json());
            assert_ne!(answer.body, own.body, "{name} reads what another was told");
            assert_eq!(a.requests(), number);
        }
        let mut other = chat("p");
        other["max_tokens"] = 7.into();
        assert_eq!(post(&gateway, &fields, &other).await.status(), 409);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_what_failed_is_told_to_who_waits_and_executed_anew_for_who_comes_later() {
    let a = mock("a").await;
    let gateway = alone(&a, "[failover]\nmax_attempts = 1\n").await;
    for (number, status, told) in [(1, 500, 502), (2, 429, 429), (3, 400, 400)] {
        let key = format!("k{number}");
        a.set(Behaviour::status(status).delayed(Duration::from_millis(400)));
        let asked = a.requests();
        let answers = futures_util::future::join_all((0..5).map(|_| ask(&gateway, &key))).await;
        assert_eq!(a.requests(), asked + 1, "{status}");
        for answer in &answers {
            assert_eq!(answer.status(), told, "{}", answer.json());
            assert_eq!(answer.body, answers[0].body);
        }
        a.set(Behaviour::healthy());
        let again = async {
            loop {
                let answer = ask(&gateway, &key).await;
                assert!(!marked(&answer), "an error was kept: {}", answer.json());
                if answer.status() == 200 {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), again)
            .await
            .expect("it is never served");
        assert!(marked(&ask(&gateway, &key).await), "{status}");
    }
    // What the gateway itself refuses before it asks anybody.
    for _ in 0..2 {
        let answer = post(&gateway, &keyed("unknown"), &chat("nobody")).await;
        assert_eq!((answer.status(), marked(&answer)), (404, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_broken_stream_is_broken_for_all_who_read_it_and_made_anew_later() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(fault::s10(3));
    let (one, other) = tokio::join!(stream(&gateway, "k"), stream(&gateway, "k"));
    assert_eq!((a.requests(), &one.raw), (1, &other.raw));
    let last = one.documents().last().cloned().unwrap();
    assert!(last["error"].is_object() && !one.is_done(), "{last}");
    let mut client = begin(&gateway, "k2", &streamed()).await;
    client.read_answer().await.unwrap();
    assert!(client.closes_within(Duration::from_millis(500)).await);
    a.set(Behaviour::healthy());
    let again = stream(&gateway, "k").await;
    assert!(again.is_done() && a.requests() == 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_l01_it_goes_on_without_the_first_while_others_wait_and_ends_with_the_last() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for body in [chat("p"), streamed()] {
        let key = format!("k{}", body["stream"]);
        a.weather(slow().tokens(20).gap(Duration::from_millis(30)));
        let asked = a.requests();
        let first = begin(&gateway, &key, &body).await;
        assert!(a.wait_for(asked + 1, Duration::from_secs(5)).await);
        let mut second = begin(&gateway, &key, &body).await;
        sleep(Duration::from_millis(150)).await;
        first.reset();
        let answer = second.read_answer().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.body.len() > 100 && a.requests() == asked + 1);
        assert!(marked(&answer));
        let outcome = records(&gateway, "outcome").await.pop().unwrap();
        assert_eq!(outcome["how"], "ok", "{outcome}");
        // Nobody is left: the provider is hung up on, and the key is free.
        let key = format!("{key}-2");
        a.weather(slow().tokens(200).gap(Duration::from_millis(30)));
        let both = (
            begin(&gateway, &key, &body).await,
            begin(&gateway, &key, &body).await,
        );
        assert!(a.wait_for(asked + 2, Duration::from_secs(5)).await);
        sleep(Duration::from_millis(150)).await;
        both.0.reset();
        sleep(Duration::from_millis(300)).await;
        assert_eq!(a.in_flight(), 1, "another still waits");
        let left = Instant::now();
        both.1.reset();
        let exchange = a.wait_for_close(asked + 2, Duration::from_secs(5)).await;
        assert!(
            exchange.unwrap().left.is_some(),
            "the provider goes on for nobody"
        );
        assert!(
            left.elapsed() < Duration::from_secs(1),
            "{:?}",
            left.elapsed()
        );
        let outcome = records(&gateway, "outcome").await.pop().unwrap();
        assert_eq!(outcome["how"], "cancelled", "{outcome}");
        a.weather(quick());
        let mut again = begin(&gateway, &key, &body).await;
        let answer = again.read_answer().await.unwrap();
        assert_eq!((answer.status(), marked(&answer)), (200, false));
        assert_eq!(a.requests(), asked + 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_who_joins_waits_no_longer_than_it_said() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.weather(quick().first_content(Duration::from_secs(2)));
    let mut first = begin(&gateway, "k", &chat("p")).await;
    assert!(a.wait_for(1, Duration::from_secs(5)).await);
    let mut fields = keyed("k");
    fields.push(("x-switchyard-timeout-ms".to_owned(), "100".to_owned()));
    let answer = post(&gateway, &fields, &chat("p")).await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (504, "deadline")
    );
    assert_eq!(a.in_flight(), 1, "the first still waits");
    assert_eq!(first.read_answer().await.unwrap().status(), 200);
    assert_eq!(a.requests(), 1);
}

/// A provider whose answers hold so much text, and begin after a while in which others may join.
async fn wordy(text_bytes: usize, delay: Duration) -> MockProvider {
    let fast = Fast {
        text_bytes,
        chunks: 50,
        delay,
        gap: Duration::from_millis(2),
        together: 1,
    };
    let options = MockOptions {
        fast: Some(fast),
        ..MockOptions::default()
    };
    MockProvider::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_an_answer_too_large_to_keep_is_whole_for_who_was_there_and_not_made_again() {
    let a = wordy(600_000, Duration::from_secs(1)).await;
    let gateway = alone(&a, "[idempotency]\nanswer_bytes = 100000\n").await;
    let (one, other) = tokio::join!(stream(&gateway, "k"), stream(&gateway, "k"));
    assert!(one.is_done() && one.raw.len() > 600_000);
    assert!(one.raw == other.raw);
    let (whole, same) = tokio::join!(ask(&gateway, "w"), ask(&gateway, "w"));
    assert!(whole.status() == 200 && whole.body.len() > 600_000 && whole.body == same.body);
    assert_eq!(a.requests(), 2);
    for (key, body) in [("k", streamed()), ("w", chat("p"))] {
        let answer = post(&gateway, &keyed(key), &body).await;
        assert_eq!(
            (answer.status(), code_of(&answer).as_str()),
            (409, "conflict")
        );
        let words = answer.json()["error"]["message"].to_string();
        assert!(
            words.contains("100000") && words.contains("new key"),
            "{words}"
        );
    }
    assert_eq!(a.requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_slow_reader_of_what_is_not_kept_holds_nobody_but_for_its_limit() {
    let a = wordy(8 << 20, Duration::from_secs(1)).await;
    let more = "[idempotency]\nanswer_bytes = 100000\n";
    let gateway = crate::frame::alone_with(&a, "write_stall_ms = 1000\n", more).await;
    let stuck = begin(&gateway, "k", &streamed()).await;
    assert!(a.wait_for(1, Duration::from_secs(5)).await);
    let begun = Instant::now();
    let read = stream(&gateway, "k").await;
    let last = read.raw.len().saturating_sub(500);
    let last = String::from_utf8_lossy(&read.raw[last..]);
    assert!(read.is_done() && read.raw.len() > 8 << 20, "{last}");
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(a.requests(), 1);
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_g14_when_the_memory_for_answers_is_full_the_oldest_are_forgotten() {
    let a = wordy(150_000, Duration::ZERO).await;
    let more = "[idempotency]\nmost_bytes = 1048576\nanswer_bytes = 500000\n";
    let gateway = alone(&a, more).await;
    for number in 0..10 {
        assert!(!marked(&ask(&gateway, &number.to_string()).await));
    }
    assert!(marked(&ask(&gateway, "9").await), "the newest is kept");
    assert!(!marked(&ask(&gateway, "0").await), "the oldest is not");
    assert_eq!(a.requests(), 11);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("switchyard_idempotent_total{result=\"forgotten\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_key_is_new_after_its_time_and_after_a_restart() {
    let a = mock("a").await;
    let mut gateway = alone(&a, "[idempotency]\nkeep_ms = 1500\n").await;
    let first = ask(&gateway, "k").await;
    assert!(marked(&ask(&gateway, "k").await));
    sleep(Duration::from_millis(1_600)).await;
    let second = ask(&gateway, "k").await;
    assert!(!marked(&second) && second.body != first.body);
    gateway.restart().await;
    assert!(!marked(&ask(&gateway, "k").await));
    assert_eq!(a.requests(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_without_room_for_any_the_header_means_nothing_and_a_bad_key_is_told() {
    let a = mock("a").await;
    let gateway = alone(&a, "[idempotency]\nmost_bytes = 0\n").await;
    for _ in 0..2 {
        assert!(!marked(&ask(&gateway, &"k".repeat(1_000)).await));
    }
    assert_eq!(a.requests(), 2);
    let gateway = alone(&a, "").await;
    let answer = ask(&gateway, &"k".repeat(1_000)).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json()["error"]["param"], "idempotency-key");
    assert_eq!(a.requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_kept_response_is_one_response_and_over_http2_a_replay_is_whole() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let body = json!({"model": "p", "input": "hello"});
    let mut client = gateway.client().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let fields = keyed("r");
        let asked = client.post_json("/v1/responses", &fields, &body);
        let answer = asked.await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.json());
        ids.push(answer.json()["id"].clone());
    }
    assert!(ids[0] == ids[1] && a.requests() == 1);
    let first = stream(&gateway, "k").await;
    let socket = tokio::net::TcpStream::connect(gateway.address)
        .await
        .unwrap();
    let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://x{PATH}"))
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .header("idempotency-key", "k")
        .body(())
        .unwrap();
    let (answer, mut send) = sender.send_request(request, false).unwrap();
    send.send_data(streamed().to_string().into(), true).unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.headers()["x-switchyard-idempotent"], "replayed");
    let mut read = Vec::new();
    while let Some(piece) = answer.body_mut().data().await {
        let piece = piece.unwrap();
        let _ = answer
            .body_mut()
            .flow_control()
            .release_capacity(piece.len());
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, first.raw);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_a_replay_costs_nothing_and_says_what_the_one_execution_cost() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = crate::money::gateway(&[&a], "", "[pricing]\ntell_cost = \"always\"\n").await;
    let first = post(&gateway, &keyed("k"), &asked()).await;
    let again = post(&gateway, &keyed("k"), &asked()).await;
    assert!(!marked(&first) && marked(&again));
    let costs = |answer: &Answer| {
        let header = |name| answer.header(name).map(str::to_owned);
        (
            header("x-switchyard-cost"),
            header("x-switchyard-executed-cost"),
        )
    };
    assert_eq!(costs(&first), (Some("0.011".to_owned()), None));
    assert_eq!(
        costs(&again),
        (Some("0".to_owned()), Some("0.011".to_owned()))
    );
    // The body is the execution's, to the byte, and names it.
    assert_eq!(first.body, again.body);
    assert_eq!(again.json()["usage"]["cost"], 0.011);
    assert_eq!(first.header("x-request-id"), again.header("x-request-id"));
}
