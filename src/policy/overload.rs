//! How full memory is, and what is given up so that streams under way live on (fault O08).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// From nothing to worry about to the last resort. Each level does what those below it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Overload {
    Calm,
    /// 85 %: connections at rest are let go sooner, none is kept behind its answer; answers kept for who asks again
    /// are given up.
    Tight,
    /// 92 %: large bodies are refused.
    Scarce,
    /// 95 %: new requests are refused.
    Full,
}

/// A level is left this many points below where it was entered, or it would flicker.
const HYSTERESIS: u64 = 3;

impl Overload {
    pub const ALL: [Self; 4] = [Self::Calm, Self::Tight, Self::Scarce, Self::Full];

    /// Percent of the limit at which the level begins.
    const fn begins_at(self) -> u64 {
        match self {
            Self::Calm => 0,
            Self::Tight => 85,
            Self::Scarce => 92,
            Self::Full => 95,
        }
    }

    /// The gauge's value.
    pub const fn number(self) -> u8 {
        match self {
            Self::Calm => 0,
            Self::Tight => 1,
            Self::Scarce => 2,
            Self::Full => 3,
        }
    }

    fn of_number(number: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|level| level.number() == number)
            .unwrap_or(Self::Calm)
    }

    /// The level that follows `before` with `used` of `limit` bytes taken; a limit of 0 is none.
    pub fn after(before: Self, used: u64, limit: u64) -> Self {
        if limit == 0 {
            return Self::Calm;
        }
        let reached =
            |percent: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(percent);
        let holds = |level: &Self| {
            let entered = if *level <= before { HYSTERESIS } else { 0 };
            reached(level.begins_at().saturating_sub(entered))
        };
        Self::ALL
            .into_iter()
            .rev()
            .find(holds)
            .unwrap_or(Self::Calm)
    }
}

/// The level in force, where every request sees it.
#[derive(Debug)]
pub struct Pressure {
    level: AtomicU8,
    /// Bytes; 0 is no limit.
    limit: AtomicU64,
    /// What the container allows; 0 when it allows everything.
    container: u64,
}

impl Pressure {
    pub fn new(container: Option<u64>) -> Self {
        let container = container.unwrap_or(0);
        Self {
            level: AtomicU8::new(Overload::Calm.number()),
            limit: AtomicU64::new(container),
            container,
        }
    }

    /// The smaller of what is configured and what the container allows; 0 says nothing.
    pub fn configure(&self, configured: u64) {
        let limit = [configured, self.container]
            .into_iter()
            .filter(|limit| *limit > 0)
            .min();
        self.limit.store(limit.unwrap_or(0), Ordering::Relaxed);
    }

    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub fn level(&self) -> Overload {
        Overload::of_number(self.level.load(Ordering::Relaxed))
    }

    /// What a look at the memory says. Only one looks: two would undo each other's hysteresis.
    pub fn weigh(&self, used: u64) -> Overload {
        let level = Overload::after(self.level(), used, self.limit());
        self.level.store(level.number(), Ordering::Relaxed);
        level
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn o08_levels_begin_at_85_92_and_95_percent_and_end_three_points_lower() {
        let pressure = Pressure::new(Some(1_000 * MIB));
        let mut said = Vec::new();
        for thousandth in [
            849, 850, 919, 920, 949, 950, 999, 920, 919, 890, 889, 820, 819,
        ] {
            said.push(pressure.weigh(thousandth * MIB).number());
        }
        assert_eq!(said, [0, 1, 1, 2, 2, 3, 3, 3, 2, 2, 1, 1, 0]);
    }

    #[test]
    fn o08_the_smaller_of_both_limits_counts_and_none_is_none() {
        let pressure = Pressure::new(Some(1_000));
        pressure.configure(0);
        assert_eq!(pressure.limit(), 1_000);
        pressure.configure(500);
        assert_eq!(pressure.limit(), 500);
        pressure.configure(2_000);
        assert_eq!(pressure.limit(), 1_000);
        let pressure = Pressure::new(None);
        assert_eq!(pressure.weigh(u64::MAX), Overload::Calm);
        pressure.configure(1);
        assert_eq!(pressure.weigh(u64::MAX), Overload::Full);
        pressure.configure(0);
        assert_eq!(pressure.weigh(u64::MAX), Overload::Calm);
    }

    fn levels() -> impl Strategy<Value = Overload> {
        prop::sample::select(Overload::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn o08_more_memory_never_means_a_lower_level(
            before in levels(), used: u64, more: u64, limit: u64,
        ) {
            let low = Overload::after(before, used, limit);
            let high = Overload::after(before, used.saturating_add(more), limit);
            prop_assert!(low <= high);
        }

        #[test]
        fn o08_what_a_level_was_before_only_delays_its_end(
            before in levels(), used in 0_u64..2_000, limit in 1_u64..1_000,
        ) {
            let fresh = Overload::after(Overload::Calm, used, limit);
            let level = Overload::after(before, used, limit);
            prop_assert!(level >= fresh, "never lower than without a past");
            prop_assert!(level <= before.max(fresh), "never higher than past and present");
            let relieved = used + limit * HYSTERESIS / 100 + 1;
            prop_assert!(level <= Overload::after(Overload::Calm, relieved, limit));
        }

        #[test]
        fn o08_the_same_look_again_changes_nothing(before in levels(), used: u64, limit: u64) {
            let level = Overload::after(before, used, limit);
            prop_assert_eq!(Overload::after(level, used, limit), level);
        }

        #[test]
        fn o08_wobbling_by_less_than_the_hysteresis_moves_the_level_at_most_once(
            middle in 800_u64..1_000, wobble in prop::collection::vec(0_u64..=29, 1..50),
        ) {
            let pressure = Pressure::new(Some(1_000));
            let mut changes = 0;
            let mut before = pressure.weigh(middle + 29);
            for used in wobble {
                let level = pressure.weigh(middle + used);
                changes += u32::from(level != before);
                before = level;
            }
            prop_assert_eq!(changes, 0);
        }
    }
}
