//! `OpenAI` Responses. Errors, models and embeddings are those of chat completions.

mod complaint;
mod stream;

use serde_json::{Value, json};

pub(super) use complaint::complaint;

use super::super::asked::Asked;
use super::super::draft::{Draft, Kind};
use super::super::plan::Plan;
use super::super::wish::{Turns, Wish, choice, list, text, tools};
use super::places::{Blank, Places};
use super::work::{Form, answer};

pub(super) const PLACES: Places = Places {
    usage: &[("", "usage"), ("/response", "usage")],
    tokens: &[
        "/usage/input_tokens",
        "/usage/output_tokens",
        "/response/usage/input_tokens",
        "/response/usage/output_tokens",
    ],
    total: &["/usage/total_tokens", "/response/usage/total_tokens"],
    usage_in: Kind::Terminal,
    index: Some("/output_index"),
    model: &["/model", "/response/model"],
    blanks: &[
        Blank::new("no_output", "/output", "[]"),
        Blank::new("null_output", "/output", "null"),
        Blank::new("no_content", "/output/0/content", "[]"),
        Blank::new("no_text", "/output/0/content/0/text", "null"),
    ],
};

pub(super) fn sample_request(prompt: &str, stream: bool) -> Value {
    json!({"model": "mock-model", "stream": stream, "input": [{"role": "user", "content": prompt}]})
}

/// The recorded form; see `fault::S11` for the flat one and for `response.failed`.
pub(super) fn error_event(kind: &str, code: Option<&str>, message: &str) -> Value {
    json!({"type": "error", "sequence_number": 2,
        "error": {"type": kind, "code": code, "message": message, "param": null}})
}

/// What an answer repeats of its request, and what stands there when the request is silent.
fn echo(request: &Value) -> Vec<(&'static str, Value)> {
    let defaults = [
        ("background", json!(false)),
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("safety_identifier", Value::Null),
        ("store", json!(true)),
        ("temperature", json!(1.0)),
        (
            "text",
            json!({"format": {"type": "text"}, "verbosity": "medium"}),
        ),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_logprobs", json!(0)),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
        ("user", Value::Null),
    ];
    defaults
        .into_iter()
        .map(|(name, default)| (name, request.get(name).cloned().unwrap_or(default)))
        .collect()
}

pub(super) fn wish(asked: &Asked) -> Wish {
    let request = &asked.json;
    let effort = text(request, "/reasoning/effort");
    Wish {
        limit: request.get("max_output_tokens").and_then(Value::as_u64),
        choices: 1,
        include_usage: true,
        thinks: !matches!(effort, "" | "none"),
        tools: tools(request),
        choice: choice(request.get("tool_choice")),
        one_at_a_time: request.get("parallel_tool_calls") == Some(&Value::Bool(false)),
        turns: Turns::of(request.get("input")),
        echo: echo(request),
    }
}

/// Of a unary answer, or of one event: what the events after the deltas repeat is not counted again.
pub(super) fn text_of(document: &Value) -> String {
    if document.get("type").and_then(Value::as_str) == Some("response.output_text.delta") {
        return text(document, "/delta").to_owned();
    }
    list(document, "/output")
        .iter()
        .flat_map(|item| list(item, "/content"))
        .map(|part| text(part, "/text"))
        .collect()
}

pub(super) fn draft(plan: &Plan) -> Draft {
    let form = Form {
        content_types: ["text/event-stream; charset=utf-8", "application/json"],
        fields: vec![
            ("x-request-id", format!("req_{}", plan.id)),
            ("openai-version", "2020-10-01".to_owned()),
        ],
        events: &stream::events,
        whole: &|plan: &Plan| response(plan, State::Over),
    };
    answer(plan, &form)
}

/// Whether the answer, or an item of it, is still being made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begun,
    Over,
}

/// One piece of `output`.
#[derive(Clone, Copy)]
enum Item {
    Reasoning,
    Message,
    Call(usize),
}

const THOUGHTS: [&str; 2] = ["let me ", "think"];

fn items(plan: &Plan) -> Vec<Item> {
    let thinking = plan.thinks.then_some(Item::Reasoning);
    let message = plan.calls.is_empty().then_some(Item::Message);
    let calls = (0..plan.calls.len()).map(Item::Call);
    thinking.into_iter().chain(message).chain(calls).collect()
}

fn item_id(plan: &Plan, item: Item) -> String {
    match item {
        Item::Reasoning => format!("rs_{}", plan.id),
        Item::Message => format!("msg_{}", plan.id),
        Item::Call(at) => format!("fc_{}_{at}", plan.id),
    }
}

fn text_part(plan: &Plan, said: &str) -> Value {
    if plan.refuses {
        json!({"type": "refusal", "refusal": said})
    } else {
        json!({"type": "output_text", "annotations": [], "logprobs": [], "text": said})
    }
}

fn item(plan: &Plan, item: Item, state: State) -> Value {
    let id = item_id(plan, item);
    let over = state == State::Over;
    let status = match state {
        State::Begun => "in_progress",
        State::Over if plan.limited => "incomplete",
        State::Over => "completed",
    };
    match item {
        Item::Reasoning => {
            let summary = over.then(|| json!({"type": "summary_text", "text": THOUGHTS.concat()}));
            json!({"id": id, "type": "reasoning", "summary": summary.into_iter().collect::<Vec<_>>()})
        }
        Item::Message => {
            let content = over.then(|| text_part(plan, &plan.text()));
            json!({"id": id, "type": "message", "status": status, "role": "assistant",
                "content": content.into_iter().collect::<Vec<_>>()})
        }
        Item::Call(at) => {
            let call = plan.calls.get(at);
            let name = call.map(|call| call.name.as_str()).unwrap_or_default();
            let arguments = call.filter(|_| over).map(|call| call.arguments.as_str());
            json!({"id": id, "type": "function_call", "status": status, "name": name,
                "call_id": format!("call_{}_{at}", plan.id), "arguments": arguments.unwrap_or_default()})
        }
    }
}

fn usage(plan: &Plan) -> Value {
    let (input, output) = (plan.usage.input, plan.usage.output);
    json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": plan.cached}, "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input.saturating_add(output)})
}

fn response(plan: &Plan, state: State) -> Value {
    let (status, incomplete, output, usage) = match state {
        State::Begun => ("in_progress", Value::Null, Vec::new(), Value::Null),
        State::Over => {
            let whole = items(plan).into_iter();
            let output = whole.map(|one| item(plan, one, State::Over)).collect();
            let (status, reason) = if plan.limited {
                ("incomplete", json!({"reason": "max_output_tokens"}))
            } else {
                ("completed", Value::Null)
            };
            (status, reason, output, usage(plan))
        }
    };
    let mut response = json!({
        "id": format!("resp_{}", plan.id), "object": "response", "created_at": plan.created, "status": status,
        "error": null, "incomplete_details": incomplete, "model": plan.model, "output": output,
        "service_tier": "default", "usage": usage,
    });
    if let Some(response) = response.as_object_mut() {
        let echo = plan.echo.iter();
        response.extend(echo.map(|(name, value)| ((*name).to_owned(), value.clone())));
    }
    response
}
