//! The whole tree: built once, changed by publishing settings, stopped in reverse order.

mod change;
mod places;
mod specs;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorRef};

use super::alerts::AlertsMessage;
use super::books::BooksMessage;
use super::cells::KeyCell;
use super::clock::Clock;
use super::edge::{EdgeMessage, Listener};
use super::issuers::{IssuerDoor, IssuersMessage};
use super::journal::JournalMessage;
use super::keeper::{KeeperMessage, looked, tell_changes};
use super::key::KeyProbe;
use super::member::{Crash, InjectedFault, Mail, Member, Shell, Stage};
use super::news::News;
use super::router::{RouterMessage, Routes};
use super::seller::Seller;
use super::settings::{SettingsDoor, SettingsMessage};
use super::slot::{ActorKind, Slot};
use super::supervisor::{ChildSpec, Strategy};
use super::tables::Tables;
use super::telemetry::TelemetryMessage;
use super::tenant::Tenants;
use crate::config::{IdentitySettings, Settings};
use crate::domain::Moment;
use crate::keys::{Identities, Pepper, Roster};
use crate::policy::jwt::KeySet;
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

    /// Puts keys and tenants of the store in force; false where they are already. Takes its time: not for a thread
    /// that serves.
    pub(super) fn adopt(&self, roll: Arc<Roll>) -> Result<bool, StoreError> {
        let _turn = self.publishing.lock();
        // Looked at within the turn: what was published a moment before may have brought another pepper.
        let old = self.published();
        // With the first key comes the pepper, which may be another than the one before the last key ended.
        let held = &old.roster.pepper;
        let held = held.clone().filter(|_| !old.roster.roll.keys.is_empty());
        let pepper = match held {
            None if !roll.keys.is_empty() => {
                let store = self.news.store.settings();
                Some(Pepper::load(store, &old.settings.issued, &roll)?)
            }
            held => held,
        };
        if Arc::ptr_eq(&roll, &old.roster.roll) && pepper.is_some() == old.roster.pepper.is_some() {
            return Ok(false);
        }
        // What a start finds was told when it was made.
        if self.keys_seen.load(Ordering::Relaxed) > 0 {
            tell_changes(&self.news.journal, &old.roster.roll, &roll);
        }
        self.put_in_force(Arc::clone(&old.settings), roll, pepper);
        self.change_tenants(&old.tenants);
        let _ = self.books.cast(BooksMessage::Due);
        retire(old);
        Ok(true)
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
        for (name, cell) in self.tables.tenants.all().iter() {
            // A request that is under way must not find there what was taken out.
            if !tenants.contains_key(name) {
                cell.close_accounts();
            }
        }
        let tenants = Arc::new(tenants);
        let mut reached_there = Vec::new();
        // Tills stay: a provider that comes back has cost what it had cost.
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
}

/// Whether keys that were last seen at this moment (0: never) let anyone in.
fn still_good(seen: u64, now: Moment) -> bool {
    seen > 0 && now.since(Moment(seen)) <= KEYS_STAY_GOOD
}

fn inject_into<M: Send + 'static>(slot: &Slot<M>, path: &str, fault: InjectedFault) -> bool {
    slot.seat().path() == path && slot.inject(fault).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::tests::{built, settings};
    use crate::config::{IssuedKeySettings, Secret};
    use crate::store::keys::StoredKey;

    fn with_pepper(pepper: &str) -> Settings {
        let issued = IssuedKeySettings {
            pepper: Some(Secret::new(pepper.to_owned())),
            ..IssuedKeySettings::default()
        };
        Settings {
            issued,
            ..settings(None)
        }
    }

    /// Keys that were made with these peppers.
    fn roll(peppers: &[&str]) -> Arc<Roll> {
        let key = |(nth, pepper): (usize, &&str)| {
            let key = serde_json::json!({
                "id": nth.to_string(), "use": "client", "env": "live", "name": nth.to_string(),
                "grant": {}, "terms": {}, "blocked": false, "created": 1, "created_by": "test",
                "changed_by": "test", "pepper": Pepper::new(pepper.as_bytes()).mark(),
            });
            let key: StoredKey = serde_json::from_value(key).unwrap();
            (key.id.clone(), Arc::new(key))
        };
        Arc::new(Roll {
            keys: peppers.iter().enumerate().map(key).collect(),
            ..Roll::default()
        })
    }

    #[test]
    fn x12_a_pepper_that_is_reloaded_while_keys_are_put_in_force_is_not_undone_by_them() {
        let system = built(with_pepper("the old one"));
        let known = roll(&["the old one", "the new one"]);
        assert!(system.adopt(Arc::clone(&known)).unwrap());
        assert!(!system.adopt(Arc::clone(&known)).unwrap());
        let turn = system.publishing.lock().unwrap();
        std::thread::scope(|scope| {
            let more = roll(&["the old one", "the new one", "the new one"]);
            let adopted = scope.spawn(|| system.adopt(more));
            // Long enough for it to be at the turn, which is taken.
            let (_kept, never) = std::sync::mpsc::channel::<()>();
            assert!(never.recv_timeout(Duration::from_millis(100)).is_err());
            let settings = Arc::new(with_pepper("the new one"));
            system.put_in_force(settings, known, Some(Pepper::new(b"the new one")));
            drop(turn);
            assert!(adopted.join().unwrap().unwrap());
        });
        let published = system.published();
        let in_force = published.roster.pepper.as_ref().unwrap().mark();
        assert_eq!(in_force, Pepper::new(b"the new one").mark());
        assert_eq!(published.roster.roll.keys.len(), 3);
    }

    #[test]
    fn g11_keys_are_good_for_ten_minutes_without_their_store_and_then_closed() {
        let seen = Moment::from_secs(100);
        assert!(still_good(seen.0, Moment::from_secs(700)));
        assert!(!still_good(seen.0, Moment::from_secs(701)));
        // Never seen is not known.
        assert!(!still_good(0, Moment::from_secs(1)));
    }
}
