use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn numbered() -> impl FnMut() -> String {
    let mut number = 0;
    move || {
        number += 1;
        number.to_string()
    }
}

fn rewrite(body: &str, before: &[Value]) -> Rewritten {
    let ask = read_state(body.as_bytes()).unwrap();
    rewritten(body.as_bytes(), &ask, before, &[], &mut numbered()).unwrap()
}

#[test]
fn what_is_not_about_the_state_stays_as_it_was_written() {
    let body = r#"{ "model" : "m","input" :[ {"role":"user","content":"h\u0069","odd":1.50} ], "store": true,
        "unknown":{"big":12345678901234567890123,"e":1e5},"previous_response_id":null,"background":false}"#;
    let made = rewrite(body, &[]);
    assert_eq!(
        String::from_utf8(made.body).unwrap(),
        r#"{"model":"m","unknown":{"big":12345678901234567890123,"e":1e5},"input":[ {"role":"user","content":"h\u0069","odd":1.50} ],"store":false}"#
    );
    assert_eq!(
        made.input,
        [
            json!({"role": "user", "content": [{"type": "input_text", "text": "hi"}], "odd": 1.5, "id": "msg_1", "type": "message"})
        ]
    );
}

#[test]
fn what_it_goes_on_from_stands_before_what_it_adds() {
    let body = r#"{"model":"m","input":"a","previous_response_id":"resp_1"}"#;
    let made = rewrite(body, &[json!({"role": "user", "content": "before"})]);
    let sent: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!(
        sent,
        json!({"model": "m", "store": false, "input": [
            {"role": "user", "content": "before"}, {"type": "message", "role": "user", "content": "a"},
        ]})
    );
    assert_eq!(made.input.len(), 1);
}

#[test]
fn e5_a_place_in_what_is_sent_is_told_as_the_client_knows_it() {
    let known = [
        json!({"id": "rs_1", "type": "reasoning", "summary": []}),
        json!({"id": "msg_1", "type": "message", "role": "user", "content": "a"}),
    ];
    let body = br#"{"input":[{"type":"item_reference","id":"rs_1"},{"type":"item_reference","id":"msg_1"},{"role":"user","content":"b"}]}"#;
    let ask = read_state(body).unwrap();
    let before = [json!({"role": "user", "content": "before"})];
    let made = rewritten(body, &ask, &before, &known, &mut numbered()).unwrap();
    assert!(made.forgets, "a thought that is only named is lost");
    for (sent, own) in [
        ("input[0].content", "previous_response_id"),
        ("input[1].role", "input[1].role"),
        ("input[2].content[0]", "input[2].content[0]"),
        ("input[3]", "input[3]"),
        ("input[x]", "input[x]"),
        ("tools[0]", "tools[0]"),
    ] {
        assert_eq!(made.shift.told(sent), own);
    }
    let alone = rewrite(r#"{"input":[{"role":"user","content":"b"}]}"#, &before);
    assert_eq!(alone.shift.told("input[1].content"), "input[0].content");
    assert!(!alone.forgets);
}

#[test]
fn e5_who_asks_for_a_summary_of_the_thoughts_asks_for_thoughts() {
    for (reasoning, thinks) in [
        (r#"{"summary":"auto"}"#, Some(true)),
        (r#"{"summary":"auto","effort":"none"}"#, Some(false)),
        (r#"{"summary":"none"}"#, None),
        ("{}", None),
    ] {
        let ask = read_state(format!(r#"{{"reasoning":{reasoning}}}"#).as_bytes()).unwrap();
        assert_eq!(ask.thinks, thinks, "{reasoning}");
    }
}

#[test]
fn a_name_written_with_escapes_is_no_way_around() {
    // Nothing of it is read here, and nobody behind reads it at all.
    let body = br#"{"model":"m","input":"a","st\u006fre":true}"#;
    assert_eq!(read_state(body).unwrap(), StateAsk::default());
    assert!(
        crate::dialects::openai::peek_named(body, crate::domain::ClientDialect::Responses).is_err()
    );
}

#[test]
fn wrong_types_are_told_by_name() {
    for (body, param) in [
        (r#"{"store":1}"#, "store"),
        (r#"{"background":"yes"}"#, "background"),
        (r#"{"previous_response_id":[]}"#, "previous_response_id"),
        (r#"{"conversation":{"id":"conv_1"}}"#, "conversation"),
        (r#"{"input":[{"type":"item_reference"}]}"#, "input[0].id"),
    ] {
        let error = read_state(body.as_bytes()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{body}");
    }
}

#[test]
fn a_body_without_input_or_with_an_odd_one_is_left_to_who_reads_all_of_it() {
    for (body, sent) in [
        (r#"{"model":"m"}"#, r#"{"model":"m","store":false}"#),
        (r#"{"input":7}"#, r#"{"store":false}"#),
    ] {
        let made = rewrite(body, &[]);
        assert_eq!(String::from_utf8(made.body).unwrap(), sent);
        assert!(made.input.is_empty());
    }
}

#[test]
fn only_a_response_that_ended_by_itself_is_gone_on_from() {
    for (status, may) in [
        ("completed", true),
        ("incomplete", true),
        ("failed", false),
        ("cancelled", false),
        ("in_progress", false),
        ("queued", false),
    ] {
        let response = json!({"status": status, "output": []});
        assert_eq!(said_again(&[], &response).is_ok(), may, "{status}");
    }
}

#[test]
fn a_stream_cut_short_holds_what_had_come() {
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_item.done", "item": {"type": "reasoning", "id": "rs_1"}}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "half a "}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "word"}),
    ];
    let log: String = events
        .iter()
        .map(|event| format!("event: x\ndata: {event}\n\n"))
        .collect();
    let cut = cut_short(log.as_bytes(), "cancelled").unwrap();
    assert_eq!(cut["status"], "cancelled");
    assert_eq!(cut["output"][0]["id"], "rs_1");
    assert_eq!(cut["output"][1]["id"], "msg_1");
    assert_eq!(cut["output"][1]["content"][0]["text"], "half a word");
    assert_eq!(cut_short(b"", "failed"), None);
}

#[test]
fn what_failed_says_what_had_come_where_it_says_less_itself() {
    let log = [
        json!({"type": "response.created", "response": {"id": "resp_1", "output": []}}),
        json!({"type": "response.output_item.done", "item": {"type": "reasoning", "id": "rs_1"}}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "half"}),
    ];
    let log: String = log
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let told = |status: &str, output: Value| {
        let response = json!({"id": "resp_1", "status": status, "output": output});
        let event = json!({"type": "response.failed", "sequence_number": 9, "response": response});
        let line = format!("data: {event}").into_bytes();
        let (line, response) = with_what_had_come(line, response, log.as_bytes());
        let event: Value = serde_json::from_slice(&line["data: ".len()..]).unwrap();
        assert_eq!(event["response"], response, "what is told is what is kept");
        assert_eq!(event["sequence_number"], 9);
        response["output"].clone()
    };
    for less in [json!([]), json!([{"id": "rs_1"}])] {
        let output = told("failed", less);
        assert_eq!(output[0]["id"], "rs_1");
        assert_eq!(output[1]["content"][0]["text"], "half");
    }
    let own = json!([{"id": "a"}, {"id": "b"}]);
    assert_eq!(told("failed", own.clone()), own);
    assert_eq!(told("completed", json!([])), json!([]));
}

fn block(kind: &str, number: u64, fields: Value) -> String {
    let mut event = fields;
    event["type"] = kind.into();
    event["sequence_number"] = number.into();
    format!("event: {kind}\ndata: {event}\n\n")
}

/// Type and number of each event.
fn numbered_kinds(stream: &[u8]) -> Vec<(String, u64)> {
    let text = std::str::from_utf8(stream).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| {
        let event: Value = serde_json::from_str(data).unwrap();
        let number = event["sequence_number"].as_u64().unwrap();
        (event["type"].as_str().unwrap().to_owned(), number)
    })
    .collect()
}

#[test]
fn who_reads_on_is_told_the_end_of_a_stream_that_was_not_kept_to_its_end() {
    let begun = block("response.created", 0, json!({"response": {}}));
    let delta = block("response.output_text.delta", 1, json!({"delta": "a"}));
    let half = format!("{begun}{delta}");
    for (status, kind) in [
        ("failed", "response.failed"),
        ("cancelled", "error"),
        ("incomplete", "response.incomplete"),
        ("completed", "response.completed"),
    ] {
        let response = json!({"id": "resp_1", "status": status, "output": []});
        let end = |number: u64| vec![(kind.to_owned(), number)];
        // Nothing of it was kept: it was cut off with the process, or cancelled.
        for known in [7, u64::MAX] {
            let told = told_again(b"", &response, Some(known));
            assert_eq!(numbered_kinds(&told), end(known.saturating_add(1)));
        }
        let told = told_again(b"", &response, None);
        assert_eq!(numbered_kinds(&told).last(), end(2).last());
        // Half of it was.
        let told = told_again(half.as_bytes(), &response, Some(0));
        assert_eq!(numbered_kinds(&told)[1..], end(2), "{status}");
        let told = told_again(half.as_bytes(), &response, Some(1));
        assert_eq!(numbered_kinds(&told), end(2), "{status}");
        let told = told_again(half.as_bytes(), &response, None);
        assert!(told.starts_with(half.as_bytes()));
        assert_eq!(numbered_kinds(&told)[2..], end(2), "{status}");
    }
    let whole = format!("{half}{}", block("response.completed", 2, json!({})));
    let response = json!({"status": "completed", "output": []});
    assert_eq!(
        told_again(whole.as_bytes(), &response, None),
        whole.as_bytes()
    );
    let told = told_again(whole.as_bytes(), &response, Some(1));
    assert_eq!(numbered_kinds(&told), [("response.completed".into(), 2)]);
}

#[test]
fn a_stream_too_long_to_be_kept_ends_at_its_own_number() {
    let mut log = EventLog::default();
    let long = "a".repeat(1 << 20);
    log.push(block("response.created", 0, json!({"response": {}})).as_bytes());
    for number in 1..10 {
        let event = block("response.output_text.delta", number, json!({"delta": long}));
        log.push(event.as_bytes());
    }
    assert!(log.whole().is_empty(), "it has not ended");
    let response = json!({"status": "completed", "output": [{"type": "message", "content": []}]});
    log.push(block("response.completed", 10, json!({"response": response})).as_bytes());
    let kept = log.whole();
    assert!(kept.len() < 200);
    let told = told_again(&kept, &response, Some(4));
    assert_eq!(numbered_kinds(&told), [("response.completed".into(), 10)]);
    let text = String::from_utf8(told).unwrap();
    assert!(text.contains(r#""type":"message""#), "with all it says");
    // From its beginning it is told anew.
    let told = numbered_kinds(&told_again(&kept, &response, None));
    assert_eq!(told.first(), Some(&("response.created".into(), 0)));
    assert_eq!(told.last().unwrap().0, "response.completed");
}

#[test]
fn a_log_that_is_given_up_still_says_of_what_it_was_and_how_it_ended() {
    let mut log = EventLog::default();
    let begun = block("response.created", 0, json!({"response": {"id": "resp_1"}}));
    log.push(begun.as_bytes());
    log.push(block("response.output_text.delta", 1, json!({"delta": "a"})).as_bytes());
    log.give_up();
    assert_eq!(log.so_far(), begun.as_bytes());
    assert_eq!(cut_short(log.so_far(), "failed").unwrap()["id"], "resp_1");
    log.push(block("response.completed", 2, json!({})).as_bytes());
    assert_eq!(
        numbered_kinds(&log.whole()),
        [("response.completed".to_owned(), 2)]
    );
}

#[test]
fn a_text_that_looks_like_an_event_is_left_alone() {
    let stamp = Stamp {
        id: Some("resp_ours".to_owned()),
        previous: None,
        background: false,
    };
    let text =
        json!({"type": "response.output_text.delta", "delta": "\"response\":{\"id\":\"x\"}"});
    assert_eq!(
        stamp_line(format!("data: {text}\n").as_bytes(), &stamp),
        None
    );
    let done =
        json!({"type": "response.completed", "response": {"id": "resp_theirs", "store": false}});
    let (line, response, last) = stamp_line(format!("data: {done}\n").as_bytes(), &stamp).unwrap();
    assert!(last);
    assert_eq!(
        (&response["id"], &response["store"]),
        (&json!("resp_ours"), &json!(true))
    );
    assert!(!String::from_utf8(line).unwrap().contains("theirs"));
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in any::<Vec<u8>>()) {
        if let Ok(ask) = read_state(&body) {
            let _ = rewritten(&body, &ask, &[], &[], &mut numbered());
        }
    }

    #[test]
    fn every_page_of_a_list_together_is_the_list(count in 0_usize..60, limit in 1_usize..20, newest: bool) {
        let items: Vec<Value> = (0..count).map(|number| json!({"id": number.to_string()})).collect();
        let order = if newest { Order::Newest } else { Order::Oldest };
        let mut query = PageQuery { limit: Some(limit), order, ..PageQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = page(items.clone(), &query).map_err(|error| TestCaseError::fail(error.message))?;
            seen.extend(page["data"].as_array().cloned().unwrap_or_default());
            if page["has_more"] == false {
                break;
            }
            query.after = page["last_id"].as_str().map(str::to_owned);
        }
        let mut wanted = items;
        if newest {
            wanted.reverse();
        }
        prop_assert_eq!(seen, wanted);
    }
}
