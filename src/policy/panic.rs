//! When too few endpoints are healthy to trust the breakers, and how much is then let through.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::Moment;

/// A pool panics when less than half of its endpoints pass (fault P34): the fault is then more likely
/// common to all than the fault of each, and shutting all of them helps nobody.
pub fn panicking(usable: usize, all: usize) -> bool {
    all > 1 && usable * 2 < all
}

const BUCKETS: usize = 10;
/// So many of the last seconds are enough when they hold enough attempts.
const RECENT: u64 = 3;
const ENOUGH: u64 = 20;
const MOST_REJECTED: f64 = 0.7;
/// While enough is let through to find the return at once, more may be rejected.
const MOST_REJECTED_WHEN_BUSY: f64 = 0.95;
/// Below this share of successes nothing is worth a second attempt.
const HOPELESS: f64 = 0.05;

/// Client-side throttle over the last seconds: rejects with probability `(n − 2s) / (n + 1)`, so a
/// backend that answers nothing is asked little, and one that answers half is asked everything. Only what
/// was let through is counted: with the rejected ones in `n`, a backend that answers half would be in
/// balance at any chance, and chance would drift up to the cap (fault P34).
///
/// # Why the chance is capped
/// Uncapped, a busy gateway would let one request in thousands through, and a provider that is back would
/// wait for it. Three in ten keep the load under a third and find the return within seconds; with some let
/// through every second, one in twenty does (fault P35).
#[derive(Debug, Default)]
pub struct Throttle {
    /// Second (32 bit), attempts and successes (16 bit each).
    buckets: [AtomicU64; BUCKETS],
}

impl Throttle {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn attempt(&self, now: Moment) {
        self.count(now, 1, 0);
    }

    pub fn success(&self, now: Moment) {
        self.count(now, 0, 1);
    }

    /// `draw` in 0..1.
    pub fn rejects(&self, now: Moment, draw: f64) -> bool {
        let (attempts, successes) = self.lately(now);
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        let chance = attempts.saturating_sub(2 * successes) as f64 / (attempts + 1) as f64;
        let most = if self.sum(now, RECENT).0 >= ENOUGH {
            MOST_REJECTED_WHEN_BUSY
        } else {
            MOST_REJECTED
        };
        draw < chance.min(most)
    }

    /// Whether hardly anything succeeds: then a second attempt only makes the error later (fault P35).
    pub fn is_hopeless(&self, now: Moment) -> bool {
        let (attempts, successes) = self.sum(now, RECENT);
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        let share = successes as f64 / attempts.max(1) as f64;
        attempts >= ENOUGH && share < HOPELESS
    }

    fn lately(&self, now: Moment) -> (u64, u64) {
        let recent = self.sum(now, RECENT);
        if recent.0 >= ENOUGH {
            recent
        } else {
            self.sum(now, BUCKETS as u64)
        }
    }

    /// Attempts and successes of so many seconds, this one included.
    fn sum(&self, now: Moment, seconds: u64) -> (u64, u64) {
        let second = now.whole_secs();
        let (mut attempts, mut successes) = (0_u64, 0_u64);
        for bucket in &self.buckets {
            let packed = bucket.load(Ordering::Relaxed);
            if (packed >> 32) + seconds > second {
                attempts += (packed >> 16) & 0xffff;
                successes += packed & 0xffff;
            }
        }
        (attempts, successes)
    }

    fn count(&self, now: Moment, attempts: u64, successes: u64) {
        let second = now.whole_secs() & u64::from(u32::MAX);
        let bucket = &self.buckets[usize::try_from(second % BUCKETS as u64).unwrap_or_default()];
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let same = packed >> 32 == second;
            let (a, s) = if same {
                ((packed >> 16) & 0xffff, packed & 0xffff)
            } else {
                (0, 0)
            };
            Some((second << 32) | ((a + attempts).min(0xffff) << 16) | (s + successes).min(0xffff))
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn p34_panic_means_less_than_half_usable() {
        assert!(!panicking(1, 2));
        assert!(panicking(1, 3));
        assert!(panicking(0, 2));
        assert!(
            !panicking(0, 1),
            "with one endpoint the breaker is the pool's health"
        );
    }

    #[test]
    fn p35_all_down_lowers_the_load_and_returns_within_three_seconds() {
        let throttle = Throttle::new();
        let mut draws = fastrand::Rng::with_seed(7);
        let mut now = Moment::from_secs(100);
        let mut sent_in_last_half = 0;
        // 200 requests a second for a minute, all failing.
        for request in 0..12_000 {
            now = now.after(Duration::from_millis(5));
            if throttle.rejects(now, draws.f64()) {
                continue;
            }
            throttle.attempt(now);
            if request >= 6_000 {
                sent_in_last_half += 1;
            }
        }
        assert!(
            f64::from(sent_in_last_half) <= 0.35 * 6_000.0,
            "{sent_in_last_half}"
        );
        // The provider is back.
        let back = now;
        let first_success = loop {
            now = now.after(Duration::from_millis(5));
            if !throttle.rejects(now, draws.f64()) {
                throttle.attempt(now);
                throttle.success(now);
                break now;
            }
        };
        assert!(first_success.since(back) <= Duration::from_secs(3));
    }

    #[test]
    fn p34_a_backend_that_answers_half_is_asked_almost_everything_for_a_minute() {
        let throttle = Throttle::new();
        let mut draws = fastrand::Rng::with_seed(7);
        let mut now = Moment::from_secs(100);
        let mut rejected = 0;
        for _ in 0..12_000 {
            now = now.after(Duration::from_millis(5));
            if throttle.rejects(now, draws.f64()) {
                rejected += 1;
                continue;
            }
            throttle.attempt(now);
            if draws.bool() {
                throttle.success(now);
            }
        }
        assert!(rejected < 600, "{rejected} of 12,000");
    }

    #[test]
    fn half_of_all_succeeding_is_not_throttled() {
        let throttle = Throttle::new();
        let now = Moment::from_secs(100);
        for _ in 0..100 {
            throttle.attempt(now);
            throttle.attempt(now);
            throttle.success(now);
        }
        assert!(!throttle.rejects(now, 0.01));
    }
}
