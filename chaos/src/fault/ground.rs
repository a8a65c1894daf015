//! Faults of what the gateway stands on: the clock of its process and the disk under its journal.

use std::time::Duration;

use super::made::{Key, Made, Primitive, Terms, ToGateway};

/// What has to be prepared before the gateway starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    Disk,
    Clock,
}

/// What is wrong with the journal's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    Full,
    ReadOnly,
    /// Each sync takes so much longer.
    Slow(Duration),
    /// Each sync fails.
    Error,
}

pub(super) const PRIMITIVES: &[Primitive] = &[
    Primitive {
        name: "clock_forward",
        what: "the wall clock of the gateway's process is set forward by `time` (1h), and back at the end; \
               needs libfaketime, without which the run says unknown: no system lets an ordinary user do it otherwise",
        keys: &[Key::Step],
        make: |terms| clock(terms, 1),
    },
    Primitive {
        name: "clock_back",
        what: "as clock_forward, by `time` (1h) into the past",
        keys: &[Key::Step],
        make: |terms| clock(terms, -1),
    },
    Primitive {
        name: "disk_full",
        what: "no byte fits on the journal's disk any more; needs a system that lets an ordinary user mount a disk \
               in namespaces of its own, or root, else the run says unknown",
        keys: &[],
        make: |_| disk(DiskFault::Full),
    },
    Primitive {
        name: "disk_readonly",
        what: "the journal's disk fills up and becomes read-only; needs what disk_full needs",
        keys: &[],
        make: |_| disk(DiskFault::ReadOnly),
    },
    Primitive {
        name: "disk_slow",
        what: "each sync of the journal takes `time` (2s) longer; needs strace and the right to trace the gateway, \
               else the run says unknown, and journal.mode = \"durable\", for \"fast\" does not sync",
        keys: &[Key::Time],
        make: |terms| {
            disk(DiskFault::Slow(
                terms.time.unwrap_or(Duration::from_secs(2)),
            ))
        },
    },
    Primitive {
        name: "disk_error",
        what: "each sync of the journal fails with EIO; needs what disk_slow needs",
        keys: &[],
        make: |_| disk(DiskFault::Error),
    },
];

fn clock(terms: &Terms, direction: i64) -> Result<Made, String> {
    let step = terms.time.unwrap_or(Duration::from_secs(3_600));
    let seconds = i64::try_from(step.as_secs()).unwrap_or(i64::MAX);
    if seconds < 10 {
        return Err(
            "time is at least 10 seconds: less cannot be told from a clock's own error".to_owned(),
        );
    }
    Ok(Made::Gateway(ToGateway::Clock {
        seconds: seconds.saturating_mul(direction),
    }))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one form for all makers of primitives"
)]
fn disk(fault: DiskFault) -> Result<Made, String> {
    Ok(Made::Gateway(ToGateway::Disk(fault)))
}

impl ToGateway {
    /// What has to be prepared for it.
    #[must_use]
    pub fn ground(&self) -> Option<Ground> {
        match self {
            Self::Disk(DiskFault::Full | DiskFault::ReadOnly) => Some(Ground::Disk),
            Self::Clock { .. } => Some(Ground::Clock),
            Self::Disk(DiskFault::Slow(_) | DiskFault::Error)
            | Self::Kill { .. }
            | Self::Pause
            | Self::Actor { .. }
            | Self::Reload { .. } => None,
        }
    }
}
