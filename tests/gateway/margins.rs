//! What is charged and what a provider bills are two figures, and neither is lost.

use std::time::Duration;

use serde_json::{Value, json};

use switchyard_chaos::client::Client;

use crate::frame::{Gateway, mock, provider};
use crate::money::{MILLI, USED, answer, asked, gateway, prices, reserve, usd};
use crate::process::Process;

const FIFTH: &str = "[[pricing.margins]]\npercent = \"20\"\n";

async fn purse(gateway: &Gateway, account: usize) -> Value {
    let view = gateway.admin_get("/admin/tenants").await;
    view["tenants"][0]["accounts"][account]["budgets"][0].clone()
}

async fn line(gateway: &Gateway, by: &str) -> Value {
    let report = gateway.admin_get(&format!("/admin/spend?by={by}")).await;
    report["lines"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_margin_is_charged_and_the_providers_bill_stays_what_it_is() {
    let a = mock("a").await;
    a.set(answer());
    let terms = "budgets = [{ usd = \"100\", period = \"month\" }]";
    let tag = "[tenants.default.tags.nightly]\nbudgets = [{ usd = \"9\", period = \"month\" }]\n";
    let mut gateway = gateway(&[&a], terms, &format!("{FIFTH}{tag}")).await;
    let mut client = gateway.client().await;
    let mut headers = crate::frame::auth();
    headers.push(("x-switchyard-tags".to_owned(), "nightly".to_owned()));
    let mut body = asked();
    body["usage"] = json!({"include": true});
    let told = client
        .post_json(crate::frame::PATH, &headers, &body)
        .await
        .unwrap();
    assert_eq!(told.header("x-switchyard-cost"), Some("0.0132"));
    assert_eq!(told.json()["usage"]["cost"], 0.0132);
    let records = gateway.records().await;
    let of = |kind: &str| {
        records
            .iter()
            .find(|record| record["kind"] == kind)
            .unwrap()
    };
    assert_eq!(of("attempt")["cost_nano"], USED * MILLI);
    assert_eq!(of("outcome")["cost_nano"], USED * MILLI);
    assert_eq!(of("outcome")["charged_nano"], USED * MILLI * 6 / 5);
    for account in [0, 1] {
        assert_eq!(purse(&gateway, account).await["spent_usd"], "0.0132");
    }
    gateway.booked(1).await;
    gateway.restart().await;
    // The budgets remember what was charged, not what was billed.
    for account in [0, 1] {
        assert_eq!(purse(&gateway, account).await["spent_usd"], "0.0132");
    }
    for by in ["tenant", "client", "tag", "day"] {
        let line = line(&gateway, by).await;
        assert_eq!(line["cost_usd"], "0.011", "{by}");
        assert_eq!(line["charged_usd"], "0.0132", "{by}");
    }
    let report = gateway.admin_get("/admin/spend").await;
    let behind = report["behind_seconds"].as_f64();
    assert!(behind.is_some_and(|behind| behind < 30.0), "{report}");
    assert!(report["booked_until_ms"].as_u64() > Some(1_700_000_000_000));
    let provider = line(&gateway, "provider").await;
    assert_eq!(provider["cost_usd"], "0.011");
    assert_eq!(provider.get("charged_usd"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_budget_lets_in_no_more_than_it_pays_for_with_the_margin() {
    let a = mock("a").await;
    a.set(answer().delayed(Duration::from_millis(400)));
    let each = reserve(&asked()) * 6 / 5;
    let budget = usd(each * 7 + each / 2);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"total\" }}]");
    let gateway = gateway(&[&a], &terms, FIFTH).await;
    let body = asked();
    let answers = futures_util::future::join_all((0..30).map(|_| gateway.post(&body))).await;
    let served = answers.iter().filter(|answer| answer.status() == 200);
    assert_eq!(served.count(), 7);
    assert_eq!(a.log().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_the_first_margin_that_fits_tenant_and_pool_is_added_and_without_one_nothing_is() {
    let a = mock("a").await;
    a.set(answer());
    let margins = "[tenants.acme]\n[[pricing.margins]]\ntenant = \"acme\"\npercent = \"900\"\n[[pricing.margins]]\npool = \"p*\"\nusd_per_million_tokens = \"2\"\n[[pricing.margins]]\npool = \"p\"\npercent = \"50\"\n";
    let gateway = gateway(&[&a], "", margins).await;
    let cost = |model: &str| {
        let mut body = asked();
        body["model"] = model.into();
        let gateway = &gateway;
        async move {
            let answer = gateway.post(&body).await;
            answer.header("x-switchyard-cost").map(str::to_owned)
        }
    };
    assert_eq!(cost("p").await.as_deref(), Some("0.011022"));
    assert_eq!(cost("m-a").await.as_deref(), Some("0.011"));
    // Where nothing is added the journal says nothing of it.
    let records = gateway.records().await;
    let charged = |record: &&Value| record.get("charged_nano").is_some();
    let of: Vec<&Value> = records
        .iter()
        .filter(charged)
        .map(|record| &record["kind"])
        .collect();
    assert_eq!(of, ["attempt", "outcome"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_killed_requests_margin_is_charged_and_not_booked_as_its_providers_bill() {
    let a = mock("a").await;
    a.set(answer().delayed(Duration::from_secs(60)));
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{}{FIFTH}[tenants.default]\nbudgets = [{{ usd = \"100\", period = \"month\" }}]\n[pools.p]\ntargets = [\"a/m-a\"]\n[registry]\nfile = \"{}\"\n",
        provider("a", &a),
        prices().display()
    );
    let gateway = Process::start("ulimit -c 0", &config).await;
    let mut client = Client::connect(gateway.address).await.unwrap();
    let asking = tokio::spawn(async move {
        let _ = client
            .post_json(crate::frame::PATH, &crate::frame::auth(), &asked())
            .await;
    });
    for _ in 0..500 {
        if a.requests() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let gateway = gateway.killed_and_started_again().await;
    asking.abort();
    let mut admin = Client::connect(gateway.admin).await.unwrap();
    let mut line = Value::Null;
    for _ in 0..500 {
        let path = "/admin/spend?by=tenant";
        let report = admin
            .get(path, &crate::frame::admin_auth())
            .await
            .unwrap()
            .json();
        line = report["lines"][0].clone();
        if line["requests"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let plain = |nanos: u64| {
        let text = usd(nanos);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    assert_eq!(line["cost_usd"], plain(reserve(&asked())), "{line}");
    assert_eq!(line["estimated_nano"], reserve(&asked()), "{line}");
    assert_eq!(line["charged_usd"], plain(reserve(&asked()) * 6 / 5));
}
