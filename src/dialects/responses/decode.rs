//! A request of the responses API, decoded for a provider that speaks another dialect.

use serde_json::{Map, Value};

use super::answer::thought;
use super::items::read_signature;
use crate::dialects::DialectError;
use crate::dialects::fields::{self, Taken, list, number, signed_id, text, url_source};
use crate::domain::ClientDialect;
use crate::domain::chat::{ChatRequest, Message, OutputFormat, Part, Role, Tool, ToolChoice};

/// Decodes a body that was peeked before: its top level is known to be sound.
pub fn decode_request(body: &[u8]) -> Result<ChatRequest, DialectError> {
    let (mut fields, unread) = fields::request(ClientDialect::Responses, body)?;
    stateless(&fields)?;
    let mut request = ChatRequest {
        model: text(fields.remove("model")).unwrap_or_default(),
        tools: tools(fields.remove("tools"))?,
        tool_choice: choice(fields.remove("tool_choice"))?,
        parallel_tool_calls: fields
            .remove("parallel_tool_calls")
            .and_then(|value| value.as_bool()),
        max_output: fields
            .remove("max_output_tokens")
            .and_then(|value| value.as_u64()),
        temperature: number(fields.remove("temperature").as_ref()),
        top_p: number(fields.remove("top_p").as_ref()),
        user: text(fields.remove("user")),
        unread,
        stream: fields.remove("stream").as_ref().and_then(Value::as_bool) == Some(true),
        ..ChatRequest::default()
    };
    if let Some(instructions) = text(fields.remove("instructions")) {
        request.messages.push(Message {
            role: Role::System,
            parts: vec![Part::Text { text: instructions }],
        });
    }
    input(fields.remove("input"), &mut request.messages)?;
    if let Some(mut reasoning) = fields.remove("reasoning") {
        request.reasoning_effort = text(reasoning.get_mut("effort").map(Value::take));
        let summary = text(reasoning.get_mut("summary").map(Value::take));
        request.reasoning_shown = summary.map(|summary| summary != "none");
    }
    if let Some(mut said) = fields.remove("text") {
        let verbosity = said.get_mut("verbosity").map(Value::take);
        if let Some(verbosity) = verbosity.filter(|value| !value.is_null()) {
            request.extra.insert("verbosity".to_owned(), verbosity);
        }
        request.output_format = format(said.get_mut("format").map(Value::take))?;
    }
    for ours in ["store", "stream_options"] {
        fields.remove(ours);
    }
    if asides(&mut fields, &mut request.unread) {
        request.extra.insert("logprobs".to_owned(), true.into());
    } else if let Some(many) = fields.remove("top_logprobs")
        && many.as_u64().is_some_and(|many| many > 0)
    {
        // Nothing comes of it where the field does not ask for it.
        request.unread.push("top_logprobs".to_owned());
    }
    fields.retain(|_, value| !value.is_null());
    request.extra.extend(fields);
    Ok(request)
}

/// What is so anyway is not told. Answers whether the probabilities of tokens are asked for.
fn asides(fields: &mut Map<String, Value>, unread: &mut Vec<String>) -> bool {
    let include = list(fields.remove("include"));
    let tokens = |one: &Value| one.as_str() == Some("message.output_text.logprobs");
    let kept = |one: &Value| tokens(one) || one.as_str() == Some("reasoning.encrypted_content");
    let truncation = text(fields.remove("truncation"));
    let calls = fields.remove("max_tool_calls");
    for (name, said) in [
        ("include", !include.iter().all(kept)),
        (
            "truncation",
            truncation.is_some_and(|how| how != "disabled"),
        ),
        ("max_tool_calls", calls.is_some_and(|most| !most.is_null())),
    ] {
        if said {
            unread.push(name.to_owned());
        }
    }
    include.iter().any(tokens)
}

/// What lives at OpenAI cannot be reached by another provider.
fn stateless(fields: &Map<String, Value>) -> Result<(), DialectError> {
    for name in ["previous_response_id", "conversation", "prompt"] {
        if fields.get(name).is_some_and(|value| !value.is_null()) {
            return Err(DialectError::at(
                name,
                "the provider of this model keeps no conversations; send the whole of it in \"input\"",
            ));
        }
    }
    if fields.get("background") == Some(&Value::Bool(true)) {
        return Err(DialectError::at(
            "background",
            "the provider of this model answers while the client waits; leave \"background\" out",
        ));
    }
    Ok(())
}

fn input(value: Option<Value>, messages: &mut Vec<Message>) -> Result<(), DialectError> {
    match value {
        Some(Value::String(text)) => {
            messages.push(Message {
                role: Role::User,
                parts: vec![Part::Text { text }],
            });
        }
        Some(Value::Array(items)) => {
            for (index, value) in items.into_iter().enumerate() {
                item(&format!("input[{index}]"), value, messages)?;
            }
        }
        _ => {
            return Err(DialectError::at(
                "input",
                "\"input\" must be a text or a list of items",
            ));
        }
    }
    Ok(())
}

fn item(path: &str, value: Value, messages: &mut Vec<Message>) -> Result<(), DialectError> {
    let signature = read_signature(&value);
    let said = thought(&value);
    let mut fields =
        Taken::of(value).ok_or_else(|| DialectError::at(path, "an item must be an object"))?;
    let kind = fields.text("type");
    let mut wanted = |name: &str| {
        fields
            .text(name)
            .ok_or_else(|| DialectError::at(format!("{path}.{name}"), "this field is missing"))
    };
    match kind.as_deref() {
        None | Some("message") => {
            let role = role(path, &wanted("role")?)?;
            let parts = content(&format!("{path}.content"), fields.take("content"))?;
            push(messages, role, parts);
        }
        Some("function_call") => {
            let (id, signature) = signed_id(wanted("call_id")?);
            let call = Part::ToolCall {
                id,
                name: wanted("name")?,
                arguments: wanted("arguments")?,
                signature,
            };
            push(messages, Role::Assistant, vec![call]);
        }
        Some("function_call_output") => {
            let (id, _) = signed_id(wanted("call_id")?);
            let parts = content(&format!("{path}.output"), fields.take("output"))?;
            let result = Part::ToolResult {
                id,
                parts,
                is_error: false,
            };
            push(messages, Role::Tool, vec![result]);
        }
        Some("reasoning") => {
            push(
                messages,
                Role::Assistant,
                vec![Part::thought(said, signature)],
            );
        }
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            return Err(DialectError::at(
                path,
                format!("items of type {shown:?} cannot cross to the provider of this model"),
            ));
        }
    }
    Ok(())
}

fn role(path: &str, name: &str) -> Result<Role, DialectError> {
    match name {
        "user" => Ok(Role::User),
        "assistant" => Ok(Role::Assistant),
        "system" | "developer" => Ok(Role::System),
        _ => Err(DialectError::at(
            format!("{path}.role"),
            "role must be user, assistant, system or developer",
        )),
    }
}

/// Items of one turn of the model stand beside each other here; elsewhere they are one message.
fn push(messages: &mut Vec<Message>, role: Role, parts: Vec<Part>) {
    match messages.last_mut() {
        Some(last) if last.role == role && role == Role::Assistant => last.parts.extend(parts),
        _ => messages.push(Message { role, parts }),
    }
}

fn content(path: &str, value: Value) -> Result<Vec<Part>, DialectError> {
    match value {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Part::Text { text }]),
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(index, value)| part(&format!("{path}[{index}]"), value))
            .collect(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(DialectError::at(
            path,
            "content must be a text or a list of parts",
        )),
    }
}

fn part(path: &str, value: Value) -> Result<Part, DialectError> {
    let mut fields =
        Taken::of(value).ok_or_else(|| DialectError::at(path, "a part must be an object"))?;
    let missing = |name: &str| DialectError::at(format!("{path}.{name}"), "this field is missing");
    match fields.text("type").unwrap_or_default().as_str() {
        "input_text" | "output_text" | "text" => Ok(Part::Text {
            text: fields.text("text").ok_or_else(|| missing("text"))?,
        }),
        "refusal" => Ok(Part::Refusal {
            text: fields.text("refusal").ok_or_else(|| missing("refusal"))?,
        }),
        "input_image" => {
            let url = fields
                .text("image_url")
                .ok_or_else(|| missing("image_url"))?;
            Ok(Part::Image {
                source: url_source(path, url)?,
            })
        }
        "input_file" => {
            let url = fields.text("file_data").or_else(|| fields.text("file_url"));
            Ok(Part::Document {
                source: url_source(path, url.ok_or_else(|| missing("file_data"))?)?,
                name: fields.text("filename"),
            })
        }
        "input_audio" => {
            let mut audio =
                Taken::of(fields.take("input_audio")).ok_or_else(|| missing("input_audio"))?;
            Ok(Part::Audio {
                format: audio
                    .text("format")
                    .ok_or_else(|| missing("input_audio.format"))?,
                data: audio
                    .text("data")
                    .ok_or_else(|| missing("input_audio.data"))?,
            })
        }
        other => {
            let shown: String = other.chars().take(64).collect();
            Err(DialectError::at(
                path,
                format!("parts of type {shown:?} cannot cross to the provider of this model"),
            ))
        }
    }
}

fn tools(value: Option<Value>) -> Result<Vec<Tool>, DialectError> {
    list(value)
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            let path = format!("tools[{index}]");
            let mut fields = Taken::of(value)
                .ok_or_else(|| DialectError::at(&*path, "a tool must be an object"))?;
            if fields.text("type").as_deref() != Some("function") {
                return Err(DialectError::at(
                    path,
                    "only function tools can cross to the provider of this model",
                ));
            }
            Ok(Tool {
                name: fields.text("name").ok_or_else(|| {
                    DialectError::at(format!("{path}.name"), "this field is missing")
                })?,
                description: fields.text("description"),
                schema: Some(fields.take("parameters")).filter(Value::is_object),
                strict: fields.take("strict").as_bool(),
                cache_for_an_hour: None,
            })
        })
        .collect()
}

fn choice(value: Option<Value>) -> Result<Option<ToolChoice>, DialectError> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let kind = value.get("type").and_then(Value::as_str);
    let name = value.get("name").and_then(Value::as_str);
    match (value.as_str(), kind, name) {
        (Some("none"), ..) => Ok(Some(ToolChoice::None)),
        (Some("auto"), ..) => Ok(Some(ToolChoice::Auto)),
        (Some("required"), ..) => Ok(Some(ToolChoice::Required)),
        (None, Some("function"), Some(name)) => Ok(Some(ToolChoice::Named(name.to_owned()))),
        _ => Err(DialectError::at(
            "tool_choice",
            "this tool_choice cannot cross to the provider of this model; use none, auto, required or a function",
        )),
    }
}

fn format(value: Option<Value>) -> Result<Option<OutputFormat>, DialectError> {
    let Some(mut value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(OutputFormat::Json)),
        Some("json_schema") => {
            let strict = value.get("strict").and_then(Value::as_bool);
            let name = text(value.get_mut("name").map(Value::take));
            let schema = value.get_mut("schema").map(Value::take);
            Ok(Some(OutputFormat::Schema {
                name: name.unwrap_or_else(|| "answer".to_owned()),
                schema: schema.ok_or_else(|| {
                    DialectError::at("text.format.schema", "the schema is missing")
                })?,
                strict,
            }))
        }
        _ => Err(DialectError::at(
            "text.format.type",
            "use text, json_object or json_schema",
        )),
    }
}
