//! Embeddings at Bedrock, where each maker's models keep a form of their own.

use serde::Deserialize;
use serde_json::json;

use crate::dialects::embedding::{at_most, read_answer, texts, with_length};
use crate::dialects::{AnswerFault, DialectError, Encoded, cohere};
use crate::domain::{Embedded, EmbeddingRequest};

pub fn encode_embedding(request: &EmbeddingRequest, model: &str) -> Result<Encoded, DialectError> {
    if model.contains("cohere.") {
        let (body, dropped) = cohere::embedding_fields(request)?;
        let body = serde_json::to_vec(&body).unwrap_or_default();
        return Ok(Encoded::new(body, dropped));
    }
    if !model.contains("titan-embed") {
        return Err(DialectError::at(
            "model",
            "of Bedrock's embedding models the gateway knows those of Cohere and Amazon's Titan; choose one of them",
        ));
    }
    // It takes one text a call.
    at_most(1, request)?;
    // Its first version has one length only, and refuses to be asked for any.
    let body = json!({"inputText": texts(request)?.concat()});
    Ok(with_length(body, request))
}

#[derive(Deserialize)]
struct Titan {
    embedding: Vec<f32>,
    #[serde(rename = "inputTextTokenCount")]
    tokens: Option<u64>,
}

/// Which maker answered shows in the answer itself.
pub fn decode_embedded(body: &[u8]) -> Result<Embedded, AnswerFault> {
    match read_answer::<Titan>(body) {
        Ok(titan) => Ok(Embedded {
            vectors: vec![titan.embedding],
            model: None,
            usage: Embedded::counted(titan.tokens),
        }),
        Err(AnswerFault::Malformed(_)) => cohere::decode_embedded(body),
        Err(fault) => Err(fault),
    }
}
