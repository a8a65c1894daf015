//! Each fault number produces on the wire what its row says.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail the test they serve"
)]

mod keys;
mod network;
mod provider;
mod stream;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::client::{Answer, Client, ClientError, ConnectOptions, SseStream};
use crate::mock::{MockOptions, MockProvider};

const SOON: Duration = Duration::from_secs(5);
/// Long enough for anything the loopback still has to bring.
const QUIET: Duration = Duration::from_millis(250);
const BOTH: [Dialect; 2] = [Dialect::OpenAi, Dialect::Anthropic];
use Dialect::{Anthropic, OpenAi};

/// A mock that shows this fault to every request.
async fn showing(fault: &str, dialect: Dialect) -> MockProvider {
    let mock = MockProvider::start(MockOptions::for_dialect(dialect))
        .await
        .unwrap();
    mock.set(by_number(fault, dialect).unwrap());
    mock
}

async fn client(mock: &MockProvider) -> Client {
    let options = ConnectOptions {
        patience: SOON,
        ..ConnectOptions::default()
    };
    Client::connect_with(mock.address(), options).await.unwrap()
}

/// One unary request on a connection of its own.
async fn ask(mock: &MockProvider) -> Result<Answer, ClientError> {
    ask_with(mock, "hello", "sk-test").await
}

async fn ask_with(mock: &MockProvider, prompt: &str, key: &str) -> Result<Answer, ClientError> {
    let dialect = mock.dialect();
    let (headers, body) = (
        dialect.sample_headers(key),
        dialect.sample_request(prompt, false),
    );
    client(mock)
        .await
        .post_json(dialect.path(), &headers, &body)
        .await
}

async fn answer(fault: &str, dialect: Dialect) -> Answer {
    ask(&showing(fault, dialect).await).await.unwrap()
}

/// One streamed request, read until it ends or is silent for a while.
async fn stream_of(mock: &MockProvider) -> SseStream {
    let dialect = mock.dialect();
    let mut client = client(mock).await;
    let mut body = dialect.sample_request("hello", true);
    if dialect == OpenAi {
        body["stream_options"] = serde_json::json!({"include_usage": true});
    }
    let mut reader = client
        .stream(dialect.path(), &dialect.sample_headers("sk-test"), &body)
        .await
        .unwrap();
    reader.client().patience(QUIET);
    reader.collect().await.unwrap()
}

async fn stream(fault: &str, dialect: Dialect) -> SseStream {
    stream_of(&showing(fault, dialect).await).await
}

/// Every byte the mock writes in answer to one request, until it closes or is silent.
async fn wire(fault: &str, dialect: Dialect, streamed: bool) -> Vec<u8> {
    let mock = showing(fault, dialect).await;
    let body = dialect.sample_request("hello", streamed).to_string();
    let request = client(&mock).await.request(
        "POST",
        dialect.path(),
        &dialect.sample_headers("sk-test"),
        body.as_bytes(),
    );
    let mut socket = TcpStream::connect(mock.address()).await.unwrap();
    socket.write_all(&request).await.unwrap();
    let mut seen = Vec::new();
    while let Ok(Ok(count)) = tokio::time::timeout(QUIET, socket.read_buf(&mut seen)).await {
        if count == 0 {
            break;
        }
    }
    seen
}

fn text(wire: &[u8]) -> String {
    String::from_utf8_lossy(wire).into_owned()
}

fn kind_of(answer: &Answer) -> Value {
    answer.json()["error"]["type"].clone()
}

#[test]
fn every_row_of_the_four_sections_is_in_the_table_once() {
    let numbers: Vec<&str> = rows().map(|row| row.number).collect();
    let distinct: BTreeSet<&str> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "a number twice");
    for (letter, last) in [('P', 35), ('N', 14), ('K', 10), ('S', 21)] {
        for number in 1..=last {
            let wanted = format!("{letter}{number:02}");
            assert!(distinct.contains(wanted.as_str()), "{wanted} is missing");
        }
    }
    // And those of the process that have primitives, and of clients that scenarios make.
    assert_eq!(numbers.len(), 35 + 14 + 10 + 21 + 3 + 8);
}

#[test]
fn every_row_that_is_made_by_primitives_names_some_and_its_forms_are_found() {
    let terms = Terms::default();
    for row in rows() {
        let Reach::By(names) = row.reach else {
            continue;
        };
        assert!(!names.is_empty(), "{}", row.number);
        for name in names {
            assert!(primitive(name).is_some(), "{}: {name}", row.number);
            let form = format!("{}/{name}", row.number);
            assert!(made(&form, &terms).is_ok(), "{form}");
            assert_eq!(keys(&form).unwrap(), primitive(name).unwrap().keys);
        }
        assert!(made(row.number, &terms).is_ok(), "{}", row.number);
        let unheard_of = format!("{}/unheard_of", row.number);
        assert!(made(&unheard_of, &terms).is_err() && keys(&unheard_of).is_none());
    }
}

#[test]
fn every_primitive_is_part_of_a_scenario_that_ships() {
    let scenarios = crate::scenario::packs().iter();
    let texts: Vec<&str> = scenarios
        .flat_map(|pack| pack.scenarios)
        .map(|(_, text)| *text)
        .collect();
    // The simplest ones stand in for many: rows of the catalogue say the same with more.
    const BY_ROWS: [&str; 6] = ["http", "ttft", "gap", "dup", "tcp_silent", "hang"];
    for primitive in primitives() {
        let named = format!("fault = \"{}\"", primitive.name);
        let is_part = texts.iter().any(|text| text.contains(&named));
        assert!(
            is_part || BY_ROWS.contains(&primitive.name),
            "{}",
            primitive.name
        );
    }
}

#[test]
fn every_variant_is_found_by_its_name_and_names_are_distinct() {
    for row in rows() {
        for dialect in Dialect::ALL {
            let names: Vec<&str> = variants(row.number, dialect)
                .iter()
                .map(|variant| variant.name)
                .collect();
            let distinct: BTreeSet<&str> = names.iter().copied().collect();
            assert_eq!(distinct.len(), names.len(), "{}: {names:?}", row.number);
            assert!(
                names
                    .iter()
                    .all(|name| by_number(&format!("{}/{name}", row.number), dialect).is_some())
            );
            assert_eq!(
                by_number(row.number, dialect).is_some(),
                !names.is_empty(),
                "{}",
                row.number
            );
        }
        let somewhere = Dialect::ALL
            .iter()
            .any(|dialect| !variants(row.number, *dialect).is_empty());
        assert!(
            somewhere || !matches!(row.reach, Reach::Answer(_)),
            "{} has no variant at all",
            row.number
        );
    }
    assert!(by_number("P99", OpenAi).is_none());
    assert!(by_number("P04/unheard_of", OpenAi).is_none());
    assert_eq!(doors("N03"), [Door::Refusing]);
}
