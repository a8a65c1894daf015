//! What a request asks of placement, in classes that are few enough to be metric labels.

use serde::{Deserialize, Serialize};

use super::{Dialect, NanoUsd, Tokens};

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
    /// As [`Operation::Embeddings`], of a single text: Google's form has a path and an answer of its own for it.
    EmbedOne,
    Moderations,
    Rerank,
    Images,
    /// A picture changed by words.
    ImageEdits,
    ImageVariations,
    /// Words spoken.
    Speech,
    /// Speech written down.
    Transcriptions,
    /// Speech written down in English.
    Translations,
    /// A generation in OpenAI's newer form, at a provider that speaks both.
    Responses,
    /// How long a prompt of Anthropic's or Google's form is.
    CountTokens,
}

impl Operation {
    /// Those of OpenAI's form beside generations.
    pub const PASSED: [Self; 10] = [
        Self::Completions,
        Self::Embeddings,
        Self::Moderations,
        Self::Rerank,
        Self::Images,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
    ];

    pub const ALL: [Self; 14] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::EmbedOne,
        Self::Moderations,
        Self::Rerank,
        Self::Images,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
        Self::Responses,
        Self::CountTokens,
    ];

    /// As grants name it. A generation is a chat, whichever dialect it is asked for in.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat | Self::Responses => "chat",
            Self::Completions => "completions",
            Self::Embeddings | Self::EmbedOne => "embeddings",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::ImageEdits => "image_edits",
            Self::ImageVariations => "image_variations",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::CountTokens => "count_tokens",
        }
    }

    /// Below the base of an address of OpenAI's form.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings | Self::EmbedOne => "embeddings",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Images => "images/generations",
            Self::ImageEdits => "images/edits",
            Self::ImageVariations => "images/variations",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
            Self::Responses => "responses",
            Self::CountTokens => "messages/count_tokens",
        }
    }

    /// What it must be given.
    pub fn content(self) -> &'static str {
        match self {
            Self::Chat | Self::CountTokens => "messages",
            Self::Completions | Self::Images | Self::ImageEdits => "prompt",
            Self::Embeddings
            | Self::EmbedOne
            | Self::Moderations
            | Self::Responses
            | Self::Speech => "input",
            Self::Rerank => "query",
            Self::ImageVariations => "image",
            Self::Transcriptions | Self::Translations => "file",
        }
    }

    /// Whether it may come as a form with a file.
    pub fn takes_a_file(self) -> bool {
        matches!(
            self,
            Self::ImageEdits | Self::ImageVariations | Self::Transcriptions | Self::Translations
        )
    }

    /// Whether the answer is words that cost as they come.
    pub fn writes(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Responses)
    }

    /// Whether a second one beside the first would be paid for and thrown away.
    pub fn is_made_once(self) -> bool {
        matches!(
            self,
            Self::Images | Self::ImageEdits | Self::ImageVariations | Self::Speech
        )
    }

    /// Whether what is given may be a file, which comes in a form of several parts.
    pub fn takes_files(self) -> bool {
        matches!(
            self,
            Self::ImageEdits | Self::ImageVariations | Self::Transcriptions | Self::Translations
        )
    }

    /// Whether what is given can be said in JSON.
    pub fn takes_json(self) -> bool {
        !matches!(
            self,
            Self::ImageVariations | Self::Transcriptions | Self::Translations
        )
    }

    /// Whether a provider of this dialect can be asked for it.
    pub fn is_served_by(self, dialect: Dialect) -> bool {
        match self {
            Self::Chat => true,
            Self::CountTokens => matches!(dialect, Dialect::Anthropic | Dialect::Gemini),
            Self::Embeddings | Self::EmbedOne => dialect != Dialect::Anthropic,
            Self::Rerank => matches!(
                dialect,
                Dialect::Openai | Dialect::Responses | Dialect::Cohere
            ),
            Self::Completions
            | Self::Moderations
            | Self::Images
            | Self::ImageEdits
            | Self::ImageVariations
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations
            | Self::Responses => matches!(dialect, Dialect::Openai | Dialect::Responses),
        }
    }
}

/// Which providers a request would rather have. It only ever narrows what its pools have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// These first, in this order.
    pub order: Vec<String>,
    /// Nobody but these; empty is no limit.
    pub only: Vec<String>,
    pub ignore: Vec<String>,
    /// Nobody but those of `order`, if there is one.
    pub order_only: bool,
    /// Nobody who costs more, or of whom nobody knows what they cost.
    pub max_price: MaxPrice,
    /// The cheapest first, among those who are wanted alike.
    pub cheapest_first: bool,
}

/// What a million tokens may cost at most; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPrice {
    pub input: Option<NanoUsd>,
    pub output: Option<NanoUsd>,
}

impl MaxPrice {
    /// Whether these prices, of input and output, are not above it.
    pub fn allows(&self, price: Option<(NanoUsd, NanoUsd)>) -> bool {
        let within = |most: Option<NanoUsd>, own: NanoUsd| most.is_none_or(|most| own <= most);
        match price {
            Some((input, output)) => within(self.input, input) && within(self.output, output),
            None => *self == Self::default(),
        }
    }
}

impl Preference {
    pub fn is_none(&self) -> bool {
        self.order.is_empty()
            && self.only.is_empty()
            && self.ignore.is_empty()
            && self.max_price == MaxPrice::default()
            && !self.cheapest_first
    }

    /// How gladly this provider is taken, 0 before 1; `None` when it is not wanted at all.
    pub fn rank(&self, provider: &str) -> Option<usize> {
        let names = |list: &[String]| list.iter().position(|name| is_meant(name, provider));
        if names(&self.ignore).is_some() || !self.only.is_empty() && names(&self.only).is_none() {
            return None;
        }
        match names(&self.order) {
            Some(place) => Some(place),
            None if self.order_only && !self.order.is_empty() => None,
            None => Some(self.order.len()),
        }
    }
}

/// Other gateways write `name` or `name/variant`, in any case.
fn is_meant(written: &str, provider: &str) -> bool {
    let bare = written.split('/').next().unwrap_or(written);
    written.eq_ignore_ascii_case(provider) || bare.eq_ignore_ascii_case(provider)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn preference(order: &[&str], only: &[&str], ignore: &[&str]) -> Preference {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Preference {
            order: owned(order),
            only: owned(only),
            ignore: owned(ignore),
            order_only: false,
            ..Preference::default()
        }
    }

    #[test]
    fn r2_order_ranks_and_only_and_ignore_remove() {
        let wished = preference(&["b", "A/turbo"], &[], &["x"]);
        let ranks = ["b", "a", "c", "x"].map(|name| wished.rank(name));
        assert_eq!(ranks, [Some(0), Some(1), Some(2), None]);
        let strict = Preference {
            order_only: true,
            ..wished
        };
        assert_eq!(strict.rank("c"), None);
        let only = preference(&[], &["a"], &["a"]);
        assert_eq!((only.rank("a"), only.rank("b")), (None, None));
        assert!(preference(&[], &[], &[]).is_none() && !only.is_none());
    }

    #[test]
    fn e9_a_price_above_the_most_is_not_wanted_nor_one_that_nobody_knows() {
        let most = MaxPrice {
            input: Some(NanoUsd(5)),
            output: None,
        };
        let of = |input, output| Some((NanoUsd(input), NanoUsd(output)));
        assert!(most.allows(of(5, 99)) && !most.allows(of(6, 0)) && !most.allows(None));
        let both = MaxPrice {
            output: Some(NanoUsd(7)),
            ..most
        };
        assert!(both.allows(of(5, 7)) && !both.allows(of(5, 8)));
        assert!(MaxPrice::default().allows(None), "no demand is always kept");
    }

    #[test]
    fn e5_no_operation_is_asked_of_a_provider_without_it() {
        let serves = |operation: Operation| {
            let all = Dialect::ALL.into_iter();
            all.filter(|dialect| operation.is_served_by(*dialect))
                .count()
        };
        assert_eq!(serves(Operation::Chat), Dialect::ALL.len());
        assert_eq!(serves(Operation::Embeddings), Dialect::ALL.len() - 1);
        assert_eq!(serves(Operation::CountTokens), 2);
        for operation in Operation::PASSED {
            assert!(operation.is_served_by(Dialect::Openai), "{operation:?}");
            assert!(!operation.is_served_by(Dialect::Anthropic), "{operation:?}");
        }
    }
}
