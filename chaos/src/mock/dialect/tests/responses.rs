//! `OpenAI` Responses, and embeddings as both of `OpenAI`'s dialects have them.

use super::*;
use Dialect::{OpenAi, Responses};

fn tools() -> Value {
    json!([{"type": "function", "name": "weather", "parameters": {}, "strict": false},
        {"type": "function", "name": "time", "parameters": {}, "strict": false}])
}

#[tokio::test]
async fn the_events_come_in_the_documented_order_numbered_without_gaps() {
    let mock = start(Responses).await;
    let seen = ask_stream(&mock, &Responses.sample_request("hi", true)).await;
    let wanted = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(seen.names(), wanted);
    for (place, ((name, _), data)) in seen.events.iter().zip(seen.documents()).enumerate() {
        assert_eq!(
            (&data["type"], &data["sequence_number"]),
            (&json!(name), &json!(place))
        );
    }
    let documents = seen.documents();
    assert_eq!(documents[0]["response"]["usage"], Value::Null);
    let whole = &documents.last().unwrap()["response"];
    let item = &documents[2]["item"]["id"];
    assert!(seen.at("/item_id").iter().all(|id| id == item) && whole["output"][0]["id"] == *item);
    assert_eq!(whole["output"][0]["content"][0]["text"], json!(seen.text()));
    let reported = mock.last().unwrap().reported.unwrap();
    assert_eq!(
        (
            &whole["usage"]["output_tokens"],
            &whole["usage"]["total_tokens"]
        ),
        (&json!(10), &json!(reported.input + 10))
    );
}

#[tokio::test]
async fn an_answer_repeats_the_settings_of_its_request_with_every_nullable_member() {
    let mock = start(Responses).await;
    let body = with(
        Responses.sample_request("hi", false),
        "temperature",
        json!(0.5),
    );
    let answer = ask(&mock, &body).await.json();
    assert_eq!(
        (&answer["temperature"], &answer["status"]),
        (&json!(0.5), &json!("completed"))
    );
    for member in [
        "error",
        "incomplete_details",
        "instructions",
        "previous_response_id",
        "user",
    ] {
        assert_eq!(answer.get(member), Some(&Value::Null), "{member}");
    }
}

#[tokio::test]
async fn a_limit_makes_the_answer_incomplete_and_says_why() {
    let mock = start(Responses).await;
    mock.weather(crate::mock::Weather::default().tokens(40));
    let body = |stream| {
        with(
            Responses.sample_request("hi", stream),
            "max_output_tokens",
            json!(16),
        )
    };
    let answer = ask(&mock, &body(false)).await.json();
    assert_eq!(
        (&answer["status"], &answer["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    let seen = ask_stream(&mock, &body(true)).await;
    assert_eq!(
        (seen.words(), seen.names().last().copied()),
        (16, Some("response.incomplete"))
    );
}

#[tokio::test]
async fn two_calls_are_streamed_in_halves_and_their_ids_agree() {
    let mock = start(Responses).await;
    let body = with(
        Responses.sample_request("[[tools:2]]", true),
        "tools",
        tools(),
    );
    let seen = ask_stream(&mock, &body).await;
    let whole = seen.documents().pop().unwrap()["response"]["output"].clone();
    let (first, second) = (&whole[0], &whole[1]);
    assert_eq!(
        (&first["name"], &second["name"]),
        (&json!("weather"), &json!("time"))
    );
    assert_ne!(first["call_id"], first["id"]);
    assert_ne!(first["call_id"], second["call_id"]);
    let halves: String = seen
        .documents()
        .iter()
        .filter(|data| {
            data["type"] == "response.function_call_arguments.delta" && data["output_index"] == 0
        })
        .map(|data| data["delta"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(json!(halves), first["arguments"]);
    let unary = with(
        Responses.sample_request("[[tools]]", false),
        "tools",
        tools(),
    );
    assert_eq!(
        ask(&mock, &unary).await.json()["output"][0]["type"],
        "function_call"
    );
    let forced = with(
        with(Responses.sample_request("hi", false), "tools", tools()),
        "tool_choice",
        json!({"type": "function", "name": "time"}),
    );
    assert_eq!(
        ask(&mock, &forced).await.json()["output"][0]["name"],
        "time"
    );
}

#[tokio::test]
async fn reasoning_is_an_item_before_the_message() {
    let mock = start(Responses).await;
    let body = with(
        Responses.sample_request("hi", true),
        "reasoning",
        json!({"effort": "low"}),
    );
    let seen = ask_stream(&mock, &body).await;
    let whole = &seen.documents().pop().unwrap()["response"]["output"];
    assert_eq!(
        (&whole[0]["type"], &whole[1]["type"]),
        (&json!("reasoning"), &json!("message"))
    );
    assert_eq!(whole[0]["summary"][0]["text"], "let me think");
    assert_eq!(seen.words(), 10, "thoughts are no text");
}

#[tokio::test]
async fn what_the_real_one_refuses_is_refused() {
    let mock = start(Responses).await;
    let plain = || Responses.sample_request("hi", false);
    let call = json!({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "c1", "output": "[[tools]]"});
    let wrong = [
        (with(plain(), "messages", json!([])), "messages"),
        (with(plain(), "max_tokens", json!(9)), "max_tokens"),
        (
            with(plain(), "max_output_tokens", json!(15)),
            "below minimum",
        ),
        (
            with(
                plain(),
                "tools",
                json!([{"type": "function", "function": {"name": "f"}}]),
            ),
            "tools[0].name",
        ),
        (
            with(
                plain(),
                "input",
                json!([{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
            ),
            "content[0].type",
        ),
        (
            with(plain(), "input", json!([{"role": "tool", "content": "x"}])),
            "input[0].role",
        ),
        (with(plain(), "input", json!([call])), "No tool output"),
        (with(plain(), "input", json!([output])), "No tool call"),
        (with(plain(), "input", json!(7)), "input"),
    ];
    for (body, named) in wrong {
        let (status, said) = refused(&mock, &body).await;
        assert!(
            status == 400 && said.contains(named),
            "{named}: {status} {said}"
        );
    }
    let answered = with(
        plain(),
        "input",
        json!([{"role": "user", "content": "hi"}, call, output]),
    );
    let answered = with(answered, "tools", tools());
    let answer = ask(&mock, &answered).await;
    assert_eq!(answer.status(), 200);
    assert!(
        canary::verify(&Responses.text_of(&[answer.json()])).is_ok(),
        "after a result come words"
    );
}

#[tokio::test]
async fn s11_s17_errors_and_cut_calls_in_their_forms() {
    let nested = stream("S11", Responses).await.documents().pop().unwrap();
    assert_eq!(
        (&nested["type"], &nested["error"]["type"]),
        (&json!("error"), &json!("overloaded_error"))
    );
    let flat = stream("S11/flat", Responses)
        .await
        .documents()
        .pop()
        .unwrap();
    assert_eq!(
        (&flat["type"], &flat["code"]),
        (&json!("error"), &json!("server_error"))
    );
    let failed = stream("S11/failed", Responses)
        .await
        .documents()
        .pop()
        .unwrap();
    assert_eq!(failed["response"]["error"]["code"], "server_error");
    let cut = stream("S17", Responses).await;
    let last = cut.documents().pop().unwrap();
    assert_eq!(last["response"]["status"], "completed");
    let arguments = last["response"]["output"][0]["arguments"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(arguments.starts_with('{') && serde_json::from_str::<Value>(&arguments).is_err());
    assert_eq!(cut.at("/arguments"), [json!(arguments)]);
}

#[tokio::test]
async fn p25_filtered_answers_have_no_text() {
    for form in ["P25/incomplete", "P25/refusal"] {
        let answer = answer(form, Responses).await;
        assert_eq!(
            (
                answer.status(),
                Responses.text_of(&[answer.json()]).as_str()
            ),
            (200, ""),
            "{form}"
        );
    }
    let filtered = answer("P25/incomplete", Responses).await.json();
    assert_eq!(filtered["incomplete_details"]["reason"], "content_filter");
}

#[tokio::test]
async fn embeddings_are_the_same_for_the_same_text_and_told_in_both_encodings() {
    for dialect in [OpenAi, Responses] {
        let mock = start(dialect).await;
        let ask = |body: Value| {
            let mock = &mock;
            async move { post(mock, "/v1/embeddings", &body).await }
        };
        let body = json!({"model": "embed", "input": ["hello", "other"], "dimensions": 3});
        let answer = ask(body.clone()).await.json();
        assert_eq!(answer["data"][1]["index"], 1);
        assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 3);
        assert_ne!(
            answer["data"][0]["embedding"],
            answer["data"][1]["embedding"]
        );
        assert_eq!(answer["data"], ask(body.clone()).await.json()["data"]);
        assert_eq!(
            answer["usage"],
            json!({"prompt_tokens": 2, "total_tokens": 2})
        );
        assert_eq!(mock.last().unwrap().reported.unwrap().input, 2);
        let packed = ask(with(body, "encoding_format", json!("base64")))
            .await
            .json();
        assert_eq!(
            packed["data"][0]["embedding"].as_str().unwrap().len(),
            16,
            "3 floats of 4 bytes"
        );
        for wrong in [
            json!({"model": "e", "input": []}),
            json!({"model": "e", "input": [""]}),
            json!({"model": "e"}),
        ] {
            assert_eq!(ask(wrong).await.status(), 400);
        }
        assert_eq!(get(&mock, "/v1/models").await.status(), 200);
        mock.set(fault::p10(dialect));
        let failed = ask(json!({"model": "e", "input": "x"})).await;
        assert_eq!(failed.status(), 500, "faults reach embeddings too");
    }
}
