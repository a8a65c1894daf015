//! Which documents answer a question best: asked as Cohere and Jina taught clients, answered by Cohere's v2.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::json::scan_object;
use super::refuse::leave_out;
use super::{AnswerFacts, AnswerFault, DialectError, Encoded, fields, openai};
use crate::domain::Embedded;

/// What a client asked, as far as the answer depends on it.
struct Asked {
    documents: Vec<String>,
    /// The answer repeats the documents; Cohere's second version does not.
    echoes: bool,
    rest: Map<String, Value>,
}

fn asked(body: &[u8]) -> Result<Asked, DialectError> {
    let mut rest = fields::object(body)?;
    let Some(Value::Array(list)) = rest.remove("documents") else {
        return Err(DialectError::at(
            "documents",
            "\"documents\" must be a list of texts",
        ));
    };
    let documents = list.into_iter().enumerate().map(|(index, one)| {
        let text = match one {
            Value::String(text) => Some(text),
            Value::Object(mut fields) => fields::text(fields.remove("text")),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        };
        text.ok_or_else(|| {
            DialectError::at(
                format!("documents[{index}]"),
                "the provider of this model ranks texts only; send a text, or an object with one under \"text\"",
            )
        })
    });
    let documents: Vec<String> = documents.collect::<Result<_, _>>()?;
    if documents.is_empty() {
        return Err(DialectError::at(
            "documents",
            "\"documents\" is empty; there is nothing to rank",
        ));
    }
    let echoes = rest.remove("return_documents") == Some(Value::Bool(true));
    Ok(Asked {
        documents,
        echoes,
        rest,
    })
}

/// The question as Cohere's v2 wants it.
pub fn encode_rerank(body: &[u8], model: &str) -> Result<Encoded, DialectError> {
    let asked = asked(body)?;
    let mut dropped = Vec::new();
    let mut said = Map::new();
    said.insert("model".to_owned(), model.into());
    for (name, value) in asked.rest {
        match name.as_str() {
            "query" if !value.is_string() => {
                return Err(DialectError::at("query", "\"query\" must be a text"));
            }
            "query" | "top_n" | "max_tokens_per_doc" | "priority" => drop(said.insert(name, value)),
            "model" => {}
            name if openai::OURS.contains(&name) || value.is_null() => {}
            "rank_fields" => leave_out(&mut dropped, "rank_fields"),
            _ => leave_out(&mut dropped, "unknown fields"),
        }
    }
    said.insert("documents".to_owned(), asked.documents.into());
    let body = serde_json::to_vec(&said).unwrap_or_default();
    Ok(Encoded::new(body, dropped))
}

/// Cohere's answer in the form both teach, with what the client asked for beyond it.
pub fn decode_reranked(
    body: &[u8],
    question: &[u8],
    model: &str,
) -> Result<(Vec<u8>, AnswerFacts), AnswerFault> {
    const MALFORMED: AnswerFault = AnswerFault::Malformed("the answer is no ranking");
    scan_object(body).map_err(|_| MALFORMED)?;
    let asked = asked(question).map_err(|_| MALFORMED)?;
    let mut answer: Map<String, Value> = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        return Err(AnswerFault::Disguised(openai::outcome_of(error)));
    }
    let results = answer.get_mut("results").and_then(Value::as_array_mut);
    let results = results
        .filter(|results| !results.is_empty())
        .ok_or(AnswerFault::Empty("the answer has no results"))?;
    let mut seen = HashSet::new();
    for result in results {
        let index = result.get("index").and_then(Value::as_u64);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let document = index.and_then(|index| asked.documents.get(index));
        let scored = result.get("relevance_score").is_some_and(Value::is_number);
        // A place that no document has, or one has twice, is a ranking of something else.
        let (Some(index), Some(document), true) = (index, document, scored) else {
            return Err(MALFORMED);
        };
        if !seen.insert(index) {
            return Err(MALFORMED);
        }
        if asked.echoes {
            result["document"] = json!({"text": document});
        }
    }
    answer.entry("model").or_insert_with(|| model.into());
    let tokens = answer.get("meta").and_then(|meta| {
        let counted = ["/tokens/input_tokens", "/billed_units/input_tokens"];
        counted.iter().find_map(|at| meta.pointer(at)?.as_u64())
    });
    let facts = AnswerFacts {
        usage: Embedded::counted(tokens),
        ..AnswerFacts::default()
    };
    Ok((serde_json::to_vec(&answer).unwrap_or_default(), facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(more: Value) -> Vec<u8> {
        let mut question = json!({"model": "p", "query": "q", "documents": ["a", {"text": "b"}]});
        let fields = question.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        question.to_string().into_bytes()
    }

    #[test]
    fn e5_a_ranking_crosses_to_cohere_and_its_documents_come_back_when_asked_for() {
        let asked = question(json!({"top_n": 1, "return_documents": true, "rank_fields": ["x"]}));
        let encoded = encode_rerank(&asked, "rerank-v3.5").unwrap();
        let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(
            sent,
            json!({"model": "rerank-v3.5", "query": "q", "top_n": 1, "documents": ["a", "b"]})
        );
        assert_eq!(encoded.dropped, ["rank_fields"]);
        let told = br#"{"id":"x","results":[{"index":1,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1}}}"#;
        let (answer, facts) = decode_reranked(told, &asked, "p").unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["results"][0]["document"]["text"], "b");
        assert_eq!((answer["model"].as_str(), facts.usage), (Some("p"), None));
    }

    #[test]
    fn p14_a_ranking_of_other_documents_is_no_answer() {
        let asked = question(json!({}));
        for bad in [
            r#"{"results":[]}"#,
            r#"{"results":[{"index":2,"relevance_score":1}]}"#,
            r#"{"results":[{"index":0,"relevance_score":1},{"index":0,"relevance_score":1}]}"#,
            r#"{"results":[{"index":0}]}"#,
            r#"{"message":"x"}"#,
        ] {
            assert!(
                decode_reranked(bad.as_bytes(), &asked, "p").is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_cannot_be_ranked_is_refused_at_its_place() {
        let refused = |more| encode_rerank(&question(more), "m").unwrap_err().param;
        let at = |path: &str| Some(path.to_owned());
        assert_eq!(refused(json!({"documents": []})), at("documents"));
        assert_eq!(refused(json!({"documents": ["a", 7]})), at("documents[1]"));
        assert_eq!(refused(json!({"query": 7})), at("query"));
    }
}
