//! The provider formats a mock speaks: healthy answers and errors, each in its dialect.

mod anthropic;
mod openai;

use serde_json::Value;

use super::asked::Asked;
use super::behaviour::Behaviour;
use super::draft::Draft;
use super::plan::Plan;

/// A provider's wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    #[default]
    OpenAi,
    Anthropic,
}

impl Dialect {
    /// `openai` or `anthropic`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "openai" => Some(Self::OpenAi),
            "anthropic" => Some(Self::Anthropic),
            _ => None,
        }
    }

    /// Where generations are posted to, below the base URL's host.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// A small valid request.
    #[must_use]
    pub fn sample_request(self, prompt: &str, stream: bool) -> Value {
        match self {
            Self::OpenAi => openai::sample_request(prompt, stream),
            Self::Anthropic => anthropic::sample_request(prompt, stream),
        }
    }

    /// Headers a valid request carries beside its content type.
    #[must_use]
    pub fn sample_headers(self, key: &str) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        match self {
            Self::OpenAi => vec![pair("authorization", format!("Bearer {key}"))],
            Self::Anthropic => {
                vec![
                    pair("x-api-key", key.to_owned()),
                    pair("anthropic-version", "2023-06-01".to_owned()),
                ]
            }
        }
    }

    /// The body of an error. `kind` is the type, `code` only exists in `OpenAI`'s.
    #[must_use]
    pub fn error_body(self, kind: &str, code: Option<&str>, message: &str) -> Value {
        match self {
            Self::OpenAi => openai::error_body(kind, code, message),
            Self::Anthropic => anthropic::error_body(kind, message),
        }
    }

    /// An error answer with the type (and code) this dialect uses for the status.
    #[must_use]
    pub fn error(self, status: u16, message: &str) -> Behaviour {
        let (kind, code) = match self {
            Self::OpenAi => openai::error_kind(status),
            Self::Anthropic => (anthropic::error_kind(status), None),
        };
        Behaviour::status(status).json(&self.error_body(kind, code, message))
    }

    /// The error as an event of a stream that has already begun.
    #[must_use]
    pub fn error_event(self, kind: &str, message: &str) -> String {
        let body = self.error_body(kind, Some(kind), message);
        match self {
            Self::OpenAi => format!("data: {body}\n\n"),
            Self::Anthropic => format!("event: error\ndata: {body}\n\n"),
        }
    }

    /// Joins the text of an answer's documents: one JSON body, or the data of each stream event.
    #[must_use]
    pub fn text_of(self, documents: &[Value]) -> String {
        let piece = |document: &Value| match self {
            Self::OpenAi => openai::text_of(document),
            Self::Anthropic => anthropic::text_of(document),
        };
        documents.iter().map(piece).collect()
    }

    pub(super) fn is_generation(self, path: &str) -> bool {
        match self {
            Self::OpenAi => path.ends_with("/chat/completions"),
            Self::Anthropic => path.ends_with("/messages"),
        }
    }

    /// What a real provider would refuse in this request.
    pub(super) fn refuse(self, asked: &Asked) -> Option<Behaviour> {
        let complaint = match self {
            Self::OpenAi => openai::complaint(asked),
            Self::Anthropic => anthropic::complaint(asked),
        };
        complaint.map(|complaint| self.error(400, &complaint))
    }

    pub(super) fn models(self, names: &[String]) -> Value {
        match self {
            Self::OpenAi => openai::models(names),
            Self::Anthropic => anthropic::models(names),
        }
    }

    pub(super) fn draft(self, plan: &Plan) -> Draft {
        match self {
            Self::OpenAi => openai::draft(plan),
            Self::Anthropic => anthropic::draft(plan),
        }
    }
}
