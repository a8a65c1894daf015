//! A request that names no limit on its answer has the one of its account: told to the provider, and set aside.

use serde_json::{Value, json};
use switchyard_chaos::mock::{Dialect, MockProvider};

use crate::frame::{Gateway, auth, code_of, mock, mock_of};
use crate::money::{MILLI, answer, asked, gateway, usd};

fn unlimited(stream: bool) -> Value {
    let mut body = asked();
    body.as_object_mut().unwrap().remove("max_tokens");
    body["stream"] = stream.into();
    body
}

fn sent(mock: &MockProvider) -> Value {
    mock.last().unwrap().asked.json.clone()
}

async fn reserved(gateway: &Gateway) -> u64 {
    let records = gateway.records().await;
    let mut intents = records.iter().filter(|record| record["kind"] == "intent");
    intents.next_back().unwrap()["reserved_nano"]
        .as_u64()
        .unwrap()
}

const BUDGET: &str = "budgets = [{ usd = \"100\", period = \"day\" }]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_a_request_without_a_limit_has_its_accounts_and_the_provider_is_told() {
    let a = mock("a").await;
    a.set(answer());
    let terms = format!("default_max_output = 7\n{BUDGET}\ntenant = \"acme\"");
    let gateway = gateway(&[&a], &terms, "[tenants.acme]\ndefault_max_output = 900\n").await;
    let body = unlimited(false);
    assert_eq!(gateway.post(&body).await.status(), 200);
    let seen = sent(&a);
    // The narrowest account's; everything else is as it was.
    assert_eq!(seen["max_completion_tokens"], 7);
    assert_eq!(seen["messages"], body["messages"]);
    let length = (body.to_string().len() + ",\"max_completion_tokens\":7".len()) as u64;
    assert_eq!(reserved(&gateway).await, (length + 7) * MILLI);
    // Who names a limit keeps it.
    assert_eq!(gateway.post(&asked()).await.status(), 200);
    assert_eq!(sent(&a)["max_tokens"], 10);
    assert_eq!(sent(&a).get("max_completion_tokens"), None);
    // A stream is asked for its usage beside it.
    a.clear().await.unwrap();
    let stream = gateway.stream_of(&unlimited(true)).await;
    assert!(stream.is_done());
    let seen = sent(&a);
    assert_eq!(seen["max_completion_tokens"], 7);
    assert_eq!(seen["stream_options"]["include_usage"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_without_such_a_limit_the_models_own_is_set_aside_and_nothing_is_added() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = gateway(&[&a], BUDGET, "").await;
    let body = unlimited(false);
    assert_eq!(gateway.post(&body).await.status(), 200);
    assert_eq!(sent(&a).get("max_completion_tokens"), None);
    // The registry of these tests says a thousand.
    let length = body.to_string().len() as u64;
    assert_eq!(reserved(&gateway).await, (length + 1_000) * MILLI);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_a_small_budget_lets_in_what_it_would_refuse_without_the_limit() {
    let a = mock("a").await;
    a.set(answer());
    let budget = usd(400 * MILLI);
    let terms = format!("budgets = [{{ usd = \"{budget}\", period = \"day\" }}]");
    let without = gateway(&[&a], &terms, "").await;
    let refused = without.post(&unlimited(false)).await;
    assert_eq!(code_of(&refused), "budget_exceeded");
    let with = gateway(&[&a], &format!("default_max_output = 50\n{terms}"), "").await;
    assert_eq!(with.post(&unlimited(false)).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_every_dialect_of_clients_and_providers_is_told_the_limit() {
    let a = mock_of(Dialect::Anthropic, "a").await;
    let gateway = gateway(&[&a], &format!("default_max_output = 7\n{BUDGET}"), "").await;
    assert_eq!(gateway.post(&unlimited(false)).await.status(), 200);
    assert_eq!(sent(&a)["max_tokens"], 7);
    let google = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
    let responses = json!({"model": "p", "input": "hello", "store": false});
    for (path, body) in [
        ("/v1beta/models/p:generateContent", google),
        ("/v1/responses", responses),
    ] {
        let mut client = gateway.client().await;
        let answer = client.post_json(path, &auth(), &body).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
        assert_eq!(sent(&a)["max_tokens"], 7, "{path}");
        if path.ends_with("responses") {
            // An answer of this form tells the settings it was made with.
            assert_eq!(answer.json()["max_output_tokens"], 7);
        }
    }
}
