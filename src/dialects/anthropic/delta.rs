//! The events that nearly all are: a piece of text, of a thought, of a call's arguments. They are read and written
//! without building anything.

use std::borrow::Cow;

use bytes::BytesMut;

use crate::dialects::json::{Cursor, JsonError};
use crate::dialects::quoted;

/// What a delta adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Thinking,
    Arguments,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Text, Self::Thinking, Self::Arguments];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text_delta",
            Self::Thinking => "thinking_delta",
            Self::Arguments => "input_json_delta",
        }
    }

    /// Under which name the words stand.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Thinking => "thinking",
            Self::Arguments => "partial_json",
        }
    }
}

/// The delta, if the event is one of these and holds nothing else; `None` leaves it to who reads with care.
pub(super) fn plain(text: &[u8]) -> Option<(Kind, Cow<'_, str>)> {
    let mut cursor = Cursor::new(text).ok()?;
    let mut read = Read::default();
    cursor
        .object(|cursor, key| {
            match key {
                b"type" => {
                    let is_delta = cursor.text()? == "content_block_delta";
                    read.odd |= !is_delta || std::mem::replace(&mut read.typed, true);
                }
                b"index" => {
                    let index = cursor.skip()?;
                    read.odd |= index.len() > 9 || !index.iter().all(u8::is_ascii_digit);
                }
                b"delta" if cursor.next() == Some(b'{') => {
                    read.odd |= std::mem::replace(&mut read.found, true);
                    cursor.object(|cursor, key| read.member(cursor, key))?;
                }
                _ => {
                    cursor.skip()?;
                    read.odd = true;
                }
            }
            Ok(())
        })
        .ok()?;
    cursor.end().ok()?;
    read.whole()
}

#[derive(Default)]
struct Read<'a> {
    typed: bool,
    found: bool,
    kind: Option<Kind>,
    /// Under which name, and what.
    words: Option<(Kind, Cow<'a, str>)>,
    /// Something else is in it, or something twice.
    odd: bool,
}

impl<'a> Read<'a> {
    fn member(&mut self, cursor: &mut Cursor<'a>, key: &[u8]) -> Result<(), JsonError> {
        let under = match key {
            b"type" => {
                let kind = Kind::named(&cursor.text()?);
                self.odd |= kind.is_none() || self.kind.is_some();
                self.kind = kind;
                return Ok(());
            }
            b"text" => Kind::Text,
            b"thinking" => Kind::Thinking,
            b"partial_json" => Kind::Arguments,
            _ => {
                self.odd = true;
                return cursor.skip().map(drop);
            }
        };
        let words = cursor.text()?;
        self.odd |= self.words.replace((under, words)).is_some();
        Ok(())
    }

    fn whole(self) -> Option<(Kind, Cow<'a, str>)> {
        let fits = |(under, _): &(Kind, Cow<'a, str>)| self.kind == Some(*under);
        self.words
            .filter(|words| self.typed && !self.odd && fits(words))
    }
}

/// Writes an event that adds to the block of this number.
pub(super) fn write(kind: Kind, index: u32, words: &str, out: &mut BytesMut) {
    const BEFORE: &str =
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":";
    let (name, member) = (kind.name(), kind.member());
    let before = format!("{BEFORE}{index},\"delta\":{{\"type\":\"{name}\",\"{member}\":");
    out.reserve(before.len() + words.len() + 8);
    out.extend_from_slice(before.as_bytes());
    quoted::push(out, words);
    out.extend_from_slice(b"}}\n\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::dialects::one_line;

    proptest! {
        #[test]
        fn what_is_written_is_what_a_tree_says_and_is_read_again(words in any::<String>(), index in 0..1_000_u32) {
            for kind in Kind::ALL {
                let delta = json!({"type": kind.name(), kind.member(): words});
                let event = json!({"type": "content_block_delta", "index": index, "delta": delta});
                let data = one_line(&event);
                let mut out = BytesMut::new();
                write(kind, index, &words, &mut out);
                prop_assert_eq!(&out[..], &[b"event: content_block_delta\ndata: ", &data[..], b"\n\n"].concat()[..]);
                prop_assert_eq!(plain(&data), Some((kind, Cow::Borrowed(words.as_str()))));
            }
        }
    }
}
