//! Pictures and documents that a prompt names by their address, fetched for providers that take data only.
//!
//! # Why so narrow
//! An address in a prompt is an attacker's way to make the gateway ask (attack A10). So nothing is fetched
//! unless the operator named the host; the address is taken apart here and by nobody else; the host's name is
//! looked up once, each address behind it is judged, and exactly what was judged is dialled, or asked of the proxy
//! that leads there: what a proxy finds behind a name nobody has judged; no redirect is
//! followed; what comes is limited in time and size and has to be what it claims by its first bytes. Nothing of
//! ours goes along: no key, no cookie, no header of the client's.

mod place;
mod sniff;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::client::tls_with;
use super::connect::{Connector, ConnectorOptions, Link, Place};
use super::error::{BuildError, ConnectFault};
use super::names::{Names, Resolve, resolver};
use crate::config::{MediaSettings, ProxySettings, TimeoutSettings};
use crate::domain::chat::Source;

pub use place::MediaPlace;

/// So many fetches at once: each may hold as much memory as one address may give.
const AT_ONCE: usize = 16;
/// A request names no more addresses than this.
const MOST: usize = 16;
/// So many addresses of a name are tried through a proxy.
const MOST_ADDRESSES: usize = 3;

/// Why an address was not fetched. What a client is told does not say what stands behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaFault {
    /// Against the rules: nobody was asked.
    #[error("is at an address that this gateway does not fetch from; send the data instead")]
    Refused,
    #[error("could not be fetched; send the data instead")]
    Failed,
    #[error("is larger than this gateway fetches; send the data instead")]
    TooLarge,
    #[error(
        "is neither a png, jpeg, gif or webp picture nor a pdf, or is not what its server calls it"
    )]
    NotMedia,
    #[error(
        "is one of more addresses than this gateway fetches for one request; send the data instead"
    )]
    TooMany,
}

/// An address that was not fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfetched {
    pub url: String,
    pub fault: MediaFault,
}

impl Unfetched {
    fn new(url: &str, fault: MediaFault) -> Self {
        let url = url.to_owned();
        Self { url, fault }
    }
}

impl From<ConnectFault> for MediaFault {
    fn from(fault: ConnectFault) -> Self {
        match fault {
            ConnectFault::PrivateAddress => Self::Refused,
            ConnectFault::Dns
            | ConnectFault::Connect
            | ConnectFault::Tls
            | ConnectFault::Certificate
            | ConnectFault::TlsVersion
            | ConnectFault::Egress(_) => Self::Failed,
        }
    }
}

/// Fetches by the rules that the operator wrote.
pub struct MediaFetcher {
    settings: MediaSettings,
    timeouts: TimeoutSettings,
    tls: Arc<rustls::ClientConfig>,
    resolver: Arc<dyn Resolve>,
    slots: Semaphore,
}

impl MediaFetcher {
    pub fn new(settings: &MediaSettings, timeouts: &TimeoutSettings) -> Result<Self, BuildError> {
        Ok(Self {
            tls: Arc::new(tls_with(settings.ca_pem.as_deref(), false)?),
            resolver: resolver(&settings.egress.resolvers),
            settings: settings.clone(),
            timeouts: timeouts.clone(),
            slots: Semaphore::new(AT_ONCE),
        })
    }

    /// All of these, or the first that cannot be had. Together they are no larger than one may be.
    pub async fn fetch(&self, urls: &[String]) -> Result<BTreeMap<String, Source>, Unfetched> {
        if let Some(one_more) = urls.get(MOST) {
            return Err(Unfetched::new(one_more, MediaFault::TooMany));
        }
        // Judged as a whole before anyone is asked.
        let places = urls.iter().map(|url| {
            let place =
                MediaPlace::of(url).filter(|place| self.settings.allows(&place.host, place.port));
            let refused = || Unfetched::new(url, MediaFault::Refused);
            place.ok_or_else(refused).map(|place| (url, place))
        });
        let places: Vec<_> = places.collect::<Result<_, _>>()?;
        let mut left = self.settings.max_bytes;
        let mut under_way = urls.first();
        let mut fetched = BTreeMap::new();
        let all = async {
            let slot = self.slots.acquire().await;
            let _slot = slot.map_err(|_| MediaFault::Failed)?;
            for (url, place) in places {
                under_way = Some(url);
                let (media_type, body) = self.one(&place, left).await?;
                left = left.saturating_sub(body.len());
                let data = STANDARD.encode(&body);
                let media_type = media_type.to_owned();
                fetched.insert(url.clone(), Source::Base64 { media_type, data });
            }
            Ok::<(), MediaFault>(())
        };
        let ended = timeout(self.settings.timeout, all).await;
        match ended.unwrap_or(Err(MediaFault::Failed)) {
            Ok(()) => Ok(fetched),
            Err(fault) => Err(Unfetched {
                url: under_way.cloned().unwrap_or_default(),
                fault,
            }),
        }
    }

    async fn link(&self, place: &MediaPlace) -> Result<Link, MediaFault> {
        let Some(proxy) = self.settings.proxy(&place.host) else {
            let straight = self.connector(place, None).connect().await;
            return straight.map_err(MediaFault::from);
        };
        let host = place.host.clone();
        let inside = self.settings.allow_private_address;
        let resolver = Arc::clone(&self.resolver);
        let names = Names::new(host, resolver, self.timeouts.dns, inside);
        let mut last = MediaFault::Failed;
        for address in names.addresses().await?.into_iter().take(MOST_ADDRESSES) {
            let way = Some((Arc::clone(&proxy), address));
            match self.connector(place, way).connect().await {
                Ok(link) => return Ok(link),
                Err(fault) => last = fault.into(),
            }
        }
        Err(last)
    }

    /// Straight, or by a proxy to an address that was judged.
    fn connector(
        &self,
        place: &MediaPlace,
        way: Option<(Arc<ProxySettings>, IpAddr)>,
    ) -> Connector {
        let (proxy, judged) = way.unzip();
        Connector::new(ConnectorOptions {
            place: Place {
                secure: true,
                host: place.host.clone(),
                port: place.port,
            },
            connect: self.timeouts.connect,
            tls: self.timeouts.tls,
            dns: self.timeouts.dns,
            allow_private_address: self.settings.allow_private_address,
            resolver: Arc::clone(&self.resolver),
            proxy,
            judged,
            tls_config: Arc::clone(&self.tls),
        })
    }

    async fn one(
        &self,
        place: &MediaPlace,
        most: usize,
    ) -> Result<(&'static str, Vec<u8>), MediaFault> {
        let link = self.link(place).await?;
        let failed = |_| MediaFault::Failed;
        let handshake = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(link));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        let request = Request::get(place.path.as_str())
            .header(HOST, place.authority())
            .header(ACCEPT, "image/*, application/pdf")
            .header(ACCEPT_ENCODING, "identity")
            .header(
                USER_AGENT,
                concat!("switchyard/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .map_err(|_| MediaFault::Refused)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(failed)?;
            read(answer, most).await
        };
        // The connection is driven here, not by a task of its own: it ends when this does.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            read = &mut exchange => read,
            // What was read before the end may still be whole.
            _ = &mut connection => exchange.await,
        }
    }
}

async fn read(
    answer: http::Response<hyper::body::Incoming>,
    most: usize,
) -> Result<(&'static str, Vec<u8>), MediaFault> {
    let (head, mut body) = answer.into_parts();
    // Anything else, redirects too, is not followed, waited for or explained.
    if head.status != StatusCode::OK || head.headers.contains_key("content-encoding") {
        return Err(MediaFault::Failed);
    }
    let field = |name| {
        head.headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    let length = field(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(MediaFault::TooLarge);
    }
    let mut data = Vec::with_capacity(length.unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| MediaFault::Failed)?;
        if let Ok(piece) = frame.into_data() {
            if data.len() + piece.len() > most {
                return Err(MediaFault::TooLarge);
            }
            data.extend_from_slice(&piece);
        }
    }
    let media_type = sniff::media_type(&data, field(CONTENT_TYPE)).ok_or(MediaFault::NotMedia)?;
    Ok((media_type, data))
}

impl std::fmt::Debug for MediaFetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MediaFetcher")
    }
}
