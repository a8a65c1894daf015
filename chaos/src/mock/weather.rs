//! How fast a healthy provider is.

use std::time::Duration;

/// Where a duration is drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    Exactly(Duration),
    /// Evenly between the two.
    Between(Duration, Duration),
    /// The long tail providers have: half the draws are below `median`, one in a hundred above `p99`.
    LogNormal {
        median: Duration,
        p99: Duration,
    },
}

impl Spread {
    pub const ZERO: Self = Self::Exactly(Duration::ZERO);

    #[must_use]
    pub fn draw(&self, rng: &mut fastrand::Rng) -> Duration {
        match *self {
            Self::Exactly(value) => value,
            Self::Between(low, high) => {
                let span = high.saturating_sub(low);
                low.saturating_add(span.mul_f64(rng.f64()))
            }
            Self::LogNormal { median, p99 } => {
                // 2.326 is the 99th percentile of the standard normal distribution.
                let ratio = (p99.as_secs_f64() / median.as_secs_f64().max(1e-9)).max(1.0);
                let sigma = ratio.ln() / 2.326;
                let seconds = median.as_secs_f64() * (sigma * normal(rng)).exp();
                Duration::try_from_secs_f64(seconds).unwrap_or(p99)
            }
        }
    }

    fn times(self, factor: u32) -> Self {
        match self {
            Self::Exactly(value) => Self::Exactly(value.saturating_mul(factor)),
            Self::Between(low, high) => {
                Self::Between(low.saturating_mul(factor), high.saturating_mul(factor))
            }
            Self::LogNormal { median, p99 } => Self::LogNormal {
                median: median.saturating_mul(factor),
                p99: p99.saturating_mul(factor),
            },
        }
    }
}

/// A standard normal draw (Box and Muller).
fn normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * rng.f64().max(f64::MIN_POSITIVE).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// The timing and size of healthy answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// From the request to the head; the head never comes later than the first content.
    /// `None`: together with the first content, as most providers do.
    pub head: Option<Spread>,
    /// From the request to the first content; a unary answer comes `tokens` gaps later.
    pub first_content: Spread,
    /// Between two content events.
    pub gap: Spread,
    /// Words in the answer, unless the request's limit is smaller.
    pub tokens: u64,
}

impl Default for Weather {
    /// At once, ten words: what most tests want.
    fn default() -> Self {
        Self {
            head: None,
            first_content: Spread::ZERO,
            gap: Spread::ZERO,
            tokens: 10,
        }
    }
}

impl Weather {
    #[must_use]
    pub fn tokens(self, tokens: u64) -> Self {
        Self { tokens, ..self }
    }

    #[must_use]
    pub fn first_content(self, first_content: Duration) -> Self {
        Self {
            first_content: Spread::Exactly(first_content),
            ..self
        }
    }

    #[must_use]
    pub fn gap(self, gap: Duration) -> Self {
        Self {
            gap: Spread::Exactly(gap),
            ..self
        }
    }

    #[must_use]
    pub fn head(self, head: Duration) -> Self {
        Self {
            head: Some(Spread::Exactly(head)),
            ..self
        }
    }

    /// A brown-out: all times longer, nothing wrong.
    #[must_use]
    pub fn slower(self, factor: u32) -> Self {
        Self {
            head: self.head.map(|head| head.times(factor)),
            first_content: self.first_content.times(factor),
            gap: self.gap.times(factor),
            tokens: self.tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_normal_draw_has_the_median_and_the_tail_it_was_given() {
        let spread = Spread::LogNormal {
            median: Duration::from_millis(100),
            p99: Duration::from_millis(1000),
        };
        let mut rng = fastrand::Rng::with_seed(7);
        let mut draws: Vec<Duration> = (0..20_000).map(|_| spread.draw(&mut rng)).collect();
        draws.sort_unstable();
        let (median, p99) = (draws[10_000], draws[19_800]);
        assert!((95..106).contains(&median.as_millis()), "{median:?}");
        assert!((900..1120).contains(&p99.as_millis()), "{p99:?}");
    }

    #[test]
    fn the_same_seed_draws_the_same_weather() {
        let spread = Spread::Between(Duration::from_millis(1), Duration::from_millis(9));
        let draw = |seed| spread.draw(&mut fastrand::Rng::with_seed(seed));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
