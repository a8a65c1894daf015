//! Stop sequences for providers that know none, or too few: the answer is cut here.
//!
//! The provider writes on and is paid for it, so usage is what it reported. What comes behind a stop is read,
//! because the usage stands at its end, and not passed on.

use crate::domain::Dialect;
use crate::domain::chat::{ChatAnswer, ChatEvent, Part, StopReason};

/// How many stop sequences a provider of this dialect can be told.
pub(super) fn provider_takes(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Responses => 0,
        Dialect::Cohere => 5,
        Dialect::Openai
        | Dialect::Anthropic
        | Dialect::Gemini
        | Dialect::Ollama
        | Dialect::Bedrock => usize::MAX,
    }
}

/// Cuts one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cutter {
    stops: Vec<String>,
    /// The end of what came, which may be the beginning of a stop.
    held: String,
    /// The stop it was cut at.
    cut: Option<String>,
}

impl Cutter {
    /// `None` where there is nothing to cut: the provider was told all of them.
    pub fn of(dialect: Dialect, stops: &[String]) -> Option<Self> {
        let stops: Vec<_> = stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .cloned()
            .collect();
        (stops.len() > provider_takes(dialect)).then(|| Self {
            stops,
            held: String::new(),
            cut: None,
        })
    }

    /// The stop that was met.
    pub(super) fn met(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// The same events without what stands behind a stop, and without the stop.
    pub(super) fn events(&mut self, events: &mut Vec<ChatEvent>) {
        let mut kept = Vec::with_capacity(events.len());
        for event in events.drain(..) {
            self.event(event, &mut kept);
        }
        *events = kept;
    }

    fn event(&mut self, event: ChatEvent, kept: &mut Vec<ChatEvent>) {
        match event {
            ChatEvent::Text { .. }
            | ChatEvent::Thinking { .. }
            | ChatEvent::Refusal { .. }
            | ChatEvent::Signed { .. }
            | ChatEvent::RedactedThinking { .. }
            | ChatEvent::ToolCall { .. }
            | ChatEvent::ToolArguments { .. }
            | ChatEvent::Logprobs { .. }
            | ChatEvent::Citation { .. }
                if self.cut.is_some() => {}
            ChatEvent::Text { text } => {
                if first(&text, &self.stops).is_some() || !self.held.is_empty() {
                    // They would tell what is cut away.
                    kept.retain(|event| !matches!(event, ChatEvent::Logprobs { .. }));
                }
                self.held.push_str(&text);
                let free = self.free();
                let rest = self.held.split_off(free);
                let text = std::mem::replace(&mut self.held, rest);
                if !text.is_empty() {
                    kept.push(ChatEvent::Text { text });
                }
                if self.cut.is_some() {
                    self.held.clear();
                }
            }
            ChatEvent::Stop { .. } if self.cut.is_some() => kept.push(ChatEvent::Stop {
                reason: StopReason::StopSequence,
            }),
            // A source may stand beside what is held: it ends no text.
            other @ (ChatEvent::Start { .. }
            | ChatEvent::Trace
            | ChatEvent::Usage { .. }
            | ChatEvent::Logprobs { .. }
            | ChatEvent::Citation { .. }
            | ChatEvent::Done) => {
                kept.push(other);
            }
            other @ (ChatEvent::Stop { .. }
            | ChatEvent::Thinking { .. }
            | ChatEvent::Signed { .. }
            | ChatEvent::RedactedThinking { .. }
            | ChatEvent::Refusal { .. }
            | ChatEvent::Foreign { .. }
            | ChatEvent::ToolCall { .. }
            | ChatEvent::ToolArguments { .. }) => {
                // The text is over, and it did not end in a stop.
                if !self.held.is_empty() {
                    let text = std::mem::take(&mut self.held);
                    kept.push(ChatEvent::Text { text });
                }
                kept.push(other);
            }
        }
    }

    /// How much of what is held may go: up to a stop, or up to what may become one.
    fn free(&mut self) -> usize {
        if let Some((at, stop)) = first(&self.held, &self.stops) {
            self.cut = Some(stop.to_owned());
            return at;
        }
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        let may_begin = |at: &usize| {
            let tail = self.held.get(*at..);
            tail.is_some_and(|tail| self.stops.iter().any(|stop| stop.starts_with(tail)))
        };
        (from..self.held.len())
            .find(may_begin)
            .unwrap_or(self.held.len())
    }

    /// A whole answer, cut.
    pub fn answer(&self, answer: &mut ChatAnswer) {
        let mut cut_at = None;
        for (index, part) in answer.parts.iter_mut().enumerate() {
            if let Part::Text { text } = part
                && let Some((at, stop)) = first(text, &self.stops)
            {
                text.truncate(at);
                cut_at = Some((index, stop));
                // They would tell what is cut away.
                answer.logprobs.clear();
                break;
            }
        }
        if let Some((index, stop)) = cut_at {
            answer.parts.truncate(index.saturating_add(1));
            answer.stop = StopReason::StopSequence;
            answer.stop_sequence = Some(stop.to_owned());
        }
    }
}

/// Where the first stop stands, and which it is.
fn first<'a>(text: &str, stops: &'a [String]) -> Option<(usize, &'a str)> {
    let found = |stop: &'a String| Some((text.find(stop.as_str())?, stop.as_str()));
    stops.iter().filter_map(found).min_by_key(|(at, _)| *at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&str], stops: &[&str]) -> (String, Option<StopReason>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut cutter = Cutter::of(Dialect::Responses, &stops).unwrap();
        let mut events: Vec<_> = pieces
            .iter()
            .map(|text| ChatEvent::Text {
                text: (*text).to_owned(),
            })
            .collect();
        events.push(ChatEvent::Stop {
            reason: StopReason::End,
        });
        // One by one, as they come.
        let mut said = (String::new(), None);
        for event in events {
            let mut one = vec![event];
            cutter.events(&mut one);
            for event in one {
                if let ChatEvent::Text { text } = &event {
                    said.0.push_str(text);
                }
                if let ChatEvent::Stop { reason } = event {
                    said.1 = Some(reason);
                }
            }
        }
        said
    }

    #[test]
    fn e8_a_stop_in_pieces_is_found_and_what_only_begins_like_one_is_not() {
        let stopped = Some(StopReason::StopSequence);
        assert_eq!(
            cut(&["a ST", "O", "P b"], &["STOP"]),
            ("a ".to_owned(), stopped)
        );
        assert_eq!(
            cut(&["a ST", "ART"], &["STOP"]),
            ("a START".to_owned(), Some(StopReason::End))
        );
        assert_eq!(
            cut(&["a ST"], &["STOP"]),
            ("a ST".to_owned(), Some(StopReason::End))
        );
        assert_eq!(
            cut(&["x\u{fc}", "yz"], &["\u{fc}y", "z"]),
            ("x".to_owned(), stopped)
        );
    }

    #[test]
    fn e8_calls_behind_a_stop_are_not_passed_on_and_usage_is() {
        let mut cutter = Cutter::of(Dialect::Responses, &["S".to_owned()]).unwrap();
        let call = ChatEvent::ToolCall {
            index: 0,
            id: "1".to_owned(),
            name: "f".to_owned(),
            signature: None,
        };
        let usage = ChatEvent::Usage {
            usage: crate::domain::Usage::default(),
        };
        let mut events = vec![
            ChatEvent::Text {
                text: "aS".to_owned(),
            },
            call,
            usage.clone(),
            ChatEvent::Done,
        ];
        cutter.events(&mut events);
        assert_eq!(
            events,
            [
                ChatEvent::Text {
                    text: "a".to_owned()
                },
                usage,
                ChatEvent::Done
            ]
        );
    }

    #[test]
    fn e8_the_stop_that_was_met_is_known() {
        let stops = ["STOP".to_owned(), "ST".to_owned(), "x".to_owned()];
        let mut cutter = Cutter::of(Dialect::Responses, &stops).unwrap();
        assert_eq!(cutter.met(), None);
        let text = "a ST".to_owned();
        cutter.events(&mut vec![ChatEvent::Text { text }]);
        assert_eq!(cutter.met(), Some("ST"));
    }

    #[test]
    fn e8_a_provider_that_was_told_every_stop_is_not_cut() {
        let stops: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        assert_eq!(Cutter::of(Dialect::Cohere, &stops), None);
        assert_eq!(Cutter::of(Dialect::Openai, &stops), None);
        assert_eq!(Cutter::of(Dialect::Responses, &[]), None);
    }

    proptest! {
        #[test]
        fn e8_a_stream_is_cut_where_the_whole_text_is(pieces in proptest::collection::vec("[abü]{0,4}", 0..6), stop in "[abü]{1,3}") {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = pieces.concat();
            let expected = whole.split(&stop).next().unwrap_or_default();
            let (said, _) = cut(&pieces, &[&stop]);
            prop_assert_eq!(said, expected);
        }
    }
}
