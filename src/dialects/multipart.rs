//! A form of several parts, read in one pass over bytes that stay where they are.
//!
//! # Why so strict
//! The gateway decides by a form's fields and the provider's server reads the form again. Parsers of forms differ on
//! preambles, bare line feeds, escapes and twin fields, and an attacker lives on the difference: a second `model` that
//! only the provider sees would be a model this client may not use. What two parsers could read differently is refused.

use std::ops::Range;

use memchr::memmem;

/// Parts a form may have.
const MOST_PARTS: usize = 128;
/// A part's head may be this long.
const LONGEST_HEAD: usize = 4_096;
const LONGEST_NAME: usize = 128;

/// Why a form is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormError(pub &'static str);

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    /// It came under a file's name.
    pub is_file: bool,
    /// From its delimiter to the next.
    pub whole: Range<usize>,
    pub value: Range<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub parts: Vec<Part>,
    /// Where the delimiter begins that ends the form.
    pub end: usize,
}

/// Whether the type of a body is that of a form.
pub fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// The boundary that a form's type names.
pub fn boundary_of(content_type: &str) -> Result<&str, FormError> {
    const MISSING: FormError = FormError(
        "the content type of a form must name its boundary, once and from 1 to 70 characters",
    );
    let mut found = None;
    // A boundary holds no semicolon, so a quoted one cannot hide behind it.
    for field in content_type.split(';').skip(1) {
        let (name, value) = field.split_once('=').ok_or(MISSING)?;
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(value.trim()).is_some() {
            return Err(MISSING);
        }
    }
    let found = found.ok_or(MISSING)?;
    let bare = match found.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(MISSING)?,
        None => found,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    if bare.is_empty() || bare.len() > 70 || !bare.bytes().all(fits) {
        return Err(MISSING);
    }
    Ok(bare)
}

/// Reads a whole form.
pub fn scan_form(body: &[u8], boundary: &str) -> Result<Form, FormError> {
    let dashes = format!("--{boundary}");
    if !body.starts_with(dashes.as_bytes()) {
        return Err(FormError("the form does not begin with its boundary"));
    }
    let line = format!("\n{dashes}");
    let finder = memmem::Finder::new(line.as_bytes());
    let mut form = Form::default();
    let mut start = 0;
    loop {
        let behind = start + dashes.len();
        let rest = body.get(behind..).unwrap_or_default();
        if let Some(epilogue) = rest.strip_prefix(b"--") {
            if !matches!(epilogue, b"" | b"\r\n") {
                return Err(FormError("something follows the end of the form"));
            }
            form.end = start;
            return Ok(form);
        }
        if !rest.starts_with(b"\r\n") {
            return Err(FormError(
                "a boundary of the form is not on a line of its own",
            ));
        }
        let (name, is_file, head) = head(rest.get(2..).unwrap_or_default())?;
        let value = behind + 2 + head;
        if body
            .get(value..)
            .is_some_and(|value| value.starts_with(dashes.as_bytes()))
        {
            return Err(FormError(
                "a part of the form has no value, not even an empty one",
            ));
        }
        let next = finder
            .find(body.get(value..).unwrap_or_default())
            .ok_or(FormError("the form ends before its last boundary"))?;
        let feed = value + next;
        // The line end before a boundary belongs to the boundary, and is both of its bytes.
        let ended = feed.checked_sub(1).filter(|end| *end >= value);
        let ended = ended.filter(|end| body.get(*end) == Some(&b'\r'));
        let ended = ended.ok_or(FormError(
            "a boundary of the form follows a line feed without a carriage return",
        ))?;
        if form.parts.len() == MOST_PARTS {
            return Err(FormError("the form has more parts than the gateway reads"));
        }
        form.parts.push(Part {
            name,
            is_file,
            whole: start..feed + 1,
            value: value..ended,
        });
        start = feed + 1;
    }
}

/// A part's name, whether it is a file, and where its value begins.
fn head(text: &[u8]) -> Result<(String, bool, usize), FormError> {
    const TOO_LONG: FormError = FormError("the head of a form's part has no end");
    const ODD: FormError = FormError("the head of a form's part is not as RFC 7578 wants it");
    let text = text.get(..LONGEST_HEAD.min(text.len())).unwrap_or_default();
    let length = memmem::find(text, b"\r\n\r\n").ok_or(TOO_LONG)? + 4;
    let head = text.get(..length).ok_or(TOO_LONG)?;
    let bare = head.iter().enumerate().any(|(at, byte)| match byte {
        b'\n' => at.checked_sub(1).and_then(|at| head.get(at)) != Some(&b'\r'),
        b'\r' => head.get(at + 1) != Some(&b'\n'),
        0 => true,
        _ => false,
    });
    if bare {
        return Err(ODD);
    }
    let mut slots = [httparse::EMPTY_HEADER; 8];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(head, &mut slots)
    else {
        return Err(ODD);
    };
    let mut found = None;
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-disposition") {
            if found.replace(disposition(field.value)?).is_some() {
                return Err(ODD);
            }
        } else if field.name.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = ["binary", "8bit", "7bit"];
            let value = std::str::from_utf8(field.value).unwrap_or_default();
            if !plain
                .iter()
                .any(|known| value.trim().eq_ignore_ascii_case(known))
            {
                return Err(FormError(
                    "a form's part must come as it is, in no transfer encoding",
                ));
            }
        }
    }
    let (name, is_file) = found.ok_or(ODD)?;
    Ok((name, is_file, length))
}

/// `form-data; name="…"`, with or without a file's name.
fn disposition(value: &[u8]) -> Result<(String, bool), FormError> {
    const ODD: FormError =
        FormError("a form's part must have one plain name, and a file's name has no backslash");
    let mut rest = value.trim_ascii();
    let (kind, behind) = split_at(rest, b';');
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") || value.contains(&b'\\') {
        return Err(ODD);
    }
    rest = behind;
    let (mut name, mut is_file, mut files) = (None, false, 0);
    while !rest.trim_ascii().is_empty() {
        let (key, behind) = split_at(rest, b'=');
        let behind = behind.trim_ascii_start();
        let (text, after) = match behind.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = memchr::memchr(b'"', quoted).ok_or(ODD)?;
                let (text, after) = quoted.split_at_checked(end).ok_or(ODD)?;
                (text, after.get(1..).unwrap_or_default())
            }
            None => {
                let (text, _) = split_at(behind, b';');
                (
                    text.trim_ascii(),
                    behind.get(text.len()..).unwrap_or_default(),
                )
            }
        };
        let after = after.trim_ascii_start();
        rest = match after.strip_prefix(b";") {
            Some(rest) => rest,
            None if after.is_empty() => after,
            None => return Err(ODD),
        };
        let key = key.trim_ascii();
        if key.eq_ignore_ascii_case(b"name") {
            if name.replace(plain_name(text).ok_or(ODD)?).is_some() {
                return Err(ODD);
            }
        } else if key.eq_ignore_ascii_case(b"filename") || key.eq_ignore_ascii_case(b"filename*") {
            is_file = true;
            files += 1;
        } else {
            return Err(ODD);
        }
    }
    match name {
        Some(name) if files <= 2 => Ok((name, is_file)),
        _ => Err(ODD),
    }
}

/// What stands before the byte and behind it; all and nothing where it does not stand.
fn split_at(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(byte, text) {
        Some(at) => (
            text.get(..at).unwrap_or_default(),
            text.get(at + 1..).unwrap_or_default(),
        ),
        None => (text, b""),
    }
}

fn plain_name(text: &[u8]) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= LONGEST_NAME;
    let plain = fits && text.iter().all(|byte| byte.is_ascii_graphic());
    plain.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn part(head: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    fn scanned(body: &str) -> Result<Vec<(String, bool, String)>, FormError> {
        let form = scan_form(body.as_bytes(), "b")?;
        let read = form.parts.into_iter();
        let read = read.map(|part| (part.name, part.is_file, body[part.value].to_owned()));
        Ok(read.collect())
    }

    #[test]
    fn e5_a_form_is_read_where_it_lies() {
        let body = format!(
            "{}{}{}--b--\r\n",
            part("name=\"model\"", "m"),
            part(
                "name=\"file\"; filename=\"a b.mp3\"\r\nContent-Type: audio/mpeg",
                "\r\n--x\r\n\0"
            ),
            part("name=empty", "")
        );
        let read = scanned(&body).unwrap();
        let told = |name: &str, is_file, value: &str| (name.to_owned(), is_file, value.to_owned());
        assert_eq!(
            read,
            [
                told("model", false, "m"),
                told("file", true, "\r\n--x\r\n\0"),
                told("empty", false, "")
            ]
        );
        let form = scan_form(body.as_bytes(), "b").unwrap();
        assert_eq!(&body[form.end..], "--b--\r\n");
        let all: String = form
            .parts
            .iter()
            .map(|part| &body[part.whole.clone()])
            .collect();
        assert_eq!(all, body[..form.end]);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of forms")]
    fn a14_what_two_parsers_could_read_differently_is_refused() {
        let good = part("name=\"a\"", "1");
        for (what, body) in [
            ("preamble", format!("x\r\n{good}--b--")),
            ("epilogue", format!("{good}--b--\r\nmore")),
            ("no end", good.clone()),
            ("longer boundary", format!("{good}--bc\r\n\r\n--b--")),
            ("padding", good.replace("--b\r\n", "--b \r\n") + "--b--"),
            (
                "bare feed",
                format!("{}--b--", good.replace("1\r\n", "1\n")),
            ),
            (
                "feeds in the head",
                format!("{}--b--", good.replace("--b\r\n", "--b\r\nx: y\n")),
            ),
            ("no name", format!("{}--b--", part("filename=\"x\"", "1"))),
            (
                "two names",
                format!("{}--b--", part("name=\"a\"; name=\"b\"", "1")),
            ),
            (
                "encoded name",
                format!("{}--b--", part("name*=utf-8''a", "1")),
            ),
            (
                "escape",
                format!(
                    "{}--b--",
                    part("name=\"a\"; filename=\"\\\"; name=\\\"b\"", "1")
                ),
            ),
            ("no quote", format!("{}--b--", part("name=\"a", "1"))),
            (
                "behind a quote",
                format!("{}--b--", part("name=\"a\"b", "1")),
            ),
            (
                "two dispositions",
                format!(
                    "{}--b--",
                    part(
                        "name=\"a\"\r\ncontent-disposition: form-data; name=\"b\"",
                        "1"
                    )
                ),
            ),
            (
                "transfer encoding",
                format!(
                    "{}--b--",
                    part("name=\"a\"\r\ncontent-transfer-encoding: base64", "1")
                ),
            ),
            (
                "attachment",
                format!("{}--b--", good.replace("form-data", "attachment")),
            ),
            (
                "many parts",
                format!("{}--b--", good.repeat(MOST_PARTS + 1)),
            ),
            (
                "long head",
                format!(
                    "{}--b--",
                    part(
                        &format!("name=\"a\"\r\nx: {}", "y".repeat(LONGEST_HEAD)),
                        "1"
                    )
                ),
            ),
            ("no value", good.replace("\r\n\r\n1", "\r\n") + "--b--"),
            ("nothing", String::new()),
        ] {
            assert!(scanned(&body).is_err(), "{what}: {body}");
        }
    }

    #[test]
    fn the_boundary_is_found_once_or_not_at_all() {
        let of = |text| boundary_of(text).ok();
        assert_eq!(of("multipart/form-data; boundary=abc"), Some("abc"));
        assert_eq!(
            of("Multipart/Form-Data; charset=utf-8; Boundary=\"a'b\""),
            Some("a'b")
        );
        for bad in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=\"a;b\"",
            "multipart/form-data; boundary",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert!(boundary_of(&long).is_err());
        assert!(is_form("multipart/form-data; x") && !is_form("application/json"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in "(--b|--b--|\r\n|\n|Content-Disposition: form-data; |name=|\"a\"|;|filename|[a-z]){0,30}") {
            let _ = scanned(&body);
        }

        #[test]
        fn what_is_put_together_is_read_again(
            fields in prop::collection::vec(("[a-z_]{1,9}", any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..9),
        ) {
            let mut body = Vec::new();
            for (name, is_file, value) in &fields {
                let file = if *is_file { "; filename=\"f\"" } else { "" };
                body.extend_from_slice(format!("--bound\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes());
                body.extend_from_slice(value);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"--bound--\r\n");
            let form = scan_form(&body, "bound").unwrap();
            let read: Vec<_> = form.parts.into_iter().map(|part| (part.name, part.is_file, body[part.value].to_vec())).collect();
            prop_assert_eq!(read, fields);
        }
    }
}
