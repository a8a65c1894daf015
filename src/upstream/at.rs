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
    named: bool,
    /// What stands before the paths of other operations.
    root: String,
}

impl Address {
    pub(super) fn of(provider: &ProviderSettings) -> Result<Self, BuildError> {
        let (path, named) = match provider.dialect {
            Dialect::Openai => ("chat/completions", false),
            Dialect::Responses => ("responses", false),
            Dialect::Anthropic => ("messages", false),
            Dialect::Gemini => ("models", true),
        };
        let bad = |error: http::uri::InvalidUri| BuildError::Address(error.to_string());
        let base = endpoint(provider, path).parse().map_err(bad)?;
        let root: Uri = provider.base_url.parse().map_err(bad)?;
        let root = root.path().trim_end_matches('/').to_owned();
        Ok(Self { base, named, root })
    }

    pub(super) fn base(&self) -> &Uri {
        &self.base
    }

    pub(super) fn path(&self, model: &str, mode: Mode, operation: Operation) -> Cow<'_, str> {
        if operation == Operation::CountTokens {
            return Cow::Owned(format!("{}/count_tokens", self.base.path()));
        }
        if operation != Operation::Chat {
            return Cow::Owned(format!("{}/{}", self.root, operation.path()));
        }
        let path = self.base.path_and_query().map_or("/", |path| path.as_str());
        if !self.named {
            return Cow::Borrowed(path);
        }
        let mut named = String::with_capacity(path.len() + model.len() + 32);
        named.push_str(path);
        named.push('/');
        escape(model, &mut named);
        named.push_str(match mode {
            Mode::Whole => ":generateContent",
            Mode::Stream => ":streamGenerateContent?alt=sse",
        });
        Cow::Owned(named)
    }

    pub(super) fn uri(
        &self,
        model: &str,
        mode: Mode,
        operation: Operation,
    ) -> Result<Uri, AttemptError> {
        if !self.named && operation == Operation::Chat {
            return Ok(self.base.clone());
        }
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = self.path(model, mode, operation).parse().ok();
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
pub(super) fn endpoint(provider: &ProviderSettings, path: &str) -> String {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(base: &'static str) -> Address {
        Address {
            base: Uri::from_static(base),
            named: true,
            root: "/v1beta".to_owned(),
        }
    }

    #[test]
    fn a_model_in_an_address_is_a_name_and_nothing_else() {
        let at = address("https://host/v1beta/models");
        assert_eq!(
            at.path("gemini-2.5-pro", Mode::Whole, Operation::Chat),
            "/v1beta/models/gemini-2.5-pro:generateContent"
        );
        assert_eq!(
            at.path("../../x?y=1#z", Mode::Stream, Operation::Chat),
            "/v1beta/models/..%2F..%2Fx%3Fy%3D1%23z:streamGenerateContent?alt=sse"
        );
        assert_eq!(
            at.uri("a b", Mode::Whole, Operation::Chat)
                .unwrap()
                .to_string(),
            "https://host/v1beta/models/a%20b:generateContent"
        );
    }
}
