//! The `[idempotency]` section.

use super::judge::Judge;
use super::raw::RawIdempotency;
use crate::policy::once::{NAME_BYTES, Terms};

/// Less holds hardly a key.
const LEAST_BYTES: u64 = 1 << 20;

pub(super) fn settings(judge: &mut Judge<'_>, raw: &RawIdempotency) -> Terms {
    if (1..LEAST_BYTES).contains(&raw.most_bytes) {
        judge.wrong(
            "idempotency.most_bytes",
            "is less than 1 MiB",
            "leave it out for the default; 0 ignores the header idempotency-key",
        );
    }
    let key = NAME_BYTES as u64;
    if raw.most_bytes > 0 && raw.answer_bytes > raw.most_bytes.saturating_sub(key) {
        judge.wrong(
            "idempotency.answer_bytes",
            "is more than idempotency.most_bytes has room for",
            "one answer can be no larger than all of them; make it smaller, or the other larger",
        );
    }
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    Terms {
        keep: judge.millis("idempotency.keep_ms", raw.keep_ms),
        most_bytes: size(raw.most_bytes),
        answer_bytes: size(judge.positive("idempotency.answer_bytes", raw.answer_bytes)),
    }
}

impl Default for Terms {
    fn default() -> Self {
        settings(&mut Judge::of_defaults(), &RawIdempotency::default())
    }
}
