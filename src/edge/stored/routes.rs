//! What is done with responses that are kept. A foreign one is as good as absent (attack A04).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Request as HttpRequest};
use serde_json::{Value, json};

use super::plan::read;
use super::{Follow, unavailable, wrong};
use crate::dialects::one_line;
use crate::dialects::responses::state::{PageQuery, page, told_again, used_items};
use crate::dispatch::Told;
use crate::dispatch::once::Head;
use crate::domain::{ClientDialect, Failure, FailureKind, Lane, Stake};
use crate::edge::connection::ConnectionControl;
use crate::edge::inside::InFlight;
use crate::edge::reply::Said;
use crate::edge::{Edge, chat, reply};
use crate::store::{Conversation, ResponseKey, ResponseStore, Standing, StoredResponse};

const SPEAKS: ClientDialect = ClientDialect::Responses;
/// Ids are short; longer ones are nobody's.
const LONGEST_ID: usize = 256;

/// `GET …/responses/{id}`, also as a stream.
pub(super) async fn retrieve(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let told = async {
        let visit = Visit::of(&edge, &id, &parts).await?;
        let found = visit.get().await?;
        if value(query, "stream") != Some("true") {
            return Ok(Told200::Object(shown(&found)));
        }
        let known = known(value(query, "starting_after"))?;
        if found.standing != Standing::UnderWay {
            return Ok(Told200::Stream(streamed(&found, known)));
        }
        let Some(reader) = edge.runs.follow(&visit.key) else {
            return visit.ended_now(known).await.map(Told200::Stream);
        };
        match reader.head().await {
            Head::Stream { told } => {
                let guard = chat::counted(&edge, &edge.published(), visit.counts)?;
                let follow = Follow::new(reader, known);
                Ok(Told200::Live(follow, Box::new(told), guard))
            }
            Head::Whole { .. } | Head::Failed { .. } => {
                visit.ended_now(known).await.map(Told200::Stream)
            }
        }
    };
    let control = parts.extensions.get::<ConnectionControl>();
    answered(&edge, told.await, control)
}

/// `DELETE …/responses/{id}`.
pub(super) async fn delete(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let told = async {
        let visit = Visit::of(&edge, &id, &parts).await?;
        let deleted = visit.store.delete(&visit.key).await;
        if !deleted.map_err(|error| unavailable(&edge, &error))? {
            return Err(absent());
        }
        edge.runs.cancel(&visit.key);
        Ok(Told200::Object(
            json!({"id": visit.key.id, "object": "response", "deleted": true}),
        ))
    };
    answered(&edge, told.await, None)
}

/// `POST …/responses/{id}/cancel`.
pub(super) async fn cancel(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let told = async {
        let visit = Visit::of(&edge, &id, &parts).await?;
        let mut found = visit.get().await?;
        let mut response = shown(&found);
        if response.get("background") != Some(&Value::Bool(true)) {
            return Err(Failure::new(
                FailureKind::InvalidRequest,
                "only a response that is made in the background can be cancelled; of another, close the connection",
            ));
        }
        if found.standing != Standing::UnderWay {
            return Ok(Told200::Object(response));
        }
        response["status"] = "cancelled".into();
        found.standing = Standing::Ended;
        found.answer = one_line(&response).into();
        let first = visit.store.finish(found).await;
        if first.map_err(|error| unavailable(&edge, &error))? {
            edge.runs.cancel(&visit.key);
            return Ok(Told200::Object(response));
        }
        // It ended in this moment; that stands.
        Ok(Told200::Object(shown(&visit.get().await?)))
    };
    answered(&edge, told.await, None)
}

/// `GET …/responses/{id}/input_items`: all that the response was made from, in pages.
pub(super) async fn input_items(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let told = async {
        let query = PageQuery::read(pairs(query)).map_err(wrong)?;
        let visit = Visit::of(&edge, &id, &parts).await?;
        let most = edge.published().settings.listen.max_body_bytes;
        let found = visit.store.conversation(&visit.key, most).await;
        let links = match found.map_err(|error| unavailable(&edge, &error))? {
            Conversation::Whole(links) => links,
            Conversation::Absent => return Err(absent()),
            Conversation::Torn | Conversation::TooLong => {
                // What it added itself is there.
                return visit.own_items(&query).await.map(Told200::Object);
            }
        };
        let last = links.len().saturating_sub(1);
        let turns = links.iter().enumerate().map(|(index, link)| {
            let (input, response) = read(link);
            (input, Some(response).filter(|_| index < last))
        });
        let items = used_items(turns.collect());
        page(items, &query).map(Told200::Object).map_err(wrong)
    };
    answered(&edge, told.await, None)
}

/// A client at one of its responses.
struct Visit<'a> {
    edge: &'a Edge,
    store: Arc<dyn ResponseStore>,
    key: ResponseKey,
    /// How it is counted while it is served.
    counts: (Lane, Stake),
}

impl<'a> Visit<'a> {
    async fn of(edge: &'a Edge, id: &str, parts: &Parts) -> Result<Self, Failure> {
        let client = chat::identify(edge, parts, parts.extensions.get::<ConnectionControl>())?;
        if id.len() > LONGEST_ID {
            return Err(absent());
        }
        // Nothing was ever kept here: no file is made to say so.
        if !edge.news.store.is_there().await {
            return Err(absent());
        }
        let store = edge.news.store.responses().await;
        Ok(Self {
            edge,
            store: store.map_err(|error| unavailable(edge, &error))?,
            key: ResponseKey {
                owner: client.owner(),
                id: id.to_owned(),
            },
            counts: (client.lane, client.stake()),
        })
    }

    async fn get(&self) -> Result<StoredResponse, Failure> {
        let found = self.store.get(&self.key).await;
        let found = found.map_err(|error| unavailable(self.edge, &error))?;
        found.ok_or_else(absent)
    }

    /// Its events, if it ended in this moment.
    async fn ended_now(&self, known: Option<u64>) -> Result<Vec<u8>, Failure> {
        let found = self.get().await?;
        if found.standing != Standing::UnderWay {
            return Ok(streamed(&found, known));
        }
        Err(Failure::new(
            FailureKind::Conflict,
            "this response is still being made, and cannot be followed: it was not made with \"background\" and \"stream\", or is longer than is held; retrieve it without \"stream\" until it has ended",
        ))
    }

    async fn own_items(&self, query: &PageQuery) -> Result<Value, Failure> {
        let found = self.get().await?;
        let items: Vec<Value> = serde_json::from_slice(&found.input).unwrap_or_default();
        page(items, query).map_err(wrong)
    }
}

fn absent() -> Failure {
    Failure::new(
        FailureKind::NotFound,
        "there is no such response among those that are kept for you",
    )
}

/// The response as it stands.
fn shown(found: &StoredResponse) -> Value {
    let mut response: Value = serde_json::from_slice(&found.answer).unwrap_or_default();
    if found.standing == Standing::Interrupted && response.is_object() {
        response["status"] = "failed".into();
        response["error"] = json!({
            "code": "server_error",
            "message": "the gateway ended while this response was made",
        });
    }
    response
}

/// The last event that the client knows.
fn known(starting_after: Option<&str>) -> Result<Option<u64>, Failure> {
    let wrong_number = |_| {
        Failure::new(
            FailureKind::InvalidRequest,
            "must be the number of an event",
        )
        .at("starting_after")
    };
    let number = starting_after.map(str::parse::<u64>);
    number.transpose().map_err(wrong_number)
}

fn streamed(found: &StoredResponse, known: Option<u64>) -> Vec<u8> {
    told_again(&found.events, &shown(found), known)
}

enum Told200 {
    Object(Value),
    Stream(Vec<u8>),
    Live(Follow, Box<Told>, InFlight),
}

fn answered(
    edge: &Edge,
    told: Result<Told200, Failure>,
    control: Option<&ConnectionControl>,
) -> Response {
    let id = reply::new_id();
    match told {
        Ok(Told200::Object(object)) => {
            reply::whole(SPEAKS, one_line(&object).into(), id, &Told::default())
        }
        Ok(Told200::Stream(events)) => {
            let mut response = reply::whole(SPEAKS, Bytes::from(events), id, &Told::default());
            let headers = response.headers_mut();
            let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
            headers.insert(CONTENT_TYPE, kind);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
        Ok(Told200::Live(follow, told, guard)) => {
            let speaker = reply::Speaker {
                id,
                speaks: SPEAKS,
                mute: false,
                control: control.cloned(),
            };
            reply::stream(Said::Followed(follow), speaker, &told, Some(guard))
        }
        Err(failure) => {
            edge.news.metrics.rejected(failure.kind.code());
            reply::failure(SPEAKS, &failure, id, &Told::default())
        }
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter_map(|pair| pair.split_once('='))
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    pairs(query)
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}
