//! What copies of OpenAI's form say in ways of their own: content as a list (Mistral), thoughts with details that
//! have to come back as they were (OpenRouter and others).

use serde_json::Value;

use crate::dialects::citations::annotation;
use crate::domain::Dialect;
use crate::domain::chat::{Citation, Signature};

/// One piece of content.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Thinking(String),
    Refusal(String),
    /// Something that is known by a number only.
    Reference,
}

/// The pieces of a message or a delta; `None` where one is of a kind that cannot be said anywhere else.
pub(super) fn pieces(content: Option<&Value>) -> Option<Vec<Piece>> {
    match content {
        Some(Value::String(text)) if !text.is_empty() => Some(vec![Piece::Text(text.clone())]),
        Some(Value::Array(list)) => list.iter().map(piece).collect(),
        None | Some(Value::Null | Value::String(_)) => Some(Vec::new()),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => None,
    }
}

fn piece(value: &Value) -> Option<Piece> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match value.get("type").and_then(Value::as_str)? {
        "text" => text("text").map(Piece::Text),
        "refusal" => text("refusal").map(Piece::Refusal),
        "thinking" => Some(Piece::Thinking(thought(value.get("thinking")?))),
        "reference" => Some(Piece::Reference),
        _ => None,
    }
}

/// A thought is a text, or a list of them.
pub(super) fn thought(value: &Value) -> String {
    let texts = |list: &Vec<Value>| {
        let text = |one: &Value| one.get("text").and_then(Value::as_str).map(str::to_owned);
        list.iter().filter_map(text).collect()
    };
    value
        .as_str()
        .map(str::to_owned)
        .or_else(|| value.as_array().map(texts))
        .unwrap_or_default()
}

/// What a message says of its sources.
pub(super) fn cited(message: &Value) -> impl Iterator<Item = Citation> {
    let list = message.get("annotations").and_then(Value::as_array);
    let list = list.into_iter().flatten();
    list.map(annotation).collect::<Vec<_>>().into_iter()
}

/// The details of a thought, put together from the pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct Details(Vec<Value>);

/// Members that go on from piece to piece; others are said once.
const GO_ON: [&str; 3] = ["text", "summary", "data"];

impl Details {
    pub(super) fn of(message: &Value) -> Self {
        let mut details = Self::default();
        details.more(message);
        details
    }

    pub(super) fn more(&mut self, delta: &Value) {
        let list = delta.get("reasoning_details").and_then(Value::as_array);
        for piece in list.into_iter().flatten() {
            let same = |name: &str, last: &Value| last.get(name) == piece.get(name);
            let goes_on = |last: &&mut Value| {
                last.get("index").is_some() && same("type", last) && same("index", last)
            };
            match (self.0.last_mut().filter(goes_on), piece.as_object()) {
                (Some(last), Some(fields)) => {
                    for (name, value) in fields {
                        add(last, name, value);
                    }
                }
                (_, Some(_)) => self.0.push(piece.clone()),
                (_, None) => {}
            }
        }
    }

    /// The words of it, where nothing else says them.
    pub(super) fn words(&self) -> String {
        let text = |one: &Value| {
            let text = one.get("text").or_else(|| one.get("summary"))?;
            text.as_str().map(str::to_owned)
        };
        self.0.iter().filter_map(text).collect()
    }

    /// All of it as one opaque text, for who wrote it.
    pub(super) fn signature(&mut self) -> Option<Signature> {
        let details = std::mem::take(&mut self.0);
        let text = || Value::from(details.clone()).to_string();
        (!details.is_empty()).then(|| Signature::new(Dialect::Openai, text()))
    }
}

fn add(last: &mut Value, name: &str, value: &Value) {
    let so_far = last.get(name).and_then(Value::as_str);
    let goes_on = GO_ON.contains(&name);
    last[name] = match (so_far, value.as_str()) {
        (Some(so_far), Some(more)) if goes_on => format!("{so_far}{more}").into(),
        _ if value.is_null() => return,
        _ => value.clone(),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn e_details_of_a_stream_become_what_they_are_whole() {
        let mut details = Details::default();
        for piece in [
            json!({"type": "reasoning.text", "text": "17*", "format": "f", "index": 0}),
            json!({"type": "reasoning.text", "text": "23", "format": "f", "index": 0}),
            json!({"type": "reasoning.text", "signature": "c2ln", "index": 0}),
            json!({"type": "reasoning.encrypted", "data": "eA==", "id": "r", "index": 1}),
        ] {
            details.more(&json!({"reasoning_details": [piece]}));
        }
        assert_eq!(details.words(), "17*23");
        let signature = details.signature().unwrap();
        let back: Value = serde_json::from_str(&signature.data).unwrap();
        let whole = json!([
            {"type": "reasoning.text", "text": "17*23", "format": "f", "index": 0, "signature": "c2ln"},
            {"type": "reasoning.encrypted", "data": "eA==", "id": "r", "index": 1},
        ]);
        assert_eq!(back, whole);
        assert_eq!(details.signature(), None, "once");
    }
}
