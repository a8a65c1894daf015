//! Several of a provider's lanes at once.

use crate::domain::ServiceTier;

/// A set of tiers, as small as a byte so that a cell can hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiers(u8);

impl Tiers {
    pub fn of_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    #[must_use]
    pub fn with(self, tier: Option<ServiceTier>) -> Self {
        Self(self.0 | tier.map_or(0, bit))
    }

    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub fn has(self, tier: ServiceTier) -> bool {
        self.0 & bit(tier) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = ServiceTier> {
        ServiceTier::ALL
            .into_iter()
            .filter(move |tier| self.has(*tier))
    }
}

fn bit(tier: ServiceTier) -> u8 {
    match tier {
        ServiceTier::Default => 1,
        ServiceTier::Priority => 2,
        ServiceTier::Flex => 4,
        ServiceTier::Scale => 8,
        ServiceTier::Batch => 16,
        ServiceTier::Fast => 32,
    }
}
