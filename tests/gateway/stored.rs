//! Responses that are kept (row E2): told again, gone on from at any provider, run in the background, deleted; by
//! their owner alone, and after the process was killed.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};
use tokio::time::{sleep, timeout};

use crate::frame::{Gateway, KEY, alone, code_of, mock_of, provider, quick};
use crate::process::Process;

pub const PATH: &str = "/v1/responses";
pub const OTHER: &str = "[[clients]]\nname = \"other\"\nkey = \"file:FOLDER/other\"\n";
pub const OTHER_KEY: &str = "sk-canary-other";

pub fn bearer(key: &str) -> Vec<(String, String)> {
    vec![("authorization".to_owned(), format!("Bearer {key}"))]
}

pub async fn send(at: SocketAddr, key: &str, method: &str, path: &str) -> Answer {
    let mut client = Client::connect(at).await.unwrap();
    let request = client.request(method, path, &bearer(key), b"");
    client.send(&request).await.unwrap();
    client.read_answer().await.unwrap()
}

pub async fn get(at: SocketAddr, path: &str) -> Answer {
    send(at, KEY, "GET", &format!("{PATH}/{path}")).await
}

async fn create(at: SocketAddr, body: &Value) -> Answer {
    let mut client = Client::connect(at).await.unwrap();
    client.post_json(PATH, &bearer(KEY), body).await.unwrap()
}

/// A response that was made and kept.
pub async fn made(at: SocketAddr, body: &Value) -> Value {
    let answer = create(at, body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    answer.json()
}

pub fn id(response: &Value) -> String {
    response["id"].as_str().unwrap().to_owned()
}

/// The text of a response.
pub fn said(response: &Value) -> String {
    let output = response["output"].as_array().unwrap();
    let texts = output.iter().flat_map(|item| {
        let parts = item["content"].as_array().cloned().unwrap_or_default();
        parts.into_iter()
    });
    texts
        .filter_map(|part| part["text"].as_str().map(str::to_owned))
        .collect()
}

/// A gateway with one provider of each of these dialects; `m-<name>` asks it.
async fn several(dialects: &[(&str, Dialect)], more: &str) -> (Gateway, Vec<MockProvider>) {
    let (mut config, mut mocks) = (String::new(), Vec::new());
    for (name, dialect) in dialects {
        let mock = mock_of(*dialect, name).await;
        config.push_str(&provider(name, &mock));
        mocks.push(mock);
    }
    (Gateway::start(&format!("{config}{more}")).await, mocks)
}

fn last_body(mock: &MockProvider) -> String {
    String::from_utf8(mock.last().unwrap().asked.body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_response_is_kept_told_again_and_deleted() {
    for dialect in [Dialect::Anthropic, Dialect::Responses] {
        let mock = mock_of(dialect, "a").await;
        let gateway = alone(&mock, "").await;
        let at = gateway.address;
        let response = made(
            at,
            &json!({"model": "p", "input": "hello", "metadata": {"a": "b"}}),
        )
        .await;
        assert_eq!(response["store"], true);
        assert!(id(&response).starts_with("resp_") && id(&response).len() == 45);
        let again = get(at, &id(&response)).await;
        assert_eq!(again.status(), 200);
        assert_eq!(again.json(), response);
        assert!(!said(&response).is_empty());
        // The provider keeps nothing.
        if dialect == Dialect::Responses {
            assert_eq!(mock.last().unwrap().asked.json["store"], false);
        }
        let path = format!("{PATH}/{}", id(&response));
        let deleted = send(at, KEY, "DELETE", &path).await;
        assert_eq!(
            deleted.json(),
            json!({"id": id(&response), "object": "response", "deleted": true})
        );
        assert_eq!(get(at, &id(&response)).await.status(), 404);
        assert_eq!(send(at, KEY, "DELETE", &path).await.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_stream_is_kept_as_it_was_sent_and_can_be_read_on_from_any_event() {
    for dialect in [Dialect::Gemini, Dialect::Responses] {
        let mock = mock_of(dialect, "a").await;
        let gateway = alone(&mock, "").await;
        let at = gateway.address;
        let mut client = gateway.client().await;
        let body = json!({"model": "p", "input": "hello", "stream": true});
        let stream = client.stream(PATH, &bearer(KEY), &body).await.unwrap();
        let stream = stream.collect().await.unwrap();
        let documents = stream.documents();
        let ids: Vec<&Value> = documents
            .iter()
            .filter_map(|event| event.pointer("/response/id"))
            .collect();
        assert!(
            ids.len() >= 3 && ids.iter().all(|id| *id == ids[0]),
            "{ids:?}"
        );
        let last = documents.last().unwrap()["response"].clone();
        assert_eq!(
            (&last["status"], &last["store"]),
            (&json!("completed"), &json!(true))
        );
        let kept = get(at, &id(&last)).await.json();
        assert_eq!(kept, last);

        let again = get(at, &format!("{}?stream=true", id(&last))).await;
        assert_eq!(
            again.header("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert!(again.body[..] == stream.raw[..], "not what was sent");
        let rest = get(at, &format!("{}?stream=true&starting_after=3", id(&last))).await;
        let text = String::from_utf8(rest.body.to_vec()).unwrap();
        let numbers: Vec<u64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| {
                let event: Value = serde_json::from_str(data).unwrap();
                event["sequence_number"].as_u64().unwrap()
            })
            .collect();
        let wanted: Vec<u64> = (4..documents.len() as u64).collect();
        assert_eq!(numbers, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_whole_response_can_be_streamed_afterwards() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    let gateway = alone(&mock, "").await;
    let at = gateway.address;
    let tools = json!([{"type": "function", "name": "tide", "parameters": {"type": "object"}, "strict": false}]);
    for input in ["hello", "[[tools:2]] call"] {
        let response = made(at, &json!({"model": "p", "input": input, "tools": tools})).await;
        let answer = get(at, &format!("{}?stream=true", id(&response))).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number);
        }
        assert_eq!(events[0]["type"], "response.created");
        assert_eq!(events.last().unwrap()["response"], response);
        let deltas: String = events
            .iter()
            .filter(|event| event["type"] == "response.output_text.delta")
            .filter_map(|event| event["delta"].as_str())
            .collect();
        assert_eq!(deltas, said(&response));
        let done = events
            .iter()
            .filter(|event| event["type"] == "response.output_item.done");
        let items: Vec<Value> = done.map(|event| event["item"].clone()).collect();
        assert_eq!(Value::from(items), response["output"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a04_what_another_client_keeps_is_as_good_as_absent() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let gateway = alone(&mock, OTHER).await;
    let at = gateway.address;
    let response = made(at, &json!({"model": "p", "input": "a canary"})).await;
    let own = format!("{PATH}/{}", id(&response));
    let none = format!("{PATH}/resp_{}", "0".repeat(40));
    for (method, end) in [
        ("GET", ""),
        ("GET", "?stream=true"),
        ("GET", "/input_items"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ] {
        let foreign = send(at, OTHER_KEY, method, &format!("{own}{end}")).await;
        let absent = send(at, OTHER_KEY, method, &format!("{none}{end}")).await;
        assert_eq!(
            (foreign.status(), absent.status()),
            (404, 404),
            "{method} {end}"
        );
        let bare = |answer: &Answer| {
            let mut body = answer.json();
            body["error"]["request_id"] = Value::Null;
            body
        };
        assert_eq!(bare(&foreign), bare(&absent));
    }
    let asked = mock.requests();
    let mut client = gateway.client().await;
    let item = response["output"][0]["id"].clone();
    for body in [
        json!({"model": "p", "input": "what did they say?", "previous_response_id": id(&response)}),
        json!({"model": "p", "input": [{"type": "item_reference", "id": item}]}),
    ] {
        let refused = client
            .post_json(PATH, &bearer(OTHER_KEY), &body)
            .await
            .unwrap();
        assert_eq!(refused.status(), 400, "{}", refused.json());
        assert!(!refused.json().to_string().contains("canary"));
    }
    assert_eq!(mock.requests(), asked, "a provider was asked");
    assert_eq!(send(at, KEY, "GET", &own).await.status(), 200);
    assert_eq!(send(at, "sk-nobody", "GET", &own).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_conversation_goes_on_at_any_provider_and_comes_back() {
    let (gateway, mocks) = several(
        &[
            ("r", Dialect::Responses),
            ("a", Dialect::Anthropic),
            ("g", Dialect::Gemini),
            ("c", Dialect::Cohere),
            ("o", Dialect::OpenAi),
        ],
        "",
    )
    .await;
    let at = gateway.address;
    let mut previous = Value::Null;
    let mut before: Vec<String> = Vec::new();
    for (turn, name) in ["r", "a", "g", "c", "o", "r"].into_iter().enumerate() {
        let question = format!("question number {turn}");
        let mut body = json!({"model": format!("m-{name}"), "input": question, "instructions": format!("manners {turn}")});
        if !previous.is_null() {
            body["previous_response_id"] = previous.clone();
        }
        let response = made(at, &body).await;
        assert_eq!(response["previous_response_id"], previous);
        let mock = mocks
            .iter()
            .find(|mock| {
                mock.last().is_some_and(|last| {
                    last.asked
                        .body
                        .windows(question.len())
                        .any(|part| part == question.as_bytes())
                })
            })
            .unwrap();
        let sent = last_body(mock);
        let mut from = 0;
        for text in before.iter().chain([&question]) {
            let place = sent[from..].find(text.as_str());
            from +=
                place.unwrap_or_else(|| panic!("{name}: {text:?} is not in its place in {sent}"));
        }
        // Instructions are of one turn.
        assert!(sent.contains(&format!("manners {turn}")));
        assert!(turn == 0 || !sent.contains(&format!("manners {}", turn - 1)));
        before.push(question);
        before.push(said(&response));
        previous = response["id"].clone();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_what_is_kept_is_the_clients_own_and_the_provider_sees_what_the_guard_leaves() {
    const MAIL: &str = "anna@example.com";
    for dialect in [Dialect::OpenAi, Dialect::Responses] {
        let mock = mock_of(dialect, "a").await;
        if dialect == Dialect::OpenAi {
            mock.set(Behaviour::status(200).json(&json!({
                "id": "c", "object": "chat.completion", "created": 1, "model": "m-a",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes, <EMAIL_1>"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
            })));
        }
        let gateway = alone(
            &mock,
            "[guard]\nrequests = { email = \"redact\", card = \"block\" }\n",
        )
        .await;
        let at = gateway.address;
        let body = json!({"model": "p", "input": format!("to {MAIL}"),
            "instructions": format!("ask {MAIL}"), "metadata": {"who": format!("for {MAIL}")}});
        let mut later = body.clone();
        later["background"] = true.into();
        let first = made(at, &body).await;
        assert!(!last_body(&mock).contains("anna"), "{}", last_body(&mock));
        let queued = made(at, &later).await;
        let second = ended(at, &id(&queued)).await;
        assert!(!last_body(&mock).contains("anna"), "{}", last_body(&mock));
        for response in [&first, &queued, &second] {
            let told = response.to_string();
            assert_eq!(response["instructions"], format!("ask {MAIL}"), "{told}");
            assert_eq!(response["metadata"]["who"], format!("for {MAIL}"), "{told}");
            assert!(!told.contains("EMAIL_1"), "{told}");
            let kept = get(at, &id(response)).await.json();
            if dialect == Dialect::OpenAi {
                assert_eq!(said(&kept), format!("yes, {MAIL}"), "{kept}");
            }
            assert!(!kept.to_string().contains("EMAIL_1"), "{kept}");
            let items = get(at, &format!("{}/input_items", id(response))).await;
            assert!(items.json().to_string().contains(MAIL), "{}", items.json());
        }
        let mut client = gateway.client().await;
        let mut streamed = body.clone();
        streamed["stream"] = true.into();
        let stream = client.stream(PATH, &bearer(KEY), &streamed).await.unwrap();
        let raw = stream.collect().await.unwrap().raw;
        let raw = String::from_utf8_lossy(&raw).into_owned();
        assert!(
            raw.contains(&format!("for {MAIL}")) && !raw.contains("EMAIL_1"),
            "{raw}"
        );
        // What was said before is looked at again, with what is said now.
        let on = json!({"model": "p", "input": format!("and {MAIL}, b@c.de"), "previous_response_id": id(&first)});
        made(at, &on).await;
        let sent = last_body(&mock);
        assert!(!sent.contains("anna") && !sent.contains("b@c.de"), "{sent}");
        assert!(sent.matches("<EMAIL_1>").count() >= 2, "{sent}");
        assert_eq!(sent.matches("<EMAIL_2>").count(), 1, "{sent}");
        let asked = mock.requests();
        let mut card = json!({"model": "p", "input": "4111 1111 1111 1111", "previous_response_id": id(&first)});
        for background in [false, true] {
            card["background"] = background.into();
            assert_eq!(code_of(&create(at, &card).await), "content_blocked");
        }
        assert_eq!(mock.requests(), asked);
    }
}

/// A rule that came after a conversation began holds for all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_a_conversation_that_a_rule_forbids_does_not_go_on() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    let pools =
        "[pools.q]\ntargets = [\"a/m-a\"]\n[pools.q.guard]\nrequests = { card = \"block\" }\n";
    let gateway = alone(&mock, pools).await;
    let at = gateway.address;
    let first = made(at, &json!({"model": "p", "input": "4111 1111 1111 1111"})).await;
    let body = json!({"model": "q", "input": "go on", "previous_response_id": id(&first)});
    assert_eq!(code_of(&create(at, &body).await), "content_blocked");
    let body = json!({"model": "p", "input": "go on", "previous_response_id": id(&first)});
    assert_eq!(create(at, &body).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_calls_and_their_results_go_on_across_providers() {
    let (gateway, mocks) = several(
        &[
            ("a", Dialect::Anthropic),
            ("g", Dialect::Gemini),
            ("r", Dialect::Responses),
        ],
        "",
    )
    .await;
    let at = gateway.address;
    let tools = json!([{"type": "function", "name": "tide", "parameters": {"type": "object"}, "strict": false}]);
    let first = made(
        at,
        &json!({"model": "m-a", "input": "[[tools:2]] call", "tools": tools}),
    )
    .await;
    let calls: Vec<&Value> = first["output"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["type"] == "function_call")
        .collect();
    assert_eq!(calls.len(), 2);
    for (index, name) in ["g", "r", "a"].into_iter().enumerate() {
        let results: Vec<Value> = calls
            .iter()
            .map(|call| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "high at noon"}))
            .collect();
        let body = json!({"model": format!("m-{name}"), "input": results, "tools": tools, "previous_response_id": id(&first)});
        let answer = made(at, &body).await;
        assert!(!said(&answer).is_empty(), "{name}");
        let mock = &mocks[[1, 2, 0][index]];
        assert_eq!(mock.bad_requests(), 0);
        let sent = last_body(mock);
        assert_eq!(sent.matches("high at noon").count(), 2, "{name}: {sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_what_a_model_thought_is_given_back_to_who_wrote_it_and_kept_from_others() {
    let (gateway, mocks) =
        several(&[("r", Dialect::Responses), ("a", Dialect::Anthropic)], "").await;
    let at = gateway.address;
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed-thought"});
    let forgotten = json!({"type": "reasoning", "id": "rs_2", "summary": []});
    let message = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "forty-two", "annotations": []}]});
    mocks[0].set(Behaviour::status(200).json(&json!({
        "id": "resp_theirs", "object": "response", "created_at": 1, "status": "completed", "model": "m-r",
        "output": [forgotten, thought, message], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    })));
    let body = json!({"model": "m-r", "input": "think", "reasoning": {"effort": "high"}});
    let first = made(at, &body).await;
    assert_ne!(first["id"], "resp_theirs");
    let sent = mocks[0].last().unwrap().asked.json.clone();
    assert_eq!(sent["include"], json!(["reasoning.encrypted_content"]));
    let go_on =
        |model: &str| json!({"model": model, "input": "and?", "previous_response_id": id(&first)});
    mocks[0].set(Behaviour::healthy());
    let answer = create(at, &go_on("m-r")).await;
    assert_eq!(
        answer.header("x-switchyard-dropped"),
        Some("thinking"),
        "one of the two cannot be given back"
    );
    let sent = mocks[0].last().unwrap().asked.json.clone();
    let input = sent["input"].as_array().unwrap();
    let kinds: Vec<&str> = input
        .iter()
        .map(|item| item["type"].as_str().unwrap_or("message"))
        .collect();
    assert_eq!(kinds, ["message", "reasoning", "message", "message"]);
    assert_eq!(input[1]["encrypted_content"], "sealed-thought");
    assert_eq!(input[1]["id"], "rs_1");
    // An id would be looked up where it is not.
    assert_eq!(input[2].get("id"), None);
    made(at, &go_on("m-a")).await;
    let sent = last_body(&mocks[1]);
    assert!(
        sent.contains("forty-two") && !sent.contains("sealed-thought"),
        "{sent}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_what_the_gateway_put_in_front_is_no_field_of_the_client_s() {
    let strict = "[dialects]\nunsupported = \"strict\"\n";
    let (gateway, mocks) = several(
        &[("r", Dialect::Responses), ("a", Dialect::Anthropic)],
        strict,
    )
    .await;
    let at = gateway.address;
    let message = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "forty-two", "annotations": [], "logprobs": []}]});
    mocks[0].set(Behaviour::status(200).json(&json!({
        "id": "resp_theirs", "object": "response", "created_at": 1, "status": "completed", "model": "m-r",
        "output": [message], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    })));
    let first = made(at, &json!({"model": "m-r", "input": "think"})).await;
    let go_on = |part: Value| {
        json!({"model": "m-a", "previous_response_id": id(&first), "input": [
            {"role": "user", "content": [part]},
        ]})
    };
    let part = json!({"type": "input_text", "text": "and?"});
    let whole = create(at, &go_on(part.clone())).await;
    assert_eq!(
        whole.status(),
        200,
        "empty lists say nothing: {}",
        whole.json()
    );
    let mut odd = part;
    odd["odd"] = 1.into();
    let refused = create(at, &go_on(odd)).await;
    assert_eq!(refused.status(), 400);
    let error = &refused.json()["error"];
    assert_eq!(error["param"], "input[0].content[0].odd", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(" input[0].content[0].odd;"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_what_is_not_served_below_responses_is_not_taken_for_an_id() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let gateway = alone(&mock, "").await;
    for (name, status) in [("input_tokens", 404), ("compact", 404), ("resp_1", 405)] {
        let path = format!("{PATH}/{name}");
        let answer = send(gateway.address, KEY, "POST", &path).await;
        assert_eq!(answer.status(), status, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_thoughts_are_asked_for_in_a_form_that_can_be_kept_where_all_who_may_answer_think() {
    let encrypted = json!(["reasoning.encrypted_content"]);
    let thinking = |name: &str, mock: &MockProvider| {
        provider(name, mock).replace("models =", "reasoning_models = [\"m-*\"]\nmodels =")
    };
    let (a, b) = (
        mock_of(Dialect::Responses, "a").await,
        mock_of(Dialect::Responses, "b").await,
    );
    let pools = "[pools.both]\ntargets = [\"a/m-a\"]\nfallback = [\"m-b\"]\n";
    let config = format!("{}{}{pools}", thinking("a", &a), provider("b", &b));
    let gateway = Gateway::start(&config).await;
    let none = Value::Null;
    for (model, more, wanted) in [
        ("m-a", json!({}), &encrypted),
        ("m-a", json!({"reasoning": {"effort": "none"}}), &none),
        (
            "m-a",
            json!({"include": ["reasoning.encrypted_content"]}),
            &encrypted,
        ),
        ("m-b", json!({}), &none),
        ("both", json!({}), &none),
        ("m-a", json!({"store": false}), &none),
    ] {
        let mut body = json!({"model": model, "input": "hello"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        made(gateway.address, &body).await;
        let mock = if model == "m-b" { &b } else { &a };
        let sent = mock.last().unwrap().asked.json.clone();
        assert_eq!(sent["include"], *wanted, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_model_nobody_knows_is_asked_for_its_thoughts_once_it_was_seen_to_think() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let gateway = alone(&mock, "").await;
    let at = gateway.address;
    let answers = |model: &str, thinks: bool| {
        let thought = json!({"type": "reasoning", "id": "rs_1", "summary": []});
        let said = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "42", "annotations": []}]});
        let output = if thinks {
            vec![thought, said]
        } else {
            vec![said]
        };
        mock.set(Behaviour::status(200).json(&json!({
            "id": "resp_theirs", "object": "response", "created_at": 1, "status": "completed", "model": model,
            "output": output, "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        })));
    };
    let include = || mock.last().unwrap().asked.json.get("include").cloned();
    for (model, thinks, asked) in [
        ("m-a-2026-11-01", true, true),
        ("m-a-2026-11-01", false, false),
        // What another model thought says nothing of this one.
        ("other", true, false),
    ] {
        answers(model, thinks);
        let first = made(at, &json!({"model": "m-a", "input": "think"})).await;
        assert_eq!(
            include(),
            None,
            "it would be refused where it does not think"
        );
        let next = json!({"model": "m-a", "input": "and?", "previous_response_id": id(&first)});
        let answer = create(at, &next).await;
        let expected = asked.then(|| json!(["reasoning.encrypted_content"]));
        assert_eq!(include(), expected, "{model}");
        let lost = thinks.then_some("thinking");
        assert_eq!(answer.header("x-switchyard-dropped"), lost, "{model}");

        let mut behind = next;
        behind["background"] = true.into();
        let queued = create(at, &behind).await;
        assert_eq!(queued.header("x-switchyard-dropped"), lost, "{model}");
        assert_eq!(queued.json()["status"], "queued");
        ended(at, &id(&queued.json())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_input_items_come_in_pages() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    let at = gateway.address;
    let input: Vec<Value> = (0..5)
        .map(|number| json!({"role": "user", "content": format!("item {number}")}))
        .collect();
    let first = made(at, &json!({"model": "p", "input": input})).await;
    let response = made(
        at,
        &json!({"model": "p", "input": "last", "previous_response_id": id(&first)}),
    )
    .await;
    let list = |query: String| {
        let path = format!("{}/input_items?{query}", id(&response));
        async move { get(at, &path).await.json() }
    };
    let texts = |page: &Value| -> Vec<String> {
        let data = page["data"].as_array().unwrap();
        data.iter()
            .map(|item| item["content"][0]["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = list("order=asc&limit=100".to_owned()).await;
    let mut wanted: Vec<String> = (0..5).map(|number| format!("item {number}")).collect();
    wanted.extend([said(&first), "last".to_owned()]);
    assert_eq!(
        (texts(&all), &all["has_more"]),
        (wanted.clone(), &json!(false))
    );
    let newest = list(String::new()).await;
    assert_eq!(
        texts(&newest),
        wanted.iter().rev().cloned().collect::<Vec<_>>()
    );
    let (mut seen, mut query) = (Vec::new(), "order=asc&limit=3".to_owned());
    loop {
        let page = list(query).await;
        assert_eq!(page["object"], "list");
        assert_eq!(page["first_id"], page["data"][0]["id"]);
        seen.extend(texts(&page));
        if page["has_more"] == false {
            break;
        }
        query = format!(
            "order=asc&limit=3&after={}",
            page["last_id"].as_str().unwrap()
        );
    }
    assert_eq!(seen, wanted);
    let middle = all["data"][4]["id"].as_str().unwrap();
    let page = list(format!("order=asc&limit=2&before={middle}")).await;
    assert_eq!(
        (texts(&page), &page["has_more"]),
        (wanted[2..4].to_vec(), &json!(true))
    );
    for wrong in ["limit=0", "limit=101", "order=up", "after=nobody"] {
        let path = format!("{}/input_items?{wrong}", id(&response));
        let answer = get(at, &path).await;
        assert_eq!(answer.status(), 400, "{wrong}");
        assert_eq!(
            answer.json()["error"]["param"],
            wrong.split('=').next().unwrap()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_items_that_are_only_named_are_said_in_their_place() {
    let (gateway, mocks) = several(&[("a", Dialect::Anthropic)], "").await;
    let at = gateway.address;
    let first = made(at, &json!({"model": "m-a", "input": "hello"})).await;
    let item = first["output"][0]["id"].clone();
    let input = json!([
        {"role": "user", "content": "hello"},
        {"type": "item_reference", "id": item},
        {"role": "user", "content": "go on"},
    ]);
    made(at, &json!({"model": "m-a", "input": input})).await;
    let sent = last_body(&mocks[0]);
    let (before, after) = (
        sent.find(&said(&first)).unwrap(),
        sent.find("go on").unwrap(),
    );
    assert!(before < after && !sent.contains("item_reference"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_what_is_not_to_be_kept_is_not() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    let at = gateway.address;
    let response = made(at, &json!({"model": "p", "input": "hello", "store": false})).await;
    assert_eq!(response["store"], false);
    assert_eq!(get(at, &id(&response)).await.status(), 404);
    assert!(!gateway.folder.path().join("switchyard.db").exists());
    let asked = "[store]\npath = \"FOLDER/switchyard.db\"\nresponses = \"asked\"\n";
    let gateway = alone(&mock, asked).await;
    let at = gateway.address;
    let silent = made(at, &json!({"model": "p", "input": "hello"})).await;
    assert_eq!(
        (get(at, &id(&silent)).await.status(), &silent["store"]),
        (404, &json!(false))
    );
    let asked = made(at, &json!({"model": "p", "input": "hello", "store": true})).await;
    assert_eq!(get(at, &id(&asked)).await.status(), 200);
    // Gone on from, and not kept itself.
    let body = json!({"model": "p", "input": "go on", "previous_response_id": id(&asked)});
    let next = made(at, &body).await;
    assert_eq!(next["previous_response_id"], id(&asked));
    assert!(last_body(&mock).contains(&said(&asked)));
    assert_eq!(get(at, &id(&next)).await.status(), 404);

    let never = "[store]\npath = \"FOLDER/switchyard.db\"\nresponses = \"never\"\n";
    let gateway = alone(&mock, never).await;
    let at = gateway.address;
    made(at, &json!({"model": "p", "input": "hello"})).await;
    for (param, value) in [
        ("store", json!(true)),
        ("background", json!(true)),
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
    ] {
        let mut body = json!({"model": "p", "input": "hello"});
        body[param] = value;
        let refused = create(at, &body).await;
        assert_eq!(
            (refused.status(), &refused.json()["error"]["param"]),
            (400, &json!(param))
        );
    }
    assert!(!gateway.folder.path().join("switchyard.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_what_cannot_be_gone_on_from_is_told_with_its_cure() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let gateway = alone(&mock, "").await;
    let at = gateway.address;
    let first = made(at, &json!({"model": "p", "input": "one"})).await;
    let second = made(
        at,
        &json!({"model": "p", "input": "two", "previous_response_id": id(&first)}),
    )
    .await;
    send(at, KEY, "DELETE", &format!("{PATH}/{}", id(&first))).await;
    let asked = mock.requests();
    for (previous, code, wanted) in [
        (
            json!("resp_nobody"),
            "previous_response_not_found",
            "no such response",
        ),
        (
            json!(id(&second)),
            "previous_response_not_found",
            "was deleted",
        ),
        (json!(7), "invalid_request", "must be the id"),
        (
            json!("x".repeat(300)),
            "invalid_request",
            "longer than any id",
        ),
    ] {
        let body = json!({"model": "p", "input": "go on", "previous_response_id": previous});
        let refused = create(at, &body).await;
        assert_eq!((refused.status(), code_of(&refused).as_str()), (400, code));
        let told = refused.json()["error"].clone();
        assert_eq!(told["param"], "previous_response_id");
        assert!(told["message"].as_str().unwrap().contains(wanted), "{told}");
    }
    assert_eq!(mock.requests(), asked);
    // What it added itself can still be listed.
    let items = get(at, &format!("{}/input_items", id(&second)))
        .await
        .json();
    assert_eq!(items["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_a_client_that_leaves_its_stream_finds_what_had_come() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = alone(&mock, "").await;
    mock.weather(quick().tokens(400).gap(Duration::from_millis(20)));
    let mut client = gateway.client().await;
    let body = json!({"model": "p", "input": "hello", "stream": true});
    let fields = bearer(KEY);
    let mut reader = client.stream(PATH, &fields, &body).await.unwrap();
    let events = reader.take(9).await.unwrap();
    let first: Value = serde_json::from_str(&events[0].data).unwrap();
    let id = id(&first["response"]);
    let under_way = get(gateway.address, &id).await.json();
    assert_eq!(under_way["status"], "in_progress");
    let refused = get(gateway.address, &format!("{id}?stream=true")).await;
    assert_eq!(refused.status(), 409);
    drop(reader);
    drop(client);
    let left = timeout(Duration::from_secs(5), async {
        loop {
            let response = get(gateway.address, &id).await.json();
            if response["status"] != "in_progress" {
                return response;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    let left = left.await.unwrap();
    assert_eq!(left["status"], "cancelled");
    assert!(!said(&left).is_empty());
    let refused = create(
        gateway.address,
        &json!({"model": "p", "input": "go on", "previous_response_id": id}),
    )
    .await;
    assert_eq!(refused.status(), 400);
}

pub async fn ended(at: SocketAddr, id: &str) -> Value {
    let waited = timeout(Duration::from_secs(10), async {
        loop {
            let response = get(at, id).await.json();
            if !["queued", "in_progress"].contains(&response["status"].as_str().unwrap()) {
                return response;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_response_is_made_in_the_background_polled_and_accounted_for() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    let mut gateway = alone(&mock, "").await;
    let at = gateway.address;
    let queued = made(
        at,
        &json!({"model": "p", "input": "hello", "background": true}),
    )
    .await;
    assert_eq!(
        (&queued["status"], &queued["background"]),
        (&json!("queued"), &json!(true))
    );
    let response = ended(at, &id(&queued)).await;
    assert_eq!(response["status"], "completed");
    assert_eq!(
        (&response["background"], &response["store"]),
        (&json!(true), &json!(true))
    );
    assert!(!said(&response).is_empty());
    let body = json!({"model": "p", "input": "go on", "previous_response_id": id(&queued)});
    assert_eq!(made(at, &body).await["status"], "completed");
    mock.set(
        Behaviour::status(400)
            .json(&json!({"error": {"message": "no", "type": "invalid_request_error"}})),
    );
    let queued = made(
        at,
        &json!({"model": "p", "input": "hello", "background": true}),
    )
    .await;
    let failed = ended(at, &id(&queued)).await;
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"]["message"].is_string());
    let records = gateway.records().await;
    let count = |kind: &str| {
        records
            .iter()
            .filter(|record| record["kind"] == kind)
            .count()
    };
    assert_eq!((count("intent"), count("outcome")), (3, 3));
    let body = json!({"model": "p", "input": "hello", "background": true, "store": false});
    assert_eq!(create(at, &body).await.status(), 400);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_response_in_the_background_is_in_progress_from_when_its_first_attempt_is_placed() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    mock.weather(quick().first_content(Duration::from_secs(3)));
    // One at a time: the second is only promised until the first has ended.
    let config = config_of(&mock).replace("{ name = \"k0\",", "{ name = \"k0\", concurrency = 1,");
    let gateway = Gateway::start(&config).await;
    let at = gateway.address;
    let body = json!({"model": "p", "input": "hello", "background": true});
    let first = id(&made(at, &body).await);
    while mock.in_flight() < 1 {
        sleep(Duration::from_millis(5)).await;
    }
    let second = id(&made(at, &body).await);
    let begun = timeout(Duration::from_secs(2), async {
        while get(at, &first).await.json()["status"] != "in_progress" {
            sleep(Duration::from_millis(10)).await;
        }
    });
    begun.await.expect("it is being made");
    assert_eq!(get(at, &second).await.json()["status"], "queued");
    for id in [&first, &second] {
        let ended = ended(at, id).await;
        assert_eq!(
            (&ended["status"], &ended["background"]),
            (&json!("completed"), &json!(true))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x09_what_is_made_in_the_background_is_waited_for_and_then_ended_honestly() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    let mut gateway = alone(&mock, "").await;
    let at = gateway.address;
    let body = json!({"model": "p", "input": "hello", "background": true});
    mock.weather(quick().first_content(Duration::from_millis(700)));
    let soon = id(&made(at, &body).await);
    while mock.in_flight() < 1 {
        sleep(Duration::from_millis(5)).await;
    }
    mock.weather(quick().first_content(Duration::from_secs(60)));
    let late = id(&made(at, &body).await);
    while mock.in_flight() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    gateway.stop().await;
    let source = switchyard::config::Source {
        file: Some(gateway.config_path()),
    };
    let settings = source.load().unwrap();
    let app = switchyard::app::App::start(settings, source).await.unwrap();
    let at = app.address().unwrap();
    assert_eq!(get(at, &soon).await.json()["status"], "completed");
    let ended = get(at, &late).await.json();
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("shutting_down"))
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_response_in_the_background_is_cancelled_once_and_its_provider_stopped() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    let gateway = alone(&mock, "").await;
    let at = gateway.address;
    mock.weather(quick().first_content(Duration::from_secs(30)));
    let queued = made(
        at,
        &json!({"model": "p", "input": "hello", "background": true}),
    )
    .await;
    let path = format!("{PATH}/{}/cancel", id(&queued));
    while mock.in_flight() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let cancelled = send(at, KEY, "POST", &path).await;
    assert_eq!(
        (cancelled.status(), &cancelled.json()["status"]),
        (200, &json!("cancelled"))
    );
    let stopped = timeout(Duration::from_secs(2), async {
        while mock.in_flight() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    });
    stopped.await.expect("the provider still works");
    assert_eq!(
        send(at, KEY, "POST", &path).await.json()["status"],
        "cancelled"
    );
    assert_eq!(get(at, &id(&queued)).await.json()["status"], "cancelled");
    let records = gateway.records().await;
    let outcome = records
        .iter()
        .find(|record| record["kind"] == "outcome")
        .unwrap();
    assert_eq!(outcome["how"], "cancelled");

    mock.weather(quick());
    let whole = made(at, &json!({"model": "p", "input": "hello"})).await;
    let refused = send(at, KEY, "POST", &format!("{PATH}/{}/cancel", id(&whole))).await;
    assert_eq!(refused.status(), 400);
}

pub fn config_of(mock: &MockProvider) -> String {
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{}[pools.p]\ntargets = [\"a/m-a\"]\n",
        provider("a", mock)
    )
}

/// The gateway's command on the configuration of this process.
fn command(gateway: &Process, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .arg("store")
        .args(arguments)
        .arg("--config")
        .arg(gateway.folder.path().join("switchyard.toml"))
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x07_what_a_client_was_told_is_there_after_kill_9_and_what_was_cut_off_says_so() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = Process::start("ulimit -c 0", &config_of(&mock)).await;
    let mut told = Vec::new();
    for number in 0..20 {
        let body = json!({"model": "p", "input": format!("canary {number}")});
        told.push(made(gateway.address, &body).await);
    }
    mock.weather(quick().first_content(Duration::from_secs(30)));
    let queued = made(
        gateway.address,
        &json!({"model": "p", "input": "hello", "background": true}),
    )
    .await;
    let gateway = gateway.killed_and_started_again().await;
    let at = gateway.address;
    for response in &told {
        assert_eq!(get(at, &id(response)).await.json(), *response);
    }
    let cut = get(at, &id(&queued)).await.json();
    assert_eq!(
        (&cut["status"], &cut["error"]["code"]),
        (&json!("failed"), &json!("server_error"))
    );
    mock.weather(quick());
    made(
        at,
        &json!({"model": "p", "input": "go on", "previous_response_id": id(&told[7])}),
    )
    .await;
    assert!(last_body(&mock).contains("canary 7"));

    let checked = command(&gateway, &["check", "--json"]);
    assert!(checked.status.success(), "{checked:?}");
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["responses"], 22);
    let copy = gateway.folder.path().join("copy.db");
    let copied = command(&gateway, &["backup", copy.to_str().unwrap()]);
    assert!(copied.status.success() && copy.exists(), "{copied:?}");
    for entry in std::fs::read_dir(gateway.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "switchyard" {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(7).any(|part| part == b"canary ");
            assert!(!found, "{} holds what was said", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g11_without_a_store_all_is_served_that_does_not_need_it() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let nowhere = "[store]\npath = \"/proc/no/store.db\"\n";
    let gateway = alone(&mock, nowhere).await;
    let at = gateway.address;
    let answer = create(at, &json!({"model": "p", "input": "hello"})).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-switchyard-dropped"), Some("store"));
    assert_eq!(answer.json()["store"], false);
    for more in [
        json!({"store": true}),
        json!({"background": true}),
        json!({"previous_response_id": "resp_1"}),
    ] {
        let mut body = json!({"model": "p", "input": "hello"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let refused = create(at, &body).await;
        assert_eq!(
            (refused.status(), code_of(&refused).as_str()),
            (503, "store_unavailable")
        );
        assert!(refused.header("retry-after").is_some());
        assert!(!refused.json().to_string().contains("/proc"));
    }
    let mut client = gateway.client().await;
    let ready = client.get("/ready", &[]).await.unwrap();
    assert_eq!(
        (ready.status(), &ready.json()["store"]),
        (200, &json!("cannot_open"))
    );
    assert!(
        gateway
            .metrics()
            .await
            .contains("switchyard_store_refused_total{why=\"cannot_open\"}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x08_a_broken_store_is_told_in_the_log_and_left_alone() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let gateway = Process::start("ulimit -c 0", &config_of(&mock)).await;
    let response = made(gateway.address, &json!({"model": "p", "input": "hello"})).await;
    let store = gateway.folder.path().join("switchyard.db");
    std::fs::write(&store, b"half").unwrap();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(gateway.folder.path().join(format!("switchyard.db{end}")));
    }
    let gateway = gateway.killed_and_started_again().await;
    let store = gateway.folder.path().join("switchyard.db");
    let refused = get(gateway.address, &id(&response)).await;
    assert_eq!(
        (refused.status(), code_of(&refused).as_str()),
        (503, "store_unavailable")
    );
    made(gateway.address, &json!({"model": "p", "input": "hello"})).await;
    let log = gateway.log();
    assert!(
        log.contains("switchyard.db is broken") && log.contains("restore a backup"),
        "{log}"
    );
    assert_eq!(std::fs::read(&store).unwrap(), b"half");
    let checked = command(&gateway, &["check"]);
    assert_eq!(checked.status.code(), Some(1));
}
