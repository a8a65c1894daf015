//! The breaker of one endpoint: `Passing`, `Blocked`, `Probing`, as a step function.
//!
//! The whole state packs into one integer, so that it can be published in an atomic, taken over by a
//! restarted actor, and moved to `Probing` by whichever pool wins the one probe.

use std::time::Duration;

use super::health::Health;
use crate::domain::{Moment, Score};

/// Failures in a row that trip it.
const ROW: u32 = 5;
/// Or a success rate below this share of at least so many in the window.
const ENOUGH: u32 = 20;
const LEAST_SUCCESS: f32 = 0.8;
const FIRST_BLOCK: Duration = Duration::from_secs(1);
const LONGEST_BLOCK: Duration = Duration::from_secs(5);
/// Passing this long without a trip forgives the back-off.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);
const SLOW_START: Duration = Duration::from_secs(10);
const SLOW_START_FROM: f32 = 0.1;
/// A probe this old has been lost with whoever sent it.
const PROBE_LOST_AFTER: Duration = Duration::from_secs(30);
const MOST_TRIPS: u8 = 3;
/// With nothing else to place a request on, a block lasts this long.
const BLOCK_WITHOUT_CHOICE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// `slow_start_from` is `None` while it never tripped.
    Passing {
        slow_start_from: Option<Moment>,
        trips: u8,
    },
    Blocked {
        until: Moment,
        trips: u8,
    },
    /// One request is under way to find out.
    Probing {
        since: Moment,
        trips: u8,
    },
}

impl Default for BreakerState {
    fn default() -> Self {
        Self::Passing {
            slow_start_from: None,
            trips: 0,
        }
    }
}

impl BreakerState {
    pub fn label(self) -> &'static str {
        match self {
            Self::Passing { .. } => "passing",
            Self::Blocked { .. } => "blocked",
            Self::Probing { .. } => "probing",
        }
    }

    /// For the metric: 0 passing, 1 probing, 2 blocked.
    pub fn gauge(self) -> f64 {
        match self {
            Self::Passing { .. } => 0.0,
            Self::Probing { .. } => 1.0,
            Self::Blocked { .. } => 2.0,
        }
    }

    pub fn probing(self, now: Moment) -> Self {
        Self::Probing {
            since: now,
            trips: self.trips(),
        }
    }

    /// Whether a request that could go nowhere else soon may be the probe. A block spares callers a bad target
    /// while there are better ones; with none, waiting it out would be an avoidable failure.
    pub fn may_be_probed_early(self, now: Moment) -> bool {
        match self {
            Self::Blocked { until, trips } => {
                let begun_before =
                    wait_of(trips.saturating_sub(1)).saturating_sub(BLOCK_WITHOUT_CHOICE);
                until.since(now) <= begun_before
            }
            Self::Passing { .. } | Self::Probing { .. } => false,
        }
    }

    /// A probing state whose probe never came back may be probed again.
    pub fn probe_is_lost(self, now: Moment) -> bool {
        match self {
            Self::Probing { since, .. } => now.since(since) >= PROBE_LOST_AFTER,
            Self::Passing { .. } | Self::Blocked { .. } => false,
        }
    }

    fn trips(self) -> u8 {
        match self {
            Self::Passing { trips, .. }
            | Self::Blocked { trips, .. }
            | Self::Probing { trips, .. } => trips,
        }
    }

    /// Two bits of state, four of trips, the rest milliseconds: 8 million years of uptime.
    pub fn pack(self) -> u64 {
        let (tag, at, trips) = match self {
            Self::Passing {
                slow_start_from,
                trips,
            } => (0, slow_start_from.unwrap_or_default(), trips),
            Self::Blocked { until, trips } => (1, until, trips),
            Self::Probing { since, trips } => (2, since, trips),
        };
        ((at.0 / 1_000) << 6) | (u64::from(trips & 0xf) << 2) | tag
    }

    pub fn unpack(packed: u64) -> Self {
        let at = Moment::from_millis(packed >> 6);
        let trips = ((packed >> 2) & 0xf) as u8;
        match packed & 3 {
            1 => Self::Blocked { until: at, trips },
            2 => Self::Probing { since: at, trips },
            _ => Self::Passing {
                slow_start_from: (at != Moment::START).then_some(at),
                trips,
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerEvent {
    /// An ordinary attempt failed; the window already counts it.
    Failed(Health),
    ProbeSucceeded,
    ProbeFailed,
    /// It ended without telling anything.
    ProbeAbandoned,
}

/// A move worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: &'static str,
    pub to: &'static str,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    state: BreakerState,
}

impl From<BreakerState> for Breaker {
    fn from(state: BreakerState) -> Self {
        Self { state }
    }
}

impl Breaker {
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// `draw` in 0..1 spreads the blocked periods of many gateways.
    pub fn step(&mut self, event: BreakerEvent, now: Moment, draw: f64) -> Option<Change> {
        let next = match (self.state, event) {
            (
                BreakerState::Passing {
                    slow_start_from,
                    trips,
                },
                BreakerEvent::Failed(health),
            ) => {
                if !trips_it(&health) {
                    return None;
                }
                let forgiven = slow_start_from.is_none_or(|from| now.since(from) >= FORGIVEN_AFTER);
                blocked(if forgiven { 0 } else { trips }, now, draw)
            }
            (BreakerState::Probing { trips, .. }, BreakerEvent::ProbeSucceeded) => {
                BreakerState::Passing {
                    slow_start_from: Some(now),
                    trips,
                }
            }
            (BreakerState::Probing { trips, .. }, BreakerEvent::ProbeFailed) => {
                blocked(trips, now, draw)
            }
            (BreakerState::Probing { trips, .. }, BreakerEvent::ProbeAbandoned) => {
                BreakerState::Blocked { until: now, trips }
            }
            // Attempts that were under way before the block, or ended after it, change nothing.
            (
                BreakerState::Blocked { .. } | BreakerState::Probing { .. },
                BreakerEvent::Failed(_),
            )
            | (
                BreakerState::Passing { .. } | BreakerState::Blocked { .. },
                BreakerEvent::ProbeSucceeded
                | BreakerEvent::ProbeFailed
                | BreakerEvent::ProbeAbandoned,
            ) => return None,
        };
        let change = Change {
            from: self.state.label(),
            to: next.label(),
        };
        self.state = next;
        Some(change)
    }
}

fn trips_it(health: &Health) -> bool {
    let too_many = |successes: u32, failures: u32| {
        let all = successes + failures;
        #[expect(clippy::cast_precision_loss, reason = "a ratio of small counts")]
        let success_share = successes as f32 / all.max(1) as f32;
        all >= ENOUGH && success_share < LEAST_SUCCESS
    };
    // The last two seconds count by themselves: at a high rate a good past would hide them for seconds.
    health.consecutive_failures >= ROW
        || too_many(health.successes, health.failures)
        || too_many(health.recent_successes, health.recent_failures)
}

fn wait_of(trips: u8) -> Duration {
    (FIRST_BLOCK * (1 << trips.min(MOST_TRIPS))).min(LONGEST_BLOCK)
}

/// 1 s, 2 s, 4 s, 5 s …, each longer by up to a quarter.
fn blocked(trips: u8, now: Moment, draw: f64) -> BreakerState {
    let trips = trips.min(MOST_TRIPS);
    let wait = wait_of(trips).mul_f64(1.0 + draw.clamp(0.0, 1.0) / 4.0);
    BreakerState::Blocked {
        until: now.after(wait),
        trips: (trips + 1).min(MOST_TRIPS + 1),
    }
}

/// The share of its traffic an endpoint may take this long after its return: 10 % to all in 10 s (O13).
pub fn slow_start_share(from: Option<Moment>, now: Moment) -> Score {
    let Some(from) = from else { return Score::FULL };
    let done = now.since(from).as_secs_f32() / SLOW_START.as_secs_f32();
    Score::new(SLOW_START_FROM + (1.0 - SLOW_START_FROM) * done)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment::from_secs(100);

    fn row(consecutive_failures: u32) -> BreakerEvent {
        BreakerEvent::Failed(Health {
            successes: 0,
            failures: consecutive_failures,
            consecutive_failures,
            ..Health::default()
        })
    }

    fn until(breaker: &Breaker) -> Moment {
        match breaker.state() {
            BreakerState::Blocked { until, .. } => until,
            other @ (BreakerState::Passing { .. } | BreakerState::Probing { .. }) => {
                panic!("not blocked: {other:?}")
            }
        }
    }

    #[test]
    fn p10_five_failures_in_a_row_block_it() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.step(row(4), NOW, 0.5), None);
        assert_eq!(
            breaker.step(row(5), NOW, 0.5),
            Some(Change {
                from: "passing",
                to: "blocked"
            })
        );
        let wait = until(&breaker).since(NOW);
        assert!((Duration::from_secs(1)..=Duration::from_millis(1_250)).contains(&wait));
    }

    #[test]
    fn p34_with_nothing_else_a_block_may_be_probed_after_a_quarter_of_a_second() {
        for (trips, draw) in [(0, 0.0), (1, 0.5), (2, 1.0), (3, 0.0), (3, 1.0)] {
            let state = blocked(trips, NOW, draw);
            let early = |ms| state.may_be_probed_early(NOW.after(Duration::from_millis(ms)));
            assert!(!early(249), "{state:?}");
            let jitter = (wait_of(trips).as_millis() as f64 * draw / 4.0) as u64;
            assert!(early(251 + jitter), "{state:?}");
        }
        assert!(!BreakerState::default().may_be_probed_early(NOW));
        let probing = blocked(0, NOW, 0.0).probing(NOW);
        assert!(!probing.may_be_probed_early(NOW.after(Duration::from_secs(20))));
    }

    #[test]
    fn p11_less_than_four_in_five_of_twenty_block_it() {
        let mut breaker = Breaker::default();
        let fair = Health {
            successes: 16,
            failures: 4,
            consecutive_failures: 1,
            ..Health::default()
        };
        assert_eq!(breaker.step(BreakerEvent::Failed(fair), NOW, 0.0), None);
        let few = Health {
            successes: 1,
            failures: 3,
            consecutive_failures: 3,
            ..Health::default()
        };
        assert_eq!(breaker.step(BreakerEvent::Failed(few), NOW, 0.0), None);
        let poor = Health {
            successes: 15,
            failures: 5,
            consecutive_failures: 1,
            ..Health::default()
        };
        assert!(breaker.step(BreakerEvent::Failed(poor), NOW, 0.0).is_some());
        let poor_now = Health {
            successes: 1_015,
            failures: 6,
            consecutive_failures: 1,
            recent_successes: 15,
            recent_failures: 6,
        };
        let mut breaker = Breaker::default();
        assert!(
            breaker
                .step(BreakerEvent::Failed(poor_now), NOW, 0.0)
                .is_some(),
            "a good past hides nothing"
        );
    }

    #[test]
    fn p12_one_success_does_not_reset_the_back_off() {
        let mut breaker = Breaker::default();
        let mut now = NOW;
        let mut waits = Vec::new();
        for _ in 0..5 {
            breaker.step(row(5), now, 0.0);
            waits.push(until(&breaker).since(now).as_secs());
            now = until(&breaker);
            breaker = Breaker::from(breaker.state().probing(now));
            breaker.step(BreakerEvent::ProbeSucceeded, now, 0.0);
            now = now.after(Duration::from_secs(3));
        }
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        now = now.after(Duration::from_secs(10));
        breaker.step(row(5), now, 0.0);
        assert_eq!(
            until(&breaker).since(now).as_secs(),
            1,
            "ten good seconds forgive"
        );
    }

    #[test]
    fn a_probe_decides_and_late_failures_do_not() {
        let mut breaker = Breaker::from(
            BreakerState::Blocked {
                until: NOW,
                trips: 1,
            }
            .probing(NOW),
        );
        assert_eq!(breaker.step(row(9), NOW, 0.0), None);
        assert_eq!(
            breaker.step(BreakerEvent::ProbeFailed, NOW, 0.0),
            Some(Change {
                from: "probing",
                to: "blocked"
            })
        );
        assert_eq!(until(&breaker).since(NOW), Duration::from_secs(2));
    }

    #[test]
    fn o13_an_endpoint_returns_slowly() {
        assert_eq!(slow_start_share(None, NOW), Score::FULL);
        assert_eq!(slow_start_share(Some(NOW), NOW), Score::new(0.1));
        let half = slow_start_share(Some(NOW), NOW.after(Duration::from_secs(5))).get();
        assert!((half - 0.55).abs() < 0.01);
        assert_eq!(
            slow_start_share(Some(NOW), NOW.after(Duration::from_secs(10))),
            Score::FULL
        );
    }

    #[test]
    fn a_lost_probe_does_not_block_for_ever() {
        let probing = BreakerState::Blocked {
            until: NOW,
            trips: 0,
        }
        .probing(NOW);
        assert!(!probing.probe_is_lost(NOW.after(Duration::from_secs(29))));
        assert!(probing.probe_is_lost(NOW.after(Duration::from_secs(30))));
    }

    proptest! {
        #[test]
        fn a_published_state_is_read_back_as_it_was(ms in 1_u64..1 << 50, trips in 0_u8..4, which in 0..3) {
            let at = Moment::from_millis(ms);
            let state = match which {
                0 => BreakerState::Passing { slow_start_from: Some(at), trips },
                1 => BreakerState::Blocked { until: at, trips },
                _ => BreakerState::Probing { since: at, trips },
            };
            prop_assert_eq!(BreakerState::unpack(state.pack()), state);
        }

        #[test]
        fn a_blocked_period_is_one_to_six_and_a_quarter_seconds(trips in 0_u8..16, draw in 0.0_f64..1.0) {
            let BreakerState::Blocked { until, .. } = blocked(trips, NOW, draw) else { unreachable!() };
            let wait = until.since(NOW);
            prop_assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_millis(6_250));
        }
    }
}
