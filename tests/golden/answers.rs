//! Whole answers, decoded and told to every client.

use std::fs;

use serde_json::{Value, json};
use switchyard::dialects::{decode_answer, decode_request, encode_answer};
use switchyard::domain::chat::{Part, Signature};
use switchyard::domain::{ClientDialect, Dialect};

use super::cases::{CLIENTS, PROVIDERS, cases, indented, other_clients, pretty, same, terms};

#[test]
fn answers_decode_and_cross_to_every_client() {
    for (provider, name) in PROVIDERS {
        for case in cases(name, "answer.json") {
            let body = fs::read(case.join("answer.json")).unwrap();
            let answer = match decode_answer(provider, &body, "sy-golden") {
                Ok(answer) => answer,
                Err(fault) => {
                    same(&case, "fault.txt", &format!("{fault:#?}\n"));
                    continue;
                }
            };
            same(
                &case,
                "domain.json",
                &pretty(&serde_json::to_value(&answer).unwrap()),
            );
            for (client, name) in other_clients(provider) {
                let encoded = encode_answer(client, &answer, &terms());
                same(&case, &format!("{name}.json"), &indented(&encoded));
            }
        }
    }
}

/// A whole answer sent back as the client's form has it, as the last but one thing that was said.
fn sent_back(client: ClientDialect, answer: &[u8]) -> Value {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let said = |own: Value| {
        let asked = |text: &str| json!({"role": "user", "content": text});
        json!({"model": "m", "max_tokens": 9, "messages": [asked("a"), own, asked("b")]})
    };
    match client {
        ClientDialect::Openai => said(answer["choices"][0]["message"].clone()),
        ClientDialect::Anthropic => {
            said(json!({"role": "assistant", "content": answer["content"]}))
        }
        ClientDialect::Responses => json!({"model": "m", "input": answer["output"]}),
        ClientDialect::Gemini => json!({"contents": [
            {"role": "user", "parts": [{"text": "a"}]}, answer["candidates"][0]["content"],
        ]}),
    }
}

#[test]
fn d3_a_redacted_thought_comes_back_as_what_it_was_through_every_client() {
    let said = json!({"id": "x", "model": "m", "role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "RED"},
        {"type": "text", "text": "hi"},
    ], "stop_reason": "end_turn", "usage": {}});
    let answer = decode_answer(Dialect::Anthropic, said.to_string().as_bytes(), "sy-1").unwrap();
    for (client, name) in CLIENTS {
        let told = encode_answer(client, &answer, &terms());
        let back = sent_back(client, &told).to_string();
        let back = decode_request(client, back.as_bytes()).unwrap();
        let parts: Vec<&Part> = back.messages.iter().flat_map(|one| &one.parts).collect();
        let data = Signature::new(Dialect::Anthropic, "RED");
        let redacted = Part::RedactedThinking { data };
        assert!(parts.contains(&&redacted), "{name}: {parts:?}");
        let signed = |part: &&&Part| matches!(part, Part::Thinking { signature: Some(own), .. } if own.data == "SIG");
        assert_eq!(parts.iter().filter(signed).count(), 1, "{name}: {parts:?}");
    }
}
