//! From the canonical chat to OpenAI's form: answers, chunks, errors.

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::domain::chat::{ChatAnswer, ChatEvent, Part, StopReason};
use crate::domain::{Failure, FailureKind, Usage};

fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::End | StopReason::StopSequence | StopReason::Paused => "stop",
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

/// A whole answer.
pub fn encode_answer(answer: &ChatAnswer, created: u64) -> Vec<u8> {
    let (mut content, mut refusal, mut thought) = (None::<String>, None::<String>, None::<String>);
    let mut calls = Vec::new();
    let push = |to: &mut Option<String>, text: &str| to.get_or_insert_default().push_str(text);
    for part in &answer.parts {
        match part {
            Part::Text { text } => push(&mut content, text),
            Part::Refusal { text } => push(&mut refusal, text),
            Part::Thinking { text, .. } => push(&mut thought, text),
            Part::ToolCall { id, name, arguments: text } => calls.push(json!({
                "id": id, "type": "function", "function": {"name": name, "arguments": arguments(text)},
            })),
            Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolResult { .. }
            | Part::RedactedThinking { .. } => {}
        }
    }
    let mut message = json!({"role": "assistant", "content": content, "refusal": refusal});
    if let Some(thought) = thought {
        message["reasoning_content"] = thought.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let created = if answer.created > 0 {
        answer.created
    } else {
        created
    };
    let mut whole = json!({
        "id": answer.id,
        "object": "chat.completion",
        "created": created,
        "model": answer.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(answer.stop),
        }],
    });
    if let Some(usage) = &answer.usage {
        whole["usage"] = usage_value(usage);
    }
    serde_json::to_vec(&whole).unwrap_or_default()
}

/// Writes chunks with one id, one model and one time, as the protocol wants them.
#[derive(Debug)]
pub struct StreamEncoder {
    id: String,
    model: String,
    created: u64,
    include_usage: bool,
    started: bool,
    usage: Option<Usage>,
}

impl StreamEncoder {
    /// `fallback_id` and `asked` stand in until the provider names itself.
    pub fn new(fallback_id: &str, asked: &str, created: u64, include_usage: bool) -> Self {
        Self {
            id: format!("chatcmpl-{fallback_id}"),
            model: asked.to_owned(),
            created,
            include_usage,
            started: false,
            usage: None,
        }
    }

    pub fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
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
            ChatEvent::Text { text } => self.delta(json!({"content": text}), out),
            ChatEvent::Thinking { text } => self.delta(json!({"reasoning_content": text}), out),
            ChatEvent::Refusal { text } => self.delta(json!({"refusal": text}), out),
            ChatEvent::ToolCall { index, id, name } => self.delta(
                json!({"tool_calls": [{
                    "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""},
                }]}),
                out,
            ),
            ChatEvent::ToolArguments { index, fragment } => self.delta(
                json!({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}),
                out,
            ),
            ChatEvent::Stop { reason } => {
                self.start(out);
                self.chunk(&json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish_reason(*reason)}]), out);
            }
            ChatEvent::Usage { usage } => self.usage = Some(*usage),
            ChatEvent::Done => {}
        }
    }

    /// The usage chunk, if asked for, and the terminal event.
    pub fn end(&mut self, out: &mut BytesMut) {
        if let Some(usage) = self.usage.filter(|_| self.include_usage) {
            let mut chunk = self.frame(json!([]));
            chunk["usage"] = usage_value(&usage);
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

    fn delta(&mut self, delta: Value, out: &mut BytesMut) {
        self.start(out);
        self.chunk(
            &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]),
            out,
        );
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

/// JSON on one line, with the two separators escaped that some parsers take for line ends (attack A13).
fn one_line(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string(value).unwrap_or_default();
    if text.contains(['\u{2028}', '\u{2029}', '\u{85}']) {
        return text
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
            .replace('\u{85}', "\\u0085")
            .into_bytes();
    }
    text.into_bytes()
}

/// An error's text is cut to this.
const LONGEST_MESSAGE: usize = 4_096;

fn error_value(failure: &Failure, request_id: &str) -> Value {
    let message: String = failure.message.chars().take(LONGEST_MESSAGE).collect();
    json!({
        "error": {
            "message": message,
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
        FailureKind::Overloaded => "overloaded_error",
        FailureKind::NoTarget
        | FailureKind::ProviderAuth
        | FailureKind::ProviderQuota
        | FailureKind::ShuttingDown
        | FailureKind::AuditUnavailable
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
