//! Section 2 on the wire; the doors (N03, N04, N11) are proven beside the mock.

use super::*;
use crate::client::BodyEnd;

#[tokio::test]
async fn n03_a_black_hole_answers_no_syn() {
    let hole = BlackHole::start().await.unwrap();
    let options = ConnectOptions {
        patience: QUIET,
        ..ConnectOptions::default()
    };
    let dialled = Client::connect_with(hole.address(), options).await;
    assert!(
        matches!(dialled, Err(ClientError::Silent(_))),
        "{dialled:?}"
    );
}

#[tokio::test]
async fn n06_the_request_was_read_and_the_answer_is_a_reset() {
    let mock = showing("N06", OpenAi).await;
    assert!(matches!(
        ask(&mock).await,
        Err(ClientError::ResetBeforeHead)
    ));
    let exchange = mock.wait_for_finish(1, SOON).await.unwrap();
    assert_eq!(
        (exchange.bytes_sent, exchange.asked.model()),
        (0, Some("mock-model"))
    );
}

#[tokio::test]
async fn n07_half_a_body_and_a_reset() {
    let answer = answer("N07", OpenAi).await;
    let promised: usize = answer.header("content-length").unwrap().parse().unwrap();
    assert_eq!(
        (answer.end, answer.body.len()),
        (BodyEnd::Reset, promised / 2)
    );
}

#[tokio::test]
async fn n08_a_kept_connection_fails_its_second_request() {
    let body = OpenAi.sample_request("hello", false);
    for (fault, reset) in [("N08/fin_on_reuse", false), ("N08/reset_on_reuse", true)] {
        let mock = showing(fault, OpenAi).await;
        let mut client = client(&mock).await;
        assert_eq!(
            client
                .post_json(OpenAi.path(), &[], &body)
                .await
                .unwrap()
                .status(),
            200
        );
        let second = client.post_json(OpenAi.path(), &[], &body).await;
        match second {
            Err(ClientError::ResetBeforeHead) => assert!(reset),
            Err(ClientError::ClosedBeforeHead) => assert!(!reset),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            (mock.requests(), mock.stale_requests()),
            (1, 1),
            "the stale request was never served"
        );
        assert_eq!(
            ask(&mock).await.unwrap().status(),
            200,
            "a fresh connection works"
        );
    }
    let mock = showing("N08/fin_while_idle", OpenAi).await;
    let mut client = client(&mock).await;
    assert_eq!(
        client
            .post_json(OpenAi.path(), &[], &body)
            .await
            .unwrap()
            .status(),
        200
    );
    assert!(client.closes_within(SOON).await);
}

#[tokio::test]
async fn n12_one_byte_at_a_time_is_the_same_answer() {
    for dialect in BOTH {
        for fault in ["N12/bytewise", "N12/three_bytes"] {
            let mock = showing(fault, dialect).await;
            assert_eq!(
                crate::canary::verify(&stream_of(&mock).await.text(dialect))
                    .unwrap()
                    .words,
                10
            );
            assert!(ask(&mock).await.unwrap().json().is_object());
        }
    }
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.set(n12(50, Duration::from_millis(5)));
    let answer = ask(&mock).await.unwrap();
    let segments = u32::try_from(mock.last().unwrap().bytes_sent / 50).unwrap();
    assert!(
        answer.took >= Duration::from_millis(5) * (segments - 2),
        "{:?} for {segments} segments",
        answer.took
    );
}

#[tokio::test]
async fn n12_slices_really_are_segments_of_their_own() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.weather(crate::mock::Weather::default().tokens(200));
    mock.set(n12(10, Duration::from_millis(2)));
    let body = OpenAi.sample_request("hello", false).to_string();
    let request = client(&mock)
        .await
        .request("POST", OpenAi.path(), &[], body.as_bytes());
    let mut socket = TcpStream::connect(mock.address()).await.unwrap();
    socket.write_all(&request).await.unwrap();
    let mut sizes = Vec::new();
    let mut buffer = [0_u8; 4096];
    for _ in 0..120 {
        // Nothing more to read in time: the slices were joined.
        let Ok(read) = tokio::time::timeout(SOON, socket.read(&mut buffer)).await else {
            break;
        };
        sizes.push(read.unwrap());
    }
    let single = sizes.iter().filter(|size| **size == 10).count();
    assert!(single >= 100, "a busy machine may join a few: {sizes:?}");
}

#[tokio::test]
async fn n14_a_proxy_that_refuses_connect() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.when(
        |asked| asked.method == "CONNECT",
        by_number("N14", OpenAi).unwrap(),
    );
    let mut client = client(&mock).await;
    client
        .send(b"CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\n\r\n")
        .await
        .unwrap();
    let answer = client.read_answer().await.unwrap();
    assert_eq!(
        (answer.status(), answer.header("proxy-authenticate")),
        (407, Some("Basic realm=\"egress\""))
    );
}
