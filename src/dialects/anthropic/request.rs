//! A canonical chat as Anthropic wants it.

use serde_json::{Map, Value, json};

use crate::dialects::effort::{Sampling, claude};
use crate::dialects::fields::from_base64;
use crate::dialects::json::exact;
use crate::dialects::refuse::{self, leave_out};
use crate::dialects::system::{Halves, SystemPart};
use crate::dialects::{DialectError, Encoded};
use crate::domain::chat::{ChatRequest, OutputFormat, Part, Source, Tool, ToolChoice};
use crate::domain::{Dialect, Tokens};

/// Encodes for `model`; `default_max_output` is said when the client named no limit.
pub fn encode_request(
    request: &ChatRequest,
    model: &str,
    default_max_output: Tokens,
) -> Result<Encoded, DialectError> {
    let mut dropped = refuse::unspeakable(&request.extra, &[])?;
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    let home = (Dialect::Anthropic, Some(default_max_output.0));
    let asked = claude(request, model, home, &mut dropped);
    let most = asked.max_tokens.unwrap_or(default_max_output.0);
    body.insert("max_tokens".to_owned(), most.into());
    let halves = Halves::of(request, &mut dropped);
    let system = system(&halves, &mut dropped);
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    body.insert(
        "messages".to_owned(),
        messages(&halves, &mut dropped)?.into(),
    );
    let sampling = Sampling::of(request, asked.own_sampling, &mut dropped);
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("temperature", sampling.temperature.map(Value::from));
    put("top_p", sampling.top_p.map(Value::from));
    put("top_k", sampling.top_k.map(Value::from));
    put("thinking", asked.thinking);
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
    put("output_config", output_config(request, asked.effort)?);
    let body = exact::write(&body.into()).into_bytes();
    Ok(Encoded::new(body, dropped))
}

fn system(halves: &Halves<'_>, dropped: &mut Vec<&'static str>) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for part in halves.system_parts(dropped) {
        match part {
            SystemPart::Text(text) => blocks.push(json!({"type": "text", "text": text})),
            SystemPart::CachePoint { hour } => mark_cached(&mut blocks, hour),
        }
    }
    blocks
}

/// Here the mark stands on the last block that is kept, not behind it.
fn mark_cached(blocks: &mut [Value], hour: bool) {
    if let Some(last) = blocks.last_mut() {
        last["cache_control"] = cache_control(hour);
    }
}

fn cache_control(hour: bool) -> Value {
    if hour {
        json!({"type": "ephemeral", "ttl": "1h"})
    } else {
        json!({"type": "ephemeral"})
    }
}

fn blocks(
    index: usize,
    parts: &[Part],
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        if let Part::CachePoint { hour } = part {
            mark_cached(&mut blocks, *hour);
        } else {
            blocks.extend(block(index, part, dropped)?);
        }
    }
    Ok(blocks)
}

fn messages(
    halves: &Halves<'_>,
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
    let said = |index, parts: &[Part]| blocks(index, parts, dropped);
    halves.alternating(said, |block| {
        block.get("type").and_then(Value::as_str) == Some("tool_result")
    })
}

fn block(
    index: usize,
    part: &Part,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Value>, DialectError> {
    Ok(Some(match part {
        // Empty texts are refused over there and mean nothing.
        Part::Text { text } | Part::Refusal { text } if text.is_empty() => return Ok(None),
        Part::Text { text } | Part::Refusal { text } => json!({"type": "text", "text": text}),
        Part::Image { source } => json!({"type": "image", "source": source_value(source)}),
        Part::Document { source, name } => {
            let mut block = json!({"type": "document", "source": document_source(source)});
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
            ..
        } => {
            json!({"type": "tool_use", "id": plain_id(id), "name": name, "input": refuse::arguments_object(index, arguments)?})
        }
        Part::ToolResult {
            id,
            parts,
            is_error,
        } => {
            let content = blocks(index, parts, dropped)?;
            let mut result =
                json!({"type": "tool_result", "tool_use_id": plain_id(id), "content": content});
            if *is_error {
                result["is_error"] = true.into();
            }
            result
        }
        // Without its own signature the provider refuses a thought.
        Part::Thinking { text, signature } => {
            let own = signature.as_ref();
            let Some(own) = own.and_then(|signature| signature.written_by(Dialect::Anthropic))
            else {
                leave_out(dropped, "thinking");
                return Ok(None);
            };
            json!({"type": "thinking", "thinking": text, "signature": own})
        }
        Part::RedactedThinking { data } => {
            let Some(own) = data.written_by(Dialect::Anthropic) else {
                leave_out(dropped, "thinking");
                return Ok(None);
            };
            json!({"type": "redacted_thinking", "data": own})
        }
        Part::CachePoint { .. } => return Ok(None),
    }))
}

/// Ids made elsewhere may hold what is refused here.
fn plain_id(id: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') {
            letter
        } else {
            '_'
        }
    };
    id.chars().map(plain).collect()
}

/// A text is said as one: as data, only a PDF is taken.
fn document_source(source: &Source) -> Value {
    if let Source::Base64 { media_type, data } = source
        && media_type.starts_with("text/plain")
        && let Some(text) = from_base64(data).and_then(|bytes| String::from_utf8(bytes).ok())
    {
        return json!({"type": "text", "media_type": "text/plain", "data": text});
    }
    source_value(source)
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
    if let Some(hour) = tool.cache_for_an_hour {
        value["cache_control"] = cache_control(hour);
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
    effort: Option<&'static str>,
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
    if let Some(effort) = effort {
        config.insert("effort".to_owned(), effort.into());
    }
    Ok((!config.is_empty()).then_some(Value::Object(config)))
}
