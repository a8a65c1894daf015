//! Calls in an answer, held against the tools that the request offered (attack A29).
//!
//! # Why behind the relay
//! As for the guard: whoever the provider is, what leaves is of one dialect, the client's.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::tools::Tools;
use crate::dialects::offered::may_call;
use crate::dialects::sse::{Event, Framer};
use crate::dialects::{AnswerFault, Relay};
use crate::domain::{
    ClientDialect, Failure, ProviderName, StreamEnd, StreamFacts, StreamFault, Unoffered,
};
use crate::telemetry::metrics::quirk;

/// What a request offers, and what becomes of calls of anything else.
#[derive(Clone)]
pub(super) struct Watch {
    tools: Arc<Tools>,
    speaks: ClientDialect,
    action: Unoffered,
    provider: ProviderName,
    /// One answer is told once.
    told: bool,
}

impl Watch {
    pub(super) fn new(
        (speaks, tools): (ClientDialect, Arc<Tools>),
        action: Unoffered,
        provider: &ProviderName,
    ) -> Self {
        Self {
            tools,
            speaks,
            action,
            provider: provider.clone(),
            told: false,
        }
    }

    /// Whether a text of an answer goes on. What cannot be read here a client may read.
    fn lets_pass(&mut self, text: &[u8]) -> bool {
        if !may_call(self.speaks, text) {
            return true;
        }
        let offered = self.tools.offered(self.speaks);
        let exceeds = offered.is_exceeded_by(self.speaks, text);
        if !exceeds.unwrap_or(true) {
            return true;
        }
        if !std::mem::replace(&mut self.told, true) {
            quirk(self.provider.as_str(), "unoffered_tool");
        }
        self.action == Unoffered::Flag
    }

    /// Looks at a whole answer; whether it calls what was not offered and goes on all the same.
    pub(super) fn whole(&mut self, body: &[u8]) -> Result<bool, AnswerFault> {
        if self.lets_pass(body) {
            Ok(self.told)
        } else {
            Err(AnswerFault::Unoffered)
        }
    }

    /// Looks at whole events that were written behind this place, and takes back the first that may not leave, with
    /// what is behind it.
    pub(super) fn events(&mut self, before: usize, out: &mut BytesMut) -> Result<(), StreamFault> {
        if !may_call(self.speaks, out.get(before..).unwrap_or_default()) {
            return Ok(());
        }
        let written = out.split_off(before).freeze();
        let mut framer = Framer::default();
        framer.push(&written).map_err(|_| StreamFault::TooLarge)?;
        while let Some(event) = framer.next_event() {
            let event = event.map_err(|_| StreamFault::TooLarge)?;
            self.pass(&event, out)?;
        }
        match framer.rest() {
            Some(event) => self.pass(&event, out),
            None => Ok(()),
        }
    }

    fn pass(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamFault> {
        if !self.lets_pass(&event.data) {
            return Err(StreamFault::Unoffered);
        }
        out.extend_from_slice(&event.raw);
        Ok(())
    }
}

/// A relay whose calls are looked at.
pub(super) struct WatchedRelay {
    inner: Box<dyn Relay>,
    watch: Watch,
}

impl WatchedRelay {
    pub(super) fn new(inner: Box<dyn Relay>, watch: Watch) -> Self {
        Self { inner, watch }
    }
}

impl Relay for WatchedRelay {
    fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) -> Result<(), StreamFault> {
        let before = out.len();
        let fed = self.inner.feed(piece, out);
        // What came before a fault is still good, or not.
        self.watch.events(before, out)?;
        fed
    }

    fn end(&mut self, out: &mut BytesMut) -> Result<StreamEnd, StreamFault> {
        let before = out.len();
        let end = self.inner.end(out);
        self.watch.events(before, out)?;
        end
    }

    fn fail(&mut self, failure: &Failure, request_id: &str, out: &mut BytesMut) {
        self.inner.fail(failure, request_id, out);
    }

    fn facts(&self) -> &StreamFacts {
        self.inner.facts()
    }

    fn recorded(&mut self) -> Option<Bytes> {
        self.inner.recorded()
    }
}
