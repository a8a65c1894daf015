//! The configuration in force: load, validate, diff, publish; the last good one is kept.
//!
//! Reloads come from a file watch, a signal or an admin call. They are debounced and done one after
//! another; whoever asked while one was under way is answered by the next. A restart of this actor
//! changes nothing: what is in force is published in the tables. What it had begun to put in force is put in force, and
//! never behind what is asked for later ([`Turns`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::RpcReplyPort;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use super::member::{Crash, Member, Stage};
use super::news::News;
use super::slot::Seat;
use crate::config::{ConfigError, Fingerprint, Settings};
use crate::domain::Moment;

/// Where settings come from and where they go. Implemented where the files and the whole system are known.
pub trait SettingsDoor: Send + Sync {
    /// Reads and validates; changes nothing.
    fn load(&self) -> BoxFuture<'static, Result<Settings, ConfigError>>;
    /// Waits until the file has stood as it is for so long: what somebody is writing is not read (fault C01).
    fn settled(&self, quiet: Duration) -> BoxFuture<'static, ()>;
    /// What the files look like now, to see a change without loading.
    fn fingerprint(&self, before: Fingerprint) -> BoxFuture<'static, Fingerprint>;
    /// Puts settings in force, all or nothing, and says what changed in plain words; `None` when they are in force
    /// already. Takes its time, and not that of a thread that serves; in force is in the end what was asked for last.
    fn publish(
        &self,
        settings: Box<Settings>,
    ) -> BoxFuture<'static, Result<Option<Vec<String>>, ConfigError>>;
    /// Looks for newer facts about models and keeps them beside the files.
    fn refresh(&self) -> BoxFuture<'static, Refreshed> {
        Box::pin(std::future::ready(Refreshed::default()))
    }
}

/// Work that takes its time, done one after another in the order in which it was asked for, on threads that serve
/// nobody.
#[derive(Debug, Default)]
pub struct Turns {
    asked: AtomicU64,
    /// The last that began.
    last: Arc<Mutex<u64>>,
}

impl Turns {
    /// What the work answers; `None` when a later one went before it, which leaves this undone, or it ended early.
    /// Once begun it is done to its end, whether or not somebody waits for it.
    pub fn next<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, Option<T>> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let last = Arc::clone(&self.last);
        Box::pin(async move {
            let mut last = last.lock_owned().await;
            if *last > turn {
                return None;
            }
            let done = tokio::task::spawn_blocking(move || {
                *last = turn;
                work()
            });
            done.await.ok()
        })
    }
}

/// How a look for newer facts went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// There is something new to load.
    pub changed: bool,
    /// `None`: nobody is to be asked.
    pub again_in: Option<Duration>,
}

/// Whether somebody is to be asked is looked at this often while nobody is.
const UNASKED: Duration = Duration::from_secs(30);

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// In force now, with what changed.
    Applied { version: u64, changes: Vec<String> },
    /// Nothing differs from what is in force.
    Unchanged { version: u64 },
    /// The old settings stay; every mistake, one a line.
    Rejected { mistakes: String },
}

pub enum SettingsMessage {
    /// It is time to look for newer facts about models.
    RefreshDue,
    Refreshed(Refreshed),
    /// Load again; `reply` is `None` when nobody waits for the result.
    Reload {
        why: ReloadReason,
        reply: Option<RpcReplyPort<Reloaded>>,
    },
    /// Time to look at the files.
    Look,
    Looked(Fingerprint),
    /// A quiet moment has passed since the last request to reload.
    LoadNow,
    Loaded(Result<Box<Settings>, ConfigError>),
    /// How settings of this version were put in force.
    Published {
        version: u64,
        result: Result<Option<Vec<String>>, ConfigError>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadReason {
    FileChanged,
    Signal,
    Admin,
}

impl ReloadReason {
    fn label(self) -> &'static str {
        match self {
            Self::FileChanged => "file changed",
            Self::Signal => "signal",
            Self::Admin => "admin call",
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Reloads asked for within this time become one (fault C04).
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A file that changed by itself is read when it has stood still for so long: whoever copies it here may pause.
const QUIET: Duration = Duration::from_millis(300);

pub(crate) struct SettingsActor {
    pub(super) door: Arc<dyn SettingsDoor>,
    pub(super) seat: Arc<Seat>,
    pub(super) news: Arc<News>,
    pub(super) seen: Option<Fingerprint>,
    /// Who asked before the load under way began.
    pub(super) answered_by_this: Vec<RpcReplyPort<Reloaded>>,
    pub(super) waiting: Vec<RpcReplyPort<Reloaded>>,
    pub(super) stage_of_reload: ReloadStage,
    /// Since when the load under way reads; `None` while there is none.
    pub(super) loading_since: Option<Moment>,
}

/// How far a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadStage {
    Idle,
    /// Waiting for a quiet moment.
    Debouncing,
    Loading,
    /// Asked again while loading: once more afterwards.
    LoadingAndAskedAgain,
}

impl Member for SettingsActor {
    type Message = SettingsMessage;

    fn started(&mut self, stage: &mut Stage<SettingsMessage>) -> Result<(), Crash> {
        stage.after(LOOK_EVERY, SettingsMessage::Look);
        // Nobody waits for it: what is known serves.
        stage.after(LOOK_EVERY, SettingsMessage::RefreshDue);
        self.seat.set_health("in force");
        Ok(())
    }

    fn handle(
        &mut self,
        message: SettingsMessage,
        stage: &mut Stage<SettingsMessage>,
    ) -> Result<(), Crash> {
        match message {
            SettingsMessage::RefreshDue => {
                let refresh = self.door.refresh();
                stage.spawn(async move { Some(SettingsMessage::Refreshed(refresh.await)) });
            }
            SettingsMessage::Refreshed(Refreshed { changed, again_in }) => {
                if changed {
                    self.ask(QUIET, stage);
                }
                let wait = again_in.unwrap_or(UNASKED).max(LOOK_EVERY);
                stage.after(wait, SettingsMessage::RefreshDue);
            }
            SettingsMessage::Reload { why, reply } => {
                info!(why = why.label(), "configuration reload asked for");
                self.waiting.extend(reply);
                self.ask(DEBOUNCE, stage);
            }
            SettingsMessage::Look => {
                let look = self.door.fingerprint(self.seen.clone().unwrap_or_default());
                stage.spawn(async move { Some(SettingsMessage::Looked(look.await)) });
            }
            SettingsMessage::Looked(fingerprint) => {
                let seen = self.seen.replace(fingerprint.clone());
                if seen.is_some_and(|seen| seen != fingerprint) {
                    info!(
                        why = ReloadReason::FileChanged.label(),
                        "configuration reload"
                    );
                    self.ask(QUIET, stage);
                }
                stage.after(LOOK_EVERY, SettingsMessage::Look);
            }
            SettingsMessage::LoadNow => {
                self.stage_of_reload = ReloadStage::Loading;
                self.answered_by_this.append(&mut self.waiting);
                self.loading_since = Some(stage.clock.now());
                let load = self.door.load();
                stage.spawn(async move { Some(SettingsMessage::Loaded(load.await.map(Box::new))) });
            }
            SettingsMessage::Loaded(Ok(settings)) => {
                let version = settings.version;
                let published = self.door.publish(settings);
                stage.spawn(async move {
                    let result = published.await;
                    Some(SettingsMessage::Published { version, result })
                });
            }
            SettingsMessage::Loaded(Err(refused)) => self.ended(Err(refused), 0, stage),
            SettingsMessage::Published { version, result } => self.ended(result, version, stage),
        }
        Ok(())
    }
}

impl SettingsActor {
    fn ask(&mut self, quiet: Duration, stage: &mut Stage<SettingsMessage>) {
        self.stage_of_reload = match self.stage_of_reload {
            ReloadStage::Idle => {
                let settled = self.door.settled(quiet);
                stage.spawn(async move {
                    settled.await;
                    Some(SettingsMessage::LoadNow)
                });
                ReloadStage::Debouncing
            }
            ReloadStage::Debouncing => ReloadStage::Debouncing,
            ReloadStage::Loading | ReloadStage::LoadingAndAskedAgain => {
                ReloadStage::LoadingAndAskedAgain
            }
        };
    }

    /// A reload is over.
    fn ended(
        &mut self,
        result: Result<Option<Vec<String>>, ConfigError>,
        version: u64,
        stage: &mut Stage<SettingsMessage>,
    ) {
        let again = self.stage_of_reload == ReloadStage::LoadingAndAskedAgain;
        let reloaded = self.take(result, version);
        if let (Reloaded::Applied { .. }, Some(since)) = (&reloaded, self.loading_since) {
            let took = stage.clock.now().since(since);
            self.news.metrics.reload_took("configuration", took);
        }
        self.stage_of_reload = ReloadStage::Idle;
        for reply in self.answered_by_this.drain(..) {
            let _ = reply.send(reloaded.clone());
        }
        if again {
            // Those who asked meanwhile are answered by the load that starts now; one of them may be the file itself.
            self.ask(QUIET, stage);
        }
    }

    fn take(&mut self, result: Result<Option<Vec<String>>, ConfigError>, version: u64) -> Reloaded {
        match result {
            Ok(None) => {
                self.news.metrics.config_reloaded("unchanged");
                Reloaded::Unchanged { version }
            }
            Ok(Some(changes)) => {
                self.seat.set_health("in force");
                self.news.metrics.config_reloaded("ok");
                self.news.journal.event(
                    "config.applied",
                    &format!("{version:016x}"),
                    &changes.join("; "),
                );
                info!(
                    version = format!("{version:016x}"),
                    changes = changes.len(),
                    "configuration applied"
                );
                for change in &changes {
                    info!(change = change.as_str(), "configuration change");
                }
                Reloaded::Applied { version, changes }
            }
            Err(refused) => {
                let mistakes = refused.to_string();
                self.seat.set_health("last reload rejected");
                self.news.metrics.config_reloaded("rejected");
                error!("configuration rejected, the old one stays in force");
                for line in mistakes.lines() {
                    warn!(mistake = line, "configuration mistake");
                }
                Reloaded::Rejected { mistakes }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicU32;

    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;
    use crate::actors::System;
    use crate::actors::tests::{settings, system_by};

    /// Loads a version after another, and takes five seconds to put one in force.
    struct Slow {
        versions: AtomicU64,
        looks: AtomicU32,
        told: mpsc::UnboundedSender<u64>,
    }

    impl SettingsDoor for Slow {
        fn load(&self) -> BoxFuture<'static, Result<Settings, ConfigError>> {
            let version = self.versions.fetch_add(1, Ordering::SeqCst) + 1;
            let settings = Settings {
                version,
                ..settings(None)
            };
            Box::pin(std::future::ready(Ok(settings)))
        }

        fn settled(&self, quiet: Duration) -> BoxFuture<'static, ()> {
            Box::pin(sleep(quiet))
        }

        fn fingerprint(&self, _: Fingerprint) -> BoxFuture<'static, Fingerprint> {
            self.looks.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::ready(Fingerprint::default()))
        }

        fn publish(
            &self,
            settings: Box<Settings>,
        ) -> BoxFuture<'static, Result<Option<Vec<String>>, ConfigError>> {
            let told = self.told.clone();
            Box::pin(async move {
                sleep(Duration::from_secs(5)).await;
                told.send(settings.version).unwrap();
                Ok(Some(vec![format!("to {}", settings.version)]))
            })
        }
    }

    fn reload(system: &System) -> tokio::sync::oneshot::Receiver<Reloaded> {
        let (to, from) = tokio::sync::oneshot::channel();
        let why = ReloadReason::Admin;
        let reply = Some(to.into());
        let asked = system.settings.cast(SettingsMessage::Reload { why, reply });
        asked.unwrap();
        from
    }

    #[tokio::test(start_paused = true)]
    async fn c08_what_takes_long_to_be_put_in_force_keeps_nobody_waiting_and_the_order() {
        let (told, mut order) = mpsc::unbounded_channel();
        let door = Arc::new(Slow {
            versions: AtomicU64::new(0),
            looks: AtomicU32::new(0),
            told,
        });
        let (system, root) = system_by(settings(None), Arc::clone(&door) as _).await;
        let first = reload(&system);
        sleep(Duration::from_secs(2)).await;
        // The first is loaded and under way: this is one more.
        let (second, third) = (reload(&system), reload(&system));
        let before = door.looks.load(Ordering::SeqCst);
        sleep(Duration::from_secs(3)).await;
        assert!(
            door.looks.load(Ordering::SeqCst) >= before + 2,
            "it is still at work"
        );
        // Each by the load that began behind its question.
        for (reply, version) in [(first, 1), (second, 2), (third, 2)] {
            let changes = vec![format!("to {version}")];
            let expected = Reloaded::Applied { version, changes };
            assert_eq!(reply.await.unwrap(), expected);
        }
        assert_eq!((order.recv().await, order.recv().await), (Some(1), Some(2)));
        assert!(order.try_recv().is_err());
        root.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn c04_of_two_that_are_put_in_force_the_one_asked_for_last_stays() {
        let turns = Turns::default();
        let (told, order) = std::sync::mpsc::channel();
        let work = |name: &'static str| {
            let told = told.clone();
            move || told.send(name).unwrap()
        };
        let (older, newer) = (turns.next(work("older")), turns.next(work("newer")));
        assert_eq!(newer.await, Some(()));
        assert_eq!(older.await, None, "it comes too late");
        // Nobody waits for it any more, and it is not overtaken by what comes behind it.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let tell = work("left alone");
        let left = turns.next(move || {
            wait.recv().unwrap();
            tell();
        });
        let left = tokio::spawn(left);
        tokio::task::yield_now().await;
        left.abort();
        let last = tokio::spawn(turns.next(work("last")));
        tokio::task::yield_now().await;
        go.send(()).unwrap();
        assert_eq!(last.await.unwrap(), Some(()));
        let order: VecDeque<&str> = order.try_iter().collect();
        assert_eq!(order, ["newer", "left alone", "last"]);
    }
}
