//! Server-sent events, cut into events whatever way the network cut the bytes.
//!
//! An event that lies within one piece is looked at where it lies; only one that spans pieces is copied.

use std::borrow::Cow;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// A longer event is an attack or a mistake (fault P32).
pub const LONGEST: usize = 1 << 20;

/// An event is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// One event: its name if it has one, its data with the lines joined, and its bytes as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub name: Option<Bytes>,
    pub data: Bytes,
    /// The event's own bytes, its ending blank line included.
    pub raw: Bytes,
}

/// Ends every line of a stream in LF, whichever of the three ends it came with and however it was cut.
#[derive(Debug, Default)]
pub struct LineEnds {
    /// The last byte was a CR, whose LF may be the next.
    half: bool,
}

impl LineEnds {
    pub fn unified<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(last) = piece.last() else {
            return Cow::Borrowed(piece);
        };
        let was_half = std::mem::replace(&mut self.half, *last == b'\r');
        let mut rest = match piece.strip_prefix(b"\n") {
            Some(rest) if was_half => rest,
            Some(_) | None => piece,
        };
        if memchr(b'\r', rest).is_none() {
            return Cow::Borrowed(rest);
        }
        let mut unified = Vec::with_capacity(rest.len());
        while let Some((line, behind)) =
            memchr(b'\r', rest).and_then(|place| rest.split_at_checked(place))
        {
            unified.extend_from_slice(line);
            unified.push(b'\n');
            let behind = behind.strip_prefix(b"\r").unwrap_or(behind);
            rest = behind.strip_prefix(b"\n").unwrap_or(behind);
        }
        unified.extend_from_slice(rest);
        Cow::Owned(unified)
    }
}

/// Cuts a byte stream into events.
#[derive(Debug, Default)]
pub struct Framer {
    /// What is not yet a whole event.
    carry: BytesMut,
    /// How much of the carry was searched for an end before.
    searched: usize,
    /// The piece under way, when nothing is carried.
    piece: Bytes,
    started: bool,
}

impl Framer {
    /// Takes the next piece. Call [`Framer::next_event`] until it answers `None` before the next push.
    pub fn push(&mut self, piece: &Bytes) -> Result<(), TooLong> {
        if self.carry.is_empty() {
            self.piece = piece.clone();
        } else {
            self.carry.extend_from_slice(piece);
        }
        if !self.started {
            self.drop_byte_order_mark();
        }
        // The carry may hold many whole events; what counts is what is left after they are taken out.
        if self.carry.len() > LONGEST + piece.len() {
            Err(TooLong)
        } else {
            Ok(())
        }
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Option<Result<Event, TooLong>> {
        loop {
            let (from_piece, block) = if self.carry.is_empty() {
                (true, &self.piece[..])
            } else {
                (false, &self.carry[..])
            };
            match block_end(block, if from_piece { 0 } else { self.searched }) {
                Some(end) => {
                    let raw = if from_piece {
                        self.piece.split_to(end)
                    } else {
                        self.carry.split_to(end).freeze()
                    };
                    self.searched = 0;
                    if raw.len() > LONGEST {
                        return Some(Err(TooLong));
                    }
                    if let Some(event) = parse(&raw) {
                        return Some(Ok(event));
                    }
                }
                None => {
                    if from_piece && !self.piece.is_empty() {
                        self.carry.extend_from_slice(&self.piece);
                        self.piece.clear();
                    }
                    // The last three bytes may be the beginning of an end.
                    self.searched = self.carry.len().saturating_sub(3);
                    return if self.carry.len() > LONGEST {
                        Some(Err(TooLong))
                    } else {
                        None
                    };
                }
            }
        }
    }

    /// An event that the end of the stream cut off before its blank line; some providers' last one is.
    pub fn rest(&mut self) -> Option<Event> {
        let rest = std::mem::take(&mut self.carry).freeze();
        self.searched = 0;
        if rest.is_empty() { None } else { parse(&rest) }
    }

    fn drop_byte_order_mark(&mut self) {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        let start = if self.carry.is_empty() {
            &self.piece[..]
        } else {
            &self.carry[..]
        };
        if start.len() < MARK.len() && MARK.starts_with(start) {
            return;
        }
        self.started = true;
        if start.starts_with(MARK) {
            if self.carry.is_empty() {
                self.piece.advance(MARK.len())
            } else {
                self.carry.advance(MARK.len())
            }
        }
    }
}

/// Where the first event in `block` ends, its blank line included. A lone CR at the end may be half of a
/// CRLF, so it ends nothing yet.
fn block_end(block: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = memchr2(b'\n', b'\r', block.get(at..)?) {
        let first = line_end(block, at + found)?;
        match block.get(first) {
            Some(b'\n' | b'\r') => {
                let second = line_end(block, first)?;
                return Some(second);
            }
            Some(_) => at = first,
            None => return None,
        }
    }
    None
}

/// The place after the line break at `at`; `None` when it may not be whole yet.
fn line_end(block: &[u8], at: usize) -> Option<usize> {
    match (block.get(at), block.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        (Some(b'\r'), Some(_)) | (Some(b'\n'), _) => Some(at + 1),
        _ => None,
    }
}

/// Reads the fields of one event; `None` for a block of comments or blank lines.
fn parse(raw: &Bytes) -> Option<Event> {
    let mut name = None;
    let mut data: Option<Bytes> = None;
    let mut joined: Option<BytesMut> = None;
    let mut rest = &raw[..];
    while !rest.is_empty() {
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = match tail {
            [b'\r', b'\n', tail @ ..] | [b'\n' | b'\r', tail @ ..] => tail,
            _ => tail,
        };
        let (field, value) = match memchr(b':', line) {
            Some(0) => continue,
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &line[line.len()..]),
        };
        if field == b"data" {
            match (&mut joined, data.take()) {
                (Some(joined), _) => {
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(value);
                }
                (None, None) => data = Some(raw.slice_ref(value)),
                (None, Some(first)) => {
                    let mut both = BytesMut::with_capacity(first.len() + value.len() + 64);
                    both.extend_from_slice(&first);
                    both.extend_from_slice(b"\n");
                    both.extend_from_slice(value);
                    joined = Some(both);
                }
            }
        } else if field == b"event" {
            name = Some(raw.slice_ref(value));
        }
    }
    let data = joined.map(BytesMut::freeze).or(data);
    if data.is_none() && name.is_none() {
        return None;
    }
    Some(Event {
        name,
        data: data.unwrap_or_default(),
        raw: raw.clone(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events_of(pieces: &[&[u8]]) -> Vec<(Option<String>, String)> {
        let mut framer = Framer::default();
        let mut events = Vec::new();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        for piece in pieces {
            framer.push(&Bytes::copy_from_slice(piece)).unwrap();
            while let Some(event) = framer.next_event() {
                let event = event.unwrap();
                events.push((event.name.as_ref().map(text), text(&event.data)));
            }
        }
        events.extend(
            framer
                .rest()
                .map(|event| (event.name.as_ref().map(text), text(&event.data))),
        );
        events
    }

    #[test]
    fn s16_every_form_of_the_grammar_is_read() {
        let stream = b"\xef\xbb\xbf: PROCESSING\n\ndata: a\n\ndata:b\r\n\r\nevent: x\rdata: c\r\rid: 7\nretry: 5\ndata: d1\ndata: d2\n\ndata\n\ndata: last";
        let expected: Vec<(Option<String>, String)> = vec![
            (None, "a".into()),
            (None, "b".into()),
            (Some("x".into()), "c".into()),
            (None, "d1\nd2".into()),
            (None, String::new()),
            (None, "last".into()),
        ];
        assert_eq!(events_of(&[stream]), expected);
        for cut in 0..stream.len() {
            assert_eq!(
                events_of(&[&stream[..cut], &stream[cut..]]),
                expected,
                "cut at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events_of(&bytes), expected);
    }

    #[test]
    fn p32_a_line_of_one_megabyte_passes_and_a_longer_one_does_not() {
        let mut framer = Framer::default();
        let long = [b"data: ".as_slice(), &vec![b'x'; LONGEST - 100], b"\n\n"].concat();
        for piece in long.chunks(4_096) {
            framer.push(&Bytes::copy_from_slice(piece)).unwrap();
            if let Some(event) = framer.next_event() {
                assert_eq!(event.unwrap().data.len(), LONGEST - 100);
            }
        }
        let mut framer = Framer::default();
        let refused = vec![b'x'; LONGEST * 2].chunks(4_096).any(|piece| {
            framer.push(&Bytes::copy_from_slice(piece)).is_err()
                || matches!(framer.next_event(), Some(Err(TooLong)))
        });
        assert!(refused);
    }

    proptest! {
        #[test]
        fn n12_any_slicing_gives_the_same_events(
            lines in prop::collection::vec("(data: ?[a-zé{}]{0,8}|event: [a-z]{1,4}|: c|id: 1|)", 0..20),
            breaks in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut text = String::new();
            for (line, end) in lines.iter().zip(&breaks) {
                text.push_str(line);
                text.push_str(end);
            }
            let bytes = text.as_bytes();
            let whole = events_of(&[bytes]);
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for place in places {
                pieces.push(&bytes[from..place]);
                from = place;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(events_of(&pieces), whole);
        }

        #[test]
        fn s16_lines_end_in_our_own_way_however_they_are_cut(
            text in "[a\n\r]{0,40}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let wanted = text.replace("\r\n", "\n").replace('\r', "\n");
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            places.push(text.len());
            places.sort_unstable();
            let (mut ends, mut unified, mut from) = (LineEnds::default(), Vec::new(), 0);
            for place in places {
                unified.extend_from_slice(&ends.unified(&text.as_bytes()[from..place]));
                from = place;
            }
            prop_assert_eq!(unified, wanted.as_bytes());
        }

        #[test]
        fn no_bytes_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = events_of(&pieces);
        }
    }
}
