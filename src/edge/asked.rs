//! What a path asks for, and what its body says of it.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::dialects::multipart::is_form;
use crate::dialects::openai::{ChatPeek, peek_addressed, peek_form, peek_named, peek_operation};
use crate::domain::{ClientDialect, Failure, FailureKind, Operation};

pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) speaks: ClientDialect,
    pub(super) named: Named,
}

/// Where the model's name stands.
pub(super) enum Named {
    InBody,
    /// In the address; what the body names does not count.
    InPath(String),
    /// In the address, and so does whether to stream.
    Addressed {
        model: String,
        stream: bool,
    },
}

impl Asked {
    pub(super) fn plain(speaks: ClientDialect) -> Self {
        Self::of(speaks, Operation::Chat)
    }

    pub(super) fn of(speaks: ClientDialect, operation: Operation) -> Self {
        Self {
            operation,
            speaks,
            named: Named::InBody,
        }
    }

    /// Google's form: `<model>:<operation>` behind `models/`.
    pub(super) fn of_google(call: &str, query: Option<&str>) -> Result<Self, Failure> {
        let (model, verb) = call.rsplit_once(':').unwrap_or((call, ""));
        let (operation, stream) = match verb {
            "generateContent" => (Operation::Chat, false),
            "streamGenerateContent" => (Operation::Chat, true),
            "countTokens" => (Operation::CountTokens, false),
            "embedContent" => (Operation::EmbedOne, false),
            "batchEmbedContents" => (Operation::Embeddings, false),
            _ => {
                return Err(Failure::new(
                    FailureKind::NotFound,
                    "there is nothing at this path; of a model the gateway serves generateContent, streamGenerateContent, countTokens, embedContent and batchEmbedContents",
                ));
            }
        };
        let asks_for_events = |query: &str| query.split('&').any(|pair| pair == "alt=sse");
        if stream && !query.is_some_and(asks_for_events) {
            return Err(Failure::new(
                FailureKind::InvalidRequest,
                "a stream is served as events; add alt=sse to the address",
            ));
        }
        let model = model.trim_start_matches("models/").to_owned();
        Ok(Self {
            operation,
            speaks: ClientDialect::Gemini,
            named: Named::Addressed { model, stream },
        })
    }

    /// The facts of a body.
    pub(super) fn peek(&self, headers: &HeaderMap, body: &[u8]) -> Result<ChatPeek, Failure> {
        let Self {
            operation, speaks, ..
        } = *self;
        let addressed = match &self.named {
            Named::InBody => None,
            Named::InPath(model) | Named::Addressed { model, .. } => Some(model.as_str()),
        };
        let mut peek = match (form_type(headers), addressed) {
            (Some(kind), addressed) if operation.takes_files() => {
                peek_form(body, kind, operation, addressed)?
            }
            (Some(_), _) => return Err(wrong_type("this takes JSON; send application/json")),
            (None, _) if !operation.takes_json() => {
                return Err(wrong_type("this takes a file; send multipart/form-data"));
            }
            (None, Some(model)) => peek_addressed(body, speaks, operation, model)?,
            (None, None) if operation == Operation::Chat => peek_named(body, speaks)?,
            (None, None) => peek_operation(body, speaks, operation)?,
        };
        if let Named::Addressed { stream, .. } = self.named {
            peek.stream = stream;
        }
        Ok(peek)
    }
}

fn wrong_type(told: &'static str) -> Failure {
    Failure::new(FailureKind::UnsupportedMediaType, told)
}

/// The type of a body that is a form; `None` for any other, which is read as JSON.
pub(super) fn form_type(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    is_form(kind).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_google_s_calls_are_told_by_their_last_word() {
        let asked = |call: &str, query| Asked::of_google(call, query).map(|asked| asked.operation);
        for (verb, operation) in [
            ("generateContent", Operation::Chat),
            ("countTokens", Operation::CountTokens),
            ("embedContent", Operation::EmbedOne),
            ("batchEmbedContents", Operation::Embeddings),
        ] {
            let call = format!("a/b:c:{verb}");
            assert_eq!(asked(&call, None), Ok(operation));
        }
        assert!(asked("m:streamGenerateContent", None).is_err());
        assert!(asked("m:streamGenerateContent", Some("x=1&alt=sse")).is_ok());
        assert!(asked("m", None).is_err() && asked("m:other", None).is_err());
    }
}
