//! Section 4 on the wire.

use super::*;
use crate::canary;
use crate::client::BodyEnd;

fn finish_reasons(stream: &SseStream) -> Vec<Value> {
    let found = |data: &Value| {
        data.pointer("/choices/0/finish_reason")
            .or_else(|| data.pointer("/delta/stop_reason"))
            .cloned()
    };
    stream
        .documents()
        .iter()
        .filter_map(found)
        .filter(|reason| !reason.is_null())
        .collect()
}

#[tokio::test]
async fn s01_the_first_event_is_an_error_under_a_200() {
    for dialect in BOTH {
        let stream = stream("S01", dialect).await;
        assert_eq!(
            (stream.status(), stream.events.len(), stream.end),
            (200, 1, BodyEnd::Whole)
        );
        assert_eq!(stream.documents()[0]["error"]["type"], "overloaded_error");
    }
    assert_eq!(stream("S01", Anthropic).await.events[0].event, "error");
    assert_eq!(
        stream("S01/data_only", OpenAi).await.documents()[0]["error"]["code"],
        502
    );
}

#[tokio::test]
async fn s02_the_role_comes_and_then_nothing() {
    let openai = stream("S02", OpenAi).await;
    assert_eq!(
        (
            openai.events.len(),
            openai.end,
            openai.text(OpenAi).as_str()
        ),
        (1, BodyEnd::Silent, "")
    );
    assert_eq!(
        openai.documents()[0]["choices"][0]["delta"]["role"],
        "assistant"
    );
    let anthropic = stream("S02", Anthropic).await;
    assert_eq!(
        (anthropic.events[0].event.as_str(), anthropic.end),
        ("message_start", BodyEnd::Silent)
    );
    assert!(anthropic.text(Anthropic).is_empty());
}

#[tokio::test]
async fn s03_nothing_but_an_end() {
    for (name, end) in [
        ("fin_after_head", BodyEnd::Cut),
        ("clean_end_after_head", BodyEnd::Whole),
        ("reset_after_head", BodyEnd::Reset),
    ] {
        let stream = stream(&format!("S03/{name}"), OpenAi).await;
        assert_eq!(
            (stream.status(), stream.end, stream.raw.len()),
            (200, end, 0),
            "{name}"
        );
    }
    let done = stream("S03/terminal_at_once", OpenAi).await;
    assert_eq!(
        (done.events.len(), done.events[0].data.as_str()),
        (1, "[DONE]")
    );
    assert!(stream("S03/terminal_at_once", Anthropic).await.is_done());
}

#[tokio::test]
async fn s04_the_first_chunk_is_half_a_chunk() {
    let stream = stream("S04", OpenAi).await;
    assert_eq!(
        (stream.events.len(), stream.events[0].data.as_str()),
        (1, "{\"choi")
    );
}

#[tokio::test]
async fn s05_s06_s07_racers_keep_their_times() {
    let failed = answer("S05", OpenAi).await;
    assert_eq!(failed.status(), 529);
    assert!(failed.head.at >= Duration::from_millis(100));
    for (fault, at) in [("S06/first", 100), ("S06/second", 105)] {
        let first = stream(fault, OpenAi)
            .await
            .first_content_at(OpenAi)
            .unwrap();
        assert!(
            (at..at + 60).contains(&first.as_millis()),
            "{fault}: {first:?}"
        );
    }
    assert!(
        wire("S07", OpenAi, true).await.is_empty(),
        "two seconds of nothing"
    );
}

#[tokio::test]
async fn s08_s09_s10_twenty_words_and_three_ends() {
    for dialect in BOTH {
        let ends = [
            ("S08", BodyEnd::Silent),
            ("S09", BodyEnd::Reset),
            ("S10", BodyEnd::Whole),
            ("S10/fin_without_last_chunk", BodyEnd::Cut),
        ];
        for (fault, end) in ends {
            let stream = stream(fault, dialect).await;
            assert_eq!(stream.end, end, "{fault}");
            assert_eq!(
                canary::verify(&stream.text(dialect)).unwrap().words,
                20,
                "{fault}"
            );
            assert!(
                !stream.is_done() && finish_reasons(&stream).is_empty(),
                "{fault}"
            );
        }
    }
}

#[tokio::test]
async fn s11_an_error_after_twenty_words() {
    for dialect in BOTH {
        let stream = stream("S11", dialect).await;
        assert_eq!(canary::verify(&stream.text(dialect)).unwrap().words, 20);
        assert_eq!(
            stream.documents().last().unwrap()["error"]["type"],
            "overloaded_error"
        );
        assert!(!stream.is_done());
    }
    assert_eq!(
        finish_reasons(&stream("S11/finish_reason", OpenAi).await),
        ["error"]
    );
}

#[tokio::test]
async fn s12_chunk_fifty_of_a_hundred_is_broken() {
    for dialect in BOTH {
        for fault in ["S12/json", "S12/utf8"] {
            let stream = stream(fault, dialect).await;
            let words: Vec<String> = stream.text(dialect).split(' ').map(str::to_owned).collect();
            assert_eq!(
                (words.len(), words[48].as_str(), words[49].as_str()),
                (99, "c1-49", "c1-51"),
                "{fault}"
            );
        }
        assert!(std::str::from_utf8(&stream("S12/utf8", dialect).await.raw).is_err());
    }
}

#[tokio::test]
async fn s13_a_word_twice_and_an_index_from_nowhere() {
    let doubled = stream("S13/doubled", OpenAi).await.text(OpenAi);
    assert!(doubled.contains(" c1-5 c1-5 c1-6"), "{doubled}");
    let indexes: Vec<Value> = stream("S13/index_from_nowhere", OpenAi)
        .await
        .documents()
        .iter()
        .map(|data| data["choices"][0]["index"].clone())
        .collect();
    assert_eq!(indexes.iter().filter(|index| **index == 7).count(), 1);
    assert!(
        stream("S13/index_from_nowhere", Anthropic)
            .await
            .documents()
            .iter()
            .any(|data| data["index"] == 7)
    );
}

/// Where the first document stands that has something there, and where the last.
fn places(documents: &[Value], pointer: &str) -> (usize, usize) {
    let has = |data: &Value| data.pointer(pointer).is_some_and(|found| !found.is_null());
    (
        documents.iter().position(has).unwrap(),
        documents.iter().rposition(has).unwrap(),
    )
}

#[tokio::test]
async fn s13_events_come_in_another_order_than_they_should() {
    let documents = |form: &'static str, dialect| async move {
        stream(&format!("S13/{form}"), dialect).await.documents()
    };
    let text = "/choices/0/delta/content";
    let early = documents("finish_before_content", OpenAi).await;
    let finish = places(&early, "/choices/0/finish_reason").0;
    assert!(finish < places(&early, text).1, "{early:?}");
    let early = documents("usage_before_content", OpenAi).await;
    let usage = places(&early, "/usage").0;
    assert!(usage < places(&early, text).0.max(2), "{early:?}");
    let twice = stream("S13/done_twice", OpenAi).await;
    let raw = String::from_utf8_lossy(&twice.raw).into_owned();
    assert_eq!(raw.matches("[DONE]").count(), 2, "{raw}");

    let call = "/choices/0/delta/tool_calls/0";
    let unnamed = documents("arguments_before_name", OpenAi).await;
    let name = places(&unnamed, &format!("{call}/function/name")).0;
    let said = places(&unnamed, call).0;
    assert!(said < name, "{unnamed:?}");
    let swapped = documents("indexes_swapped", OpenAi).await;
    let indexes: Vec<&Value> = swapped
        .iter()
        .filter_map(|data| data.pointer(&format!("{call}/index")))
        .collect();
    assert_eq!(*indexes.last().unwrap(), 0, "{indexes:?}");
    assert!(indexes.iter().any(|index| **index == 1), "{indexes:?}");

    let unopened = documents("content_before_block", Anthropic).await;
    let kind = |kind: &str| unopened.iter().position(|data| data["type"] == kind);
    assert!(kind("content_block_delta") < kind("content_block_start"));
    let stops = documents("stop_twice", Anthropic).await;
    let stops = stops.iter().filter(|data| data["type"] == "message_stop");
    assert_eq!(stops.count(), 2);
}

#[tokio::test]
async fn s13_the_primitive_shows_another_disorder_each_time() {
    let Ok(Made::Answer(answer)) = made("disorder", &Terms::default()) else {
        panic!("it is made in answers");
    };
    for dialect in Dialect::ALL {
        let mock = MockProvider::start(MockOptions::for_dialect(dialect));
        let mock = mock.await.unwrap();
        let spoilt = answer(dialect, crate::mock::Weather::default());
        let spoilt = spoilt.unwrap().labelled("disorder");
        mock.set(spoilt);
        let forms = disorder(dialect).len() as u64;
        for _ in 0..forms {
            stream_of(&mock).await;
        }
        let met = mock.log().iter().filter(|one| one.fault.is_some()).count();
        assert_eq!(
            met as u64, forms,
            "{dialect:?}: each form is one that shows"
        );
    }
}

#[tokio::test]
async fn s14_the_end_comes_in_six_forms() {
    for dialect in BOTH {
        let no_terminal = stream("S14/no_terminal", dialect).await;
        assert_eq!(
            (
                no_terminal.is_done(),
                no_terminal.end,
                finish_reasons(&no_terminal).len()
            ),
            (false, BodyEnd::Cut, 1)
        );
        assert_eq!(
            stream("S14/no_terminal_clean", dialect).await.end,
            BodyEnd::Whole
        );
        let no_finish = stream("S14/no_finish", dialect).await;
        assert_eq!(
            (no_finish.is_done(), finish_reasons(&no_finish).len()),
            (true, 0)
        );
        assert_eq!(
            finish_reasons(&stream("S14/finish_twice", dialect).await).len(),
            2
        );
        let late = stream("S14/after_terminal", dialect).await;
        assert!(
            late.text(dialect).ends_with(" late")
                && !late.events.last().unwrap().data.contains("DONE")
        );
    }
    let twice = stream("S14/usage_twice", OpenAi).await.documents();
    assert_eq!(
        twice
            .iter()
            .filter(|data| data["usage"].is_object())
            .count(),
        2
    );
}

#[tokio::test]
async fn s15_the_connection_stays_open_after_the_end() {
    for dialect in BOTH {
        for fault in ["S15", "S15/hold"] {
            let stream = stream(fault, dialect).await;
            assert_eq!((stream.is_done(), stream.end), (true, BodyEnd::Silent));
        }
    }
}

#[tokio::test]
async fn s16_other_grammars_say_the_same() {
    for dialect in BOTH {
        for variant in variants("S16", dialect) {
            let stream = stream(&format!("S16/{}", variant.name), dialect).await;
            assert_eq!(
                canary::verify(&stream.text(dialect)).unwrap().words,
                10,
                "{}",
                variant.name
            );
            assert!(stream.is_done(), "{}", variant.name);
        }
        let raw = |fault: &'static str| async move { text(&stream(fault, dialect).await.raw) };
        let cr = raw("S16/cr").await;
        assert!(cr.contains("\r\r") && !cr.contains('\n'));
        assert!(raw("S16/crlf").await.contains("\r\n\r\n"));
        assert!(raw("S16/no_space").await.contains("data:{"));
        assert!(raw("S16/multi_line").await.contains(",\ndata: \""));
        assert!(raw("S16/bom").await.starts_with('\u{FEFF}'));
        assert!(raw("S16/id_and_retry").await.contains("id: 1\nretry: 10\n"));
        assert_eq!(
            stream("S16/comments", dialect).await.comments[0],
            "PROCESSING"
        );
    }
    assert_eq!(
        stream("S16/no_choices", OpenAi).await.documents()[0]["choices"],
        serde_json::json!([])
    );
    let pings = stream("S16/pings", Anthropic).await.events;
    assert_eq!(
        pings.iter().filter(|event| event.event == "ping").count(),
        3
    );
}

#[tokio::test]
async fn s17_a_finished_tool_call_whose_arguments_are_half() {
    for (dialect, pointer) in [
        (OpenAi, "/choices/0/delta/tool_calls/0/function/arguments"),
        (Anthropic, "/delta/partial_json"),
    ] {
        let stream = stream("S17", dialect).await;
        let arguments: String = stream
            .documents()
            .iter()
            .filter_map(|data| data.pointer(pointer).and_then(Value::as_str))
            .collect();
        assert!(
            arguments.starts_with('{') && serde_json::from_str::<Value>(&arguments).is_err(),
            "{arguments}"
        );
        let finish = finish_reasons(&stream);
        assert!(
            finish == ["tool_calls"] || finish == ["tool_use"],
            "{finish:?}"
        );
        assert!(stream.is_done());
    }
}

#[tokio::test]
async fn s18_a_firehose_keeps_its_rate_and_ends_with_its_reader() {
    for dialect in BOTH {
        let mock = showing("S18", dialect).await;
        let mut client = client(&mock).await;
        let request = dialect.sample_request("hello", true);
        let mut reader = client
            .stream(dialect.path(), &dialect.sample_headers("sk"), &request)
            .await
            .unwrap();
        let events = reader.take(3000).await.unwrap();
        let rate = 3000.0 / events[2999].at.as_secs_f64();
        // Timers have a grain of a millisecond, so a little less than the 10,000 asked for.
        assert!((2_500.0..11_000.0).contains(&rate), "{rate}");
        assert!(mock.last().unwrap().first_content_at.is_some());
        drop(client);
        assert!(mock.wait_for_no_connections(SOON).await);
    }
    let runaway = stream_for(Duration::from_millis(400)).await;
    assert!((40..=100).contains(&runaway), "200 a second: {runaway}");
}

/// How many events of the runaway come in this time.
async fn stream_for(how_long: Duration) -> usize {
    let mock = showing("S18/runaway", OpenAi).await;
    let mut client = client(&mock).await;
    let mut reader = client
        .stream(OpenAi.path(), &[], &OpenAi.sample_request("hello", true))
        .await
        .unwrap();
    let mut count = 0;
    let reading = async {
        while reader.next().await.unwrap().is_some() {
            count += 1;
        }
    };
    assert!(
        tokio::time::timeout(how_long, reading).await.is_err(),
        "it does not end by itself"
    );
    count
}

#[tokio::test]
async fn s19_two_of_three_choices_finish() {
    let stream = stream("S19", OpenAi).await;
    let mut finished: Vec<Value> = Vec::new();
    for data in stream.documents() {
        if data["choices"][0]["finish_reason"].is_string() {
            finished.push(data["choices"][0]["index"].clone());
        }
    }
    assert_eq!(finished, [0, 1]);
    assert!(stream.is_done());
    assert!(variants("S19", Anthropic).is_empty());
}

#[tokio::test]
async fn s20_s21_given_words_come_in_given_pieces() {
    for dialect in BOTH {
        let split = stream("S20", dialect).await;
        assert_eq!(split.text(dialect), "Dear <PERSON_1>, hello");
        assert!(split.raw.windows(6).any(|bytes| bytes == b"\"<PER\""));
        let words = stream("S21", dialect).await.text(dialect);
        assert_eq!(
            words.split(' ').position(|word| word == "forbidden"),
            Some(39)
        );
    }
}
