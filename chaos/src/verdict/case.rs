//! One request told across the four records, for whoever has to find out what went wrong.

use super::index::Index;
use crate::history::Told;
use crate::mock::Leaving;
use crate::report::{Case, Finding, Line};

/// So many are told in full.
const TOLD: usize = 3;

/// Fills in the smallest window and the first few cases of a failed claim.
pub(super) fn tell(finding: &mut Finding, index: &Index<'_>, wrong: &[&Told]) {
    let from = wrong.iter().map(|told| told.due_ms).min();
    let to = wrong.iter().map(|told| told.end_ms).max();
    finding.window = from.zip(to);
    finding.cases = wrong
        .iter()
        .take(TOLD)
        .map(|told| case(index, told))
        .collect();
}

fn line(at_ms: u64, text: String) -> Line {
    Line { at_ms, text }
}

fn case(index: &Index<'_>, told: &Told) -> Case {
    Case {
        request: told
            .id
            .clone()
            .unwrap_or_else(|| format!("workload {} number {}", told.workload, told.number)),
        client: client(told),
        wire: wire(index, told),
        journal: journal(index, told),
        metrics: metrics(index, told),
    }
}

fn client(told: &Told) -> Vec<Line> {
    let kind = if told.stream {
        "stream"
    } else {
        "whole answer"
    };
    let mut lines = vec![line(told.due_ms, format!("asks for a {kind}"))];
    if let (Some(at), Some(status)) = (told.head_ms, told.status) {
        lines.push(line(at, format!("reads status {status}")));
    }
    if let Some(at) = told.first_content_ms {
        lines.push(line(at, "reads the first content".to_owned()));
    }
    let text = match &told.text {
        None => String::new(),
        Some(Ok(origin)) => format!(
            ", {} words of request {} at {}",
            origin.words, origin.request, origin.mock
        ),
        Some(Err(broken)) => format!(", text: {broken}"),
    };
    lines.push(line(
        told.end_ms,
        format!("ends: {}{text}", told.ended.label()),
    ));
    lines
}

fn wire(index: &Index<'_>, told: &Told) -> Vec<Line> {
    let mut lines = Vec::new();
    for seen in index.exchanges(told) {
        let exchange = seen.exchange;
        let fault = exchange
            .fault
            .as_deref()
            .map(|fault| format!(", meets {fault}"))
            .unwrap_or_default();
        let (mock, number) = (seen.mock, exchange.asked.number);
        lines.push(line(
            seen.at_ms,
            format!("{mock} receives request {number}{fault}"),
        ));
        let at = |when| seen.provider.map_or(0, |provider| provider.millis(when));
        if let Some(when) = exchange.first_content_at {
            lines.push(line(at(when), format!("{mock} sends its first content")));
        }
        if let Some(when) = exchange.last_byte_at {
            lines.push(line(
                at(when),
                format!(
                    "{mock} has sent {} bytes, {} content events",
                    exchange.bytes_sent, exchange.content_sent
                ),
            ));
        }
        if let Some((when, how)) = exchange.left {
            let how = match how {
                Leaving::Fin => "closes",
                Leaving::Reset => "resets",
            };
            lines.push(line(at(when), format!("the gateway {how} towards {mock}")));
        }
    }
    lines.sort_by_key(|line| line.at_ms);
    lines
}

fn journal(index: &Index<'_>, told: &Told) -> Vec<Line> {
    let (Some(own), Some(id)) = (&index.evidence.own, &told.id) else {
        return Vec::new();
    };
    let journal = &own.journal;
    let mut lines = Vec::new();
    if let Some(intents) = journal.intents.get(id) {
        lines.push(line(told.due_ms, format!("{} intent", intents.len())));
    }
    for attempt in journal.attempts.iter().filter(|one| one.request == *id) {
        let won = if attempt.won { ", won" } else { "" };
        lines.push(line(
            told.due_ms,
            format!("attempt at {}: {}{won}", attempt.provider, attempt.outcome),
        ));
    }
    for outcome in journal.outcomes.get(id).into_iter().flatten() {
        lines.push(line(
            told.end_ms,
            format!(
                "outcome {} ({}), status {}, {} attempts",
                outcome.how, outcome.reason, outcome.status, outcome.attempts
            ),
        ));
    }
    lines
}

/// The counters that moved while the request was under way.
fn metrics(index: &Index<'_>, told: &Told) -> Vec<Line> {
    let scrapes = &index.evidence.scrapes;
    let before = scrapes.iter().rev().find(|one| one.at_ms <= told.due_ms);
    let after = scrapes.iter().find(|one| one.at_ms >= told.end_ms);
    let (Some(before), Some(after)) = (before, after) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for sample in &after.samples {
        let telling = [
            "switchyard_attempts_total",
            "switchyard_failover_total",
            "switchyard_breaker_state",
            "switchyard_shed_total",
            "switchyard_stream_end_total",
        ];
        if !telling.contains(&sample.name.as_str()) {
            continue;
        }
        let was = before
            .samples
            .iter()
            .find(|one| one.name == sample.name && one.labels == sample.labels)
            .map_or(0.0, |one| one.value);
        if (sample.value - was).abs() > f64::EPSILON {
            let labels: Vec<String> = sample
                .labels
                .iter()
                .map(|(label, value)| format!("{label}={value}"))
                .collect();
            lines.push(line(
                after.at_ms,
                format!(
                    "{} {{{}}} {was} → {}",
                    sample.name,
                    labels.join(" "),
                    sample.value
                ),
            ));
        }
    }
    lines.truncate(12);
    lines
}
