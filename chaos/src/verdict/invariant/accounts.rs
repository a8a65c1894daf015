//! What the gateway writes down: every request once, every attempt, every bill.

use std::collections::{HashMap, HashSet};

use super::{About, about, finding, own};
use crate::conduct::OwnRecords;
use crate::history::{Ended, Told};
use crate::records::{Outcome, Tokens};
use crate::report::{Finding, Verdict};
use crate::verdict::index::Index;

/// Outcomes of attempts that need an answer, and so a request that the provider has seen. `t_idle` is none: it is also said
/// where a provider stopped taking the request.
pub(super) const ANSWERED: &[&str] = &[
    "ok",
    "throttled",
    "quota",
    "auth",
    "rejected",
    "overloaded",
    "server_error",
    "bad_body",
    "untranslatable",
    "truncated",
    "too_large",
    "poison",
];

/// A journal that could not be read proves nothing, neither for the gateway nor against it.
pub(super) fn unread(own: &OwnRecords, name: &str, claim: &str) -> Option<Finding> {
    let why = own.unreadable.first()?;
    let mut found = finding(name, claim, 1);
    found.verdict = Verdict::Unknown;
    found.why = format!("{why}; nothing can be said of what it holds");
    Some(found)
}

fn named<'a>(index: &Index<'a>) -> Vec<&'a Told> {
    let history = index.evidence.history.iter();
    history.filter(|told| told.id.is_some()).collect()
}

/// As [`named`]; of what was sent several times under one key, and may have been executed as often, each sending.
fn named_each<'a>(index: &Index<'a>) -> Vec<&'a Told> {
    index.read().filter(|told| told.id.is_some()).collect()
}

pub(super) fn accounted_once(index: &Index<'_>) -> Option<Finding> {
    const NAME: &str = "accounted_once";
    const CLAIM: &str = "every request that reached a provider has one intent and one outcome, the one its client saw";
    let own = own(index)?;
    if let Some(unread) = unread(own, NAME, CLAIM) {
        return Some(unread);
    }
    let named = named_each(index);
    let wrong: Vec<&Told> = named
        .iter()
        .copied()
        .filter(|told| is_wrong(index, own, told))
        .collect();
    let mut found = about(
        &About {
            name: NAME,
            claim: CLAIM,
            why: "requests without, or with more than one, or with another outcome than the client saw",
        },
        named.len(),
        &wrong,
        index,
    );
    let strange = [strangers(index, own), forgotten(index, own)];
    for why in strange.into_iter().flatten() {
        found.verdict = Verdict::Fail;
        found.why = format!("{}; {why}", found.why);
        found.why = found.why.trim_start_matches("; ").to_owned();
    }
    Some(found)
}

fn is_wrong(index: &Index<'_>, own: &OwnRecords, told: &Told) -> bool {
    let Some(id) = &told.id else { return false };
    let intents = own.journal.intents.get(id).map_or(0, Vec::len);
    let outcomes = own.journal.outcomes.get(id).map(Vec::as_slice);
    let outcomes = outcomes.unwrap_or_default();
    let of = index.told((told.workload, told.number));
    let is_placed = match of.is_some_and(|of| !of.sendings.is_empty()) {
        // Of several executions under one key nobody knows which it was that reached a provider.
        true => told.status == Some(200),
        false => index.exchanges(told).next().is_some(),
    };
    let due = usize::from(is_placed || told.ended == Ended::Whole);
    // What a kill caught is told as interrupted by the next start, however far its client had come.
    let agrees = index.was_caught(told) || agree(told, outcomes);
    intents > 1 || intents < due || outcomes.len() != intents || !agrees
}

/// Whether the journal tells the end that the client saw.
fn agree(told: &Told, outcomes: &[Outcome]) -> bool {
    let ok = |outcome: &Outcome| outcome.how == "ok";
    match told.ended {
        Ended::Whole => outcomes.iter().all(ok),
        Ended::Refused(_)
        | Ended::ErrorEvent(_)
        | Ended::Cut
        | Ended::Reset
        | Ended::Silent
        | Ended::Unanswered(_) => !outcomes.iter().any(ok),
        // It may have been whole for the gateway before the leaving was noticed.
        Ended::Left => true,
        // Abuse is judged by what its client and the providers saw.
        Ended::Repelled(_) | Ended::Indulged(_) => true,
    }
}

/// Intents that nobody can have caused, and intents without exactly one outcome.
fn strangers(index: &Index<'_>, own: &OwnRecords) -> Option<String> {
    let journal = &own.journal;
    let outcomes = |id: &String| journal.outcomes.get(id).map_or(0, Vec::len);
    let unanswered = journal.intents.keys().filter(|id| outcomes(id) != 1);
    let unanswered = unanswered.count();
    let strangers: usize = unclaimed(index, own).into_values().sum();
    // A client that left, or got no answer, has read no id. Under one key each of them may have been alone.
    let nameless = index.read().filter(|told| told.id.is_none()).count();
    (strangers > nameless || unanswered > 0).then(|| {
        format!(
            "{strangers} intents of requests nobody made ({nameless} clients read no id); {unanswered} intents without exactly one outcome"
        )
    })
}

/// Requests on the wire whose clients read no id, beyond the intents that can be theirs (X07).
fn forgotten(index: &Index<'_>, own: &OwnRecords) -> Option<String> {
    let unclaimed = unclaimed(index, own);
    let nameless = index.nameless_on_the_wire();
    let mut missing = 0_usize;
    // A stream's intent says so: one kind cannot stand in for the other.
    for stream in [false, true] {
        let on_the_wire = nameless.values().filter(|one| **one == stream).count();
        let held = unclaimed.get(&stream).copied().unwrap_or(0);
        missing = missing.saturating_add(on_the_wire.saturating_sub(held));
    }
    (missing > 0).then(|| {
        format!(
            "{missing} of {} requests that reached a provider and whose clients read no id have no intent",
            nameless.len()
        )
    })
}

/// Intents whose id no client has read, by whether a stream was asked for.
fn unclaimed(index: &Index<'_>, own: &OwnRecords) -> HashMap<bool, usize> {
    let known = known(index);
    let mut unclaimed: HashMap<bool, usize> = HashMap::new();
    for (id, intents) in &own.journal.intents {
        if let Some(intent) = intents.first().filter(|_| !known.contains(id.as_str())) {
            let count = unclaimed.entry(intent.stream).or_default();
            *count = count.saturating_add(1);
        }
    }
    unclaimed
}

fn known<'a>(index: &Index<'a>) -> HashSet<&'a str> {
    index.read().filter_map(|told| told.id.as_deref()).collect()
}

pub(super) fn journal_complete(index: &Index<'_>) -> Option<Finding> {
    const NAME: &str = "journal_complete";
    const CLAIM: &str = "the journal is intact, and its attempts are those the providers received";
    let own = own(index)?;
    if let Some(unread) = unread(own, NAME, CLAIM) {
        return Some(unread);
    }
    let mut recorded: HashMap<&str, Recorded> = HashMap::new();
    for attempt in &own.journal.attempts {
        let one = recorded.entry(&attempt.request).or_default();
        one.all = one.all.saturating_add(1);
        let answered = ANSWERED.contains(&attempt.outcome.as_str());
        one.answered = one.answered.saturating_add(usize::from(answered));
    }
    let named = named(index);
    let differs = |told: &&Told| {
        let recorded = told.id.as_deref().and_then(|id| recorded.get(id));
        let recorded = recorded.copied().unwrap_or_default();
        let received = index.exchanges(told).count();
        let attempts = index.exchanges(told).filter(|seen| !seen.sent_again);
        // The last words of a killed process may be missing, never invented.
        let lost = attempts.count() > recorded.all && !index.was_caught(told);
        lost || recorded.answered > received
    };
    let wrong: Vec<&Told> = named.iter().copied().filter(differs).collect();
    let mut found = about(
        &About {
            name: NAME,
            claim: CLAIM,
            why: "requests that reached a provider more often, or less often, than the journal says",
        },
        named.len(),
        &wrong,
        index,
    );
    if let Some(why) = unrecorded(index, own) {
        found.verdict = Verdict::Fail;
        found.why = why;
    }
    if let Err(said) = &own.audit {
        found.verdict = Verdict::Fail;
        found.why = format!("audit verify: {said}");
    } else if own.journal.unreadable > 0 {
        found.verdict = Verdict::Fail;
        found.why = format!("{} lines are no records", own.journal.unreadable);
    }
    Some(found)
}

#[derive(Debug, Clone, Copy, Default)]
struct Recorded {
    all: usize,
    /// Those that need an answer.
    answered: usize,
}

/// Attempts for requests that no one id names: more at a provider than the journal holds for all other ids.
fn unrecorded(index: &Index<'_>, own: &OwnRecords) -> Option<String> {
    let named: HashSet<&str> = named(index)
        .into_iter()
        .filter_map(|told| told.id.as_deref())
        .collect();
    let is_nameless = |of| index.told(of).is_none_or(|told| told.id.is_none());
    let caught = index.caught();
    for name in index.evidence.fleet.providers.keys() {
        let on_the_wire = index.seen.iter().filter(|seen| {
            let of = seen.of.filter(|of| is_nameless(*of));
            seen.mock == name && !seen.sent_again && of.is_some_and(|of| !caught.contains(&of))
        });
        let recorded = own.journal.attempts.iter().filter(|attempt| {
            attempt.provider == *name && !named.contains(attempt.request.as_str())
        });
        let (on_the_wire, recorded) = (on_the_wire.count(), recorded.count());
        if on_the_wire > recorded {
            return Some(format!(
                "{name} received {on_the_wire} requests of clients that read no id, the journal holds {recorded}"
            ));
        }
    }
    None
}

pub(super) fn bill(index: &Index<'_>) -> Option<Finding> {
    const NAME: &str = "bill";
    const CLAIM: &str = "every answer is settled at what its provider reported";
    let own = own(index)?;
    if let Some(unread) = unread(own, NAME, CLAIM) {
        return Some(unread);
    }
    let history = index.evidence.history.iter();
    let billed: Vec<(&Told, bool)> = history
        .filter(|told| told.ended == Ended::Whole)
        .filter_map(|told| Some((told, is_settled(index, own, told)?)))
        .collect();
    let wrong: Vec<&Told> = billed
        .iter()
        .filter(|(_, settled)| !settled)
        .map(|(told, _)| *told)
        .collect();
    Some(about(
        &About {
            name: NAME,
            claim: CLAIM,
            why: "answers settled at something else, or estimated though their usage was told",
        },
        billed.len(),
        &wrong,
        index,
    ))
}

/// Whether a whole answer is settled at what was reported; `None` where nobody can know what that was.
fn is_settled(index: &Index<'_>, own: &OwnRecords, told: &Told) -> Option<bool> {
    let outcome = own.journal.outcomes.get(told.id.as_ref()?)?.first()?;
    let origin = index.origin(told)?;
    if origin.of != Some((told.workload, told.number)) {
        // Another's answer is a fault of its own.
        return None;
    }
    // What a killed process could not settle is told as such when it starts again, and an edited answer may
    // tell another usage than the mock meant.
    if index.was_caught(told) || origin.exchange.fault.is_some() || outcome.how != "ok" {
        return None;
    }
    let reported = origin.exchange.reported?;
    let wanted = Tokens {
        input: reported.input,
        output: reported.output,
    };
    Some(!outcome.estimated && outcome.usage == Some(wanted))
}
