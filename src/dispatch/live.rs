//! A stream on its way to the client: the body owns its leg, its account and its timers.
//!
//! No task and no channel: the connection polls, and back-pressure is TCP's, through to the provider.
//! What the provider sent together leaves together.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::Dispatch;
use super::account::{Account, Ending};
use super::bill::Used;
use super::leg::{Leg, broken};
use super::story::{Finished, StoryEnd, estimate};
use crate::actors::{Clock, FailedAttempt, News};
use crate::dialects::{AnswerTerms, Encoder, Relay};
use crate::domain::{
    AttemptOutcome, ClientDialect, Failure, FailureKind, RequestId, StreamEnd, StreamFacts,
};
use crate::policy::timers::{TimerBounds, gap_limit};
use crate::upstream::ReplyBody;

/// So much is gathered before it is handed on, if it is there without waiting.
const GATHER: usize = 32 * 1024;
/// The provider may linger after its terminal event for this long (fault S15).
const LINGER: Duration = Duration::from_secs(1);

/// One piece for the client.
pub enum StreamPiece {
    Data(Bytes),
    /// The stream has ended as it should.
    End,
    /// The stream has ended with an error event; the connection is not to be used again (G2).
    Broken,
    /// The stream has ended in the middle, and nothing could be said in it: its end must not look like one.
    Cut,
}

/// A stream before or after its first content.
pub struct LiveStream {
    state: State,
}

enum State {
    /// The head went out, no content has come yet: another provider may still take over.
    Held {
        story: BoxFuture<'static, StoryEnd>,
        /// What the gateway itself has to say, in the client's form.
        voice: Voice,
        every: Duration,
        comment: Pin<Box<Sleep>>,
    },
    Live(Box<Live>),
    Ended(End),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// It says so itself.
    Told,
    Cut,
}

/// How the gateway speaks into a stream of its own.
pub(super) struct Voice {
    pub(super) request: RequestId,
    pub(super) dialect: ClientDialect,
    pub(super) keep_alive: Bytes,
}

impl LiveStream {
    pub(super) fn held(story: BoxFuture<'static, StoryEnd>, voice: Voice, every: Duration) -> Self {
        // The first comment tells the client at once that somebody is working.
        let comment = Box::pin(sleep(Duration::ZERO));
        Self {
            state: State::Held {
                story,
                voice,
                every,
                comment,
            },
        }
    }

    pub(super) fn live(live: Box<Live>) -> Self {
        Self {
            state: State::Live(live),
        }
    }

    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<StreamPiece> {
        loop {
            match &mut self.state {
                State::Ended(End::Whole) => return Poll::Ready(StreamPiece::End),
                State::Ended(End::Told) => return Poll::Ready(StreamPiece::Broken),
                State::Ended(End::Cut) => return Poll::Ready(StreamPiece::Cut),
                State::Live(live) => {
                    let Some(piece) = std::task::ready!(live.poll(cx)) else {
                        self.state = State::Ended(live.end);
                        continue;
                    };
                    return Poll::Ready(StreamPiece::Data(piece));
                }
                State::Held {
                    story,
                    voice,
                    every,
                    comment,
                } => {
                    match story.as_mut().poll(cx) {
                        Poll::Ready(Ok((Finished::Live(live), _))) => {
                            self.state = State::Live(live);
                            continue;
                        }
                        Poll::Ready(Ok((Finished::Whole(body), _))) => {
                            self.state = State::Ended(End::Whole);
                            return Poll::Ready(StreamPiece::Data(body));
                        }
                        Poll::Ready(Err((failure, _))) => {
                            let mut out = BytesMut::new();
                            let id = voice.request.text();
                            let terms = AnswerTerms {
                                request_id: id.as_str().to_owned(),
                                ..AnswerTerms::default()
                            };
                            let mut encoder = Encoder::of(voice.dialect, &terms);
                            encoder.fail(&failure, id.as_str(), &mut out);
                            self.state = State::Ended(End::Told);
                            return Poll::Ready(StreamPiece::Data(out.freeze()));
                        }
                        Poll::Pending => {}
                    }
                    std::task::ready!(comment.as_mut().poll(cx));
                    *comment = Box::pin(sleep(*every));
                    return Poll::Ready(StreamPiece::Data(voice.keep_alive.clone()));
                }
            }
        }
    }
}

/// A stream with content.
pub(super) struct Live {
    account: Account,
    leg: Leg,
    clock: Clock,
    news: Arc<News>,
    out: BytesMut,
    upstream: Option<(ReplyBody, Box<dyn Relay>)>,
    complete: Option<StreamFacts>,
    /// What goes on, as the journal keeps it; `None` where that is the same.
    record: Option<Bytes>,
    last_progress: Instant,
    gap: Duration,
    timer: Pin<Box<Sleep>>,
    last_call: Pin<Box<OwnedNotified>>,
    /// More content than this was never asked for (fault S18).
    most_content: u64,
    ended: bool,
    end: End,
}

/// What an answer that is no text may come to (fault P32).
const LARGEST_OTHER: u64 = 64 << 20;

impl Live {
    pub(super) fn new(dispatch: &Dispatch, account: Account, leg: Leg, held: BytesMut) -> Self {
        let timeouts = &account.request.published.settings.timeouts;
        let target = leg.lease.target();
        let gap = if target.provider.reasons(leg.lease.model().as_str()) {
            timeouts.gap_reasoning
        } else {
            let bounds = TimerBounds {
                least: timeouts.gap_floor,
                most: timeouts.gap,
            };
            gap_limit(
                target.endpoint.gaps.quantile(0.99, dispatch.clock.now()),
                bounds,
            )
        };
        let now = Instant::now();
        // A token is rarely longer than thirty-two bytes; runaway text is.
        let asked = account.request.peek.max_output;
        let most_content = match asked.filter(|_| account.request.operation.writes()) {
            Some(most) => {
                let choices = u64::from(account.request.peek.choices.max(1));
                (most.saturating_mul(39) + 65_536).saturating_mul(choices)
            }
            None if account.request.operation.writes() => u64::MAX,
            None => LARGEST_OTHER,
        };
        Self {
            timer: Box::pin(sleep_until((now + gap).min(account.request.deadline))),
            last_call: Box::pin(Arc::clone(&dispatch.last_call).notified_owned()),
            clock: dispatch.clock,
            news: Arc::clone(&dispatch.news),
            account,
            leg,
            out: held,
            upstream: None,
            complete: None,
            record: None,
            last_progress: now,
            gap,
            most_content,
            ended: false,
            end: End::Whole,
        }
    }

    pub(super) fn with_upstream(mut self, body: ReplyBody, relay: Box<dyn Relay>) -> Self {
        self.upstream = Some((body, relay));
        self
    }

    pub(super) fn already_complete(mut self, facts: StreamFacts, record: Option<Bytes>) -> Self {
        self.complete = Some(facts);
        self.record = record;
        self
    }

    /// The next bytes for the client; `None` at the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.ended && self.out.len() < GATHER {
            match self.poll_upstream(cx) {
                Poll::Ready(()) => {}
                Poll::Pending => {
                    if self.out.is_empty() {
                        std::task::ready!(self.poll_timers(cx));
                    }
                    break;
                }
            }
        }
        if !self.out.is_empty() {
            let piece = self.out.split().freeze();
            if !self.ended {
                let recorded = self
                    .upstream
                    .as_mut()
                    .and_then(|(_, relay)| relay.recorded());
                self.account.answered(recorded.as_ref().unwrap_or(&piece));
            }
            return Poll::Ready(Some(piece));
        }
        if self.ended {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((body, relay)) = &mut self.upstream else {
            let facts = self.complete.take().unwrap_or_default();
            self.finish(StreamEnd::Unclean, &facts);
            return Poll::Ready(());
        };
        if relay.facts().terminal {
            // It came together with the first content.
            self.end_of_stream(false);
            return Poll::Ready(());
        }
        match std::task::ready!(body.poll_piece(cx)) {
            Some(Ok(piece)) => {
                let now = Instant::now();
                let gap = now.duration_since(self.last_progress);
                self.last_progress = now;
                let fed = relay.feed(&piece, &mut self.out);
                let facts = relay.facts();
                if let Err(fault) = fed {
                    let kind = fault.failure_kind();
                    self.fail(fault.outcome(), kind);
                } else if facts.content_bytes > self.most_content {
                    self.fail(AttemptOutcome::TooLarge, FailureKind::StreamLimit);
                } else if facts.terminal {
                    self.end_of_stream(false);
                } else if gap > Duration::from_millis(1) {
                    let millis = gap.as_secs_f32() * 1_000.0;
                    self.leg
                        .lease
                        .target()
                        .endpoint
                        .gaps
                        .observe(millis, self.clock.now());
                }
            }
            // Whole by rule G3: what broke behind the last choice's end takes nothing away.
            Some(Err(_)) if relay.facts().finished => self.end_of_stream(true),
            Some(Err(error)) => self.fail(error.outcome, broken(error.outcome)),
            None => self.end_of_stream(true),
        }
        Poll::Ready(())
    }

    /// The provider's body or protocol has ended: whole, or cut?
    fn end_of_stream(&mut self, body_is_over: bool) {
        let Some((body, mut relay)) = self.upstream.take() else {
            return;
        };
        match relay.end(&mut self.out) {
            Ok(end) => {
                self.record = relay.recorded();
                // What a rule has ended is not read to its end (fault S21).
                if !body_is_over && end != StreamEnd::Blocked {
                    linger(body);
                }
                self.finish(end, relay.facts());
            }
            Err(fault) => {
                self.upstream = Some((body, relay));
                self.fail(fault.outcome(), fault.failure_kind());
            }
        }
    }

    fn finish(&mut self, end: StreamEnd, facts: &StreamFacts) {
        self.ended = true;
        let used = Used::of(facts.usage, || {
            estimate(&self.account.request, facts.content_bytes)
        });
        self.account.used(used);
        self.account.upstream_took(self.leg.started.elapsed());
        let target = self.leg.lease.target();
        target.endpoint.metrics.quirks(facts.quirks);
        self.leg.succeeded(used, self.clock.now());
        // What has not been handed on yet still will be.
        self.account
            .answered(self.record.as_deref().unwrap_or(&self.out));
        self.account.close(Ending::Answered);
        self.news.metrics.stream_ended(match end {
            StreamEnd::Clean => "ok",
            StreamEnd::Unclean => "unclean",
            StreamEnd::Blocked => "blocked",
        });
    }

    /// Ends the stream with one honest event (ground rule G2).
    fn fail(&mut self, outcome: AttemptOutcome, kind: FailureKind) {
        self.ended = true;
        let failure = Failure::new(kind, stream_words(kind));
        let id = self.account.request.id.text();
        let mut content_bytes = 0;
        let mut reported = None;
        self.end = End::Cut;
        if let Some((_, mut relay)) = self.upstream.take() {
            let before = self.out.len();
            relay.fail(&failure, id.as_str(), &mut self.out);
            if self.out.len() > before {
                self.end = End::Told;
            }
            self.record = relay.recorded();
            content_bytes = relay.facts().content_bytes;
            reported = relay.facts().usage;
        }
        // What was streamed is paid for, broken or not.
        let used = Used::of(reported, || estimate(&self.account.request, content_bytes));
        self.account.used(used);
        self.account.upstream_took(self.leg.started.elapsed());
        self.leg.failed(FailedAttempt::plain(outcome), Some(used));
        self.account
            .answered(self.record.as_deref().unwrap_or(&self.out));
        self.account.close(Ending::Failed(kind));
        self.news.metrics.stream_ended(how(kind));
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.last_call.as_mut().poll(cx).is_ready() {
            self.fail(AttemptOutcome::Cancelled, FailureKind::ShuttingDown);
            return Poll::Ready(());
        }
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            // Set lazily: progress since then moves the moment on.
            let now = Instant::now();
            let patience_ends = self.last_progress + self.gap;
            let deadline = self.account.request.deadline;
            let due = patience_ends.min(deadline);
            if due > now {
                self.timer.as_mut().reset(due);
                continue;
            }
            let finished = self
                .upstream
                .as_ref()
                .is_some_and(|(_, relay)| relay.facts().finished);
            if finished {
                // Whole by rule G3, though the provider never says so.
                self.end_of_stream(true);
            } else if patience_ends <= now {
                self.fail(AttemptOutcome::GapTimeout, FailureKind::UpstreamStalled);
            } else {
                self.fail(AttemptOutcome::Deadline, FailureKind::DeadlineExceeded);
            }
            return Poll::Ready(());
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The client left: what it received is settled (fault L01). The leg and the account do the rest.
        let facts = self.upstream.as_ref().map(|(_, relay)| relay.facts());
        let reported = facts.and_then(|facts| facts.usage);
        let content = facts.map_or(0, |facts| facts.content_bytes);
        let used = Used::of(reported, || estimate(&self.account.request, content));
        self.account.used(used);
        self.account.upstream_took(self.leg.started.elapsed());
        self.leg
            .failed(FailedAttempt::plain(AttemptOutcome::Cancelled), Some(used));
        self.account.close(Ending::Left);
        self.news.metrics.stream_ended("left");
    }
}

/// Reads a finished stream's connection to its end, so that it can be used again; one that will not end
/// is closed.
fn linger(mut body: ReplyBody) {
    // Most often the end came with the terminal event.
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match body.poll_piece(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(_) => return,
            Poll::Pending => break,
        }
    }
    tokio::spawn(async move {
        let _ = tokio::time::timeout(LINGER, async { while body.piece().await.is_some() {} }).await;
    });
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these end a stream in a way of their own"
)]
fn how(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::UpstreamStalled => "stalled",
        FailureKind::UpstreamReset => "reset",
        FailureKind::UpstreamTruncated => "truncated",
        FailureKind::UpstreamMalformed => "malformed",
        FailureKind::AnswerUntranslatable => "untranslatable",
        FailureKind::StreamLimit | FailureKind::UpstreamTooLarge => "limit",
        FailureKind::ShuttingDown => "shutdown",
        FailureKind::DeadlineExceeded => "deadline",
        _ => "error",
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these end a stream in a way of their own"
)]
pub(super) fn stream_words(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::UpstreamStalled => {
            "the provider stopped answering; the text so far is not whole"
        }
        FailureKind::UpstreamReset => {
            "the provider cut the connection; the text so far is not whole"
        }
        FailureKind::UpstreamTruncated => "the provider's stream ended before the answer was whole",
        FailureKind::UpstreamMalformed => {
            "the provider sent something that is no part of an answer; the text so far is not whole"
        }
        FailureKind::AnswerUntranslatable => {
            "the rest of the answer cannot be said in the form you ask in; ask in the provider's own"
        }
        FailureKind::StreamLimit | FailureKind::UpstreamTooLarge => {
            "the provider sent more than was asked for; the stream was stopped"
        }
        FailureKind::PolicyUnavailable => {
            "the guard cannot tell what the answer holds, and nothing goes on that it has not seen"
        }
        FailureKind::ContentBlocked => {
            "the answer is not of the form that was asked for, which a rule of this gateway demands"
        }
        FailureKind::ShuttingDown => "the gateway is shutting down; the text so far is not whole",
        FailureKind::DeadlineExceeded => {
            "the time allowed for this request is over; the text so far is not whole"
        }
        _ => "the provider reported an error; the text so far is not whole",
    }
}
