//! OpenAI's embeddings, both sides.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::peek::OURS;
use crate::dialects::embedding::{EmbeddingTerms, read_answer, with_length};
use crate::dialects::refuse::leave_out;
use crate::dialects::{AnswerFault, DialectError, Encoded, fields};
use crate::domain::{Embedded, EmbeddingRequest, EmbeddingTask, Input, VectorForm};

const INPUT: &str = "\"input\" must be a text, a list of texts, or token numbers";

pub fn decode_embedding(body: &[u8]) -> Result<EmbeddingRequest, DialectError> {
    let mut request = EmbeddingRequest {
        task_field: "input_type",
        ..EmbeddingRequest::default()
    };
    for (name, value) in fields::object(body)? {
        match name.as_str() {
            "input" => request.inputs = inputs(value)?,
            "dimensions" => request.dimensions = dimensions("dimensions", &value)?,
            "encoding_format" => request.form = form(&value)?,
            // Not OpenAI's own; those who serve models that ask for it have it under this name.
            "input_type" => request.task = value.as_str().and_then(task),
            "model" => {}
            "user" => leave_out(&mut request.dropped, "user"),
            name if OURS.contains(&name) || value.is_null() => {}
            _ => leave_out(&mut request.dropped, "unknown fields"),
        }
    }
    Ok(request)
}

/// A count of numbers in a vector, by the name its dialect has for it.
pub(crate) fn dimensions(name: &str, value: &Value) -> Result<Option<u64>, DialectError> {
    const MOST: u64 = 100_000;
    if value.is_null() {
        return Ok(None);
    }
    let count = value.as_u64().filter(|count| (1..=MOST).contains(count));
    let wrong = || {
        DialectError::at(
            name,
            format!("{name:?} must be a whole number from 1 to {MOST}"),
        )
    };
    count.map(Some).ok_or_else(wrong)
}

fn form(value: &Value) -> Result<VectorForm, DialectError> {
    match value.as_str() {
        None if value.is_null() => Ok(VectorForm::Numbers),
        Some("float") => Ok(VectorForm::Numbers),
        Some("base64") => Ok(VectorForm::Base64),
        Some(_) | None => Err(DialectError::at(
            "encoding_format",
            "\"encoding_format\" must be \"float\" or \"base64\"",
        )),
    }
}

fn task(name: &str) -> Option<EmbeddingTask> {
    match name {
        "query" | "search_query" => Some(EmbeddingTask::Query),
        "document" | "passage" | "search_document" => Some(EmbeddingTask::Document),
        "classification" => Some(EmbeddingTask::Classification),
        "clustering" => Some(EmbeddingTask::Clustering),
        _ => None,
    }
}

fn inputs(value: Value) -> Result<Vec<Input>, DialectError> {
    let refused = |path: String| DialectError::at(path, INPUT);
    let list = match value {
        Value::String(text) => vec![Value::String(text)],
        Value::Array(list) if list.first().is_some_and(Value::is_number) => {
            vec![Value::Array(list)]
        }
        Value::Array(list) => list,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(refused("input".to_owned()));
        }
    };
    let inputs = list.into_iter().enumerate().map(|(index, one)| match one {
        Value::String(text) if !text.is_empty() => Ok(Input::Text(text)),
        Value::Array(tokens) if !tokens.is_empty() => {
            let tokens: Option<Vec<u64>> = tokens.iter().map(Value::as_u64).collect();
            let tokens = tokens.map(Input::Tokens);
            tokens.ok_or_else(|| refused(format!("input[{index}]")))
        }
        Value::String(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Object(_) => Err(refused(format!("input[{index}]"))),
    });
    inputs.collect()
}

pub fn encode_embedding(request: &EmbeddingRequest, model: &str) -> Result<Encoded, DialectError> {
    let inputs: Vec<Value> = request
        .inputs
        .iter()
        .map(|input| match input {
            Input::Text(text) => text.as_str().into(),
            Input::Tokens(tokens) => tokens.as_slice().into(),
        })
        .collect();
    let body = json!({"model": model, "input": inputs, "encoding_format": "float"});
    Ok(with_length(body, request))
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    model: Option<String>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Item {
    /// Some leave it out and keep the order.
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Deserialize)]
struct Counted {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

pub fn decode_embedded(body: &[u8]) -> Result<Embedded, AnswerFault> {
    let answer: Answer = read_answer(body)?;
    let mut vectors = Vec::with_capacity(answer.data.len());
    for (place, item) in answer.data.into_iter().enumerate() {
        let vector = match item.embedding {
            Vector::Numbers(numbers) => numbers,
            Vector::Base64(text) => unpacked(&text).ok_or(AnswerFault::Malformed(
                "a vector is neither numbers nor base64",
            ))?,
        };
        vectors.push((item.index.unwrap_or(place), vector));
    }
    vectors.sort_by_key(|(index, _)| *index);
    let in_order = vectors
        .iter()
        .enumerate()
        .all(|(place, (index, _))| place == *index);
    if !in_order {
        return Err(AnswerFault::Malformed("the vectors' numbers have a gap"));
    }
    let counted = answer.usage;
    let counted = counted.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens));
    Ok(Embedded {
        vectors: vectors.into_iter().map(|(_, vector)| vector).collect(),
        model: answer
            .model
            .map(|model| model.chars().take(256).collect::<String>())
            .filter(|model| !model.is_empty()),
        usage: Embedded::counted(counted),
    })
}

fn unpacked(text: &str) -> Option<Vec<f32>> {
    let bytes = fields::from_base64(text)?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    rest.is_empty()
        .then(|| numbers.iter().copied().map(f32::from_le_bytes).collect())
}

fn packed(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    fields::base64(&bytes)
}

/// Numbers are written as the single precision they have, not as its long double.
#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Numbers(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct WrittenItem<'a> {
    object: &'static str,
    index: usize,
    embedding: Written<'a>,
}

#[derive(Serialize)]
struct WrittenAnswer<'a> {
    object: &'static str,
    data: Vec<WrittenItem<'a>>,
    model: &'a str,
    usage: Value,
}

pub fn encode_embedded(embedded: &Embedded, terms: &EmbeddingTerms<'_>) -> Vec<u8> {
    let data = embedded.vectors.iter().enumerate();
    let data = data.map(|(index, vector)| WrittenItem {
        object: "embedding",
        index,
        embedding: match terms.form {
            VectorForm::Numbers => Written::Numbers(vector),
            VectorForm::Base64 => Written::Base64(packed(vector)),
        },
    });
    let input = embedded.usage.map_or(terms.estimate, |usage| usage.input).0;
    let answer = WrittenAnswer {
        object: "list",
        data: data.collect(),
        model: embedded.model.as_deref().unwrap_or(terms.asked),
        usage: json!({"prompt_tokens": input, "total_tokens": input}),
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(body: &Value) -> Result<EmbeddingRequest, DialectError> {
        decode_embedding(body.to_string().as_bytes())
    }

    #[test]
    fn e5_texts_and_tokens_are_told_apart() {
        let inputs = |input: Value| decoded(&json!({"input": input})).map(|read| read.inputs);
        let text = |text: &str| Input::Text(text.to_owned());
        assert_eq!(inputs(json!("a")).unwrap(), [text("a")]);
        assert_eq!(inputs(json!(["a", "b"])).unwrap(), [text("a"), text("b")]);
        assert_eq!(inputs(json!([1, 2])).unwrap(), [Input::Tokens(vec![1, 2])]);
        let mixed = inputs(json!([[1], "b"])).unwrap();
        assert_eq!(mixed, [Input::Tokens(vec![1]), text("b")]);
        for (bad, at) in [
            (json!(7), "input"),
            (json!([""]), "input[0]"),
            (json!(["a", null]), "input[1]"),
            (json!([[1, "x"]]), "input[0]"),
            (json!([1, "x"]), "input[0]"),
        ] {
            let error = inputs(bad).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(at));
        }
    }

    #[test]
    fn a_vector_in_base64_is_the_same_in_numbers() {
        let numbers = [0.25_f32, -1.5, 3.0e-8];
        assert_eq!(unpacked(&packed(&numbers)).unwrap(), numbers);
        for bad in ["AAAA", "!!!!", "AAA", "AA=A"] {
            assert_eq!(unpacked(bad), None, "{bad}");
        }
    }

    #[test]
    fn p14_vectors_with_a_gap_are_no_answer_and_out_of_order_are_put_in_order() {
        let of = |indexes: [usize; 2]| {
            let data: Vec<Value> = indexes
                .iter()
                .map(|index| json!({"index": index, "embedding": [*index as f32]}))
                .collect();
            decode_embedded(json!({"data": data}).to_string().as_bytes())
        };
        assert_eq!(of([1, 0]).unwrap().vectors, [[0.0], [1.0]]);
        assert!(of([0, 2]).is_err());
        assert!(of([1, 1]).is_err());
        let failed = decode_embedded(br#"{"error":{"code":503,"message":"x"}}"#);
        assert!(matches!(failed, Err(AnswerFault::Disguised(_))));
    }
}
