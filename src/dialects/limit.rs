//! A limit on the answer's length, written into a request that names none.

use std::ops::Range;

use bytes::Bytes;
use smallvec::smallvec;

use super::json::{MemberSpan, edited, members_of, scan_object};
use crate::domain::{ClientDialect, Operation};

/// What was replaced, and how long it is now.
pub type Moved = (Range<usize>, usize);

/// The request with this limit, and what moved; `None` where it is no object, or its operation writes nothing.
///
/// A member that says `null` is given the limit, so that no name stands there twice.
pub fn with_limit(
    body: &Bytes,
    dialect: ClientDialect,
    operation: Operation,
    limit: u64,
) -> Option<(Bytes, Moved)> {
    let members = scan_object(body).ok()?;
    let value = limit.to_string();
    let (range, text) = if operation == Operation::Completions {
        in_object(body, &members, &["max_tokens"], &value)?
    } else if operation != Operation::Chat {
        return None;
    } else {
        match dialect {
            // The older name is refused by models that think; `null` under it says nothing.
            ClientDialect::Openai => in_object(body, &members, &["max_completion_tokens"], &value)?,
            ClientDialect::Anthropic => in_object(body, &members, &["max_tokens"], &value)?,
            ClientDialect::Responses => in_object(body, &members, &["max_output_tokens"], &value)?,
            ClientDialect::Gemini => in_settings(body, &members, &value)?,
        }
    };
    let moved = (range.clone(), text.len());
    let pieces = edited(body, smallvec![(range, Bytes::from(text))]);
    Some((pieces.concat().into(), moved))
}

fn named<'m>(body: &[u8], members: &'m [MemberSpan], names: &[&str]) -> Option<&'m MemberSpan> {
    members.iter().find(|member| {
        let key = body.get(member.key.clone()).unwrap_or_default();
        names.iter().any(|name| name.as_bytes() == key)
    })
}

/// The value in the place of what stands under the first of these names, or a new last member.
fn in_object(
    body: &[u8],
    members: &[MemberSpan],
    names: &[&str],
    value: &str,
) -> Option<(Range<usize>, String)> {
    if let Some(member) = named(body, members, names) {
        return Some((member.value.clone(), value.to_owned()));
    }
    let at = members.last()?.value.end;
    let name = names.first()?;
    Some((at..at, format!(",\"{name}\":{value}")))
}

/// Google's form keeps its settings in an object of their own.
fn in_settings(body: &[u8], members: &[MemberSpan], limit: &str) -> Option<(Range<usize>, String)> {
    const SETTINGS: [&str; 2] = ["generationConfig", "generation_config"];
    const LIMIT: [&str; 2] = ["maxOutputTokens", "max_output_tokens"];
    let whole = format!("{{\"{}\":{limit}}}", LIMIT[0]);
    let Some(settings) = named(body, members, &SETTINGS) else {
        return in_object(body, members, &SETTINGS, &whole);
    };
    let inside = members_of(body, &settings.value);
    in_object(body, &inside, &LIMIT, limit).or_else(|| Some((settings.value.clone(), whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(dialect: ClientDialect, operation: Operation, body: &str) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let (with, (range, length)) = with_limit(&body, dialect, operation, 99).unwrap();
        assert_eq!(with.len(), body.len() - range.len() + length);
        String::from_utf8(with.to_vec()).unwrap()
    }

    #[test]
    fn a18_a_limit_stands_where_each_form_has_it_and_the_rest_as_it_was() {
        use ClientDialect as D;
        let of_chat = |dialect, body| limited(dialect, Operation::Chat, body);
        assert_eq!(
            of_chat(D::Openai, r#"{"model":"m", "x":1.50 }"#),
            r#"{"model":"m", "x":1.50,"max_completion_tokens":99 }"#
        );
        assert_eq!(
            limited(D::Openai, Operation::Completions, r#"{"model":"m"}"#),
            r#"{"model":"m","max_tokens":99}"#
        );
        assert_eq!(
            of_chat(D::Anthropic, r#"{"max_tokens" : null,"model":"m"}"#),
            r#"{"max_tokens" : 99,"model":"m"}"#
        );
        assert_eq!(
            of_chat(D::Responses, r#"{"input":"hi"}"#),
            r#"{"input":"hi","max_output_tokens":99}"#
        );
    }

    #[test]
    fn a18_a_limit_stands_among_googles_settings() {
        let settings = r#"{"generationConfig":{"maxOutputTokens":99}}"#;
        for (body, wanted) in [
            (
                r#"{"contents":[]}"#,
                r#"{"contents":[],"generationConfig":{"maxOutputTokens":99}}"#,
            ),
            (
                r#"{"generation_config":{"topP":0.50},"contents":[]}"#,
                r#"{"generation_config":{"topP":0.50,"maxOutputTokens":99},"contents":[]}"#,
            ),
            (
                r#"{"generationConfig":{"max_output_tokens":null}}"#,
                r#"{"generationConfig":{"max_output_tokens":99}}"#,
            ),
            (r#"{"generationConfig":{}}"#, settings),
            (r#"{"generationConfig":null}"#, settings),
        ] {
            let with = limited(ClientDialect::Gemini, Operation::Chat, body);
            assert_eq!(with, wanted);
        }
    }

    #[test]
    fn a18_what_writes_nothing_and_what_is_no_object_has_no_limit() {
        let body = Bytes::from_static(b"{\"input\":\"a\"}");
        for operation in [
            Operation::Embeddings,
            Operation::Speech,
            Operation::CountTokens,
        ] {
            assert_eq!(with_limit(&body, ClientDialect::Openai, operation, 9), None);
        }
        let odd = Bytes::from_static(b"[]");
        assert_eq!(
            with_limit(&odd, ClientDialect::Openai, Operation::Chat, 9),
            None
        );
        let empty = Bytes::from_static(b"{}");
        assert_eq!(
            with_limit(&empty, ClientDialect::Openai, Operation::Chat, 9),
            None
        );
    }
}
