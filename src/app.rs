//! Everything built once, in order; drained and stopped in reverse.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::actors::{
    AlertSender, AlertsDesk, Clock, IssuerDoor, JournalDesk, KeyProbe, KeyVerdict, Listener, News,
    Refreshed, ReloadReason, RootHandle, SettingsDoor, SettingsMessage, System, SystemParts,
    TokenNews, Turns, until_quiet, wall,
};
use crate::config::{
    AlertSettings, ConfigError, Fingerprint, IdentitySettings, ListenSettings, Mistake, NotKept,
    RegistryCopy, Settings, Source, changes,
};
use crate::dispatch::{Dispatch, GuardDrill, Upstreams};
use crate::domain::{KeyName, ProviderName};
use crate::edge::{Aside, Edge, Room, Server, ServerOptions, admin_router, router};
use crate::policy::alerts::{Delivery, Parcel};
use crate::policy::jwt::KeySet;
use crate::policy::overload::Pressure;
use crate::policy::poison::PoisonList;
use crate::store::StoreDesk;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::{GatewayMetrics, registry_refreshed};
use crate::telemetry::process::{descriptor_limit, memory_limit};
use crate::upstream::{
    AlertPost, BuildError, ProbeResult, Prober, Renewal, fetch_keys, fetch_registry, install_crypto,
};

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("cannot listen on {address}: {why}; is another process using it?")]
    Listen {
        address: SocketAddr,
        why: std::io::Error,
    },
    #[error("the admin listener's thread did not start: {0}")]
    Thread(std::io::Error),
    #[error("the supervision tree did not start: {0}")]
    Tree(String),
}

/// A running gateway.
pub struct App {
    system: Arc<System>,
    edge: Arc<Edge>,
    root: RootHandle,
    data: Arc<Server>,
    admin: Option<Admin>,
    last_call: Arc<Notify>,
    gave_up: Arc<Notify>,
}

/// The admin listener and the thread it is served on, which ends after everything else.
struct Admin {
    server: Arc<Server>,
    aside: Aside,
}

/// Where settings come from and where they go (`actors::SettingsDoor`).
struct Door {
    source: Source,
    upstreams: Arc<Upstreams>,
    /// Set once everything stands.
    place: std::sync::OnceLock<(Arc<System>, Arc<Edge>)>,
    turns: Turns,
}

impl SettingsDoor for Door {
    fn load(&self) -> BoxFuture<'static, Result<Settings, ConfigError>> {
        let source = self.source.clone();
        Box::pin(async move {
            let loaded = tokio::task::spawn_blocking(move || source.load()).await;
            loaded.unwrap_or_else(|_| {
                Err(ConfigError::one(Mistake::new(
                    "",
                    "the settings could not be read",
                    "",
                )))
            })
        })
    }

    fn settled(&self, quiet: Duration) -> BoxFuture<'static, ()> {
        Box::pin(stands_still(self.source.clone(), quiet))
    }

    fn fingerprint(&self, before: Fingerprint) -> BoxFuture<'static, Fingerprint> {
        let source = self.source.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || source.fingerprint(&before))
                .await
                .unwrap_or_default()
        })
    }

    fn refresh(&self) -> BoxFuture<'static, Refreshed> {
        let settings = self
            .place
            .get()
            .map(|(system, _)| Arc::clone(&system.published().settings));
        Box::pin(async move {
            match settings {
                Some(settings) => refresh_registry(settings).await,
                None => Refreshed::default(),
            }
        })
    }

    fn publish(
        &self,
        settings: Box<Settings>,
    ) -> BoxFuture<'static, Result<Option<Vec<String>>, ConfigError>> {
        let Some((system, edge)) = self.place.get().cloned() else {
            return Box::pin(std::future::ready(Ok(None)));
        };
        let upstreams = Arc::clone(&self.upstreams);
        let work = move || put_in_force(&system, &edge, &upstreams, *settings);
        let done = self.turns.next(work);
        Box::pin(async move {
            let ended = || Mistake::new("", "the settings could not be put in force", "");
            let done = done.await;
            done.unwrap_or_else(|| Err(ConfigError::one(ended())))
        })
    }
}

/// Waits until the text of the file has been the same for so long.
async fn stands_still(source: Source, quiet: Duration) {
    let look = || {
        let source = source.clone();
        let looked = tokio::task::spawn_blocking(move || source.digest());
        async move { looked.await.ok().flatten() }
    };
    until_quiet(quiet, look).await;
}

/// A file that is cut before it is written anew is valid, and so may be its beginning: what would leave a gateway
/// nobody to ask is taken for one that is not whole (fault C01).
fn check_whole(old: &Settings, new: &Settings) -> Result<(), ConfigError> {
    if old.providers.is_empty() || !new.providers.is_empty() {
        return Ok(());
    }
    let file = new.source.as_ref().map(|file| file.display().to_string());
    Err(ConfigError::one(Mistake::new(
        "providers",
        format!(
            "{} names none any more",
            file.as_deref().unwrap_or("the environment")
        ),
        "write it whole; to serve nothing, stop the gateway",
    )))
}

/// All of a configuration, by the one whose turn it is (fault C08: with many clients it takes a while).
fn put_in_force(
    system: &System,
    edge: &Edge,
    upstreams: &Upstreams,
    settings: Settings,
) -> Result<Option<Vec<String>>, ConfigError> {
    let old = Arc::clone(&system.published().settings);
    if old.version == settings.version {
        return Ok(None);
    }
    check_whole(&old, &settings)?;
    let said = changes(&old, &settings);
    let prepared = prepare(upstreams, &old, &settings)?;
    upstreams.publish(prepared);
    edge.publish(&settings);
    system.publish(settings);
    Ok(Some(said))
}

/// Looks for newer facts about models; what is believed is kept on disk, where a reload finds it.
async fn refresh_registry(settings: Arc<Settings>) -> Refreshed {
    let Some(source) = settings.registry.clone() else {
        return Refreshed::default();
    };
    let again_in = Some(source.every);
    let unchanged = Refreshed {
        changed: false,
        again_in,
    };
    let known = settings.models.fetched().and_then(|copy| copy.etag.clone());
    let copy = match fetch_registry(&source, known.as_deref()).await {
        Ok(Some(copy)) => copy,
        Ok(None) => {
            let now = RegistryCopy::of(None, "").fetched;
            registry_refreshed("unchanged", Some(now));
            return unchanged;
        }
        Err(why) => {
            warn!(?why, "no newer facts about models, those known stay");
            registry_refreshed("unavailable", None);
            return unchanged;
        }
    };
    let fetched = copy.fetched;
    let kept = tokio::task::spawn_blocking(move || {
        copy.keep(&source.copy, settings.models.base(), source.force)
    });
    match kept.await {
        Ok(Ok(())) => {
            registry_refreshed("ok", Some(fetched));
            Refreshed {
                changed: true,
                again_in,
            }
        }
        Ok(Err(why)) => {
            warn!(%why, "newer facts about models were not taken, those known stay");
            let result = match why {
                NotKept::Refused(_) => "refused",
                NotKept::Malformed(_) => "malformed",
                NotKept::Unwritable(_) => "unwritable",
            };
            registry_refreshed(result, None);
            unchanged
        }
        Err(_) => unchanged,
    }
}

fn prepare(
    upstreams: &Upstreams,
    old: &Settings,
    new: &Settings,
) -> Result<crate::dispatch::PreparedUpstreams, ConfigError> {
    upstreams
        .prepare(old, new)
        .map_err(|(path, error)| ConfigError::one(Mistake::new(path, error.to_string(), "")))
}

/// Probes keys over HTTP with the settings in force.
struct Probe {
    place: std::sync::OnceLock<Arc<System>>,
    upstreams: Arc<Upstreams>,
}

impl KeyProbe for Probe {
    fn probe(&self, provider: &ProviderName, key: &KeyName) -> BoxFuture<'static, KeyVerdict> {
        let settings = self
            .place
            .get()
            .map(|system| Arc::clone(&system.published().settings));
        let keeper = self.upstreams.keeper(provider, key);
        let (provider, key) = (provider.clone(), key.clone());
        Box::pin(async move {
            let settings = settings.unwrap_or_default();
            let found = settings
                .providers
                .iter()
                .find(|known| known.name == provider);
            let Some(provider) = found else {
                return KeyVerdict::Unknown;
            };
            let Some(key) = provider.keys.iter().find(|known| known.name == key) else {
                return KeyVerdict::Unknown;
            };
            let Ok(prober) = Prober::new(provider) else {
                return KeyVerdict::Unknown;
            };
            match prober.probe(key, keeper.as_deref()).await {
                ProbeResult::Healthy => KeyVerdict::Good,
                ProbeResult::KeyRefused => KeyVerdict::Refused,
                ProbeResult::Unreachable => KeyVerdict::Unknown,
            }
        })
    }

    fn renew(
        &self,
        provider: &ProviderName,
        key: &KeyName,
        wait: Duration,
        draw: f64,
    ) -> BoxFuture<'static, Option<TokenNews>> {
        let keeper = self.upstreams.keeper(provider, key);
        Box::pin(async move {
            Some(match keeper?.renew(wait, draw).await {
                Renewal::Fresh => TokenNews::Fresh,
                Renewal::Failed { refused, left } => TokenNews::Failed { refused, left },
            })
        })
    }
}

/// Asks issuers of tokens over HTTP.
struct IssuersAsked;

impl IssuerDoor for IssuersAsked {
    fn keys(
        &self,
        settings: Arc<IdentitySettings>,
    ) -> BoxFuture<'static, Result<KeySet, &'static str>> {
        Box::pin(async move { fetch_keys(&settings).await.map_err(|why| why.label()) })
    }
}

/// The clients of those who are told of alerts, made when there is something to tell.
#[derive(Default)]
struct AlertPosts {
    clients: Arc<ArcSwap<HashMap<String, Arc<AlertPost>>>>,
}

impl AlertPosts {
    /// The client for these settings; an older one of this name is let go.
    fn client(
        clients: &ArcSwap<HashMap<String, Arc<AlertPost>>>,
        to: &AlertSettings,
    ) -> Result<Arc<AlertPost>, BuildError> {
        let have = clients.load().get(&to.name).cloned();
        if let Some(have) = have.filter(|have| have.settings() == to) {
            return Ok(have);
        }
        let made = Arc::new(AlertPost::new(to)?);
        clients.rcu(|clients| {
            let mut clients = HashMap::clone(clients);
            clients.insert(to.name.clone(), Arc::clone(&made));
            clients
        });
        Ok(made)
    }
}

impl AlertSender for AlertPosts {
    fn send(&self, to: &Arc<AlertSettings>, parcel: &Parcel) -> BoxFuture<'static, Delivery> {
        let (clients, to) = (Arc::clone(&self.clients), Arc::clone(to));
        let parcel = parcel.clone();
        Box::pin(async move {
            match Self::client(&clients, &to) {
                Ok(client) => client.post(&parcel, Duration::from_millis(wall().0)).await,
                Err(error) => {
                    warn!(receiver = %to.name, %error, "an alert cannot be sent");
                    Delivery::Refused
                }
            }
        })
    }
}

impl App {
    /// Builds the gateway for settings that were loaded from `source`.
    #[expect(
        clippy::too_many_lines,
        reason = "one list, in the order in which things are built"
    )]
    pub async fn start(settings: Settings, source: Source) -> Result<Self, StartError> {
        install_crypto();
        let telemetry = Telemetry::install();
        let clock = Clock::start();
        let gave_up = Arc::new(Notify::new());
        let on_give_up = Arc::clone(&gave_up);
        let news = Arc::new(News {
            metrics: GatewayMetrics::new(),
            journal: JournalDesk::new(settings.journal.clone()),
            store: StoreDesk::new(settings.store.clone()),
            alerts: AlertsDesk::new(Arc::new(AlertPosts::default())),
            booked_until: std::sync::atomic::AtomicU64::new(0),
            pressure: Arc::new(Pressure::new(memory_limit())),
            give_up: Box::new(move || on_give_up.notify_one()),
        });
        let upstreams = Arc::new(Upstreams::default());
        upstreams.publish(prepare(&upstreams, &Settings::default(), &settings)?);
        let door = Arc::new(Door {
            source,
            upstreams: Arc::clone(&upstreams),
            place: std::sync::OnceLock::new(),
            turns: Turns::default(),
        });
        let probe = Arc::new(Probe {
            place: std::sync::OnceLock::new(),
            upstreams: Arc::clone(&upstreams),
        });
        let last_call = Arc::new(Notify::new());
        let (listen, admin_room) = with_room(settings.listen.clone());
        let admin = settings.admin.clone();
        let system = System::build(
            settings,
            SystemParts {
                clock,
                telemetry: Arc::clone(&telemetry),
                news: Arc::clone(&news),
                door: Arc::clone(&door) as Arc<dyn SettingsDoor>,
                probe: Arc::clone(&probe) as Arc<dyn KeyProbe>,
                issuers: Arc::new(IssuersAsked),
                seed: fastrand::u64(..),
            },
        );
        let dispatch = Arc::new(Dispatch {
            clock,
            router: Arc::clone(&system.router),
            upstreams,
            news: Arc::clone(&news),
            tables: Arc::clone(&system.tables),
            last_call: Arc::clone(&last_call),
            poison: PoisonList::default(),
            drill: GuardDrill::default(),
        });
        let edge = Arc::new(Edge::new(Arc::clone(&system), dispatch, telemetry));
        let options = ServerOptions {
            listen: listen.clone(),
            aside: None,
        };
        let data = bind(options, router(&edge), &news).await?;
        let admin = match admin.enabled {
            true => {
                let aside = Aside::start().map_err(StartError::Thread)?;
                let mut listen = listen;
                listen.address = admin.address;
                listen.max_connections = admin_room;
                let options = ServerOptions {
                    listen,
                    aside: Some(aside.handle()),
                };
                let server = bind(options, admin_router(&edge), &news).await?;
                Some(Admin { server, aside })
            }
            false => None,
        };
        tokio::spawn({
            let news = Arc::clone(&news);
            async move { news.store.take_up().await }
        });
        // Before anyone may come in: who holds a key of the store's is known from the first request on.
        let patience = news.store.settings().patience;
        if let Ok(Err(error)) = tokio::time::timeout(patience, system.read_keys()).await {
            warn!(%error, "the store's keys cannot be read");
        }
        // Set before any actor runs, so the first reload already finds its place.
        let _ = door.place.set((Arc::clone(&system), Arc::clone(&edge)));
        let _ = probe.place.set(Arc::clone(&system));
        let listeners: Vec<Arc<dyn Listener>> = std::iter::once(&data)
            .chain(admin.as_ref().map(|admin| &admin.server))
            .map(|server| Arc::clone(server) as Arc<dyn Listener>)
            .collect();
        let root = system
            .start(listeners)
            .await
            .map_err(|error| StartError::Tree(error.to_string()))?;
        Ok(Self {
            system,
            edge,
            root,
            data,
            admin,
            last_call,
            gave_up,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> Option<SocketAddr> {
        self.data.address().ok()
    }

    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
            .as_ref()
            .and_then(|admin| admin.server.address().ok())
    }

    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// Loads the settings again, as SIGHUP asks.
    pub fn reload(&self) {
        let _ = self.system.settings.cast(SettingsMessage::Reload {
            why: ReloadReason::Signal,
            reply: None,
        });
    }

    /// Resolves when the root supervisor gave up: the process must end and be started again.
    pub async fn gave_up(&self) {
        self.gave_up.notified().await;
    }

    /// Lets open requests finish within the drain's limit, then ends them honestly, then stops (fault X09).
    pub async fn stop(self) {
        let limit = self.system.published().settings.listen.drain;
        self.stop_within(limit).await;
    }

    /// As [`Self::stop`], with a limit of the caller's: a process that has to end can still say so.
    pub async fn stop_within(self, limit: Duration) {
        let started = tokio::time::Instant::now();
        self.edge.draining.store(true, Ordering::Relaxed);
        info!(limit_s = limit.as_secs(), "draining");
        let (data, edge) = (&self.data, &self.edge);
        let drained =
            |limit| async move { tokio::join!(data.drain(limit), edge.background_ended(limit)) };
        let (mut cut, left) = drained(limit).await;
        if cut > 0 || left > 0 {
            // Whoever still streams is told why it ends, and what is made for nobody yet is kept as ended.
            self.last_call.notify_waiters();
            (cut, _) = drained(Duration::from_secs(1)).await;
        }
        if cut > 0 {
            warn!(connections = cut, "connections were cut");
        }
        self.edge
            .news
            .metrics
            .drain
            .set(started.elapsed().as_secs_f64());
        self.root.stop(Duration::from_secs(10)).await;
        drop(self.admin.map(|admin| admin.aside));
        self.edge.news.store.close().await;
        self.edge.news.journal.close();
        // The journal's thread writes what it was handed.
        tokio::time::sleep(Duration::from_millis(50)).await;
        info!(took_ms = started.elapsed().as_millis(), "stopped");
    }
}

/// Caps the clients' connections at what the process has descriptors for (fault O09), and says how many
/// the admin listener may have.
fn with_room(mut listen: ListenSettings) -> (ListenSettings, u32) {
    let limit = descriptor_limit();
    let room = Room::within(limit, listen.max_connections);
    if room.clients < listen.max_connections {
        warn!(
            descriptors = limit,
            wanted = listen.max_connections,
            max_connections = room.clients,
            "too few descriptors for listen.max_connections, taking fewer clients; raise the limit (ulimit -n, LimitNOFILE=)"
        );
    }
    listen.max_connections = room.clients;
    (listen, room.admin)
}

async fn bind(
    options: ServerOptions,
    router: axum::Router,
    news: &Arc<News>,
) -> Result<Arc<Server>, StartError> {
    let address = options.listen.address;
    Server::bind(options, router, Arc::clone(news))
        .await
        .map(Arc::new)
        .map_err(|why| StartError::Listen { address, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn c01_a_file_that_is_written_piece_by_piece_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchyard.toml");
        let source = Source {
            file: Some(path.clone()),
        };
        std::fs::write(&path, "").unwrap();
        let writing = tokio::spawn(async move {
            for lines in 1..=10 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                std::fs::write(&path, "# a line\n".repeat(lines)).unwrap();
            }
            source.digest()
        });
        let source = Source {
            file: Some(folder.path().join("switchyard.toml")),
        };
        // Long enough for a machine that is busy with other things.
        stands_still(source.clone(), Duration::from_millis(400)).await;
        let seen = source.digest();
        assert!(writing.is_finished(), "nobody waited for the rest");
        assert_eq!(seen, writing.await.unwrap());
    }
}
