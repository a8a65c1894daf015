//! Providers behind TLS: certificates good and bad, and a healthy server in HTTP/1.1 and HTTP/2.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use switchyard_chaos::canary;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The name every mock is reached by.
/// The one model every mock here serves.
pub const MODEL: &str = "m-a";
const HOST: &str = "localhost";
/// Words in an answer.
const WORDS: u64 = 4;

/// A certificate authority of the test's own.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

/// What a server's certificate says.
#[derive(Clone, Copy, Debug)]
pub enum Certificate {
    Good,
    Expired,
    OtherName,
}

/// What a server offers by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// Where a gateway finds it.
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    pub fn acceptor(&self, certificate: Certificate, speaks: Speaks) -> TlsAcceptor {
        let name = match certificate {
            Certificate::Good | Certificate::Expired => HOST,
            Certificate::OtherName => "other.example",
        };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if let Certificate::Expired = certificate {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![signed.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        config.alpn_protocols = match speaks {
            Speaks::Http1 => vec![b"http/1.1".to_vec()],
            Speaks::Http2 => vec![b"h2".to_vec()],
        };
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What a mock has met.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub handshakes: AtomicUsize,
    /// Requests begun.
    pub requests: AtomicUsize,
    /// Requests read to their end.
    pub read: AtomicUsize,
    /// Requests that came in HTTP/2.
    pub over_h2: AtomicUsize,
    /// Bytes of request bodies.
    pub body_bytes: AtomicUsize,
    /// Streams the gateway gave up.
    pub given_up: AtomicUsize,
}

/// A listener that ends with the test.
pub struct SecureMock {
    pub port: u16,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for SecureMock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SecureMock {
    /// Any listener: `serve` gets each connection as it was accepted.
    pub async fn raw<F, S>(serve: F) -> Self
    where
        F: Fn(TcpStream, Arc<Seen>) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a mock that does not read is soon full.
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(64).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let met = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                met.connections.fetch_add(1, Ordering::SeqCst);
                open.spawn(serve(stream, Arc::clone(&met)));
            }
        });
        Self { port, seen, task }
    }

    /// A healthy provider.
    pub async fn well(authority: &Authority, certificate: Certificate, speaks: Speaks) -> Self {
        let acceptor = authority.acceptor(certificate, speaks);
        Self::raw(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                seen.handshakes.fetch_add(1, Ordering::SeqCst);
                let service =
                    hyper::service::service_fn(move |request| answer(request, Arc::clone(&seen)));
                // How a connection ends is the gateway's business.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    /// Shakes hands and never reads again.
    pub async fn deaf(authority: &Authority) -> Self {
        let acceptor = authority.acceptor(Certificate::Good, Speaks::Http1);
        Self::raw(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(_held) = acceptor.accept(stream).await {
                    seen.handshakes.fetch_add(1, Ordering::SeqCst);
                    std::future::pending().await
                }
            }
        })
        .await
    }

    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The provider's name, no other mock's: what is counted for it is its own.
    pub fn name(&self) -> String {
        format!("secure-{}", self.port)
    }

    pub fn target(&self) -> String {
        format!("{}/{MODEL}", self.name())
    }

    /// The text of a `[providers.…]` table for this mock, trusting `authority`.
    pub fn provider(&self, authority: &Authority) -> String {
        let name = self.name();
        format!(
            "[providers.{name}]\nbase_url = \"https://{HOST}:{}/v1\"\ndialect = \"openai\"\nallow_private_address = true\nca_file = \"{}\"\nmodels = [\"{MODEL}\"]\nkeys = [{{ name = \"k0\", secret = \"file:FOLDER/{name}-k0\" }}]\n",
            self.port,
            authority.file().display()
        )
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.version() == hyper::Version::HTTP_2 {
        seen.over_h2.fetch_add(1, Ordering::SeqCst);
    }
    let number = seen.requests.fetch_add(1, Ordering::SeqCst) as u64 + 1;
    let body = request.into_body().collect().await?.to_bytes();
    let wanted: Value = serde_json::from_slice(&body).unwrap_or_default();
    let streams = wanted["stream"] == true;
    let (kind, text) = if streams {
        ("text/event-stream", events(number).concat())
    } else {
        ("application/json", completion(number))
    };
    let response = Response::builder().header("content-type", kind);
    Ok(response.body(Full::from(text)).unwrap())
}

/// An answer in one piece.
pub fn completion(number: u64) -> String {
    let words: Vec<String> = (1..=WORDS)
        .map(|position| canary::word("a", number, position))
        .collect();
    let message = json!({"role": "assistant", "content": words.join(" ")});
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m-a",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": WORDS, "total_tokens": 3 + WORDS},
    })
    .to_string()
}

/// A streamed answer, an event each.
pub fn events(number: u64) -> Vec<String> {
    let chunk = |delta: &Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "m-a", "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let words = (1..=WORDS).map(|position| {
        let word = canary::word("a", number, position);
        chunk(
            &json!({"role": "assistant", "content": format!("{word} ")}),
            Value::Null,
        )
    });
    words
        .chain([chunk(&json!({}), "stop".into()), "data: [DONE]\n\n".into()])
        .collect()
}
