//! A model as clients name it: its targets, their scores, and who waits for one.
//!
//! A restart forgets who waited (their tasks ask again) and nothing else: the numbers live in cells.

mod state;

use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;
use state::{Answer, PoolState, Turn};
pub use state::{ExplainedTarget, Explanation};
pub(crate) use state::{Group, PoolLine};

use super::lease::Lease;
use super::member::{Crash, Member, Stage};
use super::wish::{Refusal, RefusalKind, Wish};
use crate::domain::Moment;

pub enum PoolMessage {
    /// Where may this request go now?
    Place {
        wish: Arc<Wish>,
        reply: RpcReplyPort<Result<Lease, Refusal>>,
    },
    /// A lease ended while someone was waiting.
    Freed,
    /// Time passed: windows may have room, waiting requests may be late.
    Tick,
    /// Which targets would be candidates, and why not the others?
    Explain {
        wish: Arc<Wish>,
        reply: RpcReplyPort<Explanation>,
    },
}

/// Someone who would rather wait.
pub(super) struct Waiting {
    wish: Arc<Wish>,
    reply: RpcReplyPort<Result<Lease, Refusal>>,
}

pub(crate) struct Pool {
    state: PoolState,
    /// When the next tick comes; `None` while none is under way.
    tick_due: Option<Moment>,
}

impl Pool {
    pub(crate) fn new(line: Arc<PoolLine>, clock: super::Clock, random: fastrand::Rng) -> Self {
        Self {
            state: PoolState::new(line, clock, random),
            tick_due: None,
        }
    }
}

/// How often a pool with a line looks at the clock at the latest.
const TICK: Duration = Duration::from_millis(20);
/// How often an idle pool looks whether it is still in panic.
const IDLE_TICK: Duration = Duration::from_secs(1);

impl Member for Pool {
    type Message = PoolMessage;

    fn started(&mut self, stage: &mut Stage<PoolMessage>) -> Result<(), Crash> {
        self.state.open();
        self.tick(stage);
        Ok(())
    }

    fn handle(
        &mut self,
        message: PoolMessage,
        stage: &mut Stage<PoolMessage>,
    ) -> Result<(), Crash> {
        let now = stage.clock.now();
        match message {
            PoolMessage::Place { wish, reply } => {
                // Room belongs to those who wait for it, not to whoever happens to come when it is there: else a
                // tenant that asks often enough would never have to wait (fault O05).
                self.serve(now);
                match self.state.place(&wish, now) {
                    // A caller that left drops the answer, and an unsent lease refunds itself when dropped.
                    Answer::Lease(lease) => drop(reply.send(Ok(lease))),
                    Answer::Refuse(refusal) => drop(reply.send(Err(refusal))),
                    Answer::Wait(fallback) => {
                        if let Some((late, why)) =
                            self.state.queue(Waiting { wish, reply }, fallback.why, now)
                        {
                            refuse(late, why, fallback.retry_after);
                        }
                        self.tick(stage);
                    }
                }
            }
            PoolMessage::Freed => self.serve(now),
            PoolMessage::Tick => {
                self.tick_due = self.tick_due.filter(|due| *due > now);
                self.state.look_around(now);
                self.refuse_late(now);
                self.serve(now);
                self.tick(stage);
            }
            PoolMessage::Explain { wish, reply } => {
                drop(reply.send(self.state.explain(&wish, now)))
            }
        }
        Ok(())
    }
}

impl Pool {
    /// Serves those who wait, as far as there is room.
    fn serve(&mut self, now: Moment) {
        while let Some(turn) = self.state.next_in_line(now) {
            match turn {
                Turn::Served(waiting, lease) => drop(waiting.reply.send(Ok(lease))),
                Turn::Gone => self.refuse_late(now),
            }
        }
    }

    fn refuse_late(&mut self, now: Moment) {
        for (late, why) in self.state.late(now) {
            refuse(late, why, None);
        }
    }

    /// Sees to it that a tick comes soon enough: a slow one under way is too late for a line that has
    /// just begun.
    fn tick(&mut self, stage: &mut Stage<PoolMessage>) {
        let wait = if self.state.someone_waits() {
            TICK
        } else {
            IDLE_TICK
        };
        let due = stage.clock.now().after(wait);
        if self.tick_due.is_none_or(|under_way| under_way > due) {
            self.tick_due = Some(due);
            stage.after(wait, PoolMessage::Tick);
        }
    }
}

fn refuse(waiting: Waiting, why: RefusalKind, retry_after: Option<Duration>) {
    let retry_after = retry_after.or(Some(Duration::from_secs(1)));
    drop(waiting.reply.send(Err(Refusal { why, retry_after })));
}
