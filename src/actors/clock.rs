//! The gateway's clock: tokio's, as one integer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

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
