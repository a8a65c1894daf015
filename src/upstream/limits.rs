//! What a provider's limit headers say is left.

use std::time::{Duration, SystemTime};

use smallvec::SmallVec;

use super::fields::Fields;
use super::pushback::{duration_text, rfc3339};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldLimit {
    pub kind: LimitKind,
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
    pub reset_in: Option<Duration>,
}

const OPENAI: [(LimitKind, [&str; 3]); 2] = [
    (
        LimitKind::Requests,
        [
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ],
    ),
    (
        LimitKind::Tokens,
        [
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
        ],
    ),
];

const ANTHROPIC: [(LimitKind, [&str; 3]); 4] = [
    (
        LimitKind::Requests,
        [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
    ),
    (
        LimitKind::Tokens,
        [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ],
    ),
    (
        LimitKind::InputTokens,
        [
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
    ),
    (
        LimitKind::OutputTokens,
        [
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
    ),
];

/// Reads both families; an answer without any costs one look at its names.
pub fn told(fields: &Fields, wall: impl Fn() -> SystemTime) -> SmallVec<[ToldLimit; 4]> {
    let mut told = SmallVec::new();
    for (family, kinds) in [
        ("x-ratelimit-", &OPENAI[..]),
        ("anthropic-ratelimit-", &ANTHROPIC),
    ] {
        let begins = |name: &[u8]| {
            name.get(..family.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(family.as_bytes()))
        };
        if fields.names().any(begins) {
            told.extend(
                kinds
                    .iter()
                    .filter_map(|(kind, names)| one(fields, *kind, names, &wall)),
            );
        }
    }
    told
}

fn one(
    fields: &Fields,
    kind: LimitKind,
    names: &[&str; 3],
    wall: &impl Fn() -> SystemTime,
) -> Option<ToldLimit> {
    let [limit, remaining, reset] = names.map(|name| fields.text(name));
    let limit = limit.and_then(whole);
    let remaining = remaining.and_then(whole);
    if limit.is_none() && remaining.is_none() {
        return None;
    }
    let reset_in = reset.and_then(|reset| {
        duration_text(reset).or_else(|| rfc3339(reset)?.duration_since(wall()).ok())
    });
    Some(ToldLimit {
        kind,
        limit,
        remaining,
        reset_in: reset_in.map(|wait| wait.min(super::LONGEST_PUSHBACK)),
    })
}

fn whole(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Fields {
        pairs.iter().copied().collect()
    }

    #[test]
    fn p05_limits_told_on_success_are_read() {
        let told = told(
            &headers(&[
                ("x-ratelimit-limit-tokens", "1000"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ]),
            || SystemTime::UNIX_EPOCH,
        );
        let expected = ToldLimit {
            kind: LimitKind::Tokens,
            limit: Some(1_000),
            remaining: Some(0),
            reset_in: Some(Duration::from_secs(360)),
        };
        assert_eq!(told.as_slice(), [expected]);
    }

    #[test]
    fn p06_anthropics_dates_become_waits() {
        let wall = rfc3339("2026-11-20T10:00:00Z").unwrap();
        let told = told(
            &headers(&[
                ("anthropic-ratelimit-output-tokens-limit", "10"),
                ("anthropic-ratelimit-output-tokens-remaining", "0"),
                (
                    "anthropic-ratelimit-output-tokens-reset",
                    "2026-11-20T10:00:30Z",
                ),
            ]),
            || wall,
        );
        assert_eq!(
            told.first().and_then(|told| told.reset_in),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn odd_limits_are_no_limits() {
        let odd = headers(&[
            ("x-ratelimit-limit-tokens", "-5"),
            ("x-ratelimit-remaining-tokens", "many"),
            ("x-ratelimit-reset-tokens", "soon"),
        ]);
        assert!(told(&odd, || SystemTime::UNIX_EPOCH).is_empty());
    }
}
