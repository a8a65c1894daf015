//! Responses that are made in the background as a stream (row E2): made whether or not anybody reads, and read on by
//! who comes back.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::client::{BodyEnd, Client, SseReader, request_bytes};
use switchyard_chaos::mock::{Behaviour, Dialect, Ending, MockProvider, edit};
use tokio::time::{sleep, timeout};

use crate::frame::{Gateway, alone, mock_of, quick};
use crate::process::Process;
use crate::stored::{self, PATH, bearer, ended, get, id, made, said, send};

fn asked() -> Value {
    json!({"model": "p", "input": "hello", "background": true, "stream": true})
}

fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn number(event: &Value) -> u64 {
    event["sequence_number"].as_u64().unwrap()
}

/// One that is under way, its id, and the first of its events.
async fn begun<'a>(reader: &mut SseReader<'a>) -> (String, Vec<Value>) {
    let events = reader.take(9).await.unwrap();
    let first: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(&event.data).unwrap())
        .collect();
    let response = &first[0]["response"];
    assert_eq!(response["background"], true);
    (id(response), first)
}

/// The store learns of it by the way.
async fn until_in_progress(at: SocketAddr, id: &str) {
    let told = async {
        while get(at, id).await.json()["status"] == "queued" {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), told).await.unwrap();
    assert_eq!(get(at, id).await.json()["status"], "in_progress");
}

async fn slow(dialect: Dialect, gap: u64) -> (MockProvider, Gateway) {
    let mock = mock_of(dialect, "a").await;
    mock.weather(quick().tokens(60).gap(Duration::from_millis(gap)));
    let gateway = alone(&mock, "").await;
    (mock, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_stream_in_the_background_goes_on_without_its_client_and_is_read_on_from_where_it_left()
 {
    for dialect in [Dialect::Anthropic, Dialect::Responses] {
        let (mock, mut gateway) = slow(dialect, 15).await;
        let at = gateway.address;
        let mut client = gateway.client().await;
        let fields = bearer(crate::frame::KEY);
        let mut reader = client.stream(PATH, &fields, &asked()).await.unwrap();
        let (id, mut all) = begun(&mut reader).await;
        drop(reader);
        drop(client);
        until_in_progress(at, &id).await;
        assert_eq!(mock.in_flight(), 1, "it is being made");
        let known = number(all.last().unwrap());
        let path = format!("{id}?stream=true&starting_after={known}");
        // While it is being made, by two at once.
        let (rest, again) = tokio::join!(get(at, &path), get(at, &path));
        assert_eq!(
            rest.header("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert!(rest.body == again.body, "two who read it read the same");
        all.extend(events(std::str::from_utf8(&rest.body).unwrap()));
        let numbers: Vec<u64> = all.iter().map(number).collect();
        assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>());
        let last = all.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(get(at, &id).await.json(), last["response"]);
        assert!(said(&last["response"]).split_whitespace().count() >= 60);
        // And afterwards, as it was sent.
        let later = get(at, &format!("{id}?stream=true")).await;
        assert_eq!(events(std::str::from_utf8(&later.body).unwrap()), all);
        assert_eq!(mock.requests(), 1);
        let records = gateway.records().await;
        let outcomes: Vec<&Value> = records
            .iter()
            .filter(|one| one["kind"] == "outcome")
            .collect();
        assert_eq!(outcomes.len(), 1);
        assert_eq!(
            outcomes[0]["how"], "ok",
            "nobody had left, as far as it knows"
        );
        gateway.stop().await;
    }
}

fn keyed(key: &str) -> Vec<(String, String)> {
    let mut fields = bearer(crate::frame::KEY);
    fields.push(("idempotency-key".to_owned(), key.to_owned()));
    fields
}

async fn until_asked(mock: &MockProvider, times: usize) {
    let asked = async {
        while mock.in_flight() < times {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_key_holds_for_what_goes_on_in_the_background_after_its_client_has_left() {
    let (mock, gateway) = slow(Dialect::Responses, 15).await;
    // In the middle of its stream.
    let mut client = gateway.client().await;
    let mut reader = client.stream(PATH, &keyed("a"), &asked()).await.unwrap();
    let (id, first) = begun(&mut reader).await;
    drop(reader);
    drop(client);
    sleep(Duration::from_millis(200)).await;
    let mut client = gateway.client().await;
    let again = client.stream(PATH, &keyed("a"), &asked()).await.unwrap();
    let again = again.collect().await.unwrap();
    assert_eq!(
        again.head.header("x-switchyard-idempotent"),
        Some("replayed")
    );
    let all = again.documents();
    assert_eq!(all[..first.len()], first, "it is another response");
    let last = all.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["id"], *id);
    assert_eq!(mock.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_key_holds_for_what_is_begun_in_the_background_though_its_client_leaves_unanswered() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    mock.weather(quick().first_content(Duration::from_millis(600)));
    let gateway = alone(&mock, "").await;
    for (number, streams) in [true, false].into_iter().enumerate() {
        let mut body = asked();
        body["stream"] = streams.into();
        let key = format!("k{number}");
        let text = body.to_string();
        let wire = request_bytes(gateway.address, "POST", PATH, &keyed(&key), text.as_bytes());
        let mut client = gateway.client().await;
        client.send(&wire).await.unwrap();
        until_asked(&mock, 1).await;
        drop(client);
        sleep(Duration::from_millis(100)).await;
        let mut client = gateway.client().await;
        let response = if streams {
            let reader = client.stream(PATH, &keyed(&key), &body).await.unwrap();
            let stream = reader.collect().await.unwrap();
            stream.documents().pop().unwrap()["response"].take()
        } else {
            let answer = client.post_json(PATH, &keyed(&key), &body).await.unwrap();
            answer.json()
        };
        let made = ended(gateway.address, &id(&response)).await;
        assert_eq!(made["status"], "completed");
        assert_eq!(mock.requests(), number as u64 + 1, "stream: {streams}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_who_reads_a_stream_in_the_background_is_told_that_it_was_cancelled() {
    let (mock, gateway) = slow(Dialect::OpenAi, 50).await;
    let at = gateway.address;
    let mut client = gateway.client().await;
    let fields = bearer(crate::frame::KEY);
    let mut reader = client.stream(PATH, &fields, &asked()).await.unwrap();
    let (id, _) = begun(&mut reader).await;
    let cancelled = send(
        at,
        crate::frame::KEY,
        "POST",
        &format!("{PATH}/{id}/cancel"),
    )
    .await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    let end = timeout(Duration::from_secs(5), reader.read_rest())
        .await
        .unwrap();
    assert_eq!(end.unwrap(), BodyEnd::Whole);
    let text = String::from_utf8(reader.raw().to_vec()).unwrap();
    let last = events(&text).pop().unwrap();
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("error"), &json!("cancelled"))
    );
    assert!(!text.contains("response.completed"));
    let stopped = async {
        while mock.in_flight() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(2), stopped)
        .await
        .expect("the provider still works");
    assert_eq!(get(at, &id).await.json()["status"], "cancelled");
    // Who comes back later is told so as well.
    let again = get(at, &format!("{id}?stream=true")).await;
    let told = events(std::str::from_utf8(&again.body).unwrap());
    assert_eq!(told.last().unwrap()["code"], "cancelled");
    let rest = get(at, &format!("{id}?stream=true&starting_after=8")).await;
    let told = events(std::str::from_utf8(&rest.body).unwrap());
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["code"], number(&told[0])),
        (&json!("cancelled"), 9)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x07_who_reads_on_after_kill_9_is_told_the_end_behind_what_is_known() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    mock.weather(quick().tokens(400).gap(Duration::from_millis(50)));
    let gateway = Process::start("ulimit -c 0", &stored::config_of(&mock)).await;
    let mut client = Client::connect(gateway.address).await.unwrap();
    let fields = bearer(crate::frame::KEY);
    let mut reader = client.stream(PATH, &fields, &asked()).await.unwrap();
    let (id, first) = begun(&mut reader).await;
    let known = number(first.last().unwrap());
    let gateway = gateway.killed_and_started_again().await;
    let path = format!("{id}?stream=true&starting_after={known}");
    let rest = get(gateway.address, &path).await;
    let told = events(std::str::from_utf8(&rest.body).unwrap());
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["type"], number(&told[0])),
        (&json!("response.failed"), known + 1)
    );
    assert_eq!(told[0]["response"], get(gateway.address, &id).await.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s01_a_stream_in_the_background_that_breaks_is_failed_to_all_who_read_it() {
    for dialect in [Dialect::OpenAi, Dialect::Responses] {
        let (mock, gateway) = slow(dialect, 5).await;
        mock.set(Behaviour::healthy().edit(edit::cut_after(20, Ending::Reset)));
        let at = gateway.address;
        let mut client = gateway.client().await;
        let fields = bearer(crate::frame::KEY);
        let reader = client.stream(PATH, &fields, &asked()).await.unwrap();
        let all = reader.collect().await.unwrap().documents();
        let last = all.last().unwrap();
        assert_eq!(last["type"], "response.failed");
        let numbers: Vec<u64> = all.iter().map(number).collect();
        assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>());
        let created = all.iter().filter(|one| one["type"] == "response.created");
        assert_eq!(created.count(), 1);
        let id = id(&last["response"]);
        let failed = ended(at, &id).await;
        assert_eq!(failed, last["response"]);
        assert_eq!(failed["status"], "failed");
        assert!(!said(&failed).is_empty(), "what had come is lost");
        let again = get(at, &format!("{id}?stream=true")).await;
        assert_eq!(events(std::str::from_utf8(&again.body).unwrap()), all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s16_a_stream_whose_lines_end_otherwise_is_kept_and_read_on_as_it_comes() {
    for end in ["\r\n", "\r"] {
        let (mock, gateway) = slow(Dialect::Responses, 40).await;
        let other = edit::rewrite(move |bytes| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            text.replace('\n', end).into_bytes()
        });
        mock.set(Behaviour::healthy().edit(other));
        let at = gateway.address;
        let mut client = gateway.client().await;
        let fields = bearer(crate::frame::KEY);
        let mut reader = client.stream(PATH, &fields, &asked()).await.unwrap();
        let (id, mut all) = timeout(Duration::from_millis(1_800), begun(&mut reader))
            .await
            .expect("it stands still");
        drop(reader);
        drop(client);
        let known = number(all.last().unwrap());
        let rest = get(at, &format!("{id}?stream=true&starting_after={known}")).await;
        all.extend(events(std::str::from_utf8(&rest.body).unwrap()));
        let numbers: Vec<u64> = all.iter().map(number).collect();
        assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>());
        let last = all.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(get(at, &id).await.json(), last["response"]);
        assert_eq!(last["response"]["id"], *id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g14_a_stream_longer_than_is_held_comes_whole_to_its_client_and_ends_for_who_reads_on() {
    let mock = mock_of(Dialect::Responses, "a").await;
    mock.weather(quick().tokens(40));
    let long = edit::Edit::new(|draft| {
        for document in draft.documents() {
            if let Some(delta) = document.get_mut("delta") {
                *delta = "a".repeat(300_000).into();
            }
        }
    });
    mock.set(Behaviour::healthy().edit(long));
    let gateway = alone(&mock, "").await;
    let mut client = gateway.client().await;
    let fields = bearer(crate::frame::KEY);
    let reader = client.stream(PATH, &fields, &asked()).await.unwrap();
    let stream = reader.collect().await.unwrap();
    assert!(stream.raw.len() > 10 << 20, "{}", stream.raw.len());
    let all = stream.documents();
    let numbers: Vec<u64> = all.iter().map(number).collect();
    assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>());
    let last = all.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    let path = format!("{}?stream=true&starting_after=5", id(&last["response"]));
    let rest = get(gateway.address, &path).await;
    let told = events(std::str::from_utf8(&rest.body).unwrap());
    assert_eq!(told, std::slice::from_ref(last));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a04_a_stream_in_the_background_is_followed_by_its_owner_alone_and_only_if_it_is_one() {
    let mock = mock_of(Dialect::OpenAi, "a").await;
    mock.weather(quick().first_content(Duration::from_secs(20)));
    let gateway = alone(&mock, stored::OTHER).await;
    let at = gateway.address;
    let mut plain = asked();
    plain["stream"] = false.into();
    let queued = id(&made(at, &plain).await);
    let path = format!("{queued}?stream=true");
    assert_eq!(get(at, &path).await.status(), 409);
    let foreign = send(at, stored::OTHER_KEY, "GET", &format!("{PATH}/{path}")).await;
    assert_eq!(foreign.status(), 404);
    let wrong = get(at, &format!("{path}&starting_after=x")).await;
    assert_eq!(wrong.json()["error"]["param"], "starting_after");
}
