//! Of which type a request's fields have to be where a decoder reads them.
//!
//! A decoder that asks for a text and finds a number finds nothing, and what the client asked for would be gone
//! without a word: a prompt, a limit, a stop. So the types are checked first, and the client is told the place.
//! Only what a decoder would pass over is listed; `[]` stands for every element, and `null` is as good as absent.

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::DialectError;
use crate::domain::ClientDialect;
use crate::domain::chat::{ChatRequest, ToolChoice};

/// What a field may hold.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Text,
    Flag,
    Number,
    /// A number that is not below zero.
    Amount,
    /// A whole number that is not below zero.
    Count,
    Whole,
    Object,
    List,
    Texts,
    ListOrObject,
    TextOrObject,
    TextListOrObject,
    OneOf(&'static [&'static str]),
}

impl Shape {
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Amount => value.as_f64().is_some_and(|number| number >= 0.0),
            Self::Count => value.is_u64(),
            Self::Whole => value.is_i64(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
            Self::Texts => {
                let list = value.as_array();
                list.is_some_and(|list| list.iter().all(Value::is_string))
            }
            Self::ListOrObject => value.is_array() || value.is_object(),
            Self::TextOrObject => value.is_string() || value.is_object(),
            Self::TextListOrObject => value.is_string() || value.is_array() || value.is_object(),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        }
    }

    fn words(self) -> String {
        let plain = match self {
            Self::Text => "a text",
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Amount => "a number that is not below zero",
            Self::Count => "a whole number that is not below zero",
            Self::Whole => "a whole number",
            Self::Object => "an object",
            Self::List => "a list",
            Self::Texts => "a list of texts",
            Self::ListOrObject => "a list or an object",
            Self::TextOrObject => "a text or an object",
            Self::TextListOrObject => "a text, a list or an object",
            Self::OneOf(words) => return format!("one of {}", words.join(", ")),
        };
        plain.to_owned()
    }
}

type Row = (&'static str, Shape);

const OPENAI: &[Row] = &[
    ("parallel_tool_calls", Shape::Flag),
    ("reasoning", Shape::Object),
    ("reasoning.effort", Shape::Text),
    ("reasoning.enabled", Shape::Flag),
    ("reasoning.exclude", Shape::Flag),
    ("reasoning.max_tokens", Shape::Count),
    ("reasoning_effort", Shape::Text),
    ("stream_options", Shape::Object),
    ("tools", Shape::List),
    ("top_k", Shape::Count),
    ("user", Shape::Text),
];

const RESPONSES: &[Row] = &[
    ("include", Shape::Texts),
    ("instructions", Shape::Text),
    ("parallel_tool_calls", Shape::Flag),
    ("reasoning", Shape::Object),
    ("reasoning.effort", Shape::Text),
    ("reasoning.summary", Shape::Text),
    ("temperature", Shape::Number),
    ("text", Shape::Object),
    ("tools", Shape::List),
    ("top_p", Shape::Number),
    ("truncation", Shape::Text),
    ("user", Shape::Text),
];

const ANTHROPIC: &[Row] = &[
    ("messages", Shape::List),
    ("metadata", Shape::Object),
    ("metadata.user_id", Shape::Text),
    ("output_config", Shape::Object),
    ("output_config.effort", Shape::Text),
    ("stop_sequences", Shape::Texts),
    ("temperature", Shape::Number),
    ("thinking", Shape::Object),
    ("thinking.budget_tokens", Shape::Count),
    (
        "thinking.type",
        Shape::OneOf(&["enabled", "disabled", "adaptive"]),
    ),
    ("tool_choice.disable_parallel_tool_use", Shape::Flag),
    ("tools", Shape::List),
    ("tools[].input_schema", Shape::Object),
    ("top_k", Shape::Count),
    ("top_p", Shape::Number),
];

const MODES: &[&str] = &["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"];

const GEMINI: &[Row] = &[
    ("contents", Shape::TextListOrObject),
    ("contents.parts", Shape::ListOrObject),
    ("contents[].parts", Shape::ListOrObject),
    ("contents[].parts[].functionCall", Shape::Object),
    ("contents[].parts[].functionCall.args", Shape::Object),
    ("contents[].parts[].functionResponse", Shape::Object),
    ("contents[].parts[].functionResponse.parts", Shape::List),
    (
        "contents[].parts[].functionResponse.response",
        Shape::Object,
    ),
    ("contents[].parts[].text", Shape::Text),
    ("contents[].parts[].thoughtSignature", Shape::Text),
    ("generationConfig", Shape::Object),
    ("generationConfig.responseJsonSchema", Shape::Object),
    (
        "generationConfig.responseMimeType",
        Shape::OneOf(&["text/plain", "application/json"]),
    ),
    ("generationConfig.responseModalities", Shape::Texts),
    ("generationConfig.responseSchema", Shape::Object),
    ("generationConfig.stopSequences", Shape::Texts),
    ("generationConfig.temperature", Shape::Number),
    ("generationConfig.thinkingConfig", Shape::Object),
    (
        "generationConfig.thinkingConfig.includeThoughts",
        Shape::Flag,
    ),
    (
        "generationConfig.thinkingConfig.thinkingBudget",
        Shape::Whole,
    ),
    ("generationConfig.thinkingConfig.thinkingLevel", Shape::Text),
    ("generationConfig.topK", Shape::Amount),
    ("generationConfig.topP", Shape::Number),
    ("systemInstruction", Shape::TextOrObject),
    ("systemInstruction.parts", Shape::ListOrObject),
    ("toolConfig", Shape::Object),
    ("toolConfig.functionCallingConfig", Shape::Object),
    (
        "toolConfig.functionCallingConfig.allowedFunctionNames",
        Shape::Texts,
    ),
    ("toolConfig.functionCallingConfig.mode", Shape::OneOf(MODES)),
    ("tools", Shape::List),
    ("tools[].functionDeclarations", Shape::List),
    ("tools[].functionDeclarations[].description", Shape::Text),
    ("tools[].functionDeclarations[].parameters", Shape::Object),
    (
        "tools[].functionDeclarations[].parametersJsonSchema",
        Shape::Object,
    ),
];

/// Refuses the request at the first field of another type than its decoder reads.
pub(super) fn check(dialect: ClientDialect, body: &Value) -> Result<(), DialectError> {
    let rows = match dialect {
        ClientDialect::Openai => OPENAI,
        ClientDialect::Responses => RESPONSES,
        ClientDialect::Anthropic => ANTHROPIC,
        ClientDialect::Gemini => GEMINI,
    };
    rows.iter()
        .try_for_each(|(place, shape)| visit(dialect, body, (place, String::new()), *shape))
}

/// Refuses what is of the right types and asks for nothing, or for a tool that is not there.
pub(super) fn check_sense(
    dialect: ClientDialect,
    request: &ChatRequest,
) -> Result<(), DialectError> {
    let (said, chosen) = match dialect {
        ClientDialect::Openai | ClientDialect::Anthropic => ("messages", "tool_choice"),
        ClientDialect::Responses => ("input", "tool_choice"),
        ClientDialect::Gemini => (
            "contents",
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
    };
    // A request without any turn was refused when it was peeked at.
    let mut turns = request.messages.iter();
    if !request.messages.is_empty() && turns.all(|turn| turn.parts.is_empty()) {
        let message = format!("{said:?} says nothing; send at least one text or part");
        return Err(DialectError::at(said, message));
    }
    let Some(ToolChoice::Named(name)) = &request.tool_choice else {
        return Ok(());
    };
    // Without any tools there is no choice either, and it goes as it always went.
    if request.tools.is_empty() || request.tools.iter().any(|tool| tool.name == *name) {
        return Ok(());
    }
    let message = format!("{chosen:?} names a function that is not among the tools");
    Err(DialectError::at(chosen, message))
}

/// Goes down one place of the table, which is as deep as its row is long. `at` is where it has come.
fn visit(
    dialect: ClientDialect,
    value: &Value,
    (place, at): (&str, String),
    shape: Shape,
) -> Result<(), DialectError> {
    let (step, rest) = place.split_once('.').unwrap_or((place, ""));
    let name = step.strip_suffix("[]").unwrap_or(step);
    let Some(found) = value.get(name).filter(|found| !found.is_null()) else {
        return Ok(());
    };
    let at = if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    };
    if rest.is_empty() {
        if shape.holds(found) {
            return Ok(());
        }
        let message = format!("{at:?} must be {}", shape.words());
        return Err(DialectError::at(at, message));
    }
    if name == step {
        return visit(dialect, found, (rest, at), shape);
    }
    let elements = found.as_array().into_iter().flatten().enumerate();
    for (index, element) in elements {
        // As each dialect's own errors write it.
        let at = match dialect {
            ClientDialect::Anthropic => format!("{at}.{index}"),
            ClientDialect::Openai | ClientDialect::Responses | ClientDialect::Gemini => {
                format!("{at}[{index}]")
            }
        };
        visit(dialect, element, (rest, at), shape)?;
    }
    Ok(())
}
