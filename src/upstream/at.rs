//! Where a provider's operations are, by its dialect.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::Uri;

use super::error::{AttemptError, BuildError};
use crate::config::ProviderSettings;
use crate::domain::{AttemptOutcome, Dialect, Mode, Operation};

/// The address of generations.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Of a provider with one path for all models, that path; else what stands before the model.
    base: Uri,
    /// What stands behind the model; `None` where the path does not name it.
    behind: Option<Behind>,
    /// What stands before the paths of other operations.
    root: String,
}

/// What stands behind a model's name in a path.
#[derive(Clone, Debug)]
struct Behind {
    whole: Cow<'static, str>,
    stream: Cow<'static, str>,
}

impl Address {
    pub(super) fn of(provider: &ProviderSettings) -> Result<Self, BuildError> {
        let (path, behind) = match provider.dialect {
            Dialect::Openai => ("chat/completions", None),
            Dialect::Responses => ("responses", None),
            Dialect::Anthropic => ("messages", None),
            Dialect::Gemini => {
                let behind = Behind {
                    whole: Cow::Borrowed(":generateContent"),
                    stream: Cow::Borrowed(":streamGenerateContent?alt=sse"),
                };
                ("models", Some(behind))
            }
            Dialect::Ollama => ("api/chat", None),
            Dialect::Cohere => ("v2/chat", None),
        };
        let bad = |error: http::uri::InvalidUri| BuildError::Address(error.to_string());
        let base = endpoint(provider, path).parse().map_err(bad)?;
        let root: Uri = provider.base_url.parse().map_err(bad)?;
        let root = root.path().trim_end_matches('/').to_owned();
        Ok(Self { base, behind, root })
    }

    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    pub(super) fn path(
        &self,
        model: &str,
        mode: Mode,
        operation: Operation,
    ) -> Result<Cow<'_, str>, AttemptError> {
        if operation != Operation::Chat {
            return Ok(Cow::Owned(format!("{}/{}", self.root, operation.path())));
        }
        let path = self.base.path_and_query().map_or("/", |path| path.as_str());
        let Some(behind) = &self.behind else {
            return Ok(Cow::Borrowed(path));
        };
        // As a segment of its own it would lead up the tree, escaped or not.
        if model.bytes().all(|byte| byte == b'.') {
            return Err(AttemptError::of(AttemptOutcome::Rejected));
        }
        let mut named = String::with_capacity(path.len() + model.len() + 64);
        named.push_str(path);
        named.push('/');
        escape(model, &mut named);
        named.push_str(match mode {
            Mode::Whole => &behind.whole,
            Mode::Stream => &behind.stream,
        });
        Ok(Cow::Owned(named))
    }

    pub(super) fn uri(
        &self,
        model: &str,
        mode: Mode,
        operation: Operation,
    ) -> Result<Uri, AttemptError> {
        if self.behind.is_none() && operation == Operation::Chat {
            return Ok(self.base.clone());
        }
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = self.path(model, mode, operation)?.parse().ok();
        Uri::from_parts(parts).map_err(|_| AttemptError::of(AttemptOutcome::Rejected))
    }
}

/// A model's name comes from outside: in an address it is a name and nothing else.
fn escape(name: &str, out: &mut String) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@') {
            out.push(char::from(byte));
        } else {
            // Writing to memory cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The address of an operation. Some SDKs write the base without its version, others with it.
fn endpoint(provider: &ProviderSettings, path: &str) -> String {
    let base = &provider.base_url;
    let versioned = |version: &str| {
        if base.contains("/v1") {
            format!("{base}/{path}")
        } else {
            format!("{base}/{version}/{path}")
        }
    };
    match provider.dialect {
        Dialect::Openai | Dialect::Responses => format!("{base}/{path}"),
        Dialect::Anthropic if base.ends_with("/v1") => format!("{base}/{path}"),
        Dialect::Anthropic => format!("{base}/v1/{path}"),
        Dialect::Gemini => versioned("v1beta"),
        // Their OpenAI-like forms, which most know them by, lie beside their own.
        Dialect::Ollama => {
            let root = base.trim_end_matches("/v1").trim_end_matches("/api");
            format!("{root}/{path}")
        }
        Dialect::Cohere => {
            let root = base.trim_end_matches("/compatibility/v1");
            let root = root.trim_end_matches("/v1").trim_end_matches("/v2");
            format!("{root}/{path}")
        }
    }
}

/// Where a provider lists its models, which costs nothing and needs a good key.
pub(super) fn models(provider: &ProviderSettings) -> String {
    let path = match provider.dialect {
        Dialect::Openai | Dialect::Responses | Dialect::Anthropic | Dialect::Gemini => "models",
        Dialect::Ollama => "api/tags",
        Dialect::Cohere => "v1/models",
    };
    endpoint(provider, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(base: &'static str) -> Address {
        Address {
            base: Uri::from_static(base),
            behind: Some(Behind {
                whole: Cow::Borrowed(":generateContent"),
                stream: Cow::Borrowed(":streamGenerateContent?alt=sse"),
            }),
            root: "/v1beta".to_owned(),
        }
    }

    #[test]
    fn a_model_in_an_address_is_a_name_and_nothing_else() {
        let at = address("https://host/v1beta/models");
        let path = |model: &str, mode| {
            let path = at.path(model, mode, Operation::Chat);
            path.map(Cow::into_owned)
        };
        assert_eq!(
            path("gemini-2.5-pro", Mode::Whole).unwrap(),
            "/v1beta/models/gemini-2.5-pro:generateContent"
        );
        assert_eq!(
            path("../../x?y=1#z", Mode::Stream).unwrap(),
            "/v1beta/models/..%2F..%2Fx%3Fy%3D1%23z:streamGenerateContent?alt=sse"
        );
        assert_eq!(
            at.uri("a b", Mode::Whole, Operation::Chat)
                .unwrap()
                .to_string(),
            "https://host/v1beta/models/a%20b:generateContent"
        );
        for up in ["", ".", ".."] {
            assert!(path(up, Mode::Whole).is_err(), "{up:?}");
            assert!(at.uri(up, Mode::Stream, Operation::Chat).is_err(), "{up:?}");
        }
    }
}
