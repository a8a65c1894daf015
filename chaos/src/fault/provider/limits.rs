//! Rate limits and what announces them: P01 to P07.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::{Variant, variant};
use crate::http1::{self, Fields};
use crate::mock::{Behaviour, Dialect, short_duration};

fn limited(dialect: Dialect) -> Behaviour {
    let kind = match dialect {
        Dialect::OpenAi | Dialect::Responses => "rate_limit_exceeded",
        Dialect::Gemini | Dialect::Cohere | Dialect::Ollama => {
            return dialect.error(429, "rate limit reached");
        }
        Dialect::Bedrock => {
            return dialect.error(429, "Too many requests, please wait before trying again.");
        }
        Dialect::Anthropic => "rate_limit_error",
    };
    dialect.error_of(429, kind, Some("rate_limit_exceeded"), "rate limit reached")
}

/// 429 with `retry-after` in whole seconds.
#[must_use]
pub fn p01(dialect: Dialect, seconds: u64) -> Behaviour {
    limited(dialect).header("retry-after", seconds.to_string())
}

/// 7 s after the answer's own `date`, which is five minutes off; decided when the request comes.
pub(super) fn p02(dialect: Dialect) -> Vec<Variant> {
    let skewed = |skew: i64| {
        Behaviour::choose(move |_| {
            let now = http1::unix_now().saturating_add(skew);
            limited(dialect)
                .header("date", http1::http_date(now))
                .header("retry-after", http1::http_date(now.saturating_add(7)))
        })
    };
    vec![variant("fast", skewed(300)), variant("slow", skewed(-300))]
}

/// 429 with this pushback field.
#[must_use]
pub fn p03(dialect: Dialect, field: &str, value: &str) -> Behaviour {
    limited(dialect).header(field, value)
}

pub(super) fn p04(dialect: Dialect) -> Vec<Variant> {
    let one = |value: &str| limited(dialect).header("retry-after", value);
    vec![
        variant("negative", one("-1")),
        variant("words", one("abc")),
        variant("empty", one("")),
        variant("huge", one("999999")),
        variant("two", one("3").header("retry-after", "7")),
    ]
}

/// What says how much is left, told now; `None` where the dialect tells no limits.
pub(in crate::fault) fn remaining_fields(
    dialect: Dialect,
    left: u64,
    reset: Duration,
) -> Option<Fields> {
    let field = |name: &str, value: String| (name.to_owned(), value);
    match dialect {
        Dialect::OpenAi | Dialect::Responses => Some(vec![
            field("x-ratelimit-remaining-requests", left.to_string()),
            field("x-ratelimit-reset-requests", short_duration(reset)),
        ]),
        Dialect::Anthropic => Some(vec![
            field("anthropic-ratelimit-requests-remaining", left.to_string()),
            field("anthropic-ratelimit-requests-reset", at(reset)),
        ]),
        Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama => None,
    }
}

/// A healthy answer that says how much is left; `None` where the dialect tells no limits.
pub(in crate::fault) fn remaining(
    dialect: Dialect,
    left: u64,
    reset: Duration,
) -> Option<Behaviour> {
    remaining_fields(dialect, left, reset)?;
    Some(Behaviour::choose(move |_| {
        let fields = remaining_fields(dialect, left, reset).unwrap_or_default();
        healthy_with(fields)
    }))
}

/// A healthy answer with these fields.
pub(in crate::fault) fn healthy_with(fields: Fields) -> Behaviour {
    let put = |healthy: Behaviour, (name, value): (String, String)| healthy.header(&name, value);
    fields.into_iter().fold(Behaviour::healthy(), put)
}

/// The moment that long from now; to be called when the request comes.
fn at(wait: Duration) -> String {
    http1::rfc3339(
        http1::unix_now().saturating_add(i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)),
    )
}

/// 200 with no tokens left until `reset`; `None` where the dialect tells no limits.
#[must_use]
pub fn p05(dialect: Dialect, reset: Duration) -> Option<Behaviour> {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => Some(
            Behaviour::healthy()
                .header("x-ratelimit-limit-tokens", "30000")
                .header("x-ratelimit-remaining-tokens", "0")
                .header("x-ratelimit-reset-tokens", short_duration(reset)),
        ),
        Dialect::Anthropic => Some(p06_of("tokens", reset)),
        Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama => None,
    }
}

fn p06_of(what: &'static str, reset: Duration) -> Behaviour {
    Behaviour::choose(move |_| {
        Behaviour::healthy()
            .header(&format!("anthropic-ratelimit-{what}-limit"), "8000")
            .header(&format!("anthropic-ratelimit-{what}-remaining"), "0")
            .header(&format!("anthropic-ratelimit-{what}-reset"), at(reset))
    })
}

pub(super) fn p06(dialect: Dialect) -> Vec<Variant> {
    match dialect {
        Dialect::OpenAi
        | Dialect::Responses
        | Dialect::Gemini
        | Dialect::Bedrock
        | Dialect::Cohere
        | Dialect::Ollama => Vec::new(),
        Dialect::Anthropic => vec![
            variant(
                "output_tokens",
                p06_of("output-tokens", Duration::from_secs(30)),
            ),
            variant(
                "input_tokens",
                p06_of("input-tokens", Duration::from_secs(30)),
            ),
        ],
    }
}

pub(super) fn p07(dialect: Dialect) -> Vec<Variant> {
    match dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses | Dialect::Gemini => {
            p07_details(dialect)
        }
        // Their errors are a text and nothing else.
        Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama => vec![variant(
            "words",
            dialect.error(429, "Too many requests. Please try again in 45.8s."),
        )],
    }
}

fn p07_details(dialect: Dialect) -> Vec<Variant> {
    let with = |detail: Value| {
        let mut body = dialect.error_body(
            "rate_limit_error",
            Some("429"),
            "resource has been exhausted",
        );
        if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
            error.insert("details".to_owned(), json!([detail]));
        }
        Behaviour::status(429).json(&body)
    };
    let per_day = json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]});
    vec![
        variant(
            "retry_delay",
            with(
                json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.837906927s"}),
            ),
        ),
        variant("per_day", with(per_day)),
    ]
}
