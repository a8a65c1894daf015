//! Section O: more than there is room for. What cannot be served is refused soon and honestly, what waits is
//! not forgotten, and one provider's trouble is not another's.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, MockProvider};
use tokio::time::{Instant, sleep, timeout};

use crate::frame::{Gateway, KEY, PATH, alone_with, auth, chat, code_of, mock, pair, provider};

/// A provider whose one key serves one request at a time.
async fn one_at_a_time(a: &MockProvider) -> Gateway {
    let config = format!(
        "[providers.a]\nbase_url = \"{}\"\nallow_private_address = true\nmodels = [\"m-a\"]\nkeys = [{{ name = \"k0\", secret = \"file:FOLDER/a-k0\", concurrency = 1 }}]\n[pools.p]\ntargets = [\"a/m-a\"]\n",
        a.base_url()
    );
    Gateway::start(&config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o03_nobody_is_asked_for_a_request_that_is_dead_in_line() {
    let a = mock("a").await;
    let gateway = one_at_a_time(&a).await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(900)));
    let first = gateway.ask("p");
    let others = async {
        assert!(a.wait_for(1, Duration::from_secs(2)).await);
        let mut impatient = auth();
        impatient.push(("x-switchyard-timeout-ms".to_owned(), "150".to_owned()));
        let begun = Instant::now();
        let mut client = gateway.client().await;
        let late = client
            .post_json(PATH, &impatient, &chat("p"))
            .await
            .unwrap();
        assert_eq!(late.status(), 504, "{}", late.json());
        assert!(begun.elapsed() < Duration::from_millis(700));
        // Another one stands in line and leaves.
        let mut gone = gateway.client().await;
        gone.send_json(PATH, &auth(), &chat("p")).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        drop(gone);
    };
    let (first, ()) = tokio::join!(first, others);
    assert_eq!(first.status(), 200, "{}", first.json());
    sleep(Duration::from_millis(300)).await;
    assert_eq!(a.requests(), 1, "a dead request reached the provider");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o04_who_is_interactive_is_served_before_a_batch() {
    let a = mock("a").await;
    let gateway = one_at_a_time(&a).await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(150)));
    let ask = |lane: &'static str| {
        let gateway = &gateway;
        async move {
            let mut fields = auth();
            fields.push(("x-switchyard-lane".to_owned(), lane.to_owned()));
            let mut client = gateway.client().await;
            let answer = client.post_json(PATH, &fields, &chat("p")).await.unwrap();
            assert_eq!(answer.status(), 200, "{}", answer.json());
            Instant::now()
        }
    };
    let batches = futures_util::future::join_all((0..8).map(|_| ask("batch")));
    let later = async {
        sleep(Duration::from_millis(100)).await;
        futures_util::future::join_all((0..3).map(|_| ask("default"))).await
    };
    let (batches, later) = tokio::join!(batches, later);
    let last_default = later.into_iter().max().unwrap();
    let behind = batches.iter().filter(|at| **at > last_default).count();
    assert!(behind >= 3, "only {behind} of 8 batch requests yielded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o06_a_storm_of_retries_reaches_providers_hardly_amplified() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    for mock in [&a, &b] {
        mock.set(Behaviour::status(500));
    }
    let total = 200_u64;
    for request in 0..total {
        let mut body = chat("p");
        body["messages"][0]["content"] = json!(format!("request {request}"));
        let answer = gateway.post(&body).await;
        assert!(answer.status() >= 500, "{}", answer.json());
        assert!(answer.header("x-should-retry").is_some());
    }
    let attempts = a.requests() + b.requests();
    assert!(
        attempts * 10 <= total * 13,
        "{attempts} attempts for {total}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o07_a_provider_that_hangs_holds_up_nobody_elses_requests() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\"]\n[pools.q]\ntargets = [\"b/m-b\"]\n",
        provider("a", &a),
        provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    a.set(Behaviour::healthy().delayed(Duration::from_secs(60)));
    let mut stuck = Vec::new();
    for _ in 0..150 {
        let mut client = gateway.client().await;
        client.send_json(PATH, &auth(), &chat("p")).await.unwrap();
        stuck.push(client);
    }
    assert!(a.wait_for(50, Duration::from_secs(2)).await);
    for _ in 0..30 {
        let answer = timeout(Duration::from_secs(1), gateway.ask("q"))
            .await
            .expect("held up by another provider");
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o11_large_prompts_take_turns_in_memory() {
    let a = mock("a").await;
    let gateway = alone_with(
        &a,
        "max_body_bytes = 500000\nbody_memory_bytes = 1000000\n",
        "",
    )
    .await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(100)));
    let mut body = chat("p");
    body["messages"][0]["content"] = json!("x".repeat(400_000));
    let begun = Instant::now();
    let many = (0..8).map(|_| gateway.post(&body));
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
    // Two fit at once, and each stays until it is answered.
    assert!(
        begun.elapsed() >= Duration::from_millis(350),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o11_one_tenants_flood_of_large_prompts_makes_another_wait_for_a_turn_only() {
    let a = mock("a").await;
    let other = "[[clients]]\nname = \"other\"\nkey = \"file:FOLDER/other\"\ntenant = \"other\"\n[tenants.other]\n";
    let listen = "max_body_bytes = 500000\nbody_memory_bytes = 500000\n";
    let gateway = alone_with(&a, listen, other).await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(200)));
    let mut body = chat("p");
    body["messages"][0]["content"] = json!("x".repeat(400_000));
    let flood = futures_util::future::join_all((0..15).map(|_| gateway.post(&body)));
    let late = async {
        while a.in_flight() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        // All of the flood has come.
        sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        let key = vec![(
            "authorization".to_owned(),
            "Bearer sk-canary-other".to_owned(),
        )];
        let mut client = gateway.client().await;
        let answer = client.post_json(PATH, &key, &body).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.json());
        begun.elapsed()
    };
    let (flood, waited) = futures_util::future::join(flood, late).await;
    assert!(flood.iter().all(|answer| answer.status() == 200));
    // Of three seconds for the flood: one body in memory, one that has the turn, one that came first, and its own.
    assert!(waited < Duration::from_millis(1_600), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c06_a_valid_configuration_whose_endpoints_are_all_ill_is_applied_and_can_be_taken_back() {
    let a = mock("a").await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = dead.local_addr().unwrap().port();
    drop(dead);
    let gateway = Gateway::start(&format!(
        "{}[pools.p]\ntargets = [\"a/m-a\"]\n",
        provider("a", &a)
    ))
    .await;
    assert_eq!(gateway.ask("p").await.status(), 200);
    let good = std::fs::read_to_string(gateway.config_path()).unwrap();
    let ill = good.replace(&a.base_url(), &format!("http://127.0.0.1:{port}/v1"));
    assert_ne!(good, ill);
    for (text, served) in [(ill, false), (good, true)] {
        std::fs::write(gateway.config_path(), text).unwrap();
        let reloaded = gateway.admin_post("/admin/reload").await;
        assert!(reloaded.status() < 300, "{}", reloaded.json());
        let mut answer = gateway.ask("p").await;
        for _ in 0..60 {
            if (answer.status() == 200) == served {
                break;
            }
            sleep(Duration::from_millis(50)).await;
            answer = gateway.ask("p").await;
        }
        assert_eq!(answer.status() == 200, served, "{}", answer.json());
        if !served {
            assert!(!code_of(&answer).is_empty());
        }
    }
}

/// A body of untold length is granted its memory as it grows, and gives it back once its stream has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o11_untold_lengths_take_turns_and_streams_give_back() {
    let a = mock("a").await;
    let gateway = alone_with(
        &a,
        "max_body_bytes = 500000\nbody_memory_bytes = 1000000\n",
        "",
    )
    .await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(100)));
    let mut body = chat("p");
    body["messages"][0]["content"] = json!("x".repeat(400_000));
    let chunked = |body: &Value| {
        let body = body.to_string();
        format!(
            "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let begun = Instant::now();
    let many = (0..8).map(|_| async {
        let mut client = gateway.client().await;
        client.send(chunked(&body).as_bytes()).await.unwrap();
        client.read_answer().await.unwrap().status()
    });
    for status in futures_util::future::join_all(many).await {
        assert_eq!(status, 200);
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(350),
        "{:?}",
        begun.elapsed()
    );

    body["stream"] = json!(true);
    a.set(fault::s08(3));
    let mut open = Vec::new();
    for number in 0..6 {
        let mut client = gateway.client().await;
        client.send(chunked(&body).as_bytes()).await.unwrap();
        assert!(
            a.wait_for(9 + number, Duration::from_secs(3)).await,
            "a stream under way keeps the memory of its prompt"
        );
        open.push(client);
    }
}
