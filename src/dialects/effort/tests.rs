//! The table there and back, and what each provider is told of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialects::{Recipient, decode_request, encode_request};
use crate::domain::chat::{Message, Signature};
use crate::domain::{ClientDialect, Dialect, Quirks, ThinkingField, Tokens};

const WORDS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Who is asked, by a model of each kind.
const MODELS: [(Dialect, &str); 24] = [
    (Dialect::Openai, "gpt-5.6-sol"),
    (Dialect::Openai, "gpt-5-mini"),
    (Dialect::Openai, "o3"),
    (Dialect::Openai, "deepseek-v4-pro"),
    (Dialect::Openai, "qwen-plus"),
    (Dialect::Openai, "gpt-4o"),
    (Dialect::Responses, "gpt-5"),
    (Dialect::Anthropic, "claude-haiku-4-5"),
    (Dialect::Anthropic, "claude-sonnet-4-6"),
    (Dialect::Anthropic, "claude-opus-5-5"),
    (Dialect::Anthropic, "claude-3-5-haiku"),
    (Dialect::Gemini, "gemini-2.0-flash"),
    (Dialect::Gemini, "gemini-2.5-pro"),
    (Dialect::Gemini, "gemini-2.5-flash"),
    (Dialect::Gemini, "gemini-2.5-flash-lite"),
    (Dialect::Gemini, "gemini-3.8-flash"),
    (Dialect::Gemini, "gemini-3.1-pro-preview"),
    (Dialect::Bedrock, "us.anthropic.claude-haiku-4-5-v1:0"),
    (Dialect::Bedrock, "anthropic.claude-opus-5-v1:0"),
    (Dialect::Bedrock, "amazon.nova-pro-v2:0"),
    (Dialect::Bedrock, "openai.gpt-oss-120b"),
    (Dialect::Cohere, "command-a-reasoning"),
    (Dialect::Ollama, "gpt-oss:20b"),
    (Dialect::Ollama, "qwen3"),
];

fn sent(request: &ChatRequest, to: (Dialect, &str)) -> (Value, Vec<String>) {
    sent_with(&Quirks::default(), request, to)
}

fn sent_with(
    quirks: &Quirks,
    request: &ChatRequest,
    (dialect, model): (Dialect, &str),
) -> (Value, Vec<String>) {
    let recipient = Recipient {
        model,
        default_max_output: Tokens(4_096),
        quirks,
    };
    let encoded = encode_request(dialect, request, recipient).unwrap();
    let dropped = encoded.dropped.iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), dropped)
}

/// How much thinking a body asks for, on one scale; `None` where it says nothing.
fn weight(body: &Value) -> Option<u64> {
    let at = |pointer: &str| body.pointer(pointer);
    let word = |value: &Value| {
        let word = value.as_str()?.to_ascii_lowercase();
        Effort::read(&word).map(Effort::tokens)
    };
    let words = [
        "/reasoning_effort",
        "/reasoning/effort",
        "/generationConfig/thinkingConfig/thinkingLevel",
        "/additionalModelRequestFields/reasoning_effort",
        "/additionalModelRequestFields/reasoningConfig/maxReasoningEffort",
        "/output_config/effort",
        "/outputConfig/effort",
        "/think",
    ];
    let counts = [
        "/generationConfig/thinkingConfig/thinkingBudget",
        "/thinking/budget_tokens",
        "/thinking/token_budget",
        "/additionalModelRequestFields/thinking/budget_tokens",
        "/thinking_budget",
    ];
    let switches = [
        "/thinking/type",
        "/additionalModelRequestFields/thinking/type",
        "/additionalModelRequestFields/reasoningConfig/type",
    ];
    let switched = switches.iter().find_map(|place| at(place)?.as_str());
    let switched = switched.map(|on| u64::from(on != "disabled"));
    let flags = ["/think", "/enable_thinking"];
    let flag = flags
        .iter()
        .find_map(|place| at(place)?.as_bool())
        .map(u64::from);
    words
        .iter()
        .find_map(|place| word(at(place)?))
        .or_else(|| counts.iter().find_map(|place| at(place)?.as_u64()))
        .or(switched)
        .or(flag)
}

fn asking(effort: Option<&str>, budget: Option<u64>) -> ChatRequest {
    ChatRequest {
        reasoning_effort: effort.map(str::to_owned),
        reasoning_budget: budget,
        ..ChatRequest::default()
    }
}

#[test]
fn c_a_word_is_itself_there_and_back_and_the_table_goes_up() {
    for (place, word) in WORDS.iter().enumerate() {
        let effort = Effort::read(word).unwrap();
        assert_eq!(effort.word(), *word);
        assert_eq!(Effort::of_tokens(effort.tokens()), effort);
        assert!(
            TABLE
                .iter()
                .skip(place + 1)
                .all(|(_, _, more)| *more > effort.tokens())
        );
    }
    assert_eq!(Effort::of_tokens(1), Effort::Minimal, "any thought is one");
    assert_eq!(
        Effort::of_tokens(2_000),
        Effort::Low,
        "nobody pays for more than was asked"
    );
    assert_eq!(Effort::read("gigantic"), None);
}

#[test]
fn c_more_asked_is_never_less_thought_and_what_is_not_said_is_told() {
    for to in MODELS {
        let mut last = None;
        for word in WORDS {
            let (body, dropped) = sent(&asking(Some(word), None), to);
            let weight = weight(&body);
            assert!(weight >= last, "{to:?} {word}: {body}");
            last = weight;
            let off = word == "none";
            assert!(
                weight.is_some() || off || !dropped.is_empty(),
                "{to:?} {word} is lost: {body}"
            );
        }
    }
}

proptest! {
    #[test]
    fn c_more_tokens_are_never_less_thought(few in 0..100_000_u64, more in 0..100_000_u64, limit in prop::option::of(1..100_000_u64)) {
        let (few, more) = (few.min(more), few.max(more));
        for to in MODELS {
            let of = |budget| {
                let request = ChatRequest { max_output: limit, ..asking(None, Some(budget)) };
                sent(&request, to)
            };
            let ((less_body, _), (more_body, dropped)) = (of(few), of(more));
            let room = dropped.is_empty();
            // Where the limit leaves no room for the least there is, not thinking is all that can be said.
            prop_assert!(!room || weight(&less_body) <= weight(&more_body), "{to:?}: {less_body} {more_body}");
            prop_assert!(weight(&more_body).is_some() || !room || more == 0, "{to:?}: {more_body}");
        }
    }

    #[test]
    fn c_a_budget_is_always_less_than_the_limit(budget in prop::option::of(1..200_000_u64), word in 0..7_usize, limit in prop::option::of(1..200_000_u64)) {
        for to in [(Dialect::Gemini, "gemini-2.5-pro"), (Dialect::Gemini, "gemini-2.5-flash-lite"), (Dialect::Gemini, "gemini-2.5-flash")] {
            let word = WORDS.get(word).filter(|_| budget.is_none());
            let request = ChatRequest { max_output: limit, ..asking(word.copied(), budget) };
            let (body, dropped) = sent(&request, to);
            let tokens = body.pointer("/generationConfig/thinkingConfig/thinkingBudget").and_then(Value::as_u64);
            let most = limit.unwrap_or(u64::MAX);
            prop_assert!(tokens.is_none_or(|tokens| tokens < most.max(1)), "{body}");
            prop_assert!(tokens.is_some() || !dropped.is_empty(), "{body}");
            prop_assert_eq!(body.pointer("/generationConfig/maxOutputTokens").and_then(Value::as_u64), limit);
        }
        for to in [(Dialect::Anthropic, "claude-haiku-4-5"), (Dialect::Bedrock, "anthropic.claude-haiku-4-5-v1:0")] {
            let word = WORDS.get(word).filter(|_| budget.is_none());
            let request = ChatRequest { max_output: limit, ..asking(word.copied(), budget) };
            let (body, _) = sent(&request, to);
            let at = |places: [&str; 2]| places.iter().find_map(|place| body.pointer(place)?.as_u64());
            let tokens = at(["/thinking/budget_tokens", "/additionalModelRequestFields/thinking/budget_tokens"]);
            let most = at(["/max_tokens", "/inferenceConfig/maxTokens"]);
            if let Some(tokens) = tokens {
                prop_assert!(tokens >= 1_024 && most.is_some_and(|most| tokens < most), "{body}");
            }
            prop_assert!(limit.is_none() || most == limit, "the client's own limit stays: {body}");
        }
    }
}

/// Effort, budget, whether it is the model's choice, whether the thoughts are shown.
type Read = (Option<&'static str>, Option<u64>, bool, Option<bool>);

#[test]
#[expect(clippy::too_many_lines, reason = "a table of words")]
fn c_every_client_s_words_for_it_are_read() {
    use ClientDialect as C;
    let chat = |more: Value| (C::Openai, with(json!({"messages": []}), more));
    let read: [((C, Value), Read); 16] = [
        (
            chat(json!({"reasoning_effort": "xhigh"})),
            (Some("xhigh"), None, false, None),
        ),
        (
            chat(json!({"reasoning": {"effort": "low", "exclude": true}})),
            (Some("low"), None, false, Some(false)),
        ),
        (
            chat(json!({"reasoning": {"max_tokens": 900}})),
            (None, Some(900), false, None),
        ),
        (
            chat(json!({"reasoning": {"enabled": true}})),
            (None, None, true, None),
        ),
        (
            chat(json!({"reasoning": {"enabled": false}})),
            (None, Some(0), false, None),
        ),
        (
            chat(json!({"thinking": {"type": "disabled"}})),
            (None, Some(0), false, None),
        ),
        (
            chat(json!({"thinking": {"type": "enabled", "budget_tokens": 7}})),
            (None, Some(7), false, None),
        ),
        (
            chat(json!({"thinking": {"type": "enabled"}})),
            (None, None, true, None),
        ),
        (
            chat(json!({"enable_thinking": true, "thinking_budget": 50})),
            (None, Some(50), false, None),
        ),
        (
            chat(json!({"enable_thinking": false})),
            (None, Some(0), false, None),
        ),
        (
            (
                C::Anthropic,
                json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}),
            ),
            (None, Some(2000), false, None),
        ),
        (
            (
                C::Anthropic,
                json!({"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}}),
            ),
            (Some("max"), None, true, Some(false)),
        ),
        (
            (
                C::Responses,
                json!({"input": "x", "reasoning": {"effort": "minimal", "summary": "auto"}}),
            ),
            (Some("minimal"), None, false, Some(true)),
        ),
        (
            (
                C::Gemini,
                json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": true}}}),
            ),
            (None, None, true, Some(true)),
        ),
        (
            (
                C::Gemini,
                json!({"generation_config": {"thinking_config": {"thinking_level": "HIGH"}}}),
            ),
            (Some("high"), None, false, None),
        ),
        (
            (
                C::Gemini,
                json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
            ),
            (None, Some(0), false, None),
        ),
    ];
    for ((client, body), expected) in read {
        let request = decode_request(client, body.to_string().as_bytes()).unwrap();
        let (effort, budget) = (
            request.reasoning_effort.as_deref(),
            request.reasoning_budget,
        );
        let seen = (
            effort,
            budget,
            request.reasoning_free,
            request.reasoning_shown,
        );
        assert_eq!(seen, expected, "{body}");
    }
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn c_what_is_left_to_the_model_stays_its_choice() {
    let request = ChatRequest {
        reasoning_free: true,
        ..ChatRequest::default()
    };
    let body = |to| sent(&request, to).0;
    let adaptive = json!({"type": "adaptive"});
    assert_eq!(
        body((Dialect::Anthropic, "claude-opus-5-5"))["thinking"],
        adaptive
    );
    let bedrock = body((Dialect::Bedrock, "anthropic.claude-opus-5-v1:0"));
    assert_eq!(
        bedrock["additionalModelRequestFields"]["thinking"],
        adaptive
    );
    let gemini = body((Dialect::Gemini, "gemini-2.5-flash"));
    assert_eq!(
        gemini["generationConfig"]["thinkingConfig"]["thinkingBudget"],
        -1
    );
    assert_eq!(
        body((Dialect::Cohere, "x"))["thinking"],
        json!({"type": "enabled"})
    );
    assert_eq!(body((Dialect::Ollama, "x"))["think"], true);
    assert_eq!(
        body((Dialect::Openai, "gpt-4o")).get("reasoning_effort"),
        None
    );
}

/// What Anthropic refuses together with thinking is not sent together.
#[test]
fn c_thinking_gives_way_to_what_cannot_stand_beside_it_aloud() {
    let call = |signature| ChatRequest {
        messages: vec![Message {
            role: Role::Assistant,
            parts: vec![
                Part::Thinking {
                    text: "a".to_owned(),
                    signature: Some(signature),
                },
                Part::ToolCall {
                    id: "c".to_owned(),
                    name: "f".to_owned(),
                    arguments: "{}".to_owned(),
                    signature: None,
                },
            ],
        }],
        temperature: Some(0.5),
        ..asking(None, Some(2_000))
    };
    let to = (Dialect::Anthropic, "claude-haiku-4-5");
    let (body, dropped) = sent(&call(Signature::new(Dialect::Openai, "")), to);
    assert_eq!(
        (&body["thinking"], &body["temperature"]),
        (&Value::Null, &json!(0.5))
    );
    assert!(
        dropped.contains(&"reasoning budget".to_owned()),
        "{dropped:?}"
    );
    let (body, dropped) = sent(&call(Signature::new(Dialect::Anthropic, "c2ln")), to);
    assert_eq!(
        (&body["thinking"]["budget_tokens"], &body["temperature"]),
        (&json!(2_000), &Value::Null)
    );
    assert_eq!(dropped, ["temperature"]);
}

#[test]
fn d2_a_provider_s_own_field_counts_before_what_a_name_tells() {
    let with = |thinking, thoughts_again| Quirks {
        thinking,
        thoughts_again,
        ..Quirks::default()
    };
    let asked = asking(Some("high"), None);
    let at = |thinking, model| sent_with(&with(thinking, None), &asked, (Dialect::Openai, model)).0;
    let toggle = at(Some(ThinkingField::Toggle), "house-model");
    assert_eq!(toggle["thinking"], json!({"type": "enabled"}));
    let counted = at(Some(ThinkingField::Counted), "deepseek-v4-pro");
    assert_eq!(counted["enable_thinking"], json!(true));
    assert_eq!(counted.get("thinking"), None);
    let effort = at(Some(ThinkingField::Effort), "qwen-plus");
    assert_eq!(effort["reasoning_effort"], "high");
    let named = at(None, "deepseek-v4-pro");
    assert_eq!(named["thinking"], json!({"type": "enabled"}));

    let parts = vec![
        Part::Thinking {
            text: "hm".to_owned(),
            signature: None,
        },
        Part::ToolCall {
            id: "c".to_owned(),
            name: "f".to_owned(),
            arguments: "{}".to_owned(),
            signature: None,
        },
    ];
    let call = ChatRequest {
        messages: vec![Message {
            role: Role::Assistant,
            parts,
        }],
        ..asking(None, None)
    };
    for (again, model, told) in [
        (None, "deepseek-v4-pro", true),
        (None, "house-model", false),
        (Some(true), "house-model", true),
        (Some(false), "deepseek-v4-pro", false),
    ] {
        let (body, _) = sent_with(&with(None, again), &call, (Dialect::Openai, model));
        let thought = body["messages"][0].get("reasoning_content");
        assert_eq!(thought.is_some(), told, "{again:?} {model}: {body}");
    }
}
