//! The tables of a registry file as models. Every mistake is told, not only the first.

use std::collections::{BTreeMap, BTreeSet};

use toml::Table;

use super::date::Date;
use super::mistake::Mistake;
use super::model::{Capability, Class, LongContext, Model, Prices, Source, TierPrice};
use super::section::Section;

/// How an amount is written, for the cure.
const AMOUNT: &str = "dollars as a decimal in quotes, such as \"2.50\"";
const FACTOR: &str = "a factor as a decimal in quotes, such as \"0.5\"";
const DAY: &str = "a day, such as \"2026-11-30\"";

/// What the file holds beside the models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) facts: Option<String>,
    /// From a provider without models of its own to the one whose models and prices it has.
    pub(super) same_as: BTreeMap<String, String>,
    /// By provider: what may stand before a model's name without changing what it is.
    pub(super) prefixes: BTreeMap<String, Vec<String>>,
}

/// Reads a whole file.
pub(super) fn read(table: Table) -> Result<(Head, Vec<Model>), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut file = Section::new(String::new(), table, &mut mistakes);
    let head = read_head(&mut file);
    let mut models = Vec::new();
    for (provider, entries) in file.rest() {
        let Some(entries) = file.as_table(&provider, entries) else {
            continue;
        };
        let mut section = file.inner(&provider, Table::new());
        for (name, entry) in entries {
            let Some(entry) = section.as_table(&name, entry) else {
                continue;
            };
            models.push(read_model(section.inner(&name, entry), &provider, &name));
        }
    }
    if mistakes.is_empty() {
        Ok((head, models))
    } else {
        Err(mistakes)
    }
}

fn read_head(file: &mut Section<'_>) -> Head {
    let facts = file.text("facts");
    let mut same_as = BTreeMap::new();
    for (provider, value) in file.table("same_as") {
        match value.as_str() {
            Some(other) => {
                same_as.insert(provider, other.to_owned());
            }
            None => file.mistake(
                "same_as",
                "holds something else than text",
                "write azure = \"openai\"",
            ),
        }
    }
    let mut prefixes = BTreeMap::new();
    for (provider, value) in file.table("prefixes") {
        let texts: Option<Vec<String>> = value.as_array().and_then(|list| {
            let texts = list.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect()
        });
        match texts {
            Some(texts) if texts.iter().all(|text| !text.is_empty()) => {
                prefixes.insert(provider, texts);
            }
            Some(_) | None => file.mistake(
                "prefixes",
                "holds something else than lists of text",
                "write gemini = [\"models/\"]",
            ),
        }
    }
    Head {
        facts,
        same_as,
        prefixes,
    }
}

fn read_model(mut entry: Section<'_>, provider: &str, name: &str) -> Model {
    check_name(&mut entry, "", name);
    let aliases = read_names(&mut entry, "aliases");
    let versions = read_names(&mut entry, "versions");
    let prices = entry.table("price");
    let prices = read_prices(entry.inner("price", prices));
    let model = Model {
        provider: provider.to_owned(),
        name: name.to_owned(),
        capabilities: read_capabilities(&mut entry),
        context: entry.count("context"),
        output_limit: entry.count("output_limit"),
        aliases,
        versions,
        long_context: read_long_context(&mut entry, &prices),
        prices,
        batch_factor: entry.parsed("batch_factor", FACTOR),
        tiers: read_tiers(&mut entry),
        deprecated: entry.parsed::<Date>("deprecated", DAY),
        retired: entry.parsed::<Date>("retired", DAY),
        successor: entry.text("successor"),
        source: read_source(&mut entry),
    };
    check_model(&mut entry, &model);
    entry.done();
    model
}

/// A star stands for the rest of a name, so it stands last and not alone.
fn check_name(entry: &mut Section<'_>, key: &str, name: &str) {
    let star = name.find('*');
    if star.is_some_and(|at| at + 1 != name.len()) || matches!(name, "" | "*") {
        let cure = "write the whole name, or its beginning and one * at the end";
        entry.mistake(key, "is not a name of a model", cure);
    }
}

fn read_names(entry: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let names = entry.texts(key);
    for name in &names {
        check_name(entry, key, name);
    }
    names
}

fn read_capabilities(entry: &mut Section<'_>) -> Vec<Capability> {
    let mut found = BTreeSet::new();
    for text in entry.texts("can") {
        match Capability::ALL
            .into_iter()
            .find(|known| known.label() == text)
        {
            Some(capability) => {
                found.insert(capability);
            }
            None => {
                let known: Vec<_> = Capability::ALL.iter().map(|known| known.label()).collect();
                let what = format!("\"{}\" is not known", super::section::quoted(&text));
                entry.mistake("can", what, format!("use any of: {}", known.join(", ")));
            }
        }
    }
    found.into_iter().collect()
}

fn read_prices(mut section: Section<'_>) -> Prices {
    let mut prices = Vec::new();
    for class in Class::ALL {
        let rate = section.parsed(class.label(), AMOUNT);
        prices.extend(rate.map(|rate| (class, rate)));
    }
    section.done();
    prices.into_iter().collect()
}

fn read_long_context(entry: &mut Section<'_>, base: &Prices) -> Vec<LongContext> {
    let mut steps: Vec<LongContext> = Vec::new();
    for (index, value) in entry.list("long_context").into_iter().enumerate() {
        let key = format!("long_context[{index}]");
        let Some(mut table) = entry.as_table(&key, value) else {
            continue;
        };
        let above = table.remove("above");
        let mut count = Table::new();
        count.extend(above.map(|above| ("above".to_owned(), above)));
        let above = entry.inner(&key, count).count("above");
        let prices = read_prices(entry.inner(&key, table));
        let Some(above) = above else {
            entry.mistake(&key, "has no length", "add above = 200_000");
            continue;
        };
        let shorter = steps.last().map_or(base, |last| &last.prices);
        check_step(entry, &key, shorter, &prices);
        if steps.last().is_some_and(|last| last.above >= above) {
            entry.mistake(
                &key,
                "is not longer than the one before",
                "sort them by above",
            );
        }
        steps.push(LongContext { above, prices });
    }
    steps
}

/// A class left out would fall back to another; a list that falls with the length would make
/// what was set aside for a long prompt too little for a shorter one.
fn check_step(entry: &mut Section<'_>, key: &str, shorter: &Prices, longer: &Prices) {
    for (class, before) in shorter.iter().filter(|(class, _)| class.counts_tokens()) {
        let label = class.label();
        match longer.get(class) {
            None => {
                let what = format!("has no price for {label}, which shorter prompts have");
                entry.mistake(key, what, "write it again, even if it is the same");
            }
            Some(after) if after < before => {
                let what =
                    format!("{label} costs less ({after}) than in shorter prompts ({before})");
                entry.mistake(key, what, "raise it, or lower the price before");
            }
            Some(_) => {}
        }
    }
}

fn read_tiers(entry: &mut Section<'_>) -> BTreeMap<String, TierPrice> {
    let mut tiers = BTreeMap::new();
    let table = entry.table("tiers");
    let mut section = entry.inner("tiers", Table::new());
    for (name, value) in table {
        let tier = if let Some(text) = value.as_str() {
            let factor = section.parse_text(&name, text, FACTOR);
            factor.map(TierPrice::Factor)
        } else {
            let prices = section.as_table(&name, value);
            prices.map(|prices| TierPrice::Prices(read_prices(section.inner(&name, prices))))
        };
        tiers.extend(tier.map(|tier| (name, tier)));
    }
    tiers
}

fn read_source(entry: &mut Section<'_>) -> Source {
    match (entry.text("confirmed"), entry.flag("unconfirmed")) {
        (Some(who), false) => Source::Confirmed(who),
        (None, true) => Source::Unconfirmed,
        (Some(_), true) => {
            entry.mistake(
                "unconfirmed",
                "contradicts confirmed",
                "keep one of the two",
            );
            Source::Unconfirmed
        }
        (None, false) => {
            let cure = "add confirmed = \"who says so\", or unconfirmed = true";
            entry.mistake("", "does not say where its facts come from", cure);
            Source::Unconfirmed
        }
    }
}

/// What no single key can tell.
fn check_model(entry: &mut Section<'_>, model: &Model) {
    if model.prices.is_empty() {
        if model.source != Source::Unconfirmed {
            entry.mistake(
                "price",
                "is missing",
                "add it, or mark the model unconfirmed = true",
            );
        }
        if !model.long_context.is_empty() || !model.tiers.is_empty() || model.batch_factor.is_some()
        {
            entry.mistake(
                "price",
                "is missing while parts of it are there",
                "add the base price",
            );
        }
    }
    if model.capabilities.is_empty() {
        entry.mistake(
            "can",
            "is empty or missing",
            "say what the model does, such as [\"chat\"]",
        );
    }
    if let (Some(context), Some(limit)) = (model.context, model.output_limit)
        && limit > context
    {
        entry.mistake(
            "output_limit",
            "is more than the context holds",
            "compare both with the source",
        );
    }
    if let (Some(deprecated), Some(retired)) = (model.deprecated, model.retired)
        && retired < deprecated
    {
        entry.mistake(
            "retired",
            "is before deprecated",
            "compare both with the source",
        );
    }
    if model.successor.is_some() && model.deprecated.is_none() && model.retired.is_none() {
        entry.mistake(
            "successor",
            "is given for a model that stays",
            "add deprecated or retired",
        );
    }
}
