//! Items that both directions share.

use serde_json::{Value, json};

use crate::domain::Dialect;
use crate::domain::chat::{Part, Signature};

/// The texts of a result in one.
pub(super) fn text_of(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text { text } | Part::Refusal { text } => text.clone(),
        Part::Image { .. }
        | Part::Document { .. }
        | Part::Audio { .. }
        | Part::ToolCall { .. }
        | Part::ToolResult { .. }
        | Part::Thinking { .. }
        | Part::RedactedThinking { .. }
        | Part::CachePoint { .. } => String::new(),
    };
    parts.iter().map(text).collect()
}

/// What a reasoning item is known by again: its id and what is encrypted, as one opaque text.
pub(super) fn signature(item: &Value) -> Option<Signature> {
    let encrypted = item.get("encrypted_content")?.as_str()?;
    let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
    Some(Signature::new(
        Dialect::Responses,
        format!("{id}.{encrypted}"),
    ))
}

/// The reasoning item of a thought that was signed over there; others are not known again.
pub(super) fn reasoning_item(text: &str, signature: Option<&Signature>) -> Option<Value> {
    let own = signature?.written_by(Dialect::Responses)?;
    let (id, encrypted) = own.split_once('.')?;
    let mut item = json!({
        "type": "reasoning", "summary": summary(text), "encrypted_content": encrypted,
    });
    if !id.is_empty() {
        item["id"] = id.into();
    }
    Some(item)
}

pub(super) fn summary(text: &str) -> Value {
    if text.is_empty() {
        json!([])
    } else {
        json!([{"type": "summary_text", "text": text}])
    }
}

/// A reasoning item as a client gets it. What another provider signed stands where it sends it back from.
pub(super) fn shown_reasoning(id: &str, text: &str, signature: Option<&Signature>) -> Value {
    let own = signature.and_then(|own| own.written_by(Dialect::Responses));
    let encrypted = match (own.and_then(|own| own.split_once('.')), signature) {
        (Some((_, encrypted)), _) => Some(encrypted.to_owned()),
        (None, Some(foreign)) => Some(foreign.shown(Dialect::Responses)),
        (None, None) => None,
    };
    let own_id = own.and_then(|own| own.split_once('.')).map(|(id, _)| id);
    let id = own_id.filter(|id| !id.is_empty()).unwrap_or(id);
    let mut item = json!({"type": "reasoning", "id": id, "summary": summary(text)});
    if let Some(encrypted) = encrypted {
        item["encrypted_content"] = encrypted.into();
    }
    item
}

/// The signature a client sent back with a reasoning item.
pub(super) fn read_signature(item: &Value) -> Option<Signature> {
    let encrypted = item.get("encrypted_content")?.as_str()?;
    if Signature::is_marked(encrypted) {
        Some(Signature::read(encrypted, Dialect::Responses))
    } else {
        signature(item)
    }
}
