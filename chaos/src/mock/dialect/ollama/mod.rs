//! Ollama's own chat: one JSON object a line, and streams unless told otherwise.

mod complaint;

use serde_json::{Value, json};

pub(super) use complaint::complaint;

use super::super::asked::Asked;
use super::super::draft::{Draft, Event, Kind};
use super::super::framing::Framing;
use super::super::plan::Plan;
use super::super::wish::{Choice, Turns, Wish, text, tools};
use super::places::{Blank, Places};
use super::work::{Form, answer};
use crate::http1;

pub(super) const PLACES: Places = Places {
    usage: &[("", "prompt_eval_count"), ("", "eval_count")],
    tokens: &["/prompt_eval_count", "/eval_count"],
    total: &[],
    usage_in: Kind::Finish,
    index: None,
    model: &["/model"],
    blanks: &[
        Blank::new("null_message", "/message", "null"),
        Blank::new("null_content", "/message/content", "null"),
        Blank::new("empty_content", "/message/content", "\"\""),
    ],
};

pub(super) fn sample_request(prompt: &str, stream: bool) -> Value {
    json!({"model": "mock-model", "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

pub(super) fn wish(asked: &Asked) -> Wish {
    let request = &asked.json;
    let think = request.get("think");
    let thinks =
        think.and_then(Value::as_bool).unwrap_or(false) || !text(request, "/think").is_empty();
    // Below zero means without limit.
    let limit = request.pointer("/options/num_predict");
    Wish {
        limit: limit.and_then(Value::as_u64),
        choices: 1,
        include_usage: true,
        thinks,
        tools: tools(request),
        choice: Choice::Free,
        one_at_a_time: false,
        turns: Turns::of(request.get("messages")),
        echo: Vec::new(),
    }
}

pub(super) fn models(names: &[String]) -> Value {
    let model = |name: &String| {
        json!({"name": name, "model": name, "modified_at": "2026-01-01T00:00:00Z", "size": 1, "digest": "0".repeat(64),
            "details": {"format": "gguf", "family": "mock", "parameter_size": "1B", "quantization_level": "Q4_0"}})
    };
    json!({"models": names.iter().map(model).collect::<Vec<_>>()})
}

pub(super) fn text_of(document: &Value) -> String {
    text(document, "/message/content").to_owned()
}

pub(super) fn draft(plan: &Plan) -> Draft {
    let form = Form {
        content_types: [
            Framing::Lines.content_type(),
            "application/json; charset=utf-8",
        ],
        fields: Vec::new(),
        events: &events,
        whole: &whole,
    };
    answer(plan, &form)
}

const THOUGHTS: [&str; 2] = ["let me ", "think"];

fn whole(plan: &Plan) -> Value {
    let mut message = json!({"role": "assistant", "content": plan.text()});
    if let Some(message) = message.as_object_mut() {
        if plan.thinks {
            message.insert("thinking".to_owned(), json!(THOUGHTS.concat()));
        }
        if !plan.calls.is_empty() {
            message.insert("content".to_owned(), json!(""));
            let calls = (0..plan.calls.len()).map(|at| call(plan, at));
            message.insert("tool_calls".to_owned(), calls.collect());
        }
    }
    line(plan, &message, true)
}

/// Arguments are an object, and there is no id.
fn call(plan: &Plan, at: usize) -> Value {
    let call = plan.calls.get(at);
    let name = call.map(|call| call.name.as_str()).unwrap_or_default();
    let arguments = call.map(|call| call.arguments.as_str()).unwrap_or_default();
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    json!({"function": {"index": at, "name": name, "arguments": arguments}})
}

/// One answer; the last of a stream tells the counts, with times in nanoseconds.
fn line(plan: &Plan, message: &Value, done: bool) -> Value {
    let created = http1::rfc3339(plan.created);
    let mut line =
        json!({"model": plan.model, "created_at": created, "message": message, "done": done});
    if let (true, Some(line)) = (done, line.as_object_mut()) {
        let reason = if plan.limited { "length" } else { "stop" };
        let total = u64::try_from(plan.waits.whole().as_nanos()).unwrap_or(u64::MAX);
        let counts = [
            ("done_reason", json!(reason)),
            ("total_duration", json!(total)),
            ("load_duration", json!(0)),
            ("prompt_eval_count", json!(plan.usage.input)),
            ("prompt_eval_duration", json!(0)),
            ("eval_count", json!(plan.usage.output)),
            ("eval_duration", json!(total)),
        ];
        line.extend(counts.map(|(name, value)| (name.to_owned(), value)));
    }
    line
}

fn events(plan: &Plan) -> Vec<Event> {
    let said = |content: &str| json!({"role": "assistant", "content": content});
    let mut messages: Vec<Value> = Vec::new();
    if plan.thinks {
        let thought =
            |thought: &&str| json!({"role": "assistant", "content": "", "thinking": thought});
        messages.extend(THOUGHTS.iter().map(thought));
    }
    if plan.calls.is_empty() {
        messages.extend(plan.pieces.iter().map(|piece| said(piece)));
    }
    // Each call whole, in a line of its own.
    messages.extend(
        (0..plan.calls.len())
            .map(|at| json!({"role": "assistant", "content": "", "tool_calls": [call(plan, at)]})),
    );
    let mut events: Vec<Event> = messages
        .iter()
        .enumerate()
        .map(|(position, message)| {
            let line = line(plan, message, false);
            Event::framed(Framing::Lines, Kind::Content, None, line)
                .after(plan.waits.before(position))
        })
        .collect();
    let last = line(plan, &said(""), true);
    events.push(Event::framed(Framing::Lines, Kind::Finish, None, last));
    events
}
