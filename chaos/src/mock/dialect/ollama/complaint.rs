//! What the real server refuses: it reads into fixed types, so a wrong type is a wrong request.

use serde_json::Value;

use super::super::super::asked::Asked;
use super::super::super::wish::{list, text};

pub(in super::super) fn complaint(asked: &Asked) -> Option<String> {
    let Some(request) = asked.json.as_object() else {
        return Some("json: cannot unmarshal the body into a chat request".to_owned());
    };
    if asked.model().is_none_or(str::is_empty) {
        return Some("model is required".to_owned());
    }
    if request.contains_key("tool_choice") {
        // The real one does not know it, and requests with it have been seen to hang.
        return Some("unknown field tool_choice".to_owned());
    }
    let messages = list(&asked.json, "/messages");
    if messages.is_empty() {
        // The real one loads the model and says nothing; nobody who wants an answer means that.
        return Some("messages is required".to_owned());
    }
    messages.iter().enumerate().find_map(wrong_message)
}

fn wrong_message((at, message): (usize, &Value)) -> Option<String> {
    let role = text(message, "/role");
    if !matches!(role, "system" | "user" | "assistant" | "tool") {
        return Some(format!(
            "invalid role: {role:?}, must be one of system, user, assistant or tool"
        ));
    }
    let content = message.get("content");
    if content.is_some_and(|content| !content.is_string()) {
        return Some(format!(
            "json: cannot unmarshal messages[{at}].content into Go struct field ChatRequest.messages.content of type string"
        ));
    }
    let images = list(message, "/images").iter();
    let mut bare = images.map(|image| image.as_str().unwrap_or_default());
    if bare.any(|image| image.is_empty() || image.contains(':')) {
        return Some("illegal base64 data at input byte 4".to_owned());
    }
    let calls = list(message, "/tool_calls").iter();
    let mut arguments = calls.map(|call| call.pointer("/function/arguments"));
    arguments
        .any(|arguments| arguments.is_some_and(|arguments| !arguments.is_object()))
        .then(|| "json: cannot unmarshal string into Go struct field .messages.tool_calls.function.arguments of type map".to_owned())
}
