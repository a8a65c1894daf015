//! One model as the registry knows it: what it can do, what it costs, how long it lives.

use std::collections::BTreeMap;

use super::date::Date;
use super::money::{Factor, Rate};

/// What a model can do or take. The names are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    Chat,
    Embedding,
    Rerank,
    Transcription,
    Speech,
    /// Takes images.
    Vision,
    /// Takes PDF files.
    Documents,
    Video,
    AudioIn,
    AudioOut,
    /// Makes images.
    ImageOut,
    Tools,
    /// Answers by a JSON schema, enforced by the provider.
    JsonSchema,
    Reasoning,
    /// Searches the web by itself, or as a tool of the provider.
    Search,
}

impl Capability {
    pub const ALL: [Self; 15] = [
        Self::Chat,
        Self::Embedding,
        Self::Rerank,
        Self::Transcription,
        Self::Speech,
        Self::Vision,
        Self::Documents,
        Self::Video,
        Self::AudioIn,
        Self::AudioOut,
        Self::ImageOut,
        Self::Tools,
        Self::JsonSchema,
        Self::Reasoning,
        Self::Search,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
            Self::Transcription => "transcription",
            Self::Speech => "speech",
            Self::Vision => "vision",
            Self::Documents => "documents",
            Self::Video => "video",
            Self::AudioIn => "audio_in",
            Self::AudioOut => "audio_out",
            Self::ImageOut => "image_out",
            Self::Tools => "tools",
            Self::JsonSchema => "json_schema",
            Self::Reasoning => "reasoning",
            Self::Search => "search",
        }
    }
}

/// What is counted and priced apart. The names are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Input,
    CachedInput,
    /// Written to a cache that lives five minutes, or as long as the provider's only cache does.
    CacheWrite5m,
    CacheWrite1h,
    Output,
    Reasoning,
    AudioIn,
    AudioOut,
    /// One image made; not tokens.
    Image,
    /// One request; not tokens.
    Request,
}

impl Class {
    pub const ALL: [Self; 10] = [
        Self::Input,
        Self::CachedInput,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::Output,
        Self::Reasoning,
        Self::AudioIn,
        Self::AudioOut,
        Self::Image,
        Self::Request,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioIn => "audio_in",
            Self::AudioOut => "audio_out",
            Self::Image => "image",
            Self::Request => "request",
        }
    }

    /// Priced by the million tokens; the others by the piece.
    pub fn counts_tokens(self) -> bool {
        !matches!(self, Self::Image | Self::Request)
    }
}

/// A price list as written: what is not in it has no price of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<Class, Rate>);

impl Prices {
    /// The price written for this class; `None` if none was.
    pub fn get(&self, class: Class) -> Option<Rate> {
        self.0.get(&class).copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every price that was written.
    pub fn iter(&self) -> impl Iterator<Item = (Class, Rate)> + '_ {
        self.0.iter().map(|(class, rate)| (*class, *rate))
    }

    /// What a unit of this class is charged: its own price, or that of the class it is a kind of.
    ///
    /// Every fallback is at least as dear as what providers charge: cached input costs what input does,
    /// an hour in the cache what five minutes do. Audio and images have none, text being cheaper.
    pub(super) fn charged(&self, class: Class) -> Option<Rate> {
        let own = self.get(class);
        match class {
            Class::CachedInput => own.or(self.get(Class::Input)),
            Class::CacheWrite5m => own.or(self.get(Class::Input)),
            Class::CacheWrite1h => own.or_else(|| self.charged(Class::CacheWrite5m)),
            Class::Reasoning => own.or(self.get(Class::Output)),
            Class::Input
            | Class::Output
            | Class::AudioIn
            | Class::AudioOut
            | Class::Image
            | Class::Request => own,
        }
    }
}

impl FromIterator<(Class, Rate)> for Prices {
    fn from_iter<I: IntoIterator<Item = (Class, Rate)>>(prices: I) -> Self {
        Self(prices.into_iter().collect())
    }
}

/// The price list of requests whose prompt is longer than `above` tokens; it holds for the whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongContext {
    pub above: u64,
    pub prices: Prices,
}

/// What a service tier (`flex`, `priority`) does to the price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierPrice {
    Factor(Factor),
    Prices(Prices),
}

/// Where a model's facts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Who says so.
    Confirmed(String),
    /// Written down from one source only, or with the price left out.
    Unconfirmed,
}

/// One entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub provider: String,
    /// As the provider calls it; ends in `*` if it stands for every name that begins so.
    pub name: String,
    /// Sorted, each once.
    pub capabilities: Vec<Capability>,
    /// Most tokens of prompt and answer together; `None` if not known.
    pub context: Option<u64>,
    /// Most tokens of an answer; `None` if not known.
    pub output_limit: Option<u64>,
    /// Other names of the same model, such as `…-latest`; may end in `*`.
    pub aliases: Vec<String>,
    /// Names pinned to a day that cost the same.
    pub versions: Vec<String>,
    /// Empty if the price is not known.
    pub prices: Prices,
    /// Ascending by `above`.
    pub long_context: Vec<LongContext>,
    /// `None` if batches cost what single requests do, or are not offered.
    pub batch_factor: Option<Factor>,
    /// By the name the provider gives the tier.
    pub tiers: BTreeMap<String, TierPrice>,
    /// Since when the provider advises against it.
    pub deprecated: Option<Date>,
    /// From when on the provider refuses it.
    pub retired: Option<Date>,
    /// What to ask for instead: a model of the same provider.
    pub successor: Option<String>,
    pub source: Source,
}

impl Model {
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.binary_search(&capability).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(list: &[(Class, &str)]) -> Prices {
        list.iter()
            .map(|(class, rate)| (*class, rate.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_class_without_a_price_is_charged_as_the_class_it_is_a_kind_of() {
        let text_only = prices(&[(Class::Input, "2"), (Class::Output, "8")]);
        let charged = |class| text_only.charged(class).map(|rate| rate.to_string());
        assert_eq!(charged(Class::CachedInput).as_deref(), Some("2"));
        assert_eq!(charged(Class::CacheWrite1h).as_deref(), Some("2"));
        assert_eq!(charged(Class::Reasoning).as_deref(), Some("8"));
        assert_eq!(charged(Class::AudioIn), None, "text is cheaper than audio");
        assert_eq!(charged(Class::Image), None);
    }

    #[test]
    fn an_hour_in_the_cache_is_charged_as_five_minutes_before_plain_input() {
        let writes = prices(&[(Class::Input, "3"), (Class::CacheWrite5m, "3.75")]);
        let hour = writes.charged(Class::CacheWrite1h).unwrap();
        assert_eq!(hour.to_string(), "3.75");
    }
}
