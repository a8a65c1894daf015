//! Where text lies: in requests, in answers, in the events of a stream, in whichever client's dialect.
//!
//! # Why by what it is not
//! A part that nobody has heard of yet, or a field that only one provider knows, may hold what a person wrote.
//! So everything counts as text but what is known to be none: names of things, ids, pictures, settings.

mod events;
mod tokens;
mod walk;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use memchr::memchr;

use walk::{Met, Path, name, walk};

pub use events::{Channel, EventTexts, Finish, event_texts};
pub use tokens::token_list;
pub use walk::Unreadable;

/// What kind of text stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextKind {
    Plain,
    /// JSON in a text, as a call's arguments are.
    Json,
    /// A name for something, in which providers take letters and digits only.
    Label,
}

/// A text between its quotes, escapes and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSpan {
    pub range: Range<usize>,
    pub kind: TextKind,
}

/// Members of requests and answers that hold no words.
const SETTINGS: &[&[u8]] = &[
    b"model",
    b"models",
    b"tools",
    b"functions",
    b"tool_choice",
    b"function_call",
    b"tool_config",
    b"toolConfig",
    b"response_format",
    b"stream_options",
    b"generationConfig",
    b"generation_config",
    b"safetySettings",
    b"safety_settings",
    b"reasoning",
    b"modalities",
    b"audio",
    b"include",
    b"service_tier",
    b"thinking",
    b"output_config",
    b"mcp_servers",
    b"container",
    b"cachedContent",
    b"previous_response_id",
    b"conversation",
    b"truncation",
    b"encoding_format",
    b"logit_bias",
    b"verbosity",
    b"reasoning_effort",
    b"usage",
    b"usageMetadata",
    b"modelVersion",
    b"responseId",
    b"system_fingerprint",
    b"background",
    b"provider",
    b"plugins",
    b"route",
];
/// Members anywhere that name things, or hold what no person wrote.
const NO_TEXT: &[&[u8]] = &[
    b"type",
    b"role",
    b"id",
    b"object",
    b"tool_call_id",
    b"tool_use_id",
    b"call_id",
    b"item_id",
    b"response_id",
    b"name",
    b"signature",
    b"thought_signature",
    b"thoughtSignature",
    b"encrypted_content",
    b"media_type",
    b"mime_type",
    b"mimeType",
    b"file_id",
    b"fileUri",
    b"file_uri",
    b"status",
    b"detail",
    b"format",
    b"finish_reason",
    b"finishReason",
    b"stop_reason",
    b"model",
    b"ttl",
    b"language",
    b"task_type",
    b"input_type",
];
/// Members that hold an address or bytes, or else a text.
const BYTES: &[&[u8]] = &[
    b"data",
    b"file_data",
    b"url",
    b"image_url",
    b"file_url",
    b"uri",
    b"b64_json",
];
/// Whole branches without a word.
const BARE: &[&[u8]] = &[
    b"cache_control",
    b"logprobs",
    b"top_logprobs",
    b"stop",
    b"embedding",
];
/// Objects that a model or a tool filled: whatever their members are called, keys and values are text.
const FREE: &[&[u8]] = &[
    b"input",
    b"args",
    b"arguments",
    b"response",
    b"parsed",
    b"variables",
];
/// Members whose values name somebody for a provider.
const LABELS: &[&[u8]] = &[
    b"user",
    b"metadata",
    b"safety_identifier",
    b"prompt_cache_key",
    b"labels",
];

/// The texts of a request or of a whole answer, in order.
pub fn texts(body: &[u8]) -> Result<Vec<TextSpan>, Unreadable> {
    let mut spans = Vec::new();
    walk(body, |path, met| {
        let (range, kind) = match met {
            Met::Key(range) => (range, is_free(body, path).then_some(TextKind::Plain)),
            Met::Text(range) => {
                let kind = kind_of(body, path, &range);
                (range, kind)
            }
            Met::Scalar(_) => return,
        };
        if let Some(kind) = kind.filter(|_| !range.is_empty()) {
            spans.push(TextSpan { range, kind });
        }
    })?;
    Ok(spans)
}

/// Every key and every text of any JSON.
pub fn every_text(body: &[u8]) -> Result<Vec<TextSpan>, Unreadable> {
    let mut spans = Vec::new();
    walk(body, |_, met| match met {
        Met::Key(range) | Met::Text(range) => spans.push(TextSpan {
            range,
            kind: TextKind::Plain,
        }),
        Met::Scalar(_) => {}
    })?;
    Ok(spans)
}

/// What stands in this place; `None` for what is no text.
fn kind_of(body: &[u8], path: &Path, range: &Range<usize>) -> Option<TextKind> {
    let names = || {
        path.iter()
            .filter(|frame| frame.is_object)
            .map(|frame| name(body, frame))
    };
    let mut from_top = names();
    let top = match from_top.next() {
        // An event that tells of a whole answer.
        Some(b"response") => from_top.next(),
        top => top,
    };
    let top = top.unwrap_or_default();
    if SETTINGS.contains(&top) || names().any(|name| BARE.contains(&name)) {
        return None;
    }
    if LABELS.contains(&top) {
        return Some(TextKind::Label);
    }
    if is_free(body, path) {
        return Some(TextKind::Plain);
    }
    let own = names().next_back().unwrap_or_default();
    match own {
        b"arguments" | b"partial_json" => Some(TextKind::Json),
        // Who speaks, not which tool is called.
        b"name" if top == b"messages" && names().count() == 2 => Some(TextKind::Label),
        own if NO_TEXT.contains(&own) => None,
        own if BYTES.contains(&own) => {
            let text = body.get(range.clone()).unwrap_or_default();
            (!is_address(text) && !is_bytes(text)).then_some(TextKind::Plain)
        }
        _ => Some(TextKind::Plain),
    }
}

/// Inside an object that a model or a tool filled.
fn is_free(body: &[u8], path: &Path) -> bool {
    let mut objects = path.iter().filter(|frame| frame.is_object);
    // What a member of the request itself is called says something else: `input` is a conversation.
    let top = objects.next().map(|frame| name(body, frame));
    let inside: &[_] = path
        .get(1..path.len().saturating_sub(1))
        .unwrap_or_default();
    top.is_some_and(|top| !SETTINGS.contains(&top))
        && inside
            .iter()
            .any(|frame| frame.is_object && FREE.contains(&name(body, frame)))
}

fn is_address(text: &[u8]) -> bool {
    [&b"http:"[..], b"https:", b"data:", b"gs:", b"s3:", b"file:"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

/// Long, and of nothing but what bytes are written in.
fn is_bytes(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_\\n".contains(byte);
    text.len() >= 64 && text.iter().all(fits)
}

/// Where in the JSON this byte is, as people write it: `messages[2].content`.
pub fn place_of(body: &[u8], offset: usize) -> String {
    const LONGEST: usize = 128;
    let mut place = String::new();
    let _ = walk(body, |path, met| {
        let (Met::Key(range) | Met::Text(range) | Met::Scalar(range)) = met;
        if !place.is_empty() || offset < range.start || offset > range.end {
            return;
        }
        for frame in path {
            if frame.is_object {
                let name = String::from_utf8_lossy(name(body, frame));
                // What a model or a tool wrote is not told.
                let name = if is_known(&name) { &*name } else { "…" };
                let dot = if place.is_empty() { "" } else { "." };
                let _ = write!(place, "{dot}{name}");
            } else {
                let _ = write!(place, "[{}]", frame.item);
            }
        }
    });
    place.chars().take(LONGEST).collect()
}

/// Whether a key is a name of the protocol's, which may be told.
fn is_known(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "messages",
        "content",
        "text",
        "system",
        "input",
        "instructions",
        "contents",
        "parts",
        "systemInstruction",
        "system_instruction",
        "prompt",
        "query",
        "documents",
        "output",
        "arguments",
        "function",
        "tool_calls",
        "user",
        "metadata",
        "name",
        "reasoning_content",
        "functionCall",
        "functionResponse",
        "args",
        "response",
        "suffix",
        "prediction",
        "source",
        "data",
        "thinking",
        "refusal",
    ];
    NAMES.contains(&name)
}

/// What a text says, its escapes read. Halves of pairs become marks of something unreadable.
pub fn read_text(written: &[u8]) -> Option<Cow<'_, str>> {
    if memchr(b'\\', written).is_none() {
        return std::str::from_utf8(written).ok().map(Cow::Borrowed);
    }
    let quoted = [b"\"", written, b"\""].concat();
    serde_json::from_slice(&quoted).ok().map(Cow::Owned)
}

/// The text as it stands between quotes, on one line of a stream too.
pub fn write_text(text: &str) -> Vec<u8> {
    let quoted = super::one_line(&serde_json::Value::String(text.to_owned()));
    let inside = quoted
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inside.unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(body: &str) -> Vec<(String, TextKind)> {
        let spans = texts(body.as_bytes()).unwrap();
        spans
            .into_iter()
            .map(|span| (body[span.range].to_owned(), span.kind))
            .collect()
    }

    fn plain(words: &[&str]) -> Vec<(String, TextKind)> {
        words
            .iter()
            .map(|word| ((*word).to_owned(), TextKind::Plain))
            .collect()
    }

    #[test]
    fn every_dialects_words_are_found_and_its_settings_are_not() {
        let openai = r#"{"model":"m","user":"u","messages":[
            {"role":"system","content":"one","name":"bo"},
            {"role":"user","content":[{"type":"text","text":"two"},{"type":"image_url","image_url":{"url":"https://x/y.png"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
            {"role":"tool","tool_call_id":"c","content":"three"}],
            "tools":[{"type":"function","function":{"name":"f","description":"no text"}}],"unheard_of":{"x":"four"}}"#;
        let found = said(openai);
        assert_eq!(found[0], ("u".to_owned(), TextKind::Label));
        assert_eq!(
            found[1..3],
            [
                ("one".to_owned(), TextKind::Plain),
                ("bo".to_owned(), TextKind::Label)
            ]
        );
        assert_eq!(found[4].1, TextKind::Json);
        let words: Vec<&str> = found.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(
            words,
            ["u", "one", "bo", "two", "{\\\"a\\\":1}", "three", "four"]
        );

        let anthropic = r#"{"model":"m","system":[{"type":"text","text":"one","cache_control":{"type":"ephemeral"}}],"messages":[
            {"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"two words"}},
            {"type":"tool_use","id":"t","name":"f","input":{"name":"three","list":["four"]}},
            {"type":"tool_result","tool_use_id":"t","content":"five"},
            {"type":"thinking","thinking":"six","signature":"no"}]}]}"#;
        assert_eq!(
            said(anthropic),
            plain(&[
                "one",
                "two words",
                "name",
                "three",
                "list",
                "four",
                "five",
                "six"
            ])
        );

        let responses = r#"{"model":"m","instructions":"one","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"two"}]},
            {"type":"function_call_output","call_id":"c","output":"three"}],"text":{"format":{"type":"text"}}}"#;
        assert_eq!(said(responses), plain(&["one", "two", "three"]));
        assert_eq!(said(r#"{"input":"one"}"#), plain(&["one"]));
        assert_eq!(said(r#"{"input":["one",[1,2]]}"#), plain(&["one"]));

        let gemini = r#"{"systemInstruction":{"parts":[{"text":"one"}]},"contents":[{"role":"user","parts":[{"text":"two"},
            {"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="}},
            {"functionCall":{"name":"f","args":{"to":"three"}}},{"functionResponse":{"name":"f","response":{"result":"four"}}}]}],
            "generationConfig":{"stopSequences":["no"]}}"#;
        assert_eq!(
            said(gemini),
            plain(&["one", "two", "to", "three", "result", "four"])
        );
    }

    #[test]
    fn a_place_is_told_by_names_of_the_protocol_only() {
        let body = br#"{"messages":[{"content":"a"},{"content":[{"input":{"anna@example.com":{"x":"b"}}}]}]}"#;
        let place = |needle: &[u8]| {
            let offset = memchr::memmem::find(body, needle).unwrap();
            place_of(body, offset + 1)
        };
        assert_eq!(place(b"\"a\""), "messages[0].content");
        assert_eq!(place(b"\"b\""), "messages[1].content[0].input.….…");
    }

    #[test]
    fn texts_are_read_and_written_as_they_were() {
        for text in ["", "plain", "a\"b\\\n\u{1}é😀"] {
            assert_eq!(read_text(&write_text(text)).unwrap(), text);
        }
        assert_eq!(write_text("\u{2028}"), b"\\u2028");
        assert!(read_text(b"\\ud800").is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}") {
            for body in [&bytes[..], text.as_bytes()] {
                let _ = texts(body);
                let _ = place_of(body, body.len() / 2);
                let _ = event_texts(crate::domain::ClientDialect::Openai, body);
            }
        }
    }
}
