//! Limits and budgets over real sockets: admitted exactly, settled once, whatever happens in between.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client};
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, MockProvider};

use crate::frame::{Gateway, PATH, alone, auth, chat, code_of, mock, provider};

/// A thousand dollars for a million tokens: a thousandth of a dollar each.
pub const MILLI: u64 = 1_000_000;
/// What every answer of these mocks is said to have used.
pub const USED: u64 = 11;

/// The file of what the models of `a` and `b` cost.
pub fn prices() -> std::path::PathBuf {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let mut prices = String::new();
    for name in ["a", "b"] {
        prices.push_str(&format!(
            "[{name}.\"m-{name}\"]\ncan = [\"chat\"]\ncontext = 100000\noutput_limit = 1000\nprice = {{ input = \"1000\", output = \"1000\" }}\nconfirmed = \"a test\"\n"
        ));
    }
    std::fs::write(&file, prices).unwrap();
    file.keep().unwrap()
}

/// A gateway whose client has these terms (of a `[[clients]]` table) and these further tables.
pub async fn gateway(mocks: &[&MockProvider], terms: &str, more: &str) -> Gateway {
    let path = prices();
    let names = ["a", "b"];
    let providers: String = names
        .iter()
        .zip(mocks)
        .map(|(name, mock)| provider(name, mock))
        .collect();
    let targets: Vec<String> = names
        .iter()
        .zip(mocks)
        .enumerate()
        .map(|(nth, (name, _))| {
            let weight = if nth == 0 { 100_000.0 } else { 0.001 };
            format!("{{ target = \"{name}/m-{name}\", weight = {weight} }}")
        })
        .collect();
    let config = format!(
        "{terms}\n{providers}[pools.p]\ntargets = [{}]\n{more}\n[registry]\nfile = \"{}\"\n",
        targets.join(", "),
        path.display()
    );
    Gateway::start(&config).await
}

pub fn answer() -> Behaviour {
    Behaviour::status(200).json(&answer_body())
}

pub fn answer_body() -> Value {
    json!({
        "id": "c-1", "object": "chat.completion", "created": 1, "model": "m-a",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
    })
}

pub fn asked() -> Value {
    let mut body = chat("p");
    body["max_tokens"] = 10.into();
    body
}

/// What is set aside for it: every byte might be a token.
pub fn reserve(body: &Value) -> u64 {
    (body.to_string().len() as u64 + 10) * MILLI
}

pub fn usd(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

async fn post_with(gateway: &Gateway, headers: &[(&str, &str)]) -> Answer {
    let mut all = auth();
    all.extend(
        headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let mut client = Client::connect(gateway.address).await.unwrap();
    client.post_json(PATH, &all, &asked()).await.unwrap()
}

/// The outcomes of the journal, and what they cost together.
pub async fn booked(gateway: &Gateway) -> (usize, u64) {
    let records = gateway.records().await;
    let outcomes: Vec<&Value> = records
        .iter()
        .filter(|record| record["kind"] == "outcome")
        .collect();
    let sum = outcomes
        .iter()
        .map(|outcome| outcome["cost_nano"].as_u64().unwrap())
        .sum();
    (outcomes.len(), sum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x07_an_intent_says_what_it_may_come_to_whether_or_not_a_budget_holds_it() {
    let a = mock("a").await;
    a.set(answer());
    let most = reserve(&asked());
    for (terms, held, named) in [
        ("", None, Some(most)),
        (
            "budgets = [{ usd = \"100\", period = \"day\" }]",
            Some(most),
            None,
        ),
    ] {
        let gateway = gateway(&[&a], terms, "").await;
        assert_eq!(gateway.post(&asked()).await.status(), 200);
        let records = gateway.records().await;
        let intent = records.iter().find(|record| record["kind"] == "intent");
        let intent = intent.unwrap();
        assert_eq!(intent["reserved_nano"].as_u64(), held, "{intent}");
        assert_eq!(intent["most_nano"].as_u64(), named, "{intent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a17_of_many_at_once_exactly_those_are_let_in_that_the_budget_pays_for() {
    let a = mock("a").await;
    a.set(answer().delayed(Duration::from_millis(400)));
    let affordable = 20;
    let budget = usd(reserve(&asked()) * affordable + reserve(&asked()) / 2);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"total\" }}]");
    let gateway = gateway(&[&a], &terms, "").await;
    let body = asked();
    let asking = (0..100).map(|_| gateway.post(&body));
    let answers = futures_util::future::join_all(asking).await;
    let served = answers.iter().filter(|answer| answer.status() == 200);
    assert_eq!(served.count() as u64, affordable);
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        assert_eq!(
            (answer.status(), code_of(answer).as_str()),
            (402, "budget_exceeded")
        );
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    // Settled at what it cost, so the rest of the budget is there again, and no more than that.
    let (outcomes, cost) = booked(&gateway).await;
    assert_eq!(
        (outcomes as u64, cost),
        (affordable, affordable * USED * MILLI)
    );
    assert_eq!(a.log().len(), affordable as usize);
    let again = gateway.post(&body).await;
    assert_eq!(again.status(), 200, "{}", again.json());
    assert_eq!(again.header("x-switchyard-cost"), Some("0.011"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_who_hangs_up_pays_for_what_was_begun() {
    let a = mock("a").await;
    let gateway = gateway(&[&a], "budgets = [{ usd = \"100\", period = \"day\" }]", "").await;
    a.set(answer().delayed(Duration::from_secs(5)));
    let mut body = asked();
    body["stream"] = true.into();
    for body in [asked(), body] {
        let mut client = gateway.client().await;
        let auth = auth();
        let answered = client.post_json(PATH, &auth, &body);
        let left = tokio::time::timeout(Duration::from_millis(150), answered).await;
        assert!(left.is_err(), "it was answered at once");
        drop(client);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (outcomes, cost) = booked(&gateway).await;
    assert_eq!(outcomes, 2);
    // What was to come whole goes on being written and billed when its reader has left.
    assert!(cost > reserve(&asked()), "{cost}");
    let view = gateway.admin_get("/admin/tenants").await;
    let purse = &view["tenants"][0]["accounts"][0]["budgets"][0];
    assert_eq!(purse["spent_usd"], json!(usd_short(cost)), "{view}");
    assert_eq!(purse["reserved_usd"], "0", "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a17_an_estimate_never_comes_to_more_than_the_client_allowed() {
    let a = mock("a").await;
    let gateway = gateway(&[&a], "budgets = [{ usd = \"100\", period = \"day\" }]", "").await;
    // Words of more than four bytes, and no usage behind them.
    a.set(fault::s09(9));
    let mut body = asked();
    body["stream"] = true.into();
    let answer = gateway.post(&body).await;
    assert_eq!(answer.status(), 200);
    let (outcomes, cost) = booked(&gateway).await;
    let prompt = (body.to_string().len() as u64).div_ceil(4);
    assert_eq!((outcomes, cost), (1, (prompt + 10) * MILLI));
}

fn usd_short(nanos: u64) -> String {
    let text = usd(nanos);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_request_that_the_guard_forbids_costs_nothing_and_counts_for_nothing() {
    let a = mock("a").await;
    a.set(answer());
    let terms = "requests_per_minute = 1\nbudgets = [{ usd = \"100\", period = \"day\" }]";
    let rules = "[guard]\nrequests = { card = \"block\" }\nanswers = { email = \"block\" }\n";
    let gateway = gateway(&[&a], terms, rules).await;
    let mut forbidden = asked();
    forbidden["messages"][0]["content"] = "4111 1111 1111 1111".into();
    for _ in 0..3 {
        let answer = gateway.post(&forbidden).await;
        assert_eq!(code_of(&answer), "content_blocked");
        assert_eq!(answer.header("x-switchyard-cost"), None);
    }
    assert_eq!(a.requests(), 0);
    assert_eq!(booked(&gateway).await, (0, 0));
    // The one that a minute has is still there. What its answer holds is paid for, shown or not.
    a.set(Behaviour::status(200).json(&json!({
        "id": "c-1", "object": "chat.completion", "created": 1, "model": "m-a",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a@b.de"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
    })));
    assert_eq!(code_of(&gateway.post(&asked()).await), "content_blocked");
    assert_eq!(booked(&gateway).await, (1, USED * MILLI));
    let view = gateway.admin_get("/admin/tenants").await;
    let purse = &view["tenants"][0]["accounts"][0]["budgets"][0];
    assert_eq!(
        (&purse["spent_usd"], &purse["reserved_usd"]),
        (&json!("0.011"), &json!("0")),
        "{view}"
    );
    assert_eq!(gateway.post(&asked()).await.status(), 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_model_nobody_priced_is_refused_where_a_budget_is_to_be_kept_unless_it_is_free() {
    let c = mock("c").await;
    c.set(answer());
    let terms = "budgets = [{ usd = \"1\", period = \"day\" }]\n";
    let table = provider("c", &c);
    let refused = Gateway::start(&format!("{terms}{table}")).await;
    let answer = refused.ask("m-c").await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (402, "price_unknown")
    );
    assert_eq!(c.log().len(), 0);
    let free = Gateway::start(&format!("{terms}{table}free = true\n")).await;
    let answer = free.ask("m-c").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-cost"), Some("0"));
    // Without a budget there is none to be broken; the cost is not told, and never told as nothing.
    let plain = Gateway::start(&table).await;
    let answer = plain.ask("m-c").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-switchyard-cost"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_a_clients_requests_tokens_and_concurrency_are_limited_and_told() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = gateway(&[&a], "requests_per_minute = 3", "").await;
    for left in ["2", "1", "0"] {
        let answer = gateway.post(&asked()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
    }
    let answer = gateway.post(&asked()).await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (429, "rate_limit_exceeded")
    );
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=61).contains(&wait), "{wait}");
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert_eq!(a.log().len(), 3);
    // All gateways of a test process count in one place.
    let metrics = gateway.metrics().await;
    let denied = "switchyard_tenant_denied_total{tenant=\"default\",why=\"requests\"} ";
    assert!(metrics.contains(denied), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_what_is_at_once_is_limited_and_freed_when_it_ends() {
    let a = mock("a").await;
    a.set(answer().delayed(Duration::from_millis(300)));
    let gateway = gateway(&[&a], "concurrency = 2", "").await;
    let body = asked();
    let answers = futures_util::future::join_all((0..5).map(|_| gateway.post(&body))).await;
    let served = answers
        .iter()
        .filter(|answer| answer.status() == 200)
        .count();
    assert_eq!(served, 2);
    assert_eq!(gateway.post(&body).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_team_and_organisation_and_tag_each_keep_their_own() {
    let a = mock("a").await;
    a.set(answer());
    let tables = "[tenants.acme]\nrequests_per_minute = 5\n[tenants.acme.teams.search]\nrequests_per_minute = 4\n[tenants.acme.tags.nightly]\nrequests_per_minute = 1\n";
    let gateway = gateway(&[&a], "tenant = \"acme\"\nteam = \"search\"", tables).await;
    let nightly = [("x-switchyard-tags", "nightly, other")];
    assert_eq!(post_with(&gateway, &nightly).await.status(), 200);
    let refused = post_with(&gateway, &nightly).await;
    assert_eq!(refused.status(), 429);
    assert!(
        refused.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("acme+nightly")
    );
    // What the tag refused was not counted by those above it.
    for _ in 0..3 {
        assert_eq!(post_with(&gateway, &[]).await.status(), 200);
    }
    let refused = post_with(&gateway, &[]).await;
    assert!(
        refused.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("acme/search")
    );
    let records = gateway.records().await;
    let intent = records
        .iter()
        .find(|record| record["kind"] == "intent")
        .unwrap();
    assert_eq!(intent["tenant"], "acme");
    assert_eq!(intent["team"], "search");
    assert_eq!(intent["tags"], json!(["nightly", "other"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m3_both_legs_of_a_race_are_set_aside_and_both_are_paid() {
    let (a, b) = (mock("a").await, mock("b").await);
    a.set(answer().delayed(Duration::from_millis(150)));
    b.set(answer().delayed(Duration::from_millis(150)));
    // Enough for one leg, not for two.
    let budget = usd(reserve(&asked()) * 3 / 2);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"total\" }}]");
    let gateway = gateway(&[&a, &b], &terms, "").await;
    let refused = post_with(&gateway, &[("x-switchyard-race", "dual")]).await;
    assert_eq!(code_of(&refused), "budget_exceeded");
    assert_eq!(post_with(&gateway, &[]).await.status(), 200);
    let (_, cost) = booked(&gateway).await;
    assert_eq!(cost, USED * MILLI);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m3_a_failed_attempt_that_was_billed_is_paid_beside_the_one_that_served() {
    let (a, b) = (mock("a").await, mock("b").await);
    // Answered, and of no use: the provider bills it all the same.
    a.set(Behaviour::status(200).json(&json!({"choices": []})));
    b.set(answer());
    let gateway = gateway(
        &[&a, &b],
        "budgets = [{ usd = \"100\", period = \"month\" }]",
        "",
    )
    .await;
    let answer = gateway.post(&asked()).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let (_, cost) = booked(&gateway).await;
    assert!(cost > USED * MILLI, "{cost}");
    // What the second attempt needed beside the first stands in the journal before it is sent.
    let kinds: Vec<_> = gateway.records().await;
    let kinds: Vec<_> = kinds
        .iter()
        .filter_map(|one| one["kind"].as_str())
        .collect();
    let at = |kind| kinds.iter().position(|found| *found == kind);
    assert!(
        at("attempt") < at("reserve") && at("reserve") < at("outcome"),
        "{kinds:?}"
    );
    // Refused outright costs nothing.
    a.set(Behaviour::status(500));
    let before = cost;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    assert_eq!(booked(&gateway).await.1 - before, USED * MILLI);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x16_the_books_survive_the_actor_that_keeps_them() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = gateway(
        &[&a],
        "requests_per_minute = 4\nbudgets = [{ usd = \"100\", period = \"day\" }]",
        "",
    )
    .await;
    for _ in 0..2 {
        assert_eq!(gateway.post(&asked()).await.status(), 200);
    }
    let killed = gateway
        .admin_post("/admin/kill?path=root/tenants/default&how=panic")
        .await;
    assert_eq!(killed.status(), 200, "{}", killed.json());
    for _ in 0..2 {
        assert_eq!(gateway.post(&asked()).await.status(), 200);
    }
    assert_eq!(gateway.post(&asked()).await.status(), 429);
    let view = gateway.admin_get("/admin/tenants").await;
    let purse = &view["tenants"][0]["accounts"][0]["budgets"][0];
    assert_eq!(purse["spent_usd"], "0.044", "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_raised_budget_counts_at_once_and_keeps_what_was_spent() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = gateway(
        &[&a],
        "budgets = [{ usd = \"0.001\", period = \"month\" }]",
        "",
    )
    .await;
    assert_eq!(code_of(&gateway.post(&asked()).await), "budget_exceeded");
    let path = gateway.config_path();
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("\"0.001\"", "\"5\"")).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    assert_eq!(gateway.post(&asked()).await.status(), 200);
}

/// Five answers, three of them under way while the configuration is changed and reloaded; the last is asked for until
/// the new budgets know what was spent.
async fn with_three_under_way(
    (gateway, a): (&Gateway, &MockProvider),
    headers: &[(&str, &str)],
    change: impl FnOnce(String) -> String,
) {
    assert_eq!(post_with(gateway, headers).await.status(), 200);
    a.set(answer().delayed(Duration::from_millis(1_500)));
    let reload = async {
        while a.in_flight() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let path = gateway.config_path();
        let before = std::fs::read_to_string(&path).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after);
        std::fs::write(&path, after).unwrap();
        assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
        assert_eq!(a.in_flight(), 3, "they end under the new budgets");
    };
    let three = futures_util::future::join_all((0..3).map(|_| post_with(gateway, headers)));
    let (answers, ()) = futures_util::future::join(three, reload).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    a.set(answer());
    for _ in 0..100 {
        if post_with(gateway, headers).await.status() == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(booked(gateway).await, (5, 5 * USED * MILLI));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_tenants_first_budget_counts_what_was_under_way_when_it_came_and_counts_it_once() {
    let a = mock("a").await;
    a.set(answer());
    let terms = "tenant = \"acme\"";
    let gateway = gateway(&[&a], terms, "[tenants.acme]\n").await;
    let tagged = [("x-switchyard-tags", "nightly")];
    let with_budgets = |config: String| {
        let budget = "budgets = [{ usd = \"100\", period = \"month\" }]";
        config
            .replace(terms, &format!("{terms}\n{budget}"))
            .replace(
                "[tenants.acme]\n",
                &format!("[tenants.acme]\n{budget}\n[tenants.acme.tags.nightly]\n{budget}\n"),
            )
    };
    with_three_under_way((&gateway, &a), &tagged, with_budgets).await;
    let view = gateway.admin_get("/admin/tenants").await;
    let accounts = view["tenants"][0]["accounts"].as_array().unwrap();
    let spent = accounts
        .iter()
        .map(|account| &account["budgets"][0]["spent_usd"]);
    assert_eq!(spent.collect::<Vec<_>>(), ["0.055"; 3], "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_providers_first_budget_counts_what_was_under_way_when_it_came_and_counts_it_once() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = gateway(&[&a], "", "").await;
    let with_budget = |config: String| {
        let budget = "budgets = [{ usd = \"100\", period = \"month\" }]";
        config.replace("[providers.a]\n", &format!("[providers.a]\n{budget}\n"))
    };
    with_three_under_way((&gateway, &a), &[], with_budget).await;
    let view = gateway.admin_get("/admin/tenants").await;
    let budget = &view["providers"][0]["budgets"][0];
    assert_eq!(budget["spent_usd"], "0.055", "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_budget_that_was_taken_out_is_told_of_no_more() {
    let a = mock("a").await;
    a.set(answer());
    let budget =
        "budgets = [{ usd = \"0.02\", period = \"month\", hard = false, tell_at = [80] }]\n";
    let more = format!("[tenants.acme]\n{budget}");
    let gateway = gateway(&[&a], "tenant = \"acme\"", &more).await;
    assert_eq!(post_with(&gateway, &[]).await.status(), 200);
    let path = gateway.config_path();
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace(budget, "")).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    for _ in 0..3 {
        assert_eq!(post_with(&gateway, &[]).await.status(), 200);
    }
    assert_eq!(booked(&gateway).await.0, 4);
    let records = gateway.records().await;
    assert!(
        !records
            .iter()
            .any(|record| record["name"] == "budget.alert"),
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x07_what_was_spent_before_a_restart_is_spent_after_it() {
    let a = mock("a").await;
    a.set(answer());
    // Four answers and a little: the reservation of a fifth would fit, were nothing remembered.
    let budget = usd(reserve(&asked()) + 3 * USED * MILLI);
    let terms = format!(
        "team = \"search\"\ntenant = \"acme\"\nbudgets = [{{ usd = \"{budget}\", period = \"month\" }}]"
    );
    let tables = "[tenants.acme]\n[tenants.acme.teams.search]\n[tenants.acme.tags.nightly]\nbudgets = [{ usd = \"9\", period = \"rolling:1h\" }]\n";
    let mut gateway = gateway(&[&a], &terms, tables).await;
    for _ in 0..4 {
        let answer = post_with(&gateway, &[("x-switchyard-tags", "nightly")]).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    assert_eq!(post_with(&gateway, &[]).await.status(), 402);
    gateway.restart().await;
    let refused = post_with(&gateway, &[]).await;
    assert_eq!(
        (refused.status(), code_of(&refused).as_str()),
        (402, "budget_exceeded")
    );
    let view = gateway.admin_get("/admin/tenants").await;
    let accounts = view["tenants"][0]["accounts"].as_array().unwrap();
    for account in accounts {
        assert_eq!(account["budgets"][0]["spent_usd"], "0.044", "{view}");
    }
    assert_eq!(accounts.len(), 2);
    for (by, name) in [
        ("tenant", "acme"),
        ("team", "acme/search"),
        ("client", "acme#test"),
        ("model", "a/m-a"),
        ("provider", "a"),
        ("tag", "acme+nightly"),
    ] {
        let report = gateway.admin_get(&format!("/admin/spend?by={by}")).await;
        assert_eq!(report["lines"][0]["name"], name, "{report}");
        assert_eq!(report["lines"][0]["cost_usd"], "0.044", "{report}");
        assert_eq!(report["lines"][0]["requests"], 4, "{report}");
        assert_eq!(report["lines"][0]["output"], 24, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g11_a_budget_whose_history_cannot_be_read_lets_nothing_in_and_others_are_served() {
    let a = mock("a").await;
    a.set(answer());
    let mut gateway = gateway(&[&a], "requests_per_minute = 100", "").await;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    gateway.booked(1).await;
    gateway.stop().await;
    let store = gateway.store_path();
    std::fs::write(&store, b"not a store").unwrap();
    gateway.restart().await;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    let path = gateway.config_path();
    let config = std::fs::read_to_string(&path).unwrap();
    let with_budget = config.replace(
        "requests_per_minute = 100",
        "budgets = [{ usd = \"5\", period = \"month\" }]",
    );
    std::fs::write(&path, with_budget).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    let refused = gateway.post(&asked()).await;
    assert_eq!(
        (refused.status(), code_of(&refused).as_str()),
        (503, "overloaded")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_leaving_early_does_not_stretch_a_budget() {
    let a = mock("a").await;
    a.set(answer().delayed(Duration::from_millis(400)));
    let affordable = 5;
    let budget = usd(reserve(&asked()) * affordable);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"total\" }}]");
    let gateway = gateway(&[&a], &terms, "").await;
    for _ in 0..20 {
        let mut client = gateway.client().await;
        let (auth, body) = (auth(), asked());
        let answered = client.post_json(PATH, &auth, &body);
        let _ = tokio::time::timeout(Duration::from_millis(60), answered).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(a.log().len() as u64, affordable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g13_whoever_leaves_whenever_leaves_nothing_set_aside_and_the_journal_whole() {
    let a = mock("a").await;
    a.set(answer());
    let terms = "concurrency = 500\nbudgets = [{ usd = \"1000\", period = \"day\" }]";
    let mut gateway = gateway(&[&a], terms, "").await;
    for wave in 0_u64..6 {
        let leaving = (0_u64..80).map(|nth| {
            let gateway = &gateway;
            async move {
                let mut client = gateway.client().await;
                let (auth, body) = (auth(), asked());
                let patience = Duration::from_micros((nth * 97 + wave * 131) % 9_000);
                let answered = client.post_json(PATH, &auth, &body);
                let _ = tokio::time::timeout(patience, answered).await;
            }
        });
        futures_util::future::join_all(leaving).await;
    }
    let mut view = Value::Null;
    for _ in 0..100 {
        view = gateway.admin_get("/admin/tenants").await;
        if view["tenants"][0]["open_requests"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tenant = &view["tenants"][0];
    assert_eq!(tenant["open_requests"], 0, "{view}");
    assert_eq!(tenant["accounts"][0]["at_once"], 0, "{view}");
    let spent = tenant["accounts"][0]["budgets"][0]["spent_usd"].clone();
    assert_eq!(
        tenant["accounts"][0]["budgets"][0]["reserved_usd"], "0",
        "{view}"
    );
    let (_, cost) = booked(&gateway).await;
    assert_eq!(spent, json!(usd_short(cost)), "{view}");
    gateway.stop().await;
    let report =
        switchyard::store::journal::verify(&gateway.folder.path().join("journal")).unwrap();
    assert!(report.intact(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x08_a_journal_that_lost_its_end_is_not_booked_twice() {
    let a = mock("a").await;
    a.set(answer());
    let terms = "budgets = [{ usd = \"100\", period = \"month\" }]";
    let mut gateway = gateway(&[&a], terms, "").await;
    for _ in 0..10 {
        assert_eq!(gateway.post(&asked()).await.status(), 200);
    }
    gateway.booked(10).await;
    gateway.stop().await;
    // What a lost machine takes of a journal in mode fast: here an outcome and an attempt.
    let folder = gateway.folder.path().join("journal");
    let segment = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .unwrap();
    let text = std::fs::read_to_string(&segment).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    while !lines.last().unwrap().contains("\"kind\":\"outcome\"") {
        lines.pop();
    }
    lines.pop();
    std::fs::write(&segment, lines.join("\n") + "\n").unwrap();
    gateway.restart().await;
    gateway.booked(10).await;
    let (outcomes, cost) = booked(&gateway).await;
    assert_eq!(outcomes, 10);
    let report = gateway.admin_get("/admin/spend?by=tenant").await;
    assert_eq!(report["lines"][0]["requests"], 10, "{report}");
    assert_eq!(report["lines"][0]["cost_nano"], cost, "{report}");
    let view = gateway.admin_get("/admin/tenants").await;
    let purse = &view["tenants"][0]["accounts"][0]["budgets"][0];
    assert_eq!(purse["spent_usd"], json!(usd_short(cost)), "{view}");
}

/// The journal is read where nobody knows better: at a start, and behind a disk that failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_what_a_gateway_wrote_itself_is_booked_without_being_read_back() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for requests in 1..=2 {
        gateway.ask("p").await;
        gateway.booked(requests).await;
    }
    let journal = gateway.folder.path().join("journal");
    let mut files = std::fs::read_dir(&journal).unwrap();
    let segment = files.find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension()
            .is_some_and(|end| end == "jsonl")
            .then_some(path)
    });
    // Whoever writes it goes on; whoever looks for it finds nothing.
    let (segment, away) = (segment.unwrap(), journal.join("away"));
    std::fs::rename(&segment, &away).unwrap();
    for requests in 3..=5 {
        gateway.ask("p").await;
        gateway.booked(requests).await;
    }
    std::fs::rename(&away, &segment).unwrap();
    let records = gateway.records().await;
    let outcomes = records.iter().filter(|record| record["kind"] == "outcome");
    assert_eq!(outcomes.count(), 5, "each of them stands in it");
}
