//! The records joined: which exchanges belong to which client's request, and in which life of the process.

use std::collections::{HashMap, HashSet};

use crate::conduct::Evidence;
use crate::history::Told;
use crate::lab::Provider;
use crate::mock::Exchange;
use crate::scenario::{PhaseName, Scenario};
use crate::workload::PROMPT_MARK;

/// A request: its workload's place and its number there.
pub(crate) type Key = (usize, u64);

/// An exchange with the mock it took place at, and when it arrived in the run's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) mock: &'a str,
    pub(crate) provider: Option<&'a Provider>,
    pub(crate) exchange: &'a Exchange,
    pub(crate) at_ms: u64,
    /// Whose request it carried.
    pub(crate) of: Option<Key>,
    /// Its connection died without a byte of an answer and the same request came again: one attempt, sent twice (N08).
    pub(crate) sent_again: bool,
}

/// One death of the gateway's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    /// It died between these.
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// When it served again.
    pub(crate) served: u64,
}

/// A kill takes effect within so many milliseconds, and what was written just before it may not be read any more.
const BLUR: u64 = 50;

#[derive(Debug)]
pub(crate) struct Index<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) scenario: &'a Scenario,
    pub(crate) kills: Vec<Kill>,
    pub(crate) seen: Vec<Seen<'a>>,
    by_request: HashMap<Key, Vec<usize>>,
    by_answer: HashMap<(&'a str, u64), usize>,
    by_key: HashMap<Key, &'a Told>,
}

impl<'a> Index<'a> {
    pub(crate) fn of(evidence: &'a Evidence, scenario: &'a Scenario) -> Self {
        let mut seen: Vec<Seen<'a>> = evidence
            .wire
            .iter()
            .filter(|(_, exchange)| exchange.asked.method == "POST")
            .map(|(mock, exchange)| {
                let provider = evidence.fleet.providers.get(mock);
                Seen {
                    mock,
                    provider,
                    exchange,
                    at_ms: provider.map_or(0, |provider| provider.millis(exchange.asked.at)),
                    of: mark(&exchange.asked.body),
                    sent_again: false,
                }
            })
            .collect();
        let mut by_request: HashMap<Key, Vec<usize>> = HashMap::new();
        let mut by_answer = HashMap::new();
        for (place, one) in seen.iter().enumerate() {
            if let Some(of) = one.of {
                by_request.entry(of).or_default().push(place);
            }
            by_answer.insert((one.mock, one.exchange.asked.number), place);
        }
        for (of, places) in &mut by_request {
            let workload = scenario.workloads.get(of.0);
            match workload.and_then(|workload| workload.repeats) {
                None => sent_again(places, &mut seen),
                Some(_) => {
                    places.sort_by_key(|place| seen.get(*place).map(|one| one.at_ms));
                    // What came under its key later may be another execution: only the next can be the same attempt,
                    // and only of what the gateway itself did not leave.
                    for pair in places.windows(2) {
                        let first = pair.first().and_then(|place| seen.get(*place));
                        if first.is_some_and(|one| one.exchange.left.is_none()) {
                            sent_again(pair, &mut seen);
                        }
                    }
                }
            }
        }
        Self {
            evidence,
            scenario,
            kills: kills(evidence),
            seen,
            by_request,
            by_answer,
            by_key: evidence
                .history
                .iter()
                .map(|told| ((told.workload, told.number), told))
                .collect(),
        }
    }

    /// All that clients read: of a request that was sent several times under one key, each sending.
    pub(crate) fn read(&self) -> impl Iterator<Item = &'a Told> + use<'a> {
        let evidence: &'a Evidence = self.evidence;
        evidence.history.iter().flat_map(Told::each)
    }

    /// The exchanges that carried a client's request.
    pub(crate) fn exchanges(&self, told: &Told) -> impl Iterator<Item = &Seen<'a>> {
        self.by_request
            .get(&(told.workload, told.number))
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|place| self.seen.get(*place))
    }

    /// The exchange whose words a client read.
    pub(crate) fn origin(&self, told: &Told) -> Option<&Seen<'a>> {
        let origin = told.text.as_ref()?.as_ref().ok()?;
        let (name, _) = self.evidence.fleet.by_canary(&origin.mock)?;
        let place = self.by_answer.get(&(name, origin.request))?;
        self.seen.get(*place)
    }

    pub(crate) fn phase(&self, wanted: PhaseName) -> (u64, u64) {
        self.evidence
            .phases
            .iter()
            .find(|(name, ..)| *name == wanted)
            .map_or((0, 0), |(_, from, to)| (*from, *to))
    }

    /// Whether a request was under way when the process was killed.
    pub(crate) fn was_caught(&self, told: &Told) -> bool {
        self.kills.iter().any(|kill| {
            told.due_ms <= kill.until.saturating_add(BLUR)
                && told.end_ms.saturating_add(BLUR) >= kill.from
        })
    }

    /// Which life of the process a moment belongs to; `None` between its death and its next answer: what arrives
    /// then may still be on its way from the one that is dead.
    pub(crate) fn life(&self, at_ms: u64) -> Option<usize> {
        let mut kills = self.kills.iter();
        if kills.any(|kill| (kill.from..kill.served).contains(&at_ms)) {
            return None;
        }
        Some(self.kills.iter().filter(|kill| kill.from <= at_ms).count())
    }

    pub(crate) fn told(&self, of: Key) -> Option<&'a Told> {
        self.by_key.get(&of).copied()
    }

    /// The requests that reached a mock and whose client read no id, and whether each asked for a stream.
    pub(crate) fn nameless_on_the_wire(&self) -> HashMap<Key, bool> {
        let mut nameless: HashMap<Key, bool> = HashMap::new();
        for seen in &self.seen {
            if let Some(of) = seen.of {
                nameless.insert(of, seen.exchange.asked.streams());
            }
        }
        for told in &self.evidence.history {
            let key = (told.workload, told.number);
            if told.each().any(|one| one.id.is_some()) {
                nameless.remove(&key);
            } else if let Some(stream) = nameless.get_mut(&key) {
                *stream = told.stream;
            }
        }
        nameless
    }

    /// The requests a kill caught.
    pub(crate) fn caught(&self) -> HashSet<Key> {
        let history = self.evidence.history.iter();
        let caught = history.filter(|told| self.was_caught(told));
        caught.map(|told| (told.workload, told.number)).collect()
    }
}

/// When the process was killed; where that was not noted, somewhere in the fault's span.
fn kills(evidence: &Evidence) -> Vec<Kill> {
    let was_killed = evidence.own.as_ref().is_some_and(|own| own.starts > 1);
    let mut kills = Vec::new();
    for done in evidence.faults.iter().filter(|done| done.name == "kill") {
        kills.extend(done.acts.iter().map(|act| Kill {
            from: act.from_ms,
            until: act.to_ms.min(act.from_ms.saturating_add(BLUR)),
            served: act.to_ms,
        }));
        if done.acts.is_empty() && was_killed {
            kills.push(Kill {
                from: done.from_ms,
                until: done.to_ms,
                served: done.to_ms,
            });
        }
    }
    kills.sort_unstable_by_key(|kill| kill.from);
    kills
}

/// Marks those of one request's exchanges that are not an attempt of their own.
fn sent_again(places: &[usize], seen: &mut [Seen<'_>]) {
    for (nth, place) in places.iter().enumerate() {
        let later = places.get(nth.saturating_add(1)..).unwrap_or_default();
        let again = seen.get(*place).is_some_and(|one| {
            let same_mock = |place: &usize| {
                let other = seen.get(*place);
                other.is_some_and(|other| other.mock == one.mock)
            };
            // Only a connection that has served before can have gone stale.
            let stale = one.exchange.bytes_sent == 0 && one.exchange.asked.reuse > 0;
            stale && later.iter().any(same_mock)
        });
        if let Some(one) = seen.get_mut(*place) {
            one.sent_again |= again;
        }
    }
}

/// Reads whose request a body carries.
fn mark(body: &[u8]) -> Option<Key> {
    let at = memchr::memmem::find(body, PROMPT_MARK.as_bytes())?;
    let rest = body.get(at.checked_add(PROMPT_MARK.len())?..)?;
    let end = rest.iter().position(|byte| *byte == b':')?;
    let text = std::str::from_utf8(rest.get(..end)?).ok()?.trim();
    let (place, number) = text.split_once('.')?;
    Some((place.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_says_whose_request_it_is() {
        assert_eq!(
            mark(b"{\"content\":\"chaos-prompt-canary 2.17: tell me\"}"),
            Some((2, 17))
        );
        assert_eq!(mark(b"{\"content\":\"hello\"}"), None);
        assert_eq!(mark(b"chaos-prompt-canary 2.x: "), None);
    }
}
