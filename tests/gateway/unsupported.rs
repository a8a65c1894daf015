//! E8: what a provider cannot be told, by the operator's policy and what clients may ask of it.

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client};
use switchyard_chaos::mock::{Dialect, MockProvider};

use crate::frame::{Gateway, PATH, auth, chat, mock_of, provider, text_of};
use crate::matrix::speaker::{asked, key};

async fn gateway(mock: &MockProvider, policy: &str, pool: &str) -> Gateway {
    Gateway::start(&format!(
        "{}[dialects]\n{policy}\n[pools.p]\ntargets = [\"a/m-a\"]\n{pool}",
        provider("a", mock)
    ))
    .await
}

async fn ask(gateway: &Gateway, wish: Option<&str>, more: &Value) -> Answer {
    let mut body = chat("p");
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let mut fields = auth();
    fields.extend(wish.map(|wish| ("x-switchyard-unsupported".to_owned(), wish.to_owned())));
    let mut client = Client::connect(gateway.address).await.unwrap();
    client.post_json(PATH, &fields, &body).await.unwrap()
}

fn dropped(answer: &Answer) -> &str {
    answer.header("x-switchyard-dropped").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_a_client_may_be_stricter_and_only_where_it_may_laxer() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let usual = gateway(&mock, "", "").await;
    let (seed, several) = (json!({"seed": 1}), json!({"n": 2}));
    let answer = ask(&usual, None, &seed).await;
    assert_eq!((answer.status(), dropped(&answer)), (200, "seed"));
    let refused = ask(&usual, Some("strict"), &seed).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json()["error"]["param"], "seed");
    let before = mock.requests();
    for wish in ["drop", "emulate", "nonsense"] {
        let refused = ask(&usual, Some(wish), &several).await;
        assert_eq!(refused.status(), 400, "{wish}");
        let told = refused.json()["error"]["message"].to_string();
        assert!(told.contains("default, strict"), "{told}");
    }
    assert_eq!(ask(&usual, None, &several).await.status(), 400);
    assert_eq!(mock.requests(), before, "nobody was asked");
    let lax = gateway(&mock, "clients_may_ask = [\"drop\"]", "").await;
    let answer = ask(&lax, Some("drop"), &several).await;
    assert_eq!((answer.status(), dropped(&answer)), (200, "n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_a_pool_s_policy_goes_before_that_of_all_and_a_client_s_before_both() {
    let mock = mock_of(Dialect::Anthropic, "a").await;
    let both = gateway(
        &mock,
        "unsupported = \"drop\"",
        "unsupported = \"strict\"\n",
    )
    .await;
    let seed = json!({"seed": 1});
    assert_eq!(ask(&both, None, &seed).await.status(), 400);
    assert_eq!(ask(&both, Some("default"), &seed).await.status(), 200);
    let all = gateway(&mock, "unsupported = \"drop\"", "").await;
    let answer = ask(&all, None, &json!({"n": 2})).await;
    assert_eq!((answer.status(), dropped(&answer)), (200, "n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_a_stop_that_the_provider_does_not_know_is_cut_here_whole_and_streamed() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let plain = gateway(&mock, "", "").await;
    // Its words are numbered by request and place: a1-1 a1-2 and so on.
    let stop = "-4";
    let asks = json!({"stop": [stop]});
    assert_eq!(ask(&plain, None, &asks).await.status(), 400);
    let usage = |answer: &Answer| {
        answer.json()["usage"]["completion_tokens"]
            .as_u64()
            .unwrap()
    };
    let cut = gateway(&mock, "unsupported = \"emulate\"", "").await;
    let answer = ask(&cut, None, &asks).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let text = text_of(&answer);
    assert!(
        !text.contains(stop) && text.split(' ').count() == 4,
        "{text}"
    );
    assert!(usage(&answer) >= 6, "what the provider wrote is billed");
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "stop");
    assert_eq!(mock.last().unwrap().asked.json["stop"], Value::Null);
    let mut streamed = chat("p");
    streamed["stream"] = true.into();
    streamed["stop"] = json!([stop]);
    let stream = cut.stream_of(&streamed).await;
    assert_eq!(
        stream.text(Dialect::OpenAi).split_whitespace().count(),
        4,
        "{}",
        stream.text(Dialect::OpenAi)
    );
    assert!(!stream.text(Dialect::OpenAi).contains(stop));
    assert!(stream.is_done());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_a_client_whose_form_says_which_stop_was_met_is_told() {
    let mock = mock_of(Dialect::Responses, "a").await;
    let cut = gateway(&mock, "unsupported = \"emulate\"", "").await;
    for (stop, met) in [("-4", json!("-4")), ("never said", Value::Null)] {
        for streams in [false, true] {
            let (path, mut body) = asked(Dialect::Anthropic, streams);
            body["stop_sequences"] = json!(["also never said", stop]);
            let mut connection = cut.client().await;
            let headers = key(Dialect::Anthropic);
            let told = if streams {
                let reader = connection.stream(&path, &headers, &body).await.unwrap();
                let stream = reader.collect().await.unwrap();
                let documents = stream.documents();
                let ended = documents.iter().find(|one| one["type"] == "message_delta");
                ended.unwrap()["delta"].clone()
            } else {
                let answer = connection.post_json(&path, &headers, &body).await.unwrap();
                answer.json()
            };
            assert_eq!(told["stop_sequence"], met, "{stop} {streams}: {told}");
        }
    }
}
