//! A request in Anthropic's form, decoded for a provider that speaks another.

use serde_json::{Map, Value};

use crate::dialects::DialectError;
use crate::dialects::fields::{self, Taken, base64, list, number, signed_id, text};
use crate::dialects::json::exact;
use crate::domain::chat::{
    ChatRequest, Message, OutputFormat, Part, Role, Signature, Source, Tool, ToolChoice,
};
use crate::domain::{ClientDialect, Dialect};

/// Decodes a body that was peeked before: its top level is known to be sound.
pub fn decode_request(body: &[u8]) -> Result<ChatRequest, DialectError> {
    let (mut fields, unread) = fields::request(ClientDialect::Anthropic, body)?;
    let mut request = ChatRequest {
        model: text(fields.remove("model")).unwrap_or_default(),
        tools: tools(fields.remove("tools"))?,
        max_output: fields.remove("max_tokens").and_then(|value| value.as_u64()),
        temperature: number(fields.remove("temperature").as_ref()),
        top_p: number(fields.remove("top_p").as_ref()),
        top_k: fields.remove("top_k").and_then(|value| value.as_u64()),
        stop: list(fields.remove("stop_sequences"))
            .into_iter()
            .filter_map(|stop| text(Some(stop)))
            .collect(),
        unread,
        stream: fields.remove("stream").as_ref().and_then(Value::as_bool) == Some(true),
        ..ChatRequest::default()
    };
    if let Some(system) = fields.remove("system").filter(|value| !value.is_null()) {
        request.messages.push(Message {
            role: Role::System,
            parts: content("system", system)?,
        });
    }
    for (index, value) in list(fields.remove("messages")).into_iter().enumerate() {
        request.messages.push(message(index, value)?);
    }
    choice(fields.remove("tool_choice"), &mut request)?;
    thinking(&mut fields, &mut request)?;
    if let Some(mut metadata) = fields.remove("metadata") {
        request.user = text(metadata.get_mut("user_id").map(Value::take));
    }
    fields.retain(|_, value| !value.is_null());
    request.extra = fields;
    Ok(request)
}

/// How much to think and in which form to answer stand in three places here.
fn thinking(
    fields: &mut Map<String, Value>,
    request: &mut ChatRequest,
) -> Result<(), DialectError> {
    let thinking = fields.remove("thinking").unwrap_or_default();
    request.reasoning_budget = match thinking.get("type").and_then(Value::as_str) {
        Some("disabled") => Some(0),
        Some("enabled") => {
            let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
            let missing = "thinking that is enabled needs \"budget_tokens\", or the type adaptive";
            Some(budget.ok_or_else(|| DialectError::at("thinking.budget_tokens", missing))?)
        }
        _ => None,
    };
    let kind = thinking.get("type").and_then(Value::as_str);
    request.reasoning_free = kind == Some("adaptive");
    request.reasoning_shown = match thinking.get("display").and_then(Value::as_str) {
        Some("omitted") => Some(false),
        Some("summarized") => Some(true),
        _ => None,
    };
    let mut config = fields.remove("output_config").unwrap_or_default();
    request.reasoning_effort = text(config.get_mut("effort").map(Value::take));
    let format = config.get_mut("format").map(Value::take);
    let format = format.or_else(|| fields.remove("output_format"));
    if let Some(mut format) = format.filter(|format| !format.is_null()) {
        let schema = format
            .get_mut("schema")
            .map(Value::take)
            .filter(Value::is_object)
            .ok_or_else(|| {
                DialectError::at("output_config.format.schema", "the schema is missing")
            })?;
        request.output_format = Some(OutputFormat::Schema {
            name: "answer".to_owned(),
            schema,
            strict: Some(true),
        });
    }
    Ok(())
}

fn message(index: usize, value: Value) -> Result<Message, DialectError> {
    let path = format!("messages.{index}");
    let mut fields = Taken::of(value).ok_or_else(|| {
        DialectError::at(&*path, "a message must be an object with role and content")
    })?;
    let role = match fields.text("role").as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        _ => {
            return Err(DialectError::at(
                format!("{path}.role"),
                "role must be user, assistant or system",
            ));
        }
    };
    let parts = content(&format!("{path}.content"), fields.take("content"))?;
    Ok(Message { role, parts })
}

fn content(path: &str, value: Value) -> Result<Vec<Part>, DialectError> {
    match value {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Part::Text { text }]),
        Value::Array(blocks) => {
            let mut parts = Vec::with_capacity(blocks.len());
            for (index, value) in blocks.into_iter().enumerate() {
                let path = format!("{path}.{index}");
                let mut fields = Taken::of(value).ok_or_else(|| {
                    DialectError::at(&*path, "a block must be an object with a type")
                })?;
                let cached = fields.take("cache_control");
                parts.push(block(&path, &mut fields)?);
                if cached.is_object() {
                    let hour = cached.get("ttl").and_then(Value::as_str) == Some("1h");
                    parts.push(Part::CachePoint { hour });
                }
            }
            Ok(parts)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(
            DialectError::at(path, "content must be a text or a list of blocks"),
        ),
    }
}

fn block(path: &str, fields: &mut Taken) -> Result<Part, DialectError> {
    let missing = |name: &str| DialectError::at(format!("{path}.{name}"), "this field is missing");
    let kind = fields.text("type").unwrap_or_default();
    let mut wanted = |name: &str| fields.text(name).ok_or_else(|| missing(name));
    Ok(match kind.as_str() {
        "text" => Part::Text {
            text: wanted("text")?,
        },
        "thinking" => Part::Thinking {
            text: wanted("thinking")?,
            signature: wanted("signature")
                .ok()
                .filter(|signature| !signature.is_empty())
                .map(|signature| Signature::read(&signature, Dialect::Anthropic)),
        },
        "redacted_thinking" => Part::RedactedThinking {
            data: Signature::read(&wanted("data")?, Dialect::Anthropic),
        },
        "tool_use" => {
            let (id, name) = (wanted("id")?, wanted("name")?);
            let input = fields.take("input");
            let (id, signature) = signed_id(id);
            Part::ToolCall {
                id,
                name,
                arguments: if input.is_null() {
                    "{}".to_owned()
                } else {
                    exact::write_data(&input)
                },
                signature,
            }
        }
        "tool_result" => {
            let id = wanted("tool_use_id")?;
            tool_result(path, id, fields)?
        }
        "image" => Part::Image {
            source: source(path, fields.take("source"))?,
        },
        "document" => Part::Document {
            name: fields.text("title"),
            source: source(path, fields.take("source"))?,
        },
        other => {
            let shown: String = other.chars().take(64).collect();
            return Err(DialectError::at(
                path,
                format!("blocks of type {shown:?} cannot cross to the provider of this model"),
            ));
        }
    })
}

fn tool_result(path: &str, id: String, fields: &mut Taken) -> Result<Part, DialectError> {
    let (id, _) = signed_id(id);
    let is_error = fields.take("is_error") == Value::Bool(true);
    let said = fields.take("content");
    let parts = if said.is_null() {
        Vec::new()
    } else {
        content(&format!("{path}.content"), said)?
    };
    Ok(Part::ToolResult {
        id,
        parts,
        is_error,
    })
}

fn source(path: &str, value: Value) -> Result<Source, DialectError> {
    let path = format!("{path}.source");
    let mut fields =
        Taken::of(value).ok_or_else(|| DialectError::at(&*path, "the source is missing"))?;
    let missing = |name: &str| DialectError::at(format!("{path}.{name}"), "this field is missing");
    match fields.text("type").as_deref() {
        Some("base64") => Ok(Source::Base64 {
            media_type: fields
                .text("media_type")
                .ok_or_else(|| missing("media_type"))?,
            data: fields.text("data").ok_or_else(|| missing("data"))?,
        }),
        Some("url") => {
            let url = fields.text("url").ok_or_else(|| missing("url"))?;
            if !url.starts_with("https://") {
                return Err(DialectError::at(path, "only https addresses are accepted"));
            }
            Ok(Source::Url { url })
        }
        Some("text") => Ok(Source::Base64 {
            media_type: "text/plain".to_owned(),
            data: base64(
                fields
                    .text("data")
                    .ok_or_else(|| missing("data"))?
                    .as_bytes(),
            ),
        }),
        _ => Err(DialectError::at(
            path,
            "only base64, url and text sources can cross to the provider of this model",
        )),
    }
}

fn tools(value: Option<Value>) -> Result<Vec<Tool>, DialectError> {
    list(value)
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            let path = format!("tools.{index}");
            let mut fields = Taken::of(value)
                .ok_or_else(|| DialectError::at(&*path, "a tool must be an object"))?;
            if fields.text("type").is_some_and(|kind| kind != "custom") {
                return Err(DialectError::at(
                    path,
                    "tools that run at the provider cannot cross to the provider of this model",
                ));
            }
            let cached = fields.take("cache_control");
            Ok(Tool {
                name: fields.text("name").ok_or_else(|| {
                    DialectError::at(format!("{path}.name"), "this field is missing")
                })?,
                description: fields.text("description"),
                schema: Some(fields.take("input_schema")).filter(Value::is_object),
                strict: fields.take("strict").as_bool(),
                cache_for_an_hour: cached
                    .is_object()
                    .then(|| cached.get("ttl").and_then(Value::as_str) == Some("1h")),
            })
        })
        .collect()
}

fn choice(value: Option<Value>, request: &mut ChatRequest) -> Result<(), DialectError> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let name = value.get("name").and_then(Value::as_str);
    request.tool_choice = Some(match (value.get("type").and_then(Value::as_str), name) {
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("any"), _) => ToolChoice::Required,
        (Some("none"), _) => ToolChoice::None,
        (Some("tool"), Some(name)) => ToolChoice::Named(name.to_owned()),
        _ => {
            return Err(DialectError::at(
                "tool_choice",
                "use auto, any, none, or tool with a name",
            ));
        }
    });
    let one = value
        .get("disable_parallel_tool_use")
        .and_then(Value::as_bool);
    request.parallel_tool_calls = one.map(|one| !one);
    Ok(())
}

/// Whether a request brings results of tools for the model to go on with, whatever else it holds.
pub fn ends_in_results(body: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let messages = value.get("messages").and_then(Value::as_array);
    let kind = |block: &Value| block.get("type").and_then(Value::as_str) == Some("tool_result");
    let latest = messages.into_iter().flatten().rev();
    latest
        .take_while(|message| message.get("role").and_then(Value::as_str) != Some("assistant"))
        .filter_map(|message| message.get("content")?.as_array())
        .any(|blocks| blocks.iter().any(kind))
}
