//! The gateway's clock: tokio's, as one integer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::domain::Moment;

/// Turns tokio's clock into [`Moment`]s. Under a paused clock, time stands still here too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

/// Zero means "never" in the cells' atomics, so the first moment is a second later.
const FIRST: Duration = Duration::from_secs(1);

impl Clock {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    pub fn moment(&self, at: Instant) -> Moment {
        Moment::START.after(at.duration_since(self.start) + FIRST)
    }

    pub fn instant(&self, at: Moment) -> Instant {
        let since_first = at.since(Moment::START.after(FIRST));
        // A year is as good as never, and cannot overflow an instant.
        self.start + since_first.min(Duration::from_secs(365 * 86_400))
    }
}

/// Looks until it sees the same twice with `quiet` between, and not for ever.
pub async fn until_quiet<T, L>(quiet: Duration, look: impl Fn() -> L)
where
    T: PartialEq,
    L: Future<Output = T>,
{
    /// Whoever writes on and on is read as it stands.
    const LONGEST: Duration = Duration::from_secs(3);
    let ends = Instant::now() + LONGEST;
    let mut seen = look().await;
    while Instant::now() < ends {
        sleep(quiet).await;
        let now = look().await;
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// Waits for `work`, but not beyond `deadline`; `None` when that came first.
///
/// # Why not `tokio::time::timeout_at`
/// A timer is large and has to be registered. Here it is made when there is something to wait for, so a
/// future that is ready at once costs nothing, and the futures around it stay small.
pub async fn until<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    bounded(|| deadline, work).await
}

/// As [`until`], for `limit` from the moment there is something to wait for.
pub async fn at_most<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    bounded(|| Instant::now() + limit, work).await
}

async fn bounded<T>(deadline: impl Fn() -> Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline())))
            .as_mut()
            .poll(cx)
            .map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn c01_a_file_is_read_when_it_has_stood_still_and_not_while_somebody_writes_it() {
        const QUIET: Duration = Duration::from_millis(50);
        let begun = Instant::now();
        // Cut, then written in pieces 30 ms apart, whole after 120 ms.
        let look = || std::future::ready((begun.elapsed().as_millis() / 30).min(4));
        until_quiet(QUIET, look).await;
        assert!(begun.elapsed() >= Duration::from_millis(120) + QUIET);
        assert!(begun.elapsed() <= Duration::from_millis(120) + 2 * QUIET);
        let begun = Instant::now();
        until_quiet(QUIET, || std::future::ready(begun.elapsed())).await;
        assert!(begun.elapsed() <= Duration::from_secs(4), "for ever");
    }
}
