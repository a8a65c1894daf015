//! A walk over JSON that meets every key, text and number with what they stand in. Nothing is built.

use std::ops::Range;

use memchr::memchr2;
use smallvec::SmallVec;

use crate::dialects::json::DEEPEST;

/// The text is no JSON, or nests too deep: what stands in it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what stands in the text cannot be told")]
pub struct Unreadable;

/// An object or an array that is open.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Where it begins; tells it from every other.
    pub(super) start: usize,
    /// The member under way, between its quotes; empty in an array.
    pub(super) key: Range<usize>,
    pub(super) is_object: bool,
    /// Which item of an array is under way.
    pub(super) item: usize,
    awaits_key: bool,
}

pub(super) type Path = SmallVec<[Frame; 12]>;

/// What was met.
#[derive(Clone, Debug)]
pub(super) enum Met {
    /// Between the quotes.
    Key(Range<usize>),
    /// Between the quotes.
    Text(Range<usize>),
    /// A number, `true`, `false` or `null`.
    Scalar(Range<usize>),
}

/// Visits everything in order. Whether commas and colons stand where they must is another's to judge: texts that
/// come here were read before.
pub(super) fn walk(text: &[u8], mut visit: impl FnMut(&Path, Met)) -> Result<(), Unreadable> {
    let mut path = Path::new();
    let mut place = 0;
    while let Some(byte) = text.get(place).copied() {
        match byte {
            b'{' | b'[' => {
                if path.len() > DEEPEST {
                    return Err(Unreadable);
                }
                path.push(Frame {
                    start: place,
                    key: 0..0,
                    is_object: byte == b'{',
                    item: 0,
                    awaits_key: byte == b'{',
                });
                place += 1;
            }
            b'}' | b']' => {
                path.pop().ok_or(Unreadable)?;
                place += 1;
            }
            b',' => {
                if let Some(frame) = path.last_mut() {
                    frame.item += 1;
                    frame.awaits_key = frame.is_object;
                }
                place += 1;
            }
            b'"' => {
                let end = string_end(text, place + 1).ok_or(Unreadable)?;
                let inside = place + 1..end;
                place = end + 1;
                let awaited = path.last_mut().filter(|frame| frame.awaits_key);
                if let Some(frame) = awaited {
                    frame.awaits_key = false;
                    frame.key = inside.clone();
                    visit(&path, Met::Key(inside));
                } else {
                    visit(&path, Met::Text(inside));
                }
            }
            b' ' | b'\n' | b'\r' | b'\t' | b':' => place += 1,
            _ => {
                let rest = text.get(place..).unwrap_or_default();
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let end = place + rest.iter().position(ends).unwrap_or(rest.len());
                visit(&path, Met::Scalar(place..end));
                place = end.max(place + 1);
            }
        }
    }
    if path.is_empty() {
        Ok(())
    } else {
        Err(Unreadable)
    }
}

/// Where the closing quote is.
fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut place = from;
    loop {
        let found = place + memchr2(b'"', b'\\', text.get(place..)?)?;
        if text.get(found) == Some(&b'"') {
            return Some(found);
        }
        place = found + 2;
    }
}

/// The name of a member.
pub(super) fn name<'a>(text: &'a [u8], frame: &Frame) -> &'a [u8] {
    text.get(frame.key.clone()).unwrap_or_default()
}
