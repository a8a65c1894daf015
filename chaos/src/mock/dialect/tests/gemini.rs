//! Gemini.

use super::*;
use Dialect::Gemini;

fn tools() -> Value {
    json!([{"functionDeclarations": [{"name": "weather"}, {"name": "time"}]}])
}

#[tokio::test]
async fn chunks_carry_usage_that_grows_and_the_reason_comes_last() {
    let mock = start(Gemini).await;
    let seen = ask_stream(&mock, &Gemini.sample_request("hi", true)).await;
    let chunks = seen.documents();
    assert_eq!(
        (chunks.len(), seen.content_type.as_str()),
        (11, "text/event-stream")
    );
    assert_eq!(seen.names(), [""], "no event has a name");
    assert_eq!(seen.at("/candidates/0/finishReason"), [json!("STOP")]);
    assert_eq!(chunks[10]["candidates"][0]["finishReason"], "STOP");
    let counts: Vec<Value> = (1..=10).chain([10]).map(|count| json!(count)).collect();
    assert_eq!(seen.at("/usageMetadata/candidatesTokenCount"), counts);
    let reported = mock.last().unwrap().reported.unwrap();
    assert_eq!(
        chunks[10]["usageMetadata"]["totalTokenCount"],
        json!(reported.input + 10)
    );
    assert_eq!(seen.at("/modelVersion")[0], "mock-model");
}

#[tokio::test]
async fn without_alt_sse_a_stream_is_one_json_array() {
    let mock = start(Gemini).await;
    let path = "/v1/models/other:streamGenerateContent";
    let answer = post(&mock, path, &Gemini.sample_request("hi", true)).await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=UTF-8")
    );
    let chunks = answer.json().as_array().unwrap().clone();
    assert_eq!(canary::verify(&Gemini.text_of(&chunks)).unwrap().words, 10);
    assert_eq!(chunks[0]["modelVersion"], "other");
}

#[tokio::test]
async fn the_key_is_taken_from_the_header_or_the_query_and_a_bad_one_is_a_bad_argument() {
    let mock = start(Gemini).await;
    mock.accept_key("good");
    let body = Gemini.sample_request("hi", false);
    let mut client = connect(&mock).await;
    for (path, headers, status) in [
        (Gemini.path().to_owned(), Gemini.sample_headers("good"), 200),
        (format!("{}?key=good", Gemini.path()), Vec::new(), 200),
        (format!("{}?key=bad", Gemini.path()), Vec::new(), 400),
        (
            Gemini.path().to_owned(),
            vec![("x-api-key".to_owned(), "good".to_owned())],
            400,
        ),
    ] {
        let answer = client.post_json(&path, &headers, &body).await.unwrap();
        assert_eq!(answer.status(), status, "{path} {headers:?}");
        if status == 400 {
            assert_eq!(
                answer.json()["error"]["details"][0]["reason"],
                "API_KEY_INVALID"
            );
        }
    }
    let open = start(Gemini).await;
    let answer = connect(&open)
        .await
        .post_json(Gemini.path(), &[], &body)
        .await
        .unwrap();
    assert_eq!(
        answer.json()["error"]["status"],
        "PERMISSION_DENIED",
        "no key at all"
    );
}

#[tokio::test]
async fn a_limit_candidates_and_thoughts_as_the_request_has_them_in_either_spelling() {
    let mock = start(Gemini).await;
    for config in [
        json!({"maxOutputTokens": 3, "candidateCount": 2, "thinkingConfig": {"includeThoughts": true}}),
        json!({"max_output_tokens": 3, "candidate_count": 2, "thinking_config": {"include_thoughts": true}}),
    ] {
        let body = with(
            Gemini.sample_request("hi", false),
            "generation_config",
            config,
        );
        let answer = ask(&mock, &body).await.json();
        let candidates = answer["candidates"].as_array().unwrap();
        assert_eq!((candidates.len(), &candidates[1]["index"]), (2, &json!(1)));
        assert_eq!(candidates[0]["finishReason"], "MAX_TOKENS");
        assert_eq!(candidates[0]["content"]["parts"][0]["thought"], true);
        assert_eq!(canary::verify(&Gemini.text_of(&[answer])).unwrap().words, 3);
    }
}

#[tokio::test]
async fn calls_are_whole_parts_with_objects_as_arguments() {
    let mock = start(Gemini).await;
    let body = |stream| {
        with(
            Gemini.sample_request("[[tools:2]]", stream),
            "tools",
            tools(),
        )
    };
    let parts = ask(&mock, &body(false)).await.json()["candidates"][0]["content"]["parts"].clone();
    assert_eq!(
        (
            &parts[0]["functionCall"]["name"],
            &parts[1]["functionCall"]["name"]
        ),
        (&json!("weather"), &json!("time"))
    );
    assert!(
        parts[0]["functionCall"]["args"].is_object() && parts[0]["thoughtSignature"].is_string()
    );
    let seen = ask_stream(&mock, &body(true)).await;
    assert_eq!(
        seen.at("/candidates/0/content/parts/0/functionCall/name")
            .len(),
        2
    );
    let forced =
        json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["time"]}});
    let forced = with(
        with(Gemini.sample_request("hi", false), "tools", tools()),
        "toolConfig",
        forced,
    );
    assert_eq!(
        ask(&mock, &forced).await.json()["candidates"][0]["content"]["parts"][0]["functionCall"]["name"],
        "time"
    );
    let turns = json!([
        {"role": "user", "parts": [{"text": "[[tools]]"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "time", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "time", "response": {"result": "[[tools]]"}}}]}]);
    let after = with(
        with(Gemini.sample_request("", false), "contents", turns),
        "tools",
        tools(),
    );
    assert!(canary::verify(&Gemini.text_of(&[ask(&mock, &after).await.json()])).is_ok());
}

#[tokio::test]
async fn what_the_real_one_refuses_is_refused() {
    let mock = start(Gemini).await;
    let plain = || Gemini.sample_request("hi", false);
    let content = |value: Value| with(plain(), "contents", value);
    let wrong = [
        (with(plain(), "messages", json!([])), "messages"),
        (with(plain(), "stream", json!(true)), "stream"),
        (
            content(json!([{"role": "assistant", "parts": [{"text": "x"}]}])),
            "valid role",
        ),
        (
            content(json!([{"role": "user", "parts": []}])),
            "must not be empty",
        ),
        (
            content(json!([{"role": "user", "parts": [{"thought": true}]}])),
            "oneof",
        ),
        (
            content(json!([{"role": "model", "parts": [{"functionCall": {"name": "f"}}]}])),
            "function response parts",
        ),
        (
            with(plain(), "generationConfig", json!({"maxOutputTokens": 0})),
            "positive",
        ),
    ];
    for (body, named) in wrong {
        let (status, said) = refused(&mock, &body).await;
        assert!(
            status == 400 && said.contains(named) && said.contains("INVALID_ARGUMENT"),
            "{named}: {said}"
        );
    }
}

#[tokio::test]
async fn errors_have_googles_numbers_and_names() {
    for (status, name) in [
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (404, "NOT_FOUND"),
    ] {
        let mock = start(Gemini).await;
        mock.set(Gemini.error(status, "x"));
        let answer = ask(&mock, &Gemini.sample_request("hi", false)).await;
        assert_eq!(answer.status(), status);
        assert_eq!(
            answer.json()["error"],
            json!({"code": status, "message": "x", "status": name})
        );
    }
    let delayed = answer("P07", Gemini).await.json();
    assert_eq!(
        delayed["error"]["details"][0]["retryDelay"],
        "45.837906927s"
    );
    assert_eq!(
        stream("S11", Gemini).await.documents().pop().unwrap()["error"]["code"],
        503
    );
    assert!(
        fault::by_number("P05", Gemini).is_none(),
        "no limits are told on 200"
    );
}

#[tokio::test]
async fn s17_s19_p25_a_broken_call_an_endless_candidate_and_filters() {
    let broken = stream("S17", Gemini).await;
    assert_eq!(
        broken.at("/candidates/0/finishReason"),
        [json!("MALFORMED_FUNCTION_CALL")]
    );
    let three = stream("S19", Gemini).await.documents().pop().unwrap();
    let reasons: Vec<bool> = (0..3)
        .map(|at| three["candidates"][at]["finishReason"].is_string())
        .collect();
    assert_eq!(reasons, [true, true, false]);
    let blocked = answer("P25/prompt", Gemini).await.json();
    assert!(
        blocked.get("candidates").is_none() && blocked["promptFeedback"]["blockReason"] == "SAFETY"
    );
    assert_eq!(
        stream("P25/safety", Gemini)
            .await
            .at("/candidates/0/finishReason"),
        [json!("SAFETY")]
    );
}

#[tokio::test]
async fn models_and_embeddings_one_or_many() {
    let mock = start(Gemini).await;
    let models = get(&mock, "/v1beta/models").await.json();
    assert_eq!(models["models"][0]["name"], "models/mock-model");
    let content = |text: &str| json!({"parts": [{"text": text}]});
    let one = json!({"content": content("hello"), "outputDimensionality": 5});
    let one = post(&mock, "/v1beta/models/embed:embedContent", &one)
        .await
        .json();
    assert_eq!(one["embedding"]["values"].as_array().unwrap().len(), 5);
    assert_eq!(one["usageMetadata"]["promptTokenCount"], 1);
    let request = |text: &str, model: &str| json!({"model": model, "content": content(text)});
    let path = "/v1beta/models/embed:batchEmbedContents";
    let many =
        json!({"requests": [request("hello", "models/embed"), request("b", "models/embed")]});
    let many = post(&mock, path, &many).await.json();
    assert_eq!(many["embeddings"].as_array().unwrap().len(), 2);
    let foreign = json!({"requests": [request("a", "models/other")]});
    assert_eq!(post(&mock, path, &foreign).await.status(), 400);
}
