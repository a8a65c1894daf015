//! Ollama's stream as canonical events: every line is an answer of its own, its message is the next piece.

use serde_json::Value;

use super::answer::{stop_reason, usage};
use crate::dialects::fields::call_id;
use crate::dialects::json::exact;
use crate::dialects::logprobs;
use crate::dialects::openai::outcome_of;
use crate::dialects::sse::Event;
use crate::domain::StreamFault;
use crate::domain::chat::ChatEvent;

#[derive(Debug, Default)]
pub struct EventDecoder {
    request_id: String,
    started: bool,
    calls: u32,
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
        let value: Value =
            exact::read(&event.data).map_err(|_| StreamFault::Malformed("an event is not JSON"))?;
        self.value(&value, events)
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
                id: String::new(),
                model: text("model").to_owned(),
            });
        }
        events.extend(logprobs::event(logprobs::read(value.get("logprobs"))));
        let done = value.get("done") == Some(&Value::Bool(true));
        match value.get("message").filter(|message| message.is_object()) {
            Some(message) => self.message(message, events)?,
            None if done => {}
            None => return Err(StreamFault::Malformed("an event holds no message")),
        }
        if done {
            let reason = stop_reason(text("done_reason"), self.calls > 0);
            events.push(ChatEvent::Stop { reason });
            events.extend(usage(value).map(|usage| ChatEvent::Usage { usage }));
            events.push(ChatEvent::Done);
        }
        Ok(())
    }

    fn message(&mut self, message: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let text = |name: &str| {
            let text = message.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        events.extend(text("thinking").map(|text| ChatEvent::Thinking { text }));
        events.extend(text("content").map(|text| ChatEvent::Text { text }));
        if message
            .get("images")
            .is_some_and(|images| images.is_array())
        {
            // A picture would be lost without a word.
            events.push(ChatEvent::Foreign { bytes: 1 });
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            self.call(call, events)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let name = call.pointer("/function/name").and_then(Value::as_str);
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(StreamFault::Malformed("a call names no function"));
        };
        let index = self.calls;
        self.calls += 1;
        let id = call_id(call.get("id"), &self.request_id, index);
        events.push(ChatEvent::ToolCall {
            index,
            id,
            name: name.to_owned(),
            signature: None,
        });
        let arguments = call.pointer("/function/arguments");
        let fragment = match arguments {
            Some(Value::Object(_)) => arguments.map(exact::write_data).unwrap_or_default(),
            // Some servers behind this protocol write the text of the object.
            Some(Value::String(text)) if !text.trim().is_empty() => text.clone(),
            _ => "{}".to_owned(),
        };
        events.push(ChatEvent::ToolArguments { index, fragment });
        Ok(())
    }
}
