//! The journal's keeper: opens it, watches its thread, opens it again.
//!
//! The thread that writes and its handle live in the desk, so a crash of this actor interrupts nothing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tracing::{error, info, warn};

use super::clock::at_most;
use super::member::{Crash, Member, Stage};
use super::slot::{Seat, Slot};
use crate::config::{JournalMode, JournalOnFailure, JournalSettings};
use crate::domain::{Border, RequestId};
use crate::store::journal::{
    JournalError, JournalHandle, JournalOptions, Keep, Opened, Record, Stretch, TextKeys, Who,
    Written, open,
};
use crate::telemetry::metrics::GatewayMetrics;

/// Where requests and actors hand in their records.
#[derive(Clone, Debug)]
pub struct JournalDesk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: JournalSettings,
    handle: ArcSwapOption<JournalHandle>,
}

impl JournalDesk {
    pub fn new(settings: JournalSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                handle: ArcSwapOption::empty(),
            }),
        }
    }

    /// Whether new requests may be admitted: the journal is written, or need not be (ground rule G8).
    pub fn admits(&self) -> bool {
        if !self.must_be_written() {
            return true;
        }
        let handle = self.inner.handle.load();
        handle.as_ref().is_some_and(|handle| {
            let health = handle.health();
            health.writable() && health.lag() <= self.inner.settings.shed_after
        })
    }

    fn must_be_written(&self) -> bool {
        self.inner.settings.mode != JournalMode::Off
            && self.inner.settings.on_failure == JournalOnFailure::Refuse
    }

    /// Hands in what has to stand before a request is sent, and tells whether it was taken: an outcome may follow
    /// only where an intent stands or may yet stand. The future resolves when it is safe to send the request; to `false`
    /// where it may be sent without: it was taken, and does not stand and never will.
    pub fn before_sending(
        &self,
        record: &Record<'_>,
    ) -> (
        bool,
        impl Future<Output = Result<bool, JournalError>> + Send + use<>,
    ) {
        let strict = self.must_be_written();
        let handle = self.inner.handle.load();
        let written = handle.as_ref().map(|handle| handle.append_and_wait(record));
        let taken = written.as_ref().is_some_and(Written::was_taken);
        let patience = self.inner.settings.shed_after;
        let safe = async move {
            let Some(written) = written else {
                return if strict {
                    Err(JournalError::Unwritable)
                } else {
                    Ok(false)
                };
            };
            // Before it is waited for with a timer, which would cost more than this spares.
            written.give_way().await;
            match at_most(patience, written).await {
                Some(Ok(())) => Ok(true),
                // A disk this slow is as good as none: better an honest 503 than a queue of requests.
                Some(Err(_)) | None if strict => Err(JournalError::Unwritable),
                Some(Err(_)) => Ok(false),
                None => Ok(true),
            }
        };
        (taken, safe)
    }

    /// Hands in a record nobody waits for. Returns the border it stands behind; `None` where it may come to stand
    /// elsewhere, or nowhere.
    pub fn append(&self, record: &Record<'_>) -> Result<Option<Border>, JournalError> {
        match self.inner.handle.load().as_ref() {
            Some(handle) => {
                let border = handle.append(record)?;
                Ok(handle.health().writable().then_some(border))
            }
            None => Ok(None),
        }
    }

    /// A hash for a tenant to recognise its prompts by; `None` when none is wanted.
    pub fn prompt_hash(&self, tenant: &str, prompt: &[u8]) -> Option<[u8; 16]> {
        let handle = self.inner.handle.load();
        let handle = handle
            .as_ref()
            .filter(|_| self.inner.settings.prompt_hash)?;
        Some(handle.prompt_hash(tenant, prompt))
    }

    /// How much is kept of each text of this client; `None` when none is.
    pub fn text_limit(&self, tenant: &str, client: (&str, Option<&str>)) -> Option<usize> {
        let settings = &self.inner.settings;
        settings
            .keeps_text_of(tenant, client)
            .then_some(settings.text_bytes)
    }

    /// Keeps a text, sealed. `whole` is how long it was before it was cut.
    pub fn keep_text(&self, request: RequestId, who: &Who<'_>, part: &str, text: (&[u8], u64)) {
        if let Some(handle) = self.inner.handle.load().as_ref()
            && !handle.keep_text(request, who, part, text)
        {
            warn!(%request, part, "a text was not kept: the disk is behind, or its owner's key is wrapped by another master key");
        }
    }

    pub fn event(&self, name: &str, subject: &str, detail: &str) {
        // Lost only while the disk fails, and then it is counted there.
        let _ = self.append(&Record::Event {
            name,
            subject,
            detail,
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn publish_gauges(&self, metrics: &GatewayMetrics) {
        let handle = self.inner.handle.load();
        let Some(handle) = handle.as_ref() else {
            return;
        };
        let health = handle.health();
        metrics
            .audit_writable
            .set(if health.writable() { 1.0 } else { 0.0 });
        metrics.audit_lag.set(health.lag().as_secs_f64());
        metrics.audit_records.set(health.records() as f64);
        metrics.audit_users.set(health.owners() as f64);
    }

    /// Draws a border behind all that was handed in so far; see [`JournalHandle::draw_border`].
    pub(super) fn draw_border(&self) -> impl Future<Output = Option<(Border, u64)>> + use<> {
        let handle = self.inner.handle.load_full();
        async move { handle?.draw_border().await }
    }

    /// What was written since this was asked last; see [`JournalHandle::stretch`]. `None` until it is open.
    pub(super) fn stretch(&self) -> Option<Stretch> {
        self.inner.handle.load().as_ref()?.stretch()
    }

    /// All up to this record is booked, and need not be kept for it.
    pub(super) fn booked_to(&self, seq: u64) {
        if let Some(handle) = self.inner.handle.load().as_ref() {
            handle.health().booked_to(seq);
        }
    }

    /// Whether it has been opened, and what was under way at the last end has its outcome, but for requests that a
    /// search beside the work may still find; see [`Self::is_searching`].
    pub fn is_open(&self) -> bool {
        self.inner.handle.load().is_some()
    }

    /// Whether not all of what was under way at the last end has its outcome yet.
    pub(super) fn is_searching(&self) -> bool {
        let handle = self.inner.handle.load();
        let health = handle.as_ref().map(|handle| handle.health());
        health.is_some_and(|health| health.is_searching())
    }

    /// A word on the journal for `/ready`.
    pub fn state(&self) -> &'static str {
        match (
            self.inner.settings.mode,
            self.admits(),
            self.inner.settings.on_failure,
        ) {
            (JournalMode::Off, ..) => "off",
            (_, true, JournalOnFailure::Refuse) => "written",
            (_, false, _) => "unwritable",
            (_, true, JournalOnFailure::BestEffort) => "best effort",
        }
    }

    /// Ends the writing thread after what was handed in is written.
    pub fn close(&self) {
        self.inner.handle.store(None);
    }
}

pub enum JournalMessage {
    Open,
    Opened(Result<(JournalHandle, Opened), JournalError>),
    /// The writing thread ended by itself.
    WriterEnded,
}

pub(crate) struct JournalActor {
    desk: JournalDesk,
    slot: Arc<Slot<JournalMessage>>,
    seat: Arc<Seat>,
}

const RETRY: Duration = Duration::from_millis(500);

fn options(settings: &JournalSettings) -> JournalOptions {
    JournalOptions {
        folder: settings.path.clone(),
        mode: settings.mode,
        segment_bytes: settings.segment_bytes,
        keep: Keep {
            age: settings.keep_age,
            bytes: settings.keep_bytes,
            until_booked: true,
        },
        text_keys: TextKeys {
            now: settings.text_key.clone(),
            before: settings.text_key_before.clone(),
        },
        most_owners: settings.max_users,
        look_back: JournalOptions::LOOK_BACK,
    }
}

impl JournalActor {
    pub(super) fn new(desk: JournalDesk, slot: Arc<Slot<JournalMessage>>, seat: Arc<Seat>) -> Self {
        Self { desk, slot, seat }
    }

    fn open(&self, stage: &mut Stage<JournalMessage>) {
        let options = options(&self.desk.inner.settings);
        let slot = Arc::downgrade(&self.slot);
        let on_exit = move || {
            if let Some(slot) = slot.upgrade() {
                let _ = slot.cast(JournalMessage::WriterEnded);
            }
        };
        stage.spawn(async move {
            let opened = tokio::task::spawn_blocking(move || open(options, on_exit)).await;
            Some(JournalMessage::Opened(
                opened.unwrap_or(Err(JournalError::Unwritable)),
            ))
        });
    }
}

impl Member for JournalActor {
    type Message = JournalMessage;

    fn started(&mut self, stage: &mut Stage<JournalMessage>) -> Result<(), Crash> {
        if self.desk.inner.settings.mode == JournalMode::Off {
            self.seat.set_health("off");
        } else if self.desk.inner.handle.load().is_some() {
            self.seat.set_health("written");
        } else {
            self.open(stage);
        }
        Ok(())
    }

    fn handle(
        &mut self,
        message: JournalMessage,
        stage: &mut Stage<JournalMessage>,
    ) -> Result<(), Crash> {
        match message {
            JournalMessage::Open => self.open(stage),
            JournalMessage::Opened(Ok((handle, opened))) => {
                if opened.repaired || opened.interrupted > 0 {
                    info!(
                        repaired = opened.repaired,
                        interrupted = opened.interrupted,
                        "journal taken up after a crash"
                    );
                }
                if let Some(alarm) = opened.alarm {
                    error!(
                        at = alarm,
                        "the journal's chain is broken; run switchyard audit verify"
                    );
                }
                self.desk.inner.handle.store(Some(Arc::new(handle)));
                self.seat.set_health("written");
            }
            JournalMessage::Opened(Err(error)) => {
                warn!(%error, "the journal cannot be opened, trying again");
                self.seat.set_health("unwritable");
                stage.after(RETRY, JournalMessage::Open);
            }
            JournalMessage::WriterEnded => {
                // A thread that we closed ourselves has left the desk empty.
                if self.desk.inner.handle.swap(None).is_some() {
                    error!("the journal's thread ended, opening again");
                    self.seat.set_health("unwritable");
                    self.open(stage);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn x11_what_was_taken_and_lost_is_told_where_requests_go_on_without_a_journal() {
        let unwritable = Err(JournalError::Unwritable);
        for (on_failure, told) in [
            (JournalOnFailure::BestEffort, Ok(false)),
            (JournalOnFailure::Refuse, unwritable),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let desk = JournalDesk::new(JournalSettings {
                path: folder.path().to_owned(),
                on_failure,
                ..JournalSettings::default()
            });
            let (handle, _) = open(options(&desk.inner.settings), || {}).unwrap();
            let handle = Arc::new(handle);
            desk.inner.handle.store(Some(Arc::clone(&handle)));
            let before_sending = |more_nano| {
                desk.before_sending(&Record::Reserve {
                    request: RequestId::from_draw(1),
                    more_nano,
                    more_bill_nano: more_nano,
                })
            };
            let (taken, safe) = before_sending(1);
            assert_eq!((taken, safe.await), (true, Ok(true)));
            handle.fail_next_writes(true);
            let (taken, safe) = before_sending(2);
            assert_eq!((taken, safe.await), (true, told));
        }
    }
}
