//! The guard over sockets: what leaves, what comes back, and that nothing leaves unseen (faults S20, S21, A21, A25).

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "mocks speak more dialects than clients do"
)]

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client, SseStream};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{
    Gateway, KEY, PATH, alone, auth, code_of, mock, mock_of, pair, provider, text_of,
};

const MAIL: &str = "anna@example.com";
const CARD: &str = "4111 1111 1111 1111";
const REDACT: &str = "[guard]\nrequests = { email = \"redact\", card = \"redact\" }\n";

fn prompt(text: &str) -> Value {
    json!({"model": "p", "messages": [{"role": "user", "content": text}]})
}

/// A provider's whole answer.
fn says(text: &str) -> Behaviour {
    Behaviour::status(200).json(&json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m-a",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }))
}

fn chunk(delta: &Value, finish: &Value) -> String {
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-a",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

/// A provider's stream of these pieces.
fn streams(pieces: &[&str]) -> Behaviour {
    let mut body = chunk(&json!({"role": "assistant", "content": ""}), &Value::Null);
    for piece in pieces {
        body.push_str(&chunk(&json!({"content": piece}), &Value::Null));
    }
    body.push_str(&chunk(&json!({}), &json!("stop")));
    body.push_str("data: [DONE]\n\n");
    Behaviour::status(200).body("text/event-stream", body)
}

fn sent(mock: &MockProvider) -> String {
    String::from_utf8(mock.last().unwrap().asked.body.to_vec()).unwrap()
}

async fn stream_of(gateway: &Gateway, text: &str) -> SseStream {
    let mut body = prompt(text);
    body["stream"] = true.into();
    gateway.stream_of(&body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_what_is_taken_out_of_a_prompt_comes_back_in_the_answer() {
    let a = mock("a").await;
    let gateway = alone(&a, REDACT).await;
    a.set(says("I wrote to <EMAIL_1> and <EMAIL_2>, not <EMAIL_3>."));
    let body = format!(
        "{{ \"model\":\"p\" , \"x\": 1.50, \"messages\":[{{\"role\":\"user\",\"content\":\"{MAIL}, b@x.de\\n{MAIL}\"}}],\"tags\":[\"t\"]}}"
    );
    let value: Value = serde_json::from_str(&body).unwrap();
    let wire = switchyard_chaos::client::request_bytes(
        gateway.address,
        "POST",
        PATH,
        &auth(),
        body.as_bytes(),
    );
    let mut client = gateway.client().await;
    client.send(&wire).await.unwrap();
    let (head, _) = client.read_head().await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("x-switchyard-guard"), Some("email=3;redact"));
    assert_eq!(
        sent(&a),
        "{ \"model\":\"m-a\" , \"x\": 1.50, \"messages\":[{\"role\":\"user\",\"content\":\"<EMAIL_1>, <EMAIL_2>\\n<EMAIL_1>\"}]}",
        "every other byte is the client's own"
    );
    let answer = gateway.post(&value).await;
    assert_eq!(
        text_of(&answer),
        format!("I wrote to {MAIL} and b@x.de, not <EMAIL_3>.")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_prompt_without_a_hit_passes_byte_for_byte() {
    let a = mock("a").await;
    let gateway = alone(&a, REDACT).await;
    let answer = gateway.post(&prompt("nothing here")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-switchyard-guard"), None);
    assert_eq!(
        sent(&a),
        prompt("nothing here")
            .to_string()
            .replace("\"p\"", "\"m-a\"")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_arguments_of_calls_are_searched_and_filled_in_as_json() {
    let a = mock("a").await;
    let gateway = alone(
        &a,
        "[guard]\nrequests = { name = \"redact\" }\nnames = ['A \"B\" C']\n",
    )
    .await;
    let arguments = json!({"to": "A \"B\" C", "A \"B\" C": 1}).to_string();
    let call = |arguments: &str| json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]);
    a.set(Behaviour::status(200).json(&json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m-a",
        "choices": [{"index": 0, "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": null, "tool_calls": call(r#"{"to":"<PERSON_1>"}"#)}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    })));
    let body = json!({"model": "p", "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": null, "tool_calls": call(&arguments)},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]});
    let answer = gateway.post(&body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert!(!sent(&a).contains("B\\"), "{}", sent(&a));
    let said = answer.json();
    let said = said["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        .as_str()
        .unwrap();
    let said: Value = serde_json::from_str(said).unwrap();
    assert_eq!(said["to"], "A \"B\" C");
    let pieces: Vec<String> = r#"{"to":"<PERSON_1>"}"#.chars().map(String::from).collect();
    let mut stream = chunk(&json!({"role": "assistant", "content": null}), &Value::Null);
    for (index, piece) in pieces.iter().enumerate() {
        let mut function = json!({"arguments": piece});
        if index == 0 {
            function["name"] = "f".into();
        }
        stream.push_str(&chunk(
            &json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}),
            &Value::Null,
        ));
    }
    stream.push_str(&chunk(&json!({}), &json!("tool_calls")));
    stream.push_str("data: [DONE]\n\n");
    a.set(Behaviour::status(200).body("text/event-stream", stream));
    let mut asked = body.clone();
    asked["stream"] = true.into();
    let stream = gateway.stream_of(&asked).await;
    let said: String = stream
        .documents()
        .iter()
        .filter_map(|chunk| {
            chunk
                .pointer("/choices/0/delta/tool_calls/0/function/arguments")?
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["to"], "A \"B\" C");
    assert!(stream.is_done());
}

/// The request of a client of each dialect, and where its text is.
fn asked(client: Dialect, text: &str, stream: bool) -> (String, Value) {
    let mut body = client.sample_request(text, stream);
    if client != Dialect::Gemini {
        body["model"] = "p".into();
    }
    let path = match client {
        Dialect::OpenAi => PATH.to_owned(),
        Dialect::Anthropic => "/v1/messages".to_owned(),
        Dialect::Responses => "/v1/responses".to_owned(),
        _ if stream => "/v1beta/models/p:streamGenerateContent?alt=sse".to_owned(),
        _ => "/v1beta/models/p:generateContent".to_owned(),
    };
    (path, body)
}

fn key(client: Dialect) -> Vec<(String, String)> {
    match client {
        Dialect::Anthropic => vec![("x-api-key".to_owned(), KEY.to_owned())],
        Dialect::Gemini => vec![("x-goog-api-key".to_owned(), KEY.to_owned())],
        _ => auth(),
    }
}

async fn ask(gateway: &Gateway, client: Dialect, text: &str) -> Answer {
    let (path, body) = asked(client, text, false);
    let mut connection = Client::connect(gateway.address).await.unwrap();
    connection
        .post_json(&path, &key(client), &body)
        .await
        .unwrap()
}

async fn ask_stream(gateway: &Gateway, client: Dialect, text: &str) -> SseStream {
    let (path, body) = asked(client, text, true);
    let mut connection = Client::connect(gateway.address).await.unwrap();
    let reader = connection.stream(&path, &key(client), &body).await.unwrap();
    reader.collect().await.unwrap()
}

const CLIENTS: [Dialect; 4] = [
    Dialect::OpenAi,
    Dialect::Anthropic,
    Dialect::Responses,
    Dialect::Gemini,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_every_clients_prompt_is_searched_and_every_stream_is_whole() {
    for provider in CLIENTS {
        let a = mock_of(provider, "a").await;
        let gateway = alone(&a, REDACT).await;
        for client in CLIENTS {
            let name = format!("{client:?} client, {provider:?} provider");
            let answer = ask(&gateway, client, &format!("to {MAIL} now")).await;
            assert_eq!(answer.status(), 200, "{name}: {}", answer.json());
            assert!(!sent(&a).contains(MAIL), "{name}: {}", sent(&a));
            assert!(sent(&a).contains("<EMAIL_1>"), "{name}: {}", sent(&a));
            let stream = ask_stream(&gateway, client, &format!("to {MAIL} now")).await;
            let text = stream.text(client);
            assert_eq!(
                text.split_whitespace().count(),
                6,
                "{name}: {:?}",
                stream.raw
            );
            assert!(!sent(&a).contains(MAIL), "{name}: {}", sent(&a));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s20_a_placeholder_split_over_chunks_at_every_byte_is_restored() {
    let a = mock("a").await;
    let gateway = alone(&a, REDACT).await;
    let said = "To <EMAIL_1>: a < b, <EMA";
    for client in CLIENTS {
        for cut in 1..said.len() {
            a.set(streams(&[&said[..cut], &said[cut..]]));
            let stream = ask_stream(&gateway, client, MAIL).await;
            let text = stream.text(client);
            assert_eq!(
                text,
                format!("To {MAIL}: a < b, <EMA"),
                "{client:?} {cut}: {:?}",
                stream.raw
            );
        }
    }
    // And whatever way the network cuts the bytes.
    let pieces: Vec<String> = said.chars().map(String::from).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    a.set(streams(&pieces).sliced(1, Duration::ZERO));
    let stream = stream_of(&gateway, MAIL).await;
    assert_eq!(
        stream.text(Dialect::OpenAi),
        format!("To {MAIL}: a < b, <EMA")
    );
    assert!(stream.is_done());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s20_no_half_placeholder_leaves_when_the_stream_breaks() {
    let a = mock("a").await;
    let gateway = alone(&a, REDACT).await;
    let mut body = chunk(&json!({"role": "assistant", "content": ""}), &Value::Null);
    body.push_str(&chunk(&json!({"content": "To <EMA"}), &Value::Null));
    a.set(Behaviour::status(200).body("text/event-stream", body));
    let stream = stream_of(&gateway, MAIL).await;
    assert!(!stream.is_done());
    assert_eq!(stream.text(Dialect::OpenAi), "To ");
    assert_eq!(
        stream.documents().last().unwrap()["error"]["code"],
        "upstream_truncated"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_a_rule_on_answers_ends_the_stream_and_nothing_behind_it_leaves() {
    let rules = "[guard]\nanswers = { card = \"block\", email = \"redact\" }\n";
    for provider in [Dialect::OpenAi, Dialect::Anthropic] {
        let a = mock_of(provider, "a").await;
        let gateway = alone(&a, rules).await;
        for client in CLIENTS {
            let name = format!("{client:?} client, {provider:?} provider");
            let said = format!("Mail {MAIL}, card {CARD}, and more");
            match provider {
                Dialect::OpenAi => a.set(streams(&[&said[..30], &said[30..]])),
                _ => a.set(anthropic_stream(&[&said[..30], &said[30..]])),
            }
            let stream = ask_stream(&gateway, client, "hello").await;
            let text = stream.text(client);
            assert_eq!(text, "Mail <EMAIL>, card ", "{name}: {:?}", stream.raw);
            let raw = String::from_utf8_lossy(&stream.raw).into_owned();
            let end = match client {
                Dialect::OpenAi => "\"finish_reason\":\"content_filter\"",
                Dialect::Anthropic => "\"stop_reason\":\"refusal\"",
                Dialect::Responses => "\"reason\":\"content_filter\"",
                _ => "\"finishReason\":\"SAFETY\"",
            };
            assert!(raw.contains(end), "{name}: {raw}");
            assert!(!raw.contains("1111"), "{name}: {raw}");
            if client == Dialect::Anthropic {
                let stops = raw.matches("\"type\":\"content_block_stop\"").count();
                let starts = raw.matches("\"type\":\"content_block_start\"").count();
                assert_eq!(stops, starts, "{name}: {raw}");
            }
        }
        let metrics = gateway.metrics().await;
        assert!(metrics.contains("switchyard_blocked_total{rule=\"card\"}"));
        assert!(metrics.contains("switchyard_stream_end_total{how=\"blocked\"}"));
    }
}

fn anthropic_stream(pieces: &[&str]) -> Behaviour {
    let mut body = String::new();
    let mut event = |value: Value| {
        let name = value["type"].as_str().unwrap().to_owned();
        body.push_str(&format!("event: {name}\ndata: {value}\n\n"));
    };
    event(
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m-a",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
    );
    event(
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    );
    for piece in pieces {
        event(
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}),
        );
    }
    event(json!({"type": "content_block_stop", "index": 0}));
    event(
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 5}}),
    );
    event(json!({"type": "message_stop"}));
    Behaviour::status(200).body("text/event-stream", body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_a_provider_whose_stream_is_ended_is_left_at_once() {
    let a = mock("a").await;
    let gateway = alone(&a, "[guard]\nanswers = { card = \"block\" }\n").await;
    let body = chunk(&json!({"role": "assistant", "content": ""}), &Value::Null)
        + &chunk(
            &json!({"content": format!("{CARD} and more")}),
            &Value::Null,
        );
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    a.set(Behaviour::steps(vec![
        switchyard_chaos::mock::Step::raw(format!("{head}{body}")),
        switchyard_chaos::mock::Step::Hold,
    ]));
    let stream = stream_of(&gateway, "hello").await;
    assert!(stream.is_done(), "{:?}", stream.raw);
    for _ in 0..100 {
        if a.open_connections() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the provider goes on for nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_forbidden_whole_answer_is_refused_and_paid_for() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "[guard]\nanswers = { card = \"block\" }\n").await;
    a.set(says(CARD));
    let answer = gateway.post(&prompt("hello")).await;
    assert_eq!(
        (answer.status(), &*code_of(&answer)),
        (400, "content_blocked")
    );
    let mut tokens = prompt("hello");
    tokens["logprobs"] = true.into();
    let told_twice = gateway.post(&tokens).await;
    assert_eq!(told_twice.status(), 400);
    assert_eq!(told_twice.json()["error"]["param"], "logprobs");
    assert!(!String::from_utf8_lossy(&answer.body).contains("1111"));
    assert_eq!(b.requests(), 0, "nobody laxer is asked");
    let records = gateway.records().await;
    let outcome = records
        .iter()
        .find(|record| {
            record["kind"] == "outcome" || record.to_string().contains("content_blocked")
        })
        .unwrap();
    assert!(outcome.to_string().contains("content_blocked"), "{outcome}");
    assert!(
        records
            .iter()
            .all(|record| !record.to_string().contains("1111"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_forbidden_prompt_is_refused_with_class_and_place_and_never_the_text() {
    let a = mock("a").await;
    let gateway = alone(
        &a,
        "[guard]\nrequests = { secret = \"block\", email = \"mark\" }\n",
    )
    .await;
    let secret = "AKIAIOSFODNN7EXAMPLE";
    for client in CLIENTS {
        let answer = ask(&gateway, client, &format!("key {secret}")).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status(), 400, "{client:?}: {text}");
        assert!(text.contains("secret") && !text.contains("AKIA"), "{text}");
        if client == Dialect::OpenAi {
            assert_eq!(code_of(&answer), "content_blocked");
            assert_eq!(
                answer.json()["error"]["param"],
                "messages[0].content",
                "{text}"
            );
        }
    }
    assert_eq!(a.requests(), 0);
    let marked = gateway.post(&prompt(MAIL)).await;
    assert_eq!(marked.header("x-switchyard-guard"), Some("email=1;mark"));
    assert!(sent(&a).contains(MAIL));
    let records = gateway.records().await;
    let told: Vec<String> = records.iter().map(Value::to_string).collect();
    assert!(
        told.iter()
            .any(|record| record.contains("guard.prompt") && record.contains("secret=1;block"))
    );
    assert!(
        told.iter()
            .all(|record| !record.contains("AKIA") && !record.contains(MAIL))
    );
    let metrics = gateway.metrics().await;
    assert!(
        metrics.contains("switchyard_blocked_total{rule=\"secret\"}"),
        "{metrics}"
    );
    assert!(!metrics.contains("AKIA"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_retries_failovers_and_second_legs_see_only_what_is_left() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, &format!("race = \"marked\"\n{REDACT}")).await;
    a.set(Behaviour::status(500));
    let answer = gateway.post(&prompt(MAIL)).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    a.set(Behaviour::healthy());
    let mut headers = auth();
    headers.push(("x-switchyard-race".to_owned(), "dual".to_owned()));
    let mut client = gateway.client().await;
    let answer = client
        .post_json(PATH, &headers, &prompt(MAIL))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let all = [a.log(), b.log()].concat();
    assert!(all.len() >= 3, "{}", all.len());
    for exchange in all {
        let body = String::from_utf8_lossy(&exchange.asked.body).into_owned();
        assert!(!body.contains(MAIL) && body.contains("<EMAIL_1>"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_what_cannot_be_looked_at_is_not_sent() {
    let a = mock("a").await;
    let gateway = alone(
        &a,
        "[guard]\nrequests = { email = \"redact\" }\nmax_ms = 200\nmax_text_bytes = 100000\n",
    )
    .await;
    for how in ["panic", "hang"] {
        gateway
            .admin_post(&format!("/admin/kill?path=guard&how={how}"))
            .await;
        let answer = gateway.post(&prompt(MAIL)).await;
        assert_eq!(
            (answer.status(), &*code_of(&answer)),
            (503, "policy_unavailable"),
            "{how}"
        );
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(a.requests(), 0, "{how}");
    }
    let answer = gateway.post(&prompt(&"word ".repeat(2 << 20))).await;
    assert_eq!(
        (answer.status(), &*code_of(&answer)),
        (503, "policy_unavailable")
    );
    // On a thread of its own, too.
    gateway.admin_post("/admin/kill?path=guard&how=panic").await;
    let answer = gateway.post(&prompt(&"word ".repeat(10_000))).await;
    assert_eq!(
        (answer.status(), &*code_of(&answer)),
        (503, "policy_unavailable")
    );
    assert_eq!(a.requests(), 0);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("switchyard_blocked_total{rule=\"policy_unavailable\"}"));
    assert_eq!(
        gateway.post(&prompt(MAIL)).await.status(),
        200,
        "and then it works again"
    );
    assert_eq!(
        gateway
            .post(&prompt(&format!("{} {MAIL}", "word ".repeat(10_000))))
            .await
            .status(),
        200
    );
    assert!(sent(&a).contains("<EMAIL_1>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_pools_and_clients_have_rules_of_their_own() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "guard = {{ requests = {{ card = \"redact\" }} }}\n{}{}[pools.p]\ntargets = [\"a/m-a\"]\nguard = {{ requests = {{ email = \"off\" }} }}\n[pools.q]\ntargets = [\"a/m-a\"]\nfallback = [\"r\"]\nguard = {{ requests = {{ email = \"off\" }} }}\n[pools.r]\ntargets = [\"b/m-b\"]\n[guard]\nrequests = {{ email = \"redact\" }}\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    let text = format!("{MAIL} {CARD}");
    for (model, mail, card) in [
        ("p", true, false),
        ("m-a", false, false),
        ("q", false, false),
    ] {
        let mut body = prompt(&text);
        body["model"] = model.into();
        assert_eq!(gateway.post(&body).await.status(), 200);
        let sent = sent(&a);
        assert_eq!(
            (sent.contains(MAIL), sent.contains(CARD)),
            (mail, card),
            "{model}: {sent}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_what_is_routed_goes_nowhere_but_to_allowed_regions() {
    let (a, b) = (mock_of(Dialect::Bedrock, "a").await, mock("b").await);
    let rules = "[guard]\nrequests = { national_id = \"route\" }\nregions = [\"eu-north-1\"]\n";
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\"]\n[pools.q]\ntargets = [\"b/m-b\", \"a/m-a\"]\n[pools.r]\ntargets = [\"b/m-b\"]\n{rules}",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    let inside = gateway.post(&prompt("id 123-45-6789")).await;
    assert_eq!(inside.status(), 200, "{}", inside.json());
    assert_eq!(
        inside.header("x-switchyard-guard"),
        Some("national_id=1;route")
    );
    let mut body = prompt("id 123-45-6789");
    body["model"] = "q".into();
    for _ in 0..8 {
        let inside = gateway.post(&body).await;
        assert_eq!(inside.header("x-switchyard-provider"), Some("a"));
    }
    body["model"] = "r".into();
    let outside = gateway.post(&body).await;
    assert_eq!(
        (outside.status(), &*code_of(&outside)),
        (503, "region_unavailable")
    );
    assert_eq!(b.requests(), 0);
    let mut plain = prompt("no id");
    plain["model"] = "q".into();
    assert_eq!(gateway.post(&plain).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_an_answer_that_is_not_of_its_schema_is_refused() {
    let a = mock("a").await;
    let gateway = alone(&a, "[guard]\nstructured = \"block\"\n").await;
    let mut body = prompt("hello");
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {
        "type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}},
    }}});
    a.set(says(r#"{"a": 1}"#));
    assert_eq!(gateway.post(&body).await.status(), 200);
    a.set(says(r#"{"a": "x"}"#));
    let refused = gateway.post(&body).await;
    assert_eq!(
        (refused.status(), &*code_of(&refused)),
        (400, "content_blocked")
    );
    let mut asked = body.clone();
    asked["stream"] = true.into();
    a.set(streams(&["{\"a\"", ": 1}"]));
    assert!(gateway.stream_of(&asked).await.is_done());
    // Before anything has gone out it is an error like any other, behind that the stream breaks.
    let wrong = || streams(&["{\"a\"", ": \"x\"}"]);
    a.set(wrong());
    let early = gateway.stream_of(&asked).await;
    assert_eq!(early.status(), 400, "{:?}", early.raw);
    a.set(wrong().sliced(64, Duration::from_millis(5)));
    let stream = gateway.stream_of(&asked).await;
    assert!(!stream.is_done(), "{:?}", stream.raw);
    assert_eq!(
        stream.documents().last().unwrap()["error"]["code"],
        "content_blocked"
    );
    body["response_format"]["json_schema"]["schema"] = json!({"contains": 1});
    let odd = gateway.post(&body).await;
    assert_eq!((odd.status(), &*code_of(&odd)), (400, "invalid_request"));
}

/// A judge that always says this, on a port of its own, and what it was asked.
async fn judge(answer: Behaviour) -> MockProvider {
    let judge = mock("judge").await;
    judge.set(answer);
    judge
}

fn judged_by(judge: &MockProvider, more: &str) -> String {
    format!(
        "{REDACT}[guard.webhook]\nurl = \"{}/v1/chat/completions\"\nsecret = \"file:FOLDER/hook\"\nallow_private_address = true\ntimeout_ms = 300\n{more}",
        judge.origin()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_webhook_judges_what_is_left_of_a_prompt() {
    let a = mock("a").await;
    let judge = judge(Behaviour::status(200).json(&json!({"verdict": "allow"}))).await;
    let gateway = alone(&a, &judged_by(&judge, "")).await;
    let text = format!("to {MAIL}");
    assert_eq!(gateway.post(&prompt(&text)).await.status(), 200);
    let question = judge.last().unwrap().asked.clone();
    assert_eq!(
        question.json["texts"],
        json!([{"place": "messages[0].content", "text": "to <EMAIL_1>"}])
    );
    assert_eq!(question.json["client"], "test");
    let signature = question.header("x-switchyard-signature").unwrap();
    let (time, digest) = signature.split_once(',').unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"sk-canary-hook");
    let signed = [time.as_bytes(), b".", &question.body].concat();
    let expected = ring::hmac::sign(&key, &signed);
    let hex: String = expected
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest, format!("v1={hex}"));

    judge.set(
        Behaviour::status(200).json(&json!({"verdict": "replace", "texts": ["other <EMAIL_1>"]})),
    );
    a.set(says("<EMAIL_1>"));
    let answer = gateway.post(&prompt(&text)).await;
    assert!(sent(&a).contains("\"other <EMAIL_1>\""), "{}", sent(&a));
    assert_eq!(text_of(&answer), MAIL);

    let before = a.requests();
    judge.set(Behaviour::status(200).json(&json!({"verdict": "block"})));
    let blocked = gateway.post(&prompt(&text)).await;
    assert_eq!(
        (blocked.status(), &*code_of(&blocked)),
        (400, "content_blocked")
    );
    for ill in [
        Behaviour::status(500),
        Behaviour::status(302).header("location", "http://127.0.0.1:1/"),
        Behaviour::status(200).json(&json!({"verdict": "perhaps"})),
        Behaviour::status(200).json(&json!({"verdict": "replace", "texts": []})),
        Behaviour::status(200).body("application/json", vec![b' '; 2 << 20]),
        Behaviour::status(200)
            .json(&json!({"verdict": "allow"}))
            .delayed(Duration::from_secs(2)),
    ] {
        judge.set(ill);
        let refused = gateway.post(&prompt(&text)).await;
        assert_eq!(
            (refused.status(), &*code_of(&refused)),
            (503, "policy_unavailable")
        );
    }
    assert_eq!(a.requests(), before, "never sent without a verdict");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_webhook_that_fails_lets_pass_only_where_the_operator_says_so() {
    let a = mock("a").await;
    let judge = judge(Behaviour::status(500)).await;
    let gateway = alone(&a, &judged_by(&judge, "on_failure = \"allow\"\n")).await;
    assert_eq!(gateway.post(&prompt(MAIL)).await.status(), 200);
    assert!(
        sent(&a).contains("<EMAIL_1>"),
        "the rules hold all the same"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_judge_that_is_not_where_a_prompt_must_stay_is_shown_nothing() {
    let a = mock("a").await;
    let judge = judge(Behaviour::status(200).json(&json!({"verdict": "allow"}))).await;
    let bound = "[tenants.acme]\nregions = [\"eu\"]\n[[clients]]\nname = \"bound\"\nkey = \"file:FOLDER/bound\"\ntenant = \"acme\"\n";
    let with = |more: &str| {
        format!(
            "{}regions = [\"eu\"]\n[pools.p]\ntargets = [\"a/m-a\"]\n{bound}{}",
            provider("a", &a),
            judged_by(&judge, more)
        )
    };
    let ask = async |gateway: &Gateway, key: &str, region: Option<&str>| {
        let mut headers = vec![("authorization".to_owned(), format!("Bearer {key}"))];
        let region = region.map(|region| ("x-switchyard-region".to_owned(), region.to_owned()));
        headers.extend(region);
        let mut client = gateway.client().await;
        client
            .post_json(PATH, &headers, &prompt("hi"))
            .await
            .unwrap()
    };
    const BOUND: &str = "sk-canary-bound";
    for more in [
        "",
        "regions = [\"us\"]\n",
        // Not even where a judge that fails lets pass: a region would be the way around it.
        "on_failure = \"allow\"\n",
    ] {
        let gateway = Gateway::start(&with(more)).await;
        for (key, region) in [(BOUND, None), (KEY, Some("eu"))] {
            let refused = ask(&gateway, key, region).await;
            assert_eq!(
                (refused.status(), &*code_of(&refused)),
                (503, "region_unavailable"),
                "{more}"
            );
        }
        assert_eq!((judge.requests(), a.requests()), (0, 0), "{more}");
        assert!(
            gateway
                .metrics()
                .await
                .contains("switchyard_blocked_total{rule=\"region\"}")
        );
        let events: Vec<Value> = gateway.records().await;
        assert!(
            events.iter().any(|event| event["name"] == "policy.block"),
            "{events:?}"
        );
    }
    let gateway = Gateway::start(&with("regions = [\"eu-central-1\"]\n")).await;
    assert_eq!(ask(&gateway, BOUND, None).await.status(), 200);
    let question = judge.last().unwrap().asked.clone();
    assert_eq!(
        (&question.json["tenant"], &question.json["client"]),
        (&json!("acme"), &json!("bound"))
    );
    assert_eq!((judge.requests(), a.requests()), (1, 1));
    // Who demands nothing is judged wherever the judge is.
    let gateway = Gateway::start(&with("")).await;
    assert_eq!(ask(&gateway, KEY, None).await.status(), 200);
    assert_eq!(judge.requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c04_rules_change_while_it_runs() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    gateway.post(&prompt(MAIL)).await;
    assert!(sent(&a).contains(MAIL));
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), format!("{text}\n{REDACT}")).unwrap();
    let reloaded = gateway.admin_post("/admin/reload").await;
    assert_eq!(reloaded.status(), 200, "{}", reloaded.json());
    gateway.post(&prompt(MAIL)).await;
    assert!(!sent(&a).contains(MAIL), "{}", sent(&a));
}
