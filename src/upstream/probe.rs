//! Asking a provider, off the data path, whether a key is good: a list of models costs nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Uri};

use super::at;
use super::client::tls_config;
use super::error::BuildError;
use super::names::{Resolve, resolver};
use super::sign::{AwsSigner, Means, TokenKeeper, standing};
use crate::config::{KeySettings, ProviderSettings, ProxySettings};

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

/// The name servers that attempts ask, for the control plane.
struct ProbeNames(Arc<dyn Resolve>);

impl reqwest::dns::Resolve for ProbeNames {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let found = resolver.resolve(name.as_str()).await?;
            // The port comes from the address that is asked for.
            let places = found.addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(places) as reqwest::dns::Addrs)
        })
    }
}

/// A client of the control plane: off the data path, with one limit over all it does, led nowhere else.
pub(super) fn control_client(
    provider: &ProviderSettings,
    egress: Option<&ProxySettings>,
) -> Result<reqwest::Client, BuildError> {
    client_of(tls_config(provider)?, egress, &provider.resolvers)
}

/// A client for an address of the operator's that is no provider's.
pub(super) fn client_of(
    tls: rustls::ClientConfig,
    egress: Option<&ProxySettings>,
    resolvers: &[SocketAddr],
) -> Result<reqwest::Client, BuildError> {
    let builder = reqwest::Client::builder();
    let builder = match resolvers.is_empty() {
        true => builder,
        false => builder.dns_resolver(ProbeNames(resolver(resolvers))),
    };
    built(builder, tls, egress)
}

pub(super) fn client_with(
    tls: rustls::ClientConfig,
    egress: Option<&ProxySettings>,
) -> Result<reqwest::Client, BuildError> {
    client_of(tls, egress, &[])
}

fn built(
    builder: reqwest::ClientBuilder,
    tls: rustls::ClientConfig,
    egress: Option<&ProxySettings>,
) -> Result<reqwest::Client, BuildError> {
    let mut builder = builder.no_proxy();
    if let Some(egress) = egress {
        builder = builder.proxy(proxy(egress)?);
    }
    builder
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(LIMIT)
        .build()
        .map_err(|error| BuildError::Tls(error.to_string()))
}

impl Prober {
    pub fn new(provider: &ProviderSettings) -> Result<Self, BuildError> {
        Ok(Self {
            client: control_client(provider, provider.egress.as_deref())?,
            url: at::models(provider),
            provider: provider.clone(),
        })
    }

    /// `tokens`: of a key that is traded for one.
    pub async fn probe(&self, key: &KeySettings, tokens: Option<&TokenKeeper>) -> ProbeResult {
        let means = match tokens {
            None => None,
            // Without a token nothing is known of the key.
            Some(keeper) => match keeper.current().await {
                Ok(token) => Some(token.means.clone()),
                Err(_) => return ProbeResult::Unreachable,
            },
        };
        let Some(request) = self.request(key, means.as_ref()) else {
            return ProbeResult::Unreachable;
        };
        match request.send().await.map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => ProbeResult::Healthy,
            // Nothing was asked, and the key was good for saying so.
            Ok(400) if at::asks_nothing(&self.provider) => ProbeResult::Healthy,
            Ok(401 | 403) => ProbeResult::KeyRefused,
            Ok(_) | Err(_) => ProbeResult::Unreachable,
        }
    }

    fn request(&self, key: &KeySettings, means: Option<&Means>) -> Option<reqwest::RequestBuilder> {
        let mut fields = standing(&self.provider, key).ok()?;
        let credentials = match means {
            Some(Means::Bearer(value)) => {
                fields.insert(AUTHORIZATION, value.clone());
                None
            }
            Some(Means::Aws(credentials)) => Some(credentials),
            None => None,
        };
        if !at::asks_nothing(&self.provider) {
            return Some(self.client.get(&self.url).headers(fields));
        }
        const NOTHING: &[u8] = b"{\"messages\":[]}";
        let mut request = self.client.post(&self.url).headers(fields);
        let at: Uri = self.url.parse().ok()?;
        if let Some(signer) = AwsSigner::of(&self.provider, key, &at) {
            let body = [Bytes::from_static(NOTHING)].into_iter().collect();
            let signature = signer
                .sign(at.path(), &body, (SystemTime::now(), credentials))
                .ok()?;
            request = request.headers(signature.into_iter().collect());
        }
        Some(
            request
                .header(CONTENT_TYPE, "application/json")
                .body(NOTHING),
        )
    }
}
