//! Vectors, counts and rankings: every form in which they are asked, every provider that has them.

use serde_json::{Value, json};
use switchyard_chaos::client::Answer;
use switchyard_chaos::mock::{Behaviour, Dialect, MockOptions, MockProvider};

use crate::frame::{Gateway, auth, code_of, pair, provider, quick};

/// A mock that refuses what a real provider would.
async fn strict(dialect: Dialect, name: &str) -> MockProvider {
    let options = MockOptions::for_dialect(dialect)
        .named(name)
        .weather(quick());
    MockProvider::start(options).await.unwrap()
}

/// A gateway whose pool `p` has one provider, which calls its model so.
async fn serving(a: &MockProvider, model: &str) -> Gateway {
    let config = format!(
        "{}[pools.p]\ntargets = [\"a/{model}\"]\n",
        provider("a", a).replace("m-a", model)
    );
    Gateway::start(&config).await
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let mut client = gateway.client().await;
    client.post_json(path, &auth(), body).await.unwrap()
}

/// Each provider's dialect, a model of its kind, and how many texts it takes at once.
const PROVIDERS: [(Dialect, &str, usize); 6] = [
    (Dialect::OpenAi, "text-embedding-3-small", 2),
    (Dialect::Gemini, "gemini-embedding-001", 2),
    (Dialect::Cohere, "embed-v4.0", 2),
    (Dialect::Ollama, "nomic-embed-text", 2),
    (Dialect::Bedrock, "cohere.embed-multilingual-v3", 2),
    (Dialect::Bedrock, "amazon.titan-embed-text-v2:0", 1),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_e5_every_client_gets_its_vectors_from_every_provider() {
    for (dialect, model, most) in PROVIDERS {
        let a = strict(dialect, "a").await;
        let gateway = serving(&a, model).await;
        let texts: Vec<&str> = ["one", "two"].into_iter().take(most).collect();
        let asked = json!({"model": "p", "input": texts, "dimensions": 4});
        let plain = post(&gateway, "/v1/embeddings", &asked).await;
        assert_eq!(plain.status(), 200, "{model}: {}", plain.json());
        let told = plain.json();
        let data = told["data"].as_array().unwrap();
        assert_eq!(data.len(), most, "{model}");
        let vector = |at: usize| data[at]["embedding"].as_array().unwrap().clone();
        assert_eq!(
            (vector(0).len(), &data[most - 1]["index"]),
            (4, &json!(most - 1))
        );
        assert!(
            told["usage"]["prompt_tokens"].as_u64().unwrap() > 0,
            "{model}"
        );

        let packed =
            json!({"model": "p", "input": texts, "dimensions": 4, "encoding_format": "base64"});
        let packed = post(&gateway, "/v1/embeddings", &packed).await.json();
        let text = packed["data"][0]["embedding"].as_str().unwrap();
        assert_eq!(text.len(), 24, "four numbers of four bytes");

        let one = json!({"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 4, "taskType": "RETRIEVAL_QUERY"});
        let google = post(&gateway, "/v1beta/models/p:embedContent", &one).await;
        assert_eq!(google.status(), 200, "{model}: {}", google.json());
        let values = google.json()["embedding"]["values"]
            .as_array()
            .unwrap()
            .clone();
        for (google, openai) in values.iter().zip(vector(0)) {
            let difference = google.as_f64().unwrap() - openai.as_f64().unwrap();
            assert!(difference.abs() < 1e-6, "{model}: one text has one vector");
        }

        let many: Vec<Value> = texts
            .iter()
            .map(|text| json!({"model": "models/p", "content": {"parts": [{"text": text}]}}))
            .collect();
        let batch = json!({"requests": many});
        let batch = post(&gateway, "/v1beta/models/p:batchEmbedContents", &batch).await;
        assert_eq!(batch.status(), 200, "{model}: {}", batch.json());
        assert_eq!(
            batch.json()["embeddings"].as_array().unwrap().len(),
            most,
            "{model}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_what_a_provider_cannot_embed_is_told_with_its_place() {
    let cohere = strict(Dialect::Cohere, "a").await;
    let titan = strict(Dialect::Bedrock, "a").await;
    let cases = [
        (
            serving(&cohere, "embed-v4.0").await,
            json!([[1, 2]]),
            "input",
        ),
        (
            serving(&cohere, "embed-v4.0").await,
            json!(vec!["x"; 97]),
            "input",
        ),
        (
            serving(&titan, "amazon.titan-embed-text-v2:0").await,
            json!(["a", "b"]),
            "input",
        ),
        (
            serving(&titan, "amazon.nova-micro-v1:0").await,
            json!("a"),
            "model",
        ),
        (
            serving(&cohere, "embed-v4.0").await,
            json!(["a", ""]),
            "input[1]",
        ),
    ];
    for (gateway, input, at) in cases {
        let asked = json!({"model": "p", "input": input});
        let answer = post(&gateway, "/v1/embeddings", &asked).await;
        assert_eq!(answer.status(), 400, "{}", answer.json());
        assert_eq!(answer.json()["error"]["param"], at, "{}", answer.json());
    }
    assert_eq!(cohere.requests() + titan.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_vectors_of_other_texts_are_replaced_by_the_next_provider() {
    let (a, b) = (
        strict(Dialect::Cohere, "a").await,
        strict(Dialect::Gemini, "b").await,
    );
    for bad in [
        json!({"embeddings": {"float": [[0.5, 0.5]]}}),
        json!({"embeddings": {"float": [[0.5], [0.5, 0.5]]}}),
        json!({"embeddings": {"float": []}}),
        json!({"message": "busy"}),
    ] {
        let gateway = pair(&a, &b, "").await;
        a.set(Behaviour::status(200).json(&bad));
        let asked = json!({"model": "p", "input": ["one", "two"]});
        let answer = post(&gateway, "/v1/embeddings", &asked).await;
        assert_eq!(answer.status(), 200, "{bad}: {}", answer.json());
        assert_eq!(answer.header("x-switchyard-provider"), Some("b"), "{bad}");
        assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_of_a_mixed_pool_only_those_are_asked_who_have_the_operation() {
    let (a, b) = (
        strict(Dialect::Anthropic, "a").await,
        strict(Dialect::OpenAi, "b").await,
    );
    let gateway = pair(&a, &b, "").await;
    for _ in 0..4 {
        let asked = json!({"model": "p", "input": "x"});
        let answer = post(&gateway, "/v1/embeddings", &asked).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert_eq!(answer.header("x-switchyard-attempts"), Some("1"));
    }
    let counted = json!({"model": "p", "messages": [{"role": "user", "content": "x"}]});
    let answer = post(&gateway, "/v1/messages/count_tokens", &counted).await;
    assert_eq!(answer.header("x-switchyard-estimated"), None);
    assert_eq!((a.requests(), b.requests()), (1, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_e4_tokens_are_counted_by_who_can_count_and_else_estimated_and_marked() {
    let google =
        json!({"contents": [{"role": "user", "parts": [{"text": "hello, how long is this?"}]}]});
    let anthropic = json!({"model": "p", "messages": [{"role": "user", "content": "hello, how long is this?"}]});
    for (dialect, counts) in [
        (Dialect::Gemini, true),
        (Dialect::Anthropic, true),
        (Dialect::OpenAi, false),
        (Dialect::Bedrock, false),
    ] {
        let a = strict(dialect, "a").await;
        let gateway = serving(&a, "m-a").await;
        let whole = json!({"generateContentRequest": {"model": "models/p", "contents": google["contents"]}});
        for (path, asked, name) in [
            ("/v1beta/models/p:countTokens", &google, "totalTokens"),
            ("/v1beta/models/p:countTokens", &whole, "totalTokens"),
            ("/v1/messages/count_tokens", &anthropic, "input_tokens"),
        ] {
            let answer = post(&gateway, path, asked).await;
            assert_eq!(
                answer.status(),
                200,
                "{dialect:?} {path}: {}",
                answer.json()
            );
            assert!(
                answer.json()[name].as_u64().unwrap() > 0,
                "{}",
                answer.json()
            );
            let marked = answer.header("x-switchyard-estimated").is_some();
            assert_eq!(marked, !counts, "{dialect:?} {path}");
        }
        assert_eq!(a.requests(), if counts { 3 } else { 0 }, "{dialect:?}");
        if dialect == Dialect::Gemini {
            let inner = a.log()[1].asked.json["generateContentRequest"]["model"].clone();
            assert_eq!(inner, "models/m-a");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_ranking_is_made_by_either_kind_and_never_one_of_other_documents() {
    let asked = json!({"model": "p", "query": "q", "documents": ["a", "b", "c"], "top_n": 2, "return_documents": true});
    let cohere = strict(Dialect::Cohere, "a").await;
    let gateway = serving(&cohere, "rerank-v3.5").await;
    for path in ["/v1/rerank", "/v2/rerank"] {
        let answer = post(&gateway, path, &asked).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        let told = answer.json();
        assert_eq!(told["results"].as_array().unwrap().len(), 2);
        assert_eq!(told["results"][0]["document"]["text"], "c", "{told}");
        let sent = cohere.last().unwrap().asked.json.clone();
        assert_eq!(
            sent,
            json!({"model": "rerank-v3.5", "query": "q", "top_n": 2, "documents": ["a", "b", "c"]})
        );
    }
    cohere.set(
        Behaviour::status(200).json(&json!({"results": [{"index": 3, "relevance_score": 1}]})),
    );
    assert_eq!(post(&gateway, "/v1/rerank", &asked).await.status(), 502);
    let openai = strict(Dialect::OpenAi, "a").await;
    let gateway = serving(&openai, "m-a").await;
    let answer = post(&gateway, "/v1/rerank", &asked).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(openai.last().unwrap().asked.json["return_documents"], true);
    let gemini = strict(Dialect::Gemini, "a").await;
    let gateway = serving(&gemini, "m-a").await;
    let answer = post(&gateway, "/v1/rerank", &asked).await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (400, "invalid_request")
    );
}
