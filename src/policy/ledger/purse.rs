//! One cap, and what was spent and set aside under it.

use std::collections::VecDeque;
use std::time::Duration;

use super::period::{Period, Span, Zone};
use crate::domain::{Border, NanoUsd, Wall};

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
    /// Tells it from a step of the same time that a clock running ahead had made before.
    nth: u32,
    spent: NanoUsd,
    reserved: NanoUsd,
}

/// Names a step to whoever has set something aside in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StepKey {
    start: Wall,
    nth: u32,
}

/// Tells a purse from all others of its books, whatever becomes of its cap's terms. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PurseId(u64);

/// Where they come from.
#[derive(Debug, Default)]
pub(super) struct PurseIds(u64);

impl PurseIds {
    pub(super) fn next(&mut self) -> PurseId {
        self.0 += 1;
        PurseId(self.0)
    }
}

/// A cap and its counts.
///
/// # Why steps outlive their time
/// A clock may run ahead and be put right. What was counted before it did must count again then, and what was counted
/// meanwhile was spent all the same. So a step that is over is kept a while, and one of a time that is not yet is laid
/// to that of now.
#[derive(Clone, Debug)]
pub struct Purse {
    id: PurseId,
    cap: Cap,
    /// Oldest first; those that are over have no part in what is counted.
    steps: VecDeque<Step>,
    /// Steps of a time that was not yet, and where what they held went.
    moved: VecDeque<(StepKey, StepKey)>,
    /// The time it was brought to.
    now: Wall,
    setbacks: u32,
    /// Thresholds told of what is counted now: in percent, and of which limit.
    told: Vec<(u8, NanoUsd)>,
    /// What was spent before is counted too: until then nobody knows what is left.
    complete: bool,
    /// It was asked for, from [`Purse::known_from`] on, and is being told.
    is_told: bool,
    /// From when on what was spent before was asked for.
    known_from: Wall,
    /// What stands before this border in the journal was told as history.
    known_to: Border,
    /// What ended while what was spent before was not known.
    late: Vec<Late>,
}

/// Costs that may be told as history as well: those of one step whose records stand between the same borders.
#[derive(Clone, Copy, Debug)]
struct Late {
    step: StepKey,
    /// The border they stand behind; `None`: in no journal.
    recorded: Option<Border>,
    cost: NanoUsd,
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

/// A clock that is set back by less is waited for: at midnight the day does not begin twice.
const JITTER_MS: u64 = 300_000;
/// Steps that are kept: of a rolling cap those that count and as many again, of a calendar's a few.
const MOST_ROLLING_STEPS: usize = 124;
const MOST_CALENDAR_STEPS: usize = 4;
/// Thresholds told that are remembered: those of many limits that one cap had.
const MOST_TOLD: usize = 1_024;

impl Purse {
    pub(super) fn new(cap: Cap, id: PurseId) -> Self {
        Self {
            id,
            cap,
            steps: VecDeque::new(),
            moved: VecDeque::new(),
            now: Wall(0),
            setbacks: 0,
            told: Vec::new(),
            complete: false,
            is_told: false,
            known_from: Wall(0),
            known_to: Border::default(),
            late: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> PurseId {
        self.id
    }

    pub fn cap(&self) -> &Cap {
        &self.cap
    }

    /// The same counts under another cap of the same time.
    pub(super) fn under(mut self, cap: &Cap) -> Self {
        self.cap = cap.clone();
        self
    }

    /// The steps that count now.
    fn counted(&self) -> impl Iterator<Item = &Step> {
        let (now, lingers) = (self.now, self.lingers());
        let counts = move |step: &&Step| step.span.end.0.saturating_add(lingers) > now.0;
        self.steps.iter().filter(counts)
    }

    fn lingers(&self) -> u64 {
        u64::try_from(self.cap.period.lingers().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn spent(&self) -> NanoUsd {
        self.counted().map(|step| step.spent).sum()
    }

    pub fn reserved(&self) -> NanoUsd {
        self.counted().map(|step| step.reserved).sum()
    }

    pub(super) fn left(&self) -> NanoUsd {
        self.cap.limit - self.spent() - self.reserved()
    }

    /// Brings the counts to this time.
    pub(super) fn roll(&mut self, now: Wall) {
        let newest = self.steps.back().map_or(Wall(0), |step| step.span.start);
        if newest.0 > now.0.saturating_add(JITTER_MS) {
            self.set_back(now);
        }
        if self.begins(Wall(now.0.saturating_add(JITTER_MS))) < self.known_from {
            // What was spent in this time was never asked for: the clock ran ahead when it was.
            self.complete = false;
        }
        // A clock that was set back a little changes nothing.
        let newest = self.steps.back().map_or(Wall(0), |step| step.span.start);
        self.now = now.max(newest);
        if self.steps.back().is_none_or(|step| step.span.end <= now) {
            self.push(self.cap.period.step(now, &self.cap.zone));
        }
        self.forget_told();
    }

    /// Lays what was counted in times that are not yet to the step of now.
    fn set_back(&mut self, now: Wall) {
        let (mut spent, mut reserved) = (NanoUsd::ZERO, NanoUsd::ZERO);
        let mut gone = Vec::new();
        while let Some(step) = self.steps.pop_back_if(|step| step.span.start > now) {
            spent += step.spent;
            reserved += step.reserved;
            gone.push(step.key());
        }
        self.setbacks = self.setbacks.wrapping_add(1);
        if self.steps.back().is_none_or(|step| step.span.end <= now) {
            self.push(self.cap.period.step(now, &self.cap.zone));
        }
        let Some(here) = self.steps.back_mut() else {
            return;
        };
        here.spent += spent;
        here.reserved += reserved;
        let here = here.key();
        self.moved.extend(gone.into_iter().map(|from| (from, here)));
        while self.moved.len() > MOST_ROLLING_STEPS {
            self.moved.pop_front();
        }
    }

    fn push(&mut self, span: Span) {
        self.steps.push_back(Step {
            span,
            nth: self.setbacks,
            spent: NanoUsd::ZERO,
            reserved: NanoUsd::ZERO,
        });
        let most = match self.cap.period {
            Period::Rolling(_) => MOST_ROLLING_STEPS,
            Period::Total | Period::Day | Period::Week | Period::Month | Period::Year => {
                MOST_CALENDAR_STEPS
            }
        };
        while self.steps.len() > most {
            self.steps.pop_front();
        }
        // What left the steps counts nowhere.
        if let Some(oldest) = self.steps.front() {
            let oldest = oldest.span.start;
            self.late.retain(|late| late.step.start >= oldest);
        }
    }

    /// Sets an amount aside, whatever is left; who must not go beyond asks [`Purse::left`] first. Call after
    /// [`Purse::roll`].
    ///
    /// Returns the step it counts in, to be named when it is settled.
    pub(super) fn take(&mut self, amount: NanoUsd) -> StepKey {
        let Some(newest) = self.steps.back_mut() else {
            return StepKey {
                start: Wall(0),
                nth: 0,
            };
        };
        newest.reserved += amount;
        newest.key()
    }

    /// As [`Self::take`], for what was let in at this time, before there was this cap.
    pub(super) fn take_at(&mut self, at: Wall, amount: NanoUsd) -> StepKey {
        match self.step_at(at) {
            Some(step) => {
                step.reserved += amount;
                step.key()
            }
            None => self.take(amount),
        }
    }

    /// The step that holds this time, made where there is none.
    fn step_at(&mut self, at: Wall) -> Option<&mut Step> {
        if !self.steps.iter().any(|step| step.span.holds(at)) {
            self.push(self.cap.period.step(at, &self.cap.zone));
            self.steps
                .make_contiguous()
                .sort_by_key(|step| step.span.start);
        }
        self.steps.iter_mut().find(|step| step.span.holds(at))
    }

    /// Gives back what was set aside.
    pub(super) fn give_back(&mut self, step: StepKey, amount: NanoUsd) {
        if let Some(step) = self.step(step) {
            step.reserved -= amount;
        }
    }

    /// Counts a cost in the step in which it was admitted, unless it is told as history. `recorded` is the border that
    /// its record stands behind in the journal.
    pub(super) fn spend(&mut self, step: StepKey, cost: NanoUsd, recorded: Option<Border>) {
        if self.complete {
            if recorded.is_none_or(|border| border >= self.known_to) {
                self.count(step, cost);
            }
            return;
        }
        let is_same = |late: &&mut Late| late.step == step && late.recorded == recorded;
        match self.late.iter_mut().rev().find(is_same) {
            Some(late) => late.cost += cost,
            None => self.late.push(Late {
                step,
                recorded,
                cost,
            }),
        }
    }

    /// Where nobody knows any more which step it was, it counts in that of now; what left the period needs no counting.
    fn count(&mut self, step: StepKey, cost: NanoUsd) {
        let left = |oldest: &Step| step.start < oldest.span.start;
        let has_left = self.steps.front().is_some_and(left);
        if let Some(known) = self.step(step) {
            known.spent += cost;
        } else if let Some(newest) = self.steps.back_mut().filter(|_| !has_left) {
            newest.spent += cost;
        }
    }

    fn step(&mut self, mut key: StepKey) -> Option<&mut Step> {
        // Each leads to an earlier time, so this ends.
        while let Some((_, to)) = self.moved.iter().find(|(from, _)| *from == key) {
            key = *to;
        }
        self.steps.iter_mut().rev().find(|step| step.key() == key)
    }

    #[cfg(test)]
    pub(super) fn late(&self) -> usize {
        self.late.len()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Gets ready to be told what was spent before, from the time that is returned on. What is set aside stays so, and
    /// so does what no journal has. The border up to which it is told is yet to be drawn.
    pub(super) fn forget(&mut self, now: Wall) -> Wall {
        self.late.retain(|late| late.recorded.is_none());
        for step in &mut self.steps {
            step.spent = NanoUsd::ZERO;
        }
        (self.known_from, self.is_told) = (self.begins(now), true);
        self.known_from
    }

    /// All that stands before this border is remembered, and nothing more is to be. Call after [`Purse::roll`].
    pub(super) fn complete(&mut self, border: Border) {
        if !self.is_told {
            return;
        }
        (self.complete, self.is_told, self.known_to) = (true, false, border);
        for late in std::mem::take(&mut self.late) {
            self.spend(late.step, late.cost, late.recorded);
        }
    }

    /// Counts what was spent before this process began, or before there was this cap.
    pub(super) fn remember(&mut self, at: Wall, cost: NanoUsd) {
        if !self.is_told {
            return;
        }
        if let Some(step) = self.step_at(at) {
            step.spent += cost;
        }
    }

    /// Thresholds reached and not told yet, in percent: the cap's own, and others that somebody wants to hear of. With
    /// each whether it is the cap's own.
    pub(super) fn news(&mut self, also: &[u8]) -> Vec<(u8, bool)> {
        if !self.complete {
            return Vec::new();
        }
        let (spent, limit) = (self.spent(), self.cap.limit);
        let own = &self.cap.tell_at;
        let others = also.iter().filter(|share| !own.contains(share));
        let all = own.iter().map(|share| (*share, true));
        let all = all.chain(others.map(|share| (*share, false)));
        let mut news: Vec<(u8, bool)> = all
            .filter(|(share, _)| reaches(spent, *share, limit))
            .filter(|(share, _)| !self.told.contains(&(*share, limit)))
            .collect();
        news.sort_unstable();
        news.dedup();
        self.told
            .extend(news.iter().map(|(share, _)| (*share, limit)));
        let excess = self.told.len().saturating_sub(MOST_TOLD);
        self.told.drain(..excess);
        news
    }

    /// What is not reached any more is told again when it is. A limit of before may come back: what was told of it
    /// stays.
    fn forget_told(&mut self) {
        if self.told.is_empty() {
            return;
        }
        let spent = self.spent();
        self.told
            .retain(|(share, limit)| reaches(spent, *share, *limit));
    }

    /// When what is counted newest began.
    pub(super) fn since(&self) -> Wall {
        self.steps
            .back()
            .map_or(Wall(0), |newest| newest.span.start)
    }

    /// From when on what was spent counts in it.
    pub(super) fn counts_from(&self) -> Wall {
        self.begins(self.now)
    }

    /// From when on what was spent counts in it now.
    fn begins(&self, now: Wall) -> Wall {
        // Mostly it is the newest step; a calendar's takes long to find.
        let newest = self.steps.back().map(|step| step.span);
        let step = newest
            .filter(|span| span.holds(now))
            .unwrap_or_else(|| self.cap.period.step(now, &self.cap.zone));
        Wall(step.start.0.saturating_sub(self.lingers()))
    }

    /// How long until `amount` may fit, going by what is counted now; `None` if it never will.
    pub(super) fn fits_in(&self, amount: NanoUsd, now: Wall) -> Option<Duration> {
        if amount > self.cap.limit {
            return None;
        }
        let room = self.cap.limit - amount;
        let mut counted = self.spent() + self.reserved();
        let mut wait = Duration::ZERO;
        for step in self.counted() {
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
            .counted()
            .find(|step| step.spent != NanoUsd::ZERO || step.reserved != NanoUsd::ZERO);
        let oldest = counted.or(self.steps.back());
        PurseView {
            cap: self.cap.clone(),
            spent: self.spent(),
            reserved: self.reserved(),
            resets_at: oldest
                .map(|step| step.span.end)
                .filter(|end| *end != Wall::NEVER)
                .map(|end| Wall(end.0.saturating_add(self.lingers()))),
        }
    }
}

/// Whether so much is this share of a limit, in percent, or more.
fn reaches(spent: NanoUsd, share: u8, limit: NanoUsd) -> bool {
    u128::from(spent.0) * 100 >= u128::from(limit.0) * u128::from(share)
}

impl Step {
    fn key(&self) -> StepKey {
        StepKey {
            start: self.span.start,
            nth: self.nth,
        }
    }
}
