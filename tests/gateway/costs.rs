//! What an answer cost, told in it: where it is asked for, exactly, and never where nobody knows.

use serde_json::{Value, json};
use switchyard::domain::NanoUsd;
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, mock, mock_of, provider};
use crate::money::{MILLI, answer, asked, booked, gateway, usd};

fn wishing(stream: bool) -> Value {
    let mut body = asked();
    body["usage"] = json!({"include": true});
    body["stream"] = stream.into();
    body
}

/// The amount as it stands in a text, not as a float reads it.
fn written(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("\"cost\":")?;
    let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
    rest.get(..end)
}

async fn streamed(gateway: &Gateway, body: &Value) -> String {
    let stream = gateway.stream_of(body).await;
    String::from_utf8_lossy(&stream.raw).into_owned()
}

fn sent(mock: &MockProvider) -> Value {
    let log = mock.log();
    log.last().unwrap().asked.json.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_who_asks_reads_in_the_usage_what_it_cost_and_who_does_not_reads_the_providers_bytes() {
    let a = mock("a").await;
    a.set(answer());
    let gateway = gateway(&[&a], "", "").await;
    let plain = gateway.post(&asked()).await;
    let told = gateway.post(&wishing(false)).await;
    assert_eq!(plain.header("x-switchyard-cost"), Some("0.011"));
    assert_eq!(plain.header("x-switchyard-estimated"), None);
    let (plain, told) = (
        String::from_utf8(plain.body.to_vec()).unwrap(),
        String::from_utf8(told.body.to_vec()).unwrap(),
    );
    assert_eq!(written(&plain), None, "{plain}");
    assert_eq!(written(&told), Some("0.011"), "{told}");
    assert_eq!(told.replace(",\"cost\":0.011", ""), plain);
    // It is for the gateway: providers refuse what they do not know.
    assert_eq!(sent(&a).get("usage"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_a_stream_says_what_it_cost_in_its_last_usage() {
    let a = mock("a").await;
    let gateway = gateway(&[&a], "", "").await;
    let told = streamed(&gateway, &wishing(true)).await;
    assert_eq!(sent(&a)["stream_options"]["include_usage"], true);
    let (_, cost) = booked(&gateway).await;
    assert!(cost > 0);
    let expected = usd(cost).trim_end_matches('0').to_owned();
    assert_eq!(told.matches("\"cost\"").count(), 1, "{told}");
    assert_eq!(written(&told), Some(expected.as_str()), "{told}");
    assert!(told.ends_with("data: [DONE]\n\n"), "{told}");
    // Who asks for the usage alone gets that, as the provider wrote it.
    let mut body = asked();
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let plain = streamed(&gateway, &body).await;
    assert!(plain.contains("\"usage\":{"), "{plain}");
    assert_eq!(written(&plain), None, "{plain}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_an_answer_of_another_dialect_says_what_it_cost_as_well() {
    let a = mock_of(Dialect::Anthropic, "a").await;
    let gateway = gateway(&[&a], "", "").await;
    let whole = gateway.post(&wishing(false)).await;
    assert_eq!(whole.header("x-switchyard-dropped"), None);
    let whole = String::from_utf8(whole.body.to_vec()).unwrap();
    let stream = streamed(&gateway, &wishing(true)).await;
    let told = [&whole, &stream].map(|text| written(text).unwrap().parse::<NanoUsd>().unwrap().0);
    let (outcomes, cost) = booked(&gateway).await;
    assert_eq!((outcomes, cost), (2, told.iter().sum()));
    assert!(told.iter().all(|cost| *cost > 0), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_what_rests_on_an_estimate_says_so_and_what_nobody_knows_is_not_told() {
    let a = mock("a").await;
    a.set(Behaviour::status(200).json(&json!({
        "id": "c-1", "object": "chat.completion", "created": 1, "model": "m-a",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    })));
    let gateway = gateway(&[&a], "", "").await;
    let answer = gateway.post(&wishing(false)).await;
    assert_eq!(answer.header("x-switchyard-estimated"), Some("cost"));
    assert!(answer.header("x-switchyard-cost").is_some());
    // There is no usage to tell it in, and none is made up.
    assert_eq!(answer.json().get("usage"), None);
    // A stream that broke tells of no cost.
    a.set(fault::s09(9));
    let told = streamed(&gateway, &wishing(true)).await;
    assert_eq!(written(&told), None, "{told}");
    // A limit alone needs no price; what nobody priced did not cost nothing.
    let c = mock("c").await;
    c.set(self::answer());
    let terms = format!("requests_per_minute = 100\n{}", provider("c", &c));
    let unpriced = Gateway::start(&terms).await;
    let mut body = wishing(false);
    body["model"] = "m-c".into();
    let answer = unpriced.post(&body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-cost"), None);
    assert_eq!(answer.json()["usage"].get("cost"), None);
    let records = unpriced.records().await;
    let outcome = records.iter().find(|record| record["kind"] == "outcome");
    assert_eq!(outcome.unwrap().get("cost_nano"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_an_operator_may_tell_everyone_or_nobody() {
    let a = mock("a").await;
    a.set(answer());
    let always = gateway(&[&a], "", "[pricing]\ntell_cost = \"always\"\n").await;
    assert_eq!(always.post(&asked()).await.json()["usage"]["cost"], 0.011);
    let never = gateway(&[&a], "", "[pricing]\ntell_cost = \"never\"\n").await;
    let answer = never.post(&wishing(false)).await;
    assert_eq!(answer.json()["usage"].get("cost"), None);
    assert_eq!(sent(&a).get("usage"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_a_failed_attempt_that_was_billed_is_in_the_cost_that_is_told() {
    let (a, b) = (mock("a").await, mock("b").await);
    // Answered, and of no use: the provider bills it all the same.
    a.set(Behaviour::status(200).json(&json!({"choices": []})));
    b.set(answer());
    let gateway = gateway(&[&a, &b], "", "").await;
    let answer = gateway.post(&wishing(false)).await;
    let (_, cost) = booked(&gateway).await;
    assert!(cost > 11 * MILLI);
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    let expected = usd(cost).trim_end_matches('0').to_owned();
    assert_eq!(written(&body), Some(expected.as_str()), "{body}");
    assert!(
        body.contains("\"cost_details\":{\"estimated\":true}"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_stream_says_that_its_cost_is_an_estimate_while_nobody_knows_what_was_bought_before() {
    let a = mock("a").await;
    let mut gateway = crate::tiers::gateway(&a, "", crate::tiers::HALF).await;
    let known = streamed(&gateway, &wishing(true)).await;
    gateway.booked(1).await;
    gateway.stop().await;
    std::fs::write(gateway.store_path(), b"not a store").unwrap();
    gateway.restart().await;
    let unknown = streamed(&gateway, &wishing(true)).await;
    let marked = [&known, &unknown].map(|told| {
        assert!(written(told).is_some(), "{told}");
        told.contains("\"cost_details\":{\"estimated\":true}")
    });
    let records = gateway.records().await;
    let outcomes = records.iter().filter(|record| record["kind"] == "outcome");
    let booked: Vec<bool> = outcomes
        .map(|outcome| outcome["cost_estimated"] == true)
        .collect();
    assert_eq!(
        (booked.as_slice(), marked),
        ([false, true].as_slice(), [false, true])
    );
}
