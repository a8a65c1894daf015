//! Responses that are made while nobody waits.
//!
//! Each is a task of its own; how it ends stands in the store, where exactly one of its end and its cancellation
//! comes first. A process that ends takes them with it, and the next one says so of them.
//!
//! One that is streamed is written on a tape: who asked for it reads that, and who comes back reads it from where it
//! left. It is made whether or not anybody reads.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use super::keep::Keep;
use super::stream::{KeptStream, Outgoing};
use super::unavailable;
use crate::dialects::AnswerTerms;
use crate::dialects::responses::state::{Stamp, cancelled_event, stamp_response};
use crate::dialects::responses::without_output;
use crate::dispatch::once::{End, Head, Reader, Tape};
use crate::dispatch::{Request, Served, StreamPiece, Told};
use crate::domain::{Failure, FailureKind, RequestId};
use crate::edge::Edge;
use crate::store::{ResponseKey, Standing};

/// More at once are refused (ground rule G14).
const MOST: usize = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What is longer is still made, but nobody can read on.
const LONGEST_TAPE: usize = 8 << 20;

/// A response to be made in the background.
pub(super) struct Background {
    pub(super) keep: Keep,
    pub(super) streams: bool,
}

#[expect(
    clippy::disallowed_types,
    reason = "a table of who runs, held for a look or an entry only"
)]
type Lock<T> = std::sync::Mutex<T>;

/// What runs now, so that it can be cancelled.
#[derive(Default)]
pub(in crate::edge) struct Runs(Arc<Lock<Table>>);

type Table = HashMap<ResponseKey, Run>;

struct Run {
    cancelled: Arc<Notify>,
    tape: Option<Arc<Tape>>,
}

impl Runs {
    /// `None`: as many run as may.
    fn enter(&self, key: &ResponseKey, tape: Option<Arc<Tape>>) -> Option<Running> {
        let cancelled = Arc::new(Notify::new());
        let mut runs = self.0.lock().ok()?;
        if runs.len() >= MOST {
            return None;
        }
        let run = Run {
            cancelled: Arc::clone(&cancelled),
            tape,
        };
        runs.insert(key.clone(), run);
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
            && let Some(run) = runs.get(key)
        {
            run.cancelled.notify_one();
        }
    }

    /// Reads it from its beginning, if it is being made here as a stream.
    pub(super) fn follow(&self, key: &ResponseKey) -> Option<Reader> {
        let runs = self.0.lock().ok()?;
        runs.get(key)?.tape.as_ref()?.join().ok()
    }
}

/// An entry in the table, for as long as it runs.
struct Running {
    runs: Arc<Lock<Table>>,
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
    Background { keep, streams }: Background,
) -> Result<Served, Failure> {
    let telling = streams.then(|| Telling::new(request.id));
    let tape = telling.as_ref().map(|telling| Arc::clone(&telling.tape));
    let running = edge.runs.enter(&keep.key, tape).ok_or_else(|| {
        Failure::new(
            FailureKind::Overloaded,
            "as many responses are being made in the background as may be; come back shortly",
        )
        .retry_after(Duration::from_secs(1))
    })?;
    let terms = terms(&request, said, &keep);
    let queued = stamped(&keep, without_output(&terms, "queued", None));
    let begun = keep.begin(&queued, Standing::UnderWay, Bytes::new());
    let (tell_begun, told_begun) = oneshot::channel();
    let reader = telling
        .as_ref()
        .and_then(|telling| telling.tape.join().ok());
    let dispatching = Arc::clone(edge);
    // Before its place is taken: a client that leaves in that moment leaves no place behind that nobody fills.
    tokio::spawn(async move {
        let begun = begun.await;
        let is_begun = begun.is_ok();
        // Whoever has left is not waited for.
        let _ = tell_begun.send(begun);
        if !is_begun {
            return;
        }
        let cancelled = Arc::clone(&running.cancelled);
        let made = async {
            let served = dispatching.dispatch.serve(request).await;
            match &telling {
                Some(telling) => telling.tell(keep, &terms, served).await,
                None => end(&keep, &terms, served).await,
            }
        };
        tokio::select! {
            // Dropped half way it is accounted for as any request whose client left; the store knows already.
            () = cancelled.notified() => telling.iter().for_each(Telling::cancel),
            () = made => {}
        }
        drop(running);
    });
    match told_begun.await {
        Ok(begun) => begun.map_err(|error| unavailable(edge, &error))?,
        Err(_) => return Err(crashed()),
    }
    Ok(first_word(reader, &queued).await)
}

/// What the client is told at once.
async fn first_word(reader: Option<Reader>, queued: &Value) -> Served {
    let Some(reader) = reader else {
        return Served::Whole {
            body: serde_json::to_vec(queued).unwrap_or_default().into(),
            told: Told::default(),
        };
    };
    match reader.head().await {
        Head::Whole { body, told } => Served::Whole { body, told },
        Head::Failed { failure, told } => Served::Failed { failure, told },
        Head::Stream { told } => Served::Followed { reader, told },
    }
}

/// Writes a tape to its end, whatever happens: whoever reads it is never left waiting.
struct Telling {
    tape: Arc<Tape>,
    /// It is made for nobody, too.
    _made_anyway: Reader,
}

impl Telling {
    fn new(id: RequestId) -> Self {
        let (tape, reader) = Tape::new(id);
        Self {
            tape,
            _made_anyway: reader,
        }
    }

    async fn tell(&self, keep: Keep, terms: &AnswerTerms, served: Served) {
        let (stream, told) = match served {
            Served::Stream { stream, told } => (stream, told),
            Served::Failed { failure, told } => {
                let (kept, shown) = (failure.clone(), told.clone());
                let failed = Served::Failed { failure, told };
                end(&keep, terms, failed).await;
                return self.fail(kept, shown);
            }
            other @ (Served::Whole { .. } | Served::Followed { .. }) => {
                return end(&keep, terms, other).await;
            }
        };
        self.tape.begin(Head::Stream { told });
        let kept = Some(Box::new(KeptStream::begun(stamp(&keep), keep)));
        let mut outgoing = Outgoing { stream, kept };
        let mut written = 0;
        let end = loop {
            match poll_fn(|cx| outgoing.poll_piece(cx)).await {
                StreamPiece::Data(piece) => {
                    written += piece.len();
                    if written <= LONGEST_TAPE {
                        self.tape.write(&piece);
                    } else {
                        self.tape.end(End::Cut);
                    }
                }
                StreamPiece::End => break End::Whole,
                StreamPiece::Broken => break End::Broken,
                StreamPiece::Cut => break End::Cut,
            }
        };
        self.tape.end(end);
    }

    fn cancel(&self) {
        const SAID: &str = "the response was cancelled";
        self.fail(Failure::new(FailureKind::Conflict, SAID), Told::default());
        let event = cancelled_event();
        self.tape
            .write(format!("event: error\ndata: {event}\n\n").as_bytes());
        self.tape.end(End::Broken);
    }

    /// Where nothing has been told yet.
    fn fail(&self, failure: Failure, told: Told) {
        self.tape.begin(Head::Failed { failure, told });
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.fail(crashed(), Told::default());
        self.tape.end(End::Cut);
    }
}

fn crashed() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "the gateway failed while it made this response; make it again",
    )
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
    stamp_response(&mut response, &stamp(keep));
    response
}

fn stamp(keep: &Keep) -> Stamp {
    Stamp {
        id: Some(keep.key.id.clone()),
        previous: keep.previous.clone(),
        background: true,
    }
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
        Served::Stream { .. } | Served::Followed { .. } => unreadable(),
    };
    let kept = keep.finish(&stamped(keep, response), Bytes::new()).await;
    if let Err(error) = kept {
        keep.news.metrics.store_refused(error.label());
        warn!(%error, "how a response in the background ended could not be kept");
    }
}
