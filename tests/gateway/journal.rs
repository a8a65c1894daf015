//! Ground rule G8: every request is in the journal, in whole, without its text.

use switchyard::store::journal::verify;
use switchyard_chaos::fault;
use switchyard_chaos::mock::Dialect;

use crate::frame::{mock, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_each_request_has_one_intent_its_attempts_and_one_outcome() {
    let (a, b) = (mock("a").await, mock("b").await);
    let mut gateway = pair(&a, &b, "").await;
    a.set(fault::p08(Dialect::OpenAi));
    gateway.ask("p").await;
    gateway.stream("p").await;
    let records = gateway.records().await;
    let of = |kind: &str| {
        records
            .iter()
            .filter(|record| record["kind"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (intents, attempts, outcomes) = (of("intent"), of("attempt"), of("outcome"));
    assert_eq!((intents.len(), outcomes.len()), (2, 2), "{records:?}");
    assert!(attempts.len() >= 3);
    assert_eq!(attempts[0]["outcome"], "overloaded");
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome["how"] == "ok" && outcome["provider"] == "b")
    );
    assert!(outcomes[0]["usage"]["output"].as_u64().unwrap() > 0);
    let order: Vec<_> = records
        .iter()
        .filter(|record| record["request"] == intents[0]["request"])
        .map(|record| record["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(order.first().map(String::as_str), Some("intent"));
    assert_eq!(order.last().map(String::as_str), Some("outcome"));
    gateway.stop().await;
    let report = verify(&gateway.folder.path().join("journal")).unwrap();
    assert!(report.intact() && report.open == 0, "{report}");
}
