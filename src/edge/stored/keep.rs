//! One response on its way into the store.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::actors::News;
use crate::dialects::one_line;
use crate::dialects::responses::state::{Stamp, item_ids, stamp_response};
use crate::store::{Pending, ResponseKey, ResponseStore, Standing, StoredResponse};

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

    pub(super) fn finish(&self, response: &Value, events: Bytes) -> Pending<bool> {
        self.store
            .finish(self.record(response, Standing::Ended, events))
    }

    /// It is being made, and no longer only promised. Nothing is changed of one that was cancelled before.
    pub(super) fn goes_on(&self, response: &Value) -> Pending<bool> {
        let record = self.record(response, Standing::UnderWay, Bytes::new());
        self.store.finish(record)
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
