//! Before the first content, where failover is allowed: S01 to S07.

use std::time::Duration;

use bytes::Bytes;

use crate::fault::{Variant, p08, variant};
use crate::mock::{
    Behaviour, Dialect, Ending, Event, Form, Healthy, Kind, Weather, edit, sample_bytes,
    sample_frame,
};

pub(super) fn stream() -> Behaviour {
    Healthy {
        form: Form::Stream,
        ..Healthy::default()
    }
    .into()
}

pub(super) fn s01(dialect: Dialect) -> Vec<Variant> {
    let only = |event: Bytes| stream().edit(edit::only(vec![Event::raw(Kind::Noise, event)]));
    let limited = match dialect {
        Dialect::OpenAi | Dialect::Responses => "rate_limit_exceeded",
        Dialect::Anthropic => "rate_limit_error",
        Dialect::Gemini => "RESOURCE_EXHAUSTED",
        Dialect::Bedrock => "ThrottlingException",
        // Its errors have no kind.
        Dialect::Cohere | Dialect::Ollama => "",
    };
    let data_only = r#"{"error":{"message":"Provider returned error","code":502}}"#;
    vec![
        variant(
            "overloaded",
            only(dialect.error_event("overloaded_error", "Overloaded")),
        ),
        variant(
            "limited",
            only(dialect.error_event(limited, "rate limit reached")),
        ),
        variant(
            "data_only",
            only(dialect.framing().wrap(None, data_only.as_bytes())),
        ),
    ]
}

/// The opening events at once, then silence on an open connection.
#[must_use]
pub fn s02() -> Behaviour {
    stream().edit(edit::cut_after(0, Ending::Hold))
}

/// The kind of event that ends a stream for good.
pub(super) fn last_kind(dialect: Dialect) -> Kind {
    match dialect {
        Dialect::OpenAi | Dialect::Anthropic | Dialect::Responses => Kind::Terminal,
        Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama => Kind::Finish,
    }
}

pub(super) fn s03(dialect: Dialect) -> Vec<Variant> {
    let terminal = sample_bytes(dialect, None, last_kind(dialect));
    vec![
        variant(
            "fin_after_head",
            stream().edit(edit::only_head(Ending::Fin)),
        ),
        variant(
            "clean_end_after_head",
            stream().edit(edit::only_head(Ending::Whole)),
        ),
        variant(
            "terminal_at_once",
            stream().edit(edit::only(vec![Event::raw(Kind::Terminal, terminal)])),
        ),
        variant(
            "reset_after_head",
            stream().edit(edit::only_head(Ending::Reset)),
        ),
    ]
}

/// Half of the first event's payload, well framed.
pub(super) fn s04(dialect: Dialect) -> Vec<Variant> {
    let half = sample_frame(dialect, b"{\"choi");
    let only = edit::only(vec![Event::raw(Kind::Content, half)]);
    vec![variant("half", stream().edit(only))]
}

/// The error of an overloaded provider, this late; the other racer is healthy.
#[must_use]
pub fn s05(dialect: Dialect, after: Duration) -> Behaviour {
    p08(dialect).delayed(after)
}

/// Content after exactly this long.
#[must_use]
pub fn s06(first_content: Duration) -> Behaviour {
    let weather = Weather::default()
        .first_content(first_content)
        .gap(Duration::from_millis(20))
        .tokens(50);
    weather.into()
}
