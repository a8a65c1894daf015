//! The responses API's stream as canonical events.

use serde_json::Value;

use super::answer::{is_trace, stop_of, thought, usage};
use super::items::signature;
use crate::dialects::AnswerFault;
use crate::dialects::citations::annotation;
use crate::dialects::fields::call_arguments;
use crate::dialects::logprobs;
use crate::dialects::openai::outcome_of;
use crate::dialects::sequence::{Arrival, Sequence};
use crate::dialects::sse::Event;
use crate::domain::StreamFault;
use crate::domain::chat::ChatEvent;

/// A call under way.
#[derive(Clone, Copy, Debug)]
struct Call {
    output_index: u64,
    /// Whether it has had any arguments.
    arguments: bool,
}

#[derive(Debug, Default)]
pub struct EventDecoder {
    /// Calls in the order they began; their place is their index.
    calls: Vec<Call>,
    sequence: Sequence,
    /// The places in the output that have begun.
    items: Vec<u64>,
    /// Whether the last event had been said before (fault S13).
    repeated: bool,
    /// The last event's own, if it has one; what is no event of the protocol leaves it.
    number: Option<u64>,
    /// Whether the reasoning item under way has said anything.
    thought: bool,
    started: bool,
    /// Whether the message under way has said anything.
    spoke: bool,
}

const ODD: StreamFault = StreamFault::Malformed("an event does not fit the protocol");

impl EventDecoder {
    pub fn is_repeated(&self) -> bool {
        self.repeated
    }

    pub fn number(&self) -> Option<u64> {
        self.number
    }

    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        // Some readers expect chat's own end, so some servers write it.
        if event.data.is_empty() || &event.data[..] == b"[DONE]" {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(&event.data)
            .map_err(|_| StreamFault::Malformed("an event is not JSON"))?;
        self.number = value.get("sequence_number").and_then(Value::as_u64);
        self.repeated = self.sequence.arrives(self.number, &event.data)? == Arrival::Again;
        if self.repeated {
            return Ok(());
        }
        let kind = value.get("type").and_then(Value::as_str).ok_or(ODD)?;
        let text = |name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(value.get("response"), events);
            }
            "response.output_item.added" => self.item_begins(&value, events)?,
            kind if kind.ends_with(".delta") && !self.is_known(&value) => return Err(ODD),
            "response.output_text.delta" => {
                let text = text("delta");
                events.extend(logprobs::event(logprobs::read(value.get("logprobs"))));
                self.say(ChatEvent::Text { text }, events);
            }
            "response.refusal.delta" => {
                let text = text("delta");
                self.say(ChatEvent::Refusal { text }, events);
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.thought = true;
                events.push(ChatEvent::Thinking {
                    text: text("delta"),
                });
            }
            "response.function_call_arguments.delta" => {
                let fragment = call_arguments(value.get("delta")).ok_or(ODD)?;
                self.arguments(&value, fragment, events)?;
            }
            "response.function_call_arguments.done" => {
                let whole = call_arguments(value.get("arguments")).ok_or(ODD)?;
                self.arguments_end(&value, whole, events)?;
            }
            "response.output_text.annotation.added" => {
                let citation = value.get("annotation").map(annotation);
                events.extend(citation.map(|citation| ChatEvent::Citation { citation }));
            }
            "response.output_item.done" => self.item_ends(&value, events)?,
            "response.completed" | "response.incomplete" => self.end(&value, events)?,
            "response.failed" | "error" => return Err(failed(kind, &value)),
            "response.custom_tool_call_input.delta"
            | "response.image_generation_call.partial_image" => {
                events.push(ChatEvent::Foreign {
                    bytes: event.data.len(),
                });
            }
            // Beginnings and ends of parts, traces of the provider's own tools, and whatever will come.
            _ => {}
        }
        Ok(())
    }

    /// A piece of an item that never began belongs to nothing (fault S13).
    fn is_known(&self, value: &Value) -> bool {
        let index = value.get("output_index").and_then(Value::as_u64);
        index.is_none_or(|index| self.items.contains(&index))
    }

    fn start(&mut self, response: Option<&Value>, events: &mut Vec<ChatEvent>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let text = |name: &str| {
            let text = response.and_then(|response| response.get(name)?.as_str());
            text.unwrap_or_default().to_owned()
        };
        events.push(ChatEvent::Start {
            id: text("id"),
            model: text("model"),
        });
    }

    fn item_begins(
        &mut self,
        value: &Value,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        (self.thought, self.spoke) = (false, false);
        if let Some(index) = value.get("output_index").and_then(Value::as_u64) {
            self.items.push(index);
        }
        let item = value.get("item").ok_or(ODD)?;
        if item.get("type").and_then(Value::as_str) != Some("function_call") {
            return Ok(());
        }
        let text = |name: &str| {
            let text = item.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let output_index = value.get("output_index").and_then(Value::as_u64);
        events.push(ChatEvent::ToolCall {
            index: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            id: text("call_id"),
            name: text("name"),
            signature: None,
        });
        self.calls.push(Call {
            output_index: output_index.ok_or(ODD)?,
            arguments: false,
        });
        Ok(())
    }

    /// Ids may change on the way through some proxies; the place in the output does not.
    fn call(&mut self, value: &Value) -> Result<(u32, &mut Call), StreamFault> {
        let wanted = value.get("output_index").and_then(Value::as_u64);
        let found = self
            .calls
            .iter_mut()
            .enumerate()
            .find(|(_, call)| Some(call.output_index) == wanted);
        let (place, call) = found.ok_or(ODD)?;
        Ok((u32::try_from(place).unwrap_or(u32::MAX), call))
    }

    fn arguments(
        &mut self,
        value: &Value,
        fragment: String,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        let (index, call) = self.call(value)?;
        if !fragment.is_empty() {
            call.arguments = true;
            events.push(ChatEvent::ToolArguments { index, fragment });
        }
        Ok(())
    }

    /// A server may say the arguments only once, at the end.
    fn arguments_end(
        &mut self,
        value: &Value,
        whole: String,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        let (index, call) = self.call(value)?;
        if !std::mem::replace(&mut call.arguments, true) {
            let fragment = if whole.is_empty() {
                "{}".to_owned()
            } else {
                whole
            };
            events.push(ChatEvent::ToolArguments { index, fragment });
        }
        Ok(())
    }

    fn say(&mut self, words: ChatEvent, events: &mut Vec<ChatEvent>) {
        self.spoke = true;
        events.push(words);
    }

    /// What no delta said is said here, once.
    fn item_ends(&mut self, value: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let Some(item) = value.get("item") else {
            return Ok(());
        };
        match item.get("type").and_then(Value::as_str) {
            Some("reasoning") => self.reasoning_ends(item, events),
            Some("function_call") => {
                let arguments = call_arguments(item.get("arguments")).ok_or(ODD)?;
                self.arguments_end(value, arguments, events)?;
            }
            Some("message") if !std::mem::take(&mut self.spoke) => {
                let content = item.get("content").and_then(Value::as_array);
                for part in content.into_iter().flatten() {
                    events.extend(logprobs::event(logprobs::read(part.get("logprobs"))));
                    let text = |name: &str| part.get(name).and_then(Value::as_str);
                    let words = text("text").map(|text| ChatEvent::Text { text: text.into() });
                    let refusal =
                        text("refusal").map(|text| ChatEvent::Refusal { text: text.into() });
                    events.extend(words.or(refusal));
                }
            }
            Some(kind) if is_trace(kind) => events.push(ChatEvent::Trace),
            _ => {}
        }
        Ok(())
    }

    fn reasoning_ends(&mut self, item: &Value, events: &mut Vec<ChatEvent>) {
        let text = thought(item);
        if !std::mem::take(&mut self.thought) && !text.is_empty() {
            events.push(ChatEvent::Thinking { text });
        }
        events.extend(signature(item).map(|signature| ChatEvent::Signed { signature }));
    }

    fn end(&mut self, value: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let response = value.get("response").ok_or(ODD)?;
        let stop = stop_of(response, !self.calls.is_empty()).map_err(|fault| match fault {
            AnswerFault::Disguised(error) => error.into(),
            AnswerFault::Empty(_)
            | AnswerFault::Malformed(_)
            | AnswerFault::Unoffered
            | AnswerFault::Untranslatable(_) => ODD,
        })?;
        events.push(ChatEvent::Stop { reason: stop });
        events.extend(usage(response).map(|usage| ChatEvent::Usage { usage }));
        events.push(ChatEvent::Done);
        Ok(())
    }
}

/// An error stands in the response, in the event, or is the event.
fn failed(kind: &str, value: &Value) -> StreamFault {
    let error = if kind == "error" {
        let error = value.get("error").filter(|error| error.is_object());
        error.unwrap_or(value)
    } else {
        value.pointer("/response/error").unwrap_or(&Value::Null)
    };
    outcome_of(error).into()
}
