//! The children of an actor: started in order, watched, restarted by policy, stopped in reverse order.
//!
//! What a restart forgets: the child's own fields and its mailbox. What it keeps: everything in the
//! tables (windows, breakers, in-flight counts, restarts), because the tables belong to nobody who crashes.
//!
//! Starting and stopping children are the only awaits an actor ever does, and only parents do them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tracing::{debug, error, warn};

use super::clock::Clock;
use super::member::{Mail, Maker, Member, Shell};
use super::slot::{Seat, SeatState, Slot};
pub(crate) use crate::policy::restart::Strategy;
use crate::policy::restart::{self, Exit, RestartLog, RestartPolicy, Verdict};

/// Told of what the family went through; the journal and the metrics listen.
pub trait FamilyNews: Send + Sync {
    fn restarted(&self, seat: &Seat);
    fn disabled(&self, seat: &Seat);
    /// The root gave up: the process must end, so that the init system starts it again.
    fn gave_up(&self, seat: &Seat);
}

type Start =
    Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// How to start one child, again and again.
#[derive(Clone)]
pub struct ChildSpec {
    name: Arc<str>,
    seat: Arc<Seat>,
    start: Start,
    stop_within: Duration,
    policy: RestartPolicy,
    news: Arc<dyn FamilyNews>,
    /// Whether too many crashes of this child end the whole process instead of this subtree.
    vital: bool,
}

impl ChildSpec {
    pub fn new<A: Member>(
        name: impl Into<Arc<str>>,
        slot: Arc<Slot<A::Message>>,
        news: Arc<dyn FamilyNews>,
        clock: Clock,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        let seat = Arc::clone(slot.seat());
        let make: Maker<A> = Arc::new(make);
        let start: Start = Arc::new(move |parent| {
            let shell = Shell::<A> {
                slot: Arc::clone(&slot),
                clock,
            };
            let make = Arc::clone(&make);
            Box::pin(async move {
                let (actor, _task) = Actor::spawn_linked(None, shell, make, parent).await?;
                Ok(actor.get_cell())
            })
        });
        Self {
            name: name.into(),
            seat,
            start,
            stop_within: Duration::from_secs(5),
            policy: RestartPolicy::default(),
            news,
            vital: false,
        }
    }

    pub fn vital(mut self) -> Self {
        self.vital = true;
        self
    }

    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.stop_within = limit;
        self
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

struct Child {
    spec: ChildSpec,
    /// `None` while it is down.
    cell: Option<ActorCell>,
    log: RestartLog,
}

pub(super) struct Children {
    strategy: Strategy,
    clock: Clock,
    list: Vec<Child>,
}

impl Children {
    pub(super) fn new(strategy: Strategy, clock: Clock) -> Self {
        Self {
            strategy,
            clock,
            list: Vec::new(),
        }
    }

    pub(super) async fn start_all<M: Send + 'static>(
        &mut self,
        specs: Vec<ChildSpec>,
        parent: &ActorRef<Mail<M>>,
    ) {
        for spec in specs {
            self.adopt(spec, parent).await;
        }
    }

    /// Starts a new child, or replaces the one of the same name.
    pub(super) async fn adopt<M: Send + 'static>(
        &mut self,
        spec: ChildSpec,
        parent: &ActorRef<Mail<M>>,
    ) {
        self.dismiss(&Arc::clone(&spec.name)).await;
        let log = RestartLog::new(spec.policy);
        self.list.push(Child {
            spec,
            cell: None,
            log,
        });
        let last = self.list.len() - 1;
        self.start(last, parent).await;
    }

    pub(super) async fn dismiss(&mut self, name: &str) {
        let Some(place) = self.list.iter().position(|child| &*child.spec.name == name) else {
            return;
        };
        let child = self.list.remove(place);
        stop(child.cell, &child.spec).await;
    }

    pub(super) async fn stop_all(&mut self) {
        while let Some(child) = self.list.pop() {
            stop(child.cell, &child.spec).await;
        }
    }

    pub(super) async fn revive<M: Send + 'static>(
        &mut self,
        name: &str,
        parent: &ActorRef<Mail<M>>,
    ) {
        if let Some(place) = self.list.iter().position(|child| &*child.spec.name == name) {
            self.start_from(place, parent).await;
        }
    }

    pub(super) async fn take_event<M: Send + 'static>(
        &mut self,
        event: SupervisionEvent,
        parent: &ActorRef<Mail<M>>,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, why) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            // We stop children only after taking them off the list, so an end of a listed child,
            // a kill included, is abnormal whatever it calls itself.
            SupervisionEvent::ActorTerminated(cell, _, reason) => (
                cell,
                reason.unwrap_or_else(|| "stopped by nobody's order".to_owned()),
            ),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let id = cell.get_id();
        let died = self
            .list
            .iter()
            .position(|child| child.cell.as_ref().is_some_and(|cell| cell.get_id() == id));
        if let Some(place) = died {
            self.list[place].cell = None;
            self.judge(place, &why, parent).await;
        }
        Ok(())
    }

    /// A child ended or did not start: what now?
    async fn judge<M: Send + 'static>(
        &mut self,
        place: usize,
        why: &str,
        parent: &ActorRef<Mail<M>>,
    ) {
        let now = self.clock.now();
        let child = &mut self.list[place];
        let seat = &child.spec.seat;
        let verdict = child.log.exited(now, Exit::Abnormal);
        match verdict {
            Verdict::Restart { after } => {
                warn!(actor = seat.path(), why, "actor ended, restarting");
                seat.leave(SeatState::Restarting);
                if after.is_zero() {
                    Box::pin(self.start_from(place, parent)).await;
                } else {
                    revive_later(parent, &child.spec.name, after);
                }
            }
            Verdict::Disable { .. } if child.spec.vital => {
                error!(
                    actor = seat.path(),
                    why, "a vital actor keeps ending, giving up"
                );
                seat.leave(SeatState::Disabled);
                child.spec.news.gave_up(seat);
            }
            Verdict::Disable { retry_after } => {
                error!(
                    actor = seat.path(),
                    why, "too many crashes, subtree disabled for a while"
                );
                seat.leave(SeatState::Disabled);
                child.spec.news.disabled(seat);
                revive_later(parent, &child.spec.name, retry_after);
            }
            Verdict::Leave => seat.leave(SeatState::Stopped),
        }
    }

    /// Restarts the child at `place`, and by strategy those started after it.
    async fn start_from<M: Send + 'static>(&mut self, place: usize, parent: &ActorRef<Mail<M>>) {
        if self.list[place].cell.is_some() {
            return;
        }
        let affected = restart::affected(self.strategy, self.list.len(), place);
        for later in affected.clone().rev() {
            if later != place {
                let child = &mut self.list[later];
                let cell = child.cell.take();
                stop(cell, &child.spec).await;
            }
        }
        for again in affected {
            let spec = &self.list[again].spec;
            spec.seat.count_restart();
            spec.news.restarted(&spec.seat);
            self.start(again, parent).await;
        }
    }

    async fn start<M: Send + 'static>(&mut self, place: usize, parent: &ActorRef<Mail<M>>) {
        let child = &mut self.list[place];
        match (child.spec.start)(parent.get_cell()).await {
            Ok(cell) => {
                debug!(actor = child.spec.seat.path(), "actor started");
                child.cell = Some(cell);
            }
            Err(error) => {
                let why = error.to_string();
                Box::pin(self.judge(place, &why, parent)).await;
            }
        }
    }
}

fn revive_later<M: Send + 'static>(parent: &ActorRef<Mail<M>>, name: &Arc<str>, after: Duration) {
    let name = Arc::clone(name);
    // Not in a JoinSet: the parent's mailbox is all it touches, and that goes away with the parent.
    drop(parent.send_after(after, move || Mail::Revive(name)));
}

/// Asks an actor to stop, and kills it at its deadline.
async fn stop(cell: Option<ActorCell>, spec: &ChildSpec) {
    if let Some(cell) = cell {
        let in_time = cell
            .stop_and_wait(Some("ordered".to_owned()), Some(spec.stop_within))
            .await;
        if in_time.is_err() {
            warn!(actor = spec.seat.path(), "did not stop in time, killing it");
            cell.kill();
        }
    }
    spec.seat.leave(SeatState::Stopped);
}
