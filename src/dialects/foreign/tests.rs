//! Each case tells the request, and the very bytes that have to be left of it.

use super::super::json::edited;
use super::*;

fn cut(dialect: ClientDialect, home: Home<'_>, body: &str) -> (String, Vec<&'static str>) {
    let found = cut_foreign(dialect, body.as_bytes(), home);
    let left = edited(&Bytes::from(body.to_owned()), found.edits).concat();
    (String::from_utf8(left).unwrap(), found.dropped)
}

const HOME: Home<'static> = Home {
    model: "m",
    google: false,
};

#[test]
fn an_openai_chat_loses_the_foreign_thoughts_and_not_a_byte_more() {
    let body = r#"{"model":"p", "n":2,"logprobs" : true,"x_own":1e-7,"messages":[
 {"role":"assistant","content":"391","reasoning_content":"hm","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"c2ln"}],"name":"a" },
 {"role":"assistant","thinking_blocks":[],"tool_calls":[{"id":"c","extra_content":{"google":{"thought_signature":"eA=="}},"x":1}]},
 {"role":"assistant","content":"own","reasoning_content":"of this provider"}]}"#;
    let expected = r#"{"model":"p", "n":2,"logprobs" : true,"x_own":1e-7,"messages":[
 {"role":"assistant","content":"391","name":"a" },
 {"role":"assistant","tool_calls":[{"id":"c","x":1}]},
 {"role":"assistant","content":"own","reasoning_content":"of this provider"}]}"#;
    let (left, dropped) = cut(ClientDialect::Openai, HOME, body);
    assert_eq!(left, expected);
    assert_eq!(dropped, ["thinking"]);
}

#[test]
fn google_s_own_openai_form_gets_its_signatures_back() {
    let home = Home {
        google: true,
        ..HOME
    };
    let call = |signature: &str| {
        format!(
            r#"{{"messages":[{{"tool_calls":[{{"id":"c","extra_content":{{"google":{{"thought_signature":"{signature}"}}}}}}]}}]}}"#
        )
    };
    let (left, _) = cut(ClientDialect::Openai, home, &call("eA=="));
    assert_eq!(left, call("eA=="));
    let (left, _) = cut(
        ClientDialect::Openai,
        home,
        &call("switchyard-signed~anthropic~x"),
    );
    assert_eq!(left, r#"{"messages":[{"tool_calls":[{"id":"c"}]}]}"#);
}

#[test]
fn anthropic_messages_lose_foreign_thoughts_and_get_their_plain_ids_back() {
    let body = r#"{"future":{"a":[1.50]},"messages":[{"role":"user","content":"hi"},
 {"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"switchyard-signed~openai~"},{"type":"text","text":"switchyard-signed~ is a word"}]},
 {"role":"assistant","content":[{"type":"redacted_thinking","data":"switchyard-signed~bedrock~eA=="}]},
 {"role":"assistant","content":[{"type":"thinking","thinking":"own","signature":"c2ln"},{"type":"tool_use","id":"call_1~switchyard-signed~gemini~eA==","name":"f","input":{"z":1,"a":2}}]},
 {"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1~switchyard-signed~gemini~eA==","content":"x"}]}]}"#;
    let expected = r#"{"future":{"a":[1.50]},"messages":[{"role":"user","content":"hi"},
 {"role":"assistant","content":[{"type":"text","text":"switchyard-signed~ is a word"}]},
 {"role":"assistant","content":[{"type":"thinking","thinking":"own","signature":"c2ln"},{"type":"tool_use","id":"call_1","name":"f","input":{"z":1,"a":2}}]},
 {"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"x"}]}]}"#;
    let (left, dropped) = cut(ClientDialect::Anthropic, HOME, body);
    assert_eq!(left, expected);
    assert_eq!(dropped, ["thinking"]);
}

#[test]
fn a_call_under_way_that_lost_its_thought_is_ended_without_a_budget_for_more() {
    let body = |thinking: &str, last: &str| {
        format!(
            r#"{{"thinking":{thinking},"messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":[{{"type":"thinking","thinking":"a","signature":"switchyard-signed~openai~"}},{{"type":"tool_use","id":"c","name":"f","input":{{}}}}]}},{{"role":"user","content":{last}}}]}}"#
        )
    };
    let budget = r#"{"type":"enabled","budget_tokens":2000}"#;
    let result = r#"[{"type":"tool_result","tool_use_id":"c","content":"x"}]"#;
    let (left, dropped) = cut(ClientDialect::Anthropic, HOME, &body(budget, result));
    assert!(
        left.starts_with(r#"{"thinking":{"type":"disabled"},"#),
        "{left}"
    );
    assert_eq!(dropped, ["thinking", "reasoning budget"]);
    // A turn that is over asks for nothing, and a model that chooses for itself may choose not to think.
    let (left, _) = cut(ClientDialect::Anthropic, HOME, &body(budget, "\"thanks\""));
    assert!(left.contains("budget_tokens"), "{left}");
    let adaptive = r#"{"type":"adaptive"}"#;
    let (left, _) = cut(ClientDialect::Anthropic, HOME, &body(adaptive, result));
    assert!(left.contains("adaptive"), "{left}");
}

#[test]
fn responses_lose_foreign_reasoning_items_and_keep_their_own() {
    let body = r#"{"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"switchyard-signed~anthropic~c2ln"},{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"},{"type":"function_call","call_id":"c~switchyard-signed~gemini~eA==","name":"f","arguments":"{}","x":0.10}]}"#;
    let expected = r#"{"input":[{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}","x":0.10}]}"#;
    let (left, dropped) = cut(ClientDialect::Responses, HOME, body);
    assert_eq!(left, expected);
    assert_eq!(dropped, ["thinking"]);
}

#[test]
fn google_s_contents_lose_foreign_thoughts_and_calls_say_that_nobody_signed_them() {
    let body = r#"{"contents":[{"role":"model","parts":[{"text":"hm","thought":true,"thoughtSignature":"switchyard-signed~anthropic~c2ln"},{"functionCall":{"name":"f","args":{"a_b":1.0}},"thought_signature":"switchyard-signed~anthropic~c2ln"},{"text":"own","thoughtSignature":"eA=="}]},{"role":"model","parts":[{"text":"","thoughtSignature":"switchyard-signed~anthropic~c2ln"}]}],"labels":{"a":"b"}}"#;
    let with = |call: &str| {
        format!(
            r#"{{"contents":[{{"role":"model","parts":[{{"functionCall":{{"name":"f","args":{{"a_b":1.0}}}}{call}}},{{"text":"own","thoughtSignature":"eA=="}}]}}],"labels":{{"a":"b"}}}}"#
        )
    };
    let (left, dropped) = cut(ClientDialect::Gemini, HOME, body);
    assert_eq!(left, with(""));
    assert_eq!(dropped, ["thinking"]);
    let newest = Home {
        model: "gemini-3-pro",
        google: true,
    };
    let (left, _) = cut(ClientDialect::Gemini, newest, body);
    let skipped = r#","thought_signature":"skip_thought_signature_validator""#;
    assert_eq!(left, with(skipped));
}

#[test]
fn what_is_of_no_known_shape_is_left_alone() {
    for body in [
        "{}",
        r#"{"messages":1,"input":{},"contents":"x"}"#,
        r#"{"messages":[1,[2]],"input":[null],"contents":[[]]}"#,
    ] {
        for dialect in ClientDialect::ALL {
            assert_eq!(cut(dialect, HOME, body), (body.to_owned(), Vec::new()));
        }
    }
}

#[test]
fn sources_that_another_provider_told_are_cut_out_of_the_text_they_were_told_with() {
    let body = r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"rain","citations":[{"type":"web_search_result_location","url":"https://a.example","encrypted_index":"switchyard-signed~openai~"},{"type":"web_search_result_location","encrypted_index":"Eo8B"}]}]}]}"#;
    let expected = r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"rain","citations":[{"type":"web_search_result_location","encrypted_index":"Eo8B"}]}]}]}"#;
    let (left, dropped) = cut(ClientDialect::Anthropic, HOME, body);
    assert_eq!(
        (left.as_str(), dropped.as_slice()),
        (expected, ["citations"].as_slice())
    );
}
