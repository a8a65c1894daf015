//! After the first content, where it is not: S08 to S21.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::before::{last_kind, stream};
use super::disorder::{disorder, of_calls};
use crate::fault::{Variant, variant};
use crate::http1::chunk;
use crate::mock::{
    Behaviour, Calls, Dialect, Draft, Edit, Ending, Event, Form, Framing, Healthy, Kind, Part,
    Payload, Step, Weather, Words, edit, head, sample_bytes, sample_events, sample_frame,
};

/// A hundred words, a millisecond apart: long enough to be cut in the middle.
pub(super) fn long() -> Behaviour {
    let weather = Weather::default().tokens(100).gap(Duration::from_millis(1));
    Healthy {
        form: Form::Stream,
        weather: Some(weather),
        ..Healthy::default()
    }
    .into()
}

/// A stream that says these pieces.
pub(super) fn said(pieces: &[&str]) -> Behaviour {
    let words = Words::Given(pieces.iter().map(|piece| (*piece).to_owned()).collect());
    Healthy {
        form: Form::Stream,
        words,
        ..Healthy::default()
    }
    .into()
}

/// This many content events, then silence on an open connection.
#[must_use]
pub fn s08(content: usize) -> Behaviour {
    long().edit(edit::cut_after(content, Ending::Hold))
}

/// This many content events, then RST.
#[must_use]
pub fn s09(content: usize) -> Behaviour {
    long().edit(edit::cut_after(content, Ending::Reset))
}

/// This many content events, then a proper end of the body, as if that were all.
#[must_use]
pub fn s10(content: usize) -> Behaviour {
    long().edit(edit::cut_after(content, Ending::Whole))
}

pub(super) fn s11(dialect: Dialect) -> Vec<Variant> {
    let inserted = |event: Bytes| {
        long()
            .edit(edit::cut_after(20, Ending::Whole))
            .edit(edit::append(event))
    };
    let mut variants = vec![
        variant(
            "overloaded",
            inserted(dialect.error_event("overloaded_error", "Overloaded")),
        ),
        variant(
            "server",
            inserted(dialect.error_event("server_error", "the server had an error")),
        ),
    ];
    match dialect {
        Dialect::OpenAi => {
            let finish = edit::replace("/choices/0/finish_reason", json!("error"));
            variants.push(variant("finish_reason", long().edit(finish)));
        }
        Dialect::Responses => {
            let framed = |name: &str, data: &Value| {
                inserted(Framing::Sse.wrap(Some(name), data.to_string().as_bytes()))
            };
            let flat = json!({"type": "error", "code": "server_error", "message": "the server had an error",
                "param": null, "sequence_number": 24});
            let failed = json!({"type": "response.failed", "sequence_number": 24, "response": {"id": "resp_failed",
                "object": "response", "status": "failed", "output": [], "usage": null,
                "error": {"code": "server_error", "message": "the server had an error"}}});
            variants.push(variant("flat", framed("error", &flat)));
            variants.push(variant("failed", framed("response.failed", &failed)));
        }
        Dialect::Bedrock => {
            let exception = |kind: &str| inserted(dialect.error_event(kind, "try again later"));
            let failed = Framing::error_frame("internalFailure", "try again later");
            variants.push(variant("throttled", exception("ThrottlingException")));
            variants.push(variant(
                "model_stream",
                exception("ModelStreamErrorException"),
            ));
            variants.push(variant("error_frame", inserted(failed)));
        }
        Dialect::Cohere => {
            let reason =
                |reason: &str| long().edit(edit::replace("/delta/finish_reason", json!(reason)));
            variants.push(variant("finish_reason", reason("ERROR")));
            variants.push(variant("timeout", reason("TIMEOUT")));
        }
        Dialect::Anthropic | Dialect::Gemini | Dialect::Ollama => {}
    }
    variants
}

/// The `content`-th content event is these bytes instead; all others are healthy.
#[must_use]
pub fn s12(content: usize, bytes: &'static [u8]) -> Behaviour {
    long().edit(edit::replace_content(content, bytes))
}

/// The fiftieth content event with a broken payload in a good frame, and whatever can be wrong with the frame.
pub(super) fn s12_forms(dialect: Dialect) -> Vec<Variant> {
    let broken = |bytes: Bytes| long().edit(edit::replace_content(50, bytes));
    let mut variants = vec![
        variant(
            "json",
            broken(sample_frame(dialect, br#"{"choices":[{"del"#)),
        ),
        variant(
            "utf8",
            broken(sample_frame(dialect, b"{\"x\":\"\xC3\x28\"}")),
        ),
    ];
    match dialect.framing() {
        Framing::Sse => {}
        // A line that never ends runs into the next, so two words are lost.
        Framing::Lines => variants.push(variant(
            "no_line_end",
            broken(Bytes::from_static(b"{\"message\":")),
        )),
        Framing::EventStream => {
            let content = sample_bytes(dialect, Some("lost "), Kind::Content);
            let flipped = |from_end: usize| {
                let mut frame = content.to_vec();
                let at = frame.len().saturating_sub(from_end);
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1;
                }
                broken(frame.into())
            };
            variants.push(variant("checksum", flipped(1)));
            variants.push(variant("payload", flipped(8)));
            // The ninth byte begins the checksum of the lengths.
            variants.push(variant("prelude", flipped(content.len().saturating_sub(8))));
        }
    }
    variants
}

pub(super) fn s13(dialect: Dialect) -> Vec<Variant> {
    let doubled = variant("doubled", stream().edit(edit::double_content(5)));
    let mut forms = vec![doubled];
    forms.extend(disorder(dialect));
    forms.extend(of_calls(dialect));
    let Some(index) = dialect.places().index else {
        return forms;
    };
    let from_nowhere = Edit::new(move |draft: &mut Draft| {
        let Some(events) = draft.events() else { return };
        let fifth = events
            .iter_mut()
            .filter(|event| event.kind == Kind::Content)
            .nth(4);
        if let Some(Event {
            payload: Payload::Json { data, .. },
            ..
        }) = fifth
            && let Some(found) = data.pointer_mut(index)
        {
            *found = json!(7);
        }
    });
    forms.push(variant("index_from_nowhere", stream().edit(from_nowhere)));
    forms
}

pub(super) fn s14(dialect: Dialect) -> Vec<Variant> {
    let late = sample_bytes(dialect, Some(" late"), Kind::Content);
    let last = last_kind(dialect);
    let mut variants = vec![
        variant(
            "no_terminal",
            stream()
                .edit(edit::without(last))
                .edit(edit::ending(Ending::Fin)),
        ),
        variant("no_terminal_clean", stream().edit(edit::without(last))),
        variant("after_terminal", stream().edit(edit::append(late))),
    ];
    let twice = |kind: Kind| stream().edit(edit::twice(kind));
    match dialect {
        Dialect::OpenAi | Dialect::Anthropic => variants.extend([
            variant("no_finish", stream().edit(edit::without(Kind::Finish))),
            variant("finish_twice", twice(Kind::Finish)),
            variant("usage_twice", twice(dialect.places().usage_in)),
        ]),
        Dialect::Responses | Dialect::Gemini | Dialect::Cohere | Dialect::Ollama => {
            variants.push(variant("terminal_twice", twice(last)));
        }
        Dialect::Bedrock => variants.extend([
            variant("terminal_twice", twice(last)),
            variant("usage_twice", twice(Kind::Usage)),
            variant("no_usage", stream().edit(edit::without(Kind::Usage))),
        ]),
    }
    variants
}

/// A tool call that says it is finished while the second half of its arguments never came.
pub(super) fn s17(dialect: Dialect) -> Vec<Variant> {
    let calling = Healthy {
        form: Form::Stream,
        calls: Calls::Exactly(1),
        ..Healthy::default()
    };
    let cut = |last_fragment: usize| {
        let lost = edit::without_content(last_fragment);
        Behaviour::from(calling.clone()).edit(lost)
    };
    let halved = match dialect {
        Dialect::OpenAi => cut(3),
        Dialect::Anthropic | Dialect::Bedrock | Dialect::Cohere => cut(2),
        Dialect::Responses => cut(2).edit(half_repeated()),
        // Calls come whole; a broken one is told by its reason.
        Dialect::Gemini => return vec![variant("malformed", malformed_call())],
        // Calls come whole here too, and nothing tells of a broken one.
        Dialect::Ollama => return Vec::new(),
    };
    vec![variant("arguments", halved)]
}

/// Nothing but the reason why a call never came.
fn malformed_call() -> Behaviour {
    stream()
        .edit(edit::without(Kind::Content))
        .edit(edit::replace(
            "/candidates/0/finishReason",
            json!("MALFORMED_FUNCTION_CALL"),
        ))
}

/// What the closing events of a Responses stream repeat is cut to what the deltas said.
fn half_repeated() -> Edit {
    Edit::new(|draft: &mut Draft| {
        let documents = draft.documents();
        let delta = documents.iter().find_map(|data| {
            let is_delta = data.get("type")? == "response.function_call_arguments.delta";
            is_delta.then(|| data.get("delta").cloned()).flatten()
        });
        let Some(half) = delta else { return };
        for document in documents {
            for place in [
                "/arguments",
                "/item/arguments",
                "/response/output/0/arguments",
            ] {
                let whole = document.pointer_mut(place);
                if let Some(whole) = whole.filter(|whole| **whole != json!("")) {
                    *whole = half.clone();
                }
            }
        }
    })
}

/// The same content event this many times a second (in bursts, each millisecond or more), without end.
#[must_use]
pub fn s18(dialect: Dialect, per_second: u32) -> Behaviour {
    let repeats = "again and again ";
    let event = sample_bytes(dialect, Some(repeats), Kind::Content);
    let repeated: Bytes = chunk(&event);
    let per_burst = per_second.div_ceil(1000).max(1);
    let gap = Duration::from_secs(1).saturating_mul(per_burst) / per_second.max(1);
    let events = sample_events(dialect, Some(repeats)).into_iter();
    let opening = events.take_while(|event| event.kind != Kind::Content);
    let fields = vec![
        (
            "content-type".to_owned(),
            dialect.framing().content_type().to_owned(),
        ),
        ("transfer-encoding".to_owned(), "chunked".to_owned()),
    ];
    let mut steps = vec![Step::Send {
        bytes: head(200, &fields),
        part: Part::Head,
    }];
    steps.extend(opening.map(|event| Step::raw(chunk(&event.render()))));
    steps.push(Step::Repeat {
        bytes: repeated,
        per_burst,
        gap,
        bursts: u64::MAX,
    });
    Behaviour::steps(steps)
}

/// Three choices, of which the last never finishes.
pub(super) fn s19(dialect: Dialect) -> Vec<Variant> {
    match dialect {
        Dialect::OpenAi => {}
        Dialect::Gemini => return s19_gemini(),
        Dialect::Anthropic
        | Dialect::Responses
        | Dialect::Bedrock
        | Dialect::Cohere
        | Dialect::Ollama => return Vec::new(),
    }
    let three = Healthy {
        form: Form::Stream,
        choices: Some(3),
        ..Healthy::default()
    };
    let unfinished = Edit::new(|draft: &mut Draft| {
        let Some(events) = draft.events() else { return };
        if let Some(last) = events.iter().rposition(|event| event.kind == Kind::Finish) {
            events.remove(last);
        }
    });
    vec![variant(
        "one_of_three",
        Behaviour::from(three).edit(unfinished),
    )]
}

/// All candidates end in one chunk, so the last loses its reason there.
fn s19_gemini() -> Vec<Variant> {
    let three = Healthy {
        form: Form::Stream,
        choices: Some(3),
        ..Healthy::default()
    };
    let unfinished = edit::remove("/candidates/2", "finishReason");
    vec![variant(
        "one_of_three",
        Behaviour::from(three).edit(unfinished),
    )]
}

/// Sixty words, the fortieth of which is `word`.
#[must_use]
pub fn s21(word: &str) -> Behaviour {
    let pieces = (1..=60).map(|position| {
        if position == 40 {
            format!("{word} ")
        } else {
            format!("word{position} ")
        }
    });
    Healthy {
        form: Form::Stream,
        words: Words::Given(pieces.collect()),
        ..Healthy::default()
    }
    .into()
}
