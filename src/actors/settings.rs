//! The configuration in force: load, validate, diff, publish; the last good one is kept.
//!
//! Reloads come from a file watch, a signal or an admin call. They are debounced and done one after
//! another; whoever asked while one was under way is answered by the next. A restart of this actor
//! changes nothing: what is in force is published in the tables.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::RpcReplyPort;
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
    /// What the files look like now, to see a change without loading.
    fn fingerprint(&self) -> BoxFuture<'static, Fingerprint>;
    /// Puts settings in force, all or nothing, and says what changed in plain words.
    fn publish(&self, settings: Settings) -> Result<Vec<String>, ConfigError>;
    /// Looks for newer facts about models and keeps them beside the files.
    fn refresh(&self) -> BoxFuture<'static, Refreshed> {
        Box::pin(std::future::ready(Refreshed::default()))
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

pub(crate) struct SettingsActor {
    pub(super) door: Arc<dyn SettingsDoor>,
    pub(super) seat: Arc<Seat>,
    pub(super) news: Arc<News>,
    /// The version in force; content decides it, so equal settings have equal versions.
    pub(super) version: u64,
    pub(super) seen: Option<Fingerprint>,
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
                    self.ask(stage);
                }
                let wait = again_in.unwrap_or(UNASKED).max(LOOK_EVERY);
                stage.after(wait, SettingsMessage::RefreshDue);
            }
            SettingsMessage::Reload { why, reply } => {
                info!(why = why.label(), "configuration reload asked for");
                self.waiting.extend(reply);
                self.ask(stage);
            }
            SettingsMessage::Look => {
                let look = self.door.fingerprint();
                stage.spawn(async move { Some(SettingsMessage::Looked(look.await)) });
            }
            SettingsMessage::Looked(fingerprint) => {
                if self
                    .seen
                    .replace(fingerprint.clone())
                    .is_some_and(|seen| seen != fingerprint)
                {
                    info!(
                        why = ReloadReason::FileChanged.label(),
                        "configuration reload"
                    );
                    self.ask(stage);
                }
                stage.after(LOOK_EVERY, SettingsMessage::Look);
            }
            SettingsMessage::LoadNow => {
                self.stage_of_reload = ReloadStage::Loading;
                self.loading_since = Some(stage.clock.now());
                let load = self.door.load();
                stage.spawn(async move { Some(SettingsMessage::Loaded(load.await.map(Box::new))) });
            }
            SettingsMessage::Loaded(result) => {
                let again = self.stage_of_reload == ReloadStage::LoadingAndAskedAgain;
                let reloaded = self.take(result);
                if let (Reloaded::Applied { .. }, Some(since)) = (&reloaded, self.loading_since) {
                    let took = stage.clock.now().since(since);
                    self.news.metrics.reload_took("configuration", took);
                }
                if again {
                    // Those who asked meanwhile are answered by the load that starts now.
                    self.stage_of_reload = ReloadStage::Idle;
                    self.ask(stage);
                } else {
                    self.stage_of_reload = ReloadStage::Idle;
                    self.answer(&reloaded);
                }
            }
        }
        Ok(())
    }
}

impl SettingsActor {
    fn ask(&mut self, stage: &mut Stage<SettingsMessage>) {
        self.stage_of_reload = match self.stage_of_reload {
            ReloadStage::Idle => {
                stage.after(DEBOUNCE, SettingsMessage::LoadNow);
                ReloadStage::Debouncing
            }
            ReloadStage::Debouncing => ReloadStage::Debouncing,
            ReloadStage::Loading | ReloadStage::LoadingAndAskedAgain => {
                ReloadStage::LoadingAndAskedAgain
            }
        };
    }

    fn answer(&mut self, reloaded: &Reloaded) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(reloaded.clone());
        }
    }

    fn take(&mut self, result: Result<Box<Settings>, ConfigError>) -> Reloaded {
        let published = result.and_then(|settings| {
            let version = settings.version;
            if version == self.version {
                return Ok(None);
            }
            self.door
                .publish(*settings)
                .map(|changes| Some((version, changes)))
        });
        match published {
            Ok(None) => {
                self.news.metrics.config_reloaded("unchanged");
                Reloaded::Unchanged {
                    version: self.version,
                }
            }
            Ok(Some((version, changes))) => {
                self.version = version;
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
