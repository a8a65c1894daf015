//! A whole answer or error of Cohere's.

use serde_json::Value;

use super::events::arguments;
use crate::dialects::citations::{self, sources};
use crate::dialects::translate::fold_one;
use crate::dialects::{AnswerFault, UpstreamError, openai};
use crate::domain::chat::{ChatAnswer, ChatEvent, StopReason};
use crate::domain::{AttemptOutcome, FailureKind, StreamFault, Tokens, Usage};

/// An error is a message, in an object or alone.
pub fn decode_error(status: u16, body: &[u8]) -> UpstreamError {
    let mut error = openai::decode_error(status, body);
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let words = value.as_str().or_else(|| value.get("message")?.as_str());
    let words = words.unwrap_or_default().to_ascii_lowercase();
    let (outcome, kind) = match status {
        498 => (AttemptOutcome::Auth, FailureKind::ProviderAuth),
        // It gave up on its own upstream.
        499 => (AttemptOutcome::ServerError, FailureKind::UpstreamFailed),
        // "… a Trial key, which is limited to 1000 API calls / month …"
        429 if words.contains("month") => (AttemptOutcome::Quota, FailureKind::ProviderQuota),
        400 | 422 if words.contains("too many tokens") => {
            (AttemptOutcome::Rejected, FailureKind::ContextLengthExceeded)
        }
        _ => return error,
    };
    (error.outcome, error.kind) = (outcome, kind);
    if outcome != AttemptOutcome::Rejected {
        (error.message, error.code) = (None, None);
    }
    error
}

pub fn decode_answer(body: &[u8]) -> Result<ChatAnswer, AnswerFault> {
    fold_one(body, whole)
}

/// The answer as the events it could have come in.
fn whole(value: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
    let message = match value.get("message") {
        Some(message @ Value::Object(_)) => message,
        Some(error @ Value::String(_)) => return Err(openai::outcome_of(error).into()),
        _ => return Err(StreamFault::Malformed("the answer holds no message")),
    };
    let id = value.get("id").and_then(Value::as_str);
    events.push(ChatEvent::Start {
        id: id.unwrap_or_default().to_owned(),
        model: String::new(),
    });
    let plan = message.get("tool_plan").and_then(Value::as_str);
    said(plan, events, |text| ChatEvent::Text { text });
    match message.get("content") {
        Some(Value::String(text)) => said(Some(text), events, |text| ChatEvent::Text { text }),
        Some(Value::Array(items)) => {
            for item in items {
                let text = |name: &str| item.get(name).and_then(Value::as_str);
                said(text("thinking"), events, |text| ChatEvent::Thinking {
                    text,
                });
                said(text("text"), events, |text| ChatEvent::Text { text });
            }
        }
        _ => {}
    }
    let cited = message.get("citations").and_then(Value::as_array);
    let cited = cited.into_iter().flatten().flat_map(sources).collect();
    events.extend(citations::events(cited));
    let calls = message.get("tool_calls").and_then(Value::as_array);
    for (index, call) in (0..).zip(calls.into_iter().flatten()) {
        let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str);
        let Some(name) = text("/function/name").filter(|name| !name.is_empty()) else {
            return Err(StreamFault::Malformed("a call names no function"));
        };
        events.push(ChatEvent::ToolCall {
            index,
            id: text("/id").unwrap_or_default().to_owned(),
            name: name.to_owned(),
            signature: None,
        });
        let fragment = arguments(text("/function/arguments").unwrap_or_default());
        events.push(ChatEvent::ToolArguments { index, fragment });
    }
    ended(value, events)
}

/// Adds what was said, if anything was.
pub(super) fn said(
    text: Option<&str>,
    events: &mut Vec<ChatEvent>,
    event: impl FnOnce(String) -> ChatEvent,
) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        events.push(event(text.to_owned()));
    }
}

/// The end of an answer: why, and what it took. `value` holds both, in a stream and alone.
pub(super) fn ended(value: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
    let reason = value.get("finish_reason").and_then(Value::as_str);
    let reason = match reason.unwrap_or_default() {
        "COMPLETE" => StopReason::End,
        "STOP_SEQUENCE" => StopReason::StopSequence,
        "MAX_TOKENS" => StopReason::Length,
        "TOOL_CALL" => StopReason::ToolCalls,
        "ERROR_TOXIC" => StopReason::ContentFilter,
        "" => {
            return Err(StreamFault::Malformed(
                "the answer names no reason for its end",
            ));
        }
        // `ERROR`, `TIMEOUT` and whatever else is no end.
        _ => {
            return Err(StreamFault::Reported {
                outcome: AttemptOutcome::ServerError,
                message: String::new(),
                code: None,
            });
        }
    };
    events.push(ChatEvent::Stop { reason });
    events.extend(usage(value).map(|usage| ChatEvent::Usage { usage }));
    Ok(())
}

/// What is billed leaves out the provider's own prompt, so the tokens count where both are told.
fn usage(value: &Value) -> Option<Usage> {
    let usage = value.get("usage")?;
    let counts = ["tokens", "billed_units"]
        .into_iter()
        .filter_map(|name| usage.get(name))
        .find(|counts| counts.get("output_tokens").is_some())?;
    // Counts come as 12 and as 12.0.
    let count = |value: Option<&Value>| {
        let count = value.and_then(Value::as_f64).unwrap_or(0.0);
        Tokens(count.clamp(0.0, 1e8) as u64)
    };
    let input = count(counts.get("input_tokens"));
    Some(Usage {
        input,
        output: count(counts.get("output_tokens")),
        cached_input: count(usage.get("cached_tokens")).min(input),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_whose_fault_they_are() {
        use AttemptOutcome as O;
        for (status, body, expected) in [
            (401, r#"{"message":"invalid api token"}"#, O::Auth),
            (498, r#"{"message":"blocked token"}"#, O::Auth),
            (429, r#"{"message":"rate limit exceeded"}"#, O::Throttled),
            (
                429,
                r#"{"message":"You are using a Trial key, which is limited to 1000 API calls / month."}"#,
                O::Quota,
            ),
            (404, r#"{"message":"model 'x' not found"}"#, O::ModelGone),
            (
                422,
                r#"{"message":"unknown field: parameter n"}"#,
                O::Rejected,
            ),
            (499, "{}", O::ServerError),
            (503, r#""down""#, O::Overloaded),
        ] {
            let error = decode_error(status, body.as_bytes());
            assert_eq!(error.outcome, expected, "{status} {body}");
            assert_eq!(error.message.is_some(), expected == O::Rejected, "{body}");
        }
        let long = decode_error(
            400,
            br#"{"message":"too many tokens: total number of tokens cannot exceed 128000"}"#,
        );
        assert_eq!(long.kind, FailureKind::ContextLengthExceeded);
        assert!(long.message.is_some());
    }
}
