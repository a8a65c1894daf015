//! Asking a provider, off the data path, whether a key is good: a list of models costs nothing.

use std::time::Duration;

use super::at;
use super::client::tls_config;
use super::error::BuildError;
use crate::config::{KeySettings, ProviderSettings};
use crate::domain::Dialect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    Healthy,
    KeyRefused,
    /// Nobody answered; says nothing about the key.
    Unreachable,
}

/// One provider's control-plane client.
pub struct Prober {
    client: reqwest::Client,
    url: String,
    dialect: Dialect,
}

const LIMIT: Duration = Duration::from_secs(10);

impl Prober {
    pub fn new(provider: &ProviderSettings) -> Result<Self, BuildError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls_config(provider)?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LIMIT)
            .no_proxy()
            .build()
            .map_err(|error| BuildError::Tls(error.to_string()))?;
        Ok(Self {
            client,
            url: at::models(provider),
            dialect: provider.dialect,
        })
    }

    pub async fn probe(&self, key: &KeySettings) -> ProbeResult {
        let request = self.client.get(&self.url);
        let request = match self.dialect {
            Dialect::Openai | Dialect::Responses | Dialect::Ollama | Dialect::Cohere => {
                request.bearer_auth(key.secret.expose())
            }
            Dialect::Anthropic => request
                .header("x-api-key", key.secret.expose())
                .header("anthropic-version", "2023-06-01"),
            Dialect::Gemini => request.header("x-goog-api-key", key.secret.expose()),
        };
        match request.send().await.map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => ProbeResult::Healthy,
            Ok(401 | 403) => ProbeResult::KeyRefused,
            Ok(_) | Err(_) => ProbeResult::Unreachable,
        }
    }
}
