//! Calls of tools that a request did not offer (attack A29).

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::Answer;
use switchyard_chaos::mock::{Behaviour, Dialect, MockProvider};

use crate::frame::{Gateway, KEY, PATH, chat, mock, mock_of, pair, provider_with};

/// One provider under a name of its own, as series belong to the process; strict or not.
async fn alone(name: &str, mock: &MockProvider, more: &str) -> Gateway {
    let table = provider_with(name, mock, &["x"]);
    Gateway::start(&format!(
        "{table}[pools.p]\ntargets = [\"{name}/m-{name}\"]\n{more}"
    ))
    .await
}

async fn told(gateway: &Gateway, name: &str) -> bool {
    let line = format!("switchyard_quirk_total{{provider=\"{name}\",kind=\"unoffered_tool\"}}");
    gateway.metrics().await.contains(&line)
}

const STRICT: &str = "unoffered_tools = \"strict\"\n";

fn call(name: &str) -> Value {
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": [{"id": "t1", "type": "function", "function": {"name": name, "arguments": "{\"path\":\"canary-argument\"}"}}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
}

/// Some words, and then a call in two pieces.
fn chunks(name: &str) -> String {
    let chunk = |delta: Value, end: Value| json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": end}]});
    let piece = |name: Value, text: &str| json!({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": name, "arguments": text}}]});
    let mut out = String::new();
    for chunk in [
        chunk(
            json!({"role": "assistant", "content": "let me see"}),
            Value::Null,
        ),
        chunk(piece(name.into(), ""), Value::Null),
        chunk(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"path\":\"canary-argument\"}"}}]}),
            Value::Null,
        ),
        chunk(json!({}), "tool_calls".into()),
    ] {
        let _ = write!(out, "data: {chunk}\n\n");
    }
    out.push_str("data: [DONE]\n\n");
    out
}

fn streams(text: String) -> Behaviour {
    // In pieces, so that the words are out before the call comes.
    let whole = Behaviour::status(200).body("text/event-stream", text);
    whole.sliced(60, Duration::from_millis(3))
}

/// The same question in every client's dialect, with a tool `f` or with none.
fn questions(stream: bool, offers: bool) -> Vec<(String, Value)> {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    let mut chat =
        json!({"model": "p", "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
    let mut messages = json!({"model": "p", "stream": stream, "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]});
    let mut responses = json!({"model": "p", "stream": stream, "store": false, "input": "hi"});
    let mut google = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    if offers {
        chat["tools"] =
            json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        messages["tools"] = json!([{"name": "f", "input_schema": schema}]);
        responses["tools"] = json!([{"type": "function", "name": "f", "parameters": schema}]);
        google["tools"] = json!([{"functionDeclarations": [{"name": "f", "parameters": schema}]}]);
    }
    let call = if stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    vec![
        (PATH.to_owned(), chat),
        ("/v1/messages".to_owned(), messages),
        ("/v1/responses".to_owned(), responses),
        (format!("/v1beta/models/p:{call}"), google),
    ]
}

async fn ask(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let fields = [("x-api-key".to_owned(), KEY.to_owned())];
    let mut client = gateway.client().await;
    client.post_json(path, &fields, body).await.unwrap()
}

fn offered_passes(path: &str, answer: &Answer) {
    let said = text(answer);
    assert!(said.contains("canary-argument"), "{path}: {said}");
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a29_a_call_of_what_was_not_offered_goes_on_and_is_told_or_is_no_answer() {
    for stream in [false, true] {
        for offers in [false, true] {
            let kind = format!("{}-{}", if stream { "s" } else { "w" }, u8::from(offers));
            for (number, (path, body)) in questions(stream, offers).iter().enumerate() {
                let (lax, strict) = (
                    format!("lax-{kind}-{number}"),
                    format!("strict-{kind}-{number}"),
                );
                let a = mock(&lax).await;
                let answers = |name: &str| {
                    if stream {
                        streams(chunks(name))
                    } else {
                        Behaviour::status(200).json(&call(name))
                    }
                };
                // What was offered is nothing odd.
                let gateway = alone(&lax, &a, "").await;
                if offers {
                    a.set(answers("f"));
                    let answer = ask(&gateway, path, body).await;
                    offered_passes(path, &answer);
                    assert!(answer.header("x-switchyard-quirk").is_none());
                }
                assert!(!told(&gateway, &lax).await, "{path}");
                a.set(answers("rm"));
                let answer = ask(&gateway, path, body).await;
                assert_eq!(answer.status(), 200, "{path}: {}", text(&answer));
                assert!(
                    text(&answer).contains("canary-argument"),
                    "{path}: {}",
                    text(&answer)
                );
                if !stream {
                    assert_eq!(answer.header("x-switchyard-quirk"), Some("unoffered_tool"));
                }
                assert!(told(&gateway, &lax).await, "{path} {kind}");
                drop(gateway);
                let a = mock(&strict).await;
                let gateway = alone(&strict, &a, STRICT).await;
                if offers {
                    a.set(answers("f"));
                    let answer = ask(&gateway, path, body).await;
                    offered_passes(path, &answer);
                }
                a.set(answers("rm"));
                let answer = ask(&gateway, path, body).await;
                let said = text(&answer);
                let asked = u64::from(offers) + 1;
                assert_eq!(a.requests(), asked, "each is billed: {path}: {said}");
                assert!(
                    !said.contains("\"rm\"") && !said.contains("canary-argument"),
                    "{path}: {said}"
                );
                assert!(said.contains("error"), "{path}: {said}");
                if stream {
                    assert!(
                        said.contains("let me see") && !said.contains("[DONE]"),
                        "{path}: {said}"
                    );
                } else {
                    assert_eq!(answer.status(), 502, "{path}: {said}");
                }
                assert!(told(&gateway, &strict).await, "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a29_where_nothing_was_said_yet_another_provider_answers() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, STRICT).await;
    a.set(Behaviour::status(200).json(&call("rm")));
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-provider"), Some("b"));
    assert_eq!((a.requests(), b.requests()), (1, 1));
    // A stream that begins with the call.
    let chunks = chunks("rm");
    let (_, call) = chunks.split_once("\n\n").unwrap();
    a.set(streams(call.to_owned()));
    let mut body = chat("p");
    body["stream"] = true.into();
    let stream = gateway.stream_of(&body).await;
    assert!(stream.is_done(), "{:?}", stream.events.last());
    assert!(!format!("{:?}", stream.events).contains("canary-argument"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a29_what_passes_between_equal_dialects_is_looked_at_as_well() {
    let block = |name: &str| {
        let events = [
            (
                "message_start",
                json!({"type": "message_start", "message": {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}}}),
            ),
            (
                "content_block_start",
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}}),
            ),
            (
                "content_block_stop",
                json!({"type": "content_block_stop", "index": 0}),
            ),
            (
                "content_block_start",
                json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t1", "name": name, "input": {}}}),
            ),
            (
                "content_block_delta",
                json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"path\":\"canary-argument\"}"}}),
            ),
            (
                "content_block_stop",
                json!({"type": "content_block_stop", "index": 1}),
            ),
            (
                "message_delta",
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 5}}),
            ),
            ("message_stop", json!({"type": "message_stop"})),
        ];
        let mut out = String::new();
        for (name, data) in events {
            let _ = write!(out, "event: {name}\ndata: {data}\n\n");
        }
        out
    };
    for (name, more, called, passes) in [
        ("anth-lax", "", "rm", true),
        ("anth-ok", STRICT, "f", true),
        ("anth-strict", STRICT, "rm", false),
        ("anth-hidden", STRICT, "\\u0072m", false),
    ] {
        let a = mock_of(Dialect::Anthropic, name).await;
        let gateway = alone(name, &a, more).await;
        let events = block("called").replace("\"called\"", &format!("\"{called}\""));
        let events = if name == "anth-hidden" {
            events.replace("\"type\":\"tool_use\"", "\"type\":\"tool\\u005fuse\"")
        } else {
            events
        };
        a.set(streams(events.clone()));
        let (path, body) = &questions(true, true)[1];
        let answer = ask(&gateway, path, body).await;
        if passes {
            assert_eq!(text(&answer), events, "byte for byte");
        } else {
            assert!(
                !text(&answer).contains("canary-argument"),
                "{}",
                text(&answer)
            );
            assert!(text(&answer).contains("\"error\""), "{}", text(&answer));
        }
        assert_eq!(told(&gateway, name).await, called != "f", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a29_what_one_reader_of_json_refuses_and_another_takes_hides_no_call() {
    let beside = [r#""note":"x\ud800y""#, r#""x":1e999"#];
    for (number, beside) in beside.into_iter().enumerate() {
        for (stream, strict) in [(false, false), (false, true), (true, false), (true, true)] {
            let name = format!("odd-{number}-{}-{}", u8::from(stream), u8::from(strict));
            let a = mock(&name).await;
            let gateway = alone(&name, &a, if strict { STRICT } else { "" }).await;
            // Behind a name that is in every message and every piece of one.
            let odd = |text: String| {
                text.replace("\"tool_calls\":[", &format!("{beside},\"tool_calls\":["))
            };
            a.set(if stream {
                streams(odd(chunks("rm")))
            } else {
                let text = odd(call("rm").to_string());
                Behaviour::status(200).body("application/json", text)
            });
            let (path, body) = &questions(stream, true)[0];
            let answer = ask(&gateway, path, body).await;
            let said = text(&answer);
            assert_eq!(said.contains("canary-argument"), !strict, "{name}: {said}");
            assert_eq!(said.contains("error"), strict, "{name}: {said}");
            assert!(told(&gateway, &name).await, "{name}");
        }
    }
}
