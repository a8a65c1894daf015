//! A canonical chat as Cohere wants it.

use serde_json::{Map, Value, json};

use crate::dialects::effort::{self, tokens_asked, within};
use crate::dialects::json::exact;
use crate::dialects::refuse::{self, is_lost_thought, leave_out};
use crate::dialects::{DialectError, Encoded};
use crate::domain::chat::{ChatRequest, Message, OutputFormat, Part, Role, Source, ToolChoice};

/// More are refused over there.
const MOST_STOPS: usize = 5;

pub fn encode_request(request: &ChatRequest, model: &str) -> Result<Encoded, DialectError> {
    let mut dropped = refuse::unspeakable(
        &request.extra,
        &[
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "safety_mode",
        ],
    )?;
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    let mut messages = Vec::new();
    let only_system = (request.messages.iter()).all(|message| message.role == Role::System);
    let last = request.messages.len().saturating_sub(1);
    for (index, message) in request.messages.iter().enumerate() {
        // Somebody has to be answered.
        let role = if only_system && index == last {
            leave_out(&mut dropped, "role of the system message");
            Role::User
        } else {
            message.role
        };
        turn((index, role), message, &mut messages, &mut dropped)?;
    }
    body.insert("messages".to_owned(), messages.into());
    if request.stop.len() > MOST_STOPS {
        return Err(DialectError::at(
            "stop",
            "the provider of this model takes five stop sequences at most",
        ));
    }
    let thinking = thinking(request, &mut dropped);
    for (name, value) in [
        ("stream", request.stream.then_some(Value::Bool(true))),
        ("max_tokens", request.max_output.map(Value::from)),
        ("temperature", request.temperature.map(Value::from)),
        // Its own limits; one and 0.99 mean the same.
        ("p", request.top_p.map(|p| p.clamp(0.01, 0.99).into())),
        ("k", request.top_k.map(|k| k.min(500).into())),
        (
            "stop_sequences",
            (!request.stop.is_empty()).then(|| json!(request.stop)),
        ),
        ("seed", request.extra.get("seed").cloned()),
        ("safety_mode", request.extra.get("safety_mode").cloned()),
        (
            "response_format",
            request.output_format.as_ref().map(format),
        ),
        ("thinking", thinking),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    penalties(request, &mut body, &mut dropped);
    tools(request, &mut body, &mut dropped);
    if request.user.is_some() {
        leave_out(&mut dropped, "user");
    }
    let body = exact::write(&body.into()).into_bytes();
    Ok(Encoded::new(body, dropped))
}

/// A message, and before it the results of tools it holds, each a message of its own.
fn turn(
    (index, role): (usize, Role),
    message: &Message,
    wire: &mut Vec<Value>,
    dropped: &mut Vec<&'static str>,
) -> Result<(), DialectError> {
    let mut items = Vec::new();
    let mut calls = Vec::new();
    for part in &message.parts {
        match part {
            Part::ToolResult {
                id,
                parts,
                is_error,
            } => {
                if *is_error {
                    leave_out(dropped, "is_error");
                }
                let mut said = Vec::new();
                for part in parts {
                    said.extend(item(index, part)?);
                }
                wire.push(
                    json!({"role": "tool", "tool_call_id": id, "content": texts(index, &said)?}),
                );
            }
            Part::ToolCall {
                id,
                name,
                arguments,
                ..
            } => {
                let arguments = refuse::arguments_object(index, arguments)?;
                calls.push(json!({
                    "id": id, "type": "function",
                    "function": {"name": name, "arguments": exact::write_data(&arguments)},
                }));
            }
            Part::Text { .. }
            | Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::Thinking { .. }
            | Part::RedactedThinking { .. }
            | Part::Refusal { .. }
            | Part::CachePoint { .. } => {
                if is_lost_thought(part) {
                    leave_out(dropped, "thinking");
                }
                items.extend(item(index, part)?);
            }
        }
    }
    match role {
        Role::System => wire.push(json!({"role": "system", "content": texts(index, &items)?})),
        Role::Assistant => wire.push(assistant(items, calls)),
        Role::User | Role::Tool if items.is_empty() && !message.parts.is_empty() => {}
        Role::User | Role::Tool => wire.push(json!({"role": "user", "content": content(items)})),
    }
    Ok(())
}

/// Words before calls are the plan for them.
fn assistant(mut items: Vec<Value>, calls: Vec<Value>) -> Value {
    let mut message = json!({"role": "assistant"});
    if !calls.is_empty() {
        let is_text = |item: &Value| item.get("text").is_some();
        let plan: Vec<&str> = items
            .iter()
            .filter_map(|item| item.get("text")?.as_str())
            .collect();
        if !plan.is_empty() {
            message["tool_plan"] = plan.concat().into();
        }
        items.retain(|item| !is_text(item));
        message["tool_calls"] = calls.into();
    }
    if !items.is_empty() || message.get("tool_calls").is_none() {
        message["content"] = content(items);
    }
    message
}

/// One text is a string, more is a list.
fn content(items: Vec<Value>) -> Value {
    match &items[..] {
        [] => "".into(),
        [one] if one.get("text").is_some() => one.get("text").cloned().unwrap_or_default(),
        _ => items.into(),
    }
}

/// Where only text can stand.
fn texts(index: usize, items: &[Value]) -> Result<String, DialectError> {
    let mut texts = Vec::new();
    for item in items {
        let Some(text) = item.get("text").and_then(Value::as_str) else {
            return Err(DialectError::at(
                format!("messages[{index}].content"),
                "the provider of this model takes only text here; choose another model",
            ));
        };
        texts.push(text);
    }
    Ok(texts.join("\n"))
}

fn item(index: usize, part: &Part) -> Result<Option<Value>, DialectError> {
    let refused = |what: &str| {
        Err(DialectError::at(
            format!("messages[{index}].content"),
            format!("the provider of this model takes no {what}; choose another model"),
        ))
    };
    Ok(match part {
        Part::Text { text } | Part::Refusal { text } => {
            (!text.is_empty()).then(|| json!({"type": "text", "text": text}))
        }
        Part::Image { source } => {
            let url = match source {
                Source::Url { url } => url.clone(),
                Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
            };
            Some(json!({"type": "image_url", "image_url": {"url": url}}))
        }
        Part::Document { .. } => return refused("documents"),
        Part::Audio { .. } => return refused("audio"),
        // What nobody signed may be its own; what another signed is not.
        Part::Thinking {
            text,
            signature: None,
        } => Some(json!({"type": "thinking", "thinking": text})),
        Part::Thinking { .. }
        | Part::RedactedThinking { .. }
        | Part::ToolCall { .. }
        | Part::ToolResult { .. }
        | Part::CachePoint { .. } => None,
    })
}

/// Nobody can be made to call one tool here, but to call any: then that one is the only one told.
fn tools(request: &ChatRequest, body: &mut Map<String, Value>, dropped: &mut Vec<&'static str>) {
    if request.tools.is_empty() {
        return;
    }
    let (only, choice) = match &request.tool_choice {
        Some(ToolChoice::None) => (None, Some("NONE")),
        Some(ToolChoice::Required) => (None, Some("REQUIRED")),
        Some(ToolChoice::Named(name)) => (Some(name), Some("REQUIRED")),
        Some(ToolChoice::Auto) | None => (None, None),
    };
    let told = request
        .tools
        .iter()
        .filter(|tool| only.is_none_or(|only| *only == tool.name));
    let tools: Vec<Value> = told
        .map(|tool| {
            let schema = tool
                .schema
                .clone()
                .unwrap_or_else(|| json!({"type": "object", "properties": {}}));
            let mut function = json!({"name": tool.name, "parameters": schema});
            if let Some(description) = &tool.description {
                function["description"] = description.as_str().into();
            }
            json!({"type": "function", "function": function})
        })
        .collect();
    body.insert("tools".to_owned(), tools.into());
    if let Some(choice) = choice {
        body.insert("tool_choice".to_owned(), choice.into());
    }
    // Strictness is of all tools or of none.
    let strict = |tool: &&crate::domain::chat::Tool| tool.strict == Some(true);
    let stricts = request.tools.iter().filter(strict).count();
    if stricts == request.tools.len() {
        body.insert("strict_tools".to_owned(), true.into());
    } else if stricts > 0 {
        leave_out(dropped, "strict");
    }
    if request.parallel_tool_calls == Some(false) {
        leave_out(dropped, "parallel_tool_calls");
    }
}

/// Penalties go from zero to one here.
fn penalties(
    request: &ChatRequest,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) {
    for (name, beyond) in [
        ("presence_penalty", "presence_penalty beyond 0 to 1"),
        ("frequency_penalty", "frequency_penalty beyond 0 to 1"),
    ] {
        if let Some(penalty) = request.extra.get(name).and_then(Value::as_f64) {
            let within = penalty.clamp(0.0, 1.0);
            if within != penalty {
                leave_out(dropped, beyond);
            }
            body.insert(name.to_owned(), within.into());
        }
    }
}

fn format(format: &OutputFormat) -> Value {
    match format {
        OutputFormat::Json => json!({"type": "json_object"}),
        OutputFormat::Schema { schema, .. } => {
            json!({"type": "json_object", "json_schema": schema})
        }
    }
}

/// The thoughts count against the limit of the answer.
fn thinking(request: &ChatRequest, dropped: &mut Vec<&'static str>) -> Option<Value> {
    if !effort::is_asked(request) {
        return request.reasoning_free.then(|| json!({"type": "enabled"}));
    }
    let Some(tokens) = tokens_asked(request) else {
        leave_out(dropped, "reasoning_effort");
        return None;
    };
    if tokens == 0 {
        return Some(json!({"type": "disabled"}));
    }
    let limit = request.max_output.unwrap_or(u64::MAX);
    match within(tokens, 1, limit) {
        Some(tokens) => Some(json!({"type": "enabled", "token_budget": tokens})),
        None => {
            leave_out(dropped, effort::name(request));
            None
        }
    }
}
