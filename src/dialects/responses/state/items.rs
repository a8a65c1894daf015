//! Items as they are kept, and as they are said again.

use serde_json::{Value, json};

use super::Draw;
use crate::dialects::DialectError;

fn kind(item: &Value) -> &str {
    let kind = item.get("type").and_then(Value::as_str);
    kind.unwrap_or("message")
}

/// Every item with an id and its content in parts, as it is shown to who asks for it.
pub fn with_ids(items: Vec<Value>, draw: Draw<'_>) -> Vec<Value> {
    items
        .into_iter()
        .map(|mut item| {
            let Value::Object(fields) = &mut item else {
                return item;
            };
            let kind = fields.get("type").and_then(Value::as_str);
            let kind = kind.unwrap_or("message").to_owned();
            if !fields.get("id").is_some_and(Value::is_string) {
                let begin = match kind.as_str() {
                    "message" => "msg",
                    "function_call" => "fc",
                    "function_call_output" => "fco",
                    "reasoning" => "rs",
                    _ => "item",
                };
                fields.insert("id".to_owned(), format!("{begin}_{}", draw()).into());
            }
            if kind == "message" {
                fields.insert("type".to_owned(), "message".into());
                let said_by_model = fields.get("role") == Some(&Value::from("assistant"));
                if let Some(Value::String(text)) = fields.get("content") {
                    let part = if said_by_model {
                        json!({"type": "output_text", "text": text, "annotations": []})
                    } else {
                        json!({"type": "input_text", "text": text})
                    };
                    fields.insert("content".to_owned(), json!([part]));
                }
            }
            item
        })
        .collect()
}

/// Ids of the items of a response.
pub fn item_ids(response: &Value) -> Vec<String> {
    let output = response.get("output").and_then(Value::as_array);
    let ids = output.into_iter().flatten();
    ids.filter_map(|item| Some(item.get("id")?.as_str()?.to_owned()))
        .collect()
}

/// The items of a turn, what was asked and what was answered, in a form that every provider can be told again.
/// An error where the response is none to go on from.
pub fn said_again(input: &[Value], response: &Value) -> Result<Vec<Value>, DialectError> {
    let status = response.get("status").and_then(Value::as_str);
    if !matches!(status, Some("completed" | "incomplete")) {
        return Err(DialectError::at(
            "previous_response_id",
            "this response has not come to an end of its own; wait for it, or go on from the one before it",
        ));
    }
    let output = response.get("output").and_then(Value::as_array);
    let items = input.iter().chain(output.into_iter().flatten());
    Ok(items.filter_map(again).collect())
}

/// Whether a turn holds a thought that nobody can be told again: it came without what is encrypted of it.
pub fn loses_thoughts(items: &[Value]) -> bool {
    let lost = |item: &Value| kind(item) == "reasoning" && again(item).is_none();
    items.iter().any(lost)
}

/// The model that this response tells a thought of.
pub fn thinker(response: &Value) -> Option<&str> {
    let output = response.get("output").and_then(Value::as_array)?;
    let thought = output.iter().any(|item| kind(item) == "reasoning");
    let model = response.get("model").and_then(Value::as_str);
    model.filter(|model| thought && !model.is_empty())
}

/// All items that made a response, oldest first: `turns` are input and output, the last without its output.
pub fn used_items(turns: Vec<(Vec<Value>, Option<Value>)>) -> Vec<Value> {
    let mut items = Vec::new();
    for (input, response) in turns {
        items.extend(input);
        if let Some(Value::Array(output)) = response.and_then(|mut whole| {
            let output = whole.get_mut("output")?;
            Some(output.take())
        }) {
            items.extend(output);
        }
    }
    items
}

/// An item as it is told again; `None` for what cannot be.
pub(super) fn again(item: &Value) -> Option<Value> {
    let mut item = item.clone();
    match kind(&item) {
        // Ids are looked up by who gave them, and whoever is asked now need not be the one.
        "message" | "function_call" | "function_call_output" => {
            let fields = item.as_object_mut()?;
            fields.remove("id");
            fields.remove("status");
        }
        // Its text alone is no thought: only what is encrypted can be given back.
        "reasoning" => {
            item.get("encrypted_content").and_then(Value::as_str)?;
            item.as_object_mut()?.remove("status");
        }
        // Traces of what a provider's own tools did; what came of it is in the message.
        "web_search_call" | "file_search_call" | "code_interpreter_call" => return None,
        _ => {}
    }
    Some(item)
}
