//! What nobody may ever read: keys, prompts, answers of others.

use super::{About, about, own};
use crate::history::Told;
use crate::report::{Finding, Verdict};
use crate::verdict::index::Index;

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
pub(super) fn no_secret(index: &Index<'_>) -> Option<Finding> {
    let history = &index.evidence.history;
    let wrong: Vec<&Told> = history
        .iter()
        .filter(|told| told.leaked.is_some())
        .collect();
    let mut found = about(
        &About {
            name: "no_secret",
            claim: "no key, prompt or answer in answers of others, logs, metrics or journal",
            why: "answers with a secret in them",
        },
        history.len(),
        &wrong,
        index,
    );
    let Some(own) = own(index) else {
        return Some(found);
    };
    let mut leaks: Vec<String> = own
        .leaks
        .iter()
        .map(|(file, name)| format!("{name} in {file}"))
        .collect();
    for name in index.evidence.scrapes.iter().flat_map(|one| &one.leaks) {
        let leak = format!("{name} in the metrics");
        if !leaks.contains(&leak) {
            leaks.push(leak);
        }
    }
    if !leaks.is_empty() {
        found.verdict = Verdict::Fail;
        found.why = leaks.join(", ");
    } else if let Some(unread) = own.unreadable.first()
        && found.verdict == Verdict::Pass
    {
        found.verdict = Verdict::Unknown;
        found.why = format!("{unread}; what it holds is not known");
    }
    Some(found)
}
