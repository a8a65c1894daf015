//! The race strategy of a pool: whether and when a second leg starts, and at which extra cost.
//!
//! The legs themselves run in the request's own task. When to start one is published in the pool's cell,
//! so a request that needs no second leg sends no message. A restart forgets nothing that is not learnt
//! again within a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::RpcReplyPort;

use super::cells::PoolCell;
use super::lease::Lease;
use super::member::{Crash, Member, Stage};
use super::pool::PoolMessage;
use super::slot::{Seat, Slot};
use super::wish::{Refusal, RefusalKind, Wish};
use crate::config::HedgeSettings;
use crate::domain::{Moment, Shape};
use crate::policy::hedge::{HedgeSituation, hedge_after, hedge_quantile};

pub enum RaceMessage {
    /// The first leg is slower than most: may a second one start?
    HedgeDue {
        wish: Arc<Wish>,
        reply: RpcReplyPort<Result<Lease, Refusal>>,
    },
    /// The request was marked for two legs from the start.
    Dual {
        wish: Arc<Wish>,
        reply: RpcReplyPort<Result<Lease, Refusal>>,
    },
    /// Time to learn from the latencies again.
    Learn,
}

pub(crate) struct RaceStrategy {
    pub(super) cell: Arc<PoolCell>,
    pub(super) seat: Arc<Seat>,
    pub(super) pool: Arc<Slot<PoolMessage>>,
    pub(super) hedge: HedgeSettings,
    /// The share of requests that are done before a second leg starts.
    pub(super) patience: f32,
}

const LEARN_EVERY: Duration = Duration::from_secs(1);

impl Member for RaceStrategy {
    type Message = RaceMessage;

    fn started(&mut self, stage: &mut Stage<RaceMessage>) -> Result<(), Crash> {
        self.learn(stage.clock.now());
        stage.after(LEARN_EVERY, RaceMessage::Learn);
        Ok(())
    }

    fn handle(
        &mut self,
        message: RaceMessage,
        stage: &mut Stage<RaceMessage>,
    ) -> Result<(), Crash> {
        let now = stage.clock.now();
        match message {
            RaceMessage::HedgeDue { wish, reply } => {
                if self.may_hedge(&wish, now) {
                    // If the pool does not take the message, the reply port is dropped with it and the
                    // task gives the budget back, as it does for a refusal.
                    let _ = self.pool.cast(PoolMessage::Place { wish, reply });
                } else {
                    drop(reply.send(Err(Refusal {
                        why: RefusalKind::NoRace,
                        retry_after: None,
                    })));
                }
            }
            RaceMessage::Dual { wish, reply } => {
                let _ = self.pool.cast(PoolMessage::Place { wish, reply });
            }
            RaceMessage::Learn => {
                self.learn(now);
                stage.after(LEARN_EVERY, RaceMessage::Learn);
            }
        }
        Ok(())
    }
}

// --- decisions ---
impl RaceStrategy {
    fn situation(&self, shape: Shape, now: Moment) -> HedgeSituation {
        HedgeSituation {
            panicking: self.cell.panicking.load(Ordering::Relaxed),
            pushed_back_recently: self.cell.pushed_back.left(now).is_some(),
            class: shape.class,
            largest_class: self.hedge.largest_prompt,
            enabled: self.hedge.enabled,
        }
    }

    /// Publishes for each prompt class when a second leg would start.
    fn learn(&mut self, now: Moment) {
        let ratio = self.cell.hedges.ratio(now);
        self.patience = hedge_quantile(self.patience, ratio, self.hedge.budget_share);
        for shape in Shape::all() {
            let due = self.cell.first_content[shape.index()].quantile(self.patience, now);
            self.cell
                .set_hedge_after(shape, hedge_after(due, self.situation(shape, now)));
        }
        self.cell.metrics.hedge_ratio.set(f64::from(ratio.get()));
        self.seat
            .set_health(if self.hedge.enabled { "hedging" } else { "off" });
    }

    fn may_hedge(&self, wish: &Wish, now: Moment) -> bool {
        let situation = self.situation(wish.shape, now);
        let due = self.cell.first_content[wish.shape.index()].quantile(self.patience, now);
        if hedge_after(due, situation).is_none() {
            return false;
        }
        let cost = wish.estimate.second_leg(wish.shape.mode);
        self.cell
            .hedges
            .try_hedge(cost, self.hedge.budget_share, now)
    }
}
