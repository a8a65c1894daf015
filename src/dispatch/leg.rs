//! One attempt at one target: encode, send, and read until the first content or the whole answer.
//!
//! Dropping a leg cancels it at the provider and settles it as cancelled: the loser of a race and the
//! attempt of a client that left need no one to clean up after them.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tracing::warn;

use super::Dispatch;
use super::bill::{Tab, Used};
use super::guard::{Seen, Sifted, Written};
use super::live::stream_words;
use super::next::{AttemptFailure, final_kind};
use super::request::Request;
use super::translation::{Translation, Whole};
use crate::actors::{FailedAttempt, Lease, News, Tables, until};
use crate::dialects::{AnswerFacts, AnswerFault, Relay, UpstreamError};
use crate::domain::{
    AttemptOutcome, Failure, FailureKind, Mode, Moment, NanoUsd, Operation, RequestId, StreamFacts,
    StreamFault,
};
use crate::policy::timers::{TimerBounds, first_content_limit};
use crate::store::journal::{AttemptRecord, Record};
use crate::upstream::{
    Again, AttemptError, Call, Fields, LimitKind, ProviderClient, Reply, ReplyBody, Rope,
    date_wait, passed, pushback, told,
};

/// An attempt under way, or over.
pub(super) struct Leg {
    pub(super) lease: Lease,
    news: Arc<News>,
    tables: Arc<Tables>,
    request: RequestId,
    number: u32,
    second: bool,
    pub(super) started: Instant,
    status: Option<u16>,
    first_content: Option<Duration>,
    /// Its content goes to the client.
    pub(super) won: bool,
    reported: bool,
    pub(super) tab: Arc<Tab>,
}

/// Where a leg stands among the attempts of its request.
#[derive(Clone, Copy)]
pub(super) struct LegPlace {
    pub(super) number: u32,
    pub(super) second: bool,
}

/// A leg that has shown content: from here on it alone may speak to the client.
pub(super) struct Won {
    pub(super) leg: Leg,
    pub(super) headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub(super) answer: WonAnswer,
    pub(super) first_content: Duration,
    pub(super) dropped: Vec<std::borrow::Cow<'static, str>>,
}

pub(super) enum WonAnswer {
    Whole(Whole),
    /// A whole answer that the guard does not let out.
    Refused {
        failure: Failure,
        facts: AnswerFacts,
    },
    /// A stream with its first content waiting in `held`.
    Stream {
        body: ReplyBody,
        relay: Box<dyn Relay>,
        held: BytesMut,
    },
    /// A stream that is already complete.
    Complete {
        held: BytesMut,
        facts: StreamFacts,
        /// As the journal keeps it; `None` where that is the same.
        record: Option<Bytes>,
    },
}

/// A leg that ended without an answer. Its lease has been told.
pub(super) struct Lost {
    pub(super) failure: AttemptFailure,
    pub(super) leg: Leg,
}

/// Why an attempt failed, for the client and for the lease.
struct Failed {
    failure: AttemptFailure,
    told: FailedAttempt,
}

/// An error's body is read this far.
const LARGEST_ERROR: usize = 64 * 1024;
/// What a stream may say before its first content (ground rule G14).
const MOST_HELD: usize = 1 << 20;
/// A whole answer may be this large (fault P32).
const LARGEST_ANSWER: usize = 64 << 20;

impl Failed {
    fn plain(outcome: AttemptOutcome) -> Self {
        Self {
            failure: AttemptFailure::plain(outcome),
            told: FailedAttempt::plain(outcome),
        }
    }
}

impl From<AttemptError> for Failed {
    fn from(error: AttemptError) -> Self {
        let mut failed = Self::plain(error.outcome);
        failed.failure.avoid_proxy = error.avoid_proxy;
        failed
    }
}

impl From<AnswerFault> for Failed {
    fn from(fault: AnswerFault) -> Self {
        match fault {
            AnswerFault::Disguised(error) => from_provider(error, None),
            AnswerFault::Unoffered => Self::plain(AttemptOutcome::Unoffered),
            AnswerFault::Untranslatable(_) => Self::plain(AttemptOutcome::Untranslatable),
            AnswerFault::Empty(_) | AnswerFault::Malformed(_) => {
                Self::plain(AttemptOutcome::BadBody)
            }
        }
    }
}

impl From<StreamFault> for Failed {
    fn from(fault: StreamFault) -> Self {
        let outcome = fault.outcome();
        let mut failed = Self::plain(outcome);
        if matches!(fault, StreamFault::Unguarded | StreamFault::Forbidden) {
            failed.failure.kind = fault.failure_kind();
            failed.failure.message = Some(stream_words(fault.failure_kind()).to_owned());
        }
        if let StreamFault::Reported { message, code, .. } = fault {
            failed.failure.message = Some(message).filter(|message| !message.is_empty());
            failed.failure.code = code;
        }
        failed
    }
}

fn from_provider(error: UpstreamError, wait: Option<Duration>) -> Failed {
    let wait = wait.or(error.retry_in);
    Failed {
        failure: AttemptFailure {
            outcome: error.outcome,
            kind: error.kind,
            param: None,
            message: error.message,
            code: error.code,
            pushback: wait,
            avoid_proxy: false,
        },
        told: FailedAttempt {
            outcome: error.outcome,
            pushback: wait,
            until_date: error
                .until_date
                .and_then(|date| date_wait(&date, SystemTime::now())),
            model_only: error.model_only,
        },
    }
}

impl Leg {
    /// Tells lease, metrics and journal how it ended. Only the first call counts.
    fn report(&mut self, outcome: AttemptOutcome, used: Option<Used>) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        let sent = self.lease.was_sent().then(|| self.started.elapsed());
        // Until it stands in the journal, so that it is reckoned there in the order in which it was here.
        let mut turn = self.tab.turn();
        let closed = self.tab.close(outcome, used, sent, turn.as_mut());
        let usage = used.map(|used| used.usage);
        let due = closed.map(|closed| closed.due);
        let list = closed.map(|closed| closed.list);
        self.lease.costs(due.map(|due| due.billed));
        let target = self.lease.target();
        target.endpoint.metrics.attempt(outcome);
        let unasked = usage.and_then(|usage| self.tab.unasked(&usage));
        if let Some(tier) = unasked
            && target.seller.served_unasked(tier)
        {
            let (provider, tier) = (&target.provider.name, tier.word());
            warn!(%provider, tier, "served in a tier that nobody asked for; from here on its price is set aside, and service_tier of the provider says so from the start");
        }
        // Lost only while the disk fails, and then it is counted there.
        let recorded = self.news.journal.append(&Record::Attempt(AttemptRecord {
            request: self.request,
            number: self.number,
            provider: target.provider.name.as_str(),
            model: self.lease.model().as_str(),
            key: target.key_name.as_str(),
            outcome,
            status: self.status,
            first_content: self.first_content,
            took: self.started.elapsed(),
            usage,
            estimated: used.is_some_and(|used| used.estimated),
            won: self.won,
            second_leg: self.second,
            region: target.handling.place_of(self.lease.model().as_str()),
            cost_nano: due.map(|due| due.billed.0),
            charged_nano: due.map(|due| due.charged.0),
            list_nano: list.map(|list| list.0),
            asked: Some(self.tab.asked()),
            reason: None,
        }));
        drop(turn);
        let recorded = recorded.ok().flatten();
        // Its provider may have come by a budget meanwhile.
        if !self.lease.recorded(recorded)
            && let Some(due) = due.filter(|due| due.billed > NanoUsd::ZERO)
            && let Some(till) = self.tables.tills.get(&self.lease.target().provider.name)
        {
            till.count(self.started.elapsed(), due.billed, recorded);
        }
    }

    /// It answered, and this is what it used.
    pub(super) fn succeeded(&mut self, used: Used, now: Moment) {
        let hedges = &self.lease.target().pool.hedges;
        hedges.settled(used.usage.total(), now);
        self.lease.succeeded(Some(&used.usage));
        self.report(AttemptOutcome::Ok, Some(used));
    }

    pub(super) fn failed(&mut self, told: FailedAttempt, used: Option<Used>) {
        let outcome = told.outcome;
        self.lease.failed(told);
        self.report(outcome, used);
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if !self.reported {
            self.lease
                .failed(FailedAttempt::plain(AttemptOutcome::Cancelled));
            self.report(AttemptOutcome::Cancelled, None);
        }
    }
}

impl Dispatch {
    /// Runs one leg to its first content (streams) or its whole answer.
    pub(super) async fn run_leg(
        &self,
        request: &Request,
        lease: Lease,
        place: LegPlace,
    ) -> Result<Won, Lost> {
        let tab = Arc::new(Tab::open(request, lease.target(), lease.model()));
        let mut leg = Leg {
            lease,
            news: Arc::clone(&self.news),
            tables: Arc::clone(&self.tables),
            request: request.id,
            number: place.number,
            second: place.second,
            started: Instant::now(),
            status: None,
            first_content: None,
            won: false,
            reported: false,
            tab,
        };
        let mut dropped = Vec::new();
        match self.read_answer(request, &mut leg, &mut dropped).await {
            Ok((headers, answer)) => {
                let first_content = leg.started.elapsed();
                leg.first_content = Some(first_content);
                leg.lease.first_content(first_content);
                Ok(Won {
                    dropped,
                    leg,
                    headers,
                    answer,
                    first_content,
                })
            }
            Err(failed) => {
                leg.failed(failed.told, None);
                Err(Lost {
                    failure: failed.failure,
                    leg,
                })
            }
        }
    }

    async fn read_answer(
        &self,
        request: &Request,
        leg: &mut Leg,
        dropped: &mut Vec<std::borrow::Cow<'static, str>>,
    ) -> Result<(Vec<(http::HeaderName, http::HeaderValue)>, WonAnswer), Failed> {
        let provider = &leg.lease.target().provider;
        let signer = provider.signer(leg.lease.model().as_str());
        let target = Arc::clone(leg.lease.target());
        let translation = Translation::between(request, &target, &signer);
        let failed = |failure: AttemptFailure| Failed {
            told: FailedAttempt::plain(failure.outcome),
            failure,
        };
        let media = match self.wants_media(request, &translation).map_err(failed)? {
            // Apart, so that requests without any carry nothing of it.
            Some(wanted) => Some(
                Box::pin(self.media(request, wanted))
                    .await
                    .map_err(failed)?,
            ),
            None => None,
        };
        if media.is_some() {
            // What was fetched is not the provider's time.
            leg.started = Instant::now();
        }
        let patience_ends = leg.started + self.patience(request, &leg.lease);
        let give_up_at = patience_ends.min(request.deadline);
        let prepared = translation.prepare(&leg.lease, media.as_deref());
        let prepared = prepared.map_err(failed)?;
        *dropped = prepared.dropped;
        let client = self
            .upstreams
            .of(&leg.lease.target().provider.name)
            .ok_or(Failed::plain(AttemptOutcome::Connect))?;
        self.last_look(request, &leg.lease, &client)
            .map_err(failed)?;
        leg.lease.sent();
        {
            // In its one place: whoever takes it by value has room for it twice.
            let exchange = pin!(self.exchange(leg, &client, translation, prepared.body));
            if let Some(ended) = until(give_up_at, exchange).await {
                return ended;
            }
        }
        // Who asks for an answer in a millisecond learns nothing about the provider, and teaches us nothing.
        if patience_ends <= request.deadline {
            return Err(Failed::plain(AttemptOutcome::FirstContentTimeout));
        }
        leg.lease.out_of_time(leg.started.elapsed());
        Err(Failed::plain(AttemptOutcome::Deadline))
    }

    async fn exchange(
        &self,
        leg: &mut Leg,
        client: &ProviderClient,
        translation: Translation<'_>,
        body: Rope,
    ) -> Result<(Vec<(http::HeaderName, http::HeaderValue)>, WonAnswer), Failed> {
        let target = Arc::clone(leg.lease.target());
        let request = translation.request;
        let passes = translation.is_plain();
        let call = Call {
            key: &target.key_name,
            model: leg.lease.model().as_str(),
            mode: request.shape.mode,
            operation: translation.operation(&target.provider),
            fields: if passes { &request.passed } else { &[] },
            content_type: request.content_type.as_ref(),
            body,
        };
        let reply = client
            .send(call)
            .await
            .inspect_err(|error| self.note_blocked(error, leg))?;
        self.note_reply(leg, &reply);
        let kept = kept_type(translation, &reply.fields).map(|kind| (CONTENT_TYPE, kind));
        let mut headers: Vec<_> = passed(&reply.fields).chain(kept).collect();
        let answer = first_content(translation, reply).await?;
        if matches!(&answer, WonAnswer::Whole(whole) if whole.unoffered) {
            headers.push((QUIRK, HeaderValue::from_static("unoffered_tool")));
        }
        Ok((headers, answer))
    }

    /// How long this attempt may take to show content (fault P20).
    fn patience(&self, request: &Request, lease: &Lease) -> Duration {
        let timeouts = &request.published.settings.timeouts;
        let p99 = lease
            .target()
            .endpoint
            .first_content(request.shape)
            .quantile(0.99, self.clock.now());
        let reasons = lease.target().provider.reasons(lease.model().as_str());
        match request.shape.mode {
            // A whole answer takes as long as it is; only its own past says how long that is.
            Mode::Whole => {
                let bounds = TimerBounds {
                    least: timeouts.first_content,
                    most: timeouts.whole_answer,
                };
                first_content_limit(p99, bounds)
            }
            Mode::Stream if reasons => timeouts.gap_reasoning,
            Mode::Stream => {
                let bounds = TimerBounds {
                    least: timeouts.first_content_floor,
                    most: timeouts.first_content,
                };
                first_content_limit(p99, bounds)
            }
        }
    }

    fn note_blocked(&self, error: &AttemptError, leg: &Leg) {
        if let Some(rule) = error.blocked {
            self.news.metrics.blocked(rule);
            self.journal().event(
                "security.block",
                leg.lease.target().provider.name.as_str(),
                rule,
            );
        }
    }

    /// Takes what the provider's headers tell about its limits.
    fn note_reply(&self, leg: &mut Leg, reply: &Reply) {
        leg.status = Some(reply.status.as_u16());
        match reply.again {
            None => {}
            Some(Again::Stale) => self.news.metrics.conn_stale(),
            Some(Again::GoAway) => self.news.metrics.h2_goaway("goaway"),
            Some(Again::Refused) => self.news.metrics.h2_goaway("refused"),
            // Counted where it was fetched.
            Some(Again::Token) => {}
        }
        let mut now = None;
        let window = &leg.lease.target().window;
        for told in told(&reply.fields, SystemTime::now) {
            let place = match told.kind {
                LimitKind::Requests => &window.told_requests,
                LimitKind::Tokens => &window.told_tokens,
                LimitKind::InputTokens => &window.told_input,
                LimitKind::OutputTokens => &window.told_output,
            };
            let now = *now.get_or_insert_with(|| self.clock.now());
            place.tell(
                told.limit,
                told.remaining,
                told.reset_in.map(|wait| now.after(wait)),
                now,
            );
        }
    }
}

/// Tells a client what is odd about an answer that goes on all the same.
const QUIRK: HeaderName = HeaderName::from_static("x-switchyard-quirk");

/// What the body claims to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    EventStream,
    Json,
    Page,
    /// Another name, or none: it may be either.
    Unsaid,
}

fn form(fields: &Fields) -> Form {
    let named = fields.text("content-type").unwrap_or_default();
    let streams = [
        "text/event-stream",
        "application/x-ndjson",
        "application/vnd.amazon.eventstream",
    ];
    if streams.iter().any(|stream| named.starts_with(stream)) {
        Form::EventStream
    } else if named.starts_with("text/html") {
        Form::Page
    } else if named.starts_with("application/json") {
        Form::Json
    } else {
        Form::Unsaid
    }
}

async fn first_content(translation: Translation<'_>, reply: Reply) -> Result<WonAnswer, Failed> {
    let Reply {
        status,
        fields,
        mut body,
        ..
    } = reply;
    if !status.is_success() {
        let told = body.collect(LARGEST_ERROR).await.unwrap_or_default();
        let text: &[u8] = if form(&fields) == Form::Page {
            b""
        } else {
            &told
        };
        let error = translation.error(status.as_u16(), text);
        let wait = pushback(&fields, error.retry_in, SystemTime::now()).wait;
        return Err(from_provider(error, wait));
    }
    let mut form = form(&fields);
    if translation.request.operation != Operation::Chat {
        match kind(translation, form, &fields, &body) {
            Kind::Usual => {}
            Kind::Raw => return first_event(translation, body).await,
            Kind::Whole => {
                let body = body.collect(LARGEST_ANSWER).await?;
                return Ok(guarded(translation, translation.whole(body)?).await);
            }
        }
    }
    let streams = translation.request.shape.mode == Mode::Stream;
    if streams && translation.is_in_lines() && matches!(form, Form::Json | Form::Unsaid) {
        // Each event begins as a whole answer does, and a whole answer is an event.
        form = Form::EventStream;
    } else if form == Form::Unsaid {
        // Neither name was used: the body itself says what it is.
        let json = body
            .first_byte()
            .await?
            .is_none_or(|byte| byte == b'{' || byte == b'[');
        form = if json { Form::Json } else { Form::EventStream };
    }
    match (translation.request.shape.mode, form) {
        // A login page is no answer, whatever its status (fault P16).
        (_, Form::Page) => Err(Failed::plain(AttemptOutcome::BadBody)),
        (Mode::Whole, Form::Json | Form::Unsaid) => {
            let body = body.collect(LARGEST_ANSWER).await?;
            Ok(guarded(translation, translation.whole(body)?).await)
        }
        (Mode::Whole, Form::EventStream) => {
            let body = body.collect(LARGEST_ANSWER).await?;
            Ok(guarded(translation, translation.whole_from_stream(&body)?).await)
        }
        (Mode::Stream, Form::Json | Form::Unsaid) => {
            streamed(translation, &body.collect(LARGEST_ANSWER).await?)
        }
        (Mode::Stream, Form::EventStream) => first_event(translation, body).await,
    }
}

/// How an answer to an operation beside conversations is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As any other: JSON or events.
    Usual,
    /// Bytes that are passed on as they come.
    Raw,
    /// In one piece, whatever was asked for: models that cannot stream answer so, and a text is as it is.
    Whole,
}

fn kind(translation: Translation<'_>, form: Form, fields: &Fields, body: &ReplyBody) -> Kind {
    let (operation, peek) = (translation.request.operation, &translation.request.peek);
    let streams = translation.request.shape.mode == Mode::Stream;
    match form {
        Form::Page | Form::EventStream => Kind::Usual,
        Form::Unsaid if operation == Operation::Speech && !peek.stream => {
            let kind = fields.text("content-type").unwrap_or_default();
            // Nothing but the transport says where speech ends, and words are none.
            if body.is_delimited() && !kind.starts_with("text/") {
                Kind::Raw
            } else {
                Kind::Whole
            }
        }
        Form::Json | Form::Unsaid if peek.plain_text || streams && !operation.writes() => {
            Kind::Whole
        }
        Form::Json | Form::Unsaid => Kind::Usual,
    }
}

/// What an answer that is neither JSON nor events says it is, as far as a client is told: nothing that a browser
/// would run.
fn kept_type(translation: Translation<'_>, fields: &Fields) -> Option<HeaderValue> {
    let (operation, peek) = (translation.request.operation, &translation.request.peek);
    let usual = if operation == Operation::Speech && !peek.stream {
        "application/octet-stream"
    } else if peek.plain_text {
        "text/plain; charset=utf-8"
    } else {
        return None;
    };
    const KEPT: [&str; 6] = [
        "audio/",
        "text/plain",
        "text/vtt",
        "application/x-subrip",
        "application/octet-stream",
        "application/json",
    ];
    let told = fields.text("content-type").unwrap_or_default();
    let told = told.to_ascii_lowercase();
    let kept = KEPT.iter().any(|kept| told.starts_with(kept));
    let told = kept.then(|| HeaderValue::from_str(&told).ok()).flatten();
    Some(told.unwrap_or(HeaderValue::from_static(usual)))
}

/// A whole answer as the stream that was asked for.
#[expect(clippy::result_large_err, reason = "moved once, on the rare path")]
fn streamed(translation: Translation<'_>, body: &Bytes) -> Result<WonAnswer, Failed> {
    let (held, facts) = translation.stream_from_whole(body)?;
    let Sifted { out: held, record } = translation.sifted(held, &facts)?;
    Ok(WonAnswer::Complete {
        held,
        facts,
        record,
    })
}

/// The answer as the guard lets it out.
async fn guarded(translation: Translation<'_>, whole: Whole) -> WonAnswer {
    let Some(guard) = &translation.request.guarded else {
        return WonAnswer::Whole(whole);
    };
    let written = if translation.request.peek.plain_text {
        Written::Text
    } else {
        Written::Json(translation.request.speaks)
    };
    match guard.answer(written, whole.body).await {
        Ok(Seen { body, record }) => WonAnswer::Whole(Whole {
            body,
            record,
            ..whole
        }),
        Err(failure) => WonAnswer::Refused {
            failure,
            facts: whole.facts,
        },
    }
}

/// Reads a stream until it shows content. What comes before is held, because until then another provider
/// may still take over (ground rule G1).
async fn first_event(
    translation: Translation<'_>,
    mut body: ReplyBody,
) -> Result<WonAnswer, Failed> {
    let mut relay = translation.relay();
    let mut held = BytesMut::new();
    loop {
        match body.piece().await {
            Some(piece) => {
                relay.feed(&piece?, &mut held)?;
                if held.len() > MOST_HELD {
                    return Err(Failed::plain(AttemptOutcome::TooLarge));
                }
            }
            None => {
                relay.end(&mut held)?;
                // Whole without content: only a filter or a limit leaves that.
                return complete(translation, relay.as_mut(), held);
            }
        }
        let facts = relay.facts();
        if facts.content {
            return Ok(WonAnswer::Stream { body, relay, held });
        }
        if facts.terminal {
            relay.end(&mut held)?;
            return complete(translation, relay.as_mut(), held);
        }
    }
}

#[expect(clippy::result_large_err, reason = "moved once, on the rare path")]
fn complete(
    translation: Translation<'_>,
    relay: &mut dyn Relay,
    held: BytesMut,
) -> Result<WonAnswer, Failed> {
    let facts = relay.facts();
    let silent = facts.finished && facts.terminal && translation.may_say_nothing();
    if !facts.is_an_answer() && !silent {
        return Err(Failed::plain(AttemptOutcome::BadBody));
    }
    Ok(WonAnswer::Complete {
        held,
        facts: relay.facts().clone(),
        record: relay.recorded(),
    })
}

/// What a client is told when a stream breaks after its first content.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest ends as it would before the first content"
)]
pub(super) fn broken(outcome: AttemptOutcome) -> FailureKind {
    match outcome {
        AttemptOutcome::GapTimeout => FailureKind::UpstreamStalled,
        AttemptOutcome::Truncated => FailureKind::UpstreamTruncated,
        AttemptOutcome::Reset => FailureKind::UpstreamReset,
        AttemptOutcome::BadBody | AttemptOutcome::Unoffered => FailureKind::UpstreamMalformed,
        AttemptOutcome::TooLarge => FailureKind::StreamLimit,
        other => final_kind(other),
    }
}
