//! Whether the arguments of a tool call were whole when the model said it was done (fault S17).
//!
//! The fragments pass through as they come; what is kept of each call is how deep it is nested and
//! whether it is inside a text. That finds what was cut off, without holding a byte of it.

use smallvec::SmallVec;

use crate::dialects::json::{Cursor, JsonError};

/// One call's arguments so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    depth: u32,
    begun: bool,
    in_text: bool,
    escaped: bool,
    /// More was closed than was open.
    broken: bool,
}

impl Shape {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            if self.in_text {
                match (self.escaped, byte) {
                    (true, _) => self.escaped = false,
                    (false, b'\\') => self.escaped = true,
                    (false, b'"') => self.in_text = false,
                    (false, _) => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => self.depth -= 1,
                b'}' | b']' => self.broken = true,
                _ => {}
            }
            self.begun |= !byte.is_ascii_whitespace();
        }
    }

    fn is_whole(self) -> bool {
        // No arguments at all is how some providers say that there are none.
        !self.broken && !self.in_text && self.depth == 0
    }
}

/// The open calls of a stream, by choice and index.
#[derive(Debug, Default)]
pub(in crate::dialects) struct Arguments {
    calls: SmallVec<[((u32, u32), Shape); 2]>,
}

/// More calls than this in one answer are not followed.
const MOST_CALLS: usize = 256;

impl Arguments {
    /// Reads the `tool_calls` of one delta; the bytes of arguments in it.
    pub(super) fn read(&mut self, choice: u32, tool_calls: &[u8]) -> Result<usize, JsonError> {
        let mut cursor = Cursor::new(tool_calls)?;
        if cursor.next() != Some(b'[') {
            return Ok(0);
        }
        let mut bytes = 0;
        cursor.array(|cursor| {
            bytes += self.call(choice, cursor)?;
            Ok(())
        })?;
        Ok(bytes)
    }

    fn call(&mut self, choice: u32, cursor: &mut Cursor<'_>) -> Result<usize, JsonError> {
        let mut index = 0;
        let mut text = None;
        cursor.object(|cursor, key| {
            match key {
                b"index" => {
                    let number = std::str::from_utf8(cursor.skip()?).unwrap_or_default();
                    index = number.parse().unwrap_or_default();
                }
                b"function" if cursor.next() == Some(b'{') => {
                    cursor.object(|cursor, key| {
                        if key == b"arguments" && cursor.next() == Some(b'"') {
                            text = Some(cursor.text()?);
                        } else {
                            cursor.skip()?;
                        }
                        Ok(())
                    })?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let Some(text) = text else { return Ok(0) };
        if let Some(shape) = self.shape((choice, index)) {
            shape.read(&text);
        }
        Ok(text.len())
    }

    /// Goes on with a call of the only choice there is.
    pub(in crate::dialects) fn more(&mut self, index: u32, fragment: &str) {
        if let Some(shape) = self.shape((0, index)) {
            shape.read(fragment);
        }
    }

    fn shape(&mut self, call: (u32, u32)) -> Option<&mut Shape> {
        let known = self.calls.iter().position(|(known, _)| *known == call);
        let place = match known {
            Some(place) => place,
            None if self.calls.len() < MOST_CALLS => {
                self.calls.push((call, Shape::default()));
                self.calls.len() - 1
            }
            None => return None,
        };
        self.calls.get_mut(place).map(|(_, shape)| shape)
    }

    /// Calls of this choice that are not whole.
    pub(in crate::dialects) fn cut(&self, choice: u32) -> u32 {
        let cut = self
            .calls
            .iter()
            .filter(|((of, _), shape)| *of == choice && !shape.is_whole())
            .count();
        u32::try_from(cut).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delta(index: u32, fragment: &str) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!([
            {"index": index, "function": {"arguments": fragment}}
        ]))
        .unwrap()
    }

    #[test]
    fn s17_a_call_cut_anywhere_is_seen_and_a_whole_one_is_not() {
        let whole = r#"{"a":"b\"}{","c":[1,{"d":"\\"}]}"#;
        for cut in 1..whole.len() {
            let mut arguments = Arguments::default();
            arguments.read(0, &delta(0, &whole[..cut])).unwrap();
            assert_eq!(arguments.cut(0), 1, "cut at {cut}");
            arguments.read(0, &delta(0, &whole[cut..])).unwrap();
            assert_eq!(arguments.cut(0), 0, "whole, in two parts at {cut}");
        }
    }

    #[test]
    fn calls_are_told_apart() {
        let mut arguments = Arguments::default();
        arguments.read(0, &delta(0, "{}")).unwrap();
        arguments.read(0, &delta(1, "{")).unwrap();
        arguments.read(1, &delta(0, "")).unwrap();
        assert_eq!((arguments.cut(0), arguments.cut(1)), (1, 0));
    }

    proptest! {
        #[test]
        fn no_delta_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Arguments::default().read(0, &bytes);
        }
    }
}
