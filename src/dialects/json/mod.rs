//! A validating JSON scanner: one pass, no recursion, nothing built.
//!
//! # Why our own
//! Parsers differ on twin keys, depth and odd escapes, and an attacker lives on the difference (fault
//! L05). This one refuses what any parser could read differently, before anything is forwarded, and
//! leaves the spans of the top-level members behind, so that a large body is read once and spliced.

mod cursor;
pub(crate) mod exact;
mod node;

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;
use smallvec::SmallVec;

pub(crate) use cursor::Cursor;
pub use node::{Edits, edited};
pub(crate) use node::{Node, Object, cut_items};

/// Deeper nesting is refused: somebody behind us parses with recursion.
pub const DEEPEST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line} column {column}")]
pub struct JsonError {
    pub offset: usize,
    pub line: usize,
    pub column: usize,
    pub what: String,
}

/// A member of the top-level object: the key as it is written between the quotes, and the whole value. A key that
/// is written with escapes is no name of the gateway's, so names may be compared with what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpan {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

pub type Members = SmallVec<[MemberSpan; 16]>;

/// What a request brings beside its text, at any depth: it costs more than its bytes tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    pub pictures: u32,
    /// Documents, sound and films, and whatever is only named.
    pub files: u32,
    /// Anthropic's word for both, and anybody's for something else.
    pub sources: u32,
}

impl Media {
    fn note(&mut self, key: &[u8]) {
        let count = match key {
            b"image_url" => &mut self.pictures,
            b"source" => &mut self.sources,
            b"file_id" | b"file_data" | b"file_url" | b"file_uri" | b"fileData" | b"fileUri"
            | b"inlineData" | b"inline_data" | b"input_audio" | b"video_url" => &mut self.files,
            _ => return,
        };
        *count = count.saturating_add(1);
    }
}

/// Checks the whole text, which must be one object, and answers the spans of its members.
pub fn scan_object(text: &[u8]) -> Result<Members, JsonError> {
    scan_request(text).map(|(members, _)| members)
}

/// As [`scan_object`], and counts what comes beside the text.
pub fn scan_request(text: &[u8]) -> Result<(Members, Media), JsonError> {
    let mut scanner = Scanner::new(text)?;
    scanner.space();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.fault("expected an object"));
    }
    let mut members = Members::new();
    scanner.value(Some(&mut members))?;
    scanner.space();
    if scanner.at < text.len() {
        return Err(scanner.fault("something follows the end"));
    }
    Ok((members, scanner.media))
}

/// The members of an object inside a text that was checked before.
pub fn members_of(text: &[u8], object: &Range<usize>) -> Members {
    let Some(part) = text.get(object.clone()) else {
        return Members::new();
    };
    let mut members = scan_object(part).unwrap_or_default();
    for member in &mut members {
        member.key = member.key.start + object.start..member.key.end + object.start;
        member.value = member.value.start + object.start..member.value.end + object.start;
    }
    members
}

/// Texts up to here are looked at in place: for keys and words a search costs more than it finds.
const SHORT: usize = 32;

/// Bytes that need a look inside a text.
const ODD: [bool; 256] = {
    let mut odd = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        odd[byte] = true;
        byte += 1;
    }
    odd[b'"' as usize] = true;
    odd[b'\\' as usize] = true;
    odd
};

/// Where the first such byte is among the first [`SHORT`] of a text.
fn first_odd(text: &[u8]) -> Option<usize> {
    const WORD: usize = size_of::<u64>();
    let text = text.get(..SHORT).unwrap_or(text);
    let mut words = text.chunks_exact(WORD);
    for (nth, word) in words.by_ref().enumerate() {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        let odd = odd_bytes(word);
        if odd != 0 {
            return Some(nth * WORD + odd.trailing_zeros() as usize / 8);
        }
    }
    let rest = words.remainder();
    let at = rest.iter().position(|byte| ODD[usize::from(*byte)])?;
    Some(text.len() - rest.len() + at)
}

/// Eight bytes at once: the lowest bit that is set is the highest of the first byte that needs a look. Those above it
/// may be set for no reason, because a subtraction borrows.
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & TOPS;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, b' ') | is(b'"') | is(b'\\')
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Strings need a look at every byte only if such bytes occur at all.
    has_control: bool,
    /// Halves of surrogate pairs are let through: providers cut texts between them.
    halves: bool,
    media: Media,
}

/// Keys of one open object; `None` marks an open array.
type Frame<'a> = Option<Keys<'a>>;

/// A key as it is read: its escapes decoded, if it has any.
type Name<'a> = Cow<'a, [u8]>;

/// Small objects compare keys one by one; large ones are hashed, so that many keys cannot be made slow.
#[derive(Default)]
struct Keys<'a> {
    few: SmallVec<[Name<'a>; 8]>,
    many: Option<std::collections::HashSet<Name<'a>>>,
}

impl<'a> Keys<'a> {
    /// False when the key was there before.
    fn insert(&mut self, key: Name<'a>) -> bool {
        if let Some(many) = &mut self.many {
            return many.insert(key);
        }
        if self.few.contains(&key) {
            return false;
        }
        self.few.push(key);
        if self.few.len() > 32 {
            self.many = Some(self.few.drain(..).collect());
        }
        true
    }
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        let has_control = text.iter().fold(false, |seen, byte| seen | (*byte < 0x20));
        let scanner = Self {
            text,
            at: 0,
            has_control,
            halves: false,
            media: Media::default(),
        };
        if let Err(error) = std::str::from_utf8(text) {
            return Err(scanner.fault_at(error.valid_up_to(), "the text is not UTF-8"));
        }
        if text.starts_with(b"\xef\xbb\xbf") {
            return Err(scanner.fault("the text begins with a byte-order mark"));
        }
        Ok(scanner)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn fault(&self, what: impl Into<String>) -> JsonError {
        self.fault_at(self.at, what)
    }

    fn fault_at(&self, offset: usize, what: impl Into<String>) -> JsonError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        JsonError {
            offset,
            line,
            column: offset - line_start + 1,
            what: what.into(),
        }
    }

    /// Reads one value of any depth. The stack is ours and bounded.
    #[expect(
        clippy::too_many_lines,
        reason = "one loop over one stack; cut in two it would hide what closes what"
    )]
    fn value(&mut self, mut top: Option<&mut Members>) -> Result<(), JsonError> {
        let mut stack: SmallVec<[Frame<'a>; 16]> = SmallVec::new();
        let mut top_key = 0..0;
        let mut top_value = 0;
        loop {
            self.space();
            // A value begins here.
            if stack.len() == 1 && top.is_some() {
                top_value = self.at;
            }
            let opened = match self.peek() {
                Some(b'{') => Some(Some(Keys::default())),
                Some(b'[') => Some(None),
                _ => {
                    self.scalar()?;
                    None
                }
            };
            if let Some(frame) = opened {
                if stack.len() == DEEPEST {
                    return Err(self.fault(format!("nested deeper than {DEEPEST}")));
                }
                self.at += 1;
                self.space();
                let close = if frame.is_some() { b'}' } else { b']' };
                if self.peek() == Some(close) {
                    self.at += 1;
                } else {
                    stack.push(frame);
                    if let Some(Some(keys)) = stack.last_mut() {
                        let key = self.key(keys)?;
                        if stack.len() == 1 {
                            top_key = key;
                        }
                    }
                    continue;
                }
            }
            // A value has ended here: close what it closes.
            loop {
                if stack.len() == 1
                    && let Some(top) = top.as_deref_mut()
                {
                    top.push(MemberSpan {
                        key: top_key.clone(),
                        value: top_value..self.at,
                    });
                }
                let depth = stack.len();
                let Some(frame) = stack.last_mut() else {
                    return Ok(());
                };
                self.space();
                match (self.peek(), frame) {
                    (Some(b','), frame) => {
                        self.at += 1;
                        if let Some(keys) = frame {
                            self.space();
                            let key = self.key(keys)?;
                            if depth == 1 {
                                top_key = key;
                            }
                        }
                        break;
                    }
                    (Some(b'}'), Some(_)) | (Some(b']'), None) => {
                        self.at += 1;
                        stack.pop();
                        if stack.is_empty() {
                            return Ok(());
                        }
                    }
                    (_, Some(_)) => return Err(self.fault("expected , or }")),
                    (_, None) => return Err(self.fault("expected , or ]")),
                }
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self, keys: &mut Keys<'a>) -> Result<Range<usize>, JsonError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key in quotes"));
        }
        let escaped = self.string()?;
        let span = start + 1..self.at - 1;
        let name = if escaped {
            Cow::Owned(self.unescaped(start)?)
        } else {
            Cow::Borrowed(self.text.get(span.clone()).unwrap_or_default())
        };
        self.media.note(&name);
        if !keys.insert(name) {
            let key = self.text.get(span).unwrap_or_default();
            let shown: String = String::from_utf8_lossy(key).chars().take(64).collect();
            return Err(self.fault_at(start, format!("key {shown:?} appears twice")));
        }
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.fault("expected a colon"));
        }
        self.at += 1;
        Ok(span)
    }

    /// What the key that begins at `start` and has just been passed says. Writers escape what they have to, and what
    /// is not ASCII, a slash or a sign of HTML out of caution; nobody but an attacker escapes a plain name:
    /// "mod\u0065l" and "model" are one key to some parsers and two to others, and every name that the gateway looks
    /// for is a plain one.
    fn unescaped(&self, start: usize) -> Result<Vec<u8>, JsonError> {
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        let name: String = serde_json::from_slice(quoted)
            .map_err(|_| self.fault_at(start, "a key with a broken escape"))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$@".contains(&byte);
        if name.bytes().all(is_plain) {
            return Err(self.fault_at(start, "a plain name is written with escapes as a key"));
        }
        Ok(name.into_bytes())
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.fault("expected a value")),
            None => Err(self.fault("the text ends too early")),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.fault("expected a value"))
        }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let zero = self.peek() == Some(b'0');
        let whole = if zero {
            self.at += 1;
            true
        } else {
            self.digits()
        };
        let mut good = whole;
        if good && self.peek() == Some(b'.') {
            self.at += 1;
            good = self.digits();
        }
        if good && matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            good = self.digits();
        }
        // A leading zero leaves digits behind, which no separator follows.
        if good {
            Ok(())
        } else {
            Err(self.fault("this is no number"))
        }
    }

    /// Answers whether there was an escape.
    fn string(&mut self) -> Result<bool, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = match first_odd(rest) {
                Some(found) => found,
                None => self.plain_run(start, rest)?,
            };
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault("a control character stands in a text")),
                None => return Err(self.fault_at(start, "a text is not closed")),
            }
        }
    }

    /// How far a long text goes before a byte that needs a look.
    fn plain_run(&self, start: usize, rest: &[u8]) -> Result<usize, JsonError> {
        let Some(found) = memchr2(b'"', b'\\', rest) else {
            return Err(self.fault_at(start, "a text is not closed"));
        };
        let control = if self.has_control {
            let run = rest.get(..found).unwrap_or_default();
            run.iter().position(|byte| *byte < 0x20)
        } else {
            None
        };
        Ok(control.unwrap_or(found))
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let first = self.unit(start)?;
                match first {
                    _ if self.halves => Ok(()),
                    0xd800..=0xdbff => {
                        let paired = self.text.get(self.at..self.at + 2) == Some(b"\\u");
                        let low = self.at;
                        if paired && (0xdc00..=0xdfff).contains(&self.unit(low)?) {
                            Ok(())
                        } else {
                            Err(self.fault_at(start, "half of a surrogate pair"))
                        }
                    }
                    0xdc00..=0xdfff => Err(self.fault_at(start, "half of a surrogate pair")),
                    _ => Ok(()),
                }
            }
            _ => Err(self.fault("an escape that JSON does not have")),
        }
    }

    /// The four digits of `\uXXXX` that begins at `start`.
    fn unit(&mut self, start: usize) -> Result<u32, JsonError> {
        let digits = self.text.get(start + 2..start + 6).unwrap_or_default();
        let text = std::str::from_utf8(digits).unwrap_or_default();
        let all_hex = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
        self.at = start + 6;
        u32::from_str_radix(text, 16)
            .ok()
            .filter(|_| all_hex)
            .ok_or_else(|| self.fault_at(start, "an escape without its four digits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn what(text: &str) -> String {
        scan_object(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn members_are_found_with_their_spans() {
        let text = br#" {"model": "x", "n":[1,{"a":2}] ,"s":"a\"b"} "#;
        let members = scan_object(text).unwrap();
        let shown: Vec<(&[u8], &[u8])> = members
            .iter()
            .map(|member| (&text[member.key.clone()], &text[member.value.clone()]))
            .collect();
        assert_eq!(
            shown,
            [
                (b"model".as_slice(), b"\"x\"".as_slice()),
                (b"n".as_slice(), br#"[1,{"a":2}]"#.as_slice()),
                (b"s".as_slice(), br#""a\"b""#.as_slice()),
            ]
        );
    }

    #[test]
    fn l05_what_parsers_read_differently_is_refused_with_its_place() {
        assert_eq!(
            what("{\"model\":1,\n \"model\":2}"),
            "key \"model\" appears twice at line 2 column 2"
        );
        assert!(what(r#"{"a":{"b":1,"b":2}}"#).contains("twice"));
        for hidden in [r"mod\u0065l", r"\u0024ref", r"top\u005fp", r"no\u002dlog"] {
            assert!(what(&format!("{{\"{hidden}\":1}}")).contains("escapes"));
            assert!(what(&format!("{{\"a\":[{{\"{hidden}\":1}}]}}")).contains("escapes"));
        }
        assert!(what("[1]").contains("expected an object"));
        assert!(what(r#"{"a":"\ud800"}"#).contains("surrogate"));
        assert!(what("{\"a\":\"\u{0}\"}").contains("control"));
        assert!(what("{\"a\":\"x\ny\"}").contains("control"));
        assert!(what(r#"{"a":01}"#).contains("expected , or }"));
        assert!(what(r#"{"a":1}x"#).contains("follows"));
        assert!(what(r#"{"a":1,}"#).contains("key"));
        assert!(what("\u{feff}{}").contains("byte-order"));
        assert!(what(&format!("{{\"a\":{}", "[".repeat(10_000))).contains("nested deeper"));
        assert!(
            scan_object(b"{\"a\":\"\xff\"}")
                .unwrap_err()
                .what
                .contains("UTF-8")
        );
    }

    #[test]
    fn l05_a_key_that_needs_its_escapes_is_a_key_like_any_other() {
        let keys = [
            r"^\\S+$",
            r"C:\\a.txt",
            r"gr\u00f6\u00dfe",
            r"a\/b",
            r"\u003ca\u003e",
            r#"\""#,
            r"\ud83d\ude00",
            r"two\nlines",
        ];
        for key in keys {
            let text = format!(r#"{{"{key}":1,"a":{{"{key}":[{{"{key}":2}}]}}}}"#);
            let members = scan_object(text.as_bytes()).unwrap();
            assert_eq!(&text.as_bytes()[members[0].key.clone()], key.as_bytes());
        }
        assert!(what(r#"{"\ud83d":1}"#).contains("surrogate"));
    }

    #[test]
    fn l05_keys_are_twins_by_what_they_say_however_they_are_written() {
        assert!(what(r#"{"größe":1,"gr\u00f6\u00dfe":2}"#).contains("twice"));
        assert!(what(r#"{"a\u002fb":1,"a\/b":2}"#).contains("twice"));
        let many: String = (0..40).map(|key| format!("\"k{key}\":1,")).collect();
        assert!(what(&format!(r#"{{"é":0,{many}"\u00e9":1}}"#)).contains("twice"));
        assert!(scan_object(r#"{"é":1,"\u00e8":2,"e":3}"#.as_bytes()).is_ok());
    }

    #[test]
    fn l05_a_million_keys_are_not_slow() {
        let mut text = String::from("{");
        for key in 0..200_000 {
            text.push_str(&format!("\"k{key}\":1,"));
        }
        text.push_str("\"k0\":1}");
        assert!(what(&text).contains("twice"));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(|number| serde_json::json!(number)),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,12}".prop_map(Into::into),
            "[\\x00-\\x1f\"\\\\]{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map("[a-z]{0,5}[\\x00-\\x1f\"\\\\ö]?", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_first_byte_that_needs_a_look_is_found(text in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x1f), Just(0x20), Just(b'"'), Just(0x80), Just(0xff), b'a'..=b'z', b'a'..=b'z', b'a'..=b'z'], 0..50)) {
            let within = text.get(..SHORT).unwrap_or(&text);
            let slow = within.iter().position(|byte| ODD[usize::from(*byte)]);
            prop_assert_eq!(first_odd(&text), slow);
        }

        #[test]
        fn every_object_that_serde_writes_is_accepted(value in prop::collection::btree_map("[a-z]{0,5}", json(), 0..6)) {
            let value = serde_json::Value::Object(value.into_iter().collect());
            for text in [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()] {
                let members = scan_object(&text).unwrap();
                prop_assert_eq!(members.len(), value.as_object().unwrap().len());
                for member in &members {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&text[member.value.clone()]).is_ok());
                }
            }
        }

        #[test]
        fn what_is_accepted_is_json_to_serde_too(text in "[\\[\\]{}\",:0-9a-z\\\\. eE+-]{0,40}") {
            if scan_object(text.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan_object(&bytes);
        }
    }
}
