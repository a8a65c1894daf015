//! The load generator against a mock: it counts right, charges waits, and stops.

use super::*;
use crate::mock::{Behaviour, Dialect, Fast, MockOptions, MockProvider};

fn load(mock: &MockProvider) -> Load {
    let body = mock.dialect().sample_request("hello", false).to_string();
    Load {
        requests: 200,
        duration: Duration::from_secs(20),
        ..Load::new(mock.address(), mock.dialect().path(), body)
    }
}

#[tokio::test]
async fn a_closed_loop_sends_exactly_the_wanted_number_over_kept_connections() {
    let mock = MockProvider::start(MockOptions {
        fast: Some(Fast::default()),
        ..MockOptions::default()
    })
    .await
    .unwrap();
    let report = load(&mock).run().await;
    assert_eq!(
        (report.sent, report.with_status(200), report.failed()),
        (200, 200, 0),
        "{report:?}"
    );
    assert_eq!((mock.requests(), mock.connections()), (200, 8));
    assert!(
        report.latencies.p50() <= report.latencies.p99()
            && report.latencies.p99() <= report.latencies.max()
    );
    assert!(report.latencies.p50() > Duration::ZERO);
}

#[tokio::test]
async fn an_open_loop_charges_the_wait_behind_a_stall() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    // One connection, 100 requests a second; the first answer takes 300 ms, so those behind it wait.
    mock.script(vec![
        Behaviour::healthy().delayed(Duration::from_millis(300)),
    ]);
    let run = Load {
        connections: 1,
        requests: 20,
        shape: Shape::Open { per_second: 100.0 },
        ..load(&mock)
    };
    let report = run.run().await;
    assert_eq!(report.with_status(200), 20, "{report:?}");
    assert!(
        report.latencies.p50() > Duration::from_millis(100),
        "{:?}",
        report.latencies.p50()
    );
}

#[tokio::test]
async fn errors_are_named_and_a_check_is_heard() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.script(vec![
        crate::fault::n06(),
        crate::fault::n07(50),
        crate::fault::p01(Dialect::OpenAi, 7),
    ]);
    let check: Check = Arc::new(|answer| (answer.status() == 429).then_some("limited"));
    let report = Load {
        connections: 1,
        requests: 10,
        check: Some(check),
        ..load(&mock)
    }
    .run()
    .await;
    assert_eq!(
        report.errors,
        BTreeMap::from([("limited", 1), ("reset", 2)]),
        "{report:?}"
    );
    assert_eq!(report.statuses, BTreeMap::from([(200, 7), (429, 1)]));
}

#[tokio::test]
async fn a_run_against_a_silent_server_stops_by_itself() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.door(crate::mock::Door::Silent).await.unwrap();
    let run = Load {
        connections: 2,
        requests: 4,
        patience: Duration::from_millis(50),
        ..load(&mock)
    };
    let report = timeout(Duration::from_secs(10), run.run()).await.unwrap();
    assert_eq!(report.errors, BTreeMap::from([("silent", 4)]));
}

#[test]
fn quantiles_are_ranks_not_guesses() {
    let sorted = (1..=100).map(Duration::from_millis).collect();
    let latencies = Latencies { sorted };
    assert_eq!(latencies.p50(), Duration::from_millis(50));
    assert_eq!(latencies.p95(), Duration::from_millis(95));
    assert_eq!(latencies.p99(), Duration::from_millis(99));
    assert_eq!(latencies.quantile(0.0), Duration::from_millis(1));
    assert_eq!(latencies.quantile(1.0), Duration::from_millis(100));
    assert_eq!(Latencies::default().p99(), Duration::ZERO);
}
