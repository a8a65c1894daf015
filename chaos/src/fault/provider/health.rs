//! Providers that fail, hang or hide: P08 to P12, P20 to P22, P27, P34.

use std::time::Duration;

use crate::fault::{Variant, variant};
use crate::mock::{Behaviour, Dialect, Form, Healthy, Weather, edit};

/// Overloaded, as the dialect says it: 529 with the overloaded type, or 503.
#[must_use]
pub fn p08(dialect: Dialect) -> Behaviour {
    match dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => {
            dialect.error_of(529, "overloaded_error", Some("overloaded"), "Overloaded")
        }
        Dialect::Ollama => dialect.error(
            503,
            "server busy, please try again.  maximum pending requests exceeded: overloaded",
        ),
        Dialect::Cohere => dialect.error(503, "service unavailable, the model is overloaded"),
        Dialect::Gemini => dialect.error(503, "The model is overloaded. Please try again later."),
        Dialect::Bedrock => dialect.error(
            503,
            "The service is overloaded and unable to process your request.",
        ),
    }
}

/// What the form of [`p08`] is called.
pub(super) fn overloaded_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => "529",
        Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama => "overloaded",
    }
}

pub(super) fn p09(_: Dialect) -> Vec<Variant> {
    let page = format!(
        "<!DOCTYPE html><html><head><title>error</title></head><body>{}</body></html>",
        "<p>Ray ID</p>".repeat(3100)
    );
    [("502", 502), ("520", 520), ("524", 524)]
        .map(|(name, status)| {
            variant(
                name,
                Behaviour::status(status).body("text/html; charset=UTF-8", page.clone()),
            )
        })
        .into()
}

/// Every request 500, 20 ms after it came.
#[must_use]
pub fn p10(dialect: Dialect) -> Behaviour {
    dialect
        .error(500, "the server had an error while processing your request")
        .delayed(Duration::from_millis(20))
}

/// 500 for this share of requests.
#[must_use]
pub fn p11(dialect: Dialect, share: f64, seed: u64) -> Behaviour {
    Behaviour::share(share, seed, p10(dialect))
}

/// Good for a while, 500 for a while, from the mock's start on.
#[must_use]
pub fn p12(dialect: Dialect, good: Duration, ill: Duration) -> Behaviour {
    Behaviour::flapping(good, ill, p10(dialect))
}

/// A healthy answer whose first byte comes this late.
#[must_use]
pub fn p20(delay: Duration) -> Behaviour {
    Behaviour::healthy().delayed(delay)
}

/// The head at once, an event without content every so often, content only after `until`.
#[must_use]
pub fn p21(dialect: Dialect, every: Duration, until: Duration) -> Behaviour {
    let ping = dialect.ping();
    Behaviour::from(Healthy {
        form: Form::Stream,
        ..Healthy::default()
    })
    .edit(edit::pings(every, until, ping))
}

/// All times of a usual provider, this many times over.
#[must_use]
pub fn p22(factor: u32) -> Behaviour {
    let usual = Weather::default()
        .first_content(Duration::from_millis(100))
        .gap(Duration::from_millis(5));
    usual.slower(factor).into()
}

/// 500 whenever the request body holds the marker.
#[must_use]
pub fn p27(dialect: Dialect, marker: &str) -> Behaviour {
    Behaviour::if_body_holds(marker, p10(dialect))
}

/// 500 for half of all requests; give each mock its own seed.
#[must_use]
pub fn p34(dialect: Dialect, seed: u64) -> Behaviour {
    p11(dialect, 0.5, seed)
}
