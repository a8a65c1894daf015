//! What a request may say of where it goes (row E9): only ever within what its key and the configuration allow.

use serde_json::{Value, json};
use switchyard_chaos::client::Answer;
use switchyard_chaos::mock::{Behaviour, MockProvider};

use crate::frame::{Gateway, PATH, auth, chat, code_of, mock, provider};

struct Three {
    a: MockProvider,
    b: MockProvider,
    c: MockProvider,
    gateway: Gateway,
}

/// Pool `p` has `a` and `b`, and falls back to `q` with `c` alone. The client `narrow` may use `p` only.
async fn three() -> Three {
    let (a, b, c) = (mock("a").await, mock("b").await, mock("c").await);
    let config = format!(
        "{}{}{}[pools.p]\ntargets = [\"a/m-a\", \"b/m-b\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"c/m-c\"]\n[pools.alone]\ntargets = [\"a/m-a\"]\n[[clients]]\nname = \"narrow\"\nkey = \"file:FOLDER/narrow\"\npools = [\"p\", \"alone\"]\n",
        provider("a", &a),
        provider("b", &b),
        provider("c", &c)
    );
    let gateway = Gateway::start(&config).await;
    Three { a, b, c, gateway }
}

impl Three {
    async fn ask(&self, model: &str, more: Value) -> Answer {
        let mut body = chat(model);
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        self.gateway.post(&body).await
    }

    fn requests(&self) -> [u64; 3] {
        [&self.a, &self.b, &self.c].map(MockProvider::requests)
    }
}

fn by(answer: &Answer) -> String {
    assert_eq!(answer.status(), 200, "{}", answer.json());
    answer.header("x-switchyard-provider").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_only_and_ignore_and_order_choose_among_the_pool_s_providers() {
    let three = three().await;
    for _ in 0..4 {
        for (wish, served) in [
            (json!({"only": ["b"]}), "b"),
            (json!({"only": ["B/turbo"]}), "b"),
            (json!({"ignore": ["a"]}), "b"),
            (json!({"order": ["b", "a"]}), "b"),
            (json!({"order": ["nobody", "a"]}), "a"),
            (
                json!({"order": ["a"], "sort": "price", "new_field": [1]}),
                "a",
            ),
            (json!({"ignore": ["a", "b"]}), "c"),
        ] {
            let answer = three.ask("p", json!({"provider": wish})).await;
            assert_eq!(by(&answer), served, "{wish}");
        }
    }
    let sent = three.a.last().unwrap().asked.json.clone();
    assert!(sent.get("provider").is_none(), "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_an_order_fails_over_to_the_others_unless_it_says_not_to() {
    let three = three().await;
    three.b.set(Behaviour::status(500));
    let answer = three.ask("p", json!({"provider": {"order": ["b"]}})).await;
    assert_eq!(by(&answer), "a");
    assert_eq!(answer.header("x-switchyard-failovers"), Some("1"));
    let before = three.requests();
    let strict =
        json!({"provider": {"order": ["b"], "allow_fallbacks": false}, "disable_fallbacks": true});
    let answer = three.ask("p", strict).await;
    assert_eq!(answer.status(), 502, "{}", answer.json());
    assert_eq!(
        (three.requests()[0], three.requests()[2]),
        (before[0], before[2])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_a_filter_that_leaves_nobody_says_which_it_was() {
    let three = three().await;
    let answer = three
        .ask("p", json!({"provider": {"only": ["nobody"]}}))
        .await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (404, "model_not_found")
    );
    let told = answer.json();
    assert_eq!(told["error"]["param"], "provider");
    assert!(
        told["error"]["message"].as_str().unwrap().contains("only"),
        "{told}"
    );
    for unkept in [
        json!({"zdr": "yes"}),
        json!({"quantizations": ["fp8"]}),
        json!({"max_price": {"request": 1}}),
    ] {
        let answer = three.ask("p", json!({"provider": unkept})).await;
        assert_eq!(
            (answer.status(), code_of(&answer).as_str()),
            (400, "invalid_request"),
            "{unkept}"
        );
    }
    assert_eq!(three.requests(), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_other_models_serve_in_the_order_they_are_named() {
    let three = three().await;
    three.a.set(Behaviour::status(500));
    for more in [
        json!({"models": ["q"]}),
        json!({"models": ["alone", "q"], "route": "fallback"}),
        json!({"fallbacks": ["q"]}),
        json!({"fallbacks": [{"model": "c/m-c", "temperature": 1}]}),
        json!({"fallbacks": ["c/any-other"]}),
    ] {
        let answer = three.ask("alone", more.clone()).await;
        assert_eq!(by(&answer), "c", "{more}");
        assert_eq!(answer.header("x-switchyard-failovers"), Some("1"));
        let sent = three.c.last().unwrap().asked.json.clone();
        for ours in ["models", "fallbacks", "route"] {
            assert!(sent.get(ours).is_none(), "{sent}");
        }
    }
    assert_eq!(three.c.last().unwrap().asked.json["model"], "any-other");
    // A list of models is enough.
    let mut body = json!({"models": ["q", "p"], "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(by(&three.gateway.post(&body).await), "c");
    assert_eq!(three.c.last().unwrap().asked.json["model"], "m-c");
    body["models"] = json!([]);
    assert_eq!(three.gateway.post(&body).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_nobody_names_what_its_key_may_not_use() {
    let three = three().await;
    let narrow = [(
        "authorization".to_owned(),
        "Bearer sk-canary-narrow".to_owned(),
    )];
    let ask = async |more: &Value| {
        let mut body = chat("alone");
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let mut client = three.gateway.client().await;
        client.post_json(PATH, &narrow, &body).await.unwrap()
    };
    let forbidden = [
        json!({"models": ["q"]}),
        json!({"fallbacks": ["c/m-c"]}),
        json!({"fallbacks": ["no-such-model"]}),
    ];
    for more in &forbidden {
        let answer = ask(more).await;
        assert_eq!(by(&answer), "a", "{more}");
        let warning = answer.header("warning").unwrap();
        assert!(
            warning.contains("left out") && !warning.contains("m-c"),
            "{warning}"
        );
    }
    three.a.set(Behaviour::status(500));
    for more in &forbidden {
        assert!(ask(more).await.status() >= 500, "{more}");
    }
    assert_eq!(three.c.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_retries_and_fallbacks_can_be_lowered_and_never_raised() {
    let three = three().await;
    for mock in [&three.a, &three.b, &three.c] {
        mock.set(Behaviour::status(429).header("retry-after", "1"));
    }
    let attempts = |answer: &Answer| answer.header("x-switchyard-attempts").unwrap().to_owned();
    let none = three.ask("p", json!({"num_retries": 0})).await;
    assert_eq!(attempts(&none), "1", "{}", none.json());
    let three = self::three().await;
    for mock in [&three.a, &three.b, &three.c] {
        mock.set(Behaviour::status(500));
    }
    let mut fields = auth();
    fields.push(("x-litellm-num-retries".to_owned(), "0".to_owned()));
    let mut client = three.gateway.client().await;
    let answer = client.post_json(PATH, &fields, &chat("p")).await.unwrap();
    assert_eq!(attempts(&answer), "1");
    let three = self::three().await;
    for mock in [&three.a, &three.b, &three.c] {
        mock.set(Behaviour::status(503));
    }
    let many = three.ask("p", json!({"num_retries": 50})).await;
    assert_eq!(attempts(&many), "3", "the configuration's limit holds");
    let three = self::three().await;
    for mock in [&three.a, &three.b] {
        mock.set(Behaviour::status(503));
    }
    let alone = three.ask("p", json!({"disable_fallbacks": true})).await;
    assert_eq!(alone.status(), 503, "{}", alone.json());
    assert_eq!(three.c.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_a_most_that_may_be_paid_is_kept_and_the_cheapest_serve_first() {
    let mocks = [mock("a").await, mock("b").await, mock("c").await];
    let prices = "[a.\"m-a\"]\ncan = [\"chat\"]\nprice = { input = \"3\", output = \"15\" }\nconfirmed = \"a test\"\n\
        [b.\"m-b\"]\ncan = [\"chat\"]\nprice = { input = \"1\", output = \"5\" }\nconfirmed = \"a test\"\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.toml");
    std::fs::write(&file, prices).unwrap();
    let config = format!(
        "{}{}{}[registry]\nfile = \"{}\"\n[pools.p]\ntargets = [{{ target = \"a/m-a\", weight = 1000 }}, \"b/m-b\", \"c/m-c\"]\n",
        provider("a", &mocks[0]),
        provider("b", &mocks[1]),
        provider("c", &mocks[2]),
        file.display(),
    );
    let gateway = Gateway::start(&config).await;
    let ask = |wish: serde_json::Value| {
        let mut body = chat("p");
        body["provider"] = wish;
        let gateway = &gateway;
        async move { gateway.post(&body).await }
    };
    for (wish, served) in [
        (json!({"sort": "price"}), "b"),
        // The client's own order goes before the price.
        (json!({"sort": "price", "order": ["c"]}), "c"),
        (json!({"max_price": {"prompt": 2}}), "b"),
        (
            json!({"max_price": {"completion": "15"}, "ignore": ["b"]}),
            "a",
        ),
    ] {
        for _ in 0..4 {
            let answer = ask(wish.clone()).await;
            assert_eq!(by(&answer), served, "{wish}");
        }
    }
    // Of one that nobody knows the price of nothing is promised.
    for wish in [
        json!({"max_price": {"prompt": 0.5}}),
        json!({"max_price": {"prompt": 100}, "only": ["c"]}),
    ] {
        let before: u64 = mocks.iter().map(|mock| mock.requests()).sum();
        let answer = ask(wish.clone()).await;
        assert_eq!(answer.status(), 404, "{wish}: {}", answer.json());
        let message = answer.json()["error"]["message"].to_string();
        assert!(message.contains("max_price"), "{message}");
        let after: u64 = mocks.iter().map(|mock| mock.requests()).sum();
        assert_eq!(before, after, "{wish}");
    }
}
