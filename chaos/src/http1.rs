//! HTTP/1.1 framing by hand: where a message's body ends, and what its date header says.
//!
//! # Why
//! A library hides the faults this crate exists to show: here a body knows whether it *ended* or was merely *cut*.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes, BytesMut};

/// A head larger than this is refused: nothing in a test may grow without bound.
pub(crate) const HEAD_LIMIT: usize = 2 * 1024 * 1024;
/// Room for the "head of 500 fields" fault and then some.
pub(crate) const HEAD_FIELDS: usize = 1100;

/// Header fields in wire order, names as sent.
pub type Fields = Vec<(String, String)>;

/// The first field of that name, whatever its case.
#[must_use]
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Copies what httparse borrowed; bytes outside UTF-8 become U+FFFD, so a log always shows something.
pub(crate) fn own_fields(parsed: &[httparse::Header<'_>]) -> Fields {
    parsed
        .iter()
        .map(|header| {
            (
                header.name.to_owned(),
                String::from_utf8_lossy(header.value).into_owned(),
            )
        })
        .collect()
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body follows.
    None,
    /// `content-length`.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// The end of the connection is the end of the body.
    UntilClose,
}

/// What a peer got wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum WireError {
    #[error("head is not HTTP/1.1: {0}")]
    Head(String),
    #[error("head is larger than {HEAD_LIMIT} bytes")]
    HeadTooLarge,
    #[error("chunk size line is malformed")]
    ChunkSize,
    #[error("chunk data is not followed by CRLF")]
    ChunkEnd,
}

/// Takes a body off the wire piece by piece.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    chunks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Exactly(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// A chunk size line (sixteen hex digits and an extension) that is longer is an attack or a bug.
const SIZE_LINE_LIMIT: usize = 256;

impl BodyDecoder {
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Exactly(left),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, chunks: 0 }
    }

    /// Whether the body ended the way its framing says it must.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the end of the connection ends this body properly.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Whole chunks seen, the last empty one not counted.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// The next piece of body in `wire`; `None` when more bytes are needed or the body is done.
    ///
    /// # Errors
    /// When the chunked framing is malformed.
    pub fn decode(&mut self, wire: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::UntilClose => return Ok((!wire.is_empty()).then(|| wire.split().freeze())),
                State::Exactly(left) => {
                    return Ok(self.take(wire, left, State::Exactly, State::Done));
                }
                State::ChunkData(left) => {
                    return Ok(self.take(wire, left, State::ChunkData, State::ChunkEnd));
                }
                State::ChunkSize => {
                    let Some(line) = take_line(wire)? else {
                        return Ok(None);
                    };
                    let size = chunk_size(&line)?;
                    self.state = if size == 0 {
                        State::Trailers
                    } else {
                        State::ChunkData(size)
                    };
                }
                State::ChunkEnd => match wire.get(..2) {
                    None => return Ok(None),
                    Some(b"\r\n") => {
                        wire.advance(2);
                        self.chunks = self.chunks.saturating_add(1);
                        self.state = State::ChunkSize;
                    }
                    Some(_) => return Err(WireError::ChunkEnd),
                },
                State::Trailers => {
                    let Some(line) = take_line(wire)? else {
                        return Ok(None);
                    };
                    if line.is_empty() {
                        self.state = State::Done;
                    }
                }
            }
        }
    }

    fn take(
        &mut self,
        wire: &mut BytesMut,
        left: u64,
        more: fn(u64) -> State,
        done: State,
    ) -> Option<Bytes> {
        if wire.is_empty() {
            return None;
        }
        let fits = usize::try_from(left).unwrap_or(usize::MAX).min(wire.len());
        let piece = wire.split_to(fits).freeze();
        let still = left.saturating_sub(fits as u64);
        self.state = if still == 0 { done } else { more(still) };
        Some(piece)
    }
}

/// A line up to CRLF, without it. A bare LF does not end a line here: we want to see who sends one.
fn take_line(wire: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
    match memchr::memmem::find(wire, b"\r\n") {
        Some(at) if at <= SIZE_LINE_LIMIT => {
            let line = wire.split_to(at).freeze();
            wire.advance(2);
            Ok(Some(line))
        }
        None if wire.len() <= SIZE_LINE_LIMIT => Ok(None),
        Some(_) | None => Err(WireError::ChunkSize),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, WireError> {
    let digits = line
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(WireError::ChunkSize);
    }
    let text = std::str::from_utf8(digits).map_err(|_| WireError::ChunkSize)?;
    u64::from_str_radix(text, 16).map_err(|_| WireError::ChunkSize)
}

/// `data` as one chunk.
#[must_use]
pub fn chunk(data: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(data.len().saturating_add(12));
    framed.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    framed.extend_from_slice(data);
    framed.extend_from_slice(b"\r\n");
    framed.freeze()
}

/// The chunk that ends a chunked body.
pub const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// The usual words after a status; unknown codes say `Status`.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        425 => "Too Early",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// Seconds since 1970 by the wall clock.
#[must_use]
pub fn unix_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Year, month, day, hour, minute, second and weekday (0 = Sunday) of a unix time, UTC.
///
/// Days to civil date after Howard Hinnant's `civil_from_days`.
fn civil(unix: i64) -> (i64, i64, i64, i64, i64, i64, i64) {
    let (days, second_of_day) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let weekday = days.saturating_add(4).rem_euclid(7);
    (
        year,
        month,
        day,
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
        weekday,
    )
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, IMF-fixdate).
#[must_use]
pub fn http_date(unix: i64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day, hour, minute, second, weekday) = civil(unix);
    let name_of = |names: &'static [&'static str], at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|index| names.get(index))
            .copied()
            .unwrap_or("???")
    };
    let (weekday, month) = (name_of(&DAYS, weekday), name_of(&MONTHS, month - 1));
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// `1994-11-06T08:49:37Z` (RFC 3339).
#[must_use]
pub fn rfc3339(unix: i64) -> String {
    let (year, month, day, hour, minute, second, _) = civil(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_example_date_is_written_as_in_the_rfc() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(rfc3339(784_111_777), "1994-11-06T08:49:37Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn a_chunked_body_is_the_same_in_slices_of_any_size() {
        let wire = b"4;name=x\r\nwiki\r\n5\r\npedia\r\n0\r\ntrailer: 1\r\n\r\nNEXT";
        for size in 1..wire.len() {
            let mut decoder = BodyDecoder::new(Framing::Chunked);
            let (mut inbox, mut body) = (BytesMut::new(), Vec::new());
            for slice in wire.chunks(size) {
                inbox.extend_from_slice(slice);
                while let Some(piece) = decoder.decode(&mut inbox).unwrap() {
                    body.extend_from_slice(&piece);
                }
            }
            assert!(decoder.is_done(), "slices of {size}");
            assert_eq!(
                (body.as_slice(), decoder.chunks()),
                (b"wikipedia".as_slice(), 2),
                "slices of {size}"
            );
            assert_eq!(&inbox[..], b"NEXT", "what follows the body stays");
        }
    }

    #[test]
    fn malformed_chunks_are_errors_not_guesses() {
        for wire in [
            &b"zz\r\nabc"[..],
            b"\r\nabc",
            b"3\r\nabcd\r\n",
            b"-1\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            let mut decoder = BodyDecoder::new(Framing::Chunked);
            let mut inbox = BytesMut::from(wire);
            let mut seen = Ok(None);
            for _ in 0..4 {
                seen = decoder.decode(&mut inbox);
                if seen.is_err() {
                    break;
                }
            }
            assert!(seen.is_err(), "{:?}", String::from_utf8_lossy(wire));
        }
    }

    #[test]
    fn a_body_cut_in_the_middle_is_not_done() {
        let mut decoder = BodyDecoder::new(Framing::Length(10));
        assert_eq!(
            decoder
                .decode(&mut BytesMut::from(&b"12345"[..]))
                .unwrap()
                .unwrap(),
            "12345"
        );
        assert!(!decoder.is_done());
        assert!(!decoder.ends_with_connection());
    }
}
