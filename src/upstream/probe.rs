//! Asking a provider, off the data path, whether a key is good: a list of models costs nothing.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Uri};

use super::at;
use super::client::tls_config;
use super::error::BuildError;
use super::sign::{AwsSigner, standing};
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
    provider: ProviderSettings,
}

const LIMIT: Duration = Duration::from_secs(10);

/// The proxy that attempts go through, for the control plane.
pub(super) fn proxy(egress: &ProxySettings) -> Result<reqwest::Proxy, BuildError> {
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
            provider: provider.clone(),
        })
    }

    pub async fn probe(&self, key: &KeySettings) -> ProbeResult {
        let Some(request) = self.request(key) else {
            return ProbeResult::Unreachable;
        };
        match request.send().await.map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => ProbeResult::Healthy,
            // Nothing was asked, and the key was good for saying so.
            Ok(400) if self.provider.dialect == Dialect::Bedrock => ProbeResult::Healthy,
            Ok(401 | 403) => ProbeResult::KeyRefused,
            Ok(_) | Err(_) => ProbeResult::Unreachable,
        }
    }

    fn request(&self, key: &KeySettings) -> Option<reqwest::RequestBuilder> {
        let fields = standing(&self.provider, key).ok()?;
        if self.provider.dialect != Dialect::Bedrock {
            return Some(self.client.get(&self.url).headers(fields));
        }
        const NOTHING: &[u8] = b"{\"messages\":[]}";
        let mut request = self.client.post(&self.url).headers(fields);
        let at: Uri = self.url.parse().ok()?;
        if let Some(signer) = AwsSigner::of(&self.provider, key, &at) {
            let body = [Bytes::from_static(NOTHING)].into_iter().collect();
            let signature = signer.sign(at.path(), &body, SystemTime::now()).ok()?;
            request = request.headers(signature.into_iter().collect());
        }
        Some(
            request
                .header(CONTENT_TYPE, "application/json")
                .body(NOTHING),
        )
    }
}
