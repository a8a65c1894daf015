//! A length of time as people write it: `250ms`, `5s`, `2m`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// A length of time in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// A day: longer runs are a mistake.
const LONGEST: Duration = Duration::from_secs(86_400);

impl Span {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, unit) = text.split_at_checked(digits)?;
        let seconds = match unit.trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let span = Duration::try_from_secs_f64(number * seconds).ok()?;
        (span <= LONGEST).then_some(Self(span))
    }

    #[must_use]
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::invalid_value(
                Unexpected::Str(&text),
                &"a number with a unit, up to a day: \"250ms\", \"5s\", \"2m\", \"1h\"",
            )
        })
    }
}
