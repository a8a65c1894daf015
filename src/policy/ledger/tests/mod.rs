#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the macro of proptest hides its functions from the exemption for tests"
)]

mod history;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use smallvec::smallvec;

use super::*;
use crate::domain::{Border, Moment, NanoUsd, RequestId, Tokens, Wall};

const DAY: u64 = 86_400_000;

fn cap(limit: u64, period: Period) -> Cap {
    Cap {
        limit: NanoUsd(limit),
        period,
        zone: Zone::default(),
        hard: true,
        tell_at: vec![80, 100],
    }
}

fn books(accounts: &[(&str, Vec<Cap>)]) -> Books {
    let mut books = Books::default();
    books.open_accounts(
        accounts.iter().map(|(name, caps)| {
            let terms = AccountTerms {
                caps: caps.clone(),
                ..AccountTerms::default()
            };
            (Arc::from(*name), terms)
        }),
        &[],
    );
    ready(books)
}

/// Nothing was spent before.
fn ready(mut books: Books) -> Books {
    if books.wants_history(Wall(0)).is_some() {
        books.complete(Border(0), Wall(0));
    }
    books
}

fn ask(request: u128, path: &[&str], most: u64) -> Ask {
    Ask {
        request: RequestId::from_draw(request),
        path: path.iter().map(|name| Arc::from(*name)).collect(),
        model: Arc::from("fast"),
        tokens: Tokens(10),
        most: Some(NanoUsd(most)),
        until: Moment::from_secs(600),
    }
}

fn cost(cost: u64) -> Settled {
    Settled {
        cost: NanoUsd(cost),
        tokens: Some(Tokens(10)),
        recorded: None,
    }
}

fn spent(books: &mut Books, account: &str, wall: Wall) -> (u64, u64) {
    let views = books.view(Moment::from_secs(1), wall);
    let account = views.iter().find(|view| &*view.name == account).unwrap();
    (account.purses[0].spent.0, account.purses[0].reserved.0)
}

/// What a test does to the books.
#[derive(Clone, Debug)]
enum Step {
    Admit {
        most: u64,
        key: bool,
    },
    Extend {
        nth: usize,
        more: u64,
    },
    /// At a share of what was set aside, in percent.
    Settle {
        nth: usize,
        percent: u64,
    },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..40, any::<bool>()).prop_map(|(most, key)| Step::Admit { most, key }),
        1 => (any::<usize>(), 1_u64..10).prop_map(|(nth, more)| Step::Extend { nth, more }),
        4 => (any::<usize>(), 0_u64..=100).prop_map(|(nth, percent)| Step::Settle { nth, percent }),
        1 => (0_u64..2 * DAY).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

fn periods() -> impl Strategy<Value = Period> {
    prop_oneof![
        Just(Period::Total),
        Just(Period::Day),
        Just(Period::Week),
        Just(Period::Month),
        Just(Period::Rolling(Duration::from_secs(86_400))),
    ]
}

/// One admitted cost in the model: when, how much is set aside, what it came to.
struct Known {
    at: Wall,
    reserved: u64,
    cost: Option<u64>,
    key: bool,
}

proptest! {
    /// The books against the plainest model: a list of everything that was ever admitted.
    #[test]
    fn a17_no_period_ever_holds_more_than_its_cap(
        steps in steps(), period in periods(), limit in 10_u64..200,
    ) {
        let mut books = books(&[("org", vec![cap(limit, period)]), ("org#key", vec![cap(60, Period::Total)])]);
        let mut wall = Wall(1_700_000_000_000);
        let now = Moment::from_secs(5);
        let mut known: HashMap<u128, Known> = HashMap::new();
        for (id, step) in (0_u128..).zip(steps) {
            let mut open: Vec<u128> = known.iter().filter(|(_, k)| k.cost.is_none()).map(|(id, _)| *id).collect();
            open.sort_unstable();
            match step {
                Step::Wait(millis) => wall = Wall(wall.0 + millis),
                Step::Admit { most, key } => {
                    let path: &[&str] = if key { &["org", "org#key"] } else { &["org"] };
                    if books.admit(&ask(id, path, most), now, wall).is_ok() {
                        known.insert(id, Known { at: wall, reserved: most, cost: None, key });
                    }
                }
                Step::Extend { nth, more } if !open.is_empty() => {
                    let id = open[nth % open.len()];
                    if books.extend(RequestId::from_draw(id), NanoUsd(more), wall).is_ok() {
                        known.get_mut(&id).unwrap().reserved += more;
                    }
                }
                Step::Settle { nth, percent } if !open.is_empty() => {
                    let id = open[nth % open.len()];
                    let entry = known.get_mut(&id).unwrap();
                    let paid = entry.reserved * percent / 100;
                    entry.cost = Some(paid);
                    books.settle(RequestId::from_draw(id), cost(paid), now);
                    // A second time it is nobody's.
                    prop_assert!(books.settle(RequestId::from_draw(id), cost(1_000_000), now).is_empty());
                }
                Step::Extend { .. } | Step::Settle { .. } => {}
            }
            // What came to be is never above the cap, in any period it can be asked for.
            let span = period.step(wall, &Zone::default());
            let in_period: u64 = known.values().filter(|k| match period {
                Period::Rolling(back) => wall.since(k.at) < back,
                Period::Total | Period::Day | Period::Week | Period::Month | Period::Year => span.holds(k.at),
            }).filter_map(|k| k.cost).sum();
            prop_assert!(in_period <= limit, "{in_period} of {limit} in {period}");
            let by_key: u64 = known.values().filter(|k| k.key).map(|k| k.cost.unwrap_or(k.reserved)).sum();
            prop_assert!(by_key <= 60);
        }
        // With everything settled nothing is set aside, and the total is the sum of what it cost.
        for (id, entry) in &known {
            if entry.cost.is_none() {
                books.settle(RequestId::from_draw(*id), cost(0), now);
            }
        }
        prop_assert_eq!(books.open_requests(), 0);
        prop_assert_eq!(spent(&mut books, "org", wall).1, 0);
        let by_key: u64 = known.values().filter(|k| k.key).filter_map(|k| k.cost).sum();
        prop_assert_eq!(spent(&mut books, "org#key", wall), (by_key, 0));
    }

    #[test]
    fn a17_of_many_equal_requests_exactly_the_affordable_ones_come_in(
        limit in 0_u64..500, amount in 1_u64..30, wanting in 1_u128..200,
    ) {
        let mut books = books(&[("org", vec![cap(limit, Period::Month)])]);
        let admitted = (0..wanting).filter(|id| {
            books.admit(&ask(*id, &["org"], amount), Moment::from_secs(1), Wall(0)).is_ok()
        }).count() as u64;
        prop_assert_eq!(admitted, (limit / amount).min(u64::try_from(wanting).unwrap()));
    }

    #[test]
    fn a_denied_request_leaves_no_trace(limit in 0_u64..50, most in 51_u64..100) {
        let terms = AccountTerms {
            caps: vec![cap(1_000, Period::Total)],
            quota: QuotaTerms { requests_per_minute: Some(1), tokens_per_minute: Some(10), concurrency: Some(1) },
            quotas: vec![("fa*".to_owned(), QuotaTerms { requests_per_minute: Some(1), ..QuotaTerms::default() })],
            default_max_output: None,
        };
        let mut books = Books::default();
        books.open_accounts([
            (Arc::from("org"), terms),
            (Arc::from("org#key"), AccountTerms { caps: vec![cap(limit, Period::Total)], ..AccountTerms::default() }),
        ], &[]);
        let mut books = ready(books);
        let now = Moment::from_secs(100);
        for id in 0..5 {
            let denied = books.admit(&ask(id, &["org", "org#key"], most), now, Wall(0)).unwrap_err();
            prop_assert!(matches!(denied, Denied::Budget(_)), "{denied:?}");
        }
        let admitted = books.admit(&ask(9, &["org", "org#key"], 0), now, Wall(0)).unwrap();
        prop_assert_eq!(admitted.requests.unwrap().remaining, 0);
        prop_assert_eq!(spent(&mut books, "org", Wall(0)), (0, 0));
    }

    #[test]
    fn the_wait_a_refusal_names_is_enough(costs in prop::collection::vec(1_u64..20, 1..60), gap in 1_u64..3_000_000) {
        let mut books = books(&[("org", vec![cap(50, Period::Rolling(Duration::from_secs(3_600)))])]);
        let (now, mut wall) = (Moment::from_secs(1), Wall(1_700_000_000_000));
        for (id, amount) in (0_u128..).zip(costs) {
            wall = Wall(wall.0 + gap);
            let again = 1_000 + id;
            match books.admit(&ask(id, &["org"], amount), now, wall) {
                Ok(_) => drop(books.settle(RequestId::from_draw(id), cost(amount), now)),
                Err(Denied::Budget(short)) => {
                    wall = Wall(wall.0 + u64::try_from(short.retry_after.unwrap().as_millis()).unwrap());
                    prop_assert!(books.admit(&ask(again, &["org"], amount), now, wall).is_ok());
                    books.settle(RequestId::from_draw(again), cost(amount), now);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn days_weeks_and_months_follow_each_other_without_gap(at in 0_u64..4_000_000_000_000, zone in prop::sample::select(vec![
        "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo", "Australia/Lord_Howe",
    ])) {
        let zone: Zone = zone.parse().unwrap();
        for period in [Period::Day, Period::Week, Period::Month, Period::Year] {
            let span = period.step(Wall(at), &zone);
            prop_assert!(span.holds(Wall(at)), "{period} {span:?}");
            prop_assert_eq!(period.step(span.end, &zone).start, span.end);
            prop_assert_eq!(period.step(Wall(span.end.0 - 1), &zone), span);
        }
    }

    #[test]
    fn a_period_reads_back_as_it_was_printed(minutes in 1_u64..10_000) {
        for period in [Period::Total, Period::Day, Period::Month, Period::Rolling(Duration::from_secs(minutes * 60))] {
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }
    }
}

#[test]
fn a19_a_minutes_tokens_stay_within_the_limit_whenever_their_estimates_are_settled() {
    let terms = AccountTerms {
        quota: QuotaTerms {
            tokens_per_minute: Some(100),
            ..QuotaTerms::default()
        },
        ..AccountTerms::default()
    };
    let mut books = Books::default();
    books.open_accounts([(Arc::from("org"), terms)], &[]);
    let big = |id, tokens| Ask {
        tokens: Tokens(tokens),
        ..ask(id, &["org"], 0)
    };
    let used = |tokens| Settled {
        recorded: None,
        cost: NanoUsd::ZERO,
        tokens: Some(Tokens(tokens)),
    };
    books
        .admit(&big(1, 100), Moment::from_secs(10), Wall(0))
        .unwrap();
    books.settle(RequestId::from_draw(1), used(40), Moment::from_secs(50));
    books
        .admit(&big(2, 60), Moment::from_secs(55), Wall(0))
        .unwrap();
    books.settle(RequestId::from_draw(2), used(60), Moment::from_secs(56));
    // The forty of second 10 are gone now, the sixty of second 55 are not.
    assert!(
        books
            .admit(&big(3, 41), Moment::from_secs(80), Wall(0))
            .is_err()
    );
    assert!(
        books
            .admit(&big(4, 40), Moment::from_secs(80), Wall(0))
            .is_ok()
    );
}

#[test]
fn a_model_without_a_price_is_refused_where_a_budget_is_to_be_kept_and_only_there() {
    let mut books = books(&[("org", vec![]), ("org/paid", vec![cap(100, Period::Day)])]);
    let unknown = |id, path: &[&str]| Ask {
        most: None,
        ..ask(id, path, 0)
    };
    let now = Moment::from_secs(1);
    assert!(books.admit(&unknown(1, &["org"]), now, Wall(0)).is_ok());
    let denied = books.admit(&unknown(2, &["org", "org/paid"]), now, Wall(0));
    assert!(matches!(denied, Err(Denied::Unpriced { account }) if &*account == "org/paid"));
}

#[test]
fn a_soft_cap_lets_in_and_tells_each_threshold_once() {
    let soft = Cap {
        hard: false,
        ..cap(100, Period::Day)
    };
    let mut books = books(&[("org", vec![soft])]);
    let (now, noon) = (Moment::from_secs(1), Wall(DAY / 2));
    let mut told = Vec::new();
    for id in 0..6 {
        books.admit(&ask(id, &["org"], 30), now, noon).unwrap();
        let alerts = books.settle(RequestId::from_draw(id), cost(30), now);
        told.push(alerts.iter().map(|alert| alert.percent).collect::<Vec<_>>());
    }
    assert_eq!(told, [vec![], vec![], vec![80], vec![100], vec![], vec![]]);
    // A new day, told anew.
    books
        .admit(&ask(9, &["org"], 90), now, Wall(DAY + 5))
        .unwrap();
    let alerts = books.settle(RequestId::from_draw(9), cost(90), now);
    assert_eq!(alerts.len(), 1);
}

#[test]
fn what_is_settled_in_the_next_month_belongs_to_the_one_it_was_let_in() {
    let mut books = books(&[("org", vec![cap(100, Period::Day)])]);
    let now = Moment::from_secs(1);
    books
        .admit(&ask(1, &["org"], 90), now, Wall(DAY - 1))
        .unwrap();
    books.admit(&ask(2, &["org"], 90), now, Wall(DAY)).unwrap();
    books.settle(RequestId::from_draw(1), cost(90), now);
    books.settle(RequestId::from_draw(2), cost(20), now);
    assert_eq!(spent(&mut books, "org", Wall(DAY)), (20, 0));
    // A clock that is set back opens no new purse.
    assert!(
        books
            .admit(&ask(3, &["org"], 90), now, Wall(DAY - 1))
            .is_err()
    );
}

#[test]
fn what_nobody_settles_is_paid_at_what_was_set_aside() {
    let mut books = books(&[("org", vec![cap(100, Period::Total)])]);
    books
        .admit(&ask(1, &["org"], 70), Moment::from_secs(1), Wall(0))
        .unwrap();
    books
        .extend(RequestId::from_draw(1), NanoUsd(10), Wall(0))
        .unwrap();
    assert!(books.expire(Moment::from_secs(599)).is_empty());
    let expired = books.expire(Moment::from_secs(600));
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].cost, NanoUsd(80));
    let told: Vec<u8> = expired[0]
        .alerts
        .iter()
        .map(|alert| alert.percent)
        .collect();
    assert_eq!(told, [80]);
    assert_eq!(spent(&mut books, "org", Wall(0)), (80, 0));
}

#[test]
fn new_terms_keep_what_is_counted_and_open_requests_settle_under_them() {
    let mut books = books(&[("org", vec![cap(100, Period::Total), cap(50, Period::Day)])]);
    let now = Moment::from_secs(1);
    books.admit(&ask(1, &["org"], 40), now, Wall(0)).unwrap();
    let terms = |caps| {
        let terms = AccountTerms {
            caps,
            ..AccountTerms::default()
        };
        [(Arc::from("org"), terms)]
    };
    // The other order, another limit.
    books.open_accounts(
        terms(vec![cap(60, Period::Day), cap(100, Period::Total)]),
        &[],
    );
    books.settle(RequestId::from_draw(1), cost(30), now);
    let views = books.view(now, Wall(0));
    let counts: Vec<_> = views[0]
        .purses
        .iter()
        .map(|purse| (purse.cap.period, purse.spent.0, purse.reserved.0))
        .collect();
    assert_eq!(counts, [(Period::Day, 30, 0), (Period::Total, 30, 0)]);
    assert!(books.admit(&ask(2, &["org"], 31), now, Wall(0)).is_err());
}

#[test]
fn history_counts_in_the_step_it_belongs_to_and_until_it_is_read_nothing_comes_in() {
    let mut books = Books::default();
    let terms = |caps| AccountTerms {
        caps,
        ..AccountTerms::default()
    };
    books.open_accounts(
        [(Arc::from("org"), terms(vec![cap(100, Period::Day)]))],
        &[],
    );
    let (now, morning) = (Moment::from_secs(1), Wall(DAY + 9));
    let denied = books.admit(&ask(1, &["org"], 1), now, morning);
    assert!(matches!(denied, Err(Denied::NotReady)));
    assert_eq!(books.open_requests(), 0);
    let since = books.wants_history(morning).unwrap();
    assert_eq!(since, Wall(DAY));
    books.remember("org", Wall(DAY - 5), NanoUsd(90));
    books.remember("org", Wall(DAY + 5), NanoUsd(25));
    books.remember("nobody", Wall(DAY + 5), NanoUsd(25));
    // Terms that came meanwhile are not settled by it.
    books.open_accounts(
        [(
            Arc::from("org"),
            terms(vec![cap(100, Period::Day), cap(50, Period::Total)]),
        )],
        &[],
    );
    books.complete(Border(1), morning);
    let since = books.wants_history(morning).unwrap();
    assert_eq!(since, Wall(0));
    books.remember("org", Wall(DAY + 5), NanoUsd(25));
    books.complete(Border(1), morning);
    assert_eq!(spent(&mut books, "org", morning), (25, 0));
    let path: smallvec::SmallVec<[AccountName; 4]> = smallvec![Arc::from("org")];
    let ask = Ask {
        path,
        ..ask(1, &[], 76)
    };
    assert!(books.admit(&ask, now, morning).is_err());
    // What is complete is not counted twice.
    books.remember("org", Wall(DAY + 5), NanoUsd(25));
    assert_eq!(spent(&mut books, "org", morning), (25, 0));
}

fn terms_of(cap: Cap) -> [(AccountName, AccountTerms); 1] {
    let terms = AccountTerms {
        caps: vec![cap],
        ..AccountTerms::default()
    };
    [(Arc::from("org"), terms)]
}

/// Admits and settles at once what costs so much.
fn pay(books: &mut Books, id: u128, amount: u64, wall: Wall) -> Result<Vec<u8>, Denied> {
    let now = Moment::from_secs(1);
    books.admit(&ask(id, &["org"], amount), now, wall)?;
    let alerts = books.settle(RequestId::from_draw(id), cost(amount), now);
    Ok(percents(&alerts))
}

fn percents(alerts: &[Alert]) -> Vec<u8> {
    alerts.iter().map(|alert| alert.percent).collect()
}

#[test]
fn m2_what_a_reload_reaches_is_told_once_and_what_was_told_is_not_told_again() {
    let mut books = books(&[("org", vec![cap(1_000, Period::Month)])]);
    assert!(pay(&mut books, 1, 85, Wall(0)).unwrap().is_empty());
    let lowered = books.open_accounts(terms_of(cap(100, Period::Month)), &[]);
    assert_eq!(percents(&lowered), [80]);
    assert_eq!(lowered[0].limit, NanoUsd(100));
    assert!(
        books
            .open_accounts(terms_of(cap(100, Period::Month)), &[])
            .is_empty()
    );
    assert_eq!(pay(&mut books, 2, 15, Wall(0)).unwrap(), [100]);
    // Raised, and so reached anew.
    assert!(
        books
            .open_accounts(terms_of(cap(200, Period::Month)), &[])
            .is_empty()
    );
    assert_eq!(pay(&mut books, 3, 60, Wall(0)).unwrap(), [80]);
}

#[test]
fn m2_a_limit_that_comes_back_tells_nothing_twice_until_its_period_is_over() {
    let mut books = books(&[("org", vec![cap(500, Period::Day)])]);
    assert_eq!(pay(&mut books, 1, 450, Wall(0)).unwrap(), [80]);
    let mut under = |limit| percents(&books.open_accounts(terms_of(cap(limit, Period::Day)), &[]));
    for limit in [2_000, 500, 2_000, 500] {
        assert!(under(limit).is_empty(), "{limit}");
    }
    // A limit that there was not before is another threshold.
    assert_eq!(under(450), [80, 100]);
    assert!(under(500).is_empty());
    assert_eq!(pay(&mut books, 2, 420, Wall(DAY)).unwrap(), [80]);
}

#[test]
fn m2_a_receivers_shares_reach_every_budget_and_are_not_the_budgets_own() {
    let mut books = books(&[("org", vec![cap(100, Period::Month)])]);
    assert!(pay(&mut books, 1, 60, Wall(0)).unwrap().is_empty());
    let reached = books.open_accounts(terms_of(cap(100, Period::Month)), &[50, 80, 90]);
    assert_eq!(percents(&reached), [50]);
    assert!(!reached[0].own);
    let now = Moment::from_secs(1);
    books.admit(&ask(2, &["org"], 35), now, Wall(0)).unwrap();
    let alerts = books.settle(RequestId::from_draw(2), cost(35), now);
    let told: Vec<_> = alerts
        .iter()
        .map(|alert| (alert.percent, alert.own))
        .collect();
    assert_eq!(told, [(80, true), (90, false)]);
}

#[test]
fn m2_what_a_start_finds_reached_is_told_with_when_it_began_to_count() {
    let mut books = Books::default();
    assert!(
        books
            .open_accounts(terms_of(cap(100, Period::Day)), &[])
            .is_empty()
    );
    let morning = Wall(DAY + 9);
    books.wants_history(morning).unwrap();
    books.remember("org", Wall(DAY + 5), NanoUsd(85));
    let reached = books.complete(Border(1), morning);
    assert_eq!(percents(&reached), [80]);
    assert_eq!(reached[0].counts_from, Wall(DAY));
    assert!(books.complete(Border(1), morning).is_empty());
}

/// The caps of the one account there is.
fn terms_of_all(caps: Vec<Cap>) -> [(AccountName, AccountTerms); 1] {
    let terms = AccountTerms {
        caps,
        ..AccountTerms::default()
    };
    [(Arc::from("org"), terms)]
}

/// Of each cap: its limit, what is spent and what is set aside.
fn counts(books: &mut Books, wall: Wall) -> Vec<(u64, u64, u64)> {
    let views = books.view(Moment::from_secs(1), wall);
    let purses = views.iter().flat_map(|view| &view.purses);
    purses
        .map(|purse| (purse.cap.limit.0, purse.spent.0, purse.reserved.0))
        .collect()
}

#[test]
fn m2_of_two_caps_of_one_period_the_one_that_stays_counts_what_is_under_way_once() {
    for stays in [100, 50] {
        let two = vec![cap(100, Period::Day), cap(50, Period::Day)];
        let mut books = books(&[("org", two)]);
        let now = Moment::from_secs(1);
        pay(&mut books, 1, 3, Wall(0)).unwrap();
        books.admit(&ask(2, &["org"], 20), now, Wall(0)).unwrap();
        books.admit(&ask(3, &["org"], 10), now, Wall(0)).unwrap();
        books.open_accounts(terms_of(cap(stays, Period::Day)), &[]);
        assert_eq!(counts(&mut books, Wall(0)), [(stays, 3, 30)]);
        books.settle(RequestId::from_draw(2), cost(15), now);
        // What the other set aside is still there.
        assert_eq!(counts(&mut books, Wall(0)), [(stays, 18, 10)]);
        books.settle(RequestId::from_draw(3), cost(10), now);
        assert_eq!(counts(&mut books, Wall(0)), [(stays, 28, 0)]);
    }
}

/// The history that a new cap begins with, told: nothing.
fn told_nothing(books: &mut Books, wall: Wall) {
    books.wants_history(wall).unwrap();
    books.complete(Border(1), wall);
}

#[test]
fn m2_a_cap_that_is_new_counts_what_was_under_way_when_it_came() {
    let mut books = books(&[("org", vec![cap(100, Period::Total)])]);
    let (now, noon) = (Moment::from_secs(1), Wall(DAY / 2));
    for id in 1..4 {
        books.admit(&ask(id, &["org"], 20), now, noon).unwrap();
    }
    books
        .extend(RequestId::from_draw(1), NanoUsd(5), noon)
        .unwrap();
    let both = vec![cap(100, Period::Total), cap(70, Period::Day)];
    books.open_accounts(terms_of_all(both), &[]);
    // One ends before its history is told, when it is booked and told by that; the others behind it.
    let told = Settled {
        recorded: Some(Border(0)),
        ..cost(20)
    };
    books.settle(RequestId::from_draw(2), told, now);
    books.wants_history(noon).unwrap();
    books.remember("org", noon, NanoUsd(20));
    books.settle(RequestId::from_draw(3), cost(12), now);
    books.complete(Border(1), noon);
    assert_eq!(counts(&mut books, noon), [(100, 32, 25), (70, 32, 25)]);
    assert!(books.admit(&ask(9, &["org"], 14), now, noon).is_err());
    books.settle(RequestId::from_draw(1), cost(25), now);
    assert_eq!(counts(&mut books, noon), [(100, 57, 0), (70, 57, 0)]);
    // As in any other purse it belongs to the day on which it came in.
    assert_eq!(counts(&mut books, Wall(DAY)), [(100, 57, 0), (70, 0, 0)]);
}

#[test]
fn m2_what_is_under_way_when_a_cap_changes_its_time_zone_or_its_account_comes_back_is_counted() {
    let (now, noon) = (Moment::from_secs(1), Wall(200 * DAY + DAY / 2));
    let zone = "Europe/Berlin".parse::<Zone>().unwrap();
    for gone in [None, Some(())] {
        let mut books = books(&[("org", vec![cap(100, Period::Day)])]);
        books.admit(&ask(1, &["org"], 40), now, noon).unwrap();
        if gone.is_some() {
            books.open_accounts([], &[]);
        }
        let elsewhere = Cap {
            zone: zone.clone(),
            ..cap(100, Period::Day)
        };
        books.open_accounts(terms_of(elsewhere), &[]);
        told_nothing(&mut books, noon);
        assert_eq!(counts(&mut books, noon), [(100, 0, 40)]);
        books.settle(RequestId::from_draw(1), cost(30), now);
        assert_eq!(counts(&mut books, noon), [(100, 30, 0)]);
    }
}

const MONTH: u64 = 31 * DAY;

#[test]
fn a_clock_that_ran_ahead_and_was_put_right_neither_freezes_a_purse_nor_forgets_what_was_spent() {
    for period in [
        Period::Day,
        Period::Month,
        Period::Rolling(Duration::from_secs(3_600)),
    ] {
        let mut books = books(&[("org", vec![cap(100, period)])]);
        let now = Moment::from_secs(1);
        pay(&mut books, 1, 40, Wall(DAY)).unwrap();
        // Ahead: it is another month, and one is still under way when the clock is put right.
        pay(&mut books, 2, 30, Wall(DAY + MONTH)).unwrap();
        let ahead = Wall(DAY + MONTH + 1);
        books.admit(&ask(3, &["org"], 20), now, ahead).unwrap();
        let right = Wall(DAY + 1_000);
        assert_eq!(spent(&mut books, "org", right), (70, 20), "{period}");
        books.settle(RequestId::from_draw(3), cost(10), now);
        assert_eq!(spent(&mut books, "org", right), (80, 0), "{period}");
        assert!(pay(&mut books, 4, 21, right).is_err(), "{period}");
        // The next one begins when it begins.
        let next = Wall(DAY + MONTH + 5);
        assert_eq!(spent(&mut books, "org", next), (0, 0), "{period}");
        pay(&mut books, 5, 100, next).unwrap();
    }
}

#[test]
fn who_began_with_a_clock_that_ran_ahead_asks_for_the_history_again_when_it_is_put_right() {
    let mut books = Books::default();
    books.open_accounts(terms_of(cap(100, Period::Month)), &[]);
    books.wants_history(Wall(2 * MONTH)).unwrap();
    books.complete(Border(1), Wall(2 * MONTH));
    let now = Moment::from_secs(1);
    books
        .admit(&ask(1, &["org"], 60), now, Wall(2 * MONTH))
        .unwrap();
    let right = Wall(DAY);
    assert!(matches!(
        pay(&mut books, 2, 1, right),
        Err(Denied::NotReady)
    ));
    let since = books.wants_history(right).unwrap();
    assert_eq!(since, Wall(0));
    books.remember("org", Wall(5), NanoUsd(35));
    books.complete(Border(1), right);
    assert_eq!(spent(&mut books, "org", right), (35, 60));
    books.settle(RequestId::from_draw(1), cost(60), now);
    assert_eq!(spent(&mut books, "org", right), (95, 0));
}

proptest! {
    /// Whatever a clock does for a while: what it let in counts when it is right again, and the period after that
    /// is whole.
    #[test]
    fn a_clock_that_jumped_leaves_nothing_behind_but_what_was_spent(
        rolling: bool,
        jumps in proptest::collection::vec((0_u64..90 * DAY, 1_u64..1_000), 1..40),
    ) {
        let period = match rolling {
            true => Period::Rolling(Duration::from_secs(86_400)),
            false => Period::Day,
        };
        let mut books = books(&[("org", vec![Cap { hard: false, ..cap(1_000, period) }])]);
        let begin = 200 * DAY;
        // While it is right, at each jump, and right again.
        pay(&mut books, 0, 7, Wall(begin)).unwrap();
        let mut sum = 7;
        for (nth, (ahead, amount)) in jumps.iter().enumerate() {
            // Past and future by turns.
            pay(&mut books, 1 + nth as u128, *amount, Wall(begin + DAY + ahead)).unwrap();
            sum += amount;
            let right = spent(&mut books, "org", Wall(begin + 10_000));
            prop_assert_eq!(right, (sum, 0));
        }
        prop_assert_eq!(spent(&mut books, "org", Wall(begin + 3 * DAY)), (0, 0));
        let hard = Cap { hard: true, ..cap(1_000, period) };
        books.open_accounts(terms_of(hard), &[]);
        prop_assert!(pay(&mut books, 1_000, 1_000, Wall(begin + 3 * DAY)).is_ok());
    }
}

#[test]
fn l2_a_limit_on_how_much_is_at_once_counts_what_was_under_way_when_it_came() {
    let now = Moment::from_secs(1);
    let limited = |quota: Option<QuotaTerms>| {
        let org = AccountTerms {
            caps: vec![cap(1_000, Period::Total)],
            ..AccountTerms::default()
        };
        let key = quota.map(|quota| AccountTerms {
            quota,
            ..AccountTerms::default()
        });
        let key = key.map(|terms| (Arc::from("key"), terms));
        [(Arc::from("org"), org)].into_iter().chain(key)
    };
    let two = QuotaTerms {
        concurrency: Some(2),
        tokens_per_minute: Some(100),
        ..QuotaTerms::default()
    };
    let mut books = Books::default();
    books.open_accounts(limited(None), &[]);
    let mut books = ready(books);
    let comes = |books: &mut Books, id| {
        books
            .admit(&ask(id, &["org", "key"], 1), now, Wall(0))
            .is_ok()
    };
    for id in 0..4 {
        assert!(comes(&mut books, id));
    }
    // Twice: a limit that was taken away and is back knows them as well.
    for _ in 0..2 {
        books.open_accounts(limited(None), &[]);
        books.open_accounts(limited(Some(two)), &[]);
    }
    for id in 0..2 {
        assert!(!comes(&mut books, 10));
        books.settle(RequestId::from_draw(id), cost(1), now);
    }
    assert!(!comes(&mut books, 10), "two are still under way");
    books.settle(RequestId::from_draw(2), cost(1), now);
    assert!(comes(&mut books, 10));
    assert!(!comes(&mut books, 11));
    // What ended used 30 tokens in this minute, and what came since expects 10; nobody was given back what never counted.
    let key = books
        .view(now, Wall(0))
        .into_iter()
        .find(|view| &*view.name == "key");
    assert_eq!(key.unwrap().tokens.unwrap().remaining, 60);
}
