//! What is paid: the mocks' bills against the journal, and hard caps.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::accounts::unread;
use super::{About, about, finding, own};
use crate::conduct::OwnRecords;
use crate::history::Told;
use crate::records::Outcome;
use crate::report::{Finding, Verdict};
use crate::scenario::{NOBODYS_TENANT, PerToken, Tenant};
use crate::verdict::index::{Index, Key, Seen};

/// Nano-dollars; sums of many of them.
pub(super) type Nanos = u128;

/// Dollars, to the micro-dollar.
pub(super) fn usd(nanos: Nanos) -> String {
    let micros = nanos / 1_000;
    format!("{}.{:06} USD", micros / 1_000_000, micros % 1_000_000)
}

/// What the mocks bill for each request: all its attempts, legs that lost and streams that were left included.
fn bills(index: &Index<'_>) -> HashMap<Key, Nanos> {
    let prices = index.scenario.prices();
    let mut bills: HashMap<Key, Nanos> = HashMap::new();
    // What came again on another connection was one request to whoever bills.
    for seen in index.seen.iter().filter(|seen| !seen.sent_again) {
        if let Some((of, bill)) = seen.of.zip(bill_of(seen, &prices)) {
            *bills.entry(of).or_default() += bill;
        }
    }
    bills
}

/// What a mock bills for one exchange; `None` for a refusal.
pub(super) fn bill_of(seen: &Seen<'_>, prices: &BTreeMap<&str, PerToken>) -> Option<Nanos> {
    let price = prices.get(seen.mock)?;
    let billed = seen.exchange.billed()?;
    let input = Nanos::from(billed.input) * Nanos::from(price.input);
    let output = Nanos::from(billed.output) * Nanos::from(price.output);
    Some(input + output)
}

fn tenant_of<'a>(index: &Index<'a>, key: Key) -> &'a str {
    let workload = index.scenario.workloads.get(key.0);
    workload.map_or(NOBODYS_TENANT, |workload| {
        index.scenario.tenant_of(workload)
    })
}

pub(super) fn payer(outcome: &Outcome) -> &str {
    outcome.tenant.as_deref().unwrap_or(NOBODYS_TENANT)
}

fn paid(outcomes: &[Outcome]) -> Nanos {
    let costs = outcomes.iter().filter_map(|outcome| outcome.cost);
    costs.map(Nanos::from).sum()
}

/// What providers bill for some requests, and what the journal says they cost.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    requests: u64,
    paid: Nanos,
    billed: Nanos,
}

impl Sum {
    fn add(&mut self, paid: Nanos, billed: Nanos) {
        self.requests = self.requests.saturating_add(1);
        self.paid = self.paid.saturating_add(paid);
        self.billed = self.billed.saturating_add(billed);
    }
}

/// A tenant's requests. Each kind is held against its own bill: what is paid too much for one pays for no other.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// Everything was told.
    reported: Sum,
    /// Something was not.
    estimated: Sum,
    /// Their clients read no id: which is which nobody can say.
    nameless: Sum,
}

/// Whether all that was used was reported: nothing rests on an estimate, and no kill came in between.
fn is_reported(index: &Index<'_>, told: &Told, outcomes: &[Outcome]) -> bool {
    let sure = |outcome: &Outcome| !outcome.cost_estimated && outcome.how != "interrupted";
    !index.was_caught(told) && outcomes.iter().all(sure)
}

pub(super) fn bill_matches(index: &Index<'_>) -> Option<Finding> {
    const NAME: &str = "bill_matches";
    const CLAIM: &str = "who pays is billed what the providers bill: to the cent where they told it, and never less where they could not";
    if !index.scenario.has_prices() {
        return None;
    }
    let own = own(index)?;
    if let Some(unread) = unread(own, NAME, CLAIM) {
        return Some(unread);
    }
    let bills = bills(index);
    let mut sums: BTreeMap<&str, Sums> = BTreeMap::new();
    let mut wrong: Vec<&Told> = Vec::new();
    let mut named: HashSet<Key> = HashSet::new();
    let mut known: HashSet<&str> = HashSet::new();
    for told in &index.evidence.history {
        let Some(id) = told.id.as_deref() else {
            continue;
        };
        let key = (told.workload, told.number);
        let outcomes = own.journal.outcomes.get(id).map_or(&[][..], Vec::as_slice);
        let (billed, paid) = (bills.get(&key).copied().unwrap_or(0), paid(outcomes));
        named.insert(key);
        known.insert(id);
        let sum = sums.entry(tenant_of(index, key)).or_default();
        let right = if is_reported(index, told, outcomes) {
            sum.reported.add(paid, billed);
            paid == billed
        } else {
            sum.estimated.add(paid, billed);
            paid >= billed
        };
        if !right {
            wrong.push(told);
        }
    }
    let named_wrong = About {
        name: NAME,
        claim: CLAIM,
        why: "requests billed at something else than their providers bill, or at less than that",
    };
    let mut found = about(&named_wrong, named.len(), &wrong, index);
    nameless(index, own, &bills, (&named, &known), &mut sums);
    settle(&mut found, &sums);
    Some(found)
}

/// Adds what no client read an id of: on both sides what is left over, tenant by tenant.
fn nameless<'a>(
    index: &Index<'a>,
    own: &'a OwnRecords,
    bills: &HashMap<Key, Nanos>,
    (named, known): (&HashSet<Key>, &HashSet<&str>),
    sums: &mut BTreeMap<&'a str, Sums>,
) {
    for (key, billed) in bills.iter().filter(|(key, _)| !named.contains(*key)) {
        let sum = sums.entry(tenant_of(index, *key)).or_default();
        sum.nameless.billed += *billed;
    }
    for (id, outcomes) in &own.journal.outcomes {
        if let Some(first) = outcomes.first().filter(|_| !known.contains(id.as_str())) {
            let sum = sums.entry(payer(first)).or_default();
            sum.nameless.add(paid(outcomes), 0);
        }
    }
}

/// Says both figures, whatever they prove.
fn settle(found: &mut Finding, sums: &BTreeMap<&str, Sums>) {
    let mut told: Vec<String> = Vec::new();
    for (tenant, sum) in sums {
        let kinds = [
            ("told in full", sum.reported),
            ("estimated", sum.estimated),
            ("of clients that read no id", sum.nameless),
        ];
        for (kind, sum) in kinds
            .iter()
            .filter(|(_, sum)| sum.requests > 0 || sum.billed > 0)
        {
            if sum.paid < sum.billed {
                found.verdict = Verdict::Fail;
            }
            told.push(format!(
                "{tenant}: {} for {} requests {kind}, {} billed",
                usd(sum.paid),
                sum.requests,
                usd(sum.billed)
            ));
        }
    }
    let told = told.join("; ");
    found.why = if found.why.is_empty() {
        told
    } else {
        format!("{}; {told}", found.why)
    };
}

pub(super) fn budget_kept(index: &Index<'_>) -> Option<Finding> {
    const NAME: &str = "budget_kept";
    const CLAIM: &str =
        "at no time is more spent and set aside than a hard cap, and no provider bills more";
    let scenario = index.scenario;
    let capped: Vec<(&Tenant, u64)> = scenario
        .tenants
        .iter()
        .filter_map(|tenant| Some((tenant, tenant.cap()?)))
        .collect();
    if capped.is_empty() || !scenario.has_prices() {
        return None;
    }
    let own = own(index)?;
    if let Some(unread) = unread(own, NAME, CLAIM) {
        return Some(unread);
    }
    let bills = bills(index);
    let mut found = finding(NAME, CLAIM, 0);
    found.unit = "USD".to_owned();
    let mut told = Vec::new();
    for (tenant, cap) in capped {
        let course = Course::of(own, &tenant.name);
        let mine = bills.iter();
        let mine = mine.filter(|(key, _)| tenant_of(index, **key) == tenant.name);
        let billed: Nanos = mine.map(|(_, nanos)| *nanos).sum();
        let cap = Nanos::from(cap);
        found.samples = found.samples.saturating_add(course.intents);
        let most = course.most.max(billed);
        if most > cap || course.unheld > 0 {
            found.verdict = Verdict::Fail;
            found.value = Some(most as f64 / 1e9);
            found.limit = Some(cap as f64 / 1e9);
        }
        told.push(format!(
            "{}: of {} at most {} were spent or set aside, {} billed; nothing was set aside for {} of {}",
            tenant.name,
            usd(cap),
            usd(course.most),
            usd(billed),
            course.unheld,
            course.intents
        ));
    }
    if found.samples > 0 && found.verdict == Verdict::Unknown {
        found.verdict = Verdict::Pass;
        found.why.clear();
    }
    found.why = told.join("; ");
    Some(found)
}

/// A tenant's money in the order of the journal.
#[derive(Debug, Default)]
struct Course {
    intents: u64,
    /// Intents for which nothing was set aside.
    unheld: u64,
    /// The most that was spent and set aside together.
    most: Nanos,
}

impl Course {
    /// An outcome stands in the journal before its money is free again, and an intent after it was set aside: what the
    /// journal holds open is never more than what the books did.
    fn of(own: &OwnRecords, tenant: &str) -> Self {
        let mut steps: Vec<(u64, i128)> = Vec::new();
        let mut course = Self::default();
        for (id, intents) in &own.journal.intents {
            let Some(intent) = intents.first() else {
                continue;
            };
            if intent.tenant.as_deref().unwrap_or(NOBODYS_TENANT) != tenant {
                continue;
            }
            let held = i128::from(intent.reserved.unwrap_or(0));
            course.intents = course.intents.saturating_add(1);
            course.unheld = course.unheld.saturating_add(u64::from(held == 0));
            steps.push((intent.place, held));
            let outcomes = own.journal.outcomes.get(id).into_iter().flatten();
            for (nth, outcome) in outcomes.enumerate() {
                let cost = i128::from(outcome.cost.unwrap_or(0));
                let freed = if nth == 0 { held } else { 0 };
                steps.push((outcome.place, cost.saturating_sub(freed)));
            }
        }
        steps.sort_unstable_by_key(|(place, _)| *place);
        let mut now = 0_i128;
        for (_, step) in steps {
            now = now.saturating_add(step);
            course.most = course.most.max(Nanos::try_from(now).unwrap_or(0));
        }
        course
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_told_to_the_micro_dollar() {
        assert_eq!(usd(1_234_567_890), "1.234567 USD");
        assert_eq!(usd(999), "0.000000 USD");
    }
}
