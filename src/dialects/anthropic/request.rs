//! A canonical chat as Anthropic wants it.

use serde_json::{Map, Value, json};

use crate::dialects::{DialectError, Encoded};
use crate::domain::Tokens;
use crate::domain::chat::{
    ChatRequest, Message, OutputFormat, Part, Role, Source, Tool, ToolChoice,
};

/// Fields without a counterpart whose absence changes nothing essential.
const DROPPED: [&str; 19] = [
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "verbosity",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "safety_identifier",
    "prediction",
    "moderation",
    "top_logprobs",
    "modalities",
    "user_location",
    "repetition_penalty",
    "min_p",
];

/// Encodes for `model`; `default_max_output` is said when the client named no limit.
pub fn encode_request(
    request: &ChatRequest,
    model: &str,
    default_max_output: Tokens,
) -> Result<Encoded, DialectError> {
    let mut dropped = unspeakable(&request.extra)?;
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert(
        "max_tokens".to_owned(),
        request.max_output.unwrap_or(default_max_output.0).into(),
    );
    let system: Vec<Value> = request
        .messages
        .iter()
        .filter(|message| message.role == Role::System)
        .flat_map(|message| &message.parts)
        .filter_map(|part| match part {
            Part::Text { text } => Some(json!({"type": "text", "text": text})),
            // A system message is text; what else a client puts there means nothing.
            Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolCall { .. }
            | Part::ToolResult { .. }
            | Part::Thinking { .. }
            | Part::RedactedThinking { .. }
            | Part::Refusal { .. } => None,
        })
        .collect();
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    body.insert("messages".to_owned(), messages(&request.messages)?.into());
    if let Some(temperature) = request.temperature {
        if temperature > 1.0 {
            dropped.push("temperature above 1");
        }
        body.insert("temperature".to_owned(), temperature.min(1.0).into());
    }
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("top_p", request.top_p.map(Value::from));
    put("top_k", request.top_k.map(Value::from));
    put(
        "stop_sequences",
        (!request.stop.is_empty()).then(|| json!(request.stop)),
    );
    put("stream", request.stream.then_some(Value::Bool(true)));
    put(
        "metadata",
        request.user.as_ref().map(|user| json!({"user_id": user})),
    );
    put(
        "tools",
        (!request.tools.is_empty()).then(|| request.tools.iter().map(tool).collect()),
    );
    put("tool_choice", tool_choice(request));
    put("output_config", output_config(request, &mut dropped)?);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(Encoded { body, dropped })
}

/// Refuses what would change the meaning, lists what would not.
fn unspeakable(extra: &Map<String, Value>) -> Result<Vec<&'static str>, DialectError> {
    let refuse = |name: &str, why: &str| {
        Err(DialectError::at(
            name,
            format!("{why}; choose a model of a provider that can, or leave {name:?} out"),
        ))
    };
    let mut dropped = Vec::new();
    for (name, value) in extra {
        match name.as_str() {
            "n" if value.as_u64() != Some(1) => {
                return refuse(name, "the provider of this model gives one choice only");
            }
            "logprobs" if value == &Value::Bool(true) => {
                return refuse(
                    name,
                    "the provider of this model gives no log probabilities",
                );
            }
            "audio" | "functions" | "function_call" | "web_search_options" => {
                return refuse(name, "the provider of this model has no counterpart for it");
            }
            "n" | "logprobs" => {}
            name => dropped.extend(DROPPED.iter().find(|known| **known == name)),
        }
    }
    if extra
        .keys()
        .any(|name| !DROPPED.contains(&name.as_str()) && name != "n" && name != "logprobs")
    {
        dropped.push("unknown fields");
    }
    Ok(dropped)
}

/// Turns alternate between user and assistant; neighbours of one role are one turn, and the results of
/// tools come first in theirs.
fn messages(messages: &[Message]) -> Result<Vec<Value>, DialectError> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = match message.role {
            Role::System => continue,
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let blocks = message
            .parts
            .iter()
            .filter_map(|part| block(index, part).transpose())
            .collect::<Result<Vec<Value>, DialectError>>()?;
        match turns.last_mut() {
            Some((last, so_far)) if *last == role => so_far.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    Ok(turns
        .into_iter()
        .filter(|(_, blocks)| !blocks.is_empty())
        .map(|(role, mut blocks)| {
            // Stable: results keep their order, and so does everything else.
            blocks.sort_by_key(|block| {
                block.get("type").and_then(Value::as_str) != Some("tool_result")
            });
            json!({"role": role, "content": blocks})
        })
        .collect())
}

fn block(index: usize, part: &Part) -> Result<Option<Value>, DialectError> {
    Ok(Some(match part {
        // Empty texts are refused over there and mean nothing.
        Part::Text { text } | Part::Refusal { text } if text.is_empty() => return Ok(None),
        Part::Text { text } | Part::Refusal { text } => json!({"type": "text", "text": text}),
        Part::Image { source } => json!({"type": "image", "source": source_value(source)}),
        Part::Document { source, name } => {
            let mut block = json!({"type": "document", "source": source_value(source)});
            if let Some(name) = name {
                block["title"] = name.as_str().into();
            }
            block
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
        } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": arguments_object(index, arguments)?})
        }
        Part::ToolResult {
            id,
            parts,
            is_error,
        } => {
            let content = parts
                .iter()
                .filter_map(|part| block(index, part).transpose())
                .collect::<Result<Vec<Value>, _>>()?;
            let mut result = json!({"type": "tool_result", "tool_use_id": id, "content": content});
            if *is_error {
                result["is_error"] = true.into();
            }
            result
        }
        // Without its signature the provider refuses its own thought.
        Part::Thinking {
            signature: None, ..
        } => return Ok(None),
        Part::Thinking {
            text,
            signature: Some(signature),
        } => {
            json!({"type": "thinking", "thinking": text, "signature": signature})
        }
        Part::RedactedThinking { data } => json!({"type": "redacted_thinking", "data": data}),
    }))
}

fn arguments_object(index: usize, arguments: &str) -> Result<Value, DialectError> {
    if arguments.trim().is_empty() || arguments.trim() == "null" {
        return Ok(json!({}));
    }
    match serde_json::from_str(arguments) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(DialectError::at(
            format!("messages[{index}].tool_calls"),
            "function.arguments must be the JSON text of an object",
        )),
    }
}

fn source_value(source: &Source) -> Value {
    match source {
        Source::Url { url } => json!({"type": "url", "url": url}),
        Source::Base64 { media_type, data } => {
            json!({"type": "base64", "media_type": media_type, "data": data})
        }
    }
}

fn tool(tool: &Tool) -> Value {
    let schema = tool
        .schema
        .clone()
        .unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let mut value = json!({"name": tool.name, "input_schema": schema});
    if let Some(description) = &tool.description {
        value["description"] = description.as_str().into();
    }
    if tool.strict == Some(true) {
        value["strict"] = true.into();
    }
    value
}

fn tool_choice(request: &ChatRequest) -> Option<Value> {
    if request.tools.is_empty() {
        return None;
    }
    let one_at_a_time = request.parallel_tool_calls == Some(false);
    let mut choice = match &request.tool_choice {
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        None if one_at_a_time => json!({"type": "auto"}),
        None => return None,
    };
    if one_at_a_time {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

fn output_config(
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Value>, DialectError> {
    let mut config = Map::new();
    match &request.output_format {
        Some(OutputFormat::Schema { schema, .. }) => {
            config.insert(
                "format".to_owned(),
                json!({"type": "json_schema", "schema": schema}),
            );
        }
        Some(OutputFormat::Json) => {
            return Err(DialectError::at(
                "response_format",
                "the provider of this model has no json_object mode; use json_schema",
            ));
        }
        None => {}
    }
    match request.reasoning_effort.as_deref() {
        Some(effort @ ("low" | "medium" | "high" | "xhigh" | "max")) => {
            config.insert("effort".to_owned(), effort.into());
        }
        Some("minimal") => {
            config.insert("effort".to_owned(), "low".into());
        }
        Some("none") | None => {}
        Some(_) => dropped.push("reasoning_effort"),
    }
    Ok((!config.is_empty()).then_some(Value::Object(config)))
}
