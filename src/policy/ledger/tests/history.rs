//! What is told as history and what a cap counts itself: each cost once.

use super::*;

const NOON: Wall = Wall(DAY / 2);
const NOW: Moment = Moment(1_000_000);

fn soft(limit: u64) -> Cap {
    Cap {
        hard: false,
        ..cap(limit, Period::Total)
    }
}

fn behind(border: u64, amount: u64) -> Settled {
    Settled {
        recorded: Some(Border(border)),
        ..cost(amount)
    }
}

/// What the first cap counts.
fn counted(books: &mut Books) -> u64 {
    counts(books, NOON)[0].1
}

#[test]
fn m2_what_ends_in_the_moment_a_cap_comes_counts_once_on_whichever_side_of_the_line_it_stands() {
    let mut books = books(&[("org", vec![])]);
    for id in 1..=6 {
        books.admit(&ask(id, &["org"], 90), NOW, NOON).unwrap();
    }
    books.open_accounts(terms_of(cap(1_000, Period::Day)), &[]);
    assert_eq!(counts(&mut books, NOON), [(1_000, 0, 540)]);
    let end = |books: &mut Books, id: u128, how: Settled| {
        books.settle(RequestId::from_draw(id), how, NOW);
    };
    // Before the books ask for the history, and before the border is drawn: told with it.
    end(&mut books, 1, behind(0, 1));
    books.wants_history(NOON).unwrap();
    end(&mut books, 2, behind(0, 10));
    // Behind the border, and where no journal has it: told by nobody else.
    end(&mut books, 3, behind(1, 100));
    end(&mut books, 4, cost(1_000));
    books.remember("org", NOON, NanoUsd(11));
    books.complete(Border(1), NOON);
    assert_eq!(counts(&mut books, NOON), [(1_000, 1_111, 180)]);
    // Its record stands before the border, and it is told of late.
    end(&mut books, 5, behind(0, 10));
    assert_eq!(counts(&mut books, NOON), [(1_000, 1_111, 90)]);
    end(&mut books, 6, behind(1, 10_000));
    assert_eq!(counts(&mut books, NOON), [(1_000, 11_111, 0)]);
}

#[test]
fn m2_what_came_in_unasked_counts_in_the_first_cap_and_in_the_step_in_which_it_came() {
    let mut books = Books::default();
    let path: Vec<AccountName> = vec![Arc::from("org"), Arc::from("org+tag")];
    // Nothing has anything to keep.
    assert_eq!(books.count(&path, (NOON, NOON), behind(0, 5)), None);
    books.open_accounts(terms_of(cap(100, Period::Day)), &[]);
    books.wants_history(Wall(DAY)).unwrap();
    books.count(&path, (NOON, NOON), behind(0, 10));
    books.count(&path, (Wall(DAY), Wall(DAY)), behind(1, 20));
    books.remember("org", NOON, NanoUsd(15));
    assert!(books.complete(Border(1), Wall(DAY)).is_empty());
    assert_eq!(counts(&mut books, Wall(DAY)), [(100, 20, 0)]);
    books.count(&path, (NOON, Wall(DAY)), behind(1, 40));
    assert_eq!(counts(&mut books, Wall(DAY)), [(100, 20, 0)]);
    let told = percents(
        &books
            .count(&path, (Wall(DAY), Wall(DAY)), behind(1, 60))
            .unwrap(),
    );
    assert_eq!(
        (told, counts(&mut books, Wall(DAY))),
        (vec![80], vec![(100, 80, 0)])
    );
}

#[test]
fn m2_a_history_that_could_not_be_told_is_told_once_the_next_time() {
    let mut books = Books::default();
    let path: Vec<AccountName> = vec![Arc::from("org")];
    books.open_accounts(terms_of(soft(1_000)), &[]);
    let mut journal = 0;
    for border in 0..50 {
        // The border is drawn, and then the store fails.
        books.wants_history(NOON).unwrap();
        books.count(&path, (NOON, NOON), behind(border, 1));
        books.count(&path, (NOON, NOON), behind(border + 1, 1));
        journal += 2;
    }
    books.wants_history(NOON).unwrap();
    books.count(&path, (NOON, NOON), behind(51, 1));
    books.remember("org", NOON, NanoUsd(journal));
    books.complete(Border(51), NOON);
    assert_eq!(counted(&mut books), journal + 1);
}

/// What happens while caps come and their history is told.
#[derive(Clone, Debug)]
enum Event {
    /// One comes in, asked about or not, and is going to cost so much.
    Comes {
        cost: u64,
        asked: bool,
    },
    /// Its end is handed in to the journal, or lost.
    Ends {
        nth: usize,
        lost: bool,
    },
    /// The books are told of it.
    Settles {
        nth: usize,
    },
    CapComes,
    /// The three steps in which a history is told.
    Wanted,
    BorderDrawn,
    ToldHalf,
    Told,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1_u64..1_000, any::<bool>()).prop_map(|(cost, asked)| Event::Comes { cost, asked }),
        4 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(nth, lost)| Event::Ends { nth, lost }),
        4 => any::<usize>().prop_map(|nth| Event::Settles { nth }),
        1 => Just(Event::CapComes),
        2 => Just(Event::Wanted),
        2 => Just(Event::BorderDrawn),
        1 => Just(Event::ToldHalf),
        2 => Just(Event::Told),
    ];
    prop::collection::vec(event, 1..120)
}

#[derive(Clone, Copy)]
struct Going {
    id: u128,
    cost: u64,
    asked: bool,
    /// Once it has ended: behind which border that stands.
    ended: Option<Option<Border>>,
}

/// Books, the journal beside them, and how far a history is told.
#[derive(Default)]
struct World {
    books: Books,
    going: Vec<Going>,
    next: u128,
    journal: Vec<u64>,
    border: u64,
    lost: u64,
    /// What was lost before each of the caps came.
    caps: Vec<u64>,
    wanted: bool,
    drawn: Option<usize>,
}

impl World {
    fn step(&mut self, event: Event) {
        match event {
            Event::Comes { cost, asked } => {
                self.next += 1;
                let id = self.next;
                if asked {
                    self.books
                        .admit(&ask(id, &["org"], cost), NOW, NOON)
                        .unwrap();
                }
                self.going.push(Going {
                    id,
                    cost,
                    asked,
                    ended: None,
                });
            }
            Event::Ends { nth, lost } => self.ends(nth, lost),
            Event::Settles { nth } => self.settles(nth),
            Event::CapComes => {
                self.caps.push(self.lost_and_settled());
                let caps = (0..self.caps.len() as u64).map(|nth| soft(1_000_000 + nth));
                self.books.open_accounts(terms_of_all(caps.collect()), &[]);
            }
            Event::Wanted => {
                self.wanted = self.books.wants_history(NOON).is_some();
                self.drawn = None;
            }
            Event::BorderDrawn => {
                self.border += 1;
                let wanted = std::mem::take(&mut self.wanted);
                self.drawn = wanted.then_some(self.journal.len());
            }
            // The store failed over the rest.
            Event::ToldHalf => {
                if let Some(to) = self.drawn.take() {
                    let history = self.journal[..to / 2].iter().sum();
                    self.books.remember("org", NOON, NanoUsd(history));
                }
            }
            Event::Told => {
                let Some(to) = self.drawn.take() else {
                    return;
                };
                let history = self.journal[..to].iter().sum();
                self.books.remember("org", NOON, NanoUsd(history));
                // Of the border that was drawn last, which is the one of this history.
                self.books.complete(Border(self.border), NOON);
            }
        }
    }

    fn ends(&mut self, nth: usize, lost: bool) {
        let under_way = self.going.iter().positions(|one| one.ended.is_none());
        let Some(place) = under_way.get(nth % under_way.len().max(1)) else {
            return;
        };
        let one = &mut self.going[*place];
        one.ended = Some((!lost).then_some(Border(self.border)));
        match lost {
            true => self.lost += one.cost,
            false => self.journal.push(one.cost),
        }
    }

    fn settles(&mut self, nth: usize) {
        let ended = self.going.iter().positions(|one| one.ended.is_some());
        let Some(place) = ended.get(nth % ended.len().max(1)) else {
            return;
        };
        let one = self.going.remove(*place);
        let (id, how) = (RequestId::from_draw(one.id), one.ended.unwrap());
        let settled = Settled {
            recorded: how,
            ..cost(one.cost)
        };
        let alerts = match one.asked {
            true => Some(self.books.settle(id, settled, NOW)),
            false => self.books.count(&[Arc::from("org")], (NOON, NOON), settled),
        };
        assert_eq!(alerts, Some(Vec::new()));
    }

    /// What no cap that comes now can know of: in no journal, and told already.
    fn lost_and_settled(&self) -> u64 {
        let to_be_told = self.going.iter().filter(|one| one.ended == Some(None));
        self.lost - to_be_told.map(|one| one.cost).sum::<u64>()
    }
}

trait Positions: Iterator + Sized {
    fn positions(self, is_it: impl Fn(&Self::Item) -> bool) -> Vec<usize> {
        let all = self.enumerate();
        all.filter(|(_, one)| is_it(one))
            .map(|(nth, _)| nth)
            .collect()
    }
}

impl<I: Iterator> Positions for I {}

proptest! {
    /// The books against the plainest model: all that ended.
    #[test]
    fn m2_whatever_ends_while_a_history_is_told_counts_once_in_every_cap(events in events()) {
        let mut world = World {
            books: books(&[("org", vec![])]),
            ..World::default()
        };
        for event in events {
            world.step(event);
        }
        for _ in 0..world.going.len() {
            world.step(Event::Ends { nth: 0, lost: false });
        }
        while !world.going.is_empty() {
            world.step(Event::Settles { nth: 0 });
        }
        for last in [Event::Wanted, Event::BorderDrawn, Event::Told] {
            world.step(last);
        }
        prop_assert!(world.books.is_complete());
        let all: u64 = world.journal.iter().sum();
        let wanted: Vec<_> = world.caps.iter().map(|before| all + world.lost - before).collect();
        let found = counts(&mut world.books, NOON);
        let found: Vec<_> = found.into_iter().map(|(_, spent, reserved)| (spent, reserved)).collect();
        let wanted: Vec<_> = wanted.into_iter().map(|spent| (spent, 0)).collect();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn x15_a_clock_that_goes_back_and_forth_while_another_cap_is_told_counts_nothing_twice() {
    let (before, after) = (Wall(DAY - 1_800_000), Wall(DAY + 1_800_000));
    let now = Moment::from_secs(1);
    let mut books = Books::default();
    books.open_accounts(terms_of_all(vec![cap(90, Period::Day)]), &[]);
    // Its history is known from this day on.
    books.wants_history(after).unwrap();
    books.complete(Border(0), after);
    books.admit(&ask(1, &["org"], 5), now, after).unwrap();
    books.settle(RequestId::from_draw(1), cost(5), now);
    books.open_accounts(
        terms_of_all(vec![cap(90, Period::Day), cap(80, Period::Total)]),
        &[],
    );
    assert!(books.wants_history(after).is_some());
    // The clock goes back over midnight, the history comes, and the clock comes back.
    let _ = books.admit(&ask(2, &["org"], 5), now, before);
    books.remember("org", after, NanoUsd(5));
    books.complete(Border(1), after);
    while books.wants_history(after).is_some() {
        books.remember("org", after, NanoUsd(5));
        books.complete(Border(2), after);
    }
    let spent: Vec<_> = counts(&mut books, after)
        .iter()
        .map(|(_, spent, _)| *spent)
        .collect();
    assert_eq!(spent, [5, 5]);
}

#[test]
fn g14_what_nobody_is_told_the_history_of_holds_no_more_than_its_steps() {
    let mut books = Books::default();
    let minute = Cap {
        hard: false,
        ..cap(100, Period::Rolling(Duration::from_secs(60)))
    };
    books.open_accounts(terms_of_all(vec![minute]), &[]);
    let now = Moment::from_secs(1);
    for second in 0..2_000 {
        let wall = Wall(DAY + second * 1_000);
        books
            .admit(&ask(u128::from(second), &["org"], 5), now, wall)
            .unwrap();
        books.settle(RequestId::from_draw(u128::from(second)), cost(1), now);
    }
    assert!(books.most_late() <= 130, "{}", books.most_late());
    // And of those that count none is lost.
    let end = Wall(DAY + 1_999_000);
    books.wants_history(end).unwrap();
    books.complete(Border(1), end);
    let spent = counts(&mut books, end)[0].1;
    assert!((59..=61).contains(&spent), "{spent}");
}
