//! A value in its place: where it stands in a text that was checked before, so that a part of the text can be cut
//! out or replaced and the rest stays as it is.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer as _, Visitor};
use smallvec::SmallVec;

use super::{Cursor, MemberSpan, Members, scan_object};

/// A piece of a text, and what stands there instead; nothing cuts it out.
pub(crate) type Edit = (Range<usize>, Bytes);
pub type Edits = SmallVec<[Edit; 5]>;

/// One value of a checked text.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    text: &'a [u8],
    pub(crate) span: Range<usize>,
}

/// The members of an object, looked up by name as often as needed.
pub(crate) struct Object<'a> {
    text: &'a [u8],
    members: Members,
}

impl<'a> Node<'a> {
    pub(crate) fn whole(text: &'a [u8]) -> Self {
        Self {
            text,
            span: 0..text.len(),
        }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.text.get(self.span.clone()).unwrap_or_default()
    }

    /// The text it is, if it is one.
    pub(crate) fn as_text(&self) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        serde_json::from_slice::<Text<'a>>(self.bytes())
            .ok()
            .map(|text| text.0)
    }

    /// All of a text that nobody checked, if it is one value as lenient readers take it: with halves of surrogate
    /// pairs, numbers beyond all bounds and twin keys.
    pub(crate) fn readable(text: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(text).ok()?;
        cursor.skip().ok()?;
        cursor.end().ok()?;
        Some(Self::whole(text))
    }

    /// Every value under this name; of twin keys one reader takes the first and another the last. Empty where it is
    /// no object.
    pub(crate) fn under(&self, name: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let Ok(mut cursor) = Cursor::new(self.bytes()) else {
            return found;
        };
        let walked = cursor.object(|cursor, key| {
            let (start, end) = cursor.skip_span()?;
            if says(key, name) {
                found.push(Self {
                    text: self.text,
                    span: start + self.span.start..end + self.span.start,
                });
            }
            Ok(())
        });
        if walked.is_err() {
            found.clear();
        }
        found
    }

    /// The text it is, if it is one, as lenient readers take it: half of a surrogate pair is a sign like any other.
    pub(crate) fn said(&self) -> Option<String> {
        said(self.bytes())
    }

    /// Empty where it is no object.
    pub(crate) fn object(&self) -> Object<'a> {
        let mut members = scan_object(self.bytes()).unwrap_or_default();
        let from = self.span.start;
        for MemberSpan { key, value } in &mut members {
            *key = key.start + from..key.end + from;
            *value = value.start + from..value.end + from;
        }
        Object {
            text: self.text,
            members,
        }
    }

    /// The elements of a list; empty where it is none.
    pub(crate) fn items(&self) -> Vec<Self> {
        let mut items = Vec::new();
        let part = self.bytes();
        let Ok(mut cursor) = Cursor::new(part) else {
            return items;
        };
        if cursor.next() != Some(b'[') {
            return items;
        }
        let walked = cursor.array(|cursor| {
            let (start, end) = cursor.skip_span()?;
            items.push(Self {
                text: self.text,
                span: start + self.span.start..end + self.span.start,
            });
            Ok(())
        });
        // Half a list is none: what was checked before never is one.
        if walked.is_err() {
            items.clear();
        }
        items
    }
}

/// Whether a key, as it is written between its quotes, is this name.
fn says(key: &[u8], name: &str) -> bool {
    if memchr::memchr(b'\\', key).is_none() {
        return key == name.as_bytes();
    }
    said(&[b"\"", key, b"\""].concat()).is_some_and(|key| key == name)
}

fn said(quoted: &[u8]) -> Option<String> {
    struct Raw;

    impl Visitor<'_> for Raw {
        type Value = Vec<u8>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("a text")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }

    if !quoted.starts_with(b"\"") {
        return None;
    }
    // Asked for bytes it gives halves of pairs as they are.
    let mut reader = serde_json::Deserializer::from_slice(quoted);
    let bytes = reader.deserialize_bytes(Raw).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl<'a> Object<'a> {
    /// The value of the first of these names that is there.
    pub(crate) fn get(&self, names: &[&str]) -> Option<Node<'a>> {
        let member = self.find(names)?;
        let span = self.members.get(member)?.value.clone();
        Some(Node {
            text: self.text,
            span,
        })
    }

    pub(crate) fn text(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        self.get(names)?.as_text()
    }

    fn find(&self, names: &[&str]) -> Option<usize> {
        self.members.iter().position(|member| {
            let name = self.text.get(member.key.clone()).unwrap_or_default();
            names.iter().any(|wanted| wanted.as_bytes() == name)
        })
    }

    /// Cuts members of these names out.
    pub(crate) fn cut(&self, names: &[&str], edits: &mut Edits) {
        let spans: SmallVec<[Range<usize>; 16]> = self
            .members
            .iter()
            // The key's quote belongs to it.
            .map(|member| member.key.start.saturating_sub(1)..member.value.end)
            .collect();
        let found: SmallVec<[bool; 16]> = self
            .members
            .iter()
            .map(|member| {
                let name = self.text.get(member.key.clone()).unwrap_or_default();
                names.iter().any(|wanted| wanted.as_bytes() == name)
            })
            .collect();
        cut(&spans, &found, edits);
    }
}

/// Cuts these elements out of their list, each with one comma beside it.
pub(crate) fn cut_items(items: &[Node<'_>], gone: &[bool], edits: &mut Edits) {
    let spans: SmallVec<[Range<usize>; 16]> = items.iter().map(|item| item.span.clone()).collect();
    cut(&spans, gone, edits);
}

fn cut(spans: &[Range<usize>], gone: &[bool], edits: &mut Edits) {
    let mut stays_before = false;
    for (place, span) in spans.iter().enumerate() {
        if !gone.get(place).copied().unwrap_or(false) {
            stays_before = true;
            continue;
        }
        let before = place.checked_sub(1).and_then(|place| spans.get(place));
        let behind = spans.get(place + 1);
        let range = match (before, behind) {
            (Some(before), _) if stays_before => before.end..span.end,
            (_, Some(behind)) => span.start..behind.start,
            (_, None) => span.clone(),
        };
        edits.push((range, Bytes::new()));
    }
}

/// The text in pieces: what the edits put there, and its own bytes everywhere else.
pub fn edited(text: &Bytes, mut edits: Edits) -> SmallVec<[Bytes; 5]> {
    if edits.is_empty() {
        return SmallVec::from_iter([text.clone()]);
    }
    edits.sort_by_key(|(span, _)| span.start);
    let mut pieces = SmallVec::new();
    let mut at = 0;
    for (span, put) in edits {
        if span.start > at {
            pieces.push(text.slice(at..span.start.min(text.len())));
        }
        if !put.is_empty() {
            pieces.push(put);
        }
        at = span.end.max(at);
    }
    pieces.push(text.slice(at.min(text.len())..));
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_lenient_readers_take_is_read_and_the_rest_is_not() {
        let text = br#"{"a":"x\ud800y","n":1e999,"b":[{"\u0061":1}],"a":"z"}"#;
        let node = Node::readable(text).unwrap();
        let said: Vec<_> = node.under("a").iter().map(Node::said).collect();
        assert_eq!(said.len(), 2, "of twins both");
        assert!(
            said[0]
                .as_deref()
                .is_some_and(|said| said.starts_with('x') && said.ends_with('y'))
        );
        assert_eq!(said[1].as_deref(), Some("z"));
        let inside = node.under("b")[0].items();
        assert_eq!(inside[0].under("a")[0].bytes(), b"1", "by an escaped key");
        assert_eq!(node.under("n")[0].said(), None);
        for text in [
            "",
            "{",
            "{} x",
            r#"{"a":NaN}"#,
            "{'a':1}",
            "\u{feff}{}",
            r#"{"a":"\x"}"#,
        ] {
            assert!(Node::readable(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Node::readable(b"{\"a\":\"\xff\"}").is_none());
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(Node::readable(deep.as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn what_serde_reads_is_read_the_same_by_name(map in prop::collection::btree_map("[a-z\\PC]{0,4}", "\\PC{0,6}", 0..5)) {
            let text = serde_json::to_vec(&map).unwrap();
            let node = Node::readable(&text).unwrap();
            for (name, value) in &map {
                let found = node.under(name);
                prop_assert_eq!(found.len(), 1);
                let said = found[0].said();
                prop_assert_eq!(said.as_deref(), Some(value.as_str()));
            }
        }

        #[test]
        fn what_is_cut_is_gone_and_the_rest_is_untouched(
            list in prop::collection::vec(0..1000_u32, 0..6),
            gone in prop::collection::vec(any::<bool>(), 6),
            pretty in any::<bool>(),
        ) {
            let value = json!({"before": 1, "list": list, "behind": [2]});
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
            let text = Bytes::from(text.unwrap());
            let mut edits = Edits::new();
            let items = Node::whole(&text).object().get(&["list"]).unwrap().items();
            prop_assert_eq!(items.len(), list.len());
            cut_items(&items, &gone, &mut edits);
            let seen: Value = serde_json::from_slice(&edited(&text, edits).concat()).unwrap();
            let kept: Vec<u32> = list.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(one, _)| *one).collect();
            prop_assert_eq!(seen, json!({"before": 1, "list": kept, "behind": [2]}));
        }

        #[test]
        fn members_are_cut_alone_or_all(gone in prop::collection::vec(any::<bool>(), 4)) {
            let text = Bytes::from_static(br#"{ "a" : 1 , "b":{"a":2},"c":"x" ,"d":[]}"#);
            let names: Vec<&str> = ["a", "b", "c", "d"].into_iter().zip(&gone).filter(|(_, gone)| **gone).map(|(name, _)| name).collect();
            let mut edits = Edits::new();
            Node::whole(&text).object().cut(&names, &mut edits);
            let seen: Value = serde_json::from_slice(&edited(&text, edits).concat()).unwrap();
            let mut expected: Value = serde_json::from_slice(&text).unwrap();
            for name in names {
                expected.as_object_mut().unwrap().shift_remove(name);
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let node = Node::whole(&bytes);
            let _ = (node.as_text(), node.items().len(), node.object().get(&["a"]));
            let _ = (Node::readable(&bytes).is_some(), node.under("a").len(), node.said());
        }
    }
}
