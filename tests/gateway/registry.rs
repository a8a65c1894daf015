//! What is known of models: details in the list, warnings for those that end, successors for those that have.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::frame::{Gateway, auth, chat, mock, provider};

const OWN: &str = r#"
[a."m-a"]
can = ["chat", "tools"]
context = 9000
output_limit = 1000
price = { input = "1.25", output = "10" }
confirmed = "a test"

[a."m-old"]
can = ["chat"]
price = { input = "1", output = "2" }
deprecated = "2020-01-01"
retired = "2021-01-01"
successor = "m-a"
confirmed = "a test"

[a."m-leaving"]
can = ["chat"]
price = { input = "1", output = "2" }
deprecated = "2020-01-01"
successor = "m-a"
confirmed = "a test"
"#;

async fn gateway(a: &switchyard_chaos::mock::MockProvider, own: &str) -> Gateway {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&file, own).unwrap();
    let (_, path) = (file.to_path_buf(), file.keep().unwrap());
    let config = format!(
        "{}[registry]\nfile = \"{}\"\n",
        provider("a", a).replace("[\"m-a\"]", "[\"m-a\", \"m-leaving\"]"),
        path.display()
    );
    Gateway::start(&config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_model_that_has_ended_is_its_successor_and_says_so() {
    let a = mock("a").await;
    let gateway = gateway(&a, OWN).await;
    for (asked, sent, warned) in [
        ("m-a", "m-a", None),
        ("m-leaving", "m-leaving", Some("deprecated")),
        ("m-old", "m-a", Some("ended on 2021-01-01; use m-a")),
        ("a/m-old", "m-old", None),
    ] {
        let answer = gateway.ask(asked).await;
        assert_eq!(answer.status(), 200, "{asked}: {}", answer.json());
        let seen = a.last().unwrap().asked.clone();
        assert_eq!(seen.model(), Some(sent), "{asked}");
        let warning = answer.header("warning");
        match warned {
            None => assert_eq!(warning, None, "{asked}"),
            Some(words) => assert!(warning.unwrap().contains(words), "{asked}: {warning:?}"),
        }
    }
    let unknown = gateway.ask("m-none").await;
    assert_eq!(unknown.status(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_the_list_tells_what_a_model_can_do_and_costs() {
    let a = mock("a").await;
    let gateway = gateway(&a, OWN).await;
    let mut client = gateway.client().await;
    let one = client.get("/v1/models/m-a", &auth()).await.unwrap().json();
    assert_eq!(one["context_window"], 9000);
    assert_eq!(one["max_output_tokens"], 1000);
    assert_eq!(one["capabilities"], json!(["chat", "tools"]));
    assert_eq!(one["pricing"], json!({"input": "1.25", "output": "10"}));
    let leaving = client
        .get("/v1/models/m-leaving", &auth())
        .await
        .unwrap()
        .json();
    assert_eq!(leaving["successor"], "m-a");
    assert!(leaving["warning"].as_str().unwrap().contains("deprecated"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c04_new_prices_are_read_while_it_runs_and_nonsense_is_refused() {
    let a = mock("a").await;
    let gateway = gateway(&a, OWN).await;
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    let path = text
        .split("file = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let price = || async {
        let mut client = gateway.client().await;
        let one = client.get("/v1/models/m-a", &auth()).await.unwrap().json();
        one["pricing"]["input"].as_str().unwrap().to_owned()
    };
    std::fs::write(path, OWN.replace("1.25", "2.5")).unwrap();
    gateway.admin_post("/admin/reload").await;
    assert_eq!(price().await, "2.5");
    std::fs::write(path, "[a.\"m-a\"]\nprise = 3\n").unwrap();
    let refused = gateway.admin_post("/admin/reload").await;
    assert!(refused.status() >= 400, "{}", refused.json());
    assert!(
        refused.json().to_string().contains("prise"),
        "{}",
        refused.json()
    );
    assert_eq!(price().await, "2.5", "the old ones stay in force");
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
}

const EMBEDDED: &str = include_str!("../../config/models.toml");

/// The marks it was asked with.
type Marks = Arc<Mutex<Vec<Option<String>>>>;

/// Serves one text under one mark, and keeps the marks it was asked with.
struct Prices {
    url: String,
    asked: Marks,
}

async fn give(State((text, asked)): State<(Arc<str>, Marks)>, headers: HeaderMap) -> Response {
    let mark = headers
        .get("if-none-match")
        .map(|mark| mark.to_str().unwrap().to_owned());
    asked.lock().await.push(mark.clone());
    match mark.as_deref() {
        Some("\"v1\"") => StatusCode::NOT_MODIFIED.into_response(),
        _ => ([("etag", "\"v1\"")], text.to_string()).into_response(),
    }
}

impl Prices {
    async fn start(text: &str) -> Self {
        let asked = Marks::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/models.toml", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .fallback(give)
            .with_state((Arc::from(text), Arc::clone(&asked)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    async fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().await.clone()
    }

    async fn was_asked(&self) {
        let asked = async {
            while self.asked().await.is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), asked).await.unwrap();
    }
}

async fn fed(
    a: &switchyard_chaos::mock::MockProvider,
    url: &str,
    copy: &std::path::Path,
    more: &str,
) -> Gateway {
    let copy = copy.display();
    let text = format!(
        "{}[registry]\nurl = \"{url}\"\ncopy = \"{copy}\"\n{more}",
        provider("a", a)
    );
    Gateway::start(&text).await
}

async fn price(gateway: &Gateway) -> Value {
    let mut client = gateway.client().await;
    let one = client.get("/v1/models/m-a", &auth()).await.unwrap().json();
    one["pricing"]["input"].clone()
}

async fn price_becomes(gateway: &Gateway, expected: &str) {
    let becomes = async {
        while price(gateway).await != expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), becomes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_prices_are_fetched_kept_on_disk_and_asked_for_by_their_mark() {
    let a = mock("a").await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.toml");
    let prices = Prices::start(&format!("{EMBEDDED}{OWN}")).await;
    let gateway = fed(&a, &prices.url, &copy, "").await;
    price_becomes(&gateway, "1.25").await;
    assert_eq!(prices.asked().await, [None]);
    let ready = gateway.admin_get("/ready").await;
    assert!(
        ready["registry"]["fetched"].as_u64().unwrap() > 1_700_000_000,
        "{ready}"
    );
    drop(gateway);
    // The next one begins with the copy, and asks whether there is anything newer.
    let prices = Prices::start("nothing that is read").await;
    let gateway = fed(&a, &prices.url, &copy, "").await;
    assert_eq!(price(&gateway).await, "1.25");
    prices.was_asked().await;
    assert_eq!(prices.asked().await, [Some("\"v1\"".to_owned())]);
    drop(gateway);
    // And serves from it while nobody answers; what the operator wrote lies over it.
    let own = folder.path().join("own.toml");
    std::fs::write(
        &own,
        "[a.\"m-a\"]\nprice = { input = \"7\", output = \"8\" }\n",
    )
    .unwrap();
    let more = format!("file = \"{}\"\n", own.display());
    let gateway = fed(&a, "http://127.0.0.1:9/", &copy, &more).await;
    assert_eq!(price(&gateway).await, "7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_registry_that_shrinks_or_whose_prices_jump_is_not_taken() {
    let a = mock("a").await;
    let folder = tempfile::tempdir().unwrap();
    let half = &EMBEDDED[..EMBEDDED.len() / 3];
    let half = &half[..half.rfind("\n[").unwrap()];
    for (number, text) in [
        format!("{half}\n{OWN}"),
        "<html>".to_owned(),
        OWN.to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let copy = folder.path().join(number.to_string());
        let prices = Prices::start(text).await;
        let gateway = fed(&a, &prices.url, &copy, "").await;
        prices.was_asked().await;
        sleep(Duration::from_millis(300)).await;
        assert!(!copy.exists(), "{number}");
        assert_eq!(price(&gateway).await, Value::Null, "{number}");
        let ready = gateway.admin_get("/ready").await;
        assert_eq!(ready["registry"]["fetched"], Value::Null, "{ready}");
    }
    // Unless the operator says so.
    let copy = folder.path().join("forced");
    let prices = Prices::start(OWN).await;
    let gateway = fed(&a, &prices.url, &copy, "force = true\n").await;
    price_becomes(&gateway, "1.25").await;
}
