//! The raw client against a mock: what it must see, and do badly when told to.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail the test they serve"
)]

use std::time::Duration;

use super::*;
use crate::mock::{
    Behaviour, Dialect, Fast, Form, Healthy, Leaving, MockOptions, MockProvider, Step, Weather,
};

const SOON: Duration = Duration::from_secs(5);
const PATH: &str = "/v1/chat/completions";

async fn start() -> MockProvider {
    MockProvider::start(MockOptions::default()).await.unwrap()
}

#[tokio::test]
async fn events_are_seen_when_they_come_not_when_the_stream_ends() {
    let mock = start().await;
    mock.weather(Weather::default().gap(Duration::from_millis(30)).tokens(5));
    let mut client = Client::connect(mock.address()).await.unwrap();
    let request = Dialect::OpenAi.sample_request("hi", true);
    let stream = client
        .stream(PATH, &[], &request)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let first = stream.first_content_at(Dialect::OpenAi).unwrap();
    assert!(
        stream.took >= first + Duration::from_millis(110),
        "{first:?} of {:?}",
        stream.took
    );
}

#[tokio::test]
async fn a_client_can_leave_by_reset_at_a_chosen_event() {
    let mock = start().await;
    mock.weather(
        Weather::default()
            .gap(Duration::from_millis(10))
            .tokens(500),
    );
    let mut client = Client::connect(mock.address()).await.unwrap();
    let request = Dialect::OpenAi.sample_request("hi", true);
    let mut reader = client.stream(PATH, &[], &request).await.unwrap();
    assert_eq!(reader.take(5).await.unwrap().len(), 5);
    assert_eq!(reader.end(), None);
    client.reset();
    let exchange = mock.wait_for_close(1, SOON).await.unwrap();
    assert_eq!(exchange.left.unwrap().1, Leaving::Reset);
    assert!(exchange.content_sent < 50, "{}", exchange.content_sent);
}

#[tokio::test]
async fn half_closing_is_seen_by_the_peer_and_the_answer_is_still_read() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        all
    });
    let mut client = Client::connect(address).await.unwrap();
    client.send(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    client.half_close().await.unwrap();
    assert_eq!(client.read_answer().await.unwrap().body, "ok");
    assert_eq!(server.await.unwrap(), b"GET / HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn a_slow_reader_holds_the_writer_up() {
    let mock = start().await;
    let piece = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
    let steps = vec![
        Step::raw(&b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n"[..]),
        Step::Repeat {
            bytes: piece,
            per_burst: 1,
            gap: Duration::ZERO,
            bursts: 1024,
        },
    ];
    mock.set(Behaviour::steps(steps));
    let options = ConnectOptions {
        receive_buffer: Some(4096),
        pace: Some(ReadPace {
            bytes: 1024,
            gap: Duration::from_millis(5),
        }),
        ..ConnectOptions::default()
    };
    let mut client = Client::connect_with(mock.address(), options).await.unwrap();
    client
        .send_json(PATH, &[], &Dialect::OpenAi.sample_request("hi", false))
        .await
        .unwrap();
    let (head, mut decoder) = client.read_head().await.unwrap();
    assert_eq!(head.status, 200);
    let mut read = 0;
    for _ in 0..20 {
        read += client
            .read_piece(&mut decoder)
            .await
            .unwrap()
            .unwrap()
            .len();
    }
    let sent = mock.last().unwrap().bytes_sent;
    assert!(read <= 20 * 1024, "{read}");
    assert!(
        sent < 32 << 20,
        "the mock was stopped by the window: {sent}"
    );
    client.pace(None);
    while client.read_piece(&mut decoder).await.unwrap().is_ok() {}
    assert!(decoder.is_done());
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole_and_a_short_one_is_cut() {
    let mock = start().await;
    mock.script(vec![
        Behaviour::steps(vec![
            Step::raw(&b"HTTP/1.1 200 OK\r\n\r\nall of it"[..]),
            Step::Fin,
        ]),
        Behaviour::steps(vec![
            Step::raw(&b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\npart"[..]),
            Step::Fin,
        ]),
        Behaviour::steps(vec![
            Step::raw(&b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\npart"[..]),
            Step::Hold,
        ]),
        Behaviour::steps(vec![Step::raw(&b"HTTP/1.1 200 OK\r\ncont"[..]), Step::Fin]),
        Behaviour::steps(vec![Step::Fin]),
    ]);
    let options = ConnectOptions {
        patience: Duration::from_millis(200),
        ..ConnectOptions::default()
    };
    let request = Dialect::OpenAi.sample_request("hi", false);
    let mut ends = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect_with(mock.address(), options).await.unwrap();
        ends.push(
            client
                .post_json(PATH, &[], &request)
                .await
                .map(|answer| answer.end),
        );
    }
    assert!(matches!(ends[0], Ok(BodyEnd::Whole)));
    assert!(matches!(ends[1], Ok(BodyEnd::Cut)));
    assert!(matches!(ends[2], Ok(BodyEnd::Silent)));
    assert!(matches!(ends[3], Err(ClientError::CutInHead)));
    assert!(matches!(ends[4], Err(ClientError::ClosedBeforeHead)));
}

#[tokio::test]
async fn malformed_chunks_are_reported_not_read_over() {
    let mock = start().await;
    mock.set(Behaviour::raw(
        &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"[..],
    ));
    let mut client = Client::connect(mock.address()).await.unwrap();
    let answer = client
        .post_json(PATH, &[], &Dialect::OpenAi.sample_request("hi", false))
        .await;
    assert!(
        matches!(answer, Err(ClientError::Wire(WireError::ChunkEnd))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn one_connection_carries_unary_and_streamed_answers_in_turn() {
    let mock = MockProvider::start(MockOptions {
        fast: Some(Fast::default()),
        ..MockOptions::default()
    })
    .await
    .unwrap();
    let mut client = Client::connect(mock.address()).await.unwrap();
    for _ in 0..3 {
        let unary = client
            .post_json(PATH, &[], &Dialect::OpenAi.sample_request("hi", false))
            .await
            .unwrap();
        assert_eq!(unary.end, BodyEnd::Whole);
        let request = Dialect::OpenAi.sample_request("hi", true);
        let stream = client
            .stream(PATH, &[], &request)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        assert!(stream.is_done());
    }
    assert_eq!(mock.connections(), 1);
}

#[tokio::test]
async fn the_form_of_an_answer_can_differ_from_what_was_asked() {
    let mock = start().await;
    mock.set(Healthy {
        form: Form::Unary,
        ..Healthy::default()
    });
    let mut client = Client::connect(mock.address()).await.unwrap();
    let stream = client
        .stream(PATH, &[], &Dialect::OpenAi.sample_request("hi", true))
        .await
        .unwrap();
    assert_eq!(
        stream.head().header("content-type"),
        Some("application/json")
    );
}
