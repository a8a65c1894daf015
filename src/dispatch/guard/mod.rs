//! The guard at work: a prompt before it is placed, an answer before it leaves.
//!
//! A prompt is looked at once, and what is taken out of it is gone for everyone behind: every attempt, every leg of
//! a race, every provider of the chain reads the same bytes. What cannot be looked at is not sent (attack A21).

mod answer;
mod aside;
mod hidden;
mod prompt;
mod relay;
mod sieve;
mod splice;
mod structured;
mod webhook;

use std::fmt::Write as _;
use std::sync::Arc;

use crate::actors::News;
use crate::config::{GuardRules, GuardSettings};
use crate::dialects::texts::TextKind;
use crate::dispatch::Caller;
use crate::domain::{Failure, FailureKind, Operation, PoolName, RequestId};
use crate::policy::guard::{Actions, Form, RuleId, Schema, Searched, Tally, Vault};

pub(super) use answer::{Seen, Written};
pub use aside::{Drill, GuardDrill};
pub(super) use relay::{GuardRelay, Sifted};

/// What a request's guard keeps for its answer.
pub struct Guarded {
    settings: Arc<GuardSettings>,
    rules: GuardRules,
    vault: Vault,
    /// What the answer has to be; `None` where nobody asked for it or nobody checks.
    schema: Option<Schema>,
    note: Option<String>,
    request: RequestId,
    operation: Operation,
    /// The guard of the answer as the journal keeps it; `None` where that is as the client reads it, or not kept.
    record: Option<Arc<Guarded>>,
    news: Arc<News>,
}

impl Guarded {
    /// What was found in the prompt, for a header: rules, what was done, how often.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether anything of the answer has to be looked at.
    pub(super) fn looks_at_answers(&self) -> bool {
        !self.vault.is_empty() || !self.rules.answers.is_off() || self.schema.is_some()
    }

    /// Where the journal keeps the answer, what was taken out of the prompt stays out of that as well.
    fn with_record(mut self, caller: &Caller) -> Self {
        let keeps = caller.text_limit(&self.news.journal).is_some();
        if keeps && !self.vault.is_empty() {
            self.record = Some(Arc::new(Self {
                settings: Arc::clone(&self.settings),
                rules: self.rules.clone(),
                vault: Vault::default(),
                schema: None,
                note: None,
                request: self.request,
                operation: self.operation,
                record: None,
                news: Arc::clone(&self.news),
            }));
        }
        self
    }

    fn search(&self) -> Searched<'_> {
        Searched {
            finder: &self.settings.finder,
            actions: &self.rules.answers,
            vault: &self.vault,
        }
    }

    /// Tells metrics and journal what an answer held: rules and counts, never a word of it.
    fn tell_answer(&self, tally: &Tally, blocked: Option<RuleId>) {
        let teller = Teller {
            settings: &self.settings,
            news: &self.news,
            request: self.request,
        };
        teller.tell("guard.answer", (tally, &self.rules.answers));
        if let Some(rule) = blocked {
            teller.blocked(rule);
        }
    }
}

/// Tells what was found to those who keep count.
struct Teller<'a> {
    settings: &'a GuardSettings,
    news: &'a News,
    request: RequestId,
}

impl Teller<'_> {
    /// The words for it; `None` when nothing was found.
    fn tell(&self, event: &str, (tally, actions): (&Tally, &Actions)) -> Option<String> {
        if tally.is_empty() {
            return None;
        }
        let mut words = String::new();
        for (rule, count) in tally.met() {
            let (name, action) = (self.settings.name_of(rule), actions.of(rule).label());
            let comma = if words.is_empty() { "" } else { ", " };
            let _ = write!(words, "{comma}{name}={count};{action}");
            self.news.metrics.guarded(name, action, count);
        }
        self.news
            .journal
            .event(event, self.request.text().as_str(), &words);
        Some(words)
    }

    fn blocked(&self, rule: RuleId) {
        self.news.metrics.blocked_by(self.settings.name_of(rule));
    }

    /// Nobody can tell whether a rule forbids it.
    fn refused_unseen(&self, what: &'static str) {
        self.news.metrics.blocked_by(what);
        let request = self.request.text();
        let words = format!("{what};block");
        self.news
            .journal
            .event("guard.prompt", request.as_str(), &words);
    }
}

/// How a text of this kind is read.
fn form_of(kind: TextKind) -> Form {
    match kind {
        TextKind::Plain => Form::Text,
        TextKind::Json => Form::Json,
        TextKind::Label => Form::Label,
    }
}

/// How much the rules that hold everywhere find in a prompt; `None` when it cannot be searched. For measuring.
pub fn hits_in(settings: &GuardSettings, prompt: &[u8]) -> Option<u64> {
    let nowhere = PoolName::from("");
    let rules = settings.rules(std::iter::once(&nowhere), None);
    prompt::look(settings, &rules, prompt)
        .ok()
        .map(|looked| looked.hits())
}

/// What a client reads whose prompt, or whose answer, is forbidden. Never what was found.
fn forbidden(name: &str, what: &str) -> Failure {
    Failure::new(
        FailureKind::ContentBlocked,
        format!(
            "the {what} holds something of the class {name:?}, which a rule of this gateway forbids; leave it out"
        ),
    )
}

/// What a client reads whose request says something in a way that these rules cannot read.
fn forbidden_unseen(what: &str, rules: &[&str], cure: &str) -> Failure {
    let names: Vec<String> = rules.iter().map(|name| format!("{name:?}")).collect();
    Failure::new(
        FailureKind::ContentBlocked,
        format!(
            "{what} cannot be looked into, as this gateway's guard has to for {}; {cure}",
            names.join(", ")
        ),
    )
}

/// What a client reads when there is no telling what its prompt or its answer holds.
fn unguarded(what: &'static str) -> Failure {
    Failure::new(FailureKind::PolicyUnavailable, what)
}
