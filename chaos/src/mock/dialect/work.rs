//! What the mock asks a dialect about a request, and the healthy answer to it.

use serde_json::Value;

use super::super::asked::Asked;
use super::super::behaviour::Behaviour;
use super::super::draft::{Body, Document, Draft, Event};
use super::super::log::Reported;
use super::super::plan::Plan;
use super::super::wish::Wish;
use super::{
    Dialect, anthropic, bedrock, cohere, embeddings, gemini, ollama, openai, others, responses,
};

/// How an answer leaves, whole or streamed.
pub(super) struct Form<'a> {
    /// Of a stream, and of a document.
    pub(super) content_types: [&'static str; 2],
    /// Beside the content type.
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) events: &'a dyn Fn(&Plan) -> Vec<Event>,
    pub(super) whole: &'a dyn Fn(&Plan) -> Value,
}

/// The healthy answer to a plan.
pub(super) fn answer(plan: &Plan, form: &Form<'_>) -> Draft {
    let [stream_type, document_type] = form.content_types;
    let (content_type, body, head_wait) = if plan.streams {
        let body = Body::Events((form.events)(plan));
        (stream_type, body, plan.waits.head)
    } else {
        let body = Body::Document(Document::Json((form.whole)(plan)));
        (document_type, body, plan.waits.whole())
    };
    let own = form.fields.iter().cloned();
    let fields = std::iter::once(("content-type", content_type.to_owned())).chain(own);
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Draft::healthy(fields.collect(), body, head_wait)
}

/// What the mock asks it.
impl Dialect {
    /// What is neither a generation nor an embedding.
    pub(in super::super) fn is_passed(self, path: &str) -> bool {
        others::is_path(self, path)
    }

    /// The healthy answer to that.
    pub(in super::super) fn passed(self, asked: &Asked, plan: &Plan) -> Option<(Draft, Reported)> {
        others::draft(asked, plan)
    }

    /// The answer to who only asks how many tokens a request has.
    pub(in super::super) fn counted(self, asked: &Asked) -> Option<Behaviour> {
        let asks = self == Self::Anthropic && asked.bare_path().ends_with("/messages/count_tokens");
        let tokens = (asked.body.len() / 4).max(1);
        asks.then(|| Behaviour::status(200).json(&serde_json::json!({"input_tokens": tokens})))
    }

    pub(in super::super) fn is_generation(self, path: &str) -> bool {
        match self {
            Self::OpenAi => path.ends_with("/chat/completions"),
            // Vertex tells the model by the path, whole or streamed.
            Self::Anthropic => {
                path.ends_with("/messages")
                    || path.ends_with(":rawPredict")
                    || path.ends_with(":streamRawPredict")
            }
            Self::Responses => path.ends_with("/responses"),
            Self::Cohere => path.ends_with("/chat"),
            Self::Ollama => path.ends_with("/api/chat"),
            Self::Bedrock => path.ends_with("/converse") || path.ends_with("/converse-stream"),
            Self::Gemini => {
                path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent")
            }
        }
    }

    pub(in super::super) fn is_embedding(self, path: &str) -> bool {
        embeddings::is_path(self, path)
    }

    pub(in super::super) fn is_models(self, path: &str) -> bool {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Responses | Self::Gemini | Self::Cohere => {
                path.ends_with("/models")
            }
            // Another host tells them.
            Self::Bedrock => false,
            Self::Ollama => path.ends_with("/api/tags"),
        }
    }

    pub(in super::super) fn models(self, names: &[String]) -> Value {
        match self {
            Self::OpenAi | Self::Responses => openai::models(names),
            Self::Anthropic => anthropic::models(names),
            Self::Gemini => gemini::models(names),
            Self::Bedrock => Value::Null,
            Self::Cohere => cohere::models(names),
            Self::Ollama => ollama::models(names),
        }
    }

    pub(in super::super) fn wish(self, asked: &Asked) -> Wish {
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
    pub(in super::super) fn refuse(self, asked: &Asked) -> Option<Behaviour> {
        if asked.key().is_none()
            && let Some(refusal) = self.missing_key()
        {
            return Some(refusal);
        }
        let complaint = if self.is_embedding(asked.bare_path()) {
            embeddings::complaint(asked)
        } else if self.is_passed(asked.bare_path()) {
            others::complaint(asked)
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

    pub(in super::super) fn draft(self, plan: &Plan) -> Draft {
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
    pub(in super::super) fn embeddings(self, asked: &Asked, plan: &Plan) -> (Draft, Reported) {
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
