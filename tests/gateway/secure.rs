//! TLS and HTTP/2 towards the provider (sections N of the catalogue): certificates of our own making.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use switchyard_chaos::canary;
use switchyard_chaos::mock::Dialect;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::frame::{Gateway, mock, provider, text_of};

const ANSWER: &str = "{\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}";
const STREAM: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// A certificate for `name`, as a provider's and as its own authority.
struct Identity {
    pem: String,
    acceptor: TlsAcceptor,
}

fn identity(name: &str, protocols: &[&[u8]]) -> Identity {
    switchyard::upstream::install_crypto();
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Identity {
        pem: made.cert.pem(),
        acceptor: TlsAcceptor::from(Arc::new(config)),
    }
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    old: AtomicUsize,
    h2: AtomicUsize,
    /// Requests being answered, and the most there ever were.
    inside: AtomicUsize,
    peak: AtomicUsize,
}

/// A provider behind TLS that speaks what the handshake agreed on.
async fn secure_provider(acceptor: TlsAcceptor) -> (u16, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    let port = each_connection(acceptor, move |stream| {
        let seen = Arc::clone(&told);
        async move {
            seen.connections.fetch_add(1, Ordering::Relaxed);
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                answer(request, Arc::clone(&seen))
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (port, seen)
}

async fn each_connection<F: Future<Output = ()> + Send + 'static>(
    acceptor: TlsAcceptor,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let serve = Arc::new(serve);
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, serve) = (acceptor.clone(), Arc::clone(&serve));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            });
        }
    });
    port
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let count = if request.version() == Version::HTTP_2 {
        &seen.h2
    } else {
        &seen.old
    };
    count.fetch_add(1, Ordering::Relaxed);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let wants_stream = String::from_utf8_lossy(&body).contains("\"stream\":true");
    let (name, text) = if wants_stream {
        ("text/event-stream", STREAM)
    } else {
        ("application/json", ANSWER)
    };
    Ok(Response::builder()
        .header("content-type", name)
        .body(Full::from(text))
        .unwrap())
}

/// The table of a provider at `https://localhost`, trusting `pem`.
struct Table {
    folder: tempfile::TempDir,
    text: String,
}

fn table(port: u16, pem: &str, more: &str) -> Table {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, pem).unwrap();
    let text = format!(
        "[providers.tls]\nbase_url = \"https://localhost:{port}/v1\"\nallow_private_address = true\nmodels = [\"m-tls\"]\nca_file = \"{}\"\n{more}keys = [{{ name = \"k0\", secret = \"file:FOLDER/tls-k0\" }}]\n",
        authority.display()
    );
    Table { folder, text }
}

async fn alone(table: &Table) -> Gateway {
    let config = format!("{}[pools.p]\ntargets = [\"tls/m-tls\"]\n", table.text);
    assert!(table.folder.path().exists());
    Gateway::start(&config).await
}

async fn serves(gateway: &Gateway) {
    let whole = gateway.ask("p").await;
    assert_eq!(whole.status(), 200, "{}", whole.json());
    assert_eq!(text_of(&whole), "hi");
    let stream = gateway.stream("p").await;
    assert!(stream.is_done(), "{:?}", stream.events);
    assert_eq!(stream.text(Dialect::OpenAi), "hi");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_behind_tls_are_served_over_http_1_1() {
    let identity = identity("localhost", &[b"http/1.1"]);
    let (port, seen) = secure_provider(identity.acceptor).await;
    let gateway = alone(&table(port, &identity.pem, "")).await;
    for _ in 0..5 {
        serves(&gateway).await;
    }
    assert_eq!(seen.old.load(Ordering::Relaxed), 10);
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1, "not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_behind_tls_are_served_over_http_2_on_one_connection() {
    let identity = identity("localhost", &[b"h2", b"http/1.1"]);
    let (port, seen) = secure_provider(identity.acceptor).await;
    let table = table(port, &identity.pem, "");
    let gateway = alone(&table).await;
    serves(&gateway).await;
    let many = (0..40).map(|_| gateway.ask("p"));
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    assert_eq!(seen.h2.load(Ordering::Relaxed), 42);
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n05_a_certificate_that_is_not_right_is_never_accepted() {
    let good = identity("localhost", &[b"http/1.1"]);
    let other = identity("elsewhere.example", &[b"http/1.1"]);
    for (name, acceptor, trusted) in [
        ("unknown authority", good.acceptor.clone(), &other.pem),
        ("wrong name", other.acceptor.clone(), &other.pem),
    ] {
        let (port, seen) = secure_provider(acceptor).await;
        let b = mock("b").await;
        let table = table(port, trusted, "");
        let config = format!(
            "{}{}[pools.p]\ntargets = [\"tls/m-tls\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"b/m-b\"]\n",
            table.text,
            provider("b", &b)
        );
        let gateway = Gateway::start(&config).await;
        let answer = gateway.ask("p").await;
        assert_eq!(answer.status(), 200, "{name}: {}", answer.json());
        assert_eq!(canary::verify(&text_of(&answer)).unwrap().mock, "b");
        assert_eq!(seen.old.load(Ordering::Relaxed), 0, "{name}: it was asked");
        let records = gateway.records().await;
        assert!(
            records.iter().any(|record| record["outcome"] == "tls"),
            "{name}: {records:?}"
        );
        assert!(
            records
                .iter()
                .any(|record| record["name"] == "security.block"),
            "{name}: {records:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n04_silence_in_the_handshake_is_left_for_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let b = mock("b").await;
    let table = table(port, &identity("localhost", &[]).pem, "");
    let config = format!(
        "[timeouts]\ntls_ms = 300\n{}{}[pools.p]\ntargets = [\"tls/m-tls\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"b/m-b\"]\n",
        table.text,
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    let answer = tokio::time::timeout(Duration::from_secs(3), gateway.ask("p"))
        .await
        .expect("waited for a handshake that never came");
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let records = gateway.records().await;
    assert!(
        records.iter().any(|record| record["outcome"] == "tls"),
        "{records:?}"
    );
    held.abort();
}

/// An HTTP/2 provider that resets its first streams with `reason` and then answers.
async fn resetting(acceptor: TlsAcceptor, reason: h2::Reason, times: usize) -> (u16, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    let port = each_connection(acceptor, move |stream| {
        let seen = Arc::clone(&told);
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else {
                return;
            };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if seen.h2.fetch_add(1, Ordering::Relaxed) < times {
                    respond.send_reset(reason);
                    continue;
                }
                drop(request);
                let head = Response::builder()
                    .header("content-type", "application/json")
                    .body(())
                    .unwrap();
                let mut body = respond.send_response(head, false).unwrap();
                body.send_data(Bytes::from_static(ANSWER.as_bytes()), true)
                    .unwrap();
            }
        }
    })
    .await;
    (port, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_a_refused_stream_is_said_again_for_free_and_calm_is_kept() {
    for (reason, attempts, outcome) in [
        (h2::Reason::REFUSED_STREAM, "1", None),
        (h2::Reason::ENHANCE_YOUR_CALM, "2", Some("throttled")),
        (h2::Reason::INTERNAL_ERROR, "2", Some("reset")),
    ] {
        let identity = identity("localhost", &[b"h2"]);
        let (port, seen) = resetting(identity.acceptor, reason, 1).await;
        let b = mock("b").await;
        let table = table(port, &identity.pem, "");
        let config = format!(
            "{}{}[pools.p]\ntargets = [\"tls/m-tls\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"b/m-b\"]\n",
            table.text,
            provider("b", &b)
        );
        let gateway = Gateway::start(&config).await;
        let answer = gateway.ask("p").await;
        assert_eq!(answer.status(), 200, "{reason:?}: {}", answer.json());
        assert_eq!(
            answer.header("x-switchyard-attempts"),
            Some(attempts),
            "{reason:?}"
        );
        assert!(
            seen.h2.load(Ordering::Relaxed) >= 1,
            "{reason:?}: never met"
        );
        let records = gateway.records().await;
        if let Some(outcome) = outcome {
            assert!(
                records.iter().any(|record| record["outcome"] == outcome),
                "{reason:?}: {records:?}"
            );
        }
    }
}

/// The first connection is told to end before its first stream; the next one serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n09_a_request_above_the_last_number_of_a_farewell_is_said_again_for_free() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const FAREWELL: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let identity = identity("localhost", &[b"h2"]);
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    let port = each_connection(identity.acceptor, move |mut stream| {
        let seen = Arc::clone(&told);
        async move {
            if seen.connections.fetch_add(1, Ordering::Relaxed) > 0 {
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    answer(request, Arc::clone(&seen))
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                return;
            }
            stream.write_all(&SETTINGS).await.unwrap();
            let mut read = Vec::new();
            // A frame of type 1 opens the request's stream.
            while !has_headers(&read) {
                let mut some = [0; 4_096];
                let bytes = stream.read(&mut some).await.unwrap();
                read.extend_from_slice(&some[..bytes]);
            }
            stream.write_all(&FAREWELL).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let table = table(port, &identity.pem, "");
    let gateway = alone(&table).await;
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
    assert_eq!(seen.connections.load(Ordering::Relaxed), 2);
    let metrics = gateway.metrics().await;
    assert!(
        metrics.contains("switchyard_h2_goaway_total{why=\"goaway\"}"),
        "not counted"
    );
}

fn has_headers(read: &[u8]) -> bool {
    let mut rest = read.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice());
    while let Some([a, b, c, kind, tail @ ..]) = rest {
        if *kind == 1 {
            return true;
        }
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = tail.get(5 + length..);
    }
    false
}

/// A provider that takes one stream at a time: more connections, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n11_one_stream_a_connection_is_no_deadlock() {
    let identity = identity("localhost", &[b"h2"]);
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    let port = each_connection(identity.acceptor, move |stream| {
        let seen = Arc::clone(&told);
        async move {
            seen.connections.fetch_add(1, Ordering::Relaxed);
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let seen = Arc::clone(&seen);
                async move {
                    let inside = seen.inside.fetch_add(1, Ordering::Relaxed) + 1;
                    seen.peak.fetch_max(inside, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    seen.inside.fetch_sub(1, Ordering::Relaxed);
                    answer(request, seen).await
                }
            });
            let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            builder.http2().max_concurrent_streams(1);
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    let table = table(port, &identity.pem, "");
    let gateway = alone(&table).await;
    assert_eq!(gateway.ask("p").await.status(), 200);
    let many = (0..12).map(|_| gateway.ask("p"));
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    let peak = seen.peak.load(Ordering::Relaxed);
    assert!(peak >= 2, "one after another: {peak} at once");
}
