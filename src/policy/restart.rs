//! Whether a child that ended is started again, when, and who goes with it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::domain::Moment;

/// Which siblings share a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    OneForOne,
    /// Those started after it as well, because they may rely on it.
    RestForOne,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was told to.
    Normal,
    /// A panic, an error, or a kill.
    Abnormal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Restart {
        after: Duration,
    },
    /// Too often: leave it down and try once more later.
    Disable {
        retry_after: Duration,
    },
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// So many restarts within the period are borne.
    pub intensity: usize,
    pub period: Duration,
    pub retry_disabled_after: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            intensity: 5,
            period: Duration::from_secs(30),
            retry_disabled_after: Duration::from_secs(30),
        }
    }
}

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// Who lived this long does not die of its own start: what killed it came from outside, and the next life may
/// be as good as the last.
const STEADY: Duration = Duration::from_millis(500);
/// But not as often as this within the period.
const FLURRY: usize = 50;

/// What a supervisor remembers of one child's ends.
#[derive(Debug)]
pub struct RestartLog {
    policy: RestartPolicy,
    /// Ends of lives that were short: a child that cannot live.
    short: VecDeque<Moment>,
    all: VecDeque<Moment>,
    /// When its present life began, as far as it was decided here.
    up_since: Option<Moment>,
}

impl RestartLog {
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            short: VecDeque::new(),
            all: VecDeque::new(),
            up_since: None,
        }
    }

    pub fn exited(&mut self, now: Moment, exit: Exit) -> Verdict {
        if exit == Exit::Normal {
            return Verdict::Leave;
        }
        let steady = self
            .up_since
            .is_some_and(|since| now.since(since) >= STEADY);
        for ends in [&mut self.short, &mut self.all] {
            let old = |end: &Moment| now.since(*end) >= self.policy.period;
            while ends.front().is_some_and(old) {
                ends.pop_front();
            }
        }
        self.all.push_back(now);
        if !steady {
            self.short.push_back(now);
        }
        if self.short.len() > self.policy.intensity || self.all.len() > FLURRY {
            // What comes after the pause is judged afresh.
            self.short.clear();
            self.all.clear();
            self.up_since = None;
            return Verdict::Disable {
                retry_after: self.policy.retry_disabled_after,
            };
        }
        let after = if steady {
            Duration::ZERO
        } else {
            backoff(self.short.len())
        };
        self.up_since = Some(now.after(after));
        Verdict::Restart { after }
    }
}

/// The first two restarts are immediate: most crashes do not repeat, and somebody is waiting.
fn backoff(ends: usize) -> Duration {
    match ends {
        0..=2 => Duration::ZERO,
        more => {
            let doublings = u32::try_from(more - 3).unwrap_or(u32::MAX).min(6);
            (FIRST_BACKOFF * (1 << doublings)).min(LONGEST_BACKOFF)
        }
    }
}

/// The children to start again when the one at `died` ended, in order.
pub fn affected(strategy: Strategy, children: usize, died: usize) -> Range<usize> {
    match strategy {
        Strategy::OneForOne => died..(died + 1).min(children),
        Strategy::RestForOne => died..children,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(100_000 + ms)
    }

    #[test]
    fn x02_the_first_restart_is_immediate() {
        let mut log = RestartLog::new(RestartPolicy::default());
        assert_eq!(
            log.exited(at(0), Exit::Abnormal),
            Verdict::Restart {
                after: Duration::ZERO
            }
        );
    }

    #[test]
    fn x03_more_than_five_in_thirty_seconds_disable_it_for_thirty() {
        let mut log = RestartLog::new(RestartPolicy::default());
        let mut waits = Vec::new();
        for end in 0..5 {
            match log.exited(at(end * 300), Exit::Abnormal) {
                Verdict::Restart { after } => waits.push(after.as_millis()),
                other @ (Verdict::Disable { .. } | Verdict::Leave) => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, [0, 0, 50, 100, 200]);
        let disabled = log.exited(at(1_500), Exit::Abnormal);
        assert_eq!(
            disabled,
            Verdict::Disable {
                retry_after: Duration::from_secs(30)
            }
        );
        assert_eq!(
            log.exited(at(36_000), Exit::Abnormal),
            Verdict::Restart {
                after: Duration::ZERO
            }
        );
    }

    /// A panic a second from outside must not take a part away for good (fault X01), a storm of them may.
    #[test]
    fn x01_a_panic_every_second_is_borne_and_a_storm_is_not() {
        let mut log = RestartLog::new(RestartPolicy::default());
        for end in 0..600 {
            let verdict = log.exited(at(end * 1_000), Exit::Abnormal);
            assert_eq!(
                verdict,
                Verdict::Restart {
                    after: Duration::ZERO
                },
                "{end}"
            );
        }
        let mut log = RestartLog::new(RestartPolicy::default());
        let storm = (0..100).map(|end| log.exited(at(end * 501), Exit::Abnormal));
        assert!(
            storm
                .into_iter()
                .any(|verdict| matches!(verdict, Verdict::Disable { .. }))
        );
    }

    #[test]
    fn a_child_that_dies_now_and_then_is_always_restarted() {
        let mut log = RestartLog::new(RestartPolicy::default());
        for end in 0..50 {
            let verdict = log.exited(at(end * 10_000), Exit::Abnormal);
            assert!(matches!(verdict, Verdict::Restart { .. }), "{end}");
        }
    }

    #[test]
    fn an_ordered_stop_is_left_alone() {
        let mut log = RestartLog::new(RestartPolicy::default());
        assert_eq!(log.exited(at(0), Exit::Normal), Verdict::Leave);
    }

    #[test]
    fn who_goes_with_it() {
        assert_eq!(affected(Strategy::OneForOne, 5, 2), 2..3);
        assert_eq!(affected(Strategy::RestForOne, 5, 2), 2..5);
    }
}
