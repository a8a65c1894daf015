//! What the gateway needs to know of a request that comes as a form: files and the fields beside them.

use super::peek::{
    ChatPeek, ModelPlace, OURS, REFUSED, RequestError, count, flag, named, printable, seconds,
    usable,
};
use crate::dialects::multipart::{Form, FormError, Part, boundary_of, scan_form};
use crate::domain::{FailureKind, Operation};

/// Most answers of one request.
const MOST_CHOICES: u64 = 128;

impl From<FormError> for RequestError {
    fn from(error: FormError) -> Self {
        Self {
            kind: FailureKind::InvalidRequest,
            message: format!("the request body is not a form the gateway accepts: {error}"),
            param: None,
        }
    }
}

/// The facts of a form; `addressed` is the model that the address names.
pub fn peek_form(
    body: &[u8],
    content_type: &str,
    operation: Operation,
    addressed: Option<&str>,
) -> Result<ChatPeek, RequestError> {
    let boundary = boundary_of(content_type)?;
    let form = scan_form(body, boundary)?;
    let mut peek = ChatPeek {
        max_output: Some(0),
        ..ChatPeek::empty()
    };
    let content = operation.content();
    let mut given = false;
    for (index, part) in form.parts.iter().enumerate() {
        let value = body.get(part.value.clone()).unwrap_or_default();
        peek.attached += if part.is_file { value.len() } else { 0 };
        given |= part.name.trim_end_matches("[]") == content && !value.is_empty();
        if !matters(&part.name) {
            continue;
        }
        // Which of two counts would be a guess, and what hides behind a file's name is another.
        let twin = form.parts.iter().take(index);
        if part.is_file || twin.into_iter().any(|before| before.name == part.name) {
            let message = format!(
                "the form's field {:?} must be there once and be no file",
                part.name
            );
            return Err(RequestError {
                kind: FailureKind::InvalidRequest,
                message,
                param: None,
            });
        }
        field(part, value, &mut peek)?;
    }
    if !given {
        return Err(RequestError::at(
            content,
            format!("{content:?} is missing or empty; there is nothing to do"),
        ));
    }
    if peek.spans.model == ModelPlace::Nowhere {
        peek.spans.model = absent(&form, boundary);
    }
    // Its limits are not those of text, but more than one is asked for all the same.
    match addressed {
        Some(model) => Ok(peek.addressed(usable(model)?)),
        None => named(peek),
    }
}

/// Whether the gateway itself goes by this field.
fn matters(name: &str) -> bool {
    matches!(name, "model" | "stream" | "response_format" | "n")
        || OURS.contains(&name)
        || REFUSED.contains(&name)
}

fn field(part: &Part, value: &[u8], peek: &mut ChatPeek) -> Result<(), RequestError> {
    match part.name.as_str() {
        "model" => {
            let name = std::str::from_utf8(value).unwrap_or_default();
            peek.model = printable(name.to_owned())?;
            peek.spans.model = ModelPlace::Bare(part.value.clone());
        }
        // Forms of Python and of JavaScript differ in how they write it.
        "stream" => {
            peek.stream = flag("stream", &value.to_ascii_lowercase())?.unwrap_or(false);
        }
        "n" => drop(count("n", value, MOST_CHOICES)?),
        "response_format" => peek.plain_text = matches!(value, b"text" | b"srt" | b"vtt"),
        name if REFUSED.contains(&name) => {
            return Err(RequestError {
                kind: FailureKind::InvalidRequest,
                message: format!(
                    "{name:?} is not accepted: providers and their keys come from the gateway's configuration"
                ),
                param: None,
            });
        }
        name => {
            if name == "timeout" {
                peek.timeout = seconds(value);
            }
            peek.wishes.read(name, value)?;
            peek.spans.ours.push(part.whole.clone());
        }
    }
    Ok(())
}

/// A model goes in behind everything else, as a part of its own.
fn absent(form: &Form, boundary: &str) -> ModelPlace {
    ModelPlace::Absent {
        at: form.end,
        before: format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n"),
        after: "\r\n",
        quoted: false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::splice::{SpliceEdit, splice_request};
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b";

    fn form(fields: &[(&str, &str)]) -> String {
        let parts = fields.iter().map(|(name, value)| {
            let file = if *name == "file" {
                "; filename=\"a.mp3\""
            } else {
                ""
            };
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
            )
        });
        parts.collect::<String>() + "--b--\r\n"
    }

    fn peeked(fields: &[(&str, &str)]) -> Result<ChatPeek, RequestError> {
        peek_form(
            form(fields).as_bytes(),
            TYPE,
            Operation::Transcriptions,
            None,
        )
    }

    fn spliced(body: &str, addressed: Option<&str>) -> String {
        let peek = peek_form(body.as_bytes(), TYPE, Operation::Transcriptions, addressed).unwrap();
        let edit = SpliceEdit {
            model: "whisper-1",
            ask_usage: false,
        };
        let pieces = splice_request(
            &Bytes::from(body.to_owned()),
            &peek,
            &edit,
            smallvec::SmallVec::new(),
        );
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn e5_the_facts_of_a_form_are_found() {
        let peek = peeked(&[
            ("file", "\u{1}\u{2}\u{3}"),
            ("model", "p"),
            ("stream", "True"),
            ("response_format", "vtt"),
            ("timeout", "1.5"),
        ])
        .unwrap();
        assert_eq!(
            (peek.model.as_str(), peek.stream, peek.plain_text),
            ("p", true, true)
        );
        assert_eq!(
            (peek.attached, peek.timeout.map(|wait| wait.as_millis())),
            (3, Some(1_500))
        );
    }

    #[test]
    fn e5_only_the_model_changes_and_our_own_fields_never_leave() {
        let sent = spliced(
            &form(&[
                ("fallbacks", "[\"q\"]"),
                ("model", "p"),
                ("file", "\r\nmp3"),
                ("timeout", "9"),
                ("language", "de"),
            ]),
            None,
        );
        assert_eq!(
            sent,
            form(&[
                ("model", "whisper-1"),
                ("file", "\r\nmp3"),
                ("language", "de")
            ])
        );
    }

    #[test]
    fn e8_a_model_of_the_address_counts_whatever_the_form_names() {
        for fields in [
            vec![("model", "other"), ("file", "x")],
            vec![("model", "whisper-1"), ("file", "x")],
        ] {
            let sent = spliced(&form(&fields), Some("whisper-1"));
            assert_eq!(sent, form(&[("model", "whisper-1"), ("file", "x")]));
        }
        let sent = spliced(&form(&[("file", "x")]), Some("p"));
        assert_eq!(sent, form(&[("file", "x"), ("model", "whisper-1")]));
    }

    #[test]
    fn a09_twins_disguises_and_addresses_are_refused() {
        for (fields, words) in [
            (vec![("file", "x"), ("model", "p"), ("model", "q")], "once"),
            (
                vec![("file", "x"), ("model", "p"), ("api_base", "http://h")],
                "configuration",
            ),
            (vec![("file", "x"), ("model", "")], "printable"),
            (vec![("file", "x")], "\"model\" is missing"),
            (vec![("file", ""), ("model", "p")], "\"file\" is missing"),
            (vec![("model", "p")], "\"file\" is missing"),
            (
                vec![("file", "x"), ("model", "p"), ("stream", "perhaps")],
                "stream",
            ),
        ] {
            let error = peeked(&fields).unwrap_err();
            assert!(error.message.contains(words), "{}", error.message);
        }
        let body = form(&[("file", "x")]).replace("name=\"file\"", "name=\"model\"");
        let peek = peek_form(body.as_bytes(), TYPE, Operation::Transcriptions, None);
        assert!(peek.unwrap_err().message.contains("no file"));
    }
}
