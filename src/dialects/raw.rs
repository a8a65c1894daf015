//! An answer that is neither text nor events, passed on as it comes.

use bytes::{Bytes, BytesMut};

use super::Relay;
use crate::domain::{Failure, StreamEnd, StreamFacts, StreamFault};

/// Bytes of a kind the gateway does not look into, like speech.
///
/// Only the transport tells whether they are whole, and nothing can be said in between: a break has to show as one.
#[derive(Debug, Default)]
pub struct RawRelay {
    facts: StreamFacts,
}

impl Relay for RawRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        self.facts.content |= !piece.is_empty();
        self.facts.content_bytes += piece.len() as u64;
        out.extend_from_slice(piece);
        Ok(())
    }

    fn end(&mut self, _: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        self.facts.finished = true;
        self.facts.terminal = true;
        Ok(StreamEnd::Clean)
    }

    fn fail(&mut self, _: &Failure, _: &str, _: &mut BytesMut) {}

    fn facts(&self) -> &StreamFacts {
        &self.facts
    }
}
