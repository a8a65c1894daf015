//! For whom a request counts where there is not enough for all.

use std::sync::Arc;

/// How many times the share of a tenant that weighs one a tenant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    pub const ONE: Self = Self(1);
    pub const MOST: u32 = 1_000;

    /// `None` for what is no weight: 0, or more than [`Weight::MOST`].
    pub const fn new(weight: u32) -> Option<Self> {
        if weight >= 1 && weight <= Self::MOST {
            Some(Self(weight))
        } else {
            None
        }
    }

    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// A tenant, and what it weighs among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stake {
    pub tenant: Arc<str>,
    pub weight: Weight,
}

/// How much a tenant has of what is short, in classes that are few enough to be metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShareClass {
    /// Nobody else wants any of it.
    Alone,
    /// Its share, or less.
    Within,
    Beyond,
}

impl ShareClass {
    pub const ALL: [Self; 3] = [Self::Alone, Self::Within, Self::Beyond];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Within => "within_share",
            Self::Beyond => "beyond_share",
        }
    }

    /// Its place in [`ShareClass::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
