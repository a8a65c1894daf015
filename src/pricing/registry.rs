//! All models by provider: read from a file, overridden by the operator's own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use toml::{Table, Value};

use super::mistake::{Mistake, RegistryError};
use super::model::Model;
use super::read::{Head, read};
use super::section::joined;

/// The registry this build was made with.
const EMBEDDED: &str = include_str!("../../config/models.toml");
/// A larger file is not a registry: the embedded one is a hundredth of it.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Tables of the file that are not providers.
const HEAD_TABLES: [&str; 2] = ["same_as", "prefixes"];
/// In the operator's own file: take nothing from the entry below.
const REPLACE: &str = "replace";
/// Keys that make an entry's price the operator's word, not that of the source below.
const PRICE_KEYS: [&str; 4] = ["price", "long_context", "tiers", "batch_factor"];

/// Every known model. Cheap to ask, built once per reload.
#[derive(Debug, Default)]
pub struct Registry {
    head: Head,
    providers: BTreeMap<String, Shelf>,
    /// What was read, kept so that own entries can be laid over it.
    source: Table,
}

/// The models of one provider.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) models: BTreeMap<String, Arc<Model>>,
    /// Whole names: those of entries, their aliases and versions.
    pub(super) names: HashMap<String, Named>,
    /// Beginnings of names, the longest first.
    pub(super) beginnings: Vec<(String, Arc<Model>)>,
}

/// Which of its names a model was found by.
#[derive(Clone, Debug)]
pub(super) enum Named {
    Own(Arc<Model>),
    Alias(Arc<Model>),
    Version(Arc<Model>),
}

impl Registry {
    /// The registry this build was made with.
    pub fn embedded() -> Result<Self, RegistryError> {
        Self::parse(EMBEDDED)
    }

    /// A registry that stands alone: the embedded file, or one fetched to replace it.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        Self::build(parse_table(text)?)
    }

    /// This registry with the operator's entries laid over it, key by key: what they do not name stays.
    ///
    /// An entry with `replace = true` takes nothing from the one below. A name the operator gives to a
    /// model is taken from whichever model had it as an alias.
    pub fn with_own(&self, text: &str) -> Result<Self, RegistryError> {
        let own = parse_table(text)?;
        let mut merged = self.source.clone();
        release_names(&mut merged, &own);
        for (key, value) in own {
            match (merged.get_mut(&key), value) {
                (Some(Value::Table(below)), Value::Table(above))
                    if HEAD_TABLES.contains(&key.as_str()) =>
                {
                    below.extend(above);
                }
                (Some(Value::Table(below)), Value::Table(above)) => lay_models(below, above),
                (None, Value::Table(above)) if !HEAD_TABLES.contains(&key.as_str()) => {
                    let mut below = Table::new();
                    lay_models(&mut below, above);
                    merged.insert(key, Value::Table(below));
                }
                (_, value) => {
                    merged.insert(key, value);
                }
            }
        }
        Self::build(merged)
    }

    /// Which month the facts are of, as the file says.
    pub fn facts(&self) -> Option<&str> {
        self.head.facts.as_deref()
    }

    /// Every model, by provider and name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.providers
            .values()
            .flat_map(|shelf| shelf.models.values())
    }

    pub fn len(&self) -> usize {
        self.providers
            .values()
            .map(|shelf| shelf.models.len())
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of exactly this provider and name.
    pub(super) fn entry(&self, provider: &str, name: &str) -> Option<&Arc<Model>> {
        self.providers.get(provider)?.models.get(name)
    }

    /// The provider's own models first, then those of the provider it is the same as.
    pub(super) fn shelves<'r>(&'r self, provider: &'r str) -> impl Iterator<Item = &'r Shelf> {
        let other = self.head.same_as.get(provider).map(String::as_str);
        [Some(provider), other]
            .into_iter()
            .flatten()
            .filter_map(|name| self.providers.get(name))
    }

    pub(super) fn prefixes(&self, provider: &str) -> &[String] {
        self.head.prefixes.get(provider).map_or(&[], Vec::as_slice)
    }

    fn build(source: Table) -> Result<Self, RegistryError> {
        let (head, models) = read(source.clone()).map_err(|mistakes| RegistryError { mistakes })?;
        let mut mistakes = Vec::new();
        let mut providers: BTreeMap<String, Shelf> = BTreeMap::new();
        for model in models {
            let shelf = providers.entry(model.provider.clone()).or_default();
            shelf.models.insert(model.name.clone(), Arc::new(model));
        }
        for shelf in providers.values_mut() {
            shelf.index(&mut mistakes);
            shelf.check_successors(&mut mistakes);
        }
        check_head(&head, &providers, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(RegistryError { mistakes });
        }
        Ok(Self {
            head,
            providers,
            source,
        })
    }
}

impl Shelf {
    fn index(&mut self, mistakes: &mut Vec<Mistake>) {
        // Own names first: no alias may hide an entry.
        for model in self.models.values() {
            add_name(
                &mut self.names,
                &mut self.beginnings,
                &model.name,
                Named::Own(model.clone()),
            );
        }
        for model in self.models.values() {
            let aliases = model
                .aliases
                .iter()
                .map(|name| (name, Named::Alias(model.clone())));
            let versions = model
                .versions
                .iter()
                .map(|name| (name, Named::Version(model.clone())));
            for (name, named) in aliases.chain(versions) {
                let Some(owner) = add_name(&mut self.names, &mut self.beginnings, name, named)
                else {
                    continue;
                };
                mistakes.push(Mistake {
                    path: path(model),
                    what: format!("\"{name}\" is already a name of \"{owner}\""),
                    cure: "keep it in one of the two".to_owned(),
                });
            }
        }
        self.beginnings.sort_by(|(one, _), (other, _)| {
            other.len().cmp(&one.len()).then_with(|| one.cmp(other))
        });
    }

    /// A successor exists, and following successors comes to an end.
    fn check_successors(&self, mistakes: &mut Vec<Mistake>) {
        for model in self.models.values() {
            let mut seen = BTreeSet::from([model.name.as_str()]);
            let mut at = model;
            while let Some(next) = &at.successor {
                let wrong = match self.models.get(next) {
                    None => Some(format!("\"{next}\" is not a model of {}", model.provider)),
                    Some(_) if !seen.insert(next) => Some("leads back to itself".to_owned()),
                    Some(found) => {
                        at = found;
                        None
                    }
                };
                let Some(what) = wrong else { continue };
                mistakes.push(Mistake {
                    path: joined(&path(model), "successor"),
                    what,
                    cure: "name an entry of the same provider that lives longer".to_owned(),
                });
                break;
            }
        }
    }
}

/// Takes a name for `named`, or answers whose it already is.
fn add_name(
    names: &mut HashMap<String, Named>,
    beginnings: &mut Vec<(String, Arc<Model>)>,
    name: &str,
    named: Named,
) -> Option<String> {
    let Some(beginning) = name.strip_suffix('*') else {
        if let Some(owner) = names.get(name) {
            return Some(owner.model().name.clone());
        }
        names.insert(name.to_owned(), named);
        return None;
    };
    let owner = beginnings.iter().find(|(taken, _)| taken == beginning);
    if let Some((_, owner)) = owner {
        return Some(owner.name.clone());
    }
    beginnings.push((beginning.to_owned(), named.model().clone()));
    None
}

impl Named {
    pub(super) fn model(&self) -> &Arc<Model> {
        match self {
            Self::Own(model) | Self::Alias(model) | Self::Version(model) => model,
        }
    }
}

pub(super) fn path(model: &Model) -> String {
    joined(&joined("", &model.provider), &model.name)
}

fn check_head(head: &Head, providers: &BTreeMap<String, Shelf>, mistakes: &mut Vec<Mistake>) {
    for (provider, other) in &head.same_as {
        if providers.contains_key(other) && provider != other {
            continue;
        }
        mistakes.push(Mistake {
            path: joined("same_as", provider),
            what: format!(
                "\"{}\" is not another provider with models",
                super::section::quoted(other)
            ),
            cure: "name one that has models in this file".to_owned(),
        });
    }
}

fn parse_table(text: &str) -> Result<Table, RegistryError> {
    let whole = |what: String, cure: &str| RegistryError {
        mistakes: vec![Mistake {
            path: String::new(),
            what,
            cure: cure.to_owned(),
        }],
    };
    if text.len() > MOST_BYTES {
        let what = format!("is {} bytes long, more than {MOST_BYTES}", text.len());
        return Err(whole(what, "check that it is a registry of models"));
    }
    text.parse::<Table>().map_err(|error| {
        let line = error.span().map_or(1, |span| {
            let before = text.get(..span.start).unwrap_or_default();
            before.matches('\n').count() + 1
        });
        let what = format!("is not TOML in line {line}: {}", error.message());
        whole(what, "mend the line")
    })
}

/// Lays the operator's models of one provider over those below.
fn lay_models(below: &mut Table, above: Table) {
    for (name, entry) in above {
        let Value::Table(mut entry) = entry else {
            below.insert(name, entry);
            continue;
        };
        let replace = entry.get(REPLACE) == Some(&Value::Boolean(true));
        if replace {
            entry.remove(REPLACE);
            below.remove(&name);
        }
        let prices_it = PRICE_KEYS.iter().any(|key| entry.contains_key(*key));
        let says_source = entry.contains_key("confirmed") || entry.contains_key("unconfirmed");
        if !says_source && (prices_it || !below.contains_key(&name)) {
            entry.insert(
                "confirmed".to_owned(),
                Value::String("the operator".to_owned()),
            );
        }
        match below.get_mut(&name) {
            Some(Value::Table(under)) => lay_entry(under, entry),
            Some(_) | None => {
                below.insert(name, Value::Table(entry));
            }
        }
    }
}

fn lay_entry(below: &mut Table, above: Table) {
    // Each of the two takes the other's place.
    if above.contains_key("confirmed") {
        below.remove("unconfirmed");
    } else if above.contains_key("unconfirmed") {
        below.remove("confirmed");
    }
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => under.extend(over),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// Takes the names that the operator gives to models from the aliases and versions below.
fn release_names(below: &mut Table, own: &Table) {
    for (provider, entries) in own {
        let Some(entries) = entries.as_table() else {
            continue;
        };
        let Some(Value::Table(models)) = below.get_mut(provider) else {
            continue;
        };
        let mut taken: BTreeSet<&str> = entries.keys().map(String::as_str).collect();
        for entry in entries.values() {
            let lists = ["aliases", "versions"]
                .into_iter()
                .filter_map(|key| entry.get(key)?.as_array());
            taken.extend(lists.flatten().filter_map(Value::as_str));
        }
        for (_, model) in models.iter_mut() {
            for key in ["aliases", "versions"] {
                if let Some(Value::Array(names)) = model.get_mut(key) {
                    names.retain(|name| name.as_str().is_none_or(|name| !taken.contains(name)));
                }
            }
        }
    }
}
