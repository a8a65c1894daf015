//! HTTP in and out: routes, keys, bodies, answers, errors in the client's dialect. Thin: it turns HTTP
//! into a [`dispatch::Request`](crate::dispatch::Request) and the answer back.

mod admin;
mod api;
mod aside;
mod auth;
mod body;
mod caller;
mod chat;
mod connection;
mod framing;
mod health;
mod models;
mod reply;
mod room;
mod server;
mod spending;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;

use crate::actors::{Clock, JournalDesk, News, Published, System};
use crate::config::Settings;
use crate::dispatch::Dispatch;
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
    /// Bytes of request bodies that may be in memory at once (fault O11), in KiB.
    pub body_memory: Arc<Semaphore>,
    pub in_flight: AtomicU32,
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
        let kib = settings.listen.body_memory_bytes / 1_024;
        Self {
            keys: ArcSwap::from_pointee(ClientKeys::new(settings)),
            body_memory: Arc::new(Semaphore::new(kib.clamp(1, Semaphore::MAX_PERMITS))),
            guesses: auth::GuessLimiter::default(),
            in_flight: AtomicU32::new(0),
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

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// The side clients call. Authorisation hangs on the matched route: what matches none is a 404, and no
/// path is decoded or tidied up first (attack A07).
pub fn router(edge: &Arc<Edge>) -> Router {
    let mut router = Router::new();
    for prefix in ["/v1", "", "/api/v1"] {
        router = router
            .route(
                &format!("{prefix}/chat/completions"),
                post(chat::completions).fallback(reply::wrong_method),
            )
            .route(
                &format!("{prefix}/responses"),
                post(chat::responses).fallback(reply::wrong_method),
            )
            .route(
                &format!("{prefix}/messages"),
                post(chat::messages).fallback(reply::wrong_method),
            )
            .route(
                &format!("{prefix}/messages/count_tokens"),
                post(chat::count_tokens).fallback(reply::wrong_method),
            )
            .route(
                &format!("{prefix}/models"),
                get(models::list).fallback(reply::wrong_method),
            )
            .route(
                &format!("{prefix}/models/{{*id}}"),
                get(models::one)
                    .post(chat::generate)
                    .fallback(reply::wrong_method),
            );
        for operation in Operation::PASSED {
            let handler = move |State(edge), request| chat::operation(edge, request, operation);
            router = router.route(
                &format!("{prefix}/{}", operation.path()),
                post(handler).fallback(reply::wrong_method),
            );
        }
    }
    router
        .route(
            "/openai/deployments/{model}/chat/completions",
            post(chat::deployment_completions).fallback(reply::wrong_method),
        )
        .route(
            "/v1beta/models/{*call}",
            post(chat::generate).fallback(reply::wrong_method),
        )
        .route(
            "/anthropic/v1/messages",
            post(chat::messages).fallback(reply::wrong_method),
        )
        .route(
            "/anthropic/v1/messages/count_tokens",
            post(chat::count_tokens).fallback(reply::wrong_method),
        )
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(any(reply::no_such_path))
        .with_state(Arc::clone(edge))
}
