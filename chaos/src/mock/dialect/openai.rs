//! `OpenAI` Chat Completions.

use serde_json::{Value, json};

use super::super::asked::Asked;
use super::super::draft::{Draft, Event, Kind};
use super::super::plan::{Plan, halves};
use super::places::{Blank, Places};
use super::work::{Form, answer};

pub(super) const PLACES: Places = Places {
    usage: &[("", "usage")],
    tokens: &["/usage/prompt_tokens", "/usage/completion_tokens"],
    total: &["/usage/total_tokens"],
    usage_in: Kind::Usage,
    index: Some("/choices/0/index"),
    model: &["/model"],
    blanks: &[
        Blank::new("no_choices", "/choices", "[]"),
        Blank::new("no_message", "/choices/0/message", "null"),
        Blank::new("no_content", "/choices/0/message/content", "null"),
    ],
};

pub(super) fn sample_request(prompt: &str, stream: bool) -> Value {
    json!({"model": "mock-model", "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

pub(super) fn error_body(kind: &str, code: Option<&str>, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

pub(super) fn error_kind(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    }
}

pub(super) fn complaint(asked: &Asked) -> Option<String> {
    let Some(request) = asked.json.as_object() else {
        return Some("the request body is not a JSON object".to_owned());
    };
    if asked.model().is_none() {
        return Some("you must provide a model parameter".to_owned());
    }
    let messages = request
        .get("messages")
        .and_then(Value::as_array)
        .filter(|messages| !messages.is_empty());
    let Some(messages) = messages else {
        return Some("messages must be a non-empty array".to_owned());
    };
    unanswered_call(messages)
}

/// Every tool call must be answered before the conversation goes on.
fn unanswered_call(messages: &[Value]) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        let role = message
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if role == "tool" {
            let answered = message
                .get("tool_call_id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let before = open.len();
            open.retain(|id| *id != answered);
            if open.len() == before {
                return Some(format!("tool message answers no call: {answered}"));
            }
            continue;
        }
        if !open.is_empty() {
            return Some(format!("tool calls without an answer: {}", open.join(", ")));
        }
        let calls = message
            .get("tool_calls")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        open.extend(
            calls
                .iter()
                .filter_map(|call| call.get("id").and_then(Value::as_str)),
        );
    }
    (!open.is_empty()).then(|| format!("tool calls without an answer: {}", open.join(", ")))
}

pub(super) fn models(names: &[String]) -> Value {
    let model = |name: &String| json!({"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "mock"});
    json!({"object": "list", "data": names.iter().map(model).collect::<Vec<_>>()})
}

pub(super) fn text_of(document: &Value) -> String {
    let choice = |member: &str| {
        document
            .pointer(&format!("/choices/0/{member}/content"))
            .and_then(Value::as_str)
    };
    choice("delta")
        .or_else(|| choice("message"))
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn draft(plan: &Plan) -> Draft {
    let form = Form {
        content_types: ["text/event-stream; charset=utf-8", "application/json"],
        fields: vec![
            ("x-request-id", format!("req_{}", plan.id)),
            (
                "openai-processing-ms",
                plan.waits.head.as_millis().to_string(),
            ),
        ],
        events: &events,
        whole: &completion,
    };
    answer(plan, &form)
}

fn usage(plan: &Plan) -> Value {
    let (input, output) = (plan.usage.input, plan.usage.output);
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": plan.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}

fn finish_reason(plan: &Plan) -> &'static str {
    if !plan.calls.is_empty() {
        "tool_calls"
    } else if plan.limited {
        "length"
    } else {
        "stop"
    }
}

/// As `DeepSeek` and its followers say it; `OpenAI` itself shows none here.
const REASONING: &str = "reasoning_content";
const THOUGHTS: [&str; 2] = ["let me ", "think"];

fn call_id(plan: &Plan, choice: usize, call: usize) -> String {
    format!("call_{}_{choice}_{call}", plan.id)
}

fn completion(plan: &Plan) -> Value {
    let choice = |index: usize| {
        let calls = plan.calls.iter().enumerate();
        let calls: Vec<Value> = calls
            .map(|(at, call)| {
                json!({"id": call_id(plan, index, at), "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments}})
            })
            .collect();
        let mut message = json!({"role": "assistant", "content": plan.text(), "refusal": null, "annotations": []});
        if let (false, Some(message)) = (calls.is_empty(), message.as_object_mut()) {
            message.insert("content".to_owned(), Value::Null);
            message.insert("tool_calls".to_owned(), Value::Array(calls));
        } else if let (true, Some(message)) = (plan.refuses, message.as_object_mut()) {
            message.insert("content".to_owned(), Value::Null);
            message.insert("refusal".to_owned(), json!(plan.text()));
        }
        if let (true, Some(message)) = (plan.thinks, message.as_object_mut()) {
            message.insert(REASONING.to_owned(), json!(THOUGHTS.concat()));
        }
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish_reason(plan)})
    };
    json!({
        "id": format!("chatcmpl-{}", plan.id), "object": "chat.completion", "created": plan.created,
        "model": plan.model, "choices": (0..plan.choices).map(choice).collect::<Vec<_>>(), "usage": usage(plan),
        "service_tier": "default", "system_fingerprint": "fp_mock",
    })
}

/// One chunk; `choice` is index, delta and finish reason, or nothing for the usage chunk.
fn chunk(plan: &Plan, kind: Kind, choice: Option<(usize, Value, Value)>) -> Event {
    let choices: Vec<Value> = choice
        .into_iter()
        .map(|(index, delta, finish)| json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}))
        .collect();
    let mut data = json!({
        "id": format!("chatcmpl-{}", plan.id), "object": "chat.completion.chunk", "created": plan.created,
        "model": plan.model, "service_tier": "default", "system_fingerprint": "fp_mock", "choices": choices,
    });
    if let (true, Some(data)) = (plan.include_usage, data.as_object_mut()) {
        data.insert(
            "usage".to_owned(),
            if kind == Kind::Usage {
                usage(plan)
            } else {
                Value::Null
            },
        );
    }
    Event::json(kind, None, data)
}

fn events(plan: &Plan) -> Vec<Event> {
    let everyone = 0..plan.choices;
    let mut events: Vec<Event> = Vec::new();
    for index in everyone.clone() {
        let content = if plan.calls.is_empty() {
            json!("")
        } else {
            Value::Null
        };
        let delta = json!({"role": "assistant", "content": content, "refusal": null});
        events.push(chunk(
            plan,
            Kind::Opening,
            Some((index, delta, Value::Null)),
        ));
    }
    for (position, deltas) in content_deltas(plan).into_iter().enumerate() {
        for (index, delta) in deltas.into_iter().enumerate() {
            let wait = if index == 0 {
                plan.waits.before(position)
            } else {
                std::time::Duration::ZERO
            };
            events.push(chunk(plan, Kind::Content, Some((index, delta, Value::Null))).after(wait));
        }
    }
    for index in everyone {
        events.push(chunk(
            plan,
            Kind::Finish,
            Some((index, json!({}), json!(finish_reason(plan)))),
        ));
    }
    if plan.include_usage {
        events.push(chunk(plan, Kind::Usage, None));
    }
    events.push(Event::raw(Kind::Terminal, "data: [DONE]\n\n"));
    events
}

/// Per content event the delta of every choice.
fn content_deltas(plan: &Plan) -> Vec<Vec<Value>> {
    let everyone = 0..plan.choices;
    let same = |member: &'static str, piece: &str| -> Vec<Value> {
        everyone.clone().map(|_| json!({member: piece})).collect()
    };
    let mut deltas = Vec::new();
    if plan.thinks {
        deltas.extend(THOUGHTS.map(|thought| same(REASONING, thought)));
    }
    if plan.calls.is_empty() {
        let member = if plan.refuses { "refusal" } else { "content" };
        deltas.extend(plan.pieces.iter().map(|piece| same(member, piece)));
    }
    for (at, call) in plan.calls.iter().enumerate() {
        let opening = |choice: usize| {
            json!({"tool_calls": [{"index": at, "id": call_id(plan, choice, at), "type": "function",
                "function": {"name": call.name, "arguments": ""}}]})
        };
        deltas.push(everyone.clone().map(opening).collect());
        for fragment in halves(&call.arguments) {
            let later =
                |_| json!({"tool_calls": [{"index": at, "function": {"arguments": fragment}}]});
            deltas.push(everyone.clone().map(later).collect());
        }
    }
    deltas
}
