//! What a terminal shows: a line while it runs, and what was found.

use std::fmt::Write as _;

use super::{Finding, Report, Run, Verdict};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// What is known while a run goes on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProgressState {
    pub heading: String,
    pub phase: String,
    pub elapsed_ms: u64,
    pub total_ms: u64,
    pub faults: Vec<String>,
    pub requests: u64,
    pub errors: u64,
    /// Share of errors in the last second.
    pub error_rate: f64,
    /// Milliseconds to the first content in the last second.
    pub p50: Option<u64>,
    pub p99: Option<u64>,
}

/// One line: a bar, the phase, what is broken just now, and how it goes.
#[must_use]
pub fn progress_line(now: &ProgressState, width: usize, colour: bool) -> String {
    const CELLS: u64 = 20;
    let done = now
        .elapsed_ms
        .saturating_mul(CELLS)
        .checked_div(now.total_ms)
        .unwrap_or(0)
        .min(CELLS) as usize;
    let bar: String = (0..CELLS as usize)
        .map(|cell| if cell < done { '█' } else { '░' })
        .collect();
    let faults = if now.faults.is_empty() {
        String::new()
    } else {
        format!(" [{}]", now.faults.join(", "))
    };
    let waits = match (now.p50, now.p99) {
        (Some(p50), Some(p99)) => format!("  p50 {p50} ms  p99 {p99} ms"),
        _ => String::new(),
    };
    let line = format!(
        "{} {bar} {}{faults}  {} requests, {} errors ({:.1} %){waits}",
        now.heading,
        now.phase,
        now.requests,
        now.errors,
        now.error_rate * 100.0
    );
    let line = cut(&line, width);
    if colour && now.error_rate > 0.0 {
        format!("{RED}{line}{PLAIN}")
    } else {
        line
    }
}

/// Everything a report holds, a line per claim.
#[must_use]
pub fn summary(report: &Report, width: usize, colour: bool) -> String {
    let paint = Paint { colour, width };
    let mut text = String::new();
    for run in &report.runs {
        paint.run(run, &mut text);
        text.push('\n');
    }
    let count = |verdict| {
        report
            .runs
            .iter()
            .filter(|run| run.verdict == verdict)
            .count()
    };
    let _ = writeln!(
        text,
        "{}  {} runs: {} passed, {} failed, {} unknown",
        paint.verdict(report.verdict),
        report.runs.len(),
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::Unknown)
    );
    text
}

/// One run alone, as soon as it is over.
#[must_use]
pub fn of_run(run: &Run, width: usize, colour: bool) -> String {
    let mut text = String::new();
    Paint { colour, width }.run(run, &mut text);
    text
}

struct Paint {
    colour: bool,
    width: usize,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("{code}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }

    fn verdict(&self, verdict: Verdict) -> String {
        let code = match verdict {
            Verdict::Pass => GREEN,
            Verdict::Fail => RED,
            Verdict::Unknown => YELLOW,
        };
        self.with(code, &format!("{:<7}", verdict.label()))
    }

    fn run(&self, run: &Run, text: &mut String) {
        let totals = &run.totals;
        let failed: u64 = totals.failed.values().sum();
        let _ = writeln!(
            text,
            "{}  {}  {}",
            self.verdict(run.verdict),
            self.with(BOLD, &run.scenario),
            self.with(
                DIM,
                &format!(
                    "{}, seed {}, {} requests, {failed} errors, {} attempts",
                    run.gateway, run.seed, totals.requests, totals.attempts
                )
            )
        );
        for note in &run.notes {
            let _ = writeln!(
                text,
                "         {}",
                self.with(YELLOW, &cut(note, self.width))
            );
        }
        for lane in &run.faults {
            let seen = match lane.seen {
                0 => "never seen".to_owned(),
                1 => "seen once".to_owned(),
                many => format!("seen {many} times"),
            };
            let line = format!("{} on {}: {seen}", lane.fault, lane.on.join(", "));
            let _ = writeln!(
                text,
                "         {}",
                self.with(DIM, &cut(&line, self.width.saturating_sub(9)))
            );
        }
        for finding in run.invariants.iter().chain(&run.expectations) {
            self.finding(finding, text);
        }
        if run.verdict != Verdict::Pass {
            let _ = writeln!(text, "         again: {}", run.replay);
        }
    }

    fn finding(&self, found: &Finding, text: &mut String) {
        let numbers = numbers(found);
        let room = self.width.saturating_sub(9 + numbers.chars().count() + 2);
        let claim = cut(&found.claim, room.max(20));
        let gap = room.max(20).saturating_sub(claim.chars().count());
        let _ = writeln!(
            text,
            "  {}{claim}{}  {}",
            self.verdict(found.verdict),
            " ".repeat(gap),
            self.with(DIM, &numbers)
        );
        if found.verdict != Verdict::Pass && !found.why.is_empty() {
            let window = found
                .window
                .map(|(from, to)| format!(" (from {} to {})", time(from), time(to)))
                .unwrap_or_default();
            let _ = writeln!(
                text,
                "         {}{window}",
                cut(&found.why, self.width.saturating_sub(9))
            );
        }
    }
}

fn numbers(found: &Finding) -> String {
    let Some(value) = found.value else {
        return format!("{} samples", found.samples);
    };
    let shown = format_value(value, &found.unit);
    let Some(limit) = found.limit else {
        return shown;
    };
    if found.unit == "count" && limit.abs() < f64::EPSILON {
        return format!("{shown:>9} in {:<17}", found.samples);
    }
    let margin = found
        .margin
        .map(|margin| format!("{:+.0} %", margin * 100.0))
        .unwrap_or_default();
    format!(
        "{shown:>9} of {:<9} {margin:>7}",
        format_value(limit, &found.unit)
    )
}

/// A value as people read it.
#[must_use]
pub(super) fn format_value(value: f64, unit: &str) -> String {
    match unit {
        "ms" if value >= 10_000.0 => format!("{:.1} s", value / 1_000.0),
        "ms" => format!("{value:.0} ms"),
        "bytes" => format!("{:.1} MiB", value / f64::from(1 << 20)),
        "count" => format!("{value:.0}"),
        "usd" => format!("${value:.6}"),
        _ => format!("{value:.3}"),
    }
}

/// A moment of the run.
fn time(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}

/// At most so many letters, and no line break or control character from outside.
fn cut(text: &str, width: usize) -> String {
    let plain = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    if text.chars().count() <= width {
        return plain.collect();
    }
    plain
        .take(width.saturating_sub(1))
        .chain(std::iter::once('…'))
        .collect()
}
