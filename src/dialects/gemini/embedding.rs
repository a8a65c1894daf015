//! Google's embeddings, both sides: one text, or a list of requests that each name the model again.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::names::camel;
use crate::dialects::embedding::{read_answer, texts};
use crate::dialects::openai::dimensions;
use crate::dialects::refuse::leave_out;
use crate::dialects::{AnswerFault, DialectError, Encoded, fields};
use crate::domain::{Embedded, EmbeddingRequest, EmbeddingTask, Input, Operation};

const TASKS: [(&str, EmbeddingTask); 8] = [
    ("RETRIEVAL_QUERY", EmbeddingTask::Query),
    ("RETRIEVAL_DOCUMENT", EmbeddingTask::Document),
    ("SEMANTIC_SIMILARITY", EmbeddingTask::Similarity),
    ("CLASSIFICATION", EmbeddingTask::Classification),
    ("CLUSTERING", EmbeddingTask::Clustering),
    ("QUESTION_ANSWERING", EmbeddingTask::QuestionAnswering),
    ("FACT_VERIFICATION", EmbeddingTask::FactVerification),
    ("CODE_RETRIEVAL_QUERY", EmbeddingTask::CodeQuery),
];

pub fn decode_embedding(
    body: &[u8],
    operation: Operation,
) -> Result<EmbeddingRequest, DialectError> {
    let mut fields = whole(body)?;
    if operation == Operation::EmbedOne {
        return one(fields, "");
    }
    let list = match fields.remove("requests") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        _ => {
            return Err(DialectError::at(
                "requests",
                "\"requests\" must be a list of at least one request",
            ));
        }
    };
    let mut all: Option<EmbeddingRequest> = None;
    for (index, request) in list.into_iter().enumerate() {
        let path = format!("requests[{index}].");
        let Value::Object(request) = request else {
            return Err(DialectError::at(
                format!("requests[{index}]"),
                "each request must be an object with a content",
            ));
        };
        let request = one(request, &path)?;
        let Some(so_far) = &mut all else {
            all = Some(request);
            continue;
        };
        for (differs, name) in [
            (so_far.task != request.task, "taskType"),
            (
                so_far.dimensions != request.dimensions,
                "outputDimensionality",
            ),
        ] {
            if differs {
                return Err(DialectError::at(
                    format!("{path}{name}"),
                    format!(
                        "the provider of this model takes one {name} for all texts of a call; send those that differ apart"
                    ),
                ));
            }
        }
        so_far.inputs.extend(request.inputs);
        for name in request.dropped {
            leave_out(&mut so_far.dropped, name);
        }
    }
    Ok(all.unwrap_or_default())
}

fn whole(body: &[u8]) -> Result<Map<String, Value>, DialectError> {
    if let Value::Object(fields) = camel(Value::Object(fields::object(body)?)) {
        return Ok(fields);
    }
    Ok(Map::new())
}

fn one(fields: Map<String, Value>, path: &str) -> Result<EmbeddingRequest, DialectError> {
    let mut request = EmbeddingRequest {
        task_field: "taskType",
        ..EmbeddingRequest::default()
    };
    for (name, value) in fields {
        match name.as_str() {
            "content" => request.inputs.push(Input::Text(text(&value, path)?)),
            "taskType" => request.task = task(&value, path)?,
            "outputDimensionality" => {
                request.dimensions = dimensions(&format!("{path}{name}"), &value)?;
            }
            "model" => {}
            "title" => leave_out(&mut request.dropped, "title"),
            _ if value.is_null() => {}
            _ => leave_out(&mut request.dropped, "unknown fields"),
        }
    }
    if request.inputs.is_empty() {
        return Err(DialectError::at(
            format!("{path}content"),
            "\"content\" is missing; there is nothing to embed",
        ));
    }
    Ok(request)
}

/// The text of all parts: only text crosses.
fn text(content: &Value, path: &str) -> Result<String, DialectError> {
    let parts = content.get("parts").and_then(Value::as_array);
    let mut said = String::new();
    for (index, part) in parts.into_iter().flatten().enumerate() {
        match part.get("text").and_then(Value::as_str) {
            Some(text) => said.push_str(text),
            None => {
                return Err(DialectError::at(
                    format!("{path}content.parts[{index}]"),
                    "the provider of this model embeds text only",
                ));
            }
        }
    }
    if said.is_empty() {
        return Err(DialectError::at(
            format!("{path}content.parts"),
            "the content has no text; there is nothing to embed",
        ));
    }
    Ok(said)
}

fn task(value: &Value, path: &str) -> Result<Option<EmbeddingTask>, DialectError> {
    let name = value.as_str().unwrap_or_default();
    if value.is_null() || name == "TASK_TYPE_UNSPECIFIED" {
        return Ok(None);
    }
    let found = TASKS.iter().find(|(known, _)| *known == name);
    let unknown = || {
        DialectError::at(
            format!("{path}taskType"),
            "\"taskType\" is none that this gateway knows",
        )
    };
    found.map(|(_, task)| Some(*task)).ok_or_else(unknown)
}

/// A client's own request for a provider of the same form: where it names a model, it names this one.
pub fn readdress(body: &[u8], model: &str) -> Result<Vec<u8>, DialectError> {
    let mut fields = fields::object(body)?;
    let name = |fields: &mut Map<String, Value>| {
        fields.insert("model".to_owned(), format!("models/{model}").into());
    };
    if fields.contains_key("model") {
        name(&mut fields);
    }
    let requests = fields.get_mut("requests").and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        request.as_object_mut().into_iter().for_each(name);
    }
    for inner in ["generateContentRequest", "generate_content_request"] {
        let inner = fields.get_mut(inner).and_then(Value::as_object_mut);
        inner.into_iter().for_each(name);
    }
    Ok(serde_json::to_vec(&fields).unwrap_or_default())
}

/// Always the list: it holds one as well as many.
pub fn encode_embedding(request: &EmbeddingRequest, model: &str) -> Result<Encoded, DialectError> {
    let name = format!("models/{model}");
    let task = request.task.and_then(|task| {
        let found = TASKS.iter().find(|(_, known)| *known == task);
        found.map(|(name, _)| *name)
    });
    let requests: Vec<Value> = texts(request)?
        .into_iter()
        .map(|text| {
            let mut one = json!({"model": name, "content": {"parts": [{"text": text}]}});
            if let Some(task) = task {
                one["taskType"] = task.into();
            }
            if let Some(dimensions) = request.dimensions {
                one["outputDimensionality"] = dimensions.into();
            }
            one
        })
        .collect();
    let body = serde_json::to_vec(&json!({"requests": requests})).unwrap_or_default();
    Ok(Encoded::new(body, request.dropped.clone()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    embedding: Option<Vector>,
    #[serde(default)]
    embeddings: Vec<Vector>,
    usage_metadata: Option<Counted>,
}

#[derive(Deserialize)]
struct Vector {
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    prompt_token_count: Option<u64>,
}

pub fn decode_embedded(body: &[u8]) -> Result<Embedded, AnswerFault> {
    let answer: Answer = read_answer(body)?;
    let vectors = answer.embedding.into_iter().chain(answer.embeddings);
    let counted = answer.usage_metadata;
    Ok(Embedded {
        vectors: vectors.map(|vector| vector.values).collect(),
        model: None,
        usage: Embedded::counted(counted.and_then(|usage| usage.prompt_token_count)),
    })
}

#[derive(Serialize)]
struct WrittenVector<'a> {
    values: &'a [f32],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<WrittenVector<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embeddings: Option<Vec<WrittenVector<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Value>,
}

pub fn encode_embedded(embedded: &Embedded, operation: Operation) -> Vec<u8> {
    let mut vectors = embedded
        .vectors
        .iter()
        .map(|values| WrittenVector { values });
    let usage_metadata = embedded
        .usage
        .map(|usage| json!({"promptTokenCount": usage.input.0, "totalTokenCount": usage.input.0}));
    let (embedding, embeddings) = if operation == Operation::EmbedOne {
        (vectors.next(), None)
    } else {
        (None, Some(vectors.collect()))
    };
    let answer = Written {
        embedding,
        embeddings,
        usage_metadata,
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_a_client_s_names_of_the_model_become_the_provider_s_and_nothing_else_changes() {
        let readdressed = |body: Value| {
            let body = readdress(body.to_string().as_bytes(), "text-1").unwrap();
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        let batch = json!({"requests": [{"model": "models/p", "content": {}, "new": 1}], "x": [2]});
        assert_eq!(
            readdressed(batch),
            json!({"requests": [{"model": "models/text-1", "content": {}, "new": 1}], "x": [2]})
        );
        let plain = json!({"content": {"parts": []}});
        assert_eq!(readdressed(plain.clone()), plain);
        let counted = json!({"generateContentRequest": {"contents": []}});
        assert_eq!(
            readdressed(counted),
            json!({"generateContentRequest": {"contents": [], "model": "models/text-1"}})
        );
    }

    #[test]
    fn e4_what_one_call_cannot_say_for_all_texts_is_refused_at_its_place() {
        let request = |more: Value| {
            let mut request = json!({"content": {"parts": [{"text": "a"}]}});
            request
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            request
        };
        let refused = |second: Value| {
            let body = json!({"requests": [request(json!({})), second]}).to_string();
            let read = decode_embedding(body.as_bytes(), Operation::Embeddings);
            read.unwrap_err().param.unwrap()
        };
        let other = request(json!({"task_type": "CLUSTERING"}));
        assert_eq!(refused(other), "requests[1].taskType");
        let other = request(json!({"outputDimensionality": 8}));
        assert_eq!(refused(other), "requests[1].outputDimensionality");
        let picture = json!({"content": {"parts": [{"inlineData": {}}]}});
        assert_eq!(refused(picture), "requests[1].content.parts[0]");
        assert_eq!(refused(json!({"content": {}})), "requests[1].content.parts");
        assert_eq!(refused(json!(7)), "requests[1]");
    }
}
