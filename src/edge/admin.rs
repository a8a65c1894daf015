//! The admin listener: what the tree looks like, why a request would go where, reload, faults.
//!
//! Its own socket and its own key. A client key opens nothing here (attack A22).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{any, get, post};
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request as HttpRequest, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::auth::{AuthFault, credential};
use super::caller::may_reach;
use super::{Edge, api, health, spending};
use crate::actors::{
    Estimate, InjectedFault, Patience, Published, Purpose, ReloadReason, Reloaded, RouterMessage,
    SeatState, SettingsMessage, Wish, wall,
};
use crate::config::{Secret, TenantSettings, explain};
use crate::dispatch::Drill;
use crate::domain::{Lane, Mode, Operation, PromptClass, Shape, Stake, Tokens, Weight};
use crate::keys::form::{self, KeyKind};
use crate::keys::{Client, Principal};
use crate::pricing::Bounds;
use crate::store::keys::AdminScope;

pub fn admin_router(edge: &Arc<Edge>) -> Router {
    api::add_to(Router::new())
        .route("/admin/tree", get(tree))
        .route("/admin/tenants", get(tenants))
        .route("/admin/spend", get(spend))
        .route("/admin/explain", get(explain_model))
        .route("/admin/config", get(config))
        .route("/admin/reload", post(reload))
        .route("/admin/kill", post(kill))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(any(nothing_here))
        .method_not_allowed_fallback(another_method)
        .layer(map_response(in_json))
        .with_state(Arc::clone(edge))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Intent {
    Read,
    Change,
}

pub(super) fn told(status: StatusCode, value: &Value) -> Response {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut response = Response::new(Body::from(text + "\n"));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: StatusCode, message: &str) -> Response {
    let code = match status.as_u16() {
        400 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        503 => "unavailable",
        _ => "refused",
    };
    told(
        status,
        &json!({"error": {"code": code, "message": message}}),
    )
}

async fn nothing_here() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; see GET /admin/openapi.json, /admin/tree, /admin/tenants, /admin/spend?by=model, /admin/explain?model=…, /admin/config, POST /admin/reload",
    )
}

/// What the router refuses by itself it says in words alone.
async fn in_json(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    let in_words = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if in_words && response.status() == StatusCode::BAD_REQUEST {
        return refuse(
            StatusCode::BAD_REQUEST,
            "the path is not well encoded; write it as a browser would",
        );
    }
    response
}

async fn another_method() -> Response {
    refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path is asked in another way; the allow header and GET /admin/openapi.json say how",
    )
}

/// Whether this caller may do this; what is here concerns all tenants.
#[expect(clippy::result_large_err, reason = "an admin call is not the hot path")]
fn allow(edge: &Edge, parts: &Parts, intent: Intent) -> Result<(), Response> {
    let by = principal(edge, parts)?;
    let scope = match intent {
        Intent::Read => AdminScope::Read,
        Intent::Change => AdminScope::Write,
    };
    if by.may(scope) && by.sees_all() {
        return Ok(());
    }
    edge.news.metrics.blocked("admin_denied");
    let why = match edge.published().settings.admin.key {
        None if !by.may(scope) => "changes need a key: set admin.key in the configuration",
        Some(_) | None => "this admin key lacks the scope for it, or is of one tenant only",
    };
    Err(refuse(StatusCode::FORBIDDEN, why))
}

/// Who asks. The answer to everyone who has no good key is the same.
#[expect(clippy::result_large_err, reason = "an admin call is not the hot path")]
pub(super) fn principal(edge: &Edge, parts: &Parts) -> Result<Principal, Response> {
    let published = edge.published();
    let admin = &published.settings.admin;
    if !own_host(&parts.headers, admin.address.ip().is_loopback()) {
        edge.news.metrics.blocked("admin_host");
        return Err(refuse(
            StatusCode::FORBIDDEN,
            "the host or origin header names somebody else",
        ));
    }
    let sent = credential(&parts.headers);
    if let Ok(text) = sent
        && let Some(read) = form::read(text)
        && read.kind == KeyKind::Admin
        && edge.system.knows_keys(edge.clock.now())
        && let Ok(key) = published.roster.admin(read, text, wall().0 / 1_000)
    {
        return Ok(Principal::of(&key));
    }
    match &admin.key {
        Some(key) if is_key(key, &parts.headers) => Ok(Principal::root("admin.key")),
        // Without a key nobody may change anything; a key that is wrong is not no key.
        None if matches!(sent, Err(AuthFault::Missing)) => Ok(Principal::reader()),
        Some(_) | None => {
            edge.news.metrics.auth_failed("admin");
            Err(refuse(
                StatusCode::UNAUTHORIZED,
                "send the admin key as \"authorization: Bearer <key>\"",
            ))
        }
    }
}

/// A web page that rebinds its name to loopback still sends its own name (attack A22).
fn own_host(headers: &HeaderMap, loopback: bool) -> bool {
    let names_us = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        let host = text
            .trim_start_matches("http://")
            .trim_start_matches("https://");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        matches!(host, "127.0.0.1" | "localhost" | "[::1]")
    };
    !loopback
        || (headers.get(HOST).is_none_or(names_us) && headers.get(ORIGIN).is_none_or(names_us))
}

fn is_key(key: &Secret, headers: &HeaderMap) -> bool {
    let Ok(sent) = credential(headers) else {
        return false;
    };
    // Compared as keyed digests, in constant time.
    let pepper = hmac::Key::new(hmac::HMAC_SHA256, &key.fingerprint());
    let expected = hmac::sign(&pepper, key.expose().as_bytes());
    hmac::verify(&pepper, sent, expected.as_ref()).is_ok()
}

/// `GET /admin/tenants`: limits and budgets, and what was used of them.
async fn tenants(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = allow(&edge, &parts, Intent::Read) {
        return refused;
    }
    told(StatusCode::OK, &spending::tenants(&edge))
}

pub(super) async fn tree(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = allow(&edge, &parts, Intent::Read) {
        return refused;
    }
    let mut seats = edge.system.tables.seats();
    seats.sort_by(|one, other| one.path().cmp(other.path()));
    let actors: Vec<Value> = seats
        .iter()
        .filter(|seat| seat.state() != SeatState::Starting || seat.restarts() > 0)
        .map(|seat| {
            json!({
                "path": seat.path(),
                "kind": seat.kind().label(),
                "state": seat.state().label(),
                "restarts": seat.restarts(),
                "mailbox": seat.mailbox(),
                "health": *seat.health(),
            })
        })
        .collect();
    told(StatusCode::OK, &json!({"actors": actors}))
}

/// `GET /admin/spend?by=model&from=…&to=…&tenant=…`: what was spent on what.
async fn spend(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = allow(&edge, &parts, Intent::Read) {
        return refused;
    }
    let question = match spending::question(|name| query(&parts, name)) {
        Ok(question) => question,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
    };
    match spending::report(&edge, question).await {
        Ok(report) => told(StatusCode::OK, &report),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// One value of the query, without decoding: names need none.
fn query<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts
        .uri
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// A client by its name in the file, or a key of the store by its id.
fn asks_as(published: &Published, named: &str) -> Option<Client> {
    let mut clients = published.settings.clients.iter();
    match clients.find(|client| client.name.as_str() == named) {
        Some(client) => Some(Client::of_file(client, &published.settings.tenants)),
        None => published.roster.of_key(named).cloned(),
    }
}

#[expect(clippy::too_many_lines, reason = "one question and its answer")]
pub(super) async fn explain_model(
    State(edge): State<Arc<Edge>>,
    request: HttpRequest<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = allow(&edge, &parts, Intent::Read) {
        return refused;
    }
    let Some(model) = query(&parts, "model") else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "name a model: /admin/explain?model=fast",
        );
    };
    let model = model.replace("%2F", "/").replace("%2f", "/");
    let published = edge.published();
    let Some(route) = published.routes.find(&model) else {
        return refuse(
            StatusCode::NOT_FOUND,
            "there is no such model; GET /v1/models lists what there is",
        );
    };
    let demand = match query(&parts, "client") {
        None => None,
        Some(named) => match asks_as(&published, named) {
            None => return refuse(StatusCode::NOT_FOUND, "there is no such client"),
            Some(client) if !may_reach(&client, &published.settings, route) => {
                return refuse(
                    StatusCode::NOT_FOUND,
                    "this client may not use that model, or nobody behind it may serve this client",
                );
            }
            Some(client) => client.demand,
        },
    };
    let input = query(&parts, "tokens")
        .and_then(|tokens| tokens.parse().ok())
        .unwrap_or(100);
    let mut chain = Vec::new();
    for step in 0..route.chain.len() {
        let wish = Arc::new(Wish {
            request: super::reply::new_id(),
            routes: Arc::clone(&published.routes),
            asked: Arc::from(model.as_str()),
            step,
            operation: Operation::Chat,
            preference: None,
            shape: Shape {
                class: PromptClass::of(Tokens(input)),
                mode: Mode::Stream,
            },
            lane: Lane::Default,
            stake: Stake {
                tenant: Arc::from(TenantSettings::DEFAULT),
                weight: Weight::ONE,
            },
            estimate: Estimate {
                input: Tokens(input),
                output: Tokens(256),
            },
            deadline: edge.clock.now().after(Duration::from_secs(10)),
            patience: Patience::None,
            purpose: Purpose::Attempt,
            tried: SmallVec::new(),
            meet_again: true,
            wider_than: None,
            direct_only: false,
            demand: demand.clone(),
            bounds: Bounds {
                operation: Operation::Chat,
                bytes: input,
                max_output: Some(256),
                choices: 1,
                ..Bounds::default()
            },
        });
        let limit = Instant::now() + Duration::from_secs(1);
        let asked = edge
            .system
            .router
            .ask(limit, |reply| RouterMessage::Explain {
                wish: Arc::clone(&wish),
                reply,
            });
        match asked.await {
            Ok(explanation) => chain.push(json!(explanation)),
            Err(error) => chain.push(json!({"error": error.to_string()})),
        }
    }
    let text = explain(&published.settings, Some(&model));
    told(
        StatusCode::OK,
        &json!({"model": model, "chain": chain, "text": text}),
    )
}

pub(super) async fn config(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = allow(&edge, &parts, Intent::Read) {
        return refused;
    }
    told(
        StatusCode::OK,
        &crate::config::explain_json(&edge.published().settings),
    )
}

pub(super) async fn reload(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = allow(&edge, &parts, Intent::Change) {
        return refused;
    }
    let limit = Instant::now() + Duration::from_secs(10);
    let asked = edge
        .system
        .settings
        .ask(limit, |reply| SettingsMessage::Reload {
            why: ReloadReason::Admin,
            reply: Some(reply),
        });
    match asked.await {
        Ok(Reloaded::Applied { version, changes }) => {
            let version = format!("{version:016x}");
            told(
                StatusCode::OK,
                &json!({"result": "applied", "version": version, "changes": changes}),
            )
        }
        Ok(Reloaded::Unchanged { version }) => told(
            StatusCode::OK,
            &json!({"result": "unchanged", "version": format!("{version:016x}")}),
        ),
        Ok(Reloaded::Rejected { mistakes }) => {
            let mistakes: Vec<&str> = mistakes.lines().collect();
            told(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({"result": "rejected", "mistakes": mistakes}),
            )
        }
        Err(error) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the settings actor did not answer: {error}"),
        ),
    }
}

/// `POST /admin/kill?path=root/providers/openai&how=kill|panic|hang`, only where the config allows it.
async fn kill(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refused) = allow(&edge, &parts, Intent::Change) {
        return refused;
    }
    if !edge.published().settings.admin.allow_fault_injection {
        return refuse(
            StatusCode::FORBIDDEN,
            "fault injection is off; set admin.allow_fault_injection = true",
        );
    }
    let Some(path) = query(&parts, "path").map(|path| path.replace("%2F", "/").replace("%23", "#"))
    else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "name an actor: /admin/kill?path=root/router&how=kill",
        );
    };
    let how = query(&parts, "how").unwrap_or("kill");
    let drill = match how {
        "panic" => Some(Drill::Panic),
        "hang" => Some(Drill::Hang),
        _ => None,
    };
    if let Some(drill) = drill.filter(|_| path == "guard") {
        // Not an actor: the next search fails so.
        edge.dispatch.drill.set(drill);
        return told(StatusCode::OK, &json!({"path": path, "how": how}));
    }
    let done = match how {
        "kill" => edge
            .system
            .tables
            .seats()
            .iter()
            .any(|seat| seat.path() == path && seat.kill()),
        "panic" => edge.system.inject(&path, InjectedFault::Panic),
        "hang" => edge.system.inject(&path, InjectedFault::Hang),
        _ => return refuse(StatusCode::BAD_REQUEST, "how is one of: kill, panic, hang"),
    };
    if done {
        told(StatusCode::OK, &json!({"path": path, "how": how}))
    } else {
        refuse(
            StatusCode::NOT_FOUND,
            "no actor runs at this path; see GET /admin/tree",
        )
    }
}
