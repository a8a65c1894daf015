//! How long an attempt may take to begin, and how long it may then pause.

use std::time::Duration;

/// The bounds within which learnt limits move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerBounds {
    pub least: Duration,
    pub most: Duration,
}

/// Three times the p99 of what this endpoint usually takes, within bounds; the upper bound while unknown.
pub fn first_content_limit(p99: Option<Duration>, bounds: TimerBounds) -> Duration {
    within(p99.map(|p99| p99 * 3), bounds)
}

/// Twenty times the p99 gap between pieces of content, within bounds; the upper bound while unknown.
pub fn gap_limit(p99: Option<Duration>, bounds: TimerBounds) -> Duration {
    within(p99.map(|p99| p99 * 20), bounds)
}

fn within(learnt: Option<Duration>, bounds: TimerBounds) -> Duration {
    // Not `clamp`: bounds come from configuration, and a crossed pair must not panic.
    learnt
        .unwrap_or(bounds.most)
        .max(bounds.least)
        .min(bounds.most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_the_limit_is_three_p99_between_two_and_thirty_seconds() {
        let bounds = TimerBounds {
            least: Duration::from_secs(2),
            most: Duration::from_secs(30),
        };
        let limit = |ms| first_content_limit(Some(Duration::from_millis(ms)), bounds);
        assert_eq!(limit(100), Duration::from_secs(2));
        assert_eq!(limit(2_000), Duration::from_secs(6));
        assert_eq!(limit(20_000), Duration::from_secs(30));
        assert_eq!(first_content_limit(None, bounds), Duration::from_secs(30));
    }

    #[test]
    fn s08_the_gap_limit_is_twenty_p99_between_ten_and_sixty_seconds() {
        let bounds = TimerBounds {
            least: Duration::from_secs(10),
            most: Duration::from_secs(60),
        };
        assert_eq!(
            gap_limit(Some(Duration::from_millis(50)), bounds),
            Duration::from_secs(10)
        );
        assert_eq!(
            gap_limit(Some(Duration::from_secs(1)), bounds),
            Duration::from_secs(20)
        );
        assert_eq!(gap_limit(None, bounds), Duration::from_secs(60));
    }
}
