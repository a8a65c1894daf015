//! Wire formats: bytes to domain and back, pure.
//!
//! A dialect never sees a socket, a header or a clock. Same dialect in and out is spliced, not parsed
//! (`openai::peek_request`, `openai::SpliceRelay`); everything else goes through `domain::chat`.

pub mod anthropic;
pub mod bedrock;
mod citations;
pub mod cohere;
mod counting;
mod effort;
mod embedding;
mod fields;
mod foreign;
mod frames;
mod framing;
pub mod gemini;
mod in_order;
pub mod json;
mod limit;
mod lines;
mod logprobs;
pub mod media;
pub mod multipart;
pub mod offered;
pub mod ollama;
pub mod openai;
mod places;
mod quoted;
mod raw;
mod refuse;
mod rerank;
pub mod responses;
mod sequence;
mod shapes;
mod sides;
pub mod sse;
mod stops;
mod system;
pub mod texts;
mod translate;
mod unread;
mod unsupported;

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::domain::{
    AttemptOutcome, Failure, FailureKind, Quirks, StreamEnd, StreamFacts, StreamFault, Tokens,
    Usage,
};

pub use citations::lost_of;
pub use counting::{count_answer, count_request, counted};
pub use embedding::{
    EmbeddingTerms, decode_embedded, decode_embedding, encode_embedded, encode_embedding,
};
pub use foreign::{Foreign, Home, Marker, cut_foreign};
pub use limit::{Moved, with_limit};
pub use raw::RawRelay;
pub use rerank::{decode_reranked, encode_rerank};
pub use sides::{Decoder, Encoder};
pub use sides::{
    decode_answer, decode_error, decode_request, encode_answer, encode_error, encode_request,
    filtered_completion, filtered_end, keep_alive,
};
pub use stops::Cutter;
pub use translate::{
    MirrorRelay, TranslateRelay, answer_from_stream, stream_from_answer, with_whole_calls,
};
pub use unread::own_place;
pub use unsupported::{SENT_UNHEEDED, encode_by};

/// One provider stream on its way to one client, event by event.
///
/// The relay owns framing, translation and the facts; the caller owns time, sockets and the decision
/// what to do about a fault. Output is only ever appended, and never holds half an event.
pub trait Relay: Send {
    /// Takes the next piece of the provider's body. On `Err` nothing of the faulty event is in `out`.
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault>;

    /// The provider's body has ended (or the terminal event was seen): writes the client's terminal event
    /// if the answer is whole, else says why it is not.
    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault>;

    /// Writes the one in-band error event that ends a broken stream.
    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut);

    fn facts(&self) -> &StreamFacts;

    /// What was written since this was last asked, as a record of it may keep it; `None` where that is what was
    /// written.
    fn recorded(&mut self) -> Option<Bytes> {
        None
    }
}

/// What an answer says of the request it answers, in whichever dialect.
#[derive(Clone, Debug, Default)]
pub struct AnswerTerms {
    pub request_id: String,
    /// The model as the client wrote it; said until the provider names its own.
    pub asked: String,
    /// Unix seconds.
    pub created: u64,
    /// Whether a stream ends with what was used, where that has to be asked for.
    pub include_usage: bool,
    /// Whether the client asked how likely the tokens were; else it is not told.
    pub logprobs: bool,
    /// The request, for dialects whose answers repeat its settings; else `null`.
    pub request: serde_json::Value,
}

/// JSON on one line, with the separators escaped that some parsers take for line ends (attack A13).
pub(crate) fn one_line(value: &serde_json::Value) -> Vec<u8> {
    let text = json::exact::write(value);
    if text.contains(['\u{2028}', '\u{2029}', '\u{85}']) {
        return text
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
            .replace('\u{85}', "\\u0085")
            .into_bytes();
    }
    text.into_bytes()
}

/// Whom a request is encoded for.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// As the provider calls it.
    pub model: &'a str,
    /// Said where a limit has to be and the client named none.
    pub default_max_output: Tokens,
    pub quirks: &'a Quirks,
}

/// An encoded request, and the fields that could not come along and do not change its meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    pub body: Vec<u8>,
    pub dropped: Vec<Cow<'static, str>>,
}

impl Encoded {
    pub(crate) fn new(body: Vec<u8>, dropped: Vec<&'static str>) -> Self {
        let dropped = dropped.into_iter().map(Cow::Borrowed).collect();
        Self { body, dropped }
    }
}

/// A request cannot be said in another dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DialectError {
    pub message: String,
    /// The request field at fault, as a JSON path.
    pub param: Option<String>,
}

impl DialectError {
    /// The same of one part, where what is said is of the parts of its message.
    pub fn placed(self, place: String) -> Self {
        match &self.param {
            Some(param) if param.ends_with(".content") => Self {
                param: Some(place),
                ..self
            },
            Some(_) | None => self,
        }
    }

    pub(crate) fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param: Some(param.into()),
        }
    }
}

/// What an error answer of a provider means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    pub outcome: AttemptOutcome,
    /// What the client is told if this is the end.
    pub kind: FailureKind,
    /// The provider's own words, only where they are the caller's business.
    pub message: Option<String>,
    pub code: Option<String>,
    pub retry_in: Option<Duration>,
    /// When a spent quota comes back, as the provider wrote it.
    pub until_date: Option<String>,
    /// The refusal is about this model, not about the key.
    pub model_only: bool,
}

impl UpstreamError {
    /// An error of which nothing is known but what it comes to.
    pub(crate) fn bare(outcome: AttemptOutcome) -> Self {
        Self {
            outcome,
            kind: FailureKind::UpstreamFailed,
            message: None,
            code: None,
            retry_in: None,
            until_date: None,
            model_only: false,
        }
    }
}

/// What a whole answer shows without being built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    pub usage: Option<Usage>,
    pub served_model: Option<String>,
    pub filtered: bool,
}

/// Why something that claims to be an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// An error dressed as a success (fault P13).
    Disguised(UpstreamError),
    Empty(&'static str),
    Malformed(&'static str),
    /// It calls a tool that was not offered.
    Unoffered,
    /// An answer, but one that cannot be said in the form that was asked for.
    Untranslatable(&'static str),
}

impl From<UpstreamError> for StreamFault {
    fn from(error: UpstreamError) -> Self {
        Self::Reported {
            outcome: error.outcome,
            message: error.message.unwrap_or_default(),
            code: error.code,
        }
    }
}
