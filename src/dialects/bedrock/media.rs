//! Pictures, documents and sounds as Bedrock takes them: by their data, and by addresses of AWS's own store.

use serde_json::{Value, json};

use crate::dialects::DialectError;
use crate::domain::chat::Source;

pub(super) fn image(index: usize, source: &Source) -> Result<Value, DialectError> {
    let bytes = bytes(index, source)?;
    let format = match format(source).as_str() {
        "jpg" | "jpeg" => "jpeg",
        "png" => "png",
        "gif" => "gif",
        "webp" => "webp",
        _ => {
            return Err(refused(
                index,
                "images of this type; send png, jpeg, gif or webp",
            ));
        }
    };
    Ok(json!({"image": {"format": format, "source": bytes}}))
}

pub(super) fn document(
    index: usize,
    source: &Source,
    name: Option<&str>,
) -> Result<Value, DialectError> {
    let source_bytes = bytes(index, source)?;
    let format = match format(source).as_str() {
        "pdf" => "pdf",
        "csv" => "csv",
        "doc" | "msword" => "doc",
        "docx" | "vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "xls" | "vnd.ms-excel" => "xls",
        "xlsx" | "vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "html" => "html",
        "plain" | "txt" => "txt",
        "markdown" | "md" => "md",
        _ => return Err(refused(index, "documents of this type")),
    };
    let name = tame(name);
    Ok(json!({"document": {"format": format, "name": name, "source": source_bytes}}))
}

pub(super) fn audio(format: &str, data: &str) -> Value {
    json!({"audio": {"format": format, "source": {"bytes": data}}})
}

fn refused(index: usize, what: &str) -> DialectError {
    DialectError::at(
        format!("messages[{index}].content"),
        format!("the provider of this model takes no {what}"),
    )
}

/// The last part of the media type, or of the address.
fn format(source: &Source) -> String {
    let (text, mark) = match source {
        Source::Base64 { media_type, .. } => (media_type, '/'),
        Source::Url { url } => (url, '.'),
    };
    let text = text.split(';').next().unwrap_or_default();
    let last = text.rsplit(mark).next().unwrap_or_default();
    last.trim().to_ascii_lowercase()
}

fn bytes(index: usize, source: &Source) -> Result<Value, DialectError> {
    match source {
        Source::Base64 { data, .. } => Ok(json!({"bytes": data})),
        Source::Url { url } if url.starts_with("s3://") => Ok(json!({"s3Location": {"uri": url}})),
        Source::Url { .. } => Err(refused(
            index,
            "images or documents by address; send the data, or choose another model",
        )),
    }
}

/// A name of letters, digits, single spaces and few marks, as it is demanded.
fn tame(name: Option<&str>) -> String {
    let mut tame = String::new();
    for letter in name.unwrap_or_default().chars().take(200) {
        if letter.is_ascii_alphanumeric() || "-()[]".contains(letter) {
            tame.push(letter);
        } else if !tame.is_empty() && !tame.ends_with(' ') {
            tame.push(' ');
        }
    }
    match tame.trim_end() {
        "" => "document".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_s_name_is_made_to_fit() {
        assert_eq!(tame(Some("a_b  c.pdf")), "a b c pdf");
        assert_eq!(tame(Some("  ü ")), "document");
        assert_eq!(tame(None), "document");
    }
}
