//! What decoders of requests share: taking fields out of JSON without copying them.

use serde_json::{Map, Value};

use super::DialectError;
use super::json::exact;
use super::shapes;
use super::unread::unread;
use crate::domain::chat::{Signature, Source};
use crate::domain::{ClientDialect, ServiceTier};

/// The members of a body that was scanned before, and the places in it that nobody reads.
pub(super) fn request(
    dialect: ClientDialect,
    body: &[u8],
) -> Result<(Map<String, Value>, Vec<String>), DialectError> {
    let mut body = Value::Object(object(body)?);
    if dialect == ClientDialect::Gemini {
        body = super::gemini::camel(body);
    }
    shapes::check(dialect, &body)?;
    let unread = unread(dialect, &body);
    match body {
        Value::Object(fields) => Ok((fields, unread)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Ok((Map::new(), unread))
        }
    }
}

pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, DialectError> {
    let no_object = |message: &str| DialectError {
        message: message.to_owned(),
        param: None,
    };
    match exact::read(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(no_object("the request body is not an object")),
        Err(_) => Err(no_object("the request body is not JSON")),
    }
}

pub(super) fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn number(value: Option<&Value>) -> Option<f64> {
    value.and_then(Value::as_f64)
}

/// The tier that an answer says it was served in.
pub(super) fn tier(value: Option<&Value>) -> Option<ServiceTier> {
    value.and_then(Value::as_str).and_then(ServiceTier::of)
}

/// The elements of a list; nothing for anything else.
pub(super) fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// The arguments of a call where they are JSON in a text: empty where there are none, `None` where they are of
/// another type, which is no text and must not become an empty one.
pub(super) fn call_arguments(given: Option<&Value>) -> Option<String> {
    match given {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => None,
    }
}

/// Whether the arguments of a call are no JSON, and so were cut off; none at all are none.
pub(super) fn is_cut(arguments: &str) -> bool {
    !arguments.trim().is_empty() && exact::read_data(arguments).is_err()
}

/// An object whose fields are taken out one after the other.
pub(super) struct Taken(Map<String, Value>);

impl Taken {
    pub(super) fn of(value: Value) -> Option<Self> {
        if let Value::Object(fields) = value {
            Some(Self(fields))
        } else {
            None
        }
    }

    /// `Null` when it is not there.
    pub(super) fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or_default()
    }

    /// Whether anything was left in it.
    pub(super) fn holds_more(&self) -> bool {
        self.0.values().any(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        text(self.0.remove(name))
    }
}

/// The id of a call whose provider gave it none: unlike that of any other call of any request.
pub(super) fn call_id(given: Option<&Value>, request_id: &str, index: u32) -> String {
    let given = given.and_then(Value::as_str).filter(|id| !id.is_empty());
    given.map_or_else(
        || format!("call_{}_{index}", request_id.trim_start_matches("sy-")),
        str::to_owned,
    )
}

/// Dialects without a place for the signature of a call carry it in the call's id.
pub(super) const IN_ID: &str = "~switchyard-signed~";

/// The id a client of such a dialect gets for a call.
pub(super) fn id_with(id: &str, signature: Option<&Signature>) -> String {
    match signature {
        Some(signature) => format!("{id}{IN_ID}{}", signature.with_name()),
        None => id.to_owned(),
    }
}

/// Takes an id apart that may carry a signature.
pub(super) fn signed_id(id: String) -> (String, Option<Signature>) {
    let parts = id.split_once(IN_ID);
    match parts.and_then(|(bare, rest)| Some((bare, Signature::named(rest)?))) {
        Some((bare, signature)) => (bare.to_owned(), Some(signature)),
        None => (id, None),
    }
}

/// A data URL becomes its data; an address stays one and is never fetched here.
pub(super) fn url_source(path: &str, url: String) -> Result<Source, DialectError> {
    if let Some(rest) = url.strip_prefix("data:") {
        let (kind, data) = rest.split_once(";base64,").ok_or_else(|| {
            DialectError::at(path, "a data URL must be data:<type>;base64,<data>")
        })?;
        return Ok(Source::Base64 {
            media_type: kind.to_owned(),
            data: data.to_owned(),
        });
    }
    if url.starts_with("https://") {
        return Ok(Source::Url { url });
    }
    Err(DialectError::at(
        path,
        "only https and data URLs are accepted",
    ))
}

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS[(bits & 0x3f) as usize]);
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, place| {
            bits << 8 | u32::from(chunk.get(place).copied().unwrap_or(0))
        });
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(digit(bits >> (18 - place * 6)));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes of standard base64 with its padding; `None` for anything else.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 {
        return None;
    }
    let (digits, _) = text.split_at_checked(text.len() - padding)?;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for place in 0..4 {
            let value = group
                .get(place)
                .map_or(Some(0), |byte| digit_value(*byte))?;
            bits = bits << 6 | value;
        }
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend(
            [first, second, third]
                .iter()
                .take(group.len().saturating_sub(1)),
        );
    }
    Some(bytes)
}

fn digit_value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Dialect;

    #[test]
    fn base64_is_the_standard_one() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_base64(bytes in prop::collection::vec(any::<u8>(), 0..80), other in ".{0,40}") {
            prop_assert_eq!(from_base64(&base64(&bytes)), Some(bytes));
            let _ = from_base64(&other);
        }

        #[test]
        fn a_signature_survives_its_travel_in_an_id(
            id in "[a-z_0-9]{1,20}", data in "[A-Za-z0-9+/=~:]{1,40}", signer in prop::option::of("[a-z_.:@-]{1,9}"),
        ) {
            let signer = signer.map(Into::into);
            let signature = Signature { signer, ..Signature::new(Dialect::Gemini, data) };
            let shown = id_with(&id, Some(&signature));
            prop_assert_eq!(signed_id(shown), (id.clone(), Some(signature)));
            prop_assert_eq!(signed_id(id.clone()), (id, None));
        }
    }
}
