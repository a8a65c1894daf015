//! What the gateway counts and what it tells beside an answer.

use std::collections::{HashMap, HashSet};

use super::accounts::ANSWERED;
use super::{About, about, finding, own};
use crate::fault::{self, Made};
use crate::history::{Ended, Told};
use crate::records::Scrape;
use crate::report::{Finding, Verdict};
use crate::scenario::terms;
use crate::verdict::index::Index;

const ATTEMPTS: &str = "switchyard_attempts_total";

/// An attempt is counted when it ends, and a look comes four times a second.
const SETTLED_MS: u64 = 1_000;

/// A stream's head waits for its first content for ten seconds and no longer.
const HEAD_HELD_MS: u64 = 9_900;

pub(super) fn metrics_agree(index: &Index<'_>) -> Option<Finding> {
    own(index)?;
    let mut found = finding(
        "metrics_agree",
        "the metrics count the attempts on the wire and the answers that clients read, in each life of the process",
        index.seen.len(),
    );
    let lives = looked_at(index);
    if lives.is_empty() {
        found.verdict = Verdict::Unknown;
        found.why = "the metrics were never read in a life whose beginning is known".to_owned();
        return Some(found);
    }
    for life in &lives {
        let names = index.evidence.fleet.providers.keys();
        let wrong = names.filter_map(|name| life.attempts(index, name));
        let others = [life.sent_again(index), life.answers(index)];
        for wrong in wrong.chain(others.into_iter().flatten()) {
            found.verdict = Verdict::Fail;
            found.value = Some(wrong.counted);
            found.limit = Some(wrong.wire);
            found.why = wrong.why;
        }
    }
    Some(found)
}

/// The last look at one life of the process.
struct Life<'a> {
    number: usize,
    look: &'a Scrape,
    /// It is the last one: nothing was under way any more.
    at_rest: bool,
}

struct Differs {
    counted: f64,
    wire: f64,
    why: String,
}

fn looked_at<'a>(index: &Index<'a>) -> Vec<Life<'a>> {
    let evidence: &'a crate::conduct::Evidence = index.evidence;
    let mut lives: Vec<Life<'a>> = Vec::new();
    for look in &evidence.scrapes {
        let Some(number) = index.life(look.at_ms) else {
            continue;
        };
        lives.retain(|life| life.number != number);
        lives.push(Life {
            number,
            look,
            at_rest: false,
        });
    }
    if let Some(last) = lives.last_mut() {
        last.at_rest = last.number == index.kills.len();
    }
    lives
}

impl Life<'_> {
    fn attempts(&self, index: &Index<'_>, mock: &str) -> Option<Differs> {
        let mine = index.seen.iter().filter(|seen| seen.mock == mock);
        let mut due = 0_u32;
        let mut all = 0_u32;
        for seen in mine {
            let life = index.life(seen.at_ms);
            // On the border of two lives it may belong to either.
            let may_be = life.is_none_or(|life| life == self.number);
            if may_be && (self.at_rest || seen.at_ms <= self.look.read_ms) {
                all = all.saturating_add(1);
            }
            if life == Some(self.number) && !seen.sent_again && self.is_over(index, seen.of) {
                due = due.saturating_add(1);
            }
        }
        let counted = self.look.sum(ATTEMPTS, &[("provider", mock)]);
        let (due, all) = (f64::from(due), f64::from(all));
        let sure: f64 = self.surely_sent(index, mock);
        let told = |wire: f64, counted: f64, what: &str| Differs {
            counted,
            wire,
            why: format!("{mock} received {wire} requests{what}, the metrics count {counted}"),
        };
        if counted < due {
            Some(told(due, counted, ""))
        } else if sure > all {
            Some(told(all, sure, " and not one more"))
        } else {
            None
        }
    }

    /// Counted attempts that cannot have failed before the provider received the request.
    fn surely_sent(&self, index: &Index<'_>, mock: &str) -> f64 {
        let only_answers = only_answers_are_spoilt(index);
        let of_mock = |outcome: &str| {
            self.look
                .sum(ATTEMPTS, &[("provider", mock), ("outcome", outcome)])
        };
        if only_answers {
            // A leaver may have left before anything was sent.
            self.look.sum(ATTEMPTS, &[("provider", mock)]) - of_mock("cancelled")
        } else {
            ANSWERED.iter().map(|outcome| of_mock(outcome)).sum()
        }
    }

    /// Whether the request is over so long that its attempts must be counted.
    fn is_over(&self, index: &Index<'_>, of: Option<(usize, u64)>) -> bool {
        let Some(told) = of.and_then(|of| index.told(of)) else {
            return self.at_rest;
        };
        self.at_rest || told.end_ms.saturating_add(SETTLED_MS) <= self.look.at_ms
    }

    /// Requests that went well: those whose clients read them to their end, and perhaps those whose clients left.
    fn answers(&self, index: &Index<'_>) -> Option<Differs> {
        if !self.at_rest {
            return None;
        }
        // Under one key several read one execution's answer, which is counted once.
        let (mut sure, mut most) = (Executions::default(), Executions::default());
        for told in index.read() {
            let life = index.life(told.due_ms);
            let whole = told.ended == Ended::Whole;
            if life == Some(self.number) && whole {
                sure.add(told);
            }
            let may_be = life.is_none_or(|life| life == self.number);
            if may_be && (whole || told.ended == Ended::Left) {
                most.add(told);
            }
        }
        let (sure, most) = (sure.count(), most.count());
        let counted = self
            .look
            .sum("switchyard_requests_total", &[("kind", "ok")]);
        let wire = if counted < sure { sure } else { most };
        (counted < sure || counted > most).then(|| Differs {
            counted,
            wire,
            why: format!("clients read {wire} whole answers, the metrics count {counted}"),
        })
    }

    fn sent_again(&self, index: &Index<'_>) -> Option<Differs> {
        let again = index.seen.iter().filter(|seen| {
            seen.sent_again
                && index.life(seen.at_ms) == Some(self.number)
                && self.is_over(index, seen.of)
        });
        let again = again.count() as f64;
        let counted = self.look.sum("switchyard_conn_stale_total", &[]);
        (counted < again).then(|| Differs {
            counted,
            wire: again,
            why: format!(
                "{again} requests were sent twice to a provider, the metrics count {counted}"
            ),
        })
    }
}

/// What was executed, by the ids that clients read; who read none may have read another each.
#[derive(Default)]
struct Executions<'a> {
    named: HashSet<&'a str>,
    nameless: usize,
}

impl<'a> Executions<'a> {
    fn add(&mut self, told: &'a Told) {
        match &told.id {
            Some(id) => drop(self.named.insert(id)),
            None => self.nameless = self.nameless.saturating_add(1),
        }
    }

    fn count(&self) -> f64 {
        self.named.len().saturating_add(self.nameless) as f64
    }
}

fn only_answers_are_spoilt(index: &Index<'_>) -> bool {
    let mut faults = index.scenario.faults.iter();
    faults.all(|one| match fault::made(&one.fault, &terms(one)) {
        Ok(Made::Answer(_)) => true,
        Ok(
            Made::Door(_)
            | Made::ResetConnections
            | Made::CloseIdle
            | Made::RevokeKey
            | Made::Front(_)
            | Made::Names(_)
            | Made::Gateway(_),
        )
        | Err(_) => false,
    })
}

pub(super) fn told_right(index: &Index<'_>) -> Option<Finding> {
    let own = own(index)?;
    let mut recorded: HashMap<&str, usize> = HashMap::new();
    for attempt in &own.journal.attempts {
        let count = recorded.entry(&attempt.request).or_default();
        *count = count.saturating_add(1);
    }
    let history = &index.evidence.history;
    let answered: Vec<&Told> = history
        .iter()
        .filter(|told| matches!(told.ended, Ended::Whole | Ended::Refused(_)))
        .filter(|told| told.id.is_some() && !index.was_caught(told))
        .collect();
    let lies = |told: &&Told| {
        let recorded = told.id.as_deref().and_then(|id| recorded.get(id));
        !counts_right(index, told, recorded.copied().unwrap_or(0)) || !is_advised(told)
    };
    let wrong: Vec<&Told> = answered.iter().copied().filter(lies).collect();
    Some(about(
        &About {
            name: "told_right",
            claim: "x-switchyard-attempts tells the attempts that were made, and who is asked to wait is told how long",
            why: "answers with another number of attempts than were made, or a 429 or overload without retry-after",
        },
        answered.len(),
        &wrong,
        index,
    ))
}

fn counts_right(index: &Index<'_>, told: &Told, recorded: usize) -> bool {
    let Some(said) = told.attempts.and_then(|said| usize::try_from(said).ok()) else {
        return false;
    };
    // The head of a slow stream goes out before its attempts are all made (G1).
    let late = told.stream
        && told
            .head_ms
            .is_some_and(|head| head.saturating_sub(told.due_ms) >= HEAD_HELD_MS);
    let received = index.exchanges(told).count();
    let attempts = index.exchanges(told).filter(|seen| !seen.sent_again);
    // What failed before a provider saw it is only in the journal.
    (late || said >= attempts.count()) && said <= received.max(recorded)
}

/// Whoever sheds or keeps a limit says when to come again (G6).
fn is_advised(told: &Told) -> bool {
    match &told.ended {
        Ended::Refused(code) => {
            let asks_to_wait =
                told.status == Some(429) || told.status == Some(503) && code == "overloaded";
            !asks_to_wait || told.retry_after
        }
        Ended::Whole
        | Ended::ErrorEvent(_)
        | Ended::Cut
        | Ended::Reset
        | Ended::Silent
        | Ended::Unanswered(_)
        | Ended::Left
        | Ended::Repelled(_)
        | Ended::Indulged(_) => true,
    }
}
