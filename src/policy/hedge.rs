//! Whether a second leg is worth its tokens.

use std::time::Duration;

use super::window::SlidingWindow;
use crate::domain::{Moment, PromptClass, Score, Tokens};

/// What decides about hedging besides the latency.
#[derive(Clone, Copy, Debug)]
pub struct HedgeSituation {
    pub panicking: bool,
    pub pushed_back_recently: bool,
    pub class: PromptClass,
    /// Larger prompts are not hedged: their second leg costs too much.
    pub largest_class: PromptClass,
    pub enabled: bool,
}

/// Hedging sooner than this would race the network, not the provider.
const SOONEST: Duration = Duration::from_millis(5);

/// When the second leg starts: at the p95, unless something speaks against it (fault S07).
pub fn hedge_after(p95: Option<Duration>, situation: HedgeSituation) -> Option<Duration> {
    let allowed = situation.enabled
        && !situation.panicking
        && !situation.pushed_back_recently
        && situation.class <= situation.largest_class;
    p95.filter(|_| allowed).map(|p95| p95.max(SOONEST))
}

/// The earliest quantile of the latencies at which a second leg starts (fault S07), and the latest.
pub const SOONEST_QUANTILE: f32 = 0.95;
const LATEST_QUANTILE: f32 = 0.985;

/// Where the next second legs start: later while the budget would not last, so that it is spent on those who
/// have waited longest, and sooner again when there is room.
pub fn hedge_quantile(last: f32, spent: Score, budget: Score) -> f32 {
    const STEP: f32 = 0.005;
    let used = spent.get() / budget.get().max(1e-6);
    let next = if used > 0.7 {
        last + STEP
    } else if used < 0.5 {
        last - STEP
    } else {
        last
    };
    next.clamp(SOONEST_QUANTILE, LATEST_QUANTILE)
}

/// Tokens spent on second legs against all tokens, over a minute.
#[derive(Debug, Default)]
pub struct HedgeBudget {
    all: SlidingWindow,
    hedged: SlidingWindow,
}

impl HedgeBudget {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts what a request used, hedged or not.
    pub fn settled(&self, tokens: Tokens, now: Moment) {
        self.all
            .add(u32::try_from(tokens.0).unwrap_or(u32::MAX), now);
    }

    /// Reserves the cost of a second leg if the share allows it.
    pub fn try_hedge(&self, cost: Tokens, share: Score, now: Moment) -> bool {
        let cost = u32::try_from(cost.0).unwrap_or(u32::MAX);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let limit = (self.all.sum(now) as f64 * f64::from(share.get())) as u64;
        // `u64::MAX` would mean "no limit" to the window.
        self.hedged
            .try_take(cost, limit.min(u64::MAX - 1), now)
            .is_ok()
    }

    /// Gives back what a second leg that never started had reserved.
    pub fn refund(&self, cost: Tokens, now: Moment) {
        self.hedged
            .give_back(u32::try_from(cost.0).unwrap_or(u32::MAX), now, now);
    }

    pub fn ratio(&self, now: Moment) -> Score {
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        let ratio = self.hedged.sum(now) as f32 / self.all.sum(now).max(1) as f32;
        Score::new(ratio)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALM: HedgeSituation = HedgeSituation {
        panicking: false,
        pushed_back_recently: false,
        class: PromptClass::Small,
        largest_class: PromptClass::Medium,
        enabled: true,
    };

    #[test]
    fn s07_no_hedge_in_panic_after_pushback_for_large_prompts_or_when_off() {
        let p95 = Some(Duration::from_millis(300));
        assert_eq!(hedge_after(p95, CALM), p95);
        assert_eq!(hedge_after(None, CALM), None);
        for against in [
            HedgeSituation {
                panicking: true,
                ..CALM
            },
            HedgeSituation {
                pushed_back_recently: true,
                ..CALM
            },
            HedgeSituation {
                class: PromptClass::Large,
                ..CALM
            },
            HedgeSituation {
                enabled: false,
                ..CALM
            },
        ] {
            assert_eq!(hedge_after(p95, against), None, "{against:?}");
        }
    }

    #[test]
    fn s07_a_budget_that_runs_short_goes_to_those_who_waited_longest() {
        let budget = Score::new(0.05);
        let mut quantile = SOONEST_QUANTILE;
        for _ in 0..20 {
            quantile = hedge_quantile(quantile, Score::new(0.049), budget);
        }
        assert!((quantile - LATEST_QUANTILE).abs() < 1e-4);
        for _ in 0..20 {
            quantile = hedge_quantile(quantile, Score::new(0.01), budget);
        }
        assert!((quantile - SOONEST_QUANTILE).abs() < 1e-4);
    }

    proptest! {
        #[test]
        fn s07_hedges_never_cost_more_than_their_share(
            steps in prop::collection::vec((1_u64..2_000, any::<bool>(), 0_u64..2_000), 1..300),
        ) {
            let budget = HedgeBudget::new();
            let mut now = Moment::from_secs(100);
            for (tokens, hedge, wait) in steps {
                now = now.after(Duration::from_millis(wait));
                if hedge {
                    let before = budget.ratio(now).get();
                    if budget.try_hedge(Tokens(tokens), Score::new(0.05), now) {
                        prop_assert!(budget.ratio(now).get() <= 0.0501);
                    } else {
                        prop_assert!((budget.ratio(now).get() - before).abs() < 1e-6);
                    }
                } else {
                    budget.settled(Tokens(tokens), now);
                }
            }
        }
    }
}
