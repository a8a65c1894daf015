//! How each actor of the tree is made, and made again when it has crashed.

use std::sync::Arc;
use std::time::Duration;

use super::{Family, NoMessage, System};
use crate::actors::alerts::Messenger;
use crate::actors::books::Bookkeeper;
use crate::actors::edge::{EdgeActor, Listener};
use crate::actors::issuers::Issuers;
use crate::actors::journal::{JournalActor, JournalDesk};
use crate::actors::keeper::KeyKeeper;
use crate::actors::key::Key;
use crate::actors::member::Member;
use crate::actors::pool::Pool;
use crate::actors::provider::Provider;
use crate::actors::race::RaceStrategy;
use crate::actors::router::Router;
use crate::actors::settings::{ReloadStage, SettingsActor};
use crate::actors::slot::Slot;
use crate::actors::supervisor::ChildSpec;
use crate::actors::telemetry::TelemetryActor;
use crate::actors::tenant::{Tenant, TenantEntry};
use crate::config::{KeySettings, PoolSettings, ProviderSettings, Settings};
use crate::domain::PoolName;

impl System {
    pub(super) fn core(self: &Arc<Self>) -> Vec<ChildSpec> {
        vec![
            self.settings_spec().vital(),
            self.telemetry_spec().vital(),
            self.journal_spec().vital(),
            self.keeper_spec(),
            self.books_spec(),
            self.family_spec("tenants", &self.tenants, Self::tenant_specs),
            self.family_spec("providers", &self.providers, Self::provider_specs),
            self.family_spec("pools", &self.pools, Self::pool_specs),
            self.spec("router", &self.router, || Router).vital(),
        ]
    }

    pub(super) fn spec<A: Member>(
        &self,
        name: &str,
        slot: &Arc<Slot<A::Message>>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> ChildSpec {
        let news = Arc::clone(&self.news);
        ChildSpec::new::<A>(name, Arc::clone(slot), news, self.clock, make)
    }

    fn settings_spec(&self) -> ChildSpec {
        let door = Arc::clone(&self.parts.door);
        let seat = Arc::clone(self.settings.seat());
        let news = Arc::clone(&self.news);
        self.spec("settings", &self.settings, move || SettingsActor {
            door: Arc::clone(&door),
            seat: Arc::clone(&seat),
            news: Arc::clone(&news),
            seen: None,
            answered_by_this: Vec::new(),
            waiting: Vec::new(),
            stage_of_reload: ReloadStage::Idle,
            loading_since: None,
        })
    }

    fn telemetry_spec(&self) -> ChildSpec {
        let (tables, telemetry) = (Arc::clone(&self.tables), Arc::clone(&self.parts.telemetry));
        let news = Arc::clone(&self.news);
        self.spec("telemetry", &self.telemetry, move || TelemetryActor {
            tables: Arc::clone(&tables),
            telemetry: Arc::clone(&telemetry),
            news: Arc::clone(&news),
            pulses: std::collections::HashMap::new(),
            watched_at: None,
            admitted: false,
        })
    }

    fn journal_spec(&self) -> ChildSpec {
        let desk: JournalDesk = self.news.journal.clone();
        let (slot, seat) = (Arc::clone(&self.journal), Arc::clone(self.journal.seat()));
        self.spec("journal", &self.journal, move || {
            JournalActor::new(desk.clone(), Arc::clone(&slot), Arc::clone(&seat))
        })
        // Its last act is to flush.
        .stop_within(Duration::from_secs(10))
    }

    fn books_spec(self: &Arc<Self>) -> ChildSpec {
        let system = Arc::downgrade(self);
        let journal = self.published().settings.journal.clone();
        let (news, seat) = (Arc::clone(&self.news), Arc::clone(self.books.seat()));
        self.spec("books", &self.books, move || Bookkeeper {
            system: std::sync::Weak::clone(&system),
            journal: journal.clone(),
            news: Arc::clone(&news),
            seat: Arc::clone(&seat),
            busy: false,
            again: false,
            ticking: false,
            trouble: None,
            progress: crate::store::spending::Progress::default(),
        })
    }

    fn keeper_spec(self: &Arc<Self>) -> ChildSpec {
        let system = Arc::downgrade(self);
        let seat = Arc::clone(self.keys.seat());
        self.spec("keys", &self.keys, move || KeyKeeper {
            system: std::sync::Weak::clone(&system),
            seat: Arc::clone(&seat),
            watch: None,
            looking: false,
            answered_by_this: Vec::new(),
            waiting: Vec::new(),
            trouble: None,
        })
    }

    pub(super) fn issuers_spec(self: &Arc<Self>) -> ChildSpec {
        let system = Arc::downgrade(self);
        let seat = Arc::clone(self.issuers.seat());
        let door = Arc::clone(&self.parts.issuers);
        self.spec("issuers", &self.issuers, move || Issuers {
            system: std::sync::Weak::clone(&system),
            door: Arc::clone(&door),
            seat: Arc::clone(&seat),
            asking: std::collections::HashMap::new(),
        })
    }

    pub(super) fn alerts_spec(self: &Arc<Self>) -> ChildSpec {
        let system = Arc::downgrade(self);
        let (news, seat) = (Arc::clone(&self.news), Arc::clone(self.alerts.seat()));
        self.spec("alerts", &self.alerts, move || Messenger {
            system: std::sync::Weak::clone(&system),
            news: Arc::clone(&news),
            seat: Arc::clone(&seat),
            boxes: std::collections::HashMap::new(),
        })
    }

    pub(super) fn edge_spec(&self, listeners: Vec<Arc<dyn Listener>>) -> ChildSpec {
        let seat = Arc::clone(self.edge.seat());
        self.spec("edge", &self.edge, move || EdgeActor {
            listeners: listeners.clone(),
            seat: Arc::clone(&seat),
        })
        .vital()
    }

    fn family_spec(
        self: &Arc<Self>,
        name: &str,
        slot: &Arc<Slot<NoMessage>>,
        specs: fn(&Self) -> Vec<ChildSpec>,
    ) -> ChildSpec {
        // Asked at each start, so that a restarted parent starts the children of today.
        let system = Arc::downgrade(self);
        let children: Arc<dyn Fn() -> Vec<ChildSpec> + Send + Sync> = Arc::new(move || {
            system
                .upgrade()
                .map(|system| specs(&system))
                .unwrap_or_default()
        });
        self.spec(name, slot, move || Family {
            children: Arc::clone(&children),
        })
    }

    fn provider_specs(&self) -> Vec<ChildSpec> {
        let settings = Arc::clone(&self.published().settings);
        settings
            .providers
            .iter()
            .map(|provider| self.provider_spec(provider, &settings))
            .collect()
    }

    fn pool_specs(&self) -> Vec<ChildSpec> {
        let settings = Arc::clone(&self.published().settings);
        settings
            .pools
            .iter()
            .flat_map(|pool| [self.pool_spec(pool, &settings), self.race_spec(pool)])
            .collect()
    }

    fn tenant_specs(&self) -> Vec<ChildSpec> {
        let published = self.published();
        let mut tenants: Vec<_> = published.tenants.values().collect();
        tenants.sort_by_key(|tenant| tenant.cell.name.clone());
        tenants
            .into_iter()
            .map(|tenant| self.tenant_spec(tenant))
            .collect()
    }

    pub(super) fn tenant_spec(&self, tenant: &TenantEntry) -> ChildSpec {
        let (cell, news) = (Arc::clone(&tenant.cell), Arc::clone(&self.news));
        self.spec(tenant.cell.name.as_str(), &tenant.slot, move || Tenant {
            cell: Arc::clone(&cell),
            news: Arc::clone(&news),
        })
    }

    pub(super) fn provider_spec(
        &self,
        provider: &Arc<ProviderSettings>,
        settings: &Settings,
    ) -> ChildSpec {
        let slot = self.provider_slot(provider);
        let endpoints = self.endpoints_of(provider, settings);
        let keys: Vec<ChildSpec> = provider
            .keys
            .iter()
            .map(|key| self.key_spec(provider, key, settings))
            .collect();
        let (name, seat) = (provider.name.clone(), Arc::clone(slot.seat()));
        let (news, seed) = (Arc::clone(&self.news), self.seed);
        self.spec(name.clone().as_str(), &slot, move || Provider {
            name: name.clone(),
            seat: Arc::clone(&seat),
            endpoints: endpoints.clone(),
            keys: keys.clone(),
            news: Arc::clone(&news),
            random: fastrand::Rng::with_seed(seed),
        })
    }

    fn key_spec(
        &self,
        provider: &Arc<ProviderSettings>,
        key: &KeySettings,
        settings: &Settings,
    ) -> ChildSpec {
        let slot = self.key_slot(provider, key);
        let cell = self.key_cell(provider, key);
        let (seat, news) = (Arc::clone(slot.seat()), Arc::clone(&self.news));
        let (probe, seed) = (Arc::clone(&self.probe), self.seed);
        let probe_every = settings.failover.key_probe_every;
        self.spec(key.name.as_str(), &slot, move || Key {
            cell: Arc::clone(&cell),
            seat: Arc::clone(&seat),
            news: Arc::clone(&news),
            probe: Arc::clone(&probe),
            probe_every,
            random: fastrand::Rng::with_seed(seed),
            probing: false,
            in_vain: 0,
        })
    }

    pub(super) fn pool_spec(&self, pool: &Arc<PoolSettings>, settings: &Settings) -> ChildSpec {
        let slot = self.pool_slot(&pool.name);
        let line = Arc::new(self.line(pool, settings));
        let (clock, seed) = (self.clock, self.seed);
        self.spec(pool.name.as_str(), &slot, move || {
            Pool::new(Arc::clone(&line), clock, fastrand::Rng::with_seed(seed))
        })
    }

    pub(super) fn race_spec(&self, pool: &Arc<PoolSettings>) -> ChildSpec {
        let slot = self.race_slot(&pool.name);
        let (cell, pool_slot) = (self.pool_cell(&pool.name), self.pool_slot(&pool.name));
        let (seat, hedge) = (Arc::clone(slot.seat()), pool.hedge.clone());
        self.spec(&race_name(&pool.name), &slot, move || RaceStrategy {
            cell: Arc::clone(&cell),
            seat: Arc::clone(&seat),
            pool: Arc::clone(&pool_slot),
            hedge: hedge.clone(),
            patience: crate::policy::hedge::SOONEST_QUANTILE,
        })
    }
}

pub(super) fn race_name(pool: &PoolName) -> String {
    format!("{pool}#race")
}
