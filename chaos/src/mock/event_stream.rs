//! AWS's binary framing, `application/vnd.amazon.eventstream`.
//!
//! A frame is, in big-endian order: its length, the length of its headers, the CRC-32 of these eight bytes, the
//! headers, the payload, and the CRC-32 of everything before.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The two lengths and their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// The type of a header's value that is text.
const TEXT: u8 = 7;

/// A frame around this payload; every header is text.
///
/// Lengths beyond what the format can tell are cut off at its largest number: the frame is then as broken as it
/// would be anyway.
pub(super) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    around(&text_headers(headers), payload)
}

fn text_headers(headers: &[(&str, &str)]) -> BytesMut {
    let mut block = BytesMut::new();
    for (name, value) in headers {
        block.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        block.put_slice(name.as_bytes());
        block.put_u8(TEXT);
        block.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        block.put_slice(value.as_bytes());
    }
    block
}

/// An event whose known headers stand behind one of each type the format has.
pub(super) fn frame_of_every_type(name: &str, payload: &[u8]) -> Bytes {
    let mut block = BytesMut::new();
    // Type and size of the value; true and false are told by the type alone.
    for (kind, size) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 4),
        (5, 8),
        (8, 8),
        (9, 16),
    ] {
        block.put_slice(&[2, b'x', b'0' + kind, kind]);
        block.put_bytes(0x7F, size);
    }
    // Bytes, with a length of two bytes before them.
    block.put_slice(&[2, b'x', b'6', 6, 0, 3, 0xFF, 0, 0xFE]);
    block.put_slice(&text_headers(&[
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ]));
    around(&block, payload)
}

/// A frame around headers that are bytes already.
pub(super) fn around(headers: &[u8], payload: &[u8]) -> Bytes {
    let rest = headers.len().saturating_add(payload.len());
    let total = rest.saturating_add(PRELUDE).saturating_add(CHECKSUM);
    let mut frame = BytesMut::with_capacity(total);
    frame.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    frame.put_u32(u32::try_from(headers.len()).unwrap_or(u32::MAX));
    frame.put_u32(crc32(&frame));
    frame.put_slice(headers);
    frame.put_slice(payload);
    frame.put_u32(crc32(&frame));
    frame.freeze()
}

/// CRC-32 as in zip and Ethernet.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xFF;
        let step = TABLE.get(index as usize).copied().unwrap_or_default();
        crc >> 8 ^ step
    })
}

/// What each byte does to the register.
const TABLE: [u32; 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated while compiling, where a mistake is an error"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = register & 1 == 1;
            register >>= 1;
            if carry {
                register ^= 0xEDB8_8320;
            }
            bit += 1;
        }
        table[byte] = register;
        byte += 1;
    }
    table
}

/// One frame taken apart again.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) headers: Vec<(String, String)>,
    pub(super) payload: Vec<u8>,
    /// Both checksums were right.
    pub(super) sound: bool,
}

/// Every whole frame of a body, and the bytes that are left.
#[cfg(test)]
pub(super) fn frames(mut body: &[u8]) -> (Vec<Frame>, &[u8]) {
    let number = |bytes: &[u8], at: usize| {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(four))
    };
    let mut frames = Vec::new();
    while let (Some(total), Some(headers)) = (number(body, 0), number(body, 4)) {
        let (total, headers) = (total as usize, headers as usize);
        if total < PRELUDE + CHECKSUM || headers > total - PRELUDE - CHECKSUM || body.len() < total
        {
            break;
        }
        let (frame, rest) = body.split_at(total);
        let sound = number(frame, 8) == Some(crc32(&frame[..8]))
            && number(frame, total - 4) == Some(crc32(&frame[..total - 4]));
        let mut block = &frame[PRELUDE..PRELUDE + headers];
        let mut told = Vec::new();
        while let Some((name_length, after)) = block.split_first() {
            let (name, after) = after.split_at(usize::from(*name_length));
            let (kind, after) = (after[0], &after[1..]);
            let prefixed = || 2 + usize::from(u16::from_be_bytes([after[0], after[1]]));
            let sizes = [0, 0, 1, 2, 4, 8, 0, 0, 8, 16];
            let size = if matches!(kind, 6 | TEXT) {
                prefixed()
            } else {
                sizes[usize::from(kind)]
            };
            let (value, after) = after.split_at(size);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            if kind == TEXT {
                told.push((text(name), text(&value[2..])));
            }
            block = after;
        }
        frames.push(Frame {
            headers: told,
            payload: frame[PRELUDE + headers..total - CHECKSUM].to_vec(),
            sound,
        });
        body = rest;
    }
    (frames, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_nine_digits_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn frames_are_those_of_the_sdks_own_test_vectors() {
        let empty = b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff";
        assert_eq!(frame(&[], b""), empty.as_slice(), "botocore: EMPTY_MESSAGE");
        let number = b"\x00\x00\x00+\x00\x00\x00\x0e4\x8b\xec{\x08event-id\x04\x00\x00\xa0\x0c{'foo':'bar'}\xd3\x89\x02\x85";
        let headers = b"\x08event-id\x04\x00\x00\xa0\x0c";
        assert_eq!(
            around(headers, b"{'foo':'bar'}"),
            number.as_slice(),
            "botocore: INT32_HEADER"
        );
    }

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let body = [
            frame(&[(":event-type", "a"), ("b", "")], b"{}"),
            frame(&[], b"x"),
        ]
        .concat();
        let (whole, rest) = frames(&body[..body.len() - 1]);
        assert_eq!(
            (whole.len(), rest.len()),
            (1, 16),
            "the second lacks a byte"
        );
        assert_eq!(
            whole[0].headers[0],
            (":event-type".to_owned(), "a".to_owned())
        );
        assert_eq!(
            (whole[0].payload.as_slice(), whole[0].sound),
            (&b"{}"[..], true)
        );
        for place in 0..body.len() - 17 {
            let mut spoilt = body.clone();
            spoilt[place] ^= 0x40;
            let spoilt = std::panic::catch_unwind(move || {
                frames(&spoilt).0.first().is_none_or(|first| !first.sound)
            });
            assert!(spoilt.unwrap_or(true), "a bit at {place} goes unseen");
        }
    }
}
