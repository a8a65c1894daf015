//! Other spellings of a healthy stream, and events without content: S16.

use crate::fault::{Variant, variant};
use crate::mock::{Behaviour, Dialect, Framing, edit};

use super::before::stream;

pub(super) fn s16(dialect: Dialect) -> Vec<Variant> {
    let mut variants = match dialect.framing() {
        Framing::Sse => sse(),
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
