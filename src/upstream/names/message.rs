//! One question to a name server and its answer, as bytes (RFC 1035). Pure; what comes off the wire is not believed.

use std::net::IpAddr;
use std::time::Duration;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn kind(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// None of them means that the name has no addresses of this kind.
    Addresses {
        addresses: Vec<IpAddr>,
        /// The shortest of the records on the way; `None` without any.
        serves_for: Option<Duration>,
    },
    NoSuchName,
    /// It cannot tell: SERVFAIL, REFUSED and their like. Another one may.
    Trouble,
    /// The answer is longer than a datagram: to be asked again by TCP.
    TooLong,
}

const INTERNET: u16 = 1;
const ALIAS: u16 = 5;
const HEAD: usize = 12;
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;
/// More records than this are nobody's addresses.
const MOST_RECORDS: u16 = 256;

/// The question; `None` for what cannot be a name.
pub(super) fn question(id: u16, host: &str, family: Family) -> Option<Vec<u8>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > LONGEST_NAME {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEAD + host.len() + 6);
    bytes.extend_from_slice(&id.to_be_bytes());
    // A plain query, with recursion wanted; one question.
    bytes.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in host.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() > LONGEST_LABEL {
            return None;
        }
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&family.kind().to_be_bytes());
    bytes.extend_from_slice(&INTERNET.to_be_bytes());
    Some(bytes)
}

/// Reads what answers `question`; `None` for anything else, which is no answer and is not to end the wait.
pub(super) fn answer(question: &[u8], bytes: &[u8]) -> Option<Said> {
    let mut read = Reader { bytes, at: 0 };
    let same_id = read.take(2)? == question.get(..2)?;
    let (flags, code) = (read.byte()?, read.byte()? & 0x0f);
    let is_answer = flags & 0x80 != 0 && flags & 0x78 == 0;
    let (questions, records) = (read.number()?, read.number()?);
    read.take(4)?;
    if !same_id || !is_answer || questions != 1 {
        return None;
    }
    let asked = question.get(HEAD..)?;
    if !read.take(asked.len())?.eq_ignore_ascii_case(asked) {
        return None;
    }
    match code {
        0 if flags & 0x02 != 0 => Some(Said::TooLong),
        0 => Some(found(&mut read, records).unwrap_or(Said::Trouble)),
        3 => Some(Said::NoSuchName),
        _ => Some(Said::Trouble),
    }
}

/// `None` when the records end before they should.
///
/// # Why aliases are not followed name by name
/// A recursive server sends the chain and, at its end, the addresses; the operator chose whom to believe.
fn found(read: &mut Reader<'_>, records: u16) -> Option<Said> {
    let mut addresses = Vec::new();
    let mut shortest: Option<u32> = None;
    for _ in 0..records.min(MOST_RECORDS) {
        read.skip_name()?;
        let (kind, class) = (read.number()?, read.number()?);
        let ttl = u32::from_be_bytes(read.take(4)?.try_into().ok()?);
        let length = usize::from(read.number()?);
        let data = read.take(length)?;
        let address = match (kind, class) {
            (1, INTERNET) => IpAddr::from(<[u8; 4]>::try_from(data).ok()?),
            (28, INTERNET) => IpAddr::from(<[u8; 16]>::try_from(data).ok()?),
            (ALIAS, INTERNET) => {
                shortest = Some(shortest.map_or(ttl, |known| known.min(ttl)));
                continue;
            }
            _ => continue,
        };
        shortest = Some(shortest.map_or(ttl, |known| known.min(ttl)));
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(Said::Addresses {
        addresses,
        serves_for: shortest.map(|seconds| Duration::from_secs(u64::from(seconds))),
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A name ends with an empty label, or with a pointer to where its rest stands. Pointers are not followed.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                0 => return Some(()),
                pointer if pointer & 0xc0 == 0xc0 => {
                    self.take(1)?;
                    return Some(());
                }
                length if length & 0xc0 == 0 => {
                    self.take(usize::from(length))?;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "proptest's functions are not #[test] functions to clippy"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `www.example.com` is an alias of `example.com` at two addresses, as a recursive server writes it.
    fn recorded(asked: &[u8]) -> Vec<u8> {
        let mut bytes = asked.to_vec();
        bytes[2] = 0x81;
        bytes[3] = 0x80;
        bytes[7] = 3;
        bytes.extend_from_slice(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x02\xc0\x10");
        for last in [1_u8, 2] {
            bytes
                .extend_from_slice(b"\xc0\x10\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\xc0\x00\x02");
            bytes.push(last);
        }
        bytes
    }

    #[test]
    fn n01_a_question_is_written_as_in_the_rfc() {
        let asked = question(0xbeef, "a.example", Family::V6).unwrap();
        assert_eq!(
            asked,
            b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x1c\x00\x01"
        );
        let with_dot = question(0xbeef, "a.example.", Family::V6).unwrap();
        assert_eq!(asked, with_dot);
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(127) + "aa";
        for odd in ["", ".", "a..b", &long_label, &long_name] {
            assert_eq!(question(1, odd, Family::V4), None, "{odd:?}");
        }
    }

    #[test]
    fn n01_addresses_come_with_the_shortest_time_on_the_way() {
        let asked = question(7, "www.example.com", Family::V4).unwrap();
        let said = answer(&asked, &recorded(&asked)).unwrap();
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        assert_eq!(
            said,
            Said::Addresses {
                addresses: addresses.to_vec(),
                serves_for: Some(Duration::from_secs(30)),
            }
        );
    }

    #[test]
    fn n02_an_answer_to_another_question_is_no_answer() {
        let asked = question(7, "www.example.com", Family::V4).unwrap();
        let other_id = question(8, "www.example.com", Family::V4).unwrap();
        let other_name = question(7, "ww2.example.com", Family::V4).unwrap();
        let other_kind = question(7, "www.example.com", Family::V6).unwrap();
        for other in [other_id, other_name, other_kind] {
            assert_eq!(answer(&asked, &recorded(&other)), None);
        }
        assert_eq!(answer(&asked, &asked), None, "a question is no answer");
        let shouted = asked.to_ascii_uppercase();
        assert!(answer(&asked, &recorded(&shouted)).is_some());
    }

    #[test]
    fn n01_codes_and_flags_are_told_apart() {
        let asked = question(7, "www.example.com", Family::V4).unwrap();
        let with = |flags: u8, code: u8| {
            let mut bytes = recorded(&asked);
            (bytes[2], bytes[3]) = (0x81 | flags, 0x80 | code);
            answer(&asked, &bytes)
        };
        assert_eq!(with(0, 3), Some(Said::NoSuchName));
        for code in [1, 2, 4, 5, 9] {
            assert_eq!(with(0, code), Some(Said::Trouble), "{code}");
        }
        assert_eq!(with(0x02, 0), Some(Said::TooLong));
        let mut cut = recorded(&asked);
        cut.truncate(cut.len() - 1);
        assert_eq!(answer(&asked, &cut), Some(Said::Trouble));
    }

    proptest! {
        #[test]
        fn n02_no_answer_panics_and_none_is_endless(bytes: Vec<u8>, place in 0_usize..80, with: u8) {
            let asked = question(7, "www.example.com", Family::V4).unwrap();
            let _ = answer(&asked, &bytes);
            let mut damaged = recorded(&asked);
            if let Some(byte) = damaged.get_mut(place) {
                *byte = with;
            }
            let _ = answer(&asked, &damaged);
            let _ = answer(&asked, &[asked.clone(), bytes].concat());
        }
    }
}
