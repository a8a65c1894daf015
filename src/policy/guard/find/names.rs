//! Names of people, from a list of the operator's.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};

use super::super::rules::Class;
use super::Hits;

/// A longer name is a mistake in the list.
const LONGEST: usize = 128;
const SHORTEST: usize = 2;
const MOST: usize = 100_000;

pub(super) struct Names {
    automaton: AhoCorasick,
    /// As they are looked for, in order: what a text ends with may be the beginning of one.
    sorted: BTreeSet<String>,
    longest: usize,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names")
            .field("count", &self.sorted.len())
            .finish()
    }
}

impl Names {
    /// `None` for an empty list.
    pub(super) fn new(names: &[String]) -> Result<Option<Self>, String> {
        let mut sorted = BTreeSet::new();
        for name in names {
            let name = name.trim();
            if !(SHORTEST..=LONGEST).contains(&name.len()) {
                return Err(format!("a name has {SHORTEST} to {LONGEST} bytes"));
            }
            // The automaton knows the cases of ASCII; other letters are looked for in both.
            sorted.insert(name.to_ascii_lowercase());
            sorted.insert(name.to_lowercase());
            sorted.insert(name.to_uppercase().to_ascii_lowercase());
        }
        if sorted.is_empty() {
            return Ok(None);
        }
        if sorted.len() > MOST {
            return Err(format!("more than {MOST} names"));
        }
        let longest = sorted.iter().map(String::len).max().unwrap_or_default();
        let automaton = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&sorted)
            .map_err(|error| error.to_string())?;
        Ok(Some(Self {
            automaton,
            sorted,
            longest,
        }))
    }

    pub(super) fn find(&self, text: &str, hits: &mut Hits<'_>) {
        for found in self.automaton.find_overlapping_iter(text) {
            let before = text
                .get(..found.start())
                .and_then(|text| text.chars().next_back());
            let behind = text.get(found.end()..).and_then(|text| text.chars().next());
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if !inside(before) && !inside(behind) {
                hits.class(Class::Name, found.range());
            }
        }
    }

    /// The first place whose rest is the beginning of a name, or a whole one whose end is not seen yet.
    pub(super) fn open_from(&self, text: &str) -> usize {
        let mut from = text.len().saturating_sub(self.longest);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let mut inside = text
            .get(..from)
            .and_then(|text| text.chars().next_back())
            .is_some_and(char::is_alphanumeric);
        for (place, c) in text.get(from..).unwrap_or_default().char_indices() {
            let rest = text.get(from + place..).unwrap_or_default();
            if !inside && self.begins_a_name(rest) {
                return from + place;
            }
            inside = c.is_alphanumeric();
        }
        text.len()
    }

    fn begins_a_name(&self, rest: &str) -> bool {
        let rest = rest.to_ascii_lowercase();
        self.sorted
            .range(rest.clone()..)
            .next()
            .is_some_and(|name| name.starts_with(&rest))
    }
}
