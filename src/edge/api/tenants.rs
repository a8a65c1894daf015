//! Tenants, their teams, and what is spent and left of what they may.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Request, StatusCode};

use super::keys::{asked, page, run};
use super::{Asked, Refused, answered, denied, typed};
use crate::config::TenantForm;
use crate::edge::admin::told;
use crate::edge::{Edge, spending};
use crate::keys::{Denied, KeyCommand};
use crate::store::keys::AdminScope;

#[utoipa::path(get, path = "/admin/v1/tenants", tag = "tenants", params(
    ("after" = Option<String>, Query, description = "what the page before told as next"),
    ("limit" = Option<u64>, Query, description = "1 to 1000, 100 when left out"),
), responses(
    (status = 200, description = "a page of tenants, the file's and the store's"),
    (status = 400, description = "the query makes no sense"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
))]
pub(super) async fn list(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let read = |asked: &Asked| page(asked).map(KeyCommand::Tenants);
    asked(edge, request, AdminScope::Read, read).await
}

#[utoipa::path(get, path = "/admin/v1/tenants/{name}", tag = "tenants", params(
    ("name" = String, Path, description = "the tenant"),
), responses(
    (status = 200, description = "what it may use, its teams, and what of it is in the store"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 404, description = "no such tenant"),
))]
pub(super) async fn one(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    asked(edge, request, AdminScope::Read, |_| {
        Ok(KeyCommand::Tenant { name })
    })
    .await
}

#[utoipa::path(put, path = "/admin/v1/tenants/{name}", tag = "tenants", request_body = TenantForm, params(
    ("name" = String, Path, description = "the tenant"),
), responses(
    (status = 200, description = "the tenant as it is kept now"),
    (status = 400, description = "no JSON"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
    (status = 413, description = "the body is too large"),
    (status = 422, description = "mistakes, each with its path and cure"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn put(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let put = async {
        let Asked { by, parts, body } = Asked::with(&edge, request, AdminScope::Write)?;
        let form: TenantForm = typed(Asked::json(body).await?)?;
        Ok(run(&edge, &by, &parts, KeyCommand::PutTenant { name, form }).await)
    };
    answered(put.await)
}

#[utoipa::path(delete, path = "/admin/v1/tenants/{name}", tag = "tenants", params(
    ("name" = String, Path, description = "the tenant"),
), responses(
    (status = 200, description = "it is gone"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope, or is of one tenant"),
    (status = 404, description = "the store has no such tenant"),
    (status = 409, description = "it has keys"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn remove(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let remove = |_: &Asked| Ok(KeyCommand::RemoveTenant { name });
    asked(edge, request, AdminScope::Write, remove).await
}

#[utoipa::path(get, path = "/admin/v1/tenants/{name}/accounts", tag = "tenants", params(
    ("name" = String, Path, description = "the tenant"),
), responses(
    (status = 200, description = "limits and budgets of its accounts, and what was used of them"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 404, description = "no such tenant, or one without limits and budgets"),
))]
pub(super) async fn accounts(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let told = || -> Result<Response, Refused> {
        let asked = Asked::with(&edge, request, AdminScope::Read)?;
        let seen = asked.by.sees(&name);
        match spending::tenant_of(&edge, &name).filter(|_| seen) {
            Some(accounts) => Ok(told(StatusCode::OK, &accounts)),
            None => Ok(denied(&edge, &asked.by, &asked.parts, &Denied::NotFound)),
        }
    };
    answered(told())
}
