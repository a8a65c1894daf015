//! A provider's stream on its way through canonical events, and answers whose form has to change.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::fields::is_cut;
use super::framing::Framing;
use super::in_order::InOrder;
use super::json::{exact, scan_object};
use super::sse::Event;
use super::{
    AnswerFault, Cutter, Decoder, Encoder, Marker, Relay, UpstreamError, logprobs, openai,
};
use crate::domain::chat::{ChatAnswer, ChatEvent, Part, Signature, StopReason};
use crate::domain::{ClientDialect, Dialect, Failure, Stamp, StreamEnd, StreamFacts, StreamFault};

/// Reads a provider's events and keeps what they tell.
#[derive(Debug)]
struct Reader {
    framing: Framing,
    decoder: Decoder,
    facts: StreamFacts,
    events: Vec<ChatEvent>,
    /// What the calls were given so far, for whether it is whole.
    arguments: openai::Arguments,
}

impl Reader {
    fn of(provider: Dialect, request_id: &str) -> Self {
        Self::new(Framing::of(provider), Decoder::of(provider, request_id))
    }

    fn new(framing: Framing, decoder: Decoder) -> Self {
        Self {
            framing,
            decoder,
            facts: StreamFacts::default(),
            events: Vec::new(),
            arguments: openai::Arguments::default(),
        }
    }

    /// Leaves what the event says in `events`; behind the terminal one nothing counts.
    fn read(&mut self, event: &Event) -> Result<(), StreamFault> {
        self.events.clear();
        if self.facts.terminal {
            return Ok(());
        }
        self.decoder.event(event, &mut self.events)?;
        // Of several ends the first one counts (fault S14).
        let mut finished = self.facts.finished;
        self.events.retain(|event| {
            let again = finished && matches!(event, ChatEvent::Stop { .. });
            finished |= matches!(event, ChatEvent::Stop { .. });
            !again
        });
        self.take_note();
        Ok(())
    }

    fn take_note(&mut self) {
        for event in &self.events {
            note(&mut self.facts, event);
            match event {
                ChatEvent::ToolArguments { index, fragment } => {
                    self.arguments.more(*index, fragment);
                }
                ChatEvent::Stop { reason } if !reason.may_cut() => {
                    self.facts.quirks += self.arguments.cut(0);
                }
                ChatEvent::Start { .. }
                | ChatEvent::Text { .. }
                | ChatEvent::Thinking { .. }
                | ChatEvent::Signed { .. }
                | ChatEvent::RedactedThinking { .. }
                | ChatEvent::Refusal { .. }
                | ChatEvent::ToolCall { .. }
                | ChatEvent::Citation { .. }
                | ChatEvent::Logprobs { .. }
                | ChatEvent::Trace
                | ChatEvent::Foreign { .. }
                | ChatEvent::Stop { .. }
                | ChatEvent::Usage { .. }
                | ChatEvent::Done => {}
            }
        }
    }

    /// Whether it is said here that the calls are made, and one of them is cut (fault S17).
    fn calls_with_a_part(&self) -> bool {
        let made =
            |event: &ChatEvent| matches!(event, ChatEvent::Stop { reason } if !reason.may_cut());
        self.arguments.cut(0) > 0 && self.events.iter().any(made)
    }

    /// What the end of the body comes to.
    fn ended(&mut self) -> Result<StreamEnd, StreamFault> {
        self.events.clear();
        self.decoder.ends(&mut self.events);
        self.take_note();
        let facts = &self.facts;
        // A call that is cut and an end without a reason are the end of something that was not whole.
        let seems_whole = facts.terminal && facts.content && self.arguments.cut(0) == 0;
        if !(facts.finished || seems_whole) {
            return Err(StreamFault::Truncated);
        }
        Ok(if facts.finished && facts.terminal {
            StreamEnd::Clean
        } else {
            StreamEnd::Unclean
        })
    }

    /// A last event without its blank line still counts if it is whole, and is a cut if it is not. Behind the
    /// finish it takes nothing away (ground rule G3).
    fn forgive(fault: StreamFault, was_finished: bool) -> Result<(), StreamFault> {
        match fault {
            StreamFault::Malformed(_) if was_finished => Ok(()),
            StreamFault::Malformed(_) => Err(StreamFault::Truncated),
            fault @ (StreamFault::Reported { .. }
            | StreamFault::Unoffered
            | StreamFault::Untranslatable(_)
            | StreamFault::Truncated
            | StreamFault::TooLarge
            | StreamFault::Unguarded
            | StreamFault::Forbidden) => Err(fault),
        }
    }
}

/// What has no canonical form would be lost without a word.
const UNSAYABLE: StreamFault = StreamFault::Untranslatable(
    "the answer says what cannot be said in the form that was asked for",
);

const CUT_CALL: StreamFault = StreamFault::Malformed("the arguments of a call are cut short");

/// A provider's stream for a client of another dialect.
#[derive(Debug)]
pub struct TranslateRelay {
    reader: Reader,
    encoder: Encoder,
    /// For forms in which one call ends before the next.
    order: Option<InOrder>,
    /// For stops that the provider was not told.
    cutter: Option<Cutter>,
    /// Whose signatures they are.
    stamp: Option<Stamp>,
    /// How likely the tokens were is told to who asked only: a guard looks at texts.
    tells_tokens: bool,
}

impl TranslateRelay {
    pub fn new(provider: Dialect, encoder: Encoder, request_id: &str) -> Self {
        Self {
            reader: Reader::of(provider, request_id),
            order: (!encoder.interleaves()).then(InOrder::default),
            encoder,
            cutter: None,
            stamp: None,
            tells_tokens: false,
        }
    }

    #[must_use]
    pub fn cutting(self, cutter: Option<Cutter>) -> Self {
        Self { cutter, ..self }
    }

    #[must_use]
    pub fn telling_tokens(self, tells_tokens: bool) -> Self {
        Self {
            tells_tokens,
            ..self
        }
    }

    #[must_use]
    pub fn stamped(self, stamp: Stamp) -> Self {
        Self {
            stamp: Some(stamp),
            ..self
        }
    }

    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamFault> {
        self.reader.read(event)?;
        if !self.encoder.tells_cut_calls() && self.reader.calls_with_a_part() {
            return Err(CUT_CALL);
        }
        let foreign = |event: &ChatEvent| {
            let reason = StopReason::Unknown;
            matches!(event, ChatEvent::Foreign { .. }) || *event == ChatEvent::Stop { reason }
        };
        if self.reader.events.iter().any(foreign) {
            return Err(UNSAYABLE);
        }
        if let Some(order) = &mut self.order {
            order.order(&mut self.reader.events)?;
        }
        if !self.tells_tokens {
            let told = |event: &ChatEvent| matches!(event, ChatEvent::Logprobs { .. });
            self.reader.events.retain(|event| !told(event));
        }
        if let Some(cutter) = &mut self.cutter {
            cutter.events(&mut self.reader.events);
        }
        if let Some(stamp) = &self.stamp {
            let events = self.reader.events.iter_mut();
            events.for_each(|event| stamp.event(event));
        }
        // The headers that could have told it have gone.
        let unsourced = |event: &ChatEvent| matches!(event, ChatEvent::Citation { citation } if citation.url.is_none());
        let lost = |event: &&ChatEvent| unsourced(event) || **event == ChatEvent::Trace;
        let lost = self.reader.events.iter().filter(lost).count();
        self.reader.facts.quirks += u32::try_from(lost).unwrap_or(0);
        for event in &self.reader.events {
            self.encoder.event(event, out);
        }
        Ok(())
    }
}

impl Relay for TranslateRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        self.reader.framing.push(piece)?;
        while let Some(event) = self.reader.framing.next_event()? {
            self.event(&event, out)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        let was_finished = self.reader.facts.finished;
        if let Some(event) = self.reader.framing.rest()
            && let Err(fault) = self.event(&event, out)
        {
            Reader::forgive(fault, was_finished)?;
        }
        let end = self.reader.ended()?;
        let mut rest = self.order.as_mut().map(InOrder::rest).unwrap_or_default();
        if let Some(cutter) = &mut self.cutter {
            cutter.events(&mut rest);
        }
        for event in &rest {
            self.encoder.event(event, out);
        }
        if let Some(stop) = self.cutter.as_ref().and_then(Cutter::met) {
            self.encoder.stopped_by(stop);
        }
        self.encoder.end(out);
        Ok(end)
    }

    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        self.encoder.fail(failure, request_id, out);
    }

    fn facts(&self) -> &StreamFacts {
        &self.reader.facts
    }
}

/// A provider's stream for a client of the same dialect: read for what it tells, passed on as it came.
#[derive(Debug)]
pub struct MirrorRelay {
    reader: Reader,
    /// Only for what the gateway itself has to say.
    encoder: Encoder,
    /// For a signer whose signatures do not go without its name.
    marker: Option<Marker>,
}

impl MirrorRelay {
    pub fn new(dialect: ClientDialect, encoder: Encoder, request_id: &str) -> Self {
        Self {
            reader: Reader::of(dialect.dialect(), request_id),
            encoder,
            marker: None,
        }
    }

    #[must_use]
    pub fn marking(self, marker: Option<Marker>) -> Self {
        Self { marker, ..self }
    }

    fn say(&mut self, event: &Event, out: &mut BytesMut) {
        match self.marker.as_mut().and_then(|marker| marker.event(event)) {
            Some(marked) => out.extend_from_slice(&marked),
            None => out.extend_from_slice(&event.raw),
        }
        let number = self.reader.decoder.number();
        self.encoder.passed(number, &self.reader.events);
    }

    /// A text continued, which exists in one form only.
    pub fn completions(encoder: Encoder) -> Self {
        let decoder = openai::CompletionDecoder::default();
        Self::of_openai(Decoder::Completions(decoder), encoder)
    }

    /// Speech, a transcript or a picture, in events that name their type.
    pub fn typed(encoder: Encoder) -> Self {
        Self::of_openai(Decoder::Typed(openai::TypedDecoder::default()), encoder)
    }

    fn of_openai(decoder: Decoder, encoder: Encoder) -> Self {
        Self {
            reader: Reader::new(Framing::of(Dialect::Openai), decoder),
            encoder,
            marker: None,
        }
    }
}

impl Relay for MirrorRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        self.reader.framing.push(piece)?;
        while let Some(event) = self.reader.framing.next_event()? {
            let over = self.reader.facts.terminal;
            self.reader.read(&event)?;
            if !over && !self.reader.decoder.is_repeated() {
                self.say(&event, out);
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        if let Some(event) = self.reader.framing.rest() {
            let over = self.reader.facts.terminal;
            let was_finished = self.reader.facts.finished;
            match self.reader.read(&event) {
                // Behind the end nothing counts, least of all half an event.
                Ok(()) if over => {}
                Ok(()) => {
                    self.say(&event, out);
                    out.extend_from_slice(b"\n\n");
                }
                Err(fault) => Reader::forgive(fault, was_finished)?,
            }
        }
        let end = self.reader.ended()?;
        if !self.reader.facts.terminal {
            self.encoder.terminal(out);
        }
        Ok(end)
    }

    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        self.encoder.fail(failure, request_id, out);
    }

    fn facts(&self) -> &StreamFacts {
        &self.reader.facts
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
        ChatEvent::Signed { .. }
        | ChatEvent::Logprobs { .. }
        | ChatEvent::Citation { .. }
        | ChatEvent::Trace => {}
        ChatEvent::Foreign { bytes } => content(*bytes),
        // A model that only thinks has begun to answer all the same.
        ChatEvent::RedactedThinking { data } => content(data.data.len()),
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

/// A stream that came although a whole answer was asked for, folded into one (fault P17).
pub fn answer_from_stream(
    dialect: Dialect,
    body: &Bytes,
    request_id: &str,
) -> Result<ChatAnswer, AnswerFault> {
    let mut framing = Framing::of(dialect);
    let mut decoder = Decoder::of(dialect, request_id);
    let mut events = Vec::new();
    let malformed = |fault| match fault {
        StreamFault::Reported { outcome, .. } => {
            AnswerFault::Disguised(UpstreamError::bare(outcome))
        }
        StreamFault::TooLarge => AnswerFault::Malformed("the stream is too large"),
        StreamFault::Untranslatable(what) => AnswerFault::Untranslatable(what),
        StreamFault::Unoffered => AnswerFault::Unoffered,
        StreamFault::Malformed(_)
        | StreamFault::Truncated
        | StreamFault::Unguarded
        | StreamFault::Forbidden => AnswerFault::Malformed("the stream is no answer"),
    };
    framing.push(body).map_err(malformed)?;
    while let Some(event) = framing.next_event().map_err(malformed)? {
        decoder.event(&event, &mut events).map_err(malformed)?;
    }
    if let Some(event) = framing.rest() {
        decoder.event(&event, &mut events).map_err(malformed)?;
    }
    decoder.ends(&mut events);
    fold(events)
}

/// A whole answer of a dialect in which a stream's events are answers too: read as a stream of one event.
pub(super) fn fold_one(
    body: &[u8],
    read: impl FnOnce(&Value, &mut Vec<ChatEvent>) -> Result<(), StreamFault>,
) -> Result<ChatAnswer, AnswerFault> {
    // Bounds how deep it nests before it is built.
    scan_object(body).map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    let value: Value =
        exact::read(body).map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    let mut events = Vec::new();
    read(&value, &mut events).map_err(|fault| match fault {
        StreamFault::Reported {
            outcome,
            message,
            code,
        } => AnswerFault::Disguised(UpstreamError {
            message: Some(message).filter(|message| !message.is_empty()),
            code,
            ..UpstreamError::bare(outcome)
        }),
        StreamFault::Untranslatable(what) => AnswerFault::Untranslatable(what),
        StreamFault::Unoffered => AnswerFault::Unoffered,
        StreamFault::Malformed(_)
        | StreamFault::Truncated
        | StreamFault::TooLarge
        | StreamFault::Unguarded
        | StreamFault::Forbidden => AnswerFault::Malformed("the answer does not fit the protocol"),
    })?;
    fold(events)
}

/// Refuses an answer that calls with a part of what was to be said (fault S17): half of an object is none.
pub fn with_whole_calls(answer: ChatAnswer) -> Result<ChatAnswer, AnswerFault> {
    let cut = |part: &Part| matches!(part, Part::ToolCall { arguments, .. } if is_cut(arguments));
    if !answer.stop.may_cut() && answer.parts.iter().any(cut) {
        return Err(AnswerFault::Malformed(
            "the arguments of a call are cut short",
        ));
    }
    Ok(answer)
}

/// What stands behind the end does not count.
fn cut_behind_the_end(events: &mut Vec<ChatEvent>) {
    let is_end = |event: &ChatEvent| matches!(event, ChatEvent::Done);
    if let Some(end) = events.iter().position(is_end) {
        events.truncate(end);
    }
}

fn fold(mut events: Vec<ChatEvent>) -> Result<ChatAnswer, AnswerFault> {
    cut_behind_the_end(&mut events);
    let mut answer = ChatAnswer {
        id: String::new(),
        model: String::new(),
        created: 0,
        parts: Vec::new(),
        stop: StopReason::End,
        usage: None,
        citations: Vec::new(),
        foreign: false,
        traces: false,
        logprobs: Vec::new(),
        stop_sequence: None,
    };
    let mut stopped = false;
    let mut calls: Vec<(u32, Part)> = Vec::new();
    for event in events {
        match event {
            ChatEvent::Start { id, model } => (answer.id, answer.model) = (id, model),
            ChatEvent::Text { .. }
            | ChatEvent::Thinking { .. }
            | ChatEvent::Refusal { .. }
            | ChatEvent::Signed { .. }
            | ChatEvent::RedactedThinking { .. } => append(&mut answer.parts, event),
            ChatEvent::ToolCall {
                index,
                id,
                name,
                signature,
            } => calls.push((index, call_of(id, name, signature))),
            ChatEvent::ToolArguments { index, fragment } => {
                let call = calls.iter_mut().rev().find(|(own, _)| *own == index);
                if let Some((_, Part::ToolCall { arguments, .. })) = call {
                    arguments.push_str(&fragment);
                }
            }
            ChatEvent::Stop { reason } if !stopped => (answer.stop, stopped) = (reason, true),
            ChatEvent::Stop { .. } => {}
            ChatEvent::Usage { usage } => answer.usage = Some(usage),
            ChatEvent::Logprobs { tokens } => answer.logprobs.extend(tokens),
            ChatEvent::Citation { citation } => answer.citations.push(citation),
            ChatEvent::Foreign { .. } => answer.foreign = true,
            ChatEvent::Trace => answer.traces = true,
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
    if answer.parts.is_empty() && !answer.foreign && !may_be_empty {
        return Err(AnswerFault::Empty("the stream has no content"));
    }
    with_whole_calls(answer)
}

fn call_of(id: String, name: String, signature: Option<Signature>) -> Part {
    Part::ToolCall {
        id,
        name,
        arguments: String::new(),
        signature,
    }
}

/// Words go on where the same kind of words ended.
fn append(parts: &mut Vec<Part>, event: ChatEvent) {
    match (event, parts.last_mut()) {
        (ChatEvent::Text { text }, Some(Part::Text { text: so_far }))
        | (ChatEvent::Refusal { text }, Some(Part::Refusal { text: so_far }))
        | (
            ChatEvent::Thinking { text },
            Some(Part::Thinking {
                text: so_far,
                signature: None,
            }),
        ) => so_far.push_str(&text),
        (
            ChatEvent::Signed { signature },
            Some(Part::Thinking {
                signature: own @ None,
                ..
            }),
        ) => *own = Some(signature),
        (ChatEvent::Text { text }, _) => parts.push(Part::Text { text }),
        (ChatEvent::Refusal { text }, _) => parts.push(Part::Refusal { text }),
        (ChatEvent::Thinking { text }, _) => parts.push(Part::Thinking {
            text,
            signature: None,
        }),
        (ChatEvent::Signed { signature }, _) => parts.push(Part::Thinking {
            text: String::new(),
            signature: Some(signature),
        }),
        (ChatEvent::RedactedThinking { data }, _) => parts.push(Part::RedactedThinking { data }),
        _ => {}
    }
}

/// Where the sources of an answer are told: with the text that was said last.
pub(super) fn last_text(parts: &[Part]) -> Option<usize> {
    parts
        .iter()
        .rposition(|part| matches!(part, Part::Text { .. }))
}

/// What an answer says, in pieces as large as they are.
pub(super) fn events_of(answer: &ChatAnswer) -> Vec<ChatEvent> {
    let mut events = Vec::new();
    let mut index = 0;
    let mut told = answer.logprobs.clone();
    let last_text = last_text(&answer.parts);
    for (place, part) in answer.parts.iter().enumerate() {
        match part {
            Part::Text { text } => {
                events.extend(logprobs::event(std::mem::take(&mut told)));
                events.push(ChatEvent::Text { text: text.clone() });
            }
            Part::Thinking { text, signature } => {
                if !text.is_empty() {
                    events.push(ChatEvent::Thinking { text: text.clone() });
                }
                let signature = signature.clone();
                events.extend(signature.map(|signature| ChatEvent::Signed { signature }));
            }
            Part::RedactedThinking { data } => {
                events.push(ChatEvent::RedactedThinking { data: data.clone() });
            }
            Part::Refusal { text } => events.push(ChatEvent::Refusal { text: text.clone() }),
            Part::ToolCall {
                id,
                name,
                arguments,
                signature,
            } => {
                events.push(ChatEvent::ToolCall {
                    index,
                    id: id.clone(),
                    name: name.clone(),
                    signature: signature.clone(),
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
            | Part::CachePoint { .. } => {}
        }
        if last_text == Some(place) {
            let cited = answer.citations.iter().cloned();
            events.extend(cited.map(|citation| ChatEvent::Citation { citation }));
        }
    }
    events
}

/// A whole answer that came although a stream was asked for, as a stream of one piece each (fault P17).
pub fn stream_from_answer(
    answer: &ChatAnswer,
    encoder: &mut Encoder,
    out: &mut BytesMut,
) -> StreamFacts {
    let mut events = vec![ChatEvent::Start {
        id: answer.id.clone(),
        model: answer.model.clone(),
    }];
    events.extend(events_of(answer));
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
    if let Some(stop) = &answer.stop_sequence {
        encoder.stopped_by(stop);
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
        answer_from_stream(
            Dialect::Openai,
            &Bytes::from(stream + "data: [DONE]\n\n"),
            "sy-1",
        )
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
                matches!(folded(&chunks), Err(AnswerFault::Untranslatable(_))),
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

    const HALF: &str = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{\"path\":\"/a"}}]},"finish_reason":null}]}"#;

    fn relayed(
        client: ClientDialect,
        chunks: &[&str],
    ) -> (Result<StreamEnd, StreamFault>, String, u32) {
        let encoder = Encoder::of(client, &crate::dialects::AnswerTerms::default());
        let mut relay = TranslateRelay::new(Dialect::Openai, encoder, "sy-1");
        let stream: String = chunks
            .iter()
            .map(|chunk| format!("data: {chunk}\n\n"))
            .collect();
        let mut out = BytesMut::new();
        let end = relay
            .feed(&Bytes::from(stream), &mut out)
            .and_then(|()| relay.end(&mut out));
        let out = String::from_utf8(out.to_vec()).unwrap();
        (end, out, relay.facts().quirks)
    }

    #[test]
    fn s01_the_gateways_own_end_of_a_stream_goes_on_behind_the_providers_last_event() {
        let terms = crate::dialects::AnswerTerms::default();
        let encoder = Encoder::of(ClientDialect::Responses, &terms);
        let mut relay = MirrorRelay::new(ClientDialect::Responses, encoder, "sy-1");
        let mut out = BytesMut::new();
        let mut feed = |event: &str| {
            let text = format!("data: {event}\n\n");
            relay.feed(&Bytes::from(text), &mut out)
        };
        feed(r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_theirs","model":"m-1"}}"#).unwrap();
        feed(r#"{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"message","id":"msg"}}"#).unwrap();
        feed(r#"{"type":"response.output_text.delta","sequence_number":2,"output_index":0,"delta":"a"}"#).unwrap();
        // What is not passed on takes no number.
        feed(r#"{"type":"error","sequence_number":3,"code":"server_error","message":"no"}"#)
            .unwrap_err();
        out.clear();
        let failure = Failure::new(crate::domain::FailureKind::UpstreamReset, "cut");
        relay.fail(&failure, "sy-1", &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = data
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let told: Vec<_> = events
            .iter()
            .map(|event| (event["type"].as_str().unwrap(), &event["sequence_number"]))
            .collect();
        assert_eq!(
            told,
            [
                ("error", &Value::from(3)),
                ("response.failed", &Value::from(4))
            ]
        );
        let response = &events[1]["response"];
        assert_eq!(response["id"], "resp_theirs");
        assert_eq!(response["model"], "m-1");
    }

    #[test]
    fn s17_half_a_call_is_told_or_an_error_and_never_a_whole_one() {
        let made = STOP.replace("stop", "tool_calls");
        for finish in [&made, STOP] {
            let stream = [HALF, finish, "[DONE]"];
            let (end, out, quirks) = relayed(ClientDialect::Anthropic, &stream);
            assert_eq!((end, quirks), (Err(CUT_CALL), 1));
            assert!(
                !out.contains("content_block_stop") && !out.contains("tool_use\",\"stop"),
                "{out}"
            );
            let (end, out, quirks) = relayed(ClientDialect::Responses, &stream);
            assert_eq!((end, quirks), (Ok(StreamEnd::Clean), 1));
            assert!(out.contains("event: response.incomplete"), "{out}");
            assert!(
                !out.contains("arguments.done") && !out.contains("completed"),
                "{out}"
            );
            let (end, out, quirks) = relayed(ClientDialect::Gemini, &stream);
            assert_eq!((end, quirks), (Ok(StreamEnd::Clean), 1));
            assert!(
                out.contains("MALFORMED_FUNCTION_CALL") && !out.contains("functionCall"),
                "{out}"
            );
            assert!(matches!(
                folded(&stream[..2]),
                Err(AnswerFault::Malformed(_))
            ));
        }
    }

    #[test]
    fn s17_the_limit_explains_half_a_call() {
        let limited = STOP.replace("stop", "length");
        for (client, said) in [
            (ClientDialect::Anthropic, "max_tokens"),
            (ClientDialect::Responses, "max_output_tokens"),
            (ClientDialect::Gemini, "MAX_TOKENS"),
        ] {
            let (end, out, quirks) = relayed(client, &[HALF, &limited, "[DONE]"]);
            assert_eq!((end, quirks), (Ok(StreamEnd::Clean), 0));
            assert!(
                out.contains(said) && !out.contains("arguments.done"),
                "{out}"
            );
            assert!(!out.contains(r#""args":{"arguments""#), "{out}");
        }
        assert!(folded(&[HALF, &limited]).is_ok());
    }

    #[test]
    fn s14_s17_half_a_call_and_an_end_without_a_reason_are_a_cut() {
        for client in [
            ClientDialect::Anthropic,
            ClientDialect::Responses,
            ClientDialect::Gemini,
        ] {
            let (end, ..) = relayed(client, &[HALF, "[DONE]"]);
            assert_eq!(end, Err(StreamFault::Truncated));
        }
    }

    #[test]
    fn s14_an_end_without_a_reason_is_given_none() {
        let word = r#"{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
        for (client, invented, said) in [
            (
                ClientDialect::Anthropic,
                "end_turn",
                r#""stop_reason":null"#,
            ),
            (
                ClientDialect::Responses,
                "response.completed",
                "event: response.incomplete",
            ),
            (ClientDialect::Gemini, "finishReason", "usageMetadata"),
        ] {
            let (end, out, _) = relayed(client, &[word, "[DONE]"]);
            assert_eq!(end, Ok(StreamEnd::Unclean));
            assert!(!out.contains(invented) && out.contains(said), "{out}");
        }
    }

    #[test]
    fn p14_a_plain_end_without_content_is_no_answer() {
        assert!(matches!(folded(&[STOP]), Err(AnswerFault::Empty(_))));
        let limited = STOP.replace("stop", "length");
        assert!(folded(&[&limited]).is_ok(), "the limit can leave nothing");
    }
}
