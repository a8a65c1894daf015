//! Requests, decoded and said to every provider; OpenAI's come back as they were sent.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use switchyard::dialects::openai::{decode_request, encode_request};
use switchyard::dialects::{decode_request as decode_dialect, encode_request as encode_dialect};
use switchyard::domain::Quirks;
use switchyard::domain::chat::ChatRequest;

use super::cases::{CLIENTS, cases, crossing, other_providers, pretty, recipient, same, shown};

#[test]
fn requests_decode_and_cross_to_every_provider() {
    for (client, name) in CLIENTS {
        for case in cases(name, "request.json") {
            let body = fs::read(case.join("request.json")).unwrap();
            let domain = match decode_dialect(client, &body) {
                Ok(domain) => domain,
                Err(error) => {
                    let refused = json!({"refused": error.message, "param": error.param});
                    same(&case, "domain.json", &pretty(&refused));
                    continue;
                }
            };
            same(
                &case,
                "domain.json",
                &pretty(&serde_json::to_value(&domain).unwrap()),
            );
            for (provider, name) in other_providers(client) {
                let crossed = encode_dialect(provider, &domain, recipient(&Quirks::default()));
                same(&case, &format!("{name}.json"), &shown(crossed));
            }
        }
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
        let seen = match encode_request(&domain, &domain.model, &Quirks::default()) {
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
        let crossed = encode_request(&request, "gpt-test", &Quirks::default());
        if let Ok(encoded) = &crossed {
            // What was sent says all of itself: nothing is left out of it a second time.
            let read = decode_request(&encoded.body).unwrap();
            let again = encode_request(&read, "gpt-test", &Quirks::default()).unwrap();
            assert!(again.dropped.is_empty(), "{}", case.display());
            let reread = decode_request(&again.body).unwrap();
            assert_eq!(reread, read, "{}", case.display());
        }
        same(&case, "openai.json", &pretty(&crossing(crossed)));
    }
}
