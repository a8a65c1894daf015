//! Asking a provider, off the data path, whether a key is good: a list of models costs nothing.

use std::time::Duration;

use http::HeaderValue;

use super::at;
use super::client::tls_config;
use super::error::BuildError;
use crate::config::{KeySettings, ProviderSettings, ProxySettings};
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

/// The proxy that attempts go through, for the control plane.
fn proxy(egress: &ProxySettings) -> Result<reqwest::Proxy, BuildError> {
    let address = format!("http://{}", egress.authority());
    let proxy =
        reqwest::Proxy::all(address).map_err(|error| BuildError::Address(error.to_string()))?;
    let Some(authorization) = &egress.authorization else {
        return Ok(proxy);
    };
    let mut value = HeaderValue::try_from(authorization.expose()).map_err(|_| BuildError::Key)?;
    value.set_sensitive(true);
    Ok(proxy.custom_http_auth(value))
}

impl Prober {
    pub fn new(provider: &ProviderSettings) -> Result<Self, BuildError> {
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(egress) = &provider.egress {
            builder = builder.proxy(proxy(egress)?);
        }
        let client = builder
            .tls_backend_preconfigured(tls_config(provider)?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LIMIT)
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
