//! What may be spent at a provider (row R5): when it is spent, traffic goes elsewhere, and not a cent is spent twice.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::mock::{Behaviour, MockProvider};

use crate::frame::{Gateway, code_of, mock, provider};
use crate::money::{MILLI, USED, answer, asked, prices, reserve, usd};

/// Pool `p` would rather have `a`, whose table has these terms, than `b`.
async fn gateway(a: &MockProvider, b: &MockProvider, terms: &str) -> Gateway {
    let prices = prices();
    let config = format!(
        "{}{terms}\n{}[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 100000 }}, {{ target = \"b/m-b\", weight = 0.001 }}]\n[pools.alone]\ntargets = [\"a/m-a\"]\n[registry]\nfile = \"{}\"\n",
        provider("a", a),
        provider("b", b),
        prices.display()
    );
    Gateway::start(&config).await
}

async fn two() -> (MockProvider, MockProvider) {
    let (a, b) = (mock("a").await, mock("b").await);
    a.set(answer());
    b.set(answer());
    (a, b)
}

async fn budgets_of_a(gateway: &Gateway) -> Value {
    let view = gateway.admin_get("/admin/tenants").await;
    view["providers"][0]["budgets"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_credit_that_is_spent_sends_traffic_elsewhere_to_the_last_request() {
    let (a, b) = two().await;
    // Room for three answers and for what a fourth would set aside, all but a trifle.
    let credit = USED * MILLI * 3 + reserve(&asked()) - 1;
    let gateway = gateway(&a, &b, &format!("credit = \"{}\"", usd(credit))).await;
    let mut served = Vec::new();
    for _ in 0..6 {
        let answer = gateway.post(&asked()).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        served.push(answer.header("x-switchyard-provider").unwrap().to_owned());
    }
    assert_eq!(served, ["a", "a", "a", "b", "b", "b"]);
    let budgets = budgets_of_a(&gateway).await;
    assert_eq!(budgets[0]["spent_usd"], "0.033", "{budgets}");
    assert_eq!(budgets[0]["reserved_usd"], "0", "{budgets}");
    let explained = gateway
        .admin_get("/admin/explain?model=alone&tokens=100")
        .await;
    let removed = &explained["chain"][0]["targets"][0]["removed"];
    assert_eq!(removed, "budget at the provider spent", "{explained}");
    // Who has nowhere else to go is told whose money it is.
    let mut body = asked();
    body["model"] = "alone".into();
    let refused = gateway.post(&body).await;
    let told = (refused.status(), code_of(&refused));
    assert_eq!(told, (503, "provider_quota".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_of_many_at_once_no_more_go_there_than_the_credit_pays_for() {
    let (a, b) = two().await;
    a.set(answer().delayed(Duration::from_millis(500)));
    let affordable = 7;
    let credit = reserve(&asked()) * affordable + reserve(&asked()) / 2;
    let gateway = gateway(&a, &b, &format!("credit = \"{}\"", usd(credit))).await;
    let body = asked();
    let asking = (0..60).map(|_| gateway.post(&body));
    let answers = futures_util::future::join_all(asking).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(a.requests(), affordable);
    assert_eq!(b.requests(), 60 - affordable);
    let budgets = budgets_of_a(&gateway).await;
    let spent = USED * MILLI * affordable;
    assert_eq!(
        budgets[0]["spent_usd"],
        usd(spent).trim_end_matches('0'),
        "{budgets}"
    );
    assert_eq!(budgets[0]["reserved_usd"], "0", "{budgets}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_what_was_spent_is_known_after_a_restart_also_for_attempts_that_others_answered() {
    let (a, b) = two().await;
    let terms = "budgets = [{ usd = \"100\", period = \"month\" }]";
    let mut gateway = gateway(&a, &b, terms).await;
    for _ in 0..3 {
        gateway.post(&asked()).await;
    }
    // It takes the prompt and answers with nothing: it may bill, and `b` answers.
    a.set(Behaviour::status(200).json(&json!({"object": "chat.completion"})));
    let answer = gateway.post(&asked()).await;
    assert_eq!(answer.header("x-switchyard-provider"), Some("b"));
    let before = budgets_of_a(&gateway).await[0]["spent_usd"].clone();
    let dollars: f64 = before.as_str().unwrap().parse().unwrap();
    assert!(
        dollars > 0.033,
        "what was begun at a costs nothing: {before}"
    );
    gateway.booked(4).await;
    gateway.restart().await;
    let after = budgets_of_a(&gateway).await[0]["spent_usd"].clone();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_credit_that_is_topped_up_serves_again_and_one_without_a_price_never_does() {
    let (a, b) = two().await;
    let gateway = gateway(&a, &b, "credit = \"0.000001\"").await;
    let by = async || {
        let answer = gateway.post(&asked()).await;
        answer.header("x-switchyard-provider").unwrap().to_owned()
    };
    assert_eq!(by().await, "b");
    let path = gateway.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("0.000001", "50")).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    let mut served = by().await;
    for _ in 0..100 {
        if served == "a" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        served = by().await;
    }
    assert_eq!(served, "a");
    let mut body = asked();
    body["model"] = "a/nobody-priced-this".into();
    let refused = gateway.post(&body).await;
    let told = (refused.status(), code_of(&refused));
    assert_eq!(told, (402, "price_unknown".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_what_is_only_set_aside_is_waited_for() {
    let (a, b) = two().await;
    a.set(answer().delayed(Duration::from_millis(40)));
    // Each costs a fraction of what is set aside for it, and two of those fit at once.
    let credit = USED * MILLI * 12 + reserve(&asked()) * 2;
    let gateway = gateway(&a, &b, &format!("credit = \"{}\"", usd(credit))).await;
    let mut body = asked();
    body["model"] = "alone".into();
    let asking = (0..12).map(|_| gateway.post(&body));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    assert!(a.most_in_flight() <= 3, "{}", a.most_in_flight());
}
