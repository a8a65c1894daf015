//! What a request says and another dialect cannot: refused where it would change the meaning, left out and
//! reported where it would not.

use serde_json::{Map, Value, json};

use super::DialectError;
use super::json::exact;
use crate::domain::chat::Part;

/// Fields whose absence changes nothing essential, by the names of every client's dialect.
const DROPPED: [&str; 34] = [
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "verbosity",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "safety_identifier",
    "prediction",
    "moderation",
    "top_logprobs",
    "modalities",
    "user_location",
    "repetition_penalty",
    "min_p",
    "safety_settings",
    "labels",
    "inference_geo",
    "speed",
    "diagnostics",
    "workspace_id",
    "user_profile_id",
    "cache_control",
    "context_management",
    "mediaResolution",
    "routingConfig",
    "audioTimestamp",
    "client_metadata",
    "stream_options",
    "betas",
];

/// What a client asks for that no other provider has.
const REFUSED: [&str; 8] = [
    "audio",
    "functions",
    "function_call",
    "web_search_options",
    "container",
    "mcp_servers",
    "speechConfig",
    "imageConfig",
];

/// Refuses what would change the meaning and lists what would not; `speakable` has a counterpart.
pub(super) fn unspeakable(
    extra: &Map<String, Value>,
    speakable: &[&str],
) -> Result<Vec<&'static str>, DialectError> {
    let refuse = |name: &str, why: &str| {
        Err(DialectError::at(
            name,
            format!("{why}; choose a model of a provider that can, or leave {name:?} out"),
        ))
    };
    let mut dropped = Vec::new();
    let others = extra
        .iter()
        .filter(|(name, _)| !speakable.contains(&name.as_str()));
    for (name, value) in others {
        match name.as_str() {
            "n" if value.as_u64() != Some(1) => {
                return refuse(
                    name,
                    "several choices can be asked of providers of the client's own dialect only",
                );
            }
            "logprobs" if value == &Value::Bool(true) => {
                return refuse(
                    name,
                    "the provider of this model does not tell log probabilities of tokens",
                );
            }
            name if REFUSED.contains(&name) => {
                return refuse(name, "the provider of this model has no counterpart for it");
            }
            "n" | "logprobs" => {}
            name => {
                let known = DROPPED.iter().find(|known| **known == name);
                leave_out(&mut dropped, known.copied().unwrap_or("unknown fields"));
            }
        }
    }
    Ok(dropped)
}

/// Names what could not come along, once however often it was there.
pub(super) fn leave_out(dropped: &mut Vec<&'static str>, name: &'static str) {
    if !dropped.contains(&name) {
        dropped.push(name);
    }
}

/// What nobody signed may be a provider's own thought, where none are signed; what another signed is not.
pub(super) fn is_lost_thought(part: &Part) -> bool {
    matches!(
        part,
        Part::Thinking {
            signature: Some(_),
            ..
        } | Part::RedactedThinking { .. }
    )
}

/// The arguments of a call where a provider wants them as an object.
pub(super) fn arguments_object(index: usize, arguments: &str) -> Result<Value, DialectError> {
    if arguments.trim().is_empty() || arguments.trim() == "null" {
        return Ok(json!({}));
    }
    match exact::read_data(arguments) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(DialectError::at(
            format!("messages[{index}].tool_calls"),
            "function.arguments must be the JSON text of an object",
        )),
    }
}
