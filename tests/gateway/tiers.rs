//! What a provider's account sells at: the tier it serves in, and what it takes off for who buys much.

use std::time::Duration;

use switchyard_chaos::mock::{Behaviour, MockProvider};

use crate::frame::{Gateway, mock, provider};
use crate::money::{MILLI, USED, answer, answer_body, asked, reserve, usd};

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

/// What the attempts cost, and what they would have without a discount.
async fn sold(gateway: &Gateway) -> Vec<(u64, Option<u64>)> {
    let records = gateway.records().await;
    let attempts = records.iter().filter(|record| record["kind"] == "attempt");
    attempts
        .map(|attempt| {
            let cost = attempt["cost_nano"].as_u64().unwrap();
            (cost, attempt["list_nano"].as_u64())
        })
        .collect()
}

/// Half the price from the third answer on.
pub const HALF: &str = "volume = [{ from_usd = \"0.022\", discount_percent = \"50\" }]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_month_of_much_is_cheaper_from_its_threshold_on_and_after_a_restart_still() {
    let a = mock("a").await;
    a.set(answer());
    let budget = "budgets = [{ usd = \"100\", period = \"month\" }]";
    let mut gateway = gateway(&a, budget, HALF).await;
    let full = USED * MILLI;
    let mut told = Vec::new();
    for _ in 0..3 {
        let answer = gateway.post(&asked()).await;
        told.push(answer.header("x-switchyard-cost").unwrap().to_owned());
    }
    assert_eq!(told, ["0.011", "0.011", "0.0055"]);
    gateway.booked(3).await;
    gateway.restart().await;
    let answer = gateway.post(&asked()).await;
    assert_eq!(answer.header("x-switchyard-cost"), Some("0.0055"));
    assert_eq!(answer.header("x-switchyard-estimated"), None);
    let half = (full / 2, Some(full));
    assert_eq!(
        sold(&gateway).await,
        [(full, None), (full, None), half, half]
    );
    let view = gateway.admin_get("/admin/tenants").await;
    let spent = &view["tenants"][0]["accounts"][0]["budgets"][0]["spent_usd"];
    assert_eq!(spent, "0.033");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_what_nobody_counted_is_neither_cheaper_nor_bought() {
    let a = mock("a").await;
    let untold = || {
        let mut body = answer_body();
        body.as_object_mut().unwrap().remove("usage");
        Behaviour::status(200).json(&body)
    };
    a.set(untold());
    let mut gateway = gateway(&a, "", HALF).await;
    for _ in 0..3 {
        let answer = gateway.post(&asked()).await;
        assert!(answer.header("x-switchyard-estimated").is_some());
    }
    a.set(answer());
    let full = USED * MILLI;
    gateway.post(&asked()).await;
    gateway.booked(4).await;
    gateway.restart().await;
    for _ in 0..2 {
        gateway.post(&asked()).await;
    }
    a.set(untold());
    gateway.post(&asked()).await;
    let sold = sold(&gateway).await;
    let guessed = sold[0];
    assert_eq!(guessed.1, None);
    let half = (full / 2, Some(full));
    let wanted = [
        guessed,
        guessed,
        guessed,
        (full, None),
        (full, None),
        half,
        guessed,
    ];
    assert_eq!(sold, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_discount_that_a_reload_takes_away_and_brings_back_is_none_the_smaller() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = gateway(&a, "", HALF).await;
    let with = std::fs::read_to_string(gateway.config_path()).unwrap();
    let full = USED * MILLI;
    gateway.post(&asked()).await;
    for config in [with.replace(HALF, ""), with] {
        std::fs::write(gateway.config_path(), config).unwrap();
        assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
        gateway.post(&asked()).await;
    }
    // The one between them was bought, too.
    let half = (full / 2, Some(full));
    assert_eq!(sold(&gateway).await, [(full, None), (full, None), half]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_of_many_answers_at_once_each_is_billed_in_exactly_one_step_in_the_journals_order() {
    let a = mock("a").await;
    a.set(answer().delayed(Duration::from_millis(200)));
    let gateway = gateway(&a, "", HALF).await;
    assert_eq!(served_at_once(&gateway).await, 30);
    let full = USED * MILLI;
    let sold = sold(&gateway).await;
    assert_eq!(sold[..2], [(full, None), (full, None)]);
    assert_eq!(sold[2..], [(full / 2, Some(full)); 28]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_what_is_set_aside_is_the_price_without_a_discount() {
    let a = mock("a").await;
    a.set(answer().delayed(Duration::from_millis(400)));
    let each = reserve(&asked());
    let budget = usd(USED * MILLI + each * 7 + each / 2);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"total\" }}]");
    let half = HALF.replace("0.022", "0");
    let gateway = gateway(&a, &terms, &half).await;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    // The first left half of what it was let in for.
    assert_eq!(served_at_once(&gateway).await, 7);
}
