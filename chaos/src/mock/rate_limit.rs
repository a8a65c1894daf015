//! A provider's request limit, really counted: a fixed window per key, told in headers, enforced with 429.

use std::collections::HashMap;
use std::time::Duration;

use super::behaviour::Behaviour;
use super::dialect::Dialect;
use crate::http1::{self, Fields};

/// This many requests per key and window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: u64,
    pub window: Duration,
}

/// Keys come from requests, so their number is bounded; beyond it the oldest counts are forgotten at once.
const MOST_KEYS: usize = 10_000;

#[derive(Debug)]
struct Window {
    since: Duration,
    used: u64,
}

#[derive(Debug, Default)]
pub(super) struct Windows {
    by_key: HashMap<String, Window>,
}

/// What the limit says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    limit: u64,
    remaining: u64,
    resets_in: Duration,
    pub(super) allowed: bool,
}

impl Windows {
    /// `now` counts from the mock's start.
    pub(super) fn take(&mut self, limit: RateLimit, key: &str, now: Duration) -> Verdict {
        if self.by_key.len() >= MOST_KEYS && !self.by_key.contains_key(key) {
            self.by_key.clear();
        }
        let window = self.by_key.entry(key.to_owned()).or_insert(Window {
            since: now,
            used: 0,
        });
        if now.saturating_sub(window.since) >= limit.window {
            *window = Window {
                since: now,
                used: 0,
            };
        }
        let allowed = window.used < limit.requests;
        window.used = window.used.saturating_add(u64::from(allowed));
        Verdict {
            limit: limit.requests,
            remaining: limit.requests.saturating_sub(window.used),
            resets_in: window
                .since
                .saturating_add(limit.window)
                .saturating_sub(now),
            allowed,
        }
    }
}

impl Verdict {
    pub(super) fn fields(&self, dialect: Dialect) -> Fields {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        match dialect {
            Dialect::OpenAi | Dialect::Responses => vec![
                pair("x-ratelimit-limit-requests", self.limit.to_string()),
                pair("x-ratelimit-remaining-requests", self.remaining.to_string()),
                pair("x-ratelimit-reset-requests", short_duration(self.resets_in)),
            ],
            Dialect::Anthropic => vec![
                pair("anthropic-ratelimit-requests-limit", self.limit.to_string()),
                pair(
                    "anthropic-ratelimit-requests-remaining",
                    self.remaining.to_string(),
                ),
                pair(
                    "anthropic-ratelimit-requests-reset",
                    reset_at(self.resets_in),
                ),
            ],
            Dialect::Gemini | Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama => Vec::new(),
        }
    }

    pub(super) fn refusal(&self, dialect: Dialect) -> Behaviour {
        let refusal = dialect.limited("rate limit reached for requests", self.resets_in);
        self.fields(dialect)
            .into_iter()
            .fold(refusal, |refusal, (name, value)| {
                refusal.header(&name, value)
            })
    }
}

/// `6m0s`, `1s`, `20ms`, as `OpenAI` writes resets.
pub(crate) fn short_duration(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{}ms", duration.as_millis()),
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// The moment as Anthropic writes it: whole seconds, never before the window is really over.
fn reset_at(resets_in: Duration) -> String {
    let whole = resets_in
        .as_secs()
        .saturating_add(u64::from(resets_in.subsec_nanos() > 0));
    http1::rfc3339(http1::unix_now().saturating_add(i64::try_from(whole).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_per_key_and_opens_again() {
        let limit = RateLimit {
            requests: 2,
            window: Duration::from_secs(10),
        };
        let mut windows = Windows::default();
        let at = Duration::from_secs;
        assert!(windows.take(limit, "a", at(0)).allowed);
        assert!(windows.take(limit, "a", at(1)).allowed);
        let refused = windows.take(limit, "a", at(4));
        assert_eq!(
            (refused.allowed, refused.remaining, refused.resets_in),
            (false, 0, at(6))
        );
        assert!(
            windows.take(limit, "b", at(4)).allowed,
            "another key has its own window"
        );
        assert!(windows.take(limit, "a", at(10)).allowed);
    }

    #[test]
    fn resets_are_written_as_openai_writes_them() {
        assert_eq!(short_duration(Duration::from_secs(360)), "6m0s");
        assert_eq!(short_duration(Duration::from_secs(1)), "1s");
        assert_eq!(short_duration(Duration::from_millis(20)), "20ms");
    }
}
