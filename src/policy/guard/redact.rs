//! A whole text before it leaves: what of it is taken out, and what is only told.

use std::ops::Range;

use super::find::Finder;
use super::rules::{Action, Actions, RuleId, Tally};
use super::vault::Vault;

/// Something else stands here now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub with: String,
}

/// What was found in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In order, without overlaps.
    pub edits: Vec<Edit>,
    pub tally: Tally,
    /// The first hit that forbids the text: its rule, and where in the text it begins.
    pub blocked: Option<(RuleId, usize)>,
    /// Something was found that may only go to allowed regions.
    pub routed: bool,
}

/// Looks for everything in a text of a request. `prompt` is the whole of it: no placeholder may be in it already.
pub fn redact(
    finder: &Finder,
    actions: &Actions,
    text: &str,
    (vault, prompt): (&mut Vault, &[u8]),
) -> Found {
    let mut found = Found::default();
    for hit in finder.find(text, 0, actions) {
        found.tally.count(hit.rule);
        match hit.action {
            Action::Off | Action::Mark => {}
            Action::Route => found.routed = true,
            Action::Block => {
                found.blocked.get_or_insert((hit.rule, hit.range.start));
            }
            Action::Redact => {
                let hidden = text.get(hit.range.clone()).unwrap_or_default();
                let with = vault.hide(finder.word(hit.rule), hidden, prompt);
                found.edits.push(Edit {
                    range: hit.range,
                    with,
                });
            }
        }
    }
    found
}
