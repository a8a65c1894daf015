//! The keeper of keys: follows the store's keys and tenants and puts what is new in force.
//!
//! Four times a second it reads one number, beside the store's own threads, so that a report they are busy with
//! delays no revocation. A restart forgets nothing: what is in force is published, and when it was last confirmed
//! stands in the system.

use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;
use tracing::{info, warn};

use super::journal::JournalDesk;
use super::member::{Crash, Member, Stage};
use super::slot::Seat;
use super::system::System;
use crate::store::StoreError;
use crate::store::embedded::RollWatch;
use crate::store::keys::Roll;

pub enum KeeperMessage {
    /// Time to look whether something changed.
    Due,
    /// Somebody changed something and wants to see it in force.
    Look {
        reply: RpcReplyPort<Result<(), StoreError>>,
    },
    Looked(Box<Looked>),
}

/// How a look ended, and what to look with the next time.
pub struct Looked {
    watch: Option<RollWatch>,
    done: Result<(), StoreError>,
}

pub(crate) struct KeyKeeper {
    pub(super) system: std::sync::Weak<System>,
    pub(super) seat: Arc<Seat>,
    pub(super) watch: Option<RollWatch>,
    /// A look is under way; those who came meanwhile want one that begins after they came.
    pub(super) looking: bool,
    pub(super) answered_by_this: Vec<RpcReplyPort<Result<(), StoreError>>>,
    pub(super) waiting: Vec<RpcReplyPort<Result<(), StoreError>>>,
    pub(super) trouble: Option<StoreError>,
}

/// A change is in force after this long, and what it takes to read it.
const EVERY: Duration = Duration::from_millis(250);

impl Member for KeyKeeper {
    type Message = KeeperMessage;

    fn started(&mut self, stage: &mut Stage<KeeperMessage>) -> Result<(), Crash> {
        stage.after(EVERY, KeeperMessage::Due);
        Ok(())
    }

    fn handle(
        &mut self,
        message: KeeperMessage,
        stage: &mut Stage<KeeperMessage>,
    ) -> Result<(), Crash> {
        match message {
            KeeperMessage::Due => {
                stage.after(EVERY, KeeperMessage::Due);
                self.look(stage);
            }
            KeeperMessage::Look { reply } => {
                self.waiting.push(reply);
                self.look(stage);
            }
            KeeperMessage::Looked(looked) => {
                self.looking = false;
                self.watch = looked.watch;
                for reply in self.answered_by_this.drain(..) {
                    let _ = reply.send(looked.done.clone());
                }
                self.tell(looked.done);
                if !self.waiting.is_empty() {
                    self.look(stage);
                }
            }
        }
        Ok(())
    }
}

impl KeyKeeper {
    fn look(&mut self, stage: &mut Stage<KeeperMessage>) {
        let Some(system) = self.system.upgrade() else {
            return;
        };
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        self.answered_by_this.append(&mut self.waiting);
        let watch = self.watch.take();
        stage.spawn(async move {
            let looked = looked(system, watch).await;
            Some(KeeperMessage::Looked(Box::new(looked)))
        });
    }

    fn tell(&mut self, done: Result<(), StoreError>) {
        match done {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    info!("the store's keys are read again");
                }
                self.seat.set_health("in force");
            }
            Err(why) => {
                if self.trouble.as_ref() != Some(&why) {
                    warn!(%why, "the store's keys cannot be read; those known are good for ten minutes");
                }
                self.trouble = Some(why);
                self.seat.set_health("behind");
            }
        }
    }
}

/// Looks on a thread where waiting for a disk is allowed.
#[expect(
    clippy::manual_async_fn,
    reason = "what waits is handed out, and is seen not to run inside a handler"
)]
pub(super) fn looked(
    system: Arc<System>,
    watch: Option<RollWatch>,
) -> impl Future<Output = Looked> + Send {
    async move {
        let looking = tokio::task::spawn_blocking(move || {
            let mut watch = watch.unwrap_or_else(|| {
                let known = Arc::clone(&system.published().roster.roll);
                RollWatch::new(system.news.store.settings().clone(), known)
            });
            let done = put_in_force(&system, &mut watch);
            Looked {
                watch: Some(watch),
                done,
            }
        });
        looking.await.unwrap_or(Looked {
            watch: None,
            done: Err(StoreError::Ended),
        })
    }
}

impl Looked {
    pub(super) fn done(self) -> Result<(), StoreError> {
        self.done
    }
}

fn put_in_force(system: &System, watch: &mut RollWatch) -> Result<(), StoreError> {
    // Taken before the look: what is confirmed is what was true then.
    let now = system.clock.now();
    let known = watch.look()?;
    if system.adopt(known)? {
        let took = system.clock.now().since(now);
        system.news.metrics.reload_took("keys", took);
    }
    system.keys_confirmed(now);
    Ok(())
}

/// More than so many at once are told by their number.
const MOST_TOLD: usize = 1_000;

/// Writes what changed into the journal, whoever changed it: a command beside the gateway cannot do that itself.
pub(super) fn tell_changes(journal: &JournalDesk, old: &Roll, new: &Roll) {
    let mut told = Vec::new();
    for (id, key) in &new.keys {
        let what = match old.keys.get(id) {
            Some(before) if Arc::ptr_eq(before, key) => continue,
            Some(_) => "key.changed",
            None => "key.issued",
        };
        let tenant = key.tenant.as_deref().unwrap_or("all tenants");
        let detail = format!("{} of {tenant}, by {}", key.name, key.changed_by);
        told.push((what, id, detail));
    }
    for (id, key) in old
        .keys
        .iter()
        .filter(|(id, _)| !new.keys.contains_key(*id))
    {
        told.push(("key.removed", id, key.name.clone()));
    }
    for (name, tenant) in &new.tenants {
        let before = old.tenants.get(name);
        if before.is_none_or(|before| !Arc::ptr_eq(before, tenant)) {
            told.push(("tenant.changed", name, String::new()));
        }
    }
    for name in old
        .tenants
        .keys()
        .filter(|name| !new.tenants.contains_key(*name))
    {
        told.push(("tenant.removed", name, String::new()));
    }
    for (what, subject, detail) in told.iter().take(MOST_TOLD) {
        journal.event(what, subject, detail);
    }
    if let Some(more) = told.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        journal.event("keys.changed", "more", &format!("{more} changes besides"));
    }
}
