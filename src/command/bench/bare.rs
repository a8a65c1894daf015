//! The yardstick: the least a proxy can do that reads `model` and `stream`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

/// What the bare proxy looks for.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: std::borrow::Cow<'a, str>,
    #[serde(default)]
    stream: bool,
}

struct Bare {
    client: Client<HttpConnector, Full<Bytes>>,
    url: http::Uri,
}

/// The yardstick: axum in front, hyper-util behind, the body buffered, `model` and `stream` found by serde.
pub(crate) async fn bare(upstream: &str, announce: &Path) -> ExitCode {
    let Ok(url) = format!("{upstream}/chat/completions").parse() else {
        return ExitCode::from(2);
    };
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let bare = Arc::new(Bare {
        client: Client::builder(TokioExecutor::new()).build(connector),
        url,
    });
    let router = axum::Router::new()
        .route("/v1/chat/completions", axum::routing::post(forward))
        .with_state(bare);
    let Ok(listener) = tokio::net::TcpListener::bind("127.0.0.1:0").await else {
        return ExitCode::FAILURE;
    };
    let Ok(address) = listener.local_addr() else {
        return ExitCode::FAILURE;
    };
    if std::fs::write(announce, format!("base_url=http://{address}/v1\n")).is_err() {
        return ExitCode::FAILURE;
    }
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (router, builder) = (router.clone(), builder.clone());
        tokio::spawn(async move {
            let service = hyper_util::service::TowerToHyperService::new(router);
            let _ = builder
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn forward(State(bare): State<Arc<Bare>>, request: http::Request<Body>) -> Response {
    let failed = |status: u16| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response
    };
    let (_, body) = request.into_parts();
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return failed(400);
    };
    let Ok(peek) = serde_json::from_slice::<Peek<'_>>(&body) else {
        return failed(400);
    };
    if peek.model.is_empty() && peek.stream {
        return failed(400);
    }
    let mut upstream = http::Request::new(Full::new(body.clone()));
    *upstream.method_mut() = http::Method::POST;
    *upstream.uri_mut() = bare.url.clone();
    let headers = upstream.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        AUTHORIZATION,
        http::HeaderValue::from_static("Bearer sk-bench"),
    );
    headers.insert(CONTENT_LENGTH, http::HeaderValue::from(body.len()));
    match bare.client.request(upstream).await {
        Ok(response) => response.map(Body::new),
        Err(_) => failed(502),
    }
}
