//! What is added to what a provider bills, before it is charged to whoever asked.

use super::money::{Factor, Rate, TOKENS_PER_PRICE};
use crate::domain::NanoUsd;

/// What providers bill, and what is charged for it: two figures, and neither ever stands for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    pub billed: NanoUsd,
    pub charged: NanoUsd,
}

impl Due {
    pub const NOTHING: Self = Self {
        billed: NanoUsd::ZERO,
        charged: NanoUsd::ZERO,
    };

    /// Side by side, whatever the work does with one of them.
    fn with(self, other: Self, work: impl Fn(NanoUsd, NanoUsd) -> NanoUsd) -> Self {
        Self {
            billed: work(self.billed, other.billed),
            charged: work(self.charged, other.charged),
        }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, |one, more| one + more)
    }

    /// What is missing on either side.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        self.with(other, |one, less| one - less)
    }

    /// The more of each side: the dearest to be billed need not be the dearest to be charged.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.with(other, NanoUsd::max)
    }

    #[must_use]
    pub fn times(self, copies: u64) -> Self {
        let times = |one: NanoUsd| NanoUsd(one.0.saturating_mul(copies));
        Self {
            billed: times(self.billed),
            charged: times(self.charged),
        }
    }
}

/// A share of the bill, and so much for each token.
///
/// # Why rounded up, and for each attempt
/// An attempt is what a provider bills. What is added to each of several is never less than what is added to their
/// sum, by at most two nano-dollars each; and a reservation, which is reckoned the same way, always covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margin {
    /// Of the bill: a fifth for twenty percent.
    pub share: Factor,
    /// For a million tokens, read or written.
    pub per_million: Rate,
}

impl Margin {
    /// What is charged for what a provider bills so much for.
    pub fn on(self, bill: NanoUsd, tokens: u64) -> NanoUsd {
        let rate = u128::from(self.per_million.nano_usd().0);
        let by_token = u128::from(tokens).saturating_mul(rate);
        let by_token = NanoUsd::saturated(by_token.div_ceil(TOKENS_PER_PRICE));
        bill + self.share.of(bill) + by_token
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "the macro of proptest hides its functions from the exemption for tests"
    )]

    use proptest::prelude::*;

    use super::*;

    fn margin(share: &str, per_million: &str) -> Margin {
        Margin {
            share: share.parse().unwrap(),
            per_million: per_million.parse().unwrap(),
        }
    }

    #[test]
    fn m1_a_margin_is_a_share_of_the_bill_and_so_much_a_token() {
        let bill = NanoUsd(11_000_000);
        assert_eq!(margin("0.2", "0").on(bill, 11), NanoUsd(13_200_000));
        assert_eq!(margin("0", "2").on(bill, 11), NanoUsd(11_022_000));
        assert_eq!(margin("0.2", "2").on(bill, 11), NanoUsd(13_222_000));
        // What costs nothing may be sold by the token.
        assert_eq!(margin("0.2", "2").on(NanoUsd::ZERO, 11), NanoUsd(22_000));
        assert_eq!(margin("0", "0").on(bill, 11), bill);
        assert_eq!(margin("100", "1").on(NanoUsd::MAX, u64::MAX), NanoUsd::MAX);
    }

    proptest! {
        #[test]
        fn m1_what_is_set_aside_with_a_margin_covers_what_is_charged(
            millionths in 0_u64..2_000_000,
            nanos in 0_u64..10_000_000_000,
            bill: u32,
            tokens: u32,
            more in 0_u64..1_000_000,
        ) {
            let share = NanoUsd(millionths * 1_000).to_string();
            let margin = margin(&share, &NanoUsd(nanos).to_string());
            let (bill, tokens) = (u64::from(bill), u64::from(tokens));
            let charged = margin.on(NanoUsd(bill), tokens);
            prop_assert!(charged >= NanoUsd(bill));
            prop_assert!(margin.on(NanoUsd(bill + more), tokens + more) >= charged);
        }
    }
}
