//! Anthropic's stream as canonical events.

use std::borrow::Cow;

use serde_json::Value;

use super::answer::{UsageCounts, signed, stop_reason};
use super::delta::{Kind, plain};
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
        if let Some((kind, words)) = plain(&event.data)
            && self.takes(kind, words, events)
        {
            return Ok(());
        }
        self.careful(event, events)
    }

    /// Takes more of the open block; whether it is such a block's.
    fn takes(&mut self, kind: Kind, words: Cow<'_, str>, events: &mut Vec<ChatEvent>) -> bool {
        match (kind, self.block) {
            (Kind::Text, Some(Block::Text)) => {
                let text = words.into_owned();
                self.said.more(&text);
                events.push(ChatEvent::Text { text });
            }
            (Kind::Thinking, Some(Block::Thinking)) => {
                let text = words.into_owned();
                events.push(ChatEvent::Thinking { text });
            }
            (Kind::Arguments, Some(Block::Tool(index))) => {
                let fragment = words.into_owned();
                if !fragment.is_empty() {
                    self.arguments = true;
                    events.push(ChatEvent::ToolArguments { index, fragment });
                }
            }
            (Kind::Text | Kind::Thinking | Kind::Arguments, _) => return false,
        }
        true
    }

    fn careful(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
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
        let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        let named = delta.get("type").and_then(Value::as_str).ok_or(ODD)?;
        if let Some(kind) = Kind::named(named)
            && self.takes(kind, Cow::Borrowed(text(kind.member())), events)
        {
            return Ok(());
        }
        match (named, self.block) {
            ("citations_delta", Some(Block::Text)) => {
                self.cited.extend(delta.get("citation").cloned())
            }
            ("signature_delta", Some(Block::Thinking)) => {
                let signature = signed(text("signature").to_owned());
                if !signature.data.is_empty() {
                    events.push(ChatEvent::Signed { signature });
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(data: impl Into<Bytes>) -> Event {
        Event {
            name: None,
            data: data.into(),
            raw: Bytes::new(),
        }
    }

    proptest! {
        /// What is read at a glance is what would be read with care, fault for fault.
        #[test]
        fn a_plain_delta_says_what_a_careful_reading_says(
            block in prop::sample::select(vec!["text", "thinking", "tool_use", "other", ""]),
            kind in prop::sample::select(vec!["text_delta", "thinking_delta", "input_json_delta", "signature_delta"]),
            member in prop::sample::select(vec!["text", "thinking", "partial_json", "signature"]),
            index in prop::sample::select(vec!["0", "12", "01", "-1", "1e999", "\"a\"", "null"]),
            more in prop::sample::select(vec!["", ",\"text\":\"twice\"", ",\"x\":{}", ",\"type\":\"text_delta\"", "}", ",", "},\"delta\":{", "},\"delta\":{\"text\":\"twice\""]),
            text in any::<String>(),
            raw in "([a\u{e9}]|\\\\u[d0][8-9c]00|\\\\[nx\"]){0,6}",
        ) {
            for words in [serde_json::to_string(&text).unwrap(), format!("\"{raw}\"")] {
                let data = format!("{{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{member}\":{words}{more}}}}}");
                let (mut quick, mut careful) = (EventDecoder::default(), EventDecoder::default());
                let begins = json!({"type": "content_block_start", "index": 0, "content_block": {"type": block, "id": "a", "name": "b"}}).to_string();
                let (mut one, mut other) = (Vec::new(), Vec::new());
                if !block.is_empty() {
                    prop_assert!(quick.event(&event(begins.clone()), &mut one).is_ok());
                    prop_assert!(careful.event(&event(begins), &mut other).is_ok());
                }
                let event = event(data.clone());
                prop_assert_eq!(quick.event(&event, &mut one), careful.careful(&event, &mut other), "{}", data);
                prop_assert_eq!(one, other, "{}", data);
                quick.block_stops(&mut Vec::new());
                careful.block_stops(&mut Vec::new());
                prop_assert_eq!(format!("{quick:?}"), format!("{careful:?}"), "{}", data);
            }
        }
    }

    #[test]
    fn a_usual_delta_is_read_at_a_glance() {
        for (data, words) in [
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
                Some("Hi"),
            ),
            (
                r#"{"index":3,"delta":{"partial_json":"{\"a\":","type":"input_json_delta"},"type":"content_block_delta"}"#,
                Some("{\"a\":"),
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a","text":"b"}}"#,
                None,
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"b"}}"#,
                None,
            ),
            (r#"{"type":"ping"}"#, None),
        ] {
            let read = plain(data.as_bytes());
            assert_eq!(
                read.as_ref().map(|(_, words)| words.as_ref()),
                words,
                "{data}"
            );
        }
    }
}
