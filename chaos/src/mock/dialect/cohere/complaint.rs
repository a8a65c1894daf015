//! What the real provider refuses.

use serde_json::Value;

use super::super::super::asked::Asked;
use super::super::super::wish::{list, text};

/// All that a request may hold; what chat completions have besides is refused.
const MEMBERS: [&str; 23] = [
    "model",
    "messages",
    "stream",
    "tools",
    "tool_choice",
    "strict_tools",
    "documents",
    "citation_options",
    "response_format",
    "safety_mode",
    "max_tokens",
    "stop_sequences",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
    "logprobs",
    "thinking",
    "priority",
    "raw_prompting",
    "return_prompt",
];

/// The most stop sequences.
const MOST_STOPS: usize = 5;

pub(in super::super) fn complaint(asked: &Asked) -> Option<String> {
    let Some(request) = asked.json.as_object() else {
        return Some("invalid request: the body is not a JSON object".to_owned());
    };
    if asked.model().is_none_or(str::is_empty) {
        return Some("invalid request: model is required".to_owned());
    }
    if let Some(foreign) = request
        .keys()
        .find(|name| !MEMBERS.contains(&name.as_str()))
    {
        return Some(format!("invalid request: unknown field: {foreign}"));
    }
    let messages = list(&asked.json, "/messages");
    if messages.is_empty() {
        return Some("invalid request: messages must have at least one element".to_owned());
    }
    if list(&asked.json, "/stop_sequences").len() > MOST_STOPS {
        return Some(format!(
            "invalid request: stop_sequences has more than {MOST_STOPS} elements"
        ));
    }
    let chosen = asked
        .json
        .get("tool_choice")
        .filter(|chosen| !chosen.is_null());
    if chosen.is_some_and(|chosen| !matches!(chosen.as_str(), Some("REQUIRED" | "NONE"))) {
        return Some("invalid request: tool_choice must be REQUIRED or NONE".to_owned());
    }
    messages
        .iter()
        .find_map(wrong_message)
        .or_else(|| unanswered(messages))
}

fn wrong_message(message: &Value) -> Option<String> {
    let role = text(message, "/role");
    let content = message.get("content").filter(|content| !content.is_null());
    let called = !list(message, "/tool_calls").is_empty();
    match role {
        "user" | "system" | "tool" if content.is_none() => Some(format!(
            "invalid request: a message of role {role} has no content"
        )),
        "assistant" if content.is_none() && !called => Some(
            "invalid request: an assistant message has neither content nor tool calls".to_owned(),
        ),
        "user" | "system" | "tool" | "assistant" => None,
        _ => Some(format!("invalid request: unknown role: {role}")),
    }
}

/// Every call is answered before anyone speaks again, and nothing else is.
fn unanswered(messages: &[Value]) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if text(message, "/role") == "tool" {
            let id = text(message, "/tool_call_id");
            let before = open.len();
            open.retain(|known| *known != id);
            if open.len() == before {
                return Some(format!("invalid request: no tool call has the id {id}"));
            }
            continue;
        }
        if !open.is_empty() {
            break;
        }
        open.extend(
            list(message, "/tool_calls")
                .iter()
                .map(|call| text(call, "/id")),
        );
    }
    let missing = open.first()?;
    Some(format!(
        "invalid request: the tool call {missing} has no result"
    ))
}
