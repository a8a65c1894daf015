use std::time::Duration;

use serde_json::json;

use super::*;
use crate::domain::{NanoUsd, Wall};

const QUIET: Duration = Duration::from_secs(600);

fn budget(percent: u8, since: u64, at: u64) -> Notice {
    Notice {
        kind: AlertKind::BudgetReached,
        subject: "acme/search".to_owned(),
        at: Wall(at),
        facts: Facts::Budget {
            percent,
            spent: NanoUsd(80_500_000_000),
            limit: NanoUsd(100_000_000_000),
            period: "month".to_owned(),
            since: Wall(since),
            hard: true,
            own: true,
        },
    }
}

fn blocked(subject: &str, at: u64) -> Notice {
    Notice {
        kind: AlertKind::BreakerBlocked,
        subject: subject.to_owned(),
        at: Wall(at),
        facts: Facts::Words("blocked".to_owned()),
    }
}

#[test]
fn m2_a_budgets_alert_has_one_id_in_its_period_and_another_in_the_next() {
    let id = budget(80, 1_000, 5).id();
    assert_eq!(id, budget(80, 1_000, 6).id());
    assert_ne!(id, budget(100, 1_000, 5).id());
    assert_ne!(id, budget(80, 2_000, 5).id());
    assert_ne!(blocked("a/m", 5).id(), blocked("a/m", 6).id());
}

#[test]
fn m2_the_body_is_as_it_is_documented() {
    let notice = budget(80, 1_793_491_200_000, 1_795_271_263_250);
    assert_eq!(
        notice.body(),
        json!({
            "id": notice.id(),
            "type": "budget.reached",
            "timestamp": "2026-11-21T14:27:43.25Z",
            "data": {
                "account": "acme/search", "percent": 80, "spent_usd": "80.5", "limit_usd": "100",
                "left_usd": "19.5", "period": "month", "period_began": "2026-11-01T00:00:00Z", "hard": true,
            },
        })
    );
    // No clock is too far off to be told.
    assert!(blocked("a/m", u64::MAX).body()["timestamp"].is_string());
}

#[test]
fn m2_every_kind_is_found_by_its_label() {
    for kind in AlertKind::ALL {
        assert_eq!(AlertKind::by_label(kind.label()), Some(kind));
    }
    assert_eq!(AlertKind::by_label("budget"), None);
}

#[test]
fn m2_the_same_thing_is_not_told_again_for_a_while_and_a_budget_always_is() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.take(&blocked("a/m", 0), QUIET), Taken::Waits);
    assert_eq!(outbox.take(&blocked("a/m", 599_999), QUIET), Taken::Quiet);
    assert_eq!(outbox.take(&blocked("b/m", 1), QUIET), Taken::Waits);
    assert_eq!(outbox.take(&blocked("a/m", 600_000), QUIET), Taken::Waits);
    for _ in 0..2 {
        assert_eq!(outbox.take(&budget(80, 1, 1), QUIET), Taken::Waits);
    }
    assert_eq!(outbox.open(), 5);
}

#[test]
fn m2_four_are_on_their_way_at_once_and_an_answer_makes_room() {
    let mut outbox = Outbox::default();
    for _ in 0..6 {
        outbox.take(&budget(80, 1, 1), QUIET);
    }
    let sent: Vec<Parcel> = std::iter::from_fn(|| outbox.send()).collect();
    assert_eq!(sent.len(), 4);
    let first = sent.into_iter().next().unwrap();
    assert_eq!(outbox.ended(first, Delivery::Taken, 3, 0.0), Next::Done);
    assert!(outbox.send().is_some());
    assert!(outbox.send().is_none());
    assert_eq!(outbox.open(), 5);
}

#[test]
fn m2_who_fails_is_asked_again_later_and_later_and_not_for_ever() {
    let mut outbox = Outbox::default();
    outbox.take(&budget(80, 1, 1), QUIET);
    let mut rests = Vec::new();
    loop {
        let parcel = outbox.send().unwrap();
        match outbox.ended(parcel, Delivery::Failed, 12, 1.0) {
            Next::Rest(parcel, rest) => {
                rests.push(rest.as_secs());
                assert_eq!(outbox.open(), 1);
                outbox.again(parcel);
            }
            Next::GivenUp => break,
            Next::Done => unreachable!(),
        }
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(outbox.open(), 0);
    outbox.take(&budget(80, 1, 1), QUIET);
    let parcel = outbox.send().unwrap();
    let half = outbox.ended(parcel, Delivery::Failed, 2, 0.0);
    assert!(matches!(half, Next::Rest(_, rest) if rest == Duration::from_millis(500)));
}

#[test]
fn m2_what_is_refused_is_not_sent_again() {
    let mut outbox = Outbox::default();
    outbox.take(&budget(80, 1, 1), QUIET);
    let parcel = outbox.send().unwrap();
    let next = outbox.ended(parcel, Delivery::Refused, 8, 0.5);
    assert_eq!((next, outbox.open()), (Next::GivenUp, 0));
}

#[test]
fn g14_no_more_than_a_thousand_wait_whatever_happens() {
    let mut outbox = Outbox::default();
    for _ in 0..1_000 {
        assert_eq!(outbox.take(&budget(80, 1, 1), QUIET), Taken::Waits);
    }
    let parcel = outbox.send().unwrap();
    let Next::Rest(parcel, _) = outbox.ended(parcel, Delivery::Failed, 9, 0.5) else {
        unreachable!()
    };
    // One that rests takes its place as well.
    assert_eq!(outbox.take(&budget(80, 1, 1), QUIET), Taken::Full);
    outbox.again(parcel);
    assert_eq!(outbox.open(), 1_000);
}
