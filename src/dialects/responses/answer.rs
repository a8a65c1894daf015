//! A whole response object.

use serde_json::Value;

use super::items::signature;
use crate::dialects::citations::annotation;
use crate::dialects::fields::{call_arguments, tier};
use crate::dialects::json::scan_object;
use crate::dialects::logprobs;
use crate::dialects::openai::outcome_of;
use crate::dialects::{AnswerFault, UpstreamError};
use crate::domain::chat::{ChatAnswer, Citation, Part, StopReason, TokenLogprob};
use crate::domain::{AttemptOutcome, Tokens, Usage};

pub fn decode_answer(body: &[u8]) -> Result<ChatAnswer, AnswerFault> {
    scan_object(body).map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    let value: Value = serde_json::from_slice(body)
        .map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(AnswerFault::Disguised(outcome_of(error)));
    }
    let Some(output) = value.get("output").and_then(Value::as_array) else {
        return Err(AnswerFault::Empty("the answer has no output"));
    };
    let (mut parts, mut citations, mut foreign) = (Vec::new(), Vec::new(), false);
    for item in output {
        let calls = item.get("type").and_then(Value::as_str) == Some("function_call");
        if calls && call_arguments(item.get("arguments")).is_none() {
            return Err(AnswerFault::Malformed(
                "the arguments of a call are no text",
            ));
        }
        foreign |= !item_parts(item, &mut parts, &mut citations);
    }
    let kind = |item: &Value| item.get("type").and_then(Value::as_str).map(is_trace);
    let traces = output.iter().any(|item| kind(item) == Some(true));
    let calls = parts
        .iter()
        .any(|part| matches!(part, Part::ToolCall { .. }));
    let stop = stop_of(&value, calls)?;
    let may_be_empty = matches!(stop, StopReason::Length | StopReason::ContentFilter);
    if parts.is_empty() && !foreign && !may_be_empty {
        return Err(AnswerFault::Empty("the answer has no output"));
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(ChatAnswer {
        id: text("id").to_owned(),
        model: text("model").to_owned(),
        created: value
            .get("created_at")
            .and_then(Value::as_f64)
            .map_or(0, |at| at.max(0.0) as u64),
        parts,
        stop,
        usage: usage(&value),
        citations,
        foreign,
        traces,
        logprobs: told_tokens(output),
        stop_sequence: None,
    })
}

/// How likely the tokens of all texts were.
fn told_tokens(output: &[Value]) -> Vec<TokenLogprob> {
    let content = output
        .iter()
        .filter_map(|item| item.get("content")?.as_array());
    let told = content.flatten().filter_map(|part| part.get("logprobs"));
    told.flat_map(|list| logprobs::read(Some(list))).collect()
}

/// Why a response ended, from its status.
pub(super) fn stop_of(response: &Value, calls: bool) -> Result<StopReason, AnswerFault> {
    let reason = response.pointer("/incomplete_details/reason");
    match response.get("status").and_then(Value::as_str) {
        Some("completed") | None if calls => Ok(StopReason::ToolCalls),
        Some("completed") | None => Ok(StopReason::End),
        Some("incomplete") => match reason.and_then(Value::as_str) {
            Some("content_filter") => Ok(StopReason::ContentFilter),
            _ => Ok(StopReason::Length),
        },
        Some("failed") => Err(AnswerFault::Disguised(response.get("error").map_or_else(
            || UpstreamError::bare(AttemptOutcome::ServerError),
            outcome_of,
        ))),
        Some(_) => Err(AnswerFault::Malformed("the answer is not finished")),
    }
}

/// Whether an item of this type tells what a tool of the provider's own did; the answer is whole without it.
pub(super) fn is_trace(kind: &str) -> bool {
    !matches!(
        kind,
        "message" | "function_call" | "reasoning" | "custom_tool_call" | "image_generation_call"
    )
}

/// Whether all of the item has a canonical form.
fn item_parts(item: &Value, parts: &mut Vec<Part>, cited: &mut Vec<Citation>) -> bool {
    let text = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    match item.get("type").and_then(Value::as_str).unwrap_or_default() {
        "message" => {
            let content = item.get("content").and_then(Value::as_array);
            for part in content.into_iter().flatten() {
                match part.get("type").and_then(Value::as_str) {
                    Some("output_text") => {
                        let list = part.get("annotations").and_then(Value::as_array);
                        cited.extend(list.into_iter().flatten().map(annotation));
                        parts.push(Part::Text {
                            text: text(part, "text"),
                        });
                    }
                    Some("refusal") => parts.push(Part::Refusal {
                        text: text(part, "refusal"),
                    }),
                    _ => {}
                }
            }
        }
        "function_call" => parts.push(Part::ToolCall {
            id: text(item, "call_id"),
            name: text(item, "name"),
            arguments: text(item, "arguments"),
            signature: None,
        }),
        "reasoning" => {
            let (own, said) = (signature(item), thought(item));
            if own.is_some() || !said.is_empty() {
                parts.push(Part::Thinking {
                    text: said,
                    signature: own,
                });
            }
        }
        "custom_tool_call" | "image_generation_call" => return false,
        // Traces of what the provider's own tools did.
        _ => {}
    }
    true
}

/// Summaries, or the thoughts themselves where a model shows them.
pub(super) fn thought(item: &Value) -> String {
    let texts = |name: &str| {
        let list = item.get(name).and_then(Value::as_array);
        let texts = list.into_iter().flatten();
        let texts: Vec<&str> = texts
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect();
        texts.join("\n\n")
    };
    let summary = texts("summary");
    if summary.is_empty() {
        texts("content")
    } else {
        summary
    }
}

pub(super) fn usage(response: &Value) -> Option<Usage> {
    let value = response.get("usage").filter(|value| value.is_object())?;
    let count = |pointer: &str| {
        let count = value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        Tokens(count.min(100_000_000))
    };
    value.get("input_tokens")?;
    value.get("output_tokens")?;
    let (input, output) = (count("/input_tokens"), count("/output_tokens"));
    Some(Usage {
        input,
        output,
        cached_input: count("/input_tokens_details/cached_tokens").min(input),
        cache_write: count("/input_tokens_details/cache_write_tokens").min(input),
        reasoning: count("/output_tokens_details/reasoning_tokens").min(output),
        tier: tier(response.get("service_tier")),
        ..Usage::default()
    })
}
