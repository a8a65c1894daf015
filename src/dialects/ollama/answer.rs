//! A whole answer or error of Ollama's.

use serde_json::Value;

use super::events::EventDecoder;
use crate::dialects::translate::fold_one;
use crate::dialects::{AnswerFault, UpstreamError, openai};
use crate::domain::chat::ChatAnswer;
use crate::domain::chat::StopReason;
use crate::domain::{AttemptOutcome, FailureKind, Tokens, Usage};

/// An error is a text and nothing else.
pub fn decode_error(status: u16, body: &[u8]) -> UpstreamError {
    let mut error = openai::decode_error(status, body);
    let told = error.message.as_deref().unwrap_or_default();
    if told.contains("exceeds the context length") {
        error.kind = FailureKind::ContextLengthExceeded;
    } else if told.contains("not found, try pulling it") {
        (error.outcome, error.kind) = (AttemptOutcome::ModelGone, FailureKind::ModelNotFound);
    }
    error
}

/// A whole answer is a stream of one event.
pub fn decode_answer(body: &[u8], request_id: &str) -> Result<ChatAnswer, AnswerFault> {
    let mut decoder = EventDecoder::new(request_id);
    fold_one(body, |value, events| decoder.value(value, events))
}

/// Calls end with a plain stop here.
pub(super) fn stop_reason(reason: &str, called: bool) -> StopReason {
    match reason {
        "length" => StopReason::Length,
        _ if called => StopReason::ToolCalls,
        _ => StopReason::End,
    }
}

/// Thoughts are inside the output. Half a count is none: what a cached prompt leaves out is estimated.
pub(super) fn usage(value: &Value) -> Option<Usage> {
    let count = |name: &str| {
        let count = value.get(name).and_then(Value::as_u64)?;
        Some(Tokens(count.min(100_000_000)))
    };
    Some(Usage {
        input: count("prompt_eval_count")?,
        output: count("eval_count")?,
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
            (
                404,
                r#"{"error":"model \"x\" not found, try pulling it first"}"#,
                O::ModelGone,
            ),
            (
                400,
                r#"{"error":"registry.ollama.ai/library/x does not support tools"}"#,
                O::Rejected,
            ),
            (
                503,
                r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
                O::Overloaded,
            ),
            (
                500,
                r#"{"error":"llama runner process has terminated"}"#,
                O::ServerError,
            ),
            (401, r#"{"error":"unauthorized"}"#, O::Auth),
        ] {
            let error = decode_error(status, body.as_bytes());
            assert_eq!(error.outcome, expected, "{status} {body}");
        }
        let long = decode_error(
            400,
            br#"{"error":"the input length exceeds the context length"}"#,
        );
        assert_eq!(long.kind, FailureKind::ContextLengthExceeded);
    }

    #[test]
    fn half_a_count_is_none() {
        let counts = serde_json::json!({"eval_count": 7});
        assert_eq!(usage(&counts), None);
        let counts = serde_json::json!({"eval_count": 7, "prompt_eval_count": 0});
        assert_eq!(usage(&counts).map(|usage| usage.output), Some(Tokens(7)));
    }
}
