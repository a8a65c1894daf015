//! Section 4: streaming faults. Every behaviour here answers with an event stream, asked for or not.

mod after;
mod before;
mod disorder;
mod grammar;

use std::time::Duration;

use after::{long, s11, s12_forms, s13, s14, s17, s19, said};
pub use after::{s08, s09, s10, s12, s18, s21};
use before::{s01, s03, s04, stream};
pub use before::{s02, s05, s06};
pub(crate) use disorder::disorder;
use grammar::s16;

use super::{Row, answer, variant};
use crate::mock::{Ending, edit};

pub(super) const ROWS: &[Row] = &[
    answer("S01", "error as the first event", s01),
    answer("S02", "role, then silence", |_| {
        vec![variant("role", s02())]
    }),
    answer("S03", "empty end", s03),
    answer("S04", "first chunk broken", s04),
    answer("S05", "a racer dies before its content", |dialect| {
        vec![variant("100ms", s05(dialect, Duration::from_millis(100)))]
    }),
    answer(
        "S06",
        "both racers answer (one mock early, one 5 ms later)",
        |_| {
            vec![
                variant("first", s06(Duration::from_millis(100))),
                variant("second", s06(Duration::from_millis(105))),
            ]
        },
    ),
    answer("S07", "all slow", |_| {
        vec![variant("2s", s06(Duration::from_secs(2)))]
    }),
    answer("S08", "stall", |_| vec![variant("after_20", s08(20))]),
    answer("S09", "cut hard", |_| vec![variant("after_20", s09(20))]),
    answer("S10", "cut clean", |_| {
        vec![
            variant("after_20", s10(20)),
            variant(
                "fin_without_last_chunk",
                long().edit(edit::cut_after(20, Ending::Fin)),
            ),
        ]
    }),
    answer("S11", "error in the middle", s11),
    answer("S12", "bad chunk in the middle", s12_forms),
    answer("S13", "duplicate, disorder", s13),
    answer("S14", "variants of the end", s14),
    answer("S15", "lingering after the terminal event", |_| {
        vec![
            variant(
                "60s",
                stream().edit(edit::ending(Ending::Linger(Duration::from_secs(60)))),
            ),
            variant("hold", stream().edit(edit::ending(Ending::Hold))),
        ]
    }),
    answer("S16", "grammar and events without content", s16),
    answer("S17", "tool call cut", s17),
    answer("S18", "firehose, runaway", |dialect| {
        vec![
            variant("firehose", s18(dialect, 10_000)),
            variant("runaway", s18(dialect, 200)),
        ]
    }),
    answer("S19", "several choices, one cut", s19),
    answer("S20", "redacted name split over two chunks", |_| {
        vec![variant(
            "split",
            said(&["Dear ", "<PER", "SON_1>", ", hello"]),
        )]
    }),
    answer("S21", "output rule fires at the fortieth word", |_| {
        vec![variant("word_40", s21("forbidden"))]
    }),
];
