//! The series as it is drawn: a bounded number of columns, however long the run was.

use std::collections::BTreeMap;

use crate::report::Series;

/// More columns than this are not told apart on a page, and each costs its bytes.
pub(super) const MOST: usize = 240;
/// More layers than this are not told apart either; the smallest become one.
pub(super) const LAYERS: usize = 8;

/// What a breaker did in a column: the worst of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Breaker {
    Unknown,
    Closed,
    HalfOpen,
    Open,
}

impl Breaker {
    fn of(word: &str) -> Self {
        match word {
            "closed" => Self::Closed,
            "half_open" => Self::HalfOpen,
            "open" => Self::Open,
            _ => Self::Unknown,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Closed => "closed",
            Self::HalfOpen => "half open",
            Self::Open => "open",
        }
    }
}

/// Every list has `count` values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Columns {
    pub(super) count: usize,
    /// Steps in each column; the last may hold fewer.
    pub(super) steps: usize,
    /// Of one column.
    pub(super) ms: u64,
    pub(super) ok: Vec<u64>,
    pub(super) failed: Vec<u64>,
    /// The worst step's, where a column holds several.
    pub(super) p50: Vec<Option<f64>>,
    pub(super) p99: Vec<Option<f64>>,
    /// The mocks by name; beyond [`LAYERS`] the last one is the sum of the rest.
    pub(super) attempts: Vec<(String, Vec<u64>)>,
    pub(super) breakers: BTreeMap<String, Vec<Breaker>>,
    pub(super) memory: Vec<Option<f64>>,
    pub(super) descriptors: Vec<Option<f64>>,
}

impl Columns {
    pub(super) fn of(series: &Series) -> Self {
        let attempts = series.attempts.values().map(Vec::len);
        let breakers = series.breakers.values().map(Vec::len);
        let length = [
            series.ok.len(),
            series.failed.len(),
            series.first_content_p50.len(),
            series.first_content_p99.len(),
            series.memory.len(),
            series.descriptors.len(),
        ];
        let length = length
            .into_iter()
            .chain(attempts)
            .chain(breakers)
            .max()
            .unwrap_or(0);
        let steps = length.div_ceil(MOST).max(1);
        let count = length.div_ceil(steps);
        let fold = Fold { count, steps };
        let states = |words: &Vec<String>| {
            let worst = |part: &[String]| part.iter().map(|word| Breaker::of(word)).max();
            fold.each(words, |part| worst(part).unwrap_or(Breaker::Unknown))
        };
        Self {
            count,
            steps,
            ms: series.step_ms.max(1).saturating_mul(steps as u64),
            ok: fold.sums(&series.ok),
            failed: fold.sums(&series.failed),
            p50: fold.worst(&series.first_content_p50, f64::from),
            p99: fold.worst(&series.first_content_p99, f64::from),
            attempts: layers(&series.attempts, fold),
            breakers: series
                .breakers
                .iter()
                .map(|(name, words)| (name.clone(), states(words)))
                .collect(),
            memory: fold.worst(&series.memory, |it| it as f64),
            descriptors: fold.worst(&series.descriptors, f64::from),
        }
    }

    /// When a column begins and ends.
    pub(super) fn times(&self, column: usize) -> (u64, u64) {
        let from = self.ms.saturating_mul(column as u64);
        (from, from.saturating_add(self.ms))
    }
}

fn layers(attempts: &BTreeMap<String, Vec<u32>>, fold: Fold) -> Vec<(String, Vec<u64>)> {
    let mut all: Vec<(String, Vec<u64>)> = attempts
        .iter()
        .map(|(mock, counts)| (mock.clone(), fold.sums(counts)))
        .collect();
    if all.len() <= LAYERS {
        return all;
    }
    all.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.iter().sum::<u64>()));
    let rest = all.split_off(LAYERS - 1);
    all.sort();
    let mut sums = vec![0; fold.count];
    for (_, counts) in &rest {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    all.push((format!("{} others", rest.len()), sums));
    all
}

#[derive(Debug, Clone, Copy)]
struct Fold {
    count: usize,
    steps: usize,
}

impl Fold {
    /// A list that is too short is filled up with what `of` makes of nothing.
    fn each<T, U>(self, list: &[T], of: impl Fn(&[T]) -> U) -> Vec<U> {
        let part = |column: usize| {
            let from = (column * self.steps).min(list.len());
            let to = (from + self.steps).min(list.len());
            list.get(from..to).unwrap_or_default()
        };
        (0..self.count).map(|column| of(part(column))).collect()
    }

    fn sums(self, list: &[u32]) -> Vec<u64> {
        self.each(list, |part| part.iter().copied().map(u64::from).sum())
    }

    fn worst<T: Copy>(self, list: &[Option<T>], as_number: impl Fn(T) -> f64) -> Vec<Option<f64>> {
        self.each(list, |part| {
            let numbers = part.iter().flatten().map(|it| as_number(*it));
            numbers.filter(|number| number.is_finite()).reduce(f64::max)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_is_drawn_step_by_step() {
        let series = Series {
            step_ms: 500,
            ok: vec![1, 2, 3],
            failed: vec![1],
            first_content_p50: vec![None, Some(f32::NAN), Some(4.0)],
            ..Series::default()
        };
        let columns = Columns::of(&series);
        assert_eq!((columns.count, columns.steps, columns.ms), (3, 1, 500));
        assert_eq!(columns.ok, [1, 2, 3]);
        assert_eq!(
            columns.failed,
            [1, 0, 0],
            "a list that is too short is filled up"
        );
        assert_eq!(
            columns.p50,
            [None, None, Some(4.0)],
            "what is no number is a gap"
        );
        assert_eq!(columns.times(2), (1_000, 1_500));
    }

    #[test]
    fn a_long_run_is_folded_without_losing_a_request_or_a_spike() {
        let mut series = Series {
            step_ms: 1_000,
            ok: vec![1; 3_601],
            first_content_p99: vec![Some(10.0); 3_601],
            breakers: BTreeMap::from([("a".to_owned(), vec!["closed".to_owned(); 3_601])]),
            ..Series::default()
        };
        series.first_content_p99[1_234] = Some(900.0);
        series.breakers.get_mut("a").unwrap()[1_234] = "open".to_owned();
        let columns = Columns::of(&series);
        assert!(columns.count <= MOST);
        assert_eq!(columns.ok.iter().sum::<u64>(), 3_601);
        let spike = 1_234 / columns.steps;
        assert_eq!(columns.p99[spike], Some(900.0));
        assert_eq!(columns.breakers["a"][spike], Breaker::Open);
        assert_eq!(
            columns.breakers["a"]
                .iter()
                .filter(|it| **it == Breaker::Open)
                .count(),
            1
        );
    }

    #[test]
    fn more_mocks_than_layers_share_the_last_one() {
        let mock = |number: u32| (format!("m{number:02}"), vec![number]);
        let series = Series {
            attempts: (1..=20).map(mock).collect(),
            ..Series::default()
        };
        let columns = Columns::of(&series);
        assert_eq!(columns.attempts.len(), LAYERS);
        assert_eq!(columns.attempts[0].0, "m14");
        assert_eq!(
            columns.attempts[LAYERS - 1],
            ("13 others".to_owned(), vec![91])
        );
    }

    #[test]
    fn an_empty_series_has_no_column() {
        assert_eq!(Columns::of(&Series::default()).count, 0);
    }
}
