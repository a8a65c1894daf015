//! What a report draws: the run in steps.

use std::collections::BTreeMap;

use super::expect::quantile;
use super::index::Index;
use crate::report::Series;
use crate::scenario::PhaseName;

/// A page has room for about so many steps.
const STEPS: u64 = 150;

pub(super) fn draw(index: &Index<'_>) -> Series {
    let evidence = index.evidence;
    let ends = evidence
        .phases
        .iter()
        .map(|(_, _, to)| *to)
        .max()
        .unwrap_or(0);
    let step_ms = (ends / STEPS).clamp(100, 60_000).next_multiple_of(50);
    let steps = usize::try_from(ends.div_ceil(step_ms)).unwrap_or(0);
    let place = |at: u64| usize::try_from(at / step_ms).unwrap_or(usize::MAX);
    let mut series = Series {
        step_ms,
        ok: vec![0; steps],
        failed: vec![0; steps],
        memory: vec![None; steps],
        descriptors: vec![None; steps],
        ..Series::default()
    };
    let mut waits: Vec<Vec<f64>> = vec![Vec::new(); steps];
    for told in &evidence.history {
        let count = if told.ended.is_failure() {
            series.failed.get_mut(place(told.end_ms))
        } else {
            series.ok.get_mut(place(told.end_ms))
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        if let (Some(waited), Some(step)) = (told.waited(), waits.get_mut(place(told.due_ms))) {
            step.push(waited as f64);
        }
    }
    for step in &mut waits {
        step.sort_unstable_by(f64::total_cmp);
    }
    let of = |share: f64| -> Vec<Option<f32>> {
        waits
            .iter()
            .map(|step| quantile(step, share).map(|millis| millis as f32))
            .collect()
    };
    (series.first_content_p50, series.first_content_p99) = (of(0.50), of(0.99));
    let control = control(index);
    series.control_p50 = quantile(&control, 0.50).map(|millis| millis as f32);
    series.control_p99 = quantile(&control, 0.99).map(|millis| millis as f32);
    series.attempts = attempts(index, steps, &place);
    series.breakers = breakers(index, steps, &place);
    for scrape in &evidence.scrapes {
        // A look holds until the next one.
        let later = place(scrape.at_ms);
        for memory in series.memory.iter_mut().skip(later) {
            *memory = scrape.memory;
        }
        for open in series.descriptors.iter_mut().skip(later) {
            *open = scrape.descriptors;
        }
    }
    series
}

/// Milliseconds to the first content while nothing was wrong, sorted.
fn control(index: &Index<'_>) -> Vec<f64> {
    let (from, to) = index.phase(PhaseName::Control);
    let history = index.evidence.history.iter();
    let mut control: Vec<f64> = history
        .filter(|told| (from..to).contains(&told.due_ms))
        .filter_map(|told| told.waited())
        .map(|millis| millis as f64)
        .collect();
    control.sort_unstable_by(f64::total_cmp);
    control
}

fn attempts(
    index: &Index<'_>,
    steps: usize,
    place: &impl Fn(u64) -> usize,
) -> BTreeMap<String, Vec<u32>> {
    let names = index.evidence.fleet.providers.keys();
    let mut attempts: BTreeMap<String, Vec<u32>> =
        names.map(|name| (name.clone(), vec![0; steps])).collect();
    for seen in &index.seen {
        let count = attempts
            .get_mut(seen.mock)
            .and_then(|steps| steps.get_mut(place(seen.at_ms)));
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
    }
    attempts
}

/// The state of each breaker, held from one scrape to the next.
fn breakers(
    index: &Index<'_>,
    steps: usize,
    place: &impl Fn(u64) -> usize,
) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for scrape in &index.evidence.scrapes {
        for sample in &scrape.samples {
            if sample.name != "switchyard_breaker_state" {
                continue;
            }
            let provider = sample.labels.get("provider").cloned().unwrap_or_default();
            let model = sample.labels.get("model").cloned().unwrap_or_default();
            let state = match sample.value as i64 {
                0 => "closed",
                1 => "half_open",
                _ => "open",
            };
            let states = all
                .entry(format!("{provider}/{model}"))
                .or_insert_with(|| vec![String::new(); steps]);
            for later in states.iter_mut().skip(place(scrape.at_ms)) {
                state.clone_into(later);
            }
        }
    }
    // What a provider has beside its named models is worth a lane only when something happened there.
    all.retain(|endpoint, states| {
        !endpoint.ends_with("/other") || states.iter().any(|state| state.contains("open"))
    });
    all
}
