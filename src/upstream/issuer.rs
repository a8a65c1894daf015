//! Asking an issuer of tokens for its keys: at the address that was written, or at the one its own document names.
//!
//! No redirect is followed, nothing longer than a key set is read, and an address that a document names is asked only
//! where one that was written would be (attack A10).

use http::StatusCode;
use serde::Deserialize;

use super::client::tls_with;
use super::probe::client_of;
use crate::config::{IdentitySettings, KeysFrom, is_fetchable};
use crate::policy::jwt::{KeySet, LARGEST_SET};

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIssuer {
    Unavailable,
    /// What came is no key set, or no document that names one.
    Malformed,
    /// The document is of another issuer.
    OtherIssuer,
    /// It names an address that is not asked.
    Address,
}

impl NoIssuer {
    pub fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::OtherIssuer => "other_issuer",
            Self::Address => "address",
        }
    }
}

/// What of a discovery document counts (OpenID Connect Discovery 1.0, 4.2).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

pub async fn fetch_keys(settings: &IdentitySettings) -> Result<KeySet, NoIssuer> {
    let address = match &settings.keys {
        KeysFrom::File(keys) => return Ok(KeySet::clone(keys)),
        KeysFrom::Address(address) => address.clone(),
        KeysFrom::Discovery(address) => {
            let text = fetch(settings, address).await?;
            let document: Document =
                serde_json::from_slice(&text).map_err(|_| NoIssuer::Malformed)?;
            if document.issuer != settings.rules.issuer {
                return Err(NoIssuer::OtherIssuer);
            }
            // Who is asked over https does not lead to this machine.
            let is_led_inside =
                address.starts_with("https://") && !document.jwks_uri.starts_with("https://");
            if is_led_inside || !is_fetchable(&document.jwks_uri) {
                return Err(NoIssuer::Address);
            }
            document.jwks_uri
        }
    };
    let text = fetch(settings, &address).await?;
    KeySet::parse(&text).map_err(|_| NoIssuer::Malformed)
}

async fn fetch(settings: &IdentitySettings, address: &str) -> Result<Vec<u8>, NoIssuer> {
    let unavailable = |_| NoIssuer::Unavailable;
    let tls = tls_with(settings.ca_pem.as_deref(), true).map_err(|_| NoIssuer::Unavailable)?;
    let (proxy, resolvers) = (settings.proxy_to(address), &settings.egress.resolvers);
    let client = client_of(tls, proxy, resolvers).map_err(|_| NoIssuer::Unavailable)?;
    let mut answer = client.get(address).send().await.map_err(unavailable)?;
    if answer.status() != StatusCode::OK {
        return Err(NoIssuer::Unavailable);
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(unavailable)? {
        if body.len() + piece.len() > LARGEST_SET {
            return Err(NoIssuer::Malformed);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
