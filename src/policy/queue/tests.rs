#![allow(clippy::unwrap_used, reason = "proptest's macro writes the functions")]

use proptest::prelude::*;

use super::*;
use crate::domain::Weight;

/// The line of a gateway with one tenant.
trait OneTenant<T> {
    fn add(
        &mut self,
        lane: Lane,
        deadline: Moment,
        now: Moment,
        item: T,
    ) -> Result<(), (T, ShedReason)>;
    fn next(&mut self, now: Moment) -> Option<Popped<T>>;
    fn hopeless(&self, lane: Lane, deadline: Moment, now: Moment) -> bool;
}

impl<T> OneTenant<T> for WaitQueue<T> {
    fn add(
        &mut self,
        lane: Lane,
        deadline: Moment,
        now: Moment,
        item: T,
    ) -> Result<(), (T, ShedReason)> {
        let pushed = self.push(of(0, 1, lane, deadline), now, item);
        pushed.map_err(|shed| (shed.item, shed.why))
    }

    fn next(&mut self, now: Moment) -> Option<Popped<T>> {
        let head = self.heads(now).into_iter().next()?;
        self.pop(&head, now)
    }

    fn hopeless(&self, lane: Lane, deadline: Moment, now: Moment) -> bool {
        self.is_hopeless(&of(0, 1, lane, deadline), now)
    }
}

fn of(tenant: usize, weight: u32, lane: Lane, deadline: Moment) -> Comer {
    Comer {
        stake: Stake {
            tenant: Arc::from(format!("t{tenant}")),
            weight: Weight::new(weight).unwrap(),
        },
        lane,
        deadline,
    }
}

const NOW: Moment = Moment::from_secs(100);

fn later(ms: u64) -> Moment {
    NOW.after(Duration::from_millis(ms))
}

#[test]
fn o04_batch_makes_room_for_everybody_else() {
    let mut queue = WaitQueue::new(10);
    for number in 0..8 {
        assert!(queue.add(Lane::Batch, later(1_000), NOW, number).is_ok());
    }
    let refused = |queue: &mut WaitQueue<i32>, lane, number| {
        queue
            .add(lane, later(1_000), NOW, number)
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
    queue.add(Lane::Default, later(50), NOW, "dead").unwrap();
    queue.add(Lane::Default, later(500), NOW, "alive").unwrap();
    let late = queue.expired(later(51)).pop().unwrap();
    assert_eq!((late.item, late.why), ("dead", ShedReason::Deadline));
    assert_eq!(
        queue.next(later(51)).map(|popped| popped.item),
        Some("alive")
    );
    assert!(queue.is_empty());
}

#[test]
fn o04_batch_yields_but_never_starves() {
    let mut queue = WaitQueue::new(1_000);
    for _ in 0..100 {
        queue
            .add(Lane::Interactive, later(60_000), NOW, Lane::Interactive)
            .unwrap();
        queue
            .add(Lane::Batch, later(60_000), NOW, Lane::Batch)
            .unwrap();
    }
    let served: Vec<_> = (0..100)
        .filter_map(|_| queue.next(NOW))
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
    while queue.add(Lane::Batch, later(1_000), NOW, ()).is_ok() {
        pushed += 1;
    }
    assert_eq!(pushed, 8);
    assert!(queue.add(Lane::Interactive, later(1_000), NOW, ()).is_ok());
    assert!(queue.add(Lane::Interactive, later(1_000), NOW, ()).is_ok());
    assert_eq!(
        queue.add(Lane::Interactive, later(1_000), NOW, ()),
        Err(((), ShedReason::Full))
    );
}

#[test]
fn o02_a_standing_line_serves_the_newest_and_sheds_the_oldest() {
    let mut queue = WaitQueue::new(14);
    for age in 0..10 {
        queue
            .add(Lane::Default, later(60_000), later(age), age)
            .unwrap();
    }
    assert_eq!(
        queue.next(later(10)).map(|popped| popped.item),
        Some(0),
        "no pressure yet: first come"
    );
    assert!(queue.expired(later(50)).is_empty());
    assert_eq!(
        queue.next(later(200)).map(|popped| popped.item),
        Some(9),
        "standing: newest first"
    );
    let shed = queue.expired(later(1_500));
    assert!(shed.iter().all(|shed| shed.why == ShedReason::Codel) && shed.len() == 8);
}

/// A line that is served so many times a second, evenly, from `NOW` on for so long, and is never empty.
fn learnt(a_second: u64, seconds: u64, most: usize) -> (WaitQueue<u64>, Moment) {
    let mut queue = WaitQueue::new(most);
    queue.add(Lane::Default, later(3_600_000), NOW, 0).unwrap();
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
        assert!(!queue.hopeless(Lane::Default, in_a_second, now), "{number}");
        queue.add(Lane::Default, in_a_second, now, number).unwrap();
    }
    assert!(queue.hopeless(Lane::Default, in_a_second, now));
    let in_two = now.after(Duration::from_secs(2));
    assert!(
        !queue.hopeless(Lane::Default, in_two, now),
        "it may wait longer"
    );
    assert!(
        !queue.hopeless(Lane::Interactive, in_a_second, now),
        "it goes before them"
    );
    assert!(
        !queue.hopeless(Lane::Batch, in_a_second, now),
        "it has turns of its own"
    );
}

#[test]
fn o01_what_is_not_known_is_no_reason_to_refuse() {
    let fresh = WaitQueue::<u64>::new(10);
    assert!(!fresh.hopeless(Lane::Default, later(1), NOW));
    // Less than a whole second of service, and a service of a few in ten seconds.
    let (brief, now) = learnt(500, 1, 10);
    assert!(!brief.hopeless(Lane::Default, now.after(Duration::from_millis(1)), now));
    let (mut slow, now) = learnt(1, 9, 1_000);
    for number in 0..100 {
        slow.add(Lane::Default, later(60_000), now, number).unwrap();
    }
    assert!(!slow.hopeless(Lane::Default, now.after(Duration::from_secs(1)), now));
}

#[test]
fn o02_a_full_line_that_is_served_in_time_goes_on_in_order() {
    let (mut queue, now) = learnt(100, 3, 50);
    for number in 1..40 {
        queue
            .add(Lane::Default, later(3_600_000), now, number)
            .unwrap();
    }
    let at = now.after(Duration::from_millis(200));
    queue.note_wait(Duration::from_millis(200), now);
    assert_eq!(
        queue.next(at).map(|popped| popped.item),
        Some(0),
        "first come"
    );
    assert!(queue.expired(at).is_empty());
}

#[test]
fn whoever_is_looked_at_is_whoever_is_served_and_keeps_its_place_until_then() {
    let mut queue = WaitQueue::new(10);
    for number in 1..=4 {
        queue.add(Lane::Default, later(900), NOW, number).unwrap();
    }
    queue.add(Lane::Interactive, later(900), NOW, 0).unwrap();
    for number in 0..=4 {
        for _ in 0..3 {
            let head = &queue.heads(NOW)[0];
            assert_eq!(queue.peek(head), Some((&number, later(900))));
        }
        assert_eq!(queue.next(NOW).map(|popped| popped.item), Some(number));
    }
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
        queue.add(Lane::Default, later(3_600_000), NOW, 0).unwrap();
        for (second, served) in (0_u64..).zip(&past) {
            for turn in 0..*served {
                queue.served(later(second * 1_000 + turn * 1_000 / served));
            }
        }
        let now = later(past.len() as u64 * 1_000);
        for _ in 1..line {
            queue.add(Lane::Default, later(3_600_000), now, 0).unwrap();
        }
        // Not faster than the fastest second of the last ten, which began when somebody already waited.
        let known = past.iter().skip(1.max(past.len().saturating_sub(10)));
        let fastest = known.copied().max().unwrap_or(0);
        let future: Vec<u64> = future.into_iter().map(|served| served.min(fastest)).collect();
        let patience = Duration::from_millis(patience_ms);
        if queue.hopeless(Lane::Default, now.after(patience), now) {
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
                    pushed += usize::from(queue.add(Lane::ALL[lane], deadline, now, ()).is_ok());
                }
                3 => out += usize::from(queue.next(now).is_some()),
                _ => out += queue.expired(now).len(),
            }
            prop_assert!(queue.len() <= 20);
            prop_assert_eq!(pushed, out + queue.len());
        }
    }
}

// --- tenants ---

/// What a tenant brings; the line is served in turns afterwards.
fn tenants(queue: &mut WaitQueue<usize>, counts: &[(usize, u32)]) {
    let most = counts.iter().map(|(count, _)| *count).max().unwrap_or(0);
    for round in 0..most {
        for (tenant, (count, weight)) in counts.iter().enumerate() {
            if round < *count {
                let comer = of(tenant, *weight, Lane::Default, later(3_600_000));
                queue.push(comer, NOW, tenant).unwrap();
            }
        }
    }
}

fn held(queue: &WaitQueue<usize>, tenant: usize) -> u64 {
    queue.shares.count(&format!("t{tenant}"))
}

#[test]
fn o05_turns_go_round_the_tenants_by_weight_and_a_tenants_own_are_served_in_order() {
    let mut queue = WaitQueue::new(1_000);
    for number in 0..40 {
        let comer = of(0, 1, Lane::Default, later(60_000));
        queue.push(comer, NOW, number).unwrap();
    }
    for number in 0..6 {
        let comer = of(1, 2, Lane::Default, later(60_000));
        queue.push(comer, NOW, 100 + number).unwrap();
    }
    let served: Vec<_> = (0..12)
        .filter_map(|_| queue.next(NOW))
        .map(|popped| popped.item)
        .collect();
    assert_eq!(served, [100, 0, 101, 102, 1, 103, 104, 2, 105, 3, 4, 5]);
}

#[test]
fn o05_whoever_holds_most_gives_up_its_last_place_and_nobody_below_its_share_does() {
    let mut queue = WaitQueue::new(10);
    for number in 0..8 {
        let comer = of(0, 1, Lane::Default, later(60_000));
        queue.push(comer, NOW, number).unwrap();
    }
    let mut come = |tenant, number| {
        let comer = of(tenant, 1, Lane::Default, later(60_000));
        queue
            .push(comer, NOW, number)
            .map_err(|shed| (shed.item, shed.class))
    };
    assert_eq!(come(0, 8), Err((8, ShareClass::Alone)));
    assert_eq!(come(1, 100), Err((7, ShareClass::Alone)));
    assert_eq!(
        come(0, 9),
        Err((9, ShareClass::Beyond)),
        "the flood goes on"
    );
    assert_eq!(come(1, 101), Err((6, ShareClass::Beyond)));
    assert_eq!(come(2, 200), Err((5, ShareClass::Beyond)));
    assert_eq!(come(1, 102), Err((4, ShareClass::Beyond)));
    assert_eq!(
        come(1, 103),
        Err((103, ShareClass::Beyond)),
        "no more than the others"
    );
    assert_eq!(come(2, 201), Err((3, ShareClass::Beyond)));
    assert_eq!(queue.len(), 8);
}

#[test]
fn o05_a_standing_line_sheds_and_overtakes_only_those_of_who_holds_too_much() {
    let mut queue = WaitQueue::new(20);
    for age in 0..12 {
        let comer = of(0, 1, Lane::Default, later(60_000));
        queue.push(comer, later(age), age).unwrap();
    }
    for age in 0..2 {
        let comer = of(1, 1, Lane::Default, later(60_000));
        queue.push(comer, later(age), 100 + age).unwrap();
    }
    assert!(queue.expired(later(50)).is_empty());
    let served: Vec<_> = (0..2)
        .filter_map(|_| queue.next(later(200)))
        .map(|popped| popped.item)
        .collect();
    assert_eq!(served, [11, 100], "the flood's newest, the other's oldest");
    let shed = queue.expired(later(1_500));
    assert_eq!(shed.len(), 11);
    assert!(
        shed.iter()
            .all(|shed| shed.item < 100 && shed.why == ShedReason::Codel)
    );
    assert_eq!(
        queue.next(later(1_500)).map(|popped| popped.item),
        Some(101)
    );
}

#[test]
fn o05_who_is_told_that_it_is_hopeless_is_the_flood() {
    let (mut queue, now) = learnt(50, 3, 1_000);
    let in_a_second = now.after(Duration::from_secs(1));
    for number in 1..200 {
        queue
            .add(
                Lane::Default,
                now.after(Duration::from_secs(60)),
                now,
                number,
            )
            .unwrap();
    }
    assert!(queue.hopeless(Lane::Default, in_a_second, now));
    let other =
        |queue: &WaitQueue<u64>| queue.is_hopeless(&of(1, 1, Lane::Default, in_a_second), now);
    for number in 0..25 {
        assert!(!other(&queue), "{number}");
        queue
            .push(of(1, 1, Lane::Default, in_a_second), now, number)
            .unwrap();
    }
    assert!(other(&queue), "its half of the second is taken");
}

#[test]
fn o05_one_that_always_comes_anew_does_not_push_in_and_who_left_is_forgotten() {
    let mut queue = WaitQueue::new(100_000);
    let mut turns = [0_u32; 2];
    tenants(&mut queue, &[(400, 1), (1, 10)]);
    for _ in 0..220 {
        let popped = queue.next(NOW).unwrap();
        turns[popped.item] += 1;
        if popped.item == 1 {
            let again = of(1, 10, Lane::Default, later(3_600_000));
            queue.push(again, NOW, 1).unwrap();
        }
    }
    assert_eq!(turns, [20, 200]);
    // Thousands come once each; what is remembered of them goes as soon as it says nothing.
    for tenant in 2..5_000 {
        queue
            .push(of(tenant, 1, Lane::Default, later(3_600_000)), NOW, tenant)
            .unwrap();
        queue.next(NOW).unwrap();
        queue.next(NOW).unwrap();
        queue
            .push(of(0, 1, Lane::Default, later(3_600_000)), NOW, 0)
            .unwrap();
    }
    let remembered = queue.lanes[Lane::Default.index()].remembered();
    assert!(remembered < 10, "{remembered}");
}

proptest! {
    /// No tenant that waited all the time had fewer turns than its share of them, rounded down, whoever came or was
    /// there before.
    #[test]
    fn o05_no_tenant_that_waits_is_served_less_than_its_share_minus_one(
        weights in prop::collection::vec(1_u32..6, 2..7),
        before in prop::collection::vec(0_usize..7, 0..60),
        comes_after in 0_usize..40,
        turns in 1_usize..120,
    ) {
        let mut queue = WaitQueue::new(1_000_000);
        let comer = |tenant: usize| of(tenant, weights[tenant], Lane::Default, later(3_600_000));
        // The one that is watched comes when others have had turns, and some have left and come back.
        let watched = 0;
        for tenant in before {
            let tenant = 1 + tenant % (weights.len() - 1);
            queue.push(comer(tenant), NOW, tenant).unwrap();
        }
        for _ in 0..comes_after {
            if let Some(popped) = queue.next(NOW) && popped.item % 2 == 0 {
                queue.push(comer(popped.item), NOW, popped.item).unwrap();
            }
        }
        for (tenant, _) in weights.iter().enumerate() {
            for _ in 0..turns {
                queue.push(comer(tenant), NOW, tenant).unwrap();
            }
        }
        let mut served = vec![0_usize; weights.len()];
        let all: usize = weights.iter().map(|weight| *weight as usize).sum();
        for turn in 1..=turns {
            served[queue.next(NOW).unwrap().item] += 1;
            let share = turn * weights[watched] as usize / all;
            prop_assert!(served[watched] >= share, "{} of {} after {turn}: {served:?}", served[watched], share);
        }
        // The others may have had more turns just before: they are behind by no more than one each has had.
        for (tenant, weight) in weights.iter().enumerate() {
            let share = turns * *weight as usize / all;
            prop_assert!(served[tenant] + 1 + weights.len() >= share, "{tenant}: {served:?}");
        }
    }

    /// What is told to come before one that comes now does, if nobody comes after it.
    #[test]
    fn o05_no_more_are_counted_before_one_than_are_served_before_it(
        weights in prop::collection::vec(1_u32..6, 2..6),
        before in prop::collection::vec((0_usize..6, 0_usize..3), 0..80),
        turns in 0_usize..40,
        (tenant, lane) in (0_usize..6, 0_usize..3),
    ) {
        let mut queue = WaitQueue::new(1_000_000);
        let comer = |tenant: usize, lane: usize| {
            let tenant = tenant % weights.len();
            of(tenant, weights[tenant], Lane::ALL[lane], later(3_600_000))
        };
        for (tenant, lane) in before {
            queue.push(comer(tenant, lane), NOW, false).unwrap();
        }
        for _ in 0..turns {
            queue.next(NOW);
        }
        let told = queue.ahead(&comer(tenant, lane));
        queue.push(comer(tenant, lane), NOW, true).unwrap();
        let mut served = 0;
        while queue.next(NOW).is_some_and(|popped| !popped.item) {
            served += 1;
        }
        prop_assert!(served >= told, "{served} of {told}");
        // And no fewer than are: but for one turn of each tenant's, and those that batch has whoever waits.
        let batch = served / BATCH_TURN as usize + 1;
        let is_batch = Lane::ALL[lane] == Lane::Batch;
        prop_assert!(is_batch || served <= told + weights.len() + batch, "{served} of {told}");
    }

    /// Whoever has to go is never of a tenant that holds less than its share, who comes counted in; and the line is
    /// never longer than it may be.
    #[test]
    fn o05_nobody_below_its_share_is_shed_from_a_full_line(
        steps in prop::collection::vec((0_usize..5, 0_usize..3, 0_u8..8), 0..400),
        weights in prop::collection::vec(1_u32..5, 5),
    ) {
        let mut queue = WaitQueue::new(20);
        for (tenant, lane, what) in steps {
            if what == 0 {
                queue.next(NOW);
                continue;
            }
            let comer = of(tenant, weights[tenant], Lane::ALL[lane], later(1_000));
            let all = queue.len() as u64 + 1;
            let there: u64 = (0..5)
                .filter(|other| *other == tenant || held(&queue, *other) > 0)
                .map(|other| u64::from(weights[other]))
                .sum();
            let before: Vec<u64> = (0..5).map(|other| held(&queue, other)).collect();
            if let Err(shed) = queue.push(comer, NOW, tenant) {
                let own = shed.item == tenant;
                let count = before[shed.item] + u64::from(own);
                let below = count * there < all * u64::from(weights[shed.item]);
                prop_assert!(!below, "{before:?} {weights:?} {} for {tenant}", shed.item);
            }
            prop_assert!(queue.len() <= 20);
            prop_assert_eq!(queue.shares.all(), queue.len() as u64);
            prop_assert_eq!(queue.lanes.iter().map(Turns::len).sum::<usize>(), queue.len());
            prop_assert_eq!(queue.loads.len(), queue.shares.tenants());
        }
    }
}

#[test]
fn o11_a_turn_that_is_worth_many_is_many_also_of_a_tenant_that_has_nobody_else_in_line() {
    let mut turns = turns::Turns::default();
    let (large, small) = (
        of(1, 1, Lane::Batch, NOW).stake,
        of(2, 1, Lane::Batch, NOW).stake,
    );
    let mut worth = [0_u32; 2];
    for _ in 0..3 {
        turns.push(&small, 1);
    }
    for _ in 0..200 {
        if turns.peek(&large.tenant, false).is_none() {
            turns.push(&large, 10);
        }
        turns.push(&small, 1);
        let next = turns.heads()[0].clone();
        let served = turns.serve_worth(&next, false, |turns| *turns).unwrap();
        worth[usize::from(next == small.tenant)] += served;
    }
    assert!(worth[0].abs_diff(worth[1]) <= 20, "{worth:?}");
}
