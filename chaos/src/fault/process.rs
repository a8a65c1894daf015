//! Section 6: the gateway's own process, as far as what it stands on can be made to give way.

use super::{Reach, Row};

pub(super) const ROWS: &[Row] = &[
    Row {
        number: "X10",
        what: "slow disk",
        reach: Reach::By(&["disk_slow"]),
    },
    Row {
        number: "X11",
        what: "disk full, read-only, input or output error",
        reach: Reach::By(&["disk_full", "disk_readonly", "disk_error"]),
    },
    Row {
        number: "X15",
        what: "the wall clock jumps",
        reach: Reach::By(&["clock_forward", "clock_back"]),
    },
];
