//! Sections 1 to 3 of the fault catalogue, and the part of 4 before the first content: another provider
//! answers, and the client does not notice.

use std::time::Duration;

use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, Door, MockProvider};

use crate::frame::{Gateway, PATH, alone, auth, chat, code_of, mock, pair, provider_with, text_of};

/// Rows where the first provider fails in every of its forms and the second one answers.
async fn next_answers(numbers: &[&str], form: Form) {
    let (a, b) = (mock("a").await, mock("b").await);
    let more = "[timeouts]\nfirst_content_ms = 400\nfirst_content_floor_ms = 300\nwhole_answer_ms = 400\nhold_head_ms = 5000\n";
    for number in numbers {
        let variants = fault::variants(number, Dialect::OpenAi);
        assert!(!variants.is_empty(), "{number} has no form here");
        for variant in variants {
            // A fresh gateway for each: what one fault taught must not help with the next.
            let gateway = pair(&a, &b, more).await;
            a.clear().await.unwrap();
            a.set(variant.behaviour);
            let before = a.requests();
            let name = format!("{number}/{}", variant.name);
            let text = match form {
                Form::Whole => {
                    let answer = gateway.ask("p").await;
                    assert_eq!(answer.status(), 200, "{name}: {}", answer.json());
                    text_of(&answer)
                }
                Form::Stream => {
                    let stream = gateway.stream("p").await;
                    assert!(stream.is_done(), "{name}: {:?}", stream.events.last());
                    stream.text(Dialect::OpenAi)
                }
            };
            let origin = switchyard_chaos::canary::verify(&text)
                .unwrap_or_else(|error| panic!("{name}: {error:?} in {text:?}"));
            assert_eq!(origin.mock, "b", "{name}: {text}");
            assert!(a.requests() > before, "{name}: the fault was never met");
        }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Whole,
    Stream,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_p03_p04_p07_p08_p09_a_refusing_provider_is_left_for_the_next() {
    next_answers(
        &["P01", "P02", "P03", "P04", "P07", "P08", "P09"],
        Form::Whole,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_p13_p14_p15_p16_a_success_that_is_none_is_left_for_the_next() {
    next_answers(&["P10", "P13", "P14", "P15", "P16"], Form::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p18_p19_p20_p23_p30_a_broken_exchange_is_left_for_the_next() {
    next_answers(&["P20", "P23", "P30"], Form::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_p21_silence_and_pings_are_left_for_the_next() {
    next_answers(&["P20", "P21"], Form::Stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n06_n07_a_reset_is_left_for_the_next() {
    next_answers(&["N06", "N07"], Form::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k01_k02_k03_k04_a_refused_key_is_left_for_the_next() {
    next_answers(&["K01", "K02", "K03", "K04"], Form::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s01_s02_s03_s04_a_stream_without_content_is_left_for_the_next() {
    next_answers(&["S01", "S02", "S03", "S04"], Form::Stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g4_a_fallback_pool_is_asked_before_the_same_target_again() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"b/m-b\"]\n",
        provider_with("a", &a, &["x"]),
        provider_with("b", &b, &["x"])
    );
    let gateway = Gateway::start(&config).await;
    a.set(Behaviour::status(500));
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert!(text_of(&answer).starts_with('b'));
    assert_eq!((a.requests(), b.requests()), (1, 1));
    // With nobody else left, the one that failed gets another chance.
    b.set(Behaviour::status(500));
    a.script(vec![Behaviour::status(500), Behaviour::healthy()]);
    let mut body = chat("p");
    body["messages"][0]["content"] = "another".into();
    let answer = gateway.post(&body).await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!((a.requests(), b.requests()), (3, 2));
}

async fn last_word(behaviour: Behaviour) -> (u16, String, switchyard_chaos::client::Answer) {
    let a = mock("a").await;
    let gateway = alone(&a, "[failover]\nmax_attempts = 1\n").await;
    a.set(behaviour);
    let answer = gateway.ask("p").await;
    (answer.status(), code_of(&answer), answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_client_reads_when_nobody_is_left() {
    for (number, status, code) in [
        ("P08", 503, "overloaded"),
        ("P09", 502, "upstream_failed"),
        ("P14", 502, "upstream_failed"),
        ("K01", 503, "provider_auth"),
        ("K03", 503, "provider_quota"),
        ("P23", 404, "model_not_found"),
    ] {
        let (seen, said, answer) =
            last_word(fault::by_number(number, Dialect::OpenAi).unwrap()).await;
        assert_eq!(seen, status, "{number}: {}", answer.json());
        assert!(said == code || number == "P23", "{number}: {said}");
        assert!(
            answer.header("x-should-retry").is_some() && answer.header("x-request-id").is_some()
        );
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("<html"),
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_the_last_throttled_key_tells_the_client_when_to_come_back() {
    let (status, code, answer) = last_word(fault::p01(Dialect::OpenAi, 7)).await;
    assert_eq!((status, code.as_str()), (429, "rate_limit_exceeded"));
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("x-should-retry"), Some("true"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p24_a_prompt_too_long_is_the_callers_and_keeps_its_wording() {
    let (status, code, answer) = last_word(fault::by_number("P24", Dialect::OpenAi).unwrap()).await;
    assert_eq!(
        (status, code.as_str()),
        (400, "context_length_exceeded"),
        "{}",
        answer.json()
    );
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p17_the_wrong_form_is_turned_into_the_right_one() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    for variant in fault::variants("P17", Dialect::OpenAi) {
        a.set(variant.behaviour);
        let answer = gateway.ask("p").await;
        assert_eq!(answer.status(), 200, "{}: {}", variant.name, answer.json());
        assert!(
            switchyard_chaos::canary::verify(&text_of(&answer)).is_ok(),
            "{}",
            variant.name
        );
        let stream = gateway.stream("p").await;
        assert!(
            stream.is_done()
                && switchyard_chaos::canary::verify(&stream.text(Dialect::OpenAi)).is_ok(),
            "{}",
            variant.name
        );
    }
    assert_eq!(b.requests(), 0, "no failover was needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p25_a_filtered_answer_is_passed_on_and_not_tried_elsewhere() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    for variant in fault::variants("P25", Dialect::OpenAi) {
        a.set(variant.behaviour);
        let answer = gateway.ask("p").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            text.contains("content_filter") || text.contains("refusal"),
            "{}: {text}",
            variant.name
        );
    }
    assert_eq!(b.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n03_a_refused_connection_is_left_for_the_next() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    a.door(Door::Refusing).await.unwrap();
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert!(text_of(&answer).starts_with('b'));
    assert_eq!(answer.header("x-switchyard-attempts"), Some("2"));
    assert_eq!(answer.header("x-switchyard-failovers"), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n08_a_stale_connection_costs_no_attempt() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.set(Behaviour::healthy().then(switchyard_chaos::mock::After::FinOnReuse));
    for _ in 0..4 {
        let answer = gateway.ask("p").await;
        assert_eq!(
            (answer.status(), answer.header("x-switchyard-attempts")),
            (200, Some("1")),
            "{}",
            answer.json()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_a_dead_provider_is_blocked_after_five_failures_and_returns_by_one_probe() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    a.set(fault::p10(Dialect::OpenAi));
    for _ in 0..12 {
        assert_eq!(gateway.ask("p").await.status(), 200);
    }
    assert!(
        a.requests() <= 6,
        "{} requests reached a dead provider",
        a.requests()
    );
    assert!(
        gateway.actor("root/providers/a").await["health"]
            .as_str()
            .unwrap()
            .starts_with("blocked")
    );
    a.clear().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    for _ in 0..6 {
        assert_eq!(gateway.ask("p").await.status(), 200);
    }
    assert_eq!(gateway.actor("root/providers/a").await["health"], "passing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p34_with_nothing_else_a_blocked_provider_is_probed_before_its_time() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    // One asks to be left alone for a minute, the other fails until it is blocked, for a second or more.
    a.set(fault::p01(Dialect::OpenAi, 60));
    b.set(fault::p10(Dialect::OpenAi));
    for _ in 0..8 {
        assert_ne!(gateway.ask("p").await.status(), 200);
    }
    b.clear().await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let health = gateway.actor("root/providers/b").await["health"].clone();
    assert!(health.as_str().unwrap().starts_with("blocked"), "{health}");
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p05_k05_a_key_that_is_told_to_be_empty_rests_and_the_other_works() {
    let a = mock("a").await;
    let config = format!(
        "{}[pools.p]\ntargets = [\"a/m-a\"]\n",
        provider_with("a", &a, &["x", "y"])
    );
    let gateway = Gateway::start(&config).await;
    a.script(vec![
        Behaviour::healthy()
            .header("x-ratelimit-limit-requests", "100")
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", "6m0s"),
    ]);
    gateway.ask("p").await;
    let hot = a.last().unwrap().asked.key().map(str::to_owned);
    for _ in 0..10 {
        assert_eq!(gateway.ask("p").await.status(), 200);
        assert_ne!(a.last().unwrap().asked.key().map(str::to_owned), hot);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k06_all_keys_cold_waits_when_the_wait_is_short() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    a.script(vec![fault::p03(Dialect::OpenAi, "retry-after-ms", "300")]);
    let begun = tokio::time::Instant::now();
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert!(
        begun.elapsed() >= Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_a_chain_goes_on_in_the_next_pool() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\"]\nfallback = [\"q\"]\n[pools.q]\ntargets = [\"b/m-b\"]\n",
        crate::frame::provider("a", &a),
        crate::frame::provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    a.set(fault::by_number("P08", Dialect::OpenAi).unwrap());
    let answer = gateway.ask("p").await;
    assert_eq!(answer.status(), 200, "{}", answer.json());
    assert_eq!(answer.header("x-switchyard-provider"), Some("b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l1_a_request_limit_of_our_own_is_kept() {
    let a = mock("a").await;
    let mut config = crate::frame::provider("a", &a);
    config = config.replace("name = \"k0\",", "name = \"k0\", requests_per_minute = 3,");
    config.push_str("[pools.p]\ntargets = [\"a/m-a\"]\nmax_wait_ms = 100\n");
    let gateway = Gateway::start(&config).await;
    let statuses: Vec<u16> = futures_util::future::join_all((0..6).map(|_| gateway.ask("p")))
        .await
        .iter()
        .map(switchyard_chaos::client::Answer::status)
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        3,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 429).count(),
        3,
        "{statuses:?}"
    );
    assert_eq!(a.requests(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o03_a_request_past_its_deadline_never_reaches_a_provider() {
    let a = mock("a").await;
    let mut config = crate::frame::provider("a", &a);
    config = config.replace("name = \"k0\",", "name = \"k0\", concurrency = 1,");
    config.push_str("[pools.p]\ntargets = [\"a/m-a\"]\n");
    let gateway = Gateway::start(&config).await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(400)));
    let mut late = chat("p");
    late["timeout"] = 0.15.into();
    let first_body = chat("p");
    let (first, second) = tokio::join!(gateway.post(&first_body), async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        gateway.post(&late).await
    });
    assert_eq!(first.status(), 200);
    assert_eq!(
        (second.status(), code_of(&second).as_str()),
        (504, "deadline"),
        "{}",
        second.json()
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(a.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p27_a_poison_request_opens_no_breaker_and_is_refused_for_a_while() {
    let (a, b) = (mock("a").await, mock("b").await);
    for mock in [&a, &b] {
        mock.weather(crate::frame::steady());
    }
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\", \"b/m-b\"]\n",
        crate::frame::provider("a", &a),
        crate::frame::provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    for _ in 0..40 {
        gateway.ask("p").await;
    }
    for mock in [&a, &b] {
        mock.set(Behaviour::if_body_holds("poison", Behaviour::status(500)));
    }
    let mut body = chat("p");
    body["messages"][0]["content"] = "poison".into();
    let first = gateway.post(&body).await;
    assert_eq!(
        (first.status(), code_of(&first).as_str()),
        (502, "upstream_rejected"),
        "{}",
        first.json()
    );
    let reached = a.requests() + b.requests();
    assert_eq!(gateway.post(&body).await.status(), 502);
    assert_eq!(
        a.requests() + b.requests(),
        reached,
        "refused without asking anyone"
    );
    assert_eq!(gateway.ask("p").await.status(), 200);
    assert_eq!(gateway.actor("root/providers/a").await["health"], "passing");
}

/// The mock is named so that its words tell whose they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p35_with_all_down_errors_are_quick_and_the_return_is_found() {
    let (a, b) = (mock("a").await, mock("b").await);
    let config = format!(
        "{}{}[pools.p]\ntargets = [\"a/m-a\", \"b/m-b\"]\n",
        crate::frame::provider("a", &a),
        crate::frame::provider("b", &b)
    );
    let gateway = Gateway::start(&config).await;
    let ill = |mock: &MockProvider| mock.set(Behaviour::status(500));
    ill(&a);
    ill(&b);
    for _ in 0..30 {
        gateway.ask("p").await;
    }
    let begun = tokio::time::Instant::now();
    let answer = gateway.ask("p").await;
    assert!(
        answer.status() >= 500 && begun.elapsed() < Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
    a.clear().await.unwrap();
    b.clear().await.unwrap();
    let back = tokio::time::Instant::now();
    while gateway.ask("p").await.status() != 200 {
        assert!(
            back.elapsed() < Duration::from_secs(8),
            "the return was not found"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The pause before the same target is met again ends early enough for the attempt it is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g4_a_pause_never_outlasts_the_deadline() {
    let a = mock("a").await;
    a.set(fault::p10(Dialect::OpenAi));
    let mut headers = auth();
    headers.push(("x-switchyard-timeout-ms".into(), "150".into()));
    for _ in 0..5 {
        let gateway = alone(&a, "").await;
        let begun = tokio::time::Instant::now();
        let mut client = gateway.client().await;
        let answer = client.post_json(PATH, &headers, &chat("p")).await.unwrap();
        assert!(answer.status() >= 500, "{}", answer.json());
        assert!(
            begun.elapsed() < Duration::from_millis(250),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// A refusal says what it has to say in its status, whatever its body is packed in (P03 with P33).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_a_packed_refusal_is_still_a_refusal() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    a.set(
        Behaviour::status(429)
            .header("retry-after", "60")
            .header("content-encoding", "gzip")
            .body("application/json", vec![0x1f, 0x8b, 8, 0]),
    );
    for _ in 0..4 {
        assert_eq!(gateway.ask("p").await.status(), 200);
    }
    assert_eq!(a.requests(), 1, "it asked for a minute of peace");
}
