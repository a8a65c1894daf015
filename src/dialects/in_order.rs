//! Calls of tools whose arguments come in turns, told one after the other.
//!
//! # Why hold
//! In some forms a block ends before the next one begins, and a call that was ended without arguments cannot be
//! taken back. So what begins behind a call that is not whole waits until the answer ends: nobody says earlier that
//! a call is over. A call whose arguments are an object already is whole, and nothing waits for it; so nearly every
//! provider writes.

use serde::de::IgnoredAny;

use crate::domain::StreamFault;
use crate::domain::chat::ChatEvent;

/// Puts the events of one answer into an order in which every block ends before the next one begins.
#[derive(Debug, Default)]
pub(super) struct InOrder {
    /// The call under way, and its arguments so far.
    open: Option<(u32, String)>,
    /// What waits for it; the arguments of a call stand right behind it, in one piece.
    held: Vec<ChatEvent>,
}

impl InOrder {
    pub(super) fn order(&mut self, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let mut told = Vec::with_capacity(events.len());
        for event in events.drain(..) {
            self.event(event, &mut told)?;
        }
        *events = told;
        Ok(())
    }

    /// What still waits when nothing more comes.
    pub(super) fn rest(&mut self) -> Vec<ChatEvent> {
        std::mem::take(&mut self.held)
    }

    fn event(&mut self, event: ChatEvent, told: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        match event {
            ChatEvent::ToolArguments { index, fragment } => {
                return self.arguments(index, fragment, told);
            }
            ChatEvent::Stop { .. } | ChatEvent::Done => {
                if !self.held.is_empty() {
                    self.open = None;
                }
                told.append(&mut self.held);
                told.push(event);
            }
            ChatEvent::Start { .. }
            | ChatEvent::Usage { .. }
            | ChatEvent::Foreign { .. }
            | ChatEvent::Trace => {
                told.push(event);
            }
            ChatEvent::ToolCall { .. }
            | ChatEvent::Logprobs { .. }
            | ChatEvent::Text { .. }
            | ChatEvent::Thinking { .. }
            | ChatEvent::Signed { .. }
            | ChatEvent::RedactedThinking { .. }
            | ChatEvent::Refusal { .. }
            | ChatEvent::Citation { .. }
                if self.waits() =>
            {
                self.hold(event);
            }
            ChatEvent::ToolCall { index, .. } => {
                self.open = Some((index, String::new()));
                told.push(event);
            }
            // A source begins nothing.
            ChatEvent::Citation { .. } | ChatEvent::Logprobs { .. } => told.push(event),
            ChatEvent::Text { .. }
            | ChatEvent::Thinking { .. }
            | ChatEvent::Signed { .. }
            | ChatEvent::RedactedThinking { .. }
            | ChatEvent::Refusal { .. } => {
                self.open = None;
                told.push(event);
            }
        }
        Ok(())
    }

    fn arguments(
        &mut self,
        index: u32,
        fragment: String,
        told: &mut Vec<ChatEvent>,
    ) -> Result<(), StreamFault> {
        if let Some((own, so_far)) = &mut self.open
            && *own == index
        {
            so_far.push_str(&fragment);
            told.push(ChatEvent::ToolArguments { index, fragment });
            return Ok(());
        }
        let begun = |event: &ChatEvent| matches!(event, ChatEvent::ToolCall { index: own, .. } if *own == index);
        match self.held.iter().rposition(begun) {
            Some(call) => {
                let behind = call.saturating_add(1);
                match self.held.get_mut(behind) {
                    Some(ChatEvent::ToolArguments {
                        fragment: so_far, ..
                    }) => so_far.push_str(&fragment),
                    Some(_) | None => {
                        let arguments = ChatEvent::ToolArguments { index, fragment };
                        self.held.insert(behind, arguments);
                    }
                }
            }
            None if fragment.trim().is_empty() => {}
            None => {
                return Err(StreamFault::Malformed(
                    "more arguments of a call that was whole",
                ));
            }
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        let half = |(_, arguments): &(u32, String)| !is_whole(arguments);
        !self.held.is_empty() || self.open.as_ref().is_some_and(half)
    }

    /// Words go on where the same kind of words ended: what waits grows with what is said, not with its pieces.
    fn hold(&mut self, event: ChatEvent) {
        match (event, self.held.last_mut()) {
            (ChatEvent::Text { text }, Some(ChatEvent::Text { text: so_far }))
            | (ChatEvent::Thinking { text }, Some(ChatEvent::Thinking { text: so_far }))
            | (ChatEvent::Refusal { text }, Some(ChatEvent::Refusal { text: so_far })) => {
                so_far.push_str(&text);
            }
            (event, _) => self.held.push(event),
        }
    }
}

/// Whether nothing more can follow: an object that has ended.
fn is_whole(arguments: &str) -> bool {
    arguments.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::StopReason;

    fn call(index: u32) -> ChatEvent {
        ChatEvent::ToolCall {
            index,
            id: format!("c{index}"),
            name: "f".to_owned(),
            signature: None,
        }
    }

    fn more(index: u32, fragment: &str) -> ChatEvent {
        ChatEvent::ToolArguments {
            index,
            fragment: fragment.to_owned(),
        }
    }

    fn said(text: &str) -> ChatEvent {
        ChatEvent::Text {
            text: text.to_owned(),
        }
    }

    const STOP: ChatEvent = ChatEvent::Stop {
        reason: StopReason::ToolCalls,
    };

    /// One by one, as they come.
    fn ordered(events: &[ChatEvent]) -> Result<Vec<ChatEvent>, StreamFault> {
        let (mut order, mut told) = (InOrder::default(), Vec::new());
        for event in events {
            let mut one = vec![event.clone()];
            order.order(&mut one)?;
            told.extend(one);
        }
        told.extend(order.rest());
        Ok(told)
    }

    #[test]
    fn calls_in_turns_are_told_one_after_the_other() {
        let turns = [
            call(0),
            call(1),
            more(0, "{\"a\""),
            more(1, "{\"b\""),
            said("x"),
            said("y"),
            more(0, ":1}"),
            more(1, ":2}"),
            STOP,
        ];
        let expected = [
            call(0),
            more(0, "{\"a\""),
            more(0, ":1}"),
            call(1),
            more(1, "{\"b\":2}"),
            said("xy"),
            STOP,
        ];
        assert_eq!(ordered(&turns).unwrap(), expected);
        // Without an end, too, nothing is lost.
        assert_eq!(ordered(&turns[..8]).unwrap(), expected[..6]);
    }

    #[test]
    fn nothing_waits_for_a_call_that_is_whole() {
        let mut order = InOrder::default();
        for event in [call(0), more(0, "{}"), call(1), more(1, "{}"), said("x")] {
            let mut one = vec![event.clone()];
            order.order(&mut one).unwrap();
            assert_eq!(one, [event]);
        }
    }

    #[test]
    fn a_call_that_was_whole_takes_no_more() {
        let whole = [call(0), more(0, "{}"), said("x")];
        let mut late = whole.to_vec();
        late.push(more(0, " \n"));
        assert_eq!(ordered(&late).unwrap(), whole);
        late.push(more(0, "{}"));
        assert!(ordered(&late).is_err());
    }
}
