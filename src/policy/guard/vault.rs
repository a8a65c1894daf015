//! What was taken out of a request, and how it comes back.
//!
//! A placeholder is `<EMAIL_1>`: one for each thing that was taken out, the same wherever it stood. Models keep
//! such words as they are, and some write their brackets as escapes where they write JSON.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use memchr::memmem;

use super::channel::Form;

/// How brackets may be spelt in JSON.
const OPEN: [&str; 3] = ["<", "\\u003c", "\\u003C"];
const CLOSE: [&str; 3] = [">", "\\u003e", "\\u003E"];

/// The things of one request. Lives as long as its answer does, and is never written anywhere.
#[derive(Default)]
pub struct Vault {
    /// Placeholder to what it stands for.
    hidden: BTreeMap<String, String>,
    by_text: HashMap<String, HashMap<String, String>>,
    /// The last number given with each word.
    last: HashMap<String, u64>,
    longest: usize,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("count", &self.hidden.len())
            .finish()
    }
}

impl Vault {
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty()
    }

    /// The placeholder for a text.
    pub(super) fn hide(&mut self, word: &str, text: &str, prompt: &[u8]) -> String {
        if let Some(known) = self.by_text.get(word).and_then(|known| known.get(text)) {
            return known.clone();
        }
        let last = self
            .last
            .entry(word.to_owned())
            .or_insert_with(|| highest(prompt, word));
        *last += 1;
        let placeholder = format!("<{word}_{last}>");
        self.longest = self.longest.max(placeholder.len());
        let texts = self.by_text.entry(word.to_owned()).or_default();
        texts.insert(text.to_owned(), placeholder.clone());
        self.hidden.insert(placeholder.clone(), text.to_owned());
        placeholder
    }

    /// Placeholders in a text, with what stands there instead.
    pub(super) fn find(&self, text: &str, form: Form) -> Vec<(Range<usize>, String)> {
        let mut found = Vec::new();
        if self.is_empty() {
            return found;
        }
        if form == Form::Label {
            return self.bare(text);
        }
        let mut place = 0;
        while let Some((start, inside)) = opening(text, place, form) {
            place = inside;
            let Some((word, end)) = self.closing(text, inside, form) else {
                continue;
            };
            if let Some(hidden) = self.hidden.get(&format!("<{word}>")) {
                let shown = match form {
                    Form::Text | Form::Label => hidden.clone(),
                    Form::Json => escaped(hidden),
                };
                found.push((start..end, shown));
                place = end;
            }
        }
        found
    }

    /// Placeholders without brackets, where nothing else touches them.
    fn bare(&self, text: &str) -> Vec<(Range<usize>, String)> {
        let mut found = Vec::new();
        let mut end = 0;
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let start = end;
            end = start + word.len();
            if let Some(hidden) = self.hidden.get(&format!("<{word}>")) {
                found.push((start..end, hidden.clone()));
            }
            // And what the words are parted by.
            end += text
                .get(end..)
                .and_then(|rest| rest.chars().next())
                .map_or(0, char::len_utf8);
        }
        found
    }

    /// What stands up to the closing bracket, and where that ends.
    fn closing<'a>(&self, text: &'a str, inside: usize, form: Form) -> Option<(&'a str, usize)> {
        let rest = text.get(inside..)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest
            .find(|c: char| !fits(c))
            .filter(|end| *end < self.longest)?;
        let close = CLOSE.iter().take(spellings(form)).find(|close| {
            rest.get(end..)
                .is_some_and(|rest| rest.starts_with(**close))
        })?;
        Some((rest.get(..end)?, inside + end + close.len()))
    }

    /// Where the text's end begins to look like a placeholder that is not whole yet.
    pub(super) fn open_from(&self, text: &str, form: Form) -> usize {
        let mut place = text.len().saturating_sub(self.longest + 2 * CLOSE[1].len());
        while !text.is_char_boundary(place) {
            place += 1;
        }
        if self.is_empty() {
            return text.len();
        }
        for (start, _) in text.get(place..).unwrap_or_default().char_indices() {
            let rest = text.get(place + start..).unwrap_or_default();
            if self.may_become_one(rest, form) {
                return place + start;
            }
        }
        text.len()
    }

    fn may_become_one(&self, rest: &str, form: Form) -> bool {
        let spelt = spellings(form);
        if OPEN.iter().take(spelt).any(|open| open.starts_with(rest)) {
            return true;
        }
        let Some(open) = OPEN
            .iter()
            .take(spelt)
            .find(|open| rest.starts_with(**open))
        else {
            return false;
        };
        let word = rest.get(open.len()..).unwrap_or_default();
        // A closing bracket may have begun.
        let word_end = word.find('\\').filter(|_| form == Form::Json);
        let (word, tail) = word.split_at(word_end.unwrap_or(word.len()));
        let begun = format!("<{word}");
        let known = self.hidden.range(begun.clone()..).next();
        let fits = known.is_some_and(|(known, _)| known.starts_with(&begun));
        fits && (tail.is_empty()
            || CLOSE
                .iter()
                .any(|close| close.len() > tail.len() && close.starts_with(tail)))
    }
}

fn spellings(form: Form) -> usize {
    match form {
        Form::Text | Form::Label => 1,
        Form::Json => OPEN.len(),
    }
}

/// The next opening bracket, and what is behind it.
fn opening(text: &str, from: usize, form: Form) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    OPEN.iter()
        .take(spellings(form))
        .filter_map(|open| {
            rest.find(open)
                .map(|found| (from + found, from + found + open.len()))
        })
        .min()
}

/// As it stands in a text of JSON.
fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inside = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or_default().to_owned()
}

/// The highest number that stands behind the word anywhere: ours begin behind it.
fn highest(prompt: &[u8], word: &str) -> u64 {
    let mark = format!("{word}_");
    memmem::find_iter(prompt, mark.as_bytes())
        .filter_map(|found| {
            let digits = prompt.get(found + mark.len()..)?;
            let count = digits
                .iter()
                .take(9)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            std::str::from_utf8(digits.get(..count)?).ok()?.parse().ok()
        })
        .max()
        .unwrap_or(0)
}
