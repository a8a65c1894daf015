//! How Anthropic's models are asked to think, at Anthropic itself and at Bedrock.
//!
//! Sources: Anthropic's and AWS's pages on adaptive thinking. Up to 4.5 a model thinks on a budget; 4.6 takes either;
//! from 4.7 on it is only told an effort, and is told neither a budget nor to stop thinking, nor how to sample.

use serde_json::{Value, json};

use super::{Effort, is_asked, name, tokens_asked, turn_under_way, within};
use crate::dialects::refuse::leave_out;
use crate::domain::Dialect;
use crate::domain::chat::{ChatRequest, Part, ToolChoice};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Never,
    Budget,
    Either,
    Adaptive,
}

/// The fewest tokens that can be asked for.
const LEAST: u64 = 1_024;

fn way(model: &str) -> Way {
    match version(model) {
        // A name that tells nothing is one of tomorrow, or somebody's own.
        None => Way::Either,
        Some(version) if version < (3, 7) => Way::Never,
        Some(version) if version < (4, 6) => Way::Budget,
        Some(version) if version < (4, 7) => Way::Either,
        Some(_) => Way::Adaptive,
    }
}

/// `claude-3-7-sonnet-20250219`, `claude-opus-4-5`, `anthropic/claude-sonnet-4.6`, `us.anthropic.claude-opus-5-v1:0`.
fn version(model: &str) -> Option<(u32, u32)> {
    let (_, rest) = model.split_once("claude-")?;
    let mut words = rest
        .split(['-', '.', '@', ':'])
        .skip_while(|word| number(word).is_none());
    let major = number(words.next()?)?;
    let minor = words.next().and_then(number).unwrap_or(0);
    Some((major, minor))
}

/// Dates are no versions.
fn number(word: &str) -> Option<u32> {
    word.parse().ok().filter(|_| word.len() <= 2)
}

/// What is said of thinking, and what follows from it.
#[derive(Debug, Default, PartialEq)]
pub(in crate::dialects) struct Claude {
    pub(in crate::dialects) thinking: Option<Value>,
    pub(in crate::dialects) effort: Option<&'static str>,
    /// The limit of the answer, which holds the thoughts as well; `None` leaves it to the provider.
    pub(in crate::dialects) max_tokens: Option<u64>,
    /// It chooses for itself how to sample.
    pub(in crate::dialects) own_sampling: bool,
}

/// `default_limit` is what would be said where the client named none.
pub(in crate::dialects) fn claude(
    request: &ChatRequest,
    model: &str,
    (provider, default_limit): (Dialect, Option<u64>),
    dropped: &mut Vec<&'static str>,
) -> Claude {
    let way = way(model);
    let mut asked = Claude {
        max_tokens: request.max_output.or(default_limit),
        own_sampling: way == Way::Adaptive,
        ..Claude::default()
    };
    if !is_asked(request) && !request.reasoning_free {
        return asked;
    }
    if Effort::asked(request).is_none() && !request.reasoning_free {
        leave_out(dropped, "reasoning_effort");
        return asked;
    }
    let effort = Effort::asked(request);
    if effort == Some(Effort::None) {
        match way {
            Way::Adaptive => asked.effort = Some("low"),
            Way::Budget | Way::Either => asked.thinking = Some(json!({"type": "disabled"})),
            Way::Never => {}
        }
        return asked;
    }
    let forced = matches!(
        request.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Named(_))
    );
    // Who must call a tool may not think first.
    if way == Way::Never || (forced && !request.tools.is_empty()) {
        leave_out(dropped, name(request));
        return asked;
    }
    let on_budget = way == Way::Budget
        || way == Way::Either && request.reasoning_budget.is_some() && !request.reasoning_free;
    if on_budget {
        budget(request, provider, &mut asked, dropped);
    } else {
        asked.thinking = Some(json!({"type": "adaptive"}));
        asked.effort = effort.map(word);
        asked.own_sampling = true;
    }
    // Older models know no such word.
    if way != Way::Budget {
        show(request, &mut asked);
    }
    asked
}

fn word(effort: Effort) -> &'static str {
    effort.max(Effort::Low).word()
}

fn budget(
    request: &ChatRequest,
    provider: Dialect,
    asked: &mut Claude,
    dropped: &mut Vec<&'static str>,
) {
    let tokens = tokens_asked(request).unwrap_or(Effort::High.tokens());
    // Where nobody named a limit, the answer keeps what it would have had.
    if request.max_output.is_none() {
        let limit = asked.max_tokens.unwrap_or(Effort::Medium.tokens());
        asked.max_tokens = Some(limit.saturating_add(tokens.max(LEAST)));
    }
    let limit = asked.max_tokens.unwrap_or(0);
    match within(tokens, LEAST, limit) {
        // A call under way begins with its own thought, or thinks not at all.
        Some(tokens) if !lost_its_thought(request, provider) => {
            asked.thinking = Some(json!({"type": "enabled", "budget_tokens": tokens}));
            asked.own_sampling = true;
        }
        _ => {
            asked.max_tokens = request.max_output.or(asked.max_tokens);
            leave_out(dropped, name(request));
        }
    }
}

fn show(request: &ChatRequest, asked: &mut Claude) {
    let (Some(thinking), Some(shown)) = (&mut asked.thinking, request.reasoning_shown) else {
        return;
    };
    thinking["display"] = if shown { "summarized" } else { "omitted" }.into();
}

/// How an answer is drawn, as these models take it.
#[derive(Debug, Default)]
pub(in crate::dialects) struct Sampling {
    pub(in crate::dialects) temperature: Option<f64>,
    pub(in crate::dialects) top_p: Option<f64>,
    pub(in crate::dialects) top_k: Option<u64>,
}

impl Sampling {
    /// A model that samples as it finds right is told nothing of it.
    pub(in crate::dialects) fn of(
        request: &ChatRequest,
        own: bool,
        dropped: &mut Vec<&'static str>,
    ) -> Self {
        if own {
            // One is what it does anyway.
            let said =
                |value: Option<f64>| value.is_some_and(|value| (value - 1.0).abs() > f64::EPSILON);
            for (name, said) in [
                ("temperature", said(request.temperature)),
                ("top_p", said(request.top_p)),
                ("top_k", request.top_k.is_some()),
            ] {
                if said {
                    leave_out(dropped, name);
                }
            }
            return Self::default();
        }
        if request.temperature.is_some_and(|one| one > 1.0) {
            leave_out(dropped, "temperature above 1");
        }
        Self {
            temperature: request.temperature.map(|one| one.min(1.0)),
            top_p: request.top_p,
            top_k: request.top_k,
        }
    }
}

/// Whether a call of the turn under way has no thought that this provider wrote.
fn lost_its_thought(request: &ChatRequest, provider: Dialect) -> bool {
    let under_way = request.messages.get(turn_under_way(request)..);
    under_way.unwrap_or_default().iter().any(|message| {
        let calls = |part: &Part| matches!(part, Part::ToolCall { .. });
        let own = |part: &Part| match part {
            Part::Thinking { signature, .. } => signature
                .as_ref()
                .is_some_and(|signature| signature.by == provider),
            Part::RedactedThinking { data } => data.by == provider,
            Part::Text { .. }
            | Part::Image { .. }
            | Part::Document { .. }
            | Part::Audio { .. }
            | Part::ToolCall { .. }
            | Part::ToolResult { .. }
            | Part::Refusal { .. }
            | Part::CachePoint { .. } => false,
        };
        message.parts.iter().any(calls) && !message.parts.iter().any(own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_model_stands_in_its_name() {
        for (model, expected) in [
            ("claude-3-5-haiku-20241022", Way::Never),
            ("claude-3-7-sonnet-20250219", Way::Budget),
            ("claude-sonnet-4-20250514", Way::Budget),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Way::Budget),
            ("anthropic/claude-opus-4.5", Way::Budget),
            ("claude-sonnet-4-6", Way::Either),
            ("claude-opus-4-7@20260401", Way::Adaptive),
            ("claude-opus-5-5", Way::Adaptive),
            ("claude-fable-5", Way::Adaptive),
            ("model-test", Way::Either),
        ] {
            assert_eq!(way(model), expected, "{model}");
        }
    }
}
