//! A whole answer: judged without being built, or decoded when the form has to change.

use std::borrow::Cow;

use serde_json::Value;

use super::content::{Details, Piece, cited, pieces};
use super::error::outcome_of;
use super::request::call_signature;
use super::said::{Form, read};
use crate::dialects::citations::beside;
use crate::dialects::fields::{call_arguments, tier};
use crate::dialects::logprobs;
use crate::dialects::{AnswerFacts, AnswerFault, UpstreamError};
use crate::domain::chat::{ChatAnswer, Citation, Part, StopReason};
use crate::domain::{AttemptOutcome, Usage};

const UNSAYABLE: AnswerFault = AnswerFault::Untranslatable(
    "the answer says what cannot be said in the form that was asked for",
);

/// Judges an answer that is passed on as it is (faults P13 to P16).
pub fn inspect_answer(body: &[u8]) -> Result<AnswerFacts, AnswerFault> {
    let said = read(body, Form::Answer)
        .map_err(|_| AnswerFault::Malformed("the answer is not JSON of this protocol"))?;
    if let Some(error) = &said.error {
        return Err(AnswerFault::Disguised(outcome_of(error)));
    }
    if said.choices.is_empty() {
        return Err(AnswerFault::Empty("the answer has no choices"));
    }
    let mut filtered = false;
    for choice in &said.choices {
        let finish = choice.finish.as_deref().unwrap_or_default();
        filtered |= finish == "content_filter";
        // A filter or the token limit can leave nothing; a plain end cannot.
        if choice.content == 0 && finish != "content_filter" && finish != "length" {
            return Err(AnswerFault::Empty("a choice has no content"));
        }
    }
    Ok(AnswerFacts {
        usage: said.usage,
        served_model: said.model.map(Cow::into_owned),
        filtered,
    })
}

/// Decodes an answer of one choice, for when its form has to change.
///
/// What the canonical form cannot carry is refused, because it would be lost without a word.
pub fn decode_answer(body: &[u8]) -> Result<ChatAnswer, AnswerFault> {
    let facts = inspect_answer(body)?;
    if !read(body, Form::Answer).is_ok_and(|said| said.is_carried_whole()) {
        return Err(UNSAYABLE);
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|_| AnswerFault::Malformed("the answer is not JSON"))?;
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let choice = value.pointer("/choices/0").cloned().unwrap_or(Value::Null);
    let message = choice.get("message").cloned().unwrap_or(Value::Null);
    let (mut parts, mut citations) = parts(&message).ok_or(UNSAYABLE)?;
    calls(&message, &mut parts)?;
    if citations.is_empty() {
        citations = beside(&value);
    }
    let finish = choice.get("finish_reason").and_then(Value::as_str);
    let finish = finish.ok_or(AnswerFault::Malformed("the answer has no finish reason"))?;
    let called = parts
        .iter()
        .any(|part| matches!(part, Part::ToolCall { .. }));
    let failed = || AnswerFault::Disguised(UpstreamError::bare(AttemptOutcome::ServerError));
    let stop = stop_reason(finish, called).ok_or_else(failed)?;
    Ok(ChatAnswer {
        id: text(&value, "id").unwrap_or_default(),
        model: facts.served_model.unwrap_or_default(),
        created: value
            .get("created")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        parts,
        stop,
        usage: facts.usage.map(|usage| Usage {
            tier: tier(value.get("service_tier")),
            ..usage
        }),
        citations,
        foreign: false,
        traces: false,
        logprobs: logprobs::of_choice(Some(&choice)),
        stop_sequence: None,
    })
}

/// The parts of a message and its sources; `None` where it holds what cannot be said anywhere else.
fn parts(message: &Value) -> Option<(Vec<Part>, Vec<Citation>)> {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let (mut parts, mut citations) = (Vec::new(), Vec::new());
    let mut details = Details::of(message);
    let thought = ["reasoning_content", "reasoning"]
        .iter()
        .find_map(|name| text(message, name).filter(|text| !text.is_empty()))
        .unwrap_or_else(|| details.words());
    let signature = details.signature();
    if !thought.is_empty() || signature.is_some() {
        parts.push(Part::Thinking {
            text: thought,
            signature,
        });
    }
    for piece in pieces(message.get("content"))? {
        match piece {
            Piece::Text(text) => parts.push(Part::Text { text }),
            Piece::Thinking(text) => parts.push(Part::Thinking {
                text,
                signature: None,
            }),
            Piece::Refusal(text) => parts.push(Part::Refusal { text }),
            Piece::Reference => citations.push(Citation::default()),
        }
    }
    citations.extend(cited(message));
    if let Some(refusal) = text(message, "refusal").filter(|text| !text.is_empty()) {
        parts.push(Part::Refusal { text: refusal });
    }
    Some((parts, citations))
}

fn calls(message: &Value, parts: &mut Vec<Part>) -> Result<(), AnswerFault> {
    let list = message.get("tool_calls").and_then(Value::as_array);
    for call in list.into_iter().flatten() {
        let text = |pointer: &str| {
            let text = call.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let arguments = call_arguments(call.pointer("/function/arguments"));
        parts.push(Part::ToolCall {
            id: text("/id"),
            name: text("/function/name"),
            arguments: arguments.ok_or(AnswerFault::Malformed(
                "the arguments of a call are no text",
            ))?,
            signature: call_signature(call),
        });
    }
    Ok(())
}

/// Why an answer ended, in the words of everyone who copies the form; `None` when it failed. One that calls ends for
/// its calls, whatever it says: a forced one says `stop`.
pub(super) fn stop_reason(finish: &str, called: bool) -> Option<StopReason> {
    Some(match finish {
        "insufficient_system_resource" | "abort" | "aborted" | "network_error" | "error" => {
            return None;
        }
        "length" | "model_length" | "max_tokens" => StopReason::Length,
        "tool_calls" | "function_call" => StopReason::ToolCalls,
        "content_filter" | "sensitive" => StopReason::ContentFilter,
        _ if called => StopReason::ToolCalls,
        _ => StopReason::End,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Tokens, Usage};

    fn fault(body: &str) -> AnswerFault {
        inspect_answer(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_ordinary_answer_is_judged_and_metered() {
        let body = br#"{"model":"gpt-4o-mini-2024","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4}}}"#;
        let facts = inspect_answer(body).unwrap();
        assert_eq!(facts.served_model.as_deref(), Some("gpt-4o-mini-2024"));
        let expected = Usage {
            input: Tokens(9),
            output: Tokens(3),
            cached_input: Tokens(4),
            ..Usage::default()
        };
        assert_eq!(facts.usage, Some(expected));
    }

    #[test]
    fn p13_an_error_in_a_success_is_an_error() {
        assert!(matches!(
            fault(r#"{"error":{"code":502,"message":"x"}}"#),
            AnswerFault::Disguised(_)
        ));
    }

    #[test]
    fn p13_a_choice_that_failed_fails_the_answer() {
        for choice in [
            r#"{"message":{"content":"half of"},"finish_reason":"error"}"#,
            r#"{"message":{"content":"half of"},"finish_reason":"stop","error":{"code":502,"message":"x"}}"#,
        ] {
            let body = format!(r#"{{"choices":[{choice}]}}"#);
            assert!(
                matches!(fault(&body), AnswerFault::Disguised(error) if error.outcome == crate::domain::AttemptOutcome::ServerError),
                "{choice}"
            );
        }
    }

    #[test]
    fn p17_what_the_other_form_cannot_say_is_refused_and_not_lost() {
        let of = |choices: &str| format!(r#"{{"id":"x","model":"m","choices":[{choices}]}}"#);
        let choice = |message: &str, more: &str| {
            format!(r#"{{"index":0,"message":{message},"finish_reason":"stop"{more}}}"#)
        };
        let well = choice(r#"{"content":"hi"}"#, "");
        for refused in [
            of(&format!(
                "{well},{}",
                well.replace("\"index\":0", "\"index\":1")
            )),
            of(&well.replace("\"index\":0", "\"index\":1")),
            of(&choice(
                r#"{"content":null,"function_call":{"name":"f","arguments":"{}"}}"#,
                "",
            )),
            of(&choice(r#"{"content":"hi","audio":{"data":"aaaa"}}"#, "")),
            of(&choice(
                r#"{"content":[{"type":"image_url","image_url":{}}]}"#,
                "",
            )),
            of(&choice(
                r#"{"content":"hi","images":[{"type":"image_url"}]}"#,
                "",
            )),
        ] {
            assert!(inspect_answer(refused.as_bytes()).is_ok(), "{refused}");
            assert!(
                matches!(
                    decode_answer(refused.as_bytes()),
                    Err(AnswerFault::Untranslatable(_))
                ),
                "{refused}"
            );
        }
        let thought = of(&choice(
            r#"{"content":"hi","reasoning":"hm"}"#,
            r#","logprobs":null"#,
        ));
        let answer = decode_answer(thought.as_bytes()).unwrap();
        assert_eq!(answer.parts.len(), 2, "{answer:?}");
    }

    #[test]
    fn p15_arguments_that_are_no_text_are_no_answer_and_not_none() {
        let with = |arguments: &str| {
            let call = format!(r#"{{"id":"c","function":{{"name":"f","arguments":{arguments}}}}}"#);
            let message = format!(r#"{{"content":null,"tool_calls":[{call}]}}"#);
            let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":"stop"}}"#);
            decode_answer(format!(r#"{{"choices":[{choice}]}}"#).as_bytes())
        };
        for odd in [r#"{"x":1}"#, "5", r#"["a"]"#, "false"] {
            let said = with(odd);
            assert!(matches!(said, Err(AnswerFault::Malformed(_))), "{odd}");
        }
        assert!(with("null").is_ok() && with(r#""{}""#).is_ok());
    }

    #[test]
    fn p14_a_success_without_an_answer_is_none() {
        for body in [
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":[{"message":null}]}"#,
            r#"{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#,
        ] {
            assert!(matches!(fault(body), AnswerFault::Empty(_)), "{body}");
        }
        assert!(matches!(fault("null"), AnswerFault::Malformed(_)));
        assert!(matches!(fault(""), AnswerFault::Malformed(_)));
    }

    #[test]
    fn p15_broken_json_is_no_answer() {
        let whole =
            r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":null}"#;
        for cut in 1..whole.len() {
            assert!(inspect_answer(&whole.as_bytes()[..cut]).is_err());
        }
        assert!(inspect_answer(format!("\u{feff}{whole}").as_bytes()).is_err());
        assert!(inspect_answer(whole.replace("null", "NaN").as_bytes()).is_err());
        assert!(inspect_answer(whole.replace("null}", "null,}").as_bytes()).is_err());
    }

    #[test]
    fn p25_a_filtered_answer_is_an_answer() {
        let body =
            br#"{"choices":[{"message":{"content":null},"finish_reason":"content_filter"}]}"#;
        assert!(inspect_answer(body).unwrap().filtered);
    }

    #[test]
    fn p29_usage_that_cannot_be_true_counts_as_missing() {
        for odd in [
            "null",
            "{}",
            r#"{"prompt_tokens":-1,"completion_tokens":2}"#,
            r#"{"prompt_tokens":"9","completion_tokens":2}"#,
            r#"{"prompt_tokens":1000000000,"completion_tokens":2}"#,
        ] {
            let body = format!(
                r#"{{"choices":[{{"message":{{"content":"x"}},"finish_reason":"stop"}}],"usage":{odd}}}"#
            );
            assert_eq!(
                inspect_answer(body.as_bytes()).unwrap().usage,
                None,
                "{odd}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (inspect_answer(&body), decode_answer(&body));
        }
    }
}
