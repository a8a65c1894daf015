//! Files and speech: forms on their way in, sound and transcripts on their way out.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{Answer, BodyEnd, Client};
use switchyard_chaos::mock::{Behaviour, MockProvider, Step};

use crate::frame::{Gateway, alone, alone_with, auth, code_of, mock, pair};

pub(crate) const BOUNDARY: &str = "----switchyard-test-7MA4YWxkTrZu0gW";
/// Sound as far as anyone here can tell: it holds line ends, dashes and a zero.
const SOUND: &[u8] = b"ID3\x04\0\r\n--\r\n\r\n------switchyard\xff\xfb";

pub(crate) fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = match *name {
            "file" | "image" => "; filename=\"a.bin\"\r\nContent-Type: application/octet-stream",
            _ => "",
        };
        body.extend_from_slice(
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn send(gateway: &Gateway, path: &str, body: &[u8]) -> Client {
    let mut client = gateway.client().await;
    let mut fields = auth();
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    fields.push(("content-type".to_owned(), kind));
    let request = client.request("POST", path, &fields, body);
    client.send(&request).await.unwrap();
    client
}

async fn post(gateway: &Gateway, path: &str, body: &[u8]) -> Answer {
    send(gateway, path, body).await.read_answer().await.unwrap()
}

async fn speak(gateway: &Gateway, more: Value) -> Client {
    let mut body = json!({"model": "p", "input": "hello", "voice": "alloy"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut client = gateway.client().await;
    let sent = client.send_json("/v1/audio/speech", &auth(), &body).await;
    sent.unwrap();
    client
}

/// The last outcome in the journal.
async fn outcome(gateway: &Gateway) -> Value {
    let records = gateway.records().await;
    let mut outcomes = records.into_iter().rev();
    outcomes.find(|record| record["kind"] == "outcome").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_form_reaches_its_provider_byte_for_byte_but_for_the_model() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for (path, file, extra) in [
        ("/v1/audio/transcriptions", "file", "language"),
        ("/v1/audio/translations", "file", "temperature"),
        ("/v1/images/edits", "image", "prompt"),
        ("/v1/images/variations", "image", "size"),
    ] {
        let fields = |model| -> Vec<(&str, &[u8])> {
            vec![
                (file, SOUND),
                ("model", model),
                (extra, b"x"),
                ("new_field", b"kept"),
            ]
        };
        let answer = post(&gateway, path, &form(&fields(b"p"))).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.json());
        let asked = a.last().unwrap().asked.clone();
        assert_eq!(asked.path, path);
        assert_eq!(asked.body, form(&fields(b"m-a")), "{path}");
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        assert_eq!(asked.header("content-type"), Some(kind.as_str()));
        let kinds = asked.fields.iter();
        let kinds = kinds.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        assert_eq!(kinds.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_transcript_is_told_with_what_it_used_and_its_provider_is_replaced() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    let body = form(&[("model", b"p"), ("file", SOUND)]);
    for bad in [
        Behaviour::status(500),
        Behaviour::status(200).json(&json!({"error": {"message": "x", "code": 503}})),
        Behaviour::status(200).json(&json!({"text": null})),
        Behaviour::status(200).body("text/html", "<html>"),
    ] {
        a.set(bad);
        let answer = post(&gateway, "/v1/audio/transcriptions", &body).await;
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert!(
            answer.json()["text"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert_eq!(answer.header("x-switchyard-failovers"), Some("1"));
        let sent = b.last().unwrap().asked.body.clone();
        assert_eq!(sent, form(&[("model", b"m-b"), ("file", SOUND)]));
        let outcome = outcome(&gateway).await;
        assert_eq!(outcome.get("estimated"), None, "{outcome}");
        let told = answer.json()["usage"]["input_tokens"].clone();
        assert_eq!(outcome["usage"]["input"], told, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_transcript_comes_as_text_or_as_events_where_that_was_asked_for() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let path = "/v1/audio/transcriptions";
    let text = form(&[
        ("file", SOUND),
        ("model", b"p"),
        ("response_format", b"text"),
    ]);
    let answer = post(&gateway, path, &text).await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(answer.body.ends_with(b"\n") && answer.body.len() > 1);
    let stream = form(&[("file", SOUND), ("model", b"p"), ("stream", b"true")]);
    let answer = post(&gateway, path, &stream).await;
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let said = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(said.contains("transcript.text.delta") && said.contains("transcript.text.done"));
    assert!(!said.contains("[DONE]"), "the provider said none");
    assert_eq!(answer.end, BodyEnd::Whole);
    assert_eq!(outcome(&gateway).await.get("estimated"), None);
    // Models that cannot stream are asked to, and answer whole.
    a.set(Behaviour::status(200).json(&json!({"text": "whole"})));
    let answer = post(&gateway, path, &stream).await;
    assert_eq!(answer.json()["text"], "whole");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    // A page or an error is none of these.
    a.set(
        Behaviour::status(200).body("text/plain", "{\"error\":{\"message\":\"x\",\"code\":500}}"),
    );
    assert_eq!(post(&gateway, path, &text).await.status(), 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_picture_comes_in_events_untouched_and_half_of_one_is_told() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let half = "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"iVBO\"}\n\n";
    let whole = format!(
        "{half}event: image_generation.completed\ndata: {{\"type\":\"image_generation.completed\",\"b64_json\":\"iVBORw0=\",\"usage\":{{\"input_tokens\":5,\"output_tokens\":9,\"total_tokens\":14}}}}\n\n"
    );
    let body = json!({"model": "p", "prompt": "a cat", "stream": true, "partial_images": 1});
    let path = "/v1/images/generations";
    a.set(Behaviour::status(200).body("text/event-stream", whole.clone()));
    let mut client = gateway.client().await;
    let answer = client.post_json(path, &auth(), &body).await.unwrap();
    assert_eq!(&answer.body[..], whole.as_bytes());
    let told = outcome(&gateway).await;
    assert_eq!(
        (&told["usage"]["output"], told.get("estimated")),
        (&json!(9), None)
    );
    a.set(Behaviour::status(200).body("text/event-stream", half));
    let mut client = gateway.client().await;
    let answer = client.post_json(path, &auth(), &body).await.unwrap();
    let said = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(said.contains("upstream_truncated"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_transcript_cut_in_its_stream_says_so() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let delta = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"half\"}\n\n";
    a.set(Behaviour::status(200).body("text/event-stream", delta));
    let body = form(&[("file", SOUND), ("model", b"p"), ("stream", b"true")]);
    let answer = post(&gateway, "/v1/audio/transcriptions", &body).await;
    let said = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        said.starts_with(delta) && said.contains("upstream_truncated"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_a_form_that_two_parsers_could_read_differently_reaches_no_provider() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "max_form_bytes = 4096\n", "").await;
    let path = "/v1/audio/transcriptions";
    let good: &[(&str, &[u8])] = &[("file", SOUND), ("model", b"p")];
    let twin = form(&[("file", SOUND), ("model", b"p"), ("model", b"other")]);
    let whole = form(good);
    for (what, body, status) in [
        ("a twin", twin, 400),
        ("no end", whole[..whole.len() - 6].to_vec(), 400),
        ("a preamble", [b"x\r\n", &whole[..]].concat(), 400),
        ("an epilogue", [&whole[..], b"more"].concat(), 400),
        ("no form at all", b"{}".to_vec(), 400),
        ("no file", form(&[("model", b"p")]), 400),
        (
            "an address",
            form(&[("file", SOUND), ("model", b"p"), ("api_base", b"http://h")]),
            400,
        ),
        (
            "too large",
            form(&[("file", &[7; 5_000]), ("model", b"p")]),
            413,
        ),
    ] {
        let answer = post(&gateway, path, &body).await;
        assert_eq!(answer.status(), status, "{what}: {}", answer.json());
    }
    let answer = gateway.client().await;
    let json = json!({"model": "p", "file": "x"});
    let mut answer = answer;
    let answer = answer.post_json(path, &auth(), &json).await.unwrap();
    assert_eq!(answer.status(), 415, "{}", answer.json());
    assert_eq!(a.requests(), 0);
    assert_eq!(post(&gateway, path, &whole).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_speech_is_passed_on_as_it_comes() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let weather = crate::frame::quick().gap(Duration::from_millis(120));
    a.weather(weather);
    let mut client = speak(&gateway, json!({})).await;
    let (head, mut body) = client.read_head().await.unwrap();
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("audio/mpeg"))
    );
    let started = tokio::time::Instant::now();
    let first = client.read_piece(&mut body).await.unwrap().unwrap();
    // Six pieces, 120 ms apart: the first is here long before the last was made.
    assert!(
        started.elapsed() < Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
    let mut sound = first.to_vec();
    let end = loop {
        match client.read_piece(&mut body).await.unwrap() {
            Ok(piece) => sound.extend_from_slice(&piece),
            Err(end) => break end,
        }
    };
    assert_eq!(end, BodyEnd::Whole);
    assert!(sound.len() > first.len());
    let outcome = outcome(&gateway).await;
    assert_eq!(
        (outcome["how"].as_str(), &outcome["usage"]["output"]),
        (Some("ok"), &json!(0))
    );
    let mut client = speak(&gateway, json!({"stream_format": "sse"})).await;
    let answer = client.read_answer().await.unwrap();
    let said = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(said.contains("speech.audio.delta") && said.contains("speech.audio.done"));
}

/// What has no words cannot say that it is broken: its end must not look like one (promise 1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s09_speech_that_breaks_is_cut_and_not_ended() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n";
    let piece = |end: Vec<Step>| {
        let mut steps = vec![
            Step::raw(head),
            Step::raw("5\r\nsound\r\n"),
            Step::Sleep(Duration::from_millis(30)),
        ];
        steps.extend(end);
        Behaviour::steps(steps)
    };
    for end in [Step::Fin, Step::Reset] {
        a.set(piece(vec![end]));
        let answer = speak(&gateway, json!({}))
            .await
            .read_answer()
            .await
            .unwrap();
        assert_eq!(&answer.body[..], b"sound");
        assert_ne!(answer.end, BodyEnd::Whole);
    }
    a.set(piece(vec![Step::raw("0\r\n\r\n")]));
    let answer = speak(&gateway, json!({}))
        .await
        .read_answer()
        .await
        .unwrap();
    assert_eq!(
        (&answer.body[..], answer.end),
        (&b"sound"[..], BodyEnd::Whole)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_p16_what_is_no_speech_is_spoken_by_the_next() {
    let (a, b) = (mock("a").await, mock("b").await);
    for bad in [
        Behaviour::status(503),
        Behaviour::status(200).body("audio/mpeg", ""),
        Behaviour::status(200).body("text/html", "<html>"),
        Behaviour::status(200).body("text/plain", "busy"),
        Behaviour::status(200).json(&json!({"error": {"message": "x", "code": 500}})),
        Behaviour::status(200).json(&json!({"audio": "x"})),
        // Nobody could tell whether it is whole.
        Behaviour::steps(vec![
            Step::raw("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n\r\nsound"),
            Step::Fin,
        ]),
    ] {
        let gateway = pair(&a, &b, "").await;
        a.set(bad);
        let answer = speak(&gateway, json!({}))
            .await
            .read_answer()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.json());
        assert_eq!(answer.header("x-switchyard-provider"), Some("b"));
        assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
        assert_eq!(answer.end, BodyEnd::Whole);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_what_is_asked_for_speech_without_words_is_told() {
    let a: MockProvider = mock("a").await;
    let gateway = alone(&a, "").await;
    let mut client = gateway.client().await;
    let (path, body) = ("/v1/audio/speech", json!({"model": "p"}));
    let answer = client.post_json(path, &auth(), &body).await.unwrap();
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (400, "invalid_request")
    );
    assert_eq!(answer.json()["error"]["param"], "input");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_a_form_has_a_limit_of_its_own_and_only_where_a_form_is_taken() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "max_body_bytes = 4096\nmax_form_bytes = 65536\n", "").await;
    let large = vec![7_u8; 60_000];
    let body = form(&[("file", &large), ("model", b"p")]);
    let answer = post(&gateway, "/v1/audio/transcriptions", &body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let sent = a.last().unwrap().asked.body.clone();
    assert!(sent.len() > large.len(), "the file went out whole");

    let larger = vec![7_u8; 70_000];
    let body = form(&[("file", &larger), ("model", b"p")]);
    let refused = post(&gateway, "/v1/audio/transcriptions", &body).await;
    assert_eq!(refused.status(), 413);
    let told = refused.json()["error"]["message"].to_string();
    assert!(told.contains("listen.max_form_bytes"), "{told}");

    let chat = format!(
        r#"{{"model":"p","messages":[{{"role":"user","content":"{}"}}]}}"#,
        "x".repeat(5_000)
    );
    let refused = gateway.post(&serde_json::from_str(&chat).unwrap()).await;
    assert_eq!(refused.status(), 413);
    let told = refused.json()["error"]["message"].to_string();
    assert!(told.contains("listen.max_body_bytes"), "{told}");
    assert_eq!(a.requests(), 1);
}
