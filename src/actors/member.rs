//! What every actor is made of: plain state behind one synchronous `handle`, in a shell that ractor runs.
//!
//! # Why
//! "No await inside `handle`" is a rule of this architecture. A handler that is not `async` cannot break
//! it, so the rule is kept by the compiler. The shell adds what each actor needs and none should write
//! again: the slot, the mailbox count, timers that end with the actor, injected faults, and children.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinSet;

use super::clock::Clock;
use super::slot::{Occupant, Slot};
use super::supervisor::{ChildSpec, Children, Strategy};

/// The end of an actor that nobody foresaw, as an error instead of a panic.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Crash(pub String);

/// A fault put into an actor from outside, to prove what its crash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    Panic,
    /// The handler never returns.
    Hang,
}

/// What lies in a mailbox.
pub(crate) enum Mail<M> {
    Do(M),
    /// From the actor's own timers and tasks: not counted as a waiting message.
    Own(M),
    /// A child's restart is due.
    Revive(Arc<str>),
    /// Start and stop children, as settings changed.
    Family(FamilyChange),
    Fault(InjectedFault),
}

/// What a parent is told about its children when the configuration changes.
pub(crate) enum FamilyChange {
    /// Started when new; an existing one is replaced when `replace` says so.
    Adopt(ChildSpec),
    Dismiss(Arc<str>),
}

/// An actor as its author writes it.
pub trait Member: Sized + Send + 'static {
    type Message: Send + 'static;

    /// How this actor's children are restarted; most have none.
    const STRATEGY: Strategy = Strategy::OneForOne;

    /// The children it starts with, in order.
    fn children(&self) -> Vec<ChildSpec> {
        Vec::new()
    }

    /// Runs once before the first message: set timers here.
    fn started(&mut self, _stage: &mut Stage<Self::Message>) -> Result<(), Crash> {
        Ok(())
    }

    /// Takes one message and answers at once.
    fn handle(
        &mut self,
        message: Self::Message,
        stage: &mut Stage<Self::Message>,
    ) -> Result<(), Crash>;
}

/// What an actor may do besides changing its state.
pub struct Stage<M: Send + 'static> {
    myself: ActorRef<Mail<M>>,
    tasks: JoinSet<()>,
    pub clock: Clock,
}

impl<M: Send + 'static> Stage<M> {
    /// Sends a message to this actor after a while; forgotten if the actor ends first.
    pub fn after(&mut self, wait: Duration, message: M) {
        self.reap();
        let myself = self.myself.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = myself.send_message(Mail::Own(message));
        });
    }

    /// Runs a task that ends with the actor; what it returns is sent to the actor.
    pub fn spawn(&mut self, work: impl Future<Output = Option<M>> + Send + 'static) {
        self.reap();
        let myself = self.myself.clone();
        self.tasks.spawn(async move {
            if let Some(message) = work.await {
                let _ = myself.send_message(Mail::Own(message));
            }
        });
    }

    fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }
}

/// The ractor actor around a [`Member`].
pub(super) struct Shell<A: Member> {
    pub(super) slot: Arc<Slot<A::Message>>,
    pub(super) clock: Clock,
}

pub(super) struct ShellState<A: Member> {
    member: A,
    stage: Stage<A::Message>,
    occupant: Arc<Occupant>,
    children: Children,
}

/// Makes a member afresh at each start; runs inside the new actor, so a panic in it is a failed start.
pub(super) type Maker<A> = Arc<dyn Fn() -> A + Send + Sync>;

impl<A: Member> Actor for Shell<A> {
    type Msg = Mail<A::Message>;
    type State = ShellState<A>;
    type Arguments = Maker<A>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        make: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut member = make();
        let mut stage = Stage {
            myself: myself.clone(),
            tasks: JoinSet::new(),
            clock: self.clock,
        };
        member.started(&mut stage)?;
        let mut children = Children::new(A::STRATEGY, self.clock);
        children.start_all(member.children(), &myself).await;
        let occupant = self.slot.occupy(myself);
        Ok(ShellState {
            member,
            stage,
            occupant,
            children,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        mail: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match mail {
            Mail::Do(message) => {
                state.occupant.message_taken();
                state.occupant.begin();
                let done = state.member.handle(message, &mut state.stage);
                state.occupant.end();
                done?;
            }
            Mail::Own(message) => {
                state.occupant.begin();
                let done = state.member.handle(message, &mut state.stage);
                state.occupant.end();
                done?;
            }
            Mail::Revive(name) => state.children.revive(&name, &myself).await,
            Mail::Family(FamilyChange::Adopt(spec)) => state.children.adopt(spec, &myself).await,
            Mail::Family(FamilyChange::Dismiss(name)) => state.children.dismiss(&name).await,
            Mail::Fault(fault) => {
                state.occupant.message_taken();
                state.occupant.begin();
                suffer(fault).await;
            }
        }
        Ok(())
    }

    /// ractor's own answer to a child's end is to stop the parent; ours is the restart policy.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.children.take_event(event, &myself).await
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.children.stop_all().await;
        Ok(())
    }
}

#[expect(clippy::panic, reason = "an injected panic has to be one")]
async fn suffer(fault: InjectedFault) {
    match fault {
        InjectedFault::Panic => panic!("injected fault"),
        InjectedFault::Hang => std::future::pending().await,
    }
}
