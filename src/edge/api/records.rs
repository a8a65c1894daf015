//! What was spent, and what the journal says of requests.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::keys::unavailable;
use super::{Asked, Refused, answered, refuse};
use crate::config::JournalMode;
use crate::edge::admin::told;
use crate::edge::{Edge, spending};
use crate::store::journal::{Row, Rows, Selection, rows};
use crate::store::keys::AdminScope;

/// Lines or rows of an answer when nobody says how many, and at most.
const USUAL: u64 = 100;
const MOST: u64 = 1_000;
/// A search reads the journal from one end to the other: one at a time (ground rule G14).
static SEARCHES: Semaphore = Semaphore::const_new(1);
/// Records that one search looks at; what lies further is reached with a narrower time.
const MOST_LOOKED_AT: u64 = 5_000_000;

#[utoipa::path(get, path = "/admin/v1/spend", tag = "records", params(
    ("by" = Option<String>, Query, description = "tenant, team, client, provider, model, tag, user, day or hour"),
    ("from" = Option<u64>, Query, description = "unix seconds; thirty days ago when left out"),
    ("to" = Option<u64>, Query, description = "unix seconds, itself left out; now when left out"),
    ("tenant" = Option<String>, Query, description = "only of this tenant"),
    ("after" = Option<u64>, Query, description = "how many lines the pages before held"),
    ("limit" = Option<u64>, Query, description = "1 to 1000, 100 when left out"),
), responses(
    (status = 200, description = "a page of lines, the dearest first"),
    (status = 400, description = "the query makes no sense"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 503, description = "the store cannot be read"),
))]
pub(super) async fn spend(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    answered(spent(edge, request).await)
}

async fn spent(edge: Arc<Edge>, request: Request<Body>) -> Result<Response, Refused> {
    let asked = Asked::with(&edge, request, AdminScope::Read)?;
    let values = ["by", "from", "to", "tenant"].map(|name| (name, asked.query(name)));
    let mut read = Vec::new();
    for (name, value) in values {
        read.push((name, value?));
    }
    let value = |wanted: &str| {
        let found = read.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| value.as_deref())
    };
    let mut question =
        spending::question(value).map_err(|why| Box::new(refuse(400, "bad_request", &why)))?;
    // Who stands inside one tenant is told of that one.
    if let Some(own) = asked.by.tenant() {
        if question
            .tenant
            .as_deref()
            .is_some_and(|wanted| wanted != own)
        {
            return Ok(told(StatusCode::OK, &json!({"lines": [], "next": null})));
        }
        question.tenant = Some(own.to_owned());
    }
    let after = usize::try_from(asked.number("after")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = limit(&asked)?;
    let report = match spending::report(&edge, question).await {
        Ok(report) => report,
        Err(error) => return Ok(unavailable(&error)),
    };
    let all = report["lines"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let page: Vec<_> = all.iter().skip(after).take(limit).collect();
    let end = after.saturating_add(page.len());
    let next = (end < all.len()).then_some(end);
    Ok(told(
        StatusCode::OK,
        &json!({
            "by": report["by"], "lines": page, "next": next,
            "booked_until_ms": report["booked_until_ms"],
            "behind_seconds": report["behind_seconds"],
        }),
    ))
}

fn limit(asked: &Asked) -> Result<usize, Refused> {
    let limit = asked.number("limit")?.unwrap_or(USUAL).clamp(1, MOST);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

#[utoipa::path(get, path = "/admin/v1/journal", tag = "records", params(
    ("request" = Option<String>, Query, description = "the id that an answer carried"),
    ("tenant" = Option<String>, Query, description = "only of this tenant"),
    ("client" = Option<String>, Query, description = "only of this client"),
    ("user" = Option<String>, Query, description = "only of this end user"),
    ("model" = Option<String>, Query, description = "as asked for, or as served"),
    ("outcome" = Option<String>, Query, description = "ok, failed, cancelled, interrupted, open, or a failure's code"),
    ("from_ms" = Option<u64>, Query, description = "unix milliseconds"),
    ("to_ms" = Option<u64>, Query, description = "unix milliseconds, itself left out"),
    ("limit" = Option<u64>, Query, description = "1 to 1000, 100 when left out"),
), responses(
    (status = 200, description = "the last requests that fit, without a word of their text; cut tells that five million records were read and there are more: begin later with from_ms"),
    (status = 400, description = "the query makes no sense"),
    (status = 401, description = "no admin key"),
    (status = 403, description = "the key lacks the scope"),
    (status = 429, description = "another search is under way"),
    (status = 503, description = "there is no journal, or it cannot be read"),
))]
pub(super) async fn journal(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response {
    answered(searched(edge, request).await)
}

async fn searched(edge: Arc<Edge>, request: Request<Body>) -> Result<Response, Refused> {
    let asked = Asked::with(&edge, request, AdminScope::Read)?;
    let selection = Selection {
        from_ms: asked.number("from_ms")?,
        to_ms: asked.number("to_ms")?,
        request: asked.query("request")?,
        client: asked.query("client")?,
        tenant: match asked.by.tenant() {
            Some(own) => Some(own.to_owned()),
            None => asked.query("tenant")?,
        },
        user: asked.query("user")?,
        model: asked.query("model")?,
        outcome: asked.query("outcome")?,
    };
    let limit = limit(&asked)?;
    let settings = edge.published().settings.journal.clone();
    if settings.mode == JournalMode::Off {
        return Ok(refuse(
            503,
            "no_journal",
            "journal.mode is off: nothing is recorded",
        ));
    }
    let Ok(turn) = SEARCHES.try_acquire() else {
        return Ok(refuse(
            429,
            "busy",
            "another search is under way; ask again when it is done",
        ));
    };
    let searching = tokio::task::spawn_blocking(move || {
        // Goes with the search, which ends no sooner because who asked has left.
        let _turn = turn;
        last_of(
            rows(&settings.path, selection).at_most(MOST_LOOKED_AT),
            limit,
        )
    });
    match searching.await {
        Ok(Ok(found)) => Ok(told(StatusCode::OK, &found)),
        Ok(Err(why)) => Ok(refuse(503, "journal_unreadable", &why)),
        Err(_) => Ok(refuse(503, "journal_unreadable", "the search did not end")),
    }
}

/// The last rows, and whether there were more before them or might be behind them.
fn last_of(mut rows: Rows, limit: usize) -> Result<Value, String> {
    let mut found: VecDeque<Row> = VecDeque::new();
    let mut more = false;
    for row in rows.by_ref() {
        found.push_back(row.map_err(|error| error.to_string())?);
        if found.len() > limit {
            found.pop_front();
            more = true;
        }
    }
    Ok(json!({"requests": found, "more": more, "cut": rows.was_cut()}))
}
