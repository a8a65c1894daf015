//! The provider formats a mock speaks: healthy answers and errors, each in its dialect.

mod anthropic;
pub(super) mod bedrock;
mod cohere;
mod embeddings;
pub(super) mod gemini;
mod ollama;
mod openai;
mod places;
mod responses;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

pub(crate) use places::Places;

use super::asked::Asked;
use super::behaviour::Behaviour;
use super::draft::{Body, Document, Draft};
use super::framing::Framing;
use super::log::Reported;
use super::plan::Plan;
use super::wish::Wish;

/// A provider's wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Chat completions.
    #[default]
    OpenAi,
    /// Messages.
    Anthropic,
    /// `OpenAI`'s `/v1/responses`.
    Responses,
    /// `generateContent`, with the model in the path.
    Gemini,
    /// AWS's Converse, streamed in binary frames.
    Bedrock,
    /// Chat, version 2.
    Cohere,
    /// `/api/chat`, streamed in lines.
    Ollama,
}

/// What it is called, and where it is spoken.
impl Dialect {
    pub const ALL: [Self; 7] = [
        Self::OpenAi,
        Self::Anthropic,
        Self::Responses,
        Self::Gemini,
        Self::Bedrock,
        Self::Cohere,
        Self::Ollama,
    ];

    /// As the command line, scenarios and the gateway's configuration write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Responses => "openai-responses",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Ollama => "ollama",
        }
    }

    /// The dialect of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// Where whole generations are posted to, below the base URL's host.
    #[must_use]
    pub fn path(self) -> &'static str {
        self.path_of(false)
    }

    /// Where generations are posted to, whole or streamed: some dialects have a path for each.
    #[must_use]
    pub fn path_of(self, stream: bool) -> &'static str {
        match (self, stream) {
            (Self::OpenAi, _) => "/v1/chat/completions",
            (Self::Anthropic, _) => "/v1/messages",
            (Self::Responses, _) => "/v1/responses",
            (Self::Gemini, false) => "/v1beta/models/mock-model:generateContent",
            (Self::Cohere, _) => "/v2/chat",
            (Self::Ollama, _) => "/api/chat",
            (Self::Bedrock, false) => "/model/mock-model/converse",
            (Self::Bedrock, true) => "/model/mock-model/converse-stream",
            (Self::Gemini, true) => "/v1beta/models/mock-model:streamGenerateContent?alt=sse",
        }
    }

    /// The path an SDK has in its base URL.
    pub(crate) fn base_path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Responses => "/v1",
            Self::Anthropic | Self::Gemini | Self::Bedrock | Self::Cohere | Self::Ollama => "",
        }
    }

    /// How the events of its streams lie in the body.
    #[must_use]
    pub fn framing(self) -> Framing {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Responses | Self::Gemini | Self::Cohere => {
                Framing::Sse
            }
            Self::Bedrock => Framing::EventStream,
            Self::Ollama => Framing::Lines,
        }
    }

    /// A small valid request.
    #[must_use]
    pub fn sample_request(self, prompt: &str, stream: bool) -> Value {
        match self {
            Self::OpenAi => openai::sample_request(prompt, stream),
            Self::Anthropic => anthropic::sample_request(prompt, stream),
            Self::Responses => responses::sample_request(prompt, stream),
            Self::Gemini => gemini::sample_request(prompt),
            Self::Bedrock => bedrock::sample_request(prompt),
            Self::Cohere => cohere::sample_request(prompt, stream),
            Self::Ollama => ollama::sample_request(prompt, stream),
        }
    }

    /// Headers a valid request carries beside its content type.
    #[must_use]
    pub fn sample_headers(self, key: &str) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        match self {
            Self::OpenAi | Self::Responses | Self::Cohere | Self::Ollama => {
                vec![pair("authorization", format!("Bearer {key}"))]
            }
            Self::Gemini => vec![pair("x-goog-api-key", key.to_owned())],
            Self::Bedrock => bedrock::sample_headers(key),
            Self::Anthropic => {
                vec![
                    pair("x-api-key", key.to_owned()),
                    pair("anthropic-version", "2023-06-01".to_owned()),
                ]
            }
        }
    }

    /// Joins the text of an answer's documents: one JSON body, or the data of each stream event.
    #[must_use]
    pub fn text_of(self, documents: &[Value]) -> String {
        let piece = |document: &Value| match self {
            Self::OpenAi => openai::text_of(document),
            Self::Anthropic => anthropic::text_of(document),
            Self::Responses => responses::text_of(document),
            Self::Gemini => gemini::text_of(document),
            Self::Bedrock => bedrock::text_of(document),
            Self::Cohere => cohere::text_of(document),
            Self::Ollama => ollama::text_of(document),
        };
        documents.iter().map(piece).collect()
    }

    /// Where faults find the parts of its answers.
    pub(crate) fn places(self) -> &'static Places {
        match self {
            Self::OpenAi => &openai::PLACES,
            Self::Anthropic => &anthropic::PLACES,
            Self::Responses => &responses::PLACES,
            Self::Gemini => &gemini::PLACES,
            Self::Bedrock => &bedrock::PLACES,
            Self::Cohere => &cohere::PLACES,
            Self::Ollama => &ollama::PLACES,
        }
    }
}

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
    fn missing_key(self) -> Option<Behaviour> {
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
    pub(super) fn limited(self, message: &str, wait: Duration) -> Behaviour {
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

/// What the mock asks it.
impl Dialect {
    /// Operations of OpenAI's form that have no healthy answer of their own here: scripts give one.
    pub(super) fn is_passed(self, path: &str) -> bool {
        const PATHS: [&str; 4] = [
            "/v1/completions",
            "/moderations",
            "/rerank",
            "/images/generations",
        ];
        self == Self::Anthropic && path.ends_with("/messages/count_tokens")
            || self == Self::OpenAi && PATHS.iter().any(|known| path.ends_with(known))
    }

    pub(super) fn is_generation(self, path: &str) -> bool {
        match self {
            Self::OpenAi => path.ends_with("/chat/completions"),
            Self::Anthropic => path.ends_with("/messages"),
            Self::Responses => path.ends_with("/responses"),
            Self::Cohere => path.ends_with("/chat"),
            Self::Ollama => path.ends_with("/api/chat"),
            Self::Bedrock => path.ends_with("/converse") || path.ends_with("/converse-stream"),
            Self::Gemini => {
                path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent")
            }
        }
    }

    pub(super) fn is_embedding(self, path: &str) -> bool {
        embeddings::is_path(self, path)
    }

    pub(super) fn is_models(self, path: &str) -> bool {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Responses | Self::Gemini | Self::Cohere => {
                path.ends_with("/models")
            }
            // Another host tells them.
            Self::Bedrock => false,
            Self::Ollama => path.ends_with("/api/tags"),
        }
    }

    pub(super) fn models(self, names: &[String]) -> Value {
        match self {
            Self::OpenAi | Self::Responses => openai::models(names),
            Self::Anthropic => anthropic::models(names),
            Self::Gemini => gemini::models(names),
            Self::Bedrock => Value::Null,
            Self::Cohere => cohere::models(names),
            Self::Ollama => ollama::models(names),
        }
    }

    pub(super) fn wish(self, asked: &Asked) -> Wish {
        match self {
            Self::OpenAi | Self::Anthropic => Wish::of_chat(&asked.json),
            Self::Responses => responses::wish(asked),
            Self::Gemini => gemini::wish(asked),
            Self::Bedrock => bedrock::wish(asked),
            Self::Cohere => cohere::wish(asked),
            Self::Ollama => ollama::wish(asked),
        }
    }

    /// What a real provider would refuse in this request.
    pub(super) fn refuse(self, asked: &Asked) -> Option<Behaviour> {
        if asked.key().is_none()
            && let Some(refusal) = self.missing_key()
        {
            return Some(refusal);
        }
        let complaint = if self.is_embedding(asked.bare_path()) {
            embeddings::complaint(asked)
        } else {
            match self {
                Self::OpenAi => openai::complaint(asked),
                Self::Anthropic => anthropic::complaint(asked),
                Self::Responses => responses::complaint(asked),
                Self::Gemini => gemini::complaint(asked),
                Self::Bedrock => bedrock::complaint(asked),
                Self::Cohere => cohere::complaint(asked),
                Self::Ollama => ollama::complaint(asked),
            }
        };
        complaint.map(|complaint| self.error(400, &complaint))
    }

    pub(super) fn draft(self, plan: &Plan) -> Draft {
        match self {
            Self::OpenAi => openai::draft(plan),
            Self::Anthropic => anthropic::draft(plan),
            Self::Responses => responses::draft(plan),
            Self::Gemini => gemini::draft(plan),
            Self::Bedrock => bedrock::draft(plan),
            Self::Cohere => cohere::draft(plan),
            Self::Ollama => ollama::draft(plan),
        }
    }

    /// The healthy answer to a request for embeddings; it comes when a whole generation would.
    pub(super) fn embeddings(self, asked: &Asked, plan: &Plan) -> (Draft, Reported) {
        let (answer, input) = embeddings::answer(asked);
        let fields = vec![("content-type".to_owned(), "application/json".to_owned())];
        let body = Body::Document(Document::Json(answer));
        let draft = Draft::healthy(
            fields,
            body,
            plan.waits.head.saturating_add(plan.waits.first),
        );
        (draft, Reported { input, output: 0 })
    }
}
