//! Golden cases: wire and domain side by side. `UPDATE_GOLDEN=1` rewrites them; the diff is the review.
//!
//! `<dialect>/<case>/request.json` is decoded to `domain.json` and encoded for a provider of every other
//! dialect; `answer.json` is decoded to `domain.json` and encoded for a client of every other; `stream.sse` (or
//! `.ndjson`, or `.frames`: the events of binary frames by name, a line each) is relayed to a client of every other, and to one of its own as it came.
//! `canonical/<case>/request.json`, which no OpenAI client could have sent, is encoded to `openai.json`.
//!
//! `embeddings/` and `rerank/` hold the same for what is asked beside conversations; see `golden/operations.rs`.
//!
//! Every openai request is also encoded back, and what comes out is what went in. Where it is not,
//! `back.json` states each difference and why it is right; it is written by hand and never rewritten.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test crate"
)]

#[path = "golden/answers.rs"]
mod answers;
#[path = "golden/cases.rs"]
mod cases;
#[path = "golden/fields.rs"]
mod fields;
#[path = "golden/kinds.rs"]
mod kinds;
#[path = "golden/operations.rs"]
mod operations;
#[path = "golden/requests.rs"]
mod requests;
#[path = "golden/streams.rs"]
mod streams;
