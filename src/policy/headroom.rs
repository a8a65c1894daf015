//! What a provider's own headers said is left, and how much room that makes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::{Moment, Score};

/// `u64::MAX` stands for "never told".
const UNTOLD: u64 = u64::MAX;

/// One kind of limit (requests, tokens, …) of one key at one model, as last told.
#[derive(Debug)]
pub struct Told {
    limit: AtomicU64,
    remaining: AtomicU64,
    reset_at: AtomicU64,
}

impl Default for Told {
    fn default() -> Self {
        Self::new()
    }
}

/// Without a reset time, an empty limit is tried again after this.
const UNKNOWN_RESET: Duration = Duration::from_secs(1);

impl Told {
    pub fn new() -> Self {
        Self {
            limit: AtomicU64::new(UNTOLD),
            remaining: AtomicU64::new(UNTOLD),
            reset_at: AtomicU64::new(0),
        }
    }

    /// Takes what an answer said. The newest answer counts: a limit that shrank (fault K10) counts at once.
    pub fn tell(
        &self,
        limit: Option<u64>,
        remaining: Option<u64>,
        reset_at: Option<Moment>,
        now: Moment,
    ) {
        if let Some(limit) = limit {
            self.limit.store(limit, Ordering::Relaxed);
        }
        if let Some(remaining) = remaining {
            self.remaining.store(remaining, Ordering::Relaxed);
            let reset_at = reset_at.unwrap_or_else(|| now.after(UNKNOWN_RESET));
            self.reset_at.store(reset_at.0, Ordering::Relaxed);
        }
    }

    /// Counts what we send on top of what was told, until the next answer says better.
    pub fn spend(&self, amount: u64) {
        let _ = self
            .remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| {
                (remaining != UNTOLD).then(|| remaining.saturating_sub(amount))
            });
    }

    /// Whether `amount` fits into what is left; on `Err`, the wait until the reset.
    pub fn room(&self, amount: u64, now: Moment) -> Result<(), Duration> {
        let remaining = self.remaining.load(Ordering::Relaxed);
        if remaining == UNTOLD || remaining >= amount {
            return Ok(());
        }
        let wait = Moment(self.reset_at.load(Ordering::Relaxed)).since(now);
        // A request larger than the whole limit can never fit; let the provider say so.
        if wait.is_zero() || (amount > self.limit.load(Ordering::Relaxed) && remaining > 0) {
            Ok(())
        } else {
            Err(wait)
        }
    }

    /// The share that is left; `None` when nothing was told or the reset has passed.
    pub fn ratio(&self, now: Moment) -> Option<Score> {
        let remaining = self.remaining.load(Ordering::Relaxed);
        let limit = self.limit.load(Ordering::Relaxed);
        let passed = Moment(self.reset_at.load(Ordering::Relaxed)) <= now;
        if remaining == UNTOLD || limit == UNTOLD || limit == 0 || passed {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
        let share = remaining as f32 / limit as f32;
        Some(Score::new(share))
    }
}

/// A key has as much room as its tightest limit leaves.
pub fn head_room(ratios: impl Iterator<Item = Score>) -> Score {
    ratios.fold(
        Score::FULL,
        |least, ratio| if ratio < least { ratio } else { least },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(100);

    #[test]
    fn p05_nothing_is_sent_before_the_reset_of_an_empty_limit() {
        let told = Told::new();
        assert_eq!(told.room(1_000_000, NOW), Ok(()));
        told.tell(Some(50), Some(0), Some(Moment::from_secs(460)), NOW);
        assert_eq!(told.room(1, NOW), Err(Duration::from_secs(360)));
        assert_eq!(told.room(1, Moment::from_secs(460)), Ok(()));
    }

    #[test]
    fn an_empty_limit_without_a_reset_is_tried_again_after_a_second() {
        let told = Told::new();
        told.tell(None, Some(0), None, NOW);
        assert_eq!(told.room(1, NOW), Err(Duration::from_secs(1)));
    }

    #[test]
    fn k10_a_limit_that_shrinks_counts_at_once() {
        let told = Told::new();
        told.tell(Some(500), Some(499), Some(Moment::from_secs(160)), NOW);
        told.tell(Some(50), Some(10), Some(Moment::from_secs(160)), NOW);
        assert_eq!(told.ratio(NOW), Some(Score::new(0.2)));
        told.spend(10);
        assert!(told.room(1, NOW).is_err());
    }

    #[test]
    fn k05_the_tightest_limit_decides() {
        let room = head_room([Score::new(0.9), Score::new(0.1)].into_iter());
        assert_eq!(room, Score::new(0.1));
        assert_eq!(head_room(std::iter::empty()), Score::FULL);
    }
}
