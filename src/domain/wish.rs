//! What a request asks of placement, in classes that are few enough to be metric labels.

use serde::{Deserialize, Serialize};

use super::Tokens;

/// Who waits first when there is not enough for all.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Someone is watching.
    Interactive,
    #[default]
    Default,
    /// Nobody waits; yields first, but never starves.
    Batch,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Default, Self::Batch];

    pub fn label(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Default => "default",
            Self::Batch => "batch",
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A generation, in whichever dialect.
    #[default]
    Chat,
    /// The generation of old, a text continued.
    Completions,
    Embeddings,
    Moderations,
    Rerank,
    Images,
    /// A generation in OpenAI's newer form, at a provider that speaks both.
    Responses,
    /// How long a prompt of Anthropic's form is.
    CountTokens,
}

impl Operation {
    /// Those that exist in one form only, and are passed on as they came.
    pub const PASSED: [Self; 5] = [
        Self::Completions,
        Self::Embeddings,
        Self::Moderations,
        Self::Rerank,
        Self::Images,
    ];

    pub const ALL: [Self; 8] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Moderations,
        Self::Rerank,
        Self::Images,
        Self::Responses,
        Self::CountTokens,
    ];

    /// As grants name it. A generation is a chat, whichever dialect it is asked for in.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat | Self::Responses => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::CountTokens => "count_tokens",
        }
    }

    /// Below the base of an address of OpenAI's form.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Images => "images/generations",
            Self::Responses => "responses",
            Self::CountTokens => "messages/count_tokens",
        }
    }

    /// What it must be given.
    pub fn content(self) -> &'static str {
        match self {
            Self::Chat | Self::CountTokens => "messages",
            Self::Completions | Self::Images => "prompt",
            Self::Embeddings | Self::Moderations | Self::Responses => "input",
            Self::Rerank => "query",
        }
    }

    /// Whether the answer is words that cost as they come.
    pub fn writes(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Responses)
    }
}

/// How large a prompt is. Latency is only comparable within a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PromptClass {
    /// Up to 1,000 tokens.
    Small,
    /// Up to 8,000 tokens.
    Medium,
    /// Up to 32,000 tokens.
    Large,
    /// Beyond.
    Huge,
}

impl PromptClass {
    pub const ALL: [Self; 4] = [Self::Small, Self::Medium, Self::Large, Self::Huge];

    pub fn of(input: Tokens) -> Self {
        match input.0 {
            0..=1_000 => Self::Small,
            1_001..=8_000 => Self::Medium,
            8_001..=32_000 => Self::Large,
            _ => Self::Huge,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Huge => "huge",
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }
}

/// Whether the answer comes as a stream or in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Stream,
    Whole,
}

/// What latencies may be compared with each other: the time to the first piece of a stream says nothing
/// about the time to a whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub class: PromptClass,
    pub mode: Mode,
}

impl Shape {
    pub const COUNT: usize = PromptClass::ALL.len() * 2;

    pub fn all() -> impl Iterator<Item = Self> {
        [Mode::Stream, Mode::Whole].into_iter().flat_map(|mode| {
            PromptClass::ALL
                .into_iter()
                .map(move |class| Self { class, mode })
        })
    }

    pub fn index(self) -> usize {
        match self.mode {
            Mode::Stream => self.class.index(),
            Mode::Whole => self.class.index() + PromptClass::ALL.len(),
        }
    }
}
