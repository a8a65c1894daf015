//! The tools of one request, read when an answer first may call something.
//!
//! # Why late, and once
//! Most answers call nothing, and then nobody needs to know what was offered. Where one does, every attempt and every
//! leg asks the same.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::request::Lock;
use crate::dialects::offered::Offered;
use crate::domain::ClientDialect;

/// A body up to here stays, unread, as long as its answer streams: for longer ones the memory was granted only until
/// content shows.
const KEPT: usize = 64 << 10;

/// What a request offers, and until that is known the text that says so.
#[derive(Default)]
pub struct Tools {
    text: Lock<Option<Bytes>>,
    read: OnceLock<Offered>,
}

impl Tools {
    /// With the body at hand, as long as there is one: it is let go before the answers are over.
    pub(super) fn of(this: &Arc<Self>, body: Bytes) -> Arc<Self> {
        if let Ok(mut text) = this.text.lock()
            && !body.is_empty()
            && this.read.get().is_none()
        {
            *text = Some(body);
        }
        Arc::clone(this)
    }

    pub(super) fn offered(&self, speaks: ClientDialect) -> &Offered {
        self.read.get_or_init(|| {
            let text = self.text.lock().ok().and_then(|mut text| text.take());
            Offered::of(speaks, &text.unwrap_or_default())
        })
    }

    /// The prompt is let go. What is kept of a long one is the names of its tools, which are bounded, as long as there
    /// is an answer under way that they are held against.
    pub(super) fn settle(this: &Arc<Self>, speaks: ClientDialect) {
        let is_long = |text: &Bytes| text.len() > KEPT;
        let held = this.text.lock().ok();
        let is_long = held.is_some_and(|text| text.as_ref().is_some_and(is_long));
        let is_over = Arc::strong_count(this) == 1;
        if is_long && !is_over {
            this.offered(speaks);
        }
        // A leg that began while another's answer was read may have left it again.
        if (is_over || this.read.get().is_some())
            && let Ok(mut text) = this.text.lock()
        {
            *text = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEAKS: ClientDialect = ClientDialect::Anthropic;

    /// A body of about this length that offers `f`.
    fn body(length: usize) -> Bytes {
        let text = format!(
            r#"{{"tools":[{{"name":"f"}}],"x":"{}"}}"#,
            "a".repeat(length)
        );
        Bytes::from(text)
    }

    fn calls(tools: &Tools, name: &str) -> Option<bool> {
        let text = format!(r#"{{"content":[{{"type":"tool_use","name":"{name}"}}]}}"#);
        tools
            .offered(SPEAKS)
            .is_exceeded_by(SPEAKS, text.as_bytes())
    }

    #[test]
    fn a29_tools_are_not_read_before_an_answer_may_call_one_and_then_once() {
        let tools = Arc::new(Tools::default());
        let leg = Tools::of(&tools, body(10));
        assert!(tools.read.get().is_none());
        assert_eq!(calls(&leg, "f"), Some(false));
        assert_eq!(calls(&leg, "rm"), Some(true));
        let first: *const Offered = leg.offered(SPEAKS);
        // The other leg, with the body still there.
        let other = Tools::of(&tools, body(10));
        assert!(std::ptr::eq(first, other.offered(SPEAKS)));
        assert!(
            tools.text.lock().unwrap().is_none(),
            "nobody needs it again"
        );
    }

    #[test]
    fn a29_what_stays_when_the_prompt_is_let_go_is_bounded_and_still_tells_what_was_offered() {
        for (length, stays) in [(1_000, true), (KEPT, false), (4 << 20, false)] {
            let tools = Arc::new(Tools::default());
            let text = body(length);
            let leg = Tools::of(&tools, text.clone());
            assert!(!text.is_unique());
            Tools::settle(&tools, SPEAKS);
            assert_eq!(text.is_unique(), !stays, "{length}");
            assert_eq!(tools.read.get().is_some(), !stays);
            // A body that is gone says nothing against what is known.
            let late = Tools::of(&tools, Bytes::new());
            for tools in [&leg, &late] {
                assert_eq!(calls(tools, "f"), Some(false), "{length}");
                assert_eq!(calls(tools, "rm"), Some(true), "{length}");
            }
        }
    }

    #[test]
    fn a29_what_was_offered_to_an_answer_that_is_over_is_not_read() {
        for length in [1_000, 4 << 20] {
            let tools = Arc::new(Tools::default());
            let text = body(length);
            drop(Tools::of(&tools, text.clone()));
            Tools::settle(&tools, SPEAKS);
            assert!(tools.read.get().is_none() && text.is_unique(), "{length}");
        }
    }
}
