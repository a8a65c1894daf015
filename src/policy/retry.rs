//! How often a pool may try again: a share of its requests, plus a little (ground rule G4).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::Moment;

const BUCKETS: usize = 10;

/// Ten one-second buckets of second (32 bit), requests and retries (16 bit each).
#[derive(Debug)]
pub struct RetryBudget {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// What a pool may spend on retries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryTerms {
    pub share: f32,
    pub reserve_per_s: u32,
}

impl RetryBudget {
    pub fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    pub fn request(&self, now: Moment) {
        self.count(now, 1, 0);
    }

    /// Spends one retry if the budget has one left.
    pub fn try_spend(&self, terms: RetryTerms, now: Moment) -> bool {
        let second = now.whole_secs();
        let (mut requests, mut retries) = (0_u64, 0_u64);
        for bucket in &self.buckets {
            let packed = bucket.load(Ordering::Relaxed);
            if (packed >> 32) + BUCKETS as u64 > second {
                requests += (packed >> 16) & 0xffff;
                retries += packed & 0xffff;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds")]
        let earned = requests as f32 * terms.share;
        #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds")]
        let allowed = earned + (u64::from(terms.reserve_per_s) * BUCKETS as u64) as f32;
        #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds")]
        let may = (retries + 1) as f32 <= allowed;
        if may {
            self.count(now, 0, 1);
        }
        may
    }

    fn count(&self, now: Moment, requests: u64, retries: u64) {
        let second = now.whole_secs() & u64::from(u32::MAX);
        let bucket = &self.buckets[usize::try_from(second % BUCKETS as u64).unwrap_or_default()];
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let same = packed >> 32 == second;
            let (a, b) = if same {
                ((packed >> 16) & 0xffff, packed & 0xffff)
            } else {
                (0, 0)
            };
            Some((second << 32) | ((a + requests).min(0xffff) << 16) | (b + retries).min(0xffff))
        });
    }
}

const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// `0.5 s · 2ⁿ` with full jitter; `draw` in 0..1.
pub fn backoff(repeated: u32, draw: f64) -> Duration {
    let ceiling = FIRST_BACKOFF
        .saturating_mul(1 << repeated.min(10))
        .min(LONGEST_BACKOFF);
    ceiling.mul_f64(draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: RetryTerms = RetryTerms {
        share: 0.2,
        reserve_per_s: 1,
    };

    #[test]
    fn g4_retries_stay_under_a_fifth_of_requests_and_a_small_reserve() {
        let budget = RetryBudget::new();
        let now = Moment::from_secs(100);
        for _ in 0..1_000 {
            budget.request(now);
        }
        let spent = (0..1_000).filter(|_| budget.try_spend(TERMS, now)).count();
        assert_eq!(spent, 210);
        assert!(
            budget.try_spend(TERMS, now.after(Duration::from_secs(11))),
            "ten seconds later it is new"
        );
    }

    proptest! {
        #[test]
        fn a_backoff_is_never_above_its_ceiling(repeated in any::<u32>(), draw in any::<f64>()) {
            let wait = backoff(repeated, if draw.is_nan() { 0.5 } else { draw });
            prop_assert!(wait <= LONGEST_BACKOFF);
            if repeated == 0 {
                prop_assert!(wait <= FIRST_BACKOFF);
            }
        }
    }
}
