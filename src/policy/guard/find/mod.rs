//! Where in a text something is: every detector's hits, united.

mod email;
mod iban;
mod ip;
mod names;
mod national;
mod numbers;
mod open;
mod pattern;
mod phone;
mod secret;

use std::ops::Range;

use super::rules::{Action, Actions, Class, RuleId};
use names::Names;
use secret::Secrets;

pub use pattern::{MOST_PATTERNS, Pattern};

/// No hit is longer, in bytes; what goes on behind it is found as a hit of its own or not at all.
pub const LONGEST_HIT: usize = 4_096;

/// Something that was found. Bytes of the text it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub range: Range<usize>,
    /// What the longest of those that overlap here is.
    pub rule: RuleId,
    pub action: Action,
}

/// What the operator looks for beyond what the guard knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists {
    /// Names of people; found as whole words, whatever their case.
    pub names: Vec<String>,
    pub patterns: Vec<Pattern>,
}

/// Why lists cannot be looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinderError {
    #[error("{0}")]
    Names(String),
    #[error("{what}")]
    Pattern { place: usize, what: String },
}

/// Looks for everything at once. Built once for a configuration, shared by all requests.
#[derive(Debug)]
pub struct Finder {
    secrets: Secrets,
    names: Option<Names>,
    patterns: Vec<pattern::Compiled>,
    words: Vec<String>,
}

impl Finder {
    pub fn new(lists: &Lists) -> Result<Self, FinderError> {
        let patterns = lists.patterns.iter().enumerate();
        let patterns = patterns.map(|(place, pattern)| {
            pattern::compile(pattern).map_err(|what| FinderError::Pattern { place, what })
        });
        let classes = Class::ALL.iter().map(|class| class.word().to_owned());
        let own = lists.patterns.iter().map(|pattern| pattern.word());
        Ok(Self {
            secrets: Secrets::new().map_err(FinderError::Names)?,
            names: Names::new(&lists.names).map_err(FinderError::Names)?,
            patterns: patterns.collect::<Result<_, _>>()?,
            words: classes.chain(own).collect(),
        })
    }

    /// The word that stands in a placeholder for this rule.
    pub fn word(&self, rule: RuleId) -> &str {
        self.words.get(rule.index()).map_or("HIDDEN", |word| word)
    }

    /// Everything these actions ask for that begins at `from` or behind, in order and without overlaps. What
    /// stands before `from` is only looked at for what it says about what follows.
    pub fn find(&self, text: &str, from: usize, actions: &Actions) -> Vec<Hit> {
        let mut hits = Hits {
            found: Vec::new(),
            actions,
        };
        let bytes = text.as_bytes();
        if hits.wants(Class::Email) {
            email::find(text, &mut hits);
        }
        if hits.wants(Class::Ip) {
            ip::find(bytes, &mut hits);
        }
        if numbers::KINDS.iter().any(|class| hits.wants(*class)) {
            numbers::find(bytes, &mut hits);
        }
        if hits.wants(Class::Secret) {
            self.secrets.find(bytes, &mut hits);
        }
        if let Some(names) = self.names.as_ref().filter(|_| hits.wants(Class::Name)) {
            names.find(text, &mut hits);
        }
        for (place, pattern) in self.patterns.iter().enumerate() {
            if let Some(rule) = RuleId::of_pattern(place).filter(|rule| actions.wants(*rule)) {
                pattern.find(text, rule, &mut hits);
            }
        }
        hits.found.retain(|hit| hit.range.start >= from);
        united(hits.found)
    }

    /// From where on a text that goes on may still become a hit, or a longer one.
    pub fn open_from(&self, text: &str, actions: &Actions) -> usize {
        let wants = |class: Class| actions.wants(class.rule());
        let mut open = open::tail(text);
        if wants(Class::Secret) {
            open = open.min(secret::open_block(text));
        }
        if let Some(names) = self.names.as_ref().filter(|_| wants(Class::Name)) {
            open = open.min(names.open_from(text));
        }
        for (place, pattern) in self.patterns.iter().enumerate() {
            if RuleId::of_pattern(place).is_some_and(|rule| actions.wants(rule)) {
                open = open.min(text.len().saturating_sub(pattern.reach()));
            }
        }
        open::floor_of_char(text, open)
    }
}

/// Hits that overlap become one: nothing of any may stay behind.
fn united(mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.sort_by_key(|hit| (hit.range.start, std::cmp::Reverse(hit.range.end)));
    let mut united: Vec<Hit> = Vec::with_capacity(hits.len());
    // How long the hit is that names the last of them.
    let mut longest = 0;
    for hit in hits {
        match united.last_mut() {
            Some(last) if hit.range.start < last.range.end => {
                last.action = last.action.max(hit.action);
                last.range.end = last.range.end.max(hit.range.end);
                if hit.range.len() > longest {
                    (longest, last.rule) = (hit.range.len(), hit.rule);
                }
            }
            _ => {
                longest = hit.range.len();
                united.push(hit);
            }
        }
    }
    united
}

/// Where detectors put what they find.
struct Hits<'a> {
    found: Vec<Hit>,
    actions: &'a Actions,
}

impl Hits<'_> {
    fn wants(&self, class: Class) -> bool {
        self.actions.wants(class.rule())
    }

    fn class(&mut self, class: Class, range: Range<usize>) {
        self.add(class.rule(), range);
    }

    fn add(&mut self, rule: RuleId, range: Range<usize>) {
        let action = self.actions.of(rule);
        if action == Action::Off || range.is_empty() {
            return;
        }
        self.found.push(Hit {
            range,
            rule,
            action,
        });
    }
}

/// The byte at this place; a line's end where there is none, so that ends of texts are ends of words.
fn at(bytes: &[u8], place: usize) -> u8 {
    bytes.get(place).copied().unwrap_or(b'\n')
}

/// The byte before this place.
fn before(bytes: &[u8], place: usize) -> u8 {
    place.checked_sub(1).map_or(b'\n', |place| at(bytes, place))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether one of these words stands shortly before this place, whatever their case.
fn is_told_of(bytes: &[u8], place: usize, words: &[&str]) -> bool {
    const NEAR: usize = 40;
    let near = bytes
        .get(place.saturating_sub(NEAR)..place)
        .unwrap_or_default();
    words.iter().any(|word| {
        near.windows(word.len())
            .any(|seen| seen.eq_ignore_ascii_case(word.as_bytes()))
    })
}
