//! Cells: the numbers that outlive the actors who decide them, as Erlang does with `counters`.
//!
//! A request's task reads and counts here without a message; the owner named on each cell alone decides
//! its gates. Everything is an atomic, so a crash in the middle of anything leaves a usable number.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::{KeyName, ModelName, Moment, PoolName, ProviderName, Score, Shape};
use crate::policy::breaker::BreakerState;
use crate::policy::concurrency::AdaptiveLimit;
use crate::policy::headroom::Told;
use crate::policy::health::HealthWindow;
use crate::policy::hedge::HedgeBudget;
use crate::policy::latency::LatencySketch;
use crate::policy::panic::Throttle;
use crate::policy::quarantine::extend;
use crate::policy::retry::RetryBudget;
use crate::policy::score::{PeakEwma, Waits};
use crate::policy::window::SlidingWindow;
use crate::telemetry::metrics::{EndpointMetrics, KeyMetrics, PoolMetrics};

/// A point in time that only ever moves on: `until = max(until, now + wait)` (ground rule G5).
#[derive(Debug, Default)]
pub struct Until(AtomicU64);

impl Until {
    pub fn get(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    pub fn extend(&self, now: Moment, wait: Duration) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
                Some(extend(Moment(until), now, wait).0)
            });
    }

    /// Ends the wait at once; only a proof that the reason is gone may do this.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The wait that is left; `None` when it is over.
    pub fn left(&self, now: Moment) -> Option<Duration> {
        let left = self.get().since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// One provider's one model: its health and speed. Gates decided by the provider actor.
#[derive(Debug)]
pub struct EndpointCell {
    pub provider: ProviderName,
    /// `None` for a wildcard target: any model, sent as the client wrote it.
    pub model: Option<ModelName>,
    pub health: HealthWindow,
    breaker: AtomicU64,
    /// The provider said it does not have this model (fault P23).
    pub disabled: Until,
    pub in_flight: AtomicU32,
    pub limit: AdaptiveLimit,
    cost: [PeakEwma; Shape::COUNT],
    waits: [Waits; Shape::COUNT],
    first_content: [LatencySketch; Shape::COUNT],
    pub gaps: LatencySketch,
    pub metrics: EndpointMetrics,
}

impl EndpointCell {
    pub fn new(provider: ProviderName, model: Option<ModelName>, max_in_flight: u32) -> Self {
        let metrics = EndpointMetrics::new(
            provider.as_str(),
            model.as_ref().map_or("other", ModelName::as_str),
        );
        Self {
            provider,
            model,
            health: HealthWindow::new(),
            breaker: AtomicU64::new(BreakerState::default().pack()),
            disabled: Until::default(),
            in_flight: AtomicU32::new(0),
            limit: AdaptiveLimit::new(max_in_flight),
            cost: Default::default(),
            waits: Default::default(),
            first_content: Default::default(),
            gaps: LatencySketch::new(),
            metrics,
        }
    }

    pub fn breaker(&self) -> BreakerState {
        BreakerState::unpack(self.breaker.load(Ordering::Acquire))
    }

    /// Published by the provider actor, and by whoever wins the one probe of a blocked period.
    pub fn publish_breaker(&self, state: BreakerState) {
        self.breaker.store(state.pack(), Ordering::Release);
    }

    /// Moves from one published state to another, unless someone was faster.
    pub fn move_breaker(&self, from: BreakerState, to: BreakerState) -> bool {
        self.breaker
            .compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    pub fn cost(&self, shape: Shape) -> &PeakEwma {
        &self.cost[shape.index()]
    }

    pub fn waits(&self, shape: Shape) -> &Waits {
        &self.waits[shape.index()]
    }

    pub fn first_content(&self, shape: Shape) -> &LatencySketch {
        &self.first_content[shape.index()]
    }
}

/// One of our keys. Decided by its key actor.
#[derive(Debug)]
pub struct KeyCell {
    pub provider: ProviderName,
    pub name: KeyName,
    pub quarantine: Until,
    /// Why the key is quarantined is worth telling apart: money, or a refused key.
    pub refused: AtomicBool,
    /// It is traded for a token, and there is none: a reason of its own, which ends when one comes.
    pub tokenless: AtomicBool,
    /// An operator took it out of placement.
    pub held: AtomicBool,
    pub in_flight: AtomicU32,
}

impl KeyCell {
    pub fn new(provider: ProviderName, name: KeyName) -> Self {
        Self {
            provider,
            name,
            quarantine: Until::default(),
            refused: AtomicBool::new(false),
            tokenless: AtomicBool::new(false),
            held: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
        }
    }
}

/// One key at one model: the provider's rate-limit window as we know it. Decided by the key actor.
#[derive(Debug)]
pub struct WindowCell {
    pub requests: SlidingWindow,
    pub input: SlidingWindow,
    pub output: SlidingWindow,
    pub told_requests: Told,
    pub told_tokens: Told,
    pub told_input: Told,
    pub told_output: Told,
    pub cooldown: Until,
    pub disabled: Until,
    pub in_flight: AtomicU32,
    /// Throttles since the last success: the exponent of the back-off.
    pub throttles: AtomicU32,
    pub metrics: KeyMetrics,
}

impl WindowCell {
    /// What is left of the tightest limit the provider told; `None` when it told none.
    pub fn told_ratio(&self, now: Moment) -> Option<Score> {
        [
            &self.told_requests,
            &self.told_tokens,
            &self.told_input,
            &self.told_output,
        ]
        .into_iter()
        .filter_map(|told| told.ratio(now))
        .reduce(|least, ratio| if ratio < least { ratio } else { least })
    }

    pub fn new(provider: &ProviderName, key: &KeyName, model: Option<&ModelName>) -> Self {
        Self {
            requests: SlidingWindow::new(),
            input: SlidingWindow::new(),
            output: SlidingWindow::new(),
            told_requests: Told::new(),
            told_tokens: Told::new(),
            told_input: Told::new(),
            told_output: Told::new(),
            cooldown: Until::default(),
            disabled: Until::default(),
            in_flight: AtomicU32::new(0),
            throttles: AtomicU32::new(0),
            metrics: KeyMetrics::new(
                provider.as_str(),
                key.as_str(),
                model.map_or("other", ModelName::as_str),
            ),
        }
    }
}

/// What a pool shares with the tasks it placed. Decided by the pool and its race strategy.
#[derive(Debug)]
pub struct PoolCell {
    pub name: PoolName,
    /// How many requests wait in the pool; a freed lease tells the pool only when someone does.
    pub waiting: AtomicU32,
    pub panicking: AtomicBool,
    pub retries: RetryBudget,
    pub throttle: Throttle,
    pub hedges: HedgeBudget,
    pub first_content: [LatencySketch; Shape::COUNT],
    /// Per prompt class, after how many microseconds a second leg is worth it; 0 means never.
    hedge_after: [AtomicU64; Shape::COUNT],
    /// The last pushback any target of the pool gave: no hedge soon after (fault S07).
    pub pushed_back: Until,
    pub metrics: PoolMetrics,
}

impl PoolCell {
    pub fn new(name: PoolName) -> Self {
        let metrics = PoolMetrics::new(name.as_str());
        Self {
            name,
            waiting: AtomicU32::new(0),
            panicking: AtomicBool::new(false),
            retries: RetryBudget::new(),
            throttle: Throttle::new(),
            hedges: HedgeBudget::new(),
            first_content: Default::default(),
            hedge_after: Default::default(),
            pushed_back: Until::default(),
            metrics,
        }
    }

    /// When a second leg of this class should start; `None` when hedging is off or nothing is learnt.
    pub fn hedge_after(&self, shape: Shape) -> Option<Duration> {
        let micros = self.hedge_after[shape.index()].load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    pub fn set_hedge_after(&self, shape: Shape, after: Option<Duration>) {
        let micros = after.map_or(0, |wait| {
            u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)
        });
        self.hedge_after[shape.index()].store(micros, Ordering::Relaxed);
    }
}
