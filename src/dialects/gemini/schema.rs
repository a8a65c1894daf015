//! Schemas as Google reads them: JSON Schema, of which it heeds a part.
//!
//! Nothing is taken out, because what its models do not heed is ignored and not refused. A constant becomes the only
//! member of an enumeration, which is heeded; the client is told which of the rest is not.

use serde_json::{Value, json};

/// Google's page on structured output names what is heeded; these are not. Annotations, which bind nobody, are not
/// told.
const UNHEEDED: [&str; 18] = [
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "contains",
    "minContains",
    "maxContains",
    "multipleOf",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "uniqueItems",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// The schema for Google; what it will not heed is named by its place.
pub(super) fn fitted(schema: &Value, place: &str, unheeded: &mut Vec<String>) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    let mut fit = serde_json::Map::with_capacity(fields.len());
    for (name, value) in fields {
        let here = || format!("{place}.{name}");
        if UNHEEDED.contains(&name.as_str()) {
            unheeded.push(here());
        }
        match (name.as_str(), value) {
            ("$schema", _) => {}
            ("const", value) if !fields.contains_key("enum") => {
                fit.insert("enum".to_owned(), json!([value]));
            }
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                let named = named.iter().map(|(name, schema)| {
                    let place = format!("{}.{name}", here());
                    (name.clone(), fitted(schema, &place, unheeded))
                });
                let named: serde_json::Map<String, Value> = named.collect();
                fit.insert(name.clone(), named.into());
            }
            ("anyOf" | "oneOf" | "prefixItems", Value::Array(all)) => {
                let all = all.iter().enumerate().map(|(index, schema)| {
                    fitted(schema, &format!("{}[{index}]", here()), unheeded)
                });
                fit.insert(name.clone(), all.collect());
            }
            ("items" | "additionalProperties", schema) => {
                let schema = fitted(schema, &here(), unheeded);
                fit.insert(name.clone(), schema);
            }
            (_, value) => _ = fit.insert(name.clone(), value.clone()),
        }
    }
    fit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j_nothing_of_a_schema_is_lost_and_what_is_not_heeded_is_named() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {
                "kind": {"const": "a"},
                "not": {"type": ["string", "null"], "pattern": "^x"},
                "list": {"type": "array", "uniqueItems": true, "items": {"multipleOf": 2}},
            },
            "anyOf": [{"not": {"type": "null"}}], "$defs": {"x": {"const": 1, "enum": [1, 2]}},
            "additionalProperties": false,
        });
        let mut unheeded = Vec::new();
        let fit = fitted(&schema, "tools[0].parameters", &mut unheeded);
        let mut expected = schema.clone();
        expected.as_object_mut().unwrap().shift_remove("$schema");
        expected["properties"]["kind"] = json!({"enum": ["a"]});
        assert_eq!(fit, expected);
        let named = [
            "tools[0].parameters.properties.list.uniqueItems",
            "tools[0].parameters.properties.list.items.multipleOf",
            "tools[0].parameters.anyOf[0].not",
        ];
        assert_eq!(unheeded, named, "a property called not is none");
    }
}
