//! Where everything is found, what is told of what is not, and the list of models in each client's form.

use serde_json::{Value, json};
use switchyard_chaos::client::Answer;
use switchyard_chaos::mock::Dialect;

use crate::frame::{Gateway, KEY, alone, auth, chat, mock, mock_of, provider};

async fn ask(gateway: &Gateway, method: &str, path: &str, fields: &[(String, String)]) -> Answer {
    let mut client = gateway.client().await;
    let request = client.request(method, path, fields, b"");
    client.send(&request).await.unwrap();
    client.read_answer().await.unwrap()
}

fn with(name: &str, value: &str) -> Vec<(String, String)> {
    let mut fields = auth();
    fields.push((name.to_owned(), value.to_owned()));
    fields
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_every_operation_is_found_behind_every_usual_base() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let operations = [
        ("chat/completions", chat("p")),
        ("completions", json!({"model": "p", "prompt": "x"})),
        ("embeddings", json!({"model": "p", "input": "x"})),
        ("moderations", json!({"model": "p", "input": "x"})),
        (
            "rerank",
            json!({"model": "p", "query": "x", "documents": ["y"]}),
        ),
        ("images/generations", json!({"model": "p", "prompt": "x"})),
        ("images/edits", json!({"model": "p", "prompt": "x"})),
        (
            "audio/speech",
            json!({"model": "p", "input": "x", "voice": "v"}),
        ),
    ];
    for (operation, body) in &operations {
        let mut nameless = body.clone();
        nameless.as_object_mut().unwrap().remove("model");
        let mut other = body.clone();
        other["model"] = "other".into();
        let deployed = format!("/openai/deployments/p/{operation}");
        for (path, body) in [
            (format!("/v1/{operation}"), body),
            (format!("/{operation}"), body),
            (format!("/api/v1/{operation}"), body),
            (format!("/openai/v1/{operation}"), body),
            (deployed.clone(), body),
            // Who names the model in the address need not name it again, and if so, the address counts.
            (deployed.clone(), &nameless),
            (format!("{deployed}?api-version=2024-10-21"), &other),
            // Even where the address calls it what its provider does, so that nothing seems to change.
            (format!("/openai/deployments/m-a/{operation}"), &other),
        ] {
            let mut client = gateway.client().await;
            let answer = client.post_json(&path, &auth(), body).await.unwrap();
            assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
            let sent = a.last().unwrap().asked.clone();
            assert_eq!(sent.path, format!("/v1/{operation}"), "{path}");
            assert_eq!(sent.model(), Some("m-a"), "{path}");
        }
    }
    for path in [
        "/v1/responses",
        "/responses",
        "/api/v1/responses",
        "/openai/v1/responses",
    ] {
        let mut client = gateway.client().await;
        let body = json!({"model": "p", "input": "x", "store": false});
        let answer = client.post_json(path, &auth(), &body).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
    }
    for base in ["/v1", "", "/api/v1", "/anthropic/v1"] {
        for path in ["messages", "messages/count_tokens"] {
            let body = json!({"model": "p", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
            let mut client = gateway.client().await;
            let answer = client
                .post_json(&format!("{base}/{path}"), &auth(), &body)
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{base}/{path}: {}", answer.json());
        }
    }
    for base in ["/v1beta", "/v1", "", "/api/v1"] {
        for verb in ["generateContent", "countTokens"] {
            let body = json!({"contents": [{"parts": [{"text": "x"}]}]});
            let path = format!("{base}/models/p:{verb}");
            let mut client = gateway.client().await;
            let answer = client.post_json(&path, &auth(), &body).await.unwrap();
            assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_what_is_not_there_is_told_in_the_form_of_who_asks_with_a_hint() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for (path, fields, hint) in [
        (
            "/v1/v1/chat/completions",
            auth(),
            "did you mean /v1/chat/completions?",
        ),
        (
            "/v1/chat/completions/",
            auth(),
            "did you mean /v1/chat/completions?",
        ),
        ("/v2/messages", auth(), "did you mean /v1/messages?"),
        (
            "/v1/nothing",
            with("anthropic-version", "2023-06-01"),
            "the gateway serves",
        ),
        ("/v1beta/nothing", auth(), "the gateway serves"),
        (
            "/v1/nothing",
            with("x-goog-api-key", KEY),
            "the gateway serves",
        ),
    ] {
        let answer = ask(&gateway, "POST", path, &fields).await;
        assert_eq!(answer.status(), 404, "{path}");
        let told = answer.json();
        assert!(
            told["error"]["message"].as_str().unwrap().contains(hint),
            "{path}: {told}"
        );
        let anthropic =
            path.contains("messages") || fields.iter().any(|(name, _)| name == "anthropic-version");
        assert_eq!(told["type"] == "error", anthropic, "{path}: {told}");
        let google =
            path.starts_with("/v1beta") || fields.iter().any(|(name, _)| name == "x-goog-api-key");
        assert_eq!(
            told["error"]["status"] == "NOT_FOUND",
            google,
            "{path}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_another_method_is_405_and_names_the_right_one() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/openai/deployments/p/embeddings", "POST"),
        ("DELETE", "/v1/messages", "POST"),
        ("GET", "/v1/audio/speech", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("PUT", "/v1/models/p", "GET, HEAD, POST"),
        ("PATCH", "/v1beta/models/p:countTokens", "GET, HEAD, POST"),
    ] {
        let answer = ask(&gateway, method, path, &auth()).await;
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        let told = answer.json();
        assert!(
            told["error"]["message"].as_str().unwrap().contains(allow),
            "{told}"
        );
        assert_eq!(told["type"] == "error", path.contains("messages"), "{told}");
    }
}

/// Addresses end up in logs, so a key in one is refused; whoever sends it there reads where it belongs (attack A01).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_a_key_in_the_address_is_refused_with_the_cure() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let key = format!("key={KEY}");
    for path in [
        format!("/v1beta/models/p:generateContent?{key}"),
        format!("/v1beta/models/p:streamGenerateContent?alt=sse&{key}"),
        format!("/v1beta/models?{key}"),
    ] {
        let method = if path.contains(':') { "POST" } else { "GET" };
        let answer = ask(&gateway, method, &path, &[]).await;
        assert_eq!(answer.status(), 401, "{path}");
        let told = answer.json();
        assert_eq!(told["error"]["status"], "UNAUTHENTICATED", "{told}");
        assert_eq!(told["error"]["code"], 401);
        let message = told["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("x-goog-api-key") && !message.contains(KEY),
            "{message}"
        );
    }
    assert_eq!(a.requests(), 0);
}

const OWN: &str = r#"
[a."m-a"]
can = ["chat", "tools", "vision", "reasoning"]
context = 9000
output_limit = 1000
price = { input = "1.25", output = "10" }
deprecated = "2026-01-01"
retired = "2030-02-03"
confirmed = "a test"
"#;

async fn many(limit: &str) -> Gateway {
    let (a, b) = (mock("a").await, mock_of(Dialect::Anthropic, "b").await);
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&file, OWN).unwrap();
    let path = file.keep().unwrap();
    let config = format!(
        "{}{}[registry]\nfile = \"{}\"\n[pools.p]\ntargets = [\"a/m-a\"]\n[pools.q]\ntargets = [\"a/m-a\", \"b/m-b\"]\n[pools.secret]\ntargets = [\"a/m-a\"]\n[[clients]]\nname = \"narrow\"\nkey = \"file:FOLDER/narrow\"\n{limit}",
        provider("a", &a),
        provider("b", &b),
        path.display()
    );
    Gateway::start(&config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_models_are_listed_in_the_form_of_who_asks() {
    let gateway = many("").await;
    let anthropic = with("anthropic-version", "2023-06-01");
    let list = ask(&gateway, "GET", "/v1/models", &anthropic).await.json();
    let first = &list["data"][0];
    assert_eq!(
        (first["type"].as_str(), first["id"].as_str()),
        (Some("model"), Some("p"))
    );
    assert_eq!(
        (&list["first_id"], &list["has_more"]),
        (&json!("p"), &json!(false))
    );
    assert_eq!(
        (&first["max_input_tokens"], &first["max_tokens"]),
        (&json!(9000), &json!(1000))
    );
    assert_eq!(first["lifecycle"], "deprecated");
    assert_eq!(first["retires_at"], "2030-02-03T00:00:00Z");
    assert_eq!(first["capabilities"]["image_input"]["supported"], true);
    assert_eq!(first["capabilities"]["pdf_input"]["supported"], false);
    let one = ask(&gateway, "GET", "/v1/models/p", &anthropic)
        .await
        .json();
    assert_eq!(&one, first);
    let unknown = ask(&gateway, "GET", "/v1/models/none", &anthropic).await;
    assert_eq!(
        (unknown.status(), &unknown.json()["type"]),
        (404, &json!("error"))
    );

    let google = ask(&gateway, "GET", "/v1beta/models", &auth()).await.json();
    let first = &google["models"][0];
    assert_eq!(first["name"], "models/p");
    assert_eq!(
        (&first["inputTokenLimit"], &first["outputTokenLimit"]),
        (&json!(9000), &json!(1000))
    );
    assert_eq!(
        (&first["thinking"], &first["supportedGenerationMethods"][0]),
        (&json!(true), &json!("generateContent"))
    );
    let one = ask(&gateway, "GET", "/v1beta/models/p", &auth())
        .await
        .json();
    assert_eq!(&one, first);
    let by_header = ask(
        &gateway,
        "GET",
        "/v1/models",
        &[("x-goog-api-key".to_owned(), KEY.to_owned())],
    )
    .await;
    assert_eq!(by_header.json(), google);

    let openai = ask(&gateway, "GET", "/v1/models", &auth()).await.json();
    assert_eq!(openai["object"], "list");
    assert_eq!(openai["data"][0]["id"], "p");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_list_is_told_in_pages_without_losing_or_repeating_a_model() {
    let gateway = many("").await;
    let anthropic = with("anthropic-version", "2023-06-01");
    let ids = |list: &Value, name: &str, key: &str| -> Vec<String> {
        let all = list[name].as_array().unwrap().iter();
        all.map(|one| one[key].as_str().unwrap().to_owned())
            .collect()
    };
    let whole = ask(&gateway, "GET", "/v1/models?limit=1000", &anthropic)
        .await
        .json();
    let whole = ids(&whole, "data", "id");
    assert!(whole.len() >= 5, "{whole:?}");
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/models?limit=2&after_id={after}");
        let page = ask(&gateway, "GET", &path, &anthropic).await.json();
        seen.extend(ids(&page, "data", "id"));
        assert_eq!(page["last_id"].as_str(), seen.last().map(String::as_str));
        if page["has_more"] == false {
            break;
        }
        after = page["last_id"].as_str().unwrap().replace('/', "%2F");
    }
    assert_eq!(seen, whole);
    let path = format!(
        "/v1/models?limit=2&before_id={}",
        whole[3].replace('/', "%2F")
    );
    let before = ask(&gateway, "GET", &path, &anthropic).await.json();
    assert_eq!(ids(&before, "data", "id"), whole[1..3]);
    assert_eq!(before["has_more"], true);

    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1beta/models?pageSize=2&pageToken={token}");
        let page = ask(&gateway, "GET", &path, &auth()).await.json();
        seen.extend(ids(&page, "models", "baseModelId"));
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.replace('/', "%2F"),
            None => break,
        }
    }
    assert_eq!(seen, whole);
    for bad in ["limit=0", "limit=x", "after_id=none", "before_id=none"] {
        let answer = ask(&gateway, "GET", &format!("/v1/models?{bad}"), &anthropic).await;
        assert_eq!(answer.status(), 400, "{bad}");
    }
    let bad = ask(&gateway, "GET", "/v1beta/models?pageToken=none", &auth()).await;
    assert_eq!(bad.status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_client_is_shown_what_it_may_use_and_nothing_else() {
    let gateway = many("pools = [\"p\"]\n").await;
    let narrow = (
        "authorization".to_owned(),
        "Bearer sk-canary-narrow".to_owned(),
    );
    let mut anthropic = vec![narrow.clone()];
    anthropic.push(("anthropic-version".to_owned(), "2023-06-01".to_owned()));
    for (path, fields) in [
        ("/v1/models", vec![narrow.clone()]),
        ("/v1/models", anthropic.clone()),
        ("/v1beta/models", vec![narrow.clone()]),
    ] {
        let told = ask(&gateway, "GET", path, &fields).await.json();
        let list = told["data"]
            .as_array()
            .or(told["models"].as_array())
            .unwrap();
        assert_eq!(list.len(), 1, "{path}: {told}");
        assert!(!told.to_string().contains("secret"), "{path}");
    }
    for path in ["/v1/models/secret", "/v1beta/models/secret"] {
        let answer = ask(&gateway, "GET", path, std::slice::from_ref(&narrow)).await;
        assert_eq!(answer.status(), 404, "{path}");
    }
}
