//! Who calls, as a provider wants to be told: a key in a field, or a signature of each request.

mod aws;
mod keeper;
#[cfg(test)]
mod tests;
mod trade;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::BuildError;
use crate::config::{AuthSettings, KeySettings, KeySource, ProviderSettings};
use crate::domain::Dialect;

pub(super) use aws::AwsSigner;
pub(super) use keeper::{Means, Token};
pub use keeper::{Renewal, TokenKeeper};

/// The fields that are the same for every request with this key.
pub(super) fn standing(
    provider: &ProviderSettings,
    key: &KeySettings,
) -> Result<HeaderMap, BuildError> {
    let mut fields = HeaderMap::with_capacity(8);
    let mut secret = |name: HeaderName, text: &str| {
        let mut value = HeaderValue::try_from(text).map_err(|_| BuildError::Key)?;
        value.set_sensitive(true);
        fields.insert(name, value);
        Ok(())
    };
    if let KeySource::Traded(_) = key.source {
        // Said of each request, because it changes.
        return Ok(fields);
    }
    let key = key.secret.expose();
    let bearer = format!("Bearer {key}");
    match (provider.dialect, &provider.auth) {
        (_, AuthSettings::Azure { .. }) => secret(HeaderName::from_static("api-key"), key)?,
        // Each request is signed.
        (_, AuthSettings::Aws { .. }) if aws::is_pair(key) => {}
        (Dialect::Anthropic, _) => {
            secret(HeaderName::from_static("x-api-key"), key)?;
            fields.insert(
                HeaderName::from_static("anthropic-version"),
                HeaderValue::from_static("2023-06-01"),
            );
        }
        (Dialect::Gemini, _) => secret(HeaderName::from_static("x-goog-api-key"), key)?,
        (
            Dialect::Openai
            | Dialect::Responses
            | Dialect::Ollama
            | Dialect::Cohere
            | Dialect::Bedrock,
            _,
        ) => secret(AUTHORIZATION, &bearer)?,
    }
    Ok(fields)
}
