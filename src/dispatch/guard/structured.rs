//! Answers that were asked for in the form of a schema, held against it.

use serde_json::Value;

use crate::domain::{ClientDialect, Failure, FailureKind};
use crate::policy::guard::{Action, Schema};

/// The schema that a request asks its answer to be of. One that cannot be checked refuses the request where
/// unchecked answers are refused.
pub(super) fn schema_of(
    speaks: ClientDialect,
    body: &[u8],
    action: Action,
) -> Result<Option<Schema>, Failure> {
    let places: &[&str] = match speaks {
        ClientDialect::Openai => &["/response_format/json_schema/schema"],
        ClientDialect::Responses => &["/text/format/schema"],
        ClientDialect::Anthropic => &["/output_config/format/schema", "/output_format/schema"],
        // Its own spelling of types is Google's alone.
        ClientDialect::Gemini => &["/generationConfig/responseJsonSchema"],
    };
    // Read before, and not deeper than that allows.
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(schema) = places.iter().find_map(|place| request.pointer(place)) else {
        return Ok(None);
    };
    match Schema::new(schema.clone()) {
        Ok(schema) => Ok(Some(schema)),
        Err(error) if action == Action::Block => Err(Failure::new(
            FailureKind::InvalidRequest,
            format!("the schema for the answer cannot be checked: it {error}"),
        )),
        Err(_) => Ok(None),
    }
}

/// Whether what the model said is what was asked for. Calls of tools are judged by whoever is called.
pub(super) fn fits(schema: &Schema, said: &str) -> bool {
    let value = serde_json::from_str::<Value>(said.trim());
    value.is_ok_and(|value| schema.fits(&value))
}

/// What the model said in a whole answer, choice by choice; none where it called a tool or refused.
pub(super) fn said(speaks: ClientDialect, answer: &Value) -> Vec<String> {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let texts = |parts: Vec<Value>| -> String {
        let parts = parts
            .iter()
            .filter(|part| part["thought"] != Value::Bool(true));
        parts.filter_map(|part| part["text"].as_str()).collect()
    };
    let mut said: Vec<String> = match speaks {
        ClientDialect::Openai => {
            let choices = list(answer, "choices");
            let texts = choices.iter().map(|choice| &choice["message"]["content"]);
            texts
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        }
        ClientDialect::Anthropic => vec![texts(list(answer, "content"))],
        ClientDialect::Responses => {
            let items = list(answer, "output");
            items
                .iter()
                .map(|item| texts(list(item, "content")))
                .collect()
        }
        ClientDialect::Gemini => {
            let candidates = list(answer, "candidates");
            candidates
                .iter()
                .map(|one| texts(list(&one["content"], "parts")))
                .collect()
        }
    };
    said.retain(|text| !text.is_empty());
    said
}
