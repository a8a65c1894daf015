//! Member names in one style.

use serde_json::{Map, Value};

/// Below these the names are the client's own and stay as they are: schemas, arguments, results, labels.
const OWN: [&str; 8] = [
    "args",
    "response",
    "parametersJsonSchema",
    "responseJsonSchema",
    "responseSchema",
    "parameters",
    "labels",
    "examples",
];

/// The deepest a request may nest; the scan of the body has refused deeper ones before.
const DEEPEST: u32 = 128;

/// Brings every member name to `camelCase`, save where names are data.
pub(crate) fn camel(value: Value) -> Value {
    walk(value, DEEPEST)
}

fn walk(value: Value, left: u32) -> Value {
    let Some(left) = left.checked_sub(1) else {
        return value;
    };
    match value {
        Value::Object(fields) => {
            let mut renamed = Map::with_capacity(fields.len());
            for (name, value) in fields {
                let name = camel_name(&name);
                let value = if OWN.contains(&&*name) {
                    value
                } else {
                    walk(value, left)
                };
                renamed.insert(name, value);
            }
            Value::Object(renamed)
        }
        Value::Array(list) => list.into_iter().map(|one| walk(one, left)).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

fn camel_name(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut raise = false;
    for letter in name.chars() {
        if letter == '_' && !camel.is_empty() {
            raise = true;
        } else if std::mem::take(&mut raise) {
            camel.extend(letter.to_uppercase());
        } else {
            camel.push(letter);
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_styles_are_one_and_data_keeps_its_names() {
        let mixed = json!({
            "generation_config": {"thinkingConfig": {"include_thoughts": true}},
            "contents": [{"parts": [{"function_call": {"name": "f", "args": {"a_b": {"c_d": 1}}}}]}],
            "tools": [{"functionDeclarations": [{"parameters_json_schema": {"x_y": {}}}]}],
        });
        let expected = json!({
            "generationConfig": {"thinkingConfig": {"includeThoughts": true}},
            "contents": [{"parts": [{"functionCall": {"name": "f", "args": {"a_b": {"c_d": 1}}}}]}],
            "tools": [{"functionDeclarations": [{"parametersJsonSchema": {"x_y": {}}}]}],
        });
        assert_eq!(camel(mixed), expected);
    }
}
