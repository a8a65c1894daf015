//! D2: what a provider does otherwise than the dialect it copies, acted upon as data.

use serde_json::{Value, json};

use crate::frame::{Gateway, chat, mock, provider};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_a_provider_s_quirks_change_what_it_gets_and_nothing_else() {
    let mock = mock("a").await;
    let quirks = "quirks = { rename = { seed = \"random_seed\" }, leave_out = [\"user\"], tells_usage_unasked = true, no_developer = true }\n";
    let gateway = Gateway::start(&format!("{}{quirks}", provider("a", &mock))).await;
    let mut body = chat("m-a");
    body["messages"][0]["role"] = "developer".into();
    body["user"] = "u-1".into();
    body["seed"] = 7.into();
    body["odd"] = json!({"kept": 1.5});
    let answer = gateway.post(&body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-dropped"), Some("user"));
    let seen = mock.last().unwrap().asked.json.clone();
    assert_eq!(seen["messages"][0]["role"], "system");
    assert_eq!((&seen["user"], &seen["seed"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&seen["random_seed"], &seen["odd"]),
        (&json!(7), &json!({"kept": 1.5}))
    );
    body["stream"] = true.into();
    gateway.stream_of(&body).await;
    let seen = mock.last().unwrap().asked.json.clone();
    assert_eq!(
        (&seen["stream"], &seen["stream_options"]),
        (&json!(true), &Value::Null)
    );
}
