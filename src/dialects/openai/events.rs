//! OpenAI's chunks as canonical events, for a client who speaks another dialect.

use serde_json::Value;

use super::answer::stop_reason;
use super::chunk::read_chunk;
use super::content::{Details, Piece, cited, pieces};
use super::request::call_signature;
use crate::dialects::fields::{call_arguments, tier};
use crate::dialects::sse::Event;
use crate::dialects::{UpstreamError, citations, logprobs};
use crate::domain::chat::{ChatEvent, Citation};
use crate::domain::{AttemptOutcome, ServiceTier, StreamFault, Usage};

#[derive(Debug, Default)]
pub struct EventDecoder {
    started: bool,
    /// In the order they began; their place is their index.
    calls: Vec<Call>,
    details: Details,
    /// Sources were told with the text.
    cited: bool,
    tier: Option<ServiceTier>,
}

const UNSAYABLE: StreamFault =
    StreamFault::Untranslatable("a chunk says what cannot be said in the form that was asked for");

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
            return Err(UNSAYABLE);
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
        let told = logprobs::of_choice(value.pointer("/choices/0"));
        events.extend(logprobs::event(told));
        let delta = value.pointer("/choices/0/delta").unwrap_or(&Value::Null);
        self.delta(delta, events)?;
        let finish = facts
            .choices
            .first()
            .and_then(|choice| choice.finish.as_deref());
        if let Some(finish) = finish {
            let failed = || StreamFault::from(UpstreamError::bare(AttemptOutcome::ServerError));
            self.thought_ends(events);
            if !self.cited {
                events.extend(citations::events(citations::beside(&value)));
            }
            let reason = stop_reason(finish, !self.calls.is_empty()).ok_or_else(failed)?;
            events.push(ChatEvent::Stop { reason });
        }
        // Said with every chunk, or with the first.
        self.tier = tier(value.get("service_tier")).or(self.tier);
        let tier = self.tier;
        let usage = facts.usage.map(|usage| Usage { tier, ..usage });
        events.extend(usage.map(|usage| ChatEvent::Usage { usage }));
        Ok(())
    }
}

/// A call that began.
#[derive(Debug)]
struct Call {
    /// As the provider counts; some count nothing, some everything as the first.
    index: Option<u64>,
    id: String,
}

impl EventDecoder {
    fn delta(&mut self, delta: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let text = |name: &str| {
            delta
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let details = Details::of(delta).words();
        self.details.more(delta);
        let thought = text("reasoning_content").or_else(|| text("reasoning"));
        let thought = thought.or_else(|| Some(details).filter(|words| !words.is_empty()));
        events.extend(thought.map(|text| ChatEvent::Thinking { text }));
        let said = pieces(delta.get("content")).ok_or(UNSAYABLE)?;
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        let speaks = !said.is_empty() || calls.is_some_and(|calls| !calls.is_empty());
        if speaks || text("refusal").is_some() {
            self.thought_ends(events);
        }
        events.extend(said.into_iter().map(|piece| match piece {
            Piece::Text(text) => ChatEvent::Text { text },
            Piece::Thinking(text) => ChatEvent::Thinking { text },
            Piece::Refusal(text) => ChatEvent::Refusal { text },
            Piece::Reference => ChatEvent::Citation {
                citation: Citation::default(),
            },
        }));
        for citation in cited(delta) {
            self.cited = true;
            events.push(ChatEvent::Citation { citation });
        }
        events.extend(text("refusal").map(|text| ChatEvent::Refusal { text }));
        for call in delta
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.tool_call(call, events)?;
        }
        Ok(())
    }

    fn thought_ends(&mut self, events: &mut Vec<ChatEvent>) {
        let signature = self.details.signature();
        events.extend(signature.map(|signature| ChatEvent::Signed { signature }));
    }

    /// Pieces of calls belong together by id where there is one, else by index, else by order.
    fn tool_call(&mut self, call: &Value, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let fragment = call_arguments(call.pointer("/function/arguments")).ok_or(
            StreamFault::Malformed("the arguments of a call are no text"),
        )?;
        let index = call.get("index").and_then(Value::as_u64);
        let text = |pointer: &str| {
            let text = call.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let (id, name) = (text("/id"), text("/function/name"));
        let known = self.calls.iter().rposition(|call| {
            let same_index = index.is_none() || call.index == index;
            same_index && (id.is_empty() || call.id == id || call.id.is_empty())
        });
        let place = match known {
            Some(place) => place,
            None if id.is_empty() && name.is_empty() => {
                return Err(StreamFault::Malformed("a piece of a call that never began"));
            }
            None => {
                self.calls.push(Call {
                    index,
                    id: id.clone(),
                });
                self.calls.len() - 1
            }
        };
        let own = u32::try_from(place).unwrap_or(u32::MAX);
        if known.is_none() {
            events.push(ChatEvent::ToolCall {
                index: own,
                id,
                name,
                signature: call_signature(call),
            });
        }
        if !fragment.is_empty() {
            events.push(ChatEvent::ToolArguments {
                index: own,
                fragment,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The calls a client puts together, or why it cannot.
    fn calls(deltas: &[Value]) -> Result<Vec<(String, String)>, StreamFault> {
        let mut decoder = EventDecoder::default();
        let mut events = Vec::new();
        for delta in deltas {
            let chunk = json!({"id": "x", "model": "m", "choices": [
                {"index": 0, "delta": {"tool_calls": [delta]}, "finish_reason": null},
            ]});
            let event = Event {
                name: None,
                data: chunk.to_string().into(),
                raw: bytes::Bytes::new(),
            };
            decoder.event(&event, &mut events)?;
        }
        let mut calls: Vec<(String, String)> = Vec::new();
        for event in events {
            if let ChatEvent::ToolCall { id, .. } = event {
                calls.push((id, String::new()));
            } else if let ChatEvent::ToolArguments { index, fragment } = event {
                calls[index as usize].1.push_str(&fragment);
            }
        }
        Ok(calls)
    }

    fn piece(index: Option<u64>, id: &str, name: &str, arguments: &str) -> Value {
        let mut piece = json!({"id": id, "function": {"name": name, "arguments": arguments}});
        if let Some(index) = index {
            piece["index"] = index.into();
        }
        piece
    }

    #[test]
    fn calls_are_told_apart_whatever_the_provider_counts() {
        let two = |calls: Vec<(String, String)>| {
            let pair = |id: &str, arguments: &str| (id.to_owned(), arguments.to_owned());
            assert_eq!(calls, [pair("c1", "{1}"), pair("c2", "{2}")]);
        };
        for index in [Some(0), None] {
            let all = [
                piece(index, "c1", "w", "{1"),
                piece(index, "c1", "w", "}"),
                piece(index, "c2", "w", "{2"),
                piece(index, "", "", "}"),
            ];
            two(calls(&all).unwrap());
        }
        let counted = [
            piece(Some(1), "c1", "w", ""),
            piece(Some(1), "", "", "{1}"),
            piece(Some(5), "c2", "w", "{2}"),
        ];
        two(calls(&counted).unwrap());
    }

    #[test]
    fn s12_arguments_that_are_no_text_are_a_fault_and_not_none() {
        for odd in [json!({"x": 1}), json!(5), json!(["a"]), json!(true)] {
            let mut begun = piece(Some(0), "c1", "w", "");
            begun["function"]["arguments"] = odd.clone();
            let fault = calls(&[begun]).unwrap_err();
            assert!(matches!(fault, StreamFault::Malformed(_)), "{odd}");
        }
        let mut none = piece(Some(0), "c1", "w", "");
        none["function"]["arguments"] = Value::Null;
        let called = calls(&[none]).unwrap();
        assert_eq!(called, [("c1".to_owned(), String::new())]);
    }

    #[test]
    fn s13_a_piece_of_a_call_that_never_began_is_a_fault() {
        assert!(calls(&[piece(Some(0), "", "", "{}")]).is_err());
        let other = [piece(Some(0), "c1", "w", "{"), piece(Some(1), "", "", "}")];
        assert!(calls(&other).is_err());
    }
}
