//! The lanes of a timeline, each from the plot's numbers to its row.

use crate::report::plain::{self, escape};
use crate::report::said;
use crate::report::{FaultLane, Verdict};

use super::columns::Breaker;
use super::shapes::{self, Scale, n};
use super::timeline::Plot;

/// Windows of broken claims drawn; the table holds them all.
const WINDOWS: usize = 6;

pub(super) fn svg(inside: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{inside}</svg>"
    )
}

fn path(class: &str, d: &str) -> String {
    if d.is_empty() {
        return String::new();
    }
    format!("<path class=\"{class}\" d=\"{d}\"/>")
}

struct Lane<'a> {
    class: &'a str,
    /// As it is; may be of strangers.
    name: &'a str,
    /// Beneath the name; markup.
    note: String,
    plot: String,
    /// Top and bottom of the scale.
    scale: [String; 2],
}

impl Lane<'_> {
    fn row(self) -> String {
        let [top, bottom] = self.scale;
        let name = escape(self.name);
        format!(
            "<div class=\"lane {}\"><div class=\"name\"><b title=\"{name}\">{name}</b>{}</div><div class=\"plot\">{}</div>\
             <div class=\"scale\"><span>{top}</span><span>{bottom}</span></div></div>\n",
            self.class, self.note, self.plot
        )
    }
}

fn key(class: &str, text: &str) -> String {
    format!(
        "<span class=\"key\"><i class=\"{class}\"></i>{}</span>",
        escape(text)
    )
}

/// Of a plot's thousand, about the width of a letter on a wide screen.
const LETTER: f64 = 7.5;

/// Words in the block from `from` to `to` where they fit and it is `whole`, and beside it where they do not.
fn words(text: &str, from: f64, to: f64, whole: bool) -> String {
    let fits = whole && plain::columns(text) as f64 * LETTER < to - from;
    let (side, place) = match () {
        () if fits => ("left", from),
        () if to <= 600.0 => ("left", to),
        () => ("right", shapes::WIDTH - from),
    };
    let room = n(100.0 - place / 10.0);
    let place = n(place / 10.0);
    format!(
        "<span class=\"on\" style=\"{side}:{place}%;max-width:{room}%\">{}</span>",
        escape(text)
    )
}

pub(super) fn phases(plot: &Plot<'_>) -> String {
    if plot.run.phases.is_empty() {
        return String::new();
    }
    let name = |phase: &crate::report::Phase| {
        let (from, to) = (plot.axis.x(phase.from_ms), plot.axis.x(phase.to_ms));
        let width = n((to - from).max(0.0) / 10.0);
        let name = escape(&phase.name);
        format!(
            "<span class=\"phase\" title=\"{name}\" style=\"left:{}%;width:{width}%\">{name}</span>",
            n(from / 10.0)
        )
    };
    Lane {
        class: "phases",
        name: "phase",
        note: String::new(),
        plot: plot.run.phases.iter().map(name).collect(),
        scale: Default::default(),
    }
    .row()
}

pub(super) fn faults(plot: &Plot<'_>) -> String {
    plot.run
        .faults
        .iter()
        .map(|fault| one_fault(plot, fault))
        .collect()
}

fn one_fault(plot: &Plot<'_>, fault: &FaultLane) -> String {
    let (from, to) = (plot.axis.x(fault.from_ms), plot.axis.x(fault.to_ms));
    let to = to.max(from);
    let seen = match fault.seen {
        0 => "<em class=\"unknown\">never seen</em>".to_owned(),
        seen => format!("seen {}", said::whole(seen)),
    };
    let class = if fault.seen == 0 {
        "fault unseen"
    } else {
        "fault"
    };
    let whole = fault.seen > 0 && fault.shape != "flap" && fault.stretches.is_empty();
    let shape = if fault.stretches.is_empty() {
        shapes::fault(&fault.shape, from, to)
    } else {
        let on = fault.stretches.iter();
        let on = on.map(|(from, to)| (plot.axis.x(*from), plot.axis.x(*to)));
        shapes::blocks(on)
    };
    Lane {
        class: "bar",
        name: &fault.fault,
        note: format!(
            "<small title=\"{0}\">on {0}</small>",
            escape(&fault.on.join(", "))
        ),
        plot: format!(
            "{}{}",
            svg(&path(class, &shape)),
            words(&fault.what, from, to, whole)
        ),
        scale: [seen, escape(&fault.shape)],
    }
    .row()
}

/// When a broken claim was broken.
pub(super) fn windows(plot: &Plot<'_>) -> String {
    let broken = plot
        .run
        .findings()
        .filter(|finding| finding.verdict == Verdict::Fail);
    let windows = broken.filter_map(|finding| finding.window.map(|window| (finding, window)));
    windows
        .take(WINDOWS)
        .map(|(finding, (from_ms, to_ms))| {
            let (from, to) = (plot.axis.x(from_ms), plot.axis.x(to_ms));
            let to = to.max(from);
            Lane {
                class: "bar",
                name: &finding.name,
                note: "<small class=\"fail\">broken</small>".to_owned(),
                plot: format!(
                    "{}{}",
                    svg(&path("window", &shapes::fault("step", from, to))),
                    words(&finding.claim, from, to, true)
                ),
                scale: Default::default(),
            }
            .row()
        })
        .collect()
}

pub(super) fn errors(plot: &Plot<'_>) -> String {
    counted(plot, "errors", &plot.columns.failed)
}

pub(super) fn requests(plot: &Plot<'_>) -> String {
    let ok = plot.columns.ok.iter().zip(&plot.columns.failed);
    let all: Vec<u64> = ok.map(|(ok, failed)| ok + failed).collect();
    counted(plot, "requests", &all)
}

fn counted(plot: &Plot<'_>, name: &str, values: &[u64]) -> String {
    if plot.columns.count == 0 {
        return String::new();
    }
    let top = values.iter().copied().max().unwrap_or(0);
    let class = format!("{name} counted");
    Lane {
        class: &class,
        name,
        note: "<small>per column</small>".to_owned(),
        plot: svg(&path(name, &shapes::bars(values, top, &plot.edges))),
        scale: [
            said::whole(top),
            if top == 0 {
                String::new()
            } else {
                "0".to_owned()
            },
        ],
    }
    .row()
}

/// p50 and p99 to the first content, over the band the control left.
pub(super) fn latency(plot: &Plot<'_>) -> String {
    let series = &plot.run.series;
    let control = [series.control_p50, series.control_p99]
        .map(|it| it.map(f64::from).filter(|it| it.is_finite()));
    let measured = plot.columns.p50.iter().chain(&plot.columns.p99).flatten();
    let Some(scale) =
        Scale::logarithmic(measured.copied().chain(control.iter().flatten().copied()))
    else {
        return String::new();
    };
    let lines: String = scale
        .decades()
        .into_iter()
        .map(|value| path("grid", &format!("M0 {0}H1000", n(scale.y(value)))))
        .collect();
    let band = match control {
        [Some(p50), Some(p99)] => path(
            "control",
            &format!("M0 {0}H1000V{1}H0z", n(scale.y(p50)), n(scale.y(p99))),
        ),
        _ => String::new(),
    };
    let names: String = scale
        .decades()
        .into_iter()
        .map(|value| {
            format!(
                "<span class=\"decade\" style=\"top:{}%\">{}</span>",
                n(scale.y(value)),
                said::millis(value)
            )
        })
        .collect();
    let p50 = path("p50", &shapes::line(&plot.columns.p50, scale, &plot.edges));
    let p99 = path("p99", &shapes::line(&plot.columns.p99, scale, &plot.edges));
    let band_key = if band.is_empty() {
        String::new()
    } else {
        key("control", "control")
    };
    Lane {
        class: "latency",
        name: "first content",
        note: format!(
            "<span class=\"keys\">{}{}{band_key}</span>",
            key("p99", "p99"),
            key("p50", "p50")
        ),
        plot: format!("{}{names}", svg(&format!("{band}{lines}{p99}{p50}"))),
        scale: [said::millis(scale.high), said::millis(scale.low)],
    }
    .row()
}

/// Who got which share of the attempts.
pub(super) fn shares(plot: &Plot<'_>) -> String {
    let mocks = &plot.columns.attempts;
    if mocks.is_empty() || plot.columns.count == 0 {
        return String::new();
    }
    let total =
        |column: usize| -> u64 { mocks.iter().filter_map(|(_, list)| list.get(column)).sum() };
    let totals: Vec<u64> = (0..plot.columns.count).map(total).collect();
    let mut below = vec![0.0; plot.columns.count];
    let mut layers = String::new();
    for (number, (_, list)) in mocks.iter().enumerate() {
        let share = |((count, total), below): ((&u64, &u64), &mut f64)| {
            let lower = *below;
            let upper = lower + *count as f64 / (*total).max(1) as f64;
            *below = upper;
            (*total > 0).then_some((lower, upper))
        };
        let layer: Vec<Option<(f64, f64)>> = list
            .iter()
            .zip(&totals)
            .zip(below.iter_mut())
            .map(share)
            .collect();
        layers.push_str(&path(
            &format!("m{number}"),
            &shapes::area(&layer, &plot.edges),
        ));
    }
    let keys: String = mocks
        .iter()
        .enumerate()
        .map(|(number, (mock, _))| key(&format!("m{number}"), mock))
        .collect();
    Lane {
        class: "shares",
        name: "traffic share",
        note: format!("<span class=\"keys\">{keys}</span>"),
        plot: svg(&layers),
        scale: ["100%".to_owned(), "0%".to_owned()],
    }
    .row()
}

pub(super) fn breakers(plot: &Plot<'_>) -> String {
    if plot.columns.breakers.is_empty() {
        return String::new();
    }
    let keys = [
        ("closed", "closed"),
        ("half", "half open"),
        ("open", "open"),
    ];
    let keys: String = keys.iter().map(|(class, text)| key(class, text)).collect();
    let head = format!(
        "<div class=\"lane head\"><div class=\"name\"><b>breakers</b></div><div class=\"plot\"><span class=\"keys\">{keys}</span></div><div class=\"scale\"></div></div>\n"
    );
    let rows = plot.columns.breakers.iter().map(|(endpoint, states)| {
        let drawn: String = shapes::stretches(states)
            .into_iter()
            .map(|it| stretch(plot, it))
            .collect();
        Lane {
            class: "breaker",
            name: endpoint,
            note: String::new(),
            plot: svg(&drawn),
            scale: Default::default(),
        }
        .row()
    });
    format!("{head}{}", rows.collect::<String>())
}

fn stretch(plot: &Plot<'_>, (state, from, to): (Breaker, usize, usize)) -> String {
    let (Some(from), Some(to)) = (plot.edges.get(from), plot.edges.get(to)) else {
        return String::new();
    };
    let (class, top, bottom) = match state {
        Breaker::Unknown => return String::new(),
        Breaker::Closed => ("closed", 42, 58),
        Breaker::HalfOpen => ("half", 25, 75),
        Breaker::Open => ("open", 0, 100),
    };
    path(
        class,
        &format!("M{} {top}H{}V{bottom}H{}z", n(*from), n(*to), n(*from)),
    )
}

/// Memory and descriptors of the gateway's process.
pub(super) fn process(plot: &Plot<'_>) -> String {
    let columns = &plot.columns;
    let memory = gauge(plot, "memory", &columns.memory, said::bytes);
    let whole = |number: f64| said::count(number.round());
    let descriptors = gauge(plot, "descriptors", &columns.descriptors, whole);
    memory + &descriptors
}

fn gauge(
    plot: &Plot<'_>,
    name: &str,
    values: &[Option<f64>],
    told: impl Fn(f64) -> String,
) -> String {
    let Some(scale) = Scale::tight(values.iter().flatten().copied()) else {
        return String::new();
    };
    Lane {
        class: "gauge",
        name,
        note: String::new(),
        plot: svg(&path("gauge", &shapes::line(values, scale, &plot.edges))),
        scale: [told(scale.high), told(scale.low)],
    }
    .row()
}
