//! Cohere's chat, version 2.

mod complaint;

use serde_json::{Value, json};

pub(super) use complaint::complaint;

use super::super::asked::Asked;
use super::super::draft::{Draft, Event, Kind};
use super::super::plan::{Plan, halves};
use super::super::wish::{Turns, Wish, choice, list, text, tools};
use super::places::{Blank, Places};
use super::work::{Form, answer};

pub(super) const PLACES: Places = Places {
    usage: &[("", "usage"), ("/delta", "usage")],
    tokens: &[
        "/usage/tokens/input_tokens",
        "/usage/tokens/output_tokens",
        "/delta/usage/tokens/input_tokens",
        "/delta/usage/tokens/output_tokens",
    ],
    total: &[],
    usage_in: Kind::Finish,
    index: Some("/index"),
    model: &[],
    blanks: &[
        Blank::new("null_message", "/message", "null"),
        Blank::new("no_content", "/message/content", "[]"),
        Blank::new("null_content", "/message/content", "null"),
    ],
};

pub(super) fn sample_request(prompt: &str, stream: bool) -> Value {
    json!({"model": "mock-model", "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

/// No type and no code: the status says it all.
pub(super) fn error_body(message: &str) -> Value {
    json!({"id": "00000000-0000-4000-8000-000000000000", "message": message})
}

/// The last event of a stream that failed.
pub(super) fn error_event(message: &str) -> Value {
    json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": message,
        "usage": {"tokens": {"input_tokens": 1.0, "output_tokens": 0.0}}}})
}

pub(super) fn wish(asked: &Asked) -> Wish {
    let request = &asked.json;
    Wish {
        limit: request.get("max_tokens").and_then(Value::as_u64),
        choices: 1,
        include_usage: true,
        thinks: text(request, "/thinking/type") == "enabled",
        tools: tools(request),
        choice: choice(request.get("tool_choice")),
        one_at_a_time: false,
        turns: Turns::of(request.get("messages")),
        echo: Vec::new(),
    }
}

pub(super) fn models(names: &[String]) -> Value {
    let model = |name: &String| json!({"name": name, "endpoints": ["chat", "embed"], "finetuned": false, "context_length": 128_000});
    json!({"models": names.iter().map(model).collect::<Vec<_>>(), "next_page_token": ""})
}

pub(super) fn text_of(document: &Value) -> String {
    if text(document, "/type") == "content-delta" {
        return text(document, "/delta/message/content/text").to_owned();
    }
    let content = list(document, "/message/content");
    content.iter().map(|item| text(item, "/text")).collect()
}

pub(super) fn draft(plan: &Plan) -> Draft {
    let form = Form {
        content_types: ["text/event-stream", "application/json"],
        fields: vec![("x-debug-trace-id", plan.id.clone())],
        events: &events,
        whole: &whole,
    };
    answer(plan, &form)
}

fn whole(plan: &Plan) -> Value {
    json!({"id": plan.id, "finish_reason": finish_reason(plan),
        "message": message(plan), "usage": usage(plan)})
}

fn finish_reason(plan: &Plan) -> &'static str {
    if !plan.calls.is_empty() {
        "TOOL_CALL"
    } else if plan.refuses {
        "ERROR_TOXIC"
    } else if plan.limited {
        "MAX_TOKENS"
    } else {
        "COMPLETE"
    }
}

/// Counts are floats, and what is billed is less than what was read.
#[expect(
    clippy::cast_precision_loss,
    reason = "the counts of a mock are far below 2^53"
)]
fn usage(plan: &Plan) -> Value {
    let (input, output) = (plan.usage.input as f64, plan.usage.output as f64);
    json!({"billed_units": {"input_tokens": (input / 2.0).ceil(), "output_tokens": output},
        "tokens": {"input_tokens": input, "output_tokens": output}, "cached_tokens": plan.cached as f64})
}

const THOUGHTS: [&str; 2] = ["let me ", "think"];
const TOOL_PLAN: &str = "I will use a tool.";

fn call_id(plan: &Plan, at: usize) -> String {
    format!("{}_{at}", plan.id)
}

fn message(plan: &Plan) -> Value {
    let thinking = plan
        .thinks
        .then(|| json!({"type": "thinking", "thinking": THOUGHTS.concat()}));
    if plan.calls.is_empty() {
        let said = json!({"type": "text", "text": plan.text()});
        let content: Vec<Value> = thinking.into_iter().chain([said]).collect();
        return json!({"role": "assistant", "content": content});
    }
    let calls = plan.calls.iter().enumerate().map(|(at, call)| {
        json!({"id": call_id(plan, at), "type": "function",
            "function": {"name": call.name, "arguments": call.arguments}})
    });
    let calls: Vec<Value> = calls.collect();
    // Without a text there is no content at all.
    json!({"role": "assistant", "tool_plan": TOOL_PLAN, "tool_calls": calls})
}

struct Script<'a> {
    plan: &'a Plan,
    events: Vec<Event>,
    /// Content events so far.
    said: usize,
}

impl Script<'_> {
    fn push(&mut self, kind: Kind, name: &'static str, mut data: Value) {
        if let Some(data) = data.as_object_mut() {
            data.insert("type".to_owned(), json!(name));
        }
        let event = Event::json(kind, Some(name), data);
        self.events.push(if kind == Kind::Content {
            let wait = self.plan.waits.before(self.said);
            self.said = self.said.saturating_add(1);
            event.after(wait)
        } else {
            event
        });
    }

    fn content(&mut self, index: usize, kind: &str, pieces: &[&str]) {
        let at =
            |content: Value| json!({"index": index, "delta": {"message": {"content": content}}});
        let start = at(json!({"type": kind, kind: ""}));
        self.push(Kind::Opening, "content-start", start);
        for piece in pieces {
            self.push(Kind::Content, "content-delta", at(json!({kind: piece})));
        }
        self.push(Kind::Closing, "content-end", json!({"index": index}));
    }

    /// `tool_calls` is one object here, not a list.
    fn call(&mut self, at: usize, name: &str, arguments: &str) {
        let with = |call: Value| json!({"index": at, "delta": {"message": {"tool_calls": call}}});
        let start = json!({"id": call_id(self.plan, at), "type": "function",
            "function": {"name": name, "arguments": ""}});
        self.push(Kind::Opening, "tool-call-start", with(start));
        for fragment in halves(arguments) {
            let delta = json!({"function": {"arguments": fragment}});
            self.push(Kind::Content, "tool-call-delta", with(delta));
        }
        self.push(Kind::Closing, "tool-call-end", json!({"index": at}));
    }
}

fn events(plan: &Plan) -> Vec<Event> {
    let mut script = Script {
        plan,
        events: Vec::new(),
        said: 0,
    };
    let empty = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
    let opening = json!({"id": plan.id, "delta": {"message": empty}});
    script.push(Kind::Opening, "message-start", opening);
    let thinks = usize::from(plan.thinks);
    if plan.thinks {
        script.content(0, "thinking", &THOUGHTS);
    }
    if plan.calls.is_empty() {
        let pieces: Vec<&str> = plan.pieces.iter().map(String::as_str).collect();
        script.content(thinks, "text", &pieces);
    } else {
        let planned = json!({"delta": {"message": {"tool_plan": TOOL_PLAN}}});
        script.push(Kind::Opening, "tool-plan-delta", planned);
        for (at, call) in plan.calls.iter().enumerate() {
            script.call(at, &call.name, &call.arguments);
        }
    }
    let end = json!({"delta": {"finish_reason": finish_reason(plan), "usage": usage(plan)}});
    script.push(Kind::Finish, "message-end", end);
    script.events
}
