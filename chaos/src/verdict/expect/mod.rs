//! What a scenario expects of a window, measured and judged.

mod measure;
mod moments;
#[cfg(test)]
pub(super) mod tests;
mod window;

use super::case::tell;
use super::index::Index;
use crate::history::Told;
use crate::report::{Finding, Verdict};
use crate::scenario::{Expectation, Measure, Of};
use window::Window;

pub(super) use measure::quantile;

/// What was measured; no value is no evidence.
#[derive(Debug, Default)]
struct Measured {
    value: Option<f64>,
    /// From how many samples.
    samples: u64,
    /// From how many of the control phase, where the two are compared.
    control: Option<u64>,
    /// Why nothing can be said.
    unsure: Option<String>,
}

impl Measured {
    fn unsure(why: impl Into<String>) -> Self {
        Self {
            unsure: Some(why.into()),
            ..Self::default()
        }
    }
}

pub(super) fn judge(wanted: &Expectation, index: &Index<'_>) -> Finding {
    let (limit, most) = match (wanted.at_most, wanted.at_least) {
        (Some(most), _) => (most, true),
        (None, least) => (least.unwrap_or(0.0), false),
    };
    let found = Finding {
        name: wanted.what.label().to_owned(),
        claim: claim(wanted, limit, most),
        verdict: Verdict::Unknown,
        limit: Some(limit),
        unit: wanted.what.unit().to_owned(),
        ..Finding::default()
    };
    if let Err(why) = fits(wanted, limit, index) {
        return Finding { why, ..found };
    }
    let window = Window::of(wanted, index);
    judged(wanted, found, &window, (limit, most))
}

/// Whether what is to be measured exists at all.
fn fits(wanted: &Expectation, limit: f64, index: &Index<'_>) -> Result<(), String> {
    if !limit.is_finite() {
        return Err("the limit is no number that anything could lie beyond".to_owned());
    }
    let faults = index.evidence.faults.len();
    if let Some(number) = wanted
        .during
        .filter(|number| !(1..=faults).contains(number))
    {
        return Err(format!("there is no fault {number}"));
    }
    let Some(of) = &wanted.of else {
        return match wanted.what.of() {
            Of::ThisMock => Err("it does not say which mock it is about".to_owned()),
            Of::Mock | Of::Workload | Of::Nothing => Ok(()),
        };
    };
    let is_known = match wanted.what.of() {
        Of::Mock | Of::ThisMock => index.evidence.fleet.providers.contains_key(of),
        Of::Workload => index.scenario.workloads.iter().any(|one| one.name == *of),
        Of::Nothing => false,
    };
    if is_known {
        Ok(())
    } else {
        Err(format!("{of:?} is {}", wanted.what.of().refusal()))
    }
}

fn judged(
    wanted: &Expectation,
    mut found: Finding,
    window: &Window<'_>,
    (limit, most): (f64, bool),
) -> Finding {
    let measured = measure::measure(wanted, window);
    (found.value, found.samples) = (measured.value, measured.samples);
    if let Some(why) = measured.unsure {
        found.why = why;
        return found;
    }
    let Some(value) = measured.value.filter(|value| value.is_finite()) else {
        found.value = None;
        found.why = "it never happened, so there is nothing to measure".to_owned();
        // What should have come by now and did not is no lack of evidence.
        if wanted.what.is_awaited() && measured.samples >= wanted.samples {
            found.verdict = Verdict::Fail;
            found.why = "it did not happen before the run was over".to_owned();
        }
        return found;
    };
    let holds = if most { value <= limit } else { value >= limit };
    found.margin = margin(value, limit, most);
    let control = measured.control.unwrap_or(u64::MAX);
    if control < wanted.samples {
        // Against too little to compare with nothing can be held either.
        found.why = format!(
            "only {control} samples in the control phase, {} wanted",
            wanted.samples
        );
    } else if let Some(others) = crowded(wanted, window).filter(|_| !holds) {
        found.why = format!(
            "something else took {:.0}% of this machine, and nothing was left of it: run it again where it is quiet",
            others * 100.0
        );
    } else if !holds {
        found.verdict = Verdict::Fail;
        blame(wanted, &mut found, window);
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

/// A time that was missed on a machine that others kept busy proves nothing; one that was kept there does.
fn crowded(wanted: &Expectation, window: &Window<'_>) -> Option<f64> {
    window.crowded().filter(|_| wanted.what.is_time())
}

/// Says why and when, and tells the first cases.
fn blame(wanted: &Expectation, found: &mut Finding, window: &Window<'_>) {
    found.why = said_why(wanted, window);
    if matches!(wanted.what, Measure::Errors | Measure::ErrorCount) {
        let requests = window.requests.iter().copied();
        let wrong: Vec<&Told> = requests.filter(|told| told.ended.is_failure()).collect();
        tell(found, window.index, &wrong);
    } else {
        found.window = Some((window.from, window.to));
    }
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
    let when = match wanted.during {
        Some(number) if wanted.what.is_awaited() => format!(" of fault {number}"),
        Some(number) => format!(" during fault {number}"),
        // A moment counts from its fault, in whatever phase it comes.
        None if wanted.what.is_awaited() => String::new(),
        None => format!(" in {}", wanted.phase.label()),
    };
    format!("{what}{of}{when}{after} {compare} {limit}")
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
