//! Providers, their keys and pools as they are now, and what an operator takes out of placement.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Asked, Refused, answered, cut, refuse, typed};
use crate::actors::KeyCell;
use crate::edge::Edge;
use crate::edge::admin::told;
use crate::store::keys::AdminScope;

/// Whether new requests go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Serving,
    /// Nothing new goes there; what is under way ends as it would.
    Drained,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    state: Standing,
}

#[utoipa::path(get, path = "/admin/v1/providers", tag = "fleet", responses(
    (status = 200, description = "providers and their keys, without secrets"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
))]
pub(super) async fn providers(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let told = Asked::above_tenants(&edge, request, AdminScope::Read).map(|_| {
        let settings = &edge.published().settings;
        let providers: Vec<Value> = settings
            .providers
            .iter()
            .map(|provider| {
                let cells = edge.system.keys_of(provider.name.as_str());
                let keys: Vec<Value> = cells.iter().map(|cell| key(cell)).collect();
                json!({"name": provider.name, "dialect": provider.dialect.label(), "keys": keys})
            })
            .collect();
        told(StatusCode::OK, &json!({"providers": providers}))
    });
    answered(told)
}

fn key(cell: &KeyCell) -> Value {
    let state = if cell.held.load(Ordering::Relaxed) {
        Standing::Drained
    } else {
        Standing::Serving
    };
    json!({
        "name": cell.name,
        "state": state,
        "in_flight": cell.in_flight.load(Ordering::Relaxed),
    })
}

#[utoipa::path(put, path = "/admin/v1/providers/{provider}/state", tag = "fleet", request_body = Wanted, params(
    ("provider" = String, Path, description = "the provider"),
), responses(
    (status = 200, description = "done for all of its keys; forgotten when the gateway ends"),
    (status = 400, description = "no JSON"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
    (status = 404, description = "no such provider"),
    (status = 413, description = "the body is too large"),
    (status = 422, description = "no such state"),
))]
pub(super) async fn set_provider(
    State(edge): State<Arc<Edge>>,
    Path(provider): Path<String>,
    request: Request<Body>,
) -> Response {
    answered(set(edge, provider, None, request).await)
}

#[utoipa::path(put, path = "/admin/v1/providers/{provider}/keys/{key}/state", tag = "fleet", request_body = Wanted, params(
    ("provider" = String, Path, description = "the provider"),
    ("key" = String, Path, description = "the key's name in the configuration"),
), responses(
    (status = 200, description = "done; forgotten when the gateway ends"),
    (status = 400, description = "no JSON"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
    (status = 404, description = "no such key"),
    (status = 413, description = "the body is too large"),
    (status = 422, description = "no such state"),
))]
pub(super) async fn set_key(
    State(edge): State<Arc<Edge>>,
    Path((provider, key)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    answered(set(edge, provider, Some(key), request).await)
}

async fn set(
    edge: Arc<Edge>,
    provider: String,
    named: Option<String>,
    request: Request<Body>,
) -> Result<Response, Refused> {
    let Asked { by, parts, body } = Asked::above_tenants(&edge, request, AdminScope::Write)?;
    let wanted: Wanted = typed(Asked::json(body).await?)?;
    let mut cells = edge.system.keys_of(&provider);
    if let Some(named) = &named {
        cells.retain(|cell| cell.name.as_str() == named);
    }
    if cells.is_empty() {
        let why = "there is no such provider or key; GET /admin/v1/providers lists them";
        return Ok(refuse(404, "not_found", why));
    }
    for cell in &cells {
        let drained = wanted.state == Standing::Drained;
        cell.held.store(drained, Ordering::Relaxed);
    }
    let detail = format!("{}: {:?}", by.name, wanted.state);
    edge.journal()
        .event("admin.changed", &cut(parts.uri.path()), &cut(&detail));
    let keys: Vec<Value> = cells.iter().map(|cell| key(cell)).collect();
    Ok(told(
        StatusCode::OK,
        &json!({"provider": provider, "keys": keys}),
    ))
}

#[utoipa::path(get, path = "/admin/v1/pools", tag = "fleet", responses(
    (status = 200, description = "pools, their targets and who waits"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
))]
pub(super) async fn pools(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let told = Asked::above_tenants(&edge, request, AdminScope::Read).map(|_| {
        let published = edge.published();
        let mut pools: Vec<Value> = Vec::new();
        for (name, route) in published.routes.names() {
            let Some(pool) = route.chain.first() else {
                continue;
            };
            let targets = pool.settings.targets.iter();
            let targets: Vec<Value> = targets
                .map(|target| json!({"provider": target.provider, "model": target.model, "weight": target.weight}))
                .collect();
            let fallback: Vec<&str> = route.chain.iter().skip(1).map(|pool| pool.name.as_str()).collect();
            pools.push(json!({
                "name": name,
                "targets": targets,
                "fallback": fallback,
                "waiting": pool.cell.waiting.load(Ordering::Relaxed),
                "panicking": pool.cell.panicking.load(Ordering::Relaxed),
            }));
        }
        pools.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        told(StatusCode::OK, &json!({"pools": pools}))
    });
    answered(told)
}
