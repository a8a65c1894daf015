//! `/v1/models`: what this client may use, in the form of whoever asks.

mod anthropic;
mod google;
mod openai;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request as HttpRequest;
use http::request::Parts;
use serde_json::Value;

use super::caller::{may_reach, targets};
use super::connection::ConnectionControl;
use super::{Edge, chat, paths, reply};
use crate::actors::PoolEntry;
use crate::config::{PoolOrigin, Settings, TargetSettings};
use crate::dispatch::Told;
use crate::domain::{ClientDialect, Failure, FailureKind};
use crate::keys::Client;
use crate::pricing::Model;

pub(super) async fn list(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    let speaks = paths::spoken(request.uri().path(), request.headers());
    answer(&edge, request, speaks, None)
}

pub(super) async fn one(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    let speaks = paths::spoken(request.uri().path(), request.headers());
    answer(&edge, request, speaks, Some(&id))
}

pub(super) async fn list_of_google(
    State(edge): State<Arc<Edge>>,
    request: HttpRequest<Body>,
) -> Response {
    answer(&edge, request, ClientDialect::Gemini, None)
}

pub(super) async fn one_of_google(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    answer(&edge, request, ClientDialect::Gemini, Some(&id))
}

pub(super) async fn list_of_anthropic(
    State(edge): State<Arc<Edge>>,
    request: HttpRequest<Body>,
) -> Response {
    answer(&edge, request, ClientDialect::Anthropic, None)
}

pub(super) async fn one_of_anthropic(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    answer(&edge, request, ClientDialect::Anthropic, Some(&id))
}

/// A model as a client sees it, and what is known behind its name.
struct Listed<'a> {
    pool: &'a PoolEntry,
    /// Those that may serve this client.
    targets: Vec<&'a TargetSettings>,
    settings: &'a Settings,
    /// What the registry knows, if the name leads to one model only.
    known: Option<Arc<Model>>,
}

impl<'a> Listed<'a> {
    fn of(client: &'a Client, pool: &'a PoolEntry, settings: &'a Settings) -> Self {
        let targets: Vec<_> = targets(client, settings, pool).collect();
        let known = match targets.as_slice() {
            [target] => target.model.as_ref().and_then(|model| {
                let registry = settings.models.registry();
                registry.find(target.provider.as_str(), model.as_str())
            }),
            _ => None,
        };
        Self {
            pool,
            targets,
            settings,
            known: known.map(|found| found.model),
        }
    }

    fn id(&self) -> &'a str {
        self.pool.name.as_str()
    }

    /// The longest prompt that some target takes; `None` if nobody said.
    fn context(&self) -> Option<u64> {
        let told = self.targets.iter();
        let told = told.filter_map(|target| target.context_window).max();
        let known = self.known.as_ref().and_then(|known| known.context);
        told.map(|tokens| tokens.0).or(known)
    }
}

/// Everything this client may use: the operator's own names first, then by name.
fn all<'a>(
    client: &'a Client,
    mut pools: Vec<&'a PoolEntry>,
    settings: &'a Settings,
) -> Vec<Listed<'a>> {
    pools.sort_by_key(|pool| {
        (
            pool.settings.origin != PoolOrigin::Explicit,
            pool.name.clone(),
        )
    });
    let listed = pools
        .into_iter()
        .map(|pool| Listed::of(client, pool, settings));
    listed.collect()
}

fn answer(
    edge: &Edge,
    request: HttpRequest<Body>,
    speaks: ClientDialect,
    id: Option<&str>,
) -> Response {
    let request_id = reply::new_id();
    let (parts, _) = request.into_parts();
    match told(edge, &parts, speaks, id) {
        Ok(value) => reply::whole(
            speaks,
            value.to_string().into(),
            request_id,
            &Told::default(),
        ),
        Err(failure) => reply::failure(speaks, &failure, request_id, &Told::default()),
    }
}

fn told(
    edge: &Edge,
    parts: &Parts,
    speaks: ClientDialect,
    id: Option<&str>,
) -> Result<Value, Failure> {
    let control = parts.extensions.get::<ConnectionControl>();
    let client = chat::identify(edge, parts, control)?;
    let published = edge.published();
    let pools = published
        .routes
        .names()
        .filter(|(_, route)| may_reach(&client, &published.settings, route))
        .filter_map(|(_, route)| route.chain.first().map(|pool| &**pool));
    let models = all(&client, pools.collect(), &published.settings);
    let Some(id) = id else {
        let query = parts.uri.query().unwrap_or_default();
        return match speaks {
            ClientDialect::Openai | ClientDialect::Responses => Ok(openai::list(&models)),
            ClientDialect::Anthropic => anthropic::list(&models, query),
            ClientDialect::Gemini => google::list(&models, query),
        };
    };
    let unknown = || {
        Failure::new(
            FailureKind::ModelNotFound,
            "there is no such model here; GET /v1/models lists what there is",
        )
    };
    let model = models.iter().find(|model| model.id() == id);
    let model = model.ok_or_else(unknown)?;
    Ok(match speaks {
        ClientDialect::Openai | ClientDialect::Responses => openai::one(model),
        ClientDialect::Anthropic => anthropic::one(model),
        ClientDialect::Gemini => google::one(model),
    })
}

/// One part of a list: what comes behind `after`, at most `most`; and whether more follows.
fn page<'a, 'b>(
    models: &'a [Listed<'b>],
    after: Option<usize>,
    most: usize,
) -> (&'a [Listed<'b>], bool) {
    let start = after.map_or(0, |after| after + 1).min(models.len());
    let end = start.saturating_add(most).min(models.len());
    (
        models.get(start..end).unwrap_or_default(),
        end < models.len(),
    )
}

/// A field of a query, as it is written; names of models need no escape, but their slashes may have one.
fn field(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(key, _)| *key == name);
    let value = found.next().map(|(_, value)| value)?;
    Some(
        value
            .replace("%2F", "/")
            .replace("%2f", "/")
            .replace("%3A", ":")
            .replace("%3a", ":"),
    )
}

/// How many a client wants at once; `None` when it does not say.
fn wanted(query: &str, name: &'static str, most: usize) -> Result<Option<usize>, Failure> {
    let Some(text) = field(query, name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.map(Some).ok_or_else(|| {
        Failure::new(
            FailureKind::InvalidRequest,
            format!("{name:?} must be a whole number from 1 to {most}"),
        )
        .at(name)
    })
}
