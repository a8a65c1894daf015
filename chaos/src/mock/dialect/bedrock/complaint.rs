//! What the real provider refuses.

use serde_json::Value;

use super::super::super::asked::Asked;
use super::super::super::wish::{list, text};

/// A block is a union: exactly one of these.
const BLOCKS: [&str; 12] = [
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "reasoningContent",
    "cachePoint",
    "citationsContent",
    "guardContent",
    "searchResult",
];

/// All that `inferenceConfig` may hold.
const SETTINGS: [&str; 4] = ["maxTokens", "temperature", "topP", "stopSequences"];

pub(in super::super) fn complaint(asked: &Asked) -> Option<String> {
    if !asked.json.is_object() {
        return Some("The request body is not a JSON object.".to_owned());
    }
    if asked.model().is_none() {
        return Some("The provided model identifier is invalid.".to_owned());
    }
    let messages = list(&asked.json, "/messages");
    let Some(first) = messages.first() else {
        return Some("A conversation must contain at least one message.".to_owned());
    };
    if text(first, "/role") != "user" {
        return Some("A conversation must start with a user message.".to_owned());
    }
    settings(&asked.json)
        .or_else(|| system(&asked.json))
        .or_else(|| messages.iter().enumerate().find_map(wrong_message))
        .or_else(|| turns(messages))
        .or_else(|| tools(&asked.json, messages))
        .or_else(|| unanswered(messages))
}

fn settings(request: &Value) -> Option<String> {
    let config = request.get("inferenceConfig")?;
    let foreign = config
        .as_object()?
        .keys()
        .find(|name| !SETTINGS.contains(&name.as_str()));
    if let Some(foreign) = foreign {
        return Some(format!(
            "inferenceConfig: extraneous key [{foreign}] is not permitted"
        ));
    }
    let limit = config.get("maxTokens")?;
    limit
        .as_u64()
        .is_none_or(|limit| limit == 0)
        .then(|| "Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must be an integer greater than or equal to 1".to_owned())
}

fn system(request: &Value) -> Option<String> {
    let system = request.get("system")?;
    let Some(blocks) = system.as_array() else {
        return Some("system: expected a list of blocks".to_owned());
    };
    let blank = |block: &&Value| {
        block
            .get("text")
            .and_then(Value::as_str)
            .is_some_and(|said| said.trim().is_empty())
    };
    blocks
        .iter()
        .find(blank)
        .map(|_| "The text field in the system block is blank.".to_owned())
}

fn wrong_message((at, message): (usize, &Value)) -> Option<String> {
    let role = text(message, "/role");
    if !matches!(role, "user" | "assistant") {
        return Some(format!(
            "Value '{role}' at 'messages.{at}.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant]"
        ));
    }
    let Some(blocks) = message.get("content").and_then(Value::as_array) else {
        return Some(format!("messages.{at}.content: expected a list of blocks"));
    };
    if blocks.is_empty() {
        return Some(format!(
            "The content field in the Message object at messages.{at} is empty."
        ));
    }
    blocks.iter().enumerate().find_map(|(place, block)| {
        let keys: Vec<&str> = block.as_object()?.keys().map(String::as_str).collect();
        if keys.len() != 1 || !keys.iter().all(|key| BLOCKS.contains(key)) {
            return Some(format!("messages.{at}.content.{place}: exactly one known member must be set"));
        }
        let blank = block.get("text").is_some_and(|said| {
            said.as_str().is_none_or(|said| said.trim().is_empty())
        });
        blank.then(|| {
            format!("The text field in the ContentBlock object at messages.{at}.content.{place} is blank. Add text to the text field, and try again.")
        })
    })
}

fn turns(messages: &[Value]) -> Option<String> {
    let mut pairs = messages.iter().zip(messages.iter().skip(1));
    pairs
        .any(|(one, next)| one.get("role") == next.get("role"))
        .then(|| "A conversation must alternate between user and assistant roles.".to_owned())
}

fn tools(request: &Value, messages: &[Value]) -> Option<String> {
    let tools = list(request, "/toolConfig/tools");
    let used = messages
        .iter()
        .flat_map(|message| list(message, "/content"));
    let mut used = used.filter(|block| block.get("toolUse").or(block.get("toolResult")).is_some());
    if tools.is_empty() && used.next().is_some() {
        return Some("The toolConfig field must be defined when using toolUse and toolResult content blocks.".to_owned());
    }
    if tools.is_empty() && request.get("toolConfig").is_some() {
        return Some("Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or equal to 1".to_owned());
    }
    let fits = |name: &str| {
        let letter = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'-');
        (1..=64).contains(&name.len()) && name.bytes().all(letter)
    };
    tools.iter().enumerate().find_map(|(at, tool)| {
        let spec = tool.get("toolSpec")?;
        if !fits(text(spec, "/name")) {
            return Some(format!("Value at 'toolConfig.tools.{at}.toolSpec.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"));
        }
        let schema = spec.pointer("/inputSchema/json").is_none_or(|schema| !schema.is_object());
        schema.then(|| format!("toolConfig.tools.{at}.toolSpec.inputSchema.json: expected an object"))
    })
}

/// Every use of a tool is answered in the very next message.
fn unanswered(messages: &[Value]) -> Option<String> {
    let behind = messages.iter().skip(1).map(Some).chain([None]);
    messages.iter().zip(behind).find_map(|(message, next)| {
        let results = next.map(|next| list(next, "/content")).unwrap_or_default();
        let answered = |id: &str| {
            results
                .iter()
                .any(|block| text(block, "/toolResult/toolUseId") == id)
        };
        let uses = list(message, "/content").iter();
        let mut ids =
            uses.filter_map(|block| block.pointer("/toolUse/toolUseId").and_then(Value::as_str));
        let missing = ids.find(|id| !answered(id))?;
        Some(format!(
            "Expected toolResult blocks at messages.content for the following Ids: {missing}"
        ))
    })
}
