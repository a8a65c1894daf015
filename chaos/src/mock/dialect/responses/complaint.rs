//! What the real provider refuses.

use serde_json::Value;

use super::super::super::asked::Asked;
use super::super::super::wish::{list, text};

/// Members of chat completions that a translation must not leave in.
const FOREIGN: [&str; 13] = [
    "messages",
    "n",
    "stop",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "reasoning_effort",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "functions",
];

/// The least `max_output_tokens`.
const LEAST_OUTPUT: u64 = 16;

pub(in super::super) fn complaint(asked: &Asked) -> Option<String> {
    let Some(request) = asked.json.as_object() else {
        return Some("the request body is not a JSON object".to_owned());
    };
    if asked.model().is_none() {
        return Some("Missing required parameter: 'model'.".to_owned());
    }
    if let Some(foreign) = FOREIGN.iter().find(|name| request.contains_key(**name)) {
        return Some(format!("Unknown parameter: '{foreign}'."));
    }
    if let Some(limit) = request
        .get("max_output_tokens")
        .filter(|limit| !limit.is_null())
        && limit.as_u64().is_none_or(|limit| limit < LEAST_OUTPUT)
    {
        return Some(format!(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {LEAST_OUTPUT}."
        ));
    }
    let nameless = list(&asked.json, "/tools")
        .iter()
        .position(|tool| text(tool, "/type") == "function" && text(tool, "/name").is_empty());
    if let Some(at) = nameless {
        return Some(format!("Missing required parameter: 'tools[{at}].name'."));
    }
    match request.get("input") {
        Some(Value::String(said)) if !said.is_empty() => None,
        Some(Value::Array(items)) if !items.is_empty() => {
            wrong_item(items).or_else(|| unpaired(items))
        }
        Some(_) => {
            Some("Invalid type for 'input': expected a string or an array of items.".to_owned())
        }
        None => Some("Missing required parameter: 'input'.".to_owned()),
    }
}

fn wrong_item(items: &[Value]) -> Option<String> {
    items.iter().enumerate().find_map(|(at, item)| {
        let (kind, role) = (text(item, "/type"), text(item, "/role"));
        if !matches!(kind, "" | "message") {
            return None;
        }
        if !matches!(role, "user" | "assistant" | "system" | "developer") {
            return Some(format!("Invalid value: '{role}' for 'input[{at}].role'."));
        }
        let parts = match item.get("content") {
            Some(Value::String(_)) => return None,
            Some(Value::Array(parts)) => parts,
            Some(_) | None => {
                return Some(format!(
                    "Missing required parameter: 'input[{at}].content'."
                ));
            }
        };
        let fits = |part: &Value| match text(part, "/type") {
            "output_text" | "refusal" => role == "assistant",
            "input_text" | "input_image" | "input_file" | "input_audio" => role != "assistant",
            _ => false,
        };
        let wrong = parts.iter().position(|part| !fits(part))?;
        Some(format!(
            "Invalid value for 'input[{at}].content[{wrong}].type'."
        ))
    })
}

/// Every call has its output behind it, every output its call before it.
fn unpaired(items: &[Value]) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for item in items {
        let id = text(item, "/call_id");
        match text(item, "/type") {
            "function_call" => open.push(id),
            "function_call_output" => {
                let before = open.len();
                open.retain(|known| *known != id);
                if open.len() == before {
                    return Some(format!(
                        "No tool call found for function call output with call_id {id}."
                    ));
                }
            }
            _ => {}
        }
    }
    let missing = open.first()?;
    Some(format!("No tool output found for function call {missing}."))
}
