//! Bodies: a request in a few pieces that are never copied together, an answer read with limits.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use smallvec::SmallVec;

use super::error::{AttemptError, sort};
use super::line::LineBody;
use super::pool::StreamPlace;
use crate::domain::AttemptOutcome;

/// A request body in pieces: what was spliced is new, the rest is the client's own bytes.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    pieces: SmallVec<[Bytes; 5]>,
    next: usize,
}

impl Rope {
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.pieces.iter().cloned()
    }
}

impl FromIterator<Bytes> for Rope {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        Self {
            pieces: pieces
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .collect(),
            next: 0,
        }
    }
}

impl Body for Rope {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.next;
        self.next += 1;
        Poll::Ready(
            self.pieces
                .get(next)
                .cloned()
                .map(|piece| Ok(Frame::data(piece))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.pieces.len()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self
            .pieces
            .iter()
            .skip(self.next)
            .map(Bytes::len)
            .sum::<usize>();
        SizeHint::with_exact(left as u64)
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
    Stream {
        incoming: Incoming,
        _place: StreamPlace,
    },
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
            source: Source::Stream {
                incoming,
                _place: place,
            },
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
            Source::Stream { incoming, .. } => poll_stream(incoming, cx),
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
            Source::Stream { incoming, .. } => incoming.size_hint().lower(),
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

fn poll_stream(
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, AttemptError>>> {
    loop {
        return match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(body_error(&error)))),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) if piece.is_empty() => continue,
                Ok(piece) => Poll::Ready(Some(Ok(piece))),
                // Trailers mean nothing to us.
                Err(_trailers) => continue,
            },
        };
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
