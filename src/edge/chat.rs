//! Generations, in every client's dialect: key, body, facts, dispatch, answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::WARNING;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request as HttpRequest};
use tokio::time::Instant;

use super::asked::{Asked, Named, form_type};
use super::auth::{AuthFault, Known};
use super::body::Limit;
use super::caller::caller;
use super::connection::ConnectionControl;
use super::demand::demand;
use super::detours::{Way, way};
use super::inside::InFlight;
use super::stored::{KeptStream, Outgoing};
use super::{Edge, body, names, once, reply, stored};
use crate::actors::{Estimate, IssuersMessage, Published, Route, wall};
use crate::dialects::openai::ChatPeek;
use crate::dispatch::{Bill, Prompt, RaceMark, Request, Served, Told};
use crate::domain::{
    ClientDialect, Failure, FailureKind, Lane, Mode, Operation, PromptClass, RequestId, Shape,
    ShareClass, Stake, Tokens, Unsupported,
};
use crate::keys::Client;
use crate::policy::overload::Overload;

/// Operations of OpenAI's form.
pub(super) async fn operation(
    edge: Arc<Edge>,
    request: HttpRequest<Body>,
    operation: Operation,
) -> Response {
    let asked = Asked::of(ClientDialect::Openai, operation);
    serve(edge, request, asked).await
}

/// Azure's form names the model in the path.
pub(super) async fn deployed_operation(
    edge: Arc<Edge>,
    model: String,
    request: HttpRequest<Body>,
    operation: Operation,
) -> Response {
    let asked = Asked {
        named: Named::InPath(model),
        ..Asked::of(ClientDialect::Openai, operation)
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
    let asked = Asked::of(ClientDialect::Anthropic, Operation::CountTokens);
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
    match Asked::of_google(&call, request.uri().query()) {
        Ok(asked) => serve(edge, request, asked).await,
        Err(failure) => {
            edge.news.metrics.rejected(failure.kind.code());
            reply::failure(
                ClientDialect::Gemini,
                &failure,
                reply::new_id(),
                &Told::default(),
            )
        }
    }
}

async fn serve(edge: Arc<Edge>, request: HttpRequest<Body>, asked: Asked) -> Response {
    let arrived = Instant::now();
    let id = reply::new_id();
    let (speaks, operation) = (asked.speaks, asked.operation);
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
                .map(|answer| (answer, guard))
        }
        Err(failure) => Err(failure),
    };
    match answered {
        Ok((Answered::Shared(shared), guard)) => {
            once::told(*shared, (speaks, operation), (control, guard))
        }
        Ok((Answered::Own(mut answer), guard)) => {
            let notice = answer.notice.take();
            let mut response = told(answer, (speaks, operation), id, (control, guard));
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
    answer: Answer,
    (speaks, operation): (ClientDialect, Operation),
    id: RequestId,
    (control, guard): (Option<ConnectionControl>, InFlight),
) -> Response {
    let Answer { served, kept, .. } = answer;
    match served {
        Served::Whole { body, told } => reply::whole(speaks, body, id, &told),
        Served::Stream { stream, told } => {
            let speaker = reply::Speaker {
                id,
                speaks,
                mute: !operation.writes(),
                control,
            };
            let said = reply::Said::Own(Outgoing { stream, kept });
            reply::stream(said, speaker, &told, Some(guard))
        }
        Served::Followed { reader, told } => {
            let speaker = reply::Speaker {
                id,
                speaks,
                mute: false,
                control,
            };
            reply::stream(reply::Said::Shared(reader), speaker, &told, Some(guard))
        }
        Served::Failed { failure, told } => reply::failure(speaks, &failure, id, &told),
    }
}

/// What is known of a request once it is let in.
pub(super) struct Admission {
    pub(super) id: RequestId,
    arrived: Instant,
    pub(super) client: Client,
    pub(super) published: Arc<Published>,
    pub(super) asked: Asked,
}

/// How a request was served, and what else there is to say.
pub(super) struct Answer {
    pub(super) served: Served,
    pub(super) notice: Notice,
    /// What keeps a stream while it passes.
    pub(super) kept: Option<Box<KeptStream>>,
}

/// Whose answer it is.
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart once a request, and most have no key"
)]
enum Answered {
    Own(Answer),
    /// It may be told to others as well.
    Shared(Box<once::Shared>),
}

impl Answer {
    fn plain(served: Served, notice: Notice) -> Self {
        Self {
            served,
            notice,
            kept: None,
        }
    }
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
    let stake = client.stake();
    if let Some(class) = memory_sheds(edge, &stake) {
        edge.news.metrics.shed(client.lane, "memory", class);
        return Err(memory_is_short());
    }
    let published = edge.published();
    let guard = counted(edge, &published, (client.lane, stake))?;
    Ok((client, published, guard))
}

/// Counts a request that is let in.
pub(super) fn counted(
    edge: &Arc<Edge>,
    published: &Published,
    (lane, stake): (Lane, Stake),
) -> Result<InFlight, Failure> {
    let room = (
        published.settings.listen.max_in_flight,
        published.roster.peers,
    );
    InFlight::enter(edge, stake, room).map_err(|class| {
        edge.news.metrics.shed(lane, "in_flight", class);
        Failure::new(
            FailureKind::Overloaded,
            "the gateway serves as many requests as it may; come back shortly",
        )
        .retry_after(Duration::from_secs(1))
    })
}

/// How much its tenant holds of what is served, if a request is refused to spare memory: whoever has more than its
/// share before everyone else (fault O05).
fn memory_sheds(edge: &Edge, stake: &Stake) -> Option<ShareClass> {
    let level = edge.overload();
    if level < Overload::Scarce {
        return None;
    }
    let class = edge.inside.class(stake);
    (level == Overload::Full || class == ShareClass::Beyond).then_some(class)
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
    let identities = edge.system.identities();
    let known = Known {
        roster: &published.roster,
        identities: &identities,
        // An issuer that cannot be told now is asked anyway, later.
        wanted: &|name| {
            let _ = edge.system.issuers.cast(IssuersMessage::Wanted { name });
        },
        here: now,
        fresh: published.roster.can_tell() && edge.system.knows_keys(now),
        current: edge.system.knows_every_key(now),
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
    if let Some(address) = address.filter(|_| fault.is_guess()) {
        edge.guesses.failed(address, now);
    }
    if let Some(awaited) = fault.awaited() {
        let waits = Failure::new(FailureKind::Overloaded, awaited);
        return Err(waits.retry_after(Duration::from_secs(1)));
    }
    Err(Failure::new(
        FailureKind::Unauthenticated,
        // Where the key was looked for says nothing about keys; the rest is one text for all (attack A01).
        if fault == AuthFault::InQuery {
            "a key in the address is refused, because addresses end up in logs; send it in the header x-goog-api-key, or as authorization: \"Bearer <key>\""
        } else if !identities.is_empty() {
            "this gateway needs one of its own client keys, or a good token of an issuer it trusts, in the authorization header: \"Bearer <key>\""
        } else {
            "this gateway needs one of its own client keys in the authorization header: \"Bearer <key>\""
        },
    ))
}

async fn read_and_serve(
    edge: &Arc<Edge>,
    admission: Admission,
    parts: &Parts,
    body: Body,
) -> Result<Answered, Failure> {
    let usual = most_bytes(&admission, &parts.headers);
    let most = if edge.overload() >= Overload::Scarce {
        Limit {
            bytes: usual.bytes.min(body::SMALL),
            ..usual
        }
    } else {
        usual
    };
    let length = body::check_head(&parts.headers, most);
    let read = match length {
        Ok(length) => {
            let memory = (&edge.body_memory, &admission.client.stake());
            body::read(body, length, most, memory).await
        }
        Err(failure) => Err(failure),
    };
    let prompt = read.map_err(|failure| {
        // Usually it would have been let in.
        if most.bytes < usual.bytes && failure.kind == FailureKind::RequestTooLarge {
            let class = edge.inside.class(&admission.client.stake());
            edge.news
                .metrics
                .shed(admission.client.lane, "memory", class);
            memory_is_short()
        } else {
            failure
        }
    })?;
    let is_heeded = admission.published.settings.idempotency.most_bytes > 0;
    if is_heeded && let Some(key) = once::key(&parts.headers)? {
        // Apart, so that requests without a key carry nothing of it.
        let shared = Box::pin(once::serve(edge, admission, parts, (key, prompt)));
        return Ok(Answered::Shared(Box::new(shared.await?)));
    }
    let answer = answer(edge, admission, &parts.headers, (prompt, None)).await?;
    Ok(Answered::Own(answer))
}

/// The answer to a request whose body is there; its facts are read unless they come with it.
pub(super) async fn answer(
    edge: &Arc<Edge>,
    admission: Admission,
    headers: &HeaderMap,
    (prompt, peek): (Prompt, Option<ChatPeek>),
) -> Result<Answer, Failure> {
    if admission.asked.speaks == ClientDialect::Responses {
        // Apart, so that other requests carry nothing of it.
        return Box::pin(stored::serve(edge, admission, headers, prompt)).await;
    }
    let (request, notice) = facts(admission, headers, (prompt, peek))?;
    let request = edge.dispatch.guard(request.bounded()).await?;
    if request.operation == Operation::CountTokens && !is_counted(&request) {
        let estimated = edge.dispatch.estimated_count(&request);
        return Ok(Answer::plain(estimated, notice));
    }
    let served = edge.dispatch.serve(Arc::new(request)).await;
    Ok(Answer::plain(served, notice))
}

/// How large the body may be, and by which option.
fn most_bytes(admission: &Admission, headers: &HeaderMap) -> Limit {
    let listen = &admission.published.settings.listen;
    if admission.asked.operation.takes_a_file() && form_type(headers).is_some() {
        Limit {
            bytes: listen.max_form_bytes,
            option: "listen.max_form_bytes",
        }
    } else {
        Limit {
            bytes: listen.max_body_bytes,
            option: "listen.max_body_bytes",
        }
    }
}

/// Whether the first pool has a provider that counts tokens.
fn is_counted(request: &Request) -> bool {
    let providers = &request.published.settings.providers;
    let pool = request.route.chain.first();
    let targets = pool.map(|pool| pool.settings.targets.as_slice());
    targets.unwrap_or_default().iter().any(|target| {
        let provider = providers.iter().find(|known| known.name == target.provider);
        let counts = provider.filter(|provider| request.operation.is_served_by(provider.dialect));
        // Who may not read the prompt may not count it either.
        counts.is_some_and(|provider| {
            let model = (target.model.as_ref(), &*request.asked);
            let demand = request.demand.as_ref();
            demand.is_none_or(|demand| provider.meets(demand, model).is_ok())
        })
    })
}

/// What a client should know of the model it asked for.
pub(super) type Notice = Option<HeaderValue>;

/// Turns head and body into the request that dispatch tells its story about.
pub(super) fn facts(
    admission: Admission,
    headers: &HeaderMap,
    (prompt, peek): (Prompt, Option<ChatPeek>),
) -> Result<(Request, Notice), Failure> {
    let (speaks, operation) = (admission.asked.speaks, admission.asked.operation);
    let peek = match peek {
        Some(peek) => peek,
        None => admission.asked.peek(headers, prompt.bytes())?,
    };
    let Way {
        route,
        asked,
        detours,
        notice,
    } = way(&peek, operation, &admission.client, &admission.published)?;
    let demand = demand(&admission.client, headers, &peek.wishes)?;
    let estimate = estimate(&peek, prompt.bytes().len());
    let caller = caller(&admission.client, &admission.published, headers);
    // Speech is passed on as it comes, whatever form it comes in.
    let streams = peek.stream || operation == Operation::Speech;
    let mode = if streams { Mode::Stream } else { Mode::Whole };
    let settings = &admission.published.settings;
    let mut longest = settings.timeouts.request;
    if operation == Operation::CountTokens {
        longest = longest.min(settings.timeouts.count_tokens);
    }
    let wished = wished_timeout(headers, &peek);
    let unsupported = wished_unsupported(headers, settings)?;
    let preference = &peek.wishes.preference;
    let margin = settings.pricing.margin(&caller.payer.tenant, &asked);
    let request = Request {
        id: admission.id,
        arrived: admission.arrived,
        deadline: admission.arrived + wished.map_or(longest, |wished| wished.min(longest)),
        lane: wished_lane(headers, admission.client.lane),
        caller,
        bill: Arc::new(Bill::with(margin)),
        length: prompt.bytes().len() as u64,
        operation,
        speaks,
        passed: passed(headers, speaks),
        content_type: form_type(headers).and_then(|kind| HeaderValue::from_str(kind).ok()),
        race: race_mark(headers, operation),
        asked,
        shape: Shape {
            class: PromptClass::of(estimate.input),
            mode,
        },
        estimate,
        prompt: prompt.into(),
        max_attempts: most_attempts(headers, &peek).min(settings.failover.max_attempts),
        demand,
        preference: (!preference.is_none()).then(|| Arc::new(preference.clone())),
        peek,
        published: admission.published,
        route,
        detours,
        unsupported,
        media: Default::default(),
        tools: Default::default(),
        guarded: None,
        placed: Default::default(),
    };
    Ok((request, notice))
}

pub(super) struct Found {
    pub(super) route: Arc<Route>,
    /// The name it is served by, when that is another than the one asked for.
    pub(super) successor: Option<String>,
    pub(super) notice: Notice,
}

/// Where a model is, and what to say of it. One that has ended is its successor, if that is served (row D6).
pub(super) fn found(published: &Published, asked: &str) -> Option<Found> {
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

fn estimate(peek: &ChatPeek, bytes: usize) -> Estimate {
    /// A second of speech as most record it comes to about ten tokens; a picture, to about as much by its size.
    const BYTES_OF_A_FILE: usize = 1_024;
    let output = peek
        .max_output
        .unwrap_or(1_024)
        .saturating_mul(u64::from(peek.choices));
    let attached = peek.attached.min(bytes);
    let written = Tokens::estimated_from_bytes(bytes - attached);
    Estimate {
        input: written + Tokens((attached / BYTES_OF_A_FILE) as u64),
        output: Tokens(output),
    }
}

/// How often it may be tried: who asks for no retries gets one attempt.
fn most_attempts(headers: &HeaderMap, peek: &ChatPeek) -> u32 {
    let told = names::text(headers, &names::RETRIES).and_then(|value| value.parse::<u32>().ok());
    let retries = told.or(peek.wishes.retries);
    retries.map_or(u32::MAX, |retries| retries.saturating_add(1))
}

/// The client's own patience; the configuration's limit stays the upper bound.
fn wished_timeout(headers: &HeaderMap, peek: &ChatPeek) -> Option<Duration> {
    told_timeout(headers)
        .or(peek.timeout)
        .filter(|wished| !wished.is_zero())
}

/// What its header says of that.
pub(super) fn told_timeout(headers: &HeaderMap) -> Option<Duration> {
    let millis = names::text(headers, &names::TIMEOUT_MS)
        .and_then(|value| value.parse().ok())
        .map(Duration::from_millis);
    let seconds = names::text(headers, &names::TIMEOUT_SECONDS)
        .and_then(|value| value.parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    millis.or(seconds)
}

/// A client may step back in line, never forward.
fn wished_lane(headers: &HeaderMap, own: Lane) -> Lane {
    let wished = match names::text(headers, &names::LANE) {
        Some("interactive") => Lane::Interactive,
        Some("default") => Lane::Default,
        Some("batch") => Lane::Batch,
        _ => own,
    };
    wished.max(own)
}

/// What of a request that a provider cannot be told: as far as the operator lets clients say.
fn wished_unsupported(
    headers: &HeaderMap,
    settings: &crate::config::Settings,
) -> Result<Option<Unsupported>, Failure> {
    let name = &names::UNSUPPORTED;
    let Some(wish) = headers.get(name) else {
        return Ok(None);
    };
    let allowed = &settings.unsupported.clients_may;
    let known = wish.to_str().ok().and_then(Unsupported::by_label);
    match known.filter(|wish| allowed.contains(wish)) {
        Some(wish) => Ok(Some(wish)),
        None => {
            let allowed: Vec<_> = allowed.iter().map(|one| one.label()).collect();
            let message = match allowed.as_slice() {
                [] => format!("{name} is not for clients here; leave it out"),
                some => format!("{name} may be one of: {}", some.join(", ")),
            };
            Err(Failure::new(FailureKind::InvalidRequest, message).at(name.as_str()))
        }
    }
}

fn race_mark(headers: &HeaderMap, operation: Operation) -> RaceMark {
    if operation.is_made_once() {
        return RaceMark::Off;
    }
    match names::text(headers, &names::RACE) {
        Some("dual") => RaceMark::Dual,
        Some("off") => RaceMark::Off,
        _ => RaceMark::None,
    }
}
