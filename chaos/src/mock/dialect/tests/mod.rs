//! Each dialect on the wire, and every fault in it.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail the test they serve"
)]

mod bedrock;
mod cohere;
mod every;
mod gemini;
mod ollama;
mod responses;

use std::time::Duration;

use serde_json::{Value, json};

use super::Dialect;
use crate::canary;
use crate::client::{Answer, BodyEnd, Client, ConnectOptions};
use crate::fault;
use crate::mock::event_stream;
use crate::mock::{Framing, MockOptions, MockProvider};

/// Long enough for anything the loopback still has to bring.
const QUIET: Duration = Duration::from_millis(250);

async fn start(dialect: Dialect) -> MockProvider {
    MockProvider::start(MockOptions::for_dialect(dialect))
        .await
        .unwrap()
}

async fn showing(fault: &str, dialect: Dialect) -> MockProvider {
    let mock = start(dialect).await;
    mock.set(fault::by_number(fault, dialect).unwrap_or_else(|| panic!("{fault} {dialect:?}")));
    mock
}

async fn connect(mock: &MockProvider) -> Client {
    let options = ConnectOptions {
        patience: Duration::from_secs(5),
        ..ConnectOptions::default()
    };
    Client::connect_with(mock.address(), options).await.unwrap()
}

/// One request to the dialect's path for whole answers.
async fn ask(mock: &MockProvider, body: &Value) -> Answer {
    post(mock, mock.dialect().path(), body).await
}

async fn post(mock: &MockProvider, path: &str, body: &Value) -> Answer {
    let headers = mock.dialect().sample_headers("sk-test");
    let mut client = connect(mock).await;
    client.post_json(path, &headers, body).await.unwrap()
}

async fn get(mock: &MockProvider, path: &str) -> Answer {
    let headers = mock.dialect().sample_headers("sk-test");
    let mut client = connect(mock).await;
    client.get(path, &headers).await.unwrap()
}

/// A stream as it was seen, in whatever framing.
#[derive(Debug)]
struct Seen {
    status: u16,
    content_type: String,
    /// What the framing calls the event, and its payload.
    events: Vec<(String, Vec<u8>)>,
    end: BodyEnd,
    dialect: Dialect,
}

impl Seen {
    /// The JSON of every event that is JSON.
    fn documents(&self) -> Vec<Value> {
        let parse = |(_, payload): &(String, Vec<u8>)| serde_json::from_slice(payload).ok();
        self.events.iter().filter_map(parse).collect()
    }

    fn text(&self) -> String {
        self.dialect.text_of(&self.documents())
    }

    fn words(&self) -> u64 {
        canary::verify(&self.text()).unwrap().words
    }

    /// The names of the events, repetitions left out.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.events.iter().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        names
    }

    fn at(&self, pointer: &str) -> Vec<Value> {
        let found = |document: &Value| document.pointer(pointer).cloned();
        let found: Vec<Value> = self.documents().iter().filter_map(found).collect();
        found.into_iter().filter(|value| !value.is_null()).collect()
    }
}

/// A frame by what its headers call it.
fn named(frame: event_stream::Frame) -> (String, Vec<u8>) {
    let mut headers = frame.headers.into_iter();
    let name = headers.find(|(name, _)| name == ":event-type" || name == ":exception-type");
    (name.unwrap_or_default().1, frame.payload)
}

async fn ask_stream(mock: &MockProvider, body: &Value) -> Seen {
    let dialect = mock.dialect();
    let mut client = connect(mock).await;
    let headers = dialect.sample_headers("sk-test");
    let path = dialect.path_of(true);
    let mut reader = client.stream(path, &headers, body).await.unwrap();
    reader.client().patience(QUIET);
    let stream = reader.collect().await.unwrap();
    let events = match dialect.framing() {
        Framing::Sse => {
            let pair = |event: &crate::client::SseEvent| {
                (event.event.clone(), event.data.clone().into_bytes())
            };
            stream.events.iter().map(pair).collect()
        }
        Framing::Lines => {
            let lines = stream.raw.as_ref().split(|byte: &u8| *byte == b'\n');
            let lines = lines.map(|line| (String::new(), line.to_vec()));
            lines
                .filter(|(_, line)| !line.trim_ascii().is_empty())
                .collect()
        }
        Framing::EventStream => {
            let (frames, rest) = event_stream::frames(&stream.raw);
            assert!(rest.is_empty(), "a frame is cut");
            frames
                .into_iter()
                .filter(|frame| frame.sound)
                .map(named)
                .collect()
        }
    };
    Seen {
        status: stream.status(),
        content_type: stream
            .head
            .header("content-type")
            .unwrap_or_default()
            .to_owned(),
        events,
        end: stream.end,
        dialect,
    }
}

async fn stream(fault: &str, dialect: Dialect) -> Seen {
    let mock = showing(fault, dialect).await;
    ask_stream(&mock, &dialect.sample_request("hello", true)).await
}

async fn answer(fault: &str, dialect: Dialect) -> Answer {
    let mock = showing(fault, dialect).await;
    ask(&mock, &dialect.sample_request("hello", false)).await
}

/// What the mock says to a request it must not answer.
async fn refused(mock: &MockProvider, body: &Value) -> (u16, String) {
    let answer = ask(mock, body).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    (answer.status(), text)
}

/// The request with one member more.
fn with(mut body: Value, member: &str, value: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .insert(member.to_owned(), value);
    body
}
