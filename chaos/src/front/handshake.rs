//! How a connection begins: in plain, by a good handshake, or by one of those that go wrong.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Authority, Certificate, FrontFault, H2Fault, Shared, TlsFault, relay};

/// A fatal alert, as a record of TLS 1.1: `protocol_version`, what a server says that knows nothing later.
const TOO_NEW: [u8; 7] = [0x15, 0x03, 0x02, 0x00, 0x02, 0x02, 70];
/// The same in TLS 1.2: `handshake_failure`.
const FAILURE: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 40];

/// Everything a front can show of itself, made once.
pub(super) struct Identity {
    good: TlsAcceptor,
    /// As `good`, without HTTP/2.
    h1: TlsAcceptor,
    expired: TlsAcceptor,
    other_name: TlsAcceptor,
    unknown: TlsAcceptor,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Identity")
    }
}

impl Identity {
    pub(super) fn new(authority: &Authority, host: &str, h2: bool) -> io::Result<Self> {
        let h1: &[&str] = &["http/1.1"];
        let usual: &[&str] = if h2 { &["h2", "http/1.1"] } else { h1 };
        let made = |certificate| authority.acceptor(certificate, host, usual);
        Ok(Self {
            good: made(Certificate::Good)?,
            h1: authority.acceptor(Certificate::Good, host, h1)?,
            expired: made(Certificate::Expired)?,
            other_name: made(Certificate::OtherName)?,
            unknown: Authority::new()?.acceptor(Certificate::Good, host, usual)?,
        })
    }
}

pub(super) async fn serve(shared: &Shared, stream: TcpStream) {
    let Some(identity) = &shared.identity else {
        return passed_on(shared, stream).await;
    };
    let acceptor = match shared.fault() {
        Some(FrontFault::Tls(fault)) => match bad(identity, fault) {
            Some(acceptor) => {
                // A client that trusts this one is served: that nobody may do it shows in the mock's log.
                let shaken = acceptor.accept(hello_of(shared, stream).await).await;
                if let Ok(stream) = shaken {
                    served(shared, stream).await;
                }
                return;
            }
            None => return broken_off(shared, stream, fault).await,
        },
        Some(FrontFault::H2(H2Fault::NotSpoken, _)) => {
            shared.meet();
            &identity.h1
        }
        Some(FrontFault::H2(..)) | None => &identity.good,
    };
    if let Ok(stream) = acceptor.accept(stream).await {
        served(shared, stream).await;
    }
}

/// Who shows the bad certificate of this fault.
fn bad(identity: &Identity, fault: TlsFault) -> Option<&TlsAcceptor> {
    match fault {
        TlsFault::Expired => Some(&identity.expired),
        TlsFault::OtherName => Some(&identity.other_name),
        TlsFault::UnknownAuthority => Some(&identity.unknown),
        TlsFault::Old | TlsFault::Silent | TlsFault::Alert | TlsFault::Close => None,
    }
}

/// The fault is met once the client has said hello.
async fn hello_of(shared: &Shared, stream: TcpStream) -> TcpStream {
    if matches!(stream.peek(&mut [0; 1]).await, Ok(1)) {
        shared.meet();
    }
    stream
}

async fn broken_off(shared: &Shared, mut stream: TcpStream, fault: TlsFault) {
    let mut changes = shared.fault.subscribe();
    let mut hello = [0; 4_096];
    if !matches!(stream.read(&mut hello).await, Ok(1..)) {
        return;
    }
    shared.meet();
    // The client may be gone; then nobody needs to be told.
    match fault {
        TlsFault::Old => drop(stream.write_all(&TOO_NEW).await),
        TlsFault::Alert => drop(stream.write_all(&FAILURE).await),
        TlsFault::Silent => {}
        TlsFault::Close | TlsFault::Expired | TlsFault::OtherName | TlsFault::UnknownAuthority => {
            let _ = stream.shutdown().await;
        }
    }
    // Until the client has read it and left, or the fault is over.
    let left = async { while matches!(stream.read(&mut hello).await, Ok(1..)) {} };
    tokio::select! {
        () = left => {}
        _ = changes.changed() => {}
    }
}

async fn served(shared: &Shared, stream: TlsStream<TcpStream>) {
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        relay::frames(shared, stream).await;
    } else {
        passed_on(shared, stream).await;
    }
}

/// Every byte as it comes, to the mock and back. An end with an error is a reset on both sides.
async fn passed_on<S>(shared: &Shared, mut stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let Ok(mut behind) = TcpStream::connect(shared.behind).await else {
        return;
    };
    let _ = behind.set_nodelay(true);
    let _ = copy_bidirectional(&mut stream, &mut behind).await;
}
