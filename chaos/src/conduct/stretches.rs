//! When a fault is on: the stretches of time that its shape makes of its span.

use std::time::Duration;

use crate::scenario::Shape;

/// A random fault is on for this share of its period, at least and at most.
const RANDOM_SHARE: (f64, f64) = (0.02, 0.12);

/// When a fault is on, from `from` to `to` on the clock of whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) shape: Shape,
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) period: Duration,
    pub(super) seed: u64,
}

impl Pace {
    /// How much of the fault's share applies now, from 0 to 1.
    pub(super) fn strength(&self, now: Duration) -> f64 {
        let Some(since) = now.checked_sub(self.from).filter(|_| now < self.to) else {
            return 0.0;
        };
        match self.shape {
            Shape::Step => 1.0,
            Shape::Ramp => {
                let span = self.to.saturating_sub(self.from).as_secs_f64().max(1e-9);
                since.as_secs_f64() / span
            }
            Shape::Flap | Shape::Random => {
                let turn = (since.as_secs_f64() / self.period_secs()) as u64;
                let (on, off) = self.stretch(turn);
                f64::from(u8::from((on..off).contains(&now)))
            }
        }
    }

    /// The next stretch that is not over yet.
    pub(super) fn next(&self, now: Duration) -> Option<(Duration, Duration)> {
        match self.shape {
            Shape::Step | Shape::Ramp => {
                (now < self.to && self.from < self.to).then_some((self.from, self.to))
            }
            Shape::Flap | Shape::Random => {
                let since = now.saturating_sub(self.from).as_secs_f64();
                let turn = (since / self.period_secs()) as u64;
                (turn..turn.saturating_add(2))
                    .map(|turn| self.stretch(turn))
                    .find(|(_, off)| now < *off)
                    .filter(|(on, _)| *on < self.to)
            }
        }
    }

    /// All of them, in order.
    pub(super) fn stretches(self) -> impl Iterator<Item = (Duration, Duration)> {
        let mut now = Duration::ZERO;
        std::iter::from_fn(move || {
            let found = self.next(now)?;
            // The clocks tell milliseconds, and a stretch of less must not be found for ever.
            now = found.1.max(now.saturating_add(Duration::from_nanos(1)));
            Some(found)
        })
    }

    /// Where the fault is on in one of its periods.
    fn stretch(&self, turn: u64) -> (Duration, Duration) {
        let period = self.period_secs();
        let (begin, share) = match self.shape {
            Shape::Random => {
                let seed = self.seed ^ turn.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mut draw = fastrand::Rng::with_seed(seed);
                let (least, most) = RANDOM_SHARE;
                let share = least + draw.f64() * (most - least);
                (draw.f64() * (1.0 - share), share)
            }
            Shape::Flap | Shape::Step | Shape::Ramp => (0.0, 0.5),
        };
        let at = |share: f64| {
            let secs = (turn as f64 + share) * period;
            self.from.saturating_add(Duration::from_secs_f64(secs))
        };
        (at(begin).min(self.to), at(begin + share).min(self.to))
    }

    fn period_secs(&self) -> f64 {
        self.period.as_secs_f64().max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(shape: Shape, seed: u64) -> Pace {
        Pace {
            shape,
            from: Duration::from_secs(10),
            to: Duration::from_secs(110),
            period: Duration::from_secs(10),
            seed,
        }
    }

    fn walk(pace: &Pace) -> Vec<(Duration, Duration)> {
        pace.stretches().collect()
    }

    #[test]
    fn a_fault_whose_time_is_empty_is_never_on() {
        for shape in [Shape::Step, Shape::Ramp, Shape::Flap, Shape::Random] {
            let empty = Pace {
                to: Duration::from_secs(10),
                ..pace(shape, 1)
            };
            assert_eq!(walk(&empty), [], "{shape:?}");
            assert!(empty.next(Duration::ZERO).is_none(), "{shape:?}");
        }
    }

    #[test]
    fn a_flap_is_half_on_and_half_off() {
        let all = walk(&pace(Shape::Flap, 1));
        let wanted: Vec<_> = (0..10)
            .map(|turn| {
                (
                    Duration::from_secs(10 + turn * 10),
                    Duration::from_secs(15 + turn * 10),
                )
            })
            .collect();
        assert_eq!(all, wanted);
    }

    #[test]
    fn a_random_fault_has_one_stretch_in_each_period_and_the_same_seed_the_same_ones() {
        let all = walk(&pace(Shape::Random, 7));
        assert_eq!(all.len(), 10);
        assert_eq!(all, walk(&pace(Shape::Random, 7)));
        assert_ne!(all, walk(&pace(Shape::Random, 8)));
        for (turn, (on, off)) in all.iter().enumerate() {
            let begin = Duration::from_secs(10 + turn as u64 * 10);
            assert!(*on >= begin && *off <= begin + Duration::from_secs(10));
            let lasts = off.saturating_sub(*on).as_secs_f64();
            assert!((0.19..1.21).contains(&lasts), "{lasts}");
        }
    }

    #[test]
    fn strength_and_stretches_tell_the_same() {
        for shape in [Shape::Step, Shape::Flap, Shape::Random] {
            let pace = pace(shape, 3);
            let all = walk(&pace);
            for tenth in 0..1_300 {
                let now = Duration::from_millis(tenth * 100);
                let on = all.iter().any(|(on, off)| (*on..*off).contains(&now));
                assert_eq!(pace.strength(now) > 0.0, on, "{shape:?} at {now:?}");
            }
        }
    }

    #[test]
    fn a_ramp_grows_evenly() {
        let ramp = pace(Shape::Ramp, 1);
        assert!((ramp.strength(Duration::from_secs(60)) - 0.5).abs() < 1e-9);
        assert!(ramp.strength(Duration::from_secs(110)).abs() < 1e-9);
    }
}
