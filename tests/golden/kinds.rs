//! That there is a case of every kind, in every dialect.

use std::fs;

use serde_json::Value;
use switchyard::dialects::{decode_answer, decode_request as decode_dialect};
use switchyard::domain::Dialect;

use super::cases::{CLIENTS, PROVIDERS, cases, stream_file};

/// A kind of case, and what tells one.
type Kind = (&'static str, fn(&Value) -> bool);

/// What there is a case of, by the canonical answer it becomes.
const TOPICS: [Kind; 9] = [
    ("plain", |answer| {
        answer["stop"] == "end"
            && answer["parts"]
                .as_array()
                .is_some_and(|parts| parts.len() == 1)
    }),
    ("tools", |answer| calls(answer) >= 1),
    ("parallel tools", |answer| calls(answer) >= 2),
    ("length", |answer| answer["stop"] == "length"),
    ("stop sequence", |answer| answer["stop"] == "stop_sequence"),
    ("refusal", |answer| {
        answer["stop"] == "content_filter" || has(answer, "refusal")
    }),
    ("thinking", |answer| has(answer, "thinking")),
    ("caches", |answer| {
        answer["usage"]["cached_input"].as_u64() > Some(0)
    }),
    ("citations", |answer| answer["citations"].is_array()),
];

fn calls(answer: &Value) -> usize {
    let parts = answer["parts"].as_array();
    parts.map_or(0, |parts| {
        parts
            .iter()
            .filter(|part| part["type"] == "tool_call")
            .count()
    })
}

fn has(answer: &Value, kind: &str) -> bool {
    let parts = answer["parts"].as_array();
    parts.is_some_and(|parts| parts.iter().any(|part| part["type"] == kind))
}

/// What no case can be of, and why.
const NO_SUCH_ANSWER: &[(&str, &str)] = &[
    // It does not tell a sequence from an end.
    ("openai", "stop sequence"),
    ("responses", "stop sequence"),
    ("gemini", "stop sequence"),
    ("ollama", "stop sequence"),
    // It refuses nothing by a name of its own, and knows no sources.
    ("ollama", "refusal"),
    ("ollama", "citations"),
    // It counts the prompt or, where that was kept, nothing.
    ("ollama", "caches"),
];

#[test]
fn i_every_dialect_has_an_answer_of_every_kind() {
    let mut gaps = Vec::new();
    for (provider, name) in PROVIDERS {
        let mut answers = Vec::new();
        let mut failed = false;
        for case in cases(name, "answer.json") {
            let body = fs::read(case.join("answer.json")).unwrap();
            match decode_answer(provider, &body, "sy-golden") {
                Ok(answer) => answers.push(serde_json::to_value(&answer).unwrap()),
                Err(_) => failed = true,
            }
        }
        let lacks = |topic: &str, found: bool| {
            let allowed = NO_SUCH_ANSWER.contains(&(name, topic));
            assert!(!(found && allowed), "{name} has {topic} after all");
            (!found && !allowed).then(|| format!("{name}: {topic}"))
        };
        gaps.extend(lacks("error", failed));
        for (topic, is_one) in TOPICS {
            gaps.extend(lacks(topic, answers.iter().any(is_one)));
        }
    }
    assert!(gaps.is_empty(), "no answer of these kinds: {gaps:#?}");
}

/// Words that tell what a stream shows, in what an OpenAI client (or, of OpenAI's, Anthropic's) reads of it.
const STREAMED: [(&str, &[&str]); 7] = [
    ("plain", &["\"finish_reason\":\"stop\"", "\"end_turn\""]),
    (
        "tools",
        &[
            "\"finish_reason\":\"tool_calls\"",
            "\"stop_reason\":\"tool_use\"",
        ],
    ),
    (
        "length",
        &["\"finish_reason\":\"length\"", "\"max_tokens\""],
    ),
    (
        "refusal",
        &[
            "\"finish_reason\":\"content_filter\"",
            "\"refusal\":\"",
            "\"stop_reason\":\"refusal\"",
        ],
    ),
    ("thinking", &["\"reasoning_content\":", "thinking_delta"]),
    ("error", &["ended Err(Reported"]),
    ("cut", &["ended Err(Truncated"]),
];

const NO_SUCH_STREAM: &[(&str, &str)] = &[("ollama", "refusal")];

#[test]
fn i_every_dialect_has_a_stream_of_every_kind() {
    let mut gaps = Vec::new();
    for (provider, name) in PROVIDERS {
        let other = if provider == Dialect::Openai {
            "anthropic.sse"
        } else {
            "openai.sse"
        };
        let seen: Vec<String> = cases(name, stream_file(provider))
            .iter()
            .map(|case| fs::read_to_string(case.join(other)).unwrap_or_default())
            .collect();
        for (topic, words) in STREAMED {
            let found = seen
                .iter()
                .any(|seen| words.iter().any(|word| seen.contains(word)));
            if !found && !NO_SUCH_STREAM.contains(&(name, topic)) {
                gaps.push(format!("{name}: {topic}"));
            }
        }
    }
    assert!(gaps.is_empty(), "no stream of these kinds: {gaps:#?}");
}

/// What a request can hold, by the canonical chat it becomes.
const ASKED: [Kind; 10] = [
    ("system", |chat| roles(chat).contains(&"system")),
    ("multi-turn", |chat| {
        roles(chat).iter().filter(|role| **role == "user").count() > 1
            && roles(chat).contains(&"assistant")
    }),
    ("parallel tools", |chat| {
        chat["messages"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| calls(one) > 1))
    }),
    ("tool results", |chat| holds(chat, "tool_result")),
    ("structured output", |chat| {
        chat["output_format"]["schema"].is_object()
    }),
    ("stop and limit", |chat| {
        chat["stop"].is_array() && chat["max_output"].is_u64()
    }),
    ("image", |chat| holds(chat, "image")),
    ("document", |chat| holds(chat, "document")),
    ("thinking", |chat| holds(chat, "thinking")),
    ("how much to think", |chat| {
        !chat["reasoning_effort"].is_null() || !chat["reasoning_budget"].is_null()
    }),
];

/// It has no stop sequences.
const NO_SUCH_REQUEST: &[(&str, &str)] = &[("responses", "stop and limit")];

fn roles(chat: &Value) -> Vec<&str> {
    let messages = chat["messages"].as_array().into_iter().flatten();
    messages
        .filter_map(|message| message["role"].as_str())
        .collect()
}

fn holds(chat: &Value, kind: &str) -> bool {
    let messages = chat["messages"].as_array().into_iter().flatten();
    messages.into_iter().any(|message| has(message, kind))
}

#[test]
fn i_every_client_s_dialect_has_a_request_of_every_kind() {
    let mut gaps = Vec::new();
    for (client, name) in CLIENTS {
        let chats: Vec<Value> = cases(name, "request.json")
            .iter()
            .filter_map(|case| {
                decode_dialect(client, &fs::read(case.join("request.json")).unwrap()).ok()
            })
            .map(|chat| serde_json::to_value(&chat).unwrap())
            .collect();
        for (topic, is_one) in ASKED {
            let found = chats.iter().any(is_one);
            if !found && !NO_SUCH_REQUEST.contains(&(name, topic)) {
                gaps.push(format!("{name}: {topic}"));
            }
        }
    }
    assert!(gaps.is_empty(), "no request of these kinds: {gaps:#?}");
}
