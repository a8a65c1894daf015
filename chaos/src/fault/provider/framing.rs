//! Answers whose bytes are wrong: P18, P19, P31 to P33.

use std::time::Duration;

use bytes::Bytes;

use super::content::unary;
use crate::fault::bomb::gzip_zeros;
use crate::fault::{Variant, variant};
use crate::http1::{LAST_CHUNK, chunk};
use crate::mock::{
    Behaviour, Body, Dialect, Document, Draft, Edit, Ending, Part, Step, edit, head,
};

pub(super) fn p18(_: Dialect) -> Vec<Variant> {
    const SMUGGLED: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    vec![
        variant(
            "short",
            unary()
                .edit(edit::promise(200))
                .edit(edit::ending(Ending::Fin)),
        ),
        variant("excess", unary().edit(edit::excess(&[b'x'; 200]))),
        variant("smuggled", unary().edit(edit::excess(SMUGGLED))),
    ]
}

pub(super) fn p19(_: Dialect) -> Vec<Variant> {
    let chunked_and_length = Edit::new(|draft: &mut Draft| {
        if let Body::Document(document) = &mut draft.body {
            let framed = [chunk(&document.render()), LAST_CHUNK].concat();
            *document = Document::Raw(framed.into());
            draft
                .fields
                .push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        }
    });
    vec![
        variant("length_and_chunked", unary().edit(chunked_and_length)),
        variant("two_lengths", unary().header("content-length", "5")),
        variant("obs_fold", unary().header("x-note", "a\r\n folded")),
        variant("bare_cr", unary().header("x-note", "a\rb")),
    ]
}

pub(super) fn p31(dialect: Dialect) -> Vec<Variant> {
    let first = |status: u16| {
        Behaviour::healthy().edit(Edit::new(move |draft: &mut Draft| {
            draft.early_heads.push((status, Vec::new()));
        }))
    };
    let mut variants = vec![
        variant("100", first(100)),
        variant("103", first(103)),
        variant(
            "101",
            Behaviour::status(101)
                .header("connection", "upgrade")
                .header("upgrade", "h2c"),
        ),
        variant("204", Behaviour::status(204)),
        variant("299", Behaviour::status(299)),
    ];
    let errors = [("409", 409), ("425", 425), ("499", 499)];
    variants.extend(errors.map(|(name, status)| variant(name, dialect.error(status, "try again"))));
    variants
}

pub(super) fn p32(_: Dialect) -> Vec<Variant> {
    const PIECE: usize = 64 * 1024;
    let text: Bytes = vec![b'x'; PIECE].into();
    let again = |times: usize| Step::Repeat {
        bytes: text.clone(),
        per_burst: 1,
        gap: Duration::ZERO,
        bursts: times as u64,
    };
    let json_head = |length: usize| {
        let fields = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("content-length".to_owned(), length.to_string()),
        ];
        Step::Send {
            bytes: head(200, &fields),
            part: Part::Head,
        }
    };
    // The first piece of a body of 200 MB opens a JSON string that never ends.
    let body = vec![
        json_head(3200 * PIECE + 7),
        Step::raw(&b"{\"id\":\""[..]),
        again(3200),
    ];
    let line_head = vec![
        ("content-type".to_owned(), "text/event-stream".to_owned()),
        ("transfer-encoding".to_owned(), "chunked".to_owned()),
    ];
    let one_line = vec![
        Step::Send {
            bytes: head(200, &line_head),
            part: Part::Head,
        },
        Step::raw(chunk(b"data: ")),
        Step::raw(format!("{:x}\r\n", 160 * PIECE)),
        again(160),
        Step::raw(&b"\r\n"[..]),
        Step::raw(chunk(b"\n\n")),
        Step::raw(LAST_CHUNK),
    ];
    let large_head = Behaviour::healthy().header("x-padding", "p".repeat(1 << 20));
    let many_fields = (0..500).fold(Behaviour::healthy(), |plain, field| {
        plain.header(&format!("x-field-{field}"), "v")
    });
    vec![
        variant("head_1mb", large_head),
        variant("head_500_fields", many_fields),
        variant("body_200mb", Behaviour::steps(body)),
        variant("line_10mb", Behaviour::steps(one_line)),
    ]
}

pub(super) fn p33(_: Dialect) -> Vec<Variant> {
    let gzip = Behaviour::choose(|_| {
        Behaviour::status(200)
            .header("content-encoding", "gzip")
            .body("application/json", gzip_zeros(1 << 20))
    });
    // Not brotli at all: whoever obeys the field fails to unpack it, whoever never asked for it refuses first.
    let brotli = unary().header("content-encoding", "br");
    vec![variant("gzip", gzip), variant("br_unasked", brotli)]
}
