//! What is known of models: details in the list, warnings for those that end, successors for those that have.

use serde_json::json;

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
