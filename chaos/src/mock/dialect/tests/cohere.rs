//! Cohere.

use super::*;
use Dialect::Cohere;

fn tools() -> Value {
    let tool =
        |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
    json!([tool("weather"), tool("time")])
}

#[tokio::test]
async fn events_come_in_the_documented_order_with_their_type_in_both_places() {
    let mock = start(Cohere).await;
    let seen = ask_stream(&mock, &Cohere.sample_request("hi", true)).await;
    let wanted = [
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "message-end",
    ];
    assert_eq!(seen.names(), wanted);
    for ((name, _), data) in seen.events.iter().zip(seen.documents()) {
        assert_eq!(data["type"], json!(name));
    }
    let end = seen.documents().pop().unwrap()["delta"].clone();
    assert_eq!(
        (
            &end["finish_reason"],
            &end["usage"]["tokens"]["output_tokens"]
        ),
        (&json!("COMPLETE"), &json!(10.0))
    );
    assert!(
        end["usage"]["billed_units"]["input_tokens"].as_f64()
            < end["usage"]["tokens"]["input_tokens"].as_f64()
    );
    let unary = ask(&mock, &Cohere.sample_request("hi", false)).await.json();
    assert_eq!(unary["message"]["content"][0]["type"], "text");
    let models = get(&mock, "/v1/models").await.json();
    assert_eq!(models["models"][0]["name"], "mock-model");
}

#[tokio::test]
async fn calls_come_as_objects_behind_a_plan_and_without_content() {
    let mock = start(Cohere).await;
    let body = |stream| {
        with(
            Cohere.sample_request("[[tools:2]]", stream),
            "tools",
            tools(),
        )
    };
    let whole = ask(&mock, &body(false)).await.json();
    assert_eq!(whole["finish_reason"], "TOOL_CALL");
    assert!(whole["message"].get("content").is_none() && whole["message"]["tool_plan"].is_string());
    let calls = &whole["message"]["tool_calls"];
    assert_eq!(
        (&calls[0]["function"]["name"], &calls[1]["function"]["name"]),
        (&json!("weather"), &json!("time"))
    );
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    let seen = ask_stream(&mock, &body(true)).await;
    assert_eq!(seen.at("/delta/message/tool_calls/id").len(), 2);
    let documents = seen.documents();
    let first = documents.iter().filter(|data| data["index"] == 0);
    let arguments: String = first
        .filter_map(|data| {
            data.pointer("/delta/message/tool_calls/function/arguments")?
                .as_str()
        })
        .collect();
    assert!(
        serde_json::from_str::<Value>(&arguments)
            .unwrap()
            .is_object()
    );
    let must = with(
        with(Cohere.sample_request("hi", false), "tools", tools()),
        "tool_choice",
        json!("REQUIRED"),
    );
    assert_eq!(ask(&mock, &must).await.json()["finish_reason"], "TOOL_CALL");
}

#[tokio::test]
async fn thoughts_come_first_and_a_limit_is_obeyed() {
    let mock = start(Cohere).await;
    let body = with(
        Cohere.sample_request("hi", true),
        "thinking",
        json!({"type": "enabled"}),
    );
    let seen = ask_stream(&mock, &with(body, "max_tokens", json!(3))).await;
    let kinds = seen.at("/delta/message/content/type");
    assert_eq!(
        (kinds, seen.words()),
        (vec![json!("thinking"), json!("text")], 3)
    );
    assert_eq!(seen.at("/delta/finish_reason"), [json!("MAX_TOKENS")]);
}

#[tokio::test]
async fn what_the_real_one_refuses_is_refused() {
    let mock = start(Cohere).await;
    let plain = || Cohere.sample_request("hi", false);
    let call = json!({"role": "assistant", "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "time", "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "t1", "content": "[[tools]]"});
    let user = json!({"role": "user", "content": "x"});
    let wrong = [
        (with(plain(), "n", json!(2)), "unknown field: n"),
        (with(plain(), "stream_options", json!({})), "stream_options"),
        (with(plain(), "tool_choice", json!("auto")), "REQUIRED"),
        (
            with(
                plain(),
                "stop_sequences",
                json!(["a", "b", "c", "d", "e", "f"]),
            ),
            "stop_sequences",
        ),
        (
            with(
                plain(),
                "messages",
                json!([{"role": "developer", "content": "x"}]),
            ),
            "unknown role",
        ),
        (
            with(plain(), "messages", json!([{"role": "assistant"}])),
            "neither",
        ),
        (
            with(plain(), "messages", json!([user, call, user])),
            "no result",
        ),
        (
            with(plain(), "messages", json!([user, result])),
            "no tool call",
        ),
    ];
    for (body, named) in wrong {
        let (status, said) = refused(&mock, &body).await;
        assert!(
            status == 400 && said.contains(named),
            "{named}: {status} {said}"
        );
    }
    let answered = with(
        with(plain(), "messages", json!([user, call, result])),
        "tools",
        tools(),
    );
    assert!(canary::verify(&Cohere.text_of(&[ask(&mock, &answered).await.json()])).is_ok());
    let nobody = connect(&mock)
        .await
        .post_json(Cohere.path(), &[], &plain())
        .await
        .unwrap();
    assert_eq!(
        (nobody.status(), nobody.json()["message"].is_string()),
        (401, true)
    );
}

#[tokio::test]
async fn s11_s16_s17_failures_and_other_spellings() {
    let failed = stream("S11", Cohere).await.documents().pop().unwrap();
    assert_eq!(
        (&failed["type"], &failed["delta"]["finish_reason"]),
        (&json!("message-end"), &json!("ERROR"))
    );
    assert_eq!(
        stream("S11/timeout", Cohere)
            .await
            .at("/delta/finish_reason"),
        [json!("TIMEOUT")]
    );
    assert_eq!(stream("S16/no_event_names", Cohere).await.names(), [""]);
    let cut = stream("S17", Cohere).await;
    let found = cut.at("/delta/message/tool_calls/function/arguments");
    let arguments: String = found.iter().filter_map(Value::as_str).collect();
    assert!(arguments.starts_with('{') && serde_json::from_str::<Value>(&arguments).is_err());
    assert_eq!(cut.at("/delta/finish_reason"), [json!("TOOL_CALL")]);
}

#[tokio::test]
async fn embeddings_want_a_purpose_and_tell_billed_tokens() {
    let mock = start(Cohere).await;
    let body = json!({"model": "embed", "texts": ["hello", "b"], "input_type": "search_document", "embedding_types": ["float"]});
    let answer = post(&mock, "/v2/embed", &body).await.json();
    assert_eq!(answer["embeddings"]["float"].as_array().unwrap().len(), 2);
    assert_eq!(answer["meta"]["billed_units"]["input_tokens"], 2);
    let parts = json!({"model": "embed", "inputs": [{"content": [{"type": "text", "text": "hello"}]}], "input_type": "search_query"});
    let same = post(&mock, "/v2/embed", &parts).await.json();
    assert_eq!(
        same["embeddings"]["float"][0],
        answer["embeddings"]["float"][0]
    );
    for wrong in [
        json!({"model": "e", "texts": ["x"]}),
        with(body, "texts", json!(vec!["x"; 97])),
    ] {
        assert_eq!(post(&mock, "/v2/embed", &wrong).await.status(), 400);
    }
}
