//! The two sides of a conversation, each in whatever dialect it speaks.
//!
//! Every dialect has the same few functions for either side it is spoken on. This is the only place that lists
//! them all: a request goes from a client's dialect to the canonical chat and from there to a provider's, so N
//! dialects cost N. Some are only ever spoken by providers, so a client's is a type of its own.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::sse::Event;
use super::{
    AnswerFault, AnswerTerms, DialectError, Encoded, Recipient, UpstreamError, anthropic, bedrock,
    cohere, gemini, media, ollama, openai, responses, shapes,
};
use crate::domain::chat::{ChatAnswer, ChatEvent, ChatRequest, StopReason};
use crate::domain::{ClientDialect, Dialect, Failure, StreamFault};

// --- requests ---

/// What a client of this dialect asks.
pub fn decode_request(dialect: ClientDialect, body: &[u8]) -> Result<ChatRequest, DialectError> {
    let request = match dialect {
        ClientDialect::Openai => openai::decode_request(body),
        ClientDialect::Anthropic => anthropic::decode_request(body),
        ClientDialect::Responses => responses::decode_request(body),
        ClientDialect::Gemini => gemini::decode_request(body),
    }?;
    shapes::check_sense(dialect, &request)?;
    Ok(request)
}

/// The request as a provider of this dialect wants it.
pub fn encode_request(
    dialect: Dialect,
    request: &ChatRequest,
    recipient: Recipient<'_>,
) -> Result<Encoded, DialectError> {
    let Recipient {
        model,
        default_max_output,
        quirks,
    } = recipient;
    media::check(dialect, request, model)?;
    let mut encoded = match dialect {
        Dialect::Openai => openai::encode_request(request, model, quirks),
        Dialect::Anthropic => anthropic::encode_request(request, model, default_max_output),
        Dialect::Responses => responses::encode_request(request, model),
        Dialect::Gemini => gemini::encode_request(request, model),
        Dialect::Ollama => ollama::encode_request(request, model),
        Dialect::Cohere => cohere::encode_request(request, model),
        Dialect::Bedrock => bedrock::encode_request(request, model),
    }?;
    let unread = request.unread.iter().cloned().map(Cow::Owned);
    encoded.dropped.extend(unread);
    Ok(encoded)
}

// --- answers ---

/// What a provider of this dialect answered.
pub fn decode_answer(
    dialect: Dialect,
    body: &[u8],
    request_id: &str,
) -> Result<ChatAnswer, AnswerFault> {
    match dialect {
        Dialect::Openai => openai::decode_answer(body),
        Dialect::Anthropic => anthropic::decode_answer(body),
        Dialect::Responses => responses::decode_answer(body),
        Dialect::Gemini => gemini::decode_answer(body, request_id),
        Dialect::Ollama => ollama::decode_answer(body, request_id),
        Dialect::Cohere => cohere::decode_answer(body),
        Dialect::Bedrock => bedrock::decode_answer(body),
    }
}

/// The answer as a client of this dialect wants it.
pub fn encode_answer(dialect: ClientDialect, answer: &ChatAnswer, terms: &AnswerTerms) -> Vec<u8> {
    match dialect {
        ClientDialect::Openai => openai::encode_answer(answer, terms),
        ClientDialect::Anthropic => anthropic::encode_answer(answer, terms),
        ClientDialect::Responses => responses::encode_answer(answer, terms),
        ClientDialect::Gemini => gemini::encode_answer(answer, terms),
    }
}

// --- errors ---

/// What an error answer of a provider means.
pub fn decode_error(dialect: Dialect, status: u16, body: &[u8]) -> UpstreamError {
    match dialect {
        Dialect::Openai | Dialect::Responses => openai::decode_error(status, body),
        Dialect::Anthropic => anthropic::decode_error(status, body),
        Dialect::Gemini => gemini::decode_error(status, body),
        Dialect::Ollama => ollama::decode_error(status, body),
        Dialect::Cohere => cohere::decode_error(status, body),
        Dialect::Bedrock => bedrock::decode_error(status, body),
    }
}

/// A failure as a client of this dialect expects it.
pub fn encode_error(dialect: ClientDialect, failure: &Failure, request_id: &str) -> Vec<u8> {
    match dialect {
        ClientDialect::Openai => openai::encode_error(failure, request_id),
        ClientDialect::Anthropic => anthropic::encode_error(failure, request_id),
        ClientDialect::Responses => responses::encode_error(failure, request_id),
        ClientDialect::Gemini => gemini::encode_error(failure, request_id),
    }
}

// --- streams ---

/// What may be said into a stream that has nothing to say yet; a strict reader stands none.
pub fn keep_alive(dialect: ClientDialect) -> Option<Bytes> {
    match dialect {
        ClientDialect::Openai | ClientDialect::Responses => {
            Some(Bytes::from_static(b": keep-alive\n\n"))
        }
        ClientDialect::Anthropic => Some(Bytes::from_static(
            b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
        )),
        ClientDialect::Gemini => None,
    }
}

/// The end of a stream whose answer was cut off by a filter, for a client that has read its beginning.
pub fn filtered_end(
    dialect: ClientDialect,
    terms: &AnswerTerms,
    (id, model): (String, String),
    out: &mut BytesMut,
) {
    let mut encoder = Encoder::of(dialect, terms);
    // The client knows how it began.
    encoder.event(&ChatEvent::Start { id, model }, &mut BytesMut::new());
    encoder.event(
        &ChatEvent::Stop {
            reason: StopReason::ContentFilter,
        },
        out,
    );
    encoder.end(out);
}

/// The same, of a text continued.
pub fn filtered_completion(terms: &AnswerTerms, (id, model): (&str, &str), out: &mut BytesMut) {
    let choice = json!({
        "index": 0, "text": "", "logprobs": null, "finish_reason": "content_filter"
    });
    let event = json!({
        "id": id, "object": "text_completion", "created": terms.created, "model": model,
        "choices": [choice],
    });
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&super::one_line(&event));
    out.extend_from_slice(b"\n\ndata: [DONE]\n\n");
}

/// A provider's events in canonical form.
#[derive(Debug)]
pub enum Decoder {
    Openai(openai::EventDecoder),
    Completions(openai::CompletionDecoder),
    Typed(openai::TypedDecoder),
    Anthropic(anthropic::EventDecoder),
    Responses(Box<responses::EventDecoder>),
    Gemini(gemini::EventDecoder),
    Ollama(ollama::EventDecoder),
    Cohere(cohere::EventDecoder),
    Bedrock(bedrock::EventDecoder),
}

impl Decoder {
    pub fn of(dialect: Dialect, request_id: &str) -> Self {
        match dialect {
            Dialect::Openai => Self::Openai(openai::EventDecoder::default()),
            Dialect::Anthropic => Self::Anthropic(anthropic::EventDecoder::default()),
            Dialect::Responses => Self::Responses(Box::default()),
            Dialect::Gemini => Self::Gemini(gemini::EventDecoder::new(request_id)),
            Dialect::Ollama => Self::Ollama(ollama::EventDecoder::new(request_id)),
            Dialect::Cohere => Self::Cohere(cohere::EventDecoder::default()),
            Dialect::Bedrock => Self::Bedrock(bedrock::EventDecoder::default()),
        }
    }

    pub(super) fn event(
        &mut self,
        event: &Event,
        events: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        match self {
            Self::Openai(decoder) => decoder.event(event, events),
            Self::Completions(decoder) => decoder.event(event, events),
            Self::Typed(decoder) => decoder.event(event, events),
            Self::Anthropic(decoder) => decoder.event(event, events),
            Self::Responses(decoder) => decoder.event(event, events),
            Self::Gemini(decoder) => decoder.event(event, events),
            Self::Ollama(decoder) => decoder.event(event, events),
            Self::Cohere(decoder) => decoder.event(event, events),
            Self::Bedrock(decoder) => decoder.event(event, events),
        }
    }

    /// Whether the last event only said again what was said before (fault S13).
    pub(super) fn is_repeated(&self) -> bool {
        match self {
            Self::Responses(decoder) => decoder.is_repeated(),
            Self::Openai(_)
            | Self::Completions(_)
            | Self::Typed(_)
            | Self::Anthropic(_)
            | Self::Gemini(_)
            | Self::Ollama(_)
            | Self::Cohere(_)
            | Self::Bedrock(_) => false,
        }
    }

    /// The number of the last event, where events have one.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Responses(decoder) => decoder.number(),
            Self::Openai(_)
            | Self::Completions(_)
            | Self::Typed(_)
            | Self::Anthropic(_)
            | Self::Gemini(_)
            | Self::Ollama(_)
            | Self::Cohere(_)
            | Self::Bedrock(_) => None,
        }
    }

    /// The body has ended: what that means where the protocol has no terminal event.
    pub(super) fn ends(&mut self, events: &mut Vec<ChatEvent>) {
        match self {
            Self::Openai(_)
            | Self::Completions(_)
            | Self::Anthropic(_)
            | Self::Responses(_)
            | Self::Ollama(_)
            | Self::Cohere(_)
            | Self::Bedrock(_) => {}
            Self::Gemini(decoder) => decoder.ends(events),
            Self::Typed(decoder) => decoder.ends(events),
        }
    }
}

/// Canonical events in a client's form.
#[derive(Debug)]
pub enum Encoder {
    Openai(openai::StreamEncoder),
    Anthropic(anthropic::StreamEncoder),
    Responses(Box<responses::StreamEncoder>),
    Gemini(gemini::StreamEncoder),
}

impl Encoder {
    pub fn of(dialect: ClientDialect, terms: &AnswerTerms) -> Self {
        match dialect {
            ClientDialect::Openai => Self::Openai(openai::StreamEncoder::new(terms)),
            ClientDialect::Anthropic => Self::Anthropic(anthropic::StreamEncoder::new(terms)),
            ClientDialect::Responses => {
                Self::Responses(Box::new(responses::StreamEncoder::new(terms)))
            }
            ClientDialect::Gemini => Self::Gemini(gemini::StreamEncoder::new(terms)),
        }
    }

    pub(super) fn event(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match self {
            Self::Openai(encoder) => encoder.event(event, out),
            Self::Anthropic(encoder) => encoder.event(event, out),
            Self::Responses(encoder) => encoder.event(event, out),
            Self::Gemini(encoder) => encoder.event(event, out),
        }
    }

    /// An event of the provider's went out as it came: what is said here goes on behind it.
    pub(super) fn passed(&mut self, number: Option<u64>, said: &[ChatEvent]) {
        match self {
            Self::Responses(encoder) => encoder.passed(number, said),
            Self::Openai(_) | Self::Anthropic(_) | Self::Gemini(_) => {}
        }
    }

    /// Which stop ended the answer, for forms that say it.
    pub(super) fn stopped_by(&mut self, stop: &str) {
        match self {
            Self::Anthropic(encoder) => encoder.stopped_by(stop),
            Self::Openai(_) | Self::Responses(_) | Self::Gemini(_) => {}
        }
    }

    /// The end of a whole answer.
    pub(super) fn end(&mut self, out: &mut BytesMut) {
        match self {
            Self::Openai(encoder) => encoder.end(out),
            Self::Anthropic(encoder) => encoder.end(out),
            Self::Responses(encoder) => encoder.end(out),
            Self::Gemini(encoder) => encoder.end(out),
        }
    }

    /// The protocol's own end, where a provider of the same dialect has forgotten it.
    pub(super) fn terminal(&self, out: &mut BytesMut) {
        match self {
            Self::Openai(_) => out.extend_from_slice(b"data: [DONE]\n\n"),
            Self::Anthropic(_) => {
                out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
            }
            Self::Responses(_) | Self::Gemini(_) => {}
        }
    }

    /// The one event that ends a broken stream (ground rule G2).
    pub fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        match self {
            Self::Openai(encoder) => encoder.fail(failure, request_id, out),
            Self::Anthropic(encoder) => encoder.fail(failure, request_id, out),
            Self::Responses(encoder) => encoder.fail(failure, request_id, out),
            Self::Gemini(encoder) => encoder.fail(failure, request_id, out),
        }
    }

    /// Whether a call that is cut can be told from a whole one: elsewhere it would be taken for what it is not.
    pub(super) fn tells_cut_calls(&self) -> bool {
        match self {
            Self::Openai(_) | Self::Responses(_) | Self::Gemini(_) => true,
            Self::Anthropic(_) => false,
        }
    }

    /// Whether calls whose arguments come in turns can be said as they come: everywhere else one ends before the next.
    pub(super) fn interleaves(&self) -> bool {
        match self {
            Self::Openai(_) | Self::Gemini(_) => true,
            Self::Anthropic(_) | Self::Responses(_) => false,
        }
    }
}
