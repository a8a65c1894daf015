//! Streams whose pieces tell whoever watches the wire little of their words (attack A28).
//!
//! # Why
//! Encryption hides words and not their lengths: one token a record, and a watcher who knows how people write guesses
//! the topic. What comes within a while leaves together, and what leaves together is filled up to a multiple. Readers
//! see the same events in the same order: the filling is a comment, which every reader of events leaves out, or space
//! behind JSON for the one that stands no comments.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep, sleep};

use super::reply::Said;
use crate::config::StreamShape;
use crate::dispatch::StreamPiece;
use crate::domain::ClientDialect;

/// More never waits (ground rule G14).
const MOST_WAITING: usize = 64 * 1024;

/// A stream in its shape.
pub(super) struct Shaped {
    said: Said,
    filling: Filling,
    /// `None`: what comes leaves at once.
    batch: Option<Batch>,
}

struct Batch {
    shape: StreamShape,
    waiting: BytesMut,
    /// When what waits has to leave.
    timer: Pin<Box<Sleep>>,
    /// What comes behind what waits.
    end: Option<StreamPiece>,
}

/// What pieces are filled up with.
pub(super) struct Filling {
    /// 0: with nothing.
    pad_to: usize,
    speaks: ClientDialect,
    random: fastrand::Rng,
}

impl Shaped {
    pub(super) fn new(said: Said, shape: StreamShape, filling: Filling) -> Self {
        let batch = (!shape.batch.is_zero()).then(|| Batch {
            shape,
            waiting: BytesMut::new(),
            timer: Box::pin(sleep(shape.batch)),
            end: None,
        });
        Self {
            said,
            filling,
            batch,
        }
    }

    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<StreamPiece> {
        let Some(batch) = &mut self.batch else {
            return self.said.poll_piece(cx).map(|piece| match piece {
                StreamPiece::Data(bytes) => StreamPiece::Data(self.filling.fill(bytes)),
                end @ (StreamPiece::End | StreamPiece::Broken | StreamPiece::Cut) => end,
            });
        };
        loop {
            if let Some(end) = batch.end.take() {
                return Poll::Ready(end);
            }
            let waits = !batch.waiting.is_empty();
            let is_due = batch.waiting.len() >= MOST_WAITING
                || waits && batch.timer.as_mut().poll(cx).is_ready();
            if is_due {
                return Poll::Ready(batch.leave(&mut self.filling));
            }
            match std::task::ready!(self.said.poll_piece(cx)) {
                StreamPiece::Data(bytes) => {
                    if !waits {
                        let due = Instant::now() + batch.shape.batch;
                        batch.timer.as_mut().reset(due);
                    }
                    batch.waiting.extend_from_slice(&bytes);
                }
                end @ (StreamPiece::End | StreamPiece::Broken | StreamPiece::Cut) => {
                    batch.end = Some(end);
                    if waits {
                        return Poll::Ready(batch.leave(&mut self.filling));
                    }
                }
            }
        }
    }
}

impl Batch {
    fn leave(&mut self, filling: &mut Filling) -> StreamPiece {
        StreamPiece::Data(filling.fill(self.waiting.split().freeze()))
    }
}

impl Filling {
    /// `seed` decides what stands in comments.
    pub(super) fn new(shape: StreamShape, speaks: ClientDialect, seed: u64) -> Self {
        Self {
            pad_to: shape.pad_to,
            speaks,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The piece, as long as a multiple; as it is where it does not end with an event.
    pub(super) fn fill(&mut self, piece: Bytes) -> Bytes {
        /// A comment and the end of its event.
        const FRAME: usize = 4;
        let ends_whole = piece.ends_with(b"\n\n") || piece.ends_with(b"\r\n\r\n");
        if self.pad_to == 0 || !ends_whole {
            return piece;
        }
        let missing = |length: usize| length.next_multiple_of(self.pad_to) - length;
        match self.speaks {
            ClientDialect::Openai | ClientDialect::Responses | ClientDialect::Anthropic => {
                let mut more = missing(piece.len());
                if (1..FRAME).contains(&more) {
                    more += self.pad_to;
                }
                if more == 0 {
                    return piece;
                }
                let mut out = BytesMut::with_capacity(piece.len() + more);
                out.extend_from_slice(&piece);
                out.extend_from_slice(b": ");
                for _ in FRAME..more {
                    let letter = self.random.alphanumeric();
                    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                out.extend_from_slice(b"\n\n");
                out.freeze()
            }
            // Its readers stand nothing but data.
            ClientDialect::Gemini => {
                let end = if piece.ends_with(b"}\r\n\r\n") { 4 } else { 2 };
                let place = piece.len().saturating_sub(end);
                if !piece.get(..place).is_some_and(|text| text.ends_with(b"}")) {
                    return piece;
                }
                let mut out = BytesMut::from(piece.get(..place).unwrap_or_default());
                out.resize(place + missing(piece.len()), b' ');
                out.extend_from_slice(piece.get(place..).unwrap_or_default());
                out.freeze()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "proptest's macro writes the functions")]
    use proptest::prelude::*;

    use super::*;
    use crate::dialects::sse::Framer;

    fn events(bytes: &Bytes) -> Vec<Bytes> {
        let mut framer = Framer::default();
        framer.push(bytes).unwrap();
        let events = std::iter::from_fn(|| framer.next_event());
        events.map(|event| event.unwrap().data).collect()
    }

    proptest! {
        #[test]
        fn a28_what_is_filled_is_a_multiple_and_says_the_same(
            words in prop::collection::vec("[a-z]{0,90}", 1..6),
            pad_to in 64_usize..600,
            seed in any::<u64>(),
            speaks in prop::sample::select(vec![ClientDialect::Openai, ClientDialect::Anthropic, ClientDialect::Responses, ClientDialect::Gemini]),
            line_end in prop::sample::select(vec!["\n", "\r\n"]),
        ) {
            let text: String = words.iter().map(|word| format!("data: {{\"w\":\"{word}\"}}{line_end}{line_end}")).collect();
            let piece = Bytes::from(text);
            let shape = StreamShape { pad_to, ..StreamShape::default() };
            let filled = Filling::new(shape, speaks, seed).fill(piece.clone());
            prop_assert_eq!(filled.len() % pad_to, 0);
            prop_assert!(filled.len() < piece.len() + pad_to + 4);
            let read = |bytes: &Bytes| -> Vec<serde_json::Value> {
                events(bytes).iter().filter(|data| !data.is_empty()).map(|data| serde_json::from_slice(data).unwrap()).collect()
            };
            prop_assert_eq!(read(&filled), read(&piece));
        }

        #[test]
        fn a28_what_ends_in_the_middle_of_an_event_is_left_as_it_is(piece in "[a-z}\r\n: ]{0,80}") {
            let whole = piece.ends_with("\n\n") || piece.ends_with("\r\n\r\n");
            let piece = Bytes::from(piece);
            for speaks in [ClientDialect::Openai, ClientDialect::Gemini] {
                let shape = StreamShape { pad_to: 64, ..StreamShape::default() };
                let filled = Filling::new(shape, speaks, 1).fill(piece.clone());
                prop_assert!(whole || filled == piece);
            }
        }
    }
}
