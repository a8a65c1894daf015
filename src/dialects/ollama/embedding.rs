//! Ollama's own embeddings, as providers speak them.

use serde::Deserialize;
use serde_json::json;

use crate::dialects::embedding::{read_answer, texts, with_length};
use crate::dialects::{AnswerFault, DialectError, Encoded};
use crate::domain::{Embedded, EmbeddingRequest};

pub fn encode_embedding(request: &EmbeddingRequest, model: &str) -> Result<Encoded, DialectError> {
    let body = json!({"model": model, "input": texts(request)?});
    Ok(with_length(body, request))
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Vec<f32>>,
    model: Option<String>,
    prompt_eval_count: Option<u64>,
}

pub fn decode_embedded(body: &[u8]) -> Result<Embedded, AnswerFault> {
    let answer: Answer = read_answer(body)?;
    Ok(Embedded {
        vectors: answer.embeddings,
        model: answer.model.filter(|model| !model.is_empty()),
        usage: Embedded::counted(answer.prompt_eval_count),
    })
}
