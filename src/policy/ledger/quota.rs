//! How often and how much at once: exact in any rolling minute.

use std::time::Duration;

use crate::domain::{Moment, Tokens};
use crate::policy::window::SlidingWindow;

/// What an account may do per minute and at once; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaTerms {
    pub requests_per_minute: Option<u64>,
    /// Input and output together; the estimate until the request ends.
    pub tokens_per_minute: Option<u64>,
    pub concurrency: Option<u32>,
}

impl QuotaTerms {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    Requests,
    Tokens,
    Concurrency,
}

impl QuotaKind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrency => "concurrency",
        }
    }
}

/// Terms and what counts against them.
#[derive(Debug)]
pub struct Quota {
    terms: QuotaTerms,
    requests: SlidingWindow,
    tokens: SlidingWindow,
    at_once: u32,
    /// Since when tokens are counted.
    counts_from: Opening,
    /// Made in the opening under way: what is open already has not joined it yet.
    is_new: bool,
}

/// Which of the openings of its books, one after the other, something came with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Opening(pub(super) u64);

/// A request that ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) expected: Tokens,
    /// `None` when nobody knows: what was expected stays counted.
    pub(super) used: Option<Tokens>,
    /// With which opening, and when, it was let in.
    pub(super) came: Opening,
    pub(super) at: Moment,
}

/// What a client is told of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    /// Until all of it is there again.
    pub reset: Duration,
}

impl Quota {
    pub(super) fn new(terms: QuotaTerms, opening: Opening) -> Self {
        Self {
            terms,
            requests: SlidingWindow::new(),
            tokens: SlidingWindow::new(),
            at_once: 0,
            counts_from: opening,
            is_new: true,
        }
    }

    /// The same counts under other terms.
    pub(super) fn under(mut self, terms: QuotaTerms, opening: Opening) -> Self {
        if self.terms.tokens_per_minute.is_none() {
            self.counts_from = opening;
        }
        self.terms = terms;
        self
    }

    /// One that was let in before this was there goes on under it.
    pub(super) fn join(&mut self) {
        if self.is_new {
            self.at_once += 1;
        }
    }

    /// All that was open has joined.
    pub(super) fn opened(&mut self) {
        self.is_new = false;
    }

    /// Lets a request in, or says which limit it would exceed and how long until it may fit.
    pub(super) fn enter(
        &mut self,
        tokens: Tokens,
        now: Moment,
    ) -> Result<(), (QuotaKind, Duration)> {
        let most = self.terms.concurrency.unwrap_or(u32::MAX);
        if self.at_once >= most {
            // Nobody knows when another ends.
            return Err((QuotaKind::Concurrency, Duration::from_secs(1)));
        }
        let requests = self.terms.requests_per_minute.unwrap_or(u64::MAX);
        self.requests
            .try_take(1, requests, now)
            .map_err(|wait| (QuotaKind::Requests, wait))?;
        if let Some(most) = self.terms.tokens_per_minute {
            // What is larger than the whole minute's worth would never be let in: it is when nothing else is.
            let amount = u32::try_from(tokens.0.min(most)).unwrap_or(u32::MAX);
            if let Err(wait) = self.tokens.try_take(amount, most, now) {
                self.requests.give_back(1, now, now);
                return Err((QuotaKind::Tokens, wait));
            }
        }
        self.at_once += 1;
        Ok(())
    }

    /// As if it had never come: it was refused elsewhere.
    pub(super) fn refund(&mut self, tokens: Tokens, at: Moment, now: Moment) {
        self.at_once = self.at_once.saturating_sub(1);
        self.requests.give_back(1, at, now);
        if let Some(most) = self.terms.tokens_per_minute {
            let amount = u32::try_from(tokens.0.min(most)).unwrap_or(u32::MAX);
            self.tokens.give_back(amount, at, now);
        }
    }

    /// It ended: what it used takes the place of what was expected when it was let in.
    ///
    /// # Why not simply the difference
    /// What is given back is given back where it was counted, and what comes on top counts from now: so no
    /// rolling minute ever holds more than the limit (attack A19).
    pub(super) fn leave(&mut self, one: Leaving, now: Moment) {
        self.at_once = self.at_once.saturating_sub(1);
        let Leaving {
            expected,
            used,
            came,
            at,
        } = one;
        let (Some(most), Some(used)) = (self.terms.tokens_per_minute, used) else {
            return;
        };
        let counted = if came < self.counts_from {
            0
        } else {
            expected.0.min(most)
        };
        let amount = u32::try_from(counted.abs_diff(used.0)).unwrap_or(u32::MAX);
        if used.0 < counted {
            self.tokens.give_back(amount, at, now);
        } else {
            self.tokens.add(amount, now);
        }
    }

    pub fn at_once(&self) -> u32 {
        self.at_once
    }

    pub fn terms(&self) -> &QuotaTerms {
        &self.terms
    }

    pub(super) fn standing(&self, kind: QuotaKind, now: Moment) -> Option<Standing> {
        let (limit, window) = match kind {
            QuotaKind::Requests => (self.terms.requests_per_minute?, &self.requests),
            QuotaKind::Tokens => (self.terms.tokens_per_minute?, &self.tokens),
            QuotaKind::Concurrency => return None,
        };
        Some(Standing {
            limit,
            remaining: limit.saturating_sub(window.sum(now)),
            reset: window.empties_in(now),
        })
    }
}
