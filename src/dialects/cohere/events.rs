//! Cohere's stream as canonical events.

use serde_json::Value;

use super::answer::{ended, said};
use crate::dialects::citations::{self, sources};
use crate::dialects::openai::outcome_of;
use crate::dialects::sse::Event;
use crate::domain::StreamFault;
use crate::domain::chat::ChatEvent;

#[derive(Debug, Default)]
pub struct EventDecoder {
    calls: u32,
    open: Option<Call>,
}

/// A call whose arguments may go on.
#[derive(Debug)]
struct Call {
    index: u32,
    /// Arguments that may yet turn out to be `null`, which means none.
    held: String,
    /// Whether any were said.
    said: bool,
}

impl Call {
    fn more(&mut self, fragment: &str, events: &mut Vec<ChatEvent>) {
        self.held.push_str(fragment);
        if !"null".starts_with(self.held.trim()) {
            let fragment = std::mem::take(&mut self.held);
            let index = self.index;
            events.push(ChatEvent::ToolArguments { index, fragment });
            self.said = true;
        }
    }

    fn end(self, events: &mut Vec<ChatEvent>) {
        if !self.said {
            let (index, fragment) = (self.index, arguments(&self.held));
            events.push(ChatEvent::ToolArguments { index, fragment });
        }
    }
}

/// The arguments of a call; none are an empty object.
pub(super) fn arguments(text: &str) -> String {
    match text.trim() {
        "" | "null" => "{}".to_owned(),
        _ => text.to_owned(),
    }
}

impl EventDecoder {
    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        if event.data.is_empty() || &event.data[..] == b"[DONE]" {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(&event.data)
            .map_err(|_| StreamFault::Malformed("an event is not JSON"))?;
        let Some(kind) = value.get("type").and_then(Value::as_str) else {
            return Err(match value.get("message").or(value.get("error")) {
                Some(error) => outcome_of(error).into(),
                None => StreamFault::Malformed("an event does not fit the protocol"),
            });
        };
        let message = value.pointer("/delta/message");
        let text = |pointer: &str| message.and_then(|message| message.pointer(pointer)?.as_str());
        match kind {
            "message-start" => {
                let id = value.get("id").and_then(Value::as_str);
                events.push(ChatEvent::Start {
                    id: id.unwrap_or_default().to_owned(),
                    model: String::new(),
                });
            }
            "content-start" | "content-delta" => {
                said(text("/content/thinking"), events, |text| {
                    ChatEvent::Thinking { text }
                });
                said(text("/content/text"), events, |text| ChatEvent::Text {
                    text,
                });
            }
            // What the model says before it calls.
            "tool-plan-delta" => said(text("/tool_plan"), events, |text| ChatEvent::Text { text }),
            "tool-call-start" => {
                let name = text("/tool_calls/function/name").unwrap_or_default();
                self.call_starts(text("/tool_calls/id").unwrap_or_default(), name, events)?;
                let first = text("/tool_calls/function/arguments");
                self.call_goes_on(first.unwrap_or_default(), events)?;
            }
            "tool-call-delta" => {
                let more = text("/tool_calls/function/arguments");
                self.call_goes_on(more.unwrap_or_default(), events)?;
            }
            "tool-call-end" => self.call_ends(events),
            "message-end" => {
                self.call_ends(events);
                let delta = value.get("delta").unwrap_or(&Value::Null);
                if let Some(error) = delta.get("error").filter(|error| !error.is_null()) {
                    return Err(outcome_of(error).into());
                }
                ended(delta, events)?;
                events.push(ChatEvent::Done);
            }
            "citation-start" => {
                let cited = message.and_then(|message| message.get("citations"));
                events.extend(citations::events(cited.map(sources).unwrap_or_default()));
            }
            // Ends of blocks, and whatever the protocol will grow.
            _ => {}
        }
        Ok(())
    }

    fn call_starts(
        &mut self,
        id: &str,
        name: &str,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        self.call_ends(events);
        if name.is_empty() {
            return Err(StreamFault::Malformed("a call names no function"));
        }
        let index = self.calls;
        self.calls += 1;
        events.push(ChatEvent::ToolCall {
            index,
            id: id.to_owned(),
            name: name.to_owned(),
            signature: None,
        });
        self.open = Some(Call {
            index,
            held: String::new(),
            said: false,
        });
        Ok(())
    }

    fn call_goes_on(
        &mut self,
        fragment: &str,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        let call = self.open.as_mut().ok_or(StreamFault::Malformed(
            "arguments belong to no call that began",
        ))?;
        call.more(fragment, events);
        Ok(())
    }

    fn call_ends(&mut self, events: &mut Vec<ChatEvent>) {
        if let Some(call) = self.open.take() {
            call.end(events);
        }
    }
}
