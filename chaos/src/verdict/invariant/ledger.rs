//! The books at rest: nothing set aside, and one sum wherever it is told.

use std::collections::BTreeMap;

use super::accounts::unread;
use super::money::{Nanos, payer, usd};
use super::{finding, own};
use crate::conduct::OwnRecords;
use crate::records::Books;
use crate::report::{Finding, Verdict};
use crate::verdict::index::Index;

pub(super) fn ledger_balances(index: &Index<'_>) -> Option<Finding> {
    const NAME: &str = "ledger_balances";
    const CLAIM: &str = "every intent has one outcome, nothing stays set aside, and books, reports and journal tell one sum";
    if index.scenario.tenants.is_empty() {
        return None;
    }
    let own = own(index)?;
    if let Some(unread) = unread(own, NAME, CLAIM) {
        return Some(unread);
    }
    let mut found = finding(NAME, CLAIM, own.journal.intents.len());
    let Some(books) = &own.books else {
        found.verdict = Verdict::Unknown;
        found.why = "the gateway did not tell its books".to_owned();
        return Some(found);
    };
    let mut wrong = unbalanced(own);
    for (tenant, sum) in journal_by_tenant(own) {
        wrong.extend(differs(tenant, sum, books));
    }
    for (tenant, book) in &books.tenants {
        let reserved: u64 = book.purses.iter().map(|purse| purse.reserved).sum();
        if reserved > 0 || book.open_requests > 0 {
            wrong.push(format!(
                "{tenant}: {} are still set aside, {} requests open",
                usd(reserved.into()),
                book.open_requests
            ));
        }
    }
    found.value = Some(wrong.len() as f64);
    found.limit = Some(0.0);
    if !wrong.is_empty() {
        found.verdict = Verdict::Fail;
        wrong.truncate(4);
        found.why = wrong.join("; ");
    }
    Some(found)
}

/// Requests that were begun and not ended once.
fn unbalanced(own: &OwnRecords) -> Vec<String> {
    let journal = &own.journal;
    let ends = |id: &String| journal.outcomes.get(id).map_or(0, Vec::len);
    let odd = journal.intents.iter();
    let odd = odd
        .filter(|(id, intents)| intents.len() != 1 || ends(id) != 1)
        .count();
    if odd == 0 {
        return Vec::new();
    }
    vec![format!(
        "{odd} requests without exactly one intent and one outcome"
    )]
}

/// Outcomes and their cost.
fn journal_by_tenant(own: &OwnRecords) -> BTreeMap<&str, (u64, Nanos)> {
    let mut sums: BTreeMap<&str, (u64, Nanos)> = BTreeMap::new();
    for outcome in own.journal.outcomes.values().flatten() {
        let sum = sums.entry(payer(outcome)).or_default();
        sum.0 = sum.0.saturating_add(1);
        sum.1 += Nanos::from(outcome.cost.unwrap_or(0));
    }
    sums
}

fn differs(tenant: &str, (requests, cost): (u64, Nanos), books: &Books) -> Vec<String> {
    let mut wrong = Vec::new();
    let spend = books.spend.get(tenant).copied().unwrap_or_default();
    if (spend.requests, Nanos::from(spend.cost)) != (requests, cost) {
        wrong.push(format!(
            "{tenant}: the report says {} for {} requests, the journal {} for {requests}",
            usd(spend.cost.into()),
            spend.requests,
            usd(cost)
        ));
    }
    let book = books.tenants.get(tenant);
    let purses = book.map(|book| book.purses.as_slice()).unwrap_or_default();
    for purse in purses.iter().filter(|purse| purse.account == tenant) {
        if Nanos::from(purse.spent) != cost {
            wrong.push(format!(
                "{tenant}: the books say {} are spent, the journal {}",
                usd(purse.spent.into()),
                usd(cost)
            ));
        }
    }
    wrong
}
