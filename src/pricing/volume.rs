//! What a provider takes off its prices for who buys much: steps of a calendar month, in UTC.
//!
//! # Which step an attempt is in
//! That which the month had reached when it ended, before it: the whole attempt, so that each is in exactly one step,
//! and the one that crosses a threshold is the last at the old price. What is set aside before it is sent is the price
//! without any discount, which is the dearest.

use super::date::Date;
use super::money::Factor;
use crate::domain::{Bought, NanoUsd};

/// What a month's purchases are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// As billed, discounts taken off.
    Money,
    /// Read and written.
    Tokens,
}

/// From so much on, in nano-dollars or tokens, prices are multiplied by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeStep {
    pub from: u64,
    pub rest: Factor,
}

/// The steps of one provider, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    measure: Measure,
    steps: Vec<VolumeStep>,
}

impl Volume {
    /// `None` unless each step begins later, and costs less, than the one before it.
    pub fn new(measure: Measure, steps: Vec<VolumeStep>) -> Option<Self> {
        let mut pairs = steps.windows(2);
        let ascends = pairs.all(|pair| match pair {
            [one, next] => one.from < next.from && one.rest > next.rest,
            _ => true,
        });
        let takes_off = steps.iter().all(|step| step.rest < Factor::ONE);
        (ascends && takes_off && !steps.is_empty()).then_some(Self { measure, steps })
    }

    /// What is billed for what costs so much without a discount, after so much was bought.
    pub fn price(&self, list: NanoUsd, before: &Bought) -> NanoUsd {
        let counted = match self.measure {
            Measure::Money => before.billed.0,
            Measure::Tokens => before.tokens,
        };
        let reached = self.steps.iter().rev().find(|step| step.from <= counted);
        reached.map_or(list, |step| step.rest.of(list))
    }

    /// Adds a purchase to those before it, and returns what is billed for it.
    pub fn buy(&self, list: NanoUsd, tokens: u64, bought: &mut Bought) -> NanoUsd {
        let billed = self.price(list, bought);
        bought.add(billed, tokens);
        billed
    }
}

/// When the month of this moment (milliseconds since 1970) began, in unix seconds: a quarter of an hour's beginning.
pub fn month_of(at_ms: u64) -> u64 {
    const DAY: u64 = 86_400;
    let days = at_ms / 1_000 / DAY;
    let since_first = u64::from(Date::of_days(days).day_of_month().saturating_sub(1));
    days.saturating_sub(since_first) * DAY
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "the macro of proptest hides its functions from the exemption for tests"
    )]

    use proptest::prelude::*;

    use super::*;

    fn volume(measure: Measure, steps: &[(u64, &str)]) -> Option<Volume> {
        let steps = steps.iter().map(|(from, rest)| VolumeStep {
            from: *from,
            rest: rest.parse().unwrap(),
        });
        Volume::new(measure, steps.collect())
    }

    #[test]
    fn m1_the_purchase_that_crosses_a_threshold_is_the_last_at_the_old_price_to_the_nano_dollar() {
        let volume = volume(Measure::Money, &[(1_000, "0.9"), (1_900, "0.5")]).unwrap();
        let mut bought = Bought::default();
        let mut buy = |list| volume.buy(NanoUsd(list), 1, &mut bought).0;
        assert_eq!(buy(999), 999);
        // Rounded up, as every price.
        assert_eq!([buy(1), buy(1_000), buy(1)], [1, 900, 1]);
        // 1_901 by now.
        assert_eq!(buy(1_001), 501);
        assert_eq!(bought.tokens, 5);
    }

    #[test]
    fn m1_tokens_are_counted_where_the_contract_counts_tokens() {
        let volume = volume(Measure::Tokens, &[(10, "0.9")]).unwrap();
        let mut bought = Bought::default();
        let buy = |tokens, bought: &mut _| volume.buy(NanoUsd(100), tokens, bought).0;
        assert_eq!(
            [
                buy(9, &mut bought),
                buy(1, &mut bought),
                buy(1, &mut bought)
            ],
            [100, 100, 90]
        );
    }

    #[test]
    fn m1_steps_that_do_not_ascend_or_take_nothing_off_are_none() {
        for steps in [
            &[][..],
            &[(5, "1")],
            &[(5, "0.9"), (5, "0.8")],
            &[(5, "0.8"), (9, "0.9")],
        ] {
            assert_eq!(volume(Measure::Money, steps), None, "{steps:?}");
        }
    }

    #[test]
    fn m1_a_month_begins_with_its_first_day_in_utc() {
        const DAY: u64 = 86_400;
        let of = |days: u64| month_of(days * DAY * 1_000) / DAY;
        assert_eq!([of(0), of(30), of(31), of(58), of(59)], [0, 0, 31, 31, 59]);
        // 2024-02-29 and the day after.
        assert_eq!([of(19_782), of(19_783)], [19_754, 19_783]);
        assert_eq!(month_of(31 * DAY * 1_000 - 1), 0);
        assert!(month_of(u64::MAX) > 0);
    }

    proptest! {
        /// A month's bill never falls with what is bought more; each purchase is in exactly one step; and a bill is
        /// never above the list's, nor below what the dearest discount leaves.
        #[test]
        fn m1_a_months_bill_rises_with_every_purchase_and_each_is_in_one_step(
            money: bool,
            lists in proptest::collection::vec((0_u64..5_000, 0_u64..500), 1..60),
        ) {
            let measure = if money { Measure::Money } else { Measure::Tokens };
            let steps = [(3_000, "0.95"), (9_000, "0.8"), (20_000, "0.5")];
            let volume = volume(measure, &steps).unwrap();
            let mut bought = Bought::default();
            for (list, tokens) in lists {
                let before = bought;
                let counted = if money { before.billed.0 } else { before.tokens };
                let rest = match counted {
                    0..3_000 => 100,
                    3_000..9_000 => 95,
                    9_000..20_000 => 80,
                    20_000.. => 50,
                };
                let billed = volume.buy(NanoUsd(list), tokens, &mut bought);
                prop_assert_eq!(billed.0, (list * rest).div_ceil(100));
                prop_assert!(bought.billed >= before.billed);
                prop_assert_eq!(bought.billed, before.billed + billed);
            }
        }
    }
}
