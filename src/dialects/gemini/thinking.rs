//! How Google's models are asked to think: newer ones by a level, older ones by a number of tokens.

use serde_json::{Value, json};

use crate::dialects::effort::{self, Effort, tokens_asked, within};
use crate::dialects::refuse::leave_out;
use crate::domain::chat::ChatRequest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Never,
    /// The fewest and most tokens it takes, and whether it can be kept from thinking.
    Tokens {
        least: u64,
        most: u64,
        stops: bool,
    },
    Level {
        least: Effort,
    },
}

/// What each line of models takes is Google's own table of thinking budgets and levels.
fn way(model: &str) -> Way {
    let own = model.rsplit('/').next().unwrap_or(model);
    let tokens = |least, most, stops| Way::Tokens { least, most, stops };
    match own.strip_prefix("gemini-") {
        Some(version) if version.starts_with("1.") || version.starts_with("2.0") => Way::Never,
        Some(version) if version.starts_with("2.5-pro") => tokens(128, 32_768, false),
        Some(version) if version.starts_with("2.5-flash-lite") => tokens(512, 24_576, true),
        Some(version) if version.starts_with("2.5") => tokens(1, 24_576, true),
        Some(version) if version.contains("-pro") => Way::Level { least: Effort::Low },
        Some(_) => Way::Level {
            least: Effort::Minimal,
        },
        None => tokens(1, u64::MAX, true),
    }
}

/// The line of models that refuses calls nobody signed.
pub(in crate::dialects) fn newest(model: &str) -> bool {
    let own = model.rsplit('/').next().unwrap_or(model);
    own.starts_with("gemini-3")
}

pub(super) fn thinking_config(
    request: &ChatRequest,
    model: &str,
    dropped: &mut Vec<&'static str>,
) -> Option<Value> {
    if !effort::is_asked(request) && !request.reasoning_free {
        return None;
    }
    let Some(effort) = Effort::asked(request).or(request.reasoning_free.then_some(Effort::High))
    else {
        leave_out(dropped, "reasoning_effort");
        return None;
    };
    let off = effort == Effort::None;
    let shown = !off && request.reasoning_shown != Some(false);
    match way(model) {
        Way::Never => {
            if !off {
                leave_out(dropped, effort::name(request));
            }
            None
        }
        // A level may be left to the model by saying none.
        Way::Level { .. } if !effort::is_asked(request) => Some(json!({"includeThoughts": shown})),
        Way::Level { least } => {
            let level = effort
                .max(least)
                .min(Effort::High)
                .word()
                .to_ascii_uppercase();
            Some(json!({"thinkingLevel": level, "includeThoughts": shown}))
        }
        Way::Tokens { .. } if !effort::is_asked(request) => {
            Some(json!({"thinkingBudget": -1, "includeThoughts": shown}))
        }
        Way::Tokens { stops: true, .. } if off => {
            Some(json!({"thinkingBudget": 0, "includeThoughts": false}))
        }
        Way::Tokens { least, most, .. } => {
            let tokens = tokens_asked(request).unwrap_or(0).min(most);
            // Thoughts count against the limit of the answer.
            let limit = request.max_output.unwrap_or(u64::MAX);
            let Some(tokens) = within(tokens, least, limit) else {
                leave_out(dropped, effort::name(request));
                return None;
            };
            Some(json!({"thinkingBudget": tokens, "includeThoughts": shown}))
        }
    }
}
