//! The loop: place, attempt, and after a failure decide where to go next.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, select};
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;
use tokio::time::{Instant, sleep};

use super::Dispatch;
use super::account::{Account, Ending, RaceResult};
use super::bill::Used;
use super::leg::{LegPlace, Lost, Won, WonAnswer};
use super::live::{Live, LiveStream, Voice};
use super::next::{
    AfterFailure, AttemptFailure, Circumstances, after_failure, again, gave_up, refused,
};
use super::once::Reader;
use super::request::{RaceMark, Request};
use super::residency::kept_inside;
use super::told::{in_answer, in_stream, in_whole_stream};
use crate::actors::{
    Again, AskError, Lease, Patience, PoolEntry, Purpose, RaceMessage, Refusal, RefusalKind,
    RouterMessage, Target, Tried, Wish,
};
use crate::config::RaceMode;
use crate::dialects::keep_alive;
use crate::dialects::openai::ToldCost;
use crate::domain::{AttemptOutcome, Failure, FailureKind, Mode, RetryRule, Tokens, Usage};
use crate::policy::ledger::Admitted;
use crate::policy::retry::{RetryTerms, backoff};

/// What the edge tells about a request besides its answer.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub attempts: u32,
    pub failovers: u32,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub served_model: Option<String>,
    pub race: Option<RaceResult>,
    pub dropped: Vec<std::borrow::Cow<'static, str>>,
    /// What it cost, where that is known when the head goes out.
    pub cost: Option<ToldCost>,
    /// What is left of the client's own limits.
    pub limits: Admitted,
    /// What the guard found in the prompt.
    pub guard: Option<String>,
    /// What of the provider's headers may pass.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// How a request was served.
pub enum Served {
    Whole {
        body: Bytes,
        told: Told,
    },
    /// With what was known when the head had to go out.
    Stream {
        stream: Box<LiveStream>,
        told: Told,
    },
    /// Made by somebody else: read as it comes.
    Followed {
        reader: Reader,
        told: Told,
    },
    Failed {
        failure: Failure,
        told: Told,
    },
}

/// What a story's future resolves to.
pub(super) type StoryEnd = Result<(Finished, Told), (Failure, Told)>;

pub(super) enum Finished {
    Whole(Bytes),
    Live(Box<Live>),
}

/// A question to the actors is answered within this, or something is very wrong.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// A second leg beside the first, at once or after a while.
struct SecondLeg {
    dual: bool,
    wait: Duration,
}

/// Whether a request has one.
fn second_leg(entry: &PoolEntry, request: &Request) -> Option<SecondLeg> {
    let dual = match (entry.settings.race, request.race) {
        (RaceMode::Never, _) | (_, RaceMark::Off) => false,
        (RaceMode::Always, _) | (RaceMode::Marked, RaceMark::Dual) => true,
        (RaceMode::Marked, RaceMark::None) => false,
    };
    let hedge = || {
        let after = entry.cell.hedge_after(request.shape);
        after.filter(|_| request.race != RaceMark::Off)
    };
    let wait = if dual { Some(Duration::ZERO) } else { hedge() };
    wait.map(|wait| SecondLeg { dual, wait })
}

impl Dispatch {
    /// Serves one request. A stream's head is held until its first content, but not for ever.
    pub async fn serve(self: &Arc<Self>, request: Arc<Request>) -> Served {
        let hold = request.published.settings.timeouts.hold_head;
        let mode = request.shape.mode;
        let every = request.published.settings.timeouts.keep_alive;
        // Without a word to say in between, a head is worth less than an honest status.
        let said = match mode {
            Mode::Whole => None,
            // What is no text has no comments either.
            Mode::Stream if !request.operation.writes() => None,
            Mode::Stream => keep_alive(request.speaks),
        };
        let Some(said) = said else {
            // Apart: it is large, and what holds it is moved more than once on its way to where it runs.
            return match Box::pin(self.story(request)).await {
                Ok((Finished::Whole(body), told)) => Served::Whole { body, told },
                Ok((Finished::Live(live), told)) => Served::Stream {
                    stream: Box::new(LiveStream::live(live)),
                    told,
                },
                Err((failure, told)) => Served::Failed { failure, told },
            };
        };
        let voice = Voice {
            request: request.id,
            dialect: request.speaks,
            keep_alive: said,
        };
        let dispatch = Arc::clone(self);
        let guard = note_of(&request);
        let mut story: BoxFuture<'static, StoryEnd> =
            Box::pin(async move { dispatch.story(request).await });
        let ended = match select(&mut story, pin!(sleep(hold))).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => {
                let stream = Box::new(LiveStream::held(story, voice, every));
                return Served::Stream {
                    stream,
                    told: Told {
                        guard,
                        ..Told::default()
                    },
                };
            }
        };
        match ended {
            Ok((Finished::Live(live), told)) => Served::Stream {
                stream: Box::new(LiveStream::live(live)),
                told,
            },
            Ok((Finished::Whole(body), told)) => Served::Whole { body, told },
            Err((failure, told)) => Served::Failed { failure, told },
        }
    }

    async fn story(self: &Arc<Self>, request: Arc<Request>) -> StoryEnd {
        let mut account = Account::open(Arc::clone(&request), (&self.news, &self.tables));
        let ended = {
            let attempts = pin!(self.attempts(&request, &mut account));
            let last_call = pin!(self.last_call.notified());
            match select(attempts, last_call).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => Err(shutting_down()),
            }
        };
        match ended {
            Ok(won) => self.settle(account, won),
            Err(failure) => {
                if let Some((body, told)) = self.count_instead(&mut account, &failure) {
                    return Ok((Finished::Whole(body), told));
                }
                account.close(Ending::Failed(failure.kind));
                Err((failure, told(&account, Vec::new(), Vec::new())))
            }
        }
    }

    async fn attempts(
        &self,
        request: &Arc<Request>,
        account: &mut Account,
    ) -> Result<Won, Failure> {
        let now = self.clock.now();
        if !self.poison.is_quiet(now)
            && let Some(left) = self.poison.refused_for(request.fingerprint(), now)
        {
            let poison = AttemptFailure::plain(AttemptOutcome::Poison);
            return Err(gave_up(&poison, 0).retry_after(left));
        }
        account.charge = self.admit(request).await?;
        account.begins();
        // On its way to the disk while the request is placed; awaited before the first send (G8).
        let (taken, intent) = self.journal().before_sending(&account.intent());
        if taken {
            account.keep_texts();
        } else {
            account.has_no_intent();
        }
        let mut intent = Some(intent);
        let mut search = Search::new(request, &self.clock);
        if let Some(pool) = request.route.chain.first() {
            pool.cell.retries.request(now);
        }
        loop {
            let lease = self.place(request, &mut search).await?;
            if let Some(intent) = intent.take() {
                match intent.await {
                    Ok(true) => {}
                    Ok(false) => account.lost_its_intent(),
                    Err(_) => return Err(audit_unavailable()),
                }
            }
            // What failed attempts cost is spent; what comes now needs its own.
            self.cover(request, account.charge.as_mut(), 1).await?;
            let started = Instant::now();
            let ended = self.race(request, &mut search, lease, account).await;
            account.upstream_took(started.elapsed());
            let lost = match ended {
                Ok(won) => return Ok(won),
                Err(lost) => lost,
            };
            self.learn(request, account, &mut search, &lost)?;
            drop(lost);
            if search.must_pause {
                let left = request.deadline.saturating_duration_since(Instant::now());
                // A pause that uses up the rest would leave no time for the attempt it is for.
                sleep(backoff(account.attempts, self.draw()).min(left / 2)).await;
            }
        }
    }

    fn draw(&self) -> f64 {
        fastrand::f64()
    }

    /// Finds a target: along the chain without waiting first, then in the line that promises most.
    async fn place(&self, request: &Request, search: &mut Search) -> Result<Lease, Failure> {
        loop {
            let refusal = match self.ask(request, search).await {
                Ok(lease) => return Ok(lease),
                Err(refusal) => refusal,
            };
            search.refused(request, refusal)?;
        }
    }

    async fn ask(&self, request: &Request, search: &Search) -> Result<Lease, Refusal> {
        let wish = Arc::new(search.wish(request, Purpose::Attempt));
        let patience = match search.patience {
            Patience::None => ASK_LIMIT,
            Patience::Queue => request.deadline.saturating_duration_since(Instant::now()),
        };
        let limit = (Instant::now() + patience).min(request.deadline);
        let asked = self
            .router
            .ask(limit, |reply| RouterMessage::Place {
                wish: Arc::clone(&wish),
                reply,
            })
            .await;
        asked.unwrap_or_else(|error| {
            let why = match error {
                AskError::Late => RefusalKind::Deadline,
                AskError::Full => RefusalKind::QueueFull,
                AskError::Away => RefusalKind::Busy,
            };
            Err(Refusal {
                why,
                retry_after: Some(Duration::from_secs(1)),
            })
        })
    }

    /// Draws the lesson of a failed attempt: where to go next, or what to tell the client.
    fn learn(
        &self,
        request: &Request,
        account: &mut Account,
        search: &mut Search,
        lost: &Lost,
    ) -> Result<(), Failure> {
        let failure = &lost.failure;
        let now = self.clock.now();
        search.met(lost, now);
        let settings = &request.published.settings.failover;
        let terms = RetryTerms {
            share: settings.retry_share,
            reserve_per_s: settings.retry_reserve_per_s,
        };
        let most = request.max_attempts;
        let attempts_left = account.attempts < most;
        let circumstances = Circumstances {
            attempts: account.attempts,
            max_attempts: most,
            left: request.deadline.saturating_duration_since(Instant::now()),
            // What no other target would take back must not use up what others need.
            budget: attempts_left
                && !request
                    .route
                    .chain
                    .iter()
                    .all(|pool| pool.cell.throttle.is_hopeless(now))
                && failure.outcome.retry() == RetryRule::Elsewhere
                // No provider was reached, so going elsewhere amplifies nothing.
                && (matches!(failure.outcome, AttemptOutcome::Egress | AttemptOutcome::Token)
                    || lost.leg.lease.target().pool.retries.try_spend(terms, now)),
            well_endpoints_failed: search.broken.iter().filter(|(_, well)| *well).count(),
        };
        match after_failure(failure, &circumstances) {
            AfterFailure::Elsewhere => {}
            AfterFailure::WiderContext => {
                let known = lost.leg.lease.target().context_window;
                search.wider_than = search.wider_than.max(known.or(Some(Tokens(0))));
                search.last = Some(failure.clone());
                account.failed_over(failure.outcome);
                return Ok(());
            }
            AfterFailure::Poison => {
                self.poison.mark(request.fingerprint(), now);
                for (target, _) in &search.broken {
                    target.endpoint.health.take_back(1, now);
                }
                let poison = AttemptFailure::plain(AttemptOutcome::Poison);
                return Err(gave_up(&poison, account.attempts));
            }
            AfterFailure::GiveUp => {
                let nobody = Refusal {
                    why: RefusalKind::Exhausted,
                    retry_after: failure.pushback,
                };
                let inside = kept_inside(request, Some(failure), &nobody);
                return Err(inside.unwrap_or_else(|| gave_up(failure, account.attempts)));
            }
        }
        search.last = Some(failure.clone());
        account.failed_over(failure.outcome);
        Ok(())
    }

    // --- races ---

    #[expect(
        clippy::too_many_lines,
        reason = "the course of a race, start to finish"
    )]
    async fn race(
        &self,
        request: &Arc<Request>,
        search: &mut Search,
        lease: Lease,
        account: &mut Account,
    ) -> Result<Won, Lost> {
        let entry = search.entry(request);
        let number = account.attempt_begins();
        if number == 1 {
            request.placed.notify_one();
        }
        let under_way = Tried {
            again: Again::Never,
            ..address(lease.target(), AttemptOutcome::Ok)
        };
        let place = LegPlace {
            number,
            second: false,
        };
        // A second leg is an attempt like any other.
        let entry = entry.filter(|_| account.attempts < request.max_attempts);
        let second = entry.and_then(|entry| Some((entry, second_leg(entry, request)?)));
        // Apart: two legs are large, and whoever has one alone need carry no room for them.
        let Some((entry, SecondLeg { dual, wait })) = second else {
            return self.run_leg(request, lease, place).await;
        };
        Box::pin(async move {
            let first = Box::pin(self.run_leg(request, lease, place));
            let first = if wait.is_zero() {
                first
            } else {
                match select(first, pin!(sleep(wait))).await {
                    Either::Left((ended, _)) => return ended,
                    Either::Right(((), first)) => first,
                }
            };
            let mut wish = search.wish(request, Purpose::SecondLeg);
            wish.tried.push(under_way);
            let (first, lease) = {
                let second = pin!(async {
                    let lease = self.second_lease(request, wish, entry, dual).await?;
                    // Paid for as well, or the first goes on alone.
                    let covered = self.cover(request, account.charge.as_mut(), 2).await;
                    covered.ok().map(|()| lease)
                });
                match select(first, second).await {
                    Either::Left((ended, _)) => return ended,
                    Either::Right((Some(lease), first)) => (first, lease),
                    Either::Right((None, first)) => return first.await,
                }
            };
            let number = account.attempt_begins();
            let second = Box::pin(self.run_leg(
                request,
                lease,
                LegPlace {
                    number,
                    second: true,
                },
            ));
            // The first content wins; the other leg is dropped, which cancels and settles it.
            let (won, result) = match select(first, second).await {
                Either::Left((Ok(won), loser)) => {
                    drop(loser);
                    (Ok(won), RaceResult::FirstWon)
                }
                Either::Right((Ok(won), loser)) => {
                    drop(loser);
                    (Ok(won), RaceResult::SecondWon)
                }
                // What the first to fail teaches must not be lost with it.
                Either::Left((Err(lost), second)) => {
                    search.met(&lost, self.clock.now());
                    drop(lost);
                    (second.await, RaceResult::Alone)
                }
                Either::Right((Err(lost), first)) => {
                    search.met(&lost, self.clock.now());
                    drop(lost);
                    (first.await, RaceResult::Alone)
                }
            };
            account.raced(result);
            won
        })
        .await
    }

    /// The right to a second leg, if the race strategy grants it.
    async fn second_lease(
        &self,
        request: &Arc<Request>,
        wish: Wish,
        entry: &PoolEntry,
        dual: bool,
    ) -> Option<Lease> {
        let wish = Arc::new(wish);
        let limit = (Instant::now() + ASK_LIMIT).min(request.deadline);
        let question = |reply| {
            let wish = Arc::clone(&wish);
            if dual {
                RaceMessage::Dual { wish, reply }
            } else {
                RaceMessage::HedgeDue { wish, reply }
            }
        };
        match entry.race.ask(limit, question).await {
            Ok(Ok(lease)) => Some(lease),
            Ok(Err(refusal)) => {
                if !dual && refusal.why != RefusalKind::NoRace {
                    // Granted, but there was no target: the budget gets its tokens back.
                    entry.cell.hedges.refund(
                        request.estimate.second_leg(request.shape.mode),
                        self.clock.now(),
                    );
                }
                None
            }
            Err(_) => None,
        }
    }

    // --- the end ---

    #[expect(clippy::result_large_err, reason = "moved once a request")]
    fn settle(&self, mut account: Account, mut won: Won) -> StoryEnd {
        won.leg.won = true;
        account.request.let_go_of_the_prompt();
        account.served_by(&won.leg.lease, won.first_content);
        let Won {
            mut leg,
            headers,
            answer,
            mut dropped,
            ..
        } = won;
        match answer {
            WonAnswer::Whole(whole) => {
                dropped.extend(whole.dropped.into_iter().map(std::borrow::Cow::Borrowed));
                account.served_model = whole.facts.served_model;
                let length = whole.body.len() as u64;
                let used = Used::of(whole.facts.usage, || estimate(&account.request, length));
                account.used(used);
                leg.succeeded(used, self.clock.now());
                let told = told(&account, dropped, headers);
                account.answered(whole.record.as_ref().unwrap_or(&whole.body));
                account.close(Ending::Answered);
                let cost = told.cost.filter(|_| account.request.is_told_its_cost());
                Ok((Finished::Whole(in_answer(whole.body, cost)), told))
            }
            WonAnswer::Refused { failure, facts } => {
                // Paid for, and not shown.
                account.served_model = facts.served_model;
                let used = Used::of(facts.usage, || estimate(&account.request, 0));
                account.used(used);
                leg.succeeded(used, self.clock.now());
                let told = told(&account, dropped, headers);
                account.close(Ending::Failed(failure.kind));
                Err((failure, told))
            }
            WonAnswer::Stream { body, relay, held } => {
                account.served_model.clone_from(&relay.facts().served_model);
                let told = told_early(&account, dropped, headers);
                let (relay, held) = match account.request.is_told_its_cost() {
                    true => in_stream(relay, held, &leg.tab),
                    false => (relay, held),
                };
                let live = Live::new(self, account, leg, held).with_upstream(body, relay);
                Ok((Finished::Live(Box::new(live)), told))
            }
            WonAnswer::Complete {
                held,
                facts,
                record,
            } => {
                account.served_model.clone_from(&facts.served_model);
                let told = told_early(&account, dropped, headers);
                let held = match account.request.is_told_its_cost() {
                    true => in_whole_stream(held, facts.usage, &leg.tab),
                    false => held,
                };
                let live = Live::new(self, account, leg, held).already_complete(facts, record);
                Ok((Finished::Live(Box::new(live)), told))
            }
        }
    }
}

/// Usage counted from what was seen, when the provider did not say: never zero (ground rule G7).
pub(super) fn estimate(request: &Request, content_bytes: u64) -> Usage {
    let output = Tokens::estimated_from_bytes(usize::try_from(content_bytes).unwrap_or(usize::MAX));
    // Nobody is billed for more than was allowed, and no more than that was set aside: words are longer than the
    // estimate takes them for.
    let bounds = request.bounds();
    let most = bounds.max_output.map_or(u64::MAX, |most| {
        most.saturating_mul(u64::from(bounds.choices.max(1)))
    });
    let output = Tokens(output.0.min(most));
    Usage {
        input: request.estimate.input,
        // Vectors, pictures and speech are no words, however long they are.
        output: if request.operation.writes() {
            Tokens(output.0.max(1))
        } else {
            Tokens(0)
        },
        ..Usage::default()
    }
}

/// What is told with a stream's head: its cost is not known yet.
fn told_early(
    account: &Account,
    dropped: Vec<std::borrow::Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Told {
    Told {
        cost: None,
        ..told(account, dropped, headers)
    }
}

pub(super) fn told(
    account: &Account,
    dropped: Vec<std::borrow::Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Told {
    Told {
        attempts: account.attempts,
        failovers: account.failovers,
        provider: account
            .served_by
            .as_ref()
            .map(|served| served.provider.to_string()),
        model: account
            .served_by
            .as_ref()
            .map(|served| served.model.to_string()),
        served_model: account.served_model.clone(),
        race: account.race,
        cost: account.told_cost(),
        limits: account
            .charge
            .as_ref()
            .map(|charge| charge.told)
            .unwrap_or_default(),
        dropped,
        guard: note_of(&account.request),
        headers,
    }
}

fn note_of(request: &Request) -> Option<String> {
    let guarded = request.guarded.as_ref()?;
    guarded.note().map(str::to_owned)
}

/// What is told at the last call to a request that has not begun to be answered (fault X09).
fn shutting_down() -> Failure {
    Failure::new(
        FailureKind::ShuttingDown,
        "the gateway is shutting down; ask another instance",
    )
    .retry_after(Duration::from_secs(1))
}

pub(super) fn audit_unavailable() -> Failure {
    Failure::new(
        FailureKind::AuditUnavailable,
        "the gateway cannot write its audit journal now and accepts nothing unrecorded",
    )
    .retry_after(Duration::from_secs(1))
}

/// Where a request has been and where it may still go.
struct Search {
    step: usize,
    patience: Patience,
    deadline: crate::domain::Moment,
    tried: SmallVec<[Tried; 4]>,
    wider_than: Option<Tokens>,
    /// The egress proxy is ill: only who is reached without it may still serve.
    direct_only: bool,
    /// The whole chain has nobody new: who failed before may be met once more.
    meet_again: bool,
    /// The best reason to wait that a pool of the chain gave, and its step.
    waitable: Option<(usize, Refusal)>,
    refusal: Option<Refusal>,
    last: Option<AttemptFailure>,
    /// Targets that answered with a server error, and whether they are well otherwise.
    broken: Vec<(Arc<Target>, bool)>,
    /// The same target is all there is: do not hammer it.
    must_pause: bool,
}

impl Search {
    fn new(request: &Request, clock: &crate::actors::Clock) -> Self {
        let alone = request.route.chain.len() <= 1;
        Self {
            step: 0,
            patience: if alone {
                Patience::Queue
            } else {
                Patience::None
            },
            deadline: clock.moment(request.deadline),
            tried: SmallVec::new(),
            wider_than: None,
            direct_only: false,
            meet_again: alone,
            waitable: None,
            refusal: None,
            last: None,
            broken: Vec::new(),
            must_pause: false,
        }
    }

    fn entry<'a>(&self, request: &'a Request) -> Option<&'a Arc<PoolEntry>> {
        request.route.chain.get(self.step)
    }

    fn wish(&self, request: &Request, purpose: Purpose) -> Wish {
        let (asked, step) = request.at(self.step);
        Wish {
            request: request.id,
            routes: Arc::clone(&request.published.routes),
            asked,
            step,
            operation: request.operation,
            preference: request.preference.clone(),
            shape: request.shape,
            lane: request.lane,
            stake: request.caller.payer.stake(),
            estimate: request.estimate,
            deadline: self.deadline,
            patience: if purpose == Purpose::SecondLeg {
                Patience::None
            } else {
                self.patience
            },
            purpose,
            tried: self.tried.clone(),
            meet_again: self.meet_again,
            wider_than: self.wider_than,
            direct_only: self.direct_only,
            demand: request.demand.clone(),
            bounds: request.bounds(),
        }
    }

    /// A pool refused: the next one of the chain, then the best line, then those who failed before, then the
    /// end.
    fn refused(&mut self, request: &Request, refusal: Refusal) -> Result<(), Failure> {
        if refusal.why.may_wait() && self.patience == Patience::None && self.waitable.is_none() {
            self.waitable = Some((self.step, refusal.clone()));
        }
        let better = self
            .refusal
            .as_ref()
            .is_none_or(|so_far| so_far.why.says_little());
        if better {
            self.refusal = Some(refusal);
        }
        if self.patience == Patience::None && self.step + 1 < request.route.chain.len() {
            self.step += 1;
            return Ok(());
        }
        if let Some((step, _)) = self.waitable.take() {
            self.step = step;
            self.patience = Patience::Queue;
            return Ok(());
        }
        let may_be_met =
            |tried: &Tried| matches!(tried.again, Again::LastResort | Again::SameKeyLater);
        if !self.meet_again && self.tried.iter().any(may_be_met) {
            (self.meet_again, self.step, self.patience) = (true, 0, Patience::None);
            return Ok(());
        }
        Err(self.give_up(request))
    }

    fn give_up(&self, request: &Request) -> Failure {
        let nobody = Refusal {
            why: RefusalKind::Unhealthy,
            retry_after: Some(Duration::from_secs(1)),
        };
        let refusal = self.refusal.as_ref().unwrap_or(&nobody);
        if let Some(told) = kept_inside(request, self.last.as_ref(), refusal) {
            return told;
        }
        match &self.last {
            // Having tried says more than having found nobody left to try.
            Some(failure) => {
                let mut told =
                    gave_up(failure, u32::try_from(self.tried.len()).unwrap_or(u32::MAX));
                told.retry_after = told
                    .retry_after
                    .max(refusal.retry_after.filter(|_| told.status() == 429));
                told
            }
            None => refused(refusal, &request.asked),
        }
    }

    fn met(&mut self, lost: &Lost, now: crate::domain::Moment) {
        let target = lost.leg.lease.target();
        let tried = address(target, lost.failure.outcome);
        self.direct_only |= lost.failure.avoid_proxy;
        self.must_pause = self
            .tried
            .iter()
            .any(|before| before.endpoint == tried.endpoint && before.key == tried.key);
        self.tried
            .retain(|before| before.endpoint != tried.endpoint || before.key != tried.key);
        self.tried.push(tried);
        if lost.failure.outcome == AttemptOutcome::ServerError {
            let well = target.endpoint.health.snapshot(now).is_well();
            let known = self
                .broken
                .iter()
                .any(|(other, _)| Arc::ptr_eq(&other.endpoint, &target.endpoint));
            if !known {
                self.broken.push((Arc::clone(target), well));
            }
        }
    }
}

fn address(target: &Target, outcome: AttemptOutcome) -> Tried {
    Tried {
        endpoint: Arc::as_ptr(&target.endpoint) as usize,
        key: Arc::as_ptr(&target.key) as usize,
        again: again(outcome, target.provider.dialect),
    }
}
