//! Moments tied to faults: when traffic left a mock, when it was back, when the first request went well again.

use super::Measured;
use super::window::{Window, seconds};
use crate::conduct::Done;
use crate::history::{Ended, Told};
use crate::scenario::PhaseName;

/// Long enough for a rate, short enough to tell moments apart.
const STEP_MS: u64 = 250;
const RATE_MS: u64 = 1_000;

/// Below this many requests a second one quiet second happens by itself.
const LEAST_RATE: f64 = 5.0;

/// When a fault was on at a mock, one stretch after the other; its whole span where nothing else was noted.
fn stretches<'a>(done: &'a Done, mock: Option<&'a str>) -> impl Iterator<Item = (u64, u64)> + 'a {
    let whole = done.acts.is_empty().then_some((done.from_ms, done.to_ms));
    let acts = done
        .acts
        .iter()
        .filter(move |act| mock.is_none() || act.on.is_none() || act.on.as_deref() == mock);
    acts.map(|act| (act.from_ms, act.to_ms)).chain(whole)
}

/// The stretches of the faults that are on a mock.
fn on_mock(window: &Window<'_>, mock: &str) -> Vec<(u64, u64)> {
    window
        .faults()
        .filter(|done| done.on.iter().any(|on| on == mock))
        .flat_map(|done| stretches(done, Some(mock)))
        .collect()
}

/// Traffic has left a mock once it gets less than a fifth of its usual rate and never more until the fault is over.
/// The worst of all stretches counts.
pub(super) fn detected(window: &Window<'_>, of: Option<&str>) -> Measured {
    let mock = of.unwrap_or_default();
    let usual = window.received(window.control_span, of);
    let rate = usual as f64 / seconds(window.control_span);
    let stretches = on_mock(window, mock);
    let long = |(from, to): &(u64, u64)| to.saturating_sub(*from) > RATE_MS;
    if stretches.is_empty() {
        return Measured::unsure(format!("no fault is on {mock}"));
    }
    if rate < LEAST_RATE {
        return Measured::unsure(format!(
            "{mock} got {rate:.1} requests a second in the control phase: too few to see them go"
        ));
    }
    if !stretches.iter().any(long) {
        return Measured::unsure("the fault lasts no longer than a rate takes to be measured");
    }
    let quiet_from = |(from, to): (u64, u64)| {
        let is_loud = |moment: u64| {
            let span = (moment, moment.saturating_add(RATE_MS));
            window.received(span, of) as f64 >= rate * 0.2
        };
        let moments = (from..=to.saturating_sub(RATE_MS)).step_by(STEP_MS as usize);
        let last = moments.clone().last()?;
        match moments.clone().filter(|moment| is_loud(*moment)).last() {
            None => Some(0),
            Some(loud) if loud == last => None,
            Some(loud) => Some(loud.saturating_add(STEP_MS).saturating_sub(from)),
        }
    };
    Measured {
        value: worst(stretches.into_iter().filter(long).map(quiet_from)),
        samples: usual as u64,
        control: Some(usual as u64),
        unsure: None,
    }
}

/// The greatest; `None` when one of them never came, or there is none.
fn worst(all: impl Iterator<Item = Option<u64>>) -> Option<f64> {
    let all: Option<Vec<u64>> = all.collect();
    all?.into_iter().max().map(|millis| millis as f64)
}

/// A mock is back once it gets half of its usual rate, the whole once nine in ten succeed as before.
pub(super) fn recovered(window: &Window<'_>, of: Option<&str>) -> Measured {
    let rate = |span: (u64, u64)| match of {
        Some(_) => window.received(span, of) as f64 / seconds(span),
        None => {
            let good = window.told().filter(|told| {
                (span.0..span.1).contains(&told.due_ms) && told.ended == Ended::Whole
            });
            good.count() as f64 / seconds(span)
        }
    };
    let ends = match of {
        Some(mock) => on_mock(window, mock),
        None => window
            .faults()
            .flat_map(|done| stretches(done, None))
            .collect(),
    };
    let Some(begins) = ends.into_iter().map(|(_, to)| to).max() else {
        return Measured::unsure("no fault that it could recover from");
    };
    let usual = rate(window.control_span);
    let samples = (usual * seconds(window.control_span)) as u64;
    let wanted = usual * if of.is_some() { 0.5 } else { 0.9 };
    let (_, ends) = window.index.phase(PhaseName::Heal);
    let mut moments = (begins..=ends.saturating_sub(RATE_MS)).step_by(STEP_MS as usize);
    let back = moments.find(|at| rate((*at, at.saturating_add(RATE_MS))) >= wanted);
    Measured {
        value: back.map(|back| back.saturating_sub(begins) as f64),
        samples,
        control: Some(samples),
        unsure: None,
    }
}

/// From each kill of the process, and from the end of all other faults, to the next answer that begins: the worst
/// of them counts.
pub(super) fn first_success(window: &Window<'_>) -> Measured {
    let killed = |done: &&Done| done.name == "kill";
    let mut begins: Vec<u64> = window
        .faults()
        .filter(killed)
        .flat_map(|done| stretches(done, None).map(|(from, _)| from))
        .collect();
    let others = window.faults().filter(|done| !killed(done));
    begins.extend(
        others
            .flat_map(|done| stretches(done, None).map(|(_, to)| to))
            .max(),
    );
    if begins.is_empty() {
        return Measured::unsure("no fault that a success could follow");
    }
    let after = |begins: u64| window.told().filter(move |told| told.due_ms >= begins);
    let first = |begins: &u64| {
        let whole = after(*begins).filter(|told: &&Told| told.ended == Ended::Whole);
        let first = whole.filter_map(|told| told.first_content_ms).min();
        first.map(|first| first.saturating_sub(*begins))
    };
    let asked = begins.iter().map(|begins| after(*begins).count()).min();
    Measured {
        value: worst(begins.iter().map(first)),
        samples: asked.unwrap_or(0) as u64,
        ..Measured::default()
    }
}
