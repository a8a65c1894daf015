//! One JSON value per line (NDJSON), cut into events whatever way the network cut the bytes.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::sse::{Event, LONGEST, TooLong};

/// Cuts a byte stream into lines; empty ones are nothing.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// What is not yet a whole line.
    carry: BytesMut,
    /// How much of the carry was searched for an end before.
    searched: usize,
    /// The piece under way, when nothing is carried.
    piece: Bytes,
}

impl Framer {
    /// Takes the next piece. [`Framer::next_event`] is called until it answers `None` before the next push.
    pub(super) fn push(&mut self, piece: &Bytes) -> Result<(), TooLong> {
        if self.carry.is_empty() {
            self.piece = piece.clone();
        } else {
            self.carry.extend_from_slice(piece);
        }
        // The carry may hold many whole lines; what counts is what is left after they are taken out.
        if self.carry.len() > LONGEST + piece.len() {
            Err(TooLong)
        } else {
            Ok(())
        }
    }

    /// The next whole line.
    pub(super) fn next_event(&mut self) -> Option<Result<Event, TooLong>> {
        loop {
            let from_piece = self.carry.is_empty();
            let (block, from) = if from_piece {
                (&self.piece[..], 0)
            } else {
                (&self.carry[..], self.searched)
            };
            let found = block.get(from..).and_then(|rest| memchr(b'\n', rest));
            let Some(found) = found else {
                if from_piece {
                    self.carry.extend_from_slice(&self.piece);
                    self.piece.clear();
                }
                self.searched = self.carry.len();
                return (self.carry.len() > LONGEST).then_some(Err(TooLong));
            };
            let end = from + found + 1;
            let raw = if from_piece {
                self.piece.split_to(end)
            } else {
                self.carry.split_to(end).freeze()
            };
            self.searched = 0;
            if raw.len() > LONGEST {
                return Some(Err(TooLong));
            }
            if let Some(event) = event_of(raw) {
                return Some(Ok(event));
            }
        }
    }

    /// A last line without its end.
    pub(super) fn rest(&mut self) -> Option<Event> {
        self.searched = 0;
        event_of(std::mem::take(&mut self.carry).freeze())
    }
}

fn event_of(raw: Bytes) -> Option<Event> {
    let line = raw.trim_ascii();
    (!line.is_empty()).then(|| Event {
        name: None,
        data: raw.slice_ref(line),
        raw: raw.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "proptest hides the test functions")]

    use proptest::prelude::*;

    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut framer = Framer::default();
        let mut lines = Vec::new();
        let text = |event: Event| String::from_utf8_lossy(&event.data).into_owned();
        for piece in pieces {
            framer.push(&Bytes::copy_from_slice(piece)).unwrap();
            while let Some(event) = framer.next_event() {
                lines.push(text(event.unwrap()));
            }
        }
        lines.extend(framer.rest().map(text));
        lines
    }

    #[test]
    fn lines_end_in_any_way_and_the_last_needs_no_end() {
        assert_eq!(
            lines_of(&[b"{\"a\":1}\n\n{\"b\":2}\r\n", b"{\"c", b"\":3}"]),
            ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]
        );
        assert!(lines_of(&[b"", b"\n", b"  \r\n"]).is_empty());
    }

    #[test]
    fn p32_a_line_of_one_megabyte_passes_and_a_longer_one_does_not() {
        let reads = |length: usize| {
            let mut framer = Framer::default();
            let line = [vec![b'x'; length - 1], b"\n".to_vec()].concat();
            let mut seen = 0;
            for piece in line.chunks(4_096) {
                framer.push(&Bytes::copy_from_slice(piece))?;
                while let Some(event) = framer.next_event() {
                    seen += event?.data.len();
                }
            }
            Ok::<usize, TooLong>(seen)
        };
        assert_eq!(reads(LONGEST), Ok(LONGEST - 1));
        assert_eq!(reads(LONGEST + 1), Err(TooLong));
    }

    proptest! {
        #[test]
        fn n12_any_slicing_gives_the_same_lines(
            text in "[a-zé{}\r\n ]{0,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            places.push(bytes.len());
            let mut pieces = Vec::new();
            let mut from = 0;
            for place in places {
                pieces.push(&bytes[from..place]);
                from = place;
            }
            prop_assert_eq!(lines_of(&pieces), lines_of(&[bytes]));
            let expected: Vec<&str> = text
                .split('\n')
                .map(|line| line.trim_matches([' ', '\r']))
                .filter(|line| !line.is_empty())
                .collect();
            prop_assert_eq!(lines_of(&pieces), expected);
        }
    }
}
