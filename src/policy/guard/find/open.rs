//! The end of a text that goes on: what of it may still become something.

/// Groups of digits belong together over spaces for no longer than this.
const NUMBERS: usize = 96;
/// A run without a space is held back no longer than this.
const LONGEST_RUN: usize = super::LONGEST_HIT + 64;

/// From where on the text's end is made of what hits are made of: back to the last space, and over spaces as long
/// as there are groups with digits, or of a few capitals, before them.
pub(super) fn tail(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut start = run(bytes, bytes.len(), bytes.len().saturating_sub(LONGEST_RUN));
    let floor = start.saturating_sub(NUMBERS);
    loop {
        let group_end = start - gap(bytes, start);
        if group_end == start || group_end <= floor {
            return start;
        }
        let group = run(bytes, group_end, floor);
        let text = bytes.get(group..group_end).unwrap_or_default();
        let capitals = text.len() <= 4 && text.iter().all(u8::is_ascii_uppercase);
        if text.is_empty() || !(capitals || text.iter().any(u8::is_ascii_digit)) {
            return start;
        }
        start = group;
    }
}

/// How long the space is that ends here; none for other white space, over which nothing goes.
fn gap(bytes: &[u8], end: usize) -> usize {
    match bytes.get(..end) {
        Some([.., b' ']) => 1,
        // One that does not break the line.
        Some([.., 0xc2, 0xa0]) => 2,
        _ => 0,
    }
}

/// The beginning of the run that ends here.
fn run(bytes: &[u8], end: usize, floor: usize) -> usize {
    let mut start = end;
    while start > floor
        && gap(bytes, start) == 0
        && !matches!(super::before(bytes, start), b'\n' | b'\r' | b'\t')
    {
        start -= 1;
    }
    start
}

/// The last boundary between characters at this place or before it.
pub(super) fn floor_of_char(text: &str, place: usize) -> usize {
    let mut place = place.min(text.len());
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}
