//! Finds where in an answer a fault begins to show.
//!
//! # Why
//! That a fault was chosen for a request proves nothing: a stream may be over before the chunk that was to be cut,
//! and a client may leave before a late answer is late. So the steps are laid beside those of the healthy answer to
//! the same request, and the log names the fault only once the first step that differs has been carried out.

use std::time::Duration;

use super::behaviour::{Part, Step};

/// `steps` with a [`Step::Mark`] where they first differ from the healthy ones; without one when they never do.
/// Pieces show with the first bytes, so `sliced` steps differ in whatever they send.
pub(super) fn marked(mut steps: Vec<Step>, healthy: &[Step], sliced: bool) -> Vec<Step> {
    let differs = |(place, step): (usize, &Step)| {
        let same = healthy.get(place).is_some_and(|other| same(step, other));
        !same || sliced && matches!(step, Step::Send { .. })
    };
    let Some(place) = steps.iter().enumerate().position(differs) else {
        if steps.len() < healthy.len() {
            steps.push(Step::Mark);
        }
        return steps;
    };
    match steps.get(place) {
        Some(Step::Sleep(lasts)) => {
            let lasts = *lasts;
            let usual = match healthy.get(place) {
                Some(Step::Sleep(usual)) => (*usual).min(lasts),
                _ => Duration::ZERO,
            };
            let late = [
                Step::Sleep(usual),
                Step::Mark,
                Step::Sleep(lasts.saturating_sub(usual)),
            ];
            steps.splice(place..=place, late);
        }
        // What is sent has to have left.
        Some(Step::Send { .. }) => steps.insert(place.saturating_add(1), Step::Mark),
        _ => steps.insert(place, Step::Mark),
    }
    steps
}

fn same(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (
            Step::Send { bytes, part },
            Step::Send {
                bytes: others,
                part: others_part,
            },
        ) => {
            let same_bytes = if *part == Part::Head {
                undated(bytes).eq(undated(others))
            } else {
                bytes == others
            };
            part == others_part && same_bytes
        }
        (Step::Sleep(one), Step::Sleep(other)) => one == other,
        _ => false,
    }
}

/// A second may have passed between two heads.
fn undated(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"date: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &'static str) -> Step {
        Step::raw(text)
    }

    fn sleep(millis: u64) -> Step {
        Step::Sleep(Duration::from_millis(millis))
    }

    fn told(steps: Vec<Step>, healthy: &[Step], sliced: bool) -> String {
        let words = marked(steps, healthy, sliced)
            .into_iter()
            .map(|step| match step {
                Step::Send { bytes, .. } => String::from_utf8_lossy(&bytes).into_owned(),
                Step::Sleep(lasts) => lasts.as_millis().to_string(),
                Step::Mark => "!".to_owned(),
                other @ (Step::Repeat { .. }
                | Step::Slice(_)
                | Step::Hold
                | Step::Reset
                | Step::Fin) => format!("{other:?}"),
            });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_answer_that_is_healthy_after_all_has_no_mark() {
        let healthy = [sleep(5), raw("a"), raw("b")];
        assert_eq!(told(healthy.to_vec(), &healthy, false), "5 a b");
    }

    #[test]
    fn the_mark_stands_behind_the_first_bytes_and_before_the_first_deed_that_differ() {
        let healthy = [sleep(5), raw("a"), sleep(1), raw("b")];
        let cut = vec![sleep(5), raw("a"), Step::Reset];
        assert_eq!(told(cut, &healthy, false), "5 a ! Reset");
        let other = vec![sleep(5), raw("x"), Step::Hold];
        assert_eq!(told(other, &healthy, false), "5 x ! Hold");
        let short = vec![sleep(5), raw("a")];
        assert_eq!(told(short, &healthy, false), "5 a !");
        let refused = vec![raw("500")];
        assert_eq!(told(refused, &healthy, false), "500 !");
    }

    #[test]
    fn a_wait_shows_once_it_is_longer_than_the_healthy_one() {
        let healthy = [sleep(5), raw("a")];
        assert_eq!(told(vec![sleep(50), raw("a")], &healthy, false), "5 ! 45 a");
        assert_eq!(told(vec![raw("a")], &[], false), "a !");
    }

    #[test]
    fn pieces_show_with_the_first_bytes() {
        let healthy = [sleep(5), raw("a"), raw("b")];
        assert_eq!(told(healthy.to_vec(), &healthy, true), "5 a ! b");
    }

    #[test]
    fn a_second_that_passes_between_two_heads_is_no_fault() {
        let head = |date: &str| Step::Send {
            bytes: format!("HTTP/1.1 200 OK\r\ndate: {date}\r\nx: y\r\n\r\n").into(),
            part: Part::Head,
        };
        let steps = marked(vec![head("one")], &[head("two")], false);
        assert_eq!(steps.len(), 1, "{steps:?}");
    }
}
