//! A client's ordinary day.

use serde_json::json;
use switchyard_chaos::mock::Dialect;

use crate::frame::{Gateway, alone, auth, chat, mock, mock_of, provider, steady, text_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_a_unary_answer_comes_through_as_it_was_given() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert!(switchyard_chaos::canary::verify(&text_of(&answer)).is_ok());
    assert!(answer.header("x-request-id").unwrap().starts_with("sy-"));
    assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
    assert_eq!(answer.header("x-switchyard-provider"), Some("a"));
    let asked = a.last().unwrap().asked;
    assert_eq!(
        asked.json["model"], "m-a",
        "the provider's own name for the model"
    );
    assert_eq!(
        asked.key(),
        Some("sk-canary-a-k0"),
        "the gateway's key, never the client's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_a_stream_comes_through_with_one_end_and_usage_only_when_asked() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let plain = gateway.stream("p").await;
    assert!(plain.is_done());
    assert!(switchyard_chaos::canary::verify(&plain.text(Dialect::OpenAi)).is_ok());
    assert!(
        plain
            .documents()
            .iter()
            .all(|chunk| chunk["usage"].is_null())
    );
    let mut body = chat("p");
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let asked = gateway.stream_of(&body).await;
    assert!(
        asked.documents().last().unwrap()["usage"]["total_tokens"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert_eq!(
        a.last().unwrap().asked.json["stream_options"]["include_usage"],
        true
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_an_anthropic_provider_answers_an_openai_client() {
    let a = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&a, "").await;
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.json()["object"], "chat.completion");
    assert!(switchyard_chaos::canary::verify(&text_of(&answer)).is_ok());
    assert!(answer.json()["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    let stream = gateway.stream("p").await;
    assert!(stream.is_done());
    assert!(switchyard_chaos::canary::verify(&stream.text(Dialect::OpenAi)).is_ok());
    let asked = a.last().unwrap().asked;
    assert!(
        asked.json["max_tokens"].as_u64().is_some(),
        "the dialect must be told a limit"
    );
    assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_tools_cross_to_anthropic_and_back() {
    let a = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&a, "").await;
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    let mut body = chat("p");
    body["tools"] = tools;
    body["messages"][0]["content"] = "[[tools:2]]".into();
    let answer = gateway.post(&body).await;
    let calls = answer.json()["choices"][0]["message"]["tool_calls"].clone();
    assert_eq!(calls.as_array().map(Vec::len), Some(2), "{}", answer.json());
    assert!(
        serde_json::from_str::<serde_json::Value>(
            calls[0]["function"]["arguments"].as_str().unwrap()
        )
        .is_ok()
    );
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_e8_names_paths_and_keys_are_understood_in_every_usual_form() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for model in ["p", "m-a", "a/m-a", "a/some-other-model", "@a/m-a"] {
        let answer = gateway.ask(model).await;
        assert_eq!(answer.status(), 200, "{model}: {}", answer.json());
    }
    assert_eq!(gateway.ask("a/some-other-model").await.status(), 200);
    assert_eq!(a.last().unwrap().asked.json["model"], "some-other-model");
    for path in [
        "/v1/chat/completions",
        "/chat/completions",
        "/api/v1/chat/completions",
        "/openai/deployments/p/chat/completions",
    ] {
        let answer = gateway
            .client()
            .await
            .post_json(path, &auth(), &chat("p"))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let models = gateway
        .client()
        .await
        .get("/v1/models", &auth())
        .await
        .unwrap()
        .json();
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        names[0], "p",
        "the operator's own names come first: {names:?}"
    );
    let one = gateway
        .client()
        .await
        .get("/v1/models/a/m-a", &auth())
        .await
        .unwrap();
    assert_eq!(
        (one.status(), one.json()["id"].as_str()),
        (200, Some("a/m-a"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_metrics_tell_the_day_and_r11_explain_tells_why() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\", \"b/m-b\"]\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..4 {
        gateway.stream("p").await;
    }
    let metrics = gateway.metrics().await;
    for line in [
        "switchyard_requests_total{pool=\"p\",kind=\"ok\"}",
        "switchyard_overhead_seconds_count{pool=\"p\"}",
        "gen_ai_client_token_usage_count",
        "outcome=\"ok\"",
    ] {
        assert!(metrics.contains(line), "{line} is missing");
    }
    let explained = gateway.admin_get("/admin/explain?model=p").await;
    let targets = explained["chain"][0]["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    assert!(
        targets
            .iter()
            .all(|target| target["removed"].is_null() && target["breaker"] == "passing")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_equal_targets_share_the_work() {
    let (a, b) = (mock("a").await, mock("b").await);
    for mock in [&a, &b] {
        mock.weather(steady());
    }
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\", \"b/m-b\"]\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.client().await;
    for _ in 0..60 {
        assert_eq!(
            client
                .post_json(crate::frame::PATH, &auth(), &chat("p"))
                .await
                .unwrap()
                .status(),
            200
        );
    }
    assert!(
        a.requests() > 8 && b.requests() > 8,
        "{} {}",
        a.requests(),
        b.requests()
    );
}
