//! What receivers are told of budgets: each share that was spent, once, signed, and nothing else.
//!
//! # What is not promised
//! A receiver that answered late may be told again, under the same id. What waits is lost with the process: after a
//! kill a share may be told to nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::unread;
use super::money::{Nanos, payer, usd};
use super::{finding, own};
use crate::conduct::{OwnRecords, told_in};
use crate::lab::HOOK_SECRET;
use crate::records::{Delivery, Reply, Said};
use crate::report::{Finding, Verdict};
use crate::scenario::{Cap, Tenant};
use crate::verdict::index::Index;

/// A share of a budget, and to whom it is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Share<'a> {
    to: &'a str,
    account: &'a str,
    limit: u64,
    percent: u8,
}

impl Share<'_> {
    fn named(&self) -> String {
        let limit = usd(self.limit.into());
        format!(
            "{} % of {limit} of {} to {}",
            self.percent, self.account, self.to
        )
    }
}

pub(super) fn alerts_told(index: &Index<'_>) -> Option<Finding> {
    const NAME: &str = "alerts_told";
    const CLAIM: &str = "each share of a budget that was spent is told once, under one id, signed, without a secret or a word of a prompt, and none that was not";
    let scenario = index.scenario;
    if scenario.receivers.is_empty() {
        return None;
    }
    let own = own(index)?;
    if let Some(unread) = unread(own, NAME, CLAIM) {
        return Some(unread);
    }
    let all = &index.evidence.alerts;
    let due = due(index, own);
    let wrong = all.iter().filter_map(|one| malformed(index, own, one));
    let mut wrong: Vec<String> = wrong.collect();
    let mut told: BTreeMap<Share<'_>, Vec<&Delivery>> = BTreeMap::new();
    let said: Vec<Option<Said>> = all.iter().map(Delivery::said).collect();
    for (delivery, said) in all.iter().zip(&said) {
        if let Some(said) = said {
            told.entry(share(delivery, said))
                .or_default()
                .push(delivery);
        }
    }
    for share in told.keys().filter(|share| !due.contains(share)) {
        wrong.push(format!("{}: told, and never spent", share.named()));
    }
    for share in &due {
        let deliveries = told.get(share).map(Vec::as_slice).unwrap_or_default();
        let was_killed = !index.kills.is_empty();
        wrong.extend(odd(deliveries, was_killed).map(|how| format!("{}: {how}", share.named())));
    }
    let taken = all.iter().filter(|one| one.reply == Reply::Taken).count();
    let mut found = finding(NAME, CLAIM, due.len());
    found.value = Some(wrong.len() as f64);
    found.limit = Some(0.0);
    found.why = format!(
        "{} shares were spent, {taken} webhooks taken, {} refused or left without an answer before",
        due.len(),
        all.len().saturating_sub(taken)
    );
    if !wrong.is_empty() {
        found.verdict = Verdict::Fail;
        found.window = all
            .first()
            .zip(all.last())
            .map(|(first, last)| (first.at_ms, last.at_ms));
        wrong.truncate(4);
        found.why = format!("{}; {}", wrong.join("; "), found.why);
    }
    Some(found)
}

fn share<'a>(delivery: &'a Delivery, said: &'a Said) -> Share<'a> {
    Share {
        to: &delivery.to,
        account: &said.account,
        limit: said.limit,
        percent: said.percent,
    }
}

/// All shares that were spent, by the journal, for each receiver.
fn due<'a>(index: &Index<'a>, own: &OwnRecords) -> BTreeSet<Share<'a>> {
    let mut due = BTreeSet::new();
    for tenant in &index.scenario.tenants {
        let spent = spent(own, tenant);
        for cap in tenant.caps() {
            let reached = tenant
                .tell_at
                .iter()
                .filter(|share| is_spent(spent, **share, cap));
            for percent in reached {
                due.extend(index.scenario.receivers.iter().map(|receiver| Share {
                    to: &receiver.name,
                    account: &tenant.name,
                    limit: cap.nanos,
                    percent: *percent,
                }));
            }
        }
    }
    due
}

fn spent(own: &OwnRecords, tenant: &Tenant) -> Nanos {
    let outcomes = own.journal.outcomes.values().flatten();
    let mine = outcomes.filter(|outcome| payer(outcome) == tenant.name);
    mine.filter_map(|outcome| outcome.cost)
        .map(Nanos::from)
        .sum()
}

fn is_spent(spent: Nanos, percent: u8, cap: Cap) -> bool {
    spent.saturating_mul(100) >= Nanos::from(cap.nanos).saturating_mul(percent.into())
}

/// What is wrong with one webhook, whatever it is about.
fn malformed(index: &Index<'_>, own: &OwnRecords, one: &Delivery) -> Option<String> {
    let how = if !one.is_signed(HOOK_SECRET) {
        "not signed by the gateway, or long ago".to_owned()
    } else if let Some(found) = told_in(&one.body).first() {
        format!("it holds {found}")
    } else {
        match one.said() {
            None => "of no form that is known".to_owned(),
            Some(said) if !is_true(index, own, &said) => "it does not tell the truth".to_owned(),
            Some(_) => return None,
        }
    };
    Some(format!("webhook {:?}: {how}", one.id))
}

/// Whether what it says of a budget can be: the budget is there, and so much of it is spent, and no more than ever was.
fn is_true(index: &Index<'_>, own: &OwnRecords, said: &Said) -> bool {
    let tenants = index.scenario.tenants.iter();
    let mut tenants = tenants.filter(|tenant| tenant.name == said.account);
    let cap = Cap {
        nanos: said.limit,
        hard: said.hard,
    };
    // What a killed process knew and did not write down is nowhere else.
    let was_killed = !index.kills.is_empty();
    let can_be = |tenant: &Tenant| was_killed || Nanos::from(said.spent) <= spent(own, tenant);
    tenants.any(|tenant| tenant.caps().contains(&cap) && can_be(tenant))
        && is_spent(said.spent.into(), said.percent, cap)
        && said.exhausted == (said.percent >= 100)
}

/// What is wrong with how one share was told.
fn odd(deliveries: &[&Delivery], was_killed: bool) -> Option<String> {
    let ids: BTreeSet<&str> = deliveries.iter().map(|one| one.id.as_str()).collect();
    let bodies: BTreeSet<&[u8]> = deliveries.iter().map(|one| &one.body[..]).collect();
    let taken = deliveries.iter().filter(|one| one.reply == Reply::Taken);
    let is_late = deliveries.iter().any(|one| one.reply == Reply::Late);
    match taken.count() {
        _ if ids.len() > 1 => Some(format!("told under {} ids", ids.len())),
        0 if was_killed || is_late => None,
        0 => Some(format!("told to nobody in {} tries", deliveries.len())),
        1 if bodies.len() > 1 && !was_killed => {
            Some("told in other words when it was told again".to_owned())
        }
        1 => None,
        _ if was_killed => None,
        times => Some(format!("taken {times} times")),
    }
}
