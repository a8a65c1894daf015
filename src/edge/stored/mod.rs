//! Responses that are kept: made, told again, gone on from, run while nobody waits, and deleted.
//!
//! # Why the gateway keeps them itself
//! A provider that keeps responses knows our key and not our clients: whoever holds an id could read what another
//! client said (attack A04). And it can be gone on from only there, with that key. Here a conversation belongs to
//! the client who had it, and any provider is told the whole of it; none of them is asked to keep anything.

mod background;
mod follow;
mod keep;
mod plan;
mod routes;
mod runs;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};
use http::HeaderMap;

use super::chat::{Admission, Answer, facts};
use super::{Edge, chat, listed, reply, taken};
use crate::dialects::DialectError;
use crate::dialects::responses::state::{Shift, read_state};
use crate::dispatch::{Prompt, Served};
use crate::domain::{ClientDialect, Failure, FailureKind};
use crate::store::StoreError;

pub(super) use follow::Follow;
pub(super) use runs::Runs;
pub(super) use stream::{KeptStream, Outgoing};

use plan::Plan;

/// Everything below `/responses`.
pub(super) fn add_routes(router: Router<Arc<Edge>>, prefix: &str) -> Router<Arc<Edge>> {
    let path = |end: &str| format!("{prefix}/responses{end}");
    router
        .route(&path(""), taken(chat::responses))
        // Not served, and no ids either.
        .route(&path("/input_tokens"), any(reply::no_such_path))
        .route(&path("/compact"), any(reply::no_such_path))
        .route(
            &path("/{id}"),
            get(routes::retrieve)
                .delete(routes::delete)
                .fallback(|state, uri, headers| {
                    reply::wrong_method(state, uri, headers, "GET, HEAD, DELETE")
                }),
        )
        .route(&path("/{id}/cancel"), taken(routes::cancel))
        .route(&path("/{id}/input_items"), listed(routes::input_items))
}

/// Whether what is asked for is made in the background, and so goes on though its client leaves.
pub(super) fn goes_on(admission: &Admission, prompt: &Prompt) -> bool {
    admission.asked.speaks == ClientDialect::Responses
        && read_state(prompt.bytes()).is_ok_and(|ask| ask.background)
}

/// Serves a request that may ask for something to be kept.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    admission: Admission,
    headers: &HeaderMap,
    prompt: Prompt,
) -> Result<Answer, Failure> {
    let Plan {
        prompt,
        stamp,
        keep,
        background,
        unkept,
        forgets,
        shift,
    } = plan::plan(edge, &admission, prompt).await?;
    // What goes out is another body than the one that came.
    let (request, notice) = facts(admission, headers, (prompt, None))?;
    // What the client said stays its own: it is kept, and told again; what goes out may be less.
    let said = request.body();
    let request = Arc::new(edge.dispatch.guard(request.bounded()).await?);
    if let Some(made) = background {
        let mut served = background::start(edge, (request, &said), made).await?;
        place(&mut served, &shift);
        lost(&mut served, unkept, forgets);
        return Ok(Answer {
            served,
            notice,
            kept: None,
        });
    }
    let mut served = edge.dispatch.serve(request).await;
    place(&mut served, &shift);
    lost(&mut served, unkept, forgets);
    let Some(stamp) = stamp else {
        return Ok(Answer {
            served,
            notice,
            kept: None,
        });
    };
    let mut kept = None;
    let served = match served {
        Served::Whole { body, mut told } => {
            let (body, stored) = keep::whole(&body, stamp, keep).await;
            if !stored {
                told.dropped.push("store".into());
            }
            Served::Whole { body, told }
        }
        Served::Stream { stream, told } => {
            kept = Some(Box::new(KeptStream::new(stamp, keep)));
            Served::Stream { stream, told }
        }
        other @ (Served::Followed { .. } | Served::Failed { .. }) => other,
    };
    Ok(Answer {
        served,
        notice,
        kept,
    })
}

/// Tells what the store could not do for this request.
fn lost(served: &mut Served, unkept: bool, forgets: bool) {
    let (Served::Whole { told, .. } | Served::Stream { told, .. } | Served::Followed { told, .. }) =
        served
    else {
        return;
    };
    if unkept {
        told.dropped.push("store".into());
    }
    if forgets && !told.dropped.iter().any(|name| name == "thinking") {
        told.dropped.push("thinking".into());
    }
}

/// Names places as the client knows them, who sent only the end of what went out.
fn place(served: &mut Served, shift: &Shift) {
    let (told, failure) = match served {
        Served::Whole { told, .. }
        | Served::Stream { told, .. }
        | Served::Followed { told, .. } => (told, None),
        Served::Failed { told, failure } => (told, Some(failure)),
    };
    for name in &mut told.dropped {
        *name = shift.told(name).into();
    }
    if let Some(failure) = failure
        && let Some(sent) = failure.param.take()
    {
        let own = shift.told(&sent);
        failure.message = failure.message.replace(&*sent, &own).into();
        failure.param = Some(own.into());
    }
}

/// What a client reads when what it needs of the store cannot be had. The store's own words are the operator's.
fn unavailable(edge: &Edge, error: &StoreError) -> Failure {
    edge.news.metrics.store_refused(error.label());
    if *error == StoreError::Unreadable {
        return Failure::new(
            FailureKind::Internal,
            "what was kept of this response cannot be read any more",
        );
    }
    Failure::new(
        FailureKind::StoreUnavailable,
        "the gateway cannot use its store now; come back shortly, or ask for nothing that needs it: \"store\": false, the whole conversation in \"input\"",
    )
    .retry_after(Duration::from_secs(1))
}

fn wrong(error: DialectError) -> Failure {
    let failure = Failure::new(FailureKind::InvalidRequest, error.message);
    match error.param {
        Some(param) => failure.at(param),
        None => failure,
    }
}
