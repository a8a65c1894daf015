//! What each dialect says when something is wrong, as an answer and inside a stream.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::super::behaviour::Behaviour;
use super::super::framing::Framing;
use super::{Dialect, anthropic, bedrock, cohere, gemini, openai, responses};

/// Its errors.
impl Dialect {
    /// The body of an error. `kind` is the type, `code` only exists in `OpenAI`'s.
    #[must_use]
    pub fn error_body(self, kind: &str, code: Option<&str>, message: &str) -> Value {
        match self {
            Self::OpenAi | Self::Responses => openai::error_body(kind, code, message),
            Self::Anthropic => anthropic::error_body(kind, message),
            Self::Gemini => gemini::error_body(kind, message),
            Self::Bedrock => serde_json::json!({"message": message}),
            Self::Cohere => cohere::error_body(message),
            Self::Ollama => serde_json::json!({"error": message}),
        }
    }

    /// An error answer of this kind, with the fields that go with it.
    #[must_use]
    pub fn error_of(self, status: u16, kind: &str, code: Option<&str>, message: &str) -> Behaviour {
        match self {
            Self::OpenAi
            | Self::Anthropic
            | Self::Responses
            | Self::Gemini
            | Self::Cohere
            | Self::Ollama => Behaviour::status(status).json(&self.error_body(kind, code, message)),
            Self::Bedrock => bedrock::error(status, kind, message),
        }
    }

    /// An error answer with the type (and code) this dialect uses for the status.
    #[must_use]
    pub fn error(self, status: u16, message: &str) -> Behaviour {
        let (kind, code) = match self {
            Self::OpenAi | Self::Responses => openai::error_kind(status),
            Self::Anthropic => (anthropic::error_kind(status), None),
            Self::Gemini => (gemini::error_kind(status), None),
            Self::Bedrock => (bedrock::error_kind(status), None),
            Self::Cohere | Self::Ollama => ("", None),
        };
        self.error_of(status, kind, code, message)
    }

    /// What is answered to a key it does not know.
    #[must_use]
    pub fn wrong_key(self, message: &str) -> Behaviour {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Responses | Self::Cohere | Self::Ollama => {
                self.error(401, message)
            }
            Self::Gemini => Behaviour::status(400).json(&gemini::wrong_key(message)),
            Self::Bedrock => self.error_of(403, "UnrecognizedClientException", None, message),
        }
    }

    /// What is answered to a request without any key; `None` where the answer is that of a wrong one.
    pub(super) fn missing_key(self) -> Option<Behaviour> {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Responses | Self::Ollama => None,
            Self::Bedrock => Some(self.error(403, "Missing Authentication Token")),
            Self::Cohere => Some(self.error(401, "no api key supplied")),
            Self::Gemini => Some(self.error(
                403,
                "Method doesn't allow unregistered callers (callers without established identity).",
            )),
        }
    }

    /// What is answered beyond the limit, with the wait where this dialect tells it.
    pub(in super::super) fn limited(self, message: &str, wait: Duration) -> Behaviour {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Responses | Self::Cohere => {
                let seconds = wait.as_secs_f64().ceil();
                let limited = self.error(429, message);
                limited.header("retry-after", format!("{seconds}"))
            }
            Self::Gemini => Behaviour::status(429).json(&gemini::retry_info(message, wait)),
            Self::Bedrock | Self::Ollama => self.error(429, message),
        }
    }

    /// Bytes between two events that say the provider is still there, and nothing else.
    #[must_use]
    pub fn ping(self) -> Bytes {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Responses | Self::Gemini | Self::Cohere => {
                Bytes::from_static(b": ping\n\n")
            }
            // It has none; what is unheard of has to be passed over all the same.
            Self::Bedrock => Framing::EventStream.wrap(Some("ping"), b"{}"),
            // Nor has this; an empty content is the nearest.
            Self::Ollama => Bytes::from_static(
                b"{\"model\":\"mock-model\",\"created_at\":\"2026-01-01T00:00:00Z\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":false}\n",
            ),
        }
    }

    /// The error as an event of a stream that has already begun.
    #[must_use]
    pub fn error_event(self, kind: &str, message: &str) -> Bytes {
        let body = |code| self.error_body(kind, code, message).to_string();
        match self {
            Self::OpenAi => Framing::Sse.wrap(None, body(Some(kind)).as_bytes()),
            Self::Anthropic => Framing::Sse.wrap(Some("error"), body(None).as_bytes()),
            Self::Responses => {
                let event = responses::error_event(kind, Some(kind), message);
                Framing::Sse.wrap(Some("error"), event.to_string().as_bytes())
            }
            Self::Gemini => Framing::Sse.wrap(None, body(None).as_bytes()),
            Self::Bedrock => bedrock::exception_frame(kind, message),
            Self::Ollama => Framing::Lines.wrap(None, body(None).as_bytes()),
            Self::Cohere => {
                let event = cohere::error_event(message).to_string();
                Framing::Sse.wrap(Some("message-end"), event.as_bytes())
            }
        }
    }
}
