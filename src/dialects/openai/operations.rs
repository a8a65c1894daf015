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
    if operation == Operation::CountTokens {
        return match value.get("input_tokens").and_then(Value::as_u64) {
            Some(_) => Ok(AnswerFacts::default()),
            None => Err(AnswerFault::Empty("the answer has no count")),
        };
    }
    let list = match operation {
        Operation::Chat | Operation::Completions => "choices",
        Operation::Embeddings | Operation::Images => "data",
        Operation::Moderations | Operation::Rerank => "results",
        Operation::Responses | Operation::CountTokens => "output",
    };
    let results = value.get(list).and_then(Value::as_array);
    if results.is_none_or(Vec::is_empty) {
        return Err(AnswerFault::Empty("the answer has no results"));
    }
    let served = value.get("model").and_then(Value::as_str);
    Ok(AnswerFacts {
        usage: usage(&value),
        served_model: served.map(|model| model.chars().take(256).collect()),
        filtered: false,
    })
}

fn usage(value: &Value) -> Option<Usage> {
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
    Some(Usage {
        input,
        output: count(["completion_tokens", "output_tokens"]).unwrap_or_default(),
        ..Usage::default()
    })
}

/// The stream of a text continued, read for what it tells.
#[derive(Debug, Default)]
pub struct CompletionDecoder {
    started: bool,
}

impl CompletionDecoder {
    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        if &event.data[..] == b"[DONE]" {
            events.push(ChatEvent::Done);
            return Ok(());
        }
        if event.data.is_empty() {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(&event.data)
            .map_err(|_| StreamFault::Malformed("a chunk is not JSON"))?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(outcome_of(error).into());
        }
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
