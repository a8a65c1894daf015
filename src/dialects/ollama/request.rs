//! A canonical chat as Ollama wants it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::dialects::effort::{self, Effort};
use crate::dialects::json::exact;
use crate::dialects::logprobs;
use crate::dialects::refuse::{self, is_lost_thought, leave_out};
use crate::dialects::{DialectError, Encoded};
use crate::domain::chat::{ChatRequest, Message, OutputFormat, Part, Role, Source, ToolChoice};

pub fn encode_request(request: &ChatRequest, model: &str) -> Result<Encoded, DialectError> {
    let mut dropped = refuse::unspeakable(
        &request.extra,
        &[
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "min_p",
            "num_ctx",
            "keep_alive",
            "logprobs",
            "top_logprobs",
        ],
    )?;
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    let mut turns = Turns::default();
    for (index, message) in request.messages.iter().enumerate() {
        turns.message(index, message, &mut dropped)?;
    }
    body.insert("messages".to_owned(), turns.wire.into());
    // Said either way: a stream is what is given to those who say nothing.
    body.insert("stream".to_owned(), request.stream.into());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("tools", tools(request)?);
    put("format", request.output_format.as_ref().map(format));
    put("think", think(request, model, &mut dropped));
    if request.wants_logprobs() {
        put("logprobs", Some(true.into()));
        put("top_logprobs", logprobs::alternatives(request).cloned());
    }
    put("keep_alive", request.extra.get("keep_alive").cloned());
    let options = options(request);
    put("options", (!options.is_empty()).then(|| options.into()));
    if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        leave_out(&mut dropped, "parallel_tool_calls");
    }
    if request.user.is_some() {
        leave_out(&mut dropped, "user");
    }
    let body = exact::write(&body.into()).into_bytes();
    Ok(Encoded::new(body, dropped))
}

/// The messages so far, and the names of the calls in them: a result is known by its call's name here.
#[derive(Default)]
struct Turns<'a> {
    wire: Vec<Value>,
    names: HashMap<&'a str, &'a str>,
}

/// What of a message can be said in one: its texts, pictures, thoughts and calls.
#[derive(Default)]
struct Said {
    texts: Vec<String>,
    images: Vec<Value>,
    thinking: String,
    calls: Vec<Value>,
}

impl Said {
    fn is_empty(&self) -> bool {
        self.texts.is_empty()
            && self.images.is_empty()
            && self.thinking.is_empty()
            && self.calls.is_empty()
    }

    fn message(self, role: &str) -> Value {
        let mut message = json!({"role": role, "content": self.texts.join("\n")});
        if !self.images.is_empty() {
            message["images"] = self.images.into();
        }
        if !self.thinking.is_empty() {
            message["thinking"] = self.thinking.into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into();
        }
        message
    }
}

impl<'a> Turns<'a> {
    fn message(
        &mut self,
        index: usize,
        message: &'a Message,
        dropped: &mut Vec<&'static str>,
    ) -> Result<(), DialectError> {
        let mut said = Said::default();
        for part in &message.parts {
            if let Part::ToolResult {
                id,
                parts,
                is_error,
            } = part
            {
                if *is_error {
                    leave_out(dropped, "is_error");
                }
                let mut result = Said::default();
                for part in parts {
                    self.part(index, part, &mut result)?;
                }
                let mut wire = result.message("tool");
                wire["tool_call_id"] = id.as_str().into();
                if let Some(name) = self.names.get(id.as_str()) {
                    wire["tool_name"] = (*name).into();
                }
                self.wire.push(wire);
            } else {
                if is_lost_thought(part) {
                    leave_out(dropped, "thinking");
                }
                self.part(index, part, &mut said)?;
            }
        }
        let role = match message.role {
            Role::System => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        if !said.is_empty() || message.parts.is_empty() {
            self.wire.push(said.message(role));
        }
        Ok(())
    }

    fn part(&mut self, index: usize, part: &'a Part, said: &mut Said) -> Result<(), DialectError> {
        let refused = |what: &str| {
            Err(DialectError::at(
                format!("messages[{index}].content"),
                format!("the provider of this model takes no {what}; choose another model"),
            ))
        };
        match part {
            Part::Text { text } | Part::Refusal { text } => said.texts.push(text.clone()),
            Part::Image {
                source: Source::Base64 { data, .. },
            } => said.images.push(data.as_str().into()),
            Part::Image {
                source: Source::Url { .. },
            } => {
                return refused("images by address; send the data");
            }
            Part::Document { .. } => return refused("documents"),
            Part::Audio { .. } => return refused("audio"),
            Part::ToolCall {
                id,
                name,
                arguments,
                ..
            } => {
                self.names.insert(id, name);
                let arguments = refuse::arguments_object(index, arguments)?;
                said.calls.push(json!({
                    "id": id, "function": {"name": name, "arguments": arguments},
                }));
            }
            // What nobody signed may be its own; what another signed is not.
            Part::Thinking {
                text,
                signature: None,
            } => said.thinking.push_str(text),
            Part::Thinking { .. }
            | Part::RedactedThinking { .. }
            | Part::ToolResult { .. }
            | Part::CachePoint { .. } => {}
        }
        Ok(())
    }
}

/// A model cannot be made to call here, only kept from it: then it is not told of the tools.
fn tools(request: &ChatRequest) -> Result<Option<Value>, DialectError> {
    if request.tools.is_empty() {
        return Ok(None);
    }
    match &request.tool_choice {
        Some(ToolChoice::None) => return Ok(None),
        Some(ToolChoice::Required | ToolChoice::Named(_)) => {
            return Err(DialectError::at(
                "tool_choice",
                "the provider of this model cannot be made to call a tool; choose another model, or leave tool_choice out",
            ));
        }
        Some(ToolChoice::Auto) | None => {}
    }
    let tools = request.tools.iter().map(|tool| {
        let schema = tool
            .schema
            .clone()
            .unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut function = json!({"name": tool.name, "parameters": schema});
        if let Some(description) = &tool.description {
            function["description"] = description.as_str().into();
        }
        json!({"type": "function", "function": function})
    });
    Ok(Some(tools.collect()))
}

fn format(format: &OutputFormat) -> Value {
    match format {
        OutputFormat::Json => "json".into(),
        OutputFormat::Schema { schema, .. } => schema.clone(),
    }
}

/// Most models think or do not; those that know levels are told one.
fn think(request: &ChatRequest, model: &str, dropped: &mut Vec<&'static str>) -> Option<Value> {
    if !effort::is_asked(request) {
        return request.reasoning_free.then_some(Value::Bool(true));
    }
    let levels = model.contains("gpt-oss");
    match Effort::asked(request) {
        // It cannot be kept from thinking.
        Some(effort) if levels => Some(effort.clamp(Effort::Low, Effort::High).word().into()),
        Some(Effort::None) => Some(false.into()),
        measured => {
            if measured.is_none() || request.reasoning_budget.is_some() {
                leave_out(dropped, effort::name(request));
            }
            Some(true.into())
        }
    }
}

fn options(request: &ChatRequest) -> Map<String, Value> {
    let extra = |name: &str| request.extra.get(name).cloned();
    let stop = (!request.stop.is_empty()).then(|| json!(request.stop));
    [
        ("num_predict", request.max_output.map(Value::from)),
        ("temperature", request.temperature.map(Value::from)),
        ("top_p", request.top_p.map(Value::from)),
        ("top_k", request.top_k.map(Value::from)),
        ("stop", stop),
        ("seed", extra("seed")),
        ("presence_penalty", extra("presence_penalty")),
        ("frequency_penalty", extra("frequency_penalty")),
        ("repeat_penalty", extra("repetition_penalty")),
        ("min_p", extra("min_p")),
        ("num_ctx", extra("num_ctx")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}
