//! Numbers as text, where the formatting machinery would cost more than all that stands around them.

/// Writes each byte as two hex digits.
pub fn hex_digits(bytes: &[u8], pairs: &mut [[u8; 2]]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
}

/// Appends a number in decimal.
pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [[0_u8; 2]; 10];
    let mut left = digits.len();
    // Two at a time.
    for pair in digits.iter_mut().rev() {
        // Below a hundred, so nothing is cut off.
        let two = (value % 100) as u8;
        *pair = [b'0' + two / 10, b'0' + two % 10];
        value /= 100;
        left -= 1;
        if value == 0 {
            break;
        }
    }
    let written = digits.as_flattened().get(left * 2..).unwrap_or_default();
    let written = match written {
        [b'0', rest @ ..] if !rest.is_empty() => rest,
        written => written,
    };
    out.extend_from_slice(written);
}

/// Appends a count of thousandths with three digits behind the point.
pub fn thousandths(out: &mut Vec<u8>, count: u64) {
    decimal(out, count / 1_000);
    let rest = count % 1_000;
    out.push(b'.');
    for unit in [100, 10, 1] {
        // Below ten, so nothing is cut off.
        out.push(b'0' + (rest / unit % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "the macro of proptest hides its functions from the exemption for tests"
    )]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_written_as_the_formatting_machinery_would(number: u64, few in 0..2_000_u64) {
            for number in [number, few, number / few.max(1)] {
                let (mut whole, mut parts) = (Vec::new(), Vec::new());
                decimal(&mut whole, number);
                prop_assert_eq!(String::from_utf8(whole).unwrap(), number.to_string());
                thousandths(&mut parts, number);
                let expected = format!("{}.{:03}", number / 1_000, number % 1_000);
                prop_assert_eq!(String::from_utf8(parts).unwrap(), expected);
                let mut pairs = [[0; 2]; 8];
                hex_digits(&number.to_be_bytes(), &mut pairs);
                let hex = std::str::from_utf8(pairs.as_flattened()).unwrap();
                prop_assert_eq!(hex, format!("{number:016x}"));
            }
        }
    }
}
