//! Who waits for a target: three lanes, bounded, by deadline, shed early when the line stands.
//!
//! # Why LIFO under pressure
//! When the line stands longer than it should (`CoDel`: every request of the last 100 ms waited over 5 ms),
//! the oldest are the ones that will miss their deadline anyway. Serving the newest first saves those who
//! still can be, and the oldest are shed with an honest answer while it is still cheap.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::{Lane, Moment};

/// The wait that is no queue yet.
const TARGET: Duration = Duration::from_millis(5);
/// For so long every wait has to be above the target before the line counts as standing.
const INTERVAL: Duration = Duration::from_millis(100);
/// Of a standing line, those older than this are shed.
const SHED_AFTER: Duration = Duration::from_secs(1);
/// Batch gets one of so many turns while it waits.
const BATCH_TURN: u32 = 20;
/// The share of the line that only interactive requests may fill.
const KEPT_FOR_INTERACTIVE: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShedReason {
    Full,
    Deadline,
    Codel,
}

impl ShedReason {
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Deadline => "deadline",
            Self::Codel => "codel",
        }
    }
}

/// Someone taken out of the line, with all it takes to be put back.
#[derive(Debug)]
pub struct Popped<T> {
    pub item: T,
    pub lane: Lane,
    pub enqueued_at: Moment,
    deadline: Moment,
    from_back: bool,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    deadline: Moment,
    enqueued_at: Moment,
}

#[derive(Debug)]
pub struct WaitQueue<T> {
    lanes: [VecDeque<Entry<T>>; Lane::ALL.len()],
    length: usize,
    most: usize,
    turns: u32,
    /// Since when every wait is above the target; `None` while some are below.
    above_since: Option<Moment>,
}

impl<T> WaitQueue<T> {
    pub fn new(most: usize) -> Self {
        Self {
            lanes: std::array::from_fn(|_| VecDeque::new()),
            length: 0,
            most,
            turns: 0,
            above_since: None,
        }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts somebody in the line. Who is handed back has no place in it: the one who came, or one of a less
    /// urgent lane who had to make room.
    pub fn push(
        &mut self,
        lane: Lane,
        deadline: Moment,
        now: Moment,
        item: T,
    ) -> Result<(), (T, ShedReason)> {
        let kept = if lane == Lane::Interactive {
            0
        } else {
            self.most.div_ceil(KEPT_FOR_INTERACTIVE)
        };
        if deadline <= now {
            return Err((item, ShedReason::Deadline));
        }
        let mut yields = None;
        if self.length + kept >= self.most {
            yields = self.last_behind(lane);
            if yields.is_none() {
                return Err((item, ShedReason::Full));
            }
        }
        self.lanes[lane.index()].push_back(Entry {
            item,
            deadline,
            enqueued_at: now,
        });
        self.length += 1;
        yields.map_or(Ok(()), |entry| Err((entry.item, ShedReason::Full)))
    }

    /// Whoever came last in the least urgent lane behind this one gives up its place (fault O04).
    fn last_behind(&mut self, lane: Lane) -> Option<Entry<T>> {
        let behind = self.lanes.iter_mut().skip(lane.index() + 1).rev();
        let entry = behind.flat_map(VecDeque::pop_back).next();
        self.length -= usize::from(entry.is_some());
        entry
    }

    /// Takes out everyone whose deadline has passed, and under pressure everyone who has waited too long.
    pub fn expired(&mut self, now: Moment) -> Vec<(T, ShedReason)> {
        let standing = self.stands(now);
        let mut late = Vec::new();
        for lane in &mut self.lanes {
            for entry in std::mem::take(lane) {
                if entry.deadline <= now {
                    late.push((entry.item, ShedReason::Deadline));
                } else if standing && now.since(entry.enqueued_at) >= SHED_AFTER {
                    late.push((entry.item, ShedReason::Codel));
                } else {
                    lane.push_back(entry);
                }
            }
        }
        self.length -= late.len();
        late
    }

    /// Takes out those whose asker has gone; nobody is waiting for their answer.
    pub fn drop_left(&mut self, left: impl Fn(&T) -> bool) {
        for lane in &mut self.lanes {
            lane.retain(|entry| !left(&entry.item));
        }
        self.length = self.lanes.iter().map(VecDeque::len).sum();
    }

    /// The next to be served.
    pub fn pop(&mut self, now: Moment) -> Option<Popped<T>> {
        let lane = self.next_lane()?;
        let standing = self.stands(now);
        let queue = &mut self.lanes[lane.index()];
        let entry = if standing {
            queue.pop_back()
        } else {
            queue.pop_front()
        }?;
        self.length -= 1;
        self.turns = self.turns.wrapping_add(1);
        self.note_wait(now.since(entry.enqueued_at), now);
        Some(Popped {
            item: entry.item,
            lane,
            enqueued_at: entry.enqueued_at,
            deadline: entry.deadline,
            from_back: standing,
        })
    }

    /// Undoes a pop: there was no room after all.
    pub fn put_back(&mut self, popped: Popped<T>) {
        let entry = Entry {
            item: popped.item,
            deadline: popped.deadline,
            enqueued_at: popped.enqueued_at,
        };
        let queue = &mut self.lanes[popped.lane.index()];
        if popped.from_back {
            queue.push_back(entry)
        } else {
            queue.push_front(entry)
        }
        self.length += 1;
        self.turns = self.turns.wrapping_sub(1);
    }

    fn next_lane(&self) -> Option<Lane> {
        let waits = |lane: Lane| !self.lanes[lane.index()].is_empty();
        let batch_turn = self.turns % BATCH_TURN == BATCH_TURN - 1;
        if batch_turn && waits(Lane::Batch) {
            return Some(Lane::Batch);
        }
        Lane::ALL.into_iter().find(|lane| waits(*lane))
    }

    fn note_wait(&mut self, wait: Duration, now: Moment) {
        if wait <= TARGET {
            self.above_since = None;
        } else if self.above_since.is_none() {
            self.above_since = Some(now);
        }
    }

    /// Whether the line has been standing for a whole interval. An oldest waiter below the target ends it.
    fn stands(&mut self, now: Moment) -> bool {
        let oldest = self
            .lanes
            .iter()
            .filter_map(VecDeque::front)
            .map(|entry| entry.enqueued_at)
            .min();
        match oldest {
            None => self.above_since = None,
            Some(oldest) => self.note_wait(now.since(oldest), now),
        }
        // A few who wait for a rate limit to reopen are no overload: a line is one when it is half full.
        self.length * 2 > self.most
            && self
                .above_since
                .is_some_and(|since| now.since(since) >= INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment::from_secs(100);

    fn later(ms: u64) -> Moment {
        NOW.after(Duration::from_millis(ms))
    }

    #[test]
    fn o04_batch_makes_room_for_everybody_else() {
        let mut queue = WaitQueue::new(10);
        for number in 0..8 {
            assert!(queue.push(Lane::Batch, later(1_000), NOW, number).is_ok());
        }
        let refused = |queue: &mut WaitQueue<i32>, lane, number| {
            queue
                .push(lane, later(1_000), NOW, number)
                .err()
                .map(|(item, why)| {
                    assert_eq!(why, ShedReason::Full);
                    item
                })
        };
        assert_eq!(
            refused(&mut queue, Lane::Batch, 8),
            Some(8),
            "nobody is behind it"
        );
        assert_eq!(
            refused(&mut queue, Lane::Default, 9),
            Some(7),
            "the last batch"
        );
        assert_eq!(
            refused(&mut queue, Lane::Interactive, 10),
            None,
            "its own share"
        );
        assert_eq!(refused(&mut queue, Lane::Interactive, 11), None);
        assert_eq!(refused(&mut queue, Lane::Interactive, 12), Some(6));
        assert_eq!(queue.len(), 10);
    }

    #[test]
    fn o03_a_request_past_its_deadline_is_never_served() {
        let mut queue = WaitQueue::new(10);
        queue.push(Lane::Default, later(50), NOW, "dead").unwrap();
        queue.push(Lane::Default, later(500), NOW, "alive").unwrap();
        assert_eq!(queue.expired(later(51)), [("dead", ShedReason::Deadline)]);
        assert_eq!(
            queue.pop(later(51)).map(|popped| popped.item),
            Some("alive")
        );
        assert!(queue.is_empty());
    }

    #[test]
    fn o04_batch_yields_but_never_starves() {
        let mut queue = WaitQueue::new(1_000);
        for _ in 0..100 {
            queue
                .push(Lane::Interactive, later(60_000), NOW, Lane::Interactive)
                .unwrap();
            queue
                .push(Lane::Batch, later(60_000), NOW, Lane::Batch)
                .unwrap();
        }
        let served: Vec<_> = (0..100)
            .filter_map(|_| queue.pop(NOW))
            .map(|popped| popped.item)
            .collect();
        assert_eq!(
            served.iter().filter(|lane| **lane == Lane::Batch).count(),
            5
        );
    }

    #[test]
    fn o04_a_fifth_of_the_line_is_kept_for_interactive() {
        let mut queue = WaitQueue::new(10);
        let mut pushed = 0;
        while queue.push(Lane::Batch, later(1_000), NOW, ()).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, 8);
        assert!(queue.push(Lane::Interactive, later(1_000), NOW, ()).is_ok());
        assert!(queue.push(Lane::Interactive, later(1_000), NOW, ()).is_ok());
        assert_eq!(
            queue.push(Lane::Interactive, later(1_000), NOW, ()),
            Err(((), ShedReason::Full))
        );
    }

    #[test]
    fn o02_a_standing_line_serves_the_newest_and_sheds_the_oldest() {
        let mut queue = WaitQueue::new(14);
        for age in 0..10 {
            queue
                .push(Lane::Default, later(60_000), later(age), age)
                .unwrap();
        }
        assert_eq!(
            queue.pop(later(10)).map(|popped| popped.item),
            Some(0),
            "no pressure yet: first come"
        );
        assert!(queue.expired(later(50)).is_empty());
        assert_eq!(
            queue.pop(later(200)).map(|popped| popped.item),
            Some(9),
            "standing: newest first"
        );
        let shed = queue.expired(later(1_500));
        assert!(shed.iter().all(|(_, why)| *why == ShedReason::Codel) && shed.len() == 8);
    }

    #[test]
    fn a_pop_without_room_is_undone() {
        let mut queue = WaitQueue::new(10);
        queue.push(Lane::Default, later(900), NOW, 1).unwrap();
        queue.push(Lane::Default, later(900), NOW, 2).unwrap();
        let popped = queue.pop(NOW).unwrap();
        queue.put_back(popped);
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.pop(NOW).map(|popped| popped.item), Some(1));
    }

    proptest! {
        #[test]
        fn o03_nobody_is_lost_and_nobody_is_served_twice(
            steps in prop::collection::vec((0_u8..5, 0_usize..3, 0_u64..300), 0..300),
        ) {
            let mut queue = WaitQueue::new(20);
            let mut now = NOW;
            let (mut pushed, mut out) = (0_usize, 0_usize);
            for (what, lane, ms) in steps {
                now = now.after(Duration::from_millis(ms / 4));
                match what {
                    0..=2 => {
                        let deadline = now.after(Duration::from_millis(ms));
                        pushed += usize::from(queue.push(Lane::ALL[lane], deadline, now, ()).is_ok());
                    }
                    3 => out += usize::from(queue.pop(now).is_some()),
                    _ => out += queue.expired(now).len(),
                }
                prop_assert!(queue.len() <= 20);
                prop_assert_eq!(pushed, out + queue.len());
            }
        }
    }
}
