//! After the first content, where it is not: S08 to S21.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::before::stream;
use crate::fault::{Variant, variant};
use crate::http1::chunk;
use crate::mock::{
    Behaviour, Calls, Dialect, Draft, Edit, Ending, Event, Form, Healthy, Kind, Part, Payload,
    Step, Weather, Words, edit, head,
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
    let inserted = |event: String| {
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
    if dialect == Dialect::OpenAi {
        let finish = edit::replace("/choices/0/finish_reason", json!("error"));
        variants.push(variant("finish_reason", long().edit(finish)));
    }
    variants
}

/// The `content`-th content event is these bytes instead; all others are healthy.
#[must_use]
pub fn s12(content: usize, bytes: &'static [u8]) -> Behaviour {
    long().edit(edit::replace_content(content, bytes))
}

pub(super) fn s13(dialect: Dialect) -> Vec<Variant> {
    let index = match dialect {
        Dialect::OpenAi => "/choices/0/index",
        Dialect::Anthropic => "/index",
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
    vec![
        variant("doubled", stream().edit(edit::double_content(5))),
        variant("index_from_nowhere", stream().edit(from_nowhere)),
    ]
}

pub(super) fn s14(dialect: Dialect) -> Vec<Variant> {
    let late = match dialect {
        Dialect::OpenAi => {
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" late\"},\"finish_reason\":null}]}\n\n"
        }
        Dialect::Anthropic => {
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" late\"}}\n\n"
        }
    };
    let usage = match dialect {
        Dialect::OpenAi => Kind::Usage,
        Dialect::Anthropic => Kind::Finish,
    };
    vec![
        variant(
            "no_terminal",
            stream()
                .edit(edit::without(Kind::Terminal))
                .edit(edit::ending(Ending::Fin)),
        ),
        variant(
            "no_terminal_clean",
            stream().edit(edit::without(Kind::Terminal)),
        ),
        variant("no_finish", stream().edit(edit::without(Kind::Finish))),
        variant("finish_twice", stream().edit(edit::twice(Kind::Finish))),
        variant("usage_twice", stream().edit(edit::twice(usage))),
        variant("after_terminal", stream().edit(edit::append(late))),
    ]
}

pub(super) fn s16(dialect: Dialect) -> Vec<Variant> {
    let each = |change: fn(&[u8]) -> Vec<u8>| stream().edit(edit::rewrite(change));
    let mut variants = vec![
        variant("cr", each(|event| swap(event, b"\n", b"\r"))),
        variant("crlf", each(|event| swap(event, b"\n", b"\r\n"))),
        variant(
            "no_space",
            each(|event| swap(&swap(event, b"data: ", b"data:"), b"event: ", b"event:")),
        ),
        variant(
            "multi_line",
            each(|event| swap(event, b",\"", b",\ndata: \"")),
        ),
        variant("bom", stream().edit(edit::prepend(&b"\xEF\xBB\xBF"[..]))),
        variant(
            "id_and_retry",
            each(|event| [b"id: 1\nretry: 10\n", event].concat()),
        ),
        variant(
            "comments",
            each(|event| [b": PROCESSING\n\n", event].concat()),
        ),
    ];
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    variants.push(match dialect {
        Dialect::OpenAi => {
            let filter = "data: {\"id\":\"\",\"object\":\"\",\"created\":0,\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n";
            variant("no_choices", stream().edit(edit::prepend(filter)))
        }
        Dialect::Anthropic => variant("pings", stream().edit(edit::insert_after(0, ping)).edit(edit::insert_after(3, ping))),
    });
    variants
}

/// Every `needle` becomes `with`.
fn swap(event: &[u8], needle: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.len());
    let mut rest = event;
    while let Some(place) = memchr::memmem::find(rest, needle) {
        let (front, back) = rest.split_at(place);
        out.extend_from_slice(front);
        out.extend_from_slice(with);
        rest = back.get(needle.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// One tool call that says it is finished while the second half of its arguments never came.
pub(super) fn s17(dialect: Dialect) -> Behaviour {
    let calling = Healthy {
        form: Form::Stream,
        calls: Calls::Exactly(1),
        ..Healthy::default()
    };
    let last_fragment = match dialect {
        Dialect::OpenAi => 3,
        Dialect::Anthropic => 2,
    };
    Behaviour::from(calling).edit(Edit::new(move |draft: &mut Draft| {
        let at = draft
            .behind_content(last_fragment)
            .and_then(|behind| behind.checked_sub(1));
        if let (Some(at), Some(events)) = (at, draft.events()) {
            events.remove(at);
        }
    }))
}

/// The same content event this many times a second (in bursts, each millisecond or more), without end.
#[must_use]
pub fn s18(dialect: Dialect, per_second: u32) -> Behaviour {
    let event = match dialect {
        Dialect::OpenAi => Event::json(Kind::Content, None, openai_delta("again and again ")),
        Dialect::Anthropic => Event::json(
            Kind::Content,
            Some("content_block_delta"),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "again and again "}}),
        ),
    };
    let repeated: Bytes = chunk(&event.render());
    let per_burst = per_second.div_ceil(1000).max(1);
    let gap = Duration::from_secs(1).saturating_mul(per_burst) / per_second.max(1);
    let opening = match dialect {
        Dialect::OpenAi => Vec::new(),
        Dialect::Anthropic => vec![
            json!({"type": "message_start", "message": {"id": "msg_run", "type": "message", "role": "assistant", "model": "mock-model",
                "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ],
    };
    let fields = vec![
        ("content-type".to_owned(), "text/event-stream".to_owned()),
        ("transfer-encoding".to_owned(), "chunked".to_owned()),
    ];
    let mut steps = vec![Step::Send {
        bytes: head(200, &fields),
        part: Part::Head,
    }];
    steps.extend(opening.into_iter().map(|data| {
        let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
        Step::raw(chunk(format!("event: {name}\ndata: {data}\n\n").as_bytes()))
    }));
    steps.push(Step::Repeat {
        bytes: repeated,
        per_burst,
        gap,
        bursts: u64::MAX,
    });
    Behaviour::steps(steps)
}

fn openai_delta(text: &str) -> Value {
    json!({"id": "chatcmpl-run", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "mock-model",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
}

/// Three choices, of which the last never finishes.
pub(super) fn s19(dialect: Dialect) -> Vec<Variant> {
    if dialect == Dialect::Anthropic {
        return Vec::new();
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
