//! A provider's stream in another dialect than the client's, and answers whose form has to change.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::sse::{Event, Framer};
use super::{AnswerFault, Relay, UpstreamError, anthropic, openai};
use crate::domain::chat::{ChatAnswer, ChatEvent, Part, StopReason};
use crate::domain::{Dialect, Failure, StreamEnd, StreamFacts, StreamFault};

/// A provider's events in canonical form.
#[derive(Debug)]
enum Decoder {
    Openai(OpenaiDecoder),
    Anthropic(anthropic::EventDecoder),
}

impl Decoder {
    fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Openai => Self::Openai(OpenaiDecoder::default()),
            Dialect::Anthropic => Self::Anthropic(anthropic::EventDecoder::default()),
        }
    }

    fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        match self {
            Self::Openai(decoder) => decoder.event(event, events),
            Self::Anthropic(decoder) => decoder.event(event, events),
        }
    }
}

#[derive(Debug, Default)]
struct OpenaiDecoder {
    started: bool,
}

impl OpenaiDecoder {
    fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        if &event.data[..] == b"[DONE]" {
            events.push(ChatEvent::Done);
            return Ok(());
        }
        if event.data.is_empty() {
            return Ok(());
        }
        let facts = openai::read_chunk(&event.data)?;
        if !facts.is_carried_whole() {
            return Err(StreamFault::Malformed(
                "a chunk says what cannot be said in the form that was asked for",
            ));
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
            reason: openai::stop_reason(finish),
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
        });
    }
    let fragment = text("/function/arguments");
    if !fragment.is_empty() {
        events.push(ChatEvent::ToolArguments { index, fragment });
    }
}

/// Any provider's stream for an OpenAI client, through canonical events.
#[derive(Debug)]
pub struct TranslateRelay {
    framer: Framer,
    decoder: Decoder,
    encoder: openai::StreamEncoder,
    facts: StreamFacts,
    events: Vec<ChatEvent>,
}

impl TranslateRelay {
    pub fn new(provider: Dialect, encoder: openai::StreamEncoder) -> Self {
        Self {
            framer: Framer::default(),
            decoder: Decoder::of(provider),
            encoder,
            facts: StreamFacts::default(),
            events: Vec::new(),
        }
    }

    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamFault> {
        if self.facts.terminal {
            return Ok(());
        }
        self.events.clear();
        self.decoder.event(event, &mut self.events)?;
        for event in &self.events {
            note(&mut self.facts, event);
            self.encoder.event(event, out);
        }
        Ok(())
    }
}

fn note(facts: &mut StreamFacts, event: &ChatEvent) {
    let mut content = |bytes: usize| {
        facts.content |= bytes > 0;
        facts.content_bytes += bytes as u64;
    };
    match event {
        ChatEvent::Start { model, .. } => {
            facts.served_model =
                Some(model.chars().take(256).collect()).filter(|model: &String| !model.is_empty());
        }
        ChatEvent::Text { text } | ChatEvent::Thinking { text } | ChatEvent::Refusal { text } => {
            content(text.len())
        }
        ChatEvent::ToolCall { name, .. } => content(name.len().max(1)),
        ChatEvent::ToolArguments { fragment, .. } => content(fragment.len()),
        ChatEvent::Stop { reason } => {
            facts.finished = true;
            facts.filtered |= *reason == StopReason::ContentFilter;
            facts.limited |= *reason == StopReason::Length;
        }
        ChatEvent::Usage { usage } => facts.usage = Some(*usage),
        ChatEvent::Done => facts.terminal = true,
    }
}

impl Relay for TranslateRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        self.framer.push(piece).map_err(|_| StreamFault::TooLarge)?;
        while let Some(event) = self.framer.next_event() {
            let event = event.map_err(|_| StreamFault::TooLarge)?;
            self.event(&event, out)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        if let Some(event) = self.framer.rest() {
            // A last event without its blank line still counts if it is whole, and is a cut if it is not. Behind
            // the finish it takes nothing away (ground rule G3).
            match self.event(&event, out) {
                Err(StreamFault::Malformed(_)) if self.facts.finished => {}
                Err(StreamFault::Malformed(_)) => return Err(StreamFault::Truncated),
                other => other?,
            }
        }
        let facts = &self.facts;
        if !(facts.finished || (facts.terminal && facts.content)) {
            return Err(StreamFault::Truncated);
        }
        let end = if facts.finished && facts.terminal {
            StreamEnd::Clean
        } else {
            StreamEnd::Unclean
        };
        self.encoder.end(out);
        Ok(end)
    }

    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        self.encoder.fail(failure, request_id, out);
    }

    fn facts(&self) -> &StreamFacts {
        &self.facts
    }
}

/// A stream that came although a whole answer was asked for, folded into one (fault P17).
pub fn answer_from_stream(dialect: Dialect, body: &Bytes) -> Result<ChatAnswer, AnswerFault> {
    let mut framer = Framer::default();
    let mut decoder = Decoder::of(dialect);
    let mut events = Vec::new();
    let malformed = |fault| match fault {
        StreamFault::Reported { outcome, .. } => {
            AnswerFault::Disguised(UpstreamError::bare(outcome))
        }
        StreamFault::Malformed(_) | StreamFault::Truncated | StreamFault::TooLarge => {
            AnswerFault::Malformed("the stream is no answer")
        }
    };
    framer
        .push(body)
        .map_err(|_| AnswerFault::Malformed("the stream is too large"))?;
    while let Some(event) = framer.next_event() {
        let event = event.map_err(|_| AnswerFault::Malformed("an event is too large"))?;
        decoder.event(&event, &mut events).map_err(malformed)?;
    }
    if let Some(event) = framer.rest() {
        decoder.event(&event, &mut events).map_err(malformed)?;
    }
    fold(events)
}

fn fold(events: Vec<ChatEvent>) -> Result<ChatAnswer, AnswerFault> {
    let mut answer = ChatAnswer {
        id: String::new(),
        model: String::new(),
        created: 0,
        parts: Vec::new(),
        stop: StopReason::End,
        usage: None,
    };
    let mut stopped = false;
    let mut calls: Vec<(u32, Part)> = Vec::new();
    for event in events {
        match event {
            ChatEvent::Start { id, model } => (answer.id, answer.model) = (id, model),
            ChatEvent::Text { text } => match answer.parts.last_mut() {
                Some(Part::Text { text: so_far }) => so_far.push_str(&text),
                _ => answer.parts.push(Part::Text { text }),
            },
            ChatEvent::Thinking { text } => match answer.parts.last_mut() {
                Some(Part::Thinking { text: so_far, .. }) => so_far.push_str(&text),
                _ => answer.parts.push(Part::Thinking {
                    text,
                    signature: None,
                }),
            },
            ChatEvent::Refusal { text } => match answer.parts.last_mut() {
                Some(Part::Refusal { text: so_far }) => so_far.push_str(&text),
                _ => answer.parts.push(Part::Refusal { text }),
            },
            ChatEvent::ToolCall { index, id, name } => {
                calls.push((
                    index,
                    Part::ToolCall {
                        id,
                        name,
                        arguments: String::new(),
                    },
                ));
            }
            ChatEvent::ToolArguments { index, fragment } => {
                let call = calls.iter_mut().rev().find(|(own, _)| *own == index);
                if let Some((_, Part::ToolCall { arguments, .. })) = call {
                    arguments.push_str(&fragment);
                }
            }
            ChatEvent::Stop { reason } => (answer.stop, stopped) = (reason, true),
            ChatEvent::Usage { usage } => answer.usage = Some(usage),
            ChatEvent::Done => {}
        }
    }
    answer.parts.extend(calls.into_iter().map(|(_, call)| call));
    if !stopped {
        return Err(AnswerFault::Malformed(
            "the stream ended before the answer was whole",
        ));
    }
    let may_be_empty = matches!(answer.stop, StopReason::Length | StopReason::ContentFilter);
    if answer.parts.is_empty() && !may_be_empty {
        return Err(AnswerFault::Empty("the stream has no content"));
    }
    Ok(answer)
}

/// A whole answer that came although a stream was asked for, as a stream of one piece each (fault P17).
pub fn stream_from_answer(
    answer: &ChatAnswer,
    encoder: &mut openai::StreamEncoder,
    out: &mut BytesMut,
) -> StreamFacts {
    let mut events = vec![ChatEvent::Start {
        id: answer.id.clone(),
        model: answer.model.clone(),
    }];
    let mut index = 0;
    for part in &answer.parts {
        match part {
            Part::Text { text } => events.push(ChatEvent::Text { text: text.clone() }),
            Part::Thinking { text, .. } => events.push(ChatEvent::Thinking { text: text.clone() }),
            Part::Refusal { text } => events.push(ChatEvent::Refusal { text: text.clone() }),
            Part::ToolCall {
                id,
                name,
                arguments,
            } => {
                events.push(ChatEvent::ToolCall {
                    index,
                    id: id.clone(),
                    name: name.clone(),
                });
                events.push(ChatEvent::ToolArguments {
                    index,
                    fragment: arguments.clone(),
                });
                index += 1;
            }
            Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolResult { .. }
            | Part::RedactedThinking { .. } => {}
        }
    }
    events.push(ChatEvent::Stop {
        reason: answer.stop,
    });
    events.extend(answer.usage.map(|usage| ChatEvent::Usage { usage }));
    events.push(ChatEvent::Done);
    let mut facts = StreamFacts::default();
    for event in &events {
        note(&mut facts, event);
        encoder.event(event, out);
    }
    encoder.end(out);
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AttemptOutcome;

    fn folded(chunks: &[&str]) -> Result<ChatAnswer, AnswerFault> {
        let stream: String = chunks
            .iter()
            .map(|chunk| format!("data: {chunk}\n\n"))
            .collect();
        answer_from_stream(Dialect::Openai, &Bytes::from(stream + "data: [DONE]\n\n"))
    }

    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    #[test]
    fn p17_a_stream_is_folded_and_an_empty_finish_is_none() {
        let word = r#"{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"hi "},"finish_reason":""}]}"#;
        let answer = folded(&[word, word, STOP]).unwrap();
        assert_eq!(
            answer.parts,
            [Part::Text {
                text: "hi hi ".to_owned()
            }]
        );
        assert!(
            matches!(folded(&[word, word]), Err(AnswerFault::Malformed(_))),
            "cut, however clean its end"
        );
    }

    #[test]
    fn p17_what_a_whole_answer_cannot_say_is_refused_and_not_lost() {
        let other = r#"{"choices":[{"index":1,"delta":{"content":"two"},"finish_reason":"stop"}]}"#;
        let word = r#"{"choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}"#;
        let call = r#"{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"{}"}},"finish_reason":null}]}"#;
        let audio =
            r#"{"choices":[{"index":0,"delta":{"audio":{"data":"aaaa"}},"finish_reason":null}]}"#;
        for chunks in [[word, other], [other, STOP], [call, STOP], [audio, STOP]] {
            assert!(
                matches!(folded(&chunks), Err(AnswerFault::Malformed(_))),
                "{chunks:?}"
            );
        }
    }

    #[test]
    fn p13_an_error_inside_a_folded_stream_is_an_error() {
        let word = r#"{"choices":[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}"#;
        let failed = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#;
        let said = folded(&[word, failed]).unwrap_err();
        assert!(
            matches!(&said, AnswerFault::Disguised(error) if error.outcome == AttemptOutcome::ServerError),
            "{said:?}"
        );
    }

    #[test]
    fn p14_a_plain_end_without_content_is_no_answer() {
        assert!(matches!(folded(&[STOP]), Err(AnswerFault::Empty(_))));
        let limited = STOP.replace("stop", "length");
        assert!(folded(&[&limited]).is_ok(), "the limit can leave nothing");
    }
}
