//! How an endpoint has done in the last ten seconds.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::domain::{Moment, Score};

const BUCKETS: usize = 10;

/// What a breaker needs to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub successes: u32,
    pub failures: u32,
    pub consecutive_failures: u32,
    /// Of this second and the one before.
    pub recent_successes: u32,
    pub recent_failures: u32,
}

impl Health {
    /// The share of failures, of the last seconds or the last moment, whichever is worse; none while there is
    /// nothing to judge by.
    pub fn fault_share(&self) -> Score {
        let share = |successes: u32, failures: u32| {
            let all = successes + failures;
            #[expect(clippy::cast_precision_loss, reason = "a ratio of small counts")]
            let share = failures as f32 / all.max(1) as f32;
            // A single failure among few is noise, not a share.
            if all < 5 { 0.0 } else { share }
        };
        let recent = share(self.recent_successes, self.recent_failures);
        Score::new(share(self.successes, self.failures).max(recent))
    }

    /// Whether a failure is the exception here: hardly another one lately, among enough successes.
    pub fn is_well(&self) -> bool {
        self.recent_successes >= 4
            && self.recent_successes >= self.recent_failures.saturating_sub(1).saturating_mul(10)
    }
}

/// Ten one-second buckets, each packing second (32 bit), successes and failures (16 bit each).
#[derive(Debug, Default)]
pub struct HealthWindow {
    buckets: [AtomicU64; BUCKETS],
    consecutive: AtomicU32,
}

fn unpack(packed: u64) -> (u64, u32, u32) {
    (
        packed >> 32,
        ((packed >> 16) & 0xffff) as u32,
        (packed & 0xffff) as u32,
    )
}

fn pack(second: u64, successes: u32, failures: u32) -> u64 {
    (second << 32) | (u64::from(successes.min(0xffff)) << 16) | u64::from(failures.min(0xffff))
}

impl HealthWindow {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn success(&self, now: Moment) {
        // Read before the write: on the common path there is nothing to reset.
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
        self.count(now, 1, 0);
    }

    pub fn failure(&self, now: Moment) {
        self.consecutive.fetch_add(1, Ordering::Relaxed);
        self.count(now, 0, 1);
    }

    /// Failures that turned out to be a request's own fault (fault P27).
    pub fn take_back(&self, failures: u32, now: Moment) {
        let _ = self
            .consecutive
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                Some(n.saturating_sub(failures))
            });
        let second = now.whole_secs();
        let mut left = failures;
        for age in 0..BUCKETS as u64 {
            let Some(at) = second.checked_sub(age) else {
                return;
            };
            let _ = self
                .bucket(at)
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
                    let (counted, good, bad) = unpack(packed);
                    let taken = if counted == at { bad.min(left) } else { 0 };
                    (taken > 0).then(|| {
                        left -= taken;
                        pack(counted, good, bad - taken)
                    })
                });
            if left == 0 {
                return;
            }
        }
    }

    pub fn snapshot(&self, now: Moment) -> Health {
        let second = now.whole_secs();
        let mut health = Health {
            consecutive_failures: self.consecutive.load(Ordering::Relaxed),
            ..Health::default()
        };
        for bucket in &self.buckets {
            let (counted, good, bad) = unpack(bucket.load(Ordering::Relaxed));
            if counted + BUCKETS as u64 > second {
                health.successes += good;
                health.failures += bad;
                if counted + 2 > second {
                    health.recent_successes += good;
                    health.recent_failures += bad;
                }
            }
        }
        health
    }

    fn bucket(&self, second: u64) -> &AtomicU64 {
        &self.buckets[usize::try_from(second % BUCKETS as u64).unwrap_or_default()]
    }

    fn count(&self, now: Moment, good: u32, bad: u32) {
        let second = now.whole_secs() & u64::from(u32::MAX);
        let _ = self
            .bucket(second)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
                let (counted, successes, failures) = unpack(packed);
                Some(if counted == second {
                    pack(second, successes + good, failures + bad)
                } else {
                    pack(second, good, bad)
                })
            });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ten_seconds_later_everything_is_forgotten_but_the_row_of_failures() {
        let window = HealthWindow::new();
        let now = Moment::from_secs(100);
        window.success(now);
        window.failure(now);
        window.failure(now);
        assert_eq!(
            window.snapshot(now),
            Health {
                successes: 1,
                failures: 2,
                consecutive_failures: 2,
                recent_successes: 1,
                recent_failures: 2,
            }
        );
        let later = window.snapshot(now.after(Duration::from_secs(11)));
        assert_eq!(
            later,
            Health {
                consecutive_failures: 2,
                ..Health::default()
            }
        );
        window.success(now);
        assert_eq!(window.snapshot(now).consecutive_failures, 0);
    }

    /// A long good past must not hide what is happening now (faults P11, P34).
    #[test]
    fn p11_what_happens_now_counts_as_much_as_the_past() {
        let window = HealthWindow::new();
        let before = Moment::from_secs(100);
        for second in 0..8 {
            for _ in 0..100 {
                window.success(before.after(Duration::from_secs(second)));
            }
        }
        let now = before.after(Duration::from_secs(9));
        assert!(window.snapshot(now).fault_share().get() < 0.01);
        for _ in 0..10 {
            window.failure(now);
            window.success(now);
        }
        let health = window.snapshot(now);
        assert!(health.fault_share().get() > 0.1, "{health:?}");
        assert!(!health.is_well());
    }

    #[test]
    fn p27_failures_of_a_poison_request_are_taken_back() {
        let window = HealthWindow::new();
        let now = Moment::from_secs(100);
        window.failure(now);
        window.failure(now.after(Duration::from_secs(1)));
        window.take_back(2, now.after(Duration::from_secs(1)));
        assert_eq!(
            window.snapshot(now.after(Duration::from_secs(1))),
            Health::default()
        );
    }
}
