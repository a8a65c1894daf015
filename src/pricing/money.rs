//! Prices and factors as whole numbers: no float ever touches them.

use std::fmt;
use std::str::FromStr;

use crate::domain::money::{AmountError, NANOS_PER_DOLLAR, NanoUsd, parse_decimal, print_decimal};

/// A price is for this many tokens.
pub(super) const TOKENS_PER_PRICE: u128 = 1_000_000;
/// Parts of one that a factor is counted in.
const MILLIONTHS: u64 = 1_000_000;
/// Above this a price per million tokens is a slip: somebody wrote cents, or forgot the point.
const MOST_DOLLARS: u64 = 1_000_000;
/// Above this a factor is a slip.
const MOST_FACTOR: u64 = 100;

/// What a million tokens cost, or, for images and requests, what one costs: nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    pub fn nano_usd(self) -> NanoUsd {
        NanoUsd(self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_decimal(f, self.0, NANOS_PER_DOLLAR)
    }
}

impl FromStr for Rate {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let most = MOST_DOLLARS * NANOS_PER_DOLLAR;
        parse_decimal(text, NANOS_PER_DOLLAR, most).map(Self)
    }
}

/// What a price is multiplied by: half for a batch, twice for priority. Whole millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Factor(u64);

impl Factor {
    pub const ONE: Self = Self(MILLIONTHS);

    /// This amount times this factor, rounded up: a margin, a discount, a share.
    pub fn of(self, amount: NanoUsd) -> NanoUsd {
        let scaled = u128::from(amount.0).saturating_mul(u128::from(self.0));
        NanoUsd::saturated(scaled.div_ceil(u128::from(MILLIONTHS)))
    }

    /// So many hundredths of one: `"12.5"` is an eighth.
    pub fn of_percent(text: &str) -> Result<Self, AmountError> {
        let (unit, most) = (MILLIONTHS / 100, MOST_FACTOR * MILLIONTHS);
        parse_decimal(text, unit, most).map(Self)
    }

    /// What is left of one when so many hundredths of it are taken off; of nothing, or of more than all, none.
    pub fn less_percent(text: &str) -> Result<Self, AmountError> {
        let Self(off) = Self::of_percent(text)?;
        match MILLIONTHS.checked_sub(off) {
            Some(rest) if off > 0 => Ok(Self(rest)),
            Some(_) => Err(AmountError::NotDecimal),
            None => Err(AmountError::TooLarge(100)),
        }
    }

    pub(super) fn millionths(self) -> u64 {
        self.0
    }
}

/// What [`Factor::millionths`] are parts of.
pub(super) const FACTOR_UNIT: u128 = MILLIONTHS as u128;

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_decimal(f, self.0, MILLIONTHS)
    }
}

impl FromStr for Factor {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        parse_decimal(text, MILLIONTHS, MOST_FACTOR * MILLIONTHS).map(Self)
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

    proptest! {
        #[test]
        fn a_rate_and_a_factor_read_back_as_they_were_printed(
            nanos in 0..=MOST_DOLLARS * NANOS_PER_DOLLAR,
            millionths in 0..=MOST_FACTOR * MILLIONTHS,
        ) {
            prop_assert_eq!(Rate(nanos).to_string().parse::<Rate>().unwrap(), Rate(nanos));
            let factor = Factor(millionths);
            prop_assert_eq!(factor.to_string().parse::<Factor>().unwrap(), factor);
        }

        #[test]
        fn no_text_panics_the_reader(text in ".{0,40}") {
            let _ = text.parse::<NanoUsd>();
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Factor>();
        }
    }

    #[test]
    fn a_price_is_read_to_the_last_digit() {
        assert_eq!("0.075".parse(), Ok(Rate(75_000_000)));
        assert_eq!("3".parse(), Ok(Rate(3_000_000_000)));
        assert_eq!("0.000000001".parse(), Ok(Rate(1)));
        assert_eq!("2.50".parse::<Rate>().unwrap().to_string(), "2.5");
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for text in [
            "", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "NaN", " 1", "0x1", "1.2.3", "١",
        ] {
            assert_eq!(
                text.parse::<Rate>(),
                Err(AmountError::NotDecimal),
                "{text:?}"
            );
        }
        assert_eq!("0.0000000001".parse::<Rate>(), Err(AmountError::TooFine(9)));
        assert_eq!(
            "1000000.1".parse::<Rate>(),
            Err(AmountError::TooLarge(1_000_000))
        );
        assert_eq!("101".parse::<Factor>(), Err(AmountError::TooLarge(100)));
        assert!("99999999999999999999999".parse::<NanoUsd>().is_err());
    }

    #[test]
    fn m1_a_percent_is_a_hundredth() {
        assert_eq!(Factor::of_percent("12.5"), Ok("0.125".parse().unwrap()));
        assert_eq!(Factor::of_percent("100"), Ok(Factor::ONE));
        assert_eq!(Factor::of_percent("0.0001"), Ok(Factor(1)));
        assert_eq!(Factor::of_percent("-5"), Err(AmountError::NotDecimal));
        assert_eq!(Factor::of_percent("1.00001"), Err(AmountError::TooFine(4)));
        assert_eq!(
            Factor::of_percent("10001"),
            Err(AmountError::TooLarge(10_000))
        );
    }

    #[test]
    fn a_share_of_an_amount_is_never_short() {
        assert_eq!("0.5".parse::<Factor>().unwrap().of(NanoUsd(3)), NanoUsd(2));
        assert_eq!(
            "100".parse::<Factor>().unwrap().of(NanoUsd::MAX),
            NanoUsd::MAX
        );
    }
}
