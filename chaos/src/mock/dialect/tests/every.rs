//! What holds in every dialect alike.

use super::*;
use crate::mock::Script;

#[test]
fn every_dialect_is_found_by_its_name() {
    for dialect in Dialect::ALL {
        assert_eq!(Dialect::by_name(dialect.name()), Some(dialect));
        assert_eq!(crate::lab::config::dialect(dialect.name()), dialect);
    }
    assert_eq!(Dialect::by_name("klingon"), None);
}

#[tokio::test]
async fn a_unary_answer_and_a_stream_say_the_same_canary_words() {
    for dialect in Dialect::ALL {
        let mock = start(dialect).await;
        let unary = ask(&mock, &dialect.sample_request("hi", false)).await;
        assert_eq!(
            (unary.status(), unary.end),
            (200, BodyEnd::Whole),
            "{dialect:?}: {:?}",
            unary.body
        );
        let origin = canary::verify(&dialect.text_of(&[unary.json()])).unwrap();
        assert_eq!((origin.request, origin.words), (1, 10), "{dialect:?}");

        let seen = ask_stream(&mock, &dialect.sample_request("hi", true)).await;
        assert_eq!(
            (seen.status, seen.end),
            (200, BodyEnd::Whole),
            "{dialect:?}"
        );
        assert!(
            seen.content_type
                .starts_with(dialect.framing().content_type())
        );
        assert_eq!(seen.words(), 10, "{dialect:?}");
        let one_each = mock.last().unwrap();
        assert_eq!(
            one_each.content_sent, 10,
            "{dialect:?}: one word per content event"
        );
        assert!(one_each.finished && one_each.reported.unwrap().output == 10);
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_and_another_is_not() {
    for dialect in Dialect::ALL {
        let mock = start(dialect).await;
        mock.accept_key("sk-test");
        let body = dialect.sample_request("hi", false);
        assert_eq!(ask(&mock, &body).await.status(), 200, "{dialect:?}");
        mock.revoke_key("sk-test");
        let refused = ask(&mock, &body).await;
        assert!(
            matches!(refused.status(), 400 | 401 | 403),
            "{dialect:?}: {}",
            refused.status()
        );
        assert!(refused.json().is_object(), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_and_one_without_a_conversation_are_refused() {
    for dialect in Dialect::ALL {
        let mock = start(dialect).await;
        for body in [json!([]), json!({"model": "mock-model"})] {
            let (status, said) = refused(&mock, &body).await;
            assert!(matches!(status, 400 | 422), "{dialect:?}: {status} {said}");
        }
        let other = post(&mock, "/v9/elsewhere", &json!({})).await;
        assert_eq!(other.status(), 404, "{dialect:?}");
    }
}

#[tokio::test]
async fn s08_s09_s10_twenty_words_and_three_ends() {
    let ends = [
        ("S08", BodyEnd::Silent),
        ("S09", BodyEnd::Reset),
        ("S10", BodyEnd::Whole),
        ("S10/fin_without_last_chunk", BodyEnd::Cut),
    ];
    for dialect in Dialect::ALL {
        for (fault, end) in ends {
            let seen = stream(fault, dialect).await;
            assert_eq!((seen.end, seen.words()), (end, 20), "{fault} {dialect:?}");
        }
    }
}

#[tokio::test]
async fn s01_s11_an_error_is_the_first_event_or_comes_after_twenty_words() {
    for dialect in Dialect::ALL {
        let first = stream("S01", dialect).await;
        assert_eq!(
            (first.status, first.events.len(), first.end),
            (200, 1, BodyEnd::Whole),
            "{dialect:?}"
        );
        let said = String::from_utf8_lossy(&first.events[0].1).into_owned();
        assert!(said.contains("verloaded"), "{dialect:?}: {said}");
        let middle = stream("S11", dialect).await;
        assert_eq!(
            (middle.words(), middle.end),
            (20, BodyEnd::Whole),
            "{dialect:?}"
        );
        let last = String::from_utf8_lossy(&middle.events.last().unwrap().1).into_owned();
        assert!(last.contains("verloaded"), "{dialect:?}: {last}");
    }
}

#[tokio::test]
async fn s03_s04_nothing_but_an_end_and_half_a_first_event() {
    for dialect in Dialect::ALL {
        let only_end = stream("S03/terminal_at_once", dialect).await;
        assert_eq!(
            (only_end.events.len(), only_end.end),
            (1, BodyEnd::Whole),
            "{dialect:?}"
        );
        assert_eq!(only_end.text(), "", "{dialect:?}");
        let half = stream("S04", dialect).await;
        assert_eq!(
            half.events,
            [(half.events[0].0.clone(), b"{\"choi".to_vec())],
            "{dialect:?}"
        );
    }
}

#[tokio::test]
async fn s12_content_fifty_of_a_hundred_is_broken_and_nothing_else() {
    for dialect in Dialect::ALL {
        for fault in ["S12/json", "S12/utf8"] {
            let seen = stream(fault, dialect).await;
            let text = seen.text();
            assert!(
                text.contains("c1-49 c1-51") && text.ends_with("c1-100"),
                "{fault} {dialect:?}: {text}"
            );
            assert_eq!(seen.end, BodyEnd::Whole);
        }
    }
}

#[tokio::test]
async fn s13_s14_a_word_twice_an_end_that_is_missing_and_a_word_after_the_end() {
    for dialect in Dialect::ALL {
        let doubled = stream("S13/doubled", dialect).await.text();
        assert!(
            doubled.contains(" c1-5 c1-5 c1-6"),
            "{dialect:?}: {doubled}"
        );
        let whole = ask_stream(
            &start(dialect).await,
            &dialect.sample_request("hello", true),
        )
        .await;
        for (fault, end) in [
            ("S14/no_terminal", BodyEnd::Cut),
            ("S14/no_terminal_clean", BodyEnd::Whole),
        ] {
            let endless = stream(fault, dialect).await;
            assert_eq!(
                (endless.end, endless.words()),
                (end, 10),
                "{fault} {dialect:?}"
            );
            assert!(
                endless.events.len() < whole.events.len(),
                "{fault} {dialect:?}"
            );
        }
        let late = stream("S14/after_terminal", dialect).await;
        assert!(late.text().ends_with("c1-10 late"), "{dialect:?}");
    }
}

#[tokio::test]
async fn s16_other_grammars_say_the_same() {
    for dialect in Dialect::ALL {
        let forms = fault::variants("S16", dialect);
        assert!(!forms.is_empty(), "{dialect:?}");
        for form in forms {
            let seen = stream(&format!("S16/{}", form.name), dialect).await;
            assert_eq!(
                (seen.words(), seen.end),
                (10, BodyEnd::Whole),
                "{} {dialect:?}",
                form.name
            );
        }
    }
}

#[tokio::test]
async fn s18_a_runaway_never_ends_and_begins_like_an_answer() {
    for dialect in Dialect::ALL {
        let mock = showing("S18/runaway", dialect).await;
        let mut client = connect(&mock).await;
        let request = dialect.sample_request("hello", true);
        let headers = dialect.sample_headers("sk-test");
        let mut reader = client
            .stream(dialect.path_of(true), &headers, &request)
            .await
            .unwrap();
        assert_eq!(reader.status(), 200);
        let reading = tokio::time::timeout(QUIET, reader.read_rest()).await;
        assert!(reading.is_err(), "{dialect:?}");
        let raw = String::from_utf8_lossy(reader.raw()).into_owned();
        assert!(raw.matches("again and again").count() > 20, "{dialect:?}");
    }
}

#[tokio::test]
async fn p14_a_blank_answer_has_no_text_and_the_rest_of_it_stands() {
    for dialect in Dialect::ALL {
        for blank in dialect.places().blanks {
            let answer = answer(&format!("P14/{}", blank.name), dialect).await.json();
            assert_eq!(
                answer.pointer(blank.pointer),
                Some(&blank.value()),
                "{} {dialect:?}",
                blank.name
            );
            assert_eq!(dialect.text_of(&[answer]), "", "{} {dialect:?}", blank.name);
        }
    }
}

#[tokio::test]
async fn p29_the_places_of_usage_are_those_of_the_answers() {
    for dialect in Dialect::ALL {
        let absurd = answer("P29/absurd", dialect).await.json();
        let found = |place: &&&str| absurd.pointer(place) == Some(&json!(1_000_000_000));
        assert!(
            dialect.places().tokens.iter().filter(found).count() >= 2,
            "{dialect:?}: {absurd}"
        );
        let missing = answer("P29/missing", dialect).await.json();
        let negative = stream("P29/negative", dialect).await;
        assert!(
            !missing.to_string().contains("oken") || dialect == Dialect::Responses,
            "{dialect:?}: {missing}"
        );
        // Chat completions tell usage in a stream only when asked.
        if dialect != Dialect::OpenAi {
            let told = |place: &&&str| !negative.at(place).is_empty();
            let places = dialect.places().tokens.iter().filter(told);
            assert!(
                places
                    .flat_map(|place| negative.at(place))
                    .any(|number| number == -5),
                "{dialect:?}"
            );
        }
    }
}

#[tokio::test]
async fn p28_another_model_is_named_wherever_a_model_is() {
    for dialect in Dialect::ALL {
        let Some(swapped) = fault::p28(dialect, "another-model") else {
            continue;
        };
        let mock = start(dialect).await;
        mock.set(swapped);
        let answer = ask(&mock, &dialect.sample_request("hi", false)).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            said.contains("another-model") && !said.contains("mock-model"),
            "{dialect:?}: {said}"
        );
    }
}

#[tokio::test]
async fn without_tools_on_offer_the_marker_asks_for_nothing() {
    for dialect in Dialect::ALL {
        let mock = start(dialect).await;
        let plain = ask(&mock, &dialect.sample_request("[[tools:2]] please", false)).await;
        assert_eq!(plain.status(), 200);
        let words = canary::verify(&dialect.text_of(&[plain.json()]));
        assert!(words.is_ok(), "{dialect:?}: no tools on offer, no calls");
    }
}

#[tokio::test]
async fn a_limit_is_counted_and_told_where_the_dialect_tells_it() {
    for dialect in Dialect::ALL {
        let mock = start(dialect).await;
        mock.limit(Some(crate::mock::RateLimit {
            requests: 1,
            window: Duration::from_secs(60),
        }));
        let body = dialect.sample_request("hi", false);
        assert_eq!(ask(&mock, &body).await.status(), 200, "{dialect:?}");
        let refused = ask(&mock, &body).await;
        assert_eq!(refused.status(), 429, "{dialect:?}");
        let told = refused.header("retry-after").is_some()
            || refused.json().to_string().contains("retryDelay");
        let silent = dialect.framing() != Framing::Sse && refused.header("retry-after").is_none();
        assert!(told || silent, "{dialect:?}");
    }
}

#[tokio::test]
async fn the_fast_mock_says_the_same_in_every_dialect() {
    for dialect in Dialect::ALL {
        let options = MockOptions {
            fast: Some(crate::mock::Fast::default()),
            ..MockOptions::for_dialect(dialect)
        };
        let mock = MockProvider::start(options).await.unwrap();
        let unary = ask(&mock, &dialect.sample_request("hi", false)).await;
        assert_eq!(dialect.text_of(&[unary.json()]).len(), 1024, "{dialect:?}");
        let seen = ask_stream(&mock, &dialect.sample_request("hi", true)).await;
        assert_eq!(
            (seen.text().len(), seen.end),
            (1024, BodyEnd::Whole),
            "{dialect:?}"
        );
    }
}

/// A request of this dialect with one tool on offer.
fn with_tool(dialect: Dialect, prompt: &str, tool: &str) -> Value {
    let mut body = dialect.sample_request(prompt, false);
    let form = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    let function = json!({"name": tool, "description": "", "parameters": form});
    match dialect {
        Dialect::OpenAi | Dialect::Cohere | Dialect::Ollama => {
            body["tools"] = json!([{"type": "function", "function": function}]);
        }
        Dialect::Responses => {
            body["tools"] = json!([{"type": "function", "name": tool, "parameters": form}]);
        }
        Dialect::Anthropic => body["tools"] = json!([{"name": tool, "input_schema": form}]),
        Dialect::Gemini => body["tools"] = json!([{"functionDeclarations": [function]}]),
        Dialect::Bedrock => {
            let tool = json!({"toolSpec": {"name": tool, "inputSchema": {"json": form}}});
            body["toolConfig"] = json!({"tools": [tool]});
        }
    }
    body
}

const SCRIPT: &str = r#"
[[answer]]
[[answer.call]]
tool = "elsewhere"
[[answer.call]]
tool = "write"
arguments = { path = "a.txt" }
[[answer]]
text = "It is written."
"#;

#[tokio::test]
async fn a_script_calls_the_tool_that_is_offered_and_says_nothing_to_who_offers_none() {
    for dialect in Dialect::ALL {
        let mock = start(dialect).await;
        mock.set(Script::read(SCRIPT).unwrap().behaviour());
        let answer = ask(&mock, &with_tool(dialect, "go on", "write")).await;
        let said = answer.json().to_string();
        assert_eq!(answer.status(), 200, "{dialect:?}: {said}");
        assert!(said.contains("a.txt"), "{dialect:?}: {said}");
        for other in [
            with_tool(dialect, "go on", "read"),
            dialect.sample_request("go on", false),
        ] {
            let said = dialect.text_of(&[ask(&mock, &other).await.json()]);
            assert!(canary::verify(&said).is_ok(), "{dialect:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_script_goes_on_with_every_result_in_the_conversation() {
    let mock = start(Dialect::OpenAi).await;
    mock.set(Script::read(SCRIPT).unwrap().behaviour());
    let mut body = with_tool(Dialect::OpenAi, "\"role\":\"tool\" is no result", "write");
    let first = ask(&mock, &body).await.json();
    let message = first["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(message);
    turns.push(json!({"role": "tool", "tool_call_id": id, "content": "ok"}));
    let second = ask(&mock, &body).await.json();
    assert_eq!(Dialect::OpenAi.text_of(&[second]), "It is written.");
    let turns = body["messages"].as_array_mut().unwrap();
    turns.extend_from_within(1..);
    let beyond = Dialect::OpenAi.text_of(&[ask(&mock, &body).await.json()]);
    assert!(canary::verify(&beyond).is_ok(), "{beyond}");
}

/// What a dialect says of an answer its filter has stopped; Ollama has no filter.
fn refusal(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => "\"refusal\":\"",
        Dialect::Anthropic => "\"stop_reason\":\"refusal\"",
        Dialect::Gemini => "\"finishReason\":\"SAFETY\"",
        Dialect::Bedrock => "\"stopReason\":\"guardrail_intervened\"",
        Dialect::Cohere => "\"finish_reason\":\"ERROR_TOXIC\"",
        Dialect::Ollama => "\"done_reason\":\"stop\"",
    }
}

/// Where a whole answer tells what came from a cache.
fn cached(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::OpenAi => Some("/usage/prompt_tokens_details/cached_tokens"),
        Dialect::Responses => Some("/usage/input_tokens_details/cached_tokens"),
        Dialect::Anthropic => Some("/usage/cache_read_input_tokens"),
        Dialect::Gemini => Some("/usageMetadata/cachedContentTokenCount"),
        Dialect::Bedrock => Some("/usage/cacheReadInputTokens"),
        Dialect::Cohere => Some("/usage/cached_tokens"),
        Dialect::Ollama => None,
    }
}

#[tokio::test]
async fn a_prompt_can_ask_for_thoughts_a_refusal_and_cached_usage() {
    for dialect in Dialect::ALL {
        let mock = start(dialect).await;
        for (mark, told) in [
            ("[[think]]", "let me think"),
            ("[[refuse]]", refusal(dialect)),
        ] {
            let answer = ask(&mock, &dialect.sample_request(mark, false))
                .await
                .json();
            assert!(answer.to_string().contains(told), "{dialect:?}: {answer}");
            let seen = ask_stream(&mock, &dialect.sample_request(mark, true)).await;
            let documents = seen.documents();
            // Thoughts come in two pieces.
            let told = told.split(" think").next().unwrap();
            let shown = documents.iter().any(|one| one.to_string().contains(told));
            assert!(shown, "{dialect:?}: {documents:?}");
        }
        let answer = ask(&mock, &dialect.sample_request("[[cached]]", false))
            .await
            .json();
        let input = mock.last().unwrap().reported.unwrap().input;
        if let Some(place) = cached(dialect) {
            let told = answer.pointer(place).and_then(Value::as_f64);
            assert_eq!(told, Some((input / 2) as f64), "{dialect:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_answer_has_the_form_that_was_asked_for() {
    let form = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    for (dialect, member, said) in [
        (
            Dialect::OpenAi,
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "a", "schema": form}}),
        ),
        (
            Dialect::Responses,
            "text",
            json!({"format": {"type": "json_schema", "name": "a", "schema": form}}),
        ),
        (
            Dialect::Anthropic,
            "output_config",
            json!({"format": {"type": "json_schema", "schema": form}}),
        ),
        (
            Dialect::Gemini,
            "generationConfig",
            json!({"responseMimeType": "application/json", "responseJsonSchema": form}),
        ),
        (Dialect::Ollama, "format", form.clone()),
    ] {
        let mock = start(dialect).await;
        let mut body = dialect.sample_request("hi", false);
        body[member] = said;
        let said = dialect.text_of(&[ask(&mock, &body).await.json()]);
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert!(
            answer["city"].is_string() && answer["days"].is_u64(),
            "{dialect:?}: {said}"
        );
    }
}
