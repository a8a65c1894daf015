//! Name, TCP, TLS: each with its own limit, so that it is known which of them failed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Uri;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::is_public;
use super::error::ConnectFault;

#[derive(Clone, Debug)]
pub(super) struct Connector {
    inner: Arc<Inner>,
}

/// Where a provider is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) secure: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host()?;
        Some(Self {
            secure,
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        })
    }
}

#[derive(Debug)]
pub(super) struct ConnectorOptions {
    pub(super) place: Place,
    pub(super) connect: Duration,
    pub(super) tls: Duration,
    pub(super) dns: Duration,
    pub(super) allow_private_address: bool,
    pub(super) tls_config: Arc<rustls::ClientConfig>,
}

#[derive(Debug)]
struct Inner {
    options: ConnectorOptions,
    last_good: ArcSwapOption<Looked>,
}

/// What a lookup answered.
#[derive(Debug)]
struct Looked {
    at: Instant,
    addresses: Vec<IpAddr>,
}

/// A lookup this young is not repeated.
const FRESH: Duration = Duration::from_secs(60);
/// When lookups fail, an answer this old still serves (fault N01).
const LAST_GOOD: Duration = Duration::from_secs(3_600);
/// The head start of one address before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

impl Connector {
    pub(super) fn new(options: ConnectorOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                last_good: ArcSwapOption::empty(),
            }),
        }
    }
}

impl Connector {
    /// A new connection to the one place this connector knows.
    pub(super) async fn connect(&self) -> Result<Link, ConnectFault> {
        self.inner.connect().await
    }
}

impl Inner {
    async fn connect(&self) -> Result<Link, ConnectFault> {
        let Place { secure, host, port } = &self.options.place;
        let (secure, port) = (*secure, *port);
        let addresses = self.addresses(host, port).await?;
        let dialled = timeout(self.options.connect, dial(addresses, port)).await;
        let stream = dialled.map_err(|_| ConnectFault::Connect)??;
        // Small writes must not wait for each other; a socket that refuses the option still works.
        let _ = stream.set_nodelay(true);
        if !secure {
            return Ok(Link::Plain(stream));
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| ConnectFault::Certificate)?;
        let handshake =
            TlsConnector::from(Arc::clone(&self.options.tls_config)).connect(name, stream);
        match timeout(self.options.tls, handshake).await {
            Ok(Ok(stream)) => Ok(Link::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(tls_fault(&error)),
            Err(_elapsed) => Err(ConnectFault::Tls),
        }
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, ConnectFault> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return self.allowed(vec![literal]);
        }
        let known = self.last_good.load_full();
        if let Some(known) = &known
            && known.at.elapsed() < FRESH
        {
            return self.allowed(known.addresses.clone());
        }
        let looked = timeout(self.options.dns, tokio::net::lookup_host((host, port))).await;
        let addresses: Vec<IpAddr> = match looked {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        if addresses.is_empty() {
            let known = known
                .filter(|known| known.at.elapsed() < LAST_GOOD)
                .ok_or(ConnectFault::Dns)?;
            return self.allowed(known.addresses.clone());
        }
        self.last_good.store(Some(Arc::new(Looked {
            at: Instant::now(),
            addresses: addresses.clone(),
        })));
        self.allowed(addresses)
    }

    /// Judged on the very addresses that are dialled next (fault N02).
    fn allowed(&self, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, ConnectFault> {
        if !self.options.allow_private_address {
            addresses.retain(|address| is_public(*address));
        }
        if addresses.is_empty() {
            Err(ConnectFault::PrivateAddress)
        } else {
            Ok(addresses)
        }
    }
}

/// Tries the addresses one after another, each with a head start; the first connection wins (fault N03).
async fn dial(addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream, ConnectFault> {
    let mut waiting = addresses.into_iter().take(8);
    let mut attempts = JoinSet::new();
    loop {
        let next = waiting.next();
        let last = next.is_none();
        if let Some(address) = next {
            attempts.spawn(TcpStream::connect(SocketAddr::new(address, port)));
        }
        let ended = if last {
            attempts.join_next().await
        } else {
            match timeout(STAGGER, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_head_start_is_over) => continue,
            }
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(_)) | Err(_)) => {}
            None if last => return Err(ConnectFault::Connect),
            None => {}
        }
    }
}

fn tls_fault(error: &io::Error) -> ConnectFault {
    use rustls::{AlertDescription, Error, PeerIncompatible};
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(_)) => ConnectFault::Certificate,
        Some(
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
            | Error::AlertReceived(AlertDescription::ProtocolVersion),
        ) => ConnectFault::TlsVersion,
        Some(_) | None => ConnectFault::Tls,
    }
}

/// A connection to a provider.
#[derive(Debug)]
pub(super) enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    pub(super) fn speaks_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}
