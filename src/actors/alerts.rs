//! The messenger: tells receivers outside what happened, again where nobody answers.
//!
//! A restart forgets what was not told yet. All of it stands in the journal, and what a budget reached was warned of in
//! the log. What was told stays told: a budget's thresholds are counted in the tenant's books.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tracing::warn;

use super::member::{Crash, Member, Stage};
use super::news::News;
use super::slot::{Seat, Slot};
use super::system::System;
use crate::config::AlertSettings;
use crate::policy::alerts::{Delivery, Next, Notice, Outbox, Parcel, Taken};
use crate::telemetry::metrics::alert_told;

/// What the messenger needs of the world; lives outside the actors, because it speaks HTTP.
pub trait AlertSender: Send + Sync {
    fn send(&self, to: &Arc<AlertSettings>, parcel: &Parcel) -> BoxFuture<'static, Delivery>;
}

pub enum AlertsMessage {
    /// Something happened.
    Tell(Box<Notice>),
    /// A parcel for this receiver has rested.
    Again { to: Arc<str>, parcel: Parcel },
    /// A parcel's way has ended.
    Ended {
        to: Arc<str>,
        parcel: Parcel,
        how: Delivery,
    },
}

/// Where those who see something hand it in. Never waits: what finds no room is counted and lost.
#[derive(Default)]
pub struct AlertsDesk {
    /// `None`: nobody can be told, and nothing is.
    sender: Option<Arc<dyn AlertSender>>,
    slot: std::sync::OnceLock<Arc<Slot<AlertsMessage>>>,
}

impl AlertsDesk {
    pub fn new(sender: Arc<dyn AlertSender>) -> Self {
        Self {
            sender: Some(sender),
            ..Self::default()
        }
    }

    pub(super) fn open(&self, slot: &Arc<Slot<AlertsMessage>>) {
        let _ = self.slot.set(Arc::clone(slot));
    }

    pub(super) fn tell(&self, notice: Notice) {
        let Some(slot) = self.slot.get() else {
            return;
        };
        if slot.cast(AlertsMessage::Tell(Box::new(notice))).is_err() {
            alert_told("dropped");
        }
    }
}

pub(crate) struct Messenger {
    pub(super) system: std::sync::Weak<System>,
    pub(super) news: Arc<News>,
    pub(super) seat: Arc<Seat>,
    pub(super) boxes: HashMap<Arc<str>, Outbox>,
}

impl Member for Messenger {
    type Message = AlertsMessage;

    fn handle(
        &mut self,
        message: AlertsMessage,
        stage: &mut Stage<AlertsMessage>,
    ) -> Result<(), Crash> {
        let receivers = self.receivers();
        match message {
            AlertsMessage::Tell(notice) => {
                // A receiver that is gone from the settings is told nothing more.
                self.boxes
                    .retain(|name, _| receivers.iter().any(|one| *one.name == **name));
                for receiver in receivers.iter().filter(|one| one.wants(&notice)) {
                    self.take(receiver, &notice);
                    self.send(receiver, stage);
                }
            }
            AlertsMessage::Again { to, parcel } => {
                if let Some(outbox) = self.boxes.get_mut(&to) {
                    outbox.again(parcel);
                }
                self.send_to(&receivers, &to, stage);
            }
            AlertsMessage::Ended { to, parcel, how } => {
                let tries = receivers
                    .iter()
                    .find(|one| *one.name == *to)
                    .map_or(0, |one| one.tries);
                self.ended(&to, (parcel, how), tries, stage);
                self.send_to(&receivers, &to, stage);
            }
        }
        self.seat.set_health(match self.open() {
            0 => "told",
            _ => "telling",
        });
        Ok(())
    }
}

impl Messenger {
    fn receivers(&self) -> Vec<Arc<AlertSettings>> {
        let system = self.system.upgrade();
        system.map_or_else(Vec::new, |system| {
            system.published().settings.alerts.clone()
        })
    }

    fn open(&self) -> usize {
        self.boxes.values().map(Outbox::open).sum()
    }

    fn take(&mut self, receiver: &AlertSettings, notice: &Notice) {
        let outbox = self
            .boxes
            .entry(Arc::from(receiver.name.as_str()))
            .or_default();
        match outbox.take(notice, receiver.quiet) {
            Taken::Waits => {}
            Taken::Quiet => alert_told("quiet"),
            Taken::Full => alert_told("dropped"),
        }
    }

    fn send_to(
        &mut self,
        receivers: &[Arc<AlertSettings>],
        to: &str,
        stage: &mut Stage<AlertsMessage>,
    ) {
        if let Some(receiver) = receivers.iter().find(|one| one.name == to) {
            self.send(receiver, stage);
        }
    }

    fn send(&mut self, receiver: &Arc<AlertSettings>, stage: &mut Stage<AlertsMessage>) {
        let name = receiver.name.as_str();
        let (Some(outbox), Some(sender)) = (self.boxes.get_mut(name), &self.news.alerts.sender)
        else {
            return;
        };
        while let Some(parcel) = outbox.send() {
            let sent = sender.send(receiver, &parcel);
            let to: Arc<str> = Arc::from(name);
            stage.spawn(async move {
                let how = sent.await;
                Some(AlertsMessage::Ended { to, parcel, how })
            });
        }
    }

    fn ended(
        &mut self,
        to: &Arc<str>,
        (parcel, how): (Parcel, Delivery),
        tries: u32,
        stage: &mut Stage<AlertsMessage>,
    ) {
        let Some(outbox) = self.boxes.get_mut(to) else {
            return;
        };
        let id = Arc::clone(&parcel.id);
        match outbox.ended(parcel, how, tries, fastrand::f64()) {
            Next::Done => alert_told("delivered"),
            Next::Rest(parcel, rest) => {
                alert_told("failed");
                let to = Arc::clone(to);
                stage.after(rest, AlertsMessage::Again { to, parcel });
            }
            Next::GivenUp => {
                alert_told(match how {
                    Delivery::Refused => "refused",
                    Delivery::Failed | Delivery::Taken => "given_up",
                });
                warn!(receiver = %to, alert = %id, "an alert was not taken and is not sent again");
            }
        }
    }
}
