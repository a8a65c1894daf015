//! What the operator looks for: regular expressions whose search takes time linear in the text.

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;

use super::super::rules::{CLASSES, MOST_RULES, RuleId};
use super::{Hits, LONGEST_HIT};

/// Patterns there can be.
pub const MOST_PATTERNS: usize = MOST_RULES - CLASSES;
/// Bytes of one, and of what it is compiled to.
const LONGEST: usize = 1_024;
const LARGEST: usize = 1 << 20;
/// What may be held back of a stream for the sake of one.
const LONGEST_REACH: usize = 256;
/// Word boundaries look at the characters around a match.
const AROUND: usize = 8;

/// A pattern as the operator wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub name: String,
    pub regex: String,
    /// Looked for in answers as well, which may be streams: it has to say how long it can be.
    pub in_answers: bool,
}

impl Pattern {
    /// What stands in a placeholder: letters, digits and underscores.
    pub(super) fn word(&self) -> String {
        let fit = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        };
        self.name.chars().map(fit).collect()
    }
}

#[derive(Debug)]
pub(super) struct Compiled {
    regex: Regex,
    reach: usize,
}

pub(super) fn compile(pattern: &Pattern) -> Result<Compiled, String> {
    let written = &pattern.regex;
    if written.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    let parsed = ParserBuilder::new()
        .nest_limit(64)
        .build()
        .parse(written)
        .map_err(|error| plain(&error.to_string()))?;
    let regex = RegexBuilder::new(written)
        .nest_limit(64)
        .size_limit(LARGEST)
        .dfa_size_limit(LARGEST)
        .build()
        .map_err(|error| plain(&error.to_string()))?;
    if parsed.properties().minimum_len().unwrap_or_default() == 0 {
        return Err("matches nothing at all, which is everywhere".to_owned());
    }
    let longest = parsed.properties().maximum_len();
    if pattern.in_answers && longest.is_none_or(|longest| longest > LONGEST_REACH) {
        return Err(format!(
            "may match more than {LONGEST_REACH} bytes, and so much of an answer cannot be held back"
        ));
    }
    Ok(Compiled {
        regex,
        reach: longest.unwrap_or(LONGEST_REACH).min(LONGEST_REACH) + AROUND,
    })
}

/// The last line of what the parser says: the others are a drawing.
fn plain(error: &str) -> String {
    let last = error.lines().last().unwrap_or_default().trim();
    format!("cannot be compiled: {}", last.trim_start_matches("error: "))
}

impl Compiled {
    pub(super) fn find(&self, text: &str, rule: RuleId, hits: &mut Hits<'_>) {
        for found in self.regex.find_iter(text) {
            hits.add(rule, found.range());
        }
    }

    /// Bytes at the end of a text in which a match may have begun that is not whole yet.
    pub(super) fn reach(&self) -> usize {
        self.reach.min(LONGEST_HIT)
    }
}
