//! The decisions of a pool: no I/O, the time is an argument.
//!
//! # Why a sample
//! The cost of a placement must not grow with the number of targets. A small pool judges all of its
//! endpoints; a large one judges a few, drawn by weight, and looks at all only when none of those will do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use super::Waiting;
use crate::actors::cells::{EndpointCell, PoolCell};
use crate::actors::clock::Clock;
use crate::actors::lease::{Lease, LeaseTerms, Target, clamped};
use crate::actors::news::News;
use crate::actors::slot::Seat;
use crate::actors::wish::{
    Again, Patience, Purpose, Rank, Reasons, Refusal, RefusalKind, Removed, Wish,
};
use crate::domain::{Moment, NanoUsd, Score};
use crate::policy::breaker::{BreakerState, slow_start_share};
use crate::policy::headroom::head_room;
use crate::policy::panic::panicking;
use crate::policy::queue::{Comer, Head, Shed, ShedReason, WaitQueue};
use crate::policy::score::{Candidate, choose, load};

/// How many endpoints, and how many keys of one, are judged for a placement.
const SAMPLE: usize = 4;
/// Where there are only so many, all are looked at; and so many keys of one endpoint.
const FEW: usize = 8;

/// The pool as configured: replaced as a whole when the configuration changes.
#[derive(Debug)]
pub(crate) struct PoolLine {
    pub cell: Arc<PoolCell>,
    pub seat: Arc<Seat>,
    pub groups: Vec<Group>,
    pub queue_length: usize,
    pub max_wait: Duration,
    pub news: Arc<News>,
}

/// One endpoint of the pool with the keys that reach it.
#[derive(Debug)]
pub(crate) struct Group {
    pub endpoint: Arc<EndpointCell>,
    pub weight: f32,
    pub targets: Vec<Arc<Target>>,
}

pub(super) enum Answer {
    Lease(Lease),
    Wait(Refusal),
    Refuse(Refusal),
}

/// What became of whoever was next in line.
pub(super) enum Turn {
    Served(Waiting, Lease),
    /// Its asker has left, or has waited too long.
    Gone,
}

/// What `/admin/explain` and `check --explain` show of one target.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ExplainedTarget {
    pub provider: String,
    pub model: String,
    pub key: Option<String>,
    pub weight: f32,
    /// Why it is no candidate; `None` when it is one.
    pub removed: Option<&'static str>,
    pub wait_ms: Option<u64>,
    /// The share of traffic it may take while starting slowly.
    pub share: f32,
    pub room: f32,
    /// Peak-sensitive average time to first content; 0 while unknown.
    pub cost_ms: f32,
    pub first_content_p50_ms: Option<u64>,
    pub first_content_p99_ms: Option<u64>,
    pub in_flight: u32,
    pub in_flight_limit: u32,
    /// Lower is better.
    pub load: f32,
    pub breaker: &'static str,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct Explanation {
    pub pool: String,
    pub panicking: bool,
    pub waiting: u32,
    pub targets: Vec<ExplainedTarget>,
}

/// The circumstances under which targets are judged.
#[derive(Clone, Copy)]
struct Look {
    now: Moment,
    /// Breakers are ignored (fault P34).
    in_panic: bool,
    /// Targets that may be tried twice are candidates too.
    meet_again: bool,
    /// Nothing else will be free soon: a blocked target may be probed before its time.
    without_choice: bool,
}

struct Judged {
    group: usize,
    key: usize,
    candidate: Candidate,
    /// As the request ranks its provider; the least comes first.
    rank: Rank,
    probe_of: Option<BreakerState>,
    /// It answers, and hardly ever fails.
    is_well: bool,
}

/// In panic no breaker is believed, but answers are: while one endpoint gives them, requests that could go there are
/// not thrown at those that do not (fault P34). Where all fail alike nobody is well, and all are asked.
fn keep_who_answers(judged: &mut SmallVec<[Judged; FEW]>) {
    if judged.iter().any(|one| one.is_well) {
        judged.retain(|one| one.is_well);
    }
}

pub(super) struct PoolState {
    line: Arc<PoolLine>,
    clock: Clock,
    random: fastrand::Rng,
    queue: WaitQueue<Waiting>,
    /// Running sums of the weights, to draw by weight in logarithmic time.
    weights: Vec<f32>,
}

impl PoolState {
    pub(super) fn new(line: Arc<PoolLine>, clock: Clock, random: fastrand::Rng) -> Self {
        let weights = line
            .groups
            .iter()
            .scan(0.0_f32, |sum, group| {
                *sum += group.weight.max(0.0);
                Some(*sum)
            })
            .collect();
        let queue = WaitQueue::new(line.queue_length);
        Self {
            line,
            clock,
            random,
            queue,
            weights,
        }
    }

    /// A new life begins: nobody waits here yet.
    pub(super) fn open(&mut self) {
        self.count_waiting();
        self.line.seat.set_health("placing");
    }

    pub(super) fn someone_waits(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn place(&mut self, wish: &Wish, now: Moment) -> Answer {
        let cell = Arc::clone(&self.line.cell);
        let in_panic = cell.panicking.load(Ordering::Relaxed);
        if wish.purpose == Purpose::Attempt {
            if in_panic && cell.throttle.rejects(now, self.random.f64()) {
                return Answer::Refuse(Refusal {
                    why: RefusalKind::Unhealthy,
                    retry_after: Some(Duration::from_secs(1)),
                });
            }
            cell.throttle.attempt(now);
        }
        let mut reasons = Reasons::default();
        if let Some(lease) = self.try_lease(wish, in_panic, now, &mut reasons) {
            self.queue.served(now);
            return Answer::Lease(lease);
        }
        if !in_panic {
            // Breakers may have closed the last door since the last look: then they are not believed.
            self.look_around(now);
            if cell.panicking.load(Ordering::Relaxed) {
                reasons = Reasons::default();
                if let Some(lease) = self.try_lease(wish, true, now, &mut reasons) {
                    return Answer::Lease(lease);
                }
            }
        }
        let refusal = reasons.refusal();
        let worth_waiting = reasons
            .shortest_wait()
            .is_some_and(|wait| wait <= self.line.max_wait && now.after(wait) < wish.deadline);
        if wish.patience == Patience::Queue && worth_waiting {
            Answer::Wait(refusal)
        } else {
            Answer::Refuse(refusal)
        }
    }

    /// A lease on a target this request has not met; failing that, on one it may meet again.
    fn try_lease(
        &mut self,
        wish: &Wish,
        in_panic: bool,
        now: Moment,
        reasons: &mut Reasons,
    ) -> Option<Lease> {
        let fresh = Look {
            now,
            in_panic,
            meet_again: false,
            without_choice: false,
        };
        if let Some(lease) = self.lease_at(wish, fresh, reasons) {
            return Some(lease);
        }
        if wish.purpose == Purpose::Attempt && reasons.only_breakers_help() {
            let look = Look {
                without_choice: true,
                ..fresh
            };
            if let Some(lease) = self.lease_at(wish, look, &mut Reasons::default()) {
                return Some(lease);
            }
        }
        let may_meet_again = wish.meet_again
            && wish.purpose == Purpose::Attempt
            && reasons.shortest_wait().is_none()
            && wish
                .tried
                .iter()
                .any(|tried| matches!(tried.again, Again::LastResort | Again::SameKeyLater));
        if !may_meet_again {
            return None;
        }
        *reasons = Reasons::default();
        self.lease_at(
            wish,
            Look {
                meet_again: true,
                ..fresh
            },
            reasons,
        )
    }

    fn lease_at(&mut self, wish: &Wish, look: Look, reasons: &mut Reasons) -> Option<Lease> {
        let all = self.line.groups.len();
        let mut judged: SmallVec<[Judged; FEW]> = SmallVec::new();
        // Whoever is wanted first may not be among a few that were drawn.
        if all <= FEW || wish.preference.is_some() {
            self.judge_all(wish, look, &mut judged, reasons);
        } else {
            let sample = self.sample();
            let mut ignored = Reasons::default();
            for group in sample {
                judged.extend(self.judge(group, wish, look, &mut ignored));
            }
            if judged.is_empty() {
                self.judge_all(wish, look, &mut judged, reasons);
            }
        }
        if look.in_panic {
            keep_who_answers(&mut judged);
        }
        while !judged.is_empty() {
            if wish.preference.is_some() {
                judged.sort_by_key(|one| one.rank);
            }
            let first = judged.first().map(|one| one.rank).unwrap_or_default();
            let equals = judged.iter().take_while(|one| one.rank == first).count();
            let chosen = self.choose(judged.get(..equals).unwrap_or_default(), wish)?;
            let judged = judged.swap_remove(chosen);
            match self.take(&judged, wish, look.now) {
                Ok(lease) => return Some(lease),
                Err(removed) => reasons.add(removed),
            }
        }
        None
    }

    fn judge_all(
        &mut self,
        wish: &Wish,
        look: Look,
        judged: &mut SmallVec<[Judged; FEW]>,
        reasons: &mut Reasons,
    ) {
        for group in 0..self.line.groups.len() {
            judged.extend(self.judge(group, wish, look, reasons));
        }
    }

    /// A few different groups, drawn by weight.
    fn sample(&mut self) -> SmallVec<[usize; SAMPLE]> {
        let mut drawn: SmallVec<[usize; SAMPLE]> = SmallVec::new();
        let total = self.weights.last().copied().unwrap_or_default();
        // Twice as many draws as places: doubles are rare where a sample is needed at all.
        for _ in 0..SAMPLE * 2 {
            let mark = self.random.f32() * total;
            let group = self.weights.partition_point(|sum| *sum <= mark);
            let group = group.min(self.weights.len().saturating_sub(1));
            if !drawn.contains(&group) {
                drawn.push(group);
            }
            if drawn.len() == SAMPLE {
                break;
            }
        }
        drawn
    }

    fn choose(&mut self, judged: &[Judged], wish: &Wish) -> Option<usize> {
        // An endpoint whose blocked period is over needs one request to prove itself; a fresh request
        // has attempts left should it fail.
        if wish.tried.is_empty()
            && let Some(probe) = judged.iter().position(|one| one.probe_of.is_some())
        {
            return Some(probe);
        }
        if judged.len() == 1 {
            return Some(0);
        }
        let candidates: SmallVec<[Candidate; FEW]> =
            judged.iter().map(|one| one.candidate).collect();
        choose(&candidates, (self.random.u64(..), self.random.u64(..)))
    }

    /// Whether this endpoint may take the request now, and with which key.
    fn judge(
        &mut self,
        group: usize,
        wish: &Wish,
        look: Look,
        reasons: &mut Reasons,
    ) -> Option<Judged> {
        let line = Arc::clone(&self.line);
        let this = line.groups.get(group)?;
        let rank = match rank(this, wish) {
            Ok(rank) => rank,
            Err(removed) => {
                reasons.add(removed);
                return None;
            }
        };
        let probe_of = match endpoint_gate(&this.endpoint, wish, look) {
            Ok(probe_of) => probe_of,
            Err(removed) => {
                reasons.add(removed);
                return None;
            }
        };
        let (key, room) = self.best_key(this, wish, look, reasons)?;
        Some(Judged {
            group,
            key,
            candidate: candidate(this, wish, room, look.now),
            rank,
            probe_of,
            is_well: look.in_panic && this.endpoint.health.snapshot(look.now).is_well(),
        })
    }

    /// The key with the most head-room among those that may be used.
    fn best_key(
        &mut self,
        group: &Group,
        wish: &Wish,
        look: Look,
        reasons: &mut Reasons,
    ) -> Option<(usize, Score)> {
        let keys = group.targets.len();
        // All of a few, a few of many; the start is drawn so that equals share the work.
        let start = if keys > 1 {
            self.random.usize(..keys)
        } else {
            0
        };
        let mut best: Option<(usize, Score)> = None;
        for offset in 0..keys {
            if offset >= FEW && best.is_some() {
                break;
            }
            let place = (start + offset) % keys;
            let Some(target) = group.targets.get(place) else {
                continue;
            };
            match key_room(target, wish, look) {
                Ok(room) if best.is_none_or(|(_, found)| room > found) => {
                    best = Some((place, room))
                }
                Ok(_) => {}
                Err(removed) => reasons.add(removed),
            }
        }
        best
    }

    /// Takes the permit from the key's windows. Between judging and taking another pool may have been
    /// faster; then the next candidate is tried.
    fn take(&self, judged: &Judged, wish: &Wish, now: Moment) -> Result<Lease, Removed> {
        let Some(group) = self.line.groups.get(judged.group) else {
            return Err(Removed::Tried);
        };
        let Some(target) = group.targets.get(judged.key) else {
            return Err(Removed::Tried);
        };
        let endpoint = &target.endpoint;
        let in_flight = endpoint.in_flight.load(Ordering::Relaxed);
        // Only who is chosen takes the one place beyond the limit, not everyone who was looked at.
        if in_flight >= endpoint.limit.limit() && !endpoint.limit.trickle(in_flight, now) {
            return Err(Removed::EndpointBusy);
        }
        take_permit(target, wish, now).map_err(Removed::WindowFull)?;
        // Last but one, so that what is set aside here is not set aside in vain.
        let taken = target.till.as_ref().map(|door| {
            let most = wish.most_at(target, door);
            door.take(most, self.clock)
        });
        let mut hold = match taken.transpose() {
            Ok(hold) => hold,
            Err(why) => {
                give_back_permit(target, wish, now);
                return Err(why.into());
            }
        };
        if let Some(blocked) = judged.probe_of
            && !target.endpoint.move_breaker(blocked, blocked.probing(now))
        {
            give_back_permit(target, wish, now);
            if let Some(hold) = &mut hold {
                hold.costs(NanoUsd::ZERO);
            }
            return Err(Removed::ProbeRunning);
        }
        let terms = LeaseTerms {
            model: target
                .endpoint
                .model
                .clone()
                .unwrap_or_else(|| wish.wildcard_model()),
            estimate: wish.estimate,
            shape: wish.shape,
            probe: judged.probe_of.is_some(),
            hold,
        };
        Ok(Lease::new(Arc::clone(target), terms, self.clock, now))
    }

    // --- the line of those who wait ---

    /// Puts a request in the line; hands it back with the reason when it cannot wait. `why` it was not placed: how
    /// fast a line is served tells nothing of a rate limit that is about to reopen.
    pub(super) fn queue(
        &mut self,
        waiting: Waiting,
        why: RefusalKind,
        now: Moment,
    ) -> Option<(Waiting, RefusalKind)> {
        let longest = now.after(self.line.max_wait);
        let comer = Comer {
            stake: waiting.wish.stake.clone(),
            lane: waiting.wish.lane,
            deadline: waiting.wish.deadline.min(longest),
        };
        let pushed = if why == RefusalKind::Busy && self.queue.is_hopeless(&comer, now) {
            Err(Shed {
                class: self.queue.class(&comer.stake),
                item: waiting,
                why: ShedReason::Hopeless,
            })
        } else {
            self.queue.push(comer, now, waiting)
        };
        self.count_waiting();
        pushed.err().map(|shed| self.told(shed))
    }

    /// Those who have waited too long or whose client has left.
    pub(super) fn late(&mut self, now: Moment) -> Vec<(Waiting, RefusalKind)> {
        self.queue.drop_left(|waiting| waiting.reply.is_closed());
        let late = self.queue.expired(now);
        self.count_waiting();
        late.into_iter().map(|shed| self.told(shed)).collect()
    }

    /// Counts one that is refused.
    fn told(&self, shed: Shed<Waiting>) -> (Waiting, RefusalKind) {
        let Shed { item, why, class } = shed;
        self.line.news.shed(item.wish.lane, why, class);
        (item, refusal_of(why))
    }

    /// The next of those who wait, if there is room for it. When whose turn it is wants what is not to be had, a
    /// few of those who follow are looked at: one tenant's demand for a place that is full must not hold up the rest.
    pub(super) fn next_in_line(&mut self, now: Moment) -> Option<Turn> {
        if self.queue.is_empty() {
            return None;
        }
        let in_panic = self.line.cell.panicking.load(Ordering::Relaxed);
        for head in self.queue.heads(now) {
            let Some((waiting, deadline)) = self.queue.peek(&head) else {
                continue;
            };
            if deadline <= now || waiting.reply.is_closed() {
                return Some(Turn::Gone);
            }
            let wish = Arc::clone(&waiting.wish);
            let mut reasons = Reasons::default();
            if let Some(lease) = self.try_lease(&wish, in_panic, now, &mut reasons) {
                return self.served(&head, lease, now);
            }
            if !wish.is_choosy() {
                return None;
            }
        }
        None
    }

    fn served(&mut self, head: &Head, lease: Lease, now: Moment) -> Option<Turn> {
        let popped = self.queue.pop(head, now)?;
        self.queue.served(now);
        let wait = now.since(popped.enqueued_at);
        self.line.news.waited(popped.lane, popped.class, wait);
        self.count_waiting();
        Some(Turn::Served(popped.item, lease))
    }

    fn count_waiting(&self) {
        let waiting = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.line.cell.waiting.store(waiting, Ordering::Relaxed);
        self.line.cell.metrics.waiting.set(f64::from(waiting));
    }

    /// Whether too few endpoints are usable to trust the breakers (fault P34).
    pub(super) fn look_around(&mut self, now: Moment) {
        let groups = &self.line.groups;
        let usable = groups
            .iter()
            .filter(|group| passes(group.endpoint.breaker(), now))
            .count();
        let in_panic = panicking(usable, groups.len());
        let was = self.line.cell.panicking.swap(in_panic, Ordering::Relaxed);
        if was != in_panic {
            self.line
                .cell
                .metrics
                .panicking
                .set(if in_panic { 1.0 } else { 0.0 });
            self.line
                .news
                .panic_changed(&self.line.cell.name, in_panic, usable, groups.len());
            self.line
                .seat
                .set_health(if in_panic { "panic" } else { "placing" });
        }
    }

    pub(super) fn explain(&mut self, wish: &Wish, now: Moment) -> Explanation {
        let line = Arc::clone(&self.line);
        let in_panic = line.cell.panicking.load(Ordering::Relaxed);
        let look = Look {
            now,
            in_panic,
            meet_again: false,
            without_choice: false,
        };
        let targets = line
            .groups
            .iter()
            .flat_map(|group| group.targets.iter().map(move |target| (group, target)))
            .map(|(group, target)| explain_target(group, target, wish, look))
            .collect();
        Explanation {
            pool: line.cell.name.to_string(),
            panicking: in_panic,
            waiting: line.cell.waiting.load(Ordering::Relaxed),
            targets,
        }
    }
}

fn passes(breaker: BreakerState, now: Moment) -> bool {
    match breaker {
        BreakerState::Passing { .. } => true,
        // A blocked period that is over only waits for its probe.
        BreakerState::Blocked { until, .. } => until <= now,
        BreakerState::Probing { .. } => false,
    }
}

/// Whether this provider can and may serve the request at all, and before or after which others.
fn rank(group: &Group, wish: &Wish) -> Result<Rank, Removed> {
    let Some(target) = group.targets.first() else {
        return Err(Removed::Tried);
    };
    let provider = group.endpoint.provider.as_str();
    let rank = wish.rank(provider, target.provider.dialect, target.price.as_ref())?;
    // Keys may promise different things; one that promises enough will do. Asked before the endpoint's health:
    // who may not serve is no reason to wait, and never a probe.
    let mut kept = Ok(());
    for target in &group.targets {
        kept = wish.allows(target);
        if kept.is_ok() {
            break;
        }
    }
    kept.map(|()| rank)
}

/// `Ok(Some(state))` when the request would be the probe that ends the blocked state.
fn endpoint_gate(
    endpoint: &Arc<EndpointCell>,
    wish: &Wish,
    look: Look,
) -> Result<Option<BreakerState>, Removed> {
    let now = look.now;
    let address = Arc::as_ptr(endpoint) as usize;
    let met = wish.tried.iter().any(|tried| {
        tried.endpoint == address
            && match tried.again {
                Again::Never | Again::OtherDialect(_) => true,
                Again::LastResort => !look.meet_again,
                Again::OtherKey | Again::SameKeyLater => wish.purpose == Purpose::SecondLeg,
            }
    });
    if met {
        return Err(Removed::Tried);
    }
    if let Some(left) = endpoint.disabled.left(now) {
        return Err(Removed::ModelDisabled(left));
    }
    let in_flight = endpoint.in_flight.load(Ordering::Relaxed);
    if in_flight >= endpoint.limit.limit() {
        let goes_beyond = wish.purpose == Purpose::Attempt
            && matches!(endpoint.breaker(), BreakerState::Passing { .. })
            && endpoint.limit.may_trickle(in_flight, now);
        if !goes_beyond {
            return Err(Removed::EndpointBusy);
        }
    }
    match endpoint.breaker() {
        BreakerState::Passing { .. } => Ok(None),
        BreakerState::Blocked { .. } | BreakerState::Probing { .. } if look.in_panic => Ok(None),
        state @ BreakerState::Blocked { until, .. } => {
            let early = look.without_choice && state.may_be_probed_early(now);
            if (until <= now || early) && wish.purpose == Purpose::Attempt {
                Ok(Some(state))
            } else {
                Err(Removed::Blocked(until.since(now)))
            }
        }
        state @ BreakerState::Probing { .. } => {
            if state.probe_is_lost(now) && wish.purpose == Purpose::Attempt {
                Ok(Some(state))
            } else {
                Err(Removed::ProbeRunning)
            }
        }
    }
}

/// How much room the key has for this request.
fn key_room(target: &Target, wish: &Wish, look: Look) -> Result<Score, Removed> {
    let now = look.now;
    wish.allows(target)?;
    if target.key.held.load(Ordering::Relaxed) {
        return Err(Removed::Held);
    }
    if let Some(door) = &target.till {
        door.reaches(wish.most_at(target, door))?;
    }
    if wish
        .wider_than
        .is_some_and(|than| target.context_window.is_none_or(|own| own <= than))
    {
        return Err(Removed::ContextTooSmall);
    }
    if wish.direct_only && target.provider.egress.is_some() {
        return Err(Removed::BehindProxy);
    }
    let key_address = Arc::as_ptr(&target.key) as usize;
    let endpoint_address = Arc::as_ptr(&target.endpoint) as usize;
    if wish.tried.iter().any(|tried| {
        tried.key == key_address
            && tried.endpoint == endpoint_address
            && !(look.meet_again && matches!(tried.again, Again::LastResort | Again::SameKeyLater))
    }) {
        return Err(Removed::Tried);
    }
    let window = &target.window;
    if let Some(left) = target.key.quarantine.left(now) {
        let refused = target.key.refused.load(Ordering::Relaxed)
            || target.key.tokenless.load(Ordering::Relaxed);
        return Err(if refused {
            Removed::KeyRefused(left)
        } else {
            Removed::KeyOutOfQuota(left)
        });
    }
    if let Some(left) = window.disabled.left(now) {
        return Err(Removed::KeyRefused(left));
    }
    if let Some(left) = window.cooldown.left(now) {
        return Err(Removed::Cooling(left));
    }
    if target
        .limits
        .concurrency
        .is_some_and(|most| window.in_flight.load(Ordering::Relaxed) >= most)
    {
        return Err(Removed::KeyBusy);
    }
    told_room(target, wish, now).map_err(Removed::WindowFull)?;
    Ok(ratio(target, now))
}

/// What the provider's own headers said is left.
fn told_room(target: &Target, wish: &Wish, now: Moment) -> Result<(), Duration> {
    let (input, output) = (wish.estimate.input.0, wish.estimate.output.0);
    let window = &target.window;
    window.told_requests.room(1, now)?;
    window.told_tokens.room(input, now)?;
    window.told_input.room(input, now)?;
    // The provider counts what was written, not what might be; one token of room is room.
    window.told_output.room(output.min(1), now)
}

fn ratio(target: &Target, now: Moment) -> Score {
    let window = &target.window;
    let told = [
        &window.told_requests,
        &window.told_tokens,
        &window.told_input,
        &window.told_output,
    ];
    let limits = &target.limits;
    let own = [
        limits.requests.map(|most| (window.requests.sum(now), most)),
        limits.input.map(|most| (window.input.sum(now), most)),
        limits.output.map(|most| (window.output.sum(now), most)),
        limits
            .tokens
            .map(|most| (window.input.sum(now) + window.output.sum(now), most)),
    ];
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    let own = own
        .into_iter()
        .flatten()
        .map(|(used, most)| Score::new(1.0 - used as f32 / most.max(1) as f32));
    head_room(
        told.into_iter()
            .filter_map(|told| told.ratio(now))
            .chain(own),
    )
}

fn take_permit(target: &Target, wish: &Wish, now: Moment) -> Result<(), Duration> {
    let window = &target.window;
    let limits = &target.limits;
    let (input, output) = (clamped(wish.estimate.input), clamped(wish.estimate.output));
    let unlimited = u64::MAX;
    window
        .requests
        .try_take(1, limits.requests.unwrap_or(unlimited), now)?;
    let tokens_fit = limits.tokens.is_none_or(|most| {
        let used = window.input.sum(now) + window.output.sum(now);
        // A request larger than the whole window must pass when the window is empty, or it never would.
        used == 0 || used + u64::from(input) + u64::from(output) <= most
    });
    let taken = if tokens_fit {
        take_one(&window.input, input, limits.input, now).and_then(|()| {
            take_one(&window.output, output, limits.output, now)
                .inspect_err(|_| window.input.give_back(input, now, now))
        })
    } else {
        Err(Duration::from_secs(1))
    };
    if taken.is_err() {
        window.requests.give_back(1, now, now);
        return taken;
    }
    window.told_requests.spend(1);
    window.told_tokens.spend(u64::from(input));
    window.told_input.spend(u64::from(input));
    Ok(())
}

fn take_one(
    window: &crate::policy::window::SlidingWindow,
    amount: u32,
    limit: Option<u64>,
    now: Moment,
) -> Result<(), Duration> {
    // As above: what never fits is let through alone rather than never.
    let limit = limit.map_or(u64::MAX, |limit| limit.max(u64::from(amount)));
    window.try_take(amount, limit, now)
}

fn give_back_permit(target: &Target, wish: &Wish, now: Moment) {
    target.window.requests.give_back(1, now, now);
    target
        .window
        .input
        .give_back(clamped(wish.estimate.input), now, now);
    target
        .window
        .output
        .give_back(clamped(wish.estimate.output), now, now);
}

fn candidate(group: &Group, wish: &Wish, room: Score, now: Moment) -> Candidate {
    let endpoint = &group.endpoint;
    let share = match endpoint.breaker() {
        BreakerState::Passing {
            slow_start_from, ..
        } => slow_start_share(slow_start_from, now),
        BreakerState::Blocked { .. } | BreakerState::Probing { .. } => Score::FULL,
    };
    Candidate {
        cost_ms: endpoint
            .cost(wish.shape)
            .cost(now)
            .max(endpoint.waits(wish.shape).in_vain(now)),
        in_flight: endpoint.in_flight.load(Ordering::Relaxed),
        weight: group.weight,
        share,
        room,
        fault_share: endpoint.health.snapshot(now).fault_share(),
    }
}

fn explain_target(group: &Group, target: &Target, wish: &Wish, look: Look) -> ExplainedTarget {
    let now = look.now;
    let endpoint = &group.endpoint;
    let gate = rank(group, wish).and_then(|_| endpoint_gate(endpoint, wish, look));
    let room = gate.and_then(|_| key_room(target, wish, look));
    let candidate = candidate(group, wish, room.unwrap_or(Score::NONE), now);
    let sketch = endpoint.first_content(wish.shape);
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    ExplainedTarget {
        provider: endpoint.provider.to_string(),
        model: endpoint
            .model
            .as_ref()
            .map_or_else(|| "*".to_owned(), ToString::to_string),
        key: Some(target.key.name.to_string()),
        weight: group.weight,
        removed: room.err().map(Removed::label),
        wait_ms: room.err().and_then(Removed::retry_after).map(millis),
        share: candidate.share.get(),
        room: candidate.room.get(),
        cost_ms: candidate.cost_ms,
        first_content_p50_ms: sketch.quantile(0.5, now).map(millis),
        first_content_p99_ms: sketch.quantile(0.99, now).map(millis),
        in_flight: candidate.in_flight,
        in_flight_limit: endpoint.limit.limit(),
        load: load(&candidate),
        breaker: endpoint.breaker().label(),
    }
}

fn refusal_of(shed: ShedReason) -> RefusalKind {
    match shed {
        ShedReason::Full | ShedReason::Hopeless => RefusalKind::QueueFull,
        ShedReason::Deadline => RefusalKind::Deadline,
        ShedReason::Codel => RefusalKind::Shed,
    }
}
