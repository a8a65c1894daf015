//! The turns of a canonical chat as OpenAI's messages.
//!
//! # Why only the published form
//! [`super::decode_request`] reads more than OpenAI itself takes: pictures in an assistant's turn, files by
//! address, `reasoning_content`. Some compatible providers take those too, others answer 400 to a member they
//! do not know, and a request that crossed from another dialect must not fail over a thought nobody needs. So
//! what changes the meaning is refused here, with the place, and the rest is left out and reported.

use serde_json::{Value, json};

use super::thinking::Thoughts;
use crate::dialects::DialectError;
use crate::dialects::effort::turn_under_way;
use crate::dialects::refuse::leave_out;
use crate::domain::Quirks;
use crate::domain::chat::{ChatRequest, Message, Part, Role, Source};

/// Where a message stands in the request.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
}

impl Place {
    fn refuse(self, why: &str) -> DialectError {
        DialectError::at(format!("messages[{}].content", self.index), why)
    }
}

pub(super) fn messages(
    request: &ChatRequest,
    recipient: (&str, &Quirks),
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
    let mut wire = Vec::with_capacity(request.messages.len());
    let turn = turn_under_way(request);
    for (index, message) in request.messages.iter().enumerate() {
        let place = Place { index };
        match message.role {
            Role::System => wire.extend(system(message, dropped)),
            Role::User | Role::Tool => wire.extend(user(place, message, dropped)?),
            Role::Assistant => {
                let calls = |part: &Part| matches!(part, Part::ToolCall { .. });
                let under_way = index >= turn && message.parts.iter().any(calls);
                let thoughts = Thoughts::of(&message.parts, recipient, under_way);
                wire.extend(assistant(place, message, thoughts, dropped)?);
            }
        }
    }
    Ok(wire)
}

fn system(message: &Message, dropped: &mut Vec<&'static str>) -> Option<Value> {
    let mut texts = Vec::new();
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => texts.push(text_part(text)),
            // These providers keep what they will without being told.
            Part::CachePoint { .. } => {}
            // A system message is text; what else a client puts there means nothing.
            Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolCall { .. }
            | Part::ToolResult { .. }
            | Part::Thinking { .. }
            | Part::RedactedThinking { .. } => {
                leave_out(dropped, "system parts other than text");
            }
        }
    }
    is_sent(message, &texts).then(|| json!({"role": "system", "content": content(texts)}))
}

/// A turn that answers tools and goes on is several messages: the results first, because they must follow
/// the calls at once, one each; then the rest.
fn user(
    place: Place,
    message: &Message,
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
    let (mut wire, mut shown, mut rest) = (Vec::new(), Vec::new(), Vec::new());
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
            let texts = result_texts(place, parts, dropped)?;
            // A result holds text only here; what else it had is shown behind the results.
            for media in parts {
                if matches!(media, Part::Image { .. } | Part::Document { .. }) {
                    shown.extend(user_part(place, media, dropped)?);
                }
            }
            wire.push(json!({"role": "tool", "tool_call_id": id, "content": content(texts)}));
        } else {
            rest.extend(user_part(place, part, dropped)?);
        }
    }
    shown.append(&mut rest);
    let rest = shown;
    if !rest.is_empty() || (message.role == Role::User && message.parts.is_empty()) {
        wire.push(json!({"role": "user", "content": content(rest)}));
    }
    Ok(wire)
}

fn user_part(
    place: Place,
    part: &Part,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Value>, DialectError> {
    Ok(Some(match part {
        Part::Text { text } | Part::Refusal { text } => text_part(text),
        Part::Image { source } => {
            json!({"type": "image_url", "image_url": {"url": source_url(source)}})
        }
        Part::Document {
            source: Source::Url { .. },
            ..
        } => {
            return Err(place.refuse(
                "the provider of this model takes documents as data only, not by address; send the data, or choose another model",
            ));
        }
        Part::Document { source, name } => {
            let mut file = json!({"file_data": source_url(source)});
            if let Some(name) = name {
                file["filename"] = name.as_str().into();
            }
            json!({"type": "file", "file": file})
        }
        Part::Audio { format, data } => {
            json!({"type": "input_audio", "input_audio": {"format": format, "data": data}})
        }
        Part::CachePoint { .. } => return Ok(None),
        Part::Thinking { .. } | Part::RedactedThinking { .. } => {
            leave_out(dropped, "thinking");
            return Ok(None);
        }
        Part::ToolCall { .. } | Part::ToolResult { .. } => {
            return Err(place.refuse("only an assistant message may call tools"));
        }
    }))
}

fn result_texts(
    place: Place,
    parts: &[Part],
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => texts.push(text_part(text)),
            Part::CachePoint { .. } => {}
            Part::Thinking { .. } | Part::RedactedThinking { .. } => {
                leave_out(dropped, "thinking");
            }
            Part::Image { .. } | Part::Document { .. } => {}
            Part::Audio { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => {
                return Err(place.refuse(
                    "the provider of this model takes only text as the result of a tool; choose another model",
                ));
            }
        }
    }
    Ok(texts)
}

fn assistant(
    place: Place,
    message: &Message,
    thoughts: Thoughts,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Value>, DialectError> {
    if thoughts.lost {
        leave_out(dropped, "thinking");
    }
    let (mut said, mut calls) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { text } => said.push(text_part(text)),
            Part::Refusal { text } => said.push(json!({"type": "refusal", "refusal": text})),
            // The arguments stay as the model wrote them, sound or not.
            Part::ToolCall {
                id,
                name,
                arguments,
                ..
            } => calls.push(json!({
                "id": id, "type": "function", "function": {"name": name, "arguments": arguments},
            })),
            Part::CachePoint { .. } | Part::Thinking { .. } | Part::RedactedThinking { .. } => {}
            Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolResult { .. } => {
                return Err(place.refuse(
                    "the provider of this model takes only text and tool calls in an assistant message; choose another model",
                ));
            }
        }
    }
    if calls.is_empty() && !is_sent(message, &said) {
        return Ok(None);
    }
    // Where answers have it, and so where providers look for it.
    let refusal = said.pop_if(|last| {
        last.get("refusal")
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    });
    let says_nothing = said.is_empty() && (refusal.is_some() || !calls.is_empty());
    let content = if says_nothing {
        Value::Null
    } else {
        content(said)
    };
    let mut wire = json!({"role": "assistant", "content": content});
    if let Some(mut refusal) = refusal {
        wire["refusal"] = refusal["refusal"].take();
    }
    if !thoughts.content.is_empty() {
        wire["reasoning_content"] = thoughts.content.into();
    }
    if !thoughts.details.is_empty() {
        wire["reasoning_details"] = thoughts.details.into();
    }
    if !calls.is_empty() {
        wire["tool_calls"] = calls.into();
    }
    Ok(Some(wire))
}

/// A message that was empty stays one; a message of which nothing is left is not sent.
fn is_sent(message: &Message, left: &[Value]) -> bool {
    message.parts.is_empty() || !left.is_empty()
}

/// One text is said plainly, for not every provider takes lists; an empty text among parts stays a part.
fn content(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [] => "".into(),
        [only]
            if only
                .get("text")
                .and_then(Value::as_str)
                .is_some_and(|text| !text.is_empty()) =>
        {
            only["text"].take()
        }
        _ => parts.into(),
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn source_url(source: &Source) -> String {
    match source {
        Source::Url { url } => url.clone(),
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
    }
}
