//! A text as JSON has it, written where it is to stand.

use bytes::BytesMut;

/// Writes the text in quotes, byte for byte as [`super::one_line`] does, without a copy of its own.
pub(super) fn push(out: &mut BytesMut, text: &str) {
    out.extend_from_slice(b"\"");
    let mut rest = text;
    while let Some(at) = first_odd(rest) {
        let (plain, odd) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut characters = odd.chars();
        if let Some(character) = characters.next() {
            push_odd(out, character);
        }
        rest = characters.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(b"\"");
}

/// Where the first character stands that does not stand for itself.
fn first_odd(text: &str) -> Option<usize> {
    // What begins the three separators begins other characters as well.
    let suspect = |byte: u8| byte < b' ' || matches!(byte, b'"' | b'\\' | 0xc2 | 0xe2);
    let from = text.bytes().position(suspect)?;
    let odd = |character: char| {
        character < ' ' || matches!(character, '"' | '\\' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    // A suspect byte begins a character.
    let behind = text.get(from..).unwrap_or_default();
    behind.find(odd).map(|at| from + at)
}

fn push_odd(out: &mut BytesMut, character: char) {
    let short: &[u8] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\u{8}' => b"\\b",
        '\t' => b"\\t",
        '\n' => b"\\n",
        '\u{c}' => b"\\f",
        '\r' => b"\\r",
        other => {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(other)).as_bytes());
            return;
        }
    };
    out.extend_from_slice(short);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialects::one_line;

    fn quoted(text: &str) -> Vec<u8> {
        let mut out = BytesMut::new();
        push(&mut out, text);
        out.to_vec()
    }

    #[test]
    fn a13_what_some_take_for_the_end_of_a_line_is_escaped() {
        let text = "a\u{85}b\u{2028}\u{2029}c\u{e2}\u{2030}";
        let written = String::from_utf8(quoted(text)).unwrap();
        assert_eq!(written, "\"a\\u0085b\\u2028\\u2029c\u{e2}\u{2030}\"");
    }

    proptest! {
        #[test]
        fn a_text_reads_as_it_would_in_a_tree(text in any::<String>(), odd in "[\u{0}-\u{20}\"\\\\\u{7f}-\u{a0}\u{2020}-\u{2030}a]{0,12}") {
            for text in [text, odd] {
                let built = one_line(&serde_json::Value::String(text.clone()));
                prop_assert_eq!(quoted(&text), built, "{:?}", text);
            }
        }
    }
}
