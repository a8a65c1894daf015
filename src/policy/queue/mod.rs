//! Who waits for a target: three lanes, bounded, fair by tenant, by deadline, shed early when the line stands.
//!
//! # Why LIFO under pressure
//! When the line stands longer than it should (`CoDel`: every request of the last 100 ms waited over 5 ms),
//! the oldest are the ones that will miss their deadline anyway. Serving the newest first saves those who
//! still can be, and the oldest are shed with an honest answer while it is still cheap.
//!
//! # Why not before the rate says so
//! Newest first starves whoever is behind: each of them is refused after a wait that could have been spared. Once it
//! is known how fast the line is served, a newcomer whose turn would come too late is refused at once
//! ([`WaitQueue::is_hopeless`]), everybody in the line is served in time, and first come, first served is fair again.
//!
//! # Why by tenant
//! One line for all is as long as its noisiest tenant makes it, and everybody stands in it (fault O05). So turns go
//! round the tenants of a lane ([`turns`]), and what has to go goes from who holds most by its weight: a tenant that
//! holds less than its share is served in order, keeps its places, and never pays for another's flood. Who is alone
//! may fill all of it.

mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use turns::HEADS;

use super::served::ServedRate;
use super::shares::Shares;
use crate::domain::{Lane, Moment, ShareClass, Stake};

pub(crate) use turns::Turns;

/// The wait that is no queue yet.
const TARGET: Duration = Duration::from_millis(5);
/// For so long every wait has to be above the target before the line counts as standing.
const INTERVAL: Duration = Duration::from_millis(100);
/// Of a standing line, those older than this are shed.
const SHED_AFTER: Duration = Duration::from_secs(1);
/// Batch gets one of so many turns while it waits.
const BATCH_TURN: u32 = 20;
/// The share of the line that only interactive requests may fill.
const KEPT_FOR_INTERACTIVE: usize = 5;
/// So many tenants are looked at for one that may yield.
const LOOKED_AT: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShedReason {
    Full,
    Deadline,
    Codel,
    /// Its turn would come after its time, as fast as the line is served.
    Hopeless,
}

impl ShedReason {
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Deadline => "deadline",
            Self::Codel => "codel",
            Self::Hopeless => "hopeless",
        }
    }
}

/// Someone who would stand in the line.
#[derive(Clone, Debug)]
pub struct Comer {
    pub stake: Stake,
    pub lane: Lane,
    pub deadline: Moment,
}

/// Someone who has no place in the line any more, or never had one.
#[derive(Debug, PartialEq, Eq)]
pub struct Shed<T> {
    pub item: T,
    pub why: ShedReason,
    /// How much of the line its tenant held.
    pub class: ShareClass,
}

/// Whose turn it is.
#[derive(Clone, Debug)]
pub struct Head {
    lane: Lane,
    tenant: Arc<str>,
    from_back: bool,
}

/// Someone taken out of the line to be served.
#[derive(Debug)]
pub struct Popped<T> {
    pub item: T,
    pub lane: Lane,
    pub enqueued_at: Moment,
    pub class: ShareClass,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    stake: Stake,
    deadline: Moment,
    enqueued_at: Moment,
    /// Its place among all who ever came.
    number: u64,
}

#[derive(Debug)]
pub struct WaitQueue<T> {
    lanes: [Turns<Entry<T>>; Lane::ALL.len()],
    /// Of the places in the line, over all lanes.
    shares: Shares,
    /// Tenants by how much they hold for their weight.
    loads: BTreeSet<(u64, Arc<str>)>,
    /// Since when who waits.
    arrivals: BTreeSet<(Moment, u64)>,
    came: u64,
    most: usize,
    turns: u32,
    /// Since when every wait is above the target; `None` while some are below.
    above_since: Option<Moment>,
    /// The longest anyone in the line was ready to wait when it came.
    longest: Duration,
    served: ServedRate,
}

impl<T> WaitQueue<T> {
    pub fn new(most: usize) -> Self {
        Self {
            lanes: std::array::from_fn(|_| Turns::default()),
            shares: Shares::default(),
            loads: BTreeSet::new(),
            arrivals: BTreeSet::new(),
            came: 0,
            most,
            turns: 0,
            above_since: None,
            longest: Duration::ZERO,
            served: ServedRate::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Somebody was served, out of the line or past it, while others waited.
    pub fn served(&mut self, now: Moment) {
        if !self.is_empty() {
            self.served.count(now);
        }
    }

    /// Whether the turn of one who came now would come after its deadline.
    ///
    /// # What it never does
    /// It never refuses one that would have been served, unless the line is then served faster than in the fastest
    /// whole second of the last ten. What is not known (a line that has just begun, one that is served a few times
    /// in ten seconds) is no reason to refuse.
    pub fn is_hopeless(&self, comer: &Comer, now: Moment) -> bool {
        self.served
            .most_within(comer.deadline.since(now), now)
            .is_some_and(|most| self.ahead(comer) as u64 >= most)
    }

    /// How it stands with the tenant of one who would come.
    pub fn class(&self, stake: &Stake) -> ShareClass {
        self.shares.class_with(stake)
    }

    /// How many are served at least before one who came now in this lane.
    fn ahead(&self, comer: &Comer) -> usize {
        let lane = comer.lane;
        let own = self.lanes[lane.index()].ahead(&comer.stake);
        let urgent = self.lanes.iter().take(lane.index()).map(Turns::len);
        let before = urgent.fold(own, usize::saturating_add);
        if lane == Lane::Batch {
            // It has turns of its own, whoever else waits.
            before.min(own.saturating_mul(BATCH_TURN as usize))
        } else {
            before
        }
    }

    /// Puts somebody in the line. Who is handed back has no place in it: the one who came, or one who had to make
    /// room.
    pub fn push(&mut self, comer: Comer, now: Moment, item: T) -> Result<(), Shed<T>> {
        let shed = |item, why, class| Err(Shed { item, why, class });
        let class = self.class(&comer.stake);
        if comer.deadline <= now {
            return shed(item, ShedReason::Deadline, class);
        }
        let kept = if comer.lane == Lane::Interactive {
            0
        } else {
            self.most.div_ceil(KEPT_FOR_INTERACTIVE)
        };
        let mut yields = None;
        if self.len() + kept >= self.most {
            yields = self.makes_room(&comer);
            if yields.is_none() {
                return shed(item, ShedReason::Full, class);
            }
        }
        if self.is_empty() {
            self.served.line_begins(now);
            self.longest = Duration::ZERO;
        }
        self.longest = self.longest.max(comer.deadline.since(now));
        self.enter(comer, now, item);
        yields.map_or(Ok(()), |(entry, class)| {
            shed(entry.item, ShedReason::Full, class)
        })
    }

    fn enter(&mut self, comer: Comer, now: Moment, item: T) {
        let Comer {
            stake,
            lane,
            deadline,
        } = comer;
        self.came += 1;
        let entry = Entry {
            item,
            stake,
            deadline,
            enqueued_at: now,
            number: self.came,
        };
        self.arrivals.insert((now, entry.number));
        let stake = entry.stake.clone();
        self.lanes[lane.index()].push(&stake, entry);
        self.count(&stake.tenant, |shares| shares.take(&stake));
    }

    /// Changes what a tenant holds.
    fn count(&mut self, tenant: &Arc<str>, change: impl FnOnce(&mut Shares)) {
        self.loads
            .remove(&(self.shares.load(tenant), Arc::clone(tenant)));
        change(&mut self.shares);
        if self.shares.count(tenant) > 0 {
            self.loads
                .insert((self.shares.load(tenant), Arc::clone(tenant)));
        }
    }

    fn left(&mut self, entry: &Entry<T>) {
        self.arrivals.remove(&(entry.enqueued_at, entry.number));
        self.count(&entry.stake.tenant, |shares| {
            shares.give_back(&entry.stake.tenant);
        });
        if self.is_empty() {
            self.above_since = None;
        }
    }

    /// Takes out whoever gives up its place for this one, if anybody does.
    fn makes_room(&mut self, comer: &Comer) -> Option<(Entry<T>, ShareClass)> {
        let (lane, tenant) = self.yields(comer)?;
        let class = self.shares.class(&tenant);
        let entry = self.lanes[lane.index()].withdraw(&tenant)?;
        self.left(&entry);
        Some((entry, class))
    }

    /// Whose last is the one to go.
    fn yields(&self, comer: &Comer) -> Option<(Lane, Arc<str>)> {
        let own = &comer.stake.tenant;
        let waits =
            |lane: &Lane, tenant: &Arc<str>| self.lanes[lane.index()].peek(tenant, true).is_some();
        let behind = || Lane::ALL.into_iter().skip(comer.lane.index() + 1).rev();
        let may_yield = |tenant: &Arc<str>| !self.shares.is_below_with(tenant, &comer.stake);
        // The less urgent go first (fault O04), but not those of a tenant that has less than its share.
        for lane in behind() {
            let by_load = self.loads.iter().rev().take(LOOKED_AT);
            let mut tenants = by_load.map(|(_, tenant)| tenant);
            let found = tenants.find(|tenant| waits(&lane, tenant) && may_yield(tenant));
            if let Some(tenant) = found {
                return Some((lane, Arc::clone(tenant)));
            }
        }
        // Then those of whoever holds most, as long as it still holds more than this one with one more.
        let most = self.loads.last();
        let most = most.filter(|(load, _)| *load > self.shares.load_with(&comer.stake));
        if let Some((_, tenant)) = most {
            let mut lanes = Lane::ALL.into_iter().rev();
            let lane = lanes.find(|lane| waits(lane, tenant))?;
            return Some((lane, Arc::clone(tenant)));
        }
        // Within a tenant the urgent goes before the less urgent, whatever its share.
        let lane = behind().find(|lane| waits(lane, own))?;
        Some((lane, Arc::clone(own)))
    }

    /// Takes out everyone whose deadline has passed, and under pressure everyone who has waited too long of tenants
    /// that do not hold less than their share.
    pub fn expired(&mut self, now: Moment) -> Vec<Shed<T>> {
        let standing = self.stands(now);
        let shares = &self.shares;
        let mut late = Vec::new();
        for lane in &mut self.lanes {
            late.extend(lane.take_out(|tenant, entry| {
                let old = now.since(entry.enqueued_at) >= SHED_AFTER;
                let why = if entry.deadline <= now {
                    ShedReason::Deadline
                } else if standing && old && !shares.is_below(tenant) {
                    ShedReason::Codel
                } else {
                    return None;
                };
                Some((why, shares.class(tenant)))
            }));
        }
        late.into_iter()
            .map(|(_, entry, (why, class))| {
                self.left(&entry);
                let item = entry.item;
                Shed { item, why, class }
            })
            .collect()
    }

    /// Takes out those whose asker has gone; nobody is waiting for their answer.
    pub fn drop_left(&mut self, left: impl Fn(&T) -> bool) {
        for place in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(place) else {
                break;
            };
            for (_, entry, ()) in lane.take_out(|_, entry| left(&entry.item).then_some(())) {
                self.left(&entry);
            }
        }
    }

    /// Whose turn it is, and who follows, should the first want what is not to be had now.
    pub fn heads(&mut self, now: Moment) -> SmallVec<[Head; HEADS]> {
        let standing = self.stands(now);
        let first = self.first_lane();
        let others = Lane::ALL.into_iter().filter(|lane| Some(*lane) != first);
        let mut heads = SmallVec::new();
        for lane in first.into_iter().chain(others) {
            for tenant in self.lanes[lane.index()].heads() {
                if heads.len() == HEADS {
                    return heads;
                }
                heads.push(Head {
                    lane,
                    from_back: standing && !self.shares.is_below(&tenant),
                    tenant,
                });
            }
        }
        heads
    }

    /// Who that is, and until when it waits.
    pub fn peek(&self, head: &Head) -> Option<(&T, Moment)> {
        let lane = &self.lanes[head.lane.index()];
        let entry = lane.peek(&head.tenant, head.from_back)?;
        Some((&entry.item, entry.deadline))
    }

    /// Gives somebody its turn.
    pub fn pop(&mut self, head: &Head, now: Moment) -> Option<Popped<T>> {
        let entry = self.lanes[head.lane.index()].serve(&head.tenant, head.from_back)?;
        let class = self.shares.class(&head.tenant);
        self.left(&entry);
        self.turns = self.turns.wrapping_add(1);
        self.note_wait(now.since(entry.enqueued_at), now);
        Some(Popped {
            item: entry.item,
            lane: head.lane,
            enqueued_at: entry.enqueued_at,
            class,
        })
    }

    fn first_lane(&self) -> Option<Lane> {
        let waits = |lane: Lane| !self.lanes[lane.index()].is_empty();
        let batch_turn = self.turns % BATCH_TURN == BATCH_TURN - 1;
        if batch_turn && waits(Lane::Batch) {
            return Some(Lane::Batch);
        }
        Lane::ALL.into_iter().find(|lane| waits(*lane))
    }

    fn note_wait(&mut self, wait: Duration, now: Moment) {
        if wait <= TARGET {
            self.above_since = None;
        } else if self.above_since.is_none() {
            self.above_since = Some(now);
        }
    }

    /// Whether the line has been standing for a whole interval. An oldest waiter below the target ends it.
    fn stands(&mut self, now: Moment) -> bool {
        match self.arrivals.first() {
            None => self.above_since = None,
            Some((oldest, _)) => self.note_wait(now.since(*oldest), now),
        }
        // A few who wait for a rate limit to reopen are no overload: a line is one when not all of it can be served
        // in time, or while that is unknown, when it is half full.
        let too_long = match self.served.most_within(self.longest, now) {
            Some(most) => self.len() as u64 > most,
            None => self.len() * 2 > self.most,
        };
        too_long
            && self
                .above_since
                .is_some_and(|since| now.since(since) >= INTERVAL)
    }
}

#[cfg(test)]
mod tests;
