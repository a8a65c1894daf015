#![allow(
    clippy::unwrap_used,
    reason = "the macro of proptest hides its functions from the exemption for tests"
)]

use proptest::prelude::*;

use super::*;

const BOOK: &str = r#"
facts = "2026-11"

[same_as]
azure = "openai"

[prefixes]
gemini = ["models/", "publishers/google/models/"]

[openai."gpt-a"]
can = ["chat", "tools"]
context = 400_000
output_limit = 128_000
aliases = ["gpt-a-latest"]
versions = ["gpt-a-2026-01-02"]
price = { input = "1.25", cached_input = "0.125", output = "10" }
long_context = [{ above = 272_000, input = "2.5", cached_input = "0.25", output = "15" }]
batch_factor = "0.5"
tiers = { flex = "0.5", priority = { input = "2.5", cached_input = "0.25", output = "20" } }
confirmed = "a test"

[openai."gpt-a*"]
can = ["chat"]
price = { input = "90", output = "90" }
confirmed = "a test"

[openai."ft:gpt-a*"]
can = ["chat"]
price = { input = "3", output = "12" }
confirmed = "a test"

[openai.old]
can = ["chat"]
price = { input = "30", output = "60" }
deprecated = "2026-01-01"
retired = "2026-06-01"
successor = "middle"
confirmed = "a test"

[openai.middle]
can = ["chat"]
price = { input = "30", output = "60" }
retired = "2026-09-01"
successor = "gpt-a"
confirmed = "a test"

[openai.secret]
can = ["chat"]
unconfirmed = true

[openai.painter]
can = ["image_out"]
price = { image = "0.04", request = "0.001" }
confirmed = "a test"

[gemini.pro]
can = ["chat"]
price = { input = "3", cache_write_5m = "3.75", cache_write_1h = "6", cached_input = "0.3", output = "15", reasoning = "40", audio_in = "7" }
confirmed = "a test"
"#;

fn book() -> Registry {
    Registry::parse(BOOK).unwrap()
}

fn model(provider: &str, name: &str) -> std::sync::Arc<Model> {
    book().find(provider, name).unwrap().model
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn tokens(input: u64, output: u64) -> Meter {
    Meter {
        input,
        output,
        requests: 1,
        ..Meter::default()
    }
}

fn dollars(cost: &Cost) -> String {
    cost.amount()
        .map_or_else(|| format!("{cost:?}"), |amount| amount.to_string())
}

fn mistakes(text: &str) -> Vec<String> {
    let error = Registry::parse(text).unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}

mod embedded {
    use super::*;

    // Duplicate names, missing successors and unknown keys are mistakes of the reader itself: each is
    // proven below on a small file, so that this one parses is the proof for all of its entries.
    #[test]
    fn m1_the_embedded_registry_parses() {
        let registry = Registry::embedded()
            .map_err(|error| error.to_string())
            .unwrap();
        assert_eq!(registry.facts(), Some("2026-11"));
    }

    #[test]
    fn every_name_in_the_embedded_registry_leads_to_its_model() {
        let registry = Registry::embedded().unwrap();
        for model in registry.models() {
            for name in [&model.name]
                .into_iter()
                .chain(&model.aliases)
                .chain(&model.versions)
            {
                let asked = name.replace('*', "anything");
                let found = registry.find(&model.provider, &asked).unwrap();
                assert_eq!(&found.model, model, "{}/{name}", model.provider);
            }
        }
    }

    #[test]
    fn every_price_of_the_embedded_registry_covers_what_the_model_does() {
        for model in Registry::embedded().unwrap().models() {
            let path = format!("{}/{}", model.provider, model.name);
            if model.prices.is_empty() {
                assert_eq!(model.source, Source::Unconfirmed, "{path}");
                continue;
            }
            if model.can(Capability::Chat) {
                let cost = model.cost(&tokens(1_000, 1_000), Terms::default());
                let free = model.prices.iter().all(|(_, rate)| rate.to_string() == "0");
                assert!(
                    free || cost.amount().unwrap() > NanoUsd::ZERO,
                    "{path}: {cost:?}"
                );
                assert_eq!(free, path == "zhipu/glm-4.7-flash", "{path}");
                assert!(model.context.is_some(), "{path} has no context");
            }
            let cached = model.prices.get(Class::CachedInput);
            let input = model.prices.get(Class::Input);
            assert!(
                cached <= input || input.is_none(),
                "{path}: a cache hit is dearer than none"
            );
            if input.is_some() {
                let write = model.prices.get(Class::CacheWrite5m);
                assert!(
                    write.is_none() || write >= cached,
                    "{path}: a write is cheaper than a hit"
                );
            }
        }
    }

    #[test]
    fn every_model_of_a_preset_is_in_the_embedded_registry() {
        let registry = Registry::embedded().unwrap();
        let presets: toml::Table = include_str!("../../config/providers.toml").parse().unwrap();
        let mut missing = Vec::new();
        for (provider, preset) in &presets {
            let models = preset.get("models").and_then(toml::Value::as_array);
            for name in models.into_iter().flatten().filter_map(toml::Value::as_str) {
                if registry.find(provider, name).is_none() {
                    missing.push(format!("{provider}/{name}"));
                }
            }
        }
        assert_eq!(missing, [""; 0], "a preset without a price is refused");
    }

    #[test]
    fn every_retired_model_of_the_embedded_registry_has_somewhere_to_go() {
        let registry = Registry::embedded().unwrap();
        let end_of_time = day("9999-12-31");
        for model in registry.models().filter(|model| model.successor.is_some()) {
            let standing = registry.standing(model, end_of_time);
            let warning = standing.warning(model).unwrap();
            assert!(
                warning.contains("; use "),
                "{}/{}: {warning}",
                model.provider,
                model.name
            );
        }
    }
}

mod reading {
    use super::*;

    #[test]
    fn every_mistake_is_told_with_its_place_and_its_cure() {
        let told = mistakes(
            r#"
            [openai."gpt-5"]
            can = ["chat", "telepathy"]
            contxt = 1
            output_limit = -1
            price = { input = 1.25, output = "1e3", bananas = "1" }
            "#,
        );
        let expect = [
            ("openai.gpt-5.price.input", "not exact"),
            (
                "openai.gpt-5.price.output",
                "\"1e3\" is not a decimal number",
            ),
            (
                "openai.gpt-5.price.bananas",
                "use one of: input, cached_input",
            ),
            ("openai.gpt-5.can", "\"telepathy\" is not known"),
            ("openai.gpt-5.output_limit", "above zero"),
            ("openai.gpt-5: does not say where", "confirmed"),
            ("openai.gpt-5.contxt", "is not a key known here"),
        ];
        for (path, what) in expect {
            let found = told
                .iter()
                .any(|line| line.starts_with(path) && line.contains(what));
            assert!(found, "{path} … {what} is missing in {told:#?}");
        }
    }

    #[test]
    fn a_name_two_models_claim_is_a_mistake() {
        let twice = r#"
            [p.a]
            can = ["chat"]
            aliases = ["x", "b", "w*"]
            unconfirmed = true
            [p.b]
            can = ["chat"]
            aliases = ["x"]
            versions = ["w*"]
            unconfirmed = true
        "#;
        let told = mistakes(twice);
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(
            told[0].starts_with("p.a: \"b\" is already a name of \"b\""),
            "{told:#?}"
        );
    }

    #[test]
    fn a_successor_that_is_missing_or_runs_in_a_circle_is_a_mistake() {
        let entry = |name: &str, next: &str| {
            format!(
                "[p.{name}]\ncan = [\"chat\"]\nretired = \"2026-01-01\"\nsuccessor = \"{next}\"\nunconfirmed = true\n"
            )
        };
        let told = mistakes(&[entry("a", "b"), entry("b", "a"), entry("c", "nobody")].concat());
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(
            told.iter()
                .any(|line| line.contains("leads back to itself"))
        );
        assert!(
            told.iter()
                .any(|line| line.contains("\"nobody\" is not a model of p"))
        );
    }

    #[test]
    fn what_contradicts_itself_is_a_mistake() {
        let cases = [
            ("price = { input = \"1\" }", "does not say where"),
            ("confirmed = \"x\"", "price: is missing"),
            (
                "unconfirmed = true\nconfirmed = \"x\"\nprice = { input = \"1\" }",
                "contradicts confirmed",
            ),
            (
                "unconfirmed = true\nbatch_factor = \"0.5\"",
                "parts of it are there",
            ),
            (
                "unconfirmed = true\ncontext = 5\noutput_limit = 6",
                "more than the context holds",
            ),
            (
                "unconfirmed = true\nretired = \"2026-01-01\"\ndeprecated = \"2026-02-01\"",
                "before deprecated",
            ),
            (
                "unconfirmed = true\nsuccessor = \"m\"",
                "a model that stays",
            ),
            (
                "unconfirmed = true\nprice = { input = \"2\", output = \"1\" }\nlong_context = [{ above = 5, input = \"3\" }]",
                "no price for output",
            ),
            (
                "unconfirmed = true\nprice = { input = \"2\" }\nlong_context = [{ above = 5, input = \"1\" }]",
                "costs less (1)",
            ),
            (
                "unconfirmed = true\nprice = { input = \"2\" }\nlong_context = [{ input = \"3\" }]",
                "has no length",
            ),
            (
                "unconfirmed = true\nprice = { input = \"2\" }\nlong_context = [{ above = 5, input = \"3\" }, { above = 5, input = \"4\" }]",
                "not longer than the one before",
            ),
        ];
        for (text, what) in cases {
            let told = mistakes(&format!("[p.m]\ncan = [\"chat\"]\n{text}\n"));
            assert!(
                told.iter().any(|line| line.contains(what)),
                "{text}: {told:#?}"
            );
        }
        for name in ["\"*\"", "\"a*b\""] {
            let told = mistakes(&format!("[p.{name}]\ncan = [\"chat\"]\nunconfirmed = true"));
            assert!(told[0].contains("is not a name of a model"), "{told:?}");
        }
        assert!(mistakes("[same_as]\nazure = \"openai\"")[0].contains("is not another provider"));
        assert!(mistakes("facts = \"x\"\n[p.m\n")[0].contains("is not TOML in line 2"));
    }

    proptest! {
        #[test]
        fn no_text_panics_the_reader(at in 0..BOOK.len(), cut in 0..40_usize, junk in "[\\[\\]{}=\"a-z0-9.*\n]{0,8}") {
            let mut text = BOOK.to_owned();
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &junk);
            let _ = Registry::parse(&text);
            let _ = book().with_own(&text);
        }
    }
}

mod finding {
    use super::*;

    fn found(provider: &str, name: &str) -> Option<(String, MatchedBy)> {
        let found = book().find(provider, name)?;
        Some((found.model.name.clone(), found.by))
    }

    #[test]
    fn a_model_is_found_by_any_of_its_names() {
        let is = |name: &str, by| Some((name.to_owned(), by));
        assert_eq!(found("openai", "gpt-a"), is("gpt-a", MatchedBy::Name));
        assert_eq!(
            found("openai", "gpt-a-latest"),
            is("gpt-a", MatchedBy::Alias)
        );
        assert_eq!(
            found("openai", "gpt-a-2026-01-02"),
            is("gpt-a", MatchedBy::Version)
        );
        assert_eq!(
            found("openai", "gpt-a-2026-03-04"),
            is("gpt-a", MatchedBy::Dated)
        );
        assert_eq!(
            found("openai", "gpt-a@20260304"),
            is("gpt-a", MatchedBy::Dated)
        );
        assert_eq!(
            found("openai", "gpt-a-20260304"),
            is("gpt-a", MatchedBy::Dated)
        );
        assert_eq!(
            found("openai", "gpt-a-2026-13-04"),
            is("gpt-a*", MatchedBy::Beginning)
        );
        assert_eq!(
            found("openai", "ft:gpt-a:me"),
            is("ft:gpt-a*", MatchedBy::Beginning)
        );
        assert_eq!(found("openai", "gpt-b"), None);
        assert_eq!(found("nobody", "gpt-a"), None);
        assert_eq!(found("openai", &"gpt-a".repeat(60)), None);
    }

    #[test]
    fn the_longest_beginning_wins() {
        let text = r#"
            [p."a*"]
            can = ["chat"]
            unconfirmed = true
            [p."a-b*"]
            can = ["chat"]
            unconfirmed = true
        "#;
        let registry = Registry::parse(text).unwrap();
        assert_eq!(registry.find("p", "a-b-c").unwrap().model.name, "a-b*");
        assert_eq!(registry.find("p", "a-c").unwrap().model.name, "a*");
    }

    #[test]
    fn a_provider_with_the_models_of_another_finds_them() {
        assert_eq!(found("azure", "gpt-a").unwrap().0, "gpt-a");
        let own = "[azure.\"gpt-a\"]\ncan = [\"chat\"]\nprice = { input = \"2\", output = \"11\" }";
        let registry = book().with_own(own).unwrap();
        let model = registry.find("azure", "gpt-a").unwrap().model;
        assert_eq!(model.provider, "azure", "its own come first");
        assert_eq!(
            registry.find("azure", "middle").unwrap().model.provider,
            "openai"
        );
    }

    #[test]
    fn a_prefix_of_the_provider_is_not_part_of_the_name() {
        assert_eq!(found("gemini", "models/pro").unwrap().0, "pro");
        assert_eq!(
            found("gemini", "publishers/google/models/pro").unwrap().0,
            "pro"
        );
        assert_eq!(found("openai", "models/gpt-a"), None);
    }

    proptest! {
        #[test]
        fn no_name_panics_the_search(provider in "(openai|gemini|azure|.{0,6})", name in "(gpt-a)?.{0,16}") {
            let _ = book().find(&provider, &name);
        }
    }

    #[test]
    fn a_deprecated_model_names_the_first_successor_that_still_answers() {
        let registry = book();
        let old = model("openai", "old");
        let successor = |standing: Standing| match standing {
            Standing::Current => None,
            Standing::Deprecated { successor, .. } | Standing::Retired { successor, .. } => {
                successor.map(|model| model.name.clone())
            }
        };
        assert_eq!(
            registry.standing(&old, day("2025-12-31")),
            Standing::Deprecated {
                retires: Some(day("2026-06-01")),
                successor: Some(model("openai", "middle")),
            }
        );
        let retired = registry.standing(&old, day("2026-06-01"));
        assert!(
            matches!(retired, Standing::Retired { .. }),
            "the day itself counts"
        );
        assert_eq!(successor(retired).as_deref(), Some("middle"));
        let later = registry.standing(&old, day("2026-09-01"));
        assert_eq!(
            later.warning(&old).as_deref(),
            Some("299 - \"model old ended on 2026-06-01; use gpt-a\"")
        );
        let current = registry.standing(&model("openai", "gpt-a"), day("2099-01-01"));
        assert_eq!(current.warning(&old), None);
    }

    #[test]
    fn a_name_cannot_break_out_of_the_warning() {
        let text =
            "[p.\"a\\\"\\r\\n b\"]\ncan = [\"chat\"]\nretired = \"2026-01-01\"\nunconfirmed = true";
        let registry = Registry::parse(text).unwrap();
        let model = registry.models().next().unwrap().clone();
        let warning = registry
            .standing(&model, day("2026-02-01"))
            .warning(&model)
            .unwrap();
        assert_eq!(warning, "299 - \"model a'?? b ended on 2026-01-01\"");
    }
}

mod costs {
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
        let cost =
            |batch, tier| dollars(&gpt.cost(&tokens(100_000, 100_000), Terms { batch, tier }));
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
        let terms = Terms {
            batch: false,
            tier: Some("priority"),
        };
        let long = model("openai", "gpt-a").cost(&tokens(1_000_000, 1_000_000), terms);
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
            model("openai", "secret").most(1, 1, Terms::default()),
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
        let most = model("openai", "gpt-a").most(u64::MAX, u64::MAX, Terms::default());
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
                |(
                    input,
                    cached_input,
                    cache_write_5m,
                    cache_write_1h,
                    output,
                    reasoning,
                    audio_in,
                )| Meter {
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
            let meter = Meter { audio_in: 0, ..meter };
            prop_assume!(!meter.says_nothing());
            for (provider, name) in [("openai", "gpt-a"), ("gemini", "pro")] {
                let model = model(provider, name);
                let (input, output) = (meter.prompt() + spare, meter.output + meter.reasoning + spare);
                let (Cost::Priced(cost), Cost::Priced(most)) = (model.cost(&meter, terms), model.most(input, output, terms)) else {
                    continue;
                };
                prop_assert!(cost <= most, "{} costs {} of {}", name, cost, most);
            }
        }
    }

    #[test]
    fn less_than_the_least_amount_still_costs_the_least_amount() {
        let text =
            "[p.m]\ncan = [\"chat\"]\nprice = { input = \"0.000000001\" }\nunconfirmed = true";
        let tiny = Registry::parse(text).unwrap().find("p", "m").unwrap().model;
        assert_eq!(
            tiny.cost(&tokens(1, 0), Terms::default()),
            Cost::Priced(NanoUsd(1))
        );
    }
}

mod own_entries {
    use super::*;

    #[test]
    fn an_own_price_changes_that_price_and_nothing_else() {
        let registry = book()
            .with_own("[openai.\"gpt-a\"]\nprice = { output = \"7\" }")
            .unwrap();
        let own = registry.find("openai", "gpt-a").unwrap().model;
        let before = model("openai", "gpt-a");
        let expected = Model {
            prices: before
                .prices
                .iter()
                .map(|(class, rate)| {
                    (
                        class,
                        if class == Class::Output {
                            "7".parse().unwrap()
                        } else {
                            rate
                        },
                    )
                })
                .collect(),
            source: Source::Confirmed("the operator".to_owned()),
            ..(*before).clone()
        };
        assert_eq!(*own, expected);
    }

    #[test]
    fn a_new_model_needs_no_more_than_a_price() {
        let own =
            "[mine.\"llama\"]\ncan = [\"chat\"]\nprice = { input = \"0.1\", output = \"0.2\" }";
        let registry = book().with_own(own).unwrap();
        assert!(registry.find("mine", "llama").is_some());
        assert_eq!(registry.len(), book().len() + 1);
    }

    #[test]
    fn a_replaced_entry_keeps_nothing() {
        let own = "[openai.\"gpt-a\"]\nreplace = true\ncan = [\"chat\"]\nprice = { input = \"1\" }";
        let registry = book().with_own(own).unwrap();
        let replaced = registry.find("openai", "gpt-a").unwrap().model;
        assert!(replaced.long_context.is_empty() && replaced.prices.get(Class::Output).is_none());
    }

    #[test]
    fn a_name_the_operator_gives_away_leaves_its_old_model() {
        let own = "[openai.mine]\ncan = [\"chat\"]\naliases = [\"gpt-a-latest\"]\nprice = { input = \"1\" }\n\
                   [openai.\"gpt-a-2026-01-02\"]\ncan = [\"chat\"]\nprice = { input = \"1\" }";
        let registry = book().with_own(own).unwrap();
        assert_eq!(
            registry.find("openai", "gpt-a-latest").unwrap().model.name,
            "mine"
        );
        let version = registry.find("openai", "gpt-a-2026-01-02").unwrap();
        assert_eq!(
            (version.model.name.as_str(), version.by),
            ("gpt-a-2026-01-02", MatchedBy::Name)
        );
    }

    #[test]
    fn own_entries_are_checked_like_all_others() {
        let error = book()
            .with_own("[openai.\"gpt-a\"]\nprize = { output = \"7\" }")
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("openai.gpt-a.prize: is not a key"),
            "{error}"
        );
        assert!(book().with_own("openai = 5").is_err());
        assert!(book().with_own("[openai]\n\"gpt-a\" = 5").is_err());
        assert!(book().with_own("same_as = 5").is_err());
    }

    proptest! {
        #[test]
        fn what_own_entries_do_not_name_stays(which in 0..9_usize, price in 1..1_000_u32) {
            let book = book();
            let names: Vec<_> = book.models().cloned().collect();
            let named = &names[which % names.len()];
            let own = format!("[{}.\"{}\"]\nreplace = true\ncan = [\"chat\"]\nprice = {{ input = \"{price}\" }}", named.provider, named.name);
            let registry = book.with_own(&own).unwrap();
            for model in &names {
                let after = registry.models().find(|after| after.provider == model.provider && after.name == model.name).unwrap();
                prop_assert_eq!(after == model, model != named, "{}", model.name);
            }
        }
    }
}

mod guarding {
    use super::*;

    fn shop(models: impl IntoIterator<Item = (usize, &'static str)>) -> Registry {
        let entries = models.into_iter().map(|(index, price)| {
            let provider = if index == 0 { "small" } else { "large" };
            format!("[{provider}.m{index}]\ncan = [\"chat\"]\nprice = {{ input = \"{price}\" }}\nunconfirmed = true\n")
        });
        Registry::parse(&entries.collect::<String>()).unwrap()
    }

    fn objections(old: &Registry, new: &Registry) -> Vec<Objection> {
        admit(old, new, false).map_or_else(|refused| refused.objections, |()| Vec::new())
    }

    #[test]
    fn c05_a_registry_that_lost_more_than_a_fifth_is_refused_unless_forced() {
        let old = shop((0..10).map(|index| (index, "1")));
        let enough = shop((0..8).map(|index| (index, "1")));
        assert_eq!(objections(&old, &enough), []);
        let too_few = shop((0..7).map(|index| (index, "1")));
        assert_eq!(
            objections(&old, &too_few),
            [Objection::Shrunk { from: 10, kept: 7 }]
        );
        assert_eq!(admit(&old, &too_few, true), Ok(()));
    }

    #[test]
    fn other_models_do_not_make_up_for_those_that_went() {
        let old = shop((0..10).map(|index| (index, "1")));
        let renamed = shop((0..2).chain(20..40).map(|index| (index, "1")));
        assert_eq!(
            objections(&old, &renamed),
            [Objection::Shrunk { from: 10, kept: 2 }]
        );
    }

    #[test]
    fn a_provider_that_vanished_is_told_however_small() {
        let old = shop((0..10).map(|index| (index, "1")));
        let without = shop((1..10).map(|index| (index, "1")));
        let gone = Objection::ProviderGone {
            provider: "small".to_owned(),
        };
        assert_eq!(objections(&old, &without), [gone]);
    }

    #[test]
    fn c05_a_price_that_jumps_more_than_tenfold_is_refused() {
        let old = shop([(1, "1")]);
        for belief in ["10", "0.1", "1"] {
            assert_eq!(objections(&old, &shop([(1, belief)])), [], "{belief}");
        }
        for beyond in ["10.000000001", "0.099999999", "0"] {
            let jump = Objection::PriceJump {
                path: "large.m1.price.input".to_owned(),
                from: "1".to_owned(),
                to: beyond.to_owned(),
            };
            assert_eq!(objections(&old, &shop([(1, beyond)])), [jump]);
        }
    }

    #[test]
    fn a_price_that_vanished_is_told() {
        let new = BOOK.replace(
            "price = { input = \"3\", output = \"12\" }\nconfirmed = \"a test\"",
            "unconfirmed = true",
        );
        let told = objections(&book(), &Registry::parse(&new).unwrap());
        assert_eq!(
            told,
            [Objection::PriceGone {
                path: "openai.\"ft:gpt-a*\"".to_owned()
            }]
        );
    }

    #[test]
    fn jumps_hide_neither_in_steps_nor_tiers_nor_factors() {
        let cases = [
            (
                "above = 272_000, input = \"2.5\"",
                "above = 272_000, input = \"250\"",
                "long_context.input",
            ),
            (
                "priority = { input = \"2.5\"",
                "priority = { input = \"250\"",
                "tiers.priority.input",
            ),
            ("flex = \"0.5\"", "flex = \"0.01\"", "tiers.flex"),
            (
                "batch_factor = \"0.5\"",
                "batch_factor = \"0\"",
                "batch_factor",
            ),
            (
                "cached_input = \"0.125\", ",
                "cached_input = \"0.01\", ",
                "price.cached_input",
            ),
        ];
        for (from, to, key) in cases {
            let new = Registry::parse(&BOOK.replace(from, to)).unwrap();
            let told = admit(&book(), &new, false).unwrap_err().to_string();
            assert!(
                told.contains(&format!("openai.gpt-a.{key} would change")),
                "{key}: {told}"
            );
        }
    }

    #[test]
    fn the_same_registry_is_always_admitted() {
        let embedded = Registry::embedded().unwrap();
        assert_eq!(
            admit(&embedded, &Registry::embedded().unwrap(), false),
            Ok(())
        );
        assert_eq!(admit(&book(), &book(), false), Ok(()));
    }

    #[test]
    fn an_empty_file_is_refused() {
        let told = objections(&book(), &Registry::parse("").unwrap());
        assert!(
            told.contains(&Objection::Shrunk { from: 8, kept: 0 }),
            "{told:?}"
        );
    }
}
