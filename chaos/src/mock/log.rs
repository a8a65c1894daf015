//! What happened on the wire, request by request.

use std::sync::Arc;
use std::time::Duration;

use super::asked::Asked;

/// How the peer left before the answer was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    Fin,
    Reset,
}

/// Tokens as the mock reported them, before any edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    pub input: u64,
    pub output: u64,
}

/// One request and what became of it. Times count from the mock's start.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub asked: Arc<Asked>,
    pub bytes_sent: u64,
    /// Writes after the head: a JSON body is one, an event stream one per event.
    pub chunks_sent: u64,
    /// Content events among them.
    pub content_sent: u64,
    pub head_at: Option<Duration>,
    pub first_content_at: Option<Duration>,
    pub last_byte_at: Option<Duration>,
    /// The peer left before the answer was whole.
    pub left: Option<(Duration, Leaving)>,
    /// The behaviour was carried out to its end, even if that end was a reset.
    pub finished: bool,
    /// The label of the behaviour it met, once that showed; see [`super::Behaviour::labelled`].
    pub fault: Option<Arc<str>>,
    /// `None` for anything but a healthy answer.
    pub reported: Option<Reported>,
}

impl Exchange {
    /// What its provider bills for: what was reported where the answer is whole, else the prompt and what had been
    /// written when the peer left. `None` for a refusal.
    #[must_use]
    pub fn billed(&self) -> Option<Reported> {
        let reported = self.reported?;
        // A fault may end an answer early, and that is a finish as well.
        let whole = self.finished && self.left.is_none() && self.fault.is_none();
        let written = match (whole, self.asked.streams()) {
            (true, _) => reported.output,
            // Content events are words, and words are what this provider counts.
            (false, true) => self.content_sent.min(reported.output),
            (false, false) if self.content_sent > 0 => reported.output,
            (false, false) => 0,
        };
        Some(Reported {
            input: reported.input,
            output: written,
        })
    }

    pub(super) fn new(asked: Arc<Asked>) -> Self {
        Self {
            asked,
            bytes_sent: 0,
            chunks_sent: 0,
            content_sent: 0,
            head_at: None,
            first_content_at: None,
            last_byte_at: None,
            left: None,
            finished: false,
            fault: None,
            reported: None,
        }
    }
}

/// The newest exchanges, oldest first.
#[derive(Debug)]
pub(super) struct Log {
    kept: Vec<Exchange>,
    limit: usize,
    /// How many were forgotten.
    lost: u64,
}

impl Log {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            kept: Vec::new(),
            limit: limit.max(4),
            lost: 0,
        }
    }

    /// A full log forgets its oldest quarter at once, so that forgetting costs little per request.
    pub(super) fn push(&mut self, exchange: Exchange) {
        if self.kept.len() >= self.limit {
            let forgotten = self.kept.drain(..self.limit / 4).len();
            self.lost = self.lost.saturating_add(forgotten as u64);
        }
        self.kept.push(exchange);
    }

    /// `None` once the exchange has left the log. Requests that arrive together may be logged a little out of
    /// number order, so the search starts where the number should be and then looks everywhere.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Exchange> {
        let first = self.kept.first()?.asked.number;
        let guess = usize::try_from(number.saturating_sub(first)).ok()?;
        if self
            .kept
            .get(guess)
            .is_some_and(|exchange| exchange.asked.number == number)
        {
            return self.kept.get_mut(guess);
        }
        self.kept
            .iter_mut()
            .rev()
            .find(|exchange| exchange.asked.number == number)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn all(&self) -> &[Exchange] {
        &self.kept
    }
}
