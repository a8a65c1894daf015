//! What the system says, for providers that want it beside the conversation.
//!
//! There it stands before everything else: what was said later in the conversation loses its place, which the client
//! is told. And a conversation needs somebody to answer: where there is nothing but the system's words, the last of
//! them are taken for the user's.

use serde_json::{Value, json};

use super::DialectError;
use super::refuse::leave_out;
use crate::domain::chat::{ChatRequest, Message, Part, Role};

/// A chat in its two halves.
pub(super) struct Halves<'a> {
    pub(super) system: Vec<&'a Message>,
    /// With the place of each in the whole.
    pub(super) turns: Vec<(usize, &'a Message)>,
}

impl<'a> Halves<'a> {
    pub(super) fn of(request: &'a ChatRequest, dropped: &mut Vec<&'static str>) -> Self {
        let messages = request.messages.iter().enumerate();
        let (system, mut turns): (Vec<_>, Vec<_>) =
            messages.partition(|(_, message)| message.role == Role::System);
        let first = turns.first().map(|(place, _)| *place);
        if first.is_some_and(|first| system.iter().any(|(place, _)| *place > first)) {
            leave_out(dropped, "place of a late system message");
        }
        let mut system: Vec<&Message> = system.into_iter().map(|(_, message)| message).collect();
        if turns.is_empty()
            && let Some(last) = system.pop()
        {
            leave_out(dropped, "role of the system message");
            turns.push((request.messages.len().saturating_sub(1), last));
        }
        Self { system, turns }
    }

    /// The words and marks of the system, in order; nothing else can stand there.
    pub(super) fn system_parts(
        &self,
        dropped: &mut Vec<&'static str>,
    ) -> impl Iterator<Item = SystemPart<'a>> {
        let parts: Vec<&Part> = self
            .system
            .iter()
            .flat_map(|message| &message.parts)
            .collect();
        let said: Vec<SystemPart<'a>> = parts
            .into_iter()
            .filter_map(|part| match part {
                Part::Text { text } | Part::Refusal { text } if text.trim().is_empty() => None,
                Part::Text { text } | Part::Refusal { text } => Some(SystemPart::Text(text)),
                Part::CachePoint { hour } => Some(SystemPart::CachePoint { hour: *hour }),
                Part::Image { .. }
                | Part::Document { .. }
                | Part::Audio { .. }
                | Part::ToolCall { .. }
                | Part::ToolResult { .. }
                | Part::Thinking { .. }
                | Part::RedactedThinking { .. } => {
                    leave_out(dropped, "system parts other than text");
                    None
                }
            })
            .collect();
        said.into_iter()
    }
}

impl Halves<'_> {
    /// Turns that alternate between user and assistant: neighbours of one role are one turn, and the results of tools
    /// come first in theirs. A turn of nothing is none.
    pub(super) fn alternating(
        &self,
        mut blocks: impl FnMut(usize, &[Part]) -> Result<Vec<Value>, DialectError>,
        is_result: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>, DialectError> {
        let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
        for (index, message) in &self.turns {
            let role = match is_assistant(message) {
                true => "assistant",
                false => "user",
            };
            let said = blocks(*index, &message.parts)?;
            match turns.last_mut() {
                _ if said.is_empty() => {}
                Some((last, so_far)) if *last == role => so_far.extend(said),
                _ => turns.push((role, said)),
            }
        }
        let turns = turns.into_iter().map(|(role, mut blocks)| {
            // Stable: results keep their order, and so does everything else.
            blocks.sort_by_key(|block| !is_result(block));
            json!({"role": role, "content": blocks})
        });
        Ok(turns.collect())
    }
}

/// What a system can say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SystemPart<'a> {
    Text(&'a str),
    CachePoint { hour: bool },
}

/// The speaker as far as the two sides of a conversation go.
pub(super) fn is_assistant(message: &Message) -> bool {
    match message.role {
        Role::Assistant => true,
        Role::User | Role::Tool | Role::System => false,
    }
}
