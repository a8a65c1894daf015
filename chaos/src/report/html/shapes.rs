//! Numbers to SVG paths. A plot is 1000 wide and 100 high, whatever its size on the screen.

use super::columns::Breaker;

pub(super) const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;

/// The time axis all lanes share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Of the whole run; more than 0.
    total_ms: f64,
}

impl Axis {
    pub(super) fn new(total_ms: u64) -> Self {
        Self {
            total_ms: (total_ms as f64).max(1.0),
        }
    }

    pub(super) fn x(self, ms: u64) -> f64 {
        (ms as f64 / self.total_ms).clamp(0.0, 1.0) * WIDTH
    }

    /// Round moments, at most eight, with their names.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let mut every = 1.0_f64;
        let mut factors = [2.0, 2.5, 2.0].iter().cycle();
        while self.total_ms / every > 7.5 {
            every *= factors.next().copied().unwrap_or(2.0);
        }
        let last = (self.total_ms / every).floor() as u32;
        let tick = |number: u32| {
            let ms = f64::from(number) * every;
            (ms / self.total_ms * WIDTH, format!("{} s", ms / 1e3))
        };
        (0..=last).map(tick).collect()
    }
}

/// A number of a path: one decimal, and none where it says nothing.
pub(super) fn n(number: f64) -> String {
    let tenths = (number * 10.0).round() / 10.0;
    // Never "-0", "NaN" or "inf": a path with one of these is not drawn at all.
    if tenths == 0.0 || !tenths.is_finite() {
        return "0".to_owned();
    }
    tenths.to_string()
}

/// Where each column begins; one more than there are columns.
pub(super) type Edges = [f64];

/// A bar for each column, on the floor, `top` being full height.
pub(super) fn bars(values: &[u64], top: u64, edges: &Edges) -> String {
    let top = top.max(1) as f64;
    let columns = values.iter().zip(edges.windows(2));
    let bar = |(value, edge): (&u64, &[f64])| match edge {
        [from, to] if *value > 0 => {
            // One error among thousands must still be seen.
            let height = (*value as f64 / top * HEIGHT).max(4.0);
            format!(
                "M{} {}V{}H{}V{}z",
                n(*from),
                n(HEIGHT),
                n(HEIGHT - height),
                n(*to),
                n(HEIGHT)
            )
        }
        _ => String::new(),
    };
    columns.map(bar).collect()
}

/// The areas between `lower` and `upper` (shares of the height), broken at gaps.
pub(super) fn area(layer: &[Option<(f64, f64)>], edges: &Edges) -> String {
    let mut path = String::new();
    let mut column = 0;
    while column < layer.len() {
        let run: Vec<(f64, f64)> = layer.iter().skip(column).map_while(|it| *it).collect();
        if let Some(edges) = edges.get(column..=column + run.len())
            && !run.is_empty()
        {
            path.push_str(&one_area(&run, edges));
        }
        column += run.len().max(1);
    }
    path
}

fn one_area(run: &[(f64, f64)], edges: &Edges) -> String {
    let y = |share: f64| n(HEIGHT - share * HEIGHT);
    let mut path = String::new();
    for ((_, upper), edge) in run.iter().zip(edges.windows(2)) {
        if let [from, to] = edge {
            let begin = if path.is_empty() {
                format!("M{} {}", n(*from), y(*upper))
            } else {
                format!("V{}", y(*upper))
            };
            path.push_str(&format!("{begin}H{}", n(*to)));
        }
    }
    for ((lower, _), edge) in run.iter().zip(edges.windows(2)).rev() {
        if let [from, _] = edge {
            path.push_str(&format!("V{}H{}", y(*lower), n(*from)));
        }
    }
    path.push('z');
    path
}

/// A line through the middles of the columns; a value between two gaps is a dash as wide as its column.
pub(super) fn line(values: &[Option<f64>], scale: Scale, edges: &Edges) -> String {
    let mut path = String::new();
    let at = |column: usize| values.get(column).copied().flatten();
    for (column, edge) in edges.windows(2).enumerate() {
        let (Some(value), [from, to]) = (at(column), edge) else {
            continue;
        };
        let y = n(scale.y(value));
        let before = column.checked_sub(1).and_then(at).is_some();
        let alone = !before && at(column + 1).is_none();
        if alone {
            path.push_str(&format!("M{} {y}H{}", n(*from), n(*to)));
        } else {
            let step = if before { "L" } else { "M" };
            path.push_str(&format!("{step}{} {y}", n(f64::midpoint(*from, *to))));
        }
    }
    path
}

/// From a value to its height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    logarithmic: bool,
}

impl Scale {
    /// Round decades, so that 40 ms and 4 s can be read from one lane.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = bounds(values.map(|value| value.max(FLOOR)))?;
        Some(Self {
            low: round_down(low),
            high: round_up(high),
            logarithmic: true,
        })
    }

    /// As tight as the values are, but never so tight that noise looks like a slope.
    pub(super) fn tight(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = bounds(values)?;
        let missing = (high.abs() * 0.1 - (high - low)).max(0.0) / 2.0;
        Some(Self {
            low: (low - missing).max(0.0),
            high: high + missing,
            logarithmic: false,
        })
    }

    pub(super) fn y(self, value: f64) -> f64 {
        let of = |it: f64| {
            if self.logarithmic {
                it.max(FLOOR).ln()
            } else {
                it
            }
        };
        let span = of(self.high) - of(self.low);
        if span <= 0.0 || !span.is_finite() {
            return HEIGHT / 2.0;
        }
        // Room for the stroke at both ends.
        let share = ((of(value) - of(self.low)) / span).clamp(0.0, 1.0);
        HEIGHT - 3.0 - share * (HEIGHT - 6.0)
    }

    /// Whole decades inside, no more than four.
    pub(super) fn decades(self) -> Vec<f64> {
        let inside = |power: &i32| {
            let value = 10_f64.powi(*power);
            value > self.low * 1.001 && value < self.high * 0.999
        };
        let inside: Vec<i32> = (-1..12).filter(inside).collect();
        let each = inside.len().div_ceil(4).max(1);
        let powers = inside.into_iter().step_by(each);
        powers.map(|power| 10_f64.powi(power)).collect()
    }
}

/// Nothing is faster; a logarithm needs more than zero.
const FLOOR: f64 = 0.1;

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

/// The next of 1, 2, 5, 10 … below.
fn round_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [5.0, 2.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|step| *step <= value)
        .unwrap_or(decade)
}

/// The next of 1, 2, 5, 10 … above.
fn round_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|step| *step > value)
        .unwrap_or(decade * 10.0)
}

/// How a fault is made over its time, as an outline.
pub(super) fn fault(shape: &str, from: f64, to: f64) -> String {
    // A fault of a moment is still seen.
    let to = to.max(from + 2.0);
    let block = |from: f64, to: f64| format!("M{} 100V0H{}V100z", n(from), n(to));
    match shape {
        "ramp" => format!("M{} 100V92L{} 0V100z", n(from), n(to)),
        "flap" => {
            let ninth = (to - from) / 9.0;
            let teeth = (0..9).step_by(2).map(f64::from);
            teeth
                .map(|tooth| block(from + tooth * ninth, from + (tooth + 1.0) * ninth))
                .collect()
        }
        _ => block(from, to),
    }
}

/// Blocks one after the other; those too near each other to be told apart are one.
pub(super) fn blocks(all: impl Iterator<Item = (f64, f64)>) -> String {
    let mut drawn: Vec<(f64, f64)> = Vec::new();
    for (from, to) in all {
        let to = to.max(from + 1.0);
        match drawn.last_mut() {
            Some((_, end)) if from < *end + 0.5 => *end = end.max(to),
            _ => drawn.push((from, to)),
        }
    }
    let block = |(from, to): (f64, f64)| format!("M{} 100V0H{}V100z", n(from), n(to));
    drawn.into_iter().map(block).collect()
}

/// What a breaker did: a stretch of columns in one state. Closed is a thin line, half open half the height, open all.
pub(super) fn stretches(states: &[Breaker]) -> Vec<(Breaker, usize, usize)> {
    let mut all: Vec<(Breaker, usize, usize)> = Vec::new();
    for (column, state) in states.iter().enumerate() {
        match all.last_mut() {
            Some((last, _, to)) if last == state => *to = column + 1,
            _ => all.push((*state, column, column + 1)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [f64; 4] = [0.0, 10.0, 20.0, 30.0];

    #[test]
    fn ticks_are_round_few_and_inside() {
        for total in [1, 7, 999, 60_391, 3_600_000, u64::MAX] {
            let ticks = Axis::new(total).ticks();
            assert!((1..=8).contains(&ticks.len()), "{total}: {ticks:?}");
            assert!(ticks.iter().all(|(x, _)| (0.0..=WIDTH).contains(x)));
        }
        let names: Vec<String> = Axis::new(60_000)
            .ticks()
            .into_iter()
            .map(|tick| tick.1)
            .collect();
        assert_eq!(
            names,
            ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]
        );
    }

    #[test]
    fn a_path_never_holds_what_is_no_number() {
        assert_eq!(
            [f64::NAN, f64::INFINITY, -0.04, 1.0, 1.26].map(n),
            ["0", "0", "0", "1", "1.3"]
        );
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_lone_value_is_still_drawn() {
        let scale = Scale::tight([0.0, 10.0].into_iter()).unwrap();
        let path = line(&[Some(0.0), None, Some(10.0)], scale, &EDGES);
        assert_eq!(path, "M0 97H10M20 3H30");
        let path = line(&[Some(0.0), Some(10.0), None], scale, &EDGES);
        assert_eq!(path, "M5 97L15 3");
        assert_eq!(line(&[None, None, None], scale, &EDGES), "");
    }

    #[test]
    fn an_area_is_closed_and_broken_at_gaps() {
        let layer = [Some((0.0, 0.5)), Some((0.5, 1.0)), None];
        assert_eq!(area(&layer, &EDGES), "M0 50H10V0H20V50H10V100H0z");
        assert_eq!(
            area(&[Some((0.0, 1.0)), None, Some((0.0, 1.0))], &EDGES)
                .matches('z')
                .count(),
            2
        );
    }

    #[test]
    fn one_error_among_thousands_is_still_seen() {
        assert_eq!(
            bars(&[0, 1, 10_000], 10_000, &EDGES),
            "M10 100V96H20V100zM20 100V0H30V100z"
        );
    }

    #[test]
    fn a_logarithmic_scale_has_round_ends_around_all_values() {
        let scale = Scale::logarithmic([41.0, 1_004.0].into_iter()).unwrap();
        assert_eq!((scale.low, scale.high), (20.0, 2_000.0));
        assert_eq!(scale.decades(), [100.0, 1_000.0]);
        assert!(scale.y(1_004.0) < scale.y(41.0));
        assert!(Scale::logarithmic(std::iter::empty()).is_none());
        let wild = Scale::logarithmic([-5.0, 0.0, f64::MAX].into_iter()).unwrap();
        assert!(wild.decades().len() <= 4);
        assert!(wild.y(f64::MAX).is_finite() && wild.y(-1.0).is_finite());
    }

    #[test]
    fn a_flat_line_lies_in_the_middle_and_noise_is_no_slope() {
        let flat = Scale::tight([100.0, 100.0].into_iter()).unwrap();
        assert_eq!(flat.y(100.0), 50.0);
        let zero = Scale::tight([0.0].into_iter()).unwrap();
        assert_eq!(zero.y(0.0), 50.0);
        let noise = Scale::tight([100.0, 101.0].into_iter()).unwrap();
        assert!((noise.y(100.0) - noise.y(101.0)).abs() < 12.0);
    }

    #[test]
    fn states_that_follow_each_other_are_one_stretch() {
        use Breaker::{Closed, Open};
        assert_eq!(
            stretches(&[Closed, Closed, Open]),
            [(Closed, 0, 2), (Open, 2, 3)]
        );
    }
}
