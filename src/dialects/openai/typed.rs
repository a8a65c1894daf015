//! Streams whose events name their type: speech, transcripts, pictures.

use serde_json::Value;

use super::error::outcome_of;
use super::operations::{read_event, usage};
use crate::dialects::sse::Event;
use crate::domain::StreamFault;
use crate::domain::chat::{ChatEvent, StopReason};

/// Reads such a stream for what it tells: `….delta`, `….partial_image` and the like are content, `….done` or
/// `….completed` is its end.
#[derive(Debug, Default)]
pub struct TypedDecoder {
    finished: bool,
}

impl TypedDecoder {
    pub fn event(&mut self, event: &Event, events: &mut Vec<ChatEvent>) -> Result<(), StreamFault> {
        let Some(value) = read_event(event, events)? else {
            return Ok(());
        };
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if kind == "error" {
            return Err(outcome_of(&value).into());
        }
        let ends = kind.ends_with(".done") || kind.ends_with(".completed");
        let bytes = ["delta", "audio", "text", "b64_json"]
            .iter()
            .filter_map(|name| value.get(*name)?.as_str())
            .map(str::len)
            .sum::<usize>();
        // Silence written down is a whole answer without a word.
        let bytes = if ends { bytes.max(1) } else { bytes };
        if bytes > 0 {
            events.push(ChatEvent::Foreign { bytes });
        }
        if ends {
            self.finished = true;
            let spoken = kind.starts_with("speech.");
            events.extend(usage(&value).map(|mut usage| {
                if spoken {
                    usage.audio_output = usage.output;
                }
                ChatEvent::Usage { usage }
            }));
            let reason = StopReason::End;
            events.push(ChatEvent::Stop { reason });
        }
        Ok(())
    }

    /// The body has ended: behind the last event nothing has to come.
    pub(crate) fn ends(&self, events: &mut Vec<ChatEvent>) {
        if self.finished {
            events.push(ChatEvent::Done);
        }
    }
}
