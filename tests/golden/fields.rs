//! Every field of every request is kept, told or refused, unknown ones too.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchyard::dialects::{decode_request as decode_dialect, encode_request as encode_dialect};
use switchyard::domain::{ClientDialect, Quirks};

use super::cases::{CLIENTS, cases, other_providers, recipient};

/// Every object of a request, by its place as a JSON pointer.
fn objects(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(at.to_owned());
            for (name, value) in fields {
                objects(
                    &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    value,
                    found,
                );
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                objects(&format!("{at}/{index}"), value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Tools that the request itself allows no call of are not sent where nothing else forbids it.
fn is_left_out(case: &Path, place: &str) -> bool {
    (case.ends_with("named-tool") && place.starts_with("/tools/1"))
        || (case.ends_with("ask-some-tools")
            && place.starts_with("/tools/0/functionDeclarations/2"))
}

fn golden_requests() -> Vec<(ClientDialect, PathBuf, Value)> {
    let mut found = Vec::new();
    for (client, name) in CLIENTS {
        for case in cases(name, "request.json") {
            let body = fs::read(case.join("request.json")).unwrap();
            found.push((client, case, serde_json::from_slice(&body).unwrap()));
        }
    }
    found
}

#[test]
fn g_an_unknown_field_at_any_place_is_kept_or_told_or_the_request_is_refused() {
    let mut silent = Vec::new();
    for (client, case, body) in golden_requests() {
        let mut places = Vec::new();
        objects("", &body, &mut places);
        for place in places
            .into_iter()
            .filter(|place| !is_left_out(&case, place))
        {
            let top = place.split('/').nth(1).unwrap_or_default();
            let mut odd = body.clone();
            odd.pointer_mut(&place).unwrap()["zzunknown"] = "zz".into();
            let Ok(domain) = decode_dialect(client, odd.to_string().as_bytes()) else {
                continue;
            };
            for (provider, name) in other_providers(client) {
                let Ok(encoded) = encode_dialect(provider, &domain, recipient(&Quirks::default()))
                else {
                    continue;
                };
                let kept = String::from_utf8(encoded.body)
                    .unwrap()
                    .contains("zzunknown");
                let told = encoded.dropped.iter().any(|told| {
                    told.ends_with("zzunknown")
                        || told == "unknown fields"
                        || told == "thinking" && place.contains("reasoning_details")
                        || told == top
                });
                if !kept && !told {
                    silent.push(format!("{} at {place:?} to {name}", case.display()));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

/// What means nothing where it stands: without it, the request is the same.
const MEANS_NOTHING: &[&str] = &[
    // There is one kind of it.
    "/tool_calls//type",
    "/tool_choice/type",
    "/cache_control/type",
    "/format/type",
    "/summary//type",
    "/input//type",
    // The default, said aloud.
    "/response_format",
    "/stream",
    "/contents//role",
    "/generationConfig/responseMimeType",
    // A thought that is told with its block or its details is told beside them, too.
    "/reasoning_content",
    "/messages//reasoning",
    "/thinking_blocks//thinking",
    "/thinking//type",
    // A text is one, and a document by address is judged by who reads it.
    "/source/media_type",
    "/fileData/mimeType",
];

/// Nothing, said aloud.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || [json!(""), json!("{}"), json!({}), json!([])].contains(value)
}

#[test]
fn g_whatever_is_said_is_read_or_told() {
    let mut silent = Vec::new();
    for (client, case, body) in golden_requests() {
        let Ok(whole) = decode_dialect(client, body.to_string().as_bytes()) else {
            continue;
        };
        let mut places = Vec::new();
        objects("", &body, &mut places);
        for place in places.iter().filter(|place| !is_left_out(&case, place)) {
            let names: Vec<String> = body
                .pointer(place)
                .unwrap()
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            for name in names {
                let mut less = body.clone();
                let object = less.pointer_mut(place).unwrap().as_object_mut().unwrap();
                if object
                    .shift_remove(&name)
                    .is_none_or(|value| is_nothing(&value))
                {
                    continue;
                }
                let at = format!("{place}/{name}");
                let plain: String = at
                    .chars()
                    .filter(|letter| !letter.is_ascii_digit())
                    .collect();
                if MEANS_NOTHING.iter().any(|known| plain.ends_with(known)) {
                    continue;
                }
                if decode_dialect(client, less.to_string().as_bytes())
                    .is_ok_and(|less| less == whole)
                {
                    silent.push(format!("{} {at}", case.display()));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
