//! `/admin/v1`: keys, tenants, what is spent and left, providers in and out of placement, the journal.
//!
//! Every change is decided by [`Office`](crate::keys::Office), as the command line's are. A path is served only if the
//! document at `/admin/openapi.json` names it: both are made of one table, and a test compares them.

mod fleet;
mod insight;
mod keys;
mod openapi;
mod records;
mod tenants;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use axum::routing::{delete, get, patch, post, put};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Edge;
use super::admin::{principal, told};
use crate::keys::{Denied, Principal};
use crate::store::keys::AdminScope;

/// The one table of what there is: the router and the test of the document read it.
macro_rules! routes {
    ($($method:ident $path:literal => $handler:path,)+) => {
        pub(super) fn add_to(router: Router<Arc<Edge>>) -> Router<Arc<Edge>> {
            $(let router = router.route(concat!("/admin/v1", $path), $method($handler));)+
            router.route("/admin/openapi.json", get(openapi::document))
        }

        #[cfg(test)]
        const ROUTES: &[(&str, &str)] = &[$((stringify!($method), concat!("/admin/v1", $path))),+];
    };
}

routes! {
    get "/keys" => keys::list,
    post "/keys" => keys::create,
    get "/keys/{id}" => keys::one,
    patch "/keys/{id}" => keys::amend,
    delete "/keys/{id}" => keys::remove,
    post "/keys/{id}/rotate" => keys::rotate,
    post "/keys/{id}/block" => keys::block,
    post "/keys/{id}/unblock" => keys::unblock,
    post "/admin-keys" => keys::create_admin,
    get "/tenants" => tenants::list,
    get "/tenants/{name}" => tenants::one,
    put "/tenants/{name}" => tenants::put,
    delete "/tenants/{name}" => tenants::remove,
    get "/tenants/{name}/accounts" => tenants::accounts,
    get "/spend" => records::spend,
    get "/journal" => records::journal,
    get "/providers" => fleet::providers,
    put "/providers/{provider}/state" => fleet::set_provider,
    put "/providers/{provider}/keys/{key}/state" => fleet::set_key,
    get "/pools" => fleet::pools,
    get "/tree" => insight::tree,
    get "/explain" => insight::explain,
    get "/config" => insight::config,
    post "/reload" => insight::reload,
}

/// Bodies are small: a tenant with its teams is a few kilobytes.
const LARGEST_BODY: usize = 256 * 1024;
/// Queries are names and numbers.
const LONGEST_QUERY: usize = 4_096;

/// A request whose caller may be answered.
struct Asked {
    by: Principal,
    parts: Parts,
    body: Body,
}

type Refused = Box<Response>;

impl Asked {
    /// Who asks, if they have this scope; everything else is refused before the body is read.
    fn with(edge: &Edge, request: http::Request<Body>, scope: AdminScope) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let by = principal(edge, &parts).map_err(Box::new)?;
        if !by.may(scope) {
            return Err(Box::new(denied(edge, &by, &parts, &Denied::Scope(scope))));
        }
        if parts
            .uri
            .query()
            .is_some_and(|query| query.len() > LONGEST_QUERY)
        {
            return Err(Box::new(refuse(
                400,
                "bad_request",
                "the query is longer than 4096 bytes",
            )));
        }
        Ok(Self { by, parts, body })
    }

    /// As [`Self::with`], for what concerns all tenants at once.
    fn above_tenants(
        edge: &Edge,
        request: http::Request<Body>,
        scope: AdminScope,
    ) -> Result<Self, Refused> {
        let asked = Self::with(edge, request, scope)?;
        if asked.by.sees_all() {
            return Ok(asked);
        }
        let what = "what concerns all tenants".to_owned();
        Err(Box::new(denied(
            edge,
            &asked.by,
            &asked.parts,
            &Denied::Wider { what },
        )))
    }

    /// One value of the query, decoded.
    fn query(&self, name: &str) -> Result<Option<String>, Refused> {
        let pairs = self.parts.uri.query().unwrap_or_default().split('&');
        let mut found = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let Some(value) = found.next() else {
            return Ok(None);
        };
        match decoded(value) {
            Some(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            None => {
                let why = format!("{name} is not well encoded; write it as a browser would");
                Err(Box::new(refuse(400, "bad_request", &why)))
            }
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let read = |text: String| {
            let why = format!("{name} is a whole number");
            text.parse()
                .map_err(|_| Box::new(refuse(400, "bad_request", &why)))
        };
        self.query(name)?.map(read).transpose()
    }

    async fn json(body: Body) -> Result<Value, Refused> {
        let Ok(bytes) = to_bytes(body, LARGEST_BODY).await else {
            let why = "the body is larger than 256 KiB, or did not arrive whole";
            return Err(Box::new(refuse(413, "request_too_large", why)));
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            let why = format!(
                "the body is no JSON: line {}, column {}",
                error.line(),
                error.column()
            );
            Box::new(refuse(400, "bad_request", &why))
        })
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Refused> {
    serde_json::from_value(value).map_err(|error| {
        let why: String = error.to_string().chars().take(300).collect();
        Box::new(refuse(
            422,
            "invalid",
            &format!("{why}; see GET /admin/openapi.json"),
        ))
    })
}

/// Percent signs and plus signs read as what they stand for; `None` where that is not text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn refuse(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    told(
        status,
        &json!({"error": {"code": code, "message": message}}),
    )
}

/// What is told to who may not; kept in the journal where it was an attempt to have more (attack A06).
fn denied(edge: &Edge, by: &Principal, parts: &Parts, denied: &Denied) -> Response {
    let (status, code) = match denied {
        Denied::Mistakes(_) => (422, "invalid"),
        Denied::Wider { .. } => (403, "beyond_grant"),
        Denied::Scope(_) => (403, "missing_scope"),
        Denied::NotFound => (404, "not_found"),
        Denied::Taken => (409, "taken"),
        Denied::NoSecret => (503, "no_pepper"),
    };
    if status == 403 {
        edge.news.metrics.blocked("admin_denied");
        let what = format!("{} {}", parts.method, parts.uri.path());
        let detail = format!("{}: {}", by.name, denied.text());
        edge.journal()
            .event("admin.denied", &cut(&what), &cut(&detail));
    }
    let mut answer = json!({"error": {"code": code, "message": denied.text()}});
    if let Denied::Mistakes(mistakes) = denied {
        answer["error"]["mistakes"] = json!(mistakes);
    }
    told(
        StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN),
        &answer,
    )
}

/// A line of the journal is not made long by who asks.
fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

/// What who changes something wants done once, however often it is sent.
fn once(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let fits = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        return Ok(Some(text.to_owned()));
    }
    let why = "an idempotency-key has up to 128 visible characters";
    Err(Box::new(refuse(400, "bad_request", why)))
}

/// Turns a refusal on the way into the answer.
fn answered(done: Result<Response, Refused>) -> Response {
    done.unwrap_or_else(|refused| *refused)
}
