//! Bodies: a request in a few pieces that are never copied together, an answer read with limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::error::{AttemptError, sort};
use super::line::LineBody;
use super::pool::StreamPlace;
use crate::domain::AttemptOutcome;

/// A request body in pieces: what was spliced is new, the rest is the client's own bytes.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    pieces: SmallVec<[Bytes; 5]>,
}

impl Rope {
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In one piece.
    pub fn joined(&self) -> Bytes {
        match self.pieces.as_slice() {
            [one] => one.clone(),
            several => several.concat().into(),
        }
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.pieces.iter().cloned()
    }

    /// Takes the next bytes out, not more than `most` and never none.
    fn next(&mut self, most: usize) -> Option<Bytes> {
        let first = self.pieces.first_mut()?;
        if first.len() > most {
            return Some(first.split_to(most));
        }
        Some(self.pieces.remove(0))
    }
}

impl FromIterator<Bytes> for Rope {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        Self {
            pieces: pieces
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .collect(),
        }
    }
}

/// A request body on its way over a shared connection.
#[derive(Debug)]
pub(super) struct Upload {
    left: Rope,
    moved: watch::Sender<()>,
}

/// Watches an upload.
pub(super) struct Progress {
    moved: watch::Receiver<()>,
}

/// What is handed over at once: one HTTP/2 frame, so that a slow window still shows progress.
const FRAME: usize = 16 * 1024;

impl Upload {
    pub(super) fn of(body: Rope) -> (Self, Progress) {
        let (sender, receiver) = watch::channel(());
        let upload = Self {
            left: body,
            moved: sender,
        };
        (upload, Progress { moved: receiver })
    }
}

impl Progress {
    /// Ends when nothing was taken for this long (fault N11); never, once everything is.
    pub(super) async fn stalled(mut self, limit: Duration) {
        loop {
            match timeout(limit, self.moved.changed()).await {
                Ok(Ok(())) => {}
                // The connection drops an upload when it has taken it.
                Ok(Err(_dropped)) => return std::future::pending().await,
                Err(_elapsed) => return,
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // A frame is asked for when the one before has found room.
        self.moved.send_replace(());
        Poll::Ready(self.left.next(FRAME).map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// An answer's body. Dropping it before the end closes the connection or resets the stream.
#[derive(Debug)]
pub struct ReplyBody {
    source: Source,
    /// Looked at and not yet read.
    peeked: Option<Bytes>,
}

#[derive(Debug)]
enum Source {
    Line(LineBody),
    Stream(StreamBody),
}

#[derive(Debug)]
struct StreamBody {
    incoming: Incoming,
    /// Since when nothing has come; `None` while something is there.
    silent_since: Option<Instant>,
    place: StreamPlace,
}

impl ReplyBody {
    pub(super) fn from_line(body: LineBody) -> Self {
        Self {
            source: Source::Line(body),
            peeked: None,
        }
    }

    pub(super) fn from_stream(incoming: Incoming, place: StreamPlace) -> Self {
        Self {
            source: Source::Stream(StreamBody {
                incoming,
                silent_since: None,
                place,
            }),
            peeked: None,
        }
    }

    /// Looks at the first byte that is no white space, without reading it; `None` when there is none.
    pub async fn first_byte(&mut self) -> Result<Option<u8>, AttemptError> {
        if self.peeked.is_none() {
            self.peeked = self.piece().await.transpose()?;
        }
        Ok(self
            .peeked
            .iter()
            .flatten()
            .copied()
            .find(|byte| !byte.is_ascii_whitespace()))
    }

    /// The next piece; `None` at a proper end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, AttemptError>>> {
        if let Some(piece) = self.peeked.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        match &mut self.source {
            Source::Line(body) => body.poll_piece(cx),
            Source::Stream(body) => body.poll_piece(cx),
        }
    }

    /// As [`ReplyBody::poll_piece`], in pieces as large as may be.
    fn poll_large_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, AttemptError>>> {
        match (&mut self.source, &self.peeked) {
            (Source::Line(body), None) => body.poll_large_piece(cx),
            _ => self.poll_piece(cx),
        }
    }

    /// Whether its end is told by its framing: that of one which goes on until the connection closes may be a cut.
    pub fn is_delimited(&self) -> bool {
        match &self.source {
            Source::Line(body) => body.is_delimited(),
            Source::Stream(_) => true,
        }
    }

    pub async fn piece(&mut self) -> Option<Result<Bytes, AttemptError>> {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await
    }

    async fn large_piece(&mut self) -> Option<Result<Bytes, AttemptError>> {
        std::future::poll_fn(|cx| self.poll_large_piece(cx)).await
    }

    /// The whole body, if it is not larger than `limit` (fault P32). One piece is handed on without a copy.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, AttemptError> {
        let Some(first) = self.large_piece().await.transpose()? else {
            return Ok(Bytes::new());
        };
        let expected = match &self.source {
            Source::Line(body) => body.known_rest(),
            Source::Stream(body) => body.incoming.size_hint().lower(),
        };
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        if expected > limit {
            return Err(AttemptError::of(AttemptOutcome::TooLarge));
        }
        let Some(second) = self.large_piece().await.transpose()? else {
            return within(first, limit);
        };
        let room = first
            .len()
            .saturating_add(second.len())
            .saturating_add(expected)
            .min(limit);
        let mut whole = BytesMut::with_capacity(room);
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.large_piece().await.transpose()? {
            if whole.len() + piece.len() > limit {
                return Err(AttemptError::of(AttemptOutcome::TooLarge));
            }
            whole.extend_from_slice(&piece);
        }
        within(whole.freeze(), limit)
    }
}

impl StreamBody {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, AttemptError>>> {
        loop {
            return match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending => {
                    self.silent_since.get_or_insert_with(Instant::now);
                    Poll::Pending
                }
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fault(&error)))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) if piece.is_empty() => continue,
                    Ok(piece) => {
                        self.silent_since = None;
                        Poll::Ready(Some(Ok(piece)))
                    }
                    // Trailers mean nothing to us.
                    Err(_trailers) => continue,
                },
            };
        }
    }

    /// hyper does not tell a body that no ping was answered; that it was silent for so long before does.
    fn fault(&self, error: &hyper::Error) -> AttemptError {
        let fault = body_error(error);
        let silent = self
            .silent_since
            .is_some_and(|since| since.elapsed() >= self.place.ping_every());
        if silent && fault.outcome == AttemptOutcome::Reset {
            return AttemptError::of(AttemptOutcome::GapTimeout);
        }
        fault
    }
}

fn within(body: Bytes, limit: usize) -> Result<Bytes, AttemptError> {
    if body.len() > limit {
        Err(AttemptError::of(AttemptOutcome::TooLarge))
    } else {
        Ok(body)
    }
}

/// Inside a body an early end is a truncation; anything else is a reset.
fn body_error(error: &hyper::Error) -> AttemptError {
    if error.is_incomplete_message() || error.is_body_write_aborted() {
        return AttemptError::of(AttemptOutcome::Truncated);
    }
    sort(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(sizes: &[usize]) -> Rope {
        sizes
            .iter()
            .enumerate()
            .map(|(index, size)| vec![u8::try_from(index).unwrap(); *size].into())
            .collect()
    }

    async fn next(upload: &mut Upload) -> Option<Bytes> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *upload).poll_frame(cx)).await;
        frame.map(|frame| frame.unwrap().into_data().unwrap())
    }

    #[tokio::test]
    async fn an_upload_says_all_of_its_rope_in_frames() {
        let rope = rope(&[3, 0, 3 * FRAME + 1, FRAME]);
        let whole: Vec<u8> = rope.pieces().flatten().collect();
        let (mut upload, _progress) = Upload::of(rope);
        let mut said = Vec::new();
        while !upload.is_end_stream() {
            let left = upload.size_hint().exact().unwrap();
            let piece = next(&mut upload).await.unwrap();
            assert!((1..=FRAME).contains(&piece.len()));
            assert_eq!(upload.size_hint().exact(), Some(left - piece.len() as u64));
            said.extend_from_slice(&piece);
        }
        assert!(said == whole && next(&mut upload).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn n11_an_upload_stalls_by_its_last_progress_and_never_once_it_is_taken() {
        let limit = Duration::from_secs(30);
        let (mut upload, progress) = Upload::of(rope(&[4 * FRAME]));
        let stalled = tokio::spawn(progress.stalled(limit));
        for _ in 0..3 {
            tokio::time::sleep(limit - Duration::from_secs(1)).await;
            next(&mut upload).await;
            assert!(!stalled.is_finished());
        }
        let last = tokio::time::Instant::now();
        stalled.await.unwrap();
        assert_eq!(last.elapsed().as_secs(), limit.as_secs());

        let (upload, progress) = Upload::of(rope(&[1]));
        drop(upload);
        assert!(timeout(10 * limit, progress.stalled(limit)).await.is_err());
    }
}
