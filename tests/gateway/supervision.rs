//! Section 6 of the fault catalogue: any actor may crash under load, and it costs at most the request
//! that met the crash (X01 to X06).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use switchyard_chaos::fault;
use switchyard_chaos::load::{Load, Shape};
use switchyard_chaos::mock::{Behaviour, Dialect};

use crate::frame::{Gateway, PATH, alone, alone_with, auth, chat, code_of, mock, pair};

async fn injected(gateway: &Gateway, path: &str, how: &str) {
    let path = path.replace('#', "%23");
    let answer = gateway
        .admin_post(&format!("/admin/kill?path={path}&how={how}"))
        .await;
    assert_eq!(answer.status(), 200, "{path} {how}: {}", answer.json());
}

const CONNECTIONS: u64 = 6;

fn load(gateway: &Gateway, millis: u64) -> Load {
    let mut load = Load::new(gateway.address, PATH, chat("p").to_string());
    load.fields.extend(auth());
    load.connections = CONNECTIONS as usize;
    load.shape = Shape::Closed;
    load.duration = Duration::from_millis(millis);
    load
}

async fn restarted(gateway: &Gateway, path: &str, before: u64) -> Value {
    for _ in 0..200 {
        let actor = gateway.actor(path).await;
        if actor["restarts"].as_u64().unwrap_or_default() > before && actor["state"] == "running" {
            return actor;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{path} was not restarted: {}", gateway.actor(path).await);
}

/// How many requests were lost while an actor crashed under load, and how all of them ended.
async fn lost_by(gateway: &Gateway, path: &str, how: &str) -> (u64, BTreeMap<u16, u64>) {
    let before = gateway.actor(path).await["restarts"].as_u64().unwrap();
    let running = tokio::spawn(load(gateway, 250).run());
    tokio::time::sleep(Duration::from_millis(100)).await;
    injected(gateway, path, how).await;
    restarted(gateway, path, before).await;
    let report = running.await.unwrap();
    let good = report.with_status(200);
    assert!(good > 5, "{path} {how}: only {good} answers");
    let refused = report.statuses.iter().filter(|(status, _)| **status != 200);
    let lost = report.failed() + refused.map(|(_, count)| count).sum::<u64>();
    (lost, report.statuses)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x02_x04_every_actor_may_crash_under_load_and_no_request_is_lost() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    for path in [
        "root/providers/a/k0",
        "root/providers/a",
        "root/pools/p",
        "root/pools/p#race",
        "root/router",
        "root/journal",
        "root/settings",
        "root/telemetry",
        "root/pools",
        "root/providers",
    ] {
        for how in ["panic", "kill"] {
            // A machine that is busy with other things may hold up a restart as well; what is lost by each crash is
            // lost again.
            let first = lost_by(&gateway, path, how).await;
            assert!(first.0 <= CONNECTIONS, "{path} {how}: {first:?}");
            if first.0 > 1 {
                let second = lost_by(&gateway, path, how).await;
                assert!(second.0 <= 1, "{path} {how}: {first:?}, then {second:?}");
            }
            assert_eq!(gateway.ask("p").await.status(), 200, "{path} {how}");
        }
        // The restart intensity is counted over thirty seconds; what follows must not be the sixth crash.
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x02_a_crashed_provider_and_key_keep_breaker_and_cooldown() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    a.set(fault::p01(Dialect::OpenAi, 60));
    gateway.ask("p").await;
    injected(&gateway, "root/providers/a/k0", "panic").await;
    restarted(&gateway, "root/providers/a/k0", 0).await;
    let before = a.requests();
    for _ in 0..5 {
        assert_eq!(
            gateway.ask("p").await.header("x-switchyard-provider"),
            Some("b")
        );
    }
    assert_eq!(a.requests(), before, "the cooldown was forgotten");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("switchyard_actor_restarts_total{actor=\"key\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x02_streams_under_way_do_not_notice_a_crash() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let weather = crate::frame::quick()
        .tokens(40)
        .gap(Duration::from_millis(10));
    a.weather(weather);
    let stream = gateway.stream("p");
    let crash = async {
        tokio::time::sleep(Duration::from_millis(120)).await;
        for path in ["root/pools/p", "root/providers/a", "root/router"] {
            injected(&gateway, path, "panic").await;
        }
    };
    let (stream, ()) = tokio::join!(stream, crash);
    assert!(stream.is_done());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x03_too_many_crashes_disable_that_subtree_only() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    for _ in 0..6 {
        let before = gateway.actor("root/providers/a").await["restarts"]
            .as_u64()
            .unwrap();
        injected(&gateway, "root/providers/a", "panic").await;
        for _ in 0..200 {
            let actor = gateway.actor("root/providers/a").await;
            if actor["state"] == "disabled"
                || actor["restarts"].as_u64().unwrap() > before && actor["state"] == "running"
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(gateway.actor("root/providers/a").await["state"], "disabled");
    assert_eq!(gateway.actor("root/providers/b").await["state"], "running");
    assert_eq!(gateway.ask("p").await.status(), 200);
    let records = gateway.records().await;
    assert!(
        records
            .iter()
            .any(|record| record["name"] == "subtree.disabled")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x05_an_actor_that_hangs_is_killed_and_replaced() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    injected(&gateway, "root/pools/p", "hang").await;
    for _ in 0..900 {
        if gateway.actor("root/pools/p").await["restarts"]
            .as_u64()
            .unwrap()
            > 0
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(gateway.ask("p").await.status(), 200);
    assert!(
        gateway
            .metrics()
            .await
            .contains("switchyard_actor_stuck_total{actor=\"pool\"}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x09_sigterm_lets_streams_finish_and_cuts_the_rest_honestly() {
    let a = mock("a").await;
    let mut gateway = alone(&a, "").await;
    a.weather(
        crate::frame::quick()
            .tokens(15)
            .gap(Duration::from_millis(10)),
    );
    let streaming = |client: switchyard_chaos::client::Client| async move {
        let mut client = client;
        let mut body = chat("p");
        body["stream"] = true.into();
        client
            .stream(PATH, &auth(), &body)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
    };
    let finishing = tokio::spawn(streaming(gateway.client().await));
    assert!(a.wait_for(1, Duration::from_secs(2)).await);
    a.script(vec![fault::s08(3)]);
    let stuck = tokio::spawn(streaming(gateway.client().await));
    assert!(a.wait_for(2, Duration::from_secs(2)).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = tokio::time::Instant::now();
    gateway.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert!(finishing.await.unwrap().is_done());
    let stuck = stuck.await.unwrap();
    assert!(!stuck.is_done());
    assert_eq!(
        stuck.documents().last().unwrap()["error"]["code"],
        "shutting_down"
    );
}

/// Whoever has not had a word of content at the last call is told, too: in a stream whose head went out, and
/// whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x09_requests_without_content_are_told_at_the_last_call() {
    let a = mock("a").await;
    let mut gateway = alone_with(&a, "drain_ms = 300\n", "[timeouts]\nhold_head_ms = 50\n").await;
    a.set(Behaviour::healthy().delayed(Duration::from_secs(30)));
    let mut held = gateway.client().await;
    let held = tokio::spawn(async move {
        let mut body = chat("p");
        body["stream"] = true.into();
        let stream = held.stream(PATH, &auth(), &body).await.unwrap();
        stream.collect().await.unwrap()
    });
    let mut whole = gateway.client().await;
    let whole = tokio::spawn(async move { whole.post_json(PATH, &auth(), &chat("p")).await });
    assert!(a.wait_for(2, Duration::from_secs(2)).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.stop().await;
    let held = held.await.unwrap();
    assert_eq!(
        held.documents().last().unwrap()["error"]["code"],
        "shutting_down"
    );
    let whole = whole.await.unwrap().unwrap();
    assert_eq!(
        (whole.status(), code_of(&whole).as_str()),
        (503, "shutting_down")
    );
}
