//! The mock itself: healthy answers, the log, keys, doors, orders.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail the test they serve"
)]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::canary;
use crate::client::{Answer, BodyEnd, Client, ClientError, SseStream};

const SOON: Duration = Duration::from_secs(5);
const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Anthropic];

async fn start(dialect: Dialect) -> MockProvider {
    MockProvider::start(MockOptions::for_dialect(dialect))
        .await
        .unwrap()
}

async fn ask(mock: &MockProvider, body: &Value) -> Answer {
    let mut client = Client::connect(mock.address()).await.unwrap();
    let headers = mock.dialect().sample_headers("sk-test");
    client
        .post_json(mock.dialect().path(), &headers, body)
        .await
        .unwrap()
}

async fn ask_stream(mock: &MockProvider, body: &Value) -> SseStream {
    let mut client = Client::connect(mock.address()).await.unwrap();
    let headers = mock.dialect().sample_headers("sk-test");
    let reader = client
        .stream(mock.dialect().path(), &headers, body)
        .await
        .unwrap();
    reader.collect().await.unwrap()
}

fn with(mut body: Value, member: &str, value: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .insert(member.to_owned(), value);
    body
}

#[tokio::test]
async fn a_unary_answer_and_a_stream_say_the_same_canary_words() {
    for dialect in BOTH {
        let mock = start(dialect).await;
        let unary = ask(&mock, &dialect.sample_request("hi", false)).await;
        assert_eq!((unary.status(), unary.end), (200, BodyEnd::Whole));
        let origin = canary::verify(&dialect.text_of(&[unary.json()])).unwrap();
        assert_eq!(
            (origin.mock.as_str(), origin.request, origin.words),
            ("c", 1, 10)
        );

        let stream = ask_stream(&mock, &dialect.sample_request("hi", true)).await;
        assert_eq!(
            (stream.status(), stream.end, stream.is_done()),
            (200, BodyEnd::Whole, true)
        );
        let origin = canary::verify(&stream.text(dialect)).unwrap();
        assert_eq!((origin.request, origin.words), (2, 10));
    }
}

#[tokio::test]
async fn openai_chunks_come_in_the_documented_order_with_usage_only_when_asked() {
    let mock = start(Dialect::OpenAi).await;
    let plain = ask_stream(&mock, &Dialect::OpenAi.sample_request("hi", true)).await;
    assert!(
        plain
            .documents()
            .iter()
            .all(|chunk| chunk.get("usage").is_none())
    );

    let body = with(
        Dialect::OpenAi.sample_request("hi", true),
        "stream_options",
        json!({"include_usage": true}),
    );
    let asked = ask_stream(&mock, &body).await;
    let chunks = asked.documents();
    assert_eq!(
        chunks[0].pointer("/choices/0/delta/role"),
        Some(&json!("assistant"))
    );
    assert_eq!(
        chunks[11].pointer("/choices/0/finish_reason"),
        Some(&json!("stop"))
    );
    assert_eq!(chunks[12]["choices"], json!([]));
    let reported = mock.last().unwrap().reported.unwrap();
    assert_eq!(chunks[12]["usage"]["completion_tokens"], json!(10));
    assert_eq!(
        chunks[12]["usage"]["total_tokens"],
        json!(reported.input + reported.output)
    );
    assert!(
        chunks[..12]
            .iter()
            .all(|chunk| chunk.get("usage") == Some(&Value::Null))
    );
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert_eq!(asked.events.last().unwrap().data, "[DONE]");
}

#[tokio::test]
async fn anthropic_events_come_in_the_documented_order() {
    let mock = start(Dialect::Anthropic).await;
    let stream = ask_stream(&mock, &Dialect::Anthropic.sample_request("hi", true)).await;
    let mut names: Vec<&str> = stream
        .events
        .iter()
        .map(|event| event.event.as_str())
        .collect();
    names.dedup();
    let wanted = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, wanted);
    assert!(
        stream
            .documents()
            .iter()
            .zip(&stream.events)
            .all(|(data, event)| data["type"] == event.event.as_str())
    );
    assert_eq!(
        stream.documents()[0].pointer("/message/usage/output_tokens"),
        Some(&json!(1))
    );
    let finish = stream.documents().into_iter().rev().nth(1).unwrap();
    assert_eq!(
        (
            &finish["delta"]["stop_reason"],
            &finish["usage"]["output_tokens"]
        ),
        (&json!("end_turn"), &json!(10))
    );
}

#[tokio::test]
async fn a_token_limit_shortens_the_answer_and_names_the_reason() {
    for (dialect, pointer, reason) in [
        (Dialect::OpenAi, "/choices/0/finish_reason", "length"),
        (Dialect::Anthropic, "/stop_reason", "max_tokens"),
    ] {
        let mock = start(dialect).await;
        let answer = ask(
            &mock,
            &with(dialect.sample_request("hi", false), "max_tokens", json!(4)),
        )
        .await;
        assert_eq!(answer.json().pointer(pointer), Some(&json!(reason)));
        assert_eq!(
            canary::verify(&dialect.text_of(&[answer.json()]))
                .unwrap()
                .words,
            4
        );
    }
}

#[tokio::test]
async fn openai_tools_are_called_in_parallel_when_the_prompt_says_so() {
    let mock = start(Dialect::OpenAi).await;
    let tools = json!([{"type": "function", "function": {"name": "weather"}}, {"type": "function", "function": {"name": "clock"}}]);
    let body = |stream| {
        with(
            Dialect::OpenAi.sample_request("please [[tools:2]]", stream),
            "tools",
            tools.clone(),
        )
    };
    let unary = ask(&mock, &body(false)).await.json();
    assert_eq!(
        unary.pointer("/choices/0/finish_reason"),
        Some(&json!("tool_calls"))
    );
    assert_eq!(
        unary.pointer("/choices/0/message/content"),
        Some(&Value::Null)
    );
    let calls = unary
        .pointer("/choices/0/message/tool_calls")
        .unwrap()
        .as_array()
        .unwrap();
    assert_eq!(
        (calls.len(), &calls[1]["function"]["name"]),
        (2, &json!("clock"))
    );

    let mut arguments = [String::new(), String::new()];
    for chunk in ask_stream(&mock, &body(true)).await.documents() {
        if let Some(call) = chunk.pointer("/choices/0/delta/tool_calls/0") {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
        }
    }
    let second: Value = serde_json::from_str(&arguments[1]).unwrap();
    assert_eq!(second["canary"], json!("c2-2"));

    let one = ask(
        &mock,
        &with(body(false), "parallel_tool_calls", json!(false)),
    )
    .await
    .json();
    assert_eq!(
        one.pointer("/choices/0/message/tool_calls")
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn anthropic_tools_come_as_blocks_and_an_unanswered_one_is_refused() {
    let mock = start(Dialect::Anthropic).await;
    let tools = json!([{"name": "weather", "input_schema": {"type": "object"}}]);
    let body = with(
        Dialect::Anthropic.sample_request("[[tools]]", true),
        "tools",
        tools,
    );
    let stream = ask_stream(&mock, &body).await;
    let documents = stream.documents();
    assert_eq!(
        documents[1].pointer("/content_block/name"),
        Some(&json!("weather"))
    );
    let input: String = documents
        .iter()
        .filter_map(|data| data.pointer("/delta/partial_json").and_then(Value::as_str))
        .collect();
    assert_eq!(
        serde_json::from_str::<Value>(&input).unwrap()["canary"],
        json!("c1-1")
    );

    let unanswered = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]},
        {"role": "user", "content": "well?"},
    ]);
    let refused = ask(
        &mock,
        &with(
            Dialect::Anthropic.sample_request("", false),
            "messages",
            unanswered,
        ),
    )
    .await;
    assert_eq!(refused.status(), 400);
    assert!(
        refused.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("toolu_1")
    );
}

#[tokio::test]
async fn what_the_real_provider_refuses_is_refused() {
    let openai = start(Dialect::OpenAi).await;
    assert_eq!(
        ask(
            &openai,
            &json!({"messages": [{"role": "user", "content": "x"}]})
        )
        .await
        .status(),
        400
    );
    assert_eq!(
        ask(&openai, &json!({"model": "m", "messages": []}))
            .await
            .status(),
        400
    );
    assert_eq!(ask(&openai, &json!("not an object")).await.status(), 400);
    let orphan = json!([{"role": "tool", "tool_call_id": "call_1", "content": "x"}]);
    assert_eq!(
        ask(&openai, &json!({"model": "m", "messages": orphan}))
            .await
            .status(),
        400
    );
    let anthropic = start(Dialect::Anthropic).await;
    let no_limit = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let refused = ask(&anthropic, &no_limit).await;
    assert_eq!(
        (refused.status(), refused.json()["error"]["type"].as_str()),
        (400, Some("invalid_request_error"))
    );
}

#[tokio::test]
async fn models_are_listed_and_unknown_paths_are_not_found() {
    for dialect in BOTH {
        let mock = start(dialect).await;
        let mut client = Client::connect(mock.address()).await.unwrap();
        let models = client.get("/v1/models", &[]).await.unwrap();
        assert_eq!(models.json()["data"][0]["id"], json!("mock-model"));
        assert_eq!(client.get("/v1/nothing", &[]).await.unwrap().status(), 404);
        assert_eq!(mock.connections(), 1, "keep-alive");
    }
}

#[tokio::test]
async fn the_log_holds_what_came_and_when_what_left() {
    let mock = start(Dialect::OpenAi).await;
    mock.weather(
        Weather::default()
            .first_content(Duration::from_millis(40))
            .gap(Duration::from_millis(5))
            .tokens(5),
    );
    let body = Dialect::OpenAi.sample_request("hi", true);
    let stream = ask_stream(&mock, &body).await;
    let exchange = mock.wait_for_finish(1, SOON).await.unwrap();
    assert_eq!(
        (exchange.asked.json.clone(), exchange.asked.key()),
        (body, Some("sk-test"))
    );
    assert_eq!(
        (
            exchange.asked.connection,
            exchange.asked.reuse,
            exchange.content_sent
        ),
        (1, 0, 5)
    );
    // Role, five words, finish, [DONE] and the last HTTP chunk.
    assert_eq!(exchange.chunks_sent, 9);
    let wire = exchange.bytes_sent;
    assert!(wire > stream.raw.len() as u64, "{wire}");
    let (head, first, last) = (
        exchange.head_at.unwrap(),
        exchange.first_content_at.unwrap(),
        exchange.last_byte_at.unwrap(),
    );
    assert!(
        exchange.asked.at + Duration::from_millis(40) <= first && head <= first,
        "{exchange:?}"
    );
    assert!(
        last - first >= Duration::from_millis(20),
        "four gaps of 5 ms: {:?}",
        last - first
    );
    assert!(exchange.left.is_none());
}

#[tokio::test]
async fn a_peer_that_leaves_is_noticed_while_streaming_sleeping_and_holding() {
    let slow = Weather::default()
        .gap(Duration::from_millis(300))
        .tokens(50);
    let cases = [
        (
            "streaming",
            Behaviour::from(Healthy {
                weather: Some(slow),
                form: Form::Stream,
                ..Healthy::default()
            }),
        ),
        (
            "sleeping",
            Behaviour::healthy().delayed(Duration::from_secs(60)),
        ),
        ("holding", Behaviour::steps(vec![Step::Hold])),
        (
            "slicing",
            Behaviour::healthy().sliced(1, Duration::from_millis(200)),
        ),
    ];
    for (name, behaviour) in cases {
        for how in [Leaving::Fin, Leaving::Reset] {
            let mock = start(Dialect::OpenAi).await;
            mock.set(behaviour.clone());
            let mut client = Client::connect(mock.address()).await.unwrap();
            client
                .send_json(
                    "/v1/chat/completions",
                    &[],
                    &Dialect::OpenAi.sample_request("hi", true),
                )
                .await
                .unwrap();
            assert!(mock.wait_for(1, SOON).await);
            assert_eq!(mock.in_flight(), 1);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = mock.now();
            match how {
                Leaving::Fin => drop(client),
                Leaving::Reset => client.reset(),
            }
            let left = mock.wait_for_close(1, SOON).await.unwrap().left.unwrap();
            // 5 ms on a quiet machine; the bound leaves room for a busy one.
            assert!(
                left.0.saturating_sub(before) < Duration::from_millis(100),
                "{name}: {:?}",
                left.0 - before
            );
            // Unread bytes of the answer turn a close into a reset, so only the reset is certain to be one.
            assert!(
                how == Leaving::Fin || left.1 == Leaving::Reset,
                "{name}: {left:?}"
            );
            assert!(mock.wait_for_no_connections(SOON).await);
            assert_eq!(mock.in_flight(), 0);
            assert!(!mock.last().unwrap().finished);
        }
    }
}

#[tokio::test]
async fn a_script_is_one_behaviour_per_request_and_rules_come_before_it() {
    let mock = start(Dialect::OpenAi).await;
    let body = Dialect::OpenAi.sample_request("hi", false);
    mock.script(vec![Behaviour::status(503), Behaviour::status(502)]);
    mock.when(
        |asked| asked.key() == Some("sk-hot"),
        Behaviour::status(429),
    );
    let mut client = Client::connect(mock.address()).await.unwrap();
    let hot = Dialect::OpenAi.sample_headers("sk-hot");
    assert_eq!(
        client
            .post_json("/v1/chat/completions", &hot, &body)
            .await
            .unwrap()
            .status(),
        429
    );
    assert_eq!(
        client.get("/v1/models", &[]).await.unwrap().status(),
        200,
        "a listing does not use the script up"
    );
    for wanted in [503, 502, 200, 200] {
        assert_eq!(
            client
                .post_json("/v1/chat/completions", &[], &body)
                .await
                .unwrap()
                .status(),
            wanted
        );
    }
    mock.set(Behaviour::status(500));
    assert_eq!(ask(&mock, &body).await.status(), 500);
    mock.clear().await.unwrap();
    assert_eq!(
        client
            .post_json("/v1/chat/completions", &hot, &body)
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn keys_can_be_accepted_and_revoked() {
    for dialect in BOTH {
        let mock = start(dialect).await;
        let body = dialect.sample_request("hi", false);
        assert_eq!(
            ask(&mock, &body).await.status(),
            200,
            "by default every key is good"
        );
        mock.accept_key("sk-other");
        assert_eq!(ask(&mock, &body).await.status(), 401);
        mock.accept_key("sk-test");
        assert_eq!(ask(&mock, &body).await.status(), 200);
        mock.revoke_key("sk-test");
        assert_eq!(ask(&mock, &body).await.status(), 401);
    }
}

/// The faults that show in the log after three requests on two connections.
async fn shown(behaviour: Behaviour) -> Vec<Option<String>> {
    let mock = start(Dialect::OpenAi).await;
    mock.set(behaviour.labelled("it"));
    let body = Dialect::OpenAi.sample_request("hi", true);
    let mut client = Client::connect(mock.address()).await.unwrap();
    client.patience(Duration::from_millis(150));
    for _ in 0..2 {
        let sent = client.send_json("/v1/chat/completions", &[], &body).await;
        if sent.is_ok() {
            let _ = client.read_answer().await;
        }
    }
    drop(client);
    let log = mock.log();
    let name = |fault: &Option<std::sync::Arc<str>>| fault.as_deref().map(str::to_owned);
    log.iter().map(|one| name(&one.fault)).collect()
}

#[tokio::test]
async fn a_fault_is_in_the_log_only_once_it_showed() {
    let it = || Some("it".to_owned());
    let cut = |after| Behaviour::healthy().edit(edit::cut_after(after, Ending::Reset));
    let stall = |after| Behaviour::healthy().edit(edit::cut_after(after, Ending::Hold));
    assert_eq!(shown(Behaviour::healthy()).await, [None, None]);
    assert_eq!(
        shown(cut(5_000)).await,
        [None, None],
        "the stream has ten words"
    );
    assert_eq!(shown(stall(5_000)).await, [None, None]);
    assert_eq!(
        shown(cut(3)).await,
        [it()],
        "the second found no connection"
    );
    assert_eq!(shown(stall(3)).await[0], it());
    assert_eq!(shown(Behaviour::status(500)).await, [it(), it()]);
    let hang = Behaviour::healthy().delayed(Duration::from_secs(86_400));
    assert_eq!(shown(hang).await[0], it());
    let same = Behaviour::from(Weather::default());
    assert_eq!(shown(same).await, [None, None], "the mock's own weather");
    let pieces = Behaviour::healthy().sliced(7, Duration::ZERO);
    assert_eq!(shown(pieces).await, [it(), it()]);
}

#[tokio::test]
async fn n08_a_dead_connection_is_a_fault_of_the_exchange_before() {
    let dead = Behaviour::healthy().then(After::ResetOnReuse);
    assert_eq!(shown(dead).await, [Some("it".to_owned())]);
    let mock = start(Dialect::OpenAi).await;
    mock.set(
        Behaviour::healthy()
            .then(After::ResetOnReuse)
            .labelled("it"),
    );
    let answer = ask(&mock, &Dialect::OpenAi.sample_request("hi", false)).await;
    assert_eq!(answer.status(), 200);
    assert!(mock.last().unwrap().fault.is_none(), "never used again");
}

#[tokio::test]
async fn k01_a_refused_key_is_counted_and_the_others_stay_good() {
    let mock = start(Dialect::OpenAi).await;
    let body = Dialect::OpenAi.sample_request("hi", false);
    let with = async |key: &str| {
        let mut client = Client::connect(mock.address()).await.unwrap();
        let fields = [("authorization".to_owned(), key.to_owned())];
        client
            .post_json("/v1/chat/completions", &fields, &body)
            .await
            .unwrap()
            .status()
    };
    mock.refuse_key("sk-one");
    assert_eq!(with("Bearer sk-one").await, 401);
    assert_eq!(with("Bearer sk-two").await, 200);
    assert_eq!(mock.keys_refused(), 1, "the good one is not counted");
    mock.allow_key("sk-one");
    assert_eq!(with("Bearer sk-one").await, 200);
    assert_eq!(with("Bearer sk-two").await, 200);
}

/// A mock whose idle connection was closed, and the client of one that waits for its answer.
async fn with_idle_ones_closed() -> (MockProvider, Client) {
    let mock = start(Dialect::OpenAi).await;
    mock.script(vec![
        Behaviour::healthy(),
        Behaviour::steps(vec![Step::Hold]),
    ]);
    let body = Dialect::OpenAi.sample_request("hi", false);
    let mut idle = Client::connect(mock.address()).await.unwrap();
    idle.post_json("/v1/chat/completions", &[], &body)
        .await
        .unwrap();
    let mut busy = Client::connect(mock.address()).await.unwrap();
    busy.send_json("/v1/chat/completions", &[], &body)
        .await
        .unwrap();
    assert!(mock.wait_for(2, SOON).await);
    mock.close_idle();
    assert!(idle.closes_within(SOON).await);
    (mock, busy)
}

#[tokio::test]
async fn n08_only_idle_connections_are_counted_as_closed() {
    let (mock, _busy) = with_idle_ones_closed().await;
    assert_eq!(mock.idle_connections_closed(), 1);
}

#[tokio::test]
async fn a_limit_is_counted_told_and_enforced() {
    let mock = start(Dialect::OpenAi).await;
    mock.limit(Some(RateLimit {
        requests: 2,
        window: Duration::from_secs(3600),
    }));
    let body = Dialect::OpenAi.sample_request("hi", false);
    let remaining = |answer: &Answer| {
        answer
            .header("x-ratelimit-remaining-requests")
            .unwrap()
            .to_owned()
    };
    assert_eq!(remaining(&ask(&mock, &body).await), "1");
    assert_eq!(remaining(&ask(&mock, &body).await), "0");
    let refused = ask(&mock, &body).await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn n03_a_refusing_door_keeps_its_port_and_opens_again() {
    let mock = start(Dialect::OpenAi).await;
    let mut kept = Client::connect(mock.address()).await.unwrap();
    let body = Dialect::OpenAi.sample_request("hi", false);
    assert_eq!(
        kept.post_json("/v1/chat/completions", &[], &body)
            .await
            .unwrap()
            .status(),
        200
    );
    for _ in 0..3 {
        mock.door(Door::Refusing).await.unwrap();
        let refused = Client::connect(mock.address()).await;
        assert!(
            matches!(&refused, Err(ClientError::Connect(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused)
        );
        assert_eq!(
            kept.post_json("/v1/chat/completions", &[], &body)
                .await
                .unwrap()
                .status(),
            200,
            "open connections stay"
        );
        mock.door(Door::Open).await.unwrap();
        assert_eq!(ask(&mock, &body).await.status(), 200);
    }
}

#[tokio::test]
async fn n03_nobody_else_gets_the_port_while_it_refuses() {
    let mock = start(Dialect::OpenAi).await;
    mock.door(Door::Refusing).await.unwrap();
    // Without `SO_REUSEADDR`, as the kernel chooses ports for others.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    assert!(
        other.bind(mock.address()).is_err(),
        "the port was free to take"
    );
    drop(mock);
}

#[tokio::test]
async fn the_newest_rule_wins() {
    let mock = start(Dialect::OpenAi).await;
    mock.when(|_| true, Behaviour::status(429));
    mock.when(|_| true, Behaviour::status(503));
    let body = Dialect::OpenAi.sample_request("hi", false);
    assert_eq!(ask(&mock, &body).await.status(), 503);
}

#[tokio::test]
async fn n04_a_silent_door_accepts_and_never_answers() {
    let mock = start(Dialect::OpenAi).await;
    mock.door(Door::Silent).await.unwrap();
    let mut client = Client::connect(mock.address()).await.unwrap();
    client.patience(Duration::from_millis(100));
    // The first bytes of a TLS hello.
    client.send(b"\x16\x03\x01\x00\x05hello").await.unwrap();
    assert!(matches!(
        client.read_answer().await,
        Err(ClientError::Silent(_))
    ));
    drop(client);
    assert!(
        mock.wait_for_no_connections(SOON).await,
        "even a silent door notices who leaves"
    );
}

#[tokio::test]
async fn n11_a_body_that_is_not_read_stops_the_writer() {
    let mock = start(Dialect::OpenAi).await;
    mock.door(Door::HeadOnly).await.unwrap();
    let mut client = Client::connect(mock.address()).await.unwrap();
    client.patience(Duration::from_millis(300));
    // Far more than the kernel's buffers of both sides take.
    let body = vec![b' '; 64 << 20];
    let request = client.request("POST", "/v1/chat/completions", &[], &body);
    assert!(matches!(
        client.send(&request).await,
        Err(ClientError::Silent(_))
    ));
    assert_eq!(mock.requests(), 0);
}

#[tokio::test]
async fn connections_can_be_reset_and_idle_ones_closed() {
    let (mock, mut busy) = with_idle_ones_closed().await;
    busy.patience(Duration::from_millis(50));
    assert!(
        !busy.closes_within(Duration::from_millis(50)).await,
        "the busy one stays"
    );
    mock.reset_connections();
    assert!(matches!(
        busy.read_answer().await,
        Err(ClientError::ResetBeforeHead)
    ));
    assert!(mock.wait_for_no_connections(SOON).await);
}

#[tokio::test]
async fn a_stopped_mock_refuses_and_drops_its_connections() {
    let mock = start(Dialect::OpenAi).await;
    let mut client = Client::connect(mock.address()).await.unwrap();
    client.get("/v1/models", &[]).await.unwrap();
    let address = mock.address();
    drop(mock);
    assert!(client.closes_within(SOON).await);
    assert!(matches!(
        Client::connect(address).await,
        Err(ClientError::Connect(_))
    ));
}

#[tokio::test]
async fn request_bodies_are_read_chunked_in_slices_and_pipelined() {
    let mock = start(Dialect::OpenAi).await;
    let body = Dialect::OpenAi.sample_request("hi", false).to_string();
    let (front, back) = body.split_at(20);
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n",
        front.len(),
        back.len()
    );
    let mut client = Client::connect(mock.address()).await.unwrap();
    for slice in chunked.as_bytes().chunks(7) {
        client.send(slice).await.unwrap();
    }
    assert_eq!(client.read_answer().await.unwrap().status(), 200);
    client
        .send([chunked.as_bytes(), chunked.as_bytes()].concat().as_slice())
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(client.read_answer().await.unwrap().status(), 200);
    }
    assert!(
        mock.log()
            .iter()
            .all(|exchange| exchange.asked.body == body.as_bytes())
    );
    assert_eq!(mock.last().unwrap().asked.reuse, 2);
}

#[tokio::test]
async fn a_request_that_is_not_http_is_refused_and_counted() {
    let mock = start(Dialect::OpenAi).await;
    let mut client = Client::connect(mock.address()).await.unwrap();
    client.send(b"NOT HTTP AT ALL\r\n\r\n").await.unwrap();
    assert_eq!(client.read_answer().await.unwrap().status(), 400);
    assert!(client.closes_within(SOON).await);
    let mut cut = Client::connect(mock.address()).await.unwrap();
    cut.send(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\nabc")
        .await
        .unwrap();
    drop(cut);
    assert!(mock.wait_for_no_connections(SOON).await);
    assert_eq!((mock.bad_requests(), mock.requests()), (2, 0));
}

#[tokio::test]
async fn the_log_is_bounded_and_keeps_the_newest() {
    let mock = MockProvider::start(MockOptions {
        log_limit: 8,
        ..MockOptions::default()
    })
    .await
    .unwrap();
    let mut client = Client::connect(mock.address()).await.unwrap();
    for _ in 0..30 {
        client.get("/v1/models", &[]).await.unwrap();
    }
    let log = mock.log();
    assert!(log.len() <= 8, "{}", log.len());
    assert_eq!(
        mock.log_lost() + log.len() as u64,
        30,
        "what is gone is counted"
    );
    assert_eq!(
        (log.last().unwrap().asked.number, mock.requests()),
        (30, 30)
    );
}

#[tokio::test]
async fn a_fast_mock_answers_whole_and_streams_its_chunks() {
    for dialect in BOTH {
        let fast = Fast {
            text_bytes: 640,
            chunks: 64,
            gap: Duration::from_millis(1),
            together: 0,
            ..Fast::default()
        };
        let options = MockOptions {
            fast: Some(fast),
            ..MockOptions::for_dialect(dialect)
        };
        let mock = MockProvider::start(options).await.unwrap();
        let unary = ask(&mock, &dialect.sample_request("hi", false)).await;
        assert_eq!(dialect.text_of(&[unary.json()]).len(), 640);
        let stream = ask_stream(&mock, &dialect.sample_request("hi", true)).await;
        assert_eq!(
            (stream.text(dialect).len(), stream.end, stream.is_done()),
            (640, BodyEnd::Whole, true)
        );
        assert!(
            stream.took >= Duration::from_millis(64),
            "{:?}",
            stream.took
        );
        assert_eq!(mock.requests(), 2);
        let large = ask(&mock, &dialect.sample_request(&"x".repeat(200_000), false)).await;
        assert_eq!(large.status(), 200);
    }
}

#[tokio::test]
async fn a_thinking_request_is_answered_with_a_signed_thought() {
    let mock = start(Dialect::Anthropic).await;
    let body = with(
        Dialect::Anthropic.sample_request("hi", false),
        "thinking",
        json!({"type": "enabled", "budget_tokens": 1024}),
    );
    let answer = ask(&mock, &body).await.json();
    assert_eq!(answer.pointer("/content/0/type"), Some(&json!("thinking")));
    assert!(
        answer
            .pointer("/content/0/signature")
            .unwrap()
            .as_str()
            .unwrap()
            .starts_with("sig-")
    );
    assert_eq!(answer.pointer("/content/1/type"), Some(&json!("text")));
}
