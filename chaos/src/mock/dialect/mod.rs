//! The provider formats a mock speaks: healthy answers and errors, each in its dialect.

mod anthropic;
pub(super) mod bedrock;
mod cohere;
mod embeddings;
mod errors;
pub(super) mod gemini;
mod ollama;
mod openai;
mod others;
mod places;
mod responses;
#[cfg(test)]
mod tests;
mod work;

use serde_json::Value;

pub(crate) use places::Places;

use super::framing::Framing;

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
