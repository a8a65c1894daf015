//! Anthropic Messages.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::asked::Asked;
use super::super::draft::{Draft, Event, Kind};
use super::super::plan::{Plan, halves};
use super::places::{Blank, Places};
use super::work::{Form, answer};

pub(super) const PLACES: Places = Places {
    usage: &[("", "usage"), ("/message", "usage")],
    tokens: &["/usage/input_tokens", "/usage/output_tokens"],
    total: &[],
    usage_in: Kind::Finish,
    index: Some("/index"),
    model: &["/model", "/message/model"],
    blanks: &[
        Blank::new("no_content", "/content", "[]"),
        Blank::new("null_content", "/content", "null"),
    ],
};

pub(super) fn sample_request(prompt: &str, stream: bool) -> Value {
    json!({"model": "mock-model", "max_tokens": 1024, "stream": stream,
        "messages": [{"role": "user", "content": prompt}]})
}

pub(super) fn error_body(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"})
}

pub(super) fn error_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

pub(super) fn complaint(asked: &Asked) -> Option<String> {
    let Some(request) = asked.json.as_object() else {
        return Some("the request body is not a JSON object".to_owned());
    };
    if asked.header("anthropic-version").is_none() {
        return Some("anthropic-version: header is required".to_owned());
    }
    if asked.model().is_none() {
        return Some("model: field required".to_owned());
    }
    if request
        .get("max_tokens")
        .and_then(Value::as_u64)
        .is_none_or(|limit| limit == 0)
    {
        return Some("max_tokens: field required".to_owned());
    }
    let messages = request
        .get("messages")
        .and_then(Value::as_array)
        .filter(|messages| !messages.is_empty());
    let Some(messages) = messages else {
        return Some("messages: at least one message is required".to_owned());
    };
    let foreign = messages.iter().find_map(|message| {
        let role = message
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default();
        (!matches!(role, "user" | "assistant" | "system"))
            .then(|| format!("messages: unexpected role \"{role}\""))
    });
    foreign.or_else(|| unanswered_use(messages))
}

/// Every `tool_use` must be answered in the very next message.
fn unanswered_use(messages: &[Value]) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        let answered = ids(message, "tool_result", "tool_use_id");
        open.retain(|id| !answered.contains(id));
        if !open.is_empty() {
            break;
        }
        open = ids(message, "tool_use", "id");
    }
    (!open.is_empty()).then(|| {
        format!(
            "messages: `tool_use` ids without `tool_result` blocks right after: {}",
            open.join(", ")
        )
    })
}

fn ids<'a>(message: &'a Value, kind: &str, member: &str) -> Vec<&'a str> {
    let blocks = message
        .get("content")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let of_kind = blocks
        .iter()
        .filter(|block| block.get("type").and_then(Value::as_str) == Some(kind));
    of_kind
        .filter_map(|block| block.get(member).and_then(Value::as_str))
        .collect()
}

pub(super) fn models(names: &[String]) -> Value {
    let model = |name: &String| json!({"id": name, "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z"});
    json!({"data": names.iter().map(model).collect::<Vec<_>>(), "has_more": false,
        "first_id": names.first(), "last_id": names.last()})
}

pub(super) fn text_of(document: &Value) -> String {
    if let Some(text) = document.pointer("/delta/text").and_then(Value::as_str) {
        return text.to_owned();
    }
    let blocks = document
        .get("content")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    blocks
        .iter()
        .filter_map(|block| block.get("text").and_then(Value::as_str))
        .collect()
}

pub(super) fn draft(plan: &Plan) -> Draft {
    let form = Form {
        content_types: ["text/event-stream; charset=utf-8", "application/json"],
        fields: vec![("request-id", format!("req_{}", plan.id))],
        events: &events,
        whole: &|plan: &Plan| message(plan, blocks(plan)),
    };
    answer(plan, &form)
}

fn usage(plan: &Plan, output: u64) -> Value {
    json!({"input_tokens": plan.fresh_input(), "cache_creation_input_tokens": 0, "cache_read_input_tokens": plan.cached,
        "output_tokens": output, "service_tier": "standard"})
}

fn stop_reason(plan: &Plan) -> &'static str {
    if !plan.calls.is_empty() {
        "tool_use"
    } else if plan.refuses {
        "refusal"
    } else if plan.limited {
        "max_tokens"
    } else {
        "end_turn"
    }
}

fn message(plan: &Plan, content: Vec<Value>) -> Value {
    json!({"id": format!("msg_{}", plan.id), "type": "message", "role": "assistant", "model": plan.model,
        "content": content, "stop_reason": stop_reason(plan), "stop_sequence": null,
        "usage": usage(plan, plan.usage.output)})
}

fn signature(plan: &Plan) -> String {
    format!("sig-{}", plan.id)
}

fn tool_id(plan: &Plan, at: usize) -> String {
    format!("toolu_{}_{at}", plan.id)
}

const THOUGHTS: [&str; 2] = ["let me ", "think"];

fn blocks(plan: &Plan) -> Vec<Value> {
    let thinking = plan.thinks.then(
        || json!({"type": "thinking", "thinking": THOUGHTS.concat(), "signature": signature(plan)}),
    );
    let text = plan
        .calls
        .is_empty()
        .then(|| json!({"type": "text", "text": plan.text()}));
    let uses = plan.calls.iter().enumerate().map(|(at, call)| {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        json!({"type": "tool_use", "id": tool_id(plan, at), "name": call.name, "input": input})
    });
    thinking.into_iter().chain(text).chain(uses).collect()
}

fn event(kind: Kind, name: &'static str, mut data: Value) -> Event {
    if let Some(data) = data.as_object_mut() {
        data.insert("type".to_owned(), json!(name));
    }
    Event::json(kind, Some(name), data)
}

fn events(plan: &Plan) -> Vec<Event> {
    let mut opening = message(plan, Vec::new());
    if let Some(opening) = opening.as_object_mut() {
        opening.insert("stop_reason".to_owned(), Value::Null);
        opening.insert("usage".to_owned(), usage(plan, 1));
    }
    let mut events = vec![event(
        Kind::Opening,
        "message_start",
        json!({"message": opening}),
    )];
    let mut position: usize = 0;
    for (index, (block, deltas)) in streamed_blocks(plan).into_iter().enumerate() {
        events.push(event(
            Kind::Opening,
            "content_block_start",
            json!({"index": index, "content_block": block}),
        ));
        if index == 0 {
            events.push(event(Kind::Noise, "ping", json!({})));
        }
        for delta in deltas {
            let wait = plan.waits.before(position);
            let delta = json!({"index": index, "delta": delta});
            events.push(event(Kind::Content, "content_block_delta", delta).after(wait));
            position = position.saturating_add(1);
        }
        events.push(event(
            Kind::Closing,
            "content_block_stop",
            json!({"index": index}),
        ));
    }
    let stop = json!({"delta": {"stop_reason": stop_reason(plan), "stop_sequence": null},
        "usage": {"output_tokens": plan.usage.output}});
    events.push(event(Kind::Finish, "message_delta", stop).after(Duration::ZERO));
    events.push(event(Kind::Terminal, "message_stop", json!({})));
    events
}

/// Each block as it starts, and its deltas.
fn streamed_blocks(plan: &Plan) -> Vec<(Value, Vec<Value>)> {
    let mut blocks = Vec::new();
    if plan.thinks {
        let mut deltas: Vec<Value> = THOUGHTS
            .iter()
            .map(|thought| json!({"type": "thinking_delta", "thinking": thought}))
            .collect();
        deltas.push(json!({"type": "signature_delta", "signature": signature(plan)}));
        blocks.push((
            json!({"type": "thinking", "thinking": "", "signature": ""}),
            deltas,
        ));
    }
    if plan.calls.is_empty() {
        let deltas = plan
            .pieces
            .iter()
            .map(|piece| json!({"type": "text_delta", "text": piece}))
            .collect();
        blocks.push((json!({"type": "text", "text": ""}), deltas));
    }
    for (at, call) in plan.calls.iter().enumerate() {
        let start =
            json!({"type": "tool_use", "id": tool_id(plan, at), "name": call.name, "input": {}});
        let delta = |fragment: &str| json!({"type": "input_json_delta", "partial_json": fragment});
        blocks.push((
            start,
            halves(&call.arguments).into_iter().map(delta).collect(),
        ));
    }
    blocks
}
