//! Providers that are told who calls in ways of their own: each request signed, or a key in another field.

use std::fmt::Write as _;

use ring::{digest, hmac};
use serde_json::json;
use switchyard::config::Source;
use switchyard::upstream::{ProbeResult, Prober, install_crypto};
use switchyard_chaos::mock::{Asked, Behaviour, Dialect};

use crate::frame::{Gateway, alone, chat, mock, mock_of};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// The signature of what arrived, as AWS's documents describe it step by step.
fn by_the_book(asked: &Asked, body: &[u8], secret: &str) -> String {
    let date = asked.header("x-amz-date").unwrap();
    let names = ["content-type", "host", "x-amz-date"];
    let headers: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", asked.header(name).unwrap()))
        .collect();
    // What is escaped already is escaped once more.
    let path = asked.path.replace('%', "%25");
    let body = hex(digest::digest(&digest::SHA256, body));
    let canonical = format!("POST\n{path}\n\n{headers}\n{}\n{body}", names.join(";"));
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let day = &date[..8];
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{date}\n{day}/eu-north-1/bedrock/aws4_request\n{canonical}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for step in [day, "eu-north-1", "bedrock", "aws4_request", &to_sign] {
        let with = hmac::Key::new(hmac::HMAC_SHA256, &key);
        key = hmac::sign(&with, step.as_bytes()).as_ref().to_vec();
    }
    hex(key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_at_bedrock_is_what_was_signed() {
    let mock = mock_of(Dialect::Bedrock, "a").await;
    let gateway = alone(&mock, "").await;
    for stream in [false, true] {
        let mut body = chat("a/anthropic.claude-v1:0");
        body["stream"] = stream.into();
        let answer = gateway.post(&body).await;
        assert_eq!(answer.status(), 200);
        let asked = mock.last().unwrap().asked.clone();
        let operation = if stream {
            "converse-stream"
        } else {
            "converse"
        };
        let path = format!("/model/anthropic.claude-v1%3A0/{operation}");
        assert_eq!(asked.path, path);
        let signature = by_the_book(&asked, &asked.body, "sk-canary-a-pair-k0");
        let authorization = asked.header("authorization").unwrap();
        assert!(
            authorization.ends_with(&format!("Signature={signature}")),
            "{authorization}"
        );
        let told = format!("{:?} {:?}", asked.fields, asked.body);
        assert!(!told.contains("sk-canary"), "the secret itself stays here");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_bedrock_s_own_is_sent_as_it_is() {
    let mock = mock_of(Dialect::Bedrock, "a").await;
    let text = format!(
        "[providers.a]\ndialect = \"bedrock\"\nregion = \"us-east-1\"\nbase_url = \"{}\"\nallow_private_address = true\nmodels = [\"m\"]\nkeys = [\"file:FOLDER/plain\"]\n",
        mock.base_url()
    );
    let gateway = Gateway::start(&text).await;
    assert_eq!(gateway.post(&chat("a/m")).await.status(), 200);
    let asked = mock.last().unwrap().asked.clone();
    assert_eq!(
        asked.header("authorization"),
        Some("Bearer sk-canary-plain")
    );
    assert_eq!(asked.header("x-amz-date"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_is_asked_by_deployment_with_a_key_of_its_own_field() {
    let mock = mock("a").await;
    let text = format!(
        "[providers.a]\nauth = \"azure\"\nbase_url = \"{}/openai\"\nallow_private_address = true\nmodels = [\"gpt-x\"]\nkeys = [\"file:FOLDER/plain\"]\n",
        mock.origin()
    );
    let gateway = Gateway::start(&text).await;
    let answer = gateway.post(&chat("gpt-x")).await;
    assert_eq!(answer.status(), 200);
    let asked = mock.last().unwrap().asked.clone();
    assert_eq!(
        asked.path,
        "/openai/deployments/gpt-x/chat/completions?api-version=2024-10-21"
    );
    assert_eq!(asked.header("api-key"), Some("sk-canary-plain"));
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(asked.json["model"], json!("gpt-x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_bedrock_is_asked_about_with_a_signed_question_that_costs_nothing() {
    install_crypto();
    let mock = mock_of(Dialect::Bedrock, "a").await;
    let gateway = alone(&mock, "").await;
    let source = Source {
        file: Some(gateway.config_path()),
    };
    let settings = source.load().unwrap();
    let provider = &settings.providers[0];
    let prober = Prober::new(provider).unwrap();
    for (status, expected) in [
        (400, ProbeResult::Healthy),
        (403, ProbeResult::KeyRefused),
        (503, ProbeResult::Unreachable),
    ] {
        mock.set(Behaviour::status(status));
        assert_eq!(
            prober.probe(&provider.keys[0], None).await,
            expected,
            "{status}"
        );
        let asked = mock.last().unwrap().asked.clone();
        assert_eq!(asked.path, "/model/m-a/converse");
        assert_eq!(asked.json["messages"], json!([]));
        let signature = by_the_book(&asked, &asked.body, "sk-canary-a-pair-k0");
        let authorization = asked.header("authorization").unwrap();
        assert!(
            authorization.ends_with(&format!("Signature={signature}")),
            "{authorization}"
        );
    }
}
