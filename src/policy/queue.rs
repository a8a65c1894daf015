//! Who waits for a target: three lanes, bounded, by deadline, shed early when the line stands.
//!
//! # Why LIFO under pressure
//! When the line stands longer than it should (`CoDel`: every request of the last 100 ms waited over 5 ms),
//! the oldest are the ones that will miss their deadline anyway. Serving the newest first saves those who
//! still can be, and the oldest are shed with an honest answer while it is still cheap.
//!
//! # Why not before the rate says so
//! Newest first starves whoever is behind: each of them is refused after a wait that could have been spared. Once it
//! is known how fast the line is served, a newcomer whose turn would come too late is refused at once
//! ([`WaitQueue::is_hopeless`]), everybody in the line is served in time, and first come, first served is fair again.

use std::collections::VecDeque;
use std::time::Duration;

use super::served::ServedRate;
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
    /// Its turn would come after its time, as fast as the line is served.
    Hopeless,
}

impl ShedReason {
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Deadline => "deadline",
            Self::Codel => "codel",
            Self::Hopeless => "hopeless",
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
    /// The longest anyone in the line was ready to wait when it came.
    longest: Duration,
    served: ServedRate,
}

impl<T> WaitQueue<T> {
    pub fn new(most: usize) -> Self {
        Self {
            lanes: std::array::from_fn(|_| VecDeque::new()),
            length: 0,
            most,
            turns: 0,
            above_since: None,
            longest: Duration::ZERO,
            served: ServedRate::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Somebody was served, out of the line or past it, while others waited.
    pub fn served(&mut self, now: Moment) {
        if self.length > 0 {
            self.served.count(now);
        }
    }

    /// Whether the turn of one who came now would come after its deadline.
    ///
    /// # What it never does
    /// It never refuses one that would have been served, unless the line is then served faster than in the fastest
    /// whole second of the last ten. What is not known (a line that has just begun, one that is served a few times
    /// in ten seconds) is no reason to refuse.
    pub fn is_hopeless(&self, lane: Lane, deadline: Moment, now: Moment) -> bool {
        self.served
            .most_within(deadline.since(now), now)
            .is_some_and(|most| self.ahead(lane) as u64 >= most)
    }

    /// How many are served at least before one who came now in this lane.
    fn ahead(&self, lane: Lane) -> usize {
        let up_to_own = self.lanes.iter().take(lane.index() + 1);
        let before: usize = up_to_own.map(VecDeque::len).sum();
        if lane == Lane::Batch {
            // It has turns of its own, whoever else waits.
            let own = self.lanes[lane.index()].len();
            before.min(own.saturating_mul(BATCH_TURN as usize))
        } else {
            before
        }
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
        if self.length == 0 {
            self.served.line_begins(now);
            self.longest = Duration::ZERO;
        }
        self.longest = self.longest.max(deadline.since(now));
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
        // A few who wait for a rate limit to reopen are no overload: a line is one when not all of it can be served
        // in time, or while that is unknown, when it is half full.
        let too_long = match self.served.most_within(self.longest, now) {
            Some(most) => self.length as u64 > most,
            None => self.length * 2 > self.most,
        };
        too_long
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

    /// A line that is served so many times a second, evenly, from `NOW` on for so long, and is never empty.
    fn learnt(a_second: u64, seconds: u64, most: usize) -> (WaitQueue<u64>, Moment) {
        let mut queue = WaitQueue::new(most);
        queue.push(Lane::Default, later(3_600_000), NOW, 0).unwrap();
        for turn in 0..a_second * seconds {
            queue.served(later(turn * 1_000 / a_second));
        }
        (queue, later(seconds * 1_000))
    }

    #[test]
    fn o01_whose_turn_would_come_too_late_is_told_at_once() {
        let (mut queue, now) = learnt(50, 3, 1_000);
        let in_a_second = now.after(Duration::from_secs(1));
        for number in 1..50 {
            assert!(
                !queue.is_hopeless(Lane::Default, in_a_second, now),
                "{number}"
            );
            queue.push(Lane::Default, in_a_second, now, number).unwrap();
        }
        assert!(queue.is_hopeless(Lane::Default, in_a_second, now));
        let in_two = now.after(Duration::from_secs(2));
        assert!(
            !queue.is_hopeless(Lane::Default, in_two, now),
            "it may wait longer"
        );
        assert!(
            !queue.is_hopeless(Lane::Interactive, in_a_second, now),
            "it goes before them"
        );
        assert!(
            !queue.is_hopeless(Lane::Batch, in_a_second, now),
            "it has turns of its own"
        );
    }

    #[test]
    fn o01_what_is_not_known_is_no_reason_to_refuse() {
        let fresh = WaitQueue::<u64>::new(10);
        assert!(!fresh.is_hopeless(Lane::Default, later(1), NOW));
        // Less than a whole second of service, and a service of a few in ten seconds.
        let (brief, now) = learnt(500, 1, 10);
        assert!(!brief.is_hopeless(Lane::Default, now.after(Duration::from_millis(1)), now));
        let (mut slow, now) = learnt(1, 9, 1_000);
        for number in 0..100 {
            slow.push(Lane::Default, later(60_000), now, number)
                .unwrap();
        }
        assert!(!slow.is_hopeless(Lane::Default, now.after(Duration::from_secs(1)), now));
    }

    #[test]
    fn o02_a_full_line_that_is_served_in_time_goes_on_in_order() {
        let (mut queue, now) = learnt(100, 3, 50);
        for number in 1..40 {
            queue
                .push(Lane::Default, later(3_600_000), now, number)
                .unwrap();
        }
        let at = now.after(Duration::from_millis(200));
        queue.note_wait(Duration::from_millis(200), now);
        assert_eq!(
            queue.pop(at).map(|popped| popped.item),
            Some(0),
            "first come"
        );
        assert!(queue.expired(at).is_empty());
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

    /// Who is served by when, first come first served, if in each second from now so many are; `None` for one whose
    /// turn never comes in them.
    fn turn_of(ahead: u64, seconds: &[u64]) -> Option<Duration> {
        let mut left = ahead;
        for (second, served) in (0_u64..).zip(seconds) {
            if left < *served {
                let within = ((left + 1) * 1_000).div_ceil(*served);
                return Some(Duration::from_millis(second * 1_000 + within));
            }
            left -= served;
        }
        None
    }

    proptest! {
        #[test]
        fn o01_nobody_is_told_to_go_who_would_have_been_served(
            past in prop::collection::vec(0_u64..200, 2..12),
            future in prop::collection::vec(0_u64..200, 1..12),
            line in 1_usize..600,
            patience_ms in 1_u64..12_000,
        ) {
            let mut queue = WaitQueue::new(10_000);
            queue.push(Lane::Default, later(3_600_000), NOW, 0).unwrap();
            for (second, served) in (0_u64..).zip(&past) {
                for turn in 0..*served {
                    queue.served(later(second * 1_000 + turn * 1_000 / served));
                }
            }
            let now = later(past.len() as u64 * 1_000);
            for _ in 1..line {
                queue.push(Lane::Default, later(3_600_000), now, 0).unwrap();
            }
            // Not faster than the fastest second of the last ten, which began when somebody already waited.
            let known = past.iter().skip(1.max(past.len().saturating_sub(10)));
            let fastest = known.copied().max().unwrap_or(0);
            let future: Vec<u64> = future.into_iter().map(|served| served.min(fastest)).collect();
            let patience = Duration::from_millis(patience_ms);
            if queue.is_hopeless(Lane::Default, now.after(patience), now) {
                let turn = turn_of(line as u64, &future);
                prop_assert!(turn.is_none_or(|turn| turn > patience), "{turn:?} of {patience:?}");
            }
        }

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
