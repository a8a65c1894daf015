#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "properties are not test functions to the lint"
)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms {
    keep: Duration::from_secs(60),
    most_bytes: 16 * NAME_BYTES,
    answer_bytes: 4 * NAME_BYTES,
};

impl Answer for u32 {
    fn is_read(&self) -> bool {
        *self == READ
    }
}

/// An answer that somebody reads.
const READ: u32 = 1_000;

fn name(client: &str, key: &str) -> Arc<Name> {
    Arc::new(Name::new(Arc::from("t"), ClientName::from(client), key))
}

fn enter(table: &mut Table<u32>, name: &Arc<Name>, asked: u8, now: Moment) -> Entered<u32> {
    table.enter((name, &[asked; 32]), &7, now, &TERMS)
}

fn first(table: &mut Table<u32>, name: &Arc<Name>, now: Moment) -> Ticket {
    let entered = enter(table, name, 1, now);
    let Entered::First(ticket) = entered else {
        panic!("{entered:?}");
    };
    ticket
}

#[test]
fn l12_who_asks_the_same_again_is_told_the_same_and_who_asks_another_thing_is_refused() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let name = name("a", "k");
    let ticket = first(&mut table, &name, now);
    let again = |under_way| Entered::Again {
        ticket: ticket.clone(),
        tape: 7,
        under_way,
    };
    assert_eq!(enter(&mut table, &name, 1, now), again(true));
    assert_eq!(enter(&mut table, &name, 2, now), Entered::Differs);
    assert!(table.keep(&ticket, 100, now, &TERMS));
    assert_eq!(enter(&mut table, &name, 1, now), again(false));
    assert_eq!(enter(&mut table, &name, 2, now), Entered::Differs);
    let last = Moment(now.after(TERMS.keep).0 - 1);
    assert_eq!(enter(&mut table, &name, 1, last), again(false));
    // Its time is over: the key is new, also for another body.
    let after = now.after(TERMS.keep);
    assert!(matches!(
        enter(&mut table, &name, 2, after),
        Entered::First(_)
    ));
}

#[test]
fn l12_g10_a_key_means_nothing_to_another_client_or_tenant() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let key = |tenant: &str, client: &str| {
        Arc::new(Name::new(Arc::from(tenant), ClientName::from(client), "k"))
    };
    let asked = [1; 32];
    for name in [key("t", "a"), key("t", "b"), key("u", "a")] {
        let entered = table.enter((&name, &asked), &7, now, &TERMS);
        assert!(matches!(entered, Entered::First(_)), "{entered:?}");
    }
}

#[test]
fn l12_what_did_not_succeed_is_executed_anew() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let name = name("a", "k");
    let failed = first(&mut table, &name, now);
    table.forget(&failed);
    assert!(table.is_empty() && table.bytes() == 0);
    let second = first(&mut table, &name, now);
    // What the first still says is of no account.
    table.forget(&failed);
    assert!(!table.keep(&failed, 1, now, &TERMS) && !table.grow(&failed, 1, &TERMS));
    assert!(table.keep(&second, 1, now, &TERMS));
    table.forget(&failed);
    assert_eq!(table.len(), 1);
}

#[test]
fn l12_an_answer_that_is_too_large_is_not_executed_again_and_not_told() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let large = TERMS.answer_bytes + 1;
    let (one, other) = (name("a", "1"), name("a", "2"));
    let ticket = first(&mut table, &one, now);
    assert!(table.grow(&ticket, TERMS.answer_bytes, &TERMS));
    assert!(!table.grow(&ticket, 1, &TERMS));
    table.spend(&ticket, now, &TERMS);
    let ticket = first(&mut table, &other, now);
    assert!(!table.keep(&ticket, large, now, &TERMS));
    for name in [one, other] {
        assert_eq!(enter(&mut table, &name, 1, now), Entered::NotKept);
        assert_eq!(enter(&mut table, &name, 2, now), Entered::Differs);
    }
    assert_eq!(table.bytes(), 2 * NAME_BYTES);
}

#[test]
fn l12_g14_requests_under_way_are_never_forgotten_and_fill_the_table_at_last() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let tickets: Vec<_> = (0..16)
        .map(|key| first(&mut table, &name("a", &key.to_string()), now))
        .collect();
    assert_eq!(enter(&mut table, &name("a", "x"), 1, now), Entered::Full);
    assert!(!table.grow(&tickets[0], 1, &TERMS));
    table.forget(&tickets[3]);
    first(&mut table, &name("b", "x"), now);
    assert_eq!(table.take_forgotten(), 0);
}

#[test]
fn l12_g14_when_it_is_full_who_keeps_most_loses_the_oldest() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let mut kept = |client: &str, key: &str| {
        let ticket = first(&mut table, &name(client, key), now);
        assert!(table.keep(&ticket, NAME_BYTES, now, &TERMS));
    };
    kept("modest", "0");
    for key in 0..20 {
        kept("greedy", &key.to_string());
    }
    assert!(table.bytes() <= TERMS.most_bytes);
    assert_eq!(table.take_forgotten(), 13);
    let stands = |table: &mut Table<u32>, client: &str, key: u32| {
        let entered = enter(table, &name(client, &key.to_string()), 2, now);
        entered == Entered::Differs
    };
    assert!(stands(&mut table, "modest", 0));
    for key in 13..20 {
        assert!(stands(&mut table, "greedy", key), "{key}");
    }
}

/// What a client may do with one of a few keys.
#[derive(Clone, Debug)]
enum Step {
    Enter(u8, u8),
    Grow(u8, usize),
    Keep(u8, usize),
    Spend(u8),
    Forget(u8),
    Wait(u64),
    Tidy,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..12_u8;
    let size = 0..5 * NAME_BYTES;
    prop_oneof![
        4 => (key.clone(), 0..2_u8).prop_map(|(key, asked)| Step::Enter(key, asked)),
        2 => (key.clone(), size.clone()).prop_map(|(key, more)| Step::Grow(key, more)),
        3 => (key.clone(), size).prop_map(|(key, bytes)| Step::Keep(key, bytes)),
        1 => key.clone().prop_map(Step::Spend),
        1 => key.prop_map(Step::Forget),
        1 => (1..90_u64).prop_map(Step::Wait),
        1 => Just(Step::Tidy),
    ]
}

proptest! {
    /// Against the plainest table there can be: which executions began, and what they were asked.
    #[test]
    fn l12_one_execution_at_a_time_within_its_bounds_whatever_happens(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut table = Table::default();
        let mut now = Moment::from_secs(1);
        let mut last: HashMap<u8, (Ticket, u8)> = HashMap::new();
        let mut under_way: HashMap<u8, u8> = HashMap::new();
        for step in steps {
            let ticket = |key: u8| last.get(&key).map(|(ticket, _)| ticket.clone());
            match step {
                Step::Enter(key, asked) => {
                    let client = if key % 3 == 0 { "a" } else { "b" };
                    let entered = enter(&mut table, &name(client, &key.to_string()), asked, now);
                    match entered {
                        Entered::First(ticket) => {
                            prop_assert!(!under_way.contains_key(&key), "two executions at once");
                            under_way.insert(key, asked);
                            last.insert(key, (ticket, asked));
                        }
                        Entered::Again { ticket, under_way: running, .. } => {
                            prop_assert_eq!(&last[&key], &(ticket, asked));
                            prop_assert_eq!(running, under_way.contains_key(&key));
                        }
                        Entered::Differs => prop_assert_ne!(last[&key].1, asked),
                        Entered::NotKept => prop_assert!(!under_way.contains_key(&key)),
                        Entered::Full => prop_assert!(!under_way.contains_key(&key)),
                    }
                }
                Step::Grow(key, more) => if let Some(ticket) = ticket(key) {
                    let grown = table.grow(&ticket, more, &TERMS);
                    prop_assert!(!grown || under_way.contains_key(&key));
                },
                Step::Keep(key, bytes) => if let Some(ticket) = ticket(key) {
                    let kept = table.keep(&ticket, bytes, now, &TERMS);
                    prop_assert!(!kept || bytes <= TERMS.answer_bytes);
                    prop_assert!(!kept || under_way.contains_key(&key));
                    under_way.remove(&key);
                },
                Step::Spend(key) => if let Some(ticket) = ticket(key) {
                    table.spend(&ticket, now, &TERMS);
                    under_way.remove(&key);
                },
                Step::Forget(key) => if let Some(ticket) = ticket(key) {
                    table.forget(&ticket);
                    under_way.remove(&key);
                },
                Step::Wait(seconds) => now = now.after(Duration::from_secs(seconds)),
                Step::Tidy => { table.forget_old(now, TERMS.keep); }
            }
            prop_assert!(table.bytes() <= TERMS.most_bytes);
            prop_assert!(table.len() >= under_way.len());
            prop_assert!(table.bytes() >= table.len() * NAME_BYTES);
        }
        // With the time of all over and nothing under way, nothing is left.
        for (ticket, _) in last.values() {
            table.spend(ticket, now, &TERMS);
        }
        now = now.after(TERMS.keep);
        while table.forget_old(now, TERMS.keep).is_some() {}
        prop_assert!(table.is_empty() && table.bytes() == 0);
        prop_assert!(table.shares.is_empty() && table.ended.is_empty() && table.ended_bytes == 0);
    }
}

fn kept(table: &mut Table<u32>, key: &str, tape: u32, now: Moment) -> Arc<Name> {
    let name = name("a", key);
    let Entered::First(ticket) = table.enter((&name, &[1; 32]), &tape, now, &TERMS) else {
        panic!("it is new");
    };
    assert!(table.keep(&ticket, 3 * NAME_BYTES, now, &TERMS));
    name
}

#[test]
fn g14_an_answer_that_somebody_reads_is_not_forgotten_while_it_takes_its_memory() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let read = kept(&mut table, "read", READ, now);
    for key in 0..9 {
        kept(&mut table, &key.to_string(), 7, now);
        assert!(table.bytes() <= TERMS.most_bytes);
    }
    let later = now.after(TERMS.keep);
    assert!(matches!(
        enter(&mut table, &read, 1, later),
        Entered::Again { .. }
    ));
    // What is read for good leaves no room for more than fits beside it.
    let mut table = Table::default();
    for key in 0..4 {
        kept(&mut table, &key.to_string(), READ, now);
    }
    let entered = enter(&mut table, &name("a", "more"), 1, now);
    assert_eq!(entered, Entered::Full);
}

#[test]
fn o08_answers_that_are_given_up_leave_their_keys_so_that_nothing_is_executed_twice() {
    let (mut table, now) = (Table::default(), Moment::from_secs(1));
    let (one, read) = (
        kept(&mut table, "1", 7, now),
        kept(&mut table, "2", READ, now),
    );
    assert_eq!(table.give_up(), 1);
    assert_eq!(table.bytes(), 5 * NAME_BYTES);
    assert_eq!(enter(&mut table, &one, 1, now), Entered::NotKept);
    assert!(matches!(
        enter(&mut table, &read, 1, now),
        Entered::Again { .. }
    ));
    assert_eq!(table.give_up(), 0);
    let later = now.after(TERMS.keep);
    assert!(matches!(
        enter(&mut table, &one, 1, later),
        Entered::First(_)
    ));
}
