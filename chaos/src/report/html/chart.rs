//! The timeline of a run: lanes over one axis, as SVG.

use std::fmt::Write as _;

use super::escaped;
use crate::report::{Run, Series};

/// The drawing's width in its own units, and where the axis begins and ends.
const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 992.0;
const COLOURS: [&str; 6] = ["--a", "--b", "--c", "--d", "--e", "--f"];

struct Chart<'a> {
    run: &'a Run,
    series: &'a Series,
    total_ms: f64,
    /// Where the next lane begins.
    y: f64,
    svg: String,
}

pub(super) fn draw(run: &Run, page: &mut String) {
    let total_ms = run
        .phases
        .iter()
        .map(|phase| phase.to_ms)
        .max()
        .unwrap_or(0);
    if total_ms == 0 {
        page.push_str("<p class=\"soft\">nothing was recorded</p>");
        return;
    }
    let mut chart = Chart {
        run,
        series: &run.series,
        total_ms: total_ms as f64,
        y: 26.0,
        svg: String::new(),
    };
    chart.faults();
    chart.breakers();
    chart.traffic();
    chart.errors();
    chart.latency();
    chart.resources();
    let height = chart.y + 22.0;
    let mut back = String::new();
    chart.phases(height, &mut back);
    let steps = serde_json::to_string(&chart.steps()).unwrap_or_default();
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"timeline of {}\" data-from=\"{LEFT}\" data-to=\"{RIGHT}\" data-steps=\"{}\">{back}{}<line class=\"mark grid\" y1=\"20\" y2=\"{height:.0}\" visibility=\"hidden\"/></svg>",
        escaped(&run.scenario),
        escaped(&steps),
        chart.svg
    );
}

fn colour(place: usize) -> &'static str {
    COLOURS.get(place % COLOURS.len()).copied().unwrap_or("--a")
}

impl Chart<'_> {
    fn x(&self, millis: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (millis / self.total_ms).clamp(0.0, 1.0)
    }

    fn step_x(&self, step: usize) -> f64 {
        self.x(step as f64 * self.series.step_ms as f64)
    }

    fn label(&mut self, text: &str, y: f64) {
        let shown: String = text.chars().take(22).collect();
        let _ = write!(
            self.svg,
            "<text class=\"soft\" x=\"{:.0}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            escaped(&shown)
        );
    }

    fn phases(&self, height: f64, back: &mut String) {
        for (place, phase) in self.run.phases.iter().enumerate() {
            let (from, to) = (self.x(phase.from_ms as f64), self.x(phase.to_ms as f64));
            if place % 2 == 1 {
                let _ = write!(
                    back,
                    "<rect x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{height:.0}\" fill=\"var(--phase)\"/>",
                    to - from
                );
            }
            if to - from > 34.0 {
                let _ = write!(
                    back,
                    "<text class=\"soft\" x=\"{:.1}\" y=\"14\">{}</text>",
                    from + 4.0,
                    escaped(&phase.name)
                );
            }
        }
        let seconds = self.total_ms / 1_000.0;
        let every = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0]
            .into_iter()
            .find(|every| seconds / every <= 14.0)
            .unwrap_or(3_600.0);
        let mut at = 0.0;
        while at <= seconds {
            let x = self.x(at * 1_000.0);
            let _ = write!(
                back,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"20\" y2=\"{:.1}\" stroke-opacity=\".5\"/><text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at:.0} s</text>",
                height - 16.0,
                height - 4.0
            );
            at += every;
        }
    }

    fn faults(&mut self) {
        for lane in &self.run.faults {
            let (from, to) = (self.x(lane.from_ms as f64), self.x(lane.to_ms as f64));
            let y = self.y;
            self.label(&lane.fault, y + 12.0);
            let words = format!("{}, seen {}", lane.on.join(" "), lane.seen);
            let _ = write!(
                self.svg,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"16\" rx=\"3\" fill=\"var(--fail)\" fill-opacity=\".22\" stroke=\"var(--fail)\" stroke-opacity=\".6\"><title>{}</title></rect><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                (to - from).max(3.0),
                escaped(&format!("{}: {} ({})", lane.fault, lane.what, lane.shape)),
                from + 6.0,
                y + 12.0,
                escaped(&words)
            );
            self.y += 21.0;
        }
        self.y += 6.0;
    }

    fn breakers(&mut self) {
        let breakers = &self.series.breakers;
        for (endpoint, states) in breakers {
            let is_calm = states
                .iter()
                .all(|state| state == "closed" || state.is_empty());
            // A provider's models without a name of their own, and what is calm among many.
            if is_calm && (endpoint.ends_with("/other") || breakers.len() > 12) {
                continue;
            }
            let y = self.y;
            self.label(endpoint, y + 10.0);
            let mut begin = 0;
            while let Some(state) = states.get(begin) {
                let same = states.iter().skip(begin).take_while(|next| *next == state);
                let end = begin + same.count();
                self.breaker(state, (begin, end), y);
                begin = end;
            }
            self.y += 17.0;
        }
        self.y += 6.0;
    }

    fn breaker(&mut self, state: &str, (begin, end): (usize, usize), y: f64) {
        let (from, to) = (self.step_x(begin), self.step_x(end));
        let (fill, height, top) = match state {
            "closed" => ("var(--pass)", 3.0, 5.0),
            "half_open" => ("var(--unknown)", 8.0, 2.5),
            "open" => ("var(--fail)", 12.0, 0.5),
            _ => return,
        };
        let _ = write!(
            self.svg,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height}\" fill=\"{fill}\" fill-opacity=\".75\"><title>{}</title></rect>",
            y + top,
            (to - from).max(1.0),
            escaped(state)
        );
        if state == "open" && to - from > 34.0 {
            let _ = write!(
                self.svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:var(--card)\">open</text>",
                from + 4.0,
                y + 10.5
            );
        }
    }

    /// Who got how much of the requests, as stacked areas.
    fn traffic(&mut self) {
        const HEIGHT: f64 = 64.0;
        let attempts = &self.series.attempts;
        if attempts.is_empty() {
            return;
        }
        let steps = attempts.values().map(Vec::len).max().unwrap_or(0);
        let at = |counts: &Vec<u32>, step: usize| f64::from(counts.get(step).copied().unwrap_or(0));
        let total = |step: usize| -> f64 { attempts.values().map(|counts| at(counts, step)).sum() };
        let mut below = vec![0.0; steps];
        let y = self.y;
        for (place, (name, counts)) in attempts.iter().enumerate() {
            let (mut upper, mut lower) = (String::new(), Vec::new());
            for (step, under) in below.iter_mut().enumerate() {
                let share = at(counts, step) / total(step).max(1.0);
                let x = self.step_x(step) + (self.step_x(step + 1) - self.step_x(step)) / 2.0;
                lower.push((x, y + HEIGHT * (1.0 - *under)));
                *under += share;
                let _ = write!(upper, "{x:.1},{:.1} ", y + HEIGHT * (1.0 - *under));
            }
            for (x, y) in lower.iter().rev() {
                let _ = write!(upper, "{x:.1},{y:.1} ");
            }
            let _ = write!(
                self.svg,
                "<polygon points=\"{}\" fill=\"var({})\" fill-opacity=\".55\"><title>{}</title></polygon>",
                upper.trim_end(),
                colour(place),
                escaped(name)
            );
        }
        self.label("traffic", y + 12.0);
        for (place, name) in attempts.keys().enumerate().take(6) {
            let legend: String = name.chars().take(14).collect();
            let _ = write!(
                self.svg,
                "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" style=\"fill:var({})\">{}</text>",
                LEFT - 8.0,
                y + 24.0 + 11.0 * place as f64,
                colour(place),
                escaped(&legend)
            );
        }
        self.y += HEIGHT.max(24.0 + 11.0 * attempts.len().min(6) as f64) + 10.0;
    }

    fn errors(&mut self) {
        const HEIGHT: f64 = 46.0;
        let series = self.series;
        let most = series
            .ok
            .iter()
            .zip(&series.failed)
            .map(|(ok, failed)| ok.saturating_add(*failed))
            .max()
            .unwrap_or(0);
        let y = self.y;
        self.label("answers", y + 12.0);
        self.label(&format!("most {most}"), y + 24.0);
        for (step, (ok, failed)) in series.ok.iter().zip(&series.failed).enumerate() {
            let (x, next) = (self.step_x(step), self.step_x(step + 1));
            let scale = HEIGHT / f64::from(most.max(1));
            let (good, bad) = (f64::from(*ok) * scale, f64::from(*failed) * scale);
            for (height, top, fill) in [
                (good, y + HEIGHT - good, "var(--soft)"),
                (bad, y + HEIGHT - good - bad, "var(--fail)"),
            ] {
                if height > 0.0 {
                    let opacity = if fill == "var(--fail)" { "1" } else { ".35" };
                    let _ = write!(
                        self.svg,
                        "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\" fill-opacity=\"{opacity}\"/>",
                        (next - x - 0.4).max(0.4)
                    );
                }
            }
        }
        self.y += HEIGHT + 10.0;
    }

    fn latency(&mut self) {
        const HEIGHT: f64 = 84.0;
        let series = self.series;
        let all = series
            .first_content_p50
            .iter()
            .chain(&series.first_content_p99);
        let known: Vec<f32> = all.flatten().copied().collect();
        let most = known.iter().copied().fold(10.0_f32, f32::max) * 1.2;
        let least = known.iter().copied().fold(most, f32::min).max(1.0) / 2.0;
        // A tenfold is a step of the same height anywhere.
        let (top, bottom) = (f64::from(most).log10(), f64::from(least).log10());
        let y = self.y;
        let place = |millis: f32| {
            let height = (f64::from(millis.max(0.1)).log10() - bottom) / (top - bottom).max(1e-6);
            y + HEIGHT * (1.0 - height.clamp(0.0, 1.0))
        };
        if let (Some(p50), Some(p99)) = (series.control_p50, series.control_p99) {
            let (upper, lower) = (place(p99), place(p50));
            let _ = write!(
                self.svg,
                "<rect x=\"{LEFT}\" y=\"{upper:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"var(--band)\"><title>control: p50 to p99</title></rect>",
                RIGHT - LEFT,
                (lower - upper).max(1.0)
            );
        }
        let shown = marks(least, most);
        for decade in shown
            .iter()
            .copied()
            .step_by(shown.len().div_ceil(5).max(1))
        {
            let at = place(decade);
            let _ = write!(
                self.svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke-dasharray=\"2 4\"/><text class=\"soft\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{decade:.0} ms</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        for (values, stroke) in [
            (&series.first_content_p50, "var(--a)"),
            (&series.first_content_p99, "var(--b)"),
        ] {
            let points: Vec<Option<(f64, f64)>> = values
                .iter()
                .enumerate()
                .map(|(step, value)| value.map(|value| (self.step_x(step), place(value))))
                .collect();
            self.line(&points, stroke);
        }
        let _ = write!(
            self.svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" style=\"fill:var(--a)\">p50</text><text x=\"{:.0}\" y=\"{:.1}\" style=\"fill:var(--b)\">p99 first content</text>",
            LEFT + 6.0,
            y + 11.0,
            LEFT + 34.0,
            y + 11.0
        );
        self.y += HEIGHT + 12.0;
    }

    /// A line with gaps where there is no value.
    fn line(&mut self, points: &[Option<(f64, f64)>], stroke: &str) {
        for stretch in points.split(Option::is_none) {
            let joined: Vec<String> = stretch
                .iter()
                .flatten()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            if !joined.is_empty() {
                let _ = write!(
                    self.svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"1.6\" stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
                    joined.join(" ")
                );
            }
        }
    }

    fn resources(&mut self) {
        const HEIGHT: f64 = 26.0;
        let memory: Vec<Option<f64>> = self
            .series
            .memory
            .iter()
            .map(|bytes| bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)))
            .collect();
        let descriptors: Vec<Option<f64>> = self
            .series
            .descriptors
            .iter()
            .map(|open| open.map(f64::from))
            .collect();
        for (name, unit, values) in [("memory", " MiB", memory), ("descriptors", "", descriptors)] {
            let most = values.iter().flatten().copied().fold(0.0_f64, f64::max);
            if most <= 0.0 {
                continue;
            }
            let y = self.y;
            self.label(name, y + 10.0);
            self.label(&format!("most {most:.0}{unit}"), y + 21.0);
            let points: Vec<Option<(f64, f64)>> = values
                .iter()
                .enumerate()
                .map(|(step, value)| {
                    value.map(|value| (self.step_x(step), y + HEIGHT * (1.0 - value / most)))
                })
                .collect();
            // One look may serve several steps.
            let kept: Vec<Option<(f64, f64)>> =
                points.into_iter().filter(Option::is_some).collect();
            self.line(&kept, "var(--e)");
            self.y += HEIGHT + 8.0;
        }
    }

    /// What a pointer reads at each step.
    fn steps(&self) -> Vec<String> {
        let series = self.series;
        (0..series.ok.len())
            .map(|step| {
                let at = step as u64 * series.step_ms;
                let count = |counts: &[u32]| counts.get(step).copied().unwrap_or(0);
                let mut text = format!(
                    "{}.{:01} s\n{} ok, {} failed",
                    at / 1_000,
                    at % 1_000 / 100,
                    count(&series.ok),
                    count(&series.failed)
                );
                let wait = |values: &[Option<f32>]| values.get(step).copied().flatten();
                if let (Some(p50), Some(p99)) = (
                    wait(&series.first_content_p50),
                    wait(&series.first_content_p99),
                ) {
                    let _ = write!(text, "\np50 {p50:.0} ms, p99 {p99:.0} ms");
                }
                for (name, counts) in &series.attempts {
                    let _ = write!(text, "\n{name} {}", count(counts));
                }
                text
            })
            .collect()
    }
}

/// Round times between two others, to read the rest by.
fn marks(least: f32, most: f32) -> Vec<f32> {
    let round = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
        .into_iter()
        .chain([1_000.0, 2_000.0, 5_000.0, 10_000.0, 30_000.0]);
    round.filter(|mark| (least..=most).contains(mark)).collect()
}
