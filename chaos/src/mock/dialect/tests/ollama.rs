//! Ollama.

use super::*;
use Dialect::Ollama;

fn tools() -> Value {
    let tool =
        |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
    json!([tool("weather"), tool("time")])
}

#[tokio::test]
async fn an_answer_is_one_object_a_line_and_the_last_tells_counts() {
    let mock = start(Ollama).await;
    let seen = ask_stream(&mock, &Ollama.sample_request("hi", true)).await;
    let lines = seen.documents();
    assert_eq!(
        (lines.len(), seen.content_type.as_str()),
        (11, "application/x-ndjson")
    );
    let done: Vec<bool> = lines.iter().map(|line| line["done"] == true).collect();
    assert_eq!(done.iter().position(|done| *done), Some(10));
    let last = &lines[10];
    assert_eq!(
        (&last["done_reason"], &last["eval_count"]),
        (&json!("stop"), &json!(10))
    );
    assert_eq!(
        last["prompt_eval_count"],
        json!(mock.last().unwrap().reported.unwrap().input)
    );
    assert!(
        lines[..10]
            .iter()
            .all(|line| line.get("eval_count").is_none())
    );
    let whole = ask(&mock, &Ollama.sample_request("hi", false)).await.json();
    assert_eq!(
        (&whole["done"], &whole["model"]),
        (&json!(true), &json!("mock-model"))
    );
    assert_eq!(
        get(&mock, "/api/tags").await.json()["models"][0]["name"],
        "mock-model"
    );
}

#[tokio::test]
async fn it_streams_unless_told_otherwise() {
    let mock = start(Ollama).await;
    let mut body = Ollama.sample_request("hi", true);
    body.as_object_mut().unwrap().remove("stream");
    let seen = ask_stream(&mock, &body).await;
    assert_eq!((seen.documents().len(), seen.words()), (11, 10));
    let fast = MockOptions {
        fast: Some(crate::mock::Fast::default()),
        ..MockOptions::for_dialect(Ollama)
    };
    let fast = MockProvider::start(fast).await.unwrap();
    assert_eq!(ask_stream(&fast, &body).await.documents().len(), 33);
}

#[tokio::test]
async fn calls_are_objects_without_ids_in_lines_of_their_own() {
    let mock = start(Ollama).await;
    let body = |stream| {
        with(
            Ollama.sample_request("[[tools:2]]", stream),
            "tools",
            tools(),
        )
    };
    let whole = ask(&mock, &body(false)).await.json();
    let calls = &whole["message"]["tool_calls"];
    assert_eq!(
        (&calls[0]["function"]["name"], &calls[1]["function"]["name"]),
        (&json!("weather"), &json!("time"))
    );
    assert!(calls[0]["function"]["arguments"].is_object() && calls[0].get("id").is_none());
    assert_eq!(
        (&whole["done_reason"], &whole["message"]["content"]),
        (&json!("stop"), &json!(""))
    );
    let seen = ask_stream(&mock, &body(true)).await;
    assert_eq!(
        seen.at("/message/tool_calls/0/function/name"),
        [json!("weather"), json!("time")]
    );
}

#[tokio::test]
async fn a_limit_and_thoughts_as_the_options_have_them() {
    let mock = start(Ollama).await;
    let body = with(
        Ollama.sample_request("hi", true),
        "options",
        json!({"num_predict": 3}),
    );
    let seen = ask_stream(&mock, &with(body, "think", json!(true))).await;
    assert_eq!(
        (seen.words(), seen.at("/done_reason")),
        (3, vec![json!("length")])
    );
    assert_eq!(
        seen.at("/message/thinking"),
        [json!("let me "), json!("think")]
    );
    let endless = with(
        Ollama.sample_request("hi", false),
        "options",
        json!({"num_predict": -1}),
    );
    assert_eq!(ask(&mock, &endless).await.json()["eval_count"], 10);
}

#[tokio::test]
async fn what_the_real_one_refuses_is_refused() {
    let mock = start(Ollama).await;
    let plain = || Ollama.sample_request("hi", false);
    let turn = |message: Value| with(plain(), "messages", json!([message]));
    let wrong = [
        (with(plain(), "tool_choice", json!("auto")), "tool_choice"),
        (with(plain(), "messages", json!([])), "messages"),
        (
            turn(json!({"role": "developer", "content": "x"})),
            "invalid role",
        ),
        (
            turn(json!({"role": "user", "content": [{"type": "text", "text": "x"}]})),
            "type string",
        ),
        (
            turn(json!({"role": "user", "content": "x", "images": ["data:image/png;base64,AA"]})),
            "base64",
        ),
        (
            turn(
                json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
            ),
            "arguments",
        ),
    ];
    for (body, named) in wrong {
        let (status, said) = refused(&mock, &body).await;
        assert!(
            status == 400 && said.contains(named) && said.starts_with("{\"error\":\""),
            "{named}: {status} {said}"
        );
    }
}

#[tokio::test]
async fn s11_s12_s16_errors_and_broken_lines() {
    let failed = stream("S11", Ollama).await.documents().pop().unwrap();
    assert_eq!(failed, json!({"error": "Overloaded"}));
    let run_on = stream("S12/no_line_end", Ollama).await.text();
    assert!(
        run_on.contains("c1-49 c1-52"),
        "the line runs into the next: {run_on}"
    );
    assert_eq!(
        stream("S16/unended_last_line", Ollama)
            .await
            .at("/done_reason"),
        [json!("stop")]
    );
    assert!(
        fault::variants("S17", Ollama).is_empty(),
        "calls come whole"
    );
    assert!(
        fault::variants("S19", Ollama).is_empty(),
        "there is one choice"
    );
}

#[tokio::test]
async fn after_a_tools_result_come_words() {
    let mock = start(Ollama).await;
    let turns = json!([{"role": "user", "content": "[[tools]]"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "time", "arguments": {}}}]},
        {"role": "tool", "tool_name": "time", "content": "[[tools]]"}]);
    let body = with(Ollama.sample_request("", false), "messages", turns);
    let answer = ask(&mock, &with(body, "tools", tools())).await.json();
    assert!(canary::verify(&Ollama.text_of(&[answer])).is_ok());
}
