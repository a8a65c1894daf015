//! Who is inside: every request that is being served, counted for its tenant.
//!
//! # Why a lock
//! Whether one more may enter depends on what all tenants hold together (fault O05), and is decided in a few map
//! lookups; counters of their own would have to agree with one another all the same.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::Edge;
use crate::config::StreamShape;
use crate::domain::{ShareClass, Stake};
use crate::policy::shares::Shares;

#[expect(
    clippy::disallowed_types,
    reason = "held for a few map lookups and never over an await; every request enters and leaves here, from any task"
)]
type Lock<T> = std::sync::Mutex<T>;

#[derive(Debug, Default)]
pub(crate) struct Inside(Lock<Shares>);

impl Inside {
    /// Nothing in [`Shares`] can be left half done, so whatever a panic elsewhere left is good.
    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much a tenant would hold with one more.
    pub(super) fn class(&self, stake: &Stake) -> ShareClass {
        self.shares().class_with(stake)
    }

    fn enter(&self, stake: &Stake, (most, tenants): (u32, usize)) -> Result<(), ShareClass> {
        let mut shares = self.shares();
        if shares.may_enter(stake, u64::from(most), tenants) {
            shares.take(stake);
            Ok(())
        } else {
            Err(shares.class_with(stake))
        }
    }
}

/// Counts a request as long as it is served.
pub(super) struct InFlight {
    edge: Arc<Edge>,
    tenant: Arc<str>,
}

impl InFlight {
    /// `room`: for how many there is room, and how many tenants may want some of it.
    pub(super) fn enter(
        edge: &Arc<Edge>,
        stake: Stake,
        room: (u32, usize),
    ) -> Result<Self, ShareClass> {
        edge.inside.enter(&stake, room)?;
        Ok(Self {
            edge: Arc::clone(edge),
            tenant: stake.tenant,
        })
    }

    /// How streams leave now.
    pub(super) fn shape(&self) -> StreamShape {
        self.edge.published().settings.streams
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.edge.inside.shares().give_back(&self.tenant);
    }
}
