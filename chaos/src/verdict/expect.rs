//! What a scenario expects of a window, measured and judged.

use super::case::tell;
use super::index::{Index, Seen};
use crate::history::{Ended, Told};
use crate::report::{Finding, Verdict};
use crate::scenario::{Expectation, Measure, PhaseName, Scenario};

/// What was measured, from how many samples; no value is no evidence.
struct Measured {
    value: Option<f64>,
    samples: u64,
}

pub(super) fn judge(wanted: &Expectation, scenario: &Scenario, index: &Index<'_>) -> Finding {
    let window = Window::of(wanted, scenario, index);
    let measured = measure(wanted, &window);
    let (limit, most) = match (wanted.at_most, wanted.at_least) {
        (Some(most), _) => (most, true),
        (None, least) => (least.unwrap_or(0.0), false),
    };
    let mut found = Finding {
        name: wanted.what.label().to_owned(),
        claim: claim(wanted, limit, most),
        verdict: Verdict::Unknown,
        value: measured.value,
        limit: Some(limit),
        margin: None,
        unit: wanted.what.unit().to_owned(),
        samples: measured.samples,
        ..Finding::default()
    };
    let Some(value) = measured.value else {
        found.why = "it never happened, so there is nothing to measure".to_owned();
        // What should have come by now and did not is no lack of evidence.
        if matches!(
            wanted.what,
            Measure::Detected | Measure::Recovered | Measure::FirstSuccess
        ) && measured.samples >= wanted.samples
        {
            found.verdict = Verdict::Fail;
            found.why = "it did not happen before the run was over".to_owned();
        }
        return found;
    };
    let holds = if most { value <= limit } else { value >= limit };
    found.margin = margin(value, limit, most);
    if !holds {
        found.verdict = Verdict::Fail;
        found.why = said_why(wanted, &window);
        let wrong: Vec<&Told> = window
            .requests
            .iter()
            .copied()
            .filter(|told| told.ended.is_failure())
            .collect();
        if matches!(wanted.what, Measure::Errors | Measure::ErrorCount) {
            tell(&mut found, index, &wrong);
        } else {
            found.window = Some((window.from, window.to));
        }
    } else if measured.samples < wanted.samples {
        found.why = format!(
            "only {} samples, {} wanted",
            measured.samples, wanted.samples
        );
    } else {
        found.verdict = Verdict::Pass;
    }
    found
}

fn margin(value: f64, limit: f64, most: bool) -> Option<f64> {
    let room = if most { limit - value } else { value - limit };
    (limit.abs() > 1e-12).then(|| room / limit.abs())
}

fn claim(wanted: &Expectation, limit: f64, most: bool) -> String {
    let what = wanted.what.label().replace('_', " ");
    let of = wanted
        .of
        .as_deref()
        .map(|of| format!(" of {of}"))
        .unwrap_or_default();
    let after = if wanted.after.millis() > 0 {
        format!(" after {} ms", wanted.after.millis())
    } else {
        String::new()
    };
    let compare = if most { "≤" } else { "≥" };
    format!(
        "{what}{of} in {}{after} {compare} {limit}",
        wanted.phase.label()
    )
}

/// The kinds of failure, most frequent first.
fn said_why(wanted: &Expectation, window: &Window<'_>) -> String {
    if !matches!(wanted.what, Measure::Errors | Measure::ErrorCount) {
        return String::new();
    }
    let mut kinds: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for told in window
        .requests
        .iter()
        .filter(|told| told.ended.is_failure())
    {
        *kinds.entry(told.ended.label()).or_default() += 1;
    }
    let mut kinds: Vec<(usize, String)> = kinds.into_iter().map(|(kind, n)| (n, kind)).collect();
    kinds.sort_unstable_by(|one, other| other.cmp(one));
    let kinds: Vec<String> = kinds
        .iter()
        .take(4)
        .map(|(count, kind)| format!("{count} × {kind}"))
        .collect();
    kinds.join(", ")
}

/// The requests and exchanges that count.
struct Window<'a> {
    from: u64,
    to: u64,
    requests: Vec<&'a Told>,
    /// The same of the control phase, to compare with.
    control: Vec<&'a Told>,
    control_span: (u64, u64),
    index: &'a Index<'a>,
    /// When the first fault began and the last one ended.
    faults: (u64, u64),
}

impl<'a> Window<'a> {
    fn of(wanted: &Expectation, scenario: &Scenario, index: &'a Index<'a>) -> Self {
        let (from, to) = index.phase(wanted.phase);
        let from = from.saturating_add(wanted.after.millis()).min(to);
        let workload = wanted.of.as_ref().and_then(|of| {
            scenario
                .workloads
                .iter()
                .position(|workload| workload.name == *of)
        });
        let control_span = index.phase(PhaseName::Control);
        let counts = |span: (u64, u64)| -> Vec<&'a Told> {
            index
                .evidence
                .history
                .iter()
                .filter(|told| (span.0..span.1).contains(&told.due_ms))
                .filter(|told| workload.is_none_or(|place| told.workload == place))
                .filter(|told| told.ended != Ended::Left || wanted.what == Measure::P99Cancel)
                .collect()
        };
        let faults = &index.evidence.faults;
        let begins = faults.iter().map(|done| done.from_ms).min();
        let ends = faults.iter().map(|done| done.to_ms).max();
        let (phase_begins, phase_ends) = index.phase(PhaseName::Faults);
        Self {
            from,
            to,
            requests: counts((from, to)),
            control: counts(control_span),
            control_span,
            index,
            faults: (begins.unwrap_or(phase_begins), ends.unwrap_or(phase_ends)),
        }
    }

    fn seen(&self, span: (u64, u64)) -> impl Iterator<Item = &Seen<'a>> {
        self.index
            .seen
            .iter()
            .filter(move |seen| (span.0..span.1).contains(&seen.at_ms))
    }
}

fn seconds(span: (u64, u64)) -> f64 {
    (span.1.saturating_sub(span.0) as f64 / 1_000.0).max(1e-9)
}

fn measure(wanted: &Expectation, window: &Window<'_>) -> Measured {
    let requests = &window.requests;
    let count = requests.len() as u64;
    let failed = requests
        .iter()
        .filter(|told| told.ended.is_failure())
        .count() as f64;
    let waits = waits(requests);
    let of = wanted.of.as_deref();
    let of_samples = |value: Option<f64>| Measured {
        value,
        samples: waits.len() as u64,
    };
    let told = |value: f64| Measured {
        value: (count > 0).then_some(value),
        samples: count,
    };
    match wanted.what {
        Measure::Errors => told(failed / (count as f64).max(1.0)),
        Measure::ErrorCount => told(failed),
        Measure::P50FirstContent => of_samples(quantile(&waits, 0.50)),
        Measure::P99FirstContent => of_samples(quantile(&waits, 0.99)),
        Measure::P999FirstContent => of_samples(quantile(&waits, 0.999)),
        Measure::P99Times | Measure::P99Above => {
            let control = self::waits(&window.control);
            let both = quantile(&waits, 0.99).zip(quantile(&control, 0.99));
            of_samples(both.map(|(now, before)| {
                if wanted.what == Measure::P99Times {
                    now / before.max(1.0)
                } else {
                    now - before
                }
            }))
        }
        Measure::P50Error => error_time(requests, 0.50),
        Measure::P99Error => error_time(requests, 0.99),
        Measure::Attempts => told(attempts(window) / (count as f64).max(1.0)),
        Measure::Share => share(window, of),
        Measure::Load => load(window, of),
        Measure::Detected => detected(window, of),
        Measure::Recovered => recovered(window, of),
        Measure::FirstSuccess => first_success(window),
        Measure::Goodput => {
            let good = |all: &[&Told]| all.iter().filter(|told| !told.ended.is_failure()).count();
            let now = good(requests) as f64 / seconds((window.from, window.to));
            let before = good(&window.control) as f64 / seconds(window.control_span);
            told(now / before.max(1e-9))
        }
        Measure::P99Cancel => p99_cancel(window),
        Measure::Growth => growth(window),
    }
}

/// Milliseconds to the first content, sorted.
fn waits(requests: &[&Told]) -> Vec<f64> {
    let mut waits: Vec<f64> = requests
        .iter()
        .filter_map(|told| told.waited())
        .map(|millis| millis as f64)
        .collect();
    waits.sort_unstable_by(f64::total_cmp);
    waits
}

/// The smallest value that this share of the sorted values does not exceed.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn error_time(requests: &[&Told], share: f64) -> Measured {
    let mut took: Vec<f64> = requests
        .iter()
        .filter(|told| told.ended.is_failure())
        .map(|told| told.end_ms.saturating_sub(told.due_ms) as f64)
        .collect();
    took.sort_unstable_by(f64::total_cmp);
    Measured {
        value: quantile(&took, share),
        samples: took.len() as u64,
    }
}

/// Exchanges that carried requests of the window.
fn attempts(window: &Window<'_>) -> f64 {
    let of_window = |told: &&&Told| window.index.exchanges(told).count();
    let sum: usize = window.requests.iter().map(|told| of_window(&told)).sum();
    sum as f64
}

fn share(window: &Window<'_>, of: Option<&str>) -> Measured {
    let all = window.seen((window.from, window.to)).count();
    let mine = window
        .seen((window.from, window.to))
        .filter(|seen| Some(seen.mock) == of)
        .count();
    Measured {
        value: (all > 0).then(|| mine as f64 / all as f64),
        samples: all as u64,
    }
}

fn load(window: &Window<'_>, of: Option<&str>) -> Measured {
    let at = |span: (u64, u64)| {
        let counted = window
            .seen(span)
            .filter(|seen| of.is_none_or(|of| seen.mock == of))
            .count();
        (counted, counted as f64 / seconds(span))
    };
    let (counted, now) = at((window.from, window.to));
    let (before_counted, before) = at(window.control_span);
    Measured {
        value: (before_counted > 0).then(|| now / before),
        samples: counted.max(before_counted) as u64,
    }
}

/// Long enough for a rate, short enough to tell moments apart.
const STEP_MS: u64 = 250;

/// Traffic has left a mock once it gets less than a fifth of its usual rate for a second.
fn detected(window: &Window<'_>, of: Option<&str>) -> Measured {
    let at_mock = |span: (u64, u64)| {
        window
            .seen(span)
            .filter(|seen| Some(seen.mock) == of)
            .count()
    };
    let usual = at_mock(window.control_span);
    let rate = usual as f64 / seconds(window.control_span);
    let begins = window.faults.0;
    let mut moment = begins;
    while moment.saturating_add(1_000) <= window.to {
        let span = (moment, moment.saturating_add(1_000));
        if (at_mock(span) as f64) < rate * 0.2 {
            return Measured {
                value: Some(moment.saturating_sub(begins) as f64),
                samples: usual as u64,
            };
        }
        moment = moment.saturating_add(STEP_MS);
    }
    Measured {
        value: None,
        samples: usual as u64,
    }
}

/// A mock is back once it gets half of its usual rate, the whole once nine in ten succeed as before.
fn recovered(window: &Window<'_>, of: Option<&str>) -> Measured {
    let mock = of.filter(|of| window.index.evidence.fleet.providers.contains_key(*of));
    let rate = |span: (u64, u64)| match mock {
        Some(mock) => {
            let at = window.seen(span).filter(|seen| seen.mock == mock).count();
            at as f64 / seconds(span)
        }
        None => {
            let good = window.index.evidence.history.iter();
            let good = good
                .filter(|told| (span.0..span.1).contains(&told.due_ms))
                .filter(|told| !told.ended.is_failure());
            good.count() as f64 / seconds(span)
        }
    };
    let wanted = rate(window.control_span) * if mock.is_some() { 0.5 } else { 0.9 };
    let begins = window.faults.1;
    let (_, ends) = window.index.phase(PhaseName::Heal);
    let mut moment = begins;
    let samples = window.control.len() as u64;
    while moment.saturating_add(1_000) <= ends {
        if rate((moment, moment.saturating_add(1_000))) >= wanted {
            let value = Some(moment.saturating_sub(begins) as f64);
            return Measured { value, samples };
        }
        moment = moment.saturating_add(STEP_MS);
    }
    Measured {
        value: None,
        samples,
    }
}

fn first_success(window: &Window<'_>) -> Measured {
    let begins = window.faults.1;
    let after: Vec<&Told> = window
        .index
        .evidence
        .history
        .iter()
        .filter(|told| told.due_ms >= begins)
        .collect();
    let first = after
        .iter()
        .filter(|told| told.ended == Ended::Whole)
        .filter_map(|told| told.first_content_ms)
        .min();
    Measured {
        value: first.map(|first| first.saturating_sub(begins) as f64),
        samples: after.len() as u64,
    }
}

/// The medians of two fifths of the phase, the second and the last: what warms up at first is not growth.
fn growth(window: &Window<'_>) -> Measured {
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
    }
}

/// From a client's leaving to the moment its provider saw the gateway leave; work that was over counts as zero.
fn p99_cancel(window: &Window<'_>) -> Measured {
    let mut took = Vec::new();
    for told in window
        .requests
        .iter()
        .filter(|told| told.ended == Ended::Left)
    {
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
    took.sort_unstable_by(f64::total_cmp);
    Measured {
        value: quantile(&took, 0.99),
        samples: took.len() as u64,
    }
}
