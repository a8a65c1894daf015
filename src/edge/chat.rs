//! Generations, in every client's dialect: key, body, facts, dispatch, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::WARNING;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request as HttpRequest};
use tokio::time::Instant;

use super::auth::{AuthFault, Known};
use super::caller::{caller, may_reach};
use super::connection::ConnectionControl;
use super::{Edge, body, reply};
use crate::actors::{Estimate, Published, Refusal, RefusalKind, Route, wall};
use crate::dialects::openai::{ChatPeek, peek_addressed, peek_named, peek_operation};
use crate::dispatch::{Prompt, RaceMark, Request, Served, Told, refused};
use crate::domain::{
    ClientDialect, Dialect, Failure, FailureKind, Lane, Mode, Operation, PromptClass, RequestId,
    Shape, Tokens,
};
use crate::keys::Client;
use crate::policy::overload::Overload;

/// Counts a request as long as it is served.
pub(super) struct InFlight(Arc<Edge>);

impl InFlight {
    fn enter(edge: &Arc<Edge>, most: u32) -> Option<Self> {
        let inside = edge.in_flight.fetch_add(1, Ordering::Relaxed);
        let entered = Self(Arc::clone(edge));
        (inside < most).then_some(entered)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a path asks for.
struct Asked {
    operation: Operation,
    speaks: ClientDialect,
    named: Named,
}

/// Where the model's name stands.
enum Named {
    InBody,
    /// In the address; what the body names does not count.
    InPath(String),
    /// In the address, and so does whether to stream.
    Addressed {
        model: String,
        stream: bool,
    },
}

impl Asked {
    fn plain(speaks: ClientDialect) -> Self {
        Self {
            operation: Operation::Chat,
            speaks,
            named: Named::InBody,
        }
    }
}

pub(super) async fn completions(
    State(edge): State<Arc<Edge>>,
    request: HttpRequest<Body>,
) -> Response {
    serve(edge, request, Asked::plain(ClientDialect::Openai)).await
}

/// Azure's form names the model in the path.
pub(super) async fn deployment_completions(
    State(edge): State<Arc<Edge>>,
    Path(model): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    let asked = Asked {
        named: Named::InPath(model),
        ..Asked::plain(ClientDialect::Openai)
    };
    serve(edge, request, asked).await
}

/// Operations that exist in OpenAI's form only.
pub(super) async fn operation(
    edge: Arc<Edge>,
    request: HttpRequest<Body>,
    operation: Operation,
) -> Response {
    let asked = Asked {
        operation,
        ..Asked::plain(ClientDialect::Openai)
    };
    serve(edge, request, asked).await
}

pub(super) async fn messages(
    State(edge): State<Arc<Edge>>,
    request: HttpRequest<Body>,
) -> Response {
    serve(edge, request, Asked::plain(ClientDialect::Anthropic)).await
}

/// How long a prompt is: asked of a provider that counts, else estimated and said to be.
pub(super) async fn count_tokens(
    State(edge): State<Arc<Edge>>,
    request: HttpRequest<Body>,
) -> Response {
    let asked = Asked {
        operation: Operation::CountTokens,
        ..Asked::plain(ClientDialect::Anthropic)
    };
    serve(edge, request, asked).await
}

pub(super) async fn responses(
    State(edge): State<Arc<Edge>>,
    request: HttpRequest<Body>,
) -> Response {
    serve(edge, request, Asked::plain(ClientDialect::Responses)).await
}

/// Google's form: `models/<model>:<operation>`.
pub(super) async fn generate(
    State(edge): State<Arc<Edge>>,
    Path(call): Path<String>,
    request: HttpRequest<Body>,
) -> Response {
    let speaks = ClientDialect::Gemini;
    let (model, operation) = call.rsplit_once(':').unwrap_or((&call, ""));
    let stream = match operation {
        "generateContent" => false,
        "streamGenerateContent" => true,
        _ => {
            edge.news.metrics.rejected("not_found");
            let told = Failure::new(
                FailureKind::NotFound,
                "there is nothing at this path; of a model the gateway serves generateContent and streamGenerateContent",
            );
            return reply::failure(speaks, &told, reply::new_id(), &Told::default());
        }
    };
    if stream && !request.uri().query().is_some_and(asks_for_events) {
        edge.news.metrics.rejected("invalid_request");
        let told = Failure::new(
            FailureKind::InvalidRequest,
            "a stream is served as events; add alt=sse to the address",
        );
        return reply::failure(speaks, &told, reply::new_id(), &Told::default());
    }
    let named = Named::Addressed {
        model: model.trim_start_matches("models/").to_owned(),
        stream,
    };
    let asked = Asked {
        named,
        ..Asked::plain(speaks)
    };
    serve(edge, request, asked).await
}

fn asks_for_events(query: &str) -> bool {
    query.split('&').any(|pair| pair == "alt=sse")
}

async fn serve(edge: Arc<Edge>, request: HttpRequest<Body>, asked: Asked) -> Response {
    let arrived = Instant::now();
    let id = reply::new_id();
    let speaks = asked.speaks;
    let (parts, body) = request.into_parts();
    let control = parts.extensions.get::<ConnectionControl>().cloned();
    let answered = match admit(&edge, &parts, control.as_ref()) {
        Ok((client, published, guard)) => {
            let admission = Admission {
                id,
                arrived,
                client,
                published,
                asked,
            };
            read_and_serve(&edge, admission, &parts, body)
                .await
                .map(|(served, notice)| (served, notice, guard))
        }
        Err(failure) => Err(failure),
    };
    match answered {
        Ok((served, notice, guard)) => {
            let mut response = told(served, speaks, id, (control, guard));
            if let Some(notice) = notice {
                response.headers_mut().insert(WARNING, notice);
            }
            response
        }
        Err(failure) => {
            edge.news.metrics.rejected(failure.kind.code());
            // What is left of an unread body must not be taken for the next request.
            let unread = matches!(
                failure.kind,
                FailureKind::RequestTooLarge
                    | FailureKind::RequestTimeout
                    | FailureKind::UnsupportedMediaType
            );
            if let Some(control) = control.filter(|_| unread) {
                control.close_after_response();
            }
            reply::failure(speaks, &failure, id, &Told::default())
        }
    }
}

fn told(
    served: Served,
    speaks: ClientDialect,
    id: RequestId,
    (control, guard): (Option<ConnectionControl>, InFlight),
) -> Response {
    match served {
        Served::Whole { body, told } => reply::whole(speaks, body, id, &told),
        Served::Stream { stream, told } => {
            let speaker = reply::Speaker {
                id,
                speaks,
                control,
            };
            reply::stream(stream, speaker, &told, Some(guard))
        }
        Served::Failed { failure, told } => reply::failure(speaks, &failure, id, &told),
    }
}

/// What is known of a request once it is let in.
struct Admission {
    id: RequestId,
    arrived: Instant,
    client: Client,
    published: Arc<Published>,
    asked: Asked,
}

/// Decides from the head alone whether a request comes in.
fn admit(
    edge: &Arc<Edge>,
    parts: &Parts,
    control: Option<&ConnectionControl>,
) -> Result<(Client, Arc<Published>, InFlight), Failure> {
    let client = identify(edge, parts, control)?;
    if edge.is_draining() {
        return Err(Failure::new(
            FailureKind::ShuttingDown,
            "the gateway is shutting down; ask another instance",
        )
        .retry_after(Duration::from_secs(1)));
    }
    if !edge.journal().admits() {
        return Err(Failure::new(
            FailureKind::AuditUnavailable,
            "the gateway cannot write its audit journal now and accepts nothing unrecorded",
        )
        .retry_after(Duration::from_secs(1)));
    }
    if edge.overload() == Overload::Full {
        edge.news.metrics.shed(client.lane, "memory");
        return Err(memory_is_short());
    }
    let published = edge.published();
    let guard =
        InFlight::enter(edge, published.settings.listen.max_in_flight).ok_or_else(|| {
            edge.news.metrics.shed(client.lane, "in_flight");
            Failure::new(
                FailureKind::Overloaded,
                "the gateway serves as many requests as it may; come back shortly",
            )
            .retry_after(Duration::from_secs(1))
        })?;
    Ok((client, published, guard))
}

/// What a client reads whose request would take memory that streams under way need (fault O08).
fn memory_is_short() -> Failure {
    Failure::new(
        FailureKind::Overloaded,
        "the gateway is short of memory; come back shortly",
    )
    .retry_after(Duration::from_secs(1))
}

pub(super) fn identify(
    edge: &Edge,
    parts: &Parts,
    control: Option<&ConnectionControl>,
) -> Result<Client, Failure> {
    let now = edge.clock.now();
    let address = control.map(|control| control.peer().ip());
    let published = edge.published();
    let known = Known {
        roster: &published.roster,
        fresh: edge.system.knows_keys(now),
        now: wall().0 / 1_000,
    };
    let keys = edge.keys.load();
    let fault = match keys.identify(known, &parts.headers, parts.uri.query()) {
        // A good key is good, whoever guesses beside it behind the same address.
        Ok(client) => return Ok(client),
        Err(fault) => fault,
    };
    if address.is_some_and(|address| edge.guesses.is_guessing(address, now)) {
        edge.news
            .metrics
            .auth_failed(AuthFault::TooManyGuesses.label());
        return Err(Failure::new(
            FailureKind::RateLimited,
            "too many refused keys from this address; wait a minute",
        )
        .retry_after(Duration::from_secs(60)));
    }
    edge.news.metrics.auth_failed(fault.label());
    if fault == AuthFault::NotKnown {
        return Err(Failure::new(
            FailureKind::Overloaded,
            "the gateway cannot read its keys now; come back shortly",
        )
        .retry_after(Duration::from_secs(1)));
    }
    if let Some(address) = address {
        edge.guesses.failed(address, now);
    }
    Err(Failure::new(
        FailureKind::Unauthenticated,
        "this gateway needs one of its own client keys in the authorization header: \"Bearer <key>\"",
    ))
}

async fn read_and_serve(
    edge: &Arc<Edge>,
    admission: Admission,
    parts: &Parts,
    body: Body,
) -> Result<(Served, Notice), Failure> {
    let usual = admission.published.settings.listen.max_body_bytes;
    let most = if edge.overload() >= Overload::Scarce {
        usual.min(body::SMALL)
    } else {
        usual
    };
    let length = body::check_head(&parts.headers, most);
    let read = match length {
        Ok(length) => body::read(body, length, most, &edge.body_memory).await,
        Err(failure) => Err(failure),
    };
    let prompt = read.map_err(|failure| {
        // Usually it would have been let in.
        if most < usual && failure.kind == FailureKind::RequestTooLarge {
            edge.news.metrics.shed(admission.client.lane, "memory");
            memory_is_short()
        } else {
            failure
        }
    })?;
    let (request, notice) = facts(admission, &parts.headers, prompt)?;
    if request.operation == Operation::CountTokens && !is_counted(&request) {
        return Ok((estimated(&request), notice));
    }
    let served = edge.dispatch.serve(Arc::new(request)).await;
    Ok((served, notice))
}

/// Whether the first pool has a provider that counts tokens.
fn is_counted(request: &Request) -> bool {
    let providers = &request.published.settings.providers;
    let pool = request.route.chain.first();
    let targets = pool.map(|pool| pool.settings.targets.as_slice());
    targets.unwrap_or_default().iter().any(|target| {
        let provider = providers.iter().find(|known| known.name == target.provider);
        provider.is_some_and(|provider| provider.dialect == Dialect::Anthropic)
    })
}

fn estimated(request: &Request) -> Served {
    let count = serde_json::json!({"input_tokens": request.estimate.input.0});
    let name = HeaderName::from_static("x-switchyard-estimated");
    Served::Whole {
        body: count.to_string().into(),
        told: Told {
            headers: vec![(name, HeaderValue::from_static("input_tokens"))],
            ..Told::default()
        },
    }
}

/// What a client should know of the model it asked for.
type Notice = Option<HeaderValue>;

fn peeked(asked: Asked, body: &[u8]) -> Result<ChatPeek, Failure> {
    let Asked {
        operation,
        speaks,
        named,
    } = asked;
    if operation != Operation::Chat {
        return Ok(peek_operation(body, operation)?);
    }
    Ok(match named {
        Named::InBody => peek_named(body, speaks)?,
        Named::InPath(model) => {
            let mut peek = peek_named(body, speaks)?;
            // The body's own model is still there to be spliced; the path decides which is asked for.
            if model.len() > 256 || model.chars().any(char::is_control) {
                return Err(Failure::new(
                    FailureKind::ModelNotFound,
                    "this deployment name is not usable",
                ));
            }
            peek.model = model;
            peek
        }
        Named::Addressed { model, stream } => peek_addressed(body, speaks, &model, stream)?,
    })
}

/// Turns head and body into the request that dispatch tells its story about.
fn facts(
    admission: Admission,
    headers: &HeaderMap,
    prompt: Prompt,
) -> Result<(Request, Notice), Failure> {
    let (speaks, operation) = (admission.asked.speaks, admission.asked.operation);
    let peek = peeked(admission.asked, prompt.bytes())?;
    let unknown = || {
        refused(
            &Refusal {
                why: RefusalKind::UnknownModel,
                retry_after: None,
            },
            &shown(&peek.model),
        )
    };
    let Found {
        route,
        successor,
        notice,
    } = found(&admission.published, &peek.model).ok_or_else(unknown)?;
    let allowed = may_reach(&admission.client, &admission.published.settings, &route);
    if !allowed || !admission.client.grant.may_do(operation) {
        // As if it were not there: a client learns nothing about what others may use.
        return Err(unknown());
    }
    let estimate = estimate(&peek, prompt.bytes().len());
    let caller = caller(&admission.client, &admission.published, headers);
    let mode = if peek.stream {
        Mode::Stream
    } else {
        Mode::Whole
    };
    let longest = admission.published.settings.timeouts.request;
    let wished = wished_timeout(headers, &peek);
    let request = Request {
        id: admission.id,
        arrived: admission.arrived,
        deadline: admission.arrived + wished.map_or(longest, |wished| wished.min(longest)),
        lane: wished_lane(headers, admission.client.lane),
        caller,
        bill: Arc::default(),
        length: prompt.bytes().len() as u64,
        operation,
        speaks,
        passed: passed(headers, speaks),
        // A second picture would be paid for and thrown away.
        race: if operation == Operation::Images {
            RaceMark::Off
        } else {
            race_mark(headers)
        },
        asked: Arc::from(successor.as_ref().unwrap_or(&peek.model).as_str()),
        shape: Shape {
            class: PromptClass::of(estimate.input),
            mode,
        },
        estimate,
        prompt: prompt.into(),
        peek,
        published: admission.published,
        route,
    };
    Ok((request, notice))
}

struct Found {
    route: Arc<Route>,
    /// The name it is served by, when that is another than the one asked for.
    successor: Option<String>,
    notice: Notice,
}

/// Where a model is, and what to say of it. One that has ended is its successor, if that is served (row D6).
fn found(published: &Published, asked: &str) -> Option<Found> {
    let settings = &published.settings;
    if let Some(route) = published.routes.find(asked) {
        let pool = route.chain.first().map(|pool| &pool.name);
        let notice = pool.and_then(|pool| settings.notices.get(pool));
        let notice = notice.and_then(|text| HeaderValue::from_str(text).ok());
        return Some(Found {
            route: Arc::clone(route),
            successor: None,
            notice,
        });
    }
    settings.providers.iter().find_map(|provider| {
        let bare = asked.strip_prefix(provider.name.as_str());
        let bare = bare
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(asked);
        let (successor, warning) = settings.models.successor(provider.name.as_str(), bare)?;
        let route = published.routes.find(&successor)?;
        Some(Found {
            route: Arc::clone(route),
            successor: Some(successor),
            notice: HeaderValue::from_str(&warning).ok(),
        })
    })
}

/// What of a client's header a provider of the same dialect gets to see: only what asks for features of that
/// dialect, never keys, cookies or addresses.
fn passed(headers: &HeaderMap, speaks: ClientDialect) -> Vec<(HeaderName, HeaderValue)> {
    let names: &[&'static str] = match speaks {
        ClientDialect::Anthropic => &["anthropic-beta"],
        ClientDialect::Openai | ClientDialect::Responses | ClientDialect::Gemini => &[],
    };
    let mut passed = Vec::new();
    for name in names {
        for value in headers.get_all(*name) {
            passed.push((HeaderName::from_static(name), value.clone()));
        }
    }
    passed
}

/// A name for an error text: not longer than anyone reads.
fn shown(model: &str) -> String {
    model.chars().take(128).collect()
}

fn estimate(peek: &ChatPeek, bytes: usize) -> Estimate {
    let output = peek
        .max_output
        .unwrap_or(1_024)
        .saturating_mul(u64::from(peek.choices));
    Estimate {
        input: Tokens::estimated_from_bytes(bytes),
        output: Tokens(output),
    }
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The client's own patience; the configuration's limit stays the upper bound.
fn wished_timeout(headers: &HeaderMap, peek: &ChatPeek) -> Option<Duration> {
    let millis = text(headers, "x-switchyard-timeout-ms")
        .and_then(|value| value.parse().ok())
        .map(Duration::from_millis);
    let seconds = text(headers, "x-litellm-timeout")
        .and_then(|value| value.parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    millis
        .or(seconds)
        .or(peek.timeout)
        .filter(|wished| !wished.is_zero())
}

/// A client may step back in line, never forward.
fn wished_lane(headers: &HeaderMap, own: Lane) -> Lane {
    let wished = match text(headers, "x-switchyard-lane") {
        Some("interactive") => Lane::Interactive,
        Some("default") => Lane::Default,
        Some("batch") => Lane::Batch,
        _ => own,
    };
    wished.max(own)
}

fn race_mark(headers: &HeaderMap) -> RaceMark {
    match text(headers, "x-switchyard-race") {
        Some("dual") => RaceMark::Dual,
        Some("off") => RaceMark::Off,
        _ => RaceMark::None,
    }
}
