//! What can be told of a path that leads nowhere: whose it looks like, and which was meant.

use http::HeaderMap;

use crate::domain::{ClientDialect, Operation};

/// The dialect that whoever asks expects an answer in.
pub(super) fn spoken(path: &str, headers: &HeaderMap) -> ClientDialect {
    let has = |names: &[&str]| names.iter().any(|name| headers.contains_key(*name));
    if path.starts_with("/v1beta") || has(&["x-goog-api-key", "x-goog-api-client"]) {
        return ClientDialect::Gemini;
    }
    let says_messages = path.split('/').any(|segment| segment == "messages");
    if says_messages || path.starts_with("/anthropic/") || has(&["anthropic-version"]) {
        return ClientDialect::Anthropic;
    }
    if path.split('/').any(|segment| segment == "responses") {
        return ClientDialect::Responses;
    }
    ClientDialect::Openai
}

/// The path that this one ends with, behind a base that was written twice or a slash too many.
pub(super) fn meant(path: &str) -> Option<String> {
    let others = ["responses", "messages/count_tokens", "messages", "models"];
    let path = path.trim_end_matches('/');
    let known = Operation::PASSED.into_iter().chain([Operation::Chat]);
    // A chat's path ends with that of a completion.
    let mut known: Vec<&str> = known.map(Operation::path).chain(others).collect();
    known.sort_by_key(|known| std::cmp::Reverse(known.len()));
    let ends_with = |known: &&str| {
        let before = path.strip_suffix(*known);
        before.is_some_and(|before| before.ends_with('/'))
    };
    known
        .into_iter()
        .find(ends_with)
        .map(|known| format!("/v1/{known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e8_the_path_that_was_meant_is_named() {
        for (path, known) in [
            ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
            ("/v1/chat/completions/", Some("/v1/chat/completions")),
            ("/openai/completions", Some("/v1/completions")),
            ("/v1/v1/messages", Some("/v1/messages")),
            ("/v2/audio/speech", Some("/v1/audio/speech")),
            ("/v1/mychat/completionsx", None),
            ("/admin/tree", None),
            ("/", None),
        ] {
            assert_eq!(meant(path).as_deref(), known, "{path}");
        }
    }

    #[test]
    fn e8_a_path_or_a_header_tells_the_dialect() {
        let with = |name: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = name {
                headers.insert(name, http::HeaderValue::from_static("x"));
            }
            headers
        };
        for (path, header, dialect) in [
            ("/v1/x", None, ClientDialect::Openai),
            ("/v1/x", Some("anthropic-version"), ClientDialect::Anthropic),
            ("/v1/x", Some("x-goog-api-key"), ClientDialect::Gemini),
            ("/v1beta/x", None, ClientDialect::Gemini),
            ("/v1/v1/messages", None, ClientDialect::Anthropic),
            ("/v1/v1/responses", None, ClientDialect::Responses),
        ] {
            assert_eq!(spoken(path, &with(header)), dialect, "{path} {header:?}");
        }
    }
}
