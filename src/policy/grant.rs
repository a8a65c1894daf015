//! What a caller may use: pools, providers, regions, operations, lanes.
//!
//! # Why patterns that can be compared
//! A child's grant is never wider than its creator's (attack A06). That has to be decided for every name there may
//! ever be, not only for those there are today: so a grant is a set of names and of beginnings of names, for which
//! intersection and inclusion can be worked out exactly.

use std::sync::Arc;

use super::residency::lies_in;
use crate::domain::{Lane, Operation};

/// Names, and beginnings of names where a `*` stands at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allow {
    #[default]
    Everything,
    /// Sorted, and none of them inside another.
    Only(Arc<[Arc<str>]>),
}

impl Allow {
    pub fn only<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> Self {
        let mut kept: Vec<Arc<str>> = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            if pattern == "*" {
                return Self::Everything;
            }
            if kept.iter().any(|other| covers(other, pattern)) {
                continue;
            }
            kept.retain(|other| !covers(pattern, other));
            kept.push(Arc::from(pattern));
        }
        kept.sort_unstable();
        Self::Only(kept.into())
    }

    /// These names and no others. What would be a pattern is no name: nothing here can be called so.
    pub fn named<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter();
        Self::only(names.filter(|name| !name.as_ref().ends_with('*')))
    }

    pub fn holds(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| fits(pattern, name)),
        }
    }

    /// What both hold.
    pub fn and(&self, other: &Self) -> Self {
        self.and_by(other, covers)
    }

    fn and_by(&self, other: &Self, covers: fn(&str, &str) -> bool) -> Self {
        match (self, other) {
            (Self::Everything, limits) | (limits, Self::Everything) => limits.clone(),
            (Self::Only(ours), Self::Only(theirs)) => {
                let both = ours.iter().flat_map(|one| {
                    theirs.iter().filter_map(move |two| {
                        if covers(two, one) {
                            Some(one)
                        } else {
                            covers(one, two).then_some(two)
                        }
                    })
                });
                Self::only(both)
            }
        }
    }

    /// Whether there is no name, known or yet to come, that this holds and `other` does not.
    ///
    /// Names are endless: no number of other patterns makes up for a beginning that is missing.
    pub fn within(&self, other: &Self) -> bool {
        self.within_by(other, covers)
    }

    fn within_by(&self, other: &Self, covers: fn(&str, &str) -> bool) -> bool {
        match (self, other) {
            (_, Self::Everything) => true,
            (Self::Everything, Self::Only(_)) => false,
            (Self::Only(ours), Self::Only(theirs)) => ours
                .iter()
                .all(|one| theirs.iter().any(|two| covers(two, one))),
        }
    }

    /// As it was written; `None` for everything.
    pub fn patterns(&self) -> Option<&[Arc<str>]> {
        match self {
            Self::Everything => None,
            Self::Only(patterns) => Some(patterns),
        }
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Whether `wide` holds all that `narrow` holds.
fn covers(wide: &str, narrow: &str) -> bool {
    match (wide.strip_suffix('*'), narrow.strip_suffix('*')) {
        (Some(beginning), Some(narrow)) => narrow.starts_with(beginning),
        (Some(beginning), None) => narrow.starts_with(beginning),
        (None, Some(_)) => false,
        (None, None) => wide == narrow,
    }
}

/// As [`covers`], for regions: a jurisdiction holds the regions of clouds that lie in it.
fn encloses(wide: &str, narrow: &str) -> bool {
    covers(wide, narrow) || !narrow.ends_with('*') && lies_in(narrow, wide)
}

/// What one caller may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub pools: Allow,
    pub providers: Allow,
    pub regions: Allow,
    /// By [`Operation::label`].
    pub operations: Allow,
    /// The best one; those behind it are open as well.
    pub lane: Lane,
}

impl Default for Grant {
    fn default() -> Self {
        Self::EVERYTHING
    }
}

impl Grant {
    pub const EVERYTHING: Self = Self {
        pools: Allow::Everything,
        providers: Allow::Everything,
        regions: Allow::Everything,
        operations: Allow::Everything,
        lane: Lane::Interactive,
    };

    pub fn may_do(&self, operation: Operation) -> bool {
        self.operations.holds(operation.label())
    }

    /// What both allow: an organisation's, its team's and its key's grants are taken together so.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            pools: self.pools.and(&other.pools),
            providers: self.providers.and(&other.providers),
            regions: self.regions.and_by(&other.regions, encloses),
            operations: self.operations.and(&other.operations),
            lane: self.lane.max(other.lane),
        }
    }

    /// The first part in which this goes beyond `other`; `None` when it lies within.
    pub fn wider_than(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            ("pools", self.pools.within(&other.pools)),
            ("providers", self.providers.within(&other.providers)),
            ("regions", self.regions.within_by(&other.regions, encloses)),
            ("operations", self.operations.within(&other.operations)),
            ("lane", self.lane >= other.lane),
        ];
        let beyond = parts.into_iter().find(|(_, within)| !within);
        beyond.map(|(part, _)| part)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "proptest's macro writes the functions")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a06_names_that_are_no_patterns_open_what_is_called_so_and_nothing_else() {
        let named = Allow::named(["*", "fast*", "fast", "a*b"]);
        for (name, expected) in [("fast", true), ("faster", false), ("slow", false)] {
            assert_eq!(named.holds(name), expected, "{name}");
        }
        assert_eq!(Allow::named(["*"]), Allow::only(Vec::<&str>::new()));
    }

    fn pattern() -> impl Strategy<Value = String> {
        "[ab]{0,3}\\*?".prop_filter("a name is not empty", |text| !text.is_empty())
    }

    fn allow() -> impl Strategy<Value = Allow> {
        prop_oneof![
            1 => Just(Allow::Everything),
            6 => proptest::collection::vec(pattern(), 0..5).prop_map(Allow::only),
        ]
    }

    fn grant() -> impl Strategy<Value = Grant> {
        (allow(), allow(), allow(), allow(), 0..3_usize).prop_map(
            |(pools, providers, regions, operations, lane)| Grant {
                pools,
                providers,
                regions,
                operations,
                lane: Lane::ALL[lane],
            },
        )
    }

    /// Every short name, and one longer than any pattern.
    fn names() -> Vec<String> {
        let mut names = vec![String::new()];
        for length in 0..5 {
            let longer: Vec<String> = names
                .iter()
                .filter(|name| name.len() == length)
                .flat_map(|name| ["a", "b", "c"].map(|more| format!("{name}{more}")))
                .collect();
            names.extend(longer);
        }
        names
    }

    proptest! {
        #[test]
        fn an_intersection_holds_what_both_hold_and_nothing_else(one in allow(), two in allow()) {
            let both = one.and(&two);
            for name in names() {
                prop_assert_eq!(both.holds(&name), one.holds(&name) && two.holds(&name), "{}", name);
            }
        }

        #[test]
        fn within_is_told_exactly(one in allow(), two in allow()) {
            let told = one.within(&two);
            let found = names().iter().all(|name| !one.holds(name) || two.holds(name));
            prop_assert_eq!(told, found);
        }

        #[test]
        fn a06_what_is_taken_together_is_never_wider_than_a_part_of_it(one in grant(), two in grant()) {
            let both = one.and(&two);
            prop_assert_eq!(both.wider_than(&one), None);
            prop_assert_eq!(both.wider_than(&two), None);
            prop_assert_eq!(&both, &two.and(&one));
            if one.wider_than(&two).is_none() {
                prop_assert_eq!(&both, &one);
            }
        }
    }

    #[test]
    fn a06_a_region_of_a_cloud_lies_within_its_jurisdiction_and_no_other() {
        let bound = |regions: &[&str]| Grant {
            regions: Allow::only(regions),
            ..Grant::EVERYTHING
        };
        let eu = bound(&["eu"]);
        assert_eq!(bound(&["eu-central-1"]).wider_than(&eu), None);
        assert_eq!(bound(&["eu-central-1"]).and(&eu), bound(&["eu-central-1"]));
        // London is not in the Union, and a beginning that holds it is not within.
        for beyond in ["eu-west-2", "eu-*", "us-east-1"] {
            assert_eq!(
                bound(&[beyond]).wider_than(&eu),
                Some("regions"),
                "{beyond}"
            );
        }
    }

    #[test]
    fn a06_each_part_that_goes_beyond_is_named() {
        let narrow = Grant {
            pools: Allow::only(["fast"]),
            providers: Allow::only(["a*"]),
            regions: Allow::only(["eu-*"]),
            operations: Allow::only(["chat"]),
            lane: Lane::Batch,
        };
        assert_eq!(narrow.wider_than(&Grant::EVERYTHING), None);
        let wider = [
            (
                "pools",
                Grant {
                    pools: Allow::only(["fast*"]),
                    ..narrow.clone()
                },
            ),
            (
                "providers",
                Grant {
                    providers: Allow::Everything,
                    ..narrow.clone()
                },
            ),
            (
                "regions",
                Grant {
                    regions: Allow::only(["eu-1", "us-1"]),
                    ..narrow.clone()
                },
            ),
            (
                "operations",
                Grant {
                    operations: Allow::only(["images"]),
                    ..narrow.clone()
                },
            ),
            (
                "lane",
                Grant {
                    lane: Lane::Default,
                    ..narrow.clone()
                },
            ),
        ];
        for (part, grant) in wider {
            assert_eq!(grant.wider_than(&narrow), Some(part));
        }
    }
}
