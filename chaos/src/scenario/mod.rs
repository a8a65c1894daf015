//! What is to happen in a run and what must then be true, as TOML people write.
//!
//! ```toml
//! version = 1
//! name = "one_down"
//! about = "one of three providers answers 500: no client notices"
//! rows = ["P10"]
//!
//! [[workload]]
//! name = "streams"
//! per_second = 50
//! stream = true
//!
//! [[fault]]
//! fault = "P10"
//! on = ["alpha"]
//!
//! [[expect]]
//! what = "errors"
//! at_most = 0
//! ```
//!
//! Unknown keys are refused with their place. The phases are control, faults, heal and quiesce; a fault's
//! `at` counts from the beginning of the faults phase.

mod chain;
mod mistakes;
mod packs;
mod payers;
mod span;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::front::Speaks;
use crate::workload::Abuse;

pub use chain::your_chain;
pub(crate) use mistakes::terms;
pub use mistakes::{BadScenario, check, parse, parse_for};
pub use packs::{Pack, find, packs};
pub use payers::{Cap, Client, NOBODYS_TENANT, PerToken, Price, Receiver, Tenant, nanos};

pub use span::Span;

/// The mocks of a scenario that names none.
pub const MOCKS: [&str; 3] = ["alpha", "beta", "gamma"];

/// The version of the form; a later one will be refused by name.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub version: u32,
    /// Letters, digits and underscores: how it is asked for.
    pub name: String,
    /// One sentence.
    pub about: String,
    /// Rows of the fault catalogue it proves.
    #[serde(default)]
    pub rows: Vec<String>,
    #[serde(default)]
    pub phases: Phases,
    #[serde(default)]
    pub gateway: Gateway,
    /// The providers; three with different weather when none is named.
    #[serde(default, rename = "mock")]
    pub mocks: Vec<Mock>,
    /// Clients beside the harness's own, each with a key of its own.
    #[serde(default, rename = "client")]
    pub clients: Vec<Client>,
    #[serde(default, rename = "tenant")]
    pub tenants: Vec<Tenant>,
    /// Whom the gateway tells that a budget runs low, with webhooks.
    #[serde(default, rename = "receiver")]
    pub receivers: Vec<Receiver>,
    #[serde(rename = "workload")]
    pub workloads: Vec<Workload>,
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    #[serde(default, rename = "expect")]
    pub expectations: Vec<Expectation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phases {
    pub control: Span,
    pub faults: Span,
    pub heal: Span,
    /// The most that is waited for what is still under way.
    pub quiesce: Span,
}

impl Default for Phases {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            control: seconds(5),
            faults: seconds(10),
            heal: seconds(5),
            quiesce: seconds(10),
        }
    }
}

/// The gateway under test, when the harness starts it itself.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Configuration laid over the harness's own, in the gateway's own TOML; ignored with `--config`.
    pub config: toml::Table,
}

/// One provider. `first_content_p99` makes a long tail; without it answers differ by a fifth.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mock {
    pub name: String,
    #[serde(default = "openai")]
    pub dialect: String,
    pub first_content: Option<Span>,
    pub first_content_p99: Option<Span>,
    pub gap: Option<Span>,
    pub tokens: Option<u64>,
    /// Requests a minute and key, told in headers and enforced.
    pub requests_per_minute: Option<u64>,
    /// What stands before it: `tls`, `h2` (with TLS), or `plain`; nothing when nothing is said.
    pub front: Option<Speaks>,
    /// The gateway knows it by a name, and asks a name server of the run.
    #[serde(default)]
    pub named: bool,
    /// What it bills; the gateway is told it in its registry.
    pub price: Option<Price>,
    /// What was paid for in advance, in dollars, as a decimal; the gateway is told it, the mock answers all the same.
    pub credit: Option<String>,
    /// Where it processes what is sent; the gateway is told so.
    pub region: Option<String>,
}

fn openai() -> String {
    "openai".to_owned()
}

impl Mock {
    /// A mock with nothing said about its weather.
    #[must_use]
    pub fn plain(name: &str, dialect: &str) -> Self {
        Self {
            name: name.to_owned(),
            dialect: dialect.to_owned(),
            first_content: None,
            first_content_p99: None,
            gap: None,
            tokens: None,
            requests_per_minute: None,
            front: None,
            named: false,
            price: None,
            credit: None,
            region: None,
        }
    }
}

/// One stream of requests. Either `per_second` (open loop: they arrive whether or not others are answered) or
/// `at_once` (closed loop).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub name: String,
    /// One of the scenario's clients; the harness's own when nobody is named.
    pub client: Option<String>,
    /// Each answer is kept by the gateway (`/v1/responses`), read again by its owner, and asked for by this client,
    /// to whom it must not be there.
    pub spied_on_by: Option<String>,
    pub per_second: Option<f64>,
    pub at_once: Option<u32>,
    /// The most requests; then it ends before its time.
    pub requests: Option<u64>,
    #[serde(default)]
    pub stream: bool,
    /// A model name clients use; the first the gateway has, when none is given.
    pub model: Option<String>,
    #[serde(default)]
    pub tokens: Option<u64>,
    /// Length of the prompt, drawn between these.
    #[serde(default = "small_prompt")]
    pub prompt_bytes: [usize; 2],
    /// Told to the gateway as the client's own limit.
    pub deadline: Option<Span>,
    /// The client gives up after this long without a byte.
    #[serde(default = "patience")]
    pub patience: Span,
    /// This share of clients leaves, each at a moment drawn from `leave_between`.
    #[serde(default)]
    pub leave_share: f64,
    #[serde(default = "leave_between")]
    pub leave_between: [Span; 2],
    /// A slow reader takes at most this many bytes a second.
    pub bytes_per_second: Option<u32>,
    /// `interactive`, `default` or `batch`.
    pub lane: Option<String>,
    /// Further request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Each request has a key (`idempotency-key`) and is sent several times under it.
    pub repeats: Option<Repeats>,
    /// Not a request but an attack; how it ends is the attacker's business.
    pub abuse: Option<Abuse>,
    /// `control`, `faults`, `heal`; all three when nothing is said.
    #[serde(default)]
    pub phases: Vec<PhaseName>,
}

impl Workload {
    /// One with nothing said but its name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            client: None,
            spied_on_by: None,
            per_second: None,
            at_once: None,
            requests: None,
            stream: false,
            model: None,
            tokens: None,
            prompt_bytes: small_prompt(),
            deadline: None,
            patience: patience(),
            leave_share: 0.0,
            leave_between: leave_between(),
            bytes_per_second: None,
            lane: None,
            headers: BTreeMap::new(),
            repeats: None,
            abuse: None,
            phases: Vec::new(),
        }
    }
}

/// How often a request is sent under one key, each time on a connection of its own. Another body is sent under it as
/// well: when the first of them is answered, and after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repeats {
    /// Together; the workload's `leave_share` of them leave.
    pub at_once: u32,
    /// One after the other when those have ended; they stay.
    pub later: u32,
    /// Before each of these.
    pub pause: Span,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            at_once: 2,
            later: 1,
            pause: Span(Duration::from_millis(200)),
        }
    }
}

fn small_prompt() -> [usize; 2] {
    [100, 1_000]
}

fn patience() -> Span {
    Span(Duration::from_secs(60))
}

fn leave_between() -> [Span; 2] {
    [
        Span(Duration::from_millis(5)),
        Span(Duration::from_millis(500)),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseName {
    Control,
    Faults,
    Heal,
    Quiesce,
}

impl PhaseName {
    pub const ALL: [Self; 4] = [Self::Control, Self::Faults, Self::Heal, Self::Quiesce];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Faults => "faults",
            Self::Heal => "heal",
            Self::Quiesce => "quiesce",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A row of the catalogue, with a form if it has several (`P04/negative`), or a primitive.
    pub fault: String,
    /// Names of mocks; `*` is all of them. Faults of the gateway's own process need none.
    #[serde(default)]
    pub on: Vec<String>,
    #[serde(default)]
    pub at: Span,
    /// To the end of the faults phase when nothing is said.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
    /// Of the requests that meet it.
    #[serde(default = "all")]
    pub share: f64,
    #[serde(default)]
    pub shape: Shape,
    /// `flap`: half of it on, half of it off. `random`: on once in each, for a fiftieth to an eighth of it.
    pub period: Option<Span>,
    /// What the primitives take: a status, a number of chunks or bytes, a factor.
    pub number: Option<u64>,
    /// What the primitives take: a time, or after what time it happens again.
    pub time: Option<Span>,
    /// `panic`, `kill_actor`: the actor's path in the tree.
    pub actor: Option<String>,
}

fn all() -> f64 {
    1.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    #[default]
    Step,
    /// The share grows evenly from nothing.
    Ramp,
    /// On and off, half a period each.
    Flap,
    /// On once in each period, at a moment and for a time drawn from the seed, another for each mock.
    Random,
}

impl Shape {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Ramp => "ramp",
            Self::Flap => "flap",
            Self::Random => "random",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    pub what: Measure,
    /// The phase whose requests count.
    #[serde(default = "in_faults", rename = "in")]
    pub phase: PhaseName,
    /// A workload, or for `share`, `load`, `detected` and `recovered` a mock.
    pub of: Option<String>,
    /// Only while the fault of this number, counted from 1, is on; instead of a phase.
    pub during: Option<usize>,
    /// Leaves out so much of the beginning of the phase: what takes time to be noticed.
    #[serde(default)]
    pub after: Span,
    pub at_most: Option<f64>,
    pub at_least: Option<f64>,
    /// Fewer samples are no evidence.
    #[serde(default = "enough")]
    pub samples: u64,
}

fn in_faults() -> PhaseName {
    PhaseName::Faults
}

fn enough() -> u64 {
    20
}

/// What can be expected of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of requests that failed, clients that left not counted.
    Errors,
    /// Requests that failed.
    ErrorCount,
    /// Requests that were not turned away for a limit or a budget (429, 402), and whose clients stayed to see it.
    Admitted,
    /// Milliseconds to the first content.
    P50FirstContent,
    P99FirstContent,
    P999FirstContent,
    /// The 99th percentile as a multiple of the control phase's.
    P99Times,
    /// How much the 99th percentile lies above the control phase's, in milliseconds.
    P99Above,
    /// Milliseconds until a failed request was told so.
    P50Error,
    P99Error,
    /// Of the requests that failed, those that were told so later than 100 ms after they came: they were let wait in
    /// vain.
    LateErrors,
    /// Requests at the mocks for each of the clients'.
    Attempts,
    /// Of all requests at the mocks, those at `of`.
    Share,
    /// Requests at the mocks (or at `of`) as a share of the control phase's rate.
    Load,
    /// Milliseconds from the beginning of the fault on `of` until the traffic left it for as long as the fault lasts.
    Detected,
    /// Milliseconds from the end of the faults until the rate of successes was the control's again, or from the end
    /// of those on `of` until it had half of its requests again.
    Recovered,
    /// Milliseconds from each kill of the process, and from the end of all other faults, to the first success; the
    /// worst of them.
    FirstSuccess,
    /// Successes a second as a share of the control phase's.
    Goodput,
    /// Milliseconds from a client's leaving to the end of its provider's work.
    P99Cancel,
    /// Resident memory in the last fifth of the phase as a multiple of that in its second fifth.
    Growth,
}

/// What `of` names in an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A mock, if it says anything.
    Mock,
    /// A mock, and it must say which.
    ThisMock,
    /// A workload, if it says anything.
    Workload,
    Nothing,
}

impl Of {
    /// What another name is told to be.
    #[must_use]
    pub fn refusal(self) -> &'static str {
        match self {
            Self::Mock | Self::ThisMock => "no mock",
            Self::Workload => "no workload",
            Self::Nothing => "of no meaning here: the measure is about the whole gateway",
        }
    }
}

impl Measure {
    /// What `of` names for this measure.
    #[must_use]
    pub fn of(self) -> Of {
        match self {
            Self::Share | Self::Detected => Of::ThisMock,
            Self::Load | Self::Recovered => Of::Mock,
            Self::Growth => Of::Nothing,
            Self::Errors
            | Self::ErrorCount
            | Self::Admitted
            | Self::P50FirstContent
            | Self::P99FirstContent
            | Self::P999FirstContent
            | Self::P99Times
            | Self::P99Above
            | Self::P50Error
            | Self::P99Error
            | Self::LateErrors
            | Self::Attempts
            | Self::FirstSuccess
            | Self::Goodput
            | Self::P99Cancel => Of::Workload,
        }
    }

    /// Whether it is a moment that must come: one that never came is a failure.
    #[must_use]
    pub fn is_awaited(self) -> bool {
        matches!(self, Self::Detected | Self::Recovered | Self::FirstSuccess)
    }

    /// Whether a machine that is busy with something else can make it look worse.
    #[must_use]
    pub fn is_time(self) -> bool {
        let counts = matches!(
            self,
            Self::Errors | Self::ErrorCount | Self::Admitted | Self::Attempts | Self::Share
        );
        !counts && !matches!(self, Self::Load | Self::Growth)
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::ErrorCount => "error_count",
            Self::Admitted => "admitted",
            Self::P50FirstContent => "p50_first_content",
            Self::P99FirstContent => "p99_first_content",
            Self::P999FirstContent => "p999_first_content",
            Self::P99Times => "p99_times",
            Self::P99Above => "p99_above",
            Self::P50Error => "p50_error",
            Self::P99Error => "p99_error",
            Self::LateErrors => "late_errors",
            Self::Attempts => "attempts",
            Self::Share => "share",
            Self::Load => "load",
            Self::Detected => "detected",
            Self::Recovered => "recovered",
            Self::FirstSuccess => "first_success",
            Self::Goodput => "goodput",
            Self::P99Cancel => "p99_cancel",
            Self::Growth => "growth",
        }
    }

    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::ErrorCount | Self::Admitted => "count",
            Self::Errors
            | Self::LateErrors
            | Self::Attempts
            | Self::Share
            | Self::Load
            | Self::Goodput
            | Self::Growth
            | Self::P99Times => "ratio",
            Self::P50FirstContent
            | Self::P99FirstContent
            | Self::P999FirstContent
            | Self::P99Above
            | Self::P50Error
            | Self::P99Error
            | Self::Detected
            | Self::Recovered
            | Self::FirstSuccess
            | Self::P99Cancel => "ms",
        }
    }
}
