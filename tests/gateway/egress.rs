//! N14: providers behind an HTTP proxy, and a proxy that is ill.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use switchyard_chaos::client::Answer;
use switchyard_chaos::mock::MockProvider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use crate::frame::{Gateway, code_of, mock, provider, text_of};
use crate::h2_mock::Window;
use crate::tls_mock::{Authority, Certificate, SecureMock, Speaks};

/// What a proxy does with a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Tunnel,
    /// Says these bytes and closes.
    Says(&'static str),
    Nothing,
    /// Cannot reach this port, and reaches every other.
    CannotReach(u16),
}

/// A CONNECT proxy on the loopback.
pub struct Proxy {
    address: SocketAddr,
    does: watch::Sender<Does>,
    heads: Arc<Mutex<Vec<String>>>,
    tunnels: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn start(does: Does) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), does)
    }

    fn on(listener: TcpListener, does: Does) -> Self {
        let address = listener.local_addr().unwrap();
        let (does, doing) = watch::channel(does);
        let heads = Arc::new(Mutex::new(Vec::new()));
        let tunnels = Arc::new(AtomicUsize::new(0));
        let (seen, made) = (Arc::clone(&heads), Arc::clone(&tunnels));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (doing, seen, made) = (doing.clone(), Arc::clone(&seen), Arc::clone(&made));
                tokio::spawn(async move { serve(client, doing, &seen, &made).await });
            }
        });
        Self {
            address,
            does,
            heads,
            tunnels,
        }
    }

    fn now(&self, does: Does) {
        self.does.send_replace(does);
    }

    pub async fn heads(&self) -> Vec<String> {
        self.heads.lock().await.clone()
    }

    pub async fn asked(&self) -> usize {
        self.heads.lock().await.len()
    }

    pub fn config(&self) -> String {
        format!("[egress]\nproxy = \"http://{}\"\n", self.address)
    }
}

async fn serve(
    mut client: TcpStream,
    doing: watch::Receiver<Does>,
    seen: &Mutex<Vec<String>>,
    made: &AtomicUsize,
) -> Option<()> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(client.read_u8().await.ok()?));
    }
    let target = head.split(' ').nth(1)?.to_owned();
    seen.lock().await.push(head);
    let does = *doing.borrow();
    let unreachable = match does {
        Does::Says(bytes) => {
            client.write_all(bytes.as_bytes()).await.ok()?;
            return None;
        }
        Does::Nothing => std::future::pending().await,
        Does::CannotReach(port) => target.ends_with(&format!(":{port}")),
        Does::Tunnel => false,
    };
    if unreachable {
        let page =
            "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\noops";
        client.write_all(page.as_bytes()).await.ok()?;
        return None;
    }
    let mut provider = TcpStream::connect(target).await.ok()?;
    made.fetch_add(1, Ordering::SeqCst);
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .ok()?;
    copy_bidirectional(&mut client, &mut provider).await.ok()?;
    Some(())
}

async fn metric(gateway: &Gateway, line: &str) -> u64 {
    let metrics = gateway.metrics().await;
    metrics
        .lines()
        .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
        .unwrap_or(0)
}

async fn attempts(gateway: &Gateway, a: &str, outcome: &str) -> u64 {
    let line = format!(
        "switchyard_attempts_total{{provider=\"{a}\",model=\"m-{a}\",outcome=\"{outcome}\"}}"
    );
    metric(gateway, &line).await
}

/// A gateway whose pool `p` asks the first of these first.
async fn gateway(providers: &[(&str, &MockProvider)], more: &str) -> Gateway {
    let mut config = String::new();
    let mut targets = Vec::new();
    for (index, (name, mock)) in providers.iter().enumerate() {
        config.push_str(&provider(name, mock));
        let weight = if index == 0 { 100_000.0 } else { 0.001 };
        targets.push(format!(
            "{{ target = \"{name}/m-{name}\", weight = {weight} }}"
        ));
    }
    Gateway::start(&format!(
        "{config}[pools.p]\ntargets = [{}]\n{more}",
        targets.join(", ")
    ))
    .await
}

async fn ask(gateway: &Gateway) -> (Answer, Duration) {
    let begun = Instant::now();
    let answer = timeout(Duration::from_secs(5), gateway.ask("p"))
        .await
        .unwrap();
    (answer, begun.elapsed())
}

fn is_the_proxys_fault(answer: &Answer) {
    assert_eq!(
        (answer.status(), code_of(answer).as_str()),
        (502, "egress_proxy"),
        "{}",
        answer.json()
    );
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_a_plain_provider_is_reached_through_the_proxy_with_its_password() {
    let (a, proxy) = (mock("n14-a").await, Proxy::start(Does::Tunnel).await);
    let secret = tempfile::NamedTempFile::new().unwrap();
    let url = format!("http://us%20er:p%40ss@{}\n", proxy.address);
    std::fs::write(secret.path(), url).unwrap();
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let egress = format!("[egress]\nproxy = \"file:{}\"\n", secret.path().display());
    let gateway = gateway(&[("n14-a", &a)], &egress).await;
    for _ in 0..3 {
        let (answer, _) = ask(&gateway).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert!(!text_of(&answer).is_empty());
    }
    let heads = proxy.heads.lock().await;
    let host = a.base_url().replace("http://", "").replace("/v1", "");
    let expected = format!(
        "CONNECT {host} HTTP/1.1\r\nhost: {host}\r\nproxy-authorization: Basic dXMgZXI6cEBzcw==\r\n\r\n"
    );
    // One tunnel serves them all, and the provider never sees the password.
    assert_eq!(*heads, [expected]);
    assert_eq!(a.requests(), 3);
    let config = gateway.admin_get("/admin/config").await.to_string();
    assert!(!config.contains("p@ss") && !config.contains("dXMgZXI6"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_a_secure_provider_is_reached_through_the_proxy_over_http1_and_http2() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let (authority, proxy) = (Authority::new(), Proxy::start(Does::Tunnel).await);
        let a = SecureMock::well(&authority, Certificate::Good, speaks).await;
        let config = format!(
            "{}[pools.p]\ntargets = [\"{}\"]\n{}",
            a.provider(&authority),
            a.target(),
            proxy.config()
        );
        let gateway = Gateway::start(&config).await;
        let (answer, _) = ask(&gateway).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        let stream = gateway.stream("p").await;
        assert!(stream.is_done());
        assert_eq!(proxy.tunnels.load(Ordering::SeqCst), 1);
        let over_h2 = if speaks == Speaks::Http2 { 2 } else { 0 };
        assert_eq!(a.seen().over_h2.load(Ordering::SeqCst), over_h2);
    }
    // The tunnel proves nothing about who is at its end.
    let (theirs, ours) = (Authority::new(), Authority::new());
    let proxy = Proxy::start(Does::Tunnel).await;
    let a = SecureMock::h2(&theirs, Window::Opens, |_| async {}).await;
    let config = format!(
        "{}[pools.p]\ntargets = [\"{}\"]\n{}",
        a.provider(&ours),
        a.target(),
        proxy.config()
    );
    let gateway = Gateway::start(&config).await;
    let (answer, _) = ask(&gateway).await;
    assert_eq!(code_of(&answer), "upstream_failed");
    assert_eq!(a.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_an_ill_proxy_is_told_as_such_at_once_and_no_provider_is_blamed_for_it() {
    // More than it takes to block a target.
    const REQUESTS: u64 = 8;
    for (index, (says, why)) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n",
            "auth",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>Log in to the Wi-Fi</html>",
            "answer",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n<html>Blocked by policy</html>",
            "answer",
        ),
        ("SSH-2.0-OpenSSH_9.6\r\n", "answer"),
        ("", "answer"),
    ]
    .into_iter()
    .enumerate()
    {
        let (one, other) = (format!("n14-b{index}"), format!("n14-c{index}"));
        let (a, b) = (mock(&one).await, mock(&other).await);
        let proxy = Proxy::start(Does::Says(says)).await;
        let gateway = gateway(&[(&one, &a), (&other, &b)], &proxy.config()).await;
        let failed = format!("switchyard_egress_fail_total{{why=\"{why}\"}}");
        let before = metric(&gateway, &failed).await;
        for _ in 0..REQUESTS {
            let (answer, took) = ask(&gateway).await;
            // The other target is behind the same proxy, so it is not tried.
            is_the_proxys_fault(&answer);
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
        assert_eq!(proxy.asked().await as u64, REQUESTS, "{says:?}");
        assert!(metric(&gateway, &failed).await >= before + REQUESTS);
        assert_eq!(attempts(&gateway, &one, "egress").await, REQUESTS);
        let breaker = format!("switchyard_breaker_state{{provider=\"{one}\",model=\"m-{one}\"}}");
        assert_eq!(metric(&gateway, &breaker).await, 0);
        assert_eq!(a.requests() + b.requests(), 0);
        // Nobody has to recover but the proxy.
        proxy.now(Does::Tunnel);
        let (answer, _) = ask(&gateway).await;
        assert_eq!(answer.status(), 200, "{says:?}: {}", answer.json());
        assert_eq!(a.requests(), 1, "the first target is still the first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_a_proxy_that_refuses_connections_is_ill_and_comes_back() {
    let a = mock("n14-d").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let egress = format!("[egress]\nproxy = \"http://{address}\"\n");
    let gateway = gateway(&[("n14-d", &a)], &egress).await;
    for _ in 0..8 {
        let (answer, took) = ask(&gateway).await;
        is_the_proxys_fault(&answer);
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
    let proxy = Proxy::on(TcpListener::bind(address).await.unwrap(), Does::Tunnel);
    let (answer, _) = ask(&gateway).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(proxy.asked().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_a_proxy_that_says_nothing_is_given_up_at_the_connect_limit() {
    let (a, proxy) = (mock("n14-e").await, Proxy::start(Does::Nothing).await);
    let more = format!("{}[timeouts]\nconnect_ms = 300\n", proxy.config());
    let gateway = gateway(&[("n14-e", &a)], &more).await;
    for _ in 0..6 {
        let (answer, took) = ask(&gateway).await;
        is_the_proxys_fault(&answer);
        let limit = Duration::from_millis(290)..Duration::from_millis(1_500);
        assert!(limit.contains(&took), "{took:?}");
    }
    proxy.now(Does::Tunnel);
    let (answer, _) = ask(&gateway).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_who_is_reached_without_the_proxy_serves_while_it_is_ill() {
    let (a, b, c) = (
        mock("n14-f").await,
        mock("n14-g").await,
        mock("n14-h").await,
    );
    let says = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    let proxy = Proxy::start(Does::Says(says)).await;
    let behind = format!("{}{}", provider("n14-f", &a), provider("n14-g", &b));
    let straight = provider("n14-h", &c).replace("127.0.0.1", "localhost");
    let config = format!(
        "{behind}{straight}[pools.p]\ntargets = [{{ target = \"n14-f/m-n14-f\", weight = 100000 }}, \"n14-g/m-n14-g\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"n14-h/m-n14-h\"]\n{}no_proxy = [\"localhost\"]\n",
        proxy.config()
    );
    let gateway = Gateway::start(&config).await;
    // More than the budget for retries allows: nobody was reached, so nothing is repeated.
    for _ in 0..40 {
        let (answer, _) = ask(&gateway).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert_eq!(answer.header("x-switchyard-attempts"), Some("2"));
    }
    assert_eq!((a.requests(), b.requests(), c.requests()), (0, 0, 40));
    assert_eq!(proxy.asked().await, 40, "the straight one went through it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_a_provider_that_the_proxy_cannot_reach_is_left_for_the_next_and_blamed() {
    let (a, b) = (mock("n14-i").await, mock("n14-j").await);
    let proxy = Proxy::start(Does::CannotReach(a.address().port())).await;
    let gateway = gateway(&[("n14-i", &a), ("n14-j", &b)], &proxy.config()).await;
    for _ in 0..12 {
        let (answer, _) = ask(&gateway).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    assert_eq!((a.requests(), b.requests()), (0, 12));
    let blamed = attempts(&gateway, "n14-i", "connect").await;
    assert!(
        (1..12).contains(&blamed),
        "its breaker never blocked: {blamed}"
    );
}
