//! A stream that is kept while it passes.
//!
//! Its end is held until it stands in the store, for a while: whoever has read it may ask for it. Whoever leaves before
//! finds what had come, and that it was cancelled.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use super::keep::{IN_A_REPLY, IN_THE_BACKGROUND, Keep, ended};
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
    /// Until here it is waited for.
    until: Pin<Box<Sleep>>,
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
    /// Its end was not waited for to be kept, and may be kept yet.
    late: Option<Pending<bool>>,
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
            late: None,
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

    /// Whether its reader has waited for its end to be kept, in vain so far.
    pub(super) fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// What is still to be kept of one that has ended, before its end or with it.
    pub(super) fn unkept(&mut self) -> Option<Pending<bool>> {
        // Once only.
        let keep = self.keep.take();
        let ending = self.ending.take().map(|ending| ending.kept);
        if let Some(kept) = self.late.take().or(ending) {
            return Some(kept);
        }
        if self.known == Known::Nothing {
            return None;
        }
        let keep = keep?;
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
        let kept = match ending.kept.as_mut().poll(cx) {
            Poll::Ready(kept) => Some(kept),
            Poll::Pending => {
                ready!(ending.until.as_mut().poll(cx));
                None
            }
        };
        let Some(Ending {
            kept: keeping,
            bytes,
            ..
        }) = self.ending.take()
        else {
            return Poll::Ready(None);
        };
        match kept {
            Some(Ok(true)) => {
                self.keep = None;
                return Poll::Ready(Some(bytes.freeze()));
            }
            // It was deleted while it was made.
            Some(Ok(false)) => self.keep = None,
            Some(Err(error)) => {
                if let Some(keep) = self.keep.take() {
                    keep.news.metrics.store_refused(error.label());
                }
            }
            None => self.late = Some(keeping),
        }
        // What is not kept does not say that it is.
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
            // Of two last events the first is kept.
            (Some(response), Some(keep)) if self.late.is_none() => {
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
                self.ending = Some(Ending {
                    kept,
                    until: Box::pin(sleep(IN_A_REPLY)),
                    bytes: block,
                });
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
        let news = self.keep.as_ref().map(|keep| Arc::clone(&keep.news));
        // Its place is taken where there is room; where there is none, somebody has to ask again.
        if let (Some(kept), Some(news), Ok(runtime)) = (self.unkept(), news, Handle::try_current())
        {
            drop(runtime.spawn(ended(kept, news)));
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

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::actors::News;
    use crate::domain::ClientName;
    use crate::store::{Conversation, Link, ResponseKey, ResponseStore, StoredResponse};

    /// Never says how it went, and counts what it is told to keep as ended.
    #[derive(Default)]
    struct Silent(AtomicU64);

    impl ResponseStore for Silent {
        fn begin(&self, _: StoredResponse) -> Pending<()> {
            Box::pin(pending())
        }
        fn goes_on(&self, _: &ResponseKey, _: Bytes) -> Pending<bool> {
            Box::pin(pending())
        }
        fn finish(&self, response: StoredResponse) -> Pending<bool> {
            assert!(response.answer.ends_with(b"}"));
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(pending())
        }
        fn get(&self, _: &ResponseKey) -> Pending<Option<StoredResponse>> {
            Box::pin(pending())
        }
        fn delete(&self, _: &ResponseKey) -> Pending<bool> {
            Box::pin(pending())
        }
        fn conversation(&self, _: &ResponseKey, _: usize) -> Pending<Conversation> {
            Box::pin(pending())
        }
        fn holding(&self, _: &ClientName, _: Vec<String>) -> Pending<Vec<Link>> {
            Box::pin(pending())
        }
    }

    fn begun(store: &Arc<Silent>) -> KeptStream {
        let key = ResponseKey {
            owner: "app".into(),
            id: "resp_1".to_owned(),
        };
        let stamp = Stamp {
            id: Some(key.id.clone()),
            previous: None,
            background: true,
        };
        let keep = Keep {
            news: Arc::new(News::unheard(Default::default())),
            store: Arc::clone(store) as Arc<dyn ResponseStore>,
            key,
            previous: None,
            input: Bytes::new(),
            created: 1,
        };
        let mut stream = KeptStream::begun(stamp, keep);
        stream.feed(b"data: {\"type\":\"response.in_progress\",\"response\":{\"status\":\"in_progress\"}}\n\n");
        stream
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_a_store_a_moment_and_it_goes_on_being_kept() {
        let store = Arc::new(Silent::default());
        let mut stream = begun(&store);
        assert!(poll_fn(|cx| stream.poll_out(cx)).await.is_some());
        stream.feed(
            b"data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
        );
        let asked = tokio::time::Instant::now();
        let last = poll_fn(|cx| stream.poll_out(cx)).await.unwrap();
        assert_eq!(asked.elapsed().as_secs(), IN_A_REPLY.as_secs());
        assert!(String::from_utf8_lossy(&last).contains(r#""store":false"#));
        assert_eq!(poll_fn(|cx| stream.poll_out(cx)).await, None);
        let kept = stream.unkept().unwrap();
        assert!(kept.now_or_never().is_none());
        assert!(stream.unkept().is_none());
        drop(stream);
        assert_eq!(store.0.load(Ordering::Relaxed), 1, "its end is told once");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_left_half_way_is_kept_as_what_had_come() {
        let store = Arc::new(Silent::default());
        drop(begun(&store));
        assert_eq!(store.0.load(Ordering::Relaxed), 1);
    }
}
