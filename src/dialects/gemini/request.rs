//! A canonical chat as Google wants it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::schema::fitted;
use super::thinking::{self, thinking_config};
use crate::dialects::json::exact;
use crate::dialects::refuse::{self, leave_out};
use crate::dialects::system::{Halves, SystemPart, is_assistant};
use crate::dialects::{DialectError, Encoded, SENT_UNHEEDED, unread};
use crate::domain::Dialect;
use crate::domain::chat::{ChatRequest, OutputFormat, Part, Signature, Source, ToolChoice};

/// Calls that another model made have no signature; this word is taken in its place.
pub(in crate::dialects) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Encodes for `model`, which stands in the address and decides how thinking is asked for.
pub fn encode_request(request: &ChatRequest, model: &str) -> Result<Encoded, DialectError> {
    let mut dropped = refuse::unspeakable(
        &request.extra,
        &[
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "safety_settings",
            "labels",
            "logprobs",
            "top_logprobs",
        ],
    )?;
    let mut body = Map::new();
    let halves = Halves::of(request, &mut dropped);
    let system: Vec<Value> = halves
        .system_parts(&mut dropped)
        .filter_map(|part| match part {
            SystemPart::Text(text) => Some(json!({"text": text})),
            // What is kept is Google's own choice.
            SystemPart::CachePoint { .. } => None,
        })
        .collect();
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    let turns = Turns::of(&halves, thinking::newest(model), &mut dropped)?;
    body.insert("contents".to_owned(), turns.into());
    let mut unheeded = Vec::new();
    tools(request, &mut body, &mut dropped, &mut unheeded);
    for name in ["safety_settings", "labels"] {
        if let Some(value) = request.extra.get(name) {
            let name = if name == "labels" {
                name
            } else {
                "safetySettings"
            };
            body.insert(name.to_owned(), value.clone());
        }
    }
    let mut config = generation_config(request, model, &mut dropped);
    if let Some(schema) = config.get_mut("responseJsonSchema") {
        *schema = fitted(schema, "response_format.schema", &mut unheeded);
    }
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), config.into());
    }
    let body = exact::write(&body.into()).into_bytes();
    let mut encoded = Encoded::new(body, dropped);
    let unheeded = unheeded.iter().take(unread::MOST);
    let told = unheeded.map(|place| Cow::Owned(unread::shown(place) + SENT_UNHEEDED));
    encoded.dropped.extend(told);
    Ok(encoded)
}

fn tools(
    request: &ChatRequest,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
    unheeded: &mut Vec<String>,
) {
    if !request.tools.is_empty() {
        let tools: Vec<Value> = request
            .tools
            .iter()
            .enumerate()
            .map(|(index, tool)| {
                let mut declared = json!({"name": tool.name});
                if let Some(description) = &tool.description {
                    declared["description"] = description.as_str().into();
                }
                if let Some(schema) = &tool.schema {
                    let place = format!("tools[{index}].parameters");
                    declared["parametersJsonSchema"] = fitted(schema, &place, unheeded);
                }
                declared
            })
            .collect();
        body.insert("tools".to_owned(), json!([{"functionDeclarations": tools}]));
        if let Some(config) = tool_config(request.tool_choice.as_ref()) {
            body.insert("toolConfig".to_owned(), config);
        }
    }
    if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        leave_out(dropped, "parallel_tool_calls");
    }
    if request.user.is_some() {
        leave_out(dropped, "user");
    }
}

/// The turns so far: neighbours of one role are one turn, and results are matched with calls by name.
struct Turns<'a> {
    turns: Vec<(&'static str, Vec<Value>)>,
    /// Of each call, its name and its place among all.
    names: HashMap<&'a str, (&'a str, usize)>,
    /// Whether calls without a signature have to say so.
    signs: bool,
}

impl<'a> Turns<'a> {
    fn of(
        halves: &Halves<'a>,
        signs: bool,
        dropped: &mut Vec<&'static str>,
    ) -> Result<Vec<Value>, DialectError> {
        let mut all = Self {
            turns: Vec::new(),
            names: HashMap::new(),
            signs,
        };
        for (index, message) in &halves.turns {
            let role = if is_assistant(message) {
                "model"
            } else {
                "user"
            };
            let mut parts = Vec::with_capacity(message.parts.len());
            for part in &message.parts {
                if is_lost(part) {
                    leave_out(dropped, "thinking");
                }
                all.part(*index, part, &mut parts)?;
            }
            match all.turns.last_mut() {
                Some((last, so_far)) if *last == role => so_far.append(&mut parts),
                _ => all.turns.push((role, parts)),
            }
        }
        // Results are matched by their order too.
        let Self {
            mut turns, names, ..
        } = all;
        for (_, parts) in &mut turns {
            parts.sort_by_key(|part| {
                let id = part.pointer("/functionResponse/id").and_then(Value::as_str);
                let known = id.and_then(|id| names.get(id));
                // Everything else stays behind them, in its order.
                (known.is_none(), known.map(|(_, order)| *order))
            });
        }
        Ok(turns
            .into_iter()
            .filter(|(_, parts)| !parts.is_empty())
            .map(|(role, parts)| json!({"role": role, "parts": parts}))
            .collect())
    }

    fn part(
        &mut self,
        index: usize,
        part: &'a Part,
        parts: &mut Vec<Value>,
    ) -> Result<(), DialectError> {
        match part {
            Part::Text { text } | Part::Refusal { text } => {
                if !text.is_empty() {
                    parts.push(json!({"text": text}));
                }
            }
            Part::Image { source } | Part::Document { source, .. } => {
                parts.push(media(index, source)?);
            }
            Part::Audio { format, data } => parts.push(json!({
                "inlineData": {"mimeType": audio_type(format), "data": data},
            })),
            Part::ToolCall {
                id,
                name,
                arguments,
                signature,
            } => {
                let order = self.names.len();
                self.names.insert(id, (name, order));
                let args = refuse::arguments_object(index, arguments)?;
                let mut call = json!({"functionCall": {"id": id, "name": name, "args": args}});
                // Of parallel calls only the first one is signed.
                let first = !parts
                    .iter()
                    .any(|part: &Value| part.get("functionCall").is_some());
                if let Some(own) = own(signature.as_ref()) {
                    call["thoughtSignature"] = own.into();
                } else if self.signs && first {
                    call["thoughtSignature"] = NO_SIGNATURE.into();
                }
                parts.push(call);
            }
            Part::ToolResult {
                id,
                parts: said,
                is_error,
            } => self.result(index, (id, *is_error), said, parts)?,
            // Its own thoughts it knows by their signature; the words are for people.
            Part::Thinking { signature, .. } => {
                if let Some(own) = own(signature.as_ref()) {
                    parts.push(json!({"text": "", "thoughtSignature": own}));
                }
            }
            Part::RedactedThinking { .. } | Part::CachePoint { .. } => {}
        }
        Ok(())
    }

    fn result(
        &self,
        index: usize,
        (id, is_error): (&'a str, bool),
        said: &'a [Part],
        parts: &mut Vec<Value>,
    ) -> Result<(), DialectError> {
        let (name, _) = self.names.get(id).copied().ok_or_else(|| {
            DialectError::at(
                format!("messages[{index}]"),
                "this result answers no call of an earlier message; the provider of this model needs the call's name",
            )
        })?;
        let mut text = String::new();
        let mut media_parts = Vec::new();
        for part in said {
            match part {
                Part::Text { text: more } | Part::Refusal { text: more } => text.push_str(more),
                Part::Image { source } | Part::Document { source, .. } => {
                    media_parts.push(media(index, source)?);
                }
                Part::Audio { .. }
                | Part::ToolCall { .. }
                | Part::ToolResult { .. }
                | Part::Thinking { .. }
                | Part::RedactedThinking { .. }
                | Part::CachePoint { .. } => {}
            }
        }
        let response = match exact::read_data(&text) {
            Ok(object @ Value::Object(_)) if !is_error => object,
            Ok(_) | Err(_) if is_error => json!({"error": text}),
            Ok(_) | Err(_) => json!({"result": text}),
        };
        let answered = json!({"id": id, "name": name, "response": response});
        parts.push(json!({"functionResponse": answered}));
        parts.append(&mut media_parts);
        Ok(())
    }
}

/// Thoughts of others mean nothing here.
fn is_lost(part: &Part) -> bool {
    match part {
        Part::Thinking { signature, .. } => own(signature.as_ref()).is_none(),
        Part::RedactedThinking { .. } => true,
        Part::Text { .. }
        | Part::Image { .. }
        | Part::Document { .. }
        | Part::Audio { .. }
        | Part::ToolCall { .. }
        | Part::ToolResult { .. }
        | Part::Refusal { .. }
        | Part::CachePoint { .. } => false,
    }
}

fn own(signature: Option<&Signature>) -> Option<&str> {
    signature.and_then(|signature| signature.written_by(Dialect::Gemini))
}

fn audio_type(format: &str) -> String {
    match format {
        "mp3" => "audio/mp3".to_owned(),
        other => format!("audio/{other}"),
    }
}

fn media(index: usize, source: &Source) -> Result<Value, DialectError> {
    match source {
        Source::Base64 { media_type, data } => {
            Ok(json!({"inlineData": {"mimeType": media_type, "data": data}}))
        }
        Source::Url { url } if url.starts_with("https://generativelanguage.googleapis.com/") => {
            Ok(json!({"fileData": {"fileUri": url}}))
        }
        Source::Url { .. } => Err(DialectError::at(
            format!("messages[{index}].content"),
            "the provider of this model takes images and documents as data only, not by address; send the data, or choose another model",
        )),
    }
}

fn tool_config(choice: Option<&ToolChoice>) -> Option<Value> {
    let config = match choice? {
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    Some(json!({"functionCallingConfig": config}))
}

fn generation_config(
    request: &ChatRequest,
    model: &str,
    dropped: &mut Vec<&'static str>,
) -> Map<String, Value> {
    let mut config = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    put("maxOutputTokens", request.max_output.map(Value::from));
    put("temperature", request.temperature.map(Value::from));
    put("topP", request.top_p.map(Value::from));
    put("topK", request.top_k.map(Value::from));
    put(
        "stopSequences",
        (!request.stop.is_empty()).then(|| json!(request.stop)),
    );
    for (ours, theirs) in [
        ("seed", "seed"),
        ("presence_penalty", "presencePenalty"),
        ("frequency_penalty", "frequencyPenalty"),
        ("logprobs", "responseLogprobs"),
        ("top_logprobs", "logprobs"),
    ] {
        put(theirs, request.extra.get(ours).cloned());
    }
    if let Some(format) = &request.output_format {
        put("responseMimeType", Some("application/json".into()));
        if let OutputFormat::Schema { schema, .. } = format {
            put("responseJsonSchema", Some(schema.clone()));
        }
    }
    put("thinkingConfig", thinking_config(request, model, dropped));
    config
}
