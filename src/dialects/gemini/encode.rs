//! From the canonical chat to Google's form, for clients who speak it: answers, events, errors.
//!
//! The SDK's reader of streams is strict: nothing but `data: ` lines, no comments and no names.

use bytes::BytesMut;
use serde_json::{Value, json};

use crate::dialects::fields::is_cut;
use crate::dialects::json::exact;
use crate::dialects::logprobs;
use crate::dialects::{AnswerTerms, one_line};
use crate::domain::chat::{
    ChatAnswer, ChatEvent, Citation, Part, Signature, StopReason, TokenLogprob,
};
use crate::domain::{Dialect, Failure, FailureKind, Usage};

fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        // Calls have no reason of their own here.
        StopReason::End
        | StopReason::StopSequence
        | StopReason::ToolCalls
        | StopReason::Paused
        | StopReason::Unknown => "STOP",
        StopReason::Length => "MAX_TOKENS",
        StopReason::ContentFilter => "SAFETY",
    }
}

fn usage_value(usage: &Usage) -> Value {
    json!({
        "promptTokenCount": usage.input.0,
        "cachedContentTokenCount": usage.cached_input.0,
        "candidatesTokenCount": usage.output.0.saturating_sub(usage.reasoning.0),
        "thoughtsTokenCount": usage.reasoning.0,
        "totalTokenCount": usage.total().0,
    })
}

fn signed(mut part: Value, signature: Option<&Signature>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.shown(Dialect::Gemini).into();
    }
    part
}

/// Google's own word for a call that is not whole, which is not said itself then (fault S17).
const CUT_CALL: &str = "MALFORMED_FUNCTION_CALL";

/// How the answer ended; a limit or a filter explains a cut call by itself.
fn ended(stop: StopReason, cut: bool) -> &'static str {
    if cut && !stop.may_cut() {
        CUT_CALL
    } else {
        finish_reason(stop)
    }
}

/// Nothing but what it is known by again.
fn redacted(data: &Signature) -> Value {
    signed(json!({"text": ""}), Some(&Signature::of_redacted(data)))
}

fn call(id: &str, name: &str, arguments: &str, signature: Option<&Signature>) -> Value {
    let args = match exact::read_data(arguments) {
        Ok(value @ Value::Object(_)) => value,
        Ok(Value::Null) => json!({}),
        Err(_) if arguments.trim().is_empty() => json!({}),
        Ok(_) | Err(_) => json!({"arguments": arguments}),
    };
    let part = json!({"functionCall": {"id": id, "name": name, "args": args}});
    signed(part, signature)
}

fn part(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text { text } | Part::Refusal { text } => json!({"text": text}),
        Part::Thinking { text, signature } if text.is_empty() => {
            signed(json!({"text": ""}), Some(signature.as_ref()?))
        }
        Part::Thinking { text, signature } => {
            signed(json!({"text": text, "thought": true}), signature.as_ref())
        }
        Part::ToolCall { arguments, .. } if is_cut(arguments) => return None,
        Part::ToolCall {
            id,
            name,
            arguments,
            signature,
        } => call(id, name, arguments, signature.as_ref()),
        Part::RedactedThinking { data } => redacted(data),
        Part::Image { .. }
        | Part::Document { .. }
        | Part::Audio { .. }
        | Part::ToolResult { .. }
        | Part::CachePoint { .. } => return None,
    })
}

fn spoken(part: &Part) -> Option<&str> {
    if let Part::Text { text } = part {
        Some(text)
    } else {
        None
    }
}

/// The sources with an address, and the pieces of the text they stand for, which are told in bytes here.
fn grounding(citations: &[Citation], said: &str) -> Option<Value> {
    let (mut chunks, mut supports) = (Vec::new(), Vec::new());
    for citation in citations {
        let Some(url) = citation.url.as_deref() else {
            continue;
        };
        let title = citation.title.as_deref().unwrap_or(url);
        chunks.push(json!({"web": {"uri": url, "title": title}}));
        if let Some((start, end)) = citation.span {
            let (start, end) = (bytes_of(said, start), bytes_of(said, end));
            let segment = json!({
                "startIndex": start, "endIndex": end, "text": said.get(start..end).unwrap_or_default(),
            });
            supports.push(json!({"segment": segment, "groundingChunkIndices": [chunks.len() - 1]}));
        }
    }
    (!chunks.is_empty()).then(|| json!({"groundingChunks": chunks, "groundingSupports": supports}))
}

fn bytes_of(said: &str, characters: u64) -> usize {
    let characters = usize::try_from(characters).unwrap_or(usize::MAX);
    let found = said.char_indices().nth(characters);
    found.map_or(said.len(), |(place, _)| place)
}

/// A whole answer.
pub fn encode_answer(answer: &ChatAnswer, terms: &AnswerTerms) -> Vec<u8> {
    let parts: Vec<Value> = answer.parts.iter().filter_map(part).collect();
    let refused = |part: &Part| matches!(part, Part::Refusal { .. });
    let cut = |part: &Part| matches!(part, Part::ToolCall { arguments, .. } if is_cut(arguments));
    let stop = if answer.parts.iter().any(refused) {
        StopReason::ContentFilter
    } else {
        answer.stop
    };
    let mut whole = json!({
        "candidates": [{
            "content": {"role": "model", "parts": parts},
            "finishReason": ended(stop, answer.parts.iter().any(cut)),
            "index": 0,
        }],
        "modelVersion": model(&answer.model, terms),
        "responseId": id(&answer.id, terms),
    });
    if !answer.logprobs.is_empty() {
        whole["candidates"][0]["logprobsResult"] = logprobs::for_candidate(&answer.logprobs);
    }
    let said: String = answer.parts.iter().filter_map(spoken).collect();
    if let Some(grounding) = grounding(&answer.citations, &said) {
        whole["candidates"][0]["groundingMetadata"] = grounding;
    }
    if let Some(usage) = &answer.usage {
        whole["usageMetadata"] = usage_value(usage);
    }
    one_line(&whole)
}

fn model<'a>(given: &'a str, terms: &'a AnswerTerms) -> &'a str {
    if given.is_empty() {
        &terms.asked
    } else {
        given
    }
}

fn id<'a>(given: &'a str, terms: &'a AnswerTerms) -> &'a str {
    if given.is_empty() {
        &terms.request_id
    } else {
        given
    }
}

/// A call whose arguments still come.
#[derive(Debug)]
struct OpenCall {
    index: u32,
    id: String,
    name: String,
    arguments: String,
    signature: Option<Signature>,
}

/// Writes an answer a chunk; a call is said at once, when it is whole.
#[derive(Debug)]
pub struct StreamEncoder {
    terms: AnswerTerms,
    id: String,
    model: String,
    calls: Vec<OpenCall>,
    stop: Option<StopReason>,
    refused: bool,
    usage: Option<Usage>,
    citations: Vec<Citation>,
    /// The text so far: the places of sources in it are told at the end.
    said: String,
    /// Of the next piece of text.
    logprobs: Vec<TokenLogprob>,
}

impl StreamEncoder {
    pub fn new(terms: &AnswerTerms) -> Self {
        Self {
            id: terms.request_id.clone(),
            model: terms.asked.clone(),
            terms: terms.clone(),
            calls: Vec::new(),
            stop: None,
            refused: false,
            usage: None,
            citations: Vec::new(),
            said: String::new(),
            logprobs: Vec::new(),
        }
    }

    pub fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Start {
                id: given,
                model: named,
            } => {
                self.id = id(given, &self.terms).to_owned();
                self.model = model(named, &self.terms).to_owned();
            }
            ChatEvent::Text { text } | ChatEvent::Refusal { text } => {
                self.refused |= matches!(event, ChatEvent::Refusal { .. });
                self.said.push_str(text);
                let mut candidate = candidate(json!({"text": text}));
                if !self.logprobs.is_empty() {
                    let told = std::mem::take(&mut self.logprobs);
                    candidate["logprobsResult"] = logprobs::for_candidate(&told);
                }
                write_data(&self.chunk(candidate), out);
            }
            ChatEvent::Thinking { text } => {
                self.say(json!({"text": text, "thought": true}), out);
            }
            ChatEvent::Signed { signature } => {
                self.say(signed(json!({"text": ""}), Some(signature)), out);
            }
            ChatEvent::RedactedThinking { data } => self.say(redacted(data), out),
            ChatEvent::Foreign { .. } | ChatEvent::Trace | ChatEvent::Done => {}
            ChatEvent::Logprobs { tokens } => self.logprobs.extend(tokens.iter().cloned()),
            ChatEvent::ToolCall {
                index,
                id,
                name,
                signature,
            } => self.calls.push(OpenCall {
                index: *index,
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
                signature: signature.clone(),
            }),
            ChatEvent::ToolArguments { index, fragment } => {
                let call = self
                    .calls
                    .iter_mut()
                    .rev()
                    .find(|call| call.index == *index);
                if let Some(call) = call {
                    call.arguments.push_str(fragment);
                }
            }
            ChatEvent::Citation { citation } => self.citations.push(citation.clone()),
            ChatEvent::Stop { reason } => self.stop = Some(*reason),
            ChatEvent::Usage { usage } => self.usage = Some(*usage),
        }
    }

    /// The calls, and the last chunk with reason and usage.
    pub fn end(&mut self, out: &mut BytesMut) {
        let mut cut = false;
        for open in std::mem::take(&mut self.calls) {
            if is_cut(&open.arguments) {
                cut = true;
                continue;
            }
            let part = call(
                &open.id,
                &open.name,
                &open.arguments,
                open.signature.as_ref(),
            );
            self.say(part, out);
        }
        let stop = if self.refused {
            Some(StopReason::ContentFilter)
        } else {
            self.stop
        };
        let mut candidate = json!({
            "content": {"role": "model", "parts": [{"text": ""}]},
        });
        // Where nobody said why, no reason is made up (fault S14).
        if let Some(stop) = stop {
            candidate["finishReason"] = ended(stop, cut).into();
        }
        candidate["index"] = 0.into();
        if let Some(grounding) = grounding(&self.citations, &self.said) {
            candidate["groundingMetadata"] = grounding;
        }
        let mut chunk = self.chunk(candidate);
        chunk["usageMetadata"] = usage_value(&self.usage.unwrap_or_default());
        write_data(&chunk, out);
    }

    pub fn fail(&self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        write_data(&error_value(failure, request_id), out);
    }

    fn say(&self, part: Value, out: &mut BytesMut) {
        write_data(&self.chunk(candidate(part)), out);
    }

    fn chunk(&self, candidate: Value) -> Value {
        json!({"candidates": [candidate], "modelVersion": self.model, "responseId": self.id})
    }
}

fn candidate(part: Value) -> Value {
    json!({"content": {"role": "model", "parts": [part]}, "index": 0})
}

fn write_data(value: &Value, out: &mut BytesMut) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&one_line(value));
    out.extend_from_slice(b"\n\n");
}

fn error_value(failure: &Failure, request_id: &str) -> Value {
    json!({"error": {
        "code": failure.status(),
        "message": failure.shown_message(),
        "status": status(failure.kind),
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": failure.code(),
            "domain": "switchyard",
            "metadata": {"request_id": request_id, "param": failure.param},
        }],
    }})
}

fn status(kind: FailureKind) -> &'static str {
    match kind.status() {
        400 | 405 | 408 | 413 | 415 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        402 | 403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

/// The body of an error answer.
pub fn encode_error(failure: &Failure, request_id: &str) -> Vec<u8> {
    one_line(&error_value(failure, request_id))
}
