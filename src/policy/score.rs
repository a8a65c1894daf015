//! Which of several candidates takes a request: two are drawn by weight, the less loaded one wins.
//!
//! # Why two, and why by weight
//! The best of all would draw every request of every task at once; a random one ignores what is known.
//! The better of two avoids both. Drawing by weight makes the weights shape the traffic when all else is
//! equal; dividing the load by the weight again would count them twice, so the load does not.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::domain::{Moment, Score};

/// How fast an old peak is forgotten.
const DECAY_SECS: f32 = 10.0;

/// An average of milliseconds that follows a rise at once and a fall slowly. Packs the value (`f32`) and
/// the millisecond of its last change.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    pub fn new() -> Self {
        Self::default()
    }

    fn read(packed: u64) -> (f32, u32) {
        (
            f32::from_bits((packed >> 32) as u32),
            (packed & u64::from(u32::MAX)) as u32,
        )
    }

    pub fn observe(&self, millis: f32, now: Moment) {
        let stamp = stamp(now);
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
                let (value, at) = Self::read(packed);
                let next = if millis > value || packed == 0 {
                    millis
                } else {
                    let keep = (-age_secs(at, stamp) / DECAY_SECS).exp();
                    // Many observations at one instant must still move it.
                    let keep = keep.min(0.98);
                    value * keep + millis * (1.0 - keep)
                };
                Some((u64::from(next.to_bits()) << 32) | u64::from(stamp))
            });
    }

    /// Milliseconds; 0 while unknown. Fades while nothing is observed, so that a slow endpoint is tried again.
    pub fn cost(&self, now: Moment) -> f32 {
        let packed = self.0.load(Ordering::Relaxed);
        if packed == 0 {
            return 0.0;
        }
        let (value, at) = Self::read(packed);
        let idle = age_secs(at, stamp(now));
        value * (-idle / (DECAY_SECS * 3.0)).exp()
    }
}

/// Requests that wait for their first content at one endpoint. One that hangs tells nothing by its answers, only
/// by their absence.
#[derive(Debug, Default)]
pub struct Waits {
    waiting: AtomicU32,
    /// The millisecond since when nobody who waits has seen anything.
    since: AtomicU64,
}

impl Waits {
    pub fn begins(&self, now: Moment) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.since.store(now.0 / 1_000, Ordering::Relaxed);
        }
    }

    /// It waits no longer. `served`: because its content came.
    pub fn ends(&self, served: bool, now: Moment) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if served {
            self.since.store(now.0 / 1_000, Ordering::Relaxed);
        }
    }

    /// For how many milliseconds all who wait have waited in vain; 0 when nobody waits.
    #[expect(clippy::cast_precision_loss, reason = "waits are short")]
    pub fn in_vain(&self, now: Moment) -> f32 {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return 0.0;
        }
        (now.0 / 1_000).saturating_sub(self.since.load(Ordering::Relaxed)) as f32
    }
}

/// Milliseconds in 32 bits wrap after 49 days; ages are differences, so a wrap costs one wrong age.
fn stamp(now: Moment) -> u32 {
    ((now.0 / 1_000) & u64::from(u32::MAX)) as u32
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ages are small or saturate an exponential"
)]
fn age_secs(from: u32, to: u32) -> f32 {
    to.wrapping_sub(from) as f32 / 1_000.0
}

/// One target that could take the request.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Peak-sensitive time to first content, or how long everybody has been waiting for one; 0 while unknown.
    pub cost_ms: f32,
    pub in_flight: u32,
    pub weight: f32,
    /// What of its traffic it may take while starting slowly.
    pub share: Score,
    /// What is left of its rate limits.
    pub room: Score,
    /// The share of its recent attempts that failed.
    pub fault_share: Score,
}

/// An endpoint nobody has measured is taken for this fast: good enough to be explored.
const UNKNOWN_COST_MS: f32 = 1.0;

/// Lower is better.
pub fn load(candidate: &Candidate) -> f32 {
    let cost = if candidate.cost_ms > 0.0 {
        candidate.cost_ms
    } else {
        UNKNOWN_COST_MS
    };
    #[expect(clippy::cast_precision_loss, reason = "in-flight counts are small")]
    let in_flight = candidate.in_flight as f32 / candidate.weight.max(0.01) + 1.0;
    // Providers serve many at once: ten times the requests under way are not ten times the wait. What really
    // waits shows in the cost.
    let queue = in_flight.sqrt();
    let fault = 1.0 - candidate.fault_share.get();
    // A key with half of its limit left is as good as a fresh one; towards empty it gets worse.
    let room = (candidate.room.get() * 2.0).clamp(0.1, 1.0);
    cost * queue / (fault * fault * room).max(0.001)
}

/// Below this ratio of loads the two count as equal: noise must not undo the weights.
const ALIKE: f32 = 1.5;

/// Two draws by weight and slow-start share; the better one by load.
pub fn choose(candidates: &[Candidate], draws: (u64, u64)) -> Option<usize> {
    let mass = |candidate: &Candidate| candidate.weight.max(0.0) * candidate.share.get();
    let first = draw(candidates, draws.0, mass)?;
    let second = draw(candidates, draws.1, |candidate| {
        if std::ptr::eq(candidate, &raw const candidates[first]) {
            0.0
        } else {
            mass(candidate)
        }
    });
    let Some(second) = second else {
        return Some(first);
    };
    let (one, other) = comparable(candidates[first], candidates[second]);
    let (one, other) = (load(&one), load(&other));
    Some(if one <= other * ALIKE { first } else { second })
}

/// An endpoint nobody has measured counts as fast as the one it is compared with: it is explored by its
/// weight, not by its silence.
fn comparable(mut one: Candidate, mut other: Candidate) -> (Candidate, Candidate) {
    if one.cost_ms <= 0.0 {
        one.cost_ms = other.cost_ms;
    }
    if other.cost_ms <= 0.0 {
        other.cost_ms = one.cost_ms;
    }
    (one, other)
}

/// An index with probability proportional to its mass; `None` when no mass is left.
fn draw(candidates: &[Candidate], draw: u64, mass: impl Fn(&Candidate) -> f32) -> Option<usize> {
    let total: f32 = candidates.iter().map(&mass).sum();
    if total <= 0.0 {
        // All weights are zero: the first will do, if there is one and nobody drew before.
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a random share")]
    let mut mark = (draw >> 40) as f32 / (1_u64 << 24) as f32 * total;
    let mut last = None;
    for (index, candidate) in candidates.iter().enumerate() {
        let own = mass(candidate);
        if own > 0.0 {
            last = Some(index);
            if mark < own {
                return last;
            }
            mark -= own;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn plain(weight: f32, cost_ms: f32) -> Candidate {
        Candidate {
            cost_ms,
            in_flight: 0,
            weight,
            share: Score::FULL,
            room: Score::FULL,
            fault_share: Score::NONE,
        }
    }

    fn shares(candidates: &[Candidate]) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(3);
        let mut counts = vec![0_u32; candidates.len()];
        for _ in 0..20_000 {
            counts[choose(candidates, (random.u64(..), random.u64(..))).unwrap()] += 1;
        }
        counts
            .into_iter()
            .map(|count| f64::from(count) / 20_000.0)
            .collect()
    }

    #[test]
    fn r1_equal_targets_share_by_weight() {
        let shares = shares(&[plain(9.0, 100.0), plain(1.0, 110.0)]);
        assert!((shares[0] - 0.9).abs() < 0.03, "{shares:?}");
    }

    #[test]
    fn p22_a_target_ten_times_slower_gets_next_to_nothing() {
        let shares = shares(&[plain(1.0, 100.0), plain(1.0, 100.0), plain(1.0, 1_000.0)]);
        assert!(shares[2] <= 0.05, "{shares:?}");
    }

    #[test]
    fn a_target_that_fails_often_or_is_full_is_avoided() {
        let failing = Candidate {
            fault_share: Score::new(0.5),
            ..plain(1.0, 100.0)
        };
        let full = Candidate {
            room: Score::new(0.02),
            ..plain(1.0, 100.0)
        };
        let busy = Candidate {
            in_flight: 50,
            ..plain(1.0, 100.0)
        };
        for worse in [failing, full, busy] {
            assert!(load(&worse) > load(&plain(1.0, 100.0)) * ALIKE);
        }
    }

    #[test]
    fn p20_who_waits_in_vain_makes_an_endpoint_costly() {
        let waits = Waits::default();
        let now = Moment::from_secs(100);
        let later = now.after(Duration::from_millis(700));
        assert!(waits.in_vain(later).abs() < f32::EPSILON);
        waits.begins(now);
        waits.begins(now);
        assert!((waits.in_vain(later) - 700.0).abs() < 1.0);
        waits.ends(true, later);
        assert!(waits.in_vain(later).abs() < 1.0, "somebody was served");
        let much_later = later.after(Duration::from_secs(1));
        waits.ends(false, much_later);
        assert!(
            waits.in_vain(much_later).abs() < f32::EPSILON,
            "nobody waits"
        );
    }

    #[test]
    fn the_average_rises_at_once_and_falls_slowly() {
        let cost = PeakEwma::new();
        let now = Moment::from_secs(100);
        assert!(cost.cost(now).abs() < f32::EPSILON);
        cost.observe(100.0, now);
        cost.observe(1_000.0, now);
        assert!((cost.cost(now) - 1_000.0).abs() < 1.0);
        let later = now.after(Duration::from_secs(1));
        cost.observe(100.0, later);
        assert!(cost.cost(later) > 800.0);
        let long_after = now.after(Duration::from_secs(120));
        assert!(
            cost.cost(long_after) < 100.0,
            "an idle endpoint is tried again"
        );
    }

    proptest! {
        #[test]
        fn a_choice_is_always_one_of_the_candidates(
            weights in prop::collection::vec(0.0_f32..10.0, 0..10),
            draws in (any::<u64>(), any::<u64>()),
        ) {
            let candidates: Vec<_> = weights.iter().map(|weight| plain(*weight, 10.0)).collect();
            let chosen = choose(&candidates, draws);
            prop_assert_eq!(chosen.is_some(), weights.iter().sum::<f32>() > 0.0);
            if let Some(chosen) = chosen {
                prop_assert!(weights[chosen] > 0.0);
            }
        }
    }
}
