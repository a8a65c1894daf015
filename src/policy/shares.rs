//! Who holds how much of what is short, and who more than its share of it (fault O05).
//!
//! A share is what falls to a tenant by its weight among those who hold any: who is alone may hold everything. Only
//! who holds some is known here, so memory is bounded by what is held.

use std::sync::Arc;

use foldhash::HashMap;

use crate::domain::{ShareClass, Stake, Weight};

/// Of the places that all share, one in so many is kept for tenants that hold less than their share.
const KEPT_FOR_OTHERS: u64 = 16;

#[derive(Clone, Copy, Debug)]
struct Held {
    count: u64,
    weight: Weight,
}

#[derive(Debug, Default)]
pub struct Shares {
    held: HashMap<Arc<str>, Held>,
    all: u64,
    weights: u64,
}

impl Shares {
    pub fn take(&mut self, stake: &Stake) {
        self.all = self.all.saturating_add(1);
        let fresh = u64::from(stake.weight.get());
        match self.held.get_mut(&stake.tenant) {
            Some(held) => {
                held.count = held.count.saturating_add(1);
                // Weights may change while somebody holds something.
                self.weights = (self.weights + fresh).saturating_sub(u64::from(held.weight.get()));
                held.weight = stake.weight;
            }
            None => {
                self.weights += fresh;
                let held = Held {
                    count: 1,
                    weight: stake.weight,
                };
                self.held.insert(Arc::clone(&stake.tenant), held);
            }
        }
    }

    pub fn give_back(&mut self, tenant: &str) {
        let Some(held) = self.held.get_mut(tenant) else {
            return;
        };
        self.all = self.all.saturating_sub(1);
        held.count = held.count.saturating_sub(1);
        if held.count == 0 {
            self.weights = self.weights.saturating_sub(u64::from(held.weight.get()));
            self.held.remove(tenant);
        }
    }

    pub fn all(&self) -> u64 {
        self.all
    }

    pub fn count(&self, tenant: &str) -> u64 {
        self.held.get(tenant).map_or(0, |held| held.count)
    }

    /// How many tenants hold any.
    pub fn tenants(&self) -> usize {
        self.held.len()
    }

    fn weight(&self, tenant: &str) -> u64 {
        let held = self.held.get(tenant);
        held.map_or(0, |held| u64::from(held.weight.get()))
    }

    /// Of everyone who holds any, and of this one.
    fn weights_with(&self, stake: &Stake) -> u64 {
        (self.weights + u64::from(stake.weight.get())).saturating_sub(self.weight(&stake.tenant))
    }

    /// What a tenant holds in units that compare across weights; of no more than 2³² it is exact enough to tell any
    /// two apart.
    pub fn load(&self, tenant: &str) -> u64 {
        let weight = self.weight(tenant).max(1);
        load(self.count(tenant), weight)
    }

    /// The same if it held one more.
    pub fn load_with(&self, stake: &Stake) -> u64 {
        let weight = u64::from(stake.weight.get());
        load(self.count(&stake.tenant).saturating_add(1), weight)
    }

    /// Whether it holds less than its share of all that is held.
    pub fn is_below(&self, tenant: &str) -> bool {
        product(self.count(tenant), self.weights) < product(self.all, self.weight(tenant))
    }

    /// The same with one more that `comer` wants.
    pub fn is_below_with(&self, tenant: &str, comer: &Stake) -> bool {
        let is_own = *tenant == *comer.tenant;
        let weight = if is_own {
            u64::from(comer.weight.get())
        } else {
            self.weight(tenant)
        };
        let count = self.count(tenant) + u64::from(is_own);
        product(count, self.weights_with(comer)) < product(self.all.saturating_add(1), weight)
    }

    /// How much a tenant holds.
    pub fn class(&self, tenant: &str) -> ShareClass {
        let own = self.count(tenant);
        if own == self.all {
            ShareClass::Alone
        } else if product(own, self.weights) > product(self.all, self.weight(tenant)) {
            ShareClass::Beyond
        } else {
            ShareClass::Within
        }
    }

    /// How much it holds, what it wants counted in.
    pub fn class_with(&self, stake: &Stake) -> ShareClass {
        let own = self.count(&stake.tenant);
        if own == self.all {
            return ShareClass::Alone;
        }
        let (own, all) = (own.saturating_add(1), self.all.saturating_add(1));
        let share = product(all, u64::from(stake.weight.get()));
        if product(own, self.weights_with(stake)) > share {
            ShareClass::Beyond
        } else {
            ShareClass::Within
        }
    }

    /// Whether one more may enter where there is room for `most`, and so many tenants may want some of it.
    ///
    /// # Why places are kept
    /// Who is inside cannot be sent away, so whoever comes first would fill everything. Above its share a tenant
    /// leaves a sixteenth free; what ends in that part makes room for those below their share only, until they have
    /// theirs. Without others there is nobody to keep it for.
    pub fn may_enter(&self, stake: &Stake, most: u64, tenants: usize) -> bool {
        if self.all >= most {
            return false;
        }
        let own = self.count(&stake.tenant).saturating_add(1);
        let others = tenants > self.tenants() + usize::from(own == 1);
        if own > self.all && !others {
            return true;
        }
        // Of those who may come one is reckoned with, as light as any.
        let weights = self.weights_with(stake) + u64::from(others);
        let within = product(own, weights) <= product(most, u64::from(stake.weight.get()));
        within || self.all < most - most / KEPT_FOR_OTHERS
    }
}

fn load(count: u64, weight: u64) -> u64 {
    let load = (u128::from(count) << 32) / u128::from(weight);
    u64::try_from(load).unwrap_or(u64::MAX)
}

fn product(one: u64, two: u64) -> u128 {
    u128::from(one) * u128::from(two)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "proptest's macro writes the functions")]
    use proptest::prelude::*;

    use super::*;

    fn stake(tenant: usize, weight: u32) -> Stake {
        Stake {
            tenant: Arc::from(format!("t{tenant}")),
            weight: Weight::new(weight).unwrap(),
        }
    }

    /// Enters as often as it may, so many times at most.
    fn flood(shares: &mut Shares, stake: &Stake, times: u64, most: u64, tenants: usize) -> u64 {
        let mut entered = 0;
        while entered < times && shares.may_enter(stake, most, tenants) {
            shares.take(stake);
            entered += 1;
        }
        entered
    }

    #[test]
    fn o05_who_is_alone_in_the_world_has_everything() {
        let mut shares = Shares::default();
        assert_eq!(flood(&mut shares, &stake(0, 1), u64::MAX, 1_000, 1), 1_000);
        assert_eq!(shares.class_with(&stake(0, 1)), ShareClass::Alone);
        let mut shares = Shares::default();
        let alone_now = flood(&mut shares, &stake(0, 1), u64::MAX, 1_000, 2);
        assert_eq!(alone_now, 938, "a sixteenth is kept for who may come");
        let mut shares = Shares::default();
        assert_eq!(
            flood(&mut shares, &stake(0, 1), u64::MAX, 1, 2),
            1,
            "of one place there is no sixteenth"
        );
    }

    #[test]
    fn o05_a_flood_gives_way_until_the_other_has_its_share() {
        let most = 160;
        let (noisy, other) = (stake(0, 1), stake(1, 1));
        let mut shares = Shares::default();
        flood(&mut shares, &noisy, u64::MAX, most, 2);
        assert_eq!(shares.all(), 150);
        // Ten of the flood end in each round; both want as much as there is.
        for _ in 0..30 {
            flood(&mut shares, &other, u64::MAX, most, 2);
            flood(&mut shares, &noisy, u64::MAX, most, 2);
            (0..10).for_each(|_| shares.give_back("t0"));
        }
        flood(&mut shares, &other, u64::MAX, most, 2);
        flood(&mut shares, &noisy, u64::MAX, most, 2);
        assert!(shares.count("t1") >= 80, "{}", shares.count("t1"));
        assert!(shares.count("t0") >= 70, "{}", shares.count("t0"));
    }

    proptest! {
        #[test]
        fn o05_a_flood_alone_never_takes_what_is_kept_for_the_others(
            most in 1_u64..5_000, times in 0_u64..10_000, weight in 1_u32..20,
        ) {
            let (noisy, other) = (stake(0, weight), stake(1, 1));
            let mut shares = Shares::default();
            flood(&mut shares, &noisy, times, most, 2);
            let kept = most / KEPT_FOR_OTHERS;
            let share = most / (u64::from(weight) + 1);
            let entered = flood(&mut shares, &other, u64::MAX, most, 2);
            prop_assert!(entered >= kept.min(share), "{entered} of {kept} and {share}");
            prop_assert!(shares.all() <= most);
        }

        #[test]
        fn o05_sums_are_those_of_what_is_held_and_nothing_is_kept_of_who_left(
            steps in prop::collection::vec((0_usize..5, any::<bool>(), 1_u32..9), 0..200),
        ) {
            let mut shares = Shares::default();
            let mut held = [(0_u64, 1_u32); 5];
            for (tenant, takes, weight) in steps {
                if takes {
                    shares.take(&stake(tenant, weight));
                    held[tenant] = (held[tenant].0 + 1, weight);
                } else {
                    shares.give_back(&format!("t{tenant}"));
                    held[tenant].0 = held[tenant].0.saturating_sub(1);
                }
                let there = held.iter().filter(|(count, _)| *count > 0);
                prop_assert_eq!(shares.all(), held.iter().map(|(count, _)| count).sum::<u64>());
                prop_assert_eq!(shares.tenants(), there.clone().count());
                let weights = there.map(|(_, weight)| u64::from(*weight)).sum::<u64>();
                prop_assert_eq!(shares.weights, weights);
                // Somebody has what is more than a share only if somebody has less.
                let is_beyond = |tenant: usize| {
                    let (count, weight) = held[tenant];
                    product(count, weights) > product(shares.all(), u64::from(weight))
                };
                let is_below = |tenant: &usize| shares.is_below(&format!("t{tenant}"));
                let beyond = (0..5).filter(|tenant| held[*tenant].0 > 0 && is_beyond(*tenant)).count();
                let below = (0..5).filter(|tenant| held[*tenant].0 > 0).filter(is_below).count();
                prop_assert_eq!(beyond == 0, below == 0);
            }
        }
    }
}
