//! What actors share by name: cells and slots, and the routes and targets that are put together from them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::System;
use super::specs::race_name;
use crate::actors::cells::{EndpointCell, KeyCell, PoolCell, WindowCell};
use crate::actors::lease::{Target, WindowLimits};
use crate::actors::pool::{Group, PoolLine};
use crate::actors::router::{PoolEntry, Route, Routes};
use crate::actors::seller::Seller;
use crate::actors::slot::{ActorKind, Slot};
use crate::actors::tenant::{TenantCell, TenantEntry, Tenants};
use crate::actors::till::{Till, TillDoor};
use crate::actors::{KeyMessage, PoolMessage, ProviderMessage, RaceMessage};
use crate::config::{KeySettings, PoolSettings, ProviderSettings, Settings, TenantSettings};
use crate::domain::{Dialect, ModelName, PoolName, ProviderName};
use crate::policy::chain::walk;
use crate::policy::ledger::Alert;
use crate::pricing::Price;

impl System {
    /// Tenants that have a limit or a budget to keep, their books brought to these settings; what is reached by that
    /// is noted. The others need nobody who decides. With `old`, those that are as before are left as they are.
    pub(super) fn tenants_of(
        &self,
        tenants: &[Arc<TenantSettings>],
        old: Option<&Tenants>,
        (also_at, reached): (&[u8], &mut Vec<(Arc<TenantCell>, Alert)>),
    ) -> Tenants {
        let tenants = tenants.iter();
        let tenants = tenants.filter(|tenant| !tenant.accounts.is_empty());
        tenants
            .map(|tenant| {
                let name = &tenant.name;
                let same = old.and_then(|old| old.get(name));
                if let Some(same) = same.filter(|old| old.settings == *tenant) {
                    return (name.clone(), Arc::clone(same));
                }
                let cell = self
                    .tables
                    .tenants
                    .row(name, || TenantCell::new(name.clone()));
                let alerts = cell.open_accounts(tenant, also_at).into_iter();
                reached.extend(alerts.map(|alert| (Arc::clone(&cell), alert)));
                let slot = self.tables.tenant_slots.row_arc(name, || {
                    let path = format!("root/tenants/{name}");
                    Slot::new(self.tables.seat(ActorKind::Tenant, &path))
                });
                let settings = Arc::clone(tenant);
                let entry = TenantEntry {
                    settings,
                    cell,
                    slot,
                };
                (name.clone(), Arc::new(entry))
            })
            .collect()
    }

    pub(super) fn provider_slot(&self, provider: &ProviderSettings) -> Arc<Slot<ProviderMessage>> {
        self.tables.provider_slots.row_arc(&provider.name, || {
            let path = format!("root/providers/{}", provider.name);
            Slot::new(self.tables.seat(ActorKind::Provider, &path))
        })
    }

    pub(super) fn key_slot(
        &self,
        provider: &ProviderSettings,
        key: &KeySettings,
    ) -> Arc<Slot<KeyMessage>> {
        let id = (provider.name.clone(), key.name.clone());
        self.tables.key_slots.row_arc(&id, || {
            let path = format!("root/providers/{}/{}", provider.name, key.name);
            Slot::new(self.tables.seat(ActorKind::Key, &path))
        })
    }

    pub(super) fn key_cell(&self, provider: &ProviderSettings, key: &KeySettings) -> Arc<KeyCell> {
        let id = (provider.name.clone(), key.fingerprint);
        self.tables.keys.row(&id, || {
            KeyCell::new(provider.name.clone(), key.name.clone())
        })
    }

    fn endpoint(
        &self,
        provider: &ProviderSettings,
        model: Option<&ModelName>,
    ) -> Arc<EndpointCell> {
        let id = (provider.name.clone(), model.cloned());
        self.tables.endpoints.row(&id, || {
            EndpointCell::new(
                provider.name.clone(),
                model.cloned(),
                provider.max_in_flight,
            )
        })
    }

    pub(super) fn endpoints_of(
        &self,
        provider: &ProviderSettings,
        settings: &Settings,
    ) -> Vec<Arc<EndpointCell>> {
        let mut seen = HashSet::new();
        settings
            .pools
            .iter()
            .flat_map(|pool| &pool.targets)
            .filter(|target| target.provider == provider.name)
            .filter(|target| seen.insert(target.model.clone()))
            .map(|target| self.endpoint(provider, target.model.as_ref()))
            .collect()
    }

    pub(super) fn pool_slot(&self, pool: &PoolName) -> Arc<Slot<PoolMessage>> {
        self.tables.pool_slots.row_arc(pool, || {
            Slot::new(
                self.tables
                    .seat(ActorKind::Pool, &format!("root/pools/{pool}")),
            )
        })
    }

    pub(super) fn race_slot(&self, pool: &PoolName) -> Arc<Slot<RaceMessage>> {
        self.tables.race_slots.row_arc(pool, || {
            Slot::new(
                self.tables
                    .seat(ActorKind::Race, &format!("root/pools/{}", race_name(pool))),
            )
        })
    }

    pub(super) fn pool_cell(&self, pool: &PoolName) -> Arc<PoolCell> {
        self.tables.pools.row(pool, || PoolCell::new(pool.clone()))
    }

    pub(super) fn line(&self, pool: &Arc<PoolSettings>, settings: &Settings) -> PoolLine {
        let groups = pool.targets.iter().filter_map(|target| {
            let provider = settings
                .providers
                .iter()
                .find(|provider| provider.name == target.provider)?;
            let endpoint = self.endpoint(provider, target.model.as_ref());
            let targets = provider
                .keys
                .iter()
                .filter(|key| key.serves(target.model.as_ref()))
                .map(|key| Arc::new(self.target(pool, (provider, key, target), settings)))
                .collect();
            Some(Group {
                endpoint,
                weight: target.weight,
                targets,
            })
        });
        PoolLine {
            cell: self.pool_cell(&pool.name),
            seat: Arc::clone(self.pool_slot(&pool.name).seat()),
            groups: groups.collect(),
            queue_length: pool.queue_length,
            max_wait: pool.max_wait,
            news: Arc::clone(&self.news),
        }
    }

    pub(super) fn target(
        &self,
        pool: &PoolSettings,
        (provider, key, target): (
            &Arc<ProviderSettings>,
            &KeySettings,
            &crate::config::TargetSettings,
        ),
        settings: &Settings,
    ) -> Target {
        let id = (provider.name.clone(), key.fingerprint, target.model.clone());
        let window = self.tables.windows.row(&id, || {
            WindowCell::new(&provider.name, &key.name, target.model.as_ref())
        });
        Target {
            endpoint: self.endpoint(provider, target.model.as_ref()),
            key: self.key_cell(provider, key),
            key_name: key.name.clone(),
            window,
            limits: WindowLimits {
                requests: key.limits.requests_per_minute,
                tokens: key.limits.tokens_per_minute,
                input: key.limits.input_tokens_per_minute,
                output: key.limits.output_tokens_per_minute,
                concurrency: key.limits.concurrency,
            },
            context_window: target.context_window,
            price: target
                .model
                .as_ref()
                .map(|model| settings.price(provider, model.as_str())),
            pool: self.pool_cell(&pool.name),
            provider: Arc::clone(provider),
            handling: Arc::clone(&key.handling),
            till: self.till_door(provider, settings),
            seller: self.seller(&provider.name),
            provider_slot: self.provider_slot(provider),
            key_slot: self.key_slot(provider, key),
            pool_slot: self.pool_slot(&pool.name),
        }
    }

    /// The till of a provider that has budgets, under the caps of these settings.
    fn till_door(&self, provider: &ProviderSettings, settings: &Settings) -> Option<TillDoor> {
        (!provider.caps.is_empty()).then(|| TillDoor {
            till: self.till(provider),
            models: settings.models.clone(),
        })
    }

    pub(super) fn till(&self, provider: &ProviderSettings) -> Arc<Till> {
        let (name, news) = (provider.name.clone(), Arc::clone(&self.news));
        self.tables
            .tills
            .row(&provider.name, || Till::new(name, news))
    }

    pub(super) fn seller(&self, provider: &ProviderName) -> Arc<Seller> {
        self.tables
            .sellers
            .row(provider, || Seller::new(provider.clone()))
    }

    pub(super) fn routes(&self, settings: &Settings) -> Routes {
        let entry = |name: &PoolName| {
            let pool = settings.pools.iter().find(|pool| pool.name == *name)?;
            Some(Arc::new(PoolEntry {
                name: name.clone(),
                settings: Arc::clone(pool),
                cell: self.pool_cell(name),
                slot: self.pool_slot(name),
                race: self.race_slot(name),
            }))
        };
        let next = |name: &PoolName| {
            let pool = settings.pools.iter().find(|pool| pool.name == *name);
            pool.map(|pool| pool.fallback.clone()).unwrap_or_default()
        };
        let others: HashSet<&ProviderName> = settings
            .providers
            .iter()
            .filter(|provider| provider.dialect != Dialect::Openai)
            .map(|provider| &provider.name)
            .collect();
        // What one of them tells of its thoughts, the next one refuses.
        let details = settings.tells_details();
        Routes::new(settings.pools.iter().map(|pool| {
            let chain = walk(&pool.name, next, settings.failover.max_depth);
            let chain: Vec<Arc<PoolEntry>> = chain.iter().filter_map(entry).collect();
            let mut targets = chain.iter().flat_map(|pool| &pool.settings.targets);
            let crosses = details || targets.any(|target| others.contains(&target.provider));
            let (prices, of_any_model) = prices(&chain, settings);
            let sellers: BTreeSet<&ProviderName> = chain
                .iter()
                .flat_map(|pool| &pool.settings.targets)
                .map(|target| &target.provider)
                .collect();
            let sellers = sellers.into_iter().map(|name| self.seller(name)).collect();
            let route = Route {
                sellers,
                chain,
                crosses,
                prices,
                of_any_model,
            };
            (pool.name.clone(), route)
        }))
    }
}

/// What the targets of a chain cost, each model once, and the providers that serve any model.
pub(super) fn prices(
    chain: &[Arc<PoolEntry>],
    settings: &Settings,
) -> (Vec<Price>, Vec<Arc<ProviderSettings>>) {
    let mut seen = HashSet::new();
    let (mut prices, mut of_any_model) = (Vec::new(), Vec::new());
    for target in chain.iter().flat_map(|pool| &pool.settings.targets) {
        let provider = settings.providers.iter();
        let mut provider = provider.filter(|provider| provider.name == target.provider);
        let Some(provider) = provider.next() else {
            continue;
        };
        if !seen.insert((&target.provider, &target.model)) {
            continue;
        }
        match &target.model {
            Some(model) => prices.push(settings.price(provider, model.as_str())),
            None => of_any_model.push(Arc::clone(provider)),
        }
    }
    (prices, of_any_model)
}
