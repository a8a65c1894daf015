//! One of our API keys at a provider: it decides its cooldowns and its quarantine.
//!
//! A restart forgets nothing: windows, cooldowns and quarantine live in the key's cells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

use super::cells::{KeyCell, WindowCell};
use super::lease::FailedAttempt;
use super::member::{Crash, Member, Stage};
use super::news::News;
use super::slot::Seat;
use crate::domain::{AttemptOutcome, Moment};
use crate::policy::quarantine::{KeyFailure, KeyRule, key_rule};
use crate::policy::token::ask_again_after;

/// What a key's actor needs of the world; lives outside the actors, because it speaks HTTP.
pub trait KeyProbe: Send + Sync {
    /// Asks the provider whether the key is good again.
    fn probe(
        &self,
        provider: &crate::domain::ProviderName,
        key: &crate::domain::KeyName,
    ) -> futures_util::future::BoxFuture<'static, KeyVerdict>;

    /// Fetches the key's token when that is due, but not before `wait` is over; `draw` in 0..1 spreads the
    /// moment. `None`: this key is not traded for one.
    fn renew(
        &self,
        _provider: &crate::domain::ProviderName,
        _key: &crate::domain::KeyName,
        _wait: Duration,
        _draw: f64,
    ) -> futures_util::future::BoxFuture<'static, Option<TokenNews>> {
        Box::pin(std::future::ready(None))
    }
}

/// How fetching a key's token went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenNews {
    Fresh,
    Failed {
        /// Whoever gives tokens gives none for this key.
        refused: bool,
        /// How long the last one still serves; `None`: there is none.
        left: Option<Duration>,
    },
}

/// What a probe found out about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    Good,
    Refused,
    /// Nobody answered; says nothing about the key.
    Unknown,
}

pub enum KeyMessage {
    /// An attempt failed in a way that speaks against this key.
    Failed {
        window: Arc<WindowCell>,
        failed: FailedAttempt,
        /// The window stands for many models, so one of them must not be disabled for all.
        wildcard: bool,
    },
    /// It is time to ask the provider whether a refused key works again (fault K01).
    ProbeDue,
    Probed(KeyVerdict),
    /// The key's token was due (fault K08).
    Renewed(TokenNews),
}

pub(crate) struct Key {
    pub(super) cell: Arc<KeyCell>,
    pub(super) seat: Arc<Seat>,
    pub(super) news: Arc<News>,
    pub(super) probe: Arc<dyn KeyProbe>,
    pub(super) probe_every: Duration,
    pub(super) random: fastrand::Rng,
    pub(super) probing: bool,
    /// How often in a row no token was to be had.
    pub(super) in_vain: u32,
}

impl Member for Key {
    type Message = KeyMessage;

    fn started(&mut self, stage: &mut Stage<KeyMessage>) -> Result<(), Crash> {
        // A predecessor may have died between the refusal and the probe.
        if self.cell.refused.load(Ordering::Relaxed) {
            self.probe_later(stage);
        }
        self.renew(Duration::ZERO, stage);
        self.tell_health(stage.clock.now());
        Ok(())
    }

    fn handle(&mut self, message: KeyMessage, stage: &mut Stage<KeyMessage>) -> Result<(), Crash> {
        let now = stage.clock.now();
        match message {
            KeyMessage::Failed {
                window,
                failed,
                wildcard,
            } => {
                self.judge(&window, &failed, wildcard, now);
                if self.cell.refused.load(Ordering::Relaxed) && !self.probing {
                    self.probe_later(stage);
                }
            }
            KeyMessage::ProbeDue => {
                let probe = self.probe.probe(&self.cell.provider, &self.cell.name);
                stage.spawn(async move { Some(KeyMessage::Probed(probe.await)) });
            }
            KeyMessage::Probed(verdict) => {
                self.probing = false;
                self.probed(verdict, stage);
            }
            KeyMessage::Renewed(told) => self.renewed(told, stage),
        }
        self.tell_health(now);
        Ok(())
    }
}

impl Key {
    fn probe_later(&mut self, stage: &mut Stage<KeyMessage>) {
        self.probing = true;
        stage.after(self.probe_every, KeyMessage::ProbeDue);
    }

    /// Once for a key without a token: then nothing comes back.
    fn renew(&mut self, wait: Duration, stage: &mut Stage<KeyMessage>) {
        let (provider, key) = (&self.cell.provider, &self.cell.name);
        let renewal = self.probe.renew(provider, key, wait, self.random.f64());
        stage.spawn(async move { renewal.await.map(KeyMessage::Renewed) });
    }

    // --- decisions ---

    fn renewed(&mut self, told: TokenNews, stage: &mut Stage<KeyMessage>) {
        let mut wait = Duration::ZERO;
        match told {
            TokenNews::Fresh => {
                self.in_vain = 0;
                let was_tokenless = self.cell.tokenless.swap(false, Ordering::Relaxed);
                // What the provider itself said of the key still holds.
                if was_tokenless && !self.cell.refused.load(Ordering::Relaxed) {
                    self.cell.quarantine.clear();
                    self.news.key_returned(&self.cell);
                }
            }
            TokenNews::Failed { refused, left } => {
                self.in_vain = self.in_vain.saturating_add(1);
                wait = ask_again_after(self.in_vain, self.random.f64());
                let (provider, key) = (&self.cell.provider, &self.cell.name);
                let left_s = left.map(|left| left.as_secs());
                warn!(%provider, %key, refused, left_s, wait_s = wait.as_secs(), "no new token for the key");
                if left.is_none() {
                    // Nobody else is to wait for what is known to be missing.
                    self.cell.quarantine.extend(stage.clock.now(), wait);
                    if !self.cell.tokenless.swap(true, Ordering::Relaxed) {
                        self.news
                            .key_quarantined(&self.cell, AttemptOutcome::Token, wait);
                    }
                }
            }
        }
        self.renew(wait, stage);
    }

    fn judge(&mut self, window: &WindowCell, failed: &FailedAttempt, wildcard: bool, now: Moment) {
        let repeated = window.throttles.fetch_add(1, Ordering::Relaxed);
        let known = KeyFailure {
            outcome: failed.outcome,
            pushback: failed.pushback,
            until_date: failed.until_date,
            repeated,
            model_only: failed.model_only,
        };
        match key_rule(&known, self.random.f64()) {
            KeyRule::CoolModel(wait) => {
                window.cooldown.extend(now, wait);
                window
                    .metrics
                    .cooldown
                    .set(window.cooldown.get().since(now).as_secs_f64());
            }
            KeyRule::DisableModel(_) if wildcard => {}
            KeyRule::DisableModel(wait) => window.disabled.extend(now, wait),
            KeyRule::QuarantineKey(wait) => {
                self.cell.quarantine.extend(now, wait);
                if failed.outcome == AttemptOutcome::Auth {
                    self.cell.refused.store(true, Ordering::Relaxed);
                }
                let (provider, key) = (&self.cell.provider, &self.cell.name);
                warn!(%provider, %key, why = failed.outcome.label(), wait_s = wait.as_secs(), "key quarantined");
                self.news.key_quarantined(&self.cell, failed.outcome, wait);
            }
            KeyRule::None => {}
        }
    }

    fn probed(&mut self, verdict: KeyVerdict, stage: &mut Stage<KeyMessage>) {
        match verdict {
            KeyVerdict::Good => {
                self.cell.refused.store(false, Ordering::Relaxed);
                self.cell.quarantine.clear();
                self.news.key_returned(&self.cell);
            }
            KeyVerdict::Refused | KeyVerdict::Unknown => {
                self.cell
                    .quarantine
                    .extend(stage.clock.now(), self.probe_every);
                self.probe_later(stage);
            }
        }
    }

    fn tell_health(&self, now: Moment) {
        let tokenless = self.cell.tokenless.load(Ordering::Relaxed);
        let word = match (
            self.cell.quarantine.left(now),
            self.cell.refused.load(Ordering::Relaxed),
        ) {
            (Some(_), _) if tokenless => "without a token",
            (Some(_), true) => "refused",
            (Some(_), false) => "quarantined",
            (None, _) => "good",
        };
        self.seat.set_health(word);
    }
}
