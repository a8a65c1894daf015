//! The one line that is drawn again and again while a scenario runs.

use std::time::Duration;

use super::terminal::Paint;
use super::{plain, said};

/// What there is to say about a run that is under way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProgressState {
    pub scenario: String,
    /// `control`, `faults`, `heal`, `quiesce`.
    pub phase: String,
    pub elapsed: Duration,
    /// Of all phases; the bar is full when `elapsed` reaches it.
    pub total: Duration,
    /// The faults that are on now, by number.
    pub faults: Vec<String>,
    pub requests: u64,
    pub errors: u64,
    /// The share of the last second's answers that were errors, 0 to 1; `None` when nothing was answered.
    pub error_rate: Option<f64>,
    /// To the first content, over the last second.
    pub p50: Option<Duration>,
    pub p99: Option<Duration>,
}

/// Of the bar, at its widest and its narrowest.
const BAR: (usize, usize) = (24, 8);

/// A line of exactly `width` columns, so that drawn over itself with `\r` it leaves nothing of the line before.
#[must_use]
pub fn progress_line(state: &ProgressState, width: usize, colour: bool) -> String {
    let paint = Paint(colour);
    let parts = parts(state);
    // What goes first when there is no room for all: the latencies, the counts, then the fault's names are cut.
    let mut shown = parts.len();
    let needed = |shown: usize| -> usize {
        let widths = parts
            .iter()
            .take(shown)
            .map(|part| plain::columns(&part.text) + 2);
        widths.sum::<usize>() + BAR.1
    };
    while shown > 3 && needed(shown) > width {
        shown -= 1;
    }
    let bar = (width.saturating_sub(needed(shown)) + BAR.1)
        .min(BAR.0)
        .min(width);
    let mut line = paint.with("36", &bar_of(state, bar));
    let mut used = bar;
    for part in parts.iter().take(shown) {
        let room = width.saturating_sub(used + 2);
        let text = plain::cut(&part.text, room);
        if text.is_empty() {
            continue;
        }
        used += 2 + plain::columns(&text);
        line.push_str("  ");
        line.push_str(&paint.with(part.code, &text));
    }
    line.push_str(&" ".repeat(width.saturating_sub(used)));
    line
}

struct Part {
    text: String,
    /// How it is painted; see [`Paint::with`].
    code: &'static str,
}

/// By use: the most useful first.
fn parts(state: &ProgressState) -> Vec<Part> {
    let failing = state.error_rate.filter(|rate| rate.is_finite());
    let rate = match failing {
        Some(rate) => format!("{:>6} errors", said::percent((rate * 1e3).round() / 1e3)),
        None => "     – errors".to_owned(),
    };
    let faults = match state.faults.is_empty() {
        true => "no fault".to_owned(),
        false => state.faults.join(" "),
    };
    let clock = format!("{:>3}/{} s", state.elapsed.as_secs(), state.total.as_secs());
    let latency = |time: Option<Duration>| match time {
        Some(time) => said::millis(time.as_secs_f64() * 1e3),
        None => "–".to_owned(),
    };
    let bad = failing.is_some_and(|rate| rate > 0.0);
    vec![
        Part {
            text: format!("{clock}  {}", plain::left(&plain::cut(&state.phase, 12), 7)),
            code: "1",
        },
        Part {
            text: rate,
            code: if bad { "1;31" } else { "32" },
        },
        Part {
            text: plain::cut(&faults, 40),
            code: if state.faults.is_empty() { "2" } else { "33" },
        },
        Part {
            text: plain::cut(&state.scenario, 32),
            code: "0",
        },
        Part {
            text: format!(
                "{:>7} sent, {} failed",
                said::whole(state.requests),
                said::whole(state.errors)
            ),
            code: "0",
        },
        Part {
            text: format!("p50 {}  p99 {}", latency(state.p50), latency(state.p99)),
            code: "2",
        },
    ]
}

/// Filled to the eighth of a column.
fn bar_of(state: &ProgressState, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let total = state.total.as_secs_f64();
    let share = if total > 0.0 {
        (state.elapsed.as_secs_f64() / total).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let eighths = (share * width as f64 * 8.0).floor() as usize;
    let part = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    let full = "█".repeat(eighths / 8);
    let drawn = eighths / 8 + usize::from(!part.is_empty());
    format!("{full}{part}{}", "░".repeat(width.saturating_sub(drawn)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> ProgressState {
        ProgressState {
            scenario: "one-provider-down".to_owned(),
            phase: "faults".to_owned(),
            elapsed: Duration::from_millis(15_250),
            total: Duration::from_secs(60),
            faults: vec!["P10".to_owned(), "P04/negative".to_owned()],
            requests: 12_480,
            errors: 31,
            error_rate: Some(0.004),
            p50: Some(Duration::from_millis(41)),
            p99: Some(Duration::from_millis(1_210)),
        }
    }

    #[test]
    fn a_wide_line_says_all() {
        let line = progress_line(&state(), 160, false);
        for part in [
            "one-provider-down",
            "15/60 s",
            "faults",
            "P10 P04/negative",
            "12,480 sent, 31 failed",
            "0.4% errors",
            "p50 41 ms",
            "p99 1.2 s",
        ] {
            assert!(line.contains(part), "{part:?} in {line:?}");
        }
    }

    #[test]
    fn every_line_fills_its_width_exactly() {
        let mut wild = state();
        wild.scenario = "模型".repeat(40);
        wild.faults = vec!["\u{1b}[2J".to_owned(); 40];
        wild.requests = u64::MAX;
        wild.error_rate = Some(f64::NAN);
        wild.elapsed = Duration::MAX;
        for state in [state(), wild, ProgressState::default()] {
            for width in 0..220 {
                let line = progress_line(&state, width, false);
                assert_eq!(plain::columns(&line), width, "{line:?}");
                assert!(!line.contains(['\u{1b}', '\n', '\r']));
            }
        }
    }

    #[test]
    fn a_narrow_line_keeps_the_time_the_error_rate_and_the_fault() {
        let line = progress_line(&state(), 60, false);
        for part in ["15/60 s", "0.4% errors", "P10"] {
            assert!(line.contains(part), "{part:?} in {line:?}");
        }
        assert!(!line.contains("p99"), "{line:?}");
    }

    #[test]
    fn the_bar_is_filled_to_the_share_of_time_and_never_past_it() {
        let bar = |secs, width| {
            let state = ProgressState {
                elapsed: Duration::from_secs(secs),
                ..state()
            };
            bar_of(&state, width)
        };
        assert_eq!(bar(0, 4), "░░░░");
        assert_eq!(bar(15, 4), "█░░░");
        assert_eq!(bar(20, 4), "█▎░░");
        assert_eq!(bar(60, 4), "████");
        assert_eq!(bar(600, 4), "████");
        assert_eq!(bar_of(&ProgressState::default(), 3), "░░░");
    }

    #[test]
    fn without_colour_there_are_no_codes() {
        assert!(!progress_line(&state(), 120, false).contains('\u{1b}'));
        assert!(progress_line(&state(), 120, true).contains("\u{1b}[1;31m"));
    }
}
