//! What usage costs.

use proptest::prelude::*;

use super::*;

#[test]
fn each_class_costs_its_own_price() {
    let pro = model("gemini", "pro");
    let million = 1_000_000;
    let cost = |meter: Meter| dollars(&pro.cost(&meter, Terms::default()));
    assert_eq!(cost(tokens(million, 0)), "3");
    assert_eq!(
        cost(Meter {
            cached_input: million,
            ..Meter::default()
        }),
        "0.3"
    );
    assert_eq!(
        cost(Meter {
            cache_write_5m: million,
            ..Meter::default()
        }),
        "3.75"
    );
    assert_eq!(
        cost(Meter {
            cache_write_1h: million,
            ..Meter::default()
        }),
        "6"
    );
    assert_eq!(
        cost(Meter {
            output: million,
            ..Meter::default()
        }),
        "15"
    );
    assert_eq!(
        cost(Meter {
            reasoning: million,
            ..Meter::default()
        }),
        "40"
    );
    assert_eq!(
        cost(Meter {
            audio_in: million,
            ..Meter::default()
        }),
        "7"
    );
}

#[test]
fn pieces_are_charged_by_the_piece() {
    let painter = model("openai", "painter");
    let meter = Meter {
        images: 2,
        requests: 1,
        ..Meter::default()
    };
    assert_eq!(dollars(&painter.cost(&meter, Terms::default())), "0.081");
    let only_asked = Meter {
        requests: 3,
        ..Meter::default()
    };
    assert_eq!(
        dollars(&painter.cost(&only_asked, Terms::default())),
        "0.003"
    );
}

#[test]
fn reasoning_without_a_price_costs_what_output_does() {
    let cost = model("openai", "gpt-a").cost(
        &Meter {
            reasoning: 1_000_000,
            ..Meter::default()
        },
        Terms::default(),
    );
    assert_eq!(dollars(&cost), "10");
}

#[test]
fn a_prompt_past_the_step_costs_the_longer_price_altogether() {
    let gpt = model("openai", "gpt-a");
    let cost = |meter: &Meter| dollars(&gpt.cost(meter, Terms::default()));
    assert_eq!(cost(&tokens(272_000, 1_000_000)), "10.34");
    assert_eq!(cost(&tokens(272_001, 1_000_000)), "15.6800025");
    let cached = Meter {
        cached_input: 272_000,
        ..tokens(1, 0)
    };
    assert_eq!(
        cost(&cached),
        "0.0680025",
        "what came from the cache is part of the length"
    );
}

#[test]
fn batches_and_tiers_change_the_price() {
    let gpt = model("openai", "gpt-a");
    let cost = |batch, tier| dollars(&gpt.cost(&tokens(100_000, 100_000), Terms { batch, tier }));
    assert_eq!(cost(false, None), "1.125");
    assert_eq!(cost(false, Some("default")), "1.125");
    assert_eq!(cost(true, None), "0.5625");
    assert_eq!(cost(false, Some("flex")), "0.5625");
    assert_eq!(cost(false, Some("priority")), "2.25");
    assert_eq!(
        cost(true, Some("priority")),
        "0.5625",
        "a batch has no tiers"
    );
}

#[test]
fn a_tier_and_a_long_prompt_cost_the_dearer_of_both() {
    // Of the input the long prompt is dearer (2.5 against 2), of the output the tier (20 against 15).
    let text = BOOK.replace("priority = { input = \"2.5\"", "priority = { input = \"2\"");
    let registry = Registry::parse(&text).unwrap();
    let terms = Terms {
        batch: false,
        tier: Some("priority"),
    };
    let model = registry.find("openai", "gpt-a").unwrap().model;
    let long = model.cost(&tokens(1_000_000, 1_000_000), terms);
    assert_eq!(dollars(&long), "22.5");
}

#[test]
fn g7_what_has_no_price_is_unpriced_and_never_free() {
    let used = tokens(10, 10);
    let gpt = model("openai", "gpt-a");
    let unpriced = |cost: Cost, missing: Missing| assert_eq!(cost, Cost::Unpriced(missing));
    unpriced(
        model("openai", "secret").cost(&used, Terms::default()),
        Missing::Price,
    );
    let audio = Meter {
        audio_in: 1,
        ..used
    };
    unpriced(
        gpt.cost(&audio, Terms::default()),
        Missing::Class(Class::AudioIn),
    );
    let terms = Terms {
        batch: false,
        tier: Some("scale"),
    };
    unpriced(gpt.cost(&used, terms), Missing::Tier("scale".to_owned()));
    let silent = Meter {
        requests: 1,
        ..Meter::default()
    };
    unpriced(gpt.cost(&silent, Terms::default()), Missing::Usage);
    let picture = Meter {
        images: 1,
        input: 10,
        ..Meter::default()
    };
    unpriced(
        gpt.cost(&picture, Terms::default()),
        Missing::Class(Class::Image),
    );
    unpriced(
        model("openai", "secret").most(extent(1, 1), Terms::default()),
        Missing::Price,
    );
}

#[test]
fn the_largest_counts_saturate() {
    let all = Meter {
        input: u64::MAX,
        cached_input: u64::MAX,
        cache_write_5m: u64::MAX,
        cache_write_1h: u64::MAX,
        output: u64::MAX,
        reasoning: u64::MAX,
        audio_in: u64::MAX,
        audio_out: 0,
        images: 0,
        requests: u64::MAX,
    };
    assert_eq!(
        model("gemini", "pro").cost(&all, Terms::default()),
        Cost::Priced(NanoUsd::MAX)
    );
    let most = model("openai", "gpt-a").most(extent(u64::MAX, u64::MAX), Terms::default());
    assert_eq!(most, Cost::Priced(NanoUsd::MAX));
}

/// Counts that do not saturate, with small ones as likely as large ones.
fn meters() -> impl Strategy<Value = Meter> {
    let count = || prop_oneof![0..10_u64, 0..2_000_000_u64];
    (
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
    )
        .prop_map(
            |(input, cached_input, cache_write_5m, cache_write_1h, output, reasoning, audio_in)| {
                Meter {
                    input,
                    cached_input,
                    cache_write_5m,
                    cache_write_1h,
                    output,
                    reasoning,
                    audio_in,
                    audio_out: 0,
                    images: 0,
                    requests: 1,
                }
            },
        )
}

fn terms() -> impl Strategy<Value = Terms<'static>> {
    let tier = prop_oneof![Just(None), Just(Some("flex")), Just(Some("priority"))];
    (any::<bool>(), tier).prop_map(|(batch, tier)| Terms { batch, tier })
}

proptest! {
    #[test]
    fn one_more_of_anything_never_costs_less(meter in meters(), class in 0..6_usize, more in 1..500_000_u64, terms in terms()) {
        let mut grown = Meter { audio_in: 0, ..meter };
        let before = grown;
        let counts = [
            &mut grown.input, &mut grown.cached_input, &mut grown.cache_write_5m,
            &mut grown.cache_write_1h, &mut grown.output, &mut grown.reasoning,
        ];
        for (index, count) in counts.into_iter().enumerate() {
            *count += if index == class { more } else { 0 };
        }
        let gpt = model("openai", "gpt-a");
        prop_assume!(!before.says_nothing());
        let (less, more) = (gpt.cost(&before, terms), gpt.cost(&grown, terms));
        prop_assert!(less.amount().unwrap() <= more.amount().unwrap(), "{:?} > {:?}", less, more);
    }

    #[test]
    fn a_cost_is_the_exact_sum_rounded_up_once(meter in meters()) {
        prop_assume!(!meter.says_nothing());
        // Prices of the file in thousandths of a dollar per million: nano-dollars a token.
        let exact_nanos: u128 = [
            (meter.input, 3_000), (meter.cached_input, 300), (meter.cache_write_5m, 3_750),
            (meter.cache_write_1h, 6_000), (meter.output, 15_000), (meter.reasoning, 40_000),
            (meter.audio_in, 7_000),
        ].into_iter().map(|(count, nanos)| u128::from(count) * nanos).sum();
        let cost = model("gemini", "pro").cost(&meter, Terms::default()).amount().unwrap();
        prop_assert_eq!(u128::from(cost.0), exact_nanos);
    }

    #[test]
    fn g7_no_request_of_this_size_costs_more_than_was_set_aside(
        meter in meters(), terms in terms(), spare in 0..1_000_u64,
    ) {
        prop_assume!(!meter.says_nothing());
        for (provider, name) in [("openai", "gpt-a"), ("gemini", "pro")] {
            let model = model(provider, name);
            let most = Extent {
                input: meter.prompt() + spare,
                output: meter.output + meter.reasoning + meter.audio_out + spare,
                heard: meter.audio_in > 0,
                spoken: meter.audio_out > 0,
            };
            let (Cost::Priced(cost), Cost::Priced(most)) = (model.cost(&meter, terms), model.most(most, terms)) else {
                continue;
            };
            prop_assert!(cost <= most, "{} costs {} of {}", name, cost, most);
        }
    }
}

#[test]
fn less_than_the_least_amount_still_costs_the_least_amount() {
    let text = "[p.m]\ncan = [\"chat\"]\nprice = { input = \"0.000000001\" }\nunconfirmed = true";
    let tiny = Registry::parse(text).unwrap().find("p", "m").unwrap().model;
    assert_eq!(
        tiny.cost(&tokens(1, 0), Terms::default()),
        Cost::Priced(NanoUsd(1))
    );
}

fn extent(input: u64, output: u64) -> Extent {
    Extent {
        input,
        output,
        ..Extent::default()
    }
}
