//! What a request holds that came as a form. Read in the plainest way there is: a judge of forms must not share its
//! reader with whoever wrote them.

use super::asked::Asked;

/// The fields of a form, in order: head and value of each; nothing when the body is no form.
fn parts(asked: &Asked) -> Vec<(String, &[u8])> {
    let kind = asked.header("content-type").unwrap_or_default();
    let Some((_, boundary)) = kind.split_once("boundary=") else {
        return Vec::new();
    };
    let line = format!("--{}", boundary.trim_matches('"')).into_bytes();
    let mut parts = Vec::new();
    let mut rest: &[u8] = &asked.body;
    while let Some(start) = memchr::memmem::find(rest, &line) {
        rest = rest
            .get(start.saturating_add(line.len())..)
            .unwrap_or_default();
        let end = memchr::memmem::find(rest, &line).unwrap_or(0);
        let part = rest.get(..end).unwrap_or_default();
        let Some(head) = memchr::memmem::find(part, b"\r\n\r\n") else {
            continue;
        };
        let value = part.get(head.saturating_add(4)..).unwrap_or_default();
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        let head = part.get(..head).unwrap_or_default();
        parts.push((String::from_utf8_lossy(head).into_owned(), value));
    }
    parts
}

fn part<'a>(asked: &'a Asked, name: &str) -> Option<(String, &'a [u8])> {
    let name = format!(" name=\"{name}\"");
    let mut parts = parts(asked).into_iter();
    parts.find(|(head, _)| head.contains(&name))
}

/// The text of a field.
pub(super) fn text<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    let (_, value) = part(asked, name)?;
    std::str::from_utf8(value).ok()
}

/// The bytes of a field that is a file.
pub(super) fn file<'a>(asked: &'a Asked, name: &str) -> Option<&'a [u8]> {
    let (head, value) = part(asked, name)?;
    head.contains("filename").then_some(value)
}
