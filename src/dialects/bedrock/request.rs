//! A canonical chat as Bedrock wants it.

use serde_json::{Map, Value, json};

use super::media;
use super::settings::{self, cache_point};
use crate::dialects::json::exact;
use crate::dialects::refuse::{self, leave_out};
use crate::dialects::system::{Halves, SystemPart};
use crate::dialects::{DialectError, Encoded};
use crate::domain::Dialect;
use crate::domain::chat::{ChatRequest, Part, Signature};

/// Encodes for `model`, which stands in the address and decides which settings are known.
pub fn encode_request(request: &ChatRequest, model: &str) -> Result<Encoded, DialectError> {
    let mut dropped = refuse::unspeakable(&request.extra, &[])?;
    let mut body = Map::new();
    let halves = Halves::of(request, &mut dropped);
    let system = system(&halves, &mut dropped);
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    body.insert(
        "messages".to_owned(),
        messages(&halves, &mut dropped)?.into(),
    );
    settings::add(request, model, &mut body, &mut dropped)?;
    if request.user.is_some() {
        leave_out(&mut dropped, "user");
    }
    let body = exact::write(&body.into()).into_bytes();
    Ok(Encoded::new(body, dropped))
}

fn system(halves: &Halves<'_>, dropped: &mut Vec<&'static str>) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for part in halves.system_parts(dropped) {
        match part {
            SystemPart::Text(text) => blocks.push(json!({"text": text})),
            // Nothing stands before the first.
            SystemPart::CachePoint { .. } if blocks.is_empty() => {}
            SystemPart::CachePoint { hour } => blocks.push(cache_point(hour)),
        }
    }
    blocks
}

fn messages(
    halves: &Halves<'_>,
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
    let said = |index, parts: &[Part]| blocks(index, parts, dropped);
    halves.alternating(said, |block| block.get("toolResult").is_some())
}

fn blocks(
    index: usize,
    parts: &[Part],
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, DialectError> {
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
                let mut content = self::blocks(index, parts, dropped)?;
                let all = content.len();
                // Only words, pictures and documents can stand there.
                content.retain(|block| {
                    ["text", "image", "document"]
                        .iter()
                        .any(|kind| block.get(kind).is_some())
                });
                if content.len() < all {
                    leave_out(dropped, "parts of a result");
                }
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
            | Part::Refusal { .. } => blocks.extend(block(index, part, dropped)?),
        }
    }
    Ok(blocks)
}

fn block(
    index: usize,
    part: &Part,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Value>, DialectError> {
    let own = |signature: Option<&Signature>, dropped: &mut Vec<&'static str>| {
        let own = signature.and_then(|own| own.written_by(Dialect::Bedrock).map(str::to_owned));
        if own.is_none() {
            leave_out(dropped, "thinking");
        }
        own
    };
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
        Part::Thinking { text, signature } => own(signature.as_ref(), dropped).map(|own| {
            let said = json!({"text": text, "signature": own});
            json!({"reasoningContent": {"reasoningText": said}})
        }),
        Part::RedactedThinking { data } => own(Some(data), dropped)
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
