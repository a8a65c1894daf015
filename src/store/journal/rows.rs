//! One row per request: its intent, its attempts and its outcome brought together.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use serde::Serialize;

use super::read::{Line, Lines, ReadError, ReadRecord, read, seq_at};
use super::told::{ReadAttempt, ReadIntent, ReadOutcome};
use crate::domain::RequestId;

/// A request as the journal tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub intent: ReadIntent,
    pub attempts: Vec<ReadAttempt>,
    /// `None` while it is under way.
    pub outcome: Option<ReadOutcome>,
}

/// Which requests are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Milliseconds since 1970; the first wanted.
    pub from_ms: Option<u64>,
    /// The first not wanted any more.
    pub to_ms: Option<u64>,
    pub request: Option<String>,
    pub client: Option<String>,
    pub tenant: Option<String>,
    pub user: Option<String>,
    /// As asked for, or as served.
    pub model: Option<String>,
    /// `ok`, `failed`, `cancelled`, `interrupted`, `open`, or the reason of a failure.
    pub outcome: Option<String>,
}

impl Selection {
    pub fn holds(&self, row: &Row) -> bool {
        let intent = &row.intent;
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == value)
        };
        self.holds_time(intent.at)
            && is(&self.request, Some(intent.request.text().as_str()))
            && is(&self.client, Some(&intent.client))
            && is(&self.tenant, intent.tenant.as_deref())
            && is(&self.user, intent.user.as_deref())
            && (is(&self.model, Some(&intent.asked)) || is(&self.model, row.model()))
            && (is(&self.outcome, Some(row.how()))
                || is(
                    &self.outcome,
                    row.outcome.as_ref().map(|outcome| &*outcome.reason),
                ))
    }

    fn holds_time(&self, at_ms: u64) -> bool {
        self.from_ms.is_none_or(|from| at_ms >= from) && self.to_ms.is_none_or(|to| at_ms < to)
    }
}

impl Row {
    pub fn how(&self) -> &str {
        self.outcome
            .as_ref()
            .map_or("open", |outcome| outcome.how.as_str())
    }

    /// The model that served it.
    pub fn model(&self) -> Option<&str> {
        self.outcome.as_ref()?.model.as_deref()
    }

    /// Whether every attempt the outcome counts is here. The loser of a race is recorded behind the outcome.
    fn is_whole(&self) -> bool {
        self.outcome
            .as_ref()
            .is_some_and(|outcome| self.attempts.len() >= outcome.attempts as usize)
    }
}

/// So many ended requests are held for attempts that have not been seen.
const MOST_HELD: usize = 1_024;
/// No request is under way for longer, and no clock is set back further.
const LONGEST_REQUEST_MS: u64 = 3_600_000;

/// The requests of a journal that began in the selected time, in the order in which they ended; then those
/// that are still open. Memory is bounded by the requests that are open at one time.
pub fn rows(folder: &Path, selection: Selection) -> Rows {
    let from_seq = selection
        .from_ms
        // A folder that cannot be read is told by the reader.
        .map_or(0, |from| seq_at(folder, from).unwrap_or_default());
    Rows {
        lines: read(folder, from_seq),
        selection,
        open: HashMap::new(),
        held: VecDeque::new(),
        ready: VecDeque::new(),
        seen: 0,
        most: u64::MAX,
        over: false,
    }
}

/// See [`rows`].
#[derive(Debug)]
pub struct Rows {
    lines: Lines,
    selection: Selection,
    open: HashMap<RequestId, Row>,
    /// Ended, with attempts missing.
    held: VecDeque<RequestId>,
    ready: VecDeque<Row>,
    seen: u64,
    most: u64,
    over: bool,
}

impl Rows {
    /// Records read so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Reads no more records than this, whether or not they fit what is looked for.
    #[must_use]
    pub fn at_most(mut self, records: u64) -> Self {
        self.most = records;
        self
    }

    /// Whether it ended there, with records left.
    pub fn was_cut(&self) -> bool {
        self.seen >= self.most
    }

    fn take(&mut self, line: Line) {
        self.seen += 1;
        match line.record {
            ReadRecord::Intent(intent) => {
                if self.selection.holds_time(intent.at) {
                    let row = Row {
                        intent,
                        attempts: Vec::new(),
                        outcome: None,
                    };
                    self.open.insert(row.intent.request, row);
                }
            }
            ReadRecord::Attempt(attempt) => {
                let request = attempt.request;
                if let Some(row) = self.open.get_mut(&request) {
                    row.attempts.push(attempt);
                    self.emit_whole(request);
                }
            }
            ReadRecord::Outcome(outcome) => {
                let request = outcome.request;
                if let Some(row) = self.open.get_mut(&request) {
                    row.outcome = Some(outcome);
                    if !self.emit_whole(request) {
                        self.held.push_back(request);
                    }
                }
                if self.held.len() > MOST_HELD {
                    let oldest = self.held.pop_front();
                    self.ready
                        .extend(oldest.and_then(|request| self.open.remove(&request)));
                }
            }
            ReadRecord::Text(_) | ReadRecord::Event(_) | ReadRecord::Other => {}
        }
        let last = self.selection.to_ms;
        self.over |= self.open.is_empty()
            && last.is_some_and(|to| line.at_ms > to.saturating_add(LONGEST_REQUEST_MS));
    }

    fn emit_whole(&mut self, request: RequestId) -> bool {
        let whole = self.open.get(&request).is_some_and(Row::is_whole);
        if whole {
            self.ready.extend(self.open.remove(&request));
        }
        whole
    }

    /// What is left at the end of the journal, oldest first.
    fn finish(&mut self) {
        self.over = true;
        let mut rest: Vec<Row> = self.open.drain().map(|(_, row)| row).collect();
        rest.sort_by_key(|row| row.intent.at);
        self.ready.extend(rest);
    }
}

impl Iterator for Rows {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(row) = self.ready.pop_front() {
                if self.selection.holds(&row) {
                    return Some(Ok(row));
                }
            }
            if self.over || self.was_cut() {
                return None;
            }
            match self.lines.next() {
                Some(Ok(line)) => self.take(line),
                Some(Err(error)) => return Some(Err(error)),
                None => self.finish(),
            }
        }
    }
}
