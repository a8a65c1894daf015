//! Google's own form of a schema as JSON Schema.

use serde_json::{Map, Number, Value, json};

/// Types in lower case, `nullable` as a type, counts as numbers, properties in the order that was asked for.
pub(super) fn plain_schema(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else {
        return schema;
    };
    let nullable = fields.shift_remove("nullable") == Some(Value::Bool(true));
    let ordering = fields.shift_remove("propertyOrdering");
    let mut plain = Map::with_capacity(fields.len());
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("type", Value::String(kind)) if nullable => json!([kind.to_ascii_lowercase(), "null"]),
            ("type", Value::String(kind)) => kind.to_ascii_lowercase().into(),
            ("properties", Value::Object(properties)) => {
                let properties = named(properties);
                ordered(properties, ordering.as_ref()).into()
            }
            ("defs" | "$defs", Value::Object(known)) => named(known).into(),
            ("items" | "additionalProperties", value) => plain_schema(value),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(all)) => {
                all.into_iter().map(plain_schema).collect()
            }
            (
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
                | "maxProperties",
                value,
            ) => whole_number(&value).map_or(value, Value::Number),
            (_, value) => value,
        };
        plain.insert(name, value);
    }
    Value::Object(plain)
}

fn named(schemas: Map<String, Value>) -> Map<String, Value> {
    let schemas = schemas.into_iter();
    schemas
        .map(|(name, schema)| (name, plain_schema(schema)))
        .collect()
}

/// Elsewhere properties are written in the order in which they are declared.
fn ordered(mut properties: Map<String, Value>, ordering: Option<&Value>) -> Map<String, Value> {
    let names = ordering.and_then(Value::as_array).into_iter().flatten();
    let mut first = Map::with_capacity(properties.len());
    for name in names.filter_map(Value::as_str) {
        if let Some(schema) = properties.shift_remove(name) {
            first.insert(name.to_owned(), schema);
        }
    }
    first.extend(properties);
    first
}

/// A count as the JSON form of Google's protocol may write it: as a number, in a text, with a fraction of nothing.
pub(in crate::dialects) fn whole_number(value: &Value) -> Option<Number> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let digits = text.split_once('.').map_or(&*text, |(whole, fraction)| {
        match !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0') {
            true => whole,
            false => "",
        }
    });
    digits.parse::<u64>().ok().map(Number::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g_a_schema_in_google_s_form_crosses_whole() {
        let schema = json!({
            "type": "OBJECT", "nullable": true, "propertyOrdering": ["z", "a", "gone"],
            "properties": {
                "a": {"type": "ARRAY", "minItems": "2", "maxItems": 3, "prefixItems": [{"type": "STRING"}]},
                "m": {"type": "STRING", "maxLength": "many"},
                "z": {"type": "OBJECT", "additionalProperties": {"type": "STRING", "nullable": true}},
            },
            "additionalProperties": false,
        });
        // In text, because values compare alike in whatever order they stand.
        let expected = r#"{"type":["object","null"],"properties":{"z":{"type":"object","additionalProperties":{"type":["string","null"]}},"a":{"type":"array","minItems":2,"maxItems":3,"prefixItems":[{"type":"string"}]},"m":{"type":"string","maxLength":"many"}},"additionalProperties":false}"#;
        assert_eq!(plain_schema(schema).to_string(), expected);
    }

    #[test]
    fn g_a_count_may_be_written_as_protobuf_allows() {
        for (value, read) in [
            (json!(100), Some(100)),
            (json!("100"), Some(100)),
            (json!(100.0), Some(100)),
            (json!("100.0"), Some(100)),
            (json!(100.5), None),
            (json!("x"), None),
            (json!("5."), None),
            (json!(-1), None),
            (json!(null), None),
        ] {
            let number = whole_number(&value).and_then(|number| number.as_u64());
            assert_eq!(number, read, "{value}");
        }
    }
}
