//! OpenAI's chunks as canonical events, for a client who speaks another dialect.

use serde_json::Value;

use super::answer::stop_reason;
use super::chunk::read_chunk;
use super::request::call_signature;
use crate::dialects::sse::Event;
use crate::domain::StreamFault;
use crate::domain::chat::ChatEvent;

#[derive(Debug, Default)]
pub struct EventDecoder {
    started: bool,
}

impl EventDecoder {
    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        if &event.data[..] == b"[DONE]" {
            events.push(ChatEvent::Done);
            return Ok(());
        }
        if event.data.is_empty() {
            return Ok(());
        }
        let facts = read_chunk(&event.data)?;
        if !facts.is_carried_whole() {
            return Err(StreamFault::Malformed(
                "a chunk says what cannot be said in the form that was asked for",
            ));
        }
        if facts.is_prelude() {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(&event.data)
            .map_err(|_| StreamFault::Malformed("a chunk is not JSON"))?;
        if !std::mem::replace(&mut self.started, true) {
            let text = |name: &str| {
                value
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            events.push(ChatEvent::Start {
                id: text("id"),
                model: text("model"),
            });
        }
        let delta = value.pointer("/choices/0/delta").unwrap_or(&Value::Null);
        let text = |name: &str| {
            delta
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let thought = text("reasoning_content").or_else(|| text("reasoning"));
        events.extend(thought.map(|text| ChatEvent::Thinking { text }));
        events.extend(text("content").map(|text| ChatEvent::Text { text }));
        events.extend(text("refusal").map(|text| ChatEvent::Refusal { text }));
        for call in delta
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            tool_call(call, events);
        }
        let finish = facts
            .choices
            .first()
            .and_then(|choice| choice.finish.as_deref());
        events.extend(finish.map(|finish| ChatEvent::Stop {
            reason: stop_reason(finish),
        }));
        events.extend(facts.usage.map(|usage| ChatEvent::Usage { usage }));
        Ok(())
    }
}

fn tool_call(call: &Value, events: &mut Vec<ChatEvent>) {
    let index = call
        .get("index")
        .and_then(Value::as_u64)
        .and_then(|index| u32::try_from(index).ok())
        .unwrap_or_default();
    let text = |pointer: &str| {
        call.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if !text("/id").is_empty() || !text("/function/name").is_empty() {
        events.push(ChatEvent::ToolCall {
            index,
            id: text("/id"),
            name: text("/function/name"),
            signature: call_signature(call),
        });
    }
    let fragment = text("/function/arguments");
    if !fragment.is_empty() {
        events.push(ChatEvent::ToolArguments { index, fragment });
    }
}
