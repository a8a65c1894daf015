//! K08: keys that are traded for a token, against a token server of every cloud that expires, fails, is slow
//! or refuses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::frame::{Gateway, chat, code_of, mock, mock_of};

/// What the token server does with the next requests.
#[derive(Clone, Copy)]
struct Does {
    status: u16,
    after: Duration,
    life_s: u64,
}

const WELL: Does = Does {
    status: 200,
    after: Duration::ZERO,
    life_s: 3_600,
};

#[derive(Clone, Debug)]
struct Heard {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: String,
}

/// Gives out `t0k-1`, `t0k-2` and so on, in the form of whoever is asked.
struct TokenServer {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    does: Mutex<Does>,
    heard: Mutex<Vec<Heard>>,
}

impl TokenServer {
    async fn start(does: Does) -> Self {
        let inner = Arc::new(Inner {
            does: Mutex::new(does),
            heard: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, inner }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn now(&self, does: Does) {
        *self.inner.does.lock().await = does;
    }

    async fn heard(&self) -> Vec<Heard> {
        self.inner.heard.lock().await.clone()
    }

    async fn asked(&self) -> usize {
        self.inner.heard.lock().await.len()
    }

    async fn asked_at_least(&self, count: usize) {
        let asked = async {
            while self.asked().await < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), asked).await.unwrap();
    }
}

async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let path = uri.to_string();
    let number = {
        let mut heard = inner.heard.lock().await;
        heard.push(Heard {
            method,
            path: path.clone(),
            headers,
            body: body.clone(),
        });
        heard.len()
    };
    let does = *inner.does.lock().await;
    sleep(does.after).await;
    let life = does.life_s;
    let end = "2999-01-01T00:00:00Z";
    let keys = json!({"Code": "Success", "AccessKeyId": format!("ASIA{number}"), "SecretAccessKey": "sk-canary-aws", "Token": format!("t0k-{number}"), "Expiration": end});
    let said = if path.starts_with("/latest/api/token") {
        "the-word".to_owned()
    } else if path.ends_with("/security-credentials/") {
        "the-role".to_owned()
    } else if path.contains("/security-credentials/") || path.starts_with("/container") {
        keys.to_string()
    } else if body.contains("Action=AssumeRoleWithWebIdentity") {
        format!(
            "<A><Credentials><AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>sk-canary-aws</SecretAccessKey><SessionToken>t0k-{number}</SessionToken><Expiration>{end}</Expiration></Credentials></A>"
        )
    } else {
        json!({"access_token": format!("t0k-{number}"), "expires_in": life, "token_type": "Bearer"})
            .to_string()
    };
    let status = StatusCode::from_u16(does.status).unwrap();
    let said = if status.is_success() {
        said
    } else {
        "sk-canary-reason".to_owned()
    };
    (status, [("metadata-flavor", "Google")], said)
}

/// The file of a service account. Its key was made for this test and opens nothing.
fn service_account(server: &TokenServer) -> String {
    let file = json!({
        "type": "service_account",
        "project_id": "p-1",
        "private_key_id": "kid-1",
        "private_key": include_str!("service_account.pem"),
        "client_email": "robot@p-1.iam.example",
        "token_uri": server.url("/token"),
    });
    file.to_string()
}

/// A gateway in front of Vertex with a service account, and the folder with its file.
async fn vertex(server: &TokenServer, mock: &MockProvider, more: &str) -> (Gateway, TempDir) {
    vertex_as("a", server, mock, more).await
}

async fn vertex_as(
    name: &str,
    server: &TokenServer,
    mock: &MockProvider,
    more: &str,
) -> (Gateway, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sa.json");
    write_private(&path, &service_account(server));
    let secret = format!("file:{}", path.display());
    let text = provider(mock, "auth = \"vertex\"", &secret, more);
    let text = text.replace("providers.a]", &format!("providers.{name}]"));
    (Gateway::start(&text).await, folder)
}

/// A provider whose key is `secret`.
fn provider(mock: &MockProvider, auth: &str, secret: &str, more: &str) -> String {
    format!(
        "[providers.a]\ndialect = \"{}\"\n{auth}\nbase_url = \"{}\"\nallow_private_address = true\nmodels = [\"m-a\"]\nkeys = [{{ name = \"k0\", secret = \"{secret}\" }}]\n{more}",
        mock.dialect().name(),
        mock.origin()
    )
}

fn write_private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Of the one provider here that is called so: all tests share their metrics.
async fn refreshed(gateway: &Gateway, result: &str) -> f64 {
    let name = format!("switchyard_token_refresh_total{{provider=\"tok\",result=\"{result}\"}}");
    let metrics = gateway.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(&name));
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}

fn bearer(mock: &MockProvider) -> String {
    let asked = mock.last().unwrap().asked.clone();
    asked.header("authorization").unwrap().to_owned()
}

/// As Vertex refuses a token.
fn revoke(mock: &MockProvider, token: &'static str) {
    mock.when(
        move |asked| asked.key() == Some(token),
        Behaviour::status(401),
    );
}

/// A part of an assertion.
fn part(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_service_account_s_key_is_traded_for_a_token_and_stays_here() {
    let server = TokenServer::start(WELL).await;
    for (dialect, path) in [
        (
            Dialect::Gemini,
            "/v1/projects/p-1/locations/global/publishers/google/models/m-a:generateContent",
        ),
        (
            Dialect::Anthropic,
            "/v1/projects/p-1/locations/global/publishers/anthropic/models/m-a:rawPredict",
        ),
        (
            Dialect::OpenAi,
            "/v1/projects/p-1/locations/global/endpoints/openapi/chat/completions",
        ),
    ] {
        let before = server.asked().await;
        let mock = mock_of(dialect, "a").await;
        let (gateway, _folder) = vertex(&server, &mock, "").await;
        let answer = gateway.post(&chat("m-a")).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        let asked = mock.last().unwrap().asked.clone();
        assert_eq!(asked.path, path);
        assert_eq!(bearer(&mock), format!("Bearer t0k-{}", before + 1));
        assert_eq!(
            asked.header("x-goog-api-key").or(asked.header("x-api-key")),
            None
        );
        if dialect == Dialect::Anthropic {
            assert_eq!(asked.json["anthropic_version"], "vertex-2023-10-16");
            assert_eq!(asked.json["model"], Value::Null);
        }
        // Nothing of the trade shows anywhere.
        let told = format!("{}{:?}", gateway.metrics().await, gateway.records().await);
        assert!(!told.contains("t0k-") && !told.contains("PRIVATE"));
    }
    let heard = server.heard().await.remove(0);
    assert_eq!(
        (heard.method, heard.path.as_str()),
        (Method::POST, "/token")
    );
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    let assertion = heard.body.strip_prefix(grant).unwrap();
    let (said, signature) = assertion.rsplit_once('.').unwrap();
    let (head, claims) = said.split_once('.').unwrap();
    assert_eq!(
        part(head),
        json!({"alg": "RS256", "typ": "JWT", "kid": "kid-1"})
    );
    let claims = part(claims);
    assert_eq!(claims["iss"], "robot@p-1.iam.example");
    assert_eq!(claims["aud"], server.url("/token"));
    assert_eq!(
        claims["scope"],
        "https://www.googleapis.com/auth/cloud-platform"
    );
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(life, 3_600);
    let pem = include_bytes!("service_account.pem");
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public().as_ref())
        .verify(said.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k08_requests_at_once_wait_for_one_slow_fetch() {
    let server = TokenServer::start(Does {
        after: Duration::from_millis(400),
        ..WELL
    })
    .await;
    let mock = mock_of(Dialect::Gemini, "a").await;
    let (gateway, _folder) = vertex(&server, &mock, "").await;
    let body = chat("m-a");
    let answers = (0..20).map(|_| gateway.post(&body));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    assert_eq!(server.asked().await, 1, "one refresher");
    assert_eq!(mock.requests(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k08_a_token_is_fetched_anew_before_its_end_and_the_old_one_serves_while_that_fails() {
    let server = TokenServer::start(Does { life_s: 7, ..WELL }).await;
    let mock = mock_of(Dialect::Gemini, "a").await;
    let (gateway, _folder) = vertex_as("tok", &server, &mock, "").await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    server
        .now(Does {
            status: 500,
            ..WELL
        })
        .await;
    let since = Instant::now();
    // Due after 4.9 to 5.6 of its 7 s; it fails, and what there is still serves.
    server.asked_at_least(2).await;
    assert!(
        since.elapsed() > Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
    let answer = gateway.post(&chat("m-a")).await;
    assert_eq!(answer.status(), 200, "the old token serves to its end");
    assert_eq!(bearer(&mock), "Bearer t0k-1");
    assert!(refreshed(&gateway, "unavailable").await >= 1.0);
    // After its end nobody is asked without one.
    sleep(Duration::from_secs(2)).await;
    let asked = mock.requests();
    let answer = gateway.post(&chat("m-a")).await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (503, "provider_auth")
    );
    assert_eq!(mock.requests(), asked);
    assert!(!answer.json().to_string().contains("canary"));
    server.now(WELL).await;
    let served = async {
        while gateway.post(&chat("m-a")).await.status() != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(15), served).await.unwrap();
    assert_eq!(refreshed(&gateway, "ok").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k08_a_token_server_that_is_down_costs_only_the_provider_behind_it() {
    let server = TokenServer::start(Does {
        status: 503,
        ..WELL
    })
    .await;
    let mock_a = mock_of(Dialect::Gemini, "a").await;
    let mock_b = mock("b").await;
    let more = format!(
        "{}[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 100000 }}, {{ target = \"b/m-b\", weight = 0.001 }}]\n",
        crate::frame::provider("b", &mock_b)
    );
    let (gateway, _folder) = vertex(&server, &mock_a, &more).await;
    for _ in 0..10 {
        let answer = gateway.post(&chat("p")).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    assert_eq!(mock_a.requests(), 0);
    assert!(server.asked().await < 8, "not hammered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k01_a_revoked_token_is_fetched_anew_once_and_then_the_key_rests() {
    let server = TokenServer::start(WELL).await;
    let mock = mock_of(Dialect::Gemini, "a").await;
    let (gateway, _folder) = vertex(&server, &mock, "").await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    revoke(&mock, "t0k-1");
    let answer = gateway.post(&chat("m-a")).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
    assert_eq!(bearer(&mock), "Bearer t0k-2");
    assert_eq!(server.asked().await, 2);
    // The next one is refused as well, so it is not the token: nobody asks for a third.
    revoke(&mock, "t0k-2");
    let answer = gateway.post(&chat("m-a")).await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (503, "provider_auth")
    );
    assert_eq!(server.asked().await, 2);
    let asked = mock.requests();
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 503);
    assert_eq!(mock.requests(), asked, "the key rests");
    let actor = gateway.actor("root/providers/a/k0").await;
    assert_eq!(actor["health"], "refused", "{actor}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x02_a_killed_key_actor_keeps_its_token() {
    let server = TokenServer::start(WELL).await;
    let mock = mock_of(Dialect::Gemini, "a").await;
    let (gateway, _folder) = vertex(&server, &mock, "").await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    for how in ["panic", "kill"] {
        let before = gateway.actor("root/providers/a/k0").await["restarts"].clone();
        let path = format!("/admin/kill?path=root/providers/a/k0&how={how}");
        assert_eq!(gateway.admin_post(&path).await.status(), 200);
        while gateway.actor("root/providers/a/k0").await["restarts"] == before {
            assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
        }
        assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    }
    assert_eq!(server.asked().await, 1);
    // And the one that follows still renews it.
    revoke(&mock, "t0k-1");
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    assert_eq!(bearer(&mock), "Bearer t0k-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k07_a_reload_that_does_not_touch_a_key_keeps_its_token() {
    let server = TokenServer::start(WELL).await;
    let mock = mock_of(Dialect::Gemini, "a").await;
    let (gateway, _folder) = vertex(&server, &mock, "").await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    // Another limit of the same provider: its client and its actors are made anew.
    let text = text.replace(
        "models = [\"m-a\"]",
        "models = [\"m-a\"]\nmax_in_flight = 7",
    );
    std::fs::write(gateway.config_path(), text).unwrap();
    assert_eq!(gateway.admin_post("/admin/reload").await.status(), 200);
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    assert_eq!(bearer(&mock), "Bearer t0k-1");
    assert_eq!(server.asked().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_google_s_machines_are_asked_only_when_that_is_written_down() {
    let server = TokenServer::start(WELL).await;
    let mock = mock_of(Dialect::Gemini, "a").await;
    let auth = format!(
        "auth = \"vertex\"\nproject = \"p-2\"\nregion = \"europe-west4\"\ntoken_url = \"{}\"",
        server.url("/computeMetadata/v1/token")
    );
    let gateway = Gateway::start(&provider(&mock, &auth, "metadata:", "")).await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    let heard = server.heard().await.remove(0);
    assert_eq!(
        (heard.method, heard.path.as_str()),
        (Method::GET, "/computeMetadata/v1/token")
    );
    assert_eq!(heard.headers["metadata-flavor"], "Google");
    assert!(
        mock.last()
            .unwrap()
            .asked
            .path
            .contains("/projects/p-2/locations/europe-west4/")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_azure_takes_a_token_of_entra_s_for_a_client_s_secret_or_its_machine() {
    let server = TokenServer::start(WELL).await;
    let mock = mock("a").await;
    let entra = format!(
        "auth = \"entra\"\ntenant = \"t-1\"\nclient_id = \"c-1\"\ntoken_url = \"{}\"",
        server.url("/t-1/oauth2/v2.0/token")
    );
    let secret = "file:FOLDER/entra";
    let gateway = Gateway::start(&provider(&mock, &entra, secret, "")).await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    let asked = mock.last().unwrap().asked.clone();
    assert_eq!(
        asked.path,
        "/openai/deployments/m-a/chat/completions?api-version=2024-10-21"
    );
    assert_eq!(
        (bearer(&mock).as_str(), asked.header("api-key")),
        ("Bearer t0k-1", None)
    );
    let heard = server.heard().await.remove(0);
    assert_eq!(
        heard.body,
        "grant_type=client_credentials&client_id=c-1&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default&client_secret=sk-canary-entra"
    );
    let machine = format!(
        "auth = \"entra\"\nclient_id = \"c-1\"\ntoken_url = \"{}\"",
        server.url("/metadata/identity/oauth2/token")
    );
    let gateway = Gateway::start(&provider(&mock, &machine, "metadata:", "")).await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    let heard = server.heard().await.remove(1);
    assert_eq!(heard.headers["metadata"], "true");
    assert_eq!(
        heard.path,
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=c-1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_aws_s_machines_are_asked_in_two_steps_and_what_they_give_signs() {
    let server = TokenServer::start(WELL).await;
    let mock = mock_of(Dialect::Bedrock, "a").await;
    let auth = format!(
        "region = \"eu-north-1\"\ntoken_url = \"{}\"",
        server.url("")
    );
    let gateway = Gateway::start(&provider(&mock, &auth, "metadata:", "")).await;
    assert_eq!(gateway.post(&chat("m-a")).await.status(), 200);
    let heard = server.heard().await;
    let steps: Vec<_> = heard
        .iter()
        .map(|one| (one.method.as_str(), one.path.as_str()))
        .collect();
    let roles = "/latest/meta-data/iam/security-credentials/";
    let role = format!("{roles}the-role");
    assert_eq!(
        steps,
        [("PUT", "/latest/api/token"), ("GET", roles), ("GET", &role)]
    );
    assert_eq!(heard[2].headers["x-aws-ec2-metadata-token"], "the-word");
    let asked = mock.last().unwrap().asked.clone();
    assert_eq!(asked.header("x-amz-security-token"), Some("t0k-3"));
    assert!(
        bearer(&mock).contains("Credential=ASIA3/"),
        "{}",
        bearer(&mock)
    );
    assert!(bearer(&mock).contains("/eu-north-1/bedrock/aws4_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_a_token_is_fetched_through_the_proxy_that_attempts_go_through() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let mock = mock("a").await;
    let entra = "auth = \"entra\"\ntenant = \"t-1\"\nclient_id = \"c-1\"\ntoken_url = \"https://login.example/t-1/token\"";
    let more = format!("[egress]\nproxy = \"http://{address}\"\nno_proxy = [\"127.0.0.1\"]\n");
    let _gateway = Gateway::start(&provider(&mock, entra, "file:FOLDER/entra", &more)).await;
    let (mut asked, _) = timeout(Duration::from_secs(5), proxy.accept())
        .await
        .unwrap()
        .unwrap();
    let mut line = [0; 33];
    asked.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"CONNECT login.example:443 HTTP/1.");
}
