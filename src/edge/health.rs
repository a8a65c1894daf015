//! `/live`, `/ready` and `/metrics`: nothing here asks an actor.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::Edge;
use crate::actors::SeatState;
use crate::policy::overload::Overload;

pub(super) async fn live() -> Response {
    Response::new(Body::from("alive\n"))
}

/// Ready means: a request sent now would be taken in.
pub(super) async fn ready(State(edge): State<Arc<Edge>>) -> Response {
    let published = edge.published();
    let journal = edge.journal().state();
    let router_up = edge.system.router.seat().state() == SeatState::Running;
    let books = edge.system.books.seat().health();
    // Once it is known that they cannot be read, those without a budget are served all the same.
    let reading = books.is_empty()
        && (published
            .tenants
            .values()
            .any(|tenant| !tenant.cell.is_complete())
            || edge
                .system
                .tables
                .tills
                .all()
                .values()
                .any(|till| !till.is_complete())
            || !edge.system.knows_what_was_bought());
    let why = if edge.is_draining() {
        Some("draining")
    } else if !edge.journal().admits() {
        Some("the journal cannot be written")
    } else if edge.overload() == Overload::Full {
        Some("memory is full")
    } else if reading {
        Some("what was spent before is being read")
    } else if !router_up {
        Some("the router is not running")
    } else if published.settings.providers.is_empty() {
        Some("no provider is configured; set OPENAI_API_KEY or the like, or name a config file")
    } else {
        None
    };
    let text = json!({
        "ready": why.is_none(),
        "why": why,
        "journal": journal,
        "books": *books,
        "store": edge.news.store.state(),
        "providers": published.settings.providers.len(),
        // `fetched` in Unix seconds; without it the facts are those of the build.
        "registry": {
            "models": published.settings.models.registry().len(),
            "facts": published.settings.models.registry().facts(),
            "fetched": published.settings.models.fetched().map(|copy| copy.fetched),
        },
        "config_version": format!("{:016x}", published.settings.version),
    });
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = if why.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) async fn metrics(State(edge): State<Arc<Edge>>) -> Response {
    let mut response = Response::new(Body::from(edge.telemetry.render()));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}
