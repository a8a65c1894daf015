//! Fetching a registry of models from where the operator says, only if it is another than last time.

use http::StatusCode;
use http::header::{ETAG, IF_NONE_MATCH};

use super::client::tls_with;
use super::probe::client_with;
use crate::config::{LARGEST_REGISTRY, RegistryCopy, RegistrySettings};

/// Why nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRegistry {
    Unavailable,
    /// Larger than any registry, or no text.
    Malformed,
}

/// `None`: the same as the one with this mark.
pub async fn fetch_registry(
    settings: &RegistrySettings,
    etag: Option<&str>,
) -> Result<Option<RegistryCopy>, NoRegistry> {
    let unavailable = |_| NoRegistry::Unavailable;
    let tls = tls_with(None, true).map_err(|_| NoRegistry::Unavailable)?;
    let client =
        client_with(tls, settings.proxy.as_deref()).map_err(|_| NoRegistry::Unavailable)?;
    let mut request = client.get(&settings.url);
    if let Some(etag) = etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    let mut answer = request.send().await.map_err(unavailable)?;
    if answer.status() == StatusCode::NOT_MODIFIED && etag.is_some() {
        return Ok(None);
    }
    if answer.status() != StatusCode::OK {
        return Err(NoRegistry::Unavailable);
    }
    let etag = answer
        .headers()
        .get(ETAG)
        .and_then(|etag| etag.to_str().ok());
    let etag = etag.map(str::to_owned);
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(unavailable)? {
        if body.len() + piece.len() > LARGEST_REGISTRY {
            return Err(NoRegistry::Malformed);
        }
        body.extend_from_slice(&piece);
    }
    let text = String::from_utf8(body).map_err(|_| NoRegistry::Malformed)?;
    Ok(Some(RegistryCopy::of(etag, &text)))
}
