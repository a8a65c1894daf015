//! A sliding minute in sixty sub-buckets, shared by everyone who takes from it.
//!
//! # Why sixty buckets
//! A window that resets on the minute lets twice the limit through around the edge (attack A19). Sixty
//! one-second buckets, counted up, never do: a unit leaves the sum only a full minute after it was taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::Moment;

const BUCKETS: usize = 61;
/// A unit counts for a whole minute after the second in which it was taken has ended.
const SPAN_SECS: u64 = 60;

/// Each bucket packs the second it counts for (upper half) and the count (lower half), so that the two
/// can never disagree.
///
/// # Why a running total beside them
/// Placement asks for the sum several times for every target it looks at, and adding sixty numbers up was
/// most of its cost. The total is added up anew once a second and kept in step between. Whatever two
/// threads do at once, it may count a unit twice for the rest of that second and never miss one: who takes
/// counts in the bucket first and in the total second, who gives back does the reverse, and a total that
/// was added up is only stored if nobody touched the old one meanwhile.
#[derive(Debug)]
pub struct SlidingWindow {
    buckets: [AtomicU64; BUCKETS],
    /// The second it was last added up in, and the sum.
    total: AtomicU64,
}

impl Default for SlidingWindow {
    fn default() -> Self {
        Self::new()
    }
}

fn pack(second: u64, count: u64) -> u64 {
    (second << 32) | count.min(u64::from(u32::MAX))
}

fn unpack(packed: u64) -> (u64, u64) {
    (packed >> 32, packed & u64::from(u32::MAX))
}

/// Seconds in 32 bits: 136 years of uptime.
fn second(now: Moment) -> u64 {
    now.whole_secs() & u64::from(u32::MAX)
}

impl SlidingWindow {
    pub fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            total: AtomicU64::new(0),
        }
    }

    fn bucket(&self, second: u64) -> &AtomicU64 {
        // In range: a remainder of the length.
        &self.buckets[usize::try_from(second % BUCKETS as u64).unwrap_or_default()]
    }

    pub fn add(&self, amount: u32, now: Moment) {
        let this_second = second(now);
        let _ =
            self.bucket(this_second)
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |packed| {
                    let (counted, count) = unpack(packed);
                    // A bucket from a later second means our clock reading is old: count it there.
                    Some(if counted < this_second {
                        pack(this_second, u64::from(amount))
                    } else {
                        pack(counted, count + u64::from(amount))
                    })
                });
        // A total of another second is added up anew by whoever asks for it next.
        let _ = self
            .total
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |packed| {
                let (counted, count) = unpack(packed);
                (counted >= this_second).then(|| pack(counted, count + u64::from(amount)))
            });
    }

    pub fn sum(&self, now: Moment) -> u64 {
        let now = second(now);
        let known = self.total.load(Ordering::SeqCst);
        let (counted, total) = unpack(known);
        if counted >= now {
            return total;
        }
        let sum: u64 = self
            .buckets
            .iter()
            .map(|bucket| unpack(bucket.load(Ordering::SeqCst)))
            .filter(|(counted, _)| counted + SPAN_SECS >= now)
            .map(|(_, count)| count)
            .sum();
        // Lost to somebody who counted meanwhile: then the next one adds up.
        let _ =
            self.total
                .compare_exchange(known, pack(now, sum), Ordering::SeqCst, Ordering::SeqCst);
        sum
    }

    /// Takes from the total what is about to leave a bucket.
    fn total_shrinks(&self, amount: u64, now: Moment) {
        let this_second = second(now);
        let _ = self
            .total
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |packed| {
                let (counted, count) = unpack(packed);
                (counted >= this_second).then(|| pack(counted, count.saturating_sub(amount)))
            });
    }

    /// Takes `amount` if the limit allows it. Counted first and checked after, so that two takers at the
    /// same instant can both be refused but never both be let through.
    ///
    /// On `Err`: the shortest wait after which it may fit.
    pub fn try_take(&self, amount: u32, limit: u64, now: Moment) -> Result<(), Duration> {
        self.add(amount, now);
        if limit == u64::MAX || self.sum(now) <= limit {
            return Ok(());
        }
        self.give_back(amount, now, now);
        Err(self.wait_for(u64::from(amount), limit, now))
    }

    /// How long until `amount` fits under `limit`, going by what is counted now.
    fn wait_for(&self, amount: u64, limit: u64, now: Moment) -> Duration {
        let this_second = second(now);
        let mut counted: Vec<(u64, u64)> = self
            .buckets
            .iter()
            .map(|bucket| unpack(bucket.load(Ordering::Relaxed)))
            .filter(|(at, count)| *count > 0 && at + SPAN_SECS >= this_second)
            .collect();
        counted.sort_unstable();
        let mut sum: u64 = counted.iter().map(|(_, count)| count).sum();
        for (at, count) in counted {
            sum -= count;
            if sum + amount <= limit {
                let leaves = Moment::from_secs(at + SPAN_SECS + 1);
                return leaves.since(now).max(Duration::from_millis(10));
            }
        }
        Duration::from_secs(SPAN_SECS)
    }

    /// How long until nothing that is counted now is counted any more.
    pub fn empties_in(&self, now: Moment) -> Duration {
        let this_second = second(now);
        // The newest first, which is mostly that of now; somebody may have seen the next second already.
        let seconds = this_second.saturating_sub(SPAN_SECS)..=this_second + 1;
        let newest = seconds.rev().find(|at| {
            let (counted, count) = unpack(self.bucket(*at).load(Ordering::Relaxed));
            counted == *at && count > 0
        });
        newest.map_or(Duration::ZERO, |at| {
            Moment::from_secs(at + SPAN_SECS + 1).since(now)
        })
    }

    /// Refunds what was taken at `at`, if that second is still in the window.
    pub fn give_back(&self, amount: u32, at: Moment, now: Moment) {
        let taken_second = second(at);
        if taken_second + SPAN_SECS < second(now) {
            return;
        }
        let bucket = self.bucket(taken_second);
        let (counted, count) = unpack(bucket.load(Ordering::SeqCst));
        let amount = u64::from(amount).min(count);
        if counted != taken_second || amount == 0 {
            return;
        }
        self.total_shrinks(amount, now);
        let _ = bucket.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |packed| {
            let (counted, count) = unpack(packed);
            (counted == taken_second).then(|| pack(counted, count.saturating_sub(amount)))
        });
    }

    /// Settles an estimate: adds what was used beyond it, or gives back what was not.
    pub fn correct(&self, delta: i64, now: Moment) {
        let amount = u32::try_from(delta.unsigned_abs()).unwrap_or(u32::MAX);
        if delta >= 0 {
            self.add(amount, now);
        } else {
            self.shrink(u64::from(amount), now);
        }
    }

    /// Takes from the newest buckets first: the estimate was counted a moment ago.
    fn shrink(&self, mut amount: u64, now: Moment) {
        let this_second = second(now);
        for age in 0..=SPAN_SECS {
            if amount == 0 {
                return;
            }
            let Some(at) = this_second.checked_sub(age) else {
                return;
            };
            let bucket = self.bucket(at);
            let (counted, count) = unpack(bucket.load(Ordering::SeqCst));
            if counted != at || count == 0 {
                continue;
            }
            let taken = count.min(amount);
            self.total_shrinks(taken, now);
            let _ = bucket.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |packed| {
                let (counted, count) = unpack(packed);
                (counted == at).then(|| pack(counted, count.saturating_sub(taken)))
            });
            amount -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::AtomicU64 as Counter;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn l2_it_is_empty_a_minute_after_what_was_taken_last(mut seconds in prop::collection::vec(100_u64..400, 1..20), look in 0_u64..200) {
            seconds.sort_unstable();
            let window = SlidingWindow::new();
            for second in &seconds {
                window.add(1, Moment::from_secs(*second));
            }
            let last = seconds.last().copied().unwrap_or_default();
            // At the earliest by a clock that was read a second before.
            let now = last - 1 + look;
            let empty = Moment::from_secs(last + SPAN_SECS + 1).since(Moment::from_secs(now));
            prop_assert_eq!(window.empties_in(Moment::from_secs(now)), empty);
        }
    }

    proptest! {
        #[test]
        fn a19_no_rolling_minute_is_above_the_limit(
            steps in prop::collection::vec((0_u64..3_000, 1_u32..5), 1..400),
            limit in 1_u64..60,
        ) {
            let window = SlidingWindow::new();
            let mut now = Moment::from_secs(100);
            let mut taken: Vec<(Moment, u64)> = Vec::new();
            for (wait_ms, amount) in steps {
                now = now.after(Duration::from_millis(wait_ms));
                if window.try_take(amount, limit, now).is_ok() {
                    taken.push((now, u64::from(amount)));
                }
                let in_minute: u64 = taken
                    .iter()
                    .filter(|(at, _)| now.since(*at) < Duration::from_secs(60))
                    .map(|(_, amount)| amount)
                    .sum();
                prop_assert!(in_minute <= limit);
            }
        }

        #[test]
        fn the_wait_it_names_is_enough(amounts in prop::collection::vec(1_u32..4, 1..80)) {
            let window = SlidingWindow::new();
            let mut now = Moment::from_secs(50);
            for amount in amounts {
                now = now.after(Duration::from_millis(150));
                if let Err(wait) = window.try_take(amount, 20, now) {
                    prop_assert!(wait >= Duration::from_millis(10));
                    now = now.after(wait);
                    prop_assert!(window.try_take(amount, 20, now).is_ok());
                }
            }
        }

        /// With one thread the running total is exact, whatever is done.
        #[test]
        fn the_running_total_is_the_sum_of_the_buckets(
            steps in prop::collection::vec((0_u64..20_000, -50_i64..50, 0_u64..90), 1..200),
        ) {
            let window = SlidingWindow::new();
            let mut now = Moment::from_secs(100);
            for (wait_ms, delta, ago) in steps {
                now = now.after(Duration::from_millis(wait_ms));
                if ago == 0 {
                    window.correct(delta, now);
                } else if delta > 0 {
                    window.add(u32::try_from(delta).unwrap(), now);
                } else {
                    let at = Moment::from_secs(now.whole_secs().saturating_sub(ago));
                    window.give_back(u32::try_from(-delta).unwrap(), at, now);
                }
                let counted: u64 = window
                    .buckets
                    .iter()
                    .map(|bucket| unpack(bucket.load(Ordering::Relaxed)))
                    .filter(|(at, _)| at + SPAN_SECS >= second(now))
                    .map(|(_, count)| count)
                    .sum();
                prop_assert_eq!(window.sum(now), counted);
            }
        }

        #[test]
        fn what_is_given_back_is_as_if_never_taken(amount in 1_u32..1_000, later in 0_u64..120) {
            let window = SlidingWindow::new();
            let at = Moment::from_secs(10);
            window.add(7, at);
            window.try_take(amount, u64::MAX, at).unwrap();
            let now = at.after(Duration::from_secs(later));
            window.give_back(amount, at, now);
            prop_assert_eq!(window.sum(now), if later <= 60 { 7 } else { 0 });
        }
    }

    #[test]
    fn takers_at_the_same_instant_never_exceed_the_limit() {
        let window = SlidingWindow::new();
        let won = Counter::new(0);
        let now = Moment::from_secs(5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if window.try_take(1, 300, now).is_ok() {
                            won.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let won = won.load(Ordering::Relaxed);
        assert!(won <= 300);
        assert!(window.sum(now) >= won, "a taken unit is missing");
        let later = now.after(Duration::from_secs(1));
        assert_eq!(window.sum(later), won);
    }

    #[test]
    fn an_estimate_is_settled_both_ways() {
        let window = SlidingWindow::new();
        let now = Moment::from_secs(5);
        window.add(100, now);
        window.correct(-60, now.after(Duration::from_secs(2)));
        assert_eq!(window.sum(now), 40);
        window.correct(10, now);
        assert_eq!(window.sum(now), 50);
        window.correct(-500, now);
        assert_eq!(window.sum(now), 0);
    }
}
