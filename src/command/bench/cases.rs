//! What is asked of both proxies.

use std::time::Duration;

/// Rounds of each case; the median counts.
pub(super) const ROUNDS: usize = 5;

#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) prompt_bytes: usize,
    /// Zero for an answer in one piece.
    pub(super) chunks: u64,
    pub(super) gap: Duration,
    /// In a round.
    pub(super) requests: u64,
    pub(super) connections: usize,
    /// Under valgrind, which takes fifty times as long.
    pub(super) counted: u64,
}

impl Case {
    /// Its name as a file's.
    pub(super) fn slug(&self) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.name.chars().map(letter).collect()
    }
}

pub(super) const UNARY: [Case; 2] = [
    Case {
        name: "unary, 1 KB",
        prompt_bytes: 1_000,
        chunks: 0,
        gap: Duration::ZERO,
        requests: 4_000,
        connections: 8,
        counted: 800,
    },
    Case {
        name: "unary, 32 KB",
        prompt_bytes: 32_000,
        chunks: 0,
        gap: Duration::ZERO,
        requests: 2_000,
        connections: 8,
        counted: 800,
    },
];

const fn stream(name: &'static str, chunks: u64, gap_ms: u64) -> Case {
    let slow = gap_ms > 0;
    Case {
        name,
        prompt_bytes: 1_000,
        chunks,
        gap: Duration::from_millis(gap_ms),
        requests: if slow { 128 } else { 600 },
        connections: if slow { 32 } else { 8 },
        counted: if slow { 64 } else { 200 },
    }
}

/// A chunk's cost is the difference between a long stream and a short one.
pub(super) const STREAMS: [(&str, Case, Case); 2] = [
    (
        "  a chunk of it",
        stream("stream, 20 chunks back to back", 20, 0),
        stream("stream, 120 chunks back to back", 120, 0),
    ),
    (
        "  a chunk of it",
        stream("stream, 20 chunks 5 ms apart", 20, 5),
        stream("stream, 120 chunks 5 ms apart", 120, 5),
    ),
];

/// Streams that begin and then say nothing for longer than any part of the bench takes.
pub(super) const OPEN: Case = Case {
    name: "open streams",
    prompt_bytes: 1_000,
    chunks: 2,
    gap: Duration::from_secs(600),
    requests: 0,
    connections: 0,
    counted: 0,
};
