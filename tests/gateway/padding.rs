//! What a stream tells who watches the wire by the lengths of its pieces (attack A28).

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider, Weather};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::frame::{Gateway, KEY, PATH, mock, mock_of, provider};

/// The chunks of an answer as they came, each a record of its own behind TLS.
async fn chunks(gateway: &Gateway, path: &str, body: &Value) -> Vec<Vec<u8>> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let place = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap();
    let shown = String::from_utf8_lossy(&answer[..place]).into_owned();
    assert!(shown.starts_with("HTTP/1.1 200"), "{shown}");
    let (mut rest, mut chunks) = (&answer[place + 4..], Vec::new());
    loop {
        let end = memchr::memmem::find(rest, b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return chunks;
        }
        chunks.push(rest[end + 2..end + 2 + size].to_vec());
        rest = &rest[end + 2 + size + 2..];
    }
}

/// What a reader of events makes of them: comments are none.
fn data(chunks: &[Vec<u8>]) -> Vec<Value> {
    let text = String::from_utf8(chunks.concat()).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let told = lines.filter(|line| *line != "[DONE]");
    told.map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All that the model said, in whichever dialect.
fn words(data: &[Value]) -> String {
    let places = [
        "/choices/0/delta/content",
        "/delta/text",
        "/candidates/0/content/parts/0/text",
    ];
    let mut said = String::new();
    for event in data {
        let text = places
            .iter()
            .find_map(|place| event.pointer(place)?.as_str());
        let delta = event["type"] == "response.output_text.delta";
        let text = text.or(event["delta"].as_str().filter(|_| delta));
        said.push_str(text.unwrap_or_default());
    }
    said
}

fn questions() -> [(&'static str, Value); 4] {
    let user = json!([{"role": "user", "content": "hi"}]);
    [
        (
            PATH,
            json!({"model": "p", "stream": true, "messages": user}),
        ),
        (
            "/v1/messages",
            json!({"model": "p", "stream": true, "max_tokens": 99, "messages": user}),
        ),
        (
            "/v1/responses",
            json!({"model": "p", "stream": true, "store": false, "input": "hi"}),
        ),
        (
            "/v1beta/models/p:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ),
    ]
}

async fn gateway(a: &MockProvider, streams: &str) -> Gateway {
    let config = format!("{}[pools.p]\ntargets = [\"a/m-a\"]\n", provider("a", a));
    Gateway::start(&format!("{config}[streams]\n{streams}")).await
}

fn steady(mock: &MockProvider) {
    let weather = Weather::default()
        .tokens(40)
        .first_content(Duration::from_millis(2))
        .gap(Duration::from_millis(4));
    mock.weather(weather);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a28_every_piece_is_a_multiple_and_readers_see_the_same_words() {
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
        let a = mock_of(dialect, "a").await;
        steady(&a);
        let plain = gateway(&a, "").await;
        let padded = gateway(&a, "pad_to_bytes = 512\n").await;
        for (path, body) in questions() {
            let bare = chunks(&plain, path, &body).await;
            let lengths = |chunks: &[Vec<u8>]| chunks.iter().map(Vec::len).collect::<Vec<_>>();
            assert!(
                lengths(&bare).iter().any(|length| length % 512 != 0),
                "off by default"
            );
            let filled = chunks(&padded, path, &body).await;
            assert!(
                lengths(&filled).iter().all(|length| length % 512 == 0),
                "{path}: {:?}",
                lengths(&filled)
            );
            let said = words(&data(&filled));
            assert_eq!(said.split_whitespace().count(), 40, "{path}: {said}");
            assert_eq!(data(&filled).len(), data(&bare).len(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a28_what_comes_within_a_while_leaves_together_and_in_order() {
    let a = mock("a").await;
    steady(&a);
    let plain = gateway(&a, "").await;
    let gathered = gateway(&a, "batch_ms = 60\n").await;
    for (path, body) in questions() {
        let bare = chunks(&plain, path, &body).await;
        let few = chunks(&gathered, path, &body).await;
        assert!(bare.len() > 15, "{path}: {}", bare.len());
        assert!(
            few.len() < bare.len() / 2,
            "{path}: {} of {}",
            few.len(),
            bare.len()
        );
        assert_eq!(words(&data(&few)).split_whitespace().count(), 40, "{path}");
        assert_eq!(data(&few).len(), data(&bare).len(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a28_a_providers_own_padding_passes_and_an_error_is_told_behind_what_waited() {
    let a = mock("a").await;
    let chunk = |word: &str, end: Value, pad: &str| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": end}], "obfuscation": pad});
        format!("data: {chunk}\n\n")
    };
    let mut text = chunk("one", Value::Null, "x7Gh2");
    text.push_str(&chunk(" two", "stop".into(), "Q"));
    let whole = format!("{text}data: [DONE]\n\n");
    let (path, body) = &questions()[0];
    for streams in ["", "batch_ms = 50\n"] {
        let gateway = gateway(&a, streams).await;
        a.set(Behaviour::status(200).body("text/event-stream", whole.clone()));
        let passed = chunks(&gateway, path, body).await.concat();
        assert_eq!(String::from_utf8(passed).unwrap(), whole, "byte for byte");
    }
    // Cut in the middle.
    let gateway = gateway(&a, "batch_ms = 2000\npad_to_bytes = 256\n").await;
    let cut = chunk("one", Value::Null, "");
    a.set(Behaviour::status(200).body("text/event-stream", cut));
    let begun = tokio::time::Instant::now();
    let broken = chunks(&gateway, path, body).await;
    assert!(
        begun.elapsed() < Duration::from_millis(1_900),
        "nothing waits for its time at an end"
    );
    assert!(broken.iter().all(|chunk| chunk.len() % 256 == 0));
    let told = data(&broken);
    assert_eq!(words(&told), "one");
    assert_eq!(
        told.last().unwrap()["error"]["code"],
        "upstream_truncated",
        "{told:?}"
    );
    let mut shown = String::new();
    let _ = write!(shown, "{told:?}");
    assert!(!shown.contains("[DONE]"));
}
