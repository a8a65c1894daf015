//! Google's stream as canonical events: every event is an answer of its own, its parts are the next pieces.

use serde_json::Value;

use super::answer::{stop_reason, usage};
use crate::dialects::citations::{self, grounding};
use crate::dialects::fields::call_id;
use crate::dialects::json::exact;
use crate::dialects::logprobs;
use crate::dialects::openai::outcome_of;
use crate::dialects::sse::Event;
use crate::domain::chat::{ChatEvent, Citation, Signature, StopReason};
use crate::domain::{AttemptOutcome, Dialect, StreamFault};

#[derive(Debug, Default)]
pub struct EventDecoder {
    request_id: String,
    started: bool,
    calls: u32,
    stopped: bool,
    /// The text so far: what it is grounded in is told by places in it.
    said: String,
    /// The last that was told of what it is grounded in: later ones hold earlier ones.
    grounds: Vec<Citation>,
}

impl EventDecoder {
    /// `request_id` makes ids of calls that have none unlike those of any other request.
    pub fn new(request_id: &str) -> Self {
        Self {
            request_id: request_id.to_owned(),
            ..Self::default()
        }
    }

    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        if event.data.is_empty() {
            return Ok(());
        }
        let value: Value =
            exact::read(&event.data).map_err(|_| StreamFault::Malformed("an event is not JSON"))?;
        self.value(&value, events)
    }

    /// There is no terminal event: the end behind a finish reason is one.
    pub fn ends(&self, events: &mut Vec<ChatEvent>) {
        if self.stopped {
            events.push(ChatEvent::Done);
        }
    }

    pub(super) fn value(
        &mut self,
        value: &Value,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(outcome_of(error).into());
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        if !std::mem::replace(&mut self.started, true) {
            events.push(ChatEvent::Start {
                id: text("responseId").to_owned(),
                model: text("modelVersion").to_owned(),
            });
        }
        let candidate = value.pointer("/candidates/0");
        let parts = candidate.and_then(|candidate| candidate.pointer("/content/parts"));
        events.extend(logprobs::event(logprobs::of_candidate(candidate)));
        for part in parts.and_then(Value::as_array).into_iter().flatten() {
            self.part(part, events)?;
        }
        let grounds = candidate.map(|candidate| grounding(candidate, &self.said));
        if let Some(grounds) = grounds.filter(|grounds| !grounds.is_empty()) {
            self.grounds = grounds;
        }
        let reason = candidate.and_then(|candidate| candidate.get("finishReason")?.as_str());
        if let Some(reason) = reason {
            let reason = stop_reason(reason, self.calls > 0).ok_or_else(|| failed(reason))?;
            events.extend(citations::events(std::mem::take(&mut self.grounds)));
            self.stop(reason, events);
        } else if candidate.is_none() && value.pointer("/promptFeedback/blockReason").is_some() {
            self.stop(StopReason::ContentFilter, events);
        } else if candidate.is_none() && value.get("usageMetadata").is_none() {
            return Err(StreamFault::Malformed("an event holds no candidate"));
        }
        events.extend(usage(value).map(|usage| ChatEvent::Usage { usage }));
        Ok(())
    }

    fn stop(&mut self, reason: StopReason, events: &mut Vec<ChatEvent>) {
        self.stopped = true;
        events.push(ChatEvent::Stop { reason });
    }

    fn part(&mut self, part: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let signature = part.get("thoughtSignature").and_then(Value::as_str);
        let mut signature = signature.map(|data| Signature::new(Dialect::Gemini, data));
        if let Some(call) = part.get("functionCall") {
            return self.call(call, signature, events);
        }
        let Some(text) = part.get("text").and_then(Value::as_str) else {
            // Code that Google ran is no part of what is said; without a picture the answer would not be whole.
            if part.get("executableCode").is_some() || part.get("codeExecutionResult").is_some() {
                events.push(ChatEvent::Trace);
            } else if part.get("inlineData").is_some() || part.get("fileData").is_some() {
                events.push(ChatEvent::Foreign { bytes: 1 });
            }
            return Ok(());
        };
        if !text.is_empty() {
            let text = text.to_owned();
            events.push(if part.get("thought") == Some(&Value::Bool(true)) {
                ChatEvent::Thinking { text }
            } else {
                self.said.push_str(&text);
                ChatEvent::Text { text }
            });
        }
        events.extend(
            signature
                .take()
                .map(|signature| ChatEvent::Signed { signature }),
        );
        Ok(())
    }

    fn call(
        &mut self,
        call: &Value,
        signature: Option<Signature>,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        let name = call.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            return Err(StreamFault::Malformed("a call names no function"));
        }
        let index = self.calls;
        self.calls += 1;
        let id = call_id(call.get("id"), &self.request_id, index);
        events.push(ChatEvent::ToolCall {
            index,
            id,
            name: name.to_owned(),
            signature,
        });
        let args = call.get("args").filter(|args| args.is_object());
        events.push(ChatEvent::ToolArguments {
            index,
            fragment: args.map_or_else(|| "{}".to_owned(), exact::write_data),
        });
        Ok(())
    }
}

fn failed(reason: &str) -> StreamFault {
    StreamFault::Reported {
        outcome: AttemptOutcome::BadBody,
        message: String::new(),
        code: Some(reason.chars().take(64).collect()),
    }
}
