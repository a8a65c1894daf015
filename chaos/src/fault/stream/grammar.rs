//! Other spellings of a healthy stream, and events without content: S16.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::fault::{Variant, variant};
use crate::mock::{Behaviour, Dialect, Draft, Edit, Framing, Kind, Payload, edit};

use super::before::stream;

pub(super) fn s16(dialect: Dialect) -> Vec<Variant> {
    let mut variants = match dialect.framing() {
        Framing::Sse => sse(),
        Framing::EventStream => event_stream(),
        Framing::Lines => lines(),
    };
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    match dialect {
        Dialect::OpenAi => {
            let filter = "data: {\"id\":\"\",\"object\":\"\",\"created\":0,\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n";
            variants.push(variant("no_choices", stream().edit(edit::prepend(filter))));
        }
        Dialect::Anthropic => {
            let pings = stream()
                .edit(edit::insert_after(0, ping))
                .edit(edit::insert_after(3, ping));
            variants.push(variant("pings", pings));
        }
        Dialect::Responses => {
            let unknown = "event: response.unheard_of\ndata: {\"type\":\"response.unheard_of\",\"sequence_number\":7}\n\n";
            let done = "data: [DONE]\n\n";
            variants.push(variant(
                "unknown_event",
                stream().edit(edit::insert_after(3, unknown)),
            ));
            variants.push(variant("done", stream().edit(edit::append(done))));
        }
        Dialect::Bedrock => variants.push(variant(
            "usage_before_the_reason",
            stream().edit(usage_first()),
        )),
        Dialect::Cohere => {
            let citation = "event: citation-start\ndata: {\"type\":\"citation-start\",\"index\":0,\"delta\":{\"message\":{\"citations\":{\"start\":0,\"end\":1,\"text\":\"x\",\"sources\":[]}}}}\n\n";
            let unnamed = each(|event| match memchr::memchr(b'\n', event) {
                Some(line) => event
                    .get(line.saturating_add(1)..)
                    .unwrap_or_default()
                    .to_vec(),
                None => event.to_vec(),
            });
            variants.push(variant(
                "citations",
                stream().edit(edit::insert_after(3, citation)),
            ));
            variants.push(variant("no_event_names", unnamed));
            variants.push(variant(
                "done",
                stream().edit(edit::append("data: [DONE]\n\n")),
            ));
        }
        Dialect::Ollama => variants.push(variant("unended_last_line", stream().edit(unended()))),
        Dialect::Gemini => {
            let usage_only = "data: {\"usageMetadata\":{\"promptTokenCount\":1,\"totalTokenCount\":1},\"modelVersion\":\"mock-model\"}\n\n";
            variants.push(variant(
                "no_candidates",
                stream().edit(edit::prepend(usage_only)),
            ));
        }
    }
    variants
}

fn each(change: fn(&[u8]) -> Vec<u8>) -> Behaviour {
    stream().edit(edit::rewrite(change))
}

fn sse() -> Vec<Variant> {
    vec![
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
    ]
}

/// Other ends of lines, and lines without an object.
fn lines() -> Vec<Variant> {
    vec![
        variant("crlf", each(|line| swap(line, b"\n", b"\r\n"))),
        variant("blank_lines", each(|line| [b"\n", line].concat())),
        variant("spaces", each(|line| [b" \t", line].concat())),
    ]
}

/// The body's end is the last line's.
fn unended() -> Edit {
    Edit::new(|draft: &mut Draft| {
        if let Some(last) = draft.events().and_then(|events| events.last_mut()) {
            let line = last.render();
            let bare = line.strip_suffix(b"\n").unwrap_or(&line);
            last.payload = Payload::Raw(Bytes::copy_from_slice(bare));
        }
    })
}

/// Headers of every type, a filler in the payload, events nobody knows.
fn event_stream() -> Vec<Variant> {
    let on_json = |change: fn(&str, &mut Value) -> Option<Bytes>| {
        stream().edit(Edit::new(move |draft: &mut Draft| {
            for event in draft.events().into_iter().flatten() {
                let Payload::Json {
                    event: name, data, ..
                } = &mut event.payload
                else {
                    continue;
                };
                if let Some(bytes) = change(name.unwrap_or_default(), data) {
                    event.payload = Payload::Raw(bytes);
                }
            }
        }))
    };
    let unknown = Framing::EventStream.wrap(Some("heartbeat"), b"{}");
    vec![
        variant(
            "headers_of_every_type",
            on_json(|name, data| {
                Some(Framing::frame_of_every_type(
                    name,
                    data.to_string().as_bytes(),
                ))
            }),
        ),
        variant(
            "filler",
            on_json(|_, data| {
                data.as_object_mut()?
                    .insert("p".to_owned(), json!("abcdefghijklm"));
                None
            }),
        ),
        variant(
            "unknown_event",
            stream().edit(edit::insert_after(3, unknown)),
        ),
    ]
}

/// The recordings have usage before the reason as well as behind it.
fn usage_first() -> Edit {
    Edit::new(|draft: &mut Draft| {
        let Some(events) = draft.events() else { return };
        let at = |kind: Kind| events.iter().position(|event| event.kind == kind);
        if let (Some(finish), Some(usage)) = (at(Kind::Finish), at(Kind::Usage)) {
            events.swap(finish, usage);
        }
    })
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
