//! A signature goes home to who wrote it, and to nobody else who speaks the same dialect.

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, SseStream};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, mock_of, provider};
use crate::matrix::speaker::{asked, key};

/// `a` is at home in its dialect: of two who are not whose it is, the first.
async fn two(a: &MockProvider, b: &MockProvider, of_b: &str) -> Gateway {
    Gateway::start(&format!("{}{}{of_b}", provider("a", a), provider("b", b))).await
}

/// The same, asked of this provider.
fn of(name: &str, body: &Value) -> Value {
    let mut body = body.clone();
    body["model"] = format!("m-{name}").into();
    body
}

async fn ask(gateway: &Gateway, client: Dialect, body: &Value) -> Answer {
    let (path, _) = asked(client, false);
    let mut connection = gateway.client().await;
    let answer = connection
        .post_json(&path, &key(client), body)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    answer
}

async fn stream(gateway: &Gateway, client: Dialect, body: &Value) -> SseStream {
    let (path, _) = asked(client, true);
    let mut connection = gateway.client().await;
    let reader = connection.stream(&path, &key(client), body).await.unwrap();
    reader.collect().await.unwrap()
}

fn last(mock: &MockProvider) -> Value {
    mock.last().unwrap().asked.json.clone()
}

fn reasoning(encrypted: &str) -> Value {
    json!({"type": "reasoning", "id": "rs_b", "summary": [], "encrypted_content": encrypted})
}

fn response() -> Value {
    let message = json!({
        "type": "message", "id": "msg_b", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "391", "annotations": []}],
    });
    json!({
        "id": "resp_b", "object": "response", "created_at": 1, "model": "m", "status": "completed",
        "output": [reasoning("gBBB"), message],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    })
}

fn streamed() -> String {
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_b", "model": "m", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": reasoning("")}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": reasoning("gBBB")}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "id": "msg_b"}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "item_id": "msg_b", "content_index": 0, "delta": "391"}),
        json!({"type": "response.completed", "response": response()}),
    ];
    let said = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    events.iter().map(said).collect()
}

fn turn(item: &Value) -> Value {
    json!({"store": false, "input": [
        {"role": "user", "content": "17 * 23?"}, item, {"role": "user", "content": "sure?"},
    ]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_encrypted_reasoning_goes_back_to_its_own_account_of_two_that_speak_alike() {
    let (a, b) = (
        mock_of(Dialect::Responses, "a").await,
        mock_of(Dialect::Responses, "b").await,
    );
    let gateway = two(&a, &b, "").await;
    b.set(Behaviour::status(200).json(&response()));
    let asks = json!({"store": false, "input": "17 * 23?"});
    let answer = ask(&gateway, Dialect::Responses, &of("b", &asks))
        .await
        .json();
    let whole = answer["output"][0].clone();
    assert_eq!(
        whole["encrypted_content"],
        "switchyard-signed~openai-responses:b~rs_b.gBBB"
    );
    b.set(Behaviour::status(200).body("text/event-stream", streamed()));
    let mut asks = asks;
    asks["stream"] = true.into();
    let events = stream(&gateway, Dialect::Responses, &of("b", &asks))
        .await
        .documents();
    let done = events
        .iter()
        .find(|one| one["type"] == "response.output_item.done");
    assert_eq!(
        done.unwrap_or_else(|| panic!("{events:?}"))["item"],
        whole,
        "streams name the signer, too"
    );
    let completed = events.last().unwrap();
    assert_eq!(completed["response"]["output"][0], whole);

    b.set(Behaviour::status(200).json(&response()));
    ask(&gateway, Dialect::Responses, &of("b", &turn(&whole))).await;
    assert_eq!(last(&b)["input"][1], reasoning("gBBB"), "home again");
    let answer = ask(&gateway, Dialect::Responses, &of("a", &turn(&whole))).await;
    assert_eq!(answer.header("x-switchyard-dropped"), Some("thinking"));
    assert!(!last(&a).to_string().contains("reasoning"), "{}", last(&a));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_what_a_client_brought_without_a_name_is_of_who_is_at_home_in_its_dialect() {
    let (a, b) = (
        mock_of(Dialect::Anthropic, "a").await,
        mock_of(Dialect::Anthropic, "b").await,
    );
    let gateway = two(&a, &b, "").await;
    let body = json!({"max_tokens": 64, "messages": [
        {"role": "user", "content": "17 * 23?"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "391"},
        ]},
        {"role": "user", "content": "sure?"},
    ]});
    ask(&gateway, Dialect::Anthropic, &of("a", &body)).await;
    assert_eq!(last(&a)["messages"], body["messages"]);
    let answer = ask(&gateway, Dialect::Anthropic, &of("b", &body)).await;
    assert_eq!(answer.header("x-switchyard-dropped"), Some("thinking"));
    let sent = last(&b);
    assert_eq!(
        sent["messages"][1]["content"],
        json!([{"type": "text", "text": "391"}])
    );

    // Two entries of one account say so, and every signature goes to both.
    let one = two(&a, &b, "signs_as = \"a\"\n").await;
    let answer = ask(&one, Dialect::Anthropic, &of("b", &body)).await;
    assert_eq!(answer.header("x-switchyard-dropped"), None);
    assert_eq!(last(&b)["messages"], body["messages"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_details_of_thoughts_are_not_sent_to_others_who_copy_openai_s_form() {
    let (a, b) = (
        mock_of(Dialect::OpenAi, "a").await,
        mock_of(Dialect::OpenAi, "b").await,
    );
    let gateway = two(&a, &b, "quirks = { reasoning_details = true }\n").await;
    let details = json!([{"type": "reasoning.encrypted", "data": "eA==", "id": "r"}]);
    b.set(Behaviour::status(200).json(&json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": "391", "reasoning_details": details,
        }}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    })));
    // By way of another dialect, where the marker tells whose they are.
    let asks = json!({"max_tokens": 64, "messages": [{"role": "user", "content": "17 * 23?"}]});
    let answer = ask(&gateway, Dialect::Anthropic, &of("b", &asks))
        .await
        .json();
    let mut body = asks.clone();
    let said = json!({"role": "assistant", "content": answer["content"]});
    let more = json!({"role": "user", "content": "sure?"});
    body["messages"]
        .as_array_mut()
        .unwrap()
        .extend([said, more.clone()]);
    ask(&gateway, Dialect::Anthropic, &of("b", &body)).await;
    assert_eq!(last(&b)["messages"][1]["reasoning_details"], details);
    let answer = ask(&gateway, Dialect::Anthropic, &of("a", &body)).await;
    assert_eq!(answer.header("x-switchyard-dropped"), Some("thinking"));
    assert!(!last(&a).to_string().contains("eA=="), "{}", last(&a));

    // And in the form itself.
    let said = json!({"role": "assistant", "content": "391", "reasoning_details": details});
    let body = json!({"messages": [asks["messages"][0], said, more]});
    let answer = gateway.post(&of("a", &body)).await;
    assert_eq!(answer.header("x-switchyard-dropped"), Some("thinking"));
    assert!(!last(&a).to_string().contains("eA=="), "{}", last(&a));
    assert_eq!(gateway.post(&of("b", &body)).await.status(), 200);
    assert_eq!(last(&b)["messages"], body["messages"]);
}
