//! What clients read: whole texts, their own, and an honest word where one breaks.

use super::{About, about};
use crate::history::{Ended, Told};
use crate::report::Finding;
use crate::verdict::index::Index;

fn whole<'a>(index: &Index<'a>) -> Vec<&'a Told> {
    let read = index.read();
    read.filter(|told| told.ended == Ended::Whole).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
pub(super) fn no_splice(index: &Index<'_>) -> Option<Finding> {
    let read: Vec<&Told> = index.read().filter(|told| told.text.is_some()).collect();
    let wrong: Vec<&Told> = read
        .iter()
        .copied()
        .filter(|told| matches!(told.text, Some(Err(_))))
        .collect();
    Some(about(
        &About {
            name: "no_splice",
            claim: "every text is one answer's words, in order, without loss or repetition",
            why: "texts with words lost, doubled or of two answers",
        },
        read.len(),
        &wrong,
        index,
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
pub(super) fn no_crossing(index: &Index<'_>) -> Option<Finding> {
    let read: Vec<(&Told, Option<(usize, u64)>)> = index
        .read()
        .filter_map(|told| Some((told, index.origin(told)?.of)))
        .collect();
    let wrong: Vec<&Told> = read
        .iter()
        .filter(|(told, of)| *of != Some((told.workload, told.number)))
        .map(|(told, _)| *told)
        .collect();
    Some(about(
        &About {
            name: "no_crossing",
            claim: "every client reads the answer to its own question",
            why: "answers that belong to another request",
        },
        read.len(),
        &wrong,
        index,
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
pub(super) fn honest_whole(index: &Index<'_>) -> Option<Finding> {
    let whole = whole(index);
    let wrong: Vec<&Told> = whole
        .iter()
        .copied()
        .filter(|told| !is_all_there(index, told))
        .collect();
    Some(about(
        &About {
            name: "honest_whole",
            claim: "what claims to be whole has every word its provider had to say",
            why: "answers presented as whole that are not",
        },
        whole.len(),
        &wrong,
        index,
    ))
}

fn is_all_there(index: &Index<'_>, told: &Told) -> bool {
    let Some(Ok(origin)) = &told.text else {
        return false;
    };
    let Some(seen) = index.origin(told) else {
        return false;
    };
    seen.exchange
        .reported
        .is_some_and(|reported| reported.output == origin.words)
}

pub(super) fn honest_break(index: &Index<'_>) -> Option<Finding> {
    let begun: Vec<&Told> = index
        .read()
        .filter(|told| told.stream && told.head_ms.is_some() && told.ended != Ended::Left)
        .collect();
    if begun.is_empty() {
        // Nobody asked for a stream.
        return None;
    }
    let just_stopped = |told: &&&Told| match told.ended {
        // Whoever is killed cannot say so.
        Ended::Cut | Ended::Reset => !index.was_caught(told),
        Ended::Silent => true,
        // Nobody may take what broke for whole (G2).
        Ended::ErrorEvent(_) => told.done_after_error,
        Ended::Whole
        | Ended::Refused(_)
        | Ended::Unanswered(_)
        | Ended::Left
        | Ended::Repelled(_)
        | Ended::Indulged(_) => false,
    };
    let wrong: Vec<&Told> = begun.iter().filter(just_stopped).copied().collect();
    Some(about(
        &About {
            name: "honest_break",
            claim: "a stream that breaks says so in an error event, and that is its end",
            why: "streams that just stopped, or went on after the error",
        },
        begun.len(),
        &wrong,
        index,
    ))
}
