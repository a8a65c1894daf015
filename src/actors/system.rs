//! The whole tree: built once, changed by publishing settings, stopped in reverse order.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorRef};

use super::alerts::{AlertsMessage, Messenger};
use super::books::{Bookkeeper, BooksMessage};
use super::cells::{EndpointCell, KeyCell, PoolCell, WindowCell};
use super::clock::Clock;
use super::edge::{EdgeActor, EdgeMessage, Listener};
use super::issuers::{IssuerDoor, Issuers, IssuersMessage};
use super::journal::{JournalActor, JournalDesk, JournalMessage};
use super::keeper::{KeeperMessage, KeyKeeper, looked, tell_changes};
use super::key::{Key, KeyProbe};
use super::lease::{Target, WindowLimits};
use super::member::{Crash, FamilyChange, InjectedFault, Mail, Member, Shell, Stage};
use super::news::News;
use super::pool::{Group, Pool, PoolLine};
use super::provider::Provider;
use super::race::RaceStrategy;
use super::router::{PoolEntry, Route, Router, RouterMessage, Routes};
use super::seller::Seller;
use super::settings::{ReloadStage, SettingsActor, SettingsDoor, SettingsMessage};
use super::slot::{ActorKind, Slot};
use super::supervisor::{ChildSpec, Strategy};
use super::tables::Tables;
use super::telemetry::{TelemetryActor, TelemetryMessage};
use super::tenant::{Tenant, TenantCell, TenantEntry, Tenants};
use super::till::{Till, TillDoor};
use crate::config::{
    IdentitySettings, KeySettings, PoolSettings, ProviderSettings, Settings, TenantSettings,
};
use crate::domain::{Dialect, Moment, PoolName, ProviderName};
use crate::keys::{Identities, Pepper, Roster};
use crate::policy::chain::walk;
use crate::policy::jwt::KeySet;
use crate::policy::ledger::Alert;
use crate::pricing::Price;
use crate::store::StoreError;
use crate::store::keys::Roll;
use crate::telemetry::Telemetry;

/// One configuration in force, as requests hold it.
#[derive(Debug)]
pub struct Published {
    pub settings: Arc<Settings>,
    pub routes: Arc<Routes>,
    pub tenants: Arc<Tenants>,
    /// Tenants and keys of the file and of the store.
    pub roster: Arc<Roster>,
}

#[expect(
    clippy::disallowed_types,
    reason = "held while one of two publishes, settings or keys of the store, each on a thread that serves nobody; requests never ask for it"
)]
type Turn = std::sync::Mutex<()>;

/// A store that another release wrote in may be full of them.
const MOST_MISTAKES_TOLD: usize = 20;

/// What was read of the store's keys is all there is for so long; it is looked at every quarter of a second.
const KEYS_ARE_CURRENT: Duration = Duration::from_secs(2);
/// It is good for so long when the store cannot be read (ground rule G11).
const KEYS_STAY_GOOD: Duration = Duration::from_secs(600);

/// How often it is looked at whether anybody still holds what was in force.
const STILL_HELD: Duration = Duration::from_secs(1);

/// Lets go of what was in force where nobody waits for it: with many keys that takes milliseconds, and would otherwise
/// be done by whichever request is the last to hold it.
fn retire(old: Arc<Published>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    runtime.spawn(async move {
        while Arc::strong_count(&old) > 1 {
            tokio::time::sleep(STILL_HELD).await;
        }
        tokio::task::spawn_blocking(move || drop(old));
    });
}

/// What the tree is built from.
pub struct SystemParts {
    pub clock: Clock,
    pub telemetry: Arc<Telemetry>,
    pub news: Arc<News>,
    pub door: Arc<dyn SettingsDoor>,
    pub probe: Arc<dyn KeyProbe>,
    pub issuers: Arc<dyn IssuerDoor>,
    pub seed: u64,
}

/// The running tree, seen from outside.
pub struct System {
    pub clock: Clock,
    pub tables: Arc<Tables>,
    pub news: Arc<News>,
    pub router: Arc<Slot<RouterMessage>>,
    pub settings: Arc<Slot<SettingsMessage>>,
    pub telemetry: Arc<Slot<TelemetryMessage>>,
    pub journal: Arc<Slot<JournalMessage>>,
    pub books: Arc<Slot<BooksMessage>>,
    pub keys: Arc<Slot<KeeperMessage>>,
    pub issuers: Arc<Slot<IssuersMessage>>,
    alerts: Arc<Slot<AlertsMessage>>,
    edge: Arc<Slot<EdgeMessage>>,
    tenants: Arc<Slot<NoMessage>>,
    providers: Arc<Slot<NoMessage>>,
    pools: Arc<Slot<NoMessage>>,
    parts: CoreParts,
    probe: Arc<dyn KeyProbe>,
    published: ArcSwap<Published>,
    /// Issuers of tokens and what is known of their keys. Apart: they come and go without the settings.
    identities: ArcSwap<Identities>,
    publishing: Turn,
    /// When the store's keys were last seen to be those in force; 0: never yet.
    keys_seen: AtomicU64,
    seed: u64,
}

/// What only the first actors need.
struct CoreParts {
    telemetry: Arc<Telemetry>,
    door: Arc<dyn SettingsDoor>,
    issuers: Arc<dyn IssuerDoor>,
}

/// Pure supervisors take no messages of their own.
pub(crate) enum NoMessage {}

/// A parent whose children follow the settings.
struct Family {
    children: Arc<dyn Fn() -> Vec<ChildSpec> + Send + Sync>,
}

impl Member for Family {
    type Message = NoMessage;

    fn children(&self) -> Vec<ChildSpec> {
        (self.children)()
    }

    fn handle(&mut self, message: NoMessage, _: &mut Stage<NoMessage>) -> Result<(), Crash> {
        match message {}
    }
}

/// The top of the tree: what starts later may rely on what started earlier.
struct Root {
    children: Vec<ChildSpec>,
}

impl Member for Root {
    type Message = NoMessage;
    const STRATEGY: Strategy = Strategy::RestForOne;

    fn children(&self) -> Vec<ChildSpec> {
        self.children.clone()
    }

    fn handle(&mut self, message: NoMessage, _: &mut Stage<NoMessage>) -> Result<(), Crash> {
        match message {}
    }
}

/// Ends the tree: the last thing a process does.
pub struct RootHandle {
    root: ActorRef<Mail<NoMessage>>,
}

impl RootHandle {
    /// Stops every actor in reverse order of its start.
    pub async fn stop(self, limit: Duration) {
        let _ = self
            .root
            .stop_and_wait(Some("ordered".to_owned()), Some(limit))
            .await;
    }
}

impl System {
    /// Builds the tables for these settings; nothing runs yet.
    pub fn build(settings: Settings, parts: SystemParts) -> Arc<Self> {
        let tables = Arc::new(Tables::default());
        let system = Arc::new(Self {
            clock: parts.clock,
            router: Slot::new(tables.seat(ActorKind::Router, "root/router")),
            settings: Slot::new(tables.seat(ActorKind::Settings, "root/settings")),
            telemetry: Slot::new(tables.seat(ActorKind::Telemetry, "root/telemetry")),
            journal: Slot::new(tables.seat(ActorKind::Journal, "root/journal")),
            books: Slot::new(tables.seat(ActorKind::Books, "root/books")),
            keys: Slot::new(tables.seat(ActorKind::Keys, "root/keys")),
            issuers: Slot::new(tables.seat(ActorKind::Issuers, "root/issuers")),
            alerts: Slot::new(tables.seat(ActorKind::Alerts, "root/alerts")),
            edge: Slot::new(tables.seat(ActorKind::Edge, "root/edge")),
            tenants: Slot::new(tables.seat(ActorKind::Tenants, "root/tenants")),
            providers: Slot::new(tables.seat(ActorKind::Providers, "root/providers")),
            pools: Slot::new(tables.seat(ActorKind::Pools, "root/pools")),
            parts: CoreParts {
                telemetry: parts.telemetry,
                door: parts.door,
                issuers: parts.issuers,
            },
            probe: parts.probe,
            published: ArcSwap::from_pointee(Published {
                settings: Arc::new(Settings::default()),
                routes: Arc::default(),
                tenants: Arc::default(),
                roster: Arc::default(),
            }),
            identities: ArcSwap::default(),
            publishing: Turn::default(),
            keys_seen: AtomicU64::new(0),
            tables,
            news: parts.news,
            seed: parts.seed,
        });
        system.news.alerts.open(&system.alerts);
        system.put_in_force(Arc::new(settings), Arc::default(), None);
        system
    }

    /// Starts the tree, in order; the listeners come last.
    pub async fn start(
        self: &Arc<Self>,
        listeners: Vec<Arc<dyn Listener>>,
    ) -> Result<RootHandle, ractor::SpawnErr> {
        let mut children = self.core();
        children.push(self.edge_spec(listeners));
        // Behind everything else: nobody rests on them, and their crashes restart nobody.
        children.push(self.alerts_spec());
        children.push(self.issuers_spec());
        let root_slot = Slot::new(self.tables.seat(ActorKind::Root, "root"));
        let shell = Shell::<Root> {
            slot: root_slot,
            clock: self.clock,
        };
        let make = Arc::new(move || Root {
            children: children.clone(),
        });
        let (root, _task) = Actor::spawn(None, shell, make).await?;
        Ok(RootHandle { root })
    }

    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Issuers of tokens, and their keys as far as they are known.
    pub fn identities(&self) -> Arc<Identities> {
        self.identities.load_full()
    }

    /// An issuer has told its keys.
    pub(super) fn adopt_issuer_keys(&self, of: &IdentitySettings, keys: KeySet) {
        let keys = Arc::new(keys);
        let now = self.clock.now();
        // Who publishes settings may be at it for a while, and this is a thread that serves: nobody waits for the other.
        self.identities.rcu(|identities| {
            let identity = identities.all().iter().find(|one| *one.settings == *of);
            let Some(identity) = identity else {
                return Arc::clone(identities);
            };
            identity.confirm(now);
            if identity.keys.as_ref() == Some(&keys) {
                Arc::clone(identities)
            } else {
                Arc::new(identities.with_keys(of, &keys))
            }
        });
    }

    /// Puts new settings in force: tables first, then names, then the actors that changed.
    pub fn publish(&self, settings: Settings) {
        let _turn = self.publishing.lock();
        let old = self.published();
        let new = Arc::new(settings);
        let roll = Arc::clone(&old.roster.roll);
        let pepper = if old.settings.issued == new.issued {
            old.roster.pepper.clone()
        } else {
            // Should it be lost the keeper tries again, and until then no key is good.
            let store = self.news.store.settings();
            Pepper::load(store, &new.issued, &roll).ok()
        };
        self.put_in_force(Arc::clone(&new), roll, pepper);
        self.change_tenants(&old.tenants);
        // New budgets want to know what was spent.
        let _ = self.books.cast(BooksMessage::Due);
        let _ = self.issuers.cast(IssuersMessage::Changed);
        self.change_family(&old.settings, &new);
        self.forget_unused(&new);
        retire(old);
    }

    /// Puts keys and tenants of the store in force. Takes its time: not for a thread that serves.
    pub(super) fn adopt(&self, roll: Arc<Roll>, pepper: Option<Pepper>) {
        let _turn = self.publishing.lock();
        let old = self.published();
        // What a start finds was told when it was made.
        if self.keys_seen.load(Ordering::Relaxed) > 0 {
            tell_changes(&self.news.journal, &old.roster.roll, &roll);
        }
        self.put_in_force(Arc::clone(&old.settings), roll, pepper);
        self.change_tenants(&old.tenants);
        let _ = self.books.cast(BooksMessage::Due);
        retire(old);
    }

    /// What is in force is what the store held at this moment.
    pub(super) fn keys_confirmed(&self, at: Moment) {
        self.keys_seen.fetch_max(at.0.max(1), Ordering::Relaxed);
    }

    /// Whether the store's keys are known well enough to let anyone in by them (ground rule G11).
    pub fn knows_keys(&self, now: Moment) -> bool {
        still_good(self.keys_seen.load(Ordering::Relaxed), now)
    }

    /// Whether a key that is not known was not made either, and not just a moment ago (fault X12).
    pub fn knows_every_key(&self, now: Moment) -> bool {
        let seen = Moment(self.keys_seen.load(Ordering::Relaxed));
        now.since(seen) <= KEYS_ARE_CURRENT
    }

    /// The keys of a provider that are in force.
    pub fn keys_of(&self, provider: &str) -> Vec<Arc<KeyCell>> {
        let all = self.tables.keys.all();
        let own = all
            .values()
            .filter(|cell| cell.provider.as_str() == provider);
        let mut own: Vec<Arc<KeyCell>> = own.cloned().collect();
        own.sort_by(|one, other| one.name.cmp(&other.name));
        own
    }

    /// Reads the store's keys now, as the keeper does later on.
    pub async fn read_keys(self: &Arc<Self>) -> Result<(), StoreError> {
        looked(Arc::clone(self), None).await.done()
    }

    /// Puts a fault into the actor at this path; false when nobody is there.
    pub fn inject(&self, path: &str, fault: InjectedFault) -> bool {
        let tables = &self.tables;
        let core = [
            inject_into(&self.router, path, fault),
            inject_into(&self.settings, path, fault),
            inject_into(&self.telemetry, path, fault),
            inject_into(&self.journal, path, fault),
            inject_into(&self.edge, path, fault),
            inject_into(&self.books, path, fault),
            inject_into(&self.keys, path, fault),
            inject_into(&self.issuers, path, fault),
            inject_into(&self.alerts, path, fault),
            inject_into(&self.tenants, path, fault),
            inject_into(&self.providers, path, fault),
            inject_into(&self.pools, path, fault),
        ];
        core.contains(&true)
            || tables
                .tenant_slots
                .all()
                .values()
                .any(|slot| inject_into(slot, path, fault))
            || tables
                .provider_slots
                .all()
                .values()
                .any(|slot| inject_into(slot, path, fault))
            || tables
                .key_slots
                .all()
                .values()
                .any(|slot| inject_into(slot, path, fault))
            || tables
                .pool_slots
                .all()
                .values()
                .any(|slot| inject_into(slot, path, fault))
            || tables
                .race_slots
                .all()
                .values()
                .any(|slot| inject_into(slot, path, fault))
    }

    fn put_in_force(&self, settings: Arc<Settings>, roll: Arc<Roll>, pepper: Option<Pepper>) {
        let old = self.published();
        let roster = Arc::new(Roster::merge(&settings, roll, pepper, Some(&old.roster)));
        if roster.mistakes != old.roster.mistakes {
            for mistake in roster.mistakes.iter().take(MOST_MISTAKES_TOLD) {
                tracing::warn!(%mistake, "a record of the store cannot be used");
            }
        }
        let routes = if Arc::ptr_eq(&settings, &old.settings) {
            Arc::clone(&old.routes)
        } else {
            let now = self.clock.now();
            self.identities
                .rcu(|before| Identities::merge(&settings.identities, before, now));
            Arc::new(self.routes(&settings))
        };
        let also_at = settings.alert_shares();
        let old_tenants = match old.settings.alert_shares() == also_at {
            true => Some(&*old.tenants),
            false => None,
        };
        let mut reached = Vec::new();
        let tenants = self.tenants_of(&roster.tenants, old_tenants, (&also_at, &mut reached));
        let tenants = Arc::new(tenants);
        let mut reached_there = Vec::new();
        // Tills stay, as the books of tenants do: a provider that comes back has cost what it had cost.
        for provider in &settings.providers {
            let before = self.tables.tills.all().contains_key(&provider.name);
            if before || !provider.caps.is_empty() {
                let till = self.till(provider);
                let alerts = till.under(&provider.caps, &also_at);
                reached_there.push((till, alerts));
            }
        }
        self.published.store(Arc::new(Published {
            settings,
            routes,
            tenants,
            roster,
        }));
        // Told now that the receivers of these settings are in force.
        for (cell, alert) in reached {
            self.news.budget_alert(&cell, &alert);
        }
        for (till, alerts) in reached_there {
            till.tell(alerts);
        }
    }

    // --- the children of the root ---

    fn core(self: &Arc<Self>) -> Vec<ChildSpec> {
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

    fn spec<A: Member>(
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
            mark: None,
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

    fn issuers_spec(self: &Arc<Self>) -> ChildSpec {
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

    fn alerts_spec(self: &Arc<Self>) -> ChildSpec {
        let system = Arc::downgrade(self);
        let (news, seat) = (Arc::clone(&self.news), Arc::clone(self.alerts.seat()));
        self.spec("alerts", &self.alerts, move || Messenger {
            system: std::sync::Weak::clone(&system),
            news: Arc::clone(&news),
            seat: Arc::clone(&seat),
            boxes: std::collections::HashMap::new(),
        })
    }

    fn edge_spec(&self, listeners: Vec<Arc<dyn Listener>>) -> ChildSpec {
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

    // --- tenants ---

    fn tenant_specs(&self) -> Vec<ChildSpec> {
        let published = self.published();
        let mut tenants: Vec<_> = published.tenants.values().collect();
        tenants.sort_by_key(|tenant| tenant.cell.name.clone());
        tenants
            .into_iter()
            .map(|tenant| self.tenant_spec(tenant))
            .collect()
    }

    fn tenant_spec(&self, tenant: &TenantEntry) -> ChildSpec {
        let (cell, news) = (Arc::clone(&tenant.cell), Arc::clone(&self.news));
        self.spec(tenant.cell.name.as_str(), &tenant.slot, move || Tenant {
            cell: Arc::clone(&cell),
            news: Arc::clone(&news),
        })
    }

    /// Tenants that have a limit or a budget to keep, their books brought to these settings; what is reached by that
    /// is noted. The others need nobody who decides. With `old`, those that are as before are left as they are.
    fn tenants_of(
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

    // --- providers and keys ---

    fn provider_spec(&self, provider: &Arc<ProviderSettings>, settings: &Settings) -> ChildSpec {
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

    fn provider_slot(&self, provider: &ProviderSettings) -> Arc<Slot<super::ProviderMessage>> {
        self.tables.provider_slots.row_arc(&provider.name, || {
            let path = format!("root/providers/{}", provider.name);
            Slot::new(self.tables.seat(ActorKind::Provider, &path))
        })
    }

    fn key_slot(
        &self,
        provider: &ProviderSettings,
        key: &KeySettings,
    ) -> Arc<Slot<super::KeyMessage>> {
        let id = (provider.name.clone(), key.name.clone());
        self.tables.key_slots.row_arc(&id, || {
            let path = format!("root/providers/{}/{}", provider.name, key.name);
            Slot::new(self.tables.seat(ActorKind::Key, &path))
        })
    }

    fn key_cell(&self, provider: &ProviderSettings, key: &KeySettings) -> Arc<KeyCell> {
        let id = (provider.name.clone(), key.fingerprint);
        self.tables.keys.row(&id, || {
            KeyCell::new(provider.name.clone(), key.name.clone())
        })
    }

    fn endpoint(
        &self,
        provider: &ProviderSettings,
        model: Option<&crate::domain::ModelName>,
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

    fn endpoints_of(
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

    // --- pools ---

    fn pool_spec(&self, pool: &Arc<PoolSettings>, settings: &Settings) -> ChildSpec {
        let slot = self.pool_slot(&pool.name);
        let line = Arc::new(self.line(pool, settings));
        let (clock, seed) = (self.clock, self.seed);
        self.spec(pool.name.as_str(), &slot, move || {
            Pool::new(Arc::clone(&line), clock, fastrand::Rng::with_seed(seed))
        })
    }

    fn race_spec(&self, pool: &Arc<PoolSettings>) -> ChildSpec {
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

    fn pool_slot(&self, pool: &PoolName) -> Arc<Slot<super::PoolMessage>> {
        self.tables.pool_slots.row_arc(pool, || {
            Slot::new(
                self.tables
                    .seat(ActorKind::Pool, &format!("root/pools/{pool}")),
            )
        })
    }

    fn race_slot(&self, pool: &PoolName) -> Arc<Slot<super::RaceMessage>> {
        self.tables.race_slots.row_arc(pool, || {
            Slot::new(
                self.tables
                    .seat(ActorKind::Race, &format!("root/pools/{}", race_name(pool))),
            )
        })
    }

    fn pool_cell(&self, pool: &PoolName) -> Arc<PoolCell> {
        self.tables.pools.row(pool, || PoolCell::new(pool.clone()))
    }

    fn line(&self, pool: &Arc<PoolSettings>, settings: &Settings) -> PoolLine {
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

    fn target(
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

    fn till(&self, provider: &ProviderSettings) -> Arc<Till> {
        let (name, news) = (provider.name.clone(), Arc::clone(&self.news));
        self.tables
            .tills
            .row(&provider.name, || Till::new(name, news))
    }

    /// Those of providers that take something off for who buys much.
    pub(super) fn sellers_by_volume(&self) -> Vec<Arc<Seller>> {
        let published = self.published();
        let providers = published.settings.providers.iter();
        let by_volume = providers.filter(|provider| provider.volume.is_some());
        by_volume
            .map(|provider| self.seller(&provider.name))
            .collect()
    }

    /// Whether every discount for who buys much knows what was bought before.
    pub fn knows_what_was_bought(&self) -> bool {
        let sellers = self.sellers_by_volume();
        sellers.iter().all(|seller| seller.is_known())
    }

    fn seller(&self, provider: &ProviderName) -> Arc<Seller> {
        self.tables
            .sellers
            .row(provider, || Seller::new(provider.clone()))
    }

    fn routes(&self, settings: &Settings) -> Routes {
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

    // --- change ---

    fn change_tenants(&self, old: &Tenants) {
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

    fn change_family(&self, old: &Settings, new: &Settings) {
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
    fn forget_unused(&self, settings: &Settings) {
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
        // The books stay: a tenant that comes back has spent what it had spent.
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

/// Whether keys that were last seen at this moment (0: never) let anyone in.
fn still_good(seen: u64, now: Moment) -> bool {
    seen > 0 && now.since(Moment(seen)) <= KEYS_STAY_GOOD
}

/// What the targets of a chain cost, each model once, and the providers that serve any model.
fn prices(
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

fn inject_into<M: Send + 'static>(slot: &Slot<M>, path: &str, fault: InjectedFault) -> bool {
    slot.seat().path() == path && slot.inject(fault).is_ok()
}

fn race_name(pool: &PoolName) -> String {
    format!("{pool}#race")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g11_keys_are_good_for_ten_minutes_without_their_store_and_then_closed() {
        let seen = Moment::from_secs(100);
        assert!(still_good(seen.0, Moment::from_secs(700)));
        assert!(!still_good(seen.0, Moment::from_secs(701)));
        // Never seen is not known.
        assert!(!still_good(0, Moment::from_secs(1)));
    }
}
