//! Section 1 on the wire.

use serde_json::json;

use super::*;
use crate::client::BodyEnd;
use crate::http1;

#[tokio::test]
async fn p01_a_429_with_whole_seconds() {
    for dialect in BOTH {
        let answer = answer("P01", dialect).await;
        assert_eq!(
            (answer.status(), answer.header("retry-after")),
            (429, Some("7"))
        );
    }
    assert_eq!(kind_of(&answer("P01", OpenAi).await), "rate_limit_exceeded");
    assert_eq!(kind_of(&answer("P01", Anthropic).await), "rate_limit_error");
}

#[tokio::test]
async fn p02_the_date_is_seven_seconds_after_the_answers_own_skewed_date() {
    for (name, skew) in [("P02/fast", 300), ("P02/slow", -300)] {
        let now = http1::unix_now();
        let answer = answer(name, OpenAi).await;
        let (date, until) = (
            answer.header("date").unwrap(),
            answer.header("retry-after").unwrap(),
        );
        let skewed = (now..=now + 2).find(|second| http1::http_date(second + skew) == date);
        assert_eq!(until, http1::http_date(skewed.unwrap() + skew + 7));
    }
}

#[tokio::test]
async fn p03_milliseconds_and_fractions() {
    assert_eq!(
        answer("P03/ms", OpenAi).await.header("retry-after-ms"),
        Some("1250")
    );
    assert_eq!(
        answer("P03/fraction", OpenAi).await.header("retry-after"),
        Some("0.5")
    );
}

#[tokio::test]
async fn p04_absurd_pushback_in_five_forms() {
    for (name, value) in [
        ("negative", "-1"),
        ("words", "abc"),
        ("empty", ""),
        ("huge", "999999"),
        ("two", "3"),
    ] {
        assert_eq!(
            answer(&format!("P04/{name}"), OpenAi)
                .await
                .header("retry-after"),
            Some(value),
            "{name}"
        );
    }
    let fields = answer("P04/two", OpenAi).await.head.fields;
    let both: Vec<_> = fields
        .iter()
        .filter(|(name, _)| name == "retry-after")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(both, ["3", "7"]);
}

#[tokio::test]
async fn p05_limits_are_told_on_a_whole_200() {
    let answer = answer("P05", OpenAi).await;
    assert_eq!((answer.status(), answer.end), (200, BodyEnd::Whole));
    assert_eq!(answer.header("x-ratelimit-remaining-tokens"), Some("0"));
    assert_eq!(answer.header("x-ratelimit-reset-tokens"), Some("6m0s"));
}

#[tokio::test]
async fn p06_anthropic_tells_its_reset_as_a_date_not_yet_past() {
    let before = http1::unix_now();
    let answer = answer("P06", Anthropic).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.header("anthropic-ratelimit-output-tokens-remaining"),
        Some("0")
    );
    let reset = answer
        .header("anthropic-ratelimit-output-tokens-reset")
        .unwrap();
    assert!(
        (before..before + 3).any(|now| http1::rfc3339(now + 30) == reset),
        "{reset}"
    );
    assert!(variants("P06", OpenAi).is_empty());
}

#[tokio::test]
async fn p07_the_limit_is_in_the_body_only() {
    let delayed = answer("P07/retry_delay", OpenAi).await;
    assert_eq!(
        (delayed.status(), delayed.header("retry-after")),
        (429, None)
    );
    assert_eq!(
        delayed.json()["error"]["details"][0]["retryDelay"],
        "45.837906927s"
    );
    let per_day = answer("P07/per_day", OpenAi).await;
    assert!(text(&per_day.body).contains("PerDay"));
}

#[tokio::test]
async fn p08_overloaded_with_a_body_and_without() {
    let answer_529 = answer("P08/529", Anthropic).await;
    assert_eq!(
        (answer_529.status(), kind_of(&answer_529)),
        (529, json!("overloaded_error"))
    );
    let answer_503 = answer("P08/503", Anthropic).await;
    assert_eq!((answer_503.status(), answer_503.body.len()), (503, 0));
}

#[tokio::test]
async fn p09_a_page_of_forty_kilobytes() {
    for status in [502, 520, 524] {
        let answer = answer(&format!("P09/{status}"), OpenAi).await;
        assert_eq!(answer.status(), status);
        assert!(
            answer
                .header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        assert!(
            (40_000..50_000).contains(&answer.body.len()),
            "{}",
            answer.body.len()
        );
    }
}

#[tokio::test]
async fn p10_p26_p35_every_request_is_a_500_after_20_ms() {
    for fault in ["P10", "P26", "P35"] {
        let mock = showing(fault, OpenAi).await;
        for _ in 0..3 {
            let answer = ask(&mock).await.unwrap();
            assert_eq!(answer.status(), 500);
            assert!(
                answer.head.at >= Duration::from_millis(19),
                "{:?}",
                answer.head.at
            );
        }
    }
}

/// How many of `count` requests fail.
async fn failures(mock: &MockProvider, count: usize) -> usize {
    let mut client = client(mock).await;
    let body = mock.dialect().sample_request("hello", false);
    let mut failed = 0;
    for _ in 0..count {
        let answer = client
            .post_json(mock.dialect().path(), &[], &body)
            .await
            .unwrap();
        failed += usize::from(answer.status() == 500);
    }
    failed
}

#[tokio::test]
async fn p11_p34_a_share_fails_and_the_same_seed_fails_the_same() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    let quick = |share| Behaviour::share(share, 11, Behaviour::status(500));
    mock.set(quick(0.3));
    let third = failures(&mock, 300).await;
    assert!((60..120).contains(&third), "{third} of 300");
    let again = MockProvider::start(MockOptions::default()).await.unwrap();
    again.set(quick(0.3));
    assert_eq!(failures(&again, 300).await, third);
    mock.set(quick(0.5));
    let half = failures(&mock, 300).await;
    assert!((115..185).contains(&half), "{half} of 300");
    for fault in ["P11", "P34"] {
        let failed = failures(&showing(fault, OpenAi).await, 40).await;
        assert!((1..40).contains(&failed), "{fault}: {failed} of 40");
    }
}

#[tokio::test]
async fn p12_good_and_ill_times_take_turns() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    let period = Duration::from_millis(150);
    mock.set(Behaviour::flapping(period, period, Behaviour::status(500)));
    let mut client = client(&mock).await;
    let body = OpenAi.sample_request("hello", false);
    let mut turns = Vec::new();
    while mock.now() < period * 4 {
        let status = client
            .post_json(OpenAi.path(), &[], &body)
            .await
            .unwrap()
            .status();
        if turns.last() != Some(&status) {
            turns.push(status);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(turns[..4], [200, 500, 200, 500]);
    assert_eq!(
        ask(&showing("P12", OpenAi).await).await.unwrap().status(),
        200,
        "the row begins with five good seconds"
    );
}

#[tokio::test]
async fn p13_errors_hide_in_a_200() {
    let inner = answer("P13/inner_502", OpenAi).await;
    assert_eq!(
        (inner.status(), inner.json()["error"]["code"].as_u64()),
        (200, Some(502))
    );
    let typed = answer("P13/typed", Anthropic).await;
    assert_eq!(
        (typed.status(), kind_of(&typed)),
        (200, json!("overloaded_error"))
    );
}

#[tokio::test]
async fn p14_a_200_without_an_answer() {
    for (name, body) in [("empty", ""), ("braces", "{}"), ("null", "null")] {
        let answer = answer(&format!("P14/{name}"), OpenAi).await;
        assert_eq!((answer.status(), &answer.body[..]), (200, body.as_bytes()));
    }
    assert_eq!(
        answer("P14/no_choices", OpenAi).await.json()["choices"],
        json!([])
    );
    assert_eq!(
        answer("P14/no_message", OpenAi).await.json()["choices"][0]["message"],
        Value::Null
    );
    let silent = answer("P14/no_content", OpenAi).await.json();
    assert_eq!(silent["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(silent["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        answer("P14/no_content", Anthropic).await.json()["content"],
        json!([])
    );
}

#[tokio::test]
async fn p15_broken_json_in_a_whole_body() {
    for dialect in BOTH {
        for variant in variants("P15", dialect) {
            let answer = answer(&format!("P15/{}", variant.name), dialect).await;
            assert_eq!(
                (answer.status(), answer.end),
                (200, BodyEnd::Whole),
                "{}",
                variant.name
            );
            let parsed = serde_json::from_slice::<Value>(&answer.body);
            assert!(parsed.is_err(), "{}: {}", variant.name, text(&answer.body));
        }
        assert!(
            answer("P15/bom", dialect)
                .await
                .body
                .starts_with(b"\xEF\xBB\xBF{")
        );
        assert!(std::str::from_utf8(&answer("P15/utf8", dialect).await.body).is_err());
        assert!(text(&answer("P15/trailing_comma", dialect).await.body).contains(",}"));
        assert!(text(&answer("P15/nan", dialect).await.body).contains("NaN"));
    }
}

#[tokio::test]
async fn p16_a_login_page_with_200() {
    let answer = answer("P16", OpenAi).await;
    assert_eq!(answer.status(), 200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
            && answer.body.starts_with(b"<!doctype")
    );
}

#[tokio::test]
async fn p17_the_form_is_not_the_asked_one() {
    let sse = answer("P17/sse_unasked", OpenAi).await;
    assert!(
        sse.header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
            && sse.body.starts_with(b"data: ")
    );
    let json = stream("P17/json_unasked", OpenAi).await;
    assert!(json.events.is_empty() && json.raw.starts_with(b"{"));
    let plain = answer("P17/text_plain", OpenAi).await;
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(plain.json().is_object());
}

#[tokio::test]
async fn p18_the_length_promises_too_much_or_too_little() {
    let short = answer("P18/short", OpenAi).await;
    assert_eq!(short.end, BodyEnd::Cut);
    let promised: usize = short.header("content-length").unwrap().parse().unwrap();
    assert_eq!(promised, short.body.len() + 200);
    for (name, excess) in [("excess", "xxx"), ("smuggled", "HTTP/1.1 200 OK")] {
        let bytes = wire(&format!("P18/{name}"), OpenAi, false).await;
        let head = memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap() + 4;
        let answer = answer(&format!("P18/{name}"), OpenAi).await;
        let promised: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(
            answer.json().is_object(),
            "the promised part is a good answer"
        );
        assert!(text(&bytes[head + promised..]).starts_with(excess));
    }
}

#[tokio::test]
async fn p19_framing_that_two_readers_read_differently() {
    let both = text(&wire("P19/length_and_chunked", OpenAi, false).await);
    assert!(
        both.contains("transfer-encoding: chunked")
            && both.contains("content-length: ")
            && both.ends_with("0\r\n\r\n")
    );
    let two = text(&wire("P19/two_lengths", OpenAi, false).await);
    assert_eq!(two.matches("content-length: ").count(), 2);
    assert!(text(&wire("P19/obs_fold", OpenAi, false).await).contains("x-note: a\r\n folded\r\n"));
    assert!(text(&wire("P19/bare_cr", OpenAi, false).await).contains("x-note: a\rb\r\n"));
}

#[tokio::test]
async fn p20_the_status_line_is_late() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.set(p20(Duration::from_millis(120)));
    let answer = ask(&mock).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.head.at >= Duration::from_millis(120));
    assert!(
        wire("P20", OpenAi, false).await.is_empty(),
        "the row's 45 seconds of nothing"
    );
}

#[tokio::test]
async fn p21_pings_come_first_and_content_much_later() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    // The head is early however slow the weather is.
    mock.weather(crate::mock::Weather::default().first_content(Duration::from_millis(400)));
    mock.set(p21(
        OpenAi,
        Duration::from_millis(40),
        Duration::from_millis(210),
    ));
    let stream = stream_of(&mock).await;
    assert_eq!(stream.comments, ["ping"; 5]);
    assert!(
        stream.head.at < Duration::from_millis(40),
        "{:?}",
        stream.head.at
    );
    let first = stream.first_content_at(OpenAi).unwrap();
    assert!(first >= Duration::from_millis(205), "{first:?}");
    assert!(stream.is_done());
}

#[tokio::test]
async fn p22_every_time_is_ten_times_as_long() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.set(p22(2));
    let stream = stream_of(&mock).await;
    let first = stream.first_content_at(OpenAi).unwrap();
    assert!((200..400).contains(&first.as_millis()), "{first:?}");
    assert!(
        stream.took - first >= Duration::from_millis(90),
        "nine gaps of 10 ms: {:?}",
        stream.took - first
    );
    assert!(
        wire("P22", OpenAi, true).await.is_empty(),
        "the row's first second of nothing"
    );
}

#[tokio::test]
async fn p23_p24_p30_refusals_with_their_codes() {
    let gone = answer("P23/404", OpenAi).await;
    assert_eq!(
        (gone.status(), gone.json()["error"]["code"].as_str()),
        (404, Some("model_not_found"))
    );
    assert_eq!(answer("P23/410", Anthropic).await.status(), 410);
    assert!(text(&answer("P23/deprecated", OpenAi).await.body).contains("deprecated"));
    let long = answer("P24/code", OpenAi).await;
    assert_eq!(
        (long.status(), long.json()["error"]["code"].as_str()),
        (400, Some("context_length_exceeded"))
    );
    assert!(
        text(&answer("P24/prompt_is_too_long", Anthropic).await.body)
            .contains("prompt is too long")
    );
    assert!(
        text(&answer("P24/validation_exception", Anthropic).await.body)
            .contains("ValidationException")
    );
    for status in [302, 307] {
        let redirect = answer(&format!("P30/{status}"), OpenAi).await;
        assert_eq!(redirect.status(), status);
        assert!(
            redirect
                .header("location")
                .unwrap()
                .starts_with("http://127.0.0.2")
        );
    }
}

#[tokio::test]
async fn p25_filters_in_an_error_and_in_a_good_answer() {
    let refused = answer("P25/400", OpenAi).await;
    assert_eq!(
        (refused.status(), refused.json()["error"]["code"].as_str()),
        (400, Some("content_filter"))
    );
    let filtered = answer("P25/finish", OpenAi).await.json();
    assert_eq!(filtered["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(filtered["choices"][0]["message"]["content"], Value::Null);
    assert!(
        answer("P25/refusal", OpenAi).await.json()["choices"][0]["message"]["refusal"].is_string()
    );
    assert_eq!(
        answer("P25/refusal", Anthropic).await.json()["stop_reason"],
        "refusal"
    );
    let streamed = stream("P25/refusal", Anthropic).await.documents();
    assert!(
        streamed
            .iter()
            .any(|data| data["delta"]["stop_reason"] == "refusal")
    );
    assert_eq!(
        streamed[0]["message"]["stop_reason"],
        Value::Null,
        "nothing is refused before it began"
    );
}

#[tokio::test]
async fn p27_one_prompt_is_poison() {
    let mock = showing("P27", OpenAi).await;
    assert_eq!(
        ask_with(&mock, "fine", "sk-test").await.unwrap().status(),
        200
    );
    assert_eq!(
        ask_with(&mock, "a [[poison]] pill", "sk-test")
            .await
            .unwrap()
            .status(),
        500
    );
    assert_eq!(
        ask_with(&mock, "fine", "sk-test").await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn p28_another_model_answers() {
    assert_eq!(answer("P28", OpenAi).await.json()["model"], "another-model");
    let chunks = stream("P28", OpenAi).await.documents();
    assert!(chunks.iter().all(|chunk| chunk["model"] == "another-model"));
    assert_eq!(
        stream("P28", Anthropic).await.documents()[0]["message"]["model"],
        "another-model"
    );
}

#[tokio::test]
async fn p29_usage_is_wrong_in_every_way() {
    for (dialect, output) in [(OpenAi, "completion_tokens"), (Anthropic, "output_tokens")] {
        assert_eq!(
            answer("P29/missing", dialect).await.json().get("usage"),
            None
        );
        assert_eq!(
            answer("P29/null", dialect).await.json().get("usage"),
            Some(&Value::Null)
        );
        assert_eq!(
            answer("P29/negative", dialect).await.json()["usage"][output],
            -5
        );
        assert_eq!(
            answer("P29/absurd", dialect).await.json()["usage"][output],
            1_000_000_000
        );
        assert_eq!(
            answer("P29/text", dialect).await.json()["usage"][output],
            "12"
        );
        let streamed = |fault: &'static str| async move {
            let documents = stream(fault, dialect).await.documents();
            documents
                .iter()
                .filter(|data| data.pointer("/usage").is_some_and(Value::is_object))
                .count()
        };
        assert_eq!(
            (streamed("P29/missing").await, streamed("P29/twice").await),
            (0, 2),
            "{dialect:?}"
        );
        assert_eq!(streamed("P29/negative").await, 1);
    }
    let usage = answer("P29/total_is_not_the_sum", OpenAi).await.json()["usage"].clone();
    assert_eq!(usage["total_tokens"], 3);
    assert!(
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap() > 3
    );
}

#[tokio::test]
async fn p31_odd_statuses_before_and_instead_of_the_answer() {
    for status in [100, 103] {
        let answer = answer(&format!("P31/{status}"), OpenAi).await;
        assert_eq!(
            (answer.head.informational.as_slice(), answer.status()),
            ([status].as_slice(), 200)
        );
        assert!(answer.json().is_object());
    }
    for status in [101, 204, 299, 409, 425, 499] {
        let bytes = wire(&format!("P31/{status}"), OpenAi, false).await;
        assert!(
            text(&bytes).starts_with(&format!("HTTP/1.1 {status} ")),
            "{}",
            text(&bytes)
        );
    }
    assert!(!text(&wire("P31/204", OpenAi, false).await).contains("content-length"));
}

#[tokio::test]
async fn p32_heads_bodies_and_lines_beyond_every_limit() {
    let head = answer("P32/head_1mb", OpenAi).await;
    assert_eq!(head.header("x-padding").unwrap().len(), 1 << 20);
    assert!(
        answer("P32/head_500_fields", OpenAi)
            .await
            .head
            .fields
            .len()
            >= 500
    );
    let line = stream("P32/line_10mb", OpenAi).await;
    assert_eq!(
        (line.events.len(), line.events[0].data.len()),
        (1, 160 * 64 * 1024)
    );

    let mock = showing("P32/body_200mb", OpenAi).await;
    let mut client = client(&mock).await;
    client
        .send_json(OpenAi.path(), &[], &OpenAi.sample_request("hello", false))
        .await
        .unwrap();
    let (head, mut decoder) = client.read_head().await.unwrap();
    let promised: u64 = head.header("content-length").unwrap().parse().unwrap();
    assert!(promised > 200_000_000);
    let mut read = 0;
    while let Ok(piece) = client.read_piece(&mut decoder).await.unwrap() {
        read += piece.len() as u64;
    }
    assert!(decoder.is_done());
    assert_eq!(read, promised);
}

#[tokio::test]
async fn p33_a_bomb_and_an_encoding_nobody_asked_for() {
    let bomb = answer("P33/gzip", OpenAi).await;
    assert_eq!(bomb.header("content-encoding"), Some("gzip"));
    assert_eq!(bomb.body, bomb::gzip_zeros(1 << 20));
    assert_eq!(
        answer("P33/br_unasked", OpenAi)
            .await
            .header("content-encoding"),
        Some("br")
    );
}
