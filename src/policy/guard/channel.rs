//! A text that comes in pieces: what of it is sure goes on, what may still become something waits.
//!
//! Each piece has its slot, the place in the event it came in. Nothing moves to another slot: what a piece of the
//! answer says stays where it was said, and an event goes on once all its slots are decided.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::find::Finder;
use super::rules::{Action, Actions, RuleId, Tally};
use super::vault::Vault;

/// What kind of text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Text,
    /// A text of JSON inside the text, as a call's arguments are.
    Json,
    /// A name for something, in which placeholders went out without their brackets.
    Label,
}

/// What is decided of one slot: more of its text, or the rest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub slot: u64,
    pub text: String,
    pub is_whole: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub said: Vec<Said>,
    pub tally: Tally,
    /// The text ends here: what follows is forbidden.
    pub blocked: Option<RuleId>,
}

/// What an answer is searched for.
#[derive(Clone, Copy)]
pub struct Searched<'a> {
    pub finder: &'a Finder,
    pub actions: &'a Actions,
    pub vault: &'a Vault,
}

/// Bytes before a place that detectors look back at.
const CONTEXT: usize = 128;
/// A longer wait is looked at again only when it has grown by an eighth: a long run is not searched byte by byte.
const SHORT: usize = 512;

#[derive(Debug)]
pub struct Channel {
    form: Form,
    /// What was decided last, as detectors see it.
    context: String,
    pending: String,
    /// The slots of what is pending, with their bytes.
    slots: VecDeque<(u64, usize)>,
    looked_at: usize,
}

/// Something else stands here.
struct Change {
    range: Range<usize>,
    with: String,
}

impl Channel {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            context: String::new(),
            pending: String::new(),
            slots: VecDeque::new(),
            looked_at: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes a piece. A slot is used once.
    pub fn push(&mut self, slot: u64, text: &str) {
        self.pending.push_str(text);
        self.slots.push_back((slot, text.len()));
    }

    /// Decides what can be; at the end of the text all of it.
    pub fn decide(&mut self, search: Searched<'_>, is_end: bool) -> Decided {
        let waits = self.pending.len();
        let grown = waits - self.looked_at.min(waits);
        if !is_end && waits > SHORT && grown < self.looked_at / 8 {
            return Decided::default();
        }
        let (masked, whole_escapes) = match self.form {
            Form::Text | Form::Label => (Cow::Borrowed(&*self.pending), waits),
            Form::Json => masked(&self.pending),
        };
        let mut open = if is_end { waits } else { whole_escapes };
        let mut decided = Decided::default();
        let mut changes = self.placeholders(search, is_end, &mut open);
        let hits = self.hits(search, &masked, is_end, &mut open);
        let ranges = changes.iter().map(|change| &change.range);
        let ranges: Vec<&Range<usize>> = ranges.chain(hits.iter().map(|hit| &hit.0)).collect();
        // Nothing is cut in two.
        while let Some(cut) = ranges
            .iter()
            .find(|range| range.start < open && open < range.end)
        {
            open = cut.start;
        }
        for (range, rule, action) in hits {
            // What the client itself sent is not taken from it again.
            let is_own = changes
                .iter()
                .any(|change| change.range.start < range.end && range.start < change.range.end);
            if range.end > open || is_own {
                continue;
            }
            decided.tally.count(rule);
            let with = match action {
                Action::Block => {
                    open = range.start;
                    decided.blocked = Some(rule);
                    break;
                }
                Action::Redact => format!("<{}>", search.finder.word(rule)),
                Action::Off | Action::Mark | Action::Route => continue,
            };
            changes.push(Change { range, with });
        }
        changes.retain(|change| change.range.end <= open);
        changes.sort_by_key(|change| change.range.start);
        let seen = masked.get(..open).unwrap_or_default();
        self.context.push_str(seen);
        keep_end(&mut self.context);
        decided.said = self.spread(open, &changes);
        if decided.blocked.is_some() {
            self.pending.clear();
            self.slots.clear();
        }
        self.looked_at = self.pending.len();
        decided
    }

    fn placeholders(&self, search: Searched<'_>, is_end: bool, open: &mut usize) -> Vec<Change> {
        let found = search.vault.find(&self.pending, self.form);
        if !is_end {
            *open = (*open).min(search.vault.open_from(&self.pending, self.form));
        }
        found
            .into_iter()
            .map(|(range, with)| Change { range, with })
            .collect()
    }

    /// What the rules find, in bytes of what is pending.
    fn hits(
        &self,
        search: Searched<'_>,
        masked: &str,
        is_end: bool,
        open: &mut usize,
    ) -> Vec<(Range<usize>, RuleId, Action)> {
        if search.actions.is_off() {
            return Vec::new();
        }
        let from = self.context.len();
        let view = [&self.context, masked].concat();
        let hits = search.finder.find(&view, from, search.actions);
        if !is_end {
            let may_grow = search.finder.open_from(&view, search.actions);
            *open = (*open).min(may_grow.saturating_sub(from));
        }
        let moved = hits.into_iter().map(|hit| {
            let range = hit.range.start - from..hit.range.end - from;
            (range, hit.rule, hit.action)
        });
        moved.collect()
    }

    /// Gives each slot its part of what is decided; a change belongs to the slot that it begins in.
    fn spread(&mut self, open: usize, changes: &[Change]) -> Vec<Said> {
        let mut said = Vec::new();
        let mut changes = changes;
        let (mut place, mut hidden_to) = (0, 0);
        while let Some((slot, length)) = self.slots.front().copied() {
            let end = place + length;
            let sure = end.min(open);
            let mut text = String::new();
            let mut from = hidden_to.max(place);
            while let [change, rest @ ..] = changes
                && change.range.start < sure
            {
                text.push_str(
                    self.pending
                        .get(from..change.range.start)
                        .unwrap_or_default(),
                );
                text.push_str(&change.with);
                hidden_to = change.range.end;
                from = hidden_to;
                changes = rest;
            }
            text.push_str(self.pending.get(from..sure).unwrap_or_default());
            let is_whole = end <= open;
            if is_whole || !text.is_empty() {
                said.push(Said {
                    slot,
                    text,
                    is_whole,
                });
            }
            if !is_whole {
                if let Some((_, left)) = self.slots.front_mut() {
                    *left = end - sure;
                }
                break;
            }
            self.slots.pop_front();
            place = end;
        }
        self.pending.drain(..open.min(self.pending.len()));
        said
    }
}

/// Keeps the last of what was decided.
fn keep_end(context: &mut String) {
    let mut from = context.len().saturating_sub(CONTEXT);
    while !context.is_char_boundary(from) {
        from += 1;
    }
    context.drain(..from);
}

/// The text with line ends in place of its escapes, which belong to nothing; and where an escape begins that is
/// not whole yet.
fn masked(text: &str) -> (Cow<'_, str>, usize) {
    if !text.contains('\\') {
        return (Cow::Borrowed(text), text.len());
    }
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find('\\') {
        let (before, escape) = rest.split_at(found);
        masked.push_str(before);
        let length = match escape.as_bytes().get(1) {
            Some(b'u') => 6,
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            // No escape there is: what follows is text like any other, and may be a hit.
            Some(_) => 1,
            None => usize::MAX,
        };
        if length > escape.len() || !escape.is_char_boundary(length) {
            let whole = masked.len();
            masked.extend(std::iter::repeat_n('\n', escape.len()));
            return (Cow::Owned(masked), whole);
        }
        masked.extend(std::iter::repeat_n('\n', length));
        rest = escape.get(length..).unwrap_or_default();
    }
    masked.push_str(rest);
    (Cow::Owned(masked), text.len())
}
