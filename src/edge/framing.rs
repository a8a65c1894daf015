//! Request framing as strictly as two parsers can agree on it (attack A14).
//!
//! # Why
//! Whoever stands before the gateway may read an odd head another way than hyper does, and a request
//! hidden between the two readings reaches a provider without having been checked. hyper repairs several
//! such heads (it drops a length beside a transfer coding, merges equal lengths, takes a bare line feed),
//! so what was wrong cannot be seen behind it. The bytes are therefore judged before hyper reads them.

/// Why a connection's bytes are not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) why: &'static str,
    /// The head itself is at fault, so no handler has the request and none will answer it.
    pub(super) in_head: bool,
}

/// Follows one connection's requests, byte for byte.
#[derive(Debug)]
pub(super) struct Framing {
    place: Place,
    /// A line whose end has not come yet.
    line: Vec<u8>,
    head: Head,
    longest_line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a request line; the very first one may open HTTP/2.
    Start {
        first: bool,
    },
    Fields,
    Body {
        left: u64,
    },
    ChunkSize,
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailers,
    /// HTTP/2, whose frames have lengths of their own.
    Frames,
    /// A head that hyper refuses for its size.
    TooLong,
    Refused(Violation),
}

#[derive(Clone, Copy, Debug, Default)]
struct Head {
    http10: bool,
    length: Option<u64>,
    chunked: bool,
    hosts: u8,
    upgrade: bool,
}

impl Framing {
    pub(super) fn new(longest_line: usize) -> Self {
        Self {
            place: Place::Start { first: true },
            line: Vec::new(),
            head: Head::default(),
            longest_line,
        }
    }

    pub(super) fn refused(&self) -> Option<Violation> {
        if let Place::Refused(violation) = self.place {
            Some(violation)
        } else {
            None
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        self.place == Place::Frames
    }

    /// Judges bytes that arrived and says how many of them may be read: all, or those before the head or
    /// the chunk that is at fault.
    pub(super) fn admit(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        let mut good = 0;
        while !rest.is_empty() {
            rest = match self.place {
                Place::Frames | Place::TooLong => return bytes.len(),
                Place::Refused(_) => return good,
                Place::Body { left } | Place::ChunkData { left } => self.skip(rest, left),
                Place::Start { .. }
                | Place::Fields
                | Place::ChunkSize
                | Place::ChunkEnd
                | Place::Trailers => self.read_line(rest),
            };
            if !matches!(self.place, Place::Fields | Place::Refused(_)) {
                good = bytes.len() - rest.len();
            }
        }
        if self.refused().is_some() {
            good
        } else {
            bytes.len()
        }
    }

    fn skip<'a>(&mut self, rest: &'a [u8], left: u64) -> &'a [u8] {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let left = left - taken as u64;
        self.place = match (self.place, left) {
            (Place::Body { .. }, 0) => Place::Start { first: false },
            (Place::Body { .. }, _) => Place::Body { left },
            (_, 0) => Place::ChunkEnd,
            (_, _) => Place::ChunkData { left },
        };
        rest.get(taken..).unwrap_or_default()
    }

    fn read_line<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            if self.line.len() + rest.len() > self.longest_line {
                self.place = if matches!(self.place, Place::Start { .. } | Place::Fields) {
                    // hyper refuses a head this long, in its own words.
                    Place::TooLong
                } else {
                    Place::Refused(Violation {
                        why: "a line between the chunks has no end",
                        in_head: false,
                    })
                };
            } else {
                self.line.extend_from_slice(rest);
            }
            return &[];
        };
        let (line, after) = rest.split_at(end);
        let after = after.get(1..).unwrap_or_default();
        let next = if self.line.is_empty() {
            self.judge(line, after)
        } else {
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(line);
            let next = self.judge(&whole, after);
            whole.clear();
            self.line = whole;
            next
        };
        self.place = match next {
            Ok(place) => place,
            Err(why) => Place::Refused(Violation {
                why,
                in_head: matches!(self.place, Place::Start { .. } | Place::Fields),
            }),
        };
        after
    }

    fn judge(&mut self, line: &[u8], after: &[u8]) -> Result<Place, &'static str> {
        let Some((b'\r', line)) = line.split_last() else {
            return Err("a line ends without a carriage return");
        };
        if memchr::memchr(b'\r', line).is_some() {
            return Err("a carriage return stands inside a line");
        }
        match self.place {
            Place::Start { first } => {
                if first && line == b"PRI * HTTP/2.0" {
                    return Ok(Place::Frames);
                }
                if line.is_empty() {
                    return Ok(self.place);
                }
                self.head = Head {
                    http10: line.ends_with(b" HTTP/1.0"),
                    ..Head::default()
                };
                Ok(Place::Fields)
            }
            Place::Fields if line.is_empty() => self.head.body(after),
            Place::Fields => {
                self.head.field(line)?;
                Ok(Place::Fields)
            }
            Place::ChunkSize => match chunk_size(line)? {
                0 => Ok(Place::Trailers),
                left => Ok(Place::ChunkData { left }),
            },
            Place::ChunkEnd if line.is_empty() => Ok(Place::ChunkSize),
            Place::ChunkEnd => Err("a chunk is longer than its size says"),
            Place::Trailers if line.is_empty() => Ok(Place::Start { first: false }),
            // Nothing here reads trailers, so all that matters is where they end.
            Place::Trailers => Ok(Place::Trailers),
            place @ (Place::Body { .. }
            | Place::ChunkData { .. }
            | Place::Frames
            | Place::TooLong
            | Place::Refused(_)) => Ok(place),
        }
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err("a header field is folded");
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err("a header field has no colon");
        };
        let (name, value) = line.split_at(colon);
        if name.is_empty() || name.iter().any(|byte| *byte <= b' ') {
            return Err("a header field has spaces in its name");
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err("there is more than one host");
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = digits(value).ok_or("content-length is not a plain number")?;
                if self.length.replace(length).is_some() {
                    return Err("there is more than one content-length");
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked {
                    return Err("there is more than one transfer-encoding");
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("transfer-encoding is something else than chunked");
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What follows the head.
    fn body(&self, after: &[u8]) -> Result<Place, &'static str> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err("both content-length and transfer-encoding are given"),
            (None, true) if self.http10 => Err("HTTP/1.0 has no transfer-encoding"),
            (None, true) => Ok(Place::ChunkSize),
            (None | Some(0), false) if self.upgrade && !after.is_empty() => {
                Err("bytes follow a wish to upgrade before it was answered")
            }
            (None | Some(0), false) => Ok(Place::Start { first: false }),
            (Some(left), false) => Ok(Place::Body { left }),
        }
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    if line.contains(&b';') {
        return Err("a chunk has extensions");
    }
    if line.is_empty() || line.len() > 15 || !line.iter().all(u8::is_ascii_hexdigit) {
        return Err("a chunk's size is not a plain number");
    }
    let text = std::str::from_utf8(line).map_err(|_not_text| "a chunk's size is no number")?;
    u64::from_str_radix(text, 16).map_err(|_too_large| "a chunk's size is no number")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(slices: &[&[u8]]) -> (Framing, usize) {
        let mut framing = Framing::new(1 << 16);
        let admitted = slices.iter().map(|slice| framing.admit(slice)).sum();
        (framing, admitted)
    }

    fn refusal(text: &str) -> &'static str {
        after(&[text.as_bytes()])
            .0
            .refused()
            .map_or("", |violation| violation.why)
    }

    #[test]
    fn a14_each_ambiguity_has_its_reason() {
        for (head, why) in [
            (
                "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
                "both",
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
                "both",
            ),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
                "more than one transfer",
            ),
            ("transfer-encoding: identity\r\n\r\n", "something else"),
            ("transfer-encoding: gzip, chunked\r\n\r\n", "something else"),
            ("transfer-encoding: \x0bchunked\r\n\r\n", "something else"),
            (
                "content-length: 4\r\ncontent-length: 4\r\n\r\n",
                "more than one content-length",
            ),
            ("content-length: +4\r\n\r\n", "plain number"),
            ("content-length: 4, 4\r\n\r\n", "plain number"),
            ("content-length: 0x4\r\n\r\n", "plain number"),
            ("content-length:\r\n\r\n", "plain number"),
            ("content-length : 4\r\n\r\n", "spaces in its name"),
            ("x-a: 1\r\n folded\r\n\r\n", "folded"),
            ("x-a: 1\n\r\n", "without a carriage return"),
            ("x-a: 1\r\n\n", "without a carriage return"),
            ("x-a: 1\rx-b: 2\r\n\r\n", "inside a line"),
            ("no colon\r\n\r\n", "no colon"),
            ("host: a\r\nhost: a\r\n\r\n", "more than one host"),
            (
                "transfer-encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
                "extensions",
            ),
            (
                "transfer-encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
                "without a carriage return",
            ),
            (
                "transfer-encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
                "plain number",
            ),
            (
                "transfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
                "longer than its size",
            ),
            (
                "upgrade: websocket\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                "upgrade",
            ),
        ] {
            let refused = refusal(&format!("POST / HTTP/1.1\r\n{head}"));
            assert!(refused.contains(why), "{head:?}: {refused:?}");
        }
        assert!(refusal("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").contains("1.0"));
    }

    #[test]
    fn a14_only_what_stands_before_the_fault_is_read() {
        let good = "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        let bad = "POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}";
        let (framing, admitted) = after(&[format!("{good}{bad}").as_bytes(), b"more"]);
        assert_eq!(admitted, good.len());
        assert!(framing.refused().is_some_and(|violation| violation.in_head));
    }

    #[test]
    fn http2_is_left_to_its_own_frames() {
        let (framing, admitted) = after(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\n\n\0\0"]);
        assert_eq!((framing.refused(), admitted), (None, 28));
    }

    fn requests() -> impl Strategy<Value = Vec<u8>> {
        let body = prop::collection::vec(any::<u8>(), 0..40);
        let request = (any::<bool>(), body).prop_map(|(chunked, body)| {
            let mut text = b"POST /v1/x HTTP/1.1\r\nhost: a\r\n".to_vec();
            if chunked {
                text.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for piece in body.chunks(7) {
                    text.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    text.extend_from_slice(piece);
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(b"0\r\n\r\n");
            } else {
                text.extend_from_slice(
                    format!("content-length: {}\r\n\r\n", body.len()).as_bytes(),
                );
                text.extend_from_slice(&body);
            }
            text
        });
        prop::collection::vec(request, 1..4).prop_map(|requests| requests.concat())
    }

    proptest! {
        #[test]
        fn plain_requests_pass_however_they_are_sliced(
            bytes in requests(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            let mut framing = Framing::new(1 << 16);
            let (mut start, mut admitted) = (0, 0);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                admitted += framing.admit(&bytes[start..cut]);
                start = cut;
            }
            prop_assert_eq!(framing.refused(), None);
            prop_assert_eq!(admitted, bytes.len());
            prop_assert_eq!(framing.place, Place::Start { first: false });
        }

        #[test]
        fn no_bytes_panic(slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5)) {
            let mut framing = Framing::new(100);
            for slice in &slices {
                prop_assert!(framing.admit(slice) <= slice.len());
            }
        }
    }
}
