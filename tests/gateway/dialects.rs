//! What dialects owe each other beyond the matrix of every pair (`matrix`): failover between them, errors, thoughts
//! that go home only, and what passes untouched.

#![allow(
    clippy::wildcard_enum_match_arm,
    unreachable_patterns,
    reason = "mocks speak more dialects than clients do"
)]

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client, SseStream};
use switchyard_chaos::mock::{Behaviour, Dialect, MockOptions, MockProvider};

use crate::frame::{Gateway, alone, auth, code_of, mock_of, pair, provider, quick};
use crate::matrix::speaker::{CLIENTS, PROVIDERS, asked, is_whole, key};

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
async fn l05_keys_that_need_escapes_go_both_ways_whichever_way_that_is() {
    let keys = json!({r"^\S+$": 1, r"C:\a.txt": {"\"": 2}});
    for provider in [Dialect::OpenAi, Dialect::Anthropic] {
        let mock = mock_of(provider, "a").await;
        let called = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": keys}],
            "usage": {"input_tokens": 3, "output_tokens": 2},
        });
        if provider == Dialect::Anthropic {
            mock.set(Behaviour::status(200).json(&called));
        }
        let gateway = alone(&mock, "").await;
        let (path, mut body) = asked(Dialect::OpenAi, false);
        let schema = json!({"type": "object", "patternProperties": keys});
        body["tools"] =
            json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        let mut connection = gateway.client().await;
        let answer = connection
            .post_json(&path, &key(Dialect::OpenAi), &body)
            .await
            .unwrap();
        let told = answer.json();
        assert_eq!(answer.status(), 200, "{provider:?}: {told}");
        let sent = mock.last().unwrap().asked.clone();
        let schema = sent.json.pointer("/tools/0/input_schema");
        let schema = schema.or_else(|| sent.json.pointer("/tools/0/function/parameters"));
        assert_eq!(schema.unwrap()["patternProperties"], keys, "{provider:?}");
        if provider == Dialect::Anthropic {
            let call = &told["choices"][0]["message"]["tool_calls"][0];
            let arguments = call["function"]["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert_eq!(arguments, keys);
        }
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

    // What another provider signed is cut out of what is counted, too: it would be refused.
    let foreign = json!({"model": "p", "system": "x", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "a", "signature": "switchyard-signed~openai~"},
            {"type": "text", "text": "ho"},
        ]},
        {"role": "user", "content": "and?"},
    ]});
    let answer = connection
        .post_json(path, &key(Dialect::Anthropic), &foreign)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-dropped"), Some("thinking"));
    let sent = counts.last().unwrap().asked.clone();
    let left = json!([{"type": "text", "text": "ho"}]);
    assert_eq!(sent.json["messages"][1]["content"], left);
    assert_eq!(sent.json["system"], "x");

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
    let body = json!({"model": "p", "x_own": 1, "n": 2, "logprobs": true, "messages": [
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
    // Only the thought is cut out: what has no canonical form is there as the client wrote it.
    let mut expected = body.clone();
    expected["model"] = "m-a".into();
    expected["messages"][1] = json!({"role": "assistant", "content": "391"});
    assert_eq!(sent.json, expected);
    a.set(Behaviour::status(500));
    let mut body = body;
    for own in ["n", "logprobs"] {
        body.as_object_mut().unwrap().remove(own);
    }
    assert_eq!(gateway.post(&body).await.status(), 200);
    let sent = b.last().unwrap().asked.clone();
    let blocks = &sent.json["messages"][1]["content"];
    assert_eq!(blocks[0]["signature"], "c2ln", "home again: {blocks}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_what_is_lost_on_the_way_there_and_back_is_named_to_the_client() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    mock.set(Behaviour::status(200).json(&json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "rain", "citations": [
            {"type": "web_search_result_location", "url": "https://a.example/x", "title": "A", "cited_text": "r", "encrypted_index": "E"},
            {"type": "char_location", "cited_text": "r", "document_index": 0, "start_char_index": 0, "end_char_index": 1},
        ]}],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    })));
    let body = json!({"model": "p", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "rain?", "some": 1}]},
    ]});
    let answer = gateway.post(&body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(
        answer.header("x-switchyard-dropped"),
        Some("messages[1].name, messages[1].content[0].some, citations")
    );
    let message = &answer.json()["choices"][0]["message"];
    let source = &message["annotations"][0]["url_citation"];
    assert_eq!(source["url"], "https://a.example/x", "{message}");
    assert_eq!(
        (&source["start_index"], &source["end_index"]),
        (&json!(0), &json!(4))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_what_google_does_not_heed_of_a_schema_is_named_where_the_client_wrote_it() {
    let mock = mock_of(Dialect::Gemini, "a").await;
    let gateway = alone(&mock, "").await;
    let body = json!({"model": "p", "messages": [{"role": "user", "content": "x"}], "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "not": {"required": ["z"]}}}},
    ]});
    let answer = gateway.post(&body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(
        answer.header("x-switchyard-dropped"),
        Some("tools[0].function.parameters.not (sent; not enforced)")
    );
    let sent = mock.last().unwrap().asked.json.clone();
    let schema = &sent["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"];
    assert_eq!(schema["not"], json!({"required": ["z"]}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_a_response_does_not_claim_settings_that_were_not_used() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    let body = json!({"model": "p", "input": "x", "store": false, "service_tier": "flex", "top_logprobs": 3, "temperature": 0.5});
    let mut client = Client::connect(gateway.address).await.unwrap();
    let answer = client
        .post_json("/v1/responses", &auth(), &body)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let told = answer.json();
    assert_eq!(
        told["service_tier"], "default",
        "as the provider says: {told}"
    );
    assert_eq!(
        (&told["top_logprobs"], &told["temperature"]),
        (&json!(0), &json!(0.5))
    );
}

/// What a model of Google's answers that draws.
fn picture() -> Value {
    json!({
        "candidates": [{
            "content": {"role": "model", "parts": [
                {"inlineData": {"mimeType": "image/png", "data": "aaaa"}},
            ]},
            "finishReason": "STOP", "index": 0,
        }],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_an_answer_that_cannot_be_said_is_asked_for_once_and_is_nobodys_failure() {
    let (a, b) = (
        mock_of(Dialect::Gemini, "a").await,
        mock_of(Dialect::Gemini, "b").await,
    );
    for mock in [&a, &b] {
        mock.set(Behaviour::status(200).json(&picture()));
    }
    let gateway = pair(&a, &b, "").await;
    for asked in 1..=12 {
        let answer = ask(&gateway, Dialect::OpenAi).await;
        assert_eq!(code_of(&answer), "answer_untranslatable");
        assert_eq!(answer.status(), 502);
        let paid = a.requests() + b.requests();
        assert_eq!(paid, asked, "the next of the same kind would say the same");
    }
    // Who can read it still gets it: no breaker has opened.
    let answer = ask(&gateway, Dialect::Gemini).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.json()["candidates"], picture()["candidates"]);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("\"untranslatable\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_what_one_dialect_cannot_say_another_may() {
    let (a, b) = (
        mock_of(Dialect::Gemini, "a").await,
        mock_of(Dialect::Anthropic, "b").await,
    );
    a.set(Behaviour::status(200).json(&picture()));
    let gateway = pair(&a, &b, "").await;
    for _ in 0..4 {
        let answer = ask(&gateway, Dialect::OpenAi).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    assert_eq!(b.requests(), 4);
    assert!(a.requests() > 0);
}

/// A question of a client of Anthropic's, behind the results of a tool or without.
fn behind_results(client: Dialect, results: bool, stream: bool) -> (String, Value) {
    let (path, mut body) = asked(client, stream);
    if results && client == Dialect::Anthropic {
        body["messages"] = json!([
            {"role": "user", "content": "save it"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "saved"},
                {"type": "text", "text": "thanks"},
            ]},
        ]);
    } else if results {
        let call =
            json!({"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        body["messages"] = json!([
            {"role": "user", "content": "save it"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "saved"},
        ]);
    }
    (path, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_a_turn_that_ends_without_a_word_is_an_answer_to_the_results_of_tools_only() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    let message = json!({"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 9, "output_tokens": 2}});
    let mut begun = message.clone();
    begun["stop_reason"] = Value::Null;
    let ended = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": 2}});
    let events = [
        json!({"type": "message_start", "message": begun}),
        ended,
        json!({"type": "message_stop"}),
    ];
    let events = events.iter().fold(String::new(), |text, event| {
        let kind = event["type"].as_str().unwrap();
        format!("{text}event: {kind}\ndata: {event}\n\n")
    });
    for client in [Dialect::Anthropic, Dialect::OpenAi] {
        for streams in [false, true] {
            mock.set(if streams {
                Behaviour::status(200).body("text/event-stream", events.clone())
            } else {
                Behaviour::status(200).json(&message)
            });
            let mut connection = gateway.client().await;
            let before = mock.requests();
            let (path, body) = behind_results(client, true, streams);
            let answer = connection
                .post_json(&path, &key(client), &body)
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{client:?} {streams}");
            assert_eq!(mock.requests(), before + 1, "asked once");
            let (path, body) = behind_results(client, false, streams);
            let mut connection = gateway.client().await;
            let answer = connection
                .post_json(&path, &key(client), &body)
                .await
                .unwrap();
            assert_eq!(answer.status(), 502, "{client:?} {streams}");
        }
    }
}

/// An answer that says in which tier it was served, in the words of its provider.
fn served_in(provider: Dialect, tier: &str, stream: bool) -> Behaviour {
    let said = json!({"id": "x", "created": 1, "model": "m"});
    let whole = match provider {
        Dialect::OpenAi => json!({
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "391"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, "service_tier": tier,
        }),
        Dialect::Anthropic => json!({
            "type": "message", "role": "assistant", "content": [{"type": "text", "text": "391"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 2, "service_tier": tier},
        }),
        _ => json!({
            "output": {"message": {"role": "assistant", "content": [{"text": "391"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "serviceTier": {"type": tier},
        }),
    };
    let mut value = said;
    value
        .as_object_mut()
        .unwrap()
        .extend(whole.as_object().unwrap().clone());
    if !stream {
        return Behaviour::status(200).json(&value);
    }
    let usage = value["usage"].take();
    let mut start = value.clone();
    start["usage"] = usage.clone();
    let (name, events) = match provider {
        Dialect::Anthropic => {
            start["content"] = json!([]);
            let events = vec![
                json!({"type": "message_start", "message": start}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "391"}}),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
                json!({"type": "message_stop"}),
            ];
            (true, events)
        }
        _ => {
            let delta = json!([{"index": 0, "delta": {"content": "391"}, "finish_reason": "stop"}]);
            value["choices"] = delta;
            value["usage"] = usage;
            (false, vec![value])
        }
    };
    let mut text = String::new();
    for event in events {
        if name {
            text.push_str(&format!("event: {}\n", event["type"].as_str().unwrap()));
        }
        text.push_str(&format!("data: {event}\n\n"));
    }
    if !name {
        text.push_str("data: [DONE]\n\n");
    }
    Behaviour::status(200).body("text/event-stream", text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_the_tier_an_answer_was_served_in_is_told_in_the_words_of_the_client() {
    for (provider, tier, client, told) in [
        (
            Dialect::Anthropic,
            "priority",
            Dialect::OpenAi,
            Some("priority"),
        ),
        (
            Dialect::Anthropic,
            "standard",
            Dialect::Responses,
            Some("default"),
        ),
        (
            Dialect::OpenAi,
            "priority",
            Dialect::Anthropic,
            Some("priority"),
        ),
        (
            Dialect::OpenAi,
            "default",
            Dialect::Anthropic,
            Some("standard"),
        ),
        (Dialect::OpenAi, "flex", Dialect::Responses, Some("flex")),
        // A word that Anthropic's clients do not know, and a wish that is no tier.
        (Dialect::OpenAi, "flex", Dialect::Anthropic, None),
        (Dialect::OpenAi, "auto", Dialect::Responses, None),
        (Dialect::Bedrock, "flex", Dialect::OpenAi, Some("flex")),
    ] {
        let mock = mock_of(provider, "a").await;
        let gateway = alone(&mock, "").await;
        let place = |whole: &Value| match client {
            Dialect::Anthropic => whole["usage"]["service_tier"].clone(),
            _ => whole["service_tier"].clone(),
        };
        let (path, mut body) = asked(client, false);
        if client == Dialect::Responses {
            // What was asked for is not repeated as what was done.
            body["service_tier"] = "scale".into();
        }
        mock.set(served_in(provider, tier, false));
        let mut connection = gateway.client().await;
        let answer = connection
            .post_json(&path, &key(client), &body)
            .await
            .unwrap();
        let answer = answer.json();
        let pair = format!("{provider:?} {tier} {client:?}: {answer}");
        assert_eq!(
            place(&answer),
            told.map_or(Value::Null, Value::from),
            "{pair}"
        );
        if provider == Dialect::Bedrock {
            continue;
        }
        mock.set(served_in(provider, tier, true));
        let (path, body) = asked(client, true);
        let mut connection = gateway.client().await;
        let reader = connection.stream(&path, &key(client), &body).await.unwrap();
        let events = reader.collect().await.unwrap().documents();
        let said = events.iter().find_map(|event| {
            let whole = event.get("response").unwrap_or(event);
            Some(place(whole)).filter(|tier| !tier.is_null())
        });
        assert_eq!(said, told.map(Value::from), "{pair}: {events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_tools_that_google_s_clients_do_not_allow_are_named_where_they_are_left_out() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    let gateway = alone(&mock, "").await;
    let (path, mut body) = asked(Dialect::Gemini, false);
    let declared: Vec<Value> = ["f", "g", "h"]
        .iter()
        .map(|name| json!({"name": name}))
        .collect();
    body["tools"] = json!([{"functionDeclarations": declared}]);
    body["toolConfig"] =
        json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "h"]}});
    let mut connection = gateway.client().await;
    let answer = connection
        .post_json(&path, &key(Dialect::Gemini), &body)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(
        answer.header("x-switchyard-dropped"),
        Some("tools.functionDeclarations.g")
    );
    let sent = mock.last().unwrap().asked.json.clone();
    assert_eq!(sent["tools"].as_array().unwrap().len(), 2, "{sent}");
}
