//! What one attempt sends and how its answer is read, by the provider's dialect.

use bytes::{Bytes, BytesMut};

use super::next::AttemptFailure;
use super::request::Request;
use super::unix_now;
use crate::actors::Lease;
use crate::dialects::openai::{
    SpliceEdit, SpliceRelay, StreamEncoder, decode_answer, encode_answer, inspect_answer,
    splice_request,
};
use crate::dialects::{
    AnswerFacts, AnswerFault, DialectError, Relay, TranslateRelay, UpstreamError,
    answer_from_stream, anthropic, openai, stream_from_answer,
};
use crate::domain::chat::{ChatAnswer, StopReason};
use crate::domain::{AttemptOutcome, Dialect, FailureKind, StreamFacts};
use crate::upstream::Rope;

/// What to send, and what could not be said.
pub(super) struct Prepared {
    pub(super) body: Rope,
    pub(super) dropped: Vec<&'static str>,
}

/// A whole answer in the client's dialect.
pub(crate) struct Whole {
    pub body: Bytes,
    pub facts: AnswerFacts,
}

/// Reads answers of one dialect for one request.
#[derive(Clone, Copy)]
pub(super) struct Translation<'a> {
    pub(super) dialect: Dialect,
    pub(super) request: &'a Request,
}

impl From<DialectError> for AttemptFailure {
    fn from(error: DialectError) -> Self {
        Self {
            kind: FailureKind::InvalidRequest,
            message: Some(error.message),
            param: error.param,
            ..Self::plain(AttemptOutcome::Rejected)
        }
    }
}

impl Translation<'_> {
    /// The request as this target's provider wants it.
    pub(super) fn prepare(&self, lease: &Lease) -> Result<Prepared, AttemptFailure> {
        match self.dialect {
            Dialect::Openai => {
                let edit = SpliceEdit {
                    model: lease.model().as_str(),
                };
                let body = splice_request(&self.request.body(), &self.request.peek, &edit);
                Ok(Prepared {
                    body: body.into_iter().collect(),
                    dropped: Vec::new(),
                })
            }
            Dialect::Anthropic => {
                let canonical = openai::decode_request(&self.request.body())?;
                let most = lease.target().provider.default_max_output;
                let encoded = anthropic::encode_request(&canonical, lease.model().as_str(), most)?;
                Ok(Prepared {
                    body: [Bytes::from(encoded.body)].into_iter().collect(),
                    dropped: encoded.dropped,
                })
            }
        }
    }

    pub(super) fn relay(&self) -> Box<dyn Relay> {
        let peek = &self.request.peek;
        match self.dialect {
            Dialect::Openai => Box::new(SpliceRelay::new(
                peek.choices,
                peek.include_usage != Some(true),
            )),
            Dialect::Anthropic => Box::new(TranslateRelay::new(self.dialect, self.encoder())),
        }
    }

    fn encoder(&self) -> StreamEncoder {
        let request = self.request;
        let include_usage = request.peek.include_usage == Some(true);
        StreamEncoder::new(
            request.id.text().as_str(),
            &request.asked,
            unix_now(),
            include_usage,
        )
    }

    fn decode(&self, body: &[u8]) -> Result<ChatAnswer, AnswerFault> {
        match self.dialect {
            Dialect::Openai => decode_answer(body),
            Dialect::Anthropic => anthropic::decode_answer(body),
        }
    }

    /// A whole answer that came whole.
    pub(super) fn whole(&self, body: Bytes) -> Result<Whole, AnswerFault> {
        match self.dialect {
            // The provider's own bytes, untouched.
            Dialect::Openai => inspect_answer(&body).map(|facts| Whole { facts, body }),
            Dialect::Anthropic => self.decode(&body).map(|answer| encoded(&answer)),
        }
    }

    /// A whole answer that came as a stream (fault P17).
    pub(super) fn whole_from_stream(&self, body: &Bytes) -> Result<Whole, AnswerFault> {
        answer_from_stream(self.dialect, body).map(|answer| encoded(&answer))
    }

    /// A stream that came whole (fault P17).
    pub(super) fn stream_from_whole(
        &self,
        body: &Bytes,
    ) -> Result<(BytesMut, StreamFacts), AnswerFault> {
        let answer = self.decode(body)?;
        let mut out = BytesMut::new();
        let facts = stream_from_answer(&answer, &mut self.encoder(), &mut out);
        Ok((out, facts))
    }

    pub(super) fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        match self.dialect {
            Dialect::Openai => openai::decode_error(status, body),
            Dialect::Anthropic => anthropic::decode_error(status, body),
        }
    }
}

fn encoded(answer: &ChatAnswer) -> Whole {
    Whole {
        body: encode_answer(answer, unix_now()).into(),
        facts: AnswerFacts {
            usage: answer.usage,
            served_model: Some(answer.model.clone()).filter(|model| !model.is_empty()),
            filtered: answer.stop == StopReason::ContentFilter,
        },
    }
}
