//! From the name a request carries to the entry that prices it.

use std::sync::Arc;

use super::date::Date;
use super::model::Model;
use super::registry::{Named, Registry, Shelf};

/// A longer name is nobody's model.
const LONGEST_NAME: usize = 256;

/// How a name led to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    Name,
    Alias,
    /// A version the file lists.
    Version,
    /// A day at the end of the name that the file does not list: `…-2026-08-06`.
    Dated,
    /// The beginning of the name.
    Beginning,
}

/// A model and how it was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub model: Arc<Model>,
    pub by: MatchedBy,
}

/// How long a model still answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Current,
    /// It answers, but not for ever.
    Deprecated {
        retires: Option<Date>,
        successor: Option<Arc<Model>>,
    },
    /// The provider refuses it: ask the successor.
    Retired {
        since: Date,
        successor: Option<Arc<Model>>,
    },
}

impl Registry {
    /// The entry for a model as `provider` calls it; `None` if nothing fits.
    ///
    /// A provider's own models come before those of the one it is the same as. Among each, a whole name
    /// comes before one without its day, and that before the longest beginning.
    pub fn find(&self, provider: &str, name: &str) -> Option<Found> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        let bare = self.bare(provider, name);
        self.shelves(provider)
            .find_map(|shelf| shelf.find(name).or_else(|| shelf.find(bare?)))
    }

    /// Whether `model` still answers on this day, and what to use instead if not for long.
    pub fn standing(&self, model: &Model, today: Date) -> Standing {
        if let Some(since) = model.retired.filter(|day| *day <= today) {
            return Standing::Retired {
                since,
                successor: self.successor(model, today),
            };
        }
        // A day of retirement in the future is a deprecation, said or not.
        let deprecated = model.deprecated.is_some_and(|day| day <= today);
        if deprecated || model.retired.is_some() {
            return Standing::Deprecated {
                retires: model.retired,
                successor: self.successor(model, today),
            };
        }
        Standing::Current
    }

    /// The first successor down the line that still answers on this day.
    fn successor(&self, model: &Model, today: Date) -> Option<Arc<Model>> {
        let mut at = self.entry(&model.provider, model.successor.as_deref()?)?;
        // The registry was refused if this line had no end; the bound only repeats that.
        for _ in 0..self.len() {
            if at.retired.is_none_or(|day| day > today) {
                return Some(at.clone());
            }
            at = self.entry(&at.provider, at.successor.as_deref()?)?;
        }
        None
    }

    /// The name without what this provider's names may begin with; `None` if it begins with nothing.
    fn bare<'n>(&self, provider: &str, name: &'n str) -> Option<&'n str> {
        let prefixes = self.prefixes(provider).iter();
        prefixes
            .filter_map(|prefix| name.strip_prefix(prefix.as_str()))
            .min_by_key(|bare| bare.len())
    }
}

impl Shelf {
    fn find(&self, name: &str) -> Option<Found> {
        let whole = self.names.get(name).map(|named| match named {
            Named::Own(model) => found(model, MatchedBy::Name),
            Named::Alias(model) => found(model, MatchedBy::Alias),
            Named::Version(model) => found(model, MatchedBy::Version),
        });
        let dated = || {
            let named = self.names.get(without_day(name)?)?;
            Some(found(named.model(), MatchedBy::Dated))
        };
        let begun = || {
            let mut beginnings = self.beginnings.iter();
            let (_, model) =
                beginnings.find(|(beginning, _)| name.starts_with(beginning.as_str()))?;
            Some(found(model, MatchedBy::Beginning))
        };
        whole.or_else(dated).or_else(begun)
    }
}

fn found(model: &Arc<Model>, by: MatchedBy) -> Found {
    Found {
        model: model.clone(),
        by,
    }
}

/// The name before `-2026-08-06`, `-20260806` or `@20260806`; `None` if it ends in no such day.
fn without_day(name: &str) -> Option<&str> {
    [("-", 10), ("-", 8), ("@", 8)]
        .into_iter()
        .find_map(|(mark, length)| {
            let (head, day) = name.split_at_checked(name.len().checked_sub(length)?)?;
            Date::read(day)?;
            head.strip_suffix(mark).filter(|head| !head.is_empty())
        })
}

impl Standing {
    /// The text of a `warning` header (RFC 9111 kept the field, code 299 means "lasting"), or nothing to
    /// warn of. Names come from the registry, so the text is printable and short.
    pub fn warning(&self, asked: &Model) -> Option<String> {
        let instead = |successor: &Option<Arc<Model>>| {
            successor.as_ref().map_or_else(String::new, |model| {
                format!("; use {}", field_text(&model.name))
            })
        };
        let name = field_text(&asked.name);
        let text = match self {
            Self::Current => return None,
            Self::Deprecated { retires, successor } => {
                let until = retires.map_or_else(String::new, |day| format!(" and ends on {day}"));
                format!("model {name} is deprecated{until}{}", instead(successor))
            }
            Self::Retired { since, successor } => {
                format!("model {name} ended on {since}{}", instead(successor))
            }
        };
        Some(format!("299 - \"{text}\""))
    }
}

/// Only what may stand in a quoted header value.
fn field_text(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            ' '..='~' => c,
            _ => '?',
        })
        .take(LONGEST_NAME)
        .collect()
}
