//! What a client of each dialect takes from an answer, whole or streamed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchyard_chaos::mock::Dialect;

/// A call as the client heard it.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub id: String,
    pub name: String,
    /// JSON as text.
    pub arguments: String,
    /// The whole of it, where it has to go back as it came.
    pub part: Value,
}

impl Call {
    /// Panics when what was heard is no JSON.
    pub fn input(&self) -> Value {
        serde_json::from_str(&self.arguments).unwrap_or_else(|_| panic!("{}", self.arguments))
    }
}

#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub text: String,
    pub thoughts: String,
    pub calls: Vec<Call>,
    /// The provider's filter has spoken.
    pub refused: bool,
    pub input: u64,
    pub output: u64,
    /// Of the input.
    pub cached: u64,
    /// An error inside the stream.
    pub failed: bool,
}

/// `documents` are one JSON body, or the data of each event.
pub fn hear(client: Dialect, documents: &[Value]) -> Heard {
    let mut heard = Heard {
        text: client.text_of(documents),
        failed: documents.iter().any(|one| {
            one["error"].is_object() || one["type"] == "error" || one["type"] == "response.failed"
        }),
        ..Heard::default()
    };
    match client {
        Dialect::OpenAi => chat(documents, &mut heard),
        Dialect::Anthropic => anthropic(documents, &mut heard),
        Dialect::Responses => responses(documents, &mut heard),
        _ => gemini(documents, &mut heard),
    }
    heard
}

/// The model's turn in a whole answer, as an SDK sends it back.
pub fn turn(client: Dialect, answer: &Value) -> Vec<Value> {
    match client {
        Dialect::OpenAi => vec![answer["choices"][0]["message"].clone()],
        Dialect::Anthropic => vec![json!({"role": "assistant", "content": answer["content"]})],
        Dialect::Responses => list(&answer["output"]).to_vec(),
        _ => vec![answer["candidates"][0]["content"].clone()],
    }
}

/// The last number at one of these places.
fn number(documents: &[Value], places: &[&str]) -> u64 {
    let found = documents.iter().rev().find_map(|document| {
        let mut told = places
            .iter()
            .filter_map(|place| document.pointer(place)?.as_u64());
        told.next()
    });
    found.unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn chat(documents: &[Value], heard: &mut Heard) {
    let mut calls: BTreeMap<u64, Call> = BTreeMap::new();
    for document in documents {
        let choice = &document["choices"][0];
        let said = choice.get("delta").unwrap_or(&choice["message"]);
        heard.thoughts.push_str(text(&said["reasoning_content"]));
        heard.refused |=
            !text(&said["refusal"]).is_empty() || choice["finish_reason"] == "content_filter";
        heard.text.push_str(text(&said["refusal"]));
        for (at, call) in list(&said["tool_calls"]).iter().enumerate() {
            let open = calls
                .entry(call["index"].as_u64().unwrap_or(at as u64))
                .or_default();
            open.id.push_str(text(&call["id"]));
            open.name.push_str(text(&call["function"]["name"]));
            open.arguments
                .push_str(text(&call["function"]["arguments"]));
        }
    }
    heard.calls = calls.into_values().collect();
    heard.input = number(documents, &["/usage/prompt_tokens"]);
    heard.output = number(documents, &["/usage/completion_tokens"]);
    heard.cached = number(documents, &["/usage/prompt_tokens_details/cached_tokens"]);
}

fn anthropic(documents: &[Value], heard: &mut Heard) {
    let mut calls: BTreeMap<u64, Call> = BTreeMap::new();
    for document in documents {
        for (at, block) in list(&document["content"]).iter().enumerate() {
            heard.thoughts.push_str(text(&block["thinking"]));
            if block["type"] == "tool_use" {
                let call = Call {
                    id: text(&block["id"]).to_owned(),
                    name: text(&block["name"]).to_owned(),
                    arguments: block["input"].to_string(),
                    part: Value::Null,
                };
                calls.insert(at as u64, call);
            }
        }
        let (index, block) = (
            document["index"].as_u64().unwrap_or_default(),
            &document["content_block"],
        );
        if block["type"] == "tool_use" {
            let call = Call {
                id: text(&block["id"]).to_owned(),
                name: text(&block["name"]).to_owned(),
                ..Call::default()
            };
            calls.insert(index, call);
        }
        heard
            .thoughts
            .push_str(text(&document["delta"]["thinking"]));
        if let Some(call) = calls.get_mut(&index) {
            call.arguments
                .push_str(text(&document["delta"]["partial_json"]));
        }
        let reason = [&document["stop_reason"], &document["delta"]["stop_reason"]];
        heard.refused |= reason.iter().any(|reason| *reason == "refusal");
    }
    heard.calls = calls.into_values().collect();
    heard.cached = number(
        documents,
        &[
            "/usage/cache_read_input_tokens",
            "/message/usage/cache_read_input_tokens",
        ],
    );
    // Those from the cache are not among the others here.
    let fresh = number(
        documents,
        &["/usage/input_tokens", "/message/usage/input_tokens"],
    );
    heard.input = fresh + heard.cached;
    heard.output = number(documents, &["/usage/output_tokens"]);
}

fn responses(documents: &[Value], heard: &mut Heard) {
    let Some(last) = documents.last() else { return };
    let whole = last.get("response").unwrap_or(last);
    for item in list(&whole["output"]) {
        for part in list(&item["summary"]) {
            heard.thoughts.push_str(text(&part["text"]));
        }
        for part in list(&item["content"]) {
            heard.refused |= part["type"] == "refusal";
            heard.text.push_str(text(&part["refusal"]));
        }
        if item["type"] == "function_call" {
            heard.calls.push(Call {
                id: text(&item["call_id"]).to_owned(),
                name: text(&item["name"]).to_owned(),
                arguments: text(&item["arguments"]).to_owned(),
                part: Value::Null,
            });
        }
    }
    heard.refused |= whole["incomplete_details"]["reason"] == "content_filter";
    let delta = |kind: &str| -> String {
        let deltas = documents.iter().filter(|one| one["type"] == kind);
        deltas.map(|one| text(&one["delta"])).collect()
    };
    if last.get("response").is_some() && !heard.failed {
        let streamed: String = heard
            .calls
            .iter()
            .map(|call| call.arguments.as_str())
            .collect();
        assert_eq!(
            delta("response.function_call_arguments.delta"),
            streamed,
            "deltas are the whole"
        );
        assert_eq!(
            delta("response.reasoning_summary_text.delta"),
            heard.thoughts
        );
    }
    let usage = |name: &str| number(std::slice::from_ref(&whole["usage"]), &[name]);
    heard.input = usage("/input_tokens");
    heard.output = usage("/output_tokens");
    heard.cached = usage("/input_tokens_details/cached_tokens");
}

fn gemini(documents: &[Value], heard: &mut Heard) {
    for document in documents {
        let candidate = &document["candidates"][0];
        heard.refused |= candidate["finishReason"] == "SAFETY";
        for part in list(&candidate["content"]["parts"]) {
            if part["thought"] == json!(true) {
                heard.thoughts.push_str(text(&part["text"]));
            }
            if let Some(call) = part.get("functionCall") {
                heard.calls.push(Call {
                    id: text(&call["id"]).to_owned(),
                    name: text(&call["name"]).to_owned(),
                    arguments: call["args"].to_string(),
                    part: part.clone(),
                });
            }
        }
    }
    heard.input = number(documents, &["/usageMetadata/promptTokenCount"]);
    heard.output = number(documents, &["/usageMetadata/candidatesTokenCount"]);
    heard.cached = number(documents, &["/usageMetadata/cachedContentTokenCount"]);
}
