//! HTTP in and out: routes, keys, bodies, answers, errors in the client's dialect. Thin: it turns HTTP
//! into a [`dispatch::Request`](crate::dispatch::Request) and the answer back.

mod admin;
mod api;
mod aside;
mod asked;
mod auth;
mod body;
mod caller;
mod chat;
mod connection;
mod demand;
mod detours;
mod framing;
mod health;
mod inside;
mod memory;
mod models;
mod names;
mod once;
mod paths;
mod reply;
mod room;
mod server;
mod shape;
mod spending;
mod stored;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::routing::{MethodRouter, any, get, post};

use crate::actors::{Clock, JournalDesk, News, Published, System};
use crate::config::Settings;
use crate::dispatch::Dispatch;
use crate::dispatch::once::Once;
use crate::domain::Operation;
use crate::policy::overload::Overload;
use crate::telemetry::Telemetry;

pub use admin::admin_router;
pub use aside::Aside;
pub use auth::ClientKeys;
pub use room::Room;
pub use server::{Server, ServerOptions};

/// What the handlers share.
pub struct Edge {
    pub system: Arc<System>,
    pub dispatch: Arc<Dispatch>,
    pub telemetry: Arc<Telemetry>,
    pub news: Arc<News>,
    pub clock: Clock,
    pub keys: ArcSwap<ClientKeys>,
    pub guesses: auth::GuessLimiter,
    /// What request bodies may take at once, all together.
    body_memory: memory::BodyMemory,
    inside: inside::Inside,
    /// Responses that are made while nobody waits.
    runs: stored::Runs,
    /// Requests with a key of their own.
    once: Once,
    /// Set when the process was told to end (fault X09).
    pub draining: AtomicBool,
}

impl Edge {
    pub fn new(system: Arc<System>, dispatch: Arc<Dispatch>, telemetry: Arc<Telemetry>) -> Self {
        let settings = &system.published().settings;
        system
            .news
            .pressure
            .configure(settings.listen.memory_limit_bytes);
        Self {
            keys: ArcSwap::from_pointee(ClientKeys::new(settings)),
            body_memory: memory::BodyMemory::new(settings.listen.body_memory_bytes),
            guesses: auth::GuessLimiter::default(),
            inside: inside::Inside::default(),
            runs: stored::Runs::default(),
            once: Once::new(system.clock, Arc::clone(&system.news.pressure)),
            draining: AtomicBool::new(false),
            news: Arc::clone(&system.news),
            clock: system.clock,
            dispatch,
            telemetry,
            system,
        }
    }

    /// Client keys and the memory's limit follow the settings.
    pub fn publish(&self, settings: &Settings) {
        self.news
            .pressure
            .configure(settings.listen.memory_limit_bytes);
        self.keys.store(Arc::new(ClientKeys::new(settings)));
    }

    fn published(&self) -> Arc<Published> {
        self.system.published()
    }

    fn journal(&self) -> &JournalDesk {
        &self.news.journal
    }

    fn overload(&self) -> Overload {
        self.news.pressure.level()
    }

    /// Waits for responses that are made while nobody waits; how many are left at the end of the limit.
    pub async fn background_ended(&self, limit: Duration) -> usize {
        self.runs.ended(limit).await
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The side clients call. Authorisation hangs on the matched route: what matches none is a 404, and no
/// path is decoded or tidied up first (attack A07).
pub fn router(edge: &Arc<Edge>) -> Router {
    let mut router = Router::new();
    // Whatever base an SDK was given, what it puts behind is found (row E8).
    for prefix in ["/v1", "", "/api/v1", "/openai/v1"] {
        router = stored::add_routes(router, prefix)
            .route(&format!("{prefix}/models"), listed(models::list))
            .route(
                &format!("{prefix}/models/{{*id}}"),
                get(models::one)
                    .post(chat::generate)
                    .fallback(|state, uri, headers| {
                        reply::wrong_method(state, uri, headers, "GET, HEAD, POST")
                    }),
            );
    }
    for prefix in ["/v1", "", "/api/v1", "/anthropic/v1"] {
        router = router
            .route(&format!("{prefix}/messages"), taken(chat::messages))
            .route(
                &format!("{prefix}/messages/count_tokens"),
                taken(chat::count_tokens),
            );
    }
    for operation in Operation::PASSED.into_iter().chain([Operation::Chat]) {
        let handler = move |State(edge), request| chat::operation(edge, request, operation);
        for prefix in ["/v1", "", "/api/v1", "/openai/v1"] {
            router = router.route(&format!("{prefix}/{}", operation.path()), taken(handler));
        }
        let deployed = move |State(edge), Path(model), request| {
            chat::deployed_operation(edge, model, request, operation)
        };
        let path = format!("/openai/deployments/{{model}}/{}", operation.path());
        router = router.route(&path, taken(deployed));
    }
    let rerank = |State(edge), request| chat::operation(edge, request, Operation::Rerank);
    router
        // Where Cohere's SDK looks for it.
        .route("/v2/rerank", taken(rerank))
        .route("/v1beta/models", listed(models::list_of_google))
        .route(
            "/v1beta/models/{*id}",
            get(models::one_of_google)
                .post(chat::generate)
                .fallback(|state, uri, headers| {
                    reply::wrong_method(state, uri, headers, "GET, HEAD, POST")
                }),
        )
        .route("/anthropic/v1/models", listed(models::list_of_anthropic))
        .route(
            "/anthropic/v1/models/{*id}",
            listed(models::one_of_anthropic),
        )
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(any(reply::no_such_path))
        .with_state(Arc::clone(edge))
}

/// A route that takes something.
fn taken<H: Handler<T, Arc<Edge>>, T: 'static>(handler: H) -> MethodRouter<Arc<Edge>> {
    post(handler).fallback(|state, uri, headers| reply::wrong_method(state, uri, headers, "POST"))
}

/// A route that tells something.
fn listed<H: Handler<T, Arc<Edge>>, T: 'static>(handler: H) -> MethodRouter<Arc<Edge>> {
    get(handler)
        .fallback(|state, uri, headers| reply::wrong_method(state, uri, headers, "GET, HEAD"))
}
