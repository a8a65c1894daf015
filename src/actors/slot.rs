//! References that survive a restart, and what can be seen of an actor from outside.
//!
//! # Why
//! A restarted actor is a new actor with a new mailbox. Whoever keeps its reference would talk to the
//! dead one for ever; whoever looks it up by a global name pays for it on every message. A [`Slot`] is
//! kept instead: the actor moves in when it starts, and the next message finds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ractor::{ActorCell, ActorRef, RpcReplyPort};
use tokio::time::{Instant, sleep};

use super::clock::until;
use super::member::{FamilyChange, Mail};

/// Where an actor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SeatState {
    Starting = 0,
    Running = 1,
    /// Ended abnormally; its supervisor will start it again.
    Restarting = 2,
    /// Too many crashes; its supervisor tries again after a pause.
    Disabled = 3,
    Stopped = 4,
}

impl SeatState {
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Disabled => "disabled",
            Self::Stopped => "stopped",
        }
    }

    fn from_u8(raw: u8) -> Self {
        match raw {
            1 => Self::Running,
            2 => Self::Restarting,
            3 => Self::Disabled,
            4 => Self::Stopped,
            _ => Self::Starting,
        }
    }
}

/// What sort of actor sits in a seat: a metric label, so there are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorKind {
    Root,
    Settings,
    Telemetry,
    Journal,
    Books,
    Keys,
    Issuers,
    Alerts,
    Tenants,
    Tenant,
    Providers,
    Provider,
    Key,
    Pools,
    Pool,
    Race,
    Router,
    Edge,
}

impl ActorKind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Settings => "settings",
            Self::Telemetry => "telemetry",
            Self::Journal => "journal",
            Self::Books => "books",
            Self::Keys => "keys",
            Self::Issuers => "issuers",
            Self::Alerts => "alerts",
            Self::Tenants => "tenants",
            Self::Tenant => "tenant",
            Self::Providers => "providers",
            Self::Provider => "provider",
            Self::Key => "key",
            Self::Pools => "pools",
            Self::Pool => "pool",
            Self::Race => "race",
            Self::Router => "router",
            Self::Edge => "edge",
        }
    }
}

/// The outside of an actor: state, restarts, mailbox. Kept in the tables, so a crash forgets nothing.
#[derive(Debug)]
pub struct Seat {
    kind: ActorKind,
    /// The path in the tree, such as `root/providers/openai/main`.
    path: Arc<str>,
    state: AtomicU8,
    restarts: AtomicU32,
    /// How many messages may wait before the next is refused (ground rule G14).
    mailbox_limit: u32,
    occupant: ArcSwapOption<Occupant>,
    /// A short word about what the actor guards, such as a breaker's state.
    health: ArcSwap<String>,
}

/// One life of an actor. The counters belong to the life: messages that die with a mailbox must not be
/// counted against the next one.
#[derive(Debug)]
pub(super) struct Occupant {
    cell: ActorCell,
    waiting: AtomicU32,
    handled: AtomicU64,
    handling: AtomicBool,
}

impl Occupant {
    pub(super) fn message_taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn begin(&self) {
        self.handling.store(true, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.handling.store(false, Ordering::Relaxed);
    }
}

/// What a watchdog remembers of a seat between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    actor: u64,
    handled: u64,
}

impl Seat {
    pub fn new(kind: ActorKind, path: impl Into<Arc<str>>, mailbox_limit: u32) -> Arc<Self> {
        Arc::new(Self {
            kind,
            path: path.into(),
            state: AtomicU8::new(SeatState::Starting as u8),
            restarts: AtomicU32::new(0),
            mailbox_limit,
            occupant: ArcSwapOption::empty(),
            health: ArcSwap::from_pointee(String::new()),
        })
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn kind(&self) -> ActorKind {
        self.kind
    }

    pub fn state(&self) -> SeatState {
        SeatState::from_u8(self.state.load(Ordering::Relaxed))
    }

    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Messages waiting in the mailbox; `None` while nobody sits here.
    pub fn mailbox(&self) -> Option<u32> {
        self.occupant
            .load()
            .as_ref()
            .map(|o| o.waiting.load(Ordering::Relaxed))
    }

    pub fn health(&self) -> Arc<String> {
        self.health.load_full()
    }

    pub fn set_health(&self, word: &str) {
        if **self.health.load() != word {
            self.health.store(Arc::new(word.to_owned()));
        }
    }

    /// What the occupant is busy with; `None` when it is idle or nobody is there.
    pub fn pulse(&self) -> Option<Pulse> {
        let occupant = self.occupant.load();
        let occupant = occupant.as_ref()?;
        occupant.handling.load(Ordering::Relaxed).then(|| Pulse {
            actor: occupant.cell.get_id().pid(),
            handled: occupant.handled.load(Ordering::Relaxed),
        })
    }

    /// Ends the occupant at its next await, as a crash would; the supervisor starts another.
    pub fn kill(&self) -> bool {
        let occupant = self.occupant.load();
        let Some(occupant) = occupant.as_ref() else {
            return false;
        };
        occupant.cell.kill();
        true
    }

    pub(super) fn set_state(&self, state: SeatState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sit(&self, cell: ActorCell) -> Arc<Occupant> {
        let occupant = Arc::new(Occupant {
            cell,
            waiting: AtomicU32::new(0),
            handled: AtomicU64::new(0),
            handling: AtomicBool::new(false),
        });
        self.occupant.store(Some(Arc::clone(&occupant)));
        self.set_state(SeatState::Running);
        occupant
    }

    pub(super) fn leave(&self, state: SeatState) {
        self.occupant.store(None);
        self.set_state(state);
    }
}

/// Why a message did not arrive. The message itself is gone; a question is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("the mailbox is full")]
    Full,
    #[error("the actor is not running")]
    Away,
    #[error("no answer before the deadline")]
    Late,
}

/// A reference to an actor that stays good when the actor is restarted.
pub struct Slot<M: Send + 'static> {
    seat: Arc<Seat>,
    line: ArcSwapOption<Line<M>>,
}

struct Line<M: Send + 'static> {
    actor: ActorRef<Mail<M>>,
    occupant: Arc<Occupant>,
}

impl<M: Send + 'static> std::fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({})", self.seat.path())
    }
}

/// How long a question waits for an actor that is being restarted (fault X04).
const RESTART_PATIENCE: Duration = Duration::from_millis(50);

impl<M: Send + 'static> Slot<M> {
    pub fn new(seat: Arc<Seat>) -> Arc<Self> {
        Arc::new(Self {
            seat,
            line: ArcSwapOption::empty(),
        })
    }

    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    pub(super) fn occupy(&self, actor: ActorRef<Mail<M>>) -> Arc<Occupant> {
        let occupant = self.seat.sit(actor.get_cell());
        self.line.store(Some(Arc::new(Line {
            actor,
            occupant: Arc::clone(&occupant),
        })));
        occupant
    }

    /// Sends a message that needs no answer. A full mailbox refuses it (fault X06).
    pub fn cast(&self, message: M) -> Result<(), AskError> {
        self.post(Mail::Do(message))
    }

    /// Makes the actor panic or hang at this message; only fault injection calls it.
    pub fn inject(&self, fault: super::InjectedFault) -> Result<(), AskError> {
        self.post(Mail::Fault(fault))
    }

    /// Tells a parent that its children changed.
    pub(super) fn family(&self, change: FamilyChange) -> Result<(), AskError> {
        let line = self.line.load();
        let Some(line) = line.as_ref() else {
            return Err(AskError::Away);
        };
        line.actor
            .send_message(Mail::Family(change))
            .map_err(|_| AskError::Away)
    }

    fn post(&self, mail: Mail<M>) -> Result<(), AskError> {
        let line = self.line.load();
        let Some(line) = line.as_ref() else {
            return Err(AskError::Away);
        };
        let waiting = line.occupant.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= self.seat.mailbox_limit {
            line.occupant.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(AskError::Full);
        }
        line.actor.send_message(mail).map_err(|_| {
            line.occupant.waiting.fetch_sub(1, Ordering::Relaxed);
            AskError::Away
        })
    }

    /// Asks, and waits for the answer until `deadline`. If the actor dies with the question, its
    /// successor is asked; `question` is therefore called once per try.
    pub async fn ask<T: Send + 'static>(
        &self,
        deadline: Instant,
        mut question: impl FnMut(RpcReplyPort<T>) -> M,
    ) -> Result<T, AskError> {
        let mut patience_ends: Option<Instant> = None;
        loop {
            let (sender, answer) = ractor::concurrency::oneshot();
            match self.cast(question(sender.into())) {
                Ok(()) => match until(deadline, answer).await {
                    Some(Ok(answer)) => return Ok(answer),
                    // It was there: for its next successor there is patience again.
                    Some(Err(_dropped_with_the_actor)) => patience_ends = None,
                    None => return Err(AskError::Late),
                },
                Err(AskError::Full) => return Err(AskError::Full),
                Err(AskError::Away | AskError::Late) => {}
            }
            let now = Instant::now();
            let ends = *patience_ends.get_or_insert(now + RESTART_PATIENCE);
            if now >= ends.min(deadline) {
                return Err(AskError::Away);
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}
