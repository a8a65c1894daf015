//! Addresses of the internet's version 6. Version 4 is found among the numbers.

use core::net::Ipv6Addr;

use memchr::memchr_iter;

use super::super::rules::Class;
use super::{Hits, at, before, is_word};

const LONGEST: usize = 45;

pub(super) fn find(bytes: &[u8], hits: &mut Hits<'_>) {
    let mut seen = 0;
    for colon in memchr_iter(b':', bytes) {
        if colon < seen {
            continue;
        }
        let fits = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
        let mut start = colon;
        while start > 0 && fits(before(bytes, start)) && colon - start <= 4 {
            start -= 1;
        }
        let mut end = colon;
        while end < bytes.len() && fits(at(bytes, end)) && end - start <= LONGEST {
            end += 1;
        }
        // A sentence's own stops are not in it.
        while matches!(before(bytes, end), b'.') && end > start {
            end -= 1;
        }
        seen = end.max(colon + 1);
        let alone = !is_word(before(bytes, start)) && !is_word(at(bytes, end));
        if alone && bytes.get(start..end).is_some_and(is_address) {
            hits.class(Class::Ip, start..end);
        }
    }
}

fn is_address(text: &[u8]) -> bool {
    let digits = text.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
    // `a::b` is code, not an address of anything.
    if digits < 5 || !text.iter().any(u8::is_ascii_digit) {
        return false;
    }
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    parsed.is_some_and(|address: Ipv6Addr| !address.is_loopback() && !address.is_unspecified())
}
