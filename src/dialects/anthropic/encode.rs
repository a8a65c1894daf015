//! From the canonical chat to Anthropic's form, for clients who speak it: answers, events, errors.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::delta::{self, Kind};
use crate::dialects::fields::{id_with, is_cut};
use crate::dialects::json::exact;
use crate::dialects::translate::last_text;
use crate::dialects::{AnswerTerms, one_line};
use crate::domain::chat::{ChatAnswer, ChatEvent, Citation, Part, Signature, StopReason};
use crate::domain::{Dialect, Failure, FailureKind, ServiceTier, Tokens, Usage};

fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::End | StopReason::Unknown => "end_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::Length => "max_tokens",
        StopReason::ToolCalls => "tool_use",
        StopReason::ContentFilter => "refusal",
        StopReason::Paused => "pause_turn",
    }
}

/// What was cached stands beside the input here, not in it.
fn usage_value(usage: &Usage) -> Value {
    let cached = usage.cached_input.0.saturating_add(usage.cache_write.0);
    let hour = usage.cache_write_hour.0;
    let mut value = json!({
        "input_tokens": usage.input.0.saturating_sub(cached),
        "cache_creation_input_tokens": usage.cache_write.0,
        "cache_read_input_tokens": usage.cached_input.0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write.0.saturating_sub(hour),
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": usage.output.0,
    });
    // The others are none of its words.
    let tier = usage.tier.and_then(|tier| match tier {
        ServiceTier::Default => Some("standard"),
        ServiceTier::Priority => Some("priority"),
        ServiceTier::Batch => Some("batch"),
        ServiceTier::Flex | ServiceTier::Scale | ServiceTier::Fast => None,
    });
    if let Some(tier) = tier {
        value["service_tier"] = tier.into();
    }
    value
}

fn shown(signature: &Signature) -> String {
    signature.shown(Dialect::Anthropic)
}

/// A thought nobody signed says so: sent back with nothing it would be refused, and with it the whole request.
fn unsigned() -> String {
    shown(&Signature::new(Dialect::Openai, ""))
}

fn message(id: &str, model: &str) -> Value {
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null,
    })
}

/// The arguments as the object they should be; what is another value is said as a text of that name, and not lost.
fn input(arguments: &str) -> Value {
    match exact::read_data(arguments) {
        Ok(value @ Value::Object(_)) => value,
        Ok(Value::Null) => json!({}),
        Err(_) if arguments.trim().is_empty() => json!({}),
        Ok(_) | Err(_) => json!({"arguments": arguments}),
    }
}

/// A source with an address, as one that a search found. What its provider would know it by says that it is
/// another's, so that it is cut out when it comes back.
fn location(citation: &Citation) -> Option<Value> {
    let url = citation.url.as_deref()?;
    Some(json!({
        "type": "web_search_result_location", "url": url, "title": citation.title,
        "cited_text": citation.quote.as_deref().unwrap_or_default(), "encrypted_index": unsigned(),
    }))
}

fn block(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text { text } | Part::Refusal { text } => json!({"type": "text", "text": text}),
        Part::Thinking { text, signature } => json!({
            "type": "thinking", "thinking": text,
            "signature": signature.as_ref().map_or_else(unsigned, shown),
        }),
        Part::RedactedThinking { data } => {
            json!({"type": "redacted_thinking", "data": shown(data)})
        }
        // The limit cut it, as the reason says: half of a call is none.
        Part::ToolCall { arguments, .. } if is_cut(arguments) => return None,
        Part::ToolCall {
            id,
            name,
            arguments,
            signature,
        } => json!({
            "type": "tool_use", "id": id_with(id, signature.as_ref()), "name": name,
            "input": input(arguments),
        }),
        Part::Image { .. }
        | Part::Document { .. }
        | Part::Audio { .. }
        | Part::ToolResult { .. }
        | Part::CachePoint { .. } => return None,
    })
}

/// A whole answer.
pub fn encode_answer(answer: &ChatAnswer, terms: &AnswerTerms) -> Vec<u8> {
    let id = id_of(&answer.id, terms);
    let model = if answer.model.is_empty() {
        &terms.asked
    } else {
        &answer.model
    };
    let mut whole = message(&id, model);
    let mut blocks: Vec<Value> = Vec::with_capacity(answer.parts.len());
    let last_text = last_text(&answer.parts);
    let told: Vec<Value> = answer.citations.iter().filter_map(location).collect();
    for (place, part) in answer.parts.iter().enumerate() {
        let cited = last_text == Some(place) && !told.is_empty();
        blocks.extend(block(part).map(|mut block| {
            if cited {
                block["citations"] = told.clone().into();
            }
            block
        }));
    }
    whole["content"] = blocks.into();
    let refused = |part: &Part| matches!(part, Part::Refusal { .. });
    let stop = if answer.parts.iter().any(refused) {
        StopReason::ContentFilter
    } else {
        answer.stop
    };
    whole["stop_reason"] = stop_reason(stop).into();
    whole["stop_sequence"] = answer.stop_sequence.as_deref().into();
    whole["usage"] = usage_value(&answer.usage.unwrap_or_default());
    one_line(&whole)
}

fn id_of(given: &str, terms: &AnswerTerms) -> String {
    if given.is_empty() {
        format!("msg_{}", terms.request_id)
    } else {
        given.to_owned()
    }
}

/// The block under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// The tool call's own index.
    Tool(u32),
}

/// Writes events with one block open at a time, numbered without gaps, as the protocol wants them.
#[derive(Debug)]
pub struct StreamEncoder {
    terms: AnswerTerms,
    started: bool,
    open: Option<Open>,
    /// Whether the thought under way has its signature.
    signed: bool,
    /// Blocks that were begun.
    blocks: u32,
    stop: Option<StopReason>,
    stop_sequence: Option<String>,
    refused: bool,
    usage: Option<Usage>,
    /// Bytes said so far, for an estimate when usage never comes.
    said: usize,
}

impl StreamEncoder {
    pub fn new(terms: &AnswerTerms) -> Self {
        Self {
            terms: terms.clone(),
            started: false,
            open: None,
            signed: false,
            blocks: 0,
            stop: None,
            stop_sequence: None,
            refused: false,
            usage: None,
            said: 0,
        }
    }

    pub fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start { id, model } => self.start(id, model, out),
            ChatEvent::Text { text } | ChatEvent::Refusal { text } => {
                self.refused |= matches!(event, ChatEvent::Refusal { .. });
                self.said += text.len();
                self.begin(Open::Text, || json!({"type": "text", "text": ""}), out);
                self.more(Kind::Text, text, out);
            }
            ChatEvent::Thinking { text } => {
                self.begin(Open::Thinking, empty_thought, out);
                self.more(Kind::Thinking, text, out);
            }
            ChatEvent::Signed { signature } => {
                self.begin(Open::Thinking, empty_thought, out);
                let delta = json!({"type": "signature_delta", "signature": shown(signature)});
                self.delta(delta, out);
                self.signed = true;
                self.close(out);
            }
            ChatEvent::RedactedThinking { data } => {
                self.close(out);
                let block = json!({"type": "redacted_thinking", "data": shown(data)});
                self.open_block(&block, out);
                self.open = Some(Open::Thinking);
                self.signed = true;
                self.close(out);
            }
            ChatEvent::ToolCall {
                index,
                id,
                name,
                signature,
            } => {
                let id = id_with(id, signature.as_ref());
                let block = || json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.begin(Open::Tool(*index), block, out);
            }
            // Fragments of a call that was closed by another block have no place any more; calls in turns are put in
            // order before.
            ChatEvent::ToolArguments { index, fragment } => {
                if self.open == Some(Open::Tool(*index)) {
                    self.more(Kind::Arguments, fragment, out);
                }
            }
            ChatEvent::Citation { citation } => {
                if let (Some(Open::Text), Some(location)) = (self.open, location(citation)) {
                    self.delta(
                        json!({"type": "citations_delta", "citation": location}),
                        out,
                    );
                }
            }
            ChatEvent::Stop { reason } => self.stop = Some(*reason),
            ChatEvent::Usage { usage } => self.usage = Some(*usage),
            ChatEvent::Logprobs { .. }
            | ChatEvent::Foreign { .. }
            | ChatEvent::Trace
            | ChatEvent::Done => {}
        }
    }

    pub(crate) fn stopped_by(&mut self, stop: &str) {
        self.stop_sequence = Some(stop.to_owned());
    }

    /// The stop reason with the usage, and the terminal event.
    pub fn end(&mut self, out: &mut BytesMut) {
        self.start("", "", out);
        self.close(out);
        let stop = if self.refused {
            Some(StopReason::ContentFilter)
        } else {
            self.stop
        };
        // Nobody said why: no reason is made up (fault S14).
        let reason = stop.map(stop_reason);
        let delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": self.stop_sequence},
            "usage": usage_value(&self.usage.unwrap_or_else(|| self.estimated())),
        });
        write_event("message_delta", &delta, out);
        write_event("message_stop", &json!({"type": "message_stop"}), out);
    }

    /// What nobody counted is not nothing (ground rule G7).
    fn estimated(&self) -> Usage {
        Usage {
            output: Tokens::estimated_from_bytes(self.said),
            ..Usage::default()
        }
    }

    pub fn fail(&self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        write_event("error", &error_value(failure, request_id), out);
    }

    fn start(&mut self, id: &str, model: &str, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let model = if model.is_empty() {
            &self.terms.asked
        } else {
            model
        };
        let mut begun = message(&id_of(id, &self.terms), model);
        // What the prompt cost is known at the end.
        begun["usage"] = usage_value(&Usage::default());
        let event = json!({"type": "message_start", "message": begun});
        write_event("message_start", &event, out);
    }

    fn begin(&mut self, wanted: Open, block: impl FnOnce() -> Value, out: &mut BytesMut) {
        self.start("", "", out);
        if self.open != Some(wanted) {
            self.close(out);
            self.open_block(&block(), out);
            self.open = Some(wanted);
        }
    }

    fn open_block(&mut self, block: &Value, out: &mut BytesMut) {
        self.start("", "", out);
        let event =
            json!({"type": "content_block_start", "index": self.blocks, "content_block": block});
        write_event("content_block_start", &event, out);
        self.blocks += 1;
    }

    fn more(&self, kind: Kind, words: &str, out: &mut BytesMut) {
        delta::write(kind, self.blocks.saturating_sub(1), words, out);
    }

    fn delta(&self, delta: Value, out: &mut BytesMut) {
        let index = self.blocks.saturating_sub(1);
        let event = json!({"type": "content_block_delta", "index": index, "delta": delta});
        write_event("content_block_delta", &event, out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        let signed = std::mem::take(&mut self.signed);
        if self.open == Some(Open::Thinking) && !signed {
            self.delta(
                json!({"type": "signature_delta", "signature": unsigned()}),
                out,
            );
        }
        if self.open.take().is_some() {
            let index = self.blocks.saturating_sub(1);
            let event = json!({"type": "content_block_stop", "index": index});
            write_event("content_block_stop", &event, out);
        }
    }
}

fn empty_thought() -> Value {
    json!({"type": "thinking", "thinking": "", "signature": ""})
}

fn write_event(name: &str, value: &Value, out: &mut BytesMut) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(&one_line(value));
    out.extend_from_slice(b"\n\n");
}

fn error_value(failure: &Failure, request_id: &str) -> Value {
    json!({
        "type": "error",
        "error": {
            "type": error_type(failure.kind),
            "message": failure.shown_message(),
            "code": failure.code(),
            "param": failure.param,
        },
        "request_id": request_id,
    })
}

fn error_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::InvalidRequest
        | FailureKind::ContextLengthExceeded
        | FailureKind::ContentFiltered
        | FailureKind::ContentBlocked
        | FailureKind::MethodNotAllowed
        | FailureKind::RequestTimeout
        | FailureKind::UnsupportedMediaType => "invalid_request_error",
        FailureKind::Conflict => "conflict_error",
        FailureKind::RequestTooLarge => "request_too_large",
        FailureKind::Unauthenticated => "authentication_error",
        FailureKind::Forbidden => "permission_error",
        FailureKind::NotFound | FailureKind::ModelNotFound => "not_found_error",
        FailureKind::RateLimited => "rate_limit_error",
        FailureKind::BudgetExceeded | FailureKind::PriceUnknown => "billing_error",
        FailureKind::Overloaded
        | FailureKind::ShuttingDown
        | FailureKind::NoTarget
        | FailureKind::RegionUnavailable => "overloaded_error",
        FailureKind::DeadlineExceeded | FailureKind::UpstreamStalled => "timeout_error",
        FailureKind::ProviderAuth
        | FailureKind::ProviderQuota
        | FailureKind::AuditUnavailable
        | FailureKind::StoreUnavailable
        | FailureKind::PolicyUnavailable
        | FailureKind::Internal
        | FailureKind::UpstreamFailed
        | FailureKind::UpstreamRejected
        | FailureKind::UpstreamTooLarge
        | FailureKind::UpstreamReset
        | FailureKind::UpstreamTruncated
        | FailureKind::UpstreamMalformed
        | FailureKind::AnswerUntranslatable
        | FailureKind::UpstreamError
        | FailureKind::EgressProxy
        | FailureKind::StreamLimit => "api_error",
    }
}

/// The body of an error answer.
pub fn encode_error(failure: &Failure, request_id: &str) -> Vec<u8> {
    one_line(&error_value(failure, request_id))
}
