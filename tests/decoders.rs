//! Every decoder against what nobody should send: sound cases with pieces put elsewhere, taken out, repeated,
//! nested deep or of another type. None may panic, and none may take a time that grows beyond what it was given.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test crate"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use switchyard::dialects::{
    AnswerTerms, Encoder, Home, Marker, MirrorRelay, Recipient, Relay, TranslateRelay,
    answer_from_stream, cut_foreign, decode_answer, decode_error, decode_request, encode_answer,
    encode_request,
};
use switchyard::domain::{ClientDialect, Dialect, Quirks, Signers, Tokens};

/// All documents of all cases: requests, answers, and the events of streams.
fn documents() -> Vec<Value> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for dialect in fs::read_dir(root).unwrap() {
        // The readers of some cases stand beside them.
        let dialect = dialect.unwrap().path();
        if !dialect.is_dir() {
            continue;
        }
        for case in fs::read_dir(dialect).unwrap() {
            let case = case.unwrap().path();
            for file in [
                "request.json",
                "answer.json",
                "stream.sse",
                "stream.ndjson",
                "stream.frames",
            ] {
                let Ok(text) = fs::read_to_string(case.join(file)) else {
                    continue;
                };
                if let Ok(value) = serde_json::from_str(&text) {
                    found.push(value);
                    continue;
                }
                let events = text
                    .lines()
                    .map(|line| line.trim_start_matches("data:").trim());
                found.extend(events.filter_map(|event| serde_json::from_str(event).ok()));
            }
        }
    }
    found.sort_by_key(ToString::to_string);
    assert!(found.len() > 300, "{}", found.len());
    found
}

fn places(at: &str, value: &Value, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(&format!("{at}/{name}"), value, found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                places(&format!("{at}/{index}"), value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn odd(draw: &mut fastrand::Rng) -> Value {
    let deep = |open: &str, close: &str, by: usize| {
        serde_json::from_str(&format!("{}1{}", open.repeat(by), close.repeat(by))).unwrap()
    };
    match draw.u8(..14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(u64::MAX),
        3 => json!(i64::MIN),
        4 => json!(-1e308),
        5 => json!(""),
        6 => json!("switchyard-signed~openai~["),
        7 => json!("~switchyard-signed~gemini~"),
        8 => json!("data:;base64,"),
        9 => json!([]),
        10 => json!({}),
        11 => deep("[", "]", 60),
        12 => deep("{\"a\":", "}", 60),
        _ => json!([null, {"type": "text"}, [], "\u{f8ff}number~1e9", 1]),
    }
}

/// A document with a few of its places changed; what is put there may be of any other document.
fn bent(documents: &[Value], draw: &mut fastrand::Rng) -> Value {
    let mut value = documents[draw.usize(..documents.len())].clone();
    for _ in 0..draw.usize(1..5) {
        let mut all = Vec::new();
        places("", &value, &mut all);
        let put = if draw.bool() {
            odd(draw)
        } else {
            let other = &documents[draw.usize(..documents.len())];
            let mut theirs = Vec::new();
            places("", other, &mut theirs);
            other
                .pointer(&theirs[draw.usize(..theirs.len())])
                .unwrap()
                .clone()
        };
        let place = &all[draw.usize(..all.len())];
        *value.pointer_mut(place).unwrap() = put;
    }
    value
}

const PROVIDERS: [Dialect; 7] = Dialect::ALL;

fn as_request(body: &[u8]) {
    for client in ClientDialect::ALL {
        for (model, google) in [("gemini-3-pro", true), ("m", false)] {
            let home = Home {
                model,
                google,
                details: google,
                signer: &"copy".into(),
                signers: &Signers::new([(Dialect::Anthropic, "anthropic".into())]),
            };
            let cut = cut_foreign(client, body, home);
            let left = switchyard::dialects::json::edited(&Bytes::copy_from_slice(body), cut.edits)
                .concat();
            assert!(
                serde_json::from_slice::<Value>(&left).is_ok(),
                "what is left is no JSON"
            );
        }
        let Ok(request) = decode_request(client, body) else {
            continue;
        };
        let recipient = Recipient {
            model: "claude-haiku-4-5",
            default_max_output: Tokens(4_096),
            quirks: &Quirks::default(),
        };
        for provider in PROVIDERS {
            if let Ok(encoded) = encode_request(provider, &request, recipient) {
                assert!(
                    serde_json::from_slice::<Value>(&encoded.body).is_ok(),
                    "{provider:?}"
                );
                assert!(
                    encoded
                        .dropped
                        .iter()
                        .all(|told| told.bytes().all(|byte| (32..127).contains(&byte)))
                );
            }
        }
    }
}

fn as_answer(body: &[u8]) {
    for provider in PROVIDERS {
        let _ = decode_error(provider, 400, body);
        let Ok(answer) = decode_answer(provider, body, "sy-1") else {
            continue;
        };
        for client in ClientDialect::ALL {
            let encoded = encode_answer(client, &answer, &AnswerTerms::default());
            assert!(
                serde_json::from_slice::<Value>(&encoded).is_ok(),
                "{provider:?} {client:?}"
            );
        }
    }
}

fn as_stream(events: &[Value]) {
    let sse: String = events
        .iter()
        .map(|event| {
            let name = event
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("x")
                .replace(['\n', '\r'], "");
            format!("event: {name}\ndata: {event}\n\n")
        })
        .collect();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    for provider in PROVIDERS {
        let stream = Bytes::from(if provider == Dialect::Ollama {
            lines.clone()
        } else {
            sse.clone()
        });
        let _ = answer_from_stream(provider, &stream, "sy-1");
        for client in ClientDialect::ALL {
            let encoder = || Encoder::of(client, &AnswerTerms::default());
            let mut relay: Box<dyn Relay> = if provider == client.dialect() {
                let signers = Arc::new(Signers::default());
                let marker = Marker::of(client, &signers.stamp("copy".into()));
                Box::new(MirrorRelay::new(client, encoder(), "sy-1").marking(marker))
            } else {
                Box::new(TranslateRelay::new(provider, encoder(), "sy-1"))
            };
            let mut out = BytesMut::new();
            let _ = relay
                .feed(&stream, &mut out)
                .and_then(|()| relay.end(&mut out));
            assert!(std::str::from_utf8(&out).is_ok());
        }
    }
}

/// Enough to meet each place of each document a few times; `DECODER_ROUNDS` asks for more.
fn rounds() -> u64 {
    let asked = std::env::var("DECODER_ROUNDS").ok();
    asked
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1_500)
}

#[test]
fn k_no_request_panics_and_whatever_is_sent_is_json() {
    let documents = documents();
    for seed in 0..rounds() {
        let value = bent(&documents, &mut fastrand::Rng::with_seed(seed));
        as_request(value.to_string().as_bytes());
    }
}

#[test]
fn k_no_answer_panics_and_whatever_is_told_is_json() {
    let documents = documents();
    for seed in 0..rounds() {
        let value = bent(&documents, &mut fastrand::Rng::with_seed(!seed));
        as_answer(value.to_string().as_bytes());
    }
}

#[test]
fn k_no_stream_of_sound_and_bent_events_panics() {
    let documents = documents();
    for seed in 0..rounds() / 3 {
        let draw = &mut fastrand::Rng::with_seed(seed << 8);
        // Events of one stream stand beside each other, mostly.
        let start = draw.usize(..documents.len());
        let mut events: Vec<Value> = documents
            .iter()
            .cycle()
            .skip(start)
            .take(draw.usize(1..8))
            .cloned()
            .collect();
        let place = draw.usize(..events.len());
        events[place] = bent(&documents, draw);
        as_stream(&events);
    }
}

#[test]
fn k_nesting_beyond_all_bounds_is_refused_and_not_climbed() {
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for data in [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("{\"properties\":{\"a\":", "}}"),
    ] {
        for body in [
            format!("{{\"messages\":{data}}}"),
            format!("{{\"contents\":{data}}}"),
            format!(
                "{{\"tools\":[{{\"functionDeclarations\":[{{\"name\":\"f\",\"parameters\":{data}}}]}}]}}"
            ),
            format!(
                "{{\"content\":[{{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\",\"input\":{data}}}]}}"
            ),
        ] {
            for client in ClientDialect::ALL {
                assert!(
                    decode_request(client, body.as_bytes()).is_err(),
                    "{client:?}"
                );
            }
            for provider in PROVIDERS {
                assert!(
                    decode_answer(provider, body.as_bytes(), "sy-1").is_err(),
                    "{provider:?}"
                );
            }
        }
    }
}
