//! HTTP/1.1 answers as bytes: the head, and where the body ends. Pure; no socket.
//!
//! # Why not hyper's client
//! hyper reads a connection in a task of its own and hands over one chunk at a time: for a stream whose
//! chunks arrive together that is two task switches and one write to the client per chunk. Here the task
//! that wants the answer reads the socket, and what arrived together leaves together. It also sees what
//! hyper repairs in silence: two lengths, a length beside a transfer coding, bytes behind the end.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use http::StatusCode;
use memchr::{memchr, memchr_iter, memmem};

use super::fields::Fields;

/// What an answer did wrong on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireFault {
    /// A head, a chunk's line or trailers longer than any honest one (fault P32).
    TooLarge,
    /// It can be read in two ways, or in none (fault P19).
    Framing,
}

/// A head is not read any further than this (fault P32).
pub(super) const LARGEST_HEAD: usize = 64 * 1024;
const MOST_FIELDS: usize = 128;
const LONGEST_CHUNK_LINE: usize = 4 * 1024;
const LONGEST_TRAILERS: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) fields: Fields,
    pub(super) body: BodyPlace,
    /// The connection may serve again once the body is over.
    pub(super) keep: bool,
}

/// What the bytes read so far make of a head.
#[derive(Debug)]
pub(super) enum HeadRead {
    More,
    /// An interim answer, taken off and of no interest.
    Interim,
    Whole(Box<Head>),
}

/// Takes a head off the front of `inbox`, if it is whole.
pub(super) fn read_head(inbox: &mut BytesMut) -> Result<HeadRead, WireFault> {
    let end = memmem::find(inbox, b"\r\n\r\n").map(|found| found + 4);
    let looked_at = inbox.get(..end.unwrap_or(inbox.len())).unwrap_or_default();
    if looked_at.len() > LARGEST_HEAD {
        return Err(WireFault::TooLarge);
    }
    let before = |at: usize| at.checked_sub(1).and_then(|before| looked_at.get(before));
    let bare_feed = memchr_iter(b'\n', looked_at).any(|at| before(at) != Some(&b'\r'));
    let bare_return = memchr_iter(b'\r', looked_at)
        .any(|at| looked_at.get(at + 1).is_some_and(|next| *next != b'\n'));
    if bare_feed || bare_return {
        return Err(WireFault::Framing);
    }
    let Some(end) = end else {
        return Ok(HeadRead::More);
    };
    let raw = inbox.split_to(end).freeze();
    parse(&raw)
}

fn parse(raw: &Bytes) -> Result<HeadRead, WireFault> {
    // Most answers have ten fields: the others are not even made empty.
    let mut slots = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    match parser.parse_response_with_uninit_headers(&mut parsed, raw, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(WireFault::Framing),
        Err(httparse::Error::TooManyHeaders) => return Err(WireFault::TooLarge),
        Err(_) => return Err(WireFault::Framing),
    }
    let status = parsed
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(WireFault::Framing)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // Never asked for: whatever follows is not HTTP.
        return Err(WireFault::Framing);
    }
    if status.is_informational() {
        return Ok(HeadRead::Interim);
    }
    let http11 = parsed.version == Some(1);
    let mut facts = Facts::default();
    for field in parsed.headers.iter() {
        facts.note(field.name, field.value)?;
    }
    let start = raw.as_ptr() as usize;
    let place = |part: &[u8]| -> Range<usize> {
        let from = (part.as_ptr() as usize).saturating_sub(start);
        from..from + part.len()
    };
    let ranges = parsed
        .headers
        .iter()
        .map(|field| (place(field.name.as_bytes()), place(field.value)));
    let fields = Fields::within(raw.clone(), ranges);
    let body = facts.body(status, http11)?;
    Ok(HeadRead::Whole(Box::new(Head {
        status,
        fields,
        keep: http11 && !facts.close && body != BodyPlace::UntilClose,
        body,
    })))
}

#[derive(Default)]
struct Facts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

impl Facts {
    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), WireFault> {
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => {
                self.close |= value
                    .split(|byte| *byte == b',')
                    .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = plain_number(value).ok_or(WireFault::Framing)?;
                if self.length.replace(length).is_some() {
                    return Err(WireFault::Framing);
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(WireFault::Framing);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn body(&self, status: StatusCode, http11: bool) -> Result<BodyPlace, WireFault> {
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        match (self.length, self.chunked) {
            (Some(_), true) => Err(WireFault::Framing),
            (None, true) if !http11 => Err(WireFault::Framing),
            _ if bodiless => Ok(BodyPlace::Over),
            (None, true) => Ok(BodyPlace::ChunkSize),
            (Some(0), false) => Ok(BodyPlace::Over),
            (Some(left), false) => Ok(BodyPlace::Length { left }),
            (None, false) => Ok(BodyPlace::UntilClose),
        }
    }
}

fn plain_number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Where in a body its reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyPlace {
    Length {
        left: u64,
    },
    /// Only the connection's end tells.
    UntilClose,
    ChunkSize,
    Chunk {
        left: u64,
    },
    ChunkEnd,
    Trailers {
        read: usize,
    },
    Over,
}

impl BodyPlace {
    /// Takes what is there of the body, as one piece; `None` when more has to be read, or it is over.
    pub(super) fn take(&mut self, inbox: &mut BytesMut) -> Result<Option<Bytes>, WireFault> {
        let taken = match self {
            Self::Over => return Ok(None),
            Self::UntilClose => inbox.split(),
            Self::Length { left } => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(inbox.len());
                *left -= here as u64;
                if *left == 0 {
                    *self = Self::Over;
                }
                inbox.split_to(here)
            }
            Self::ChunkSize | Self::Chunk { .. } | Self::ChunkEnd | Self::Trailers { .. } => {
                self.unchunk(inbox)?
            }
        };
        Ok((!taken.is_empty()).then(|| taken.freeze()))
    }

    /// Joins the chunks that are there by moving them together, in place.
    #[expect(clippy::too_many_lines, reason = "one automaton, a state an arm")]
    fn unchunk(&mut self, inbox: &mut BytesMut) -> Result<BytesMut, WireFault> {
        // Read up to `from`; content stands in `start..end`.
        let (mut from, mut start, mut end) = (0, 0, 0);
        loop {
            let rest = inbox.get(from..).unwrap_or_default();
            match *self {
                Self::Chunk { left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    if here == 0 {
                        break;
                    }
                    if start == end {
                        (start, end) = (from, from);
                    } else {
                        inbox.copy_within(from..from + here, end);
                    }
                    from += here;
                    end += here;
                    let left = left - here as u64;
                    *self = if left == 0 {
                        Self::ChunkEnd
                    } else {
                        Self::Chunk { left }
                    };
                }
                Self::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        from += 2;
                        *self = Self::ChunkSize;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(WireFault::Framing),
                },
                Self::ChunkSize => {
                    let Some(line) = line(rest, LONGEST_CHUNK_LINE)? else {
                        break;
                    };
                    from += line.len() + 2;
                    *self = match chunk_size(line)? {
                        0 => Self::Trailers { read: 0 },
                        left => Self::Chunk { left },
                    };
                }
                Self::Trailers { read } => {
                    let Some(line) = line(rest, LONGEST_TRAILERS)? else {
                        break;
                    };
                    from += line.len() + 2;
                    let read = read + line.len();
                    if read > LONGEST_TRAILERS {
                        return Err(WireFault::TooLarge);
                    }
                    if line.is_empty() {
                        *self = Self::Over;
                    } else {
                        *self = Self::Trailers { read };
                    }
                }
                Self::Over | Self::Length { .. } | Self::UntilClose => break,
            }
        }
        inbox.advance(start);
        let content = inbox.split_to(end - start);
        // What stood between the content and the place read to is framing.
        inbox.advance(from - end.max(start));
        Ok(content)
    }
}

/// The line at the front, without its end; `None` while it is not whole.
fn line(rest: &[u8], longest: usize) -> Result<Option<&[u8]>, WireFault> {
    match memchr(b'\n', rest) {
        None if rest.len() > longest => Err(WireFault::TooLarge),
        None => Ok(None),
        Some(at) if at > longest => Err(WireFault::TooLarge),
        Some(at) => match rest.get(..at).and_then(<[u8]>::split_last) {
            Some((b'\r', line)) => Ok(Some(line)),
            _ => Err(WireFault::Framing),
        },
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, WireFault> {
    // Extensions are allowed in answers, and mean nothing.
    let size = line
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    if size.is_empty() || size.len() > 15 {
        return Err(WireFault::Framing);
    }
    size.iter().try_fold(0, |sum: u64, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(WireFault::Framing)?;
        Ok(sum * 16 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Result<Head, WireFault> {
        let mut inbox = BytesMut::from(text.as_bytes());
        match read_head(&mut inbox)? {
            HeadRead::Whole(head) => Ok(*head),
            HeadRead::More | HeadRead::Interim => panic!("no head in {text:?}"),
        }
    }

    #[test]
    fn p19_ambiguous_answers_are_refused() {
        for fields in [
            "content-length: 2\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
            "content-length: 2\r\ncontent-length: 2\r\n",
            "content-length: 2\r\ncontent-length: 3\r\n",
            "content-length: 2, 2\r\n",
            "content-length: -2\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "x-a: 1\r\n folded\r\n",
            "x-a: 1\rx-b: 2\r\n",
            "x-a: 1\nx-b: 2\r\n",
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert_eq!(
                whole(&answer).unwrap_err(),
                WireFault::Framing,
                "{fields:?}"
            );
        }
        let old = whole("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(old.unwrap_err(), WireFault::Framing);
        let switched = whole("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n");
        assert_eq!(switched.unwrap_err(), WireFault::Framing);
    }

    #[test]
    fn p32_heads_end_somewhere() {
        let many = "x-a: 1\r\n".repeat(500);
        let answer = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
        assert_eq!(whole(&answer).unwrap_err(), WireFault::TooLarge);
        let mut endless = BytesMut::from("HTTP/1.1 200 OK\r\nx-a: ");
        endless.extend_from_slice(&vec![b'a'; LARGEST_HEAD]);
        assert_eq!(read_head(&mut endless).unwrap_err(), WireFault::TooLarge);
    }

    #[test]
    fn p31_interim_answers_are_taken_off() {
        let mut inbox =
            BytesMut::from("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        assert!(matches!(read_head(&mut inbox), Ok(HeadRead::Interim)));
        assert!(matches!(read_head(&mut inbox), Ok(HeadRead::Whole(_))));
    }

    #[test]
    fn the_head_says_where_the_body_ends_and_whether_the_connection_goes_on() {
        let of = |fields: &str| {
            let head = whole(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap();
            (head.body, head.keep)
        };
        assert_eq!(
            of("Content-Length: 5\r\n"),
            (BodyPlace::Length { left: 5 }, true)
        );
        assert_eq!(
            of("Transfer-Encoding: Chunked\r\n"),
            (BodyPlace::ChunkSize, true)
        );
        assert_eq!(of(""), (BodyPlace::UntilClose, false));
        assert_eq!(
            of("content-length: 0\r\nconnection: x, Close\r\n"),
            (BodyPlace::Over, false)
        );
        let none = whole("HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert_eq!((none.body, none.keep), (BodyPlace::Over, true));
        let old = whole("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n").unwrap();
        assert!(!old.keep);
    }

    #[test]
    fn chunks_that_came_together_leave_together() {
        let mut inbox =
            BytesMut::from("2\r\nab\r\n3;x=y\r\ncde\r\n1\r\nf\r\n0\r\nx-t: 1\r\n\r\nnext");
        let mut place = BodyPlace::ChunkSize;
        assert_eq!(
            place.take(&mut inbox),
            Ok(Some(Bytes::from_static(b"abcdef")))
        );
        assert_eq!((place, &inbox[..]), (BodyPlace::Over, &b"next"[..]));
    }

    #[test]
    fn p18_a_chunk_that_is_not_as_long_as_it_says_is_refused() {
        for bad in [
            "2\r\nabc\r\n",
            "x\r\n",
            "\r\n",
            "-2\r\nab",
            "2\nab\r\n",
            "fffffffffffffffff\r\n",
        ] {
            let mut place = BodyPlace::ChunkSize;
            let mut inbox = BytesMut::from(bad);
            let mut taken = place.take(&mut inbox);
            if matches!(taken, Ok(Some(_))) {
                taken = place.take(&mut inbox);
            }
            assert_eq!(taken, Err(WireFault::Framing), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_chunked_body_is_the_same_however_it_is_sliced(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut wire = Vec::new();
            for piece in &pieces {
                wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.sort_unstable();
            let (mut place, mut inbox, mut read, mut start) = (BodyPlace::ChunkSize, BytesMut::new(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([wire.len()]) {
                inbox.extend_from_slice(&wire[start..cut]);
                start = cut;
                if let Some(piece) = place.take(&mut inbox).unwrap() {
                    read.extend_from_slice(&piece);
                }
            }
            prop_assert_eq!(place, BodyPlace::Over);
            prop_assert_eq!(read, pieces.concat());
            prop_assert!(inbox.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_head(&mut BytesMut::from(&bytes[..]));
            for mut place in [BodyPlace::ChunkSize, BodyPlace::Length { left: 9 }, BodyPlace::UntilClose, BodyPlace::Chunk { left: 9 }] {
                let mut inbox = BytesMut::from(&bytes[..]);
                let _ = place.take(&mut inbox);
            }
        }
    }
}
