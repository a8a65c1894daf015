//! What a provider's account sells at: the tier it serves in.

use std::time::Duration;

use switchyard_chaos::mock::{Behaviour, MockProvider};

use crate::frame::{Gateway, mock, provider};
use crate::money::{MILLI, USED, answer_body, asked, reserve, usd};

/// One model that costs a thousandth of a dollar a token, and twice as much in the priority tier.
pub fn prices() -> std::path::PathBuf {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let prices = "[a.\"m-a\"]\ncan = [\"chat\"]\ncontext = 100000\noutput_limit = 1000\nprice = { input = \"1000\", output = \"1000\" }\ntiers = { priority = \"2\" }\nconfirmed = \"a test\"\n";
    std::fs::write(&file, prices).unwrap();
    file.keep().unwrap()
}

/// `terms` stand in the client's table, `provider` in that of `a`.
pub async fn gateway(a: &MockProvider, terms: &str, of_a: &str) -> Gateway {
    let config = format!(
        "{terms}\n{}{of_a}\n[pools.p]\ntargets = [\"a/m-a\"]\n[registry]\nfile = \"{}\"\n",
        provider("a", a),
        prices().display()
    );
    Gateway::start(&config).await
}

fn in_priority() -> Behaviour {
    let mut body = answer_body();
    body["service_tier"] = "priority".into();
    Behaviour::status(200).json(&body)
}

async fn served_at_once(gateway: &Gateway) -> usize {
    let body = asked();
    let answers = futures_util::future::join_all((0..30).map(|_| gateway.post(&body))).await;
    answers
        .iter()
        .filter(|answer| answer.status() == 200)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_an_account_that_serves_in_priority_unasked_never_overspends_a_budget() {
    let a = mock("a").await;
    a.set(in_priority().delayed(Duration::from_millis(400)));
    let each = reserve(&asked()) * 2;
    let budget = usd(each * 7 + each / 2);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"total\" }}]");
    let gateway = gateway(&a, &terms, "service_tier = \"priority\"").await;
    assert_eq!(served_at_once(&gateway).await, 7);
    let records = gateway.records().await;
    let outcome = records.iter().find(|record| record["kind"] == "outcome");
    assert_eq!(outcome.unwrap()["cost_nano"], USED * MILLI * 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_tier_that_an_answer_tells_unasked_is_set_aside_from_then_on() {
    let a = mock("a").await;
    a.set(in_priority().delayed(Duration::from_millis(400)));
    let each = reserve(&asked()) * 2;
    let budget = usd(USED * MILLI * 2 + each * 7 + each / 2);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"total\" }}]");
    let gateway = gateway(&a, &terms, "").await;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    assert_eq!(served_at_once(&gateway).await, 7);
}
