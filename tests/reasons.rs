//! Why an answer ended, for every provider's word and every client's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate")]

use serde_json::{Value, json};
use switchyard::dialects::{AnswerTerms, decode_answer, encode_answer};
use switchyard::domain::{ClientDialect, Dialect};

/// A whole answer of a few words that ends so; `calls` where it ends in a call instead.
#[expect(clippy::too_many_lines, reason = "one answer a dialect")]
fn answer(dialect: Dialect, reason: &str, calls: bool) -> Value {
    match dialect {
        Dialect::Openai => {
            let call = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
            let message = if calls {
                json!({"content": null, "tool_calls": call})
            } else {
                json!({"content": "hi"})
            };
            json!({"id": "x", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": reason}]})
        }
        Dialect::Anthropic => {
            let block = if calls {
                json!({"type": "tool_use", "id": "c", "name": "f", "input": {}})
            } else {
                json!({"type": "text", "text": "hi"})
            };
            json!({"id": "x", "model": "m", "content": [block], "stop_reason": reason, "usage": {}})
        }
        Dialect::Responses => {
            let (status, why) = reason
                .split_once(':')
                .map_or((reason, Value::Null), |(status, why)| {
                    (status, json!({"reason": why}))
                });
            let item = if calls {
                json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"})
            } else {
                json!({"type": "message", "content": [{"type": "output_text", "text": "hi"}]})
            };
            json!({"id": "x", "model": "m", "status": status, "incomplete_details": why, "output": [item]})
        }
        Dialect::Gemini => {
            let part = if calls {
                json!({"functionCall": {"name": "f", "args": {}}})
            } else {
                json!({"text": "hi"})
            };
            json!({"candidates": [{"content": {"parts": [part]}, "finishReason": reason}]})
        }
        Dialect::Ollama => {
            let call = json!([{"function": {"name": "f", "arguments": {}}}]);
            let message = if calls {
                json!({"content": "", "tool_calls": call})
            } else {
                json!({"content": "hi"})
            };
            json!({"model": "m", "message": message, "done": true, "done_reason": reason})
        }
        Dialect::Cohere => {
            let call = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
            let message = if calls {
                json!({"tool_calls": call})
            } else {
                json!({"content": [{"type": "text", "text": "hi"}]})
            };
            json!({"id": "x", "finish_reason": reason, "message": message})
        }
        Dialect::Bedrock => {
            let block = if calls {
                json!({"toolUse": {"toolUseId": "c", "name": "f", "input": {}}})
            } else {
                json!({"text": "hi"})
            };
            json!({"output": {"message": {"content": [block]}}, "stopReason": reason})
        }
    }
}

/// A row: the words of a provider that mean one thing, and what each client reads: OpenAI's chat, Anthropic's
/// messages, OpenAI's responses, Google's.
type Row = (Dialect, &'static [&'static str], bool, [&'static str; 4]);

const END: [&str; 4] = ["stop", "end_turn", "completed", "STOP"];
const SEQUENCE: [&str; 4] = ["stop", "stop_sequence", "completed", "STOP"];
const PAUSED: [&str; 4] = ["stop", "pause_turn", "completed", "STOP"];
const LENGTH: [&str; 4] = [
    "length",
    "max_tokens",
    "incomplete:max_output_tokens",
    "MAX_TOKENS",
];
const CALLS: [&str; 4] = ["tool_calls", "tool_use", "completed", "STOP"];
const FILTER: [&str; 4] = [
    "content_filter",
    "refusal",
    "incomplete:content_filter",
    "SAFETY",
];

const ROWS: [Row; 25] = [
    // What copies of the form call an end has no end.
    (Dialect::Openai, &["stop", "eos", "COMPLETE"], false, END),
    (
        Dialect::Openai,
        &["length", "model_length", "max_tokens"],
        false,
        LENGTH,
    ),
    (
        Dialect::Openai,
        &["content_filter", "sensitive"],
        false,
        FILTER,
    ),
    (
        Dialect::Openai,
        &["tool_calls", "function_call", "stop"],
        true,
        CALLS,
    ),
    (Dialect::Anthropic, &["end_turn"], false, END),
    (Dialect::Anthropic, &["stop_sequence"], false, SEQUENCE),
    (
        Dialect::Anthropic,
        &["max_tokens", "model_context_window_exceeded"],
        false,
        LENGTH,
    ),
    (Dialect::Anthropic, &["refusal"], false, FILTER),
    (Dialect::Anthropic, &["pause_turn"], false, PAUSED),
    (Dialect::Anthropic, &["tool_use"], true, CALLS),
    (Dialect::Responses, &["completed"], false, END),
    (
        Dialect::Responses,
        &["incomplete:max_output_tokens"],
        false,
        LENGTH,
    ),
    (
        Dialect::Responses,
        &["incomplete:content_filter"],
        false,
        FILTER,
    ),
    (Dialect::Responses, &["completed"], true, CALLS),
    (Dialect::Gemini, &["STOP"], false, END),
    (Dialect::Gemini, &["MAX_TOKENS"], false, LENGTH),
    (
        Dialect::Gemini,
        &[
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "MODEL_ARMOR",
        ],
        false,
        FILTER,
    ),
    (Dialect::Gemini, &["STOP"], true, CALLS),
    (Dialect::Ollama, &["stop"], false, END),
    (Dialect::Ollama, &["length"], false, LENGTH),
    (Dialect::Ollama, &["stop"], true, CALLS),
    (Dialect::Cohere, &["COMPLETE"], false, END),
    (Dialect::Cohere, &["MAX_TOKENS"], false, LENGTH),
    (
        Dialect::Bedrock,
        &["max_tokens", "model_context_window_exceeded"],
        false,
        LENGTH,
    ),
    (
        Dialect::Bedrock,
        &["guardrail_intervened", "content_filtered"],
        false,
        FILTER,
    ),
];

const MORE: [Row; 7] = [
    (Dialect::Cohere, &["STOP_SEQUENCE"], false, SEQUENCE),
    (Dialect::Cohere, &["ERROR_TOXIC"], false, FILTER),
    (Dialect::Cohere, &["TOOL_CALL"], true, CALLS),
    (Dialect::Bedrock, &["end_turn"], false, END),
    (Dialect::Bedrock, &["stop_sequence"], false, SEQUENCE),
    (Dialect::Bedrock, &["tool_use"], true, CALLS),
    (Dialect::Ollama, &["unload"], false, END),
];

/// Words that are no end: nobody is told that there was an answer.
const FAILED: [(Dialect, &[&str]); 5] = [
    (
        Dialect::Openai,
        &[
            "error",
            "insufficient_system_resource",
            "abort",
            "aborted",
            "network_error",
        ],
    ),
    (
        Dialect::Responses,
        &["failed", "in_progress", "queued", "cancelled"],
    ),
    (
        Dialect::Gemini,
        &[
            "OTHER",
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "MALFORMED_RESPONSE",
            "MISSING_THOUGHT_SIGNATURE",
            "NO_IMAGE",
            "FINISH_REASON_UNSPECIFIED",
        ],
    ),
    (Dialect::Cohere, &["ERROR", "TIMEOUT", "ERROR_LIMIT", ""]),
    (
        Dialect::Bedrock,
        &["malformed_model_output", "malformed_tool_use", ""],
    ),
];

fn told(client: ClientDialect, body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap();
    let text = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match client {
        ClientDialect::Openai => text("/choices/0/finish_reason"),
        ClientDialect::Anthropic => text("/stop_reason"),
        ClientDialect::Gemini => text("/candidates/0/finishReason"),
        ClientDialect::Responses => match text("/incomplete_details/reason").as_str() {
            "" => text("/status"),
            why => format!("{}:{why}", text("/status")),
        },
    }
}

#[test]
fn f_every_word_for_an_end_is_every_client_s_own_word_for_it() {
    for (dialect, words, calls, expected) in ROWS.into_iter().chain(MORE) {
        for word in words {
            let body = answer(dialect, word, calls).to_string();
            let answer = decode_answer(dialect, body.as_bytes(), "sy-1")
                .unwrap_or_else(|fault| panic!("{dialect:?} {word}: {fault:?}"));
            let clients = [
                ClientDialect::Openai,
                ClientDialect::Anthropic,
                ClientDialect::Responses,
                ClientDialect::Gemini,
            ];
            for (client, expected) in clients.into_iter().zip(expected) {
                let said = encode_answer(client, &answer, &AnswerTerms::default());
                assert_eq!(
                    told(client, &said),
                    expected,
                    "{dialect:?} {word} to {client:?}"
                );
            }
        }
    }
}

#[test]
fn f_what_is_no_end_is_no_answer() {
    for (dialect, words) in FAILED {
        for word in words {
            let body = answer(dialect, word, false).to_string();
            assert!(
                decode_answer(dialect, body.as_bytes(), "sy-1").is_err(),
                "{dialect:?} {word}"
            );
        }
    }
}
