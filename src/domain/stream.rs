//! A stream of answer events, and the facts a stream leaves behind.

use super::{FailureKind, Usage};

/// What a stream has shown so far. Metering and the commit point read this; it holds no text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamFacts {
    /// The first byte of model content was seen (ground rule G1).
    pub content: bool,
    /// Every choice that began has its finish reason (ground rule G3).
    pub finished: bool,
    /// The protocol's own terminal event was seen.
    pub terminal: bool,
    /// The last usage the provider reported; `None` when it reported none.
    pub usage: Option<Usage>,
    /// Bytes of content so far, for an estimate when usage never comes.
    pub content_bytes: u64,
    /// The model that says it answered; `None` before it said so.
    pub served_model: Option<String>,
    /// A content filter ended the answer.
    pub filtered: bool,
    /// The token limit ended the answer.
    pub limited: bool,
    /// Odd but survivable things seen (`switchyard_quirk_total`).
    pub quirks: u32,
}

impl StreamFacts {
    /// Whether this can be a whole answer: a filter or the token limit can leave nothing, a plain end cannot
    /// (fault P14).
    pub fn is_an_answer(&self) -> bool {
        self.content || self.filtered || self.limited
    }
}

/// How a stream ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    Clean,
    /// Whole by ground rule G3, but not by the letter of the protocol (no terminal event, or no reason).
    Unclean,
    /// A rule of the operator's ended it where it stands (fault S21).
    Blocked,
}

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// The provider said so inside the stream.
    Reported {
        outcome: super::AttemptOutcome,
        message: String,
        code: Option<String>,
    },
    /// What came is not this protocol.
    Malformed(&'static str),
    /// It calls a tool that was not offered.
    Unoffered,
    /// It is an answer, but holds what cannot be said in the form that was asked for.
    Untranslatable(&'static str),
    /// The end came before the answer was whole.
    Truncated,
    /// One event or the whole stream is larger than allowed.
    TooLarge,
    /// The guard cannot look at it, and nothing goes on that it has not seen (attack A21).
    Unguarded,
    /// A rule of the operator's forbids it, as is only seen at its end.
    Forbidden,
}

impl StreamFault {
    /// What the client reads when this happens after the first content.
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Reported { .. } => FailureKind::UpstreamError,
            Self::Malformed(_) | Self::Unoffered => FailureKind::UpstreamMalformed,
            Self::Untranslatable(_) => FailureKind::AnswerUntranslatable,
            Self::Truncated => FailureKind::UpstreamTruncated,
            Self::TooLarge => FailureKind::UpstreamTooLarge,
            Self::Unguarded => FailureKind::PolicyUnavailable,
            Self::Forbidden => FailureKind::ContentBlocked,
        }
    }

    pub fn outcome(&self) -> super::AttemptOutcome {
        match self {
            Self::Reported { outcome, .. } => *outcome,
            Self::Malformed(_) => super::AttemptOutcome::BadBody,
            Self::Unoffered => super::AttemptOutcome::Unoffered,
            Self::Untranslatable(_) => super::AttemptOutcome::Untranslatable,
            Self::Truncated => super::AttemptOutcome::Truncated,
            Self::TooLarge => super::AttemptOutcome::TooLarge,
            // Nobody's fault but ours.
            Self::Unguarded | Self::Forbidden => super::AttemptOutcome::Cancelled,
        }
    }
}
