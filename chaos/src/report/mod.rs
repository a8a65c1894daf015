//! What a run found, as data: the stable form every other form is made from.
//!
//! `report.json` is a [`Report`] as serde writes it. Fields are only ever added; a change of meaning changes
//! [`SCHEMA`]. All times are milliseconds from the start of a run's control phase.
//!
//! | form | made by | for |
//! |---|---|---|
//! | a few lines | [`summary`] | whoever ran it |
//! | one line, again and again | [`progress_line`] | whoever waits for it |
//! | `junit.xml` | [`junit()`] | the build |
//! | `report.html` | [`html()`] | whoever asks why |
//! | all files | [`write()`] | the archive |

mod html;
mod junit;
mod origin;
mod plain;
mod progress;
mod said;
mod tally;
mod terminal;
mod write;

#[cfg(test)]
mod fixture;

pub use html::html;
pub use junit::junit;
pub use origin::{Origin, OtherGateway, command_of};
pub use progress::{ProgressState, progress_line};
pub use terminal::{of_run, summary, total};
pub use write::{Written, check_folder, write};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name and version of the form of `report.json`.
pub const SCHEMA: &str = "switchyard-chaos/1";

/// What is known of a claim. The worst of several is theirs: a broken one dominates, and not knowing is no pass.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    Pass,
    Unknown,
    Fail,
}

impl Verdict {
    /// The verdict over several; nothing looked at is nothing known.
    pub fn of(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or(Self::Unknown)
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }

    /// What a process ends with: 0, 1 or 3 (2 is a scenario that cannot be run).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Unknown => 3,
        }
    }
}

/// Everything one command ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    /// Of the harness.
    pub version: String,
    /// Seconds since 1970.
    pub begun_at: u64,
    pub cores: u32,
    pub verdict: Verdict,
    pub runs: Vec<Run>,
}

/// One scenario against one gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Run {
    pub scenario: String,
    /// One sentence for people.
    pub about: String,
    /// Rows of the fault catalogue it proves.
    pub rows: Vec<String>,
    pub seed: u64,
    /// `switchyard` or the name given to `compare`.
    pub gateway: String,
    /// The command that runs exactly this again.
    pub replay: String,
    /// What it was made from; by this it is replayed.
    #[serde(default)]
    pub origin: Origin,
    pub verdict: Verdict,
    /// Why nothing can be said, when nothing can: the gateway did not start, the control was noisy.
    pub notes: Vec<String>,
    pub phases: Vec<Phase>,
    pub faults: Vec<FaultLane>,
    pub invariants: Vec<Finding>,
    pub expectations: Vec<Finding>,
    pub totals: Totals,
    pub series: Series,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Phase {
    /// `control`, `faults`, `heal`, `quiesce`.
    pub name: String,
    pub from_ms: u64,
    pub to_ms: u64,
}

/// One fault on one timeline.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FaultLane {
    /// A catalogue number with its variant (`P04/negative`) or a primitive (`ttft`).
    pub fault: String,
    pub what: String,
    /// The mocks it was made at, or `gateway`.
    pub on: Vec<String>,
    pub from_ms: u64,
    pub to_ms: u64,
    /// `step`, `ramp`, `flap` or `random`.
    pub shape: String,
    /// When a random one was on somewhere, from and to; the others are on as their shape says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stretches: Vec<(u64, u64)>,
    /// How often the wire log shows it; 0 makes the run unknown.
    pub seen: u64,
}

/// One claim, judged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Finding {
    /// A short name: `no_splice`, `errors`, `p99_first_content`.
    pub name: String,
    /// The claim as a sentence: "no client error while alpha is down".
    pub claim: String,
    pub verdict: Verdict,
    /// `None` when there is nothing to measure but yes or no.
    pub value: Option<f64>,
    pub limit: Option<f64>,
    /// How far from the limit, as a share of it; negative is beyond it.
    pub margin: Option<f64>,
    /// `ms`, `ratio`, `count`, `bytes`, `usd`.
    pub unit: String,
    pub samples: u64,
    /// Why it is what it is, when that is not plain: "only 12 samples, 50 wanted".
    pub why: String,
    /// The smallest stretch of time that holds every case, when it failed.
    pub window: Option<(u64, u64)>,
    /// At most three requests, told across the records.
    pub cases: Vec<Case>,
}

/// One request as the four records tell it; an empty list is a record that says nothing of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Case {
    pub request: String,
    pub client: Vec<Line>,
    pub wire: Vec<Line>,
    pub journal: Vec<Line>,
    pub metrics: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Line {
    pub at_ms: u64,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    pub requests: u64,
    pub streams: u64,
    pub ok: u64,
    /// By error code or kind of break, as the client saw it.
    pub failed: BTreeMap<String, u64>,
    /// Requests the mocks received.
    pub attempts: u64,
    pub took_ms: u64,
}

/// What is drawn. Every list has one value for each step of `step_ms`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Series {
    pub step_ms: u64,
    pub ok: Vec<u32>,
    pub failed: Vec<u32>,
    /// Milliseconds to the first content; `None` in a step without a sample.
    pub first_content_p50: Vec<Option<f32>>,
    pub first_content_p99: Vec<Option<f32>>,
    /// Median and 99th percentile of the control phase.
    pub control_p50: Option<f32>,
    pub control_p99: Option<f32>,
    /// Requests that each mock received.
    pub attempts: BTreeMap<String, Vec<u32>>,
    /// `closed`, `half_open`, `open`, or an empty word while unknown.
    pub breakers: BTreeMap<String, Vec<String>>,
    /// Bytes; `None` without a process of our own.
    pub memory: Vec<Option<u64>>,
    pub descriptors: Vec<Option<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_claim_dominates_and_not_knowing_is_no_pass() {
        use Verdict::{Fail, Pass, Unknown};
        assert_eq!(Verdict::of([Pass, Pass]), Pass);
        assert_eq!(Verdict::of([Pass, Unknown]), Unknown);
        assert_eq!(Verdict::of([Unknown, Fail, Pass]), Fail);
        assert_eq!(Verdict::of([]), Unknown);
        assert_eq!([Pass, Fail, Unknown].map(Verdict::exit_code), [0, 1, 3]);
    }
}
