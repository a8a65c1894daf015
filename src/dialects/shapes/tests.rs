use serde_json::json;

use super::super::decode_request;
use super::*;

fn refused(dialect: ClientDialect, request: &Value) -> Option<String> {
    let decoded = decode_request(dialect, request.to_string().as_bytes());
    decoded.err().map(|error| error.param.unwrap_or_default())
}

/// A request with this member, which is put in at a place of dots.
fn with(mut request: Value, place: &str, value: &Value) -> Value {
    let mut at = &mut request;
    for name in place.split('.') {
        at = &mut at[name];
    }
    *at = value.clone();
    request
}

fn gemini() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
}

#[test]
fn b_what_a_google_client_asked_for_is_never_gone_without_a_word() {
    for (place, odd) in [
        ("temperature", json!("hot")),
        ("temperature", json!("0.5")),
        ("topK", json!("x")),
        ("topK", json!(-3)),
        ("topP", json!([])),
        ("stopSequences", json!("x")),
        ("stopSequences", json!(["a", 5])),
        ("thinkingConfig", json!(5)),
        ("thinkingConfig.thinkingBudget", json!("2048")),
        ("responseMimeType", json!("application/xml")),
        ("responseMimeType", json!(5)),
        ("responseSchema", json!("str")),
        ("responseJsonSchema", json!([])),
        ("responseModalities", json!("IMAGE")),
    ] {
        let place = format!("generationConfig.{place}");
        let request = with(gemini(), &place, &odd);
        assert_eq!(refused(ClientDialect::Gemini, &request), Some(place));
    }
    let mode = "toolConfig.functionCallingConfig.mode";
    for (place, odd) in [
        ("generationConfig", json!("x")),
        ("contents", json!(5)),
        ("systemInstruction", json!(5)),
        ("tools", json!({"functionDeclarations": []})),
        (mode, json!("SOMETIMES")),
    ] {
        let request = with(gemini(), place, &odd);
        assert_eq!(
            refused(ClientDialect::Gemini, &request).as_deref(),
            Some(place)
        );
    }
    let prompt = json!({"contents": [{"parts": "the whole prompt"}]});
    assert_eq!(
        refused(ClientDialect::Gemini, &prompt).as_deref(),
        Some("contents[0].parts")
    );
    let call = json!({"functionCall": {"name": "f", "args": "x"}});
    let request = json!({"contents": [{"role": "model", "parts": [{"text": "a"}, call]}]});
    assert_eq!(
        refused(ClientDialect::Gemini, &request).as_deref(),
        Some("contents[0].parts[1].functionCall.args")
    );
    let snake =
        json!({"contents": [{"parts": [{"text": "a"}]}], "generation_config": {"top_k": "x"}});
    assert!(refused(ClientDialect::Gemini, &snake).is_some());
}

#[test]
fn b_what_an_anthropic_or_openai_client_asked_for_is_never_gone_without_a_word() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let anthropic = json!({"model": "m", "max_tokens": 9, "messages": messages});
    for (place, odd) in [
        ("stop_sequences", json!("x")),
        ("stop_sequences", json!([5])),
        ("tools", json!("x")),
        ("metadata", json!(5)),
        ("thinking.type", json!("zzz")),
        ("thinking.budget_tokens", json!("9")),
        ("top_k", json!(-1)),
        ("temperature", json!("hot")),
    ] {
        let request = with(anthropic.clone(), place, &odd);
        assert_eq!(
            refused(ClientDialect::Anthropic, &request).as_deref(),
            Some(place)
        );
    }
    let openai = json!({"model": "m", "messages": messages});
    for (place, odd) in [
        ("reasoning_effort", json!(5)),
        ("top_k", json!("x")),
        ("user", json!(5)),
        ("tools", json!({})),
        ("parallel_tool_calls", json!("no")),
    ] {
        let request = with(openai.clone(), place, &odd);
        assert_eq!(
            refused(ClientDialect::Openai, &request).as_deref(),
            Some(place)
        );
    }
}

#[test]
fn b_a_request_that_says_nothing_or_forces_a_tool_that_is_not_there_is_refused() {
    let empty = json!({"model": "m", "messages": [{"role": "user", "content": []}]});
    assert_eq!(
        refused(ClientDialect::Openai, &empty).as_deref(),
        Some("messages")
    );
    let silent = json!({"contents": [{"parts": []}]});
    assert_eq!(
        refused(ClientDialect::Gemini, &silent).as_deref(),
        Some("contents")
    );
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let mut forced = json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}],
        "tools": [tool("f")], "tool_choice": tool("g"),
    });
    assert_eq!(
        refused(ClientDialect::Openai, &forced).as_deref(),
        Some("tool_choice")
    );
    forced["tool_choice"] = tool("f");
    assert_eq!(refused(ClientDialect::Openai, &forced), None);
}

#[test]
fn what_is_null_or_of_its_type_is_no_mistake() {
    for (place, _) in GEMINI.iter().filter(|(place, _)| !place.contains("[]")) {
        let request = with(json!({}), place, &Value::Null);
        assert_eq!(check(ClientDialect::Gemini, &request), Ok(()), "{place}");
    }
    let request = json!({"contents": "hi", "systemInstruction": "be brief", "generationConfig": {
        "topK": 5.0, "thinkingConfig": {"thinkingBudget": -1}, "stopSequences": [],
    }});
    assert_eq!(refused(ClientDialect::Gemini, &request), None);
}
