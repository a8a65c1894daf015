//! Gemini `generateContent`, with the model and the kind of answer in the path.

mod complaint;
mod error;

use serde_json::{Value, json};

pub(super) use complaint::complaint;
pub(super) use error::{error_body, error_kind, retry_info, wrong_key};

use super::super::asked::Asked;
use super::super::draft::{Body, Document, Draft, Event, Kind};
use super::super::plan::Plan;
use super::super::wish::{Choice, Turns, Wish, list, text};
use super::places::{Blank, Places};

pub(super) const PLACES: Places = Places {
    usage: &[("", "usageMetadata")],
    tokens: &[
        "/usageMetadata/promptTokenCount",
        "/usageMetadata/candidatesTokenCount",
    ],
    total: &["/usageMetadata/totalTokenCount"],
    usage_in: Kind::Finish,
    index: Some("/candidates/0/index"),
    model: &["/modelVersion"],
    blanks: &[
        Blank::new("no_candidates", "/candidates", "[]"),
        Blank::new("null_content", "/candidates/0/content", "null"),
        Blank::new("no_parts", "/candidates/0/content", "{\"role\":\"model\"}"),
        Blank::new("empty_parts", "/candidates/0/content/parts", "[]"),
    ],
};

pub(super) fn sample_request(prompt: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]})
}

/// `models/x` of the path, without the verb; also of a Vertex path.
pub(in super::super) fn model(path: &str) -> Option<&str> {
    let (front, _) = path.rsplit_once(':')?;
    front.rsplit('/').next().filter(|model| !model.is_empty())
}

/// The key of `?key=…`.
pub(in super::super) fn query_key(path: &str) -> Option<&str> {
    query(path).find_map(|pair| pair.strip_prefix("key="))
}

fn query(path: &str) -> impl Iterator<Item = &str> {
    let (_, query) = path.split_once('?').unwrap_or_default();
    query.split('&')
}

/// Camel case or snake case: the real one takes both.
pub(super) fn member<'a>(value: &'a Value, camel: &str, snake: &str) -> Option<&'a Value> {
    value.get(camel).or_else(|| value.get(snake))
}

pub(super) fn wish(asked: &Asked) -> Wish {
    let request = &asked.json;
    let none = Value::Null;
    let config = member(request, "generationConfig", "generation_config").unwrap_or(&none);
    let number = |camel, snake| member(config, camel, snake).and_then(Value::as_u64);
    let thinking = member(config, "thinkingConfig", "thinking_config").unwrap_or(&none);
    let thinks = member(thinking, "includeThoughts", "include_thoughts");
    let declared = list(request, "/tools").iter().filter_map(|tool| {
        member(tool, "functionDeclarations", "function_declarations").and_then(Value::as_array)
    });
    let tools: Vec<String> = declared
        .flatten()
        .map(|one| text(one, "/name").to_owned())
        .collect();
    let asks_for_array =
        asked.streams() && !query(&asked.path).any(|pair| pair.eq_ignore_ascii_case("alt=sse"));
    Wish {
        limit: number("maxOutputTokens", "max_output_tokens"),
        choices: number("candidateCount", "candidate_count").unwrap_or(1),
        include_usage: true,
        thinks: thinks == Some(&Value::Bool(true)),
        tools,
        choice: choice(request),
        one_at_a_time: false,
        turns: Turns::of(request.get("contents")),
        echo: if asks_for_array {
            vec![(ARRAY, Value::Bool(true))]
        } else {
            Vec::new()
        },
    }
}

/// Stands among the settings when a stream was asked for without `alt=sse`.
const ARRAY: &str = "array";

fn choice(request: &Value) -> Choice {
    let none = Value::Null;
    let config = member(request, "toolConfig", "tool_config").unwrap_or(&none);
    let config =
        member(config, "functionCallingConfig", "function_calling_config").unwrap_or(&none);
    let names = member(config, "allowedFunctionNames", "allowed_function_names");
    let names = names.and_then(Value::as_array);
    match (text(config, "/mode"), names.map(Vec::as_slice)) {
        ("ANY" | "any", Some([Value::String(name)])) => Choice::Named(name.clone()),
        ("ANY" | "any", _) => Choice::Must,
        (_, _) => Choice::Free,
    }
}

pub(super) fn models(names: &[String]) -> Value {
    let model = |name: &String| {
        json!({"name": format!("models/{name}"), "version": "001", "displayName": name,
            "inputTokenLimit": 1_048_576, "outputTokenLimit": 8192,
            "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"]})
    };
    json!({"models": names.iter().map(model).collect::<Vec<_>>()})
}

/// Thoughts are no text.
pub(super) fn text_of(document: &Value) -> String {
    list(document, "/candidates/0/content/parts")
        .iter()
        .filter(|part| part.get("thought") != Some(&Value::Bool(true)))
        .map(|part| text(part, "/text"))
        .collect()
}

pub(super) fn draft(plan: &Plan) -> Draft {
    let array = plan.echo.iter().any(|(name, _)| *name == ARRAY);
    let content_type = if plan.streams && !array {
        "text/event-stream"
    } else {
        "application/json; charset=UTF-8"
    };
    let fields = vec![
        ("content-type".to_owned(), content_type.to_owned()),
        ("server-timing".to_owned(), "gfet4t7; dur=1".to_owned()),
    ];
    let (body, head_wait) = match (plan.streams, array) {
        (true, false) => (Body::Events(events(plan)), plan.waits.head),
        // One JSON array; the real one sends it piece by piece, which no reader of JSON can tell.
        (true, true) => {
            let chunks = chunks(plan).into_iter().map(|(_, chunk)| chunk).collect();
            let body = Body::Document(Document::Json(Value::Array(chunks)));
            (body, plan.waits.whole())
        }
        (false, _) => {
            let parts = whole_parts(plan);
            let answer = chunk(plan, &parts, Some(finish_reason(plan)), plan.usage.output);
            (Body::Document(Document::Json(answer)), plan.waits.whole())
        }
    };
    Draft::healthy(fields, body, head_wait)
}

/// There is no reason of its own for calls.
fn finish_reason(plan: &Plan) -> &'static str {
    if plan.refuses {
        "SAFETY"
    } else if plan.limited {
        "MAX_TOKENS"
    } else {
        "STOP"
    }
}

/// One `GenerateContentResponse`, with the same parts for every candidate.
fn chunk(plan: &Plan, parts: &[Value], finish: Option<&str>, output: u64) -> Value {
    let candidate = |index: usize| {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": index});
        if let (Some(finish), Some(candidate)) = (finish, candidate.as_object_mut()) {
            candidate.insert("finishReason".to_owned(), json!(finish));
        }
        candidate
    };
    let candidates: Vec<Value> = (0..plan.choices).map(candidate).collect();
    let input = plan.usage.input;
    let mut answer = json!({"candidates": candidates, "modelVersion": plan.model, "responseId": plan.id,
        "usageMetadata": {"promptTokenCount": input, "candidatesTokenCount": output,
            "totalTokenCount": input.saturating_add(output),
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": input}]}});
    if plan.cached > 0
        && let Some(usage) = answer
            .pointer_mut("/usageMetadata")
            .and_then(Value::as_object_mut)
    {
        usage.insert("cachedContentTokenCount".to_owned(), json!(plan.cached));
    }
    answer
}

const THOUGHT: &str = "let me think";

fn thought(plan: &Plan) -> Option<Value> {
    plan.thinks
        .then(|| json!({"text": THOUGHT, "thought": true}))
}

/// The first call carries the signature that has to come back with it.
fn calls(plan: &Plan) -> impl Iterator<Item = Value> + '_ {
    plan.calls.iter().enumerate().map(|(at, call)| {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        let mut part = json!({"functionCall": {"name": call.name, "args": arguments}});
        if let (0, Some(part)) = (at, part.as_object_mut()) {
            part.insert("thoughtSignature".to_owned(), json!("c2lnbmF0dXJl"));
        }
        part
    })
}

fn whole_parts(plan: &Plan) -> Vec<Value> {
    let said = plan.calls.is_empty().then(|| json!({"text": plan.text()}));
    thought(plan)
        .into_iter()
        .chain(said)
        .chain(calls(plan))
        .collect()
}

/// The chunks of a stream: usage grows in every one, the last has the reason and an empty text.
fn chunks(plan: &Plan) -> Vec<(Kind, Value)> {
    let pieces = plan.pieces.iter().map(|piece| json!({"text": piece}));
    let said: Vec<Value> = if plan.calls.is_empty() {
        thought(plan).into_iter().chain(pieces).collect()
    } else {
        thought(plan).into_iter().chain(calls(plan)).collect()
    };
    let mut chunks: Vec<(Kind, Value)> = said
        .into_iter()
        .enumerate()
        .map(|(at, part)| {
            let output = (at as u64).saturating_add(1).min(plan.usage.output);
            (Kind::Content, chunk(plan, &[part], None, output))
        })
        .collect();
    let end = [json!({"text": ""})];
    let last = chunk(plan, &end, Some(finish_reason(plan)), plan.usage.output);
    chunks.push((Kind::Finish, last));
    chunks
}

fn events(plan: &Plan) -> Vec<Event> {
    let mut position: usize = 0;
    let mut events = Vec::new();
    for (kind, data) in chunks(plan) {
        let mut event = Event::json(kind, None, data);
        if kind == Kind::Content {
            event = event.after(plan.waits.before(position));
            position = position.saturating_add(1);
        }
        events.push(event);
    }
    events
}
