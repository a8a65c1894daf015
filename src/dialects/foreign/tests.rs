//! Each case tells the request, and the very bytes that have to be left of it.

use std::sync::LazyLock;

use super::super::json::edited;
use super::*;

fn cut(dialect: ClientDialect, home: Home<'_>, body: &str) -> (String, Vec<&'static str>) {
    let found = cut_foreign(dialect, body.as_bytes(), home);
    let left = edited(&Bytes::from(body.to_owned()), found.edits).concat();
    (String::from_utf8(left).unwrap(), found.dropped)
}

/// Where one account speaks each dialect, and the request goes to it.
static AT_HOME: LazyLock<(SignerName, Signers)> = LazyLock::new(|| {
    let signer = SignerName::from("home");
    let homes = Dialect::ALL.map(|dialect| (dialect, signer.clone()));
    (signer, Signers::new(homes))
});

static HOME: LazyLock<Home<'static>> = LazyLock::new(|| Home {
    model: "m",
    google: false,
    details: false,
    signer: &AT_HOME.0,
    signers: &AT_HOME.1,
});

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
    let (left, dropped) = cut(ClientDialect::Openai, *HOME, body);
    assert_eq!(left, expected);
    assert_eq!(dropped, ["thinking"]);
}

#[test]
fn google_s_own_openai_form_gets_its_signatures_back() {
    let home = Home {
        google: true,
        ..*HOME
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
    let (left, dropped) = cut(ClientDialect::Anthropic, *HOME, body);
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
    let (left, dropped) = cut(ClientDialect::Anthropic, *HOME, &body(budget, result));
    assert!(
        left.starts_with(r#"{"thinking":{"type":"disabled"},"#),
        "{left}"
    );
    assert_eq!(dropped, ["thinking", "reasoning budget"]);
    // A turn that is over asks for nothing, and a model that chooses for itself may choose not to think.
    let (left, _) = cut(ClientDialect::Anthropic, *HOME, &body(budget, "\"thanks\""));
    assert!(left.contains("budget_tokens"), "{left}");
    let adaptive = r#"{"type":"adaptive"}"#;
    let (left, _) = cut(ClientDialect::Anthropic, *HOME, &body(adaptive, result));
    assert!(left.contains("adaptive"), "{left}");
}

#[test]
fn responses_lose_foreign_reasoning_items_and_keep_their_own() {
    let body = r#"{"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"switchyard-signed~anthropic~c2ln"},{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"},{"type":"function_call","call_id":"c~switchyard-signed~gemini~eA==","name":"f","arguments":"{}","x":0.10}]}"#;
    let expected = r#"{"input":[{"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}","x":0.10}]}"#;
    let (left, dropped) = cut(ClientDialect::Responses, *HOME, body);
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
    let (left, dropped) = cut(ClientDialect::Gemini, *HOME, body);
    assert_eq!(left, with(""));
    assert_eq!(dropped, ["thinking"]);
    let newest = Home {
        model: "gemini-3-pro",
        google: true,
        ..*HOME
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
            assert_eq!(cut(dialect, *HOME, body), (body.to_owned(), Vec::new()));
        }
    }
}

#[test]
fn sources_that_another_provider_told_are_cut_out_of_the_text_they_were_told_with() {
    let body = r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"rain","citations":[{"type":"web_search_result_location","url":"https://a.example","encrypted_index":"switchyard-signed~openai~"},{"type":"web_search_result_location","encrypted_index":"Eo8B"}]}]}]}"#;
    let expected = r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"rain","citations":[{"type":"web_search_result_location","encrypted_index":"Eo8B"}]}]}]}"#;
    let (left, dropped) = cut(ClientDialect::Anthropic, *HOME, body);
    assert_eq!(
        (left.as_str(), dropped.as_slice()),
        (expected, ["citations"].as_slice())
    );
}

#[test]
fn each_of_two_accounts_of_one_form_gets_its_own_signatures_and_not_the_other_s() {
    let copy = SignerName::from("copy");
    let there = Home {
        signer: &copy,
        ..*HOME
    };
    let thought = |signature: &str| {
        format!(
            r#"{{"type":"thinking","thinking":"a","signature":"{signature}"}},{{"type":"redacted_thinking","data":"{signature}"}},"#
        )
    };
    let anthropic = |thoughts: &str| {
        format!(
            r#"{{"messages":[{{"role":"assistant","content":[{thoughts}{{"type":"text","text":"391","signature":"no thought"}}]}}]}}"#
        )
    };
    let (own, marked) = (
        thought("b3du"),
        thought("switchyard-signed~anthropic:copy~Y29weQ=="),
    );
    let asked = anthropic(&format!("{own}{marked}"));
    let (left, dropped) = cut(ClientDialect::Anthropic, *HOME, &asked);
    assert_eq!((left, dropped), (anthropic(&own), vec!["thinking"]));
    let (left, dropped) = cut(ClientDialect::Anthropic, there, &asked);
    let expected = anthropic(&thought("Y29weQ=="));
    assert_eq!((left, dropped), (expected, vec!["thinking"]));

    let item = |id: &str, encrypted: &str| {
        format!(
            r#"{{"type":"reasoning","id":"{id}","summary":[],"encrypted_content":"{encrypted}"}}"#
        )
    };
    let own = item("rs_1", "gAAA");
    let marked = item("rs_2", "switchyard-signed~openai-responses:copy~rs_2.gBBB");
    let asked = format!(r#"{{"input":[{own},{marked}]}}"#);
    let (left, _) = cut(ClientDialect::Responses, *HOME, &asked);
    assert_eq!(left, format!(r#"{{"input":[{own}]}}"#));
    let (left, _) = cut(ClientDialect::Responses, there, &asked);
    assert_eq!(left, format!(r#"{{"input":[{}]}}"#, item("rs_2", "gBBB")));

    let part = |signature: &str| {
        format!(r#"{{"text":"hm","thought":true,"thoughtSignature":"{signature}"}}"#)
    };
    // As its SDKs send it: base64 once more, in the letters of addresses.
    let marked = "c3dpdGNoeWFyZC1zaWduZWR-Z2VtaW5pOmNvcHl-WTI5d2VRPT0";
    let (own, marked) = (part("b3du"), part(marked));
    let asked = format!(r#"{{"contents":[{{"role":"model","parts":[{own},{marked}]}}]}}"#);
    let (left, _) = cut(ClientDialect::Gemini, *HOME, &asked);
    assert_eq!(left, asked.replace(&format!(",{marked}"), ""));
    let (left, _) = cut(ClientDialect::Gemini, there, &asked);
    let expected = asked.replace(&format!("{own},"), "");
    assert_eq!(left, expected.replace(&marked, &part("Y29weQ==")));
}

#[test]
fn details_of_thoughts_go_only_to_who_may_have_written_them() {
    let body = r#"{"messages":[{"role":"assistant","content":"391","reasoning_details":[{"type":"reasoning.encrypted","data":"eA=="}]}]}"#;
    let (left, dropped) = cut(ClientDialect::Openai, *HOME, body);
    assert_eq!(
        left,
        r#"{"messages":[{"role":"assistant","content":"391"}]}"#
    );
    assert_eq!(dropped, ["thinking"]);
    let writes = Home {
        details: true,
        ..*HOME
    };
    let (left, dropped) = cut(ClientDialect::Openai, writes, body);
    assert_eq!((left.as_str(), dropped.len()), (body, 0));
}

mod marks {
    use std::sync::Arc;

    use super::*;
    use crate::dialects::sse::Event;

    fn marker(dialect: ClientDialect, signer: &str) -> Option<Marker> {
        let signers = Arc::new(AT_HOME.1.clone());
        Marker::of(dialect, &signers.stamp(signer.into()))
    }

    fn whole(dialect: ClientDialect, body: &str) -> String {
        let body = Bytes::from(body.to_owned());
        let marked = marker(dialect, "copy").unwrap().whole(&body);
        String::from_utf8(marked.to_vec()).unwrap()
    }

    fn event(name: Option<&'static str>, data: &'static str) -> Event {
        Event {
            name: name.map(Bytes::from),
            data: Bytes::from(data),
            raw: Bytes::new(),
        }
    }

    fn said(marker: &mut Marker, event: &Event) -> Option<String> {
        let out = marker.event(event)?;
        Some(String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn who_is_at_home_is_not_marked() {
        for dialect in ClientDialect::ALL {
            assert!(marker(dialect, "home").is_none());
        }
    }

    #[test]
    fn a_whole_answer_names_its_signer_and_stays_the_same_beside() {
        let body = r#"{"content":[{"type":"thinking", "thinking":"\"signature\"","signature":"c2ln"},{"type":"redacted_thinking","data":"UkVE"},{"type":"text","text":"","x":1.50}]}"#;
        let marked = whole(ClientDialect::Anthropic, body);
        let name = "switchyard-signed~anthropic:copy~";
        let expected = body.replace("c2ln", &format!("{name}c2ln"));
        assert_eq!(marked, expected.replace("UkVE", &format!("{name}UkVE")));

        let body = r#"{"output":[{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA"},{"type":"reasoning","encrypted_content":null}]}"#;
        let marked = whole(ClientDialect::Responses, body);
        let name = "switchyard-signed~openai-responses:copy~rs_1.";
        assert_eq!(marked, body.replace("gAAA", &format!("{name}gAAA")));

        let body = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thoughtSignature":"c2ln"}]}},{}]}"#;
        let marked = whole(ClientDialect::Gemini, body);
        let in_base64 = "c3dpdGNoeWFyZC1zaWduZWR+Z2VtaW5pOmNvcHl+YzJsbg==";
        assert_eq!(marked, body.replace("c2ln", in_base64));
    }

    #[test]
    fn a_signature_in_pieces_is_marked_once() {
        let mut marker = marker(ClientDialect::Anthropic, "copy").unwrap();
        let start = event(
            Some("content_block_start"),
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        );
        let piece = event(
            Some("content_block_delta"),
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}"#,
        );
        let marked = "\"signature\":\"switchyard-signed~anthropic:copy~c2ln\"}}\n\n";
        for _ in 0..2 {
            assert_eq!(said(&mut marker, &start), None);
            let first = said(&mut marker, &piece).unwrap();
            assert!(
                first.starts_with("event: content_block_delta\ndata: {"),
                "{first}"
            );
            assert!(first.ends_with(marked), "{first}");
            assert_eq!(said(&mut marker, &piece), None, "its second piece");
        }
        let redacted = event(
            None,
            r#"{"type":"content_block_start","content_block":{"type":"redacted_thinking","data":"UkVE"}}"#,
        );
        let text = said(&mut marker, &redacted).unwrap();
        let marked = r#""data":"switchyard-signed~anthropic:copy~UkVE""#;
        assert!(text.contains(marked), "{text}");
    }

    #[test]
    fn items_of_a_stream_are_marked_wherever_they_are_said() {
        let mut marker = marker(ClientDialect::Responses, "copy").unwrap();
        for data in [
            r#"{"type":"response.output_item.done","item":{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA"}}"#,
            r#"{"type":"response.completed","response":{"output":[{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA"}]}}"#,
        ] {
            let text = said(&mut marker, &event(None, data)).unwrap();
            let name = "switchyard-signed~openai-responses:copy~rs_1.";
            let marked = data.replace("gAAA", &format!("{name}gAAA"));
            assert_eq!(text, format!("data: {marked}\n\n"));
        }
    }
}
