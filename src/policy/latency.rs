//! A sketch of recent latencies: enough to know a p95, small enough to keep one per endpoint and class.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::Moment;

const BUCKETS: usize = 64;
/// Each bucket is a fifth wider than the one before: 1 ms to two minutes in 64.
const GROWTH: f32 = 1.2;
/// So often all counts are halved, so that the sketch follows change.
const HALVE_EVERY_SECS: u64 = 60;
/// Fewer samples than this say nothing.
const ENOUGH: u32 = 20;

#[derive(Debug)]
pub struct LatencySketch {
    counts: [AtomicU32; BUCKETS],
    halved_at: AtomicU64,
}

impl Default for LatencySketch {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencySketch {
    pub fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
            halved_at: AtomicU64::new(0),
        }
    }

    pub fn observe(&self, millis: f32, now: Moment) {
        self.age(now);
        // Casts from float saturate, and not-a-number becomes the first bucket.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        let bucket = (millis.max(1.0).ln() / GROWTH.ln()) as usize;
        self.counts[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// The upper edge of the bucket in which the quantile lies; `None` under twenty samples.
    pub fn quantile(&self, q: f32, now: Moment) -> Option<Duration> {
        self.age(now);
        let counts: [u32; BUCKETS] =
            std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed));
        let all: u32 = counts.iter().sum();
        if all < ENOUGH {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let mut left = all as f32 * q.clamp(0.0, 1.0);
        for (bucket, count) in (1_u16..).zip(counts) {
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            let count = count as f32;
            left -= count;
            if left <= 0.0 && count > 0.0 {
                return Some(Duration::from_secs_f32(
                    GROWTH.powf(f32::from(bucket)) / 1_000.0,
                ));
            }
        }
        None
    }

    fn age(&self, now: Moment) {
        let second = now.whole_secs();
        let halved_at = self.halved_at.load(Ordering::Relaxed);
        if halved_at == 0 {
            let _ = self.halved_at.compare_exchange(
                0,
                second.max(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            return;
        }
        let periods = second.saturating_sub(halved_at) / HALVE_EVERY_SECS;
        let won = periods > 0
            && self
                .halved_at
                .compare_exchange(halved_at, second, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            for count in &self.counts {
                let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                    Some(
                        n.checked_shr(u32::try_from(periods).unwrap_or(32))
                            .unwrap_or(0),
                    )
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_known_under_twenty_samples() {
        let sketch = LatencySketch::new();
        let now = Moment::from_secs(10);
        for _ in 0..19 {
            sketch.observe(100.0, now);
        }
        assert_eq!(sketch.quantile(0.5, now), None);
        sketch.observe(100.0, now);
        assert!(sketch.quantile(0.5, now).is_some());
    }

    #[test]
    fn it_follows_change() {
        let sketch = LatencySketch::new();
        let mut now = Moment::from_secs(10);
        for _ in 0..200 {
            sketch.observe(100.0, now);
        }
        for _ in 0..6 {
            now = now.after(Duration::from_secs(60));
            for _ in 0..20 {
                sketch.observe(1_000.0, now);
            }
        }
        assert!(
            sketch
                .quantile(0.5, now)
                .is_some_and(|p50| p50 > Duration::from_millis(900))
        );
    }

    proptest! {
        #[test]
        fn a_quantile_is_right_within_a_bucket(mut samples in prop::collection::vec(1.0_f32..60_000.0, 20..300)) {
            let sketch = LatencySketch::new();
            let now = Moment::from_secs(10);
            for sample in &samples {
                sketch.observe(*sample, now);
            }
            samples.sort_by(f32::total_cmp);
            let p95 = sketch.quantile(0.95, now).unwrap_or_default().as_secs_f32() * 1_000.0;
            let low = samples[(samples.len() * 93) / 100];
            let high = samples[((samples.len() * 97) / 100).min(samples.len() - 1)];
            prop_assert!(p95 >= low * 0.99 && p95 <= high * GROWTH * 1.01, "{low} {p95} {high}");
        }

        #[test]
        fn no_number_is_too_odd(sample in any::<f32>(), q in any::<f32>()) {
            let sketch = LatencySketch::new();
            for _ in 0..30 {
                sketch.observe(sample, Moment::from_secs(1));
            }
            let _ = sketch.quantile(q, Moment::from_secs(1));
        }
    }
}
