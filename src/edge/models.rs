//! `/v1/models`: what this client may use.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request as HttpRequest;
use serde_json::{Value, json};

use super::caller::{may_reach, targets};
use super::connection::ConnectionControl;
use super::{Edge, chat, reply};
use crate::actors::PoolEntry;
use crate::config::{PoolOrigin, Settings};
use crate::dispatch::Told;
use crate::domain::{ClientDialect, Failure, FailureKind};
use crate::keys::Client;
use crate::pricing::{Model, Source};

fn model(client: &Client, pool: &PoolEntry, settings: &Settings) -> Value {
    let targets: Vec<String> = targets(client, settings, pool)
        .map(|target| {
            format!(
                "{}/{}",
                target.provider,
                target.model.as_ref().map_or("*", |model| model.as_str())
            )
        })
        .collect();
    let owner = match (pool.settings.origin, pool.settings.targets.first()) {
        (PoolOrigin::Explicit, _) | (_, None) => "switchyard",
        (PoolOrigin::Implicit | PoolOrigin::Wildcard, Some(target)) => target.provider.as_str(),
    };
    let context = pool
        .settings
        .targets
        .iter()
        .filter_map(|target| target.context_window)
        .max();
    let mut told = json!({
        "id": pool.name.as_str(),
        "object": "model",
        "created": 0,
        "owned_by": owner,
        "context_window": context,
        "targets": targets,
    });
    if let [target] = pool.settings.targets.as_slice()
        && let Some(model) = &target.model
    {
        let registry = settings.models.registry();
        if let Some(found) = registry.find(target.provider.as_str(), model.as_str()) {
            describe(&found.model, &mut told);
        }
    }
    if let Some(notice) = settings.notices.get(&pool.name) {
        told["warning"] = notice.as_str().into();
    }
    told
}

/// What the registry knows of a model; money as decimal text in dollars per million tokens.
fn describe(model: &Model, told: &mut Value) {
    let capabilities: Vec<&str> = model.capabilities.iter().map(|can| can.label()).collect();
    told["capabilities"] = capabilities.into();
    told["max_output_tokens"] = model.output_limit.into();
    if !model.prices.is_empty() {
        let prices = model.prices.iter();
        let prices =
            prices.map(|(class, rate)| (class.label().to_owned(), rate.to_string().into()));
        told["pricing"] = Value::Object(prices.collect());
        told["pricing_confirmed"] = matches!(model.source, Source::Confirmed(_)).into();
    }
    for (name, day) in [("deprecated", model.deprecated), ("retired", model.retired)] {
        if let Some(day) = day {
            told[name] = day.to_string().into();
        }
    }
    if let Some(successor) = &model.successor {
        told["successor"] = successor.as_str().into();
    }
}

pub(super) async fn list(State(edge): State<Arc<Edge>>, request: HttpRequest<Body>) -> Response {
    answer(&edge, request, |models| {
        Some(json!({"object": "list", "data": models}))
    })
}

pub(super) async fn one(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    answer(&edge, request, |models| {
        models.into_iter().find(|model| model["id"] == id.as_str())
    })
}

fn answer(
    edge: &Edge,
    request: HttpRequest<Body>,
    pick: impl FnOnce(Vec<Value>) -> Option<Value>,
) -> Response {
    let (parts, _) = request.into_parts();
    let id = reply::new_id();
    let client = match chat::identify(edge, &parts, parts.extensions.get::<ConnectionControl>()) {
        Ok(client) => client,
        Err(failure) => {
            return reply::failure(ClientDialect::Openai, &failure, id, &Told::default());
        }
    };
    let published = edge.published();
    let mut pools: Vec<&PoolEntry> = published
        .routes
        .names()
        .filter(|(_, route)| may_reach(&client, &published.settings, route))
        .filter_map(|(_, route)| route.chain.first().map(|pool| &**pool))
        .collect();
    // The operator's own names first, then by name.
    pools.sort_by_key(|pool| {
        (
            pool.settings.origin != PoolOrigin::Explicit,
            pool.name.clone(),
        )
    });
    let settings = &published.settings;
    let told = pools.into_iter().map(|pool| model(&client, pool, settings));
    match pick(told.collect()) {
        Some(value) => reply::whole(
            ClientDialect::Openai,
            value.to_string().into(),
            id,
            &Told::default(),
        ),
        None => {
            let told = Failure::new(
                FailureKind::ModelNotFound,
                "there is no such model here; GET /v1/models lists what there is",
            );
            reply::failure(ClientDialect::Openai, &told, id, &Told::default())
        }
    }
}
