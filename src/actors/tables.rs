//! The tables: cells and slots by name. They run no logic, so nothing in them can crash.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::HashMap;

use super::cells::{EndpointCell, KeyCell, PoolCell, WindowCell};
use super::key::KeyMessage;
use super::pool::PoolMessage;
use super::provider::ProviderMessage;
use super::race::RaceMessage;
use super::seller::Seller;
use super::slot::{ActorKind, Seat, Slot};
use super::tenant::{TenantCell, TenantMessage};
use super::till::Till;
use crate::domain::{KeyName, ModelName, Moment, PoolName, ProviderName, TenantName};

/// A map that is read without a lock and replaced as a whole on the rare change.
pub struct Table<K, V> {
    rows: ArcSwap<HashMap<K, Arc<V>>>,
}

impl<K: Eq + Hash + Clone, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: ArcSwap::from_pointee(HashMap::default()),
        }
    }
}

impl<K: Eq + Hash + Clone, V> Table<K, V> {
    /// The row of this name, made now if it is new. Rows are made only when settings are published,
    /// which happens one after another.
    pub fn row(&self, key: &K, make: impl FnOnce() -> V) -> Arc<V> {
        self.row_arc(key, || Arc::new(make()))
    }

    /// As [`Table::row`], for what is only ever made behind an `Arc`.
    pub fn row_arc(&self, key: &K, make: impl FnOnce() -> Arc<V>) -> Arc<V> {
        if let Some(row) = self.rows.load().get(key) {
            return Arc::clone(row);
        }
        let row = make();
        self.rows.rcu(|rows| {
            let mut rows = HashMap::clone(rows);
            rows.entry(key.clone()).or_insert_with(|| Arc::clone(&row));
            rows
        });
        row
    }

    /// The row of this name, if it is there.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.rows.load().get(key).cloned()
    }

    pub fn all(&self) -> Arc<HashMap<K, Arc<V>>> {
        self.rows.load_full()
    }

    /// Forgets rows that no settings name any more; whoever still holds one keeps it.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.rows.rcu(|rows| {
            let mut rows = HashMap::clone(rows);
            rows.retain(|key, _| keep(key));
            rows
        });
    }
}

pub(crate) type EndpointId = (ProviderName, Option<ModelName>);
/// By fingerprint of the secret, not by name: the same key under two names has one window (fault K09).
pub(crate) type KeyId = (ProviderName, [u8; 8]);
pub(crate) type WindowId = (ProviderName, [u8; 8], Option<ModelName>);

#[derive(Default)]
pub struct Tables {
    pub endpoints: Table<EndpointId, EndpointCell>,
    pub keys: Table<KeyId, KeyCell>,
    pub windows: Table<WindowId, WindowCell>,
    pub pools: Table<PoolName, PoolCell>,
    pub tenants: Table<TenantName, TenantCell>,
    pub tills: Table<ProviderName, Till>,
    pub sellers: Table<ProviderName, Seller>,
    pub tenant_slots: Table<TenantName, Slot<TenantMessage>>,
    pub provider_slots: Table<ProviderName, Slot<ProviderMessage>>,
    pub key_slots: Table<(ProviderName, KeyName), Slot<KeyMessage>>,
    pub pool_slots: Table<PoolName, Slot<PoolMessage>>,
    pub race_slots: Table<PoolName, Slot<RaceMessage>>,
    seats: ArcSwap<Vec<Arc<Seat>>>,
}

/// How many messages may wait for an actor of which requests ask something.
const ASKED_LIMIT: u32 = 16_384;
/// How many for an actor that is only told of failures and changes.
const TOLD_LIMIT: u32 = 65_536;

impl Tables {
    /// A seat in the tree; remembered for the tree's picture.
    pub fn seat(&self, kind: ActorKind, path: &str) -> Arc<Seat> {
        if let Some(seat) = self.seats.load().iter().find(|seat| seat.path() == path) {
            return Arc::clone(seat);
        }
        let limit = match kind {
            ActorKind::Pool | ActorKind::Router | ActorKind::Race | ActorKind::Tenant => {
                ASKED_LIMIT
            }
            ActorKind::Root
            | ActorKind::Settings
            | ActorKind::Telemetry
            | ActorKind::Journal
            | ActorKind::Books
            | ActorKind::Keys
            | ActorKind::Issuers
            | ActorKind::Tenants
            | ActorKind::Providers
            | ActorKind::Provider
            | ActorKind::Key
            | ActorKind::Pools
            | ActorKind::Alerts
            | ActorKind::Edge => TOLD_LIMIT,
        };
        let seat = Seat::new(kind, path, limit);
        self.seats.rcu(|seats| {
            let mut seats = Vec::clone(seats);
            seats.push(Arc::clone(&seat));
            seats
        });
        seat
    }

    pub fn seats(&self) -> Vec<Arc<Seat>> {
        Vec::clone(&self.seats.load())
    }

    pub(super) fn paths_in_use(&self) -> HashSet<String> {
        fn paths<K, M: Send + 'static>(
            rows: &HashMap<K, Arc<Slot<M>>>,
        ) -> impl Iterator<Item = String> {
            rows.values().map(|slot| slot.seat().path().to_owned())
        }
        paths(&self.tenant_slots.all())
            .chain(paths(&self.provider_slots.all()))
            .chain(paths(&self.key_slots.all()))
            .chain(paths(&self.pool_slots.all()))
            .chain(paths(&self.race_slots.all()))
            .collect()
    }

    /// Takes seats out of the picture whose actors the settings no longer name.
    pub fn retain_seats(&self, keep: impl Fn(&Seat) -> bool) {
        self.seats.rcu(|seats| {
            let mut seats = Vec::clone(seats);
            seats.retain(|seat| keep(seat));
            seats
        });
    }

    /// Cooldowns run out without a message, so their gauges are refreshed here.
    pub fn publish_window_gauges(&self, now: Moment) {
        for window in self.windows.all().values() {
            let left = window.cooldown.get().since(now);
            window.metrics.cooldown.set(left.as_secs_f64());
            if let Some(ratio) = window.told_ratio(now) {
                window.metrics.headroom.set(f64::from(ratio.get()));
            }
        }
        for endpoint in self.endpoints.all().values() {
            endpoint.metrics.breaker.set(endpoint.breaker().gauge());
        }
    }
}
