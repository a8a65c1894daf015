//! What the real provider refuses.

use serde_json::Value;

use super::super::super::asked::Asked;
use super::super::super::wish::{list, text};
use super::member;

/// What a request may hold, in camel case; the parser refuses any other name.
const MEMBERS: [&str; 10] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "model",
    "store",
];

/// One of these makes a part.
const PARTS: [&str; 7] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
];

pub(in super::super) fn complaint(asked: &Asked) -> Option<String> {
    let Some(request) = asked.json.as_object() else {
        return Some("Invalid JSON payload received.".to_owned());
    };
    let unknown = request
        .keys()
        .find(|name| !MEMBERS.contains(&camel(name).as_str()));
    if let Some(unknown) = unknown {
        return Some(format!(
            "Invalid JSON payload received. Unknown name \"{unknown}\": Cannot find field."
        ));
    }
    let contents = list(&asked.json, "/contents");
    if contents.is_empty() {
        return Some("* GenerateContentRequest.contents: contents is not specified".to_owned());
    }
    if let Some(config) = member(&asked.json, "generationConfig", "generation_config")
        && let Some(limit) = member(config, "maxOutputTokens", "max_output_tokens")
        && limit.as_i64().is_none_or(|limit| limit <= 0)
    {
        return Some("max_output_tokens must be positive.".to_owned());
    }
    contents
        .iter()
        .enumerate()
        .find_map(wrong_content)
        .or_else(|| unanswered(contents))
}

/// `generation_config` as `generationConfig`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

fn wrong_content((at, content): (usize, &Value)) -> Option<String> {
    let role = text(content, "/role");
    if !matches!(role, "" | "user" | "model" | "function") {
        return Some(format!(
            "Please use a valid role: user, model. (contents[{at}] has \"{role}\")"
        ));
    }
    let parts = list(content, "/parts");
    if parts.is_empty() {
        return Some(format!(
            "* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty."
        ));
    }
    let empty = parts.iter().position(|part| {
        let members = part.as_object();
        members.is_none_or(|members| {
            !members
                .keys()
                .any(|name| PARTS.contains(&camel(name).as_str()))
        })
    });
    empty.map(|part| {
        format!("* GenerateContentRequest.contents[{at}].parts[{part}].data: required oneof field 'data' must have one initialized field")
    })
}

/// A turn of calls is answered by as many results in the next.
fn unanswered(contents: &[Value]) -> Option<String> {
    let count = |content: &Value, camel, snake| {
        let parts = list(content, "/parts").iter();
        parts
            .filter(|part| member(part, camel, snake).is_some())
            .count()
    };
    let behind = contents.iter().skip(1).map(Some).chain([None]);
    contents.iter().zip(behind).find_map(|(content, next)| {
        let calls = count(content, "functionCall", "function_call");
        let results = next.map_or(0, |next| count(next, "functionResponse", "function_response"));
        (calls > 0 && calls != results).then(|| {
            "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.".to_owned()
        })
    })
}
