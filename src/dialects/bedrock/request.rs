//! A canonical chat as Bedrock wants it.

use serde_json::{Map, Value, json};

use super::media;
use super::settings::{self, cache_point};
use crate::dialects::json::exact;
use crate::dialects::refuse::{self, leave_out};
use crate::dialects::{DialectError, Encoded};
use crate::domain::Dialect;
use crate::domain::chat::{ChatRequest, Message, Part, Role};

/// Encodes for `model`, which stands in the address and decides which settings are known.
pub fn encode_request(request: &ChatRequest, model: &str) -> Result<Encoded, DialectError> {
    let mut dropped = refuse::unspeakable(&request.extra, &[])?;
    let mut body = Map::new();
    let system = system(&request.messages);
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    body.insert("messages".to_owned(), messages(&request.messages)?.into());
    settings::add(request, model, &mut body, &mut dropped)?;
    if request.user.is_some() {
        leave_out(&mut dropped, "user");
    }
    let body = exact::write(&body.into()).into_bytes();
    Ok(Encoded { body, dropped })
}

/// A system message is text; what else a client puts there means nothing.
fn system(messages: &[Message]) -> Vec<Value> {
    let system = messages
        .iter()
        .filter(|message| message.role == Role::System);
    let mut blocks: Vec<Value> = Vec::new();
    for part in system.flat_map(|message| &message.parts) {
        match part {
            Part::Text { text } if !text.trim().is_empty() => blocks.push(json!({"text": text})),
            Part::CachePoint { hour } if !blocks.is_empty() => blocks.push(cache_point(*hour)),
            Part::Text { .. }
            | Part::CachePoint { .. }
            | Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolCall { .. }
            | Part::ToolResult { .. }
            | Part::Thinking { .. }
            | Part::RedactedThinking { .. }
            | Part::Refusal { .. } => {}
        }
    }
    blocks
}

/// Turns alternate between user and assistant: neighbours of one role are one turn, and the results of tools
/// come first in theirs.
fn messages(messages: &[Message]) -> Result<Vec<Value>, DialectError> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = match message.role {
            Role::System => continue,
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let blocks = blocks(index, &message.parts)?;
        if blocks.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some((last, so_far)) if *last == role => so_far.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    let turns = turns.into_iter().map(|(role, mut blocks)| {
        // Stable: results keep their order, and so does everything else.
        blocks.sort_by_key(|block| block.get("toolResult").is_none());
        json!({"role": role, "content": blocks})
    });
    Ok(turns.collect())
}

fn blocks(index: usize, parts: &[Part]) -> Result<Vec<Value>, DialectError> {
    let mut blocks: Vec<Value> = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::CachePoint { hour } if !blocks.is_empty() => blocks.push(cache_point(*hour)),
            Part::CachePoint { .. } => {}
            Part::ToolResult {
                id,
                parts,
                is_error,
            } => {
                let mut content = self::blocks(index, parts)?;
                // Only words, pictures and documents can stand there.
                content.retain(|block| {
                    ["text", "image", "document"]
                        .iter()
                        .any(|kind| block.get(kind).is_some())
                });
                let status = if *is_error { "error" } else { "success" };
                blocks.push(json!({"toolResult": {
                    "toolUseId": fitting(id), "content": content, "status": status,
                }}));
            }
            Part::Text { .. }
            | Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolCall { .. }
            | Part::Thinking { .. }
            | Part::RedactedThinking { .. }
            | Part::Refusal { .. } => blocks.extend(block(index, part)?),
        }
    }
    Ok(blocks)
}

fn block(index: usize, part: &Part) -> Result<Option<Value>, DialectError> {
    Ok(match part {
        // Blank texts are refused over there and mean nothing.
        Part::Text { text } | Part::Refusal { text } => {
            (!text.trim().is_empty()).then(|| json!({"text": text}))
        }
        Part::Image { source } => Some(media::image(index, source)?),
        Part::Document { source, name } => Some(media::document(index, source, name.as_deref())?),
        Part::Audio { format, data } => Some(media::audio(format, data)),
        Part::ToolCall {
            id,
            name,
            arguments,
            ..
        } => {
            let input = refuse::arguments_object(index, arguments)?;
            Some(json!({"toolUse": {"toolUseId": fitting(id), "name": name, "input": input}}))
        }
        // Without its own signature the provider refuses a thought.
        Part::Thinking { text, signature } => {
            let own = signature.as_ref();
            let own = own.and_then(|signature| signature.written_by(Dialect::Bedrock));
            own.map(|own| {
                let said = json!({"text": text, "signature": own});
                json!({"reasoningContent": {"reasoningText": said}})
            })
        }
        Part::RedactedThinking { data } => data
            .written_by(Dialect::Bedrock)
            .map(|own| json!({"reasoningContent": {"redactedContent": own}})),
        Part::ToolResult { .. } | Part::CachePoint { .. } => None,
    })
}

/// The longest an id of a call may be.
const LONGEST_ID: usize = 64;

/// An id that others made, in letters that are taken here. Ids differ at their ends, so the end is kept.
fn fitting(id: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() || "_.:-".contains(letter) {
            letter
        } else {
            '_'
        }
    };
    let fits: Vec<char> = id.chars().map(letter).collect();
    let start = fits.len().saturating_sub(LONGEST_ID);
    match fits.get(start..) {
        None | Some([]) => "call".to_owned(),
        Some(kept) => kept.iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_others_fit_and_stay_apart() {
        assert_eq!(fitting("tooluse_a-1.b:c"), "tooluse_a-1.b:c");
        assert_eq!(fitting("fc 1|ü"), "fc_1__");
        assert_eq!(fitting(""), "call");
        let long = |end: &str| fitting(&format!("{}{end}", "x".repeat(100)));
        assert_eq!(long("1").len(), LONGEST_ID);
        assert_ne!(long("1"), long("2"));
    }
}
