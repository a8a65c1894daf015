//! A stream that is kept while it passes.
//!
//! Its end is held until it stands in the store: whoever has read it may ask for it. Whoever leaves before finds
//! what had come, and that it was cancelled.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::runtime::Handle;

use super::keep::{IN_A_REPLY, IN_THE_BACKGROUND, Keep};
use crate::dialects::responses::state::{
    EventLog, Stamp, cut_short, stamp_line, with_what_had_come,
};
use crate::dialects::sse::LineEnds;
use crate::dispatch::{LiveStream, StreamPiece};
use crate::store::{Pending, Standing};

/// What goes out to a client.
pub(in crate::edge) struct Outgoing {
    pub(in crate::edge) stream: Box<LiveStream>,
    pub(in crate::edge) kept: Option<Box<KeptStream>>,
}

impl Outgoing {
    pub(in crate::edge) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<StreamPiece> {
        let Some(kept) = &mut self.kept else {
            return self.stream.poll_piece(cx);
        };
        loop {
            if let Some(piece) = ready!(kept.poll_out(cx)) {
                return Poll::Ready(StreamPiece::Data(piece));
            }
            match ready!(self.stream.poll_piece(cx)) {
                StreamPiece::Data(bytes) => kept.feed(&bytes),
                ended @ (StreamPiece::End | StreamPiece::Broken | StreamPiece::Cut) => {
                    // Half an event, if there is one, is passed on as it came.
                    return match kept.rest() {
                        Some(rest) => Poll::Ready(StreamPiece::Data(rest)),
                        None => Poll::Ready(ended),
                    };
                }
            }
        }
    }
}

/// The last event, until what it says is true.
struct Ending {
    kept: Pending<bool>,
    /// The event, and what follows it.
    bytes: BytesMut,
}

/// What the store knows of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It has a place, and is to be made.
    Queued,
    InProgress,
}

pub(in crate::edge) struct KeptStream {
    stamp: Stamp,
    /// `None`: it is not kept, or not any more.
    keep: Option<Keep>,
    known: Known,
    /// What is kept and read on from is looked at by lines, and a provider may end them otherwise.
    line_ends: LineEnds,
    /// The event under way.
    block: BytesMut,
    /// Whole events that may go out.
    out: BytesMut,
    last: Option<Value>,
    ending: Option<Ending>,
    log: EventLog,
    /// What becomes of it if it ends before its end.
    cut: &'static str,
    /// How long room is waited for to keep how it ends.
    patience: Duration,
}

impl KeptStream {
    pub(super) fn new(stamp: Stamp, keep: Option<Keep>) -> Self {
        Self {
            stamp,
            keep,
            known: Known::Nothing,
            line_ends: LineEnds::default(),
            block: BytesMut::new(),
            out: BytesMut::new(),
            last: None,
            ending: None,
            log: EventLog::default(),
            cut: "cancelled",
            patience: IN_A_REPLY,
        }
    }

    /// One whose place is taken, and that goes on without its client: only its provider can end it early.
    pub(super) fn begun(stamp: Stamp, keep: Keep) -> Self {
        let mut stream = Self::new(stamp, Some(keep));
        (stream.known, stream.cut) = (Known::Queued, "failed");
        stream.patience = IN_THE_BACKGROUND;
        stream
    }

    /// Keeps what had come of one that ends before its end; `None` where there is nothing to keep, or it is kept.
    pub(super) fn cut_short(&mut self) -> Option<Pending<bool>> {
        if self.ending.is_some() || self.known == Known::Nothing {
            return None;
        }
        let keep = self.keep.take()?;
        let response = cut_short(self.log.so_far(), self.cut)?;
        Some(keep.finish(&response, self.log.whole(), self.patience))
    }

    /// What may go out; `None` where there is nothing more without the provider.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.out.is_empty() {
            return Poll::Ready(Some(self.out.split().freeze()));
        }
        let Some(ending) = &mut self.ending else {
            return Poll::Ready(None);
        };
        let kept = ready!(ending.kept.as_mut().poll(cx));
        let bytes = std::mem::take(&mut ending.bytes);
        self.ending = None;
        let keep = self.keep.take();
        if matches!(kept, Ok(true)) {
            return Poll::Ready(Some(bytes.freeze()));
        }
        // It was deleted while it was made, or could not be kept: then it does not say that it is.
        if let (Err(error), Some(keep)) = (&kept, &keep) {
            keep.news.metrics.store_refused(error.label());
        }
        Poll::Ready(Some(unkept(&bytes)))
    }

    fn feed(&mut self, piece: &[u8]) {
        let piece = self.line_ends.unified(piece);
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            match stamp_line(line, &self.stamp) {
                Some((stamped, response, last)) => {
                    let (stamped, response) = match last {
                        true => with_what_had_come(stamped, response, self.log.so_far()),
                        false => (stamped, response),
                    };
                    self.block.extend_from_slice(&stamped);
                    self.block.extend_from_slice(b"\n");
                    self.spoke_of(&response, last);
                }
                None => self.block.extend_from_slice(line),
            }
            if line.trim_ascii().is_empty() {
                self.block_ends();
            }
        }
    }

    fn spoke_of(&mut self, response: &Value, last: bool) {
        if last {
            self.last = Some(response.clone());
            return;
        }
        let Some(keep) = &self.keep else { return };
        // Nobody waits: should it fail, how it ends is kept behind it or told not to be.
        match self.known {
            Known::Nothing => drop(keep.begin(response, Standing::UnderWay, Bytes::new())),
            // As the provider queues it as well, nothing has changed.
            Known::Queued if response.get("status").is_some_and(|it| it == "queued") => return,
            Known::Queued => drop(keep.goes_on(response)),
            Known::InProgress => return,
        }
        self.known = Known::InProgress;
    }

    fn block_ends(&mut self) {
        let block = self.block.split();
        if self.keep.is_some() && !block.starts_with(b":") {
            self.log.push(&block);
        }
        if let Some(ending) = &mut self.ending {
            ending.bytes.extend_from_slice(&block);
            return;
        }
        match (self.last.take(), &self.keep) {
            (Some(response), Some(keep)) => {
                let events = self.log.whole();
                let kept: Pending<bool> = match self.known {
                    Known::Queued | Known::InProgress => {
                        keep.finish(&response, events, self.patience)
                    }
                    Known::Nothing => {
                        let begun = keep.begin(&response, Standing::Ended, events);
                        Box::pin(async move { begun.await.map(|()| true) })
                    }
                };
                self.ending = Some(Ending { kept, bytes: block });
            }
            (Some(_) | None, _) => self.out.extend_from_slice(&block),
        }
    }

    /// There is no room for them any more.
    pub(super) fn forget_events(&mut self) {
        self.log.give_up();
    }

    fn rest(&mut self) -> Option<Bytes> {
        let rest = self.block.split().freeze();
        Some(rest).filter(|rest| !rest.is_empty())
    }
}

impl Drop for KeptStream {
    fn drop(&mut self) {
        let kept = match self.ending.take() {
            Some(ending) => Some(ending.kept),
            None => self.cut_short(),
        };
        // Its place is taken where there is room; where there is none, somebody has to ask again.
        if let (Some(kept), Ok(runtime)) = (kept, Handle::try_current()) {
            drop(runtime.spawn(kept));
        }
    }
}

/// The last event of a response that is not kept after all.
fn unkept(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let event = line
            .strip_prefix(b"data:")
            .and_then(|data| serde_json::from_slice::<Value>(data.trim_ascii()).ok());
        let Some(mut event) = event.filter(|event| event.get("response").is_some()) else {
            out.extend_from_slice(line);
            continue;
        };
        event["response"]["store"] = false.into();
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&crate::dialects::one_line(&event));
        out.extend_from_slice(b"\n");
    }
    out.freeze()
}
