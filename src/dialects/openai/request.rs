//! A chat request in OpenAI's form, decoded for a provider that speaks another.

use serde_json::{Map, Value};

use super::content::{Details, thought};
use crate::dialects::DialectError;
use crate::dialects::fields::{self, call_arguments, url_source};
use crate::domain::chat::{
    ChatRequest, Message, OutputFormat, Part, Role, Signature, Tool, ToolChoice,
};
use crate::domain::{ClientDialect, Dialect};

/// Decodes a body that was peeked before: its top level is known to be sound.
pub fn decode_request(body: &[u8]) -> Result<ChatRequest, DialectError> {
    let (mut fields, unread) = fields::request(ClientDialect::Openai, body)?;
    let mut request = ChatRequest {
        model: text(fields.remove("model")).unwrap_or_default(),
        messages: messages(fields.remove("messages"))?,
        tools: tools(fields.remove("tools"))?,
        tool_choice: tool_choice(fields.remove("tool_choice"))?,
        parallel_tool_calls: fields
            .remove("parallel_tool_calls")
            .and_then(|value| value.as_bool()),
        temperature: number(&mut fields, "temperature"),
        top_p: number(&mut fields, "top_p"),
        top_k: fields.remove("top_k").and_then(|value| value.as_u64()),
        stop: stop(fields.remove("stop"))?,
        output_format: output_format(fields.remove("response_format"))?,
        reasoning_effort: text(fields.remove("reasoning_effort")),
        user: text(fields.remove("user")),
        stream: fields
            .remove("stream")
            .and_then(|value| value.as_bool())
            .unwrap_or(false),
        unread,
        ..ChatRequest::default()
    };
    reasoning(&mut fields, &mut request);
    let (old, new) = (
        fields.remove("max_tokens"),
        fields.remove("max_completion_tokens"),
    );
    request.max_output = new
        .and_then(|value| value.as_u64())
        .or_else(|| old?.as_u64());
    if let Some(options) = fields.remove("stream_options") {
        request.include_usage = options
            .get("include_usage")
            .and_then(Value::as_bool)
            .unwrap_or(false);
    }
    // The wish to be told of the cost was read before, and is granted here whoever serves.
    fields.remove("usage");
    fields.retain(|_, value| !value.is_null());
    request.extra = fields;
    Ok(request)
}

/// On without a measure leaves the measure to the model.
fn switched(on: Option<bool>, request: &mut ChatRequest) {
    match on {
        Some(true) => {
            let measured = request.reasoning_budget.is_some() || request.reasoning_effort.is_some();
            request.reasoning_free |= !measured;
        }
        Some(false) => (request.reasoning_budget, request.reasoning_effort) = (Some(0), None),
        None => {}
    }
}

/// How much to think, in the words of those who copy the form: OpenRouter's `reasoning`, DeepSeek's and others'
/// `thinking`, Qwen's `enable_thinking`.
fn reasoning(fields: &mut Map<String, Value>, request: &mut ChatRequest) {
    if let Some(reasoning) = fields.remove("reasoning") {
        let effort = reasoning.get("effort").and_then(Value::as_str);
        request.reasoning_effort = request
            .reasoning_effort
            .take()
            .or_else(|| effort.map(str::to_owned));
        request.reasoning_budget = reasoning.get("max_tokens").and_then(Value::as_u64);
        let hidden = reasoning.get("exclude").and_then(Value::as_bool);
        request.reasoning_shown = hidden.map(|hidden| !hidden);
        let on = reasoning.get("enabled").and_then(Value::as_bool);
        switched(on, request);
    }
    if let Some(thinking) = fields.remove("thinking") {
        let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
        request.reasoning_budget = budget.or(request.reasoning_budget);
        let kind = thinking.get("type").and_then(Value::as_str);
        let on = match kind {
            Some("disabled") => Some(false),
            Some("enabled" | "adaptive" | "auto") => Some(true),
            _ => None,
        };
        switched(on, request);
    }
    if let Some(budget) = fields.remove("thinking_budget") {
        request.reasoning_budget = budget.as_u64().or(request.reasoning_budget);
    }
    let on = fields.remove("enable_thinking");
    switched(on.and_then(|on| on.as_bool()), request);
    let shown = fields.remove("include_reasoning");
    request.reasoning_shown = shown
        .and_then(|on| on.as_bool())
        .or(request.reasoning_shown);
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

fn number(fields: &mut Map<String, Value>, name: &str) -> Option<f64> {
    fields.remove(name).and_then(|value| value.as_f64())
}

fn stop(value: Option<Value>) -> Result<Vec<String>, DialectError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop]),
        Some(Value::Array(list)) => list
            .into_iter()
            .map(|one| {
                text(Some(one)).ok_or_else(|| {
                    DialectError::at("stop", "\"stop\" must be a text or a list of texts")
                })
            })
            .collect(),
        Some(_) => Err(DialectError::at(
            "stop",
            "\"stop\" must be a text or a list of texts",
        )),
    }
}

fn messages(value: Option<Value>) -> Result<Vec<Message>, DialectError> {
    let Some(Value::Array(list)) = value else {
        return Err(DialectError::at(
            "messages",
            "\"messages\" must be a list of messages",
        ));
    };
    list.into_iter()
        .enumerate()
        .map(|(index, value)| message(index, value))
        .collect()
}

fn message(index: usize, value: Value) -> Result<Message, DialectError> {
    let path = format!("messages[{index}]");
    let Value::Object(mut fields) = value else {
        return Err(DialectError::at(
            path,
            "a message must be an object with role and content",
        ));
    };
    let role_name = text(fields.remove("role")).unwrap_or_default();
    let role = match role_name.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => {
            return Err(DialectError::at(
                format!("{path}.role"),
                "role must be system, developer, user, assistant or tool",
            ));
        }
    };
    let mut parts = content(&format!("{path}.content"), fields.remove("content"))?;
    if role == Role::Tool {
        let id = text(fields.remove("tool_call_id"))
            .or_else(|| text(fields.remove("name")))
            .ok_or_else(|| {
                DialectError::at(
                    format!("{path}.tool_call_id"),
                    "a tool message must name the call it answers",
                )
            })?;
        return Ok(Message {
            role,
            parts: vec![Part::ToolResult {
                id,
                parts,
                is_error: false,
            }],
        });
    }
    let thoughts = thoughts(&mut fields);
    parts.splice(0..0, thoughts);
    if let Some(refusal) = text(fields.remove("refusal")).filter(|text| !text.is_empty()) {
        parts.push(Part::Refusal { text: refusal });
    }
    if let Some(Value::Array(calls)) = fields.remove("tool_calls") {
        for (place, call) in calls.into_iter().enumerate() {
            parts.push(tool_call(&format!("{path}.tool_calls[{place}]"), call)?);
        }
    }
    Ok(Message { role, parts })
}

/// What was thought before this was said, signed or not.
fn thoughts(fields: &mut Map<String, Value>) -> Vec<Part> {
    let (content, reasoning) = (
        fields.remove("reasoning_content"),
        fields.remove("reasoning"),
    );
    let plain = text(content).or_else(|| text(reasoning));
    let plain = plain.filter(|text| !text.is_empty());
    let details = fields.remove("reasoning_details").unwrap_or_default();
    let mut details = Details::of(&serde_json::json!({"reasoning_details": details}));
    if let (words, Some(signature)) = (details.words(), details.signature()) {
        return vec![Part::Thinking {
            text: plain.unwrap_or(words),
            signature: Some(signature),
        }];
    }
    let mut blocks = thinking_blocks(fields.remove("thinking_blocks").as_ref());
    // A stream tells the words and their signature apart.
    if let (Some(Part::Thinking { text, .. }), Some(plain)) = (blocks.first_mut(), &plain)
        && text.is_empty()
    {
        text.clone_from(plain);
    }
    if blocks.is_empty() {
        let plain = plain.map(|text| Part::Thinking {
            text,
            signature: None,
        });
        plain.into_iter().collect()
    } else {
        blocks
    }
}

/// Thoughts as their provider signed them, so that it knows them again. What cannot be read says nothing.
fn thinking_blocks(value: Option<&Value>) -> Vec<Part> {
    let blocks = value.and_then(Value::as_array).into_iter().flatten();
    let mut parts: Vec<Part> = Vec::new();
    for block in blocks {
        let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
        let signed =
            |text: &str| (!text.is_empty()).then(|| Signature::read(text, Dialect::Anthropic));
        match text("type") {
            "thinking" => parts.push(Part::Thinking {
                text: text("thinking").to_owned(),
                signature: signed(text("signature")),
            }),
            "redacted_thinking" => {
                parts.extend(signed(text("data")).map(|data| Part::RedactedThinking { data }));
            }
            _ => {}
        }
    }
    parts
}

/// What Google's own form of this dialect says beside a call.
pub(super) fn call_signature(call: &Value) -> Option<Signature> {
    let text = call.pointer("/extra_content/google/thought_signature");
    let text = text.and_then(Value::as_str)?;
    Some(Signature::read(text, Dialect::Gemini))
}

fn tool_call(path: &str, mut call: Value) -> Result<Part, DialectError> {
    let signature = call_signature(&call);
    let id = text(call.get_mut("id").map(Value::take));
    let function = call
        .get_mut("function")
        .map(Value::take)
        .unwrap_or_default();
    let name = function
        .get("name")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let arguments = call_arguments(function.get("arguments")).ok_or_else(|| {
        DialectError::at(
            format!("{path}.function.arguments"),
            "the arguments of a call must be a text that holds JSON",
        )
    })?;
    match (id, name) {
        (Some(id), Some(name)) => Ok(Part::ToolCall {
            id,
            name,
            arguments,
            signature,
        }),
        _ => Err(DialectError::at(
            path,
            "a tool call needs id and function.name; custom tools cannot cross to this provider",
        )),
    }
}

fn content(path: &str, value: Option<Value>) -> Result<Vec<Part>, DialectError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text { text }]),
        Some(Value::Array(list)) => list
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                let read = part(&format!("{path}[{index}]"), &value)?;
                Ok([read, cache_point(&value)])
            })
            .collect::<Result<Vec<_>, _>>()
            .map(|parts| parts.into_iter().flatten().flatten().collect()),
        Some(_) => Err(DialectError::at(
            path,
            "content must be a text or a list of parts",
        )),
    }
}

/// A mark that clients of other gateways set on a part for the providers that want one.
fn cache_point(value: &Value) -> Option<Part> {
    let control = value
        .get("cache_control")
        .filter(|control| control.is_object())?;
    let hour = control.get("ttl").and_then(Value::as_str) == Some("1h");
    Some(Part::CachePoint { hour })
}

/// One part; nothing where it only points at what stayed with its provider.
fn part(path: &str, value: &Value) -> Result<Option<Part>, DialectError> {
    let at = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let missing = |what: &str| DialectError::at(path, format!("this part needs {what}"));
    match value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "thinking" => Ok(value.get("thinking").map(|own| Part::Thinking {
            text: thought(own),
            signature: None,
        })),
        "reference" => Ok(None),
        "text" => Ok(Some(Part::Text {
            text: at("/text").ok_or_else(|| missing("text"))?,
        })),
        "refusal" => Ok(Some(Part::Refusal {
            text: at("/refusal").ok_or_else(|| missing("refusal"))?,
        })),
        "image_url" => {
            let url = at("/image_url/url").ok_or_else(|| missing("image_url.url"))?;
            Ok(Some(Part::Image {
                source: url_source(path, url)?,
            }))
        }
        "input_audio" => Ok(Some(Part::Audio {
            format: at("/input_audio/format").ok_or_else(|| missing("input_audio.format"))?,
            data: at("/input_audio/data").ok_or_else(|| missing("input_audio.data"))?,
        })),
        "file" => {
            let data = at("/file/file_data").ok_or_else(|| {
                missing("file.file_data; stored files cannot cross to this provider")
            })?;
            Ok(Some(Part::Document {
                source: url_source(path, data)?,
                name: at("/file/filename"),
            }))
        }
        other => {
            let shown: String = other.chars().take(64).collect();
            Err(DialectError::at(
                path,
                format!("parts of type {shown:?} cannot cross to this provider"),
            ))
        }
    }
}

fn tools(value: Option<Value>) -> Result<Vec<Tool>, DialectError> {
    let Some(Value::Array(list)) = value else {
        return Ok(Vec::new());
    };
    list.into_iter()
        .enumerate()
        .map(|(index, tool)| {
            let function = tool
                .get("function")
                .filter(|_| tool.get("type").and_then(Value::as_str) == Some("function"));
            let name = function.and_then(|function| function.get("name")?.as_str());
            let (Some(function), Some(name)) = (function, name) else {
                return Err(DialectError::at(
                    format!("tools[{index}]"),
                    "only function tools can cross to this provider",
                ));
            };
            Ok(Tool {
                name: name.to_owned(),
                description: function
                    .get("description")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                schema: function
                    .get("parameters")
                    .filter(|schema| schema.is_object())
                    .cloned(),
                strict: function.get("strict").and_then(Value::as_bool),
                cache_for_an_hour: None,
            })
        })
        .collect()
}

fn tool_choice(value: Option<Value>) -> Result<Option<ToolChoice>, DialectError> {
    let choice = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Some(ToolChoice::None),
            "auto" => Some(ToolChoice::Auto),
            "required" => Some(ToolChoice::Required),
            _ => None,
        },
        Some(value) => value
            .pointer("/function/name")
            .and_then(Value::as_str)
            .map(|name| ToolChoice::Named(name.to_owned())),
    };
    choice
        .map(Some)
        .ok_or_else(|| DialectError::at("tool_choice", "this tool_choice cannot cross to this provider; use none, auto, required or a function"))
}

fn output_format(value: Option<Value>) -> Result<Option<OutputFormat>, DialectError> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(OutputFormat::Json)),
        Some("json_schema") => {
            let schema = value.pointer("/json_schema/schema").cloned();
            let schema = schema.ok_or_else(|| {
                DialectError::at("response_format.json_schema", "the schema is missing")
            })?;
            Ok(Some(OutputFormat::Schema {
                name: value
                    .pointer("/json_schema/name")
                    .and_then(Value::as_str)
                    .unwrap_or("answer")
                    .to_owned(),
                schema,
                strict: value
                    .pointer("/json_schema/strict")
                    .and_then(Value::as_bool),
            }))
        }
        _ => Err(DialectError::at(
            "response_format.type",
            "use text, json_object or json_schema",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s12_arguments_that_are_no_text_are_refused_by_their_place_and_not_sent_as_none() {
        let with = |arguments: Value| {
            let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
            let turn = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            decode_request(
                json!({"model": "m", "messages": [turn]})
                    .to_string()
                    .as_bytes(),
            )
        };
        for odd in [json!({"x": 1}), json!(5), json!(["a"]), json!(true)] {
            let error = with(odd).unwrap_err();
            let place = "messages[0].tool_calls[0].function.arguments";
            assert_eq!(error.param.as_deref(), Some(place));
        }
        assert!(with(json!("{}")).is_ok() && with(Value::Null).is_ok());
    }
}
