//! `switchyard bench`: the gateway against a bare proxy, in one run.
//!
//! # Why CPU time of processes
//! Machines are shared and noisy; wall time measures the neighbours. The gateway and the bare proxy run
//! as processes of their own, get the same load in turn, and are charged what the kernel says they used.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use switchyard_chaos::load::{Load, Shape};
use switchyard_chaos::mock::{Fast, MockOptions, MockProvider};

/// Rounds of each case; the median counts.
const ROUNDS: usize = 5;

struct Case {
    name: &'static str,
    prompt_bytes: usize,
    chunks: usize,
    gap: Duration,
    requests: u64,
    connections: usize,
}

const CASES: [Case; 4] = [
    Case {
        name: "unary, 1 KB",
        prompt_bytes: 1_000,
        chunks: 0,
        gap: Duration::ZERO,
        requests: 4_000,
        connections: 8,
    },
    Case {
        name: "unary, 32 KB",
        prompt_bytes: 32_000,
        chunks: 0,
        gap: Duration::ZERO,
        requests: 2_000,
        connections: 8,
    },
    Case {
        name: "stream, 100 chunks back to back",
        prompt_bytes: 1_000,
        chunks: 100,
        gap: Duration::ZERO,
        requests: 600,
        connections: 8,
    },
    Case {
        name: "stream, 100 chunks 5 ms apart",
        prompt_bytes: 1_000,
        chunks: 100,
        gap: Duration::from_millis(5),
        requests: 128,
        connections: 32,
    },
];

pub(crate) async fn run() -> ExitCode {
    match measure().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn measure() -> Result<(), Fault> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "CPU per request in µs, median of {ROUNDS} rounds, both in one run"
    )?;
    writeln!(
        out,
        "{:<34} {:>9} {:>9} {:>7} {:>9}",
        "case", "bare", "gateway", "ratio", "errors"
    )?;
    for case in &CASES {
        let fast = Fast {
            text_bytes: 400,
            chunks: case.chunks,
            delay: Duration::ZERO,
            gap: case.gap,
        };
        let mock = MockProvider::start(MockOptions {
            fast: Some(fast),
            ..MockOptions::default()
        })
        .await?;
        let folder = std::env::temp_dir().join(format!("switchyard-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let bare = Proxy::bare(&mock, &folder)?;
        let gateway = Proxy::gateway(&mock, &folder)?;
        let (mut plain, mut ours, mut errors) = (Vec::new(), Vec::new(), 0);
        for round in 0..=ROUNDS {
            let (one, wrong) = bare.cost(case).await?;
            let (other, also_wrong) = gateway.cost(case).await?;
            errors += wrong + also_wrong;
            // The first round warms both up.
            if round > 0 {
                plain.push(one);
                ours.push(other);
            }
        }
        let (one, other) = (median(plain), median(ours));
        writeln!(
            out,
            "{:<34} {one:>9.1} {other:>9.1} {:>7.2} {errors:>9}",
            case.name,
            other / one
        )?;
        if case.chunks == 0 && case.prompt_bytes == 1_000 {
            writeln!(
                out,
                "{:<34} {:>9.1} {:>9.1}",
                "  memory after load, MB",
                bare.memory()?,
                gateway.memory()?
            )?;
        }
        drop((bare, gateway));
        // Left behind only when the folder is in use.
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A process under measurement; ended when dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn bare(mock: &MockProvider, folder: &Path) -> Result<Self, Fault> {
        let announce = folder.join("bare");
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["bench", "--bare", &mock.base_url(), "--announce"])
            .arg(&announce);
        Self::start(command, &announce)
    }

    fn gateway(mock: &MockProvider, folder: &Path) -> Result<Self, Fault> {
        let config = folder.join("switchyard.toml");
        let place = folder.display();
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[journal]\npath = \"{place}/journal\"\n[logs]\nlevel = \"error\"\n[[clients]]\nname = \"bench\"\nkey = \"env:SWITCHYARD_BENCH_KEY\"\n[providers.mock]\nbase_url = \"{}\"\nkeys = [{{ name = \"main\", secret = \"env:SWITCHYARD_BENCH_KEY\", requests_per_minute = 100000000, tokens_per_minute = 4000000000 }}]\nallow_private_address = true\n[pools.fast]\ntargets = [\"mock/mock-model\"]\n",
            mock.base_url()
        );
        std::fs::write(&config, text)?;
        let announce = folder.join("gateway");
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--announce")
            .arg(&announce);
        command.env("SWITCHYARD_BENCH_KEY", KEY);
        Self::start(command, &announce)
    }

    fn start(mut command: Command, announce: &Path) -> Result<Self, Fault> {
        let _ = std::fs::remove_file(announce);
        // One worker each: what one pinned core would do, without the right to pin.
        command
            .env("TOKIO_WORKER_THREADS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn()?;
        for _ in 0..400 {
            let told = std::fs::read_to_string(announce).unwrap_or_default();
            let address = told.lines().find_map(|line| {
                line.strip_prefix("base_url=http://")?
                    .split('/')
                    .next()?
                    .parse()
                    .ok()
            });
            if let Some(address) = address {
                return Ok(Self { child, address });
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "waits for another process, with nothing else to do"
            )]
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("a process under measurement did not start".into())
    }

    /// Microseconds of CPU per request, and how many went wrong.
    async fn cost(&self, case: &Case) -> Result<(f64, u64), Fault> {
        let prompt = "lorem ipsum ".repeat(case.prompt_bytes / 12);
        let body = format!(
            "{{\"model\":\"fast\",\"stream\":{},\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}",
            case.chunks > 0
        );
        let mut load = Load::new(self.address, "/v1/chat/completions", body);
        load.fields
            .push(("authorization".to_owned(), format!("Bearer {KEY}")));
        load.connections = case.connections;
        load.shape = Shape::Closed;
        load.requests = case.requests;
        load.duration = Duration::from_secs(60);
        let before = self.cpu_micros()?;
        let report = load.run().await;
        let used = self.cpu_micros()? - before;
        let good = report.with_status(200).max(1);
        #[expect(clippy::cast_precision_loss, reason = "a mean of counts")]
        Ok((used / good as f64, case.requests.saturating_sub(good)))
    }

    fn cpu_micros(&self) -> Result<f64, Fault> {
        let schedstat = format!("/proc/{}/task", self.child.id());
        let mut nanos = 0_u64;
        for task in std::fs::read_dir(schedstat)? {
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanos += text
                .split(' ')
                .next()
                .and_then(|first| first.parse::<u64>().ok())
                .unwrap_or_default();
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a run")]
        Ok(nanos as f64 / 1_000.0)
    }

    fn memory(&self) -> Result<f64, Fault> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
        });
        Ok(kib.unwrap_or_default() / 1_024.0)
    }
}

const KEY: &str = "sk-bench-key-0000000001";

/// What the bare proxy looks for.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: std::borrow::Cow<'a, str>,
    #[serde(default)]
    stream: bool,
}

struct Bare {
    client: Client<HttpConnector, Full<Bytes>>,
    url: http::Uri,
}

/// The yardstick: axum in front, hyper-util behind, the body buffered, `model` and `stream` found by serde.
pub(crate) async fn bare(upstream: &str, announce: &Path) -> ExitCode {
    let Ok(url) = format!("{upstream}/chat/completions").parse() else {
        return ExitCode::from(2);
    };
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let bare = Arc::new(Bare {
        client: Client::builder(TokioExecutor::new()).build(connector),
        url,
    });
    let router = axum::Router::new()
        .route("/v1/chat/completions", axum::routing::post(forward))
        .with_state(bare);
    let Ok(listener) = tokio::net::TcpListener::bind("127.0.0.1:0").await else {
        return ExitCode::FAILURE;
    };
    let Ok(address) = listener.local_addr() else {
        return ExitCode::FAILURE;
    };
    if std::fs::write(announce, format!("base_url=http://{address}/v1\n")).is_err() {
        return ExitCode::FAILURE;
    }
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (router, builder) = (router.clone(), builder.clone());
        tokio::spawn(async move {
            let service = hyper_util::service::TowerToHyperService::new(router);
            let _ = builder
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn forward(State(bare): State<Arc<Bare>>, request: http::Request<Body>) -> Response {
    let failed = |status: u16| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response
    };
    let (_, body) = request.into_parts();
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return failed(400);
    };
    let Ok(peek) = serde_json::from_slice::<Peek<'_>>(&body) else {
        return failed(400);
    };
    if peek.model.is_empty() && peek.stream {
        return failed(400);
    }
    let mut upstream = http::Request::new(Full::new(body.clone()));
    *upstream.method_mut() = http::Method::POST;
    *upstream.uri_mut() = bare.url.clone();
    let headers = upstream.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        AUTHORIZATION,
        http::HeaderValue::from_static("Bearer sk-bench"),
    );
    headers.insert(CONTENT_LENGTH, http::HeaderValue::from(body.len()));
    match bare.client.request(upstream).await {
        Ok(response) => response.map(Body::new),
        Err(_) => failed(502),
    }
}
