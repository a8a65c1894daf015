//! How models behind OpenAI's form are asked to think, and which of them want their thoughts back.
//!
//! The form has one word for it, and those who copy it have their own. Which one a provider has is data of its own
//! ([`Quirks`]); of one that says nothing, who may serve anybody's models, it goes by the model's name.

use serde_json::{Map, Value, json};

use crate::dialects::effort::{self, Effort, tokens_asked};
use crate::dialects::refuse::leave_out;
use crate::domain::chat::{ChatRequest, Part, Signature};
use crate::domain::{Dialect, Quirks, ThinkingField};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `reasoning_effort`, and it is known to think; the least it can be told.
    Effort(Effort),
    /// `thinking`, on or off.
    Toggle,
    /// `enable_thinking` and `thinking_budget`.
    Counted,
    /// Whether it thinks at all is not known.
    Unknown,
}

const WAYS: [(&str, Way); 18] = [
    ("gpt-oss", Way::Effort(Effort::Low)),
    ("gpt-5.", Way::Effort(Effort::None)),
    ("gpt-5", Way::Effort(Effort::Minimal)),
    ("gpt-6", Way::Effort(Effort::None)),
    ("o1", Way::Effort(Effort::Low)),
    ("o3", Way::Effort(Effort::Low)),
    ("o4", Way::Effort(Effort::Low)),
    ("grok-3-mini", Way::Effort(Effort::Low)),
    ("magistral", Way::Effort(Effort::None)),
    ("gemini-2.5", Way::Effort(Effort::None)),
    ("gemini-3", Way::Effort(Effort::Minimal)),
    ("deepseek-r1-distill", Way::Unknown),
    ("deepseek-", Way::Toggle),
    ("glm-", Way::Toggle),
    ("kimi-", Way::Toggle),
    ("qwen", Way::Counted),
    ("qwq", Way::Counted),
    ("mimo-", Way::Toggle),
];

fn way(model: &str) -> Way {
    let own = model.to_ascii_lowercase();
    let known = WAYS.iter().find(|(begin, _)| own.starts_with(begin));
    known.map_or(Way::Unknown, |(_, way)| *way)
}

/// As the provider says, and else as the name tells.
fn way_at(model: &str, quirks: &Quirks) -> Way {
    match (quirks.thinking, way(model)) {
        (None, named) => named,
        (Some(ThinkingField::Toggle), _) => Way::Toggle,
        (Some(ThinkingField::Counted), _) => Way::Counted,
        (Some(ThinkingField::Effort), named @ Way::Effort(_)) => named,
        (Some(ThinkingField::Effort), Way::Toggle | Way::Counted | Way::Unknown) => {
            Way::Effort(Effort::Low)
        }
    }
}

/// The word for this model; a count becomes one only where it is known to be taken.
pub(crate) fn effort_word(
    request: &ChatRequest,
    model: &str,
    dropped: &mut Vec<&'static str>,
) -> Option<String> {
    word(request, way(model), dropped)
}

fn word(request: &ChatRequest, way: Way, dropped: &mut Vec<&'static str>) -> Option<String> {
    if request.reasoning_effort.is_some() {
        return request.reasoning_effort.clone();
    }
    let tokens = request.reasoning_budget?;
    match way {
        Way::Effort(least) => Some(Effort::of_tokens(tokens).max(least).word().to_owned()),
        Way::Toggle | Way::Counted | Way::Unknown => {
            leave_out(dropped, "reasoning budget");
            None
        }
    }
}

/// Says how much to think as this model is told.
pub(super) fn ask(
    request: &ChatRequest,
    (model, quirks): (&str, &Quirks),
    body: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) {
    let asked = effort::is_asked(request);
    let off = Effort::asked(request) == Some(Effort::None);
    let mut put = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    let way = way_at(model, quirks);
    match way {
        Way::Toggle if asked => {
            let on = if off { "disabled" } else { "enabled" };
            put("thinking", json!({"type": on}));
            if !off {
                leave_out(dropped, effort::name(request));
            }
        }
        Way::Counted if asked => {
            put("enable_thinking", (!off).into());
            if let Some(tokens) = tokens_asked(request).filter(|tokens| *tokens > 0) {
                put("thinking_budget", tokens.into());
            } else if !off {
                leave_out(dropped, effort::name(request));
            }
        }
        Way::Effort(_) | Way::Unknown | Way::Toggle | Way::Counted => {
            if let Some(word) = word(request, way, dropped) {
                put("reasoning_effort", word.into());
            }
        }
    }
}

/// Models that are asked for their thoughts again while a call of theirs is under way.
const WANT_THEM: [&str; 7] = ["deepseek", "kimi", "glm", "qwen", "qwq", "mimo", "minimax"];

/// What goes back of the thoughts of a message.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    pub(super) content: String,
    pub(super) details: Vec<Value>,
    /// Some of them were another's.
    pub(super) lost: bool,
}

impl Thoughts {
    /// `under_way` where the message calls tools in the turn that is not over.
    pub(super) fn of(parts: &[Part], (model, quirks): (&str, &Quirks), under_way: bool) -> Self {
        let own = model
            .rsplit('/')
            .next()
            .unwrap_or(model)
            .to_ascii_lowercase();
        let named = || WANT_THEM.iter().any(|begin| own.starts_with(begin));
        let wanted = under_way && quirks.thoughts_again.unwrap_or_else(named);
        let mut thoughts = Self::default();
        for part in parts {
            match part {
                Part::Thinking { text, signature } => {
                    thoughts.thought(text, signature.as_ref(), wanted);
                }
                Part::RedactedThinking { .. } => thoughts.lost = true,
                Part::Text { .. }
                | Part::Image { .. }
                | Part::Document { .. }
                | Part::Audio { .. }
                | Part::ToolCall { .. }
                | Part::ToolResult { .. }
                | Part::Refusal { .. }
                | Part::CachePoint { .. } => {}
            }
        }
        thoughts
    }

    fn thought(&mut self, text: &str, signature: Option<&Signature>, wanted: bool) {
        let own = signature.map(|signature| signature.written_by(Dialect::Openai));
        let details = own.flatten().map(serde_json::from_str::<Value>);
        if let Some(Ok(Value::Array(details))) = details {
            self.details.extend(details);
        } else if wanted && matches!(own, None | Some(Some(_))) {
            self.content.push_str(text);
        } else {
            self.lost = true;
        }
    }
}
