//! A day of the calendar, as far as deprecations need one.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A day, printed `2026-11-30`. Only compared, never counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a day of the calendar, as in 2026-11-30")]
pub struct DateError;

impl Date {
    /// `None` if the calendar has no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        (1..=days)
            .contains(&day)
            .then_some(Self { year, month, day })
    }

    pub(super) fn day_of_month(self) -> u8 {
        self.day
    }

    /// The day this many days after 1970-01-01, in the calendar of all years since.
    pub fn of_days(days: u64) -> Self {
        // Years that begin in March put the odd day at their end.
        let shifted = days.min(20_000_000) + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: u8::try_from(month).unwrap_or(12),
            day: u8::try_from(day).unwrap_or(31),
        }
    }

    /// Reads eight digits, `20261130`, or the same with dashes.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digits: Vec<u8> = match (bytes.len(), bytes.get(4), bytes.get(7)) {
            (8, _, _) => bytes.to_vec(),
            (10, Some(b'-'), Some(b'-')) => {
                let part = |range| bytes.get(range).unwrap_or_default();
                [part(0..4), part(5..7), part(8..10)].concat()
            }
            _ => return None,
        };
        if digits.len() != 8 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = digits
            .iter()
            .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        let year = u16::try_from(number / 10_000).ok()?;
        let month = u8::try_from(number / 100 % 100).ok()?;
        let day = u8::try_from(number % 100).ok()?;
        Self::new(year, month, day)
    }
}

impl FromStr for Date {
    type Err = DateError;
    fn from_str(text: &str) -> Result<Self, DateError> {
        if text.len() == 10 {
            Self::read(text)
        } else {
            None
        }
        .ok_or(DateError)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_since_1970_are_days_of_the_calendar() {
        for (days, day) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_778, "2026-11-21"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Date::of_days(days).to_string(), day);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_the_calendar(text in ".{0,12}", digits in "[0-9-]{8,10}") {
            let _ = Date::read(&text);
            let _ = Date::read(&digits);
        }
    }

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        for day in ["2026-11-30", "2024-02-29", "2000-02-29"] {
            assert_eq!(day.parse::<Date>().unwrap().to_string(), day);
        }
        for text in [
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-11-31",
            "2026-11-00",
        ] {
            assert_eq!(text.parse::<Date>(), Err(DateError), "{text}");
        }
        assert_eq!(
            "20261130".parse::<Date>(),
            Err(DateError),
            "a file writes dashes"
        );
        assert_eq!("2026/11/30".parse::<Date>(), Err(DateError));
    }

    #[test]
    fn days_compare_as_the_calendar_does() {
        let day = |text: &str| text.parse::<Date>().unwrap();
        assert!(day("2025-12-31") < day("2026-01-01"));
        assert!(day("2026-01-31") < day("2026-02-01"));
    }
}
