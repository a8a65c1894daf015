//! What was seen of how a provider sells: the tiers it served unasked. It outlives the actors as cells do, and a
//! new process sees it anew.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::domain::{ProviderName, ServiceTier};
use crate::pricing::Tiers;

#[derive(Debug)]
pub struct Seller {
    pub provider: ProviderName,
    unasked: AtomicU8,
}

impl Seller {
    pub(super) fn new(provider: ProviderName) -> Self {
        Self {
            provider,
            unasked: AtomicU8::new(0),
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
}
