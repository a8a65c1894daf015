//! Which of a provider's headers a client may see: an allow-list, because the rest is not ours to pass on
//! (attack A11).

use http::{HeaderName, HeaderValue};

use super::fields::Fields;

const PASSED: [(&str, &str); 8] = [
    ("x-request-id", "llm_provider-x-request-id"),
    ("request-id", "llm_provider-request-id"),
    ("openai-processing-ms", "llm_provider-openai-processing-ms"),
    ("openai-version", "llm_provider-openai-version"),
    (
        "x-ratelimit-limit-requests",
        "llm_provider-x-ratelimit-limit-requests",
    ),
    (
        "x-ratelimit-remaining-requests",
        "llm_provider-x-ratelimit-remaining-requests",
    ),
    (
        "x-ratelimit-limit-tokens",
        "llm_provider-x-ratelimit-limit-tokens",
    ),
    (
        "x-ratelimit-remaining-tokens",
        "llm_provider-x-ratelimit-remaining-tokens",
    ),
];
const LONGEST: usize = 256;

/// The headers to pass on, under names that tell whose they are.
pub fn passed(fields: &Fields) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
    PASSED.iter().filter_map(|(theirs, ours)| {
        let value = fields.value(theirs)?;
        (value.len() <= LONGEST).then(|| (HeaderName::from_static(ours), value))
    })
}
