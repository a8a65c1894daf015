//! Golden cases: wire and domain side by side. `UPDATE_GOLDEN=1` rewrites them; the diff is the review.
//!
//! `openai/<case>/request.json` is decoded to `domain.json` and encoded to `anthropic.json`;
//! `anthropic/<case>/answer.json` to `domain.json` and `openai.json`; `stream.sse` to `openai.sse`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test crate"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use switchyard::dialects::openai::{StreamEncoder, decode_request, encode_answer};
use switchyard::dialects::{Relay, TranslateRelay, anthropic};
use switchyard::domain::{Dialect, Tokens};

fn cases(dialect: &str, input: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(dialect);
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|case| case.join(input).exists())
        .collect();
    found.sort();
    assert!(found.len() >= 5, "the cases were not found");
    found
}

/// Compares with the file beside it, or writes it anew.
fn same(case: &Path, name: &str, seen: &str) {
    let path = case.join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, seen).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept,
        seen,
        "{} differs; UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn openai_requests_decode_and_cross_to_anthropic() {
    for case in cases("openai", "request.json") {
        let body = fs::read(case.join("request.json")).unwrap();
        let domain = decode_request(&body).unwrap();
        same(
            &case,
            "domain.json",
            &pretty(&serde_json::to_value(&domain).unwrap()),
        );
        let crossed = match anthropic::encode_request(&domain, "claude-test", Tokens(4_096)) {
            Ok(encoded) => json!({
                "dropped": encoded.dropped,
                "body": serde_json::from_slice::<Value>(&encoded.body).unwrap(),
            }),
            Err(error) => json!({"refused": error.message, "param": error.param}),
        };
        same(&case, "anthropic.json", &pretty(&crossed));
    }
}

#[test]
fn anthropic_answers_decode_and_cross_to_openai() {
    for case in cases("anthropic", "answer.json") {
        let body = fs::read(case.join("answer.json")).unwrap();
        match anthropic::decode_answer(&body) {
            Ok(answer) => {
                same(
                    &case,
                    "domain.json",
                    &pretty(&serde_json::to_value(&answer).unwrap()),
                );
                let encoded: Value =
                    serde_json::from_slice(&encode_answer(&answer, 1_700_000_000)).unwrap();
                same(&case, "openai.json", &pretty(&encoded));
            }
            Err(fault) => same(&case, "fault.txt", &format!("{fault:#?}\n")),
        }
    }
}

#[test]
fn anthropic_streams_cross_to_openai_whole_or_say_why_not() {
    for case in cases("anthropic", "stream.sse") {
        let stream = Bytes::from(fs::read(case.join("stream.sse")).unwrap());
        let encoder = StreamEncoder::new("id", "fast", 1_700_000_000, true);
        let mut relay = TranslateRelay::new(Dialect::Anthropic, encoder);
        let mut out = BytesMut::new();
        let ended = relay
            .feed(&stream, &mut out)
            .and_then(|()| relay.end(&mut out));
        let text = String::from_utf8(out.to_vec()).unwrap();
        same(&case, "openai.sse", &format!("{text}: ended {ended:?}\n"));
        assert_eq!(
            ended.is_ok(),
            text.ends_with("data: [DONE]\n\n"),
            "{}",
            case.display()
        );
        // The same stream in single bytes is the same stream.
        let encoder = StreamEncoder::new("id", "fast", 1_700_000_000, true);
        let mut relay = TranslateRelay::new(Dialect::Anthropic, encoder);
        let mut sliced = BytesMut::new();
        let fed =
            (0..stream.len()).try_for_each(|at| relay.feed(&stream.slice(at..=at), &mut sliced));
        let again = fed.and_then(|()| relay.end(&mut sliced));
        assert_eq!(
            (again, &sliced[..]),
            (ended, text.as_bytes()),
            "{}",
            case.display()
        );
    }
}
