//! The gateway as a process of its own, for faults that a process has as a whole.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use switchyard::store::journal::verify;
use switchyard_chaos::client::{Answer, Client};
use tokio::time::{Instant, sleep, timeout};

use crate::frame::{
    KEY, PATH, admin_auth, auth, chat, code_of, mock, provider, quick, text_of, write_config,
};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(10);

/// The binary under a shell's limit; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// `limits` is what the shell does before it becomes the gateway.
    pub async fn start(limits: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(&folder, config);
        Self::start_in(folder, limits, None).await
    }

    /// With its standard error a pipe from which nobody reads.
    pub async fn start_unheard(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(&folder, config);
        Self::start_in(folder, "ulimit -c 0", Some(Stdio::piped())).await
    }

    /// Standard error of [`Self::start_unheard`], for who begins to read it after all.
    pub fn standard_error(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Killed as it is, and another one started in its place.
    pub async fn killed_and_started_again(mut self) -> Self {
        self.kill();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        std::fs::remove_file(folder.path().join("announced")).unwrap();
        Self::start_in(folder, "ulimit -c 0", None).await
    }

    /// Without a standard error of its own it writes into a file.
    async fn start_in(folder: tempfile::TempDir, limits: &str, error: Option<Stdio>) -> Self {
        let announce = folder.path().join("announced");
        let log = || std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = Command::new("bash")
            .arg("-c")
            .arg(format!(
                "{limits}; exec \"$0\" serve --config \"$1\" --announce \"$2\""
            ))
            .arg(env!("CARGO_BIN_EXE_switchyard"))
            .arg(folder.path().join("switchyard.toml"))
            .arg(&announce)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error.unwrap_or_else(|| log().into()))
            .spawn()
            .unwrap();
        let announced = timeout(SOON, async {
            loop {
                if let Some(addresses) = announced(&announce) {
                    return addresses;
                }
                assert_eq!(child.try_wait().unwrap(), None, "it ended");
                sleep(Duration::from_millis(10)).await;
            }
        });
        let (address, admin) = announced.await.unwrap();
        // It listens before its journal is open; some are never ready, and that is what is tested.
        let _ = timeout(Duration::from_secs(2), ready(admin)).await;
        Self {
            child,
            address,
            admin,
            folder,
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The value of one line of the metrics; 0 when it is not there.
    pub async fn metric(&self, line: &str) -> u64 {
        let asked = async {
            let mut client = Client::connect(self.admin).await.unwrap();
            client.get("/metrics", &[]).await.unwrap()
        };
        let answer = timeout(Duration::from_secs(2), asked)
            .await
            .expect("the admin listener does not answer");
        assert_eq!(answer.status(), 200);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// One request on a connection of its own; `None` when it was not let in.
    async fn ask(&self) -> Option<(u16, String)> {
        let mut client = Client::connect(self.address).await.ok()?;
        let (fields, body) = (auth(), chat("p"));
        let asked = client.post_json(PATH, &fields, &body);
        let answer = timeout(SOON, asked).await.expect("it hangs").ok()?;
        Some((answer.status(), text_of(&answer)))
    }
}

async fn ready(admin: SocketAddr) {
    loop {
        if let Ok(mut client) = Client::connect(admin).await
            && let Ok(answer) = client.get("/ready", &[]).await
            && answer.status() == 200
        {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn announced(file: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::fs::read_to_string(file).ok()?;
    let of = |name: &str| -> Option<SocketAddr> {
        let url = text.lines().find_map(|line| line.strip_prefix(name))?;
        url.trim_start_matches("http://")
            .trim_end_matches("/v1")
            .parse()
            .ok()
    };
    Some((of("base_url=")?, of("admin_url=")?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o09_when_descriptors_are_few_what_is_let_in_is_served_and_the_admin_side_answers() {
    const CLIENTS: usize = 90;
    let a = mock("a").await;
    let config = format!("{}[pools.p]\ntargets = [\"a/m-a\"]\n", provider("a", &a));
    let gateway = Process::start("ulimit -n 96", &config).await;
    assert!(
        gateway.log().contains("max_connections=28"),
        "{}",
        gateway.log()
    );
    // All at once, and all under way together with their upstream connections.
    a.weather(quick().first_content(Duration::from_secs(2)));
    let many = futures_util::future::join_all((0..CLIENTS).map(|_| gateway.ask()));
    let beside = async {
        assert!(a.wait_for(20, Duration::from_secs(5)).await);
        assert!(gateway.metric("switchyard_conns").await >= 28);
        let mut admin = Client::connect(gateway.admin).await.unwrap();
        assert_eq!(admin.get("/ready", &[]).await.unwrap().status(), 200);
    };
    let (answers, ()) = tokio::join!(many, beside);
    let served: Vec<_> = answers.into_iter().flatten().collect();
    assert!(served.len() >= 28, "only {} were let in", served.len());
    assert!(served.len() < CLIENTS, "the cap was never met");
    for (status, text) in &served {
        assert_eq!(*status, 200);
        assert!(!text.is_empty());
    }
    let turned_away = gateway
        .metric("switchyard_conn_closed_total{why=\"too_many\"}")
        .await;
    let paused = gateway.metric("switchyard_accept_paused_total").await;
    assert!(turned_away > 0, "{paused} pauses");
    // They have left: nothing is left of it.
    a.weather(quick());
    for _ in 0..40 {
        let (status, _) = timeout(SOON, async {
            loop {
                if let Some(answer) = gateway.ask().await {
                    return answer;
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(status, 200);
    }
}

/// Nothing is reserved for a request when those who only hold a connection hold them all, but what had
/// been let in before goes on, and the door opens again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o09_who_holds_connections_and_says_nothing_keeps_out_newcomers_only() {
    let a = mock("a").await;
    let config = format!("{}[pools.p]\ntargets = [\"a/m-a\"]\n", provider("a", &a));
    let gateway = Process::start("ulimit -n 96", &config).await;
    let mut early = Client::connect(gateway.address).await.unwrap();
    let first = early.post_json(PATH, &auth(), &chat("p")).await.unwrap();
    assert_eq!(first.status(), 200);
    let mut idle = Vec::new();
    for _ in 0..120 {
        idle.push(
            tokio::net::TcpStream::connect(gateway.address)
                .await
                .unwrap(),
        );
    }
    let turned_away = "switchyard_conn_closed_total{why=\"too_many\"}";
    timeout(SOON, async {
        while gateway.metric(turned_away).await < 90 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let again = early.post_json(PATH, &auth(), &chat("p")).await.unwrap();
    assert_eq!(again.status(), 200);
    drop(idle);
    timeout(SOON, async {
        while gateway.ask().await.is_none_or(|(status, _)| status != 200) {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

// --- memory ---

impl Process {
    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1_024
    }

    async fn level(&self) -> u64 {
        self.metric("switchyard_overload_level").await
    }

    /// Reloads with a limit of which the process uses so many tenths of a percent, until it is at `level`;
    /// a share of 0 takes the limit away.
    async fn fill_to(&self, share: u64, level: u64) {
        let path = self.folder.path().join("switchyard.toml");
        for _ in 0..10 {
            let limit = (self.resident_bytes() * 1_000)
                .checked_div(share)
                .unwrap_or(0);
            let lines: Vec<String> = std::fs::read_to_string(&path)
                .unwrap()
                .lines()
                .map(|line| match line.split_once("memory_limit_bytes = ") {
                    Some(_) => format!("memory_limit_bytes = {limit}"),
                    None => line.to_owned(),
                })
                .collect();
            std::fs::write(&path, lines.join("\n")).unwrap();
            let mut client = Client::connect(self.admin).await.unwrap();
            let reloaded = client
                .post_json("/admin/reload", &admin_auth(), &json!({}))
                .await;
            assert!(reloaded.unwrap().status() < 300);
            sleep(Duration::from_millis(1_200)).await;
            if self.level().await == level {
                return;
            }
        }
        panic!("it never came to level {level}: {}", self.log());
    }

    async fn post(&self, body: &Value) -> Answer {
        let mut client = Client::connect(self.address).await.unwrap();
        client.post_json(PATH, &auth(), body).await.unwrap()
    }
}

/// The bodies that are too large while memory is scarce, with their length told and untold.
async fn large_ones(gateway: &Process, status: u16) {
    let mut large = chat("p");
    large["messages"][0]["content"] = "x".repeat(300 * 1_024).into();
    let answer = gateway.post(&large).await;
    assert_eq!(answer.status(), status, "{}", answer.json());
    let text = large.to_string();
    let chunked = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
        text.len()
    );
    let mut client = Client::connect(gateway.address).await.unwrap();
    client.send(chunked.as_bytes()).await.unwrap();
    assert_eq!(client.read_answer().await.unwrap().status(), status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o08_as_memory_fills_first_rest_then_size_then_newcomers_are_given_up_and_streams_live_on()
{
    let a = mock("a").await;
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\nidle_timeout_ms = 20000\nhead_timeout_ms = 2000\nmemory_limit_bytes = 0\n{}[pools.p]\ntargets = [\"a/m-a\"]\n",
        provider("a", &a)
    );
    let gateway = Process::start("ulimit -c 0", &config).await;
    // Warm, so that its memory stays as it is.
    for _ in 0..20 {
        large_ones(&gateway, 200).await;
    }
    assert_eq!(gateway.level().await, 0);
    let mut resting = Client::connect(gateway.address).await.unwrap();
    let answer = resting.post_json(PATH, &auth(), &chat("p")).await.unwrap();
    assert_eq!((answer.status(), answer.header("connection")), (200, None));
    let rested = Instant::now();

    gateway.fill_to(880, 1).await;
    let answer = gateway.post(&chat("p")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("connection"), Some("close"));
    large_ones(&gateway, 200).await;
    let idle = "switchyard_conn_closed_total{why=\"idle\"}";
    timeout(SOON, async {
        while gateway.metric(idle).await == 0 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("a connection at rest was kept");
    assert!(
        rested.elapsed() < Duration::from_secs(18),
        "its usual limit"
    );

    gateway.fill_to(932, 2).await;
    large_ones(&gateway, 503).await;
    assert_eq!(gateway.post(&chat("p")).await.status(), 200);

    a.weather(quick().tokens(60).gap(Duration::from_millis(100)));
    let mut body = chat("p");
    body["stream"] = true.into();
    let mut client = Client::connect(gateway.address).await.unwrap();
    let fields = auth();
    let stream = client.stream(PATH, &fields, &body).await.unwrap();
    gateway.fill_to(1_000_000, 3).await;
    let begun = Instant::now();
    let refused = gateway.post(&chat("p")).await;
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (refused.status(), code_of(&refused).as_str()),
        (503, "overloaded")
    );
    assert_eq!(refused.header("x-should-retry"), Some("true"));
    assert!(refused.header("retry-after").is_some());
    let mut admin = Client::connect(gateway.admin).await.unwrap();
    assert_eq!(admin.get("/ready", &[]).await.unwrap().status(), 503);
    let stream = stream.collect().await.unwrap();
    assert!(stream.is_done(), "{:?}", stream.events.last());

    gateway.fill_to(0, 0).await;
    a.weather(quick());
    let answer = gateway.post(&chat("p")).await;
    assert_eq!((answer.status(), answer.header("connection")), (200, None));
    large_ones(&gateway, 200).await;
}

/// The kernel itself refuses to let a file grow, as a full disk does: half a batch is in it by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x11_a_journal_file_that_can_grow_no_more_costs_a_moment_and_no_record() {
    let a = mock("a").await;
    let config = format!("{}[pools.p]\ntargets = [\"a/m-a\"]\n", provider("a", &a));
    let mut gateway = Process::start("trap '' XFSZ; ulimit -f 16", &config).await;
    let (mut answered, mut refused, mut recovered) = (0, 0, 0);
    let began = Instant::now();
    let mut was_refused: Option<Instant> = None;
    while recovered < 3 {
        assert!(
            began.elapsed() < SOON * 3,
            "{answered} answered, {refused} refused"
        );
        match gateway.ask().await.unwrap().0 {
            200 => {
                answered += 1;
                if let Some(since) = was_refused.take() {
                    recovered += 1;
                    assert!(since.elapsed() < Duration::from_secs(2));
                }
            }
            503 => {
                refused += 1;
                was_refused.get_or_insert_with(Instant::now);
                sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused >= 3 && answered > 20);
    // The last outcomes are written by nobody who waits.
    sleep(Duration::from_millis(300)).await;
    gateway.kill();
    let report = verify(&gateway.folder.path().join("journal")).unwrap();
    assert!(report.intact() && report.open == 0, "{report}");
    assert!(report.intents >= answered, "{answered} answered: {report}");
    assert!(report.segments > 3, "{report}");
}
