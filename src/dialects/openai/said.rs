//! What an answer or one chunk of it says that the gateway cares about. Both have one shape: a chunk has
//! a `delta` where an answer has a `message`.

use std::borrow::Cow;

use serde_json::Value;
use smallvec::SmallVec;

use crate::dialects::json::{Cursor, JsonError};
use crate::domain::{ServiceTier, Tokens, Usage};

#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) model: Option<Cow<'a, str>>,
    pub(crate) choices: SmallVec<[ChoiceSaid<'a>; 1]>,
    /// With the lane it was served in, where that is told beside it.
    pub(crate) usage: Option<Usage>,
    pub(super) tier: Option<ServiceTier>,
    /// An error where an answer was due.
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default)]
pub(crate) struct ChoiceSaid<'a> {
    pub(crate) index: u32,
    /// Characters of content as they are written: a role alone, an empty text or a null is none (ground rule G1).
    /// What is not text counts as little, because nobody asked for a number of its bytes.
    pub(crate) content: usize,
    /// It says something that only the provider's own form can say.
    pub(crate) foreign: bool,
    /// The tool calls as they are written, if there are any.
    pub(super) tool_calls: Option<&'a [u8]>,
    pub(crate) finish: Option<Cow<'a, str>>,
}

/// Which of the two shapes is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Answer,
    Chunk,
}

/// Reads it, checking all of it: what is not looked at is passed on.
pub(super) fn read(data: &[u8], form: Form) -> Result<Said<'_>, JsonError> {
    let holder: &[u8] = match form {
        Form::Answer => b"message",
        Form::Chunk => b"delta",
    };
    let mut said = Said::default();
    let mut failed = None;
    let mut cursor = Cursor::new(data)?;
    cursor.object(|cursor, key| {
        match key {
            b"model" if !cursor.null()? => said.model = Some(cursor.text()?),
            b"choices" if !cursor.null()? => cursor.array(|cursor| {
                said.choices.push(choice(cursor, holder, &mut failed)?);
                Ok(())
            })?,
            b"service_tier" if cursor.next() == Some(b'"') => {
                said.tier = ServiceTier::of(&cursor.text()?)
            }
            b"usage" if cursor.next() == Some(b'{') => said.usage = usage(cursor)?,
            b"error" if !cursor.null()? => {
                let error = cursor.skip()?;
                said.error = Some(serde_json::from_slice(error).unwrap_or(Value::Null));
            }
            b"model" | b"choices" | b"error" => {}
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    cursor.end()?;
    if let Some(usage) = &mut said.usage {
        usage.tier = said.tier;
    }
    said.error = said.error.or(failed);
    Ok(said)
}

/// `failed` is where a choice leaves its own error; a failed choice fails the answer (fault P13).
fn choice<'a>(
    cursor: &mut Cursor<'a>,
    holder: &[u8],
    failed: &mut Option<Value>,
) -> Result<ChoiceSaid<'a>, JsonError> {
    let mut choice = ChoiceSaid::default();
    cursor.object(|cursor, key| {
        if key == holder {
            if !cursor.null()? {
                cursor.object(|cursor, key| {
                    let value = cursor.skip()?;
                    if !is_nothing(value) {
                        choice.holds(key, value);
                    }
                    Ok(())
                })?;
            }
            return Ok(());
        }
        match key {
            b"index" => {
                let index = cursor.skip()?;
                choice.index = number(index)
                    .and_then(|index| u32::try_from(index).ok())
                    .unwrap_or(u32::MAX);
            }
            b"finish_reason" if !cursor.null()? => {
                // Some servers write an empty text, or the word null, on every chunk that is not the last.
                let finish = cursor.text()?;
                choice.finish = (!matches!(&*finish, "" | "null")).then_some(finish);
            }
            b"finish_reason" => {}
            b"error" => {
                let value = cursor.skip()?;
                if !is_nothing(value) {
                    *failed = Some(serde_json::from_slice(value).unwrap_or(Value::Null));
                }
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    if choice.finish.as_deref() == Some("error") && failed.is_none() {
        *failed = Some(serde_json::json!({"code": 500}));
    }
    Ok(choice)
}

impl<'a> ChoiceSaid<'a> {
    /// Takes note of one member of the message or delta that is not empty.
    fn holds(&mut self, key: &[u8], value: &'a [u8]) {
        /// A call or a piece of audio is content, however long it is.
        const A_LITTLE: usize = 8;
        match key {
            b"content" | b"refusal" | b"reasoning_content" | b"reasoning" => {
                self.content += value.len().saturating_sub(2).max(1);
            }
            b"tool_calls" => {
                self.content += A_LITTLE;
                self.tool_calls = Some(value);
            }
            b"reasoning_details" => self.content += A_LITTLE,
            b"function_call" | b"audio" | b"images" => {
                self.content += A_LITTLE;
                self.foreign = true;
            }
            _ => {}
        }
    }
}

fn is_nothing(value: &[u8]) -> bool {
    matches!(value, b"null" | b"\"\"" | b"[]" | b"{}")
}

impl Said<'_> {
    /// A chunk of no model before the first: Azure's verdict on the prompt, which no client of others knows.
    pub(crate) fn is_prelude(&self) -> bool {
        self.choices.is_empty() && self.usage.is_none() && self.model.as_deref() == Some("")
    }

    /// Whether its one choice can be said in another form without losing anything (fault P17).
    pub(crate) fn is_carried_whole(&self) -> bool {
        self.choices.len() <= 1
            && self
                .choices
                .iter()
                .all(|choice| choice.index == 0 && !choice.foreign)
    }
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Reads usage; what cannot be true counts as not reported (fault P29).
fn usage(cursor: &mut Cursor<'_>) -> Result<Option<Usage>, JsonError> {
    let tokens = |value: &[u8]| {
        number(value)
            .filter(|count| *count < 100_000_000)
            .map(Tokens)
    };
    let (mut input, mut output, mut total) = (None, None, None);
    let mut parts = Usage::default();
    cursor.object(|cursor, key| {
        match key {
            b"prompt_tokens" => input = tokens(cursor.skip()?),
            b"completion_tokens" => output = tokens(cursor.skip()?),
            b"total_tokens" => total = tokens(cursor.skip()?),
            b"prompt_tokens_details" if cursor.next() == Some(b'{') => {
                cursor.object(|cursor, key| {
                    let count = tokens(cursor.skip()?).unwrap_or_default();
                    match key {
                        b"cached_tokens" => parts.cached_input = count,
                        b"cache_write_tokens" => parts.cache_write = count,
                        b"audio_tokens" => parts.audio_input = count,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            b"completion_tokens_details" if cursor.next() == Some(b'{') => {
                cursor.object(|cursor, key| {
                    let count = tokens(cursor.skip()?).unwrap_or_default();
                    match key {
                        b"reasoning_tokens" => parts.reasoning = count,
                        b"audio_tokens" => parts.audio_output = count,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let (Some(input), Some(output)) = (input, output) else {
        return Ok(None);
    };
    // Some count reasoning beside the answer, as their own total shows.
    let beside = total
        .is_some_and(|total| parts.reasoning.0 > 0 && total == input + output + parts.reasoning);
    let output = if beside {
        output + parts.reasoning
    } else {
        output
    };
    let at_most = |part: Tokens, whole: Tokens| if part <= whole { part } else { whole };
    Ok(Some(Usage {
        input,
        output,
        cached_input: at_most(parts.cached_input, input),
        cache_write: at_most(parts.cache_write, input),
        reasoning: at_most(parts.reasoning, output),
        audio_input: at_most(parts.audio_input, input),
        audio_output: at_most(parts.audio_output, output),
        ..Usage::default()
    }))
}
