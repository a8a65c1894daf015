//! A stream on its way to the client, looked at event by event.
//!
//! # Why behind the relay and not inside
//! Every relay writes events of the client's dialect, of which there are few. Here one reader sees them all,
//! whoever the provider is; what is not changed leaves byte for byte.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Guarded;
use super::sieve::Sieve;
use crate::dialects::{AnswerTerms, Relay};
use crate::domain::{ClientDialect, Failure, StreamEnd, StreamFacts, StreamFault};
use crate::policy::guard::RuleId;

/// A relay whose events are looked at before they go on.
pub(in crate::dispatch) struct GuardRelay {
    inner: Box<dyn Relay>,
    sieve: Sieve,
    record: Option<Record>,
    said: BytesMut,
    /// What is told of a stream that a rule has ended.
    blocked: Option<StreamFacts>,
}

/// The same stream as the journal keeps it: what was taken out of the prompt does not come back.
struct Record {
    sieve: Sieve,
    out: BytesMut,
    is_over: bool,
}

impl Record {
    fn new(guarded: &Guarded, speaks: ClientDialect, terms: &AnswerTerms) -> Option<Self> {
        let own = guarded.record.as_ref()?;
        Some(Self {
            sieve: Sieve::silent(Arc::clone(own), speaks, terms.clone()),
            out: BytesMut::new(),
            is_over: false,
        })
    }

    /// What cannot be looked at is not kept either.
    fn take(&mut self, said: &Bytes, is_end: bool) {
        if self.is_over {
            return;
        }
        let before = self.out.len();
        let (sieve, out) = (&mut self.sieve, &mut self.out);
        match catch_unwind(AssertUnwindSafe(|| sieve.take(said, is_end, out))) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(_)) | Err(_)) => {
                self.sieve.give_up(&mut self.out);
                self.is_over = true;
            }
            Err(_) => {
                self.out.truncate(before);
                self.is_over = true;
            }
        }
    }

    /// How the stream ended for the client.
    fn ended(&mut self, with: &[u8]) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.sieve.give_up(&mut self.out);
        }
        self.out.extend_from_slice(with);
    }
}

impl GuardRelay {
    pub(in crate::dispatch) fn new(
        inner: Box<dyn Relay>,
        guarded: Arc<Guarded>,
        speaks: ClientDialect,
        terms: AnswerTerms,
    ) -> Self {
        Self {
            inner,
            record: Record::new(&guarded, speaks, &terms),
            sieve: Sieve::new(guarded, speaks, terms),
            said: BytesMut::new(),
            blocked: None,
        }
    }

    /// Passes on what the relay has said. A search that fails lets nothing through (attack A21).
    fn sift(&mut self, is_end: bool, out: &mut BytesMut) -> Result<(), StreamFault> {
        let said = self.said.split().freeze();
        if let Some(record) = &mut self.record {
            record.take(&said, is_end);
        }
        let (sieve, before) = (&mut self.sieve, out.len());
        let sifted = catch_unwind(AssertUnwindSafe(|| sieve.take(&said, is_end, out)));
        match sifted {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(rule))) => self.cut_off(rule, out),
            Ok(Err(fault)) => Err(fault),
            Err(_) => {
                out.truncate(before);
                self.sieve.panicked();
                Err(StreamFault::Unguarded)
            }
        }
    }

    fn cut_off(&mut self, rule: RuleId, out: &mut BytesMut) -> Result<(), StreamFault> {
        let mut end = BytesMut::new();
        self.sieve.cut_off(rule, out);
        self.sieve.filtered_end(self.inner.facts(), &mut end)?;
        if let Some(record) = &mut self.record {
            record.ended(&end);
        }
        out.extend_from_slice(&end);
        self.blocked = Some(StreamFacts {
            finished: true,
            terminal: true,
            filtered: true,
            ..self.inner.facts().clone()
        });
        Ok(())
    }
}

impl Relay for GuardRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        if self.blocked.is_some() {
            return Ok(());
        }
        let fed = self.inner.feed(piece, &mut self.said);
        // What came before the fault is still good.
        self.sift(false, out)?;
        if self.blocked.is_some() { Ok(()) } else { fed }
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        if self.blocked.is_some() {
            return Ok(StreamEnd::Blocked);
        }
        let end = self.inner.end(&mut self.said)?;
        self.sift(true, out)?;
        if self.blocked.is_some() {
            return Ok(StreamEnd::Blocked);
        }
        Ok(end)
    }

    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        let mut told = BytesMut::new();
        self.sieve.give_up(out);
        self.inner.fail(failure, request_id, &mut told);
        if let Some(record) = &mut self.record {
            record.ended(&told);
        }
        out.extend_from_slice(&told);
    }

    fn facts(&self) -> &StreamFacts {
        self.blocked.as_ref().unwrap_or(self.inner.facts())
    }

    fn recorded(&mut self) -> Option<Bytes> {
        let record = self.record.as_mut()?;
        Some(record.out.split().freeze())
    }
}

/// A stream that is there as a whole, as it may leave and as the journal keeps it.
pub(in crate::dispatch) struct Sifted {
    pub(in crate::dispatch) out: BytesMut,
    pub(in crate::dispatch) record: Option<Bytes>,
}

impl Guarded {
    pub(in crate::dispatch) fn sift_whole(
        self: &Arc<Self>,
        (speaks, terms): (ClientDialect, AnswerTerms),
        held: BytesMut,
        facts: &StreamFacts,
    ) -> Result<Sifted, StreamFault> {
        if !self.looks_at_answers() {
            return Ok(Sifted {
                out: held,
                record: None,
            });
        }
        let said = held.freeze();
        let mut record = Record::new(self, speaks, &terms);
        if let Some(record) = &mut record {
            record.take(&said, true);
        }
        let (mut out, mut end) = (BytesMut::new(), BytesMut::new());
        let mut sieve = Sieve::new(Arc::clone(self), speaks, terms);
        let taken = catch_unwind(AssertUnwindSafe(|| sieve.take(&said, true, &mut out)));
        match taken {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(rule))) => {
                sieve.cut_off(rule, &mut out);
                sieve.filtered_end(facts, &mut end)?;
                if let Some(record) = &mut record {
                    record.ended(&end);
                }
                out.extend_from_slice(&end);
            }
            Ok(Err(fault)) => return Err(fault),
            Err(_) => {
                sieve.panicked();
                return Err(StreamFault::Unguarded);
            }
        }
        Ok(Sifted {
            out,
            record: record.map(|record| record.out.freeze()),
        })
    }
}
