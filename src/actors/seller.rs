//! What was seen of how a provider sells: the tiers it served unasked, and how much was bought there this month. It
//! outlives the actors as cells do. A new process sees the tiers anew, and is told what was bought before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{MutexGuard, PoisonError};

use super::tenant::wall;
use crate::domain::{Bought, NanoUsd, ProviderName, ServiceTier, Wall};
use crate::pricing::{Tiers, Volume, month_of};

#[expect(
    clippy::disallowed_types,
    reason = "held while one attempt is priced and handed to the journal, and never over an await"
)]
type Lock<T> = std::sync::Mutex<T>;

#[derive(Debug)]
pub struct Seller {
    pub provider: ProviderName,
    unasked: AtomicU8,
    months: Lock<Months>,
}

/// What was bought in the months that a clock may still be in.
#[derive(Debug, Default)]
struct Months {
    /// By the unix second in which the month began.
    bought: BTreeMap<u64, Bought>,
    /// What was bought before this process began is counted for the months from here on; `None`: for none.
    known_from: Option<u64>,
}

/// A clock that ran ahead is put right; what was bought until then is still wanted.
const MOST_MONTHS: usize = 3;

/// What an attempt is sold at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sold {
    pub billed: NanoUsd,
    /// Nobody knows yet what was bought before, so nothing is taken off.
    pub is_unsure: bool,
}

/// One attempt's turn to be priced.
///
/// # Why a turn
/// Attempts that end at once are priced one after another, and stand in the journal in that order: it can be reckoned
/// again from there to the nano-dollar.
#[derive(Debug)]
pub struct Turn<'s>(MutexGuard<'s, Months>);

impl Seller {
    pub(super) fn new(provider: ProviderName) -> Self {
        Self {
            provider,
            unasked: AtomicU8::new(0),
            months: Lock::default(),
        }
    }

    /// The tiers in which it served what had not asked for them.
    pub fn unasked(&self) -> Tiers {
        Tiers::of_bits(self.unasked.load(Ordering::Relaxed))
    }

    /// Remembers one; whether it is new.
    pub fn served_unasked(&self, tier: ServiceTier) -> bool {
        let bits = Tiers::default().with(Some(tier)).bits();
        self.unasked.fetch_or(bits, Ordering::Relaxed) & bits == 0
    }

    pub fn turn(&self) -> Turn<'_> {
        Turn(self.months.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From when on (unix seconds) it is wanted what was bought before; `None` when that is known. What was counted
    /// until now is forgotten: it is booked, but for the moment in which that was read.
    pub(super) fn wants_history(&self) -> Option<u64> {
        let mut months = self.turn().0;
        let month = month_of(wall().0);
        if months.known_from.is_some_and(|from| from <= month) {
            return None;
        }
        months.bought.clear();
        Some(month)
    }

    pub(super) fn is_known(&self) -> bool {
        self.turn().0.is_known(month_of(wall().0))
    }

    /// What was bought since then, before this process began.
    pub(super) fn remember(&self, since: u64, bought: Bought) {
        let mut months = self.turn().0;
        let month = months.of(since);
        month.add(bought.billed, bought.tokens);
        months.known_from = Some(since);
    }
}

impl Months {
    fn of(&mut self, month: u64) -> &mut Bought {
        if self.bought.len() >= MOST_MONTHS && !self.bought.contains_key(&month) {
            self.bought.pop_first();
        }
        self.bought.entry(month).or_default()
    }

    fn is_known(&self, month: u64) -> bool {
        self.known_from.is_some_and(|from| from <= month)
    }
}

impl Turn<'_> {
    /// Prices an attempt that costs so much without a discount, and counts it.
    pub fn sell(&mut self, volume: &Volume, (list, tokens): (NanoUsd, u64), now: Wall) -> Sold {
        let month = month_of(now.0);
        let is_unsure = !self.0.is_known(month);
        let bought = self.0.of(month);
        let billed = match is_unsure {
            true => {
                bought.add(list, tokens);
                list
            }
            false => volume.buy(list, tokens, bought),
        };
        Sold { billed, is_unsure }
    }

    /// Counts an attempt of which nothing is taken off.
    pub fn bought(&mut self, (billed, tokens): (NanoUsd, u64), now: Wall) {
        self.0.of(month_of(now.0)).add(billed, tokens);
    }

    /// What it would be sold at now, counting nothing. At the very edge of a step another may come between.
    pub fn look(&mut self, volume: &Volume, list: NanoUsd, now: Wall) -> Sold {
        let month = month_of(now.0);
        let is_unsure = !self.0.is_known(month);
        let billed = match is_unsure {
            true => list,
            false => volume.price(list, self.0.of(month)),
        };
        Sold { billed, is_unsure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pricing::{Factor, Measure, VolumeStep};

    /// Half the price from 1,000 nano-dollars on.
    fn half() -> Volume {
        let rest: Factor = "0.5".parse().unwrap();
        let step = VolumeStep { from: 1_000, rest };
        Volume::new(Measure::Money, vec![step]).unwrap()
    }

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn m1_nothing_is_taken_off_before_it_is_known_what_was_bought_and_a_month_begins_anew() {
        let seller = Seller::new("acme".into());
        let now = wall();
        let sell = |list, now| seller.turn().sell(&half(), (NanoUsd(list), 1), now);
        let look = |list| seller.turn().look(&half(), NanoUsd(list), now);
        let unsure = Sold {
            billed: NanoUsd(5_000),
            is_unsure: true,
        };
        assert_eq!((look(5_000), sell(5_000, now)), (unsure, unsure));
        assert_eq!(sell(100, now).billed, NanoUsd(100));
        let month = seller.wants_history().unwrap();
        seller.remember(
            month,
            Bought {
                billed: NanoUsd(999),
                tokens: 9,
            },
        );
        assert_eq!(seller.wants_history(), None);
        let sold = |list, now| (sell(list, now).billed.0, sell(0, now).is_unsure);
        assert_eq!(sold(100, now), (100, false));
        let half_off = Sold {
            billed: NanoUsd(50),
            is_unsure: false,
        };
        assert_eq!(look(100), half_off);
        assert_eq!(sold(100, now), (50, false));
        let next = Wall(now.0 + 32 * DAY_MS);
        assert_eq!(sold(100, next), (100, false));
        // The clock is put right.
        assert_eq!(sold(100, now), (50, false));
        let before = Wall(now.0 - 32 * DAY_MS);
        assert!(sell(100, before).is_unsure);
    }

    #[test]
    fn m1_what_is_bought_while_nothing_is_taken_off_counts_when_something_is_again() {
        let seller = Seller::new("acme".into());
        let month = seller.wants_history().unwrap();
        seller.remember(month, Bought::default());
        let now = wall();
        let sell = || seller.turn().sell(&half(), (NanoUsd(100), 1), now).billed.0;
        assert_eq!(sell(), 100);
        // Its terms are gone for a while.
        seller.turn().bought((NanoUsd(900), 9), now);
        assert_eq!(seller.wants_history(), None);
        assert_eq!(sell(), 50);
    }

    #[test]
    fn m1_of_many_that_end_at_once_each_is_in_exactly_one_step() {
        let seller = Seller::new("acme".into());
        let month = seller.wants_history().unwrap();
        seller.remember(month, Bought::default());
        let now = wall();
        let billed: u64 = std::thread::scope(|scope| {
            let sell = || {
                let one = || seller.turn().sell(&half(), (NanoUsd(10), 1), now).billed.0;
                (0..50).map(|_| one()).sum::<u64>()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(sell)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        // A hundred at ten, which come to the threshold, and three hundred at five.
        assert_eq!(billed, 100 * 10 + 300 * 5);
    }
}
