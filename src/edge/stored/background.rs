//! Responses that are made while nobody waits.
//!
//! Each is a task of its own; how it ends stands in the store, where exactly one of its end and its cancellation
//! comes first. A process that ends takes them with it, and the next one says so of them.
//!
//! One that is streamed is written on a tape: who asked for it reads that, and who comes back reads it from where it
//! left. It is made whether or not anybody reads, and waits for no reader longer than a moment. What is longer than is
//! held, or than there is room for, is read by who is there, and nobody joins.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use super::keep::{IN_A_REPLY, IN_THE_BACKGROUND, Keep, ended};
use super::runs::{Fit, Share};
use super::stream::{KeptStream, Outgoing};
use super::unavailable;
use crate::actors::at_most;
use crate::dialects::AnswerTerms;
use crate::dialects::responses::state::{Stamp, cancelled_event, stamp_response};
use crate::dialects::responses::without_output;
use crate::dispatch::once::{End, Head, Reader, Tape};
use crate::dispatch::{Request, Served, StreamPiece, Told};
use crate::domain::{Failure, FailureKind, RequestId};
use crate::edge::Edge;
use crate::store::Standing;

/// A response to be made in the background.
pub(super) struct Background {
    pub(super) keep: Keep,
    pub(super) streams: bool,
}

/// Sets a response going, and tells the client by which id it is found. `said` is the request before the guard
/// has taken anything out of it.
pub(super) async fn start(
    edge: &Arc<Edge>,
    (request, said): (Arc<Request>, &[u8]),
    Background { keep, streams }: Background,
) -> Result<Served, Failure> {
    let telling = streams.then(|| Telling::new(edge, request.id));
    let (mut telling, reader) = telling.transpose()?.unzip();
    let tape = telling.as_ref().map(|telling| Arc::clone(&telling.tape));
    let running = edge.runs.enter(&keep.key, tape)?;
    let terms = terms(&request, said, &keep);
    let queued = stamped(&keep, without_output(&terms, "queued", None));
    let begun = keep.begin(&queued, Standing::UnderWay, Bytes::new());
    let (tell_begun, told_begun) = oneshot::channel();
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
            let placed = Arc::clone(&request.placed);
            // Given away: what it holds of the memory for bodies is free before its end is kept.
            let serving = dispatching.dispatch.serve(request);
            match &mut telling {
                Some(telling) => telling.tell(keep, &terms, serving.await).await,
                None => {
                    let served = with_progress(serving, &placed, (&keep, &terms)).await;
                    end(&keep, &terms, served).await;
                }
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

/// Serves one that nobody reads as it is made: kept as in progress from when its first attempt is placed. What is
/// streamed tells so itself.
async fn with_progress(
    serving: impl Future<Output = Served>,
    placed: &Notify,
    (keep, terms): (&Keep, &AnswerTerms),
) -> Served {
    let mut serving = pin!(serving);
    tokio::select! {
        biased;
        served = &mut serving => return served,
        () = placed.notified() => {}
    }
    // Nobody waits: how it ends is kept behind it, whether or not this is.
    drop(keep.goes_on(&stamped(keep, without_output(terms, "in_progress", None))));
    serving.await
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

/// Keeps how one ended and then shows it, or the other way round where keeping takes long: readers are not kept waiting
/// for a store that has no room.
async fn shown_in_time(patience: Duration, keeping: impl Future<Output = ()>, show: impl FnOnce()) {
    let mut keeping = pin!(keeping);
    let kept = at_most(patience, keeping.as_mut()).await;
    show();
    if kept.is_none() {
        keeping.await;
    }
}

/// Writes a tape to its end, whatever happens: whoever reads it is never left waiting.
struct Telling {
    tape: Arc<Tape>,
    share: Share,
}

impl Telling {
    /// With its first reader, who may leave.
    fn new(edge: &Edge, id: RequestId) -> Result<(Self, Reader), Failure> {
        let (tape, reader) = Tape::new(id);
        let share = edge.runs.share(&tape, &edge.news.pressure)?;
        let goes_on = tape.make_anyway();
        debug_assert!(goes_on, "its reader is there");
        Ok((Self { tape, share }, reader))
    }

    async fn tell(&mut self, keep: Keep, terms: &AnswerTerms, served: Served) {
        let (stream, told) = match served {
            Served::Stream { stream, told } => (stream, told),
            Served::Failed { failure, told } => {
                let (kept, shown) = (failure.clone(), told.clone());
                let failed = Served::Failed { failure, told };
                let kept_as_failed = end(&keep, terms, failed);
                return shown_in_time(IN_A_REPLY, kept_as_failed, || self.fail(kept, shown)).await;
            }
            other @ (Served::Whole { .. } | Served::Followed { .. }) => {
                return end(&keep, terms, other).await;
            }
        };
        self.tape.begin(Head::Stream { told });
        let news = Arc::clone(&keep.news);
        let kept = Some(Box::new(KeptStream::begun(stamp(&keep), keep)));
        let mut outgoing = Outgoing { stream, kept };
        let end = loop {
            self.tape.room().await;
            match poll_fn(|cx| outgoing.poll_piece(cx)).await {
                StreamPiece::Data(piece) => {
                    let fit = self.share.grows(piece.len(), &self.tape);
                    if fit != Fit::Held {
                        self.tape.pass();
                    }
                    if fit == Fit::NoRoom
                        && let Some(kept) = &mut outgoing.kept
                    {
                        kept.forget_events();
                    }
                    self.tape.write(&piece);
                }
                StreamPiece::End => break End::Whole,
                StreamPiece::Broken => break End::Broken,
                StreamPiece::Cut => break End::Cut,
            }
        };
        let is_late = outgoing.kept.as_ref().is_some_and(|kept| kept.is_late());
        let patience = if is_late { Duration::ZERO } else { IN_A_REPLY };
        let unkept = outgoing.kept.as_mut().and_then(|kept| kept.unkept());
        drop(outgoing);
        let kept = async {
            if let Some(kept) = unkept {
                ended(kept, news).await;
            }
        };
        shown_in_time(patience, kept, || self.tape.end(end)).await;
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
    let response = stamped(keep, response);
    let kept = keep.finish(&response, Bytes::new(), IN_THE_BACKGROUND);
    ended(kept, Arc::clone(&keep.news)).await;
}
