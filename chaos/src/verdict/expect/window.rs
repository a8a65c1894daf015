//! The requests and exchanges that count for one expectation.

use super::super::index::{Index, Seen};
use crate::conduct::Done;
use crate::history::{Ended, Told};
use crate::scenario::{Expectation, Measure, Of, PhaseName};

pub(super) struct Window<'a> {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) requests: Vec<&'a Told>,
    /// The same of the control phase, to compare with.
    pub(super) control: Vec<&'a Told>,
    pub(super) control_span: (u64, u64),
    pub(super) index: &'a Index<'a>,
    /// The workload it is about, by its place; `None` is all of them.
    workload: Option<usize>,
    during: Option<usize>,
}

impl<'a> Window<'a> {
    pub(super) fn of(wanted: &Expectation, index: &'a Index<'a>) -> Self {
        let mut window = Self {
            from: 0,
            to: 0,
            requests: Vec::new(),
            control: Vec::new(),
            control_span: index.phase(PhaseName::Control),
            index,
            workload: workload(wanted, index),
            during: wanted.during,
        };
        let (from, to) = match window.fault() {
            Some(done) => (done.from_ms, done.to_ms),
            None => index.phase(wanted.phase),
        };
        window.from = from.saturating_add(wanted.after.millis()).min(to);
        window.to = to;
        let leavers = wanted.what == Measure::P99Cancel;
        let counts = |span: (u64, u64)| -> Vec<&'a Told> {
            window
                .told()
                .filter(|told| (span.0..span.1).contains(&told.due_ms))
                .filter(|told| told.ended != Ended::Left || leavers)
                .collect()
        };
        let requests = counts((window.from, window.to));
        let control = counts(window.control_span);
        Self {
            requests,
            control,
            ..window
        }
    }

    /// What others took of the machine meanwhile, where they took the gateway's time.
    pub(super) fn crowded(&self) -> Option<f64> {
        let machines = self.index.evidence.scrapes.iter();
        let mut machines = machines
            .filter(|one| (self.from..self.to).contains(&one.at_ms))
            .filter_map(|one| one.machine);
        let first = machines.next()?;
        machines.next_back()?.crowded_since(first)
    }

    /// The fault it is about, when it is about one.
    fn fault(&self) -> Option<&'a Done> {
        let place = self.during?.checked_sub(1)?;
        self.index.evidence.faults.get(place)
    }

    /// The faults it is about: the one it names, else all of them.
    pub(super) fn faults(&self) -> impl Iterator<Item = &'a Done> {
        let only = self.fault();
        let all = self.index.evidence.faults.iter();
        all.filter(move |done| only.is_none_or(|only| std::ptr::eq(only, *done)))
    }

    /// Every request of the workload it is about.
    pub(super) fn told(&self) -> impl Iterator<Item = &'a Told> {
        let workload = self.workload;
        let history = self.index.evidence.history.iter();
        history.filter(move |told| workload.is_none_or(|place| told.workload == place))
    }

    pub(super) fn seen(&self, span: (u64, u64)) -> impl Iterator<Item = &'a Seen<'a>> {
        let seen = self.index.seen.iter();
        seen.filter(move |seen| (span.0..span.1).contains(&seen.at_ms))
    }

    /// Requests that a mock (or all of them, without a name) received.
    pub(super) fn received(&self, span: (u64, u64), mock: Option<&str>) -> usize {
        let seen = self.seen(span);
        seen.filter(|seen| mock.is_none_or(|mock| seen.mock == mock))
            .count()
    }
}

fn workload(wanted: &Expectation, index: &Index<'_>) -> Option<usize> {
    match wanted.what.of() {
        Of::Workload => {
            let of = wanted.of.as_ref()?;
            let mut workloads = index.scenario.workloads.iter();
            workloads.position(|workload| workload.name == *of)
        }
        Of::Mock | Of::ThisMock | Of::Nothing => None,
    }
}

pub(super) fn seconds(span: (u64, u64)) -> f64 {
    (span.1.saturating_sub(span.0) as f64 / 1_000.0).max(1e-9)
}
