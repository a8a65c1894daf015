//! Answers and errors as HTTP, with the headers clients rely on (ground rule G6).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;

use super::Edge;
use super::connection::ConnectionControl;
use crate::dialects::openai::encode_error;
use crate::dispatch::{LiveStream, StreamPiece, Told};
use crate::domain::{Advice, Failure, FailureKind, RequestId};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-switchyard-attempts");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// An error answer: always valid JSON, always with request id and advice.
pub(super) fn failure(failure: &Failure, id: RequestId, told: &Told) -> Response {
    let text = id.text();
    let mut response = Response::new(Body::from(encode_error(failure, text.as_str())));
    *response.status_mut() =
        StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    common(headers, id, told);
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

fn common(headers: &mut HeaderMap, id: RequestId, told: &Told) {
    if let Ok(value) = HeaderValue::from_str(id.text().as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(ATTEMPTS, HeaderValue::from(told.attempts));
    let mut put = |name: &'static str, value: Option<&str>| {
        // Names from outside may hold what no header carries; then the header is left out (attack A11).
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-switchyard-provider", told.provider.as_deref());
    put("x-switchyard-model", told.model.as_deref());
    if told.served_model != told.model {
        put("x-switchyard-served-model", told.served_model.as_deref());
    }
    put("x-switchyard-race", told.race.map(|race| race.label()));
    if !told.dropped.is_empty() {
        put("x-switchyard-dropped", Some(&told.dropped.join(", ")));
    }
    if told.failovers > 0 {
        headers.insert(
            HeaderName::from_static("x-switchyard-failovers"),
            HeaderValue::from(told.failovers),
        );
    }
    for (name, value) in &told.headers {
        headers.insert(name.clone(), value.clone());
    }
}

pub(super) fn whole(body: Bytes, id: RequestId, told: &Told) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    common(headers, id, told);
    response
}

/// A stream's answer. When it breaks, the connection is closed behind it.
pub(super) fn stream(
    stream: Box<LiveStream>,
    id: RequestId,
    told: &Told,
    control: Option<ConnectionControl>,
    guard: Option<super::chat::InFlight>,
) -> Response {
    let mut response = Response::new(Body::new(StreamBody {
        stream,
        control,
        _guard: guard,
    }));
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
    common(headers, id, told);
    response
}

struct StreamBody {
    stream: Box<LiveStream>,
    control: Option<ConnectionControl>,
    _guard: Option<super::chat::InFlight>,
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.stream.poll_piece(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(StreamPiece::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(StreamPiece::End) => Poll::Ready(None),
            Poll::Ready(StreamPiece::Broken) => {
                if let Some(control) = self.control.take() {
                    control.close_after_response();
                }
                Poll::Ready(None)
            }
        }
    }
}

/// A new id for an answer that no request got far enough to have.
pub(super) fn new_id() -> RequestId {
    RequestId::from_draw(fastrand::u128(..))
}

pub(super) async fn no_such_path(State(edge): State<Arc<Edge>>) -> Response {
    edge.news.metrics.rejected("not_found");
    let told = Failure::new(
        FailureKind::NotFound,
        "there is nothing at this path; the gateway serves /v1/chat/completions and /v1/models",
    );
    failure(&told, new_id(), &Told::default())
}

pub(super) async fn wrong_method(State(edge): State<Arc<Edge>>) -> Response {
    edge.news.metrics.rejected("method_not_allowed");
    let told = Failure::new(
        FailureKind::MethodNotAllowed,
        "this path takes another method; see the README for each",
    );
    failure(&told, new_id(), &Told::default())
}
