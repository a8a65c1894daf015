//! Section 8 of the fault catalogue: clients that leave, crawl, flood or err.

use std::time::Duration;

use serde_json::json;
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::frame::{KEY, PATH, alone, alone_with, auth, chat, code_of, mock};

fn raw_chat(headers: &str, body: &str) -> Vec<u8> {
    format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n{headers}\r\n{body}")
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_a_client_that_leaves_cancels_the_provider_within_100_ms() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for (stream, behaviour) in [
        (false, Behaviour::healthy().delayed(Duration::from_secs(5))),
        (true, fault::s02()),
        (true, fault::s08(3)),
    ] {
        a.set(behaviour);
        let mut body = chat("p");
        body["stream"] = stream.into();
        let number = a.requests() + 1;
        let mut client = gateway.client().await;
        client.send_json(PATH, &auth(), &body).await.unwrap();

        assert!(a.wait_for(number, Duration::from_secs(2)).await);
        tokio::time::sleep(Duration::from_millis(60)).await;
        let left_at = a.now();
        drop(client);
        let exchange = a
            .wait_for_close(number, Duration::from_secs(2))
            .await
            .expect("the provider was never cancelled");
        let (seen, _) = exchange.left.expect("the provider saw nobody leave");
        assert!(
            seen.saturating_sub(left_at) <= Duration::from_millis(100),
            "stream {stream}: {:?}",
            seen.saturating_sub(left_at)
        );
    }
    let records = gateway.records().await;
    let outcomes: Vec<_> = records
        .iter()
        .filter(|record| record["kind"] == "outcome")
        .collect();
    assert_eq!(outcomes.len(), 3, "G13: every request has its outcome");
    assert!(outcomes.iter().all(|outcome| outcome["how"] == "cancelled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l03_slow_heads_and_silent_connections_are_closed() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "head_timeout_ms = 200\n", "").await;
    for start in ["", "P", "POST /v1/chat/comp"] {
        let mut slow = gateway.client().await;
        slow.send(start.as_bytes()).await.unwrap();
        assert_eq!(
            slow.read_answer().await.unwrap().status(),
            408,
            "{start:?} stays open"
        );
        assert!(slow.closes_within(Duration::from_secs(1)).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l04_l09_large_and_compressed_bodies_are_refused_before_they_are_read() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "max_body_bytes = 10000\n", "").await;
    let mut client = gateway.client().await;
    client
        .send(&raw_chat("content-length: 200000000\r\n", ""))
        .await
        .unwrap();
    assert_eq!(client.read_answer().await.unwrap().status(), 413);
    let mut chunked = gateway.client().await;
    chunked
        .send(&raw_chat("transfer-encoding: chunked\r\n", ""))
        .await
        .unwrap();
    let piece = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..4 {
        let _ = chunked.send(piece.as_bytes()).await;
    }
    let answer = chunked.read_answer().await.unwrap();
    assert_eq!(answer.status(), 413, "{}", answer.json());
    // The same with everything in one packet: bytes that follow must not swallow the answer.
    let mut at_once = gateway.client().await;
    let mut request = raw_chat("transfer-encoding: chunked\r\n", "");
    request.extend_from_slice(piece.repeat(4).as_bytes());
    at_once.send(&request).await.unwrap();
    let answer = at_once.read_answer().await.unwrap();
    assert_eq!(answer.status(), 413, "{}", answer.json());
    let mut packed = gateway.client().await;
    packed
        .send(&raw_chat(
            "content-encoding: gzip\r\ncontent-length: 5\r\n",
            "xxxxx",
        ))
        .await
        .unwrap();
    assert_eq!(packed.read_answer().await.unwrap().status(), 415);
    assert_eq!(a.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l05_l06_a09_bad_requests_get_a_400_that_says_what_and_where() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for (body, expected) in [
        ("{\"model\":\"p\"", "line 1 column"),
        ("[1]", "expected an object"),
        (
            "{\"model\":\"p\",\"model\":\"q\",\"messages\":[{}]}",
            "appears twice",
        ),
        (
            "{\"model\":\"p\",\"messages\":[{\"content\":\"\\ud800\"}]}",
            "surrogate",
        ),
        (
            "{\"model\":\"p\",\"messages\":[{}],\"max_tokens\":-1}",
            "max_tokens",
        ),
        (
            "{\"model\":\"p\",\"messages\":[{}],\"temperature\":1e999}",
            "temperature",
        ),
        ("{\"model\":\"p\",\"messages\":[{}],\"n\":10000}", "\"n\""),
        (
            "{\"model\":\"p\",\"messages\":[{}],\"base_url\":\"http://x\"}",
            "configuration",
        ),
        ("{\"messages\":[{}]}", "model"),
    ] {
        let mut client = gateway.client().await;
        client
            .send(&raw_chat(
                &format!("content-length: {}\r\n", body.len()),
                body,
            ))
            .await
            .unwrap();
        let answer = client.read_answer().await.unwrap();
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(answer.status(), 400, "{body}: {message}");
        assert!(message.contains(expected), "{body}: {message}");
    }
    let deep = format!("{{\"model\":\"p\",\"messages\":{}", "[".repeat(50_000));
    let mut client = gateway.client().await;
    client
        .send(&raw_chat(
            &format!("content-length: {}\r\n", deep.len()),
            &deep,
        ))
        .await
        .unwrap();
    assert_eq!(client.read_answer().await.unwrap().status(), 400);
    assert_eq!(a.requests(), 0);
    assert_eq!(
        gateway.ask("p").await.status(),
        200,
        "the gateway is unharmed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l07_too_many_or_too_large_headers_are_431() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for bomb in [
        (0..1_000)
            .map(|n| format!("x-{n}: y\r\n"))
            .collect::<String>(),
        format!("x-big: {}\r\n", "y".repeat(256 * 1024)),
    ] {
        let mut client = gateway.client().await;
        let _ = client.send(&raw_chat(&bomb, "")).await;
        match client.read_answer().await {
            Ok(answer) => assert_eq!(answer.status(), 431),
            Err(error) => assert!(
                client.closes_within(Duration::from_secs(1)).await,
                "{error}"
            ),
        }
    }
    assert_eq!(gateway.ask("p").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l10_odd_but_legal_requests_are_answered() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let body = chat("p").to_string();
    let request = raw_chat(&format!("content-length: {}\r\n", body.len()), &body);
    let mut pipelined = gateway.client().await;
    pipelined.send(&request.repeat(20)).await.unwrap();
    for _ in 0..20 {
        assert_eq!(pipelined.read_answer().await.unwrap().status(), 200);
    }
    a.set(Behaviour::healthy().delayed(Duration::from_millis(150)));
    let mut half = gateway.client().await;
    half.send(&request).await.unwrap();
    half.half_close().await.unwrap();
    let mut answer = half.read_answer().await.unwrap();
    if answer.status() == 102 {
        answer = half.read_answer().await.unwrap();
    }
    assert_eq!(
        answer.status(),
        200,
        "a half-closed client still gets its answer"
    );
    let mut old = gateway.client().await;
    old.send(
        &String::from_utf8(request.clone())
            .unwrap()
            .replace("HTTP/1.1", "HTTP/1.0")
            .into_bytes(),
    )
    .await
    .unwrap();
    assert_eq!(old.read_answer().await.unwrap().status(), 200);
    let mut absolute = gateway.client().await;
    absolute
        .send(
            &String::from_utf8(request)
                .unwrap()
                .replace(PATH, &format!("http://x{PATH}"))
                .into_bytes(),
        )
        .await
        .unwrap();
    assert_eq!(absolute.read_answer().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l02_a_slow_reader_is_served_and_one_that_stopped_is_closed() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "write_stall_ms = 300\n", "").await;
    a.set(fault::s18(Dialect::OpenAi, 100_000));
    let mut body = chat("p");
    body["stream"] = json!(true);
    let mut client = gateway.client().await;
    client.send_json(PATH, &auth(), &body).await.unwrap();
    // Reads nothing: the window fills, the write stalls, the connection and the provider are let go.
    let number = a.requests().max(1);
    assert!(
        a.wait_for_close(number, Duration::from_secs(8))
            .await
            .is_some_and(|exchange| exchange.left.is_some())
    );
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("switchyard_conn_closed_total{why=\"slow_reader\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_model_and_a_wrong_method_say_the_cure() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let answer = gateway.ask("nope").await;
    assert_eq!(
        (answer.status(), code_of(&answer).as_str()),
        (404, "model_not_found")
    );
    assert!(
        answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/v1/models")
    );
    let mut client = gateway.client().await;
    assert_eq!(client.get(PATH, &auth()).await.unwrap().status(), 405);
}

/// Streams opened and reset as fast as can be, over HTTP/2 with prior knowledge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l08_rapid_reset_ends_the_connection_and_nobody_else_notices() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let socket = tokio::net::TcpStream::connect(gateway.address)
        .await
        .unwrap();
    let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
    let ended = tokio::spawn(connection);
    let mut opened = 0;
    let flood = async {
        while opened < 5_000 {
            let Ok(ready) = sender.clone().ready().await else {
                return;
            };
            sender = ready;
            let request = http::Request::post(format!("http://{}{PATH}", gateway.address))
                .header("authorization", format!("Bearer {}", crate::frame::KEY))
                .body(())
                .unwrap();
            let Ok((_response, mut stream)) = sender.send_request(request, false) else {
                return;
            };
            stream.send_reset(h2::Reason::CANCEL);
            opened += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), flood)
        .await
        .expect("the flood was never ended");
    assert!(opened < 5_000, "five thousand resets were taken");
    let end = tokio::time::timeout(Duration::from_secs(2), ended)
        .await
        .expect("the connection stays open")
        .unwrap();
    assert!(end.is_err_and(|error| error.is_go_away()), "no GOAWAY");
    assert_eq!(gateway.ask("p").await.status(), 200);
    assert_eq!(a.requests(), 1, "a reset stream reached the provider");
}

/// A head that never ends, in frames of HTTP/2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l08_an_endless_head_in_continuation_frames_is_cut() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let mut socket = tokio::net::TcpStream::connect(gateway.address)
        .await
        .unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // HEADERS of stream 1, not ended, then CONTINUATION after CONTINUATION of literal fields.
    bytes.extend_from_slice(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83]);
    socket.write_all(&bytes).await.unwrap();
    let mut frame = vec![0, 0x10, 0x00, 9, 0, 0, 0, 0, 1];
    let mut field = vec![0x00, 1, b'x', 0x7f, 0x80, 0x07];
    field.resize(6 + 1_023, b'y');
    while frame.len() < 9 + 4_096 {
        frame.extend_from_slice(&field);
    }
    frame.truncate(9 + 4_096);
    let mut sent = 0;
    let flood = async {
        while sent < 20_000 && socket.write_all(&frame).await.is_ok() {
            sent += 1;
        }
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
    };
    tokio::time::timeout(Duration::from_secs(5), flood)
        .await
        .expect("the connection stays open");
    assert!(sent < 20_000, "eighty megabytes of head were taken");
    assert_eq!(gateway.ask("p").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l11_a_thousand_idle_connections_are_served_and_then_let_go() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "idle_timeout_ms = 1500\n", "").await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        let mut client = gateway.client().await;
        assert_eq!(client.get("/live", &[]).await.unwrap().status(), 200);
        idle.push(client);
    }
    assert_eq!(gateway.ask("p").await.status(), 200);
    // All of them are still good after the last one came.
    for client in idle.iter_mut().rev().take(100) {
        assert_eq!(client.get("/live", &[]).await.unwrap().status(), 200);
    }
    let begun = tokio::time::Instant::now();
    for client in &mut idle {
        assert!(client.closes_within(Duration::from_secs(6)).await);
    }
    assert!(begun.elapsed() < Duration::from_secs(7));
}

/// Whoever gives a stream no window must not hold the provider, nor stop the stream's timers; its neighbours on
/// the same connection go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l02_an_http2_client_that_takes_nothing_holds_nothing() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "write_stall_ms = 300\n", "").await;
    a.script(vec![fault::s18(Dialect::OpenAi, 100_000)]);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let ask = async |client: &mut h2::client::SendRequest<bytes::Bytes>| {
        let mut body = chat("p");
        body["stream"] = json!(true);
        let request = http::Request::post(format!("http://x{PATH}"))
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .body(())
            .unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        send.send_data(body.to_string().into(), true).unwrap();
        response.await.unwrap()
    };
    let mut client = client.ready().await.unwrap();
    let stuck = ask(&mut client).await;
    assert_eq!(stuck.status(), 200);
    let left = a.wait_for_close(1, Duration::from_secs(5)).await;
    assert!(
        left.is_some_and(|exchange| exchange.left.is_some()),
        "the provider is held by a client that takes nothing"
    );
    // With all of its streams stuck the connection goes as well.
    assert!(
        tokio::time::timeout(Duration::from_secs(5), connection)
            .await
            .is_ok()
    );
}

/// Less than the limit asks in each moment, but never nothing: fault L02 counts progress, not pauses of the socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l02_a_slow_reader_that_reads_is_served_on() {
    let a = mock("a").await;
    let gateway = alone_with(&a, "write_stall_ms = 1000\n", "").await;
    a.set(fault::s18(Dialect::OpenAi, 100_000));
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8_192).unwrap();
    let mut stream = socket.connect(gateway.address).await.unwrap();
    let mut body = chat("p");
    body["stream"] = json!(true);
    let body = body.to_string();
    let request = raw_chat(&format!("content-length: {}\r\n", body.len()), &body);
    stream.write_all(&request).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut some = vec![0; 4_000];
        while stream.read(&mut some).await.is_ok_and(|read| read > 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // What was cut would still be read from the buffers for a while: the provider's side shows it at once.
    let cut = a.wait_for_close(1, Duration::from_secs(4)).await;
    reader.abort();
    assert!(
        cut.is_none(),
        "cut: {:?}",
        cut.and_then(|exchange| exchange.left)
    );
}

/// A client that closed its side right away, and whose answer began before anyone looked, is still listening.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l10_a_half_closed_client_gets_its_stream_to_the_end() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.weather(
        crate::frame::quick()
            .tokens(30)
            .gap(Duration::from_millis(15)),
    );
    let mut body = chat("p");
    body["stream"] = json!(true);
    let body = body.to_string();
    let request = raw_chat(&format!("content-length: {}\r\n", body.len()), &body);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut all))
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("[DONE]"), "cut: {text}");
}

/// Impatience is the client's own: it must not make a provider look ill to others (ground rule G12).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_a_client_without_patience_speaks_against_nobody() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(200)));
    let mut headers = auth();
    headers.push(("x-switchyard-timeout-ms".into(), "40".into()));
    for stream in [false, true].repeat(10) {
        let mut body = chat("p");
        body["stream"] = stream.into();
        let answer = gateway
            .client()
            .await
            .post_json(PATH, &headers, &body)
            .await
            .unwrap();
        assert_eq!(
            (answer.status(), code_of(&answer).as_str()),
            (504, "deadline")
        );
    }
    let patient = gateway.ask("p").await;
    assert_eq!(patient.status(), 200, "{}", patient.json());
    let records = gateway.records().await;
    let blamed =
        |record: &&serde_json::Value| record["kind"] == "attempt" && record["outcome"] == "t_first";
    assert!(!records.iter().any(|record| blamed(&record)));
}
