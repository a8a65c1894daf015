//! Telling an operator's receiver what happened: one signed POST, led nowhere else.
//!
//! # Why this signature
//! It is the one of standardwebhooks.com, for which most languages have a library: HMAC-SHA-256 over
//! `<id>.<timestamp>.<body>`. A secret that begins with `whsec_` is base64 behind it, as those libraries want it;
//! any other is taken as it is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::address::is_public;
use super::client::web_roots;
use super::error::BuildError;
use super::probe::proxy;
use crate::config::{AlertSettings, Secret};
use crate::policy::alerts::{Delivery, Parcel};

/// The client for one receiver.
pub struct AlertPost {
    client: reqwest::Client,
    settings: AlertSettings,
    key: hmac::Key,
}

/// Looks names up, and lets nobody through whom the operator would not have asked.
struct Guarded {
    allow_private: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the name leads to no address that alerts may be sent to")]
struct NoPlace;

impl reqwest::dns::Resolve for Guarded {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let places: Vec<SocketAddr> = found
                .filter(|place| may_be_told(place.ip(), allow_private))
                .collect();
            if places.is_empty() {
                return Err(NoPlace.into());
            }
            Ok(Box::new(places.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// Whether alerts may go there: the open internet, or one's own network where that is allowed; never a cloud's
/// metadata service, which listens on link-local addresses.
fn may_be_told(address: IpAddr, allow_private: bool) -> bool {
    const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let address = address.to_canonical();
    let is_metadata = match address {
        IpAddr::V4(address) => address.is_link_local() || address.octets() == [100, 100, 100, 200],
        IpAddr::V6(address) => address.is_unicast_link_local() || address == METADATA_V6,
    };
    !is_metadata && (allow_private || is_public(address))
}

/// The address in a URL, as whoever connects reads it: 2852039166 and 0xa9.254.169.254 are addresses, too.
fn host_address(url: &str) -> Option<IpAddr> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

impl AlertPost {
    pub fn new(settings: &AlertSettings) -> Result<Self, BuildError> {
        // A host that is an address is looked up by nobody.
        if let Some(address) = host_address(&settings.url)
            && !may_be_told(address, settings.allow_private_address)
        {
            return Err(BuildError::Address(NoPlace.to_string()));
        }
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(egress) = &settings.egress {
            builder = builder.proxy(proxy(egress)?);
        }
        let client = builder
            .tls_backend_preconfigured(web_roots()?)
            .dns_resolver(Guarded {
                allow_private: settings.allow_private_address || settings.egress.is_some(),
            })
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.timeout)
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BuildError::Tls(error.to_string()))?;
        Ok(Self {
            client,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key_of(&settings.secret)),
            settings: settings.clone(),
        })
    }

    pub fn settings(&self) -> &AlertSettings {
        &self.settings
    }

    /// Tells; `now` is the time since 1970 that the signature is of.
    pub async fn post(&self, parcel: &Parcel, now: Duration) -> Delivery {
        let seconds = now.as_secs().to_string();
        let sent = self
            .client
            .post(&self.settings.url)
            .header("content-type", "application/json")
            .header("webhook-id", &*parcel.id)
            .header("webhook-timestamp", &seconds)
            .header("webhook-signature", self.signature(parcel, &seconds))
            .body(parcel.body.to_string())
            .send()
            .await;
        // What it says is not read: its status is all there is to know.
        match sent.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Delivery::Taken,
            Ok(status) if status.is_redirection() || status.as_u16() == 410 => Delivery::Refused,
            Ok(_) | Err(_) => Delivery::Failed,
        }
    }

    fn signature(&self, parcel: &Parcel, seconds: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [&*parcel.id, ".", seconds, ".", &*parcel.body] {
            context.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

fn key_of(secret: &Secret) -> zeroize::Zeroizing<Vec<u8>> {
    let text = secret.expose();
    let decoded = text
        .strip_prefix("whsec_")
        .and_then(|text| STANDARD.decode(text).ok());
    decoded.unwrap_or_else(|| text.as_bytes().to_vec()).into()
}

impl std::fmt::Debug for AlertPost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AlertPost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_alerts_go_to_no_metadata_service_and_inside_only_where_that_is_allowed() {
        for (address, outside, inside) in [
            ("1.1.1.1", true, true),
            ("10.0.0.5", false, true),
            ("127.0.0.1", false, true),
            ("::1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("100.100.100.200", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("fd12::1", false, true),
        ] {
            let address = address.parse().unwrap();
            let may = [false, true].map(|allow| may_be_told(address, allow));
            assert_eq!(may, [outside, inside], "{address}");
        }
    }

    #[test]
    fn m2_a_secret_in_the_form_of_standard_webhooks_is_decoded() {
        let secret = |text: &str| key_of(&Secret::new(text.to_owned())).to_vec();
        assert_eq!(secret("whsec_c2VjcmV0"), b"secret");
        assert_eq!(secret("secret"), b"secret");
        assert_eq!(secret("whsec_%"), b"whsec_%");
    }
}
