//! How a client of each dialect asks, and how its answers end.

use serde_json::{Value, json};
use switchyard_chaos::client::SseStream;
use switchyard_chaos::mock::Dialect;

use crate::frame::KEY;

pub const CLIENTS: [Dialect; 4] = [
    Dialect::OpenAi,
    Dialect::Anthropic,
    Dialect::Responses,
    Dialect::Gemini,
];
/// Providers speak what clients speak, and more.
pub const PROVIDERS: [Dialect; 7] = [
    Dialect::OpenAi,
    Dialect::Anthropic,
    Dialect::Responses,
    Dialect::Gemini,
    Dialect::Ollama,
    Dialect::Cohere,
    Dialect::Bedrock,
];

/// Where a client of this dialect asks, and what.
pub fn asked(client: Dialect, stream: bool) -> (String, Value) {
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
pub fn key(client: Dialect) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    match client {
        Dialect::Anthropic => pair("x-api-key", KEY),
        Dialect::Gemini => pair("x-goog-api-key", KEY),
        _ => pair("authorization", &format!("Bearer {KEY}")),
    }
}

/// Whether the stream ends as this dialect ends.
pub fn is_whole(client: Dialect, stream: &SseStream) -> bool {
    let documents = stream.documents();
    let last = documents.last().cloned().unwrap_or_default();
    match client {
        Dialect::OpenAi => stream
            .events
            .last()
            .is_some_and(|event| event.data == "[DONE]"),
        Dialect::Anthropic => last["type"] == "message_stop",
        Dialect::Responses => {
            last["type"] == "response.completed" || last["type"] == "response.incomplete"
        }
        Dialect::Gemini => {
            let reason = &last["candidates"][0]["finishReason"];
            reason == "STOP" || reason == "SAFETY"
        }
        _ => false,
    }
}
