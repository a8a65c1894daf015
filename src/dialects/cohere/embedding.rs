//! Cohere's embeddings, as providers speak them.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::dialects::embedding::{at_most, read_answer, texts};
use crate::dialects::refuse::leave_out;
use crate::dialects::{AnswerFault, DialectError, Encoded};
use crate::domain::{Embedded, EmbeddingRequest, EmbeddingTask};

/// Texts a call takes.
const MOST: usize = 96;

pub fn encode_embedding(request: &EmbeddingRequest, model: &str) -> Result<Encoded, DialectError> {
    let (mut body, dropped) = fields(request)?;
    body.insert("model".to_owned(), model.into());
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(Encoded::new(body, dropped))
}

/// All but the model, which its other hosts keep in the address.
pub(crate) fn fields(
    request: &EmbeddingRequest,
) -> Result<(Map<String, Value>, Vec<&'static str>), DialectError> {
    at_most(MOST, request)?;
    let mut dropped = request.dropped.clone();
    let mut body = Map::new();
    body.insert("texts".to_owned(), texts(request)?.into());
    // It has to be said; who says nothing stores documents.
    let purpose = match request.task {
        None | Some(EmbeddingTask::Document) => "search_document",
        Some(EmbeddingTask::Classification) => "classification",
        Some(EmbeddingTask::Clustering) => "clustering",
        Some(task) if task.is_asked() => "search_query",
        Some(_) => {
            leave_out(&mut dropped, request.task_field);
            "search_document"
        }
    };
    body.insert("input_type".to_owned(), purpose.into());
    body.insert("embedding_types".to_owned(), vec!["float"].into());
    if let Some(dimensions) = request.dimensions {
        body.insert("output_dimension".to_owned(), dimensions.into());
    }
    Ok((body, dropped))
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Vectors,
    meta: Option<Meta>,
}

/// By their type, or of the one type there used to be.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vectors {
    ByType { float: Vec<Vec<f32>> },
    Plain(Vec<Vec<f32>>),
}

#[derive(Deserialize)]
struct Meta {
    billed_units: Option<Billed>,
}

#[derive(Deserialize)]
struct Billed {
    input_tokens: Option<u64>,
}

pub fn decode_embedded(body: &[u8]) -> Result<Embedded, AnswerFault> {
    let answer: Answer = read_answer(body)?;
    let billed = answer.meta.and_then(|meta| meta.billed_units);
    Ok(Embedded {
        vectors: match answer.embeddings {
            Vectors::ByType { float } => float,
            Vectors::Plain(vectors) => vectors,
        },
        model: None,
        usage: Embedded::counted(billed.and_then(|billed| billed.input_tokens)),
    })
}
