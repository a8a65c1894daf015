//! Where in the client's own request a picture, document or sound stands: errors name it as the client wrote it.
//!
//! Decoders keep the order, so the third of the canonical chat is the third of the request.

use serde_json::Value;

use super::json::exact;
use crate::domain::ClientDialect;

/// All of them, in order.
fn places(client: ClientDialect, request: &Value) -> Vec<String> {
    let root = root(client);
    let mut found = Vec::new();
    if let Some(turns) = request.get(root) {
        walk(client, turns, root.to_owned(), &mut found);
    }
    found
}

fn root(client: ClientDialect) -> &'static str {
    match client {
        ClientDialect::Openai | ClientDialect::Anthropic => "messages",
        ClientDialect::Responses => "input",
        ClientDialect::Gemini => "contents",
    }
}

/// What was read before nests no deeper than the scan of the body lets through.
fn walk(client: ClientDialect, value: &Value, place: String, found: &mut Vec<String>) {
    if let Some(list) = value.as_array() {
        for (index, one) in list.iter().enumerate() {
            walk(client, one, format!("{place}[{index}]"), found);
        }
    } else if is_media(client, value) {
        found.push(place);
    } else {
        // Where parts stand: of a message, of a tool's result, of a turn.
        for name in ["content", "output", "parts"] {
            let inner = value.get(name).filter(|inner| inner.is_array());
            if let Some(inner) = inner {
                walk(client, inner, format!("{place}.{name}"), found);
            }
        }
    }
}

fn is_media(client: ClientDialect, value: &Value) -> bool {
    let kinds: &[&str] = match client {
        ClientDialect::Openai => &["image_url", "input_audio", "file"],
        ClientDialect::Anthropic => &["image", "document"],
        ClientDialect::Responses => &["input_image", "input_file", "input_audio"],
        ClientDialect::Gemini => {
            let holds = |name: &&str| value.get(*name).is_some();
            return ["inlineData", "inline_data", "fileData", "file_data"]
                .iter()
                .any(holds);
        }
    };
    let kind = value.get("type").and_then(Value::as_str);
    kind.is_some_and(|kind| kinds.contains(&kind))
}

/// The place of one of so many; without certainty, of all of them.
pub(super) fn place_of(client: ClientDialect, body: &[u8], (number, of): (usize, usize)) -> String {
    let request = exact::read(body).unwrap_or_default();
    let all = places(client, &request);
    match all.get(number).filter(|_| all.len() == of) {
        Some(place) => place.clone(),
        None => root(client).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn g_each_client_is_told_its_own_place() {
        let openai = json!({"messages": [
            {"role": "user", "content": "image_url"},
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {}}]},
            {"role": "tool", "content": [{"type": "file", "file": {}}]},
        ]});
        let expected = ["messages[1].content[1]", "messages[2].content[0]"];
        assert_eq!(places(ClientDialect::Openai, &openai), expected);
        let anthropic = json!({"system": "s", "messages": [{"role": "user", "content": [
            {"type": "tool_result", "content": [{"type": "image", "source": {}}]}, {"type": "document"},
        ]}]});
        let expected = [
            "messages[0].content[0].content[0]",
            "messages[0].content[1]",
        ];
        assert_eq!(places(ClientDialect::Anthropic, &anthropic), expected);
        let responses = json!({"input": [
            {"role": "user", "content": [{"type": "input_image"}]},
            {"type": "function_call_output", "output": [{"type": "input_file"}]},
        ]});
        let expected = ["input[0].content[0]", "input[1].output[0]"];
        assert_eq!(places(ClientDialect::Responses, &responses), expected);
        let gemini = json!({"contents": [{"parts": [{"text": "x"}, {"inlineData": {}}]}]});
        let expected = ["contents[0].parts[1]"];
        assert_eq!(places(ClientDialect::Gemini, &gemini), expected);
    }

    #[test]
    fn g_where_the_counts_differ_no_place_is_made_up() {
        let body = br#"{"messages":[{"content":[{"type":"image_url"}]}]}"#;
        let told = |number, of| place_of(ClientDialect::Openai, body, (number, of));
        assert_eq!(told(0, 1), "messages[0].content[0]");
        assert_eq!(told(1, 2), "messages");
    }
}
