//! Section 9 of the fault catalogue, as far as it needs no tenants.

use std::time::Duration;

use serde_json::json;
use switchyard_chaos::client::Client;
use switchyard_chaos::mock::Behaviour;

use crate::frame::{ADMIN_KEY, KEY, PATH, admin_auth, alone, auth, chat, mock};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_no_key_or_an_odd_one_is_refused_with_one_and_the_same_text() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let mut texts = Vec::new();
    for fields in [
        vec![],
        vec![("authorization", "Basic abc".to_owned())],
        vec![("authorization", "Bearer sk-wrong-canary".to_owned())],
        vec![("authorization", format!("Bearer {KEY}x"))],
        vec![
            ("authorization", format!("Bearer {KEY}")),
            ("x-api-key", "other".to_owned()),
        ],
    ] {
        let fields: Vec<(String, String)> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let answer = gateway
            .client()
            .await
            .post_json(PATH, &fields, &chat("p"))
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{fields:?}");
        let text = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(!text.contains("canary"));
        texts.push(text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(a.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a05_a11_forged_and_foreign_headers_go_neither_way() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(
        Behaviour::healthy()
            .header("set-cookie", "s=1")
            .header("location", "http://evil")
            .header("x-request-id", "up-1"),
    );
    let mut fields = auth();
    for (name, value) in [
        ("x-tenant-id", "root"),
        ("x-forwarded-for", "1.2.3.4"),
        ("cookie", "c=1"),
        ("x-stainless-os", "Linux"),
    ] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    let answer = gateway
        .client()
        .await
        .post_json(PATH, &fields, &chat("p"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.header("set-cookie").is_none() && answer.header("location").is_none());
    assert!(answer.header("llm_provider-x-request-id").is_some());
    let asked = a.last().unwrap().asked;
    for name in ["x-tenant-id", "x-forwarded-for", "cookie", "x-stainless-os"] {
        assert!(asked.header(name).is_none(), "{name} was passed on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a07_no_trick_with_the_path_reaches_the_admin_side() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for path in [
        "/admin/tree",
        "//admin/tree",
        "/v1/../admin/tree",
        "/v1/%2e%2e/admin/tree",
        "/admin;x/tree",
        "/ADMIN/tree",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions;x",
    ] {
        let answer = gateway
            .client()
            .await
            .get(path, &admin_auth())
            .await
            .unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert!(answer.json()["error"]["message"].is_string(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_ambiguous_framing_is_400_and_the_connection_closes() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let start = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n");
    for (name, rest) in [
        (
            "cl.te",
            "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "te.cl",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
        ),
        (
            "te.te",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        ("odd te", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("plus", "content-length: +5\r\n\r\nhello"),
        (
            "twin cl",
            "content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        ),
        ("fold", "x-a: 1\r\n b\r\ncontent-length: 2\r\n\r\n{}"),
        (
            "bad chunk",
            "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        let mut client = gateway.client().await;
        client
            .send(format!("{start}{rest}").as_bytes())
            .await
            .unwrap();
        match client.read_answer().await {
            Ok(answer) => assert_eq!(
                answer.status(),
                400,
                "{name}: {:?}",
                String::from_utf8_lossy(&answer.body)
            ),
            Err(error) => panic!("{name}: {error}"),
        }
        assert!(
            client.closes_within(Duration::from_secs(1)).await,
            "{name}: the connection stays open"
        );
    }
    assert_eq!(a.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a13_names_from_outside_cannot_forge_events() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let mut body = chat("x\u{2028}y\n\ndata: {\"forged\":1}\n\n");
    body["stream"] = json!(true);
    let answer = gateway.post(&body).await;
    assert_eq!(
        answer.status(),
        400,
        "control characters in a model name are refused"
    );
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!text.contains('\n') && !text.contains('\u{2028}'), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a22_a_client_key_opens_nothing_on_the_admin_side_and_strange_hosts_neither() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for path in ["/admin/tree", "/admin/config", "/admin/explain?model=p"] {
        let mut client = Client::connect(gateway.admin).await.unwrap();
        assert_eq!(
            client.get(path, &auth()).await.unwrap().status(),
            401,
            "{path}"
        );
        assert_eq!(client.get(path, &[]).await.unwrap().status(), 401, "{path}");
    }
    let mut client = Client::connect(gateway.admin).await.unwrap();
    let rebound = format!(
        "GET /admin/tree HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n"
    );
    client.send(rebound.as_bytes()).await.unwrap();
    assert_eq!(client.read_answer().await.unwrap().status(), 403);
    let mut fields = admin_auth();
    fields.push(("origin".to_owned(), "https://evil.example".to_owned()));
    let mut client = Client::connect(gateway.admin).await.unwrap();
    assert_eq!(
        client
            .post_json("/admin/reload", &fields, &json!({}))
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a23_ten_thousand_model_names_make_no_new_series() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    gateway.ask("p").await;
    gateway.ask("a/other").await;
    gateway.ask("nope").await;
    let mut client = gateway.client().await;
    for number in 0..2_000 {
        let unknown = chat(&format!("canary-name-{number}"));
        client.post_json(PATH, &auth(), &unknown).await.unwrap();
        if number < 50 {
            let wildcard = chat(&format!("a/canary-name-{number}"));
            client.post_json(PATH, &auth(), &wildcard).await.unwrap();
        }
    }
    let named = gateway
        .metrics()
        .await
        .lines()
        .filter(|line| line.contains("canary-name"))
        .count();
    assert_eq!(named, 0, "a request's own words became labels");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a24_no_secret_and_no_prompt_is_in_metrics_journal_tree_or_errors() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let mut body = chat("p");
    body["messages"][0]["content"] = "canary-prompt-text".into();
    gateway.post(&body).await;
    a.set(
        Behaviour::status(401).json(
            &json!({"error": {"message": "bad key sk-canary-a-k0", "code": "invalid_api_key"}}),
        ),
    );
    let refused = gateway.post(&body).await;
    let mut seen = String::from_utf8_lossy(&refused.body).into_owned();
    seen.push_str(&gateway.metrics().await);
    for path in ["/admin/tree", "/admin/config", "/admin/explain?model=p"] {
        seen.push_str(&gateway.admin_get(path).await.to_string());
    }
    for record in gateway.records().await {
        seen.push_str(&record.to_string());
    }
    assert!(!seen.contains("canary"), "{seen}");
}
