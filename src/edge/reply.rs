//! Answers and errors as HTTP, with the headers clients rely on (ground rule G6).

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use http_body::Frame;
use tokio::sync::mpsc;

use super::connection::ConnectionControl;
use super::inside::InFlight;
use super::shape::{Filling, Shaped};
use super::stored::{Follow, Outgoing};
use super::{Edge, paths};
use crate::actors::at_most;
use crate::dialects::{encode_error, keep_alive};
use crate::dispatch::once::Reader;
use crate::dispatch::{StreamPiece, Told};
use crate::domain::{Advice, ClientDialect, Failure, FailureKind, RequestId, thousandths};
use crate::policy::ledger::Admitted;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-switchyard-attempts");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Where Anthropic's SDKs look for it.
const REQUEST_ID_OF_ANTHROPIC: HeaderName = HeaderName::from_static("request-id");
const PROVIDER: HeaderName = HeaderName::from_static("x-switchyard-provider");
const MODEL: HeaderName = HeaderName::from_static("x-switchyard-model");
const SERVED_MODEL: HeaderName = HeaderName::from_static("x-switchyard-served-model");
const RACE: HeaderName = HeaderName::from_static("x-switchyard-race");
const DROPPED: HeaderName = HeaderName::from_static("x-switchyard-dropped");
const GUARD: HeaderName = HeaderName::from_static("x-switchyard-guard");
const FAILOVERS: HeaderName = HeaderName::from_static("x-switchyard-failovers");
const COST: HeaderName = HeaderName::from_static("x-switchyard-cost");
const ESTIMATED: HeaderName = HeaderName::from_static("x-switchyard-estimated");
/// What is left of the client's own limits, in the words of OpenAI's headers: limit, remaining, reset.
const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// An error answer: always valid JSON, always with request id and advice.
pub(super) fn failure(
    speaks: ClientDialect,
    failure: &Failure,
    id: RequestId,
    told: &Told,
) -> Response {
    let text = id.text();
    let body = encode_error(speaks, failure, text.as_str());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    common(headers, speaks, id, told);
    let advice = match failure.kind.advice() {
        Advice::Retry => "true",
        Advice::GiveUp => "false",
    };
    headers.insert(SHOULD_RETRY, HeaderValue::from_static(advice));
    if let Some(wait) = failure.retry_after {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER, HeaderValue::from(millis.div_ceil(1_000)));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
    response
}

/// Room for what nearly all answers say, so that the table need not grow header by header.
const MOST_USUAL: usize = 24;

fn common(headers: &mut HeaderMap, speaks: ClientDialect, id: RequestId, told: &Told) {
    headers.reserve(MOST_USUAL.saturating_sub(headers.len()));
    if let Ok(value) = HeaderValue::from_str(id.text().as_str()) {
        if speaks == ClientDialect::Anthropic {
            headers.insert(REQUEST_ID_OF_ANTHROPIC, value.clone());
        }
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(ATTEMPTS, HeaderValue::from(told.attempts));
    let mut put = |name: HeaderName, value: Option<&str>| {
        if let Some(value) = value {
            put_text(headers, name, value);
        }
    };
    put(PROVIDER, told.provider.as_deref());
    put(MODEL, told.model.as_deref());
    if told.served_model != told.model {
        put(SERVED_MODEL, told.served_model.as_deref());
    }
    put(RACE, told.race.map(|race| race.label()));
    if !told.dropped.is_empty() {
        put(DROPPED, Some(&told.dropped.join(", ")));
    }
    put(GUARD, told.guard.as_deref());
    if told.failovers > 0 {
        headers.insert(FAILOVERS, HeaderValue::from(told.failovers));
    }
    if let Some(cost) = told.cost.filter(|_| told.attempts > 0) {
        // In dollars.
        put_text(headers, COST, &cost.cost.to_string());
        if cost.estimated {
            headers.insert(ESTIMATED, HeaderValue::from_static("cost"));
        }
    }
    limits(headers, &told.limits);
    for (name, value) in &told.headers {
        headers.insert(name.clone(), value.clone());
    }
}

/// Names from outside may hold what no header carries; then the header is left out (attack A11).
fn put_text(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn limits(headers: &mut HeaderMap, told: &Admitted) {
    for (standing, [limit, remaining, reset]) in [(told.requests, REQUESTS), (told.tokens, TOKENS)]
    {
        let Some(standing) = standing else { continue };
        headers.insert(limit, HeaderValue::from(standing.limit));
        headers.insert(remaining, HeaderValue::from(standing.remaining));
        let millis = u64::try_from(standing.reset.as_millis()).unwrap_or(u64::MAX);
        let mut text = Vec::with_capacity(16);
        thousandths(&mut text, millis);
        text.push(b's');
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(reset, value);
        }
    }
}

pub(super) fn whole(speaks: ClientDialect, body: Bytes, id: RequestId, told: &Told) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.reserve(MOST_USUAL);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    common(headers, speaks, id, told);
    response
}

/// What a stream says.
pub(super) enum Said {
    Own(Outgoing),
    /// What somebody else may be told as well.
    Shared(Reader),
    Followed(Follow),
}

impl Said {
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<StreamPiece> {
        match self {
            Self::Own(outgoing) => outgoing.poll_piece(cx),
            Self::Shared(reader) => reader.poll_piece(cx),
            Self::Followed(follow) => follow.poll_piece(cx),
        }
    }
}

/// Who is answered, how, and on which connection.
pub(super) struct Speaker {
    pub(super) id: RequestId,
    pub(super) speaks: ClientDialect,
    /// Nothing may be written into it that is not the provider's.
    pub(super) mute: bool,
    pub(super) control: Option<ConnectionControl>,
}

/// A stream's answer. When it breaks, the connection is closed behind it.
pub(super) fn stream(
    stream: Said,
    speaker: Speaker,
    told: &Told,
    guard: Option<InFlight>,
) -> Response {
    let Speaker {
        id,
        speaks,
        mute,
        control,
    } = speaker;
    // What is not ours to write into is not filled up, and sound is not held back.
    let shape = guard.as_ref().filter(|_| !mute).map(InFlight::shape);
    let shape = shape.unwrap_or_default();
    let filling = Filling::new(shape, speaks, fastrand::u64(..));
    let stream = Shaped::new(stream, shape, filling);
    let body = match control {
        Some(control) if control.is_http2() => piped(stream, control, guard),
        control => Body::new(StreamBody {
            stream,
            control,
            sign: keep_alive(speaks).filter(|_| !mute),
            _guard: guard,
        }),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies in between must not gather what we send piece by piece.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    common(headers, speaks, id, told);
    response
}

struct StreamBody {
    stream: Shaped,
    control: Option<ConnectionControl>,
    /// Written into a stream whose client may have left; a strict reader stands none.
    sign: Option<Bytes>,
    _guard: Option<InFlight>,
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.stream.poll_piece(cx) {
            Poll::Pending => match (&self.control, &self.sign) {
                (Some(control), Some(sign)) if control.state.takes_sign(cx) => {
                    Poll::Ready(Some(Ok(Frame::data(sign.clone()))))
                }
                _ => Poll::Pending,
            },
            Poll::Ready(StreamPiece::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(StreamPiece::End) => Poll::Ready(None),
            Poll::Ready(StreamPiece::Broken) => {
                if let Some(control) = self.control.take() {
                    control.close_after_response();
                }
                Poll::Ready(None)
            }
            Poll::Ready(StreamPiece::Cut) => Poll::Ready(Some(Err(GivenUp))),
        }
    }
}

/// A stream on an HTTP/2 connection, driven by a task of its own.
///
/// # Why
/// A body is only polled while its client gives it window. One that gives none would stop every timer of its
/// stream and hold the provider's connection for as long as its other streams keep the connection alive.
fn piped(stream: Shaped, control: ConnectionControl, guard: Option<InFlight>) -> Body {
    let (sender, pieces) = mpsc::channel(1);
    let stall = control.write_stall();
    tokio::spawn(async move {
        pipe(stream, sender, stall).await;
        drop(guard);
    });
    Body::new(PipedBody { pieces, control })
}

async fn pipe(mut stream: Shaped, sender: mpsc::Sender<StreamPiece>, stall: Duration) {
    /// A client that takes a KiB a second takes this within any sensible stall limit.
    const MOST: usize = 8 * 1024;
    loop {
        let next = pin!(poll_fn(|cx| stream.poll_piece(cx)));
        let mut piece = match select(next, pin!(sender.closed())).await {
            Either::Left((piece, _)) => piece,
            Either::Right(_) => return,
        };
        loop {
            let rest = match &mut piece {
                StreamPiece::Data(bytes) if bytes.len() > MOST => Some(bytes.split_off(MOST)),
                StreamPiece::Data(_)
                | StreamPiece::End
                | StreamPiece::Broken
                | StreamPiece::Cut => None,
            };
            let is_last = !matches!(piece, StreamPiece::Data(_));
            let sent = at_most(stall, sender.send(piece)).await;
            if is_last || !matches!(sent, Some(Ok(()))) {
                return;
            }
            match rest {
                Some(rest) => piece = StreamPiece::Data(rest),
                None => break,
            }
        }
    }
}

struct PipedBody {
    pieces: mpsc::Receiver<StreamPiece>,
    control: ConnectionControl,
}

/// The client took nothing for too long, or what came cannot say that it is broken: the end is no end.
#[derive(Debug, thiserror::Error)]
#[error("the stream was given up")]
struct GivenUp;

impl http_body::Body for PipedBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match ready!(self.pieces.poll_recv(cx)) {
            Some(StreamPiece::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(StreamPiece::End) => Poll::Ready(None),
            Some(StreamPiece::Broken) => {
                self.control.close_after_response();
                Poll::Ready(None)
            }
            Some(StreamPiece::Cut) | None => Poll::Ready(Some(Err(GivenUp))),
        }
    }
}

/// A new id for an answer that no request got far enough to have.
pub(super) fn new_id() -> RequestId {
    RequestId::from_draw(fastrand::u128(..))
}

pub(super) async fn no_such_path(
    State(edge): State<Arc<Edge>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    edge.news.metrics.rejected("not_found");
    let message = match paths::meant(uri.path()) {
        Some(meant) => Cow::Owned(format!(
            "there is nothing at this path; did you mean {meant}?"
        )),
        None => Cow::Borrowed(
            "there is nothing at this path; the gateway serves /v1/chat/completions, /v1/responses, /v1/messages, /v1beta/models/{model}:generateContent, /v1/models and others named in its README",
        ),
    };
    let told = Failure::new(FailureKind::NotFound, message);
    failure(
        paths::spoken(uri.path(), &headers),
        &told,
        new_id(),
        &Told::default(),
    )
}

/// `allowed` is what the path takes instead.
pub(super) async fn wrong_method(
    State(edge): State<Arc<Edge>>,
    uri: Uri,
    headers: HeaderMap,
    allowed: &'static str,
) -> Response {
    edge.news.metrics.rejected("method_not_allowed");
    let told = Failure::new(
        FailureKind::MethodNotAllowed,
        format!("this path takes {allowed} and no other method"),
    );
    let speaks = paths::spoken(uri.path(), &headers);
    let mut response = failure(speaks, &told, new_id(), &Told::default());
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}
