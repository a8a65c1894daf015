//! What one provider does otherwise than the dialect it speaks.

use serde::{Deserialize, Serialize};

/// Data of a provider, acted upon for every request to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Fields by the dialect's name, and what the provider calls them.
    pub rename: Vec<(String, String)>,
    /// Fields it refuses although nothing hangs on them.
    pub leave_out: Vec<String>,
    /// It refuses to be asked for a stream's usage, and tells it anyway.
    pub tells_usage_unasked: bool,
    /// It knows no role of the developer, which is the system's elsewhere.
    pub no_developer: bool,
    /// It tells its thoughts in `reasoning_details`, and wants them back.
    pub reasoning_details: bool,
    /// How its models are asked to think; `None`: as their names tell.
    pub thinking: Option<ThinkingField>,
    /// Whether it wants the thoughts of a call under way told again; `None`: as the model's name tells.
    pub thoughts_again: Option<bool>,
}

/// The field by which a copy of OpenAI's form is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingField {
    /// `reasoning_effort`, as at OpenAI.
    Effort,
    /// `thinking`, on or off.
    Toggle,
    /// `enable_thinking`, and `thinking_budget` in tokens.
    Counted,
}

impl Quirks {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
