//! How likely tokens were crosses wherever both forms tell it token by token.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "mocks speak more dialects than clients do"
)]

use serde_json::{Value, json};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, alone, code_of, mock_of};
use crate::matrix::speaker::{asked, is_whole, key};

const TEXT: &str = "391.";

/// As OpenAI writes it.
fn tokens() -> Value {
    json!([
        {"token": "391", "logprob": -0.25, "bytes": [51, 57, 49], "top_logprobs": [
            {"token": "391", "logprob": -0.25, "bytes": [51, 57, 49]},
            {"token": "392", "logprob": -1.5, "bytes": [51, 57, 50]},
        ]},
        {"token": ".", "logprob": -0.5, "bytes": [46], "top_logprobs": []},
    ])
}

fn result() -> Value {
    json!({
        "chosenCandidates": [
            {"token": "391", "logProbability": -0.25}, {"token": ".", "logProbability": -0.5},
        ],
        "topCandidates": [
            {"candidates": [
                {"token": "391", "logProbability": -0.25}, {"token": "392", "logProbability": -1.5},
            ]},
            {"candidates": []},
        ],
    })
}

/// An answer of a provider of this dialect that tells them, whole or as a stream of one piece.
fn told(provider: Dialect, stream: bool) -> Behaviour {
    let whole = match provider {
        Dialect::OpenAi => json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": {"content": tokens(), "refusal": null},
                "message": {"role": "assistant", "content": TEXT}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }),
        Dialect::Responses => json!({
            "id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed",
            "output": [{"type": "message", "id": "m", "role": "assistant", "content": [
                {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": tokens()},
            ]}],
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        }),
        Dialect::Gemini => json!({
            "candidates": [{"content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP",
                "logprobsResult": result()}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        }),
        _ => json!({
            "model": "m", "created_at": "2026-01-01T00:00:00Z", "done": true, "done_reason": "stop",
            "message": {"role": "assistant", "content": TEXT}, "logprobs": tokens(),
            "prompt_eval_count": 3, "eval_count": 2,
        }),
    };
    let events = match provider {
        _ if !stream => return Behaviour::status(200).json(&whole),
        Dialect::OpenAi => {
            let mut chunk = whole.clone();
            let mut choice = chunk["choices"][0].take();
            choice["delta"] = choice["message"].take();
            chunk["choices"][0] = choice;
            vec![chunk]
        }
        Dialect::Responses => vec![
            json!({"type": "response.created", "response": {"id": "r", "model": "m", "output": []}}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "m"}}),
            json!({"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "content_index": 0,
                "delta": TEXT, "logprobs": tokens()}),
            json!({"type": "response.completed", "response": whole}),
        ],
        Dialect::Gemini => vec![whole],
        _ => return Behaviour::status(200).body("application/x-ndjson", format!("{whole}\n")),
    };
    let mut text: String = events
        .iter()
        .map(|one| format!("data: {one}\n\n"))
        .collect();
    if provider == Dialect::OpenAi {
        text.push_str("data: [DONE]\n\n");
    }
    Behaviour::status(200).body("text/event-stream", text)
}

/// A request of this client that asks for two alternatives.
fn asks(client: Dialect, stream: bool) -> (String, Value) {
    let (path, mut body) = asked(client, stream);
    match client {
        Dialect::Gemini => {
            body["generationConfig"]["responseLogprobs"] = true.into();
            body["generationConfig"]["logprobs"] = 2.into();
        }
        Dialect::Responses => {
            body["include"] = json!(["message.output_text.logprobs"]);
            body["top_logprobs"] = 2.into();
        }
        _ => {
            body["logprobs"] = true.into();
            body["top_logprobs"] = 2.into();
        }
    }
    (path, body)
}

/// Where a provider of this dialect is asked for them.
fn is_asked(provider: Dialect, sent: &Value) -> bool {
    match provider {
        Dialect::Gemini => {
            let config = &sent["generationConfig"];
            config["responseLogprobs"] == true && config["logprobs"] == 2
        }
        Dialect::Responses => {
            sent["include"] == json!(["message.output_text.logprobs"]) && sent["top_logprobs"] == 2
        }
        _ => sent["logprobs"] == true && sent["top_logprobs"] == 2,
    }
}

/// Where a client of this dialect finds them in an answer, or in an event.
fn found(client: Dialect, said: &Value) -> Option<&Value> {
    let place = match client {
        Dialect::OpenAi => "/choices/0/logprobs/content",
        Dialect::Responses if said["type"] == "response.output_text.delta" => "/logprobs",
        Dialect::Responses => "/output/0/content/0/logprobs",
        _ => "/candidates/0/logprobsResult",
    };
    said.pointer(place)
}

fn expected(client: Dialect) -> Value {
    if client == Dialect::Gemini {
        result()
    } else {
        tokens()
    }
}

async fn whole(gateway: &Gateway, client: Dialect) -> Value {
    let (path, body) = asks(client, false);
    let mut connection = gateway.client().await;
    let answer = connection
        .post_json(&path, &key(client), &body)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{client:?}: {}", answer.json());
    answer.json()
}

async fn streamed(gateway: &Gateway, client: Dialect) -> Vec<Value> {
    let (path, body) = asks(client, true);
    let mut connection = gateway.client().await;
    let reader = connection.stream(&path, &key(client), &body).await.unwrap();
    let stream = reader.collect().await.unwrap();
    assert!(is_whole(client, &stream), "{client:?}: {:?}", stream.raw);
    stream.documents()
}

fn last(mock: &MockProvider) -> Value {
    mock.last().unwrap().asked.json.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_probabilities_of_tokens_cross_whole_and_streamed() {
    let clients = [Dialect::OpenAi, Dialect::Responses, Dialect::Gemini];
    let providers = [
        Dialect::OpenAi,
        Dialect::Responses,
        Dialect::Gemini,
        Dialect::Ollama,
    ];
    for provider in providers {
        let mock = mock_of(provider, "a").await;
        let gateway = alone(&mock, "").await;
        for client in clients.into_iter().filter(|client| *client != provider) {
            let pair = format!("{client:?} at {provider:?}");
            mock.set(told(provider, false));
            let answer = whole(&gateway, client).await;
            let said = found(client, &answer);
            assert_eq!(said, Some(&expected(client)), "{pair}: {answer}");
            assert!(is_asked(provider, &last(&mock)), "{pair}: {}", last(&mock));
            mock.set(told(provider, true));
            let events = streamed(&gateway, client).await;
            let mut said = events.iter().filter_map(|event| found(client, event));
            let first = said.find(|said| said.as_array().is_none_or(|list| !list.is_empty()));
            assert_eq!(first, Some(&expected(client)), "{pair}: {events:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_probabilities_that_nobody_asked_for_are_not_told() {
    let mock = mock_of(Dialect::Ollama, "a").await;
    let gateway = alone(&mock, "").await;
    for client in [Dialect::OpenAi, Dialect::Responses, Dialect::Gemini] {
        for stream in [false, true] {
            mock.set(told(Dialect::Ollama, stream));
            let (path, mut body) = asked(client, stream);
            // To talk of them is not to ask for them.
            body["instructions"] = "logprobs".into();
            let mut connection = gateway.client().await;
            let answer = connection.post_json(&path, &key(client), &body).await;
            let answer = answer.unwrap();
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert_eq!(answer.status(), 200, "{text}");
            assert!(text.contains(TEXT) && !text.contains("-1.5"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_provider_that_tells_none_by_token_refuses_to_be_asked() {
    for provider in [Dialect::Anthropic, Dialect::Bedrock, Dialect::Cohere] {
        let mock = mock_of(provider, "a").await;
        let gateway = alone(&mock, "").await;
        let (_, body) = asks(Dialect::OpenAi, false);
        let answer = gateway.post(&body).await;
        assert_eq!(answer.status(), 400, "{provider:?}");
        assert_eq!(answer.json()["error"]["param"], "logprobs");
        assert!(!code_of(&answer).is_empty());
        assert_eq!(mock.requests(), 0);
    }
}
