//! AWS's binary framing of events, `application/vnd.amazon.eventstream`.
//!
//! A frame is cut out by its own length, which is bounded before anything is kept; what is in it is read by AWS's
//! own crate, which holds both checksums against it.

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::{Header, Message};
use bytes::{Bytes, BytesMut};

use super::sse::{Event, LONGEST};
use crate::domain::StreamFault;

/// What the name of an event begins with that ends the stream with an error.
pub(super) const EXCEPTION: &str = "exception:";

/// Two lengths and their checksum, and the checksum at the end.
const LEAST: usize = 16;
/// The most the format itself allows; what claims more is not this format.
const MOST: usize = 24 << 20;

const DAMAGED: StreamFault = StreamFault::Malformed("a frame is damaged");

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub(super) struct Framer {
    carry: BytesMut,
}

impl Framer {
    /// Takes the next piece. [`Framer::next_event`] is called until it answers `None` before the next push.
    pub(super) fn push(&mut self, piece: &Bytes) {
        self.carry.extend_from_slice(piece);
    }

    /// The next whole frame that holds an event.
    pub(super) fn next_event(&mut self) -> Result<Option<Event>, StreamFault> {
        while let Some(length) = self.length()? {
            if self.carry.len() < length {
                return Ok(None);
            }
            let raw = self.carry.split_to(length).freeze();
            let message = read_message_from(&mut raw.clone()).map_err(|_| DAMAGED)?;
            if let Some(event) = event_of(&message, raw) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// How long the frame is that begins here, as far as it says so yet.
    fn length(&self) -> Result<Option<usize>, StreamFault> {
        let Some(length) = self.carry.first_chunk::<4>() else {
            return Ok(None);
        };
        match usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX) {
            length if !(LEAST..=MOST).contains(&length) => Err(DAMAGED),
            length if length > LONGEST => Err(StreamFault::TooLarge),
            length => Ok(Some(length)),
        }
    }
}

/// The event a frame holds; kinds that the protocol may grow hold none.
fn event_of(message: &Message, raw: Bytes) -> Option<Event> {
    let text = |name: &str| {
        let found = |header: &&Header| header.name().as_str() == name;
        let header = message.headers().iter().find(found)?;
        header.value().as_string().ok().map(|text| text.as_str())
    };
    let data = message.payload().clone();
    let (name, data) = match text(":message-type")? {
        "event" => (text(":event-type")?.to_owned(), data),
        "exception" => {
            let kind = text(":exception-type").unwrap_or_default();
            (format!("{EXCEPTION}{kind}"), data)
        }
        "error" => {
            let told = serde_json::json!({"message": text(":error-message")});
            let kind = text(":error-code").unwrap_or_default();
            (format!("{EXCEPTION}{kind}"), told.to_string().into())
        }
        _ => return None,
    };
    Some(Event {
        name: Some(name.into()),
        data,
        raw,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "proptest hides the test functions")]

    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn frame(headers: &[(&'static str, &'static str)], payload: &str) -> Vec<u8> {
        let mut message = Message::new(Bytes::copy_from_slice(payload.as_bytes()));
        for (name, value) in headers {
            message = message.add_header(Header::new(*name, HeaderValue::String((*value).into())));
        }
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        bytes
    }

    fn event(name: &'static str, payload: &str) -> Vec<u8> {
        frame(
            &[(":message-type", "event"), (":event-type", name)],
            payload,
        )
    }

    type Seen = (Vec<(String, String)>, Option<StreamFault>);

    fn seen(pieces: &[&[u8]]) -> Seen {
        let mut framer = Framer::default();
        let mut events = Vec::new();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        for piece in pieces {
            framer.push(&Bytes::copy_from_slice(piece));
            loop {
                match framer.next_event() {
                    Ok(Some(event)) => {
                        events.push((text(event.name.as_ref().unwrap()), text(&event.data)));
                    }
                    Ok(None) => break,
                    Err(fault) => return (events, Some(fault)),
                }
            }
        }
        (events, None)
    }

    /// The checksum, bit by bit, as the standard describes it.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
            })
        })
    }

    /// A frame whose checksums are right, whatever is in it.
    fn sealed(headers_length: u32, inside: &[u8]) -> Vec<u8> {
        let length = u32::try_from(inside.len() + LEAST).unwrap();
        let mut bytes = [length.to_be_bytes(), headers_length.to_be_bytes()].concat();
        bytes.extend(crc(&bytes).to_be_bytes());
        bytes.extend(inside);
        bytes.extend(crc(&bytes).to_be_bytes());
        bytes
    }

    #[test]
    fn errors_are_told_apart_from_events_and_news_is_passed_over() {
        let news = frame(&[(":message-type", "news")], "{}");
        let nameless = sealed(0, b"{}");
        let bytes = [
            event("messageStart", "{}"),
            news,
            nameless,
            frame(
                &[
                    (":message-type", "exception"),
                    (":exception-type", "throttlingException"),
                ],
                "{\"message\":\"slow\"}",
            ),
            frame(
                &[
                    (":message-type", "error"),
                    (":error-code", "InternalFailure"),
                    (":error-message", "a \"word\""),
                ],
                "",
            ),
        ]
        .concat();
        let expected = [
            ("messageStart", "{}"),
            ("exception:throttlingException", "{\"message\":\"slow\"}"),
            (
                "exception:InternalFailure",
                "{\"message\":\"a \\\"word\\\"\"}",
            ),
        ];
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(name, data)| ((*name).to_owned(), (*data).to_owned()))
            .collect();
        assert_eq!(seen(&[&bytes]), (expected, None));
    }

    #[test]
    fn p32_a_frame_of_one_megabyte_passes_and_one_that_claims_more_is_not_waited_for() {
        let overhead = event("e", "").len();
        let longest = event("e", &"x".repeat(LONGEST - overhead));
        assert_eq!(longest.len(), LONGEST);
        assert_eq!(seen(&[&longest]).0.len(), 1);
        let claims = |length: usize| {
            let length = u32::try_from(length).unwrap().to_be_bytes();
            seen(&[&length]).1
        };
        assert_eq!(claims(LONGEST), None);
        assert_eq!(claims(LONGEST + 1), Some(StreamFault::TooLarge));
        for other in [claims(LEAST - 1), claims(MOST + 1), seen(&[b"<htm"]).1] {
            assert_eq!(other, Some(DAMAGED));
        }
    }

    proptest! {
        #[test]
        fn n12_any_slicing_gives_the_same_frames(
            payloads in prop::collection::vec("[a-z{}]{0,20}", 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let frames: Vec<Vec<u8>> = payloads.iter().map(|payload| event("delta", payload)).collect();
            let bytes = frames.concat();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            places.push(bytes.len());
            let mut pieces = Vec::new();
            let mut from = 0;
            for place in places {
                pieces.push(&bytes[from..place]);
                from = place;
            }
            let (events, fault) = seen(&pieces);
            prop_assert_eq!(fault, None);
            let data: Vec<String> = events.into_iter().map(|(_, data)| data).collect();
            prop_assert_eq!(data, payloads);
        }

        #[test]
        fn one_flipped_bit_is_noticed_wherever_it_is(at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut bytes = event("contentBlockDelta", "{\"delta\":{\"text\":\"Hi\"}}");
            let place = at.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            // A length that grew waits for more, and the end of the body finds it cut.
            bytes.extend(event("messageStop", "{}"));
            let (events, _) = seen(&[&bytes]);
            prop_assert!(events.is_empty(), "{:?}", events);
        }

        #[test]
        fn no_bytes_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = seen(&pieces);
        }

        #[test]
        fn nothing_inside_a_sound_frame_panics(
            headers in prop_oneof![0..64_u32, any::<u32>()],
            inside in prop::collection::vec(prop_oneof![0..12_u8, any::<u8>()], 0..80),
        ) {
            let _ = seen(&[&sealed(headers, &inside)]);
        }
    }
}
