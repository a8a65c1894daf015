//! A whole answer or error of Anthropic's.

use serde_json::Value;

use crate::dialects::citations::{Said, location};
use crate::dialects::fields::tier;
use crate::dialects::json::{exact, scan_object};
use crate::dialects::{AnswerFault, UpstreamError};
use crate::domain::chat::{ChatAnswer, Citation, Part, Signature, StopReason};
use crate::domain::{Dialect, ServiceTier, Tokens, Usage};

/// The shape of errors differs only in what stands around them.
pub fn decode_error(status: u16, body: &[u8]) -> UpstreamError {
    crate::dialects::openai::decode_error(status, body)
}

/// An answer that ended its turn without a word is decoded as one: see [`ChatAnswer::is_silent`].
pub fn decode_answer(body: &[u8]) -> Result<ChatAnswer, AnswerFault> {
    scan_object(body).map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    let value: Value =
        exact::read(body).map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(AnswerFault::Disguised(crate::dialects::openai::outcome_of(
            error,
        )));
    }
    let Some(content) = value.get("content").and_then(Value::as_array) else {
        return Err(AnswerFault::Empty("the answer has no content"));
    };
    let parts: Vec<Part> = content.iter().filter_map(part).collect();
    let foreign = content.iter().any(is_foreign);
    let citations = cited(content);
    let stop = value
        .get("stop_reason")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Behind the results of tools it may have nothing to add; whether that is so here, its caller knows.
    let may_be_empty = matches!(
        stop,
        "refusal" | "max_tokens" | "stop_sequence" | "end_turn"
    );
    if parts.is_empty() && !foreign && !may_be_empty {
        return Err(AnswerFault::Empty("the answer has no content"));
    }
    let text = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut counts = UsageCounts::default();
    counts.take(value.get("usage"));
    Ok(ChatAnswer {
        id: text("id"),
        model: text("model"),
        created: 0,
        parts,
        stop: stop_reason(stop),
        usage: counts.usage(),
        citations,
        foreign,
        traces: false,
        logprobs: Vec::new(),
        stop_sequence: None,
    })
}

fn cited(content: &[Value]) -> Vec<Citation> {
    let (mut said, mut found) = (Said::default(), Vec::new());
    for block in content {
        said.begins();
        said.more(
            block
                .get("text")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        );
        let list = block.get("citations").and_then(Value::as_array);
        found.extend(
            list.into_iter()
                .flatten()
                .map(|one| location(one, said.piece())),
        );
    }
    found
}

fn part(block: &Value) -> Option<Part> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).map(str::to_owned);
    match block.get("type").and_then(Value::as_str)? {
        "text" => text("text")
            .filter(|text| !text.is_empty())
            .map(|text| Part::Text { text }),
        "tool_use" => Some(Part::ToolCall {
            id: text("id")?,
            name: text("name")?,
            arguments: block
                .get("input")
                .map_or_else(|| "{}".to_owned(), exact::write_data),
            signature: None,
        }),
        "thinking" => Some(Part::Thinking {
            text: text("thinking")?,
            signature: text("signature")
                .filter(|signature| !signature.is_empty())
                .map(signed),
        }),
        "redacted_thinking" => Some(Part::RedactedThinking {
            data: signed(text("data")?),
        }),
        _ => None,
    }
}

/// What a server-side tool did, and whatever the protocol will grow: no canonical form has it.
pub(super) fn is_foreign(block: &Value) -> bool {
    let kind = block.get("type").and_then(Value::as_str);
    !matches!(
        kind,
        Some("text" | "tool_use" | "thinking" | "redacted_thinking")
    )
}

pub(super) fn signed(data: String) -> Signature {
    Signature::new(Dialect::Anthropic, data)
}

pub(super) fn stop_reason(reason: &str) -> StopReason {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolCalls,
        "refusal" => StopReason::ContentFilter,
        "pause_turn" => StopReason::Paused,
        _ => StopReason::End,
    }
}

/// Counts as they come: later ones replace earlier ones, and what is cached stands beside the input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UsageCounts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: u64,
    cache_write: u64,
    cache_write_hour: u64,
    tier: Option<ServiceTier>,
}

impl UsageCounts {
    pub(super) fn take(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        let count = |name: &str| {
            usage
                .get(name)
                .and_then(Value::as_u64)
                .filter(|count| *count < 100_000_000)
        };
        self.input = count("input_tokens").or(self.input);
        self.output = count("output_tokens").or(self.output);
        self.cache_read = count("cache_read_input_tokens").unwrap_or(self.cache_read);
        self.cache_write = count("cache_creation_input_tokens").unwrap_or(self.cache_write);
        self.cache_write_hour = usage
            .pointer("/cache_creation/ephemeral_1h_input_tokens")
            .and_then(Value::as_u64)
            .unwrap_or(self.cache_write_hour)
            .min(self.cache_write);
        self.tier = tier(usage.get("service_tier")).or(self.tier);
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        Some(Usage {
            input: Tokens(self.input? + self.cache_read + self.cache_write),
            output: Tokens(self.output?),
            cached_input: Tokens(self.cache_read),
            cache_write: Tokens(self.cache_write),
            cache_write_hour: Tokens(self.cache_write_hour),
            tier: self.tier,
            ..Usage::default()
        })
    }
}
