//! How much a model shall think, said in words by some and counted in tokens by others.
//!
//! # The table
//! | word | tokens | |
//! |---|---|---|
//! | `none` | 0 | |
//! | `minimal` | 512 | |
//! | `low` | 1 024 | Google's own number for its OpenAI form |
//! | `medium` | 8 192 | the same |
//! | `high` | 24 576 | the same |
//! | `xhigh` | 32 768 | the most its larger models take |
//! | `max` | 65 536 | |
//!
//! A count becomes the largest word that does not cost more, so that nobody pays for thoughts that were not
//! asked for; any count above nothing is some thought. There and back a word is itself, and more is never less:
//! each dialect's encoder only narrows what this table says to what its provider takes.

use crate::domain::chat::{ChatRequest, Part, Role};

mod claude;

pub(super) use claude::{Claude, Sampling, claude};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

const TABLE: [(Effort, &str, u64); 7] = [
    (Effort::None, "none", 0),
    (Effort::Minimal, "minimal", 512),
    (Effort::Low, "low", 1_024),
    (Effort::Medium, "medium", 8_192),
    (Effort::High, "high", 24_576),
    (Effort::Xhigh, "xhigh", 32_768),
    (Effort::Max, "max", 65_536),
];

impl Effort {
    /// `None` for a word of tomorrow.
    pub(super) fn read(word: &str) -> Option<Self> {
        let known = TABLE.iter().find(|(_, known, _)| *known == word);
        known.map(|(effort, _, _)| *effort)
    }

    pub(super) fn word(self) -> &'static str {
        let own = TABLE.iter().find(|(effort, _, _)| *effort == self);
        own.map_or("none", |(_, word, _)| word)
    }

    pub(super) fn tokens(self) -> u64 {
        let own = TABLE.iter().find(|(effort, _, _)| *effort == self);
        own.map_or(0, |(_, _, tokens)| *tokens)
    }

    pub(super) fn of_tokens(tokens: u64) -> Self {
        if tokens == 0 {
            return Self::None;
        }
        let afforded = TABLE.iter().rev().find(|(_, _, cost)| *cost <= tokens);
        afforded.map_or(Self::Minimal, |(effort, _, _)| (*effort).max(Self::Minimal))
    }

    /// What the request asks for, in a word; a word of tomorrow is none of these.
    pub(super) fn asked(request: &ChatRequest) -> Option<Self> {
        match (&request.reasoning_effort, request.reasoning_budget) {
            (Some(word), _) => Self::read(word),
            (None, budget) => budget.map(Self::of_tokens),
        }
    }
}

/// What the request asks for, in tokens.
pub(super) fn tokens_asked(request: &ChatRequest) -> Option<u64> {
    let word = || Effort::read(request.reasoning_effort.as_deref()?).map(Effort::tokens);
    request.reasoning_budget.or_else(word)
}

/// Whether the request says anything of it.
pub(super) fn is_asked(request: &ChatRequest) -> bool {
    request.reasoning_effort.is_some() || request.reasoning_budget.is_some()
}

/// The name a client knows what it said by.
pub(super) fn name(request: &ChatRequest) -> &'static str {
    if request.reasoning_effort.is_some() {
        "reasoning_effort"
    } else {
        "reasoning budget"
    }
}

/// Thoughts that fit into a limit that holds the answer, too, and leave it a quarter; `None` where no room is
/// left for the fewest that can be asked for.
pub(super) fn within(tokens: u64, least: u64, limit: u64) -> Option<u64> {
    let most = limit - limit.div_ceil(4);
    let most = if most < least {
        limit.saturating_sub(1)
    } else {
        most
    };
    (most >= least).then(|| tokens.clamp(least, most))
}

/// Where the turn under way begins: behind the last thing a person said. What is there is calls and their results.
pub(super) fn turn_under_way(request: &ChatRequest) -> usize {
    let by_person =
        |part: &Part| !matches!(part, Part::ToolResult { .. } | Part::CachePoint { .. });
    let said = request.messages.iter().rposition(|message| {
        matches!(message.role, Role::User | Role::Tool) && message.parts.iter().any(by_person)
    });
    said.map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests;
