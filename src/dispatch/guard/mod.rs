//! The guard at work: a prompt before it is placed, an answer before it leaves.
//!
//! A prompt is looked at once, and what is taken out of it is gone for everyone behind: every attempt, every leg of
//! a race, every provider of the chain reads the same bytes. What cannot be looked at is not sent (attack A21).

mod answer;
mod aside;
mod prompt;
mod relay;
mod splice;
mod structured;
mod webhook;

use std::fmt::Write as _;
use std::sync::Arc;

use crate::actors::News;
use crate::config::{GuardRules, GuardSettings};
use crate::domain::{ClientName, Failure, FailureKind, PoolName, RequestId};
use crate::policy::guard::{Actions, RuleId, Schema, Searched, Tally, Vault};

pub use aside::{Drill, GuardDrill};
pub(super) use relay::GuardRelay;

/// What a request's guard keeps for its answer.
pub struct Guarded {
    settings: Arc<GuardSettings>,
    rules: GuardRules,
    vault: Vault,
    /// What the answer has to be; `None` where nobody asked for it or nobody checks.
    schema: Option<Schema>,
    note: Option<String>,
    request: RequestId,
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
}

/// How much the rules that hold everywhere find in a prompt; `None` when it cannot be searched. For measuring.
pub fn hits_in(settings: &GuardSettings, prompt: &[u8]) -> Option<u64> {
    let nowhere = PoolName::from("");
    let rules = settings.rules(std::iter::once(&nowhere), &ClientName::from(""));
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

/// What a client reads when there is no telling what its prompt or its answer holds.
fn unguarded(what: &'static str) -> Failure {
    Failure::new(FailureKind::PolicyUnavailable, what)
}
