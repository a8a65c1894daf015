//! A request of OpenAI's form as a provider wants it that copies the form with differences.

use serde_json::Value;

use crate::dialects::json::scan_object;
use crate::domain::Quirks;

/// Names that may be reported; whatever else a configuration leaves out is reported without its name.
const NAMES: [&str; 22] = [
    "user",
    "store",
    "seed",
    "metadata",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "service_tier",
    "verbosity",
    "prediction",
    "modalities",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "parallel_tool_calls",
    "response_format",
    "web_search_options",
];

/// The adapted request and the names of what was left out; `None` when it fits as it is. What is not at odds
/// stays byte for byte.
pub fn adapt(body: &[u8], quirks: &Quirks) -> Option<(Vec<u8>, Vec<&'static str>)> {
    let members = scan_object(body).ok()?;
    let key_of = |at: &std::ops::Range<usize>| body.get(at.clone()).unwrap_or_default();
    let mut dropped = Vec::new();
    let mut changed = false;
    let mut out = Vec::with_capacity(body.len());
    for member in &members {
        let key = key_of(&member.key);
        let value = body.get(member.value.clone()).unwrap_or_default();
        if key == b"stream_options" && quirks.tells_usage_unasked {
            changed = true;
            continue;
        }
        if let Some(name) = quirks.leave_out.iter().find(|name| name.as_bytes() == key) {
            let name = NAMES.iter().find(|known| *known == name);
            dropped.push(name.copied().unwrap_or("unknown fields"));
            changed = true;
            continue;
        }
        let renamed = quirks
            .rename
            .iter()
            .find(|(from, _)| from.as_bytes() == key);
        let name = match renamed {
            // Said under both names: the provider's own counts.
            Some((_, to))
                if members
                    .iter()
                    .any(|other| key_of(&other.key) == to.as_bytes()) =>
            {
                changed = true;
                continue;
            }
            Some((_, to)) => {
                changed = true;
                to.as_bytes()
            }
            None => key,
        };
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        out.extend_from_slice(name);
        out.extend_from_slice(b"\":");
        let instead = (quirks.no_developer && key == b"messages")
            .then(|| without_developer(value))
            .flatten();
        changed |= instead.is_some();
        out.extend_from_slice(instead.as_deref().unwrap_or(value));
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    changed.then_some((out, dropped))
}

/// `None` when no message is the developer's.
fn without_developer(messages: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(messages, b"\"developer\"")?;
    let mut messages: Vec<Value> = serde_json::from_slice(messages).ok()?;
    let mut changed = false;
    for message in &mut messages {
        if message["role"] == "developer" {
            message["role"] = "system".into();
            changed = true;
        }
    }
    changed
        .then(|| serde_json::to_vec(&messages).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quirks() -> Quirks {
        Quirks {
            rename: vec![("seed".to_owned(), "random_seed".to_owned())],
            leave_out: vec!["user".to_owned(), "odd".to_owned()],
            tells_usage_unasked: true,
            no_developer: true,
            ..Quirks::default()
        }
    }

    fn adapted(body: &Value) -> Option<(Value, Vec<&'static str>)> {
        let (body, dropped) = adapt(body.to_string().as_bytes(), &quirks())?;
        Some((serde_json::from_slice(&body).unwrap(), dropped))
    }

    #[test]
    fn d2_fields_are_renamed_and_left_out_and_the_rest_is_untouched() {
        let asked = json!({
            "user": "u", "seed": 7, "odd": 1, "stream_options": {"include_usage": true}, "x": 1.50,
            "messages": [{"role": "developer", "content": "\"developer\""}],
        });
        let (body, dropped) = adapted(&asked).unwrap();
        assert_eq!(dropped, ["user", "unknown fields"]);
        assert_eq!(
            body,
            json!({
                "random_seed": 7, "x": 1.50,
                "messages": [{"role": "system", "content": "\"developer\""}],
            })
        );
        let both = adapted(&json!({"seed": 1, "random_seed": 2})).unwrap().0;
        assert_eq!(both, json!({"random_seed": 2}));
        assert_eq!(adapted(&json!({"user": "u"})).unwrap().0, json!({}));
        let fits = json!({"messages": [{"role": "user", "content": "\"developer\""}]});
        assert_eq!(adapted(&fits), None);
    }
}
