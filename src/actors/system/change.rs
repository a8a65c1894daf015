//! Actors that come, go or are made anew where settings or tenants have changed.

use std::collections::HashSet;
use std::sync::Arc;

use super::System;
use super::specs::race_name;
use crate::actors::member::FamilyChange;
use crate::actors::slot::ActorKind;
use crate::actors::tenant::Tenants;
use crate::config::{ProviderSettings, Settings};
use crate::domain::PoolName;

impl System {
    pub(super) fn change_tenants(&self, old: &Tenants) {
        let published = self.published();
        let new = published
            .tenants
            .iter()
            .filter(|(name, _)| !old.contains_key(*name));
        for (_, tenant) in new {
            let _ = self
                .tenants
                .family(FamilyChange::Adopt(self.tenant_spec(tenant)));
        }
        let gone = old
            .keys()
            .filter(|name| !published.tenants.contains_key(*name));
        for name in gone {
            let _ = self
                .tenants
                .family(FamilyChange::Dismiss(Arc::from(name.as_str())));
        }
    }

    pub(super) fn change_family(&self, old: &Settings, new: &Settings) {
        for provider in &new.providers {
            let same = old.providers.iter().any(|before| before == provider)
                && old.failover == new.failover
                && same_models(provider, old, new);
            if !same {
                let spec = self.provider_spec(provider, new);
                let _ = self.providers.family(FamilyChange::Adopt(spec));
            }
        }
        for gone in old
            .providers
            .iter()
            .filter(|gone| !new.providers.iter().any(|p| p.name == gone.name))
        {
            let _ = self
                .providers
                .family(FamilyChange::Dismiss(Arc::from(gone.name.as_str())));
        }
        for pool in &new.pools {
            // The targets of a pool hold their prices.
            let same = old.models == new.models
                && old.pools.iter().any(|before| before == pool)
                && pool.targets.iter().all(|target| {
                    let find = |settings: &Settings| {
                        settings
                            .providers
                            .iter()
                            .find(|p| p.name == target.provider)
                            .cloned()
                    };
                    find(old) == find(new)
                });
            if !same {
                let _ = self
                    .pools
                    .family(FamilyChange::Adopt(self.pool_spec(pool, new)));
                let _ = self.pools.family(FamilyChange::Adopt(self.race_spec(pool)));
            }
        }
        for gone in old
            .pools
            .iter()
            .filter(|gone| !new.pools.iter().any(|p| p.name == gone.name))
        {
            let _ = self
                .pools
                .family(FamilyChange::Dismiss(Arc::from(gone.name.as_str())));
            let _ = self
                .pools
                .family(FamilyChange::Dismiss(Arc::from(race_name(&gone.name))));
        }
    }

    /// Rows and seats that no name leads to any more; streams under way keep what they hold.
    pub(super) fn forget_unused(&self, settings: &Settings) {
        let provider = |name: &crate::domain::ProviderName| {
            settings
                .providers
                .iter()
                .find(|provider| provider.name == *name)
        };
        let pools: HashSet<&PoolName> = settings.pools.iter().map(|pool| &pool.name).collect();
        let named: HashSet<_> = settings
            .pools
            .iter()
            .flat_map(|pool| &pool.targets)
            .map(|target| (target.provider.clone(), target.model.clone()))
            .collect();
        let has_key = |name: &crate::domain::ProviderName, fingerprint: &[u8; 8]| {
            provider(name).is_some_and(|p| p.keys.iter().any(|key| key.fingerprint == *fingerprint))
        };
        let tables = &self.tables;
        tables.endpoints.retain(|id| named.contains(id));
        tables
            .keys
            .retain(|(name, fingerprint)| has_key(name, fingerprint));
        tables.windows.retain(|(name, fingerprint, model)| {
            has_key(name, fingerprint) && named.contains(&(name.clone(), model.clone()))
        });
        tables.pools.retain(|name| pools.contains(name));
        let published = self.published();
        let tenants = &published.tenants;
        tables
            .tenant_slots
            .retain(|name| tenants.contains_key(name));
        // Their cells stay for what is under way; a tenant that comes back is told by the journal what it had spent.
        tables
            .provider_slots
            .retain(|name| provider(name).is_some());
        tables.key_slots.retain(|(name, key)| {
            provider(name).is_some_and(|p| p.keys.iter().any(|one| one.name == *key))
        });
        tables.pool_slots.retain(|name| pools.contains(name));
        tables.race_slots.retain(|name| pools.contains(name));
        let used: HashSet<String> = tables.paths_in_use();
        tables.retain_seats(|seat| match seat.kind() {
            ActorKind::Tenant
            | ActorKind::Provider
            | ActorKind::Key
            | ActorKind::Pool
            | ActorKind::Race => used.contains(seat.path()),
            ActorKind::Root
            | ActorKind::Settings
            | ActorKind::Telemetry
            | ActorKind::Journal
            | ActorKind::Books
            | ActorKind::Keys
            | ActorKind::Issuers
            | ActorKind::Tenants
            | ActorKind::Providers
            | ActorKind::Pools
            | ActorKind::Router
            | ActorKind::Alerts
            | ActorKind::Edge => true,
        });
    }
}

/// Whether the pools ask for the same models of this provider before and after.
fn same_models(provider: &ProviderSettings, old: &Settings, new: &Settings) -> bool {
    let models = |settings: &Settings| -> HashSet<_> {
        settings
            .pools
            .iter()
            .flat_map(|pool| &pool.targets)
            .filter(|target| target.provider == provider.name)
            .map(|target| target.model.clone())
            .collect()
    };
    models(old) == models(new)
}
