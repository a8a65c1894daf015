//! Upkeep of the metrics, and the watchdog over every other actor.
//!
//! A restart forgets what it saw a second ago, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::member::{Crash, Member, Stage};
use super::news::News;
use super::slot::{Pulse, SeatState};
use super::tables::Tables;
use crate::domain::Moment;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::StoreFigures;
use crate::telemetry::process::resident_bytes;

pub enum TelemetryMessage {
    /// Drain histograms, publish gauges.
    Upkeep,
    /// Look for actors that hang.
    Watch,
    /// Look how much memory is in use.
    Weigh,
}

const UPKEEP_EVERY: Duration = Duration::from_secs(5);
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Memory fills quickly when clients come all at once (fault O08).
const WEIGH_EVERY: Duration = Duration::from_millis(500);
/// A handler that has not returned for this long is not coming back (fault X05).
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// A watch that comes this late means the whole process stood still (fault X16).
const STALLED_AFTER: Duration = Duration::from_secs(3);

pub(crate) struct TelemetryActor {
    pub(super) tables: Arc<Tables>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) news: Arc<News>,
    pub(super) pulses: HashMap<Arc<str>, (Pulse, Moment)>,
    pub(super) watched_at: Option<Moment>,
    /// The journal let requests in when it was last looked at.
    pub(super) admitted: bool,
}

impl Member for TelemetryActor {
    type Message = TelemetryMessage;

    fn started(&mut self, stage: &mut Stage<TelemetryMessage>) -> Result<(), Crash> {
        stage.after(UPKEEP_EVERY, TelemetryMessage::Upkeep);
        stage.after(WATCH_EVERY, TelemetryMessage::Watch);
        stage.after(WEIGH_EVERY, TelemetryMessage::Weigh);
        Ok(())
    }

    fn handle(
        &mut self,
        message: TelemetryMessage,
        stage: &mut Stage<TelemetryMessage>,
    ) -> Result<(), Crash> {
        let now = stage.clock.now();
        match message {
            TelemetryMessage::Upkeep => {
                self.telemetry.upkeep();
                stage.after(UPKEEP_EVERY, TelemetryMessage::Upkeep);
            }
            TelemetryMessage::Watch => {
                self.notice_stall(now);
                self.watch(now);
                self.publish_gauges(now);
                self.notice_journal();
                stage.after(WATCH_EVERY, TelemetryMessage::Watch);
            }
            TelemetryMessage::Weigh => {
                // Without a limit there is nothing to hold it against.
                let limited = self.news.pressure.limit() > 0;
                let used = if limited { resident_bytes() } else { Some(0) };
                if let Some(used) = used {
                    self.news.weighed(used);
                }
                stage.after(WEIGH_EVERY, TelemetryMessage::Weigh);
            }
        }
        Ok(())
    }
}

// --- decisions ---
impl TelemetryActor {
    fn notice_stall(&mut self, now: Moment) {
        let before = self.watched_at.replace(now);
        if before.is_some_and(|before| now.since(before) > WATCH_EVERY + STALLED_AFTER) {
            self.news.metrics.stall_detected();
        }
    }

    fn notice_journal(&mut self) {
        let admits = self.news.journal.admits();
        if std::mem::replace(&mut self.admitted, admits) && !admits {
            self.news.journal_refuses();
        }
    }

    fn watch(&mut self, now: Moment) {
        let mut seen = HashMap::new();
        for seat in self.tables.seats() {
            let Some(pulse) = seat.pulse() else { continue };
            let path: Arc<str> = Arc::from(seat.path());
            let since = match self.pulses.get(&path) {
                Some((before, since)) if *before == pulse => *since,
                _ => now,
            };
            if now.since(since) >= STUCK_AFTER {
                error!(
                    actor = seat.path(),
                    "handler does not return, killing the actor"
                );
                self.news.metrics.actor_stuck(seat.kind().label());
                seat.kill();
            } else {
                seen.insert(path, (pulse, since));
            }
        }
        self.pulses = seen;
    }

    fn publish_gauges(&self, now: Moment) {
        let mut longest: HashMap<&'static str, u32> = HashMap::new();
        for seat in self.tables.seats() {
            if seat.state() == SeatState::Running {
                let waiting = seat.mailbox().unwrap_or_default();
                let most = longest.entry(seat.kind().label()).or_default();
                *most = (*most).max(waiting);
            }
        }
        for (kind, waiting) in longest {
            self.news.metrics.mailbox_len(kind, waiting);
        }
        self.tables.publish_window_gauges(now);
        self.news.journal.publish_gauges(&self.news.metrics);
        if let Some(store) = self.news.store.current() {
            let health = store.health();
            let (expired, evicted) = health.let_go();
            self.news.metrics.store(&StoreFigures {
                writable: health.writable(),
                bytes: health.bytes(),
                expired,
                evicted,
            });
        }
    }
}
