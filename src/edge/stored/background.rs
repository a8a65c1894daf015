//! Responses that are made while nobody waits.
//!
//! Each is a task of its own; how it ends stands in the store, where exactly one of its end and its cancellation
//! comes first. A process that ends takes them with it, and the next one says so of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;
use tracing::warn;

use super::keep::Keep;
use super::unavailable;
use crate::dialects::AnswerTerms;
use crate::dialects::responses::state::{Stamp, stamp_response};
use crate::dialects::responses::without_output;
use crate::dispatch::{Request, Served, Told};
use crate::domain::{Failure, FailureKind};
use crate::edge::Edge;
use crate::store::{ResponseKey, Standing};

/// More at once are refused (ground rule G14).
const MOST: usize = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[expect(
    clippy::disallowed_types,
    reason = "a table of who runs, held for a look or an entry only"
)]
type Lock<T> = std::sync::Mutex<T>;

/// What runs now, so that it can be cancelled.
#[derive(Default)]
pub(in crate::edge) struct Runs(Arc<Lock<HashMap<ResponseKey, Arc<Notify>>>>);

impl Runs {
    /// `None`: as many run as may.
    fn enter(&self, key: &ResponseKey) -> Option<Running> {
        let cancelled = Arc::new(Notify::new());
        let mut runs = self.0.lock().ok()?;
        if runs.len() >= MOST {
            return None;
        }
        runs.insert(key.clone(), Arc::clone(&cancelled));
        Some(Running {
            runs: Arc::clone(&self.0),
            key: key.clone(),
            cancelled,
        })
    }

    /// Waits until none runs; how many are left at the end of the limit.
    pub(in crate::edge) async fn ended(&self, limit: Duration) -> usize {
        let left = || self.0.lock().map_or(0, |runs| runs.len());
        // Looked at now and then: this happens once, when the process ends.
        let all = async {
            while left() > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
        left()
    }

    /// Stops it, if it runs here.
    pub(super) fn cancel(&self, key: &ResponseKey) {
        if let Ok(runs) = self.0.lock()
            && let Some(cancelled) = runs.get(key)
        {
            cancelled.notify_one();
        }
    }
}

/// An entry in the table, for as long as it runs.
struct Running {
    runs: Arc<Lock<HashMap<ResponseKey, Arc<Notify>>>>,
    key: ResponseKey,
    cancelled: Arc<Notify>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(mut runs) = self.runs.lock() {
            runs.remove(&self.key);
        }
    }
}

/// Sets a response going, and tells the client by which id it is found. `said` is the request before the guard
/// has taken anything out of it.
pub(super) async fn start(
    edge: &Arc<Edge>,
    (request, said): (Arc<Request>, &[u8]),
    keep: Keep,
) -> Result<Served, Failure> {
    let running = edge.runs.enter(&keep.key).ok_or_else(|| {
        Failure::new(
            FailureKind::Overloaded,
            "as many responses are being made in the background as may be; come back shortly",
        )
        .retry_after(Duration::from_secs(1))
    })?;
    let terms = terms(&request, said, &keep);
    let queued = stamped(&keep, without_output(&terms, "queued", None));
    let begun = keep.begin(&queued, Standing::UnderWay, Bytes::new()).await;
    begun.map_err(|error| unavailable(edge, &error))?;
    let edge = Arc::clone(edge);
    tokio::spawn(async move {
        let cancelled = Arc::clone(&running.cancelled);
        tokio::select! {
            // Dropped half way it is accounted for as any request whose client left; the store knows already.
            () = cancelled.notified() => {}
            served = edge.dispatch.serve(request) => end(&keep, &terms, served).await,
        }
        drop(running);
    });
    Ok(Served::Whole {
        body: serde_json::to_vec(&queued).unwrap_or_default().into(),
        told: Told::default(),
    })
}

fn terms(request: &Request, said: &[u8], keep: &Keep) -> AnswerTerms {
    AnswerTerms {
        request_id: request.id.text().as_str().to_owned(),
        asked: request.asked.to_string(),
        created: keep.created,
        include_usage: false,
        logprobs: false,
        request: serde_json::from_slice(said).unwrap_or_default(),
    }
}

fn stamped(keep: &Keep, mut response: Value) -> Value {
    let stamp = Stamp {
        id: Some(keep.key.id.clone()),
        previous: keep.previous.clone(),
        background: true,
    };
    stamp_response(&mut response, &stamp);
    response
}

async fn end(keep: &Keep, terms: &AnswerTerms, served: Served) {
    let unreadable = || {
        let failure = Failure::new(FailureKind::UpstreamMalformed, "the answer cannot be read");
        without_output(terms, "failed", Some(&failure))
    };
    let response = match served {
        Served::Whole { body, .. } => {
            serde_json::from_slice(&body).unwrap_or_else(|_| unreadable())
        }
        Served::Failed { failure, .. } => without_output(terms, "failed", Some(&failure)),
        // It was not asked for.
        Served::Stream { .. } => unreadable(),
    };
    let kept = keep.finish(&stamped(keep, response), Bytes::new()).await;
    if let Err(error) = kept {
        keep.news.metrics.store_refused(error.label());
        warn!(%error, "how a response in the background ended could not be kept");
    }
}
