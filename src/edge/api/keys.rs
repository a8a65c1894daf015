//! Client and admin keys.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::request::Parts;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{Asked, Refused, answered, cut, denied, once, refuse, typed};
use crate::actors::{KeeperMessage, wall};
use crate::edge::Edge;
use crate::edge::admin::told;
use crate::keys::{
    Decision, Denied, KeyCommand, KeyPatch, NewKey, Office, Page, Pepper, Principal,
};
use crate::store::StoreError;
use crate::store::keys::{AdminScope, KeyChange, KeyChanged};

/// A change is awaited this long until it is in force here; it is on the disk by then.
const IN_FORCE: Duration = Duration::from_secs(2);

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rotation {
    /// How long the old secret stays good beside the new one.
    overlap_seconds: u64,
}

#[utoipa::path(get, path = "/admin/v1/keys", tag = "keys", params(
    ("tenant" = Option<String>, Query, description = "only of this tenant"),
    ("after" = Option<String>, Query, description = "what the page before told as next"),
    ("limit" = Option<u64>, Query, description = "1 to 1000, 100 when left out"),
), responses(
    (status = 200, description = "a page of keys, without secrets"),
    (status = 400, description = "the query makes no sense"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
))]
pub(super) async fn list(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let read = |asked: &Asked| page(asked).map(KeyCommand::Keys);
    asked(edge, request, AdminScope::Read, read).await
}

#[utoipa::path(get, path = "/admin/v1/keys/{id}", tag = "keys", params(
    ("id" = String, Path, description = "the key's id"),
), responses(
    (status = 200, description = "the key, without its secret"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 404, description = "no such key, or of another tenant"),
))]
pub(super) async fn one(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    asked(edge, request, AdminScope::Read, |_| {
        Ok(KeyCommand::Key { id })
    })
    .await
}

#[utoipa::path(post, path = "/admin/v1/keys", tag = "keys", request_body = NewKey, params(
    ("idempotency-key" = Option<String>, Header, description = "asked again with it, no second key is made"),
), responses(
    (status = 201, description = "the key and its text, this once"),
    (status = 200, description = "made before under the same idempotency-key; without its text"),
    (status = 400, description = "no JSON"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "wider than its creator, team or tenant"),
    (status = 409, description = "the name is taken, or there are too many"),
    (status = 413, description = "the body is too large"),
    (status = 422, description = "mistakes, each with its path and cure"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn create(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    let issue = |wanted, once| KeyCommand::Issue { wanted, once };
    answered(made(edge, request, issue).await)
}

#[utoipa::path(post, path = "/admin/v1/admin-keys", tag = "keys", request_body = NewKey, params(
    ("idempotency-key" = Option<String>, Header, description = "asked again with it, no second key is made"),
), responses(
    (status = 201, description = "the key and its text, this once"),
    (status = 200, description = "made before under the same idempotency-key; without its text"),
    (status = 400, description = "no JSON"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "more scopes than its creator"),
    (status = 409, description = "the name is taken"),
    (status = 413, description = "the body is too large"),
    (status = 422, description = "mistakes, each with its path and cure"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn create_admin(
    State(edge): State<Arc<Edge>>,
    request: Request<Body>,
) -> Response {
    let issue = |wanted, once| KeyCommand::IssueAdmin { wanted, once };
    answered(made(edge, request, issue).await)
}

#[utoipa::path(patch, path = "/admin/v1/keys/{id}", tag = "keys", request_body = KeyPatch, params(
    ("id" = String, Path, description = "the key's id"),
), responses(
    (status = 200, description = "the key as it is now"),
    (status = 400, description = "no JSON, or an unknown field"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "a field that is not writable, or wider than allowed"),
    (status = 404, description = "no such key"),
    (status = 409, description = "changed by somebody else at this moment, or the name is taken"),
    (status = 413, description = "the body is too large"),
    (status = 422, description = "mistakes, each with its path and cure"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn amend(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    answered(amended(edge, id, request).await)
}

async fn amended(edge: Arc<Edge>, id: String, request: Request<Body>) -> Result<Response, Refused> {
    let Asked { by, parts, body } = Asked::with(&edge, request, AdminScope::Keys)?;
    let body = Asked::json(body).await?;
    let fields = body.as_object().into_iter().flatten().map(|(name, _)| name);
    // What a key shows and nobody may write: an attempt at it is an attempt to be more (attack A06).
    const FIXED: [&str; 10] = [
        "id",
        "use",
        "env",
        "tenant",
        "team",
        "scopes",
        "role",
        "created",
        "created_by",
        "digest",
    ];
    for field in fields {
        if FIXED.contains(&field.as_str()) {
            let what = format!("the field {field}, which cannot be written,");
            return Err(Box::new(denied(
                &edge,
                &by,
                &parts,
                &Denied::Wider { what },
            )));
        }
    }
    let patch: KeyPatch = typed(body)?;
    Ok(run(&edge, &by, &parts, KeyCommand::Amend { id, patch }).await)
}

#[utoipa::path(delete, path = "/admin/v1/keys/{id}", tag = "keys", params(
    ("id" = String, Path, description = "the key's id"),
), responses(
    (status = 200, description = "it is gone"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 404, description = "no such key"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn remove(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    asked(edge, request, AdminScope::Keys, |_| {
        Ok(KeyCommand::Remove { id })
    })
    .await
}

#[utoipa::path(post, path = "/admin/v1/keys/{id}/rotate", tag = "keys", request_body = Option<Rotation>, params(
    ("id" = String, Path, description = "the key's id"),
), responses(
    (status = 200, description = "the key and its new text, this once"),
    (status = 400, description = "no JSON"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 404, description = "no such key"),
    (status = 409, description = "changed by somebody else at this moment"),
    (status = 413, description = "the body is too large"),
    (status = 422, description = "the overlap is too long"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn rotate(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    answered(rotated(edge, id, request).await)
}

async fn rotated(edge: Arc<Edge>, id: String, request: Request<Body>) -> Result<Response, Refused> {
    let Asked { by, parts, body } = Asked::with(&edge, request, AdminScope::Keys)?;
    let empty = http_body::Body::is_end_stream(&body);
    let rotation = match empty {
        true => Rotation::default(),
        false => typed(Asked::json(body).await?)?,
    };
    let overlap = rotation.overlap_seconds;
    Ok(run(&edge, &by, &parts, KeyCommand::Rotate { id, overlap }).await)
}

#[utoipa::path(post, path = "/admin/v1/keys/{id}/block", tag = "keys", params(
    ("id" = String, Path, description = "the key's id"),
), responses(
    (status = 200, description = "nobody is let in by it"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 404, description = "no such key"),
    (status = 409, description = "changed by somebody else at this moment"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn block(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    asked(edge, request, AdminScope::Keys, |_| Ok(blocked(id, true))).await
}

#[utoipa::path(post, path = "/admin/v1/keys/{id}/unblock", tag = "keys", params(
    ("id" = String, Path, description = "the key's id"),
), responses(
    (status = 200, description = "it is good again"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 404, description = "no such key"),
    (status = 409, description = "changed by somebody else at this moment"),
    (status = 503, description = "the store cannot be written"),
))]
pub(super) async fn unblock(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    asked(edge, request, AdminScope::Keys, |_| Ok(blocked(id, false))).await
}

fn blocked(id: String, blocked: bool) -> KeyCommand {
    let patch = KeyPatch {
        blocked: Some(blocked),
        ..KeyPatch::default()
    };
    KeyCommand::Amend { id, patch }
}

pub(super) fn page(asked: &Asked) -> Result<Page, Refused> {
    let limit = asked.number("limit")?;
    Ok(Page {
        after: asked.query("after")?,
        limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        tenant: asked.query("tenant")?,
    })
}

/// Decides who may ask, reads the question, answers it.
pub(super) async fn asked(
    edge: Arc<Edge>,
    request: Request<Body>,
    scope: AdminScope,
    read: impl FnOnce(&Asked) -> Result<KeyCommand, Refused>,
) -> Response {
    let asked = match Asked::with(&edge, request, scope) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    match read(&asked) {
        Ok(command) => run(&edge, &asked.by, &asked.parts, command).await,
        Err(refused) => *refused,
    }
}

async fn made(
    edge: Arc<Edge>,
    request: Request<Body>,
    command: impl FnOnce(NewKey, Option<String>) -> KeyCommand,
) -> Result<Response, Refused> {
    let Asked { by, parts, body } = Asked::with(&edge, request, AdminScope::Keys)?;
    let once = once(&parts.headers)?;
    let wanted: NewKey = typed(Asked::json(body).await?)?;
    Ok(run(&edge, &by, &parts, command(wanted, once)).await)
}

/// Decides a command, makes its change and waits until it is in force.
pub(super) async fn run(
    edge: &Arc<Edge>,
    by: &Principal,
    parts: &Parts,
    command: KeyCommand,
) -> Response {
    let published = edge.published();
    let roster = &published.roster;
    let creates = matches!(
        command,
        KeyCommand::Issue { .. } | KeyCommand::IssueAdmin { .. }
    );
    // The first key is made with what lies beside the store now.
    let held = roster
        .pepper
        .clone()
        .filter(|_| !roster.roll.keys.is_empty());
    let pepper = match held {
        None if creates => load_pepper(edge).await,
        held => held,
    };
    let office = Office {
        settings: &published.settings,
        roster,
        by,
        now: wall().0 / 1_000,
    };
    let Decision {
        change,
        told: mut answer,
        secret,
    } = match office.decide(command, || pepper.ok_or(Denied::NoSecret)) {
        Ok(decision) => decision,
        Err(why) => return denied(edge, by, parts, &why),
    };
    let Some(change) = change else {
        return told(StatusCode::OK, &answer);
    };
    let changed = match make(edge, &change).await {
        Ok(KeyChanged::Again) => return again(edge, by, &change).await,
        Ok(changed) => changed,
        Err(error) => return unavailable(&error),
    };
    match happened(changed) {
        Ok(()) => {}
        Err(NotDone::Denied(why)) => return denied(edge, by, parts, &why),
        Err(NotDone::Conflict(code, text)) => return refuse(409, code, text),
    }
    tell(edge, by, parts, &answer);
    if let Some(secret) = secret {
        answer["secret"] = secret.expose().into();
    }
    told(
        if creates {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        },
        &answer,
    )
}

/// Who asked for a change that is made.
fn tell(edge: &Edge, by: &Principal, parts: &Parts, answer: &Value) {
    let what = format!("{} {}", parts.method, parts.uri.path());
    let subject = cut(answer["key"]["id"].as_str().unwrap_or(&what));
    let detail = cut(&format!("{}: {what}", by.name));
    edge.journal().event("admin.changed", &subject, &detail);
}

/// Why a change did not happen.
enum NotDone {
    Denied(Denied),
    Conflict(&'static str, &'static str),
}

fn happened(changed: KeyChanged) -> Result<(), NotDone> {
    Err(match changed {
        KeyChanged::Done(_) | KeyChanged::Again => return Ok(()),
        KeyChanged::Missing => NotDone::Denied(Denied::NotFound),
        KeyChanged::Taken => NotDone::Denied(Denied::Taken),
        KeyChanged::Stale => NotDone::Conflict(
            "stale",
            "somebody else changed it at this moment; read it and ask again",
        ),
        KeyChanged::TooMany => NotDone::Conflict(
            "too_many",
            "there are as many keys as there may be; delete some",
        ),
        KeyChanged::InUse => NotDone::Conflict("in_use", "it has keys; delete them first"),
    })
}

pub(super) fn unavailable(error: &StoreError) -> Response {
    refuse(503, "store_unavailable", &error.to_string())
}

async fn make(edge: &Edge, change: &KeyChange) -> Result<KeyChanged, StoreError> {
    let store = edge.news.store.keys().await?;
    let changed = store.change(change.clone()).await?;
    if let KeyChanged::Done(_) = changed {
        in_force(edge).await;
    }
    Ok(changed)
}

/// Waits for a look of the keeper's. What is on the disk and not seen by then is seen with its next one.
async fn in_force(edge: &Edge) {
    let limit = Instant::now() + IN_FORCE;
    let look = |reply| KeeperMessage::Look { reply };
    let _ = edge.system.keys.ask(limit, look).await;
}

async fn load_pepper(edge: &Edge) -> Option<Pepper> {
    let published = edge.published();
    let store = edge.news.store.settings().clone();
    let loading = tokio::task::spawn_blocking(move || {
        let roll = &published.roster.roll;
        Pepper::load(&store, &published.settings.issued, roll).ok()
    });
    loading.await.ok().flatten()
}

/// The same was asked before: told without its text, which nobody has any more.
async fn again(edge: &Edge, by: &Principal, change: &KeyChange) -> Response {
    let KeyChange::Add {
        key,
        once: Some(once),
    } = change
    else {
        return refuse(409, "stale", "it was made before");
    };
    let found = match edge.news.store.keys().await {
        Ok(store) => store.made_once(once).await,
        Err(error) => Err(error),
    };
    let id = match found {
        Ok(id) => id.unwrap_or_default(),
        Err(error) => return unavailable(&error),
    };
    in_force(edge).await;
    let published = edge.published();
    let office = Office {
        settings: &published.settings,
        roster: &published.roster,
        by,
        now: wall().0 / 1_000,
    };
    match office.key(&id) {
        Ok(made) if (&made.name, &made.tenant) == (&key.name, &key.tenant) => {
            let secret = Value::Null;
            told(
                StatusCode::OK,
                &json!({"key": office.shown(made), "secret": secret, "made_before": true}),
            )
        }
        Ok(_) | Err(_) => refuse(
            409,
            "idempotency_key_reused",
            "this idempotency-key was used for another key; choose a new one",
        ),
    }
}
