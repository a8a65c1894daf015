//! The file this build carries.

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
    let presets: toml::Table = include_str!("../../../config/providers.toml")
        .parse()
        .unwrap();
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
