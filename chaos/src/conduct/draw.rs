//! Which requests meet a fault that meets only a share of them.
//!
//! # The same seed, the same faults
//! In what order requests reach a mock is the gateway's doing and never the same twice. So the draw hangs on what
//! the client decides: whose request it is, and how often that request has come to this mock before.

use std::collections::HashMap;

use tokio::sync::watch;

use crate::workload::mark_of;

/// What is drawn from for one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lot {
    /// The workload's place, the request's number there, and how often it came before.
    Marked(usize, u64, u32),
    /// None of our clients sent it: its number at the mock.
    Unmarked(u64),
}

impl Lot {
    /// From 0 to 1, evenly.
    pub(super) fn draw(self, seed: u64) -> f64 {
        let parts = match self {
            Self::Marked(place, number, nth) => [place as u64, number, u64::from(nth)],
            Self::Unmarked(number) => [u64::MAX, number, 0],
        };
        let mixed = parts.iter().fold(seed, |mixed, part| {
            // A draw in between, so that neighbours in one part are strangers in the next.
            fastrand::Rng::with_seed(mixed ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15)).u64(..)
        });
        fastrand::Rng::with_seed(mixed).f64()
    }
}

/// How often each request has come to one mock; a cell, because it is asked from where nothing waits.
#[derive(Debug)]
pub(super) struct Visits(watch::Sender<HashMap<(usize, u64), u32>>);

impl Visits {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(HashMap::new()))
    }

    /// Counts this visit; `arrived` is its number at the mock.
    pub(super) fn lot(&self, body: &[u8], arrived: u64) -> Lot {
        let Some(of) = mark_of(body) else {
            return Lot::Unmarked(arrived);
        };
        let mut before = 0;
        self.0.send_modify(|visits| {
            let visits = visits.entry(of).or_default();
            before = *visits;
            *visits = visits.saturating_add(1);
        });
        Lot::Marked(of.0, of.1, before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::PROMPT_MARK;

    fn body(of: (usize, u64)) -> Vec<u8> {
        format!("{{\"x\":\"{PROMPT_MARK} {}.{}: tell\"}}", of.0, of.1).into()
    }

    #[test]
    fn who_meets_a_fault_does_not_hang_on_who_arrives_first() {
        let requests: Vec<(usize, u64)> = (0..200).map(|number| (1, number)).collect();
        let draws = |order: Vec<(usize, u64)>| {
            let visits = Visits::new();
            let drawn = order.iter().zip(1..).map(|(of, arrived)| {
                let lot = visits.lot(&body(*of), arrived);
                (*of, lot.draw(7).to_bits())
            });
            drawn.collect::<HashMap<_, _>>()
        };
        let forward = draws(requests.clone());
        assert_eq!(forward, draws(requests.into_iter().rev().collect()));
        let hit = forward.values().filter(|bits| f64::from_bits(**bits) < 0.3);
        let hit = hit.count();
        assert!((40..80).contains(&hit), "{hit} of 200 for a share of 0.3");
    }

    #[test]
    fn two_mocks_and_two_visits_draw_independently() {
        let (one, other) = (7_u64.rotate_left(17) ^ 3_105, 7_u64.rotate_left(17) ^ 97);
        let hit = |lot: Lot, seed: u64| lot.draw(seed) < 0.5;
        let count = |both: &dyn Fn(u64) -> bool| (0..4_000).filter(|n| both(*n)).count();
        let first = |number| Lot::Marked(1, number, 0);
        let alone = count(&|n| hit(first(n), one));
        assert!(
            (1_850..2_150).contains(&alone),
            "{alone} of 4000 for a half"
        );
        let mocks = count(&|n| hit(first(n), one) && hit(first(n), other));
        assert!(
            (880..1_120).contains(&mocks),
            "{mocks} of 4000 for a quarter"
        );
        let visits = count(&|n| hit(first(n), one) && hit(Lot::Marked(1, n, 1), one));
        assert!(
            (880..1_120).contains(&visits),
            "{visits} of 4000 for a quarter"
        );
    }

    #[test]
    fn the_second_visit_draws_anew() {
        let visits = Visits::new();
        let (first, second) = (visits.lot(&body((0, 5)), 1), visits.lot(&body((0, 5)), 2));
        assert_eq!(
            (first, second),
            (Lot::Marked(0, 5, 0), Lot::Marked(0, 5, 1))
        );
        assert_ne!(first.draw(7).to_bits(), second.draw(7).to_bits());
        assert_ne!(first.draw(7).to_bits(), first.draw(8).to_bits());
    }
}
