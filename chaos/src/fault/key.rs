//! Section 3: keys and quotas.

use std::time::Duration;

use serde_json::json;

use super::provider::{healthy_with, remaining, remaining_fields};
use super::{Row, Variant, answer, elsewhere, variant};
use crate::http1;
use crate::mock::{Behaviour, Dialect};

pub(super) const ROWS: &[Row] = &[
    answer("K01", "key revoked", |dialect| {
        let text = "incorrect API key provided: sk-…redacted";
        vec![variant(wrong_key_name(dialect), dialect.wrong_key(text))]
    }),
    answer(
        "K02",
        "key lacks the model (use with a rule on the model)",
        k02,
    ),
    answer("K03", "out of money", k03),
    answer("K04", "account suspended", k04),
    answer(
        "K05",
        "one key hot (use with a rule on the key)",
        |dialect| {
            let cold = remaining(dialect, 0, Duration::from_secs(60));
            cold.map(|cold| variant("remaining_0", cold))
                .into_iter()
                .collect()
        },
    ),
    answer("K06", "all keys cold, each with its own wait", |dialect| {
        vec![variant("by_key", k06(dialect))]
    }),
    elsewhere(
        "K07",
        "rotation",
        "`MockProvider::accept_key` and `revoke_key` during streams",
    ),
    answer("K08", "token expiry", |_| {
        vec![
            variant("expires_in_60", k08_token(60, Duration::ZERO)),
            variant("refresh_slow", k08_token(60, Duration::from_secs(5))),
            variant(
                "refresh_fails",
                Behaviour::status(400).json(&json!({"error": "invalid_grant"})),
            ),
        ]
    }),
    elsewhere("K09", "same key twice", "the gateway's configuration"),
    answer(
        "K10",
        "the limit shrinks from 500 to 50 after the first answer",
        |dialect| {
            let shrinks = k10(dialect).map(|shrinks| variant("500_to_50", shrinks));
            shrinks.into_iter().collect()
        },
    ),
];

fn k02(dialect: Dialect) -> Vec<Variant> {
    let text = "project does not have access to model `mock-model`";
    vec![
        variant("403", dialect.error(403, text)),
        variant("404", dialect.error(404, text)),
    ]
}

fn k03(dialect: Dialect) -> Vec<Variant> {
    // Anthropic tells the day in words; so far ahead that no test meets it by accident.
    let until = http1::rfc3339(http1::unix_now().saturating_add(3 * 86_400));
    let day = until.get(..10).unwrap_or_default();
    let limits = format!(
        "You have reached your specified API usage limits. You will regain access on {day} at 00:00 UTC."
    );
    let (quota, kind) = match dialect {
        Dialect::OpenAi | Dialect::Responses => (
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
        ),
        Dialect::Gemini => (
            "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.",
            "RESOURCE_EXHAUSTED",
        ),
        Dialect::Bedrock => (
            "Your request exceeds the quota of tokens per day for this account.",
            "ServiceQuotaExceededException",
        ),
        Dialect::Ollama => (
            "you have reached your usage limit, please upgrade to continue",
            "",
        ),
        Dialect::Cohere => (
            "You are past the per month request limit for this model, please wait and try again later.",
            "",
        ),
        Dialect::Anthropic => (
            "Your credit balance is too low to access the API.",
            "rate_limit_error",
        ),
    };
    let status = match dialect {
        Dialect::OpenAi
        | Dialect::Anthropic
        | Dialect::Responses
        | Dialect::Gemini
        | Dialect::Cohere
        | Dialect::Ollama => 429,
        Dialect::Bedrock => 400,
    };
    vec![
        variant(
            "insufficient_quota",
            dialect.error_of(status, kind, Some("insufficient_quota"), quota),
        ),
        variant("402", dialect.error(402, "insufficient credits")),
        variant("usage_limits", dialect.error(400, &limits)),
    ]
}

fn k04(dialect: Dialect) -> Vec<Variant> {
    let kind = match dialect {
        Dialect::OpenAi | Dialect::Responses => "invalid_request_error",
        Dialect::Anthropic
        | Dialect::Gemini
        | Dialect::Bedrock
        | Dialect::Cohere
        | Dialect::Ollama => "permission_error",
    };
    let text = match dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => {
            "your account has been deactivated (account_deactivated)"
        }
        Dialect::Gemini => "Permission denied: Consumer 'api_key:redacted' has been suspended.",
        Dialect::Bedrock => "Your account is currently blocked. Contact AWS Support.",
        Dialect::Cohere | Dialect::Ollama => "your account has been deactivated",
    };
    let suspended = dialect.error_of(403, kind, Some("account_deactivated"), text);
    vec![variant("403", suspended)]
}

/// What the form of K01 is called: the status, where it tells.
fn wrong_key_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi
        | Dialect::Anthropic
        | Dialect::Responses
        | Dialect::Cohere
        | Dialect::Ollama => "401",
        Dialect::Gemini => "400",
        Dialect::Bedrock => "403",
    }
}

/// 429 for every key; the wait is 2 s for a key that ends in an even byte, else 5 s, so that a shortest one exists.
fn k06(dialect: Dialect) -> Behaviour {
    Behaviour::choose(move |asked| {
        let even = asked
            .key()
            .and_then(|key| key.bytes().last())
            .is_some_and(|last| last % 2 == 0);
        dialect
            .error(429, "rate limit reached")
            .header("retry-after", if even { "2" } else { "5" })
    })
}

/// An OAuth token answer; use with a rule on the token path.
#[must_use]
pub fn k08_token(expires_in: u64, slow_by: Duration) -> Behaviour {
    Behaviour::choose(move |asked| {
        let token = format!("token-{}", asked.number);
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in});
        Behaviour::status(200).json(&body)
    })
    .delayed(slow_by)
}

fn k10(dialect: Dialect) -> Option<Behaviour> {
    let name = match dialect {
        Dialect::OpenAi | Dialect::Responses => "x-ratelimit-limit-requests",
        Dialect::Anthropic => "anthropic-ratelimit-requests-limit",
        Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama => return None,
    };
    Some(Behaviour::choose(move |asked| {
        let limit = if asked.number == 1 { "500" } else { "50" };
        let left = remaining_fields(dialect, 40, Duration::from_secs(60));
        healthy_with(left.unwrap_or_default()).header(name, limit)
    }))
}
