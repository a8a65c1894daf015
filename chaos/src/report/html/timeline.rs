//! The timeline of a run: lanes under each other over one time axis.
//!
//! Each lane is a row of a name, a plot and its scale. The plots are stretched to the width there is, so words are never
//! part of them; phases lie behind all lanes, and a strip for each column lies above them and holds its values.

use crate::report::plain::{self, escape};
use crate::report::{Run, said};

use super::columns::{Breaker, Columns};
use super::lanes;
use super::shapes::{Axis, n};

/// What the lanes are drawn from.
pub(super) struct Plot<'a> {
    pub(super) run: &'a Run,
    pub(super) columns: Columns,
    pub(super) axis: Axis,
    /// Where each column begins, and where the last one ends.
    pub(super) edges: Vec<f64>,
}

impl<'a> Plot<'a> {
    fn of(run: &'a Run) -> Self {
        let columns = Columns::of(&run.series);
        let phases = run.phases.iter().map(|phase| phase.to_ms);
        let faults = run.faults.iter().map(|fault| fault.to_ms);
        let drawn = columns.ms.saturating_mul(columns.count as u64);
        let axis = Axis::new(phases.chain(faults).max().unwrap_or(0).max(drawn));
        let edges = (0..=columns.count)
            .map(|column| axis.x(columns.times(column).0))
            .collect();
        Self {
            run,
            columns,
            axis,
            edges,
        }
    }
}

pub(super) fn figure(run: &Run, number: usize) -> String {
    if run.phases.is_empty() && run.faults.is_empty() && Columns::of(&run.series).count == 0 {
        return "<h3>Timeline</h3>\n<p class=\"quiet\">No series was recorded.</p>\n".to_owned();
    }
    let plot = Plot::of(run);
    let all = [
        lanes::phases(&plot),
        lanes::faults(&plot),
        lanes::windows(&plot),
        lanes::errors(&plot),
        lanes::requests(&plot),
        lanes::latency(&plot),
        lanes::shares(&plot),
        lanes::breakers(&plot),
        lanes::process(&plot),
        ticks(plot.axis),
    ];
    let id = format!("time-{number}");
    format!(
        "<h3 id=\"{id}\">Timeline</h3>\n<figure class=\"timeline\" aria-labelledby=\"{id}\">\n<div class=\"lanes\">\n{}{}{}</div>\n\
         <div class=\"readout\" hidden=\"hidden\"></div>\n<figcaption>{}</figcaption>\n</figure>\n",
        bands(&plot),
        all.concat(),
        strips(&plot),
        caption(&plot.columns),
    )
}

fn caption(columns: &Columns) -> String {
    if columns.count == 0 {
        return "No series was recorded.".to_owned();
    }
    let width = said::millis(columns.ms as f64);
    let folded = match columns.steps {
        1 => String::new(),
        steps => format!(": the sum, or the worst, of {steps} steps"),
    };
    format!(
        "Each column is {width}{folded}. The times to the first content are on a logarithmic scale."
    )
}

/// The phases, behind all lanes.
fn bands(plot: &Plot<'_>) -> String {
    let band = |phase: &crate::report::Phase| {
        let (from, to) = (plot.axis.x(phase.from_ms), plot.axis.x(phase.to_ms));
        let class = if phase.name == "faults" {
            "hot"
        } else {
            "cool"
        };
        format!(
            "<path class=\"{class}\" d=\"M{} 0H{}V100H{}z\"/>",
            n(from),
            n(to.max(from)),
            n(from)
        )
    };
    let bands: String = plot.run.phases.iter().map(band).collect();
    format!("<div class=\"under\">{}</div>\n", lanes::svg(&bands))
}

fn ticks(axis: Axis) -> String {
    let tick = |(x, name): &(f64, String)| {
        let class = if *x > 960.0 { " class=\"end\"" } else { "" };
        let place = if *x > 960.0 {
            format!("right:{}%", n(100.0 - x / 10.0))
        } else {
            format!("left:{}%", n(x / 10.0))
        };
        format!("<span{class} style=\"{place}\">{name}</span>")
    };
    let ticks: String = axis.ticks().iter().map(tick).collect();
    format!(
        "<div class=\"lane axis\"><div class=\"name\"></div><div class=\"plot\">{ticks}</div><div class=\"scale\"></div></div>\n"
    )
}

/// A strip for each column, above all lanes: its title is what the pointer shows.
fn strips(plot: &Plot<'_>) -> String {
    let strip = |(column, edge): (usize, &[f64])| match edge {
        [from, to] => format!(
            "<rect x=\"{}\" y=\"0\" width=\"{}\" height=\"100\"><title>{}</title></rect>\n",
            n(*from),
            n(to - from),
            escape(&values(plot, column))
        ),
        _ => String::new(),
    };
    let strips: String = plot.edges.windows(2).enumerate().map(strip).collect();
    format!(
        "<div class=\"over\"><div class=\"cross\" hidden=\"hidden\"></div>{}</div>\n",
        lanes::svg(&strips)
    )
}

/// What was measured in a column: the time, then a line for each value as `name: value`.
fn values(plot: &Plot<'_>, column: usize) -> String {
    let columns = &plot.columns;
    let (from, to) = columns.times(column);
    let phase = plot.run.phase_at(from).map(|name| format!(", {name}"));
    let mut lines = vec![format!(
        "{}{}",
        said::stretch((from, to)),
        phase.unwrap_or_default()
    )];
    let on = plot
        .run
        .faults
        .iter()
        .filter(|fault| fault.from_ms < to && from < fault.to_ms);
    let on: Vec<String> = on.map(|fault| named(&fault.fault)).collect();
    if !on.is_empty() {
        lines.push(format!("faults: {}", on.join(" ")));
    }
    let count = |list: &[u64]| said::whole(list.get(column).copied().unwrap_or_default());
    lines.push(format!("ok: {}", count(&columns.ok)));
    lines.push(format!("errors: {}", count(&columns.failed)));
    let gauge = |name: &str, list: &[Option<f64>], told: fn(f64) -> String| {
        let value = list.get(column).copied().flatten();
        value.map(|value| format!("{name}: {}", told(value)))
    };
    lines.extend(gauge("p50", &columns.p50, said::millis));
    lines.extend(gauge("p99", &columns.p99, said::millis));
    for (mock, list) in &columns.attempts {
        lines.push(format!("{}: {}", named(mock), count(list)));
    }
    for (endpoint, states) in &columns.breakers {
        let state = states.get(column).copied().unwrap_or(Breaker::Unknown);
        // Closed is what is expected; the strip tells only what is not.
        if state > Breaker::Closed {
            lines.push(format!("{} breaker: {}", named(endpoint), state.label()));
        }
    }
    lines.extend(gauge("memory", &columns.memory, said::bytes));
    lines.extend(gauge("descriptors", &columns.descriptors, said::count));
    lines.join("\n")
}

/// A name is told again in every column, and must stay on its line.
fn named(name: &str) -> String {
    plain::cut(name, 40)
}
