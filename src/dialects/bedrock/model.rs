//! Who made a model, as far as its id tells: settings beyond the common ones differ by maker.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Anthropic,
    /// Amazon's own newer models.
    Nova,
    GptOss,
    Other,
}

impl Maker {
    /// Ids are `maker.model`, `region.maker.model` or an address that holds one.
    pub(super) fn of(model: &str) -> Self {
        if model.contains("anthropic.") {
            Self::Anthropic
        } else if model.contains("amazon.nova") {
            Self::Nova
        } else if model.contains("openai.gpt-oss") {
            Self::GptOss
        } else {
            Self::Other
        }
    }
}
