//! Every client's dialect against every provider's, over real sockets: what is said arrives whole, once, and in
//! the form the client knows; what fails says so in that form.

#![allow(
    clippy::wildcard_enum_match_arm,
    unreachable_patterns,
    reason = "mocks speak more dialects than clients do"
)]

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client, SseStream};
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, MockOptions, MockProvider};

use crate::frame::{Gateway, KEY, alone, mock_of, pair, provider, quick};

const CLIENTS: [Dialect; 4] = [
    Dialect::OpenAi,
    Dialect::Anthropic,
    Dialect::Responses,
    Dialect::Gemini,
];
/// Providers speak what clients speak, and more.
const PROVIDERS: [Dialect; 7] = [
    Dialect::OpenAi,
    Dialect::Anthropic,
    Dialect::Responses,
    Dialect::Gemini,
    Dialect::Ollama,
    Dialect::Cohere,
    Dialect::Bedrock,
];

/// Where a client of this dialect asks, and what.
fn asked(client: Dialect, stream: bool) -> (String, Value) {
    let mut body = client.sample_request("hello", stream);
    if client != Dialect::Gemini {
        body["model"] = "p".into();
    }
    if client == Dialect::OpenAi && stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    let path = match client {
        Dialect::OpenAi => "/v1/chat/completions".to_owned(),
        Dialect::Anthropic => "/v1/messages".to_owned(),
        Dialect::Responses => "/v1/responses".to_owned(),
        Dialect::Gemini if stream => "/v1beta/models/p:streamGenerateContent?alt=sse".to_owned(),
        Dialect::Gemini => "/v1beta/models/p:generateContent".to_owned(),
        _ => panic!("no client speaks it"),
    };
    (path, body)
}

/// The key where an SDK of this dialect puts it.
fn key(client: Dialect) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    match client {
        Dialect::Anthropic => pair("x-api-key", KEY),
        Dialect::Gemini => pair("x-goog-api-key", KEY),
        _ => pair("authorization", &format!("Bearer {KEY}")),
    }
}

async fn ask(gateway: &Gateway, client: Dialect) -> Answer {
    let (path, body) = asked(client, false);
    let mut connection = Client::connect(gateway.address).await.unwrap();
    connection
        .post_json(&path, &key(client), &body)
        .await
        .unwrap()
}

async fn stream(gateway: &Gateway, client: Dialect) -> SseStream {
    let (path, body) = asked(client, true);
    let mut connection = Client::connect(gateway.address).await.unwrap();
    let reader = connection.stream(&path, &key(client), &body).await.unwrap();
    reader.collect().await.unwrap()
}

/// Whether the stream ends as this dialect ends.
fn is_whole(client: Dialect, stream: &SseStream) -> bool {
    let documents = stream.documents();
    let last = documents.last().cloned().unwrap_or_default();
    match client {
        Dialect::OpenAi => stream
            .events
            .last()
            .is_some_and(|event| event.data == "[DONE]"),
        Dialect::Anthropic => last["type"] == "message_stop",
        Dialect::Responses => last["type"] == "response.completed",
        Dialect::Gemini => last["candidates"][0]["finishReason"] == "STOP",
        _ => false,
    }
}

/// Input and output tokens, wherever this dialect tells them.
fn tokens(client: Dialect, documents: &[Value]) -> (u64, u64) {
    let of = |pointer: &str| {
        documents
            .iter()
            .rev()
            .find_map(|document| document.pointer(pointer)?.as_u64())
            .unwrap_or_default()
    };
    match client {
        Dialect::OpenAi => (of("/usage/prompt_tokens"), of("/usage/completion_tokens")),
        Dialect::Anthropic => (
            // A stream may tell them at its beginning.
            of("/usage/input_tokens").max(of("/message/usage/input_tokens")),
            of("/usage/output_tokens"),
        ),
        Dialect::Responses => {
            let whole = (of("/usage/input_tokens"), of("/usage/output_tokens"));
            let streamed = (
                of("/response/usage/input_tokens"),
                of("/response/usage/output_tokens"),
            );
            if whole.1 > 0 { whole } else { streamed }
        }
        Dialect::Gemini => (
            of("/usageMetadata/promptTokenCount"),
            of("/usageMetadata/candidatesTokenCount"),
        ),
        _ => (0, 0),
    }
}

fn told(mock: &MockProvider) -> (u64, u64) {
    let reported = mock.last().unwrap().reported.unwrap();
    (reported.input, reported.output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_reads_every_providers_whole_answer() {
    for provider in PROVIDERS {
        let mock = mock_of(provider, "a").await;
        let gateway = alone(&mock, "").await;
        for client in CLIENTS {
            let name = format!("{client:?} client, {provider:?} provider");
            let answer = ask(&gateway, client).await;
            assert_eq!(answer.status(), 200, "{name}: {}", answer.json());
            let document = answer.json();
            let text = client.text_of(std::slice::from_ref(&document));
            assert_eq!(text.split_whitespace().count(), 6, "{name}: {document}");
            assert_eq!(tokens(client, &[document]), told(&mock), "{name}");
            let sent = mock.last().unwrap().asked.clone();
            assert_eq!(sent.model(), Some("m-a"), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_reads_every_providers_stream() {
    for provider in PROVIDERS {
        let mock = mock_of(provider, "a").await;
        let gateway = alone(&mock, "").await;
        for client in CLIENTS {
            let name = format!("{client:?} client, {provider:?} provider");
            let stream = stream(&gateway, client).await;
            assert!(is_whole(client, &stream), "{name}: {:?}", stream.raw);
            let text = stream.text(client);
            assert_eq!(text.split_whitespace().count(), 6, "{name}: {text}");
            assert_eq!(tokens(client, &stream.documents()), told(&mock), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_s10_a_stream_that_breaks_says_so_in_every_dialect() {
    for provider in PROVIDERS {
        let mock = mock_of(provider, "a").await;
        for client in CLIENTS {
            // A fresh one each time: the endpoint would be blocked soon.
            let gateway = alone(&mock, "").await;
            for bad in [fault::s09(3), fault::s10(3)] {
                mock.set(bad);
                let name = format!("{client:?} client, {provider:?} provider");
                let stream = stream(&gateway, client).await;
                assert!(!is_whole(client, &stream), "{name}: {:?}", stream.raw);
                let documents = stream.documents();
                let failed = documents.iter().any(|document| {
                    document["error"].is_object()
                        || document["type"] == "error"
                        || document["type"] == "response.failed"
                });
                assert!(failed, "{name}: no error event: {:?}", stream.raw);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_one_dialect_takes_over_from_one_of_another() {
    let (a, b) = (
        mock_of(Dialect::Gemini, "a").await,
        mock_of(Dialect::Anthropic, "b").await,
    );
    a.set(Behaviour::status(500));
    let gateway = pair(&a, &b, "").await;
    for client in CLIENTS {
        let answer = ask(&gateway, client).await;
        assert_eq!(answer.status(), 200, "{client:?}: {}", answer.json());
        let stream = stream(&gateway, client).await;
        assert!(is_whole(client, &stream), "{client:?}: {:?}", stream.raw);
    }
    assert!(a.requests() > 0 && b.requests() >= 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g6_errors_are_told_in_the_clients_own_form() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    let gateway = alone(&mock, "").await;
    for client in CLIENTS {
        let (path, body) = asked(client, false);
        let mut connection = Client::connect(gateway.address).await.unwrap();
        let refused = connection.post_json(&path, &[], &body).await.unwrap();
        assert_eq!(refused.status(), 401, "{client:?}");
        let error = refused.json();
        let kind = match client {
            Dialect::Gemini => error.pointer("/error/status"),
            Dialect::Anthropic => error.pointer("/error/type"),
            _ => error.pointer("/error/code"),
        };
        let expected = match client {
            Dialect::Gemini => "UNAUTHENTICATED",
            Dialect::Anthropic => "authentication_error",
            _ => "invalid_api_key",
        };
        assert_eq!(kind, Some(&json!(expected)), "{client:?}: {error}");
        assert_eq!(
            error["type"] == "error",
            client == Dialect::Anthropic,
            "{error}"
        );

        let mut connection = Client::connect(gateway.address).await.unwrap();
        let empty = connection
            .post_json(&path, &key(client), &json!({"model": "p"}))
            .await
            .unwrap();
        assert_eq!(empty.status(), 400, "{client:?}: {}", empty.json());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_sides_speak_is_passed_on_untouched() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    let (path, mut body) = asked(Dialect::Anthropic, false);
    body["some_new_field"] = json!({"kept": [1, 2.50, "x"]});
    let mut headers = key(Dialect::Anthropic);
    headers.push(("anthropic-beta".to_owned(), "new-2026-11-01".to_owned()));
    headers.push(("cookie".to_owned(), "secret=1".to_owned()));
    let mut connection = gateway.client().await;
    let answer = connection.post_json(&path, &headers, &body).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let sent = mock.last().unwrap().asked.clone();
    body["model"] = "m-a".into();
    assert_eq!(sent.json, body, "all but the model is the client's own");
    assert_eq!(sent.header("anthropic-beta"), Some("new-2026-11-01"));
    assert_eq!(sent.header("cookie"), None);
    assert_eq!(answer.json()["type"], "message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_and_its_result_cross_every_pair() {
    for provider in PROVIDERS {
        let mock = mock_of(provider, "a").await;
        let gateway = alone(&mock, "").await;
        let body = json!({
            "model": "p", "stream": true,
            "messages": [{"role": "user", "content": "rain? [[tools:2]]"}],
            "tools": [{"type": "function", "function": {
                "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            }}],
        });
        let stream = gateway.stream_of(&body).await;
        let mut calls: Vec<(String, String)> = Vec::new();
        for document in stream.documents() {
            let deltas = document["choices"][0]["delta"]["tool_calls"]
                .as_array()
                .cloned();
            for delta in deltas.unwrap_or_default() {
                let index = usize::try_from(delta["index"].as_u64().unwrap()).unwrap();
                if index == calls.len() {
                    calls.push((delta["id"].as_str().unwrap().to_owned(), String::new()));
                }
                let piece = delta["function"]["arguments"].as_str().unwrap_or_default();
                calls[index].1.push_str(piece);
            }
        }
        assert_eq!(calls.len(), 2, "{provider:?}: {:?}", stream.raw);
        assert_ne!(calls[0].0, calls[1].0, "{provider:?}: ids");
        for (id, arguments) in &calls {
            let value: Value = serde_json::from_str(arguments).unwrap();
            assert!(
                value.is_object() && !id.is_empty(),
                "{provider:?}: {arguments}"
            );
        }
        let mut turn = body.clone();
        turn["stream"] = false.into();
        let made: Vec<Value> = calls
            .iter()
            .map(|(id, arguments)| json!({
                "id": id, "type": "function", "function": {"name": "weather", "arguments": arguments},
            }))
            .collect();
        let messages = turn["messages"].as_array_mut().unwrap();
        messages[0]["content"] = "rain?".into();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": made}));
        for (id, _) in &calls {
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "dry"}));
        }
        let answer = gateway.post(&turn).await;
        assert_eq!(answer.status(), 200, "{provider:?}: {}", answer.json());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_provider_that_speaks_both_of_openais_forms_is_spoken_to_in_the_clients() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let both = provider("a", &mock).replace("\"openai-responses\"", "\"openai\"\nresponses = true")
        + "[pools.p]\ntargets = [\"a/m-a\"]\n";
    let gateway = Gateway::start(&both).await;
    let (path, body) = asked(Dialect::Responses, false);
    let mut connection = gateway.client().await;
    let answer = connection
        .post_json(&path, &key(Dialect::Responses), &body)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let sent = mock.last().unwrap().asked.clone();
    assert!(sent.path.ends_with("/responses"), "{}", sent.path);
    let stream = stream(&gateway, Dialect::Responses).await;
    assert!(is_whole(Dialect::Responses, &stream), "{:?}", stream.raw);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_tokens_are_counted_by_who_can_and_estimated_aloud_elsewhere() {
    let body =
        json!({"model": "p", "messages": [{"role": "user", "content": "how long is this?"}]});
    let path = "/v1/messages/count_tokens";
    let counts = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&counts, "").await;
    counts.set(Behaviour::status(200).json(&json!({"input_tokens": 42})));
    let mut connection = gateway.client().await;
    let answer = connection
        .post_json(path, &key(Dialect::Anthropic), &body)
        .await
        .unwrap();
    assert_eq!(answer.json(), json!({"input_tokens": 42}));
    assert_eq!(answer.header("x-switchyard-estimated"), None);
    let sent = counts.last().unwrap().asked.clone();
    assert!(
        sent.path.ends_with("/messages/count_tokens"),
        "{}",
        sent.path
    );

    let other = mock_of(Dialect::OpenAi, "a").await;
    let gateway = alone(&other, "").await;
    let mut connection = gateway.client().await;
    let answer = connection
        .post_json(path, &key(Dialect::Anthropic), &body)
        .await
        .unwrap();
    assert!(answer.json()["input_tokens"].as_u64().unwrap() > 3);
    assert_eq!(
        answer.header("x-switchyard-estimated"),
        Some("input_tokens")
    );
    assert_eq!(other.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_lines_are_a_stream_whatever_their_content_type_says() {
    let mock = mock_of(Dialect::Ollama, "a").await;
    let gateway = alone(&mock, "").await;
    let lines = [
        json!({"model": "m", "message": {"role": "assistant", "content": "one "}, "done": false}),
        json!({"model": "m", "message": {"role": "assistant", "content": "two"}, "done": false}),
        json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true,
            "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    for named in ["application/json", "text/plain", "application/x-ndjson"] {
        mock.set(Behaviour::status(200).body(named, lines.clone()));
        let stream = stream(&gateway, Dialect::Anthropic).await;
        assert!(
            is_whole(Dialect::Anthropic, &stream),
            "{named}: {:?}",
            stream.raw
        );
        assert_eq!(stream.text(Dialect::Anthropic), "one two", "{named}");
    }
}

/// The golden requests of a client's dialect, save one that answers a call nobody made: that is refused by most.
fn golden(client: Dialect) -> Vec<(String, Value)> {
    let folder = match client {
        Dialect::OpenAi => "openai",
        Dialect::Responses => "responses",
        other => other.name(),
    };
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut found = Vec::new();
    for case in std::fs::read_dir(format!("{root}/{folder}")).unwrap() {
        let case = case.unwrap().path();
        if let Ok(text) = std::fs::read(case.join("request.json")) {
            let name = format!("{folder}/{}", case.file_name().unwrap().display());
            if name == "openai/function-role" {
                continue;
            }
            found.push((name, serde_json::from_slice(&text).unwrap()));
        }
    }
    assert!(found.len() >= 5, "{folder}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_client_says_is_said_as_the_provider_takes_it_or_not_sent_at_all() {
    let mut wrong = Vec::new();
    for provider in PROVIDERS {
        let options = MockOptions::for_dialect(provider)
            .named("a")
            .weather(quick());
        let mock = MockProvider::start(options).await.unwrap();
        let gateway = alone(&mock, "").await;
        let mut sent = 0;
        for client in CLIENTS.into_iter().filter(|client| *client != provider) {
            for (name, mut body) in golden(client) {
                let (path, _) = asked(client, false);
                if client != Dialect::Gemini {
                    body["model"] = "p".into();
                    body["stream"] = false.into();
                }
                let before = mock.requests();
                let mut connection = gateway.client().await;
                let answer = connection
                    .post_json(&path, &key(client), &body)
                    .await
                    .unwrap();
                let was_sent = mock.requests() > before;
                sent += usize::from(was_sent);
                let expected = if was_sent { 200 } else { 400 };
                let told = answer.json();
                if answer.status() != expected {
                    wrong.push(format!("{name} to {provider:?}: {told}"));
                }
            }
        }
        assert!(sent >= 10, "{provider:?}: only {sent} could be said");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_thought_goes_back_only_to_who_signed_it() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    let (path, mut body) = asked(Dialect::Anthropic, false);
    let thought = |signature: &str| {
        json!([
            {"role": "user", "content": "17 * 23?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": signature},
                {"type": "text", "text": "391"},
            ]},
            {"role": "user", "content": "sure?"},
        ])
    };
    for (signature, kept) in [
        ("c2lnbmVk", true),
        ("switchyard-signed~openai~", false),
        ("switchyard-signed~gemini~Zm9yZWlnbg==", false),
    ] {
        body["messages"] = thought(signature);
        let mut connection = gateway.client().await;
        let answer = connection
            .post_json(&path, &key(Dialect::Anthropic), &body)
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.json());
        let sent = mock.last().unwrap().asked.clone();
        let blocks = sent.json["messages"][1]["content"].as_array().unwrap();
        let kinds: Vec<&str> = blocks
            .iter()
            .filter_map(|one| one["type"].as_str())
            .collect();
        assert_eq!(kinds.contains(&"thinking"), kept, "{signature}: {blocks:?}");
        assert!(kinds.contains(&"text"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_thoughts_of_another_provider_are_not_sent_to_one_of_openais_form() {
    let (a, b) = (
        mock_of(Dialect::OpenAi, "a").await,
        mock_of(Dialect::Anthropic, "b").await,
    );
    let gateway = pair(&a, &b, "").await;
    let body = json!({"model": "p", "x_own": 1, "messages": [
        {"role": "user", "content": "17 * 23?"},
        {"role": "assistant", "content": "391", "reasoning_content": "hm",
         "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]},
        {"role": "user", "content": "sure?"},
    ]});
    assert_eq!(gateway.post(&body).await.status(), 200);
    let sent = a.last().unwrap().asked.clone();
    assert!(
        !sent.json.to_string().contains("thinking_blocks"),
        "{}",
        sent.json
    );
    assert_eq!(sent.json["messages"][1]["content"], "391");
    a.set(Behaviour::status(500));
    assert_eq!(gateway.post(&body).await.status(), 200);
    let sent = b.last().unwrap().asked.clone();
    let blocks = &sent.json["messages"][1]["content"];
    assert_eq!(blocks[0]["signature"], "c2ln", "home again: {blocks}");
}
