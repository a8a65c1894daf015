//! `/admin/v1` over sockets: what may be done by whom, once, and told in pages.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client};

use crate::frame::{ADMIN_KEY, Gateway, KEY, PATH, alone, chat, mock, pair, provider};

/// One admin request: a method, a path, who asks, what is sent.
async fn call(gateway: &Gateway, (method, path): (&str, &str), key: &str, body: &Value) -> Answer {
    call_with(
        gateway,
        (method, path),
        &[("authorization", &format!("Bearer {key}"))],
        body,
    )
    .await
}

async fn call_with(
    gateway: &Gateway,
    (method, path): (&str, &str),
    fields: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let mut client = Client::connect(gateway.admin).await.unwrap();
    client.send(head.as_bytes()).await.unwrap();
    client.read_answer().await.unwrap()
}

fn code(answer: &Answer) -> String {
    let code = answer.json()["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    format!("{} {code}", answer.status())
}

async fn asked(gateway: &Gateway, key: &str) -> u16 {
    let mut client = Client::connect(gateway.address).await.unwrap();
    let fields = vec![("authorization".to_owned(), format!("Bearer {key}"))];
    client
        .post_json(PATH, &fields, &chat("p"))
        .await
        .unwrap()
        .status()
}

async fn make(gateway: &Gateway, by: &str, wanted: &Value) -> (String, String) {
    let kind = if wanted["scopes"].is_array() {
        "admin-keys"
    } else {
        "keys"
    };
    let answer = call(gateway, ("POST", &format!("/admin/v1/{kind}")), by, wanted).await;
    assert_eq!(answer.status(), 201, "{}", answer.json());
    let told = answer.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&told["key"]["id"]), text(&told["secret"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_a_change_is_in_force_when_it_is_answered() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let put = json!({"grant": {"pools": ["p"]}, "teams": {"search": {"terms": {"requests_per_minute": 100}}}});
    let answer = call(&gateway, ("PUT", "/admin/v1/tenants/acme"), ADMIN_KEY, &put).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let wanted = json!({"name": "app", "tenant": "acme", "team": "search"});
    let (id, secret) = make(&gateway, ADMIN_KEY, &wanted).await;
    assert_eq!(asked(&gateway, &secret).await, 200);
    let accounts = gateway.admin_get("/admin/v1/tenants/acme/accounts").await;
    assert!(
        accounts["accounts"].to_string().contains("acme/search"),
        "{accounts}"
    );
    let key = format!("/admin/v1/keys/{id}");
    for (call_, status) in [
        (("POST", format!("{key}/block")), 401),
        (("POST", format!("{key}/unblock")), 200),
        (("DELETE", key.clone()), 401),
    ] {
        let (method, path) = &call_;
        let answer = call(&gateway, (method, path), ADMIN_KEY, &Value::Null).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert_eq!(asked(&gateway, &secret).await, status, "{path}");
    }
    let answer = call(&gateway, ("GET", &key), ADMIN_KEY, &Value::Null).await;
    assert_eq!(code(&answer), "404 not_found");
    // Who changed what is in the journal, and no secret is.
    let records = gateway.records().await;
    let events: Vec<String> = records
        .iter()
        .filter(|record| record["name"] == "admin.changed" || record["event"] == "admin.changed")
        .map(ToString::to_string)
        .collect();
    assert!(events.len() >= 5, "{events:?}");
    assert!(
        events
            .iter()
            .any(|event| event.contains(&id) && event.contains("admin.key"))
    );
    let whole: String = records.iter().map(ToString::to_string).collect();
    assert!(!whole.contains(secret.rsplit('_').nth(1).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_what_is_asked_twice_under_one_idempotency_key_is_done_once() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    let fields = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "deploy-7"),
    ];
    let wanted = json!({"name": "app"});
    let first = call_with(&gateway, ("POST", "/admin/v1/keys"), &fields, &wanted).await;
    assert_eq!(first.status(), 201, "{}", first.json());
    let second = call_with(&gateway, ("POST", "/admin/v1/keys"), &fields, &wanted).await;
    assert_eq!(second.status(), 200, "{}", second.json());
    assert_eq!(second.json()["key"]["id"], first.json()["key"]["id"]);
    assert!(second.json()["secret"].is_null());
    let other = call_with(
        &gateway,
        ("POST", "/admin/v1/keys"),
        &fields,
        &json!({"name": "other"}),
    )
    .await;
    assert_eq!(code(&other), "409 idempotency_key_reused");
    let taken = call(&gateway, ("POST", "/admin/v1/keys"), ADMIN_KEY, &wanted).await;
    assert_eq!(code(&taken), "409 taken");
    let keys = gateway.admin_get("/admin/v1/keys").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_lists_are_told_in_pages_that_leave_nothing_out() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for nth in 0..7 {
        make(&gateway, ADMIN_KEY, &json!({"name": format!("app-{nth}")})).await;
    }
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = gateway
            .admin_get(&format!("/admin/v1/keys?limit=3&after={after}"))
            .await;
        let keys = page["keys"].as_array().unwrap();
        assert!(keys.len() <= 3);
        names.extend(
            keys.iter()
                .map(|key| key["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = next.to_owned();
    }
    names.sort();
    assert_eq!(
        names,
        (0..7).map(|nth| format!("app-{nth}")).collect::<Vec<_>>()
    );
    let tenants = gateway.admin_get("/admin/v1/tenants?limit=1").await;
    assert_eq!(tenants["tenants"][0]["name"], "default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a04_a_tenants_admin_sees_and_changes_its_own_keys_only() {
    let a = mock("a").await;
    let gateway = alone(&a, "[tenants.acme]\n[tenants.other]\n").await;
    let wanted = json!({"name": "acme-admin", "tenant": "acme", "scopes": ["read", "keys"]});
    let (_, own) = make(&gateway, ADMIN_KEY, &wanted).await;
    assert!(own.starts_with("sya_live_"));
    let (foreign, _) = make(
        &gateway,
        ADMIN_KEY,
        &json!({"name": "x", "tenant": "other"}),
    )
    .await;
    let (mine, _) = make(&gateway, &own, &json!({"name": "x", "tenant": "acme"})).await;
    let key = |id: &str| format!("/admin/v1/keys/{id}");
    assert_eq!(
        call(&gateway, ("GET", &key(&mine)), &own, &Value::Null)
            .await
            .status(),
        200
    );
    let (missing, null) = (key("0123456789abcdef"), Value::Null);
    for (method, ending) in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/block"),
    ] {
        let absent = call(
            &gateway,
            (method, &format!("{missing}{ending}")),
            &own,
            &null,
        )
        .await;
        let theirs = call(
            &gateway,
            (method, &format!("{}{ending}", key(&foreign))),
            &own,
            &null,
        )
        .await;
        assert_eq!(code(&theirs), "404 not_found", "{method} {ending}");
        assert_eq!(theirs.json(), absent.json());
    }
    let listed = call(&gateway, ("GET", "/admin/v1/keys"), &own, &null)
        .await
        .json();
    assert!(!listed.to_string().contains(&foreign));
    let tenants = call(&gateway, ("GET", "/admin/v1/tenants"), &own, &null)
        .await
        .json();
    assert_eq!(tenants["tenants"].as_array().unwrap().len(), 1);
    for path in [
        "/admin/v1/tenants/other",
        "/admin/v1/tenants/other/accounts",
    ] {
        assert_eq!(
            code(&call(&gateway, ("GET", path), &own, &null).await),
            "404 not_found"
        );
    }
    let there = call(
        &gateway,
        ("POST", "/admin/v1/keys"),
        &own,
        &json!({"name": "y", "tenant": "other"}),
    )
    .await;
    assert_eq!(code(&there), "422 invalid");
    // What concerns everybody is not theirs.
    for path in [
        "/admin/v1/providers",
        "/admin/v1/pools",
        "/admin/tree",
        "/admin/config",
        "/admin/tenants",
    ] {
        assert_eq!(
            call(&gateway, ("GET", path), &own, &null).await.status(),
            403,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a06_nobody_makes_or_becomes_more_than_they_are() {
    let a = mock("a").await;
    let gateway = alone(&a, "[tenants.acme]\npools = [\"p\"]\n[tenants.other]\n").await;
    let wanted = json!({"name": "issuer", "tenant": "acme", "scopes": ["keys"]});
    let (_, issuer) = make(&gateway, ADMIN_KEY, &wanted).await;
    let (_, reader) = make(
        &gateway,
        ADMIN_KEY,
        &json!({"name": "reader", "scopes": ["read"]}),
    )
    .await;
    let (root_id, _) = make(
        &gateway,
        ADMIN_KEY,
        &json!({"name": "all", "scopes": ["read", "write", "keys"]}),
    )
    .await;
    let (id, _) = make(&gateway, &issuer, &json!({"name": "app", "tenant": "acme"})).await;
    let key = format!("/admin/v1/keys/{id}");
    let keys = "/admin/v1/keys";
    for (by, method, path, body, told) in [
        (
            &issuer,
            "POST",
            keys,
            json!({"name": "w", "tenant": "acme", "grant": {"pools": ["q"]}}),
            "403 beyond_grant",
        ),
        (
            &issuer,
            "PATCH",
            key.as_str(),
            json!({"grant": {"pools": ["p", "q"]}}),
            "403 beyond_grant",
        ),
        (
            &issuer,
            "PATCH",
            &key,
            json!({"tenant": "other"}),
            "403 beyond_grant",
        ),
        (
            &issuer,
            "PATCH",
            &key,
            json!({"role": "root"}),
            "403 beyond_grant",
        ),
        (
            &issuer,
            "PATCH",
            &key,
            json!({"scopes": ["write"]}),
            "403 beyond_grant",
        ),
        (
            &issuer,
            "PATCH",
            &key,
            json!({"colour": "red"}),
            "422 invalid",
        ),
        (
            &issuer,
            "POST",
            "/admin/v1/admin-keys",
            json!({"name": "m", "tenant": "acme", "scopes": ["write"]}),
            "403 beyond_grant",
        ),
        (
            &issuer,
            "POST",
            "/admin/v1/admin-keys",
            json!({"name": "m", "scopes": ["keys"]}),
            "403 beyond_grant",
        ),
        (
            &issuer,
            "PUT",
            "/admin/v1/tenants/acme",
            json!({}),
            "403 missing_scope",
        ),
        (
            &reader,
            "POST",
            keys,
            json!({"name": "r"}),
            "403 missing_scope",
        ),
        (
            &reader,
            "PUT",
            "/admin/v1/providers/a/state",
            json!({"state": "drained"}),
            "403 missing_scope",
        ),
        (
            &reader,
            "POST",
            &format!("/admin/v1/keys/{root_id}/rotate"),
            json!({}),
            "403 missing_scope",
        ),
    ] {
        let answer = call(&gateway, (method, path), by, &body).await;
        assert_eq!(code(&answer), told, "{method} {path} {body}");
    }
    let records = gateway.records().await;
    let denied = records
        .iter()
        .filter(|record| record.to_string().contains("admin.denied"));
    assert!(denied.count() >= 10);
    assert!(
        gateway
            .metrics()
            .await
            .contains("switchyard_blocked_total{rule=\"admin_denied\"}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a22_neither_key_opens_the_others_door() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let (_, client) = make(&gateway, ADMIN_KEY, &json!({"name": "app"})).await;
    let (admin_id, admin) = make(
        &gateway,
        ADMIN_KEY,
        &json!({"name": "ops", "scopes": ["read"]}),
    )
    .await;
    for key in [client.as_str(), KEY, "sk-nobody"] {
        for path in ["/admin/v1/keys", "/admin/tree", "/admin/config"] {
            assert_eq!(
                call(&gateway, ("GET", path), key, &Value::Null)
                    .await
                    .status(),
                401,
                "{path}"
            );
        }
    }
    assert_eq!(asked(&gateway, &admin).await, 401);
    assert_eq!(
        call(&gateway, ("GET", "/admin/tree"), &admin, &Value::Null)
            .await
            .status(),
        200
    );
    let block = format!("/admin/v1/keys/{admin_id}/block");
    assert_eq!(
        call(&gateway, ("POST", &block), ADMIN_KEY, &Value::Null)
            .await
            .status(),
        200
    );
    assert_eq!(
        call(&gateway, ("GET", "/admin/tree"), &admin, &Value::Null)
            .await
            .status(),
        401
    );
    // A page that rebinds its name to loopback still sends its own.
    let bearer = format!("Bearer {ADMIN_KEY}");
    let fields = [
        ("authorization", bearer.as_str()),
        ("origin", "http://evil.example"),
    ];
    let answer = call_with(
        &gateway,
        ("POST", "/admin/v1/keys"),
        &fields,
        &json!({"name": "z"}),
    )
    .await;
    assert_eq!(answer.status(), 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a07_a_path_that_is_no_route_is_nothing_whatever_it_looks_like() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for path in [
        "//admin/v1/keys",
        "/v1/../admin/v1/keys",
        "/admin/v1/%2e%2e/tree",
        "/admin/v1/keys;x",
        "/ADMIN/v1/keys",
        "/admin/v1/keys/",
        "/admin/v1",
        "/admin/v2/keys",
    ] {
        let open = call(&gateway, ("GET", path), ADMIN_KEY, &Value::Null).await;
        assert_eq!(open.status(), 404, "{path}");
        // Nor on the clients' side.
        let mut client = Client::connect(gateway.address).await.unwrap();
        let text =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n");
        client.send(text.as_bytes()).await.unwrap();
        let status = client.read_answer().await.unwrap().status();
        assert!(
            status == 404 || status == 401 || status == 400,
            "{path}: {status}"
        );
    }
    let wrong = call(&gateway, ("PUT", "/admin/v1/keys"), ADMIN_KEY, &json!({})).await;
    assert_eq!(code(&wrong), "405 method_not_allowed");
    assert!(
        wrong
            .header("allow")
            .is_some_and(|allow| allow.contains("POST"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a08_whatever_is_handed_in_is_told_what_is_wrong_with_it() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let large = "x".repeat(300 * 1024);
    for (path, body) in [
        ("/admin/v1/keys", json!({"name": "' OR 1=1 --"})),
        ("/admin/v1/keys", json!({"name": "a\u{0}b"})),
        ("/admin/v1/keys", json!({"name": "ok", "env": "LIVE"})),
        ("/admin/v1/keys", json!({"name": "ok", "expires": 1})),
        (
            "/admin/v1/keys",
            json!({"name": "ok", "terms": {"budgets": [{"usd": "-1", "period": "day"}]}}),
        ),
        (
            "/admin/v1/keys",
            json!({"name": "ok", "grant": {"operations": ["fly"]}}),
        ),
        ("/admin/v1/keys", json!([1, 2])),
        ("/admin/v1/keys", json!({"name": large})),
    ] {
        let answer = call(&gateway, ("POST", path), ADMIN_KEY, &body).await;
        let status = answer.status();
        assert!(
            [400, 413, 422].contains(&status),
            "{status} {}",
            answer.json()
        );
        assert!(answer.json()["error"]["message"].as_str().unwrap().len() > 10);
    }
    for path in [
        "/admin/v1/keys?limit=abc",
        "/admin/v1/keys?after=%zz",
        "/admin/v1/keys?after=%ff",
        "/admin/v1/spend?by=colour",
        "/admin/v1/journal?from_ms=yesterday",
        &format!("/admin/v1/journal?user={}", "x".repeat(5_000)),
    ] {
        let answer = call(&gateway, ("GET", path), ADMIN_KEY, &Value::Null).await;
        assert_eq!(answer.status(), 400, "{path}: {}", answer.json());
    }
    // Whole numbers that no time has.
    for path in [
        "/admin/v1/spend?from=18446744073709551615&to=18446744073709551615",
        "/admin/v1/journal?from_ms=18446744073709551615",
        "/admin/v1/keys?limit=18446744073709551615",
    ] {
        let answer = call(&gateway, ("GET", path), ADMIN_KEY, &Value::Null).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
    }
    for id in ["%27%20OR%201=1", "%25%25%25", "%00", "%ff", "x"] {
        let answer = call(
            &gateway,
            ("GET", &format!("/admin/v1/keys/{id}")),
            ADMIN_KEY,
            &Value::Null,
        )
        .await;
        assert!(
            [400, 404].contains(&answer.status()),
            "{id}: {}",
            answer.status()
        );
        assert!(
            ["400 bad_request", "404 not_found"].contains(&code(&answer).as_str()),
            "{id}"
        );
    }
    assert_eq!(gateway.admin_get("/admin/v1/keys").await["keys"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_drains_a_provider_and_puts_it_back() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    assert_eq!(
        gateway.ask("p").await.header("x-switchyard-provider"),
        Some("a")
    );
    let state = ("PUT", "/admin/v1/providers/a/state");
    let answer = call(&gateway, state, ADMIN_KEY, &json!({"state": "drained"})).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let before = a.log().len();
    for _ in 0..10 {
        assert_eq!(
            gateway.ask("p").await.header("x-switchyard-provider"),
            Some("b")
        );
    }
    assert_eq!(a.log().len(), before);
    let told = gateway.admin_get("/admin/v1/providers").await;
    assert_eq!(told["providers"][0]["keys"][0]["state"], "drained");
    let name = told["providers"][0]["keys"][0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/admin/v1/providers/a/keys/{name}/state");
    let answer = call(
        &gateway,
        ("PUT", &path),
        ADMIN_KEY,
        &json!({"state": "serving"}),
    )
    .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        gateway.ask("p").await.header("x-switchyard-provider"),
        Some("a")
    );
    for (path, status) in [
        ("/admin/v1/providers/zz/state", 404),
        ("/admin/v1/providers/a/keys/zz/state", 404),
    ] {
        let answer = call(
            &gateway,
            ("PUT", path),
            ADMIN_KEY,
            &json!({"state": "drained"}),
        )
        .await;
        assert_eq!(answer.status(), status);
    }
    for path in ["tree", "config", "explain?model=p"] {
        let answer = call(
            &gateway,
            ("GET", &format!("/admin/v1/{path}")),
            ADMIN_KEY,
            &Value::Null,
        )
        .await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    let pools = gateway.admin_get("/admin/v1/pools").await;
    assert!(pools["pools"].to_string().contains("\"p\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_and_what_was_spent_are_told_in_pages_and_to_whom_they_concern() {
    let a = mock("a").await;
    let gateway = alone(&a, "[tenants.acme]\n").await;
    let (_, secret) = make(
        &gateway,
        ADMIN_KEY,
        &json!({"name": "app", "tenant": "acme"}),
    )
    .await;
    for _ in 0..3 {
        assert_eq!(asked(&gateway, &secret).await, 200);
    }
    gateway.ask("p").await;
    gateway.booked(4).await;
    let (_, own) = make(
        &gateway,
        ADMIN_KEY,
        &json!({"name": "a", "tenant": "acme", "scopes": ["read"]}),
    )
    .await;
    let all = gateway.admin_get("/admin/v1/journal?limit=2").await;
    assert_eq!(
        (all["requests"].as_array().unwrap().len(), &all["more"]),
        (2, &json!(true))
    );
    let theirs = call(
        &gateway,
        ("GET", "/admin/v1/journal?tenant=default"),
        &own,
        &Value::Null,
    )
    .await
    .json();
    let theirs = theirs["requests"].as_array().unwrap();
    assert_eq!(theirs.len(), 3);
    assert!(theirs.iter().all(|row| row["intent"]["tenant"] == "acme"));
    let spent = gateway.admin_get("/admin/v1/spend?by=client&limit=1").await;
    assert_eq!(
        (spent["lines"].as_array().unwrap().len(), &spent["next"]),
        (1, &json!(1))
    );
    let spent = call(
        &gateway,
        ("GET", "/admin/v1/spend?by=tenant"),
        &own,
        &Value::Null,
    )
    .await
    .json();
    assert_eq!(spent["lines"].as_array().unwrap().len(), 1);
    assert_eq!(spent["lines"][0]["name"], "acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_the_command_asks_a_running_gateway_and_is_told_the_same() {
    let a = mock("a").await;
    let gateway = Gateway::start(&format!(
        "{}[pools.p]\ntargets = [\"a/m-a\"]\n",
        provider("a", &a)
    ))
    .await;
    let run = |arguments: Vec<String>| {
        let (admin, key) = (
            format!("http://{}", gateway.admin),
            gateway.folder.path().join("admin"),
        );
        async move {
            let work = tokio::task::spawn_blocking(move || {
                Command::new(env!("CARGO_BIN_EXE_switchyard"))
                    .args(arguments)
                    .args([
                        "--json",
                        "--admin",
                        &admin,
                        "--key",
                        &format!("file:{}", key.display()),
                    ])
                    .output()
                    .unwrap()
            });
            tokio::time::timeout(Duration::from_secs(20), work)
                .await
                .unwrap()
                .unwrap()
        }
    };
    let of = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let output = run(of(&["tenants", "create", "acme", "--pools", "p"])).await;
    assert!(output.status.success(), "{output:?}");
    let output = run(of(&[
        "keys",
        "create",
        "--name",
        "app",
        "--tenant",
        "acme",
        "--expires",
        "90d",
    ]))
    .await;
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(asked(&gateway, told["secret"].as_str().unwrap()).await, 200);
    let id = told["key"]["id"].as_str().unwrap();
    for words in [
        &["keys", "list"][..],
        &["keys", "show", id],
        &["tenants", "list"],
        &["keys", "rotate", id, "--overlap", "1h"],
        &["keys", "set", id, "--name", "web"],
        &["keys", "block", id],
    ] {
        let output = run(of(words)).await;
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    assert_eq!(asked(&gateway, told["secret"].as_str().unwrap()).await, 401);
    let output = run(of(&[
        "keys", "create", "--name", "x", "--tenant", "acme", "--pools", "q",
    ]))
    .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("beyond"));
    assert!(run(of(&["keys", "delete", id])).await.status.success());
    assert!(!run(of(&["keys", "show", id])).await.status.success());
}
