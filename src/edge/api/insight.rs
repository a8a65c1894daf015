//! What the tree looks like, why a request would go where, and what the configuration means.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;

use crate::edge::{Edge, admin};

#[utoipa::path(get, path = "/admin/v1/tree", tag = "insight", responses(
    (status = 200, description = "every actor, its state, restarts and mailbox"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
))]
pub(super) async fn tree(edge: State<Arc<Edge>>, request: Request<Body>) -> Response {
    admin::tree(edge, request).await
}

#[utoipa::path(get, path = "/admin/v1/explain", tag = "insight", params(
    ("model" = String, Query, description = "as a client would name it"),
    ("tokens" = Option<u64>, Query, description = "how long its prompt is"),
    ("client" = Option<String>, Query, description = "for whom: a client's name in the configuration, or the id of a key"),
), responses(
    (status = 200, description = "the candidates, and the reason that removed each"),
    (status = 400, description = "no model is named"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
    (status = 404, description = "no such model, no such client, or one that may not use it"),
))]
pub(super) async fn explain(edge: State<Arc<Edge>>, request: Request<Body>) -> Response {
    admin::explain_model(edge, request).await
}

#[utoipa::path(get, path = "/admin/v1/config", tag = "insight", responses(
    (status = 200, description = "the configuration in force, without secrets"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
))]
pub(super) async fn config(edge: State<Arc<Edge>>, request: Request<Body>) -> Response {
    admin::config(edge, request).await
}

#[utoipa::path(post, path = "/admin/v1/reload", tag = "insight", responses(
    (status = 200, description = "in force now, or nothing differed"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
    (status = 422, description = "every mistake; the old configuration stays"),
    (status = 503, description = "nobody answered"),
))]
pub(super) async fn reload(edge: State<Arc<Edge>>, request: Request<Body>) -> Response {
    admin::reload(edge, request).await
}
