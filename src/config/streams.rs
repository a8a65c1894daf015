//! The `[streams]` section: what a stream looks like to who watches the wire.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::Judge;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStreams {
    pub(super) batch_ms: u64,
    pub(super) pad_to_bytes: u32,
}

/// How streams leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamShape {
    /// What comes within this time leaves together; zero: at once.
    pub batch: Duration,
    /// What leaves together is a multiple of so many bytes; 0: as long as it is.
    pub pad_to: usize,
}

/// A person who reads along notices nothing shorter than this.
const LONGEST_BATCH: u64 = 2_000;
/// Half of what a record of TLS holds.
const LARGEST_PAD: u32 = 8_192;

pub(super) fn settings(judge: &mut Judge<'_>, raw: &RawStreams) -> StreamShape {
    if raw.batch_ms > LONGEST_BATCH {
        judge.wrong(
            "streams.batch_ms",
            "is longer than two seconds, and streams would stand still",
            "write milliseconds, such as 100; 0 hands on what comes at once",
        );
    }
    if raw.pad_to_bytes != 0 && !(64..=LARGEST_PAD).contains(&raw.pad_to_bytes) {
        judge.wrong(
            "streams.pad_to_bytes",
            "is not between 64 and 8192",
            "write such as 1024; 0 pads nothing",
        );
    }
    StreamShape {
        batch: Duration::from_millis(raw.batch_ms.min(LONGEST_BATCH)),
        pad_to: usize::try_from(raw.pad_to_bytes.min(LARGEST_PAD)).unwrap_or_default(),
    }
}
