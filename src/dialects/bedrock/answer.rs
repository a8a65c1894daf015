//! A whole answer or error of Bedrock's.

use serde_json::Value;

use crate::dialects::citations::source;
use crate::dialects::fields::tier;
use crate::dialects::json::exact;
use crate::dialects::translate::fold_one;
use crate::dialects::{AnswerFault, UpstreamError};
use crate::domain::chat::{ChatAnswer, ChatEvent, Signature, StopReason};
use crate::domain::{AttemptOutcome, Dialect, FailureKind, StreamFault, Tokens, Usage};

/// The name of an error stands in a header that is not looked at: status and words tell as much.
pub fn decode_error(status: u16, body: &[u8]) -> UpstreamError {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut error = UpstreamError::read(status, &plain(&value), &Value::Null);
    let words = words(&value).to_ascii_lowercase();
    let says = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    let (outcome, kind) = match status {
        // The model failed, not the request.
        424 => (AttemptOutcome::ServerError, FailureKind::UpstreamFailed),
        429 if says(&["per day"]) => (AttemptOutcome::Quota, FailureKind::ProviderQuota),
        400 if says(&["model identifier is invalid", "on-demand throughput"]) => {
            (AttemptOutcome::ModelGone, FailureKind::ModelNotFound)
        }
        400 if says(&["service quota"]) => (AttemptOutcome::Quota, FailureKind::ProviderQuota),
        _ => return error,
    };
    (error.outcome, error.kind) = (outcome, kind);
    (error.message, error.code) = (None, None);
    error
}

/// The words of an error, whichever way they are written.
fn words(value: &Value) -> &str {
    let words = value.get("message").or_else(|| value.get("Message"));
    words.and_then(Value::as_str).unwrap_or_default()
}

fn plain(value: &Value) -> Value {
    serde_json::json!({"message": words(value)})
}

/// What ended a stream that had begun well, by the name of the exception.
pub(super) fn exception(name: &str, value: &Value) -> StreamFault {
    let status = match name {
        "throttlingException" => 429,
        "validationException" => 400,
        "serviceUnavailableException" => 503,
        // What the model's own server said, where that is told.
        "modelStreamErrorException" => value
            .get("originalStatusCode")
            .and_then(Value::as_u64)
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| (500..600).contains(status) || *status == 429)
            .unwrap_or(500),
        _ => 500,
    };
    let body = serde_json::to_vec(value).unwrap_or_default();
    decode_error(status, &body).into()
}

pub fn decode_answer(body: &[u8]) -> Result<ChatAnswer, AnswerFault> {
    fold_one(body, whole)
}

/// The answer as the events it could have come in.
fn whole(value: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
    let Some(output) = value.get("output") else {
        if !words(value).is_empty() {
            let name = value.get("__type").and_then(Value::as_str);
            return Err(exception(name.unwrap_or_default(), value));
        }
        return Err(StreamFault::Malformed("the answer holds no output"));
    };
    events.push(ChatEvent::Start {
        id: String::new(),
        model: String::new(),
    });
    let content = output.pointer("/message/content").and_then(Value::as_array);
    let mut calls = 0;
    for block in content.into_iter().flatten() {
        self::block(block, &mut calls, events)?;
    }
    let reason = value.get("stopReason").and_then(Value::as_str);
    let reason = stop_reason(reason.unwrap_or_default())?;
    events.push(ChatEvent::Stop { reason });
    events.extend(usage(value).map(|usage| ChatEvent::Usage { usage }));
    Ok(())
}

fn block(block: &Value, calls: &mut u32, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
    let text = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    if let Some(text) = text("/text") {
        events.push(ChatEvent::Text {
            text: text.to_owned(),
        });
    } else if let Some(call) = block.get("toolUse") {
        let index = *calls;
        *calls += 1;
        events.push(tool_call(index, call)?);
        let input = call.get("input").filter(|input| input.is_object());
        events.push(ChatEvent::ToolArguments {
            index,
            fragment: input.map_or_else(|| "{}".to_owned(), exact::write_data),
        });
    } else if block.get("reasoningContent").is_some() {
        if let Some(text) = text("/reasoningContent/reasoningText/text") {
            let text = text.to_owned();
            events.push(ChatEvent::Thinking { text });
        }
        let signed = text("/reasoningContent/reasoningText/signature");
        events.extend(signature(signed).map(|signature| ChatEvent::Signed { signature }));
        let hidden = text("/reasoningContent/redactedContent");
        events.extend(signature(hidden).map(|data| ChatEvent::RedactedThinking { data }));
    } else if let Some(cited) = block.pointer("/citationsContent/content") {
        for piece in cited.as_array().into_iter().flatten() {
            let text = piece.get("text").and_then(Value::as_str);
            events.extend(text.map(|text| ChatEvent::Text {
                text: text.to_owned(),
            }));
        }
        let told = block
            .pointer("/citationsContent/citations")
            .and_then(Value::as_array);
        for one in told.into_iter().flatten() {
            let citation = source(one, None);
            events.push(ChatEvent::Citation { citation });
        }
    } else if is_media(block) {
        // A picture would be lost without a word.
        events.push(ChatEvent::Foreign { bytes: 1 });
    }
    Ok(())
}

pub(super) fn is_media(block: &Value) -> bool {
    ["image", "video", "audio", "document"]
        .iter()
        .any(|kind| block.get(kind).is_some())
}

pub(super) fn tool_call(index: u32, call: &Value) -> Result<ChatEvent, StreamFault> {
    let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        return Err(StreamFault::Malformed("a call names no function"));
    }
    Ok(ChatEvent::ToolCall {
        index,
        id: text("toolUseId").to_owned(),
        name: text("name").to_owned(),
        signature: None,
    })
}

pub(super) fn signature(data: Option<&str>) -> Option<Signature> {
    let data = data.filter(|data| !data.is_empty())?;
    Some(Signature::new(Dialect::Bedrock, data))
}

/// Reasons that mean the model's words could not be read are failures: nobody reads them as an end.
pub(super) fn stop_reason(reason: &str) -> Result<StopReason, StreamFault> {
    Ok(match reason {
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => StopReason::ContentFilter,
        "malformed_model_output" | "malformed_tool_use" => {
            return Err(StreamFault::Reported {
                outcome: AttemptOutcome::BadBody,
                message: String::new(),
                code: Some(reason.to_owned()),
            });
        }
        "" => {
            return Err(StreamFault::Malformed(
                "the answer names no reason for its end",
            ));
        }
        _ => StopReason::End,
    })
}

/// What is cached stands beside the input.
pub(super) fn usage(value: &Value) -> Option<Usage> {
    let usage = value.get("usage")?;
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let tokens = |name: &str| Tokens(count(name).unwrap_or(0).min(100_000_000));
    count("outputTokens")?;
    let (read, write) = (
        tokens("cacheReadInputTokens"),
        tokens("cacheWriteInputTokens"),
    );
    let details = usage.get("cacheDetails").and_then(Value::as_array);
    let for_an_hour = details
        .into_iter()
        .flatten()
        .filter(|detail| detail.get("ttl").and_then(Value::as_str) == Some("1h"))
        .filter_map(|detail| detail.get("inputTokens")?.as_u64());
    let hour = for_an_hour.fold(0, u64::saturating_add);
    Some(Usage {
        input: tokens("inputTokens") + read + write,
        output: tokens("outputTokens"),
        cached_input: read,
        cache_write: write,
        cache_write_hour: Tokens(hour).min(write),
        tier: tier(value.pointer("/serviceTier/type")),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRORS: [(u16, &str, AttemptOutcome); 10] = [
        (
            403,
            "The security token included in the request is invalid.",
            AttemptOutcome::Auth,
        ),
        (
            404,
            "Could not resolve the foundation model from the provided model identifier.",
            AttemptOutcome::ModelGone,
        ),
        (
            400,
            "The provided model identifier is invalid.",
            AttemptOutcome::ModelGone,
        ),
        (
            400,
            "Invocation of model ID x with on-demand throughput isn't supported.",
            AttemptOutcome::ModelGone,
        ),
        (
            400,
            "A conversation must start with a user message.",
            AttemptOutcome::Rejected,
        ),
        (408, "Model timed out", AttemptOutcome::ServerError),
        (
            424,
            "The model returned an error",
            AttemptOutcome::ServerError,
        ),
        (
            429,
            "Too many requests, please wait before trying again.",
            AttemptOutcome::Throttled,
        ),
        (
            429,
            "Too many tokens per day, please wait before trying again.",
            AttemptOutcome::Quota,
        ),
        (
            503,
            "Bedrock is unable to process your request.",
            AttemptOutcome::Overloaded,
        ),
    ];

    #[test]
    fn errors_are_sorted_by_whose_fault_they_are() {
        for (status, message, expected) in ERRORS {
            for name in ["message", "Message"] {
                let body = serde_json::json!({name: message}).to_string();
                let error = decode_error(status, body.as_bytes());
                assert_eq!(error.outcome, expected, "{status} {message}");
                assert_eq!(
                    error.message.is_some(),
                    expected == AttemptOutcome::Rejected,
                    "{message}"
                );
            }
        }
        let long = decode_error(
            400,
            br#"{"message":"Input is too long for requested model."}"#,
        );
        assert_eq!(long.kind, FailureKind::ContextLengthExceeded);
        let refused = decode_error(
            403,
            br#"{"message":"You don't have access to the model with the specified model ID."}"#,
        );
        assert!(refused.model_only);
    }

    #[test]
    fn s11_exceptions_in_a_stream_are_sorted_by_their_names() {
        use AttemptOutcome as O;
        for (name, told, expected) in [
            ("throttlingException", "{}", O::Throttled),
            ("serviceUnavailableException", "{}", O::Overloaded),
            ("internalServerException", "{}", O::ServerError),
            ("validationException", r#"{"message":"no"}"#, O::Rejected),
            (
                "modelStreamErrorException",
                r#"{"originalStatusCode":429}"#,
                O::Throttled,
            ),
            (
                "modelStreamErrorException",
                r#"{"originalStatusCode":400}"#,
                O::ServerError,
            ),
            ("", "{}", O::ServerError),
        ] {
            let value = serde_json::from_str(told).unwrap();
            assert_eq!(exception(name, &value).outcome(), expected, "{name} {told}");
        }
    }
}
