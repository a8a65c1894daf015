//! Who may serve a request at all: a hard filter of targets, whatever their health, price or place in a chain.
//!
//! It is asked where targets are chosen and once more just before the send, so that no way of choosing (failover,
//! race, panic, a pool that changed meanwhile) leads past it.

use super::grant::{Allow, Grant};

/// What of a target the filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    pub provider: &'a str,
    /// `None`: nobody says where it is. Who is bound to regions is then not served by it.
    pub region: Option<&'a str>,
}

/// What a request demands of whoever serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligible {
    providers: Allow,
    regions: Allow,
}

impl Eligible {
    pub fn under(grant: &Grant) -> Self {
        Self {
            providers: grant.providers.clone(),
            regions: grant.regions.clone(),
        }
    }

    /// Whether there is nothing to filter.
    pub fn admits_all(&self) -> bool {
        *self == Self::default()
    }

    pub fn admits(&self, target: Attributes<'_>) -> bool {
        let there = match (&self.regions, target.region) {
            (Allow::Everything, _) => true,
            (Allow::Only(_), Some(region)) => self.regions.holds(region),
            (Allow::Only(_), None) => false,
        };
        there && self.providers.holds(target.provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(provider: &'a str, region: Option<&'a str>) -> Attributes<'a> {
        Attributes { provider, region }
    }

    #[test]
    fn a20_who_is_bound_to_regions_is_not_served_from_where_nobody_says() {
        let anyone = Eligible::default();
        assert!(anyone.admits(at("a", None)));
        let bound = Eligible::under(&Grant {
            regions: Allow::only(["eu-*"]),
            providers: Allow::only(["a", "b"]),
            ..Grant::EVERYTHING
        });
        assert!(bound.admits(at("a", Some("eu-central-1"))));
        assert!(!bound.admits(at("a", Some("us-east-1"))));
        assert!(!bound.admits(at("a", None)));
        assert!(!bound.admits(at("c", Some("eu-central-1"))));
    }
}
