//! N13: a peer that is gone without a word, at the level of one provider's client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::body::Rope;
use super::client::{Call, ProviderClient, ProviderOptions};
use super::connect::{Connector, ConnectorOptions, Link, Place};
use super::error::AttemptError;
use super::names::SystemResolver;
use crate::config::{
    AuthSettings, KeyLimits, KeySettings, KeySource, ProviderSettings, Secret, TimeoutSettings,
};
use crate::domain::{AttemptOutcome, Dialect, KeyName, Mode, Operation, ProviderName, Tokens};

const PING_EVERY: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(5);

/// How much a peer says before it vanishes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    /// The head of an answer and the first of its bytes.
    Beginning,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    pings: AtomicUsize,
}

/// An HTTP/2 peer that answers no ping.
struct Peer {
    address: SocketAddr,
    certificate: Arc<[u8]>,
    seen: Arc<Seen>,
}

impl Peer {
    async fn start(says: Says) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&counted));
                tokio::spawn(async move { serve(acceptor, stream, says, &seen).await });
            }
        });
        Self {
            address,
            certificate: certificate.pem().into_bytes().into(),
            seen,
        }
    }

    fn client(&self) -> ProviderClient {
        let provider = ProviderSettings {
            ca_pem: Some(Arc::clone(&self.certificate)),
            ..provider(format!("https://{}/v1", self.address))
        };
        let options = ProviderOptions {
            provider: &provider,
            timeouts: &TimeoutSettings::default(),
            before: None,
        };
        ProviderClient::pinging(&options, PING_EVERY).unwrap()
    }
}

/// A provider at this address, with one key.
pub(super) fn provider(base_url: String) -> ProviderSettings {
    ProviderSettings {
        name: ProviderName::from("a"),
        dialect: Dialect::Openai,
        base_url,
        keys: vec![KeySettings {
            name: KeyName::from("k"),
            secret: Secret::new("sk-canary".to_owned()),
            source: KeySource::Written,
            fingerprint: [0; 8],
            limits: KeyLimits::default(),
            models: None,
            handling: Arc::default(),
        }],
        models: Vec::new(),
        reasoning_models: Vec::new(),
        responses: false,
        allow_private_address: true,
        ca_pem: None,
        egress: None,
        resolvers: Default::default(),
        h2: true,
        max_in_flight: 10,
        quirks: Default::default(),
        caps: Vec::new(),
        signs_as: None,
        service_tier: None,
        volume: None,
        default_max_output: Tokens(16),
        free: false,
        auth: AuthSettings::Dialect,
    }
}

/// Reads frames (RFC 9113, section 4.1) and answers what it must to be an HTTP/2 server, but no ping.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream, says: Says, seen: &Seen) -> Option<()> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    let mut stream = acceptor.accept(stream).await.ok()?;
    seen.connections.fetch_add(1, Ordering::SeqCst);
    stream.read_exact(&mut [0; 24]).await.ok()?;
    stream.write_all(&SETTINGS).await.ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        match kind {
            4 if flags & 1 == 0 => stream.write_all(&SETTINGS_ACK).await.ok()?,
            6 if flags & 1 == 0 => {
                seen.pings.fetch_add(1, Ordering::SeqCst);
            }
            1 => {
                seen.requests.fetch_add(1, Ordering::SeqCst);
                if says == Says::Beginning {
                    // `:status 200`, and three bytes.
                    let head = [&[0, 0, 1, 1, 4][..], &id, &[0x88]].concat();
                    let data = [&[0, 0, 3, 0, 0][..], &id, b"abc"].concat();
                    stream.write_all(&[head, data].concat()).await.ok()?;
                }
            }
            _ => {}
        }
        stream.flush().await.ok()?;
    }
}

fn call(key: &KeyName) -> Call<'_> {
    Call {
        model: "m",
        mode: Mode::Whole,
        operation: Operation::Chat,
        content_type: None,
        fields: &[],
        key,
        body: Rope::from_iter([Bytes::from_static(b"{}")]),
    }
}

#[tokio::test]
async fn n13_an_http2_peer_that_answers_no_ping_is_given_up_and_not_asked_again_for_free() {
    let peer = Peer::start(Says::Nothing).await;
    let (client, key) = (peer.client(), KeyName::from("k"));
    let begun = Instant::now();
    let error = timeout(SOON, client.send(call(&key))).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(
        error.unwrap_err(),
        AttemptError::of(AttemptOutcome::GapTimeout)
    );
    assert!((PING_EVERY..PING_EVERY * 8).contains(&took), "{took:?}");
    assert!(peer.seen.pings.load(Ordering::SeqCst) >= 1);
    // It may have been heard, so it was said once.
    assert_eq!(peer.seen.requests.load(Ordering::SeqCst), 1);
    // The next request is not put on the connection that is known to be dead.
    let _ = timeout(SOON, client.send(call(&key))).await.unwrap();
    assert_eq!(peer.seen.connections.load(Ordering::SeqCst), 2);
    assert_eq!(peer.seen.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn n13_an_http2_stream_whose_peer_vanishes_ends_as_stalled() {
    let peer = Peer::start(Says::Beginning).await;
    let (client, key) = (peer.client(), KeyName::from("k"));
    let reply = timeout(SOON, client.send(call(&key)))
        .await
        .unwrap()
        .unwrap();
    let mut body = reply.body;
    assert_eq!(body.piece().await, Some(Ok(Bytes::from_static(b"abc"))));
    let begun = Instant::now();
    let next = timeout(SOON, body.piece()).await.unwrap();
    assert_eq!(
        next,
        Some(Err(AttemptError::of(AttemptOutcome::GapTimeout))),
        "an end that is none"
    );
    assert!(begun.elapsed() < PING_EVERY * 8, "{:?}", begun.elapsed());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn n13_the_kernel_probes_a_dialled_connection_and_gives_up_what_is_never_acknowledged() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let tls_config = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let connector = Connector::new(ConnectorOptions {
        place: Place {
            secure: false,
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
        },
        connect: SOON,
        tls: SOON,
        dns: SOON,
        allow_private_address: true,
        resolver: Arc::new(SystemResolver),
        proxy: None,
        judged: None,
        tls_config: Arc::new(tls_config),
    });
    let Link::Plain(stream) = connector.connect().await.unwrap() else {
        panic!("TLS was not asked for");
    };
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    assert_eq!(
        socket.tcp_keepalive_time().unwrap(),
        Duration::from_secs(20)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(5)
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(
        socket.tcp_user_timeout().unwrap(),
        Some(Duration::from_secs(30))
    );
    assert!(socket.tcp_nodelay().unwrap());
}
