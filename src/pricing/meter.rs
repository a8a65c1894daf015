//! What a request used, sorted by what it is charged as.

use crate::domain::Usage;

use super::model::Class;

/// Counts of everything that is charged; each token is counted in exactly one place.
///
/// Unlike [`Usage`], whose details are parts of its totals, these add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Text and images of the prompt that no other count holds.
    pub input: u64,
    pub cached_input: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    /// Of the answer, without reasoning and audio.
    pub output: u64,
    pub reasoning: u64,
    pub audio_in: u64,
    pub audio_out: u64,
    /// Images made, in pieces. Where a model bills images as output tokens, they cost nothing here.
    pub images: u64,
    pub requests: u64,
}

impl Meter {
    /// One request with this usage. Details that claim more than their total holds are cut, the
    /// cheapest first: a provider's slip, or a lie, never makes a request cheaper than plain text.
    ///
    /// [`Usage`] does not say how long a cache write lives; all count as the shorter kind. Who knows
    /// better moves them to `cache_write_1h`.
    pub fn of(usage: &Usage) -> Self {
        let mut input = usage.input.0;
        let audio_in = take(&mut input, usage.audio_input.0);
        let hour = usage.cache_write_hour.0.min(usage.cache_write.0);
        let cache_write_1h = take(&mut input, hour);
        let cache_write_5m = take(&mut input, usage.cache_write.0 - hour);
        let cached_input = take(&mut input, usage.cached_input.0);
        let mut output = usage.output.0;
        let audio_out = take(&mut output, usage.audio_output.0);
        let reasoning = take(&mut output, usage.reasoning.0);
        Self {
            input,
            cached_input,
            cache_write_5m,
            cache_write_1h,
            output,
            reasoning,
            audio_in,
            audio_out,
            images: 0,
            requests: 1,
        }
    }

    pub fn count(&self, class: Class) -> u64 {
        match class {
            Class::Input => self.input,
            Class::CachedInput => self.cached_input,
            Class::CacheWrite5m => self.cache_write_5m,
            Class::CacheWrite1h => self.cache_write_1h,
            Class::Output => self.output,
            Class::Reasoning => self.reasoning,
            Class::AudioIn => self.audio_in,
            Class::AudioOut => self.audio_out,
            Class::Image => self.images,
            Class::Request => self.requests,
        }
    }

    /// The length of the prompt, which long-context prices look at: cached or not, it was read.
    pub fn prompt(&self) -> u64 {
        [
            self.input,
            self.cached_input,
            self.cache_write_5m,
            self.cache_write_1h,
            self.audio_in,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Nothing but requests was counted: whoever answered did not say what was used.
    pub fn says_nothing(&self) -> bool {
        Class::ALL
            .into_iter()
            .all(|class| class == Class::Request || self.count(class) == 0)
    }
}

/// Takes up to `wanted` out of `total`.
fn take(total: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*total);
    *total -= taken;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Tokens;

    proptest! {
        #[test]
        fn a18_no_detail_makes_tokens_appear_or_vanish(
            input: u64, output: u64, details: [u64; 6],
        ) {
            let [cached, write, hour, reasoning, audio_in, audio_out] = details;
            let meter = Meter::of(&Usage {
                input: Tokens(input),
                output: Tokens(output),
                cached_input: Tokens(cached),
                cache_write: Tokens(write),
                cache_write_hour: Tokens(hour),
                reasoning: Tokens(reasoning),
                audio_input: Tokens(audio_in),
                audio_output: Tokens(audio_out),
                tier: None,
            });
            prop_assert_eq!(meter.prompt(), input);
            prop_assert_eq!(u128::from(meter.output) + u128::from(meter.reasoning) + u128::from(meter.audio_out), u128::from(output));
        }
    }

    #[test]
    fn a18_cached_tokens_beyond_the_prompt_are_cut_before_dearer_ones() {
        let meter = Meter::of(&Usage {
            input: Tokens(100),
            cached_input: Tokens(1_000),
            cache_write: Tokens(30),
            audio_input: Tokens(20),
            ..Usage::default()
        });
        assert_eq!(
            (
                meter.audio_in,
                meter.cache_write_5m,
                meter.cached_input,
                meter.input
            ),
            (20, 30, 50, 0)
        );
    }
}
