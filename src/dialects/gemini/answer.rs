//! A whole answer or error of Google's.

use serde_json::Value;

use super::events::EventDecoder;
use crate::dialects::translate::fold_one;
use crate::dialects::{AnswerFault, UpstreamError, openai};
use crate::domain::chat::{ChatAnswer, StopReason};
use crate::domain::{AttemptOutcome, FailureKind, ServiceTier, Tokens, Usage};

/// The key itself may be refused with a 400, and a spent day may look like a busy minute.
pub fn decode_error(status: u16, body: &[u8]) -> UpstreamError {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    // A stream asked for without `alt=sse` answers with a list.
    let value = value.get(0).cloned().unwrap_or(value);
    let whole = serde_json::to_vec(&value).unwrap_or_default();
    let mut error = openai::decode_error(status, &whole);
    let details = value.pointer("/error/details").and_then(Value::as_array);
    for detail in details.into_iter().flatten() {
        let reason = detail.get("reason").and_then(Value::as_str);
        if reason == Some("API_KEY_INVALID") {
            (error.outcome, error.kind) = (AttemptOutcome::Auth, FailureKind::ProviderAuth);
            (error.message, error.code) = (None, None);
        }
        let violations = detail.get("violations").and_then(Value::as_array);
        let spent = violations.into_iter().flatten().any(|violation| {
            let id = violation.get("quotaId").and_then(Value::as_str);
            id.is_some_and(|id| id.contains("PerDay"))
        });
        if spent && status == 429 {
            (error.outcome, error.kind) = (AttemptOutcome::Quota, FailureKind::ProviderQuota);
        }
    }
    if value
        .pointer("/error/message")
        .and_then(Value::as_str)
        .is_some_and(|message| message.contains("exceeds the maximum number of tokens"))
    {
        (error.outcome, error.kind) =
            (AttemptOutcome::Rejected, FailureKind::ContextLengthExceeded);
    }
    error
}

/// An answer is a stream of one event.
pub fn decode_answer(body: &[u8], request_id: &str) -> Result<ChatAnswer, AnswerFault> {
    let mut decoder = EventDecoder::new(request_id);
    fold_one(body, |value, events| decoder.value(value, events))
}

/// Why an answer ended; `None` where it failed. A reason of tomorrow ends it for clients of this dialect, and
/// nobody else is told that it ended well.
pub(super) fn stop_reason(reason: &str, called: bool) -> Option<StopReason> {
    Some(match reason {
        "STOP" if called => StopReason::ToolCalls,
        "STOP" => StopReason::End,
        "MAX_TOKENS" => StopReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => StopReason::ContentFilter,
        "OTHER"
        | "IMAGE_OTHER"
        | "NO_IMAGE"
        | "FINISH_REASON_UNSPECIFIED"
        | "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE" => return None,
        _ => StopReason::Unknown,
    })
}

/// The lane it was served in: by its own word, or by Vertex AI's for the traffic it counted as.
fn tier(counts: &Value) -> Option<ServiceTier> {
    let word = |name: &str| counts.get(name).and_then(Value::as_str);
    let traffic = word("trafficType").and_then(|traffic| match traffic {
        "ON_DEMAND" => Some(ServiceTier::Default),
        "ON_DEMAND_PRIORITY" => Some(ServiceTier::Priority),
        "ON_DEMAND_FLEX" => Some(ServiceTier::Flex),
        // Bought by the hour beforehand.
        "PROVISIONED_THROUGHPUT" => Some(ServiceTier::Scale),
        _ => None,
    });
    let own = word("serviceTier").map(str::to_ascii_lowercase);
    let own =
        own.and_then(|own| ServiceTier::of(own.strip_prefix("service_tier_").unwrap_or(&own)));
    own.or(traffic)
}

/// Thoughts stand beside the answer here, not in it.
pub(super) fn usage(value: &Value) -> Option<Usage> {
    let counts = value.get("usageMetadata")?;
    let count = |name: &str| {
        let count = counts.get(name).and_then(Value::as_u64).unwrap_or(0);
        Tokens(count.min(100_000_000))
    };
    counts.get("promptTokenCount")?;
    let input = count("promptTokenCount") + count("toolUsePromptTokenCount");
    let thoughts = count("thoughtsTokenCount");
    let modality = |list: &str, wanted: &str| {
        let details = counts.get(list).and_then(Value::as_array);
        let of = details
            .into_iter()
            .flatten()
            .find(|detail| detail.get("modality").and_then(Value::as_str) == Some(wanted));
        let count = of.and_then(|detail| detail.get("tokenCount")?.as_u64());
        Tokens(count.unwrap_or(0))
    };
    Some(Usage {
        input,
        output: count("candidatesTokenCount") + thoughts,
        cached_input: count("cachedContentTokenCount").min(input),
        reasoning: thoughts,
        audio_input: modality("promptTokensDetails", "AUDIO").min(input),
        audio_output: modality("candidatesTokensDetails", "AUDIO"),
        tier: tier(counts),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn m1_the_tier_an_answer_was_served_in_is_read_in_either_of_googles_words() {
        let told = |more: Value| {
            let mut counts = json!({"promptTokenCount": 5, "candidatesTokenCount": 6});
            let members = more.as_object().unwrap().clone();
            counts.as_object_mut().unwrap().extend(members);
            usage(&json!({"usageMetadata": counts})).unwrap().tier
        };
        assert_eq!(told(json!({})), None);
        for (word, tier) in [
            ("standard", ServiceTier::Default),
            ("priority", ServiceTier::Priority),
            ("SERVICE_TIER_FLEX", ServiceTier::Flex),
        ] {
            assert_eq!(told(json!({"serviceTier": word})), Some(tier));
        }
        for (word, tier) in [
            ("ON_DEMAND", Some(ServiceTier::Default)),
            ("ON_DEMAND_PRIORITY", Some(ServiceTier::Priority)),
            ("ON_DEMAND_FLEX", Some(ServiceTier::Flex)),
            ("PROVISIONED_THROUGHPUT", Some(ServiceTier::Scale)),
            ("TRAFFIC_TYPE_UNSPECIFIED", None),
        ] {
            assert_eq!(told(json!({"trafficType": word})), tier);
        }
    }
}
