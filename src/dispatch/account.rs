//! The account of one request: outcome, usage and metrics, written exactly once.
//!
//! A client that leaves drops the future that served it. Accounting must not be lost with it (ground
//! rule G13): the account's `Drop` hands the outcome to the journal, which outlives every request.

use std::sync::Arc;
use std::time::Duration;

use super::bill::{Charge, Used, most_of, tell_spent};
use super::request::Request;
use crate::actors::{Lease, News, Tables, wall};
use crate::dialects::openai::ToldCost;
use crate::domain::{AttemptOutcome, Border, FailureKind, ModelName, NanoUsd, ProviderName, Usage};
use crate::policy::ledger::Settled;
use crate::pricing::Due;
use crate::store::journal::{IntentRecord, OutcomeRecord, Record, Who};
use crate::telemetry::metrics::RequestStory;

/// How a request ended, for journal and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Answered,
    Failed(FailureKind),
    /// The client left before the end.
    Left,
}

/// How two legs ended, when there were two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaceResult {
    FirstWon,
    SecondWon,
    /// One failed, the other carried on alone.
    Alone,
}

impl RaceResult {
    pub fn label(self) -> &'static str {
        match self {
            Self::FirstWon => "first",
            Self::SecondWon => "second",
            Self::Alone => "alone",
        }
    }
}

pub(super) struct Account {
    pub(super) request: Arc<Request>,
    news: Arc<News>,
    tables: Arc<Tables>,
    pub(super) attempts: u32,
    pub(super) failovers: u32,
    /// Time spent waiting for providers; what is left of the total is ours.
    upstream: Duration,
    pub(super) served_by: Option<ServedBy>,
    usage: Option<Usage>,
    estimated: bool,
    first_content: Option<Duration>,
    pub(super) served_model: Option<String>,
    pub(super) race: Option<RaceResult>,
    /// What its tenant holds for it; `None` for those who have no limits to keep.
    pub(super) charge: Option<Charge>,
    /// What the client gets to read, as far as it is kept; `None` unless it is to be.
    answer: Option<Kept>,
    /// No intent stands in the journal, so no outcome may.
    unrecorded: bool,
    /// Its intent was taken, and does not stand.
    lost: bool,
    written: bool,
}

/// The beginning of a text, and how long it was.
#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    limit: usize,
    whole: u64,
}

impl Kept {
    fn add(&mut self, more: &[u8]) {
        let room = self.limit.saturating_sub(self.text.len()).min(more.len());
        self.text
            .extend_from_slice(more.get(..room).unwrap_or_default());
        self.whole = self.whole.saturating_add(more.len() as u64);
    }
}

#[derive(Clone, Debug)]
pub(super) struct ServedBy {
    pub(super) provider: ProviderName,
    pub(super) model: ModelName,
}

impl Account {
    pub(super) fn open(request: Arc<Request>, (news, tables): (&Arc<News>, &Arc<Tables>)) -> Self {
        Self {
            news: Arc::clone(news),
            tables: Arc::clone(tables),
            request,
            attempts: 0,
            failovers: 0,
            upstream: Duration::ZERO,
            served_by: None,
            usage: None,
            estimated: false,
            first_content: None,
            served_model: None,
            race: None,
            charge: None,
            answer: None,
            unrecorded: false,
            lost: false,
            // Until an intent stands there is nothing to account for.
            written: true,
        }
    }

    pub(super) fn intent(&self) -> Record<'_> {
        let request = &self.request;
        let tenant = &request.caller.payer.tenant;
        let reserved = self.charge.as_ref().and_then(Charge::held);
        // Who has nothing to keep is billed all the same, and a kill must not make it nothing.
        let most = match self.charge {
            None => most_of(request),
            Some(_) => None,
        };
        Record::Intent(IntentRecord {
            request: request.id,
            who: self.who(),
            asked: &request.asked,
            lane: request.lane,
            stream: request.peek.stream,
            input_estimate: request.estimate.input,
            max_output: request.estimate.output,
            config_version: request.published.settings.version,
            prompt_hash: self.news.journal.prompt_hash(tenant, &request.body()),
            reserved_nano: reserved.map(|most| most.charged.0),
            reserved_bill_nano: reserved.map(|most| most.billed.0),
            most_nano: most.map(|most| most.charged.0),
            most_bill_nano: most.map(|most| most.billed.0),
            price: None,
            region: request.demand.as_ref().and_then(|demand| demand.region()),
            policy: request.demand.as_ref().map_or(&[], |demand| demand.words()),
        })
    }

    /// Keeps the prompt, and the answer when it comes, for a client that wants it.
    pub(super) fn keep_texts(&mut self) {
        let Some(limit) = self.request.caller.text_limit(&self.news.journal) else {
            return;
        };
        let kept = |limit| Kept {
            limit,
            ..Kept::default()
        };
        let mut prompt = kept(limit);
        prompt.add(&self.request.body());
        self.keep("prompt", &prompt);
        self.answer = Some(kept(limit));
    }

    /// What goes to the client.
    pub(super) fn answered(&mut self, piece: &[u8]) {
        if let Some(answer) = &mut self.answer {
            answer.add(piece);
        }
    }

    fn keep(&self, part: &str, kept: &Kept) {
        let text = (kept.text.as_slice(), kept.whole);
        self.news
            .journal
            .keep_text(self.request.id, &self.who(), part, text);
    }

    fn who(&self) -> Who<'_> {
        Who {
            client: self.request.caller.client.as_str(),
            tenant: Some(&self.request.caller.payer.tenant),
            team: self.request.caller.payer.team.as_deref(),
            user: self.request.caller.user.as_deref(),
            tags: &self.request.caller.tags,
        }
    }

    /// The journal did not take the intent.
    pub(super) fn has_no_intent(&mut self) {
        self.unrecorded = true;
    }

    /// The journal took the intent and lost it: an outcome is handed in, so that it forgets it, and stands nowhere.
    pub(super) fn lost_its_intent(&mut self) {
        self.lost = true;
    }

    /// From here on it has an outcome, however it ends.
    pub(super) fn begins(&mut self) {
        self.written = false;
    }

    /// Whether it was let in, and has not ended.
    pub(super) fn has_begun(&self) -> bool {
        !self.written
    }

    /// Counted when the attempt is about to be sent: the headers name the number of tries, not of failures.
    pub(super) fn attempt_begins(&mut self) -> u32 {
        self.attempts += 1;
        self.attempts
    }

    pub(super) fn failed_over(&mut self, from: AttemptOutcome) {
        self.failovers += 1;
        self.news.metrics.failover(from);
    }

    pub(super) fn upstream_took(&mut self, time: Duration) {
        self.upstream += time;
    }

    pub(super) fn raced(&mut self, result: RaceResult) {
        self.race = Some(result);
        self.news.metrics.race(result.label());
    }

    pub(super) fn served_by(&mut self, lease: &Lease, first_content: Duration) {
        let provider = lease.target().provider.name.clone();
        self.served_by = Some(ServedBy {
            provider,
            model: lease.model().clone(),
        });
        self.first_content = Some(first_content);
    }

    /// The usage to settle: what was reported, or an estimate marked as such (ground rule G7).
    pub(super) fn used(&mut self, used: Used) {
        self.usage = Some(used.usage);
        self.estimated = used.estimated;
        if used.estimated {
            self.news.metrics.usage_estimated();
        }
    }

    /// What is charged for it so far, as clients are told; `None` when nobody knows.
    pub(super) fn told_cost(&self) -> Option<ToldCost> {
        let bill = &self.request.bill;
        Some(ToldCost {
            cost: self.due(self.charge.as_ref())?.charged,
            estimated: self.estimated || bill.is_estimated() || bill.total().is_none(),
        })
    }

    /// What it comes to; `None` where nobody knows.
    fn due(&self, charge: Option<&Charge>) -> Option<Due> {
        charge.map_or_else(|| self.request.bill.total(), Charge::due)
    }

    /// Writes the outcome. Later calls change nothing.
    pub(super) fn close(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let mut charge = self.charge.take();
        if let Some(charge) = &mut charge {
            charge.used = self.usage.map(|usage| usage.total());
        }
        let due = self.due(charge.as_ref());
        let took = self.request.arrived.elapsed();
        let (how, status, kind) = match ending {
            Ending::Answered => ("ok", 200, "ok"),
            Ending::Failed(kind) => ("failed", kind.status(), kind.code()),
            Ending::Left => ("cancelled", 499, "cancelled"),
        };
        let mut recorded = None;
        if !self.unrecorded {
            // Before the outcome, so that whoever reads that finds the text.
            if let Some(answer) = self.answer.take().filter(|answer| answer.whole > 0) {
                self.keep("answer", &answer);
            }
            let request = &self.request;
            let served = self.served_by.as_ref();
            // Lost only while the disk fails, and then it is counted there.
            let handed_in = self.news.journal.append(&Record::Outcome(OutcomeRecord {
                request: request.id,
                who: self.who(),
                how,
                kind,
                status,
                attempts: self.attempts,
                provider: served.map(|served| served.provider.as_str()),
                model: served.map(|served| served.model.as_str()),
                served_model: self.served_model.as_deref(),
                usage: self.usage,
                estimated: self.estimated,
                first_content: self.first_content,
                took,
                race: self.race.map(RaceResult::label),
                cost_nano: due.map(|due| due.billed.0),
                charged_nano: due.map(|due| due.charged.0),
                cost_estimated: self.estimated || request.bill.is_estimated(),
            }));
            recorded = handed_in.ok().flatten().filter(|_| !self.lost);
        }
        match charge {
            Some(charge) => charge.settle(recorded),
            None => self.count_late(due, recorded),
        }
        if let Some(pool) = self.request.route.chain.first() {
            self.news.metrics.request_ended(&RequestStory {
                pool: &pool.cell.metrics,
                kind,
                took,
                overhead: took.saturating_sub(self.upstream),
                usage: self.usage,
            });
        }
    }

    /// Counts what came in when nobody had anything to keep for it, where its tenant does now.
    fn count_late(&self, due: Option<Due>, recorded: Option<Border>) {
        let payer = &self.request.caller.payer;
        let cost = due.unwrap_or_default().charged;
        if cost == NanoUsd::ZERO {
            return;
        }
        let Some(cell) = self.tables.tenants.get(&*payer.tenant) else {
            return;
        };
        let settled = Settled {
            cost,
            tokens: None,
            recorded,
        };
        let began = wall().before(self.request.arrived.elapsed());
        if let Some(alerts) = cell.count(&payer.path, began, settled) {
            tell_spent(&self.news, (&cell, cost), &alerts);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close(Ending::Left);
    }
}
