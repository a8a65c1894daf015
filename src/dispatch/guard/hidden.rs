//! What a request may say in a way that no rule can read: files in a form, and text as numbers of tokens.
//!
//! # Why refused
//! A rule that would be kept for text and not for the same words in a form is no rule (attack A21). Who means to
//! let such requests through says so for the pool they go to.

use super::{Teller, forbidden_unseen};
use crate::config::{GuardRules, GuardSettings};
use crate::dialects::texts::token_list;
use crate::dispatch::request::Request;
use crate::domain::{Failure, Operation};
use crate::policy::guard::{Action, RuleId};

/// What it is that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden {
    Form,
    Tokens(&'static str),
}

impl Hidden {
    fn of(request: &Request) -> Option<Self> {
        if request.content_type.is_some() {
            return Some(Self::Form);
        }
        // Conversations have no other form than text.
        if matches!(request.operation, Operation::Chat | Operation::CountTokens) {
            return None;
        }
        token_list(&request.body()).map(Self::Tokens)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Tokens(_) => "tokens",
        }
    }
}

/// Refuses what the rules, or the webhook, would have to look into and cannot.
pub(super) fn refused_unseen(
    request: &Request,
    (settings, rules): (&GuardSettings, &GuardRules),
    teller: &Teller<'_>,
) -> Result<(), Failure> {
    let judges = asking(settings, rules);
    if judges.is_empty() {
        return Ok(());
    }
    let Some(hidden) = Hidden::of(request) else {
        return Ok(());
    };
    teller.refused_unseen(hidden.label());
    let (what, cure, at) = match hidden {
        Hidden::Form => (
            "a form with a file",
            "ask a model whose pool has these rules off ([pools.x.guard] and guard.webhook in the configuration)",
            None,
        ),
        Hidden::Tokens(member) => (
            "text that comes as numbers of tokens",
            "send the text itself",
            Some(member),
        ),
    };
    let failure = forbidden_unseen(what, &judges, cure);
    Err(match at {
        Some(member) => failure.at(member),
        None => failure,
    })
}

/// Who would have to see it: rules that do more than mark, and a webhook without whose verdict nothing goes on.
fn asking<'a>(settings: &'a GuardSettings, rules: &GuardRules) -> Vec<&'a str> {
    let acts = |rule: &RuleId| match rules.requests.of(*rule) {
        Action::Off | Action::Mark => false,
        Action::Route | Action::Redact | Action::Block => true,
    };
    let rules = RuleId::all()
        .filter(acts)
        .map(|rule| settings.name_of(rule));
    let webhook = settings.webhook.as_ref();
    let judge = webhook.filter(|webhook| !webhook.allows_on_failure);
    rules.chain(judge.map(|_| "webhook")).collect()
}
