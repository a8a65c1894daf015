//! Units: what a number counts is part of its type.

use std::ops::{Add, AddAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A count of model tokens.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tokens(pub u64);

impl Tokens {
    /// A cheap estimate for text of this many bytes; four bytes a token is right within a third for prose.
    pub fn estimated_from_bytes(bytes: usize) -> Self {
        Self((bytes as u64).div_ceil(4))
    }
}

impl Add for Tokens {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// A border that is drawn in the journal, told from all others of this process; later ones are greater. What was handed
/// in before a border stands before it, and what is handed in behind it stands behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Border(pub u64);

/// A share between nothing (0) and all (1).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Score(f32);

impl Score {
    pub const NONE: Self = Self(0.0);
    pub const FULL: Self = Self(1.0);

    /// Brings any number into 0..=1; not-a-number becomes 0.
    pub fn new(share: f32) -> Self {
        if share.is_nan() {
            Self::NONE
        } else {
            Self(share.clamp(0.0, 1.0))
        }
    }

    pub fn get(self) -> f32 {
        self.0
    }
}

/// A point in time: microseconds since the gateway's clock began.
///
/// # Why
/// Decisions take the time as an argument and cells keep it in an atomic; both want one integer, not
/// a platform's opaque instant. `actors::tables::Clock` is the only place that makes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    pub const START: Self = Self(0);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000)
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    pub fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    pub fn whole_secs(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// A time of day and year: milliseconds since 1970. What budgets and records are dated with.
///
/// # Why beside [`Moment`]
/// A wall clock is set back and forth by others; nothing that waits may hang on it, and a month cannot be told
/// from anything else.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub u64);

impl Wall {
    pub const NEVER: Self = Self(u64::MAX);

    /// Time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// So long before.
    #[must_use]
    pub fn before(self, long: Duration) -> Self {
        let millis = u64::try_from(long.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

/// What an answer used, in canonical form: details are parts of the totals, never beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input: Tokens,
    /// All output tokens, reasoning included.
    pub output: Tokens,
    /// Of the input: read from the provider's cache.
    pub cached_input: Tokens,
    /// Of the input: written to the provider's cache.
    pub cache_write: Tokens,
    /// Of what was written to the cache: for an hour instead of five minutes.
    pub cache_write_hour: Tokens,
    /// Of the output: spent on reasoning.
    pub reasoning: Tokens,
    /// Of the input: audio.
    pub audio_input: Tokens,
    /// Of the output: audio.
    pub audio_output: Tokens,
    /// How it was served, where the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<ServiceTier>,
}

/// A lane of the provider's, with a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// What others call `standard`.
    Default,
    Priority,
    Flex,
    Scale,
    Batch,
    /// Anthropic's, which is asked for by `speed`.
    Fast,
}

impl ServiceTier {
    pub const ALL: [Self; 6] = [
        Self::Default,
        Self::Priority,
        Self::Flex,
        Self::Scale,
        Self::Batch,
        Self::Fast,
    ];

    /// By whichever provider's word; `None` for a wish, and for what nobody else has.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "default" | "standard" => Some(Self::Default),
            "priority" => Some(Self::Priority),
            "flex" => Some(Self::Flex),
            "scale" => Some(Self::Scale),
            "batch" => Some(Self::Batch),
            "fast" => Some(Self::Fast),
            _ => None,
        }
    }

    /// In OpenAI's words, and its nearest copies'.
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Scale => "scale",
            Self::Batch => "batch",
            Self::Fast => "fast",
        }
    }
}

impl Usage {
    pub fn total(&self) -> Tokens {
        self.input + self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_outside_its_bounds() {
        assert_eq!(Score::new(f32::NAN), Score::NONE);
        assert_eq!(Score::new(7.0), Score::FULL);
        assert_eq!(Score::new(-1.0), Score::NONE);
    }

    #[test]
    fn time_never_runs_backwards() {
        assert_eq!(Moment(5).since(Moment(9)), Duration::ZERO);
        assert_eq!(
            Moment(u64::MAX).after(Duration::from_secs(1)),
            Moment(u64::MAX)
        );
    }
}
