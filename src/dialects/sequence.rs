//! Events that carry numbers: said twice, out of order, or about something that never began (fault S13).
//!
//! # Why
//! A proxy on the way may say an event twice when it reconnects, or lose one. Text doubled or with a hole in it
//! is a wrong success, and nothing but the numbers shows it. Streams without numbers pass as they are: there
//! is nothing to hold them against.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::domain::StreamFault;

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Its turn, or it has no number.
    Next,
    /// Said before, word for word: left out.
    Again,
}

/// So many events back a repetition is still compared; one from further back is disorder.
const REMEMBERED: usize = 32;

/// The numbers of one stream's events.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    /// `None` while no event had a number.
    next: Option<u64>,
    /// Digests of the latest events, by number modulo the length.
    latest: [u64; REMEMBERED],
}

impl Sequence {
    /// Judges the next event of the stream. `data` is all of it, so that a number used twice for different
    /// things is told from a repetition.
    pub(super) fn arrives(
        &mut self,
        number: Option<u64>,
        data: &[u8],
    ) -> Result<Arrival, StreamFault> {
        let Some(number) = number else {
            return Ok(Arrival::Next);
        };
        // Some servers count from one.
        let next = self.next.unwrap_or(number.min(1));
        if number > next {
            return Err(StreamFault::Malformed(
                "an event is missing before this one",
            ));
        }
        let digest = digest(data);
        if number == next {
            self.remember(number, digest);
            // Behind the largest number there is none that could follow.
            self.next = Some(next.saturating_add(1));
            return Ok(Arrival::Next);
        }
        if self.remembers(number, next, digest) {
            Ok(Arrival::Again)
        } else {
            Err(StreamFault::Malformed(
                "an event's number was used before for something else",
            ))
        }
    }

    fn remember(&mut self, number: u64, digest: u64) {
        if let Some(place) = self.latest.get_mut(place(number)) {
            *place = digest;
        }
    }

    fn remembers(&self, number: u64, next: u64, digest: u64) -> bool {
        next - number <= REMEMBERED as u64 && self.latest.get(place(number)) == Some(&digest)
    }
}

/// Where the digest of this event is kept.
fn place(number: u64) -> usize {
    usize::try_from(number % REMEMBERED as u64).unwrap_or_default()
}

fn digest(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(number: u64) -> Vec<u8> {
        format!("event {number}").into_bytes()
    }

    #[test]
    fn s13_a_number_used_twice_for_different_things_is_a_fault() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrives(Some(0), b"a"), Ok(Arrival::Next));
        assert_eq!(sequence.arrives(Some(0), b"a"), Ok(Arrival::Again));
        assert!(sequence.arrives(Some(0), b"b").is_err());
        assert_eq!(sequence.arrives(Some(1), b"b"), Ok(Arrival::Next));
    }

    #[test]
    fn s13_a_number_from_too_far_back_to_be_compared_is_a_fault() {
        let mut sequence = Sequence::default();
        for number in 0..=REMEMBERED as u64 {
            sequence.arrives(Some(number), b"a").unwrap();
        }
        assert_eq!(sequence.arrives(Some(1), b"a"), Ok(Arrival::Again));
        // Where its digest was is another event's by now, though of the same text.
        assert!(sequence.arrives(Some(0), b"a").is_err());
    }

    #[test]
    fn s13_a_stream_that_begins_in_its_middle_is_a_fault() {
        for (first, good) in [(0, true), (1, true), (2, false), (u64::MAX, false)] {
            let arrived = Sequence::default().arrives(Some(first), b"a");
            assert_eq!(arrived.is_ok(), good, "{first}");
        }
        // Nothing that came before the first can be proven a repetition.
        let mut sequence = Sequence::default();
        sequence.arrives(Some(1), b"a").unwrap();
        assert!(sequence.arrives(Some(0), b"a").is_err());
    }

    proptest! {
        /// Whatever is said again, each event is let through once and in order.
        #[test]
        fn s13_repetitions_are_dropped_and_nothing_else_is(
            first in 0_u64..=1,
            again in prop::collection::vec(0_u64..REMEMBERED as u64, 1..200),
        ) {
            let mut sequence = Sequence::default();
            let mut through = Vec::new();
            let mut next = first;
            for back in again {
                prop_assert_eq!(sequence.arrives(Some(next), &text(next)), Ok(Arrival::Next));
                through.push(next);
                let said = next.saturating_sub(back).max(first);
                prop_assert_eq!(sequence.arrives(Some(said), &text(said)), Ok(Arrival::Again));
                next += 1;
            }
            prop_assert_eq!(through, (first..next).collect::<Vec<_>>());
        }

        #[test]
        fn s13_a_lost_event_is_a_fault_wherever_it_is(length in 2_u64..200, lost in 0_u64..200) {
            let lost = lost % (length - 1);
            let mut sequence = Sequence::default();
            let met = (0..length)
                .filter(|number| *number != lost)
                .find(|number| sequence.arrives(Some(*number), &text(*number)).is_err());
            // Without the very first, a stream is one that counts from one.
            let expected = (lost > 0).then_some(lost + 1);
            prop_assert_eq!(met, expected);
        }

        #[test]
        fn s13_two_events_that_change_places_are_a_fault(length in 3_u64..100, at in 1_u64..100) {
            let at = 1 + at % (length - 2);
            let mut order: Vec<u64> = (0..length).collect();
            order.swap(at as usize, at as usize + 1);
            let mut sequence = Sequence::default();
            let whole = order
                .iter()
                .all(|number| sequence.arrives(Some(*number), &text(*number)).is_ok());
            prop_assert!(!whole);
        }

        #[test]
        fn s13_without_numbers_everything_passes_and_moves_nothing(
            data in prop::collection::vec(any::<Vec<u8>>(), 0..50), number in 0_u64..=1,
        ) {
            let mut sequence = Sequence::default();
            for data in &data {
                prop_assert_eq!(sequence.arrives(None, data), Ok(Arrival::Next));
            }
            prop_assert_eq!(sequence.arrives(Some(number), b"a"), Ok(Arrival::Next));
            for data in &data {
                prop_assert_eq!(sequence.arrives(None, data), Ok(Arrival::Next));
            }
            prop_assert_eq!(sequence.arrives(Some(number + 1), b"b"), Ok(Arrival::Next));
        }

        #[test]
        fn s13_no_numbers_panic(
            numbers in prop::collection::vec(
                prop_oneof![any::<u64>(), 0_u64..4, (u64::MAX - 3)..=u64::MAX], 0..50,
            ),
        ) {
            let mut sequence = Sequence::default();
            for number in numbers {
                let _ = sequence.arrives(Some(number), b"a");
            }
        }
    }
}
