//! Golden cases: wire and domain side by side. `UPDATE_GOLDEN=1` rewrites them; the diff is the review.
//!
//! `openai/<case>/request.json` is decoded to `domain.json` and encoded to `anthropic.json`;
//! `anthropic/<case>/answer.json` to `domain.json` and `openai.json`; `stream.sse` to `openai.sse`;
//! `canonical/<case>/request.json`, which no OpenAI client could have sent, is encoded to `openai.json`.
//!
//! Every openai request is also encoded back, and what comes out is what went in. Where it is not,
//! `back.json` states each difference and why it is right; it is written by hand and never rewritten.

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
use switchyard::dialects::openai::{StreamEncoder, decode_request, encode_answer, encode_request};
use switchyard::dialects::{DialectError, Encoded, Relay, TranslateRelay, anthropic};
use switchyard::domain::chat::ChatRequest;
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
        let crossed = anthropic::encode_request(&domain, "claude-test", Tokens(4_096));
        same(&case, "anthropic.json", &pretty(&crossing(crossed)));
    }
}

fn crossing(encoded: Result<Encoded, DialectError>) -> Value {
    match encoded {
        Ok(encoded) => json!({
            "dropped": encoded.dropped,
            "body": serde_json::from_slice::<Value>(&encoded.body).unwrap(),
        }),
        Err(error) => json!({"refused": error.message, "param": error.param}),
    }
}

/// Every place where two values differ; a side that has nothing there is not named.
fn differences(at: &str, sent: Option<&Value>, back: Option<&Value>, found: &mut Vec<Value>) {
    match (sent, back) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let only_right = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(only_right) {
                differences(&format!("{at}/{key}"), left.get(key), right.get(key), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            for index in 0..left.len().max(right.len()) {
                let (left, right) = (left.get(index), right.get(index));
                differences(&format!("{at}/{index}"), left, right, found);
            }
        }
        (sent, back) if sent == back => {}
        (sent, back) => {
            let mut one = json!({"at": at});
            if let Some(sent) = sent {
                one["sent"] = sent.clone();
            }
            if let Some(back) = back {
                one["back"] = back.clone();
            }
            found.push(one);
        }
    }
}

/// What the case says about its way back: nothing lost and nothing changed, unless it states otherwise.
fn stated(case: &Path) -> Value {
    let plain = json!({"dropped": [], "differs": []});
    let Ok(text) = fs::read_to_string(case.join("back.json")) else {
        return plain;
    };
    let mut stated: Value = serde_json::from_str(&text).unwrap();
    let why = stated.as_object_mut().unwrap().remove("why");
    let why = why.unwrap_or_default();
    assert!(
        why.as_str().is_some_and(|why| !why.is_empty()) && stated != plain,
        "{}: back.json states a difference and why it is right",
        case.display()
    );
    stated
}

#[test]
fn openai_requests_come_back_as_they_were_sent() {
    for case in cases("openai", "request.json") {
        let body = fs::read(case.join("request.json")).unwrap();
        let domain = decode_request(&body).unwrap();
        let seen = match encode_request(&domain, &domain.model) {
            Ok(encoded) => {
                let sent: Value = serde_json::from_slice(&body).unwrap();
                let back: Value = serde_json::from_slice(&encoded.body).unwrap();
                let mut differs = Vec::new();
                differences("", Some(&sent), Some(&back), &mut differs);
                json!({"dropped": encoded.dropped, "differs": differs})
            }
            refused @ Err(_) => crossing(refused),
        };
        let stated = stated(&case);
        assert!(
            seen == stated,
            "{} came back with\n{}but states\n{}",
            case.display(),
            pretty(&seen),
            pretty(&stated)
        );
    }
}

#[test]
fn canonical_requests_cross_to_openai() {
    for case in cases("canonical", "request.json") {
        let text = fs::read(case.join("request.json")).unwrap();
        let request: ChatRequest = serde_json::from_slice(&text).unwrap();
        let crossed = encode_request(&request, "gpt-test");
        if let Ok(encoded) = &crossed {
            // What was sent says all of itself: nothing is left out of it a second time.
            let read = decode_request(&encoded.body).unwrap();
            let again = encode_request(&read, "gpt-test").unwrap();
            assert!(again.dropped.is_empty(), "{}", case.display());
            let reread = decode_request(&again.body).unwrap();
            assert_eq!(reread, read, "{}", case.display());
        }
        same(&case, "openai.json", &pretty(&crossing(crossed)));
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
