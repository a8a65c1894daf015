//! Tokens of somebody else's as a second way in (attack A26).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client};
use switchyard_chaos::mock::MockProvider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::frame::{Gateway, KEY, PATH, chat, code_of, mock, provider};
use crate::process::Process;
use crate::tls_mock::{Authority, Certificate, Speaks};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// One key of an issuer's.
struct Signer {
    id: &'static str,
    key: EcdsaKeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let (how, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(how, key.as_ref(), &random).unwrap();
        Self { id, key }
    }

    fn jwk(&self) -> Value {
        let point = &self.key.public_key().as_ref()[1..];
        let (x, y) = point.split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": b64(x), "y": b64(y)})
    }

    fn token(&self, claims: &Value) -> String {
        self.token_as(
            &json!({"alg": "ES256", "typ": "JWT", "kid": self.id}),
            claims,
        )
    }

    fn token_as(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes());
        format!("{text}.{}", b64(signature.unwrap()))
    }
}

/// What an issuer tells now; `None`: an error.
#[derive(Default)]
struct Told {
    document: Mutex<Option<Value>>,
    keys: Mutex<Option<Value>>,
    asked: AtomicUsize,
    led_away: AtomicUsize,
}

/// An issuer on loopback. What it tells may be changed.
struct Issuer {
    url: String,
    told: Arc<Told>,
}

async fn tell(State(told): State<Arc<Told>>, uri: Uri) -> Response {
    let what = match uri.path() {
        "/.well-known/openid-configuration" => &told.document,
        "/keys" => {
            told.asked.fetch_add(1, Ordering::SeqCst);
            &told.keys
        }
        "/redirect" => {
            let mut headers = HeaderMap::new();
            headers.insert("location", "/led-away".parse().unwrap());
            return (StatusCode::FOUND, headers).into_response();
        }
        _ => {
            told.led_away.fetch_add(1, Ordering::SeqCst);
            &told.keys
        }
    };
    match what.lock().await.as_ref() {
        Some(value) => value.to_string().into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Issuer {
    async fn new(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Told::default());
        let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "more": [1]});
        *told.document.lock().await = Some(document);
        let router = axum::Router::new()
            .fallback(tell)
            .with_state(Arc::clone(&told));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let issuer = Self { url, told };
        if !keys.is_empty() {
            issuer.has(keys).await;
        }
        issuer
    }

    async fn has(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        *self.told.keys.lock().await = Some(json!({"keys": keys}));
    }

    fn section(&self, more: &str) -> String {
        format!(
            "[identities.corp]\nissuer = \"{}\"\naudiences = [\"gw\"]\n{more}",
            self.url
        )
    }

    fn claims(&self, user: &str) -> Value {
        json!({"iss": self.url, "aud": "gw", "sub": user, "iat": now(), "exp": now() + 600})
    }
}

fn bearer(token: &str) -> Vec<(String, String)> {
    vec![("authorization".to_owned(), format!("Bearer {token}"))]
}

async fn ask(gateway: &Gateway, token: &str, model: &str) -> Answer {
    let mut client = gateway.client().await;
    let asked = client.post_json(PATH, &bearer(token), &chat(model)).await;
    asked.unwrap()
}

/// Asks until the issuer's keys are there.
async fn let_in(gateway: &Gateway, token: &str) {
    let asking = async {
        loop {
            let answer = ask(gateway, token, "p").await;
            match answer.status() {
                200 => return,
                503 => assert_eq!(code_of(&answer), "overloaded"),
                other => panic!("{other}: {}", answer.json()),
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), asking).await.unwrap();
}

async fn gateway(a: &MockProvider, more: &str) -> Gateway {
    let text = format!("{}[pools.p]\ntargets = [\"a/m-a\"]\n", provider("a", a));
    Gateway::start(&format!("{text}[pools.q]\ntargets = [\"a/m-a\"]\n{more}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_a_token_of_a_trusted_issuer_lets_in_where_a_key_would() {
    let (a, signer) = (mock("a").await, Signer::new("k1"));
    let issuer = Issuer::new(&[&signer]).await;
    let more = "[tenants.acme]\n[tenants.acme.teams.search]\n";
    let section = issuer.section("tenant = \"acme\"\nteam_claim = \"team\"\n");
    let gateway = gateway(&a, &format!("{section}{more}")).await;
    let mut claims = issuer.claims("ada-canary-person");
    claims["team"] = "search".into();
    let token = signer.token(&claims);
    let_in(&gateway, &token).await;
    assert_eq!(issuer.told.asked.load(Ordering::SeqCst), 1);
    // Wherever SDKs put what they call a key.
    let messages =
        json!({"model": "p", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let google = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    for (header, path, body) in [
        ("x-api-key", "/v1/messages", &messages),
        (
            "x-goog-api-key",
            "/v1beta/models/p:generateContent",
            &google,
        ),
        ("api-key", PATH, &chat("p")),
    ] {
        let fields = [(header.to_owned(), token.clone())];
        let mut client = gateway.client().await;
        let answer = client.post_json(path, &fields, body).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
    }
    // The file's keys are as good as before.
    assert_eq!(gateway.ask("p").await.status(), 200);
    // Two that differ are refused, whatever they are.
    let mut both = bearer(&token);
    both.push(("x-api-key".to_owned(), KEY.to_owned()));
    let mut client = gateway.client().await;
    let answer = client.post_json(PATH, &both, &chat("p")).await.unwrap();
    assert_eq!(answer.status(), 401);
    // Who it was is told by an alias, and a header does not change it.
    let mut fields = bearer(&token);
    fields.push(("x-switchyard-user".to_owned(), "somebody-else".to_owned()));
    let mut client = gateway.client().await;
    client.post_json(PATH, &fields, &chat("p")).await.unwrap();
    let records = gateway.records().await;
    let intents: Vec<&Value> = records
        .iter()
        .filter(|record| record["kind"] == "intent" && record["client"] == "jwt~corp")
        .collect();
    assert_eq!(intents.len(), 5, "{records:?}");
    let users: Vec<&Value> = intents.iter().map(|intent| &intent["user"]).collect();
    assert!(users.iter().all(|user| **user == *users[0]), "{users:?}");
    assert_eq!(intents[0]["tenant"], "acme", "{}", intents[0]);
    assert_eq!(intents[0]["team"], "search", "{}", intents[0]);
    let shown = format!("{records:?}");
    assert!(!shown.contains("canary-person") && !shown.contains("somebody-else"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_every_forgery_is_the_same_401_in_the_clients_own_dialect() {
    let (a, signer, thief) = (mock("a").await, Signer::new("k1"), Signer::new("k1"));
    let issuer = Issuer::new(&[&signer]).await;
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\nmax_header_bytes = 4000000\n";
    let section = issuer.section("require = { groups = [\"llm\", \"admins\"] }\ntenant_claim = \"org\"\ntenants = { o1 = \"default\", o2 = \"gone\" }\n");
    let gateway = gateway(&a, &format!("{listen}{section}")).await;
    let mut claims = issuer.claims("ada");
    claims["groups"] = json!(["x", "admins"]);
    claims["org"] = "o1".into();
    let token = signer.token(&claims);
    let_in(&gateway, &token).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        signer.token(&claims)
    };
    let header = |name: &str, value: Value| {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header[name] = value;
        header
    };
    let (text, signature) = token.rsplit_once('.').unwrap();
    let unsigned = |alg: &str| {
        let head = b64(json!({"alg": alg, "kid": "k1"}).to_string());
        format!("{head}.{}", b64(claims.to_string()))
    };
    let hmac_text = unsigned("HS256");
    let secret = hmac::Key::new(hmac::HMAC_SHA256, signer.jwk().to_string().as_bytes());
    let hmac_signed = hmac::sign(&secret, hmac_text.as_bytes());
    let forged = [
        format!("{}.", unsigned("none")),
        format!("{}.{signature}", unsigned("none")),
        format!("{hmac_text}.{}", b64(hmac_signed)),
        thief.token(&claims),
        signer.token_as(&header("kid", json!("../../../../dev/null")), &claims),
        signer.token_as(&header("kid", json!("k0")), &claims),
        signer.token_as(&header("crit", json!(["exp"])), &claims),
        thief.token_as(&header("jwk", thief.jwk()), &claims),
        thief.token_as(
            &header("jku", json!(format!("{}/led-away", issuer.url))),
            &claims,
        ),
        with("aud", json!("other")),
        with("iss", json!("https://other.example")),
        with("exp", json!(now() - 31)),
        with("nbf", json!(now() + 3_600)),
        with("groups", json!(["x"])),
        with("org", json!("o3")),
        with("org", json!("o2")),
        with("sub", json!("")),
        with("sub", json!("x".repeat(20_000))),
        with("sub", json!("x".repeat(750_000))),
        format!("{text}.{}", b64([0; 64])),
        format!("{token}="),
        "eyJhbGciOiJFUzI1NiJ9.e30.AAAA".to_owned(),
    ];
    let before = jwt_refused(&gateway).await;
    let mut told = None;
    let good = Answer::clone(&ask(&gateway, &token, "p").await);
    assert_eq!(good.status(), 200);
    let mut guesses = 0;
    for token in &forged {
        let answer = ask(&gateway, token, "p").await;
        let start = &token[..token.len().min(300)];
        // Many wrong ones in a minute are slowed down, whatever is wrong with them.
        if guesses > 20 && answer.status() == 429 {
            continue;
        }
        guesses += 1;
        assert_eq!(answer.status(), 401, "{start}: {}", answer.json());
        assert_eq!(code_of(&answer), "invalid_api_key", "{start}");
        let mut body = answer.json();
        body["error"].as_object_mut().unwrap().remove("request_id");
        body.as_object_mut().unwrap().remove("request_id");
        assert_eq!(*told.get_or_insert_with(|| body.clone()), body, "{start}");
        assert!(!body.to_string().contains("signature"), "{body}");
    }
    assert!(guesses > 20);
    // The metrics are the process's.
    assert!(jwt_refused(&gateway).await - before >= guesses);
    assert_eq!(issuer.told.led_away.load(Ordering::SeqCst), 0);
    assert_eq!(
        issuer.told.asked.load(Ordering::SeqCst),
        1,
        "not asked again for each"
    );
    // What never looked like one is no token.
    for (path, place) in [
        ("/v1/messages", "/error/type"),
        ("/v1beta/models/p:generateContent", "/error/status"),
    ] {
        let mut client = gateway.client().await;
        let fields = [("x-api-key".to_owned(), with("aud", json!("other")))];
        let answer = client
            .post_json(path, &fields, &json!({"model": "p"}))
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        let word = answer.json().pointer(place).unwrap().clone();
        assert!(
            ["authentication_error", "UNAUTHENTICATED"].contains(&word.as_str().unwrap()),
            "{word}"
        );
    }
    assert_eq!(ask(&gateway, &token, "p").await.status(), 200);
}

async fn jwt_refused(gateway: &Gateway) -> u64 {
    let metrics = gateway.metrics().await;
    let line = "switchyard_auth_fail_total{why=\"jwt\"}";
    let mut values = metrics.lines().filter_map(|found| found.strip_prefix(line));
    values
        .next()
        .map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_while_the_issuer_says_nothing_tokens_wait_and_keys_work() {
    let (a, signer) = (mock("a").await, Signer::new("k1"));
    let issuer = Issuer::new(&[]).await;
    let gateway = gateway(&a, &issuer.section("")).await;
    let token = signer.token(&issuer.claims("ada"));
    let answer = ask(&gateway, &token, "p").await;
    assert_eq!(answer.status(), 503, "{}", answer.json());
    assert!(answer.json().to_string().contains("issuer"));
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(gateway.ask("p").await.status(), 200, "keys need no issuer");
    // Nor do tokens that are of nobody.
    let other = signer.token(&json!({"iss": "https://other.example", "exp": now() + 60}));
    assert_eq!(ask(&gateway, &other, "p").await.status(), 401);
    issuer.has(&[&signer]).await;
    let_in(&gateway, &token).await;
    // What is known stays good when it falls silent again.
    *issuer.told.keys.lock().await = None;
    let fresh = signer.token(&issuer.claims("eve"));
    assert_eq!(ask(&gateway, &fresh, "p").await.status(), 200);
    let tree = gateway.actor("root/issuers").await;
    assert_eq!(tree["health"], "in force", "{tree}");
    let metrics = gateway.metrics().await;
    for name in [
        "switchyard_identity_refresh_total{identity=\"corp\",result=\"ok\"}",
        "switchyard_identity_refresh_total{identity=\"corp\",result=\"unavailable\"}",
        "switchyard_identity_confirmed_timestamp_seconds{identity=\"corp\"}",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_a_document_that_leads_elsewhere_is_not_followed() {
    let (a, signer) = (mock("a").await, Signer::new("k1"));
    for odd in ["issuer", "address", "redirect"] {
        let issuer = Issuer::new(&[&signer]).await;
        let away = format!("{}/led-away", issuer.url);
        let mut document = json!({"issuer": issuer.url, "jwks_uri": away});
        match odd {
            "issuer" => document["issuer"] = "https://login.example".into(),
            "address" => document["jwks_uri"] = "http://169.254.169.254/keys".into(),
            _ => document["jwks_uri"] = format!("{}/redirect", issuer.url).into(),
        }
        *issuer.told.document.lock().await = Some(document);
        let gateway = gateway(&a, &issuer.section("")).await;
        let result = match odd {
            "issuer" => "other_issuer",
            "address" => "address",
            _ => "unavailable",
        };
        let line = format!("identity=\"corp\",result=\"{result}\"");
        let told = async {
            while !gateway.metrics().await.contains(&line) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(10), told).await.unwrap();
        let answer = ask(&gateway, &signer.token(&issuer.claims("ada")), "p").await;
        assert_eq!(answer.status(), 503, "{odd}");
        assert_eq!(issuer.told.led_away.load(Ordering::SeqCst), 0, "{odd}");
        let tree = gateway.actor("root/issuers").await;
        assert_eq!(tree["health"], "behind", "{tree}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_a_token_is_never_wider_than_its_tenant_its_identity_and_its_own_claim() {
    let (a, signer) = (mock("a").await, Signer::new("k1"));
    let issuer = Issuer::new(&[&signer]).await;
    let tenant = "[tenants.acme]\npools = [\"p\", \"q\"]\n";
    let section = issuer.section(
        "tenant = \"acme\"\npools_claim = \"scope\"\npools_prefix = \"model:\"\noperations = [\"chat\"]\n",
    );
    let gateway = gateway(&a, &format!("{section}{tenant}")).await;
    let token = |scope: &str| {
        let mut claims = issuer.claims("ada");
        claims["scope"] = scope.into();
        signer.token(&claims)
    };
    let_in(&gateway, &token("openid model:p")).await;
    for (scope, model, expected) in [
        ("openid model:p", "q", 404),
        ("model:q", "q", 200),
        // Names, to the letter.
        ("model:*", "q", 404),
        ("model:q*", "q", 404),
        ("model:* model:p", "q", 404),
        // What the tenant may not use, no claim opens.
        ("model:m-a", "m-a", 404),
        ("openid", "p", 404),
        ("p q", "p", 404),
    ] {
        let answer = ask(&gateway, &token(scope), model).await;
        assert_eq!(
            answer.status(),
            expected,
            "{scope} {model}: {}",
            answer.json()
        );
    }
    let mut client = gateway.client().await;
    let listed = client
        .get("/v1/models", &bearer(&token("model:q")))
        .await
        .unwrap()
        .json();
    let names: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["q"]);
    let embedding = json!({"model": "p", "input": "x"});
    let answer = client
        .post_json("/v1/embeddings", &bearer(&token("model:p")), &embedding)
        .await
        .unwrap();
    assert_eq!(answer.status(), 404, "{}", answer.json());
    // A token without the claim is not one without limits.
    let bare = signer.token(&issuer.claims("ada"));
    assert_eq!(ask(&gateway, &bare, "p").await.status(), 401);
    // A tenant that is gone lets nobody in, with tokens that were good a moment ago.
    let good = token("model:p");
    assert_eq!(ask(&gateway, &good, "p").await.status(), 200);
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), text.replace(tenant, "")).unwrap();
    let reloaded = gateway.admin_post("/admin/reload").await;
    assert_eq!(reloaded.status(), 200, "{}", reloaded.json());
    assert_eq!(ask(&gateway, &good, "p").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_people_of_one_issuer_share_limits_and_nothing_that_is_kept_for_them() {
    let (a, signer) = (mock("a").await, Signer::new("k1"));
    let issuer = Issuer::new(&[&signer]).await;
    let gateway = gateway(&a, &issuer.section("requests_per_minute = 40\n")).await;
    let (ada, eve) = (
        signer.token(&issuer.claims("ada")),
        signer.token(&issuer.claims("eve")),
    );
    let_in(&gateway, &ada).await;
    let mut client = gateway.client().await;
    let body = json!({"model": "p", "input": "hi", "store": true});
    let made = client
        .post_json("/v1/responses", &bearer(&ada), &body)
        .await
        .unwrap();
    assert_eq!(made.status(), 200, "{}", made.json());
    let place = format!("/v1/responses/{}", made.json()["id"].as_str().unwrap());
    let mut seen = Vec::new();
    for token in [&ada, &eve] {
        let answer = client.get(&place, &bearer(token)).await.unwrap();
        seen.push(answer.status());
    }
    assert_eq!(seen, [200, 404]);
    // The same person with another token is the same person.
    let mut later = issuer.claims("ada");
    later["exp"] = (now() + 900).into();
    let again = client
        .get(&place, &bearer(&signer.token(&later)))
        .await
        .unwrap();
    assert_eq!(again.status(), 200);
    let mut told = Vec::new();
    for token in [&ada, &eve, &ada] {
        let mut fields = bearer(token);
        fields.push(("idempotency-key".to_owned(), "once".to_owned()));
        let answer = client.post_json(PATH, &fields, &chat("p")).await.unwrap();
        told.push(answer.header("x-switchyard-idempotent") == Some("replayed"));
    }
    assert_eq!(told, [false, false, true]);
    // Many people make no actors, no series and no limits of their own.
    let actors = |tree: &Value| tree["actors"].as_array().unwrap().len();
    let before = actors(&gateway.admin_get("/admin/tree").await);
    let mut last = 200;
    for person in 0..60 {
        let token = signer.token(&issuer.claims(&format!("canary-{person}")));
        last = ask(&gateway, &token, "p").await.status();
    }
    assert_eq!(last, 429, "the limit is of all of them");
    assert_eq!(actors(&gateway.admin_get("/admin/tree").await), before);
    assert!(!gateway.metrics().await.contains("canary-"));
    assert_eq!(gateway.ask("p").await.status(), 200, "and of nobody else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_keys_of_a_file_are_in_force_with_a_reload_and_those_that_went_are_not() {
    let (a, one, two) = (mock("a").await, Signer::new("k1"), Signer::new("k2"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let set = |signer: &Signer| json!({"keys": [signer.jwk()]}).to_string();
    std::fs::write(&path, set(&one)).unwrap();
    let section = format!(
        "[identities.corp]\nissuer = \"corp\"\naudiences = [\"gw\"]\njwks = \"file:{}\"\n",
        path.display()
    );
    // The frame writes a secret for each file it finds named.
    let config = section.replace("file:", "FILE");
    let gateway = gateway(&a, "").await;
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(
        gateway.config_path(),
        text + &config.replace("FILE", "file:"),
    )
    .unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    let claims = json!({"iss": "corp", "aud": ["x", "gw"], "sub": "ada", "exp": now() + 600});
    let (old, new) = (one.token(&claims), two.token(&claims));
    for (token, expected) in [(&old, 200), (&new, 401)] {
        assert_eq!(ask(&gateway, token, "p").await.status(), expected);
    }
    std::fs::write(&path, set(&two)).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    // The old one was remembered as good: not beyond its key.
    for (token, expected) in [(&old, 401), (&new, 200)] {
        assert_eq!(ask(&gateway, token, "p").await.status(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a24_nothing_of_a_token_is_in_metrics_journal_tree_or_errors() {
    let (a, signer) = (mock("a").await, Signer::new("canary-kid"));
    let issuer = Issuer::new(&[&signer]).await;
    let gateway = gateway(&a, &issuer.section("")).await;
    let mut claims = issuer.claims("canary-person");
    claims["email"] = "canary-mail".into();
    let good = signer.token(&claims);
    let_in(&gateway, &good).await;
    claims["aud"] = "canary-audience".into();
    let bad = signer.token(&claims);
    let refused = ask(&gateway, &bad, "p").await;
    assert_eq!(refused.status(), 401);
    let mut seen = format!("{refused:?}");
    seen.push_str(&String::from_utf8_lossy(&refused.body));
    seen.push_str(&gateway.metrics().await);
    for path in [
        "/admin/tree",
        "/admin/config",
        "/admin/explain?model=p",
        "/admin/spend?by=client",
    ] {
        seen.push_str(&gateway.admin_get(path).await.to_string());
    }
    for record in gateway.records().await {
        seen.push_str(&record.to_string());
    }
    assert!(seen.contains("jwt~corp"), "the records were read");
    let parts = [&good, &bad].map(|token| token.split('.').map(str::to_owned).collect::<Vec<_>>());
    for part in parts.iter().flatten() {
        assert!(!seen.contains(part.as_str()), "{part}");
    }
    assert!(!seen.contains("canary"), "{seen}");
    // What it is asked for goes to the provider; who asked does not.
    let sent = format!("{:?}", a.last().unwrap());
    assert!(!sent.contains("eyJ"), "{sent}");
}

/// Tells two documents over TLS: what leads to its keys, and its keys.
async fn secure_issuer(authority: &Authority, keys: &str, jwk: &Value) -> String {
    let acceptor = authority.acceptor(Certificate::Good, Speaks::Http1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let keys = keys.replace("ISSUER", &url);
    let document = json!({"issuer": url, "jwks_uri": keys}).to_string();
    let set = json!({"keys": [jwk]}).to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut asked = vec![0; 4_096];
            let read = stream.read(&mut asked).await.unwrap_or_default();
            let is_document = String::from_utf8_lossy(&asked[..read]).contains("/.well-known/");
            let body = if is_document { &document } else { &set };
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_an_issuer_is_known_by_its_certificate_and_leads_to_nobody_without_one() {
    let (a, signer, authority) = (mock("a").await, Signer::new("k1"), Authority::new());
    // In the clear, on this machine: fit for an issuer that is here itself, and for no other.
    let here = Issuer::new(&[&signer]).await;
    let in_clear = format!("{}/keys", here.url);
    for (keys, trusted, result) in [
        ("ISSUER/keys", true, "ok"),
        ("ISSUER/keys", false, "unavailable"),
        (&*in_clear, true, "address"),
    ] {
        let url = secure_issuer(&authority, keys, &signer.jwk()).await;
        let ca = format!("ca_file = \"{}\"\n", authority.file().display());
        let ca = if trusted { &*ca } else { "" };
        let name = format!("secure-{result}");
        let section =
            format!("[identities.{name}]\nissuer = \"{url}\"\naudiences = [\"gw\"]\n{ca}");
        let gateway = gateway(&a, &section).await;
        let line = format!("identity=\"{name}\",result=\"{result}\"");
        let told = async {
            while !gateway.metrics().await.contains(&line) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(15), told).await.unwrap();
        let claims = json!({"iss": url, "aud": "gw", "sub": "ada", "exp": now() + 600});
        let answer = ask(&gateway, &signer.token(&claims), "p").await;
        let expected = if result == "ok" { 200 } else { 503 };
        assert_eq!(answer.status(), expected, "{result}: {}", answer.json());
    }
    assert_eq!(here.told.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a26_the_log_tells_which_check_it_was_and_a24_nothing_of_the_token() {
    let (a, signer) = (mock("a").await, Signer::new("canary-kid"));
    let issuer = Issuer::new(&[&signer]).await;
    let pools = "[pools.p]\ntargets = [\"a/m-a\"]\n";
    let config = format!("{}{pools}{}", provider("a", &a), issuer.section(""));
    let process = Process::start("ulimit -c 0", &config).await;
    let mut claims = issuer.claims("canary-person");
    claims["aud"] = "canary-audience".into();
    let token = signer.token(&claims);
    let told = async {
        while !process.log().contains("audience") {
            let mut client = Client::connect(process.address).await.unwrap();
            client
                .post_json(PATH, &bearer(&token), &chat("p"))
                .await
                .unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(15), told).await.unwrap();
    let log = process.log();
    let line = log
        .lines()
        .find(|line| line.contains("a token was refused"));
    assert!(line.unwrap().contains("corp"), "{log}");
    for part in token.split('.').chain(["canary"]) {
        assert!(!log.contains(part), "{part}: {log}");
    }
    // Many of a kind are one line a second.
    for _ in 0..25 {
        let mut client = Client::connect(process.address).await.unwrap();
        client
            .post_json(PATH, &bearer(&token), &chat("p"))
            .await
            .unwrap();
    }
    let lines = process.log().matches("a token was refused").count();
    assert!(lines < 20, "{lines}");
}
