//! Anthropic's stream as canonical events.

use serde_json::Value;

use super::answer::{UsageCounts, signed, stop_reason};
use crate::dialects::citations::{Said, location};
use crate::dialects::json::exact;
use crate::dialects::openai::outcome_of;
use crate::dialects::sse::Event;
use crate::domain::StreamFault;
use crate::domain::chat::ChatEvent;

/// What the open content block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    /// The tool call's own index.
    Tool(u32),
    /// Of no interest to the client's dialect.
    Other,
}

#[derive(Debug, Default)]
pub struct EventDecoder {
    block: Option<Block>,
    tools: u32,
    /// Whether the open tool call has had any arguments.
    arguments: bool,
    /// What the open call began with.
    input: Option<String>,
    usage: UsageCounts,
    said: Said,
    /// Sources of the text under way.
    cited: Vec<Value>,
}

const ODD: StreamFault = StreamFault::Malformed("an event does not fit the protocol");

impl EventDecoder {
    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        if event.data.is_empty() {
            return Ok(());
        }
        let value: Value =
            exact::read(&event.data).map_err(|_| StreamFault::Malformed("an event is not JSON"))?;
        let kind = value.get("type").and_then(Value::as_str);
        match kind.ok_or(ODD)? {
            "message_start" => {
                let message = value.get("message").ok_or(ODD)?;
                let text = |name: &str| {
                    message
                        .get(name)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                self.usage.take(message.get("usage"));
                events.push(ChatEvent::Start {
                    id: text("id"),
                    model: text("model"),
                });
            }
            "content_block_start" => self.block_starts(&value, events)?,
            "content_block_delta" => self.delta(value.get("delta").ok_or(ODD)?, events)?,
            "content_block_stop" => self.block_stops(events),
            "message_delta" => {
                self.usage.take(value.get("usage"));
                if let Some(usage) = self.usage.usage() {
                    events.push(ChatEvent::Usage { usage });
                }
                if let Some(reason) = value.pointer("/delta/stop_reason").and_then(Value::as_str) {
                    events.push(ChatEvent::Stop {
                        reason: stop_reason(reason),
                    });
                }
            }
            "message_stop" => events.push(ChatEvent::Done),
            "error" => return Err(outcome_of(value.get("error").unwrap_or(&Value::Null)).into()),
            // Pings, and whatever the protocol will grow.
            _ => {}
        }
        Ok(())
    }

    fn block_starts(
        &mut self,
        value: &Value,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        let block = value.get("content_block").ok_or(ODD)?;
        let text = |name: &str| {
            block
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        self.arguments = false;
        self.block = Some(
            match block.get("type").and_then(Value::as_str).ok_or(ODD)? {
                "text" => {
                    if !text("text").is_empty() {
                        events.push(ChatEvent::Text { text: text("text") });
                    }
                    Block::Text
                }
                "thinking" => {
                    if !text("thinking").is_empty() {
                        events.push(ChatEvent::Thinking {
                            text: text("thinking"),
                        });
                    }
                    Block::Thinking
                }
                "tool_use" => {
                    let index = self.tools;
                    self.tools += 1;
                    events.push(ChatEvent::ToolCall {
                        index,
                        id: text("id"),
                        name: text("name"),
                        signature: None,
                    });
                    // Some calls come whole, with no deltas to follow; whether they do is known at the end.
                    self.input = block
                        .get("input")
                        .filter(|input| input.as_object().is_some_and(|input| !input.is_empty()))
                        .map(exact::write_data);
                    Block::Tool(index)
                }
                "redacted_thinking" => {
                    let data = signed(text("data"));
                    events.push(ChatEvent::RedactedThinking { data });
                    Block::Other
                }
                _ => {
                    let bytes = block.to_string().len();
                    events.push(ChatEvent::Foreign { bytes });
                    Block::Other
                }
            },
        );
        Ok(())
    }

    fn delta(&mut self, delta: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let text = |name: &str| {
            delta
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match (
            delta.get("type").and_then(Value::as_str).ok_or(ODD)?,
            self.block,
        ) {
            ("text_delta", Some(Block::Text)) => {
                let text = text("text");
                self.said.more(&text);
                events.push(ChatEvent::Text { text });
            }
            ("citations_delta", Some(Block::Text)) => {
                self.cited.extend(delta.get("citation").cloned())
            }
            ("thinking_delta", Some(Block::Thinking)) => events.push(ChatEvent::Thinking {
                text: text("thinking"),
            }),
            ("signature_delta", Some(Block::Thinking)) => {
                let signature = signed(text("signature"));
                if !signature.data.is_empty() {
                    events.push(ChatEvent::Signed { signature });
                }
            }
            ("input_json_delta", Some(Block::Tool(index))) => {
                let fragment = text("partial_json");
                if !fragment.is_empty() {
                    self.arguments = true;
                    events.push(ChatEvent::ToolArguments { index, fragment });
                }
            }
            // A delta of a block that never began, or of another kind.
            (
                "text_delta" | "thinking_delta" | "input_json_delta",
                None | Some(Block::Text | Block::Thinking | Block::Tool(_)),
            ) => {
                return Err(ODD);
            }
            _ => {}
        }
        Ok(())
    }

    fn block_stops(&mut self, events: &mut Vec<ChatEvent>) {
        let piece = self.said.piece();
        let cited = std::mem::take(&mut self.cited).into_iter();
        events.extend(cited.map(|one| ChatEvent::Citation {
            citation: location(&one, piece),
        }));
        self.said.begins();
        if let Some(Block::Tool(index)) = self.block.take()
            && !self.arguments
        {
            events.push(ChatEvent::ToolArguments {
                index,
                fragment: self.input.take().unwrap_or_else(|| "{}".to_owned()),
            });
        }
    }
}
