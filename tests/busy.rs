//! O10: while every worker computes, whoever looks after the process still gets an answer.
//!
//! A test binary of its own: it takes the machine's cores, and other tests have limits to keep.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "a test crate: a broken step is a failed test, and the frame is more than is used here"
)]

#[path = "gateway/frame.rs"]
mod frame;

use std::time::Duration;

use switchyard_chaos::client::Client;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use frame::{Gateway, alone, mock};

/// Within this the admin listener answers (fault O10).
const LIMIT: Duration = Duration::from_millis(250);

/// How long an answer took; `None` when it did not come in time.
async fn asked(address: std::net::SocketAddr, path: &str) -> Option<Duration> {
    let begun = Instant::now();
    let answer = timeout(LIMIT, async {
        let mut client = Client::connect(address).await.unwrap();
        client.get(path, &[]).await.unwrap()
    })
    .await
    .ok()?;
    assert_eq!(answer.status(), 200, "{path}");
    assert!(!answer.body.is_empty(), "{path}");
    Some(begun.elapsed())
}

/// Keeps every worker of `runtime` computing without a pause for `time`.
fn occupy(runtime: &Runtime, workers: usize, time: Duration) {
    let until = Instant::now() + time;
    for _ in 0..workers {
        runtime.spawn(async move {
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        });
    }
}

#[test]
fn o10_live_ready_and_metrics_answer_while_every_worker_is_busy() {
    const WORKERS: usize = 2;
    let workers = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let mut gateway: Gateway = workers.block_on(async {
        let a = mock("a").await;
        alone(&a, "").await
    });
    let (data, admin) = (gateway.address, gateway.admin);
    let watcher = Builder::new_current_thread().enable_all().build().unwrap();
    watcher.block_on(async {
        assert!(asked(data, "/live").await.is_some(), "before");
        let begun = Instant::now();
        let busy_for = Duration::from_millis(2_500);
        occupy(&workers, WORKERS, busy_for);
        sleep(Duration::from_millis(50)).await;
        let mut took = Vec::new();
        for _ in 0..5 {
            for path in ["/live", "/ready", "/metrics"] {
                took.push(asked(admin, path).await);
            }
        }
        // Who waits for the workers waits: they are busy indeed.
        assert_eq!(asked(data, "/live").await, None);
        assert!(begun.elapsed() < busy_for, "measured too late");
        let late = took.iter().filter(|took| took.is_none()).count();
        // The machine itself may be busy too, once.
        assert!(late <= 1, "{late} of {} were late: {took:?}", took.len());
        sleep(busy_for.saturating_sub(begun.elapsed())).await;
    });
    workers.block_on(async {
        assert!(asked(data, "/live").await.is_some(), "afterwards");
        gateway.stop().await;
        // The thread ends with the gateway.
        let ended = timeout(Duration::from_secs(2), async {
            while Client::connect(admin).await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        });
        ended
            .await
            .expect("the admin listener outlives the gateway");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o10_the_admin_listener_comes_back_on_its_thread_when_its_keeper_is_killed() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let before = gateway.actor("root/edge").await["restarts"].clone();
    let killed = gateway
        .admin_post("/admin/kill?path=root/edge&how=panic")
        .await;
    assert!(killed.status() < 300, "{}", killed.json());
    timeout(Duration::from_secs(5), async {
        while gateway.actor("root/edge").await["restarts"] == before {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert!(asked(gateway.admin, "/live").await.is_some());
    assert_eq!(gateway.ask("p").await.status(), 200);
}
