//! A10: pictures and documents by address are fetched only from where the operator said, and only as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use switchyard_chaos::client::Answer;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::egress::{Does, Proxy};
use crate::frame::{Gateway, mock, mock_of, provider};
use crate::tls_mock::{Authority, Certificate, Speaks};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on";

/// A store behind TLS that says one thing to whoever asks.
struct Store {
    authority: Authority,
    port: u16,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Store {
    async fn start(says: Vec<u8>, after: Duration) -> Self {
        let authority = Authority::new();
        let acceptor = authority.acceptor(Certificate::Good, Speaks::Http1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (met, heard) = (Arc::clone(&connections), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((peer, _)) = listener.accept().await {
                met.fetch_add(1, Ordering::SeqCst);
                let (acceptor, heard, says) = (acceptor.clone(), Arc::clone(&heard), says.clone());
                tokio::spawn(async move {
                    let mut peer = acceptor.accept(peer).await.ok()?;
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        head.push(char::from(peer.read_u8().await.ok()?));
                    }
                    heard.lock().await.push(head);
                    tokio::time::sleep(after).await;
                    peer.write_all(&says).await.ok()?;
                    peer.shutdown().await.ok()
                });
            }
        });
        Self {
            authority,
            port,
            connections,
            heads,
        }
    }

    async fn of(kind: &str, body: &[u8]) -> Self {
        Self::start(answer("200 OK", kind, body), Duration::ZERO).await
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/a/b.png?c=d#e", self.port)
    }

    fn asked(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn config(&self, more: &str) -> String {
        let file = self.authority.file().display().to_string();
        format!(
            "[media]\nfetch = true\nhosts = [\"localhost:{}\"]\nca_file = \"{file}\"\n{more}",
            self.port
        )
    }
}

fn answer(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nlocation: https://localhost/\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

const INSIDE: &str = "allow_private_address = true\n";

fn ask(model: &str, url: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": url}},
    ]}]})
}

fn why(answer: &Answer) -> String {
    assert_eq!(answer.status(), 400, "{}", answer.json());
    answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn gateway(mock: &MockProvider, media: &str) -> Gateway {
    Gateway::start(&format!("{}{media}", provider("a", mock))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_nothing_is_fetched_unless_that_is_switched_on() {
    let store = Store::of("image/png", PNG).await;
    for dialect in [Dialect::Bedrock, Dialect::Gemini, Dialect::Ollama] {
        let mock = mock_of(dialect, "a").await;
        let gateway = gateway(&mock, "").await;
        let told = why(&gateway.post(&ask("m-a", &store.url())).await);
        assert!(told.contains("send the data"), "{told}");
        assert_eq!((store.asked(), mock.requests()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_a_picture_from_an_allowed_host_is_sent_as_data_and_fetched_once() {
    let store = Store::of("image/png", PNG).await;
    let (a, b) = (
        mock_of(Dialect::Bedrock, "a").await,
        mock_of(Dialect::Gemini, "b").await,
    );
    let text = format!(
        "{}{}[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 100000 }}, {{ target = \"b/m-b\", weight = 0.001 }}]\n{}",
        provider("a", &a),
        provider("b", &b),
        store.config(INSIDE)
    );
    let gateway = Gateway::start(&text).await;
    let answer = gateway.post(&ask("p", &store.url())).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let image = a.last().unwrap().asked.json["messages"][0]["content"][1]["image"].clone();
    assert_eq!(
        image,
        json!({"format": "png", "source": {"bytes": STANDARD.encode(PNG)}})
    );
    let head = store.heads.lock().await.remove(0).to_ascii_lowercase();
    assert!(head.starts_with("get /a/b.png?c=d http/1.1\r\n"), "{head}");
    assert!(
        !head.contains("canary") && !head.contains("authorization"),
        "{head}"
    );
    // A failover does not ask the store again.
    a.set(Behaviour::status(500));
    let before = store.asked();
    assert_eq!(gateway.post(&ask("p", &store.url())).await.status(), 200);
    assert_eq!((store.asked(), b.requests()), (before + 1, 1));
    let inline = &b.last().unwrap().asked.json["contents"][0]["parts"][1]["inlineData"];
    assert_eq!(inline["mimeType"], "image/png");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_what_is_not_allowed_meets_nobody() {
    let store = Store::of("image/png", PNG).await;
    let mock = mock_of(Dialect::Bedrock, "a").await;
    // The name on the list leads inside, and that is not allowed.
    let gateway = gateway(&mock, &store.config("")).await;
    let port = store.port;
    for url in [
        store.url(),
        format!("https://127.0.0.1:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://0x7f000001:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:7f00:1]:{port}/"),
        format!("https://localhost:{port}@127.0.0.1:{port}/"),
        format!("https://user@localhost:{port}/"),
        format!("https://localhost.:{port}/"),
        format!("https://other.example:{port}/"),
        format!("https://localhost:{}/", port.wrapping_add(1)),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[::ffff:a9fe:a9fe]/".to_owned(),
        "https://[64:ff9b::7f00:1]/".to_owned(),
        "https://[2002:7f00:1::]/".to_owned(),
        "https://[fec0::1]/".to_owned(),
        "https://100.64.0.1/".to_owned(),
        format!("http://localhost:{port}/"),
        "file:///etc/passwd".to_owned(),
    ] {
        let told = why(&gateway.post(&ask("m-a", &url)).await);
        assert!(
            !told.contains("127.0.0.1") && !told.contains("private"),
            "{told}"
        );
    }
    assert_eq!((store.asked(), mock.requests()), (0, 0));
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("switchyard_blocked_total{rule=\"ssrf\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_what_is_no_picture_or_does_not_come_whole_is_not_passed_on() {
    let large = [PNG, &[0; 4_096]].concat();
    let unsaid = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &large].concat();
    let slow = Duration::from_secs(20);
    for (says, after, expected) in [
        (
            answer("302 Found", "image/png", PNG),
            Duration::ZERO,
            "could not be fetched",
        ),
        (
            answer("404 Not Found", "image/png", PNG),
            Duration::ZERO,
            "could not be fetched",
        ),
        (
            answer("200 OK", "image/png", b"{\"AccessKeyId\":\"x\"}"),
            Duration::ZERO,
            "neither a png",
        ),
        (
            answer("200 OK", "text/html", PNG),
            Duration::ZERO,
            "neither a png",
        ),
        (
            answer("200 OK", "image/png", &large),
            Duration::ZERO,
            "larger than",
        ),
        (unsaid, Duration::ZERO, "larger than"),
        (
            answer("200 OK", "image/png", PNG)[..90].to_vec(),
            Duration::ZERO,
            "could not be fetched",
        ),
        (Vec::new(), slow, "could not be fetched"),
    ] {
        let store = Store::start(says, after).await;
        let mock = mock_of(Dialect::Bedrock, "a").await;
        let limits = "max_bytes = 4096\ntimeout_ms = 700\n";
        let gateway = gateway(&mock, &store.config(&format!("{INSIDE}{limits}"))).await;
        let answer = gateway.post(&ask("m-a", &store.url())).await;
        let told = why(&answer);
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(told.contains("messages[0].content[1]"), "{told}");
        assert_eq!(answer.json()["error"]["param"], "messages[0].content[1]");
        assert_eq!((store.asked(), mock.requests()), (1, 0), "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_who_takes_addresses_gets_them_unfetched() {
    let store = Store::of("image/png", PNG).await;
    let mock = mock("a").await;
    let gateway = gateway(&mock, &store.config(INSIDE)).await;
    assert_eq!(gateway.post(&ask("m-a", &store.url())).await.status(), 200);
    assert_eq!((store.asked(), mock.requests()), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_a_picture_a_model_cannot_read_is_a_400_that_names_it() {
    let mock = mock_of(Dialect::Bedrock, "a").await;
    let gateway = gateway(&mock, "").await;
    let answer = gateway
        .post(&ask("m-a", "data:image/tiff;base64,AAAA"))
        .await;
    let told = why(&answer);
    assert_eq!(answer.json()["error"]["param"], "messages[0].content[1]");
    assert!(
        told.contains("\"m-a\"") && told.contains("image/png or image/jpeg"),
        "{told}"
    );
    assert_eq!(mock.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_names_are_asked_of_the_operators_name_servers_as_for_everything_else() {
    let mock = mock_of(Dialect::Bedrock, "a").await;
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let media = format!(
        "[media]\nfetch = true\nhosts = [\"pictures.example\"]\ntimeout_ms = 1500\n[egress]\nresolvers = [\"{}\"]\n",
        server.local_addr().unwrap()
    );
    let gateway = gateway(&mock, &media).await;
    let asked = tokio::spawn(async move {
        let mut question = [0_u8; 512];
        let (length, _) = server.recv_from(&mut question).await.unwrap();
        question[..length].to_vec()
    });
    let told = why(&gateway
        .post(&ask("m-a", "https://pictures.example/a.png"))
        .await);
    assert!(told.contains("could not be fetched"), "{told}");
    let limit = Duration::from_secs(5);
    let question = tokio::time::timeout(limit, asked).await.unwrap().unwrap();
    let name = b"\x08pictures\x07example";
    assert!(
        question.windows(name.len()).any(|at| at == name),
        "{question:?}"
    );
    assert_eq!(mock.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_a_proxy_is_asked_for_the_address_that_was_judged_and_never_for_a_name() {
    let store = Store::of("image/png", PNG).await;
    let mock = mock_of(Dialect::Bedrock, "a").await;
    let proxy = Proxy::start(Does::Tunnel).await;
    // The provider itself is reached straight; the store is not.
    let way = format!("{}no_proxy = [\"127.0.0.1\"]\n", proxy.config());
    let through = gateway(&mock, &store.config(&format!("{INSIDE}{way}"))).await;
    let answer = through.post(&ask("m-a", &store.url())).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(store.asked(), 1);
    let asked = proxy.heads().await.join("");
    assert!(
        asked.starts_with("CONNECT ") && !asked.contains("localhost"),
        "{asked}"
    );
    let head = store.heads.lock().await.remove(0);
    assert!(
        head.contains("localhost"),
        "the store knows its name: {head}"
    );

    // A name that leads inside is not even asked for.
    let before = proxy.asked().await;
    let closed = gateway(&mock, &store.config(&way)).await;
    why(&closed.post(&ask("m-a", &store.url())).await);
    assert_eq!((proxy.asked().await, store.asked()), (before, 1));
}
