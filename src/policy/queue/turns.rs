//! Whose turn it is in a lane: turns go round the tenants, to each as often as it weighs (fault O05).
//!
//! # Why by finish, and what it promises
//! Every turn a tenant had moves it on by one part of its weight; next is whoever would have moved least once served.
//! Dealt out so (as seats of a parliament are, after Jefferson), no tenant that waited all the time has had fewer
//! turns than its share of them, rounded down. Who comes begins where the one is that moved least: it is owed
//! nothing for the time it was away, and owes nothing but turns it has had since.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::{Stake, Weight};

/// How far a tenant has moved. One turn of a weight of one is [`ONE`], so that parts of it are exact enough for
/// as many turns as there will ever be.
type Mark = u128;
const ONE: Mark = 1 << 64;

/// How many heads are told at most.
pub(crate) const HEADS: usize = 4;
/// So many tenants are looked at to tell how many turns come before another.
const LOOKED_AT: usize = 64;

#[derive(Debug)]
struct Flow<E> {
    line: VecDeque<E>,
    weight: Weight,
    /// How far it has moved, and will have once served.
    start: Mark,
    finish: Mark,
    /// Who came to this mark first is served first.
    came: u64,
}

#[derive(Debug)]
pub(crate) struct Turns<E> {
    flows: HashMap<Arc<str>, Flow<E>>,
    /// Tenants that wait, whose turn is next first.
    due: BTreeSet<(Mark, u64, Arc<str>)>,
    /// Tenants that wait, who moved least first.
    starts: BTreeSet<(Mark, Arc<str>)>,
    /// Tenants that do not wait and have moved further than who waits: what they would begin with is remembered, or
    /// one that always comes anew would never have to wait.
    resting: BTreeSet<(Mark, Arc<str>)>,
    /// As far as everyone who waits has moved; it never goes back.
    now: Mark,
    came: u64,
    length: usize,
}

impl<E> Default for Turns<E> {
    fn default() -> Self {
        Self {
            flows: HashMap::new(),
            due: BTreeSet::new(),
            starts: BTreeSet::new(),
            resting: BTreeSet::new(),
            now: 0,
            came: 0,
            length: 0,
        }
    }
}

fn step(weight: Weight) -> Mark {
    ONE / Mark::from(weight.get())
}

impl<E> Turns<E> {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn push(&mut self, stake: &Stake, entry: E) {
        let now = self.now;
        let tenant = &stake.tenant;
        let flow = self
            .flows
            .entry(Arc::clone(tenant))
            .or_insert_with(|| Flow {
                line: VecDeque::new(),
                weight: stake.weight,
                start: now,
                finish: now,
                came: 0,
            });
        flow.weight = stake.weight;
        let waited = !flow.line.is_empty();
        flow.line.push_back(entry);
        self.length += 1;
        if !waited {
            self.resting.remove(&(flow.start, Arc::clone(tenant)));
            flow.start = flow.start.max(now);
            self.enlist(tenant);
        }
    }

    /// Tenants in the order of their turns, the first few of them.
    pub(crate) fn heads(&self) -> SmallVec<[Arc<str>; HEADS]> {
        let tenants = self.due.iter().map(|(_, _, tenant)| Arc::clone(tenant));
        tenants.take(HEADS).collect()
    }

    /// Who of a tenant is served next: the first of its line, or the last.
    pub(super) fn peek(&self, tenant: &str, from_back: bool) -> Option<&E> {
        let line = &self.flows.get(tenant)?.line;
        if from_back { line.back() } else { line.front() }
    }

    /// The tenant has its turn.
    pub(crate) fn serve(&mut self, tenant: &Arc<str>, from_back: bool) -> Option<E> {
        self.serve_worth(tenant, from_back, |_| 1)
    }

    /// The tenant has its turn, which is worth so many.
    pub(crate) fn serve_worth(
        &mut self,
        tenant: &Arc<str>,
        from_back: bool,
        turns: impl FnOnce(&E) -> u32,
    ) -> Option<E> {
        self.delist(tenant);
        let flow = self.flows.get_mut(tenant)?;
        let entry = if from_back {
            flow.line.pop_back()
        } else {
            flow.line.pop_front()
        };
        if let Some(entry) = &entry {
            flow.start += step(flow.weight) * Mark::from(turns(entry));
            self.length -= 1;
        }
        self.settle(tenant);
        entry
    }

    /// Takes out whoever of a tenant came last; that is no turn.
    pub(super) fn withdraw(&mut self, tenant: &Arc<str>) -> Option<E> {
        let flow = self.flows.get_mut(tenant)?;
        let entry = flow.line.pop_back()?;
        self.length -= 1;
        if flow.line.is_empty() {
            self.delist(tenant);
            self.settle(tenant);
        }
        Some(entry)
    }

    /// Takes out everyone of whom `why` tells a reason to go; that is no turn.
    pub(crate) fn take_out<R>(
        &mut self,
        mut why: impl FnMut(&Arc<str>, &E) -> Option<R>,
    ) -> Vec<(Arc<str>, E, R)> {
        let mut out = Vec::new();
        let mut emptied = Vec::new();
        for (tenant, flow) in &mut self.flows {
            let waited = flow.line.len();
            for _ in 0..waited {
                let Some(entry) = flow.line.pop_front() else {
                    break;
                };
                match why(tenant, &entry) {
                    Some(reason) => out.push((Arc::clone(tenant), entry, reason)),
                    None => flow.line.push_back(entry),
                }
            }
            if waited > 0 && flow.line.is_empty() {
                emptied.push(Arc::clone(tenant));
            }
        }
        self.length -= out.len();
        for tenant in emptied {
            self.delist(&tenant);
            self.settle(&tenant);
        }
        out
    }

    /// How many are served at least before one more of this tenant, were it to come now.
    pub(super) fn ahead(&self, stake: &Stake) -> usize {
        let flow = self.flows.get(&stake.tenant);
        let own = flow.map_or(0, |flow| flow.line.len());
        let start = flow.map_or(self.now, |flow| flow.start.max(self.now));
        let finish = start + step(stake.weight) * (own as Mark + 1);
        let others = self.due.iter().take(LOOKED_AT);
        let before = others
            .filter(|(_, _, tenant)| *tenant != stake.tenant)
            .filter_map(|(_, _, tenant)| self.flows.get(tenant))
            .map(|flow| {
                // As many as finish before it does; of one at the same mark nobody knows who is first.
                let room = finish.saturating_sub(flow.start).saturating_sub(1);
                let turns = usize::try_from(room / step(flow.weight)).unwrap_or(usize::MAX);
                turns.min(flow.line.len())
            });
        before.fold(own, usize::saturating_add)
    }

    fn enlist(&mut self, tenant: &Arc<str>) {
        let Some(flow) = self.flows.get_mut(tenant) else {
            return;
        };
        self.came += 1;
        flow.came = self.came;
        flow.finish = flow.start + step(flow.weight);
        self.due
            .insert((flow.finish, flow.came, Arc::clone(tenant)));
        self.starts.insert((flow.start, Arc::clone(tenant)));
    }

    fn delist(&mut self, tenant: &Arc<str>) {
        if let Some(flow) = self.flows.get(tenant) {
            self.due
                .remove(&(flow.finish, flow.came, Arc::clone(tenant)));
            self.starts.remove(&(flow.start, Arc::clone(tenant)));
        }
    }

    /// Puts a tenant that was taken off the list where it belongs now, and moves on.
    fn settle(&mut self, tenant: &Arc<str>) {
        if self.length == 0 {
            // Nobody has to wait, so nobody is owed anything.
            *self = Self::default();
            return;
        }
        if let Some(flow) = self.flows.get(tenant) {
            if flow.line.is_empty() {
                self.resting.insert((flow.start, Arc::clone(tenant)));
            } else {
                self.enlist(tenant);
            }
        }
        if let Some((least, _)) = self.starts.first() {
            self.now = self.now.max(*least);
        }
        // Who rests and is not ahead of anybody would begin like one who was never here.
        while let Some((start, _)) = self.resting.first() {
            if *start > self.now {
                break;
            }
            if let Some((_, tenant)) = self.resting.pop_first() {
                self.flows.remove(&tenant);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.flows.len()
    }
}
