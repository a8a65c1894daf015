//! How fast a line is served: only what was counted while somebody waited all the time says what can be.

use std::time::Duration;

use crate::domain::Moment;

const SECONDS: usize = 10;
/// Fewer are no rate.
const ENOUGH: u64 = 10;

/// So many served in each of the last seconds.
#[derive(Debug, Default)]
pub struct ServedRate {
    /// Which second, and how many in it.
    seconds: [(u64, u64); SECONDS],
    /// The first whole second in which somebody waited from its beginning.
    from: u64,
}

impl ServedRate {
    /// Nobody waited before; what was counted then says nothing of what can be.
    pub fn line_begins(&mut self, now: Moment) {
        self.from = now.whole_secs().saturating_add(1);
    }

    pub fn count(&mut self, now: Moment) {
        let second = now.whole_secs();
        let place = usize::try_from(second % SECONDS as u64).unwrap_or_default();
        if let Some((of, served)) = self.seconds.get_mut(place) {
            if *of != second {
                (*of, *served) = (second, 0);
            }
            *served = served.saturating_add(1);
        }
    }

    /// How many are served within that time at most, should it go as fast as in the fastest whole second of the last
    /// ten; `None` while too little is known.
    pub fn most_within(&self, time: Duration, now: Moment) -> Option<u64> {
        let second = now.whole_secs();
        let is_known = |of: u64| of >= self.from && of < second && of + SECONDS as u64 >= second;
        let known = self.seconds.iter().filter(|(of, _)| is_known(*of));
        let (all, fastest) = known.fold((0_u64, 0_u64), |(all, fastest), (_, served)| {
            (all.saturating_add(*served), fastest.max(*served))
        });
        if all < ENOUGH {
            return None;
        }
        // Rounded up to whole seconds' parts: one turn more is no harm, one less would be a wrong refusal.
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let most = u128::from(fastest) * u128::from(millis);
        Some(u64::try_from(most.div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(100);

    fn at(seconds: u64) -> Moment {
        NOW.after(Duration::from_secs(seconds))
    }

    fn served(counts: &[u64]) -> ServedRate {
        let mut rate = ServedRate::default();
        rate.line_begins(NOW);
        for (second, count) in (0..).zip(counts) {
            for _ in 0..*count {
                rate.count(at(second));
            }
        }
        rate
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_fastest_whole_second_of_the_last_ten_counts() {
        let rate = served(&[900, 20, 50, 30, 70]);
        assert_eq!(
            rate.most_within(SECOND, at(4)),
            Some(50),
            "the fifth is not over"
        );
        assert_eq!(rate.most_within(SECOND, at(5)), Some(70));
        assert_eq!(rate.most_within(SECOND / 2, at(5)), Some(35));
        assert_eq!(rate.most_within(SECOND, at(14)), Some(70));
        assert_eq!(rate.most_within(SECOND, at(15)), None, "too long ago");
    }

    #[test]
    fn too_little_is_no_rate() {
        assert_eq!(served(&[0, 3, 3, 3]).most_within(SECOND, at(4)), None);
        assert_eq!(served(&[0, 3, 3, 4]).most_within(SECOND, at(4)), Some(4));
        let mut again = served(&[0, 500]);
        again.line_begins(at(2));
        assert_eq!(again.most_within(SECOND, at(3)), None, "another line");
    }
}
