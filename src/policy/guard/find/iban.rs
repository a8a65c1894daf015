//! International bank account numbers: a country, its length, and a remainder of one.

use super::super::rules::Class;
use super::numbers::Group;
use super::{Hits, at, before, is_word};

/// Countries of the SWIFT registry and the length of their numbers.
const LENGTHS: [(&[u8; 2], usize); 79] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SC", 31),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"ST", 25),
    (b"SV", 28),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
];

/// The number whose check digits begin this group.
pub(super) fn find(bytes: &[u8], group: &Group, hits: &mut Hits<'_>) {
    let Some(start) = group.start.checked_sub(2).filter(|_| group.len() >= 2) else {
        return;
    };
    if is_word(before(bytes, start)) {
        return;
    }
    let country = [at(bytes, start), at(bytes, start + 1)].map(|byte| byte.to_ascii_uppercase());
    let Some((_, length)) = LENGTHS.iter().find(|(known, _)| **known == country) else {
        return;
    };
    // Letters of either case, but spaces only where they are capitals: prose goes on in small ones.
    let spaced = at(bytes, start).is_ascii_uppercase();
    let mut end = start;
    let mut kept = Vec::with_capacity(*length);
    while kept.len() < *length {
        let byte = at(bytes, end);
        let is_gap = byte == b' ' && spaced && before(bytes, end) != b' ';
        if byte.is_ascii_alphanumeric() {
            kept.push(byte.to_ascii_uppercase());
            end += 1;
        } else if is_gap && kept.len() % 4 == 0 {
            end += 1;
        } else if (byte, at(bytes, end + 1)) == (0xc2, 0xa0) && spaced && kept.len() % 4 == 0 {
            end += 2;
        } else {
            return;
        }
        if end >= bytes.len() && kept.len() < *length {
            return;
        }
    }
    if !is_word(at(bytes, end)) && remainder(&kept) == 1 {
        hits.class(Class::Iban, start..end);
    }
}

/// ISO 7064, modulus 97: the first four behind the rest, letters as numbers from ten.
fn remainder(number: &[u8]) -> u32 {
    let (head, rest) = number.split_at(4.min(number.len()));
    rest.iter().chain(head).fold(0, |remainder, byte| {
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            _ => u32::from(byte.saturating_sub(b'A')) + 10,
        };
        let shift = if value < 10 { 10 } else { 100 };
        (remainder * shift + value) % 97
    })
}
