//! How many requests an endpoint may have in flight: learnt, so that one that hangs cannot fill the gateway.
//!
//! Until the first overload the limit doubles with each round of what it lets through, so that a healthy endpoint is
//! never the bottleneck of a gateway that has just started; from then on it grows additively, while it is
//! really used. It shrinks by three tenths on overload, at most once a second, because one bad moment is
//! reported by everyone in it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::Moment;

const LEAST: u32 = 4;
const START: u32 = 64;
const DECREASE_EVERY: Duration = Duration::from_secs(1);
/// Beyond the limit one is let in this often.
const TRICKLE_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub struct AdaptiveLimit {
    /// In sixteenths of a request, so that growth can be slower than one per answer.
    limit: AtomicU32,
    most: u32,
    lowered_at: AtomicU64,
    trickled_at: AtomicU64,
}

impl AdaptiveLimit {
    pub fn new(most: u32) -> Self {
        let most = most.max(1);
        Self {
            limit: AtomicU32::new(START.min(most) * 16),
            most,
            lowered_at: AtomicU64::new(0),
            trickled_at: AtomicU64::new(0),
        }
    }

    pub fn limit(&self) -> u32 {
        (self.limit.load(Ordering::Relaxed) / 16).max(1)
    }

    /// Whether one more could go beyond the limit now; only [`AdaptiveLimit::trickle`] takes the place.
    ///
    /// # Why
    /// Requests that hung while the endpoint was ill hold their places until their own time is up, minutes
    /// perhaps. The endpoint may be well by then, and nobody would find out (fault O07).
    pub fn may_trickle(&self, in_flight: u32, now: Moment) -> bool {
        let last = Moment(self.trickled_at.load(Ordering::Relaxed));
        in_flight < self.most && now.since(last) >= TRICKLE_EVERY
    }

    /// Lets one go beyond the limit.
    pub fn trickle(&self, in_flight: u32, now: Moment) -> bool {
        let last = self.trickled_at.load(Ordering::Relaxed);
        self.may_trickle(in_flight, now)
            && self
                .trickled_at
                .compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// An attempt began to answer while `in_flight` were under way.
    pub fn completed(&self, in_flight: u32) {
        // Growing a limit that nobody reaches would make it meaningless when it is needed.
        if in_flight * 2 < self.limit() {
            return;
        }
        let most = self.most.saturating_mul(16);
        let never_overloaded = self.lowered_at.load(Ordering::Relaxed) == 0;
        // Two for each, so that it doubles even when what it let in stays (long streams).
        let step = if never_overloaded { 32 } else { 4 };
        let _ = self
            .limit
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |limit| {
                (limit < most).then(|| (limit + step).min(most))
            });
    }

    /// The endpoint is overloaded or hangs.
    pub fn overloaded(&self, in_flight: u32, now: Moment) {
        let lowered_at = self.lowered_at.load(Ordering::Relaxed);
        if lowered_at != 0 && now.since(Moment(lowered_at)) < DECREASE_EVERY {
            return;
        }
        let mine = self
            .lowered_at
            .compare_exchange(lowered_at, now.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if mine {
            let least = LEAST.min(self.most) * 16;
            let _ = self
                .limit
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |limit| {
                    // From what was really used: an unused limit must not absorb the decrease.
                    let used = limit.min(in_flight.saturating_mul(16).max(least));
                    Some((used / 10 * 7).max(least))
                });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn o07_a_hanging_endpoint_shrinks_to_a_few() {
        let limit = AdaptiveLimit::new(1_000);
        let mut now = Moment::from_secs(10);
        for _ in 0..20 {
            now = now.after(Duration::from_secs(1));
            limit.overloaded(limit.limit(), now);
        }
        assert_eq!(limit.limit(), LEAST);
    }

    #[test]
    fn o07_an_endpoint_that_is_well_again_is_found_out_beside_those_that_still_hang() {
        let limit = AdaptiveLimit::new(1_000);
        let mut now = Moment::from_secs(10);
        for _ in 0..20 {
            now = now.after(Duration::from_secs(1));
            limit.overloaded(8, now);
        }
        let hung = 8;
        assert!(limit.limit() < hung);
        let mut let_in = 0;
        for _ in 0..800 {
            now = now.after(Duration::from_millis(10));
            if limit.trickle(hung, now) {
                let_in += 1;
                limit.completed(hung + 1);
            }
        }
        assert!((30..=33).contains(&let_in), "four a second: {let_in}");
        assert!(limit.limit() > hung, "{} after 8 s", limit.limit());
        let full = AdaptiveLimit::new(8);
        assert!(
            !full.trickle(8, now),
            "what the operator allows stays the most"
        );
    }

    #[test]
    fn it_grows_only_while_it_is_used() {
        let limit = AdaptiveLimit::new(1_000);
        for _ in 0..1_000 {
            limit.completed(1);
        }
        assert_eq!(limit.limit(), START);
        for _ in 0..1_000 {
            limit.completed(limit.limit());
        }
        assert!(limit.limit() > 200);
    }

    /// Streams that stay open give nothing back; what they let in must still grow.
    #[test]
    fn a_thousand_open_streams_are_let_in_within_a_few_rounds() {
        let limit = AdaptiveLimit::new(1_000);
        let (mut open, mut rounds) = (0, 0);
        while open < 1_000 {
            let fresh = limit.limit() - open;
            open += fresh;
            (0..fresh).for_each(|_| limit.completed(open));
            rounds += 1;
            assert!(rounds <= 10, "{open} open");
        }
        let now = Moment::from_secs(10);
        limit.overloaded(1_000, now);
        let lowered = limit.limit();
        (0..100).for_each(|_| limit.completed(1_000));
        assert_eq!(
            limit.limit(),
            lowered + 25,
            "carefully, once it was overloaded"
        );
    }

    #[test]
    fn one_bad_moment_counts_once() {
        let limit = AdaptiveLimit::new(1_000);
        let now = Moment::from_secs(10);
        for _ in 0..50 {
            limit.overloaded(64, now);
        }
        assert!(limit.limit() > 40);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(most in 1_u32..5_000, steps in prop::collection::vec((any::<bool>(), any::<u32>()), 0..200)) {
            let limit = AdaptiveLimit::new(most);
            let mut now = Moment::from_secs(10);
            for (good, in_flight) in steps {
                now = now.after(Duration::from_millis(700));
                if good { limit.completed(in_flight / 2) } else { limit.overloaded(in_flight, now) }
                prop_assert!(limit.limit() >= 1 && limit.limit() <= most.max(1));
            }
        }
    }
}
