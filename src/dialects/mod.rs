//! Wire formats: bytes to domain and back, pure.
//!
//! A dialect never sees a socket, a header or a clock. Same dialect in and out is spliced, not parsed
//! (`openai::peek`, `openai::splice`); everything else goes through `domain::chat`.

use bytes::{Bytes, BytesMut};

use crate::domain::{Failure, StreamEnd, StreamFacts, StreamFault};

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
}
