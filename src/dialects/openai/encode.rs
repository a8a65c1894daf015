//! From the canonical chat to OpenAI's form: answers, chunks, errors.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::plain::Frame;
use crate::dialects::logprobs;
use crate::dialects::{AnswerTerms, one_line};
use crate::domain::chat::{
    ChatAnswer, ChatEvent, Citation, Part, Signature, StopReason, TokenLogprob,
};
use crate::domain::{Dialect, Failure, FailureKind, Usage};

fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::End | StopReason::StopSequence | StopReason::Paused | StopReason::Unknown => {
            "stop"
        }
        StopReason::Length => "length",
        StopReason::ToolCalls => "tool_calls",
        StopReason::ContentFilter => "content_filter",
    }
}

fn usage_value(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input.0,
        "completion_tokens": usage.output.0,
        "total_tokens": usage.total().0,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input.0,
            "cache_write_tokens": usage.cache_write.0,
            "audio_tokens": usage.audio_input.0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning.0,
            "audio_tokens": usage.audio_output.0,
        },
    })
}

/// Arguments as a client may parse them: never empty, never `null`.
fn arguments(text: &str) -> &str {
    if text.is_empty() || text == "null" {
        "{}"
    } else {
        text
    }
}

/// What a client has to send back for the provider to know its own thought again. The field's name is the one
/// that other gateways taught clients.
fn thinking_block(text: &str, signature: &Signature) -> Value {
    let signature = signature.shown(Dialect::Anthropic);
    json!({"type": "thinking", "thinking": text, "signature": signature})
}

fn redacted_block(data: &Signature) -> Value {
    json!({"type": "redacted_thinking", "data": data.shown(Dialect::Anthropic)})
}

/// A source with an address; others have no place here.
fn annotation(citation: &Citation) -> Option<Value> {
    let url = citation.url.as_deref()?;
    let (start, end) = citation.span.unwrap_or_default();
    Some(json!({"type": "url_citation", "url_citation": {
        "start_index": start, "end_index": end, "url": url,
        "title": citation.title.as_deref().unwrap_or(url),
    }}))
}

/// Where Google's own form of this dialect has it.
fn sign_call(call: &mut Value, signature: Option<&Signature>) {
    if let Some(signature) = signature {
        let shown = signature.shown(Dialect::Gemini);
        call["extra_content"] = json!({"google": {"thought_signature": shown}});
    }
}

/// A whole answer.
pub fn encode_answer(answer: &ChatAnswer, terms: &AnswerTerms) -> Vec<u8> {
    let (mut content, mut refusal, mut thought) = (None::<String>, None::<String>, None::<String>);
    let (mut calls, mut blocks) = (Vec::new(), Vec::new());
    let push = |to: &mut Option<String>, text: &str| to.get_or_insert_default().push_str(text);
    for part in &answer.parts {
        match part {
            Part::Text { text } => push(&mut content, text),
            Part::Refusal { text } => push(&mut refusal, text),
            Part::Thinking { text, signature } => {
                push(&mut thought, text);
                if let Some(signature) = signature {
                    blocks.push(thinking_block(text, signature));
                }
            }
            Part::RedactedThinking { data } => blocks.push(redacted_block(data)),
            Part::ToolCall {
                id,
                name,
                arguments: text,
                signature,
            } => {
                let mut call = json!({
                    "id": id, "type": "function", "function": {"name": name, "arguments": arguments(text)},
                });
                sign_call(&mut call, signature.as_ref());
                calls.push(call);
            }
            Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolResult { .. }
            | Part::CachePoint { .. } => {}
        }
    }
    let mut message = json!({"role": "assistant", "content": content, "refusal": refusal});
    if let Some(thought) = thought {
        message["reasoning_content"] = thought.into();
    }
    if !blocks.is_empty() {
        message["thinking_blocks"] = blocks.into();
    }
    let annotations: Vec<Value> = answer.citations.iter().filter_map(annotation).collect();
    if !annotations.is_empty() {
        message["annotations"] = annotations.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    one_line(&around(message, answer, terms))
}

fn around(message: Value, answer: &ChatAnswer, terms: &AnswerTerms) -> Value {
    let created = if answer.created > 0 {
        answer.created
    } else {
        terms.created
    };
    let id = if answer.id.is_empty() {
        format!("chatcmpl-{}", terms.request_id)
    } else {
        answer.id.clone()
    };
    let model = if answer.model.is_empty() {
        &terms.asked
    } else {
        &answer.model
    };
    let mut whole = json!({
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": logprobs::for_choice(&answer.logprobs),
            "finish_reason": finish_reason(answer.stop),
        }],
    });
    if let Some(usage) = &answer.usage {
        whole["usage"] = usage_value(usage);
        if let Some(tier) = usage.tier {
            whole["service_tier"] = tier.word().into();
        }
    }
    whole
}

/// Writes chunks with one id, one model and one time, as the protocol wants them.
#[derive(Debug)]
pub struct StreamEncoder {
    id: String,
    model: String,
    created: u64,
    include_usage: bool,
    started: bool,
    /// Of the chunks behind the first, which say who answers.
    around: Option<Frame>,
    usage: Option<Usage>,
    /// The words of the thought under way, which go with its signature once more: a client puts blocks together by
    /// their number, and a signature holds for its own words only.
    thought: String,
    /// Thoughts that were signed so far.
    blocks: u32,
    /// Told at the end, all at once: a client cannot put two lists of them together.
    annotations: Vec<Value>,
    /// Of the next piece of text.
    logprobs: Vec<TokenLogprob>,
}

impl StreamEncoder {
    /// The request's own id and name of the model stand in until the provider names itself.
    pub fn new(terms: &AnswerTerms) -> Self {
        Self {
            id: format!("chatcmpl-{}", terms.request_id),
            model: terms.asked.clone(),
            created: terms.created,
            include_usage: terms.include_usage,
            started: false,
            around: None,
            usage: None,
            thought: String::new(),
            blocks: 0,
            annotations: Vec::new(),
            logprobs: Vec::new(),
        }
    }

    pub fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        // A thought that something else follows was not signed.
        if matches!(event, ChatEvent::Text { .. } | ChatEvent::ToolCall { .. }) {
            self.thought.clear();
        }
        match event {
            ChatEvent::Start { id, model } => {
                if !self.started && !id.is_empty() {
                    self.id.clone_from(id);
                }
                if !self.started && !model.is_empty() {
                    self.model.clone_from(model);
                }
                self.start(out);
            }
            ChatEvent::Text { text } if self.logprobs.is_empty() => {
                self.around(out).text("content", text, out);
            }
            ChatEvent::Text { text } => {
                let told = logprobs::for_choice(&std::mem::take(&mut self.logprobs));
                self.told_delta(json!({"content": text}), told, out);
            }
            ChatEvent::Logprobs { tokens } => self.logprobs.extend(tokens.iter().cloned()),
            ChatEvent::Thinking { text } => {
                self.thought.push_str(text);
                self.around(out).text("reasoning_content", text, out);
            }
            ChatEvent::Refusal { text } => self.around(out).text("refusal", text, out),
            ChatEvent::Signed { signature } => {
                let text = std::mem::take(&mut self.thought);
                self.block(thinking_block(&text, signature), out);
            }
            ChatEvent::RedactedThinking { data } => self.block(redacted_block(data), out),
            ChatEvent::ToolCall {
                index,
                id,
                name,
                signature,
            } => {
                let mut call = json!({
                    "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""},
                });
                sign_call(&mut call, signature.as_ref());
                self.delta(json!({"tool_calls": [call]}), out);
            }
            ChatEvent::ToolArguments { index, fragment } => {
                self.around(out).arguments(*index, fragment, out);
            }
            ChatEvent::Citation { citation } => self.annotations.extend(annotation(citation)),
            ChatEvent::Stop { reason } => {
                let annotations = std::mem::take(&mut self.annotations);
                if !annotations.is_empty() {
                    self.delta(json!({"annotations": annotations}), out);
                }
                self.start(out);
                self.chunk(&json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish_reason(*reason)}]), out);
            }
            ChatEvent::Usage { usage } => self.usage = Some(*usage),
            ChatEvent::Foreign { .. } | ChatEvent::Trace | ChatEvent::Done => {}
        }
    }

    /// The usage chunk, if asked for, and the terminal event.
    pub fn end(&mut self, out: &mut BytesMut) {
        if let Some(usage) = self.usage.filter(|_| self.include_usage) {
            let mut chunk = self.frame(json!([]));
            chunk["usage"] = usage_value(&usage);
            if let Some(tier) = usage.tier {
                chunk["service_tier"] = tier.word().into();
            }
            write_data(&chunk, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn start(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.started, true) {
            let delta = json!({"role": "assistant", "content": "", "refusal": null});
            self.chunk(
                &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]),
                out,
            );
        }
    }

    /// What stands around the chunks from now on.
    fn around(&mut self, out: &mut BytesMut) -> &Frame {
        self.start(out);
        let of = (self.id.as_str(), self.model.as_str());
        self.around
            .get_or_insert_with(|| Frame::new(of, self.created, self.include_usage))
    }

    fn delta(&mut self, delta: Value, out: &mut BytesMut) {
        self.told_delta(delta, Value::Null, out);
    }

    fn told_delta(&mut self, delta: Value, logprobs: Value, out: &mut BytesMut) {
        self.start(out);
        self.chunk(
            &json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": null}]),
            out,
        );
    }

    fn block(&mut self, mut block: Value, out: &mut BytesMut) {
        block["index"] = self.blocks.into();
        self.blocks = self.blocks.saturating_add(1);
        self.delta(json!({"thinking_blocks": [block]}), out);
    }

    fn chunk(&self, choices: &Value, out: &mut BytesMut) {
        let mut chunk = self.frame(choices.clone());
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        write_data(&chunk, out);
    }

    fn frame(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn write_data(value: &Value, out: &mut BytesMut) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&one_line(value));
    out.extend_from_slice(b"\n\n");
}

fn error_value(failure: &Failure, request_id: &str) -> Value {
    json!({
        "error": {
            "message": failure.shown_message(),
            "type": error_type(failure.kind),
            "param": failure.param,
            "code": failure.code(),
            "request_id": request_id,
        },
    })
}

/// OpenAI's broad classes; the code says the rest.
fn error_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::InvalidRequest
        | FailureKind::ContextLengthExceeded
        | FailureKind::ContentFiltered
        | FailureKind::ContentBlocked
        | FailureKind::Unauthenticated
        | FailureKind::NotFound
        | FailureKind::ModelNotFound
        | FailureKind::MethodNotAllowed
        | FailureKind::RequestTimeout
        | FailureKind::Conflict
        | FailureKind::RequestTooLarge
        | FailureKind::UnsupportedMediaType => "invalid_request_error",
        FailureKind::Forbidden => "permission_error",
        FailureKind::RateLimited => "rate_limit_error",
        FailureKind::BudgetExceeded | FailureKind::PriceUnknown => "budget_exceeded",
        FailureKind::Overloaded => "overloaded_error",
        FailureKind::NoTarget
        | FailureKind::RegionUnavailable
        | FailureKind::ProviderAuth
        | FailureKind::ProviderQuota
        | FailureKind::ShuttingDown
        | FailureKind::AuditUnavailable
        | FailureKind::StoreUnavailable
        | FailureKind::PolicyUnavailable
        | FailureKind::Internal
        | FailureKind::UpstreamFailed
        | FailureKind::UpstreamRejected
        | FailureKind::UpstreamTooLarge
        | FailureKind::EgressProxy
        | FailureKind::DeadlineExceeded
        | FailureKind::UpstreamStalled
        | FailureKind::UpstreamReset
        | FailureKind::UpstreamTruncated
        | FailureKind::UpstreamMalformed
        | FailureKind::AnswerUntranslatable
        | FailureKind::UpstreamError
        | FailureKind::StreamLimit => "server_error",
    }
}

/// The body of an error answer.
pub fn encode_error(failure: &Failure, request_id: &str) -> Vec<u8> {
    one_line(&error_value(failure, request_id))
}

/// The one event that ends a broken stream (ground rule G2).
pub(super) fn write_error_event(failure: &Failure, request_id: &str, out: &mut BytesMut) {
    write_data(&error_value(failure, request_id), out);
}

impl StreamEncoder {
    pub fn fail(&self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        write_error_event(failure, request_id, out);
    }
}
