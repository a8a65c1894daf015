//! How long anything may take, and what is tried again.

use std::time::Duration;

use super::judge::Judge;
use super::raw::RawConfig;
use super::settings::{FailoverSettings, TimeoutSettings};

pub(super) fn timeouts(judge: &mut Judge<'_>, raw: &RawConfig) -> TimeoutSettings {
    let raw = &raw.timeouts;
    let mut millis = |name: &str, value| judge.millis(&format!("timeouts.{name}"), value);
    TimeoutSettings {
        request: millis("request_ms", raw.request_ms),
        connect: millis("connect_ms", raw.connect_ms),
        tls: millis("tls_ms", raw.tls_ms),
        dns: millis("dns_ms", raw.dns_ms),
        write_idle: millis("write_idle_ms", raw.write_idle_ms),
        first_content: millis("first_content_ms", raw.first_content_ms),
        first_content_floor: millis("first_content_floor_ms", raw.first_content_floor_ms),
        whole_answer: millis("whole_answer_ms", raw.whole_answer_ms),
        gap: millis("gap_ms", raw.gap_ms),
        gap_floor: millis("gap_floor_ms", raw.gap_floor_ms),
        gap_reasoning: millis("gap_reasoning_ms", raw.gap_reasoning_ms),
        hold_head: millis("hold_head_ms", raw.hold_head_ms),
        keep_alive: millis("keep_alive_ms", raw.keep_alive_ms),
        count_tokens: millis("count_tokens_ms", raw.count_tokens_ms),
    }
}

pub(super) fn failover(judge: &mut Judge<'_>, raw: &RawConfig) -> FailoverSettings {
    let raw = &raw.failover;
    if !(1..=10).contains(&raw.max_attempts) {
        judge.wrong(
            "failover.max_attempts",
            "is not between 1 and 10",
            "3 is the default",
        );
    }
    if raw.max_depth > 16 {
        judge.wrong("failover.max_depth", "is more than 16", "4 is the default");
    }
    if !(0.0..=1.0).contains(&raw.retry_share) {
        judge.wrong(
            "failover.retry_share",
            "is not between 0 and 1",
            "0.2 is a fifth of all requests",
        );
    }
    FailoverSettings {
        max_attempts: raw.max_attempts,
        max_depth: raw.max_depth,
        retry_share: raw.retry_share,
        retry_reserve_per_s: raw.retry_reserve_per_s,
        key_probe_every: Duration::from_secs(raw.key_probe_every_s.clamp(1, 86_400)),
    }
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        timeouts(&mut Judge::of_defaults(), &RawConfig::default())
    }
}

impl Default for FailoverSettings {
    fn default() -> Self {
        failover(&mut Judge::of_defaults(), &RawConfig::default())
    }
}
