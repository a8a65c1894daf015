//! An answer that fits the form a request asks for.

use serde_json::{Map, Value, json};

/// Where dialects have the schema of an answer. Bedrock's is JSON within JSON.
const PLACES: [&str; 11] = [
    "/response_format/json_schema/schema",
    "/response_format/json_schema",
    "/response_format/schema",
    "/text/format/schema",
    "/output_config/format/schema",
    "/output_format/schema",
    "/generationConfig/responseJsonSchema",
    "/generationConfig/responseSchema",
    "/generation_config/response_json_schema",
    "/outputConfig/textFormat/structure/jsonSchema/schema",
    "/format",
];

/// Deeper parts of an answer are left empty.
const DEEPEST: usize = 16;

/// The schema the answer to this request has to fit.
pub(super) fn of_request(request: &Value) -> Option<Value> {
    let found = PLACES.iter().find_map(|place| {
        request
            .pointer(place)
            .filter(|found| !found.is_null() && *found != "json")
    })?;
    match found.as_str() {
        Some(text) => serde_json::from_str(text).ok(),
        None => Some(found.clone()),
    }
}

/// A value of this form, with `said` wherever it wants a text.
pub(super) fn fill(schema: &Value, said: &str) -> Value {
    filled(schema, said, 0)
}

fn filled(schema: &Value, said: &str, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    let deeper = depth.saturating_add(1);
    let first = |name: &str| schema.get(name).and_then(|list| list.get(0));
    if let Some(fixed) = schema.get("const").or_else(|| first("enum")) {
        return fixed.clone();
    }
    if let Some(one) = first("anyOf").or_else(|| first("oneOf")) {
        return filled(one, said, deeper);
    }
    let kind = schema
        .get("type")
        .and_then(|kind| kind.get(0).unwrap_or(kind).as_str());
    match kind.map(str::to_ascii_lowercase).as_deref() {
        Some("string") => json!(said),
        Some("integer") => json!(7),
        Some("number") => json!(0.5),
        Some("boolean") => json!(true),
        Some("array") => {
            let item = schema.get("items").unwrap_or(&Value::Null);
            json!([filled(item, said, deeper)])
        }
        Some("null") => Value::Null,
        Some(_) | None => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let mut object = Map::new();
            for (name, property) in properties.into_iter().flatten() {
                object.insert(name.clone(), filled(property, said, deeper));
            }
            Value::Object(object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_form_is_filled_and_the_innermost_of_a_bottomless_one_left_empty() {
        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string"}, "kind": {"enum": ["a", "b"]}, "count": {"type": ["integer", "null"]},
            "list": {"type": "array", "items": {"type": "OBJECT", "properties": {"is": {"type": "BOOLEAN"}}}},
        }});
        let filled = fill(&schema, "said");
        let expected = json!({"name": "said", "kind": "a", "count": 7, "list": [{"is": true}]});
        assert_eq!(filled, expected);
        let deep = (0..40).fold(
            json!({"type": "string"}),
            |inner, _| json!({"anyOf": [inner]}),
        );
        assert_eq!(fill(&deep, "said"), Value::Null);
    }

    #[test]
    fn json_without_a_schema_is_any_object_and_text_none() {
        assert_eq!(of_request(&json!({"format": "json"})), None);
        assert_eq!(
            of_request(&json!({"text": {"format": {"type": "text"}}})),
            None
        );
        let inside = json!({"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "{\"type\":\"object\"}"}}}}});
        assert_eq!(of_request(&inside), Some(json!({"type": "object"})));
    }
}
