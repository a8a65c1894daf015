//! A walk over JSON that visits what is asked for and checks the rest in passing. Nothing is built.
//!
//! For what providers send: on every chunk of every stream a parser that allocates would be the largest
//! cost of all. Twin keys are not looked for, because nothing here is an attacker's to splice.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{DEEPEST, JsonError, Scanner};

/// Where a walk is. Each visit of a member or an item has to read or skip exactly one value.
pub(crate) struct Cursor<'a>(Scanner<'a>);

type Walked<T> = Result<T, JsonError>;

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Walked<Self> {
        let mut scanner = Scanner::new(text)?;
        scanner.halves = true;
        Ok(Self(scanner))
    }

    /// The first byte of the next value.
    pub(crate) fn next(&mut self) -> Option<u8> {
        self.0.space();
        self.0.peek()
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(mut self) -> Walked<()> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.0.fault("something follows the end")),
        }
    }

    /// Visits the members of an object.
    pub(crate) fn object(
        &mut self,
        mut visit: impl FnMut(&mut Self, &'a [u8]) -> Walked<()>,
    ) -> Walked<()> {
        self.open(b'{', "expected an object")?;
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            visit(self, key)?;
            if !self.more(b'}')? {
                return Ok(());
            }
            self.0.space();
        }
    }

    /// Visits the items of an array.
    pub(crate) fn array(&mut self, mut visit: impl FnMut(&mut Self) -> Walked<()>) -> Walked<()> {
        self.open(b'[', "expected an array")?;
        if self.closes(b']') {
            return Ok(());
        }
        loop {
            visit(self)?;
            if !self.more(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes a `null`, if that is next.
    pub(crate) fn null(&mut self) -> Walked<bool> {
        if self.next() != Some(b'n') {
            return Ok(false);
        }
        self.0.literal(b"null").map(|()| true)
    }

    /// Reads a text.
    pub(crate) fn text(&mut self) -> Walked<Cow<'a, str>> {
        if self.next() != Some(b'"') {
            return Err(self.0.fault("expected a text"));
        }
        let start = self.0.at;
        let escaped = self.0.string()?;
        let whole = self.since(start);
        let inside = whole.get(1..whole.len() - 1).unwrap_or_default();
        let plain = if escaped {
            None
        } else {
            std::str::from_utf8(inside).ok()
        };
        match plain {
            Some(plain) => Ok(Cow::Borrowed(plain)),
            None => serde_json::from_slice::<String>(whole)
                .map(Cow::Owned)
                .map_err(|_| self.0.fault_at(start, "a text with a broken escape")),
        }
    }

    /// Passes over one value of any depth and answers where it stands.
    pub(crate) fn skip_span(&mut self) -> Walked<(usize, usize)> {
        self.0.space();
        let start = self.0.at;
        self.skip()?;
        Ok((start, self.0.at))
    }

    /// Passes over one value of any depth and answers its bytes.
    pub(crate) fn skip(&mut self) -> Walked<&'a [u8]> {
        self.0.space();
        let start = self.0.at;
        let mut open: SmallVec<[u8; DEEPEST]> = SmallVec::new();
        loop {
            self.0.space();
            let close = match self.0.peek() {
                Some(b'{') => Some(b'}'),
                Some(b'[') => Some(b']'),
                _ => {
                    self.0.scalar()?;
                    None
                }
            };
            if let Some(close) = close {
                if open.len() == DEEPEST {
                    return Err(self.0.fault("nested too deep"));
                }
                self.0.at += 1;
                if !self.closes(close) {
                    open.push(close);
                    if close == b'}' {
                        self.key()?;
                    }
                    continue;
                }
            }
            // A value has ended: close what it closes.
            loop {
                let Some(close) = open.last().copied() else {
                    return Ok(self.since(start));
                };
                if self.more(close)? {
                    if close == b'}' {
                        self.0.space();
                        self.key()?;
                    }
                    break;
                }
                open.pop();
            }
        }
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.0.text.get(start..self.0.at).unwrap_or_default()
    }

    fn open(&mut self, bracket: u8, what: &'static str) -> Walked<()> {
        if self.next() != Some(bracket) {
            return Err(self.0.fault(what));
        }
        self.0.at += 1;
        Ok(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.next() == Some(bracket);
        self.0.at += usize::from(closes);
        closes
    }

    /// After a value: whether another follows, or the bracket closes.
    fn more(&mut self, close: u8) -> Walked<bool> {
        match self.next() {
            Some(b',') => {
                self.0.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.0.at += 1;
                Ok(false)
            }
            _ => Err(self.0.fault("expected a comma or a closing bracket")),
        }
    }

    /// A key and its colon; a key with escapes is answered as it is written.
    fn key(&mut self) -> Walked<&'a [u8]> {
        if self.0.peek() != Some(b'"') {
            return Err(self.0.fault("expected a key in quotes"));
        }
        let start = self.0.at;
        self.0.string()?;
        let key = self.since(start);
        self.0.space();
        if self.0.peek() != Some(b':') {
            return Err(self.0.fault("expected a colon"));
        }
        self.0.at += 1;
        Ok(key.get(1..key.len() - 1).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(text: &[u8]) -> Walked<()> {
        let mut cursor = Cursor::new(text)?;
        cursor.skip()?;
        cursor.end()
    }

    #[test]
    fn members_and_items_are_visited_in_order() {
        let text = br#" { "a" : [1, {"x":[]}, "t\u0041"] , "b":null,"c":{}} "#;
        let mut seen = Vec::new();
        let mut cursor = Cursor::new(text).unwrap();
        cursor
            .object(|cursor, key| {
                seen.push(String::from_utf8_lossy(key).into_owned());
                match key {
                    b"a" => cursor.array(|cursor| {
                        let item = if cursor.next() == Some(b'"') {
                            cursor.text()?.into_owned()
                        } else {
                            String::from_utf8_lossy(cursor.skip()?).into_owned()
                        };
                        seen.push(item);
                        Ok(())
                    }),
                    b"b" => cursor.null().map(drop),
                    _ => cursor.skip().map(drop),
                }
            })
            .unwrap();
        cursor.end().unwrap();
        assert_eq!(seen, ["a", "1", "{\"x\":[]}", "tA", "b", "c"]);
    }

    proptest! {
        #[test]
        fn a_walk_accepts_what_serde_accepts(text in "[\\[\\]{}\",:0-9a-z\\\\. \neE+-]{0,40}") {
            let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            // A number beyond all bounds is JSON, and serde refuses it.
            let beyond = text.contains(['e', 'E']);
            prop_assert!(walk(text.as_bytes()).is_ok() == serde || beyond, "{text}");
        }

        #[test]
        fn what_serde_writes_is_walked(map in prop::collection::btree_map("\\PC{0,5}", prop::collection::vec(any::<(Option<i32>, bool, String)>(), 0..4), 0..5)) {
            for text in [serde_json::to_vec(&map).unwrap(), serde_json::to_vec_pretty(&map).unwrap()] {
                prop_assert!(walk(&text).is_ok());
                for cut in 0..text.len() {
                    prop_assert!(walk(&text[..cut]).is_err());
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = walk(&bytes);
        }
    }
}
