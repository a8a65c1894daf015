//! Usage times price. Exact in between, rounded up once, and never zero for want of a price.

use super::meter::Meter;
use super::model::{Class, LongContext, Model, Prices, TierPrice};
use super::money::{FACTOR_UNIT, Factor, Rate, TOKENS_PER_PRICE};
use crate::domain::NanoUsd;

/// Names by which providers call the ordinary tier, or say that they choose.
const ORDINARY_TIERS: [&str; 6] = [
    "",
    "auto",
    "default",
    "standard",
    "standard_only",
    "on_demand",
];

/// What a request was served as.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// Sent by a batch API, not one by one.
    pub batch: bool,
    /// The service tier the answer names; `None` if it names none.
    pub tier: Option<&'a str>,
}

/// The most that may be read and written, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub input: u64,
    pub output: u64,
    /// Sound may be among what is read.
    pub heard: bool,
    /// And among what is written.
    pub spoken: bool,
}

/// What a request cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    Priced(NanoUsd),
    /// Not known: charge what was reserved. Never to be read as nothing.
    Unpriced(Missing),
}

/// Why a cost is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The model has no price at all.
    Price,
    /// It has, but none for this, and this was used.
    Class(Class),
    /// It was served as a tier whose price nobody wrote down.
    Tier(String),
    /// Nothing was counted, which no answer costs.
    Usage,
}

impl Cost {
    /// `None` if the cost is not known.
    pub fn amount(&self) -> Option<NanoUsd> {
        match self {
            Self::Priced(amount) => Some(*amount),
            Self::Unpriced(_) => None,
        }
    }
}

impl Model {
    /// What this usage costs on these terms.
    ///
    /// A tier with prices of its own and a long prompt at once cost the dearer of both, class by
    /// class: no provider in the file sells that pair for less.
    pub fn cost(&self, meter: &Meter, terms: Terms<'_>) -> Cost {
        if self.prices.is_empty() {
            return Cost::Unpriced(Missing::Price);
        }
        if meter.says_nothing() && !self.is_sold_by_the_request() {
            return Cost::Unpriced(Missing::Usage);
        }
        let charges = match self.charges(meter.prompt(), terms) {
            Ok(charges) => charges,
            Err(missing) => return Cost::Unpriced(missing),
        };
        let mut sum = Sum::default();
        for class in Class::ALL {
            let count = meter.count(class);
            match charges.rate(class) {
                _ if count == 0 => {}
                Some(rate) => sum.add(class, count, rate),
                // Most models charge nothing for a request as such.
                None if class == Class::Request => {}
                // Billed as the output tokens that are there.
                None if class == Class::Image && meter.output > 0 => {}
                None => return Cost::Unpriced(Missing::Class(class)),
            }
        }
        Cost::Priced(sum.times(charges.factor))
    }

    /// The most that one request with a prompt of `input` and an answer of `output` tokens of text can
    /// cost: what to set aside before it is sent (ground rule G7).
    ///
    /// `output` bounds the answer with its reasoning. Audio and images are not in it.
    pub fn most(&self, extent: Extent, terms: Terms<'_>) -> Cost {
        if self.prices.is_empty() {
            return Cost::Unpriced(Missing::Price);
        }
        // No shorter prompt costs more: the reader refuses a list that falls with the length.
        match self
            .charges(extent.input, terms)
            .map(|charges| charges.most(extent))
        {
            Ok(Ok(amount)) => Cost::Priced(amount),
            Ok(Err(class)) => Cost::Unpriced(Missing::Class(class)),
            Err(missing) => Cost::Unpriced(missing),
        }
    }

    fn is_sold_by_the_request(&self) -> bool {
        self.prices.get(Class::Request).is_some() && self.prices.get(Class::Input).is_none()
    }

    fn charges(&self, prompt: u64, terms: Terms<'_>) -> Result<Charges<'_>, Missing> {
        let long = self
            .long_context
            .iter()
            .rev()
            .find(|step| prompt > step.above);
        let mut charges = Charges {
            base: &self.prices,
            long,
            tier: None,
            factor: Factor::ONE,
        };
        // A batch has no tiers; without a price of its own it costs what single requests do.
        if terms.batch {
            charges.factor = self.batch_factor.unwrap_or(Factor::ONE);
            return Ok(charges);
        }
        let Some(name) = terms.tier.filter(|name| !ORDINARY_TIERS.contains(name)) else {
            return Ok(charges);
        };
        match self.tiers.get(name) {
            Some(TierPrice::Factor(factor)) => charges.factor = *factor,
            Some(TierPrice::Prices(prices)) => charges.tier = Some(prices),
            None => return Err(Missing::Tier(super::section::quoted(name))),
        }
        Ok(charges)
    }
}

/// The price lists that hold for one request.
struct Charges<'m> {
    base: &'m Prices,
    long: Option<&'m LongContext>,
    tier: Option<&'m Prices>,
    factor: Factor,
}

impl Charges<'_> {
    fn rate(&self, class: Class) -> Option<Rate> {
        let long = self.long.and_then(|step| step.prices.charged(class));
        let tier = self.tier.and_then(|prices| prices.charged(class));
        // What neither names (a fee for the request, say) costs what it always does.
        long.max(tier).or_else(|| self.base.charged(class))
    }

    fn most(&self, extent: Extent) -> Result<NanoUsd, Class> {
        let dearest =
            |classes: &[Class]| classes.iter().filter_map(|class| self.rate(*class)).max();
        let read = [
            Class::Input,
            Class::CachedInput,
            Class::CacheWrite5m,
            Class::CacheWrite1h,
            Class::AudioIn,
        ];
        let written = [Class::Output, Class::Reasoning, Class::AudioOut];
        // The last is for what is heard and spoken.
        let read = read.get(..read.len() - usize::from(!extent.heard));
        let written = written.get(..written.len() - usize::from(!extent.spoken));
        let mut sum = Sum::default();
        for (count, classes) in [(extent.input, read), (extent.output, written)] {
            let classes = classes.unwrap_or_default();
            match (count, dearest(classes)) {
                (0, _) => {}
                (_, None) => return Err(classes.first().copied().unwrap_or(Class::Input)),
                (count, Some(rate)) => sum.add(Class::Input, count, rate),
            }
        }
        if let Some(fee) = self.rate(Class::Request) {
            sum.add(Class::Request, 1, fee);
        }
        Ok(sum.times(self.factor))
    }
}

/// Millionths of a nano-dollar: fine enough that no price is rounded.
#[derive(Default)]
struct Sum(u128);

impl Sum {
    fn add(&mut self, class: Class, count: u64, rate: Rate) {
        let pieces = if class.counts_tokens() {
            u128::from(count)
        } else {
            u128::from(count).saturating_mul(TOKENS_PER_PRICE)
        };
        let charge = pieces.saturating_mul(u128::from(rate.nano_usd().0));
        self.0 = self.0.saturating_add(charge);
    }

    /// In nano-dollars, rounded up.
    fn times(self, factor: Factor) -> NanoUsd {
        let scaled = self.0.saturating_mul(u128::from(factor.millionths()));
        NanoUsd::saturated(scaled.div_ceil(TOKENS_PER_PRICE * FACTOR_UNIT))
    }
}
