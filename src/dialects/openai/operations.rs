//! Operations that exist in OpenAI's form only: judged, and passed on as they came.

use serde_json::Value;

use super::error::outcome_of;
use crate::dialects::json::scan_object;
use crate::dialects::sse::Event;
use crate::dialects::{AnswerFacts, AnswerFault};
use crate::domain::chat::{ChatEvent, StopReason};
use crate::domain::{Operation, StreamFault, Tokens, Usage};

/// Judges the answer to such an operation (faults P13 to P16).
pub fn inspect_result(operation: Operation, body: &[u8]) -> Result<AnswerFacts, AnswerFault> {
    scan_object(body).map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    let value: Value = serde_json::from_slice(body)
        .map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(AnswerFault::Disguised(outcome_of(error)));
    }
    let list = match operation {
        Operation::Chat | Operation::Completions => "choices",
        Operation::Embeddings
        | Operation::EmbedOne
        | Operation::Images
        | Operation::ImageEdits
        | Operation::ImageVariations => "data",
        Operation::Moderations | Operation::Rerank => "results",
        // Silence written down is a text without a word.
        Operation::Transcriptions | Operation::Translations => "text",
        Operation::Responses | Operation::CountTokens => "output",
        Operation::Speech => {
            return Err(AnswerFault::Malformed(
                "words came where speech was asked for",
            ));
        }
    };
    let results = value.get(list);
    let is_there = results.is_some_and(|results| match results {
        Value::String(_) => list == "text",
        Value::Array(results) => list != "text" && !results.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    });
    if !is_there {
        return Err(AnswerFault::Empty("the answer has no results"));
    }
    let served = value.get("model").and_then(Value::as_str);
    Ok(AnswerFacts {
        usage: usage(&value),
        served_model: served.map(|model| model.chars().take(256).collect()),
        filtered: false,
    })
}

/// Judges an answer that was asked for as plain text: it is what it is, but no error in disguise.
pub fn inspect_text(body: &[u8]) -> Result<AnswerFacts, AnswerFault> {
    if std::str::from_utf8(body).is_err() {
        return Err(AnswerFault::Malformed("the answer is not text"));
    }
    let start = body.trim_ascii_start();
    if start.first() == Some(&b'<') {
        return Err(AnswerFault::Malformed("the answer is a page"));
    }
    let value: Value = match start.first() {
        Some(b'{') => serde_json::from_slice(start).unwrap_or_default(),
        _ => Value::Null,
    };
    match value.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(AnswerFault::Disguised(outcome_of(error))),
        None => Ok(AnswerFacts::default()),
    }
}

pub(super) fn usage(value: &Value) -> Option<Usage> {
    let counts = value.get("usage").filter(|usage| usage.is_object())?;
    let count = |names: [&str; 2]| {
        let count = names
            .iter()
            .find_map(|name| counts.get(*name)?.as_u64())
            .filter(|count| *count < 100_000_000);
        count.map(Tokens)
    };
    let input = count(["prompt_tokens", "input_tokens"])
        .or_else(|| count(["total_tokens", "total_tokens"]))?;
    let heard = counts
        .get("input_token_details")
        .or_else(|| counts.get("input_tokens_details"));
    let heard = heard.and_then(|details| details.get("audio_tokens")?.as_u64());
    Some(Usage {
        input,
        output: count(["completion_tokens", "output_tokens"]).unwrap_or_default(),
        audio_input: Tokens(heard.unwrap_or_default()).min(input),
        ..Usage::default()
    })
}

/// What an event says, if it says anything; the word that ends a stream is taken note of.
pub(super) fn read_event(
    event: &Event,
    events: &mut Vec<ChatEvent>,
) -> Result<Option<Value>, StreamFault> {
    if &event.data[..] == b"[DONE]" {
        events.push(ChatEvent::Done);
        return Ok(None);
    }
    if event.data.is_empty() {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(&event.data)
        .map_err(|_| StreamFault::Malformed("an event is not JSON"))?;
    match value.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(outcome_of(error).into()),
        None => Ok(Some(value)),
    }
}

/// The stream of a text continued, read for what it tells.
#[derive(Debug, Default)]
pub struct CompletionDecoder {
    started: bool,
}

impl CompletionDecoder {
    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let Some(value) = read_event(event, events)? else {
            return Ok(());
        };
        let text = |value: &Value, name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        if !std::mem::replace(&mut self.started, true) {
            events.push(ChatEvent::Start {
                id: text(&value, "id"),
                model: text(&value, "model"),
            });
        }
        let choices = value.get("choices").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            let said = text(choice, "text");
            if !said.is_empty() {
                events.push(ChatEvent::Text { text: said });
            }
            let reason = match choice.get("finish_reason").and_then(Value::as_str) {
                None | Some("") => continue,
                Some("length") => StopReason::Length,
                Some("content_filter") => StopReason::ContentFilter,
                Some(_) => StopReason::End,
            };
            events.push(ChatEvent::Stop { reason });
        }
        events.extend(usage(&value).map(|usage| ChatEvent::Usage { usage }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_a_transcript_may_be_empty_and_tells_what_was_heard() {
        let judged = |text: &str| inspect_result(Operation::Transcriptions, text.as_bytes());
        let heard = judged(
            r#"{"text":"","usage":{"type":"tokens","input_tokens":9,"input_token_details":{"audio_tokens":7},"output_tokens":2,"total_tokens":11}}"#,
        );
        let usage = heard.unwrap().usage.unwrap();
        assert_eq!(
            (usage.input, usage.audio_input, usage.output),
            (Tokens(9), Tokens(7), Tokens(2))
        );
        let timed = judged(r#"{"text":"hi","usage":{"type":"duration","seconds":9}}"#);
        assert_eq!(timed.unwrap().usage, None);
        assert!(matches!(
            judged(r#"{"text":null}"#),
            Err(AnswerFault::Empty(_))
        ));
        let spoken = inspect_result(Operation::Speech, br#"{"text":"hi"}"#);
        assert!(matches!(spoken, Err(AnswerFault::Malformed(_))));
    }

    #[test]
    fn p13_p16_a_text_is_no_page_and_no_error() {
        assert!(inspect_text(b"").is_ok() && inspect_text("h\u{e9}".as_bytes()).is_ok());
        assert!(inspect_text(b"{hesitates} hm").is_ok());
        assert!(inspect_text(b" <html>").is_err() && inspect_text(&[0xff]).is_err());
        let error = inspect_text(br#"{"error":{"message":"x","code":500}}"#);
        assert!(matches!(error, Err(AnswerFault::Disguised(_))));
    }

    #[test]
    fn p13_p14_what_is_no_result_is_no_answer() {
        let judged = |text: &str| inspect_result(Operation::Embeddings, text.as_bytes());
        assert!(matches!(judged("{}"), Err(AnswerFault::Empty(_))));
        assert!(matches!(
            judged(r#"{"data":[]}"#),
            Err(AnswerFault::Empty(_))
        ));
        assert!(matches!(judged("<html>"), Err(AnswerFault::Malformed(_))));
        assert!(matches!(
            judged(r#"{"error":{"message":"x","code":500}}"#),
            Err(AnswerFault::Disguised(_))
        ));
        let whole = judged(
            r#"{"data":[{"embedding":[0.1]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#,
        );
        let usage = whole.unwrap().usage.unwrap();
        assert_eq!((usage.input, usage.output), (Tokens(7), Tokens(0)));
    }
}
