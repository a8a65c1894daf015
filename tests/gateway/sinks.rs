//! O15: what is told about requests is lost before it holds one up.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use h2::client::SendRequest;
use switchyard::store::journal::verify;
use switchyard_chaos::client::Client;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::frame::{KEY, PATH, admin_auth, chat, mock, provider};
use crate::process::Process;

const DROPPED: &str = "switchyard_telemetry_dropped";

/// A client over HTTP/2, of whose frames the log tells much.
struct Talkative {
    sender: SendRequest<bytes::Bytes>,
    asked: u64,
}

impl Talkative {
    async fn connect(gateway: &Process) -> Self {
        let socket = TcpStream::connect(gateway.address).await.unwrap();
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        Self { sender, asked: 0 }
    }

    /// How long one answer took.
    async fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        let asked = async {
            let mut sender = self.sender.clone().ready().await.unwrap();
            let request = http::Request::post(format!("http://x{PATH}"))
                .header("authorization", format!("Bearer {KEY}"))
                .header("content-type", "application/json")
                .body(())
                .unwrap();
            let (answer, mut body) = sender.send_request(request, false).unwrap();
            body.send_data(chat("p").to_string().into(), true).unwrap();
            let mut answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            while let Some(piece) = answer.body_mut().data().await {
                piece.unwrap();
            }
        };
        timeout(Duration::from_secs(10), asked)
            .await
            .expect("a request waits for the log");
        self.asked += 1;
        begun.elapsed()
    }

    /// The quickest of so many: other programs have the machine too. Whoever waits for a log that nobody reads waits for
    /// ever, and is found by its own limit; this finds what each of them pays.
    async fn quickest(&mut self, count: usize) -> Duration {
        let mut quickest = Duration::MAX;
        for _ in 0..count {
            quickest = quickest.min(self.ask().await);
        }
        quickest
    }
}

async fn admin_post(gateway: &Process, path: &str) {
    let mut admin = Client::connect(gateway.admin).await.unwrap();
    let (fields, body) = (admin_auth(), serde_json::json!({}));
    let answer = admin.post_json(path, &fields, &body).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
}

const ACTOR: &str = "root/providers/a/k0";

/// How often the actor that the test crashes was started again.
async fn restarts(gateway: &Process) -> u64 {
    let mut admin = Client::connect(gateway.admin).await.unwrap();
    let tree = admin.get("/admin/tree", &admin_auth()).await.unwrap();
    let tree = tree.json();
    let actors = tree["actors"].as_array().unwrap();
    let actor = actors.iter().find(|actor| actor["path"] == ACTOR);
    actor.unwrap()["restarts"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o15_a_log_that_nobody_reads_loses_its_oldest_lines_and_costs_no_request_anything() {
    let a = mock("a").await;
    let config = format!(
        "[logs]\nlevel = \"trace\"\n{}[pools.p]\ntargets = [\"a/m-a\"]\n",
        provider("a", &a)
    );
    let mut gateway = Process::start_unheard(&config).await;
    let mut client = Talkative::connect(&gateway).await;
    let heard = client.quickest(20).await;
    assert_eq!(gateway.metric(DROPPED).await, 0, "the pipe is full already");
    while gateway.metric(DROPPED).await == 0 {
        assert!(client.asked < 5_000, "the log never filled");
        client.quickest(50).await;
    }
    let before = gateway.metric(DROPPED).await;
    let unheard = client.quickest(100).await;
    let dropped = gateway.metric(DROPPED).await;
    assert!(dropped > before, "{before} to {dropped}");
    assert!(
        unheard < heard * 3 + Duration::from_millis(10),
        "{heard:?} became {unheard:?}"
    );
    // A crash is told in the log as well; one that wrote past it would hold its worker here for good.
    for crashes in 1..=3 {
        admin_post(&gateway, &format!("/admin/kill?path={ACTOR}&how=panic")).await;
        let again = async {
            while restarts(&gateway).await < crashes {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let again = timeout(Duration::from_secs(10), again).await;
        again.expect("who crashed waits for the log");
        client.ask().await;
    }
    // What is newest is there for whoever reads again.
    admin_post(&gateway, "/admin/reload").await;
    let log = BufReader::new(gateway.standard_error());
    let reading = tokio::task::spawn_blocking(move || {
        let mut lines = log.lines().map_while(Result::ok);
        lines.any(|line| line.contains("configuration reload asked for"))
    });
    let found = timeout(Duration::from_secs(20), reading).await;
    assert!(found.expect("the newest line was dropped").unwrap());
    // The last outcomes are written by nobody who waits.
    sleep(Duration::from_millis(300)).await;
    gateway.kill();
    let report = verify(&gateway.folder.path().join("journal")).unwrap();
    assert!(report.intact() && report.open == 0, "{report}");
    assert_eq!(report.intents, client.asked, "{report}");
}
