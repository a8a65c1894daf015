//! One cap, and what was spent and set aside under it.

use std::collections::VecDeque;
use std::time::Duration;

use super::period::{Period, Span, Zone};
use crate::domain::{NanoUsd, Wall};

/// What an account may spend in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    pub limit: NanoUsd,
    pub period: Period,
    pub zone: Zone,
    /// A hard cap refuses what would go beyond it; a soft one only tells.
    pub hard: bool,
    /// In percent of the limit, ascending: each is told once when what was spent reaches it.
    pub tell_at: Vec<u8>,
}

/// What counts together.
#[derive(Clone, Copy, Debug)]
struct Step {
    span: Span,
    spent: NanoUsd,
    reserved: NanoUsd,
}

/// A cap and its counts.
#[derive(Clone, Debug)]
pub struct Purse {
    cap: Cap,
    /// Oldest first. One of a calendar's, up to sixty-one of a rolling one.
    steps: VecDeque<Step>,
    /// How many of `tell_at` were told of what is counted now.
    told: usize,
    /// What was spent before is counted too: until then nobody knows what is left.
    complete: bool,
}

/// A purse as people look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurseView {
    pub cap: Cap,
    pub spent: NanoUsd,
    pub reserved: NanoUsd,
    /// When the count begins anew, or of a rolling one begins to fall; `None` for one that never does.
    pub resets_at: Option<Wall>,
}

impl Purse {
    pub fn new(cap: Cap) -> Self {
        Self {
            cap,
            steps: VecDeque::new(),
            told: 0,
            complete: false,
        }
    }

    pub fn cap(&self) -> &Cap {
        &self.cap
    }

    /// The same counts under another limit, if they are of the same time.
    pub(super) fn under(mut self, cap: &Cap) -> Option<Self> {
        let same = self.cap.period == cap.period && self.cap.zone == cap.zone;
        self.cap = cap.clone();
        self.told = self.reached();
        same.then_some(self)
    }

    pub fn spent(&self) -> NanoUsd {
        self.steps.iter().map(|step| step.spent).sum()
    }

    pub fn reserved(&self) -> NanoUsd {
        self.steps.iter().map(|step| step.reserved).sum()
    }

    pub(super) fn left(&self) -> NanoUsd {
        self.cap.limit - self.spent() - self.reserved()
    }

    /// Brings the counts to this time. A clock that was set back changes nothing.
    pub(super) fn roll(&mut self, now: Wall) {
        let lingers = u64::try_from(self.cap.period.lingers().as_millis()).unwrap_or(u64::MAX);
        let before = self.steps.len();
        while let Some(oldest) = self.steps.front() {
            if oldest.span.end.0.saturating_add(lingers) > now.0 {
                break;
            }
            self.steps.pop_front();
        }
        if self.steps.len() != before {
            self.told = self.told.min(self.reached());
        }
        if self
            .steps
            .back()
            .is_none_or(|newest| newest.span.end <= now)
        {
            self.steps.push_back(Step {
                span: self.cap.period.step(now, &self.cap.zone),
                spent: NanoUsd::ZERO,
                reserved: NanoUsd::ZERO,
            });
        }
    }

    /// Sets an amount aside, whatever is left; who must not go beyond asks [`Purse::left`] first. Call after
    /// [`Purse::roll`].
    ///
    /// Returns the step it counts in, to be named when it is settled.
    pub(super) fn take(&mut self, amount: NanoUsd) -> Wall {
        let Some(newest) = self.steps.back_mut() else {
            return Wall(0);
        };
        newest.reserved += amount;
        newest.span.start
    }

    /// Gives back what was set aside.
    pub(super) fn give_back(&mut self, step: Wall, amount: NanoUsd) {
        if let Some(step) = self.step(step) {
            step.reserved -= amount;
        }
    }

    /// Counts a cost in the step in which it was admitted; what left the period needs no counting.
    pub(super) fn spend(&mut self, step: Wall, cost: NanoUsd) {
        if let Some(step) = self.step(step) {
            step.spent += cost;
        }
    }

    fn step(&mut self, start: Wall) -> Option<&mut Step> {
        self.steps
            .iter_mut()
            .rev()
            .find(|step| step.span.start == start)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn forget(&mut self) {
        self.steps.clear();
    }

    /// Nothing more is to be remembered.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Counts what was spent before this process began, or before there was this cap.
    pub(super) fn remember(&mut self, at: Wall, cost: NanoUsd) {
        if self.complete {
            return;
        }
        self.roll(at);
        let start = self.steps.iter().rev().find(|step| step.span.holds(at));
        if let Some(start) = start.map(|step| step.span.start) {
            self.spend(start, cost);
        }
        self.told = self.reached();
    }

    /// Thresholds reached and not told yet, in percent.
    pub(super) fn news(&mut self) -> Vec<u8> {
        let reached = self.reached();
        let news = self.cap.tell_at.get(self.told..reached);
        let news = news.unwrap_or_default().to_vec();
        self.told = reached;
        news
    }

    /// When what is counted newest began.
    pub(super) fn since(&self) -> Wall {
        self.steps
            .back()
            .map_or(Wall(0), |newest| newest.span.start)
    }

    fn reached(&self) -> usize {
        let spent = u128::from(self.spent().0) * 100;
        let limit = u128::from(self.cap.limit.0);
        let reached = |share: &&u8| spent >= limit * u128::from(**share);
        self.cap.tell_at.iter().take_while(reached).count()
    }

    /// From when on what was spent counts in it now.
    pub(super) fn begins(&self, now: Wall) -> Wall {
        let step = self.cap.period.step(now, &self.cap.zone).start;
        let lingers = u64::try_from(self.cap.period.lingers().as_millis()).unwrap_or(u64::MAX);
        Wall(step.0.saturating_sub(lingers))
    }

    /// How long until `amount` may fit, going by what is counted now; `None` if it never will.
    pub(super) fn fits_in(&self, amount: NanoUsd, now: Wall) -> Option<Duration> {
        if amount > self.cap.limit {
            return None;
        }
        let room = self.cap.limit - amount;
        let mut counted = self.spent() + self.reserved();
        let mut wait = Duration::ZERO;
        for step in &self.steps {
            if counted <= room {
                break;
            }
            if step.span.end == Wall::NEVER {
                return None;
            }
            counted -= step.spent + step.reserved;
            wait = step.span.end.since(now) + self.cap.period.lingers();
        }
        Some(wait)
    }

    pub(super) fn view(&self) -> PurseView {
        let counted = self
            .steps
            .iter()
            .find(|step| step.spent != NanoUsd::ZERO || step.reserved != NanoUsd::ZERO);
        let oldest = counted.or(self.steps.back());
        let lingers = u64::try_from(self.cap.period.lingers().as_millis()).unwrap_or(u64::MAX);
        PurseView {
            cap: self.cap.clone(),
            spent: self.spent(),
            reserved: self.reserved(),
            resets_at: oldest
                .map(|step| step.span.end)
                .filter(|end| *end != Wall::NEVER)
                .map(|end| Wall(end.0.saturating_add(lingers))),
        }
    }
}
