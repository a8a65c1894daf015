//! Webhooks that are forged, lost, sent twice, told of nothing, or hold what is nobody's business.

use switchyard_chaos::lab::HOOK_SECRET;
use switchyard_chaos::records::{Reply, signature};

use super::*;

const ALERTS: &str = r#"
version = 1
name = "alerts"
about = "a budget that is spent, and a receiver that takes each webhook at its second delivery"
[phases]
control = "1s"
faults = "2s"
heal = "2s"
[[mock]]
name = "alpha"
tokens = 20
price = { input = "3", output = "15" }
[[receiver]]
name = "finance"
refuses = 1
[[tenant]]
name = "acmecorp"
soft_budget = "0.02"
budget = "1000"
tell_at = [50, 100]
[[client]]
name = "acme"
tenant = "acmecorp"
[[workload]]
name = "whole"
client = "acme"
per_second = 30
tokens = 20
"#;

/// The nth webhook that was taken.
fn taken(evidence: &mut Evidence, nth: usize) -> &mut Delivery {
    let taken = evidence.alerts.iter_mut();
    let mut taken = taken.filter(|one| one.reply == Reply::Taken);
    taken.nth(nth).unwrap()
}

/// The gateway itself says something else.
fn says(delivery: &mut Delivery, from: &str, to: &str) {
    let body = String::from_utf8(delivery.body.to_vec()).unwrap();
    assert!(body.contains(from), "{from}: {body}");
    delivery.body = body.replacen(from, to, 1).into();
    sign(delivery);
}

fn sign(delivery: &mut Delivery) {
    let Delivery {
        id,
        timestamp,
        body,
        ..
    } = &*delivery;
    delivery.signature = signature(HOOK_SECRET, id, timestamp, body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m2_webhooks_that_lie_are_caught() {
    let mut honest = Honest::of(ALERTS).await;
    let replies: Vec<Reply> = honest.alerts.iter().map(|one| one.reply).collect();
    let refused = replies.iter().filter(|reply| **reply == Reply::Error);
    assert_eq!((replies.len(), refused.count()), (4, 2), "{replies:?}");
    let by = "alerts_told";
    honest.caught(by, |nobody_was_told| nobody_was_told.alerts.clear());
    honest.caught(by, |given_up| given_up.alerts.truncate(3));
    honest.caught(by, |told_again| {
        let again = taken(told_again, 0).clone();
        told_again.alerts.push(again);
    });
    honest.caught(by, |told_under_another_id| {
        let one = taken(told_under_another_id, 0);
        let id = one.id.clone();
        "alert_00".clone_into(&mut one.id);
        says(one, &id, "alert_00");
    });
    honest.caught(by, |forged| {
        let one = taken(forged, 0);
        one.body = [&one.body[..], b" "].concat().into();
    });
    honest.caught(by, |not_signed| taken(not_signed, 1).signature.clear());
    honest.caught(by, |an_old_one| taken(an_old_one, 1).unix += 3_600);
    for secret in [
        "chaos-prompt-canary 0.1: ",
        "sk-chaos-client-acme",
        "sk-chaos-provider-alpha",
        HOOK_SECRET,
        "canarywordofalpha",
    ] {
        honest.caught(by, |gossip| {
            for one in &mut gossip.alerts {
                says(
                    one,
                    "acmecorp\"",
                    &format!("acmecorp\", \"why\": \"{secret}\""),
                );
            }
        });
    }
    // What is said with one voice and is not so.
    for (from, to) in [
        ("\"percent\":50", "\"percent\":51"),
        ("\"hard\":false", "\"hard\":true"),
        ("\"account\":\"acmecorp", "\"account\":\"globex"),
        ("\"limit_usd\":\"0.02", "\"limit_usd\":\"0.01"),
        ("budget.reached", "budget.exhausted"),
        ("\"spent_usd\":\"0.01", "\"spent_usd\":\"0.00"),
        ("\"spent_usd\":\"0.01", "\"spent_usd\":\"9.01"),
    ] {
        honest.caught(by, |not_so| {
            let reached = not_so.alerts.iter_mut();
            let reached = reached.filter(|one| one.said().unwrap().percent == 50);
            reached.for_each(|one| says(one, from, to));
        });
    }
    for shares in [vec![10, 50, 100], vec![100]] {
        let run = honest.told(|other_shares| other_shares.tenants[0].tell_at = shares);
        assert_eq!(failed(&run), [by].into(), "{run:#?}");
    }
    let run = honest.with(|nothing_was_spent| {
        nothing_was_spent.alerts.clear();
        let own = nothing_was_spent.own.as_mut().unwrap();
        own.unreadable.push("the journal cannot be read".to_owned());
    });
    assert_eq!((run.verdict, failed(&run)), (Verdict::Unknown, [].into()));
}
