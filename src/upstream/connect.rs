//! Name, TCP, TLS: each with its own limit, so that it is known which of them failed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::is_public;
use super::egress::tunnel;
use super::error::{ConnectFault, EgressFault};
use super::names::{Names, Resolve};
use crate::config::ProxySettings;
use crate::telemetry::metrics::egress_failed;

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
    pub(super) resolver: Arc<dyn Resolve>,
    /// `None`: straight to the provider.
    pub(super) proxy: Option<Arc<ProxySettings>>,
    /// What a proxy is asked for in the host's place: an address that was judged, where what the proxy would find
    /// behind the name must not be left to it (attack A10).
    pub(super) judged: Option<IpAddr>,
    pub(super) tls_config: Arc<rustls::ClientConfig>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    /// Of the one who is dialled: the provider, or the proxy.
    names: Names,
    proxy: Option<Arc<ProxySettings>>,
    judged: Option<IpAddr>,
    allow_private_address: bool,
    connect: Duration,
    tls: Duration,
    tls_config: Arc<rustls::ClientConfig>,
}

/// The head start of one address before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// A connection on which nothing has moved for this long is probed by the kernel.
const PROBE_AFTER: Duration = Duration::from_secs(20);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// So many unanswered probes end it.
const PROBES: u32 = 3;
/// Most a peer may leave what was sent unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

impl Connector {
    pub(super) fn new(options: ConnectorOptions) -> Self {
        let host = match &options.proxy {
            Some(proxy) => proxy.host.clone(),
            None => options.place.host.clone(),
        };
        // A proxy is the operator's own, and usually stands inside.
        let allow_private = options.allow_private_address || options.proxy.is_some();
        Self {
            inner: Arc::new(Inner {
                names: Names::new(host, options.resolver, options.dns, allow_private),
                place: options.place,
                proxy: options.proxy,
                judged: options.judged,
                allow_private_address: options.allow_private_address,
                connect: options.connect,
                tls: options.tls,
                tls_config: options.tls_config,
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
        let link = match &self.proxy {
            None => self.reach().await,
            Some(proxy) => self.reach_through(proxy).await,
        };
        // Behind an address that was given to somebody else stands a wrong certificate, or no TLS at all.
        if let Err(fault) = &link {
            self.names.doubt();
            if let ConnectFault::Egress(fault) = fault {
                egress_failed(fault.label());
            }
        }
        link
    }

    async fn reach(&self) -> Result<Link, ConnectFault> {
        let addresses = self.names.addresses().await?;
        let dialled = timeout(self.connect, dial(addresses, self.place.port)).await;
        let stream = dialled.map_err(|_| ConnectFault::Connect)??;
        tune(&stream);
        self.secured(stream).await
    }

    /// As [`Self::reach`], with one limit over the dial and the proxy's answer.
    async fn reach_through(&self, proxy: &ProxySettings) -> Result<Link, ConnectFault> {
        let port = self.place.port;
        let judged = self.judged.map(|address| address.to_string());
        let host = judged.as_ref().unwrap_or(&self.place.host);
        // The proxy resolves names; what is written as an address can be judged here (fault N02).
        if let Ok(literal) = host.parse::<IpAddr>()
            && !self.allow_private_address
            && !is_public(literal)
        {
            return Err(ConnectFault::PrivateAddress);
        }
        let unreachable = ConnectFault::Egress(EgressFault::Unreachable);
        let addresses = self.names.addresses().await.map_err(|_| unreachable)?;
        let mut dialled = false;
        let tunnelled = timeout(self.connect, async {
            let mut stream = dial(addresses, proxy.port).await.map_err(|_| unreachable)?;
            dialled = true;
            tune(&stream);
            tunnel(&mut stream, proxy, host, port).await?;
            Ok(stream)
        });
        let stream = match tunnelled.await {
            Ok(ended) => ended?,
            Err(_) if dialled => return Err(ConnectFault::Egress(EgressFault::Late)),
            Err(_) => return Err(unreachable),
        };
        self.secured(stream).await
    }

    async fn secured(&self, stream: TcpStream) -> Result<Link, ConnectFault> {
        if !self.place.secure {
            return Ok(Link::Plain(stream));
        }
        let name =
            ServerName::try_from(self.place.host.clone()).map_err(|_| ConnectFault::Certificate)?;
        let handshake = TlsConnector::from(Arc::clone(&self.tls_config)).connect(name, stream);
        match timeout(self.tls, handshake).await {
            Ok(Ok(stream)) => Ok(Link::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(tls_fault(&error)),
            Err(_elapsed) => Err(ConnectFault::Tls),
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

/// A socket that refuses an option still works.
fn tune(stream: &TcpStream) {
    // Small writes must not wait for each other.
    let _ = stream.set_nodelay(true);
    // A peer that is gone without a word (fault N13) shows within 35 s while nothing is sent, within 30 s
    // while something is. HTTP/2 has pings as well; a kernel's answers say nothing about the program.
    let socket = socket2::SockRef::from(stream);
    let probes = socket2::TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_EVERY)
        .with_retries(PROBES);
    let _ = socket.set_tcp_keepalive(&probes);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
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
