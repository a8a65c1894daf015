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

/// What a supervisor remembers of one child's ends.
#[derive(Debug)]
pub struct RestartLog {
    policy: RestartPolicy,
    ends: VecDeque<Moment>,
}

impl RestartLog {
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            ends: VecDeque::new(),
        }
    }

    pub fn exited(&mut self, now: Moment, exit: Exit) -> Verdict {
        if exit == Exit::Normal {
            return Verdict::Leave;
        }
        while self
            .ends
            .front()
            .is_some_and(|end| now.since(*end) >= self.policy.period)
        {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        if self.ends.len() > self.policy.intensity {
            // What comes after the pause is judged afresh.
            self.ends.clear();
            return Verdict::Disable {
                retry_after: self.policy.retry_disabled_after,
            };
        }
        Verdict::Restart {
            after: backoff(self.ends.len()),
        }
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
            match log.exited(at(end * 1_000), Exit::Abnormal) {
                Verdict::Restart { after } => waits.push(after.as_millis()),
                other @ (Verdict::Disable { .. } | Verdict::Leave) => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, [0, 0, 50, 100, 200]);
        let disabled = log.exited(at(5_000), Exit::Abnormal);
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
