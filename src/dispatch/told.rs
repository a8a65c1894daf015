//! What a request cost, told in the answer itself (row M4).
//!
//! Only in OpenAI's form, where clients of other gateways look for it, and only where it is wanted: unasked, an
//! answer of the same dialect stays the provider's own bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::bill::Tab;
use super::request::Request;
use crate::config::TellCost;
use crate::dialects::Relay;
use crate::dialects::openai::{CostRelay, Costing, ToldCost, tell_whole, with_cost};
use crate::domain::{ClientDialect, Usage};

/// One attempt's account, for the answer that it brought.
struct OfTab(Arc<Tab>);

impl Costing for OfTab {
    fn cost(&self, usage: &Usage) -> Option<ToldCost> {
        self.0.told(usage)
    }
}

impl Request {
    /// Whether its answer says what it cost.
    pub(super) fn is_told_its_cost(&self) -> bool {
        let wanted = match self.published.settings.pricing.tell_cost {
            TellCost::Never => false,
            TellCost::Asked => self.peek.wishes.cost,
            TellCost::Always => true,
        };
        wanted && self.speaks == ClientDialect::Openai && !self.peek.plain_text
    }
}

/// A whole answer with its cost, where it has a place for it.
pub(super) fn in_answer(body: Bytes, told: Option<ToldCost>) -> Bytes {
    let with = told.and_then(|told| with_cost(&body, told));
    with.map_or(body, Bytes::from)
}

/// A stream under way that will say its cost, and what it has written so far.
pub(super) fn in_stream(
    relay: Box<dyn Relay>,
    held: BytesMut,
    tab: &Arc<Tab>,
) -> (Box<dyn Relay>, BytesMut) {
    let costing = Box::new(OfTab(Arc::clone(tab)));
    let (relay, held) = CostRelay::over(relay, costing, held);
    (Box::new(relay), held)
}

/// A stream that is there as a whole.
pub(super) fn in_whole_stream(held: BytesMut, usage: Option<Usage>, tab: &Tab) -> BytesMut {
    tell_whole(held, usage.and_then(|usage| tab.told(&usage)))
}
