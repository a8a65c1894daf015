//! The right to make one attempt: a target, a permit in its windows, and what to do when it ends.
//!
//! A lease dropped before the send refunds itself; dropped after it counts as spent, because the provider
//! may have billed it. Success costs no message; a failure is told to its owners at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cells::{EndpointCell, KeyCell, PoolCell, WindowCell};
use super::clock::Clock;
use super::key::KeyMessage;
use super::pool::PoolMessage;
use super::provider::{ProbeEnd, ProviderMessage};
use super::seller::Seller;
use super::slot::Slot;
use super::till::{Hold, TillDoor};
use crate::config::ProviderSettings;
use crate::domain::{
    AttemptOutcome, Border, KeyName, Mode, ModelName, Moment, NanoUsd, Shape, Tokens, Usage,
};
use crate::policy::quarantine::{LEAST_COOLDOWN, LONGEST_PUSHBACK};
use crate::policy::residency::Handling;
use crate::pricing::Price;

/// What a key may do per minute, as configured; `None` is no limit of our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowLimits {
    pub requests: Option<u64>,
    /// Input and output together.
    pub tokens: Option<u64>,
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub concurrency: Option<u32>,
}

/// Provider, model and key with everything an attempt needs to know of them.
#[derive(Debug)]
pub struct Target {
    pub endpoint: Arc<EndpointCell>,
    pub key: Arc<KeyCell>,
    /// The key's name in this configuration; two names may share one cell.
    pub key_name: KeyName,
    pub window: Arc<WindowCell>,
    pub limits: WindowLimits,
    pub context_window: Option<Tokens>,
    /// `None` where any model is served: then it is looked up.
    pub price: Option<Price>,
    pub pool: Arc<PoolCell>,
    pub provider: Arc<ProviderSettings>,
    /// What becomes of what is sent with this key.
    pub handling: Arc<Handling>,
    /// `None`: nothing limits what is spent there.
    pub(crate) till: Option<TillDoor>,
    pub seller: Arc<Seller>,
    pub provider_slot: Arc<Slot<ProviderMessage>>,
    pub key_slot: Arc<Slot<KeyMessage>>,
    pub pool_slot: Arc<Slot<PoolMessage>>,
}

/// How a failed attempt is told to those who decide about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    pub outcome: AttemptOutcome,
    /// How long the provider asked us to stay away; `None` when it did not say.
    pub pushback: Option<Duration>,
    /// How long until the date the provider named for a spent quota; `None` when it named none.
    pub until_date: Option<Duration>,
    /// The refusal is about this model only, not about the key as such.
    pub model_only: bool,
}

impl FailedAttempt {
    pub fn plain(outcome: AttemptOutcome) -> Self {
        Self {
            outcome,
            pushback: None,
            until_date: None,
            model_only: false,
        }
    }
}

/// Tokens a request is expected to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    pub input: Tokens,
    pub output: Tokens,
}

impl Estimate {
    /// What a second leg costs on top: all of the input, and of the output what its provider makes before it is
    /// cancelled: next to nothing of a stream, which ends at the other's first content.
    pub fn second_leg(&self, mode: Mode) -> Tokens {
        const A_FEW: u64 = 16;
        let output = match mode {
            Mode::Stream => self.output.0.min(A_FEW),
            Mode::Whole => self.output.0 / 8,
        };
        Tokens(self.input.0.saturating_add(output))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unsent,
    Sent,
    /// The outcome was told.
    Told,
}

#[derive(Debug)]
pub struct Lease {
    target: Arc<Target>,
    model: ModelName,
    estimate: Estimate,
    shape: Shape,
    taken_at: Moment,
    phase: Phase,
    /// Sent, and no content came yet.
    waits: bool,
    probe: bool,
    /// What is set aside at the provider's till.
    hold: Option<Hold>,
    clock: Clock,
}

/// What a pool says about the request when it hands out a lease.
#[derive(Debug)]
pub(super) struct LeaseTerms {
    pub(super) model: ModelName,
    pub(super) estimate: Estimate,
    pub(super) shape: Shape,
    pub(super) probe: bool,
    pub(super) hold: Option<Hold>,
}

impl Lease {
    /// The permit in the windows has been taken by the pool; from here on the lease answers for it.
    pub(super) fn new(target: Arc<Target>, terms: LeaseTerms, clock: Clock, now: Moment) -> Self {
        target.endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        target.endpoint.metrics.in_flight.increment(1.0);
        target.key.in_flight.fetch_add(1, Ordering::Relaxed);
        target.window.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            target,
            model: terms.model,
            estimate: terms.estimate,
            shape: terms.shape,
            taken_at: now,
            phase: Phase::Unsent,
            waits: false,
            probe: terms.probe,
            hold: terms.hold,
            clock,
        }
    }

    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The model as the provider calls it.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// Whether the provider may have begun to work on it.
    pub fn was_sent(&self) -> bool {
        self.phase != Phase::Unsent
    }

    /// What the attempt did cost; `None`: nobody knows, and what was set aside counts.
    pub fn costs(&mut self, cost: Option<NanoUsd>) {
        if let (Some(hold), Some(cost)) = (&mut self.hold, cost) {
            hold.costs(cost);
        }
    }

    /// Behind which border of the journal that stands; `None`: in no journal, for all that is known. False where
    /// nobody had anything set aside for it.
    pub fn recorded(&mut self, border: Option<Border>) -> bool {
        if let (Some(hold), Some(border)) = (&mut self.hold, border) {
            hold.recorded(border);
        }
        self.hold.is_some()
    }

    pub fn estimate(&self) -> Estimate {
        self.estimate
    }

    /// Whether this attempt is the one that decides if a blocked endpoint may pass again.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// From here on the provider may bill us.
    pub fn sent(&mut self) {
        self.phase = Phase::Sent;
        self.waits = true;
        self.target
            .endpoint
            .waits(self.shape)
            .begins(self.clock.now());
    }

    fn waits_no_longer(&mut self, served: bool, now: Moment) {
        if std::mem::replace(&mut self.waits, false) {
            self.target.endpoint.waits(self.shape).ends(served, now);
        }
    }

    /// Content began this long after the send.
    pub fn first_content(&mut self, after: Duration) {
        let now = self.clock.now();
        self.waits_no_longer(true, now);
        let endpoint = &self.target.endpoint;
        let millis = after.as_secs_f32() * 1_000.0;
        endpoint.cost(self.shape).observe(millis, now);
        endpoint.first_content(self.shape).observe(millis, now);
        self.target.pool.first_content[self.shape.index()].observe(millis, now);
        endpoint
            .limit
            .completed(endpoint.in_flight.load(Ordering::Relaxed));
        endpoint.metrics.first_content.record(after.as_secs_f64());
    }

    /// The client's time was up after this long without content: nobody's fault, but the target is at least
    /// that slow, and is asked less from now on.
    pub fn out_of_time(&self, after: Duration) {
        let now = self.clock.now();
        let cost = self.target.endpoint.cost(self.shape);
        let millis = after.as_secs_f32() * 1_000.0;
        if millis > cost.cost(now) {
            cost.observe(millis, now);
        }
    }

    /// The attempt brought a whole answer. No message, unless it was a probe or ends a row of throttles.
    pub fn succeeded(&mut self, usage: Option<&Usage>) {
        let now = self.clock.now();
        let target = &self.target;
        target.endpoint.health.success(now);
        target.pool.throttle.success(now);
        if target.window.throttles.load(Ordering::Relaxed) != 0 {
            target.window.throttles.store(0, Ordering::Relaxed);
        }
        if self.probe {
            let endpoint = Arc::clone(&target.endpoint);
            let _ = target.provider_slot.cast(ProviderMessage::ProbeEnded {
                endpoint,
                how: ProbeEnd::Succeeded,
            });
        }
        self.settle(usage, now);
    }

    /// The attempt failed: counted at once, and told to the one whose state it changes.
    pub fn failed(&mut self, failed: FailedAttempt) {
        let now = self.clock.now();
        let outcome = failed.outcome;
        let target = &self.target;
        if outcome.counts_against_endpoint() {
            // Counted here, not by the actor, so that a provider actor in restart forgets nothing.
            target.endpoint.health.failure(now);
            if matches!(
                outcome,
                AttemptOutcome::Overloaded | AttemptOutcome::FirstContentTimeout
            ) {
                let in_flight = target.endpoint.in_flight.load(Ordering::Relaxed);
                target.endpoint.limit.overloaded(in_flight, now);
            }
        }
        if outcome == AttemptOutcome::Throttled {
            // What the provider asked for holds at once: the next placement may be faster than the key actor.
            let wait = failed
                .pushback
                .unwrap_or(LEAST_COOLDOWN)
                .min(LONGEST_PUSHBACK);
            target.window.cooldown.extend(now, wait);
        }
        if let Some(wait) = failed.pushback {
            target
                .pool
                .pushed_back
                .extend(now, wait.min(Duration::from_secs(10)));
        }
        let endpoint = Arc::clone(&target.endpoint);
        let told_provider = if self.probe {
            let how = self.probe_end(outcome);
            Some(ProviderMessage::ProbeEnded { endpoint, how })
        } else if outcome == AttemptOutcome::ModelGone {
            Some(ProviderMessage::ModelGone { endpoint })
        } else if outcome.counts_against_endpoint() {
            Some(ProviderMessage::Failed { endpoint })
        } else {
            None
        };
        if let Some(message) = told_provider {
            let _ = target.provider_slot.cast(message);
        }
        if outcome.counts_against_key() {
            let window = Arc::clone(&target.window);
            let wildcard = target.endpoint.model.is_none();
            let _ = target.key_slot.cast(KeyMessage::Failed {
                window,
                failed,
                wildcard,
            });
        }
        self.settle(None, now);
    }

    /// What a failed attempt says of the blocked endpoint that it was to probe.
    fn probe_end(&self, outcome: AttemptOutcome) -> ProbeEnd {
        let asked_nobody = matches!(
            outcome,
            AttemptOutcome::Cancelled
                | AttemptOutcome::Deadline
                | AttemptOutcome::Egress
                | AttemptOutcome::Token
        );
        if outcome.counts_against_endpoint() {
            ProbeEnd::Failed
        } else if asked_nobody || !self.was_sent() {
            ProbeEnd::Abandoned
        } else {
            // It answered, if only with a refusal that is not its fault.
            ProbeEnd::Succeeded
        }
    }

    /// A failure that turned out to be the request's own: the endpoint gets its good name back (fault P27).
    pub fn take_back_failure(target: &Target, clock: &Clock) {
        target.endpoint.health.take_back(1, clock.now());
    }

    /// Replaces the estimate by what was really used, or leaves it when nobody knows.
    fn settle(&mut self, usage: Option<&Usage>, now: Moment) {
        self.phase = Phase::Told;
        let Some(usage) = usage else { return };
        let window = &self.target.window;
        window
            .input
            .correct(difference(usage.input, self.estimate.input), now);
        window
            .output
            .correct(difference(usage.output, self.estimate.output), now);
    }

    fn refund(&self, now: Moment) {
        let window = &self.target.window;
        window.requests.give_back(1, self.taken_at, now);
        window
            .input
            .give_back(clamped(self.estimate.input), self.taken_at, now);
        window
            .output
            .give_back(clamped(self.estimate.output), self.taken_at, now);
    }
}

fn difference(real: Tokens, estimated: Tokens) -> i64 {
    let real = i64::try_from(real.0).unwrap_or(i64::MAX);
    real.saturating_sub(i64::try_from(estimated.0).unwrap_or(i64::MAX))
}

/// Windows count in 32 bits; four billion tokens a minute is as good as no limit.
pub(super) fn clamped(tokens: Tokens) -> u32 {
    u32::try_from(tokens.0).unwrap_or(u32::MAX)
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.waits {
            self.waits_no_longer(false, self.clock.now());
        }
        if self.phase == Phase::Unsent {
            self.costs(Some(NanoUsd::ZERO));
        }
        // Before anyone who waits is told.
        drop(self.hold.take());
        let target = &self.target;
        target.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        target.endpoint.metrics.in_flight.decrement(1.0);
        target.key.in_flight.fetch_sub(1, Ordering::Relaxed);
        target.window.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.phase == Phase::Unsent {
            self.refund(self.clock.now());
        }
        if self.probe && self.phase != Phase::Told {
            // The waiting ones are woken by the pool's own tick instead: one message per drop.
            let endpoint = Arc::clone(&target.endpoint);
            let how = ProbeEnd::Abandoned;
            let _ = target
                .provider_slot
                .cast(ProviderMessage::ProbeEnded { endpoint, how });
        } else if target.pool.waiting.load(Ordering::Relaxed) > 0 {
            let _ = target.pool_slot.cast(PoolMessage::Freed);
        }
    }
}
