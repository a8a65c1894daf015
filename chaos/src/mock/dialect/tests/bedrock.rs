//! Bedrock Converse.

use super::*;
use Dialect::Bedrock;

fn tools() -> Value {
    let tool = |name: &str| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}});
    json!({"tools": [tool("weather"), tool("time")]})
}

#[tokio::test]
async fn events_come_in_the_documented_order_in_sound_frames() {
    let mock = start(Bedrock).await;
    let seen = ask_stream(&mock, &Bedrock.sample_request("hi", true)).await;
    let wanted = [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ];
    assert_eq!(seen.names(), wanted);
    assert_eq!(seen.content_type, "application/vnd.amazon.eventstream");
    let reported = mock.last().unwrap().reported.unwrap();
    let usage = json!({"inputTokens": reported.input, "outputTokens": 10, "totalTokens": reported.input + 10});
    assert_eq!(seen.at("/usage"), [usage]);
    assert_eq!(seen.at("/stopReason"), [json!("end_turn")]);
    let unary = ask(&mock, &Bedrock.sample_request("hi", false)).await;
    assert!(unary.header("x-amzn-requestid").is_some());
    assert_eq!(unary.json()["usage"]["outputTokens"], 10);
    assert!(unary.json()["metrics"]["latencyMs"].is_u64());
}

#[tokio::test]
async fn the_key_is_the_id_in_the_credential() {
    let mock = start(Bedrock).await;
    mock.accept_key("AKIAGOOD");
    let body = Bedrock.sample_request("hi", false);
    let mut client = connect(&mock).await;
    let bearer = |key: &str| vec![("authorization".to_owned(), format!("Bearer {key}"))];
    for (headers, status) in [
        (Bedrock.sample_headers("AKIAGOOD"), 200),
        (bearer("AKIAGOOD"), 200),
        (Bedrock.sample_headers("AKIABAD"), 403),
        (vec![("x-api-key".to_owned(), "AKIAGOOD".to_owned())], 403),
    ] {
        let answer = client
            .post_json(Bedrock.path(), &headers, &body)
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{headers:?}");
        if status == 403 {
            let kind = answer.header("x-amzn-errortype").unwrap().to_owned();
            assert!(kind.starts_with("UnrecognizedClientException:"), "{kind}");
        }
    }
    assert_eq!(mock.log()[0].asked.key(), Some("AKIAGOOD"));
    let path = "/model/us.vendor.m-v1%3A0/converse";
    post(&mock, path, &body).await;
    assert_eq!(
        mock.last().unwrap().asked.model(),
        Some("us.vendor.m-v1%3A0")
    );
    let open = start(Bedrock).await;
    assert_eq!(
        connect(&open)
            .await
            .post_json(Bedrock.path(), &[], &body)
            .await
            .unwrap()
            .status(),
        403
    );
}

#[tokio::test]
async fn calls_are_streamed_in_halves_and_thoughts_are_signed() {
    let mock = start(Bedrock).await;
    let body = |stream| {
        with(
            Bedrock.sample_request("[[tools:2]]", stream),
            "toolConfig",
            tools(),
        )
    };
    let whole = ask(&mock, &body(false)).await.json();
    assert_eq!(whole["stopReason"], "tool_use");
    let calls = &whole["output"]["message"]["content"];
    assert_eq!(
        (&calls[0]["toolUse"]["name"], &calls[1]["toolUse"]["name"]),
        (&json!("weather"), &json!("time"))
    );
    let seen = ask_stream(&mock, &body(true)).await;
    assert_eq!(
        seen.at("/start/toolUse/name"),
        [json!("weather"), json!("time")]
    );
    let documents = seen.documents();
    let first = documents
        .iter()
        .filter(|data| data["contentBlockIndex"] == 0);
    let input: String = first
        .filter_map(|data| data.pointer("/delta/toolUse/input")?.as_str())
        .collect();
    assert!(
        serde_json::from_str::<Value>(&input).unwrap().is_object(),
        "{input}"
    );
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let thinking = with(
        Bedrock.sample_request("hi", true),
        "additionalModelRequestFields",
        thinking,
    );
    let thought = ask_stream(&mock, &thinking).await;
    assert_eq!(thought.at("/delta/reasoningContent/signature").len(), 1);
    assert_eq!(thought.words(), 10);
}

#[tokio::test]
async fn a_limit_and_a_forced_tool_are_obeyed() {
    let mock = start(Bedrock).await;
    let short = with(
        Bedrock.sample_request("hi", false),
        "inferenceConfig",
        json!({"maxTokens": 3}),
    );
    let short = ask(&mock, &short).await.json();
    assert_eq!(
        (&short["stopReason"], &short["usage"]["outputTokens"]),
        (&json!("max_tokens"), &json!(3))
    );
    for (choice, name) in [
        (json!({"any": {}}), "weather"),
        (json!({"tool": {"name": "time"}}), "time"),
    ] {
        let config = with(tools(), "toolChoice", choice);
        let forced = with(Bedrock.sample_request("hi", false), "toolConfig", config);
        let answer = ask(&mock, &forced).await.json();
        assert_eq!(
            answer["output"]["message"]["content"][0]["toolUse"]["name"],
            name
        );
    }
}

/// One turn of one block.
fn turn(role: &str, block: Value) -> Value {
    json!({"role": role, "content": [block]})
}

fn said(role: &str) -> Value {
    turn(role, json!({"text": "x"}))
}

#[tokio::test]
async fn what_the_real_one_refuses_is_refused() {
    let mock = start(Bedrock).await;
    let plain = || Bedrock.sample_request("hi", false);
    let call = turn(
        "assistant",
        json!({"toolUse": {"toolUseId": "t1", "name": "time", "input": {}}}),
    );
    let result = turn(
        "user",
        json!({"toolResult": {"toolUseId": "t1", "content": [{"text": "[[tools]]"}]}}),
    );
    let of = |turns: Value| with(plain(), "messages", turns);
    let wrong = [
        (of(json!([said("assistant")])), "start with a user"),
        (of(json!([said("user"), said("user")])), "alternate"),
        (
            of(json!([{"role": "user", "content": "x"}])),
            "list of blocks",
        ),
        (of(json!([turn("user", json!({"text": " "}))])), "blank"),
        (
            of(json!([turn("user", json!({"type": "text", "text": "x"}))])),
            "exactly one",
        ),
        (
            of(json!([said("user"), call.clone(), result.clone()])),
            "toolConfig",
        ),
        (
            with(
                of(json!([said("user"), call.clone(), said("user")])),
                "toolConfig",
                tools(),
            ),
            "toolResult",
        ),
        (
            with(plain(), "inferenceConfig", json!({"max_tokens": 5})),
            "extraneous",
        ),
        (
            with(plain(), "inferenceConfig", json!({"maxTokens": 0})),
            "maxTokens",
        ),
        (
            with(plain(), "toolConfig", json!({"tools": []})),
            "toolConfig.tools",
        ),
        (with(plain(), "system", json!([{"text": ""}])), "system"),
    ];
    for (body, named) in wrong {
        let (status, said) = refused(&mock, &body).await;
        assert!(
            status == 400 && said.contains(named),
            "{named}: {status} {said}"
        );
    }
}

#[tokio::test]
async fn after_a_tools_result_come_words() {
    let mock = start(Bedrock).await;
    let call = turn(
        "assistant",
        json!({"toolUse": {"toolUseId": "t1", "name": "time", "input": {}}}),
    );
    let result = turn(
        "user",
        json!({"toolResult": {"toolUseId": "t1", "content": [{"text": "[[tools]]"}]}}),
    );
    let turns = json!([turn("user", json!({"text": "[[tools]]"})), call, result]);
    let body = with(Bedrock.sample_request("", false), "messages", turns);
    let answer = ask(&mock, &with(body, "toolConfig", tools())).await.json();
    assert!(canary::verify(&Bedrock.text_of(&[answer])).is_ok());
}

#[tokio::test]
async fn errors_are_named_in_a_field_before_the_stream_and_in_a_header_inside_it() {
    for (status, name) in [
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
        (404, "ResourceNotFoundException"),
    ] {
        let mock = start(Bedrock).await;
        mock.set(Bedrock.error(status, "x"));
        let answer = ask(&mock, &Bedrock.sample_request("hi", false)).await;
        assert!(answer.header("x-amzn-errortype").unwrap().starts_with(name));
        assert_eq!(
            (answer.status(), answer.json()),
            (status, json!({"message": "x"}))
        );
    }
    for (fault, name) in [
        ("S11", "serviceUnavailableException"),
        ("S11/throttled", "throttlingException"),
        ("S11/model_stream", "modelStreamErrorException"),
    ] {
        let seen = stream(fault, Bedrock).await;
        assert_eq!(seen.events.last().unwrap().0, name, "{fault}");
    }
    assert!(
        fault::by_number("P28", Bedrock).is_none(),
        "answers name no model"
    );
    assert!(
        fault::by_number("P05", Bedrock).is_none(),
        "no limits are told"
    );
}

#[tokio::test]
async fn s12_s16_spoilt_frames_are_seen_by_their_checksums_and_odd_ones_are_sound() {
    let whole = stream("S16/filler", Bedrock).await;
    assert!(whole.documents().iter().all(|data| data["p"].is_string()));
    for fault in ["S12/checksum", "S12/payload", "S12/prelude"] {
        let seen = stream(fault, Bedrock).await;
        assert!(
            seen.text().contains("c1-49 c1-51"),
            "{fault}: one frame is unsound"
        );
    }
    let usage_first = stream("S16/usage_before_the_reason", Bedrock).await;
    assert_eq!(usage_first.names().last().copied(), Some("messageStop"));
    let cut = stream("S17", Bedrock).await;
    let input: String = cut
        .at("/delta/toolUse/input")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        serde_json::from_str::<Value>(&input).is_err()
            && cut.at("/stopReason") == [json!("tool_use")]
    );
}
