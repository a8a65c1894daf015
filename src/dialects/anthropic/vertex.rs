//! Anthropic's messages as Google's Vertex takes them: the model is told by the address, the version here.

use crate::dialects::DialectError;
use crate::dialects::json::scan_object;

/// The one version there is.
const VERSION: &str = "\"anthropic_version\":\"vertex-2023-10-16\"";

/// The same request for Vertex. What is not its business stays byte for byte.
pub fn for_vertex(body: &[u8]) -> Result<Vec<u8>, DialectError> {
    let members = scan_object(body).map_err(|error| DialectError {
        message: error.to_string(),
        param: None,
    })?;
    let mut out = Vec::with_capacity(body.len() + VERSION.len());
    out.push(b'{');
    out.extend_from_slice(VERSION.as_bytes());
    for member in members {
        let key = body.get(member.key.clone()).unwrap_or_default();
        if key == b"model" || key == b"anthropic_version" {
            continue;
        }
        out.extend_from_slice(b",\"");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(body.get(member.value.clone()).unwrap_or_default());
    }
    out.push(b'}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_vertex_is_told_the_version_and_not_the_model() {
        let body =
            br#"{ "model" : "m", "max_tokens":1, "x":{"model":1.50}, "anthropic_version":"9"}"#;
        assert_eq!(
            String::from_utf8(for_vertex(body).unwrap()).unwrap(),
            r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":1,"x":{"model":1.50}}"#
        );
        assert!(for_vertex(b"{").is_err() && for_vertex(b"[]").is_err());
    }
}
