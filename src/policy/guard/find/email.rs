//! Addresses of mail: a local part, an @, and a domain with a dot in it.

use memchr::memchr_iter;

use super::super::rules::Class;
use super::{Hits, at, before};

const LONGEST_LOCAL: usize = 64;
const LONGEST_DOMAIN: usize = 253;

pub(super) fn find(text: &str, hits: &mut Hits<'_>) {
    let bytes = text.as_bytes();
    for place in memchr_iter(b'@', bytes) {
        if let (Some(start), Some(end)) = (local(text, place), domain(text, place + 1)) {
            hits.class(Class::Email, start..end);
        }
    }
}

/// Letters of scripts that are written with spaces; in others a word's end cannot be seen, and what stands
/// before an address without a space is no part of it.
fn is_letter(c: char) -> bool {
    ('\u{c0}'..'\u{600}').contains(&c) && c.is_alphabetic()
}

fn local(text: &str, place: usize) -> Option<usize> {
    let before_at = text.get(..place)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._%+-'".contains(c) || is_letter(c);
    let kept = before_at.trim_end_matches(fits);
    let mut start = kept.len();
    // Quotes and full stops around an address are not in it.
    while matches!(at(text.as_bytes(), start), b'.' | b'\'' | b'-') && start < place {
        start += 1;
    }
    let local = text.get(start..place)?;
    let fits = !local.is_empty()
        && local.len() <= LONGEST_LOCAL
        && !local.ends_with('.')
        && !local.contains("..");
    fits.then_some(start)
}

fn domain(text: &str, start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c) || is_letter(c);
    let mut end = start + rest.len() - rest.trim_start_matches(fits).len();
    while matches!(before(text.as_bytes(), end), b'.' | b'-') && end > start {
        end -= 1;
    }
    let domain = text.get(start..end)?;
    let (host, top) = domain.rsplit_once('.')?;
    let labels_fit = domain.split('.').all(|label| {
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    });
    let top_fits =
        top.chars().count() >= 2 && top.chars().all(char::is_alphabetic) || top.starts_with("xn--");
    (labels_fit && top_fits && !host.is_empty() && domain.len() <= LONGEST_DOMAIN).then_some(end)
}
