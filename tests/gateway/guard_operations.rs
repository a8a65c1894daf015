//! The guard over what is asked beside conversations: looked into where it is text, refused where it cannot be.

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, Client};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, KEY, alone, auth, code_of, mock, mock_of};

const MAIL: &str = "anna@example.com";
const REDACT: &str = "[guard]\nrequests = { email = \"redact\", ip = \"mark\" }\n";
const ANSWERS: &str = "[guard]\nanswers = { email = \"redact\", card = \"block\" }\n";
const BOUNDARY: &str = "xx-7MA4YWxkTrZu0gW";
const TRANSCRIPTS: &str = "/v1/audio/transcriptions";

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let mut client = Client::connect(gateway.address).await.unwrap();
    let mut fields = auth();
    fields.push(("x-goog-api-key".to_owned(), KEY.to_owned()));
    client.post_json(path, &fields, body).await.unwrap()
}

fn form(fields: &[(&str, &str)]) -> String {
    let parts = fields.iter().map(|(name, value)| {
        let file = match *name {
            "file" | "image" => "; filename=\"a.bin\"",
            _ => "",
        };
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        )
    });
    parts.collect::<String>() + &format!("--{BOUNDARY}--\r\n")
}

async fn post_form(gateway: &Gateway, path: &str, body: &str) -> Answer {
    let mut client = gateway.client().await;
    let mut fields = auth();
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    fields.push(("content-type".to_owned(), kind));
    let request = client.request("POST", path, &fields, body.as_bytes());
    client.send(&request).await.unwrap();
    client.read_answer().await.unwrap()
}

fn sent(mock: &MockProvider) -> String {
    String::from_utf8_lossy(&mock.last().unwrap().asked.body).into_owned()
}

fn said(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_what_an_operation_is_given_is_searched_and_its_answer_gets_it_back() {
    let a = mock("a").await;
    let gateway = alone(&a, REDACT).await;
    for (path, body, answer) in [
        (
            "completions",
            json!({"prompt": ["x", MAIL], "suffix": MAIL}),
            json!({"id": "c", "object": "text_completion", "model": "m-a",
                "choices": [{"index": 0, "text": "to <EMAIL_1>", "finish_reason": "stop"}]}),
        ),
        (
            "embeddings",
            json!({"input": ["one", MAIL], "user": MAIL}),
            json!({"object": "list", "model": "m-a",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25]}]}),
        ),
        (
            "moderations",
            json!({"input": [{"type": "text", "text": MAIL}]}),
            json!({"id": "m", "model": "m-a", "results": [{"flagged": false}]}),
        ),
        (
            "rerank",
            json!({"query": MAIL, "documents": [MAIL, {"text": MAIL}]}),
            json!({"model": "m-a", "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "<EMAIL_1>"}}]}),
        ),
        (
            "images/generations",
            json!({"prompt": MAIL}),
            json!({"created": 1, "data": [{"b64_json": "iVBORw0=", "revised_prompt": "<EMAIL_1>"}]}),
        ),
        (
            "images/edits",
            json!({"prompt": MAIL, "images": [{"image_url": "data:image/png;base64,iVBORw0="}]}),
            json!({"created": 1, "data": [{"b64_json": "iVBORw0="}]}),
        ),
    ] {
        a.set(Behaviour::status(200).json(&answer));
        let mut body = body;
        body["model"] = "p".into();
        let got = post(&gateway, &format!("/v1/{path}"), &body).await;
        assert_eq!(got.status(), 200, "{path}: {}", got.json());
        assert!(!sent(&a).contains(MAIL), "{path}: {}", sent(&a));
        assert!(sent(&a).contains("<EMAIL_1>"), "{path}: {}", sent(&a));
        let noted = got.header("x-switchyard-guard").unwrap_or_default();
        assert!(noted.starts_with("email="), "{path}: {noted}");
        let back = answer.to_string().replace("<EMAIL_1>", MAIL);
        assert_eq!(got.json(), serde_json::from_str::<Value>(&back).unwrap());
    }
    // Sound comes back as it is, whatever was taken out of what was to be spoken.
    a.set(Behaviour::status(200).body("audio/mpeg", "data: <EMAIL_1>\n\n\u{1}"));
    let body = json!({"model": "p", "input": MAIL, "voice": "alloy"});
    let sound = post(&gateway, "/v1/audio/speech", &body).await;
    assert_eq!(said(&sound), "data: <EMAIL_1>\n\n\u{1}");
    assert!(!sent(&a).contains(MAIL));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_texts_to_be_counted_and_embedded_in_every_dialect_are_searched() {
    for provider in [Dialect::Gemini, Dialect::Anthropic] {
        let a = mock_of(provider, "a").await;
        let gateway = alone(&a, REDACT).await;
        let parts = json!({"parts": [{"text": MAIL}]});
        let turn = json!({"role": "user", "content": MAIL});
        let counted = [
            (
                "/v1/messages/count_tokens",
                json!({"model": "p", "messages": [turn]}),
            ),
            ("/v1beta/models/p:countTokens", json!({"contents": [parts]})),
        ];
        let embedded = [
            ("/v1beta/models/p:embedContent", json!({"content": parts})),
            (
                "/v1beta/models/p:batchEmbedContents",
                json!({"requests": [{"model": "models/p", "content": parts}]}),
            ),
        ];
        let embeds = provider == Dialect::Gemini;
        for (path, body) in counted.iter().chain(embedded.iter().filter(|_| embeds)) {
            let answer = post(&gateway, path, body).await;
            assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
            let sent = sent(&a);
            assert!(
                !sent.contains(MAIL) && sent.contains("<EMAIL_1>"),
                "{path}: {sent}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_text_as_numbers_of_tokens_is_not_sent_where_a_rule_cannot_read_it() {
    let a = mock("a").await;
    let open =
        "[pools.q]\ntargets = [\"a/m-a\"]\n[pools.q.guard]\nrequests = { email = \"mark\" }\n";
    let gateway = alone(&a, &format!("{open}{REDACT}")).await;
    let asked = |path: &str| match path {
        "completions" => ("prompt", json!([[5, 6], [7]])),
        _ => ("input", json!(["text", [5, 6]])),
    };
    for path in ["completions", "embeddings"] {
        let (member, tokens) = asked(path);
        let answer = post(
            &gateway,
            &format!("/v1/{path}"),
            &json!({"model": "p", member: tokens}),
        )
        .await;
        assert_eq!(code_of(&answer), "content_blocked", "{}", answer.json());
        let error = &answer.json()["error"];
        assert_eq!((answer.status(), &error["param"]), (400, &json!(member)));
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("\"email\"") && message.contains("send the text itself"),
            "{message}"
        );
    }
    assert_eq!(a.requests(), 0);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("switchyard_blocked_total{rule=\"tokens\"}"));
    // A rule that only marks forbids nothing.
    let body = json!({"model": "q", "input": [5, 6]});
    assert_eq!(post(&gateway, "/v1/embeddings", &body).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_a_form_is_not_sent_where_a_rule_would_have_to_look_into_it() {
    let a = mock("a").await;
    let open =
        "[pools.q]\ntargets = [\"a/m-a\"]\n[pools.q.guard]\nrequests = { email = \"off\" }\n";
    let gateway = alone(&a, &format!("{open}{REDACT}")).await;
    for (path, file) in [
        (TRANSCRIPTS, "file"),
        ("/v1/audio/translations", "file"),
        ("/v1/images/edits", "image"),
        ("/v1/images/variations", "image"),
    ] {
        let fields = |model| form(&[(file, "sound"), ("prompt", MAIL), ("model", model)]);
        let answer = post_form(&gateway, path, &fields("p")).await;
        assert_eq!(
            (answer.status(), &*code_of(&answer)),
            (400, "content_blocked")
        );
        let told = said(&answer);
        assert!(
            told.contains("email")
                && !told.contains("\\\"ip\\\"")
                && told.contains("[pools.x.guard]"),
            "{told}"
        );
        let asked = a.requests();
        // Whoever runs the gateway lets it through by name, and then it is as it was.
        let answer = post_form(&gateway, path, &fields("q")).await;
        assert_eq!(answer.status(), 200, "{path}: {}", said(&answer));
        assert_eq!(a.requests(), asked + 1);
        assert_eq!(sent(&a), fields("m-a"));
    }
    let records = gateway.records().await;
    let told = |record: &&Value| record.to_string().contains("form;block");
    assert_eq!(records.iter().filter(told).count(), 4);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("switchyard_blocked_total{rule=\"form\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_a_form_is_not_sent_past_a_webhook_that_has_to_judge() {
    for (on_failure, status) in [("refuse", 400), ("allow", 200)] {
        let (a, judge) = (mock("a").await, mock("judge").await);
        judge.set(Behaviour::status(200).json(&json!({"verdict": "allow"})));
        let more = format!(
            "[guard.webhook]\nurl = \"{}/v1/chat/completions\"\nallow_private_address = true\nsecret = \"file:FOLDER/hook\"\non_failure = \"{on_failure}\"\n",
            judge.origin()
        );
        let gateway = alone(&a, &more).await;
        let body = form(&[("file", "sound"), ("model", "p")]);
        let answer = post_form(&gateway, TRANSCRIPTS, &body).await;
        assert_eq!(answer.status(), status, "{}", said(&answer));
        assert_eq!(judge.requests(), 0, "there is nothing to show it");
        if status == 400 {
            assert!(said(&answer).contains("webhook"), "{}", said(&answer));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_transcripts_are_searched_whole_as_text_and_in_events() {
    let a = mock("a").await;
    let gateway = alone(&a, ANSWERS).await;
    let fields =
        |more: (&'static str, &'static str)| form(&[("file", "sound"), ("model", "p"), more]);
    a.set(Behaviour::status(200).json(&json!({"text": format!("to {MAIL} now")})));
    let answer = post_form(&gateway, TRANSCRIPTS, &fields(("language", "en"))).await;
    assert_eq!(answer.json()["text"], "to <EMAIL> now");
    a.set(Behaviour::status(200).body("text/plain", format!("to {MAIL} \"now\"\n")));
    let text = fields(("response_format", "text"));
    let answer = post_form(&gateway, TRANSCRIPTS, &text).await;
    assert_eq!(said(&answer), "to <EMAIL> \"now\"\n");
    a.set(Behaviour::status(200).body("text/plain", "card 4111 1111 1111 1111\n"));
    let answer = post_form(&gateway, TRANSCRIPTS, &text).await;
    assert_eq!(code_of(&answer), "content_blocked");

    let event = |event: Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    let stream = |pieces: [&str; 3]| {
        let deltas =
            pieces.map(|piece| event(json!({"type": "transcript.text.delta", "delta": piece})));
        let done = event(
            json!({"type": "transcript.text.done", "text": pieces.concat(),
            "usage": {"type": "tokens", "input_tokens": 3, "output_tokens": 3, "total_tokens": 6}}),
        );
        Behaviour::status(200).body("text/event-stream", deltas.concat() + &done)
    };
    let streamed = fields(("stream", "true"));
    a.set(stream(["to anna@exa", "mple.com", " now"]));
    let answer = post_form(&gateway, TRANSCRIPTS, &streamed).await;
    let told = said(&answer);
    assert!(
        !told.contains("anna") && !told.contains("mple.com"),
        "{told}"
    );
    assert!(told.contains("\"text\":\"to <EMAIL> now\""), "{told}");
    assert!(told.ends_with("\n\n") && !told.contains("error"), "{told}");
    a.set(stream(["card 4111 1111", " 1111 1111", " now"]));
    let answer = post_form(&gateway, TRANSCRIPTS, &streamed).await;
    let told = said(&answer);
    assert!(
        !told.contains("1111") && !told.contains("transcript.text.done"),
        "{told}"
    );
    assert!(
        told.contains("content_blocked"),
        "its form has no other end: {told}"
    );
    for more in [
        ("include[]", "logprobs"),
        ("response_format", "verbose_json"),
    ] {
        let asked = a.requests();
        let answer = post_form(&gateway, TRANSCRIPTS, &fields(more)).await;
        assert_eq!((answer.status(), a.requests()), (400, asked), "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_a_text_continued_ends_as_a_filter_ends_it() {
    let a = mock("a").await;
    let gateway = alone(&a, ANSWERS).await;
    let piece = |text: &str, finish: Value| {
        let event = json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m-a",
            "choices": [{"index": 0, "text": text, "finish_reason": finish}]});
        format!("data: {event}\n\n")
    };
    let body = piece("mail a@b.de card 4111 1111", Value::Null)
        + &piece(" 1111 1111 and", Value::Null)
        + &piece("", json!("stop"))
        + "data: [DONE]\n\n";
    a.set(Behaviour::status(200).body("text/event-stream", body));
    let asked = json!({"model": "p", "prompt": "x", "stream": true});
    let answer = post(&gateway, "/v1/completions", &asked).await;
    let told = said(&answer);
    assert!(
        told.contains("mail <EMAIL> card ") && !told.contains("1111"),
        "{told}"
    );
    let last = told.lines().rfind(|line| line.starts_with("data: {"));
    let last: Value = serde_json::from_str(&last.unwrap()[6..]).unwrap();
    assert_eq!(last["object"], "text_completion");
    assert_eq!(last["id"], "cmpl-1");
    assert_eq!(last["choices"][0]["finish_reason"], "content_filter");
    assert!(told.ends_with("data: [DONE]\n\n"), "{told}");
}
