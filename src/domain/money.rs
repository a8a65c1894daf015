//! Money as whole numbers: no float ever touches a cost.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Parts of a dollar that money is counted in.
pub const NANOS_PER_DOLLAR: u64 = 1_000_000_000;

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

    /// The most there is when that is more than fits.
    pub fn saturated(nanos: u128) -> Self {
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What was bought at a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bought {
    /// As billed.
    pub billed: NanoUsd,
    pub tokens: u64,
}

impl Bought {
    pub fn add(&mut self, billed: NanoUsd, tokens: u64) {
        self.billed += billed;
        self.tokens = self.tokens.saturating_add(tokens);
    }
}

impl Sub for NanoUsd {
    type Output = Self;
    /// Nothing is less than nothing.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for NanoUsd {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
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

/// `unit` is a power of ten and tells how many digits may follow the point; `most` is counted in it.
pub fn parse_decimal(text: &str, unit: u64, most: u64) -> Result<u64, AmountError> {
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
pub fn print_decimal(f: &mut fmt::Formatter<'_>, amount: u64, unit: u64) -> fmt::Result {
    let (mut whole, mut part) = (amount / unit, amount % unit);
    // A point, and no more digits on either side of it than a number has.
    let mut text = [b'0'; 41];
    let mut begins = text.len();
    let mut put = |digit: u8| {
        begins -= 1;
        text[begins] = digit;
    };
    if part > 0 {
        let mut digits = unit.ilog10();
        while part.is_multiple_of(10) {
            (part, digits) = (part / 10, digits - 1);
        }
        for _ in 0..digits {
            put(b'0' + (part % 10) as u8);
            part /= 10;
        }
        put(b'.');
    }
    loop {
        put(b'0' + (whole % 10) as u8);
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    f.write_str(std::str::from_utf8(&text[begins..]).unwrap_or_default())
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
    }
}
