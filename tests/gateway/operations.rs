//! Embeddings, completions, moderations, rerank, images: found, failed over and judged like chat, and passed on
//! as they came.

use serde_json::{Value, json};
use switchyard_chaos::client::Client;
use switchyard_chaos::mock::{Behaviour, Dialect};

use crate::frame::{Gateway, alone, auth, code_of, mock, mock_of, pair};

/// Each operation: path, what is asked, what a provider answers.
fn all() -> Vec<(&'static str, Value, Value)> {
    vec![
        (
            "completions",
            json!({"prompt": "once", "max_tokens": 5}),
            json!({"id": "cmpl-1", "object": "text_completion", "model": "m-a",
                "choices": [{"index": 0, "text": " upon", "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
        ),
        (
            "embeddings",
            json!({"input": ["one", "two"], "encoding_format": "float"}),
            json!({"object": "list", "model": "m-a",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25]}],
                "usage": {"prompt_tokens": 2, "total_tokens": 2}}),
        ),
        (
            "moderations",
            json!({"input": "hm"}),
            json!({"id": "modr-1", "model": "m-a", "results": [{"flagged": false}]}),
        ),
        (
            "rerank",
            json!({"query": "q", "documents": ["a", "b"]}),
            json!({"model": "m-a", "results": [{"index": 1, "relevance_score": 0.9}]}),
        ),
        (
            "images/generations",
            json!({"prompt": "a cat"}),
            json!({"created": 1, "data": [{"b64_json": "iVBORw0="}]}),
        ),
    ]
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> switchyard_chaos::client::Answer {
    let mut client = Client::connect(gateway.address).await.unwrap();
    let path = format!("/v1/{path}");
    client.post_json(&path, &auth(), body).await.unwrap()
}

fn of(mut body: Value) -> Value {
    body["model"] = "p".into();
    body["new_field"] = json!([1, {"kept": true}]);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_every_operation_reaches_its_provider_and_its_answer_comes_back_untouched() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for (path, asked, answered) in all() {
        a.set(Behaviour::status(200).json(&answered));
        let answer = post(&gateway, path, &of(asked.clone())).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
        assert_eq!(answer.json(), answered, "{path}");
        let sent = a.last().unwrap().asked.clone();
        assert!(sent.path.ends_with(path), "{}", sent.path);
        let mut expected = of(asked);
        expected["model"] = "m-a".into();
        assert_eq!(sent.json, expected, "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
    let outcomes = gateway.records().await;
    let settled = outcomes
        .iter()
        .filter(|record| record["kind"] == "outcome" && record["how"] == "ok")
        .count();
    assert_eq!(settled, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_failing_provider_is_replaced_and_an_empty_answer_is_no_success() {
    let (a, b) = (mock("a").await, mock("b").await);
    for (path, asked, answered) in all() {
        let gateway = pair(&a, &b, "").await;
        b.set(Behaviour::status(200).json(&answered));
        for bad in [
            Behaviour::status(500),
            Behaviour::status(200).json(&json!({"object": "list", "data": []})),
            Behaviour::status(200).json(&json!({"error": {"message": "x", "code": 503}})),
        ] {
            a.set(bad);
            let answer = post(&gateway, path, &of(asked.clone())).await;
            assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
            assert_eq!(answer.json(), answered, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_what_is_missing_is_told_with_its_place() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for (path, asked, _) in all() {
        let field = ["prompt", "input", "query"]
            .into_iter()
            .find(|field| asked.get(field).is_some())
            .unwrap();
        let mut without = of(asked);
        without.as_object_mut().unwrap().remove(field);
        let answer = post(&gateway, path, &without).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.json()["error"]["param"], field, "{path}");
    }
    assert_eq!(a.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_provider_without_the_operation_is_not_asked() {
    let a = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&a, "").await;
    let answer = post(&gateway, "embeddings", &of(json!({"input": "x"}))).await;
    assert_eq!(answer.status(), 400, "{}", answer.json());
    assert_eq!(code_of(&answer), "invalid_request");
    assert_eq!(a.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_completion_streams_and_a_cut_one_says_so() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let chunk = |text: &str, finish: Value| {
        let chunk = json!({"id": "cmpl-1", "object": "text_completion", "model": "m-a",
            "choices": [{"index": 0, "text": text, "finish_reason": finish}]});
        format!("data: {chunk}\n\n")
    };
    let answer = |body: &str| {
        Behaviour::raw(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let whole = format!(
        "{}{}data: [DONE]\n\n",
        chunk("once ", Value::Null),
        chunk("upon", "stop".into())
    );
    let body = of(json!({"prompt": "x", "stream": true}));
    a.set(answer(&whole));
    let stream = |body: Value| {
        let address = gateway.address;
        async move {
            let mut client = Client::connect(address).await.unwrap();
            let reader = client
                .stream("/v1/completions", &auth(), &body)
                .await
                .unwrap();
            reader.collect().await.unwrap()
        }
    };
    let seen = stream(body.clone()).await;
    assert_eq!(&seen.raw[..], whole.as_bytes());
    a.set(answer(&chunk("once ", Value::Null)));
    let cut = stream(body).await;
    assert!(!cut.is_done());
    let last = cut.documents().last().cloned().unwrap();
    assert_eq!(last["error"]["code"], "upstream_truncated", "{last}");
}
