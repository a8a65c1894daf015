//! Section 9 of the fault catalogue, as far as it needs no tenants.

use std::time::Duration;

use serde_json::json;
use switchyard_chaos::client::Client;
use switchyard_chaos::mock::Behaviour;

use crate::frame::{ADMIN_KEY, KEY, PATH, admin_auth, alone, auth, chat, code_of, mock};

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

/// Every body here would be answered by the provider if its framing were let through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_ambiguous_framing_is_400_and_the_connection_closes() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let body = chat("p").to_string();
    let (long, hex) = (body.len(), format!("{:x}", body.len()));
    let chunked = format!("{hex}\r\n{body}\r\n0\r\n\r\n");
    let line = format!("POST {PATH} HTTP/1.1\r\n");
    let fields = format!("host: x\r\nauthorization: Bearer {KEY}\r\n");
    let plain = format!("{line}{fields}content-length: {long}\r\n\r\n{body}");
    let head = format!("{line}{fields}");
    let cases = [
        (
            "cl.te",
            format!(
                "{head}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}",
                chunked.len()
            ),
        ),
        (
            "te.cl",
            format!(
                "{head}transfer-encoding: chunked\r\ncontent-length: {}\r\n\r\n{chunked}",
                chunked.len()
            ),
        ),
        (
            "te.te",
            format!(
                "{head}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"
            ),
        ),
        (
            "te list",
            format!("{head}transfer-encoding: identity, chunked\r\n\r\n{chunked}"),
        ),
        (
            "odd te",
            format!("{head}transfer-encoding: xchunked\r\n\r\n{chunked}"),
        ),
        (
            "plus",
            format!("{head}content-length: +{long}\r\n\r\n{body}"),
        ),
        (
            "same twin cl",
            format!("{head}content-length: {long}\r\ncontent-length: {long}\r\n\r\n{body}"),
        ),
        (
            "other twin cl",
            format!("{head}content-length: {long}\r\ncontent-length: 6\r\n\r\n{body}"),
        ),
        (
            "cl list",
            format!("{head}content-length: {long}, {long}\r\n\r\n{body}"),
        ),
        (
            "fold",
            format!("{head}x-a: 1\r\n b\r\ncontent-length: {long}\r\n\r\n{body}"),
        ),
        (
            "bare lf",
            format!("{head}x-a: 1\ncontent-length: {long}\r\n\r\n{body}"),
        ),
        (
            "bare lf end",
            format!("{head}content-length: {long}\r\n\n{body}"),
        ),
        (
            "space",
            format!("{head}content-length : {long}\r\n\r\n{body}"),
        ),
        (
            "twin host",
            format!("{head}host: y\r\ncontent-length: {long}\r\n\r\n{body}"),
        ),
        (
            "chunk extension",
            format!("{head}transfer-encoding: chunked\r\n\r\n{hex};a=b\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "bad chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "lf chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\n{hex}\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "1.0 te",
            format!("POST {PATH} HTTP/1.0\r\n{fields}transfer-encoding: chunked\r\n\r\n{chunked}"),
        ),
        (
            "upgrade",
            format!(
                "GET /live HTTP/1.1\r\n{fields}upgrade: websocket\r\nconnection: upgrade\r\n\r\n{plain}"
            ),
        ),
    ];
    for (name, request) in cases {
        let mut client = gateway.client().await;
        client.send(request.as_bytes()).await.unwrap();
        let answer = client
            .read_answer()
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status(), 400, "{name}: {}", answer.json());
        assert!(!code_of(&answer).is_empty(), "{name}: {}", answer.json());
        assert!(
            client.closes_within(Duration::from_secs(1)).await,
            "{name}: the connection stays open"
        );
        assert_eq!(a.requests(), 0, "{name}: the provider was asked");
    }
    // One byte at a time no less.
    let mut client = gateway.client().await;
    let slow = format!("{head}content-length: {long}\r\ncontent-length: {long}\r\n\r\n");
    for byte in slow.as_bytes() {
        client.send(&[*byte]).await.unwrap();
    }
    assert_eq!(client.read_answer().await.unwrap().status(), 400);
    assert_eq!(a.requests(), 0);
    // The series belong to the process, so other tests may have added to it.
    let metrics = gateway.metrics().await;
    let closed: Option<u32> = metrics
        .lines()
        .find_map(|line| line.strip_prefix("switchyard_conn_closed_total{why=\"framing\"} "))
        .and_then(|count| count.parse().ok());
    assert!(closed.is_some_and(|closed| closed >= 20), "{closed:?}");
}

/// A request hidden behind a good one in the same packet is not read; the good one is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_what_stands_before_the_fault_is_answered_and_nothing_behind_it() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let body = chat("p").to_string();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n",
        body.len()
    );
    let good = format!("{head}\r\n{body}");
    let bad = format!("{head}transfer-encoding: chunked\r\n\r\n{body}");
    let mut client = gateway.client().await;
    client
        .send(format!("{good}{bad}{good}").as_bytes())
        .await
        .unwrap();
    assert_eq!(client.read_answer().await.unwrap().status(), 200);
    let refused = client.read_answer().await.unwrap();
    assert_eq!(code_of(&refused), "bad_framing");
    assert!(client.closes_within(Duration::from_secs(1)).await);
    assert_eq!(a.requests(), 1);
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

/// No run of digits is so long that the guard looks away for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_endless_zeros_in_a_chunk_size_do_not_hide_what_follows() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let body = chat("p").to_string();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n");
    for zeros in [70_000, 200_000] {
        let before = a.requests();
        let mut client = gateway.client().await;
        let first = format!(
            "{head}transfer-encoding: chunked\r\n\r\n{}{:x}\r\n{body}\r\n0\r\n\r\n",
            "0".repeat(zeros),
            body.len()
        );
        let _ = client.send(first.as_bytes()).await;
        let hidden = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let ambiguous = format!(
            "{head}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            5 + hidden.len()
        );
        let _ = client.send(ambiguous.as_bytes()).await;
        while let Ok(answer) = client.read_answer().await {
            if answer.status() != 200 {
                assert_eq!(answer.status(), 400);
            }
        }
        assert!(
            a.requests() - before <= 1,
            "{zeros} zeros let a hidden request through"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a02_who_guesses_keys_is_slowed_down_and_nobody_beside_it() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let wrong = [("authorization".to_owned(), "Bearer sk-wrong".to_owned())];
    let mut seen = Vec::new();
    for _ in 0..60 {
        let mut client = gateway.client().await;
        let answer = client.post_json(PATH, &wrong, &chat("p")).await.unwrap();
        seen.push(answer.status());
    }
    assert_eq!(seen.first(), Some(&401));
    assert_eq!(seen.last(), Some(&429), "{seen:?}");
    // Behind one address there may be a whole office.
    assert_eq!(gateway.ask("p").await.status(), 200);
}
