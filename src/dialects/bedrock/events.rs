//! Bedrock's stream as canonical events.

use serde_json::Value;

use super::answer::{exception, is_media, signature, stop_reason, tool_call, usage};
use crate::dialects::citations::source;
use crate::dialects::frames::EXCEPTION;
use crate::dialects::sse::Event;
use crate::domain::StreamFault;
use crate::domain::chat::ChatEvent;

/// A tool call that may go on.
#[derive(Debug)]
struct Call {
    /// Its block, as the stream counts them.
    block: u64,
    index: u32,
    /// Whether any arguments were said.
    said: bool,
}

#[derive(Debug, Default)]
pub struct EventDecoder {
    calls: u32,
    open: Vec<Call>,
    stopped: bool,
    metered: bool,
}

const ODD: StreamFault = StreamFault::Malformed("an event does not fit the protocol");

impl EventDecoder {
    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let name = event.name.as_deref().unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| ODD)?;
        let value: Value = serde_json::from_slice(&event.data).unwrap_or(Value::Null);
        if let Some(name) = name.strip_prefix(EXCEPTION) {
            return Err(exception(name, &value));
        }
        if !value.is_object() {
            return Err(StreamFault::Malformed("an event is not JSON"));
        }
        match name {
            "messageStart" => events.push(ChatEvent::Start {
                id: String::new(),
                model: String::new(),
            }),
            "contentBlockStart" => self.block_starts(&value, events)?,
            "contentBlockDelta" => self.delta(&value, events)?,
            "contentBlockStop" => {
                let block = block_of(&value)?;
                self.block_ends(|call| call.block == block, events);
            }
            "messageStop" => {
                self.block_ends(|_| true, events);
                let reason = value.get("stopReason").and_then(Value::as_str);
                let reason = stop_reason(reason.unwrap_or_default())?;
                events.push(ChatEvent::Stop { reason });
                self.stopped = true;
                self.may_be_done(events);
            }
            "metadata" => {
                events.extend(usage(&value).map(|usage| ChatEvent::Usage { usage }));
                self.metered = true;
                self.may_be_done(events);
            }
            // Whatever the protocol will grow.
            _ => {}
        }
        Ok(())
    }

    /// What it took comes behind the end, and from some models before it.
    fn may_be_done(&self, events: &mut Vec<ChatEvent>) {
        if self.stopped && self.metered {
            events.push(ChatEvent::Done);
        }
    }

    fn block_starts(
        &mut self,
        value: &Value,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        let start = value.get("start").unwrap_or(&Value::Null);
        if let Some(call) = start.get("toolUse") {
            let index = self.calls;
            self.calls += 1;
            events.push(tool_call(index, call)?);
            self.open.push(Call {
                block: block_of(value)?,
                index,
                said: false,
            });
        } else if is_media(start) {
            // A picture would be lost without a word.
            events.push(ChatEvent::Foreign { bytes: 1 });
        }
        Ok(())
    }

    fn delta(&mut self, value: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let delta = value.get("delta").ok_or(ODD)?;
        let text = |pointer: &str| {
            let text = delta.pointer(pointer).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        events.extend(text("/text").map(|text| ChatEvent::Text { text }));
        events.extend(text("/reasoningContent/text").map(|text| ChatEvent::Thinking { text }));
        let signed = text("/reasoningContent/signature");
        let signed = signature(signed.as_deref());
        events.extend(signed.map(|signature| ChatEvent::Signed { signature }));
        let hidden = text("/reasoningContent/redactedContent");
        let hidden = signature(hidden.as_deref());
        events.extend(hidden.map(|data| ChatEvent::RedactedThinking { data }));
        let cited = delta.get("citation").map(|one| source(one, None));
        events.extend(cited.map(|citation| ChatEvent::Citation { citation }));
        if delta.get("toolUse").is_some() {
            let block = block_of(value)?;
            let call = self.open.iter_mut().find(|call| call.block == block);
            let call = call.ok_or(ODD)?;
            if let Some(fragment) = text("/toolUse/input") {
                call.said = true;
                let index = call.index;
                events.push(ChatEvent::ToolArguments { index, fragment });
            }
        }
        if is_media(delta) {
            events.push(ChatEvent::Foreign { bytes: 1 });
        }
        Ok(())
    }

    fn block_ends(&mut self, ends: impl Fn(&Call) -> bool, events: &mut Vec<ChatEvent>) {
        self.open.retain(|call| {
            let ends = ends(call);
            if ends && !call.said {
                let (index, fragment) = (call.index, "{}".to_owned());
                events.push(ChatEvent::ToolArguments { index, fragment });
            }
            !ends
        });
    }
}

fn block_of(value: &Value) -> Result<u64, StreamFault> {
    value
        .get("contentBlockIndex")
        .and_then(Value::as_u64)
        .ok_or(ODD)
}
