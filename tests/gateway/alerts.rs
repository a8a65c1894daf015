//! Alerts over real sockets: signed, told once, sent again to who fails, led nowhere else.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use switchyard_chaos::mock::{Asked, Behaviour, MockProvider};

use switchyard_chaos::client::Client;

use crate::frame::{Gateway, PATH, auth, mock, provider};
use crate::money::{answer, asked, gateway, prices};
use crate::process::Process;

/// What the receiver of these tests is asked at.
const HOOK: &str = "/v1/chat/completions";

fn receiver(hook: &MockProvider, more: &str) -> String {
    format!(
        "[[alerts]]\nname = \"finance\"\nurl = \"{}{HOOK}\"\nsecret = \"file:FOLDER/hook\"\nallow_private_address = true\ntimeout_ms = 500\n{more}\n",
        hook.origin()
    )
}

/// A budget that each answer takes a tenth of.
const TENTHS: &str = "budgets = [{ usd = \"0.11\", period = \"month\", hard = false }]";

async fn told(hook: &MockProvider, count: usize) -> Vec<Asked> {
    for _ in 0..400 {
        if hook.requests() as usize >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One too many would have come by now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let log = hook.log();
    log.iter()
        .map(|exchange| (*exchange.asked).clone())
        .collect()
}

/// What a library of Standard Webhooks checks.
fn verified(asked: &Asked) -> Value {
    let of = |name: &str| asked.header(name).unwrap().to_owned();
    let (id, time) = (of("webhook-id"), of("webhook-timestamp"));
    let seconds: u64 = time.parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    assert!(now.unwrap().as_secs().abs_diff(seconds) < 60);
    let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &asked.body].concat();
    let signature = of("webhook-signature");
    let digest = STANDARD.decode(signature.strip_prefix("v1,").unwrap());
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"sk-canary-hook");
    ring::hmac::verify(&key, &signed, &digest.unwrap()).unwrap();
    assert_eq!(asked.json["id"], json!(id));
    asked.json.clone()
}

/// Every gateway of these tests counts into the same metrics: at least so many.
async fn metric(gateway: &Gateway, result: &str) -> u64 {
    let name = format!("switchyard_alerts_total{{result=\"{result}\"}} ");
    let metrics = gateway.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_each_share_of_a_budget_is_told_once_signed_and_not_again_after_a_restart() {
    let (a, hook) = (mock("a").await, mock("hook").await);
    a.set(answer());
    hook.set(Behaviour::status(204));
    let more = receiver(&hook, "shares = [50, 80, 100]");
    let mut gateway = gateway(&[&a], TENTHS, &more).await;
    for _ in 0..9 {
        assert_eq!(gateway.post(&asked()).await.status(), 200);
    }
    let first = told(&hook, 2).await;
    let bodies: Vec<Value> = first.iter().map(verified).collect();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert_eq!(bodies[0]["type"], "budget.reached");
    let data = &bodies[0]["data"];
    assert_eq!(data["account"], "default#test");
    assert_eq!(
        (&data["percent"], &data["hard"]),
        (&json!(50), &json!(false))
    );
    assert_eq!(
        (&data["spent_usd"], &data["limit_usd"], &data["left_usd"]),
        (&json!("0.055"), &json!("0.11"), &json!("0.055"))
    );
    assert_eq!(data["period"], "month");
    assert_eq!(bodies[1]["data"]["percent"], 80);
    assert_ne!(bodies[0]["id"], bodies[1]["id"]);
    assert!(metric(&gateway, "delivered").await >= 2);
    gateway.booked(9).await;
    gateway.restart().await;
    // The one that is new, and none of those before.
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    let all = told(&hook, 3).await;
    assert_eq!(all.len(), 3);
    let last = verified(&all[2]);
    assert_eq!(last["type"], "budget.exhausted");
    assert_eq!(last["data"]["percent"], 100);
    for asked in &all {
        let text = String::from_utf8_lossy(&asked.body).into_owned();
        assert!(
            !text.contains("hello") && !text.contains("canary"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_who_fails_twice_is_told_the_same_a_third_time() {
    let (a, hook) = (mock("a").await, mock("hook").await);
    a.set(answer());
    // The second does not answer in time.
    hook.script(vec![
        Behaviour::status(500),
        Behaviour::status(200).delayed(Duration::from_secs(3)),
        Behaviour::status(200),
    ]);
    let gateway = gateway(
        &[&a],
        TENTHS,
        &receiver(&hook, "shares = [10]\nevents = [\"budget.reached\"]"),
    )
    .await;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    let all = told(&hook, 3).await;
    assert_eq!(all.len(), 3);
    for again in &all {
        assert_eq!(verified(again), verified(&all[0]));
    }
    assert!(metric(&gateway, "failed").await >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_receiver_that_leads_elsewhere_is_not_followed_and_one_that_hangs_holds_nobody_up() {
    let (a, hook, other) = (mock("a").await, mock("hook").await, mock("other").await);
    a.set(answer());
    hook.set(Behaviour::status(307).header("location", format!("{}{HOOK}", other.origin())));
    let hanging = mock("hanging").await;
    hanging.set(Behaviour::status(200).delayed(Duration::from_secs(60)));
    let second = receiver(&hanging, "shares = [10]").replace("finance", "operations");
    let more = format!("{}{second}", receiver(&hook, "shares = [10]"));
    let gateway = gateway(&[&a], TENTHS, &more).await;
    let started = std::time::SystemTime::now();
    for _ in 0..5 {
        assert_eq!(gateway.post(&asked()).await.status(), 200);
    }
    // Ten times the patience of the receivers would be needed, were anyone waiting for them.
    assert!(started.elapsed().unwrap() < Duration::from_secs(4));
    let all = told(&hook, 1).await;
    assert_eq!(all.len(), 1);
    assert_eq!(other.requests(), 0);
    assert!(metric(&gateway, "refused").await >= 1);
    assert!(told(&hanging, 1).await.len() <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_breaker_that_blocks_is_told_to_who_wants_to_know() {
    let (a, hook, other) = (mock("a").await, mock("hook").await, mock("other").await);
    a.set(Behaviour::status(500));
    for receiver in [&hook, &other] {
        receiver.set(Behaviour::status(200));
    }
    let more = format!(
        "{}{}",
        receiver(&hook, "events = [\"breaker.blocked\"]"),
        receiver(&other, "events = [\"budget.exhausted\"]").replace("finance", "money")
    );
    let gateway = gateway(&[&a], "", &more).await;
    for _ in 0..12 {
        gateway.post(&asked()).await;
    }
    let all = told(&hook, 1).await;
    assert_eq!(all.len(), 1);
    let body = verified(&all[0]);
    assert_eq!(body["type"], "breaker.blocked");
    assert!(
        body["data"]["subject"].as_str().unwrap().starts_with("a/"),
        "{body}"
    );
    assert_eq!(other.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x16_the_messenger_comes_back_and_tells_what_is_new() {
    let (a, hook) = (mock("a").await, mock("hook").await);
    a.set(answer());
    hook.set(Behaviour::status(200));
    let gateway = gateway(&[&a], TENTHS, &receiver(&hook, "shares = [10, 20]")).await;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    assert_eq!(told(&hook, 1).await.len(), 1);
    let killed = gateway
        .admin_post("/admin/kill?path=root/alerts&how=panic")
        .await;
    assert_eq!(killed.status(), 200, "{}", killed.json());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    let all = told(&hook, 2).await;
    assert_eq!(all.len(), 2);
    assert_eq!(verified(&all[1])["data"]["percent"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_receiver_without_shares_hears_what_each_budget_says_and_not_what_others_want() {
    let (a, hook, other) = (mock("a").await, mock("hook").await, mock("other").await);
    a.set(answer());
    for receiver in [&hook, &other] {
        receiver.set(Behaviour::status(204));
    }
    let usual = receiver(&other, "").replace("finance", "operations");
    let more = format!("{}{usual}", receiver(&hook, "shares = [20, 40]"));
    let gateway = gateway(&[&a], TENTHS, &more).await;
    for _ in 0..8 {
        assert_eq!(gateway.post(&asked()).await.status(), 200);
    }
    let percents = |log: Vec<Asked>| -> Vec<Value> {
        log.iter()
            .map(|asked| verified(asked)["data"]["percent"].clone())
            .collect()
    };
    assert_eq!(percents(told(&hook, 2).await), [20, 40]);
    assert_eq!(percents(told(&other, 1).await), [80]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_a_budget_that_a_reload_lowers_below_what_is_spent_is_told_once() {
    let (a, hook) = (mock("a").await, mock("hook").await);
    a.set(answer());
    hook.set(Behaviour::status(204));
    let mut gateway = gateway(&[&a], TENTHS, &receiver(&hook, "")).await;
    for _ in 0..3 {
        assert_eq!(gateway.post(&asked()).await.status(), 200);
    }
    let path = gateway.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("usd = \"0.11\"", "usd = \"0.04\"")).unwrap();
    for _ in 0..2 {
        assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    }
    let log = told(&hook, 1).await;
    assert_eq!(log.len(), 1);
    let data = verified(&log[0])["data"].clone();
    assert_eq!(
        (&data["percent"], &data["limit_usd"]),
        (&json!(80), &json!("0.04"))
    );
    // What was told by one process is not told by the next.
    gateway.booked(3).await;
    gateway.restart().await;
    assert_eq!(told(&hook, 2).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_what_a_killed_process_left_to_be_paid_is_told_by_the_next_one() {
    let (a, hook) = (mock("a").await, mock("hook").await);
    a.set(answer().delayed(Duration::from_secs(60)));
    hook.set(Behaviour::status(204));
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{}{}[tenants.default]\nbudgets = [{{ usd = \"0.1\", period = \"month\" }}]\n[pools.p]\ntargets = [\"a/m-a\"]\n[registry]\nfile = \"{}\"\n",
        provider("a", &a),
        receiver(&hook, ""),
        prices().display()
    );
    let gateway = Process::start("ulimit -c 0", &config).await;
    let mut client = Client::connect(gateway.address).await.unwrap();
    let asking = tokio::spawn(async move {
        let _ = client.post_json(PATH, &auth(), &asked()).await;
    });
    for _ in 0..500 {
        if a.requests() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let gateway = gateway.killed_and_started_again().await;
    asking.abort();
    let log = told(&hook, 1).await;
    assert_eq!(log.len(), 1, "{}", gateway.log());
    assert_eq!(verified(&log[0])["data"]["percent"], 80);
    let gateway = gateway.killed_and_started_again().await;
    assert_eq!(told(&hook, 2).await.len(), 1, "{}", gateway.log());
}
