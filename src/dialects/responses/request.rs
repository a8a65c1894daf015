//! A canonical chat as the responses API wants it.

use serde_json::{Map, Value, json};

use super::items::{reasoning_item, text_of};
use crate::dialects::json::exact;
use crate::dialects::refuse::{self, leave_out};
use crate::dialects::{DialectError, Encoded, openai};
use crate::domain::chat::{
    ChatRequest, Message, OutputFormat, Part, Role, Source, Tool, ToolChoice,
};

/// Members that have the same name and meaning in both of OpenAI's forms.
const SHARED: [&str; 9] = [
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "top_logprobs",
    "verbosity",
    "moderation",
];

/// Fewer are refused over there.
const LEAST_OUTPUT: u64 = 16;

pub fn encode_request(request: &ChatRequest, model: &str) -> Result<Encoded, DialectError> {
    let speakable = [&SHARED[..], &["logprobs"]].concat();
    let mut dropped = refuse::unspeakable(&request.extra, &speakable)?;
    if !request.stop.is_empty() {
        return Err(DialectError::at(
            "stop",
            "the provider of this model knows no stop sequences; leave them out, or choose another model",
        ));
    }
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    put(
        "input",
        Some(input(&request.messages, &mut dropped)?.into()),
    );
    // The conversation is the client's; nothing of it has to be kept at the provider.
    put("store", Some(false.into()));
    // Models that do not think refuse to be asked for it.
    let effort = openai::effort_word(request, model, &mut dropped);
    let thinks = effort.as_deref().is_some_and(|effort| effort != "none");
    put("include", included(request, thinks));
    put(
        "max_output_tokens",
        request.max_output.map(|most| most.max(LEAST_OUTPUT).into()),
    );
    put("temperature", request.temperature.map(Value::from));
    put("top_p", request.top_p.map(Value::from));
    put("user", request.user.as_deref().map(Value::from));
    put("stream", request.stream.then_some(Value::Bool(true)));
    let shown = request.reasoning_shown != Some(false);
    put(
        "reasoning",
        effort.map(|effort| match shown {
            true => json!({"effort": effort, "summary": "auto"}),
            false => json!({"effort": effort}),
        }),
    );
    put("text", text(request));
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(tool);
        put("tools", Some(tools.collect()));
        put("tool_choice", request.tool_choice.as_ref().map(choice));
        let parallel = request.parallel_tool_calls.map(Value::Bool);
        put("parallel_tool_calls", parallel);
    }
    for name in SHARED.iter().filter(|name| **name != "verbosity") {
        put(name, request.extra.get(*name).cloned());
    }
    without_counterpart(request, &mut dropped);
    let body = exact::write(&body.into()).into_bytes();
    Ok(Encoded::new(body, dropped))
}

/// What is told only where it is asked for by name.
fn included(request: &ChatRequest, thinks: bool) -> Option<Value> {
    let thoughts = thinks.then_some("reasoning.encrypted_content");
    let tokens = request
        .wants_logprobs()
        .then_some("message.output_text.logprobs");
    let all: Vec<&str> = thoughts.into_iter().chain(tokens).collect();
    (!all.is_empty()).then(|| json!(all))
}

fn without_counterpart(request: &ChatRequest, dropped: &mut Vec<&'static str>) {
    if request.top_k.is_some() {
        leave_out(dropped, "top_k");
    }
}

fn text(request: &ChatRequest) -> Option<Value> {
    let mut text = Map::new();
    match &request.output_format {
        Some(OutputFormat::Json) => {
            text.insert("format".to_owned(), json!({"type": "json_object"}));
        }
        Some(OutputFormat::Schema {
            name,
            schema,
            strict,
        }) => {
            let format = json!({
                "type": "json_schema", "name": name, "schema": schema, "strict": strict.unwrap_or(false),
            });
            text.insert("format".to_owned(), format);
        }
        None => {}
    }
    if let Some(verbosity) = request.extra.get("verbosity") {
        text.insert("verbosity".to_owned(), verbosity.clone());
    }
    (!text.is_empty()).then_some(Value::Object(text))
}

fn tool(tool: &Tool) -> Value {
    let schema = tool.schema.clone();
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": schema.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        "strict": tool.strict.unwrap_or(false),
    })
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    }
}

fn input(
    messages: &[Message],
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
    let mut items = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let mut content = Vec::new();
        for part in &message.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } => {
                    content.push(said(message.role, text));
                }
                Part::Image { source } => content.push(json!({
                    "type": "input_image", "image_url": url(source), "detail": "auto",
                })),
                Part::Document { source, name } => {
                    content.push(document(source, name.as_deref()));
                }
                Part::Audio { .. } => {
                    return Err(DialectError::at(
                        format!("messages[{index}].content"),
                        "the provider of this model takes no audio; choose another model",
                    ));
                }
                Part::ToolCall {
                    id,
                    name,
                    arguments,
                    ..
                } => {
                    flush(message.role, &mut content, &mut items);
                    items.push(json!({
                        "type": "function_call", "call_id": id, "name": name, "arguments": arguments,
                    }));
                }
                Part::ToolResult {
                    id,
                    parts,
                    is_error,
                } => {
                    if *is_error {
                        leave_out(dropped, "is_error");
                    }
                    flush(message.role, &mut content, &mut items);
                    items.push(json!({
                        "type": "function_call_output", "call_id": id, "output": output(parts),
                    }));
                }
                Part::Thinking { text, signature } => {
                    flush(message.role, &mut content, &mut items);
                    match reasoning_item(text, signature.as_ref()) {
                        Some(item) => items.push(item),
                        None => leave_out(dropped, "thinking"),
                    }
                }
                Part::RedactedThinking { .. } => leave_out(dropped, "thinking"),
                Part::CachePoint { .. } => {}
            }
        }
        flush(message.role, &mut content, &mut items);
    }
    Ok(items)
}

/// What was said so far, as one message in its place among calls and results.
fn flush(role: Role, content: &mut Vec<Value>, items: &mut Vec<Value>) {
    if !content.is_empty() {
        let role = match role {
            Role::System => "developer",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let content = std::mem::take(content);
        items.push(json!({"type": "message", "role": role, "content": content}));
    }
}

fn said(role: Role, text: &str) -> Value {
    match role {
        Role::Assistant => json!({"type": "output_text", "text": text, "annotations": []}),
        Role::System | Role::User | Role::Tool => json!({"type": "input_text", "text": text}),
    }
}

/// A result in one text, or in parts when there is more to it.
fn output(parts: &[Part]) -> Value {
    let media = |part: &Part| matches!(part, Part::Image { .. } | Part::Document { .. });
    if !parts.iter().any(media) {
        return text_of(parts).into();
    }
    let one = |part: &Part| match part {
        Part::Text { text } | Part::Refusal { text } => {
            Some(json!({"type": "input_text", "text": text}))
        }
        Part::Image { source } => {
            Some(json!({"type": "input_image", "image_url": url(source), "detail": "auto"}))
        }
        Part::Document { source, name } => Some(document(source, name.as_deref())),
        Part::Audio { .. }
        | Part::ToolCall { .. }
        | Part::ToolResult { .. }
        | Part::Thinking { .. }
        | Part::RedactedThinking { .. }
        | Part::CachePoint { .. } => None,
    };
    parts.iter().filter_map(one).collect()
}

fn url(source: &Source) -> String {
    match source {
        Source::Url { url } => url.clone(),
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
    }
}

fn document(source: &Source, name: Option<&str>) -> Value {
    match source {
        Source::Url { url } => json!({"type": "input_file", "file_url": url}),
        Source::Base64 { .. } => json!({
            "type": "input_file", "file_data": url(source), "filename": name.unwrap_or("document"),
        }),
    }
}
