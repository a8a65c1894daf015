//! What must hold whatever happens.

use std::collections::{HashMap, HashSet};

use super::case::tell;
use super::index::Index;
use crate::conduct::OwnRecords;
use crate::history::{Ended, Told};
use crate::report::{Finding, Verdict};

pub(super) struct Invariant {
    pub(super) name: &'static str,
    /// `None` where the gateway does not show what would be needed to know.
    pub(super) judge: fn(&Index<'_>) -> Option<Finding>,
}

pub(super) const ALL: &[Invariant] = &[
    Invariant {
        name: "no_splice",
        judge: no_splice,
    },
    Invariant {
        name: "no_crossing",
        judge: no_crossing,
    },
    Invariant {
        name: "honest_whole",
        judge: honest_whole,
    },
    Invariant {
        name: "honest_break",
        judge: honest_break,
    },
    Invariant {
        name: "accounted_once",
        judge: accounted_once,
    },
    Invariant {
        name: "journal_complete",
        judge: journal_complete,
    },
    Invariant {
        name: "bill",
        judge: bill,
    },
    Invariant {
        name: "no_secret",
        judge: no_secret,
    },
    Invariant {
        name: "metrics_agree",
        judge: metrics_agree,
    },
    Invariant {
        name: "bounded",
        judge: bounded,
    },
    Invariant {
        name: "comes_to_rest",
        judge: comes_to_rest,
    },
];

fn finding(name: &str, claim: &str, samples: usize) -> Finding {
    Finding {
        name: name.to_owned(),
        claim: claim.to_owned(),
        verdict: if samples == 0 {
            Verdict::Unknown
        } else {
            Verdict::Pass
        },
        why: if samples == 0 {
            "there was nothing to judge".to_owned()
        } else {
            String::new()
        },
        unit: "count".to_owned(),
        samples: samples as u64,
        ..Finding::default()
    }
}

/// A claim about requests.
struct About<'c> {
    name: &'c str,
    claim: &'c str,
    /// What those are that break it.
    why: &'c str,
}

fn about(about: &About<'_>, samples: usize, wrong: &[&Told], index: &Index<'_>) -> Finding {
    let mut found = finding(about.name, about.claim, samples);
    found.value = Some(wrong.len() as f64);
    found.limit = Some(0.0);
    if !wrong.is_empty() {
        found.verdict = Verdict::Fail;
        found.why = format!("{} of {samples}: {}", wrong.len(), about.why);
        tell(&mut found, index, wrong);
    }
    found
}

fn whole<'a>(index: &Index<'a>) -> Vec<&'a Told> {
    let history = index.evidence.history.iter();
    history.filter(|told| told.ended == Ended::Whole).collect()
}

// --- what clients read ---

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
fn no_splice(index: &Index<'_>) -> Option<Finding> {
    let history = &index.evidence.history;
    let read: Vec<&Told> = history.iter().filter(|told| told.text.is_some()).collect();
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
fn no_crossing(index: &Index<'_>) -> Option<Finding> {
    let read: Vec<(&Told, Option<(usize, u64)>)> = index
        .evidence
        .history
        .iter()
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
fn honest_whole(index: &Index<'_>) -> Option<Finding> {
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

fn honest_break(index: &Index<'_>) -> Option<Finding> {
    let begun: Vec<&Told> = index
        .evidence
        .history
        .iter()
        .filter(|told| told.stream && told.head_ms.is_some() && told.ended != Ended::Left)
        .collect();
    if begun.is_empty() {
        // Nobody asked for a stream.
        return None;
    }
    let mut wrong: Vec<&Told> = begun
        .iter()
        .copied()
        .filter(|told| matches!(told.ended, Ended::Cut | Ended::Reset | Ended::Silent))
        .collect();
    if index.was_killed() {
        // Whoever is killed cannot say so.
        wrong.retain(|told| told.ended == Ended::Silent);
    }
    Some(about(
        &About {
            name: "honest_break",
            claim: "a stream that breaks says so in an error event",
            why: "streams that just stopped",
        },
        begun.len(),
        &wrong,
        index,
    ))
}

// --- what the gateway writes down ---

fn own<'a>(index: &Index<'a>) -> Option<&'a OwnRecords> {
    index.evidence.own.as_ref()
}

fn accounted_once(index: &Index<'_>) -> Option<Finding> {
    let own = own(index)?;
    let journal = &own.journal;
    let is_wrong = |told: &&Told| {
        let Some(id) = &told.id else { return false };
        let intents = journal.intents.get(id).copied().unwrap_or(0);
        let outcomes = journal.outcomes.get(id).map_or(0, Vec::len);
        let reached_a_provider = index.exchanges(told).next().is_some();
        let due = u32::from(reached_a_provider || told.ended == Ended::Whole);
        let says_so = told.ended != Ended::Whole
            || index.was_killed()
            || journal
                .outcomes
                .get(id)
                .is_some_and(|outcomes| outcomes.iter().all(|outcome| outcome.how == "ok"));
        intents > 1 || intents < due || outcomes != intents as usize || !says_so
    };
    let named: Vec<&Told> = index
        .evidence
        .history
        .iter()
        .filter(|told| told.id.is_some())
        .collect();
    let wrong: Vec<&Told> = named
        .iter()
        .copied()
        .filter(|told| is_wrong(told))
        .collect();
    let mut found = about(
        &About {
            name: "accounted_once",
            claim: "every request that reached a provider has one intent and one outcome",
            why: "requests without, or with more than one, or with another outcome than the client saw",
        },
        named.len(),
        &wrong,
        index,
    );
    if let Some(why) = strangers(index, own) {
        found.verdict = Verdict::Fail;
        found.why = format!("{} {why}", found.why).trim().to_owned();
    }
    Some(found)
}

/// Intents that nobody can have caused, and intents without exactly one outcome.
fn strangers(index: &Index<'_>, own: &OwnRecords) -> Option<String> {
    let history = &index.evidence.history;
    let known: HashSet<&String> = history.iter().filter_map(|told| told.id.as_ref()).collect();
    let journal = &own.journal;
    let outcomes = |id: &String| journal.outcomes.get(id).map_or(0, Vec::len);
    let ids = journal.intents.keys();
    let strangers = ids.clone().filter(|id| !known.contains(id)).count();
    let unanswered = ids.filter(|id| outcomes(id) != 1).count();
    // A client that left, or got no answer, has read no id.
    let nameless = history.iter().filter(|told| told.id.is_none()).count();
    (strangers > nameless || unanswered > 0).then(|| {
        format!(
            "{strangers} intents of requests nobody made ({nameless} clients read no id); {unanswered} intents without exactly one outcome"
        )
    })
}

fn journal_complete(index: &Index<'_>) -> Option<Finding> {
    let own = own(index)?;
    let mut attempts: HashMap<&str, usize> = HashMap::new();
    for attempt in &own.journal.attempts {
        *attempts.entry(&attempt.request).or_default() += 1;
    }
    let named: Vec<&Told> = index
        .evidence
        .history
        .iter()
        .filter(|told| told.id.is_some())
        .collect();
    let wrong: Vec<&Told> = if index.was_killed() {
        Vec::new()
    } else {
        let unrecorded = |told: &&Told| {
            let recorded = told.id.as_deref().and_then(|id| attempts.get(id));
            let attempts = index.exchanges(told).filter(|seen| !seen.sent_again);
            attempts.count() > recorded.copied().unwrap_or(0)
        };
        named.iter().copied().filter(unrecorded).collect()
    };
    let mut found = about(
        &About {
            name: "journal_complete",
            claim: if index.was_killed() {
                "the journal is intact"
            } else {
                "the journal is intact and nothing reached a provider that it does not hold"
            },
            why: "requests that reached a provider more often than the journal says",
        },
        named.len(),
        &wrong,
        index,
    );
    if let Err(said) = &own.audit {
        found.verdict = Verdict::Fail;
        found.why = format!("audit verify: {said}");
    } else if own.journal.unreadable > 0 {
        found.verdict = Verdict::Fail;
        found.why = format!("{} lines are no records", own.journal.unreadable);
    }
    Some(found)
}

fn bill(index: &Index<'_>) -> Option<Finding> {
    let own = own(index)?;
    let told_usage = |told: &&Told| {
        let outcome = own.journal.outcomes.get(told.id.as_ref()?)?.first()?;
        let origin = index.origin(told)?;
        if origin.of != Some((told.workload, told.number)) {
            // Another's answer is a fault of its own.
            return None;
        }
        let exchange = origin.exchange;
        // What a killed process could not settle is told as such when it starts again.
        let settled = outcome.how == "ok" && !outcome.estimated;
        let honest = exchange.fault.is_none() && settled;
        honest.then_some((outcome.usage, exchange.reported?))
    };
    let whole = whole(index);
    let billed: Vec<_> = whole
        .iter()
        .filter_map(|told| Some((*told, told_usage(told)?)))
        .collect();
    let wrong: Vec<&Told> = billed
        .iter()
        .filter(|(_, (usage, reported))| {
            usage.is_none_or(|usage| {
                (usage.input, usage.output) != (reported.input, reported.output)
            })
        })
        .map(|(told, _)| *told)
        .collect();
    Some(about(
        &About {
            name: "bill",
            claim: "every answer is settled at what its provider reported",
            why: "answers settled at something else",
        },
        billed.len(),
        &wrong,
        index,
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
fn no_secret(index: &Index<'_>) -> Option<Finding> {
    let history = &index.evidence.history;
    let wrong: Vec<&Told> = history
        .iter()
        .filter(|told| told.leaked.is_some())
        .collect();
    let mut found = about(
        &About {
            name: "no_secret",
            claim: "no key and no prompt in answers, logs or journal",
            why: "answers with a secret in them",
        },
        history.len(),
        &wrong,
        index,
    );
    if let Some(own) = own(index).filter(|own| !own.leaks.is_empty()) {
        let leaks: Vec<String> = own
            .leaks
            .iter()
            .map(|(file, name)| format!("{name} in {file}"))
            .collect();
        found.verdict = Verdict::Fail;
        found.why = leaks.join(", ");
    }
    Some(found)
}

fn metrics_agree(index: &Index<'_>) -> Option<Finding> {
    own(index)?;
    if index.was_killed() {
        // Counters begin anew with the process: there is nothing to compare.
        return None;
    }
    let mut found = finding(
        "metrics_agree",
        "the attempts in the metrics are those on the wire",
        index.seen.len(),
    );
    let Some(last) = index.evidence.scrapes.last() else {
        found.verdict = Verdict::Unknown;
        found.why = "the metrics were never read".to_owned();
        return Some(found);
    };
    let attempts = index.seen.iter().filter(|seen| !seen.sent_again);
    for name in index.evidence.fleet.providers.keys() {
        let wire = attempts.clone().filter(|seen| seen.mock == name).count() as f64;
        let counted = last.sum("switchyard_attempts_total", &[("provider", name)]);
        if counted < wire {
            found.verdict = Verdict::Fail;
            found.value = Some(counted);
            found.limit = Some(wire);
            found.why = format!("{name} received {wire} requests, the metrics count {counted}");
        }
    }
    let again = index.seen.iter().filter(|seen| seen.sent_again).count() as f64;
    let counted = last.sum("switchyard_conn_stale_total", &[]);
    if counted < again {
        found.verdict = Verdict::Fail;
        found.value = Some(counted);
        found.limit = Some(again);
        found.why =
            format!("{again} requests were sent twice to a provider, the metrics count {counted}");
    }
    Some(found)
}

// --- what it keeps ---

/// Memory may grow by this much over the control phase, and by half of it again.
const MEMORY_SLACK: f64 = (64 << 20) as f64;
/// Connections that are kept for a while.
const DESCRIPTOR_SLACK: f64 = 128.0;

fn bounded(index: &Index<'_>) -> Option<Finding> {
    own(index)?;
    let scrapes = &index.evidence.scrapes;
    let mut found = finding(
        "bounded",
        "memory and descriptors return to where the control phase had them",
        scrapes.len(),
    );
    found.unit = "bytes".to_owned();
    let (_, control_ends) = index.phase(crate::scenario::PhaseName::Control);
    let before = scrapes.iter().rev().find(|one| one.at_ms <= control_ends);
    let (Some(before), Some(after)) = (before.or(scrapes.first()), scrapes.last()) else {
        found.verdict = Verdict::Unknown;
        found.why = "the process was never looked at".to_owned();
        return Some(found);
    };
    let memory = |scrape: &crate::records::Scrape| scrape.memory.map(|bytes| bytes as f64);
    if let (Some(before), Some(after)) = (memory(before), memory(after)) {
        let limit = before * 1.5 + MEMORY_SLACK;
        found.value = Some(after);
        found.limit = Some(limit);
        found.margin = Some(1.0 - after / limit);
        if after > limit {
            found.verdict = Verdict::Fail;
            found.why = "memory did not come back".to_owned();
        }
    } else {
        found.verdict = Verdict::Unknown;
        found.why = "the system does not tell the process's memory".to_owned();
    }
    let open = before.descriptors.zip(after.descriptors);
    if let Some((before, after)) = open
        && f64::from(after) > f64::from(before) + DESCRIPTOR_SLACK
    {
        found.verdict = Verdict::Fail;
        found.why = format!("{before} descriptors before, {after} afterwards");
    }
    Some(found)
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all checkers")]
fn comes_to_rest(index: &Index<'_>) -> Option<Finding> {
    let mut found = finding(
        "comes_to_rest",
        "when the clients are gone nobody works on, and it stops when asked",
        index.evidence.history.len(),
    );
    let left = index.evidence.still_under_way;
    found.value = Some(left as f64);
    found.limit = Some(0.0);
    if left > 0 {
        found.verdict = Verdict::Fail;
        found.why = format!("{left} requests were still under way at the providers");
    } else if own(index).is_some_and(|own| !own.stopped) {
        found.verdict = Verdict::Fail;
        found.why = "it had to be killed".to_owned();
    }
    Some(found)
}
