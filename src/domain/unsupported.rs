//! What happens to what a client says and the provider of its model cannot be told.

use serde::{Deserialize, Serialize};

/// Whose word counts: the client's where the operator lets it, else the pool's, else that of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsupported {
    /// Refused where that would change the meaning, left out and reported where it would not.
    #[default]
    Default,
    /// Refused.
    Strict,
    /// Left out and reported, also where that changes the meaning. What messages hold is never left out.
    Drop,
    /// As the default, but what the gateway can do in the provider's place it does.
    Emulate,
}

impl Unsupported {
    pub fn by_label(label: &str) -> Option<Self> {
        match label {
            "default" => Some(Self::Default),
            "strict" => Some(Self::Strict),
            "drop" => Some(Self::Drop),
            "emulate" => Some(Self::Emulate),
            _ => None,
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::Drop => "drop",
            Self::Emulate => "emulate",
        }
    }
}

/// What becomes of an answer that calls a tool which its request did not offer (attack A29).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unoffered {
    /// It goes on, and is counted.
    #[default]
    Flag,
    /// It is no answer.
    Strict,
}
