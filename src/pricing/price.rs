//! The price of one provider's one model, known or not.

use std::sync::Arc;

use super::cost::{Cost, Extent, Terms};
use super::meter::Meter;
use super::model::{Class, Model};
use super::tiers::Tiers;
use crate::domain::{NanoUsd, Operation, ServiceTier, Tokens, Usage};

/// What is known of what a model costs.
#[derive(Clone, Debug, Default)]
pub enum Price {
    /// The operator says that it costs nothing.
    Free,
    Listed {
        model: Arc<Model>,
        /// The tier of requests that name none, where the account has another than the ordinary one.
        usual: Option<ServiceTier>,
    },
    /// Nobody wrote it down. Never to be read as nothing.
    #[default]
    Unknown,
}

/// The bounds of a request that is to be priced before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub operation: Operation,
    /// Bytes of the request: no tokenizer makes more tokens than there are bytes.
    pub bytes: u64,
    /// What the client allows an answer to be, one choice; `None` when it does not say.
    pub max_output: Option<u64>,
    pub choices: u32,
    /// Pictures that come along, or are named.
    pub pictures: u32,
    /// The same for documents, sound and films.
    pub files: u32,
    /// The answer may be spoken.
    pub aloud: bool,
    /// The lane of the provider's that is asked for.
    pub tier: Option<ServiceTier>,
    /// Lanes in which somebody who may serve it has served what did not ask for them.
    pub unasked: Tiers,
}

/// Where neither client nor registry says how long an answer may be: more than any model writes.
const LONGEST_ANSWER: u64 = 131_072;
/// The same for what is read.
const LONGEST_CONTEXT: u64 = 2_000_000;
/// The dearest picture known: gpt-4o-mini takes 2,833 tokens and 5,667 for each of at most eight tiles.
const DEAREST_PICTURE: u64 = 50_000;

/// A tier that the registry knows no price of costs what all others do: providers sell it by contract.
fn terms(model: &Model, tier: Option<ServiceTier>) -> Terms<'static> {
    let word = tier.map(ServiceTier::word);
    Terms {
        batch: tier == Some(ServiceTier::Batch),
        tier: word.filter(|word| model.tiers.contains_key(*word)),
    }
}

/// Nobody sends one request as a batch.
fn single(tier: Option<ServiceTier>) -> Option<ServiceTier> {
    tier.filter(|tier| *tier != ServiceTier::Batch)
}

fn dearer(one: Cost, other: Cost) -> Cost {
    match (one, other) {
        (Cost::Priced(one), Cost::Priced(other)) => Cost::Priced(one.max(other)),
        (unpriced @ Cost::Unpriced(_), _) | (_, unpriced) => unpriced,
    }
}

impl Bounds {
    /// The most tokens that may be read. A file's pages, or its minutes, do not show in its bytes: it may fill what
    /// the model takes.
    fn read(&self, context: Option<u64>) -> u64 {
        let pictures = u64::from(self.pictures).saturating_mul(DEAREST_PICTURE);
        let told = self.bytes.saturating_add(pictures);
        let whole = context.unwrap_or(LONGEST_CONTEXT);
        let converses = matches!(self.operation, Operation::Chat | Operation::Responses);
        match (converses, self.files) {
            (true, 1..) => whole,
            (true, 0) => told.min(context.unwrap_or(u64::MAX)),
            // Each of a list of texts may be as long as the model takes.
            (false, files) => told.saturating_add(u64::from(files).saturating_mul(whole)),
        }
    }

    /// The most tokens that may be written, all answers together.
    fn written(&self, output_limit: Option<u64>) -> u64 {
        let longest = output_limit.unwrap_or(LONGEST_ANSWER);
        let answer = self.max_output.unwrap_or(longest).min(longest);
        answer.saturating_mul(u64::from(self.choices.max(1)))
    }
}

impl Price {
    /// What this usage costs; `None` when nobody knows.
    pub fn cost(&self, usage: &Usage) -> Option<NanoUsd> {
        match self {
            Self::Free => Some(NanoUsd::ZERO),
            Self::Listed { model, .. } => model
                .cost(&Meter::of(usage), terms(model, usage.tier))
                .amount(),
            Self::Unknown => None,
        }
    }

    /// What usage costs of a request that asked for a tier, or for none and so for the account's usual one. Who does
    /// not tell the tier it served in may have served in that one; and what is fast is not told by the tier.
    fn served(&self, usage: &Usage, asked: Option<ServiceTier>) -> Option<NanoUsd> {
        let asked = asked.or(self.usual());
        let told = self.cost(usage)?;
        let unsure = usage.tier.is_none() || asked == Some(ServiceTier::Fast);
        match single(asked).filter(|_| unsure) {
            None => Some(told),
            asked => {
                let usage = Usage {
                    tier: asked,
                    ..*usage
                };
                Some(told.max(self.cost(&usage)?))
            }
        }
    }

    fn usual(&self) -> Option<ServiceTier> {
        match self {
            Self::Listed { usual, .. } => *usual,
            Self::Free | Self::Unknown => None,
        }
    }

    /// The tier that an answer was served in, if nobody could tell beforehand: it was neither asked for, nor is it
    /// the account's usual one.
    pub fn unasked(&self, usage: &Usage, bounds: &Bounds) -> Option<ServiceTier> {
        let told = usage.tier.and_then(|tier| single(Some(tier)))?;
        let foreseen = Tiers::default().with(bounds.tier).with(self.usual());
        (told != ServiceTier::Default && !foreseen.has(told)).then_some(told)
    }

    /// As [`Self::cost`], with what no usage tells: pictures made, and calls that nobody bills for.
    pub fn paid(&self, usage: &Usage, bounds: &Bounds) -> Option<NanoUsd> {
        match (self, bounds.operation) {
            (Self::Unknown, _) => None,
            (Self::Free, _) | (_, Operation::Moderations | Operation::CountTokens) => {
                Some(NanoUsd::ZERO)
            }
            (
                Self::Listed { model, .. },
                Operation::Images | Operation::ImageEdits | Operation::ImageVariations,
            ) => {
                let mut meter = Meter::of(usage);
                meter.images = u64::from(bounds.choices.max(1));
                if model.prices.get(Class::Input).is_none() {
                    meter.input = 0;
                }
                model.cost(&meter, Terms::default()).amount()
            }
            (Self::Listed { .. }, _) => self.served(usage, bounds.tier),
        }
    }

    /// The most that one request can cost: what to set aside before it is sent (ground rule G7). `None` when
    /// nobody knows.
    pub fn most(&self, bounds: &Bounds) -> Option<NanoUsd> {
        let model = match self {
            Self::Free => return Some(NanoUsd::ZERO),
            Self::Listed { model, .. } => model,
            Self::Unknown => return None,
        };
        // A model that is sold by the piece has no price for what it reads.
        let input = match model.prices.get(Class::Input) {
            Some(_) => bounds.read(model.context),
            None => 0,
        };
        let extent = |input, output| Extent {
            input,
            output,
            heard: bounds.files > 0,
            spoken: bounds.aloud,
        };
        let choices = u64::from(bounds.choices.max(1));
        let most = match bounds.operation {
            Operation::Chat | Operation::Completions | Operation::Responses => {
                let written = bounds.written(model.output_limit);
                let extent = extent(input, written);
                let ordinary = model.most(extent, Terms::default());
                // A word of the client's may be left out on the way: it raises what is set aside, and never lowers it.
                // Without one it is the account's own, which its operator may have kept from us; then what its answers
                // told so far is all there is to go by.
                let tiers = bounds.unasked.with(bounds.tier).with(self.usual());
                let tiers = tiers.iter().filter(|tier| single(Some(*tier)).is_some());
                tiers.fold(ordinary, |most, tier| {
                    dearer(most, model.most(extent, terms(model, Some(tier))))
                })
            }
            Operation::Embeddings | Operation::EmbedOne | Operation::Rerank => {
                model.most(extent(input, 0), Terms::default())
            }
            // Nobody bills for these.
            Operation::Moderations | Operation::CountTokens => return Some(NanoUsd::ZERO),
            // By the second of sound, which nobody counts before it is heard or spoken.
            Operation::Speech | Operation::Transcriptions | Operation::Translations => {
                return None;
            }
            Operation::Images | Operation::ImageEdits | Operation::ImageVariations => {
                let mut meter = Meter::of(&Usage {
                    input: Tokens(input),
                    ..Usage::default()
                });
                meter.images = choices;
                match model.prices.get(Class::Image) {
                    Some(_) => model.cost(&meter, Terms::default()),
                    // By the token of a picture, of which nobody knows how many there are.
                    None => return None,
                }
            }
        };
        match most {
            Cost::Priced(amount) => Some(amount),
            Cost::Unpriced(_) => None,
        }
    }

    /// The tokens of a usage that somebody may be charged for.
    pub fn tokens(usage: &Usage, bounds: &Bounds) -> u64 {
        match is_never_billed(bounds.operation) {
            true => 0,
            false => usage.total().0,
        }
    }

    /// The most tokens that one request can be charged for.
    pub fn most_tokens(&self, bounds: &Bounds) -> u64 {
        if is_never_billed(bounds.operation) {
            return 0;
        }
        let (context, output_limit) = match self {
            Self::Listed { model, .. } => (model.context, model.output_limit),
            Self::Free | Self::Unknown => (None, None),
        };
        let answer = match bounds.operation.writes() {
            true => bounds.written(output_limit),
            false => 0,
        };
        bounds.read(context).saturating_add(answer)
    }
}

impl Price {
    /// What a million tokens cost at most, read and written, however long the prompt; `None` where nobody knows.
    pub fn per_million(&self) -> Option<(NanoUsd, NanoUsd)> {
        let model = match self {
            Self::Free => return Some((NanoUsd::ZERO, NanoUsd::ZERO)),
            Self::Listed { model, .. } => model,
            Self::Unknown => return None,
        };
        let long = model.long_context.iter().map(|long| &long.prices);
        let mut lists = std::iter::once(&model.prices).chain(long);
        lists.try_fold((NanoUsd::ZERO, NanoUsd::ZERO), |(input, output), prices| {
            let read = prices.charged(Class::Input)?.nano_usd();
            let said = prices.charged(Class::Output)?.nano_usd();
            let thought = prices.charged(Class::Reasoning)?.nano_usd();
            Some((input.max(read), output.max(said).max(thought)))
        })
    }
}

/// No provider bills for these.
fn is_never_billed(operation: Operation) -> bool {
    matches!(operation, Operation::Moderations | Operation::CountTokens)
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    fn listed(provider: &str, model: &str) -> Price {
        let registry = Registry::embedded().unwrap();
        Price::Listed {
            model: registry.find(provider, model).unwrap().model,
            usual: None,
        }
    }

    fn chat(bytes: u64, max_output: Option<u64>) -> Bounds {
        Bounds {
            operation: Operation::Chat,
            bytes,
            max_output,
            choices: 1,
            ..Bounds::default()
        }
    }

    #[test]
    fn m1_who_names_no_tier_is_set_aside_and_billed_in_the_accounts_own() {
        let plain = listed("openai", "gpt-6-luna");
        let Price::Listed { model, .. } = plain.clone() else {
            unreachable!()
        };
        let usual = Some(ServiceTier::Priority);
        let priority = Price::Listed { model, usual };
        let bounds = chat(4_000, Some(500));
        let dear = Bounds {
            tier: usual,
            ..bounds
        };
        assert!(plain.most(&dear) > plain.most(&bounds));
        assert_eq!(priority.most(&bounds), plain.most(&dear));
        // Who asks for less is not sure to get it.
        let flex = Bounds {
            tier: Some(ServiceTier::Flex),
            ..bounds
        };
        assert_eq!(priority.most(&flex), plain.most(&dear));
        let usage = |tier| Usage {
            input: Tokens(1_000),
            output: Tokens(500),
            tier,
            ..Usage::default()
        };
        let paid = |price: &Price, bounds, tier| price.paid(&usage(tier), bounds).unwrap();
        assert_eq!(
            paid(&priority, &bounds, None),
            paid(&plain, &bounds, usual),
            "who does not tell serves in the usual one"
        );
        assert_eq!(
            paid(&priority, &bounds, Some(ServiceTier::Default)),
            paid(&plain, &bounds, None),
            "and what was told is what is billed"
        );
        assert_eq!(priority.unasked(&usage(usual), &bounds), None);
        assert_eq!(plain.unasked(&usage(usual), &bounds), usual);
        assert_eq!(plain.unasked(&usage(usual), &dear), None);
        let seen = Bounds {
            unasked: Tiers::default().with(usual),
            ..bounds
        };
        assert_eq!(plain.most(&seen), plain.most(&dear));
    }

    #[test]
    fn a18_without_a_limit_of_the_clients_the_models_own_is_set_aside() {
        let price = listed("openai", "gpt-4o-mini");
        let open = price.most(&chat(1_000, None)).unwrap();
        let bound = price.most(&chat(1_000, Some(100))).unwrap();
        assert!(open > bound);
        // Beyond what the model can write there is nothing to pay for.
        assert_eq!(price.most(&chat(1_000, Some(10_000_000))).unwrap(), open);
    }

    #[test]
    fn a18_every_choice_is_set_aside() {
        let price = listed("openai", "gpt-4o-mini");
        let one = price.most(&chat(0, Some(100))).unwrap();
        let many = Bounds {
            choices: 50,
            ..chat(0, Some(100))
        };
        assert_eq!(price.most(&many).unwrap(), NanoUsd(one.0 * 50));
    }

    #[test]
    fn a18_a_dearer_lane_is_set_aside_and_paid_as_such() {
        let price = listed("openai", "gpt-6-luna");
        let asked = |tier| {
            let bounds = Bounds {
                tier,
                ..chat(1_000, Some(100))
            };
            price.most(&bounds).unwrap().0
        };
        let served = |tier| {
            let usage = Usage {
                input: Tokens(1_000),
                output: Tokens(100),
                tier,
                ..Usage::default()
            };
            price.cost(&usage).unwrap().0
        };
        let (usual, dearer) = (Some(ServiceTier::Default), Some(ServiceTier::Priority));
        assert_eq!(served(usual), served(None));
        assert_eq!(served(dearer), served(None) * 2);
        assert_eq!(served(Some(ServiceTier::Flex)) * 2, served(None));
        assert_eq!(asked(dearer), asked(None) * 2);
        // What is cheaper may be left out on the way, and then costs what everything does.
        assert_eq!(asked(Some(ServiceTier::Flex)), asked(None));
        assert_eq!(asked(Some(ServiceTier::Batch)), asked(None));
        let untold = |tier| {
            let bounds = Bounds {
                tier,
                ..chat(1_000, Some(100))
            };
            let usage = Usage {
                input: Tokens(1_000),
                output: Tokens(100),
                ..Usage::default()
            };
            price.paid(&usage, &bounds).unwrap().0
        };
        assert_eq!(untold(dearer), served(dearer));
        assert_eq!(untold(Some(ServiceTier::Flex)), served(None));
        assert_eq!(untold(Some(ServiceTier::Batch)), served(None));
        assert_eq!(
            served(Some(ServiceTier::Scale)),
            served(None),
            "by contract"
        );
    }

    #[test]
    fn a18_what_does_not_show_in_bytes_is_set_aside_as_well() {
        let price = listed("openai", "gpt-4o-mini");
        let text = chat(1_000, Some(100));
        let plain = price.most(&text).unwrap();
        let with = |pictures, files| {
            let bounds = Bounds {
                pictures,
                files,
                ..text
            };
            price.most(&bounds).unwrap()
        };
        let whole = price.most(&chat(10_000_000, Some(100))).unwrap();
        assert!(plain < with(1, 0) && with(1, 0) < with(2, 0));
        assert!(with(2, 0) <= whole && with(50, 0) == whole && with(0, 1) == whole);
        // A list of texts is more than one context; so are pictures to embed.
        let price = listed("openai", "text-embedding-3-small");
        let list = |bytes| Bounds {
            operation: Operation::Embeddings,
            ..chat(bytes, None)
        };
        let (one, many) = (price.most(&list(8_000)), price.most(&list(800_000)));
        assert_eq!(many.unwrap(), NanoUsd(one.unwrap().0 * 100));
    }

    #[test]
    fn what_is_set_aside_covers_what_it_can_cost() {
        let price = listed("anthropic", "claude-sonnet-4-5");
        let most = price.most(&chat(4_000, Some(500))).unwrap();
        let worst = Usage {
            input: Tokens(4_000),
            cache_write: Tokens(4_000),
            cache_write_hour: Tokens(4_000),
            output: Tokens(500),
            reasoning: Tokens(500),
            ..Usage::default()
        };
        assert!(price.cost(&worst).unwrap() <= most);
    }

    #[test]
    fn m1_the_tokens_that_are_charged_are_within_those_set_aside_for() {
        let usage = Usage {
            input: Tokens(400),
            output: Tokens(50),
            ..Usage::default()
        };
        let most = chat(400, Some(50));
        for price in [listed("openai", "gpt-4o-mini"), Price::Free] {
            assert_eq!(Price::tokens(&usage, &most), price.most_tokens(&most));
            assert!(price.most_tokens(&chat(400, None)) > 450);
        }
        // What no provider bills for is not sold by the token either.
        let counted = Bounds {
            operation: Operation::CountTokens,
            ..most
        };
        assert_eq!(Price::tokens(&usage, &counted), 0);
        assert_eq!(Price::Free.most_tokens(&counted), 0);
        let embedded = Bounds {
            operation: Operation::Embeddings,
            ..most
        };
        assert_eq!(Price::Free.most_tokens(&embedded), 400);
    }

    #[test]
    fn a_price_nobody_knows_is_not_nothing() {
        assert_eq!(Price::Unknown.most(&chat(1, Some(1))), None);
        assert_eq!(Price::Unknown.cost(&Usage::default()), None);
        assert_eq!(Price::Free.most(&chat(1, Some(1))), Some(NanoUsd::ZERO));
    }
}
