//! Numbers that no number type holds, in the parts of a text whose meaning is not the gateway's.
//!
//! # Why
//! The arguments of a call and the schemas of tools are somebody's data: an id of thirty digits has to arrive with
//! all thirty. A tree of values holds 64 bits, so such a number is kept in it as a text that begins with [`MARK`],
//! and is written as the number it is. Only where data stands is it kept and written so: what a person or a model
//! says is never taken for a number, whatever it looks like, and settings stay the numbers they are.

use std::borrow::Cow;

use memchr::memmem;
use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a number kept as a text begins with: a private character, and a word.
const MARK: &str = "\u{f8ff}number~";

/// Members below which somebody's data stands, in the words of every dialect.
const DATA: [&str; 16] = [
    "input",
    "args",
    "arguments",
    "response",
    "format",
    "parameters",
    "input_schema",
    "schema",
    "json",
    "json_schema",
    "parametersJsonSchema",
    "parameters_json_schema",
    "responseSchema",
    "response_schema",
    "responseJsonSchema",
    "response_json_schema",
];

/// Reads a text of one of the dialects.
pub(crate) fn read(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(&kept(text, false))
}

/// Reads data that stands alone.
pub(crate) fn read_data(text: &str) -> serde_json::Result<Value> {
    serde_json::from_slice(&kept(text.as_bytes(), true))
}

/// Writes what [`read`] has read.
pub(crate) fn write(value: &Value) -> String {
    written(value, false)
}

/// Writes data alone, as the text of it.
pub(crate) fn write_data(value: &Value) -> String {
    written(value, true)
}

fn written(value: &Value, data: bool) -> String {
    let plain = serde_json::to_string(value).unwrap_or_default();
    if memmem::find(plain.as_bytes(), MARK.as_bytes()).is_none() {
        return plain;
    }
    serde_json::to_string(&Written { value, data }).unwrap_or(plain)
}

/// A value as it is written; `data` below a member that holds some.
struct Written<'a> {
    value: &'a Value,
    data: bool,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::String(text) if self.data => {
                let number = text.strip_prefix(MARK).filter(|number| is_number(number));
                let raw = number.and_then(|number| RawValue::from_string(number.to_owned()).ok());
                match raw {
                    Some(raw) => raw.serialize(serializer),
                    None => serializer.serialize_str(text),
                }
            }
            Value::Array(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    let data = self.data;
                    seq.serialize_element(&Self { value, data })?;
                }
                seq.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    let data = self.data || begins_data(name.as_bytes(), value.is_object());
                    map.serialize_entry(name, &Self { value, data })?;
                }
                map.end()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.value.serialize(serializer)
            }
        }
    }
}

/// Lists of that name are turns of a conversation.
fn begins_data(name: &[u8], is_object: bool) -> bool {
    is_object && DATA.iter().any(|data| data.as_bytes() == name)
}

/// The text, its wide numbers kept. What is no JSON stays as it is: whoever reads it says so.
fn kept(text: &[u8], data: bool) -> Cow<'_, [u8]> {
    let mut walk = Walk {
        text,
        at: 0,
        depth: 0,
        data_from: data.then_some(0),
        last: 0..0,
        named: false,
        out: Vec::new(),
        copied: 0,
    };
    walk.run();
    if walk.copied == 0 {
        return Cow::Borrowed(text);
    }
    let rest = text.get(walk.copied..).unwrap_or_default();
    walk.out.extend_from_slice(rest);
    Cow::Owned(walk.out)
}

/// Goes over the tokens of a text without building anything; texts are passed over at once.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    /// How deep the data begins; `None` outside of it.
    data_from: Option<usize>,
    /// The text before this token, between its quotes.
    last: std::ops::Range<usize>,
    /// A colon came behind it: it is a name.
    named: bool,
    out: Vec<u8>,
    copied: usize,
}

impl Walk<'_> {
    fn run(&mut self) {
        while let Some(byte) = self.text.get(self.at).copied() {
            match byte {
                b'"' => {
                    self.pass_text();
                    continue;
                }
                b':' => self.named = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    let name = self.text.get(self.last.clone()).unwrap_or_default();
                    let begins = self.named && begins_data(name, byte == b'{');
                    if self.data_from.is_none() && begins {
                        self.data_from = Some(self.depth);
                    }
                    self.named = false;
                }
                b'}' | b']' => {
                    if self.data_from == Some(self.depth) {
                        self.data_from = None;
                    }
                    self.depth = self.depth.saturating_sub(1);
                }
                b',' => self.named = false,
                b'-' | b'0'..=b'9' => {
                    self.number();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn pass_text(&mut self) {
        let start = self.at + 1;
        let mut at = start;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return;
            };
            at += found;
            if self.text.get(at) == Some(&b'"') {
                break;
            }
            at += 2;
        }
        (self.last, self.named) = (start..at, false);
        self.at = at + 1;
    }

    fn number(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let ends = |byte: &u8| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let token = rest.get(..length).unwrap_or_default();
        let token = std::str::from_utf8(token).unwrap_or_default();
        if self.data_from.is_some() && is_wide(token) && is_number(token) {
            let before = self.text.get(self.copied..self.at).unwrap_or_default();
            self.out.extend_from_slice(before);
            self.out.extend_from_slice(b"\"");
            self.out.extend_from_slice(MARK.as_bytes());
            self.out.extend_from_slice(token.as_bytes());
            self.out.extend_from_slice(b"\"");
            self.copied = self.at + length;
        }
        self.at += length;
    }
}

/// Fewer digits than these survive in 64 bits, whichever type they are read as.
const SAFE_DIGITS: usize = 15;

/// Powers of ten up to here are exact in 64 bits; beyond, reading takes a shortcut that may be off by a digit.
const SAFE_POWER: u64 = 22;

/// Whether reading the number and writing it again could change it.
fn is_wide(token: &str) -> bool {
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let is_whole = mantissa == token && !token.contains('.');
    if is_whole && (token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok()) {
        // Minus nothing is nothing, to those who read whole numbers.
        return token == "-0";
    }
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    let significant = digits.skip_while(|digit| *digit == b'0').count();
    let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX);
    let behind = mantissa.split_once('.').map_or(0, |(_, part)| part.len());
    let power = exponent.saturating_sub(i64::try_from(behind).unwrap_or(i64::MAX));
    significant > SAFE_DIGITS || power.unsigned_abs() > SAFE_POWER
}

/// Whether all of the text is one number of JSON.
fn is_number(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
        && super::Cursor::new(text.as_bytes())
            .and_then(|mut cursor| {
                cursor.skip()?;
                cursor.end()
            })
            .is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const WIDE: [&str; 8] = [
        "123456789012345678901234567890",
        "-99999999999999999999",
        "18446744073709551616",
        "0.1234567890123456789",
        "1e400",
        "-1.5E-300",
        "3.14159265358979323846264338327950288",
        "100000000000000000000.10",
    ];

    #[test]
    fn b_wide_numbers_of_data_survive_to_the_digit() {
        for number in WIDE {
            for member in DATA {
                let text = format!(r#"{{"x":[{{"{member}":{{"a":[{number},"b"],"c":1.5}}}}]}}"#);
                let value = read(text.as_bytes()).unwrap();
                assert_eq!(write(&value), text);
            }
            let alone = format!(r#"{{"id":{number},"n":7}}"#);
            let value = read_data(&alone).unwrap();
            assert_eq!(write_data(&value), alone);
            let wrapped = json!({"args": value});
            assert_eq!(write(&wrapped), format!(r#"{{"args":{alone}}}"#));
        }
    }

    #[test]
    fn b_settings_stay_numbers_and_words_stay_words() {
        let text = r#"{"temperature":0.30000000000000004,"input":[{"n":12345678901234567890123}]}"#;
        let value = read(text.as_bytes()).unwrap();
        assert_eq!(
            value["temperature"].as_f64(),
            Some(0.300_000_000_000_000_04)
        );
        assert!(value["input"][0]["n"].is_f64(), "a list is no data");
        // What looks like a kept number where somebody speaks is what somebody said.
        let said = json!({"content": format!("{MARK}1e999")});
        assert_eq!(read(write(&said).as_bytes()).unwrap(), said);
        assert!(write(&said).starts_with(r#"{"content":""#));
        // And in data only a number is one.
        let odd = json!({"args": {"a": format!("{MARK}1}},\"b\":[2"), "c": MARK}});
        assert_eq!(serde_json::from_str::<Value>(&write(&odd)).unwrap(), odd);
    }

    #[test]
    fn ordinary_texts_are_not_copied() {
        for text in [
            r#"{"args":{"a":1,"b":-2.5e3,"c":"123456789012345678901234567890"}}"#,
            "",
            "{",
            "\"",
            "\"\\",
        ] {
            assert!(
                matches!(kept(text.as_bytes(), false), Cow::Borrowed(_)),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn b_any_number_survives(sign in "-?", whole in "0|[1-9][0-9]{0,40}", part in "(\\.[0-9]{1,40})?", power in "([eE][+-]?[0-9]{1,4})?") {
            let number = format!("{sign}{whole}{part}{power}");
            let text = format!(r#"{{"input":{{"n":{number}}}}}"#);
            let back = write(&read(text.as_bytes()).unwrap());
            if back != text {
                // Written otherwise, it is the same number: so few digits decide that exactly.
                let again = back.trim_start_matches(r#"{"input":{"n":"#).trim_end_matches("}}").to_owned();
                prop_assert!(!is_wide(&number), "{number} came back as {again}");
                prop_assert_eq!(number.parse::<f64>().unwrap(), again.parse::<f64>().unwrap());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\",:0-9a-z\\\\. eE+-]{0,60}") {
            let _ = (read(&bytes), read(text.as_bytes()), read_data(&text));
        }

        #[test]
        fn what_serde_reads_is_read_the_same(text in "\\{(\"(input|a)\":(-?[0-9]{1,12}|\"x\"|\\[\\]|\\{\"b\":2\\}),?){0,3}\\}") {
            prop_assert_eq!(read(text.as_bytes()).ok(), serde_json::from_slice::<Value>(text.as_bytes()).ok());
        }
    }
}
