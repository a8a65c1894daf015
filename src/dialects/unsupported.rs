//! Encoding a request by what the operator wants done with what a provider cannot be told.
//!
//! # Why around the encoders
//! Each encoder says what it cannot say: an error that names a field, or a list of names. What follows from
//! that is one decision for all of them.

use std::borrow::Cow;

use super::stops::provider_takes;
use super::{DialectError, Encoded, Recipient, encode_request};
use crate::domain::chat::ChatRequest;
use crate::domain::{Dialect, Unsupported};

/// What follows the name of what was sent although the provider does not heed it.
pub const SENT_UNHEEDED: &str = " (sent; not enforced)";

/// No request has more fields that one provider cannot be told.
const MOST_LEFT_OUT: usize = 32;

/// As [`encode_request`], by this policy. The request is changed where something is left out.
pub fn encode_by(
    policy: Unsupported,
    dialect: Dialect,
    request: &mut ChatRequest,
    recipient: Recipient<'_>,
) -> Result<Encoded, DialectError> {
    let encode = |request: &ChatRequest| encode_request(dialect, request, recipient);
    match policy {
        Unsupported::Default => encode(request),
        Unsupported::Strict => strict(encode(request)?),
        Unsupported::Drop => {
            let mut left_out: Vec<&'static str> = Vec::new();
            for _ in 0..MOST_LEFT_OUT {
                let error = match encode(request) {
                    Ok(mut encoded) => {
                        left_out.retain(|name| !encoded.dropped.iter().any(|known| known == name));
                        encoded
                            .dropped
                            .extend(left_out.into_iter().map(Cow::Borrowed));
                        return Ok(encoded);
                    }
                    Err(error) => error,
                };
                match leave_out(request, error.param.as_deref().unwrap_or_default()) {
                    Some(name) => left_out.push(name),
                    // Of what messages hold nothing is left out.
                    None => return Err(error),
                }
            }
            encode(request)
        }
        Unsupported::Emulate => {
            // The rest is cut by whoever reads the answer.
            request.stop.truncate(provider_takes(dialect));
            encode(request)
        }
    }
}

fn strict(encoded: Encoded) -> Result<Encoded, DialectError> {
    let Some(first) = encoded.dropped.first() else {
        return Ok(encoded);
    };
    Err(DialectError::at(
        first.trim_end_matches(SENT_UNHEEDED),
        format!(
            "the provider of this model cannot be told, or does not heed: {}; leave it out, choose another model, or ask with x-switchyard-unsupported: default",
            encoded.dropped.join(", ")
        ),
    ))
}

/// Fields outside the canonical chat whose absence changes the meaning.
const EXTRA: [&str; 10] = [
    "n",
    "logprobs",
    "audio",
    "functions",
    "function_call",
    "web_search_options",
    "container",
    "mcp_servers",
    "speechConfig",
    "imageConfig",
];

/// Takes a field out of the request; `None` when it is none that may be.
fn leave_out(request: &mut ChatRequest, param: &str) -> Option<&'static str> {
    if let Some(name) = EXTRA.iter().find(|name| **name == param) {
        return request.extra.remove(*name).map(|_| *name);
    }
    match param {
        "stop" if !request.stop.is_empty() => {
            request.stop.clear();
            Some("stop")
        }
        "tool_choice" => request.tool_choice.take().map(|_| "tool_choice"),
        "response_format" => request.output_format.take().map(|_| "response_format"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{Quirks, Tokens};

    fn request(more: serde_json::Value) -> ChatRequest {
        let mut whole = json!({"model": "m", "messages": [
            {"role": "user", "parts": [{"type": "text", "text": "hi"}]},
        ]});
        for (name, value) in more.as_object().unwrap() {
            whole[name] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn encoded(
        policy: Unsupported,
        dialect: Dialect,
        more: serde_json::Value,
    ) -> Result<Encoded, DialectError> {
        let recipient = Recipient {
            model: "m",
            default_max_output: Tokens(16),
            quirks: &Quirks::default(),
        };
        encode_by(policy, dialect, &mut request(more), recipient)
    }

    #[test]
    fn e8_strict_refuses_what_would_be_left_out_and_names_all_of_it() {
        let asks = || json!({"extra": {"seed": 1, "service_tier": "flex"}});
        let by_default = encoded(Unsupported::Default, Dialect::Anthropic, asks()).unwrap();
        assert_eq!(by_default.dropped, ["seed", "service_tier"]);
        let refused = encoded(Unsupported::Strict, Dialect::Anthropic, asks()).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("seed"));
        assert!(refused.message.contains("seed, service_tier"), "{refused}");
        let nothing = encoded(Unsupported::Strict, Dialect::Anthropic, json!({}));
        assert_eq!(nothing.unwrap().dropped, [""; 0]);
    }

    #[test]
    fn e8_drop_leaves_out_what_changes_the_meaning_and_says_so_but_never_what_messages_hold() {
        let asks =
            || json!({"stop": ["x"], "extra": {"n": 3, "logprobs": true, "audio": {}, "seed": 1}});
        for policy in [
            Unsupported::Default,
            Unsupported::Strict,
            Unsupported::Emulate,
        ] {
            assert!(
                encoded(policy, Dialect::Responses, asks()).is_err(),
                "{policy:?}"
            );
        }
        let mut dropped = encoded(Unsupported::Drop, Dialect::Responses, asks())
            .unwrap()
            .dropped;
        dropped.sort_unstable();
        assert_eq!(dropped, ["audio", "n", "seed", "stop"]);
        let picture = json!({"messages": [{"role": "user", "parts": [
            {"type": "audio", "format": "wav", "data": "AAAA"},
        ]}]});
        assert!(encoded(Unsupported::Drop, Dialect::Ollama, picture).is_err());
    }

    #[test]
    fn e8_emulate_sends_only_the_stops_a_provider_takes() {
        let stops: Vec<String> = (0..7).map(|number| format!("s{number}")).collect();
        let asks = || json!({"stop": stops.clone()});
        let cohere = encoded(Unsupported::Emulate, Dialect::Cohere, asks()).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&cohere.body).unwrap();
        assert_eq!(body["stop_sequences"].as_array().unwrap().len(), 5);
        assert!(encoded(Unsupported::Default, Dialect::Cohere, asks()).is_err());
        assert!(encoded(Unsupported::Emulate, Dialect::Responses, asks()).is_ok());
    }
}
