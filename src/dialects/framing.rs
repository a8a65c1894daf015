//! How a provider's stream is cut into events, by its dialect.

use bytes::Bytes;

use super::sse::{self, Event};
use super::{frames, lines};
use crate::domain::{Dialect, StreamFault};

/// Cuts a body into events, whatever way the network cut the bytes.
#[derive(Debug)]
pub(super) enum Framing {
    Sse(sse::Framer),
    Lines(lines::Framer),
    Frames(frames::Framer),
}

impl Framing {
    pub(super) fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Openai
            | Dialect::Anthropic
            | Dialect::Responses
            | Dialect::Gemini
            | Dialect::Cohere => Self::Sse(sse::Framer::default()),
            Dialect::Ollama => Self::Lines(lines::Framer::default()),
            Dialect::Bedrock => Self::Frames(frames::Framer::default()),
        }
    }

    /// Takes the next piece. [`Framing::next_event`] is called until it answers `None` before the next push.
    pub(super) fn push(&mut self, piece: &Bytes) -> Result<(), StreamFault> {
        let pushed = match self {
            Self::Sse(framer) => framer.push(piece),
            Self::Lines(framer) => framer.push(piece),
            Self::Frames(framer) => {
                framer.push(piece);
                Ok(())
            }
        };
        pushed.map_err(|_| StreamFault::TooLarge)
    }

    /// The next whole event.
    pub(super) fn next_event(&mut self) -> Result<Option<Event>, StreamFault> {
        let next = match self {
            Self::Sse(framer) => framer.next_event(),
            Self::Lines(framer) => framer.next_event(),
            Self::Frames(framer) => return framer.next_event(),
        };
        next.transpose().map_err(|_| StreamFault::TooLarge)
    }

    /// What the end of the body cut off, where it may be whole all the same.
    pub(super) fn rest(&mut self) -> Option<Event> {
        match self {
            Self::Sse(framer) => framer.rest(),
            Self::Lines(framer) => framer.rest(),
            // Half a frame is none: its checksum is missing.
            Self::Frames(_) => None,
        }
    }
}
