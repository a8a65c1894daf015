//! Requests that are sent several times under one key: executed once, paid for once, told alike (L12).
//!
//! # What is not promised
//! Keys live in memory: after a kill each is new. When all who wait have left, the execution is stopped, and sent
//! again it is begun anew; so is what did not succeed.

use std::collections::{BTreeMap, BTreeSet};

use super::{About, about, own};
use crate::history::{Again, Ended, Sending, Told};
use crate::report::{Finding, Verdict};
use crate::verdict::index::{Index, Seen};

/// Of one request, as the gateway is configured for a run.
const MOST_ATTEMPTS: u32 = 3;

/// What is sent at once has come to the gateway within so many milliseconds of the first.
const TOGETHER_MS: u64 = 50;

/// What a client reads where its key belongs to another body.
const CONFLICT: u16 = 409;

pub(super) fn repeats(index: &Index<'_>) -> Option<Finding> {
    let mut workloads = index.scenario.workloads.iter();
    if !workloads.any(|workload| workload.repeats.is_some()) {
        return None;
    }
    // Another gateway may keep keys in another way, or not at all.
    own(index)?;
    let history = index.evidence.history.iter();
    let asked: Vec<&Told> = history.filter(|told| !told.sendings.is_empty()).collect();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wrong: Vec<&Told> = Vec::new();
    for told in &asked {
        let broken = broken(index, told);
        for kind in &broken {
            let count = kinds.entry(kind).or_default();
            *count = count.saturating_add(1);
        }
        if !broken.is_empty() {
            wrong.push(told);
        }
    }
    // One that only one client read to its end was told to nobody else.
    let told_again = asked.iter().filter(|told| wholes(told).nth(1).is_some());
    let mut found = about(
        &About {
            name: "repeats",
            claim: "a request that is sent again under its key is paid for once and told alike, and another body under it is refused",
            why: "requests that were not",
        },
        told_again.count(),
        &wrong,
        index,
    );
    if wrong.is_empty() && found.verdict != Verdict::Unknown {
        found.why = figures(index, &asked);
    } else if !wrong.is_empty() {
        let kinds = kinds.iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        found.why = format!("{}; {}", found.why, kinds.join(", "));
    }
    Some(found)
}

fn figures(index: &Index<'_>, asked: &[&Told]) -> String {
    let sent = asked.iter().flat_map(|told| &told.sendings);
    let (mut all, mut replayed, mut refused) = (0_u64, 0_u64, 0_u64);
    for one in sent {
        all = all.saturating_add(1);
        replayed = replayed.saturating_add(u64::from(one.told.replayed));
        refused = refused.saturating_add(u64::from(one.told.status == Some(CONFLICT)));
    }
    let paid: usize = asked.iter().map(|told| paid(index, told)).sum();
    format!(
        "{} requests sent {all} times: {paid} answers paid, {replayed} told again, {refused} refused for another body",
        asked.len()
    )
}

/// The sendings of the same body that read a whole answer.
fn wholes(told: &Told) -> impl Iterator<Item = &Sending> {
    let same = told.sendings.iter();
    same.filter(|one| one.again != Again::Otherwise && one.told.ended == Ended::Whole)
}

/// What is broken, in the words of a report.
fn broken(index: &Index<'_>, told: &Told) -> Vec<&'static str> {
    if index.was_caught(told) {
        // Two lives of the process know nothing of each other's keys.
        return Vec::new();
    }
    [
        (paid(index, told) > may_be_paid(told), "paid twice"),
        (is_run_unseen(index, told), "run more often than told"),
        (!is_one_answer(told), "told differently"),
        (is_lost(told), "not told again"),
        (!is_marked(told), "not marked as told again"),
        (!is_refused(told), "with another body taken under their key"),
        (!is_booked_once(index, told), "not written down once"),
    ]
    .into_iter()
    .filter_map(|(is_broken, kind)| is_broken.then_some(kind))
    .collect()
}

/// Whole answers that its providers gave, and bill.
fn paid(index: &Index<'_>, told: &Told) -> usize {
    let is_paid = |seen: &&Seen<'_>| {
        let exchange = seen.exchange;
        let is_whole = exchange.finished && exchange.left.is_none() && exchange.fault.is_none();
        // A connection that was reset under a stream has finished it as well.
        let is_said = exchange.reported.is_some_and(|reported| {
            !exchange.asked.streams() || exchange.content_sent >= reported.output
        });
        is_whole && is_said && !seen.sent_again
    };
    index.exchanges(told).filter(is_paid).count()
}

/// Whether providers received it more often than all who read it were told: what is hung up on is billed as well.
fn is_run_unseen(index: &Index<'_>, told: &Told) -> bool {
    if wholes(told).next().is_none() || told.sendings.iter().any(is_other_taken) {
        return false;
    }
    let same = told.sendings.iter();
    let same = same
        .filter(|one| one.again != Again::Otherwise)
        .map(|one| &one.told);
    let mut said: BTreeMap<&str, u32> = BTreeMap::new();
    for one in same {
        if let Some((id, attempts)) = one.id.as_deref().zip(one.attempts) {
            let most = said.entry(id).or_default();
            *most = attempts.max(*most);
        }
    }
    let unseen = may_be_unseen(index, told).saturating_mul(MOST_ATTEMPTS);
    let said = said
        .values()
        .fold(unseen, |sum, said| sum.saturating_add(*said));
    let sent = index.exchanges(told).filter(|seen| !seen.sent_again);
    u32::try_from(sent.count()).unwrap_or(u32::MAX) > said
}

/// Executions that were stopped before anybody read their ids: one where everybody left who came at once, and one for
/// each who left so early that the others may not have come yet.
fn may_be_unseen(index: &Index<'_>, told: &Told) -> u32 {
    let begun = index.exchanges(told).map(|seen| seen.at_ms).min();
    let all_there = begun.unwrap_or(told.due_ms).saturating_add(TOGETHER_MS);
    let together = told.sendings.iter();
    let mut together = together
        .filter(|one| one.again == Again::AtOnce)
        .map(|one| &one.told);
    let is_early =
        |one: &&Told| one.ended == Ended::Left && one.id.is_none() && one.end_ms <= all_there;
    let early = together.clone().filter(is_early).count();
    let everybody = together.all(|one| one.ended == Ended::Left);
    let unseen = early.saturating_add(usize::from(everybody));
    u32::try_from(unseen).unwrap_or(u32::MAX)
}

/// One; and one more where everybody left as it came, and where another body came after what had broken.
fn may_be_paid(told: &Told) -> usize {
    let mut together = told.sendings.iter();
    let everybody_left =
        together.all(|one| one.again != Again::AtOnce || one.told.ended == Ended::Left);
    let mut others = told.sendings.iter();
    let other = others.any(|one| is_other_taken(one) && !is_held(told, one));
    1_usize
        .saturating_add(usize::from(everybody_left))
        .saturating_add(usize::from(other))
}

fn is_other_taken(one: &Sending) -> bool {
    one.again == Again::Otherwise && one.told.status != Some(CONFLICT)
}

/// Whether the execution that had answered before another body came was whole: from then on the key was its own.
fn is_held(told: &Told, other: &Sending) -> bool {
    wholes(told).any(|one| one.told.id.is_some() && one.told.id == other.heard)
}

fn is_refused(told: &Told) -> bool {
    let mut sent = told.sendings.iter();
    !sent.any(|one| is_other_taken(one) && is_held(told, one))
}

/// One id, one text, every byte of it.
fn is_one_answer(told: &Told) -> bool {
    let Some(first) = wholes(told).next().map(|one| &one.told) else {
        return true;
    };
    wholes(told).map(|one| &one.told).all(|one| {
        let same_words = one.text == first.text && one.said == first.said;
        same_words && one.id.is_some() && one.id == first.id
    })
}

/// One that came after a whole answer and did not read it.
fn is_lost(told: &Told) -> bool {
    let Some(whole_at) = wholes(told).map(|one| one.told.end_ms).min() else {
        return false;
    };
    let mut later = told.sendings.iter();
    later.any(|one| {
        let is_later = one.again == Again::Later && one.told.due_ms >= whole_at;
        is_later && one.told.ended != Ended::Whole
    })
}

/// One sending was executed, all others are told so. Where one of those that came at once left or failed, it may have
/// been the one.
fn is_marked(told: &Told) -> bool {
    let own: Vec<&Sending> = wholes(told).filter(|one| !one.told.replayed).collect();
    let mut together = told.sendings.iter();
    let is_among_them =
        together.all(|one| one.again != Again::AtOnce || one.told.ended == Ended::Whole);
    own.len() <= 1
        && (own.len() == 1 || !is_among_them)
        && own
            .iter()
            .all(|one| one.again == Again::AtOnce || is_first(told, one))
}

/// Whether nobody read it whole before.
fn is_first(told: &Told, one: &Sending) -> bool {
    let earliest = wholes(told).map(|one| one.told.end_ms).min();
    earliest == Some(one.told.end_ms)
}

/// One intent and one outcome of what all of them read.
fn is_booked_once(index: &Index<'_>, told: &Told) -> bool {
    let Some(own) = own(index).filter(|own| own.unreadable.is_empty()) else {
        return true;
    };
    let ids: BTreeSet<&String> = wholes(told)
        .filter_map(|one| one.told.id.as_ref())
        .collect();
    ids.into_iter().all(|id| {
        let intents = own.journal.intents.get(id).map_or(0, Vec::len);
        let outcomes = own.journal.outcomes.get(id).map_or(0, Vec::len);
        (intents, outcomes) == (1, 1)
    })
}
