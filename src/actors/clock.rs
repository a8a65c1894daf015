//! The gateway's clock: tokio's, as one integer.

use std::time::Duration;

use tokio::time::Instant;

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
