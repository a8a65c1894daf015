//! One response on its way into the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::actors::News;
use crate::dialects::one_line;
use crate::dialects::responses::state::{Stamp, item_ids, stamp_response};
use crate::store::{Pending, ResponseKey, ResponseStore, Standing, StoreError, StoredResponse};

/// How long whoever reads one waits until how it ends is kept; longer, and it is told that it is not.
pub(super) const IN_A_REPLY: Duration = Duration::from_secs(5);
/// How long room is waited for all the same where the response is made in the background: it was paid for, and is
/// found here or nowhere.
pub(super) const IN_THE_BACKGROUND: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where a response is kept, and what is known of it before it is made.
pub(super) struct Keep {
    pub(super) news: Arc<News>,
    pub(super) store: Arc<dyn ResponseStore>,
    pub(super) key: ResponseKey,
    pub(super) previous: Option<String>,
    pub(super) input: Bytes,
    pub(super) created: u64,
}

impl Keep {
    /// Its place in the order of writes is taken when this returns, whether or not anyone waits.
    pub(super) fn begin(&self, response: &Value, standing: Standing, events: Bytes) -> Pending<()> {
        self.store.begin(self.record(response, standing, events))
    }

    /// As [`Self::begin`], where there is room at once; else room is waited for, so long as it is waited for the answer.
    pub(super) fn finish(
        &self,
        response: &Value,
        events: Bytes,
        patience: Duration,
    ) -> Pending<bool> {
        let store = Arc::clone(&self.store);
        let record = self.record(response, Standing::Ended, events);
        while_busy(move || store.finish(record.clone()), patience)
    }

    /// It is being made, and no longer only promised. Nothing is changed of one that was cancelled before.
    pub(super) fn goes_on(&self, response: &Value) -> Pending<bool> {
        self.store.goes_on(&self.key, one_line(response).into())
    }

    fn record(&self, response: &Value, standing: Standing, events: Bytes) -> StoredResponse {
        StoredResponse {
            key: self.key.clone(),
            previous: self.previous.clone(),
            created: self.created,
            standing,
            answer: one_line(response).into(),
            input: self.input.clone(),
            events,
            items: item_ids(response),
        }
    }
}

/// Waits until it stands how a response ended, and tells the operator where it does not.
pub(super) async fn ended(kept: Pending<bool>, news: Arc<News>) {
    if let Err(error) = kept.await {
        news.metrics.store_refused(error.label());
        warn!(%error, "how a response ended could not be kept");
    }
}

/// A whole answer with what is ours in it, and whether it is kept where it was to be.
pub(super) async fn whole(body: &Bytes, stamp: Stamp, keep: Option<Keep>) -> (Bytes, bool) {
    let Ok(mut response) = serde_json::from_slice::<Value>(body) else {
        // It was read before: what is no JSON never comes this far.
        return (body.clone(), keep.is_none());
    };
    stamp_response(&mut response, &stamp);
    let mut stored = true;
    if let Some(keep) = keep
        && let Err(error) = keep.begin(&response, Standing::Ended, Bytes::new()).await
    {
        keep.news.metrics.store_refused(error.label());
        response["store"] = false.into();
        stored = false;
    }
    (one_line(&response).into(), stored)
}

/// Asks now, and again where there is no room: nothing was written then.
fn while_busy(
    mut ask: impl FnMut() -> Pending<bool> + Send + 'static,
    patience: Duration,
) -> Pending<bool> {
    let mut asked = ask();
    Box::pin(async move {
        let until = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = asked.await;
            if answer != Err(StoreError::Busy) || Instant::now() >= until {
                return answer;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            asked = ask();
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// How it ended, and how often was asked, of a store that is busy so many times and then says this.
    async fn asked(busy: u64, then: Result<bool, StoreError>) -> (Result<bool, StoreError>, u64) {
        let times = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&times);
        let ask = move || -> Pending<bool> {
            let nth = counted.fetch_add(1, Ordering::Relaxed);
            let answer = match nth < busy {
                true => Err(StoreError::Busy),
                false => then.clone(),
            };
            Box::pin(async move { answer })
        };
        let waiting = while_busy(ask, IN_A_REPLY);
        // Its place is taken before anybody waits.
        assert_eq!(times.load(Ordering::Relaxed), 1);
        (waiting.await, times.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn how_one_ends_is_kept_once_there_is_room_and_given_up_only_when_patience_ends() {
        assert_eq!(asked(0, Ok(true)).await, (Ok(true), 1));
        assert_eq!(asked(5, Ok(true)).await, (Ok(true), 6));
        // Whether it was written nobody knows, or it was not and never will be.
        for error in [StoreError::Late, StoreError::Full] {
            assert_eq!(asked(1, Err(error.clone())).await, (Err(error), 2));
        }
        let begun = Instant::now();
        let (answer, times) = asked(u64::MAX, Ok(true)).await;
        assert_eq!(answer, Err(StoreError::Busy));
        assert!((5..15).contains(&times), "{times}");
        assert!((IN_A_REPLY..IN_A_REPLY + LONGEST_PAUSE).contains(&begun.elapsed()));
    }
}
