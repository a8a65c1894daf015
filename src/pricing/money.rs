//! Money as whole numbers: no float ever touches a price or a cost.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Parts of a dollar that money is counted in.
const NANOS_PER_DOLLAR: u64 = 1_000_000_000;
/// A price is for this many tokens.
pub(super) const TOKENS_PER_PRICE: u128 = 1_000_000;
/// Parts of one that a factor is counted in.
const MILLIONTHS: u64 = 1_000_000;
/// Above this a price per million tokens is a slip: somebody wrote cents, or forgot the point.
const MOST_DOLLARS: u64 = 1_000_000;
/// Above this a factor is a slip.
const MOST_FACTOR: u64 = 100;

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmountError {
    #[error("not a decimal number")]
    NotDecimal,
    #[error("more than {0} digits after the point")]
    TooFine(usize),
    #[error("larger than {0}")]
    TooLarge(u64),
}

/// An amount of money: whole billionths of a US dollar, never negative.
///
/// # Why
/// A token of the cheapest models costs a few hundredths of a nano-dollar. Costs are therefore summed
/// finer than this type counts and rounded up once, at the end: a bill is never short, and never by
/// more than one nano-dollar long.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(u64::MAX);

    /// This amount times `factor`, rounded up: a margin, a discount, a share.
    #[must_use]
    pub fn scaled(self, factor: Factor) -> Self {
        let scaled = u128::from(self.0).saturating_mul(u128::from(factor.0));
        Self::saturated(scaled.div_ceil(u128::from(MILLIONTHS)))
    }

    pub(super) fn saturated(nanos: u128) -> Self {
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_decimal(f, self.0, NANOS_PER_DOLLAR)
    }
}

impl FromStr for NanoUsd {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        parse_decimal(text, NANOS_PER_DOLLAR, u64::MAX).map(Self)
    }
}

impl TryFrom<String> for NanoUsd {
    type Error = AmountError;
    fn try_from(text: String) -> Result<Self, AmountError> {
        text.parse()
    }
}

impl From<NanoUsd> for String {
    fn from(amount: NanoUsd) -> Self {
        amount.to_string()
    }
}

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

/// `unit` is a power of ten and tells how many digits may follow the point; `most` is counted in it.
fn parse_decimal(text: &str, unit: u64, most: u64) -> Result<u64, AmountError> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits_only = |side: &str| !side.is_empty() && side.bytes().all(|b| b.is_ascii_digit());
    if !digits_only(whole) || !digits_only(part) {
        return Err(AmountError::NotDecimal);
    }
    let too_large = AmountError::TooLarge(most / unit);
    let fine_digits = unit.ilog10() as usize;
    let part = part.trim_end_matches('0');
    if part.len() > fine_digits {
        return Err(AmountError::TooFine(fine_digits));
    }
    let whole: u64 = whole.parse().map_err(|_| too_large)?;
    let part: u64 = format!("{part:0<fine_digits$}")
        .parse()
        .map_err(|_| AmountError::NotDecimal)?;
    let amount = whole.checked_mul(unit).and_then(|w| w.checked_add(part));
    amount.filter(|amount| *amount <= most).ok_or(too_large)
}

/// The shortest text that [`parse_decimal`] reads back as the same amount.
fn print_decimal(f: &mut fmt::Formatter<'_>, amount: u64, unit: u64) -> fmt::Result {
    let (whole, part) = (amount / unit, amount % unit);
    if part == 0 {
        return write!(f, "{whole}");
    }
    let fine_digits = unit.ilog10() as usize;
    let part = format!("{part:0fine_digits$}");
    write!(f, "{whole}.{}", part.trim_end_matches('0'))
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
        fn an_amount_reads_back_as_it_was_printed(nanos: u64) {
            let amount = NanoUsd(nanos);
            prop_assert_eq!(amount.to_string().parse::<NanoUsd>().unwrap(), amount);
        }

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
    fn a_share_of_an_amount_is_never_short() {
        assert_eq!(NanoUsd(3).scaled("0.5".parse().unwrap()), NanoUsd(2));
        assert_eq!(NanoUsd::MAX.scaled("100".parse().unwrap()), NanoUsd::MAX);
    }
}
