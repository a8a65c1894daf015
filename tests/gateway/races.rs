//! Two legs: the first content wins, the other is cancelled and settled (S05 to S07, F5).

use std::time::Duration;

use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, PATH, auth, chat, mock, provider};

/// How long after the winner's first content the loser saw its client leave.
async fn one_race(
    gateway: &Gateway,
    a: &MockProvider,
    b: &MockProvider,
    race: u64,
    (fields, body): (&[(String, String)], &serde_json::Value),
) -> Duration {
    let mut client = gateway.client().await;
    let stream = client.stream(PATH, fields, body).await.unwrap();
    let stream = stream.collect().await.unwrap();
    assert!(stream.is_done());
    let origin = switchyard_chaos::canary::verify(&stream.text(Dialect::OpenAi)).unwrap();
    assert_eq!(origin.mock, "b");
    assert_eq!(stream.head.header("x-switchyard-race"), Some("second"));
    let lost = a
        .wait_for_close(race, Duration::from_secs(1))
        .await
        .expect("the loser was not cancelled");
    let (left_at, _) = lost.left.expect("the loser saw nobody leave");
    // Each mock counts from its own beginning.
    let apart = a.now().saturating_sub(b.now());
    let apart_back = b.now().saturating_sub(a.now());
    let won_at = b.last().unwrap().first_content_at.unwrap();
    (left_at + apart_back).saturating_sub(won_at + apart)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s06_the_first_content_wins_and_the_loser_is_cancelled_within_50_ms() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 100000 }}, {{ target = \"b/m-b\", weight = 0.001 }}]\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    a.set(Behaviour::healthy().delayed(Duration::from_secs(3)));
    let mut fields = auth();
    fields.push(("x-switchyard-race".to_owned(), "dual".to_owned()));
    let mut body = chat("p");
    body["stream"] = true.into();
    // A machine that is busy with other tests may be late once, and not every time.
    let mut quickest = Duration::MAX;
    for race in 1..=3 {
        let took = one_race(&gateway, &a, &b, race, (&fields, &body)).await;
        quickest = quickest.min(took);
    }
    assert!(
        quickest <= Duration::from_millis(50),
        "cancelled after {quickest:?}"
    );
    let metrics = gateway.metrics().await;
    assert!(
        metrics.contains("switchyard_race_total{win=\"second\"}"),
        "{metrics}"
    );
    let attempts: Vec<_> = gateway
        .records()
        .await
        .into_iter()
        .filter(|record| record["kind"] == "attempt")
        .collect();
    assert_eq!(attempts.len(), 6);
    assert_eq!(
        attempts
            .iter()
            .filter(|attempt| attempt["won"] == true)
            .count(),
        3,
        "{attempts:?}"
    );
    assert!(
        attempts
            .iter()
            .any(|attempt| attempt["outcome"] == "cancelled")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s05_when_one_leg_dies_the_other_carries_on_alone() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\nrace = \"always\"\ntargets = [\"a/m-a\", \"b/m-b\"]\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    a.set(Behaviour::status(500).delayed(Duration::from_millis(30)));
    b.set(Behaviour::healthy().delayed(Duration::from_millis(80)));
    for _ in 0..4 {
        let answer = gateway.ask("p").await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert_eq!(answer.header("x-switchyard-provider"), Some("b"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s07_a_slow_first_leg_is_hedged_at_the_learnt_p95_within_the_budget() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\nhedge = true\nhedge_budget_share = 0.5\ntargets = [\"a/m-a\", \"b/m-b\"]\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..60 {
        gateway.ask("p").await;
    }
    // The strategy learns once a second.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    a.set(Behaviour::healthy().delayed(Duration::from_secs(2)));
    b.set(Behaviour::healthy().delayed(Duration::from_secs(2)));
    b.script(vec![Behaviour::healthy()]);
    a.script(Vec::new());
    let begun = tokio::time::Instant::now();
    let answers = futures_util::future::join_all((0..2).map(|_| gateway.ask("p"))).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let metrics = gateway.metrics().await;
    assert!(
        metrics.contains("switchyard_race_total"),
        "no second leg in {:?}",
        begun.elapsed()
    );
}

/// A second leg is an attempt like any other, and what the first to fail teaches is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g4_a_race_makes_no_more_attempts_than_are_allowed() {
    let names = ["a", "b", "c", "d"];
    let mut mocks = Vec::new();
    let mut config = String::new();
    for name in names {
        let mock = mock(name).await;
        mock.set(fault::p10(Dialect::OpenAi));
        config += &provider(name, &mock);
        mocks.push(mock);
    }
    config +=
        "[pools.p]\nrace = \"always\"\ntargets = [\"a/m-a\", \"b/m-b\", \"c/m-c\", \"d/m-d\"]\n";
    let gateway = Gateway::start(&config).await;
    let answer = gateway.ask("p").await;
    assert!(answer.status() >= 500);
    let asked: u64 = mocks.iter().map(MockProvider::requests).sum();
    assert!(asked <= 3, "{asked} attempts of 3");
    assert!(
        mocks.iter().all(|mock| mock.requests() <= 1),
        "a target that had failed was met again while others were left"
    );
}
