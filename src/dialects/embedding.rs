//! Embeddings on the two sides of a conversation: each dialect's own file holds its form, this one lists them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json::scan_object;
use super::refuse::leave_out;
use super::{
    AnswerFacts, AnswerFault, DialectError, Encoded, bedrock, cohere, gemini, ollama, openai,
};
use crate::domain::{
    ClientDialect, Dialect, Embedded, EmbeddingRequest, Input, Operation, Tokens, VectorForm,
};

/// What an answer to a client says of the request it answers.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingTerms<'a> {
    pub operation: Operation,
    pub form: VectorForm,
    /// The model as the client wrote it; said until the provider names its own.
    pub asked: &'a str,
    /// Said where the provider did not count.
    pub estimate: Tokens,
}

/// What a client of this dialect wants embedded.
pub fn decode_embedding(
    dialect: ClientDialect,
    operation: Operation,
    body: &[u8],
) -> Result<EmbeddingRequest, DialectError> {
    let request = match dialect {
        ClientDialect::Gemini => gemini::decode_embedding(body, operation)?,
        ClientDialect::Openai | ClientDialect::Anthropic | ClientDialect::Responses => {
            openai::decode_embedding(body)?
        }
    };
    if request.inputs.is_empty() {
        return Err(DialectError::at(
            operation.content(),
            "there is nothing to embed",
        ));
    }
    Ok(request)
}

/// The request as a provider of this dialect wants it.
pub fn encode_embedding(
    dialect: Dialect,
    request: &EmbeddingRequest,
    model: &str,
) -> Result<Encoded, DialectError> {
    match dialect {
        Dialect::Openai | Dialect::Responses => openai::encode_embedding(request, model),
        Dialect::Gemini => gemini::encode_embedding(request, model),
        Dialect::Cohere => cohere::encode_embedding(request, model),
        Dialect::Ollama => ollama::encode_embedding(request, model),
        Dialect::Bedrock => bedrock::encode_embedding(request, model),
        Dialect::Anthropic => Err(DialectError::at(
            "model",
            "the provider of this model embeds nothing; choose another model",
        )),
    }
}

/// What a provider of this dialect answered, for so many inputs; `None` when nobody counted them.
pub fn decode_embedded(
    dialect: Dialect,
    body: &[u8],
    inputs: Option<usize>,
) -> Result<Embedded, AnswerFault> {
    let embedded = match dialect {
        Dialect::Openai | Dialect::Responses | Dialect::Anthropic => openai::decode_embedded(body)?,
        Dialect::Gemini => gemini::decode_embedded(body)?,
        Dialect::Cohere => cohere::decode_embedded(body)?,
        Dialect::Ollama => ollama::decode_embedded(body)?,
        Dialect::Bedrock => bedrock::decode_embedded(body)?,
    };
    if embedded.vectors.is_empty() {
        return Err(AnswerFault::Empty("the answer has no vectors"));
    }
    if !embedded.answers(inputs.unwrap_or(embedded.vectors.len())) {
        return Err(AnswerFault::Malformed(
            "the answer's vectors are not those of the inputs",
        ));
    }
    Ok(embedded)
}

/// The vectors as a client of this dialect wants them.
pub fn encode_embedded(
    dialect: ClientDialect,
    embedded: &Embedded,
    terms: &EmbeddingTerms<'_>,
) -> Vec<u8> {
    match dialect {
        ClientDialect::Gemini => gemini::encode_embedded(embedded, terms.operation),
        ClientDialect::Openai | ClientDialect::Anthropic | ClientDialect::Responses => {
            openai::encode_embedded(embedded, terms)
        }
    }
}

impl From<&Embedded> for AnswerFacts {
    fn from(embedded: &Embedded) -> Self {
        Self {
            usage: embedded.usage,
            served_model: embedded.model.clone(),
            filtered: false,
        }
    }
}

/// Reads an answer straight into its form: built as a tree, a few thousand vectors would be hundreds of megabytes.
pub(super) fn read_answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerFault> {
    #[derive(Deserialize)]
    struct Failed {
        #[serde(default)]
        error: Value,
    }
    const MALFORMED: AnswerFault =
        AnswerFault::Malformed("the answer is not in the form asked for");
    scan_object(body).map_err(|_| MALFORMED)?;
    let failed: Failed = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
    if !failed.error.is_null() {
        return Err(AnswerFault::Disguised(openai::outcome_of(&failed.error)));
    }
    serde_json::from_slice(body).map_err(|_| MALFORMED)
}

/// The inputs, where all of them have to be text.
pub(super) fn texts(request: &EmbeddingRequest) -> Result<Vec<&str>, DialectError> {
    let texts = request.inputs.iter().map(|input| match input {
        Input::Text(text) => Ok(text.as_str()),
        Input::Tokens(_) => Err(DialectError::at(
            "input",
            "token numbers mean something to OpenAI's models only; send the text itself, or choose one of them",
        )),
    });
    texts.collect()
}

/// The body of a provider that takes a length and no purpose.
pub(super) fn with_length(mut body: Value, request: &EmbeddingRequest) -> Encoded {
    let mut dropped = request.dropped.clone();
    if let Some(dimensions) = request.dimensions {
        body["dimensions"] = dimensions.into();
    }
    if request.task.is_some() {
        leave_out(&mut dropped, request.task_field);
    }
    Encoded::new(serde_json::to_vec(&body).unwrap_or_default(), dropped)
}

/// Refuses more inputs than a call takes.
pub(super) fn at_most(most: usize, request: &EmbeddingRequest) -> Result<(), DialectError> {
    if request.inputs.len() > most {
        let texts = if most == 1 { "text" } else { "texts" };
        return Err(DialectError::at(
            "input",
            format!(
                "the provider of this model takes at most {most} {texts} a call and this one has {}; send several calls",
                request.inputs.len()
            ),
        ));
    }
    Ok(())
}
