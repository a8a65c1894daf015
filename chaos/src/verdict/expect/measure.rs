//! The measures of a window.

use super::Measured;
use super::moments::{detected, first_success, recovered};
use super::window::{Window, seconds};
use crate::history::{Ended, Told};
use crate::scenario::{Expectation, Measure};

pub(super) fn measure(wanted: &Expectation, window: &Window<'_>) -> Measured {
    let requests = &window.requests;
    let count = requests.len() as u64;
    let failures = requests.iter().filter(|told| told.ended.is_failure());
    let failed = failures.count() as f64;
    let of = wanted.of.as_deref();
    let told = |value: f64| Measured {
        value: (count > 0).then_some(value),
        samples: count,
        ..Measured::default()
    };
    match wanted.what {
        Measure::Errors => told(failed / (count as f64).max(1.0)),
        Measure::ErrorCount => told(failed),
        Measure::Admitted => told(requests.iter().filter(|told| is_admitted(told)).count() as f64),
        Measure::P50FirstContent => of_samples(&waits(requests), 0.50),
        Measure::P99FirstContent => of_samples(&waits(requests), 0.99),
        Measure::P999FirstContent => of_samples(&waits(requests), 0.999),
        Measure::P99Times => compared(window, |now, before| now / before.max(1.0)),
        Measure::P99Above => compared(window, |now, before| now - before),
        Measure::P50Error => of_samples(&error_times(requests), 0.50),
        Measure::P99Error => of_samples(&error_times(requests), 0.99),
        Measure::LateErrors => late(&error_times(requests)),
        Measure::Attempts => told(attempts(window) / (count as f64).max(1.0)),
        Measure::Share => share(window, of),
        Measure::Load => load(window, of),
        Measure::Detected => detected(window, of),
        Measure::Recovered => recovered(window, of),
        Measure::FirstSuccess => first_success(window),
        Measure::Goodput => goodput(window),
        Measure::P99Cancel => of_samples(&cancel_times(window), 0.99),
        Measure::Growth => growth(window),
    }
}

/// Whether neither a limit nor a budget sent it away.
fn is_admitted(told: &Told) -> bool {
    !matches!(told.status, None | Some(402 | 429))
}

/// Milliseconds to the first content, sorted.
fn waits(requests: &[&Told]) -> Vec<f64> {
    let waited = requests.iter().filter_map(|told| told.waited());
    sorted(waited.map(|millis| millis as f64).collect())
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The smallest value that this share of the sorted values does not exceed.
pub(in crate::verdict) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn of_samples(sorted: &[f64], share: f64) -> Measured {
    Measured {
        value: quantile(sorted, share),
        samples: sorted.len() as u64,
        ..Measured::default()
    }
}

fn compared(window: &Window<'_>, compare: fn(f64, f64) -> f64) -> Measured {
    let (waits, control) = (waits(&window.requests), waits(&window.control));
    let both = quantile(&waits, 0.99).zip(quantile(&control, 0.99));
    Measured {
        value: both.map(|(now, before)| compare(now, before)),
        samples: waits.len() as u64,
        control: Some(control.len() as u64),
        unsure: None,
    }
}

fn error_times(requests: &[&Told]) -> Vec<f64> {
    let failed = requests.iter().filter(|told| told.ended.is_failure());
    sorted(
        failed
            .map(|told| told.end_ms.saturating_sub(told.due_ms) as f64)
            .collect(),
    )
}

/// Later than this is no refusal at once.
const LATE_MS: f64 = 100.0;

fn late(times: &[f64]) -> Measured {
    let late = times.iter().filter(|millis| **millis > LATE_MS).count();
    let all = times.len();
    Measured {
        value: (all > 0).then(|| late as f64 / all as f64),
        samples: all as u64,
        ..Measured::default()
    }
}

/// Exchanges that carried requests of the window.
fn attempts(window: &Window<'_>) -> f64 {
    let of_window = |told: &&&Told| window.index.exchanges(told).count();
    let sum: usize = window.requests.iter().map(|told| of_window(&told)).sum();
    sum as f64
}

fn share(window: &Window<'_>, of: Option<&str>) -> Measured {
    let span = (window.from, window.to);
    let (all, mine) = (window.received(span, None), window.received(span, of));
    Measured {
        value: (all > 0).then(|| mine as f64 / all as f64),
        samples: all as u64,
        ..Measured::default()
    }
}

fn load(window: &Window<'_>, of: Option<&str>) -> Measured {
    let rate = |span: (u64, u64)| window.received(span, of) as f64 / seconds(span);
    let before = window.received(window.control_span, of);
    let (now, usual) = (rate((window.from, window.to)), rate(window.control_span));
    Measured {
        value: (before > 0 && window.to > window.from).then(|| now / usual),
        // How few come now is what is measured: what proves it is how many came before.
        samples: before as u64,
        control: Some(before as u64),
        unsure: None,
    }
}

fn goodput(window: &Window<'_>) -> Measured {
    let good = |all: &[&Told]| all.iter().filter(|told| !told.ended.is_failure()).count();
    let now = good(&window.requests) as f64 / seconds((window.from, window.to));
    let usual = good(&window.control);
    let before = usual as f64 / seconds(window.control_span);
    Measured {
        value: (usual > 0 && !window.requests.is_empty()).then(|| now / before),
        samples: window.requests.len() as u64,
        control: Some(usual as u64),
        unsure: None,
    }
}

/// The medians of two fifths of the phase, the second and the last: what warms up at first is not growth.
fn growth(window: &Window<'_>) -> Measured {
    let life = |at_ms: u64| window.index.life(at_ms);
    if life(window.from).is_none() || life(window.from) != life(window.to) {
        return Measured::unsure("the process was started anew in between: it is another memory");
    }
    let fifth = window.to.saturating_sub(window.from) / 5;
    let memory = |place: u64| {
        let from = window.from.saturating_add(fifth.saturating_mul(place));
        let scrapes = window.index.evidence.scrapes.iter();
        let mut resident: Vec<f64> = scrapes
            .filter(|one| (from..from.saturating_add(fifth)).contains(&one.at_ms))
            .filter_map(|one| one.memory)
            .map(|bytes| bytes as f64)
            .collect();
        resident.sort_unstable_by(f64::total_cmp);
        resident
    };
    let (early, late) = (memory(1), memory(4));
    let both = quantile(&early, 0.5).zip(quantile(&late, 0.5));
    Measured {
        value: both.map(|(early, late)| late / early.max(1.0)),
        samples: early.len().min(late.len()) as u64,
        ..Measured::default()
    }
}

/// From a client's leaving to the moment its provider saw the gateway leave; work that was over counts as zero.
fn cancel_times(window: &Window<'_>) -> Vec<f64> {
    let mut took = Vec::new();
    let left = window
        .requests
        .iter()
        .filter(|told| told.ended == Ended::Left);
    for told in left {
        for seen in window.index.exchanges(told) {
            let Some(provider) = seen.provider else {
                continue;
            };
            let ended = match (seen.exchange.left, seen.exchange.finished) {
                (Some((when, _)), _) => provider.millis(when),
                (None, true) => continue,
                // It works on for nobody.
                (None, false) => u64::MAX / 4,
            };
            took.push(ended.saturating_sub(told.end_ms) as f64);
        }
    }
    sorted(took)
}
